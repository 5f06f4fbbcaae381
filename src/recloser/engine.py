"""What does the work behind a toolkit: the backend, the courier, and one replica for each circuit."""

from __future__ import annotations

import fnmatch
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from recloser.alerts.dispatcher import Dispatcher
from recloser.backends import adopt, connect
from recloser.backends.memory_outbox import OwnOutbox
from recloser.backends.outbox import Shares
from recloser.contain import Listeners
from recloser.core.policy import check_name, near
from recloser.courier import Desk
from recloser.errors import BackendError, ConfigurationError
from recloser.forks import renew_after_fork
from recloser.inline import InlineCourier
from recloser.locks import Section
from recloser.notices import Notices
from recloser.policies import Policies
from recloser.reloading import Reloading
from recloser.remote import RemoteCourier
from recloser.replica import Replica
from recloser.wrapping import in_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.backends import Backend
    from recloser.clock import Clock
    from recloser.core.events import Event, EventKind, Needs
    from recloser.core.machine import Facts, Step
    from recloser.core.policy import Policy
    from recloser.core.sheet import Sheet
    from recloser.courier import Courier
    from recloser.registry import Registry
    from recloser.settings import Settings

__all__ = ["Engine"]

_log = logging.getLogger("recloser")

_GLOB = "*?["


class Engine:
    """One connection to a backend and everything that goes through it.

    Args:
        settings: where facts are shared, and what is done with them.
        clock: the time to live by.
        registry: what the application has written down.
        listeners: who is told of events; nobody at first by default.
        looks_on: whether it only looks at what a fleet does, and operates: it learns from the fleet what is in use, has
            no calls of its own, and decides nothing.

    Attributes:
        closed: whether it has been closed, so that nobody carries what is counted on it.
    """

    settings: Settings
    clock: Clock
    registry: Registry
    backend: Backend
    listeners: Listeners[Event]
    courier: Courier
    alerts: Dispatcher
    policies: Policies
    notices: Notices
    needs: Callable[[str], tuple[Needs, ...]]
    looks_on: bool
    reloading: Reloading | None
    closed: bool

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        registry: Registry,
        listeners: Listeners[Event] | None = None,
        *,
        looks_on: bool = False,
    ) -> None:
        self.closed = False
        self.settings = settings
        self.clock = clock
        self.registry = registry
        self.backend = (
            connect(settings.backend, namespace=settings.namespace, clock=clock)
            if isinstance(settings.backend, str)
            else adopt(settings.backend, namespace=settings.namespace)
        )
        self.listeners = listeners or Listeners()
        self.policies = Policies(registry, settings.layers())
        self.notices = Notices(self.backend, self.policies.entries, self._live_changed)
        self.needs = self.policies.noted_needs if looks_on else registry.needs
        self._desk = desk = Desk(clock, self.listeners, self.needs, looks_on=looks_on)
        desk.notices = self.notices
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
        self.looks_on = looks_on
        self._replicas: dict[str, Replica] = {}
        # A line that the garbage collector has logged may ask for a circuit at any time.
        self._lock = Section()
        renew_after_fork(self)
        if self.backend.inline:
            self.notices.refresh()
            self.notices.turn()
        file = settings.rules
        self.reloading = None if file is None else Reloading(file, settings.reload, self.use_rules)

    def begin(self) -> None:
        """Begins what goes on by itself, as far as it can, for who made this without being asked to."""
        self.alerts.begin()
        if self.reloading is not None:
            try:
                self.reloading.begin()
            except ConfigurationError as error:
                _log.warning("the rules file is not read again by itself: %s", error)

    def replica(self, name: str) -> Replica:
        """What this process knows of a circuit."""
        known = self._replicas.get(name)
        if known is None:
            # Before the lock is taken: what is passed over is logged, and a handler of logs is the user's code.
            policy, mode = self.policies.resolved(name).policy, self.policies.mode(name)
            with self._lock:
                known = self._replicas.get(name)
                if known is None:
                    known = self._replicas[name] = Replica(name, policy, mode, self.clock, self.courier)
            # Somebody may have said something else in between.
            self._update(known)
            self._uses(name)
        return known

    def renew(self) -> None:
        """After a fork, in the child."""
        self._lock.renew()

    def check(self) -> None:
        """Looks whether what answers can be used, if anybody answers and this thread may wait for it.

        Raises:
            ConfigurationError: for a server of the wrong sort.
        """
        self.alerts.check()
        if not in_event_loop():
            self.courier.check()
        if self.reloading is not None:
            self.reloading.begin()

    def ready(self, timeout: float) -> bool:
        """Waits for the first word about every circuit that was written down, and says whether it came.

        Raises:
            ConfigurationError: for a server of the wrong sort.
        """
        for name in (*self.registry.names(), *self.registry.mentioned):
            self.replica(name).current()
        return self.courier.ready(timeout)

    # -- what holds ----------------------------------------------------------------------------------------------------

    def adopt(self, name: str) -> None:
        """Makes a policy that was put down hold at once, even if its circuit is in use already."""
        self.policies.forget()
        self._uses(name)
        if name in self._replicas:
            self._update(self._replicas[name])

    def _uses(self, name: str) -> None:
        """Has written down for others that a circuit is in use here, and how."""
        self.notices.uses(name)
        if self.backend.inline:
            self.notices.turn()

    def use_rules(self, rules: Sheet) -> None:
        """Makes another rules file hold."""
        self.policies.layers.rules = rules
        self.notices.uses_all()
        self._changed()

    def _live_changed(self) -> None:
        self.policies.layers.live = self.notices.live
        self._changed()

    def _changed(self) -> None:
        self.policies.forget()
        for replica in tuple(self._replicas.values()):
            self._update(replica)
            # What is built on it may be built on something else now.
            replica.changes.tell()

    def _update(self, replica: Replica) -> None:
        policy, mode = self.policies.resolved(replica.name).policy, self.policies.mode(replica.name)
        if (replica.policy, replica.mode) != (policy, mode):
            replica.adopt(policy, mode)

    # -- what operators ask --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Delivers what is left, and closes the backend unless somebody else made it."""
        self.closed = True
        if self.reloading is not None:
            self.reloading.close()
        self.courier.close()
        self.alerts.close()
        if self.backend is not self.settings.backend:
            self.backend.close()

    def anew(self) -> Engine:
        """Another engine for the same application, after this one was closed."""
        return Engine(self.settings, self.clock, self.registry, self.listeners, looks_on=self.looks_on)

    def names(self) -> list[str]:
        """All circuits that anything is known of, sorted."""
        shared: list[str] = []
        with suppress(BackendError):
            shared = self.backend.circuits()
        return sorted({*self.registry.names(), *self.policies.noted_circuits(), *self._replicas, *shared})

    def look(self) -> None:
        """Brings what operators have said up to date, and what others have in use where that is wanted.

        Raises:
            BackendError: when the backend does not answer.
        """
        self.notices.refresh()
        if self.looks_on:
            self.policies.take_over(self.notices.written())
            self._changed()

    def everything(self) -> dict[str, Replica]:
        """All circuits that anything is known of, brought up to date as far as the backend answers."""
        with suppress(BackendError):  # the connection says so
            self.look()
        replicas = {name: self.replica(name) for name in self.names()}
        for replica in replicas.values():
            replica.current()
        self.courier.refresh()
        return replicas

    def known(self, name: str) -> tuple[str, ...]:
        """The circuit of that name, or those that it matches as a glob.

        Raises:
            ConfigurationError: when there is none.
        """
        if any(mark in name for mark in _GLOB):
            return self.matching(name)
        names = self.names()
        if name not in names:
            raise ConfigurationError("circuit", name, near(name, names))
        return (name,)

    def matching(self, glob: str) -> tuple[str, ...]:
        """The known circuits that a glob matches.

        Raises:
            ConfigurationError: when it matches none.
        """
        known = self.names()
        names = tuple(each for each in known if fnmatch.fnmatchcase(each, glob))
        if not names:
            allowed = f"a glob that matches a known circuit: {', '.join(known) or 'none so far'}"
            raise ConfigurationError("name", glob, allowed)
        return names

    def event(self, name: str, kind: EventKind, reason: str) -> Event:
        """An event about a circuit that no transition brings, as of now."""
        replica = self.replica(name)
        facts = self.courier.facts(replica)
        return self._desk.event(replica, facts, kind, facts.record, facts.record, reason=reason)

    def event_about_all(self, kind: EventKind, reason: str, by: str) -> Event:
        """An event that concerns no circuit alone, and all processes."""
        return self._desk.about_all(kind, reason, by, local=False)

    def tell(self, event: Event) -> None:
        """Tells whoever listens in this process of an event that is in the log already."""
        self._desk.put(event)
        self._desk.tell()

    def operate(self, name: str, choose: Callable[[Policy, Facts], Step | None]) -> tuple[str, ...]:
        """Makes an operator's step on a circuit, or on all known ones that a glob matches; returns their names.

        Raises:
            ConfigurationError: for an impossible name, or a glob that no circuit matches.
        """
        names: tuple[str, ...]
        if isinstance(name, str) and any(mark in name for mark in _GLOB):
            names = self.matching(name)
        else:
            names = (check_name("name", name),)
        for each in names:
            replica = self.replica(each)
            self.courier.operate(replica, partial(choose, replica.policy))
        return names
