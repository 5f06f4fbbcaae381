"""Groups of servers as they run in production, Sentinel and Cluster, with the failovers and moves that happen there."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import redis
from redis.crc import key_slot

from tests.servers.redis_server import HOST, RedisServer
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self

NAME = "mymaster"
IMPATIENT = (
    # Not the ping-period: a replica unheard of for five of it is not chosen, and INFO of it comes once a second.
    *("info-period", 200, "ask-period", 100, "publish-period", 200),
    *("tilt-trigger", 30000),  # on a busy machine a sentinel that was kept waiting would do nothing for half a minute
)
"""What makes sentinels quick, since 7.0. A failover by older ones takes a second more, what a lost master does, ten."""
BROKEN = redis.ConnectionError
"""Sentinels break the connections to a node when it changes its role."""


class Sentinel(RedisServer):
    """A sentinel that watches one master; it is told of the others instead of having to find them, which takes seconds.

    Args:
        group: Whose nodes it watches.
        version: Which of BINARIES.
    """

    def __init__(self, group: SentinelGroup, version: str) -> None:
        super().__init__(version)
        self.group = group
        self.id = os.urandom(20).hex()

    def directives(self) -> Iterator[str]:
        group = self.group
        yield f"bind {HOST}"
        yield f"port {self.port}"
        yield "protected-mode no"
        yield f"dir {self.folder}"
        yield f"unixsocket {self.socket_path}"
        yield f"sentinel myid {self.id}"
        yield f"sentinel monitor {NAME} {HOST} {group.master.port} 2"
        yield f"sentinel down-after-milliseconds {NAME} {group.down_after_ms}"
        yield f"sentinel failover-timeout {NAME} 3000"
        if group.password:
            yield f"sentinel auth-pass {NAME} {group.password}"
        for node in group.nodes:
            if node is not group.master:
                yield f"sentinel known-replica {NAME} {HOST} {node.port}"

    def arguments(self) -> list[str]:
        return ["--sentinel"]

    @property
    def url(self) -> str:
        """Of this sentinel itself."""
        return f"redis://{HOST}:{self.port}"

    def names(self) -> tuple[str, int]:
        """The address that it names as the master's."""
        host, port = self.raw("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return host, int(port)


class SentinelGroup:
    """One master, its replicas and three sentinels; use it in a `with`.

    Args:
        version: Which of BINARIES.
        replicas: One or two.
        sentinels: How many; two have to agree that the master is down.
        password: Of the nodes; the sentinels have none.
        down_after_ms: Of silence, after which a sentinel believes that the master is down.
        config: Further directives of the nodes.

    Attributes:
        nodes: The servers, whatever they are at the moment.
        sentinels: The sentinels.
    """

    def __init__(
        self,
        version: str = "8.2",
        *,
        replicas: int = 1,
        sentinels: int = 3,
        password: str | None = None,
        down_after_ms: int = 500,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        self.version = version
        self.password = password
        self.down_after_ms = down_after_ms
        self.nodes: list[RedisServer] = []
        self.sentinels: list[Sentinel] = []
        self._replicas = replicas
        self._how_many = sentinels
        self._config = config
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """`redis+sentinel://` with the sentinels' addresses and the master's name."""
        login = f":{self.password}@" if self.password else ""
        return f"redis+sentinel://{login}{','.join(sentinel.address for sentinel in self.sentinels)}/{NAME}"

    @property
    def master(self) -> RedisServer:
        """The node that the sentinels that answer name as the master (before there are any: the first one)."""
        for sentinel in self.sentinels:
            if sentinel.up:
                return self._node(sentinel.names())
        return self.nodes[0]

    @property
    def replicas(self) -> list[RedisServer]:
        """All nodes but the master."""
        master = self.master
        return [node for node in self.nodes if node is not master]

    def fail_over(self, by: Literal["kill", "hang", "command"] = "kill", *, seconds: float = 15) -> RedisServer:
        """Have another node made the master and return it, once every sentinel names it and it takes writes.

        Args:
            by: `kill` kills the master with SIGKILL; `hang` stops it, so that it comes back believing that it is the
                master (`cont()`); `command` is what an operator types, and the old master becomes a replica.
            seconds: The bound.
        """
        old = self.master
        if by == "kill":
            old.kill()
        elif by == "hang":
            old.stop()
        else:
            until(self._order, "a sentinel takes the order to fail over", seconds=seconds)
        new = until(lambda: self._agreed(old), f"the sentinels agree on another master than {old!r}", seconds=seconds)
        until(lambda: new.raw("ROLE")[0] == "master", f"{new!r} is the master", seconds=seconds, despite=BROKEN)
        return new

    def settle(self, seconds: float = 15) -> None:
        """Wait until the sentinels name one master that is up, and all other nodes that are up follow it."""
        what = "all nodes follow the master that the sentinels name"
        until(self._settled, what, seconds=seconds, every=0.02, despite=BROKEN)

    def _start(self) -> None:
        master = self._stack.enter_context(RedisServer(self.version, password=self.password, config=self._config))
        self.nodes.append(master)
        for _ in range(self._replicas):
            replica = RedisServer(self.version, password=self.password, config=self._config, replica_of=master)
            self.nodes.append(self._stack.enter_context(replica))
        for replica in self.nodes[1:]:
            until(partial(self._follows, replica), f"{replica!r} follows its master", every=0.02)
        started = [self._stack.enter_context(Sentinel(self, self.version)) for _ in range(self._how_many)]
        for sentinel in started:
            if not self.version.startswith("6."):
                sentinel.raw("SENTINEL", "DEBUG", *IMPATIENT)
        for sentinel in started:
            until(partial(self._ready, sentinel, started), f"{sentinel!r} knows everybody")
        self.sentinels = started

    def _follows(self, replica: RedisServer) -> bool:
        return bool(replica.raw("ROLE")[3] == "connected")

    def _introduce(self, everybody: list[Sentinel]) -> None:
        # As each of them says every two seconds on the master's channel: their ports are not known before they run.
        for sentinel in everybody:
            hello = f"{HOST},{sentinel.port},{sentinel.id},0,{NAME},{HOST},{self.master.port},0"
            self.master.raw("PUBLISH", "__sentinel__:hello", hello)

    def _ready(self, sentinel: Sentinel, everybody: list[Sentinel]) -> bool:
        fields = _pairs(sentinel.raw("SENTINEL", "MASTER", NAME))
        if int(fields["num-other-sentinels"]) < self._how_many - 1:
            self._introduce(everybody)
            return False
        if fields["flags"] != "master":
            return False
        replicas = [_pairs(replica) for replica in sentinel.raw("SENTINEL", "REPLICAS", NAME)]
        healthy = [r for r in replicas if r["flags"] == "slave" and r["master-link-status"] == "ok"]
        return len(healthy) == self._replicas

    def _order(self) -> bool:
        try:
            self.sentinels[0].raw("SENTINEL", "FAILOVER", NAME)
        except redis.ResponseError as error:
            if "NOGOODSLAVE" in str(error) or "INPROG" in str(error):
                return False  # it has not heard from the replica lately, or an earlier failover is not over
            raise
        return True

    def _settled(self) -> bool:
        named = {sentinel.names() for sentinel in self.sentinels if sentinel.up}
        if len(named) != 1 or not (master := self._node(named.pop())).up or master.raw("ROLE")[0] != "master":
            return False
        roles = [node.raw("ROLE") for node in self.nodes if node.up and node is not master]
        return all(role[0] == "slave" and role[2:4] == [master.port, "connected"] for role in roles)

    def _agreed(self, old: RedisServer) -> RedisServer | None:
        named = {sentinel.names() for sentinel in self.sentinels if sentinel.up}
        node = self._node(named.pop()) if len(named) == 1 else old
        return None if node is old else node

    def _node(self, address: tuple[str, int]) -> RedisServer:
        return next(node for node in self.nodes if (HOST, node.port) == address)


class ClusterNode(RedisServer):
    """A server in cluster mode."""

    needs_bus = True

    @property
    def id(self) -> str:
        """Its name in the cluster."""
        return str(self.raw("CLUSTER", "MYID"))


class ClusterGroup:
    """A cluster of masters that share the slots, each with its replicas; use it in a `with`. It takes 2 s to start.

    Args:
        version: Which of BINARIES.
        masters: Three at least, for the majority that a failover takes.
        replicas: Of each master.
        password: Of every node.
        node_timeout_ms: Of silence, after which a node believes that another is down.
        config: Further directives of the nodes, such as `{"cluster-require-full-coverage": "no"}`.

    Attributes:
        nodes: The servers, whatever they are at the moment: first those that started as masters.
    """

    def __init__(
        self,
        version: str = "8.2",
        *,
        masters: int = 3,
        replicas: int = 0,
        password: str | None = None,
        node_timeout_ms: int = 1000,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        self.version = version
        self.password = password
        self.nodes: list[ClusterNode] = []
        self._masters = masters
        self._replicas = replicas
        self._config = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": node_timeout_ms,
            "cluster-replica-validity-factor": 0,  # a replica of a test is never too old
            **(config or {}),
        }
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """`redis+cluster://` with the addresses of all nodes."""
        login = f":{self.password}@" if self.password else ""
        return f"redis+cluster://{login}{','.join(node.address for node in self.nodes)}"

    @property
    def masters(self) -> list[ClusterNode]:
        """The nodes that have slots, as the first node that answers sees it, in the order of their slots."""
        ports = [owner[1] for _, _, owner, *_ in sorted(self._slots(self._anybody()))]
        return [self._node(port) for port in dict.fromkeys(ports)]

    def owner(self, key: str) -> ClusterNode:
        """The master that has the slot of this key, as the first node that answers sees it."""
        return self._owner(self._anybody(), key_slot(key.encode()))

    def another(self, key: str) -> ClusterNode:
        """A master that has not the slot of this key."""
        owner = self.owner(key)
        return next(node for node in self.masters if node is not owner)

    def replicas_of(self, master: ClusterNode) -> list[ClusterNode]:
        """The nodes that replicate this one, as the first node that answers sees it."""
        for _, _, owner, *replicas in self._slots(self._anybody()):
            if owner[1] == master.port:
                return [self._node(replica[1]) for replica in replicas]
        return []

    @contextlib.contextmanager
    def moving(self, key: str, target: ClusterNode | None = None, *, keys: bool = True) -> Iterator[ClusterNode]:
        """Move the slot of this key to another master, live; the block runs in the middle of it, the end after it.

        Until the end the old owner answers with ASK for a key of the slot that it has not (any more), and the target
        with MOVED unless it is told ASKING first. A command with several keys, some here and some there, gets TRYAGAIN.

        Args:
            key: Any key of the slot.
            target: The new owner, which is what the block gets; any other master if left out.
            keys: Whether the keys that are there move before the block; else they move after it, and only keys that
                do not exist answer with ASK.
        """
        slot = key_slot(key.encode())
        source, target = self.owner(key), target or self.another(key)
        target.raw("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.raw("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        if keys:
            self._migrate(slot, source, target)
        yield target
        self._migrate(slot, source, target)
        # The target first: a source that knew before would send clients there in vain.
        everybody = [target, source, *(node for node in self.masters if node not in {source, target})]
        new = target.id
        for node in everybody:
            node.raw("CLUSTER", "SETSLOT", slot, "NODE", new)
        what = f"all agree that slot {slot} is moved to {target!r}"
        until(lambda: all(self._owner(node, slot) is target for node in self._up()), what, every=0.02)

    def move_slot(self, key: str, target: ClusterNode | None = None) -> ClusterNode:
        """Move the slot of this key and its keys to another master, which is returned; `moving` stops halfway."""
        with self.moving(key, target) as new:
            return new

    def fail_over(
        self, master: ClusterNode, by: Literal["kill", "hang", "command"] = "kill", *, seconds: float = 15
    ) -> ClusterNode:
        """Have a replica of this master take over and return it, once all nodes agree and the cluster is ok.

        Args:
            master: One that has a replica.
            by: `kill` kills it with SIGKILL; `hang` stops it; `command` is what an operator types to swap the two.
            seconds: The bound.

        Have no node take over twice within seconds: 6.2 then counts late votes, and its nodes may disagree for good.
        """
        replicas = self.replicas_of(master)
        assert replicas, f"{master!r} has no replica"
        slot = next(first for first, _, owner, *_ in self._slots(self._anybody()) if owner[1] == master.port)
        if by == "kill":
            master.kill()
        elif by == "hang":
            master.stop()
        else:
            replicas[0].raw("CLUSTER", "FAILOVER")
        new = until(
            lambda: self._successor(slot, master), f"a replica of {master!r} takes over", seconds=seconds, every=0.02
        )
        self.settle(seconds)
        return new

    def settle(self, seconds: float = 15) -> None:
        """Wait until all nodes that are up know each other as up, all slots are served, and replicas follow."""
        until(lambda: all(map(self._ok, self._up())), "the cluster is ok for all nodes", seconds=seconds, every=0.02)

    def _start(self) -> None:
        for _ in range(self._masters * (1 + self._replicas)):
            node = ClusterNode(self.version, password=self.password, config=self._config)
            self.nodes.append(self._stack.enter_context(node))
        masters = self.nodes[: self._masters]
        bounds = [16384 * number // self._masters for number in range(self._masters + 1)]
        for number, master in enumerate(masters):
            first, last = bounds[number], bounds[number + 1] - 1
            if self.version.startswith("6."):
                master.raw("CLUSTER", "ADDSLOTS", *range(first, last + 1))
            else:
                master.raw("CLUSTER", "ADDSLOTSRANGE", first, last)
            master.raw("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        # Everybody meets everybody: gossip would get there too, in seconds.
        for number, node in enumerate(self.nodes):
            for other in self.nodes[:number]:
                node.raw("CLUSTER", "MEET", HOST, other.port)
        known = len(self.nodes)
        until(lambda: all(self._knows(node) == known for node in self.nodes), "all nodes have met", every=0.02)
        for number, replica in enumerate(self.nodes[self._masters :]):
            replica.raw("CLUSTER", "REPLICATE", masters[number % self._masters].id)
        self.settle(20)

    def _ok(self, node: ClusterNode) -> bool:
        state = dict(line.split(":", 1) for line in node.raw("CLUSTER", "INFO").splitlines() if ":" in line)
        if state["cluster_state"] != "ok":
            return False
        role = node.raw("ROLE")
        if role[0] == "slave" and role[3] != "connected":
            return False
        # Who lists fewer replicas than there are would send a client that reads from them the wrong way.
        listed = {port for _, _, *nodes in self._slots(node) for _, port, *_ in nodes}
        return listed == {other.port for other in self._up()}

    def _successor(self, slot: int, old: ClusterNode) -> ClusterNode | None:
        seen = {self._owner(node, slot) for node in self._up()}
        return seen.pop() if len(seen) == 1 and old not in seen else None

    def _migrate(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        login = ("AUTH", self.password) if self.password else ()
        while names := source.raw("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.raw("MIGRATE", HOST, target.port, "", 0, 5000, *login, "KEYS", *names)

    def _knows(self, node: ClusterNode) -> int:
        lines = node.raw("CLUSTER", "NODES").splitlines()
        return sum("handshake" not in line and " connected" in line for line in lines)

    def _owner(self, asked: ClusterNode, slot: int) -> ClusterNode:
        for first, last, owner, *_ in self._slots(asked):
            if first <= slot <= last:
                return self._node(owner[1])
        raise LookupError(f"{asked!r} knows nobody who has slot {slot}")

    def _slots(self, asked: ClusterNode) -> list[list[Any]]:
        slots: list[list[Any]] = asked.raw("CLUSTER", "SLOTS")
        return slots

    def _up(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.up]

    def _anybody(self) -> ClusterNode:
        return self._up()[0]

    def _node(self, port: int) -> ClusterNode:
        return next(node for node in self.nodes if node.port == port)


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
