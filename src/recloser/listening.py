"""What others have changed, as the backend pushes it: heard on the courier's thread, in the order in which it came."""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import TYPE_CHECKING

from recloser.backends import Remote
from recloser.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recloser.backends import Backend
    from recloser.clock import Clock
    from recloser.core.machine import Record

__all__ = ["Listening", "News"]

_log = logging.getLogger("recloser")

_AGAIN = 0.5
"""Seconds between two tries to subscribe."""
_SAID = 4
"""After so many tries in a row, in which the backend answers otherwise, it is worth a line in the log."""

News = tuple[str, "Record | None", float]
"""A circuit, its new record, and the backend's time then; without a record, somebody wants a permit of it."""


class Listening:
    """A subscription that is made again when it breaks.

    Args:
        backend: what is listened to; one that is no :class:`~recloser.backends.Remote` tells on a thread of its own.
        clock: the process's time.

    Attributes:
        end: ends it for good.
    """

    end: Callable[[], None]

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self._news: deque[News] = deque()
        self._again_at = -math.inf
        self._failed = 0
        self.end = backend.subscribe(lambda *news: self._news.append(news))

    @property
    def is_open(self) -> bool:
        """Whether listening waits for nothing, not even for a connection."""
        return not isinstance(self._backend, Remote) or self._backend.fileno() is not None

    def pump(self) -> bool:
        """Takes in what has arrived; whether the subscription is new, so that what was said before was missed."""
        now = self._clock.now()
        if not isinstance(self._backend, Remote) or now < self._again_at:
            return False
        try:
            fresh = self._backend.pump()
        except BackendError as error:
            # One that breaks is replaced at once, one that cannot be made after a while.
            self._again_at = now + (_AGAIN if self._failed else 0.0)
            self._failed += 1
            if self._failed == _SAID:
                _log.warning("transitions of others come late, with the next exchange: %s", error)
            return False
        self._failed = 0
        return fresh

    def news(self) -> Iterator[News]:
        """What was taken in."""
        while self._news:
            yield self._news.popleft()

    def anew(self) -> None:
        """The subscription may lead to a server that is not asked any more."""
        self._failed = 0
        self._again_at = -math.inf
        if isinstance(self._backend, Remote):
            self._backend.deaf()

    def renew(self) -> None:
        """After a fork, in the child: what was heard was the parent's."""
        self._news.clear()
        self._again_at = -math.inf
