"""Fleets of real processes around real servers: they decide together, once, and nobody's death holds up the others."""

from __future__ import annotations

import itertools
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.fleet.members import MemberError, members, provider
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
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fleet.members import Member, Members, Provider
    from tests.servers.groups import ClusterGroup, SentinelGroup
    from tests.servers.proxy import Proxy
    from tests.servers.redis_server import RedisServer

__all__ = [
    "members", "namespace", "provider", "redis_6", "redis_8", "redis_any", "start_cluster", "start_proxy",
    "start_redis", "start_sentinels",
]  # fmt: skip

pytestmark = pytest.mark.realtime

KINDS = "[str(event.kind) for event in toolkit.events() if not event.local]"


def see(fleet: list[Member], state: str, *, seconds: float = 10.0) -> None:
    """Wait until the circuit is in this state everywhere."""
    for member in fleet:
        member.until(f"tts.state is State.{state}", seconds=seconds)


def only_pushes(fleet: list[Member]) -> None:
    """Have nobody ask of its own accord for an hour, so that what is seen then was pushed."""
    for member in fleet:
        member.run("pace = toolkit.engine.courier.carrier._pace; pace.tick = 3600.0")
    for member in fleet:
        member.until("pace.tick_at > time.monotonic() + 60", "its last tick is over")


# -- deciding together -------------------------------------------------------------------------------------------------


def test_nine_failures_over_nine_processes_do_not_trip_and_the_tenth_does(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """Successes in between reset nothing; the tenth failure trips for everybody, with one event."""
    fleet = members.fleet(10, redis_8.url, namespace, failures=10, cooldown=600)
    for member in fleet[:9]:
        member.run("failed(); passed()")
    fleet[0].until("(toolkit.status()['tts'].calls, toolkit.status()['tts'].failures) == (18, 9)")
    assert {member.run("str(tts.state)") for member in fleet} == {"closed"}
    assert fleet[0].run("list(toolkit.events())") == []
    fleet[9].run("passed(); failed()")
    see(fleet, "OPEN")
    assert [member.run("tried(20)") for member in fleet] == [0] * 10
    assert fleet[4].run(KINDS) == ["tripped"]
    assert fleet[4].run("toolkit.events()[0].counts.failures") == 10


def test_ten_processes_that_cross_the_line_together_make_one_transition(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """Everybody fails at the same moment, again and again, and one of them trips the circuit."""
    fleet = members.fleet(6, redis_8.url, namespace, failures=10, cooldown=600)
    jobs = [member.start("while tts.state is State.CLOSED: failed(); time.sleep(0.001)") for member in fleet]
    for job in jobs:
        job.result()
    see(fleet, "OPEN")
    for member in fleet:
        member.run("toolkit.status()")
    assert fleet[0].run(KINDS) == ["tripped"]
    assert len({member.run("tts.snapshot().generation") for member in fleet}) == 1


def test_a_transition_is_pushed_to_everybody(redis_any: RedisServer, namespace: str, members: Members) -> None:
    """Nobody has to ask: trips, pauses and resumes arrive by themselves."""
    fleet = members.fleet(3, redis_any.url, namespace, failures=1, cooldown=600)
    only_pushes(fleet)
    fleet[0].run("failed()")
    see(fleet, "OPEN", seconds=5)
    fleet[1].run("toolkit.resume('tts', by='ann')")
    see(fleet, "CLOSED", seconds=5)
    fleet[2].run("toolkit.pause('tts', reason='maintenance', by='bob')")
    see(fleet, "PAUSED", seconds=5)
    assert fleet[0].run(KINDS) == ["tripped", "resumed by hand", "paused"]


def test_a_process_that_computes_all_the_time_sees_a_trip(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """The courier gets its turn beside threads that never rest."""
    busy, other = members.fleet(2, redis_8.url, namespace, failures=1, cooldown=600)
    for _ in range(2):
        busy.start("while True: sum(range(1000))")
    job = busy.start("while tts.state is State.CLOSED: pass\ntime.time()")
    tripped = other.run("failed(); time.time()")
    assert job.result() - tripped < 5


def test_a_process_that_stood_still_makes_up_for_it(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """After SIGCONT it hears what it has missed, and what it counted before arrives."""
    still, other = members.fleet(2, redis_8.url, namespace, failures=3, cooldown=600)
    still.run("failed(2)")
    still.stop()
    other.run("failed(3)")
    see([other], "OPEN")
    still.cont()
    see([still], "OPEN")
    assert still.run("tried(100)") == 0
    assert other.run(KINDS) == ["tripped"]


# -- half-open ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["killed", "stopped", "hanging"])
def test_a_probe_that_never_ends_gives_its_permit_back(
    redis_8: RedisServer, namespace: str, fate: str, provider: Provider, members: Members
) -> None:
    """One call at a time reaches the provider, whoever dies with it; after probe_timeout there is the next."""
    timeout = 1.0
    fleet = members.fleet(4, redis_8.url, namespace, failures=1, cooldown=0.5, cooldown_max=0.5, probe_timeout=timeout)
    provider.answer = ""
    fleet[0].run("failed()")
    see(fleet, "OPEN")
    for member in fleet:
        for _ in range(2):
            member.start(f"calls({provider.port})")
    until(lambda: provider.calls, "a first probe")
    holder = next(member for member in fleet if member.pid == provider.calls[0][1])
    if fate == "killed":
        holder.kill()
    elif fate == "stopped":
        holder.stop()
    until(lambda: len(provider.calls) > 1, "a second probe", seconds=timeout + 5)
    provider.answer = "yes"
    until(lambda: len(provider.calls) > 2, "a third probe", seconds=timeout + 5)
    # A permit may have been half a second old when the call took it, and is kept anew from then on.
    moments = [moment for moment, _ in provider.calls[:3]]
    assert all(later - earlier > timeout / 2 for earlier, later in itertools.pairwise(moments))
    rest = [member for member in fleet if fate == "hanging" or member is not holder]
    see(rest, "CLOSED")
    assert rest[0].run(KINDS) == ["tripped", "probing", "resumed"]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_probe_that_is_cancelled_gives_its_permit_back_at_once(
    redis_8: RedisServer, namespace: str, loop: Any, provider: Provider, members: Members
) -> None:
    """A barge-in is no verdict, and the next call need not wait for a timeout."""
    fleet = members.fleet(3, redis_8.url, namespace, failures=1, cooldown=0.5, cooldown_max=0.5, probe_timeout=60)
    provider.answer = ""
    fleet[0].run("failed()")
    see(fleet, "OPEN")
    jobs = {member.pid: member.start(f"await acalls({provider.port})", loop) for member in fleet}
    until(lambda: provider.calls, "a first probe")
    jobs.pop(provider.calls[0][1]).cancel()
    until(lambda: len(provider.calls) > 1, "a second probe", seconds=8)
    provider.answer = "yes"
    jobs.pop(provider.calls[1][1]).cancel()
    see(fleet, "CLOSED", seconds=8)
    assert fleet[0].run(KINDS) == ["tripped", "probing", "resumed"]


@pytest.mark.parametrize("probes", [1, 3])
def test_as_many_calls_as_probes_reach_a_provider_that_is_tested(
    redis_8: RedisServer, namespace: str, probes: int, provider: Provider, members: Members
) -> None:
    """Under traffic of the whole fleet, for as long as none of them has ended."""
    rules = {"failures": 1, "cooldown": 0.5, "cooldown_max": 0.5, "probe_timeout": 30, "probes": probes}
    fleet = members.fleet(4, redis_8.url, namespace, **rules)
    provider.answer = ""
    fleet[0].run("failed()")
    see(fleet, "OPEN")
    for member in fleet:
        for _ in range(4):
            member.start(f"calls({provider.port})")
    until(lambda: len(provider.calls) == probes, f"{probes} probes")
    # All of them hang, and for as long as they do there are no others.
    fleet[0].run("time.sleep(0.5)")
    through = sum(member.run("tried(50)") for member in fleet)
    assert (len(provider.calls), through) == (probes, 0)
    assert {member.run("str(tts.state)") for member in fleet} == {"half_open"}


def test_a_failed_probe_pauses_the_fleet_again(
    redis_8: RedisServer, namespace: str, provider: Provider, members: Members
) -> None:
    """One call for each cooldown, as long as the provider says no."""
    rules = {"failures": 1, "cooldown": 0.4, "cooldown_max": 0.4, "probe_timeout": 30}
    fleet = members.fleet(3, redis_8.url, namespace, **rules)
    provider.answer = "no"
    fleet[0].run("failed()")
    see(fleet, "OPEN")
    for member in fleet:
        member.start(f"calls({provider.port})")
    until(lambda: len(provider.calls) >= 3, "three probes")
    provider.answer = "yes"
    see(fleet, "CLOSED")
    kinds = fleet[0].run(KINDS)
    assert kinds == ["tripped", "probing", *["re-tripped", "probing"] * (len(kinds) // 2 - 2), "re-tripped", "probing",
                     "resumed"][: len(kinds)]  # fmt: skip
    moments = [moment for moment, _ in provider.calls[: (len(kinds) - 1) // 2]]
    assert all(later - earlier > 0.35 for earlier, later in itertools.pairwise(moments))


def test_a_permit_does_not_stay_with_a_process_that_has_no_calls(
    redis_8: RedisServer, namespace: str, provider: Provider, members: Members
) -> None:
    """Who wants one and is refused gets it from who has it in stock, long before probe_timeout."""
    rules = {"failures": 1, "cooldown": 0.5, "probe_timeout": 60}
    (idle,) = members.fleet(1, redis_8.url, namespace, **rules)
    (busy,) = members.fleet(1, redis_8.url, namespace, **rules)
    idle.run("failed()")
    see([idle, busy], "OPEN")
    busy.stop()
    key = f"recloser:{{{namespace}}}:circuit:tts"
    until(lambda: redis_8.cli("HEXISTS", key, "s"), "the idle process has the permit")
    busy.cont()
    busy.start(f"calls({provider.port})")
    until(lambda: provider.calls, "the busy process got it", seconds=8)
    see([idle, busy], "CLOSED")


# -- joining -----------------------------------------------------------------------------------------------------------


def test_a_cold_process_passes_no_more_than_what_it_starts_before_the_first_word(
    redis_8: RedisServer, namespace: str, start_proxy: Callable[..., Proxy], members: Members
) -> None:
    """Once it has been refused a call, none goes through any more; with on_backend_loss="pause" none ever does."""
    (first,) = members.fleet(1, redis_8.url, namespace, failures=1, cooldown=600)
    first.run("failed(); other = toolkit.circuit('other', failures=1); other.record_failure('down')")
    first.until("toolkit.status()['other'].state is State.OPEN")
    proxy = start_proxy(redis_8)
    proxy.delay(0.05)
    cold, careful, patient = members.start(3)
    url = f"redis://{proxy.address}"
    cold.use(url, namespace, ready=False, failures=1)
    careful.use(url, namespace, ready=False, failures=1, on_backend_loss="pause")
    patient.use(url, namespace, failures=1)
    assert careful.run("tried(10)") == 0
    began = cold.run("began = time.monotonic(); tried()")
    assert began in {0, 1}
    assert cold.run("while tried(): time.sleep(0.001)\ntime.monotonic() - began") < 5
    assert [member.run("tried(500)") for member in (cold, careful, patient)] == [0, 0, 0]
    # And so for a circuit that is mentioned once the process is under way.
    assert patient.run("tts = toolkit.circuit('other'); toolkit.ready(5)") is True
    assert patient.run("tried(500)") == 0


def test_a_call_right_after_ready_knows_what_the_fleet_knows(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """Whoever waits for the first word while a thread is busy with it waits until calls see it."""
    (first,) = members.fleet(1, redis_8.url, namespace, failures=1, cooldown=600)
    first.run("failed()")
    see([first], "OPEN")
    (cold,) = members.start(1)
    cold.use(redis_8.url, namespace, ready=False, failures=1)
    cold.run(
        """
        from recloser.carrier import Carrier
        within, decide = threading.Event(), Carrier._decide
        def slowly(self, account):
            within.set()
            time.sleep(0.5)
            decide(self, account)
        Carrier._decide = slowly
    """.replace("\n        ", "\n")
    )
    assert cold.run("tts.allows(); within.wait(5), toolkit.ready(5), tried()") == [True, True, 0]


# -- agreeing ----------------------------------------------------------------------------------------------------------


def test_below_the_quorum_only_the_sick_process_pauses_itself(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """One process that fails is alone with it; when a second one has seen a failure, the fleet trips."""
    sick, second, third = members.fleet(3, redis_8.url, namespace, failures=3, quorum=2, cooldown=600)
    sick.run("failed(5)")
    see([sick], "OPEN")
    second.until("toolkit.status()['tts'].failures >= 3")
    assert (second.run("str(tts.state)"), third.run("tried(10)")) == ("closed", 10)
    assert sick.run("tried(10)") == 0
    assert third.run(KINDS) == []
    second.run("failed()")
    see([second, third], "OPEN")
    assert third.run(KINDS) == ["tripped"]
    third.run("toolkit.resume('tts', by='ann')")
    see([sick, second, third], "CLOSED")


def test_work_that_must_not_run_blind_does_not(start_redis: Callable[..., RedisServer], members: Members) -> None:
    """on_backend_loss="pause" rejects calls while the server hangs, and lets them through when it is back."""
    server = start_redis()
    careful, plain = members.fleet(2, server.url, "ns", on_backend_loss="pause"), members.fleet(1, server.url, "ns")
    assert [member.run("tried(5)") for member in (*careful, *plain)] == [5, 5, 5]
    server.stop()
    for member in careful:
        member.until("not tried()")
        assert "the shared state cannot be read: " in member.run("tts.snapshot().reason")
    assert plain[0].run("tried(5)") == 5
    server.cont()
    for member in careful:
        member.until("tried()")
    assert careful[0].run(KINDS) == []


# -- calling styles ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_tasks_of_an_event_loop_share_with_threads_and_other_processes(
    redis_8: RedisServer, namespace: str, loop: Any, provider: Provider, members: Members
) -> None:
    """Failures of tasks trip the circuit for threads elsewhere, and the other way round."""
    one, other = members.fleet(2, redis_8.url, namespace, failures=4, cooldown=600)
    provider.answer = "no"
    job = one.start(
        f"""
failures = refusals = 0
while not refusals:
    try:
        await acall({provider.port})
    except ConnectionError:
        failures += 1
    except PausedError:
        refusals += 1
failures
""",
        loop,
    )
    assert job.result() >= 4
    see([other], "OPEN")
    other.run("toolkit.resume('tts', by='ann'); failed(4)")
    see([one, other], "OPEN")
    seen = "async with tts: pass"
    with pytest.raises(MemberError, match="PausedError: tts is OPEN"):
        one.start(seen, loop).result()
    assert one.start("await toolkit.aready(5)", loop).result() is True


# -- groups of servers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["kill", "hang", "command"])
def test_a_fleet_behind_sentinels_survives_its_master(
    start_sentinels: Callable[..., SentinelGroup], by: Any, members: Members
) -> None:
    """It goes on with the new master, and transitions are pushed there too, whatever became of the old one."""
    group = start_sentinels()
    fleet = members.fleet(3, group.url, "ns", failures=2, cooldown=600)
    fleet[0].run("failed(); toolkit.pause('other', reason='maintenance', by='ann')")
    old = group.master
    # What the replica has not got yet when its master is killed is lost for good.
    until(lambda: group.replicas[0].cli("EXISTS", "recloser:{ns}:circuit:other"), "the replica knows of it")
    new = group.fail_over(by)
    if by == "hang":
        old.cont()
    group.settle()
    for member in fleet:
        member.until("toolkit.status().lost_since is None and toolkit.status()['other'].state is State.PAUSED")
    until(lambda: listening(new) == 3, "all listen to the new master", seconds=15)
    only_pushes(fleet)
    fleet[1].run("failed(2)")
    see(fleet, "OPEN", seconds=5)
    assert new.raw("HGET", "recloser:{ns}:circuit:tts", "r")
    fleet[2].run("toolkit.resume('tts', by='ann')")
    see(fleet, "CLOSED", seconds=5)


@pytest.mark.parametrize("by", ["kill", "hang"])
def test_a_fleet_on_a_cluster_survives_its_master(
    start_cluster: Callable[..., ClusterGroup], by: Any, members: Members
) -> None:
    """It goes on with the replica that took over, and transitions are pushed afterwards too."""
    group = start_cluster(replicas=1)
    fleet = members.fleet(3, group.url, "ns", failures=2, cooldown=600)
    fleet[0].run("failed(); toolkit.pause('other', reason='maintenance', by='ann')")
    old = group.owner("{ns}")
    replica = group.replicas_of(old)[0]
    until(lambda: replica.raw("ROLE")[4] == old.raw("ROLE")[1], "the replica is up to date")
    group.fail_over(old, by)
    if by == "hang":
        old.cont()
        group.settle()
    for member in fleet:
        member.until("toolkit.status().lost_since is None and toolkit.status()['other'].state is State.PAUSED")
    until(lambda: listening(*group.nodes) == 3, "all listen", seconds=15)
    only_pushes(fleet)
    fleet[1].run("failed(2)")
    see(fleet, "OPEN", seconds=5)
    fleet[2].run("toolkit.resume('tts', by='ann')")
    see(fleet, "CLOSED", seconds=5)


def listening(*servers: RedisServer, namespace: str = "ns") -> int:
    """How many members listen on these servers."""
    counts = [server.raw("PUBSUB", "NUMSUB", f"recloser:{{{namespace}}}:push")[1] for server in servers if server.up]
    return sum(counts)


# -- leaving -----------------------------------------------------------------------------------------------------------


def test_what_happened_a_moment_before_the_end_is_delivered(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """Successes and failures, of a circuit that is known and of one that was made by the last line."""
    leaving, staying = members.fleet(2, redis_8.url, namespace, failures=None)
    leaving.exit("""
failed(3); passed(4)
late = toolkit.circuit('late', failures=None)
late.record_failure('down')
with late: pass
sys.exit()
""")
    assert leaving.status == 0
    staying.run("late = toolkit.circuit('late', failures=None)")
    shots = staying.run("status = toolkit.status(); [(shot.calls, shot.failures) for shot in status.values()]")
    assert sorted(shots) == [[2, 1], [7, 3]]


@pytest.mark.parametrize("noticed", [False, True])
@pytest.mark.parametrize("how", ["hanging", "refused", "slow"])
def test_nobody_waits_for_a_server_at_the_end(
    redis_8: RedisServer, start_proxy: Callable[..., Proxy], namespace: str, how: str, noticed: Any, members: Members
) -> None:
    """The process is gone within half a second and what the interpreter takes, and says nothing."""
    proxy = start_proxy(redis_8)
    (member,) = members.fleet(1, f"redis://{proxy.address}", namespace, failures=None)
    if how == "hanging":
        proxy.drop()
    elif how == "refused":
        proxy.refuse()
        proxy.cut()
    else:
        proxy.delay(0.12)
    if noticed and how != "slow":
        member.until("toolkit.status().lost_since")
    assert member.exit("failed(); passed()") < 6
    assert member.status == 0
    assert "Exception" not in member.stderr


def test_a_process_leaves_quietly_in_the_middle_of_everything(
    redis_8: RedisServer, start_proxy: Callable[..., Proxy], namespace: str, members: Members
) -> None:
    """Threads that call and a network that comes and goes: no line is printed at the end but those of the log."""
    proxy = start_proxy(redis_8)
    fleet = members.fleet(4, f"redis://{proxy.address}", namespace, failures=None, ready=False)
    for member in fleet:
        for _ in range(3):
            member.start("traffic(0)")
    for number, member in enumerate(fleet):
        proxy.cut() if number % 2 else proxy.delay(0.05 * number)
        assert member.exit() < 8  # eighteen busy threads share two cores with it
        assert [line for line in member.stderr.splitlines() if not line.startswith("WARNING ")] == []


def test_a_process_that_is_interrupted_has_counted(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """Ctrl-C in the middle of a call: the call is ignored, what went before is delivered, and nothing else is said."""
    hasty, other = members.fleet(2, redis_8.url, namespace, failures=None)
    members.tracebacks_allowed = True  # the interpreter's, of the interrupt itself
    hasty.run("""
def interrupted():
    with tts:
        within.set()
        while True:
            time.sleep(0.01)  # a signal right before signal.pause() would not end it
within = threading.Event()
""")
    job = hasty.start("""
failed(2)
try:
    interrupted()
except KeyboardInterrupt:
    sys.exit(3)
""", "main")  # fmt: skip
    hasty.start("within.wait()").result()
    hasty.signal(signal.SIGINT)
    hasty.ended()
    assert (hasty.status, hasty.stderr, job.over) == (3, "", True)
    assert other.run("shot = toolkit.status()['tts']; (shot.calls, shot.failures, shot.ignored)") == [2, 2, 1]


def test_a_call_is_made_although_nothing_can_be_started(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """A process at its limit of threads or descriptors: no call fails for that, and later ones try again."""
    for limit in ("threads", "descriptors"):
        (member,) = members.start(1)
        member.use(redis_8.url, f"{namespace}-{limit}", ready=False, failures=None)
        member.run("""
import resource
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
start = threading._start_new_thread
def never(*args, **kwargs):
    raise RuntimeError("can't start new thread")
""")
        if limit == "threads":
            member.run("threading._start_new_thread = never\npassed(3); failed(2)\nthreading._start_new_thread = start")
        else:
            member.run("""
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) - 1, limits[1]))
try:
    passed(3); failed(2)
finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
""")
        later = until(lambda member=member: member.run("passed(); toolkit.ready(0.1) and tts.snapshot().calls"), "more")
        (other,) = members.fleet(1, redis_8.url, f"{namespace}-{limit}", failures=None)
        other.until(f"(toolkit.status()['tts'].calls, toolkit.status()['tts'].failures) == ({later}, 2)", seconds=5)
        assert later > 5
