"""What hooks are handed: one thing that people should know, in words and as facts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Alert", "Severity", "Step"]


class Step(StrEnum):
    """Where in the life of its incident an alert belongs."""

    OPENED = "opened"
    UPDATED = "updated"
    CLOSED = "closed"
    NOTICE = "notice"
    """Something to know that opens nothing, and that nothing will close."""


class Severity(StrEnum):
    """How much it matters."""

    INFO = "info"
    WARNING = "warning"
    """Something is paused, and something else is there for it, or nothing needs it."""
    CRITICAL = "critical"
    """A fallback has no provider left, or work that requires the circuit is paused."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One message to people.

    Attributes:
        incident: what it is about; the same for all steps of one incident, and for the same alert sent twice.
        step: ``"opened"``, ``"updated"``, ``"closed"``, or ``"notice"``.
        circuit: the circuit, the first of several, or ``"*"`` for what concerns none alone.
        severity: ``"info"``, ``"warning"`` or ``"critical"``.
        title: all of it in one line.
        text: the rest, in lines.
        facts: the same for programs; plain values, which JSON can hold.
        at: when, Unix time in seconds.
    """

    incident: str
    step: Step
    circuit: str
    severity: Severity
    title: str
    text: str
    facts: Mapping[str, Any]
    at: float

    def as_dict(self) -> dict[str, Any]:
        """The same as plain, JSON-serialisable values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Alert:
        """What ``as_dict`` was made of."""
        return cls(**{**said, "step": Step(said["step"]), "severity": Severity(said["severity"])})
