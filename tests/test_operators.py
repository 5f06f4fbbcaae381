"""What operators do: pause, resume, status, explain, events, listeners."""

import json
import logging
import threading

import pytest

from recloser import ConfigurationError, PausedError, Recloser, State, circuit, explain, pause, resume
from recloser.clock import SystemClock
from recloser.testing import ManualClock


def fail(toolkit, name, times=1):
    """Makes a circuit fail."""
    for _ in range(times):
        toolkit.circuit(name).record_failure(ConnectionError("refused"))


class TestPause:
    def test_rejects_until_it_is_resumed_whatever_happens(self, recloser):
        """Neither time, nor failures, nor successes end an operator's pause."""
        pause("azure", reason="contract ended", by="ann")
        recloser.clock.advance("30d")
        circuit("azure").record_success()
        fail(recloser, "azure", 20)
        with pytest.raises(PausedError, match="azure is PAUSED by ann: contract ended") as caught:
            circuit("azure").check()
        assert caught.value.retry_after is None
        assert (caught.value.paused_by, caught.value.state, caught.value.since) == ("ann", State.PAUSED, 0)
        resume("azure", by="bob")
        assert circuit("azure").allows()

    def test_with_a_duration_ends_in_a_test(self, recloser):
        """A pause that ends by itself goes to HALF_OPEN, not straight to CLOSED."""
        pause("azure", reason="maintenance", by="ann", for_="30m")
        recloser.clock.advance("29m59s")
        assert circuit("azure").state is State.PAUSED
        assert explain("azure").next == "in 1s 1 probe will test it"
        recloser.clock.advance("1s")
        assert circuit("azure").state is State.HALF_OPEN

    def test_of_a_glob_touches_every_known_circuit_that_matches(self):
        """A glob reaches what is known by name, and nothing else."""
        toolkit = Recloser(clock=ManualClock())
        for name in ("azure-tts", "azure-stt", "aws"):
            toolkit.circuit(name).check()
        assert toolkit.pause("azure-*", reason="region down", by="ann") == ("azure-stt", "azure-tts")
        assert toolkit.status().paused == ("azure-stt", "azure-tts")
        assert toolkit.resume("*", by="ann") == ("aws", "azure-stt", "azure-tts")
        assert toolkit.status().paused == ()

    @pytest.mark.parametrize(
        ("arguments", "key"),
        [
            ({"reason": "", "by": "ann"}, "reason"),
            ({"reason": "why", "by": " "}, "by"),
            ({"reason": "why", "by": "ann", "for_": "soon"}, "for_"),
            ({"reason": "why", "by": "ann", "for_": -1}, "for_"),
        ],
    )
    def test_says_what_is_missing(self, recloser, arguments, key):
        """An impossible pause is refused where it is written."""
        with pytest.raises(ConfigurationError) as caught:
            pause("azure", **arguments)
        assert caught.value.key == key

    def test_of_a_glob_that_matches_nothing_says_so(self, recloser):
        """A typing error in a glob does not look like success."""
        circuit("aws").check()
        with pytest.raises(ConfigurationError, match="aws"):
            pause("azure-*", reason="why", by="ann")


class TestResume:
    def test_empties_the_window(self, recloser):
        """After a resume, the failures of before are not one more failure away from a trip."""
        fail(recloser, "tts", 9)
        resume("tts", by="ann")
        fail(recloser, "tts")
        assert (circuit("tts").state, circuit("tts").snapshot().failures) == (State.CLOSED, 1)

    def test_of_a_healthy_circuit_changes_nothing(self, recloser):
        """Resuming everything does not fill the log with circuits that had nothing to resume."""
        circuit("tts").check()
        resume("tts", by="ann")
        assert list(recloser.events) == []


def test_status_shows_every_circuit_and_is_json():
    """Status knows circuits that were only mentioned, and machines can read it."""
    recloser = Recloser(clock=ManualClock())
    fail(recloser, "tts", 10)
    speech = recloser.fallback("stt-a", "stt-b")
    found = recloser.status()
    assert list(found) == ["stt-a", "stt-b", "tts"]
    assert found["tts"].state is State.OPEN
    assert found.fallbacks == {speech.name: "stt-a"}
    plain = json.loads(json.dumps(found.as_dict()))
    assert plain["circuits"]["tts"]["failures"] == 10
    assert "tts: OPEN, 10 of 10 calls failed (10 failures in 5m, last: ConnectionError)" in str(found)


def test_explain_gives_the_evidence(recloser):
    """Which rule fired, the counts, the errors with their numbers, what is affected and what comes next."""
    voice = recloser.fallback("tts", "tts-b")
    fail(recloser, "tts", 10)
    found = recloser.explain("tts")
    assert found.threshold == "10 failures in 5m"
    assert [(error.label, error.message, error.count) for error in found.errors] == [("ConnectionError", "refused", 10)]
    assert found.affects == (voice.name,)
    assert "seen 10x: ConnectionError (connection) refused" in str(found)
    assert "in 15m 1 probe will test it" in str(found)
    with pytest.raises(ConfigurationError, match="tts"):
        recloser.explain("ttz")


class TestEvents:
    def test_tell_the_whole_story_in_order(self, recloser):
        """Each transition is one event with its facts."""
        fail(recloser, "tts", 10)
        recloser.clock.advance("15m")
        fail(recloser, "tts")
        recloser.clock.advance("30m")
        recloser.circuit("tts").record_success()
        pause("tts", reason="why", by="ann")
        resume("tts", by="bob")
        kinds = [event.kind for event in recloser.events]
        assert kinds == ["tripped", "probing", "re-tripped", "probing", "resumed", "paused", "resumed by hand"]
        tripped, by_hand = recloser.events[0], recloser.events[-1]
        assert (tripped.counts.failures, tripped.threshold, tripped.until) == (10, "10 failures in 5m", 900)
        assert (by_hand.by, by_hand.state, by_hand.previous) == ("bob", State.CLOSED, State.PAUSED)
        generations = [event.generation for event in recloser.events]
        assert generations == sorted(set(generations))
        assert json.loads(json.dumps(tripped.as_dict()))["counts"]["failures"] == 10
        assert recloser.events(2) == list(recloser.events)[-2:]

    def test_reach_listeners_and_a_listener_that_raises_breaks_nothing(self, recloser, caplog):
        """A broken listener is logged once per streak; the others hear everything, and the call never knows."""
        heard = []

        def broken(event):
            raise RuntimeError(event.kind)

        recloser.listen(broken)
        stop = recloser.listen(heard.append)
        with caplog.at_level(logging.WARNING, "recloser"):
            pause("a", reason="why", by="ann")
            pause("b", reason="why", by="ann")
        assert [event.circuit for event in heard] == ["a", "b"]
        assert len(caplog.records) == 1
        stop()
        resume("*", by="ann")
        assert len(heard) == 2

    def test_a_listener_may_use_the_circuit_it_hears_of(self, recloser):
        """What a listener brings about is told after what it was told of, without a deadlock."""
        heard = []

        def undo(event):
            heard.append(event.kind)
            if event.kind == "paused":
                recloser.resume(event.circuit, by="robot")

        recloser.listen(undo)
        pause("a", reason="why", by="ann")
        assert heard == ["paused", "resumed by hand"]


@pytest.mark.realtime
def test_a_circuit_moves_on_although_nobody_calls():
    """On the computer's clock a thread of ours waits for the end of the cooldown, and ends when nothing is due."""
    probing = threading.Event()
    with Recloser() as toolkit:
        tts = toolkit.circuit("tts", failures=1, cooldown=0.05)
        toolkit.listen(lambda event: event.kind == "probing" and probing.set())
        tts.record_failure("down")
        assert probing.wait(10)
        assert tts.state is State.HALF_OPEN
    assert "recloser-agenda" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.realtime
def test_close_ends_the_waiting_thread():
    """Nothing is left running by a toolkit that was closed while something was due."""
    with Recloser() as toolkit:
        toolkit.circuit("tts", failures=1).record_failure("down")
        assert "recloser-agenda" in [thread.name for thread in threading.enumerate()]
    assert "recloser-agenda" not in [thread.name for thread in threading.enumerate()]


class TestRecloser:
    def test_two_never_share_anything(self):
        """Each toolkit on memory:// has facts of its own."""
        one, other = Recloser(), Recloser()
        one.pause("tts", reason="why", by="ann")
        assert other.circuit("tts").allows()

    def test_ready_at_once_in_memory(self):
        """There is nobody to wait for in one process."""
        assert Recloser().ready("1s")

    async def test_async_life(self):
        """The async twins of ready and close do the same."""
        toolkit = Recloser()
        assert await toolkit.aready("1s")
        await toolkit.aclose()

    def test_mode_turns_every_circuit_down(self):
        """The toolkit's mode and the circuit's own: the one that does less wins."""
        clock = ManualClock()
        observing = Recloser(mode="observe", clock=clock)
        observing.circuit("tts", failures=1).record_failure("down")
        assert observing.circuit("tts").state is State.OPEN
        assert observing.circuit("tts").allows()
        off = Recloser(mode="off", clock=clock)
        off.circuit("tts", failures=1, mode="observe").record_failure("down")
        assert off.circuit("tts").snapshot().calls == 0

    @pytest.mark.parametrize(
        ("arguments", "key"),
        [
            ({"backend": "nosuch://x"}, "backend"),
            ({"backend": "memory://host"}, "backend"),
            ({"backend": 7}, "backend"),
            ({"namespace": ""}, "namespace"),
            ({"namespace": "a b"}, "namespace"),
            ({"mode": "loud"}, "mode"),
        ],
    )
    def test_refuses_what_is_impossible(self, arguments, key):
        """Bad settings are named where they are written."""
        with pytest.raises(ConfigurationError) as caught:
            Recloser(**arguments)
        assert caught.value.key == key

    def test_the_password_of_a_backend_is_not_shown(self):
        """A URL in an error keeps its secret."""
        with pytest.raises(ConfigurationError) as caught:
            Recloser("nosuch://ann:hunter2@host")
        assert "hunter2" not in f"{caught.value}{caught.value.args}"

    def test_system_clock_jitter_only_adds(self):
        """Pauses are lengthened by up to a tenth, never shortened."""
        assert all(0 <= SystemClock().jitter() <= 0.1 for _ in range(100))
