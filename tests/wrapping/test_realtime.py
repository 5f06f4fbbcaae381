"""What only real time can show: deadlines of the event loop, event loops that stand still, timeouts of others."""

from __future__ import annotations

import asyncio
import time

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from recloser import Recloser
from recloser.errors import DeadlineError
from tests.wrapping.shapes import FAILURE, IGNORED, NAME, SLOW

pytestmark = pytest.mark.realtime

SHORT = 0.05
STALL = 0.6
"""Longer than a busy event loop may be late."""


@pytest.fixture
def fleet():
    """A toolkit on the computer's clock."""
    with Recloser() as own:
        yield own


def counted(fleet):
    snapshot = fleet.circuit(NAME).snapshot()
    counts = {key: getattr(snapshot, key) for key in ("calls", "failures", "slow", "ignored")}
    return {key: count for key, count in counts.items() if count}


async def hang():
    await anyio.sleep(10)


async def stand_still():
    await checkpoint()
    time.sleep(STALL)  # noqa: ASYNC251 - this is the stall


async def test_a_deadline_fires(fleet):
    """A provider that hangs is cut off, and has failed."""
    with pytest.raises(DeadlineError) as caught:
        await fleet.circuit(NAME, timeout=SHORT)(hang)()
    assert not caught.value.stalled
    assert counted(fleet) == FAILURE


@pytest.mark.parametrize("deadline", ["first_item", "idle"])
async def test_a_deadline_between_items_fires(fleet, deadline):
    """A stream that falls silent is cut off, and has failed."""

    @fleet.circuit(NAME, **{deadline: SHORT})
    async def stream():
        if deadline == "idle":
            yield "first"
        await hang()
        yield "late"

    with pytest.raises(DeadlineError, match=deadline):
        async for _ in stream():
            pass
    assert counted(fleet) == FAILURE


async def test_a_process_that_stood_still_does_not_blame_the_provider(fleet):
    """A deadline that fires long after its time is ignored, and reported as a stall."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stand_still)
        with pytest.raises(DeadlineError, match="this process stood still") as caught:
            await fleet.circuit(NAME, timeout=SHORT)(hang)()
    assert caught.value.stalled
    assert counted(fleet) == IGNORED
    assert [event.kind for event in fleet.events] == ["stalled"]


async def test_an_item_that_came_while_the_process_stood_still_is_not_late(fleet):
    """The reader gets the item before any deadline fires: that it took so long is this process's own doing."""

    come = anyio.Event()

    @fleet.circuit(NAME, idle=SHORT)
    async def stream():
        yield "first"
        await come.wait()
        yield "second"

    async def bring_and_stand_still():
        await checkpoint()
        come.set()
        time.sleep(STALL)  # noqa: ASYNC251 - this is the stall

    async with anyio.create_task_group() as tasks:
        async for item in stream():
            if item == "first":
                tasks.start_soon(bring_and_stand_still)
    assert "failures" not in counted(fleet)


async def test_a_call_that_takes_its_time_to_be_cancelled_has_failed_all_the_same(fleet):
    """A websocket that says goodbye to a silent provider waits for seconds; the deadline fired in time."""

    async def call():
        try:
            await hang()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(STALL)

    with pytest.raises(DeadlineError):
        await fleet.circuit(NAME, timeout=SHORT)(call)()
    assert counted(fleet) == FAILURE


async def outer_timeout(call, backend, way):
    """The caller's own timeout around ``call``."""
    if backend == "trio":
        with trio.move_on_after(SHORT):
            await call()
    elif way == "timeout":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await call()
    else:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call(), SHORT)


OUTER = pytest.mark.parametrize(
    ("anyio_backend", "way"), [("asyncio", "timeout"), ("asyncio", "wait_for"), ("trio", "move_on_after")]
)


@OUTER
async def test_a_callers_own_timeout_is_a_cancellation(fleet, anyio_backend, way):
    """From within, it looks like a barge-in, and is ignored like one."""
    await outer_timeout(fleet.circuit(NAME, timeout=5)(hang), anyio_backend, way)
    assert counted(fleet) == IGNORED


@OUTER
async def test_a_callers_own_timeout_does_not_hide_a_slow_provider(fleet, anyio_backend, way):
    """Cancelled after it had run longer than ``slow_after``, it counts as slow."""
    await outer_timeout(fleet.circuit(NAME, slow_after=SHORT / 5)(hang), anyio_backend, way)
    assert counted(fleet) == SLOW


@OUTER
async def test_an_outer_timeout_of_the_application_stays_its_own(fleet, anyio_backend, way):
    """A deadline of ours that is still to come leaves no trace in the task that was cancelled from outside."""
    await outer_timeout(fleet.circuit(NAME, timeout=5)(hang), anyio_backend, way)
    if anyio_backend == "asyncio":
        assert asyncio.current_task().cancelling() == 0
    await checkpoint()
