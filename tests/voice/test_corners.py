"""What attaching must not count, miss or break, where a pipeline does something that few people think of."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from pipecat.frames.frames import (
    FunctionCallFromLLM,
    FunctionCallInProgressFrame,
    FunctionCallsStartedFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.parallel_pipeline import ParallelPipeline
from pipecat.pipeline.service_switcher import ServiceSwitcher
from pipecat.services.stt_service import SegmentedSTTService

from recloser import Policy, Recloser, State
from recloser.integrations.calls import Call as CallOf
from recloser.integrations.pipecat import CallFailure, attach, fleet_failover
from recloser.integrations.pipecat.turns import Turns
from tests.faults import Answer, FaultServer
from tests.voice.calls import Call, run_call, running, turn
from tests.voice.corners import AcmeTTSService, BackupTTSService, Model, failing, healthy, nameless, silent
from tests.voice.families import FAMILIES
from tests.voice.release import NEW, VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from pipecat.frames.frames import Frame
    from pipecat.services.tts_service import TTSService

    from tests.voice.corners import Script

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

new = pytest.mark.skipif(not NEW, reason="an older release does not do that")

LONG = 10.0
"""Seconds that nothing here takes."""


def counts(toolkit: Recloser) -> dict[str, tuple[int, int]]:
    """Calls and failures by circuit."""
    return {name: (shot.calls, shot.failures) for name, shot in toolkit.status().items()}


async def speak(
    service: Any, toolkit: Recloser, frames: Sequence[Frame] = (), settle: float = 0.3, **said: Any
) -> Call:
    """A call in which something is said; `settle` seconds are for what must not come."""
    said.setdefault("first_item", LONG)
    async with running(service, "tts", lambda worker: attach(worker, recloser=toolkit, **said)) as (worker, call):
        await worker.queue_frames(list(frames) or turn("tts"))
        await call.until(lambda: bool(call.products or call.errors), settle)
        await call.until(lambda: bool(call.errors), settle)
    return call


async def answer(*script: Frame | Callable[[Model], Any], toolkit: Recloser, first_item: float = 0.2) -> Call:
    """A call in which a model answers, and a time in which a silence would have been noticed."""
    said = {"first_item": first_item, "recloser": toolkit}
    async with running(Model(*script), "llm", lambda worker: attach(worker, **said)) as (worker, call):
        await worker.queue_frames(turn("llm"))
        await call.until(lambda: bool(call.errors), 3 * first_item)
    return call


# -- models ------------------------------------------------------------------------------------------------------------


async def test_a_tool_is_one_answer(toolkit: Recloser) -> None:
    """It is told up and down, when it is called and when it runs, and none of that is an answer of its own."""

    async def calls(model: Model) -> None:
        called = [FunctionCallFromLLM(function_name="f", tool_call_id="1", arguments={}, context=None)]
        await model.broadcast_frame(FunctionCallsStartedFrame, function_calls=called)
        await model.broadcast_frame(
            FunctionCallInProgressFrame,
            function_name="f",
            tool_call_id="1",
            arguments={},
            cancel_on_interruption=False,
        )

    await answer(LLMFullResponseStartFrame(), calls, LLMFullResponseEndFrame(), toolkit=toolkit)
    assert counts(toolkit) == {"openai": (1, 0)}


async def interrupt(model: Model) -> None:
    await model.broadcast_interruption()


@pytest.mark.parametrize(
    "before",
    [
        (),
        (LLMFullResponseStartFrame(), LLMTextFrame("a"), interrupt),
        (LLMFullResponseStartFrame(), interrupt),
        (LLMFullResponseStartFrame(), LLMTextFrame("a"), LLMFullResponseEndFrame()),
    ],
    ids=["unannounced", "interrupted", "interrupted early", "ended"],
)
async def test_a_token_that_comes_late_is_not_waited_on(toolkit: Recloser, before) -> None:
    """What comes after its answer begins no silence, which would be a failure some seconds later."""
    call = await answer(*before, LLMTextFrame("late"), toolkit=toolkit)
    assert [frame.error for frame in call.errors] == []
    assert counts(toolkit)["openai"][1] == 0


async def test_an_answer_just_after_an_interruption_is_waited_on(toolkit: Recloser) -> None:
    """Who is interrupted, and asked again at once, may fail without a word as well."""
    call = await answer(interrupt, LLMFullResponseStartFrame(), toolkit=toolkit)
    assert [frame.error for frame in call.errors] == ["openai: first_item of 200ms has passed"]


# -- voices ------------------------------------------------------------------------------------------------------------


async def test_audio_without_the_name_of_its_turn(toolkit: Recloser) -> None:
    """Some services leave it out, all the more in older releases; it is an answer all the same."""
    await speak(AcmeTTSService(nameless), toolkit)
    assert counts(toolkit) == {"acme": (1, 0)}


async def test_punctuation_may_be_silent(toolkit: Recloser) -> None:
    """Pipecat itself calls that a turn without audio; it is none of the provider's."""
    await speak(AcmeTTSService(silent), toolkit, [TTSSpeakFrame("...!")])
    assert counts(toolkit).get("acme", (0, 0)) == (0, 0)


async def hanging(_service: TTSService, _context_id: str) -> AsyncIterator[Frame | None]:
    await asyncio.sleep(1.0)
    yield None


async def test_speech_just_after_an_interruption_is_waited_on(toolkit: Recloser) -> None:
    """A silence is a failure there as well."""
    service = AcmeTTSService(hanging)
    service._stop_frame_timeout_s = LONG
    async with running(service, "tts", lambda worker: attach(worker, first_item=0.2, recloser=toolkit)) as (w, call):
        await w.queue_frames([InterruptionFrame(), TTSSpeakFrame("hello")])
        assert await call.until(lambda: bool(call.errors), LONG)
        await w.cancel()
    assert [sample.message for sample in toolkit.explain("acme").errors] == ["acme: first_item of 200ms has passed"]


async def test_an_interruption_just_after_speech_was_asked_for(toolkit: Recloser) -> None:
    """What nobody wants to hear any more is not waited on."""

    async def interrupted(service: TTSService, _context_id: str) -> AsyncIterator[Frame | None]:
        await service.queue_frame(InterruptionFrame())
        await asyncio.sleep(LONG)
        yield None

    await speak(AcmeTTSService(interrupted), toolkit, first_item=0.2)
    assert counts(toolkit).get("acme", (0, 0))[1] == 0


async def test_a_request_that_is_told_late(toolkit: Recloser) -> None:
    """One of before an interruption is told after it, and is not waited on; one of after it is."""
    turns = Turns(CallOf(), lambda: toolkit.circuit("acme"), lambda _error: None, first_item=LONG, late=True)

    async def asks(turn: str) -> None:
        turns.begin(turn)

    before = asyncio.ensure_future(asks("before"))
    turns.interrupt()
    await before
    assert not turns.under_way
    await asyncio.sleep(0)
    await asks("after")
    assert turns.under_way
    turns.close()


async def test_a_turn_that_an_interruption_has_emptied(toolkit: Recloser) -> None:
    """It is excused whether Pipecat tells of it before its end or after."""
    failed: list[Exception] = []
    turns = Turns(CallOf(), lambda: toolkit.circuit("acme"), failed.append, first_item=LONG)
    turns.begin("first")
    turns.item("first")
    turns.interrupt()
    turns.begin("second")
    assert turns.excuses("TTS context second completed with no audio")
    turns.end("second", "no audio")
    assert turns.excuses("TTS context second completed with no audio")
    assert failed == []
    turns.close()


async def test_a_process_that_stood_still_blames_nobody(toolkit: Recloser) -> None:
    """It says that it did."""

    async def stands(_service: TTSService, context_id: str) -> AsyncIterator[Frame | None]:
        await asyncio.sleep(0)
        time.sleep(1.0)  # noqa: ASYNC251 - that is the fault
        yield TTSAudioRawFrame(b"\1" * 320, 16000, 1, context_id=context_id)

    await speak(AcmeTTSService(stands), toolkit, first_item=0.3)
    assert counts(toolkit) == {"acme": (1, 0)}
    assert [str(event.kind) for event in toolkit.events()] == ["stalled"]


# -- ears --------------------------------------------------------------------------------------------------------------


class AcmeSTTService(SegmentedSTTService):
    """An ear that never answers."""

    async def run_stt(self, audio: bytes) -> AsyncIterator[Frame | None]:
        await asyncio.sleep(LONG)
        yield None


async def test_a_segment_that_nobody_waits_for(toolkit: Recloser) -> None:
    """A request that was given up is not waited on."""
    service = AcmeSTTService(sample_rate=16000)
    async with running(service, "stt", lambda worker: attach(worker, first_item=0.1, recloser=toolkit)) as (_, call):
        request = asyncio.ensure_future(anext(service.run_stt(b"")))
        await asyncio.sleep(0)
        request.cancel()
        await asyncio.wait({request})
        await call.until(lambda: bool(call.errors), 0.3)
    assert counts(toolkit).get("acme", (0, 0)) == (0, 0)


# -- whose, and how often ----------------------------------------------------------------------------------------------


async def test_a_client_that_is_wrapped_as_well_counts_once(provider: FaultServer, toolkit: Recloser) -> None:
    """The exception that a wrapped call ended with is the one that the error frame carries."""
    family = next(family for family in FAMILIES if family.name == "openai-llm")
    provider.play(Answer(503))
    async with family.service(provider.url) as service:
        completions = service._client.chat.completions
        completions.create = toolkit.circuit("openai")(completions.create)
        await run_call(service, kind="llm", attach=lambda worker: attach(worker, recloser=toolkit))
    assert counts(toolkit) == {"openai": (1, 1)}


@new
async def test_a_switcher_in_a_switcher(toolkit: Recloser) -> None:
    """Whoever tells of it in the end, it is the service inside that failed, and the application is told."""

    async def gives_up(service: TTSService, _context_id: str) -> AsyncIterator[Frame | None]:
        await service.push_error("HTTP 401", force_treat_as_permanent=True)
        yield None

    told: list[CallFailure] = []
    switcher = ServiceSwitcher([ServiceSwitcher([AcmeTTSService(gives_up)])])
    await speak(switcher, toolkit, on_failure=told.append)
    assert [failure.circuit for failure in told] == ["acme"]
    assert counts(toolkit) == {"acme": (1, 1)}


async def test_branches_are_told_apart(toolkit: Recloser) -> None:
    """In a parallel pipeline the one that fails is blamed, and the one that answers praised."""
    branches = ParallelPipeline([AcmeTTSService(failing)], [BackupTTSService(healthy)])
    await speak(branches, toolkit)
    assert counts(toolkit) == {"acme": (1, 1), "backup": (1, 0)}


@new
async def test_a_pipeline_that_is_used_again(toolkit: Recloser) -> None:
    """Who was attached to the call before is deaf."""
    service = AcmeTTSService(healthy)
    await speak(service, toolkit)
    service.script = failing
    await speak(service, toolkit)
    assert counts(toolkit) == {"acme": (2, 1)}


async def test_a_call_that_was_cancelled_fails_nobody_later(toolkit: Recloser) -> None:
    """Nothing that was still waited for is, once the call is over."""
    asked = asyncio.Event()

    async def hangs(_service: TTSService, _context_id: str) -> AsyncIterator[Frame | None]:
        asked.set()
        await asyncio.sleep(LONG)
        yield None

    said = {"first_item": 0.5, "recloser": toolkit}
    service = AcmeTTSService(hangs)
    async with running(service, "tts", lambda worker: attach(worker, **said)) as (worker, call):
        await worker.queue_frames(turn("tts"))
        await asyncio.wait_for(asked.wait(), LONG)
        await worker.cancel()
    await call.until(lambda: bool(call.errors), 0.6)
    assert [sample.message for sample in toolkit.explain("acme").errors] == []


async def test_a_toolkit_that_is_closed_breaks_no_call() -> None:
    """A process that is about to end may still be talking."""
    toolkit = Recloser()
    attached: list[object] = []
    async with running(AcmeTTSService(healthy), "tts", lambda w: attached.append(attach(w, recloser=toolkit))) as (
        worker,
        call,
    ):
        toolkit.close()
        await worker.queue_frames(turn("tts"))
        assert await call.until(lambda: bool(call.products), LONG)


async def test_calls_leave_nothing_behind(toolkit: Recloser) -> None:
    """Neither workers nor services nor attachments, whether their calls failed or not."""
    left: list[weakref.ref[object]] = []

    async def one(script: Script) -> None:
        service = AcmeTTSService(script)
        left.append(weakref.ref(service))
        said = {"first_item": 60, "recloser": toolkit}
        async with running(service, "tts", lambda worker: left.append(weakref.ref(attach(worker, **said)))) as (
            worker,
            call,
        ):
            left.append(weakref.ref(worker))
            await worker.queue_frames(turn("tts"))
            await call.until(lambda: bool(call.products or call.errors), LONG)

    for script in (healthy, failing, silent) * 3:
        await one(script)
    await asyncio.sleep(0)
    gc.collect()
    assert [reference() for reference in left if reference() is not None] == []


@pytest.mark.skipif(VERSION < (1, 12), reason="an older release has no limit for that")
async def test_a_setup_file_that_blocks_is_nobodys_failure(
    toolkit: Recloser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pipeline that is given up before its services were asked to connect says nothing of them."""
    file = tmp_path / "blocks.py"
    file.write_text("import asyncio\nasync def setup_pipeline_worker(worker):\n    await asyncio.sleep(60)\n")
    monkeypatch.setenv("PIPECAT_SETUP_FILES", str(file))
    said = {"setup_timeout_secs": 0.2}
    async with running(AcmeTTSService(healthy), "tts", lambda worker: attach(worker, recloser=toolkit), **said) as (
        worker,
        call,
    ):
        await call.until(worker.has_finished, 1.0)
    assert counts(toolkit).get("acme", (0, 0)) == (0, 0)


# -- switching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paused", [(), ("acme",), ("acme", "backup"), ("acme", "backup", "openai")])
async def test_a_call_begins_with_the_first_that_may(toolkit: Recloser, paused) -> None:
    """And with the first of all where none may: a call that is there is not refused."""
    for name in paused:
        toolkit.circuit(name, Policy(failures=1, cooldown="1h")).record_failure("down")
        assert toolkit.circuit(name).state is State.OPEN
    services = [AcmeTTSService(healthy), BackupTTSService(healthy), Model()]
    strategy = fleet_failover(recloser=toolkit)(services)
    assert services.index(strategy.active_service) == len(paused) % 3


async def test_a_call_that_goes_on_with_another_does_not_end(toolkit: Recloser) -> None:
    """An older release tells the pipeline of an error that a switcher has taken care of, too."""
    services = [AcmeTTSService(failing), BackupTTSService(healthy)]
    switcher = ServiceSwitcher(services, fleet_failover(recloser=toolkit))
    told: list[CallFailure] = []
    said = {"on_failure": told.append, "recloser": toolkit}
    async with running(switcher, "tts", lambda worker: attach(worker, **said)) as (worker, call):
        for _ in range(2):
            await worker.queue_frames(turn("tts"))
            await call.until(lambda: switcher.strategy.active_service is services[1], LONG)
        assert await call.until(lambda: bool(call.products), LONG)
    assert told == []
    assert counts(toolkit) == {"acme": (1, 1), "backup": (1, 0)}
