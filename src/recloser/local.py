"""What holds in this process: the word of the fleet, or of the stand-in where the fleet cannot be asked."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from recloser.core.machine import RECLOSER, UNKNOWN, Facts, State
from recloser.core.policy import OnBackendLoss

if TYPE_CHECKING:
    from recloser.account import Account
    from recloser.backends import Seat
    from recloser.clock import Clock
    from recloser.connection import Connection
    from recloser.core.events import Event
    from recloser.core.machine import Step
    from recloser.courier import Desk
    from recloser.pace import Pace

__all__ = ["Local"]

_UNTOLD = 100
"""So many events of this process alone wait for a backend that is lost; the oldest go first."""


class Local:
    """Shows calls what holds, and decides where nobody else can. Used by one thread at a time.

    Args:
        clock: the process's time.
        desk: what events are written with.
        connection: whether the fleet can be asked.
        pace: over how long the fleet spreads what all of it would do at once.

    Attributes:
        untold: events of this process alone that the fleet has not been told yet.
    """

    untold: deque[Event]

    def __init__(self, clock: Clock, desk: Desk, connection: Connection, pace: Pace) -> None:
        self.untold = deque(maxlen=_UNTOLD)
        self._clock = clock
        self._desk = desk
        self._connection = connection
        self._pace = pace

    def is_lost(self, account: Account) -> bool:
        """Whether the fleet cannot be asked about this circuit."""
        return self._connection.lost or bool(account.trouble)

    def apply(self, account: Account) -> None:
        """Lets calls see what holds now."""
        replica, now, lost = account.replica, self._clock.now(), self.is_lost(account)
        account.stirred = False
        tell = partial(self._decided, account)
        if replica.policy.on_backend_loss is OnBackendLoss.PAUSE and (lost or account.fleet is None):
            facts = self._blind(account, now)
        elif lost:
            facts = account.alone.decide(tell)
        elif account.fleet is None:
            facts = account.facts(now)
        else:
            facts = account.alone.beside(account.facts(now), tell)
        account.show(facts, now)
        replica.apply(facts, self._desk.unix(facts, facts.record.since), force=True)
        account.due = replica.until
        if not math.isinf(account.due):
            # All processes would ask for the same transition at the same moment; most hear of it before they have to.
            account.due += random.random() * self._pace.spread  # noqa: S311 - not a secret
        if facts.record.state is State.HALF_OPEN and (lost or facts.record.generation < UNKNOWN):
            self._lend(account, facts.record.generation, now)

    def _blind(self, account: Account, now: float) -> Facts:
        """A circuit that must not run blind, while nothing is known."""
        known, said = account.facts(now), self._connection.lost_because or account.trouble
        reason = f"the shared state cannot be read: {said}" if said else "the shared state has not answered yet"
        record = replace(known.record, state=State.PAUSED, since=known.now, until=None, reason=reason, by=RECLOSER)
        # As long as nothing else is to be said, it has been so since it was said first.
        same = replace(account.shown, since=known.now) == record
        return replace(known, record=account.shown if same else record)

    def _lend(self, account: Account, generation: int, now: float) -> None:
        """Stocks up on permits of this process's own."""
        if self.is_lost(account):
            # Permits that the fleet gave out before it was lost may be in use for so long.
            begins = min(self._connection.lost_at, account.troubled_at) + account.replica.policy.probe_timeout
            if now < begins:
                account.stock.no_asking(begins)
                return

        def lend(seat: Seat, length: float) -> bool:
            return account.alone.lease(seat, length=length).granted

        account.stock.fill(lend, generation, now)

    def _decided(self, account: Account, facts: Facts, step: Step) -> None:
        event = self._desk.step(account.replica, facts, step, local=True)
        self.untold.append(event)
        self._desk.put(event)
        if step.record.state is State.CLOSED:
            account.ledger.forget()
