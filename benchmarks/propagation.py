"""How soon a process knows what another one has seen; times are read in the receiving process, on the same machine."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.call_path import ask, refuse
from benchmarks.member import Line, Member
from benchmarks.redis_subjects import INTERLOCK, redis_subjects
from benchmarks.report import NONE, Section, Target
from benchmarks.server import Server
from recloser import PausedError, Recloser, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Effort

__all__ = ["cold", "hears", "joins", "makes_calls", "probes", "propagation", "trips"]

IDLE, BUSY = "idle", "a loop of Python beside it"
_HOURS: dict[str, Any] = {"cooldown": "1h", "cooldown_max": "1h"}


def propagation(effort: Effort) -> Section:
    """A trip in one process, as another one sees it, and what follows from it."""
    thorough = effort.rounds > 20
    trips_ = 200 if thorough else 25
    with Server() as server:
        took = {kind: _seen(server.url, trips_, busy=kind == BUSY) for kind in (IDLE, BUSY)}
    peer = next(each for each in redis_subjects() if each.name.startswith(INTERLOCK))
    with Server() as server:
        theirs = _peer_seen(server.url, peer.name, 20 if thorough else 3)
    rows = [
        ("**recloser**", kind, f"{len(seconds)}", *_milliseconds(seconds), f"{_milliseconds(decided)[0]}")
        for kind, (seconds, decided) in took.items()
    ]
    rows.append((peer.name, "makes a call every 5 ms", f"{len(theirs)}", *_milliseconds(theirs), NONE))
    targets = []
    for kind, most in ((IDLE, 25), (BUSY, 50)):
        late = 1000 * _rank(took[kind][0], 0.99)
        targets.append(
            Target(f"trip seen elsewhere, {kind}, p99", f"at most {most} ms", f"{late:.1f} ms", (late <= most,))
        )
    return Section(
        "Seen by another process",
        "One process reports the failure that trips; milliseconds from right before that report until calls of another "
        "process are rejected, and until those of the process itself are (the median).",
        ("what", "the process that hears it", "trips", "p50", "p99", "longest", "itself, p50"),
        rows,
        targets,
    )


def cold(effort: Effort) -> Section:
    """Processes that begin while the circuit is open, calls beyond the threshold, and probes that die."""
    thorough = effort.rounds > 20
    rows: list[tuple[str, ...]] = []
    targets: list[Target] = []
    peer = next(each for each in redis_subjects() if each.name.startswith(INTERLOCK))
    with Server() as server:
        joined = [_joined(server.url, f"cold-{number}", "ours") for number in range(10 if thorough else 3)]
        rows.append(("**recloser**: a process joins", *_joining(joined)))
        most = 1000 * max(said["seconds"] for said in joined)
        targets.append(
            Target(
                "a cold process passes calls while the circuit is open",
                "until the first reply",
                f"for {most:.0f} ms at the most",
                (most <= 50,),
            )
        )
        theirs = [_joined(server.url, f"theirs-{number}", peer.name) for number in range(2)]
        rows.append((f"{peer.name}: a process joins", *_joining(theirs)))
        made = [_beyond(server.url, f"beyond-{number}") for number in range(10 if thorough else 2)]
        above, rate = [calls - threshold for calls, threshold, _ in made], statistics.median(r for _, _, r in made)
        rows.append(
            (
                f"**recloser**: 4 processes fail {rate:.0f} times a second together",
                f"{statistics.median(above):.0f} calls beyond the threshold of 20, {max(above)} at the most",
            )
        )
        allowed = 4 + rate * 0.025
        targets.append(
            Target(
                "calls beyond the threshold",
                f"at most those in flight and {rate:.0f} a second for 25 ms: {allowed:.0f}",
                f"{statistics.median(above):.0f}, {max(above)} at the most",
                (statistics.median(above) <= allowed, max(above) <= allowed),
            )
        )
        over = [_takeover(server.url, f"over-{number}") for number in range(5 if thorough else 2)]
    late = max(over)
    rows.append(
        (
            "**recloser**: the probe's process is killed, `probe_timeout` is 2 s",
            f"another is let through {statistics.median(over):.2f} s after that probe began, {late:.2f} s at the most",
        )
    )
    targets.append(
        Target(
            "permit of a killed probe, free again",
            "within probe_timeout, and taken within 0.25 s",
            f"{late:.2f} s of 2 s",
            (late <= 2.25, statistics.median(over) <= 2.25),
        )
    )
    return Section("Joining late, going too far, dying", "Real processes.", ("what", "measured"), rows, targets)


# -- trips -----------------------------------------------------------------------------------------------------------


def _seen(url: str, many: int, *, busy: bool) -> tuple[list[float], list[float]]:
    seconds: list[float] = []
    decided: list[float] = []
    namespace = f"seen-{busy}"
    with (
        Member(hears, url=url, namespace=namespace, busy=busy) as ear,
        Member(trips, url=url, namespace=namespace) as a,
    ):
        ear.hear()
        a.hear()
        for _ in range(many):
            began, own = a.ask("trip")
            seconds.append(ear.hear() - began)
            decided.append(own - began)
            a.ask("resume")
            ear.hear()
    return seconds, decided


def hears(line: Line, url: str, namespace: str, busy: bool) -> None:  # noqa: FBT001 - from JSON
    """Says when calls are rejected, and when they are let through again."""
    toolkit, seen = Recloser(url, namespace=namespace), threading.Semaphore(0)
    moments: list[float] = []
    circuit = toolkit.circuit("provider", failures=1, **_HOURS)
    assert toolkit.ready("10s")
    replica = toolkit.engine.replica("provider")
    apply = replica.apply

    def watched(*args: Any, **kwargs: Any) -> None:
        before = replica.record.state
        apply(*args, **kwargs)
        if replica.record.state is not before:
            moments.append(time.time())
            seen.release()

    replica.apply = watched  # type: ignore[method-assign]
    circuit(ask)(1)
    if busy:
        threading.Thread(target=_burn, daemon=True).start()
    line.say()
    while not line.spoken_to():
        if seen.acquire(timeout=1.0):
            line.say(moments.pop(0))


def _burn() -> None:
    number = 0
    while True:
        number = number * 3 % 1_000_003


def trips(line: Line, url: str, namespace: str) -> None:
    """Reports a failure that trips, or resumes, when it is told to."""
    toolkit = Recloser(url, namespace=namespace)
    circuit = toolkit.circuit("provider", failures=1, **_HOURS)
    assert toolkit.ready("10s")
    line.say()
    while True:
        if line.hear() == "trip":
            time.sleep(0.05)
            began = time.time()
            circuit.record_failure("down")
            while circuit.state is not State.OPEN:
                time.sleep(0.0005)
            line.say([began, time.time()])
        else:
            toolkit.resume("provider", by="benchmarks")
            line.say()


def _peer_seen(url: str, name: str, many: int) -> list[float]:
    seconds = []
    for number in range(many):
        with Member(joins, url=url, name=f"peer-{number}", subject=name) as ear:
            ear.hear()
            ear.say()
            # Each trip is one of a new circuit, at another moment of the other's second.
            time.sleep(0.5 + 0.37 * number % 1)
            opened = {each.name: each.sync for each in redis_subjects()}[name]
            assert opened is not None
            call = opened(url, f"peer-{number}", 1)(refuse)
            time.sleep(0.2)
            began = time.time()
            with contextlib.suppress(ConnectionError):
                call(1)
            seconds.append(ear.hear()["at"] - began)
    return seconds


# -- a process that joins --------------------------------------------------------------------------------------------


def _joined(url: str, name: str, subject: str) -> dict[str, Any]:
    if subject == "ours":
        toolkit = Recloser(url, namespace="cold")
        toolkit.circuit(name, **_HOURS)
        toolkit.pause(name, reason="down", by="benchmarks")
        toolkit.close()
    else:
        make = {each.name: each.sync for each in redis_subjects()}[subject]
        assert make is not None
        call = make(url, name, 1)(refuse)
        for _ in range(2):
            with contextlib.suppress(Exception):
                call(1)
        time.sleep(0.5)
    with Member(joins, url=url, name=name, subject=subject) as member:
        member.hear()
        said: dict[str, Any] = member.ask()
        return said


def joins(line: Line, url: str, name: str, subject: str) -> None:
    """Makes a call every 5 ms from its first moment on, until one is rejected."""
    make = {each.name: each.sync for each in redis_subjects()}.get(subject)
    # The toolkit is made, as an application does at its start; the fleet has not been asked about the circuit.
    call = Recloser(url, namespace="cold").circuit(name, **_HOURS)(ask) if make is None else make(url, name, 1)(ask)
    line.say()
    line.hear()
    began, passed = time.time(), 0
    while True:
        try:
            call(1)
        except Exception:
            now = time.time()
            line.say({"passed": passed, "seconds": now - began, "at": now})
            return
        passed += 1
        time.sleep(0.005)


def _joining(said: list[dict[str, Any]]) -> tuple[str]:
    passed, took = [each["passed"] for each in said], [1000 * each["seconds"] for each in said]
    middle = f"{statistics.median(passed):.0f} calls pass in {statistics.median(took):.0f} ms"
    return (f"{middle}, at the most {max(passed)} in {max(took):.0f} ms (one every 5 ms)",)


# -- beyond the threshold --------------------------------------------------------------------------------------------


def _beyond(url: str, name: str) -> tuple[int, int, float]:
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(Member(makes_calls, url=url, name=name)) for _ in range(4)]
        for member in members:
            member.hear()
        start = time.time() + 0.3
        for member in members:
            member.say(start)
        said = [member.hear() for member in members]
    return sum(each["made"] for each in said), 20, sum(each["rate"] for each in said)


def makes_calls(line: Line, url: str, name: str) -> None:
    """Calls a provider that is down a hundred times a second, until the circuit opens."""
    toolkit = Recloser(url, namespace="beyond")
    call = toolkit.circuit(name, failures=20, **_HOURS)(refuse)
    assert toolkit.ready("10s")
    line.say()
    time.sleep(max(0.0, line.hear() - time.time()))
    began, made = time.time(), 0
    while True:
        try:
            call(1)
        except PausedError:
            line.say({"made": made, "rate": made / (time.time() - began)})
            return
        except ConnectionError:
            made += 1
        time.sleep(0.01)


# -- a probe that dies -----------------------------------------------------------------------------------------------


def _takeover(url: str, name: str) -> float:
    with Member(probes, url=url, name=name) as one, Member(probes, url=url, name=name) as other:
        for member in (one, other):
            member.hear()
        one.say("trip")
        other.say("call")
        began, holder, heir = _first(one, other)
        holder.kill()
        return float(heir.hear()) - began


def _first(one: Member, other: Member) -> tuple[float, Member, Member]:
    """When the first probe began, and who holds it."""
    for _ in _attempts():
        for holder, heir in ((one, other), (other, one)):
            with contextlib.suppress(TimeoutError):
                return float(holder.hear(0.01)), holder, heir
    raise AssertionError


def _attempts() -> Iterator[None]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        yield


def probes(line: Line, url: str, name: str) -> None:
    """Makes calls until it is the probe, says when it began, and hangs."""
    toolkit = Recloser(url, namespace="probes")
    circuit = toolkit.circuit(name, failures=1, cooldown="1s", cooldown_max="1s", probe_timeout="2s")
    assert toolkit.ready("10s")
    line.say()
    if line.hear() == "trip":
        circuit.record_failure("down")
    else:
        time.sleep(0.3)
    while True:
        with contextlib.suppress(PausedError), circuit:
            if circuit.state is State.HALF_OPEN:
                line.say(time.time())
                time.sleep(60)
        time.sleep(0.01)


# -- reading ---------------------------------------------------------------------------------------------------------


def _rank(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


def _milliseconds(seconds: list[float]) -> tuple[str, str, str]:
    return tuple(f"{1000 * _rank(seconds, share):,.1f}" for share in (0.5, 0.99, 1.0))  # type: ignore[return-value]
