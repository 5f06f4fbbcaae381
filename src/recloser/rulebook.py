"""Rules files: a layer of settings in TOML or JSON, read as a whole or not at all, and read again when asked to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path as File
from typing import TYPE_CHECKING, Literal

from recloser.core.placed import PlacedError
from recloser.core.placed import read as read_placed
from recloser.core.policy import named
from recloser.core.sheet import NOTHING_SAID, Problem, Sheet, read
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recloser.core.sheet import Path

__all__ = ["Complaint", "Reload", "examine", "load"]

_FORMATS: dict[str, Literal["toml", "json"]] = {".toml": "toml", ".json": "json"}


class Reload(StrEnum):
    """When a rules file is read again."""

    NEVER = "never"
    """With the next start."""
    SIGHUP = "sighup"
    """When the process is sent that signal."""
    CHANGE = "change"
    """Soon after the file has changed."""

    @classmethod
    def parse(cls, key: str, value: object) -> Reload:
        """The one that ``value`` names; raises ConfigurationError for any other."""
        return named(cls, key, value)


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something in a rules file that is not possible.

    Attributes:
        file: the file.
        line: on which line; 0 for what concerns all of it.
        text: what is wrong, and what would be right.
    """

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


def load(file: str, key: str = "rules") -> Sheet:
    """What a rules file says.

    Raises:
        ConfigurationError: when it cannot be read, or says anything that is impossible; nothing of it holds then.
    """
    sheet, complaints = examine(file)
    for first in complaints[:1]:
        more = f" (and {len(complaints) - 1} more: recloser check --rules {file})" if len(complaints) > 1 else ""
        raise ConfigurationError(key, file, f"a rules file without mistakes; {first}{more}")
    return sheet


def examine(file: str) -> tuple[Sheet, tuple[Complaint, ...]]:
    """What a rules file says, and everything in it that is not possible, in the order of its lines."""
    kind = _FORMATS.get(File(file).suffix.lower())
    if kind is None:
        return NOTHING_SAID, (Complaint(file, 0, f"a rules file ends in one of {', '.join(_FORMATS)}"),)
    try:
        text = File(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        return NOTHING_SAID, (Complaint(file, 0, f"it is not in UTF-8: {error}"),)
    except OSError as error:
        return NOTHING_SAID, (Complaint(file, 0, f"it cannot be read: {error.strerror or error}"),)
    try:
        placed = read_placed(text, format=kind)
    except PlacedError as error:
        return NOTHING_SAID, (Complaint(file, error.line, error.message),)
    sheet, problems = read(placed.data, lambda path: f"{file}:{_line(placed.lines, path)}")
    complaints = [*_complaints(file, placed.lines, problems)]
    return sheet, tuple(sorted(complaints, key=lambda each: each.line))


def _complaints(file: str, lines: dict[Path, int], problems: Iterable[Problem]) -> Iterable[Complaint]:
    for problem in problems:
        yield Complaint(file, _line(lines, problem.path), problem.text)


def _line(lines: dict[Path, int], path: Path) -> int:
    """Where a path stands, or the innermost table of it that has a line."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 0)
