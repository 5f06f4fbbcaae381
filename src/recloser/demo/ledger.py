"""What happened, as notes, and what follows from it: every number that the demo shows is computed here."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from recloser import PausedError, State
from recloser.demo.clients import SPEECH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.core.events import Event
    from recloser.demo.clients import Try
    from recloser.demo.fleet.ledger import FleetLedger
    from recloser.demo.provider import Fault
    from recloser.demo.script import Cue, Lead

__all__ = ["Call", "Changed", "Crashed", "Cued", "End", "HeldBack", "Ledger", "Left", "Note", "Over", "blocked"]

_ONE_PAUSE = 0.1
"""Processes work out when a pause began each for itself; what is closer together than so many seconds is one pause."""


class End(Enum):
    """How a call ended."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened.

    Attributes:
        at: how many seconds after the day began.
        member: in which process of a fleet; 0 where there is only one, and for what its operator does.
    """

    at: float
    member: int = field(default=0, kw_only=True)

    @property
    def who(self) -> str:
        """The process, in words."""
        return f"process {self.member}" if self.member else "the operator"

    def told(self) -> tuple[str, str, str] | None:
        """A sort, a name, and what there is to say; None when the views have words of their own, or none."""
        return None


@dataclass(frozen=True, slots=True)
class Cued(Note):
    """The script said so."""

    cue: Cue


@dataclass(frozen=True, slots=True)
class Changed(Note):
    """The toolkit reported an event."""

    event: Event


@dataclass(frozen=True, slots=True)
class Call(Note):
    """A lead was called.

    Attributes:
        lead: who.
        end: how it ended.
        seconds: how long it lasted.
        tries: the requests that it made.
        error: what it was lost to.
    """

    lead: Lead
    end: End
    seconds: float
    tries: tuple[Try, ...]
    error: Exception | None

    @property
    def voice(self) -> str:
        """Who spoke; empty when nobody did."""
        return next((each.provider for each in self.tries if each.provider in SPEECH and not each.error), "")

    @property
    def failed(self) -> tuple[Try, ...]:
        """The requests that failed."""
        return tuple(each for each in self.tries if each.error)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The providers that were preferred to the one that spoke, and not asked: their circuits said no."""
        if not self.voice:
            return ()
        asked = {each.provider for each in self.tries}
        return tuple(each for each in SPEECH[: SPEECH.index(self.voice)] if each not in asked)


@dataclass(frozen=True, slots=True)
class HeldBack(Note):
    """A lead was not called, and put back into the queue."""

    lead: Lead
    paused: PausedError


@dataclass(frozen=True, slots=True)
class Over(Note):
    """The day is over."""


@dataclass(frozen=True, slots=True)
class Left(Note):
    """Somebody ended the demo early, by a signal or by closing what it prints to.

    Attributes:
        code: what to exit with.
    """

    code: int


@dataclass(frozen=True, slots=True)
class Crashed(Note):
    """A thread of the demo died of an error that nobody expected."""

    error: BaseException


@dataclass
class Ledger:
    """Everything that happened so far. One thread writes and reads it.

    Attributes:
        calls: the calls that were made.
        held: the times that a lead was put back.
        events: what the toolkit reported.
        told: the latest of everything, in order.
        dead: what is wrong with the providers that the script has broken and not healed yet; the toolkit is never told.
        spared: how many requests to each provider its circuit kept from being made while the provider was dead.
        waited: the same while the provider was well again already: what a cooldown costs.
        kept: the leads who were not called while the call would have been silent.
        moved: the leads to whom another provider spoke while the first choice was dead.
        fleet: the same about processes, where there are several.
    """

    calls: list[Call] = field(default_factory=list)
    held: list[HeldBack] = field(default_factory=list)
    events: list[Changed] = field(default_factory=list)
    told: deque[Note] = field(default_factory=lambda: deque(maxlen=200))
    dead: dict[str, Fault] = field(default_factory=dict)
    spared: Counter[str] = field(default_factory=Counter)
    waited: Counter[str] = field(default_factory=Counter)
    kept: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    fleet: FleetLedger | None = None
    _counted: dict[tuple[int, str], float] = field(default_factory=dict)

    def add(self, note: Note) -> None:
        """Puts down one more thing."""
        self.told.append(note)
        if self.fleet is not None:
            self.fleet.add(note)
        if isinstance(note, Cued):
            if note.cue.fault is not None:
                self.dead[note.cue.circuit] = note.cue.fault
            elif note.cue.action == "heal":
                self.dead.pop(note.cue.circuit, None)
        elif isinstance(note, Changed):
            self.events.append(note)
        elif isinstance(note, Call):
            self.calls.append(note)
            self._count_call(note)
        elif isinstance(note, HeldBack):
            self.held.append(note)
            if note.paused.state is State.OPEN:
                self._count_held(note)

    def _count_call(self, call: Call) -> None:
        for provider in call.skipped:
            (self.spared if provider in self.dead else self.waited)[provider] += 1
        preferred = SPEECH[0]
        failed = any(each.provider == preferred for each in call.failed)
        if call.voice and call.voice != preferred and (failed or preferred in self.dead):
            self.moved.add(call.lead.number)

    def _count_held(self, note: HeldBack) -> None:
        # Put back several times during one pause, a lead would have been called once.
        circuit, since = note.paused.circuit, note.paused.since
        key = (note.lead.number, circuit)
        if abs(since - self._counted.get(key, -math.inf)) < _ONE_PAUSE:
            return
        self._counted[key] = since
        (self.spared if circuit in self.dead else self.waited)[circuit] += 1
        if circuit in self.dead:
            self.kept.add(note.lead.number)

    # -- what happened -----------------------------------------------------------------------------------------------

    @property
    def ended(self) -> Counter[End]:
        """How many calls ended in each way."""
        return Counter(call.end for call in self.calls)

    @property
    def voices(self) -> Counter[str]:
        """How many calls each provider of speech spoke in."""
        return Counter(call.voice for call in self.calls if call.voice)

    @property
    def waiting(self) -> int:
        """How many leads were put back and not called since."""
        called = {call.lead.number for call in self.calls}
        return len({note.lead.number for note in self.held} - called)

    def happened(self, *kinds: str) -> Counter[str]:
        """How often any of these kinds of event happened to each circuit."""
        return Counter(note.event.circuit for note in self.shared if note.event.kind in kinds)

    @property
    def shared(self) -> list[Changed]:
        """The transitions that hold everywhere, in the order in which they were made."""
        return sorted((note for note in self.events if not note.event.local), key=lambda note: note.event.at)

    def pauses(self, now: float) -> list[float]:
        """How long dialling was paused, each time; the last time may go on ``now``."""
        states: dict[str, State] = {}
        lengths: list[float] = []
        since: float | None = None
        for note in self.shared:
            states[note.event.circuit] = note.event.state
            if since is None and blocked(states):
                since = note.at
            elif since is not None and not blocked(states):
                lengths.append(note.at - since)
                since = None
        return lengths if since is None else [*lengths, now - since]

    # -- what it saved -----------------------------------------------------------------------------------------------

    @property
    def silent_avoided(self) -> int:
        """How many leads would have heard nothing."""
        return len(self.kept | self.moved)

    @property
    def cost_of_a_failure(self) -> dict[str, float]:
        """The mean length, in seconds, of a failed request to each provider, as measured today."""
        spent: dict[str, list[float]] = {}
        for call in self.calls:
            for failed in call.failed:
                spent.setdefault(failed.provider, []).append(failed.seconds)
        return {provider: sum(lengths) / len(lengths) for provider, lengths in spent.items()}

    @property
    def hanging_avoided(self) -> float:
        """About how many seconds the requests that were spared would have taken to fail."""
        cost = self.cost_of_a_failure
        return sum(cost.get(provider, 0.0) * times for provider, times in self.spared.items())


def blocked(states: Mapping[str, State]) -> bool:
    """Whether dialling is paused when circuits are in these states."""
    no = (State.OPEN, State.PAUSED)
    needed = ("deepgram", "openai", "twilio")
    return any(states.get(each) in no for each in needed) or all(states.get(each) in no for each in SPEECH)
