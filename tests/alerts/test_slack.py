"""The Slack hook, by the real slack-sdk, against a local Slack."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recloser import ConfigurationError
from recloser.alerts import Alert, DeliveryError, HookSettings, RetryLaterError, Severity, Step
from recloser.alerts import slack as slack_module
from recloser.alerts.slack_blocks import message
from recloser.alerts.slack_settings import factory
from recloser.default import DEFAULT
from recloser.registry import Registry
from recloser.testing import Sandbox
from tests.alerts.slack_server import HOOK, TOKEN, SlackServer, objection

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer() as server:
        yield server


class Notes(dict[str, str]):
    """What processes have put down about incidents."""

    def recall(self, incident: str) -> str:
        return self.get(incident, "")


def hook(slack: SlackServer, notes: Notes | None = None, *, bot: bool = True, **more: str) -> Any:
    """The hook that these settings make."""
    environment = {"RECLOSER_SLACK_WEBHOOK": slack.url + HOOK}
    if bot:
        environment |= {"RECLOSER_SLACK_TOKEN": TOKEN, "RECLOSER_SLACK_CHANNEL": "C000000001"}
    environment |= {"RECLOSER_SLACK_API": slack.url + "/api/"} | more
    notes = Notes() if notes is None else notes
    return factory(HookSettings("fleet", environment, notes.recall, notes.__setitem__))


def speak(provider: str) -> None:
    """Says something."""


def dial() -> None:
    """Calls somebody."""


def story() -> Sandbox:
    """An outage of two providers, an operator, and the end."""
    # What other modules of tests have built on circuits of these names is not affected here.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DEFAULT, "_written", Registry())
        box = Sandbox()
    with box:
        voice = box.fallback("elevenlabs", "cartesia")(speak)
        dialling = box.requires(voice, "deepgram")(dial)
        tts = box.circuit("elevenlabs", failures=2)
        tts.record_failure(ConnectionError("refused <by> & key=abcdef123456"))
        tts.record_failure(TimeoutError("no ``` answer"))
        box.clock.advance("1m")
        box.trip("cartesia", reason="10 failures in 5m, last: APIStatusError 503")
        box.clock.advance("15m")
        with box.circuit("elevenlabs"):
            pass
        box.pause("openai", reason="maintenance", by="ann")
        box.heal("cartesia")
        for _ in range(3):
            box.trip("twilio")
            box.heal("twilio")
        del dialling
    return box


ALERTS = story().alerts
PICTURES = {
    "opened": ALERTS[0],
    "critical": ALERTS[1],
    "closed": ALERTS[2],
    "updated": ALERTS[3],
    "notice": ALERTS[4],
    "flapping": next(alert for alert in ALERTS if alert.facts.get("flapping")),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_golden_picture_of_each_message(name: str) -> None:
    """GOLDEN=write makes them anew."""
    mention = "<!here>" if name == "critical" else ""
    found = json.dumps(message(PICTURES[name], mention=mention, dashboard="https://recloser.example"), indent=1) + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")
    assert objection(json.loads(found)["blocks"]) == ""


def test_a_bot_keeps_one_message_for_each_incident(slack: SlackServer) -> None:
    """It shows the present state, and its thread the steps; another process goes on with it."""
    notes, box = Notes(), Sandbox()
    with box:
        box.trip("tts")
        box.clock.advance("4h")
        box.heal("tts")
    opened, again, closed = box.alerts
    hook(slack, notes)(opened)
    (head,) = slack.messages
    assert head["metadata"]["event_payload"]["incident"] == opened.incident
    other = hook(slack, notes)
    other(again)
    other(closed)
    (head,) = slack.heads()
    assert head["blocks"][0]["text"]["text"] == ":large_green_circle: tts is back, after 4h"
    assert slack.thread(head["ts"]) == ["tts is still paused", ":large_green_circle: tts is back, after 4h"]


def test_quiet_steps_are_in_the_thread_alone(slack: SlackServer) -> None:
    """A test that begins, or fails, is nobody's business but the curious ones'."""
    told = hook(slack)
    with Sandbox(alerts=[told]) as box:
        tts = box.circuit("tts", failures=1)
        tts.record_failure("down")
        for _ in range(2):
            box.clock.advance("10s")
        box.clock.advance("15m")
        with pytest.raises(ConnectionError), tts:
            raise ConnectionError
        box.clock.advance("1m")
        assert len(box.alerts) == 1
    (head,) = slack.heads()
    assert slack.thread(head["ts"]) == [
        ":large_yellow_circle: tts is HALF_OPEN",
        ":large_yellow_circle: tts is OPEN",
    ]


def test_a_message_that_somebody_deleted_is_posted_anew(slack: SlackServer) -> None:
    """Rather than lost."""
    told, (opened, _, closed, *_) = hook(slack), ALERTS
    told(opened)
    slack.messages.clear()
    told(closed)
    assert [each["text"] for each in slack.heads()] == ["elevenlabs is back, after 16m"]


def test_a_webhook_sends_one_message_for_each_step(slack: SlackServer) -> None:
    """All of them within Slack's limits, or it would not have taken them."""
    told = hook(slack, bot=False)
    for alert in ALERTS:
        told(alert)
    assert [each["text"] for each in slack.messages] == [alert.title for alert in ALERTS]


@pytest.mark.parametrize(
    ("mentions", "warning", "critical"),
    [
        ("", "", ""),
        ("here", "", "<!here> "),
        ("<!channel>, U0123456", "", "<!channel> <@U0123456> "),
        ("warning:S0123456", "<!subteam^S0123456> ", "<!subteam^S0123456> "),
    ],
)
def test_people_are_called_when_it_is_critical(slack: SlackServer, mentions: str, warning: str, critical: str) -> None:
    """Or at a warning, when somebody says so; never at the end."""
    told = hook(slack, bot=False, RECLOSER_SLACK_MENTIONS=mentions)
    for alert in ALERTS[:3]:
        told(alert)
    found = [each["text"].removesuffix(alert.title) for each, alert in zip(slack.messages, ALERTS[:3], strict=True)]
    assert found == [warning, critical, ""]


@pytest.mark.parametrize("bot", [True, False])
@pytest.mark.parametrize("fault", ["429", "500", "garbage", "cut", "hang"])
def test_what_slack_does_not_take_is_not_delivered(
    slack: SlackServer, fault: str, bot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a bound, and without a secret in what is said; the next try works."""
    monkeypatch.setattr(slack_module, "_TIMEOUT", 0.3)
    told = hook(slack, bot=bot)
    if fault == "garbage" and not bot:
        pytest.skip("a webhook answers with a text, whatever it says")
    slack.faults = [fault]
    with pytest.raises(DeliveryError) as caught:
        told(ALERTS[0])
    assert isinstance(caught.value, RetryLaterError) == (fault == "429")
    if isinstance(caught.value, RetryLaterError):
        assert caught.value.seconds == 7.0
    said = f"{caught.value!r} {caught.value} {told!r}"
    assert TOKEN not in said
    assert "XXXXXXXXXXXX" not in said
    told(ALERTS[0])
    assert len(slack.heads()) == 1


def test_nothing_is_too_long_for_slack(slack: SlackServer) -> None:
    """Long names, long errors, a hundred circuits."""
    told = hook(slack)
    errors = [{"label": "E" * 200, "message": "<&>" * 70, "count": 9, "at": 0.0}] * 5
    circuit = {
        "name": "n" * 128, "state": "open", "reason": "r" * 5000, "by": "recloser", "at": 0.0, "until": 1.0,
        "threshold": "t" * 100, "calls": 1, "failures": 1, "errors": errors,
    }  # fmt: skip
    facts = {"namespace": "fleet", "circuits": [circuit] * 100, "sentences": ["s" * 1000] * 10}
    told(Alert("i" * 500, Step.OPENED, "n" * 128, Severity.CRITICAL, "t" * 5000, "", facts, 0.0))
    assert len(slack.messages) == 1


WRONG = {
    "a webhook that is no address": {"RECLOSER_SLACK_WEBHOOK": "hooks.slack.com/services/SECRET"},
    "a token that is none": {"RECLOSER_SLACK_TOKEN": "SECRET", "RECLOSER_SLACK_CHANNEL": "C000000001"},
    "no channel": {"RECLOSER_SLACK_TOKEN": TOKEN, "RECLOSER_SLACK_CHANNEL": ""},
    "a channel that is not there": {"RECLOSER_SLACK_TOKEN": TOKEN, "RECLOSER_SLACK_CHANNEL": "C000000009"},
    "a channel without the bot": {"RECLOSER_SLACK_TOKEN": TOKEN, "RECLOSER_SLACK_CHANNEL": "C000000002"},
    "another token": {"RECLOSER_SLACK_TOKEN": "xoxb-SECRET", "RECLOSER_SLACK_CHANNEL": "C000000001"},
    "nobody of that name": {"RECLOSER_SLACK_MENTIONS": "somebody"},
    "no dashboard": {"RECLOSER_DASHBOARD_URL": "dashboard"},
}
CURES = {
    "a webhook that is no address": "RECLOSER_SLACK_WEBHOOK = '***' is not possible: an address that begins with https://",
    "a token that is none": "RECLOSER_SLACK_TOKEN = '***' is not possible: a bot's token, which begins with xoxb-",
    "no channel": "RECLOSER_SLACK_CHANNEL = '' is not possible: the name or the id of the channel",
    "a channel that is not there": "there is no such channel, or the bot cannot see it: invite it there",
    "a channel without the bot": "RECLOSER_SLACK_CHANNEL = 'C000000002' is not possible: the bot is not in the channel",
    "another token": "RECLOSER_SLACK_TOKEN = '***' is not possible: a token that Slack knows",
    "nobody of that name": "RECLOSER_SLACK_MENTIONS = 'somebody' is not possible: here, channel, ids of users",
    "no dashboard": "RECLOSER_DASHBOARD_URL = '***' is not possible: an address",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_work_is_said_at_the_start(slack: SlackServer, what: str) -> None:
    """By its name, with the cure, and without a secret."""
    with pytest.raises(ConfigurationError) as caught:
        hook(slack, bot="TOKEN" in str(WRONG[what]), **WRONG[what])
    assert CURES[what] in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_without_slack_at_the_start_the_application_starts(slack: SlackServer) -> None:
    """That it is down is no mistake of anybody's; a channel's name is taken as it is."""
    slack.faults = ["500"]
    told = hook(slack, RECLOSER_SLACK_CHANNEL="#alerts")
    told(ALERTS[0])
    assert slack.heads()[0]["channel"] == "C000000001"


def test_it_is_not_there_when_it_is_not_configured() -> None:
    """And says what it would need."""
    assert factory(HookSettings(environment={})) is None
