"""Live, environment, rules file, code: for each field of a policy the first that says anything is heard."""

from __future__ import annotations

import pytest

from recloser import ConfigurationError
from recloser.core.layering import BUILT_IN, resolve
from recloser.core.policy import FIELDS
from recloser.core.sheet import Sheet, Value, check


def sheet(origin, own=None, **defaults):
    """A layer that says something of the circuit ``tts``, and something of all."""
    values = {("circuits", "tts", key): value for key, value in (own or {}).items()}
    values.update({("defaults", key): value for key, value in defaults.items()})
    return Sheet({path: Value(check(path, value), origin) for path, value in values.items()})


def test_the_first_layer_that_says_anything_is_heard_for_each_field():
    """And each value says where it comes from."""
    layers = [
        sheet("live", {"failures": 3}),
        sheet("env", {"failures": 4, "window": "1m"}),
        sheet("rules", {"probes": 2}),
    ]
    code = {"failures": Value(5, "app.py:1"), "quorum": Value(2, "app.py:1"), "probes": Value(9, "app.py:1")}
    found = resolve("tts", layers, code)
    policy = found.policy
    assert (policy.failures, policy.window, policy.probes, policy.quorum) == (3, 60.0, 2, 2)
    origins = {key: found.origins[key] for key in ("failures", "window", "probes", "quorum", "cooldown")}
    assert origins == {
        "failures": "live",
        "window": "env",
        "probes": "rules",
        "quorum": "app.py:1",
        "cooldown": BUILT_IN,
    }
    assert set(found.origins) == set(FIELDS)
    assert found.problems == ()


def test_what_is_said_by_name_comes_before_what_is_said_of_all():
    """A default changed by an operator does not touch a circuit whose code says its own."""
    layers = [sheet("live", cooldown="1m", window="1m"), sheet("env", {"window": "2m"}), sheet("rules", failures=7)]
    found = resolve("tts", layers, {"cooldown": Value(900.0, "code")}).policy
    assert (found.cooldown, found.window, found.failures) == (900.0, 120.0, 7)
    other = resolve("stt", layers, {}).policy
    assert (other.cooldown, other.window) == (60.0, 60.0)


def test_a_contradiction_is_taken_back_from_the_layer_above():
    """What was possible before it was said stays; the other values of that layer hold."""
    live = sheet("live", {"cooldown": "2h", "failures": 3})
    found = resolve("tts", [live, sheet("env"), sheet("rules")], {"cooldown_max": Value(3600.0, "app.py:1")})
    assert (found.policy.cooldown, found.policy.failures) == (900.0, 3)
    (problem,) = found.problems
    assert problem == (
        "circuit tts: cooldown=7200.0 (live) passed over: "
        "cooldown_max = 3600.0 is not possible: at least the cooldown, 7200.0"
    )


def test_contradictions_are_taken_back_until_what_is_left_makes_sense():
    """From several layers, and from defaults too."""
    layers = [sheet("live", slow_rate=0.5), sheet("env", {"slow_rate": 0.4}), sheet("rules")]
    found = resolve("tts", layers, {})
    assert found.policy.slow_rate is None
    assert len(found.problems) == 2
    assert "defaults.slow_rate=0.5 (live)" in found.problems[0]


def test_code_that_contradicts_itself_is_not_mended():
    """It is refused where it is written, and here too."""
    with pytest.raises(ConfigurationError):
        resolve("tts", [], {"slow_rate": Value(0.5, "code")})


def test_what_the_fleet_has_written_down_stands_beneath_everything():
    """For who has no code of its own."""
    beneath = sheet("elsewhere.py:3", {"failures": 4}, window="9m")
    found = resolve("tts", [sheet("live", {"failures": 5}), sheet("env"), sheet("rules")], {}, beneath)
    assert (found.policy.failures, found.policy.window, found.origins["window"]) == (5, 540.0, "elsewhere.py:3")
