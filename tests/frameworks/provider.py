"""A provider on the loopback interface, which the recipes call: it answers, or is down."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Provider", "provider"]


class Provider:
    """What a recipe's client talks to.

    Attributes:
        url: where it is.
        down: whether every call fails.
        calls: what it was asked, in order.
    """

    url: str
    down: bool
    calls: list[bytes]

    def __init__(self) -> None:
        self.down = False
        self.calls = []
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.calls.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(503 if outer.down else 200)
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"audio")

            def log_message(self, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider of the test's own."""
    made = Provider()
    yield made
    made.close()
