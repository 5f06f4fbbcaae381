"""Frozen facts about what happened to a circuit, and the errors that were seen on the way."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from recloser.core.state import State
from recloser.core.window import Counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.core.outcome import Outcome

__all__ = ["DISTINCT_ERRORS", "ErrorSample", "Event", "EventKind", "Needs", "merge_samples", "scrub", "writable"]

DISTINCT_ERRORS = 5
"""How many distinct errors are kept for each circuit."""

_TEXT_LENGTH = 200
_TEXT_READ = 2000

# What stands before a secret is kept where it says which secret it was.
_SECRETS = re.compile(
    r"""
      (?P<field>(?i:\b[\w-]{0,40}(?:key|token|secret|password|passwd|authorization|signature)["']?\s*[=:]\s*["']?
        (?:(?:bearer|basic|token)\s+)?))[^\s"',;&]{4,}
    | (?P<scheme>(?i:\b(?:bearer|basic|token)\s+))(?=\S*[\d=])[\w.~+/=-]{8,}  # Authorization headers
    | (?P<userinfo>://)[^/\s]*@                                            # user:password@ in addresses
    | \b(?:sk|pk|rk|gsk|gh[a-z]|xox[a-z]|xapp)[-_][\w-]{10,}                # keys known by their look
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,} | \bAIza[\w-]{20,} | \b[A-Z]{2}[0-9a-f]{32}\b
    | \beyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?                                     # JSON web tokens
    | (?P<path>/services/)T\w+/B\w+/\w+                                    # Slack webhooks
    | \b(?=[\w-]{0,64}\d)[\w-]{32,}                                           # anything long and random
    | (?:(?<![\w.])\+|%2B)\d[\d\s().-]{6,}\d                                     # phone numbers
    | (?<![\w.-])\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}(?!\w)
    | (?<![\w.-])\d{10,15}(?![\w.])
    """,
    re.VERBOSE,
)


class EventKind(StrEnum):
    """What happened to the circuit."""

    TRIPPED = "tripped"
    RETRIPPED = "re-tripped"
    PROBING = "probing"
    RESUMED = "resumed"
    PAUSED = "paused"
    RESUMED_BY_HAND = "resumed by hand"
    RESTORED = "restored"
    """The backend had lost the circuit's state, and a process that knew it put it back."""
    BACKEND_LOST = "backend lost"
    """The backend does not answer this process any more; it is told here, where alone it can be."""
    BACKEND_BACK = "backend back"
    """It answers again."""
    CHANGED = "policy changed"
    """An operator has changed a live setting, or taken it back; under ``"*"`` one that concerns no circuit alone."""
    STALLED = "stalled"
    """This process stood still while a deadline passed; nothing changed, and nothing was blamed on the provider."""


@dataclass(frozen=True, slots=True)
class ErrorSample:
    """One distinct error that a circuit saw.

    Attributes:
        label: the exception's class and its HTTP status, ``"APIStatusError 503"``.
        message: its text, truncated, without tokens, keys and phone numbers.
        kind: what :func:`recloser.classify` made of it.
        count: how often it was seen.
        at: when it was seen last, in seconds.
    """

    label: str
    message: str
    kind: str
    count: int
    at: float

    @classmethod
    def of(cls, error: BaseException | str, outcome: Outcome, at: float) -> ErrorSample:
        """A sample of ``error``, or of a failure that is only known by its text."""
        if isinstance(error, BaseException):
            label = type(error).__name__ if outcome.status is None else f"{type(error).__name__} {outcome.status}"
            try:
                message = str(error)
            except Exception:  # noqa: BLE001 - the text is the user's code; a sample must not break a call
                message = ""
        else:
            label, message = error, ""
        return cls(scrub(label), scrub(message), str(outcome.kind or "unknown"), 1, at)


def scrub(text: str) -> str:
    """``text`` on one line, truncated, with what looks like a token, a key or a phone number taken out."""
    return _scrubbed(writable(text[:_TEXT_READ]))


def writable(text: str) -> str:
    """``text`` without what cannot be written anywhere: halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=64)
def _scrubbed(text: str) -> str:
    if len(text) == _TEXT_READ:
        # A key that is cut in two no longer looks like one.
        text = re.sub(r"[\w.~+/=-]{0,200}\Z", "", text)
    line = _SECRETS.sub(_hidden, " ".join(text.split()))
    return line if len(line) <= _TEXT_LENGTH else line[: _TEXT_LENGTH - 1] + "…"


def _hidden(found: re.Match[str]) -> str:
    return next(filter(None, found.groups()), "") + "***" + ("@" if found["userinfo"] else "")


def merge_samples(kept: tuple[ErrorSample, ...], new: tuple[ErrorSample, ...]) -> tuple[ErrorSample, ...]:
    """The most recent distinct errors, the latest last; the same error seen again adds to its count."""
    by_identity = {(sample.label, sample.message): sample for sample in kept}
    for sample in new:
        known = by_identity.pop((sample.label, sample.message), None)
        count = sample.count + (known.count if known else 0)
        by_identity[sample.label, sample.message] = ErrorSample(
            sample.label, sample.message, sample.kind, count, sample.at
        )
    return tuple(by_identity.values())[-DISTINCT_ERRORS:]


class Needs(NamedTuple):
    """What a fallback or a requirement is built on.

    Attributes:
        name: its name.
        sort: ``"fallback"`` or ``"requirement"``.
        groups: it is blocked when all circuits of any of these groups are unavailable.
    """

    name: str
    sort: str
    groups: tuple[tuple[str, ...], ...]

    @property
    def circuits(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(circuit for group in self.groups for circuit in group)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a circuit, with the facts that people ask for first.

    Attributes:
        kind: what happened.
        circuit: to which circuit; ``"*"`` for what concerns all of them.
        state: its state afterwards.
        previous: its state before.
        generation: the number of this state; it only grows. A state of one process alone has a negative one.
        at: when, Unix time in seconds.
        until: when it moves on by itself, Unix time in seconds; None when it does not.
        reason: why, in one line.
        by: ``"recloser"`` or the operator.
        counts: what the window held.
        threshold: the rule in words, ``"10 failures in 5m"``.
        errors: the last distinct errors, the latest last.
        affects: the fallbacks and requirements built on this circuit.
        local: whether one process did this for itself alone, because the fleet could not be asked or did not agree.
        needs: what the same fallbacks and requirements are built on.
        enforced: whether calls are rejected; not where the circuit is only observed.
    """

    kind: EventKind
    circuit: str
    state: State
    previous: State
    generation: int
    at: float
    until: float | None
    reason: str
    by: str
    counts: Counts
    threshold: str
    errors: tuple[ErrorSample, ...] = ()
    affects: tuple[str, ...] = ()
    local: bool = False
    needs: tuple[Needs, ...] = ()
    enforced: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The same as plain, JSON-serialisable values."""
        facts = asdict(self)
        facts["counts"] = self.counts._asdict()
        return facts

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Event:
        """What ``as_dict`` was made of, also by a version of this package that knew fewer facts, or more."""
        known = {name: facts[name] for name in cls.__dataclass_fields__ if name in facts}
        read = {
            "kind": EventKind(facts["kind"]),
            "state": State(facts["state"]),
            "previous": State(facts["previous"]),
            "counts": Counts(**facts["counts"]),
            "errors": tuple(ErrorSample(**each) for each in facts["errors"]),
            "affects": tuple(facts["affects"]),
            "needs": tuple(
                Needs(name, sort, tuple(map(tuple, groups))) for name, sort, groups in facts.get("needs", ())
            ),
        }
        return cls(**{**known, **read})
