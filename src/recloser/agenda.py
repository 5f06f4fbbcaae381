"""What must happen at a certain time although nobody calls: a cooldown that is over, a pause that ends."""

from __future__ import annotations

import logging
import math
import threading
from functools import partial
from typing import TYPE_CHECKING

from recloser.clock import Alarm
from recloser.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.clock import Clock

__all__ = ["Agenda"]

_log = logging.getLogger("recloser")


class Agenda:
    """Calls ``callback`` with a name when the time put down for that name has come.

    A clock that can call back is asked to; with any other, one daemon thread waits, for as long as anything is put
    down.

    Args:
        clock: whose time it is.
        callback: called outside any lock.
        thread: the name of that thread.
    """

    def __init__(self, clock: Clock, callback: Callable[[str], object], thread: str = "recloser-agenda") -> None:
        self._clock = clock
        self._callback = callback
        self._changed = threading.Condition()
        self._due: dict[str, float] = {}
        self._cancel: dict[str, Callable[[], None]] = {}
        self._name = thread
        self._thread: threading.Thread | None = None
        renew_after_fork(self)

    def put(self, name: str, when: float) -> None:
        """Puts down ``when`` for ``name``, in place of what stood there; infinity takes it off."""
        with self._changed:
            if self._due.get(name, math.inf) == when:
                return
            if self._due.pop(name, None) is not None and name in self._cancel:
                self._cancel.pop(name)()
            if math.isinf(when):
                return
            self._due[name] = when
            if isinstance(self._clock, Alarm):
                self._cancel[name] = self._clock.call_at(when, partial(self._ring, name))
            elif self._thread is None:
                self._thread = threading.Thread(target=self._wait, name=self._name, daemon=True)
                self._thread.start()
            else:
                self._changed.notify()

    def close(self) -> None:
        """Takes everything off and waits for the thread, if there is one, to see it."""
        with self._changed:
            self._due.clear()
            for cancel in self._cancel.values():
                cancel()
            self._cancel.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=1)

    def renew(self) -> None:
        """After a fork, in the child: the thread does not exist there, and starts again if anything is put down."""
        self._changed = threading.Condition()
        self._thread = None
        due, self._due = self._due, {}
        for name, when in due.items():
            self.put(name, when)

    def _ring(self, name: str) -> None:
        with self._changed:
            self._cancel.pop(name, None)
            if self._due.pop(name, None) is None:
                return
        self._callback(name)

    def _wait(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._thread = None
                    return
                name = min(self._due, key=lambda each: self._due[each])
                left = self._due[name] - self._clock.now()
                if left > 0:
                    self._changed.wait(left)
                    continue
            try:
                self._ring(name)
            except Exception:  # noqa: BLE001 - logged; the thread is there for every other circuit too
                _log.exception("%s could not move on by itself; the next call will do it", name)
