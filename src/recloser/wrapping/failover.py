"""Streams and connections of a fallback: until the first item has come, they can be swapped for the next provider's."""

from __future__ import annotations

import contextlib
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol

import wrapt

from recloser.wrapping.frames import hide_own_frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator

    from recloser.providers import Tries
    from recloser.wrapping.proxies import FollowedProxy

__all__ = ["Line", "fail_over"]


class Line(Protocol):
    """The call that a stream came from, which can go on with the next provider."""

    @property
    def tries(self) -> Tries:
        """Its tries."""
        ...

    def moves_on(self, error: BaseException) -> bool:
        """Whether ``error`` sends it on."""
        ...

    def run(self) -> Any:
        """The next provider's result."""
        ...

    def run_async(self, started: Any) -> Awaitable[Any]:
        """The same for what is awaited."""
        ...


class _FailOver(wrapt.BaseObjectProxy[Any]):
    """Stands in for the stream of one provider after another."""

    def __init__(self, line: Line, wrapped: Any) -> None:
        super().__init__(wrapped)
        self._self_line = line
        self._self_begun = False
        self._self_entered = False
        self._self_void = False

    def _self_stays(self, error: BaseException) -> bool:
        """Whether ``error`` is for the reader; otherwise the next provider's stream is wanted."""
        if isinstance(error, StopIteration | StopAsyncIteration):
            return self._self_begun or not self._self_line.tries.refused()
        if not self._self_begun and self._self_line.moves_on(error):
            return False
        hide_own_frames(error)
        return True

    def _self_swap(self, error: BaseException) -> None:
        while True:
            fresh = self._self_line.run()
            if not self._self_entered:
                self.__wrapped__ = fresh
                return
            if not self._self_void:
                # From here to the next that could be entered, the block has nothing to leave.
                self._self_void = True
                with contextlib.suppress(Exception):
                    self.__wrapped__.__exit__(type(error), error, error.__traceback__)
            try:
                with self._self_line.tries:
                    fresh.__enter__()
            except BaseException as again:
                if self._self_stays(again):
                    raise
                error = again
            else:
                self.__wrapped__ = fresh
                self._self_void = False
                return

    async def _self_swap_async(self, error: BaseException) -> None:
        while True:
            fresh = self._self_line.run()
            if type(fresh) is CoroutineType:
                fresh = await fresh
            if not self._self_entered:
                self.__wrapped__ = fresh
                return
            if not self._self_void:
                # From here to the next that could be entered, the block has nothing to leave.
                self._self_void = True
                with contextlib.suppress(Exception):
                    await self.__wrapped__.__aexit__(type(error), error, error.__traceback__)
            try:
                with self._self_line.tries:
                    await fresh.__aenter__()
            except BaseException as again:
                if self._self_stays(again):
                    raise
                error = again
            else:
                self.__wrapped__ = fresh
                self._self_void = False
                return


class _Items:
    """Reads one provider's stream, and when that fails before its first item, the next one's."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy
        self._iterator: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        proxy = self._proxy
        while True:
            try:
                with proxy._self_line.tries:
                    if self._iterator is None:
                        self._iterator = iter(proxy.__wrapped__)
                    item = next(self._iterator)
            except BaseException as error:
                if proxy._self_stays(error):
                    raise
                failure = error
            else:
                proxy._self_begun = True
                return item
            self._iterator = None
            proxy._self_swap(failure)


class _AsyncItems:
    """The same for async streams."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy
        self._iterator: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        proxy = self._proxy
        while True:
            try:
                with proxy._self_line.tries:
                    if self._iterator is None:
                        self._iterator = aiter(proxy.__wrapped__)
                    item = await anext(self._iterator)
            except BaseException as error:
                if proxy._self_stays(error):
                    raise
                failure = error
            else:
                proxy._self_begun = True
                return item
            self._iterator = None
            await proxy._self_swap_async(failure)


class _Iterates:
    def __iter__(self: Any) -> Iterator[Any]:
        return self if hasattr(type(self), "__next__") else _Items(self)


class _Next:
    def __next__(self: Any) -> Any:
        return next(_Items(self))


class _AsyncIterates:
    def __aiter__(self: Any) -> AsyncIterator[Any]:
        return self if hasattr(type(self), "__anext__") else _AsyncItems(self)


class _AsyncNext:
    def __anext__(self: Any) -> Awaitable[Any]:
        return anext(_AsyncItems(self))


class _Enters:
    def __enter__(self: Any) -> Any:
        while True:
            try:
                with self._self_line.tries:
                    entered = self.__wrapped__.__enter__()
            except BaseException as error:
                if self._self_stays(error):
                    raise
                failure = error
            else:
                return _entered(self, entered)
            self._self_swap(failure)

    def __exit__(self: Any, *error: object) -> Any:
        return None if self._self_void else self.__wrapped__.__exit__(*error)


class _AsyncEnters:
    async def __aenter__(self: Any) -> Any:
        while True:
            try:
                with self._self_line.tries:
                    entered = await self.__wrapped__.__aenter__()
            except BaseException as error:
                if self._self_stays(error):
                    raise
                failure = error
            else:
                return _entered(self, entered)
            await self._self_swap_async(failure)

    async def __aexit__(self: Any, *error: object) -> Any:
        return None if self._self_void else await self.__wrapped__.__aexit__(*error)


def _entered(proxy: Any, entered: Any) -> Any:
    """What a ``with`` block gets: the stream itself can still be swapped, anything else has begun."""
    if entered is proxy.__wrapped__:
        proxy._self_entered = True
        return proxy
    proxy._self_begun = True
    return entered


class _Awaits:
    def __await__(self: Any) -> Any:
        return self._self_line.run_async(self.__wrapped__).__await__()


_PROTOCOLS: dict[str, type] = {
    "__iter__": _Iterates,
    "__next__": _Next,
    "__aiter__": _AsyncIterates,
    "__anext__": _AsyncNext,
    "__enter__": _Enters,
    "__aenter__": _AsyncEnters,
    "__await__": _Awaits,
}
_classes: dict[frozenset[str], type[_FailOver]] = {}


def fail_over(line: Line, followed: FollowedProxy) -> Any:
    """A proxy of a stream that goes on with the next provider's when this one fails before its first item."""
    wrapped = type(followed.__wrapped__)
    protocols = frozenset(name for name in _PROTOCOLS if hasattr(wrapped, name))
    cls = _classes.get(protocols)
    if cls is None:
        bases = [mixin for name, mixin in _PROTOCOLS.items() if name in protocols]
        cls = _classes[protocols] = type("FailOverProxy", (*bases, _FailOver), {})
    return cls(line, followed)
