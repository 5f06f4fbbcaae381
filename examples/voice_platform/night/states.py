"""What the record says of stretches of time: states of circuits, whether there was dialling, and calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from examples.voice_platform.night.record import Entry

__all__ = ["EARS", "Held", "Span", "dialling", "held", "spans_of"]

EARS = ("soniox", "deepgram")


class Span(NamedTuple):
    """So it was, from one moment to another."""

    begins: float
    ends: float
    what: str


class Held(NamedTuple):
    """A call, from the moment at which its lead was taken to the last word about it."""

    taken: Entry
    ended: Entry


def held(entries: Iterable[Entry]) -> list[Held]:
    """All calls that were held, in the order in which they ended."""
    taken: dict[str, Entry] = {}
    calls = []
    for entry in entries:
        if entry.source == "call" and entry.kind == "fetched":
            taken[entry.facts["lead"]] = entry
        elif entry.source == "call" and entry.kind in {"served", "cut"}:
            calls.append(Held(taken[entry.facts["lead"]], entry))
    return calls


def spans_of(entries: Iterable[Entry], circuit: str, begins: float, ends: float) -> list[Span]:
    """The states of one circuit."""
    changes = [(begins, "closed")]
    changes += [(each.at, each.facts["state"]) for each in entries if each.facts.get("circuit") == circuit]
    following = [*(at for at, _ in changes[1:]), ends]
    return [Span(at, until, state) for (at, state), until in zip(changes, following, strict=True)]


def dialling(entries: Iterable[Entry], begins: float, ends: float) -> list[Span]:
    """Whether dialling is ``"allowed"``, ``"tested"`` by single calls, or ``"paused"``: all else was well all night."""
    circuits = [each for each in entries if each.source == "circuit" and each.facts["circuit"] in EARS]
    states = dict.fromkeys(EARS, "closed")
    spans = [Span(begins, ends, "allowed")]
    for event in sorted(circuits, key=lambda entry: entry.at):
        states[event.facts["circuit"]] = event.facts["state"]
        now = set(states.values())
        what = "allowed" if "closed" in now else "tested" if "half_open" in now else "paused"
        if what != spans[-1].what:
            spans[-1] = spans[-1]._replace(ends=event.at)
            spans.append(Span(event.at, ends, what))
    return spans
