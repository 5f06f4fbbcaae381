"""What a LiveKit agent needs to run without a room: its plugins, pointed at a fault server, and ears and a mouth."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from livekit import rtc
from livekit.agents import APIConnectOptions, llm, stt
from livekit.agents.voice import io
from livekit.plugins import cartesia, deepgram, elevenlabs, openai

from tests import faults_websocket as ws
from tests.faults import Exchange, FaultServer, Request
from tests.faults_wire import AUDIO

__all__ = [
    "HEARD",
    "ONCE",
    "PLUGINS",
    "SPEECH",
    "TWICE",
    "Ears",
    "Eleven",
    "Make",
    "Mouth",
    "ask",
    "eventually",
    "listen",
    "requests",
    "say",
    "speak",
    "the_plugin",
    "transcribe",
]

ONCE = APIConnectOptions(max_retry=0, timeout=1.0)
TWICE = APIConnectOptions(max_retry=1, retry_interval=0.001, timeout=1.0)

CONNECTED = "CONNECTED"
"""The method of a connection that is no request yet."""

HEARD = json.dumps(
    {
        "type": "Results",
        "is_final": True,
        "speech_final": True,
        "metadata": {"request_id": "r"},
        "channel": {"alternatives": [{"transcript": "hello there", "confidence": 0.9, "words": []}]},
        "start": 0.0,
        "duration": 1.0,
    }
)
"""What Deepgram says of a final transcript."""


def requests(server: FaultServer) -> int:
    """How many requests a provider got, connections that are kept apart."""
    return sum(each.method != CONNECTED for each in server.requests)


@dataclass(frozen=True)
class Eleven:
    """ElevenLabs' websocket: audio for every text that is flushed, or a silence, or a closed connection."""

    audio: bool = True
    close: bool = False

    async def __call__(self, exchange: Exchange) -> None:
        await _accept(exchange)
        exchange.request.method = CONNECTED
        while True:
            opcode, payload = await ws.read_frame(exchange.reader)
            if opcode == ws.CLOSE:
                return
            said = json.loads(payload) if opcode == ws.TEXT else {}
            if not said.get("flush") or not said["text"].strip():
                continue
            exchange.server.requests.append(Request("FLUSH", "/flush"))
            if self.close:
                exchange.abort()
                return
            if self.audio:
                of = {"contextId": said["context_id"]}
                audio = {**of, "audio": base64.b64encode(AUDIO).decode()}
                for message in (audio, {**of, "isFinal": True}):
                    await exchange.send(ws.frame(ws.TEXT, json.dumps(message).encode()))


async def _accept(exchange: Exchange) -> None:
    key = ws.accept_key(exchange.request.headers["sec-websocket-key"])
    switching = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}"
    await exchange.send(f"HTTP/1.1 101 Switching Protocols\r\n{switching}\r\n\r\n".encode())


# What plugins are asked ---------------------------------------------------------------------------------------------

SPEECH = rtc.AudioFrame(b"\0\0" * 1600, 16000, 1, 1600)


def chat() -> llm.ChatContext:
    context = llm.ChatContext()
    context.add_message(role="user", content="Hello")
    return context


async def ask(plugin: Any, options: APIConnectOptions = ONCE) -> str:
    return (await plugin.chat(chat_ctx=chat(), conn_options=options).collect()).text


async def say(plugin: Any, options: APIConnectOptions = ONCE) -> int:
    async with plugin.synthesize("Hello there.", conn_options=options) as stream:
        return len([each async for each in stream])


async def speak(plugin: Any, options: APIConnectOptions = ONCE) -> int:
    async with plugin.stream(conn_options=options) as stream:
        stream.push_text("Hello there.")
        stream.end_input()
        return len([each async for each in stream])


async def transcribe(plugin: Any, options: APIConnectOptions = ONCE) -> str:
    return (await plugin.recognize(SPEECH, conn_options=options)).alternatives[0].text


async def listen(plugin: Any, options: APIConnectOptions = ONCE) -> str:
    """The first final transcript."""
    async with plugin.stream(conn_options=options) as stream:
        stream.push_frame(SPEECH)
        async for event in stream:
            if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                return str(event.alternatives[0].text)
    return ""


Make = Callable[[str, aiohttp.ClientSession], Any]

PLUGINS: dict[str, tuple[Make, Callable[..., Any], str]] = {
    "openai.LLM": (lambda url, _: openai.LLM(api_key="k", base_url=f"{url}/v1", model="gpt-4o"), ask, "openai"),
    "openai.STT": (lambda url, _: openai.STT(api_key="k", base_url=f"{url}/v1"), transcribe, "openai"),
    "openai.TTS": (
        lambda url, _: openai.TTS(api_key="k", base_url=f"{url}/v1", response_format="pcm", model="tts-1"),
        say,
        "openai",
    ),
    "elevenlabs.TTS": (
        lambda url, http: elevenlabs.TTS(
            api_key="k", base_url=f"{url}/v1", voice_id="v", encoding="pcm_24000", http_session=http
        ),
        say,
        "elevenlabs",
    ),
    "elevenlabs.TTS stream": (
        lambda url, http: elevenlabs.TTS(
            api_key="k", base_url=f"{url}/v1", voice_id="v", encoding="pcm_24000", http_session=http
        ),
        speak,
        "elevenlabs",
    ),
    "deepgram.TTS": (
        lambda url, http: deepgram.TTS(api_key="k", base_url=f"{url}/v1/speak", http_session=http),
        say,
        "deepgram",
    ),
    "deepgram.STT": (
        lambda url, http: deepgram.STT(api_key="k", base_url=f"{url}/v1/listen", http_session=http),
        transcribe,
        "deepgram",
    ),
    "deepgram.STT stream": (
        lambda url, http: deepgram.STT(api_key="k", base_url=f"{url}/v1/listen", http_session=http),
        listen,
        "deepgram",
    ),
    "cartesia.TTS": (lambda url, http: cartesia.TTS(api_key="k", base_url=url, http_session=http), say, "cartesia"),
}
"""A plugin, one request of it, and its circuit."""


@asynccontextmanager
async def the_plugin(name: str, url: str) -> AsyncIterator[Any]:
    """The plugin, closed at the end."""
    async with aiohttp.ClientSession() as http:
        plugin = PLUGINS[name][0](url, http)
        async with aclosing(plugin):
            yield plugin
            await asyncio.sleep(0)


# A session without a room -------------------------------------------------------------------------------------------


class Mouth(io.AudioOutput):
    """Plays what is said in no time."""

    def __init__(self) -> None:
        super().__init__(label="mouth", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=24000)
        self.seconds = 0.0
        self._segment = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self.seconds += frame.duration
        self._segment += frame.duration

    def flush(self) -> None:
        super().flush()
        self._finish(interrupted=False)

    def clear_buffer(self) -> None:
        self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool) -> None:
        if self._segment:
            position, self._segment = self._segment, 0.0
            self.on_playback_finished(playback_position=position, interrupted=interrupted)


class Ears(io.AudioInput):
    """Hears a little, and then nothing more."""

    def __init__(self) -> None:
        super().__init__(label="ears")
        self._left = 3

    async def __anext__(self) -> rtc.AudioFrame:
        if not self._left:
            await asyncio.Event().wait()
        self._left -= 1
        return SPEECH


async def eventually(look: Callable[[], object], what: str) -> None:
    """Waits until it is true, ten seconds at the most."""
    async with asyncio.timeout(10):
        while not look():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)
    assert look(), what
