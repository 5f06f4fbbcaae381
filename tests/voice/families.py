"""All services of Pipecat that can be pointed to a provider on this machine, and those that cannot."""

from __future__ import annotations

from tests.voice.families_http import HTTP
from tests.voice.families_llm import LLM
from tests.voice.families_realtime import REALTIME
from tests.voice.families_stt import STT
from tests.voice.families_tts import TTS

__all__ = ["FAMILIES", "LEFT_OUT"]

FAMILIES = (*LLM, *REALTIME, *HTTP, *STT, *TTS)

_BASE = "a base of others"
_GRPC = "gRPC with TLS and Google's credentials alone"
_LOCAL = "a model on this machine, no provider"
_NATIVE = "a native SDK with a binary protocol of its own, on TLS"
_RIVA = "Riva's gRPC, which nothing here speaks"
_WSS = "a websocket with TLS, whatever address it is given"
_SAGEMAKER = "an SDK of AWS with HTTP/2 on TLS alone, for Python 3.12 and later"

LEFT_OUT: dict[str, str] = {
    "AudioContextTTSService": _BASE,
    "AudioContextWordTTSService": _BASE,
    "BaseOpenAILLMService": _BASE,
    "BaseWhisperSTTService": _BASE,
    "DeepgramFluxSTTBase": _BASE,
    "DeepgramFluxTTSBase": _BASE,
    "ElevenLabsTTSBase": _BASE,
    "GoogleBaseTTSService": _BASE,
    "InterruptibleTTSService": _BASE,
    "InterruptibleWordTTSService": _BASE,
    "LLMService": _BASE,
    "STTService": _BASE,
    "SegmentedSTTService": _BASE,
    "TTSService": _BASE,
    "WebsocketLLMService": _BASE,
    "WebsocketSTTService": _BASE,
    "WebsocketTTSService": _BASE,
    "WebsocketWordTTSService": _BASE,
    "WordTTSService": _BASE,
    "_BaseOpenAIResponsesLLMService": _BASE,
    "AzureHttpTTSService": _NATIVE,
    "AzureSTTService": _NATIVE,
    "AzureTTSService": _NATIVE,
    "AzureVoiceLiveLLMService": "its address is made wss:// whatever is given, and its protocol is long",
    "GeminiLiveLLMService": _WSS,
    "GeminiSTTService": _WSS,
    "GeminiLiveVertexLLMService": "credentials of Google are exchanged for a token first",
    "GoogleVertexLLMService": "credentials of Google are exchanged for a token first",
    "GoogleHttpTTSService": _GRPC,
    "GoogleSTTService": _GRPC,
    "GoogleTTSService": _GRPC,
    "NvidiaSTTService": _RIVA,
    "NvidiaSegmentedSTTService": _RIVA,
    "NvidiaTTSService": _RIVA,
    "OpenAILiveLLMService": "sessions that are made by HTTP and joined by WebRTC or a websocket of a long protocol",
    "AWSNovaSonicLLMService": _SAGEMAKER,
    "DeepgramFluxSageMakerSTTService": _SAGEMAKER,
    "DeepgramFluxSageMakerTTSService": _SAGEMAKER,
    "DeepgramSageMakerSTTService": _SAGEMAKER,
    "DeepgramSageMakerTTSService": _SAGEMAKER,
    "NvidiaSageMakerHTTPTTSService": _SAGEMAKER,
    "NvidiaSageMakerWebsocketSTTService": _SAGEMAKER,
    "NvidiaSageMakerWebsocketTTSService": _SAGEMAKER,
    "FunASRSTTService": _LOCAL,
    "KokoroTTSService": _LOCAL,
    "MoonshineSTTService": _LOCAL,
    "PiperHttpTTSService": "a server on this machine, in a module that needs its model",
    "PiperTTSService": _LOCAL,
    "PocketTTSService": _LOCAL,
    "WhisperSTTService": _LOCAL,
    "WhisperSTTServiceMLX": _LOCAL,
}
