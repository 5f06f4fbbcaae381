"""Settings as people type them: ``failures=5 window=2m order=cartesia,elevenlabs``, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recloser.core.duration import format_duration
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LENGTHS", "assignments", "shown"]

LENGTHS = frozenset(
    {"window", "slow_after", "cooldown", "cooldown_max", "probe_timeout", "timeout", "first_item", "idle"}
)
"""The fields of a policy that are lengths of time."""
_LISTS = frozenset({"order", "needs"})


def assignments(words: Iterable[str], key: str = "setting") -> dict[str, object]:
    """``name=value`` words as names and values.

    Args:
        words: one assignment each.
        key: what to call a word that is none.

    Raises:
        ConfigurationError: for a word that is no assignment, or a name that is there twice.

    >>> assignments(["failures=5", "window=2m", "slow_rate=0.5", "order=b,a"])
    {'failures': 5, 'window': '2m', 'slow_rate': 0.5, 'order': ['b', 'a']}
    """
    said: dict[str, object] = {}
    for word in words:
        name, mark, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not mark or not name:
            raise ConfigurationError(key, word, "name=value, such as failures=5 or window=2m")
        if name in said:
            raise ConfigurationError(key, word, f"each name once; {name} is there twice")
        said[name] = _list(text) if name in _LISTS else _spoken(text.strip())
    return said


def _list(text: str) -> list[str]:
    return [each for part in text.split(",") if (each := part.strip())]


def _spoken(text: str) -> object:
    """A number where it is one, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def shown(name: str, value: object) -> str:
    """A value as it would be typed.

    >>> shown("window", 120.0), shown("failures", None), shown("order", ("b", "a"))
    ('2m', 'none', 'b,a')
    """
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return ",".join(f"/{each['regex']}/" if isinstance(each, Mapping) else str(each) for each in value)
    if name in LENGTHS and isinstance(value, int | float):
        return format_duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
