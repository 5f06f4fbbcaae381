"""Running the user's own code where it must not break anything: predicates and listeners."""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from recloser.forks import renew_after_fork
from recloser.locks import Section

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Contained", "Listeners", "aside"]

_log = logging.getLogger("recloser")
_T = TypeVar("_T")


class Aside(threading.local):
    """Where the present thread runs the user's code on our own account: in ``with aside:`` blocks, ``depth`` of them.

    A listener that logs an error has one to tell of a circuit, not of a provider.
    """

    depth: int = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1


aside: Final = Aside()


class Contained(Generic[_T]):
    """A user's function whose exceptions are logged, once for each streak of them, and swallowed.

    Args:
        what: what the function is, for the log.
        function: the function.
        instead: what stands for its answer when it raises.
    """

    __slots__ = ("_failing", "function", "instead", "what")

    what: str
    function: Callable[..., _T]
    instead: _T | None

    def __init__(self, what: str, function: Callable[..., _T], instead: _T | None = None) -> None:
        self.what = what
        self.function = function
        self.instead = instead
        self._failing = False

    def __call__(self, *args: object) -> _T | None:
        """What the function returns, or ``instead`` when it raises."""
        try:
            result = self.function(*args)
        except Exception:  # noqa: BLE001 - whatever it is, it must not reach the call
            if not self._failing:
                self._failing = True
                _log.warning("%s raised; it is passed over until it works again", self.what, exc_info=True)
            return self.instead
        self._failing = False
        return result


class Listeners(Generic[_T]):
    """Functions that are told of things, in order, one thing at a time, and never under a lock.

    The thread that tells first goes on until nothing is left to tell; what other threads, or the listeners
    themselves, bring meanwhile waits its turn.
    """

    def __init__(self) -> None:
        self._lock = Section()
        self._waiting: deque[_T] = deque()
        self._telling = False
        self._listeners: tuple[Contained[object], ...] = ()
        renew_after_fork(self)

    def add(self, listener: Callable[[_T], object]) -> Callable[[], None]:
        """Adds ``listener``; returns a function that takes it away again."""
        contained: Contained[object] = Contained(f"the listener {listener!r}", listener)
        with self._lock:
            self._listeners = (*self._listeners, contained)

        def remove() -> None:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not contained)

        return remove

    def put(self, thing: _T) -> None:
        """Has ``thing`` told when somebody calls :meth:`tell`; may be called under a lock, which keeps the order."""
        self._waiting.append(thing)

    def tell(self) -> None:
        """Tells every listener of everything that was put, unless somebody is at it already."""
        while True:
            with self._lock:
                if self._telling or not self._waiting:
                    return
                self._telling = True
                thing = self._waiting.popleft()
                listeners = self._listeners
            try:
                with aside:
                    for listener in listeners:
                        listener(thing)
            finally:
                # KeyboardInterrupt goes to whoever called; telling goes on with the next thing.
                self._telling = False

    def tell_elsewhere(self) -> None:
        """The same on another thread, for who has no time to wait for listeners."""
        if self._waiting and self._listeners and not self._telling:
            with suppress(RuntimeError):  # the interpreter ends, and nobody listens any more
                threading.Thread(target=self.tell, name="recloser-listeners", daemon=True).start()
        elif not self._listeners:
            self._waiting.clear()

    def renew(self) -> None:
        """After a fork, in the child: whoever was telling does not exist there."""
        self._lock.renew()
        self._telling = False
