"""What becomes of a call whose provider fails, and attaching without a line of code."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.workers.runner import WorkerRunner

from recloser import Policy, Recloser
from recloser.core.policy import Mode
from recloser.integrations.pipecat import Attachment, CallFailure, attach, setup_file
from tests.voice.calls import run_call
from tests.voice.scripted import AcmeTTSService, ended_by, failing, speak

if TYPE_CHECKING:
    from pipecat.processors.frame_processor import FrameProcessorSetup

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pipecat")


async def test_the_call_goes_on_unless_it_is_said_otherwise(toolkit: Recloser) -> None:
    """One error of a provider is not the end of a call."""
    call = await speak(AcmeTTSService(failing("503")), toolkit, turns=2)
    assert len(call.products) == 2


@pytest.mark.parametrize("on_failure", ["end_call", {"acme": "end_call"}, {"stt": "continue", "a*": "end_call"}])
async def test_the_call_ends_after_what_is_queued(toolkit: Recloser, on_failure) -> None:
    """A call whose provider fails is not kept in silence; what was on its way is still said."""
    call = await speak(AcmeTTSService(failing("503")), toolkit, turns=1, on_failure=on_failure)
    assert ended_by(call) == "acme has failed"
    assert call.products


async def test_a_call_that_cannot_begin_ends_at_once(toolkit: Recloser) -> None:
    """What cannot connect would be tried for seconds, while somebody has picked up the phone."""

    class Never(AcmeTTSService):
        async def setup(self, setup: FrameProcessorSetup) -> None:
            await super().setup(setup)
            await self.push_error("HTTP 503")
            await anyio.sleep_forever()

    worker = PipelineWorker(Pipeline([Never()]), enable_rtvi=False, idle_timeout_secs=None)
    attach(worker, recloser=toolkit, names={Never: "acme"}, on_failure="end_call")
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    with anyio.fail_after(10):  # Pipecat itself gives up after 20 s
        await runner.run()
    assert toolkit.circuit("acme").snapshot().failures == 1


@pytest.mark.parametrize("on_failure", ["continue", {"other": "end_call"}, {"acme": "continue", "*": "end_call"}])
async def test_the_call_of_others_goes_on(toolkit: Recloser, on_failure) -> None:
    """Each circuit has its own policy."""
    call = await speak(AcmeTTSService(failing("503")), toolkit, on_failure=on_failure)
    assert ended_by(call) is None


async def test_a_function_is_told_once(toolkit: Recloser, caplog: pytest.LogCaptureFixture) -> None:
    """It may be async, and it may raise."""
    told: list[CallFailure] = []

    async def apologise(failure: CallFailure) -> None:
        told.append(failure)
        raise RuntimeError("no apology")

    service = AcmeTTSService(failing("HTTP 503", "again"))
    call = await speak(service, toolkit, turns=2, on_failure={"acme": apologise}, call_id="call-17")
    (failure,) = told
    assert (failure.call_id, failure.circuit, str(failure.outcome)) == ("call-17", "acme", "failure (server, 503)")
    assert failure.frame.processor is service
    assert "on_failure of acme raised" in caplog.text
    assert call.ended


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.OFF])
async def test_a_circuit_that_is_only_observed_ends_no_call(toolkit: Recloser, mode: Mode) -> None:
    """Switched off, it does nothing at all."""
    toolkit.circuit("acme", Policy(mode=mode))
    call = await speak(AcmeTTSService(failing("503")), toolkit, on_failure="end_call")
    assert ended_by(call) is None
    assert toolkit.status()["acme"].failures == (mode is Mode.OBSERVE)


async def test_a_bad_request_ends_no_call(toolkit: Recloser) -> None:
    """It is the application's to handle."""
    call = await speak(AcmeTTSService(failing("status 400")), toolkit, on_failure="end_call")
    assert ended_by(call) is None


@pytest.fixture
def path() -> str:
    """What the shell puts into PIPECAT_SETUP_FILES."""
    command = [sys.executable, "-W", "ignore", "-m", "recloser.integrations.pipecat"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


async def test_the_setup_file_attaches(recloser, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipecat runs it for every worker; what the application attached stays."""
    assert path == setup_file.__file__
    monkeypatch.setenv("PIPECAT_SETUP_FILES", path)
    await run_call(AcmeTTSService(failing("503")), kind="tts", settle=0.05)
    assert recloser.status()["acme"].failures == 1
    attached: list[Attachment] = []
    await run_call(
        AcmeTTSService(failing("503")),
        kind="tts",
        settle=0.05,
        attach=lambda worker: attached.append(attach(worker, call_id="mine")),
    )
    assert recloser.status()["acme"].failures == 2
    assert repr(attached[0]) == "Attachment(call_id='mine')"
