"""Event loops, and what must not be done on one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_event_loop", "in_thread"]

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
    from anyio import to_thread  # noqa: PLC0415 - imported by who asks

    return await to_thread.run_sync(partial(function, *args), abandon_on_cancel=True)
