"""The leads that are to be called: a queue in Redis, from which a lead is locked, and goes back or is served."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["LOCKED", "SERVED", "WAITING", "Leads"]

WAITING = "leads:waiting"
"""A sorted set: when a lead is due."""
LOCKED = "leads:locked"
"""A hash: which worker has a lead."""
SERVED = "leads:served"
"""A list."""

_TAKE = """
local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 1)
if due[1] then
  redis.call('ZREM', KEYS[1], due[1])
  redis.call('HSET', KEYS[2], due[1], ARGV[2])
end
return due[1]
"""


class Leads:
    """The queue, as one worker sees it."""

    def __init__(self, redis: Redis, worker: str) -> None:
        self._redis = redis
        self._worker = worker
        self._take = redis.register_script(_TAKE)

    async def are_due(self) -> bool:
        """Whether anybody is to be called; locks nothing."""
        return bool(await self._redis.zcount(WAITING, "-inf", time.time()))

    async def take(self) -> str | None:
        """Locks the next lead; None when another worker was quicker."""
        lead: str | None = await self._take(keys=[WAITING, LOCKED], args=[time.time(), self._worker])
        return lead

    async def put_back(self, lead: str, delay: float) -> None:
        """Unlocks a lead, to be called in so many seconds."""
        async with self._redis.pipeline() as pipe:
            pipe.hdel(LOCKED, lead)
            pipe.zadd(WAITING, {lead: time.time() + delay})
            await pipe.execute()

    async def serve(self, lead: str) -> None:
        """Unlocks a lead for good."""
        async with self._redis.pipeline() as pipe:
            pipe.hdel(LOCKED, lead)
            pipe.rpush(SERVED, lead)
            await pipe.execute()
