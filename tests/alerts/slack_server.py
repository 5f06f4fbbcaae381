"""A local Slack: the four methods that we use and incoming webhooks, as the real one answers, and faults on demand."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["HOOK", "TOKEN", "SlackServer", "objection"]

TOKEN = "xoxb-1234-5678-abcdefghijkl"
HOOK = "/services/T0000/B0000/XXXXXXXXXXXX"
_BLOCKS = {"header", "section", "actions", "context", "divider"}


def objection(blocks: list[dict[str, Any]]) -> str:
    """What Slack has against these blocks; empty when nothing. Its limits are those of the Block Kit reference."""
    if len(blocks) > 50:
        return "invalid_blocks"
    for block in blocks:
        texts = [block.get("text"), *block.get("fields", ())]
        too_long = any(len(text["text"]) > (150 if block["type"] == "header" else 3000) for text in texts if text)
        fields = block.get("fields", ())
        bad_fields = len(fields) > 10 or any(len(field["text"]) > 2000 for field in fields)
        empty = any(not text["text"] for text in texts if text)
        if block["type"] not in _BLOCKS or too_long or bad_fields or empty:
            return "invalid_blocks"
    return ""


class SlackServer:
    """Listens on 127.0.0.1 for as long as its `with` lasts.

    Attributes:
        channels: by id, whether the bot is in it.
        messages: everything that was posted and not deleted, in order: channel, ts, thread_ts, text, blocks, metadata.
        edits: how often messages were changed.
        requests: the method or path of each request, in order.
        faults: answers that are given instead, one for each request: "429", "500", "garbage", "cut", "hang".
    """

    def __init__(self) -> None:
        self.channels = {"C000000001": True, "C000000002": False}
        self.messages: list[dict[str, Any]] = []
        self.edits = 0
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._ts = 0
        handler = type("Handler", (_Handler,), {"slack": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def thread(self, ts: str) -> list[str]:
        """The texts in the thread of a message."""
        return [each["text"] for each in self.messages if each.get("thread_ts") == ts]

    def heads(self) -> list[dict[str, Any]]:
        """The messages that are in no thread."""
        return [each for each in self.messages if not each.get("thread_ts")]

    # -- the methods ---------------------------------------------------------------------------------------------------

    def call(self, method: str, said: dict[str, Any], token: str) -> dict[str, Any]:  # noqa: PLR0911 - one for each answer
        """What the Web API answers."""
        if token != TOKEN:
            return {"ok": False, "error": "invalid_auth" if token else "not_authed"}
        if method == "auth.test":
            return {"ok": True, "user_id": "U0"}
        channel = said.get("channel", "")
        if channel == "#alerts":
            channel = "C000000001"
        if channel not in self.channels:
            return {"ok": False, "error": "channel_not_found"}
        if method == "conversations.info":
            return {"ok": True, "channel": {"id": channel, "is_member": self.channels[channel]}}
        if not self.channels[channel]:
            return {"ok": False, "error": "not_in_channel"}
        error = objection(said.get("blocks", []))
        if error or not (said.get("text") or said.get("blocks")):
            return {"ok": False, "error": error or "no_text"}
        with self._lock:
            return self._post(channel, said) if method == "chat.postMessage" else self._update(channel, said)

    def _post(self, channel: str, said: dict[str, Any]) -> dict[str, Any]:
        self._ts += 1
        ts = f"1764000000.{self._ts:06d}"
        self.messages.append({**said, "channel": channel, "ts": ts})
        return {"ok": True, "channel": channel, "ts": ts}

    def _update(self, channel: str, said: dict[str, Any]) -> dict[str, Any]:
        for message in self.messages:
            if (message["channel"], message["ts"]) == (channel, said["ts"]):
                message.update(said)
                self.edits += 1
                return {"ok": True, "channel": channel, "ts": said["ts"]}
        return {"ok": False, "error": "message_not_found"}

    def hook(self, path: str, said: dict[str, Any]) -> tuple[int, str]:
        """What an incoming webhook answers."""
        if path != HOOK:
            return 404, "no_service"
        if objection(said.get("blocks", [])):
            return 400, "invalid_blocks"
        with self._lock:
            self._post("C000000001", said)
        return 200, "ok"


class _Handler(BaseHTTPRequestHandler):
    slack: ClassVar[SlackServer]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        slack, parts = self.slack, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        slack.requests.append(parts.path.removeprefix("/api/"))
        fault = slack.faults.pop(0) if slack.faults else ""
        if fault == "hang":
            slack.released.wait(30)
        if fault in {"hang", "cut"}:
            self.close_connection = True
            return
        if fault:
            status, text = {"429": (429, "{}"), "500": (500, "oops"), "garbage": (200, "<html>")}[fault]
            self._answer(status, text, {"Retry-After": "7"} if fault == "429" else {})
            return
        is_json = "json" in self.headers.get("Content-Type", "")
        form = parse_qs(parts.query) if is_json else parse_qs(f"{parts.query}&{body.decode()}")
        said = {name: value[0] for name, value in form.items()} | (json.loads(body) if is_json and body else {})
        if not parts.path.startswith("/api/"):
            self._answer(*slack.hook(parts.path, said))
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self._answer(
            200, json.dumps(slack.call(parts.path.removeprefix("/api/"), said, token)), kind="application/json"
        )

    def _answer(self, status: int, text: str, headers: dict[str, str] | None = None, kind: str = "text/html") -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(text)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())
