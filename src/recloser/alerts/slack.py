"""Slack, by slack-sdk: what is set up in :mod:`recloser.alerts.slack_settings` is sent here."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError
from slack_sdk.webhook import WebhookClient

from recloser.alerts.postman import DeliveryError, RetryLaterError
from recloser.alerts.slack_blocks import reply
from recloser.alerts.webhook import retry_after
from recloser.core.alert import Step
from recloser.core.events import scrub
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.alerts.hooks import HookSettings
    from recloser.alerts.slack_settings import Look
    from recloser.core.alert import Alert

__all__ = ["SlackBot", "SlackRefusedError", "SlackWebhook"]

_TIMEOUT = 8
_GAP = 1.0
"""Slack takes one message a second: https://docs.slack.dev/apis/web-api/rate-limits."""
_WAIT = 30.0
"""Seconds to leave it alone when it says that it is too much, but not for how long."""
_ID = r"[CGD][A-Z0-9]{8,}"
_GONE = {"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"}
_CURES = {
    "invalid_auth": "a token that Slack knows",
    "not_authed": "a token that Slack knows",
    "account_inactive": "a token of a bot that was not removed",
    "token_revoked": "a token that was not revoked",
    "missing_scope": "the bot needs the scope chat:write",
    "channel_not_found": "there is no such channel, or the bot cannot see it: invite it there",
    "not_in_channel": "the bot is not in the channel: invite it there",
    "is_archived": "the channel is archived",
}


class SlackWebhook:
    """One message for each step.

    Args:
        url: the address of the incoming webhook.
        look: what is the same in all messages.
    """

    gap = _GAP

    def __init__(self, url: str, look: Look) -> None:
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
        token: the bot's.
        channel: its name or id.
        look: what is the same in all messages.
        settings: where it puts down in which message an incident is.
        api: another address of Slack's Web API.
    """

    gap = _GAP
    every_step = True

    def __init__(self, token: str, channel: str, look: Look, settings: HookSettings, api: str = "") -> None:
        self._client = WebClient(token, base_url=api or WebClient.BASE_URL, timeout=_TIMEOUT, retry_handlers=[])
        self._channel = channel
        self._look = look
        self._recall, self._remember = settings.recall, settings.remember

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
    """Slack has said no.

    Attributes:
        code: what it said.
    """

    code: str

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
        return SlackRefusedError(scrub(str(code)))
    return DeliveryError(f"Slack answers {status}: {scrub(str(body)[:200])}")
