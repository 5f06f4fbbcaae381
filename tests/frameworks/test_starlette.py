"""What the public is told when a circuit is paused: Starlette and FastAPI, by their own test client."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("fastapi")
pytest.importorskip("httpx2")

from fastapi import FastAPI, WebSocket
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

import recloser as package
from recloser import PausedError, ProvidersExhaustedError, State, circuit, fallback, requires
from recloser.integrations.starlette import install, paused_response

if TYPE_CHECKING:
    from starlette.requests import Request

    from recloser.testing import Sandbox


def paused(retry_after: float | None) -> PausedError:
    return PausedError("tts", State.OPEN, "10 failures in 5m, last: secret", "ann", 0.0, retry_after)


@circuit("tts")
async def speak(request: Request) -> PlainTextResponse:
    return PlainTextResponse("audio")


@fallback("spoken", "spoken-otherwise")
async def say(provider: str) -> str:
    raise ConnectionError(provider)


@pytest.mark.parametrize(("seconds", "header"), [(0, "1"), (0.2, "1"), (1, "1"), (1.001, "2"), (899.5, "900")])
def test_retry_after_is_whole_seconds_and_never_too_early(seconds: float, header: str) -> None:
    """Whoever comes back when the header says so is not sent away a second time."""
    response = paused_response(None, paused(seconds))
    assert (response.status_code, response.headers["retry-after"]) == (503, header)


def test_nobody_knows_when_an_operator_resumes() -> None:
    """Without a time to come back at there is no header, and null in the body."""
    response = paused_response(None, paused(None))
    assert "retry-after" not in response.headers
    assert response.body == b'{"error":"paused","circuit":"tts","state":"open","retry_after":null}'


def test_the_public_sees_neither_the_reason_nor_who_it_was() -> None:
    """A reason quotes providers and operators: it is shown to those only who asked for it, and a name to nobody."""
    assert b"secret" not in paused_response(None, paused(1)).body
    shown = paused_response(None, paused(1), show_reason=True).body
    assert b'"reason":"10 failures in 5m, last: secret"' in shown
    assert b"ann" not in shown


def test_any_other_error_is_raised_on() -> None:
    """Where it is put in charge of more than it knows, it swallows nothing."""
    error = LookupError("other")
    with pytest.raises(LookupError) as caught:
        paused_response(None, error)
    assert caught.value is error


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_a_paused_circuit_is_503(recloser: Sandbox, framework: type[Starlette]) -> None:
    """With the reason, if the application says so; once it is resumed, the answer is the endpoint's again."""
    for shown in (False, True):
        app = framework(routes=[Route("/", speak)])
        install(app, show_reason=shown)
        client = TestClient(app)
        assert client.get("/").text == "audio"
        recloser.trip("tts", reason="many failures")
        response = client.get("/")
        body = {"error": "paused", "circuit": "tts", "state": "open", "retry_after": 900}
        assert (response.status_code, response.headers["retry-after"]) == (503, "900")
        assert response.json() == body | ({"reason": "many failures"} if shown else {})
        recloser.heal("tts")
        recloser.clock.advance("1d")
        assert client.get("/").status_code == 200


def test_a_failed_call_is_not_a_paused_one(recloser: Sandbox) -> None:
    """Providers that were tried and failed are the application's to answer for."""
    app = FastAPI()
    install(app)
    app.get("/")(say)
    with pytest.raises(ProvidersExhaustedError):
        TestClient(app).get("/")
    assert TestClient(app, raise_server_exceptions=False).get("/").status_code == 500


def sockets() -> FastAPI:
    app = FastAPI()
    install(app)
    needed = requires("tts")

    @app.websocket("/before")
    async def before(websocket: WebSocket) -> None:
        needed.check()
        await websocket.accept()

    @app.websocket("/after")
    async def after(websocket: WebSocket) -> None:
        await websocket.accept()
        needed.check()

    @app.websocket("/closed")
    async def closed(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4000)
        needed.check()

    @app.websocket("/left")
    async def left(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive()
        needed.check()

    return app


def test_a_websocket_is_refused_before_it_begins(recloser: Sandbox) -> None:
    """The caller of a voice agent is told in the handshake, with the very answer that any request gets."""
    recloser.trip("tts")
    with pytest.raises(WebSocketDenialResponse) as refused, TestClient(sockets()).websocket_connect("/before"):
        pass
    assert (refused.value.status_code, refused.value.headers["retry-after"]) == (503, "900")


def test_a_websocket_of_a_server_that_knows_no_refusals_is_closed(recloser: Sandbox) -> None:
    """Not every server can answer a handshake with a response."""
    app = sockets()

    async def older(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"] = {}
        await app(scope, receive, send)

    recloser.trip("tts")
    with pytest.raises(WebSocketDisconnect) as refused, TestClient(older).websocket_connect("/before"):
        pass
    assert refused.value.code == 1013


def test_an_open_websocket_is_closed_with_try_again_later(recloser: Sandbox) -> None:
    """There is no status any more once it is accepted; one that is closed already, by either side, is left alone."""
    recloser.trip("tts")
    client = TestClient(sockets())
    for path, code in (("/after", 1013), ("/closed", 4000)):
        with client.websocket_connect(path) as websocket:
            assert websocket.receive() == {"type": "websocket.close", "code": code, "reason": ""}
    with client.websocket_connect("/left") as websocket:
        websocket.close()


def test_a_life_for_each_block_of_a_test_client(recloser: Sandbox) -> None:
    """Tests of an application enter its lifespan again and again, and look at the circuits in between."""
    app = Starlette(routes=[Route("/", speak)], lifespan=package.lifespan())
    install(app)
    for status in (200, 503):
        with TestClient(app) as client:
            assert client.get("/").status_code == status
        recloser.trip("tts")
    assert recloser.status()["tts"].state is State.OPEN


MISSING = """
import sys
sys.modules["starlette"] = None
try:
    import recloser.integrations.starlette
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_who_has_no_starlette_is_told_what_to_install() -> None:
    """In one line; and the package itself does not look for it."""
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ModuleNotFoundError recloser.integrations.starlette needs Starlette")
    assert "pip install starlette" in done.stdout
