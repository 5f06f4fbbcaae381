"""The rows of docs/parity.md that are about Pipecat, on real pipelines and services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pipecat.frames.frames import ErrorFrame
from pipecat.pipeline.service_switcher import ServiceSwitcher
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService

from recloser import Policy, State
from recloser.core.policy import Mode
from recloser.integrations.pipecat import FleetFailover, attach
from tests.parity import Line, line
from tests.voice.calls import Call, run_call
from tests.voice.scripted import AcmeTTSService, Tells, ended_by, failing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pipecat.frames.frames import Frame
    from pipecat.pipeline.worker import PipelineWorker
    from pipecat.processors.frame_processor import FrameProcessor

    from recloser.testing import Sandbox
    from tests.voice.calls import Kind

__all__ = ["line"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pipecat"),
    pytest.mark.filterwarnings("ignore:websockets.* is deprecated:DeprecationWarning"),
]


def attached(line: Line, sid: str = "CA1") -> Callable[[PipelineWorker], object]:
    """Runs the line for a worker."""
    return lambda worker: line.run(attach=attach, worker=worker, call_sid=sid)


async def call(service: FrameProcessor, line: Line, sid: str = "CA1", *, kind: Kind = "tts", turns: int = 1) -> Call:
    return await run_call(service, kind=kind, turns=turns, settle=0.05, attach=attached(line, sid))


class TranscriptCollector(Tells):
    """Not one that transcribes, whatever the word in its name suggests."""


async def test_an_error_belongs_to_the_service_that_made_it(recloser: Sandbox, line: Line) -> None:
    """With an exception, without one, and from an object with a name of its own; not of who is only named like one."""
    for sid, error in enumerate((ConnectionError("refused"), "Error: 503", "who knows")):
        service = AcmeTTSService(failing(error))
        service._name = "deepgram's understudy"
        await call(service, line, f"CA{sid}")
    assert recloser.status()["acme"].failures == 3
    await call(TranscriptCollector(ErrorFrame("Error: 503")), line, "CA9")
    assert list(recloser.status()) == ["acme"]


async def test_a_call_counts_once(recloser: Sandbox, line: Line) -> None:
    """Whatever it reports, and wherever it is picked up again; the next call is another."""
    for sid in ("CA1", "CA1", "CA2"):
        made = await call(AcmeTTSService(failing("503", "no audio", ConnectionError())), line, sid, turns=2)
        assert len(made.errors) > 1
    assert recloser.status()["acme"].failures == 2


class DeepgramSTTService(STTService):
    """Ears that fail at the first sound."""

    def __init__(self) -> None:
        super().__init__(settings=STTSettings(model=None, language=None))

    async def run_stt(self, audio: bytes) -> AsyncIterator[Frame | None]:
        await self.push_error("Error: 503")
        yield None


async def test_a_call_ends_when_its_ears_fail(recloser: Sandbox, line: Line) -> None:
    """These ears, and no others; only observed, they count and end nothing."""
    assert ended_by(await call(DeepgramSTTService(), line, kind="stt")) == "deepgram has failed"
    assert recloser.status()["deepgram"].failures == 1
    assert ended_by(await call(AcmeTTSService(failing("503")), line)) is None
    recloser.set_policy("deepgram", by="ana", mode=Mode.OBSERVE)
    assert ended_by(await call(DeepgramSTTService(), line, kind="stt")) is None
    assert recloser.status()["deepgram"].failures == 2


async def test_a_call_goes_on_with_other_ears(recloser: Sandbox, line: Line) -> None:
    """The first failure of a call moves it on, and the next call begins with whoever is well."""

    class Soniox(AcmeTTSService):
        """Down."""

    class Deepgram(AcmeTTSService):
        """Well."""

    recloser.circuit("soniox", Policy(failures=2))
    begun = []
    for sid in ("CA1", "CA2", "CA3"):
        soniox, deepgram = Soniox(failing("Error: 503")), Deepgram()
        made = line.run(ServiceSwitcher=ServiceSwitcher, FleetFailover=FleetFailover, soniox=soniox, deepgram=deepgram)
        ears = made["ears"]
        begun.append(ears.strategy.active_service)
        heard = await run_call(
            ears, kind="tts", turns=2, settle=0.1, attach=lambda worker, sid=sid: attach(worker, call_id=sid)
        )
        assert (ears.strategy.active_service, heard.reported) == (deepgram, [])
        assert heard.products
    assert [type(each) for each in begun] == [Soniox, Soniox, Deepgram]
    assert (recloser.circuit("soniox").state, recloser.status()["deepgram"].failures) == (State.OPEN, 0)
