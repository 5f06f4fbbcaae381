"""Dispatch loops in real processes around a real Redis: one outage for all, one resume for all, nothing in vain."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fleet.members import members
from tests.fleet.test_processes import only_pushes, see
from tests.servers.fixtures import namespace, redis_8
from tests.servers.waiting import until

if TYPE_CHECKING:
    from tests.fleet.members import Member, Members
    from tests.servers.redis_server import RedisServer

__all__ = ["members", "namespace", "redis_8"]

pytestmark = pytest.mark.realtime

# A worker takes leads that are always there; `taken`, `back` and `done` are what became of them.
WORKERS = """
taken, back, done, begun = [], [], [], []
changes = toolkit.engine.replica("tts").changes

@toolkit.requires("tts")
def dial():
    with tts:
        done.append(time.time())

def work(**how):
    while not over.is_set():
        toolkit.wait_until_allowed(dial, **how)
        taken.append(time.time())
        try:
            dial()
        except PausedError as paused:
            back.append(paused.state)
        over.wait(0.002)

async def awork(**how):
    while not over.is_set():
        await toolkit.await_until_allowed(dial, **how)
        taken.append(time.time())
        try:
            dial()
        except PausedError as paused:
            back.append(paused.state)
        await anyio.sleep(0.002)

async def begin(count, **how):
    async def one():
        await toolkit.await_until_allowed(dial, **how)
        begun.append(time.time())
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)
"""
WAITING = "len(changes._callbacks)"


def all_wait(workers: list[Member], count: int = 1) -> None:
    """Wait until so many wait in each process."""
    for each in workers:
        each.until(f"{WAITING} == {count}", "its workers wait")


def started(workers: list[Member], how: str) -> None:
    """A thread, a task on asyncio and a task on trio: one in each process."""
    for each in workers:
        each.run(WORKERS)
    for each, loop in zip(workers, ("thread", "asyncio", "trio"), strict=True):
        each.start(f"work({how})" if loop == "thread" else f"await awork({how})", loop)


def test_workers_of_a_fleet_take_nothing_in_an_outage_and_are_woken_by_an_operator_elsewhere(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """Whoever resumes, and on whatever their workers wait, they go on by the push, long before the cooldown is over."""
    *workers, operator = members.fleet(4, redis_8.url, namespace, failures=10, cooldown=600)
    started(workers, "ramp=None")
    for each in workers:
        each.until("len(done) > 20", "it works")
    only_pushes([*workers, operator])
    for round_ in range(5):
        if round_ % 2:
            operator.run("toolkit.pause('tts', reason='maintenance', by='ann')")
        else:
            operator.run("failed(10)")
        see([*workers, operator], "PAUSED" if round_ % 2 else "OPEN")
        all_wait(workers)
        before = [each.run("len(taken)") for each in workers]
        # Other changes reach them, and move nobody.
        for number in range(3):
            operator.run(f"toolkit.pause('tts', reason='still {number}', by='ann')")
            for each in workers:
                each.until(f"'still {number}' in toolkit.engine.replica('tts').record.reason")
        assert [each.run("len(taken)") for each in workers] == before
        resumed = operator.run("at = time.time(); toolkit.resume('tts', by='ann'); at")
        for each, count in zip(workers, before, strict=True):
            each.until(f"len(taken) > {count}", "it is woken up")
            assert 0 < each.run(f"taken[{count}]") - resumed < 5
    for each in workers:
        each.run("over.set()")
        # What was put back had been taken before the word of a new outage came: not more than one at a time.
        assert each.run("len(back)") <= 5
        each.until(f"{WAITING} == 0")


def test_the_end_of_a_cooldown_wakes_one_worker_of_the_fleet_to_test_and_then_the_others(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """Nobody has to resume anything, and no second lead is taken before the first has come through."""
    workers = members.fleet(3, redis_8.url, namespace, failures=10, cooldown=1, cooldown_max=1)
    workers[0].run("failed(10)")
    see(workers, "OPEN")
    started(workers, "ramp=None")
    for each in workers:
        each.until("len(done) > 20", "it works", seconds=20)
        each.run("over.set()")
        assert each.run("back") == []


def test_a_fleet_begins_again_along_one_ramp(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """A hundred and fifty tasks in three processes: a fifth of the ramp after the resume few of them have begun."""
    *workers, operator = members.fleet(4, redis_8.url, namespace, failures=10, cooldown=600)
    ramp = 3.0
    for each in workers:
        each.until("toolkit.engine.courier.connection.processes == 4", "it knows of the others")
        each.run(WORKERS)
    paused = operator.run("at = time.time(); toolkit.pause('tts', reason='maintenance', by='ann'); at")
    see(workers, "PAUSED")
    jobs = [
        each.start(f"await begin(50, ramp={ramp})", loop)
        for each, loop in zip(workers, ("asyncio", "trio", "asyncio"), strict=True)
    ]
    all_wait(workers, 50)
    until(lambda: operator.run("time.time()") - paused > ramp, "the pause is as long as the ramp")
    assert [each.run("begun") for each in workers] == [[], [], []]
    resumed = operator.run("at = time.time(); toolkit.resume('tts', by='ann'); at")
    for job in jobs:
        job.result(20)
    begun = [moment - resumed for each in workers for moment in each.run("begun")]
    assert len(begun) == 150
    # A slow machine makes them later, never earlier; four is the mean, of what each process draws.
    assert sum(moment < ramp / 5 for moment in begun) <= 16
    assert sum(moment < ramp / 2 for moment in begun) <= 75


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this platform")
def test_who_waits_in_the_parent_does_not_wait_in_its_child(
    redis_8: RedisServer, namespace: str, members: Members
) -> None:
    """A child that was forked meanwhile has nobody to wake up, waits for itself, and wakes nobody of the parent's."""
    member, operator = members.fleet(2, redis_8.url, namespace, failures=10, cooldown=600)
    operator.run("toolkit.pause('tts', reason='maintenance', by='ann')")
    see([member], "PAUSED")
    member.run(WORKERS)
    member.start("work(ramp=None)")
    member.start("await awork(ramp=None)", "asyncio")
    all_wait([member], 2)
    member.run(
        "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n"
        "r, w = os.pipe()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os.write(w, b'%d\\n' % len(changes._callbacks))\n"
        "    toolkit.wait_until_allowed(dial, ramp=None)\n"
        "    os.write(w, b'on\\n')\n"
        "    os._exit(0)\n"
    )
    assert member.run("os.read(r, 2).decode()") == "0\n"
    assert member.run("len(taken)") == 0
    operator.run("toolkit.resume('tts', by='ann')")
    assert member.run("os.read(r, 3).decode()") == "on\n"
    member.until("len(taken) > 4", "the parent's go on as well")
    member.run("os.waitpid(child, 0); over.set()")
