"""The permits that one process has in stock: leased in advance, so that a call which takes one waits for nothing.

A probe lets one call test a circuit, a trial lets work begin that will make such a call, and a choice lets work that
has begun use the circuit's provider for a while. A process whose own work chooses, or whose calls use the circuit,
keeps a trial only together with a choice and a probe: the work would be rejected in the middle otherwise.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from recloser.backends import Ask, Seat

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from recloser.backends import Lease, Pool
    from recloser.courier import Desk
    from recloser.replica import Replica

__all__ = ["Asked", "Stock"]

_POOLS: tuple[Pool, ...] = ("probe", "choice", "trial")
_HELD = 2.0
"""A process in which a call wanted a permit keeps one so many seconds for the next call, whoever else wants it."""
_FORESIGHT = 0.25
"""A process without calls asks so many seconds after the others for a permit that it may need."""
_BUSY = 10.0
"""A process that had a call in the last so many seconds is one with calls."""
_AGAIN, _SOON = 1.0, 0.05
"""Seconds after which a permit that was refused is asked for again: at the most, and at first."""


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


class Stock:
    """The permits of one circuit in one process. Moments are the process's time.

    Args:
        replica: the circuit.
        desk: names the seats.

    Attributes:
        busy: when a call was last heard of; minus infinity when no call uses the circuit in this process.
    """

    busy: float

    def __init__(self, replica: Replica, desk: Desk) -> None:
        self.busy = -math.inf
        self._replica = replica
        self._desk = desk
        # Read and emptied by calls, without a lock.
        self._held: dict[Pool, deque[_Held]] = {pool: deque() for pool in _POOLS}
        self._used: deque[_Held] = deque()
        self._foreseen: set[Pool] = set()
        self._missed: dict[Pool, float] = dict.fromkeys(_POOLS, -math.inf)
        self._refusals: dict[Pool, int] = dict.fromkeys(_POOLS, 0)
        self._ask_again: dict[Pool, float] = dict.fromkeys(_POOLS, -math.inf)

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return any(self._held.values())

    # -- on the path of a call -----------------------------------------------------------------------------------------

    def take(self, pool: Pool, generation: int, now: float) -> Seat | None:
        """A permit, if there is one."""
        if pool == "trial" and not self._finds_rest(generation, now):
            return None
        held = self._held[pool]
        while held:
            try:
                one = held.popleft()
            except IndexError:  # another thread was quicker
                break
            if one.generation == generation and now < one.until:
                self._used.append(one)
                self._missed[pool] = -math.inf
                return one.seat
        self._missed[pool] = now
        return None

    def has(self, pool: Pool, generation: int, now: float) -> bool:
        """Whether ``take`` would find one; that it was asked for is remembered."""
        of_use = pool != "trial" or self._finds_rest(generation, now)
        if any(one.generation == generation and now < one.until for one in self._held[pool].copy()):
            return of_use
        self._missed[pool] = now
        return False

    def _finds_rest(self, generation: int, now: float) -> bool:
        """Whether work that a trial lets begin would find what it takes later, where others do not look for that."""
        found = [self.has(pool, generation, now) for pool in self._later]  # each that is missing is asked for
        return all(found)

    @property
    def _later(self) -> list[Pool]:
        """The pools that work of this process takes from once it has begun."""
        chooses: list[Pool] = ["choice"] if self._replica.chosen else []
        return chooses if self.busy == -math.inf else ["probe", *chooses]

    def retry_after(self, pool: Pool, now: float) -> float:
        """In how many seconds it is worth another look: soon after the fleet is asked again.

        Not when the lease of another process ends: most end long before, with a call.
        """
        return max(0.0, self._asks_at(pool) - now) + _SOON

    # -- asking the fleet ----------------------------------------------------------------------------------------------

    def foresee(self, now: float) -> None:
        """The circuit is being tested from now on: the next call finds a permit, if it comes to this process."""
        self._foreseen.update(["probe", *self._later, *(["trial"] if self._desk.needs(self._replica.name) else [])])
        self.no_asking(-math.inf if now - self.busy < _BUSY else now + _FORESIGHT)
        self._refusals = dict.fromkeys(_POOLS, 0)

    def no_asking(self, until: float) -> None:
        """No permit is to be had before that moment."""
        self._ask_again = dict.fromkeys(_POOLS, until)

    def next_ask(self, now: float) -> float:
        """When one that is wanted, and that there is none of, may be asked for."""
        missing = [pool for pool in _POOLS if not self._held[pool] and self._wants(pool, now)]
        return min(map(self._asks_at, missing), default=math.inf)

    def asks(self, generation: int, now: float, processes: int, ended: Collection[Seat]) -> list[Asked]:
        """What has to be asked of the fleet: permits to keep, permits that are in use now, permits that are wanted.

        Args:
            generation: of the state that is being tested.
            now: the present moment.
            processes: how many share the permits.
            ended: the permits of calls that have ended.
        """
        policy = self._replica.policy

        def ask(seat: Seat) -> Ask:
            return Ask(seat, generation, policy.probes, policy.probe_timeout, self._is_missed(seat.pool, now))

        # A call that has just begun has all of the time that a probe may take.
        asked = [Asked(ask(one.seat), None) for one in self._took() if one.seat not in ended]
        for pool in _POOLS:
            held = self._held[pool].copy()
            asked += [Asked(ask(one.seat), one) for one in held]
            if self._wants(pool, now) and now >= self._asks_at(pool):
                # With few processes one may have all of them; with many, each takes what it needs next.
                share = max(1, -(-policy.probes // processes))
                for _ in range(share - len(held)):
                    seat = self._desk.seat(pool)
                    asked.append(Asked(ask(seat), _Held(seat, generation, -math.inf)))
        return asked

    def leased(self, asked: list[Asked], leases: tuple[Lease, ...], sent: float, now: float) -> list[Seat]:
        """Takes note of what was granted; the permits that go back, because others want them."""
        back: list[Seat] = []
        for (ask, one), lease in zip(asked, leases, strict=True):
            if one is None:
                continue
            pool = ask.seat.pool
            fresh = one.until == -math.inf
            if lease.granted:
                # Not to the last moment: what begins then must still be known to have begun.
                one.until = sent + ask.length * 0.9
                if fresh:
                    self._held[pool].append(one)
                    self._refusals[pool] = 0
                if lease.wanted and now - self._missed[pool] > _HELD and self._taken_back(one):
                    back.append(one.seat)
            elif fresh:
                # Not after the moment at which one comes free for certain.
                later = max(_SOON, lease.retry_after)
                self._ask_again[pool] = now + min(_AGAIN, later, _SOON * 2 ** min(self._refusals[pool], 8))
                self._refusals[pool] += 1
            else:
                self._taken_back(one)
            if fresh:
                # One is enough to have in advance; the next is asked for when a call has missed it.
                self._foreseen.discard(pool)
        if self._lacks("trial"):
            # Whoever has the probe is to have the trial as well.
            back += [one.seat for one in self._held["trial"].copy() if self._taken_back(one)]
        return back

    def fill(self, lend: Callable[[Seat, float], bool], generation: int, now: float) -> None:
        """Takes permits that this process lends itself."""
        length = self._replica.policy.probe_timeout
        for one in self._took():
            lend(one.seat, length)
        for pool in _POOLS:
            held = self._held[pool]
            while self._wants(pool, now) and len(held) < self._replica.policy.probes:
                seat = self._desk.seat(pool)
                if not lend(seat, length):
                    self._ask_again[pool] = now + _AGAIN
                    break
                held.append(_Held(seat, generation, now + length))

    def drop(self) -> list[Seat]:
        """Empties it; the permits that were in it."""
        dropped: list[Seat] = []
        for held in self._held.values():
            while held:
                try:
                    dropped.append(held.popleft().seat)
                except IndexError:
                    break
        self._used.clear()
        return dropped

    def _lacks(self, pool: Pool) -> list[Pool]:
        """The pools without whose permits one of that pool is of no use, and of which there is none."""
        return [other for other in self._later if not self._held[other]] if pool == "trial" else []

    def _asks_at(self, pool: Pool) -> float:
        return max(self._ask_again[each] for each in (pool, *self._lacks(pool)))

    def _wants(self, pool: Pool, now: float) -> bool:
        if not all(self._wants(other, now) for other in self._lacks(pool)):
            return False
        return pool in self._foreseen or self._is_missed(pool, now)

    def _is_missed(self, pool: Pool, now: float) -> bool:
        return now - self._missed[pool] < max(self._replica.policy.probe_timeout, 2 * _AGAIN)

    def _took(self) -> list[_Held]:
        return [self._used.popleft() for _ in range(len(self._used))]

    def _taken_back(self, one: _Held) -> bool:
        try:
            self._held[one.seat.pool].remove(one)
        except (ValueError, IndexError):  # a call has just taken one
            return False
        return True
