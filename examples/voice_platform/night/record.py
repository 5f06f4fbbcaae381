"""The record of the night: what workers wrote down, what happened to circuits, and what people were told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from examples.voice_platform.app.journal import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from redis import Redis

    from recloser import Recloser
    from tests.alerts.slack_server import SlackServer

__all__ = ["Entry", "Record"]


@dataclass(frozen=True)
class Entry:
    """One thing that happened.

    Attributes:
        at: when, Unix time in seconds.
        source: who says so: ``"night"`` is the script.
        kind: what.
        facts: the rest.
    """

    at: float
    source: Literal["call", "circuit", "slack", "night"]
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """In words."""
        facts = self.facts
        match self.source:
            case "night":
                return f"\n# {facts['step']}. {self.kind}" if "step" in facts else self.kind
            case "circuit":
                return f"{facts['circuit']:<11}{self.kind.upper()}: {facts['reason']}"
            case "slack":
                return f"{'Slack':<11}{'> ' if facts['thread'] else ''}{self.kind}"
        name = facts["lead"] or facts["worker"]
        return f"{name:<11}{_TOLD[self.kind].format(**facts)}"


_TOLD = {
    "waits": "waits, since {why}",
    "fetched": "is taken by {worker}",
    "refused": "goes back: {why}",
    "cut": "is cut short: {why} ({errors}x told), back to the queue",
    "served": "is served: {ears} heard, {voice} spoke",
}


class Record:
    """Collects from everywhere whenever it is asked to, prints what is new, and keeps it.

    Args:
        redis: where the journal of the workers is.
        fleet: a toolkit that looks on.
        slack: where people read.
        now: the time of Redis.
    """

    def __init__(self, redis: Redis, fleet: Recloser, slack: SlackServer, now: Callable[[], float]) -> None:
        self.entries: list[Entry] = []
        self.lines: list[str] = []
        self.began = now()
        self._redis = redis
        self._fleet = fleet
        self._slack = slack
        self._now = now
        self._journal = f"{int(1000 * self.began)}-0"  # what was before is of no interest
        self._events = self._messages = 0

    def note(self, kind: str, **facts: object) -> None:
        """The script goes on."""
        self.collect()
        self._keep([Entry(self._now(), "night", kind, facts)])

    def collect(self) -> None:
        """Takes note of what is new."""
        self._keep(sorted([*self._calls(), *self._circuits(), *self._told()], key=lambda entry: entry.at))

    def _keep(self, new: list[Entry]) -> None:
        self.entries += new
        for entry in new:
            stamp = "" if "step" in entry.facts else f"{entry.at - self.began:6.2f}  "
            self.say(stamp + entry.line)

    def say(self, line: str) -> None:
        """Prints a line, which is part of the record."""
        self.lines.append(line)
        print(line, flush=True)

    def _calls(self) -> list[Entry]:
        found: Any = self._redis.xrange(JOURNAL, min=f"({self._journal}")
        entries = []
        for key, facts in found:
            self._journal = key
            entries.append(Entry(int(key.split("-")[0]) / 1000, "call", facts.pop("kind"), facts))
        return entries

    def _circuits(self) -> list[Entry]:
        events = list(self._fleet.events())
        new, self._events = events[self._events :], len(events)
        return [Entry(event.at, "circuit", str(event.kind), event.as_dict()) for event in new]

    def _told(self) -> list[Entry]:
        messages = self._slack.messages[self._messages :]
        self._messages += len(messages)
        now = self._now()
        return [
            Entry(
                now,
                "slack",
                said["text"].splitlines()[0],
                {"thread": bool(said.get("thread_ts")), "text": said["text"]},
            )
            for said in messages
        ]

    def sorted(self) -> list[Entry]:
        """All entries, by time: what is told in two places is not collected in order."""
        return sorted(self.entries, key=lambda entry: entry.at)

    # -- asked by the script and by the facts --------------------------------------------------------------------------

    def calls(self, kind: str, **facts: str) -> list[Entry]:
        """What workers wrote of that kind, with these facts."""
        return [each for each in self.of("call", kind) if facts.items() <= each.facts.items()]

    def of(self, source: str, kind: str, **facts: str) -> list[Entry]:
        """All of a kind."""
        return [
            entry
            for entry in self.entries
            if (entry.source, entry.kind) == (source, kind) and facts.items() <= entry.facts.items()
        ]

    def as_lines(self) -> str:
        """The same as JSON, one line for each entry."""
        return "".join(json.dumps(asdict(entry), default=str) + "\n" for entry in self.entries)
