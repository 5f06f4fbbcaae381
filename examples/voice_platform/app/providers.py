"""Who hears, thinks and speaks in a call, when a provider is given a rest, and who answers instead."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.elevenlabs.tts import ElevenLabsTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.soniox.stt import SonioxSTTService

from recloser import Policy, circuit, fallback

if TYPE_CHECKING:
    from pipecat.services.stt_service import STTService
    from pipecat.services.tts_service import TTSService

__all__ = ["POLICY", "PROVIDERS", "stt", "thinking", "tts"]

PROVIDERS = os.environ.get("PROVIDERS_URL", "http://127.0.0.1:1")
"""Where all of them are tonight; by day each is where its SDK looks for it."""

_WS = PROVIDERS.replace("http", "ws", 1)
_KEY = "no key is needed here"

# [providers
# By day it is ten failures in five minutes, and a quarter of an hour.
POLICY = Policy(failures=3, window="60s", cooldown="10s", cooldown_growth=1.5, probe_timeout="10s")


def soniox() -> STTService:
    return SonioxSTTService(api_key=_KEY, url=f"{_WS}/soniox")


def deepgram() -> STTService:
    return DeepgramSTTService(api_key=_KEY, base_url=f"{_WS}/deepgram")


def elevenlabs() -> TTSService:
    return ElevenLabsTTSService(
        api_key=_KEY, url=f"{_WS}/elevenlabs", settings=ElevenLabsTTSService.Settings(voice="v")
    )


def cartesia() -> TTSService:
    return CartesiaTTSService(api_key=_KEY, url=f"{_WS}/cartesia", settings=CartesiaTTSService.Settings(voice="v"))


for name in ("soniox", "deepgram", "elevenlabs", "cartesia", "openai"):
    circuit(name, POLICY)

stt = fallback(soniox=soniox, deepgram=deepgram)
tts = fallback(elevenlabs=elevenlabs, cartesia=cartesia)
# providers]


def thinking() -> OpenAILLMService:
    """The mind of one call."""
    settings = OpenAILLMService.Settings(system_instruction="You sell lightning rods. Be brief.")
    return OpenAILLMService(api_key=_KEY, base_url=f"{PROVIDERS}/openai/v1", settings=settings)
