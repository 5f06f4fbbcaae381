"""The states of a circuit."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["State"]


class State(StrEnum):
    """The state of a circuit."""

    CLOSED = "closed"
    """Calls go through and are counted."""
    OPEN = "open"
    """Calls are rejected until the cooldown is over."""
    HALF_OPEN = "half_open"
    """A few probes go through to test the provider, everything else is rejected."""
    PAUSED = "paused"
    """An operator stopped it; calls are rejected until it is resumed, or until the pause's own end."""
