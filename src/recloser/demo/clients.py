"""The voice agent's clients, each behind its circuit: what an application writes to be protected.

The clients are a few lines of the standard library, so that the demo needs nothing installed. Real SDKs are wrapped
in the same way.
"""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import closing
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode

from recloser import PausedError, ProvidersExhaustedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from http.client import HTTPResponse

    from recloser import Policy, Recloser

__all__ = ["LOST", "SPEECH", "Agent", "Try", "connect", "tries"]

SPEECH = ("elevenlabs", "cartesia")
"""The providers of speech, in order of preference."""

LOST = (PausedError, ProvidersExhaustedError, OSError, HTTPException)
"""What a call ends with when a provider lets it down."""


class Try(NamedTuple):
    """One request to a provider.

    Attributes:
        provider: to which.
        seconds: how long it took to answer, or to fail.
        error: how it failed; empty when it did not.
    """

    provider: str
    seconds: float
    error: str = ""


tries: ContextVar[list[Try]] = ContextVar("tries")
"""The requests of the call that is being made in this thread."""


@dataclass(frozen=True, slots=True)
class Agent:
    """What the agent can do.

    Attributes:
        dial: places a call; raises PausedError while anything that the call will need is unavailable.
        listen: audio to text.
        think: text to an answer, in pieces.
        speak: an answer to audio, in pieces, by the first provider that does.
        allowed: whether ``dial`` would place a call now.
    """

    dial: Callable[[str], str]
    listen: Callable[[bytes], str]
    think: Callable[[str], Generator[str, None, None]]
    speak: Callable[[str], Generator[bytes, None, None]]
    allowed: Callable[[], bool]


def connect(recloser: Recloser, address: str, policy: Policy, timeout: float) -> Agent:
    """The agent of a toolkit, whose providers are all at one address."""
    circuit, fallback, requires = recloser.circuit, recloser.fallback, recloser.requires
    wire = _Wire(address, timeout)
    for name in SPEECH:
        circuit(name, policy)

    @fallback(*SPEECH)
    def speak(provider: str, text: str) -> Generator[bytes, None, None]:
        if provider == "elevenlabs":
            answer = wire.post(provider, "/v1/text-to-speech/rachel/stream", {"text": text})
        else:
            answer = wire.post(provider, "/tts/bytes", {"transcript": text, "model_id": "sonic"})
        with closing(answer):
            while piece := answer.read1():
                yield piece

    @circuit("deepgram", policy)
    def listen(audio: bytes) -> str:
        with closing(wire.post("deepgram", "/v1/listen?model=nova-3", audio, "audio/wav")) as answer:
            heard: str = json.load(answer)["results"]["channels"][0]["alternatives"][0]["transcript"]
            return heard

    @circuit("openai", policy)
    def think(said: str) -> Generator[str, None, None]:
        asked = {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": said}]}
        with closing(wire.post("openai", "/v1/chat/completions", asked)) as answer:
            for line in answer:
                if line.startswith(b"data: {"):
                    yield json.loads(line[len(b"data: ") :])["choices"][0]["delta"].get("content", "")

    ready = requires(speak, listen, think, "twilio")

    @ready
    @circuit("twilio", policy)
    def dial(phone: str) -> str:
        form = urlencode({"To": phone, "From": "+15555550100", "Url": "http://127.0.0.1/answered"}).encode()
        place, kind = "/2010-04-01/Accounts/ACdemo/Calls.json", "application/x-www-form-urlencoded"
        with closing(wire.post("twilio", place, form, kind)) as answer:
            call: str = json.load(answer)["sid"]
            return call

    return Agent(dial, listen, think, speak, ready.allows)


class _Wire:
    """HTTP to one address."""

    def __init__(self, address: str, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        # Without the proxies of the environment: the providers are on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def post(self, provider: str, path: str, content: object, content_type: str = "application/json") -> HTTPResponse:
        """The answer, whose body has not been read.

        Raises:
            OSError: for a status of 400 and above, a timeout, a connection that failed.
            HTTPException: for an answer that is not HTTP.
        """
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Content-Type": content_type, "Authorization": "Bearer demo"}
        request = urllib.request.Request(self._address + path, body, headers, method="POST")  # noqa: S310 - it is http
        started = time.monotonic()
        error = ""
        try:
            answer: HTTPResponse = self._opener.open(request, timeout=self._timeout)
        except HTTPError as refused:
            refused.close()
            error = f"HTTP {refused.code}"
            raise
        except (OSError, HTTPException) as failed:
            error = type(failed).__name__
            raise
        finally:
            noted = tries.get(None)
            if noted is not None:
                noted.append(Try(provider, time.monotonic() - started, error))
        return answer
