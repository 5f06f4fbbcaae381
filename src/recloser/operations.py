"""What operators do with the circuits of a toolkit: look, pause and resume, change what holds, read what happened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from recloser.changing import Changing
from recloser.circuit import Snapshot
from recloser.core import machine
from recloser.core.duration import Duration, parse_duration
from recloser.core.policy import near
from recloser.errors import ConfigurationError
from recloser.fallback import Fallback
from recloser.reports import EventLog, Explanation, Status, answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.clock import Clock
    from recloser.core.events import Event
    from recloser.core.policy import Mode
    from recloser.engine import Engine

__all__ = ["Operations", "length"]


class Operations(ABC):
    """One fleet, as operators see it. Part of :class:`recloser.Recloser`."""

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """What does the work, for the package's own use."""

    @property
    def namespace(self) -> str:
        """The namespace of its circuits."""
        return self.engine.backend.namespace

    @property
    def mode(self) -> Mode:
        """What every circuit is turned down to at most."""
        mode: Mode = self.engine.policies.layers.mode.value
        return mode

    @property
    def clock(self) -> Clock:
        """The time it lives by."""
        return self.engine.clock

    def pause(self, name: str, *, reason: str, by: str, for_: Duration | None = None) -> tuple[str, ...]:
        """Pauses circuits until they are resumed, or for a while, after which they are tested.

        Args:
            name: a circuit, or a glob such as ``"azure-*"`` over the known ones.
            reason: why, for everyone who asks.
            by: who.
            for_: how long; None until somebody resumes it.

        Returns:
            The names of the circuits that were paused.

        Raises:
            ConfigurationError: for an impossible value, or a glob that no circuit matches.
        """
        _said("reason", reason)
        _said("by", by)
        seconds = None if for_ is None else length("for_", for_)
        return self.engine.operate(name, lambda policy, facts: machine.pause(policy, facts, reason, by, seconds))

    def resume(self, name: str, *, by: str) -> tuple[str, ...]:
        """Closes circuits, with an empty window.

        Args:
            name: a circuit, or a glob over the known ones.
            by: who.

        Returns:
            The names of the circuits that were meant, resumed now or closed before.

        Raises:
            ConfigurationError: for an impossible value, or a glob that no circuit matches.
        """
        _said("by", by)
        return self.engine.operate(name, lambda policy, facts: machine.resume(policy, facts, by))

    def set_policy(self, name: str | None = None, *, by: str, **settings: Any) -> tuple[str, ...]:
        """Changes live settings: for the whole fleet, within milliseconds, until they are taken back.

        They come before what the environment, a rules file and the code say, and outlive every process.

        Args:
            name: a circuit, or a glob over the known ones; for ``order`` a fallback, for ``needs`` a requirement. None
                for the global switch ``mode``, and for the defaults of all circuits, such as ``cooldown``.
            by: who.
            **settings: fields of a :class:`~recloser.Policy`; ``order``, the providers of a fallback that take part, in
                order; ``needs``, the names of what a requirement needs; ``log_patterns``.

        Returns:
            What has changed, a line for each circuit.

        Raises:
            ConfigurationError: for an impossible value, one that contradicts what else is said, or an unknown name;
                nothing is changed then.
            BackendError: when the backend does not answer, or keeps no live settings.
        """
        _said("by", by)
        self.engine.look()
        return Changing(self.engine, name, by).set(settings)

    def unset_policy(self, name: str | None = None, *settings: str, by: str) -> tuple[str, ...]:
        """Takes live settings back: what the environment, a rules file or the code says holds again.

        Args:
            name: as for :meth:`set_policy`.
            *settings: which; all that are live under that name without any.
            by: who.

        Returns:
            What has changed, a line for each circuit.

        Raises:
            ConfigurationError: for an unknown name.
            BackendError: when the backend does not answer, or keeps no live settings.
        """
        _said("by", by)
        return Changing(self.engine, name, by).unset(settings)

    def reload(self) -> None:
        """Reads the rules file again, at once.

        Raises:
            ConfigurationError: when there is none, it cannot be read, or it says anything that is impossible; the rules
                stay as they were.
        """
        if self.engine.reloading is None:
            raise ConfigurationError("rules", None, "a rules file, given to configure or in RECLOSER_RULES")
        self.engine.reloading.now()

    def status(self) -> Status:
        """Every known circuit's snapshot, and where they are kept.

        It asks the backend, within a bound, and says so when that does not answer; then it is what this process knows.
        """
        engine = self.engine
        replicas = engine.everything()
        return Status(
            {name: Snapshot.of(replica) for name, replica in replicas.items()},
            type(engine.backend).__name__,
            self.namespace,
            self.mode,
            {
                name: each.current
                if isinstance(each, Fallback)
                else answering(engine.policies.providers(each), replicas)
                for name, each in engine.policies.built("fallback").items()
            },
            engine.courier.connection,
            hooks={hook.name: hook.why for hook in engine.alerts.hooks},
            problems=engine.policies.problems,
        )

    def explain(self, name: str) -> Explanation:
        """Why a circuit is in its state: the rule, the counts, the errors, and what happens next and when.

        Raises:
            ConfigurationError: for a name that is not known.
        """
        engine = self.engine
        replicas = engine.everything()
        if name not in replicas:
            raise ConfigurationError("name", name, near(name, replicas))
        affects = tuple(each.name for each in engine.needs(name))
        origins = engine.policies.resolved(name).origins
        return Explanation.of(replicas[name], affects, self.clock.time(), origins)

    @property
    def events(self) -> EventLog:
        """What happened, the latest last."""
        return EventLog(self.engine.backend.events)

    def listen(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``listener`` with every event that this process brings about; what it raises is logged, no more.

        Returns:
            A function that ends it.
        """
        return self.engine.listeners.add(listener)


def _said(key: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(key, value, "a text that is not empty")


def length(key: str, value: object) -> float:
    """Seconds of a length of time that somebody gave; raises ConfigurationError for none."""
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise ConfigurationError(key, value, 'a duration longer than 0, in seconds or like "90s", "5m", "1h30m"')
    return seconds
