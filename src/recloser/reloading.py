"""Reading a rules file again while the application runs: on SIGHUP, or soon after the file has changed.

A file with a mistake changes nothing: what was read last goes on, and the log says what is wrong.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from recloser.errors import ConfigurationError
from recloser.forks import renew_after_fork
from recloser.rulebook import Reload, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.core.sheet import Sheet

__all__ = ["Reloading"]

_log = logging.getLogger("recloser")

_EVERY = 1.0
"""Seconds between two looks at a file that is watched."""


class Reloading:
    """Reads a rules file again when it is time to.

    Args:
        file: the rules file.
        when: when it is time.
        use: what is done with what the file says.
        every: seconds between two looks at a file that is watched.
    """

    def __init__(self, file: str, when: Reload, use: Callable[[Sheet], object], every: float = _EVERY) -> None:
        self._file = file
        self._when = when
        self._use = use
        self._every = every
        self._seen = self._state()
        self._over = threading.Event()
        self._before: Any = None
        self._mine: Any = None
        renew_after_fork(self)

    def begin(self) -> None:
        """Begins to listen, or to watch.

        Raises:
            ConfigurationError: where the signal does not exist, or cannot be listened to on this thread.
        """
        if self._when is Reload.CHANGE:
            threading.Thread(target=self._watch, name="recloser-rules", daemon=True).start()
        elif self._when is Reload.SIGHUP:
            if not hasattr(signal, "SIGHUP"):
                raise ConfigurationError(
                    "reload", str(self._when), "on this system 'never' or 'change': it has no SIGHUP"
                )
            if threading.current_thread() is not threading.main_thread():
                allowed = "'sighup' only on the main thread, which alone may listen to signals; or 'change'"
                raise ConfigurationError("reload", str(self._when), allowed)
            self._mine = self._signalled
            self._before = signal.signal(signal.SIGHUP, self._mine)

    def _signalled(self, number: int, frame: Any) -> None:
        # A signal comes on any line, also on one that holds a lock: the work is done elsewhere.
        if not self._over.is_set():
            with suppress(RuntimeError):  # no thread is to be had
                threading.Thread(target=self._again, name="recloser-rules", daemon=True).start()
        if callable(self._before):
            self._before(number, frame)

    def _watch(self) -> None:
        over = self._over
        while not over.wait(self._every):
            state = self._state()
            if state != self._seen:
                self._seen = state
                self._again()

    def _state(self) -> object:
        try:
            found = os.stat(self._file)  # noqa: PTH116 - one call, once a second
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _again(self) -> None:
        try:
            self.now()
        except ConfigurationError as error:
            _log.error("the rules stay as they were: %s", error)
        else:
            _log.info("the rules in %s were read again", self._file)

    def now(self) -> None:
        """Reads it now.

        Raises:
            ConfigurationError: when it cannot be read, or says anything impossible; the rules stay as they were.
        """
        self._use(load(self._file))

    def close(self) -> None:
        """Reads it no more."""
        self._over.set()
        if self._mine is not None and threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGHUP) == self._mine:
                signal.signal(signal.SIGHUP, self._before or signal.SIG_DFL)
            self._mine = None

    def renew(self) -> None:
        """After a fork, in the child: who watches does not exist there. A signal is listened to as before."""
        over, self._over = self._over.is_set(), threading.Event()
        if over:
            self._over.set()
        elif self._when is Reload.CHANGE:
            with suppress(RuntimeError):  # no thread is to be had
                self.begin()
