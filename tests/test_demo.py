"""The demo: its script, its story, and its numbers, which are those of the story."""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from recloser import PausedError, State
from recloser.demo.clients import SPEECH, Try, connect
from recloser.demo.day import Day
from recloser.demo.leads import Leads
from recloser.demo.ledger import Call, Changed, Cued, End, HeldBack, Ledger, Over
from recloser.demo.provider import PROVIDERS, Fault, ProviderServer
from recloser.demo.script import Cue, Lead, Pace, Script

BOUND = 15

# -- the script ------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_script():
    """A day can be shown again; another seed gives another one."""
    assert Script.write(30, 5) == Script.write(30, 5)
    assert Script.write(30, 5).cues != Script.write(30, 6).cues
    assert Script.write(30, 5).leads != Script.write(30, 6).leads


@pytest.mark.parametrize("seed", range(20))
def test_every_script_keeps_its_order(seed):
    """Cues come in the order of their times, and nothing is healed or resumed that was not broken or paused."""
    script = Script.write(60, seed)
    assert all(one.at < two.at for one, two in pairwise(script.cues))
    wrong: set[str] = set()
    for cue in script.cues[:-1]:
        (wrong.add if cue.action in {"break", "pause"} else wrong.remove)(cue.circuit)
    assert not wrong
    assert script.cues[-1] == Cue(60, "end", after=(("elevenlabs", "resumed"),))


def test_a_day_has_barge_ins_all_day_and_most_of_them_at_lunch():
    """Callers interrupt the agent, and the seed decides who."""
    leads = Script.write(30, 1).leads
    lunch = [lead.interrupts for lead in leads if 19.4 < lead.at < 21.4]
    assert sum(lunch) > len(lunch) / 2
    assert 0 < sum(lead.interrupts for lead in leads) < len(leads) / 3


# -- the queue -------------------------------------------------------------------------------------------------------

ADA, BELA = Lead(1, "Ada", 0.0, interrupts=False), Lead(2, "Bela", 0.0, interrupts=False)


def test_leads_come_in_order_and_come_back_when_released():
    """A lead that was put back waits until its time, or until somebody says that calls work again."""
    leads = Leads((BELA, ADA), began=0.0, gap=0.0)
    assert [leads.take(), leads.take()] == [ADA, BELA]
    leads.put_back(BELA, None)
    leads.put_back(ADA, 0.0)
    assert leads.take() == ADA
    leads.release()
    assert leads.take() == BELA


def test_a_lead_that_is_handed_on_comes_at_once():
    """Whoever took it cannot call them any more; nobody waits for a pause to end."""
    leads = Leads((replace(ADA, at=1e9),), began=0.0, gap=1e9)
    leads.put_back(ADA, None)
    leads.hand_on(BELA)
    assert leads.take() == BELA


def test_a_closed_queue_lets_everybody_go():
    """Whoever waits for a lead is told that there are none."""
    leads = Leads((replace(ADA, at=1e9),), began=0.0, gap=0.0)
    taken: list[Lead | None] = []
    waiting = threading.Thread(target=lambda: taken.append(leads.take()))
    waiting.start()
    leads.close()
    waiting.join(BOUND)
    assert taken == [None]


# -- what it saved ---------------------------------------------------------------------------------------------------


def call(lead: Lead, *tries: Try, end: End = End.COMPLETED) -> Call:
    return Call(1.0, lead, end, 0.5, tries, None)


def held(lead: Lead, circuit: str, state: State = State.OPEN, since: float = 7.0) -> HeldBack:
    return HeldBack(1.0, lead, PausedError(circuit, state, "why", "recloser", since, 2.0))


def test_savings_are_counted_once_and_only_while_the_provider_is_dead():
    """Leads put back twice count once; what a circuit kept from a provider that was well again is the price."""
    ledger = Ledger()
    ledger.add(Cued(0.0, Cue(0.0, "break", "deepgram", Fault("hang"))))
    ledger.add(call(ADA, Try("deepgram", 0.8, "TimeoutError"), end=End.LOST))
    for _ in range(2):
        ledger.add(held(BELA, "deepgram"))
    ledger.add(held(BELA, "deepgram", State.HALF_OPEN))
    ledger.add(held(ADA, "twilio", State.PAUSED))
    assert ledger.spared == {"deepgram": 1}
    assert (ledger.silent_avoided, ledger.hanging_avoided) == (1, pytest.approx(0.8))
    ledger.add(Cued(0.0, Cue(0.0, "heal", "deepgram")))
    ledger.add(held(BELA, "deepgram", since=8.0))
    assert (ledger.spared, ledger.waited) == ({"deepgram": 1}, {"deepgram": 1})


def test_a_call_that_another_provider_spoke_in_was_saved_from_silence():
    """A failure of the first choice, and a first choice that was not asked, are both heard as speech."""
    ledger = Ledger()
    ledger.add(Cued(0.0, Cue(0.0, "break", "elevenlabs", Fault("drop"))))
    ledger.add(call(ADA, Try("elevenlabs", 0.1, "RemoteDisconnected"), Try("cartesia", 0.1)))
    ledger.add(call(BELA, Try("cartesia", 0.1)))
    assert ledger.moved == {1, 2}
    assert ledger.spared == {"elevenlabs": 1}
    assert ledger.voices == {"cartesia": 2}


# -- a whole day -----------------------------------------------------------------------------------------------------


@pytest.mark.realtime
def test_no_request_is_made_that_the_ledger_does_not_know():
    """What the providers counted is what the calls noted, and nothing outlives the day."""
    before = set(threading.enumerate())
    inbox: queue.SimpleQueue = queue.SimpleQueue()
    ledger = Ledger()
    with Day(Script.write(3, 2), inbox.put) as day:
        while not isinstance(note := inbox.get(timeout=BOUND), Over):
            ledger.add(note)
        requests = day.requests
    assert Counter(each.provider for call in ledger.calls for each in call.tries) == requests
    assert {note.event.circuit for note in ledger.events} == set(PROVIDERS)
    assert set(threading.enumerate()) <= before


@dataclass
class Told:
    """One line of the demo."""

    at: float
    kind: str
    name: str
    text: str


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> str:
    """What a demo of three seconds writes into a pipe; a picture is taken on the way."""
    picture = tmp_path_factory.getbasetemp() / "day.svg"
    options = ["--plain", "--seconds", "3", "--seed", "1", "--picture", str(picture)]
    said = subprocess.run(
        [sys.executable, "-m", "recloser", "demo", *options], capture_output=True, timeout=BOUND, check=False
    )
    assert (said.returncode, said.stderr) == (0, b"")
    return said.stdout.decode("ascii")


@pytest.fixture(scope="module")
def story(output) -> list[Told]:
    """The same, line by line."""
    lines = filter(None, (re.fullmatch(r" *(\d+\.\d\d)s  (.{8})  (.{12})  (.*)", line) for line in output.splitlines()))
    return [Told(float(line[1]), line[2].strip(), line[3].strip(), line[4]) for line in lines]


def states(story: list[Told], circuit: str) -> list[str]:
    steps = [told.text.partition(":")[0].split(" ") for told in story if (told.kind, told.name) == ("circuit", circuit)]
    assert all(one[2] == two[0] for one, two in pairwise(steps)), "one state begins where another ends"
    return [step[2] for step in steps]


def happened(order: list[str], wanted: list[str]) -> bool:
    left = iter(order)
    return all(each in left for each in wanted)


@pytest.mark.realtime
def test_the_story_happens(story):
    """Trip, probe and way back; hanging, rate limit, operator; both voices down; every circuit closed in the end."""
    again = ["OPEN", "HALF_OPEN", "OPEN", "HALF_OPEN", "CLOSED"]
    assert happened(states(story, "elevenlabs"), again * 2)
    for circuit in ("cartesia", "deepgram", "openai"):
        assert happened(states(story, circuit), ["OPEN", "HALF_OPEN", "CLOSED"])
    assert states(story, "twilio") == ["PAUSED", "CLOSED"]
    assert {states(story, circuit)[-1] for circuit in PROVIDERS} == {"CLOSED"}


@pytest.mark.realtime
def test_leads_go_back_into_the_queue_and_are_called_later(story):
    """Dialling pauses for a dead provider and for an operator, and goes on by itself."""
    put_back = [told for told in story if told.kind == "held"]
    assert any("deepgram is OPEN" in told.text for told in put_back)
    assert any("until" in told.text and "resumes twilio" in told.text for told in put_back)
    called = {told.name: told.at for told in story if told.kind == "call"}
    first = put_back[0]
    assert called[first.name] > first.at


@pytest.mark.realtime
def test_barge_ins_count_nothing(story):
    """Callers interrupt the agent all day, and no circuit trips on it."""
    assert any("interrupted by the caller" in told.text for told in story)
    assert not any("Cancel" in told.text or "GeneratorExit" in told.text for told in story if told.kind == "circuit")


@pytest.mark.realtime
def test_the_summary_says_what_the_lines_say(output, story):
    """Every number of the summary can be counted in the lines above it."""
    calls = [told.text for told in story if told.kind == "call"]
    lost = sum(text.startswith("lost") for text in calls)
    interrupted = sum("interrupted" in text for text in calls)
    moves = Counter(told.text.partition(":")[0].partition(" for ")[0] for told in story if told.kind == "circuit")
    put_back = {told.name for told in story if told.kind == "held"}
    summary = " ".join(output.partition("What happened")[2].split())
    for words in (
        f"{len(calls)} made: {len(calls) - lost - interrupted} completed, {interrupted} interrupted by the caller",
        f"{lost} lost",
        *(f"{name} spoke in {sum(text.startswith(f'{name} spoke') for text in calls)}" for name in SPEECH),
        f"{moves['CLOSED -> OPEN']} trips, {moves['HALF_OPEN -> OPEN']} re-trips",
        f"{moves['HALF_OPEN -> CLOSED']} recoveries",
        f"{len(put_back)} leads put back into the queue",
    ):
        assert words in summary


@pytest.mark.realtime
def test_lines_for_a_pipe_are_bare(output):
    """No escape codes; the fixture has seen that it is ASCII and that nothing went to stderr."""
    assert "\x1b" not in output
    assert "\r" not in output


@pytest.mark.realtime
def test_the_picture_is_a_small_file_that_needs_nothing_else(output, tmp_path_factory):
    """An SVG for the README: one frame and the summary, without anything fetched from the network."""
    pytest.importorskip("rich")
    text = (tmp_path_factory.getbasetemp() / "day.svg").read_text(encoding="utf-8")
    ET.fromstring(text)
    assert len(text) < 100_000
    assert text.count("http") == text.count('xmlns="http://www.w3.org/2000/svg"')
    assert "What&#160;it&#160;saved" in text


# -- frames ----------------------------------------------------------------------------------------------------------


def test_a_frame_fits_any_terminal(recloser):
    """No line is wider than the terminal and no frame higher, whatever is on it."""
    pytest.importorskip("rich")
    from recloser.demo.frame import Moment, frame  # noqa: PLC0415 - it needs rich

    with ProviderServer() as server:
        connect(recloser, server.address, Pace(30).policy, timeout=1)
    ledger = Ledger()
    recloser.listen(lambda event: ledger.add(Changed(1.0, event)))
    recloser.trip("elevenlabs")
    recloser.pause("twilio", reason="a reason that goes on and on " * 5, by="operator")
    for note in (held(ADA, "elevenlabs"), call(BELA, Try("cartesia", 0.1)), Cued(2.0, Script.write(30, 1).cues[0])):
        ledger.add(note)
    moment = Moment(30.0, ledger, recloser.status(), dialling=False, at=12.0, unix=recloser.clock.time())
    for width in (20, 40, 60, 80, 95, 96, 100, 120, 300):
        for height in (1, 5, 12, 14, 15, 24, 60):
            lines = frame(moment, width, height)
            assert len(lines) <= height
            assert max(line.cell_len for line in lines) <= width
    whole = "\n".join(line.plain for line in frame(moment, 120, 40))
    assert "paused: twilio PAUSED; 1 lead back in the queue" in whole
