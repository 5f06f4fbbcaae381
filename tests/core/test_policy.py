"""The policy refuses what is impossible where it is written, and keeps what is possible in seconds."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from recloser import Policy, Recloser
from recloser.core.policy import Mode, check_name
from recloser.errors import ConfigurationError
from recloser.testing import ManualClock

DURATIONS = ("window", "cooldown", "cooldown_max", "probe_timeout")
OPTIONAL_DURATIONS = ("slow_after", "timeout", "first_item", "idle")
NOT_DURATIONS = (0, -1, -0.5, "0s", "", " ", "5", "5 minutes", "-5m", "5x", "m5", "1h-30m", True, [], {}, b"5m", 1j)
NOT_NUMBERS = (float("nan"), float("inf"), -float("inf"))


def refused(key: str, value: object, **fields: object) -> ConfigurationError:
    """The error that a policy with these fields must raise, once its key, value and text are checked."""
    with pytest.raises(ConfigurationError) as caught:
        Policy(**(fields or {key: value}))
    error = caught.value
    assert error.key == key
    assert error.value is value
    assert error.allowed
    assert str(error) == f"{key} = {value!r} is not possible: {error.allowed}"
    return error


def test_defaults_are_those_of_the_design() -> None:
    """Ten failures in five minutes pause for a quarter of an hour, and one probe tests the provider."""
    assert Policy() == Policy(
        failures=10, window=300, failure_rate=None, minimum_calls=20, slow_after=None, slow_rate=None, cooldown=900,
        cooldown_growth=2.0, cooldown_max=3600, probes=1, probe_timeout=60, timeout=None, first_item=None, idle=None,
        mode="enforce",
    )  # fmt: skip


@pytest.mark.parametrize("key", DURATIONS + OPTIONAL_DURATIONS)
@pytest.mark.parametrize("value", NOT_DURATIONS + NOT_NUMBERS, ids=repr)
def test_a_length_that_is_none_is_refused(key: str, value: object) -> None:
    """Zero, negative, unparsable, infinite and wrongly typed lengths of time never get into a policy."""
    error = refused(key, value)
    assert 'a duration longer than 0, in seconds or like "90s", "5m", "1h30m"' in error.allowed
    assert ("or None" in error.allowed) == (key in OPTIONAL_DURATIONS)


@pytest.mark.parametrize("key", DURATIONS)
def test_a_length_that_every_circuit_needs_is_not_none(key: str) -> None:
    """What has no meaning without a length cannot be switched off by None."""
    refused(key, None)


@pytest.mark.parametrize("value", [10**400, "9" * 400 + "s", "9" * 308 + "d"], ids=["integer", "digits", "overflow"])
def test_a_length_beyond_all_numbers_is_refused(value: object) -> None:
    """A length that no float can hold is an impossible value like any other."""
    refused("window", value)


@pytest.mark.parametrize("key", OPTIONAL_DURATIONS)
@pytest.mark.parametrize(("written", "seconds"), [("1h30m", 5400.0), (90, 90.0), (0.25, 0.25), ("250ms", 0.25)])
def test_lengths_are_kept_in_seconds(key: str, written: float | str, seconds: float) -> None:
    """However a length is written, the policy holds seconds as a float."""
    kept = getattr(Policy(**{key: written}), key)
    assert (kept, type(kept)) == (seconds, float)


@pytest.mark.parametrize("value", [0, -1, 2.0, "10", True, False, []], ids=repr)
@pytest.mark.parametrize("key", ["failures", "minimum_calls"])
def test_a_count_that_is_none_is_refused(key: str, value: object) -> None:
    """Thresholds are whole numbers from 1 on; a bool is not a number of failures."""
    assert "a whole number, 1 or more" in refused(key, value).allowed


@pytest.mark.parametrize("value", [-1, 0.5, "1", True, None], ids=repr)
def test_probes_are_a_whole_number(value: object) -> None:
    """Zero probes resume without testing; fewer, halves and None are refused."""
    assert Policy(probes=0).probes == 0
    assert refused("probes", value).allowed == "a whole number, 0 or more"


def test_the_failures_rule_can_be_turned_off() -> None:
    """None turns a rule off where there is one to turn off, and the text of the refusal says so."""
    assert Policy(failures=None).failures is None
    assert "or None" in refused("failures", 0).allowed
    assert "None" not in refused("minimum_calls", None).allowed


@pytest.mark.parametrize("value", [0, 0.0, -0.1, 1.0001, 50, "50%", True, *NOT_NUMBERS], ids=repr)
@pytest.mark.parametrize("key", ["failure_rate", "slow_rate"])
def test_a_share_is_above_0_and_up_to_1(key: str, value: object) -> None:
    """Rates are shares of the calls; a percentage written as a whole number is caught."""
    error = refused(key, value, **{key: value, "slow_after": 1})
    assert error.allowed == "a share above 0 and up to 1 (0.5 is half of the calls), or None"
    assert getattr(Policy(**{key: 1, "slow_after": 1}), key) == 1.0


@pytest.mark.parametrize("value", [0, 0.99, -2, "2", True, None, *NOT_NUMBERS], ids=repr)
def test_growth_never_shortens(value: object) -> None:
    """Every re-trip lengthens the pause or keeps its length."""
    assert refused("cooldown_growth", value).allowed == "a factor of 1 or more"
    assert Policy(cooldown_growth=1).cooldown_growth == 1.0


def test_slow_rate_needs_slow_after() -> None:
    """A share of slow calls means nothing while nothing is slow."""
    assert "slow_after" in refused("slow_rate", 0.5, slow_rate=0.5).allowed
    assert Policy(slow_rate=0.5, slow_after="2s").slow_after == 2.0


def test_cooldown_max_is_at_least_the_cooldown() -> None:
    """A longest pause below the shortest is refused; the default one grows with a long cooldown."""
    assert "at least the cooldown, '15m'" in refused("cooldown_max", "5m", cooldown_max="5m", cooldown="15m").allowed
    assert Policy(cooldown="2h").cooldown_max == 7200.0
    assert Policy(cooldown=60, cooldown_max=60).cooldown_max == 60.0


def test_a_cooldown_max_that_looks_like_the_default_is_refused_too() -> None:
    """What the user wrote is judged, not how it is spelled: '1h' is as impossible as 3600 beside a cooldown of 2h."""
    refused("cooldown_max", "1h", cooldown="2h", cooldown_max="1h")


def test_a_policy_with_a_field_replaced_is_the_one_written_at_once() -> None:
    """circuit(name, policy, cooldown='2h') is as possible as Policy(cooldown='2h')."""
    assert replace(Policy(), cooldown="2h") == Policy(cooldown="2h")


@pytest.mark.parametrize("value", ["loud", "", None, 1, [], "ENFORCE"], ids=repr)
def test_an_unknown_mode_is_refused(value: object) -> None:
    """The error lists the three modes there are."""
    assert refused("mode", value).allowed == "one of 'enforce', 'observe', 'off'"


def test_a_mode_turned_down_anywhere_is_down() -> None:
    """Of two switches the one that does less wins, whichever comes first."""
    order = [Mode.OFF, Mode.OBSERVE, Mode.ENFORCE]
    for one in order:
        for other in order:
            assert Mode.weaker(one, other) is order[min(order.index(one), order.index(other))]
    assert Policy(mode="observe").mode is Mode.OBSERVE


def test_a_policy_cannot_change() -> None:
    """A policy is frozen, equal to another of the same values, hashable, and survives pickling."""
    policy = Policy(window="5m", slow_after=2)
    with pytest.raises(FrozenInstanceError):
        policy.failures = 1  # type: ignore[misc]
    assert policy == Policy(window=300, slow_after="2s") == pickle.loads(pickle.dumps(policy))
    assert len({policy, Policy(window=300, slow_after="2s")}) == 1


@pytest.mark.parametrize(
    ("key", "hint"), [("failurs", " (did you mean failures?)"), ("cool_down", " (did you mean cooldown?)"), ("xyz", "")]
)
def test_an_unknown_threshold_is_refused_with_a_hint(key: str, hint: str) -> None:
    """A misspelled threshold is named with its value, and the nearest real one is suggested."""
    with pytest.raises(ConfigurationError) as caught:
        Recloser(clock=ManualClock()).circuit("tts", **{key: 5})  # type: ignore[arg-type]
    assert (caught.value.key, caught.value.value) == (key, 5)
    assert caught.value.allowed.startswith("one of failures, window, failure_rate, ")
    assert caught.value.allowed.endswith("mode" + hint)


def test_known_thresholds_pass_unchanged() -> None:
    """What can be a field of a policy is handed on as written, to be validated there."""
    assert Policy.checked({"failures": 5, "window": "2m"}) == {"failures": 5, "window": "2m"}


@pytest.mark.parametrize("policy", [5, "10 failures", {"failures": 5}])
def test_something_else_in_the_place_of_a_policy_is_refused(policy: object) -> None:
    """The second argument of circuit is a policy or nothing."""
    with pytest.raises(ConfigurationError, match="a Policy, or thresholds by keyword") as caught:
        Recloser(clock=ManualClock()).circuit("tts", policy)  # type: ignore[arg-type]
    assert (caught.value.key, caught.value.value) == ("policy", policy)


def test_one_name_has_one_policy() -> None:
    """A second policy for the same name is refused where it is written, and both places are named."""
    toolkit = Recloser(clock=ManualClock())
    toolkit.circuit("tts", failures=3)
    toolkit.circuit("tts")
    toolkit.circuit("tts", Policy(failures=3))
    with pytest.raises(ConfigurationError) as caught:
        toolkit.circuit("tts", failures=4)
    assert caught.value.key == "circuit 'tts'"
    assert caught.value.value == "failures=4"
    assert caught.value.allowed.count(__file__) == 2


ABSURD_NAMES = (
    "", " ", "a b", "tab\t", "line\n", "a" * 129, "azure-*", "what?", "[x]", "{tag}", "it's", 'say "x"', "nul\0",
    "\u200b", "\ud800", None, 5, b"tts", ("a",),
)  # fmt: skip


@pytest.mark.parametrize("name", ABSURD_NAMES, ids=ascii)
def test_an_absurd_name_is_refused(name: object) -> None:
    """Names that a glob, a key of Redis or a log line would trip over are refused, for circuits and namespaces."""
    toolkit = Recloser(clock=ManualClock())
    for key, write in {"name": toolkit.circuit, "namespace": lambda name: Recloser(namespace=name)}.items():
        with pytest.raises(ConfigurationError) as caught:
            write(name)
        assert caught.value.key == key
        assert caught.value.value is name
        assert caught.value.allowed == "1 to 128 printable characters without blanks, quotes and { } * ? [ ]"


@pytest.mark.parametrize(
    "name", ["tts", "a" * 128, "azure/eastus:tts", "Deepgram-nova.3", "sprachsynthese-äöü", "語音"]
)
def test_a_sensible_name_is_kept(name: str) -> None:
    """Whatever people call their providers is taken as it is."""
    assert check_name("name", name) == name
