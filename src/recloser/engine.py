"""What does the work behind a toolkit: the backend, the courier, and one replica for each circuit."""

from __future__ import annotations

import fnmatch
import threading
from functools import partial
from typing import TYPE_CHECKING

from recloser.backends import Backend, connect
from recloser.contain import Listeners
from recloser.core.policy import Mode, check_name
from recloser.courier import Desk
from recloser.errors import ConfigurationError
from recloser.forks import renew_after_fork
from recloser.inline import InlineCourier
from recloser.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Callable

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

    def __init__(
        self, settings: Settings, clock: Clock, registry: Registry, listeners: Listeners[Event] | None = None
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.registry = registry
        self.backend = (
            connect(settings.backend, namespace=settings.namespace, clock=clock)
            if isinstance(settings.backend, str)
            else settings.backend
        )
        if not isinstance(self.backend, Backend):
            raise ConfigurationError("backend", self.backend, "a URL, or an object that keeps the Backend protocol")
        self.listeners = listeners or Listeners()
        self.courier = InlineCourier(self.backend, clock, Desk(clock, self.listeners, registry.affects))
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

    def close(self) -> None:
        """Delivers what is left, and closes the backend unless somebody else made it."""
        self.courier.close()
        if isinstance(self.settings.backend, str):
            self.backend.close()

    def adopt(self, name: str) -> None:
        """Makes a policy that was put down hold at once, even if its circuit is in use already."""
        known, policy = self._replicas.get(name), self.registry.policy(name)
        if known is not None and known.policy != policy:
            known.adopt(policy, Mode.weaker(self.settings.mode, policy.mode))

    def names(self) -> list[str]:
        """All circuits that anything is known of, sorted."""
        return sorted({*self.registry.names(), *self._replicas, *self.backend.circuits()})

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
