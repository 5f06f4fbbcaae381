"""One call of a voice platform, or one session of an agent, as far as circuits are concerned."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from recloser.core.duration import parse_duration
from recloser.core.outcome import Kind, Outcome, Verdict
from recloser.core.policy import Mode
from recloser.errors import ConfigurationError, DeadlineError
from recloser.gate import was_counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.circuit import Circuit

__all__ = ["Call", "clarified", "length"]


class Call:
    """What the providers of one call did: a failure counts once for each provider, however often it is told.

    A circuit that moved on in between, a provider that was paused and tested again, say, counts a failure anew.

    Args:
        key: what tells this call from all others in the fleet, its SID, say; one that is drawn when None.

    Raises:
        ConfigurationError: for a key that is no text, or empty.

    Attributes:
        id: the key.
    """

    id: str

    def __init__(self, key: str | None = None) -> None:
        if key is not None and (not isinstance(key, str) or not key):
            raise ConfigurationError("call_id", key, "a text that is not empty, or None")
        self.id = key or uuid.uuid4().hex
        self._failed: dict[str, int] = {}

    def fail(
        self, circuit: Circuit, outcome: Outcome, error: BaseException | str, context: Mapping[str, Any] | None = None
    ) -> bool:
        """Reports a failure that ``outcome`` says is one; returns whether it is the first of this provider.

        A deadline that fired because this process stood still is reported as a stall, and blames nobody.
        """
        replica = circuit.bound
        if isinstance(error, DeadlineError) and error.stalled:
            replica.stalled(error)
            return False
        if not outcome.is_failure or replica.mode is Mode.OFF:
            return False
        generation = replica.current().generation
        if self._failed.get(circuit.name) == generation:
            return False
        self._failed[circuit.name] = generation
        if was_counted(error, replica):
            return True  # the client is wrapped as well, and this is the same failure on its way up
        replica.report(outcome, error, once=self.id, context={"call_id": self.id, **(context or {})})
        return True

    def succeed(self, circuit: Circuit, elapsed: float | None = None) -> None:
        """Reports that a provider answered, after ``elapsed`` seconds if that is known: slow, if its policy says so."""
        replica = circuit.bound
        limit = replica.policy.slow_after
        slow = elapsed is not None and limit is not None and elapsed > limit
        replica.report(Outcome(Verdict.SLOW) if slow else Outcome(Verdict.SUCCESS))

    def has_failed(self, circuit: Circuit) -> bool:
        """Whether a failure of this provider has been counted, or would not be counted again."""
        return self._failed.get(circuit.name) == circuit.bound.current().generation


def clarified(outcome: Outcome, better: Outcome) -> Outcome:
    """``outcome``, unless it is a failure of which nobody knows what it was, and ``better`` does."""
    return better if outcome.is_failure and outcome.kind is Kind.UNKNOWN else outcome


def length(key: str, value: float | str) -> float:
    """Seconds in ``value``.

    Raises:
        ConfigurationError: when it is no length of time, or none that could pass.
    """
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise ConfigurationError(key, value, 'seconds, more than 0, or a duration such as "2s"')
    return seconds
