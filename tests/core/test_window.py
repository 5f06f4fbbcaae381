"""The window counts exactly, forgets nothing late, and at most a bucket early."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recloser.core.window import BUCKETS, Counts, Window

LENGTH = 60.0
WIDTH = LENGTH / BUCKETS
ONE = Counts(calls=1, failures=1)

# Whole milliseconds over a bit more than two windows: many fall into one bucket, many on a boundary.
moments = st.integers(0, 150_000).map(lambda milliseconds: milliseconds / 1000)
counts = st.builds(Counts, *[st.integers(0, 3)] * 6)
outcomes = st.lists(st.tuples(moments, counts), max_size=30)


def filled(happened: list[tuple[float, Counts]]) -> Window:
    """A window to which these were added, in the order given."""
    window = Window()
    for at, each in happened:
        window.add(at, each, LENGTH)
    return window


def recount(happened: list[tuple[float, Counts]], now: float, length: float) -> Counts:
    """What happened less than ``length`` before ``now``, counted one by one."""
    total = Counts()
    for at, each in happened:
        if round(now - at, 6) < length:
            total = total.merged(each)
    return total


def test_a_burst_leaves_exactly_one_length_later() -> None:
    """Failures of one moment count until the window's length has passed, to the microsecond."""
    window = filled([(7.3, ONE)] * 10)
    assert window.totals(7.3 + LENGTH - 0.000_001, LENGTH).failures == 10
    assert window.totals(7.3 + LENGTH, LENGTH) == Counts()


def test_a_bucket_begins_with_its_first_outcome() -> None:
    """Outcomes closer together than a bucket leave together with the first of them, later ones on their own."""
    window = filled([(10.0, ONE), (10.0 + WIDTH - 0.001, ONE), (10.0 + WIDTH, ONE)])
    assert window.totals(70.0 - 0.001, LENGTH).failures == 3
    assert window.totals(70.0, LENGTH).failures == 1
    assert window.totals(71.0, LENGTH).failures == 0


@given(outcomes, moments)
def test_nothing_leaves_late_and_nothing_more_than_a_bucket_early(
    happened: list[tuple[float, Counts]], now: float
) -> None:
    """In whatever order outcomes arrive, totals lie between a recount and one of a window a bucket shorter."""
    known = [each for each in happened if each[0] <= now]
    totals = filled(known).totals(now, LENGTH)
    # Field by field: merging only ever adds.
    for least, got, most in zip(recount(known, now, LENGTH - WIDTH), totals, recount(known, now, LENGTH), strict=True):
        assert least <= got <= most


@given(st.lists(st.tuples(st.integers(0, 150), counts), max_size=30), st.lists(st.integers(0, 150), max_size=10))
def test_outcomes_a_bucket_apart_are_counted_exactly(happened: list[tuple[int, Counts]], asked: list[int]) -> None:
    """Where buckets cannot mix outcomes, totals equal a recount at every moment, asked for as often as you like."""
    window = filled(happened)
    known = [(float(at), each) for at, each in happened]
    for now in sorted(asked):
        assert window.totals(now, LENGTH) == recount(known, now, LENGTH)


@given(st.lists(st.tuples(moments, counts, st.booleans()), max_size=40))
def test_totals_kept_up_to_date_equal_the_sum_of_the_buckets(steps: list[tuple[float, Counts, bool]]) -> None:
    """Adding and asking in any mixture never lets the running totals drift from what the buckets hold."""
    window = Window()
    for at, each, ask in steps:
        window.add(at, each, LENGTH)
        if ask:
            totals = window.totals(at, LENGTH)
            held = Counts()
            for bucket in window._buckets:
                held = held.merged(bucket.counts)
            assert totals == held


def test_the_latest_retry_after_counts_and_leaves_with_its_outcome() -> None:
    """The furthest moment that any provider asked for is kept as long as its outcome is in the window."""
    window = Window()
    assert window.asked_until() == 0.0
    window.add(1.0, ONE, LENGTH, asked_until=500.0)
    window.add(1.1, ONE, LENGTH, asked_until=90.0)
    window.add(30.0, ONE, LENGTH, asked_until=100.0)
    assert window.asked_until() == 500.0
    window.totals(61.0, LENGTH)
    assert window.asked_until() == 100.0
    window.totals(90.0, LENGTH)
    assert window.asked_until() == 0.0


def test_clearing_forgets_everything() -> None:
    """A resumed circuit begins with an empty window."""
    window = Window()
    window.add(1.0, ONE, LENGTH, asked_until=500.0)
    window.clear()
    assert (window.totals(1.0, LENGTH), window.asked_until()) == (Counts(), 0.0)


@given(counts, counts)
def test_counts_add_and_subtract(one: Counts, other: Counts) -> None:
    """Merging and taking away are each other's opposite, field by field."""
    assert one.merged(other) == other.merged(one)
    assert one.merged(other).without(other) == one


def test_successes_are_the_calls_that_were_neither_failed_nor_slow() -> None:
    """Ignored and rejected calls are no part of the whole that rates are a share of."""
    assert Counts(calls=10, failures=3, slow=2, ignored=50, rejected=50).successes == 5
