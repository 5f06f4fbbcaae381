"""Every way in which the backend can be away: calls go on, what is said is true, and what was counted counts once."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis

from tests.fleet.members import ROOT, MemberError, members, total
from tests.servers.fixtures import (
    namespace,
    redis_6,
    redis_8,
    redis_any,
    start_cluster,
    start_proxy,
    start_redis,
    start_sentinels,
)
from tests.servers.redis_server import HOST
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fleet.members import Member, Members
    from tests.servers.groups import ClusterGroup
    from tests.servers.proxy import Proxy
    from tests.servers.redis_server import RedisServer

__all__ = [
    "members", "namespace", "redis_6", "redis_8", "redis_any", "start_cluster", "start_proxy", "start_redis",
    "start_sentinels",
]  # fmt: skip

pytestmark = pytest.mark.realtime

COUNTED = "shot = toolkit.status()['tts']; [shot.calls, shot.failures]"
ENDLESS: dict[str, Any] = {"failures": None, "window": "1h"}
PASSWORD, CHANGED = "correct-horse-1", "battery-staple-2"


def counted(fleet: list[Member], calls: int, failures: int, *, seconds: float = 10.0) -> None:
    """Wait until everybody sees this in the window of the fleet."""
    for member in fleet:
        what = f"{calls} calls and {failures} failures are counted"
        with contextlib.suppress(TimeoutError):
            until(lambda member=member: member.run(COUNTED) == [calls, failures], what, seconds=seconds, every=0.05)
        assert member.run(COUNTED) == [calls, failures], member.run("logs")


def lost(member: Member, said: str, *, since: float) -> None:
    """Wait until it says that it has lost the backend, and why."""
    moment = member.until("toolkit.status().lost_since")
    assert since - 1 <= moment <= time.time() + 1
    because = member.run("toolkit.status().lost_because")
    assert re.search(said, because), because


def back(fleet: list[Member]) -> None:
    """Wait until everybody has the backend back."""
    for member in fleet:
        member.until("toolkit.status().lost_since is None")


def logged(member: Member, said: str) -> None:
    """One line at the beginning of the streak, one at its end, and no other."""
    lines = member.run("logs")
    assert len(lines) == 2, lines
    assert re.search(f"^WARNING .*{said}.*; calls go on with what this process knows$", lines[0]), lines
    assert re.search(r"^WARNING the backend \S+ answers again, after ", lines[1]), lines


# -- one that is under way ---------------------------------------------------------------------------------------------


class Site:
    """A server behind a network, and a connection of an administrator's that is open already."""

    def __init__(self, server: RedisServer, proxy: Proxy) -> None:
        self.server = server
        self.proxy = proxy
        self.admin = redis.Redis(
            unix_socket_path=str(server.socket_path), username="default", password=server.password, protocol=2
        )
        self.admin.ping()
        self.busy: socket.socket | None = None

    def ask(self, *words: str | int) -> None:
        """A command on that connection."""
        self.admin.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py does not type it

    def config(self, name: str, value: str | int) -> None:
        """Another value of a setting."""
        self.ask("CONFIG SET", name, value)

    def disconnect(self) -> None:
        """Break everybody else's connections, in the server."""
        self.ask("CLIENT KILL", "TYPE", "normal")
        self.ask("CLIENT KILL", "TYPE", "pubsub")

    def compute(self) -> None:
        """A script of somebody's that does not end."""
        self.config("busy-reply-threshold", 20)
        self.busy = socket.create_connection((HOST, self.server.port))
        self.busy.sendall(f"AUTH {PASSWORD}\r\nEVAL 'while true do end' 0\r\n".encode())

    def close(self) -> None:
        """Let go of it."""
        if self.busy is not None:
            self.busy.close()
        self.admin.close()


class Outage(NamedTuple):
    """How it begins, how it ends, and what is said of it."""

    begins: Callable[[Site], object]
    ends: Callable[[Site], object]
    said: str


SILENT = "does not answer within 0.25s"
OUTAGES = {
    "hanging": Outage(lambda site: site.server.stop(), lambda site: site.server.cont(), SILENT),
    "refused": Outage(
        lambda site: (site.proxy.refuse(), site.proxy.cut()),
        lambda site: site.proxy.heal(),
        "refused the connection|closed the connection",
    ),
    "unplugged": Outage(lambda site: site.proxy.drop(), lambda site: site.proxy.heal(), SILENT),
    "mute": Outage(lambda site: site.proxy.swallow_replies(), lambda site: site.proxy.heal(), SILENT),
    "partitioned": Outage(lambda site: site.proxy.hold(), lambda site: site.proxy.heal(), SILENT),
    "read-only": Outage(
        lambda site: site.ask("REPLICAOF", HOST, 1),
        lambda site: site.ask("REPLICAOF", "NO", "ONE"),
        "read-only replica",
    ),
    "without replicas": Outage(
        lambda site: site.config("min-replicas-to-write", 1),
        lambda site: site.config("min-replicas-to-write", 0),
        "too few replicas",
    ),
    "out of memory": Outage(
        lambda site: site.config("maxmemory", 1), lambda site: site.config("maxmemory", 0), "out of memory"
    ),
    "busy": Outage(Site.compute, lambda site: site.ask("SCRIPT KILL"), f"busy with a script|{SILENT}"),
    "full": Outage(
        lambda site: (site.config("maxclients", 1), site.disconnect()),
        lambda site: site.config("maxclients", 100),
        "no room for another client",
    ),
    "another password": Outage(
        lambda site: (site.config("requirepass", CHANGED), site.disconnect()),
        lambda site: site.config("requirepass", PASSWORD),
        "refuses the password",
    ),
    "not permitted": Outage(
        lambda site: site.ask("ACL SETUSER", "default", "-evalsha", "-eval"),
        lambda site: site.ask("ACL SETUSER", "default", "+@all"),
        "does not permit 'eval(sha)?' to this user",
    ),
}


@pytest.fixture
def site(start_redis: Callable[..., RedisServer], start_proxy: Callable[..., Proxy]) -> Iterator[Site]:
    """A server with a password, which these tests may do any harm."""
    server = start_redis(password=PASSWORD)
    made = Site(server, start_proxy(server))
    yield made
    made.close()


def url(site: Site, password: str = PASSWORD) -> str:
    """Of this server, through its proxy."""
    return f"redis://:{password}@{site.proxy.address}"


@pytest.mark.parametrize("how", OUTAGES)
def test_an_outage_costs_nothing_but_the_others_news(site: Site, members: Members, how: str) -> None:
    """Calls go on, one line says why, one that it is over, and everything is counted once."""
    members.secrets += [PASSWORD, CHANGED]
    fleet = members.fleet(2, url(site), "ns", **ENDLESS)
    fleet[0].run("failed(2); passed(3)")
    counted(fleet, 5, 2)
    began = time.time()
    OUTAGES[how].begins(site)
    for member in fleet:
        member.run("failed(); passed(2)")
    for member in fleet:
        lost(member, OUTAGES[how].said, since=began)
        # Nobody waits for anything: a thousand of calls take no longer than they do.
        assert member.run("began = time.monotonic(); passed(1000); failed(3); time.monotonic() - began") < 2
        assert member.run("str(tts.state)") == "closed"
    OUTAGES[how].ends(site)
    back(fleet)
    counted(fleet, 5 + 2 * 1006, 2 + 2 * 4)
    for member in fleet:
        member.run("passed()")
        logged(member, f"({OUTAGES[how].said})")
    counted(fleet, 5 + 2 * 1007, 2 + 2 * 4)


def test_a_slow_server_is_no_outage(redis_8: RedisServer, namespace: str, start_proxy: Any, members: Members) -> None:
    """Answers that take a fifth of a second: counts, trips and pushes come later, and nothing is lost."""
    proxy = start_proxy(redis_8)
    proxy.delay(0.1)
    fleet = members.fleet(3, f"redis://{proxy.address}", namespace, failures=3, cooldown=600)
    for member in fleet:
        member.run("passed(); failed()")
        # Who makes the call does not wait for it.
        assert member.run("began = time.monotonic(); passed(1000); time.monotonic() - began") < 2
    for member in fleet:
        member.until("tts.state is State.OPEN")
        assert member.run("logs") == []
    assert fleet[0].run("[str(event.kind) for event in toolkit.events()]") == ["tripped"]


def test_a_fleet_does_not_flood_a_server_that_is_away(site: Site, members: Members) -> None:
    """Failures keep coming, and each process tries a few times, slower and slower."""
    fleet = members.fleet(3, url(site), "ns", **ENDLESS)
    for member in fleet:
        member.start("traffic()")
    before = site.proxy.connections
    site.config("maxclients", 1)
    site.disconnect()
    for member in fleet:
        member.until("toolkit.status().lost_since")
    end = time.monotonic() + 2
    until(lambda: time.monotonic() > end, "two seconds pass")
    # One at first, again after 0.1, 0.2, 0.4.. seconds; and as many for who listens.
    assert site.proxy.connections - before < 20 * len(fleet)
    site.config("maxclients", 100)
    back(fleet)
    for member in fleet:
        member.run("over.set()")
    counted(fleet, *total(fleet))


# -- one that was away when the process began --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["hanging", "refused", "another password", "not permitted"])
def test_a_process_begins_without_its_backend(site: Site, members: Members, how: str) -> None:
    """Nothing is raised, ready() says no, and what was counted before the first word is delivered once it comes."""
    members.secrets += [PASSWORD, CHANGED]
    began = time.time()
    OUTAGES[how].begins(site)
    early, late = members.fleet(2, url(site), "ns", ready=False, **ENDLESS)
    for member in (early, late):
        assert member.run("passed(2); failed(3); toolkit.ready(0.5)") is False
        lost(member, OUTAGES[how].said, since=began)
    early.run("passed(5)")
    OUTAGES[how].ends(site)
    for member in (early, late):
        assert member.run("toolkit.ready(8)") is True
        logged(member, f"({OUTAGES[how].said})")
    counted([early, late], 15, 6)
    assert late.run("toolkit.status().processes") >= 2


def commands_of_scripts() -> set[str]:
    """The commands that the scripts use."""
    scripts = Path(ROOT, "src/recloser/backends/lua").glob("*.lua")
    return {name for path in scripts for name in re.findall(r"(?:redis\.p?call\(|\{)'([A-Z]+)'", path.read_text())}


def test_a_user_who_may_not_use_one_of_the_commands(start_redis: Callable[..., RedisServer], members: Members) -> None:
    """Whichever it is: it is named before anything was counted, and once it is permitted nothing is missing."""
    commands = sorted(commands_of_scripts() | {"EVALSHA", "EVAL"})
    assert len(commands) > 20
    users = [f"no{each} on >pw ~* &* +@all -{each.lower()}" for each in commands]
    server = start_redis(acl=users)
    (member,) = members.start(1)
    member.run("from recloser import Recloser\nkits, circuits = {}, {}")
    for each in commands:
        server.cli("SCRIPT FLUSH")
        member.run(f"""
kits[{each!r}] = Recloser("redis://no{each}:pw@{server.address}", namespace={each!r})
circuits[{each!r}] = kits[{each!r}].circuit("tts", failures=2, cooldown=600)
circuits[{each!r}].record_failure("down")
""")
    said = member.run("{name: kit.status().lost_because for name, kit in kits.items()}")
    # Whoever gives up now leaves nothing that stays for ever.
    assert [key for key in server.cli("KEYS", "*") if server.cli("PTTL", key) < 0] == []
    for each in commands:
        assert f"does not permit '{each.lower()}' to this user" in said[each]
        server.cli("ACL SETUSER", f"no{each}", "+@all")
    for each in commands:
        member.until(f"kits[{each!r}].status().lost_since is None", each)
        assert member.run(f"circuits[{each!r}].snapshot().failures") == 1, each
        member.run(f"circuits[{each!r}].record_failure('down')")
    for each in commands:
        member.until(f"str(circuits[{each!r}].state) == 'open'", each)
        assert member.run(f"[str(event.kind) for event in kits[{each!r}].events()]") == ["tripped"], each
    assert len(member.run("logs")) == 2 * len(commands)
    expired = [key for key in server.cli("KEYS", "*") if server.cli("PTTL", key) < 0]
    assert expired == []


def test_a_user_with_the_documented_permissions_needs_no_others(
    start_redis: Callable[..., RedisServer], members: Members
) -> None:
    """A fleet trips, pushes, probes, is paused, is looked at, and nothing is refused."""
    text = Path(ROOT, "docs/fleet.md").read_text()
    found = re.search(r"^ACL SETUSER (recloser on .*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found
    server = start_redis(acl=[" ".join(found[1].split()).replace("PASSWORD", "pw")])
    rules = {"failures": 2, "cooldown": 0.5, "window": "1h"}
    one, other = members.fleet(2, f"redis://recloser:pw@{server.address}", "ns", **rules)
    one.run("tts.record_failure('down', once='call-17'); tts.record_failure('down', once='call-17'); passed()")
    other.until("toolkit.status()['tts'].failures == 1")
    other.run("failed()")
    one.until("tts.state is State.HALF_OPEN")
    one.until("tried()")
    other.until("tts.state is State.CLOSED")
    one.run("toolkit.pause('t*', reason='maintenance', by='ann', for_='1h')")
    other.until("tts.state is State.PAUSED")
    kinds = one.run("toolkit.explain('tts'); [str(event.kind) for event in toolkit.events()]")
    assert kinds == ["tripped", "probing", "resumed", "paused"]
    # A command that is refused is in the log of the server's too: SUBSCRIBE by somebody who may not is not said.
    assert [entry["reason"] for entry in server.cli("ACL LOG")] == []
    assert (one.run("logs"), other.run("logs")) == ([], [])


def test_who_may_not_listen_hears_with_the_next_exchange(
    start_redis: Callable[..., RedisServer], members: Members
) -> None:
    """Without SUBSCRIBE transitions are late, and no call fails for it; the log says so."""
    server = start_redis(acl=["app on >pw ~* &* +@all -subscribe"])
    one, other = members.fleet(2, f"redis://app:pw@{server.address}", "ns", failures=1, cooldown=600)
    one.run("failed()")
    other.until("tts.state is State.OPEN", seconds=5)
    assert other.run("toolkit.status().lost_since") is None
    other.until("any('subscribe' in line for line in logs)", "it is said", seconds=5)


# -- one that has lost something ---------------------------------------------------------------------------------------


def test_a_server_that_comes_back_empty_is_told_what_the_fleet_knows(
    start_redis: Callable[..., RedisServer], members: Members
) -> None:
    """An operator's pause, an open circuit, one that a quorum opened and one that was closed by hand: a newcomer sees
    them, each put back by one member.
    """
    server = start_redis()
    fleet = members.fleet(3, server.url, "ns", failures=2, cooldown=600)
    for member in fleet:
        member.run("""
agreed = toolkit.circuit("agreed", failures=1, quorum=2, cooldown=600)
alone = toolkit.circuit("alone", failures=1, quorum=2, cooldown=600)
mail, resumed = toolkit.circuit("mail"), toolkit.circuit("resumed")
""")
        assert member.run("toolkit.ready(5)")
    fleet[0].run("toolkit.pause('mail', reason='maintenance', by='ann')")
    fleet[0].run("toolkit.pause('resumed', reason='x', by='ann'); toolkit.resume('resumed', by='bob')")
    fleet[0].run("failed(2); agreed.record_failure('down'); alone.record_failure('down')")
    fleet[1].run("agreed.record_failure('down')")
    states = "[str(each.state) for each in (tts, agreed, mail, resumed, alone)]"
    for member, itself in zip(fleet, ["open", "closed", "closed"], strict=True):
        until(
            lambda member=member, itself=itself: member.run(states) == ["open", "open", "paused", "closed", itself],
            "all of it is known",
        )
    generations = fleet[2].run("[shot.generation for shot in toolkit.status().values()]")
    server.restart(empty=True)
    back(fleet)
    (newcomer,) = members.fleet(1, server.url, "ns", failures=2, cooldown=600)
    shown = "{name: [str(shot.state), shot.by] for name, shot in toolkit.status().items()}"
    expected = {
        "agreed": ["open", "recloser"], "alone": ["closed", "recloser"], "mail": ["paused", "ann"],
        "resumed": ["closed", "bob"], "tts": ["open", "recloser"],
    }  # fmt: skip
    with contextlib.suppress(TimeoutError):
        until(lambda: newcomer.run(shown) == expected, "the newcomer sees all of it")
    assert newcomer.run(shown) == expected
    assert newcomer.run("tried(10)") == 0
    assert newcomer.run("[shot.generation for shot in toolkit.status().values()]") == generations
    events = newcomer.run("[[str(event.kind), event.circuit] for event in toolkit.events() if not event.local]")
    assert sorted(events) == [["restored", "agreed"], ["restored", "mail"], ["restored", "tts"]]
    assert [member.run(states)[4] for member in fleet] == ["open", "closed", "closed"]


def test_a_key_of_the_wrong_type_is_one_circuits_trouble(
    redis_any: RedisServer, namespace: str, members: Members
) -> None:
    """Somebody else wrote to it: that circuit goes on by itself in each process, all others go on together."""
    kinds = ("circuit", "window", "once", "reporters")
    fleet = members.fleet(2, redis_any.url, namespace, failures=2, cooldown=600)
    one, other = fleet
    for member in fleet:
        member.run(f"harmed = [toolkit.circuit(kind, failures=None, window='1h') for kind in {kinds}]")
        member.run("shots = lambda: [[s.calls, s.failures] for s in (toolkit.status()[c.name] for c in harmed)]")
        assert member.run("toolkit.ready(5)")
    one.run("for each in harmed: each.record_failure('down', once='call-17'); each.record_failure('down')")
    until(lambda: other.run("shots()") == [[2, 2]] * 4, "all is counted")
    for kind in kinds:
        key = f"recloser:{{{namespace}}}:{kind}:{kind}"
        redis_any.cli("RENAME", key, f"{key}:aside")
        redis_any.cli("SET", key, "not ours")
    one.run("for each in harmed: each.record_failure('down')\nfailed()")
    other.run("for each in harmed: each.record_success()\nfailed()")
    for member in fleet:
        member.until("tts.state is State.OPEN")
    # Also while nothing new is told, and everybody only asks.
    one.run("toolkit.resume('tts', by='ann')")
    other.until("tts.state is State.CLOSED")
    end = time.monotonic() + 2.5
    until(lambda: time.monotonic() > end, "two ticks pass")
    for member in fleet:
        assert member.run("toolkit.status().lost_since") is None
        assert member.run("[each.allows() for each in harmed]") == [True] * 4
    for kind in kinds:
        key = f"recloser:{{{namespace}}}:{kind}:{kind}"
        redis_any.cli("RENAME", f"{key}:aside", key)
    for member in fleet:
        what = "all is counted, and once"
        with contextlib.suppress(TimeoutError):
            until(lambda member=member: member.run("shots()") == [[4, 3]] * 4, what, seconds=5)
        assert member.run("shots()") == [[4, 3]] * 4
        lines = member.run("logs")
        for kind in kinds:
            mine = [line for line in lines if f"WARNING {kind}: " in line]
            assert mine, lines
            assert len(mine) <= 2, lines
            assert "the keys of the circuit cannot be used: WRONGTYPE" in mine[0]


@pytest.mark.parametrize("kind", ["alive", "circuits", "events"])
def test_a_key_of_the_wrong_type_that_all_circuits_need(
    start_redis: Callable[..., RedisServer], kind: str, members: Members
) -> None:
    """It is an outage, and said once: calls go on, circuits open, and once the key is gone everything is as it was."""
    server = start_redis()
    fleet = members.fleet(2, server.url, "ns", failures=3, window="1h", cooldown=600)
    key = f"recloser:{{ns}}:{kind}"
    fleet[0].run("failed(); passed()")
    counted(fleet, 2, 1)
    server.cli("DEL", key)
    server.cli("SET", key, "not ours")
    fleet[0].run("failed(2)")
    fleet[0].until("tts.state is State.OPEN")
    assert fleet[1].run("tried(3)") in {0, 3}
    end = time.monotonic() + 1.5
    until(lambda: time.monotonic() > end, "it goes on like this for a while")
    for member in fleet:
        assert len(member.run("logs")) <= 1, member.run("logs")
    server.cli("DEL", key)
    back(fleet)
    for member in fleet:
        member.until("tts.state is State.OPEN")
        assert len(member.run("logs")) in {0, 2}, member.run("logs")
    fleet[1].run("toolkit.resume('tts', by='ann')")
    for member in fleet:
        member.until("tts.state is State.CLOSED")
    assert fleet[0].run("[str(event.kind) for event in toolkit.events()][-1]") == "resumed by hand"


@pytest.mark.parametrize("what", ["error", "key", "retry_after"])
def test_no_outcome_cuts_a_process_off(redis_8: RedisServer, namespace: str, what: str, members: Members) -> None:
    """Half of a surrogate pair, an endless wait: whatever an application hands in, the next one is counted."""
    fleet = members.fleet(2, redis_8.url, namespace, **ENDLESS)
    with contextlib.suppress(MemberError):
        if what == "error":
            fleet[0].run("tts.record_failure('\\ud800')\ntts.record_failure(ValueError('\\udfff'))")
        elif what == "key":
            fleet[0].run("tts.record_failure('down', once='\\ud800')\ntts.record_failure('down', once='\\udfff')")
        else:
            fleet[0].run("""
from recloser import Outcome
for asked in (float("inf"), 1e300):
    limited = Outcome("failure", kind="rate_limit", retry_after=asked)
    toolkit.circuit("tts", classify=lambda error: limited).record_failure(ValueError())
""")
    fleet[0].run("failed()")
    fleet[1].until("toolkit.status()['tts'].failures >= 1", seconds=5)
    assert fleet[0].run("toolkit.status().lost_since") is None


# -- counting ----------------------------------------------------------------------------------------------------------


def shaken(fleet: list[Member], shake: Callable[[], object], times: int, *, settled: bool = False) -> None:
    """Do this again and again, under traffic, and compare what was made with what was counted."""
    for member in fleet:
        member.start("traffic()")
    for _ in range(times):
        before = total(fleet)[0]
        shake()
        until(lambda before=before: total(fleet)[0] > before + 50, "calls go on")
        if settled:
            back(fleet)
    for member in fleet:
        member.run("over.set(); time.sleep(0.02)")
    back(fleet)
    counted(fleet, *total(fleet))
    for member in fleet:
        member.run("passed()")
    calls, failures = total(fleet)
    counted(fleet, calls + len(fleet), failures)


def stopped(server: RedisServer, seconds: float) -> None:
    server.stop()
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, "it has stood still for a while")
    server.cont()


@pytest.mark.parametrize("seconds", [0.1, 0.6])
def test_a_server_that_stands_still_counts_everything_once(
    start_redis: Callable[..., RedisServer], seconds: float, members: Members
) -> None:
    """Shorter or longer than anybody waits: what it does afterwards it has not been asked twice."""
    server = start_redis()
    fleet = members.fleet(3, server.url, "ns", **ENDLESS)
    shaken(fleet, lambda: stopped(server, seconds), 3)


@pytest.mark.parametrize("how", ["cut", "cut after EVALSHA", "mute", "refused"])
def test_a_network_that_fails_counts_everything_once(
    redis_8: RedisServer, namespace: str, start_proxy: Callable[..., Proxy], how: str, members: Members
) -> None:
    """Connections that break in the middle of a request, and requests that were carried out without an answer."""
    proxy = start_proxy(redis_8)
    fleet = members.fleet(3, f"redis://{proxy.address}", namespace, **ENDLESS)

    def shake() -> None:
        if how == "cut":
            proxy.cut()
        elif how == "cut after EVALSHA":
            proxy.cut_after_request(1, "EVALSHA")
        else:
            {"mute": proxy.swallow_replies, "refused": proxy.refuse}[how]()
            proxy.cut() if how == "refused" else None
            fleet[0].until("toolkit.status().lost_since")
            proxy.heal()

    shaken(fleet, shake, 12 if how.startswith("cut") else 3)


def test_an_administrator_counts_everything_once(redis_any: RedisServer, namespace: str, members: Members) -> None:
    """Forgotten scripts and broken connections, as fast as they can be typed."""
    fleet = members.fleet(3, redis_any.url, namespace, **ENDLESS)

    def shake() -> None:
        for _ in range(10):
            redis_any.raw("SCRIPT", "FLUSH")
            redis_any.raw("CLIENT", "KILL", "TYPE", "normal")
            redis_any.raw("CLIENT", "KILL", "TYPE", "pubsub")

    shaken(fleet, shake, 8)


def test_a_server_that_is_restarted_with_its_data_counts_everything_once(
    start_redis: Callable[..., RedisServer], members: Members
) -> None:
    """It knows the number of everybody's last delivery: what it has not answered is sent again, and not counted again.

    Writes are held back while the data is saved. Those between the last save and a SIGKILL are lost, as with any Redis.
    """
    server = start_redis()
    fleet = members.fleet(3, server.url, "ns", **ENDLESS)

    def shake() -> None:
        server.raw("CLIENT", "PAUSE", 3000, "WRITE")
        server.restart(empty=False)

    shaken(fleet, shake, 3, settled=True)


def test_a_slot_that_is_moved_live_counts_everything_once(
    start_cluster: Callable[..., ClusterGroup], members: Members
) -> None:
    """ASK, TRYAGAIN and MOVED on the way, and the moments in between: nothing is lost and nothing is doubled."""
    group = start_cluster()
    fleet = members.fleet(3, group.url, "ns", **ENDLESS)

    def shake() -> None:
        key = "{ns}"
        with group.moving(key, keys=False):
            before = total(fleet)[0]
            until(lambda: total(fleet)[0] > before + 200, "calls go on")
        with group.moving(key):
            before = total(fleet)[0]
            until(lambda: total(fleet)[0] > before + 200, "calls go on")

    shaken(fleet, shake, 3)


def test_a_coordinated_failover_of_a_cluster_counts_everything_once(
    start_cluster: Callable[..., ClusterGroup], members: Members
) -> None:
    """CLUSTER FAILOVER: the old master holds writes back until its replica has caught up.

    A master that is killed takes with it what it has answered and not replicated yet: milliseconds, or whatever
    `min-replicas-to-write` allows.
    """
    group = start_cluster(replicas=1)
    fleet = members.fleet(3, group.url, "ns", **ENDLESS)
    shaken(fleet, lambda: group.fail_over(group.owner("{ns}"), "command"), 1)


# -- the wrong sort of server ------------------------------------------------------------------------------------------


def test_a_server_of_the_wrong_sort_is_named(
    redis_8: RedisServer, start_redis: Callable[..., RedisServer], start_proxy: Callable[..., Proxy], members: Members
) -> None:
    """A node of a cluster behind redis://, one server behind redis+cluster://; also when nobody answered at first."""
    node = start_redis(config={"cluster-enabled": "yes"})
    proxy = start_proxy(node)
    (member,) = members.start(1)
    member.run("from recloser import Recloser")
    for wrong, said in [
        (node.url, r"a node of a cluster: use redis\+cluster://"),
        (redis_8.url.replace("redis://", "redis+cluster://"), "a server of its own: use redis://"),
    ]:
        with pytest.raises(MemberError, match=f"ConfigurationError: backend = .* is not possible: .*{said}"):
            member.run(f"Recloser({wrong!r})")
    proxy.refuse()
    member.use(f"redis://{proxy.address}", "ns", ready=False)
    assert member.run("tried(3), toolkit.ready(0.3)") == [3, False]
    proxy.accept()
    with pytest.raises(MemberError, match=r"ConfigurationError: .*a node of a cluster"):
        member.run("toolkit.ready(8)")
    assert member.run("tried(3)") == 3
    assert "a node of a cluster" in member.run("toolkit.status().lost_because")


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_no_password_is_ever_said(
    start_redis: Callable[..., RedisServer], start_proxy: Callable[..., Proxy], members: Members
) -> None:
    """Not in a log, down to DEBUG, not in an exception or a traceback, not in what people are shown."""
    secret, other = "s3cr3t-Pa55phrase", "Sentinel-Pa55phrase"
    server = start_redis(password=PASSWORD)
    proxy, away, mute = (start_proxy(server) for _ in range(3))
    away.refuse()
    mute.drop()
    members.secrets += [secret, other, PASSWORD]
    members.tracebacks_allowed = True
    (member,) = members.start(1)
    member.run("import logging, traceback\nlogging.basicConfig(level=logging.DEBUG)")
    good, wrong = f"redis://:{PASSWORD}@{proxy.address}", f"redis://:{secret}@{proxy.address}"
    urls = [
        good, wrong, wrong.replace("redis:", "rediss:"), wrong.replace("redis:", "redis+cluster:"),
        good.replace("redis:", "redis+cluster:"), f"redis://app:{secret}@{proxy.address}", f"{good}/99", f"{good}/zero",
        f"redis+sentinel://:{secret}@{proxy.address}/mymaster?sentinel_password={other}",
        f"redis://:{secret}@{away.address}", f"redis://:{secret}@{mute.address}",
        f"redis://:{secret}@no-such-host.invalid", f"redis://:{secret}@{HOST}:port", f"redis://:{secret}@{HOST}:1?x=1",
        f"redis://{HOST}:{proxy.port}?password={secret}", f"rediss://:{secret}@{HOST}:1?ssl_password={other}",
        f"unix://:{secret}@/nowhere.sock", f"http://:{secret}@{HOST}", f"redis://:{secret}", f"://:{secret}@{HOST}",
    ]  # fmt: skip
    code = """
import threading
from recloser import Recloser, configure
said = []
def tell(what):
    try:
        said.append(repr(what()))
    except Exception as error:
        said.append("".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)))
def use(url):
    tell(lambda: Recloser(url))
    try:
        toolkit = Recloser(url, namespace="ns")
    except Exception:
        return
    blind = toolkit.circuit("blind", on_backend_loss="pause")
    with toolkit.circuit("tts"):
        pass
    toolkit.circuit("tts").record_failure("down")
    for what in (
        lambda: toolkit.ready(0.4), lambda: toolkit, lambda: str(toolkit.status()), lambda: toolkit.status().as_dict(),
        lambda: str(toolkit.explain("blind")), blind.check, blind.snapshot, lambda: toolkit.events(),
        lambda: toolkit.pause("tts", reason="x", by="y"), lambda: toolkit.engine.backend,
        lambda: toolkit.engine.backend._link, toolkit.close,
    ):
        tell(what)
threads = [threading.Thread(target=use, args=(url,)) for url in {urls!r}]
for each in threads: each.start()
for each in threads: each.join()
for url in {urls!r}[-8:]: tell(lambda: configure(backend=url))
print("\\n".join(said))
len(said)
"""
    assert member.run(code.replace("{urls!r}", repr(urls)), seconds=19) > 100
    assert "does not answer within" in member.stderr
    assert "refuses the password" in member.stderr
    assert "***" in member.stderr or "ConfigurationError" in member.stderr
    for each in members.secrets:
        assert each not in member.stderr
