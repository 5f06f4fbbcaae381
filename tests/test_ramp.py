"""The ramp: after a pause work begins again little by little, over a whole fleet, and never for longer than needed."""

from __future__ import annotations

import itertools
import random

import anyio
import pytest

from recloser import PausedError, State, await_until_allowed, circuit, fallback, requires, wait_until_allowed
from recloser.core.machine import Record
from recloser.ramp import Ramp
from tests.test_waiting import STT, TTS_A, TTS_B, advance, tasks_waiting


def paused_for(recloser, length, name=STT):
    """A pause by hand of this length, and the resume."""
    recloser.pause(name, reason="maintenance", by="ada")
    recloser.clock.advance(length)
    recloser.heal(name)


def begins(**how):
    """Whether one more piece of work may begin now."""
    try:
        wait_until_allowed(STT, timeout=0, **how)
    except PausedError:
        return False
    return True


# -- in one process ---------------------------------------------------------------------------------------------------


async def test_hundreds_that_waited_double_with_each_tenth_of_the_ramp(recloser):
    """One begins at once, and after each three of thirty seconds twice as many have: never a stampede."""
    recloser.pause(STT, reason="maintenance", by="ada")
    async with tasks_waiting(500, STT, ramp="30s") as begun:
        await advance(recloser.clock, 600, 60)
        recloser.heal(STT)
        await anyio.wait_all_tasks_blocked()
        await advance(recloser.clock, 30, 0.25)
        assert len(begun) == 500
    moments = [moment - 600 for moment in begun]
    assert [sum(moment <= tenth * 3 for moment in moments) for tenth in range(9)] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    per_second = [sum(second < moment <= second + 3 for moment in moments) / 3 for second in range(0, 30, 3)]
    assert per_second == [1 / 3, 2 / 3, 4 / 3, 8 / 3, 16 / 3, 32 / 3, 64 / 3, 128 / 3, 244 / 3, 0]


def test_a_dispatcher_that_is_let_through_again_and_again_keeps_to_the_same_curve(recloser):
    """Each return counts, so that one loop that starts a task for every lead is no stampede either."""
    paused_for(recloser, "10m")
    begun = [0]
    for _ in range(10):
        begun.append(begun[-1] + sum(begins(ramp="30s") for _ in range(1000)))
        recloser.clock.advance("3s")
    assert begun[1:] == [2**tenth for tenth in range(10)]
    assert [begins(ramp="30s") for _ in range(1000)] == [True] * 1000


def test_who_is_kept_in_line_is_told_so(recloser):
    """The error says that the circuit is closed, for how long it has been, and when it is worth coming again."""
    paused_for(recloser, "10m")
    assert begins()
    recloser.clock.advance("1s")
    with pytest.raises(PausedError, match="little by little") as caught:
        wait_until_allowed(STT, timeout=0)
    assert (caught.value.state, caught.value.since, caught.value.retry_after) == (State.CLOSED, 600, 2)


async def test_no_ramp_lets_everybody_go_at_once(recloser):
    """``ramp=None`` is for who has a pace of their own."""
    recloser.pause(STT, reason="maintenance", by="ada")
    async with tasks_waiting(100, STT, ramp=None) as begun:
        await advance(recloser.clock, 600, 60)
        recloser.heal(STT)
    assert begun == [600] * 100


def test_a_ramp_is_not_longer_than_the_pause_was(recloser):
    """A hiccup of two seconds costs two seconds at the most."""
    paused_for(recloser, "2s")
    assert [begins(), begins()] == [True, False]
    recloser.clock.advance("200ms")
    assert [begins(), begins()] == [True, False]
    recloser.clock.advance("1.8s")
    assert [begins() for _ in range(100)] == [True] * 100


def test_a_pause_is_as_long_as_it_was_until_it_was_over_for_good(recloser):
    """Probes that failed in between do not shorten it."""
    circuit(STT, cooldown="1m", cooldown_growth=1.0)
    recloser.trip(STT)
    recloser.clock.advance("1m")
    circuit(STT).record_failure()
    recloser.clock.advance("1m")
    circuit(STT)(lambda: None)()
    assert circuit(STT).state is State.CLOSED
    recloser.engine.replica(STT).ramp._begun = 1000
    recloser.clock.advance("29s")
    assert not begins()


async def test_a_new_outage_ends_the_line_and_the_next_resume_begins_another(recloser):
    """Nobody goes because a place in an old line has come up."""
    recloser.pause(STT, reason="maintenance", by="ada")
    async with tasks_waiting(10, STT) as begun:
        await advance(recloser.clock, 60, 60)
        recloser.heal(STT)
        await anyio.wait_all_tasks_blocked()
        await advance(recloser.clock, 3)
        recloser.pause(STT, reason="again", by="ada")
        await advance(recloser.clock, 60)
        assert begun == [60, 63]
        recloser.heal(STT)
        await anyio.wait_all_tasks_blocked()
        await advance(recloser.clock, 30)
    assert begun[2:4] == [123, 126]
    assert len(begun) == 10


def test_the_trial_that_tests_a_circuit_is_in_no_line(recloser):
    """Trials are few already."""
    recloser.trip(STT)
    recloser.clock.advance("15m")
    assert begins()
    circuit(STT)(lambda: None)()
    assert [begins(), begins()] == [True, False]


def test_a_fallback_is_as_good_as_its_provider_that_was_closed_longest(recloser):
    """Work that a healthy provider takes is not held up because another one has come back."""
    speak = fallback(TTS_A, TTS_B)
    paused_for(recloser, "10m", TTS_A)
    for _ in range(10):
        wait_until_allowed(speak, timeout=0)
    recloser.trip(TTS_B)
    wait_until_allowed(speak, timeout=0)
    with pytest.raises(PausedError, match="little by little"):
        wait_until_allowed(speak, timeout=0)


def test_whoever_needs_two_keeps_to_both_ramps(recloser):
    """The later turn counts, and a line that it does not stand in any more is left."""
    paused_for(recloser, "10m", STT)
    paused_for(recloser, "10m", "twilio")
    needed = requires(STT, "twilio")
    wait_until_allowed(needed, timeout=0)
    with pytest.raises(PausedError) as caught:
        wait_until_allowed(needed, timeout=0)
    assert caught.value.circuit == "twilio"
    assert not recloser.engine.replica("twilio").ramp._line


async def test_a_line_is_left_when_another_provider_needs_none(recloser):
    """Whoever stood in line for the one begins with the other."""
    for name in (TTS_A, TTS_B):
        recloser.pause(name, reason="maintenance", by="ada")
    async with tasks_waiting(2, fallback(TTS_A, TTS_B)) as begun:
        await advance(recloser.clock, 60, 60)
        recloser.heal(TTS_A)
        await anyio.wait_all_tasks_blocked()
        assert begun == [60]
        other = recloser.engine.replica(TTS_B)
        recloser.clock.advance(0.5)
        recloser.heal(TTS_B)
        # As if this one had been closed long before.
        other.ramp.closed_at = -100.0
        other.changes.tell()
        await anyio.wait_all_tasks_blocked()
        assert begun == [60, 60.5]
    assert not recloser.engine.replica(TTS_A).ramp._line


async def test_whoever_gives_up_holds_up_nobody(recloser):
    """Timeouts in a ramp take no place from those who stay."""
    paused_for(recloser, "10m")
    assert begins()
    for _ in range(100):
        assert not begins()
    recloser.clock.advance("3s")
    await await_until_allowed(STT, timeout=0)


# -- over a fleet -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [2, 10, 100])
def test_the_processes_of_a_fleet_keep_to_one_curve_together(processes, monkeypatch):
    """Each takes its share of the places, from one that it draws; nobody has to know of the others."""
    monkeypatch.setattr(random, "random", random.Random(processes).random)  # the same draws in every run
    length, rounds = 30.0, 20
    moments = []
    for _ in range(rounds * processes):
        ramp = Ramp(exact=False)
        ramp.shows(Record(1, State.OPEN), 0.0, 0.0)
        ramp.shows(Record(2, State.CLOSED), 600.0, 0.0)
        for each in itertools.count():
            moment = ramp.turn(each, 600.0, length, processes) - 600
            if moment > length:
                break
            moments.append(moment)
    for tenth in range(11):
        begun = sum(moment <= tenth * 3 for moment in moments) / rounds
        assert 0.5 * 2**tenth < begun < 2 * 2**tenth


def test_a_process_that_starts_within_a_ramp_keeps_to_it():
    """Autoscaling during a recovery is no stampede; what was closed for long, or was never paused, is free."""
    for age, generation, free in ((1.0, 5, False), (31.0, 5, True), (1.0, 0, True), (1.0, -1, True)):
        ramp = Ramp(exact=True)
        ramp.shows(Record(generation, State.CLOSED), 100.0, age)
        turns = [ramp.turn(each, 100.0, 30.0, 1) for each in range(2)]
        assert (turns[1] < 100) is free, (age, generation)


def test_a_line_of_the_parent_is_none_in_a_forked_child():
    """Whoever stands in it, stands there."""
    ramp = Ramp(exact=True)
    ramp.shows(Record(5, State.CLOSED), 100.0, 0.0)
    ramp.turn("parent", 100.0, 30.0, 1)
    ramp.renew()
    assert ramp.turn("child", 100.0, 30.0, 1) == 100
