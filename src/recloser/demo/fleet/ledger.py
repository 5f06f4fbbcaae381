"""What happened in the processes of a fleet, and what follows from it."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recloser.core.events import EventKind
from recloser.demo.fleet.notes import Gone, Joined, Known, StoodStill, Totals
from recloser.demo.fleet.wire import UnexpectedError
from recloser.demo.ledger import Call, Changed, Cued

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recloser.demo.ledger import Ledger, Note

__all__ = ["FleetLedger"]


@dataclass
class FleetLedger:
    """Everything that happened so far in which it matters that there are several processes.

    Attributes:
        joined: the processes, by number.
        gone: those that have ended since.
        known: the transitions that everybody knows of.
        handed_on: the leads whom a process was calling when it ended, and which one called them then; 0 for nobody yet.
        without: the processes that Redis does not answer now.
        missed: those that it did not answer at any time.
        stops: since when Redis stands still; None while it does not.
        stood_still: for how long it did, each time.
        unexpected: calls that were lost to something that neither a provider nor a circuit raised.
        totals: what Redis knows at the end; None before.
        arrivals: the requests that reached a provider: which one, and when, in Unix time.
    """

    joined: dict[int, Joined] = field(default_factory=dict)
    gone: dict[int, Gone] = field(default_factory=dict)
    known: list[Known] = field(default_factory=list)
    handed_on: dict[int, int] = field(default_factory=dict)
    without: set[int] = field(default_factory=set)
    missed: set[int] = field(default_factory=set)
    stops: float | None = None
    stood_still: list[StoodStill] = field(default_factory=list)
    unexpected: list[Call] = field(default_factory=list)
    totals: Totals | None = None
    arrivals: Sequence[tuple[str, float]] = ()

    def add(self, note: Note) -> None:
        """Puts down one more thing."""
        if isinstance(note, Call):
            self._count(note)
        elif isinstance(note, Changed):
            self._hear(note)
        elif isinstance(note, Known):
            self.known.append(note)
        elif isinstance(note, Cued) and note.cue.action == "stop":
            self.stops = note.at
        elif isinstance(note, StoodStill):
            self.stood_still.append(note)
            self.stops = None
        else:
            self._see(note)

    def _count(self, call: Call) -> None:
        if call.lead.number in self.handed_on:
            self.handed_on[call.lead.number] = call.member
        if isinstance(call.error, UnexpectedError):
            self.unexpected.append(call)

    def _see(self, note: Note) -> None:
        if isinstance(note, Joined):
            self.joined[note.member] = note
        elif isinstance(note, Gone):
            self.gone[note.member] = note
            self.handed_on |= {lead.number: 0 for lead in note.leads}
            self.without.discard(note.member)
        elif isinstance(note, Totals):
            self.totals = note

    def _hear(self, note: Changed) -> None:
        if note.event.kind is EventKind.BACKEND_LOST:
            self.without.add(note.member)
            self.missed.add(note.member)
        elif note.event.kind is EventKind.BACKEND_BACK:
            self.without.discard(note.member)

    @property
    def alive(self) -> list[int]:
        """The processes that there are."""
        return sorted(self.joined.keys() - self.gone.keys())

    @property
    def slowest(self) -> Known | None:
        """The transition that took longest to be known everywhere."""
        return max(self.known, key=lambda each: each.seconds, default=None)

    def meanwhile(self, ledger: Ledger) -> list[Call]:
        """The calls that ended while Redis stood still, the present time included."""
        spans = [(each.at - each.seconds, each.at) for each in self.stood_still]
        if self.stops is not None:
            spans.append((self.stops, math.inf))
        return [call for call in ledger.calls if any(since <= call.at <= until for since, until in spans)]

    def probes(self, ledger: Ledger) -> tuple[int, int]:
        """How many requests tested a provider, and how often one was tested.

        A request that arrives while the fleet has its circuit HALF_OPEN is a probe: everything else is rejected.
        """
        spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
        begun: dict[str, float] = {}
        for event in (note.event for note in ledger.shared):
            if event.circuit in begun:
                spans[event.circuit].append((begun.pop(event.circuit), event.at))
            if event.kind is EventKind.PROBING:
                begun[event.circuit] = event.at
        for circuit, since in begun.items():
            spans[circuit].append((since, math.inf))
        arrivals = [each for each in self.arrivals if each[0] in spans]
        probes = sum(any(since <= at <= until for since, until in spans[provider]) for provider, at in arrivals)
        return probes, sum(map(len, spans.values()))
