"""The stand-in for the fleet: the same rules on what one process has counted itself.

It decides while the backend cannot be asked, and for a process that is sick alone, because fewer processes than the
quorum have seen failures. It lives in the process's own time and in memory.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from recloser.backends import Ask, Parcel
from recloser.core import machine
from recloser.core.machine import UNKNOWN, Facts, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recloser.backends import Answer, Delivery, Lease, Seat
    from recloser.backends.memory import MemoryBackend
    from recloser.clock import Clock
    from recloser.core.machine import Record, Step
    from recloser.replica import Replica

__all__ = ["StandIn"]

_REMEMBERED = 8
"""So many states of its own are told from the fleet's while calls that began in them end."""

# Numbers of its own, so that no outcome of a state of this process is ever taken for one of the fleet's.
_generations = itertools.count(UNKNOWN - 1, -1)


class StandIn:
    """What one process decides for itself about one circuit.

    It follows the fleet: as long as nothing has to be decided here, it holds the fleet's record and the process's own
    outcomes. Once it has decided something, that holds beside the fleet's record for as long as
    :func:`machine.outlives` says so.

    Args:
        replica: the circuit.
        memory: where its facts are kept, in the process's time.
        clock: that time.

    Attributes:
        went_on: whether it has decided something since it followed the fleet last.
    """

    went_on: bool

    def __init__(self, replica: Replica, memory: MemoryBackend, clock: Clock) -> None:
        self.went_on = False
        self._replica = replica
        self._memory = memory
        self._clock = clock
        self._sequence = 0
        # The generation of the fleet's record that it followed last, the fleet's latest, and those that it went on to
        # by itself, each with the fleet's at that time: for the fleet, what happens in it belongs there.
        self._base = self._fleet = UNKNOWN
        self._own: dict[int, int] = {}
        self.follow(machine.Record(UNKNOWN, since=clock.now()))

    def follow(self, record: Record) -> None:
        """Holds the fleet's record, in the process's time; an empty window comes with a closed circuit."""
        # But what was counted before the first word came belongs to the state that it tells of.
        clear = record.state is State.CLOSED and self._base != UNKNOWN
        self._knows(record.generation)
        self._memory.restore(self._replica.name, record, clear=clear)
        self._base = record.generation
        self.went_on = False

    def yield_to(self, fleet: Facts) -> None:
        """Gives up what was decided here: an operator has spoken."""
        self.follow(_moved(fleet.record, self._clock.now() - fleet.now))

    def count(self, deliveries: Sequence[Delivery]) -> tuple[Delivery, ...]:
        """Takes note of what happened in this process; the same as the fleet is to be told of it."""
        if deliveries:
            self._exchange(tuple(deliveries))
        own = self._own
        if not own:
            return tuple(deliveries)
        return tuple(replace(each, generation=own.get(each.generation, each.generation)) for each in deliveries)

    def facts(self) -> Facts:
        """What this process knows by itself, in its own time."""
        # Alone, it is all the processes there are.
        return replace(self._exchange().facts, reporters=self._replica.policy.quorum)

    def decide(self, tell: Callable[[Facts, Step], object]) -> Facts:
        """Makes the transitions that are due by what this process knows alone, and tells of each."""
        while True:
            facts = self.facts()
            step = machine.decide(self._replica.policy, facts, self._clock.jitter())
            if step is None:
                return facts
            step = replace(step, record=replace(step.record, generation=next(_generations)))
            self._own[step.record.generation] = self._fleet
            while len(self._own) > _REMEMBERED:
                del self._own[next(iter(self._own))]
            self._memory.restore(self._replica.name, step.record, clear=step.record.state is State.CLOSED)
            self.went_on = True
            tell(facts, step)

    def beside(self, fleet: Facts, tell: Callable[[Facts, Step], object]) -> Facts:
        """The facts that hold for this process while the fleet can be asked: the fleet's, or with a record of its own.

        Args:
            fleet: what the fleet agrees on.
            tell: told of what is decided here.
        """
        record = fleet.record
        self._knows(record.generation)
        if record.generation != self._base and not self.holds(fleet):
            self.yield_to(fleet)
        if self.went_on or (self._replica.policy.quorum > 1 and record.state is State.CLOSED):
            self.decide(tell)
        if not self.went_on:
            return fleet
        if not self.holds(fleet):
            self.yield_to(fleet)
            return fleet
        return replace(fleet, record=self._in_time_of(fleet))

    def holds(self, fleet: Facts) -> bool:
        """Whether what was decided here holds beside what the fleet agrees on."""
        return self.went_on and machine.outlives(self._in_time_of(fleet), fleet.record, self._base)

    def announcement(self, fleet: Facts) -> Step | None:
        """The step by which the fleet takes over a pause that was decided here while it could not be asked."""
        if not self.went_on or self._replica.policy.quorum > 1 or fleet.record.generation != self._base:
            return None
        return machine.announce(self._in_time_of(fleet), fleet)

    def lease(self, seat: Seat, *, length: float) -> Lease:
        """A permit of the present state; with a length of 0, what the answer would be."""
        ask = Ask(seat, self._exchange().facts.record.generation, self._replica.policy.probes, length)
        return self._exchange((), ask).leases[0]

    def _in_time_of(self, fleet: Facts) -> Record:
        return _moved(self._exchange().facts.record, fleet.now - self._clock.now())

    def _knows(self, generation: int) -> None:
        if self._fleet == UNKNOWN != generation:
            self._own.update((each, generation) for each, of in self._own.items() if of == UNKNOWN)
        self._fleet = generation

    def _exchange(self, deliveries: tuple[Delivery, ...] = (), *asks: Ask) -> Answer:
        self._sequence += 1
        parcel = Parcel(self._replica.name, self._replica.policy.window, deliveries, asks)
        # Each circuit is a sender with numbers of its own.
        sender = self._replica.name
        return self._memory.exchange(sender, self._sequence, self._clock.now(), [parcel]).answers[0]


def _moved(record: Record, by: float) -> Record:
    """The record in a time that is ``by`` seconds ahead."""
    until = None if record.until is None else machine.after(record.until, by)
    return replace(record, since=machine.after(record.since, by), until=until)
