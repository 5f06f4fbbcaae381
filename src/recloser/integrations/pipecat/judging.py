"""What an error frame says of its provider: by its exception, by its category, by its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from recloser.core.classify import classify_text, outcome_of
from recloser.core.evidence import spelled, words_in
from recloser.core.outcome import Kind, Outcome
from recloser.core.prose import refined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.circuit import Circuit

__all__ = ["error_of", "judge"]

# pipecat.utils.errors.ErrorCategory, since 1.8; its values rather than its members, which older releases lack.
_CATEGORIES: Final[Mapping[str, Kind]] = {
    "authentication": Kind.AUTH,
    "authorization": Kind.AUTH,
    "invalid_request": Kind.BAD_REQUEST,
    "rate_limit": Kind.RATE_LIMIT,
    "quota": Kind.QUOTA,
    "connectivity": Kind.CONNECTION,
    "server": Kind.SERVER,
    "application": Kind.BUG,
}


def judge(frame: Any, circuit: Circuit) -> Outcome:
    """What an ``ErrorFrame`` counts as for ``circuit``, by the circuit's rules as far as it carries an exception.

    Whatever failed inside the application is the application's, also when a provider's service tells of it.
    """
    category = _CATEGORIES.get(str(getattr(getattr(frame, "category", None), "value", "")))
    if category is Kind.BUG:
        return outcome_of(Kind.BUG)
    exception = frame.exception
    if isinstance(exception, BaseException):
        outcome = circuit.rules.judge(exception)
        if outcome.kind is not Kind.UNKNOWN or not outcome.is_failure:
            return outcome
    told = classify_text(str(frame.error))
    if category is None:
        return told
    kind = refined(category, words_in(str(frame.error)), spelled([str(frame.error)]))
    return outcome_of(kind, told.status if told.kind is kind else None)


def error_of(frame: Any) -> BaseException | str:
    """The exception that a frame carries, else its text."""
    return frame.exception if isinstance(frame.exception, BaseException) else str(frame.error)
