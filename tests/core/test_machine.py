"""Every transition of the table is made when it is due, for as long as it should be, and no other one is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core import machine
from recloser.core.events import ErrorSample, EventKind
from recloser.core.machine import RECLOSER, TABLE, Cause, Facts, Record, State, Step
from recloser.core.outcome import Outcome
from recloser.core.policy import Policy
from recloser.core.window import Counts

MINUTE = 60.0
TRIPS_AT_3 = Policy(failures=3)


def failed(failures: int, calls: int = 0, **more: int) -> Counts:
    """Counts with so many failures, of at least as many calls."""
    return Counts(calls=max(calls, failures), failures=failures, **more)


def facts(
    state: State = State.CLOSED, now: float = 1000.0, *, record: dict[str, Any] | None = None, **more: Any
) -> Facts:
    """Facts about a circuit in ``state``, which has lasted for no time unless the record says so."""
    return Facts(Record(**{"generation": 1, "state": state, "since": now, **(record or {})}), now, **more)


def taken(step: Step | None) -> Step:
    """The step, which must be there."""
    assert step is not None
    return step


def pause_of(step: Step | None) -> float:
    """How long the pause is that this step begins."""
    record = taken(step).record
    assert record.state is State.OPEN
    assert record.until is not None
    return record.until - record.since


def tripped(policy: Policy = TRIPS_AT_3, *, jitter: float = 0.0, **known: Any) -> float:
    """The length of the pause of a circuit that was closed and has three failures in its window."""
    return pause_of(machine.decide(policy, facts(**{"window": failed(3), **known}), jitter))


# -- the table ---------------------------------------------------------------------------------------------------------

OVER = {"until": 1000.0}
REACHED = [
    machine.decide(TRIPS_AT_3, facts(window=failed(3))),
    machine.decide(Policy(), facts(State.OPEN, record=OVER)),
    machine.decide(Policy(probes=0), facts(State.OPEN, record=OVER)),
    machine.decide(Policy(), facts(State.HALF_OPEN, tally=Counts(calls=1))),
    machine.decide(Policy(), facts(State.HALF_OPEN, tally=failed(1))),
    machine.decide(Policy(), facts(State.PAUSED, record=OVER)),
    machine.decide(Policy(probes=0), facts(State.PAUSED, record=OVER)),
    *(machine.pause(Policy(), facts(state), "maintenance", "ann", None) for state in State),
    *(machine.resume(Policy(), facts(state, window=failed(1)), "ann") for state in State),
]

policies = st.builds(
    Policy,
    failures=st.none() | st.integers(1, 5),
    failure_rate=st.none() | st.floats(0.01, 1),
    slow_rate=st.none() | st.floats(0.01, 1),
    slow_after=st.just(1),
    minimum_calls=st.integers(1, 5),
    cooldown=st.integers(1, 100),
    cooldown_growth=st.floats(1, 5),
    cooldown_max=st.integers(100, 1000),
    probes=st.integers(0, 3),
)
tallies = st.builds(
    lambda well, bad, slow, ignored, limited: Counts(well + bad + slow, bad, slow, ignored, 0, min(limited, bad)),
    *[st.integers(0, 5)] * 5,
)
records = st.builds(
    Record,
    generation=st.integers(0, 2_000_000),
    state=st.sampled_from(State),
    since=st.integers(0, 1000),
    until=st.none() | st.integers(900, 1100),
    trips=st.integers(0, 5),
)
known = st.builds(
    Facts, record=records, now=st.integers(1000, 1050), window=tallies, tally=tallies, asked_until=st.integers(0, 3000)
)


def test_every_row_of_the_table_is_reached() -> None:
    """The table has no row that nothing leads to, and each leads where its row says, with its event."""
    steps = [taken(step) for step in REACHED]
    assert {(step.previous.state, step.cause) for step in steps} == set(TABLE)
    assert len(steps) == len(TABLE)
    for step in steps:
        edge = TABLE[step.previous.state, step.cause]
        assert (step.record.state, step.event) == (edge.target, edge.event)


@given(policies, known, st.floats(0, 0.1), st.sampled_from(["decide", "trip", "pause", "resume"]))
def test_nothing_but_the_table_happens(policy: Policy, about: Facts, jitter: float, asked: str) -> None:
    """Whatever the facts, a step is a row of the table, begins now, in a new generation, and its pause ends later."""
    step = {
        "decide": lambda: machine.decide(policy, about, jitter),
        "trip": lambda: machine.trip(policy, about, "by a test", jitter),
        "pause": lambda: machine.pause(policy, about, "maintenance", "ann", 5),
        "resume": lambda: machine.resume(policy, about, "ann"),
    }[asked]()
    if step is None:
        return
    assert step.previous is about.record
    assert step.record.state is TABLE[step.previous.state, step.cause].target
    assert step.record.generation > step.previous.generation
    assert step.record.since == about.now
    assert (step.record.until is not None) == (step.record.state in (State.OPEN, State.PAUSED))
    assert step.record.until is None or step.record.until > about.now
    assert step.record.by == ("ann" if asked in ("pause", "resume") else RECLOSER)


@given(policies, known)
def test_a_pause_is_never_ended_early(policy: Policy, about: Facts) -> None:
    """Before its time nothing that was counted moves a circuit out of OPEN or PAUSED; without one nothing ever does."""
    if about.record.state not in (State.OPEN, State.PAUSED):
        return
    due = about.record.until is not None and about.now >= about.record.until
    assert (machine.decide(policy, about) is not None) == due


def test_generations_grow_even_when_a_backend_forgot_them() -> None:
    """The number of a state follows the one before, or the backend's clock where that is further."""
    assert machine.initial(5.0) == Record(generation=0, state=State.CLOSED, since=5.0, by=RECLOSER)
    for now, before, after in [(0.001, 7, 8), (50.0, 7, 50_000), (50.0, 50_000, 50_001)]:
        step = machine.pause(Policy(), facts(now=now, record={"generation": before}), "maintenance", "ann", None)
        assert step.record.generation == after


# -- tripping ----------------------------------------------------------------------------------------------------------

RATE = Policy(failures=None, failure_rate=0.5, minimum_calls=4)
SLOW = Policy(failures=None, slow_after=2, slow_rate=0.5, minimum_calls=4)


@pytest.mark.parametrize(
    ("policy", "window", "reason"),
    [
        (TRIPS_AT_3, failed(2, 100), None),
        (TRIPS_AT_3, failed(3, 100), "3 failures in 5m"),
        (TRIPS_AT_3, failed(7, 100), "7 failures in 5m"),
        (Policy(failures=1), failed(1), "1 failure in 5m"),
        (Policy(failures=None), failed(1000), None),
        (TRIPS_AT_3, Counts(ignored=99, rejected=99), None),
        (RATE, failed(3), None),
        (RATE, failed(1, 4), None),
        (RATE, failed(2, 4), "2 of 4 calls failed in 5m"),
        (RATE, failed(3, 4, ignored=50, rejected=50), "3 of 4 calls failed in 5m"),
        (SLOW, Counts(calls=3, slow=3), None),
        (SLOW, Counts(calls=4, slow=1, failures=1), None),
        (SLOW, Counts(calls=4, slow=2), "2 of 4 calls were slow in 5m"),
        (replace(RATE, slow_after=2, slow_rate=1), Counts(4, 2, 2), "2 of 4 calls failed in 5m"),
        (Policy(slow_after=2, minimum_calls=1), Counts(calls=9, slow=9), None),
    ],
)
def test_a_closed_circuit_trips_at_its_threshold(policy: Policy, window: Counts, reason: str | None) -> None:
    """A count trips at its number, a share once there are enough calls; ignored and rejected calls are in neither."""
    step = machine.decide(policy, facts(window=window))
    assert (step and step.record.reason) == reason


@pytest.mark.parametrize("rate", [0.07, 0.14, 0.29, 0.55, 0.57, 0.58])
def test_a_share_met_exactly_trips(rate: float) -> None:
    """At least this share includes the share itself, for every number that people write."""
    step = machine.decide(replace(RATE, failure_rate=rate), facts(window=failed(round(100 * rate), 100)))
    assert step is not None


def test_the_reason_names_the_last_error() -> None:
    """People are told the rule, its numbers, and what was seen last."""
    errors = tuple(ErrorSample(label, "", "server", 1, 0.0) for label in ("TimeoutError", "APIStatusError 503"))
    step = taken(machine.decide(TRIPS_AT_3, facts(window=failed(3), errors=errors)))
    assert step.record.reason == "3 failures in 5m, last: APIStatusError 503"
    assert (step.event, step.record.by) == (EventKind.TRIPPED, RECLOSER)


@pytest.mark.parametrize(
    ("state", "cause"),
    [(State.CLOSED, Cause.THRESHOLD), (State.HALF_OPEN, Cause.PROBE_FAILED), (State.OPEN, None), (State.PAUSED, None)],
)  # fmt: skip
def test_a_trip_for_a_reason_of_ones_own(state: State, cause: Cause | None) -> None:
    """Tests trip circuits by hand; one that is paused already stays as it is."""
    step = machine.trip(Policy(), facts(state), "tripped by a test")
    assert (step and step.cause) == cause
    assert (step and step.record.reason) == (cause and "tripped by a test")


@pytest.mark.parametrize(
    ("policy", "window", "expected"),
    [
        (RATE, failed(3, 3), True),
        (RATE, failed(0, 3), False),
        (RATE, failed(3, 4), False),
        (SLOW, Counts(calls=3, slow=1), True),
        (SLOW, failed(1, 3), False),
        (Policy(), failed(9), False),
    ],
)
def test_a_success_can_complete_the_minimum(policy: Policy, window: Counts, expected: bool) -> None:  # noqa: FBT001
    """Successes are looked at one by one exactly while one of them may be the call that the rates are waiting for."""
    assert machine.success_may_trip(policy, window) is expected


@given(policies, tallies)
def test_a_success_that_nobody_looks_at_never_trips(policy: Policy, window: Counts) -> None:
    """Where a success need not be looked at, one more of them makes no difference to a circuit that has not tripped."""
    with_one_more = window.merged(Counts(calls=1))
    if machine.decide(policy, facts(window=window)) is None and not machine.success_may_trip(policy, window):
        assert machine.decide(policy, facts(window=with_one_more)) is None


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(), "10 failures in 5m"),
        (Policy(failures=None), "none"),
        (RATE, "50% of at least 4 calls failing in 5m"),
        (
            replace(SLOW, failures=5),
            "5 failures in 5m or 50% of at least 4 calls in 5m slower than 2s",
        ),
    ],
)
def test_the_rules_in_words(policy: Policy, words: str) -> None:
    """Alerts and explanations say which rules there are."""
    assert machine.threshold(policy) == words


# -- how long ----------------------------------------------------------------------------------------------------------


def test_each_trip_lengthens_the_pause_up_to_the_longest() -> None:
    """15 minutes, half an hour, an hour, and no longer; a growth of 1 keeps the length."""
    pauses = [tripped(record={"trips": trips}) / MINUTE for trips in range(5)]
    assert pauses == [15, 30, 60, 60, 60]
    assert tripped(replace(TRIPS_AT_3, cooldown_growth=1), record={"trips": 9}) == 15 * MINUTE
    assert tripped(replace(TRIPS_AT_3, cooldown_growth=1.5), record={"trips": 1}) == 22.5 * MINUTE


def test_growth_beyond_all_numbers_is_the_longest_pause() -> None:
    """A circuit that tripped thousands of times pauses for the longest time, and no arithmetic breaks."""
    assert tripped(record={"trips": 100_000}) == 60 * MINUTE


@pytest.mark.parametrize(("healthy", "left"), [(0, 2), (14.99, 2), (15, 1), (29.99, 1), (30, 0), (1000, 0)])
def test_trips_are_forgotten_one_by_one_with_healthy_time(healthy: float, left: int) -> None:
    """Every cooldown's length in CLOSED takes one trip away, never more than there are."""
    about = facts(record={"trips": 2, "since": 1000.0 - healthy * MINUTE}, window=failed(3))
    record = taken(machine.decide(TRIPS_AT_3, about)).record
    assert record.until == 1000.0 + 15 * 2**left * MINUTE
    assert record.trips == min(left + 1, 2)


def test_trips_beyond_the_longest_pause_are_not_remembered() -> None:
    """A trip that cannot lengthen the next pause need not be forgotten either; the first one always is remembered."""
    for trips, policy in [(2, TRIPS_AT_3), (1, replace(TRIPS_AT_3, cooldown=60, cooldown_max=60))]:
        assert taken(machine.decide(policy, facts(record={"trips": trips}, window=failed(3)))).record.trips == trips
    assert taken(machine.decide(policy, facts(window=failed(3)))).record.trips == 1


def test_an_operator_does_not_bring_forgotten_trips_back() -> None:
    """A day of health counts, even when somebody pauses and resumes the circuit at the end of it."""
    long_closed = Facts(Record(generation=1, since=0.0, trips=2), now=86_400.0)
    paused = machine.pause(TRIPS_AT_3, long_closed, "maintenance", "ann", None).record
    resumed = taken(machine.resume(TRIPS_AT_3, Facts(paused, now=86_401.0), "ann")).record
    again = Facts(resumed, now=86_402.0, window=failed(3))
    assert pause_of(machine.decide(TRIPS_AT_3, again)) == 15 * MINUTE


def test_only_healthy_time_forgets_trips() -> None:
    """A failed probe lengthens the pause however long the tests took."""
    about = facts(State.HALF_OPEN, record={"trips": 1, "since": 0.0}, tally=failed(1))
    step = taken(machine.decide(Policy(), about))
    assert (step.record.trips, pause_of(step)) == (2, 30 * MINUTE)


@given(st.integers(0, 5), st.floats(0, 0.5))
def test_jitter_only_ever_adds_and_never_to_the_first_pause(trips: int, jitter: float) -> None:
    """The first pause is exactly the cooldown; jitter stretches later ones, beyond the longest if need be."""
    plain, jittered = (tripped(record={"trips": trips}, jitter=each) for each in (0.0, jitter))
    assert jittered == (plain if trips == 0 else pytest.approx(plain * (1 + jitter)))


# -- Retry-After -------------------------------------------------------------------------------------------------------


def asked_for(minutes: float, limited: int, failures: int = 3) -> dict[str, Any]:
    """Facts of a window with so many rate limits among its failures, whose Retry-After is so far away."""
    return {"asked_until": 1000.0 + minutes * MINUTE, "window": failed(failures, limited=limited)}


@pytest.mark.parametrize(("asked", "pause"), [(0.5, 0.5), (15, 15), (40, 40), (60, 60), (600, 60)])
def test_rate_limits_pause_for_what_the_provider_asked(asked: float, pause: float) -> None:
    """Shorter than the cooldown, longer, and up to cooldown_max: a trip of rate limits lasts as long as was asked."""
    assert tripped(**asked_for(asked, limited=3)) == pause * MINUTE


def test_rate_limits_do_not_lengthen_later_pauses() -> None:
    """A trip of rate limits is not remembered as a trip, and earlier trips do not lengthen it."""
    step = taken(machine.decide(TRIPS_AT_3, facts(record={"trips": 2}, **asked_for(1, limited=3)), 0.1))
    assert (pause_of(step), step.record.trips) == (MINUTE, 2)


@pytest.mark.parametrize(("limited", "failures", "mostly"), [(1, 3, False), (2, 4, False), (2, 3, True), (3, 5, True)])
def test_mostly_means_more_than_half(limited: int, failures: int, mostly: bool) -> None:  # noqa: FBT001
    """A trip belongs to rate limits when they are more than half of its failures, not when they are just half."""
    assert tripped(**asked_for(1, limited, failures)) == (1 if mostly else 15) * MINUTE


@pytest.mark.parametrize(("asked", "pause"), [(1, 15), (40, 40), (600, 60)])
def test_other_failures_honour_a_longer_retry_after(asked: float, pause: float) -> None:
    """A 503 with Retry-After pauses at least as long as the cooldown, longer when asked, up to cooldown_max."""
    step = taken(machine.decide(TRIPS_AT_3, facts(**asked_for(asked, limited=0))))
    assert (pause_of(step), step.record.trips) == (pause * MINUTE, 1)


@pytest.mark.parametrize("until", [0.0, 999.0, 1000.0])
def test_a_retry_after_that_has_passed_asks_for_nothing(until: float) -> None:
    """Rate limits without a Retry-After, or with one that is over, pause for the cooldown."""
    assert tripped(window=failed(3, limited=3), asked_until=until) == 15 * MINUTE


def test_a_limited_probe_is_judged_by_the_probes_alone() -> None:
    """While testing, a rate limit decides the pause although the window still holds the failures of the outage."""
    about = facts(State.HALF_OPEN, **{**asked_for(1, limited=0), "tally": failed(1, limited=1)}, record={"trips": 1})
    step = taken(machine.decide(Policy(), about))
    assert (pause_of(step), step.record.trips) == (MINUTE, 1)


# -- testing the provider ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "tally", "cause"),
    [
        (Policy(), Counts(), None),
        (Policy(), Counts(ignored=5, rejected=5), None),
        (Policy(), Counts(calls=1), Cause.PROBES_PASSED),
        (Policy(), failed(1), Cause.PROBE_FAILED),
        (Policy(probes=3), Counts(calls=2), None),
        (Policy(probes=3), Counts(calls=3), Cause.PROBES_PASSED),
        (Policy(probes=3), failed(1, 3), Cause.PROBE_FAILED),
        (Policy(slow_after=1), Counts(calls=1, slow=1), Cause.PROBES_PASSED),
        (Policy(slow_after=1, slow_rate=0.9), Counts(calls=1, slow=1), Cause.PROBE_FAILED),
        (Policy(probes=2, slow_after=1, slow_rate=0.9), Counts(calls=2, slow=1), Cause.PROBE_FAILED),
        (Policy(probes=0), Counts(), Cause.PROBES_PASSED),
    ],
)
def test_probes_decide(policy: Policy, tally: Counts, cause: Cause | None) -> None:
    """All probes must succeed; a failed one is enough, and so is a slow one where slowness can trip."""
    step = machine.decide(policy, facts(State.HALF_OPEN, tally=tally, window=failed(99)))
    assert (step and step.cause) == cause


@pytest.mark.parametrize(
    ("tally", "reason"), [(failed(1), "a probe failed"), (Counts(calls=1, slow=1), "a probe was slow")]
)
def test_a_retrip_says_what_the_probe_did(tally: Counts, reason: str) -> None:
    """Whoever reads the reason knows whether the probe failed or was slow."""
    step = taken(machine.decide(Policy(slow_after=1, slow_rate=1), facts(State.HALF_OPEN, tally=tally)))
    assert (step.record.reason, step.event) == (reason, EventKind.RETRIPPED)


@pytest.mark.parametrize("state", [State.OPEN, State.PAUSED])
def test_a_pause_that_is_over_is_tested(state: State) -> None:
    """At the very moment of its end a circuit goes to HALF_OPEN, or with probes = 0 straight to CLOSED."""
    assert machine.decide(Policy(), facts(state, now=999.999_999, record=OVER)) is None
    assert taken(machine.decide(Policy(), facts(state, record=OVER))).record.state is State.HALF_OPEN
    untested = taken(machine.decide(Policy(probes=0), facts(state, record=OVER)))
    assert (untested.record.state, untested.event) == (State.CLOSED, EventKind.RESUMED)


# -- operators ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "outcome", "probe", "expected"),
    [
        (Policy(), Outcome.SUCCESS, False, Counts(calls=1)),
        (Policy(), Outcome.FAILURE, False, failed(1)),
        (Policy(), Outcome.SLOW, True, Counts(calls=1, slow=1)),
        (Policy(), Outcome.IGNORED, True, Counts(ignored=1)),
        (Policy(), Outcome("failure", "rate_limit"), True, failed(1, limited=1)),
        (Policy(), Outcome("ignored", "rate_limit"), False, Counts(ignored=1)),
        (Policy(), Outcome("slow", "cancelled"), False, Counts(calls=1, slow=1)),
        (Policy(), Outcome("slow", "cancelled"), True, Counts(ignored=1)),
        (SLOW, Outcome("slow", "cancelled"), True, Counts(calls=1, slow=1)),
    ],
)
def test_what_an_outcome_counts_as(policy: Policy, outcome: Outcome, expected: Counts, *, probe: bool) -> None:
    """Every outcome is counted once; a probe that nobody saw the answer of does not pass for a slow one."""
    assert machine.counted(policy, outcome, probe=probe) == expected


@pytest.mark.parametrize("state", State)
def test_an_operator_can_pause_whatever_the_state(state: State) -> None:
    """A pause lasts as long as it was given, or until it is resumed, and keeps the memory of trips."""
    for length, until in [(None, None), (90, 1090.0)]:
        record = machine.pause(Policy(), facts(state, record={"trips": 2}), "maintenance", "ann", length).record
        assert (record.state, record.reason, record.by) == (State.PAUSED, "maintenance", "ann")
        assert (record.until, record.trips) == (until, 2)


def test_an_endless_pause_is_touched_by_nothing() -> None:
    """Failures, successes and years of time do not move a circuit that only an operator can resume."""
    for counts in (failed(1000), Counts(calls=1000)):
        assert machine.decide(Policy(failures=1), facts(State.PAUSED, now=1e9, window=counts, tally=counts)) is None


@pytest.mark.parametrize("state", State)
def test_an_operator_can_resume_whatever_the_state(state: State) -> None:
    """Resuming closes the circuit at once, signed by who did it, and keeps the memory of trips."""
    step = taken(machine.resume(Policy(), facts(state, window=failed(1), record={"trips": 2, "until": 2000.0}), "ann"))
    assert (step.record.state, step.record.by, step.record.until) == (State.CLOSED, "ann", None)
    assert (step.record.trips, step.event) == (2, EventKind.RESUMED_BY_HAND)


def test_there_is_nothing_to_resume_in_a_closed_circuit_with_an_empty_window() -> None:
    """Resuming twice is one event; a closed circuit is resumed only to empty its window."""
    assert machine.resume(Policy(), facts(), "ann") is None
    assert machine.resume(Policy(), facts(window=Counts(rejected=1)), "ann") is not None
