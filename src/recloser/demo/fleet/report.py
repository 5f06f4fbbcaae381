"""The part of the summary that is about the fleet: counted from, or measured in, what happened."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

from recloser import State
from recloser.core.duration import format_duration
from recloser.core.events import EventKind
from recloser.demo.ledger import End
from recloser.demo.words import many, milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recloser.core.events import Event
    from recloser.demo.fleet.ledger import FleetLedger
    from recloser.demo.ledger import Ledger

__all__ = ["report"]

_NO_TRANSITIONS = (EventKind.RESTORED, EventKind.STALLED, EventKind.BACKEND_LOST, EventKind.BACKEND_BACK)


def report(fleet: FleetLedger, ledger: Ledger) -> dict[str, str]:
    """Rows for the summary."""
    rows = {
        "processes": _processes(fleet),
        "calls": _calls(ledger),
        "transitions": _transitions(fleet, ledger),
        "spreading": _spreading(fleet),
        "probes": _probes(fleet, ledger),
        "redis": _redis(fleet, ledger),
        "trouble": f"{many(len(fleet.unexpected), 'exception')} raised into calls by Redis or by its absence",
    }
    return {label: text for label, text in rows.items() if text}


def _processes(fleet: FleetLedger) -> str:
    text = f"{len(fleet.joined)} began"
    for number, gone in fleet.gone.items():
        calls = sum(lead.number in fleet.handed_on for lead in gone.leads)
        others = [fleet.handed_on[lead.number] for lead in gone.leads if fleet.handed_on[lead.number]]
        text += f", process {number} ended with {gone.why} in the middle of {many(calls, 'call')}"
        text += f" ({len(others)} made by others then)" if calls else ""
    left = len(fleet.alive)
    return f"{text}, {left} {'was' if left == 1 else 'were'} there at the end"


def _calls(ledger: Ledger) -> str:
    return _each(Counter(call.member for call in ledger.calls))


def _transitions(fleet: FleetLedger, ledger: Ledger) -> str:
    told = {_key(note.event): note.member for note in ledger.shared}
    log = None if fleet.totals is None else fleet.totals.log
    made = [note.event for note in ledger.shared] if log is None else [each for each in log if _is_transition(each)]
    if not made:
        return "none"
    where = [_each(Counter(told[_key(event)] for event in made if _key(event) in told))]
    untold = sum(_key(event) not in told for event in made)
    if untold:
        where.append(f"{untold} in a process that ended before it could say so")
    alone = sum(note.event.local and note.event.circuit != "*" for note in ledger.events)
    if alone:
        where.append(f"and {alone} more that processes without Redis made for themselves")
    again = _again(made)
    once = f"{again} of them again although made already" if again else "each made once over the whole fleet"
    return f"{len(made)}, {once}: {', '.join(where)}"


def _again(made: Sequence[Event]) -> int:
    """How many transitions do not begin where the one before them ended."""
    states: dict[str, State] = {}
    again = 0
    for event in sorted(made, key=lambda event: event.generation):
        again += event.previous is not states.get(event.circuit, State.CLOSED)
        states[event.circuit] = event.state
    return again


def _key(event: Event) -> tuple[str, int]:
    return event.circuit, event.generation


def _is_transition(event: Event) -> bool:
    return not event.local and event.kind not in _NO_TRANSITIONS


def _spreading(fleet: FleetLedger) -> str:
    slowest = fleet.slowest
    if slowest is None:
        return ""
    middle = median(each.seconds for each in fleet.known)
    return (
        f"{many(len(fleet.known), 'transition')} known to every process, {milliseconds(middle)} after the decision in "
        f"the middle, {milliseconds(slowest.seconds)} at the slowest ({slowest.circuit} {slowest.state.name})"
    )


def _probes(fleet: FleetLedger, ledger: Ledger) -> str:
    probes, tests = fleet.probes(ledger)
    return f"{many(probes, 'request')} in {many(tests, 'test')} of a provider, over the whole fleet"


def _redis(fleet: FleetLedger, ledger: Ledger) -> str:
    text = []
    commands = None if fleet.totals is None else fleet.totals.commands
    if commands is not None and ledger.calls:
        text.append(f"sent {many(commands, 'command')}, {commands / len(ledger.calls):.1f} for each call")
    for each in fleet.stood_still:
        calls = fleet.meanwhile(ledger)
        lost = sum(call.end is End.LOST for call in calls)
        noticed = many(len(fleet.missed - {0}), "process", "processes")
        text.append(
            f"stood still for {format_duration(round(each.seconds, 1))}: {noticed} did without, "
            f"{many(len(calls), 'call')} ended meanwhile, {lost} of them lost"
        )
    return "; ".join(text)


def _each(counts: Counter[int]) -> str:
    def where(member: int) -> str:
        return f"in process {member}" if member else "by the operator"

    return ", ".join(f"{counts[each]} {where(each)}" for each in sorted(counts))
