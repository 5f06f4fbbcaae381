"""Patterns of log lines: what may be one, what it finds, and that none can find what recloser itself logs."""

from __future__ import annotations

import ast
import pickle
import re
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import recloser
from recloser import ConfigurationError, PausedError, ProvidersExhaustedError
from recloser.core.patterns import LOOKED_AT, OWN_LINES, LogPattern, Patterns, looked_at, quotes_circuits
from recloser.testing import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = "it matches what recloser itself logs"


def parse(value: object) -> LogPattern:
    return LogPattern.parse("patterns", value)


def refused(value: object) -> str:
    """What the error says is allowed."""
    with pytest.raises(ConfigurationError) as caught:
        parse(value)
    assert (caught.value.key, caught.value.value) == ("patterns", value)
    return caught.value.allowed


# -- one pattern -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["HTTP 502", "elevenlabs: http 502 bad gateway", "Http 5020"])
def test_a_text_is_found_anywhere_in_large_and_small_letters(line: str) -> None:
    """Whoever writes down what they saw in the log need not know how it was spelled."""
    assert parse("http 502").search(line)
    assert parse("HTTP 502").search(line)


def test_a_text_is_not_a_regular_expression() -> None:
    """Dots, brackets and stars of an error are what they are."""
    pattern = parse("quota (monthly) [x.y]*")
    assert pattern.search("QUOTA (MONTHLY) [X.Y]* exceeded")
    assert not pattern.search("quota monthly x.y exceeded")


def test_letters_of_other_languages_are_folded_too() -> None:
    """Large and small letters are those of the language, not of ASCII."""
    assert parse("GRÖSSE ungültig").search("größe UNGÜLTIG")


def test_a_regular_expression_is_what_it_says() -> None:
    """In a file or compiled, with the flags that it was given, and no others."""
    assert parse({"regex": r"HTTP 5\d\d"}).search("elevenlabs: HTTP 503")
    assert not parse({"regex": r"HTTP 5\d\d"}).search("http 503")
    assert parse({"regex": r"(?i)HTTP 5\d\d"}).search("http 503")
    assert parse(re.compile(r"http 5\d\d", re.IGNORECASE)).search("HTTP 503")
    assert parse(re.compile(r"http 503$")) == parse({"regex": r"http 503$"})


def test_a_pattern_is_a_frozen_value() -> None:
    """Equal patterns are equal wherever they were written, and can be kept, sent and shown."""
    text, regex = parse("http 502"), parse({"regex": r"HTTP 5\d\d"})
    assert parse(text) is text
    assert (text, regex) == pickle.loads(pickle.dumps((text, regex)))
    assert len({text, regex, parse("http 502"), parse({"regex": r"HTTP 5\d\d"})}) == 2
    assert (str(text), str(regex)) == ("'http 502'", r"regex 'HTTP 5\\d\\d'")
    with pytest.raises(FrozenInstanceError):
        text.text = "x"  # type: ignore[misc]


@pytest.mark.parametrize("value", ["", " ", "\n\t", "x" * 501, {"regex": ""}, {"regex": "  "}, {"regex": "x" * 501}])
def test_a_text_that_says_nothing_or_too_much_is_refused(value: object) -> None:
    """Blank, it would match everything; longer than anybody writes, nothing."""
    assert refused(value) == "a text of 1 to 500 characters that is not blank"


@pytest.mark.parametrize(
    ("regex", "why"),
    [
        ("[", "unterminated character set at position 0"),
        ("http (50", "missing ), unterminated subpattern at position 5"),
        ("x{99999999999999}", "the repetition number is too large"),
    ],
)
def test_a_regular_expression_that_is_none_is_refused_with_why_and_where(regex: str, why: str) -> None:
    """A slip in a rules file is found without a debugger."""
    assert refused({"regex": regex}) == f"a regular expression; this is none: {why}"


@pytest.mark.parametrize("regex", [".*", "x*", "(http 502)?", "^", "$", "http 502|", "(?!http)"])
def test_a_regular_expression_that_matches_every_message_is_refused(regex: str) -> None:
    """What matches nothing at all matches everything."""
    assert refused({"regex": regex}) == "a regular expression that does not match every message, as this does"


@pytest.mark.parametrize(
    "value",
    [None, 502, True, b"http 502", re.compile(rb"http 502"), ["http 502"], {}, {"regex": 5}, {"regexp": "x"},
     {"regex": "x", "flags": "i"}],
    ids=repr,
)  # fmt: skip
def test_anything_else_is_refused(value: object) -> None:
    """What is not clearly a pattern is an error rather than a guess."""
    assert "a compiled regular expression" in refused(value)


# -- our own lines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["recloser", "failed", "paused", "is OPEN by", "RECLOSER.alerts", "failures in", {"regex": r"\w+"}, {"regex": "."},
     {"regex": r"\w+ is (OPEN|PAUSED)"}, {"regex": r"\d+ failures"}, re.compile("ReCloser", re.IGNORECASE)],
    ids=str,
)  # fmt: skip
def test_a_pattern_that_would_feed_on_itself_is_refused(value: object) -> None:
    """A circuit whose trip is logged must not trip by the line that says so; the error shows the line."""
    assert OWN in refused(value)


@pytest.mark.parametrize(
    "value",
    ["elevenlabs", "http 502", "timeout", "timed out", "connection closed", "rate limit", "error", "synthesis failed",
     "overloaded", "429", {"regex": r"\b5\d\d\b"}, {"regex": r"(?i)elevenlabs.*failed"}],
    ids=str,
)  # fmt: skip
def test_patterns_of_providers_are_none_of_ours(value: object) -> None:
    """Names of providers, statuses and the words of their errors are what patterns are made of."""
    assert parse(value)


def logged() -> Iterator[str]:
    """The text of every record of level warning or above that the sources write."""
    for path in Path(recloser.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                logs = isinstance(node.func.value, ast.Name) and node.func.value.id == "_log"
                if logs and node.func.attr in {"warning", "error", "exception", "critical"}:
                    assert isinstance(node.args[0], ast.Constant)
                    yield str(node.args[0].value)


def test_every_line_that_the_package_logs_is_among_its_own() -> None:
    """A new warning somewhere in the package is known here, or this fails."""
    lines = {re.sub("%[sr]", "zq", re.sub("%[dg]", "7", line)) for line in logged()}
    assert len(lines) > 10
    assert lines <= set(OWN_LINES)


def test_what_alerts_and_exceptions_say_is_among_it() -> None:
    """The titles of a whole incident, and what a paused call raises, whatever the names and numbers in them."""
    with Sandbox() as box:
        tts, other = box.circuit("tts"), box.circuit("other")
        speak = box.fallback(tts, other)
        for _ in range(3):
            box.trip("tts")
            box.trip("other")
            with pytest.raises(PausedError) as caught:
                tts.check()
            box.heal("tts")
            box.clock.advance("1h")
        box.pause("tts", reason="x", by="me")
        assert speak.order
        titles = {alert.title for alert in box.alerts}
    assert len(titles) > 2
    for line in (*titles, str(caught.value), str(ProvidersExhaustedError({"tts": ValueError("x")}))):
        words = re.sub(r"\b(?:tts|other|me|fallback\S*)", r"\\S+", re.escape(line.partition(",")[0].partition(": ")[0]))
        assert OWN in refused({"regex": re.sub(r"\d+", r"\\d+", words)}), line


def test_what_quotes_a_circuit_is_known_by_its_words() -> None:
    """An error that is quoted by a paused circuit, or a fallback that has tried all, was counted when it happened."""
    with Sandbox() as box:
        box.circuit("tts", failures=1).record_failure("HTTP 502")
        with pytest.raises(PausedError) as caught:
            box.circuit("tts").check()
    assert "HTTP 502" in str(caught.value)
    assert quotes_circuits(f"dialling failed: {caught.value}")
    assert quotes_circuits(f"Traceback ...\n{ProvidersExhaustedError({'tts': OSError('HTTP 502')})}")
    assert not quotes_circuits("dialling failed: HTTP 502, the door is open by now")


# -- how much is looked at ---------------------------------------------------------------------------------------------


def test_only_the_beginning_and_the_end_of_a_long_message_are_looked_at() -> None:
    """A megabyte of HTML costs no more than a line; the last line of a traceback is seen."""
    pattern, padding = parse("http 502"), "x" * LOOKED_AT
    assert pattern.search("HTTP 502" + padding)
    assert pattern.search(padding + "HTTP 502")
    assert not pattern.search(padding + "HTTP 502" + padding)
    assert not parse("ab").search("x" * 999 + "a" + padding + "b" + "x" * 999)


@given(st.text(max_size=5000))
@example("x" * LOOKED_AT)
@example("x" * (LOOKED_AT + 1))
def test_what_is_looked_at_is_bounded(text: str) -> None:
    """Whatever the message is, it is all of it or two thousand characters, and its beginning and its end are there."""
    seen = looked_at(text)
    assert seen == text if len(text) <= LOOKED_AT else len(seen) == LOOKED_AT + 3
    assert text.startswith(seen[: LOOKED_AT // 2])
    assert text.endswith(seen[-LOOKED_AT // 2 :])


# -- patterns of circuits ----------------------------------------------------------------------------------------------


def test_each_circuit_is_found_once_with_the_pattern_that_found_it() -> None:
    """However many patterns match, one line is one failure of a circuit; it may be one of several circuits."""
    patterns = Patterns.parse(
        "patterns",
        {
            "elevenlabs": [{"regex": "HTTP 50[23]"}, "http 502", "bad gateway", {"regex": "Bad"}],
            "cartesia": [{"regex": r"HTTP 5\d\d"}, {"regex": "Gateway"}],
            "twilio": ["21211"],
            "nothing": [],
        },
    )
    found = patterns.find("HTTP 502 Bad Gateway")
    assert found == {"elevenlabs": LogPattern("http 502"), "cartesia": parse({"regex": r"HTTP 5\d\d"})}
    assert patterns.find("HTTP 404 Not Found") == {}


def test_patterns_are_a_mapping_that_can_be_shown_and_compared() -> None:
    """What was read is what was written, so that a reload can tell whether anything changed."""
    written = {"elevenlabs": ["http 502"], "twilio": []}
    patterns = Patterns.parse("patterns", written)
    assert dict(patterns) == {"elevenlabs": (LogPattern("http 502"),), "twilio": ()}
    assert patterns == Patterns.parse("patterns", patterns) != Patterns()
    assert (len(patterns), list(patterns), len(Patterns())) == (2, ["elevenlabs", "twilio"], 0)
    assert repr(patterns) == "Patterns({'elevenlabs': (LogPattern(text='http 502', regex=None),), 'twilio': ()})"


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ([], "patterns"),
        ("http 502", "patterns"),
        ({"eleven labs": ["http 502"]}, "patterns"),
        ({7: ["http 502"]}, "patterns"),
        ({"tts": "http 502"}, "patterns['tts']"),
        ({"tts": None}, "patterns['tts']"),
        ({"tts": {"regex": "x"}}, "patterns['tts']"),
        ({"tts": ["http 502", " "]}, "patterns['tts'][1]"),
    ],
)
def test_what_is_no_mapping_of_patterns_is_refused_where_it_is_written(written: object, key: str) -> None:
    """One text in the place of a list would be a pattern for each of its letters."""
    with pytest.raises(ConfigurationError) as caught:
        Patterns.parse("patterns", written)
    assert caught.value.key == key


@given(st.text(max_size=3000), st.text(min_size=1, max_size=5).filter(str.strip))
def test_a_text_that_stands_in_a_short_message_is_always_found(around: str, text: str) -> None:
    """Finding by the collection and by the pattern alone is the same."""
    try:
        pattern = parse(text)
    except ConfigurationError:
        return
    patterns = Patterns({"tts": [pattern]})
    for message in (text + around, around[: LOOKED_AT // 2] + text):
        assert pattern.search(message)
        assert patterns.find(message) == {"tts": pattern}
