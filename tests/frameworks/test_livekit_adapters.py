"""LiveKit Agents: fallback adapters, and what the circuits have to say to them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("livekit.agents")
pytest.importorskip("livekit.plugins.cartesia")
pytest.importorskip("livekit.plugins.deepgram")
pytest.importorskip("livekit.plugins.elevenlabs")
pytest.importorskip("livekit.plugins.openai")

from livekit.agents import APIError, llm, stt, tts

from recloser import State
from recloser.integrations.livekit import attach, follow
from tests.faults import Answer, FaultServer, Hang, Stall
from tests.frameworks.livekit_fixtures import (
    PCM,
    STREAMS,
    anyio_backend,
    counts,
    make,
    other,
    provider,
    sessions,
    touched,
)
from tests.frameworks.livekit_world import (
    ONCE,
    Eleven,
    ask,
    eventually,
    listen,
    requests,
    say,
    speak,
    transcribe,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from recloser.testing import Sandbox

__all__ = ["anyio_backend", "make", "other", "provider", "sessions"]

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
    assert touched(recloser) == {"first", "second"}


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
    assert not touched(recloser)


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
