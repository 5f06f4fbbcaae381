"""The courier of a backend that answers at once: it works on the caller's own thread."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from recloser.agenda import Agenda
from recloser.backends import Ask, Delivery, Lease, Parcel
from recloser.backends.board import EVERYTHING
from recloser.backends.memory import MemoryBackend
from recloser.core import machine
from recloser.core.machine import Facts, State
from recloser.core.window import NOTHING
from recloser.forks import renew_after_fork
from recloser.locks import Section, unless_held
from recloser.standin import StandIn

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.backends import Answer, Backend, Pool, Seat
    from recloser.clock import Clock
    from recloser.core.events import EventKind
    from recloser.core.machine import Record, Step
    from recloser.courier import Connection, Desk
    from recloser.replica import Replica

__all__ = ["InlineCourier"]


class _Steady:
    """A backend in the same process is never lost."""

    lost_since: float | None = None
    lost_because = ""
    processes = 1


class InlineCourier:
    """Between the replicas of one toolkit and a backend that answers at once.

    Args:
        backend: where facts are shared.
        clock: the process's time.
        desk: what events are written with.
    """

    backend: Backend
    connection: Connection
    asleep: bool = False

    def __init__(self, backend: Backend, clock: Clock, desk: Desk) -> None:
        self.backend = backend
        self.connection = _Steady()
        self._clock = clock
        self._desk = desk
        self._lock = Section()
        self._replicas: dict[str, Replica] = {}
        self._memory = MemoryBackend(clock=clock)
        self._alone: dict[str, StandIn] = {}
        self._agenda = Agenda(clock, self._move_on)
        self._unsubscribe = backend.subscribe(self._pushed)
        renew_after_fork(self)

    def attend(self, replica: Replica) -> None:
        """Nothing works in the background."""

    def wake(self, replica: Replica, *, urgent: bool = True) -> None:
        """There is something to carry for ``replica``; a garbage collector may say so at any time."""
        unless_held(partial(self._carry, replica, None, sweep=urgent))

    def run(self, replica: Replica) -> Facts:
        """Delivers what ``replica`` holds, makes the transitions that are due, and brings the facts back."""
        return self._carry(replica, None)

    def facts(self, replica: Replica) -> Facts:
        """The same, to look at."""
        return self._carry(replica, None)

    def operate(self, replica: Replica, choose: Callable[[Facts], Step | None]) -> Facts:
        """Makes the one transition that ``choose`` finds in the facts, if any, and then those that are due."""
        return self._carry(replica, choose)

    def _carry(self, replica: Replica, choose: Callable[[Facts], Step | None] | None, *, sweep: bool = True) -> Facts:
        by_hand = choose is not None

        def due(facts: Facts) -> Step | None:
            return None if self._desk.looks_on else machine.decide(replica.policy, facts, self._clock.jitter())

        with self._lock:
            self._replicas.setdefault(replica.name, replica)
            while True:
                deliveries = replica.collect(sweep=sweep)
                alone = self._stand_in(replica)
                if alone is not None:
                    deliveries = alone.count(deliveries)
                facts = self._exchange(replica, self._desk.sequence(), deliveries).facts
                step = (choose or due)(facts)
                if step is None and choose is None:
                    break
                if step is None:
                    choose = None
                    continue
                event = self._desk.step(replica, facts, step)
                clear = step.record.state is State.CLOSED
                if self.backend.swap(replica.name, facts.record.generation, step.record, event, clear=clear):
                    self._desk.put(event)
                    choose = None
            if alone is not None:
                if by_hand:
                    alone.yield_to(facts)
                facts = alone.beside(facts, partial(self._tell, replica))
            replica.apply(facts, self.unix(facts, facts.record.since), force=alone is not None)
            self._agenda.put(replica.name, replica.until)
        self._desk.tell()
        return facts

    def _stand_in(self, replica: Replica) -> StandIn | None:
        """Who decides for a process that is sick alone; nobody has to where one process is enough for the fleet."""
        if replica.policy.quorum == 1:
            return None
        alone = self._alone.get(replica.name)
        if alone is None:
            alone = self._alone.setdefault(replica.name, StandIn(replica, self._memory, self._clock))
        return alone

    def _tell(self, replica: Replica, facts: Facts, step: Step) -> None:
        event = self._desk.step(replica, facts, step, local=True)
        self.backend.append(event)
        self._desk.put(event)

    def lease(self, replica: Replica, pool: Pool) -> tuple[Seat | None, float]:
        """A permit of the present generation; or None, and in how many seconds one may come free."""
        seat = self._desk.seat(pool)
        lease = self._ask(replica, seat, replica.policy.probe_timeout)
        return (seat, 0.0) if lease.granted else (None, lease.retry_after)

    def look(self, replica: Replica, pool: Pool) -> Lease:
        """What ``lease`` would answer, without taking anything."""
        return self._ask(replica, self._desk.seat(pool), 0.0)

    def _ask(self, replica: Replica, seat: Seat, length: float) -> Lease:
        alone = self._stand_in(replica)
        if alone is not None and alone.went_on:
            return alone.lease(seat, length=length)
        ask = Ask(seat, replica.record.generation, replica.policy.probes, length)
        return self._exchange(replica, 0, (), ask).leases[0]

    def give_back(self, replica: Replica, seat: Seat) -> None:
        """Ends a lease that was not used."""
        delivery = Delivery(-1, self._clock.now(), NOTHING, gives_back=seat)
        with self._lock:
            self._exchange(replica, self._desk.sequence(), (delivery,))

    def unix(self, facts: Facts, moment: float) -> float:
        """``moment``, of the time that ``facts.now`` belongs to, as Unix time."""
        return self._desk.unix(facts, moment)

    def report(self, replica: Replica, kind: EventKind, reason: str) -> None:
        """Puts an event that no transition brought into the log, and tells of it."""
        facts = self.run(replica)
        event = self._desk.event(replica, facts, kind, facts.record, facts.record, reason=reason)
        self.backend.append(event)
        self._desk.put(event)
        self._desk.tell()

    def ready(self, timeout: float) -> bool:  # noqa: ARG002 - it answers at once
        """It is."""
        return True

    def check(self) -> None:
        """It can be used."""

    def refresh(self) -> None:
        """Everything is."""

    def close(self) -> None:
        """Delivers what is left and stops waiting for anything."""
        for replica in list(self._replicas.values()):
            self.run(replica)
        self._agenda.close()
        self._unsubscribe()

    def _exchange(self, replica: Replica, sequence: int, deliveries: tuple[Delivery, ...], *asks: Ask) -> Answer:
        # What only asks has no number: it may overtake, or be overtaken by, an exchange of another thread.
        parcel = Parcel(replica.name, 0.0 if self._desk.looks_on else replica.policy.window, deliveries, asks)
        return self.backend.exchange(self._desk.sender, sequence, self._clock.now(), [parcel]).answers[0]

    def _pushed(self, circuit: str, record: Record | None, now: float) -> None:
        """Somebody swapped a record: whoever else has a replica of it takes it over at once."""
        if circuit == EVERYTHING:
            self._desk.notices.stale = True
            self._desk.notices.turn()
            return
        self._desk.heard()
        replica = self._replicas.get(circuit)
        if replica is not None and record is not None:
            facts = Facts(record=record, now=now)
            alone = self._stand_in(replica)
            if alone is not None and alone.holds(facts):
                return
            replica.apply(facts, self.unix(facts, record.since), force=alone is not None)
            self._agenda.put(circuit, replica.until)

    def _move_on(self, circuit: str) -> None:
        self.run(self._replicas[circuit])

    def renew(self) -> None:
        """After a fork, in the child, which is a sender of its own."""
        self._lock.renew()
        self._desk.renew()
