"""Time, injected: what a toolkit asks of a clock, and the one that a computer has."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Alarm", "Clock", "SystemClock"]


class Clock(Protocol):
    """What Recloser asks of a clock; all three are called from any thread, and ``now`` on every call."""

    @property
    def now(self) -> Callable[[], float]:
        """Seconds that only grow."""
        ...

    @property
    def time(self) -> Callable[[], float]:
        """Unix time in seconds, for people to read."""
        ...

    def jitter(self) -> float:
        """The share to add to a pause that is not the first, 0 or more, different each time."""
        ...


@runtime_checkable
class Alarm(Protocol):
    """A clock that can call back when its time has come, so that nobody needs a thread to wait for it."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls ``callback`` once ``now()`` reaches ``when``; returns a function that takes the request back."""
        ...


class SystemClock:
    """The computer's monotonic clock and its wall clock."""

    @property
    def now(self) -> Callable[[], float]:
        """The function of the standard library itself, as it is called twice on every wrapped call."""
        return time.monotonic

    @property
    def time(self) -> Callable[[], float]:
        """The wall clock."""
        return time.time

    @staticmethod
    def jitter() -> float:
        """Up to a tenth: enough to keep circuits that tripped together from coming back together."""
        return random.random() / 10  # noqa: S311 - not a secret
