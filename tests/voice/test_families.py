"""What Pipecat tells of providers, service by service: their products in good health, their errors in bad."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from typing import TYPE_CHECKING

import pipecat.services
import pytest
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from tests.faults import Answer, FaultServer, Hang
from tests.voice.calls import Call, barge_in, run_call
from tests.voice.families import FAMILIES, LEFT_OUT
from tests.voice.family import FAULTS, PATIENCE, Family

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


@pytest.mark.parametrize("family", rows())
async def test_a_healthy_provider_gives_what_it_is_there_for(family: Family, provider: FaultServer) -> None:
    provider.play(family.wire)
    async with family.service(provider.url) as service:
        call = await run_call(service, kind=family.kind)
    assert not [frame.error for frame in call.errors]
    assert call.products
    assert call.ended


@pytest.mark.parametrize("family", rows([family for family in FAMILIES if family.kind != "stt"]))
async def test_a_caller_who_barges_in_is_no_error_but_may_leave_a_turn_empty(
    family: Family, provider: FaultServer
) -> None:
    provider.play(family.wire)
    async with family.service(provider.url) as service:
        call = await barge_in(service, kind=family.kind, times=3, bound=0.6)
    # Where what is said bears no context, the end of the interrupted turn may fall into the next and leave it empty.
    assert not [frame.error for frame in call.errors if not frame.error.endswith("completed with no audio")]
    assert call.ended


async def failing(
    family: Family, fault: str, provider: FaultServer, *, settle: float = 0.0, bound: float = 1.0
) -> Call:
    """A call whose provider has a fault."""
    break_it(provider, family, fault)
    async with family.service(None if fault == "refused" else provider.url, PATIENCE) as service:
        return await run_call(service, kind=family.kind, settle=settle, bound=bound)


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
async def test_a_failing_provider_is_told_of_unless_the_service_is_silent(
    family: Family, fault: str, provider: FaultServer
) -> None:
    call = await failing(family, fault, provider)
    assert len(call.reported) == len(call.errors)
    assert {type(frame.processor).__name__ for frame in call.errors} <= {family.class_name}
    if fault == "drop" and family.recovers:
        return  # told or not as the moment falls: the next connection is good, and nobody asks for the lost words
    assert bool(call.errors) == (fault not in family.silent)


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
