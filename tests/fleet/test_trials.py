"""Trials over a fleet: work that is let begin while a circuit is being tested finds the probe that it needs."""

from __future__ import annotations

import random
from typing import Any

import pytest

from recloser import PausedError, State
from tests.fleet.simulated import Fleet, Process, no_threads

COOLDOWN = 30.0
PROBE_TIMEOUT = 20.0


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    no_threads(monkeypatch)


class Worker:
    """A process that dials, and whose calls use the circuit: how often each of these ended how."""

    def __init__(self, process: Process, *, probes: int = 1) -> None:
        self.process = process
        rules: Any = {"failures": 1, "cooldown": COOLDOWN, "probe_timeout": PROBE_TIMEOUT, "probes": probes}
        self.circuit = process.circuit(**rules)
        self.dialled = self.spoken = self.inside = 0
        self.dial = process.toolkit.requires("tts")(self.work)

    def work(self) -> None:
        self.dialled += 1
        try:
            self.speak()
        except PausedError:
            self.inside += 1

    def speak(self) -> None:
        with self.circuit:
            self.spoken += 1

    def tries(self) -> float:
        """Dials; in how many seconds it is worth another try, 0 if it was not refused."""
        try:
            self.dial()
        except PausedError as paused:
            return paused.retry_after or 0.0
        return 0.0


def half_open(fleet: Fleet, *first: Worker) -> None:
    """The circuit opens, and its time to be tested has come; these have had calls right before."""
    for worker in first:
        worker.speak()
    fleet.settle()
    first[0].circuit.record_failure("down")
    fleet.settle()
    fleet.clock.advance(COOLDOWN - 5)
    for worker in first:
        with pytest.raises(PausedError):
            worker.speak()
    for _ in range(2):
        fleet.clock.advance(2.5)
        fleet.settle()
    for worker in first:
        assert worker.circuit.state is State.HALF_OPEN


def test_a_trial_is_had_only_together_with_a_probe() -> None:
    """The only probe waits in a process that makes no calls any more; whoever dials gets it, and no dial is in vain."""
    fleet = Fleet(2)
    idle, busy = (Worker(each) for each in fleet.processes)
    fleet.settle()
    busy.speak()
    fleet.clock.advance(2)
    half_open(fleet, idle)
    waited = 0.0
    for _ in range(10):
        left = busy.tries()
        if not left:
            break
        # Nobody is told to come again at once, or not before somebody else's lease may end.
        assert 0.04 < left < 1.2
        fleet.clock.advance(left)
        waited += left
        fleet.settle()
    assert (busy.dialled, busy.inside, busy.spoken) == (1, 0, 2)
    assert waited < 1.5
    fleet.settle()
    assert busy.circuit.state is State.CLOSED


def test_who_only_dials_needs_no_probe() -> None:
    """A dispatcher's calls are made by others, and the probe is theirs."""
    fleet = Fleet(2)
    worker, dispatcher = (Worker(each) for each in fleet.processes)
    dispatcher.dial = dispatcher.process.toolkit.requires("tts")(lambda: None)
    fleet.settle()
    half_open(fleet, worker)
    for _ in range(5):
        left = dispatcher.tries()
        if not left:
            break
        fleet.clock.advance(left)
        fleet.settle()
    else:
        pytest.fail("the dispatcher was never let through")
    worker.speak()
    fleet.settle()
    assert worker.circuit.state is State.CLOSED


def test_a_dispatcher_and_its_workers_wait_for_each_other_not_for_ever() -> None:
    """Whoever holds what another needs, and has no use for it, gives it up."""
    fleet = Fleet(3)
    workers = [Worker(each) for each in fleet.processes]
    fleet.settle()
    for worker in workers:
        worker.speak()
    half_open(fleet, workers[0])
    chance = random.Random(1)
    for _ in range(100):
        chance.choice(workers[1:]).tries()
        fleet.clock.advance(0.1)
        fleet.settle()
        if any(worker.dialled for worker in workers):
            break
    assert sum(worker.dialled for worker in workers) == 1
    assert sum(worker.inside for worker in workers) == 0


@pytest.mark.parametrize("ten", range(10))
def test_never_more_trials_than_the_policy_says_and_none_in_vain(ten: int) -> None:
    """Processes that dial whenever they like: all trials of one test find their probes, whoever has them."""
    for seed in range(10 * ten, 10 * ten + 10):
        chance = random.Random(seed)
        probes, size = chance.choice([1, 1, 2, 3]), chance.randint(1, 5)
        fleet = Fleet(size)
        workers = [Worker(each, probes=probes) for each in fleet.processes]
        fleet.settle()
        for worker in workers:
            worker.speak()
        half_open(fleet, *workers)
        for _ in range(200):
            chance.choice(workers).tries()
            fleet.clock.advance(chance.choice([0.0, 0.01, 0.05, 0.3]))
            if chance.random() < 0.7:
                chance.choice(fleet.processes).turn()
            if all(worker.circuit.state is State.HALF_OPEN for worker in workers):
                assert sum(worker.dialled for worker in workers) <= probes, seed
            elif all(worker.circuit.state is State.CLOSED for worker in workers):
                break
        else:
            pytest.fail(f"seed {seed}: never closed again")
        assert sum(worker.inside for worker in workers) == 0, seed
