"""A call in a real pipeline around one service: what goes in, what comes out, and what is reported."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from tests.voice.release import NEW, PipelineWorker, pipeline_worker, run_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["PRODUCTS", "Call", "Kind", "barge_in", "run_call", "running", "turn"]

Kind = Literal["stt", "tts", "llm"]

PRODUCTS: dict[Kind, tuple[type[Frame], ...]] = {
    "stt": (TranscriptionFrame,),
    "tts": (TTSAudioRawFrame,),
    "llm": (LLMTextFrame,),
}
"""What a service of a kind is there to bring about."""

SPEECH = bytes(range(256)) * 25  # 200 ms at 16 kHz


@dataclass
class Call:
    """What came of a call.

    Attributes:
        frames: what the service sent on, in order.
        errors: what it sent back, in order.
        reported: what the worker was told with `on_pipeline_error`.
        ended: whether the call ended as it should, by its EndFrame.
    """

    kind: Kind
    frames: list[Frame] = field(default_factory=list)
    errors: list[ErrorFrame] = field(default_factory=list)
    reported: list[ErrorFrame] = field(default_factory=list)
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def products(self) -> list[Frame]:
        """The frames that the service is there for."""
        return [frame for frame in self.frames if isinstance(frame, PRODUCTS[self.kind])]

    async def until(self, condition: Callable[[], bool], bound: float) -> bool:
        """Wait for what frames bring about; False if that is not so within `bound` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(bound):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        return condition()


class Tap(FrameProcessor):
    """Notes frames that pass in one direction."""

    def __init__(self, call: Call, note: list[Any], direction: FrameDirection, of: type[Frame] = Frame) -> None:
        super().__init__()
        self._call, self._note, self._direction, self._of = call, note, direction, of

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is self._direction and isinstance(frame, self._of):
            self._note.append(frame)
            self._call.changed.set()
        await self.push_frame(frame, direction)
        if isinstance(frame, TTSStoppedFrame) and direction is FrameDirection.DOWNSTREAM and not NEW:
            # Who plays what is said tells so, and a voice of an older release waits for it.
            await self.push_frame(BotStoppedSpeakingFrame(), FrameDirection.UPSTREAM)


def turn(kind: Kind) -> list[Frame]:
    """What a caller brings about once: a sentence that was heard, to be answered or to be said."""
    if kind == "tts":
        return [TTSSpeakFrame("Hello there.")]
    if kind == "llm":
        # Some models hear, too; the others let it pass.
        heard = InputAudioRawFrame(SPEECH, 16000, 1)
        return [heard, LLMContextFrame(LLMContext([{"role": "user", "content": "Hello"}]))]
    return [
        VADUserStartedSpeakingFrame(),
        InputAudioRawFrame(SPEECH, 16000, 1),
        VADUserStoppedSpeakingFrame(),
    ]


@contextlib.asynccontextmanager
async def running(
    service: FrameProcessor, kind: Kind, attach: Callable[[PipelineWorker], object] | None, **params: Any
) -> AsyncIterator[tuple[PipelineWorker, Call]]:
    """A call that runs; at the end of the block it gets its EndFrame."""
    call = Call(kind)
    before = Tap(call, call.errors, FrameDirection.UPSTREAM, ErrorFrame)
    after = Tap(call, call.frames, FrameDirection.DOWNSTREAM)
    worker = pipeline_worker(Pipeline([before, service, after]), **params)
    finished = asyncio.Event()

    @worker.event_handler("on_pipeline_error")
    async def reported(_worker: PipelineWorker, frame: ErrorFrame) -> None:
        call.reported.append(frame)

    @worker.event_handler("on_pipeline_finished")
    async def ended(_worker: PipelineWorker, frame: Frame) -> None:
        call.ended = isinstance(frame, EndFrame)
        call.changed.set()
        finished.set()

    if attach is not None:
        attach(worker)
    running = asyncio.create_task(run_worker(worker))
    try:
        yield worker, call
        # In an older release a voice that failed blocks an EndFrame, and nothing overtakes that.
        await (worker.queue_frame(EndFrame()) if NEW or not call.errors else worker.cancel())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(finished.wait(), 2.0)
    finally:
        if not finished.is_set():
            await worker.cancel()
        await asyncio.wait({running}, timeout=5.0)
        running.cancel()
        await asyncio.wait({running})


async def run_call(
    service: FrameProcessor,
    *,
    kind: Kind,
    turns: int = 1,
    attach: Callable[[PipelineWorker], object] | None = None,
    bound: float = 2.0,
    settle: float = 0.0,
) -> Call:
    """Run a call of some turns; a turn is over with the first new product or error.

    Args:
        service: what is tried.
        kind: of service.
        turns: one after the other.
        attach: is given the worker before it runs.
        bound: seconds that a turn may take; a longer one is silent.
        settle: seconds to stay for what else comes of a turn.
    """
    async with running(service, kind, attach) as (worker, call):
        for _ in range(turns):
            seen = len(call.products), len(call.errors)
            for wait in (bound / 2, bound / 2) if kind == "stt" else (bound,):
                # Who is not heard says it again: some services drop what comes before a session is ready.
                await worker.queue_frames(turn(kind))
                if await call.until(lambda seen=seen: seen != (len(call.products), len(call.errors)), wait):
                    break
            await asyncio.sleep(settle)
    return call


async def barge_in(
    service: FrameProcessor,
    *,
    kind: Kind,
    times: int = 1,
    attach: Callable[[PipelineWorker], object] | None = None,
    bound: float = 2.0,
) -> Call:
    """Run a call whose caller interrupts, `times` times, as soon as the service has begun to answer.

    A service that never begins is interrupted after `bound` seconds, as callers do who are tired of waiting.
    """
    async with running(service, kind, attach) as (worker, call):
        for _ in range(times):
            seen = len(call.products)
            await worker.queue_frames(turn(kind))
            await call.until(lambda seen=seen: len(call.products) > seen, bound)
            done = sum(isinstance(frame, InterruptionFrame) for frame in call.frames)
            await worker.queue_frame(InterruptionFrame())
            await call.until(
                lambda done=done: sum(isinstance(frame, InterruptionFrame) for frame in call.frames) > done, bound
            )
    return call
