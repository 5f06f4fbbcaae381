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

import re
from typing import TYPE_CHECKING, Any

from recloser.alerts.slack_blocks import message
from recloser.alerts.webhook import http_address
from recloser.core.alert import Severity, Step
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from recloser.alerts.hooks import Hook, HookSettings
    from recloser.core.alert import Alert

__all__ = ["Look", "factory"]


def factory(settings: HookSettings) -> Hook | None:
    """The bot when there is a token, else the webhook, else None.

    Raises:
        ConfigurationError: for an address, a token, a channel or a mention that cannot be used.
    """
    url, token = settings.get("RECLOSER_SLACK_WEBHOOK"), settings.get("RECLOSER_SLACK_TOKEN")
    channel = settings.get("RECLOSER_SLACK_CHANNEL")
    if not (url or token):
        return None
    from recloser.alerts.slack import SlackBot, SlackWebhook  # noqa: PLC0415 - whoever has no Slack does not load it

    look = Look(settings)
    if not token:
        return SlackWebhook(http_address("RECLOSER_SLACK_WEBHOOK", url), look)
    if not token.startswith(("xoxb-", "xoxp-", "xoxe.")):
        raise ConfigurationError("RECLOSER_SLACK_TOKEN", "***", "a bot's token, which begins with xoxb-")
    if not channel:
        allowed = "the name or the id of the channel that RECLOSER_SLACK_TOKEN is to write to"
        raise ConfigurationError("RECLOSER_SLACK_CHANNEL", channel, allowed)
    bot = SlackBot(token, channel, look, settings, api=settings.get("RECLOSER_SLACK_API"))
    bot.check()
    return bot


factory.needs = "RECLOSER_SLACK_WEBHOOK, or RECLOSER_SLACK_TOKEN and RECLOSER_SLACK_CHANNEL"  # type: ignore[attr-defined]  # see hooks.find


class Look:
    """What is the same in all messages.

    Attributes:
        dashboard: where there is more to see; empty for nowhere.
    """

    dashboard: str

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
