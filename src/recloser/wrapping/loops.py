"""Event loops: what must not be done on one, and how a task that waits on one is woken up from elsewhere."""

from __future__ import annotations

import asyncio
import math
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import anyio

__all__ = ["Nap", "checkpoint", "in_event_loop", "in_thread", "to_the_end"]

T = TypeVar("T")


def in_event_loop() -> bool:
    """Whether this thread runs an event loop at the moment, which would stand still if it waited."""
    from anyio.lowlevel import current_token  # noqa: PLC0415 - imported by who asks

    try:
        current_token()
    except Exception:  # noqa: BLE001 - none, or one that anyio does not know
        return False
    return True


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """What ``function`` returns, called on another thread while the event loop goes on."""
    from anyio import CapacityLimiter, to_thread  # noqa: PLC0415 - imported by who asks

    # A thread beside those that an application has for its own work, which may all be at it.
    beside = CapacityLimiter(1)
    return await to_thread.run_sync(partial(function, *args), abandon_on_cancel=True, limiter=beside)


async def to_the_end(function: Callable[[], object], within: float) -> None:
    """Calls ``function`` on another thread and waits for it, also when cancelled, for ``within`` seconds at the most.

    What takes longer goes on by itself.
    """
    from anyio import move_on_after  # noqa: PLC0415 - imported by who asks

    with move_on_after(within, shield=True):
        await in_thread(function)


class Nap:
    """What one task sleeps by: any thread may wake it up, and none waits for its event loop to do so."""

    __slots__ = ("_event", "_home", "_soon")

    _event: anyio.Event

    def __init__(self) -> None:
        from anyio import Event  # noqa: PLC0415 - imported by who waits

        self._event = Event()
        self._home: int | None = threading.get_ident()
        self._soon: Callable[[Callable[[], object]], object]
        try:
            self._soon = asyncio.get_running_loop().call_soon_threadsafe
        except RuntimeError:
            # Trio is not to be touched by what runs between any two of its own lines, as a garbage collector does.
            self._home = None
            self._soon = import_module("trio").lowlevel.current_trio_token().run_sync_soon

    def wake(self) -> None:
        """Wakes it up, or lets its next sleep end at once."""
        if threading.get_ident() == self._home:
            self._event.set()
            return
        with suppress(RuntimeError):  # its event loop has ended, and nobody sleeps any more
            self._soon(self._set)

    def _set(self) -> None:
        self._event.set()

    async def sleep(self, seconds: float) -> None:
        """Returns after so many seconds, or once it is woken up."""
        from anyio import Event, move_on_after  # noqa: PLC0415 - imported by who waits

        with move_on_after(None if seconds == math.inf else max(0.0, seconds)):
            await self._event.wait()
        self._event = Event()


async def checkpoint() -> None:
    """Lets other tasks run, and is where a task that does not wait can be cancelled."""
    from anyio.lowlevel import checkpoint as pause  # noqa: PLC0415 - imported by who waits

    await pause()
