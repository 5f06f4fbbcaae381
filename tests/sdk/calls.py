"""One ordinary call of each SDK against a server of ours, made as applications make it; retries off.

Each entry of :data:`CALLS` is a context manager ``(url, run, timeout) -> call``: ``run`` runs a coroutine, ``call()``
makes the request and reads the whole answer. Importing this module imports every SDK.
"""

from __future__ import annotations

import urllib.request
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import aiohttp
import anthropic
import botocore.session
import cartesia
import elevenlabs
import groq
import httpx
import httpx2
import openai
import requests
import slack_sdk
import websockets
from botocore.config import Config
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from google import genai
from slack_sdk.web.async_client import AsyncWebClient
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client as TwilioClient
from websockets.sync.client import connect as connect_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]
    Call: TypeAlias = Callable[[], Any]
    Opened: TypeAlias = Callable[[str, Run, float], AbstractContextManager[Call]]

CALLS: dict[str, Opened] = {}

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STAINLESS: dict[str, Any] = {"api_key": "k", "max_retries": 0}


def opened(function: Callable[..., Iterator[Call]]) -> Opened:
    """Enter the function in CALLS under its own name."""
    CALLS[function.__name__] = contextmanager(function)
    return CALLS[function.__name__]


async def drained(stream: Any) -> list[Any]:
    return [item async for item in stream]


@opened
def openai_chat(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with openai.OpenAI(base_url=f"{url}/v1", timeout=timeout, **STAINLESS) as client:
        yield partial(client.chat.completions.create, **ASK)


@opened
def openai_chat_stream(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with openai.OpenAI(base_url=f"{url}/v1", timeout=timeout, **STAINLESS) as client:
        yield lambda: list(client.chat.completions.create(**ASK, stream=True))


@opened
def openai_responses_stream(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with openai.OpenAI(base_url=f"{url}/v1", timeout=timeout, **STAINLESS) as client:
        yield lambda: list(client.responses.create(model="m", input="hi", stream=True))


@opened
def openai_chat_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", timeout=timeout, **STAINLESS)
    yield lambda: run(client.chat.completions.create(**ASK))
    run(client.close())


@opened
def openai_chat_stream_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", timeout=timeout, **STAINLESS)

    async def call() -> list[Any]:
        return await drained(await client.chat.completions.create(**ASK, stream=True))

    yield lambda: run(call())
    run(client.close())


@opened
def anthropic_messages(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with anthropic.Anthropic(base_url=url, timeout=timeout, **STAINLESS) as client:
        yield partial(client.messages.create, **ASK, max_tokens=9)


@opened
def anthropic_messages_stream(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with anthropic.Anthropic(base_url=url, timeout=timeout, **STAINLESS) as client:
        yield lambda: list(client.messages.create(**ASK, max_tokens=9, stream=True))


@opened
def anthropic_messages_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = anthropic.AsyncAnthropic(base_url=url, timeout=timeout, **STAINLESS)
    yield lambda: run(client.messages.create(**ASK, max_tokens=9))
    run(client.close())


@opened
def groq_chat(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with groq.Groq(base_url=url, timeout=timeout, **STAINLESS) as client:
        yield partial(client.chat.completions.create, **ASK)


@opened
def groq_chat_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = groq.AsyncGroq(base_url=url, timeout=timeout, **STAINLESS)
    yield lambda: run(client.chat.completions.create(**ASK))
    run(client.close())


CARTESIA: dict[str, Any] = {
    "model_id": "sonic-2",
    "transcript": "hello",
    "voice": {"mode": "id", "id": "v"},
    "output_format": {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 8000},
}


@opened
def cartesia_tts(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with cartesia.Cartesia(base_url=url, timeout=timeout, **STAINLESS) as client:
        yield lambda: client.tts.generate(**CARTESIA).read()


@opened
def cartesia_tts_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = cartesia.AsyncCartesia(base_url=url, timeout=timeout, **STAINLESS)

    async def call() -> bytes:
        return await (await client.tts.generate(**CARTESIA)).read()

    yield lambda: run(call())
    run(client.close())


def _deepgram(url: str) -> dict[str, Any]:
    ws_url = url.replace("http", "ws", 1)
    environment = DeepgramClientEnvironment(base=url, production=ws_url, agent=ws_url, agent_rest=url)
    return {"api_key": "k", "environment": environment, "telemetry_opt_out": True}


ONCE: dict[str, Any] = {"max_retries": 0}


@opened
def deepgram_listen(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with httpx.Client(timeout=timeout) as http:
        client = DeepgramClient(**_deepgram(url), httpx_client=http)
        transcribe = client.listen.v1.media.transcribe_file
        yield partial(
            transcribe, request=b"audio", model="nova-3", request_options={**ONCE, "timeout_in_seconds": timeout}
        )


@opened
def deepgram_listen_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    http = httpx.AsyncClient(timeout=timeout)
    transcribe = AsyncDeepgramClient(**_deepgram(url), httpx_client=http).listen.v1.media.transcribe_file
    options: Any = {**ONCE, "timeout_in_seconds": timeout}
    yield lambda: run(transcribe(request=b"audio", model="nova-3", request_options=options))
    run(http.aclose())


@opened
def deepgram_speak(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with httpx.Client(timeout=timeout) as http:
        generate = DeepgramClient(**_deepgram(url), httpx_client=http).speak.v1.audio.generate
        yield lambda: list(generate(text="hello", request_options={**ONCE, "timeout_in_seconds": timeout}))


@opened
def elevenlabs_tts(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with httpx.Client() as http:
        client = elevenlabs.ElevenLabs(base_url=url, api_key="k", httpx_client=http, timeout=timeout)
        yield lambda: list(client.text_to_speech.convert("v", text="hello", request_options=ONCE))


@opened
def elevenlabs_tts_stream_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    http = httpx.AsyncClient()
    client = elevenlabs.AsyncElevenLabs(base_url=url, api_key="k", httpx_client=http, timeout=timeout)
    yield lambda: run(drained(client.text_to_speech.stream("v", text="hello", request_options=ONCE)))
    run(http.aclose())


CALLEE = {"to": "+15005550006", "from_": "+15005550001", "url": "http://example.com"}


@opened
def twilio_call(url: str, run: Run, timeout: float) -> Iterator[Call]:
    http = TwilioHttpClient(timeout=timeout)
    client = TwilioClient("AC0", "token", http_client=http)
    client.api.base_url = url
    yield partial(client.calls.create, **CALLEE)
    http.session.close()


@opened
def twilio_call_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    async def client() -> TwilioClient:
        return TwilioClient("AC0", "token", http_client=AsyncTwilioHttpClient())  # its timeout is ignored

    twilio = run(client())
    twilio.api.base_url = url
    yield lambda: run(twilio.calls.create_async(**CALLEE))
    run(twilio.http_client.close())


@opened
def genai_generate(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = genai.Client(api_key="k", http_options={"base_url": url, "timeout": int(timeout * 1000)})
    yield lambda: client.models.generate_content(model="m", contents="hi")
    client.close()


@opened
def genai_generate_stream(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = genai.Client(api_key="k", http_options={"base_url": url, "timeout": int(timeout * 1000)})
    yield lambda: list(client.models.generate_content_stream(model="m", contents="hi"))
    client.close()


@opened
def genai_generate_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = genai.Client(api_key="k", http_options={"base_url": url, "timeout": int(timeout * 1000)})
    yield lambda: run(client.aio.models.generate_content(model="m", contents="hi"))
    run(client.aio.aclose())
    client.close()


@opened
def botocore_polly(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = botocore.session.Session().create_client(
        "polly",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="a",
        aws_secret_access_key="s",
        config=Config(connect_timeout=timeout, read_timeout=timeout, retries={"total_max_attempts": 1}),
    )
    speech = {"Text": "hello", "OutputFormat": "mp3", "VoiceId": "Joanna"}

    def call() -> bytes:
        return client.synthesize_speech(**speech)["AudioStream"].read()

    yield call
    client.close()


@opened
def slack_message(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = slack_sdk.WebClient("xoxb-1", base_url=f"{url}/api/", timeout=timeout, retry_handlers=[])
    yield partial(client.chat_postMessage, channel="C1", text="hello")


@opened
def slack_message_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = AsyncWebClient("xoxb-1", base_url=f"{url}/api/", timeout=timeout, retry_handlers=[])
    yield lambda: run(client.chat_postMessage(channel="C1", text="hello"))


@opened
def httpx_get(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with httpx.Client(base_url=url, timeout=timeout) as client:
        yield lambda: client.get("/tts/bytes").raise_for_status().read()


@opened
def httpx_get_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = httpx.AsyncClient(base_url=url, timeout=timeout)

    async def call() -> bytes:
        return (await client.get("/tts/bytes")).raise_for_status().read()

    yield lambda: run(call())
    run(client.aclose())


@opened
def httpx2_get(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with httpx2.Client(base_url=url, timeout=timeout) as client:
        yield lambda: client.get("/tts/bytes").raise_for_status().read()


@opened
def requests_get(url: str, run: Run, timeout: float) -> Iterator[Call]:
    with requests.Session() as session:

        def call() -> bytes:
            response = session.get(f"{url}/tts/bytes", timeout=timeout)
            response.raise_for_status()
            return response.content

        yield call


@opened
def aiohttp_get(url: str, run: Run, timeout: float) -> Iterator[Call]:
    async def call() -> bytes:
        limit = aiohttp.ClientTimeout(total=timeout)
        async with (
            aiohttp.ClientSession(timeout=limit, raise_for_status=True) as session,
            session.get(f"{url}/tts/bytes") as response,
        ):
            return await response.read()

    yield lambda: run(call())


@opened
def aiohttp_websocket(url: str, run: Run, timeout: float) -> Iterator[Call]:
    async def call() -> str:
        limit = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(timeout=limit) as session, session.ws_connect(f"{url}/ws") as socket:
            await socket.send_str("hello")
            return await socket.receive_str()

    yield lambda: run(call())


@opened
def urllib_get(url: str, run: Run, timeout: float) -> Iterator[Call]:
    def call() -> bytes:
        with urllib.request.urlopen(f"{url}/tts/bytes", timeout=timeout) as response:
            return response.read()

    yield call


@opened
def websockets_sync(url: str, run: Run, timeout: float) -> Iterator[Call]:
    def call() -> str | bytes:
        with connect_sync(f"{url.replace('http', 'ws', 1)}/ws", open_timeout=timeout, proxy=None) as socket:
            socket.send("hello")
            return socket.recv(timeout=timeout)

    yield call


@opened
def websockets_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    async def call() -> str | bytes:
        async with websockets.connect(f"{url.replace('http', 'ws', 1)}/ws", open_timeout=timeout, proxy=None) as socket:
            await socket.send("hello")
            return await socket.recv()

    yield lambda: run(call())


@opened
def deepgram_websocket(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = DeepgramClient(**_deepgram(url), reconnect=False)

    def call() -> object:
        with client.listen.v1.connect(model="nova-3") as socket:
            return socket.recv()

    yield call


@opened
def deepgram_websocket_async(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = AsyncDeepgramClient(**_deepgram(url), reconnect=False)

    async def call() -> object:
        async with client.listen.v1.connect(model="nova-3") as socket:
            return await socket.recv()

    yield lambda: run(call())


@opened
def elevenlabs_websocket(url: str, run: Run, timeout: float) -> Iterator[Call]:
    client = elevenlabs.ElevenLabs(base_url=url, api_key="k")
    client.text_to_speech._ws_base_url = url.replace("http", "ws", 1)
    yield lambda: list(client.text_to_speech.convert_realtime("v", text=iter(["hello"]), model_id="m"))
