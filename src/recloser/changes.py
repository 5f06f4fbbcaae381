"""Who waits for a circuit to change. Calls do not come by here; it is asked only when something has changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from recloser.contain import Contained
from recloser.locks import Section, unless_held

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Changes"]

_PATIENCE = 1.0
"""So many seconds whoever waits gives the fleet for its first word; a backend that does not answer is lost by then."""


class Changes:
    """Functions that are called when a circuit has changed: by any thread, outside our locks, and soon over."""

    def __init__(self) -> None:
        self._lock = Section()
        self._callbacks: dict[object, Contained[object]] = {}
        self._first_at = math.inf

    def add(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Has ``callback`` called with each change from now on; returns a function that ends it.

        Whoever wants to miss nothing adds first and looks then.
        """
        key = object()
        with self._lock:
            self._callbacks[key] = Contained("what waits for a circuit", callback)

        def remove() -> None:
            with self._lock:
                self._callbacks.pop(key, None)

        return remove

    def tell(self) -> None:
        """Something has changed; whoever holds a lock of ours tells of it afterwards."""
        if self._callbacks:
            unless_held(self._tell)

    def _tell(self) -> None:
        with self._lock:
            callbacks = tuple(self._callbacks.values())
        for callback in callbacks:
            callback()

    def first_word_by(self, now: float) -> float:
        """Until when it is worth waiting for the first word, which nobody waited for before the first call of this."""
        self._first_at = min(self._first_at, now)
        return self._first_at + _PATIENCE

    def renew(self) -> None:
        """After a fork, in the child: whoever waits, waits in the parent."""
        self._lock.renew()
        self._callbacks = {}
