"""LiveKit Agents: which circuit a plugin belongs to, and what is said to whoever gets something wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("livekit.agents")
pytest.importorskip("livekit.plugins.cartesia")
pytest.importorskip("livekit.plugins.deepgram")
pytest.importorskip("livekit.plugins.elevenlabs")
pytest.importorskip("livekit.plugins.openai")

from livekit.agents import Agent, APIError, inference, llm, stt, tts
from livekit.plugins import deepgram, openai

from recloser import ConfigurationError, Outcome
from recloser.integrations.livekit import CallFailure, attach, follow
from recloser.integrations.livekit.framework import guess
from tests.frameworks.livekit_fixtures import (
    Eleventh,
    Own,
    anyio_backend,
    counts,
    make,
    other,
    provider,
    sessions,
    touched,
)
from tests.frameworks.livekit_world import (
    ask,
    say,
    transcribe,
)

if TYPE_CHECKING:
    from recloser.testing import Sandbox
    from tests.faults import FaultServer

__all__ = ["anyio_backend", "make", "other", "provider", "sessions"]


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
    assert not touched(recloser)


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
    assert (counts(recloser, "mine"), touched(recloser)) == ((1, 1), {"mine"})
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
        ("", "ModuleNotFoundError recloser.integrations.livekit needs livekit-agents 1.8 or newer, which is not"),
        (
            "1.7.9",
            "ImportError recloser.integrations.livekit needs livekit-agents 1.8 or newer, and 1.7.9 is installed",
        ),
    ],
)
def test_livekit_that_is_missing_or_too_old_is_asked_for(found: str, said: str) -> None:
    """The message says which release is needed and how to get it."""
    done = subprocess.run([sys.executable, "-c", HIDE, found], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(said)
    assert "pip install -U 'livekit-agents>=1.8'" in done.stdout
