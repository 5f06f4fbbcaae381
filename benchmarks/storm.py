"""What one process asks of the server, and what its courier's thread costs: idle, in traffic, in a storm, half-open."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.call_path import ask, refuse
from benchmarks.member import Line, Member
from benchmarks.report import NONE, Section, Target
from benchmarks.server import Server
from benchmarks.subjects import NEVER
from recloser import Recloser, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Effort

__all__ = ["process", "storm"]

_SHORT: dict[str, Any] = {"cooldown": 0.5, "cooldown_max": 0.5, "probe_timeout": "1h"}

KINDS: dict[str, tuple[str, int, str]] = {
    "idle": ("no calls", 1, "quiet"),
    "idle, 5": ("no calls", 5, "quiet"),
    "idle, 50": ("no calls", 50, "quiet"),
    "traffic": ("1,000 calls/s that succeed", 1, "succeed"),
    "traffic, 5": ("1,000 calls/s that succeed", 5, "succeed"),
    "mixed": ("1,000 calls/s, every tenth fails", 1, "mix"),
    "storm": ("1,000 calls/s that fail, threshold never reached", 1, "fail"),
    "storm, 5": ("1,000 calls/s that fail, threshold never reached", 5, "fail"),
    "flood": ("as many calls as go, all fail, threshold never reached", 1, "flood"),
    "open": ("1,000 calls/s, open", 1, "open"),
    "half-open": ("1,000 calls/s, half-open, the probe hangs", 1, "half-open"),
    "lost": ("1,000 calls/s, every tenth fails, the server hangs", 5, "mix"),
    "dead": ("1,000 calls/s, every tenth fails, the server is dead", 5, "mix"),
}
_AWAY = ("lost", "dead")
_PACED = {"succeed": 0, "mix": 10, "fail": 1, "open": 1, "half-open": 1}
"""Every which call fails; 0 for none."""


def storm(effort: Effort) -> Section:
    """Commands and processor time of one process, by what it does."""
    seconds = 10.0 if effort.rounds > 20 else 2.0
    rows: list[tuple[str, ...]] = []
    most, idle, spun = 0.0, 0.0, 0.0
    for name, (about, circuits, kind) in KINDS.items():
        with Server() as server, Member(process, url=server.url, circuits=circuits, kind=kind) as member:
            member.hear()
            if name in _AWAY:
                (server.stop if name == "lost" else server.kill)()
                time.sleep(1.0)
                said = member.ask(seconds)
                rate = cost = 0.0
            else:
                scripts, spent = server.script()[0], server.cpu()
                said = member.ask(seconds)
                rate = (server.script()[0] - scripts) / said["seconds"]
                cost = (server.cpu() - spent) / said["seconds"]
        if name in _AWAY:
            spun = max(spun, said["turns"] / said["seconds"])
        elif kind == "quiet":
            idle = max(idle, rate)
        else:
            most = max(most, rate)
        rows.append(
            (
                about,
                f"{circuits}",
                f"{said['calls'] / said['seconds']:,.0f}",
                NONE if name in _AWAY else f"{rate:.1f}",
                f"{said['turns'] / said['seconds']:.1f}",
                f"{1000 * said['courier'] / said['seconds']:.2f}",
                f"{1000 * said['all'] / said['seconds']:.1f}",
                NONE if name in _AWAY else f"{1000 * cost:.2f}",
            )
        )
    return Section(
        "What one process asks of the server",
        f"Each for {seconds:g} s, one process alone in its fleet. Commands are the scripts that the server ran: "
        "a courier at work sends nothing else. Turns are the courier's, processor time is milliseconds in a second.",
        ("what", "circuits", "calls/s", "commands/s", "turns/s", "courier, ms", "whole process, ms", "server, ms"),
        rows,
        [
            Target("commands of an idle process", "one for each tick of a second", f"{idle:.2f}/s", (idle <= 1.25,)),
            Target("commands of a process in any storm", "at most 50/s", f"{most:.1f}/s", (most <= 50,)),
            Target("turns of a courier whose server is away", "at most 100/s", f"{spun:,.0f}/s", (spun <= 100,)),
        ],
    )


def process(line: Line, url: str, circuits: int, kind: str) -> None:
    """Does one kind of thing for as long as it is told, and says what that took."""
    toolkit = Recloser(url, namespace="storm")
    settings = {"open": {"failures": 1}, "half-open": {"failures": 1, **_SHORT}}.get(kind, {"failures": NEVER})
    made = [toolkit.circuit(f"provider-{number}", **settings) for number in range(circuits)]
    assert toolkit.ready("10s")
    for circuit in made:
        circuit(ask)(1)
    if kind in {"open", "half-open"}:
        _opened(made[0], kind)
    turns = _counted_turns(toolkit)
    every = _PACED.get(kind)
    good, bad = [circuit(ask) for circuit in made], [circuit(refuse) for circuit in made]
    if kind == "flood" or every is not None:
        _run(good, bad, every, 0.3)
    line.say()
    while True:
        seconds = line.hear()
        turns[:] = [0, 0.0]
        began, spent = time.perf_counter(), time.process_time()
        if kind == "quiet":
            calls = 0
            time.sleep(seconds)
        else:
            calls = _run(good, bad, every, seconds)
        line.say(
            {
                "calls": calls,
                "seconds": time.perf_counter() - began,
                "turns": turns[0],
                "courier": turns[1],
                "all": time.process_time() - spent,
            }
        )


def _opened(circuit: Any, kind: str) -> None:
    circuit.record_failure("down")
    if kind == "open":
        while circuit.state is not State.OPEN:
            time.sleep(0.01)
        return
    held = threading.Event()

    def hang() -> None:
        while not held.is_set():
            try:
                with circuit:
                    if circuit.state is State.HALF_OPEN:
                        held.set()
                        time.sleep(3600)
            except Exception:
                time.sleep(0.01)

    threading.Thread(target=hang, daemon=True).start()
    assert held.wait(10)


def _counted_turns(toolkit: Recloser) -> list[float]:
    """How many turns the courier has taken, and the processor time of its thread in them."""
    turns, carrier = [0, 0.0], toolkit.engine.courier.carrier  # type: ignore[attr-defined]
    turn = carrier.turn

    def counted() -> float:
        began = time.thread_time()
        try:
            return float(turn())
        finally:
            turns[0] += 1
            turns[1] += time.thread_time() - began

    carrier.turn = counted
    return turns


def _run(good: list[Callable[[int], object]], bad: list[Any], every: int | None, seconds: float) -> int:
    """A thousand calls in each second, or as many as go."""
    calls, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        if every is not None and calls > passed * 1000:
            time.sleep(0.002)
            continue
        fails = every is None or (every and calls % every == 0)
        call = (bad if fails else good)[calls % len(good)]
        try:  # noqa: SIM105 - as quick as it goes
            call(1)
        except Exception:
            pass
        calls += 1
    return calls
