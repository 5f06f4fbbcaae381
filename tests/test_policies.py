"""Live settings in one process: what operators say holds at once, is told with its actor, or changes nothing at all."""

from __future__ import annotations

import json
import logging

import pytest

from recloser import BackendError, ConfigurationError, PausedError, Recloser, circuit, fallback, requires
from recloser.backends.memory import MemoryBackend
from recloser.core.events import EventKind
from recloser.default import DEFAULT
from recloser.onlooker import Onlooker
from recloser.registry import Registry
from recloser.testing import Sandbox


@pytest.fixture
def recloser(monkeypatch):
    """A toolkit of this test's own, without what other modules have written down."""
    monkeypatch.setattr(DEFAULT, "_written", Registry())
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def app(recloser):
    """Two providers, a fallback over them, and a function that needs it."""

    class App:
        eleven = circuit("eleven", failures=3, window="1m")
        cartesia = circuit("cartesia")
        recloser = None

        def __init__(self):
            @fallback("eleven", "cartesia")
            def speak(provider):
                return provider

            @requires(speak, "stt")
            def dial():
                return "dialled"

            self.speak, self.dial, self.recloser = speak, dial, recloser
            circuit("eleven").allows()
            circuit("cartesia").allows()

        @property
        def names(self):
            built = self.recloser.engine.policies.built
            return next(iter(built("fallback"))), next(iter(built("requirement")))

    return App()


def test_what_is_set_holds_at_once_and_until_it_is_taken_back(app, recloser):
    """The circuit that is in use goes on with it; the event says who, what, and what it was."""
    assert recloser.set_policy("eleven", by="ana", failures=2, window="2m") == (
        "eleven: failures=2 (was 3), window=2m (was 1m)",
    )
    assert (app.eleven.policy.failures, app.eleven.policy.window) == (2, 120.0)
    event = recloser.events[-1]
    assert (event.kind, event.circuit, event.by) == (EventKind.CHANGED, "eleven", "ana")
    assert event.reason == "failures=2 (was 3), window=2m (was 1m)"
    assert recloser.explain("eleven").origins["failures"].startswith("live, by ana at ")
    for _ in range(2):
        app.eleven.record_failure("down")
    assert app.eleven.state == "open"
    assert recloser.unset_policy("eleven", "failures", by="bob") == ("eleven: failures=3 (was 2)",)
    assert (app.eleven.policy.failures, app.eleven.policy.window) == (3, 120.0)
    recloser.unset_policy("eleven", by="bob")
    assert app.eleven.policy.window == 60.0
    assert recloser.unset_policy("eleven", by="bob") == ()


def test_defaults_hold_where_nothing_is_said_by_name(app, recloser):
    """The default cooldown, and fields that a circuit does not say itself."""
    told = recloser.set_policy(by="ana", cooldown="5m", failures=7)
    assert told == ("all circuits: cooldown=5m (was 15m), failures=7 (was 10)",)
    assert (app.cartesia.policy.cooldown, app.cartesia.policy.failures) == (300.0, 7)
    assert (app.eleven.policy.cooldown, app.eleven.policy.failures) == (300.0, 3)
    assert recloser.events[-1].circuit == "*"
    recloser.unset_policy(by="ana")
    assert app.cartesia.policy.cooldown == 900.0


def test_the_global_switch_turns_everything_down(app, recloser):
    """And up again; a circuit that is turned down itself stays so."""
    recloser.trip("stt")
    with pytest.raises(PausedError):
        app.dial()
    recloser.set_policy(by="ana", mode="observe")
    assert recloser.mode == "observe"
    assert app.dial() == "dialled"
    recloser.set_policy("eleven", by="ana", mode="off")
    recloser.set_policy(by="ana", mode="enforce")
    with pytest.raises(PausedError):
        app.dial()
    for _ in range(5):
        app.eleven.record_failure("down")
    assert app.eleven.snapshot().failures == 0


def test_the_order_of_a_fallback_and_who_takes_part(app, recloser):
    """Calls go where the operator says; who is left out is not called, and saves nobody."""
    speak, dial = app.names
    assert recloser.set_policy(speak, by="ana", order=["cartesia", "eleven"]) == (
        f"{speak}: order=cartesia,eleven (was eleven,cartesia)",
    )
    assert (app.speak(), app.speak.order, app.speak.current) == ("cartesia", ("cartesia", "eleven"), "cartesia")
    recloser.set_policy(speak, by="ana", order=["eleven"])
    recloser.trip("eleven")
    for call in (app.speak, app.dial):
        with pytest.raises(PausedError):
            call()
    assert recloser.explain("cartesia").affects == ()
    recloser.unset_policy(speak, by="ana")
    assert (app.speak(), app.dial()) == ("cartesia", "dialled")
    assert recloser.set_policy(dial, by="ana", needs=["cartesia"]) == (f"{dial}: needs=cartesia (was {speak},stt)",)
    recloser.trip("stt")
    assert app.dial() == "dialled"
    recloser.set_policy(dial, by="ana", needs=[speak, "stt"])
    with pytest.raises(PausedError):
        app.dial()
    recloser.set_policy(dial, by="ana", needs=[])
    assert app.dial() == "dialled"


def test_a_glob_changes_every_circuit_that_it_matches(app, recloser):
    """Each with an event of its own."""
    assert len(recloser.set_policy("*", by="ana", probes=2)) == 3
    assert [event.circuit for event in recloser.events[-3:]] == ["cartesia", "eleven", "stt"]
    recloser.unset_policy("c*", by="ana")
    assert (app.eleven.policy.probes, app.cartesia.policy.probes) == (2, 1)


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("elven", {"failures": 1}, "did you mean eleven"),
        ("x*", {"failures": 1}, "a glob that matches"),
        ("eleven", {"failurs": 1}, "did you mean failures"),
        ("eleven", {"failures": 0}, "a whole number"),
        ("eleven", {"failures": 2, "window": "soon"}, "a duration"),
        ("eleven", {"slow_rate": 0.5}, "only together with slow_after"),
        ("eleven", {"cooldown": "2h", "cooldown_max": "1h"}, "at least the cooldown"),
        ("eleven", {"order": ["cartesia"]}, "did you mean|one of"),
        (None, {"mode": "offf"}, "one of 'enforce'"),
        (None, {"order": ["a"]}, "one of mode"),
    ],
)
def test_what_is_impossible_is_refused_and_nothing_is_half_applied(app, recloser, name, said, words):
    """One line with the cure; no value, no event."""
    before = len(recloser.events)
    with pytest.raises(ConfigurationError, match=words):
        recloser.set_policy(name, by="ana", **said)
    assert len(recloser.events) == before
    assert recloser.engine.backend.settings() == (0, "")
    with pytest.raises(ConfigurationError, match="by"):
        recloser.set_policy("eleven", by="", failures=2)


def test_an_order_names_providers_that_there_are(app, recloser):
    """And needs name circuits and fallbacks that are known."""
    speak, dial = app.names
    with pytest.raises(ConfigurationError, match="did you mean cartesia"):
        recloser.set_policy(speak, by="ana", order=["cartesa"])
    with pytest.raises(ConfigurationError, match="one of"):
        recloser.set_policy(dial, by="ana", needs=["nothing"])


def test_a_value_that_got_in_some_other_way_is_passed_over_and_reported(app, recloser, caplog):
    """Once in the log, for as long as it is there in the status; what is good beside it holds."""
    entries = [
        {"path": ["circuits", "eleven", "failures"], "value": -4, "by": "eve", "at": 0},
        {"path": ["circuits", "cartesia", "cooldown"], "value": "2m", "by": "eve", "at": 0},
        {"path": ["circuits", "eleven", "slow_rate"], "value": 0.5, "by": "eve", "at": 0},
    ]
    with caplog.at_level(logging.WARNING, "recloser"):
        recloser.engine.backend.set_settings(0, json.dumps(entries))
    assert (app.eleven.policy.failures, app.cartesia.policy.cooldown) == (3, 120.0)
    assert len(recloser.status().problems) == 2
    assert sum("passed over" in message for message in caplog.messages) == 2
    recloser.engine.backend.set_settings(recloser.engine.backend.settings().version, "}")
    assert app.cartesia.policy.cooldown == 120.0
    assert "no list" in recloser.status().problems[0]
    recloser.set_policy("eleven", by="ana", failures=4)
    assert app.eleven.policy.failures == 4
    assert recloser.status().as_dict()["problems"] == list(recloser.status().problems)


def test_an_answer_that_was_on_its_way_when_settings_changed_is_not_kept(app, recloser, monkeypatch):
    """Whoever asked a moment before the change does not leave the old answer to those who ask afterwards."""
    policies = recloser.engine.policies
    ask = policies.layers.resolve

    def asked(*question, **how):
        monkeypatch.setattr(policies.layers, "resolve", ask)
        said = ask(*question, **how)
        recloser.set_policy("eleven", by="ana", failures=7)
        return said

    policies.forget()
    monkeypatch.setattr(policies.layers, "resolve", asked)
    assert policies.resolved("eleven").policy.failures == 3
    assert policies.resolved("eleven").policy.failures == 7


def test_all_toolkits_on_a_backend_hear_of_it(recloser):
    """A change made by one holds in the other before it returns."""
    backend = MemoryBackend()
    one, other = Recloser(backend), Recloser(backend)
    tts = other.circuit("tts")
    assert tts.allows()
    one.circuit("tts").allows()
    one.set_policy("tts", by="ana", failures=1)
    tts.record_failure("down")
    assert tts.state == "open"
    late = Recloser(backend)
    assert late.circuit("tts").policy.failures == 1
    for each in (one, other, late):
        each.close()


class Boardless:
    """A backend of somebody else's that has no board."""

    def __init__(self):
        self._inner = MemoryBackend()

    def __getattr__(self, name):
        if name in {"settings", "set_settings", "written", "write", "outbox"}:
            raise AttributeError(name)
        return getattr(self._inner, name)


def test_a_backend_without_a_board_says_so():
    """Everything else works as it did."""
    toolkit = Recloser(Boardless())
    tts = toolkit.circuit("tts", failures=1)
    tts.record_failure("down")
    assert toolkit.status().paused == ("tts",)
    with pytest.raises(BackendError, match="keeps no live settings"):
        toolkit.set_policy("tts", by="ana", failures=2)
    toolkit.close()


def test_an_onlooker_learns_what_is_in_use_and_changes_nothing_by_looking():
    """Policies and where they were said, fallbacks and who answers, whom it affects; it is no process of the fleet."""
    backend = MemoryBackend()
    fleet, outside = Recloser(backend), Onlooker(backend)

    @fleet.fallback("eleven", "cartesia")
    def speak(provider):
        return provider

    @fleet.requires(speak)
    def dial():
        return 1

    eleven = fleet.circuit("eleven", failures=2, window="1m")
    assert (speak(), dial()) == ("eleven", 1)
    fleet.circuit("cartesia").allows()
    eleven.record_failure("down")
    eleven.record_failure("down")
    status, why = outside.status(), outside.explain("eleven")
    (name,) = status.fallbacks
    assert status.fallbacks == {name: "cartesia"}
    assert (why.threshold, len(why.affects), status.processes) == ("2 failures in 1m", 2, 1)
    assert "test_policies.py:" in why.origins["failures"]
    outside.set_policy(name, by="ana", order=["cartesia"])
    assert speak.order == ("cartesia",)
    with pytest.raises(ConfigurationError, match="did you mean cartesia"):
        outside.set_policy(name, by="ana", order=["cartesa"])
    outside.pause("cartesia", reason="cost", by="ana")
    assert outside.status().fallbacks == {name: None}
    assert outside.status()["eleven"].state == "open"
    for each in (fleet, outside):
        each.close()
