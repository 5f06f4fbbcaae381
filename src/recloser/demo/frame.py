"""One frame of the live view: the day at one moment, in as many lines and columns as there are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.table import Table
from rich.text import Text

from recloser import PausedError, State
from recloser.core.duration import format_duration
from recloser.demo.clients import SPEECH
from recloser.demo.ledger import Call, Changed, Cued, End, HeldBack
from recloser.demo.script import ROLES
from recloser.demo.words import many, milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.circuit import Snapshot
    from recloser.demo.day import Day
    from recloser.demo.fleet.ledger import FleetLedger
    from recloser.demo.ledger import Ledger, Note
    from recloser.demo.summary import Part

__all__ = ["Moment", "frame", "table_of"]

_WIDEST = 120
_LEAST = 20
_NARROW = 96  # below this the two logs are one above the other
_OPENS, _CLOSES = 8, 18  # the hours of the day
_BAR = 10
_LABEL = 12
_INDENT = 7

_SHORT_ROLES = {"elevenlabs": "speech 1", "cartesia": "speech 2", "deepgram": "listening", "openai": "thinking"}
_CHIPS = {
    State.CLOSED: "green",
    State.OPEN: "bold white on red",
    State.HALF_OPEN: "bold black on yellow",
    State.PAUSED: "bold white on magenta",
}
_WORDS = {State.CLOSED: "green", State.OPEN: "bold red", State.HALF_OPEN: "bold yellow", State.PAUSED: "bold magenta"}
_ENDS = {End.COMPLETED: ("✓", "green"), End.INTERRUPTED: ("~", "cyan"), End.LOST: ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Moment:
    """What a frame shows.

    Attributes:
        day: how long the day lasts, in seconds.
        ledger: what happened so far.
        status: the circuits.
        dialling: whether a lead whose turn it is would be called.
        at: seconds since the day began.
        unix: the same moment as Unix time.
        speaks: the provider that speaks now.
    """

    day: float
    ledger: Ledger
    status: Mapping[str, Snapshot]
    dialling: bool
    at: float
    unix: float
    speaks: str | None = None

    @classmethod
    def of(cls, day: Day, ledger: Ledger) -> Self:
        """The present moment of a day."""
        length, crew = day.script.pace.day, day.crew
        return cls(length, ledger, crew.status(), crew.dialling(), day.now(), time.time(), crew.speaking())


def frame(moment: Moment, width: int, height: int) -> list[Text]:
    """The lines of a frame, none wider than ``width`` and no more than ``height``."""
    width = max(_LEAST, min(width, _WIDEST))
    fleet = [] if moment.ledger.fleet is None else _fleet(moment.ledger.fleet, moment)
    top = [*_header(moment, width), Text(), *_circuits(moment, width), Text(), _dialling(moment), *fleet, Text()]
    bottom = [Text(), _saved(moment.ledger, width)]
    lines = [*top, *_logs(moment, width, height - len(top) - len(bottom)), *bottom]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


# -- the upper half --------------------------------------------------------------------------------------------------


def _header(moment: Moment, width: int) -> list[Text]:
    title = Text("recloser demo", style="bold")
    fleet = moment.ledger.fleet
    where = "" if fleet is None else f", in {len(fleet.joined)} processes"
    about = f"a voice agent's day in {format_duration(moment.day)}{where}"
    title.append(about.rjust(width - len(title)), style="dim")
    share = min(moment.at / moment.day, 1.0)
    minutes = int(share * (_CLOSES - _OPENS) * 60) + _OPENS * 60
    bar = Text(f"{minutes // 60:02d}:{minutes % 60:02d}  ", style="bold")
    cells = width - len(bar)
    done = int(share * cells)
    bar.append("━" * done, style="cyan")
    bar.append("─" * (cells - done), style="dim")
    return [title, bar]


def _circuits(moment: Moment, width: int) -> list[Text]:
    roomy = width >= _NARROW
    titles = ("PROVIDER", "FOR", "IN TRUTH", " CIRCUIT", "IN ITS WINDOW", "NEXT")
    widths = (12, 23, 13, 13, 17, 0) if roomy else (12, 0, 13, 13, 0, 0)
    rows = [_row([Text(title, style="dim") for title in titles], widths)]
    for name, role in ROLES.items():
        shot = moment.status[name]
        fault = moment.ledger.dead.get(name)
        chip = shot.state.name
        cells = [
            Text(name, style="bold"),
            Text(role, style="dim"),
            Text("well", style="dim") if fault is None else Text(fault.short, style="red"),
            Text(f" {chip} ", style=_CHIPS[shot.state]),
            Text(f"{shot.failures} of {shot.calls:>2} failed", style="" if shot.failures else "dim"),
            _next(shot, moment.unix, speaks=name == moment.speaks),
        ]
        rows.append(_row(cells, widths))
    return rows


def _row(cells: list[Text], widths: tuple[int, ...]) -> Text:
    """Cells side by side; a width of 0 leaves one out, except for the last."""
    row = Text()
    for cell, width in zip(cells[:-1], widths, strict=False):
        if width:
            row.append_text(cell).append(" " * max(1, width - cell.cell_len))
    return row.append_text(cells[-1])


def _next(shot: Snapshot, now: float, *, speaks: bool) -> Text:
    if shot.state is State.CLOSED:
        return Text("speaks now" if speaks else "", style="green")
    if shot.state is State.HALF_OPEN:
        return Text("a probe decides", style="yellow")
    if shot.until is None:
        return Text(f"{shot.by} resumes it", style="magenta")
    left = max(0.0, shot.until - now)
    share = left / max(shot.until - shot.since, left, 0.001)
    return Text(f"tested in {left:.1f}s ").append("━" * round(share * _BAR), style="red")


def _dialling(moment: Moment) -> Text:
    text = Text("DIALLING".ljust(_LABEL), style="dim")
    waiting = moment.ledger.waiting
    queue = f"; {many(waiting, 'lead')} back in the queue" if waiting else ""
    if moment.dialling:
        return text.append("goes on" + queue, style="not dim green")
    states = {name: moment.status[name].state for name in ROLES}
    speechless = all(states[name] is not State.CLOSED for name in SPEECH)
    blocking = [
        f"{name} {state.name}"
        for name, state in states.items()
        if state is not State.CLOSED and (speechless or name not in SPEECH)
    ]
    return text.append("paused", style="not dim bold red").append(f": {', '.join(blocking)}{queue}", style="not dim")


def _fleet(fleet: FleetLedger, moment: Moment) -> list[Text]:
    """Who is there, and how the latest transition spread; or how they do without Redis."""
    processes = Text("PROCESSES".ljust(_LABEL), style="dim")
    for number in sorted(fleet.joined):
        mark, style = (
            ("✗", "bold red") if number in fleet.gone else ("●", "yellow" if number in fleet.without else "green")
        )
        processes.append(f"{mark} ", style=f"not dim {style}").append(f"{number}  ", style="not dim")
    processes.append(f" {len(fleet.alive)} there", style="not dim")
    if fleet.gone:
        processes.append(f", {len(fleet.gone)} gone", style="not dim red")
    shared = Text("SHARED".ljust(_LABEL), style="dim")
    if fleet.stops is not None:
        calls = len(fleet.meanwhile(moment.ledger))
        shared.append(f"Redis stands still for {moment.at - fleet.stops:.1f}s", style="not dim bold red")
        shared.append(f": {many(calls, 'call')} ended meanwhile", style="not dim")
    elif fleet.without:
        shared.append(f"Redis does not answer {len(fleet.without)} of them", style="not dim bold red")
    elif fleet.known and fleet.slowest is not None:
        last, (probes, _) = fleet.known[-1], fleet.probes(moment.ledger)
        by = f"decided in {last.member}" if last.member else "by the operator"
        shared.append(f"{last.circuit} ", style="not dim").append(
            last.state.name, style=f"not dim {_WORDS[last.state]}"
        )
        shared.append(f" {by}, everywhere in {milliseconds(last.seconds)}", style="not dim")
        shared.append(f"  ·  slowest {milliseconds(fleet.slowest.seconds)}  ·  {many(probes, 'probe')}", style="dim")
    return [processes, shared]


def _saved(ledger: Ledger, width: int) -> Text:
    spared, silent, hanging = ledger.spared.total(), ledger.silent_avoided, ledger.hanging_avoided
    parts = (
        [f"{spared} calls to dead providers", f"{silent} silent calls", f"about {hanging:.1f}s of hanging"]
        if width >= _NARROW
        else [f"{spared} dead calls", f"{silent} silent calls", f"{hanging:.1f}s of hanging"]
    )
    text = Text("AVOIDED".ljust(_LABEL), style="dim")
    for number, part in enumerate(parts):
        text.append("  ·  " if number else "", style="dim").append(part, style="not dim bold cyan")
    return text


# -- the lower half --------------------------------------------------------------------------------------------------


def _logs(moment: Moment, width: int, height: int) -> list[Text]:
    """The latest calls and the latest events: side by side or, in a narrow terminal, one above the other."""
    if height <= 0:
        return []
    side_by_side = width >= _NARROW
    left = width // 2 if side_by_side else width
    right = width - left if side_by_side else width
    calls = [_call(note) for note in moment.ledger.told if isinstance(note, Call | HeldBack)]
    events = [line for note in moment.ledger.told for line in _event(note, right)]
    who = f"{'CALLS':<14}" if moment.ledger.fleet is None else f"{'  IN':<6}{'CALLS':<12}"
    call_heading = Text(f"{who}SPOKEN BY", style="dim")
    event_heading = Text("WHAT HAPPENED", style="dim")
    if not side_by_side:
        half = height // 2
        return [*_latest(event_heading, events, half), *_latest(call_heading, calls, height - half)]
    rows: list[Text] = []
    pairs = zip(_latest(call_heading, calls, height), _latest(event_heading, events, height), strict=True)
    for call, event in pairs:
        call.truncate(left - 2, overflow="ellipsis")
        rows.append(_row([call, event], (left,)))
    return rows


def _latest(heading: Text, lines: list[Text], height: int) -> list[Text]:
    room = height - 1
    shown = lines[-room:] if room > 0 else []
    return [heading, *shown, *(Text() for _ in range(room - len(shown)))][:height]


def _call(note: Call | HeldBack) -> Text:
    mark, style = ("‖", "yellow") if isinstance(note, HeldBack) else _ENDS[note.end]
    who, remark = _remark(note)
    text = Text(f"{mark} ", style=style)
    if note.member:
        text.append(f"{note.member:>2}  ", style="dim default")
    text.append(f"{note.lead!s:<12}", style="default")
    return text.append(f"{who:<11}", style="default" if style == "green" else style).append(remark, style="dim default")


def _remark(note: Call | HeldBack) -> tuple[str, str]:
    """Who spoke, or why nobody did, and what there is to say about it."""
    if isinstance(note, HeldBack):
        paused = note.paused
        back = f"until {paused.paused_by}" if paused.retry_after is None else f"{paused.retry_after:.1f}s"
        return "queued", f"{back}: {paused.circuit} {paused.state.name}"
    failed = [f"{each.provider}: {each.error}" for each in note.failed]
    if note.end is End.LOST:
        if isinstance(note.error, PausedError):
            return "lost", f"{note.error.circuit} {note.error.state.name}"
        names = [each.provider for each in note.failed]
        return "lost", failed[0] if len(failed) == 1 else f"{' and '.join(names)} failed"
    if note.end is End.INTERRUPTED:
        return note.voice, "interrupted: no failure"
    return note.voice, ", ".join([*failed, *(f"{name} not asked" for name in note.skipped)])


def _event(note: Note, width: int) -> list[Text]:
    text = Text(f"{max(note.at, 0.0):5.1f}s".ljust(_INDENT), style="dim")
    if isinstance(note, Cued):
        return [text.append(note.cue.short, style="not dim magenta" if note.cue.by else "not dim italic")]
    if not isinstance(note, Changed):
        # How a transition spread has a place of its own, and so have calls.
        told = note.told()
        quiet = told is None or told[0] == "fleet"
        return [] if told is None or quiet else [text.append(f"{told[1]} {told[2]}", style="not dim")]
    event = note.event
    if event.circuit == "*":
        return [text.append(f"{note.who}: {event.kind}", style="not dim yellow")]
    text.append(f"{event.circuit} ", style="not dim").append(event.state.name, style=f"not dim {_WORDS[event.state]}")
    if event.until is not None:
        text.append(f" for {format_duration(event.until - event.at)}", style="not dim")
    if text.cell_len + len(event.reason) + 2 <= width:
        return [text.append(f": {event.reason}", style="not dim")]
    return [text, Text(" " * _INDENT + event.reason, style="dim")]


def table_of(part: Part) -> Table:
    """One part of the summary."""
    heading, rows = part
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = Text(heading, style="bold cyan"), "left"
    table.add_column(style="bold", no_wrap=True, min_width=14)
    table.add_column()
    for label, text in rows:
        table.add_row(label, text)
    return table
