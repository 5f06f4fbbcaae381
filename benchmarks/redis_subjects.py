"""Recloser and its peers with their state in Redis, each as its own README writes it, with the client's defaults."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import aiobreaker
import interlock
import purgatory
import pybreaker
import redis
import redis.asyncio
from aiobreaker.state import CircuitBreakerState
from aiobreaker.storage.redis import CircuitRedisStorage
from interlock.integrations.redis import AsyncRedisStorage, RedisStorage
from nopanic_redis import redis_circuit_breaker

from recloser import Recloser

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["INTERLOCK", "NOPANIC", "OURS", "OURS_FULL", "RedisSubject", "ours", "redis_subjects", "toolkits"]

HOUR = 3600
OURS, OURS_FULL = "**recloser**, Redis, failure count", "**recloser**, Redis, count, failure rate and slow rate"
INTERLOCK, NOPANIC = "interlock-cb", "nopanic-redis"
FULL_RULES: dict[str, Any] = {"failure_rate": 0.5, "slow_after": 1.0, "slow_rate": 0.5}

toolkits: list[Recloser] = []
"""Those that were made here, to be closed before the server goes."""


class RedisSubject(NamedTuple):
    """One way of sharing a circuit.

    Attributes:
        name: what it is called in the tables.
        sync: makes one for functions, of the server's URL, the circuit's name and the failures that open it; None when
            it cannot.
        awaits: the same for coroutine functions.
        why: what there is to know about it.
    """

    name: str
    sync: Callable[[str, str, int], Any] | None
    awaits: Callable[[str, str, int], Any] | None
    why: str = ""


def ours(url: str, name: str, limit: int, **thresholds: Any) -> Any:
    """A circuit in a toolkit of its own, which the fleet has spoken to."""
    toolkit = Recloser(url, namespace=f"bench-{name}")
    toolkits.append(toolkit)
    settings = {"failures": limit, "minimum_calls": limit, "cooldown": HOUR, "cooldown_max": HOUR, **thresholds}
    circuit = toolkit.circuit(name, **settings)
    assert toolkit.ready("10s"), "the fleet does not answer"
    return circuit


def _interlock(url: str, name: str, limit: int) -> Any:
    return interlock.CircuitBreaker(
        name=name, config=_interlock_config(limit), storage=RedisStorage(redis.Redis.from_url(url))
    )


def _interlock_async(url: str, name: str, limit: int) -> Any:
    return interlock.CircuitBreaker(
        name=name, config=_interlock_config(limit), storage=AsyncRedisStorage(redis.asyncio.Redis.from_url(url))
    )


def _interlock_config(limit: int) -> Any:
    return interlock.Config(
        failure_rate_threshold=0.5,
        minimum_number_of_calls=limit,
        slow_call_duration_threshold=1.0,
        slow_call_rate_threshold=0.5,
        wait_duration_in_open=HOUR,
        window_type=interlock.WindowType.TIME_BASED,
        window_size=300,
    )


def _aiobreaker(url: str, name: str, limit: int) -> Any:
    storage = CircuitRedisStorage(CircuitBreakerState.CLOSED, redis.StrictRedis.from_url(url), namespace=name)
    return aiobreaker.CircuitBreaker(fail_max=limit, timeout_duration=timedelta(seconds=HOUR), state_storage=storage)


def _pybreaker(url: str, name: str, limit: int) -> Any:
    storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, redis.StrictRedis.from_url(url), namespace=name)
    return pybreaker.CircuitBreaker(fail_max=limit, reset_timeout=HOUR, state_storage=storage)


def _nopanic(url: str, name: str, limit: int) -> Any:
    return redis_circuit_breaker(redis.Redis.from_url(url), name=name, min_calls=limit, reset_timeout=HOUR)


def _nopanic_async(url: str, name: str, limit: int) -> Any:
    return redis_circuit_breaker(redis.asyncio.Redis.from_url(url), name=name, min_calls=limit, reset_timeout=HOUR)


def _purgatory(url: str, name: str, limit: int) -> Any:
    uow = purgatory.AsyncRedisUnitOfWork(url)
    return purgatory.AsyncCircuitBreakerFactory(default_threshold=limit, default_ttl=HOUR, uow=uow)(name)


def _named(distribution: str) -> str:
    return f"{distribution} {version(distribution)}"


def redis_subjects() -> list[RedisSubject]:
    """Everybody, Recloser first."""
    full = partial(ours, **FULL_RULES)
    return [
        RedisSubject(OURS, ours, ours),
        RedisSubject(OURS_FULL, full, full),
        RedisSubject(_named(INTERLOCK), _interlock, _interlock_async, "follows the fleet every second"),
        RedisSubject(_named("aiobreaker"), _aiobreaker, _aiobreaker, "blocks the event loop"),
        RedisSubject(_named("pybreaker"), _pybreaker, None),
        RedisSubject(_named(NOPANIC), _nopanic, _nopanic_async),
        RedisSubject(_named("purgatory"), None, _purgatory, "its sync half awaits nothing, and fails"),
    ]
