"""Rows of ears on websockets, and what their providers say once the caller has spoken."""

from __future__ import annotations

import binascii
import json
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.faults_wire import Reply
from tests.voice.families_tts import by_url
from tests.voice.family import PATIENCE, Family, Place
from tests.voice.provider import Both, Http, Message, Talk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.faults import Request

__all__ = ["STT", "aws_event", "rerouted"]

Said = "Iterable[Message | bytes | int]"

TEXT = "hello there"
REROUTED = "the method that connects, which goes elsewhere"


def rerouted(service: Any, at: Place) -> Any:
    """A service that goes elsewhere, with the path it has."""
    connect = service._websocket_connect

    async def go(uri: str, **more: Any) -> Any:
        parts = urlsplit(uri)
        # AWS's row sends a second key, of its own, and the server here would answer that one.
        more["additional_headers"].pop("Sec-WebSocket-Key", None)
        return await connect(f"{at.ws}{parts.path}?{parts.query}", **more)

    service._websocket_connect = go
    return service


def aws_event(payload: Message, event: str) -> bytes:
    """An event in AWS's binary framing: lengths, their CRC, headers, payload, CRC of all."""
    headers = b""
    for name, value in {":message-type": "event", ":event-type": event, ":content-type": "application/json"}.items():
        headers += struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", len(headers) + len(body) + 16, len(headers))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + body
    return message + struct.pack("!I", binascii.crc32(message))


def assemblyai(heard: Message | bytes) -> Said:
    if not isinstance(heard, bytes) and heard["type"] == "Terminate":
        return [{"type": "Termination", "audio_duration_seconds": 1, "session_duration_seconds": 1}, 1000]
    if isinstance(heard, bytes) or heard["type"] != "ForceEndpoint":
        return []
    turn = {"type": "Turn", "turn_order": 0, "turn_is_formatted": True, "end_of_turn": True, "transcript": TEXT}
    return [{**turn, "end_of_turn_confidence": 0.9, "words": []}]


def cartesia(heard: str | bytes) -> Said:
    return [{"type": "transcript", "text": TEXT, "is_final": True}] if heard == "finalize" else []


def cartesia_turns(heard: Message | bytes) -> Said:
    if isinstance(heard, bytes):
        return [{"type": "turn.start", "transcript": TEXT}, {"type": "turn.end", "transcript": TEXT}]
    return [1000] if heard["type"] == "close" else []


def deepgram(heard: Message | bytes) -> Said:
    if isinstance(heard, bytes) or heard["type"] != "Finalize":
        return []
    model = {"name": "m", "version": "1", "arch": "a"}
    return [
        {
            "type": "Results",
            "channel_index": [0, 1],
            "duration": 1.0,
            "start": 0.0,
            "is_final": True,
            "speech_final": True,
            "from_finalize": True,
            "channel": {"alternatives": [{"transcript": TEXT, "confidence": 0.9, "words": []}]},
            "metadata": {"request_id": "r", "model_info": model, "model_uuid": "u"},
        }
    ]


def deepgram_stt(cls: Any, at: Place) -> Any:
    return cls(api_key="k", base_url=at.ws)


def deepgram_flux(heard: Message | bytes) -> Said:
    if not isinstance(heard, bytes):
        return []
    turn = {"type": "TurnInfo", "transcript": TEXT, "words": [{"word": TEXT, "confidence": 0.9}]}
    return [{**turn, "event": "StartOfTurn"}, {**turn, "event": "EndOfTurn"}]


def elevenlabs(heard: Message) -> Said:
    return [{"message_type": "committed_transcript", "text": TEXT}] if heard.get("commit") else []


def gladia_session(request: Request) -> Reply:
    return Reply.of(201, {"id": "i", "url": f"ws://{request.headers['host']}/live"})


def gladia(heard: Message | bytes) -> Said:
    if isinstance(heard, bytes) or heard.get("type") == "audio_chunk":
        return [{"type": "transcript", "data": {"is_final": True, "utterance": {"language": "en", "text": TEXT}}}]
    return []


def gradium(heard: Message) -> Said:
    match heard["type"]:
        case "setup":
            return [{"type": "ready"}]
        case "flush":
            return [{"type": "text", "text": TEXT}, {"type": "flushed", "flush_id": heard["flush_id"]}]
    return []


def meta(heard: Message | bytes) -> Said:
    if isinstance(heard, bytes):
        return [{"type": "speechComplete", "turnId": "t", "transcript": TEXT}]
    return [{"sessionId": "s"}] if "authorization" in heard else []


def mistral(heard: Message) -> Said:
    if heard["type"] == "input_audio.flush":
        done = {"type": "transcription.done", "model": "m", "text": TEXT, "language": "en"}
        return [{**done, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}]
    return []


def mistral_stt(cls: Any, at: Place) -> Any:
    from mistralai.client import Mistral  # noqa: PLC0415 - an SDK that may be missing

    service = cls(api_key="k")
    service._client = Mistral(api_key="k", server_url=at.url, timeout_ms=int(PATIENCE * 1000))
    return service


def openai(heard: Message) -> Said:
    match heard["type"]:
        case "session.update":
            return [{"type": "session.updated"}]
        case "input_audio_buffer.commit":
            return [{"type": "conversation.item.input_audio_transcription.completed", "transcript": TEXT}]
    return []


def sarvam(heard: Message) -> Said:
    if heard.get("type") != "flush":
        return []
    data = {"request_id": "r", "transcript": TEXT, "language_code": "en-IN"}
    return [{"type": "data", "data": {**data, "metrics": {"audio_duration": 1.0, "processing_latency": 0.1}}}]


def sarvam_stt(cls: Any, at: Place) -> Any:
    from sarvamai import AsyncSarvamAI  # noqa: PLC0415 - an SDK that may be missing
    from sarvamai.environment import SarvamAIEnvironment  # noqa: PLC0415 - an SDK that may be missing

    service = cls(api_key="k")
    there = SarvamAIEnvironment(base=at.url, production=at.ws)
    service._sarvam_client = AsyncSarvamAI(api_subscription_key="k", environment=there)
    return service


def sarvam_realtime(heard: Message | bytes) -> Said:
    if isinstance(heard, bytes) or "audio" in heard or heard.get("event") == "audio":
        return [{"event": "transcript.final", "text": TEXT, "language": "en-IN"}]
    return []


def smallest(heard: Message | bytes) -> Said:
    return [{"transcript": TEXT, "is_final": True, "language": "en"}] if isinstance(heard, bytes) else []


def soniox(heard: Message | bytes) -> Said:
    if isinstance(heard, bytes) or heard.get("type") != "finalize":
        return []
    return [{"tokens": [{"text": TEXT, "is_final": True}, {"text": "<fin>", "is_final": True}]}]


def speechmatics(heard: Message | bytes) -> Said:
    if isinstance(heard, bytes):
        return [{"message": "AudioAdded", "seq_no": 1}]
    match heard["message"]:
        case "StartRecognition":
            return [{"message": "RecognitionStarted", "id": "i", "language_pack_info": {}}]
        case "EndOfStream":
            return [{"message": "EndOfTranscript"}]
        case "ForceEndOfUtterance":
            return [{"message": "AddSegment", "segment": {"transcript": TEXT}, "metadata": {}}]
    return []


def transcribe(heard: bytes) -> Said:
    result = {"IsPartial": False, "Alternatives": [{"Transcript": TEXT}]}
    return [aws_event({"Transcript": {"Results": [result]}}, "TranscriptEvent")]


def transcribe_stt(cls: Any, at: Place) -> Any:
    return rerouted(cls(api_key="k", aws_access_key_id="k", region="us-east-1"), at)


def xai(heard: Message | bytes) -> Said:
    if isinstance(heard, bytes):
        return [{"type": "transcript.partial", "text": TEXT, "is_final": True, "speech_final": True}]
    return []


def zoom(heard: Message | bytes) -> Said:
    if isinstance(heard, bytes):
        return [{"type": "transcription.completed", "transcript": TEXT}]
    match heard["type"]:
        case "session.update":
            return [{"type": "session.updated"}]
        case "session.close":
            return [{"type": "session.closed", "reason": "r"}]
    return []


STT: tuple[Family, ...] = (
    Family(
        "assemblyai-stt",
        "stt",
        "assemblyai.stt:AssemblyAISTTService",
        by_url("api_endpoint_base_url"),
        Talk(assemblyai, greeting=({"type": "Begin", "id": "i", "expires_at": 1},)),
    ),
    Family("cartesia-stt", "stt", "cartesia.stt:CartesiaSTTService", by_url("base_url"), Talk(cartesia)),
    Family(
        "cartesia-turns-stt",
        "stt",
        "cartesia.turns.stt:CartesiaTurnsSTTService",
        by_url(),
        Talk(cartesia_turns, greeting=({"type": "connected", "request_id": "r"},)),
    ),
    Family(
        "deepgram-stt", "stt", "deepgram.stt:DeepgramSTTService", deepgram_stt, Talk(deepgram), requires=("deepgram",)
    ),
    Family(
        "deepgram-flux-stt",
        "stt",
        "deepgram.flux.stt:DeepgramFluxSTTService",
        by_url(),
        Talk(deepgram_flux, greeting=({"type": "Connected", "request_id": "r"},)),
    ),
    Family(
        "elevenlabs-realtime-stt",
        "stt",
        "elevenlabs.stt:ElevenLabsRealtimeSTTService",
        lambda cls, at: rerouted(cls(api_key="k"), at),
        Talk(elevenlabs, greeting=({"message_type": "session_started"},)),
        patched=REROUTED,
    ),
    Family(
        "gladia-stt",
        "stt",
        "gladia.stt:GladiaSTTService",
        lambda cls, at: cls(api_key="k", url=at.url),
        Both(Http(gladia_session), Talk(gladia)),
        silent=frozenset({"hang"}),  # asks in a session of its own that waits for five minutes
    ),
    Family(
        "gradium-stt", "stt", "gradium.stt:GradiumSTTService", by_url("api_endpoint_base_url"), Talk(gradium), cut=2
    ),
    Family("meta-stt", "stt", "meta.stt:MetaSTTService", by_url(), Talk(meta), cut=2),
    Family(
        "mistral-stt",
        "stt",
        "mistral.stt:MistralSTTService",
        mistral_stt,
        Talk(
            mistral,
            greeting=(
                {
                    "type": "session.created",
                    "session": {
                        "request_id": "r",
                        "model": "m",
                        "audio_format": {"encoding": "pcm_s16le", "sample_rate": 16000},
                    },
                },
            ),
        ),
        requires=("mistralai",),
        patched="the attribute with its client",
    ),
    Family(
        "openai-realtime-stt",
        "stt",
        "openai.stt:OpenAIRealtimeSTTService",
        by_url("base_url"),
        Talk(openai, greeting=({"type": "session.created"},)),
        cut=2,
    ),
    Family(
        "sarvam-stt",
        "stt",
        "sarvam.stt:SarvamSTTService",
        sarvam_stt,
        Talk(sarvam),
        requires=("sarvamai",),
        patched="the attribute with its client",
    ),
    Family(
        "sarvam-realtime-stt",
        "stt",
        "sarvam.stt:SarvamRealtimeSTTService",
        by_url("base_url"),
        Talk(sarvam_realtime, greeting=({"event": "session.begin", "request_id": "r"},)),
        requires=("sarvamai",),
    ),
    Family("smallest-stt", "stt", "smallest.stt:SmallestSTTService", by_url("base_url"), Talk(smallest)),
    Family("soniox-stt", "stt", "soniox.stt:SonioxSTTService", by_url(), Talk(soniox)),
    Family(
        "speechmatics-stt",
        "stt",
        "speechmatics.stt:SpeechmaticsSTTService",
        by_url("base_url"),
        Talk(speechmatics),
        requires=("speechmatics.agent_stt",),
        cut=2,
    ),
    Family(
        "together-stt",
        "stt",
        "together.stt:TogetherSTTService",
        by_url("base_url"),
        Talk(openai, greeting=({"type": "session.created"},)),
    ),
    Family(
        "transcribe-stt",
        "stt",
        "aws.stt:AWSTranscribeSTTService",
        transcribe_stt,
        Talk(transcribe, protocol="mqtt"),
        requires=("aiobotocore",),
        patched=REROUTED,
    ),
    Family(
        "xai-stt",
        "stt",
        "xai.stt:XAISTTService",
        by_url("ws_url"),
        Talk(xai, greeting=({"type": "transcript.created"},)),
    ),
    Family("zoom-stt", "stt", "zoom_ai.stt:ZoomAISTTService", by_url(), Talk(zoom, protocol="live-asr"), cut=2),
)
