"""The pace: at once when it matters, and together never more than a server can bear."""

from __future__ import annotations

import pytest

from recloser.pace import Pace


def test_the_first_delivery_goes_at_once_and_the_next_waits_for_a_gap() -> None:
    """A failure after a quiet time waits for nothing; a storm of them is fifty deliveries a second."""
    pace = Pace()
    assert pace.free(0.0)
    pace.answered(0.0, 0.001)
    assert not pace.free(0.02)
    assert pace.free(0.022)


def test_a_slow_backend_is_asked_less_often() -> None:
    """Half of the time at the most is spent on waiting for answers."""
    pace = Pace()
    pace.answered(0.0, 0.2)
    assert pace.not_before(0.0) == pytest.approx(0.6)


@pytest.mark.parametrize("processes", [1, 100, 500, 1000, 10_000])
def test_the_load_of_a_fleet_is_bounded_however_large_it_is(processes: int) -> None:
    """At most some five hundred ticks and fifteen hundred failing deliveries a second, from all processes together."""
    pace = Pace(processes=processes)
    assert processes / pace.length <= 500.1
    pace.answered(0.0, 0.0)
    assert processes / pace.not_before(0.0) <= 1500.1
    assert pace.alive > 2 * pace.length


def test_a_lost_backend_is_tried_slower_and_slower_but_never_given_up() -> None:
    """The first tries come within tenths of a second, the later ones within a few seconds, each process's apart."""
    pace, now, waits = Pace(), 0.0, []
    for _ in range(40):
        pace.failed(now, 0.5)
        waits.append(pace.not_before(now) - now)
        now += waits[-1]
    assert waits[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert waits[-1] == pytest.approx(2.0)
    early, late = Pace(), Pace()
    early.failed(0.0, 0.0)
    late.failed(0.0, 0.999)
    assert early.not_before(0.0) < late.not_before(0.0)


def test_a_hurry_does_not_reach_a_backend_that_is_lost() -> None:
    """What cannot wait for the gap still waits for the next try."""
    pace = Pace()
    pace.answered(0.0, 0.0)
    pace.hurry()
    assert pace.free(0.0)
    pace.failed(0.0, 0.5)
    pace.hurry()
    assert not pace.free(0.05)
