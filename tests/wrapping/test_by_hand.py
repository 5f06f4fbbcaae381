"""Outcomes reported by hand, questions that take nothing, and modes that do less, in every state of a circuit."""

from __future__ import annotations

import functools
import logging

import pytest

from recloser import PausedError, Recloser, State, circuit
from recloser.testing import ManualClock
from tests.wrapping.fakes import BadRequestError, Provider, ProviderDownError, Stream, function, generator
from tests.wrapping.shapes import FAILURE, IGNORED, NAME, SUCCESS, counted, half_open, probe_is_free

STATES = {
    State.CLOSED: lambda recloser: None,
    State.OPEN: lambda recloser: recloser.trip(NAME),
    State.HALF_OPEN: half_open,
    State.PAUSED: lambda recloser: recloser.pause(NAME, reason="test", by="test"),
}
ASKING = {
    State.CLOSED: None,
    State.OPEN: 900,
    State.HALF_OPEN: None,
    State.PAUSED: "only an operator",
}


@pytest.fixture(params=STATES, ids=str)
def state(request, recloser):
    """Every state, in turn; the circuit is in it."""
    STATES[request.param](recloser)
    return request.param


def test_asking_takes_nothing_and_counts_nothing(recloser, state):
    """``allows`` and ``check`` answer alike, as often as they are asked."""
    free = ASKING[state] is None
    for _ in range(3):
        assert circuit(NAME).allows() is free
        if free:
            circuit(NAME).check()
            continue
        with pytest.raises(PausedError) as caught:
            circuit(NAME).check()
        assert caught.value.state is state
        assert caught.value.retry_after == (900 if state is State.OPEN else None)
    assert counted() == {}
    assert circuit(NAME).state is state


def test_asking_while_the_probe_is_out_says_when_it_may_be_back(recloser):
    """In HALF_OPEN the next try makes sense when the probe's permit comes back by itself, at the latest."""
    half_open(recloser)
    circuit(NAME).acquire()
    recloser.clock.advance("20s")
    assert not circuit(NAME).allows()
    with pytest.raises(PausedError) as caught:
        circuit(NAME).check()
    assert (caught.value.state, caught.value.retry_after) == (State.HALF_OPEN, 40)
    recloser.clock.advance("40s")
    assert probe_is_free()


def test_a_failure_by_hand_counts_but_does_not_touch_a_pause(recloser, state):
    """It is a failure like any other: it trips, it re-trips, and it changes nothing about an operator's pause."""
    circuit(NAME, failures=1).record_failure(ProviderDownError())
    expected = {State.CLOSED: State.OPEN, State.HALF_OPEN: State.OPEN}
    assert circuit(NAME).state is expected.get(state, state)
    assert counted() == FAILURE


def test_a_success_by_hand_never_ends_a_pause_early(recloser, state):
    """OPEN and PAUSED last; a circuit that is being tested has passed."""
    circuit(NAME).record_success()
    expected = {State.HALF_OPEN: State.CLOSED}
    assert circuit(NAME).state is expected.get(state, state)


def test_the_snapshot_says_what_is_known(recloser, state):
    """Its fields agree with the circuit, and it is frozen."""
    snapshot = circuit(NAME).snapshot()
    assert (snapshot.name, snapshot.state) == (NAME, state)
    assert (snapshot.until is None) is (state is not State.OPEN)
    assert snapshot.by == ("test" if state is State.PAUSED else "recloser")
    with pytest.raises(AttributeError):
        snapshot.calls = 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, FAILURE),
        ("an error frame", FAILURE),
        (ProviderDownError(), FAILURE),
        (BadRequestError(), IGNORED),
        (KeyboardInterrupt(), IGNORED),
    ],
)
def test_what_is_reported_is_judged_like_what_is_raised(recloser, error, expected):
    """An exception by the rules of the mention; a text, or nothing, is a failure."""
    circuit(NAME).record_failure(error)
    assert counted() == expected


def test_the_rules_of_the_mention_judge(recloser):
    """``ignore=`` of this mention holds for what is reported through it."""
    circuit(NAME, ignore=ProviderDownError).record_failure(ProviderDownError())
    assert counted() == IGNORED


def test_one_failure_per_key_and_window(recloser):
    """A call that reports its failure three times is one failure; another call's is another, and so is a later one."""
    for key in ("call-17", "call-17", "call-17", "call-18"):
        circuit(NAME).record_failure("mute", once=key)
    assert counted() == {"calls": 2, "failures": 2}
    circuit("another").record_failure("mute", once="call-17")
    assert counted("another") == FAILURE
    recloser.clock.advance("5m")
    circuit(NAME).record_failure("mute", once="call-17")
    assert counted() == FAILURE


def test_the_context_goes_to_the_log(recloser, caplog):
    """Who debugs a trip finds the call it came from."""
    with caplog.at_level(logging.DEBUG, "recloser"):
        circuit(NAME).record_failure("mute", context={"call_sid": "CA17"})
    assert "CA17" in caplog.text


def test_by_hand_works_without_any_call_before(recloser):
    """A process that only reads logs reports, too."""
    circuit(NAME, failures=1).record_failure("ERROR 503 in the log")
    with pytest.raises(PausedError, match="1 failure in 5m, last: ERROR 503 in the log"):
        circuit(NAME).check()


# -- modes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["policy", "toolkit"])
@pytest.mark.parametrize("mode", ["observe", "off"])
def test_a_mode_that_does_less_lets_everything_through(mode, where):
    """Whoever turns a circuit down, in its policy or for all, nothing is rejected and ``off`` counts nothing at all."""
    clock = ManualClock()
    fleet = Recloser(clock=clock, mode=mode if where == "toolkit" else "enforce")
    of_policy = {"mode": mode} if where == "policy" else {}
    own = fleet.circuit(NAME, failures=2, **of_policy)
    for _ in range(3):
        own.record_failure("down")
        own.check()
        assert own.allows()
        assert own(lambda: "spoken")() == "spoken"
    off = mode == "off"
    assert own.state is (State.CLOSED if off else State.OPEN)
    assert [event.kind for event in fleet.events] == ([] if off else ["tripped"])
    own.record_success()
    assert own.snapshot().calls == (0 if off else 7)
    clock.advance("15m")
    assert own(lambda: "spoken")() == "spoken"
    assert own.state is State.CLOSED


def test_observing_a_half_open_circuit_tests_with_every_call(recloser):
    """Nothing is rejected, whatever the probes are doing; the first that fails re-trips."""
    circuit(NAME, mode="observe")
    half_open(recloser)
    first, second = circuit(NAME).acquire(), circuit(NAME).acquire()
    circuit(NAME).fail(second, 0.0, ProviderDownError())
    assert circuit(NAME).state is State.OPEN
    circuit(NAME).succeed(first, 0.0, 0.0)
    assert circuit(NAME).state is State.OPEN


def succeeds(own):
    assert list(own(generator(Provider()))()) == ["first", "later"]


def fails(own):
    with pytest.raises(ProviderDownError):
        own(function(Provider(call=ProviderDownError())))()


def is_refused(own):
    assert own(functools.partial(function(Provider()), "refused"))() == "refused"


def is_left(own):
    next(own(lambda: Stream(Provider()))()).upper()


@pytest.mark.parametrize("settles", [succeeds, fails, is_refused, is_left])
def test_a_call_of_a_circuit_that_is_off_settles_nothing(recloser, settles):
    """However it ends, nothing is counted of it."""
    settles(circuit(NAME, mode="off", stream=True, failure_if=lambda result: result == "refused"))
    assert counted() == {}


def test_a_success_is_one_whatever_the_way(recloser):
    """By hand, as a block, and decorated: one and the same count."""
    circuit(NAME).record_success()
    with circuit(NAME):
        pass
    circuit(NAME)(lambda: None)()
    assert counted() == {key: 3 * count for key, count in SUCCESS.items()}
