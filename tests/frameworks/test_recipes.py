"""The recipes of docs/frameworks.md: the very files that the page shows, run by the servers that people use."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recloser import Recloser, State
from tests.frameworks.provider import Provider, provider
from tests.servers.fixtures import namespace, redis_8, start_redis
from tests.servers.running import Unix, running
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.redis_server import RedisServer

__all__ = ["namespace", "provider", "redis_8", "start_redis"]

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = DOCS / "recipes"
BROKEN = (OSError, http.client.HTTPException)


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [each for each in modules if not importlib.util.find_spec(each)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def fleet(redis_8: RedisServer, namespace: str) -> Iterator[Recloser]:
    """Another process of the fleet, from which the test looks."""
    with Recloser(redis_8.url, namespace=namespace) as toolkit:
        for name in ("elevenlabs", "deepgram", "twilio"):
            toolkit.circuit(name)
        assert toolkit.ready("5s")
        yield toolkit


def counts(fleet: Recloser, name: str) -> tuple[int, int]:
    shot = fleet.status()[name]
    return shot.calls, shot.failures


def counted(fleet: Recloser, name: str, calls: int, failures: int) -> None:
    what = f"{calls} calls and {failures} failures are counted"
    until(lambda: counts(fleet, name) == (calls, failures), what, every=0.05)


def post(connection: http.client.HTTPConnection, path: str) -> tuple[int, str | None, bytes]:
    """One request: its status, its Retry-After, its body."""
    try:
        connection.request("POST", path, b"Hello", {"Host": "test", "Content-Type": "text/plain"})
        answer = connection.getresponse()
        return answer.status, answer.headers["Retry-After"], answer.read()
    finally:
        connection.close()


def test_the_page_shows_every_recipe() -> None:
    """What is tested here is what people read."""
    shown = set(re.findall(r"literalinclude\} (\S+)", (DOCS / "frameworks.md").read_text("utf-8")))
    files = {each.relative_to(DOCS).as_posix() for each in RECIPES.rglob("*.py") if each.stat().st_size}
    assert shown == files


@pytest.mark.realtime
@pytest.mark.skipif(sys.platform == "win32", reason="a socket cannot be handed down")
@needs("fastapi", "httpx", "uvicorn")
def test_fastapi_under_uvicorn(
    redis_8: RedisServer, namespace: str, tmp_path: Path, provider: Provider, fleet: Recloser
) -> None:
    """A provider that fails is left alone after five calls, the public is told when to come back, nothing is lost."""
    httpx = pytest.importorskip("httpx")
    fleet.pause("elevenlabs", reason="maintenance", by="ann", for_="10m")
    environment = {"RECLOSER_BACKEND": redis_8.url, "RECLOSER_NAMESPACE": namespace, "SPEECH_URL": provider.url}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url, fd = f"http://127.0.0.1:{listener.getsockname()[1]}/speak", listener.fileno()
        command = [sys.executable, "-m", "uvicorn", f"--app-dir={RECIPES}", f"--fd={fd}", "fastapi_app:app"]
        with (
            running([*command, "--log-level=warning"], tmp_path, pass_fds=(fd,), **environment) as server,
            httpx.Client(timeout=15) as client,
        ):
            # The first request of all: the application has waited for the fleet.
            first = client.post(url, content="Hello")
            assert (first.status_code, provider.calls) == (503, [])
            assert 590 < int(first.headers["Retry-After"]) <= 600
            assert set(first.json()) == {"error", "circuit", "state", "retry_after"}
            fleet.resume("elevenlabs", by="ann")
            until(lambda: client.post(url, content="Hello").text == "audio", "it has heard")
            counted(fleet, "elevenlabs", len(provider.calls), 0)
            provider.down = True
            assert [client.post(url, content="Hello").status_code for _ in range(5)] == [502] * 5
            until(lambda: fleet.circuit("elevenlabs").state is State.OPEN, "the fleet has tripped")
            until(lambda: client.post(url, content="Hello").status_code == 503, "it has heard")
            provider.down, before = False, len(provider.calls)
            assert 800 < int(client.post(url, content="Hello").headers["Retry-After"]) <= 900
            assert len(provider.calls) == before
            fleet.resume("elevenlabs", by="ann")
            until(lambda: client.post(url, content="Hello").text == "audio", "it has heard")
            for _ in range(10):
                assert client.post(url, content="Hello").content == b"audio"
            server.terminate()
            server.wait(10)
        counted(fleet, "elevenlabs", 11, 0)


@needs("django", "httpx")
def test_the_tests_of_the_django_recipe_pass() -> None:
    """Sync and async views, by Django's own test runner."""
    command = [sys.executable, "-W", "error", "-m", "django", "test", "callcenter", "--settings=callcenter.settings"]
    environment = {**os.environ, "PYTHONPATH": str(RECIPES)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert "Ran 3 tests" in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.realtime
@pytest.mark.skipif(sys.platform != "linux", reason="gunicorn's workers are forks")
@needs("django", "gunicorn", "httpx")
@pytest.mark.parametrize("preload", [["--preload"], []])
def test_django_under_gunicorn(
    redis_8: RedisServer, namespace: str, tmp_path: Path, provider: Provider, fleet: Recloser, preload: list[str]
) -> None:
    """Workers of a master that has configured it, or by themselves: all count, all hear, and nothing is lost."""
    command = [sys.executable, "-m", "gunicorn", *preload, "--workers=2", "--bind=unix:http.sock"]
    known = subprocess.run([*command[:3], "--help"], capture_output=True, text=True, check=False).stdout
    options = ["--log-level=critical", "--worker-tmp-dir=.", "--no-control-socket"]
    command += [option for option in options if option.partition("=")[0] in known]
    environment = {
        "CALLCENTER_REDIS": redis_8.url,
        "CALLCENTER_FLEET": namespace,
        "SPEECH_URL": provider.url,
        "PYTHONPATH": str(RECIPES),
    }
    address = str(tmp_path / "http.sock")
    with running([*command, "callcenter.wsgi"], tmp_path, **environment) as server:

        def said(path: str = "/speak") -> tuple[int, str | None, bytes]:
            return post(Unix(address), path)

        until(lambda: said() == (200, None, b"audio"), "it answers", despite=BROKEN)
        assert said("/aspeak") == (200, None, b"audio")
        counted(fleet, "elevenlabs", len(provider.calls), 0)
        fleet.pause("elevenlabs", reason="maintenance", by="ann")

        def paused() -> bool:
            return {said(path)[:2] for path in ("/speak", "/aspeak") for _ in range(8)} == {(503, None)}

        until(paused, "both workers have heard")
        assert json.loads(said()[2]) == {"error": "paused", "circuit": "elevenlabs", "retry_after": None}
        before = len(provider.calls)
        fleet.resume("elevenlabs", by="ann")
        until(lambda: said()[0] == 200, "it has heard")
        until(lambda: {said()[0] for _ in range(8)} == {200}, "both workers have heard")
        server.terminate()
        assert server.wait(10) == 0
    counted(fleet, "elevenlabs", len(provider.calls) - before, 0)


@pytest.mark.realtime
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this platform")
@needs("celery", "httpx")
def test_a_celery_task_that_is_paused_is_put_back(
    redis_8: RedisServer,
    namespace: str,
    start_redis: Callable[..., RedisServer],
    tmp_path: Path,
    provider: Provider,
    fleet: Recloser,
) -> None:
    """It is not tried in vain, comes back when it may, and is done then; an operator's pause is looked at again."""
    server_of_tasks = start_redis()
    broker = f"{server_of_tasks.url}/0"
    environment = {
        "RECLOSER_BACKEND": redis_8.url,
        "RECLOSER_NAMESPACE": namespace,
        "TELEPHONY_URL": provider.url,
        "CELERY_BROKER_URL": broker,
        "CELERY_RESULT_BACKEND": broker,
        "C_FORCE_ROOT": "1",
        "PYTHONPATH": str(RECIPES),
    }
    options = ["--concurrency=2", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    command = [sys.executable, "-m", "celery", "--quiet", "--app=celery_tasks", "worker", "--pool=prefork", *options]
    celery: Any = pytest.importorskip("celery")
    # Before the worker is there: its children have heard of it before their first task.
    fleet.pause("elevenlabs", reason="contract ended", by="ann")
    with (
        # Results are read where they are kept: Celery's own objects ask for them until the garbage collector comes.
        celery.Celery("test", broker=broker, set_as_current=False) as app,
        running(command, tmp_path, **environment) as server,
    ):

        def dial() -> str:
            return str(app.send_task("celery_tasks.dial", ["+41"]).id)

        def said(task: str) -> tuple[str, Any] | None:
            """Its state and its result, once it was looked at."""
            written = server_of_tasks.cli("GET", f"celery-task-meta-{task}")
            found = json.loads(written) if written else None
            return found and (found["status"], found["result"])

        def look(task: str, *states: str) -> tuple[str, Any]:
            def there() -> Any:
                found = said(task)
                return found if found and found[0] in states else None

            return until(there, f"it is one of {states}", seconds=30, every=0.02)

        def put_back() -> str | None:
            task = dial()
            return task if look(task, "RETRY", "SUCCESS")[0] == "RETRY" else None

        _, result = look(dial(), "RETRY")
        assert (result["exc_type"], result["exc_message"][:3]) == (
            "PausedError",
            ["elevenlabs", "paused", "contract ended"],
        )
        assert provider.calls == []
        fleet.resume("elevenlabs", by="ann")
        until(lambda: put_back() is None, "a child calls", seconds=20)
        assert [look(dial(), "SUCCESS")[1] for _ in range(4)] == ["audio"] * 4
        counted(fleet, "twilio", 5, 0)
        fleet.pause("twilio", reason="maintenance", by="ann", for_="2s")
        late = until(put_back, "a child has heard of the pause")
        before = len(provider.calls)
        assert look(late, "SUCCESS")[1] == "audio"
        assert len(provider.calls) == before + 1
        server.terminate()
        assert server.wait(15) == 0
