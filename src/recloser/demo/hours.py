"""The time of a day: seconds since it began, for every process that has a part in it."""

from __future__ import annotations

import time

__all__ = ["Hours"]


class Hours:
    """Says how late it is. Before the day has begun, it is always zero.

    Attributes:
        began: when the day began, on the monotonic clock.
    """

    began: float

    def __init__(self) -> None:
        self.began = 0.0
        self._unix = 0.0

    def begin(self) -> None:
        """Now."""
        self.began, self._unix = time.monotonic(), time.time()

    def now(self) -> float:
        """Seconds since the day began."""
        return time.monotonic() - self.began if self.began else 0.0

    def at(self, unix: float) -> float:
        """The same for a moment of Unix time, the clock that processes have in common."""
        return unix - self._unix if self.began else 0.0
