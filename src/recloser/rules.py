"""How one circuit's outcomes are judged: the user's own rules first, then the general one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recloser.contain import Contained
from recloser.core.classify import classify as classify_at
from recloser.core.outcome import Kind, Outcome, Verdict
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Rules", "classify"]

ErrorTypes = type[BaseException] | tuple[type[BaseException], ...]


def classify(exception: BaseException) -> Outcome:
    """What ``exception`` says about the provider whose call raised it.

    The verdict is *failure* for trouble of the provider (timeouts, connection errors, HTTP 408, 425, 429, 5xx), for
    401, 402 and 403, and for whatever is unknown; *ignored* for the caller's mistakes (HTTP 400, 404, 409, 413, 422),
    bugs of the application, cancellation, and a :class:`~recloser.PausedError` from a circuit further in. No SDK is
    imported; the status, the kind and ``Retry-After`` are read where each real SDK puts them.

    >>> classify(TimeoutError()).kind
    <Kind.TIMEOUT: 'timeout'>
    """
    return classify_at(exception, now=time.time())


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that one mention of a circuit brings along.

    Attributes:
        classify: the user's rule, exception to Outcome, or to None to let the others decide.
        failure: exception types that are failures whatever the general rule says.
        ignore: exception types that count for neither side.
        failure_if: a predicate on the result; a true answer makes the call a failure.
        min_items: a stream that ends with fewer items than this is a failure.
        min_bytes: a stream whose items have fewer bytes (or characters) than this together is a failure.
        progress: a predicate that tells real items of a stream from keep-alives.
    """

    classify: Contained[Outcome | None] | None = None
    failure: tuple[type[BaseException], ...] = ()
    ignore: tuple[type[BaseException], ...] = ()
    failure_if: Contained[bool] | None = None
    min_items: int | None = None
    min_bytes: int | None = None
    progress: Contained[bool] | None = None

    @classmethod
    def build(  # noqa: PLR0913 - one argument for each rule
        cls,
        name: str,
        *,
        classify: Callable[[Any], Outcome | None] | None = None,
        failure: ErrorTypes = (),
        ignore: ErrorTypes = (),
        failure_if: Callable[[Any], object] | None = None,
        min_items: int | None = None,
        min_bytes: int | None = None,
        progress: Callable[[Any], object] | None = None,
    ) -> Rules:
        """The rules as written by the user; raises ConfigurationError for what cannot be one."""

        def contained(key: str, function: Callable[[Any], Any] | None) -> Contained[Any] | None:
            if function is None:
                return None
            if not callable(function):
                raise ConfigurationError(key, function, "a function of one argument, or None")
            return Contained(f"{key} of circuit {name!r}", function)

        def yes_or_no(key: str, function: Callable[[Any], object] | None, *, instead: bool) -> Contained[bool] | None:
            """A predicate; the truth of its answer is the user's code too."""
            asked = contained(key, function)
            if asked is None:
                return None
            return Contained(asked.what, lambda subject: bool(asked.function(subject)), instead)

        return cls(
            contained("classify", classify),
            _types("failure", failure),
            _types("ignore", ignore),
            yes_or_no("failure_if", failure_if, instead=False),
            _least("min_items", min_items),
            _least("min_bytes", min_bytes),
            yes_or_no("progress", progress, instead=True),
        )

    def judge(self, error: BaseException) -> Outcome:
        """What ``error`` counts as."""
        if self.classify is not None:
            verdict = self.classify(error)
            if isinstance(verdict, Outcome):
                return verdict
        found = classify(error)
        if isinstance(error, self.ignore):
            return Outcome(Verdict.IGNORED, found.kind, found.status, found.retry_after)
        if isinstance(error, self.failure):
            return Outcome(Verdict.FAILURE, found.kind or Kind.UNKNOWN, found.status, found.retry_after)
        return found


def _types(key: str, types: object) -> tuple[type[BaseException], ...]:
    each: tuple[Any, ...] = types if isinstance(types, tuple) else (types,)
    if not all(isinstance(one, type) and issubclass(one, BaseException) for one in each):
        raise ConfigurationError(key, types, "an exception type, or a tuple of them")
    return each


def _least(key: str, value: object) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigurationError(key, value, "a whole number, 1 or more, or None")
    return value
