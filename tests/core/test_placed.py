"""Every key of a rules file is known with the line in which it is written."""

from __future__ import annotations

import json
import math
import re
import tomllib
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.placed import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOKALIKES = st.sampled_from(
    [
        "a = 1", "[a]\nb = 2\n", '"a": {', "}", "]]", "#", '"""', "'''", "\\", '\\"', "a.b", "", "\r\n", '{ "b": [',
        "a\tb = 'c'",
    ]
)  # fmt: skip
KEYS = st.one_of(st.sampled_from("abc"), st.from_regex(r"[\w-]{1,6}", fullmatch=True), LOOKALIKES, st.text(max_size=6))
STRINGS = st.one_of(LOOKALIKES, st.text(max_size=12))
PLAIN = st.one_of(
    STRINGS, st.integers(-(10**6), 10**6), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
TIMES = st.one_of(st.dates(), st.times(), st.datetimes(), st.datetimes(timezones=st.just(None)))


def tables(plain: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of anything, some keys of which look like the rest of a document."""
    values = st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=12,
    )
    return st.dictionaries(KEYS, values, max_size=4)


def paths(table: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path of keys through the tables of a table, not through its arrays."""
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


def holds(line: str, key: str, loads: Callable[[str], Any]) -> bool:
    """Whether the key is written in the line, bare or in quotes."""
    if re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", line) and re.fullmatch(r"[A-Za-z0-9_-]+", key):
        return True
    quoted = re.findall(r'"(?:[^"\\]|\\.)*"', line)
    return any(loads(each) == key for each in quoted) or f"'{key}'" in line


def from_toml(quoted: str) -> str:
    return tomllib.loads(f"key = {quoted}")["key"]


def prefix_paths(lines: list[str], count: int) -> set[tuple[str, ...]] | None:
    """What the standard library finds in the first lines; None where they are no document by themselves."""
    try:
        return set(paths(tomllib.loads("\n".join(lines[:count]))))
    except tomllib.TOMLDecodeError:
        return None


@given(tables(PLAIN | TIMES), st.booleans(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_every_key_of_toml_has_the_line_it_is_written_in(
    data: dict[str, Any], multiline: Any, end: str, mark: str
) -> None:
    """Whatever a document holds, its keys and no others are placed, each where the document begins to have it."""
    text = tomli_w.dumps(data, multiline_strings=multiline).replace("\r\n", "\n").replace("\n", end)
    found = read(mark + text, format="toml")
    assert found.data == tomllib.loads(text)
    assert set(found.lines) == set(paths(found.data))
    lines = text.replace("\r\n", "\n").split("\n")
    for path, line in found.lines.items():
        assert holds(lines[line - 1], path[-1], from_toml), (path, line, text)
    # An oracle that knows nothing of the scan: cut behind any line, a document has the keys above the cut.
    for count in range(len(lines) + 1):
        there = prefix_paths(lines, count)
        if there is not None:
            assert there == {path for path, line in found.lines.items() if line <= count}


@given(tables(PLAIN | st.none()), st.sampled_from([None, 0, 2, "\t"]), st.booleans(), st.sampled_from(["", "\ufeff"]))
def test_every_key_of_json_has_the_line_it_is_written_in(
    data: dict[str, Any], indent: Any, ascii_only: Any, mark: str
) -> None:
    """Whatever an object holds and however it is laid out, its keys and no others are placed."""
    text = json.dumps(data, indent=indent, ensure_ascii=ascii_only)
    found = read(mark + text, format="json")
    assert found.data == data
    assert set(found.lines) == set(paths(data))
    lines = text.split("\n")
    for path, line in found.lines.items():
        assert holds(lines[line - 1], path[-1], json.loads)


@given(tables(PLAIN))
def test_the_lines_of_json_with_one_key_each_are_counted(data: dict[str, Any]) -> None:
    """With a line for every key and bracket, the line of a key follows from what stands before it."""
    found = read(json.dumps(data, indent=1), format="json")

    def expect(value: Any, above: tuple[str, ...] | None, line: int) -> int:
        if not value or not isinstance(value, (dict, list)):
            return line
        for key in value:
            line += 1
            here = above if above is None or isinstance(value, list) else (*above, key)
            if isinstance(value, dict):
                if here is not None:
                    assert found.lines[here] == line
                line = expect(value[key], here, line)
            else:
                line = expect(key, None, line)
        return line + 1

    expect(data, (), 1)


NASTY = {
    "headers and dotted keys": (
        """
        # [comment]
        x.y = 1    # x.z = 2
        x . 'z w' = 2
        [ a . "b" ]
        c.d.e = 1979-05-27 07:32:00
        c.d.f = 07:32:00 # g = 1
        [a]
        z = 1
        [[ t ]]
        k = 1
        [t.sub]
        v = 1
        [[t]]
        k = 1
        [t.sub]
        v = 1
        """,
        {
            "x": 2, "x.y": 2, "x.z w": 3, "a": 7, "a.b": 4, "a.b.c": 5, "a.b.c.d": 5, "a.b.c.d.e": 5, "a.b.c.d.f": 6,
            "a.z": 8, "t": 9,
        },
    ),
    "strings over several lines": (
        '''
        a = """
        b = 1
        [c]
        "" \\""" d = 1 """""
        e = \'\'\'f = 1 \\
        [g]\'\'\'\'\'
        h = """"""
        i = ''
        j = "\\\\"
        k = '\\'
        l = 1
        ''',
        {"a": 1, "e": 5, "h": 7, "i": 8, "j": 9, "k": 10, "l": 11},
    ),
    "arrays and inline tables": (
        """
        a = [ # [b]
          { c = 1, d = ["]", '}', [ ] ] }, # e = [
          { c = 2 },
        ]
        f = { g = { h = 1, "i.j" = "}" }, k.l = [1, 2,], m = {} }
        n = [[1, 2], []]
        o = 1
        """,
        {
            "a": 1, "f": 5, "f.g": 5, "f.g.h": 5, "f.g.i.j": 5, "f.k": 5, "f.k.l": 5, "f.m": 5, "n": 6, "o": 7,
        },
    ),
    "quoted keys": (
        """
        "azure-tts" = 1
        '"x" = 1' = 2
        "\\u00e9\\t\\"\\U0001F600" = 3
        "" = 4
        """,
        {"azure-tts": 1, '"x" = 1': 2, 'é\t"😀': 3, "": 4},
    ),
    "numbers of every kind": (
        """
        a = +1_000.5e-3
        b = 0xdead_beef
        c = -inf
        d = true
        e = 1979-05-27T07:32:00-07:00
        f = 1979-05-27
        g = nan
        """,
        {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7},
    ),
}  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize(("text", "lines"), NASTY.values(), ids=NASTY)
def test_a_nasty_toml_document(text: str, lines: dict[str, int], end: str) -> None:
    """What looks like a key in a string, a comment or an array is none, and every way to write one is known."""
    found = read(dedent(text).lstrip("\n").replace("\n", end), format="toml")
    assert {".".join(path): line for path, line in found.lines.items()} == lines
    assert set(found.lines) == set(paths(found.data))


def test_a_nasty_json_document() -> None:
    """Braces, colons and quotes inside strings are text; keys in the items of arrays have no path."""
    text = r"""
{ "a\"{": "b\":{", "c"
  : {"d": [ {"e": 1}, {"e": {"f": 2}}, "\\"],
"\u00e9": null, "": -1.5e+3}
, "g\/h": [], "\ud83d\ude00": "]"
}"""
    found = read(text.replace("\n", "\r\n"), format="json")
    assert found.lines == {
        ('a"{',): 2, ("c",): 2, ("c", "d"): 3, ("c", "é"): 4, ("c", ""): 4, ("g/h",): 5, ("😀",): 5,
    }  # fmt: skip
    assert found.data == json.loads(text)


def test_the_numbers_that_toml_has_are_left_to_who_reads_them() -> None:
    """TOML knows infinity and nan under names of its own; whether a rule may be so is not a question of syntax."""
    data = read("a = inf\nb = nan\nNaN = 1", format="toml").data
    assert data["a"] == math.inf
    assert math.isnan(data["b"])
