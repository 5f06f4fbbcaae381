"""How often a process talks to the backend: at once when it matters, less the more processes there are."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Pace"]


@dataclass(slots=True)
class Pace:
    """The rhythm of one courier; all lengths are seconds, all moments the process's.

    A failure is delivered at once. What follows it waits for a gap, and what is no hurry for the next tick, and both
    grow with the fleet, so that what a server has to do does not.

    Attributes:
        tick: between two deliveries of successes, for a small fleet.
        gap: the least between two deliveries.
        patience: the longest between two tries to reach a backend that is lost.
        processes: how many there are in the fleet.
        tick_at: when the next tick is due.
    """

    tick: float = 1.0
    gap: float = 0.02
    patience: float = 2.0
    processes: int = 1
    tick_at: float = -math.inf
    _free_at: float = -math.inf
    _tries: int = 0

    @property
    def length(self) -> float:
        """Seconds between two ticks: from 500 processes on, 500 of them come in a second."""
        return self.tick * max(1.0, self.processes / 500)

    @property
    def alive(self) -> float:
        """A process that was not heard of for so many seconds is gone."""
        return 3 * self.length + 2

    @property
    def spread(self) -> float:
        """What every process would do at the same moment is spread over so many seconds."""
        return min(1.0, self.processes / 1000)

    def ticks(self, now: float) -> bool:
        """Whether a tick is due."""
        return now >= self.tick_at

    def ticked(self, now: float, chance: float) -> None:
        """A tick was made; ``chance``, from 0 to 1, keeps processes that began together apart."""
        self.tick_at = now + self.length * (0.9 + 0.2 * chance)

    def free(self, now: float) -> bool:
        """Whether the backend may be asked now."""
        return now >= self._free_at

    def answered(self, began: float, now: float) -> None:
        """The backend answered what was begun at ``began``; a slow one is asked less often."""
        self._tries = 0
        self._free_at = now + max(self.gap, 2 * (now - began), self.processes / 1500)

    def failed(self, now: float, chance: float) -> None:
        """The backend did not answer: the next tries come slower and slower, and not all processes' together."""
        longest = max(self.patience, self.processes / 1000)
        delay = min(longest, 0.1 * 2 ** min(self._tries, 16))
        self._tries += 1
        self._free_at = now + delay * (0.5 + chance)

    def hurry(self) -> None:
        """The next delivery need not wait for the gap."""
        if not self._tries:
            self._free_at = -math.inf

    def not_before(self, moment: float) -> float:
        """``moment``, or when the backend may be asked if that is later."""
        return max(moment, self._free_at)
