"""Which of several layers is heard: for each field of a circuit's policy the first one that says anything.

What is said of a circuit by its name is heard before what is said of all circuits, whoever says it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from recloser.core.policy import FIELDS, Policy
from recloser.core.sheet import NOTHING_SAID, Value
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recloser.core.sheet import Sheet

__all__ = ["BUILT_IN", "Resolved", "first", "resolve"]

BUILT_IN = "built in"
"""The origin of a default that nobody changed."""

_TOGETHER = {"slow_rate": ("slow_rate", "slow_after"), "cooldown_max": ("cooldown_max", "cooldown")}
"""Fields that may contradict each other, by the one that a policy names then."""


class _Source(NamedTuple):
    """One layer, as far as one circuit is concerned."""

    own: dict[str, Value]
    defaults: dict[str, Value]

    def drop(self, names: Sequence[str]) -> list[str]:
        """Takes back what it says of these fields; what that was."""
        dropped: list[str] = []
        for table, prefix in ((self.own, ""), (self.defaults, "defaults.")):
            for name in names:
                if name in table:
                    dropped.append(f"{prefix}{name}={table[name].value!r} ({table[name].origin})")
                    del table[name]
        return dropped


@dataclass(frozen=True, slots=True)
class Resolved:
    """What holds for a circuit.

    Attributes:
        policy: its policy.
        origins: where each field was said, by the field's name.
        problems: what was passed over because it contradicts what else is said, a line each.
    """

    policy: Policy
    origins: Mapping[str, str]
    problems: tuple[str, ...] = ()


def resolve(name: str, layers: Sequence[Sheet], code: Mapping[str, Value], builtin: Sheet = NOTHING_SAID) -> Resolved:
    """The policy of a circuit.

    Args:
        name: the circuit.
        layers: the first is heard first.
        code: what is written where it is used, field by field; heard last of what is said of it by name.
        builtin: stands beneath everything.

    Raises:
        ConfigurationError: when the code contradicts itself.
    """
    sources = [_Source(dict(each.circuit(name)), dict(each.defaults)) for each in (*layers, builtin)]
    problems: list[str] = []
    while True:
        tables = [*(each.own for each in sources), code, *(each.defaults for each in sources)]
        said = {key: value for key in FIELDS if (value := first(key, tables)) is not None}
        try:
            policy = Policy(**{key: value.value for key, value in said.items()})
        except ConfigurationError as error:
            names = _TOGETHER.get(error.key, (error.key,))
            dropped = next((found for each in sources if (found := each.drop(names))), None)
            if dropped is None:
                raise
            problems.append(f"circuit {name}: {' and '.join(dropped)} passed over: {error}")
        else:
            origins = {key: said[key].origin if key in said else BUILT_IN for key in FIELDS}
            return Resolved(policy, origins, tuple(problems))


def first(key: str, tables: Sequence[Mapping[str, Value]]) -> Value | None:
    """What the first table that says anything under ``key`` says."""
    return next((table[key] for table in tables if key in table), None)
