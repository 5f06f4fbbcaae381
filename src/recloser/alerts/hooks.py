"""Which hooks there are, which of them are active, and why the others are not."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from recloser.core.events import scrub
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from recloser.core.alert import Alert

__all__ = ["GROUP", "NOBODY", "Found", "Hook", "HookSettings", "Hooks", "find"]

GROUP = "recloser.alerts"
"""The entry-point group of hook factories."""

NOBODY = "none"
"""``RECLOSER_ALERTS=none`` tells nobody."""

_log = logging.getLogger("recloser.alerts")

Hook = Callable[["Alert"], Awaitable[object] | object]
"""Tells people of one alert; sync, or async on asyncio."""

Hooks = str | Sequence[str | Hook]
"""Names of hooks, or hooks, in a list; or names in one string, with commas between them."""


def _recall_nothing(_: str) -> str:
    return ""


def _remember_nothing(*_: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class HookSettings:
    """What a factory of hooks is given.

    Attributes:
        namespace: of the circuits.
        environment: where settings are looked up.
        recall: what the hook has put down about an incident; empty when nothing.
        remember: puts that down, for whichever process delivers the next alert about the same incident.
    """

    namespace: str = "recloser"
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    recall: Callable[[str], str] = _recall_nothing
    remember: Callable[[str, str], None] = _remember_nothing

    def get(self, name: str) -> str:
        """A setting from the environment, without blanks around it; empty when it is not set."""
        return self.environment.get(name, "").strip()


@dataclass(frozen=True, slots=True)
class Found:
    """A hook, or why there is none.

    Attributes:
        name: what people call it.
        call: the hook; None when it is not active.
        why: why not, in one line.
    """

    name: str
    call: Hook | None
    why: str = ""

    @property
    def every_step(self) -> bool:
        """Whether it wants to hear of steps that are no news for people, too."""
        return bool(getattr(self.call, "every_step", False))


def find(chosen: Hooks | None, settings: Callable[[str], HookSettings]) -> list[Found]:
    """The hooks that were chosen: in code, else in ``RECLOSER_ALERTS``, else all that are configured.

    Args:
        chosen: names and hooks; None when nothing was said in code.
        settings: what the factory of a name is given.

    Raises:
        ConfigurationError: for a hook that was asked for and cannot be had, naming it and the cure.
    """
    if chosen is None:
        named = settings("").get("RECLOSER_ALERTS")
        if named == NOBODY:
            return []
        if not named:
            return [_unasked(name, settings(name)) for name in sorted(_factories())]
        return [_named("RECLOSER_ALERTS", name, settings) for name in _split(named)]
    if isinstance(chosen, str):
        return [_named("alerts", name, settings) for name in _split(chosen)]
    if not isinstance(chosen, Sequence):
        raise ConfigurationError("alerts", chosen, "names of hooks and hooks, in a list")
    found: list[Found] = []
    for each in chosen:
        if isinstance(each, str):
            found.append(_named("alerts", each.strip(), settings))
        elif callable(each):
            found.append(Found(_name_of(each, {other.name for other in found}), each))
        else:
            raise ConfigurationError("alerts", each, "the name of a hook, or a function that takes an Alert")
    return found


def _factories() -> dict[str, Any]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _split(named: str) -> list[str]:
    return list(dict.fromkeys(name for name in (each.strip() for each in named.split(",")) if name))


def _named(key: str, name: str, settings: Callable[[str], HookSettings]) -> Found:
    factories = _factories()
    if name not in factories:
        known = ", ".join(sorted(factories)) or "none: is recloser installed?"
        raise ConfigurationError(key, name, f"a hook that is installed: {known}")
    try:
        call = _made(factories[name], settings(name))
    except ConfigurationError as error:
        key = f"{name}: {error.key}"
        raise ConfigurationError(key, error.value, error.allowed) from None
    except Exception as error:
        why = f"one whose factory works; this one raised {type(error).__name__}: {scrub(str(error))}"
        raise ConfigurationError(key, name, why) from error
    if call is None:
        raise ConfigurationError(key, name, _missing(factories[name]))
    return Found(name, call)


def _unasked(name: str, settings: HookSettings) -> Found:
    factory = _factories()[name]
    try:
        call = _made(factory, settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, the application starts
        why = str(error) if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {scrub(str(error))}"
        _log.warning("the alert hook %r cannot be used: %s", name, why)
        return Found(name, None, why)
    return Found(name, call, "" if call is not None else _missing(factory))


def _made(entry: Any, settings: HookSettings) -> Hook | None:
    factory = entry.load()
    call = factory(settings)
    if call is not None and not callable(call):
        raise ConfigurationError("factory", entry.value, f"one that returns a function, or None; not {call!r}")
    hook: Hook | None = call
    return hook


def _missing(entry: Any) -> str:
    """How a hook that is not configured would be; a factory says it in the attribute ``needs``."""
    needs = getattr(entry.load(), "needs", "")
    return f"it is not configured{': set ' if needs else ''}{needs}"


def _name_of(hook: Any, taken: set[str]) -> str:
    """A name that is the same in every process: that of the code."""
    code = hook if inspect.isroutine(hook) else type(hook)
    name = f"{getattr(code, '__module__', None) or 'builtins'}.{getattr(code, '__qualname__', type(hook).__qualname__)}"
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    return unique
