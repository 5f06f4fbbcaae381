"""What Pipecat tells of providers, service by service: their products in good health, their errors in bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import Answer, FaultServer, Hang
from tests.voice.calls import Call, run_call
from tests.voice.families import FAMILIES
from tests.voice.family import FAULTS, Family

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pipecat")


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
    assert call.products
    assert not [frame.error for frame in call.errors]
    assert call.ended


async def failing(family: Family, fault: str, provider: FaultServer, *, settle: float = 0.0, bound: float = 1.0) -> Call:
    """A call whose provider has a fault."""
    break_it(provider, family, fault)
    async with family.service(None if fault == "refused" else provider.url) as service:
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


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("family", rows())
async def test_a_failing_provider_is_told_of_unless_the_service_is_silent(
    family: Family, fault: str, provider: FaultServer
) -> None:
    call = await failing(family, fault, provider)
    assert bool(call.errors) == (fault not in family.silent)
