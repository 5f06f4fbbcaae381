"""Fakes of every shape in which real SDKs can be called (PROVIDERS.md, section 4), each of which does as it is told."""

from __future__ import annotations

import functools
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

HANG = "hang"
"""In a plan: the provider never answers, and the application gives up."""


class ProviderDownError(ConnectionError):
    """The provider's fault."""


class BadRequestError(Exception):
    """The caller's fault, as SDKs say it."""

    status_code = 400


class Provider:
    """Does as it is told: at each point of a call it raises, lets time pass, or hangs until it is cancelled."""

    def __init__(self, clock=None, **plan):
        self.clock = clock
        self.plan = plan
        self.reached = []
        self.cancel = None

    def at(self, point):
        """A point of a call where nothing is awaited."""
        self.reached.append(point)
        told = self.plan.get(point)
        if isinstance(told, BaseException):
            raise told
        if told is not None and told != HANG:
            self.clock.advance(told)

    async def reach(self, point):
        """A point where something is awaited."""
        self.at(point)
        if self.plan.get(point) == HANG:
            self.cancel()
            await anyio.sleep_forever()
        await checkpoint()


def function(p):
    def call(word: str = "spoken") -> str:
        p.at("call")
        return word

    return call


def async_function(p):
    async def call(word: str = "spoken") -> str:
        await p.reach("call")
        return word

    return call


def wrapped_function(p):
    @functools.wraps(async_function(p))
    def call(*args, **kwargs):
        p.at("before")
        return async_function(p)(*args, **kwargs)

    return call


def function_in_a_thread(p):
    async def call() -> str:
        return await anyio.to_thread.run_sync(function(p))

    return call


class CallableObject:
    def __init__(self, p):
        self.p = p

    def __call__(self):
        self.p.at("call")
        return "spoken"


class AsyncCallableObject(CallableObject):
    async def __call__(self):
        await self.p.reach("call")
        return "spoken"


def generator(p):
    def call():
        p.at("first")
        yield "first"
        p.at("later")
        yield "later"
        p.at("end")

    return call


def async_generator(p):
    async def call():
        await p.reach("first")
        yield "first"
        await p.reach("later")
        yield "later"
        await p.reach("end")

    return call


def echo(p):
    """Says what it is told, an error that is thrown in included, until it is told ``"enough"``."""

    def call(heard="ready"):
        try:
            while heard != "enough":
                try:
                    heard = yield heard
                except LookupError as error:
                    heard = error
        finally:
            p.at("closed")
        return "the end"

    return call


def async_echo(p):
    async def call(heard="ready"):
        try:
            while heard != "enough":
                try:
                    heard = yield heard
                except LookupError as error:
                    heard = error
        finally:
            p.at("closed")

    return call


class Stream:
    """What ``create(stream=True)`` of the LLM SDKs returns: an iterator that can be closed and entered."""

    def __init__(self, p):
        self.p = p
        self.items = generator(p)()
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.items)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closed = True


class AsyncStream:
    def __init__(self, p):
        self.p = p
        self.points = iter(("first", "later", "end"))
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        for point in self.points:
            await self.p.reach(point)
            if point != "end":
                return point
        raise StopAsyncIteration

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        self.closed = True


class Events:
    """A stream that is iterable, but no iterator itself; it has to be opened to be one."""

    def __init__(self, p):
        self.p = p

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        return generator(self.p)()


class AsyncEvents:
    def __init__(self, p):
        self.p = p

    def __aiter__(self):
        return async_generator(self.p)()


def streaming(cls):
    """``create(stream=True)``, sync: sent at the call."""

    def build(p):
        def create():
            p.at("call")
            return cls(p)

        return create

    return build


def async_streaming(cls):
    """``create(stream=True)``, async: sent when awaited, returned at the headers."""

    def build(p):
        async def create():
            await p.reach("call")
            return cls(p)

        return create

    return build


def manager(p):
    @contextmanager
    def open_session():
        p.at("enter")
        yield "session"
        p.at("exit")

    return open_session


def async_manager(p):
    @asynccontextmanager
    async def open_session():
        await p.reach("enter")
        yield "session"
        await p.reach("exit")

    return open_session


def manager_of_a_stream(p):
    @contextmanager
    def open_stream():
        p.at("enter")
        yield Stream(p)

    return open_stream


def async_manager_of_a_stream(p):
    @asynccontextmanager
    async def open_stream():
        await p.reach("enter")
        yield AsyncStream(p)

    return open_stream


class Connection:
    """A connection that is read with ``recv``."""

    def __init__(self, p):
        self.p = p

    def recv(self):
        self.p.at("recv")
        return "heard"

    def close(self):
        self.p.at("close")


class AsyncConnection:
    def __init__(self, p):
        self.p = p

    async def recv(self):
        await self.p.reach("recv")
        return "heard"

    async def close(self):
        await self.p.reach("close")


class Connect:
    """``websockets.connect``: awaited, entered, or iterated over."""

    def __init__(self, p):
        self.p = p
        self.connection = AsyncConnection(p)
        self.attempts = AsyncStream(p)

    async def _connect(self):
        await self.p.reach("enter")
        return self.connection

    def __await__(self):
        return self._connect().__await__()

    async def __aenter__(self):
        return await self

    async def __aexit__(self, *_):
        await self.connection.close()

    def __aiter__(self):
        return self

    async def __anext__(self):
        return await anext(self.attempts)


class AwaitableObject:
    def __init__(self, p):
        self.p = p

    def __await__(self):
        yield from self.p.reach("call").__await__()
        return "spoken"


class ResultFuture:
    """Azure's: nothing but a blocking ``get``."""

    def __init__(self, p):
        self.p = p

    def get(self):
        self.p.at("get")
        return "spoken"


def finished_future(p):
    def call():
        future = Future()
        try:
            future.set_result(function(p)())
        except BaseException as error:
            future.set_exception(error)
        return future

    return call


def connecting(p):
    return lambda: Connect(p)


def connect_class(p):
    class connect(Connect):  # noqa: N801 - a class in lower case, as websockets.connect is
        def __init__(self):
            super().__init__(p)

    return connect
