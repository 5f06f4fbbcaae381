"""Settings of a toolkit: what ``configure`` was given, else the environment, else the defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from recloser.core.duration import parse_duration
from recloser.core.incidents import Grouping
from recloser.core.policy import Mode, check_name
from recloser.core.sheet import NOTHING_SAID, Sheet, Value
from recloser.environment import environment as said_by
from recloser.errors import ConfigurationError
from recloser.layers import Layers
from recloser.rulebook import Reload, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.alerts.hooks import Hooks
    from recloser.backends import Backend

__all__ = ["Settings", "switch"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where facts are shared, and what is done with them.

    Attributes:
        backend: a URL, or a backend.
        namespace: circuits of different namespaces do not know of each other.
        mode: what turns every circuit down to at most this; None when nobody says.
        alerts: the hooks that tell people; None for those that the environment names, or that are configured there.
        grouping: how much they are told.
        environment: what the environment says of policies.
        rules: where a rules file is that says more; None when there is none.
        reload: when that is read again.
    """

    backend: str | Backend
    namespace: str
    mode: Value | None = None
    alerts: Hooks | None = None
    grouping: Grouping = field(default_factory=lambda: _grouping(os.environ))
    environment: Sheet = NOTHING_SAID
    rules: str | None = None
    reload: Reload = Reload.NEVER

    def __post_init__(self) -> None:
        check_name("namespace", self.namespace)

    def layers(self) -> Layers:
        """What is said of policies.

        Raises:
            ConfigurationError: for a rules file that says anything impossible.
        """
        return Layers(self.mode, self.environment, NOTHING_SAID if self.rules is None else load(self.rules))

    @classmethod
    def layered(  # noqa: PLR0913 - what `configure` is given
        cls,
        *,
        backend: str | Backend | None = None,
        namespace: str | None = None,
        mode: Mode | str | None = None,
        alerts: Hooks | None = None,
        rules: str | os.PathLike[str] | None = None,
        reload: Reload | str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Settings:
        """The settings: what is given here, else what the environment says, else the defaults.

        It says so in ``RECLOSER_BACKEND``, ``_NAMESPACE``, ``_MODE``, ``_RULES`` and ``_RELOAD``.

        Raises:
            ConfigurationError: for an impossible value, naming where it was written.
        """

        def first(key: str, given: object, default: object) -> tuple[str, object]:
            variable = f"RECLOSER_{key.upper()}"
            if given is not None:
                return key, given
            return (variable, environment[variable]) if environment.get(variable) else (key, default)

        said, file = first("mode", mode, None), first("rules", rules, None)
        chosen = backend if backend is not None else environment.get("RECLOSER_BACKEND") or "memory://"
        return cls(
            backend=chosen,
            namespace=check_name(*first("namespace", namespace, "recloser")),
            mode=switch(*said),
            alerts=alerts,
            grouping=_grouping(environment),
            environment=said_by(environment),
            rules=_file(*file),
            reload=Reload.parse(*first("reload", reload, Reload.NEVER)),
        )


def switch(key: str, value: object) -> Value | None:
    """What ``configure`` or the environment says of the global switch.

    Raises:
        ConfigurationError: for no mode.
    """
    return None if value is None else Value(Mode.parse(key, value), key if key.isupper() else "configure")


def _file(key: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str | os.PathLike):
        raise ConfigurationError(key, value, "the path of a rules file, in TOML or JSON")
    return None if value is None else os.fspath(value)


def _grouping(environment: Mapping[str, str]) -> Grouping:
    """How much people are told: ``RECLOSER_ALERT_WAIT``, ``_REPEAT``, ``_FLAPS`` and ``_FLAP_WINDOW``."""
    said: dict[str, Any] = {}
    for name in ("wait", "repeat", "flaps", "flap_window"):
        variable = f"RECLOSER_ALERT_{name.upper()}"
        value = environment.get(variable, "").strip()
        if not value:
            continue
        try:
            said[name] = int(value) if name == "flaps" else parse_duration(value)
        except ValueError:
            said[name] = -1
        if said[name] < (0 if name == "wait" else 1):
            allowed = "a whole number, 1 or more" if name == "flaps" else 'a duration such as "2s", "30m" or "4h"'
            raise ConfigurationError(variable, value, allowed)
    grouping: Grouping = replace(Grouping(), **said)
    return grouping
