"""How commands write: tables, moments, and colours where a terminal shows them."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING

from recloser.core.duration import format_duration
from recloser.core.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from recloser.circuit import Snapshot
    from recloser.core.events import Event
    from recloser.reports import Status

__all__ = ["clock", "event_line", "state_word", "status_lines", "table", "write"]

_COLOURS = {State.CLOSED: "32", State.OPEN: "31", State.HALF_OPEN: "33", State.PAUSED: "35"}


def write(lines: Iterable[str]) -> None:
    """Writes lines to stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], colours: Sequence[str] = ()) -> list[str]:
    """Rows in columns; with a colour for each, where the output is a terminal."""
    all_rows = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in all_rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in all_rows]
    if not _coloured():
        return lines
    paint = ["1", *colours]
    return [
        f"\x1b[{paint[place]}m{line}\x1b[0m" if place < len(paint) and paint[place] else line
        for place, line in enumerate(lines)
    ]


def clock(moment: float) -> str:
    """A moment, in the time of this machine."""
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def state_word(shot: Snapshot) -> str:
    """A state as documents write it."""
    return shot.state.name


def status_lines(status: Status, now: float) -> list[str]:
    """The table of all circuits, who answers, and what is wrong with settings."""
    rows: list[list[str]] = []
    colours: list[str] = []
    for shot in status.circuits.values():
        rate = f"{shot.failures / shot.calls:.0%}" if shot.calls else "-"
        left = "" if shot.until is None else f"in {format_duration(max(0.0, shot.until - now))}"
        why = "" if shot.state is State.CLOSED else f"{shot.reason} (by {shot.by})"
        counts = [str(shot.calls), str(shot.failures), rate, str(shot.slow), str(shot.rejected)]
        rows.append([shot.name, state_word(shot), *counts, left or "-", why])
        colours.append("" if shot.state is State.CLOSED else _COLOURS[shot.state])
    head = ("CIRCUIT", "STATE", "CALLS", "FAILED", "RATE", "SLOW", "REJECTED", "NEXT", "WHY")
    lines = [f"{status.namespace}: {_many(status.processes, 'process', 'processes')}, mode {status.mode}"]
    lines += table(head, rows, colours) if rows else ["no circuit is known: no process has made a call yet"]
    for name, provider in status.fallbacks.items():
        lines.append(f"{name} is answered by {provider}" if provider else f"{name} has no provider left")
    lines += [f"passed over: {problem}" for problem in status.problems]
    return lines


def event_line(event: Event) -> str:
    """An event in one line."""
    what = "all circuits" if event.circuit == "*" else event.circuit
    reason = f": {event.reason}" if event.reason not in {"", event.kind} else ""
    alone = ", one process alone" if event.local else ""
    return f"{clock(event.at)}  {what}  {event.kind}{reason} (by {event.by}{alone})"


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
