"""Live settings as a backend keeps them: what is bad in them is passed over, reported, and the last good one stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser import ConfigurationError
from recloser.core.live import NO_LIVE, Live, Unsaid
from recloser.core.spoken import assignments, shown

FAILURES = ("circuits", "tts", "failures")


def doc(*entries):
    return json.dumps([dict(zip(("path", "value", "by", "at"), each, strict=False)) for each in entries])


def test_a_value_is_kept_with_who_said_it_and_when():
    """What is written is what is read, and a later change keeps it."""
    text = NO_LIVE.with_changes({FAILURES: 5, ("defaults", "cooldown"): "2m"}, "ana", 86400.0)
    live = NO_LIVE.read(7, text)
    assert live.version == 7
    assert live.sheet.values[FAILURES] == (5, "live, by ana at 1970-01-02 00:00 UTC")
    assert live.sheet.defaults["cooldown"].value == 120.0
    again = live.read(8, live.with_changes({FAILURES: None, ("mode",): "off"}, "bob", 0.0))
    assert again.sheet.values[FAILURES].value is None
    assert again.entries["defaults", "cooldown"].by == "ana"
    gone = again.read(9, again.with_changes({FAILURES: Unsaid(), ("mode",): Unsaid(), ("x",): Unsaid()}, "bob", 0.0))
    assert set(gone.sheet.values) == {("defaults", "cooldown")}


def test_a_bad_value_is_refused_where_it_is_entered():
    """Nothing is written then."""
    with pytest.raises(ConfigurationError, match=r"circuits\.tts\.failures"):
        NO_LIVE.with_changes({FAILURES: 0}, "ana", 0.0)


def test_a_bad_value_that_got_in_otherwise_is_passed_over_and_the_last_good_one_stays():
    """It is reported; what is said beside it holds."""
    good = NO_LIVE.read(1, doc((FAILURES, 5, "ana", 0)))
    bad = good.read(2, doc((FAILURES, -1, "eve", 0), (("mode",), "observe", "bob", 0), (("defaults", "x"), 1)))
    assert bad.sheet.values[FAILURES].value == 5
    assert bad.sheet.mode.value == "observe"
    assert len(bad.problems) == 2
    assert "by eve" in bad.problems[0]
    assert "by somebody" in bad.problems[1]
    assert bad.readable


@given(
    st.one_of(
        st.text(),
        st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
            json.dumps
        ),
    )
)
def test_nothing_that_is_written_there_can_break_who_reads_it(text):
    """Whatever it is, the last good settings stay."""
    good = NO_LIVE.read(1, doc((FAILURES, 5, "ana", 0)))
    found = good.read(2, text)
    assert isinstance(found, Live)
    assert found.readable or (found.sheet == good.sheet and len(found.problems) == 1)


@pytest.mark.parametrize(
    "entry", [{"path": [], "value": 1}, {"path": ["mode"]}, {"path": ["mode"], "value": 1, "at": 1e300}, 3, None]
)
def test_an_entry_of_another_shape_makes_all_of_it_unreadable(entry):
    """The last good settings stay."""
    good = NO_LIVE.read(1, doc((FAILURES, 5, "ana", 0)))
    found = good.read(2, json.dumps([entry]))
    assert not found.readable
    assert found.sheet == good.sheet


def test_words_become_values_and_values_words():
    """As they are typed on a command line and in variables."""
    words = ["failures=5", "slow-rate=0.5", "window=2m", "timeout=none", "order=b, a", "needs="]
    found = assignments(words)
    assert found == {
        "failures": 5, "slow_rate": 0.5, "window": "2m", "timeout": "none", "order": ["b", "a"], "needs": []
    }  # fmt: skip
    for wrong in ("failures", "=5", "failures=5"):
        with pytest.raises(ConfigurationError, match=r"name=value|twice"):
            assignments([*words, wrong])
    assert [shown(*each) for each in (("window", 120.0), ("failures", None), ("slow_rate", 0.5), ("mode", "off"))] == [
        "2m", "none", "0.5", "off"
    ]  # fmt: skip
    assert shown("log_patterns", ("http 502", {"regex": "5.."})) == "http 502,/5../"
