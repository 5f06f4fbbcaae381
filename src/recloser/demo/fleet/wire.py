"""What the processes of the demo say to each other: lines of JSON, through pipes."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from recloser import PausedError, State
from recloser.circuit import Snapshot
from recloser.demo.clients import LOST, Try
from recloser.demo.ledger import Call, End, HeldBack
from recloser.demo.script import Lead

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ProviderError", "UnexpectedError", "call", "lead", "line", "outcome", "said_of", "snapshot"]


class ProviderError(Exception):
    """Stands for what a provider's failure raised in another process."""


class UnexpectedError(Exception):
    """Stands for what no provider and no circuit raised into a call in another process."""


def line(**said: Any) -> bytes:
    """One line."""
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def lead(said: dict[str, Any]) -> Lead:
    """Whom to call."""
    return Lead(**said)


def outcome(note: Call | HeldBack) -> dict[str, Any]:
    """What became of a call, to be sent."""
    said: dict[str, Any] = {"lead": note.lead.number, "at": note.at}
    if isinstance(note, HeldBack):
        return {**said, "held": _error(note.paused)}
    return {
        **said,
        "end": note.end.value,
        "seconds": note.seconds,
        "tries": note.tries,
        "error": None if note.error is None else _error(note.error),
    }


def _error(error: Exception) -> list[Any]:
    if isinstance(error, PausedError):
        return ["paused", *error.__reduce__()[1]]
    return ["provider" if isinstance(error, LOST) else "unexpected", f"{type(error).__name__}: {error}"]


def call(said: dict[str, Any], called: Lead, at: Callable[[float], float], member: int) -> Call | HeldBack:
    """What became of a call that ``member`` was asked to make."""
    moment = at(said["at"])
    if "held" in said:
        return HeldBack(moment, called, _paused(*said["held"][1:]), member=member)
    tries = tuple(Try(*each) for each in said["tries"])
    error = None if said["error"] is None else _raised(*said["error"])
    return Call(moment, called, End(said["end"]), said["seconds"], tries, error, member=member)


def _raised(sort: str, *facts: Any) -> Exception:
    if sort == "paused":
        return _paused(*facts)
    return (ProviderError if sort == "provider" else UnexpectedError)(*facts)


def _paused(circuit: str, state: str, *rest: Any) -> PausedError:
    return PausedError(circuit, State(state), *rest)


def snapshot(said: dict[str, Any]) -> Snapshot:
    """What ``asdict`` made of a snapshot."""
    return Snapshot(**{**said, "state": State(said["state"])})


def said_of(what: Snapshot | Lead) -> dict[str, Any]:
    """A snapshot or a lead, to be sent."""
    return asdict(what)
