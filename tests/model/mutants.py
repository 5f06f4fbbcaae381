"""Mutants of the package: one rule broken each, so that the model can be seen to notice.

``python -m tests.model.mutants`` prints which of its statements kills which mutant.
"""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
import time
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from recloser.agenda import Agenda
from recloser.backends.memory import MemoryBackend, _Shelf
from recloser.core import machine
from recloser.core.window import Window
from recloser.gate import Gate
from recloser.inline import InlineCourier
from recloser.permit import Counter
from recloser.replica import Replica
from tests.model.test_model import OneProcess, TwoProcesses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MUTANTS", "Mutant", "killed_by", "mutated"]

SEARCH = settings(
    max_examples=300,
    stateful_step_count=50,
    derandomize=True,  # the same examples in every run
    database=None,
    deadline=None,
    phases=[Phase.generate],  # any counterexample will do, it need not be a small one
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


@dataclass(frozen=True)
class Mutant:
    """A function of the package with one piece of its text replaced.

    Attributes:
        name: the rule that it breaks.
        function: where.
        old: what stands there, exactly once.
        new: what takes its place.
        fleet: the model that must notice.
        policies: those under which it makes a difference.
    """

    name: str
    function: Callable[..., object]
    old: str
    new: str
    fleet: type[OneProcess] = OneProcess
    policies: tuple[str, ...] = OneProcess.policies


SLOW = ("rates", "slow")

MUTANTS = (
    # what the design names first
    Mutant("outcomes of another generation count", MemoryBackend._merge,
           "delivery.generation != shelf.record.generation or ", ""),
    Mutant("no cap on permits", MemoryBackend._lease,
           "taken < ask.cap", "True"),
    Mutant("permits never expire", MemoryBackend._lease,
           "if end > now", ""),
    Mutant("the cooldown is not waited for", machine.decide,
           " or facts.now < record.until", ""),
    # generations
    Mutant("a late outcome counts in the present generation", Replica.settle,
           "= permit.generation, permit.seat", "= self.record.generation, permit.seat"),
    Mutant("the tally goes on through a swap", _Shelf.begin,
           "self.tally = NOTHING", "pass"),
    Mutant("permits outlive their generation", _Shelf.begin,
           "self.seats.clear()", "pass"),
    Mutant("the window survives a close", InlineCourier._carry,
           "clear = step.record.state is State.CLOSED", "clear = False"),
    # counting
    Mutant("the window never forgets", Window.totals,
           "gone = bisect_right(", "gone = 0 and bisect_right("),
    Mutant("once= is ignored", _Shelf.is_new,
           "return False", "pass"),
    Mutant("successes are lost in a sweep", Counter.drain,
           "self._seen = reading + 1", "self._seen = reading + 2"),
    Mutant("rejections are not counted", Replica._sweep,
           "Counts(rejected=rejected)", "Counts()"),
    Mutant("a success that completes the minimum waits", Replica.apply,
           "success_may_trip(self.policy, facts.window)", "False", policies=("rates",)),
    Mutant("a cancelled call is never slow", Gate.fail,
           "elapsed > permit.slow_after", "False", policies=SLOW),
    # how long
    Mutant("Retry-After is ignored", machine._trip,
           "facts.asked_until - now", "0.0"),
    Mutant("an ignored error asks for a pause", Replica.settle,
           "if counts.failures:", "if True:"),
    Mutant("half of the failures are most of them", machine._trip,
           "> failed.failures", ">= failed.failures"),
    Mutant("re-trips do not lengthen the pause", machine._trip,
           "trips += pause_for", "0 + pause_for"),
    Mutant("there is no longest pause", machine._trip,
           "pause_for = min(", "pause_for = max("),
    Mutant("trips are never forgotten", machine._remembered,
           "- int(healthy / policy.cooldown)", ""),
    Mutant("an operator's pause brings forgotten trips back", machine.pause,
           "_remembered(policy, facts)", "facts.record.trips", policies=("growth",)),
    # testing the provider
    Mutant("a probe that passed is lent again", MemoryBackend._lease,
           '(shelf.tally.calls if pool == "probe" else 0)', "0"),
    Mutant("trials use up the probes", MemoryBackend._lease,
           "if seat.pool == pool and seat != ask.seat", ""),
    Mutant("a cancelled probe keeps its permit", MemoryBackend._merge,
           "shelf.seats.pop(delivery.gives_back, None)", "pass"),
    Mutant("one probe is enough", machine._judge_probes,
           "passed >= policy.probes", "passed >= min(1, policy.probes)"),
    Mutant("a slow probe passes", machine._judge_probes,
           "if policy.slow_rate is not None:", "if False:", policies=SLOW),
    Mutant("a cancelled probe passes for a slow one", machine.counted,
           "outcome.kind is Kind.CANCELLED", "False", policies=("slow does no harm",)),
    Mutant("a pause that is over is not tested", machine.decide,
           "tested if policy.probes else untested", "untested"),
    # everybody, at once
    Mutant("a circuit moves on only when called", Agenda.put,
           "if math.isinf(when):", "if True:"),
    Mutant("others are not told of a swap", MemoryBackend.swap,
           "listeners = tuple(self._listeners)", "listeners = ()", TwoProcesses),
    Mutant("observe mode rejects", Replica._admit,
           "if self.mode is Mode.OBSERVE:", "if False:"),
)  # fmt: skip


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """The function behaves as the mutant, wherever it was imported to, until the block is left.

    Raises:
        ValueError: when the text to replace does not stand there exactly once: the mutant has to follow the code.
    """
    function = mutant.function
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(mutant.old) != 1:
        msg = f"{mutant.name}: {mutant.old!r} stands {source.count(mutant.old)} times in {function.__qualname__}"
        raise ValueError(msg)
    changed = source.replace(mutant.old, mutant.new)
    names: dict[str, Callable[..., object]] = {}
    flags = __future__.annotations.compiler_flag
    exec(compile(changed, f"<{mutant.name}>", "exec", flags), function.__globals__, names)
    original = function.__code__
    function.__code__ = inspect.unwrap(names[function.__name__]).__code__  # of a staticmethod, what is in it
    try:
        yield
    finally:
        function.__code__ = original


def killed_by(mutant: Mutant, search: settings = SEARCH) -> str | None:
    """What the model says against a mutant; None when it sees nothing wrong."""
    focused: Any = type(mutant.fleet.__name__, (mutant.fleet,), {"policies": mutant.policies})
    with mutated(mutant), redirect_stdout(StringIO()):
        try:
            run_state_machine_as_test(focused, settings=search)
        except Exception as error:
            return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def main() -> int:
    """Prints the table; the exit code is the number of mutants that survive."""
    survivors = 0
    for mutant in MUTANTS:
        began = time.perf_counter()
        verdict = killed_by(mutant)
        survivors += verdict is None
        took = time.perf_counter() - began
        print(f"{mutant.name:<50} {took:5.1f} s  {verdict or 'SURVIVES'}"[:200], flush=True)  # noqa: T201
    return survivors


if __name__ == "__main__":
    sys.exit(main())
