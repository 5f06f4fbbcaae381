"""The test's side of a fleet: starts its processes, tells each what to do, and has none of them outlive the test."""

from __future__ import annotations

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


class Member:
    """One process of a fleet.

    Args:
        folder: Where it writes what it says.
        name: Of that file.
        options: For the interpreter: `["-X", "dev"]`.
        environment: Variables besides those of the test.
    """

    def __init__(
        self, folder: Path, name: str, options: tuple[str, ...] = (), environment: dict[str, str] | None = None
    ) -> None:
        self._path = folder / f"{name}.txt"
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}
        self._writing = threading.Lock()
        command = [sys.executable, *options, "-m", "tests.fleet.member"]
        # The kernel kills it when the tests die, however they do; setpriv becomes the interpreter, same pid.
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with self._path.open("ab") as said:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                encoding="utf-8",
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            )
        self._reader = threading.Thread(target=self._read, name=f"tests.fleet.{name}", daemon=True)
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
    def pid(self) -> int:
        """Of the process itself; nothing stands between."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives, be it stopped."""
        return self._process.poll() is None

    @property
    def stderr(self) -> str:
        """All that it, its children and the interpreter have printed."""
        return self._path.read_text("utf-8", "replace")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Let it stand still, with everything that it holds."""
        self.signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on after `stop`."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait(10)

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
        return self._process.returncode

    def close(self) -> None:
        """Kill it, hanging or not, with all its children, and let go of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(10)
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            # What was written to a process that has ended is still in the buffer.
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()

    # -- the wire

    def tell(self, **request: Any) -> None:
        """Send a request."""
        assert self._process.stdin is not None
        with self._writing, contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
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
        self.folder = Path()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="recloser-fleet-"))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for member in self.all:
            member.close()
        said = {member: member.stderr for member in self.all}
        shutil.rmtree(self.folder, ignore_errors=True)
        if exc is None:
            self._check(said)

    def start(self, size: int, *, options: tuple[str, ...] = (), **environment: str) -> list[Member]:
        """Start processes that belong to no fleet yet."""
        started = []
        for _ in range(size):
            started.append(Member(self.folder, f"member-{len(self.all)}", options, environment))
            self.all.append(started[-1])
        return started

    def fleet(self, size: int, url: str, namespace: str, *, ready: bool = True, **thresholds: Any) -> list[Member]:
        """Start processes that share the circuit `tts` behind this URL, each with the word of the fleet."""
        started = self.start(size)
        for member in started:
            member.start(_SETUP)  # all import at the same time
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
