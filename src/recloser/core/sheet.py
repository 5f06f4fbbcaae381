"""One layer of settings: what a rules file, the environment or an operator may say, each value checked and placed.

All layers say the same things under the same names, so that one function knows what each may be. A name is a path:

``mode``; ``defaults.FIELD`` and ``circuits.NAME.FIELD`` with the fields of a policy; ``circuits.NAME.log_patterns``;
``fallbacks.NAME.order``; ``requirements.NAME.needs``; ``names.NAME``, a name that appears in errors and its circuit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from recloser.core.patterns import LogPattern
from recloser.core.policy import FIELDS, Mode, Policy, check_name, near
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["NOTHING_SAID", "Path", "Problem", "Sheet", "Value", "check", "dotted", "read"]

Path = tuple[str, ...]

_TABLES: dict[str, tuple[str, ...]] = {
    "circuits": (*FIELDS, "log_patterns"),
    "fallbacks": ("order",),
    "requirements": ("needs",),
}
"""Tables of tables, and what each of those may hold."""
_TOP = ("mode", "defaults", *_TABLES, "names")
_OPTIONAL = frozenset({"failures", "failure_rate", "slow_after", "slow_rate", "timeout", "first_item", "idle"})
_OLDER = {
    "threshold_count": "failures",
    "window_minutes": "window",
    "cooldown_minutes": "cooldown",
    "enabled": "mode",
    "log_patterns": "log_patterns",
}
"""The keys of the older shape, and the fields that they are."""


class Value(NamedTuple):
    """A value, and where it was said."""

    value: Any
    origin: str


class Problem(NamedTuple):
    """Something that was said and is not possible.

    Attributes:
        path: what it was said of.
        text: what is wrong and what would be right, in one line.
    """

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """One layer.

    Attributes:
        values: everything that it says.
        spelling: how the names of circuits and fallbacks are spelt in it.
    """

    values: Mapping[Path, Value] = field(default_factory=dict)
    spelling: Callable[[str], str] = str
    _tables: dict[Path, dict[str, Value]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tables: dict[Path, dict[str, Value]] = {}
        for path, value in self.values.items():
            tables.setdefault(path[:-1], {})[path[-1]] = value
        object.__setattr__(self, "_tables", tables)

    def circuit(self, name: str) -> Mapping[str, Value]:
        """What is said of one circuit: fields of its policy, and ``log_patterns``."""
        return self._tables.get(("circuits", self.spelling(name)), {})

    @property
    def defaults(self) -> Mapping[str, Value]:
        """The fields of a policy that are said of no circuit in particular."""
        return self._tables.get(("defaults",), {})

    @property
    def names(self) -> Mapping[str, Value]:
        """Names that appear in errors, and their circuits."""
        return self._tables.get(("names",), {})

    @property
    def mode(self) -> Value | None:
        """The global switch."""
        return self.values.get(("mode",))

    def order(self, fallback: str) -> Value | None:
        """The providers of a fallback that take part, in order."""
        return self.values.get(("fallbacks", self.spelling(fallback), "order"))

    def needs(self, requirement: str) -> Value | None:
        """What a requirement needs."""
        return self.values.get(("requirements", self.spelling(requirement), "needs"))

    def told_of(self, table: str) -> tuple[str, ...]:
        """The names in one of the tables, ``"circuits"``, ``"fallbacks"`` or ``"requirements"``."""
        return tuple(path[1] for path in self._tables if path[0] == table and len(path) == 2)


NOTHING_SAID = Sheet()
"""A layer that says nothing."""


def dotted(path: Path) -> str:
    """A path as people write it."""
    return ".".join(path)


def check(path: Path, value: object) -> Any:
    """``value`` as it is kept under ``path``.

    Raises:
        ConfigurationError: when there is nothing of that name, or the value is impossible.
    """
    key = dotted(path)
    if path[0] == "circuits" and len(path) == 3:
        check_name("circuits", path[1])
    match path:
        case ("mode",):
            return Mode.parse(key, value)
        case ("defaults", name) | ("circuits", _, name) if name in FIELDS:
            return _field(key, name, value)
        case ("circuits", _, "log_patterns"):
            return _patterns(key, value)
        case ("fallbacks", _, "order"):
            order = _names(key, value)
            if not order:
                raise ConfigurationError(key, value, "at least one provider; pause the circuits to stop all of them")
            return order
        case ("requirements", _, "needs"):
            return _names(key, value)
        case ("names", _):
            return check_name(key, value)
    raise ConfigurationError(key, value, near(path[-1], _known(path)))


def _known(path: Path) -> tuple[str, ...]:
    """What may stand where ``path`` ends."""
    if path[0] == "defaults":
        return FIELDS
    return _TABLES[path[0]] if path[0] in _TABLES and len(path) > 2 else _TOP


def _field(key: str, name: str, value: object) -> Any:
    # TOML has no word for nothing, and neither has a command line.
    off = name in _OPTIONAL and isinstance(value, str) and value.strip().lower() == "none"
    return Policy.check(name, None if off else value, key)


def _names(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) and each.strip() for each in value):
        raise ConfigurationError(key, value, "a list of names")
    for each in value:
        if value.count(each) > 1:
            raise ConfigurationError(key, value, f"each name once; {each!r} is there twice")
    return tuple(value)


def _patterns(key: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigurationError(key, value, "a list of texts and { regex = ... }")
    for each in value:
        LogPattern.parse(key, each)
    # As they were written: a live value is kept as JSON.
    return tuple(value)


def read(data: Mapping[str, Any], origin: Callable[[Path], str], spelling: Callable[[str], str] = str) -> tuple[
    Sheet, tuple[Problem, ...]
]:  # fmt: skip
    """What tables within tables say, and what of it is not possible.

    Args:
        data: as a rules file holds it, in the present shape or the older one.
        origin: where a path was said.
        spelling: how names are spelt in it.
    """
    values: dict[Path, Value] = {}
    problems: list[Problem] = []
    leaves = _older(data) if _is_older(data) else _leaves(data)
    for path, place, value in leaves:
        if isinstance(value, Problem):
            problems.append(value)
            continue
        try:
            values[path] = Value(check(path, value), origin(place))
        except ConfigurationError as error:
            problems.append(Problem(place, str(error)))
    return Sheet(values, spelling), tuple(problems)


def _is_older(data: Mapping[str, Any]) -> bool:
    """Whether every table is a circuit, told of in the older shape's own words, or in nothing at all."""
    tables = [value for value in data.values() if isinstance(value, Mapping)]
    return (
        bool(tables)
        and len(tables) == len(data)
        and not set(_TOP) & set(data)
        and any(set(each) & set(_OLDER) for each in tables)
    )


def _older(data: Mapping[str, Any]) -> Iterator[tuple[Path, Path, Any]]:
    for circuit, table in data.items():
        for key, value in table.items():
            place = (circuit, key)
            if key not in _OLDER:
                text = str(ConfigurationError(dotted(place), value, near(key, _OLDER)))
                yield place, place, Problem(place, text)
                continue
            try:
                told = _in_seconds(dotted(place), key, value)
            except ConfigurationError as error:
                yield place, place, Problem(place, str(error))
            else:
                yield ("circuits", circuit, _OLDER[key]), place, told


def _in_seconds(key: str, name: str, value: object) -> object:
    """A value of the older shape as the present one says it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name.endswith("_minutes"):
        if not number or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ConfigurationError(key, value, "a number of minutes above 0")
        return value * 60
    if name == "enabled":
        if not isinstance(value, bool):
            raise ConfigurationError(key, value, "true or false")
        return Mode.ENFORCE if value else Mode.OFF
    if name == "threshold_count" and (not number or value is None):
        raise ConfigurationError(key, value, "a whole number, 1 or more")
    return value


def _leaves(data: Mapping[str, Any]) -> Iterator[tuple[Path, Path, Any]]:
    """Every value with its path; what should be a table and is none, or the reverse, is a problem."""

    def tables(path: Path, value: Any, depth: int) -> Iterator[tuple[Path, Path, Any]]:
        if not isinstance(value, Mapping):
            text = str(ConfigurationError(dotted(path), value, "a table"))
            yield path, path, Problem(path, text)
            return
        for key, inner in value.items():
            below = (*path, str(key))
            if depth > 1:
                yield from tables(below, inner, depth - 1)
            else:
                yield below, below, inner

    for key, value in data.items():
        if key == "$schema":
            continue
        if key in _TABLES:
            yield from tables((key,), value, 2)
        elif key in {"defaults", "names"}:
            yield from tables((key,), value, 1)
        else:
            yield (key,), (key,), value
