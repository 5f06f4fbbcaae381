"""Live settings: what operators have said, as a backend keeps it, with who said it and when."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recloser.core.sheet import NOTHING_SAID, Sheet, Value, check
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.core.sheet import Path

__all__ = ["NO_LIVE", "Entry", "Live", "Unsaid"]

_SHAPE = "list of {path, value, by, at}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One live value.

    Attributes:
        path: what it is said of.
        value: as it is kept.
        by: who said it.
        at: when, Unix time in seconds.
    """

    path: Path
    value: Any
    by: str
    at: float

    @property
    def origin(self) -> str:
        """Where the value comes from, for people."""
        return f"live, by {self.by} at {datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Live:
    """All of them, as they were read.

    Attributes:
        version: grows with every change; 0 before the first.
        entries: the values by their paths, those that are not possible too.
        sheet: those that are possible; in place of one that is not, the last one that was.
        problems: what is passed over, a line each.
        readable: whether the backend holds a list of values at all.
    """

    version: int = 0
    entries: Mapping[Path, Entry] = field(default_factory=dict)
    sheet: Sheet = NOTHING_SAID
    problems: tuple[str, ...] = ()
    readable: bool = True

    def read(self, version: int, text: str) -> Live:
        """What a backend holds now, after what it held when this was read."""
        try:
            entries = {entry.path: entry for entry in map(_entry, json.loads(text or "[]"))}
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError, RecursionError) as error:
            problem = f"the live settings in the backend are no {_SHAPE}: {type(error).__name__}: {error}"
            return Live(version, self.entries, self.sheet, (problem,), readable=False)
        values: dict[Path, Value] = {}
        problems: list[str] = []
        for path, entry in entries.items():
            try:
                values[path] = Value(check(path, entry.value), entry.origin)
            except ConfigurationError as error:
                last = self.sheet.values.get(path)
                problems.append(f"a live value is passed over ({entry.origin}): {error}")
                if last is not None:
                    values[path] = last
        return Live(version, entries, Sheet(values), tuple(problems))

    def with_changes(self, changes: Mapping[Path, Any], by: str, at: float) -> str:
        """The text that a backend should hold once ``changes`` are made; :class:`Unsaid` takes one back.

        Raises:
            ConfigurationError: for a value that is impossible.
        """
        entries = dict(self.entries)
        for path, value in changes.items():
            if isinstance(value, Unsaid):
                entries.pop(path, None)
            else:
                entries[path] = Entry(path, check(path, value), by, round(at, 3))
        return json.dumps(
            [{"path": each.path, "value": each.value, "by": each.by, "at": each.at} for each in entries.values()],
            separators=(",", ":"),
        )


class Unsaid:
    """Stands for a value that is taken back: what is said elsewhere holds again."""


NO_LIVE = Live()
"""Nothing was read yet."""


def _entry(told: Any) -> Entry:
    path = tuple(map(str, told["path"]))
    if not path:
        msg = "an empty path"
        raise ValueError(msg)
    entry = Entry(path, told["value"], str(told.get("by", "")) or "somebody", float(told.get("at", 0)))
    datetime.fromtimestamp(entry.at, UTC)  # raises what is caught above
    return entry
