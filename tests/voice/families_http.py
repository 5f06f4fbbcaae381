"""Rows of voices and ears that are asked by HTTP."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

from tests.faults_wire import Reply
from tests.voice.families_llm import frank
from tests.voice.family import Family, Place
from tests.voice.provider import BASE64, PCM, Http, always, lines, pcm, wav

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults import Request

__all__ = ["HTTP"]


def by_session(argument: str = "base_url", path: str = "", **more: Any) -> Callable[[Any, Place], Any]:
    """Most take their place so, and a session of aiohttp."""
    return lambda cls, at: cls(api_key="k", aiohttp_session=at.session, **{argument: at.url + path}, **more)


def voiced(argument: str = "base_url", path: str = "", voice: object = "v") -> Callable[[Any, Place], Any]:
    """As most do, with a voice that has no default."""
    return lambda cls, at: by_session(argument, path, settings=cls.Settings(voice=voice))(cls, at)


def patched(build: Callable[[Any, Place], Any], attribute: str, path: str = "") -> Callable[[Any, Place], Any]:
    """Whose place is an attribute alone."""

    def patch(cls: Any, at: Place) -> Any:
        service = build(cls, at)
        setattr(service, attribute, at.url + path)
        return service

    return patch


def no_place(cls: Any, at: Place) -> Any:
    return cls(api_key="k", aiohttp_session=at.session)


def openai(cls: Any, at: Place) -> Any:
    return frank(cls(api_key="k", base_url=f"{at.url}/v1"), at)


def groq_tts(cls: Any, at: Place) -> Any:
    from groq import AsyncGroq  # noqa: PLC0415 - an SDK that may be missing

    service = cls(api_key="k")
    service._client = AsyncGroq(api_key="k", base_url=at.url, max_retries=0, timeout=at.patience)
    return service


def hume(cls: Any, at: Place) -> Any:
    from hume import AsyncHumeClient  # noqa: PLC0415 - an SDK that may be missing

    service = cls(api_key="k", settings=cls.Settings(voice="v"))
    service._client = AsyncHumeClient(
        api_key="k", base_url=at.url, timeout=at.patience, httpx_client=service._http_client
    )
    return service


def mistral_tts(cls: Any, at: Place) -> Any:
    from mistralai.client import Mistral  # noqa: PLC0415 - an SDK that may be missing

    service = cls(api_key="k", settings=cls.Settings(voice="v"))
    service._client = Mistral(api_key="k", server_url=at.url, timeout_ms=int(at.patience * 1000))
    return service


def camb(cls: Any, at: Place) -> Any:
    from camb.client import AsyncCambAI  # noqa: PLC0415 - an SDK that may be missing

    service = cls(api_key="k")
    set_up = service.setup

    async def setup(given: Any) -> None:
        await set_up(given)
        service._client = AsyncCambAI(api_key="k", base_url=at.url, timeout=at.patience)

    service.setup = setup
    return service


def polly(cls: Any, at: Place) -> Any:
    from botocore.config import Config  # noqa: PLC0415 - an SDK that may be missing

    service = cls(api_key="k", aws_access_key_id="k", region="us-east-1")
    config = Config(connect_timeout=at.patience, read_timeout=at.patience, retries={"max_attempts": 0})
    service._aws_params |= {"endpoint_url": at.url, "config": config}
    return service


class Rerouted:
    """A session that goes elsewhere."""

    def __init__(self, at: Place) -> None:
        self._at = at

    def post(self, _url: str, **more: Any) -> Any:
        return self._at.session.post(self._at.url, **more)


def speakers_and_speech(request: Request) -> Reply:
    """XTTS's own server."""
    if request.path == "/studio_speakers":
        return Reply.of(200, {"v": {"speaker_embedding": [0.0], "gpt_cond_latent": [[0.0]]}})
    return pcm().reply(request)


def gemini_speech(request: Request) -> Reply:
    part = {"inlineData": {"mimeType": "audio/pcm", "data": BASE64}}
    return Reply.events(*[{"candidates": [{"content": {"role": "model", "parts": [part]}}]}] * 2)


def gemini_tts(cls: Any, at: Place) -> Any:
    from google.genai.types import HttpOptions  # noqa: PLC0415 - an SDK that may be missing

    options = HttpOptions(base_url=at.url, timeout=int(at.patience * 1000))
    return cls(api_key="k", use_genai=True, http_options=options)


HUMES = {
    "type": "audio",
    "audio": BASE64,
    "audio_format": "pcm",
    "chunk_index": 0,
    "generation_id": "g",
    "is_last_chunk": False,
    "request_id": "r",
    "snippet_id": "s",
    "text": "Hello there.",
}

FLOATS = base64.b64encode(struct.pack("<8000f", *([0.1] * 8000))).decode()

_DATA = "data: "
_TEXT = always(200, {"text": "hello there"})
_PATCHED = "the attribute with its address"
_CLIENT = "the attribute with its client"

HTTP: tuple[Family, ...] = (
    Family("asyncai-http-tts", "tts", "asyncai.tts:AsyncAIHttpTTSService", voiced("url"), pcm()),
    Family("bland-http-tts", "tts", "bland.tts:BlandHttpTTSService", voiced(), pcm()),
    Family(
        "camb-tts",
        "tts",
        "camb.tts:CambTTSService",
        camb,
        pcm(),
        requires=("camb",),
        patched="its setup, with its client",
    ),
    Family("cartesia-http-tts", "tts", "cartesia.tts:CartesiaHttpTTSService", voiced(), pcm()),
    Family("deepgram-http-tts", "tts", "deepgram.tts:DeepgramHttpTTSService", voiced(), pcm()),
    Family(
        "elevenlabs-http-tts",
        "tts",
        "elevenlabs.tts:ElevenLabsHttpTTSService",
        voiced(),
        lines({"audio_base64": BASE64}, {"audio_base64": BASE64}),
    ),
    Family(
        "groq-tts",
        "tts",
        "groq.tts:GroqTTSService",
        groq_tts,
        Http(lambda _request: Reply(200, {"Content-Type": "audio/wav"}, [wav()], stream=True)),
        requires=("groq",),
        patched=_CLIENT,
    ),
    Family(
        "hume-tts",
        "tts",
        "hume.tts:HumeTTSService",
        hume,
        lines(*[HUMES] * 2),
        requires=("hume",),
        patched=_CLIENT,
    ),
    Family(
        "inworld-http-tts",
        "tts",
        "inworld.tts:InworldHttpTTSService",
        patched(no_place, "_base_url"),
        lines(*[{"result": {"audioContent": BASE64}}] * 2),
        patched=_PATCHED,
    ),
    Family(
        "minimax-http-tts",
        "tts",
        "minimax.tts:MiniMaxHttpTTSService",
        by_session(group_id="g"),
        lines(*[{"data": {"audio": PCM.hex()}}] * 3, {"extra_info": {}}, prefix=_DATA, end="\n\n"),
    ),
    Family(
        "mistral-tts",
        "tts",
        "mistral.tts:MistralTTSService",
        mistral_tts,
        Http(
            lambda _request: Reply.events(
                *[{"type": "speech.audio.delta", "audio_data": FLOATS}] * 2,
                {"type": "speech.audio.done", "usage": {"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0}},
                named=True,
            )
        ),
        requires=("mistralai",),
        patched=_CLIENT,
    ),
    Family(
        "neuphonic-http-tts",
        "tts",
        "neuphonic.tts:NeuphonicHttpTTSService",
        voiced("url"),
        lines(*[{"data": {"audio": BASE64}}] * 2, prefix=_DATA, end="\n\n"),
    ),
    Family("openai-tts", "tts", "openai.tts:OpenAITTSService", openai, pcm()),
    Family(
        "polly-tts",
        "tts",
        "aws.tts:AWSPollyTTSService",
        polly,
        pcm(),
        requires=("aiobotocore",),
        patched="the parameters of its client",
    ),
    Family(
        "rime-http-tts",
        "tts",
        "rime.tts:RimeHttpTTSService",
        patched(
            lambda cls, at: cls(api_key="k", aiohttp_session=at.session, settings=cls.Settings(voice="v")), "_base_url"
        ),
        pcm(),
        patched=_PATCHED,
    ),
    Family(
        "sarvam-http-tts",
        "tts",
        "sarvam.tts:SarvamHttpTTSService",
        voiced(voice="anushka"),
        always(200, {"audios": [BASE64]}),
        requires=("sarvamai",),
    ),
    Family(
        "speechify-http-tts",
        "tts",
        "speechify.tts:SpeechifyHttpTTSService",
        voiced(),
        Http(lambda _request: Reply.events(*[{"type": "speech.chunk", "audio": BASE64}] * 2, named=True)),
    ),
    Family(
        "speechmatics-http-tts",
        "tts",
        "speechmatics.tts:SpeechmaticsTTSService",
        voiced(),
        pcm(),
        requires=("speechmatics.rt",),
    ),
    Family("xai-http-tts", "tts", "xai.tts:XAIHttpTTSService", voiced(), pcm()),
    Family(
        "xtts",
        "tts",
        "xtts.tts:XTTSService",
        lambda cls, at: cls(base_url=at.url, aiohttp_session=at.session, settings=cls.Settings(voice="v")),
        Http(speakers_and_speech),
    ),
    Family(
        "gemini-tts", "tts", "google.tts:GeminiTTSService", gemini_tts, Http(gemini_speech), requires=("google.genai",)
    ),
    Family("assemblyai-sync-stt", "stt", "assemblyai.stt:AssemblyAISyncSTTService", by_session(), _TEXT),
    Family("elevenlabs-stt", "stt", "elevenlabs.stt:ElevenLabsSTTService", by_session(), _TEXT),
    Family(
        "fal-stt",
        "stt",
        "fal.stt:FalSTTService",
        lambda cls, at: cls(api_key="k", aiohttp_session=Rerouted(at)),
        _TEXT,
        patched="the session, which goes elsewhere",
    ),
    Family("groq-stt", "stt", "groq.stt:GroqSTTService", openai),
    Family("openai-stt", "stt", "openai.stt:OpenAISTTService", openai),
)
