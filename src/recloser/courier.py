"""The courier carries outcomes from replicas to the backend, and facts back; on the way it lets the core decide.

With a backend that answers at once it works on the caller's own thread.
"""

from __future__ import annotations

import itertools
import uuid
from functools import partial
from typing import TYPE_CHECKING

from recloser.agenda import Agenda
from recloser.backends import Parcel, Seat
from recloser.core import machine
from recloser.core.events import Event
from recloser.core.machine import State
from recloser.forks import renew_after_fork
from recloser.locks import Section, unless_held

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.backends import Backend
    from recloser.clock import Clock
    from recloser.contain import Listeners
    from recloser.core.events import EventKind
    from recloser.core.machine import Facts, Record, Step
    from recloser.replica import Replica

__all__ = ["Courier"]


class Courier:
    """Between the replicas of one toolkit and its backend.

    Args:
        backend: where facts are shared.
        clock: the process's time.
        listeners: told of every event that this process brought about, never under a lock.
        affects: the names of what is built on a circuit.
    """

    backend: Backend

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        listeners: Listeners[Event],
        affects: Callable[[str], tuple[str, ...]],
    ) -> None:
        self.backend = backend
        self._clock = clock
        self._listeners = listeners
        self._affects = affects
        self._lock = Section()
        self._replicas: dict[str, Replica] = {}
        self._sender = uuid.uuid4().hex
        self._sequence = itertools.count(1)
        self._agenda = Agenda(clock, self._move_on)
        self._unsubscribe = backend.subscribe(self._pushed)
        renew_after_fork(self)

    def seat(self, pool: str, number: int) -> Seat:
        """A seat that no other process asks for."""
        return Seat(pool, f"{self._sender}:{number}")

    def wake(self, replica: Replica, *, sweep: bool = True) -> None:
        """There is something to carry for ``replica``; a garbage collector may say so at any time."""
        unless_held(partial(self.run, replica, sweep=sweep))

    def run(self, replica: Replica, *, sweep: bool = True) -> Facts:
        """Delivers what ``replica`` holds, makes the transitions that are due, and brings the facts back."""
        return self.operate(replica, None, sweep=sweep)

    def operate(self, replica: Replica, choose: Callable[[Facts], Step | None] | None, *, sweep: bool = True) -> Facts:
        """Makes the one transition that ``choose`` finds in the facts, if any, and then those that are due.

        ``choose`` is asked again while others are quicker.
        """

        def due(facts: Facts) -> Step | None:
            return machine.decide(replica.policy, facts, self._clock.jitter())

        with self._lock:
            self._replicas.setdefault(replica.name, replica)
            while True:
                facts = self._exchange(replica, sweep=sweep)
                step = (choose or due)(facts)
                if step is None and choose is None:
                    break
                if step is None:
                    choose = None
                    continue
                event = self._event(replica, facts, step.event, step.record, step.previous)
                clear = step.record.state is State.CLOSED
                if self.backend.swap(replica.name, facts.record.generation, step.record, event, clear=clear):
                    self._listeners.put(event)
                    choose = None
            replica.apply(facts, self.unix(facts, facts.record.since))
            self._agenda.put(replica.name, replica.until)
        self._listeners.tell()
        return facts

    def report(self, replica: Replica, kind: EventKind, reason: str) -> None:
        """Puts an event that no transition brought into the log, and tells of it."""
        facts = self.run(replica)
        event = self._event(replica, facts, kind, facts.record, facts.record, reason)
        self.backend.append(event)
        self._listeners.put(event)
        self._listeners.tell()

    def close(self) -> None:
        """Delivers what is left and stops waiting for anything."""
        for replica in list(self._replicas.values()):
            self.run(replica)
        self._agenda.close()
        self._unsubscribe()

    def _exchange(self, replica: Replica, *, sweep: bool) -> Facts:
        parcel = Parcel(replica.name, replica.policy.window, replica.collect(sweep=sweep))
        return self.backend.exchange(self._sender, next(self._sequence), self._clock.now(), [parcel])[0]

    def _event(
        self, replica: Replica, facts: Facts, kind: EventKind, record: Record, previous: Record, reason: str = ""
    ) -> Event:
        return Event(
            kind=kind,
            circuit=replica.name,
            state=record.state,
            previous=previous.state,
            generation=record.generation,
            at=self.unix(facts, facts.now),
            until=None if record.until is None else self.unix(facts, record.until),
            reason=reason or record.reason,
            by=record.by,
            counts=facts.window,
            threshold=machine.threshold(replica.policy),
            errors=facts.errors,
            affects=self._affects(replica.name),
        )

    def unix(self, facts: Facts, moment: float) -> float:
        """``moment``, which is the backend's, as Unix time."""
        return round(self._clock.time() + (moment - facts.now), 6)

    def _pushed(self, circuit: str, record: Record) -> None:
        """Somebody swapped a record: whoever else has a replica of it takes it over at once."""
        replica = self._replicas.get(circuit)
        if replica is not None:
            facts = machine.Facts(record=record, now=record.since)
            replica.apply(facts, self.unix(facts, record.since))
            self._agenda.put(circuit, replica.until)

    def _move_on(self, circuit: str) -> None:
        self.run(self._replicas[circuit])

    def renew(self) -> None:
        """After a fork, in the child, which is a sender of its own."""
        self._lock.renew()
        self._sender = uuid.uuid4().hex
        self._sequence = itertools.count(1)
