"""The default toolkit: the functions of the package are its methods.

Decorators are written against it when modules are imported; it connects to nothing until the first call comes.
``configure`` gives it another engine, the pytest fixture does for the length of a test, and every decorator written
before follows.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from recloser.clock import SystemClock
from recloser.contain import Listeners
from recloser.engine import Engine
from recloser.forks import renew_after_fork
from recloser.registry import Registry, caller
from recloser.settings import Settings
from recloser.toolkit import Recloser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from recloser.alerts.hooks import Hooks
    from recloser.backends import Backend
    from recloser.circuit import Circuit
    from recloser.core.events import Event
    from recloser.core.policy import Mode, Policy
    from recloser.registry import Dependent
    from recloser.rulebook import Reload

__all__ = [
    "DEFAULT",
    "DefaultRecloser",
    "await_until_allowed",
    "circuit",
    "configure",
    "explain",
    "fallback",
    "lifespan",
    "pause",
    "requires",
    "resume",
    "status",
    "wait_until_allowed",
]


class DefaultRecloser(Recloser):
    """A toolkit whose engine can be replaced under the decorators that were written for it."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._listeners: Listeners[Event] = Listeners()
        # The engines that were in place before tests lent theirs.
        self._beneath: list[Engine | None] = []
        self._installed: Engine | None = None
        # What modules wrote down; it outlives every engine.
        self._written = Registry()
        self._mentions: weakref.WeakSet[Circuit] = weakref.WeakSet()
        self._alive: list[None] = []
        self._lock = threading.RLock()
        renew_after_fork(self)

    @property
    def engine(self) -> Engine:
        """What does the work, made from the environment when nobody configured it."""
        installed = self._installed
        if installed is None:
            with self._lock:
                installed = self._installed
                if installed is None:
                    settings = self._settings or Settings.layered()
                    installed = self._installed = Engine(settings, SystemClock(), self._written, self._listeners)
                    installed.begin()
        return installed

    def configure(
        self,
        *,
        backend: str | Backend | None = None,
        namespace: str | None = None,
        mode: Mode | str | None = None,
        alerts: Hooks | None = None,
        rules: str | PathLike[str] | None = None,
        reload: Reload | str | None = None,
    ) -> Recloser:
        """Says where facts are shared and what is done with them; what is left out comes from the environment.

        Call it once, when the application starts. Circuits that are in use already move to the new backend, and what
        they had counted stays behind. Without arguments it changes nothing. What it says while a test uses the
        ``recloser`` fixture holds after the test.

        Args:
            backend: a URL such as ``"memory://"``, or a backend; ``RECLOSER_BACKEND`` without it.
            namespace: circuits of different namespaces do not know of each other; ``RECLOSER_NAMESPACE`` without it.
            mode: turns every circuit down to at most this; ``RECLOSER_MODE`` without it.
            alerts: what tells people: names of hooks, and functions that take an :class:`~recloser.alerts.Alert`;
                ``RECLOSER_ALERTS`` without it, and without that every hook that is configured.
            rules: a rules file, in TOML or JSON; ``RECLOSER_RULES`` without it.
            reload: when that is read again: ``"never"``, on ``"sighup"`` (where this is called on the main thread) or
                soon after a ``"change"``; ``RECLOSER_RELOAD`` without it.

        Returns:
            The default toolkit.

        Raises:
            ConfigurationError: for an impossible value, naming where it was written and what is allowed.
        """
        if all(each is None for each in (backend, namespace, mode, alerts, rules, reload)):
            return self
        settings = Settings.layered(
            backend=backend, namespace=namespace, mode=mode, alerts=alerts, rules=rules, reload=reload
        )
        engine = Engine(settings, SystemClock(), self._written, self._listeners)
        engine.check()
        self._settings = settings
        if self._beneath:
            # A test has the engine now; this one is for afterwards.
            before, self._beneath[0] = self._beneath[0], engine
        else:
            before = self._install(engine)
        if before is not None:
            before.close()
        return self

    def close(self) -> None:
        """Delivers what is pending and lets go of everything; whatever is used afterwards begins anew.

        While a test uses the ``recloser`` fixture, the test's toolkit stays as it is: the test ends it.
        """
        if self._beneath:
            before, self._beneath[0] = self._beneath[0], None
        else:
            before = self._install(None)
        if before is not None:
            before.close()

    def _open(self) -> Engine:
        return self.engine

    @contextmanager
    def lent(self, engine: Engine) -> Iterator[None]:
        """Works with another engine for a while."""
        self._beneath.append(self._install(engine))
        try:
            yield
        finally:
            self._install(self._beneath.pop())

    def written(self) -> Registry:
        """A copy of what modules wrote down, to begin a test with."""
        return self._written.copy()

    def _install(self, engine: Engine | None) -> Engine | None:
        with self._lock:
            before, self._installed = self._installed, engine
            self._unbind()
        return before

    def renew(self) -> None:
        """After a fork, in the child."""
        self._lock = threading.RLock()

    def _declare(self, name: str, policy: Policy) -> None:
        place, in_module = caller()
        for registry in self._registries(in_module=in_module):
            registry.declare(name, policy, place)
        if self._installed is not None:
            self._installed.adopt(name)

    def _registries(self, *, in_module: bool) -> tuple[Registry, ...]:
        """Where to write: what a test itself says is gone with it, what a module says that it imports stays."""
        installed = self._installed
        if installed is None or installed.registry is self._written:
            return (self._written,)
        return (self._written, installed.registry) if in_module else (installed.registry,)

    def _depend(self, dependent: Dependent) -> None:
        for registry in self._registries(in_module=caller()[1]):
            registry.depend(dependent)

    def _named(self, name: str) -> None:
        for registry in self._registries(in_module=caller()[1]):
            registry.mentioned.add(name)


DEFAULT: Final = DefaultRecloser()
configure: Final = DEFAULT.configure
circuit: Final = DEFAULT.circuit
fallback: Final = DEFAULT.fallback
requires: Final = DEFAULT.requires
wait_until_allowed: Final = DEFAULT.wait_until_allowed
await_until_allowed: Final = DEFAULT.await_until_allowed
pause: Final = DEFAULT.pause
resume: Final = DEFAULT.resume
status: Final = DEFAULT.status
explain: Final = DEFAULT.explain
lifespan: Final = DEFAULT.lifespan
