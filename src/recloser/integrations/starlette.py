"""Starlette and FastAPI: a paused circuit is answered with 503 and ``Retry-After``, and not with 500.

Example::

    from fastapi import FastAPI

    import recloser
    from recloser.integrations.starlette import install

    app = FastAPI(lifespan=recloser.lifespan())
    install(app)

A :class:`~recloser.ProvidersExhaustedError` is not answered here: calls were made and failed, which is your answer to
give, 502 for most. Only the application knows whether something of it can be saved.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from recloser.errors import PausedError

try:
    from starlette.responses import JSONResponse
    from starlette.websockets import WebSocket, WebSocketState
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] != "starlette":
        raise
    _message = "recloser.integrations.starlette needs Starlette, which is not installed: pip install starlette"
    raise ModuleNotFoundError(_message, name=_error.name) from _error

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection
    from starlette.types import ExceptionHandler

__all__ = ["install", "paused_response"]

_TRY_AGAIN_LATER = 1013
"""The close code of a WebSocket that RFC 6455's registry has for this."""


def install(app: Starlette, *, show_reason: bool = False) -> None:
    """Has ``app`` answer a PausedError as :func:`paused_response` does; call it before the first request.

    On a WebSocket that is not accepted yet the same response refuses it; one that is gets closed with code 1013, "try
    again later". An application that is mounted in another answers for itself, so install it there too. Where a
    response has begun already it is too late for another one: begin a stream with a call that meets the circuit.

    Args:
        app: a Starlette or FastAPI application.
        show_reason: whether the public sees the circuit's ``reason``.

    >>> from fastapi import FastAPI
    >>> from recloser import circuit
    >>> from recloser.integrations.starlette import install
    >>> from fastapi.testclient import TestClient
    >>> app = FastAPI()
    >>> install(app)
    >>> @app.get("/speak")
    ... @circuit("elevenlabs")
    ... async def speak() -> str:
    ...     return "audio"
    >>> def while_it_is_open():
    ...     recloser.trip("elevenlabs")
    ...     return TestClient(app).get("/speak")
    >>> response = while_it_is_open()
    >>> response.status_code, response.headers["Retry-After"]
    (503, '900')
    """

    async def answer(connection: HTTPConnection, error: Exception) -> JSONResponse | None:
        response = paused_response(connection, error, show_reason=show_reason)
        if not isinstance(connection, WebSocket):
            return response
        if connection.application_state is WebSocketState.CONNECTING:
            if "websocket.http.response" in connection.scope.get("extensions", {}):
                return response
            await connection.close(_TRY_AGAIN_LATER)
        elif WebSocketState.DISCONNECTED not in {connection.application_state, connection.client_state}:
            await connection.close(_TRY_AGAIN_LATER)
        return None

    app.add_exception_handler(PausedError, cast("ExceptionHandler", answer))


def paused_response(request: HTTPConnection | None, error: Exception, *, show_reason: bool = False) -> JSONResponse:
    """The answer to a request that met a paused circuit: 503, when to come back, and a small JSON body.

    The header ``Retry-After`` has whole seconds, rounded up, 1 at the least; it is left out when only an operator can
    resume. The body has ``error``, which is ``"paused"``, ``circuit``, ``state`` and ``retry_after``, the same seconds
    or null. Who paused it is never in it, and the ``reason`` only if you say so: it is a text of an operator's, or
    quotes the provider's last error, and neither was written for the public.

    Args:
        request: what was asked for; it makes no difference.
        error: a :class:`~recloser.PausedError`.
        show_reason: whether the body has its ``reason``.

    Raises:
        Exception: ``error`` itself, when it is anything else.

    >>> from recloser import PausedError, State
    >>> from recloser.integrations.starlette import paused_response
    >>> error = PausedError("tts", State.OPEN, "10 failures in 5m", "recloser", since=0.0, retry_after=41.2)
    >>> response = paused_response(None, error)
    >>> response.status_code, response.headers["Retry-After"], response.body
    (503, '42', b'{"error":"paused","circuit":"tts","state":"open","retry_after":42}')
    """
    del request
    if not isinstance(error, PausedError):
        raise error
    seconds = None if error.retry_after is None else max(1, math.ceil(error.retry_after))
    body: dict[str, Any] = {"error": "paused", "circuit": error.circuit, "state": str(error.state)}
    if show_reason:
        body["reason"] = error.reason
    body["retry_after"] = seconds
    return JSONResponse(body, 503, headers={} if seconds is None else {"Retry-After": str(seconds)})
