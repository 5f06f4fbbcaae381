"""What an application has written down about its circuits: policies with their places, and what is built on them."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Protocol

from recloser.core.events import Needs
from recloser.core.policy import FIELDS
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from types import FrameType

    from recloser.core.policy import Policy

__all__ = ["Dependent", "Registry", "caller"]

_OPTIMIZED = 0x1  # inspect.CO_OPTIMIZED: set on the code of functions, not of modules and classes


class Dependent(Protocol):
    """A fallback or a requirement."""

    name: str
    sort: str
    """``"fallback"`` or ``"requirement"``."""

    @property
    def members(self) -> tuple[str, ...]:
        """The providers of a fallback, in the order of its code; the names of what a requirement needs."""
        ...

    @property
    def written(self) -> tuple[tuple[str, ...], ...]:
        """The circuits it is built on by its code, in groups."""
        ...

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Those that it is built on now: it needs one circuit of each group."""
        ...


class Registry:
    """Policies by circuit, who depends on which circuit, and the names that were mentioned at all."""

    mentioned: set[str]

    def __init__(self) -> None:
        self._policies: dict[str, tuple[Policy, str]] = {}
        self.mentioned: set[str] = set()
        self._dependents: weakref.WeakSet[Dependent] = weakref.WeakSet()

    def copy(self) -> Registry:
        """Another registry that begins with the same entries."""
        other = Registry()
        other._policies.update(self._policies)
        other.mentioned.update(self.mentioned)
        other._dependents.update(self._dependents)
        return other

    def declare(self, name: str, policy: Policy, place: str) -> None:
        """Puts down the policy of a circuit.

        Raises:
            ConfigurationError: when another policy was put down for it, naming both places.
        """
        known, where = self._policies.setdefault(name, (policy, place))
        if known != policy:
            mine, theirs = _differing(policy, known)
            key = f"circuit {name!r}"
            raise ConfigurationError(
                key, mine, f"one policy for each circuit: {place} says this, {where} says {theirs}"
            )

    def entry(self, name: str) -> tuple[Policy | None, str]:
        """The policy that was put down for a circuit, if one was, and where."""
        return self._policies.get(name, (None, ""))

    def depend(self, dependent: Dependent) -> None:
        """Remembers what is built on circuits, for as long as it lives."""
        self._dependents.add(dependent)

    @property
    def dependents(self) -> tuple[Dependent, ...]:
        """What is built on circuits."""
        return tuple(self._dependents)

    def affects(self, circuit: str) -> tuple[str, ...]:
        """The names of what is built on ``circuit``, sorted."""
        return tuple(need.name for need in self.needs(circuit))

    def needs(self, circuit: str) -> tuple[Needs, ...]:
        """What is built on ``circuit``, sorted by name, and on what else that is built."""
        found = {Needs(each.name, each.sort, each.groups) for each in self.dependents}
        return tuple(sorted(need for need in found if circuit in need.circuits))

    def names(self) -> set[str]:
        """All circuits that were mentioned with a policy, or that something is built on."""
        built_on = (name for each in self.dependents for group in each.written for name in group)
        return {*self._policies, *built_on}


def _differing(one: Policy, other: Policy) -> tuple[str, str]:
    """The fields in which two policies differ, as each of them would be written."""
    names = [name for name in FIELDS if getattr(one, name) != getattr(other, name)]
    mine, theirs = (", ".join(f"{name}={getattr(each, name)!r}" for name in names) for each in (one, other))
    return mine, theirs


def caller() -> tuple[str, bool]:
    """Where the user's code called into this package, and whether that is a module's or a class's own code."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the only way to a place that costs no stack walk
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        frame = frame.f_back
    if frame is None:
        return "an unknown place", False
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno}", not code.co_flags & _OPTIMIZED
