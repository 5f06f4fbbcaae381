"""One layer of settings: every value is checked by the same rules, in whichever shape and layer it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser import ConfigurationError, Policy
from recloser.core.policy import FIELDS, Mode
from recloser.core.sheet import Sheet, Value, check, read


def said(data):
    """What the tables say, by path, without places; nothing in them may be a problem."""
    sheet, problems = read(data, ".".join)
    assert problems == ()
    return {".".join(path): value.value for path, value in sheet.values.items()}


def wrong(data):
    """What is wrong with the tables, by path."""
    _, problems = read(data, ".".join)
    return {".".join(problem.path): problem.text for problem in problems}


def test_every_table_is_read():
    """Each value is kept as a policy keeps it, under its path."""
    data = {
        "$schema": "recloser/rules.schema.json",
        "mode": "observe",
        "defaults": {"cooldown": "10m", "failures": "none"},
        "circuits": {"eleven.labs": {"window": "2m", "log_patterns": ["http 502", {"regex": "5\\d\\d"}]}},
        "fallbacks": {"Agent.speak": {"order": ["b", "a"]}},
        "requirements": {"dial": {"needs": []}},
        "names": {"ElevenLabsTTSService": "elevenlabs"},
    }
    assert said(data) == {
        "mode": Mode.OBSERVE,
        "defaults.cooldown": 600.0,
        "defaults.failures": None,
        "circuits.eleven.labs.window": 120.0,
        "circuits.eleven.labs.log_patterns": ("http 502", {"regex": "5\\d\\d"}),
        "fallbacks.Agent.speak.order": ("b", "a"),
        "requirements.dial.needs": (),
        "names.ElevenLabsTTSService": "elevenlabs",
    }


def test_the_older_shape_is_read_as_it_is():
    """Counts, minutes and patterns by circuit."""
    data = {
        "elevenlabs": {"threshold_count": 10, "window_minutes": 5, "log_patterns": ["http 502"]},
        "call_initiation": {"threshold_count": 20, "window_minutes": 5.5, "cooldown_minutes": 30},
        "provider_fallback": {"enabled": False},
        "cartesia": {"enabled": True},
    }
    assert said(data) == {
        "circuits.elevenlabs.failures": 10,
        "circuits.elevenlabs.window": 300.0,
        "circuits.elevenlabs.log_patterns": ("http 502",),
        "circuits.call_initiation.failures": 20,
        "circuits.call_initiation.window": 330.0,
        "circuits.call_initiation.cooldown": 1800.0,
        "circuits.provider_fallback.mode": Mode.OFF,
        "circuits.cartesia.mode": Mode.ENFORCE,
    }


@pytest.mark.parametrize(
    ("data", "path", "words"),
    [
        ({"mode": "offf"}, "mode", "one of 'enforce', 'observe', 'off'"),
        ({"circuts": {}}, "circuts", "did you mean circuits?"),
        ({"circuits": 3}, "circuits", "a table"),
        ({"circuits": {"a": 3}}, "circuits.a", "a table"),
        ({"defaults": []}, "defaults", "a table"),
        ({"defaults": {"cooldwn": 1}}, "defaults.cooldwn", "did you mean cooldown?"),
        ({"circuits": {"a": {"failurs": 1}}}, "circuits.a.failurs", "did you mean failures?"),
        ({"circuits": {"a": {"failures": "5"}}}, "circuits.a.failures", "a whole number, 1 or more"),
        ({"circuits": {"a": {"window": "none"}}}, "circuits.a.window", "a duration"),
        ({"circuits": {"a b": {"failures": 5}}}, "circuits.a b.failures", "without blanks"),
        ({"circuits": {"a": {"log_patterns": "x"}}}, "circuits.a.log_patterns", "a list"),
        ({"fallbacks": {"s": {"order": []}}}, "fallbacks.s.order", "at least one provider"),
        ({"fallbacks": {"s": {"order": "a"}}}, "fallbacks.s.order", "a list of names"),
        ({"fallbacks": {"s": {"order": ["a", "a"]}}}, "fallbacks.s.order", "'a' is there twice"),
        ({"fallbacks": {"s": {"ordr": ["a"]}}}, "fallbacks.s.ordr", "did you mean order?"),
        ({"requirements": {"s": {"needs": [1]}}}, "requirements.s.needs", "a list of names"),
        ({"names": {"X": ""}}, "names.X", "1 to 128 printable"),
        ({"a": {"threshold_count": "10"}}, "a.threshold_count", "a whole number"),
        ({"a": {"threshold_count": 0}}, "a.threshold_count", "a whole number"),
        ({"a": {"threshold_cont": 1, "enabled": True}}, "a.threshold_cont", "did you mean threshold_count?"),
        ({"a": {"window_minutes": 0}}, "a.window_minutes", "minutes above 0"),
        ({"a": {"window_minutes": True}}, "a.window_minutes", "minutes above 0"),
        ({"a": {"enabled": "yes"}}, "a.enabled", "true or false"),
        ({"a": 1}, "a", "one of mode, defaults"),
        ({"a": {}}, "a", "one of mode, defaults"),
    ],
)
def test_what_is_impossible_is_named_with_its_cure(data, path, words):
    """The path, and what is allowed there; everything else in the file is looked at all the same."""
    found = wrong({**data, "names": data.get("names", {})} if "circuits" in data else data)
    assert list(found) == [path]
    assert words in found[path]


def test_one_mistake_hides_no_other():
    """All problems of a file are found at once, and what is possible is kept."""
    sheet, problems = read({"mode": "x", "defaults": {"window": "1m", "probes": -1}}, ".".join)
    assert [problem.path for problem in problems] == [("mode",), ("defaults", "probes")]
    assert sheet.defaults == {"window": Value(60.0, "defaults.window")}


def test_a_path_that_is_none_is_refused():
    """Whatever a live document holds."""
    for path in (("circuits", "a"), ("circuits", "a", "failures", "x"), ("fallbacks", "s"), ("x", "y")):
        with pytest.raises(ConfigurationError):
            check(path, 1)


@given(st.sampled_from(FIELDS), st.one_of(st.none(), st.integers(-5, 5000), st.floats(), st.text(max_size=4)))
def test_a_field_alone_is_what_a_policy_takes(name, value):
    """A layer and a policy never disagree about a single value."""
    together = {"slow_rate": {"slow_after": 1}, "cooldown_max": {"cooldown": 0.001}}.get(name, {})
    try:
        expected = getattr(Policy(**{name: value, **together}), name)
    except ConfigurationError:
        expected = ConfigurationError
    text = "none" if value is None else value
    try:
        found = check(("defaults", name), text)
    except ConfigurationError:
        found = ConfigurationError
    if not (expected is ConfigurationError and value == "none"):
        assert found == expected or (name == "cooldown_max" and expected is ConfigurationError)


def test_a_sheet_is_asked_by_name():
    """Names are spelt as the layer spells them."""
    sheet, _ = read({"circuits": {"A_B": {"failures": 3}}, "fallbacks": {"S_T": {"order": ["a"]}}}, ".".join, _spelt)
    assert sheet.circuit("a-b")["failures"].value == 3
    assert sheet.order("s.t").value == ("a",)
    assert sheet.needs("x") is None
    assert sheet.mode is None
    assert sheet.names == Sheet().defaults == {}
    assert sheet.told_of("circuits") == ("A_B",)


def _spelt(name):
    return name.upper().replace("-", "_").replace(".", "_")
