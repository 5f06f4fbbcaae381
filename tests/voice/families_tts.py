"""Rows of voices on websockets, and what their providers say: audio for a text, and that it is over for a flush."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tests.voice.family import Family, Place
from tests.voice.provider import BASE64, PCM, Message, Talk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["TTS", "by_url"]

Said = "Iterable[Message | bytes | int]"


def by_url(argument: str = "url", path: str = "", **more: Any) -> Callable[[Any, Place], Any]:
    """Most take their place so."""
    return lambda cls, at: cls(api_key="k", **{argument: at.ws + path}, **more)


def voiced(argument: str = "url", voice: str = "v", **more: Any) -> Callable[[Any, Place], Any]:
    """As most do, with a voice that has no default."""
    return lambda cls, at: by_url(argument, settings=cls.Settings(voice=voice), **more)(cls, at)


def asyncai(heard: Message) -> Said:
    if heard.get("transcript"):
        context = {"context_id": heard["context_id"]}
        return [{**context, "audio": BASE64}, {**context, "audio": BASE64}, {**context, "final": True}]
    return []


def bland(heard: Message) -> Said:
    match heard["type"]:
        case "init":
            return [{"type": "ready", "encoding": "pcm_s16le", "sample_rate": heard["audio"]["sample_rate"]}]
        case "speak":
            return [PCM, PCM]
        case "end_of_turn":
            return [{"type": "utterance_end", "context_id": heard["context_id"]}]
        case "close":
            return [{"type": "done"}]
    return []


def cartesia(heard: Message) -> Said:
    if heard.get("transcript"):
        chunk = {"type": "chunk", "context_id": heard["context_id"], "data": BASE64}
        return [chunk, chunk, {**chunk, "type": "done"}]
    return []


def deepgram(heard: Message) -> Said:
    return {"Speak": [PCM, PCM], "Flush": [{"type": "Flushed"}]}.get(heard["type"], [])


def deepgram_flux(heard: Message) -> Said:
    return {"Speak": [PCM, PCM], "Flush": [{"type": "SpeechMetadata"}]}.get(heard["type"], [])


def elevenlabs(heard: Message) -> Said:
    context = {"contextId": heard.get("context_id")}
    if heard.get("text", "").strip():
        return [{**context, "audio": BASE64}, {**context, "audio": BASE64}]
    if heard.get("close_socket"):
        return [1000]
    return [{**context, "isFinal": True}] if heard.get("close_context") else []


def elevenlabs_dialogue(heard: Message) -> Said:
    context = {"context_id": heard.get("context_id")}
    if heard.get("inputs"):
        return [{**context, "audio": BASE64}, {**context, "audio": BASE64}]
    if heard.get("close_socket"):
        return [1000]
    return [{**context, "is_final": True}] if heard.get("close_context") else []


def fish(heard: bytes) -> Said:
    packing = importlib.import_module("ormsgpack")
    if packing.unpackb(heard)["event"] == "text":
        return [packing.packb({"event": "audio", "audio": PCM})] * 2
    return []


def fish_service(cls: Any, at: Place) -> Any:
    service = cls(api_key="k", settings=cls.Settings(voice="v"))
    service._base_url = at.ws
    return service


def gradium(heard: Message) -> Said:
    context = {"client_req_id": heard.get("client_req_id")}
    match heard["type"]:
        case "setup":
            return [{**context, "type": "ready"}]
        case "text":
            return [{**context, "type": "audio", "audio": BASE64}] * 2
        case "end_of_stream":
            return [{**context, "type": "end_of_stream"}]
    return []


def inworld(heard: Message) -> Said:
    context = {"contextId": heard.get("contextId")}
    if "send_text" in heard:
        return [{"result": {**context, "audioChunk": {"audioContent": BASE64}}}] * 2
    return [{"result": {**context, "contextClosed": {}}}] if "close_context" in heard else []


def neuphonic(heard: Message) -> Said:
    return [{"data": {"audio": BASE64}}] * 2 if heard.get("text") else []


def resembleai(heard: Message) -> Said:
    request = {"request_id": heard["request_id"]}
    audio = {**request, "type": "audio", "audio_content": BASE64}
    return [audio, audio, {**request, "type": "audio_end"}]


def rime(heard: Message) -> Said:
    if not heard.get("text"):
        return []
    chunk = {"type": "chunk", "contextId": heard["contextId"], "data": BASE64}
    return [chunk, chunk, {**chunk, "type": "done"}]


def rime_v1(heard: Message) -> Said:
    context = {"contextId": heard.get("contextId")}
    if "text" in heard:
        return [{**context, "audio": BASE64}] * 2
    return [{**context, "done": {}}] if "flush" in heard else []


def sarvam(heard: Message) -> Said:
    match heard["type"]:
        case "text":
            return [{"type": "audio", "data": {"audio": BASE64, "request_id": "r"}}] * 2
        case "flush":
            return [{"type": "event", "data": {"event_type": "final"}}]
    return []


def smallest(heard: Message) -> Said:
    if not heard.get("text"):
        return []
    chunk = {"status": "chunk", "data": {"audio": BASE64}}
    return [chunk, chunk, {"status": "complete"}]


def soniox(heard: Message) -> Said:
    stream = {"stream_id": heard.get("stream_id")}
    said: list[Message | bytes] = [{**stream, "audio": BASE64}] * 2 if heard.get("text") else []
    return [*said, {**stream, "terminated": True}] if heard.get("text_end") else said


def together(heard: Message) -> Said:
    if heard["type"] != "input_text_buffer.commit":
        return []
    item = "conversation.item.audio_output"
    return [*[{"type": f"{item}.delta", "delta": BASE64}] * 2, {"type": f"{item}.done", "item_id": "i"}]


def xai(heard: Message) -> Said:
    match heard["type"]:
        case "text.delta":
            return [{"type": "audio.delta", "delta": BASE64}] * 2
        case "text.done":
            return [{"type": "audio.done"}]
    return []


TTS: tuple[Family, ...] = (
    Family("asyncai-tts", "tts", "asyncai.tts:AsyncAITTSService", voiced(), Talk(asyncai)),
    Family("bland-tts", "tts", "bland.tts:BlandTTSService", voiced(), Talk(bland), cut=2),
    Family("cartesia-tts", "tts", "cartesia.tts:CartesiaTTSService", voiced(), Talk(cartesia)),
    Family("deepgram-tts", "tts", "deepgram.tts:DeepgramTTSService", voiced("base_url"), Talk(deepgram)),
    Family("deepgram-flux-tts", "tts", "deepgram.flux.tts:DeepgramFluxTTSService", by_url(), Talk(deepgram_flux)),
    Family("elevenlabs-tts", "tts", "elevenlabs.tts:ElevenLabsTTSService", voiced(), Talk(elevenlabs)),
    Family(
        "elevenlabs-dialogue-tts",
        "tts",
        "elevenlabs.dialogue.tts:ElevenLabsDialogueTTSService",
        voiced(),
        Talk(elevenlabs_dialogue),
    ),
    Family(
        "fish-tts",
        "tts",
        "fish.tts:FishAudioTTSService",
        fish_service,
        Talk(fish),
        requires=("ormsgpack",),
        patched="the attribute with its address",
    ),
    Family("gradium-tts", "tts", "gradium.tts:GradiumTTSService", voiced(), Talk(gradium), cut=2),
    Family("inworld-tts", "tts", "inworld.tts:InworldTTSService", voiced(), Talk(inworld)),
    Family("neuphonic-tts", "tts", "neuphonic.tts:NeuphonicTTSService", voiced(), Talk(neuphonic)),
    Family("resembleai-tts", "tts", "resembleai.tts:ResembleAITTSService", voiced(), Talk(resembleai)),
    Family("rime-tts", "tts", "rime.tts:RimeTTSService", voiced(), Talk(rime)),
    Family("rime-non-json-tts", "tts", "rime.tts:RimeNonJsonTTSService", voiced(), Talk(lambda _heard: [PCM])),
    Family(
        "rime-v1-tts",
        "tts",
        "rime.tts_v1:RimeV1TTSService",
        lambda cls, at: cls(
            api_key="k", websocket_url=at.ws, websocket_protocol="json", settings=cls.Settings(voice="v", model="coda")
        ),
        Talk(rime_v1, greeting=({"ready": {"protocol": 1}},), protocol="rime.v1.json"),
        requires=("rime_api",),
    ),
    Family(
        "sarvam-tts",
        "tts",
        "sarvam.tts:SarvamTTSService",
        voiced(voice="anushka"),
        Talk(sarvam),
        requires=("sarvamai",),
    ),
    Family("smallest-tts", "tts", "smallest.tts:SmallestTTSService", voiced("base_url"), Talk(smallest)),
    Family("soniox-tts", "tts", "soniox.tts:SonioxTTSService", voiced(), Talk(soniox)),
    Family("together-tts", "tts", "together.tts:TogetherTTSService", voiced(), Talk(together)),
    Family("xai-tts", "tts", "xai.tts:XAITTSService", voiced("base_url"), Talk(xai)),
)
