"""Children that were forked, by hand and by the servers that people use: each is a process of the fleet by itself."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from tests.fleet.members import members, provider, total
from tests.servers.fixtures import namespace, redis_8, start_proxy, start_redis
from tests.servers.running import Unix, running
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fleet.members import Member, Members, Provider
    from tests.servers.proxy import Proxy
    from tests.servers.redis_server import RedisServer

__all__ = ["members", "namespace", "provider", "redis_8", "start_proxy", "start_redis"]

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this platform"),
]

ENDLESS: dict[str, Any] = {"failures": None, "window": "1h"}

# `forked(work)` runs `work` in a child, which then leaves as any process does; `reaped(pid)` says how it ended.
FORKED = """
import traceback

def forked(work):
    if pid := os.fork():
        return pid
    try:
        work()
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    sys.exit(0)

def reaped(pid, seconds=8):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.005)
    return False

def heard(state, seconds=8):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if tts.state is state:
            return
        time.sleep(0.005)
    raise TimeoutError(f"{state}: {toolkit.status()}")
"""


def forking(fleet: list[Member]) -> Member:
    """The first of a fleet, which knows how to fork."""
    fleet[0].run(FORKED)
    return fleet[0]


def counted(member: Member, calls: int, failures: int) -> None:
    """Wait until the fleet has counted this."""
    code = "shot = toolkit.status()['tts']; [shot.calls, shot.failures]"
    with contextlib.suppress(TimeoutError):
        until(lambda: member.run(code) == [calls, failures], "all is counted", every=0.05)
    assert member.run(code) == [calls, failures]


# -- os.fork -----------------------------------------------------------------------------------------------------------


def test_a_child_counts_under_its_own_name(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """What the parent had not delivered yet is the parent's to deliver; what the child counts is another process's."""
    fleet = members.fleet(2, redis_8.url, namespace, failures=None, window="1h", quorum=2)
    parent, other = forking(fleet), fleet[1]
    before = other.run("toolkit.status().processes")
    parent.run("passed(7); failed(2); reader, writer = os.pipe()")
    pid = parent.run("""
def work():
    passed(5); failed(3)
    assert toolkit.ready(5)
    assert toolkit.engine.courier.asleep is False
    os.read(reader, 1)
    passed(1)
forked(work)
""")
    other.until(f"toolkit.status().processes == {before + 1}")
    counted(other, 17, 5)
    parent.run("passed(); os.write(writer, b'!') and None")
    assert parent.run(f"reaped({pid})") is True
    counted(other, 19, 5)
    assert parent.stderr == ""


def test_a_child_hears_of_transitions_whatever_it_does(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """One that calls, one that only asks before it begins any work, one that only looks; and a child of a child."""
    fleet = members.fleet(2, redis_8.url, namespace, failures=1, cooldown=600)
    parent, other = forking(fleet), fleet[1]
    parent.run("needs = toolkit.requires('tts'); reader, writer = os.pipe()")
    for asks in ("tried()", "tts.allows()", "needs.allows()", "tts.state is State.CLOSED"):
        parent.run(f"""
def work():
    end = time.monotonic() + 6
    os.write(writer, b'!')
    while {asks}:
        assert time.monotonic() < end, "nothing was heard of the trip"
        time.sleep(0.005)
    os.write(writer, b'.')
def beneath():
    pid = forked(work)
    assert reaped(pid, 7)
pids = [forked(work), forked(beneath)]
os.read(reader, 1), os.read(reader, 1)
""")
        other.run("failed()")
        assert parent.run("[reaped(pid) for pid in pids]") == [True, True]
        assert parent.stderr == "", asks
        parent.until("tts.state is State.OPEN")
        other.run("toolkit.resume('tts', by='ann')")
        parent.until("tts.state is State.CLOSED")
        parent.run("os.read(reader, 2) and None")


def test_an_open_circuit_is_open_in_the_child_and_is_resumed_there(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """What the parent knew holds at once, and what happens next is heard by a child whose calls are all rejected."""
    fleet = members.fleet(2, redis_8.url, namespace, failures=1, cooldown=600)
    parent, other = forking(fleet), fleet[1]
    other.run("failed()")
    parent.until("tts.state is State.OPEN")
    parent.run("reader, writer = os.pipe()")
    pid = parent.run("""
def work():
    assert tried(50) == 0
    os.write(writer, b'!')
    end = time.monotonic() + 6
    while not tried():
        assert time.monotonic() < end, "nothing was heard of the resume"
        time.sleep(0.005)
forked(work)
""")
    parent.run("os.read(reader, 1) and None")
    other.run("toolkit.resume('tts', by='ann')")
    assert parent.run(f"reaped({pid})") is True
    assert parent.stderr == ""


def test_forks_in_the_middle_of_everything(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """Thirty times, while threads are at their calls and the courier at its own: nobody deadlocks, nothing is lost."""
    fleet = members.fleet(2, redis_8.url, namespace, **ENDLESS)
    parent, other = forking(fleet), fleet[1]
    for _ in range(3):
        parent.start("traffic(0.0005)")
    parent.start("while not over.is_set(): tts.snapshot(), toolkit.status()")
    for _ in range(30):
        pid = parent.run("forked(lambda: (passed(3), failed(2), tts.snapshot()))")
        assert parent.run(f"reaped({pid})") is True
    parent.run("over.set(); time.sleep(0.05)")
    calls, failures = total([parent])
    counted(other, calls + 30 * 5, failures + 30 * 2)
    assert parent.stderr == ""
    parent.run("passed(2)")
    counted(other, calls + 30 * 5 + 2, failures + 30 * 2)


def test_a_call_that_forks_ends_twice(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """Parent and child each settle the call that they are in."""
    fleet = members.fleet(2, redis_8.url, namespace, **ENDLESS)
    parent, other = forking(fleet), fleet[1]
    parent.run("""
try:
    with tts:
        pid = os.fork()
        raise ConnectionError("down")
except ConnectionError:
    if not pid:
        sys.exit()
assert reaped(pid)
""")
    counted(other, 2, 2)
    assert parent.stderr == ""


def test_the_childs_connections_are_not_the_parents(
    redis_8: RedisServer, namespace: str, start_proxy: Callable[..., Proxy], members: Members
) -> None:
    """The child makes its own and drops its copies; the parent's stay open, and are not spoken on by anybody else."""
    proxy = start_proxy(redis_8)
    fleet = members.fleet(1, f"redis://{proxy.address}", namespace, **ENDLESS)
    parent = forking(fleet)
    parent.until("toolkit.engine.backend.fileno() is not None")
    ports = """
def ports(pid):
    from pathlib import Path
    mine = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            mine.add(os.readlink(each))
        except FileNotFoundError:
            pass
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sorted(int(row[1].split(":")[1], 16) for row in rows
                  if f"socket:[{row[9]}]" in mine and row[2].endswith(f":{PORT:04X}"))
"""
    parent.run(f"PORT = {proxy.port}\n{ports}\nreader, writer = os.pipe()")
    mine = parent.run("ports(os.getpid())")
    assert len(mine) == 2
    before = proxy.connections
    pid = parent.run("forked(lambda: (os.read(reader, 1), failed(), toolkit.ready(5), os.read(reader, 1)))")
    until(lambda: parent.run(f"ports({pid})") == [], "the child has dropped its copies")
    parent.run("failed(); os.write(writer, b'!') and None")
    until(lambda: len(parent.run(f"ports({pid})")) == 2, "the child has connections of its own")
    assert not set(parent.run(f"ports({pid})")) & set(mine)
    assert parent.run("ports(os.getpid())") == mine
    parent.run("os.write(writer, b'!') and None")
    assert parent.run(f"reaped({pid})") is True
    counted(parent, 2, 2)
    assert parent.run("ports(os.getpid())") == mine
    assert parent.run("logs") == []
    # One more may be made to look at what answers.
    assert proxy.connections - before <= 3


def test_a_permit_is_not_inherited(redis_8: RedisServer, namespace: str, provider: Provider, members: Members) -> None:
    """Parent and children are a fleet: while the provider is tested, one call of all of them reaches it."""
    fleet = members.fleet(1, redis_8.url, namespace, failures=1, cooldown=0.5, probe_timeout=60)
    parent = forking(fleet)
    provider.answer = ""
    parent.run("failed()")
    key = f"recloser:{{{namespace}}}:circuit:tts"
    until(lambda: redis_8.cli("HEXISTS", key, "s"), "the parent has a permit in stock")
    pids = parent.run(f"[forked(lambda: calls({provider.port})) for _ in range(3)]")
    until(lambda: provider.calls, "a probe", seconds=8)
    parent.start(f"calls({provider.port})")
    end = parent.run("time.monotonic() + 1")
    parent.until(f"time.monotonic() > {end}", "a second passes")
    assert len(provider.calls) == 1
    parent.run(f"[os.kill(pid, 9) for pid in {pids}] and None")
    assert parent.run(f"[reaped(pid) for pid in {pids}]") == [True] * 3


def test_a_fork_in_the_middle_of_a_transition(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """The courier was just about to let calls see that the circuit is open: in the child it is open too."""
    fleet = members.fleet(2, redis_8.url, namespace, failures=1, cooldown=600)
    parent, other = forking(fleet), fleet[1]
    parent.run("""
from recloser.replica import Replica
renew, within, further = Replica._renew_permit, threading.Event(), threading.Event()
def slowly(self):
    if self.record.state is State.OPEN and threading.current_thread() is not threading.main_thread():
        within.set()
        further.wait(5)
    renew(self)
Replica._renew_permit = slowly
""")
    other.run("failed()")
    pid = parent.run("""
def work():
    tried()
    assert toolkit.ready(5)
    end = time.monotonic() + 3
    while tried():
        assert time.monotonic() < end, f"calls go through: {toolkit.status()}"
        time.sleep(0.01)
within.wait(5)
forked(work)
""")
    assert parent.run(f"reaped({pid})") is True
    assert parent.stderr == ""
    parent.run("further.set()")
    parent.until("not tried()")


def test_a_fork_while_the_backend_is_away(
    redis_8: RedisServer, namespace: str, start_proxy: Any, members: Members
) -> None:
    """Neither counts what the other has counted, and both deliver when it is back."""
    proxy = start_proxy(redis_8)
    fleet = members.fleet(1, f"redis://{proxy.address}", namespace, **ENDLESS)
    parent = forking(fleet)
    proxy.drop()
    parent.run("failed(2); passed(3)")
    parent.until("toolkit.status().lost_since")
    parent.run("reader, writer = os.pipe()")
    pid = parent.run("""
def work():
    failed(4); passed(1)
    os.write(writer, b'!')
    end = time.monotonic() + 8
    while toolkit.status().lost_since:
        assert time.monotonic() < end, toolkit.status()
        time.sleep(0.02)
forked(work)
""")
    parent.run("os.read(reader, 1) and None")
    proxy.heal()
    assert parent.run(f"reaped({pid}, 9)", seconds=15) is True
    counted(parent, 10, 6)
    assert "Traceback" not in parent.stderr


# -- multiprocessing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_deliver(
    redis_8: RedisServer, namespace: str, method: str, members: Members
) -> None:
    """They end without a look at atexit: what they counted a moment before is delivered all the same."""
    fleet = members.fleet(2, redis_8.url, namespace, **ENDLESS)
    parent, other = forking(fleet), fleet[1]
    parent.run("passed(2)")
    parent.run(f"""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from tests.fleet.member import child
own = multiprocessing.get_context({method!r})
workers = [own.Process(target=child, args=({redis_8.url!r}, {namespace!r}, 2, 3)) for _ in range(3)]
for each in workers: each.start()
for each in workers: each.join(10)
assert [each.exitcode for each in workers] == [0, 0, 0]
with ProcessPoolExecutor(2, mp_context=own) as pool:
    assert list(pool.map(child, *zip(*[({redis_8.url!r}, {namespace!r}, 1, 1)] * 4))) == [None] * 4
""", seconds=18)  # fmt: skip
    counted(other, 2 + 3 * 5 + 4 * 2, 3 * 3 + 4)
    assert parent.stderr == ""


def test_a_child_of_multiprocessing_uses_what_it_inherited(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """The parent's toolkit, in its children: they count with it, and deliver at their end."""
    fleet = members.fleet(2, redis_8.url, namespace, **ENDLESS)
    parent, other = forking(fleet), fleet[1]
    parent.start("traffic()")
    parent.run("""
import multiprocessing
own = multiprocessing.get_context("fork")
for _ in range(10):
    each = own.Process(target=lambda: (passed(2), failed(3)))
    each.start()
    each.join(8)
    assert each.exitcode == 0
over.set()
time.sleep(0.05)
""", seconds=18)  # fmt: skip
    calls, failures = total([parent])
    counted(other, calls + 50, failures + 30)
    assert parent.stderr == ""


# -- servers that fork -------------------------------------------------------------------------------------------------


APPLICATION = """
import json, os
from recloser import Recloser, State

toolkit = Recloser(os.environ["FLEET"], namespace=os.environ["NAMESPACE"])
tts = toolkit.circuit("tts", failures=1000, window="1h", cooldown=600)
assert toolkit.ready(8)
# Before the fork, in the master.
tts.record_failure("down")

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        tts.record_failure("down")
    elif path == "/pass":
        with tts:
            pass
    start_response("200 OK", [("Content-Type", "application/json")])
    said = {"pid": os.getpid(), "state": str(tts.state), "master": os.getppid()}
    return [json.dumps(said).encode()]
"""


def get(folder: Path, path: str) -> dict[str, Any]:
    connection = Unix(str(folder / "http.sock"))
    try:
        connection.request("GET", path, headers={"Host": "test"})
        said: dict[str, Any] = json.loads(connection.getresponse().read())
        return said
    finally:
        connection.close()


@pytest.mark.skipif(not importlib.util.find_spec("gunicorn"), reason="gunicorn is not installed")
def test_gunicorn_with_an_application_that_is_loaded_before_the_fork(
    redis_8: RedisServer, namespace: str, tmp_path: Path, members: Members
) -> None:
    """--preload: the master has counted and its courier runs; its workers count, see transitions, and deliver."""
    (other,) = members.fleet(1, redis_8.url, namespace, failures=1000, window="1h", cooldown=600)
    (tmp_path / "application.py").write_text(APPLICATION)
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers=2", "--bind=unix:http.sock", "application"]
    # Nowhere near root, and with no lines but warnings: this is about what is said.
    options = ["--log-level=warning", "--worker-tmp-dir=.", "--no-control-socket"]
    known = subprocess.run([*command[:3], "--help"], capture_output=True, text=True, check=False).stdout
    command += [option for option in options if option.partition("=")[0] in known]
    with running(command, tmp_path, FLEET=redis_8.url, NAMESPACE=namespace) as server:
        pids: set[int] = set()
        made = 0

        def all_there() -> bool:
            nonlocal made
            pids.add(get(tmp_path, "/fail")["pid"])
            made += 1
            return len(pids) == 2

        broken = (OSError, http.client.HTTPException)
        until(all_there, "both workers have answered", despite=broken)
        assert server.pid not in pids
        for _ in range(20):
            get(tmp_path, "/pass")
        counted(other, 1 + made + 20, 1 + made)
        other.run("toolkit.pause('tts', reason='maintenance', by='ann')")

        def states() -> bool:
            seen = [get(tmp_path, "/") for _ in range(10)]
            return {each["pid"] for each in seen} == pids and {each["state"] for each in seen} == {"paused"}

        until(states, "both workers have heard of the pause")
        other.run("toolkit.resume('tts', by='ann')")
        until(lambda: get(tmp_path, "/")["state"] == "closed", "it is closed again")
        for _ in range(10):
            get(tmp_path, "/fail")
        server.terminate()
        assert server.wait(8) == 0
        counted(other, 10, 10)


TASKS = """
import os
from celery import Celery
from celery.signals import worker_ready
from recloser import Recloser

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
toolkit = Recloser(os.environ["FLEET"], namespace=os.environ["NAMESPACE"])
tts = toolkit.circuit("tts", failures=1000, window="1h", cooldown=600)
assert toolkit.ready(8)
tts.record_failure("down")

@app.task
def work(failures, successes):
    for _ in range(failures):
        tts.record_failure("down")
    for _ in range(successes):
        with tts:
            pass
    return os.getpid(), str(tts.state)
"""


@pytest.mark.skipif(not importlib.util.find_spec("celery"), reason="celery is not installed")
def test_celery_with_workers_that_are_forked(
    redis_8: RedisServer, namespace: str, start_redis: Callable[..., RedisServer], tmp_path: Path, members: Members
) -> None:
    """The prefork pool: children count, see transitions and deliver what they did right before a warm shutdown."""
    broker = start_redis()
    (other,) = members.fleet(1, redis_8.url, namespace, failures=1000, window="1h", cooldown=600)
    (tmp_path / "tasks.py").write_text(TASKS)
    environment = {"BROKER": f"{broker.url}/0", "FLEET": redis_8.url, "NAMESPACE": namespace, "C_FORCE_ROOT": "1"}
    options = ["--concurrency=2", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    sender = textwrap.dedent("""
        import sys
        sys.path.insert(0, FOLDER)
        import os
        os.environ.update(ENVIRONMENT)
        from celery import Celery
        app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
        def work(times, *args):
            sent = [app.send_task("tasks.work", args) for _ in range(times)]
            return [each.get(timeout=15) for each in sent]
    """)
    members.all[0].run(sender.replace("FOLDER", repr(str(tmp_path))).replace("ENVIRONMENT", repr(environment)))
    command = [sys.executable, "-m", "celery", "--quiet", "--app=tasks", "worker", "--pool=prefork", *options]
    with running(command, tmp_path, **environment) as server:
        made, pids = 0, set()

        def all_there() -> bool:
            nonlocal made
            done = other.run("work(6, 1, 2)", seconds=20)
            made += len(done)
            pids.update(pid for pid, _ in done)
            return len(pids) == 2

        until(all_there, "both children have worked", seconds=20)
        assert server.pid not in pids
        counted(other, 1 + 3 * made, 1 + made)
        other.run("toolkit.pause('tts', reason='maintenance', by='ann')")
        until(lambda: {state for _, state in other.run("work(6, 0, 0)", seconds=20)} == {"paused"}, "they have heard")
        other.run("toolkit.resume('tts', by='ann')")
        until(lambda: {state for _, state in other.run("work(6, 0, 0)", seconds=20)} == {"closed"}, "they have heard")
        # Successes are no hurry, and go with the next tick of each child, or at its end.
        assert len(other.run("work(8, 0, 5)", seconds=20)) == 8
        server.terminate()
        assert server.wait(15) == 0
        counted(other, 40, 0)
