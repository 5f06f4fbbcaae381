"""Durations are read as people write them, and written so that people can read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.duration import format_duration, parse_duration

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90.0), (0.5, 0.5), (0, 0.0), (-3, -3.0), ("90s", 90.0), ("5m", 300.0), ("1h30m", 5400.0),
        ("1h 30m", 5400.0), (" 2 d ", 172800.0), ("250ms", 0.25), (".5s", 0.5), ("1.5h", 5400.0), ("1m500ms", 60.5),
    ],
)  # fmt: skip
def test_the_forms_there_are(written: float | str, seconds: float) -> None:
    """Numbers are seconds and keep their sign; strings carry their units."""
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "5", "m", "5 m s", "1,5s", "5M", "1e3s", "-5s", "5s!", "5sm", True, None, [], math.nan, math.inf, -math.inf],
    ids=repr,
)
def test_anything_else_is_refused(written: object) -> None:
    """What is not clearly a duration is an error rather than a guess."""
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(written)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(sorted(UNITS))), min_size=1, max_size=4))
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    """However many parts a duration is written in, they are summed."""
    written = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration(written) == pytest.approx(sum(number * UNITS[unit] for number, unit in parts))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (-5, "0s"), (0.25, "250ms"), (1, "1s"), (2.5, "2.5s"), (61.4, "1m1s"), (300, "5m"), (3600, "1h"),
        (5400, "1h30m"), (86400, "1d"), (90061, "1d1h"),
    ],
)  # fmt: skip
def test_lengths_read_at_a_glance(seconds: float, text: str) -> None:
    """At most two units, none of them zero."""
    assert format_duration(seconds) == text


@given(st.floats(0.001, 10_000_000))
def test_what_is_written_can_be_read_again(seconds: float) -> None:
    """The text of a length is a duration itself, within a tenth of the length or a tenth of a second."""
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.1, abs=0.1)
