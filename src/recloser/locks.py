"""Locks that the garbage collector cannot deadlock.

An abandoned stream is settled when it is collected, and that may happen on any line of any thread, also on one that
holds a lock of ours. What would then need a lock waits until the thread holds none.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Section", "unless_held"]


class _Here(threading.local):
    """What the present thread holds, and what waits for it."""

    depth: int = 0

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []


_here = _Here()


class Section:
    """A lock, held for a few lines without user code in them."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        # Counted before it is held: the collector may run in between.
        _here.depth += 1
        try:
            self._lock.acquire()
        except BaseException:  # KeyboardInterrupt while waiting
            _here.depth -= 1
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        _here.depth -= 1
        while _here.waiting and not _here.depth:
            _here.waiting.pop(0)()

    def renew(self) -> None:
        """After a fork, in the child: whoever held it does not exist there."""
        self._lock = threading.Lock()


def unless_held(work: Callable[[], object]) -> None:
    """Does ``work`` now or, when this thread is inside a section, as soon as it has left."""
    if _here.depth:
        _here.waiting.append(work)
    else:
        work()
