"""The ramp: how work begins again on a circuit that was paused, so that all of it does not come at once.

One piece of work begins at once, and with each tenth of the ramp that passes, twice as many have begun: 1, 2, 4, 8, up
to a thousand at its end. How many are waiting, or how much the provider bears, need not be known for that.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from recloser.core.machine import UNKNOWN, State
from recloser.locks import Section

if TYPE_CHECKING:
    from recloser.core.machine import Record

__all__ = ["Ramp"]

_STEPS = 10
"""So often the number of what has begun doubles over the length of a ramp."""


class Ramp:
    """The line before one circuit in one process. Moments are the process's time, lengths are seconds.

    A ramp is for the whole fleet. Each of ``P`` processes takes every ``P``-th place of it, from a first place that it
    draws; without knowing of each other they keep to the same curve together.

    Args:
        exact: draws nothing, for a clock that is moved by hand: the first place is this process's.

    Attributes:
        closed_at: since when the circuit has been closed.
    """

    closed_at: float

    def __init__(self, *, exact: bool) -> None:
        self._exact = exact
        self._lock = Section()
        self._line: dict[object, None] = {}
        self._begun = 0
        self._chance = 0.0
        # Since when the circuit has been closed, how long it had been paused before, and since when it is now.
        self.closed_at = -math.inf
        self._paused_for = math.inf
        self._paused_at: float | None = None

    def shows(self, record: Record, now: float, age: float) -> None:
        """Calls are shown another record, which is ``age`` seconds old."""
        with self._lock:
            if record.state is not State.CLOSED:
                if self._paused_at is None:
                    self._paused_at = now - age
                return
            if self._paused_at is not None:
                # Seen with one's own eyes, also where no transition was made: a backend that was lost is back.
                self.closed_at, self._paused_for = now, now - self._paused_at
            elif record.generation not in {0, UNKNOWN}:
                self.closed_at, self._paused_for = now - age, math.inf
            else:
                return  # it was never paused
            self._paused_at = None
            self._begun = 0
            self._line = {}
            self._chance = random.random()  # noqa: S311 - not a secret

    def turn(self, who: object, now: float, length: float, processes: int) -> float:
        """When ``who``, who stands in line from now on, may begin; minus infinity when there is no line to stand in.

        The ramp is not longer than the pause was, and whoever comes after it need not wait.
        """
        if not (now - self.closed_at < length or who in self._line):
            return -math.inf
        with self._lock:
            length = min(length, self._paused_for)
            if who not in self._line:
                if not now - self.closed_at < length:
                    return -math.inf
                self._line[who] = None
            # Whoever is ahead and begins is not ahead any more, but has begun: the sum stays the same.
            place = self._begun + list(self._line).index(who)
            first = 0.0 if self._exact else max(0.0, self._chance * processes - 1)
            return round(self.closed_at + length / _STEPS * math.log2(1 + first + place * processes), 6)

    def leave(self, who: object, *, begins: bool) -> None:
        """``who`` does not stand in line any more, and begins or gives up."""
        with self._lock:
            if who in self._line:
                del self._line[who]
                self._begun += begins

    def renew(self) -> None:
        """After a fork, in the child: whoever stands in line, stands there in the parent."""
        self._lock.renew()
        self._line = {}
