"""Rules for a fleet: how many must agree, what one process decides alone, and what of that becomes the fleet's."""

from __future__ import annotations

from typing import Any

import pytest

from recloser.core import machine
from recloser.core.events import EventKind
from recloser.core.machine import RECLOSER, Facts, Record, State
from recloser.core.policy import Policy
from recloser.core.window import Counts

BASE = 100


@pytest.mark.parametrize(("quorum", "reporters", "trips"), [(1, 0, True), (1, 1, True), (2, 1, False), (2, 2, True)])
def test_the_fleet_trips_when_enough_processes_have_seen_failures(quorum: int, reporters: int, trips: bool) -> None:  # noqa: FBT001
    """A window that is bad enough trips only with a quorum; one process is always enough for a quorum of one."""
    facts = Facts(Record(generation=1), 1000.0, Counts(10, 10), reporters=reporters)
    assert (machine.decide(Policy(quorum=quorum), facts) is not None) is trips


def record(state: State, generation: int = BASE, until: float | None = None, by: str = RECLOSER) -> Record:
    return Record(generation, state, since=900.0, until=until, reason="why", by=by, trips=2)


OWN_PAUSE = record(State.OPEN, -2, 1100.0)


@pytest.mark.parametrize(
    ("own", "fleet", "holds"),
    [
        # A pause of its own holds to its end, whatever the fleet has come to meanwhile,
        (OWN_PAUSE, record(State.CLOSED), True),
        (OWN_PAUSE, record(State.HALF_OPEN), True),
        (OWN_PAUSE, record(State.CLOSED, BASE + 1), True),
        # but not beside one of the fleet that is longer,
        (OWN_PAUSE, record(State.OPEN, BASE + 1, 1050.0), True),
        (OWN_PAUSE, record(State.OPEN, BASE + 1, 1100.0), False),
        # and not against an operator.
        (OWN_PAUSE, record(State.PAUSED, BASE + 1, by="ann"), False),
        (OWN_PAUSE, record(State.CLOSED, BASE + 1, by="ann"), False),
        (OWN_PAUSE, record(State.CLOSED, by="ann"), True),
        # It is tested only where the fleet has nothing to say.
        (record(State.HALF_OPEN, -2), record(State.CLOSED), True),
        (record(State.HALF_OPEN, -2), record(State.CLOSED, BASE + 1), False),
        (record(State.HALF_OPEN, -2), record(State.OPEN, until=1050.0), False),
        # What it closed, or an operator paused, it has no word of its own about.
        (record(State.CLOSED, -2), record(State.CLOSED), False),
        (record(State.PAUSED, -2), record(State.CLOSED), False),
    ],
)
def test_what_a_process_decided_alone_holds_as_long_as_it_should(own: Record, fleet: Record, holds: bool) -> None:  # noqa: FBT001
    """OPEN never ends early, an operator has the last word, and the fleet leads where it can."""
    assert machine.outlives(own, fleet, BASE) is holds


def fleet_facts(state: State) -> Facts:
    return Facts(record(state), now=1000.0, window=Counts(3, 3))


@pytest.mark.parametrize(("state", "kind"), [(State.CLOSED, EventKind.TRIPPED), (State.HALF_OPEN, EventKind.RETRIPPED)])
def test_a_pause_made_alone_becomes_the_fleets(state: State, kind: EventKind) -> None:
    """It keeps its beginning, its end and its reason, and gets a number of the fleet."""
    step = machine.announce(OWN_PAUSE, fleet_facts(state))
    assert step is not None
    assert step.event is kind
    assert (step.record.state, step.record.since, step.record.until, step.record.reason, step.record.trips) == (
        State.OPEN, 900.0, 1100.0, "why", 2,
    )  # fmt: skip
    assert step.record.generation > BASE


@pytest.mark.parametrize(
    ("own", "state"),
    [
        (OWN_PAUSE, State.OPEN),
        (OWN_PAUSE, State.PAUSED),
        (record(State.OPEN, -2, 1000.0), State.CLOSED),
        (record(State.HALF_OPEN, -2), State.CLOSED),
        (record(State.CLOSED, -2), State.CLOSED),
        (record(State.OPEN, -2, None), State.CLOSED),
    ],
)
def test_nothing_else_does(own: Record, state: State) -> None:
    """A pause that is over, a test, a resume: the fleet finds its own way."""
    assert machine.announce(own, fleet_facts(state)) is None


@pytest.mark.parametrize("loss", ["local", "pause"])
def test_a_policy_says_what_a_loss_of_the_backend_means(loss: str) -> None:
    """Both ways are written as plain words."""
    assert Policy(on_backend_loss=loss).on_backend_loss == loss


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("quorum", 0, "a whole number, 1 or more"),
        ("quorum", True, "a whole number, 1 or more"),
        ("on_backend_loss", "panic", "one of 'local', 'pause'"),
    ],
)
def test_an_impossible_policy_of_a_fleet_is_refused(key: str, value: Any, allowed: str) -> None:
    """The error names the field, the value and what is allowed."""
    with pytest.raises(ValueError, match=f"{key} = {value!r} is not possible: {allowed}"):
        Policy(**{key: value})
