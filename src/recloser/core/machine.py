"""The state machine of a circuit: one table of transitions, and pure functions that say when each is due.

Every rule that changes a circuit's state is in this file, whatever the backend. A backend stores the facts; these
functions are given them, together with its ``now``, and answer with the next record or with None. All moments are
seconds on the backend's clock, all lengths are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from recloser.core.duration import format_duration
from recloser.core.events import ErrorSample, EventKind
from recloser.core.outcome import Kind, Verdict
from recloser.core.state import State
from recloser.core.window import NOTHING, Counts

if TYPE_CHECKING:
    from recloser.core.outcome import Outcome
    from recloser.core.policy import Policy

__all__ = [
    "RECLOSER",
    "TABLE",
    "UNKNOWN",
    "Cause",
    "Edge",
    "Facts",
    "Record",
    "State",
    "Step",
    "after",
    "announce",
    "counted",
    "decide",
    "initial",
    "outlives",
    "pause",
    "resume",
    "success_may_trip",
    "threshold",
    "trip",
]

RECLOSER = "recloser"
"""Who paused a circuit when no operator did."""


UNKNOWN = -1
"""The generation of a circuit of which the backend has not been asked yet."""


class Cause(StrEnum):
    """Why a circuit changes its state."""

    THRESHOLD = "threshold crossed"
    COOLDOWN_OVER = "cooldown over"
    COOLDOWN_OVER_UNTESTED = "cooldown over, probes = 0"
    PROBES_PASSED = "probes succeeded"
    PROBE_FAILED = "a probe failed"
    PAUSED_BY_HAND = "paused by hand"
    PAUSE_OVER = "pause over"
    PAUSE_OVER_UNTESTED = "pause over, probes = 0"
    RESUMED_BY_HAND = "resumed by hand"


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a cause leads, and the event that tells of it."""

    target: State
    event: EventKind


TABLE: dict[tuple[State, Cause], Edge] = {
    (State.CLOSED, Cause.THRESHOLD): Edge(State.OPEN, EventKind.TRIPPED),
    (State.OPEN, Cause.COOLDOWN_OVER): Edge(State.HALF_OPEN, EventKind.PROBING),
    (State.OPEN, Cause.COOLDOWN_OVER_UNTESTED): Edge(State.CLOSED, EventKind.RESUMED),
    (State.HALF_OPEN, Cause.PROBES_PASSED): Edge(State.CLOSED, EventKind.RESUMED),
    (State.HALF_OPEN, Cause.PROBE_FAILED): Edge(State.OPEN, EventKind.RETRIPPED),
    (State.PAUSED, Cause.PAUSE_OVER): Edge(State.HALF_OPEN, EventKind.PROBING),
    (State.PAUSED, Cause.PAUSE_OVER_UNTESTED): Edge(State.CLOSED, EventKind.RESUMED),
    **{(state, Cause.PAUSED_BY_HAND): Edge(State.PAUSED, EventKind.PAUSED) for state in State},
    **{(state, Cause.RESUMED_BY_HAND): Edge(State.CLOSED, EventKind.RESUMED_BY_HAND) for state in State},
}
"""Every transition there is. The diagram in the documentation is drawn from this table."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the fleet agrees on about a circuit; swapped as a whole, and only if the generation still matches.

    Attributes:
        generation: grows with every transition; an outcome of an older one changes nothing.
        state: the state.
        since: when it began.
        until: when it moves on by itself; None when it does not.
        reason: why, in one line.
        by: ``"recloser"`` or the operator.
        trips: how many trips are remembered; each lengthens the next pause.
    """

    generation: int = 0
    state: State = State.CLOSED
    since: float = 0.0
    until: float | None = None
    reason: str = ""
    by: str = RECLOSER
    trips: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a decision may look at.

    Attributes:
        record: the circuit's record.
        now: the backend's time when the facts were read.
        window: the outcomes inside the policy's window.
        tally: the outcomes since this generation began.
        asked_until: until when the providers' ``Retry-After`` in the window asked to be left alone; 0.0 when none did.
        errors: the last distinct errors, the latest last.
        reporters: how many processes reported failures or slow calls inside the window.
    """

    record: Record
    now: float
    window: Counts = NOTHING
    tally: Counts = NOTHING
    asked_until: float = 0.0
    errors: tuple[ErrorSample, ...] = ()
    reporters: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A transition that is due: the record to swap in, and what to tell."""

    record: Record
    previous: Record
    cause: Cause

    @property
    def event(self) -> EventKind:
        """The kind of event that tells of this step."""
        return TABLE[self.previous.state, self.cause].event


def initial(now: float) -> Record:
    """The record of a circuit that nobody has heard of."""
    return Record(since=now)


def after(now: float, seconds: float) -> float:
    """``seconds`` after ``now``, rounded to microseconds so that equal sums are equal numbers."""
    return round(now + seconds, 6)


def decide(policy: Policy, facts: Facts, jitter: float = 0.0) -> Step | None:
    """The transition that is due now, or None.

    Args:
        policy: the circuit's policy.
        facts: what the backend knows.
        jitter: a share of the pause to add to it when it is not the first, 0 or more.
    """
    record = facts.record
    if record.state is State.CLOSED:
        rule = _crossed(policy, facts.window)
        agreed = max(1, facts.reporters) >= policy.quorum
        return _trip(policy, facts, Cause.THRESHOLD, rule, jitter) if rule and agreed else None
    if record.state is State.HALF_OPEN:
        return _judge_probes(policy, facts, jitter)
    if record.until is None or facts.now < record.until:
        return None
    tested, untested = {
        State.OPEN: (Cause.COOLDOWN_OVER, Cause.COOLDOWN_OVER_UNTESTED),
        State.PAUSED: (Cause.PAUSE_OVER, Cause.PAUSE_OVER_UNTESTED),
    }[record.state]
    return _step(facts, tested if policy.probes else untested, reason=f"being tested after: {record.reason}")


def trip(policy: Policy, facts: Facts, reason: str, jitter: float = 0.0) -> Step | None:
    """A trip for a reason of the caller's own; None when the circuit is OPEN or PAUSED already."""
    cause = {State.CLOSED: Cause.THRESHOLD, State.HALF_OPEN: Cause.PROBE_FAILED}.get(facts.record.state)
    return _trip(policy, facts, cause, reason, jitter) if cause else None


def pause(policy: Policy, facts: Facts, reason: str, by: str, length: float | None) -> Step:
    """An operator's pause, for ``length`` seconds or, with None, until it is resumed."""
    until = None if length is None else after(facts.now, length)
    trips = _remembered(policy, facts)
    return _step(facts, Cause.PAUSED_BY_HAND, reason=reason, by=by, until=until, trips=trips)


def resume(policy: Policy, facts: Facts, by: str) -> Step | None:
    """An operator's resume; None when the circuit is closed and its window empty, so that there is nothing to do."""
    if facts.record.state is State.CLOSED and facts.window == NOTHING:
        return None
    trips = _remembered(policy, facts)
    return _step(facts, Cause.RESUMED_BY_HAND, reason=str(Cause.RESUMED_BY_HAND), by=by, trips=trips)


_COUNTS = {
    Verdict.SUCCESS: Counts(calls=1),
    Verdict.FAILURE: Counts(calls=1, failures=1),
    Verdict.SLOW: Counts(calls=1, slow=1),
    Verdict.IGNORED: Counts(ignored=1),
}


def counted(policy: Policy, outcome: Outcome, *, probe: bool) -> Counts:
    """How ``outcome`` is counted.

    Args:
        policy: the circuit's policy.
        outcome: what became of the call.
        probe: whether it is one of the few that test the provider.
    """
    if outcome.kind is Kind.RATE_LIMIT and outcome.is_failure:
        return Counts(calls=1, failures=1, limited=1)
    if probe and policy.slow_rate is None and outcome.kind is Kind.CANCELLED:
        # Where slowness is no fault, a probe that was cancelled late has not passed for it: nobody saw its answer.
        return _COUNTS[Verdict.IGNORED]
    return _COUNTS[outcome.verdict]


def success_may_trip(policy: Policy, window: Counts) -> bool:
    """Whether one more success could complete ``minimum_calls`` of a window that is bad enough already."""
    bad = (policy.failure_rate is not None and window.failures) or (policy.slow_rate is not None and window.slow)
    return bool(bad) and window.calls < policy.minimum_calls


def outlives(own: Record, fleet: Record, base: int) -> bool:
    """Whether what one process decided for itself still holds for it beside what the fleet agrees on.

    Args:
        own: the record that the process made by itself, because it could not ask the fleet or was sick alone.
        fleet: the record that the fleet agrees on now.
        base: the generation of the fleet's record when the process went its own way.
    """
    moved = fleet.generation != base
    if own.state is State.HALF_OPEN:
        return fleet.state is State.CLOSED and not moved
    if own.state is not State.OPEN or fleet.state is State.PAUSED:
        return False
    if moved and fleet.by != RECLOSER:
        return False  # an operator has the last word
    # OPEN never ends early: no healthy neighbour shortens what this process has seen to fail.
    return fleet.state is not State.OPEN or (own.until or 0.0) > (fleet.until or 0.0)


def announce(own: Record, fleet: Facts) -> Step | None:
    """The step by which the fleet takes over a pause that one process decided while it could not ask.

    Args:
        own: that process's record, in the fleet's time.
        fleet: what the fleet knows; its record is the one that the process had when it lost sight of it.
    """
    causes = {State.CLOSED: Cause.THRESHOLD, State.HALF_OPEN: Cause.PROBE_FAILED}
    cause = causes.get(fleet.record.state)
    if own.state is not State.OPEN or own.until is None or own.until <= fleet.now or cause is None:
        return None
    step = _step(fleet, cause, reason=own.reason, until=own.until, trips=own.trips)
    return replace(step, record=replace(step.record, since=own.since))


def threshold(policy: Policy) -> str:
    """The rules of ``policy`` that can trip, in words."""
    window = format_duration(policy.window)
    rules: list[str] = []
    if policy.failures is not None:
        rules.append(f"{policy.failures} failures in {window}")
    if policy.failure_rate is not None:
        rules.append(f"{policy.failure_rate:.0%} of at least {policy.minimum_calls} calls failing in {window}")
    if policy.slow_rate is not None and policy.slow_after is not None:
        rules.append(
            f"{policy.slow_rate:.0%} of at least {policy.minimum_calls} calls in {window} "
            f"slower than {format_duration(policy.slow_after)}"
        )
    return " or ".join(rules) or "none"


def _crossed(policy: Policy, window: Counts) -> str:
    """The rule that ``window`` crosses, in words with its numbers; empty when it crosses none."""
    rule = ""
    enough = window.calls >= policy.minimum_calls
    if policy.failures is not None and window.failures >= policy.failures:
        rule = f"{window.failures} failure{'s'[: window.failures > 1]}"
    elif enough and policy.failure_rate is not None and window.failures / window.calls >= policy.failure_rate:
        rule = f"{window.failures} of {window.calls} calls failed"
    elif enough and policy.slow_rate is not None and window.slow / window.calls >= policy.slow_rate:
        rule = f"{window.slow} of {window.calls} calls were slow"
    return f"{rule} in {format_duration(policy.window)}" if rule else ""


def _judge_probes(policy: Policy, facts: Facts, jitter: float) -> Step | None:
    tally = facts.tally
    if tally.failures:
        return _trip(policy, facts, Cause.PROBE_FAILED, "a probe failed", jitter)
    passed = tally.successes
    if tally.slow:
        if policy.slow_rate is not None:
            return _trip(policy, facts, Cause.PROBE_FAILED, "a probe was slow", jitter)
        passed += tally.slow
    if passed >= policy.probes:
        return _step(facts, Cause.PROBES_PASSED, reason=str(Cause.PROBES_PASSED))
    return None


def _trip(policy: Policy, facts: Facts, cause: Cause, reason: str, jitter: float) -> Step:
    now, trips = facts.now, _remembered(policy, facts)
    try:
        pause_for = min(policy.cooldown * policy.cooldown_growth**trips, policy.cooldown_max)
    except OverflowError:
        pause_for = policy.cooldown_max
    if trips:
        pause_for *= 1 + jitter
    asked = min(facts.asked_until - now, policy.cooldown_max)
    # While probing, what failed are the probes; the window still holds the failures that tripped it.
    failed = facts.tally if cause is Cause.PROBE_FAILED else facts.window
    if asked > 0 and 2 * failed.limited > failed.failures:
        pause_for = asked
    else:
        # More trips than make the longest pause would only take longer to forget.
        trips += pause_for < policy.cooldown_max or trips == 0
        pause_for = max(pause_for, asked)
    if failed.failures and facts.errors:
        reason = f"{reason}, last: {facts.errors[-1].label}"
    return _step(facts, cause, reason=reason, until=after(now, pause_for), trips=trips)


def _remembered(policy: Policy, facts: Facts) -> int:
    """How many trips count still: one is forgotten for every cooldown of healthy time."""
    record = facts.record
    healthy = facts.now - record.since if record.state is State.CLOSED else 0.0
    return max(0, record.trips - int(healthy / policy.cooldown))


def _step(
    facts: Facts,
    cause: Cause,
    *,
    reason: str,
    by: str = RECLOSER,
    until: float | None = None,
    trips: int | None = None,
) -> Step:
    """The step that the table gives for ``cause``."""
    old = facts.record
    new = replace(
        old,
        # Milliseconds of the backend's clock keep growing even when a backend lost what it knew.
        generation=max(old.generation + 1, int(facts.now * 1000)),
        state=TABLE[old.state, cause].target,
        since=facts.now,
        until=until,
        reason=reason,
        by=by,
        trips=old.trips if trips is None else trips,
    )
    return Step(new, old, cause)
