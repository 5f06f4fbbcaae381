"""Instructions: how many a call executes, counted by callgrind.

Times depend on who else is at work; the number of instructions hardly does, which makes it the figure to watch from
one commit to the next. Every subject runs in two processes of its own, once with some number of calls and once with
twice as many: the difference is the calls, without the start of the interpreter.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.report import Section
from benchmarks.subjects import BARE, COUNT, FULL, PASS_THROUGH

__all__ = ["available", "instructions"]

CALLS = 10_000
ROOT = Path(__file__).parent.parent

_SETUP = {
    BARE: "call = {ask}",
    PASS_THROUGH: """
import wrapt
@wrapt.decorator
def through(wrapped, instance, args, kwargs):
    return wrapped(*args, **kwargs)
call = through({ask})
""",
    # The window is so long that no bucket ends while callgrind, fifty times slower than life, is at it.
    COUNT: "import recloser; call = recloser.Recloser().circuit('x', window='100h')({ask})",
    FULL: """
import recloser
call = recloser.Recloser().circuit('x', window='100h', failure_rate=.5, slow_after='1h', slow_rate=.5)({ask})
""",
}
_LOOP = {
    "sync": """
def ask(question): return question
{setup}
def run(call, times):
    for _ in times: call(1)
""",
    "async": """
async def ask(question): return question
{setup}
async def awaits(call, times):
    for _ in times: await call(1)
def run(call, times):
    try: awaits(call, times).send(None)
    except StopIteration: pass
""",
}
_MAIN = """
import itertools, sys
run(call, itertools.repeat(None, 100))
run(call, itertools.repeat(None, int(sys.argv[1])))
"""


def available() -> bool:
    """Whether valgrind is there."""
    return shutil.which("valgrind") is not None


def instructions() -> Section:
    """Instructions for each call, and their ratio to a pass-through."""
    wanted = [(name, shape) for name in _SETUP for shape in _LOOP]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(zip(wanted, pool.map(_counted, wanted), strict=True))
    rows = [
        (
            name,
            *(f"{counted[name, shape]:,.0f}" for shape in _LOOP),
            *(f"{counted[name, shape] / counted[PASS_THROUGH, shape]:.2f}" for shape in _LOOP),
        )
        for name in _SETUP
    ]
    return Section(
        "Instructions",
        "Instructions that one successful call executes, counted by callgrind, loop included; and in units of the "
        "pass-through. Hardly depends on what else the machine does.",
        ("what", "sync", "async", "sync, ratio", "async, ratio"),
        rows,
        [],
    )


def _counted(wanted: tuple[str, str]) -> float:
    name, shape = wanted
    script = _LOOP[shape].format(setup=_SETUP[name].format(ask="ask")) + _MAIN
    return (_collected(script, 2 * CALLS) - _collected(script, CALLS)) / CALLS


def _collected(script: str, calls: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [sys.executable, "-c", script, str(calls)]
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", ran.stderr)
    assert found, ran.stderr
    return int(found[1])
