"""What calls notice when the server of the fleet hangs, dies and comes back."""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from benchmarks.call_path import ask, refuse
from benchmarks.member import Line, Member
from benchmarks.redis_subjects import OURS, redis_subjects
from benchmarks.report import NONE, Section, Target
from benchmarks.server import Server
from benchmarks.subjects import NEVER
from recloser.carrier import Carrier

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Effort

__all__ = ["calls", "outage"]

HEALTHY, STOPPED, BACK, KILLED, AGAIN = "healthy", "stopped", "back from that", "killed", "restarted empty"
PHASES = (HEALTHY, STOPPED, BACK, KILLED, AGAIN)
TIMEOUT = 0.25
"""Seconds that Recloser gives a server to answer."""


def outage(effort: Effort) -> Section:
    """The same loop in every phase, several times; each phase beside the healthy one of its round."""
    thorough = effort.rounds > 20
    rounds, seconds, bound = (8, 2.0, 30.0) if thorough else (2, 1.0, 5.0)
    rows, targets = _ours(rounds, seconds)
    for each in redis_subjects():
        if each.sync and each.name.startswith(("interlock", "nopanic", "pybreaker")):
            rows += _peer(each.name, seconds, bound)
    return Section(
        "When the server is away",
        "Sync calls, one process, timed one by one: half and half successes and failures in bursts, from the very "
        f"moment on at which the server was stopped (`SIGSTOP`), killed or started again, for {seconds:g} s. In units "
        "of the healthy phase: the median and the 99th percentile, of Recloser the median over "
        f"{rounds} rounds of all phases in turn. The longest call is in milliseconds. A peer that has not come back "
        f"from its calls after {bound:g} s hangs for longer than that.",
        ("what", "server", "success, p50", "p99", "failure, p50", "p99", "longest call", "raised into calls", "exit"),
        rows,
        targets,
    )


def _ours(rounds: int, seconds: float) -> tuple[list[tuple[str, ...]], list[Target]]:
    heard: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with Server() as server, Member(calls, name=OURS, url=server.url) as member:
        member.hear()
        for _ in range(rounds):
            for phase, said in _phases(server, member, seconds):
                heard[phase].append(said)
    exits = {phase: _exit(phase) for phase in (HEALTHY, STOPPED, KILLED)}
    rows: list[tuple[str, ...]] = []
    worst: dict[str, float] = {"p50": 0.0, "p99": 0.0}
    for phase in PHASES:
        cells = [_ratio(heard, phase, kind, quantile) for kind in ("ok", "fail") for quantile in ("p50", "p99")]
        if phase != HEALTHY:
            worst = {quantile: max(worst[quantile], *cells[place::2]) for place, quantile in enumerate(worst)}
        rows.append(
            (
                OURS,
                phase,
                *(f"{cell:.2f}" for cell in cells),
                f"{1000 * statistics.median(said['longest'] for said in heard[phase]):.1f} ms",
                f"{sum(said['raised'] for said in heard[phase])}",
                f"{exits[phase]:.2f} s" if phase in exits else NONE,
            )
        )
    raised = sum(said["raised"] for each in heard.values() for said in each)
    cycle = max(said["cycle"] for each in heard.values() for said in each)
    return rows, [
        Target(
            "p99 of a call while the server is away or comes back",
            "at most 1.5 of healthy",
            f"{worst['p99']:.2f}, the median {worst['p50']:.2f}",
            (worst["p99"] <= 1.5, worst["p50"] <= 1.5),
        ),
        Target("raised into calls by an outage", "nothing", str(raised), (raised == 0,)),
        Target(
            "longest turn of the courier, the server hanging",
            f"at most {1000 * (TIMEOUT + 0.05):.0f} ms",
            f"{1000 * cycle:.0f} ms",
            (cycle <= TIMEOUT + 0.05,),
        ),
        Target(
            "end of a process, the server hanging or dead",
            "at most 0.5 s longer than with a healthy one",
            f"{max(exits.values()) - exits[HEALTHY]:.2f} s",
            (max(exits.values()) - exits[HEALTHY] <= 0.5,),
        ),
    ]


def _phases(server: Server, member: Member, seconds: float) -> Any:
    changes: dict[str, Callable[[], object]] = {
        HEALTHY: lambda: time.sleep(1.0),
        STOPPED: server.stop,
        BACK: server.cont,
        KILLED: server.kill,
        AGAIN: server.restart,
    }
    for phase in PHASES:
        member.say({"seconds": seconds})
        changes[phase]()
        yield phase, member.hear(60 + seconds)


def _ratio(heard: dict[str, list[dict[str, Any]]], phase: str, kind: str, quantile: str) -> float:
    pairs = zip(heard[phase], heard[HEALTHY], strict=True)
    return statistics.median(said[kind][quantile] / healthy[kind][quantile] for said, healthy in pairs)


def _exit(phase: str) -> float:
    """How long the end of a process takes that has made calls, with an outcome to deliver."""
    with Server() as server, Member(calls, name=OURS, url=server.url) as member:
        member.hear()
        if phase == STOPPED:
            server.stop()
        elif phase == KILLED:
            server.kill()
        member.ask({"seconds": 0.1})
        return member.leave(30)


def _peer(name: str, seconds: float, bound: float) -> list[tuple[str, ...]]:
    """One process and one server for each kind of outage: a peer that hangs must not spoil the next."""
    rows: list[tuple[str, ...]] = []
    for phase in (STOPPED, KILLED):
        with Server() as server, Member(calls, name=name, url=server.url) as member:
            member.hear()
            healthy = member.ask({"seconds": seconds})
            member.say({"seconds": seconds})
            (server.stop if phase == STOPPED else server.kill)()
            try:
                said = member.hear(bound + seconds)
            except TimeoutError:
                rows.append((name, phase, *[NONE] * 4, f"hangs > {bound:g} s", NONE, NONE))
                continue
            cells = [said[kind][q] / healthy[kind][q] for kind in ("ok", "fail") for q in ("p50", "p99")]
            try:
                left = f"{member.leave(bound):.2f} s"
            except TimeoutError:
                left = f"hangs > {bound:g} s"
            shown = [NONE if math.isnan(cell) else f"{cell:,.2f}" for cell in cells]
            rows.append((name, phase, *shown, f"{1000 * said['longest']:,.1f} ms", f"{said['raised']:,}", left))
    return rows


# -- in a process of its own -----------------------------------------------------------------------------------------


def calls(line: Line, name: str, url: str) -> None:
    """Makes calls for as long as it is told, times each, and says what they took."""
    make = {each.name: each.sync for each in redis_subjects()}[name]
    assert make is not None
    success, failure = make(url, "provider", NEVER)(ask), make(url, "other", NEVER)(refuse)
    cycles = _timed_turns()
    _loop(success, failure, 0.2)
    line.say()
    while True:
        request = line.hear()
        del cycles[:]
        said = _loop(success, failure, request["seconds"])
        line.say({**said, "cycle": max(cycles, default=0.0)})


def _timed_turns() -> list[float]:
    cycles: list[float] = []
    turn = Carrier.turn

    def timed(self: Carrier) -> float:
        began = time.perf_counter()
        try:
            return turn(self)
        finally:
            cycles.append(time.perf_counter() - began)

    Carrier.turn = timed  # type: ignore[method-assign]
    return cycles


def _loop(success: Callable[[int], object], failure: Callable[[int], object], seconds: float) -> dict[str, Any]:
    took: dict[str, list[float]] = {"ok": [], "fail": []}
    raised, longest, now, end = 0, 0.0, time.perf_counter, time.perf_counter() + seconds
    while now() < end:
        for call, kind in itertools.islice(itertools.cycle(((success, "ok"), (failure, "fail"))), 20):
            began = now()
            try:
                call(1)
            except ConnectionError as error:
                raised += kind == "ok" or error.args != (1,)
            except Exception:
                raised += 1
            one = now() - began
            longest = max(longest, one)
            took[kind].append(one)
        time.sleep(0.001)
    return {"raised": raised, "longest": longest, **{kind: _quantiles(all_) for kind, all_ in took.items()}}


def _quantiles(seconds: list[float]) -> dict[str, float]:
    ranked = sorted(seconds)
    with contextlib.suppress(IndexError):
        return {"p50": ranked[len(ranked) // 2], "p99": ranked[len(ranked) * 99 // 100]}
    return {"p50": math.nan, "p99": math.nan}
