"""Never more probes than the policy says, over the whole fleet, whoever dies: a thousand schedules from their seeds."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from recloser import PausedError, State
from tests.fleet.simulated import Fleet, Process, no_threads

SCHEDULES = 1000
STEPS = 60
PROBE_TIMEOUT = 20.0
COOLDOWN = 30.0


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    no_threads(monkeypatch)


@dataclass
class Probe:
    """A call that was let through while the circuit was half-open."""

    process: Process
    permit: Any
    generation: int
    began: float


@dataclass
class Schedule:
    """One course of events: calls, turns, deaths, lost answers, lost pushes, and time that passes."""

    seed: int
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.probes = self.chance.choice([1, 1, 2, 3])
        self.fleet = Fleet(self.chance.randint(2, 5))
        rules = {"failures": 1, "cooldown": COOLDOWN, "probe_timeout": PROBE_TIMEOUT, "probes": self.probes}
        self.circuits = {process: process.circuit(**rules) for process in self.fleet.processes}
        self.out: list[Probe] = []
        self.passed: dict[int, int] = {}
        self.tested = 0

    def play(self) -> int:
        """Plays it; returns how many probes there were."""
        self.fleet.settle()
        self.trip()
        actions = [self.call] * 6 + [self.turn] * 8 + [self.end] * 3 + [self.wait] * 4
        actions += [self.die, self.fail_wire, self.heal_wire]
        for _ in range(STEPS):
            self.chance.choice(actions)()
            self.check()
        return self.tested

    def process(self) -> Process:
        return self.chance.choice([each for each in self.fleet.processes if each.alive])

    def trip(self) -> None:
        self.circuits[self.process()].record_failure("down")
        self.fleet.settle()
        self.fleet.clock.advance(COOLDOWN)
        self.fleet.settle()

    def call(self) -> None:
        """A call, which is a probe if the circuit is half-open."""
        process = self.process()
        circuit = self.circuits[process]
        try:
            permit = circuit.acquire()
        except PausedError:
            return
        if permit.seat is None:
            circuit.succeed(permit, 0.0, self.fleet.clock.now())
            return
        self.tested += 1
        self.out.append(Probe(process, permit, permit.generation, self.fleet.clock.now()))

    def end(self) -> None:
        """A probe ends, one way or another."""
        living = [probe for probe in self.out if probe.process.alive]
        if not living:
            return
        probe = self.chance.choice(living)
        self.out.remove(probe)
        circuit, elapsed = self.circuits[probe.process], self.fleet.clock.now() - probe.began
        how = self.chance.choice(["success", "success", "failure", "cancelled", "left"])
        if how == "success":
            circuit.succeed(probe.permit, elapsed, self.fleet.clock.now())
            if elapsed < PROBE_TIMEOUT:
                self.passed[probe.generation] = self.passed.get(probe.generation, 0) + 1
        elif how == "left":
            circuit.ignore(probe.permit, elapsed)
        else:
            circuit.fail(probe.permit, elapsed, ConnectionError() if how == "failure" else asyncio.CancelledError())

    def turn(self) -> None:
        self.process().turn()

    def wait(self) -> None:
        self.fleet.clock.advance(self.chance.choice([0.01, 0.02, 0.3, 1.0, 3.0]))

    def die(self) -> None:
        """SIGKILL: nothing is delivered, nothing is given back."""
        if sum(each.alive for each in self.fleet.processes) > 1 and self.chance.random() < 0.3:
            self.process().alive = False

    def fail_wire(self) -> None:
        wire = self.process().wire
        setattr(wire, self.chance.choice(["down", "mute", "deaf"]), True)

    def heal_wire(self) -> None:
        for process in self.fleet.processes:
            process.wire.down = process.wire.mute = process.wire.deaf = False

    def check(self) -> None:
        """A probe is out until it has ended or its time is over."""
        now = self.fleet.clock.now()
        for generation in {probe.generation for probe in self.out if probe.generation > 0}:
            out = [probe for probe in self.out if probe.generation == generation and now < probe.began + PROBE_TIMEOUT]
            assert len(out) <= self.probes, f"seed {self.seed}: {len(out)} probes of {self.probes}"


@pytest.mark.parametrize("hundred", range(SCHEDULES // 100))
def test_never_more_probes_than_the_policy_says(hundred: int) -> None:
    """Calls, deaths, cancellations, lost answers and lost pushes, in any order."""
    tested = sum(Schedule(100 * hundred + number).play() for number in range(100))
    assert tested > 100  # the schedules do test


@pytest.mark.parametrize("how", ["killed", "cancelled", "hanging"])
def test_a_probe_that_does_not_end_frees_its_permit_in_time(how: str) -> None:
    """Within probe_timeout somebody else tests the provider, while calls keep coming."""
    fleet = Fleet(3)
    rules = {"failures": 1, "cooldown": COOLDOWN, "probe_timeout": PROBE_TIMEOUT}
    circuits = {process: process.circuit(**rules) for process in fleet.processes}
    fleet.settle()
    holder, *others = fleet.processes
    circuits[holder].record_failure("down")
    fleet.settle()
    fleet.clock.advance(COOLDOWN)
    while True:
        fleet.settle()
        try:
            permit = circuits[holder].acquire()
            break
        except PausedError:
            continue
    fleet.settle()
    began = fleet.clock.now()
    if how == "killed":
        holder.alive = False
    elif how == "cancelled":
        circuits[holder].fail(permit, 0.0, asyncio.CancelledError())
    while circuits[others[0]].state is not State.CLOSED:
        assert fleet.clock.now() <= began + PROBE_TIMEOUT + 2, "the permit did not come back"
        for process in others:
            with suppress(PausedError), circuits[process]:
                pass
        for process in fleet.processes:
            if process.alive:
                process.turn()
        fleet.clock.advance(0.1)
    if how == "cancelled":
        assert fleet.clock.now() < began + 3
