"""What a fleet does, step by step, over a network that fails."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from recloser import BackendError, PausedError, State
from recloser.core.events import EventKind
from tests.fleet.simulated import Fleet, Process, no_threads

RULES: dict[str, Any] = {"failures": 10, "cooldown": 60}


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    no_threads(monkeypatch)


def kinds(fleet: Fleet) -> list[str]:
    assert fleet.server is not None
    return [str(each.kind) for each in fleet.server.events(100)]


def states(circuits: list[Any]) -> set[State]:
    return {each.state for each in circuits}


def lose(process: Process) -> None:
    process.wire.down = True
    process.fleet.clock.advance(1.2)
    process.turn()
    assert process.toolkit.status().lost_since is not None


def down(circuit: Any, times: int = 1) -> None:
    for _ in range(times):
        circuit.record_failure("down")


# -- deciding together -------------------------------------------------------------------------------------------------


def test_nine_failures_over_nine_processes_do_not_trip_and_the_tenth_does() -> None:
    """The decision falls at exactly the count that reaches the backend, once, and everybody follows."""
    fleet = Fleet(10)
    circuits = [each.circuit(**RULES) for each in fleet.processes]
    fleet.settle()
    for circuit in circuits[:9]:
        down(circuit)
    fleet.settle()
    assert states(circuits) == {State.CLOSED}
    down(circuits[9])
    fleet.settle()
    assert states(circuits) == {State.OPEN}
    (event,) = fleet.server.events(10)
    assert (event.kind, event.counts.failures, event.reason) == ("tripped", 10, "10 failures in 5m, last: down")
    assert [len(each.told) for each in fleet.processes] == [0] * 9 + [1]


def test_a_transition_whose_push_is_lost_is_seen_at_the_next_tick() -> None:
    """Push is for speed; the periodic exchange is what is relied upon."""
    fleet = Fleet(2)
    one, other = (each.circuit(failures=1, cooldown=60) for each in fleet.processes)
    fleet.settle()
    fleet.processes[1].wire.deaf = True
    down(one)
    fleet.settle()
    fleet.clock.advance(1.2)
    fleet.settle()
    assert states([one, other]) == {State.OPEN}


def test_a_circuit_moves_on_when_its_time_has_come_without_a_call() -> None:
    """Nobody calls, and the fleet goes half-open with one event; one probe that passes closes it for all."""
    fleet = Fleet(3)
    circuits = [each.circuit(failures=1, cooldown=60) for each in fleet.processes]
    fleet.settle()
    down(circuits[0])
    fleet.settle()
    fleet.clock.advance(61)
    fleet.settle()
    assert states(circuits) == {State.HALF_OPEN}
    passed = []
    for circuit in circuits:
        with suppress(PausedError), circuit:
            passed.append(circuit)
    assert len(passed) == 1
    fleet.settle()
    assert states(circuits) == {State.CLOSED}
    assert kinds(fleet) == ["tripped", "probing", "resumed"]


def test_calls_before_the_first_word_are_counted() -> None:
    """A process counts from its first call on, although it does not know yet to which state that belongs."""
    fleet = Fleet(1)
    circuit = fleet.processes[0].circuit(failures=2)
    with circuit:
        pass
    down(circuit)
    with circuit:
        fleet.settle()  # in the middle of a call
    fleet.clock.advance(1.2)
    fleet.settle()
    assert fleet.server.exchange("x", 0, 0.0, [], alive=60).processes == 2
    shot = circuit.snapshot()
    assert (shot.calls, shot.failures) == (3, 1)


def test_a_cold_process_that_joins_learns_of_an_open_circuit_with_its_first_word() -> None:
    """What it started before that passes; what comes afterwards does not."""
    fleet = Fleet(1)
    down(fleet.processes[0].circuit(failures=1))
    fleet.settle()
    cold = Process(fleet)
    circuit = cold.circuit(failures=1)
    with circuit:
        cold.turn()
    assert circuit.state is State.OPEN
    assert circuit.snapshot().calls == 1  # the fleet's failure, and nothing of what was let through in ignorance


# -- counting once -----------------------------------------------------------------------------------------------------


def test_an_exchange_whose_answer_is_lost_is_counted_once() -> None:
    """The same exchange is sent again under the same number until it is answered."""
    fleet = Fleet(1)
    (process,) = fleet.processes
    circuit = process.circuit(failures=100)
    fleet.settle()
    process.wire.mute = True
    for _ in range(5):
        down(circuit, 3)
        process.turn()
        fleet.clock.advance(3)
    process.wire.mute = False
    fleet.settle()
    assert circuit.snapshot().failures == 15


def test_a_transition_whose_answer_is_lost_happens_once_and_is_told_once() -> None:
    """The swap was made although nobody said so: one event in the log, and one for listeners here."""
    fleet = Fleet(1)
    (process,) = fleet.processes
    circuit = process.circuit(failures=1, cooldown=60)
    fleet.settle()
    swap = process.wire.swap

    def unanswered(*args: Any, **kwargs: Any) -> bool:
        swap(*args, **kwargs)
        process.wire.swap = swap  # type: ignore[method-assign]
        raise BackendError("the server does not answer within 0.25s")

    process.wire.swap = unanswered  # type: ignore[method-assign]
    process.wire.deaf = True
    down(circuit)
    process.turn()
    fleet.clock.advance(1)
    fleet.settle()
    assert circuit.state is State.OPEN
    assert [str(each.kind) for each in fleet.server.events(10) if not each.local] == ["tripped"]
    assert [str(each.kind) for each in process.told if not each.local] == ["tripped"]


# -- outages of the backend --------------------------------------------------------------------------------------------


def test_counts_of_an_outage_are_delivered_once_with_their_age() -> None:
    """What happened while the backend was away counts from when it happened, and only what is still in the window."""
    fleet = Fleet(2)
    one, other = (each.circuit(failures=100, window=60) for each in fleet.processes)
    fleet.settle()
    fleet.processes[0].wire.down = True
    for _ in range(30):
        down(one)
        with one:
            fleet.clock.advance(4)
        fleet.processes[0].turn()
    fleet.processes[0].wire.down = False
    fleet.clock.advance(3)
    fleet.settle()
    fleet.clock.advance(1.2)
    fleet.settle()
    shot = other.snapshot()
    assert shot.failures in (13, 14, 15)
    assert one.snapshot().failures == shot.failures


def test_a_process_alone_goes_on_with_the_last_known_state_and_its_own_window() -> None:
    """Without the backend it trips by its own failures, comes back through a probe of its own, and says it is alone."""
    fleet = Fleet(1)
    (process,) = fleet.processes
    circuit = process.circuit(failures=3, cooldown=60, probe_timeout=20)
    fleet.settle()
    lose(process)
    down(circuit, 3)
    process.turn()
    assert circuit.state is State.OPEN
    fleet.clock.advance(61)
    process.turn()
    assert circuit.state is State.HALF_OPEN
    assert not circuit.allows()  # says that a permit is wanted
    process.turn()
    with circuit:
        assert not circuit.allows()
    process.turn()
    assert circuit.state is State.CLOSED
    assert [(str(each.kind), each.local) for each in process.told] == [
        ("backend lost", True), ("tripped", True), ("probing", True), ("resumed", True),
    ]  # fmt: skip
    process.wire.down = False
    fleet.clock.advance(3)
    fleet.settle()
    assert kinds(fleet) == ["tripped", "probing", "resumed"]
    assert process.toolkit.status().lost_since is None
    last = process.told[-1]
    assert (last.kind, last.circuit, last.reason) == ("backend back", "*", "lost before: the server does not answer")


def test_a_pause_that_a_process_made_alone_becomes_the_fleets() -> None:
    """A circuit that tripped while the backend was away is paused for all once it is back, until the same moment."""
    fleet = Fleet(2)
    one, other = (each.circuit(failures=3, cooldown=600) for each in fleet.processes)
    fleet.settle()
    lose(fleet.processes[0])
    down(one, 3)
    fleet.processes[0].turn()
    until = one.snapshot().until
    assert other.state is State.CLOSED
    fleet.clock.advance(30)
    fleet.processes[0].wire.down = False
    fleet.settle()
    assert states([one, other]) == {State.OPEN}
    assert other.snapshot().until == pytest.approx(until, abs=0.1)
    assert one.snapshot().until == pytest.approx(until, abs=0.1)


@pytest.mark.parametrize("state", ["OPEN", "PAUSED", "CLOSED"])
def test_a_server_that_restarts_empty_is_told_what_the_fleet_had_agreed_on(state: str) -> None:
    """Operators' pauses and open circuits are put back, and so is the number of a closed circuit's state."""
    fleet = Fleet(3)
    circuits = [each.circuit(failures=1, cooldown=600) for each in fleet.processes]
    fleet.settle()
    if state == "OPEN":
        down(circuits[0])
    else:
        fleet.processes[0].toolkit.pause("tts", reason="maintenance", by="ann")
        if state == "CLOSED":
            fleet.processes[0].toolkit.resume("tts", by="ann")
    fleet.settle()
    before = circuits[2].snapshot()
    fleet.server = None
    fleet.clock.advance(2)
    for process in fleet.processes:
        process.turn()
    fleet.start_server()
    fleet.clock.advance(3)
    fleet.settle()
    newcomer = Process(fleet).circuit(failures=1)
    fleet.settle(*fleet.processes)
    newcomer_process = newcomer
    assert circuits[0].state is State[state]
    for circuit in circuits:
        shot = circuit.snapshot()
        assert (shot.state, shot.generation, shot.reason, shot.by) == (
            before.state, before.generation, before.reason, before.by,
        )  # fmt: skip
    assert kinds(fleet) == ([] if state == "CLOSED" else ["restored"])
    assert newcomer_process is not None


def test_counts_reach_a_server_that_restarts_empty() -> None:
    """What could not be delivered counts on the new server, once, under the state that is put back."""
    fleet = Fleet(1)
    (process,) = fleet.processes
    circuit = process.circuit(failures=100)
    process.toolkit.pause("tts", reason="maintenance", by="ann")
    process.toolkit.resume("tts", by="ann")
    fleet.settle()
    fleet.server = None
    down(circuit, 5)
    process.turn()
    fleet.start_server()
    fleet.clock.advance(3)
    fleet.settle()
    fleet.clock.advance(1.2)
    fleet.settle()
    assert circuit.snapshot().failures == 5
    parcel_facts = fleet.server.exchange("x", 0, 0.0, [], alive=60)
    assert parcel_facts.processes >= 1


def test_an_operators_pause_stays_in_force_while_the_backend_is_away() -> None:
    """Neither successes, failures nor time touch it; and the operator is told when a request cannot be carried out."""
    fleet = Fleet(1)
    (process,) = fleet.processes
    circuit = process.circuit(failures=1, cooldown=1)
    process.toolkit.pause("tts", reason="maintenance", by="ann")
    process.wire.down = True
    fleet.clock.advance(10_000)
    down(circuit)
    process.turn()
    assert circuit.state is State.PAUSED
    with pytest.raises(BackendError, match="does not answer"):
        process.toolkit.resume("tts", by="ann")
    assert circuit.state is State.PAUSED


def test_a_circuit_that_must_not_run_blind_is_paused_while_the_backend_is_away() -> None:
    """on_backend_loss="pause" rejects calls from the loss on, says why, and lets them through when it is over."""
    fleet = Fleet(1)
    (process,) = fleet.processes
    circuit = process.circuit(on_backend_loss="pause")
    with pytest.raises(PausedError, match="has not answered yet"):
        circuit.check()
    fleet.settle()
    with circuit:
        process.wire.down = True
        fleet.clock.advance(2)
        process.turn()
    with pytest.raises(PausedError, match="the server does not answer") as caught:
        circuit.check()
    assert (caught.value.state, caught.value.paused_by) == (State.PAUSED, "recloser")
    process.wire.down = False
    fleet.clock.advance(5)
    fleet.settle()
    circuit.check()
    fleet.clock.advance(1.2)
    fleet.settle()
    assert circuit.snapshot().calls == 1  # the one that was on its way meanwhile


def test_an_operators_resume_reaches_a_process_that_paused_itself() -> None:
    """A pause of its own never ends early, but for an operator's word."""
    fleet = Fleet(2)
    one, other = (each.circuit(failures=3, cooldown=600, quorum=2) for each in fleet.processes)
    fleet.settle()
    down(one, 3)
    fleet.settle()
    assert (one.state, other.state) == (State.OPEN, State.CLOSED)
    fleet.processes[1].toolkit.pause("tts", reason="maintenance", by="ann")
    fleet.settle()
    assert states([one, other]) == {State.PAUSED}
    fleet.processes[1].toolkit.resume("tts", by="ann")
    fleet.settle()
    assert states([one, other]) == {State.CLOSED}
    assert [each.local for each in fleet.server.events(10) if each.kind is EventKind.TRIPPED] == [True]


def test_the_log_says_once_that_the_backend_is_lost_and_once_that_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    """A streak is one line at its beginning and one at its end."""
    fleet = Fleet(1)
    (process,) = fleet.processes
    process.circuit()
    fleet.settle()
    process.wire.down = True
    for _ in range(50):
        fleet.clock.advance(2)
        process.turn()
    process.wire.down = False
    fleet.clock.advance(5)
    fleet.settle()
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2
    assert said[0] == "the server does not answer; calls go on with what this process knows"
    assert "answers again, after 1m4" in said[1]


# -- how much ----------------------------------------------------------------------------------------------------------


def test_a_storm_of_failures_asks_at_most_fifty_times_a_second() -> None:
    """The first failure goes at once, the rest in batches."""
    fleet = Fleet(1)
    (process,) = fleet.processes
    circuit = process.circuit(failures=None)
    fleet.settle()
    before = process.wire.requests
    for _ in range(1000):
        down(circuit)
        process.turn()
        fleet.clock.advance(0.001)
    assert process.wire.requests - before <= 51
    fleet.settle()
    assert circuit.snapshot().failures == 1000


def test_a_storm_that_outruns_the_courier_waits_in_a_bounded_queue() -> None:
    """However many failures are reported before the next turn, memory stays small and every one of them counts."""
    fleet = Fleet(1)
    (process,) = fleet.processes
    circuit = process.circuit(failures=None)
    fleet.settle()
    longest = 0
    for number in range(20_000):
        circuit.record_failure(f"HTTP 503 number {number}", once=f"call-{number % 50}" if number % 2 else None)
        longest = max(longest, len(circuit.bound._notes))
    fleet.settle()
    assert longest <= 2000
    assert circuit.snapshot().failures == 10_000 + 25


def test_an_idle_process_asks_once_a_tick() -> None:
    """One exchange a second, for all circuits together."""
    fleet = Fleet(1)
    (process,) = fleet.processes
    for name in "abcdef":
        process.circuit(name)
    fleet.settle()
    before, until = process.wire.requests, fleet.clock.now() + 60
    while fleet.clock.now() < until:
        fleet.clock.advance(max(0.001, process.turn() - fleet.clock.now()))
    assert 50 <= process.wire.requests - before <= 70
