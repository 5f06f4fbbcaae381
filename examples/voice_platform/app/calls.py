"""One call: a pipeline that is built when somebody picks up the phone, of whoever is well at that moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipecat.frames.frames import EndFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.turns.user_stop.speech_timeout_user_turn_stop_strategy import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from examples.voice_platform.app.providers import stt, thinking, tts
from recloser.integrations.pipecat import attach

if TYPE_CHECKING:
    from pipecat.frames.frames import ErrorFrame, Frame
    from pipecat.transports.base_transport import BaseTransport

__all__ = ["Call", "hold"]


@dataclass
class Call:
    """What came of a call.

    Attributes:
        ears: the provider that heard.
        voice: the provider that spoke.
        cut: why it ended before the caller hung up; empty when it did not.
        errors: how often the pipeline told of an error.
    """

    ears: str = ""
    voice: str = ""
    cut: str = ""
    errors: int = 0


async def hold(sid: str, phone: BaseTransport) -> Call:
    """Holds a conversation until the caller hangs up, or a provider fails.

    Raises:
        PausedError: when nobody can listen, or nobody can speak.
    """
    # [call
    ears, mind, voice = stt.build(), thinking(), tts.build()
    turns = UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.1)])
    user, assistant = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(user_turn_strategies=turns)
    )
    pipeline = Pipeline([phone.input(), ears, user, mind, voice, phone.output(), assistant])
    worker = PipelineWorker(pipeline, enable_rtvi=False)
    attach(worker, call_id=sid, on_failure=dict.fromkeys((*stt.order, *tts.order), "end_call"))
    # call]
    # Nothing else tells of a call whose services could not connect.
    call = Call(_provider(ears), _provider(voice), cut="it could not begin")

    @worker.event_handler("on_pipeline_error")
    async def told(_worker: PipelineWorker, _frame: ErrorFrame) -> None:
        call.errors += 1

    @worker.event_handler("on_pipeline_finished")
    async def finished(_worker: PipelineWorker, frame: Frame) -> None:
        call.cut = str(getattr(frame, "reason", None) or "")

    @phone.event_handler("on_client_disconnected")
    async def hangs_up(_phone: BaseTransport) -> None:
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    return call


def _provider(service: object) -> str:
    return type(service).__module__.split(".")[2]
