"""Changing live settings: what an operator says is looked at as a whole, and holds as a whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recloser.core.events import EventKind
from recloser.core.layering import BUILT_IN, first
from recloser.core.live import Unsaid
from recloser.core.policy import FIELDS, Policy, near
from recloser.core.sheet import Value, check
from recloser.core.spoken import shown
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from recloser.core.events import Event
    from recloser.core.live import Live
    from recloser.core.sheet import Path, Sheet
    from recloser.engine import Engine

__all__ = ["Changing"]

_LISTS = {"order": ("fallback", "fallbacks"), "needs": ("requirement", "requirements")}


class Changing:
    """What one operator says at once.

    Args:
        engine: of whose fleet.
        name: a circuit, a glob over the known ones, a fallback or a requirement; None for what concerns all circuits.
        by: who says it.
    """

    def __init__(self, engine: Engine, name: str | None, by: str) -> None:
        self._engine = engine
        self._name = name
        self._by = by

    def set(self, said: Mapping[str, object]) -> tuple[str, ...]:
        """Says so; returns what has changed, a line for each circuit.

        Raises:
            ConfigurationError: for an impossible value, or one that contradicts what else is said.
            BackendError: when the backend does not answer, or keeps no live settings.
        """
        changes = {path: check(path, value) for key, value in said.items() for path in self._paths(key)}
        self._check_names(changes)
        return self._make(changes)

    def unset(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Takes values back, or with no key everything that was said under the name; returns the same.

        Raises:
            ConfigurationError: for a name that is not known.
            BackendError: when the backend does not answer, or keeps no live settings.
        """
        self._engine.look()
        paths = [path for key in keys for path in self._paths(key)] if keys else list(self._said())
        return self._make(dict.fromkeys(paths, Unsaid()))

    # -- what it is said of --------------------------------------------------------------------------------------------

    def _paths(self, key: str) -> Iterator[Path]:
        name, engine = self._name, self._engine
        if name is None:
            if key != "mode" and key not in FIELDS:
                raise ConfigurationError(key, "that", near(key, ("mode", *FIELDS)))
            yield ("mode",) if key == "mode" else ("defaults", key)
        elif key in _LISTS:
            sort, table = _LISTS[key]
            engine.policies.member_of(sort, name)
            yield table, name, key
        else:
            for circuit in engine.known(name):
                yield "circuits", circuit, key

    def _said(self) -> Iterator[Path]:
        """Everything that operators have said under the name."""
        name, entries = self._name, self._engine.notices.live.entries
        if name is None:
            yield from (path for path in entries if path[0] in {"mode", "defaults"})
            return
        circuits = {name, *self._engine.matching(name)} if any(mark in name for mark in "*?[") else {name}
        yield from (path for path in entries if len(path) == 3 and path[1] in circuits)

    def _check_names(self, changes: Mapping[Path, Any]) -> None:
        policies = self._engine.policies
        for path, value in changes.items():
            if path[-1] == "order":
                known = policies.member_of("fallback", path[1]).members
            elif path[-1] == "needs":
                known = (*policies.built("fallback"), *self._engine.names())
            else:
                continue
            for each in value:
                if each not in known:
                    key = f"{path[-1]} of {path[1]}"
                    raise ConfigurationError(key, each, near(each, known))

    # -- making it -----------------------------------------------------------------------------------------------------

    def _make(self, changes: Mapping[Path, Any]) -> tuple[str, ...]:
        engine = self._engine
        lines: list[str] = []

        def choose(live: Live) -> tuple[str, Sequence[Event]]:
            text = live.with_changes(changes, self._by, engine.clock.time())
            then = live.read(live.version, text).sheet
            engine.policies.would_hold(then, self._affected(changes))
            told = self._told(changes, then)
            lines[:] = [f"{name}: {reason}" for name, reason in told.items()]
            return text, [self._event(name, reason) for name, reason in told.items()]

        if not changes:
            return ()
        for event in engine.notices.change(choose):
            engine.tell(event)
        return tuple(lines)

    def _affected(self, changes: Mapping[Path, Any]) -> list[str]:
        circuits = {path[1] for path in changes if path[0] == "circuits"}
        return sorted({*circuits, *(self._engine.names() if any(path[0] == "defaults" for path in changes) else ())})

    def _told(self, changes: Mapping[Path, Any], then: Sheet) -> dict[str, str]:
        """What changes, in words, by what it concerns."""
        now = self._engine.policies.layers.live.sheet
        told: dict[str, list[str]] = {}
        for path in changes:
            name, key = path[1] if len(path) == 3 else "all circuits", path[-1]
            before, after = self._holds(path, now), self._holds(path, then)
            told.setdefault(name, []).append(f"{key}={shown(key, after)} (was {shown(key, before)})")
        return {name: ", ".join(words) for name, words in told.items()}

    def _holds(self, path: Path, live: Sheet) -> object:
        """What holds under a path when operators say so."""
        policies, layers = self._engine.policies, self._engine.policies.layers
        match path:
            case ("mode",):
                return (live.mode or layers.own_mode or layers.fleet.mode or Value("enforce", BUILT_IN)).value
            case ("defaults", key):
                tables = (live.defaults, layers.environment.defaults, layers.rules.defaults, layers.fleet.defaults)
                said = first(key, tables)
                return getattr(Policy(), key) if said is None else said.value
            case ("circuits", name, "log_patterns"):
                said = live.circuit(name).get("log_patterns") or layers.rules.circuit(name).get("log_patterns")
                return () if said is None else said.value
            case ("circuits", name, key) if key in FIELDS:
                return getattr(policies.resolve(name, live=live).policy, key)
            case ("fallbacks" | "requirements" as table, name, key) if key in _LISTS:
                said = live.values.get(path) or layers.beneath(table, name)
                return policies.member_of(_LISTS[key][0], name).members if said is None else said.value
        return None

    def _event(self, name: str, reason: str) -> Event:
        if name in self._engine.names():
            return replace(self._engine.event(name, EventKind.CHANGED, reason), by=self._by)
        reason = reason if self._name is None else f"{name}: {reason}"
        return self._engine.event_about_all(EventKind.CHANGED, reason, self._by)
