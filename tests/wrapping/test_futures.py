"""Futures: what a call returned is done later, on whatever thread, and the caller keeps the very object."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from recloser import State, circuit
from tests.wrapping import fakes
from tests.wrapping.fakes import Provider, ProviderDownError
from tests.wrapping.shapes import FAILURE, IGNORED, NAME, SLOW, SUCCESS, counted, half_open, probe_is_free, returning

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


def test_the_future_is_the_callers_own(recloser):
    """A future is not wrapped: the caller gets the object that the call returned."""
    future = Future()
    assert circuit(NAME)(lambda: future)() is future
    assert counted() == {}
    future.set_result("spoken")
    assert counted() == SUCCESS


def test_a_future_that_fails_later_is_a_failure(recloser):
    """It counts when it is done, and in the generation in which it began."""
    future = Future()
    circuit(NAME, failures=1)(lambda: future)()
    future.set_exception(ProviderDownError())
    assert counted() == FAILURE
    assert circuit(NAME).state is State.OPEN


def test_a_future_that_is_cancelled_frees_its_probe(recloser):
    """Cancelling is the application's doing."""
    half_open(recloser)
    future = Future()
    circuit(NAME)(lambda: future)()
    assert not probe_is_free()
    future.cancel()
    assert counted() == IGNORED
    assert probe_is_free()


def test_a_future_that_takes_too_long_is_slow(recloser):
    """The time until it is done is the length of its call."""
    future = Future()
    circuit(NAME, slow_after="5s")(lambda: future)()
    recloser.clock.advance("5.1s")
    future.set_result("spoken")
    assert counted() == SLOW


def test_a_late_future_changes_nothing(recloser):
    """The provider answers a call of an older generation; nobody asked it since."""
    future = Future()
    circuit(NAME)(lambda: future)()
    recloser.trip(NAME)
    recloser.heal(NAME)
    future.set_exception(ProviderDownError())
    assert counted() == {}


def test_a_result_that_a_rule_refuses_is_a_failure(recloser):
    """``failure_if`` looks at what comes of a future, whichever kind it is."""
    refusing = circuit(NAME, failure_if=lambda result: result == "spoken")
    future = Future()
    refusing(lambda: future)()
    future.set_result("spoken")
    assert counted() == FAILURE
    assert refusing(lambda: fakes.ResultFuture(Provider()))().get() == "spoken"
    assert counted() == {"calls": 2, "failures": 2}


def test_a_thread_pool_is_followed_to_the_end_of_its_work(recloser):
    """``executor.submit`` is a call that returns a future."""
    with ThreadPoolExecutor(1) as pool:
        submit = circuit(NAME)(pool.submit)
        assert submit(pow, 2, 3).result() == 8
        with pytest.raises(ProviderDownError):
            submit(fakes.function(Provider(call=ProviderDownError()))).result()
    assert counted() == {"calls": 2, "failures": 1}


def test_a_future_with_nothing_but_get_is_settled_once(recloser):
    """Azure's futures may be asked again, and answer the same."""
    future = circuit(NAME)(lambda: fakes.ResultFuture(Provider()))()
    assert isinstance(future, fakes.ResultFuture)
    assert (future.get(), future.get()) == ("spoken", "spoken")
    del future
    gc.collect(1)
    assert counted() == SUCCESS


@on_asyncio
async def test_a_task_that_is_cancelled_frees_its_probe(recloser, anyio_backend):
    """A barge-in cancels the task that a client handed out."""
    half_open(recloser)
    task = circuit(NAME)(lambda: asyncio.ensure_future(anyio.sleep_forever()))()
    await checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted() == IGNORED
    assert probe_is_free()


@on_asyncio
async def test_a_coroutine_function_that_returns_a_future_is_followed(recloser, anyio_backend):
    """What is awaited may hand out something that is done later still."""
    future = asyncio.get_running_loop().create_future()

    async def call():
        return future

    assert await circuit(NAME)(call)() is future
    assert counted() == {}
    future.set_result("spoken")
    await checkpoint()
    assert counted() == SUCCESS


@on_asyncio
async def test_an_awaitable_object_that_returns_a_future_is_followed(recloser, anyio_backend):
    """The same for an object that is awaited."""
    future = asyncio.get_running_loop().create_future()

    class Call:
        def __await__(self):
            yield from checkpoint().__await__()
            return future

    assert await circuit(NAME)(Call)() is future
    future.set_exception(ProviderDownError())
    with pytest.raises(ProviderDownError):
        await future
    await checkpoint()
    assert counted() == FAILURE


class AioCall:
    """A call of grpc.aio: awaited, with callbacks, but without ``exception`` and ``result``."""

    def __init__(self, provider):
        self.provider = provider
        self.callbacks = []

    def add_done_callback(self, callback):
        self.callbacks.append(callback)

    def cancelled(self):
        return False

    def __await__(self):
        try:
            yield from self.provider.reach("call").__await__()
        finally:
            for callback in self.callbacks:
                callback(self)
        return "spoken"


async def test_an_awaitable_with_callbacks_is_awaited(recloser):
    """What can be awaited is followed where it is awaited; callbacks are for what cannot."""
    call = circuit(NAME)(lambda: AioCall(Provider()))
    assert await call() == "spoken"
    assert counted() == SUCCESS
    with pytest.raises(ProviderDownError):
        await circuit(NAME)(lambda: AioCall(Provider(call=ProviderDownError())))()
    assert counted() == {"calls": 2, "failures": 1}


class Request(Coroutine):
    """A request of aiohttp: awaited, entered, or made a task of, since it is a Coroutine, too."""

    def __init__(self, provider):
        self.coroutine = fakes.async_function(provider)()

    def send(self, value):
        return self.coroutine.send(value)

    def throw(self, *error):
        return self.coroutine.throw(*error)

    def close(self):
        self.coroutine.close()

    def __await__(self):
        return self.coroutine.__await__()


@on_asyncio
@pytest.mark.parametrize("how", ["awaited", "gathered", "wait_for"])
async def test_a_coroutine_object_is_followed_by_whatever_way_it_runs(recloser, how, anyio_backend):
    """``asyncio.gather(session.get(a), session.get(b))`` is how aiohttp is used."""
    request = circuit(NAME)(lambda: Request(Provider(call=ProviderDownError())))()
    with pytest.raises(ProviderDownError):
        await {"awaited": lambda: request, "gathered": lambda: asyncio.gather(request)}.get(
            how, lambda: asyncio.wait_for(request, 1)
        )()
    assert counted() == FAILURE


@on_asyncio
async def test_a_coroutine_object_that_runs_as_a_task_succeeds_and_is_cancelled(recloser, anyio_backend):
    """Each step of the task is a step of the call, and so is what is thrown into it."""
    half_open(recloser)
    provider = Provider(call=fakes.HANG)
    task = asyncio.ensure_future(circuit(NAME)(lambda: Request(provider))())
    provider.cancel = task.cancel
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted() == IGNORED
    assert await asyncio.ensure_future(circuit(NAME)(lambda: Request(Provider()))()) == "spoken"
    assert circuit(NAME).state is State.CLOSED


async def test_a_thread_that_answers_after_its_caller_has_left_is_one_call(recloser):
    """The thread goes on after a cancellation; the call was settled then, and what comes later is dropped."""
    half_open(recloser)
    begun, finish, finished = anyio.Event(), threading.Event(), threading.Event()

    def work():
        anyio.from_thread.run_sync(begun.set)
        finish.wait()
        finished.set()
        return "too late"

    @circuit(NAME)
    async def call():
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await begun.wait()
        tasks.cancel_scope.cancel()
    assert counted() == IGNORED
    assert probe_is_free()
    finish.set()
    await anyio.to_thread.run_sync(finished.wait)
    assert counted() == IGNORED


@on_asyncio
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("how", ["task cancelled", "dropped", "closed", "in a cycle"])
async def test_a_coroutine_that_is_never_run_frees_its_probe(recloser, how, anyio_backend):
    """A barge-in may cancel the task of an LLM call before its first step; a plain function was called by then."""
    half_open(recloser)
    coroutine = circuit(NAME)(returning(fakes.async_function)(Provider()))()
    if how == "task cancelled":
        task = asyncio.ensure_future(coroutine)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
    elif how == "closed":
        coroutine.close()
        gc.collect()
    cycle = [coroutine]
    if how == "in a cycle":
        cycle.append(cycle)
    del coroutine, cycle
    gc.collect()
    await checkpoint()
    assert probe_is_free()
