"""Leave to call, and the counters behind it that a call touches without a lock."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from recloser.clock import SystemClock
from recloser.core.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.backends import Seat
    from recloser.clock import Clock
    from recloser.replica import Replica

__all__ = ["PASS", "Counter", "Permit"]


class Counter:
    """Counts without a lock: ``count`` is the ``__next__`` of ``itertools.count``, which is atomic.

    Attributes:
        count: counts one.
        began: when the bucket that is being counted began.
        rolls: from this moment on, the bucket is over.
    """

    __slots__ = ("_seen", "began", "count", "rolls")

    count: Callable[[], int]
    began: float
    rolls: float

    def __init__(self) -> None:
        self.count = itertools.count().__next__
        self.began = 0.0
        self.rolls = -math.inf
        self._seen = 0

    def begin(self, now: float, width: float) -> None:
        """Begins a bucket."""
        self.began = now
        self.rolls = now + width

    def drain(self) -> int:
        """How many were counted since this was asked last, by one thread at a time; the bucket is over."""
        reading = self.count()
        counted = reading - self._seen
        self._seen = reading + 1
        self.rolls = -math.inf
        return counted


class Permit(Counter):
    """Leave to call, in one generation of a circuit; its counter counts successes.

    Attributes:
        replica: the replica that gave it; None when nothing is counted.
        generation: the generation it belongs to.
        clock: the process's time; ``now`` is its reading.
        policy: the circuit's policy when it was given.
        slow_after: a call longer than this many seconds is slow.
        bounded: whether there is a deadline before the call has returned.
        watched: whether a stream's items must be looked at one by one, for their times.
        single: whether it is good for one call, whose outcome is settled by itself.
        seat: the lease behind it, when it is a probe's.
    """

    __slots__ = (
        "bounded",
        "clock",
        "generation",
        "now",
        "policy",
        "replica",
        "seat",
        "single",
        "slow_after",
        "watched",
    )

    replica: Replica | None
    generation: int
    clock: Clock
    now: Callable[[], float]
    policy: Policy
    slow_after: float
    bounded: bool
    watched: bool
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
        self.clock = clock
        self.now = clock.now
        self.policy = policy
        self.slow_after = math.inf if policy.slow_after is None else policy.slow_after
        self.bounded = policy.timeout is not None or policy.first_item is not None
        self.watched = self.bounded or policy.idle is not None or policy.slow_after is not None
        self.single = single
        self.seat = seat


PASS = Permit(None, -1, SystemClock(), Policy())
"""The permit of a circuit that is switched off."""
PASS.rolls = math.inf
