"""The courier carries outcomes from replicas to the backend, and facts back; on the way it lets the core decide.

What every courier does is here. With a backend that answers at once, :mod:`recloser.inline` works on the caller's own
thread; with any other, :mod:`recloser.remote` keeps the network away from the callers.
"""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING, Protocol

from recloser.backends import Seat
from recloser.core import machine
from recloser.core.events import Event
from recloser.core.machine import RECLOSER
from recloser.core.policy import Mode
from recloser.core.window import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.backends import Backend, Lease, Pool, Reply
    from recloser.clock import Clock
    from recloser.contain import Listeners
    from recloser.core.events import EventKind, Needs
    from recloser.core.machine import Facts, Record, Step
    from recloser.replica import Replica

__all__ = ["Connection", "Courier", "Desk", "Notices"]


class Connection(Protocol):
    """How a courier and its backend get on, for people to read.

    Attributes:
        lost_since: since when the backend has not answered, Unix time in seconds; None while it does.
        lost_because: what it said, or did not say, in one line.
        processes: how many processes of the fleet are alive, as far as is known.
    """

    lost_since: float | None
    lost_because: str
    processes: int


class Courier(Protocol):
    """What a replica asks of its courier, and a toolkit of all of them."""

    backend: Backend
    connection: Connection
    asleep: bool
    """Whether nobody works for it in this process yet, so that a call has to say that it is there."""

    def attend(self, replica: Replica) -> None:
        """A call is there: whoever has to work in the background begins."""
        ...

    def wake(self, replica: Replica, *, urgent: bool = True) -> None:
        """There is something to carry for ``replica``, which may change its state if it is urgent."""
        ...

    def run(self, replica: Replica) -> object:
        """Has everything done that is due, as far as that needs no waiting."""
        ...

    def facts(self, replica: Replica) -> Facts:
        """All that is known without waiting, with what has been counted here and not been delivered yet."""
        ...

    def lease(self, replica: Replica, pool: Pool) -> tuple[Seat | None, float]:
        """A permit of the present generation; or None, and in how many seconds one may come free."""
        ...

    def look(self, replica: Replica, pool: Pool) -> Lease:
        """What ``lease`` would answer, without taking anything."""
        ...

    def give_back(self, replica: Replica, seat: Seat) -> None:
        """Ends a lease that was not used."""
        ...

    def operate(self, replica: Replica, choose: Callable[[Facts], Step | None]) -> Facts:
        """Makes the one transition that ``choose`` finds in the facts, if any, and then those that are due.

        ``choose`` is asked again while others are quicker.

        Raises:
            BackendError: when the backend does not answer.
        """
        ...

    def report(self, replica: Replica, kind: EventKind, reason: str) -> None:
        """Puts an event that no transition brought into the log, and tells of it."""
        ...

    def unix(self, facts: Facts, moment: float) -> float:
        """``moment``, of the time that ``facts.now`` belongs to, as Unix time."""
        ...

    def ready(self, timeout: float) -> bool:
        """Waits for the first word from the backend, at most ``timeout`` seconds, and says whether it came.

        Raises:
            ConfigurationError: when what answers cannot be used.
        """
        ...

    def check(self) -> None:
        """Looks, within a bound, whether what answers can be used; that nobody answers is no mistake.

        Raises:
            ConfigurationError: when it cannot.
        """
        ...

    def refresh(self) -> None:
        """Brings what is known up to date, within a bound, as far as the backend answers."""
        ...

    def close(self) -> None:
        """Delivers what is left, within a bound, and stops working."""
        ...


def _nothing() -> None:
    """Nobody has to be told."""


class Notices(Protocol):
    """What a process knows of the board of its backend."""

    stale: bool
    """Whether there is something to read."""

    @property
    def is_due(self) -> bool:
        """Whether a turn has something to do."""
        ...

    def hears(self, reply: Reply) -> None:
        """An exchange was answered, and says what is on the board."""
        ...

    def turn(self) -> None:
        """Reads what there is to read, and writes what there is to write; raises BackendError."""
        ...


class _Unread:
    """Where there is no board."""

    stale: bool = False
    is_due: bool = False

    def hears(self, reply: Reply) -> None:
        """Nothing of interest."""

    def turn(self) -> None:
        """Nothing is due."""


class Desk:
    """What both kinds of courier write with: their name, the events, the time.

    Args:
        clock: the process's time.
        listeners: told of every event that this process brought about, never under a lock.
        needs: what is built on a circuit.
        looks_on: whether this process only looks at what others do, and operates: it has no calls, and decides nothing.

    Attributes:
        sender: under which name this process talks to the backend; empty when it only looks on.
        notices: what it knows of the board of the backend.
        elsewhere: whether listeners are told on a thread of their own.
        happened: called when events of this process are in the log.
        heard: called when another process has changed a circuit.
    """

    sender: str
    elsewhere: bool
    happened: Callable[[], None]
    heard: Callable[[], None]
    notices: Notices
    looks_on: bool

    def __init__(
        self,
        clock: Clock,
        listeners: Listeners[Event],
        needs: Callable[[str], tuple[Needs, ...]],
        *,
        looks_on: bool = False,
    ) -> None:
        self._clock = clock
        self._listeners = listeners
        self._news = False
        self.needs = needs
        self.looks_on = looks_on
        self.notices = _Unread()
        self.elsewhere = False
        self.happened = self.heard = _nothing
        self.renew()

    def renew(self) -> None:
        """Begins anew under another name: after a fork, the child is a sender of its own."""
        self.sender = "" if self.looks_on else uuid.uuid4().hex
        self._sequence = itertools.count(1)
        self._seats = itertools.count(1)

    def put(self, event: Event) -> None:
        """Has ``event`` told with the next :meth:`tell`; may be called under a lock, which keeps the order."""
        self._listeners.put(event)
        self._news = True

    def tell(self) -> None:
        """Tells whoever listens of everything that was put; never called under a lock."""
        if not self._news:
            return
        self._news = False
        (self._listeners.tell_elsewhere if self.elsewhere else self._listeners.tell)()
        self.happened()

    def sequence(self) -> int:
        """The number of the next exchange."""
        return next(self._sequence)

    def seat(self, pool: Pool) -> Seat:
        """A seat that nobody else asks for."""
        return Seat(pool, f"{self.sender}:{next(self._seats)}")

    def unix(self, facts: Facts, moment: float) -> float:
        """``moment``, of the time that ``facts.now`` belongs to, as Unix time."""
        return round(self._clock.time() + (moment - facts.now), 6)

    def step(self, replica: Replica, facts: Facts, step: Step, *, local: bool = False) -> Event:
        """The event that tells of a transition."""
        return self.event(replica, facts, step.event, step.record, step.previous, local=local)

    def about_all(self, kind: EventKind, reason: str, by: str = RECLOSER, *, local: bool = True) -> Event:
        """An event that concerns no circuit alone; by itself, this process and its backend."""
        now, closed = self._clock.time(), machine.State.CLOSED
        return Event(kind, "*", closed, closed, 0, now, None, reason, by, NOTHING, "", local=local)

    def event(  # noqa: PLR0913 - an event is its facts
        self,
        replica: Replica,
        facts: Facts,
        kind: EventKind,
        record: Record,
        previous: Record,
        *,
        reason: str = "",
        local: bool = False,
    ) -> Event:
        """An event with the facts that people ask for first."""
        needs = self.needs(replica.name)
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
            affects=tuple(need.name for need in needs),
            local=local,
            needs=needs,
            enforced=replica.mode is Mode.ENFORCE,
        )
