"""Recloser and its peers, each as somebody would write it who wants the same thing from all of them.

Every circuit here lives in memory, opens at ``limit`` failures (or looks at its rates from ``limit`` calls on), and
stays open for an hour. What a peer cannot do it is not asked to do; the tables leave the place empty.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from importlib.metadata import version
from typing import Any, TypeAlias

import aiobreaker
import circuitbreaker
import fluxgate
import grit
import interlock
import nopanic
import purgatory
import pybreaker
import wrapt
from fluxgate.retries import Cooldown
from fluxgate.trippers import FailureRate, MinRequests, SlowRate
from fluxgate.windows import TimeWindow

from recloser import Recloser

__all__ = [
    "BARE",
    "COUNT",
    "FULL",
    "NEVER",
    "PASS_THROUGH",
    "SLOW",
    "WINDOW",
    "Does",
    "Subject",
    "pass_through",
    "recloser",
    "subjects",
]

BARE, PASS_THROUGH = "the function itself", "pass-through with `wrapt.decorator`"
COUNT, FULL = "**recloser**, failure count", "**recloser**, count, failure rate and slow rate"

Decorator: TypeAlias = Any
"""What takes a function and returns one; few of the peers have types."""
Make: TypeAlias = Callable[[int], Decorator]
"""A new circuit that opens at so many failures, as a decorator."""

HOUR = 3600
NEVER = 1_000_000_000
SLOW = 1.0
WINDOW = 300


class Does(StrEnum):
    """What a circuit judges by."""

    CONSECUTIVE = "failures in a row"
    COUNT = "failures in a window"
    RATES = "failure rate, slow rate"
    ALL = "failures, failure rate, slow rate in a window"


@dataclass(frozen=True, slots=True)
class Subject:
    """One way of writing a circuit.

    Attributes:
        name: what it is called in the tables.
        does: what it judges by.
        sync: makes one for functions.
        awaits: makes one for coroutine functions; None when it cannot.
        tells: whether its rejection says which circuit it was and when it will be tried again.
        streams: whether it follows generators to their end.
    """

    name: str
    does: Does
    sync: Make | None
    awaits: Make | None
    tells: bool = False
    streams: bool = False


@wrapt.decorator
def pass_through(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    """The least that a decorator can do which keeps what it decorates looking like itself."""
    return wrapped(*args, **kwargs)


_numbers = itertools.count()


def recloser(**thresholds: Any) -> Decorator:
    """A circuit of its own toolkit, in memory."""
    return Recloser().circuit(f"provider-{next(_numbers)}", **thresholds)


def _recloser_count(limit: int) -> Decorator:
    return recloser(failures=limit, cooldown=HOUR, cooldown_max=HOUR)


def _recloser_full(limit: int) -> Decorator:
    return recloser(
        failures=limit,
        failure_rate=0.5,
        minimum_calls=limit,
        slow_after=SLOW,
        slow_rate=0.5,
        cooldown=HOUR,
        cooldown_max=HOUR,
    )


def _grit(limit: int) -> Decorator:
    return grit.breaker(fails=limit, reset_after=HOUR, name="provider")


def _circuitbreaker(limit: int) -> Decorator:
    return circuitbreaker.circuit(failure_threshold=limit, recovery_timeout=HOUR, name="provider")


def _purgatory(limit: int) -> Decorator:
    return purgatory.SyncCircuitBreakerFactory(default_threshold=limit, default_ttl=HOUR)("provider")


def _purgatory_async(limit: int) -> Decorator:
    return purgatory.AsyncCircuitBreakerFactory(default_threshold=limit, default_ttl=HOUR)("provider")


def _pybreaker(limit: int) -> Decorator:
    return pybreaker.CircuitBreaker(fail_max=limit, reset_timeout=HOUR, name="provider")


def _aiobreaker(limit: int) -> Decorator:
    return aiobreaker.CircuitBreaker(fail_max=limit, timeout_duration=timedelta(seconds=HOUR), name="provider")


def _nopanic(limit: int) -> Decorator:
    return nopanic.circuit_breaker(
        failure_threshold=0.5,
        min_calls=limit,
        window=WINDOW,
        reset_timeout=HOUR,
        slow_call_duration=SLOW,
        slow_call_threshold=0.5,
        name="provider",
    )


def _interlock(limit: int) -> Decorator:
    config = interlock.Config(
        failure_rate_threshold=0.5,
        minimum_number_of_calls=limit,
        slow_call_duration_threshold=SLOW,
        slow_call_rate_threshold=0.5,
        wait_duration_in_open=HOUR,
        window_type=interlock.WindowType.TIME_BASED,
        window_size=WINDOW,
    )
    return interlock.CircuitBreaker(name="provider", config=config)


def _fluxgate(limit: int, cls: Any = fluxgate.CircuitBreaker) -> Decorator:
    tripper = MinRequests(limit) & (FailureRate(0.5) | SlowRate(0.5, threshold=SLOW))
    return cls(window=TimeWindow(WINDOW), tripper=tripper, retry=Cooldown(HOUR))


_fluxgate_async = functools.partial(_fluxgate, cls=fluxgate.AsyncCircuitBreaker)


def _named(distribution: str) -> str:
    return f"{distribution} {version(distribution)}"


def subjects() -> list[Subject]:
    """Everybody, Recloser first."""
    return [
        Subject(COUNT, Does.COUNT, _recloser_count, _recloser_count, tells=True, streams=True),
        Subject(FULL, Does.ALL, _recloser_full, _recloser_full, tells=True, streams=True),
        Subject(_named("grit-toolkit"), Does.CONSECUTIVE, _grit, _grit, tells=True),
        Subject(_named("circuitbreaker"), Does.CONSECUTIVE, _circuitbreaker, _circuitbreaker, tells=True, streams=True),
        Subject(_named("purgatory"), Does.CONSECUTIVE, _purgatory, _purgatory_async),
        Subject(_named("pybreaker"), Does.CONSECUTIVE, _pybreaker, None),
        Subject(_named("aiobreaker"), Does.CONSECUTIVE, _aiobreaker, _aiobreaker),
        Subject(_named("nopanic"), Does.RATES, _nopanic, _nopanic, tells=True, streams=True),
        Subject(_named("interlock-cb"), Does.RATES, _interlock, _interlock, tells=True),
        Subject(_named("fluxgate"), Does.RATES, _fluxgate, _fluxgate_async),
    ]
