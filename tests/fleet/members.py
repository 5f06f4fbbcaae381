"""The test's side of a fleet: starts its processes, tells each what to do, and has none of them outlive the test."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

__all__ = ["ROOT", "Job", "Member", "MemberError", "Members", "Provider", "total"]

ROOT = Path(__file__).parents[2]
How = Literal["main", "thread", "asyncio", "trio"]

_SETUP = """
import os, signal, socket, sys, threading, time
import anyio
from recloser import BackendError, ConfigurationError, PausedError, Recloser, State

def failed(times=1):
    for _ in range(times):
        tts.record_failure("down")

def passed(times=1):
    for _ in range(times):
        with tts:
            pass

def tried(times=1):
    through = 0
    for _ in range(times):
        try:
            with tts:
                through += 1
        except PausedError:
            pass
    return through

# Calls that go on until `over` is set; `made` has successes and failures, of each thread its own.
over = threading.Event()
made = []

def traffic(every=0.002):
    mine = [0, 0]
    made.append(mine)
    while not over.wait(every):
        for _ in range(5):
            with tts:
                mine[0] += 1
        try:
            with tts:
                mine[1] += 1
                raise ConnectionError("down")
        except ConnectionError:
            pass

# Calls to the provider of the test; `asked` until one has come through.

def call(port):
    with tts, socket.create_connection(("127.0.0.1", port)) as provider:
        provider.sendall(b"%d\\n" % os.getpid())
        if provider.recv(9) != b"yes":
            raise ConnectionError("no")

def calls(port, every=0.01):
    while not over.wait(every):
        try:
            call(port)
        except (PausedError, ConnectionError):
            pass

async def acall(port):
    async with tts, await anyio.connect_tcp("127.0.0.1", port) as provider:
        await provider.send(b"%d\\n" % os.getpid())
        if await provider.receive(9) != b"yes":
            raise ConnectionError("no")

async def acalls(port, every=0.01):
    while not over.is_set():
        try:
            await acall(port)
        except (PausedError, ConnectionError, anyio.EndOfStream):
            await anyio.sleep(every)
"""


class MemberError(Exception):
    """Raised for what the code of a test raised in a member."""


class Job:
    """Something that a member was told to do, and may still be at."""

    def __init__(self, member: Member, number: int) -> None:
        self._member = member
        self._number = number
        self._over = threading.Event()
        self._said: dict[str, Any] = {}

    @property
    def over(self) -> bool:
        """Whether it is done."""
        return self._over.is_set()

    def result(self, seconds: float = 10.0) -> Any:
        """What came out of it; raises MemberError when that was an exception, or when the process ended first."""
        if not self._over.wait(seconds):
            raise TimeoutError(f"{self._member!r} is not done within {seconds:g} s; it says: {self._member.stderr}")
        if "error" in self._said:
            raise MemberError(self._said["error"])
        return self._said.get("result")

    def cancel(self) -> None:
        """Cancels it, if it runs on a loop."""
        self._member.tell(cancel=self._number)

    def answered(self, said: dict[str, Any]) -> None:
        """Takes note of the answer."""
        self._said = said
        self._over.set()


class _Mother:
    """The process that members are forked from; it begins with the first of them, and ends with the tests."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._said = threading.Condition()
        self._born: list[int] = []
        self._ended: dict[int, int] = {}
        self._numbers = itertools.count()
        self.folder = Path()

    def bear(self, *descriptors: int) -> int:
        """Fork a member with these for its stdin, stdout and stderr; its pid."""
        with self._said:
            line = self._line or self._start()
            socket.send_fds(line, [b"!"], list(descriptors))
            assert self._said.wait_for(lambda: self._born, 20), "no process could be forked"
            return self._born.pop()

    def status(self, pid: int) -> int | None:
        """With what a member has ended; None while it runs."""
        return self._ended.get(pid)

    def wait(self, pid: int, seconds: float = 10.0) -> None:
        """Wait until it has ended."""
        with self._said:
            assert self._said.wait_for(lambda: pid in self._ended, seconds), f"process {pid} does not end"

    def path(self) -> Path:
        """A file that nobody else has."""
        if self.folder == Path():
            self.folder = Path(tempfile.mkdtemp(prefix="recloser-fleet-"))
        return self.folder / f"member-{next(self._numbers)}.txt"

    def close(self) -> None:
        """End it."""
        if self._line is not None and self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._line.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> socket.socket:
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fleet.member"],
                cwd=ROOT,
                stdin=theirs,
                start_new_session=True,
                # Who is told of alerts is said by the tests that are about them.
                env={**os.environ, "PYTHONUNBUFFERED": "1", "RECLOSER_ALERTS": "none"},
            )
        atexit.register(self.close)
        threading.Thread(target=self._listen, args=(self._line,), name="tests.fleet.mother", daemon=True).start()
        return self._line

    def _listen(self, line: socket.socket) -> None:
        with line.makefile("rb") as lines:
            for said in lines:
                pid, status = json.loads(said)
                with self._said:
                    if status is None:
                        self._ended.pop(pid, None)
                        self._born.append(pid)
                    else:
                        self._ended[pid] = status
                    self._said.notify_all()


_mother = _Mother()


class Member:
    """One process of a fleet.

    Attributes:
        pid: of the process itself; nothing stands between.
    """

    def __init__(self) -> None:
        self._path = _mother.path()
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}
        self._writing = threading.Lock()
        theirs, requests = os.pipe()
        answers, mine = os.pipe()
        said = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.pid = _mother.bear(theirs, mine, said)
        for each in (theirs, mine, said):
            os.close(each)
        self._requests = os.fdopen(requests, "w", encoding="utf-8")
        self._answers = os.fdopen(answers, encoding="utf-8")
        self._reader = threading.Thread(target=self._read, name=f"tests.fleet.{self._path.stem}", daemon=True)
        self._reader.start()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path.stem}, pid {self.pid}>"

    # -- what it does

    def start(self, code: str, how: How = "thread") -> Job:
        """Have it run this, and do not wait for the end."""
        job = Job(self, next(self._numbers))
        self._jobs[job._number] = job
        self.tell(number=job._number, code=code, how=how)
        return job

    def run(self, code: str, how: How = "main", *, seconds: float = 10.0) -> Any:
        """What comes out of this code: the value of its last line; MemberError for what it raises."""
        return self.start(code, how).result(seconds)

    def until(self, code: str, what: str = "", *, seconds: float = 10.0) -> Any:
        """Wait until this expression is true there."""
        try:
            return until(lambda: self.run(code), what or code, seconds=seconds, every=0.02)
        except TimeoutError as error:
            state = self.run("(str(toolkit.status()), logs[-5:])")
            raise TimeoutError(f"{error}; {self!r} is at {state}") from None

    def use(self, url: str, namespace: str, name: str = "tts", *, ready: bool = True, **thresholds: Any) -> None:
        """Have it join the fleet, with a circuit `tts`; `failed(n)` and `passed(n)` make calls through it there."""
        self.run(_SETUP)
        self.run(f"toolkit = Recloser({url!r}, namespace={namespace!r})")
        self.run(f"tts = toolkit.circuit({name!r}, **{thresholds!r})")
        if ready:
            assert self.run("toolkit.ready(8)"), f"{self!r} hears nothing: {self.run('logs')}"

    # -- its life

    @property
    def running(self) -> bool:
        """Whether the process lives, be it stopped."""
        return self.status is None

    @property
    def stderr(self) -> str:
        """All that it, its children and the interpreter have printed."""
        return self._path.read_text("utf-8", "replace")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def stop(self) -> None:
        """Let it stand still, with everything that it holds."""
        self.signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on after `stop`."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        _mother.wait(self.pid)

    def exit(self, code: str = "", *, seconds: float = 10.0) -> float:
        """Have it leave with `sys.exit()`, right after this code; how long that took, in seconds."""
        began = time.monotonic()
        if code:
            self.start(code, "main")
        self.tell(leave=True)
        return self.ended(seconds) - began

    def ended(self, seconds: float = 10.0) -> float:
        """Wait until the process has ended; when that was."""
        until(lambda: not self.running, f"{self!r} ends; it says: {self.stderr}", seconds=seconds, every=0.005)
        return time.monotonic()

    @property
    def status(self) -> int | None:
        """With what it ended: its status, or a signal's number, negative; None while it runs."""
        return _mother.status(self.pid)

    def close(self) -> None:
        """Kill it, hanging or not, with all its children, and let go of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        _mother.wait(self.pid)
        self._reader.join(10)
        self._answers.close()
        # What was written to a process that has ended is still in the buffer.
        with contextlib.suppress(OSError):
            self._requests.close()

    def forget(self) -> None:
        """Remove what it has printed."""
        self._path.unlink(missing_ok=True)

    # -- the wire

    def tell(self, **request: Any) -> None:
        """Send a request."""
        with self._writing, contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()

    def _read(self) -> None:
        for line in self._answers:
            said = json.loads(line)
            self._jobs.pop(said["number"]).answered(said)
        for job in list(self._jobs.values()):
            job.answered({"error": f"the process ended; it says: {self.stderr}"})


class Provider:
    """What the members call: it counts what reaches it, and answers as it is told to; use it in a `with`.

    Attributes:
        answer: `"yes"`, `"no"`, or `""` for a call that hangs until its process is gone.
        calls: The moment and the process of each call that has reached it.
    """

    def __init__(self) -> None:
        self.answer = "yes"
        self.calls: list[tuple[float, int]] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, name="tests.fleet.Provider", daemon=True)
        self._closed = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            pass
        self._thread.join(10)
        self._listener.close()
        for connection in self._open:
            connection.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        number: int = self._listener.getsockname()[1]
        return number

    def _serve(self) -> None:
        while not self._closed:
            connection, _ = self._listener.accept()
            connection.settimeout(2)
            with contextlib.suppress(OSError):
                said = connection.recv(20)
                if said:
                    self.calls.append((time.monotonic(), int(said)))
                    connection.sendall(self.answer.encode())
            if self.answer:
                connection.close()
            else:
                self._open.append(connection)


class Members:
    """The processes of a test; use it in a `with`.

    When it ends, nobody may have printed a traceback, or a word that is among the `secrets`.
    """

    def __init__(self) -> None:
        self.all: list[Member] = []
        self.secrets: list[str] = []
        self.tracebacks_allowed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for member in self.all:
            member.close()
        said = {member: member.stderr for member in self.all}
        for member in self.all:
            member.forget()
        if exc is None:
            self._check(said)

    def start(self, size: int) -> list[Member]:
        """Start processes that belong to no fleet yet."""
        started = [Member() for _ in range(size)]
        self.all += started
        return started

    def fleet(self, size: int, url: str, namespace: str, *, ready: bool = True, **thresholds: Any) -> list[Member]:
        """Start processes that share the circuit `tts` behind this URL, each with the word of the fleet."""
        started = self.start(size)
        for member in started:
            member.use(url, namespace, ready=ready, **thresholds)
        return started

    def _check(self, said: dict[Member, str]) -> None:
        for member, text in said.items():
            assert self.tracebacks_allowed or "Traceback" not in text, f"{member!r} says:\n{text}"
            assert "Fatal Python error" not in text, f"{member!r} says:\n{text}"
            for secret in self.secrets:
                assert secret not in text, f"{member!r} says a secret:\n{text}"


def total(members: list[Member]) -> tuple[int, int]:
    """How many calls their `traffic` has made, and how many of these failed."""
    pairs = [pair for member in members for pair in member.run("made")]
    return sum(map(sum, pairs)), sum(failures for _, failures in pairs)


@pytest.fixture
def members() -> Iterator[Members]:
    """The processes of a test."""
    with Members() as started:
        yield started


@pytest.fixture
def provider() -> Iterator[Provider]:
    """What they call."""
    with Provider() as started:
        yield started
