"""Calls that return: plain functions and ``async def``, through one acquire and one settle."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from recloser.wrapping.flight import Flight
from recloser.wrapping.returned import follow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from recloser.gate import Gate

__all__ = ["async_call", "sync_call"]

# The two functions below are the path of every call, and what they do not do is measured in benchmarks/: no lookup of
# the state (the permit is there unless the circuit wants attention), no lock (the counter is written in C), and no
# look at a result whose class was seen before.


def sync_call(gate: Gate, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` behind ``gate``; what it returns may still turn out to be a coroutine or a stream."""
    plain = gate.plain

    def call(*args: Any, **kwargs: Any) -> Any:
        permit = gate.replica.permit or gate.replica.acquire()
        now = permit.now
        # Where no rule asks how long a call took, its beginning is not looked up.
        started = now() if permit.timed else inf
        try:
            result = function(*args, **kwargs) if kwargs else function(*args)
        except BaseException as error:
            gate.fail(permit, now() - started, error)
            raise
        if type(result) not in plain:
            return follow(Flight(gate, permit, now() - started if permit.timed else 0.0), result)
        ended = now()
        if ended < permit.rolls and ended - started <= permit.slow_after:
            next(permit.counter)
        else:
            gate.succeed(permit, ended - started, ended)
        return result

    return call


def async_call(gate: Gate, function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """``function``, which returns something to await, behind ``gate``."""
    plain = gate.plain

    async def call(*args: Any, **kwargs: Any) -> Any:
        permit = gate.replica.permit or gate.replica.acquire()
        now = permit.now
        started = now() if permit.timed else inf
        try:
            if permit.bounded:
                with Flight(gate, permit).deadline(opening=True):
                    result = await function(*args, **kwargs)
            elif kwargs:
                result = await function(*args, **kwargs)
            else:
                result = await function(*args)
        except BaseException as error:
            gate.fail(permit, now() - started, error)
            raise
        if type(result) not in plain:
            return follow(Flight(gate, permit, now() - started if permit.timed else 0.0), result)
        ended = now()
        if ended < permit.rolls and ended - started <= permit.slow_after:
            next(permit.counter)
        else:
            gate.succeed(permit, ended - started, ended)
        return result

    return call
