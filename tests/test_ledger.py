"""The ledger: nothing that may still count is lost, and an outage of any length leaves a bounded rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recloser.backends import Delivery, Seat
from recloser.core.events import ErrorSample
from recloser.core.window import BUCKETS, NOTHING, Counts
from recloser.ledger import Ledger, merged, total

WINDOW = 60.0
FAILURE = Counts(calls=1, failures=1)


def failed(at: float, **more: object) -> Delivery:
    return Delivery(1, at, FAILURE, **more)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 200), max_size=2000).map(sorted))
def test_what_is_in_the_window_is_all_there(moments: list[int]) -> None:
    """However much was merged on the way, the counts inside the window are exact."""
    ledger, now = Ledger(), float(max(moments, default=0))
    for at in moments:
        ledger.add([failed(float(at))], float(at), WINDOW)
    kept = [each for each in ledger.take() if now - each.at < WINDOW - WINDOW / BUCKETS]
    expected = [at for at in moments if now - at < WINDOW - WINDOW / BUCKETS]
    assert total(kept, 1).failures >= len(expected)
    assert not ledger


def test_an_outage_of_a_day_leaves_a_bounded_rest() -> None:
    """Memory stays that of a window, however long the backend is away and whatever was reported."""
    ledger = Ledger()
    for second in range(86_400):
        key = f"call-{second}" if second % 3 else None
        ledger.add([failed(float(second), once=key, retry_after=5.0)], float(second), WINDOW)
    assert len(ledger.take()) <= 5 * BUCKETS


def test_keys_beyond_all_measure_are_counted_without() -> None:
    """A thousand keys wait as they are; what comes on top counts all the same."""
    ledger = Ledger()
    for number in range(5000):
        ledger.add([failed(0.0, once=f"call-{number}")], 0.0, WINDOW)
    rest = ledger.take()
    assert total(rest, 1).failures == 5000
    assert len(rest) < 1600


def test_merging_keeps_what_was_asked_for_and_seen() -> None:
    """The latest Retry-After, every distinct error, and the age of the first outcome in a bucket."""
    ledger = Ledger()
    for number in range(4 * BUCKETS + 1):
        sample = ErrorSample(f"E{number % 2}", "text", "server", 1, 1.0)
        ledger.add([failed(1.0 + number / 10_000, retry_after=float(number % 7), errors=(sample,))], 2.0, WINDOW)
    (merged,) = ledger.take()
    assert (merged.at, merged.counts.failures) == (1.0, 4 * BUCKETS + 1)
    assert merged.at + (merged.retry_after or 0.0) > 1.0 + 6
    assert {(each.label, each.count) for each in merged.errors} == {("E0", 241), ("E1", 240)}


def test_generations_are_kept_apart() -> None:
    """What belongs to two states is never merged, and one of them can be given another number."""
    ledger = Ledger()
    for _ in range(4 * BUCKETS):
        ledger.add([failed(0.0), Delivery(2, 0.0, FAILURE)], 0.0, WINDOW)
    ledger.relabel(2, 3)
    assert ledger.counts(1).failures == ledger.counts(3).failures == 4 * BUCKETS
    assert ledger.counts(2) == NOTHING


def test_a_permit_on_its_way_back_is_never_merged_or_forgotten() -> None:
    """Closing a circuit empties its window, but a permit still goes back."""
    seat, ledger = Seat("probe", "1"), Ledger()
    ledger.add([failed(0.0, gives_back=seat)], 0.0, WINDOW)
    for _ in range(4 * BUCKETS):
        ledger.add([failed(100.0)], 100.0, WINDOW)
    ledger.forget()
    (rest,) = ledger.take()
    assert (rest.gives_back, rest.counts) == (seat, NOTHING)


def test_what_could_not_be_delivered_comes_back_first() -> None:
    """Order is kept: what happened earlier is delivered earlier."""
    ledger = Ledger()
    ledger.add([failed(1.0)], 1.0, WINDOW)
    taken = ledger.take()
    ledger.add([failed(2.0)], 2.0, WINDOW)
    ledger.returned(taken)
    assert [each.at for each in ledger.take()] == [1.0, 2.0]


def test_a_key_that_is_reported_again_is_one_failure() -> None:
    """A call that reports its failure five thousand times before anybody carries it is still one."""
    ledger = Ledger()
    for number in range(5000):
        ledger.add([failed(0.0, once=f"call-{number % 10}"), Delivery(2, 0.0, FAILURE, once="call-0")], 0.0, WINDOW)
    ledger.add([failed(1.0, once=f"call-{number}") for number in range(4 * BUCKETS)], 1.0, WINDOW)
    rest = ledger.take()
    assert total(rest, 1).failures == 4 * BUCKETS
    assert total(rest, 2).failures == 1


def test_keys_beyond_all_measure_are_still_told_apart_where_they_are_merged() -> None:
    """What is counted without its key is not counted twice for that."""
    reports = [failed(0.0, once=f"call-{number % 2000}") for number in range(6000)]
    assert total(merged(reports, 0.0, WINDOW), 1).failures == 2000
