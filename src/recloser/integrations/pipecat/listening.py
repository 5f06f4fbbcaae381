"""Which frames of a service tell that a turn began, that it is answered, and that it is over."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    ErrorFrame,
    FunctionCallsStartedFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    LLMThoughtTextFrame,
    StopFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import SegmentedSTTService, STTService
from pipecat.services.tts_service import TTSService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from recloser.integrations.pipecat.turns import Turns

__all__ = ["listen", "listen_for_drops"]

_OVER: Final = (EndFrame, StopFrame, CancelFrame)

_ERROR: Final = 2
"""The place of the error in ``_maybe_try_reconnect(error_message, report_error, error)``."""

_TOKENS: Final = (LLMTextFrame, LLMThoughtTextFrame, TTSAudioRawFrame)
"""What a model answers; audio, where it speaks by itself."""


def listen(processor: Any, turns_of: Callable[..., Turns], first_item: float | None) -> Turns | None:
    """Has the events of ``processor`` tell its turns; None for one that has no turns.

    Args:
        processor: of the pipeline.
        turns_of: makes its turns, given their ``first_item`` and ``idles``.
        first_item: how long it may take to a first item.
    """
    if isinstance(processor, TTSService):
        return _speech(processor, turns_of(first_item=first_item, late=True))
    if isinstance(processor, LLMService):
        return _tokens(processor, turns_of(first_item=first_item, idles=True))
    if isinstance(processor, SegmentedSTTService):
        return _segments(processor, turns_of(first_item=first_item))
    if isinstance(processor, STTService):
        # Silence, noise and music are answered with nothing: only who says so in the policy wants that counted.
        return _transcripts(processor, turns_of(first_item=None))
    return None


def _speech(service: Any, turns: Turns) -> Turns:
    async def requests(_service: Any, context_id: str, text: str) -> None:
        # Punctuation alone is rightly answered with silence.
        if any(character.isalnum() for character in text):
            turns.begin(str(context_id))
        else:
            turns.may_be_silent(str(context_id))

    def context_of(frame: Any) -> str:
        # Some services leave it out: then it is that of what is played now.
        return str(frame.context_id or service.get_active_audio_context_id())

    async def pushes(_service: Any, frame: Any) -> None:
        if isinstance(frame, TTSAudioRawFrame):
            turns.item(context_of(frame))
        elif isinstance(frame, TTSStoppedFrame):
            turns.end(context_of(frame), "a turn of speech ended without audio")

    service.add_event_handler("on_tts_request", requests)
    service.add_event_handler("on_before_push_frame", pushes)
    return _interruptible(service, turns)


def _tokens(service: Any, turns: Turns) -> Turns:
    number = 0

    async def pushes(_service: Any, frame: Any) -> None:
        nonlocal number
        if isinstance(frame, LLMFullResponseStartFrame):
            number += 1
            turns.begin(f"response {number}")
            return
        response = f"response {number}"
        if isinstance(frame, FunctionCallsStartedFrame):
            if turns.is_waiting(response):  # it is told twice, up and down
                turns.item(response)
            turns.end(response)  # how long a tool takes is not the model's business
        elif isinstance(frame, _TOKENS):
            turns.item(response)
        elif isinstance(frame, LLMFullResponseEndFrame):
            turns.end(response)  # a model may have nothing to say

    async def times_out(_service: Any) -> None:
        # Some services tell nothing else of it, and the turn is over when this is told.
        turns.failed(TimeoutError("the completion has timed out"))

    service.add_event_handler("on_completion_timeout", times_out)
    service.add_event_handler("on_before_push_frame", pushes)
    return _interruptible(service, turns)


def _interruptible(service: Any, turns: Turns) -> Turns:
    async def interrupted(_service: Any, frame: Any) -> None:
        if isinstance(frame, InterruptionFrame):
            turns.interrupt()
        elif isinstance(frame, _OVER):
            turns.drop()

    service.add_event_handler("on_before_process_frame", interrupted)
    service.add_event_handler("on_before_push_frame", interrupted)
    return turns


def _segments(service: Any, turns: Turns) -> Turns:
    """A service that sends one request for each thing said; what it makes of silence is an answer too."""
    transcribe, numbers = service.run_stt, itertools.count()

    async def run_stt(audio: bytes) -> AsyncIterator[Any]:
        segment = f"segment {next(numbers)}"
        turns.begin(segment)
        try:
            async for frame in transcribe(audio):
                if isinstance(frame, ErrorFrame):
                    turns.end(segment)
                yield frame
            if turns.is_waiting(segment):
                turns.item(segment)
        finally:
            turns.end(segment)  # whatever raised is told by whoever catches it

    service.run_stt = run_stt
    return _ending(service, turns)


def _transcripts(service: Any, turns: Turns) -> Turns:
    said, heard = "what was said", False

    async def pushes(_service: Any, frame: Any) -> None:
        nonlocal heard
        if isinstance(frame, TranscriptionFrame | InterimTranscriptionFrame):
            heard = True
            waited = turns.is_waiting(said)
            if isinstance(frame, InterimTranscriptionFrame):
                turns.end(said)
            elif waited:
                turns.item(said)
                turns.end(said)
            else:
                turns.answered()

    async def processes(_service: Any, frame: Any) -> None:
        nonlocal heard
        if isinstance(frame, VADUserStartedSpeakingFrame):
            heard = False
            turns.end(said)
        elif isinstance(frame, VADUserStoppedSpeakingFrame) and not heard:
            turns.begin(said)

    service.add_event_handler("on_before_push_frame", pushes)
    service.add_event_handler("on_before_process_frame", processes)
    return _ending(service, turns)


def _ending(service: Any, turns: Turns) -> Turns:
    async def ends(_service: Any, frame: Any) -> None:
        if isinstance(frame, _OVER):
            turns.drop()

    service.add_event_handler("on_before_process_frame", ends)
    return turns


def listen_for_drops(service: Any, turns: Turns, dropped: Callable[[Exception], None]) -> None:
    """Has ``service`` tell of a websocket that broke in the middle of a turn.

    Pipecat connects again, and as long as that works it tells nobody; what was being said is lost all the same. A
    connection that breaks between turns, or that was closed in order, is nobody's loss. Hearing has no turns: it is
    listening all the time.
    """
    again = getattr(service, "_maybe_try_reconnect", None)
    if again is None:
        return

    async def maybe_try_reconnect(*args: Any, **kwargs: Any) -> Any:
        error = kwargs.get("error", args[_ERROR] if len(args) > _ERROR else None)
        amid = turns.under_way or isinstance(service, STTService)
        if isinstance(error, Exception) and amid and not getattr(service, "_disconnecting", False):
            dropped(error)
        return await again(*args, **kwargs)

    service._maybe_try_reconnect = maybe_try_reconnect  # noqa: SLF001 - there is no event for it
