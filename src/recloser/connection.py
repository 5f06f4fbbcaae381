"""How one process and its backend get on: what is said in the log, and shown in the status."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from recloser.core.duration import format_duration

if TYPE_CHECKING:
    from recloser.clock import Clock

__all__ = ["Connection"]

_log = logging.getLogger("recloser")


class Connection:
    """Whether the backend answers, and what it said when it did not; one line in the log for each end of a streak.

    Args:
        address: where the backend is, for people, without secrets.
        clock: the process's time.

    Attributes:
        lost: whether the backend has not answered the last time.
        lost_at: since when, on the process's clock; infinity while it does.
        lost_since: the same as Unix time in seconds; None while it does.
        lost_because: what it said, or did not say, in one line.
        processes: how many processes of the fleet are alive.
        closed: whether it was given up, so that a thread which still waits for an answer has nothing to say.
    """

    lost: bool
    lost_at: float
    lost_since: float | None
    lost_because: str
    processes: int
    closed: bool

    def __init__(self, address: str, clock: Clock) -> None:
        self.closed = False
        self.processes = 1
        self._address = address
        self._clock = clock
        self._answers()

    def breaks(self, because: str) -> bool:
        """The backend did not answer; whether it did before."""
        first = not self.lost
        self.lost_because = because
        if first:
            self.lost, self.lost_at, self.lost_since = True, self._clock.now(), self._clock.time()
            if not self.closed:
                _log.warning("%s; calls go on with what this process knows", because)
        return first

    def works(self) -> bool:
        """The backend answered; whether it did not before."""
        was_lost = self.lost
        if was_lost:
            away = format_duration(max(0.0, round(self._clock.now() - self.lost_at, 3)))
            _log.warning("the backend %s answers again, after %s", self._address, away)
            self._answers()
        return was_lost

    def _answers(self) -> None:
        self.lost, self.lost_at, self.lost_since, self.lost_because = False, math.inf, None, ""
