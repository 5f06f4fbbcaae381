"""One subscription to a channel of Redis, on a connection of its own."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import InvalidResponse, ResponseError

from recloser.backends.redis_lines import Trouble
from recloser.errors import BackendError

if TYPE_CHECKING:
    from recloser.backends.redis_lines import Line

__all__ = ["Ear", "Origin"]

_CHUNK = 65536
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_REDIRECTS = 4
_MESSAGE = (b"message", b"smessage")
_END = (b"unsubscribe", b"sunsubscribe")
_INCOMPLETE = object()


class Origin(Protocol):
    """Where an ear gets its connections from: the link."""

    timeout: float

    def line(self) -> Line:
        """A connection that nobody else uses; raises Trouble."""
        ...

    def redirected(self, trouble: Trouble, line: Line) -> bool:
        """Whether ``trouble`` names another server, to which the next connection leads."""
        ...


class Ear:
    """One subscription. Opened and heard on one thread, closed on any.

    redis-py connects and logs in. What comes after that is read here: its readers block in the middle of a message,
    and keep what has come behind it where no selector sees it.
    """

    def __init__(self, origin: Origin, channel: str, *, sharded: bool = False) -> None:
        self._origin = origin
        self._channel = channel
        self._verb = "SSUBSCRIBE" if sharded else "SUBSCRIBE"
        self._line: Line | None = None
        self._reader = _Reader()
        self._short = False
        self._lost = ""

    def open(self) -> None:
        """Connects, subscribes and waits until that is confirmed; what was open before is closed.

        Hear once right after it: a message may have come together with the confirmation, where no selector sees it.

        Raises:
            BackendError: when the server cannot be reached, does not confirm within the timeout, or refuses.
        """
        self.close()
        try:
            self._line = self._subscribed()
        except Trouble as trouble:
            text = str(trouble)
        else:
            return
        raise BackendError(text)

    def fileno(self) -> int | None:
        """What a selector can watch; None when it is not open."""
        line = self._line
        wire = line.socket if line else None
        number: int = wire.fileno() if wire else -1
        return number if number >= 0 else None

    def hear(self) -> list[bytes]:
        """What was said on the channel since the last time; never blocks.

        Raises:
            BackendError: when it is not open; when the connection is lost, once everything before that was heard.
        """
        line = self._line
        if line is None:
            msg = f"nobody listens to {self._channel}: the ear is not open"
            raise BackendError(msg)
        said: list[bytes] = []
        ended = self._drained(line)
        trouble = self._messages(line, said) or ended
        if trouble is None:
            return said
        if said:
            self.lose(str(trouble))
            return said
        self.close()
        raise BackendError(self._lost or str(trouble))

    def lose(self, why: str) -> None:
        """Has the next ``hear`` raise, and wakes who waits for it: a socket at its end stays readable."""
        line = self._line
        wire = line.socket if line else None
        if wire is not None:
            self._lost = self._lost or why
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Ends the subscription."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _subscribed(self) -> Line:
        for _ in range(_REDIRECTS):
            line = self._origin.line()
            try:
                self._subscribe(line)
            except Trouble as trouble:
                line.close()
                if not self._origin.redirected(trouble, line):
                    raise
            except BaseException:
                line.close()
                raise
            else:
                return line
        msg = f"nobody holds the slot of {self._channel}: every node names another"
        raise Trouble(msg)

    def _subscribe(self, line: Line) -> None:
        self._reader = _Reader()
        self._lost = ""
        wire = line.socket
        if not isinstance(wire, socket.socket):
            unheard = line.speech.says("is a fake, which cannot be listened to")
            raise unheard
        line.tell(self._verb, self._channel)
        deadline = time.monotonic() + self._origin.timeout
        while (reply := self._reply(line)) is _INCOMPLETE:
            # A timeout of zero would mean: do not wait at all.
            wire.settimeout(max(0.001, deadline - time.monotonic()))
            if trouble := self._received(line, wire):
                raise trouble
        if isinstance(reply, ResponseError):
            raise line.speech.trouble(reply)
        wire.setblocking(False)

    def _drained(self, line: Line) -> Trouble | None:
        """Reads to the very end: what the TLS library has decrypted no selector sees."""
        wire = line.socket
        if wire is None:
            return line.speech.says("is not listened to any more")
        encrypted = isinstance(wire, ssl.SSLSocket)
        with suppress(*_NOT_NOW):
            while (trouble := self._received(line, wire)) is None:
                # In a busy process each look at a socket may wait for its turn with the interpreter: none in vain.
                if not encrypted and self._short:
                    break
            return trouble
        return None

    def _received(self, line: Line, wire: Any) -> Trouble | None:
        try:
            chunk = wire.recv(_CHUNK)
            self._short = len(chunk) < _CHUNK
        except _NOT_NOW:
            raise
        except OSError as error:
            return line.speech.trouble(error)
        if not chunk:
            return line.speech.trouble(ConnectionResetError())
        self._reader.feed(chunk)
        return None

    def _reply(self, line: Line) -> Any:
        try:
            return self._reader.reply()
        except InvalidResponse as error:
            trouble = line.speech.trouble(error)
        raise trouble

    def _messages(self, line: Line, said: list[bytes]) -> Trouble | None:
        while True:
            try:
                reply = self._reply(line)
            except Trouble as trouble:
                return trouble
            match reply:
                case _ if reply is _INCOMPLETE:
                    return None
                case [kind, _, bytes(payload)] if kind in _MESSAGE:
                    said.append(payload)
                case [kind, *_] if kind in _END:
                    return line.speech.says("has ended the subscription")
                case _:
                    pass


class _IncompleteError(Exception):
    """Raised within the reader when the rest of a reply has not come yet."""


class _Reader:
    """Takes replies of the second protocol apart, as they come."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0

    def feed(self, chunk: bytes) -> None:
        self._data += chunk

    def reply(self) -> Any:
        """The next reply, or ``_INCOMPLETE``; raises InvalidResponse for what is none."""
        self._at = 0
        try:
            value = self._value()
        except _IncompleteError:
            return _INCOMPLETE
        del self._data[: self._at]
        return value

    def _value(self) -> Any:
        end = self._data.find(b"\r\n", self._at)
        if end < 0:
            raise _IncompleteError
        raw = bytes(self._data[self._at : end])
        self._at = end + 2
        kind, text = raw[:1], raw[1:]
        match kind:
            case b"+":
                return text
            case b"-":
                return ResponseError(text.decode(errors="replace"))
            case b":" | b"$" | b"*" if text.removeprefix(b"-").isdigit():
                number = int(text)
                if kind == b"*":
                    return [self._value() for _ in range(number)]
                return number if kind == b":" else self._bytes(number)
        msg = "not a reply of Redis"
        raise InvalidResponse(msg)

    def _bytes(self, length: int) -> bytes | None:
        if length < 0:
            return None
        end = self._at + length
        if len(self._data) < end + 2:
            raise _IncompleteError
        value = bytes(self._data[self._at : end])
        self._at = end + 2
        return value
