"""Alerts in words: what is so, whom it affects, why, since when, and what happens next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recloser.core.alert import Alert, Severity, Step
from recloser.core.duration import format_duration
from recloser.core.events import EventKind
from recloser.core.machine import RECLOSER
from recloser.core.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from recloser.core.events import Event
    from recloser.core.incidents import Incident, Journal, Saying

__all__ = ["worded"]

_NAMED = 3
"""So many names are said one by one."""


def worded(saying: Saying, journal: Journal, namespace: str) -> Alert:
    """The alert that says it.

    Args:
        saying: what is to be said.
        journal: what is so now.
        namespace: of the circuits; part of the incident's id, which is to be the only one of its name.
    """
    return _Text(saying, journal).alert(namespace)


class _Text:
    """The words about one incident."""

    def __init__(self, saying: Saying, journal: Journal) -> None:
        self.saying = saying
        self.journal = journal
        incident = saying.incident
        self.events = [journal.unwell[name] for name in incident.circuits if name in journal.unwell]
        if saying.event is not None and saying.event.circuit not in journal.unwell:
            self.events = [saying.event]
        affected = [need for need in journal.needs.values() if set(need.circuits) & set(incident.circuits)]
        self.fallbacks = [need for need in affected if need.sort == "fallback"]
        self.work = [need for need in affected if need.sort != "fallback"]
        self.blocked = [need for need in affected if need.name in journal.blocked]

    def alert(self, namespace: str) -> Alert:
        """All of them."""
        saying, incident = self.saying, self.saying.incident
        return Alert(
            incident=f"{namespace}:{incident.id}",
            step=saying.step,
            circuit=incident.circuits[0],
            severity=self._severity(),
            title=self._title(),
            text="\n".join(line for line in self._lines() if line),
            facts=self._facts(namespace),
            at=saying.at,
        )

    def _severity(self) -> Severity:
        if self.saying.step is Step.CLOSED or not any(event.state is not State.CLOSED for event in self.events):
            return Severity.INFO
        return Severity.CRITICAL if self.blocked else Severity.WARNING

    # -- in one line ---------------------------------------------------------------------------------------------------

    def _title(self) -> str:
        saying, incident = self.saying, self.saying.incident
        event = saying.event
        if event is not None:
            return self._about(event)
        names = _listed(incident.circuits)
        if saying.step is Step.CLOSED:
            length = format_duration(max(0.0, saying.at - incident.opened))
            return f"{names} {_is(incident.circuits)} {'calm' if incident.flapping else 'back'}, after {length}"
        if incident.flapping:
            return f"{names} {_is(incident.circuits)} flapping{self._consequence()}"
        if self.journal.is_over(incident):
            return f"{names} {_was(incident.circuits)} paused"
        still = "still " if saying.again else ""
        unwell = [event.circuit for event in self.events]
        people = sorted({event.by for event in self.events} - {RECLOSER})
        by = f" by {_listed(people)}" if people else ""
        if not any(event.enforced for event in self.events):
            return f"{_listed(unwell)} would {still}be paused, but {_is(unwell)} only observed"
        return f"{_listed(unwell)} {_is(unwell)} {still}paused{by}{self._consequence()}"

    def _about(self, event: Event) -> str:
        if event.local:
            return f"One process pauses {event.circuit} for itself"
        if event.state is State.CLOSED:
            by = f" by {event.by}" if event.kind is EventKind.RESUMED_BY_HAND else ""
            return f"{event.circuit} is resumed{by}"
        return f"{event.circuit} is paused by {event.by}{self._consequence()}"

    def _consequence(self) -> str:
        stopped = sorted(need.name for need in self.blocked if need.sort != "fallback")
        without = sorted(need.name for need in self.blocked if need.sort == "fallback")
        parts = [f", {_listed(without)} {'has' if len(without) == 1 else 'have'} no provider left"] if without else []
        parts += [f", {_listed(stopped)} {_is(stopped)} stopped"] if stopped else []
        if parts:
            return "".join(parts)
        answering = sorted({self.journal.answering(need.name) or "" for need in self.fallbacks} - {""})
        return f", {_listed(answering)} {_is(answering)} answering" if answering else ""

    # -- in more lines -------------------------------------------------------------------------------------------------

    def _lines(self) -> Iterable[str]:
        incident = self.saying.incident
        yield from self._warning()
        yield from self._affected()
        for event in self.events:
            yield from _why(event)
        if self.saying.step is not Step.NOTICE:
            yield f"Since {_clock(incident.opened)}."
        for event in self.events:
            yield _next(event, incident)

    def _warning(self) -> Iterable[str]:
        if self.saying.incident.flapping and self.saying.step is not Step.CLOSED:
            yield "It goes on and off; nothing more is said until it has been calm for a while."

    def _affected(self) -> Iterable[str]:
        for need in sorted((*self.fallbacks, *self.work), key=lambda need: (need.sort, need.name)):
            if need in self.blocked:
                yield f"{need.name} is stopped." if need.sort != "fallback" else f"{need.name} has no provider left."
            elif need.sort == "fallback":
                yield f"{need.name} is answered by {self.journal.answering(need.name)}."
            else:
                yield f"{need.name} goes on."

    # -- for programs --------------------------------------------------------------------------------------------------

    def _facts(self, namespace: str) -> dict[str, Any]:
        incident = self.saying.incident
        return {
            "namespace": namespace,
            "circuits": [_circuit(event) for event in self.events],
            "names": list(incident.circuits),
            "affects": sorted(need.name for need in (*self.fallbacks, *self.work)),
            "blocked": sorted(need.name for need in self.blocked),
            "answering": {need.name: self.journal.answering(need.name) for need in self.fallbacks},
            "opened": incident.opened,
            "failed_probes": incident.tries,
            "flapping": incident.flapping,
            "sentences": [*self._warning(), *self._affected()],
            "again": self.saying.again,
            "quiet": self.saying.quiet,
        }


def _why(event: Event) -> Iterable[str]:
    counts, threshold = event.counts, f", {event.threshold} pause it" if event.threshold else ""
    because = f": {event.reason}" if event.reason else ""
    if event.state is State.CLOSED:
        return
    if event.state is State.PAUSED:
        yield f"{event.circuit}{because} (by {event.by})"
        return
    yield f"{event.circuit}{because} ({counts.failures} of {_many(counts.calls, 'call')} failed{threshold})"
    for error in reversed(event.errors):
        message = f": {error.message}" if error.message else ""
        yield f"  {error.count} × {error.label}{message}"  # noqa: RUF001 - times


def _next(event: Event, incident: Incident) -> str:
    failed = f"; {_many(incident.tries, 'test')} failed so far" if incident.tries else ""
    if event.state is State.CLOSED:
        return ""
    if event.state is State.HALF_OPEN:
        return f"{event.circuit} is being tested{failed}."
    if event.until is None:
        return f"{event.circuit} stays paused until somebody resumes it."
    return f"{event.circuit} is tested at {_clock(event.until)}, in {format_duration(event.until - event.at)}{failed}."


def _circuit(event: Event) -> dict[str, Any]:
    return {
        "name": event.circuit,
        "state": event.state.value,
        "reason": event.reason,
        "by": event.by,
        "at": event.at,
        "until": event.until,
        "threshold": event.threshold,
        **event.counts._asdict(),
        "errors": [
            {"label": error.label, "message": error.message, "count": error.count, "at": error.at}
            for error in event.errors
        ],
    }


def _listed(names: Sequence[str]) -> str:
    """``"a, b and c"``."""
    shown = list(names[:_NAMED])
    if len(names) > len(shown):
        shown.append(f"{len(names) - _NAMED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _is(names: Sequence[object]) -> str:
    return "is" if len(names) == 1 else "are"


def _was(names: Sequence[object]) -> str:
    return "was" if len(names) == 1 else "were"


def _many(count: int, one: str) -> str:
    return f"{count} {one}" if count == 1 else f"{count} {one}{'es' if one.endswith('s') else 's'}"


def _clock(unix: float) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%H:%M UTC}"
