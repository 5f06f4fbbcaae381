"""A network between a client and a server, which fails when the test says so and in the way that it says."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

T = TypeVar("T")

HOST = "127.0.0.1"
PORTS = range(22000, 32000)
"""Below the ports that systems give to outgoing connections, above those of the servers."""


class Proxy:
    """A TCP proxy on a free port of 127.0.0.1 in front of (host, port), whose faults are switched while it runs.

    It starts when it is made; use it in a `with`, or `close()` it. A fault is in force when its method has returned,
    for the connections that are there (unless it says otherwise) and for new ones, until `heal()`.

    Args:
        host: Of the server.
        port: Of the server.
        tls: Ends TLS in front of a server that speaks none.

    Attributes:
        connections: How many were accepted since the start.
        sent: Bytes that clients sent, whether they reached the server or not.
        received: Bytes that the server sent, whether they reached a client or not.
        cuts: Connections that were cut on purpose.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.upstream = (host, port)
        self.port = 0
        self.connections = 0
        self.sent = 0
        self.received = 0
        self.cuts = 0
        self._tls = tls
        self._links: set[_Link] = set()
        self._faults = _Faults()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_only_what_matters)
        self._thread = threading.Thread(target=self._loop.run_forever, name="tests.servers.Proxy", daemon=True)
        self._thread.start()
        try:
            self.accept()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Proxy on port {self.port} before {self.upstream[0]}:{self.upstream[1]}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Host and port, as they stand in a URL."""
        return f"{HOST}:{self.port}"

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return self._do(lambda: len(self._links))

    # -- faults

    def delay(self, requests: float, replies: float | None = None) -> None:
        """Let bytes take this many seconds: each way, or `requests` there and `replies` back."""

        def change() -> None:
            self._faults.request_delay = requests
            self._faults.reply_delay = requests if replies is None else replies

        self._do(change)

    def drop(self) -> None:
        """Swallow all bytes, both ways: whoever waits for an answer hangs. New connections are accepted, and hang."""

        def change() -> None:
            self._faults.swallow_requests = self._faults.swallow_replies = True

        self._do(change)

    def hold(self) -> None:
        """Keep all bytes back, both ways, and pass them on at `heal()`: a partition, which TCP makes up for."""

        def change() -> None:
            self._faults.hold = True

        self._do(change)

    def swallow_replies(self) -> None:
        """Pass requests on and swallow the replies: the server does it, and the client cannot know."""

        def change() -> None:
            self._faults.swallow_replies = True

        self._do(change)

    def cut_after_request(self, n: int = 1, command: str | None = None) -> None:
        """Pass the n-th request from now on, of all connections together, to the server; then cut that connection.

        The server has carried the request out when the client learns of the cut, and no reply to it was passed on. A
        request is a Redis command, so each command of a pipeline is one; with `command` only those of that name count
        (`"EVALSHA"`, any case). What comes after it on the connection reaches nobody. It happens once.
        """

        def change() -> None:
            self._faults.cut_after = n
            self._faults.cut_command = command.upper().encode() if command else None

        self._do(change)

    def cut(self) -> None:
        """Reset all connections that there are now (RST); new ones work."""

        def change() -> None:
            for link in list(self._links):
                self.cuts += 1
                link.reset()

        self._do(change)

    def refuse(self) -> None:
        """Refuse new connections until `accept()` or `heal()`; those that are there stay."""

        async def change() -> None:
            if self._listener is not None:
                listener, self._listener = self._listener, None
                # What it has just accepted gets a transport in the next turn of the loop; the server must be there.
                for each in listener.sockets:
                    self._loop.remove_reader(each.fileno())
                await asyncio.sleep(0)
                listener.close()  # of the listening socket only, and at once

        self._await(change)

    def accept(self) -> None:
        """Accept new connections again, on the same port."""
        self._await(self._listen)

    def heal(self) -> None:
        """End every fault, and pass on what was held back. What was swallowed stays lost."""

        def change() -> None:
            vars(self._faults).update(vars(_Faults()))  # in place, since links hold this very object
            for link in list(self._links):
                link.healed()

        self._do(change)
        self.accept()

    def close(self) -> None:
        """Reset what is open, stop listening, and end the thread."""
        if not self._thread.is_alive():
            return
        self.refuse()
        self.cut()
        self._await(self._settle)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # -- on its own thread

    def _do(self, change: Callable[[], T]) -> T:
        async def run() -> T:
            return change()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _await(self, run: Callable[[], Any]) -> None:
        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _listen(self) -> None:
        if self._listener is not None:
            return
        for _ in range(1000):
            port = self.port or random.choice(PORTS)
            try:
                self._listener = await self._loop.create_server(
                    lambda: _Link(self, self._faults), HOST, port, ssl=self._tls, backlog=128
                )
            except OSError:
                if self.port:
                    raise
                continue
            self.port = port
            return
        raise RuntimeError(f"no port is free in {PORTS}")

    async def _settle(self) -> None:
        # Connections that are on their way to the server, then what closing them put off.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)


class _Faults:
    """What is wrong now."""

    def __init__(self) -> None:
        self.request_delay = 0.0
        self.reply_delay = 0.0
        self.swallow_requests = False
        self.swallow_replies = False
        self.hold = False
        self.cut_after = 0
        self.cut_command: bytes | None = None


class _Pipe:
    """One direction: keeps the order of what is passed on, now, later, or when it is healed."""

    def __init__(self, faults: _Faults, write: Callable[[bytes | None], None]) -> None:
        self.faults = faults
        self.write = write
        self.waiting: deque[tuple[float, bytes | None]] = deque()
        self.timer: asyncio.TimerHandle | None = None

    def put(self, data: bytes | None, delay: float) -> None:
        """Pass this on after `delay` seconds; None is the end of the stream."""
        due = asyncio.get_running_loop().time() + delay
        if self.waiting:
            due = max(due, self.waiting[-1][0])
        self.waiting.append((due, data))
        self.flush()

    def flush(self) -> None:
        """Pass on what is due."""
        loop = asyncio.get_running_loop()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        while self.waiting and not self.faults.hold:
            due, data = self.waiting[0]
            if due > loop.time():
                self.timer = loop.call_at(due, self.flush)
                return
            self.waiting.popleft()
            self.write(data)

    def stop(self) -> None:
        """Pass nothing on any more."""
        self.waiting.clear()
        if self.timer is not None:
            self.timer.cancel()


class _Link(asyncio.Protocol):
    """A connection of a client, and the one to the server that was made for it."""

    def __init__(self, proxy: Proxy, faults: _Faults) -> None:
        self.proxy = proxy
        self.faults = faults
        self.client: asyncio.Transport | None = None
        self.server: asyncio.Transport | None = None
        self.client_ended = False
        self.server_ended = False
        self.cutting = False
        self.commands = _Commands()
        self.before_server: list[bytes | None] = []
        self.requests = _Pipe(faults, self.to_server)
        self.replies = _Pipe(faults, self.to_client)
        self.connecting: asyncio.Task[None] | None = None

    # -- the client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.client = transport
        self.proxy.connections += 1
        self.proxy._links.add(self)
        self.connecting = asyncio.get_running_loop().create_task(self.connect())

    def data_received(self, data: bytes) -> None:
        self.proxy.sent += len(data)
        faults = self.faults
        if self.cutting or faults.swallow_requests:
            return
        end = self.commands.feed(data, self.counts) if faults.cut_after else self.commands.feed(data, None)
        if end is None:
            self.requests.put(data, faults.request_delay)
            return
        # What was asked reaches the server whole; when it has closed its side, it has done all that it read.
        self.cutting = True
        if self.server_ended:
            self.reset()
            return
        self.replies.stop()
        self.requests.put(data[:end], faults.request_delay)
        self.requests.put(None, faults.request_delay)

    def counts(self, command: bytes) -> bool:
        """Whether this request is the one after which to cut."""
        faults = self.faults
        if faults.cut_command is None or faults.cut_command == command.upper():
            faults.cut_after -= 1
            return faults.cut_after == 0
        return False

    def eof_received(self) -> bool:
        self.end()
        # Replies may still be wanted: the server closes when it has read the end. Over TLS there is no half-closing.
        return not self.server_ended and self.proxy._tls is None

    def connection_lost(self, exc: Exception | None) -> None:
        self.client = None
        self.proxy._links.discard(self)
        if exc is not None and not self.cutting:
            self.reset()
        else:
            self.end()

    def end(self) -> None:
        """Tell the server, after what is on its way to it, that the client has closed."""
        if not self.client_ended and not self.cutting:
            self.requests.put(None, self.faults.request_delay)
        self.client_ended = True

    # -- the server's side

    async def connect(self) -> None:
        link = self

        class Server(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                link.proxy.received += len(data)
                if not link.cutting and not link.faults.swallow_replies:
                    link.replies.put(data, link.faults.reply_delay)

            def connection_lost(self, exc: Exception | None) -> None:
                link.server_lost(exc)

        try:
            transport, _ = await asyncio.get_running_loop().create_connection(Server, *self.proxy.upstream)
        except OSError:
            self.server_ended = True
            if self.cutting or self.client_ended or not self.faults.swallow_replies:
                self.reset()
            return
        self.server = transport
        waiting, self.before_server = self.before_server, []
        for data in waiting:
            self.to_server(data)

    def server_lost(self, exc: Exception | None) -> None:
        """The server closed the connection, or its process did by dying."""
        self.server = None
        self.server_ended = True
        if self.cutting:
            self.proxy.cuts += 1
            self.reset()
        elif exc is not None and (self.client_ended or not self.faults.swallow_replies):
            self.reset()
        elif self.client_ended or not self.faults.swallow_replies:  # if swallowed, the end is not heard of either
            self.replies.put(None, self.faults.reply_delay)

    # -- both

    def to_server(self, data: bytes | None) -> None:
        """Write this, or the end, to the server, once there is one."""
        if self.server is None:
            if not self.server_ended:
                self.before_server.append(data)
        elif data is not None:
            self.server.write(data)
        elif self.server.can_write_eof() and not self.server.is_closing():
            self.server.write_eof()

    def to_client(self, data: bytes | None) -> None:
        """Write this to the client, or close its connection."""
        if self.client is None:
            return
        if data is None:
            self.client.close()
        else:
            self.client.write(data)

    def healed(self) -> None:
        """Pass on what was held back; a connection whose server has gone unheard has no future."""
        self.requests.flush()
        self.replies.flush()
        if self.server_ended and not self.replies.waiting:
            self.reset()

    def reset(self) -> None:
        """Close both connections with RST, whatever is on its way."""
        self.requests.stop()
        self.replies.stop()
        if self.connecting is not None:
            self.connecting.cancel()
        for transport in (self.client, self.server):
            if transport is None:
                continue
            connection = transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()


class _Commands:
    """Follows the commands in what a client of Redis sends: arrays of bulk strings, in pieces of any size."""

    def __init__(self) -> None:
        self.line = b""
        self.words = 0  # words of the command that are still to come
        self.body = 0  # bytes of the word that are still to come, with its line end
        self.name: bytes | None = None
        self.naming = b""

    def feed(self, data: bytes, is_last: Callable[[bytes], bool] | None) -> int | None:
        """Ask `is_last` about every command that ends in `data`; where the first one ends that it says yes to."""
        at = 0
        while at < len(data):
            if self.body:
                piece = data[at : at + self.body]
                at += len(piece)
                self.body -= len(piece)
                if self.name is None:
                    self.naming += piece
                if self.body:
                    continue
                if self.name is None:
                    self.name = self.naming[:-2]
                self.words -= 1
            else:
                end = data.find(b"\n", at)
                if end < 0:
                    self.line += data[at:]
                    return None
                line, self.line = self.line + data[at:end], b""
                at = end + 1
                if line.startswith(b"*"):
                    self.words = int(line[1:])
                    self.name, self.naming = None, b""
                elif line.startswith(b"$"):
                    self.body = int(line[1:]) + 2
                    continue
                else:  # an inline command
                    self.words, self.name = 0, line.split(b" ")[0].strip()
            if self.words == 0 and is_last is not None and is_last(self.name or b""):
                return at
        return None


def _only_what_matters(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # A client that breaks off, in a handshake too, is what this is for.
    if not isinstance(context.get("exception"), (OSError, ssl.SSLError)):
        loop.default_exception_handler(context)
