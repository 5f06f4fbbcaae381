"""Services that do what a test scripts, under every release of Pipecat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import LLMContextFrame, TTSAudioRawFrame
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pipecat.frames.frames import Frame
    from pipecat.processors.frame_processor import FrameDirection

__all__ = ["AcmeTTSService", "BackupTTSService", "Model", "Script", "failing", "healthy", "nameless", "silent"]

Script = "Callable[[TTSService, str], AsyncIterator[Frame | None]]"


class AcmeTTSService(TTSService):
    """Speech as a test scripts it."""

    def __init__(self, script: Script) -> None:
        super().__init__(
            push_stop_frames=True, push_start_frame=True, settings=TTSSettings(model=None, voice="v", language=None)
        )
        self._stop_frame_timeout_s = 0.1
        self.script = script

    async def run_tts(self, text: str, context_id: str) -> AsyncIterator[Frame | None]:
        async for frame in self.script(self, context_id):
            yield frame


class BackupTTSService(AcmeTTSService):
    """Speech of somebody else."""


async def healthy(_service: TTSService, context_id: str) -> AsyncIterator[Frame | None]:
    yield TTSAudioRawFrame(b"\1" * 320, 16000, 1, context_id=context_id)


async def nameless(_service: TTSService, _context_id: str) -> AsyncIterator[Frame | None]:
    yield TTSAudioRawFrame(b"\1" * 320, 16000, 1)


async def silent(_service: TTSService, _context_id: str) -> AsyncIterator[Frame | None]:
    yield None


async def failing(service: TTSService, _context_id: str) -> AsyncIterator[Frame | None]:
    await service.push_error("HTTP 503")
    yield None


class Model(OpenAILLMService):
    """A model whose answer is a list of frames, and of things to do."""

    def __init__(self, *script: Frame | Callable[[Model], Any]) -> None:
        super().__init__(api_key="k")
        self.script = script

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if not isinstance(frame, LLMContextFrame):
            await super().process_frame(frame, direction)
            return
        for each in self.script:
            await (each(self) if callable(each) else self.push_frame(each))
