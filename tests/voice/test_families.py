"""What Pipecat tells of providers, service by service: their products in good health, their errors in bad."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from typing import TYPE_CHECKING

import pipecat.services
import pytest
from pipecat.frames.frames import InterruptionFrame
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from recloser import Policy, Recloser
from recloser.integrations.pipecat import attach
from tests.faults import Answer, FaultServer, Hang
from tests.voice.calls import Call, barge_in, run_call
from tests.voice.families import FAMILIES, LEFT_OUT
from tests.voice.family import FAULTS, PATIENCE, Family
from tests.voice.services import PAGE, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipecat.pipeline.worker import PipelineWorker

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pipecat"),
    # What SDKs use of others, when they are used first.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:websockets.* is deprecated:DeprecationWarning"),
    # Who is interrupted while he connects, or in the middle of an answer, leaves a connection to the collector.
    *(
        pytest.mark.filterwarnings(f"ignore:Exception ignored in. {what}:pytest.PytestUnraisableExceptionWarning")
        for what in ("<function Connection", "<function _SelectorTransport", "<socket.socket")
    ),
]


def rows(families: Sequence[Family] = FAMILIES) -> list[object]:
    """Families by name; one whose SDK is missing is skipped."""
    return [
        pytest.param(
            family,
            id=family.name,
            marks=[pytest.mark.skip(reason=f"{missing} is not installed")] if (missing := family.missing()) else [],
        )
        for family in families
    ]


class Watched:
    """Attaches to the pipelines of a family, with limits that fit a test."""

    def __init__(self, family: Family, toolkit: Recloser, first_item: float) -> None:
        self.circuit = toolkit.circuit(family.circuit, Policy(first_item=first_item) if family.kind == "stt" else None)
        self.attach = lambda worker: attach(worker, first_item=first_item, recloser=toolkit)

    @property
    def failures(self) -> int:
        """How many were counted."""
        return self.circuit.snapshot().failures

    @property
    def answers(self) -> int:
        """How many successes were."""
        return self.circuit.snapshot().calls - self.failures


@pytest.mark.parametrize("family", rows())
async def test_a_healthy_provider_gives_what_it_is_there_for(
    family: Family, provider: FaultServer, toolkit: Recloser
) -> None:
    """Each answer is a success of its circuit, so that rates and recovery work."""
    watched = Watched(family, toolkit, 10.0)
    provider.play(family.wire)
    async with family.service(provider.url) as service:
        call = await run_call(service, kind=family.kind, attach=watched.attach)
    assert not [frame.error for frame in call.errors]
    assert call.products
    assert call.ended
    assert watched.answers >= 1
    assert watched.failures == 0


@pytest.mark.parametrize("family", rows([family for family in FAMILIES if family.kind != "stt"]))
async def test_a_caller_who_barges_in_is_no_error_but_may_leave_a_turn_empty(
    family: Family, provider: FaultServer, toolkit: Recloser
) -> None:
    """Interruptions count for nothing, whatever they leave behind."""
    watched = Watched(family, toolkit, 10.0)
    provider.play(family.wire)
    async with family.service(provider.url) as service:
        call = await barge_in(service, kind=family.kind, times=3, bound=0.6, attach=watched.attach)
    # Where what is said bears no context, the end of the interrupted turn may fall into the next and leave it empty.
    assert not [frame.error for frame in call.errors if not frame.error.endswith("completed with no audio")]
    assert call.ended
    assert watched.failures == 0


@pytest.mark.parametrize(
    "name", ["openai-llm", "anthropic-llm", "elevenlabs-tts", "elevenlabs-http-tts", "cartesia-tts"]
)
async def test_a_hundred_who_barge_in_count_nothing(name: str, provider: FaultServer, toolkit: Recloser) -> None:
    """A voice agent is interrupted all day long."""
    family = next(family for family in FAMILIES if family.name == name)
    watched = Watched(family, toolkit, 10.0)
    provider.play(family.wire)
    async with family.service(provider.url) as service:
        call = await barge_in(service, kind=family.kind, times=100, bound=0.6, attach=watched.attach)
    assert sum(isinstance(frame, InterruptionFrame) for frame in call.frames) >= 100
    assert watched.failures == 0


async def failing(
    family: Family, fault: str, provider: FaultServer, attach: Callable[[PipelineWorker], object]
) -> Call:
    """A call whose provider has a fault."""
    break_it(provider, family, fault)
    # A connection that breaks is made anew, or is not asked for again before somebody says something.
    dropped = fault == "drop" and family.recovers
    settle, turns = (0.8 if dropped else 0.0), (2 if fault == "drop" and family.kind == "stt" else 1)
    async with family.service(None if fault == "refused" else provider.url, PATIENCE) as service:
        return await run_call(service, kind=family.kind, settle=settle, turns=turns, attach=attach)


def break_it(provider: FaultServer, family: Family, fault: str) -> None:
    """From now on the provider has this fault."""
    if fault == "hang":
        provider.play(Hang())
    elif fault == "drop":
        provider.play(family.drop)
    elif fault == "429":
        provider.play(Answer(429, {"error": {"message": "fault 429"}}, {"Retry-After": "7"}))
    elif fault != "refused":
        provider.play(Answer(int(fault)))


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("family", rows())
async def test_a_failing_provider_counts_once_in_a_call(
    family: Family, fault: str, provider: FaultServer, toolkit: Recloser
) -> None:
    """For its own circuit, however many frames tell of it, and also where none does."""
    watched = Watched(family, toolkit, 0.6)
    call = await failing(family, fault, provider, watched.attach)
    assert {type(frame.processor).__name__ for frame in call.errors} <= {family.class_name}
    assert watched.failures == 1
    assert list(toolkit.status()) == [family.circuit]


def service_classes() -> Iterator[type]:
    """The service classes of all modules of Pipecat that can be imported."""
    bases = (LLMService, STTService, TTSService)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what imports of deprecated modules say
        for found in pkgutil.walk_packages(pipecat.services.__path__, "pipecat.services."):
            try:
                module = importlib.import_module(found.name)
            except ImportError:
                continue  # its extra is not installed
            for value in vars(module).values():
                if isinstance(value, type) and issubclass(value, bases) and value.__module__ == module.__name__:
                    yield value


def test_every_service_has_a_row_or_a_reason_to_have_none() -> None:
    rows = {family.class_name for family in FAMILIES}
    assert not rows & LEFT_OUT.keys()
    assert {service.__name__ for service in service_classes()} <= rows | LEFT_OUT.keys()


def test_the_documentation_shows_what_was_run() -> None:
    """`python -m tests.voice.services` writes the table anew."""
    assert PAGE.read_text(encoding="utf-8") == table()
