"""Waiting for what happens in a fleet: woken by what is pushed, and otherwise once in a while."""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from recloser.backends import Remote
from recloser.errors import BackendError

if TYPE_CHECKING:
    from recloser.core.events import Event
    from recloser.onlooker import Onlooker

__all__ = ["Following"]

_AT_MOST = 0.05
"""Seconds that pass at least between two looks, however much happens."""


class Following:
    """What happens in a fleet, as it happens.

    Args:
        fleet: the fleet.
        kept: how many of the last events are looked at.
    """

    def __init__(self, fleet: Onlooker, kept: int = 1000) -> None:
        self._fleet = fleet
        self._backend = fleet.engine.backend
        self._kept = kept
        self._last: tuple[object, ...] | None = None
        self._listen()

    def _listen(self) -> None:
        if isinstance(self._backend, Remote):
            with suppress(BackendError):  # what is asked next says so
                self._backend.pump()

    def wait(self, seconds: float) -> None:
        """Returns when something was pushed, or after so many seconds."""
        number = self._backend.fileno() if isinstance(self._backend, Remote) else None
        began = time.monotonic()
        if number is None:
            time.sleep(seconds)
        else:
            select.select([number], [], [], seconds)
            time.sleep(max(0.0, min(_AT_MOST, seconds) - (time.monotonic() - began)))
        self._listen()

    def events(self) -> list[Event]:
        """The events since the last time, the latest last; at first, those that are kept.

        Raises:
            BackendError: when the backend does not answer.
        """
        found = self._backend.events(self._kept)
        new = found
        for place in range(len(found) - 1, -1, -1):
            if self._last is not None and _identity(found[place]) == self._last:
                new = found[place + 1 :]
                break
        if found:
            self._last = _identity(found[-1])
        return new


def _identity(event: Event) -> tuple[object, ...]:
    return event.at, event.circuit, event.kind, event.generation, event.reason
