"""The hook for Slack: an incoming webhook, or a bot that keeps one message for each incident.

``RECLOSER_SLACK_WEBHOOK``
: the address of an incoming webhook: one message for each step of an incident.

``RECLOSER_SLACK_TOKEN``, ``RECLOSER_SLACK_CHANNEL``
: a bot's token (scope ``chat:write``) and a channel: one message for each incident, always as it is now, and its
  steps in the thread below.

``RECLOSER_SLACK_MENTIONS``
: who is called when it is critical, with commas between them: ``here``, ``channel``, ids of users (``U...``) and groups
  (``S...``); with ``warning:`` before one of them, when it is a warning as well.

``RECLOSER_DASHBOARD_URL``
: where there is more to see.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError
from slack_sdk.webhook import WebhookClient

from recloser.alerts.postman import DeliveryError, RetryLaterError
from recloser.alerts.slack_blocks import message, reply
from recloser.alerts.webhook import http_address, retry_after
from recloser.core.alert import Severity, Step
from recloser.core.events import scrub
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.alerts.hooks import Hook, HookSettings
    from recloser.core.alert import Alert

__all__ = ["SlackBot", "SlackWebhook", "factory"]

_TIMEOUT = 8
_GAP = 1.0
"""Slack takes one message a second: https://docs.slack.dev/apis/web-api/rate-limits."""
_WAIT = 30.0
"""Seconds to leave it alone when it says that it is too much, but not for how long."""
_ID = r"[CGD][A-Z0-9]{8,}"
_GONE = {"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"}
_CURES = {
    "invalid_auth": "RECLOSER_SLACK_TOKEN is not a token that Slack knows",
    "not_authed": "RECLOSER_SLACK_TOKEN is not a token that Slack knows",
    "account_inactive": "the bot of RECLOSER_SLACK_TOKEN was removed from Slack",
    "token_revoked": "RECLOSER_SLACK_TOKEN was revoked",
    "missing_scope": "the bot needs the scope chat:write",
    "channel_not_found": "there is no such channel, or the bot cannot see it: invite it there",
    "not_in_channel": "the bot is not in the channel: invite it there",
    "is_archived": "the channel is archived",
}


def factory(settings: HookSettings) -> Hook | None:
    """The bot when there is a token, else the webhook, else None.

    Raises:
        ConfigurationError: for an address, a token, a channel or a mention that cannot be used.
    """
    url, token = settings.get("RECLOSER_SLACK_WEBHOOK"), settings.get("RECLOSER_SLACK_TOKEN")
    channel = settings.get("RECLOSER_SLACK_CHANNEL")
    if not (url or token):
        return None
    look = _Look(settings)
    if not token:
        return SlackWebhook(http_address("RECLOSER_SLACK_WEBHOOK", url), look)
    if not token.startswith(("xoxb-", "xoxp-", "xoxe.")):
        raise ConfigurationError("RECLOSER_SLACK_TOKEN", "***", "a bot's token, which begins with xoxb-")
    if not channel:
        allowed = "the name or the id of the channel that RECLOSER_SLACK_TOKEN is to write to"
        raise ConfigurationError("RECLOSER_SLACK_CHANNEL", channel, allowed)
    base = settings.get("RECLOSER_SLACK_API") or WebClient.BASE_URL
    client = WebClient(token, base_url=base, timeout=_TIMEOUT, retry_handlers=[])
    bot = SlackBot(client, channel, look, settings.recall, settings.remember)
    bot.check()
    return bot


factory.needs = "RECLOSER_SLACK_WEBHOOK, or RECLOSER_SLACK_TOKEN and RECLOSER_SLACK_CHANNEL"  # type: ignore[attr-defined]  # see hooks.find


class _Look:
    """What is the same in all messages."""

    def __init__(self, settings: HookSettings) -> None:
        self.dashboard = settings.get("RECLOSER_DASHBOARD_URL")
        if self.dashboard:
            http_address("RECLOSER_DASHBOARD_URL", self.dashboard)
        said = (each.strip() for each in settings.get("RECLOSER_SLACK_MENTIONS").split(","))
        self._mentions = [_mention(each) for each in said if each]

    def of(self, alert: Alert, *, calls: bool = True) -> dict[str, Any]:
        """The message, with a mention if it ``calls`` anybody."""
        loud = calls and alert.step in {Step.OPENED, Step.UPDATED, Step.NOTICE}
        called = [who for severity, who in self._mentions if loud and _reaches(severity, alert.severity)]
        return message(alert, mention=" ".join(called), dashboard=self.dashboard)


def _reaches(severity: Severity, of_alert: Severity) -> bool:
    return of_alert is Severity.CRITICAL or (severity is Severity.WARNING and of_alert is Severity.WARNING)


def _mention(said: str) -> tuple[Severity, str]:
    sort, mark, who = said.rpartition(":")
    name = who.strip("<>!@ ")
    if mark and sort.strip() not in {"warning", "critical"}:
        name = ""
    if name in {"here", "channel", "everyone"}:
        text = f"<!{name}>"
    elif re.fullmatch(r"[UW][A-Z0-9]{5,}", name):
        text = f"<@{name}>"
    elif re.fullmatch(r"(?:subteam\^)?S[A-Z0-9]{5,}", name):
        text = f"<!subteam^{name.removeprefix('subteam^')}>"
    else:
        allowed = "here, channel, ids of users (U...) and groups (S...), with commas; warning: may stand before one"
        raise ConfigurationError("RECLOSER_SLACK_MENTIONS", said, allowed)
    return (Severity.WARNING if sort.strip() == "warning" else Severity.CRITICAL), text


class SlackWebhook:
    """One message for each step.

    Args:
        url: the address of the incoming webhook.
        look: what is the same in all messages.
    """

    gap = _GAP

    def __init__(self, url: str, look: _Look) -> None:
        self._client = WebhookClient(url, timeout=_TIMEOUT, retry_handlers=[])
        self._look = look

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __call__(self, alert: Alert) -> None:
        """Sends it.

        Raises:
            RetryLaterError: when Slack has had too much.
            DeliveryError: when it does not take it.
        """
        answer = _asked(lambda: self._client.send(**self._look.of(alert), unfurl_links=False))
        if answer.status_code != 200:
            raise _refusal(answer.status_code, dict(answer.headers), answer.body)


class SlackBot:
    """One message for each incident, and its steps in the thread below.

    Args:
        client: of Slack's Web API.
        channel: its name or id.
        look: what is the same in all messages.
        recall: what is known about an incident: where its message is.
        remember: puts that down.
    """

    gap = _GAP
    every_step = True

    def __init__(
        self,
        client: WebClient,
        channel: str,
        look: _Look,
        recall: Callable[[str], str],
        remember: Callable[[str, str], None],
    ) -> None:
        self._client = client
        self._channel = channel
        self._look = look
        self._recall = recall
        self._remember = remember

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._channel}>"

    def check(self) -> None:
        """Looks whether Slack knows the token, and the bot the channel; that Slack does not answer is no mistake.

        Raises:
            ConfigurationError: when it cannot be used, with the cure.
        """
        code = self._objection()
        # A bot that may write need not be allowed to look.
        if code in _CURES and code != "missing_scope":
            about_channel = "channel" in code or code == "is_archived"
            key = "RECLOSER_SLACK_CHANNEL" if about_channel else "RECLOSER_SLACK_TOKEN"
            raise ConfigurationError(key, self._channel if about_channel else "***", _CURES[code])

    def _objection(self) -> str:
        """What Slack says against the token or the channel; empty when nothing, or when it cannot be asked."""
        try:
            _asked(self._client.auth_test)
            if not re.fullmatch(_ID, self._channel):
                return ""
            found = _asked(lambda: self._client.conversations_info(channel=self._channel))
        except SlackRefusedError as error:
            return error.code
        except DeliveryError:
            return ""
        return "not_in_channel" if found["channel"].get("is_member") is False else ""

    def __call__(self, alert: Alert) -> None:
        """Brings the incident's message up to date, and adds this step to its thread.

        Raises:
            RetryLaterError: when Slack has had too much.
            DeliveryError: when it does not take it.
        """
        place = json.loads(self._recall(alert.incident) or "{}")
        if place and self._update(alert, place):
            return
        posted = self._ask("chat.postMessage", {"channel": self._channel, **self._about(alert)})
        place = {"channel": posted["channel"], "ts": posted["ts"]}
        self._remember(alert.incident, json.dumps(place))

    def _update(self, alert: Alert, place: dict[str, str]) -> bool:
        """Whether there still was a message to bring up to date."""
        if alert.step is Step.OPENED:
            return True  # it was posted by somebody who died before saying so
        try:
            self._ask("chat.update", {**place, **self._about(alert, calls=False)})
            self._ask("chat.postMessage", {"channel": place["channel"], "thread_ts": place["ts"], **self._step(alert)})
        except SlackRefusedError as error:
            if error.code in _GONE:
                return False
            raise
        return True

    def _about(self, alert: Alert, *, calls: bool = True) -> dict[str, Any]:
        payload = {"incident": alert.incident, "step": str(alert.step)}
        metadata = {"event_type": "recloser_incident", "event_payload": payload}
        return {**self._look.of(alert, calls=calls), "metadata": metadata, "unfurl_links": False}

    def _step(self, alert: Alert) -> dict[str, Any]:
        loud = alert.step is Step.UPDATED and not alert.facts.get("quiet")
        return {"text": self._look.of(alert)["text"] if loud else reply(alert)}

    def _ask(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = _asked(lambda: self._client.api_call(method, json=arguments))
        data: dict[str, Any] = answer.data
        return data


class SlackRefusedError(DeliveryError):
    """Slack has said no."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Slack says {code}: {_CURES[code]}" if code in _CURES else f"Slack says {code}")
        self.code = code


def _asked(ask: Callable[[], Any]) -> Any:
    """What ``ask`` returns; what slack-sdk raises becomes one of ours, without tokens in it."""
    try:
        return ask()
    except SlackClientError as error:
        response: Any = getattr(error, "response", None)
        if response is not None:
            raise _refusal(response.status_code, dict(response.headers), response.data) from None
        said = scrub(str(error))
    except (OSError, ValueError) as error:
        said = f"Slack cannot be reached: {scrub(str(error))}"
    raise DeliveryError(said)


def _refusal(status: int, headers: dict[str, Any], body: Any) -> DeliveryError:
    if status == 429:
        wait = retry_after({name: value if isinstance(value, str) else value[0] for name, value in headers.items()})
        return RetryLaterError("Slack has had too much", _WAIT if wait is None else wait)
    code = body.get("error", "") if isinstance(body, dict) else ""
    if code:
        return SlackRefusedError(str(code))
    return DeliveryError(f"Slack answers {status}: {scrub(str(body)[:200])}")
