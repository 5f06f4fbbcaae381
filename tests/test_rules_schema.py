"""The schema of rules files, by which editors complete and check them, says what the policy says."""

from __future__ import annotations

import copy
import json
import re
import tomllib
import unicodedata
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from recloser import Policy
from recloser.core import duration
from recloser.core.duration import parse_duration
from recloser.core.policy import Mode, OnBackendLoss, Thresholds, check_name
from recloser.core.sheet import read
from recloser.errors import ConfigurationError
from tests.core.test_policy import ABSURD_NAMES, DURATIONS, OPTIONAL_DURATIONS

SCHEMA = json.loads(files("recloser").joinpath("rules.schema.json").read_text(encoding="utf-8"))
VALID = Draft202012Validator(SCHEMA)
DEFS = SCHEMA["$defs"]
FIELDS = list(Thresholds.__annotations__)
# What a field needs beside it to be judged by its own value.
BESIDE: dict[str, dict[str, Any]] = {"slow_rate": {"slow_after": 1}, "cooldown_max": {"cooldown": 5e-324}}

CURRENT = r"""
mode = "enforce"
[defaults]
cooldown = "15m"
[circuits.elevenlabs]
failures = 10
window = "5m"
log_patterns = ["http 502", { regex = "status=5\\d\\d" }]
[fallbacks.speak]
order = ["cartesia", "elevenlabs"]
[requirements.dial]
needs = ["speak", "deepgram"]
[requirements.listen]
needs = []
[names]
ElevenLabsTTSService = "elevenlabs"
"""
OLDER = {"elevenlabs": {"threshold_count": 10, "window_minutes": 5, "log_patterns": ["http 502"]}}
WHOLE_OLDER = {"$schema": "x.json", "tts": {**OLDER["elevenlabs"], "cooldown_minutes": 0.5, "enabled": False}}


def valid(document: object) -> bool:
    return VALID.is_valid(document)


def possible(field: str, value: object) -> bool:
    """Whether a policy takes the value in this field."""
    try:
        Policy(**{**BESIDE.get(field, {}), field: value})
    except ConfigurationError:
        return False
    return True


def test_the_schema_is_one() -> None:
    """It is a schema of the draft it names, and has no address that anybody would have to serve."""
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "$id" not in SCHEMA


def test_it_has_the_fields_of_a_policy_and_nothing_else() -> None:
    """A field that the policy gains or loses has to be in the schema too, in the order of the documentation."""
    assert list(DEFS["policy"]["properties"]) == FIELDS
    circuit = {field: {"$ref": f"#/$defs/policy/properties/{field}"} for field in FIELDS}
    assert DEFS["circuit"]["properties"] == {
        **circuit,
        "log_patterns": DEFS["older_circuit"]["properties"]["log_patterns"],
    }


def test_the_defaults_are_those_of_the_policy() -> None:
    """What an editor shows as the default is it; a field that is off by default has none."""
    shown = {field: each["default"] for field, each in DEFS["policy"]["properties"].items() if "default" in each}
    assert Policy(**shown) == Policy()
    assert {field for field in FIELDS if getattr(Policy(), field) is not None} == set(shown)


def test_the_words_are_those_of_the_policy() -> None:
    """Every mode there is can be written, and no other."""
    for mode in (DEFS["policy"]["properties"]["mode"], DEFS["rules"]["properties"]["mode"]):
        assert mode["enum"] == [str(each) for each in Mode]
    assert DEFS["policy"]["properties"]["on_backend_loss"]["enum"] == [str(each) for each in OnBackendLoss]


def test_the_grammar_of_durations_is_that_of_the_code() -> None:
    """The pattern is the parser's own, behind a look at whether there is anything but noughts; or it says: none."""
    properties, own = DEFS["policy"]["properties"], rf"^(?![0.\sdhms]*$){duration._WHOLE.pattern}$"
    assert {properties[name]["pattern"] for name in DURATIONS} == {own}
    assert {properties[name]["pattern"] for name in OPTIONAL_DURATIONS} == {f"{own}|^none$"}


def test_every_field_is_described() -> None:
    """What can be written in a rules file has a sentence that an editor can show, beside no $ref that would hide it."""
    for name, each in DEFS.items():
        assert each["description"], name
        for field, about in each.get("properties", {}).items():
            assert list(about) == ["$ref"] if "$ref" in about else about["description"].endswith("."), (name, field)
    for field, about in DEFS["policy"]["properties"].items():
        assert ("Seconds" in about["description"]) == (about.get("pattern", "^none$") != "^none$"), field


def test_none_turns_off_what_can_be_turned_off() -> None:
    """TOML has no word for nothing, so that a text stands for it; where a value is needed, it is refused."""
    for field, about in DEFS["policy"]["properties"].items():
        optional = "null" in about["type"] if "type" in about else False
        assert valid({"defaults": {field: "none"}}) is optional
        _, problems = read({"defaults": {field: "none"}}, ".".join)
        assert (problems == ()) is optional


def test_every_table_is_closed() -> None:
    """No table anywhere in it takes a key that it does not know."""

    def look(schema: Any) -> None:
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                assert schema.get("additionalProperties") is False or "$ref" in schema["additionalProperties"]
            for each in schema.values():
                look(each)
        elif isinstance(schema, list):
            for each in schema:
                look(each)

    look(DEFS)


@pytest.mark.parametrize(
    "document",
    [tomllib.loads(CURRENT), OLDER, WHOLE_OLDER, {}, {"$schema": "rules.schema.json", "mode": "off"}],
    ids=["current", "older", "whole older", "empty", "with its schema"],
)
def test_the_shapes_there_are(document: object) -> None:
    """The current shape, the older one and an empty file are rules."""
    assert valid(document), list(VALID.iter_errors(document))


LENGTHS = st.lists(
    st.tuples(
        st.sampled_from(["0", "1", "12", "0.5", ".5", "0.0", ".0", "007"]),
        st.sampled_from(["", " ", "\t"]),
        st.sampled_from(["ms", "s", "m", "h", "d", "x", ""]),
        st.sampled_from(["", " ", "\n"]),
    ).map("".join),
    max_size=3,
).map("".join)
# Two things the schema cannot tell: 2.0 is a whole number in JSON Schema, and no JSON has a number beyond all others.
NUMBERS = st.one_of(
    st.integers(-3, 10**6),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer()),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
)
VALUES = st.one_of(
    NUMBERS,
    LENGTHS,
    st.text(alphabet="0123459.msdhx -", max_size=6),
    st.sampled_from([*Mode, *OnBackendLoss, "loud", "ENFORCE"]).map(str),
    st.none(),
    st.booleans(),
    st.lists(st.integers(), max_size=1),
    st.dictionaries(st.just("a"), st.integers(), max_size=1),
)


@given(st.sampled_from(FIELDS), VALUES)
def test_schema_and_policy_agree(field: str, value: object) -> None:
    """A value that a policy takes is fine in the editor, and one that it refuses is underlined there already."""
    expected = possible(field, value)
    assert valid({"defaults": {field: value}}) == expected
    assert valid({"circuits": {"tts": {field: value}}}) == expected


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False), st.integers(1))
def test_any_length_and_any_count_is_taken(seconds: float, count: int) -> None:
    """Numbers have no upper bound of the schema's own."""
    assert possible("window", seconds)
    assert possible("failures", count)
    assert valid({"defaults": {"window": seconds, "failures": count}})


BAD = {
    "failures": [0, -1, 2.5, "10", True, []],
    "window": [0, -1, "0s", "0.0m 0ms", "", "5", "5 minutes", "-5m", "1e3s", "5sm", None, True, []],
    "failure_rate": [0, -0.1, 1.0001, 50, "50%", True],
    "minimum_calls": [0, 2.5, "20", None],
    "slow_after": [0, "0s", "2 seconds", False],
    "slow_rate": [0, 1.5, "0.5"],
    "cooldown": [0, "15min", None],
    "cooldown_growth": [0, 0.99, -2, "2", True, None],
    "cooldown_max": [-1, "1 hour", None],
    "probes": [-1, 0.5, "1", True, None],
    "probe_timeout": [0, "60", None],
    "quorum": [0, 1.5, None],
    "timeout": [0, "10", True],
    "first_item": [-0.5, "800 msec"],
    "idle": ["", {}],
    "on_backend_loss": ["stop", "", None, 1],
    "mode": ["loud", "ENFORCE", "", None, True],
}


@pytest.mark.parametrize("field", FIELDS)
def test_what_a_policy_refuses_is_underlined(field: str) -> None:
    """The mistakes that people make in each field are mistakes for both."""
    for value in BAD[field]:
        assert not possible(field, value), value
        assert not valid({"defaults": {field: value}}), value
        assert not valid({"circuits": {"tts": {field: value}}}), value


@given(st.lists(st.sampled_from(["90s", "1h30m", " 2 d ", "250ms", ".5s"])).map("".join).filter(bool))
def test_what_reads_as_a_length_is_one_in_the_schema(written: str) -> None:
    """The pattern takes whatever the parser takes."""
    assert parse_duration(written) > 0
    assert valid({"defaults": {"cooldown": written}})


def test_a_mistake_is_shown_in_its_own_place() -> None:
    """An editor underlines the value that is wrong, not the whole file, in either shape."""
    (error,) = VALID.iter_errors(misspelt("circuits", "elevenlabs", window="0m"))
    assert list(error.absolute_path) == ["circuits", "elevenlabs", "window"]
    (error,) = VALID.iter_errors({"tts": {**OLDER["elevenlabs"], "threshold_count": 0}})
    assert list(error.absolute_path) == ["tts", "threshold_count"]
    (error,) = VALID.iter_errors(misspelt("circuits", "elevenlabs", failurs=10))
    assert list(error.absolute_path) == ["circuits", "elevenlabs"]
    assert "'failurs' was unexpected" in error.message


def test_the_shape_is_seen_from_what_is_in_it() -> None:
    """A file of the one shape is never judged as the other, whatever its circuits, classes and functions are called."""
    for shape, named in (("rules", misspelt("names", threshold_count="tts")), ("older_rules", WHOLE_OLDER)):
        assert valid(named)
        assert VALID.evolve(schema={"$ref": f"#/$defs/{shape}", "$defs": DEFS}).is_valid(named)
    assert valid({"circuits": {"threshold_count": {"window": 5}, "window_minutes": {}}})
    assert valid({"circuits": OLDER["elevenlabs"], "names": OLDER["elevenlabs"]})


def misspelt(*path: str | int, **keys: object) -> dict[str, Any]:
    """The current example, with these keys in the table at the path."""
    document = copy.deepcopy(tomllib.loads(CURRENT))
    table: Any = document
    for step in path:
        table = table[step]
    table.update(keys)
    return document


@pytest.mark.parametrize(
    "document",
    [
        misspelt(circuit={}),
        misspelt(mode="on"),
        misspelt(defaults=5),
        misspelt("defaults", cool_down="5m"),
        misspelt("defaults", log_patterns=["x"]),
        misspelt("circuits", elevenlabs=5),
        misspelt("circuits", **{"eleven labs": {}}),
        misspelt("circuits", **{"azure-*": {}}),
        misspelt("circuits", "elevenlabs", failurs=10),
        misspelt("circuits", "elevenlabs", threshold_count=10),
        misspelt("circuits", "elevenlabs", log_patterns="http 502"),
        misspelt("circuits", "elevenlabs", log_patterns=[""]),
        misspelt("circuits", "elevenlabs", log_patterns=[5]),
        misspelt("circuits", "elevenlabs", log_patterns=[{"regexp": "x"}]),
        misspelt("circuits", "elevenlabs", log_patterns=[{"regex": "x", "flags": "i"}]),
        misspelt("circuits", "elevenlabs", log_patterns=[{}]),
        misspelt("fallbacks", speak={}),
        misspelt("fallbacks", speak=["cartesia"]),
        misspelt("fallbacks", "speak", order=[]),
        misspelt("fallbacks", "speak", order=["cartesia", "cartesia"]),
        misspelt("fallbacks", "speak", order=["not a name"]),
        misspelt("fallbacks", "speak", orders=["cartesia"]),
        misspelt("requirements", dial={}),
        misspelt("requirements", "dial", needs="speak"),
        misspelt("requirements", "dial", needs=[""]),
        misspelt("requirements", "dial", need=["speak"]),
        misspelt("names", ElevenLabsTTSService=["elevenlabs"]),
        misspelt("names", ElevenLabsTTSService=""),
        misspelt("names", **{"": "elevenlabs"}),
        {**OLDER, "mode": "off"},
        {"$schema": 5},
        {"two words": OLDER["elevenlabs"]},
        [],
        None,
    ],
    ids=repr,
)
def test_a_typo_is_underlined(document: object) -> None:
    """A key in the wrong place, a name that no circuit can have, and a list that says nothing are no rules."""
    assert not valid(document)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold_count": 0}, {"threshold_count": "10"}, {"threshold_count": 2.5}, {"threshold_count": True},
        {"window_minutes": 0}, {"window_minutes": "5m"}, {"cooldown_minutes": -1}, {"cooldown_minutes": None},
        {"enabled": "no"}, {"log_patterns": "http 502"}, {"treshold_count": 10}, {"failures": 10},
    ],
    ids=repr,
)  # fmt: skip
def test_a_typo_in_the_older_shape_is_underlined(wrong: dict[str, object]) -> None:
    """The older shape is as strict as the current one."""
    assert not valid({"elevenlabs": {**OLDER["elevenlabs"], **wrong}})


def named(name: str) -> bool:
    """Whether all places for the name of a circuit take it; they take it all, or none does."""
    older = valid({name: OLDER["elevenlabs"]}) if name != "$schema" else valid({"circuits": {name: {}}})
    answers = {
        older,
        valid({"circuits": {name: {}}}),
        valid({"fallbacks": {"speak": {"order": [name]}}}),
        valid({"names": {"Service": name}}),
    }
    assert len(answers) == 1
    return answers.pop()


# A lone surrogate cannot be in the text of a file, and a pattern that excludes it does not compile everywhere.
@pytest.mark.parametrize(
    "name", [each for each in ABSURD_NAMES if isinstance(each, str) and each != "\ud800"], ids=ascii
)
def test_an_absurd_name_is_underlined(name: str) -> None:
    """What check_name refuses is refused before the application starts."""
    assert not named(name)
    assert not named(f"tts{name}\n")


@given(st.text(max_size=8) | st.text(alphabet="ab-/:._#$ü語", min_size=120, max_size=130))
def test_the_name_of_any_circuit_can_be_written(name: str) -> None:
    """Whatever check_name takes, the schema takes."""
    try:
        check_name("name", name)
    except ConfigurationError:
        return
    assert named(name)


def test_the_letters_of_a_name_are_those_of_the_code() -> None:
    """For every letter of the basic plane that has a meaning, the pattern says what check_name says."""
    pattern = re.compile(DEFS["name"]["pattern"])
    for letter in map(chr, range(0x10000)):
        if unicodedata.category(letter) in {"Cn", "Cs"}:  # not assigned (yet), or half a letter
            continue
        try:
            expected = bool(check_name("name", letter))
        except ConfigurationError:
            expected = False
        assert bool(pattern.search(letter)) == expected, ascii(letter)
