"""The day as plain lines, for pipes, logs and terminals that can do no more, and the summary that ends it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol, Self

from recloser import PausedError
from recloser.core.duration import format_duration
from recloser.core.events import EventKind
from recloser.demo import clients
from recloser.demo.ledger import Call, Changed, Cued, End, HeldBack
from recloser.demo.summary import summary

if TYPE_CHECKING:
    from recloser.demo.day import Day
    from recloser.demo.ledger import Ledger, Note

__all__ = ["CREDITS", "PlainView", "View", "about", "call_text", "held_text", "line"]


CREDITS = f"The code that was protected: {clients.__file__}"


class View(Protocol):
    """What shows the day; a context manager around it."""

    def __enter__(self) -> object:
        """Begins."""

    def __exit__(self, *_: object) -> None:
        """Ends, whatever happened."""

    def tell(self, note: Note) -> None:
        """Something happened; it is in the ledger already."""

    def draw(self) -> None:
        """Time has passed; called several times a second."""

    def sum_up(self, now: float) -> None:
        """The day is over; called after the end."""


class PlainView:
    """One line for each thing that happens, in ASCII and without escape codes.

    Args:
        day: the day, under way.
        ledger: what happened so far.
        hint: one more line to begin with.
    """

    def __init__(self, day: Day, ledger: Ledger, hint: str = "") -> None:
        self._ledger = ledger
        for text in (*about(day), *([hint] if hint else []), ""):
            _write(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was changed."""

    def tell(self, note: Note) -> None:
        """Writes its line, if it has one."""
        text = line(note)
        if text:
            _write(text)

    def draw(self) -> None:
        """Lines do not change."""

    def sum_up(self, now: float) -> None:
        """Writes the summary."""
        for heading, rows in summary(self._ledger, now):
            _write(f"\n{heading}")
            for label, text in rows:
                _write(f"  {label:<16}{text}")
        _write(f"\n{CREDITS}")


def about(day: Day) -> list[str]:
    """What is about to be seen."""
    script, policy = day.script, day.script.pace.policy
    window, cooldown = format_duration(policy.window), format_duration(policy.cooldown)
    return [
        f"A voice agent's day in {format_duration(script.pace.day)}, {day.crew.where} (seed {script.seed}).",
        f"Five providers answer on {day.address}; a script breaks and heals them.",
        f"Every circuit trips at {policy.failures} failures in {window} and is tested after {cooldown}.",
    ]


def line(note: Note) -> str:
    """A note in one line; empty for what nobody needs to read."""
    told = _told(note)
    if told is None:
        return ""
    kind, name, text = told
    return f"{max(note.at, 0.0):6.2f}s  {kind:<8}  {name:<12}  {text}"


def _told(note: Note) -> tuple[str, str, str] | None:
    if isinstance(note, Cued):
        return "operator" if note.cue.by else "script", note.cue.circuit, str(note.cue)
    if isinstance(note, Changed):
        return _changed(note)
    by = f"{note.who}: " if note.member else ""
    if isinstance(note, HeldBack):
        return "held", str(note.lead), by + held_text(note)
    if isinstance(note, Call):
        return "call", str(note.lead), by + call_text(note)
    return note.told()


def _changed(note: Changed) -> tuple[str, str, str]:
    event = note.event
    if event.circuit == "*":
        because = f": {event.reason}" if event.kind is EventKind.BACKEND_LOST else ""
        return "redis", note.who, f"{event.kind}{because}"
    pause = "" if event.until is None else f" for {format_duration(event.until - event.at)}"
    alone = f", in {note.who} alone" if event.local else ""
    return "circuit", event.circuit, f"{event.previous.name} -> {event.state.name}{pause}{alone}: {event.reason}"


def call_text(call: Call) -> str:
    """How a call went, in a few words."""
    why = [f"{each.provider} failed: {each.error}" for each in call.failed]
    if call.end is End.LOST:
        if isinstance(call.error, PausedError):
            why.append(f"{call.error.circuit} is {call.error.state.name}")
        elif not why:
            why.append(str(call.error))
        return f"lost: {'; '.join(why)}"
    why += [f"{each} is not asked" for each in call.skipped]
    if call.end is End.INTERRUPTED:
        why.append("interrupted by the caller, which counts nothing")
    return f"{call.voice} spoke" + (f" ({'; '.join(why)})" if why else "")


def held_text(note: HeldBack) -> str:
    """Why a lead is not called, and for how long."""
    paused = note.paused
    if paused.retry_after is None:
        return f"back to the queue until {paused.paused_by} resumes {paused.circuit}"
    return f"back to the queue for {format_duration(paused.retry_after)}: {paused.circuit} is {paused.state.name}"


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
