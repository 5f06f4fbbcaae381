"""What cannot be read is refused in one line that says what is wrong, with the line of the document to blame."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core import placed
from recloser.core.placed import PlacedError, read

TWICE_TOML = {
    "a pair": ("a = 1\n\na = 2", "a is here twice: line 1 and line 3"),
    "a pair in one line": ("t = { a = 1, a = 2 }", "t.a is here twice in line 1"),
    "a pair in an item": ("[x]\nl = [{ a = 1 }, { a = 1, a = 2 }]", "x.l.a is here twice in line 2"),
    "a quoted pair": ('[a]\nb-1 = 1\n"b-1" = 2', "a.b-1 is here twice: line 2 and line 3"),
    "a key to be quoted": ("'b c' = 1\n\"b c\" = 2", '"b c" is here twice: line 1 and line 2'),
    "a key not to be printed": ('"\\u2028" = 1\n"\\u2028" = 2', '"\\u2028" is here twice: line 1 and line 2'),
    "a header": ("[c.tts]\nx = 1\n[c.stt]\n[c.tts]", "c.tts is here twice: line 1 and line 4"),
    "a header passed before": ("[a.b]\n[a]\n[a]", "a is here twice: line 2 and line 3"),
    "a table over a value": ("a = 1\n[a.b.c]", "a is here twice: line 1 and line 2"),
    "a table over an inline one": ("a = { x = {} }\n\n[a.x.z]", "a.x is here twice: line 1 and line 3"),
    "an inline table over another": ("a = { x = 1 }\na = { y = { z = 2 } }", "a is here twice: line 1 and line 2"),
    "a value of several lines": ("a = 1\n\na = [\n{ y = 2 },\n]", "a is here twice: line 1 and line 3"),
    "an inline table over a dotted one": ("a.b = 1\na = { y = 2 }", "a is here twice: line 1 and line 2"),
    "a dotted key over a value": ("t.x = 1\nt.x.y = { z = 1 }", "t.x is here twice: line 1 and line 2"),
    "a dotted key over a header": ("[a.b]\n[a]\nb.c = 1", "a.b is here twice: line 1 and line 3"),
    "a header over a dotted key": ("[a]\nb.c = 1\n[a.b]\n", "a.b is here twice: line 2 and line 3"),
    "in an inline table": ("a = { b = { c = 1 }, b.d = 1, e = 2 }", "a.b is here twice in line 1"),
    "a table over an array": ("[[a]]\n[[a]]\n[a]\n", "a is here twice: line 1 and line 3"),
    "an array over a table": ("[a]\n[[a]]", "a is here twice: line 1 and line 2"),
    "an array over an inline one": ("a = []\n[[a]]", "a is here twice: line 1 and line 2"),
    "in the second item": ("[[a]]\nx = 1\n[[a]]\nx = 1\nx = 2\n", "a.x is here twice: line 4 and line 5"),
    "through an array": ("[[x.a]]\nk = 1\n[x]\na.b = 1", "x.a is here twice: line 1 and line 4"),
    "a table of the second item": (
        "[[a]]\n[a.b]\n[[a]]\n[a.b]\nx = 1\n[a.b]\n", "a.b is here twice: line 4 and line 6",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), TWICE_TOML.values(), ids=TWICE_TOML)
def test_a_key_that_toml_has_twice_is_named_with_both_lines(text: str, message: str) -> None:
    """Whichever two ways of writing a key clash, both are named, however the file goes on."""
    for rest in ("", "\nzz = 1\n[zz2]\n" if "\n" in text else "\nzz = 1", "\n= broken ]"):
        with pytest.raises(PlacedError) as caught:
            read(text + rest, format="toml")
        assert caught.value.message == message
        assert caught.value.line == int(message.rsplit(maxsplit=1)[-1])
        assert caught.value.column is None


TWICE_JSON = {
    "at the top": ('{"tts": 1,\n"x": {"tts": 2},\n"tts": 3}', "tts is here twice: line 1 and line 3"),
    "below": ('{"a b": {\n"c": [{"c": 1}],\n\n"c": 2}}', '"a b".c is here twice: line 2 and line 4'),
    "in one line": ('{"a": [{"b": 1}, {"b": 1, "\\u0062": 2}]}', "a.b is here twice in line 1"),
    "not to be printed": ('{"\\ud800": 1,\n"\\ud800": 2}', '"\\ud800" is here twice: line 1 and line 2'),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), TWICE_JSON.values(), ids=TWICE_JSON)
def test_a_key_that_json_has_twice_is_named_with_both_lines(text: str, message: str) -> None:
    """Python's own reader would keep the last of them and say nothing."""
    with pytest.raises(PlacedError) as caught:
        read(text, format="json")
    assert caught.value.message == message
    assert caught.value.line == int(message.rsplit(maxsplit=1)[-1])


@pytest.mark.parametrize(
    ("form", "text", "line", "column", "message"),
    [
        ("toml", "a = 1\nb = = 2", 2, 5, "Invalid value"),
        ("toml", "[a]\nx = 1\n[a.b] y", 3, 7, "Expected newline or end of document after a statement"),
        ("toml", "\ufeffa\r\n= 1", 1, 2, "Expected '=' after a key in a key/value pair"),
        ("toml", "a = 1\nb = [1,\n\n", 2, None, "Invalid value at the end of the document"),
        ("toml", "a = 1\nb = [2 # c", 2, None, "Unclosed array at the end of the document"),
        ("json", '{"a": 1,\r\n "b" 2}', 2, 6, "Expecting ':' delimiter"),
        ("json", "", 1, 1, "Expecting value"),
        ("json", '\n{"a": NaN}', 2, None, "NaN is not a number that JSON has"),
        ("json", '{"a": [1,\n{"b": -Infinity}]}', 2, None, "-Infinity is not a number that JSON has"),
        ("json", "Infinity", 1, None, "Infinity is not a number that JSON has"),
        ("json", "\n\n [1, 2]", 3, None, "an object is expected at the top, not [1, 2]"),
        ("json", '"tts"', 1, None, 'an object is expected at the top, not "tts"'),
        ("json", "null", 1, None, "an object is expected at the top, not null"),
        ("json", '{"a": 12,\n"b": ' + "9" * 5000 + "}", 2, None, "a number of too many digits"),
        ("toml", "a = 12\nb = " + "9_" * 5000 + "9\nc = 3", 2, None, "a number of too many digits"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    form: Any, text: str, line: int, column: int | None, message: str
) -> None:
    """The place is that of the mistake, and the text is for people who did not write a parser."""
    with pytest.raises(PlacedError) as caught:
        read(text, format=form)
    error = caught.value
    assert (error.line, error.column, error.message) == (line, column, message)
    assert str(error) == f"line {line}{f', column {column}' if column else ''}: {message}"
    assert isinstance(error, ValueError)
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("form", "begin", "deeper", "end"),
    [
        ("json", '{\n"a":', "[", ""), ("json", '{\n"a":', '{"b":', "1"), ("json", '{\n"a":', "[", "]"),
        ("toml", "\na = ", "[", ""), ("toml", "\na = ", "{b=", "1"), ("toml", "\n", "a.", "a = 1"),
        ("toml", "\n[", "a.", "a]"), ("toml", "\n[", "[", "]"),
    ],
)  # fmt: skip
def test_nesting_without_end_is_refused(form: Any, begin: str, deeper: str, end: str) -> None:
    """A file that would exhaust the stack is refused like any other mistake, at the same depth on every Python."""
    # tomllib itself takes a time that grows with the square of a dotted key.
    for levels in (33, 300, 400 if deeper == "a." else 100_000):
        with pytest.raises(PlacedError) as caught:
            read(begin + deeper * levels + end, format=form)
        assert (caught.value.line, caught.value.message) == (2, "nested deeper than 32 levels")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("json", "{" + '"a":{' * 31 + "}" * 32),
        ("toml", "a = " + "[" * 32 + "]" * 32),
        ("toml", "a = " + "{b=" * 31 + "1" + "}" * 31),
        ("toml", "".join(f"[[t]]\na = '[{{'\nb = 1 # [\n[t.c{index}]\n" for index in range(50))),
    ],
)
def test_what_is_deep_enough_for_anybody_is_read(form: Any, text: str) -> None:
    """Brackets that are closed, or only text, are no depth."""
    assert read(text, format=form).lines


def test_a_clash_that_cannot_be_placed_is_told_as_it_came() -> None:
    """A reader that one day calls something a clash which is none is quoted, not contradicted."""
    error = placed._toml_error("a = 1\nb = 2", "Cannot overwrite a value (at line 2, column 6)")
    assert (error.line, error.column, error.message) == (2, 6, "Cannot overwrite a value")


def test_an_error_travels_between_processes() -> None:
    """It is pickled with its place."""
    error = pickle.loads(pickle.dumps(PlacedError(3, 7, "odd")))
    assert (error.line, error.column, error.message, str(error)) == (3, 7, "odd", "line 3, column 7: odd")


@given(st.text(max_size=40) | st.text(alphabet="ab.[]{}='\",#:\n \\1", max_size=40), st.sampled_from(["toml", "json"]))
def test_any_text_is_read_or_refused(text: str, form: Any) -> None:
    """No text ends in anything but data with lines, or one error with a line that there is."""
    try:
        found = read(text, format=form)
    except PlacedError as refused:
        error = refused
    else:
        assert all(1 <= line <= text.count("\n") + 1 for line in found.lines.values())
        return
    assert 1 <= error.line <= text.count("\n") + 1
    assert len(str(error).splitlines()) == 1
