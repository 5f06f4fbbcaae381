"""LiveKit Agents: its real plugins, before a provider that fails in every way there is."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("livekit.agents")
pytest.importorskip("livekit.plugins.cartesia")
pytest.importorskip("livekit.plugins.deepgram")
pytest.importorskip("livekit.plugins.elevenlabs")
pytest.importorskip("livekit.plugins.openai")

from livekit.agents import APIError, tts

from recloser import Policy, State
from recloser.integrations.livekit import attach, follow
from tests.faults import Answer, Cut, FaultServer, Hang, Stall, refused_url
from tests.faults_wire import AUDIO, Reply
from tests.frameworks.livekit_fixtures import (
    PCM,
    STREAMS,
    anyio_backend,
    counts,
    make,
    other,
    provider,
    sessions,
)
from tests.frameworks.livekit_world import (
    ONCE,
    PLUGINS,
    TWICE,
    ask,
    eventually,
    say,
    transcribe,
)

if TYPE_CHECKING:
    from recloser.testing import Sandbox

__all__ = ["anyio_backend", "make", "other", "provider", "sessions"]

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
