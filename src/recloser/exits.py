"""At the end of a process: what is still to be delivered is, within a bound."""

from __future__ import annotations

import atexit
import sys
import time
import weakref
from typing import Protocol

__all__ = ["LAST_WORDS", "deliver_at_exit"]

LAST_WORDS = 0.45
"""Seconds that the end of a process may take longer for everything that delivers, together."""


class Delivers(Protocol):
    """Something with a thread that has something to deliver."""

    def leave(self) -> None:
        """Begins to deliver what is left, and then to end."""
        ...

    def left(self, within: float) -> None:
        """Waits until that is done, for so many seconds at the most."""
        ...


_delivering: weakref.WeakSet[Delivers] = weakref.WeakSet()


def deliver_at_exit(what: Delivers) -> None:
    """Has ``what`` deliver when this process ends; called in each process that it works in."""
    _delivering.add(what)
    # Children of these two end without a look at atexit, and forget at their start what their parent registered.
    for module in ("multiprocessing.util", "billiard.util"):
        if module in sys.modules:
            sys.modules[module].Finalize(None, _deliver, exitpriority=0)


def _deliver() -> None:
    until = time.monotonic() + LAST_WORDS
    leaving = tuple(_delivering)
    for each in leaving:
        each.leave()
    for each in leaving:
        each.left(until - time.monotonic())


atexit.register(_deliver)
