"""What a backend may offer besides: a place where alerts are written once for a fleet, and taken by whoever delivers.

A backend with an ``outbox()`` method shares its alerts; with any other, every process tells its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from recloser.core.events import Event

__all__ = ["FRESH", "KEPT", "RECENT", "Letter", "Outbox", "Page", "Shares"]

KEPT = 1000
"""So many alerts wait for one hook; the oldest are dropped for new ones, and counted."""

FRESH, RECENT = 600.0, 100
"""A hook that is new, or was away for long, is told what was said in the last so many seconds, so many at the most."""


@dataclass(frozen=True, slots=True)
class Page:
    """Where the journal of a fleet stands.

    Attributes:
        now: the present moment, Unix time in seconds of the backend's clock.
        version: grows with every entry; 0 before the first.
        journal: what was written last; empty before the first.
        cursor: up to which event it goes.
        events: what has happened since, each with the cursor after it, oldest first.
        due: when there is something to write although nothing happens, Unix time in seconds; None when never.
        hooks: the names of the hooks that anybody in the fleet has.
    """

    now: float
    version: int
    journal: str
    cursor: str
    events: tuple[tuple[str, Event], ...]
    due: float | None
    hooks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Letter:
    """An alert on its way to one hook.

    Attributes:
        hook: its name.
        number: grows with every alert of that hook.
        incident: letters about the same one are delivered one after the other.
        text: the alert, as JSON.
        tries: how often its delivery has begun, this time included.
        error: why the last try failed, in one line.
    """

    hook: str
    number: int
    incident: str
    text: str
    tries: int = 0
    error: str = ""


class Outbox(Protocol):
    """Written by one process at a time, whichever is first; read by all. Every method may be called from any thread.

    Those that cannot answer raise :class:`~recloser.BackendError`.
    """

    def read(self) -> Page:
        """Where the journal stands."""
        ...

    def write(
        self,
        page: Page,
        journal: str,
        cursor: str,
        due: float | None,
        alerts: Sequence[tuple[str, str]],
        hooks: Iterable[str],
    ) -> bool:
        """Writes the journal, and letters for hooks, if nobody has written since ``page`` was read; whether it did.

        An alert is its incident and its text; each of the hooks is to be told of all of them.
        """
        ...

    def take(self, hook: str, lease: float) -> tuple[Letter | None, float | None]:
        """The next letter for a hook, for ``lease`` seconds nobody else's; or None, and in how many seconds to ask.

        It says, too, that there is such a hook; one that nobody knew is told what was said right before.
        """
        ...

    def delivered(self, letter: Letter) -> None:
        """The letter has arrived."""
        ...

    def returned(self, letter: Letter, error: str, again: float | None) -> None:
        """It has not; it may be taken again after so many seconds, or, with None, it is kept as undelivered."""
        ...

    def undelivered(self, hook: str) -> list[Letter]:
        """The letters that were given up, oldest first."""
        ...

    def retry(self, hook: str) -> int:
        """Sends all of those again; returns how many they are."""
        ...

    def dropped(self) -> Mapping[str, int]:
        """How many letters were dropped because too many waited, by hook."""
        ...

    def recall(self, hook: str, incident: str) -> str:
        """What a hook has put down about an incident; empty when nothing."""
        ...

    def remember(self, hook: str, incident: str, text: str) -> None:
        """Puts that down, for the next process that delivers about the same incident."""
        ...


@runtime_checkable
class Shares(Protocol):
    """A backend that has an outbox."""

    def outbox(self) -> Outbox:
        """The one of its namespace."""
        ...
