"""Everything impossible is refused where it is written, naming the key, the value and what is allowed."""

from __future__ import annotations

import inspect
import re

import pytest

from recloser import ConfigurationError, Policy, Recloser, circuit, configure, fallback, pause, requires, resume
from tests.wrapping.shapes import NAME

own = circuit("own-provider")


def nothing():
    """A function that is not async."""


def generating():
    yield


class Client:
    @property
    def attribute(self):
        return None

    def method(self):
        return None


BAD_NAMES = ["", " ", "two words", "new\nline", "x" * 129, "{braces}", "glob*", 'quo"te', "\x00", None, 17, b"bytes"]

BAD_THRESHOLDS = {
    "failures": [0, -1, 1.5, True, "10"],
    "window": [0, -5, "5", "5 minutes", "", "-5m", float("inf"), float("nan"), True, None],
    "failure_rate": [0, -0.1, 1.1, "half", True],
    "minimum_calls": [0, -1, 2.5, None],
    "slow_after": [0, -1, "soon"],
    "cooldown": [0, "never", None],
    "cooldown_growth": [0.5, 0, -1, float("inf"), float("nan"), "2", None],
    "cooldown_max": [0, "1m"],
    "probes": [-1, 1.5, True, None],
    "probe_timeout": [0, None],
    "timeout": [0, -1, "x"],
    "first_item": [0, "x"],
    "idle": [0, "x"],
    "mode": ["on", None, 1],
}


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("mention", [circuit, fallback, requires, Recloser().circuit], ids=lambda m: m.__qualname__)
def test_an_absurd_name_is_refused(name, mention):
    """Names travel through Redis keys, command lines and dashboards."""
    with pytest.raises(ConfigurationError) as caught:
        mention(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD_THRESHOLDS.items() for value in values])
@pytest.mark.parametrize("make", [Policy, lambda **given: circuit(NAME, **given)], ids=["Policy", "circuit"])
def test_an_impossible_threshold_is_refused(recloser, key, value, make):
    """The same in a policy and in the decorator's line."""
    with pytest.raises(ConfigurationError) as caught:
        make(**{key: value})
    assert caught.value.key == key
    assert re.match(rf"{key} = {re.escape(repr(value))} is not possible: \w", str(caught.value))


def test_a_threshold_that_does_not_exist_is_refused(recloser):
    """A misspelled keyword is told what it may have meant."""
    with pytest.raises(
        ConfigurationError, match=r"failure = 5 .*did you mean failures|failuers = 5 .*did you mean failures"
    ):
        circuit(NAME, failuers=5)


def test_slow_rate_needs_slow_after(recloser):
    """Without it, nothing says what is slow."""
    with pytest.raises(ConfigurationError, match=r"slow_rate = 0\.5 .* only together with slow_after"):
        circuit(NAME, slow_rate=0.5)


@pytest.mark.parametrize("policy", ["10/5m", 10, {"failures": 10}])
def test_a_policy_that_is_none_is_refused(recloser, policy):
    """A policy is a Policy, or thresholds by keyword."""
    with pytest.raises(ConfigurationError, match="policy = "):
        circuit(NAME, policy)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classify", "rule"),
        ("failure_if", 1),
        ("progress", {}),
        ("failure", "KeyError"),
        ("failure", [KeyError]),
        ("failure", (KeyError, 1)),
        ("ignore", KeyError()),
        ("ignore", int),
        ("min_items", 0),
        ("min_items", True),
        ("min_bytes", -1),
        ("min_bytes", 1.5),
    ],
)
def test_an_impossible_rule_is_refused(recloser, key, value):
    """A rule that can never work is told so, not passed over on every call."""
    with pytest.raises(ConfigurationError) as caught:
        circuit(NAME, **{key: value})
    assert (caught.value.key, caught.value.value) == (key, value)


def line_of(needle):
    """Where in this file ``needle`` stands."""
    lines, start = inspect.getsourcelines(inspect.currentframe().f_back)
    return start + next(number for number, line in enumerate(lines) if needle in line)


@pytest.mark.parametrize("fleet", ["default", "own"])
def test_two_policies_for_one_circuit_name_both_places(recloser, fleet):
    """Whoever reads the message finds both lines."""
    mention = circuit if fleet == "default" else Recloser().circuit
    mention(NAME, failures=3)  # the first place
    with pytest.raises(ConfigurationError) as caught:
        mention(NAME, failures=4)  # the second place
    for place in ("# the first place", "# the second place"):
        assert f"{__file__}:{line_of(place)}" in str(caught.value)
    assert "failures=3" in str(caught.value)
    assert "failures=4" in str(caught.value)
    mention(NAME, failures=3)
    mention(NAME)


def test_the_same_policy_written_differently_is_the_same(recloser):
    """What counts is what it means: five minutes are three hundred seconds."""
    circuit(NAME, window="5m", failures=5)
    circuit(NAME, Policy(failures=5, window=300))
    assert circuit(NAME).policy.window == 300


def test_thresholds_replace_fields_of_a_policy(recloser):
    """A shared policy with one field changed for this circuit."""
    circuit(NAME, Policy(failures=5, window="1m"), failures=2)
    assert (circuit(NAME).policy.failures, circuit(NAME).policy.window) == (2, 60)


@pytest.mark.parametrize("what", [None, 17, "speak", object(), Client.attribute, [len]])
@pytest.mark.parametrize(
    "decorate", [circuit(NAME), fallback("a", "b"), requires("a"), circuit("timed", timeout=5)], ids=repr
)
def test_what_cannot_be_called_cannot_be_decorated(what, decorate):
    """A property is decorated on its function, below ``@property``."""
    with pytest.raises(ConfigurationError, match="something that can be called"):
        decorate(what)


@pytest.mark.parametrize("sync", [nothing, generating, staticmethod(nothing), Client().method])
def test_a_timeout_on_a_sync_function_is_refused(recloser, sync):
    """It cannot be interrupted; the SDK's own timeout can."""
    with pytest.raises(ConfigurationError, match=r"timeout = 5\.0 is not possible: only with async code"):
        circuit(NAME, timeout=5)(sync)


def test_a_timeout_on_a_sync_function_is_refused_in_a_fallback(recloser):
    """The circuit's timeout would silently never fire."""
    with pytest.raises(ConfigurationError, match="timeout"):
        fallback(circuit(NAME, timeout=5), "b")(nothing)


@pytest.mark.parametrize("providers", [(), ("a", "a"), (own, "own-provider"), (17,), (None,), (nothing,), (Client(),)])
def test_impossible_providers_are_refused(recloser, providers):
    """At least one, each once, and each a name, a circuit or something decorated with one."""
    with pytest.raises(ConfigurationError, match="provider"):
        fallback(*providers)


def test_a_named_provider_may_not_repeat_another(recloser):
    """By whatever way it got its name."""
    with pytest.raises(ConfigurationError, match="each provider once; 'a' is there twice"):
        fallback("a", a=Client())
    with pytest.raises(ConfigurationError, match="'own-provider' is there twice"):
        fallback(own(nothing), eleven=own(generating))


@pytest.mark.parametrize("providers", [("a", "b"), (own,)])
def test_names_cannot_be_called(recloser, providers):
    """``.call`` is for providers that are callables."""
    with pytest.raises(ConfigurationError, match=r"something that can be called, to use \.call"):
        fallback(*providers).call()


def test_names_cannot_be_called_where_it_is_written(recloser):
    """``speak = fallback("a", "b").call`` is wrong in that line."""
    with pytest.raises(ConfigurationError):
        fallback("a", "b").call  # noqa: B018 - looking is enough


@pytest.mark.parametrize("dependencies", [(), (17,), (None,), (nothing,), (Client(),)])
def test_impossible_dependencies_are_refused(recloser, dependencies):
    """At least one, and each a name, a circuit, a fallback, a requirement, or something decorated with one."""
    with pytest.raises(ConfigurationError, match="dependenc"):
        requires(*dependencies)


@pytest.mark.parametrize(
    "operate",
    [
        lambda: pause(NAME, reason="", by="me"),
        lambda: pause(NAME, reason="why", by=" "),
        lambda: pause(NAME, reason="why", by="me", for_="soon"),
        lambda: pause(NAME, reason="why", by="me", for_=0),
        lambda: pause("two words", reason="why", by="me"),
        lambda: pause("nothing-like-*", reason="why", by="me"),
        lambda: resume(NAME, by=""),
        lambda: resume("nothing-like-*", by="me"),
    ],
)
def test_impossible_orders_of_operators_are_refused(recloser, operate):
    """A pause says why and who, and concerns something."""
    with pytest.raises(ConfigurationError):
        operate()


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"backend": "nosuch://"}, "backend"),
        ({"backend": "no url"}, "backend"),
        ({"backend": "memory://host"}, "backend"),
        ({"backend": 17}, "backend"),
        ({"namespace": "two words"}, "namespace"),
        ({"namespace": ""}, "namespace"),
        ({"mode": "on"}, "mode"),
    ],
)
@pytest.mark.parametrize("make", [configure, Recloser])
def test_impossible_settings_are_refused(recloser, given, key, make):
    """Where they are written, and what was there before stays in force."""
    with pytest.raises(ConfigurationError) as caught:
        make(**given)
    assert caught.value.key == key
    assert circuit(NAME).allows()
