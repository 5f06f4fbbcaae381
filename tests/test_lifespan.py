"""The life of an application: what it waits for as it starts, and what it delivers as it ends."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from recloser import ConfigurationError, Recloser, State
from recloser.default import DEFAULT, DefaultRecloser
from recloser.lifespan import Lifespan
from tests.servers.fixtures import namespace, redis_8, start_proxy, start_redis
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from recloser.testing import Sandbox
    from tests.servers.proxy import Proxy
    from tests.servers.redis_server import RedisServer

__all__ = ["namespace", "redis_8", "start_proxy", "start_redis"]


@pytest.fixture
def make(redis_8: RedisServer, namespace: str) -> Iterator[Callable[..., Recloser]]:
    """Makes toolkits of one fleet, and closes them."""
    made: list[Recloser] = []

    def one(backend: str = redis_8.url) -> Recloser:
        made.append(Recloser(backend, namespace=namespace))
        return made[-1]

    yield one
    for each in made:
        each.close()


@pytest.fixture
def other(make: Callable[..., Recloser]) -> Recloser:
    """Another process of the fleet."""
    toolkit = make()
    toolkit.circuit("tts", failures=None)
    assert toolkit.ready("5s")
    return toolkit


async def elsewhere(look: Callable[[], object]) -> Any:
    """What blocks has no place on an event loop."""
    return await anyio.to_thread.run_sync(look)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "recloser"]


def counted(toolkit: Recloser, calls: int) -> None:
    """Wait until the fleet has counted this."""
    until(lambda: toolkit.status()["tts"].calls == calls, f"{calls} calls are counted", every=0.05)


def passed(toolkit: Recloser, times: int) -> None:
    for _ in range(times):
        with toolkit.circuit("tts"):
            pass


# -- what goes on inside -----------------------------------------------------------------------------------------------


async def test_an_application_lives_inside(other: Recloser, make: Callable[..., Recloser]) -> None:
    """When its first call comes it knows what the fleet knows, and when it has ended the fleet knows what it did."""
    await elsewhere(lambda: other.pause("llm", reason="maintenance", by="ann"))
    toolkit = make()
    llm = toolkit.circuit("llm")
    async with toolkit.lifespan() as nothing:
        assert nothing is None
        assert llm.state is State.PAUSED
        passed(toolkit, 7)
    # At once and not with the next tick: nobody works on it any more.
    await elsewhere(lambda: counted(other, 7))
    assert toolkit.engine.closed


async def test_an_application_that_fails_has_delivered(other: Recloser, make: Callable[..., Recloser]) -> None:
    """What it raises passes through unchanged."""
    toolkit, error = make(), OSError("the application")
    with pytest.raises(OSError, match="the application") as caught:
        async with toolkit.lifespan()(None):
            passed(toolkit, 3)
            raise error
    assert caught.value is error
    await elsewhere(lambda: counted(other, 3))


async def test_an_application_that_is_cancelled_has_delivered(other: Recloser, make: Callable[..., Recloser]) -> None:
    """The end is shielded, whichever way the lifespan was entered."""
    toolkit, calls = make(), 0
    for way in (toolkit.lifespan(), toolkit.lifespan()(None)):
        with anyio.CancelScope() as scope:
            async with way:
                passed(toolkit, 3)
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert toolkit.engine.closed
        calls += 3
        await elsewhere(lambda calls=calls: counted(other, calls))


async def test_an_application_whose_threads_are_all_at_work_ends(
    other: Recloser, make: Callable[..., Recloser]
) -> None:
    """It neither waits for one of them nor leaves anything undelivered."""
    toolkit, free = make(), threading.Event()
    limiter = anyio.to_thread.current_default_thread_limiter()
    tokens, limiter.total_tokens = limiter.total_tokens, 1
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, lambda: free.wait(10))
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(8):
                async with toolkit.lifespan():
                    passed(toolkit, 2)
            free.set()
    finally:
        free.set()
        limiter.total_tokens = tokens
    await elsewhere(lambda: counted(other, 2))


async def test_an_end_that_hangs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever closing does, the application ends within its bound."""
    monkeypatch.setattr(sys.modules[Lifespan.__module__], "_BOUND", 0.05)
    toolkit, free = Recloser(), threading.Event()
    monkeypatch.setattr(toolkit, "close", lambda: free.wait(10))
    with anyio.fail_after(5):
        async with toolkit.lifespan():
            pass
    free.set()


# -- another lifespan inside -------------------------------------------------------------------------------------------


async def test_the_applications_own_lifespan_is_inside() -> None:
    """It begins after the fleet was heard, ends before the toolkit does, gets the application and gives its state."""
    toolkit, seen = Recloser(), []

    @toolkit.lifespan
    @contextlib.asynccontextmanager
    async def lifespan(app: str) -> AsyncIterator[dict[str, str]]:
        seen.append((app, toolkit.engine.closed))
        yield {"pool": app}
        seen.append((app, toolkit.engine.closed))

    async with lifespan("app") as state:
        assert state == {"pool": "app"}
    assert seen == [("app", False), ("app", False)]
    assert toolkit.engine.closed


async def test_an_own_lifespan_that_raises_ends_the_toolkit() -> None:
    """Whether it cannot begin, or raises as it ends."""

    @contextlib.asynccontextmanager
    async def never(app: object) -> AsyncIterator[None]:
        raise LookupError(app)
        yield

    @contextlib.asynccontextmanager
    async def badly(app: object) -> AsyncIterator[None]:
        yield
        raise LookupError(app)

    for inner in (never, badly):
        toolkit = Recloser()
        with pytest.raises(LookupError):
            async with toolkit.lifespan(inner)("app"):
                pass
        assert toolkit.engine.closed


async def test_what_is_no_lifespan_is_refused_where_it_is_written() -> None:
    """With the decorator that people forget; and what needs an application cannot be entered without one."""

    async def forgotten(app: object) -> AsyncIterator[None]:
        yield

    toolkit = Recloser()
    for inner in (forgotten, "main:lifespan"):
        with pytest.raises(ConfigurationError, match="asynccontextmanager"):
            toolkit.lifespan(inner)  # type: ignore[arg-type,call-overload]
    for timeout in ("soon", 0, -1):
        with pytest.raises(ConfigurationError, match="timeout"):
            toolkit.lifespan(timeout=timeout)
    with pytest.raises(ConfigurationError, match="only where there is an application"):
        async with toolkit.lifespan(contextlib.asynccontextmanager(forgotten)):
            pass


# -- when the fleet is not there ---------------------------------------------------------------------------------------


@pytest.mark.realtime
async def test_an_application_starts_without_redis(
    start_redis: Callable[..., RedisServer], namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage of Redis is not one of the application: one line in the log, and calls go on."""
    server = await elsewhere(start_redis)
    for hurt in (server.stop, server.kill):
        hurt()
        caplog.clear()
        toolkit = Recloser(server.url, namespace=namespace)
        async with toolkit.lifespan(timeout=0.6):
            passed(toolkit, 1)
            assert len(warnings(caplog)) == 1
            assert "calls go on with what this process knows" in warnings(caplog)[0]
        assert len(warnings(caplog)) == 1


@pytest.mark.realtime
async def test_a_slow_redis_is_not_waited_for(
    redis_8: RedisServer, start_proxy: Callable[..., Proxy], namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The timeout is that of the start: where no answer has been missed yet, the lifespan says that none came."""
    proxy = await elsewhere(lambda: start_proxy(redis_8))
    proxy.hold()
    toolkit = Recloser(f"redis://{proxy.address}?timeout=1.5", namespace=namespace)
    async with toolkit.lifespan(timeout="0.1s"):
        said = "no word from the fleet within 100ms; calls go on with what this process knows"
        assert warnings(caplog) == [said]
    await elsewhere(proxy.heal)


@pytest.mark.realtime
async def test_a_start_that_is_cancelled_leaves_nobody_waiting(
    start_redis: Callable[..., RedisServer], namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who stops an application that waits for Redis does not wait with it: the toolkit is closed, its threads end."""
    server = await elsewhere(start_redis)
    server.stop()
    toolkit = Recloser(f"{server.url}?timeout=30", namespace=namespace)
    with anyio.move_on_after(0.2) as scope:
        async with toolkit.lifespan(timeout="1h"):
            pytest.fail("it did not wait")
    assert scope.cancelled_caught
    assert toolkit.engine.closed
    server.kill()
    await elsewhere(
        lambda: until(
            lambda: not [each for each in threading.enumerate() if "courier" in each.name],
            "the courier has ended",
        )
    )
    assert warnings(caplog) == []


async def test_a_misconfigured_application_does_not_start(redis_8: RedisServer, namespace: str) -> None:
    """A server of the wrong sort is said in so many words, and not by an application that starts blind."""
    toolkit = Recloser(redis_8.url.replace("redis:", "redis+cluster:"), namespace=namespace)
    for way in (toolkit.lifespan(), toolkit.lifespan()(None)):
        with pytest.raises(ConfigurationError, match="cluster"):
            async with way:
                pytest.fail("it started")
    assert toolkit.engine.closed


# -- again, and more than one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("default", [False, True])
async def test_an_application_can_live_twice(
    redis_8: RedisServer, namespace: str, other: Recloser, *, default: bool
) -> None:
    """Each block of a TestClient is a life: decorators go on to count in the next, and what they count is delivered."""
    toolkit = DefaultRecloser() if default else Recloser(redis_8.url, namespace=namespace)
    if isinstance(toolkit, DefaultRecloser):
        toolkit.configure(backend=redis_8.url, namespace=namespace)
    call = toolkit.circuit("tts", failures=None)(lambda: None)
    lifespan = toolkit.lifespan()
    for life in range(1, 4):
        async with lifespan:
            call()
            call()
        await elsewhere(lambda life=life: counted(other, 2 * life))


async def test_the_default_toolkit_that_was_closed_begins_anew(
    redis_8: RedisServer, namespace: str, other: Recloser
) -> None:
    """A call between two lives, or after the last, is one of the fleet like every other; closing twice is nothing."""
    toolkit = DefaultRecloser()
    toolkit.close()
    toolkit.configure(backend=redis_8.url, namespace=namespace)
    call = toolkit.circuit("tts", failures=None)(lambda: None)
    async with toolkit.lifespan():
        call()
    call()
    await toolkit.aclose()
    await toolkit.aclose()
    await elsewhere(lambda: counted(other, 2))
    assert toolkit.namespace == namespace


async def test_the_last_that_ends_closes(other: Recloser, make: Callable[..., Recloser]) -> None:
    """Two applications of a process, one mounted in the other or not, do not take the toolkit from each other."""
    toolkit = make()
    async with toolkit.lifespan():
        async with toolkit.lifespan()("mounted"):
            passed(toolkit, 1)
        assert not toolkit.engine.closed
        await elsewhere(lambda: other.pause("tts", reason="maintenance", by="ann"))
        tts = toolkit.circuit("tts")
        await elsewhere(lambda: until(lambda: tts.state is State.PAUSED, "it is heard"))
    assert toolkit.engine.closed


async def test_an_application_within_a_test_does_not_end_the_test(recloser: Sandbox) -> None:
    """What is under test may start and end as often as it likes; the test trips, and looks, before and after."""
    for toolkit, name in ((DEFAULT, "tts"), (recloser, "stt")):
        async with toolkit.lifespan():
            recloser.trip(name)
        assert DEFAULT.circuit(name).state is State.OPEN
        recloser.clock.advance("15m")
        assert DEFAULT.circuit(name).state is State.HALF_OPEN
        recloser.heal(name)
    assert DEFAULT.engine is recloser.engine
    assert not recloser.engine.closed
    assert [event.kind for event in recloser.events] == ["tripped", "probing", "resumed by hand"] * 2


def test_what_a_test_has_lent_is_not_closed() -> None:
    """Closing the default toolkit within a test closes the one that was in place before."""
    toolkit = DefaultRecloser()
    before, lent = toolkit.engine, Recloser().engine
    with toolkit.lent(lent):
        toolkit.close()
        assert (before.closed, lent.closed) == (True, False)
        assert toolkit.engine is lent
    assert toolkit.engine not in {before, lent}
