"""What a call returned decides what becomes of it, because ``iscoroutinefunction`` lies about half of the real SDKs.

A coroutine, a generator and a future are followed to their end by themselves; a stream object, a connection and a
context manager when the circuit was told so (``stream=True``), through a proxy that keeps every protocol the object
has.
"""

from __future__ import annotations

import weakref
from inspect import CO_ITERABLE_COROUTINE
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from recloser.wrapping.frames import hide_own_frames
from recloser.wrapping.proxies import follow_object, is_followable
from recloser.wrapping.streams import drive, drive_async

if TYPE_CHECKING:
    from recloser.wrapping.flight import Flight

__all__ = ["follow"]

_PLAIN_CLASSES = 256
"""So many classes of plain results are remembered for each mention; more than that would be made on the fly."""


def follow(flight: Flight, result: Any) -> Any:
    """``result``, or what stands in for it until the flight is settled."""
    gate = flight.gate
    cls = type(result)
    if cls is CoroutineType or (cls is GeneratorType and result.gi_code.co_flags & CO_ITERABLE_COROUTINE):
        return _held(flight, finish(flight, result))
    if cls is GeneratorType:
        return _held(flight, drive(gate, result, flight))
    if cls is AsyncGeneratorType:
        return _held(flight, drive_async(gate, result, flight))
    if _calls_back(cls) and not (gate.stream and hasattr(cls, "__next__")):
        flight.holders += 1
        flight.wait()
        result.add_done_callback(lambda future: _done(flight, future))
        return result
    if is_followable(cls, stream=gate.stream):
        return follow_object(flight, result, finish)
    if gate.rules.failure_if is None and not gate.stream and len(gate.plain) < _PLAIN_CLASSES:
        gate.plain.add(cls)
    if not flight.judged(result):
        flight.succeed()
    return result


# Weak references to what is running; one that were held by its own flight would be garbage together with it.
_running: set[weakref.ref[Any]] = set()


def _held(flight: Flight, running: Any) -> Any:
    """``running``, which ends the flight; if it is dropped before its first step, the application has left."""

    def dropped(reference: weakref.ref[Any]) -> None:
        _running.discard(reference)
        flight.let_go()

    flight.holders += 1
    _running.add(weakref.ref(running, dropped))
    return running


def _calls_back(cls: type) -> bool:
    """Whether objects of this class are futures: those of asyncio and of threads, but not what is only awaited."""
    return callable(getattr(cls, "add_done_callback", None)) and (
        hasattr(cls, "_asyncio_future_blocking") or not hasattr(cls, "__await__")
    )


async def finish(flight: Flight, awaitable: Any) -> Any:
    """Awaits what the call returned, within the deadline, and follows what comes of it."""
    flight.wait()
    try:
        if flight.permit.bounded:
            with flight.deadline(opening=True):
                result = await awaitable
        else:
            result = await awaitable
    except BaseException as error:
        flight.crash(error)
        hide_own_frames(error)
        raise
    flight.answered()
    return follow(flight, result)


def _done(flight: Flight, future: Any) -> None:
    """A future is done, on whatever thread that happened."""
    flight.answered()
    if future.cancelled():
        flight.leave()
        return
    error = future.exception()
    if error is not None:
        flight.crash(error)
    elif not flight.judged(future.result()):
        flight.succeed()
