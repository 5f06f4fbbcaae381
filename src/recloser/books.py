"""The accounts of all circuits of one process. Calls look into them, and so does whoever carries."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from recloser.account import Account
from recloser.backends.memory import MemoryBackend
from recloser.locks import Section
from recloser.standin import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recloser.backends import Parcel
    from recloser.clock import Clock
    from recloser.core.machine import Facts
    from recloser.courier import Desk
    from recloser.local import Local
    from recloser.pace import Pace
    from recloser.replica import Replica
    from recloser.stock import Asked

__all__ = ["PARCELS", "Books", "Flight"]

PARCELS = 100
"""So many circuits go into one exchange at the most."""


class Flight(NamedTuple):
    """An exchange that has not been answered; sent again, it is the same one."""

    number: int
    accounts: list[Account]
    parcels: list[Parcel]
    asked: list[list[Asked]]


class Books:
    """Opens accounts, and packs what is in them.

    Args:
        clock: the process's time.
        desk: numbers exchanges, and names seats.
        local: shows calls what holds.
        pace: when it is time for everybody to be asked.

    Attributes:
        accounts: the circuits by their names.
        lock: held while accounts are read or changed: for moments, never for the network.
    """

    accounts: dict[str, Account]
    lock: Section

    def __init__(self, clock: Clock, desk: Desk, local: Local, pace: Pace) -> None:
        self.accounts = {}
        self.lock = Section()
        self._clock = clock
        self._desk = desk
        self._local = local
        self._pace = pace
        self._memory = MemoryBackend(clock=clock)

    def join(self, replica: Replica) -> Account:
        """The account of a circuit, opened now if this is the first that is heard of it."""
        account = self.accounts.get(replica.name)
        if account is None:
            with self.lock:
                account = self.accounts.get(replica.name)
                if account is None:
                    alone = StandIn(replica, self._memory, self._clock)
                    account = Account(replica, alone, self._desk, self._clock.now())
                    self._local.apply(account)
                    self.accounts[replica.name] = account
        return account

    def facts(self, replica: Replica) -> Facts:
        """All that is known, with what was counted here and not delivered yet."""
        account = self.join(replica)
        with self.lock:
            now = self._clock.now()
            account.collect(now)
            shown = account.shown_at(now)
            if self._local.is_lost(account):
                return replace(shown, window=account.alone.facts().window)
            return replace(shown, window=account.facts(now).window.merged(account.undelivered()))

    def all(self) -> list[Account]:
        """Every account."""
        with self.lock:
            return list(self.accounts.values())

    def are_told(self) -> bool:
        """Whether something was said about every circuit."""
        return all(each.is_told for each in self.all())

    def ask_about_all(self) -> None:
        """Whatever was known may be out of date."""
        for account in self.all():
            account.due = -math.inf

    def stir_all(self) -> None:
        """What holds has to be worked out anew for every circuit."""
        for account in self.all():
            account.stirred = True
            account.replica.changes.tell()

    def due(self, now: float) -> tuple[bool, float]:
        """Whether there is something urgent, and when something else is to be asked."""
        every = self.all()
        soonest = min((min(each.due, each.next_ask(now)) for each in every), default=math.inf)
        return any(each.urgent for each in every), soonest

    def composed(self) -> Flight | None:
        """What there is to carry now, the urgent first; None when there is nothing."""
        now = self._clock.now()
        if self._pace.ticks(now):
            self._pace.ticked(now, random.random())  # noqa: S311 - not a secret
            self.ask_about_all()
        waiting = [each for each in self.all() if each.is_due(now)]
        waiting.sort(key=lambda each: not each.urgent)
        return self.packed(waiting[:PARCELS]) if waiting else None

    def packed(self, accounts: Iterable[Account]) -> Flight:
        """All there is to tell and to ask about these."""
        now, flight = self._clock.now(), Flight(self._desk.sequence(), [], [], [])
        with self.lock:
            for account in accounts:
                account.urgent, account.due = False, math.inf
                account.collect(now)
                asked = account.asks(now, self._pace.processes)
                flight.accounts.append(account)
                flight.asked.append(asked)
                flight.parcels.append(account.parcel(asked))
        return flight

    def renew(self) -> None:
        """After a fork, in the child."""
        self.lock.renew()
        for account in self.accounts.values():
            account.renew()
