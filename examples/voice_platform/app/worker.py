"""A worker: a process that takes a lead, dials, holds the call, and takes the next."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import aiohttp
import anyio
from redis.asyncio import Redis

from examples.voice_platform.app.calls import hold
from examples.voice_platform.app.dialling import dial, needed
from examples.voice_platform.app.journal import Journal
from examples.voice_platform.app.leads import Leads
from examples.voice_platform.night.phone import Phone
from recloser import PausedError, await_until_allowed, lifespan

__all__ = ["main", "work"]

_AGAIN = 1.0
"""Seconds until a lead is called again whose call came to nothing."""


# [work
async def work(leads: Leads, journal: Journal) -> None:
    """Calls one lead after the other, until it is cancelled."""
    while True:
        while not await leads.are_due():  # noqa: ASYNC110 - it is Redis that is asked
            await anyio.sleep(0.1)
        if paused := needed.refusal():
            await journal.note("waits", why=f"{paused.circuit} is {paused.state.name}")
        await await_until_allowed(dial)  # before anything is locked
        with anyio.CancelScope(shield=True):  # what is in flight is finished
            lead = await leads.take()
            if lead is not None:
                await journal.note("fetched", lead)
                await serve(lead, leads, journal)


async def serve(lead: str, leads: Leads, journal: Journal) -> None:
    """Calls a lead, which is served then, or goes back."""
    try:
        sid = await dial(lead)
        call = await hold(sid, Phone())
    except (PausedError, aiohttp.ClientError) as error:  # something broke just now
        await journal.note("refused", lead, why=str(error))
        await leads.put_back(lead, delay=getattr(error, "retry_after", None) or _AGAIN)
        return
    facts: dict[str, str | int] = {"ears": call.ears, "voice": call.voice, "errors": call.errors, "sid": sid}
    if call.cut:
        await journal.note("cut", lead, why=call.cut, **facts)
        await leads.put_back(lead, delay=_AGAIN)
    else:
        await journal.note("served", lead, **facts)
        await leads.serve(lead)


# work]


async def main(name: str) -> None:
    """Works until the process is told to end."""
    redis_url = os.environ["LEADS_URL"]
    async with (
        lifespan(),
        Redis.from_url(redis_url, decode_responses=True) as redis,
        anyio.create_task_group() as tasks,
    ):
        journal = Journal(redis, name)
        tasks.start_soon(work, Leads(redis, name), journal)
        await journal.note("ready")
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                tasks.cancel_scope.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
