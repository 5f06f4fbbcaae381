"""Memory: what a circuit and a decorated function hold, and that calls leave nothing behind."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import suppress
from itertools import repeat
from types import FunctionType
from typing import TYPE_CHECKING, Any

from benchmarks import measure
from benchmarks.call_path import ask, refuse, talk
from benchmarks.report import NONE, Section, Target
from benchmarks.subjects import FULL, NEVER, PASS_THROUGH, SLOW, WINDOW, pass_through, recloser, subjects
from recloser import PausedError, Recloser
from recloser.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Effort

__all__ = ["growth", "sizes"]

MANY = 500
KIB = 1024


def sizes(effort: Effort) -> Section:
    """Bytes for each decorated function and each circuit, and how long decorating takes."""
    wraps: dict[str, Callable[[Any], Any]] = {PASS_THROUGH: pass_through}
    wraps |= {each.name: each.sync(NEVER) for each in subjects() if each.sync}
    took = measure.side_by_side({name: _decorating(wrap) for name, wrap in wraps.items()}, effort)
    held = {name: _held(_functions(MANY), wrap) for name, wrap in wraps.items()}
    rows = [(name, f"{held[name]:,.0f}", str(took.ratio(name, PASS_THROUGH))) for name in wraps]
    rows += [
        ("**recloser**, a circuit that was called", f"{_circuit(full=False):,.0f}", NONE),
        ("**recloser**, a circuit with a full window", f"{_circuit(full=True):,.0f}", NONE),
    ]
    return Section(
        "Memory and decorating",
        f"Bytes for each of {MANY} functions decorated with one circuit, without the function itself; and for each of "
        f"{MANY} circuits of one toolkit. Time to decorate one function, in units of `wrapt.decorator`: it is paid "
        "once, at import.",
        ("what", "bytes", "time to decorate"),
        rows,
        [
            Target(
                "memory of a decorated function",
                "at most 8 KiB",
                f"{held[FULL] / KIB:.1f} KiB",
                (held[FULL] <= 8 * KIB,),
            )
        ],
    )


def growth(calls: int) -> Section:
    """What is left after many calls of one sort: nothing may grow with their number."""
    counted = recloser(failures=NEVER)
    tripped = recloser(failures=1)(refuse)
    sorts: dict[str, tuple[Callable[[int], object], int, int]] = {
        "calls that succeed": (recloser(failure_rate=0.5, slow_after=SLOW, slow_rate=0.5)(ask), 1, calls),
        "calls that fail": (counted(refuse), 1, calls // 20),
        "calls that are rejected": (tripped, 1, calls // 10),
        "calls that are rejected, minutes apart": (_paused(), 1, calls // 100),
        "streams of ten items": (lambda items: list(wrapped(items)), 10, calls // 10),
    }
    wrapped = counted(talk)
    rows: list[tuple[str, ...]] = []
    worst = 0.0
    for name, (call, argument, loops) in sorts.items():
        kept = _kept(call, argument, loops)
        worst = max(worst, kept / loops)
        rows.append((name, f"{loops:,}", f"{kept:,}", f"{kept / loops:.3f}"))
    return Section(
        "What calls leave behind",
        "Bytes still held after so many calls, more than after the first tenth of them.",
        ("what", "calls", "bytes", "for each call"),
        rows,
        [Target("memory that grows with calls", "none", f"{worst:.2f} bytes for each call", (worst < 0.5,))],
    )


def _paused() -> Callable[[int], object]:
    """A call through a circuit that an operator paused for good; time passes with every call."""
    clock = ManualClock()
    toolkit = Recloser(clock=clock)
    call = toolkit.circuit("provider")(ask)
    toolkit.pause("provider", reason="maintenance", by="benchmarks")

    def later(question: int) -> object:
        clock.advance("5m")
        return call(question)

    return later


def _functions(many: int) -> list[FunctionType]:
    return [FunctionType(ask.__code__, ask.__globals__, f"ask_{number}") for number in range(many)]


def _held(functions: list[FunctionType], wrap: Callable[[Any], Any]) -> float:
    wrap(ask)
    return _traced(lambda: [wrap(function) for function in functions]) / len(functions)


def _decorating(wrap: Callable[[Any], Any]) -> measure.Runs:
    def call(_: int) -> object:
        return wrap(ask)

    return measure.calls(call)


def _circuit(*, full: bool) -> float:
    clock = ManualClock()
    toolkit = Recloser(clock=clock)

    def make() -> list[object]:
        made: list[Any] = [toolkit.circuit(f"provider-{number}", failures=NEVER) for number in range(MANY)]
        for circuit in made:
            with circuit:
                pass
        for _ in range(60 if full else 0):
            clock.advance(WINDOW / 60)
            for circuit in made:
                circuit.record_failure("503")
        return made

    return _traced(make) / MANY


def _kept(call: Callable[[int], object], argument: int, loops: int) -> int:
    def many(times: Iterator[None]) -> None:
        for _ in times:
            with suppress(ConnectionError, PausedError):
                call(argument)

    many(repeat(None, loops // 10))
    return _traced(lambda: many(repeat(None, loops)))


def _traced(make: Callable[[], object]) -> int:
    """Bytes that are held after ``make`` and were not before; what it returns is kept until they are counted."""
    gc.collect()
    tracemalloc.start()
    try:
        made = make()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        del made
    finally:
        tracemalloc.stop()
    return held
