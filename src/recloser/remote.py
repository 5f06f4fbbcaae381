"""The courier of a backend behind a network: one thread in each process, so that no call ever waits."""

from __future__ import annotations

import logging
import math
import threading
from functools import partial
from typing import TYPE_CHECKING

from recloser.backends import Delivery, Lease, Remote
from recloser.bell import Bell
from recloser.carrier import Carrier
from recloser.clock import Alarm
from recloser.core.machine import UNKNOWN
from recloser.core.window import NOTHING
from recloser.exits import LAST_WORDS, deliver_at_exit
from recloser.forks import renew_after_fork
from recloser.locks import Section, unless_held

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.backends import Backend, Pool, Seat
    from recloser.clock import Clock
    from recloser.core.events import EventKind
    from recloser.core.machine import Facts, Step
    from recloser.courier import Connection, Desk
    from recloser.replica import Replica

__all__ = ["RemoteCourier"]

_log = logging.getLogger("recloser")


class RemoteCourier:
    """Between calls that must not wait and a :class:`~recloser.carrier.Carrier` that may.

    Args:
        backend: where facts are shared.
        clock: the process's time.
        desk: what events are written with.
    """

    backend: Backend
    connection: Connection
    asleep: bool
    carrier: Carrier

    def __init__(self, backend: Backend, clock: Clock, desk: Desk) -> None:
        self.backend = backend
        self.carrier = Carrier(backend, clock, desk)
        self.connection = self.carrier.connection
        self.asleep = True
        # What listens may take its time, and the thread has none.
        desk.elsewhere = True
        self._clock = clock
        self._desk = desk
        self._bell: Bell | None = None
        self._rung = False
        self._leaving = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._start_again = -math.inf
        # A line that the garbage collector has logged may report a failure at any time.
        self._starting = Section()
        renew_after_fork(self)

    # -- what calls ask ------------------------------------------------------------------------------------------------

    def attend(self, replica: Replica) -> None:
        """A call is there: the thread begins."""
        self.carrier.books.join(replica)
        unless_held(self._start)

    def wake(self, replica: Replica, *, urgent: bool = True) -> None:
        """There is something to carry for ``replica``; what is no hurry goes with the next tick."""
        account = self.carrier.books.accounts.get(replica.name)
        if account is not None and urgent:
            account.urgent = True
            self._ring()
        if self.asleep:
            unless_held(partial(self.attend, replica))

    def run(self, replica: Replica) -> None:
        """Has the thread look at the circuit now, unless it has just done so."""
        account = self.carrier.books.join(replica)
        if account.is_due(self._clock.now()):
            account.urgent = True
            self._ring()
        if self.asleep:
            unless_held(self._start)

    def facts(self, replica: Replica) -> Facts:
        """All that is known without waiting."""
        return self.carrier.books.facts(replica)

    def lease(self, replica: Replica, pool: Pool) -> tuple[Seat | None, float]:
        """A permit out of the stock; or None, and in how many seconds one may come."""
        account, now = self.carrier.books.join(replica), self._clock.now()
        seat = account.stock.take(pool, replica.record.generation, now)
        if seat is not None or account.is_due(now):
            # The fleet is to know that it is in use now, or that one is wanted.
            self.wake(replica)
        return seat, account.stock.retry_after(pool, now)

    def look(self, replica: Replica, pool: Pool) -> Lease:
        """What ``lease`` would answer, without taking anything."""
        account, now = self.carrier.books.join(replica), self._clock.now()
        granted = account.stock.has(pool, replica.record.generation, now)
        if not granted and account.is_due(now):
            self.wake(replica)
        return Lease(granted, account.stock.retry_after(pool, now))

    def give_back(self, replica: Replica, seat: Seat) -> None:
        """Ends a lease that was not used."""
        replica.note(Delivery(UNKNOWN, self._clock.now(), NOTHING, gives_back=seat))
        self.wake(replica)

    def unix(self, facts: Facts, moment: float) -> float:
        """``moment``, of the time that ``facts.now`` belongs to, as Unix time."""
        return self._desk.unix(facts, moment)

    def report(self, replica: Replica, kind: EventKind, reason: str) -> None:
        """Puts an event that no transition brought into the log, and tells of it."""
        self.carrier.report(replica, kind, reason)
        self.wake(replica)
        self._desk.tell()

    # -- what operators ask --------------------------------------------------------------------------------------------

    def operate(self, replica: Replica, choose: Callable[[Facts], Step | None]) -> Facts:
        """Makes the transition that ``choose`` finds in the facts, on the caller's thread.

        Raises:
            BackendError: when the backend does not answer.
        """
        facts = self.carrier.operate(replica, choose)
        self.wake(replica)
        return facts

    def check(self) -> None:
        """Looks whether what answers can be used; that nobody answers is said and remembered.

        Raises:
            ConfigurationError: when it cannot.
        """
        self.carrier.check()

    def refresh(self) -> None:
        """Brings what is known up to date, as far as the backend answers."""
        self.carrier.refresh()

    def ready(self, timeout: float) -> bool:
        """Waits for the first word about every circuit that is known here.

        Raises:
            ConfigurationError: when what answers cannot be used.
        """
        unless_held(self._start)
        carrier = self.carrier

        def heard() -> bool:
            if carrier.wrong is not None:
                raise carrier.wrong
            # Once it is closed nothing will be heard any more, and nobody has to wait for it.
            return carrier.heard() or self._leaving

        self._ring()
        with carrier.word:
            carrier.word.wait_for(heard, timeout)
            return carrier.heard()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        # Once until it is heard: a storm of failures rings no storm of bells.
        bell = self._bell
        if bell is not None and not self._rung:
            self._rung = True
            bell.ring()

    def _start(self) -> None:
        with self._starting:
            if not self.asleep or self._leaving or self._desk.looks_on:
                return
            if self._clock.now() < self._start_again:
                return
            try:
                self._bell = self._bell or Bell()
                self._thread = threading.Thread(target=self._work, name="recloser-courier", daemon=True)
                self.asleep = False
                self._thread.start()
            except (OSError, RuntimeError) as error:  # no descriptor or thread is to be had, or the interpreter ends
                self.asleep, self._thread = True, None
                if self._start_again == -math.inf:
                    _log.warning("the courier cannot start, and calls go on without it: %s", error)
                self._start_again = self._clock.now() + 1.0
            else:
                self._start_again = -math.inf
                deliver_at_exit(self)

    def _work(self) -> None:
        bell, clock = self._bell, self._clock
        assert bell is not None  # noqa: S101 - made before the thread was
        cancel: Callable[[], None] | None = None
        rest = -math.inf
        while not self._is_leaving():
            if clock.now() >= rest:
                self._rung = False
            try:
                due = self.carrier.turn()
                rest = self.carrier.rest()
            except Exception:  # noqa: BLE001 - logged; the thread is there for every circuit, whatever a backend does
                _log.exception("a turn of the courier failed; the next is in a second")
                due = clock.now() + 1.0
            if cancel is not None:
                cancel()
                cancel = None
            if self._rung:
                # Who rang before the rest is over is heard after it.
                due = min(due, rest)
            left = due - clock.now()
            if left > 0 and isinstance(clock, Alarm):
                # Its time does not pass by waiting.
                cancel, left = clock.call_at(due, self._ring) if not math.isinf(due) else None, math.inf
            # What is lost is not listened to, and a socket at its end can always be read.
            lost = self.carrier.connection.lost
            bell.wait(left, self.backend.fileno() if isinstance(self.backend, Remote) and not lost else None)
        if cancel is not None:
            cancel()
        try:
            self.carrier.last_turn()
        except Exception:  # noqa: BLE001 - logged
            _log.exception("what was left could not be delivered")
        if self._closed:  # while this thread still waited for the network
            bell.close()

    def _is_leaving(self) -> bool:
        return self._leaving

    # -- life ----------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Begins to deliver what is left, and then to end."""
        self._leaving = True
        bell = self._bell
        if bell is not None:
            bell.ring()

    def left(self, within: float) -> None:
        """Waits until that is done, for so many seconds at the most."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, within))

    def close(self) -> None:
        """Delivers what is left, within half a second, and stops working."""
        self._closed = True
        self.leave()
        self.left(LAST_WORDS)
        with self.carrier.word:
            self.carrier.word.notify_all()
        self.carrier.close()
        if self._bell is not None and (self._thread is None or not self._thread.is_alive()):
            self._bell.close()

    def renew(self) -> None:
        """After a fork, in the child: the thread does not exist there, and starts again with the next call."""
        self._starting.renew()
        self._thread = None
        self._rung = False
        self.asleep = not self._leaving
        self.carrier.renew()
        if self._bell is not None:
            self._bell.renew()
