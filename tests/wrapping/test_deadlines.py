"""Deadlines inside the wrapper, on a clock that only the test moves: timeout, first_item, idle, keep-alives."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from recloser import RecloserError, circuit
from recloser.errors import DeadlineError
from tests.wrapping.fakes import HANG, Provider, ProviderDownError, async_function, async_generator, wrapped_function
from tests.wrapping.shapes import FAILURE, NAME, SUCCESS, counted, rows

ITEMS = ("first", "later", "end")


def awaited(shape):
    """Where a deadline can reach the provider: where it is awaited, and not on the way out of a ``with`` block."""
    return [point for point in shape.awaited if point not in {"exit", "close"}]


def not_a_task(row):
    return "LIMIT: timeout is never applied to a task that the call returned" if row.startswith("task") else None


def is_async(shape):
    return bool(shape.awaited)


@rows(is_async, points=awaited, broken=not_a_task)
async def test_a_timeout_ends_the_call_wherever_it_hangs(recloser, shape, point, anyio_backend):
    """One failure, one DeadlineError, which is a TimeoutError and says which deadline of which circuit it was."""
    circuit(NAME, timeout="5s")
    with pytest.raises(DeadlineError) as caught:
        await shape.on(Provider(recloser.clock, **{point: 5}))()
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, RecloserError)
    assert str(caught.value) == "provider: timeout of 5s has passed"
    assert counted() == FAILURE


@rows(is_async, points=awaited)
async def test_a_call_just_in_time_is_a_success(recloser, shape, point, anyio_backend):
    """A deadline that is not reached changes nothing, and is taken back."""
    circuit(NAME, timeout="5s", first_item="5s", idle="5s")
    await shape.on(Provider(recloser.clock, **{point: 4.9}))()
    recloser.clock.advance("1m")
    assert counted() == SUCCESS


def first_items(shape):
    return [point for point in shape.awaited if point == "first"]


def later_items(shape):
    return [point for point in shape.awaited if point in {"later", "end"}]


@rows(is_async, points=first_items)
async def test_the_first_item_has_a_deadline_of_its_own(recloser, shape, point, anyio_backend):
    """Voice lives by the time to the first byte; later items may take as long as they like."""
    circuit(NAME, first_item="2s")
    with pytest.raises(DeadlineError, match="first_item of 2s"):
        await shape.on(Provider(recloser.clock, **{point: 2}))()
    assert counted() == FAILURE
    await shape.on(Provider(recloser.clock, later=60, end=60))()
    assert counted() == {"calls": 2, "failures": 1}


@rows(is_async, points=later_items)
async def test_silence_between_items_has_a_deadline(recloser, shape, point, anyio_backend):
    """After the first item, ``idle`` is the longest silence; the first item may take as long as it likes."""
    circuit(NAME, idle="2s")
    with pytest.raises(DeadlineError, match="idle of 2s"):
        await shape.on(Provider(recloser.clock, first=60, **{point: 2}))()
    assert counted() == FAILURE


@rows(lambda shape: shape.stream and "call" in shape.awaited, points=lambda _: ["call"])
async def test_the_headers_are_part_of_the_wait_for_the_first_item(recloser, shape, point, anyio_backend):
    """Of a call that returns a stream, ``first_item`` begins with the call, not with the answer's headers."""
    circuit(NAME, first_item="2s")
    with pytest.raises(DeadlineError, match="first_item"):
        await shape.on(Provider(recloser.clock, call=1, first=1))()
    assert counted() == FAILURE


async def test_a_call_that_returns_no_stream_has_no_first_item(recloser):
    """``first_item`` in a policy shared with streams does not limit plain calls."""
    call = circuit(NAME, first_item="2s")(async_function(Provider(recloser.clock, call=60)))
    assert await call() == "spoken"
    assert counted() == SUCCESS


async def test_a_timeout_is_the_whole_time_spent_waiting(recloser):
    """Items that each come in time do not extend it, and the reader's own time does not use it up."""
    circuit(NAME, timeout="5s")
    stream = circuit(NAME)(async_generator(Provider(recloser.clock, first=2, later=2, end=2)))()
    await anext(stream)
    recloser.clock.advance("1m")
    await anext(stream)
    with pytest.raises(DeadlineError, match="timeout of 5s"):
        await anext(stream)
    assert counted() == FAILURE


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_deadline_that_has_passed_already_fires_at_once(recloser, anyio_backend):
    """The sync part of a call uses it up; what is left to await gets no second chance."""
    provider = Provider(recloser.clock, before=5)
    with pytest.raises(DeadlineError, match="timeout of 5s"):
        await circuit(NAME, timeout="5s")(
            wrapped_function(provider),
        )()
    assert counted() == FAILURE


async def test_keep_alives_are_not_progress(recloser):
    """``progress=`` tells real items from keep-alives, which reach the reader but do not break the silence."""

    @circuit(NAME, first_item="10s", idle="5s", progress=lambda item: item != "ping")
    async def stream():
        for item, wait in (("ping", 4), ("word", 4), ("ping", 3), ("ping", 3)):
            recloser.clock.advance(wait)
            await checkpoint()
            yield item

    items = []
    with pytest.raises(DeadlineError, match="idle of 5s"):
        async for item in stream():
            items.append(item)  # noqa: PERF401 - what came before the error is wanted
    assert items == ["ping", "word", "ping"]
    assert counted() == FAILURE


async def test_keep_alives_before_the_first_item_are_not_it(recloser):
    """A provider that only says that it is alive has not begun to speak."""

    @circuit(NAME, first_item="5s", progress=lambda item: item != "ping")
    async def stream():
        while True:
            yield "ping"
            recloser.clock.advance(2)
            await checkpoint()

    with pytest.raises(DeadlineError, match="first_item of 5s"):
        async for _ in stream():
            pass
    assert counted() == FAILURE


@pytest.mark.parametrize("deadline", ["first_item", "idle"])
def test_a_sync_stream_cannot_be_interrupted_but_is_judged(recloser, deadline):
    """An item that came too late is handed on, and the call is a failure."""
    late = "first" if deadline == "first_item" else "later"

    @circuit(NAME, **{deadline: "2s"})
    def stream():
        for point in ("first", "later"):
            recloser.clock.advance(3 if point == late else 0)
            yield point

    assert list(stream()) == ["first", "later"]
    assert counted() == FAILURE


def test_a_stream_that_was_late_is_not_judged_again(recloser):
    """It has failed; that it then brings too little is the same failure."""

    @circuit(NAME, first_item="2s", min_items=5)
    def stream():
        recloser.clock.advance(3)
        yield "late"

    assert list(stream()) == ["late"]
    assert counted() == FAILURE


async def test_a_deadline_may_fire_from_another_thread(recloser):
    """The clock is moved in a thread while the event loop waits for the provider."""
    provider = Provider(call=HANG)
    provider.cancel = lambda: None
    call = circuit(NAME, timeout="5s")(async_function(provider))

    async def move():
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(recloser.clock.advance, "5s")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(move)
        with pytest.raises(DeadlineError):
            await call()
    assert counted() == FAILURE


async def test_an_error_in_time_is_not_replaced_by_a_deadline(recloser):
    """The provider's own error wins over a deadline that comes with it."""
    error = ProviderDownError()

    @circuit(NAME, timeout="5s")
    async def call():
        recloser.clock.advance("5s")
        raise error

    with pytest.raises(ProviderDownError) as caught:
        await call()
    assert caught.value is error
    assert counted() == FAILURE


async def test_an_answer_in_time_is_not_thrown_away_by_a_deadline(recloser):
    """What was there before anybody could be cancelled is an answer."""

    @circuit(NAME, timeout="5s")
    async def call():
        recloser.clock.advance("5s")
        return "spoken"

    assert await call() == "spoken"
    assert counted() == SUCCESS


async def test_a_cancellation_from_outside_is_not_a_deadline(recloser):
    """Whoever cancels first says what it was: an outer scope is the application's."""
    provider = Provider(call=HANG)
    call = circuit(NAME, timeout="5s")(async_function(provider))
    with anyio.CancelScope() as scope:
        provider.cancel = scope.cancel
        await call()
    assert scope.cancelled_caught
    assert counted() == {"ignored": 1}


async def test_deadlines_of_nested_circuits_are_told_apart(recloser):
    """The inner one fires and is the inner circuit's failure, and as a timeout the outer one's, too."""
    inner = circuit("inner", timeout="2s")(async_function(Provider(recloser.clock, call=2)))
    with pytest.raises(DeadlineError) as caught:
        await circuit(NAME, timeout="5s")(inner)()
    assert caught.value.circuit == "inner"
    assert counted() == counted("inner") == FAILURE


async def test_a_with_block_has_a_deadline(recloser):
    """``async with`` is cancelled like a call."""
    with pytest.raises(DeadlineError, match="timeout of 5s"):
        async with circuit(NAME, timeout="5s"):
            await Provider(recloser.clock, body=5).reach("body")
    assert counted() == FAILURE
    async with circuit(NAME):
        await Provider(recloser.clock, body=4).reach("body")
    assert counted() == {"calls": 2, "failures": 1}


async def test_the_end_of_an_abandoned_loop_is_no_ones_problem(recloser):
    """A deadline of a task whose event loop is gone does not disturb the clock."""
    provider = Provider(call=HANG)
    provider.cancel = lambda: None
    call = circuit(NAME, timeout="5s")(async_function(provider))

    async def abandoned():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    thread = threading.Thread(target=anyio.run, args=(abandoned,))
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    recloser.clock.advance("1m")
    assert counted() == {"ignored": 1}
