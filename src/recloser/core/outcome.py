"""What became of a call: the verdict that a circuit counts, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeVar

from recloser.errors import ConfigurationError

__all__ = ["Kind", "Outcome", "Verdict"]


_Member = TypeVar("_Member", bound=StrEnum)


class Verdict(StrEnum):
    """How a circuit counts a call; exactly one of these for every call."""

    SUCCESS = "success"
    FAILURE = "failure"
    SLOW = "slow"
    IGNORED = "ignored"


class Kind(StrEnum):
    """What kind of trouble an exception stands for."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    SERVER = "server"
    RATE_LIMIT = "rate_limit"
    AUTH = "auth"
    QUOTA = "quota"
    BAD_REQUEST = "bad_request"
    CANCELLED = "cancelled"
    BUG = "bug"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, init=False)
class Outcome:
    """The verdict on one call, and why.

    A rule of your own (``circuit(..., classify=rule)``) may return one of the constants, ``Outcome.IGNORED``, or say
    more: ``Outcome("failure", kind="rate_limit", status=429, retry_after=30)``.

    Args:
        verdict: success, failure, slow or ignored.
        kind: what kind of trouble it was; None for a success.
        status: HTTP status, where there was one.
        retry_after: seconds that the provider asked to be left alone, where it did.

    Raises:
        ConfigurationError: for a verdict or a kind that does not exist.
    """

    verdict: Verdict
    kind: Kind | None
    status: int | None
    retry_after: float | None

    SUCCESS: ClassVar[Outcome]
    FAILURE: ClassVar[Outcome]
    SLOW: ClassVar[Outcome]
    IGNORED: ClassVar[Outcome]

    def __init__(
        self,
        verdict: Verdict | str,
        kind: Kind | str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        # Strings are welcome where users write outcomes by hand.
        object.__setattr__(self, "verdict", _member("verdict", Verdict, verdict))
        object.__setattr__(self, "kind", None if kind is None else _member("kind", Kind, kind))
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "retry_after", retry_after)

    @property
    def is_failure(self) -> bool:
        """Whether a circuit counts this against the provider as a failure."""
        return self.verdict is Verdict.FAILURE

    def __str__(self) -> str:
        why = ", ".join(str(part) for part in (self.kind, self.status) if part is not None)
        return f"{self.verdict} ({why})" if why else str(self.verdict)


def _member(key: str, members: type[_Member], value: object) -> _Member:
    try:
        return members(str(value))
    except ValueError:
        raise ConfigurationError(key, value, "one of " + ", ".join(members)) from None


Outcome.SUCCESS = Outcome(Verdict.SUCCESS)
Outcome.FAILURE = Outcome(Verdict.FAILURE)
Outcome.SLOW = Outcome(Verdict.SLOW)
Outcome.IGNORED = Outcome(Verdict.IGNORED)
