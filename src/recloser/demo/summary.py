"""The summary that ends the day: every number in it is counted from, or measured in, what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recloser.demo.clients import SPEECH
from recloser.demo.ledger import End

if TYPE_CHECKING:
    from collections import Counter

    from recloser.demo.ledger import Ledger

__all__ = ["Part", "summary"]

Part = tuple[str, tuple[tuple[str, str], ...]]
"""A heading, and its rows: a label and what there is to say."""


def summary(ledger: Ledger, now: float) -> tuple[Part, Part]:
    """What happened until ``now``, in seconds since the day began, and what it saved."""
    return ("What happened", tuple(_happened(ledger, now).items())), ("What it saved", tuple(_saved(ledger).items()))


def _happened(ledger: Ledger, now: float) -> dict[str, str]:
    ended, pauses = ledger.ended, ledger.pauses(now)
    trips, again, back = (ledger.happened(kind).total() for kind in ("tripped", "re-tripped", "resumed"))
    leads = len({note.lead.number for note in ledger.held})
    return {
        "calls": f"{len(ledger.calls)} made: {ended[End.COMPLETED]} completed, {ended[End.INTERRUPTED]} interrupted by "
        f"the caller (which counted nothing), {ended[End.LOST]} lost",
        "voices": ", ".join(f"{name} spoke in {ledger.voices[name]}" for name in SPEECH),
        "circuits": f"{_many(trips, 'trip')}, {_many(again, 're-trip')}, {_many(back, 'recovery', 'recoveries')} "
        "without anybody's help",
        "dialling": f"paused {_many(len(pauses), 'time')} for {sum(pauses):.1f}s in all; {_many(leads, 'lead')} put "
        f"back into the queue, {ledger.waiting} still in it",
    }


def _saved(ledger: Ledger) -> dict[str, str]:
    spared, waited = ledger.spared, ledger.waited
    return {
        "dead providers": f"{_many(spared.total(), 'call')} not made to them{_each(spared)}",
        "silent calls": f"{ledger.silent_avoided} avoided: {_many(len(ledger.kept), 'lead')} not called meanwhile, "
        f"{_many(len(ledger.moved - ledger.kept), 'other')} spoken to by the next provider",
        "hanging": f"about {ledger.hanging_avoided:.1f}s not spent on waiting for calls to fail, as measured today",
        "the price": f"{_many(ledger.ended[End.LOST], 'call')} lost before and while circuits tripped; "
        f"{_many(waited.total(), 'call')} not made although the provider was well again{_each(waited)}",
    }


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count} {one}" if count == 1 else f"{count} {more or one + 's'}"


def _each(counts: Counter[str]) -> str:
    return f" ({', '.join(f'{name} {count}' for name, count in sorted(counts.items()))})" if counts else ""
