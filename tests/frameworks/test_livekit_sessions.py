"""LiveKit Agents: sessions without a room, whose plugins and agents come and go."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("livekit.agents")
pytest.importorskip("livekit.plugins.cartesia")
pytest.importorskip("livekit.plugins.deepgram")
pytest.importorskip("livekit.plugins.elevenlabs")
pytest.importorskip("livekit.plugins.openai")

import aiohttp
from livekit.agents import Agent, APIError, llm, tts
from livekit.agents.voice.events import ErrorEvent
from livekit.plugins import openai

from recloser.integrations.livekit import CallFailure, follow
from tests.faults import FaultServer, Socket
from tests.frameworks.livekit_fixtures import (
    anyio_backend,
    counts,
    make,
    other,
    provider,
    sessions,
    touched,
)
from tests.frameworks.livekit_world import (
    HEARD,
    ONCE,
    Ears,
    Eleven,
    Mouth,
    ask,
    eventually,
)

if TYPE_CHECKING:
    from recloser.testing import Sandbox

__all__ = ["anyio_backend", "make", "other", "provider", "sessions"]


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
    assert not touched(recloser)
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
    assert touched(recloser) == {"first", "second"}


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
