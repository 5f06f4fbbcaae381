"""Fixtures of the tests with LiveKit: providers, plugins that are closed, and sessions without a room."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("livekit.agents")
pytest.importorskip("livekit.plugins.cartesia")
pytest.importorskip("livekit.plugins.deepgram")
pytest.importorskip("livekit.plugins.elevenlabs")
pytest.importorskip("livekit.plugins.openai")

from livekit.agents import NOT_GIVEN, Agent, AgentSession, tts
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.plugins import elevenlabs

from recloser.integrations.livekit import attach
from tests.faults import Answer, FaultServer, Socket
from tests.faults_wire import AUDIO, Reply
from tests.frameworks.livekit_world import (
    HEARD,
    ONCE,
    Eleven,
    Mouth,
    the_plugin,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from recloser import Recloser


logging.getLogger("livekit").setLevel(logging.CRITICAL)

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


def touched(recloser: Recloser) -> set[str]:
    """The circuits that something was counted for; those of other modules of tests are there as well."""
    return {name for name, shot in recloser.status().items() if shot.calls}


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
