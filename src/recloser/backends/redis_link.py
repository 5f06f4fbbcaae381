"""How a Redis is reached: one server, a group behind Sentinels, or a cluster.

A link holds a few connections and no opinion: it does not retry, and it does not wait for longer than its timeout
(only the resolution of a host's name takes what the system takes). After a failure the next attempt looks for the
server anew.
"""

from __future__ import annotations

import hashlib
import socket
import weakref
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Self

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from recloser.backends.redis_client import Given, read_client
from recloser.backends.redis_ear import Ear
from recloser.backends.redis_lines import Dial, Trouble
from recloser.backends.redis_routes import Cluster, Sentinels, Server
from recloser.backends.redis_url import parse_url
from recloser.backends.redis_verify import inspect
from recloser.errors import BackendError
from recloser.forks import renew_after_fork
from recloser.locks import Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recloser.backends.redis_lines import Line, Word
    from recloser.backends.redis_routes import Route

__all__ = ["Ear", "RedisLink", "Script"]

_IDLE = 2
"""So many connections are kept: the courier's, and an operator's."""

_REDIRECTS = 4
"""So often a command follows the slot from one node to another."""


_KEEPALIVE: dict[str, Any] = {
    "socket_keepalive": True,
    # An ear only listens: without this a server that vanished without a word would be waited for, for hours.
    "socket_keepalive_options": {
        getattr(socket, name): seconds
        for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    },
}


def _is_tcp(make: object) -> bool:
    return isinstance(make, type) and issubclass(make, Connection)


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script.

    Attributes:
        text: the script.
        sha: its SHA-1, by which a server finds it.
    """

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Self:
        """A script with this text."""
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    @classmethod
    def load(cls, name: str) -> Script:
        """The script in the file ``name`` of ``recloser.backends.lua``."""
        return _loaded(name)


@cache
def _loaded(name: str) -> Script:
    return Script.of(files("recloser.backends.lua").joinpath(name).read_text(encoding="utf-8"))


class RedisLink:
    """A Redis, as far as sending commands and hearing messages goes. Every method may be called from any thread.

    Attributes:
        address: which one, for people; without secrets.
        timeout: seconds that connecting, and each answer, may take.
    """

    address: str
    timeout: float

    def __init__(self, given: Given, timeout: float) -> None:
        target = given.target
        self.address = str(target)
        self.timeout = timeout if target.timeout is None else target.timeout
        self._target = target
        self._dials, self._route = self._ways(given)
        self._section = Section()
        self._idle: list[Line] = []
        self._epoch = 0
        self._closed = False
        self._ears: weakref.WeakSet[Ear] = weakref.WeakSet()
        renew_after_fork(self)

    def _ways(self, given: Given) -> tuple[tuple[Dial, ...], Route]:
        target, whole, seconds = given.target, self.address, self.timeout
        settings = {**(_KEEPALIVE if _is_tcp(given.make) else {}), **target.settings}
        if target.kind == "cluster":
            nodes = Dial(given.make, settings, seconds, whole, role="node", remap=given.remap)
            return (nodes,), Cluster(nodes, target.places)
        settings["db"] = target.db
        if target.kind == "sentinel":
            servers = Dial(given.make, settings, seconds, whole, role="master", remap=given.remap)
            sentinels = Dial(given.make_sentinel, target.sentinel_settings, seconds, whole, role="Sentinel")
            return (servers, sentinels), Sentinels(sentinels, target.places, target.service, servers)
        if target.kind == "socket":
            settings["path"] = target.path
        server = Dial(given.make, settings, seconds, whole)
        return (server,), Server(server, target.places[0] if target.places else None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 0.25) -> Self:
        """The link to what ``url`` names; connects to nothing yet.

        Args:
            url: ``redis://``, ``rediss://``, ``unix://``, or one of the first two with ``+sentinel`` or ``+cluster``.
            timeout: seconds, unless the URL says ``?timeout=``.

        Raises:
            ConfigurationError: for a URL that is malformed; its text says what is allowed.
        """
        target = parse_url(url)
        make: type = SSLConnection if target.tls else Connection
        if target.kind == "socket":
            make = UnixDomainSocketConnection
        return cls(Given(target, make, make), timeout)

    @classmethod
    def from_client(cls, client: object, *, timeout: float = 0.25) -> Self:
        """The link to where ``client`` leads, with its login and connections of our own; connects to nothing yet.

        Args:
            client: a ``redis.Redis``, also one of ``Sentinel.master_for``, or a ``redis.RedisCluster``. It is not
                used, and may be closed.
            timeout: seconds.

        Raises:
            ConfigurationError: for any other object.
        """
        return cls(read_client(client), timeout)

    def verify(self) -> None:
        """Whether the right sort of server is there.

        Raises:
            ConfigurationError: when it is not; its text says what to write instead.
            BackendError: when it cannot be reached, does not answer within the timeout, or refuses the login.
        """
        try:
            self._not_closed()
            return inspect(self._target, self._route)
        except Trouble as trouble:
            text = str(trouble)
        raise BackendError(text)

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Word]) -> Any:
        """What ``script`` returns: bytes, whole numbers, lists.

        Raises:
            BackendError: when the server cannot be reached, does not answer within the timeout, or refuses.
        """
        try:
            try:
                return self._ask("EVALSHA", script.sha, len(keys), *keys, *args)
            except Trouble as trouble:
                if trouble.code != "NOSCRIPT":
                    raise
            return self._ask("EVAL", script.text, len(keys), *keys, *args)
        except Trouble as trouble:
            text = str(trouble)
        raise BackendError(text)

    def execute(self, *command: Word) -> Any:
        """The reply to ``command``.

        Raises:
            BackendError: when the server cannot be reached, does not answer within the timeout, or refuses.
        """
        try:
            return self._ask(*command)
        except Trouble as trouble:
            text = str(trouble)
        raise BackendError(text)

    def ear(self, channel: str, *, sharded: bool = False) -> Ear:
        """A subscription to ``channel``, not open yet.

        Args:
            channel: its name.
            sharded: whether messages come by SPUBLISH (a cluster, from Redis 7 on) instead of PUBLISH.
        """
        ear = Ear(self, channel, sharded=sharded)
        with self._section:
            self._ears.add(ear)
        return ear

    def close(self) -> None:
        """Ends every connection, also those that a thread waits on, and makes no new ones."""
        self._closed = True
        self._forget()
        for dial in self._dials:
            dial.close()

    def renew(self) -> None:
        """After a fork, in the child: connections are the parent's, and the next use makes new ones."""
        self._section.renew()
        self._idle = []
        self._epoch += 1
        for ear in tuple(self._ears):
            ear.close()
        for dial in self._dials:
            dial.close()

    def line(self) -> Line:
        """A connection that nobody else uses, for an ear; raises Trouble."""
        epoch = self._epoch
        self._not_closed()
        line = self._route.connect()
        line.epoch = epoch
        try:
            # It may have been while this was connecting.
            self._not_closed()
        except Trouble:
            line.close()
            raise
        return line

    def _not_closed(self) -> None:
        if self._closed:
            msg = f"the link to {self.address} was closed"
            raise Trouble(msg)

    def redirected(self, trouble: Trouble, line: Line) -> bool:
        """Whether ``trouble`` names another server, to which the next connection leads."""
        route = self._route if trouble.code == "MOVED" and isinstance(self._route, Cluster) else None
        if trouble.lost and self._forget(line) and not route:
            with self._section:
                ears = tuple(self._ears)
            # A server that is gone without a word leaves its subscribers waiting.
            for ear in ears:
                ear.lose(str(trouble))
        if route:
            route.moved(trouble.said, line)
        return route is not None

    def _ask(self, *words: Word) -> Any:
        for _ in range(_REDIRECTS):
            line = self._taken()
            try:
                reply = line.ask(*words)
            except Trouble as fresh:
                self._not_closed()
                trouble = fresh
            else:
                self._keep(line)
                return reply
            if trouble.code == "ASK" and isinstance(self._route, Cluster):
                self._keep(line)
                other = self._route.elsewhere(trouble.said, line)
                try:
                    return other.ask(*words)
                finally:
                    other.close()
            if not trouble.lost:
                self._keep(line)
            if not self.redirected(trouble, line):
                raise trouble
        msg = f"{self.address}: each node names another for the slot"
        raise Trouble(msg)

    def _taken(self) -> Line:
        while True:
            with self._section:
                line = self._idle.pop() if self._idle else None
            if line is None:
                return self.line()
            if line.fresh():
                return line
            # The server has closed it: bored, or gone; so it is looked for anew.
            line.close()
            self._route.lost()

    def _keep(self, line: Line) -> None:
        with self._section:
            kept = line.epoch == self._epoch and len(self._idle) < _IDLE and not self._closed
            if kept:
                self._idle.append(line)
        if not kept:
            line.close()

    def _forget(self, line: Line | None = None) -> bool:
        """What ``line`` led to is lost, and with it every connection of its time; without it, all are.

        False when another thread has seen to that already.
        """
        with self._section:
            if line is not None and line.epoch != self._epoch:
                return False
            idle, self._idle = self._idle, []
            self._epoch += 1
            self._route.lost()
        for each in idle:
            each.close()
        return True
