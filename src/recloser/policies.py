"""What holds for each circuit, fallback and requirement of one toolkit, whoever said it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from recloser.core.events import Needs
from recloser.core.policy import Mode, near
from recloser.core.sheet import Sheet, Value, check
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recloser.core.layering import Resolved
    from recloser.core.patterns import Patterns
    from recloser.core.sheet import Path
    from recloser.layers import Layers
    from recloser.registry import Dependent, Registry

__all__ = ["Noted", "Policies"]

_log = logging.getLogger("recloser")


class Noted(NamedTuple):
    """A fallback or a requirement of another process, as that has written it down.

    Attributes:
        name: its name.
        sort: ``"fallback"`` or ``"requirement"``.
        members: the providers of a fallback, in the order of its code; the names of what a requirement needs.
        groups: the circuits that it is built on, of each group of which it needs one.
    """

    name: str
    sort: str
    members: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]

    @property
    def circuits(self) -> tuple[str, ...]:
        """The circuits that it is built on."""
        return tuple(circuit for group in self.groups for circuit in group)


class _Answers:
    """What the layers have answered. Replaced as a whole: an answer that is on its way when they change is lost."""

    __slots__ = ("needs", "orders", "patterns", "resolved")

    def __init__(self) -> None:
        self.resolved: dict[str, Resolved] = {}
        self.orders: dict[str, Value | None] = {}
        self.needs: dict[str, Value | None] = {}
        self.patterns: Patterns | None = None


class Policies:
    """Asks the layers, and remembers their answers until one of them changes.

    Args:
        registry: what the application has written down.
        layers: what is said elsewhere.

    Attributes:
        layers: what is said elsewhere.
        noted: the fallbacks and requirements of other processes, by their sorts and names; only who has no code of its
            own looks for them.
    """

    layers: Layers
    noted: dict[tuple[str, str], Noted]

    def __init__(self, registry: Registry, layers: Layers) -> None:
        self._registry = registry
        self.layers = layers
        self.noted = {}
        self._answers = _Answers()
        self._said: set[str] = set()

    # -- what holds ----------------------------------------------------------------------------------------------------

    def resolved(self, name: str) -> Resolved:
        """What holds for a circuit."""
        answers = self._answers
        found = answers.resolved.get(name)
        if found is None:
            found = answers.resolved[name] = self.resolve(name)
            self.report(found.problems)
        return found

    def resolve(self, name: str, *, live: Sheet | None = None) -> Resolved:
        """The same, asked now, and as if operators said something else."""
        return self.layers.resolve(name, *self._registry.entry(name), live=live)

    def mode(self, name: str) -> Mode:
        """What a circuit does with what it knows: a switch turned down anywhere is down."""
        mode: Mode = self.layers.mode.value
        return Mode.weaker(mode, self.resolved(name).policy.mode)

    def order(self, fallback: str) -> Value | None:
        """The providers of a fallback that take part, in order; None when only its code says so."""
        orders = self._answers.orders
        try:
            return orders[fallback]
        except KeyError:
            return orders.setdefault(fallback, self.layers.order(fallback))

    def needs(self, requirement: str) -> Value | None:
        """The names of what a requirement needs; None when only its code says so."""
        needs = self._answers.needs
        try:
            return needs[requirement]
        except KeyError:
            return needs.setdefault(requirement, self.layers.needs(requirement))

    @property
    def patterns(self) -> Patterns:
        """The log patterns of each circuit that has any."""
        answers = self._answers
        if answers.patterns is None:
            answers.patterns = self.layers.patterns()
        return answers.patterns

    def forget(self) -> None:
        """What was remembered may not be so any more."""
        self._answers = _Answers()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is said and passed over, a line each."""
        contradictions = [problem for found in tuple(self._answers.resolved.values()) for problem in found.problems]
        return tuple(dict.fromkeys((*self.layers.live.problems, *contradictions)))

    def report(self, problems: Sequence[str]) -> None:
        """Says each in the log once."""
        for problem in problems:
            if problem not in self._said:
                self._said.add(problem)
                _log.warning("%s", problem)

    def would_hold(self, live: Sheet, circuits: Sequence[str]) -> None:
        """Looks whether operators might say this instead of what they say.

        Raises:
            ConfigurationError: when it contradicts what else is said of one of these circuits.
        """
        for name in circuits:
            before = set(self.resolved(name).problems)
            for problem in self.resolve(name, live=live).problems:
                if problem not in before:
                    key = f"circuit {name!r}"
                    raise ConfigurationError(key, "what was said", problem)

    # -- what is written down for others -------------------------------------------------------------------------------

    def entries(self, circuits: Sequence[str] | None) -> dict[str, str]:
        """What this process has in use, by its name on a board: some circuits or all, and what is built on any."""
        names = sorted({*self._registry.names(), *self._registry.mentioned}) if circuits is None else circuits
        said = {name: self.layers.written(name, *self._registry.entry(name)) for name in names}
        # Who says nothing of a circuit leaves what others say.
        entries: dict[str, Any] = {f"circuit {name}": values for name, values in said.items() if values}
        if defaults := self.layers.defaults():
            entries["defaults"] = defaults
        for each in self._registry.dependents:
            entries[f"{each.sort} {each.name}"] = {"members": each.members, "groups": each.written}
            layers = (self.layers.environment, self.layers.rules)
            said_of = [
                sheet.order(each.name) if each.sort == "fallback" else sheet.needs(each.name) for sheet in layers
            ]
            value = next(filter(None, said_of), None)
            if value is not None:
                entries[f"{each.sort} {each.name}"]["said"] = value
        mode = self.layers.own_mode
        if mode is not None:
            entries["mode"] = mode
        return {name: json.dumps(value, separators=(",", ":")) for name, value in entries.items()}

    def take_over(self, written: Mapping[str, str]) -> None:
        """Learns what the processes of a fleet have written down; what cannot be understood is passed over."""
        values: dict[Path, Value] = {}
        noted: dict[tuple[str, str], Noted] = {}
        for name, text in written.items():
            try:
                sort, _, of = name.partition(" ")
                values.update(_values(sort, of, json.loads(text)))
                if sort in {"fallback", "requirement"}:
                    noted[sort, of] = _noted(sort, of, json.loads(text))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self.report([f"what is written down of {name!r} cannot be understood, and is passed over"])
        self.layers.fleet, self.noted = Sheet(values), noted
        self.forget()

    def noted_circuits(self) -> set[str]:
        """The circuits that others have written something down about."""
        built_on = (circuit for each in self.noted.values() for circuit in each.circuits)
        return {*self.layers.fleet.told_of("circuits"), *built_on}

    def noted_needs(self, circuit: str) -> tuple[Needs, ...]:
        """What others have built on a circuit, sorted by name."""
        found = {Needs(each.name, each.sort, each.groups) for each in self.noted.values() if circuit in each.circuits}
        return tuple(sorted(found))

    def providers(self, fallback: Noted | Dependent) -> tuple[str, ...]:
        """The providers of a fallback that take part, in order."""
        said = self.order(fallback.name)
        known = [each for each in said.value if each in fallback.members] if said else []
        return tuple(known) or fallback.members

    # -- names ---------------------------------------------------------------------------------------------------------

    def built(self, sort: str) -> dict[str, Dependent | Noted]:
        """Every fallback, or every requirement, that is known, by its name."""
        found: dict[str, Dependent | Noted] = {name: each for (of, name), each in self.noted.items() if of == sort}
        found.update({each.name: each for each in self._registry.dependents if each.sort == sort})
        return dict(sorted(found.items()))

    def member_of(self, sort: str, name: str) -> Dependent | Noted:
        """One of them.

        Raises:
            ConfigurationError: when there is none of that name.
        """
        known = self.built(sort)
        if name not in known:
            raise ConfigurationError(sort, name, near(name, known))
        return known[name]


def _values(sort: str, of: str, told: Any) -> dict[Path, Value]:
    """What an entry says of settings."""
    if sort == "mode":
        return {("mode",): Value(check(("mode",), told[0]), str(told[1]))}
    if sort in {"circuit", "defaults"}:
        top = ("circuits", of) if sort == "circuit" else ("defaults",)
        return {(*top, key): Value(check((*top, key), value), str(place)) for key, (value, place) in told.items()}
    if "said" not in told:
        return {}
    path = ("fallbacks", of, "order") if sort == "fallback" else ("requirements", of, "needs")
    return {path: Value(check(path, told["said"][0]), str(told["said"][1]))}


def _noted(sort: str, of: str, told: Any) -> Noted:
    groups = tuple(tuple(map(str, group)) for group in told["groups"])
    return Noted(of, sort, tuple(map(str, told["members"])), groups)
