"""The oldest release that the integration is for, and the newest one: the same code, and the same that is counted."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest
from pipecat.frames.frames import EndFrame, TTSAudioRawFrame
from pipecat.pipeline.service_switcher import ServiceSwitcher

from recloser import Policy, Recloser, State
from recloser.integrations.pipecat import attach, fleet_failover, setup_file
from tests.faults import Answer, FaultServer, Hang
from tests.voice.calls import barge_in, run_call, running, turn
from tests.voice.families import FAMILIES
from tests.voice.family import PATIENCE, Family

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # older releases use much that is old by now
    pytest.mark.usefixtures("_impatient"),
    *(
        pytest.mark.filterwarnings(f"ignore:Exception ignored in. {what}:pytest.PytestUnraisableExceptionWarning")
        for what in ("<function Connection", "<function _SelectorTransport", "<socket.socket")
    ),
]

BY_NAME = {family.name: family for family in FAMILIES}

SDKS = {"anthropic-llm": "anthropic", "deepgram-stt": "deepgram"}
"""What a row needs, and an environment may lack."""

ROWS = [
    pytest.param(
        BY_NAME[name],
        id=name,
        marks=pytest.mark.skipif(
            name in SDKS and importlib.util.find_spec(SDKS[name]) is None, reason="its SDK is not installed"
        ),
    )
    for name in (
        "openai-llm",
        "anthropic-llm",
        "openai-tts",
        "openai-stt",
        "elevenlabs-tts",
        "elevenlabs-http-tts",
        "cartesia-tts",
        "deepgram-stt",
        "soniox-stt",
    )
]

LONG = 10.0
"""Seconds that nothing here takes."""


def counts(toolkit: Recloser) -> dict[str, tuple[int, int]]:
    """Calls and failures by circuit."""
    return {name: (shot.calls, shot.failures) for name, shot in toolkit.status().items()}


def watched(family: Family, toolkit: Recloser, first_item: float) -> Any:
    """Attaches with limits that fit a test: an ear has one only where its policy says so."""
    toolkit.circuit(family.circuit, Policy(first_item=first_item) if family.kind == "stt" else None)
    return lambda worker: attach(worker, first_item=first_item, recloser=toolkit)


# -- service by service ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ROWS)
async def test_an_answer_is_a_success(family: Family, provider: FaultServer, toolkit: Recloser) -> None:
    """A healthy provider is one whose answers count, and nothing else does."""
    provider.play(family.wire)
    async with family.service(provider.url) as service:
        call = await run_call(service, kind=family.kind, attach=watched(family, toolkit, LONG))
    calls, failures = counts(toolkit)[family.circuit]
    assert call.products
    assert calls >= 1
    assert failures == 0


@pytest.mark.parametrize("family", [row for row in ROWS if not row.id.endswith("stt")])
async def test_who_barges_in_counts_nothing(family: Family, provider: FaultServer, toolkit: Recloser) -> None:
    """Interruptions are no failures, whatever they leave behind."""
    provider.play(family.wire)
    async with family.service(provider.url) as service:
        call = await barge_in(service, kind=family.kind, times=3, bound=0.6, attach=watched(family, toolkit, LONG))
    assert len(call.products) >= 3
    assert counts(toolkit)[family.circuit][1] == 0


@pytest.mark.parametrize("fault", ["refused", "401", "429", "503", "hang", "drop"])
@pytest.mark.parametrize("family", ROWS)
async def test_a_fault_is_one_failure(family: Family, fault: str, provider: FaultServer, toolkit: Recloser) -> None:
    """Of its own circuit, once in a call, whether the release tells of it by many frames, by one or by none."""
    behaviour = {"hang": Hang(), "drop": family.drop}.get(fault) or Answer(int(fault) if fault.isdigit() else 503)
    provider.play(behaviour)
    url = None if fault == "refused" else provider.url
    again = fault == "drop" and family.kind == "stt"
    async with (
        family.service(url, 1.0 if fault == "hang" else PATIENCE) as service,
        running(service, family.kind, watched(family, toolkit, 0.5)) as (worker, call),
    ):
        for _ in range(2 if again else 1):
            await worker.queue_frames(turn(family.kind))
            seen = len(call.products)
            await call.until(lambda seen=seen: len(call.products) > seen or bool(call.errors), 1.0)
        # What is lost in the middle of an answer is not always told.
        await call.until(lambda: bool(call.errors), 0.4)
    assert {name: failures for name, (_, failures) in counts(toolkit).items()} == {family.circuit: 1}


# -- the call ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai-llm", "openai-tts", "elevenlabs-http-tts"])
async def test_a_call_ends_by_an_end_frame(name: str, provider: FaultServer, toolkit: Recloser) -> None:
    """Also where a voice that failed is paused until it will have been heard."""
    family = BY_NAME[name]
    provider.play(Answer(503))

    def ending(worker: Any) -> None:
        attach(worker, on_failure="end_call", first_item=0.5, recloser=toolkit)

    async with (
        family.service(provider.url, PATIENCE) as service,
        running(service, family.kind, ending) as (worker, call),
    ):
        await worker.queue_frames(turn(family.kind))
        ended = await call.until(lambda: call.ended, 3.0)
    assert ended
    assert [frame.reason for frame in call.frames if isinstance(frame, EndFrame)] == [f"{family.circuit} has failed"]


async def test_a_silence_is_told_to_the_pipeline(provider: FaultServer, toolkit: Recloser) -> None:
    """Older releases look for the place that an exception comes from, and need one that was raised."""
    family = BY_NAME["openai-llm"]
    provider.play(Hang())
    async with family.service(provider.url, 1.0) as service:
        call = await run_call(
            service, kind="llm", attach=lambda worker: attach(worker, first_item=0.2, recloser=toolkit)
        )
    assert "openai: first_item of 200ms has passed" in [str(frame.error) for frame in call.reported]


async def test_the_setup_file(recloser: Any, provider: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook has another name in older releases, and the file has both."""
    told = subprocess.run(  # noqa: ASYNC221 - nothing else runs here
        [sys.executable, "-W", "ignore", "-m", "recloser.integrations.pipecat"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip().splitlines()[-1] == setup_file.__file__
    monkeypatch.setenv("PIPECAT_SETUP_FILES", setup_file.__file__)
    provider.play(Answer(503))
    async with BY_NAME["openai-llm"].service(provider.url) as service:
        await run_call(service, kind="llm")
    assert recloser.status()["openai"].failures == 1


# -- switching ---------------------------------------------------------------------------------------------------------


async def switched_call(
    provider: FaultServer, toolkit: Recloser, first: str = "elevenlabs-http-tts"
) -> tuple[list[str], bool]:
    """A call of three turns: who spoke, or was switched to, in order; and whether it came to its end."""
    told: list[str] = []
    async with (
        BY_NAME[first].service(provider.url) as primary,
        BY_NAME["openai-tts"].service(provider.url) as backup,
    ):
        switcher = ServiceSwitcher([primary, backup], fleet_failover(recloser=toolkit))

        @switcher.strategy.event_handler("on_service_switched")
        async def switched(_strategy: object, service: Any) -> None:
            told.append(f"switched to {type(service).__name__}")

        async with running(switcher, "tts", lambda worker: attach(worker, recloser=toolkit)) as (worker, call):
            for _ in range(3):
                seen = len(call.products), len(told)
                await worker.queue_frames(turn("tts"))
                await call.until(lambda seen=seen: seen != (len(call.products), len(told)), 2.0)
                if len(call.products) > seen[0]:
                    told.append(type(switcher.strategy.active_service).__name__)
            await worker.queue_frame(EndFrame())
            ended = await call.until(lambda: call.ended, 3.0)
    assert all(isinstance(frame, TTSAudioRawFrame) for frame in call.products)
    return told, ended


async def test_a_switcher_follows_the_fleet(provider: FaultServer, toolkit: Recloser) -> None:
    """It moves on once, does not come back within a call, begins elsewhere while paused, and returns when it may."""
    first, second = "ElevenLabsHttpTTSService", "OpenAITTSService"
    toolkit.circuit("elevenlabs", Policy(failures=1, cooldown="1h"))
    provider.play(Answer(503), path="/v1/text-to-speech")
    provider.play(BY_NAME["openai-tts"].wire, path="/v1/audio")
    told, ended = await switched_call(provider, toolkit)
    assert told == [f"switched to {second}", second, second]
    assert ended
    assert toolkit.circuit("elevenlabs").state is State.OPEN
    assert await switched_call(provider, toolkit) == ([second, second, second], True)
    provider.play(BY_NAME["elevenlabs-http-tts"].wire, path="/v1/text-to-speech")
    toolkit.resume("elevenlabs", by="ana")
    assert await switched_call(provider, toolkit) == ([first, first, first], True)
    assert counts(toolkit)["openai"][1] == 0, toolkit.explain("openai")


async def test_a_call_that_moved_on_ends(provider: FaultServer, toolkit: Recloser) -> None:
    """The voice that it left in the middle of a word is not waited for."""
    provider.play(BY_NAME["elevenlabs-tts"].drop, path="/v1/text-to-speech")
    _, ended = await switched_call(provider, toolkit, "elevenlabs-tts")
    assert ended
    assert counts(toolkit)["elevenlabs"][1] == 1
