"""What the courier keeps of one circuit: what the fleet said last, what it has not been told yet, permits in stock."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from recloser.backends import Ask, Parcel, Seat
from recloser.core.machine import UNKNOWN, Facts, Record, State, after
from recloser.ledger import Ledger, merged, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.backends import Answer, Delivery, Lease, Pool
    from recloser.core.events import Event
    from recloser.core.window import Counts
    from recloser.courier import Desk
    from recloser.replica import Replica
    from recloser.standin import StandIn

__all__ = ["Account", "Asked"]

_POOLS: tuple[Pool, ...] = ("probe", "trial")
_HELD = 2.0
"""A process in which a call wanted a permit keeps one so many seconds for the next call, whoever else wants it."""
_FORESIGHT = 0.25
"""A process without calls asks so many seconds after the others for a permit that it may need."""
_BUSY = 10.0
"""A process that had a call in the last so many seconds is one with calls."""
_AGAIN, _SOON = 1.0, 0.05
"""Seconds after which a permit that was refused is asked for again: at first, and after some refusals."""


@dataclass(slots=True, eq=False)  # told apart by identity, so that looking for one runs no code
class _Held:
    """A permit in stock.

    Attributes:
        seat: whose it is.
        generation: what it is good for.
        until: when it is no longer certain to be held.
    """

    seat: Seat
    generation: int
    until: float


class Asked(NamedTuple):
    """A request on its way."""

    ask: Ask
    held: _Held | None


class Account:
    """One circuit, as far as its courier is concerned. Moments are the process's time where nothing else is said.

    Attributes:
        replica: what calls read.
        alone: decides where the fleet cannot be asked.
        ledger: what the fleet has not been told yet.
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
        self.alone = alone
        self._desk = desk
        self.ledger = Ledger()
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
        # Read and emptied by calls, without a lock.
        self._stock: dict[Pool, deque[_Held]] = {pool: deque() for pool in _POOLS}
        self._used: deque[_Held] = deque()
        self._foreseen: set[Pool] = set()
        self._missed: dict[Pool, float] = dict.fromkeys(_POOLS, -math.inf)
        self._refusals: dict[Pool, int] = dict.fromkeys(_POOLS, 0)
        self._busy = -math.inf
        self._refused_until: dict[Pool, float] = dict.fromkeys(_POOLS, -math.inf)
        self._ask_again: dict[Pool, float] = dict.fromkeys(_POOLS, -math.inf)

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
            self._busy = now

    @property
    def is_told(self) -> bool:
        """Whether calls see what the fleet said, or that it cannot say anything."""
        return bool(self.trouble) or (self.fleet is not None and self._shown.record.generation != UNKNOWN)

    def show(self, facts: Facts, now: float) -> None:
        """Remembers what calls are shown. Permits belong to one generation."""
        if facts.record.generation != self._shown.record.generation:
            self.drop_stock()
        self._shown, self._shown_at = facts, now

    @property
    def shown(self) -> Record:
        """The record that calls are shown."""
        return self._shown.record

    def shown_at(self, now: float) -> Facts:
        """The same, as of now."""
        return replace(self._shown, now=after(self._shown.now, now - self._shown_at))

    # -- permits, on the path of a call --------------------------------------------------------------------------------

    def take(self, pool: Pool, generation: int, now: float) -> Seat | None:
        """A permit out of the stock."""
        stock = self._stock[pool]
        while stock:
            try:
                held = stock.popleft()
            except IndexError:  # another thread was quicker
                break
            if held.generation == generation and now < held.until:
                self._used.append(held)
                self._missed[pool] = -math.inf
                return held.seat
        self.want(pool, now)
        return None

    def has(self, pool: Pool, generation: int, now: float) -> bool:
        """Whether there is one."""
        if any(held.generation == generation and now < held.until for held in self._stock[pool].copy()):
            return True
        self.want(pool, now)
        return False

    def want(self, pool: Pool, now: float) -> None:
        """A call would have liked one."""
        self._missed[pool] = now

    def is_wanted(self) -> None:
        """Another process wants a permit: if there is one in stock, the fleet is asked about it now."""
        if any(self._stock.values()):
            self.due = -math.inf

    def next_ask(self, now: float) -> float:
        """When one that is wanted, and that there is none of, may be asked for."""
        return min((self._ask_again[pool] for pool in _POOLS if self._misses(pool, now)), default=math.inf)

    def no_asking(self, until: float) -> None:
        """No permit is to be had before that moment."""
        self._ask_again = dict.fromkeys(_POOLS, until)

    def retry_after(self, pool: Pool, now: float) -> float:
        """In how many seconds one may be had."""
        return max(self._refused_until[pool], self._ask_again[pool], now) - now

    # -- permits, of the fleet -----------------------------------------------------------------------------------------

    def asks(self, now: float, processes: int) -> list[Asked]:
        """What has to be asked of the fleet: permits to keep, permits that are in use now, permits that are wanted."""
        record = self.facts(now).record
        if record.state is not State.HALF_OPEN:
            self.drop_stock()
            return []
        policy = self.replica.policy

        def ask(seat: Seat) -> Ask:
            keen = self._is_missed(seat.pool, now)
            return Ask(seat, record.generation, policy.probes, policy.probe_timeout, keen)

        ended = self.ledger.ended()
        # A call that has just begun has all of the time that a probe may take.
        asked = [Asked(ask(held.seat), None) for held in self._took() if held.seat not in ended]
        for pool in _POOLS:
            stock = self._stock[pool].copy()
            asked += [Asked(ask(held.seat), held) for held in stock]
            if self._wants(pool, now) and now >= self._ask_again[pool]:
                # With few processes one may have all of them; with many, each takes what it needs next.
                share = max(1, -(-policy.probes // processes))
                for _ in range(share - len(stock)):
                    seat = self._desk.seat(pool)
                    asked.append(Asked(ask(seat), _Held(seat, record.generation, -math.inf)))
        return asked

    def leased(self, asked: list[Asked], leases: tuple[Lease, ...], sent: float, now: float) -> list[Seat]:
        """Takes note of what was granted; the permits that go back, because others want them."""
        back: list[Seat] = []
        for (ask, held), lease in zip(asked, leases, strict=True):
            if held is None:
                continue
            pool = ask.seat.pool
            stock = self._stock[pool]
            fresh = held.until == -math.inf
            if lease.granted:
                # Not to the last moment: what begins then must still be known to have begun.
                held.until = sent + ask.length * 0.9
                if fresh:
                    stock.append(held)
                    self._refusals[pool] = 0
                    # One is enough to have in advance; the next is asked for when a call has missed it.
                    self._foreseen.discard(pool)
                if lease.wanted and now - self._missed[pool] > _HELD and self._taken_back(stock, held):
                    back.append(held.seat)
            elif fresh:
                self._refused_until[pool] = now + lease.retry_after
                # Not after the moment at which one comes free for certain.
                later = max(_SOON, lease.retry_after)
                self._ask_again[pool] = now + min(_AGAIN, later, _SOON * 2 ** min(self._refusals[pool], 8))
                self._refusals[pool] += 1
                self._foreseen.discard(pool)
            else:
                self._taken_back(stock, held)
        return back

    def stock_up(self, lend: Callable[[Seat, float], bool], generation: int, now: float) -> None:
        """Takes permits that this process lends itself."""
        length = self.replica.policy.probe_timeout
        for held in self._took():
            lend(held.seat, length)
        for pool in _POOLS:
            stock = self._stock[pool]
            while self._wants(pool, now) and len(stock) < self.replica.policy.probes:
                seat = self._desk.seat(pool)
                if not lend(seat, length):
                    self._refused_until[pool] = self._ask_again[pool] = now + _AGAIN
                    break
                stock.append(_Held(seat, generation, now + length))

    def drop_stock(self) -> list[Seat]:
        """Empties the stock; the permits that were in it."""
        dropped: list[Seat] = []
        for stock in self._stock.values():
            while stock:
                try:
                    dropped.append(stock.popleft().seat)
                except IndexError:
                    break
        self._used.clear()
        return dropped

    def _wants(self, pool: Pool, now: float) -> bool:
        return pool in self._foreseen or self._is_missed(pool, now)

    def _is_missed(self, pool: Pool, now: float) -> bool:
        return now - self._missed[pool] < max(self.replica.policy.probe_timeout, 2 * _AGAIN)

    def _misses(self, pool: Pool, now: float) -> bool:
        return self._shown.record.state is State.HALF_OPEN and not self._stock[pool] and self._wants(pool, now)

    def _took(self) -> list[_Held]:
        return [self._used.popleft() for _ in range(len(self._used))]

    @staticmethod
    def _taken_back(stock: deque[_Held], held: _Held) -> bool:
        try:
            stock.remove(held)
        except (ValueError, IndexError):  # a call has just taken one
            return False
        return True

    # -- what goes to the fleet and comes back -------------------------------------------------------------------------

    def parcel(self, asked: list[Asked]) -> Parcel:
        """All there is to say; before the first word, when it is not known to which state it belongs, nothing."""
        deliveries = self.ledger.take() if self.fleet is not None else ()
        self._in_flight = deliveries
        asks = tuple(each.ask for each in asked)
        return Parcel(self.replica.name, self.replica.policy.window, deliveries, asks)

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
        if facts.record.generation < known:
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
            # The next call finds one, if it comes to this process.
            self._foreseen.update(_POOLS if self._desk.affects(self.replica.name) else ["probe"])
            self.no_asking(-math.inf if now - self._busy < _BUSY else now + _FORESIGHT)
            self._refusals = dict.fromkeys(_POOLS, 0)
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
        self.drop_stock()
        self.due, self.urgent = -math.inf, True
