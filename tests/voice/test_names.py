"""Which circuit an error of a pipeline counts for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pipecat.frames.frames import ErrorFrame, Frame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.tts_service import TTSService

from recloser import ConfigurationError, Outcome, Recloser
from recloser.integrations.pipecat import attach
from recloser.integrations.pipecat.naming import provider_of
from tests.voice.families import FAMILIES
from tests.voice.scripted import AcmeTTSService, Tells, counts, failing, speak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pipecat")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_service_of_pipecat_has_a_circuit_by_itself(family) -> None:
    """Named after its provider, whatever the class is called."""
    try:
        cls = family.load()
    except ImportError:
        pytest.skip("its SDK is not installed")
    assert provider_of(object.__new__(cls)) == family.circuit


@pytest.mark.parametrize(
    ("name", "bases", "provider"),
    [
        ("AcmeTTSService", (TTSService,), "acme"),
        ("AcmeHttpTTSService", (TTSService,), "acme"),
        ("BigBoxLLM", (LLMService,), "bigbox"),
        ("OurOwnService", (OpenAILLMService,), "openai"),
        ("TTSService", (TTSService,), None),
        ("Greeter", (FrameProcessor,), None),
    ],
)
def test_a_service_of_the_application_is_named_after_its_class(name, bases, provider) -> None:
    """One that derives from a service of Pipecat's talks to the same provider."""
    cls = type(name, bases, {"__module__": "app.voices", "run_tts": None})
    assert provider_of(object.__new__(cls)) == provider


def test_a_telephone_is_named_after_its_carrier() -> None:
    """A websocket is anybody's; what is spoken on it is Twilio's."""

    class Params:
        serializer: object = type("TwilioFrameSerializer", (), {"__module__": "pipecat.serializers.twilio"})()

    transport = type("FastAPIWebsocketInputTransport", (), {"__module__": "pipecat.transports.websocket.fastapi"})()
    assert provider_of(transport) is None
    transport._params = Params
    assert provider_of(transport) == "twilio"
    Params.serializer = type("ProtobufFrameSerializer", (), {"__module__": "pipecat.serializers.protobuf"})()
    assert provider_of(transport) is None
    daily = type("DailyInputTransport", (), {"__module__": "pipecat.transports.daily.transport"})()
    assert provider_of(daily) == "daily"


@pytest.mark.parametrize("key", ["class", "name", "qualified", "object", "base"])
async def test_names_in_code(toolkit: Recloser, key: str) -> None:
    """A class, its name or one object of it is told another circuit."""
    service = AcmeTTSService(failing(ConnectionError("refused")))
    qualified = f"{AcmeTTSService.__module__}.AcmeTTSService"
    said = {"class": AcmeTTSService, "name": "AcmeTTSService", "qualified": qualified, "object": service}
    await speak(service, toolkit, names={said.get(key, "TTSService"): "voice"})
    assert counts(toolkit) == {"voice": (2, 1)}


@pytest.fixture
def ruled(tmp_path: Path) -> Iterator[Recloser]:
    """A toolkit with a rules file."""
    rules = tmp_path / "rules.toml"
    rules.write_text('[names]\nAcmeTTSService = "voice-rules"\n')
    with Recloser(rules=str(rules)) as toolkit:
        toolkit.status()
        yield toolkit


async def test_names_of_the_rules_file_come_first(ruled: Recloser) -> None:
    """As in every other setting, what is said outside of the code is what counts."""
    await speak(AcmeTTSService(failing("503")), ruled, names={AcmeTTSService: "voice"})
    assert counts(ruled) == {"voice-rules": (2, 1)}


async def test_a_circuit_brings_its_own_rules(toolkit: Recloser) -> None:
    """What the application's classify= says of an exception is what it counts as."""
    voice = toolkit.circuit("voice", classify=lambda error: Outcome.IGNORED if "moderation" in str(error) else None)
    await speak(AcmeTTSService(failing(RuntimeError("moderation 503"))), toolkit, names={AcmeTTSService: voice})
    assert counts(toolkit) == {"voice": (1, 0)}


async def test_what_maps_to_nothing_is_said_once(toolkit: Recloser, caplog: pytest.LogCaptureFixture) -> None:
    """Silence would be a hole in the protection; every call saying so would be noise."""
    for _ in range(3):
        await speak(Tells(ErrorFrame("it broke"), ErrorFrame("again")), toolkit)
    (said,) = [record for record in caplog.records if record.name.startswith("recloser")]
    assert "Tells of Pipecat reports counts for no circuit: it broke; names={'Tells': ...}" in said.getMessage()
    assert counts(toolkit) == {}


async def test_an_error_that_passes_by_is_blamed_on_nobody_else(toolkit: Recloser) -> None:
    """A frame without a processor is whose pushes it first, not whose it passes on its way up."""
    pipeline = Pipeline([AcmeTTSService(), Tells(ErrorFrame("HTTP 503"))])
    call = await speak(pipeline, toolkit)
    assert [frame.processor for frame in call.reported] == [None]
    assert counts(toolkit) == {"acme": (1, 0)}


async def test_an_error_made_by_hand_counts(toolkit: Recloser) -> None:
    """Services push error frames without the method that is there for it."""

    async def script(service: AcmeTTSService) -> AsyncIterator[Frame | None]:
        await service.push_frame(ErrorFrame("HTTP 503"), FrameDirection.UPSTREAM)
        yield None

    await speak(AcmeTTSService(script), toolkit)
    assert toolkit.status()["acme"].failures == 1


async def test_a_class_that_does_not_exist(toolkit: Recloser, caplog: pytest.LogCaptureFixture) -> None:
    """A slip in names is said, with the class that was meant; the pipeline runs."""
    call = await speak(AcmeTTSService(), toolkit, names={"AcmeTTService": "voice"})
    assert call.ended
    assert "'AcmeTTService', which is no class of Pipecat that is loaded; did you mean 'AcmeTTSService'?" in caplog.text


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"names": [AcmeTTSService]}, "names = "),
        ({"names": {AcmeTTSService: 3}}, "names.* = 3"),
        ({"on_failure": "end"}, "on_failure = 'end'.*end_call"),
        ({"on_failure": {"acme": 3}}, r"on_failure\['acme'\] = 3"),
        ({"on_failure": {3: "end_call"}}, "on_failure = 3.*a glob"),
        ({"call_id": ""}, "call_id = ''"),
        ({"call_id": 17}, "call_id = 17"),
        ({"first_item": "soon"}, "first_item = 'soon'"),
        ({"recloser": "redis://"}, "recloser = 'redis://'"),
    ],
)
async def test_impossible_values_are_refused(said, match) -> None:
    """When attaching, naming the key, the value and what is allowed."""
    worker = PipelineWorker(Pipeline([AcmeTTSService()]), idle_timeout_secs=None)
    with pytest.raises(ConfigurationError, match=match):
        attach(worker, **said)


@pytest.mark.parametrize("worker", [None, Pipeline([]), object()])
def test_only_workers_can_be_attached_to(worker: object) -> None:
    """A pipeline has no errors of its own to tell of."""
    with pytest.raises(ConfigurationError, match="a PipelineWorker, or a PipelineTask"):
        attach(worker)


@pytest.fixture
def misspelt(tmp_path: Path) -> Iterator[Recloser]:
    """A toolkit whose rules file has a slip, and a name of somebody else's."""
    rules = tmp_path / "rules.toml"
    rules.write_text('[names]\nAcmeTTService = "voice"\nCallWorker = "crm"\n')
    with Recloser(rules=str(rules)) as toolkit:
        yield toolkit


async def test_a_slip_in_the_rules_file(misspelt: Recloser, caplog: pytest.LogCaptureFixture) -> None:
    """It is said as well, and what may belong to something else than Pipecat is not."""
    for _ in range(2):
        attach(PipelineWorker(Pipeline([AcmeTTSService()]), idle_timeout_secs=None), recloser=misspelt)
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("recloser.integrations")]
    assert "'AcmeTTService', which is no class of Pipecat that is loaded; did you mean 'AcmeTTSService'?" in said
