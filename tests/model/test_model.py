"""A circuit driven at random beside a model of it.

After every step both must agree on everything that a user can see; what must never happen, whatever the model says, is
checked besides.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from recloser import Outcome, PausedError, Policy, Recloser, State
from recloser.backends.memory import MemoryBackend
from recloser.core.events import EventKind
from recloser.testing import ManualClock
from tests.model.model import Leave, Model, Refusal, ms

NAME = "tts"
STEPS = 40

# -- the real thing ----------------------------------------------------------------------------------------------------


class TroubleError(Exception):
    """What a provider raises; says itself what it stands for."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


ENDS: dict[str, Outcome | None] = {
    "success": None,
    "failure": Outcome("failure", "server", 500),
    "again": Outcome("failure", "connection"),
    "busy for long": Outcome("failure", "server", 503, retry_after=45),
    "limited": Outcome("failure", "rate_limit", 429),
    "limited for a moment": Outcome("failure", "rate_limit", 429, retry_after=5),
    "limited for long": Outcome("failure", "rate_limit", 429, retry_after=500),
    "bad request": Outcome("ignored", "bad_request", 400),
    "limited, but ignored": Outcome("ignored", "rate_limit", 429, retry_after=3000),
    "cancelled": Outcome("ignored", "cancelled"),
}
ends = st.sampled_from([*ENDS, "success", "success"])


def judge(error: BaseException) -> Outcome | None:
    """The user's rule."""
    return error.outcome if isinstance(error, TroubleError) else None


def raised(end: str) -> BaseException | None:
    """What a call that ends so raises."""
    outcome = ENDS[end]
    if end == "cancelled":
        return asyncio.CancelledError()
    return None if outcome is None else TroubleError(outcome)


class Process:
    """One process of the fleet, and everything in it that is built on the circuit."""

    def __init__(self, backend: MemoryBackend | str, clock: ManualClock, policy: Policy) -> None:
        self.clock = clock
        self.toolkit = Recloser(backend=backend, clock=clock)
        self.circuit = self.toolkit.circuit(NAME, policy, classify=judge)
        self.call = self.circuit(self._provider)
        self.requirement = self.toolkit.requires(self.circuit)
        self.dial = self.requirement(lambda: "dialled")
        self.told: list[Any] = []
        self.toolkit.listen(self.told.append)

    def _provider(self, end: str, lasting: float) -> str:
        self.clock.advance(lasting)
        error = raised(end)
        if error is not None:
            raise error
        return "audio"


# Every window is a minute, so that outcomes a second apart are counted exactly.
POLICIES: dict[str, dict[str, Any]] = {
    "failures": {"failures": 3, "cooldown": 30, "cooldown_max": 200},
    "rates": {"failures": None, "failure_rate": 0.5, "minimum_calls": 4, "slow_after": 2, "slow_rate": 0.75,
              "cooldown": 30, "cooldown_max": 60, "probes": 2},
    "slow": {"failures": None, "slow_after": 2, "slow_rate": 0.5, "minimum_calls": 3, "cooldown": 10},
    "slow does no harm": {"failures": 2, "slow_after": 2, "cooldown": 10, "cooldown_max": 80, "probes": 2},
    "untested": {"failures": 2, "probes": 0, "cooldown": 10, "cooldown_max": 80},
    "three probes": {"failures": 2, "probes": 3, "cooldown": 10, "cooldown_max": 80},
    "growth": {"failures": 1, "cooldown": 10, "cooldown_growth": 3.0, "cooldown_max": 100},
}  # fmt: skip
BLIND = ("failures", "slow does no harm", "untested", "three probes", "growth")
"""Policies under which only a failure can trip, so that nobody needs to look after every step."""


def in_ms(moment: float | None) -> int | None:
    """A moment or a length of the real thing in the model's time."""
    return None if moment is None else ms(moment)


class OneProcess(RuleBasedStateMachine):
    """One process, one circuit, one model."""

    size = 1
    policies = tuple(POLICIES)
    held = Bundle("held")

    @initialize(
        policy=st.runner().flatmap(lambda machine: st.sampled_from(machine.policies)),
        mode=st.sampled_from(["enforce"] * 6 + ["observe", "off"]),
        attentive=st.booleans(),
    )
    def begin_with(self, policy: str, mode: str, attentive: bool) -> None:  # noqa: FBT001
        """A fleet with one of the policies."""
        chosen = Policy(window=60, probe_timeout=20, mode=mode, **POLICIES[policy])
        self.clock = ManualClock()
        self.model = Model(chosen, mode)
        self.fleet = self.start(chosen)
        self.attentive = attentive or self.size > 1 or policy not in BLIND
        self.time_passed = False
        self.disagreed = False
        self.probes_out: dict[object, tuple[int, int]] = {}

    def start(self, policy: Policy) -> list[Process]:
        """The processes."""
        return [Process("memory://", self.clock, policy)]

    def process(self, number: int) -> Process:
        """One of the processes."""
        return self.fleet[number % self.size]

    def agree(self, what: str, real: object, expected: object) -> None:
        """Both must say the same."""
        if real != expected:
            self.disagreed = True
            msg = f"{what}: the circuit says {real}, the model {expected}"
            raise AssertionError(msg)

    # -- time

    def settled_time(self, by: int) -> int:
        """``by``, or as much longer as it takes to a moment at which no outcome may or may not have left early.

        An outcome may leave up to a sixtieth of the window early, with one that came shortly before it; half of that
        if somebody looked in between. One that nothing came before leaves at its time.
        """
        window = ms(self.model.policy.window)
        reach = window // (120 if self.attentive else 60)
        moments = sorted({each.at for each in self.model.seen})
        loose = [late for early, late in itertools.pairwise(moments) if late - early <= reach]
        target = self.model.now + by
        while unsure := [at for at in loose if window - reach <= target - at < window]:
            target = max(unsure) + window
        return target - self.model.now

    def pass_time(self, by: int) -> None:
        """Moves both clocks."""
        by = self.settled_time(by)
        self.clock.advance(by / 1000)
        self.model.pass_time(by)
        self.time_passed = True

    @rule(by=st.sampled_from([1, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 300_000]))
    def time_passes(self, by: int) -> None:
        """Any time."""
        self.pass_time(by)

    @precondition(lambda self: self.model.until is not None)
    @rule(early=st.sampled_from([0, 0, 1]))
    def pause_ends(self, early: int) -> None:
        """Up to the end of the pause, or just before it."""
        self.pass_time(self.model.until - self.model.now - early)

    @precondition(lambda self: self.model.probes or self.model.trials)
    @rule(early=st.sampled_from([0, 1]))
    def permits_expire(self, early: int) -> None:
        """Up to the end of the oldest permit, or just before it."""
        oldest = min([*self.model.probes.values(), *self.model.trials])
        self.pass_time(max(0, oldest - self.model.now - early))

    @precondition(lambda self: self.model.window)
    @rule(early=st.sampled_from([0, 1]))
    def window_moves(self, early: int) -> None:
        """Up to the moment at which the oldest outcome leaves, or just before it."""
        oldest = min(each.at for each in self.model.window)
        self.pass_time(oldest + ms(self.model.policy.window) - self.model.now - early)

    # -- calls

    def expect(self, expected: object, paused: PausedError) -> None:
        """A refusal must be expected, and say what the model says."""
        model = self.model
        self.agree("refused", True, isinstance(expected, Refusal))
        found = (paused.circuit, paused.state, paused.paused_by, ms(paused.since), in_ms(paused.retry_after))
        self.agree("PausedError", found, (NAME, model.state, model.by, model.since, expected.retry_after))

    def end_in_model(self, leave: Leave, end: str) -> None:
        """Tells the model how a call ended."""
        outcome = ENDS[end]
        slow_after = self.model.policy.slow_after
        slow = slow_after is not None and self.model.now - leave.started > ms(slow_after)
        if outcome is None:
            self.model.settle(leave, "slow" if slow else "success")
        elif end == "cancelled" and slow and not (leave.probe and self.model.policy.slow_rate is None):
            self.model.settle(leave, "slow")
        else:
            self.model.settle(leave, str(outcome.verdict), **self.evidence(outcome))

    @staticmethod
    def evidence(outcome: Outcome) -> dict[str, Any]:
        """What the model needs to know of an outcome."""
        if not outcome.is_failure:
            return {}
        return {"limited": outcome.kind == "rate_limit", "retry_after": in_ms(outcome.retry_after)}

    @rule(who=st.integers(0, 1), end=ends, lasting=st.sampled_from([0, 0, 0, 1000, 3000]))
    def call(self, who: int, end: str, lasting: int) -> None:
        """A whole call, through a decorated function."""
        leave = self.model.acquire()
        if isinstance(leave, Leave):
            lasting = self.settled_time(lasting) if lasting else 0
        try:
            self.process(who).call(end, lasting / 1000)
        except PausedError as paused:
            self.expect(leave, paused)
            return
        except (TroubleError, asyncio.CancelledError) as error:
            self.agree("raised", repr(error), repr(raised(end)))
        self.agree("let through", True, isinstance(leave, Leave))
        if lasting:
            self.model.pass_time(lasting)
            self.time_passed = True
        self.end_in_model(leave, end)

    @rule(
        who=st.integers(0, 1),
        times=st.integers(1, 4),
        how=st.sampled_from([("failure", 0), ("success", 0), ("success", 3000), ("cancelled", 3000)]),
    )
    def spell(self, who: int, times: int, how: tuple[str, int]) -> None:
        """Some calls in a row that end alike: an outage, good times, slow times, no patience."""
        for _ in range(times):
            self.call(who, *how)

    @rule(target=held, who=st.integers(0, 1))
    def begin(self, who: int) -> object:
        """A call begins, and ends later or never."""
        leave = self.model.acquire()
        circuit = self.process(who).circuit
        try:
            permit = circuit.acquire()
        except PausedError as paused:
            self.expect(leave, paused)
            return multiple()
        self.agree("let through", True, isinstance(leave, Leave))
        if leave.probe:
            self.probes_out[permit] = (permit.generation, self.model.now + ms(self.model.policy.probe_timeout))
            self.check_probes()
        return multiple((circuit, permit, leave))

    @precondition(lambda self: self.model.until is not None)
    @rule(target=held, whos=st.lists(st.integers(0, 1), min_size=1, max_size=4))
    def pause_ends_and_calls_begin(self, whos: list[int]) -> object:
        """The provider is tested by whoever comes first."""
        self.pause_ends(0)
        return multiple(*(call for who in whos for call in self.begin(who).values))

    @rule(call=consumes(held), end=ends)
    def finish(self, call: Any, end: str) -> None:
        """A call that began some time ago ends, maybe in another generation than it began in."""
        circuit, permit, leave = call
        elapsed = (self.model.now - leave.started) / 1000
        error = raised(end)
        if error is None:
            circuit.succeed(permit, elapsed, self.clock.now())
        else:
            circuit.fail(permit, elapsed, error)
        self.probes_out.pop(permit, None)
        self.end_in_model(leave, end)

    @rule(call=consumes(held))
    def leave_early(self, call: Any) -> None:
        """The application drops a call, as at a barge-in."""
        circuit, permit, leave = call
        circuit.ignore(permit, (self.model.now - leave.started) / 1000)
        self.probes_out.pop(permit, None)
        self.end_in_model(leave, "cancelled")

    @rule(who=st.integers(0, 1), end=ends, once=st.sampled_from([None, "call-1", "call-2"]))
    def report(self, who: int, end: str, once: str | None) -> None:
        """An outcome is reported by hand."""
        circuit, error, outcome = self.process(who).circuit, raised(end), ENDS[end]
        if outcome is None:
            circuit.record_success()
            self.model.by_hand("success", None)
        else:
            circuit.record_failure("no audio" if end == "failure" else error, once=once)
            self.model.by_hand(str(outcome.verdict), once, **self.evidence(outcome))

    @rule(who=st.integers(0, 1))
    def trial(self, who: int) -> None:
        """Work that depends on the circuit asks for leave."""
        refusal = self.model.trial()
        try:
            self.process(who).dial()
        except PausedError as paused:
            self.expect(refusal, paused)
        else:
            self.agree("dialled", None, refusal)

    # -- operators

    @rule(who=st.integers(0, 1), what=st.sampled_from([None, 10, 100, "resume"]))
    def operate(self, who: int, what: object) -> None:
        """Somebody pauses or resumes the circuit."""
        toolkit = self.process(who).toolkit
        if what == "resume":
            toolkit.resume(NAME, by="ann")
            self.model.resume("ann")
        else:
            toolkit.pause(NAME, reason="maintenance", by="bob", for_=what)
            self.model.pause("bob", None if what is None else ms(what))

    # -- what must hold

    @invariant()
    def everybody_agrees(self) -> None:
        """Whatever a user can see is as the model says; transitions by counts are there before anybody looks."""
        self.check_probes()
        if not self.time_passed:
            for process in self.fleet:
                self.agree("state", process.circuit.state, self.model.state)
        if self.attentive:
            self.look()
        self.check_events()

    @rule()
    def look(self) -> None:
        """Everything there is to see, in every process."""
        model = self.model
        model.judge()
        self.time_passed = False
        counts = model.counts
        expected = (
            model.state, model.since, model.until, model.by, model.calls,
            counts["failure"], counts["slow"], counts["ignored"], counts["rejected"],
        )  # fmt: skip
        for process in self.fleet:
            process.circuit.snapshot()  # what only this process knew so far, everybody knows from now on
        for process in self.fleet:
            shot = process.circuit.snapshot()
            found = (
                shot.state, ms(shot.since), in_ms(shot.until), shot.by, shot.calls,
                shot.failures, shot.slow, shot.ignored, shot.rejected,
            )  # fmt: skip
            self.agree("snapshot", found, expected)
            self.agree("allows()", process.circuit.allows(), model.refusal() is None)
            self.agree("requires().allows()", process.requirement.allows(), model.trial_refusal() is None)
        self.agree("generations", len({process.circuit.snapshot().generation for process in self.fleet}), 1)

    def check_probes(self) -> None:
        """Never more calls in the air than there are probes, over the whole fleet."""
        generation = self.process(0).circuit.bound.record.generation
        out = [end for of, end in self.probes_out.values() if of == generation and end > self.model.now]
        self.agree("more probes than allowed", len(out) > self.model.policy.probes, False)

    def check_events(self) -> None:
        """One event for each transition, in order, told once in the whole fleet; no pause ends before its time."""
        events = list(self.process(0).toolkit.events)
        found = [
            (each.kind, each.previous, each.state, ms(each.at), each.by, each.counts.calls, each.counts.failures)
            for each in events
        ]
        # What the window held when a pause ended by itself is not said to the bucket.
        precise = [EventKind.TRIPPED, EventKind.RETRIPPED, EventKind.PAUSED, EventKind.RESUMED_BY_HAND]
        for real, expected in zip(found, self.model.events, strict=False):
            self.agree(
                "event", real if real[0] in precise else real[:5], expected if real[0] in precise else expected[:5]
            )
        self.agree("number of events", len(found), len(self.model.events))
        for before, after in itertools.pairwise(events):
            self.agree("generation grows", after.generation > before.generation, True)
            if before.state is State.OPEN and after.by == "recloser":
                self.agree("OPEN ended early", after.at < before.until, False)
        told = sorted((each for process in self.fleet for each in process.told), key=lambda each: each.generation)
        self.agree("events told", told, events)

    def teardown(self) -> None:
        """In the end everybody looks."""
        if not self.disagreed:
            self.look()
            self.check_events()


class TwoProcesses(OneProcess):
    """Two processes of one fleet: they decide as one, and lend no more permits than one."""

    size = 2

    def start(self, policy: Policy) -> list[Process]:
        shared = MemoryBackend(clock=self.clock)
        return [Process(shared, self.clock, policy) for _ in range(self.size)]


EFFORT = settings(max_examples=150, stateful_step_count=STEPS)

TestOneProcess = OneProcess.TestCase
TestOneProcess.settings = EFFORT
TestTwoProcesses = TwoProcesses.TestCase
TestTwoProcesses.settings = EFFORT


# -- what a script shows more plainly, one by one ----------------------------------------------------------------------


@pytest.fixture
def process() -> Process:
    """A process with a circuit that trips at two failures and finds two seconds slow."""
    return Process("memory://", ManualClock(), Policy(failures=2, slow_after=2, window=60, cooldown=30))


def test_a_success_leaves_the_window_at_most_a_sixtieth_early(process: Process) -> None:
    """What the policy promises of every outcome holds for successes, which are counted before they are delivered."""
    process.circuit.record_failure("no audio")
    for _ in range(2):
        process.clock.advance(0.9)
        process.call("success", 0)
    process.clock.advance(60 - 1 - 0.1)
    assert process.circuit.snapshot().calls >= 1


def test_a_cancelled_probe_never_closes_a_circuit(process: Process) -> None:
    """A provider that hangs until the caller gives up has not been seen to work."""
    for _ in range(2):
        process.circuit.record_failure("no audio")
    process.clock.advance(30)
    with pytest.raises(asyncio.CancelledError):
        process.call("cancelled", 5)
    assert process.circuit.state is not State.CLOSED


def test_a_probe_that_was_left_late_never_closes_a_circuit(process: Process) -> None:
    """A stream that the application closed while the provider hung has not been seen to work either."""
    for _ in range(2):
        process.circuit.record_failure("no audio")
    process.clock.advance(30)
    permit = process.circuit.acquire()
    process.circuit.ignore(permit, 5.0)
    assert process.circuit.state is not State.CLOSED


def test_an_ignored_error_does_not_lengthen_a_pause(process: Process) -> None:
    """What counts for neither side asks for nothing either."""
    process.circuit.record_failure(TroubleError(Outcome("ignored", "rate_limit", 429, retry_after=3000)))
    for _ in range(2):
        process.circuit.record_failure("no audio")
    assert process.circuit.snapshot().until == 30


def test_an_ignored_report_does_not_use_up_its_key(process: Process) -> None:
    """once= counts at most one failure: what was no failure leaves room for one."""
    process.circuit.record_failure(TroubleError(Outcome.IGNORED), once="call-1")
    process.circuit.record_failure("no audio", once="call-1")
    assert process.circuit.snapshot().failures == 1


def test_a_call_that_is_out_while_the_policy_changes_still_counts() -> None:
    """A policy that is written down later keeps what is counted, and what is being counted."""
    toolkit = Recloser(clock=ManualClock())
    circuit = toolkit.circuit(NAME)
    permit = circuit.acquire()
    toolkit.circuit(NAME, failures=5)
    circuit.succeed(permit, 0.0, toolkit.clock.now())
    assert circuit.snapshot().calls == 1
