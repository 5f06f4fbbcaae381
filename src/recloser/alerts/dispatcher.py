"""Who works on alerts in one process, and when: nobody until something happens, and nobody once all is said.

The editor and each hook have a thread of their own while there is something to do, so that a hook that hangs keeps back
no other, and nothing of it keeps back the courier or a call. With a clock that tests move, all of it happens at once on
the thread that brings it about.
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from recloser.agenda import Agenda
from recloser.alerts.editor import Editor
from recloser.alerts.hooks import NOBODY, HookSettings, find
from recloser.alerts.postman import Postman
from recloser.backends.outbox import KEPT
from recloser.clock import Alarm
from recloser.errors import BackendError, ConfigurationError
from recloser.exits import LAST_WORDS, deliver_at_exit
from recloser.forks import renew_after_fork
from recloser.locks import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.alerts.hooks import Found, Hooks
    from recloser.backends.outbox import Outbox
    from recloser.clock import Clock
    from recloser.core.incidents import Grouping
    from recloser.courier import Connection

__all__ = ["Dispatcher"]

_log = logging.getLogger("recloser")

_LOST, _LOST_LONG = 1.0, 30.0
"""Seconds after which an outbox that does not answer is asked again: at first, and at the most."""
_OTHERS = 0.5
"""Seconds that a process leaves to the one that made a transition; after that it looks whether all is said."""
_CONFIGURE = ("RECLOSER_SLACK_", "RECLOSER_WEBHOOK_")
_MANY = 200
"""Of more processes than so many, each leaves longer, so that they do not all look at once."""


class Worker:
    """Does one thing whenever there is something to do, never twice at the same time.

    Args:
        name: what it is, for the log.
        work: returns in how many seconds there is more; None when somebody will say so.
        clock: the time to wait by.

    Attributes:
        name: what it is.
    """

    name: str

    def __init__(self, name: str, work: Callable[[], float | None], clock: Clock) -> None:
        self.name = name
        self._work = work
        self._clock = clock
        # Whoever settles a call wakes it, and that may be the garbage collector.
        self._lock = Section()
        self._due = math.inf
        self._working = False
        self._failures = 0
        self._agenda = Agenda(clock, self._turn, name)
        renew_after_fork(self)

    def wake(self, after: float = 0.0) -> None:
        """There may be something to do, in so many seconds."""
        with self._lock:
            due = self._due = min(self._due, self._in(after))
            if self._working:
                return
        if isinstance(self._clock, Alarm) and due <= self._clock.now():
            self._turn()
        else:
            self._put_down(due)

    def run(self) -> None:
        """Does it now, on this thread, unless another is at it."""
        with self._lock:
            self._due = -math.inf
        self._turn()

    def _turn(self, _: str = "") -> None:
        with self._lock:
            if self._working:
                return
            self._working = True
        while self._is_due():
            left = self._done()
            if left is not None:
                with self._lock:
                    self._due = min(self._due, self._in(left))

    def _in(self, seconds: float) -> float:
        """So many seconds from now, and not a microsecond earlier: that is as finely as clocks go."""
        return math.ceil((self._clock.now() + seconds) * 1e6 - 0.001) / 1e6

    def _is_due(self) -> bool:
        """Whether there is something to do now; if not, it is put down for later."""
        with self._lock:
            due = self._due
            working = self._working = due <= self._clock.now()
            if working:
                self._due = math.inf
        if not working:
            self._put_down(due)
        return working

    def _put_down(self, due: float) -> None:
        # At the end of the interpreter no thread starts any more; then the last words are all there is.
        with suppress(RuntimeError):
            self._agenda.put(self.name, due)

    def _done(self) -> float | None:
        try:
            left = self._work()
        except BackendError:  # the courier says so
            self._failures += 1
            length: float = min(_LOST_LONG, _LOST * 2 ** min(self._failures - 1, 10))
            return length * (1 + random.random() / 4)  # noqa: S311 - not a secret
        except Exception:  # noqa: BLE001 - logged; nobody else would ever be told of anything again
            _log.exception("%s failed, and goes on in %gs", self.name, _LOST_LONG)
            return _LOST_LONG
        self._failures = 0
        return left

    def close(self) -> None:
        """Does nothing any more."""
        self._agenda.close()

    def renew(self) -> None:
        """After a fork, in the child."""
        self._lock.renew()
        self._working = False


class Dispatcher:
    """Everything about alerts in one process.

    Args:
        outbox: where alerts of the fleet wait.
        namespace: of the circuits.
        clock: the process's time.
        grouping: how much is said.
        connection: whether the outbox can be reached, and how many share it.
        chosen: the hooks that tell people; None leaves it to the environment.

    Attributes:
        outbox: where alerts of the fleet wait.
    """

    outbox: Outbox

    def __init__(
        self,
        outbox: Outbox,
        namespace: str,
        clock: Clock,
        grouping: Grouping,
        connection: Connection,
        chosen: Hooks | None = None,
    ) -> None:
        self.outbox = outbox
        self._namespace = namespace
        self._clock = clock
        self._connection = connection
        self._editor = Editor(outbox, namespace, grouping)
        self._editing = Worker("recloser-alerts", self._edit, clock)
        self._chosen = chosen
        self._found: list[Found] | None = None
        self._posting: dict[str, Worker] = {}
        self._finding = threading.RLock()
        self._dropped: dict[str, int] = {}
        self._mine = False
        self._leaving = False
        self._last: threading.Thread | None = None
        renew_after_fork(self)

    # -- hooks ---------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Looks for hooks that somebody asked for by name.

        Raises:
            ConfigurationError: for one that cannot be had.
        """
        if self._chosen is not None or self._settings("").get("RECLOSER_ALERTS"):
            self._use(find(self._chosen, self._settings))
        else:
            self.begin()

    def begin(self) -> None:
        """Has what the environment configures looked at now: a mistake is to be said at the start, not in an outage.

        It is done elsewhere, since Slack may be asked.
        """
        named = self._settings("").get("RECLOSER_ALERTS")
        configured = named or any(variable.startswith(_CONFIGURE) for variable in os.environ)
        if self._chosen is None and configured and named != NOBODY:
            with suppress(RuntimeError):  # no thread is to be had
                threading.Thread(target=lambda: self.hooks, name="recloser-alerts-hooks", daemon=True).start()

    @property
    def hooks(self) -> list[Found]:
        """All of them, with the reasons why some are not active."""
        with self._finding:
            if self._found is None:
                try:
                    self._use(find(self._chosen, self._settings))
                except ConfigurationError as error:
                    _log.warning("no alerts: %s", error)
                    self._use([])
            return list(self._found or ())

    def _names(self) -> list[str]:
        """Those that are active."""
        return [each.name for each in self.hooks if each.call is not None]

    def _use(self, found: list[Found]) -> None:
        here = isinstance(self._clock, Alarm)
        with self._finding:
            self._found = found
            active = [each for each in found if each.call is not None]
            for each in active:
                deliver = partial(self._deliver, Postman(self.outbox, each, here=here))
                self._posting[each.name] = Worker(f"recloser-alerts-{each.name}", deliver, self._clock)

    def _settings(self, name: str) -> HookSettings:
        recall, remember = partial(self.outbox.recall, name), partial(self.outbox.remember, name)
        return HookSettings(self._namespace, recall=recall, remember=remember)

    # -- when ----------------------------------------------------------------------------------------------------------

    def happened(self) -> None:
        """This process has put events into the log."""
        if not self._mine:
            self._mine = True
            deliver_at_exit(self)
        if self._leaving:
            self._say_last()
        else:
            self._editing.wake()

    def heard(self) -> None:
        """Another process has; it says what there is to say, unless it dies."""
        self._editing.wake(self._spread())

    def _spread(self) -> float:
        return _OTHERS * (1 + self._share()) * max(1.0, self._connection.processes / _MANY)

    def _share(self) -> float:
        return 0.0 if isinstance(self._clock, Alarm) else random.random()  # noqa: S311 - not a secret

    def _edit(self) -> float | None:
        names = self._names()
        if not names:  # whoever has hooks looks after them
            return None
        self._must_be_there()
        left = self._editor.work(names)
        if self._editor.wrote:
            self._report_drops()
        for worker in self._posting.values():
            worker.wake()
        if left is None:
            self._mine = False
            return None
        return left if self._mine else left + self._spread()

    def _report_drops(self) -> None:
        """What is dropped for a hook that takes nothing is at least said."""
        for hook, count in self.outbox.dropped().items():
            if count > self._dropped.get(hook, 0):
                _log.warning("%d alerts for %s were dropped so far: more than %d wait for it", count, hook, KEPT)
            self._dropped[hook] = count

    def _deliver(self, postman: Postman) -> float | None:
        self._must_be_there()
        left = postman.deliver()
        # When a lease ends, all who have this hook would ask for it at the same moment.
        return left and left + self._share() * self._connection.processes / _MANY

    def _must_be_there(self) -> None:
        """Nobody is asked who does not answer the courier, or may not be asked."""
        if self._connection.lost_since is not None:
            raise BackendError(self._connection.lost_because)

    # -- the end -------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Begins to say what this process has to say, and then to end."""
        self._leaving = True
        if self._mine and self._last is None:
            self._last = threading.Thread(target=self._say_last, name="recloser-alerts-last", daemon=True)
            try:
                self._last.start()
            except RuntimeError:  # the interpreter ends, and starts no threads
                self._say_last()

    def left(self, within: float) -> None:
        """Waits until that is done, for so many seconds at the most."""
        if self._last is not None and self._last.ident is not None:
            self._last.join(max(0.0, within))

    def _say_last(self) -> None:
        if not self._names():
            return
        try:
            self._must_be_there()
            # Where there are others, they say what has to wait.
            self._editor.work(self._names(), hurry=self._connection.processes < 2)
        except BackendError:  # the courier says so
            return
        for worker in self._posting.values():
            worker.run()

    def close(self) -> None:
        """Says what there is to say, within a bound, and works no more."""
        self.leave()
        self.left(LAST_WORDS)
        for worker in (self._editing, *self._posting.values()):
            worker.close()

    def renew(self) -> None:
        """After a fork, in the child: what the parent had to say, it says."""
        self._finding = threading.RLock()
        self._mine = False
        self._last = None
