"""What one Redis has to do for a fleet: one server, driven by a few processes as up to ten thousand would drive it.

Every exchange is one of the real backend, with the parcels that a courier makes, from a sender of its own, in the
rhythm of :class:`recloser.pace.Pace`. The subscriptions are real, one for each simulated process. The
connections on which commands come are not more than a thousand.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.crowd_members import CIRCUITS, NAMESPACE, WINDOW, delivery, drives, listens
from benchmarks.member import Member
from benchmarks.report import NONE, Section, Target
from benchmarks.server import Server
from recloser.backends import Parcel
from recloser.backends.redis import RedisBackend
from recloser.backends.redis_link import RedisLink
from recloser.core.machine import Record, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Effort

__all__ = ["crowd", "crowd_memory"]

DRIVERS = 2
MODES = {"idle": "idle", "traffic": "healthy traffic", "storm": "every process sees failures"}
KIB = 1024


class _Load(NamedTuple):
    """What was measured while the server was driven."""

    seconds: float
    exchanges: int
    wanted: float
    cpu: float
    kernel: float
    script: float
    bytes_in: float
    bytes_out: float
    waits: list[float]


def crowd(effort: Effort) -> Section:
    """Commands, processor and bytes for fleets of several sizes."""
    thorough = effort.rounds > 20
    sizes, seconds = ((1, 10, 100, 1000, 10_000), 8.0) if thorough else ((10, 1000), 2.0)
    rows: list[tuple[str, ...]] = []
    shares: dict[int, tuple[float, float]] = {}
    for size in sizes:
        with _fleet(size) as (server, members, listeners):
            for mode, about in MODES.items():
                load = _driven(server, members, mode, seconds)
                if mode == "traffic":
                    shares[size] = load.cpu / load.seconds, load.kernel / load.seconds
                rows.append((f"{size:,}", about, *_cells(load)))
            heard = [_trip(server, listeners, number) for number in range(10 if thorough else 3)]
            told, last = (1000 * statistics.median(each[place] for each in heard) for place in (0, 1))
            trip = f"half of them hear of a trip in {told:.1f} ms, 99 of 100 in {last:.1f} ms"
            rows.append((f"{size:,}", trip, *[NONE] * 8))
            rows.append(
                (f"{size:,}", f"a cooldown ends, and each asks for a permit: {_cooldown(server, members)}", *[NONE] * 8)
            )
    size = max(each for each in sizes if each <= 1000)
    return Section(
        "What one Redis does for a fleet",
        f"So many processes with {len(CIRCUITS)} circuits each, simulated by {DRIVERS} that use the real backend; "
        f"{seconds:g} s each. Due: the exchanges that the rhythm asks for in a second, and those that were made: where "
        "fewer were, the machine (whose cores the drivers share with the server) could do no more. The server's share "
        "of one core, as it says itself and as the kernel says.",
        (
            "processes",
            "what",
            "due/s",
            "made/s",
            "server",
            "kernel",
            "script",
            "for each",
            "bytes in, out",
            "wait p50, p99",
        ),
        rows,
        [
            Target(
                f"{size:,} processes with 5 circuits, healthy",
                "at most 25 % of one Redis core",
                f"{shares[size][0]:.1%} ({shares[size][1]:.1%})",
                tuple(share <= 0.25 for share in shares[size]),
            )
        ],
    )


def _cells(load: _Load) -> tuple[str, ...]:
    made = load.exchanges / load.seconds
    return (
        f"{load.wanted:,.0f}",
        f"{made:,.0f}",
        f"{load.cpu / load.seconds:.1%}",
        f"{load.kernel / load.seconds:.1%}",
        f"{load.script:.0f} µs",
        f"{1e6 * load.cpu / max(1, load.exchanges):.0f} µs",
        f"{load.bytes_in:,.0f}, {load.bytes_out:,.0f}",
        f"{1000 * load.waits[0]:.1f}, {1000 * load.waits[1]:.1f} ms",
    )


@contextlib.contextmanager
def _fleet(size: int) -> Iterator[tuple[Server, list[Member], Member]]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server("maxclients 12500"))
        drivers = min(DRIVERS, size)
        members = [
            stack.enter_context(
                Member(drives, url=server.url, fleet=size, mine=len(range(number, size, drivers)), number=number)
            )
            for number in range(drivers)
        ]
        listeners = stack.enter_context(Member(listens, port=server.port, many=size))
        for each in (*members, listeners):
            each.hear(120)
        yield server, members, listeners


def _driven(server: Server, members: list[Member], mode: str, seconds: float) -> _Load:
    for member in members:
        member.say({"mode": mode, "seconds": 0.5})
    for member in members:
        member.hear(120)
    server.ask("CONFIG", "RESETSTAT")
    cpu, kernel, (read, written), began = server.cpu(), server.cpu_of_kernel(), server.bytes(), time.monotonic()
    for member in members:
        member.say({"mode": mode, "seconds": seconds})
    said = [member.hear(120) for member in members]
    took = time.monotonic() - began
    cpu, kernel = server.cpu() - cpu, server.cpu_of_kernel() - kernel
    read, written = (now - before for now, before in zip(server.bytes(), (read, written), strict=True))
    calls, spent = server.script()
    exchanges = sum(each["exchanges"] for each in said)
    return _Load(
        took,
        exchanges,
        sum(each["wanted"] for each in said),
        cpu,
        kernel,
        spent / max(1, calls),
        read / max(1, exchanges),
        written / max(1, exchanges),
        [statistics.median(each["waits"][place] for each in said) for place in (0, 1)],
    )


def _backend(server: Server) -> RedisBackend:
    return RedisBackend(RedisLink.from_url(server.url, timeout=10), namespace=NAMESPACE)


def _generation(backend: RedisBackend) -> tuple[int, float]:
    reply = backend.exchange("operator", 0, time.monotonic(), [Parcel(CIRCUITS[0], WINDOW)])
    facts = reply.answers[0].facts
    return facts.record.generation, facts.now


def _trip(server: Server, listeners: Member, number: int) -> tuple[float, float]:
    """Seconds until half of the sampled subscribers have heard of a transition, and until nearly all have."""
    backend = _backend(server)
    generation, now = _generation(backend)
    state = State.OPEN if number % 2 else State.CLOSED
    record = Record(generation + 1, state, now, now + 60 if number % 2 else None, "10 failures in 5m", "recloser", 1)
    listeners.ask("listen")
    began = time.time()
    assert backend.swap(CIRCUITS[0], generation, record, None, clear=False)
    half, most = listeners.hear(60)
    backend.close()
    return half - began, most - began


def _cooldown(server: Server, members: list[Member]) -> str:
    """Every process asks for the one permit, as soon as it hears that the circuit is half-open and it has traffic."""
    backend = _backend(server)
    generation, now = _generation(backend)
    record = Record(generation + 1, State.HALF_OPEN, now, None, "10 failures in 5m", "recloser", 1)
    assert backend.swap(CIRCUITS[0], generation, record, None, clear=False)
    backend.close()
    cpu, began = server.cpu(), time.monotonic()
    for member in members:
        member.say({"mode": "asks", "generation": generation + 1})
    asked = sum(member.hear(120) for member in members)
    took = time.monotonic() - began
    return f"{asked:,} exchanges in {took:.2f} s, {1000 * (server.cpu() - cpu):.0f} ms of the server"


# -- memory ----------------------------------------------------------------------------------------------------------


def crowd_memory(effort: Effort) -> Section:
    """What the keys take: of a circuit, and of the fleet."""
    processes = 1000 if effort.rounds > 20 else 100
    cases = {
        "new, nothing counted": (0, False, 1),
        "healthy, 1 minute": (24, False, 1),
        "healthy, a full window": (120, False, 1),
        "a full window, failures, 5 errors": (120, True, 1),
        f"the same, seen by {processes:,} processes": (120, True, processes),
    }
    rows: list[tuple[str, ...]] = []
    full = 0.0
    for name, (buckets, failing, reporters) in cases.items():
        with Server() as server:
            _filled(server, buckets, reporters, failing=failing)
            used = _used(server)
        of_circuits = {kind: used.get(kind, 0) / len(CIRCUITS) for kind in ("circuit", "window", "once", "reporters")}
        each = sum(of_circuits.values())
        if name == "healthy, a full window":
            full = each
        fleet = sum(used.values()) - each * len(CIRCUITS)
        rows.append((name, *(f"{size:,.0f}" for size in of_circuits.values()), f"{each:,.0f}", f"{fleet:,.0f}"))
    return Section(
        "Memory in Redis",
        f"Bytes (`MEMORY USAGE`) for each of {len(CIRCUITS)} circuits, by key, and of everything else that the fleet "
        "keeps: who is alive, the number of each sender's last exchange, the names of the circuits.",
        ("a circuit", "head", "window", "once", "reporters", "together", "the fleet"),
        rows,
        [
            Target(
                "memory of a circuit with a full window", "about 1 KiB", f"{full / KIB:.1f} KiB", (full <= 1.5 * KIB,)
            )
        ],
    )


def _filled(server: Server, buckets: int, reporters: int, *, failing: bool) -> None:
    backend = _backend(server)
    for reporter in range(reporters):
        now = time.monotonic()
        parcels = [
            Parcel(
                name,
                WINDOW,
                tuple(delivery(now - WINDOW * place / 120, failing, place) for place in range(buckets, 0, -1))
                if reporter == 0
                else (delivery(now, failing, reporter),),
            )
            for name in CIRCUITS
        ]
        backend.exchange(f"{reporter:032x}", 1, now, parcels)
    backend.close()


def _used(server: Server) -> dict[str, int]:
    used: dict[str, int] = {}
    for key in server.ask("KEYS", "*"):
        kind = key.split(":")[2]
        used[kind] = used.get(kind, 0) + int(server.ask("MEMORY", "USAGE", key, "SAMPLES", 0))
    return used
