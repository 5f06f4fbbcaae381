"""For tests of your own: a clock that only you move, and a toolkit on it that you can trip and heal."""

from __future__ import annotations

import heapq
import itertools
import weakref
from typing import TYPE_CHECKING, Self

from recloser.backends.memory import MemoryBackend
from recloser.core import machine
from recloser.core.duration import Duration, parse_duration
from recloser.core.incidents import Grouping
from recloser.core.policy import Mode
from recloser.core.sheet import Value
from recloser.default import DEFAULT
from recloser.engine import Engine
from recloser.errors import ConfigurationError
from recloser.locks import Section
from recloser.settings import Settings
from recloser.toolkit import Recloser

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from recloser.alerts import Alert, Hook
    from recloser.backends import Backend

__all__ = ["ManualClock", "Sandbox"]

_NANO = 1_000_000_000


class ManualClock:
    """A clock that stands still until it is moved, and then calls everybody whose time has come, in order.

    Args:
        start: seconds that it begins with; ``time()`` shows the same number as Unix time.

    >>> clock = ManualClock()
    >>> clock.advance("15m")
    >>> clock.now()
    900.0
    """

    def __init__(self, start: float = 0.0) -> None:
        self._nanos = round(start * _NANO)
        self._lock = Section()
        self._order = itertools.count()
        self._alarms: list[tuple[float, int, Callable[[], object]]] = []

    def now(self) -> float:
        """Seconds on this clock."""
        return round(self._nanos / _NANO, 6)

    def time(self) -> float:
        """The same as Unix time, in seconds."""
        return self.now()

    def jitter(self) -> float:
        """Nothing: a test is told exact times."""
        return 0.0

    def advance(self, by: Duration) -> None:
        """Moves the clock, and does on the way what is due.

        Args:
            by: seconds, or a duration such as ``"15m"``.

        Raises:
            ConfigurationError: for something that is not a duration, or negative.
        """
        try:
            seconds = parse_duration(by)
        except ValueError:
            seconds = -1.0
        if seconds < 0:
            raise ConfigurationError("by", by, 'seconds, or a duration such as "15m"; a clock does not go back')
        target = self._nanos + round(seconds * _NANO)
        while True:
            with self._lock:
                if not self._alarms or round(self._alarms[0][0] * _NANO) > target:
                    self._nanos = max(self._nanos, target)
                    return
                when, _, callback = heapq.heappop(self._alarms)
                self._nanos = max(self._nanos, round(when * _NANO))
            callback()

    def call_at(self, when: float, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls ``callback`` once the clock reaches ``when``; returns a function that takes the request back."""
        alarm = (when, next(self._order), callback)
        with self._lock:
            heapq.heappush(self._alarms, alarm)

        def cancel() -> None:
            with self._lock:
                if alarm in self._alarms:
                    self._alarms.remove(alarm)
                    heapq.heapify(self._alarms)

        return cancel


class Sandbox(Recloser):
    """A toolkit for one test: a memory backend of its own, on a clock that only the test moves.

    In a ``with`` block, decorators written at module level and the functions of the package use it, too.

    Args:
        backend: another backend to test on; a fresh memory backend by default.
        clock: the clock; a new one by default.
        alerts: hooks that are told besides; none of those that are configured in the environment are.
        alert_wait: circuits that trip within so long of each other are one alert; by default each is one, at once.

    Attributes:
        clock: the clock; ``clock.advance("15m")`` moves it.
        events: everything that happened, the latest last.
        alerts: what people would have been told, the latest last.
    """

    alerts: list[Alert]

    def __init__(
        self,
        backend: Backend | None = None,
        *,
        clock: ManualClock | None = None,
        alerts: Sequence[Hook] = (),
        alert_wait: Duration = 0,
    ) -> None:
        self._clock = clock or ManualClock()
        self.alerts = []
        settings = Settings(
            backend or MemoryBackend(clock=self._clock),
            "recloser",
            Value(Mode.ENFORCE, "the sandbox"),
            [self.alerts.append, *alerts],
            Grouping(wait=parse_duration(alert_wait)),
        )
        self._engine = Engine(settings, self._clock, DEFAULT.written())
        self._mentions = weakref.WeakSet()
        self._alive = []
        self._lent = DEFAULT.lent(self._engine)

    def __enter__(self) -> Self:
        self._lent.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lent.__exit__(kind, error, traceback)
        self.close()

    def _depart(self) -> None:
        """An application that ends within a test does not end the test."""

    @property
    def clock(self) -> ManualClock:
        """The clock; nothing moves until you move it."""
        return self._clock

    def trip(self, name: str, *, reason: str = "tripped by a test") -> None:
        """Trips a circuit as if its threshold had been crossed; one that is OPEN or PAUSED already stays as it is."""
        self.engine.operate(name, lambda policy, facts: machine.trip(policy, facts, reason))

    def heal(self, name: str) -> None:
        """Closes a circuit, as an operator would."""
        self.resume(name, by="test")
