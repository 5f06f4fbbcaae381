"""Attached to a pipeline: what counts for which circuit, how often, and what becomes of the call."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.settings import LLMSettings, TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.utils.errors import ErrorCategory

from recloser import ConfigurationError, Outcome, PausedError, Policy, Recloser, State
from recloser.core.policy import Mode
from recloser.integrations import attribution
from recloser.integrations.pipecat import Attachment, CallFailure, attach, setup_file
from recloser.integrations.pipecat.naming import provider_of
from tests.faults import Answer, FaultServer, Hang
from tests.voice.calls import Call, run_call
from tests.voice.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pipecat")

OPENAI = next(family for family in FAMILIES if family.name == "openai-llm")


@pytest.fixture
def toolkit() -> Iterator[Recloser]:
    """A fleet of one process."""
    with Recloser() as toolkit:
        toolkit.status()  # looks for alert hooks on the disk, once
        yield toolkit


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said once in a process is said once in a test."""
    monkeypatch.setattr(attribution, "_said", set())


class AcmeTTSService(TTSService):
    """Speech of a provider that Pipecat does not know, as a test scripts it."""

    def __init__(self, script: Callable[[AcmeTTSService], AsyncIterator[Frame | None]] | None = None) -> None:
        super().__init__(
            push_stop_frames=True, push_start_frame=True, settings=TTSSettings(model=None, voice="v", language=None)
        )
        self._stop_frame_timeout_s = 0.1
        self.script = script

    async def run_tts(self, text: str, context_id: str) -> AsyncIterator[Frame | None]:
        if self.script is None:
            yield TTSAudioRawFrame(b"\0" * 320, 16000, 1, context_id=context_id)
        else:
            async for frame in self.script(self):
                yield frame


class Tells(FrameProcessor):
    """Pushes error frames, made by hand, for frames that a test queues."""

    def __init__(self, *errors: ErrorFrame) -> None:
        super().__init__()
        self.errors = list(errors)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, TTSSpeakFrame | TTSAudioRawFrame):
            for error in self.errors:
                await self.push_frame(error, FrameDirection.UPSTREAM)
            self.errors.clear()


def failing(*errors: Exception | str, **more: Any) -> Callable[[AcmeTTSService], AsyncIterator[Frame | None]]:
    """A script of speech that tells of errors instead."""

    async def script(service: AcmeTTSService) -> AsyncIterator[Frame | None]:
        for error in errors:
            exception = error if isinstance(error, Exception) else None
            await service.push_error(str(error), exception=exception, **more)
        yield TTSAudioRawFrame(b"\0" * 320, 16000, 1, context_id=service.get_active_audio_context_id())

    return script


async def speak(service: FrameProcessor, toolkit: Recloser, turns: int = 1, **said: Any) -> Call:
    """A call in which something is said."""
    said.setdefault("first_item", 5)
    return await run_call(
        service, kind="tts", turns=turns, settle=0.05, attach=lambda worker: attach(worker, recloser=toolkit, **said)
    )


def ended_by(call: Call) -> object:
    """Why the call ended; None when it was the test."""
    return next(frame.reason for frame in call.frames if isinstance(frame, EndFrame))


def counts(toolkit: Recloser) -> dict[str, tuple[int, int]]:
    """Calls and failures by circuit."""
    return {name: (shot.calls, shot.failures) for name, shot in toolkit.status().items()}


# -- whose error it is -------------------------------------------------------------------------------------------------


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


# -- once for each call ------------------------------------------------------------------------------------------------


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


# -- what a frame says -------------------------------------------------------------------------------------------------


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


# -- errors of nobody --------------------------------------------------------------------------------------------------


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


# -- silence -----------------------------------------------------------------------------------------------------------


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


class Dribbles(LLMService):
    """A model that begins, and then says nothing for as long as the call lasts."""

    def __init__(self, *tokens: str, ends: bool = False) -> None:
        super().__init__(
            settings=LLMSettings(
                model=None,
                **dict.fromkeys(
                    (
                        "system_instruction",
                        "temperature",
                        "max_tokens",
                        "top_p",
                        "top_k",
                        "frequency_penalty",
                        "presence_penalty",
                        "seed",
                        "filter_incomplete_user_turns",
                        "user_turn_completion_config",
                    )
                ),
            )
        )
        self.tokens, self.ends = tokens, ends

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if type(frame).__name__ != "LLMContextFrame":
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        for token in self.tokens:
            await self.push_frame(LLMTextFrame(token))
        if self.ends:
            await self.push_frame(LLMFullResponseEndFrame())


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
        import asyncio

        await asyncio.sleep(0.02)
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


# -- what becomes of the call ------------------------------------------------------------------------------------------


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


# -- without a line of code --------------------------------------------------------------------------------------------


async def test_the_setup_file_attaches(recloser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipecat runs it for every worker; what the application attached stays."""
    path = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "recloser.integrations.pipecat"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
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
