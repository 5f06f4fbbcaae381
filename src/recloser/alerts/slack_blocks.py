"""What an alert looks like in Slack: Block Kit, plain words first, within Slack's limits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recloser.core.alert import Severity, Step
from recloser.core.machine import RECLOSER
from recloser.core.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from recloser.core.alert import Alert

__all__ = ["message", "reply"]

Block = dict[str, Any]

# https://docs.slack.dev/reference/block-kit/blocks: characters of a header and of a section, blocks of a message.
_HEADER, _SECTION, _BLOCKS = 150, 3000, 50
_CIRCUITS = 10
"""So many circuits are described one by one."""
_BACK = ":large_green_circle:"
_SIGNS = {
    Severity.INFO: ":large_blue_circle:",
    Severity.WARNING: ":large_yellow_circle:",
    Severity.CRITICAL: ":red_circle:",
}
_CODE = "```"


def message(alert: Alert, *, mention: str = "", dashboard: str = "") -> dict[str, Any]:
    """``text`` (for notifications) and ``blocks`` of a message.

    Args:
        alert: what it says.
        mention: who is called, ``"<!here>"``; empty for nobody.
        dashboard: where there is more to see; empty for nowhere.
    """
    blocks = list(_blocks(alert, mention, dashboard))[:_BLOCKS]
    called = f"{mention} " if mention else ""
    return {"text": called + _cut(_escaped(alert.title), _SECTION), "blocks": blocks}


def reply(alert: Alert) -> str:
    """One step of an incident in a line, for the thread below its message."""
    said = alert.title
    if alert.facts.get("quiet"):
        states = [f"{circuit['name']} is {_state(circuit)}" for circuit in alert.facts.get("circuits", ())]
        said = ", ".join(states) or said
    return f"{_sign(alert)} {_cut(_escaped(said), _SECTION)}"


def _blocks(alert: Alert, mention: str, dashboard: str) -> Iterator[Block]:
    title = _cut(f"{_sign(alert)} {alert.title}", _HEADER)
    yield {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": True}}
    sentences = "\n".join(alert.facts.get("sentences", ())) or alert.text
    if sentences:
        yield _section(_escaped(sentences))
    circuits = alert.facts.get("circuits", ())
    for circuit in circuits[:_CIRCUITS]:
        yield from _circuit(circuit)
    if len(circuits) > _CIRCUITS:
        others = ", ".join(circuit["name"] for circuit in circuits[_CIRCUITS:])
        yield _section(_escaped(f"And {len(circuits) - _CIRCUITS} more: {others}"))
    if dashboard:
        button = {"type": "button", "text": {"type": "plain_text", "text": "Dashboard"}, "url": dashboard}
        yield {"type": "actions", "elements": [button]}
    about = _escaped(" · ".join(filter(None, (alert.facts.get("namespace", ""), f"incident {alert.incident}"))))
    called = f"{mention} · " if mention else ""
    yield {"type": "context", "elements": [{"type": "mrkdwn", "text": _cut(called + about, _SECTION)}]}


def _circuit(circuit: Mapping[str, Any]) -> Iterator[Block]:
    """Why, and how it goes on."""
    reason = f": {circuit['reason']}" if circuit["reason"] else ""
    by = "" if circuit["by"] == RECLOSER else f" by {circuit['by']}"
    yield _section(f"*{_escaped(circuit['name'])}* is {_state(circuit)}{_escaped(by)}{_escaped(reason)}")
    if circuit["state"] == State.CLOSED:
        return
    until = _moment(circuit["until"]) if circuit["until"] else _until(circuit["state"])
    fields = (
        f"*Failed*\n{circuit['failures']} of {circuit['calls']} calls",
        f"*Pauses it*\n{_escaped(circuit['threshold']) or 'an operator'}",
        f"*Since*\n{_moment(circuit['at'])}",
        f"*Tested again*\n{until}",
    )
    yield {"type": "section", "fields": [{"type": "mrkdwn", "text": field} for field in fields]}
    errors = [f"{each['count']} x {_error(each)}" for each in reversed(circuit["errors"])]
    if errors:
        # What stands between these marks is shown as it is; the marks themselves must not be in it.
        shown = _escaped("\n".join(errors).replace(_CODE, ""))
        yield _section(_CODE + _cut(shown, _SECTION - 2 * len(_CODE)) + _CODE)


def _error(error: Mapping[str, Any]) -> str:
    return f"{error['label']}: {error['message']}" if error["message"] else str(error["label"])


def _state(circuit: Mapping[str, Any]) -> str:
    return str(circuit["state"]).upper()


def _until(state: str) -> str:
    return "now" if state == State.HALF_OPEN else "once it is resumed"


def _moment(unix: float) -> str:
    """A moment that everybody sees in their own time zone."""
    plain = f"{datetime.fromtimestamp(unix, UTC):%H:%M UTC}"
    return f"<!date^{int(unix)}^{{time}}|{plain}>"


def _section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, _SECTION)}}


def _sign(alert: Alert) -> str:
    return _BACK if alert.step is Step.CLOSED else _SIGNS[alert.severity]


def _escaped(text: str) -> str:
    """https://docs.slack.dev/messaging/formatting-message-text: three characters mean something."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
