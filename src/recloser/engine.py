"""What does the work behind a toolkit: the backend, the courier, and one replica for each circuit."""

from __future__ import annotations

import fnmatch
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from recloser.alerts.dispatcher import Dispatcher
from recloser.backends import adopt, connect
from recloser.backends.memory_outbox import OwnOutbox
from recloser.backends.outbox import Shares
from recloser.contain import Listeners
from recloser.core.policy import Mode, check_name
from recloser.courier import Desk
from recloser.errors import BackendError, ConfigurationError
from recloser.forks import renew_after_fork
from recloser.inline import InlineCourier
from recloser.remote import RemoteCourier
from recloser.replica import Replica
from recloser.wrapping import in_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.backends import Backend
    from recloser.clock import Clock
    from recloser.core.events import Event
    from recloser.core.machine import Facts, Step
    from recloser.core.policy import Policy
    from recloser.courier import Courier
    from recloser.registry import Registry
    from recloser.settings import Settings

__all__ = ["Engine"]


class Engine:
    """One connection to a backend and everything that goes through it.

    Args:
        settings: where facts are shared, and what is done with them.
        clock: the time to live by.
        registry: what the application has written down.
        listeners: who is told of events; nobody at first by default.
    """

    settings: Settings
    clock: Clock
    registry: Registry
    backend: Backend
    listeners: Listeners[Event]
    courier: Courier
    alerts: Dispatcher

    def __init__(
        self, settings: Settings, clock: Clock, registry: Registry, listeners: Listeners[Event] | None = None
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.registry = registry
        self.backend = (
            connect(settings.backend, namespace=settings.namespace, clock=clock)
            if isinstance(settings.backend, str)
            else adopt(settings.backend, namespace=settings.namespace)
        )
        self.listeners = listeners or Listeners()
        desk = Desk(clock, self.listeners, registry.needs)
        self.courier = (InlineCourier if self.backend.inline else RemoteCourier)(self.backend, clock, desk)
        self.alerts = Dispatcher(
            self.backend.outbox() if isinstance(self.backend, Shares) else OwnOutbox(clock, self.listeners),
            self.backend.namespace,
            clock,
            settings.grouping,
            self.courier.connection,
            settings.alerts,
        )
        desk.happened, desk.heard = self.alerts.happened, self.alerts.heard
        self._replicas: dict[str, Replica] = {}
        self._lock = threading.Lock()
        renew_after_fork(self)

    def replica(self, name: str) -> Replica:
        """What this process knows of a circuit."""
        known = self._replicas.get(name)
        if known is None:
            with self._lock:
                known = self._replicas.get(name)
                if known is None:
                    policy = self.registry.policy(name)
                    mode = Mode.weaker(self.settings.mode, policy.mode)
                    known = self._replicas[name] = Replica(name, policy, mode, self.clock, self.courier)
        return known

    def renew(self) -> None:
        """After a fork, in the child."""
        self._lock = threading.Lock()

    def check(self) -> None:
        """Looks whether what answers can be used, if anybody answers and this thread may wait for it.

        Raises:
            ConfigurationError: for a server of the wrong sort.
        """
        self.alerts.check()
        if not in_event_loop():
            self.courier.check()

    def ready(self, timeout: float) -> bool:
        """Waits for the first word about every circuit that was written down, and says whether it came.

        Raises:
            ConfigurationError: for a server of the wrong sort.
        """
        for name in (*self.registry.names(), *self.registry.mentioned):
            self.replica(name).current()
        return self.courier.ready(timeout)

    def close(self) -> None:
        """Delivers what is left, and closes the backend unless somebody else made it."""
        self.courier.close()
        self.alerts.close()
        if self.backend is not self.settings.backend:
            self.backend.close()

    def adopt(self, name: str) -> None:
        """Makes a policy that was put down hold at once, even if its circuit is in use already."""
        known, policy = self._replicas.get(name), self.registry.policy(name)
        if known is not None and known.policy != policy:
            known.adopt(policy, Mode.weaker(self.settings.mode, policy.mode))

    def names(self) -> list[str]:
        """All circuits that anything is known of, sorted."""
        shared: list[str] = []
        with suppress(BackendError):
            shared = self.backend.circuits()
        return sorted({*self.registry.names(), *self._replicas, *shared})

    def everything(self) -> dict[str, Replica]:
        """All circuits that anything is known of, brought up to date as far as the backend answers."""
        replicas = {name: self.replica(name) for name in self.names()}
        for replica in replicas.values():
            replica.current()
        self.courier.refresh()
        return replicas

    def operate(self, name: str, choose: Callable[[Policy, Facts], Step | None]) -> tuple[str, ...]:
        """Makes an operator's step on a circuit, or on all known ones that a glob matches; returns their names.

        Raises:
            ConfigurationError: for an impossible name, or a glob that no circuit matches.
        """
        names: tuple[str, ...]
        if isinstance(name, str) and any(mark in name for mark in "*?["):
            names = tuple(each for each in self.names() if fnmatch.fnmatchcase(each, name))
            if not names:
                known = ", ".join(self.names()) or "none so far"
                raise ConfigurationError("name", name, f"a glob that matches a known circuit: {known}")
        else:
            names = (check_name("name", name),)
        for each in names:
            replica = self.replica(each)
            self.courier.operate(replica, partial(choose, replica.policy))
        return names
