"""A provider on 127.0.0.1 that is healthy, in the wire format of many real ones, until a test makes it fail.

::

    with FaultServer() as server:
        client = OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0)
        client.chat.completions.create(...)  # answered as OpenAI would
        server.answer(503)  # from now on, whatever is asked
        server.answer(429, headers={"Retry-After": "7"}, path="/v1/audio")
        server.hang()  # no answer, until release() or the end
        server.play(Answer(503), Drop(), Healthy())  # one after the other; the last one stays
        server.heal()
        assert server.count("/v1/chat") == 1  # what really reached the provider

Behaviours: :class:`Healthy`, :class:`Answer`, :class:`Hang`, :class:`Drop`, :class:`Cut` and :class:`Stall` (both in
the middle of an answer) and :class:`Socket` for websockets, whose handshake the others answer, drop or leave hanging.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import socket
import struct
import threading
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urlsplit

from tests import faults_websocket as ws
from tests.faults_wire import Reply, healthy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = [
    "Answer",
    "Behaviour",
    "Cut",
    "Drop",
    "FaultServer",
    "Hang",
    "Healthy",
    "Request",
    "Socket",
    "Stall",
    "http_date",
    "refused_url",
]


def http_date(moment: float) -> str:
    """Unix time as an HTTP date."""
    return formatdate(moment, usegmt=True)


def refused_url(scheme: str = "http") -> str:
    """The URL of a port that was bound and is closed again: connections are refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"{scheme}://127.0.0.1:{bound.getsockname()[1]}"


@dataclass
class Request:
    """What reached the provider; header names in lower case.

    Attributes:
        abandoned: whether the client hung up before it had its whole answer.
    """

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    abandoned: bool = False


class Behaviour(Protocol):
    """What becomes of a request."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer it, or do not; the connection is closed afterwards."""


@dataclass
class Exchange:
    """One request and the way to answer it."""

    server: FaultServer
    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self, reply: Reply) -> None:
        """Send the status line and the headers."""
        reason = http.HTTPStatus(reply.status).phrase if reply.status in _STATUSES else "Unknown"
        length = sum(map(len, reply.chunks))
        framing = ("Transfer-Encoding", "chunked") if reply.stream else ("Content-Length", str(length))
        lines = [f"HTTP/1.1 {reply.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in [*reply.headers.items(), framing, ("Connection", "close")]]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def chunk(self, reply: Reply, chunk: bytes) -> None:
        """Send one chunk of the body."""
        await self.send(b"%x\r\n%s\r\n" % (len(chunk), chunk) if reply.stream else chunk)

    async def end(self, reply: Reply) -> None:
        """Say that the body is complete."""
        if reply.stream:
            await self.send(b"0\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def released(self) -> None:
        """Wait for :meth:`FaultServer.release`; ends early, by raising, when the client hangs up."""
        release = asyncio.ensure_future(self.server.next_release())
        hung_up = asyncio.ensure_future(self.reader.read(1))
        try:
            await asyncio.wait({release, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            if not release.done():
                raise ConnectionResetError
        finally:
            release.cancel()
            hung_up.cancel()

    def abort(self) -> None:
        """Reset the connection: the client gets an error at once instead of an orderly end."""
        raw = self.writer.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


_STATUSES = frozenset(status.value for status in http.HTTPStatus)


@dataclass(frozen=True)
class Healthy:
    """Answers as the provider whose path it is would; echoes on websockets."""

    def reply(self, request: Request) -> Reply:
        return healthy(request.path, request.body)

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.request.headers.get("upgrade", "").lower() == "websocket":
            await Socket()(exchange)
        else:
            await _send_whole(exchange, self.reply(exchange.request))


@dataclass(frozen=True)
class Answer:
    """Answers with a status and a body: bytes, text, anything else as JSON, or a Reply made by hand."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def reply(self, request: Request) -> Reply:
        if isinstance(self.body, Reply):
            return self.body
        body = {"error": {"message": f"fault {self.status}"}} if self.body is None else self.body
        return Reply.of(self.status, body, self.headers)

    async def __call__(self, exchange: Exchange) -> None:
        await _send_whole(exchange, self.reply(exchange.request))


async def _send_whole(exchange: Exchange, reply: Reply) -> None:
    await exchange.head(reply)
    for chunk in reply.chunks:
        await exchange.chunk(reply, chunk)
    await exchange.end(reply)


@dataclass(frozen=True)
class Hang:
    """Takes the request and answers nothing; after :meth:`FaultServer.release` as `then` does."""

    then: Behaviour = field(default_factory=Healthy)

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.released()
        await self.then(exchange)


@dataclass(frozen=True)
class Drop:
    """Closes the connection without an answer; `reset` as a crashed process would."""

    reset: bool = False

    async def __call__(self, exchange: Exchange) -> None:
        if self.reset:
            exchange.abort()


@dataclass(frozen=True)
class Cut:
    """Closes the connection after the headers and `after` chunks of the answer (bodies that are no stream have two)."""

    after: int = 1
    of: Healthy | Answer = field(default_factory=Healthy)
    reset: bool = False

    async def __call__(self, exchange: Exchange) -> None:
        reply = self.of.reply(exchange.request)
        await exchange.head(reply)
        for chunk in reply.chunks[: self.after]:
            await exchange.chunk(reply, chunk)
        if self.reset:
            exchange.abort()


@dataclass(frozen=True)
class Stall:
    """Falls silent after the headers and `after` chunks; goes on after :meth:`FaultServer.release`."""

    after: int = 1
    of: Healthy | Answer = field(default_factory=Healthy)

    async def __call__(self, exchange: Exchange) -> None:
        reply = self.of.reply(exchange.request)
        await exchange.head(reply)
        for chunk in reply.chunks[: self.after]:
            await exchange.chunk(reply, chunk)
        await exchange.released()
        for chunk in reply.chunks[self.after :]:
            await exchange.chunk(reply, chunk)
        await exchange.end(reply)


@dataclass(frozen=True)
class Socket:
    """Accepts a websocket and echoes what it gets.

    Args:
        greeting: messages sent at once.
        after: messages to echo before the end; None echoes for ever.
        code: the end is a close frame with this code and `reason`; None resets the connection.
        pong: whether pings are answered.
    """

    greeting: tuple[str, ...] = ()
    after: int | None = None
    code: int | None = 1000
    reason: str = ""
    pong: bool = True

    async def __call__(self, exchange: Exchange) -> None:
        key = exchange.request.headers.get("sec-websocket-key", "")
        switching = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ws.accept_key(key)}"
        await exchange.send(f"HTTP/1.1 101 Switching Protocols\r\n{switching}\r\n\r\n".encode())
        for message in self.greeting:
            await exchange.send(ws.frame(ws.TEXT, message.encode()))
        echoed = 0
        while self.after is None or echoed < self.after:
            opcode, payload = await ws.read_frame(exchange.reader)
            if opcode == ws.CLOSE:
                await exchange.send(ws.frame(ws.CLOSE, payload))
                return
            if opcode == ws.PING and self.pong:
                await exchange.send(ws.frame(ws.PONG, payload))
            elif opcode in {ws.TEXT, ws.BINARY}:
                echoed += 1
                await exchange.send(ws.frame(opcode, payload))
        await self._end(exchange)

    async def _end(self, exchange: Exchange) -> None:
        if self.code is None:
            exchange.abort()
            return
        await exchange.send(ws.frame(ws.CLOSE, struct.pack("!H", self.code) + self.reason.encode()))
        opcode = None
        while opcode != ws.CLOSE:
            opcode, _payload = await ws.read_frame(exchange.reader)


class FaultServer:
    """A provider on a thread of its own; see the module.

    Attributes:
        requests: what has reached it, in order, before it was answered.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._plays: dict[str, list[Behaviour]] = {}
        self._loop = asyncio.new_event_loop()
        self._release = asyncio.Event()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="fault server", daemon=True)
        self._port = 0

    # What a test says

    def answer(
        self, status: int = 200, body: object = None, headers: Mapping[str, str] | None = None, *, path: str = ""
    ) -> None:
        """Answer with this from now on; a dict or a list becomes JSON."""
        self.play(Answer(status, body, headers or {}), path=path)

    def hang(self, *, path: str = "") -> None:
        """Take requests and answer nothing."""
        self.play(Hang(), path=path)

    def drop(self, *, reset: bool = False, path: str = "") -> None:
        """Close connections without an answer."""
        self.play(Drop(reset=reset), path=path)

    def cut(self, after: int = 1, *, path: str = "") -> None:
        """Close connections in the middle of a healthy answer."""
        self.play(Cut(after), path=path)

    def stall(self, after: int = 1, *, path: str = "") -> None:
        """Fall silent in the middle of a healthy answer."""
        self.play(Stall(after), path=path)

    def play(self, *behaviours: Behaviour, path: str = "") -> None:
        """Behave like this, request by request, where the path begins with `path`; the last behaviour stays.

        Of several paths the longest counts.
        """
        self._plays = {**self._plays, path: list(behaviours)}

    def heal(self) -> None:
        """Be healthy again, on every path."""
        self._plays = {}

    def release(self) -> None:
        """Let everything go on that hangs or is stalled now."""
        self._loop.call_soon_threadsafe(self._release_all)

    # What a test asks

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def ws_url(self) -> str:
        """``ws://127.0.0.1:port``."""
        return f"ws://127.0.0.1:{self._port}"

    def count(self, path: str = "") -> int:
        """How many requests for paths beginning with `path` have reached the provider."""
        return sum(request.path.startswith(path) for request in self.requests)

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> None:
        """Block until `count` requests have reached the provider, answered or not."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.requests) >= count, timeout):
                raise TimeoutError(f"{len(self.requests)} of {count} requests arrived")

    # The thread

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read_request(reader)
            with self._arrived:
                self.requests.append(request)
                self._arrived.notify_all()
            try:
                await self._behaviour(request.path)(Exchange(self, request, reader, writer))
            except (ConnectionError, asyncio.IncompleteReadError):
                request.abandoned = True
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # connected, and never asked anything
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def _behaviour(self, path: str) -> Behaviour:
        plays = self._plays
        found = max((prefix for prefix in plays if path.startswith(prefix)), key=len, default=None)
        if found is None:
            return Healthy()
        behaviours = plays[found]
        return behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]

    async def next_release(self) -> None:
        """Wait for the next :meth:`release`."""
        await self._release.wait()

    def _release_all(self) -> None:
        self._release.set()
        self._release = asyncio.Event()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    method, target, _version = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b"".join([chunk async for chunk in _chunks(reader)])
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Request(method, parts.path, parts.query, headers, body)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
