"""LiveKit Agents: its real plugins and sessions, before a provider that fails in every way there is."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("livekit.agents")
pytest.importorskip("livekit.plugins.cartesia")
pytest.importorskip("livekit.plugins.deepgram")
pytest.importorskip("livekit.plugins.elevenlabs")
pytest.importorskip("livekit.plugins.openai")

import aiohttp
from livekit.agents import NOT_GIVEN, Agent, AgentSession, APIError, inference, llm, stt, tts
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.agents.voice.events import ErrorEvent
from livekit.plugins import deepgram, elevenlabs, openai

from recloser import ConfigurationError, Outcome, Policy, Recloser, State
from recloser.integrations.livekit import CallFailure, attach, follow
from recloser.integrations.livekit.framework import guess
from tests.faults import Answer, Cut, FaultServer, Hang, Socket, Stall, refused_url
from tests.faults_wire import AUDIO, Reply
from tests.frameworks.livekit_world import (
    HEARD,
    ONCE,
    PLUGINS,
    TWICE,
    Ears,
    Eleven,
    Mouth,
    ask,
    eventually,
    listen,
    requests,
    say,
    speak,
    the_plugin,
    transcribe,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from recloser.testing import Sandbox

STREAMS = {"elevenlabs.TTS stream": Eleven(), "deepgram.STT stream": Socket((HEARD,))}
PCM = Reply(200, {"Content-Type": "audio/pcm"}, [AUDIO[:128], AUDIO[128:]], stream=True)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def provider() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.play(Answer(body=PCM), path="/v1/audio/speech")
        yield server


@pytest.fixture
def other() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.play(Answer(body=PCM), path="/v1/audio/speech")
        yield server


@pytest.fixture
async def make() -> AsyncIterator[Any]:
    """Makes plugins, and closes them."""
    async with AsyncExitStack() as stack:

        async def made(name: str, url: str) -> Any:
            return await stack.enter_async_context(the_plugin(name, url))

        yield made


def counts(recloser: Recloser, name: str) -> tuple[int, int]:
    """Calls and failures."""
    shot = recloser.circuit(name).snapshot()
    return shot.calls, shot.failures


# -- one plugin ------------------------------------------------------------------------------------------------------

FAULTS = {
    "401": Answer(401),
    "429": Answer(429),
    "503": Answer(503),
    "dropped": Cut(0, reset=True),
    "cut": Cut(1, of=Answer(body=PCM), reset=True),
    "refused": None,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", PLUGINS)
async def test_a_request_that_fails_is_one_failure_of_its_vendor_however_often_it_is_tried(
    recloser: Sandbox, provider: FaultServer, make: Any, name: str, fault: str
) -> None:
    """Final errors count and those that are tried again do not; a message that went on half way has failed, too."""
    _, request, circuit = PLUGINS[name]
    behaviour = FAULTS[fault]
    if behaviour is not None:
        for path in ("", "/v1/audio/speech"):
            provider.play(behaviour, path=path)
    plugin = await make(name, provider.url if behaviour is not None else refused_url())
    attach(plugin)
    with pytest.raises(APIError):
        await request(plugin, TWICE)
    assert counts(recloser, circuit) == (1, 1)
    if behaviour is not None and fault not in {"401", "cut"}:
        assert provider.count() == 2, "it was tried again"


@pytest.mark.parametrize("name", PLUGINS)
async def test_an_answer_is_a_success_of_its_vendor(
    recloser: Sandbox, provider: FaultServer, make: Any, name: str
) -> None:
    """First audio, first token and final transcripts; without them no rate of failures would mean anything."""
    _, request, circuit = PLUGINS[name]
    if name in STREAMS:
        provider.play(STREAMS[name])
    plugin = await make(name, provider.url)
    attach(plugin)
    assert await request(plugin)
    await eventually(lambda: counts(recloser, circuit) == (1, 0), "it is counted")


@pytest.mark.parametrize("name", ["openai.LLM", "openai.TTS", "openai.STT", "deepgram.STT"])
async def test_a_slow_answer_is_slow(recloser: Sandbox, provider: FaultServer, make: Any, name: str) -> None:
    """The policy's `slow_after` is compared with the time to the first token, to first audio, or to the transcript."""
    _, request, circuit = PLUGINS[name]
    recloser.circuit(circuit, Policy(slow_after=0.0001, slow_rate=0.5))
    plugin = await make(name, provider.url)
    attach(plugin)
    assert await request(plugin)
    await eventually(lambda: recloser.circuit(circuit).snapshot().slow == 1, "it is slow")


async def test_speech_without_audio_is_a_failure_and_what_should_be_said_stays_private(
    recloser: Sandbox, provider: FaultServer, make: Any
) -> None:
    """The provider says 200 and sends nothing; LiveKit's error quotes the text, which no alert may show."""
    provider.answer(body=Reply(200, {"Content-Type": "audio/pcm"}, [], stream=True), path="/v1/audio/speech")
    recloser.circuit("openai", failures=1)
    plugin = await make("openai.TTS", provider.url)
    attach(plugin)
    with pytest.raises(APIError, match="no audio frames"):
        await say(plugin)
    shot = recloser.circuit("openai").snapshot()
    assert shot.state is State.OPEN
    assert "no audio frames" in shot.reason
    assert "Hello" not in shot.reason


@pytest.mark.parametrize("name", ["openai.LLM", "openai.TTS", "elevenlabs.TTS", "deepgram.STT stream"])
async def test_interruptions_count_nothing(recloser: Sandbox, provider: FaultServer, make: Any, name: str) -> None:
    """A user who talks over the agent cancels what it was about to say, all day long."""
    _, request, circuit = PLUGINS[name]
    for path in ("", "/v1/audio/speech"):
        provider.play(Hang() if name != "openai.TTS" else Stall(1, of=Answer(body=PCM)), path=path)
    plugin = await make(name, provider.url)
    attach(plugin)
    for number in range(100):
        task = asyncio.ensure_future(request(plugin))
        await eventually(lambda number=number: provider.count() > number, "it is under way")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert recloser.circuit(circuit).snapshot().calls == 0


async def test_a_bad_request_is_nobodys_failure(recloser: Sandbox, provider: FaultServer, make: Any) -> None:
    """A prompt that is too long is too long everywhere."""
    provider.answer(400)
    plugin = await make("openai.LLM", provider.url)
    attach(plugin)
    with pytest.raises(APIError):
        await ask(plugin)
    assert counts(recloser, "openai") == (0, 0)


async def test_a_plugin_of_a_call_fails_once(recloser: Sandbox, provider: FaultServer, make: Any) -> None:
    """With a call's id, every request of it is one and the same failure; without one, each is its own."""
    provider.answer(503)
    mine, anybodys = await make("openai.LLM", provider.url), await make("deepgram.STT", provider.url)
    attached = attach(mine, call_id="CA1")
    attach(anybodys)
    assert attached.call_id == "CA1"
    for _ in range(3):
        with pytest.raises(APIError):
            await ask(mine)
        with pytest.raises(APIError):
            await transcribe(anybodys)
    assert (counts(recloser, "openai"), counts(recloser, "deepgram")) == ((1, 1), (3, 3))
    attached.detach()
    attach(mine)
    with pytest.raises(APIError):
        await ask(mine)
    assert counts(recloser, "openai") == (2, 2)


async def test_a_success_closes_a_circuit_that_is_being_tested(
    recloser: Sandbox, provider: FaultServer, make: Any
) -> None:
    """Nothing but the session's own traffic is needed to bring a provider back."""
    plugin = await make("openai.LLM", provider.url)
    attach(plugin)
    recloser.trip("openai")
    recloser.clock.advance("15m")
    assert recloser.circuit("openai").state is State.HALF_OPEN
    await ask(plugin)
    await eventually(lambda: recloser.circuit("openai").state is State.CLOSED, "it is closed")


class Streamer(tts.TTS):
    """A plugin that speaks a whole text by a stream of its own, as LiveKit's gateway does."""

    def __init__(self, *, healthy: bool) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=True), sample_rate=24000, num_channels=1)
        self.healthy = healthy

    def synthesize(self, text: str, *, conn_options: Any = ONCE) -> Any:
        return self._synthesize_with_stream(text, conn_options=conn_options)

    def stream(self, *, conn_options: Any = ONCE) -> Any:
        return StreamerStream(tts=self, conn_options=conn_options)


class StreamerStream(tts.SynthesizeStream):
    async def _run(self, output_emitter: Any) -> None:
        output_emitter.initialize(request_id="r", sample_rate=24000, num_channels=1, mime_type="audio/pcm", stream=True)
        output_emitter.start_segment(segment_id="s")
        async for _ in self._input_ch:
            self._mark_started()
        if not self._tts.healthy:
            raise APIError("synthesis failed")
        output_emitter.push(AUDIO)
        output_emitter.end_segment()


@pytest.mark.parametrize(("healthy", "counted"), [(True, (1, 0)), (False, (1, 1))])
async def test_a_plugin_that_uses_itself_makes_one_request(
    recloser: Sandbox, *, healthy: bool, counted: tuple[int, int]
) -> None:
    """Both streams of it tell of the same failure and of the same answer; asked for leave, it takes one trial."""
    plugin = Streamer(healthy=healthy)
    adapter = follow(tts.FallbackAdapter([plugin], max_retry_per_tts=0), names={Streamer: "own"})
    recloser.trip("own")
    recloser.clock.advance("15m")
    with suppress(APIError):
        assert await say(adapter)
    assert await asyncio.sleep(0, recloser.circuit("own").state) is (State.CLOSED if healthy else State.OPEN)
    recloser.heal("own")
    with suppress(APIError):
        assert await say(plugin, TWICE)
    assert counts(recloser, "own") == counted
    await adapter.aclose()


# -- names -----------------------------------------------------------------------------------------------------------


class Eleventh(elevenlabs.TTS):
    """A class of the application's."""


class Own(tts.TTS):
    """A plugin of the application's."""

    def __init__(self, provider: str = "unknown") -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=24000, num_channels=1)
        self._provider = provider

    @property
    def provider(self) -> str:
        return self._provider

    def synthesize(self, text: str, *, conn_options: Any = ONCE) -> Any:
        return OwnStream(tts=self, input_text=text, conn_options=conn_options)


class OwnStream(tts.ChunkedStream):
    async def _run(self, output_emitter: Any) -> None:
        raise ConnectionResetError("reset by peer")


def test_circuits_have_the_names_of_vendors() -> None:
    """The nearest class of LiveKit's plugins, whose server it is, the maker of a model, or what a plugin says."""
    key: dict[str, Any] = {"api_key": "k", "api_secret": "s" * 32}
    things: list[tuple[object, str | None]] = [
        (Eleventh(api_key="k"), "elevenlabs"),
        (deepgram.TTS(api_key="k"), "deepgram"),
        (openai.LLM(api_key="k"), "openai"),
        (openai.LLM(api_key="k", base_url="http://127.0.0.1:11434/v1"), "openai"),
        (openai.LLM(api_key="k", base_url="https://api.groq.com/openai/v1"), "groq"),
        (openai.LLM.with_x_ai(api_key="k"), "xai"),
        (openai.LLM.with_azure(azure_endpoint="https://me.openai.azure.com", api_version="1", api_key="k"), "azure"),
        (inference.LLM("openai/gpt-4o", **key), "openai"),
        (inference.TTS("cartesia/sonic-3", **key), "cartesia"),
        (inference.STT("deepgram/nova-3:en", **key), "deepgram"),
        (inference.STT("auto", **key), "livekit"),
        (Own("My Voices"), "my-voices"),
        (Own(), None),
    ]
    assert [guess(thing) for thing, _ in things] == [name for _, name in things]


async def test_names_and_rules_have_their_say(recloser: Sandbox, provider: FaultServer, make: Any) -> None:
    """By object and by class; a circuit's own rules judge its errors."""
    provider.answer(503)
    mine, also = await make("openai.LLM", provider.url), await make("openai.STT", provider.url)
    lenient = recloser.circuit("lenient", classify=lambda error: Outcome.IGNORED)
    attach(mine, names={mine: "llm-eu"})
    attach(also, names={"livekit.plugins.openai.stt.STT": lenient})
    for request in (ask(mine), transcribe(also)):
        with pytest.raises(APIError):
            await request
    assert (counts(recloser, "llm-eu"), counts(recloser, "lenient")) == ((1, 1), (0, 0))
    assert recloser.circuit("lenient").snapshot().calls == 0


async def test_what_nobody_named_is_said_once(caplog: pytest.LogCaptureFixture, recloser: Sandbox) -> None:
    """A plugin of the application's own has to be named; forgetting it breaks nothing."""
    plugin = Own()
    attach(plugin)
    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            await say(plugin)
    said = [each for each in caplog.messages if "counts for no circuit" in each]
    assert len(said) == 1
    assert "names={'Own': ...}" in said[0]
    assert not recloser.status()


async def test_speech_that_raises_what_livekit_does_not_know_has_failed(recloser: Sandbox) -> None:
    """LiveKit tells of no error then; a fallback adapter goes on all the same."""
    plugin = Own()
    attach(plugin, names={Own: "own"})
    with pytest.raises(ConnectionResetError):
        await say(plugin)
    assert counts(recloser, "own") == (1, 1)


def test_a_misspelt_class_is_said_once(caplog: pytest.LogCaptureFixture, recloser: Sandbox) -> None:
    """A typo in names would leave a provider without a circuit, or with the wrong one."""
    for _ in range(2):
        attach(Own(), names={"OwnStreams": "x", "livekit.plugins.elevenlabs.tts.TTTS": "y"})
    assert [each for each in caplog.messages if "did you mean 'livekit.plugins.elevenlabs.tts.TTS'?" in each]
    assert len([each for each in caplog.messages if "is no class of LiveKit" in each]) == 2


# -- sessions --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def sessions() -> AsyncIterator[Any]:
    """Makes sessions without a room, and closes them."""
    async with AsyncExitStack() as stack:

        async def started(agent: Agent, *, attached: dict[str, Any] | None = None, **arguments: Any) -> Any:
            options = SessionConnectOptions(
                stt_conn_options=ONCE, llm_conn_options=ONCE, tts_conn_options=ONCE, max_unrecoverable_errors=9
            )
            arguments = {"vad": None, "conn_options": options, "aec_warmup_duration": None, **arguments}
            session: Any = AgentSession(**arguments)
            stack.push_async_callback(session.aclose)
            attach(session, **(attached or {}))
            if arguments.get("tts") or agent.tts is not NOT_GIVEN:
                session.output.audio = Mouth()
            await session.start(agent, record=False)
            return session

        yield started


async def test_a_session_counts_what_its_providers_answer(
    recloser: Sandbox, provider: FaultServer, make: Any, sessions: Any
) -> None:
    """A turn of a call: one answer of the model, one piece of speech."""
    voice, model = await make("elevenlabs.TTS", provider.url), await make("openai.LLM", provider.url)
    provider.play(Eleven(), path="/v1/text-to-speech")
    session = await sessions(Agent(instructions="be brief"), llm=model, tts=voice)
    await session.run(user_input="Hello")
    assert session.output.audio.seconds > 0
    await eventually(lambda: counts(recloser, "openai") == (1, 0), "the model's answer")
    await eventually(lambda: counts(recloser, "elevenlabs") == (1, 0), "the speech")


async def test_a_session_counts_one_failure_for_each_provider(
    recloser: Sandbox, provider: FaultServer, make: Any, sessions: Any
) -> None:
    """The model fails turn after turn: the call has failed once, and its owner is told once."""
    provider.answer(503)
    told: list[CallFailure] = []
    model = await make("openai.LLM", provider.url)
    session = await sessions(
        Agent(instructions="be brief"), llm=model, attached={"on_failure": told.append, "call_id": "room"}
    )
    for _ in range(3):
        with suppress(Exception):
            await session.run(user_input="Hello")
    assert provider.count("/v1/chat") == 3
    assert counts(recloser, "openai") == (1, 1)
    assert [(each.session, each.call_id, each.circuit, each.outcome.status) for each in told] == [
        (session, "room", "openai", 503)
    ]


async def test_a_session_hears_its_ears_fail(
    recloser: Sandbox, provider: FaultServer, make: Any, sessions: Any
) -> None:
    """Streamed speech recognition, whose answers LiveKit tells of by no event, fails and answers in a session, too."""
    provider.play(Socket((HEARD,)))
    ears = await make("deepgram.STT stream", provider.url)
    session = await sessions(Agent(instructions="listen"), stt=ears, turn_handling={"turn_detection": "manual"})
    session.input.audio = Ears()
    await eventually(lambda: counts(recloser, "deepgram") == (1, 0), "a transcript")
    await session.aclose()
    provider.answer(503)
    session = await sessions(Agent(instructions="listen"), stt=ears, turn_handling={"turn_detection": "manual"})
    session.input.audio = Ears()
    await eventually(lambda: counts(recloser, "deepgram")[1] == 1, "a failure")


async def test_agents_that_bring_their_own_plugins_count_and_those_they_hand_over_to(
    recloser: Sandbox, provider: FaultServer, other: FaultServer, make: Any, sessions: Any
) -> None:
    """Whoever attaches to a session does not know yet who will speak in it; an adapter hides the very first error."""
    provider.play(Eleven(close=True), path="/v1/text-to-speech")
    other.play(Eleven(), path="/v1/text-to-speech")
    names: dict[Any, str] = {}
    voices = []
    for name, server in (("first", provider), ("second", provider), ("third", other)):
        voices.append(await make("elevenlabs.TTS", server.url))
        names[voices[-1]] = name
    session = await sessions(Agent(instructions="speak", tts=voices[0]), attached={"names": names})
    session.output.audio = Mouth()
    with suppress(Exception):
        await session.say("Hello")
    await eventually(lambda: counts(recloser, "first") == (1, 1), "the first agent's voice")
    said = asyncio.Event()

    class Second(Agent):
        async def on_enter(self) -> None:
            await self.session.say("Hello")
            said.set()

    adapter = tts.FallbackAdapter(voices[1:], max_retry_per_tts=0)
    session.update_agent(Second(instructions="speak", tts=adapter))
    await asyncio.wait_for(said.wait(), 10)
    await eventually(lambda: counts(recloser, "third") == (1, 0), "the second agent's voice")
    assert counts(recloser, "second") == (1, 1)
    await session.aclose()
    await adapter.aclose()


async def test_sessions_that_share_a_plugin_have_one_failure_each(
    recloser: Sandbox, provider: FaultServer, make: Any, sessions: Any
) -> None:
    """LiveKit tells both of one request's error, which is one failure; and one session's are not all of them."""
    provider.answer(503)
    model = await make("openai.LLM", provider.url)
    first = await sessions(Agent(instructions="be brief"), llm=model)
    second = await sessions(Agent(instructions="be brief"), llm=model)
    for expected in (1, 2, 2):
        with suppress(Exception):
            await first.run(user_input="Hello")
        assert counts(recloser, "openai") == (expected, expected)
    await first.aclose()
    await second.aclose()
    third = await sessions(Agent(instructions="be brief"), llm=model)
    with suppress(Exception):
        await third.run(user_input="Hello")
    assert counts(recloser, "openai") == (3, 3)
    fourth = await sessions(Agent(instructions="be brief"), llm=model)
    for session in (third, fourth):
        await session.aclose()
    with pytest.raises(APIError):
        await ask(model)
    assert counts(recloser, "openai") == (3, 3), "nobody is attached any more"


async def test_interrupted_speech_of_a_session_counts_nothing(
    recloser: Sandbox, provider: FaultServer, make: Any, sessions: Any
) -> None:
    """A barge-in before the first audio, ten times over."""
    provider.play(Eleven(audio=False), path="/v1/text-to-speech")
    voice = await make("elevenlabs.TTS", provider.url)
    session = await sessions(Agent(instructions="speak"), tts=voice)
    for _ in range(10):
        speech = session.say("Hello there.")
        await eventually(lambda: provider.count() > 0, "it is under way")
        await session.interrupt(force=True)
        await speech
    assert counts(recloser, "elevenlabs") == (0, 0)


async def test_an_event_that_makes_no_sense_breaks_nothing(
    recloser: Sandbox, provider: FaultServer, make: Any, sessions: Any
) -> None:
    """Applications emit errors of their own: without a source, of no plugin, of exceptions that were never raised."""
    model = await make("openai.LLM", provider.url)
    session = await sessions(Agent(instructions="be brief"), llm=model)
    for error in (None, "text", SimpleNamespace(recoverable=False), SimpleNamespace(recoverable=False, error=None)):
        for source in (None, object(), "text"):
            session.emit("error", ErrorEvent(error=error, source=source))
    assert not recloser.status()
    made = llm.LLMError(timestamp=0.0, label="x", error=APIError("never raised"), recoverable=False)
    for _ in range(2):
        session.emit("error", ErrorEvent(error=made, source=model))
    assert counts(recloser, "openai") == (1, 1)
    await session.run(user_input="Hello")


async def test_realtime_models_fail_and_what_they_fail_with_counts_once(
    recloser: Sandbox, provider: FaultServer, sessions: Any
) -> None:
    """A realtime model tells of errors in its session; a fallback adapter around two of them hides the first's."""
    provider.answer(401)
    # LiveKit's own task that closes the session raises what the model had failed with.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    async with aiohttp.ClientSession() as http:
        options = {"api_key": "k", "base_url": f"{provider.url}/v1", "conn_options": ONCE, "http_session": http}
        first, second = openai.realtime.RealtimeModel(**options), openai.realtime.RealtimeModel(**options)
        adapter = llm.RealtimeModelFallbackAdapter([first, second])
        names = {first: "first", second: "second"}
        session = await sessions(Agent(instructions="talk"), llm=adapter, attached={"names": names})
        await eventually(lambda: counts(recloser, "first") == (1, 1), "the first")
        await eventually(lambda: counts(recloser, "second") == (1, 1), "the second")
        with suppress(APIError):
            await session.aclose()
    assert set(recloser.status()) == {"first", "second"}


# -- fallback adapters -----------------------------------------------------------------------------------------------

ADAPTERS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "openai.LLM": (llm.FallbackAdapter, {"attempt_timeout": 5.0}, ask),
    "openai.TTS": (tts.FallbackAdapter, {"max_retry_per_tts": 0}, say),
    "elevenlabs.TTS": (tts.FallbackAdapter, {"max_retry_per_tts": 0}, speak),
    "deepgram.STT": (stt.FallbackAdapter, {"max_retry_per_stt": 0, "attempt_timeout": 5.0}, transcribe),
    "deepgram.STT stream": (stt.FallbackAdapter, {"max_retry_per_stt": 0, "attempt_timeout": 5.0}, listen),
}


class Pair:
    """Two providers behind an adapter, of circuits "first" and "second"."""

    healthy: dict[str, list[Any]]

    def __init__(self, sort: str, adapter: Any, plugins: list[Any], request: Any, servers: list[FaultServer]) -> None:
        self.sort = sort
        self.adapter = adapter
        first, second = plugins
        self.names = {first: "first", second: "second"}
        self.request = request
        self.servers = servers

    def count(self) -> tuple[int, int]:
        first, second = map(requests, self.servers)
        return first, second

    async def settled(self) -> tuple[int, int]:
        """Once no request that is for nothing is under way."""
        tasks = [
            task
            for status in self.adapter._status
            for name, task in vars(getattr(status, "_own", status)).items()
            if name.startswith("recovering") and task is not None
        ]
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        return self.count()


@pytest.fixture(params=ADAPTERS)
async def pair(
    request: pytest.FixtureRequest, provider: FaultServer, other: FaultServer, make: Any
) -> AsyncIterator[Pair]:
    cls, options, asked = ADAPTERS[request.param]
    servers = [provider, other]
    for server in servers:
        if request.param == "elevenlabs.TTS":
            server.play(Eleven())
        elif request.param in STREAMS:
            server.play(STREAMS[request.param])
    plugins = [await make(request.param, server.url) for server in servers]
    adapter = cls(plugins, **options)
    pair = Pair(request.param, adapter, plugins, asked, servers)
    pair.healthy = {path: list(plays) for path, plays in provider._plays.items()}
    yield pair
    await adapter.aclose()
    for status in adapter._status if request.param == "openai.LLM" else ():
        if status.recovering_task is not None:  # LiveKit leaves it running
            status.recovering_task.cancel()


def down(server: FaultServer, behaviour: Any) -> None:
    for path in ("", "/v1/audio/speech"):
        server.play(behaviour, path=path)


def up(server: FaultServer, pair: Pair) -> None:
    server._plays = {path: list(plays) for path, plays in pair.healthy.items()}


async def test_what_an_adapter_hides_is_its_plugins_failure(
    recloser: Sandbox, pair: Pair, provider: FaultServer
) -> None:
    """The application sees nothing of it, and the circuit does: once, and nothing is said of the adapter."""
    down(provider, Answer(503))
    attach(pair.adapter, names=pair.names, call_id="CA1")
    for _ in range(3):
        assert await pair.request(pair.adapter)
    await eventually(lambda: counts(recloser, "second") == (3, 0), "the second answers")
    assert counts(recloser, "first") == (1, 1)
    assert set(recloser.status()) == {"first", "second"}


@pytest.mark.parametrize("by", ["operator", "fleet"])
async def test_a_paused_provider_is_left_alone_and_comes_back(
    caplog: pytest.LogCaptureFixture, recloser: Sandbox, pair: Pair, by: str
) -> None:
    """No request reaches it, none for nothing either, and the log is quiet; after the pause the first is its test."""
    follow(pair.adapter, names=pair.names)
    if by == "fleet":
        recloser.trip("first")
    else:
        recloser.pause("first", reason="invoice", by="ann", for_="15m")
    with caplog.at_level(logging.WARNING, "livekit.agents"):
        for number in range(1, 6):
            assert await pair.request(pair.adapter)
            assert pair.count() == (0, number)
        await pair.settled()
    assert not [
        each for each in caplog.messages if "FallbackAdapter" in each or "switching" in each or "recover" in each
    ]
    assert not [each for each in caplog.messages if "unavailable" in each or "failed" in each]
    recloser.clock.advance("15m")
    assert recloser.circuit("first").state is State.HALF_OPEN
    assert await pair.request(pair.adapter)
    await eventually(lambda: recloser.circuit("first").state is State.CLOSED, "it passed")
    assert pair.count() == (1, 5)
    assert await pair.request(pair.adapter)
    assert pair.count() == (2, 5)


async def test_a_failed_test_is_made_up_for_by_the_next_provider(
    recloser: Sandbox, pair: Pair, provider: FaultServer
) -> None:
    """The caller never notices that the provider was tested, and it was not tested twice."""
    follow(pair.adapter, names=pair.names)
    recloser.trip("first")
    recloser.clock.advance("15m")
    down(provider, Answer(503))
    assert await pair.request(pair.adapter)
    assert recloser.circuit("first").state is State.OPEN
    assert await pair.settled() == (1, 1)
    assert await pair.request(pair.adapter)
    assert await pair.settled() == (1, 2)


async def test_a_provider_that_is_tested_is_not_stampeded(
    recloser: Sandbox, pair: Pair, provider: FaultServer, other: FaultServer
) -> None:
    """Of ten calls that come at once, one is the test."""
    follow(pair.adapter, names=pair.names)
    recloser.trip("first")
    recloser.clock.advance("15m")
    down(provider, Hang())
    tasks = [asyncio.ensure_future(pair.request(pair.adapter)) for _ in range(10)]
    await eventually(lambda: sum(task.done() for task in tasks) == 9, "the others have gone on")
    assert pair.count() == (1, 9)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # Cancelled, it was no test: the next call may make it.
    up(provider, pair)
    assert await pair.request(pair.adapter)
    await eventually(lambda: recloser.circuit("first").state is State.CLOSED, "it passed")


async def test_with_every_provider_paused_nobody_is_called(recloser: Sandbox, pair: Pair) -> None:
    """An adapter tries all of them when it believes that all are down; here each says no."""
    follow(pair.adapter, names=pair.names)
    for name in ("first", "second"):
        recloser.pause(name, reason="invoice", by="ann")
    with pytest.raises(APIError):
        await pair.request(pair.adapter)
    assert await pair.settled() == (0, 0)
    assert {shot.calls for shot in recloser.status().values()} == {0}


async def test_what_an_adapter_remembers_ends_with_the_state_of_the_circuit(
    recloser: Sandbox, pair: Pair, provider: FaultServer
) -> None:
    """It has marked the provider as down and would ask it for nothing until it answers; the fleet knows better."""
    follow(pair.adapter, names=pair.names)
    down(provider, Answer(503))
    assert await pair.request(pair.adapter)
    assert pair.adapter._status[0].available is False
    recloser.trip("first")
    before, _ = await pair.settled()
    for _ in range(3):
        assert await pair.request(pair.adapter)
    assert (await pair.settled())[0] == before
    up(provider, pair)
    recloser.resume("first", by="ann")
    assert await pair.request(pair.adapter)
    assert pair.count()[0] == before + 1
    assert pair.adapter._status[0].available is True


# The role of an answer and nothing more, headers and nothing more, a connection and nothing more.
SILENT = {"openai.LLM": Stall(1), "openai.TTS": Stall(0, of=Answer(body=PCM)), "elevenlabs.TTS": Eleven(audio=False)}


@pytest.mark.parametrize("by", ["argument", "policy"])
async def test_a_silent_provider_fails_over(recloser: Sandbox, pair: Pair, provider: FaultServer, by: str) -> None:
    """LiveKit's adapters wait for a first token for ever."""
    if pair.sort == "deepgram.STT stream":
        pytest.skip("a caller who is silent is not transcribed: streams of recognition have no limit")
    down(provider, SILENT.get(pair.sort, Hang()))
    if by == "policy":
        recloser.circuit("first", first_item=0.2)
    follow(pair.adapter, names=pair.names, first_item="200ms" if by == "argument" else None)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await asyncio.wait_for(pair.request(pair.adapter), 5)
    assert 0.2 <= loop.time() - began < 4
    assert (await pair.settled())[1] == 1
    # The request, and the one that the adapter sends for nothing while the circuit lets it.
    assert recloser.circuit("first").snapshot().failures == 2


class Quiet(llm.LLM):
    """A model that says who speaks, and nothing more."""

    def chat(self, *, chat_ctx: Any, tools: Any = None, conn_options: Any = ONCE, **_: Any) -> Any:
        return QuietStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class QuietStream(llm.LLMStream):
    async def _run(self) -> None:
        self._event_ch.send_nowait(llm.ChatChunk(id="c", delta=llm.ChoiceDelta(role="assistant")))
        await asyncio.Event().wait()


async def test_the_role_alone_is_no_answer(recloser: Sandbox, provider: FaultServer, make: Any) -> None:
    """Some models send it at once, and then think for ever."""
    adapter = llm.FallbackAdapter([Quiet(), await make("openai.LLM", provider.url)])
    follow(adapter, names={Quiet: "quiet"}, first_item=0.1)
    assert await asyncio.wait_for(ask(adapter), 5)
    assert counts(recloser, "quiet") == (1, 1)
    await asyncio.wait([adapter._status[0].recovering_task])
    await adapter.aclose()


@pytest.mark.realtime
async def test_an_answer_that_has_begun_in_time_may_take_its_time(
    recloser: Sandbox, provider: FaultServer, make: Any
) -> None:
    """The limit is one for the first item, and an answer may be long."""
    provider.play(Stall(2))
    model = await make("openai.LLM", provider.url)
    adapter = follow(llm.FallbackAdapter([model]), first_item=0.3)
    task = asyncio.ensure_future(ask(adapter))
    await asyncio.sleep(0.5)
    provider.release()
    assert await task == "Hello there"
    assert counts(recloser, "openai") == (1, 0)
    await adapter.aclose()


async def test_a_limit_that_has_an_answer_in_time_changes_nothing(recloser: Sandbox, pair: Pair) -> None:
    """For whatever sort of provider."""
    follow(pair.adapter, names=pair.names, first_item="5s")
    assert await pair.request(pair.adapter)
    await eventually(lambda: counts(recloser, "first") == (1, 0), "it is counted")


async def test_a_session_whose_voices_are_all_paused_is_told(
    recloser: Sandbox, provider: FaultServer, other: FaultServer, make: Any, sessions: Any
) -> None:
    """Nothing takes over, so that the owner of the call has to; and that counts for nobody."""
    voices = [await make("elevenlabs.TTS", server.url) for server in (provider, other)]
    names = {voices[0]: "first", voices[1]: "second"}
    told: list[CallFailure] = []
    adapter = follow(tts.FallbackAdapter(voices, max_retry_per_tts=0), names=names)
    for name in names.values():
        recloser.pause(name, reason="invoice", by="ann")
    session = await sessions(
        Agent(instructions="speak"), tts=adapter, attached={"names": names, "on_failure": told.append}
    )
    with suppress(Exception):
        await session.say("Hello")
    await eventually(lambda: bool(told), "it is told")
    assert told[0].circuit == "second"
    assert (provider.count(), other.count()) == (0, 0)
    await adapter.aclose()


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thing", [None, "session", object(), Own, stt, Agent(instructions="x")])
def test_what_is_no_session_and_no_plugin_is_refused(thing: Any) -> None:
    """A class in the place of an object, a module, an agent."""
    with pytest.raises(ConfigurationError, match="an AgentSession, or an STT, TTS, LLM or realtime model"):
        attach(thing)
    with pytest.raises(ConfigurationError, match="a FallbackAdapter of livekit"):
        follow(thing)


@pytest.mark.parametrize(
    "arguments",
    [{"names": ["x"]}, {"names": {"X": "a b"}}, {"call_id": ""}, {"call_id": 7}, {"on_failure": 7}, {"recloser": 7}],
)
def test_impossible_arguments_are_refused_and_nothing_is_attached(arguments: dict[str, Any]) -> None:
    """The message names the argument."""
    plugin = Own("x")
    with pytest.raises(ConfigurationError, match=f"^{next(iter(arguments))}"):
        attach(plugin, **arguments)
    attach(plugin)


@pytest.mark.parametrize("length", [0, -1, "soon", True])
def test_impossible_limits_are_refused(length: Any) -> None:
    """A limit of nothing would fail every request."""
    with pytest.raises(ConfigurationError, match=r"^first_item"):
        follow(tts.FallbackAdapter([Own("x")]), first_item=length)


async def test_attaching_twice_counts_once(
    caplog: pytest.LogCaptureFixture, recloser: Sandbox, provider: FaultServer, make: Any
) -> None:
    """The first stays, and the log has a line of it; following an adapter twice is the same."""
    provider.answer(503)
    plugin = await make("openai.LLM", provider.url)
    adapter = llm.FallbackAdapter([plugin])
    first = attach(plugin, names={plugin: "mine"})
    assert attach(plugin) is first
    assert follow(follow(adapter, names={plugin: "mine"}), names={plugin: "other"}) is adapter
    with pytest.raises(APIError):
        await ask(plugin)
    assert (counts(recloser, "mine"), set(recloser.status())) == ((1, 1), {"mine"})
    assert len([each for each in caplog.messages if "what was said then stays" in each]) == 2
    await adapter.aclose()


async def test_on_failure_may_be_async_and_may_fail(
    caplog: pytest.LogCaptureFixture, recloser: Sandbox, provider: FaultServer, make: Any
) -> None:
    """What the application does then is its own, and breaks no request."""
    provider.answer(503)
    told = asyncio.Event()

    async def ring(failure: CallFailure) -> None:
        assert failure.session is None
        told.set()

    def burst(failure: CallFailure) -> None:
        raise TypeError(failure.circuit)

    mine, also = await make("openai.LLM", provider.url), await make("deepgram.STT", provider.url)
    attach(mine, on_failure=ring)
    attach(also, on_failure=burst)
    for request in (ask(mine), transcribe(also)):
        with pytest.raises(APIError):
            await request
    await asyncio.wait_for(told.wait(), 5)
    assert [each for each in caplog.messages if each.startswith("on_failure raised")]


HIDE = """
import sys
from importlib import metadata
found = sys.argv[1]
def version(name):
    if not found:
        raise metadata.PackageNotFoundError(name)
    return found
metadata.version = version
try:
    import recloser.integrations.livekit
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("", "ModuleNotFoundError recloser.integrations.livekit needs livekit-agents 1.5 or newer, which is not"),
        (
            "1.4.9",
            "ImportError recloser.integrations.livekit needs livekit-agents 1.5 or newer, and 1.4.9 is installed",
        ),
    ],
)
def test_livekit_that_is_missing_or_too_old_is_asked_for(found: str, said: str) -> None:
    """The message says which release is needed and how to get it."""
    done = subprocess.run([sys.executable, "-c", HIDE, found], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(said)
    assert "pip install -U 'livekit-agents>=1.5'" in done.stdout


logging.getLogger("livekit").setLevel(logging.CRITICAL)
