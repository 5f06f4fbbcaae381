"""Settings of a toolkit: what ``configure`` was given, else the environment, else the defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from recloser.core.duration import parse_duration
from recloser.core.incidents import Grouping
from recloser.core.policy import Mode, check_name
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.alerts.hooks import Hooks
    from recloser.backends import Backend

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where facts are shared, and what is done with them.

    Attributes:
        backend: a URL, or a backend.
        namespace: circuits of different namespaces do not know of each other.
        mode: turns every circuit down to at most this.
        alerts: the hooks that tell people; None for those that the environment names, or that are configured there.
        grouping: how much they are told.
    """

    backend: str | Backend
    namespace: str
    mode: Mode
    alerts: Hooks | None = None
    grouping: Grouping = field(default_factory=lambda: _grouping(os.environ))

    def __post_init__(self) -> None:
        check_name("namespace", self.namespace)

    @classmethod
    def layered(
        cls,
        backend: str | Backend | None = None,
        namespace: str | None = None,
        mode: Mode | str | None = None,
        alerts: Hooks | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Settings:
        """The settings: what is given here, else ``RECLOSER_BACKEND``, ``_NAMESPACE``, ``_MODE``, else the defaults.

        Raises:
            ConfigurationError: for an impossible value, naming where it was written.
        """

        def first(key: str, given: object, default: str) -> tuple[str, object]:
            variable = f"RECLOSER_{key.upper()}"
            if given is not None:
                return key, given
            return (variable, environment[variable]) if environment.get(variable) else (key, default)

        chosen = backend if backend is not None else environment.get("RECLOSER_BACKEND") or "memory://"
        return cls(
            backend=chosen,
            namespace=check_name(*first("namespace", namespace, "recloser")),
            mode=Mode.parse(*first("mode", mode, Mode.ENFORCE)),
            alerts=alerts,
            grouping=_grouping(environment),
        )


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
