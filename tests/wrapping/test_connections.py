"""Connections: awaited, entered, read with recv, and closed by us or by the peer."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from anyio.lowlevel import checkpoint

from recloser import State, circuit
from tests.wrapping import fakes
from tests.wrapping.fakes import Provider, ProviderDownError
from tests.wrapping.shapes import FAILURE, NAME, SUCCESS, counted, half_open, opened, probe_is_free


class Line(fakes.AsyncConnection):
    """A connection on which nothing comes until it is closed, when its reader gets an error."""

    def __init__(self, p):
        super().__init__(p)
        self.cut = anyio.Event()

    async def recv(self):
        await self.cut.wait()
        raise ProviderDownError("closed while it was read")

    async def close(self):
        self.cut.set()
        await checkpoint()
        await checkpoint()

    def __aiter__(self):
        return self

    async def __anext__(self):
        return await self.recv()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()


async def read(line, how):
    with pytest.raises(ProviderDownError):
        await (line.recv() if how == "recv" else anext(line))


@pytest.mark.parametrize("how", ["recv", "anext"])
async def test_a_stream_closed_here_while_another_task_reads_has_not_failed(recloser, how):
    """SDKs give the reader a connection error; who closed is what counts."""
    line = opened(Line, Provider())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, line, how)
        await anyio.wait_all_tasks_blocked()
        await line.close()
    assert "failures" not in counted()


@pytest.mark.parametrize("how", ["recv", "anext"])
async def test_a_stream_left_here_while_another_task_reads_has_not_failed(recloser, how):
    """A ``with`` block that ends is how most applications close."""
    async with anyio.create_task_group() as tasks, opened(Line, Provider()) as line:
        tasks.start_soon(read, line, how)
        await anyio.wait_all_tasks_blocked()
    assert "failures" not in counted()


@pytest.mark.parametrize("how", ["recv", "anext"])
async def test_a_stream_cut_by_the_provider_has_failed(recloser, how):
    """The same error counts when nobody here closed."""
    line = opened(Line, Provider())
    line.cut.set()
    await read(line, how)
    await line.close()
    assert counted() == FAILURE


# -- awaited, entered and iterated over -------------------------------------------------------------------------------


async def test_a_connect_object_can_be_used_in_every_way(recloser):
    """``websockets.connect`` is awaited, entered or iterated over; a circuit keeps all of it, on the class, too."""
    for connect in (
        circuit(NAME, stream=True)(fakes.connecting(Provider())),
        circuit(NAME, stream=True)(fakes.connect_class(Provider())),
    ):
        connection = await connect()
        assert await connection.recv() == "heard"
        await connection.close()
        async with connect() as connection:
            assert await connection.recv() == "heard"
        assert [attempt async for attempt in connect()] == ["first", "later"]
    assert counted() == {"calls": 6}


async def test_a_class_that_is_decorated_stays_a_class(recloser):
    """Whoever asks ``isinstance``, or makes a subclass, gets what the class gives."""
    connect = fakes.connect_class(Provider())
    decorated = circuit(NAME, stream=True)(connect)
    assert isinstance(connect(), decorated)
    assert isinstance(decorated(), connect)
    assert issubclass(type("Sub", (connect,), {}), decorated)

    class Own(decorated):
        pass

    assert Own.__mro__[1] is connect
    await checkpoint()


async def test_without_being_told_an_awaitable_ends_when_it_is_awaited(recloser):
    """A connect object that is awaited has been called; its connection is then the application's."""
    half_open(recloser)
    connection = await circuit(NAME)(fakes.connecting(Provider()))()
    assert type(connection) is fakes.AsyncConnection
    assert circuit(NAME).state is State.CLOSED


async def test_a_plain_recv_that_returns_a_coroutine_is_followed(recloser):
    """What comes back decides, not how the method is declared."""

    class Patched(fakes.AsyncConnection):
        def recv(self):
            return super().recv()

    connection = opened(Patched, Provider(recv=ProviderDownError()))
    with pytest.raises(ProviderDownError):
        await connection.recv()
    assert counted() == FAILURE


async def silent(provider):
    """A connection of which one read was given up."""
    provider.plan["recv"] = fakes.HANG
    connection = opened(fakes.AsyncConnection, provider)
    with anyio.CancelScope() as scope:
        provider.cancel = scope.cancel
        await connection.recv()
    return connection


async def test_a_connection_can_be_read_again_after_a_cancelled_read(recloser):
    """Reading with a timeout of one's own is no end of the connection."""
    half_open(recloser)
    provider = Provider()
    connection = await silent(provider)
    assert counted() == {}
    provider.plan.clear()
    assert await connection.recv() == "heard"
    await connection.close()
    assert circuit(NAME).state is State.CLOSED


async def test_a_connection_on_which_nothing_was_heard_is_no_success(recloser):
    """A barge-in while the provider is silent: the read is cancelled, the connection closed."""
    half_open(recloser)
    connection = await silent(Provider())
    await connection.close()
    assert probe_is_free()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_stream_is_read_through_wait_for(recloser, anyio_backend):
    """On Python 3.11 ``wait_for`` gives each item a task and a context of its own."""
    stream = opened(fakes.AsyncStream, Provider())
    items = [await asyncio.wait_for(anext(stream), 1), await asyncio.wait_for(anext(stream), 1)]
    assert items == ["first", "later"]
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(stream), 1)
    assert counted() == SUCCESS
