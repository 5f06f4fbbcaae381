"""Times what is compared side by side: in one process, in turns, as ratios to one of them.

A machine that others work on too may be half as fast from one second to the next. So every round runs each subject for
a few milliseconds, in a new order, and what is reported is relative: the ratio of the minima (what the code costs when
nobody disturbs it) and the median of the ratios within each round (what it costs beside the others, disturbances
included). A minimum is the slowest of the fastest twentieth: the very fastest block of all may owe that to a moment in
which the machine was faster than it is. Where the two ratios disagree by much, believe neither.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
from collections import deque
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

__all__ = [
    "Effort",
    "Figures",
    "Ratio",
    "Runs",
    "awaits",
    "calls",
    "in_loop",
    "items",
    "items_async",
    "methods",
    "rejections",
    "rejections_async",
    "side_by_side",
]

Runs: TypeAlias = "Callable[[int], float]"
"""Runs a subject so many times, and returns the seconds that took."""


class Effort(NamedTuple):
    """How much is measured: so many rounds, in each of which every subject runs for ``block`` seconds."""

    rounds: int
    block: float


class Ratio(NamedTuple):
    """How many times as long as the baseline: of the minima, and the median over all rounds."""

    least: float
    middle: float

    def __str__(self) -> str:
        return f"{self.least:.2f} ({self.middle:.2f})"


@dataclass(frozen=True)
class Figures:
    """Seconds for each operation: one number for each round, in the order of the rounds."""

    seconds: Mapping[str, list[float]]

    def __contains__(self, name: str) -> bool:
        return name in self.seconds

    def ratio(self, name: str, baseline: str) -> Ratio:
        """``name`` in units of ``baseline``, measured in the same run."""
        ours, theirs = self.seconds[name], self.seconds[baseline]
        each = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        return Ratio(_minimum(ours) / _minimum(theirs), statistics.median(each))

    def fastest(self, names: list[str]) -> str:
        """The one of ``names`` with the least minimum."""
        return min((name for name in names if name in self.seconds), key=lambda name: _minimum(self.seconds[name]))


def _minimum(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 20]


def side_by_side(subjects: Mapping[str, Runs], effort: Effort) -> Figures:
    """Every subject in every round, each time in another order; with the garbage collector off, after a warm-up."""
    order = random.Random(0)
    loops = {name: _fitting(run, effort.block) for name, run in subjects.items()}
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    names = list(subjects)
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(effort.rounds):
            order.shuffle(names)
            gc.collect(1)  # what the last round left, not what the peers hoard
            for name in names:
                seconds[name].append(subjects[name](loops[name]) / loops[name])
    finally:
        if enabled:
            gc.enable()
    return Figures(seconds)


def _fitting(run: Runs, block: float) -> int:
    """So many loops take about ``block`` seconds; finding out is the warm-up."""
    run(1)  # imports and caches: what happens once
    loops = 1
    # The least of three: one that was interrupted must not pass for a long one.
    while (took := min(run(loops) for _ in range(3))) < block / 2:
        loops *= 2
    return max(1, round(loops * block / took))


# -- loops ---------------------------------------------------------------------------------------------------------
# Each subject gets a loop of its own, as a copy of the code: since 3.11 the interpreter adapts a call site to what it
# calls, and one site for all would be adapted to none. What is left of the loop itself, some ten nanoseconds, is part
# of every figure, the baseline's included.


def _own(loop: Callable[..., Any]) -> Callable[..., Any]:
    assert isinstance(loop, FunctionType)
    return FunctionType(loop.__code__.replace(), loop.__globals__, loop.__name__)


def _calls(call: Callable[[int], object], loops: int) -> float:
    every = repeat(None, loops)
    started = perf_counter()
    for _ in every:
        call(1)
    return perf_counter() - started


def _methods(client: Any, loops: int) -> float:
    every = repeat(None, loops)
    started = perf_counter()
    for _ in every:
        client.ask(1)
    return perf_counter() - started


def _rejections(call: Callable[[int], object], loops: int) -> float:
    every = repeat(None, loops)
    started = perf_counter()
    for _ in every:
        try:  # noqa: SIM105 - contextlib.suppress would be measured as well
            call(1)
        except Exception:
            pass
    return perf_counter() - started


def _items(stream: Callable[[int], Any], loops: int) -> float:
    started = perf_counter()
    deque(stream(loops), maxlen=0)
    return perf_counter() - started


async def _awaits(call: Callable[[int], Any], loops: int) -> float:
    every = repeat(None, loops)
    started = perf_counter()
    for _ in every:
        await call(1)
    return perf_counter() - started


async def _rejections_async(call: Callable[[int], Any], loops: int) -> float:
    every = repeat(None, loops)
    started = perf_counter()
    for _ in every:
        try:  # noqa: SIM105 - contextlib.suppress would be measured as well
            await call(1)
        except Exception:
            pass
    return perf_counter() - started


async def _items_async(stream: Callable[[int], Any], loops: int) -> float:
    started = perf_counter()
    async for _ in stream(loops):
        pass
    return perf_counter() - started


def calls(call: Callable[[int], object]) -> Runs:
    """Calls a function with one argument."""
    loop = _own(_calls)
    return lambda loops: loop(call, loops)


def methods(client: Any) -> Runs:
    """Looks up the method ``ask`` of an instance and calls it."""
    loop = _own(_methods)
    return lambda loops: loop(client, loops)


def rejections(call: Callable[[int], object]) -> Runs:
    """Calls a function that raises, and catches what it raises."""
    loop = _own(_rejections)
    return lambda loops: loop(call, loops)


def items(stream: Callable[[int], Any]) -> Runs:
    """Exhausts one generator with as many items as loops are asked for: the cost of one item."""
    loop = _own(_items)
    return lambda loops: loop(stream, loops)


_runner: asyncio.Runner | None = None


def in_loop(coroutine: Coroutine[Any, Any, float]) -> float:
    """One event loop for everything; its own turns are not measured, a coroutine that never suspends takes none."""
    global _runner  # noqa: PLW0603 - made when first needed
    if _runner is None:
        _runner = asyncio.Runner()
    return _runner.run(coroutine)


def awaits(call: Callable[[int], Any]) -> Runs:
    """Calls a coroutine function and awaits what it returns."""
    loop = _own(_awaits)
    return lambda loops: in_loop(loop(call, loops))


def rejections_async(call: Callable[[int], Any]) -> Runs:
    """Awaits a call that raises, and catches what it raises."""
    loop = _own(_rejections_async)
    return lambda loops: in_loop(loop(call, loops))


def items_async(stream: Callable[[int], Any]) -> Runs:
    """Exhausts one async generator with as many items as loops are asked for."""
    loop = _own(_items_async)
    return lambda loops: in_loop(loop(stream, loops))
