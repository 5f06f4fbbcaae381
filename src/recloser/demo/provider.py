"""A provider server on this machine: five providers' wire formats over real HTTP, broken and healed on request.

It answers the calls of a voice agent, from any client that speaks HTTP: ElevenLabs and Cartesia (text to speech),
Deepgram (speech to text), OpenAI (chat completions, whole or streamed) and Twilio (placing a call).
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from math import ceil
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from recloser.core.duration import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

__all__ = ["PROVIDERS", "Fault", "ProviderServer"]

PROVIDERS = ("elevenlabs", "cartesia", "deepgram", "openai", "twilio")

_LONGEST_HANG = 60.0
_CLOSE_WITHIN = 2.0
_SPEECH = 6  # pieces that a spoken answer comes in
_WORDS = ("Certainly", ", we", " have", " a room", " for you.")


@dataclass(frozen=True, slots=True)
class Fault:
    """What a broken provider does.

    Attributes:
        kind: ``"status"``, ``"hang"`` (accepts the request and says nothing) or ``"drop"`` (closes the connection).
        status: of an answer, its HTTP status.
        retry_after: of an answer, how many seconds it asks to be left alone.
    """

    kind: str
    status: int = 0
    retry_after: float | None = None

    @property
    def short(self) -> str:
        """The same in a word or two."""
        return {"status": f"answers {self.status}", "hang": "hangs", "drop": "drops"}[self.kind]

    def __str__(self) -> str:
        if self.kind == "status":
            asks = "" if self.retry_after is None else f", Retry-After {format_duration(self.retry_after)}"
            return f"answers {self.status} {HTTPStatus(self.status).phrase}{asks}"
        return {"hang": "accepts requests and says nothing", "drop": "drops every connection"}[self.kind]


class _Answer(NamedTuple):
    """What a healthy provider sends: a whole body, or pieces that come one by one."""

    content_type: str
    body: bytes | Iterable[bytes]
    status: int = 200


class ProviderServer:
    """Five providers on a free port of 127.0.0.1, as a context manager.

    Args:
        unit: a provider answers after a tenth of this many seconds, and plays its pieces at such a pace.

    Attributes:
        arrivals: the requests that reached a provider, whatever became of them: which one, and when, in Unix time.
    """

    def __init__(self, unit: float = 0.0) -> None:
        self.unit = unit
        self.arrivals: list[tuple[str, float]] = []
        self._faults: dict[str, Fault] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="demo-providers", daemon=True
        )

    @property
    def requests(self) -> Counter[str]:
        """How many requests reached each provider."""
        return Counter(provider for provider, _ in self.arrivals)

    @property
    def address(self) -> str:
        """Where it listens, ``"http://127.0.0.1:50123"``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def break_(self, provider: str, fault: Fault) -> None:
        """From now on ``provider`` does what ``fault`` says."""
        with self._changed:
            self._faults[provider] = fault
            self._changed.notify_all()

    def heal(self, provider: str) -> None:
        """``provider`` answers again; a request that hangs is dropped."""
        with self._changed:
            self._faults.pop(provider, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Drops every connection, and waits for the threads that served them."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(_CLOSE_WITHIN)
        self._server.server_close()
        self._server.drop_all()

    # What the threads that serve requests ask.

    def arrived(self, provider: str) -> Fault | None:
        """Counts a request, and says what is wrong with its provider."""
        with self._changed:
            self.arrivals.append((provider, time.time()))
            return self._faults.get(provider)

    def hang(self, provider: str, fault: Fault) -> None:
        """Returns when ``provider`` no longer does ``fault``."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing.is_set() or self._faults.get(provider) is not fault, _LONGEST_HANG
            )

    def pace(self, share: float) -> None:
        """Takes the time that a provider takes; none any more once the server closes."""
        self._closing.wait(self.unit * share)


class _Server(ThreadingTCPServer):
    """The listening socket, and the connections that are open; each is served by a thread."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, providers: ProviderServer) -> None:
        self.providers = providers
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        arguments = (request, client_address)
        thread = threading.Thread(target=self.process_request_thread, args=arguments, name="demo-provider", daemon=True)
        with self._lock:
            self._open[request] = thread
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up in the middle of an answer is what a barge-in looks like from here.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def drop_all(self) -> None:
        with self._lock:
            serving = dict(self._open)
        for connection, thread in serving.items():
            _hang_up(connection)
            thread.join(_CLOSE_WITHIN)


class _Connection(BaseHTTPRequestHandler):
    """One client's connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave together

    @property
    def _providers(self) -> ProviderServer:
        return cast("_Server", self.server).providers

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's word
        """The demo has a log of its own."""

    def do_POST(self) -> None:
        """Answers as the provider whose address this is, or does what is wrong with it."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        route = next((each for each in _ROUTES if each.pattern.fullmatch(self.path.partition("?")[0])), None)
        if route is None:
            self._send_json(404, {"message": "no provider of this demo has such an address"})
            return
        fault = self._providers.arrived(route.provider)
        if fault is None:
            self._providers.pace(0.1)
            self._send(route.answer(self, body))
        elif fault.kind == "status":
            self._send_json(fault.status, _ERRORS[route.provider](fault), _asking(fault))
        else:
            if fault.kind == "hang":
                self._providers.hang(route.provider, fault)
            self.close_connection = True
            _hang_up(self.connection)

    def _send_json(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        self._send(_Answer("application/json", json.dumps(content).encode(), status), headers)

    def _send(self, answer: _Answer, headers: dict[str, str] | None = None) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if isinstance(answer.body, bytes):
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in answer.body:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
                self._providers.pace(0.025)
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    # -- what each provider answers ----------------------------------------------------------------------------------

    def speech(self, _: bytes) -> _Answer:
        """ElevenLabs and Cartesia: audio, piece by piece."""
        return _Answer("audio/mpeg", (bytes(320) for _ in range(_SPEECH)))

    def transcript(self, _: bytes) -> _Answer:
        """Deepgram: what was said."""
        heard = {"transcript": "Do you have a room for tonight?", "confidence": 0.98, "words": []}
        known = {"request_id": "demo", "created": "2025-01-01T00:00:00Z", "duration": 1.5, "channels": 1}
        content = {"metadata": known, "results": {"channels": [{"alternatives": [heard]}]}}
        return _Answer("application/json", json.dumps(content).encode())

    def completion(self, body: bytes) -> _Answer:
        """OpenAI: an answer, as a whole or as server-sent events."""
        asked = json.loads(body)
        about = {"id": "chatcmpl-demo", "created": 0, "model": asked.get("model", "demo")}
        if asked.get("stream"):
            return _Answer("text/event-stream", _server_sent({**about, "object": "chat.completion.chunk"}))
        message = {"role": "assistant", "content": "".join(_WORDS)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": len(_WORDS), "total_tokens": 9 + len(_WORDS)}
        content = {**about, "object": "chat.completion", "choices": [choice], "usage": usage}
        return _Answer("application/json", json.dumps(content).encode())

    def placed(self, _: bytes) -> _Answer:
        """Twilio: a call that is being placed."""
        account = self.path.split("/")[3]
        content = {"sid": "CA" + "0" * 32, "account_sid": account, "status": "queued", "direction": "outbound-api"}
        return _Answer("application/json", json.dumps(content).encode(), 201)


class _Route(NamedTuple):
    pattern: re.Pattern[str]
    provider: str
    answer: Callable[[_Connection, bytes], _Answer]


_ROUTES = tuple(
    _Route(re.compile(pattern), provider, answer)
    for pattern, provider, answer in (
        (r"/v1/text-to-speech/[^/]+(/stream)?", "elevenlabs", _Connection.speech),
        (r"/tts/bytes", "cartesia", _Connection.speech),
        (r"/v1/listen", "deepgram", _Connection.transcript),
        (r"/v1/chat/completions", "openai", _Connection.completion),
        (r"/2010-04-01/Accounts/[^/]+/Calls\.json", "twilio", _Connection.placed),
    )
)


def _said(fault: Fault) -> str:
    return f"the demo has this provider answer {fault.status}"


_ERRORS: dict[str, Callable[[Fault], dict[str, object]]] = {
    "elevenlabs": lambda fault: {"detail": {"status": "demo", "message": _said(fault)}},
    "cartesia": lambda fault: {"error": _said(fault)},
    "deepgram": lambda fault: {"err_code": "DEMO", "err_msg": _said(fault), "request_id": "demo"},
    "openai": lambda fault: {"error": {"message": _said(fault), "type": "demo", "param": None, "code": None}},
    "twilio": lambda fault: {"code": 20000 + fault.status, "message": _said(fault), "status": fault.status},
}
"""What an error looks like on the wire, as each provider's SDK expects it."""


def _asking(fault: Fault) -> dict[str, str]:
    """Retry-After in whole seconds, as HTTP has it, and in milliseconds, as OpenAI adds."""
    if fault.retry_after is None:
        return {}
    return {"Retry-After": str(ceil(fault.retry_after)), "retry-after-ms": str(round(fault.retry_after * 1000))}


def _server_sent(about: dict[str, object]) -> Iterator[bytes]:
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in _WORDS), {}]
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
        yield b"data: %b\n\n" % json.dumps({**about, "choices": [choice]}).encode()
    yield b"data: [DONE]\n\n"


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # the client was quicker
        connection.shutdown(socket.SHUT_RDWR)
