"""The summary that ends the day: every number in it is counted from, or measured in, what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recloser.demo.clients import SPEECH
from recloser.demo.ledger import End
from recloser.demo.words import many

if TYPE_CHECKING:
    from collections import Counter

    from recloser.demo.ledger import Ledger

__all__ = ["Part", "summary"]

Part = tuple[str, tuple[tuple[str, str], ...]]
"""A heading, and its rows: a label and what there is to say."""


def summary(ledger: Ledger, now: float) -> list[Part]:
    """What happened until ``now``, in seconds since the day began, what a fleet did, and what it saved."""
    parts = [("What happened", _happened(ledger, now)), ("What it saved", _saved(ledger))]
    if ledger.fleet is not None:
        from recloser.demo.fleet.report import report  # noqa: PLC0415 - one process needs none of it

        parts.insert(1, ("What the fleet did", report(ledger.fleet, ledger)))
    return [(heading, tuple(rows.items())) for heading, rows in parts]


def _happened(ledger: Ledger, now: float) -> dict[str, str]:
    ended, pauses = ledger.ended, ledger.pauses(now)
    trips, again, back = (ledger.happened(kind).total() for kind in ("tripped", "re-tripped", "resumed"))
    leads = len({note.lead.number for note in ledger.held})
    return {
        "calls": f"{len(ledger.calls)} made: {ended[End.COMPLETED]} completed, {ended[End.INTERRUPTED]} interrupted by "
        f"the caller (which counted nothing), {ended[End.LOST]} lost",
        "voices": ", ".join(f"{name} spoke in {ledger.voices[name]}" for name in SPEECH),
        "circuits": f"{many(trips, 'trip')}, {many(again, 're-trip')}, {many(back, 'recovery', 'recoveries')} "
        "without anybody's help",
        "dialling": f"paused {many(len(pauses), 'time')} for {sum(pauses):.1f}s in all; {many(leads, 'lead')} put "
        f"back into the queue, {ledger.waiting} still in it",
    }


def _saved(ledger: Ledger) -> dict[str, str]:
    spared, waited = ledger.spared, ledger.waited
    return {
        "dead providers": f"{many(spared.total(), 'call')} not made to them{_each(spared)}",
        "silent calls": f"{ledger.silent_avoided} avoided: {many(len(ledger.kept), 'lead')} not called meanwhile, "
        f"{many(len(ledger.moved - ledger.kept), 'other')} spoken to by the next provider",
        "hanging": f"about {ledger.hanging_avoided:.1f}s not spent on waiting for calls to fail, as measured today",
        "the price": f"{many(ledger.ended[End.LOST], 'call')} lost before and while circuits tripped; "
        f"{many(waited.total(), 'call')} not made although the provider was well again{_each(waited)}",
    }


def _each(counts: Counter[str]) -> str:
    return f" ({', '.join(f'{name} {count}' for name, count in sorted(counts.items()))})" if counts else ""
