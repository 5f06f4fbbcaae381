"""What a backend may offer besides: a board on which operators write settings, and processes what they have in use.

A backend that keeps a :class:`Board` reaches the whole fleet with a live setting; with any other, each process has
those of its code, its environment and its rules file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recloser.core.events import Event

__all__ = ["EVERYTHING", "Board", "Notice"]

EVERYTHING = "*"
"""Under this name, which no circuit can have, subscribers are told that the settings have changed."""


class Notice(NamedTuple):
    """A text, and which one it is.

    Attributes:
        version: grows with every change; 0 when there is none.
        text: the text.
    """

    version: int
    text: str


@runtime_checkable
class Board(Protocol):
    """Every method may be called from any thread; those that cannot answer raise :class:`~recloser.BackendError`."""

    def settings(self) -> Notice:
        """What operators have written last; it never expires."""
        ...

    def set_settings(self, seen: int, text: str, events: Sequence[Event] = (), version: int = 0) -> Notice | None:
        """Writes other settings if those that are there are still the ones of version ``seen``; what is there then.

        None says that somebody was quicker. The events that tell of it are appended, and subscribers are told of
        :data:`EVERYTHING`. The new version is ``version``, for who puts back what was lost, else one that grows.
        """
        ...

    def written(self) -> Mapping[str, str]:
        """What processes have written down, by its name; it expires when none of them is left."""
        ...

    def write(self, entries: Mapping[str, str]) -> None:
        """Writes down what this process has in use."""
        ...
