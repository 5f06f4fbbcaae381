"""Generators, sync and async, followed item by item to their end.

They ask for leave when their first item is asked for: nothing of a generator runs before that, and one that is never
started has no clean-up either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recloser.wrapping.flight import Flight

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from recloser.gate import Gate

__all__ = ["async_generator_call", "drive", "drive_async", "generator_call"]


def generator_call(gate: Gate, function: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
    """A generator function behind ``gate``."""

    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return drive(gate, function(*args, **kwargs))

    return call


def async_generator_call(gate: Gate, function: Callable[..., AsyncGenerator[Any, Any]]) -> Callable[..., Any]:
    """An async generator function behind ``gate``."""

    def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        return drive_async(gate, function(*args, **kwargs))

    return call


def drive(  # noqa: C901 - one loop in one frame, for the reader's traceback
    gate: Gate, stream: Generator[Any, Any, Any], flight: Flight | None = None
) -> Generator[Any, Any, Any]:
    """``stream`` with everything a generator can do (send, throw, close, a return value), settled when it ends."""
    flight = flight or Flight(gate, gate.replica.permit or gate.acquire())
    watched, timed, now = flight.watched, flight.timed and not flight.watched, flight.permit.now
    resume = send = stream.send
    value: Any = None
    since = 0.0
    try:
        while True:
            if watched:
                flight.ask()
            elif timed:
                flight.waiting_since = since = now()
            try:
                item = resume(value)
            except StopIteration as stop:
                flight.land()
                return stop.value
            if watched:
                flight.got(item, late_counts=True)
            elif timed:
                flight.waited += now() - since
                flight.waiting_since = None
            try:
                value = yield item
            except GeneratorExit:
                flight.leave()
                stream.close()
                raise
            except BaseException as thrown:  # noqa: BLE001 - thrown in by the reader, and meant for the stream
                resume, value = stream.throw, thrown
            else:
                resume = send
    except BaseException as error:
        flight.end(error, thrown=value)
        raise


async def drive_async(
    gate: Gate, stream: AsyncGenerator[Any, Any], flight: Flight | None = None
) -> AsyncGenerator[Any, Any]:
    """``stream`` with everything an async generator can do (asend, athrow, aclose), settled when it ends."""
    flight = flight or Flight(gate, gate.replica.permit or gate.acquire())
    watched, timed, now = flight.watched, flight.timed and not flight.watched, flight.permit.now
    since = 0.0
    resume: Callable[[Any], Awaitable[Any]]
    resume = send = stream.asend
    value: Any = None
    try:
        while True:
            try:
                if watched:
                    flight.ask()
                    with flight.deadline():
                        item = await resume(value)
                    flight.got(item)
                elif timed:
                    flight.waiting_since = since = now()
                    item = await resume(value)
                    flight.waited += now() - since
                    flight.waiting_since = None
                else:
                    item = await resume(value)
            except StopAsyncIteration:
                flight.land()
                return
            try:
                value = yield item
            except GeneratorExit:
                flight.leave()
                await stream.aclose()
                raise
            except BaseException as thrown:  # noqa: BLE001 - thrown in by the reader, and meant for the stream
                resume, value = stream.athrow, thrown
            else:
                resume = send
    except BaseException as error:
        flight.end(error, thrown=value)
        raise
