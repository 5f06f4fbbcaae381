"""Providers that fail without a word, and providers that answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from pipecat.frames.frames import Frame, TTSAudioRawFrame

from recloser import Policy, Recloser, State
from recloser.integrations.pipecat import attach
from tests.faults import Hang
from tests.voice.calls import run_call
from tests.voice.families import FAMILIES
from tests.voice.scripted import AcmeTTSService, Dribbles, counts, speak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults import FaultServer

OPENAI = next(family for family in FAMILIES if family.name == "openai-llm")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pipecat")


async def test_speech_without_audio_is_a_failure(toolkit: Recloser) -> None:
    """A provider may take every request, and say nothing."""

    async def script(_service: AcmeTTSService) -> AsyncIterator[Frame | None]:
        yield None

    await speak(AcmeTTSService(script), toolkit)
    assert counts(toolkit) == {"acme": (1, 1)}


async def test_a_stall_before_the_first_audio_is_a_failure(toolkit: Recloser, provider: FaultServer) -> None:
    """It is told to the pipeline as well, as a timeout that happened in the service."""
    provider.play(Hang())
    async with OPENAI.service(provider.url) as llm:
        call = await run_call(llm, kind="llm", attach=lambda worker: attach(worker, first_item=0.2, recloser=toolkit))
    assert counts(toolkit) == {"openai": (1, 1)}
    frame = call.reported[0]
    assert (frame.processor, frame.error) == (llm, "openai: first_item of 200ms has passed")


async def test_a_policy_says_how_long(toolkit: Recloser, provider: FaultServer) -> None:
    """The circuit's own first_item is what counts."""
    toolkit.circuit("openai", Policy(first_item=0.1))
    provider.play(Hang())
    async with OPENAI.service(provider.url) as llm:
        await run_call(llm, kind="llm", attach=lambda worker: attach(worker, first_item=None, recloser=toolkit))
    assert "first_item of 100ms" in toolkit.explain("openai").errors[0].message


async def test_a_silence_between_tokens(toolkit: Recloser) -> None:
    """The first token was fine, then nothing: the policy's idle says for how long."""
    toolkit.circuit("dribbles", Policy(idle=0.1))
    call = await run_call(
        Dribbles("he"), kind="llm", settle=0.3, attach=lambda worker: attach(worker, recloser=toolkit)
    )
    assert counts(toolkit) == {"dribbles": (2, 1)}
    assert [str(frame.error) for frame in call.reported] == ["dribbles: idle of 100ms has passed"]


async def test_an_answer_that_ends_without_a_token_counts_nothing(toolkit: Recloser) -> None:
    """A model may have nothing to say; and what has ended does not stall."""
    await run_call(
        Dribbles(ends=True),
        kind="llm",
        bound=0.3,
        attach=lambda worker: attach(worker, first_item=0.1, recloser=toolkit),
    )
    assert counts(toolkit) == {"dribbles": (0, 0)}


async def test_slow_answers_are_slow(toolkit: Recloser) -> None:
    """The slow rule sees the time to the first audio."""
    toolkit.circuit("acme", Policy(slow_after=0.001, slow_rate=0.5))

    async def script(service: AcmeTTSService) -> AsyncIterator[Frame | None]:
        await anyio.sleep(0.02)  # longer than the policy allows
        yield TTSAudioRawFrame(b"\0" * 320, 16000, 1, context_id=service.get_active_audio_context_id())

    await speak(AcmeTTSService(script), toolkit)
    assert toolkit.status()["acme"].slow == 1


async def test_every_turn_that_is_answered_is_a_success(toolkit: Recloser) -> None:
    """So that rates mean something, and a circuit that is tested closes."""
    toolkit.circuit("acme", Policy(failures=1, cooldown=0.05))
    toolkit.circuit("acme").record_failure("down")
    assert toolkit.circuit("acme").state is State.OPEN
    while toolkit.circuit("acme").state is State.OPEN:
        pass
    await speak(AcmeTTSService(), toolkit, turns=3)
    assert toolkit.circuit("acme").state is State.CLOSED
    assert toolkit.status()["acme"].calls == 2
