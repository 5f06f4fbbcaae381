"""A toolkit on a real Redis, as an application meets it: how it is configured, waited for, looked at and closed."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

from recloser import BackendError, ConfigurationError, PausedError, Recloser, State
from recloser.backends.redis import RedisBackend
from recloser.wrapping import in_event_loop
from tests.servers.fixtures import namespace, redis_6, redis_8, redis_any, start_cluster, start_redis, start_sentinels
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.redis_server import RedisServer

__all__ = ["namespace", "redis_6", "redis_8", "redis_any", "start_cluster", "start_redis", "start_sentinels"]

pytestmark = pytest.mark.realtime


@pytest.fixture
def make(redis_8: RedisServer, namespace: str) -> Iterator[Callable[..., Recloser]]:
    """Makes toolkits of one fleet, and closes them."""
    made: list[Recloser] = []

    def one(backend: object = None, **more: Any) -> Recloser:
        made.append(Recloser(backend or redis_8.url, namespace=namespace, **more))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for each in made:
        each.close()


def failing(toolkit: Recloser, name: str = "tts", times: int = 1) -> None:
    for _ in range(times):
        toolkit.circuit(name).record_failure("down")


# -- a fleet of toolkits -----------------------------------------------------------------------------------------------


def test_two_toolkits_trip_together(make: Callable[..., Recloser]) -> None:
    """Each saw half of the failures; both are paused, and anybody can read why."""
    one, other = make(), make()
    circuits = [each.circuit("tts", failures=4) for each in (one, other)]
    assert one.ready("5s")
    for _ in range(2):
        failing(one)
        failing(other)
    until(lambda: {each.state for each in circuits} == {State.OPEN}, "both are open")
    assert [event.kind for event in one.events()] == ["tripped"]
    told = str(other.explain("tts"))
    assert "4 failures in 5m, last: down" in told
    assert "0 rejected, seen by 2 processes" in told
    with pytest.raises(PausedError, match="4 failures in 5m, last: down"):
        circuits[1].check()


def test_an_operator_in_one_process_is_obeyed_in_all(make: Callable[..., Recloser]) -> None:
    """A pause and a resume reach everybody, and the log says who it was."""
    one, other = make(), make()
    circuit = other.circuit("tts")
    assert other.ready("5s")
    assert one.pause("t*s", reason="maintenance", by="ann", for_="1h") == ("tts",)
    until(lambda: circuit.state is State.PAUSED, "the other process has heard")
    shot = circuit.snapshot()
    assert (shot.by, shot.reason) == ("ann", "maintenance")
    assert shot.until is not None
    assert shot.until - shot.since == pytest.approx(3600, abs=1)
    one.resume("tts", by="bob")
    until(lambda: circuit.state is State.CLOSED, "the other process has heard")
    assert [(event.kind, event.by) for event in other.events()] == [("paused", "ann"), ("resumed by hand", "bob")]


def test_what_was_counted_is_seen_at_once_where_it_was_counted(make: Callable[..., Recloser]) -> None:
    """A snapshot holds what has not been delivered yet, and nothing twice."""
    toolkit = make()
    circuit = toolkit.circuit("tts", failures=None)
    for number in range(200):
        with circuit:
            pass
        circuit.record_failure("down")
        shot = circuit.snapshot()
        assert (shot.calls, shot.failures) == (2 * number + 2, number + 1)


def test_the_status_is_that_of_the_fleet(make: Callable[..., Recloser]) -> None:
    """It asks: circuits of other processes and what they counted are there, and how many processes there are."""
    one, other = make(), make()
    one.circuit("tts", failures=None)
    one.circuit("stt")
    assert one.ready("5s")
    failing(one, times=3)
    one.close()
    status = other.status()
    assert (status["tts"].failures, status["stt"].calls) == (3, 0)
    assert status.processes == 2
    assert status.as_dict()["lost_since"] is None


def test_a_process_that_waited_for_the_first_word_makes_no_call_in_vain(make: Callable[..., Recloser]) -> None:
    """After ready() an open circuit is open from the first call on, even one that was only mentioned."""
    failing_one = make()
    failing_one.circuit("tts", failures=1)
    failing(failing_one)
    until(lambda: failing_one.circuit("tts").state is State.OPEN, "it is open")
    cold = make()
    circuit = cold.circuit("tts")
    assert cold.ready("5s")
    with pytest.raises(PausedError):
        circuit.acquire()


async def test_it_can_be_waited_for_and_closed_without_blocking_an_event_loop(
    redis_8: RedisServer, namespace: str
) -> None:
    """aready and aclose leave the loop alone, on asyncio and on trio; so does making a toolkit there."""
    assert in_event_loop()
    toolkit = Recloser(redis_8.url, namespace=namespace)

    @toolkit.circuit("tts")
    async def speak() -> str:
        return "audio"

    assert await speak() == "audio"
    assert await toolkit.aready("5s")
    await toolkit.aclose()


def test_there_is_no_event_loop_here() -> None:
    """The question has two answers."""
    assert not in_event_loop()


@pytest.mark.parametrize("stopped", [False, True])
def test_nobody_waits_for_a_backend_that_is_not_there(
    start_redis: Callable[..., RedisServer],
    stopped: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Making a toolkit, calling, asking and closing go on without it; ready() says no, and one line says why."""
    caplog.set_level(logging.WARNING)
    server = start_redis()
    server.stop() if stopped else server.kill()
    with Recloser(server.url) as toolkit:
        circuit = toolkit.circuit("tts", failures=2)
        assert circuit(lambda: "audio")() == "audio"
        assert not toolkit.ready("400ms")
        status = toolkit.status()
        assert status.lost_since is not None
        assert server.address in status.lost_because
        assert "lost: " in str(status)
        failing(toolkit, times=2)
        until(lambda: circuit.state is State.OPEN, "the stand-in has decided")
        with pytest.raises(BackendError, match=server.address):
            toolkit.pause("tts", reason="maintenance", by="ann")
        with pytest.raises(BackendError):
            toolkit.events()
    said = [record.message for record in caplog.records]
    assert len(said) == 1
    assert said[0].endswith("calls go on with what this process knows")


# -- other ways to a backend -------------------------------------------------------------------------------------------


def test_a_client_can_be_handed_in(make: Callable[..., Recloser], redis_8: RedisServer) -> None:
    """Where it connects to is what counts; the client itself is left alone, and any of redis-py's will do."""
    with redis.Redis(port=redis_8.port, decode_responses=True, socket_timeout=None) as client:
        one, other = make(client), make()
        failing(one, times=3)
        one.circuit("tts").record_success()
        heard = until(lambda: other.status().get("tts"), "the other process has heard")
        until(lambda: other.status()["tts"].failures == 3, f"of all of it: {heard}")
        assert client.ping()


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (redis.asyncio.Redis(), "async"),
        (redis.Redis().pipeline(), "ipeline"),
        (42, "a URL, a client of redis-py, or an object that keeps the Backend protocol"),
    ],
)
def test_what_cannot_be_a_backend_is_refused(client: object, said: str) -> None:
    """An object of the wrong sort is told from one that cannot be reached."""
    with pytest.raises(ConfigurationError, match=said):
        Recloser(client)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "redis://", "redis://host:port", "redis://host/zero", "redis://h?tiemout=1", "rediss://h?ssl_ca_certs=/nowhere",
        "redis+sentinel://host", "redis+cluster://host/1", "http://h",
    ],
)  # fmt: skip
def test_a_url_that_is_wrong_is_refused_when_it_is_given(url: str) -> None:
    """The mistake is named before anything is counted."""
    with pytest.raises(ConfigurationError, match="backend"):
        Recloser(url)


@pytest.mark.parametrize("name", ["two words", "{braces}", "", "a*"])
def test_a_namespace_that_cannot_be_one_is_refused(redis_8: RedisServer, name: str) -> None:
    """Braces would break the hash tag that keeps the keys of a namespace together."""
    with pytest.raises(ConfigurationError, match="namespace"):
        Recloser(redis_8.url, namespace=name)


def test_a_server_of_the_wrong_sort_is_refused(
    redis_8: RedisServer, start_cluster: Callable[..., Any], start_sentinels: Callable[..., Any]
) -> None:
    """A cluster behind redis://, one server behind redis+cluster://, a Sentinel, an unknown service: each is named."""
    cluster, group = start_cluster(), start_sentinels()
    node = cluster.url.partition("//")[2].partition(",")[0]
    sentinel = group.url.partition("//")[2].partition(",")[0]
    for url, said in [
        (f"redis://{node}", r"redis\+cluster"),
        (redis_8.url.replace("redis", "redis+cluster", 1), "redis://"),
        (f"redis://{sentinel}", r"redis\+sentinel"),
        (group.url.replace("mymaster", "yours"), "yours"),
    ]:
        with pytest.raises(ConfigurationError, match=said):
            Recloser(url)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )


def test_the_environment_leads_to_the_fleet_at_the_first_call(
    redis_8: RedisServer, namespace: str, make: Callable[..., Recloser]
) -> None:
    """RECLOSER_BACKEND is all it takes; what was counted is delivered when the process ends."""
    done = run(
        """
        import threading
        from recloser import circuit
        speak = circuit("tts", failures=None)(lambda: "audio")
        threads = threading.active_count()
        for _ in range(100): speak()
        circuit("tts").record_failure("down")
        print(threads, threading.active_count())
        """,
        RECLOSER_BACKEND=redis_8.url,
        RECLOSER_NAMESPACE=namespace,
    )
    assert (done.stdout.split(), done.stderr) == (["1", "2"], "")
    shot = make().status()["tts"]
    assert (shot.calls, shot.failures) == (101, 1)


def test_a_wrong_server_in_the_environment_is_found_by_who_waits_for_it(start_cluster: Callable[..., Any]) -> None:
    """Calls go on, and ready() raises what configure() would have."""
    node = start_cluster().url.partition("//")[2].partition(",")[0]
    done = run(
        """
        from recloser import circuit, configure
        print(circuit("tts")(lambda: "audio")())
        configure().ready("5s")
        """,
        RECLOSER_BACKEND=f"redis://{node}",
    )
    assert done.stdout.split() == ["audio"]
    assert "ConfigurationError" in done.stderr
    assert "redis+cluster" in done.stderr


def test_every_key_expires_but_those_of_an_operators_pause(
    redis_8: RedisServer, make: Callable[..., Recloser], namespace: str
) -> None:
    """A fleet that is gone leaves nothing behind but what somebody wanted to last."""
    toolkit = make()
    toolkit.circuit("tts", failures=1)
    toolkit.circuit("stt").record_failure("down", once="call-17")
    failing(toolkit)
    until(lambda: toolkit.circuit("tts").state is State.OPEN, "it is open")
    toolkit.pause("llm", reason="maintenance", by="ann")
    toolkit.close()
    keys = redis_8.cli("KEYS", f"recloser:{{{namespace}}}:*")
    lasting = {key.rpartition("}:")[2] for key in keys if redis_8.cli("PTTL", key) < 0}
    assert len(keys) > 8
    assert lasting == {"circuit:llm", "circuits"}
    make().resume("llm", by="ann")
    assert all(redis_8.cli("PTTL", key) > 0 for key in redis_8.cli("KEYS", f"recloser:{{{namespace}}}:*"))


def test_a_window_of_another_length_is_measured_anew(redis_any: RedisServer, namespace: str) -> None:
    """Two versions of an application with different windows share what both of them can see."""
    for window in ("5m", "1m", "1h"):
        with Recloser(redis_any.url, namespace=namespace) as toolkit:
            toolkit.circuit("tts", failures=None, window=window)
            failing(toolkit, times=5)
    with Recloser(redis_any.url, namespace=namespace) as toolkit:
        assert toolkit.status()["tts"].failures == 15


def test_a_backend_of_ones_own_making_shows_its_namespace(redis_8: RedisServer, namespace: str) -> None:
    """What is handed in knows best what it is called."""
    backend = RedisBackend.from_client(redis.Redis(port=redis_8.port), namespace=namespace)
    with Recloser(backend) as toolkit:
        assert toolkit.namespace == namespace
    backend.close()
