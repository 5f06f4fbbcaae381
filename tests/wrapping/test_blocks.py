"""``with`` and ``async with``: nested, interleaved, concurrent, re-entered, and inside generators."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading

import anyio
import pytest
from anyio.lowlevel import checkpoint

from recloser import ConfigurationError, PausedError, State, circuit
from tests.wrapping.fakes import ProviderDownError
from tests.wrapping.shapes import FAILURE, IGNORED, NAME, SLOW, SUCCESS, counted, half_open, probe_is_free

CIRCUIT = circuit(NAME)
"""Entered by many at once, as a module's circuits are."""


@contextlib.asynccontextmanager
async def entered(block, how):
    """``block`` entered with ``with`` or with ``async with``."""
    if how == "with":
        with block:
            yield
    else:
        async with block:
            yield


both = pytest.mark.parametrize("how", ["with", "async with"])


@both
async def test_a_block_is_a_call(recloser, how):
    """It succeeds, fails and is cancelled like one, and hands out its circuit."""
    async with entered(CIRCUIT, how):
        pass
    assert counted() == SUCCESS
    error = ProviderDownError()
    with pytest.raises(ProviderDownError) as caught:
        async with entered(CIRCUIT, how):
            raise error
    assert caught.value is error
    assert counted() == {"calls": 2, "failures": 1}
    with anyio.CancelScope() as scope:
        async with entered(CIRCUIT, how):
            scope.cancel()
            await checkpoint()
    assert counted() == {"calls": 2, "failures": 1, "ignored": 1}


def test_a_block_hands_out_its_circuit(recloser):
    """``as`` gives the circuit, for reporting by hand what is not raised."""
    with circuit(NAME) as entered_circuit:
        entered_circuit.record_failure("an error frame")
    assert counted() == {"calls": 2, "failures": 1}


@both
async def test_a_probe_that_leaves_its_block_by_an_ignored_error_frees_it(recloser, how):
    """A bug of the application in the body says nothing about the provider."""
    half_open(recloser)
    with pytest.raises(TypeError):
        async with entered(CIRCUIT, how):
            raise TypeError
    assert counted() == IGNORED
    assert probe_is_free()
    async with entered(CIRCUIT, how):
        pass
    assert CIRCUIT.state is State.CLOSED


@both
async def test_blocks_of_one_circuit_nest(recloser, how):
    """Each is a call of its own, and settles itself: here the inner one fails and the outer one does not."""
    async with entered(CIRCUIT, how):
        with contextlib.suppress(ProviderDownError):
            async with entered(CIRCUIT, how):
                raise ProviderDownError
        async with entered(circuit("another"), how):
            pass
    assert counted() == {"calls": 2, "failures": 1}
    assert counted("another") == SUCCESS


@both
async def test_a_block_inside_the_probes_block_is_rejected(recloser, how):
    """With one probe there is one; the rejection is ignored further out, and the probe comes back."""
    half_open(recloser)
    with pytest.raises(PausedError):
        async with entered(CIRCUIT, how), entered(CIRCUIT, how):
            pass
    assert probe_is_free()


@both
async def test_blocks_in_an_exit_stack_are_left_in_any_order(recloser, how):
    """``ExitStack`` and ``pop_all`` take blocks across functions."""
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(entered(CIRCUIT, how))
        inner = contextlib.AsyncExitStack()
        await inner.enter_async_context(entered(circuit("another"), how))
        kept = inner.pop_all()
    assert counted() == SUCCESS
    await kept.aclose()
    assert counted("another") == SUCCESS


async def test_concurrent_tasks_share_a_circuit(recloser):
    """Each task is in its own block, whatever the order in which they end."""
    events = [anyio.Event() for _ in range(3)]

    async def call(number):
        async with CIRCUIT:
            await events[number].wait()
            if number == 1:
                raise ProviderDownError

    with pytest.raises(ExceptionGroup):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(call, number)
            await anyio.wait_all_tasks_blocked()
            events[2].set()
            await anyio.wait_all_tasks_blocked()
            events[1].set()
    # The failure of one cancels its sibling.
    assert counted() == {"calls": 2, "failures": 1, "ignored": 1}


def test_threads_share_a_circuit(recloser):
    """Blocks in several threads do not see each other."""
    barrier = threading.Barrier(4)

    def call():
        with CIRCUIT:
            barrier.wait()
            with CIRCUIT:
                barrier.wait()

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted() == {"calls": 8}


def block_in_generator():
    with CIRCUIT:
        yield 1
        yield 2


async def block_in_async_generator():
    async with CIRCUIT:
        yield 1
        yield 2


async def test_a_block_in_a_generator_is_left_with_it(recloser):
    """Exhausted, it succeeded; closed early, it was left."""
    assert list(block_in_generator()) == [1, 2]
    assert [item async for item in block_in_async_generator()] == [1, 2]
    assert counted() == {"calls": 2}
    for stream in (block_in_generator(), contextlib.aclosing(block_in_async_generator())):
        if isinstance(stream, contextlib.aclosing):
            async with stream as items:
                await anext(items)
        else:
            next(stream)
            stream.close()
    assert counted() == {"calls": 2, "ignored": 2}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_block_in_an_async_generator_read_through_wait_for(recloser, anyio_backend):
    """On Python 3.11 ``wait_for`` gives each item a task, and so a context, of its own."""
    stream = block_in_async_generator()
    assert await asyncio.wait_for(anext(stream), 1) == 1
    assert await asyncio.wait_for(anext(stream), 1) == 2
    assert await asyncio.wait_for(anext(stream, None), 1) is None
    assert counted() == SUCCESS


def test_a_block_in_a_generator_read_from_several_contexts(recloser):
    """Web frameworks iterate a sync response in a thread pool, each step with a copy of the context."""
    half_open(recloser)
    stream = block_in_generator()
    items = [contextvars.copy_context().run(next, stream, None) for _ in range(3)]
    assert items == [1, 2, None]
    assert CIRCUIT.state is State.CLOSED


def test_a_block_entered_and_left_in_different_contexts(recloser):
    """Callbacks that open and close run in contexts of their own; with a mention of its own it is plain whose."""
    block = circuit(NAME)
    contextvars.copy_context().run(block.__enter__)
    contextvars.copy_context().run(block.__exit__, None, None, None)
    assert counted() == SUCCESS


def test_interleaved_generators_settle_their_own_blocks(recloser):
    """Two streams read in turns in one context: the slow one is slow, the failing one fails in its own generation."""
    slow = circuit(NAME, slow_after="5s")

    def stream():
        with slow:
            yield

    first, second = stream(), stream()
    next(first)
    recloser.clock.advance("6s")
    next(second)
    next(first, None)
    assert counted() == SLOW
    next(second, None)
    assert counted() == {"calls": 2, "slow": 1}


@both
async def test_a_block_that_was_never_entered_cannot_be_left(recloser, how):
    """Calling ``__exit__`` by hand is told what is wrong."""
    with pytest.raises(RuntimeError, match="was left"):
        if how == "with":
            CIRCUIT.__exit__(None, None, None)
        else:
            await CIRCUIT.__aexit__(None, None, None)


@both
async def test_an_open_circuit_does_not_let_the_body_begin(recloser, how):
    """PausedError from the ``with`` line."""
    recloser.trip(NAME)
    with pytest.raises(PausedError):
        async with entered(CIRCUIT, how):
            pytest.fail("the body ran")


def test_a_timeout_on_a_sync_block_is_refused(recloser):
    """A sync body cannot be interrupted, and is told so where the block is."""
    block = circuit(NAME, timeout="5s")
    with pytest.raises(ConfigurationError, match=r"timeout = 5\.0 is not possible: only with async code"), block:
        pytest.fail("the body ran")


async def test_a_block_keeps_the_users_error_and_adds_no_frame(recloser):
    """A ``with`` statement is not in the traceback at all."""
    with pytest.raises(ProviderDownError) as caught:
        async with CIRCUIT:
            raise ProviderDownError
    assert [entry.name for entry in caught.traceback] == ["test_a_block_keeps_the_users_error_and_adds_no_frame"]
    assert counted() == FAILURE
