"""How a Redis is reached: against real servers, which hang, die, fail over, refuse and move their slots."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pytest
import redis
import redis.asyncio
from redis.sentinel import Sentinel

from recloser.backends.redis_link import RedisLink, Script
from recloser.errors import BackendError, ConfigurationError
from tests.servers.binaries import needs
from tests.servers.certificates import Authority
from tests.servers.groups import NAME, ClusterGroup, SentinelGroup
from tests.servers.proxy import Proxy
from tests.servers.redis_server import HOST, RedisServer
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs("8.2")

SECRET = "hunter2-hunter2"
BOUND = 2.0
"""Seconds that nothing may take: far above the timeout of a quarter of a second, far below redis-py's own."""
KEY = "recloser:{n}:key"
SET = Script.of("redis.call('set', KEYS[1], ARGV[1]) return {KEYS[1], ARGV[1], 3}")


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    """A server that tests leave as they found it."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of the test's own."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def group() -> Iterator[SentinelGroup]:
    """Sentinels that tests leave with a master and a replica."""
    with SentinelGroup(password=SECRET) as group:
        yield group


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterGroup]:
    """A cluster that tests leave with all its slots served."""
    with ClusterGroup(password=SECRET) as cluster:
        yield cluster


@pytest.fixture
def link(server: RedisServer) -> Iterator[RedisLink]:
    """A link to the server of the test's own."""
    with contextlib.closing(RedisLink.from_url(server.url)) as link:
        yield link


def failure(work: Callable[[], object]) -> str:
    """What a BackendError says, which comes in time, on one line, and chained to nothing that knows more."""
    began = time.monotonic()
    with pytest.raises(BackendError) as caught:
        work()
    assert time.monotonic() - began < BOUND
    text = str(caught.value)
    assert "\n" not in text
    return text


def works(link: RedisLink) -> bool:
    """Whether a write comes through."""
    try:
        return link.run(SET, [KEY], [b"1"]) == [KEY.encode(), b"1", 3]
    except BackendError:
        return False


def attempts(link: RedisLink) -> int:
    """How many attempts it takes until a write comes through."""
    for attempt in range(1, 8):
        if works(link):
            return attempt
    raise AssertionError("no attempt came through")


def heard(ear: Any) -> list[bytes]:
    """What an ear hears next, waiting as the courier does."""
    assert select.select([ear.fileno()], [], [], BOUND)[0]
    return ear.hear()


class Canned:
    """A server that says one thing after the other, whatever it is asked; its clients take their turns."""

    def __init__(self, *replies: bytes) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.listener.settimeout(10)
        self.port = self.listener.getsockname()[1]
        self.replies = [reply.replace(b"%(port)d", b"%d" % self.port) for reply in replies]
        self.over = False
        self.thread = threading.Thread(target=self.serve)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port)):
            pass
        self.thread.join(10)
        self.listener.close()

    def serve(self) -> None:
        while not self.over:
            with self.listener.accept()[0] as connection, contextlib.suppress(OSError):
                connection.settimeout(10)
                while connection.recv(65536):
                    if self.replies:
                        connection.sendall(self.replies.pop(0))

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"


# -- commands ----------------------------------------------------------------------------------------------------------


def test_replies_are_raw(link: RedisLink) -> None:
    """Bytes, whole numbers and lists, whatever the version of redis-py makes of them for its own clients."""
    assert link.execute("SET", KEY, b"\xff") == b"OK"
    assert link.execute("GET", KEY) == b"\xff"
    assert link.execute("GET", "nothing") is None
    assert link.execute("HSET", "h", "f", 1) == 1
    assert link.execute("HGETALL", "h") == [b"f", b"1"]
    assert link.execute("EXISTS", KEY) == 1


def test_a_script_that_the_server_does_not_know_is_sent(link: RedisLink) -> None:
    """After a restart or SCRIPT FLUSH too; otherwise only its digest goes over the wire."""
    for _ in range(2):
        assert link.run(SET, [KEY], [b"\xff"]) == [KEY.encode(), b"\xff", 3]
        assert link.run(SET, [KEY], [7]) == [KEY.encode(), b"7", 3]
        link.execute("SCRIPT", "FLUSH")
    stats = link.execute("INFO", "commandstats")
    assert b"cmdstat_eval:calls=2," in stats
    assert b"cmdstat_evalsha:calls=4," in stats


def test_scripts_come_from_the_package() -> None:
    """Each file is read once, and its digest is what the server will call it."""
    script = Script.load("exchange.lua")
    assert script is Script.load("exchange.lua")
    assert len(script.sha) == 40
    assert "KEYS" in script.text


def test_connecting_asks_for_nothing_but_the_login() -> None:
    """Each further command would be a round trip, and one that an ACL user has to be permitted."""
    with RedisServer(acl=["app on >pw ~* &* -@all +get"]) as server:
        link = RedisLink.from_url(f"redis://app:pw@{server.address}")
        assert link.execute("GET", KEY) is None
        assert server.raw("ACL", "LOG") == []  # which has what was not permitted
        link.close()


def test_a_connection_is_used_again(server: RedisServer, link: RedisLink) -> None:
    """One for one thread, and no more than two wait for work afterwards."""
    first = link.execute("CLIENT", "ID")
    assert [link.execute("CLIENT", "ID") for _ in range(3)] == [first] * 3
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait(10)
        for _ in range(50):
            assert works(link)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    until(lambda: int(server.info("clients")["connected_clients"]) <= 3, "connections beyond two are closed")
    assert works(link)


def test_a_connection_that_the_server_closed_is_not_used(server: RedisServer, link: RedisLink) -> None:
    """A server that closes idle connections costs no attempt."""
    assert works(link)
    server.cli("CLIENT", "KILL", "TYPE", "normal")
    assert works(link)
    server.restart()
    assert works(link)


def test_a_unix_socket(shared: RedisServer) -> None:
    """It leads to the same server."""
    link = RedisLink.from_url(f"unix://{shared.socket_path}?db=2")
    link.verify()
    assert link.execute("SET", KEY, "two") == b"OK"
    other = RedisLink.from_url(f"{shared.url}/2")
    assert other.execute("GETDEL", KEY) == b"two"
    link.close()
    other.close()


def test_a_closed_link_stays_closed(shared: RedisServer) -> None:
    """Nothing is connected any more, by accident either; closing twice is fine."""
    link = RedisLink.from_url(shared.url)
    ear = link.ear("c")
    ear.open()
    link.close()
    link.close()
    assert ear.fileno() is None
    assert "was closed" in failure(lambda: link.execute("PING"))
    assert "was closed" in failure(ear.open)
    assert failure(ear.hear)


def test_closing_wakes_a_thread_that_waits(server: RedisServer) -> None:
    """A process can end in the middle of a hang."""
    link = RedisLink.from_url(server.url, timeout=15)
    server.stop()
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(failure(lambda: link.execute("PING"))))
    thread.start()
    until(lambda: link._dials[0]._open, "the thread is connected")
    link.close()
    thread.join(BOUND)
    assert said == [f"the link to {link.address} was closed"]


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_server_that_hangs(server: RedisServer, link: RedisLink) -> None:
    """It costs one timeout, be it connected or not, and the next attempt after it has woken works."""
    assert works(link)
    server.stop()
    for _ in range(3):
        assert failure(lambda: link.run(SET, [KEY], ["1"])) == f"{link.address} does not answer within 0.25s"
    with contextlib.closing(RedisLink.from_url(f"redis://u:{SECRET}@{server.address}/1?timeout=100ms")) as cold:
        assert failure(cold.verify) == f"{cold.address} does not answer within 0.1s"
    server.cont()
    assert works(link)


def test_a_server_that_dies(server: RedisServer, link: RedisLink) -> None:
    """It refuses, says so, and the next attempt after its restart works."""
    assert works(link)
    server.kill()
    for _ in range(2):
        assert failure(lambda: link.run(SET, [KEY], ["1"])) == f"{link.address} refused the connection"
    assert failure(link.verify) == f"{link.address} refused the connection"
    server.restart()
    assert works(link)


@pytest.mark.parametrize("fault", ["drop", "swallow_replies", "hold", "cut", "refuse", "cut_after_request"])
def test_a_network_that_fails(shared: RedisServer, fault: str) -> None:
    """Whatever it does to an open connection and to a new one, a command ends in time, and works when it has healed."""
    with Proxy(HOST, shared.port) as proxy:
        link = RedisLink.from_url(f"redis://{proxy.address}/1")
        assert works(link)
        getattr(proxy, fault)()
        for _ in range(3):
            began = time.monotonic()
            works(link)
            assert time.monotonic() - began < BOUND
        proxy.heal()
        assert attempts(link) <= 2
        link.close()


def test_a_command_is_sent_once(shared: RedisServer) -> None:
    """A cut connection leaves open whether it was done; doing it again is for whoever knows that it counts once."""
    with Proxy(HOST, shared.port) as proxy:
        link = RedisLink.from_url(f"redis://{proxy.address}")
        link.execute("DEL", "n")
        proxy.cut_after_request(command="INCR")
        assert failure(lambda: link.execute("INCR", "n")) == f"{link.address} closed the connection"
        assert link.execute("GET", "n") == b"1"
        link.close()


def test_a_host_without_an_address() -> None:
    """It is said, without what the resolver says of it."""
    link = RedisLink.from_url("redis://no-such-host.invalid")
    with pytest.raises(BackendError, match="has a host name that cannot be resolved"):
        link.execute("PING")


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    """So it is with a path."""
    link = RedisLink.from_url(f"unix://{tmp_path}/none.sock")
    assert failure(lambda: link.execute("PING")).startswith(f"{link.address} is not there: no such socket")


def test_a_server_that_is_out_of_memory(server: RedisServer, link: RedisLink) -> None:
    """The words of the server are kept, and the connection with it."""
    before = link.execute("CLIENT", "ID")
    server.cli("CONFIG", "SET", "maxmemory", "1")
    said = failure(lambda: link.execute("SET", KEY, "x"))
    assert said.startswith(f"{link.address} is out of memory: OOM command not allowed")
    assert link.execute("CLIENT", "ID") == before


def test_a_master_that_became_a_replica(server: RedisServer, link: RedisLink) -> None:
    """It is left at once: behind the same address there may be another server by now."""
    before = link.execute("CLIENT", "ID")
    server.cli("REPLICAOF", HOST, "1")
    for said in [failure(lambda: link.execute("SET", KEY, "x")), failure(lambda: link.run(SET, [KEY], ["x"]))]:
        assert said.startswith(f"{link.address} is a read-only replica: READONLY ")
    assert link.execute("CLIENT", "ID") != before
    server.cli("CONFIG", "SET", "replica-serve-stale-data", "no")
    said = failure(lambda: link.execute("GET", KEY))
    assert said.startswith(f"{link.address} is a replica without its master: MASTERDOWN ")
    server.cli("REPLICAOF", "NO", "ONE")
    assert works(link)


def test_passwords() -> None:
    """A wrong one and a missing one are BackendErrors everywhere: they can be put right while the application runs."""
    with RedisServer(password=SECRET) as server, contextlib.ExitStack() as stack:
        missing, wrong, unknown, right = (
            stack.enter_context(contextlib.closing(RedisLink.from_url(f"redis://{login}{server.address}")))
            for login in ("", f":not-{SECRET}@", f"nobody:{SECRET}@", f":{SECRET}@")
        )
        for link, says in [(missing, "wants a password"), (wrong, "refuses the pass"), (unknown, "refuses the pass")]:
            for work in (link.verify, partial(link.execute, "GET", KEY), link.ear("c").open):
                assert failure(work).startswith(f"{link.address} {says}")
        right.verify()
        assert works(right)
        server.cli("CONFIG", "SET", "requirepass", f"not-{SECRET}")
        assert works(right)  # whoever is in stays in
        assert works(wrong)
        assert "refuses the password" in failure(right.verify)


def test_a_user_who_may_not() -> None:
    """The command is named, by itself or in a script; keys and channels too as far as the server does."""
    with RedisServer(acl=["app on >pw ~recloser:* &recloser:* -@all +get +set +eval +evalsha +subscribe"]) as server:
        link = RedisLink.from_url(f"redis://app:pw@{server.address}")
        link.verify()  # INFO is not permitted, and not needed
        assert works(link)
        before = link._idle[0]
        may_not = f"{link.address} does not permit "
        assert failure(lambda: link.execute("DEL", KEY)).startswith(f"{may_not}'del' to this user: NOPERM ")
        assert failure(lambda: link.execute("GET", "other")).startswith(f"{may_not}that to this user: NOPERM ")
        assert failure(link.ear("other").open).startswith(f"{may_not}that to this user: NOPERM ")
        assert link._idle[0] is before
        link.close()


@pytest.mark.parametrize("version", [pytest.param("6.2", marks=needs("6.2")), "8.2"])
def test_what_a_script_may_not(version: str) -> None:
    """Redis 6 and later ones wrap the errors within a script each in its own way; they are the same errors."""
    acl = ["app on >pw ~recloser:* &recloser:* -@all +get +set +eval +evalsha +publish"]
    add = Script.of("return redis.call('xadd', KEYS[1], '*', 'a', 'b')")
    other = Script.of("return redis.call('get', 'other')")
    tell = Script.of("return redis.call('publish', 'other', 'x')")
    wrong = Script.of("redis.call('set', KEYS[1], 1) return redis.call('set', KEYS[1])")
    with RedisServer(version, acl=acl) as server:
        link = RedisLink.from_url(f"redis://app:pw@{server.address}")
        for script in (add, other, tell):
            said = failure(lambda script=script: link.run(script, [KEY], []))
            assert said.startswith(f"{link.address} does not permit ")
        assert failure(lambda: link.run(wrong, [KEY], [])).startswith(f"{link.address} answers with an error: ")
        before = link._idle[0]
        server.cli("CONFIG", "SET", "maxmemory", "1")
        assert "is out of memory: OOM command" in failure(lambda: link.run(SET, [KEY], ["x"]))
        assert link._idle == [before]
        server.cli("CONFIG", "SET", "maxmemory", "0")
        server.cli("REPLICAOF", HOST, "1")
        assert "is a read-only replica: READONLY " in failure(lambda: link.run(SET, [KEY], ["x"]))
        assert link._idle == []
        link.close()


def test_a_server_without_room(server: RedisServer, link: RedisLink) -> None:
    """It is the server's word, not a mystery."""
    server.cli("CONFIG", "SET", "maxclients", "1")
    with contextlib.closing(RedisLink.from_url(server.url)) as first:
        first.execute("PING")
        assert failure(lambda: link.execute("PING")) == f"{link.address} has no room for another client"


def test_a_credential_provider_that_fails(shared: RedisServer) -> None:
    """It is the user's code, and runs on a thread of ours."""

    class Vault(redis.CredentialProvider):
        def get_credentials(self) -> tuple[str]:
            raise LookupError("sealed, token=abcdefghijklmnop")

    link = RedisLink.from_client(redis.Redis(port=shared.port, host=HOST, credential_provider=Vault()))
    assert failure(lambda: link.execute("PING")) == f"{link.address} cannot be reached: sealed, token=***"


def test_what_the_caller_is_busy_with_is_not_blamed(link: RedisLink, server: RedisServer) -> None:
    """An error that is raised while another one is handled carries that one along."""
    server.kill()
    try:
        raise TimeoutError
    except TimeoutError:
        assert failure(lambda: link.execute("PING")) == f"{link.address} refused the connection"


# -- what else may be there --------------------------------------------------------------------------------------------


def refusal(url: str) -> str:
    """What a ConfigurationError of verify says is allowed."""
    with contextlib.closing(RedisLink.from_url(url)) as link:
        with pytest.raises(ConfigurationError) as caught:
            link.verify()
        assert (caught.value.key, caught.value.value) == ("backend", link.address)
        assert not [dial for dial in link._dials if dial._open]
        return caught.value.allowed


@pytest.mark.parametrize(
    ("info", "says"),
    [
        (b"redis_version:6.0.16\r\nredis_mode:standalone", "Redis 6.2 or newer; 6.0.16 answers there"),
        (b"redis_version:5.0.1", "Redis 6.2 or newer; 5.0.1 answers there"),
        (b"redis_version:7.0.1\r\nredis_mode:cluster", "use redis+cluster://"),
    ],
)
def test_a_server_that_is_not_supported(info: bytes, says: str) -> None:
    """The version that is needed is said with the one that answers."""
    with Canned(b"$%d\r\n%s\r\n" % (len(info), info)) as server:
        assert says in refusal(server.url)


@pytest.mark.parametrize(
    "info", [b"redis_version:6.2.0", b"redis_version:7.2.4\r\nvalkey_version:8.1.1\r\nredis_mode:standalone", b"?"]
)
def test_a_server_that_is_supported(info: bytes) -> None:
    """Valkey too, and whoever does not say what it is."""
    with Canned(b"$%d\r\n%s\r\n" % (len(info), info)) as server:
        RedisLink.from_url(server.url).verify()


def test_a_server_that_is_not_redis() -> None:
    """A web server on that port is a mistake in the URL."""
    with Canned(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        assert "does not speak its protocol" in refusal(server.url)
    with Canned(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        link = RedisLink.from_url(server.url)
        assert "does not speak the Redis protocol" in failure(lambda: link.execute("PING"))


def test_a_database_that_is_not_there(shared: RedisServer) -> None:
    """It is a mistake in the URL."""
    assert refusal(f"{shared.url}/99") == "a database that the server has, and 99 is none"
    RedisLink.from_url(f"{shared.url}/15").verify()


@needs("6.2")
def test_the_oldest_server() -> None:
    """It does."""
    with RedisServer("6.2") as server:
        link = RedisLink.from_url(server.url)
        link.verify()
        assert works(link)
        link.close()


def test_a_cluster_is_not_a_server(cluster: ClusterGroup) -> None:
    """Whichever of the two is written, the other one is named."""
    for rest in ("", "/3"):
        assert "use redis+cluster://" in refusal(f"redis://:{SECRET}@{cluster.nodes[0].address}{rest}")
    link = RedisLink.from_url(f"redis://:{SECRET}@{cluster.another(KEY).address}")
    assert "use redis+cluster://" in failure(lambda: link.execute("GET", KEY))
    link.close()


def test_a_server_is_not_a_cluster(shared: RedisServer) -> None:
    """Whichever of the two is written, the other one is named."""
    assert "a server of its own: use redis://" in refusal(f"redis+cluster://{shared.address}")


def test_a_sentinel_is_not_a_server(group: SentinelGroup) -> None:
    """The port 26379 under redis:// is the classic."""
    for url in ("redis://{}", "redis://{}/2", "redis+cluster://{}"):
        said = refusal(url.format(group.sentinels[0].address))
        assert said.startswith("what answers there is a Sentinel: use redis+sentinel://")


def test_a_server_is_not_a_sentinel(shared: RedisServer) -> None:
    """Nor the other way round."""
    assert "what answers there is none: use redis://" in refusal(f"redis+sentinel://{shared.address}/{NAME}")


def test_a_service_that_no_sentinel_knows(group: SentinelGroup) -> None:
    """Those that they know are named."""
    url = group.url.replace(NAME, "other")
    said = refusal(url)
    assert said == f"a service that the Sentinels know, and 'other' is none of them; they know: {NAME}"
    link = RedisLink.from_url(url)
    assert failure(lambda: link.execute("PING")).endswith("its Sentinels know no service 'other'")


# -- ears --------------------------------------------------------------------------------------------------------------


def test_an_ear_hears(server: RedisServer, link: RedisLink) -> None:
    """Once it is open nothing is missed, and nothing is waited for."""
    ear = link.ear("c")
    assert ear.fileno() is None
    assert "not open" in failure(ear.hear)
    ear.open()
    assert link.execute("PUBLISH", "c", b"\xff") == 1
    assert heard(ear) == [b"\xff"]
    assert ear.hear() == []
    big = b"x" * 300_000
    for payload in (b"1", b"\r\n*3", big, b""):
        link.execute("PUBLISH", "c", payload)
    got: list[bytes] = []
    until(lambda: got.extend(ear.hear()) or len(got) == 4, "all is heard")
    assert got == [b"1", b"\r\n*3", big, b""]
    ear.open()
    until(lambda: link.execute("PUBLISH", "c", "x") == 1, "the subscription of before is over")
    assert heard(ear)
    ear.close()
    ear.close()
    assert ear.fileno() is None


def test_an_ear_does_not_wait_for_the_rest_of_a_message() -> None:
    """Half a message is nothing yet; what came with the confirmation is a message."""
    confirmed = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\nbody\r\n"
    for cut in range(1, len(message)):
        with Canned(confirmed + message + message[:cut]) as server:
            ear = RedisLink.from_url(server.url).ear("c")
            ear.open()
            got: list[bytes] = []
            began = time.monotonic()
            until(lambda got=got, ear=ear: got.extend(ear.hear()) or got, "the first message is heard")
            assert (got, ear.hear()) == ([b"body"], [])
            assert time.monotonic() - began < BOUND
            ear.close()


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad\r\n", b"*x\r\n", b"$-\r\n"])
def test_an_ear_that_hears_nonsense(said: bytes) -> None:
    """It is lost, and says so."""
    with Canned(said) as server:
        ear = RedisLink.from_url(server.url).ear("c")
        assert "does not speak the Redis protocol" in failure(ear.open)
    with Canned(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n" + said) as server:
        ear = RedisLink.from_url(server.url).ear("c")
        ear.open()
        assert "does not speak the Redis protocol" in failure(lambda ear=ear: until(ear.hear, "it is heard"))
        assert ear.fileno() is None


def test_an_ear_that_is_cut_off(server: RedisServer, link: RedisLink) -> None:
    """First it tells what it has heard, then that it is lost, and it can be opened again."""
    ear = link.ear("c")
    ear.open()
    link.execute("PUBLISH", "c", "last")
    server.cli("CLIENT", "KILL", "TYPE", "pubsub")
    assert heard(ear) == [b"last"]
    assert failure(lambda: heard(ear)) == f"{link.address} closed the connection"
    assert ear.fileno() is None
    server.restart()
    ear.open()
    link.execute("PUBLISH", "c", "new")
    assert heard(ear) == [b"new"]
    ear.close()


def test_an_ear_on_a_server_that_hangs(server: RedisServer, link: RedisLink) -> None:
    """It cannot know; the command that found out tells it, and opening it again takes no longer than a command."""
    ear = link.ear("c")
    ear.open()
    assert works(link)
    server.stop()
    assert ear.hear() == []
    said = failure(lambda: link.execute("PING"))
    assert failure(lambda: heard(ear)) == said
    assert failure(ear.open) == said
    server.cont()
    ear.open()
    assert ear.hear() == []
    ear.close()


def test_an_ear_may_be_closed_by_another_thread(link: RedisLink) -> None:
    """Whatever it is doing; it then fails as if it were lost."""
    for _ in range(20):
        ear = link.ear("c")
        ear.open()
        thread = threading.Thread(target=ear.close)
        thread.start()
        with contextlib.suppress(BackendError):
            while True:
                assert ear.hear() == []
        thread.join()
        assert ear.fileno() is None


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority) -> Iterator[RedisServer]:
    """A server that wants to see a certificate."""
    with RedisServer(tls=authority.context(ask_clients=True)) as server:
        yield server


@pytest.fixture(scope="module")
def options(authority: Authority) -> str:
    """What a URL says to be let in."""
    client = authority.client()
    return f"?timeout=2s&ssl_ca_certs={authority.ca}&ssl_certfile={client.certificate}&ssl_keyfile={client.key}"


def test_tls(encrypted: RedisServer, options: str) -> None:
    """Commands and messages are encrypted, and no message stays behind in the TLS library."""
    link = RedisLink.from_url(encrypted.url + options)
    link.verify()
    assert works(link)
    assert works(link)
    ear = link.ear("c")
    ear.open()
    assert ear.hear() == []
    for size in (1, 16000, 40000):
        link.execute("PUBLISH", "c", b"x" * size)
    got: list[int] = []
    while len(got) < 3:
        got += map(len, heard(ear))
    assert got == [1, 16000, 40000]
    link.close()


def test_tls_that_does_not_work(encrypted: RedisServer, options: str) -> None:
    """Who is not trusted, by whom, and who speaks no TLS at all, is said in a line."""
    distrusted = RedisLink.from_url(f"{encrypted.url}?timeout=2s")
    assert "shows a certificate that is not trusted: " in failure(distrusted.verify)
    misnamed = RedisLink.from_url(encrypted.url.replace(HOST, "127.0.0.2") + options)
    assert failure(misnamed.verify).startswith(misnamed.address)
    anonymous = RedisLink.from_url(encrypted.url + options.partition("&ssl_certfile")[0])
    assert failure(anonymous.verify).startswith(anonymous.address)
    with Canned(b"-ERR unknown command\r\n") as plain:
        link = RedisLink.from_url(plain.url.replace("redis:", "rediss:"))
        assert failure(link.verify).startswith(f"{link.address} does not speak TLS there")


def test_tls_where_none_is_expected(encrypted: RedisServer) -> None:
    """The server hears no TLS, and hangs up or answers in TLS."""
    link = RedisLink.from_url(encrypted.url.replace("rediss:", "redis:"))
    with pytest.raises((BackendError, ConfigurationError)) as caught:
        link.verify()
    assert link.address in str(caught.value)


def test_a_hang_in_the_middle_of_the_handshake(shared: RedisServer) -> None:
    """A server that accepts and says nothing costs one timeout, over TLS too."""
    with Proxy(HOST, shared.port) as proxy:
        proxy.drop()
        link = RedisLink.from_url(f"rediss://{proxy.address}")
        assert failure(lambda: link.execute("PING")) == f"{link.address} does not answer within 0.25s"
        assert proxy.connections == 1  # nor is it tried again


# -- Sentinel ----------------------------------------------------------------------------------------------------------


def test_a_group_behind_sentinels(group: SentinelGroup) -> None:
    """Commands and messages reach the master, with one connection each."""
    link = RedisLink.from_url(group.url + "/1")
    link.verify()
    assert works(link)
    assert works(link)
    assert group.master.raw("CLIENT", "LIST").count(" cmd=evalsha ") == 1
    ear = link.ear("c")
    ear.open()
    link.execute("PUBLISH", "c", "x")
    assert heard(ear) == [b"x"]
    link.close()


@pytest.mark.parametrize("by", ["command", "kill", "hang"])
def test_a_master_is_replaced(by: Any) -> None:
    """After the failover the new master is found within a few attempts, and heard."""
    with SentinelGroup() as group, contextlib.closing(RedisLink.from_url(group.url)) as link:
        assert works(link)
        old = group.master
        ear = link.ear("c")
        ear.open()
        group.fail_over(by)
        assert attempts(link) <= 3
        if by == "command":
            group.settle()  # the demoted master has hung up
            assert attempts(link) <= 3
        ear.open()
        link.execute("PUBLISH", "c", "x")
        assert heard(ear) == [b"x"]
        if by == "hang":
            old.cont()
        assert works(link)


def test_a_demoted_master_is_left(group: SentinelGroup) -> None:
    """A Sentinel that was cut off names the master of yesterday, whom nobody follows."""
    replica = group.replicas[0]
    with Canned(b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%d\r\n" % replica.port) as sentinel:
        link = RedisLink.from_url(f"redis+sentinel://:{SECRET}@{HOST}:{sentinel.port}/{NAME}")
        said = failure(lambda: link.execute("GET", KEY))
        assert said == f"{link.address} (master {replica.address}) is a read-only replica"


def test_who_may_not_ask_for_the_role() -> None:
    """Whoever the Sentinels name is then taken for the master, until it refuses to write."""
    with (
        RedisServer(acl=["app on >pw ~* &* -@all +set +eval +evalsha"]) as server,
        Canned(b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%d\r\n" % server.port) as sentinel,
    ):
        link = RedisLink.from_url(f"redis+sentinel://app:pw@{HOST}:{sentinel.port}/{NAME}")
        assert works(link)
        link.close()


@pytest.mark.parametrize("says", [b"+OK", b":1", b"-ERR unknown command 'SENTINEL'", b"$2\r\nxx"])
def test_something_else_instead_of_a_sentinel(says: bytes) -> None:
    """Whatever it answers, it is no Sentinel."""
    with Canned(*[says + b"\r\n"] * 2) as server:
        url = f"redis+sentinel://{HOST}:{server.port}/{NAME}"
        assert "what answers there is none" in refusal(url)
        link = RedisLink.from_url(url)
        said = failure(lambda: link.execute("GET", KEY))
        assert said == f"{link.address} (Sentinel {HOST}:{server.port}) is no Sentinel"


def test_sentinels_that_hang(group: SentinelGroup) -> None:
    """One of them costs one attempt, and all of them no attempt more than a timeout."""
    link = RedisLink.from_url(group.url)
    try:
        group.sentinels[0].stop()
        assert "does not answer within 0.25s" in failure(lambda: link.execute("PING"))
        assert works(link)
        for sentinel in group.sentinels:
            sentinel.stop()
        assert works(link)  # they are asked for a connection, not for a command
        cold = RedisLink.from_url(group.url)
        for _ in range(3):
            assert "does not answer within 0.25s" in failure(cold.verify)
    finally:
        for sentinel in group.sentinels:
            sentinel.cont()
    assert works(cold)
    link.close()
    cold.close()


def test_sentinels_that_are_dead(group: SentinelGroup) -> None:
    """They are passed over, in the same attempt."""
    link = RedisLink.from_url(group.url.replace("@", f"@{HOST}:1,{HOST}:2,"))
    link.verify()
    assert works(link)
    link.close()
    link = RedisLink.from_url(f"redis+sentinel://{HOST}:1,{HOST}:2/{NAME}")
    assert failure(link.verify) == f"{link.address} (Sentinel {HOST}:2) refused the connection"


# -- Cluster -----------------------------------------------------------------------------------------------------------


def test_a_cluster(cluster: ClusterGroup) -> None:
    """Whichever node is known, commands find the one that has the slot, and stay with it."""
    for node in cluster.nodes:
        link = RedisLink.from_url(f"redis+cluster://:{SECRET}@{node.address}")
        link.verify()
        assert works(link)
        cluster.owner(KEY).cli("CONFIG", "RESETSTAT")
        assert works(link)
        assert cluster.owner(KEY).info("commandstats")["cmdstat_evalsha"].startswith("calls=1,")
        link.close()


@pytest.mark.parametrize("sharded", [False, True])
def test_an_ear_in_a_cluster(cluster: ClusterGroup, sharded: bool) -> None:  # noqa: FBT001 - a parameter of a test
    """Messages of a script reach it whichever node is known; sharded ones only where the slot is."""
    publish = Script.of(f"return redis.call('{'s' if sharded else ''}publish', ARGV[1], ARGV[2])")
    for node in cluster.nodes:
        link = RedisLink.from_url(f"redis+cluster://:{SECRET}@{node.address}")
        ear = link.ear("{n}c", sharded=sharded)
        ear.open()

        def reaches(link: RedisLink = link, ear: Any = ear) -> list[int]:
            # Nodes that have just met lose what they pass on, until they are linked both ways.
            link.run(publish, ["{n}"], ["{n}c", "x"])
            return select.select([ear.fileno()], [], [], 1.0)[0]

        until(reaches, "a message reaches it")
        assert set(ear.hear()) == {b"x"}
        link.close()


def test_a_slot_that_moves(cluster: ClusterGroup) -> None:
    """In the middle of it and after it commands succeed, by redirections; a sharded ear is told to go."""
    link = RedisLink.from_url(cluster.url)
    assert works(link)
    ear = link.ear(KEY, sharded=True)
    ear.open()
    assert works(link)
    with cluster.moving(KEY):
        assert works(link)
        assert link.execute("SET", "{n}new", "1") == b"OK"
        assert link.run(SET, ["recloser:{n}:new"], ["1"])
        assert "is moving the slot: TRYAGAIN" in failure(lambda: link.execute("MGET", KEY, "recloser:{n}:no"))
    assert works(link)
    assert failure(lambda: heard(ear))
    ear.open()
    link.execute("SPUBLISH", KEY, "x")
    assert heard(ear) == [b"x"]
    link.close()


def test_a_node_that_hangs(cluster: ClusterGroup) -> None:
    """It costs one timeout for each attempt, and the next one after it has woken works."""
    link = RedisLink.from_url(cluster.url)
    assert works(link)
    owner = cluster.owner(KEY)
    owner.stop()
    try:
        for _ in range(2):
            said = failure(lambda: link.run(SET, [KEY], ["1"]))
            assert said == f"{link.address} (node {owner.address}) does not answer within 0.25s"
    finally:
        owner.cont()
    until(lambda: works(link), "the cluster has its node back")
    link.close()


def test_a_node_that_died(cluster: ClusterGroup) -> None:
    """Until somebody takes over the others name it, and what is said is that it refuses."""
    link, cold = RedisLink.from_url(cluster.url), RedisLink.from_url(cluster.url)
    assert works(link)
    owner = cluster.owner(KEY)
    owner.kill()
    try:
        said = [failure(partial(each.execute, "GET", KEY)) for each in (link, link, cold)]
        refused = f"(node {owner.address}) refused the connection"
        assert all(text.endswith(refused) or "is down: CLUSTERDOWN" in text for text in said)
    finally:
        owner.restart()
    until(lambda: works(link) and works(cold), "the cluster has its node back")
    link.close()
    cold.close()


def test_nodes_that_name_each_other() -> None:
    """A command is not sent round and round."""
    with Canned(*[b"-ERR no\r\n", b"-MOVED 1 :%(port)d\r\n"] * 9) as server:
        link = RedisLink.from_url(server.url.replace("redis:", "redis+cluster:"))
        assert failure(lambda: link.execute("GET", KEY)) == f"{link.address}: each node names another for the slot"
        ear = link.ear("c", sharded=True)
        assert "every node names another" in failure(ear.open)
        link.close()


@pytest.mark.parametrize("says", [b"-MOVED", b"-MOVED 1", b"-MOVED 1 h:x", b"-ASK 1 h"])
def test_a_redirection_to_nowhere(says: bytes) -> None:
    """It is an error like any other."""
    with Canned(b"-ERR no\r\n", says + b"\r\n") as server:
        link = RedisLink.from_url(server.url.replace("redis:", "redis+cluster:"))
        assert failure(lambda: link.execute("GET", KEY)).startswith(link.address)
        link.close()


def test_a_cluster_that_hangs(cluster: ClusterGroup) -> None:
    """One timeout for each attempt, as many nodes as there are."""
    link = RedisLink.from_url(cluster.url)
    for node in cluster.nodes:
        node.stop()
    try:
        for _ in range(3):
            assert "does not answer within 0.25s" in failure(link.verify)
    finally:
        for node in cluster.nodes:
            node.cont()
    until(lambda: works(link), "the cluster is back")
    link.close()


@pytest.mark.parametrize("by", ["kill", "hang", "command"])
def test_a_node_is_replaced(by: Any) -> None:
    """The replica is found within a few attempts, though only the node that is gone was named in the URL."""
    with ClusterGroup(replicas=1) as cluster:
        owner = cluster.owner(KEY)
        with contextlib.closing(RedisLink.from_url(f"redis+cluster://{owner.address}")) as link:
            assert works(link)
            cluster.fail_over(owner, by)
            assert attempts(link) <= 4


def test_a_node_without_permissions() -> None:
    """Who may not ask for the nodes goes on with those that the URL names."""
    acl = ["app on >pw ~* &* -@all +get +set +eval +evalsha"]
    with RedisServer(acl=acl, config={"cluster-enabled": "yes"}) as server:
        server.cli("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        link = RedisLink.from_url(f"redis+cluster://app:pw@{server.address}")
        until(lambda: works(link), "the cluster is up")
        link.verify()
        link.close()


# -- clients -----------------------------------------------------------------------------------------------------------


def same_link(client: Any, address: str) -> None:
    """A client leads to an address, works, and is neither used nor changed."""
    pools = [client.connection_pool] if hasattr(client, "connection_pool") else []
    before = [dict(pool.connection_kwargs) for pool in pools]
    link = RedisLink.from_client(client)
    client.close()
    link.verify()
    assert works(link)
    assert link.address == address
    assert isinstance(link.execute("GET", KEY), bytes)
    assert [pool.connection_kwargs for pool in pools] == before
    assert not any(pool._created_connections if hasattr(pool, "_created_connections") else 0 for pool in pools)
    link.close()


def test_a_client(shared: RedisServer) -> None:
    """What it decodes, retries and checks stays with it; where it leads and how it logs in is taken over."""
    shared.cli("ACL", "SETUSER", "app", "on", f">{SECRET}", "~*", "&*", "+@all")
    provider = redis.UsernamePasswordCredentialProvider("app", SECRET)
    where: dict[str, Any] = {"host": HOST, "port": shared.port}
    for client, address in [
        (redis.Redis(**where), f"redis://{shared.address}/0"),
        (redis.Redis(**where, db=3, decode_responses=True, health_check_interval=1, client_name="me"), "/3"),
        (redis.Redis(**where, username="app", password=SECRET, protocol=3, socket_timeout=9), "/0"),
        (redis.Redis(**where, credential_provider=provider), "/0"),
        (redis.Redis.from_url(f"redis://app:{SECRET}@{shared.address}/1?max_connections=3"), "/1"),
        (redis.Redis(connection_pool=redis.BlockingConnectionPool(**where, encoding="latin-1")), "/0"),
        (redis.Redis(unix_socket_path=str(shared.socket_path), db=1), f"unix://{shared.socket_path}?db=1"),
    ]:
        same_link(client, f"redis://{shared.address}{address}" if address.startswith("/") else address)


def test_a_client_over_tls(encrypted: RedisServer, authority: Authority) -> None:
    """Its certificates are taken over."""
    mine = authority.client()
    files: dict[str, Any] = {
        "ssl_certfile": str(mine.certificate),
        "ssl_keyfile": str(mine.key),
        "ssl_ca_certs": str(authority.ca),
    }
    assert encrypted.proxy is not None
    client = redis.Redis(HOST, encrypted.proxy.port, ssl=True, **files)
    link = RedisLink.from_client(client, timeout=2)
    link.verify()
    assert works(link)
    assert link.address.startswith("rediss://")
    link.close()
    client.close()


def test_a_client_of_sentinels(group: SentinelGroup) -> None:
    """Its Sentinels and its service are taken over."""
    sentinel = Sentinel([(HOST, each.port) for each in group.sentinels], password=SECRET, socket_timeout=9)
    client = sentinel.master_for(NAME, db=2)
    same_link(client, str(RedisLink.from_url(f"{group.url}/2").address))


def test_a_client_of_a_cluster(cluster: ClusterGroup) -> None:
    """Its nodes and its login are taken over, and where it says they are to be found from here."""
    host, port = HOST, cluster.nodes[0].port
    greeted: list[object] = []
    client = redis.RedisCluster(
        host,
        port,
        password=SECRET,
        address_remap=lambda place: ("localhost", place[1]),
        redis_connect_func=greeted.append,
    )
    link = RedisLink.from_client(client)
    link.verify()
    client.close()
    assert works(link)
    assert link._route._home == (HOST, cluster.owner(KEY).port)  # type: ignore[attr-defined]
    assert {wire.host for wire in link._dials[0]._open} == {"localhost"}  # type: ignore[attr-defined]
    assert link._dials[0]._open <= set(greeted)
    link.close()


def test_an_object_that_is_no_client(cluster: ClusterGroup) -> None:
    """What to hand in instead is said, and no password of the object is shown."""
    client = redis.Redis(password=SECRET)
    sentinel = Sentinel([(HOST, 1)], password=SECRET)
    nodes = redis.RedisCluster(HOST, cluster.nodes[0].port, password=SECRET)
    for wrong, says in [
        (redis.asyncio.Redis(password=SECRET), "an async client; hand in a redis.Redis, it is used on a thread of"),
        (client.pipeline(), "a pipeline; hand in the client that made it"),
        (nodes.pipeline(), "a pipeline; hand in the client that made it"),
        (sentinel, "the Sentinels; hand in sentinel.master_for(service)"),
        (sentinel.slave_for(NAME), "a client for replicas"),
        (client.connection_pool, "a pool; hand in redis.Redis(connection_pool=pool)"),
        (f"redis://:{SECRET}@h", "a redis.Redis or a redis.RedisCluster, or the URL"),
        (redis.Redis, "a redis.Redis or a redis.RedisCluster, or the URL"),
        (None, "a redis.Redis or a redis.RedisCluster, or the URL"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            RedisLink.from_client(wrong)
        assert caught.value.allowed.startswith(says)
        assert SECRET not in f"{caught.value} {caught.value!r}"
    nodes.close()


# -- forks -------------------------------------------------------------------------------------------------------------


def in_child(work: Callable[[], object]) -> int:
    """The exit code of a forked child that does the work."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_forked_child(shared: RedisServer, encrypted: RedisServer, options: str, tls: bool) -> None:  # noqa: FBT001 - a parameter of a test
    """It makes connections of its own, and closes those of the parent without a word on them."""
    link = RedisLink.from_url(encrypted.url + options if tls else shared.url)
    mine = link.execute("CLIENT", "ID")
    ear = link.ear("c")
    ear.open()

    def child() -> None:
        assert ear.fileno() is None
        assert failure(ear.hear)
        assert link.execute("CLIENT", "ID") != mine
        ear.open()
        assert link.execute("PUBLISH", "c", "child") == 2
        assert heard(ear) == [b"child"]
        link.close()

    assert in_child(child) == 0
    assert link.execute("CLIENT", "ID") == mine
    assert heard(ear) == [b"child"]
    link.execute("PUBLISH", "c", "parent")
    assert heard(ear) == [b"parent"]
    link.close()


# -- secrets -----------------------------------------------------------------------------------------------------------


def cases(group: SentinelGroup, cluster: ClusterGroup, shared: RedisServer) -> Iterator[tuple[str, RedisLink]]:
    """Links that know a secret and fail, each in its own way."""
    logins = f":{SECRET}@", f"{SECRET}:{SECRET}@", f"{SECRET}@"
    for login in logins:
        yield "no password is wanted", RedisLink.from_url(f"redis://{login}{shared.address}")
        yield "no password is wanted", RedisLink.from_url(f"unix://{login}{shared.socket_path}")
        yield "nobody there", RedisLink.from_url(f"redis://{login}{HOST}:1")
        yield "no socket there", RedisLink.from_url(f"unix://{login}/none.sock")
        yield "no such host", RedisLink.from_url(f"redis://{login}no-such-host.invalid")
        yield "no TLS", RedisLink.from_url(f"rediss://{login}{shared.address}")
        yield "no Sentinel", RedisLink.from_url(f"redis+sentinel://{login}{shared.address}/m")
        yield "a Sentinel", RedisLink.from_url(f"redis://{login}{group.sentinels[0].address}")
        yield "no such service", RedisLink.from_url(f"redis+sentinel://{login}{group.sentinels[0].address}/m")
        yield "no cluster", RedisLink.from_url(f"redis+cluster://{login}{shared.address}")
        yield "a cluster", RedisLink.from_url(f"redis://:{SECRET}@{cluster.nodes[0].address}")
    yield "a wrong password", RedisLink.from_url(f"{group.url.replace(SECRET, SECRET * 2)}")
    yield "a wrong password", RedisLink.from_url(f"{cluster.url.replace(SECRET, SECRET * 2)}")
    yield "no login at Sentinels", RedisLink.from_url(f"{group.url}?sentinel_password={SECRET}")
    yield "a client", RedisLink.from_client(redis.Redis(HOST, 1, password=SECRET))


def test_no_error_shows_a_secret(
    group: SentinelGroup, cluster: ClusterGroup, shared: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """No text, no representation, no chained exception and no log line, in whatever way it fails."""
    caplog.set_level(0)
    for why, link in cases(group, cluster, shared):
        for work in (link.verify, partial(link.execute, "GET", KEY), link.ear("c").open):
            try:
                work()
            except (BackendError, ConfigurationError) as error:
                seen: BaseException | None = error
                while seen is not None:
                    assert SECRET not in f"{seen} {seen!r} {seen.args} {vars(seen)}", why
                    seen = seen.__cause__ or seen.__context__
        assert SECRET not in f"{link!r} {link} {link.address}"
        link.close()
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "says",
    [
        f"-ERR unknown command 'AUTH', with args beginning with: '{SECRET}'",
        f"-ERR you said AUTH {SECRET}, did you",
        f"-WRONGPASS {SECRET}",
        f"-NOPERM this user's {SECRET}",
        f"+{SECRET}",
        f"{SECRET}",
        f"*1\r\n-ERR {SECRET}",
    ],
)
def test_a_server_that_repeats_the_secret(says: str) -> None:
    """What stands there in place of a Redis may quote what it does not understand."""
    for work in ("verify", "execute"):
        with Canned(says.encode() + b"\r\n", b"-ERR no\r\n") as server:
            link = RedisLink.from_url(server.url.replace("//", f"//:{SECRET}@"))
            with pytest.raises((BackendError, ConfigurationError)) as caught:
                link.verify() if work == "verify" else link.execute("PING")
            seen: BaseException | None = caught.value
            while seen is not None:
                assert SECRET not in f"{seen} {seen!r} {seen.args} {vars(seen)}"
                seen = seen.__cause__ or seen.__context__
