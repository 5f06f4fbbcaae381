"""Attached to a pipeline: a failure counts once in a call, by what its frame says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pipecat.frames.frames import Frame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.utils.errors import ErrorCategory

from recloser import PausedError, Policy, Recloser, State
from recloser.integrations.pipecat import CallFailure, attach
from tests.voice.calls import run_call
from tests.voice.scripted import AcmeTTSService, failing, speak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pipecat")


async def test_many_errors_are_one_failure(toolkit: Recloser) -> None:
    """One outage is told of by up to five frames, and by every turn that follows."""
    service = AcmeTTSService(failing("Error: 503", "no audio", ConnectionError("refused")))
    call = await speak(service, toolkit, turns=3)
    assert len(call.errors) >= 3
    assert toolkit.status()["acme"].failures == 1


async def test_the_next_call_counts_again(toolkit: Recloser) -> None:
    """Failures of different calls are different failures, unless the application says that it is one call."""
    for call_id in ("call-1", "call-2", "call-2"):
        await speak(AcmeTTSService(failing("503")), toolkit, call_id=call_id)
    assert toolkit.status()["acme"].failures == 2


async def test_a_provider_that_was_tested_meanwhile_counts_anew(toolkit: Recloser) -> None:
    """In a long call a second outage of the same provider is a second failure."""
    toolkit.circuit("acme", Policy(failures=1, probes=1, cooldown="1h"))

    async def script(service: AcmeTTSService) -> AsyncIterator[Frame | None]:
        await service.push_error("503")
        if toolkit.circuit("acme").state is State.OPEN:
            toolkit.resume("acme", by="ana")
        yield TTSAudioRawFrame(b"\0" * 320, 16000, 1, context_id=service.get_active_audio_context_id())

    await speak(AcmeTTSService(script), toolkit, turns=2)
    assert [str(event.kind) for event in toolkit.events() if event.circuit == "acme"].count("tripped") == 2


async def test_attached_twice_counts_once(toolkit: Recloser, caplog: pytest.LogCaptureFixture) -> None:
    """The first stays, and a line says so; the setup file does not even need a line."""
    worker = PipelineWorker(Pipeline([AcmeTTSService(failing("503"))]), idle_timeout_secs=None)
    first = attach(worker, recloser=toolkit, call_id="first")
    assert attach(worker, recloser=toolkit, call_id="second") is first
    assert "is attached to already" in caplog.text
    caplog.clear()
    assert attach(worker, recloser=toolkit, again=True) is first
    assert not caplog.records

    def twice(worker: PipelineWorker) -> None:
        attach(worker, recloser=toolkit)
        attach(worker, recloser=toolkit, again=True)

    await run_call(AcmeTTSService(failing("503")), kind="tts", settle=0.05, attach=twice)
    assert toolkit.status()["acme"].failures == 1


async def test_two_fleets_may_be_attached(toolkit: Recloser) -> None:
    """Each toolkit has its own count."""
    with Recloser() as other:

        def both(worker: PipelineWorker) -> None:
            attach(worker, recloser=toolkit)
            attach(worker, recloser=other)

        await run_call(AcmeTTSService(failing("503")), kind="tts", settle=0.05, attach=both)
        assert [each.circuit("acme").snapshot().failures for each in (toolkit, other)] == [1, 1]


@pytest.mark.parametrize(
    ("text", "more", "kind"),
    [
        ("Error: HTTP 503", {}, "server"),
        ("Unauthorized", {}, "auth"),
        ("status 429, too many requests", {}, "rate_limit"),
        ("timed out", {}, "timeout"),
        ("who knows", {}, "unknown"),
        ("who knows", {"category": ErrorCategory.CONNECTIVITY}, "connection"),
        ("who knows", {"category": ErrorCategory.QUOTA}, "quota"),
        ("quota_exceeded", {"category": ErrorCategory.AUTHENTICATION}, "quota"),
        ("who knows", {"category": ErrorCategory.UNKNOWN}, "unknown"),
        ("status 400, no such voice", {}, None),
        ("who knows", {"category": ErrorCategory.INVALID_REQUEST}, None),
        ("HTTP 503", {"category": ErrorCategory.APPLICATION}, None),
    ],
)
async def test_a_frame_without_an_exception_is_judged_by_what_it_says(toolkit: Recloser, text, more, kind) -> None:
    """Most error frames carry no exception; a bad request and a fault of the application count for nothing."""
    await speak(AcmeTTSService(failing(text, **more)), toolkit)
    errors = [str(sample.kind) for sample in toolkit.explain("acme").errors]
    assert errors == ([] if kind is None else [kind])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError("slow"), "timeout"),  # never raised
        (RuntimeError("it said HTTP 401"), "auth"),
        (TypeError("a bug"), None),
        (RuntimeError("status 400"), None),
    ],
)
async def test_an_exception_that_says_little_is_helped_by_the_text(toolkit: Recloser, error, kind) -> None:
    """Also one that was never raised; a bug is the application's."""
    await speak(AcmeTTSService(failing(error)), toolkit)
    errors = [str(sample.kind) for sample in toolkit.explain("acme").errors]
    assert errors == ([] if kind is None else [kind])


async def test_our_own_refusal_is_no_failure(toolkit: Recloser) -> None:
    """A client method that is wrapped as well raises PausedError while its circuit is open."""
    paused = PausedError("acme", State.OPEN, "10 failures", "recloser", 0.0, 5.0)
    failures: list[CallFailure] = []
    await speak(AcmeTTSService(failing(paused)), toolkit, on_failure=failures.append)
    assert toolkit.status()["acme"].failures == 0
    assert [failure.circuit for failure in failures] == ["acme"]
