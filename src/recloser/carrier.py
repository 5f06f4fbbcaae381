"""What the courier of a remote backend does in one turn: hear, carry, decide. Who takes turns is not its business.

Two locks: turns are taken one after the other, and what calls look at is only held for moments, never for the network.
"""

from __future__ import annotations

import logging
import math
import random
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from recloser.backends import Delivery, Remote
from recloser.backends.board import EVERYTHING
from recloser.books import PARCELS, Books
from recloser.connection import Connection
from recloser.core import machine
from recloser.core.events import EventKind, scrub
from recloser.core.machine import UNKNOWN, State
from recloser.core.window import NOTHING
from recloser.errors import BackendError, ConfigurationError
from recloser.listening import Listening
from recloser.local import Local
from recloser.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.account import Account
    from recloser.backends import Answer, Backend, Parcel, Seat
    from recloser.books import Flight
    from recloser.clock import Clock
    from recloser.core.machine import Facts, Record, Step
    from recloser.courier import Desk
    from recloser.replica import Replica
    from recloser.stock import Asked

__all__ = ["Carrier"]

_log = logging.getLogger("recloser")


class Carrier:
    """Between the replicas of one toolkit and a backend behind a network.

    Args:
        backend: where facts are shared.
        clock: the process's time.
        desk: what events are written with.

    Attributes:
        books: what is known of each circuit.
        connection: how it gets on with the backend.
        wrong: why what answers cannot be used at all; None when it can.
        word: notified whenever the backend has answered.
    """

    books: Books
    connection: Connection
    wrong: ConfigurationError | None
    word: threading.Condition

    def __init__(self, backend: Backend, clock: Clock, desk: Desk) -> None:
        self.backend = backend
        self.connection = Connection(getattr(backend, "address", "of the fleet"), clock)
        self.wrong = None
        self.word = threading.Condition()
        self._clock = clock
        self._desk = desk
        self._pace = Pace()
        self._local = Local(clock, desk, self.connection, self._pace)
        self.books = Books(clock, desk, self._local, self._pace)
        self._turning = threading.Lock()
        self._flight: Flight | None = None
        self._listening = Listening(backend, clock)
        self._verified = False

    def close(self) -> None:
        """Hears nothing any more, and says nothing."""
        self.connection.closed = True
        self._listening.end()

    # -- what calls ask ------------------------------------------------------------------------------------------------

    def heard(self) -> bool:
        """Whether the backend has said something about every circuit."""
        told = self.books.are_told() and not self._desk.notices.stale
        return self._verified and told and not self.connection.lost

    def report(self, replica: Replica, kind: EventKind, reason: str) -> None:
        """Puts down an event that no transition brought."""
        facts = self.books.facts(replica)
        event = self._desk.event(replica, facts, kind, facts.record, facts.record, reason=reason)
        self._local.untold.append(event)
        self._desk.put(event)

    # -- a turn --------------------------------------------------------------------------------------------------------

    def turn(self) -> float:
        """Does what is due; returns when the next turn is, on the process's clock."""
        with self._turning:
            if self._listening.is_open and not self.connection.lost:
                self._listen()
            flight = None
            if self._pace.free(self._clock.now()):
                flight = self._flight or self.books.composed()
                if flight is None and not self._verified:
                    # Without a circuit it still asks once whether anybody is there.
                    flight = self.books.packed([])
            if flight is not None:
                self._carry(flight)
            if not self._listening.is_open and not self.connection.lost:
                self._listen()
            self._look_at_board()
            self._decide_alone()
            self._tell_untold()
            due = self._due()
        self._desk.tell()
        return due

    def last_turn(self) -> None:
        """Delivers what is left, in one try, and gives permits back that nobody will use."""
        with self._turning:
            everything = self.books.all()
            with self.books.lock:
                for account in everything:
                    self._gives_back(account, account.stock.drop())
            with suppress(BackendError):
                if not self.connection.lost:
                    self._look_at_all(everything)
                    # Those of which the first word has only come now.
                    self._look_at_all([each for each in everything if each.ledger])
            self._tell_untold()
        self._desk.tell()

    def operate(self, replica: Replica, choose: Callable[[Facts], Step | None]) -> Facts:
        """Makes the transition that ``choose`` finds in the facts.

        Raises:
            BackendError: when the backend does not answer.
        """
        account = self.books.join(replica)
        try:
            with self._turning:
                while True:
                    self._look_at([account])
                    if account.trouble:
                        raise BackendError(account.trouble)
                    facts = account.facts(self._clock.now())
                    step = choose(facts)
                    if step is None or self._swap(account, facts, step):
                        break
                with self.books.lock:
                    account.alone.yield_to(account.facts(self._clock.now()))
                    self._local.apply(account)
        finally:
            self._desk.tell()
        return facts

    def check(self) -> None:
        """Looks whether what answers can be used.

        Raises:
            ConfigurationError: when it cannot.
        """
        with self._turning:
            try:
                if isinstance(self.backend, Remote):
                    self.backend.verify()
                self._verified = True
            except BackendError as error:
                self._lose(str(error))

    def refresh(self) -> None:
        """Asks about everything once, if the backend answers at all."""
        with self._turning, suppress(BackendError):  # the connection says so
            # Nobody else would find out that it is back, where no thread tries.
            if not self.connection.lost or self._desk.looks_on:
                everything = self.books.all()
                self._look_at_all(everything)
                if self._desk.looks_on and not everything:
                    self._look_at([])
        self._desk.tell()

    def _look_at_all(self, accounts: list[Account]) -> None:
        for first in range(0, len(accounts), PARCELS):
            self._look_at(accounts[first : first + PARCELS])

    def _look_at(self, accounts: list[Account]) -> None:
        """Carries what is on its way, and then asks about ``accounts`` whatever the pace.

        Raises:
            BackendError: when the backend does not answer.
        """
        if self._flight is not None:
            self._carry(self._flight)
        if self._flight is None:
            self._carry(self.books.packed(accounts))
        if self._flight is not None:
            raise BackendError(self.connection.lost_because)

    # -- carrying ------------------------------------------------------------------------------------------------------

    def _carry(self, flight: Flight) -> None:
        """Sends an exchange and settles the answer; what is not answered stays on its way."""
        self._flight = flight
        try:
            self._send(flight, self._clock.now())
        finally:
            self._spread_word()

    def _spread_word(self) -> None:
        with self.word:
            self.word.notify_all()

    def _look_at_board(self) -> None:
        """Reads what operators have said, and writes down what this process has in use."""
        notices = self._desk.notices
        if not notices.is_due or not self._verified or self.connection.lost:
            return
        try:
            notices.turn()
        except BackendError as error:
            self._lose(str(error))
        self._spread_word()

    def _send(self, flight: Flight, began: float) -> None:
        try:
            if not self._verified and isinstance(self.backend, Remote):
                self.backend.verify()
            self._verified = True
            reply = self.backend.exchange(
                self._desk.sender, flight.number, began, flight.parcels, alive=self._pace.alive
            )
        except ConfigurationError as error:
            self.wrong = error
            self._lose(str(error))
            return
        except BackendError as error:
            self._lose(str(error))
            return
        except (TypeError, ValueError, ArithmeticError):
            # What cannot be sent today cannot be sent tomorrow, and must not keep back what comes after it.
            _log.exception("what was counted cannot be told the backend, and is dropped")
            self._flight = None
            return
        except Exception as error:  # noqa: BLE001 - a backend of somebody else's must not stop what is done without it
            self._lose(f"the backend raised {type(error).__name__}: {scrub(str(error))}")
            return
        self._flight, self.wrong = None, None
        self._pace.processes = self.connection.processes = reply.processes
        self._pace.answered(began, self._clock.now())
        self._desk.notices.hears(reply)
        self._regain()
        try:
            for account, parcel, asked, answer in zip(
                flight.accounts, flight.parcels, flight.asked, reply.answers, strict=True
            ):
                self._settle(account, parcel, asked, answer, began)
        except BackendError as error:
            # A swap was not answered; whether it was made is seen when the backend is back.
            self._lose(str(error))

    def _settle(self, account: Account, parcel: Parcel, asked: list[Asked], answer: Answer, sent: float) -> None:
        with self.books.lock:
            now = self._clock.now()
            troubled, first = account.trouble, account.fleet is None
            known = account.hears(answer, parcel, now)
            if first and account.urgent:
                # What had to wait for the first word has waited long enough.
                self._pace.hurry()
            if answer.found is not None and known:
                back = account.stock.leased(asked, answer.leases, sent, now)
                self._gives_back(account, back)
            if bool(account.trouble) is not bool(troubled):
                said = f"{account.trouble}; it goes on by itself" if account.trouble else "its keys can be used again"
                _log.warning("%s: %s", account.replica.name, said)
            won = account.confirmed()
        if won is not None:
            self._desk.put(won)
        try:
            if not known:
                self._put_back(account, answer.facts)
            elif not account.trouble and not self._desk.looks_on:
                self._decide(account)
        finally:
            with self.books.lock:
                self._local.apply(account)

    def _gives_back(self, account: Account, seats: list[Seat]) -> None:
        now = self._clock.now()
        back = [Delivery(UNKNOWN, now, NOTHING, gives_back=seat) for seat in seats]
        if back:
            account.ledger.add(back, now, account.replica.policy.window)
            account.urgent = True

    # -- deciding ------------------------------------------------------------------------------------------------------

    def _decide(self, account: Account) -> None:
        """Makes the transitions that are due by what the fleet knows."""
        while True:
            with self.books.lock:
                facts = account.facts(self._clock.now())
                step = account.alone.announcement(facts)
            step = step or machine.decide(account.replica.policy, facts, self._clock.jitter())
            if step is None or not self._swap(account, facts, step):
                return

    def _swap(self, account: Account, facts: Facts, step: Step) -> bool:
        replica, record = account.replica, step.record
        event = self._desk.step(replica, facts, step)
        clear = record.state is State.CLOSED
        account.unsure = (record, event)
        if not self.backend.swap(replica.name, facts.record.generation, record, event, clear=clear):
            account.unsure, account.due = None, -math.inf
            self._pace.hurry()
            return False
        account.unsure = None
        self._desk.put(event)
        with self.books.lock:
            self._learn(account, record, facts.now)
        return True

    def _put_back(self, account: Account, theirs: Facts) -> None:
        """Tells a backend that has lost it what the fleet had agreed on."""
        replica, known = account.replica, account.facts(self._clock.now())
        event = None
        if known.record.state is not State.CLOSED:
            event = self._desk.event(replica, known, EventKind.RESTORED, known.record, known.record)
        if self.backend.swap(replica.name, theirs.record.generation, known.record, event, clear=False) and event:
            self._desk.put(event)
        account.due = -math.inf
        self._pace.hurry()

    def _learn(self, account: Account, record: Record, now: float) -> None:
        """A record was swapped in at ``now``, the backend's time; books are open."""
        known = account.facts(self._clock.now())
        window = NOTHING if record.state is State.CLOSED else known.window
        account.learns(replace(known, record=record, now=now, window=window, tally=NOTHING), self._clock.now())
        if record.state is State.HALF_OPEN:
            self._pace.hurry()

    def _decide_alone(self) -> None:
        """Makes the transitions that are due by what this process knows, where the fleet cannot be asked."""
        with self.books.lock:
            now = self._clock.now()
            for account in self.books.accounts.values():
                if self._local.is_lost(account) and (account.stirred or account.is_due(now)):
                    account.collect(now)
                    self._local.apply(account)

    # -- the connection ------------------------------------------------------------------------------------------------

    def _lose(self, because: str) -> None:
        self._pace.failed(self._clock.now(), random.random())  # noqa: S311 - not a secret
        # Whoever answers next may be another server.
        self._verified = False
        if self.connection.breaks(because):
            self._desk.put(self._desk.about_all(EventKind.BACKEND_LOST, because))
            self.books.stir_all()

    def _regain(self) -> None:
        because = self.connection.lost_because
        if self.connection.works():
            self._desk.put(self._desk.about_all(EventKind.BACKEND_BACK, f"lost before: {because}"))
            self._listening.anew()
            self.books.ask_about_all()
            self._pace.hurry()

    def _listen(self) -> None:
        """Takes in what others have changed."""
        if self._listening.pump():
            self.books.ask_about_all()
        for name, record, at in self._listening.news():
            if name == EVERYTHING:
                self._desk.notices.stale = True
            with self.books.lock:
                account = self.books.accounts.get(name)
                if account is None or account.fleet is None:
                    continue
                if record is None:
                    account.is_wanted()
                elif record.generation > account.fleet.record.generation:
                    self._learn(account, record, at)
                    self._local.apply(account)

    def _tell_untold(self) -> None:
        """Appends what was decided here to the log of the fleet."""
        while self._local.untold and not self.connection.lost:
            event = self._local.untold[0]
            try:
                self.backend.append(event)
            except BackendError as error:
                self._lose(str(error))
                return
            if self._local.untold and self._local.untold[0] is event:
                self._local.untold.popleft()

    def _due(self) -> float:
        now = self._clock.now()
        urgent, soonest = self.books.due(now)
        if not self.books.accounts and self._verified and not self._desk.notices.is_due:
            return math.inf
        if self.connection.lost:
            return min(soonest, self._pace.not_before(now))
        urgent = urgent or self._desk.notices.is_due
        return self._pace.not_before(now if urgent or self._flight else min(soonest, self._pace.tick_at))

    def rest(self) -> float:
        """Until when nothing needs a turn, except a word from others."""
        return self._clock.now() + self._pace.gap if self.connection.lost else self._pace.not_before(-math.inf)

    def renew(self) -> None:
        """After a fork, in the child: what is on its way is the parent's to deliver."""
        self.word = threading.Condition()
        self._turning = threading.Lock()
        self.books.renew()
        self._desk.renew()
        self._flight = None
        self._listening.renew()
        self._local.untold.clear()
