"""What the courier keeps of one circuit: what the fleet said last, and what it has not been told yet."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from recloser.backends import Parcel
from recloser.core.machine import UNKNOWN, Facts, Record, State, after
from recloser.ledger import Ledger, merged, total
from recloser.stock import Stock

if TYPE_CHECKING:
    from recloser.backends import Answer, Delivery
    from recloser.core.events import Event
    from recloser.core.window import Counts
    from recloser.courier import Desk
    from recloser.replica import Replica
    from recloser.standin import StandIn
    from recloser.stock import Asked

__all__ = ["Account"]


class Account:
    """One circuit, as far as its courier is concerned. Moments are the process's time where nothing else is said.

    Attributes:
        replica: what calls read.
        alone: decides where the fleet cannot be asked.
        ledger: what the fleet has not been told yet.
        stock: permits of this process.
        fleet: what the fleet said last, in the backend's time; None before the first word.
        heard: when that was.
        trouble: why this circuit alone cannot be read; empty when it can.
        troubled_at: since when; infinity when it can.
        due: when it has to be looked at, whether or not anything happens.
        urgent: whether something has happened that may change its state.
        stirred: whether something has happened here since calls were last shown what holds.
        unsure: a swap that was not answered: the record, and the event that tells of it.
    """

    replica: Replica
    alone: StandIn
    ledger: Ledger
    stock: Stock
    fleet: Facts | None
    heard: float
    trouble: str
    troubled_at: float
    due: float
    urgent: bool
    stirred: bool
    unsure: tuple[Record, Event] | None

    def __init__(self, replica: Replica, alone: StandIn, desk: Desk, now: float) -> None:
        self.replica = replica
        self._desk = desk
        self.alone = alone
        self.ledger = Ledger()
        self.stock = Stock(replica, desk)
        self.fleet = None
        self.heard = now
        self.trouble, self.troubled_at = "", math.inf
        self.due = -math.inf
        self.urgent = True
        self.stirred = False
        self.unsure = None
        self._born = now
        self._first: int | None = None
        self._in_flight: tuple[Delivery, ...] = ()
        self._shown, self._shown_at = self.facts(now), now

    def facts(self, now: float) -> Facts:
        """What the fleet said last, as of now."""
        if self.fleet is None:
            return Facts(Record(generation=UNKNOWN, since=self._born), now)
        return replace(self.fleet, now=after(self.fleet.now, now - self.heard))

    def is_due(self, now: float) -> bool:
        """Whether there is something to ask or to tell now."""
        return self.urgent or min(self.due, self.next_ask(now)) <= now

    def collect(self, now: float) -> None:
        """Takes note of what happened here."""
        deliveries = self.replica.collect(sweep=True)
        if not deliveries:
            return
        if self._first is not None:
            # Calls that began before the first word came are calls of the state that it told of.
            first = self._first
            deliveries = tuple(replace(d, generation=first) if d.generation == UNKNOWN else d for d in deliveries)
        window = self.replica.policy.window
        # A storm is told in one line for each bucket, not in one for each failure.
        self.ledger.add(self.alone.count(merged(deliveries, now, window)), now, window)
        self.stirred = True
        if any(each.counts.calls or each.counts.rejected for each in deliveries):
            self.stock.busy = now

    @property
    def is_told(self) -> bool:
        """Whether calls see what the fleet said, or that it cannot say anything."""
        return bool(self.trouble) or (self.fleet is not None and self._shown.record.generation != UNKNOWN)

    def show(self, facts: Facts, now: float) -> None:
        """Remembers what calls are shown. Permits belong to one generation."""
        if facts.record.generation != self._shown.record.generation:
            self.stock.drop()
        self._shown, self._shown_at = facts, now

    @property
    def shown(self) -> Record:
        """The record that calls are shown."""
        return self._shown.record

    def shown_at(self, now: float) -> Facts:
        """The same, as of now."""
        return replace(self._shown, now=after(self._shown.now, now - self._shown_at))

    def next_ask(self, now: float) -> float:
        """When a permit that calls want may be asked for."""
        return self.stock.next_ask(now) if self._shown.record.state is State.HALF_OPEN else math.inf

    def is_wanted(self) -> None:
        """Another process wants a permit: if there is one in stock, the fleet is asked about it now."""
        if self.stock:
            self.due = -math.inf

    # -- what goes to the fleet and comes back -------------------------------------------------------------------------

    def asks(self, now: float, processes: int) -> list[Asked]:
        """What has to be asked about permits."""
        record = self.facts(now).record
        if record.state is not State.HALF_OPEN:
            self.stock.drop()
            return []
        return self.stock.asks(record.generation, now, processes, self.ledger.ended())

    def parcel(self, asked: list[Asked]) -> Parcel:
        """All there is to say; before the first word, when it is not known to which state it belongs, nothing."""
        deliveries = self.ledger.take() if self.fleet is not None else ()
        self._in_flight = deliveries
        asks = tuple(each.ask for each in asked)
        window = 0.0 if self._desk.looks_on else self.replica.policy.window
        return Parcel(self.replica.name, window, deliveries, asks)

    def hears(self, answer: Answer, parcel: Parcel, now: float) -> bool:
        """Takes over what the fleet says; False when the backend has lost what this process knows."""
        facts = answer.found
        self._in_flight = ()
        if facts is None:
            self.ledger.returned(parcel.deliveries)
            self.trouble, self.troubled_at = answer.trouble, min(now, self.troubled_at)
            return True
        self.trouble, self.troubled_at = "", math.inf
        known = UNKNOWN if self.fleet is None else self.fleet.record.generation
        if facts.record.generation < known and not self._desk.looks_on:
            # What came in just now was counted nowhere; it belongs to the state that is put back.
            self.ledger.returned(each for each in parcel.deliveries if each.generation == known)
            return False
        self.learns(facts, now)
        return True

    def learns(self, facts: Facts, now: float) -> None:
        """The fleet has said something."""
        record = facts.record
        if self.fleet is None and record.state is State.CLOSED:
            self._first = record.generation
            self.ledger.relabel(UNKNOWN, record.generation)
        self.urgent |= self.fleet is None and bool(self.ledger)
        new = self.fleet is None or record.generation != self.fleet.record.generation
        if new and record.state is State.HALF_OPEN:
            self.stock.foresee(now)
        if new and record.generation > 0:
            self._desk.heard()
        self.fleet, self.heard = facts, now

    def confirmed(self) -> Event | None:
        """The event of a swap that was made although nobody answered; None when there is none."""
        unsure, self.unsure = self.unsure, None
        made = unsure is not None and self.fleet is not None and self.fleet.record == unsure[0]
        return unsure[1] if made and unsure is not None else None

    def undelivered(self) -> Counts:
        """What the fleet has not been told yet, or not said that it heard."""
        generation = UNKNOWN if self.fleet is None else self.fleet.record.generation
        return self.ledger.counts(generation).merged(total(self._in_flight, generation))

    def renew(self) -> None:
        """After a fork, in the child: what was to be delivered, and the permits, are the parent's."""
        self.ledger = Ledger()
        self._in_flight = ()
        self.unsure = None
        self.stock.drop()
        self.due, self.urgent = -math.inf, True
