"""Durations as people write them: ``90``, ``"90s"``, ``"5m"``, ``"1h30m"``."""

from __future__ import annotations

import math
import re

__all__ = ["Duration", "format_duration", "parse_duration"]

Duration = float | int | str
"""Seconds as a number, or a string such as ``"250ms"``, ``"90s"``, ``"5m"``, ``"1h30m"``, ``"1d"``."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(?:\d+(?:\.\d+)?|\.\d+)\s*(?:ms|s|m|h|d)"
_WHOLE = re.compile(rf"\s*{_PART}(?:\s*{_PART})*\s*")
_EACH = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d)")


def parse_duration(value: object) -> float:
    """Seconds in ``value``.

    Raises:
        ValueError: when it is neither a finite number nor a string in the form above. Its sign is not judged here.

    >>> parse_duration("1h30m"), parse_duration(90)
    (5400.0, 90.0)
    """
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value):
            msg = "not a duration"
            raise ValueError(msg)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _EACH.findall(value))
    elif isinstance(value, bool) or not isinstance(value, int | float):
        seconds = math.nan
    else:
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    if not math.isfinite(seconds):
        msg = "not a duration"
        raise ValueError(msg)
    return seconds


def format_duration(seconds: float) -> str:
    """``seconds`` in the shortest form that people read at a glance, at most two units.

    >>> format_duration(300), format_duration(5400), format_duration(0.25), format_duration(61.4)
    ('5m', '1h30m', '250ms', '1m1s')
    """
    if seconds < 1:
        return f"{round(seconds * 1000)}ms" if seconds > 0 else "0s"
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f}s"
    left = round(seconds)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, round(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])
