"""What a hook that hangs costs calls and transitions of its own process: they are not to notice."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.call_path import ask
from benchmarks.measure import calls, side_by_side
from benchmarks.report import Section, Target
from recloser import Recloser

if TYPE_CHECKING:
    from benchmarks.measure import Effort, Runs
    from recloser.alerts import Alert

__all__ = ["hanging"]

NOBODY, HANGS = "nobody is told", "a hook hangs, with alerts waiting behind it"
_MOST = 1.1


def hanging(effort: Effort) -> Section:
    """Calls and transitions of two toolkits in one process, in turns: one has a hook that does not come back."""
    released, hangs = threading.Event(), threading.Event()

    def hook(_: Alert) -> None:
        hangs.set()
        released.wait()

    with ExitStack() as stack:
        toolkits = {NOBODY: Recloser(alerts=[]), HANGS: Recloser(alerts=[hook])}
        for toolkit in toolkits.values():
            stack.callback(toolkit.close)
        stack.callback(released.set)
        for number in range(20):
            toolkits[HANGS].pause(f"other-{number}", reason="a hook", by="benchmark")
        if not hangs.wait(10):
            msg = "the hook was not called"
            raise RuntimeError(msg)
        through = side_by_side({name: calls(each.circuit("tts")(ask)) for name, each in toolkits.items()}, effort)
        moved = side_by_side({name: _transitions(each) for name, each in toolkits.items()}, effort)
    ratios = through.ratio(HANGS, NOBODY), moved.ratio(HANGS, NOBODY)
    rows = [(NOBODY, "1.00 (1.00)", "1.00 (1.00)"), (HANGS, str(ratios[0]), str(ratios[1]))]
    calls_ = ratios[0]
    met = (calls_.least <= _MOST, calls_.middle <= _MOST)
    targets = [Target("a call while a hook hangs", f"at most {_MOST} of one without", str(calls_), met)]
    return Section(
        "While a hook hangs",
        "The memory backend, one process. A call that succeeds, and a pause and a resume by hand, which are two alerts "
        "more for the hook; in units of the same of a toolkit without hooks.",
        ("what", "a call", "a pause and a resume"),
        rows,
        targets,
    )


def _transitions(toolkit: Recloser) -> Runs:
    def run(loops: int) -> float:
        began = perf_counter()
        for _ in range(loops):
            toolkit.pause("tts", reason="a transition", by="benchmark")
            toolkit.resume("tts", by="benchmark")
        return perf_counter() - began

    return run
