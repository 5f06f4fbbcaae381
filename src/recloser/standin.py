"""The stand-in for the fleet: the same rules on what one process has counted itself.

It decides while the backend cannot be asked, and for a process that is sick alone, because fewer processes than the
quorum have seen failures. It lives in the process's own time and in memory.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from recloser.backends import Ask, Parcel
from recloser.backends.memory import MemoryBackend
from recloser.core import machine
from recloser.core.machine import UNKNOWN, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recloser.backends import Answer, Delivery, Lease, Seat
    from recloser.clock import Clock
    from recloser.core.machine import Facts, Record, Step
    from recloser.core.policy import Policy

__all__ = ["StandIn"]

_ITSELF = "this process"
_REMEMBERED = 8
"""So many states of its own are told from the fleet's while calls that began in them end."""


class StandIn:
    """What one process decides for itself about its circuits.

    It follows the fleet: as long as nothing has to be decided here, it holds the fleet's record and the process's own
    outcomes. Once it has decided something, that holds beside the fleet's record for as long as
    :func:`machine.outlives` says so.

    Args:
        clock: the process's time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._memory = MemoryBackend(clock=clock)
        self._sequence = 0
        self._generations = itertools.count(UNKNOWN - 1, -1)
        # The generation of the fleet's record that each circuit last followed, the fleet's latest, and those that it
        # went on to by itself, each with the fleet's at that time: for the fleet, what happens in it belongs there.
        self._base: dict[str, int] = {}
        self._fleet: dict[str, int] = {}
        self._own: dict[str, dict[int, int]] = {}

    def follow(self, name: str, record: Record) -> None:
        """Holds the fleet's record, in the process's time; an empty window comes with a closed circuit."""
        first = self._base.get(name, UNKNOWN) == UNKNOWN
        self._knows(name, record.generation)
        # What was counted before the first word came belongs to the state that it tells of.
        self._memory.restore(name, record, clear=record.state is State.CLOSED and not first)
        self._base[name] = record.generation

    def count(self, name: str, policy: Policy, deliveries: Sequence[Delivery]) -> tuple[Delivery, ...]:
        """Takes note of what happened in this process; the same as the fleet is to be told of it."""
        if deliveries:
            self._ask(name, policy, deliveries)
        own = self._own.get(name)
        if not own:
            return tuple(deliveries)
        return tuple(replace(each, generation=own.get(each.generation, each.generation)) for each in deliveries)

    def yield_to(self, name: str, fleet: Facts) -> None:
        """Gives up what was decided here: an operator has spoken."""
        self.follow(name, _moved(fleet.record, self._clock.now() - fleet.now))

    def beside(self, name: str, policy: Policy, fleet: Facts, tell: Callable[[Facts, Step], object]) -> Facts:
        """The facts that hold for this process while the fleet can be asked: the fleet's, or with a record of its own.

        Args:
            name: the circuit.
            policy: its policy.
            fleet: what the fleet agrees on.
            tell: told of what is decided here.
        """
        shift = fleet.now - self._clock.now()
        record = _moved(fleet.record, -shift)
        self._knows(name, record.generation)
        if record.generation != self._base.get(name) and not self.holds(name, policy, fleet):
            self.follow(name, record)
        if policy.quorum > 1 and (record.state is State.CLOSED or self.went_on(name, policy)):
            self.decide(name, policy, tell)
        if not self.went_on(name, policy):
            return fleet
        if not self.holds(name, policy, fleet):
            self.follow(name, record)
            return fleet
        return replace(fleet, record=_moved(self.facts(name, policy).record, shift))

    def decide(self, name: str, policy: Policy, tell: Callable[[Facts, Step], object]) -> Facts:
        """Makes the transitions that are due by what this process knows alone, and tells of each."""
        while True:
            facts = self.facts(name, policy)
            step = machine.decide(policy, facts, self._clock.jitter())
            if step is None:
                return facts
            # Numbers of its own, so that no outcome of its states is ever taken for one of the fleet's.
            step = replace(step, record=replace(step.record, generation=next(self._generations)))
            own = self._own.setdefault(name, {})
            own[step.record.generation] = self._fleet.get(name, UNKNOWN)
            while len(own) > _REMEMBERED:
                del own[next(iter(own))]
            self._memory.restore(name, step.record, clear=step.record.state is State.CLOSED)
            tell(facts, step)

    def announcement(self, name: str, policy: Policy, fleet: Facts) -> Step | None:
        """The step by which the fleet takes over a pause that was decided here while it could not be asked."""
        base = self._base.get(name, UNKNOWN)
        if policy.quorum > 1 or fleet.record.generation != base or not self.went_on(name, policy):
            return None
        own = _moved(self._ask(name, policy).record, fleet.now - self._clock.now())
        return machine.announce(own, fleet)

    def facts(self, name: str, policy: Policy) -> Facts:
        """What this process knows by itself, in its own time."""
        # Alone, it is all the processes there are.
        return replace(self._ask(name, policy), reporters=policy.quorum)

    def went_on(self, name: str, policy: Policy) -> bool:
        """Whether it has decided something since it followed the fleet last."""
        return self._ask(name, policy).record.generation != self._base.get(name, UNKNOWN)

    def holds(self, name: str, policy: Policy, fleet: Facts) -> bool:
        """Whether what was decided here holds beside what the fleet agrees on."""
        own, base = self._ask(name, policy).record, self._base.get(name, UNKNOWN)
        return own.generation != base and machine.outlives(
            own, _moved(fleet.record, self._clock.now() - fleet.now), base
        )

    def lease(self, name: str, policy: Policy, seat: Seat, *, length: float) -> Lease:
        """A permit of the present state; with a length of 0, what the answer would be."""
        generation = self._ask(name, policy).record.generation
        ask = Ask(seat, generation, policy.probes, length)
        return self._exchange(Parcel(name, policy.window, (), (ask,))).leases[0]

    def _knows(self, name: str, generation: int) -> None:
        own, before = self._own.get(name, {}), self._fleet.get(name, UNKNOWN)
        if before == UNKNOWN != generation:
            own.update((each, generation) for each, of in own.items() if of == UNKNOWN)
        self._fleet[name] = generation

    def _ask(self, name: str, policy: Policy, deliveries: Sequence[Delivery] = ()) -> Facts:
        return self._exchange(Parcel(name, policy.window, tuple(deliveries))).facts

    def _exchange(self, parcel: Parcel) -> Answer:
        self._sequence += 1
        return self._memory.exchange(_ITSELF, self._sequence, self._clock.now(), [parcel]).answers[0]


def _moved(record: Record, by: float) -> Record:
    """The record in a time that is ``by`` seconds ahead."""
    until = None if record.until is None else machine.after(record.until, by)
    return replace(record, since=machine.after(record.since, by), until=until)
