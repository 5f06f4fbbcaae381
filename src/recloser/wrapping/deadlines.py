"""Deadlines inside the wrapper: only there does a timeout look different from a caller's cancellation.

The one place that asks anyio for a cancel scope. With a clock that can call back (a manual one), the scope is
cancelled when that clock says so; with the computer's clock, by the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Self

from recloser.errors import DeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import anyio

    from recloser.permit import Permit

__all__ = ["Deadline"]


class Deadline:
    """A context manager that cancels what runs inside once ``length`` seconds have passed, and raises DeadlineError.

    Args:
        circuit: the name of the circuit, for the message.
        permit: of the call it belongs to.
        which: the policy's name for it: ``"timeout"``, ``"first_item"`` or ``"idle"``.
        length: the policy's length, in seconds, for the message.
        left: how much of it is left, in seconds.
    """

    __slots__ = ("_at", "_circuit", "_fired", "_left", "_length", "_permit", "_scope", "_take_back", "_which")

    _scope: anyio.CancelScope

    def __init__(self, circuit: str, permit: Permit, which: str, length: float, left: float) -> None:
        # Only who sets deadlines needs it, and it takes longer to import than the whole of this package. The first
        # scope loads it, and the event loop's half of it, before any time is taken.
        import anyio  # noqa: PLC0415

        self._scope = anyio.CancelScope()
        self._circuit = circuit
        self._permit = permit
        self._which = which
        self._length = length
        self._left = left
        self._at = permit.now() + left
        self._fired: float | None = None
        self._take_back: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        alarm = self._permit.alarm
        if self._left <= 0:
            self._fire()
        elif alarm is not None:
            self._take_back = alarm.call_at(self._at, self._canceller())
        else:
            self._take_back = self._alarm_of_the_loop()
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._take_back is not None:
            self._take_back()
        swallowed = self._scope.__exit__(kind, error, traceback)
        if not self._scope.cancelled_caught:
            return swallowed
        late = 0.0 if self._fired is None else max(0.0, self._fired - self._at)
        raise DeadlineError(self._circuit, self._which, self._length, late) from None

    def _fire(self) -> None:
        # Taken here and not where the cancelled call ends: its clean-up may take long, and is no sign of a stall.
        self._fired = self._permit.now()
        self._scope.cancel()

    def _canceller(self) -> Callable[[], None]:
        """Cancels the scope from whatever thread the clock is moved in."""
        from anyio import from_thread  # noqa: PLC0415
        from anyio.lowlevel import current_token  # noqa: PLC0415

        token, home = current_token(), threading.get_ident()

        def cancel() -> None:
            if threading.get_ident() == home:
                self._fire()
            else:
                from_thread.run_sync(self._fire, token=token)

        return cancel

    def _alarm_of_the_loop(self) -> Callable[[], object]:
        """Has the event loop fire when the time has come, and returns what takes that back."""
        try:
            return asyncio.get_running_loop().call_later(self._left, self._fire).cancel
        except RuntimeError:
            trio = import_module("trio")
        alarm = trio.CancelScope()

        async def ring() -> None:
            with alarm:
                await trio.sleep(self._left)
                self._fire()

        trio.lowlevel.spawn_system_task(ring)
        cancel: Callable[[], object] = alarm.cancel
        return cancel
