"""What the providers of voices do in good health, beyond what :mod:`tests.faults_wire` knows.

An :class:`Http` makes a reply of a request; a :class:`Talk` answers the messages of a websocket. Both can be cut.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests import faults_websocket as ws
from tests.faults_wire import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.faults import Exchange, Healthy, Request

__all__ = ["BASE64", "PCM", "Both", "Http", "Message", "Snap", "Talk", "always", "lines", "pcm", "wav"]

PCM = struct.pack("<8000h", *(((index * 37) % 2000) - 1000 for index in range(8000)))
"""Half a second at 16 kHz that is not silence."""

BASE64 = base64.b64encode(PCM).decode()

OVERTAKING = 0.03
"""Seconds between what is said last and the reset."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Http:
    """Replies to requests, websockets excepted."""

    replies: Callable[[Request], Reply]

    def reply(self, request: Request) -> Reply:
        return self.replies(request)

    async def __call__(self, exchange: Exchange) -> None:
        reply = self.reply(exchange.request)
        await exchange.head(reply)
        for chunk in reply.chunks:
            await exchange.chunk(reply, chunk)
        await exchange.end(reply)


def always(status: int, body: object) -> Http:
    """The same body whatever is asked."""
    return Http(lambda _request: Reply.of(status, body))


def pcm(media: str = "audio/pcm") -> Http:
    """A stream of audio in four chunks."""
    quarter = len(PCM) // 4
    chunks = [PCM[start : start + quarter] for start in range(0, len(PCM), quarter)]
    return Http(lambda _request: Reply(200, {"Content-Type": media}, chunks, stream=True))


def lines(*values: object, prefix: str = "", end: str = "\n") -> Http:
    """A stream of JSON texts, one to a line."""
    chunks = [f"{prefix}{json.dumps(value)}{end}".encode() for value in values]
    return Http(lambda _request: Reply(200, {"Content-Type": "application/json"}, chunks, stream=True))


def wav() -> bytes:
    """The audio as a file."""
    size = len(PCM)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", size)
    return head + PCM


@dataclass(frozen=True)
class Both:
    """A provider that is asked by HTTP where to talk."""

    first: Http
    then: Talk

    def dropping(self, after: int = 1) -> Both:
        """The same, with a connection that does not last."""
        return replace(self, then=self.then.dropping(after))

    async def __call__(self, exchange: Exchange) -> None:
        upgrade = exchange.request.headers.get("upgrade", "").lower() == "websocket"
        await (self.then if upgrade else self.first)(exchange)


@dataclass(frozen=True)
class Snap:
    """Resets the connection in the middle of an answer, once what was said has arrived: a reset overtakes it."""

    of: Http | Healthy
    after: int | None = None

    async def __call__(self, exchange: Exchange) -> None:
        reply = self.of.reply(exchange.request)
        await exchange.head(reply)
        for chunk in reply.chunks[: len(reply.chunks) // 2 if self.after is None else self.after]:
            await exchange.chunk(reply, chunk)
        await asyncio.sleep(OVERTAKING)
        exchange.abort()


@dataclass(frozen=True)
class Talk:
    """Accepts a websocket, greets and answers.

    Args:
        answers: what to say to a message: a dict or a str that was JSON, else a str, or bytes. A number says goodbye.
        greeting: what to say at once.
        cut: the connection is reset after so many messages that were said as answers.
    """

    answers: Callable[[Any], Iterable[Message | bytes | int]]
    greeting: tuple[Message | bytes, ...] = ()
    protocol: str = ""
    cut: int | None = None

    def dropping(self, after: int = 1) -> Talk:
        """The same, with a connection that does not last."""
        return replace(self, cut=after)

    async def __call__(self, exchange: Exchange) -> None:
        await _shake_hands(exchange, self.protocol)
        for message in self.greeting:
            await _say(exchange, message)
        said = 0
        async for heard in _heard(exchange):
            for message in self.answers(heard):
                await _say(exchange, message)
                said += 1
                if self.cut is not None and said >= self.cut:
                    await asyncio.sleep(OVERTAKING)
                    exchange.abort()
                    return


async def _shake_hands(exchange: Exchange, protocol: str) -> None:
    key = exchange.request.headers.get("sec-websocket-key", "")
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines.append(f"Sec-WebSocket-Accept: {ws.accept_key(key)}")
    if protocol:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    await exchange.send("\r\n".join([*lines, "", ""]).encode())


async def _say(exchange: Exchange, message: Message | bytes | int) -> None:
    if isinstance(message, int):
        await exchange.send(ws.frame(ws.CLOSE, struct.pack("!H", message)))
    elif isinstance(message, bytes):
        await exchange.send(ws.frame(ws.BINARY, message))
    else:
        await exchange.send(ws.frame(ws.TEXT, json.dumps(message).encode()))


async def _heard(exchange: Exchange):
    """Messages, until the client closes."""
    while True:
        opcode, payload = await ws.read_frame(exchange.reader)
        if opcode == ws.CLOSE:
            await exchange.send(ws.frame(ws.CLOSE, payload))
            return
        if opcode == ws.PING:
            await exchange.send(ws.frame(ws.PONG, payload))
        elif opcode == ws.TEXT:
            try:
                yield json.loads(payload)
            except ValueError:
                yield payload.decode()
        elif opcode == ws.BINARY:
            yield payload
