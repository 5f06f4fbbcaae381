"""Every shape of a call as a table: a fake of that shape, how an application uses it, and where it can go wrong.

A test picks rows, tells the provider what to do where, uses the shape once, and looks at what the circuit made of it.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import recloser as package
from recloser import State, circuit
from tests.wrapping import fakes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

NAME = "provider"
OWN_FILES = str(Path(package.__file__).parent)


@dataclass(frozen=True)
class Shape:
    """One row.

    Attributes:
        name: the row's name.
        build: makes what is decorated, on a provider.
        use: makes one call as an application would, and uses it to its end.
        points: where the provider can be told to do something.
        awaited: at which of them something is awaited.
        stream: whether the circuit has to be told that the call returns a stream.
        loops: the event loops it runs on.
        protect: how it is protected, when not by decorating.
    """

    name: str
    build: Callable[[fakes.Provider], Callable[..., Any]]
    use: Callable[[Callable[..., Any]], Awaitable[Any]]
    points: tuple[str, ...]
    awaited: tuple[str, ...] = ()
    stream: bool = False
    loops: tuple[str, ...] = ("asyncio", "trio")
    protect: Callable[[Any, Callable[..., Any]], Callable[..., Any]] = lambda circuit, call: circuit(call)

    def on(self, provider: fakes.Provider, **rules: Any) -> Callable[[], Awaitable[Any]]:
        """One call of ``provider`` in this shape, through a circuit with these rules."""
        decorated = self.protect(circuit(NAME, stream=self.stream, **rules), self.build(provider))
        return functools.partial(self.use, decorated)


# -- how applications use what they get -------------------------------------------------------------------------------


async def returned(call):
    return call()


async def awaited(call):
    return await call()


async def listed(call):
    return list(call())


async def listed_async(call):
    return [item async for item in call()]


async def awaited_and_listed(call):
    return [item async for item in await call()]


async def entered(call):
    with call() as session:
        pass
    return str(session)


async def entered_async(call):
    async with call() as session:
        pass
    return str(session)


async def entered_and_listed(call):
    with call() as stream:
        return list(stream)


async def entered_and_listed_async(call):
    async with call() as stream:
        return [item async for item in stream]


async def received(call):
    connection = call()
    heard = connection.recv()
    connection.close()
    return heard


async def received_async(call):
    connection = await call()
    heard = await connection.recv()
    await connection.close()
    return heard


async def entered_and_received(call):
    async with call() as connection:
        return await connection.recv()


async def got(call):
    return call().get()


async def result(call):
    return call().result()


# -- ways to protect and to build -------------------------------------------------------------------------------------


def with_block(circuit, call):
    def block():
        with circuit:
            return call()

    return block


def async_with_block(circuit, call):
    async def block():
        async with circuit:
            return await call()

    return block


def future(p):
    def call():
        future = asyncio.get_running_loop().create_future()
        done = fakes.finished_future(p)()

        def finish():
            error = done.exception()
            future.set_exception(error) if error else future.set_result(done.result())

        asyncio.get_running_loop().call_soon(finish)
        return future

    return call


def task(p):
    return lambda: asyncio.ensure_future(fakes.async_function(p)())


def returning(build):
    """A plain function that returns what ``build`` makes when it is called."""
    return lambda p: lambda: build(p)()  # noqa: PLW0108 - a lambda of it is the point


ASYNCIO = ("asyncio",)
CALL = ("call",)
ITEMS = ("first", "later", "end")
CLOSING = ("enter", "recv", "close")

SHAPES = (
    Shape("function", fakes.function, returned, CALL, loops=ASYNCIO),
    Shape("partial", lambda p: functools.partial(fakes.function(p), "spoken"), returned, CALL, loops=ASYNCIO),
    Shape("callable object", fakes.CallableObject, returned, CALL, loops=ASYNCIO),
    Shape("with block", fakes.function, returned, CALL, loops=ASYNCIO, protect=with_block),
    Shape("async function", fakes.async_function, awaited, CALL, CALL),
    Shape("async partial", lambda p: functools.partial(fakes.async_function(p), "spoken"), awaited, CALL, CALL),
    Shape("async callable object", fakes.AsyncCallableObject, awaited, CALL, CALL),
    Shape("async with block", fakes.async_function, awaited, CALL, CALL, protect=async_with_block),
    Shape("lambda of a coroutine", returning(fakes.async_function), awaited, CALL, CALL),
    Shape("wrapped coroutine", fakes.wrapped_function, awaited, ("before", "call"), CALL),
    Shape("awaitable object", lambda p: functools.partial(fakes.AwaitableObject, p), awaited, CALL, CALL),
    Shape("thread", fakes.function_in_a_thread, awaited, CALL),
    Shape("generator", fakes.generator, listed, ITEMS, loops=ASYNCIO),
    Shape("returned generator", returning(fakes.generator), listed, ITEMS, loops=ASYNCIO),
    Shape("async generator", fakes.async_generator, listed_async, ITEMS, ITEMS),
    Shape("returned async generator", returning(fakes.async_generator), listed_async, ITEMS, ITEMS),
    Shape("stream", fakes.streaming(fakes.Stream), listed, (*CALL, *ITEMS), stream=True, loops=ASYNCIO),
    Shape("entered stream", fakes.streaming(fakes.Stream), entered_and_listed, (*CALL, *ITEMS), (), stream=True,
          loops=ASYNCIO),
    Shape("events", fakes.streaming(fakes.Events), listed, (*CALL, *ITEMS), stream=True, loops=ASYNCIO),
    Shape("async stream", fakes.async_streaming(fakes.AsyncStream), awaited_and_listed, (*CALL, *ITEMS),
          (*CALL, *ITEMS), stream=True),
    Shape("async events", fakes.async_streaming(fakes.AsyncEvents), awaited_and_listed, (*CALL, *ITEMS),
          (*CALL, *ITEMS), stream=True),
    Shape("manager", fakes.manager, entered, ("enter", "exit"), stream=True, loops=ASYNCIO),
    Shape("manager of a stream", fakes.manager_of_a_stream, entered_and_listed, ("enter", *ITEMS), stream=True,
          loops=ASYNCIO),
    Shape("async manager", fakes.async_manager, entered_async, ("enter", "exit"), ("enter", "exit"), stream=True),
    Shape("async manager of a stream", fakes.async_manager_of_a_stream, entered_and_listed_async, ("enter", *ITEMS),
          ("enter", *ITEMS), stream=True),
    Shape("connect, awaited", fakes.connecting, received_async, CLOSING, CLOSING, stream=True),
    Shape("connect, entered", fakes.connecting, entered_and_received, CLOSING, CLOSING, stream=True),
    Shape("connect, iterated", fakes.connecting, listed_async, ITEMS, ITEMS, stream=True),
    Shape("connect class", fakes.connect_class, entered_and_received, CLOSING, CLOSING, stream=True),
    Shape("connection", lambda p: functools.partial(fakes.Connection, p), received, ("recv", "close"), stream=True,
          loops=ASYNCIO),
    Shape("future", future, awaited, CALL, loops=ASYNCIO),
    Shape("task", task, awaited, CALL, CALL, loops=ASYNCIO),
    Shape("thread's future", fakes.finished_future, result, CALL, loops=ASYNCIO),
    Shape("result future", lambda p: functools.partial(fakes.ResultFuture, p), got, ("get",), loops=ASYNCIO),
)  # fmt: skip


def rows(
    where: Callable[[Shape], bool] = lambda _: True,
    points: Callable[[Shape], Iterable[str]] | None = None,
    broken: Callable[[str], str | None] = lambda _: None,
):
    """Parametrises a test over shapes, or with ``points`` over the points of shapes, on each one's event loops.

    ``broken`` says why the row of that name is known to be wrong, if it is.
    """
    found = []
    for shape in filter(where, SHAPES):
        for point in (None,) if points is None else points(shape):
            name = shape.name if point is None else f"{shape.name}-{point}"
            why = broken(name)
            marks = () if why is None else (pytest.mark.xfail(strict=True, reason=why),)
            found += [
                pytest.param(*(shape,) if point is None else (shape, point), loop, id=f"{name}-{loop}", marks=marks)
                for loop in shape.loops
            ]
    names = ("shape", "anyio_backend") if points is None else ("shape", "point", "anyio_backend")
    return pytest.mark.parametrize(names, found)


def opened(cls: Any, provider: fakes.Provider, **rules: Any) -> Any:
    """What the application gets for a ``cls`` that ``provider`` returned."""
    return circuit(NAME, stream=True, **rules)(lambda: cls(provider))()


# -- what came of it --------------------------------------------------------------------------------------------------


def counted(name: str = NAME) -> dict[str, int]:
    """What the circuit's window holds, without what it holds none of."""
    snapshot = circuit(name).snapshot()
    counts = {key: getattr(snapshot, key) for key in ("calls", "failures", "slow", "ignored", "rejected")}
    return {key: count for key, count in counts.items() if count}


SUCCESS = {"calls": 1}
FAILURE = {"calls": 1, "failures": 1}
SLOW = {"calls": 1, "slow": 1}
IGNORED = {"ignored": 1}


def half_open(sandbox: Any, name: str = NAME) -> None:
    """Trips the circuit and lets its cooldown pass: one probe is free."""
    sandbox.trip(name)
    sandbox.clock.advance(circuit(name).snapshot().until - sandbox.clock.time())
    assert circuit(name).state is State.HALF_OPEN


def probe_is_free(name: str = NAME) -> bool:
    """Whether the circuit is still being tested, and the next call would be the test."""
    if not circuit(name).allows():
        gc.collect()  # what was left may have been left in a reference cycle, by its traceback
    return circuit(name).state is State.HALF_OPEN and circuit(name).allows()


def own_frames(error: BaseException) -> list[str]:
    """The frames of ours that ``error`` came through."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(OWN_FILES)]
