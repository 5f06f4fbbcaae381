"""What workers write down, for whoever asks in the morning: a stream in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["JOURNAL", "Journal"]

JOURNAL = "journal"


class Journal:
    """The journal, as one worker writes it. An entry has the time of Redis, as Recloser's events have."""

    def __init__(self, redis: Redis, worker: str) -> None:
        self._redis = redis
        self._worker = worker

    async def note(self, kind: str, lead: str = "", **facts: str | int) -> None:
        """Writes down what happened."""
        entry: dict[Any, Any] = {"kind": kind, "lead": lead, "worker": self._worker, **facts}
        await self._redis.xadd(JOURNAL, entry)
