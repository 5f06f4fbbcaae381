"""The queue of leads."""

from __future__ import annotations

import heapq
import math
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recloser.demo.script import Lead

__all__ = ["Leads"]


class Leads:
    """The queue of leads: each is handed out once its time has come.

    Args:
        leads: who is to be called.
        began: when the day began, on the monotonic clock.
        gap: seconds between leads that come back. They were put back for the same pause, and the first of them is the
            trial that ends it.
    """

    def __init__(self, leads: tuple[Lead, ...], began: float, gap: float) -> None:
        self._gap = gap
        self._changed = threading.Condition()
        self._due = [(began + lead.at, lead.number, lead) for lead in leads]
        heapq.heapify(self._due)
        self._held: dict[int, tuple[float, Lead]] = {}
        self._closed = False

    def take(self) -> Lead | None:
        """The next lead, waited for; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for number, (when, lead) in tuple(self._held.items()):
                    if when <= now:
                        del self._held[number]
                        heapq.heappush(self._due, (when, number, lead))
                if self._due and self._due[0][0] <= now:
                    return heapq.heappop(self._due)[2]
                soonest = min((when for when, _ in self._held.values()), default=math.inf)
                if self._due:
                    soonest = min(soonest, self._due[0][0])
                self._changed.wait(None if math.isinf(soonest) else soonest - now)
            return None

    def put_back(self, lead: Lead, delay: float | None) -> None:
        """``lead`` comes up again after that many seconds, or, with None, when somebody says so."""
        with self._changed:
            when = math.inf if delay is None else time.monotonic() + delay + self._gap * len(self._held)
            self._held[lead.number] = (when, lead)
            self._changed.notify()

    def hand_on(self, lead: Lead) -> None:
        """``lead`` is called by somebody else, now: whoever took it cannot any more."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic(), lead.number, lead))
            self._changed.notify()

    def release(self) -> None:
        """Whoever was put back comes up now."""
        with self._changed:
            self._held = {number: (0.0, lead) for number, (_, lead) in self._held.items()}
            self._changed.notify_all()

    def close(self) -> None:
        """Hands out nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
