"""Alerts of a fleet of real processes: told once, whoever dies, and told at all."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.fleet.members import members
from tests.servers.fixtures import namespace, redis_8, start_redis
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fleet.members import Member, Members
    from tests.servers.redis_server import RedisServer

__all__ = ["members", "namespace", "redis_8", "start_redis"]

pytestmark = pytest.mark.realtime

LEASE = 1.0

SETUP = """
import os, sys, threading, time
from recloser import Recloser, State
from recloser.alerts import postman
postman.LEASE = {lease}
reached = threading.Event()

def line(*words):
    descriptor = os.open({path!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, (" ".join(map(str, words)) + "\\n").encode())
    os.close(descriptor)

def hook(alert):
    line("hook", alert.facts["namespace"], alert.step, alert.incident, os.getpid(), time.time())

def other(alert):
    line("other", alert.facts["namespace"], alert.step, alert.incident, os.getpid(), time.time())

def stuck(*_):
    reached.set()
    threading.Event().wait(60)

def stuck_hook(alert):
    stuck()
stuck_hook.__module__, stuck_hook.__qualname__ = hook.__module__, hook.__qualname__

kits = {{}}
def join(names, hooks=(hook,)):
    for name in names:
        kits[name] = Recloser({url!r}, namespace=name, alerts=list(hooks))
        kits[name].circuit("tts", failures=2, cooldown=600)
    return all(kit.ready(8) for kit in kits.values())

def trip(name):
    for _ in range(2):
        kits[name].circuit("tts").record_failure("down")

def leave():
    for kit in kits.values():
        kit.close()
    kits.clear()
"""


class Told:
    """The file into which hooks write: hook, namespace, step, incident, pid, time."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def steps(self, hook: str = "hook") -> Counter[tuple[str, str]]:
        """How often each namespace was told of each step."""
        return Counter((line[1], line[2]) for line in self.lines() if line[0] == hook)

    def all(self, names: list[str], hook: str, step: str, times: int) -> bool:
        """Whether each of these namespaces was told of a step so many times."""
        steps = self.steps(hook)
        return all(steps[name, step] >= times for name in names)

    def join(self, member: Member, names: list[str], hooks: str = "(hook,)") -> None:
        member.run(SETUP.format(path=str(self.path), url=self.url, lease=LEASE))
        assert member.run(f"join({names!r}, {hooks})", seconds=30)


@pytest.fixture
def told(tmp_path: Path, redis_8: RedisServer) -> Told:
    return Told(tmp_path / "told.txt", redis_8.url)


def spaces(namespace: str, count: int) -> list[str]:
    return [f"{namespace}-{number}" for number in range(count)]


def test_one_trip_is_one_message_for_each_hook(told: Told, namespace: str, members: Members) -> None:
    """Of eight processes, in each of fifty runs; and so is the end."""
    fleet, names = members.start(8), spaces(namespace, 25)
    for member in fleet:
        told.join(member, names, "(hook, other)")
    for turn in (1, 2):
        for step, act in (("opened", "trip({0!r})"), ("closed", "kits[{0!r}].resume('tts', by='ann')")):
            for number, name in enumerate(names):
                fleet[(number + turn) % 8].run(act.format(name))
            for hook in ("hook", "other"):
                until(partial(told.all, names, hook, step, turn), step)
    end = time.monotonic() + 2 * LEASE
    until(lambda: time.monotonic() > end, "nobody says more")
    expected = {(name, step): 2 for name in names for step in ("opened", "closed")}
    assert dict(told.steps("hook")) == dict(told.steps("other")) == expected
    incidents = Counter(line[3] for line in told.lines() if line[0] == "hook")
    assert set(incidents.values()) == {2}  # opened and closed


NEVER_ACKNOWLEDGED = "before it is acknowledged"
KILLS = {
    "before it is written": "for kit in kits.values(): kit.engine.courier._desk.happened = stuck",
    "before it is taken": "postman.Postman.deliver = stuck",
    "while it is sent": "",
    NEVER_ACKNOWLEDGED: "from recloser.backends.redis_outbox import RedisOutbox\nRedisOutbox.delivered = stuck",
}


@pytest.mark.parametrize("when", KILLS)
def test_whoever_is_killed_no_alert_is_missed(when: str, told: Told, namespace: str, members: Members) -> None:
    """In 40 runs at each of four moments; a second one comes only after one that was sent, and is the same incident."""
    survivors = members.start(2)
    times = 2 if when == NEVER_ACKNOWLEDGED else 1
    for batch in range(2):
        names = [f"{namespace}-{batch}-{number}" for number in range(20)]
        victims = dict(zip(names, members.start(len(names)), strict=True))
        for member in survivors:
            told.join(member, names)
        for name, victim in victims.items():
            told.join(victim, [name], "(stuck_hook,)" if when == "while it is sent" else "(hook,)")
            victim.run(KILLS[when])
            victim.run(f"trip({name!r})")
        for victim in victims.values():
            victim.until("reached.is_set()", seconds=20)
            victim.kill()
        for name in names:
            until(lambda name=name: told.steps()[name, "opened"] == times, f"{name} is told", seconds=20)
        for member in survivors:
            member.run("leave()", seconds=30)
    opened = [line for line in told.lines() if line[2] == "opened"]
    counts = Counter(line[1] for line in opened)
    assert set(counts.values()) == {times}
    assert len({(line[1], line[3]) for line in opened}) == len(counts) == 40


def test_a_hook_that_hangs_holds_up_nobody(told: Told, namespace: str, members: Members) -> None:
    """Neither calls, nor transitions, nor another hook, in the same process or elsewhere."""
    one, other = members.start(2)
    for member in (one, other):
        told.join(member, [namespace], "(stuck_hook, other)")
        member.run(f"tts = kits[{namespace!r}].circuit('tts')")
    one.run(f"trip({namespace!r})")
    until(lambda: told.steps("other")[namespace, "opened"], "the other hook is told")
    until(lambda: any(member.run("reached.is_set()") for member in (one, other)), "the hook hangs")
    one.run(f"kits[{namespace!r}].resume('tts', by='ann')")
    other.until("tts.state is State.CLOSED")
    assert other.run("[tts(lambda: 1)() for _ in range(100)] == [1] * 100")
    until(lambda: told.steps("other")[namespace, "closed"], "the other hook is told")
    assert told.steps("hook") == {}


def test_a_hook_that_only_one_process_has_hears_of_everything(told: Told, namespace: str, members: Members) -> None:
    """Also of what happened right before that process came."""
    one, with_hook = members.start(2)
    told.join(one, [namespace], "()")
    one.run(f"trip({namespace!r})")
    told.join(with_hook, [namespace])
    until(lambda: told.steps()[namespace, "opened"], "it is told")
    one.run(f"kits[{namespace!r}].resume('tts', by='ann')")
    until(lambda: told.steps()[namespace, "closed"], "it is told of the end")


@pytest.mark.parametrize("alone", [True, False])
def test_a_process_that_leaves_right_after_a_trip(told: Told, namespace: str, alone: Any, members: Members) -> None:
    """Says it before it is gone, or leaves it to the others."""
    leaving, *others = members.start(1 if alone else 3)
    for member in (leaving, *others):
        told.join(member, [namespace])
    leaving.run(f"trip({namespace!r})")
    leaving.until(f"kits[{namespace!r}].circuit('tts').state is State.OPEN")
    leaving.exit()
    until(lambda: told.steps()[namespace, "opened"], "it is told")
    assert told.steps()[namespace, "opened"] == 1


@pytest.mark.parametrize("how", ["stopped", "empty"])
def test_a_redis_that_is_away_while_an_alert_waits(
    how: str, tmp_path: Path, start_redis: Callable[..., RedisServer], members: Members
) -> None:
    """It is told once it is back; what was said already is not said again, however much was forgotten."""
    server = start_redis()
    told = Told(tmp_path / "told.txt", server.url)
    fleet = members.start(3)
    for member in fleet:
        told.join(member, ["ns"])
    fleet[0].run("trip('ns')")
    if how == "stopped":
        fleet[1].until("kits['ns'].circuit('tts').state is State.OPEN")
        server.stop()
        fleet[0].until("kits['ns'].status().lost_since")
        server.cont()
    else:
        until(lambda: told.steps()["ns", "opened"], "it is told")
        server.kill()
        fleet[0].until("kits['ns'].status().lost_since")
        server.restart(empty=True)
        for member in fleet:
            member.until("kits['ns'].status().lost_since is None", seconds=20)
    until(lambda: told.steps()["ns", "opened"], "it is told", seconds=20)
    fleet[2].run("kits['ns'].resume('tts', by='ann')")
    until(lambda: told.steps()["ns", "closed"], "the end is told", seconds=20)
    assert told.steps() == {("ns", "opened"): 1, ("ns", "closed"): 1}
