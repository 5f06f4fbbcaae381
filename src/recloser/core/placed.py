"""A rules file with the line of every key, so that an error can say ``rules.toml:12``.

The standard library reads the document; here it is only found out where its keys stand. Both formats share one small
scan: pairs of a key and a value, tables in braces, arrays in brackets. It runs over what the standard library has found
valid, and therefore judges nothing but what that lets pass.
"""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Path", "Placed", "PlacedError", "read"]

Path = tuple[str, ...]
"""Keys from the top of a document down."""

_Steps = tuple[str | int, ...]
"""A path that also goes into the items of arrays: two items may have a key in common, one table may not."""

_DEEPEST = 32
"""Levels of a document: far more than rules have, far fewer than would exhaust a parser that recurses."""

_QUOTED = r""" "(?:[^"\\]|\\.)*+" | '[^']*+' """
_STRING = rf""" \"{{3}} (?:[^\\]|\\.)*? \"{{3,5}} | '{{3}} .*? '{{3,5}} | {_QUOTED} """
_TOKEN = re.compile(rf"{_STRING} | \#[^\n]*+ | [\[\]{{}}]", re.DOTALL | re.VERBOSE)
_BLANK = re.compile(r"(?:[\s,]++|#[^\n]*+)*+")  # commas too: in a valid document they are where they have to be
_PART = re.compile(rf"[\w-]++ | {_QUOTED}", re.DOTALL | re.VERBOSE)
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_EQUALS = re.compile(r"\s*[=:]\s*")
_OPEN = re.compile(r"\[\[?[ \t]*")
_CLOSE = re.compile(r"[ \t]*\]*")
# A date and a time of day may have a blank between them.
_SCALAR = re.compile(rf"{_STRING} | [^\s,\]}}\#]++ (?:[ ]\d\d:[^\s,\]}}\#]++)?", re.DOTALL | re.VERBOSE)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_CLASHES = ("Cannot declare ", "Cannot overwrite ", "Cannot redefine ", "Cannot mutate ", "Duplicate inline ")
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")


class PlacedError(ValueError):
    """Raised for a document that cannot be read, with the line (and the column, where it is known) that is to blame.

    >>> str(PlacedError(12, None, "cooldown is here twice: line 9 and line 12"))
    'line 12: cooldown is here twice: line 9 and line 12'
    """

    line: int
    column: int | None
    message: str

    def __init__(self, line: int, column: int | None, message: str) -> None:
        super().__init__(line, column, message)
        self.line = line
        self.column = column
        self.message = message

    def __str__(self) -> str:
        return f"line {self.line}{'' if self.column is None else f', column {self.column}'}: {self.message}"


@dataclass(frozen=True, slots=True)
class Placed:
    """What a document says, and where.

    Attributes:
        data: the document as the standard library reads it.
        lines: the line, counted from 1, of every key of every table: where the key is written itself, or, when it only
            ever stands in front of a dot, where it does so first. Tables that are items of arrays are left out.
    """

    data: dict[str, Any]
    lines: dict[Path, int]


def read(text: str, *, format: Literal["toml", "json"]) -> Placed:  # noqa: A002 - what it is called everywhere
    r"""``text`` as data, with the line of every key.

    Args:
        text: the whole document; line ends may be those of Windows, and a byte order mark is passed over.
        format: ``"toml"`` or ``"json"``.

    Raises:
        PlacedError: for what is not of that format, a key that is there twice, a top level that is no table, nesting
            deeper than 32 levels, and for ``NaN`` and ``Infinity`` in JSON, which has no such numbers.

    >>> placed = read("[circuits.tts]\nfailures = 10", format="toml")
    >>> placed.data, placed.lines["circuits", "tts", "failures"]
    ({'circuits': {'tts': {'failures': 10}}}, 2)
    """
    text = text.removeprefix("\ufeff")
    _refuse_depth(text)
    if format == "json":
        data = _parsed(text, json.loads)
        scan = _Scan(text, json.loads)
        scan.value(())
    else:
        data = _parsed(text, tomllib.loads)
        scan = _Scan(text, _unquoted_toml)
        scan.document()
    if not isinstance(data, dict):
        line = scan.ruler.line(len(text) - len(text.lstrip()))
        raise PlacedError(line, None, f"an object is expected at the top, not {json.dumps(data)[:40]}")
    lines = _lines(scan.mentions)
    return Placed(data, {path: line for path, line in lines.items() if _is_path(path)})


def _refuse_depth(text: str) -> None:
    """Refuse what would exhaust the stack of a parser that nests as deeply as the document does."""
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > _DEEPEST:
            raise _too_deep(_Ruler(text).line(token.start()))


def _too_deep(line: int) -> PlacedError:
    return PlacedError(line, None, f"nested deeper than {_DEEPEST} levels")


def _parsed(text: str, loads: Callable[[str], Any]) -> Any:
    try:
        return loads(text)
    except json.JSONDecodeError as error:
        raise PlacedError(error.lineno, error.colno, error.msg) from None
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(text, str(error)) from None
    except ValueError:
        # Python's limit for the digits of a whole number: the one refusal of either parser that has no place.
        longest = max(re.finditer(r"[\d_]+", text), key=lambda found: len(found[0]))
        raise PlacedError(_Ruler(text).line(longest.start()), None, "a number of too many digits") from None


def _unquoted_toml(quoted: str) -> str:
    unquoted: str = tomllib.loads(f"key = {quoted}")["key"]
    return unquoted


def _toml_error(text: str, said: str) -> PlacedError:
    """What tomllib said, with its place; of two keys that clash, with the place of the other one too."""
    message, _, place = said.rpartition(" (at ")  # "line 3, column 5)" or "end of document)"
    where = [int(number) for number in re.findall(r"\d+", place)]
    ruler = _Ruler(text)
    end = ([-1, *ruler.ends][where[0] - 1] + where[1]) if where else len(text)
    # tomllib stops right behind the key (and value) that clashes: what is before is valid, and the last pair that is
    # complete there is the one.
    if message.startswith(_CLASHES):
        scan = _Scan(text[:end], _unquoted_toml)
        scan.document()
        steps, line = scan.mentions[scan.last]
        before = _lines(scan.mentions[: scan.last])
        # Below a plain value there is no table: then the key that clashes is one further up.
        for depth in range(len(steps), 0, -1):
            if steps[:depth] in before:
                return _twice(steps[:depth], before[steps[:depth]], line)
    if where:
        return PlacedError(where[0], where[1], message)
    return PlacedError(ruler.line(len(text.rstrip())), None, f"{message} at the end of the document")


def _lines(mentions: Iterable[tuple[_Steps, int]]) -> dict[_Steps, int]:
    """The line of each key: of the mention that is about itself, else of the first that passes through it."""
    lines: dict[_Steps, int] = {}
    itself: set[_Steps] = set()
    for steps, line in mentions:
        if steps in itself:
            raise _twice(steps, lines[steps], line)
        for depth in range(1, len(steps)):
            lines.setdefault(steps[:depth], line)
        lines[steps] = line
        itself.add(steps)
    return lines


def _twice(steps: _Steps, first: int, second: int) -> PlacedError:
    name = ".".join(
        step if _BARE.fullmatch(step) else json.dumps(step, ensure_ascii=not step.isprintable())
        for step in steps
        if isinstance(step, str)
    )
    where = f"twice in line {second}" if first == second else f"twice: line {first} and line {second}"
    return PlacedError(second, None, f"{name} is here {where}")


def _is_path(steps: _Steps) -> TypeGuard[Path]:
    return all(isinstance(step, str) for step in steps)


class _Ruler:
    """Turns positions in a text into lines."""

    def __init__(self, text: str) -> None:
        self.ends = [found.start() for found in re.finditer("\n", text)]

    def line(self, position: int) -> int:
        return bisect_left(self.ends, position) + 1


class _Scan:
    """Goes through a valid document once and notes every key.

    Attributes:
        mentions: the keys with their lines, in the order in which they are written; a dotted one is one mention.
        last: which of them was complete last, with its value.
    """

    def __init__(self, text: str, unquoted: Callable[[str], str]) -> None:
        self.text = text
        self.ruler = _Ruler(text)
        self.mentions: list[tuple[_Steps, int]] = []
        self.last = 0
        self._unquoted = unquoted
        self._at = 0
        self._arrays: dict[_Steps, int] = {}

    def document(self) -> None:
        """A whole TOML document."""
        table: _Steps = ()
        while mark := self._next():
            if mark == "[":
                table = self._header()
            else:
                self._pair(table)

    def value(self, steps: _Steps) -> None:
        """A value, such as a whole JSON document."""
        opening = self._next()
        if opening not in ("[", "{"):
            found = self._take(_SCALAR)
            # TOML has these numbers under other names.
            if found in _NO_NUMBERS:
                raise PlacedError(self.ruler.line(self._at), None, f"{found} is not a number that JSON has")
            return
        self._at += 1
        count = 0
        # The empty mark is the end of a text that is cut off inside this value.
        while self._next() not in ("]", "}", ""):
            if opening == "{":
                self._pair(steps)
            else:
                self.value((*steps, count))
                count += 1
        self._at += 1

    def _header(self) -> _Steps:
        opening = self._take(_OPEN)
        line = self.ruler.line(self._at)
        steps = self._key(())
        if opening.startswith("[["):
            self._arrays[steps] = count = self._arrays.get(steps, -1) + 1
            steps = (*steps, count)
        self.last = self._note(steps, line)
        self._take(_CLOSE)
        return steps

    def _pair(self, table: _Steps) -> None:
        line = self.ruler.line(self._at)
        steps = self._key(table)
        this = self._note(steps, line)
        self._take(_EQUALS)
        self.value(steps)
        # A value that is cut off, which ends behind the text, is not complete.
        if self._at <= len(self.text):
            self.last = this

    def _note(self, steps: _Steps, line: int) -> int:
        if len(steps) > _DEEPEST:
            raise _too_deep(line)
        self.mentions.append((steps, line))
        return len(self.mentions) - 1

    def _key(self, table: _Steps) -> _Steps:
        steps = (*table, self._part())
        while found := _DOT.match(self.text, self._at):
            self._at = found.end()
            # [a.b] below [[a]] is in the latest item of a.
            latest = (self._arrays[steps],) if steps in self._arrays else ()
            steps = (*steps, *latest, self._part())
        return steps

    def _part(self) -> str:
        part = self._take(_PART)
        return self._unquoted(part) if part[0] in "\"'" else part

    def _next(self) -> str:
        """The next character that means something; none at the end."""
        self._take(_BLANK)
        return self.text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self._at)
        assert found  # noqa: S101 - the document is valid, so the next thing in it is what is expected here
        self._at = found.end()
        return found[0]
