"""One redis-server of a test's own: started in milliseconds, and stopped, killed and emptied when the test says so."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.binaries import binary
from tests.servers.proxy import Proxy
from tests.servers.waiting import until

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

HOST = "127.0.0.1"
PORTS = range(12000, 22000)
"""Below the ports that systems give to outgoing connections, and so is the bus of a cluster node, 10000 above."""
ADMIN = "harness"
"""The ACL user of `cli` on a server whose users a test defines."""

# Servers that live, by the process that started them: a child that was forked has none to kill.
_alive: dict[int, RedisServer] = {}
_owner = os.getpid()


@atexit.register
def _kill_all() -> None:
    if os.getpid() == _owner:
        for server in list(_alive.values()):
            server.close()


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now; it may be gone a moment later."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class RedisServer:
    """A redis-server on a free port of 127.0.0.1, without persistence; use it in a `with`.

    Args:
        version: Which of BINARIES.
        password: The one of the default user (`requirepass`), for replication too.
        acl: Users, as `user` directives without the word: `"app on >secret ~recloser:* &recloser:* +@all"`. The default
            user stays open unless a line says otherwise (`"default off"`). `cli` has a user of its own then.
        unix_socket: Makes `url` that of the Unix socket, which is there in any case.
        maxmemory: A size as Redis reads it (`"2mb"`); beyond it writes are refused.
        replica_of: The server whose replica this one is.
        tls: Serves TLS, `url` being `rediss://`. The wheels' servers are built without it, so a proxy ends the TLS.
        config: Further directives: `{"maxclients": 5}`.

    The server dies with the thread that started it, on Linux even if that is killed: start it in a thread that stays.
    """

    needs_bus = False

    def __init__(
        self,
        version: str = "8.2",
        *,
        password: str | None = None,
        acl: Sequence[str] = (),
        unix_socket: bool = False,
        maxmemory: str | None = None,
        replica_of: RedisServer | None = None,
        tls: ssl.SSLContext | None = None,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        self.version = version
        self.password = password
        self.acl = tuple(acl)
        self.unix_socket = unix_socket
        self.maxmemory = maxmemory
        self.replica_of = replica_of
        self.config = dict(config or {})
        self.port = 0
        self.proxy: Proxy | None = None
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._admin_password = os.urandom(16).hex()
        self.folder = Path()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.version} on port {self.port}, pid {self.pid if self._process else None}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- where it is

    @property
    def url(self) -> str:
        """The URL that a client gets, with the password if there is one."""
        login = f":{self.password}@" if self.password else ""
        if self.unix_socket:
            return f"unix://{login}{self.socket_path}"
        if self.proxy is not None:
            return f"rediss://{login}{HOST}:{self.proxy.port}"
        return f"redis://{login}{HOST}:{self.port}"

    @property
    def address(self) -> str:
        """Host and port, as Redis writes them."""
        return f"{HOST}:{self.port}"

    @property
    def socket_path(self) -> Path:
        """The Unix socket, which is certain to lead to this server and no other."""
        return self.folder / "redis.sock"

    @property
    def pid(self) -> int:
        """Of the redis-server itself; nothing stands between."""
        assert self._process is not None, "this server was never started"
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything that the server has written, over all its starts."""
        path = self.folder / "log.txt"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        """Whether the process lives, be it stopped."""
        return self._process is not None and self._process.poll() is None

    @property
    def up(self) -> bool:
        """Whether the process lives and is not stopped."""
        return self.running and not self._stopped

    # -- its life

    def start(self) -> Self:
        """Start it on a port that is free, and wait until it answers; RuntimeError says what it said if it does not."""
        assert self._process is None, "a server is started once; restart() starts it again"
        # A Unix socket's path has a hundred characters at most, which TMPDIR may be longer than.
        self.folder = Path(tempfile.mkdtemp(prefix="recloser-redis-", dir="/tmp" if Path("/tmp").is_dir() else None))
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def stop(self) -> None:
        """Let it hang: connections stay open and new ones are accepted by the kernel, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        self._stopped = True

    def cont(self) -> None:
        """Let it go on after `stop`."""
        os.kill(self.pid, signal.SIGCONT)
        self._stopped = False

    def kill(self) -> None:
        """Kill it, hanging or not, and wait until it is gone: connections break, new ones are refused."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        self._process.wait(10)
        self._stopped = False
        _alive.pop(id(self), None)

    def shutdown(self) -> None:
        """Let it end as an operator would, saving nothing, and wait until it has."""
        assert self._process is not None, "this server was never started"
        self.cont()
        self._process.terminate()
        self._process.wait(10)
        _alive.pop(id(self), None)

    def restart(self, *, empty: bool = True) -> None:
        """Kill it unless it has ended, and start it on the same port: without data, or with those of this moment.

        Its configuration is the one that it had last, with what it rewrote there itself.
        """
        if not empty and self.up:
            self.raw("SAVE")
        self.kill()
        if empty:
            (self.folder / "dump.rdb").unlink(missing_ok=True)
        until(self._launch, f"{self!r} listens on its port again", seconds=10)

    def close(self) -> None:
        """Kill it and remove its files."""
        if self.proxy is not None:
            self.proxy.close()
        self.kill()
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- what it is asked

    def cli(self, *args: str | float | bytes) -> Any:
        """One command on a connection of its own, by a user who may do everything; answered as redis-py answers.

        A command of two words is one argument (`"CONFIG GET"`): that is how redis-py finds what to make of the reply.
        """
        with self._client() as client:
            return client.execute_command(*args)  # type: ignore[no-untyped-call]  # nor does redis-py type it

    def raw(self, *args: str | float | bytes) -> Any:
        """As `cli`, but the reply as the server sent it: lists and strings, whatever the release of redis-py."""
        with self._client() as client:
            client.response_callbacks.clear()
            return client.execute_command(*args)  # type: ignore[no-untyped-call]  # nor does redis-py type it

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO, every value being text."""
        lines = self.raw("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    @contextlib.contextmanager
    def _client(self) -> Iterator[redis.Redis]:
        client = redis.Redis(
            unix_socket_path=str(self.socket_path),
            username=ADMIN if self.acl else None,
            password=self._admin_password if self.acl else self.password,
            decode_responses=True,
            socket_timeout=10,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            yield client
        finally:
            client.close()
            client.connection_pool.disconnect()

    # -- how it is started

    def _start(self) -> None:
        for _ in range(20):
            self.port = self._free_port()
            (self.folder / "redis.conf").write_text("".join(f"{line}\n" for line in self.directives()))
            if self._launch():
                break
        else:
            raise RuntimeError(f"no port was free for {self!r}, or it says so:\n{self.log}")
        if self._tls is not None:
            self.proxy = Proxy(HOST, self.port, tls=self._tls)

    def _free_port(self) -> int:
        # At random, since others choose at the same time; whoever comes second chooses again.
        for _ in range(1000):
            port = random.choice(PORTS)
            if is_free(port) and (not self.needs_bus or is_free(port + 10000)):
                return port
        raise RuntimeError(f"no port is free in {PORTS}")

    def directives(self) -> Iterator[str]:
        """The lines of its configuration file."""
        yield f"bind {HOST}"
        yield f"port {self.port}"
        yield "protected-mode no"
        yield f"dir {self.folder}"
        yield f"unixsocket {self.socket_path}"
        yield 'save ""'
        yield "repl-diskless-sync yes"
        yield "repl-diskless-sync-delay 0"  # a replica of a test waits for no other
        yield "repl-ping-replica-period 1"  # clusters list a replica once anything has come down its link
        if not self.version.startswith("6."):
            yield "enable-debug-command yes"  # as 6.2 has it: DEBUG SLEEP, DEBUG SET-ACTIVE-EXPIRE
        if self.password:
            yield f"requirepass {self.password}"
            yield f"masterauth {self.password}"
        if self.acl:
            yield "acl-pubsub-default resetchannels"  # as it is since 7.0: a user has the channels of its line
            yield f"user {ADMIN} on >{self._admin_password} ~* &* +@all"
            yield from (f"user {user}" for user in self.acl)
        if self.maxmemory:
            yield f"maxmemory {self.maxmemory}"
            yield "maxmemory-policy noeviction"
        if self.replica_of:
            yield f"replicaof {HOST} {self.replica_of.port}"
        yield from (f"{name.replace('_', '-')} {value}" for name, value in self.config.items())

    def arguments(self) -> list[str]:
        """What comes after the path of its configuration file."""
        return []

    def _launch(self) -> bool:
        """Start the process and wait until it answers; False if its port is taken, RuntimeError if it cannot start."""
        command = [str(binary(self.version)), str(self.folder / "redis.conf"), *self.arguments()]
        # The kernel kills the server when its parent dies, however that dies; setpriv becomes the server, same pid.
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        log = self.folder / "log.txt"
        before = len(self.log)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder
            )
        self._stopped = False
        _alive[id(self)] = self
        try:
            until(self._answers_or_ended, f"{self!r} answers", seconds=15, every=0.001)
        except TimeoutError as error:
            self.kill()
            raise RuntimeError(f"{error}; it says:\n{self.log}") from None
        if self.running:
            return True
        self.kill()
        said = self.log[before:]
        if "Address already in use" in said or "bind: " in said:
            return False
        raise RuntimeError(f"redis-server {self.version} did not start:\n{said}")

    def _answers_or_ended(self) -> bool:
        if not self.running:
            return True
        # Its own socket, not its port: another server may have taken the port, and would answer.
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                reply = connection.recv(64)
            except OSError:
                return False
        return reply.startswith((b"+PONG", b"-NOAUTH", b"-NOPERM"))
