"""Counting outcomes: what is counted, and the sliding window it is counted in."""

from __future__ import annotations

from bisect import bisect_right
from operator import add, sub
from typing import NamedTuple

__all__ = ["BUCKETS", "NOTHING", "Counts", "Window"]

BUCKETS = 120
"""Outcomes are gathered twice, in their process and in the backend, each time in steps of this fraction of a window."""


class Counts(NamedTuple):
    """How many outcomes of each sort; adding two merges them.

    Attributes:
        calls: successes, failures and slow calls; the whole that rates are a share of.
        failures: calls that failed.
        slow: calls that returned, but took longer than ``slow_after``.
        ignored: calls that count for neither side.
        rejected: calls that were not made because the circuit did not let them through.
        limited: failures that were rate limits.
    """

    calls: int = 0
    failures: int = 0
    slow: int = 0
    ignored: int = 0
    rejected: int = 0
    limited: int = 0

    @property
    def successes(self) -> int:
        """Calls that were neither failures nor slow."""
        return self.calls - self.failures - self.slow

    def merged(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(*map(add, self, other))

    def without(self, other: Counts) -> Counts:
        """These less the other ones."""
        return Counts(*map(sub, self, other))


NOTHING = Counts()
"""Nothing was counted."""


class _Bucket:
    __slots__ = ("asked_until", "counts", "first")

    def __init__(self, first: float) -> None:
        self.first = first
        self.counts = NOTHING
        self.asked_until = 0.0


class Window:
    """Counts by the time at which they happened, forgotten after the window's length.

    A bucket begins with the first outcome that falls into it, not at a multiple of its width: a burst of failures at
    one moment leaves the window exactly one length later, and any outcome leaves at most one bucket's width early,
    never late. The totals are kept up to date, so that asking costs no sum.
    """

    __slots__ = ("_buckets", "_totals")

    def __init__(self) -> None:
        self._buckets: list[_Bucket] = []
        self._totals = NOTHING

    def add(self, at: float, counts: Counts, length: float, asked_until: float = 0.0) -> None:
        """Merges ``counts`` that happened at ``at`` into a window ``length`` seconds long."""
        place = bisect_right(self._buckets, at, key=lambda bucket: bucket.first)
        bucket = self._buckets[place - 1] if place else None
        if bucket is None or at - bucket.first >= length / BUCKETS:
            bucket = _Bucket(at)
            self._buckets.insert(place, bucket)
        bucket.counts = bucket.counts.merged(counts)
        bucket.asked_until = max(bucket.asked_until, asked_until)
        self._totals = self._totals.merged(counts)

    def totals(self, now: float, length: float) -> Counts:
        """What happened less than ``length`` seconds before ``now``."""
        gone = bisect_right(self._buckets, round(now - length, 6), key=lambda bucket: bucket.first)
        for bucket in self._buckets[:gone]:
            self._totals = self._totals.without(bucket.counts)
        del self._buckets[:gone]
        return self._totals

    def asked_until(self) -> float:
        """The latest moment that any provider's ``Retry-After`` in the window names; 0.0 when none did."""
        return max((bucket.asked_until for bucket in self._buckets), default=0.0)

    def clear(self) -> None:
        """Forgets everything."""
        self._buckets.clear()
        self._totals = NOTHING
