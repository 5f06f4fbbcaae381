"""What the demo of a fleet is made of: its script, what its processes say to each other, its numbers, its frames."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import pairwise

import pytest

from recloser import PausedError, State
from recloser.core.events import Event, EventKind
from recloser.demo.clients import Try
from recloser.demo.fleet import wire
from recloser.demo.fleet.ledger import FleetLedger
from recloser.demo.fleet.notes import Gone, Joined, Known, StoodStill, Totals
from recloser.demo.fleet.report import report
from recloser.demo.fleet.spread import Spreading
from recloser.demo.ledger import Call, Changed, Cued, End, HeldBack, Ledger
from recloser.demo.script import ROLES, Cue, Lead, Script
from recloser.demo.summary import summary

BOUND = 15
ADA, BELA = Lead(1, "Ada", 0.0, interrupts=False), Lead(2, "Bela", 0.0, interrupts=False)


# -- the script --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_a_fleet_has_the_same_day_and_two_things_more(seed):
    """What breaks and heals is what breaks and heals for one process; a process is killed, and Redis stands still."""
    alone, fleet = Script.write(60, seed), Script.for_fleet(60, seed, 4, stops=True)
    assert all(one.at < two.at for one, two in pairwise(fleet.cues))
    more = [cue for cue in fleet.cues if cue.action in {"kill", "stop"}]
    assert [cue.action for cue in more] == ["kill", "stop"]
    assert [cue for cue in fleet.cues if cue not in more][:-1] == list(alone.cues[:-1])
    assert len(fleet.leads) > 3 * len(alone.leads)
    assert not [cue for cue in Script.for_fleet(60, seed, 4, stops=False).cues if cue.action == "stop"]


def test_a_short_day_does_not_ask_too_much_of_this_computer():
    """However many processes there are, the leads come no faster than one computer can play the providers for."""
    leads = Script.for_fleet(3, 1, 16, stops=True).leads
    second = [lead for lead in leads if lead.at < 1]
    assert len(second) < 60


# -- the wire ----------------------------------------------------------------------------------------------------------


def test_what_processes_say_arrives_as_it_was(recloser):
    """Calls, leads put back, events and snapshots come through as the same things."""
    events: list[Event] = []
    recloser.listen(events.append)
    recloser.trip("elevenlabs")
    assert [Event.from_dict(said_again(event.as_dict())) for event in events] == events
    shot = recloser.circuit("elevenlabs").snapshot()
    assert wire.snapshot(said_again(wire.said_of(shot))) == shot
    assert wire.lead(said_again(wire.said_of(ADA))) == ADA
    paused = PausedError("twilio", State.PAUSED, "why", "maria", 7.0, None)
    for error in (None, paused, TimeoutError("late"), RuntimeError("a bug")):
        note = Call(5.0, ADA, End.LOST, 0.5, (Try("twilio", 0.1, "HTTP 503"),), error)
        back = wire.call(said_again(wire.outcome(note)), ADA, lambda unix: unix + 1, 3)
        assert isinstance(back, Call)
        assert (back.at, back.member, back.tries, back.end) == (6.0, 3, note.tries, End.LOST)
        assert isinstance(back.error, wire.UnexpectedError) == isinstance(error, RuntimeError)
        assert isinstance(back.error, PausedError) == isinstance(error, PausedError)
    held = wire.call(said_again(wire.outcome(HeldBack(5.0, ADA, paused))), ADA, lambda unix: unix, 1)
    assert isinstance(held, HeldBack)
    assert str(held.paused) == str(paused)


def said_again(said: dict) -> dict:
    return json.loads(wire.line(**said))


# -- spreading ---------------------------------------------------------------------------------------------------------


def made(recloser, *kinds: str) -> list[Event]:
    """Real events of these kinds, one second apart."""
    events: list[Event] = []
    end = recloser.listen(events.append)
    recloser.trip("elevenlabs")
    recloser.clock.advance("15m")
    recloser.circuit("elevenlabs").record_success()
    end()
    assert [event.kind for event in events][: len(kinds)] == list(kinds)
    return [replace(event, at=10.0 + number) for number, event in enumerate(events)][: len(kinds)]


def test_a_transition_is_known_when_the_last_process_has_seen_it(recloser):
    """In whatever order the words come in; one that is over before it is seen is known with the next."""
    tripped, probing = made(recloser, "tripped", "probing")
    spreading = Spreading({1, 2, 3})
    assert spreading.heard(2, "elevenlabs", tripped.generation, 10.002) == []
    assert spreading.decided(tripped, 1) == []
    assert spreading.heard(1, "elevenlabs", tripped.generation, 10.001) == []
    assert not spreading.settled
    assert spreading.decided(probing, 2) == []
    (known,) = spreading.heard(3, "elevenlabs", probing.generation, 11.5)
    assert (known.event, known.member, known.processes) == (tripped, 1, 3)
    assert known.seconds == pytest.approx(1.5)


def test_nobody_waits_for_a_process_that_is_gone(recloser):
    """A transition that only the dead have not seen is known."""
    (tripped,) = made(recloser, "tripped")
    spreading = Spreading({1, 2})
    spreading.decided(tripped, 2)
    spreading.heard(1, "elevenlabs", tripped.generation, 10.003)
    (known,) = spreading.gone(2)
    assert (known.member, known.processes) == (2, 1)
    assert known.seconds == pytest.approx(0.003)
    assert spreading.settled


# -- the numbers -------------------------------------------------------------------------------------------------------


def fleet_of(*members: int) -> tuple[Ledger, FleetLedger]:
    fleet = FleetLedger()
    ledger = Ledger(fleet=fleet)
    for member in members:
        ledger.add(Joined(0.0, 1000 + member, member=member))
    return ledger, fleet


def call(lead: Lead, member: int, at: float = 1.0, error: Exception | None = None) -> Call:
    return Call(at, lead, End.LOST if error else End.COMPLETED, 0.5, (), error, member=member)


def test_a_transition_that_was_made_twice_would_be_seen(recloser):
    """The summary counts in the log of the fleet, and says so when two processes made the same transition."""
    events = made(recloser, "tripped", "probing")
    ledger, fleet = fleet_of(1, 2)
    for event in events:
        ledger.add(Changed(event.at, event, member=1))
    ledger.add(Totals(20.0, tuple(events), None))
    assert report(fleet, ledger)["transitions"] == "2, each made once over the whole fleet: 2 in process 1"
    twice = replace(events[0], generation=events[0].generation + 1)
    third = replace(events[1], generation=events[1].generation + 1)
    ledger.add(Totals(20.0, (events[0], twice, third), None))
    assert "3, 1 of them again although made already" in report(fleet, ledger)["transitions"]
    assert "2 in a process that ended before it could say so" in report(fleet, ledger)["transitions"]


def test_a_state_of_one_process_alone_is_no_transition_of_the_fleet(recloser):
    """What a process decides for itself while Redis is away is counted apart."""
    (tripped,) = made(recloser, "tripped")
    ledger, fleet = fleet_of(1, 2)
    ledger.add(Changed(1.0, replace(tripped, local=True, generation=-2), member=1))
    assert ledger.happened("tripped").total() == 0
    assert ledger.pauses(2.0) == []
    ledger.add(Changed(1.5, tripped, member=2))
    assert "1 more that processes without Redis made for themselves" in report(fleet, ledger)["transitions"]


def test_the_leads_of_a_dead_process_are_counted_where_they_are_called():
    """They go on elsewhere, and those that do not are not said to."""
    ledger, fleet = fleet_of(1, 2)
    ledger.add(Gone(1.0, 1002, "SIGKILL", (ADA, BELA), member=2))
    assert fleet.alive == [1]
    ledger.add(call(BELA, 1))
    said = report(fleet, ledger)
    assert (
        "process 2 ended with SIGKILL in the middle of 2 calls (1 made by others then), 1 was there"
        in said["processes"]
    )


def test_what_redis_raised_into_a_call_would_be_seen():
    """Everything that neither a provider nor a circuit raises counts, and so does what is lost meanwhile."""
    ledger, fleet = fleet_of(1)
    ledger.add(Cued(1.0, Cue(1.0, "stop", "redis")))
    ledger.add(call(ADA, 1, 1.5, wire.UnexpectedError("BackendError: gone")))
    assert len(fleet.meanwhile(ledger)) == 1
    ledger.add(StoodStill(2.0, 1.0))
    ledger.add(call(BELA, 1, 2.5))
    said = report(fleet, ledger)
    assert said["trouble"].startswith("1 exception raised")
    assert "stood still for 1s: 0 processes did without, 1 call ended meanwhile, 1 of them lost" in said["redis"]


def test_a_request_to_a_circuit_that_is_half_open_is_a_probe(recloser):
    """Counted where requests arrive: also those of a process that did not live to tell of them."""
    events = made(recloser, "tripped", "probing", "resumed")
    ledger, fleet = fleet_of(1)
    for event in events:
        ledger.add(Changed(event.at, event, member=1))
    fleet.arrivals = [("elevenlabs", 10.5), ("elevenlabs", 11.5), ("cartesia", 11.6), ("elevenlabs", 12.5)]
    assert fleet.probes(ledger) == (1, 1)


def test_a_pause_is_the_same_for_every_process():
    """Each works out for itself when it began: a lead that two of them put back was spared one call."""
    ledger, _ = fleet_of(1, 2)
    ledger.add(Cued(0.0, Script.write(30, 1).cues[0]))
    for member, since in ((1, 7.0), (2, 7.004), (1, 9.0)):
        paused = PausedError("elevenlabs", State.OPEN, "why", "recloser", since, 2.0)
        ledger.add(HeldBack(1.0, ADA, paused, member=member))
    assert ledger.spared == {"elevenlabs": 2}


# -- frames and summaries ----------------------------------------------------------------------------------------------


def test_a_frame_of_a_fleet_fits_any_terminal(recloser):
    """Sixteen processes, some of them gone, and everything that can be said of Redis."""
    pytest.importorskip("rich")
    from recloser.demo.frame import Moment, frame  # noqa: PLC0415 - it needs rich

    ledger, _ = fleet_of(*range(1, 17))
    (tripped,) = made(recloser, "tripped")
    lost = replace(tripped, kind=EventKind.BACKEND_LOST, circuit="*", local=True)
    notes = [
        Gone(1.0, 1003, "SIGKILL", (ADA, BELA), member=3),
        Changed(1.0, tripped, member=12),
        Known(1.0, "elevenlabs", State.OPEN, 0.0021, 15, member=12),
        call(ADA, 16),
        Changed(2.0, lost, member=2),
    ]
    shown = []
    for note in (*notes, Cued(2.0, Cue(2.0, "stop", "redis")), StoodStill(3.0, 1.0)):
        ledger.add(note)
        status = {name: recloser.circuit(name).snapshot() for name in ROLES}
        moment = Moment(30.0, ledger, status, dialling=True, at=4.0, unix=recloser.clock.time())
        for width in (20, 60, 95, 96, 120, 300):
            for height in (1, 5, 14, 24, 60):
                lines = frame(moment, width, height)
                assert len(lines) <= height
                assert max(line.cell_len for line in lines) <= width
        shown.append("\n".join(line.plain for line in frame(moment, 120, 40)))
    assert "16 there" not in shown[-1]
    assert "15 there, 1 gone" in shown[0]
    assert "elevenlabs OPEN decided in 12, everywhere in 2.1ms" in shown[3]
    assert "Redis does not answer 1 of them" in shown[4]
    assert "Redis stands still for 2.0s" in shown[5]


def test_the_summary_of_one_process_says_nothing_of_a_fleet():
    """Its own part comes with a fleet."""
    assert [heading for heading, _ in summary(Ledger(), 1.0)] == ["What happened", "What it saved"]
    assert [heading for heading, _ in summary(fleet_of(1)[0], 1.0)][1] == "What the fleet did"


def test_one_process_needs_nothing_of_a_fleet():
    """`recloser demo` without --fleet imports neither its modules nor redis."""
    program = (
        "import sys, recloser.demo, recloser.demo.summary, recloser.demo.plain\n"
        "names = ('recloser.demo.fleet', 'redis', 'recloser.backends.redis')\n"
        "heavy = [name for name in sys.modules if name.startswith(names)]\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=BOUND, check=False)
    assert said.returncode == 0, said.stderr


def test_every_fact_of_a_snapshot_is_plain(recloser):
    """Snapshots go through JSON: a field of another sort would be lost on the way."""
    shot = recloser.circuit("elevenlabs").snapshot()
    assert all(isinstance(value, str | int | float | None) for value in asdict(shot).values())
