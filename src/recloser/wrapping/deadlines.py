"""Deadlines inside the wrapper: only there does a timeout look different from a caller's cancellation.

The one place that asks anyio for a cancel scope. With a clock that can call back (a manual one), the scope is
cancelled when that clock says so; with the computer's clock, by the event loop.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from recloser.clock import Alarm
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

    __slots__ = ("_at", "_circuit", "_fired", "_length", "_permit", "_scope", "_take_back", "_which")

    _scope: anyio.CancelScope

    def __init__(self, circuit: str, permit: Permit, which: str, length: float, left: float) -> None:
        self._circuit = circuit
        self._permit = permit
        self._which = which
        self._length = length
        self._at = permit.now() + left
        self._fired: float | None = None
        self._take_back: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        # Only who sets deadlines needs it, and it takes longer to import than the whole of this package.
        import anyio  # noqa: PLC0415

        clock = self._permit.clock
        self._scope = anyio.CancelScope()
        left = self._at - self._permit.now()
        if left <= 0:
            self._fired = self._at
            self._scope.cancel()
        elif isinstance(clock, Alarm):
            self._take_back = clock.call_at(self._at, self._canceller(clock.now))
        else:
            self._scope.deadline = anyio.current_time() + left
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
        fired = self._permit.now() if self._fired is None else self._fired
        raise DeadlineError(self._circuit, self._which, self._length, max(0.0, fired - self._at)) from None

    def _canceller(self, now: Callable[[], float]) -> Callable[[], None]:
        """Cancels the scope from whatever thread the clock is moved in."""
        from anyio import from_thread  # noqa: PLC0415
        from anyio.lowlevel import current_token  # noqa: PLC0415

        token, home = current_token(), threading.get_ident()

        def cancel() -> None:
            self._fired = now()
            if threading.get_ident() == home:
                self._scope.cancel()
            else:
                from_thread.run_sync(self._scope.cancel, token=token)

        return cancel
