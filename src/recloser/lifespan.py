"""The life of an application beside the fleet: it hears of it before it starts, and delivers before it ends."""

from __future__ import annotations

import inspect
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from recloser.errors import ConfigurationError
from recloser.wrapping import in_thread, to_the_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType
    from typing import TypeAlias

__all__ = ["Lifespan"]

S_co = TypeVar("S_co", covariant=True)

if TYPE_CHECKING:
    Inner: TypeAlias = Callable[[Any], AbstractAsyncContextManager[S_co]]

_BOUND = 2.0
"""Seconds that the end may take at the most. Closing keeps to a bound of its own, which is half of this; but where a
thread cannot even begin, an application ends all the same."""
_INNER = (
    "a function that takes the application and returns an async context manager, such as @asynccontextmanager makes"
)


class Lifespan(AbstractAsyncContextManager[None], Generic[S_co]):
    """What :func:`recloser.lifespan` returns: call it with an application, or enter it with ``async with``.

    It can be used any number of times, one after the other or at once; the toolkit is closed when the last has ended.

    Args:
        inner: the application's own lifespan, which begins after this one and ends before it.
        arrive: waits for the fleet, and may take its time.
        depart: delivers what is pending, and may take its time.
        alive: has one entry for each application that lives on the same toolkit.

    Raises:
        ConfigurationError: for an ``inner`` that is no such function.
    """

    def __init__(
        self,
        inner: Inner[S_co] | None,
        arrive: Callable[[], object],
        depart: Callable[[], object],
        alive: list[None],
    ) -> None:
        if inner is not None and (not callable(inner) or inspect.isasyncgenfunction(inner)):
            raise ConfigurationError("inner", inner, _INNER)
        self._inner = inner
        self._arrive = arrive
        self._depart = depart
        self._alive = alive

    def __call__(self, app: Any, /) -> AbstractAsyncContextManager[S_co]:
        """The life of ``app``, as ASGI frameworks ask for it; yields what ``inner`` yields, and None without it."""
        return self._around(app)

    async def __aenter__(self) -> None:
        if self._inner is not None:
            raise ConfigurationError("inner", self._inner, "only where there is an application to call it with")
        await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    @asynccontextmanager
    async def _around(self, app: Any) -> AsyncIterator[Any]:
        await self._begin()
        try:
            if self._inner is None:
                yield None
            else:
                async with self._inner(app) as state:
                    yield state
        finally:
            await self._end()

    async def _begin(self) -> None:
        self._alive.append(None)
        try:
            await in_thread(self._arrive)
        except BaseException:
            # Also when it is cancelled: a thread that waits for the fleet is to keep no process from ending.
            await self._end()
            raise

    async def _end(self) -> None:
        self._alive.pop()
        if not self._alive:
            await to_the_end(self._depart, _BOUND)
