"""Requirements: what must be available before work is begun that costs something."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from recloser.errors import ConfigurationError, PausedError
from recloser.fallback import Fallback
from recloser.gate import Gate
from recloser.wrapping import ask_first, gate_of, stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recloser.backends import Seat
    from recloser.circuit import Circuit
    from recloser.core.sheet import Value

__all__ = ["Requirement"]

_F = TypeVar("_F", bound="Callable[..., Any]")

_ALLOWED = "names of circuits, circuits, fallbacks, requirements, or callables decorated with one of these"

_Leave = tuple[str, int]  # a circuit, in one of its generations
# What a check() admitted in this context and no call has used yet, and until when it is good for one.
_admitted: ContextVar[dict[_Leave, float] | None] = ContextVar("recloser_admitted", default=None)


class Requirement:
    """Dependencies that work must not begin without. Made by :func:`recloser.requires`.

    As a decorator, it raises PausedError before the function runs when a dependency is unavailable. While a circuit
    is being tested after a pause, it lets through ``probes`` calls per ``probe_timeout``, over the whole fleet.
    """

    name: str
    sort: str = "requirement"

    def __init__(
        self,
        dependencies: Sequence[Any],
        mention: Callable[[str], Circuit],
        register: Callable[[Requirement], None],
        said: Callable[[str], Value | None],
        find: Callable[[str], Gate | Fallback[Any] | None],
    ) -> None:
        if not dependencies:
            raise ConfigurationError("dependencies", (), "at least one of " + _ALLOWED)
        # Those of the code; others may be said elsewhere.
        self._written = tuple(found for each in dependencies for found in _found(each, mention))
        self._said = said
        self._find = find
        self._arranged: tuple[Value | None, tuple[Gate | Fallback[Any], ...]] = (None, self._written)
        self.name = f"requires({', '.join(self.members)})"
        register(self)

    def __repr__(self) -> str:
        return f"requires({', '.join(self.members)})"

    @classmethod
    def of(cls, value: Any) -> Requirement | None:
        """The requirement that ``value`` is, or is decorated with."""
        found = value if isinstance(value, Requirement) else gate_of(value)
        return found if isinstance(found, Requirement) else None

    @property
    def _dependencies(self) -> tuple[Gate | Fallback[Any], ...]:
        """What it needs now."""
        said, (before, arranged) = self._said(self.name), self._arranged
        if said is not before:
            arranged = self._written if said is None else tuple(filter(None, map(self._find, said.value)))
            self._arranged = (said, arranged)
        return arranged

    @property
    def members(self) -> tuple[str, ...]:
        """The names of what it needs, by its code."""
        return tuple(each.name for each in self._written)

    @property
    def written(self) -> tuple[tuple[str, ...], ...]:
        """The circuits it is built on by its code, in groups of each of which it needs one."""
        return tuple(each.members if isinstance(each, Fallback) else (each.name,) for each in self._written)

    @property
    def gates(self) -> tuple[tuple[Gate, ...], ...]:
        """The gates of the circuits that it looks at now, in groups, of each of which it needs one."""
        return tuple(_gates(each) for each in self._dependencies)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Those that it looks at now."""
        return tuple(tuple(gate.name for gate in _gates(each)) for each in self._dependencies)

    def __call__(self, function: _F, /) -> _F:
        """``function``, which runs only when everything it needs is available.

        Raises:
            ConfigurationError: when it cannot be called.
        """
        if isinstance(function, classmethod | staticmethod):
            descriptor: Any = type(function)
            return descriptor(self(function.__func__))  # type: ignore[no-any-return]  # the same kind as it was
        if not callable(function):
            raise ConfigurationError("function", function, "something that can be called")
        self.name = getattr(function, "__qualname__", self.name)
        decorated: _F = stand_in(function, ask_first(self._enter, function), self)
        return decorated

    def check(self) -> None:
        """Raises PausedError when a dependency is unavailable; ask it once, before work is locked or fetched.

        While a circuit is being tested, this takes one of the few trials; the next call of a decorated function in
        the same thread or task uses it up instead of taking another.

        Raises:
            PausedError: when a dependency is unavailable.
        """
        _admitted.set(self._admit({}))

    def allows(self) -> bool:
        """Whether a call made now would run. Takes nothing."""
        return self.refusal() is None

    def refusal(self) -> PausedError | None:
        """Why a call made now would not run, for a dispatcher to wait or to log; None when it would. Takes nothing."""
        return next((no for each in self._dependencies if (no := each.refusal()) is not None), None)

    def _enter(self) -> None:
        paid = _admitted.get() or {}
        for used in self._admit(paid):
            paid.pop(used, None)

    def _admit(self, paid: dict[_Leave, float]) -> dict[_Leave, float]:
        """Asks every dependency for leave, except what was paid for, and gives all of it back when one says no."""
        admitted: dict[_Leave, float] = {}
        taken: list[tuple[Gate, Seat]] = []
        try:
            for each in self._dependencies:
                gate = next((gate for gate in _gates(each) if gate.bound.now() < paid.get(_leave(gate), 0.0)), None)
                if gate is None:
                    gate, seat = each.admit()
                    if seat is not None:
                        taken.append((gate, seat))
                admitted[_leave(gate)] = gate.bound.now() + gate.bound.policy.probe_timeout
        except PausedError:
            for gate, seat in taken:
                gate.bound.give_back(seat)
            raise
        return admitted


def _leave(gate: Gate) -> _Leave:
    return gate.name, gate.bound.record.generation


def _gates(dependency: Gate | Fallback[Any]) -> tuple[Gate, ...]:
    return dependency.gates if isinstance(dependency, Fallback) else (dependency,)


def _found(value: Any, mention: Callable[[str], Circuit]) -> Sequence[Gate | Fallback[Any]]:
    """What is meant by one dependency: of a requirement, everything that it needs."""
    if isinstance(value, str):
        return [mention(value)]
    found = value if isinstance(value, Gate | Fallback | Requirement) else gate_of(value)
    if isinstance(found, Requirement):
        return found._dependencies  # noqa: SLF001 - of another requirement
    if isinstance(found, Gate | Fallback):
        return [found]
    raise ConfigurationError("dependency", value, _ALLOWED)
