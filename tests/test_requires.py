"""Requirements: work that cannot succeed is not begun, and recovery is tested without opening the gates."""

from __future__ import annotations

import contextlib
import contextvars
import threading

import anyio
import pytest

from recloser import PausedError, Recloser, State, circuit, fallback, pause, requires
from recloser.testing import ManualClock
from tests.wrapping.shapes import counted, half_open

STT, TTS_A, TTS_B, PHONE = "deepgram", "eleven", "cartesia", "twilio"


@fallback(TTS_A, TTS_B)
def speak(provider):
    return provider


@requires(speak, STT, circuit(PHONE))
def dial(lead: str = "lead") -> str:
    """Dials."""
    return f"dialled {lead}"


def admitted(call=dial, times=3):
    """How many of several calls ran."""
    ran = 0
    for _ in range(times):
        try:
            call()
        except PausedError:
            continue
        ran += 1
    return ran


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_work_runs_while_everything_is_available(recloser):
    """And no call to a provider is counted for it."""
    assert dial("ada") == "dialled ada"
    dial.__wrapped__("ada")
    assert [counted(name) for name in (STT, TTS_A, TTS_B, PHONE)] == [{}, {}, {}, {}]


@pytest.mark.parametrize("name", [STT, PHONE])
@pytest.mark.parametrize("by", ["recloser", "ada"])
def test_work_does_not_run_while_a_dependency_is_out(recloser, name, by):
    """OPEN or PAUSED, by itself or by an operator; the error is that of the circuit in the way."""
    if by == "recloser":
        recloser.trip(name)
    else:
        pause(name, reason="maintenance", by=by)
    with pytest.raises(PausedError) as caught:
        dial()
    assert (caught.value.circuit, caught.value.paused_by) == (name, by)
    assert caught.value.retry_after == (900 if by == "recloser" else None)
    assert not requires(name).allows()


def test_one_provider_of_a_fallback_is_enough(recloser):
    """All of them out is what stops the work, with the soonest to be back."""
    recloser.trip(TTS_A)
    assert dial() == "dialled lead"
    recloser.clock.advance("5m")
    recloser.trip(TTS_B)
    with pytest.raises(PausedError) as caught:
        dial()
    assert (caught.value.circuit, caught.value.retry_after) == (TTS_A, 600)
    assert caught.value.reason.startswith("no provider is available: ")


def test_every_kind_of_dependency_is_understood(recloser):
    """Names, circuits, fallbacks, and what was decorated with one: all of them are looked at."""

    @circuit("decorated")
    def call():
        """Protected."""

    class Client:
        @circuit("method")
        def method(self):
            """Protected."""

    chain = fallback("only")
    needed = requires(
        "name", circuit("circuit"), call, chain, chain(lambda provider: None), Client().method, Client.method
    )
    names = ("name", "circuit", "decorated", "only", "only", "method", "method")
    assert needed.groups == needed.written == tuple((name,) for name in names)
    for name in dict.fromkeys(names):
        assert needed.allows()
        recloser.trip(name)
        assert not needed.allows()
        with pytest.raises(PausedError):
            needed.check()
        recloser.heal(name)


def test_a_method_patched_onto_its_client_is_understood(recloser):
    """``client.convert = circuit(...)(client.convert)`` can be required."""

    class Client:
        def convert(self):
            """Converts."""

    client = Client()
    client.convert = circuit("patched")(client.convert)
    assert requires(client.convert).members == ("patched",)


def test_it_says_what_it_is(recloser):
    """``repr`` and the events name what depends on a circuit."""
    assert repr(requires(STT, PHONE)) == f"requires({STT}, {PHONE})"
    recloser.trip(PHONE)
    assert "dial" in recloser.events[-1].affects


# -- trials -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probes", [1, 2])
def test_trials_are_capped(recloser, probes):
    """``probes`` per ``probe_timeout``, so that a dialler does not rush a provider that has just come back."""
    circuit(STT, probes=probes, probe_timeout="30s")
    half_open(recloser, STT)
    assert admitted() == probes
    recloser.clock.advance("29s")
    assert admitted() == 0
    recloser.clock.advance("1s")
    assert admitted() == probes


def test_a_trial_refused_says_when_the_next_is(recloser):
    """A dialler puts its lead back for that long."""
    half_open(recloser, STT)
    dial()
    recloser.clock.advance("20s")
    with pytest.raises(PausedError) as caught:
        dial()
    assert (caught.value.state, caught.value.retry_after) == (State.HALF_OPEN, 40)


def test_trials_end_when_the_circuit_closes(recloser):
    """The first real success opens the gates; a failure shuts them."""
    half_open(recloser, STT)
    dial()
    circuit(STT)(lambda: "heard")()
    assert admitted() == 3
    half_open(recloser, STT)
    circuit(STT).record_failure()
    assert admitted() == 0


def test_trials_take_no_probe_and_probes_no_trial(recloser):
    """The work that a trial lets through makes the call that tests the provider."""
    half_open(recloser, STT)

    @requires(STT)
    def work():
        return circuit(STT)(lambda: "heard")()

    assert work() == "heard"
    assert circuit(STT).state is State.CLOSED


def test_a_trial_is_given_back_when_another_dependency_refuses(recloser):
    """Nothing was tested, so the next attempt may."""
    half_open(recloser, STT)
    recloser.trip(PHONE)
    for _ in range(3):
        with pytest.raises(PausedError, match=PHONE):
            dial()
    recloser.heal(PHONE)
    assert admitted() == 1


def test_asking_takes_no_trial(recloser):
    """``allows`` may be asked as often as one likes."""
    half_open(recloser, STT)
    needed = requires(STT)
    assert [needed.allows() for _ in range(5)] == [True] * 5
    assert admitted(times=1) == 1
    assert not needed.allows()


def test_work_prefers_a_healthy_provider_to_a_test(recloser):
    """Work that needs any one of several is no test of the one that is down."""
    half_open(recloser, TTS_A)
    assert admitted() == 3
    recloser.trip(TTS_B)
    assert admitted() == 1


def test_a_circuit_that_only_observes_refuses_nothing(recloser):
    """Whatever its state."""
    circuit(STT, mode="observe")
    recloser.trip(STT)
    assert admitted() == 3
    recloser.clock.advance("15m")
    assert admitted() == 3


# -- check before the call --------------------------------------------------------------------------------------------


def test_checking_before_the_call_uses_one_trial(recloser):
    """A dispatch loop asks once before it fetches work; the call that follows is the one it was asked for."""
    circuit(STT, probes=2)
    half_open(recloser, STT)
    needed = requires(STT)
    call = needed(lambda: "done")
    needed.check()
    assert call() == "done"
    needed.check()
    assert call() == "done"
    with pytest.raises(PausedError):
        needed.check()
    with pytest.raises(PausedError):
        call()


def test_what_was_checked_pays_for_one_call(recloser):
    """The second call asks for itself."""
    half_open(recloser, STT)
    needed = requires(STT)
    needed.check()
    assert admitted(needed(lambda: None)) == 1


def test_what_was_checked_is_worth_nothing_after_a_transition(recloser):
    """A leave belongs to its generation."""
    needed = requires(STT)
    needed.check()
    recloser.trip(STT)
    assert admitted(needed(lambda: None)) == 0


def test_a_refused_check_takes_nothing(recloser):
    """As with the call itself."""
    half_open(recloser, STT)
    recloser.trip(PHONE)
    needed = requires(STT, PHONE)
    with pytest.raises(PausedError):
        needed.check()
    assert requires(STT).allows()


def test_a_check_counts_where_it_was_made(recloser):
    """Another thread, or another context, asks for itself."""
    circuit(STT, probes=2)
    half_open(recloser, STT)
    needed = requires(STT)
    call = needed(lambda: None)
    needed.check()
    ran = []
    thread = threading.Thread(target=lambda: ran.append(admitted(call)))
    thread.start()
    thread.join()
    assert ran == [1]
    assert admitted(call) == 1


async def test_tasks_begun_after_a_check_share_it(recloser):
    """A dispatcher that checks and then begins the call in a task has still asked for one call."""
    half_open(recloser, STT)
    needed = requires(STT)
    ran = []

    @needed
    async def call():
        ran.append(1)

    async def attempt():
        with contextlib.suppress(PausedError):
            await call()

    needed.check()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(attempt)
    assert ran == [1]


def test_a_check_is_worth_its_trial_as_long_as_it_lasts(recloser):
    """After ``probe_timeout`` the trial belongs to somebody else."""
    half_open(recloser, STT)
    needed = requires(STT)
    needed.check()
    recloser.clock.advance("60s")
    assert (
        contextvars.copy_context().run(lambda: admitted(requires(STT)(lambda: None))) + admitted(needed(lambda: None))
        == 1
    )


def test_a_check_does_not_pay_for_another_requirement(recloser):
    """It pays for circuits: another requirement on the same circuit is the same question."""
    half_open(recloser, STT)
    requires(STT).check()
    assert admitted(requires(PHONE)(lambda: None)) == 3
    assert admitted(requires(STT)(lambda: None)) == 1


def test_another_fleet_has_its_own_requirements():
    """Nothing of the default toolkit is touched."""
    clock = ManualClock()
    fleet = Recloser(clock=clock)
    held = fleet.requires(STT, fleet.fallback(TTS_A))(lambda: "done")
    assert held() == "done"
    fleet.pause(TTS_A, reason="test", by="ada", for_="1m")
    assert admitted(held) == 0
    clock.advance("1m")
    assert admitted(held) == 1
