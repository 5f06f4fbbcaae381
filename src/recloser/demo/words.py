"""Numbers in words."""

from __future__ import annotations

from recloser.core.duration import format_duration

__all__ = ["many", "milliseconds"]


def many(count: int, one: str, more: str = "") -> str:
    """A count and what is counted, ``"3 trips"``."""
    return f"{count} {one}" if count == 1 else f"{count} {more or one + 's'}"


def milliseconds(seconds: float) -> str:
    """A short time as finely as it was measured, ``"2.1ms"``."""
    return f"{seconds * 1000:.1f}ms" if seconds < 0.1 else format_duration(seconds)
