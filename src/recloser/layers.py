"""The layers of settings of one toolkit: live, environment, rules file, code. The first that says anything is heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recloser.core.layering import BUILT_IN, Resolved, first, resolve
from recloser.core.live import NO_LIVE
from recloser.core.patterns import LogPattern, Patterns
from recloser.core.policy import Mode, Policy
from recloser.core.sheet import NOTHING_SAID, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.core.live import Live
    from recloser.core.sheet import Sheet

__all__ = ["Layers"]


class Layers:
    """What is said, and by whom. Each layer is replaced as a whole, so that none is ever seen half changed.

    Args:
        mode: what ``configure`` or the environment says of the global switch; None when neither does.
        environment: what the environment says otherwise.
        rules: what a rules file says.

    Attributes:
        live: what operators say.
        environment: what the environment says.
        rules: what a rules file says.
        fleet: beneath all of it, for who has no code of its own: what the processes of the fleet have written down.
    """

    live: Live
    environment: Sheet
    rules: Sheet
    fleet: Sheet

    def __init__(self, mode: Value | None, environment: Sheet, rules: Sheet = NOTHING_SAID) -> None:
        self.live = NO_LIVE
        self.environment = environment
        self.rules = rules
        self.fleet = NOTHING_SAID
        self._mode = mode

    @property
    def mode(self) -> Value:
        """The global switch."""
        return self.live.sheet.mode or self.own_mode or self.fleet.mode or Value(Mode.ENFORCE, BUILT_IN)

    @property
    def own_mode(self) -> Value | None:
        """The same without what operators say; None when nobody in this process says anything."""
        return self._mode or self.rules.mode

    def resolve(self, name: str, code: Policy | None, place: str, *, live: Sheet | None = None) -> Resolved:
        """The policy of a circuit.

        Args:
            name: the circuit.
            code: what is written where it is used.
            place: where that is.
            live: what operators might say instead of what they do.
        """
        said = {} if code is None else {key: Value(value, place) for key, value in code.said().items()}
        layers = (self.live.sheet if live is None else live, self.environment, self.rules)
        return resolve(name, layers, said, self.fleet)

    def written(self, name: str, code: Policy | None, place: str) -> dict[str, Value]:
        """What this process says of a circuit by its name, without what operators say."""
        said = {} if code is None else {key: Value(value, place) for key, value in code.said().items()}
        tables = (self.environment.circuit(name), self.rules.circuit(name), said)
        keys = sorted({key for table in tables for key in table} - {"log_patterns"})
        return {key: value for key in keys if (value := first(key, tables)) is not None}

    def defaults(self) -> dict[str, Value]:
        """What this process says of all circuits, without what operators say."""
        tables = (self.environment.defaults, self.rules.defaults)
        keys = sorted({key for table in tables for key in table})
        return {key: value for key in keys if (value := first(key, tables)) is not None}

    def order(self, fallback: str) -> Value | None:
        """The providers of a fallback that take part, in order; None when nobody says so outside of its code."""
        return self.live.sheet.order(fallback) or self.beneath("fallbacks", fallback)

    def needs(self, requirement: str) -> Value | None:
        """What a requirement needs; None when nobody says so outside of its code."""
        return self.live.sheet.needs(requirement) or self.beneath("requirements", requirement)

    def beneath(self, table: str, name: str) -> Value | None:
        """The order or the needs of that name, without what operators say."""
        sheets = (self.environment, self.rules, self.fleet)
        said = (sheet.order(name) if table == "fallbacks" else sheet.needs(name) for sheet in sheets)
        return next((each for each in said if each is not None), None)

    def patterns(self) -> Patterns:
        """The log patterns of each circuit that has any."""
        found: dict[str, tuple[LogPattern, ...]] = {}
        for sheet in (self.rules, self.live.sheet):
            for name in sheet.told_of("circuits"):
                if (value := sheet.circuit(name).get("log_patterns")) is not None:
                    found[name] = tuple(LogPattern.parse(name, each) for each in value.value)
        return Patterns(found)

    def names(self) -> Mapping[str, Value]:
        """Names that appear in errors, and their circuits."""
        return {**self.rules.names, **self.live.sheet.names}
