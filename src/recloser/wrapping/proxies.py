"""Transparent proxies for streams, connections, context managers and awaitables that a call returned.

A proxy is made of exactly the protocols that the object's class has, so that ``hasattr`` and ``isinstance`` answer as
they would for the object itself.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import wrapt

from recloser.wrapping.frames import hide_own_frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from recloser.wrapping.flight import Flight

    Finish = Callable[["Flight", Any], Awaitable[Any]]

__all__ = ["FollowedProxy", "follow_object", "is_followable"]


class FollowedProxy(wrapt.BaseObjectProxy[Any]):
    """What every proxy has: the object, its flight, and an end when the application lets go of it."""

    # No annotations at class level: they would stand in for those of the object.
    def __init__(self, flight: Flight, wrapped: Any, finish: Finish) -> None:
        super().__init__(wrapped)
        self._self_flight = flight
        self._self_finish = finish
        self._self_steps = None
        flight.holders += 1

    def __del__(self) -> None:
        self._self_flight.let_go()

    def __copy__(self) -> Any:
        return copy.copy(self.__wrapped__)

    def __deepcopy__(self, memo: Any) -> Any:
        return copy.deepcopy(self.__wrapped__, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)


class _Iterates:
    def __iter__(self: Any) -> Iterator[Any]:
        if hasattr(type(self.__wrapped__), "__next__"):
            return self  # type: ignore[no-any-return]
        return _Items(self, iter(self.__wrapped__))


class _Next:
    def __next__(self: Any) -> Any:
        return _next(self, self.__wrapped__)


class _AsyncIterates:
    def __aiter__(self: Any) -> AsyncIterator[Any]:
        if hasattr(type(self.__wrapped__), "__anext__"):
            return self  # type: ignore[no-any-return]
        return _AsyncItems(self, self.__wrapped__.__aiter__())


class _AsyncNext:
    async def __anext__(self: Any) -> Any:
        return await _anext(self, self.__wrapped__)


class _Items:
    """Iterates over something that hands out an iterator of its own."""

    def __init__(self, proxy: Any, iterator: Iterator[Any]) -> None:
        self._proxy = proxy
        self._iterator = iterator

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return _next(self._proxy, self._iterator)


class _AsyncItems:
    """The same for an async iterator."""

    def __init__(self, proxy: Any, iterator: AsyncIterator[Any]) -> None:
        self._proxy = proxy
        self._iterator = iterator

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await _anext(self._proxy, self._iterator)


def _next(proxy: Any, iterator: Iterator[Any]) -> Any:
    flight: Flight = proxy._self_flight
    flight.iterated = True
    try:
        if not flight.timed:
            return next(iterator)
        flight.ask()
        item = next(iterator)
    except StopIteration:
        flight.land()
        raise
    except BaseException as error:
        flight.crash(error)
        hide_own_frames(error)
        raise
    flight.got(item, late_counts=True)
    return item


async def _anext(proxy: Any, iterator: AsyncIterator[Any]) -> Any:
    flight: Flight = proxy._self_flight
    flight.iterated = True
    try:
        if not flight.timed:
            return await anext(iterator)
        flight.ask()
        with flight.deadline():
            item = await anext(iterator)
    except StopAsyncIteration:
        flight.land()
        raise
    except BaseException as error:
        flight.crash(error)
        hide_own_frames(error)
        raise
    flight.got(item)
    return item


class _Awaits:
    def __await__(self: Any) -> Any:
        # A generator of our own, so that the proxy lives as long as it is awaited.
        return (yield from self._self_finish(self._self_flight, self.__wrapped__).__await__())


class _Steps:
    """What is a coroutine by its methods (aiohttp's requests): a task steps it, and never asks for ``__await__``."""

    def send(self: Any, value: Any) -> Any:
        return _steps(self).send(value)

    def throw(self: Any, *error: Any) -> Any:
        return _steps(self).throw(*error)


def _steps(proxy: Any) -> Any:
    if proxy._self_steps is None:
        proxy._self_steps = proxy._self_finish(proxy._self_flight, proxy.__wrapped__)
    return proxy._self_steps


class _Enters:
    def __enter__(self: Any) -> Any:
        flight: Flight = self._self_flight
        flight.wait()
        try:
            entered = self.__wrapped__.__enter__()
        except BaseException as error:
            flight.crash(error)
            raise
        return _entered(self, entered)

    def __exit__(self: Any, kind: object, error: BaseException | None, traceback: object) -> Any:
        flight: Flight = self._self_flight
        flight.leaving = True
        try:
            swallowed = self.__wrapped__.__exit__(kind, error, traceback)
        except BaseException as own:
            flight.end_block(own)
            raise
        flight.end_block(error)
        return swallowed


class _AsyncEnters:
    async def __aenter__(self: Any) -> Any:
        flight: Flight = self._self_flight
        flight.wait()
        try:
            with flight.deadline(opening=True):
                entered = await self.__wrapped__.__aenter__()
        except BaseException as error:
            flight.crash(error)
            raise
        return _entered(self, entered)

    async def __aexit__(self: Any, kind: object, error: BaseException | None, traceback: object) -> Any:
        flight: Flight = self._self_flight
        flight.leaving = True
        try:
            swallowed = await self.__wrapped__.__aexit__(kind, error, traceback)
        except BaseException as own:
            flight.end_block(own)
            raise
        flight.end_block(error)
        return swallowed


def _entered(proxy: Any, entered: Any) -> Any:
    flight: Flight = proxy._self_flight
    flight.answered()
    if entered is proxy.__wrapped__:
        return proxy
    if is_followable(type(entered), stream=True):
        return follow_object(flight, entered, proxy._self_finish)
    return entered


class _Closes:
    """``close``, sync or async: the application ends the stream here, whatever its reader gets after."""

    def close(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._self_flight.close(stream=_is_stream(self))
        return self.__wrapped__.close(*args, **kwargs)


class _AsyncCloses:
    def aclose(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._self_flight.close(stream=_is_stream(self))
        return self.__wrapped__.aclose(*args, **kwargs)


def _is_stream(proxy: Any) -> bool:
    """Whether it is read to its end, unlike a connection, which is used and then closed."""
    return hasattr(type(proxy.__wrapped__), "__next__") or hasattr(type(proxy.__wrapped__), "__anext__")


class _Gets:
    """Futures with a blocking ``get`` and no callback (Azure's ``ResultFuture``)."""

    def get(self: Any, *args: Any, **kwargs: Any) -> Any:
        flight: Flight = self._self_flight
        flight.wait()
        try:
            result = self.__wrapped__.get(*args, **kwargs)
        except BaseException as error:
            flight.crash(error)
            raise
        flight.answered()
        if not flight.judged(result):
            flight.succeed()
        return result


class _Receives:
    def recv(self: Any, *args: Any, **kwargs: Any) -> Any:
        flight: Flight = self._self_flight
        flight.ask()
        try:
            message = self.__wrapped__.recv(*args, **kwargs)
        except BaseException as error:
            flight.hung_up(error)
            raise
        if hasattr(type(message), "__await__"):
            return _received(flight, message)
        flight.got(message, late_counts=True)
        return message


async def _received(flight: Flight, message: Awaitable[Any]) -> Any:
    flight.ask()
    try:
        with flight.deadline():
            result = await message
    except BaseException as error:
        flight.hung_up(error)
        raise
    flight.got(result)
    return result


_PROTOCOLS: dict[str, type] = {
    "__iter__": _Iterates,
    "__next__": _Next,
    "__aiter__": _AsyncIterates,
    "__anext__": _AsyncNext,
    "__await__": _Awaits,
    "send": _Steps,
    "__enter__": _Enters,
    "__aenter__": _AsyncEnters,
    "close": _Closes,
    "aclose": _AsyncCloses,
    "recv": _Receives,
}
_STREAMS = ("__next__", "__anext__", "__aiter__", "__enter__", "__aenter__", "recv")

_proxies: dict[frozenset[str], type[FollowedProxy]] = {}


def is_followable(cls: type, *, stream: bool) -> bool:
    """Whether an object of this class has an end to wait for; only with ``stream`` if it could also be plain data."""
    return (
        hasattr(cls, "__await__")
        or _is_future(cls)
        or (stream and any(hasattr(cls, protocol) for protocol in _STREAMS))
    )


def follow_object(flight: Flight, wrapped: Any, finish: Finish) -> Any:
    """A proxy of ``wrapped`` that settles ``flight`` when it ends."""
    cls = type(wrapped)
    protocols = frozenset(name for name in _PROTOCOLS if hasattr(cls, name))
    if "__await__" not in protocols:
        protocols -= {"send"}  # a websocket's
    bases = [_PROTOCOLS[name] for name in _PROTOCOLS if name in protocols]
    if _is_future(cls):
        protocols, bases = protocols | {"get"}, [_Gets, *bases]
    proxy = _proxies.get(protocols)
    if proxy is None:
        proxy = _proxies[protocols] = type("FollowedProxy", (*bases, FollowedProxy), {})
    return proxy(flight, wrapped, finish)


def _is_future(cls: type) -> bool:
    return cls.__name__.endswith("Future") and callable(getattr(cls, "get", None))
