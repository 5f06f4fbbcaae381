"""All services of Pipecat that can be pointed to a provider on this machine, and those that cannot."""

from __future__ import annotations

from tests.voice.families_http import HTTP
from tests.voice.families_llm import LLM
from tests.voice.families_stt import STT
from tests.voice.families_tts import TTS

__all__ = ["FAMILIES", "LEFT_OUT"]

FAMILIES = (*LLM, *HTTP, *STT, *TTS)

LEFT_OUT: dict[str, str] = {}
