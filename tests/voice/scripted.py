"""Services that do what a test says, and calls in which they speak."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, TTSSettings
from pipecat.services.tts_service import TTSService

from recloser.integrations.pipecat import attach
from tests.voice.calls import Call, run_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from recloser import Recloser

__all__ = ["AcmeTTSService", "Dribbles", "Tells", "counts", "ended_by", "failing", "speak"]


class AcmeTTSService(TTSService):
    """Speech of a provider that Pipecat does not know, as a test scripts it."""

    def __init__(self, script: Callable[[AcmeTTSService], AsyncIterator[Frame | None]] | None = None) -> None:
        super().__init__(
            push_stop_frames=True, push_start_frame=True, settings=TTSSettings(model=None, voice="v", language=None)
        )
        self._stop_frame_timeout_s = 0.1
        self.script = script

    async def run_tts(self, text: str, context_id: str) -> AsyncIterator[Frame | None]:
        if self.script is None:
            yield TTSAudioRawFrame(b"\0" * 320, 16000, 1, context_id=context_id)
        else:
            async for frame in self.script(self):
                yield frame


class Tells(FrameProcessor):
    """Pushes error frames, made by hand, for frames that a test queues."""

    def __init__(self, *errors: ErrorFrame) -> None:
        super().__init__()
        self.errors = list(errors)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, TTSSpeakFrame | TTSAudioRawFrame):
            for error in self.errors:
                await self.push_frame(error, FrameDirection.UPSTREAM)
            self.errors.clear()


def failing(*errors: Exception | str, **more: Any) -> Callable[[AcmeTTSService], AsyncIterator[Frame | None]]:
    """A script of speech that tells of errors instead."""

    async def script(service: AcmeTTSService) -> AsyncIterator[Frame | None]:
        for error in errors:
            exception = error if isinstance(error, Exception) else None
            await service.push_error(str(error), exception=exception, **more)
        yield TTSAudioRawFrame(b"\0" * 320, 16000, 1, context_id=service.get_active_audio_context_id())

    return script


async def speak(service: FrameProcessor, toolkit: Recloser, turns: int = 1, **said: Any) -> Call:
    """A call in which something is said."""
    said.setdefault("first_item", 5)
    return await run_call(
        service, kind="tts", turns=turns, settle=0.05, attach=lambda worker: attach(worker, recloser=toolkit, **said)
    )


def ended_by(call: Call) -> object:
    """Why the call ended; None when it was the test."""
    return next(frame.reason for frame in call.frames if isinstance(frame, EndFrame))


def counts(toolkit: Recloser) -> dict[str, tuple[int, int]]:
    """Calls and failures by circuit."""
    return {name: (shot.calls, shot.failures) for name, shot in toolkit.status().items()}


class Dribbles(LLMService):
    """A model that begins, and then says nothing for as long as the call lasts."""

    def __init__(self, *tokens: str, ends: bool = False) -> None:
        given = {field.name: None for field in dataclasses.fields(LLMSettings) if field.name != "extra"}
        super().__init__(settings=LLMSettings(**given))
        self.tokens, self.ends = tokens, ends

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if type(frame).__name__ != "LLMContextFrame":
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        for token in self.tokens:
            await self.push_frame(LLMTextFrame(token))
        if self.ends:
            await self.push_frame(LLMFullResponseEndFrame())
