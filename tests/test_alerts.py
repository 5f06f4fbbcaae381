"""Alerts in one process: the same hooks and messages as in a fleet, at once and in order."""

from __future__ import annotations

import json
import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from recloser import ConfigurationError, Recloser, configure
from recloser.alerts import Alert, RetryLaterError
from recloser.alerts.postman import TRIES
from recloser.backends import memory_outbox
from recloser.backends.memory import MemoryBackend
from recloser.default import DEFAULT
from recloser.registry import Registry
from recloser.testing import Sandbox

if TYPE_CHECKING:
    from recloser.core.events import Event


@pytest.fixture(autouse=True)
def _nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other modules of tests have built on circuits of the same names is not affected here."""
    monkeypatch.setattr(DEFAULT, "_written", Registry())


def steps(alerts: list[Alert]) -> list[tuple[str, str]]:
    return [(str(alert.step), alert.circuit) for alert in alerts]


def test_the_fixture_keeps_what_people_would_have_been_told(recloser: Sandbox) -> None:
    """Without a wait and without a thread; all of it can be written as JSON."""
    speak = recloser.fallback("elevenlabs", "cartesia")
    recloser.requires(speak, "deepgram")(lambda: None)
    recloser.trip("elevenlabs", reason="503")
    (alert,) = recloser.alerts
    assert (alert.step, alert.severity, alert.circuit, alert.at) == ("opened", "warning", "elevenlabs", 0.0)
    assert alert.title == "elevenlabs is paused, cartesia is answering"
    assert alert.facts["circuits"][0]["reason"] == "503"
    assert alert.facts["answering"] == {speak.name: "cartesia"}
    recloser.trip("cartesia")
    recloser.clock.advance("15m")
    with recloser.circuit("elevenlabs"):
        pass
    recloser.heal("cartesia")
    assert steps(recloser.alerts) == [
        ("opened", "elevenlabs"),
        ("opened", "cartesia"),
        ("closed", "elevenlabs"),
        ("updated", "cartesia"),
        ("closed", "cartesia"),
    ]
    assert [str(each.severity) for each in recloser.alerts] == ["warning", "critical", "info", "warning", "info"]
    assert recloser.alerts[0].incident == recloser.alerts[2].incident != recloser.alerts[1].incident
    assert [Alert.from_dict(json.loads(json.dumps(each.as_dict()))) for each in recloser.alerts] == recloser.alerts


def test_trips_within_the_wait_are_one_alert() -> None:
    """Where a test wants to see it."""
    with Sandbox(alert_wait="2s") as box:
        for name in ("a", "b", "c"):
            box.trip(name)
            box.clock.advance(0.5)
        assert box.alerts == []
        box.clock.advance("2s")
        (alert,) = box.alerts
        assert (alert.title, alert.facts["names"]) == ("a, b and c are paused", ["a", "b", "c"])


def test_an_incident_that_stays_open_is_said_again(recloser: Sandbox) -> None:
    """Four hours later."""
    recloser.pause("a", reason="maintenance", by="ann", for_="1h")
    recloser.trip("b")
    recloser.clock.advance("4h")
    titles = [alert.title for alert in recloser.alerts]
    assert titles == ["a is paused by ann", "b is paused", "b is still paused"]


def test_a_hook_that_fails_is_tried_again_and_then_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once that it fails and once that it is given up; others hear of everything meanwhile."""
    calls: list[float] = []

    def broken(alert: Alert) -> None:
        calls.append(box.clock.now())
        msg = f"no {alert.circuit} and no token=abcdef123456"
        raise OSError(msg)

    with Sandbox(alerts=[broken]) as box, caplog.at_level(logging.WARNING, "recloser"):
        box.trip("a")
        box.clock.advance("1h")
        assert len(calls) == TRIES
        assert all(later - earlier >= 1 for earlier, later in pairwise(calls))
        outbox = box.engine.alerts.outbox
        (letter,) = outbox.undelivered(box.engine.alerts.hooks[1].name)
        assert (letter.incident, letter.error) == ("recloser:a:1", "OSError: no a and no token=***")
        assert steps(box.alerts) == [("opened", "a")]
        first, last = (record.getMessage() for record in caplog.records)
        assert "it is tried again" in first
        assert f"given up after {TRIES} tries" in last
        assert "abcdef" not in caplog.text


def test_alerts_that_nobody_takes_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first, and it is said that they were."""
    monkeypatch.setattr(memory_outbox, "KEPT", 3)

    def broken(_: Alert) -> None:
        msg = "away"
        raise RetryLaterError(msg, 300.0)

    with Sandbox(alerts=[broken]) as box, caplog.at_level(logging.WARNING, "recloser"):
        for number in range(6):
            box.trip(f"north-{number}")
        hook = box.engine.alerts.hooks[1].name
        assert box.engine.alerts.outbox.dropped() == {hook: 3}
        assert len(box.alerts) == 6
    assert f"3 alerts for {hook} were dropped so far" in caplog.text


def test_a_receiver_says_when_it_wants_the_next_try() -> None:
    """And is left alone until then."""
    told: list[str] = []

    def busy(alert: Alert) -> None:
        if box.clock.now() < 90:
            msg = "later"
            raise RetryLaterError(msg, 90.0)
        told.append(alert.circuit)

    with Sandbox(alerts=[busy]) as box:
        box.trip("a")
        box.clock.advance(89)
        assert told == []
        box.clock.advance(2)
        assert told == ["a"]


def test_async_hooks_are_waited_for() -> None:
    """On a loop of their own."""
    told: list[str] = []

    async def hook(alert: Alert) -> None:
        told.append(alert.title)

    with Sandbox(alerts=[hook]) as box:
        box.trip("a")
        assert told == ["a is paused"]


def test_letters_about_one_incident_keep_their_order() -> None:
    """The end is not told before the beginning has been."""
    told: list[str] = []

    def hook(alert: Alert) -> None:
        if box.clock.now() < 10:
            raise OSError
        told.append(f"{alert.circuit} {alert.step}")

    with Sandbox(alerts=[hook]) as box:
        box.trip("a")
        box.clock.advance(0.5)
        box.trip("b")
        box.heal("a")
        box.clock.advance("5m")
        assert [each for each in told if each.startswith("a")] == ["a opened", "a closed"]
        assert "b opened" in told


def test_several_toolkits_on_one_backend_tell_once() -> None:
    """As processes do on one Redis."""
    with Sandbox() as box:
        told: list[Alert] = []

        def hook(alert: Alert) -> None:
            told.append(alert)

        # Told by the code of its hook, which is another one.
        with Recloser(box.engine.backend, clock=box.clock, alerts=[hook, "log"]):
            box.trip("a")
            box.clock.advance("10s")
            assert len(box.alerts) == len(told) == 1


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ("pagerduty", "alerts = 'pagerduty' is not possible: a hook that is installed: log, slack, webhook"),
        (["slack"], "it is not configured: set RECLOSER_SLACK_WEBHOOK, or RECLOSER_SLACK_TOKEN and"),
        ([7], "alerts = 7 is not possible: the name of a hook, or a function that takes an Alert"),
        (7, "alerts = 7 is not possible: names of hooks and hooks, in a list"),
    ],
)
def test_a_hook_that_cannot_be_had_is_said_at_once(alerts: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was asked for, with the cure."""
    for name in ("WEBHOOK", "TOKEN"):
        monkeypatch.delenv(f"RECLOSER_SLACK_{name}", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        Recloser(alerts=alerts)
    assert said in str(caught.value)
    with pytest.raises(ConfigurationError):
        configure(alerts=alerts)


def test_the_environment_names_hooks_and_is_checked_by_configure(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of its variable."""
    monkeypatch.setenv("RECLOSER_ALERTS", "log, nobody")
    with pytest.raises(ConfigurationError, match="RECLOSER_ALERTS = 'nobody'"):
        configure(namespace="here")


class Bare:
    """A backend of somebody's own, which has no outbox."""

    inline = True
    namespace = "bare"

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        if name == "outbox":
            raise AttributeError(name)
        return getattr(self._backend, name)


def test_a_backend_without_an_outbox_tells_of_its_own_process() -> None:
    """Everything but that other processes tell for it."""
    with Sandbox() as box:
        told: list[Alert] = []
        heard: list[Event] = []
        backend: Any = Bare(MemoryBackend(clock=box.clock))
        with Recloser(backend, clock=box.clock, alerts=[told.append]) as toolkit:
            toolkit.listen(heard.append)
            toolkit.pause("a", reason="maintenance", by="ann")
            box.clock.advance("5s")
            assert (len(heard), steps(told)) == (1, [("notice", "a")])
