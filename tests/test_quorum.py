"""A quorum: one sick process does not pause the fleet, but it does pause itself."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from recloser import PausedError, Recloser, State
from recloser.backends.memory import MemoryBackend
from recloser.testing import ManualClock

RULES: dict[str, Any] = {"failures": 3, "quorum": 2, "cooldown": 60}


class Fleet:
    """Three processes that share a backend."""

    def __init__(self, **more: object) -> None:
        self.clock = ManualClock()
        backend = MemoryBackend(clock=self.clock)
        self.toolkits = [Recloser(backend, clock=self.clock) for _ in range(3)]
        self.circuits = [each.circuit("tts", **{**RULES, **more}) for each in self.toolkits]

    @property
    def states(self) -> list[str]:
        return [each.state.name for each in self.circuits]


def test_one_sick_process_pauses_itself_and_nobody_else() -> None:
    """Its own failures cross the threshold, but it is the only one that has seen any."""
    fleet = Fleet()
    for _ in range(3):
        fleet.circuits[0].record_failure("down")
    assert fleet.states == ["OPEN", "CLOSED", "CLOSED"]
    with pytest.raises(PausedError, match="3 failures in 5m"):
        fleet.circuits[0].acquire()
    (event,) = fleet.toolkits[1].events
    assert (event.kind, event.local) == ("tripped", True)


def test_a_sick_process_is_tested_and_comes_back_by_itself() -> None:
    """Its pause ends as any other: after the cooldown one probe of its own decides."""
    fleet = Fleet()
    for _ in range(3):
        fleet.circuits[0].record_failure("down")
    fleet.clock.advance(60)
    assert fleet.states == ["HALF_OPEN", "CLOSED", "CLOSED"]
    with pytest.raises(ConnectionError), fleet.circuits[0]:
        raise ConnectionError
    assert fleet.states == ["OPEN", "CLOSED", "CLOSED"]
    shot = fleet.circuits[0].snapshot()
    assert shot.until is not None
    assert shot.until - shot.since == 120
    fleet.clock.advance(120)
    with fleet.circuits[0]:
        assert not fleet.circuits[0].allows()  # the only probe is out
    assert fleet.states == ["CLOSED"] * 3
    assert fleet.toolkits[0].events[-1].kind == "resumed"


def test_what_a_sick_process_sees_counts_for_the_fleet() -> None:
    """The last failure of a second process completes the quorum, and the fleet trips with the counts of both."""
    fleet = Fleet()
    for _ in range(3):
        fleet.circuits[0].record_failure("down")
    fleet.circuits[1].record_failure("down")
    assert fleet.states == ["OPEN"] * 3
    assert fleet.circuits[2].snapshot().reason == "4 failures in 5m, last: down"


def test_a_pause_of_its_own_never_ends_early() -> None:
    """A shorter pause of the fleet does not shorten the longer one that a process has made by itself."""
    fleet = Fleet(cooldown_growth=1)
    fleet.clock.advance(100)
    for _ in range(3):
        fleet.circuits[0].record_failure("down")
    fleet.clock.advance(59)
    fleet.circuits[1].record_failure("down")  # the fleet is open until 219
    assert fleet.states == ["OPEN"] * 3
    fleet.clock.advance(60)
    with fleet.circuits[1]:
        pass
    assert fleet.states == ["CLOSED"] * 3


def test_the_operator_has_the_last_word() -> None:
    """Resuming by hand closes the circuit of a sick process too, and a pause holds for it like for all."""
    fleet = Fleet()
    for _ in range(3):
        fleet.circuits[0].record_failure("down")
    fleet.toolkits[0].resume("tts", by="ann")
    assert fleet.states == ["CLOSED"] * 3
    for _ in range(3):
        fleet.circuits[0].record_failure("down")
    fleet.toolkits[1].pause("tts", reason="maintenance", by="ann")
    assert [each.state for each in fleet.circuits] == [State.PAUSED] * 3
    fleet.toolkits[1].resume("tts", by="ann")
    assert fleet.states == ["CLOSED"] * 3


def test_slow_calls_complete_a_quorum_too() -> None:
    """A process that finds the provider slow has seen trouble as well."""
    fleet = Fleet(slow_after=1, slow_rate=0.9)
    for circuit in fleet.circuits[:2]:
        with circuit:
            fleet.clock.advance(2)
    for _ in range(3):
        with suppress(ConnectionError), fleet.circuits[0]:
            raise ConnectionError
    assert fleet.states == ["OPEN"] * 3
