"""Leave to call, and the counters behind it that a call touches without a lock."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from recloser.clock import Alarm, SystemClock
from recloser.core.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recloser.backends import Seat
    from recloser.clock import Clock
    from recloser.replica import Replica

__all__ = ["PASS", "Counter", "Permit"]


class Counter:
    """Counts without a lock: ``next(counter)`` of an ``itertools.count`` is atomic.

    Attributes:
        counter: ``next(counter)`` counts one.
        began: when the bucket that is being counted began.
        rolls: from this moment on, the bucket is over.
    """

    __slots__ = ("_seen", "began", "counter", "rolls")

    counter: Iterator[int]
    began: float
    rolls: float

    def __init__(self) -> None:
        # The function next() costs half of what the bound __next__ does.
        self.counter = itertools.count()
        self.began = 0.0
        self.rolls = -math.inf
        self._seen = 0

    def begin(self, now: float, width: float) -> None:
        """Begins a bucket."""
        self.began = now
        self.rolls = now + width

    def drain(self) -> int:
        """How many were counted since this was asked last, by one thread at a time; the bucket is over."""
        reading = next(self.counter)
        counted = reading - self._seen
        self._seen = reading + 1
        self.rolls = -math.inf
        return counted


class Permit(Counter):
    """Leave to call, in one generation of a circuit; its counter counts successes.

    Attributes:
        replica: the replica that gave it; None when nothing is counted.
        generation: the generation it belongs to.
        now: the process's time.
        alarm: its clock, if that can call back.
        policy: the circuit's policy when it was given.
        slow_after: a call longer than this many seconds is slow.
        timed: whether a call's length matters; if not, its beginning is not looked up.
        bounded: whether there is a deadline before the call has returned.
        watched: whether the time that a stream is waited for matters.
        paced: whether a stream has a deadline.
        single: whether it is good for one call, whose outcome is settled by itself.
        seat: the lease behind it, when it is a probe's.
    """

    __slots__ = (
        "alarm",
        "bounded",
        "generation",
        "now",
        "paced",
        "policy",
        "replica",
        "seat",
        "single",
        "slow_after",
        "timed",
        "watched",
    )

    replica: Replica | None
    generation: int
    now: Callable[[], float]
    policy: Policy
    slow_after: float
    timed: bool
    alarm: Alarm | None
    bounded: bool
    watched: bool
    paced: bool
    single: bool
    seat: Seat | None

    def __init__(
        self,
        replica: Replica | None,
        generation: int,
        clock: Clock,
        policy: Policy,
        *,
        single: bool = False,
        seat: Seat | None = None,
    ) -> None:
        super().__init__()
        self.replica = replica
        self.generation = generation
        # Asked once: a look at a protocol costs as much as ten calls.
        self.alarm = clock if isinstance(clock, Alarm) else None
        self.now = clock.now
        self.policy = policy
        self.slow_after = math.inf if policy.slow_after is None else policy.slow_after
        self.bounded = policy.timeout is not None or policy.first_item is not None
        self.paced = self.bounded or policy.idle is not None
        self.watched = self.paced or policy.slow_after is not None
        self.timed = self.watched
        self.single = single
        self.seat = seat


PASS = Permit(None, -1, SystemClock(), Policy())
"""The permit of a circuit that is switched off."""
PASS.rolls = math.inf
