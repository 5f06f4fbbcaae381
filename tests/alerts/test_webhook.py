"""The webhook, posted to a real server."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from recloser import ConfigurationError
from recloser.alerts import DeliveryError, HookSettings, RetryLaterError
from recloser.alerts.webhook import factory
from recloser.testing import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "hush-hush-1234567890"


class Receiver:
    """A server that keeps what it was sent.

    Attributes:
        answers: status and headers of each answer, in order; 200 when there is none left.
        got: headers and body of each request.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}/in/SECRETPATH"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listens no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.receiver.got.append((dict(self.headers), body))
        status, headers = self.receiver.answers.pop(0) if self.receiver.answers else (200, {})
        if status == 0:
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - as the base class wants it


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def hook(url: str, **more: str) -> Any:
    return factory(HookSettings(environment={"RECLOSER_WEBHOOK_URL": url, **more}))


def test_what_arrives_is_the_alert_signed(receiver: Receiver) -> None:
    """The signature covers the body and the time."""
    with Sandbox(alerts=[hook(receiver.url, RECLOSER_WEBHOOK_SECRET=SECRET)]) as box:
        box.trip("größe")
        box.heal("größe")
        sent = [alert.as_dict() for alert in box.alerts]
    assert [json.loads(body) for _, body in receiver.got] == sent
    for headers, body in receiver.got:
        unix, _, signature = headers["Recloser-Signature"].removeprefix("t=").partition(",v1=")
        mac = hmac.new(SECRET.encode(), f"{unix}.".encode() + body, hashlib.sha256)
        assert hmac.compare_digest(mac.hexdigest(), signature)
        assert headers["Content-Type"] == "application/json"
    assert [headers["Recloser-Step"] for headers, _ in receiver.got] == ["opened", "closed"]


def test_without_a_secret_there_is_no_signature(receiver: Receiver) -> None:
    """Rather than one that anybody could make."""
    with Sandbox(alerts=[hook(receiver.url)]) as box:
        box.trip("tts")
    assert "Recloser-Signature" not in receiver.got[0][0]


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500, 0])
def test_what_is_not_taken_is_not_delivered(receiver: Receiver, status: int) -> None:
    """A redirect is not followed; the secrets of an address stay where they are."""
    told = hook(receiver.url)
    with Sandbox() as box:
        box.trip("tts")
    receiver.answers = [(status, {"Location": receiver.url} if status < 400 else {})]
    with pytest.raises(DeliveryError) as caught:
        told(box.alerts[0])
    assert not isinstance(caught.value, RetryLaterError)
    assert len(receiver.got) == 1
    assert "SECRETPATH" not in f"{caught.value!r} {caught.value} {told!r}"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("how", ["seconds", "date", "nonsense"])
def test_a_receiver_says_when_it_wants_it(receiver: Receiver, status: int, how: str) -> None:
    """In seconds or as a date; what cannot be read says nothing."""
    said = {"seconds": "7", "date": formatdate(4e9, usegmt=True), "nonsense": "soon"}[how]
    receiver.answers = [(status, {"Retry-After": said})]
    told = hook(receiver.url)
    with Sandbox() as box:
        box.trip("tts")
    with pytest.raises(DeliveryError) as caught:
        told(box.alerts[0])
    assert isinstance(caught.value, RetryLaterError) == (how != "nonsense")
    if isinstance(caught.value, RetryLaterError):
        assert caught.value.seconds == 7 or caught.value.seconds > 1e8


def test_a_receiver_that_is_not_there(receiver: Receiver) -> None:
    """Is named by its host."""
    receiver.close()
    with Sandbox() as box:
        box.trip("tts")
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1 cannot be reached"):
        hook(receiver.url)(box.alerts[0])


@pytest.mark.parametrize("url", ["hooks.example/SECRETPATH", "ftp://SECRETPATH", "https://", "https://a b/SECRETPATH"])
def test_an_address_that_is_none_is_said_at_the_start(url: str) -> None:
    """Without what may be a secret in it."""
    with pytest.raises(ConfigurationError, match="RECLOSER_WEBHOOK_URL") as caught:
        hook(url)
    assert "SECRETPATH" not in str(caught.value)


def test_it_is_not_there_when_it_is_not_configured() -> None:
    """And that is no mistake."""
    assert factory(HookSettings(environment={})) is None
