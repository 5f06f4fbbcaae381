"""What was counted in this process and the fleet has not been told yet: of one circuit, and never much."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from recloser.core.events import merge_samples
from recloser.core.window import BUCKETS, NOTHING, Counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recloser.backends import Delivery, Seat

__all__ = ["Ledger", "merged", "total"]

_ENTRIES = 4 * BUCKETS
"""From so many entries on they are merged; an outage leaves at most a fourth of that for a window, and the keys."""
_KEYS = 1000
"""So many reports with a key wait with it. Further ones, each with another key, are counted without."""


class Ledger:
    """Outcomes on their way to the fleet."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[Delivery] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, deliveries: Iterable[Delivery], now: float, window: float) -> None:
        """Takes note of what happened.

        Args:
            deliveries: the outcomes.
            now: the process's time.
            window: the length of the circuit's window in seconds.
        """
        self._entries += deliveries
        if len(self._entries) > _ENTRIES:
            self._entries = merged(self._entries, now, window)

    def take(self) -> tuple[Delivery, ...]:
        """Everything, to be delivered."""
        taken, self._entries = tuple(self._entries), []
        return taken

    def returned(self, deliveries: Iterable[Delivery]) -> None:
        """What could not be delivered after all."""
        self._entries[:0] = deliveries

    def relabel(self, old: int, new: int) -> None:
        """What belonged to a generation belongs to another."""
        self._entries = [replace(each, generation=new) if each.generation == old else each for each in self._entries]

    def forget(self) -> None:
        """Drops all outcomes, as closing a circuit empties its window; permits are still given back."""
        self._entries = [replace(each, counts=NOTHING, errors=()) for each in self._entries if each.gives_back]

    def counts(self, generation: int) -> Counts:
        """What it holds of a generation."""
        return total(self._entries, generation)

    def ended(self) -> set[Seat]:
        """The permits that are on their way back."""
        return {each.gives_back for each in self._entries if each.gives_back}


def total(deliveries: Iterable[Delivery], generation: int) -> Counts:
    """All counts of a generation together."""
    counts = NOTHING
    for each in deliveries:
        if each.generation == generation:
            counts = counts.merged(each.counts)
    return counts


def merged(entries: Iterable[Delivery], now: float, window: float) -> list[Delivery]:
    """The same in fewer entries: one for each bucket and for each key, none that has left the window."""
    apart: list[Delivery] = []
    keys: set[tuple[int, str]] = set()
    buckets: dict[tuple[int, int], Delivery] = {}
    width = window / BUCKETS
    for each in entries:
        if each.gives_back is None and (now - each.at >= window or (each.generation, each.once) in keys):
            continue
        if each.once is not None:
            keys.add((each.generation, each.once))
        if each.gives_back is not None or (each.once is not None and len(apart) < _KEYS):
            apart.append(each)
        else:
            place = (each.generation, int(each.at // width))
            known = buckets.get(place)
            buckets[place] = replace(each, once=None) if known is None else _together(known, each)
    return [*apart, *buckets.values()]


def _together(one: Delivery, other: Delivery) -> Delivery:
    at = min(one.at, other.at)
    asked = [each.at + each.retry_after for each in (one, other) if each.retry_after is not None]
    return replace(
        one,
        at=at,
        counts=one.counts.merged(other.counts),
        retry_after=max(asked) - at if asked else None,
        errors=merge_samples(one.errors, other.errors),
    )
