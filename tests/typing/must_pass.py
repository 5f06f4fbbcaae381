"""Lines that both type checkers must accept, with the very types that users get: `uv run nox -s types`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Protocol, assert_type

from recloser import (
    Outcome,
    PausedError,
    Policy,
    ProvidersExhaustedError,
    Recloser,
    State,
    await_until_allowed,
    circuit,
    classify,
    configure,
    explain,
    fallback,
    lifespan,
    pause,
    requires,
    resume,
    status,
    wait_until_allowed,
)
from recloser.testing import ManualClock, Sandbox

tts = circuit("tts", failures=5, window="2m", probes=1, timeout=None, mode="observe")

# -- circuit: what is decorated keeps its type -------------------------------------------------------------------------


@tts
def function(text: str, *, loud: bool = False) -> bytes:
    return text.encode()


@circuit("stt", Policy(failures=3), failure_rate=0.5, slow_after=2.5)
async def coroutine_function(audio: bytes) -> str:
    return audio.decode()


@circuit("tts", min_bytes=1, progress=bool)
def generator(text: str) -> Iterator[bytes]:
    yield text.encode()


@circuit("tts-stream", first_item="800ms", idle=2)
async def async_generator(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


def judge(error: Exception) -> Outcome | None:
    if isinstance(error, TimeoutError):
        return Outcome("failure", kind="rate_limit", status=429, retry_after=30)
    return Outcome.FAILURE if isinstance(error, OSError) else None


@circuit("llm", classify=judge, failure=(KeyError, OSError), ignore=ValueError, failure_if=lambda answer: not answer)
def judged(question: str) -> str:
    return question


class Client:
    @tts
    def method(self, text: str) -> bytes:
        return text.encode()

    @tts
    async def async_method(self, text: str) -> bytes:
        return text.encode()

    @classmethod
    @tts
    def class_method(cls, text: str) -> Client:
        return cls()

    @staticmethod
    @tts
    def static_method(text: str) -> bytes:
        return text.encode()

    @property
    @tts
    def prop(self) -> int:
        return 1

    def __call__(self, text: str) -> int:
        return len(text)


client = Client()


async def of_circuits() -> None:
    assert_type(function("hello", loud=True), bytes)
    assert_type(await coroutine_function(b"hello"), str)
    assert_type(generator("hello"), Iterator[bytes])
    assert_type(async_generator("hello"), AsyncIterator[bytes])
    assert_type(judged("hello"), str)
    assert_type(client.method("hello"), bytes)
    assert_type(Client.method(client, "hello"), bytes)
    assert_type(await client.async_method("hello"), bytes)
    assert_type(Client.class_method("hello"), Client)
    assert_type(client.static_method("hello"), bytes)
    assert_type(client.prop, int)
    assert_type(tts(client.method)("hello"), bytes)
    assert_type(tts(client)("hello"), int)
    assert_type(tts(client), Client)
    assert_type(tts(partial(function, "hello"))(), bytes)
    assert_type(circuit("tts", stream=True)(Client)(), Client)


async def of_blocks() -> None:
    with tts as entered:
        assert_type(entered.state, State)
    async with tts as entered:
        assert_type(entered.policy, Policy)
    text = await coroutine_function(b"hello")
    assert_type(text, str)
    async for chunk in async_generator("hello"):
        assert_type(chunk, bytes)


def by_hand() -> None:
    tts.record_failure(OSError(), context={"call_sid": "CA17"}, once="call-17")
    tts.record_failure("an error frame")
    tts.record_success()
    tts.check()
    assert_type(tts.allows(), bool)
    assert_type(tts.state, State)
    snapshot = tts.snapshot()
    assert_type((snapshot.failures, snapshot.until, snapshot.reason), tuple[int, float | None, str])
    assert_type(classify(OSError()), Outcome)


# -- fallback: the provider is handed in, callers leave it out ---------------------------------------------------------


@fallback("eleven", "cartesia")
async def speak(provider: str, text: str, *, loud: bool = False) -> bytes:
    return f"{provider} {text}".encode()


@fallback("eleven", circuit("cartesia", failures=3))
def speak_stream(provider: str, text: str) -> Iterator[bytes]:
    yield f"{provider} {text}".encode()


@fallback(eleven=Client(), cartesia=Client())
def with_clients(provider: Client, text: str) -> bytes:
    return provider.method(text)


@fallback(function, function)
def with_callables(provider: Callable[..., bytes], text: str) -> bytes:
    return provider(text, loud=True)


class Voice:
    @fallback("eleven", "cartesia")
    def say(self, provider: str, text: str) -> int:
        return len(provider + text)

    @fallback("eleven", "cartesia")
    async def say_async(self, provider: str, text: str) -> int:
        return len(provider + text)


async def of_fallbacks() -> None:
    assert_type(await speak("hello", loud=True), bytes)
    assert_type(speak.choose(), str)
    assert_type(speak.current, str | None)
    assert_type(speak.order, tuple[str, ...])
    assert_type(speak_stream("hello"), Iterator[bytes])
    assert_type(with_clients("hello"), bytes)
    assert_type(with_clients.choose(), Client)
    assert_type(with_callables("hello"), bytes)
    assert_type(Voice().say("hello"), int)
    assert_type(Voice().say.choose(), str)
    assert_type(await Voice().say_async("hello"), int)
    call = fallback(function, function).call
    assert_type(call("hello", loud=True), bytes)
    assert_type(await fallback(coroutine_function).call(b"hello"), str)
    assert_type(fallback("eleven", "cartesia").choose(), str)
    assert_type(fallback(eleven=client).choose(), Client)
    assert_type(fallback("eleven").current, str | None)


# -- requires: what is decorated keeps its type ------------------------------------------------------------------------


@requires(speak, "deepgram", tts, fallback("a", "b"), function, client.method)
async def dial(lead: int) -> str:
    return str(lead)


class Dialler:
    @requires("deepgram")
    def dial(self, lead: int) -> str:
        return str(lead)

    @classmethod
    @requires("deepgram")
    def dial_all(cls, *leads: int) -> list[str]:
        return [str(lead) for lead in leads]


async def of_requirements() -> None:
    assert_type(await dial(1), str)
    assert_type(Dialler().dial(1), str)
    assert_type(Dialler.dial_all(1, 2), list[str])
    needed = requires("deepgram")
    needed.check()
    assert_type(needed.allows(), bool)
    wait_until_allowed(dial, needed, "deepgram", timeout="5s", ramp=None)
    await await_until_allowed(dial, needed, Dialler().dial, timeout=0.5, ramp="1m")
    await Recloser().await_until_allowed("deepgram")


# -- operators, fleets of one's own, errors, tests ---------------------------------------------------------------------


def of_operators() -> None:
    assert_type(pause("azure-*", reason="maintenance", by="ada", for_="1h"), tuple[str, ...])
    assert_type(resume("azure-*", by="ada"), tuple[str, ...])
    assert_type(status()["tts"].state, State)
    assert_type(explain("tts").next, str)
    assert_type(configure(backend="memory://", mode="observe"), Recloser)
    with Recloser("memory://", namespace="other", clock=ManualClock(), mode="off") as fleet:
        assert_type(fleet.circuit("tts")(function)("hello"), bytes)
        assert_type(fleet.fallback("a", "b").choose(), str)
        assert_type(fleet.ready("1s"), bool)


@contextlib.asynccontextmanager
async def own_life(app: str) -> AsyncIterator[dict[str, int]]:
    yield {app: 1}


async def of_applications() -> None:
    async with lifespan(timeout="2s") as nothing:
        assert_type(nothing, None)
    async with lifespan()(object()) as nothing:
        assert_type(nothing, None)
    async with lifespan(own_life)("app") as state:
        assert_type(state, dict[str, int])


def of_sandboxes() -> None:
    sandbox = Sandbox()
    sandbox.trip("tts")
    sandbox.clock.advance("15m")
    sandbox.heal("tts")
    assert_type(sandbox.events[-1].circuit, str)


def of_errors(paused: PausedError, exhausted: ProvidersExhaustedError) -> None:
    assert_type((paused.circuit, paused.state, paused.retry_after), tuple[str, State, float | None])
    assert_type(exhausted.errors, dict[str, BaseException])


class Speaks(Protocol):
    def __call__(self, text: str, *, loud: bool = False) -> bytes: ...


as_protocol: Speaks = function
as_managers: list[contextlib.AbstractContextManager[object]] = [tts]
as_async_managers: list[contextlib.AbstractAsyncContextManager[object]] = [tts]
as_callable: Callable[[int], Coroutine[Any, Any, str]] = dial
