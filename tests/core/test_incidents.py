"""Incidents: what people hear of a fleet's events, and what is kept from them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from recloser.core.events import Event, EventKind, Needs
from recloser.core.incidents import Grouping, Journal, Saying
from recloser.core.state import State
from recloser.core.window import NOTHING
from recloser.core.wording import worded

SPEAK = Needs("speak", "fallback", (("elevenlabs", "cartesia"),))
DIAL = Needs("dial", "requirement", (("elevenlabs", "cartesia"), ("deepgram",)))
HOUR = 3600.0
KINDS = {
    "trip": (EventKind.TRIPPED, State.OPEN),
    "retrip": (EventKind.RETRIPPED, State.OPEN),
    "probe": (EventKind.PROBING, State.HALF_OPEN),
    "resume": (EventKind.RESUMED, State.CLOSED),
    "pause": (EventKind.PAUSED, State.PAUSED),
    "by hand": (EventKind.RESUMED_BY_HAND, State.CLOSED),
    "restored": (EventKind.RESTORED, State.OPEN),
}


class Story:
    """Events one after the other, and what is said of them.

    The journal goes through JSON after every step, as it does between processes.
    """

    def __init__(self, **grouping: Any) -> None:
        self.grouping = Grouping(**grouping)
        self.journal = Journal()
        self.now = 1000.0
        self.generation = 0
        self.said: list[tuple[float, Saying, str, str]] = []

    def happens(
        self, what: str, circuit: str, *, local: bool = False, by: str = "recloser", enforced: bool = True
    ) -> None:
        """An event, now."""
        kind, state = KINDS[what]
        self.generation += 1
        known = self.journal.unwell.get(circuit)
        needs = tuple(need for need in (SPEAK, DIAL) if circuit in need.circuits)
        event = Event(
            kind=kind,
            circuit=circuit,
            state=state,
            previous=known.state if known else State.CLOSED,
            generation=self.generation,
            at=self.now,
            until=self.now + 900 if state is State.OPEN else None,
            reason="10 failures in 5m",
            by=by,
            counts=NOTHING,
            threshold="10 failures in 5m",
            affects=tuple(need.name for need in needs),
            local=local,
            needs=needs,
            enforced=enforced,
        )
        self.journal = self._kept(self.journal.after(event, self.grouping))
        self.speaks()

    def passes(self, seconds: float) -> None:
        """Time, and whatever is due on the way."""
        until = self.now + seconds
        while self.journal.due <= until:
            self.now = max(self.now, self.journal.due)
            self.speaks()
        self.now = until

    def speaks(self) -> None:
        journal, sayings = self.journal.said(self.now, self.grouping)
        self.journal = self._kept(journal)
        for saying in sayings:
            alert = worded(saying, self.journal, "ns")
            self.said.append((self.now, saying, str(alert.severity), alert.title))

    def lines(self, *, quiet: bool = False) -> list[str]:
        """Everything that was said since the last time, in words."""
        said, self.said = self.said, []
        return [f"{each.step}: {title}" for _, each, _, title in said if quiet or not each.quiet]

    @staticmethod
    def _kept(journal: Journal) -> Journal:
        kept = Journal.from_dict(json.loads(json.dumps(journal.as_dict())))
        assert kept == journal
        return kept


def test_a_trip_opens_and_a_resume_closes() -> None:
    """Said once each, the first after the wait for others."""
    story = Story()
    story.happens("trip", "elevenlabs")
    assert story.lines() == []
    story.passes(2)
    assert story.lines() == ["opened: elevenlabs is paused, cartesia is answering"]
    story.passes(900)
    story.happens("probe", "elevenlabs")
    story.happens("resume", "elevenlabs")
    assert story.lines() == ["closed: elevenlabs is back, after 15m2s"]
    assert story.journal.incidents == ()
    assert math.isinf(story.journal.due)


def test_circuits_that_trip_together_are_one_incident() -> None:
    """It is over when all of them are well, and on the way says nothing aloud."""
    story = Story()
    for name in ("a", "b", "c", "d", "e"):
        story.happens("trip", name)
        story.passes(0.3)
    story.passes(2)
    assert story.lines() == ["opened: a, b, c and 2 more are paused"]
    story.happens("trip", "late")
    story.passes(2)
    assert story.lines() == ["opened: late is paused"]
    for name in ("e", "d", "c", "b"):
        story.happens("resume", name)
    assert story.lines() == []
    story.happens("resume", "a")
    assert story.lines() == ["closed: a, b, c and 2 more are back, after 5.5s"]


def test_an_incident_that_is_over_before_it_was_said_is_said_and_closed() -> None:
    """Nothing that happened is kept from people."""
    story = Story()
    story.happens("trip", "a")
    story.happens("by hand", "a")
    assert story.lines() == ["opened: a was paused", "closed: a is back, after 0s"]


def test_steps_in_between_are_quiet() -> None:
    """Tests and their failures are for who keeps a log of every step."""
    story = Story()
    story.happens("trip", "a")
    story.passes(900)
    story.lines()
    story.happens("probe", "a")
    story.happens("retrip", "a")
    assert len(story.lines(quiet=True)) == 2
    (incident,) = story.journal.incidents
    assert incident.tries == 1


def test_what_stays_open_is_said_again() -> None:
    """Every four hours, as long as it is."""
    story = Story()
    story.happens("trip", "a")
    story.passes(13 * HOUR)
    assert story.lines() == ["opened: a is paused", *["updated: a is still paused"] * 3]


@pytest.mark.parametrize("flaps", [3, 10**9])
def test_a_day_of_flapping_is_a_handful_of_messages(flaps: int) -> None:
    """A provider that is down for two minutes of every five; without the rule, people would have stopped reading."""
    story = Story(flaps=flaps)
    for _ in range(24 * 12):
        story.happens("trip", "a")
        story.passes(120)
        story.happens("resume", "a")
        story.passes(180)
    story.passes(HOUR)
    said = story.lines()
    if flaps > 3:
        assert len(said) == 2 * 24 * 12
        return
    assert said == [
        *["opened: a is paused", "closed: a is back, after 2m"] * 2,
        "opened: a is flapping",
        "closed: a is calm, after 1d15m",
    ]


def test_a_fallback_without_a_provider_is_critical_and_says_what_it_stops() -> None:
    """Its own alert, and another one when something answers again."""
    story = Story()
    story.happens("trip", "elevenlabs")
    story.passes(60)
    story.happens("trip", "cartesia")
    story.passes(60)
    (_, _, first, _), (_, _, second, title) = story.said
    assert (first, second) == ("warning", "critical")
    assert title == "cartesia is paused, speak has no provider left, dial is stopped"
    story.lines()
    story.happens("resume", "elevenlabs")
    assert story.lines() == [
        "closed: elevenlabs is back, after 2m",
        "updated: cartesia is paused, elevenlabs is answering",
    ]


def test_a_requirement_that_blocks_is_critical() -> None:
    """Nothing can take the place of this one."""
    story = Story()
    story.happens("trip", "deepgram")
    story.passes(3)
    ((_, saying, severity, title),) = story.said
    assert (severity, title, saying.incident.blocks) == ("critical", "deepgram is paused, dial is stopped", ("dial",))


def test_operators_are_told_of_without_an_incident() -> None:
    """A pause by hand is a notice, and so is its end; inside an incident it is an update."""
    story = Story()
    story.happens("pause", "a", by="ann")
    story.happens("by hand", "a", by="bob")
    assert story.lines() == ["notice: a is paused by ann", "notice: a is resumed by bob"]
    story.happens("trip", "a")
    story.passes(3)
    story.happens("pause", "a", by="ann")
    assert story.lines() == ["opened: a is paused", "updated: a is paused by ann"]
    story.happens("by hand", "a", by="bob")
    assert story.lines() == ["closed: a is back, after 3s"]


def test_what_processes_do_for_themselves_is_said_once_for_all_of_them() -> None:
    """And not at all while people know that it is paused."""
    story = Story()
    for _ in range(200):
        story.happens("trip", "a", local=True)
    assert story.lines() == ["notice: One process pauses a for itself"]
    story.happens("trip", "b")
    story.happens("trip", "b", local=True)
    story.passes(3)
    assert story.lines() == ["opened: b is paused"]


def test_a_state_that_was_put_back_is_no_news() -> None:
    """The server had lost it, people had not; that it is over is news again."""
    story = Story()
    story.happens("restored", "a")
    story.passes(HOUR)
    assert story.lines() == []
    story.happens("resume", "a")
    assert story.lines() == ["closed: a is back, after 1h"]


def test_whoever_begins_late_does_not_tell_old_stories() -> None:
    """What is still so is said again in its time; what is over is over."""
    story = Story()
    old = Journal()
    for what, name in (("trip", "over"), ("resume", "over")):
        kind, state = KINDS[what]
        event = Event(kind, name, state, State.CLOSED, 1, 10.0, None, "", "recloser", NOTHING, "")
        old = old.after(event, story.grouping)
    still = Event(EventKind.TRIPPED, "still", State.OPEN, State.CLOSED, 2, 20.0, None, "", "recloser", NOTHING, "")
    old = old.after(still, story.grouping)
    journal = old.forgotten(10 * HOUR, story.grouping)
    assert journal.said(10 * HOUR, story.grouping)[1] == []
    again = journal.said(journal.due, story.grouping)[1]
    assert [(each.step, each.again) for each in again] == [("updated", True)]


def test_what_is_no_news_of_a_circuit_is_not_said() -> None:
    """A process that stood still, what concerns all circuits, what was well and still is."""
    story = Story()
    for kind, circuit in ((EventKind.STALLED, "a"), (EventKind.BACKEND_BACK, "*")):
        event = Event(kind, circuit, State.CLOSED, State.CLOSED, 0, story.now, None, "", "recloser", NOTHING, "")
        story.journal = story.journal.after(event, story.grouping)
    assert story.journal == Journal()


def test_a_pause_that_a_test_ends_badly_is_an_incident() -> None:
    """The operator's pause is over; what it finds is the provider's."""
    story = Story()
    story.happens("pause", "a", by="ann")
    story.happens("probe", "a")
    story.happens("retrip", "a")
    story.passes(3)
    assert story.lines() == ["notice: a is paused by ann", "opened: a is paused"]
    story.happens("pause", "b", by="ann")
    story.happens("probe", "b")
    story.happens("resume", "b")
    assert story.lines() == ["notice: b is paused by ann", "notice: b is resumed"]


def test_one_that_begins_to_flap_while_people_know_of_it() -> None:
    """It trips again before its incident was closed, being one of several; that it flaps is said with that."""
    story = Story()
    story.happens("trip", "a")
    story.happens("trip", "b")
    story.passes(3)
    for _ in range(2):
        story.happens("resume", "a")
        story.happens("trip", "a")
    assert story.lines() == ["opened: a and b are paused", "updated: a and b are flapping"]


def test_what_is_only_observed_stops_nothing() -> None:
    """People are told that it would be paused, and that calls go on."""
    story = Story()
    story.happens("trip", "deepgram", enforced=False)
    story.passes(3)
    ((_, saying, severity, title),) = story.said
    assert (severity, title) == ("warning", "deepgram would be paused, but is only observed")
    assert worded(saying, story.journal, "ns").facts["sentences"] == ["dial goes on."]
