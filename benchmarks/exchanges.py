"""What one exchange costs: the script in the server, Python on the courier's thread, bytes on the wire."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from benchmarks.crowd_members import WINDOW, delivery
from benchmarks.report import Section
from benchmarks.server import Server
from recloser.backends import Ask, Delivery, Parcel, Seat
from recloser.backends.redis import RedisBackend
from recloser.backends.redis_link import RedisLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Effort

__all__ = ["exchanges"]

COUNTS = (1, 5, 20, 100)
_HEARTBEAT, _SUCCESSES, _FAILURES = "nothing to say", "successes", "failures, each with an error"


def _nothing(_name: str, _number: int, _now: float) -> tuple[tuple[Delivery, ...], tuple[Ask, ...]]:
    return (), ()


def _successes(_name: str, _number: int, now: float) -> tuple[tuple[Delivery, ...], tuple[Ask, ...]]:
    return (delivery(now, failing=False),), ()


def _failures(_name: str, number: int, now: float) -> tuple[tuple[Delivery, ...], tuple[Ask, ...]]:
    return (delivery(now, failing=True, number=number),), ()


def _many(_name: str, number: int, now: float) -> tuple[tuple[Delivery, ...], tuple[Ask, ...]]:
    return tuple(delivery(now - each / 1000, failing=True, number=number + each) for each in range(20)), ()


def _asks(name: str, _number: int, _now: float) -> tuple[tuple[Delivery, ...], tuple[Ask, ...]]:
    return (), (Ask(Seat("probe", f"sender:{name}"), 0, 1, 30.0),)


_KINDS: dict[str, Callable[[str, int, float], tuple[tuple[Delivery, ...], tuple[Ask, ...]]]] = {
    _HEARTBEAT: _nothing,
    _SUCCESSES: _successes,
    _FAILURES: _failures,
    "20 failures, each with an error": _many,
    "a permit is asked for": _asks,
}


def exchanges(effort: Effort) -> Section:
    """Every kind in turns, for several numbers of circuits in one exchange."""
    rounds, calls = (20, 50) if effort.rounds > 20 else (4, 20)
    rows: list[tuple[str, ...]] = []
    with Server() as server:
        backend = RedisBackend(RedisLink.from_url(server.url, timeout=10), namespace="exchanges")
        number = itertools.count(1)
        spent: dict[tuple[str, int], list[tuple[float, float, float, float]]] = {}
        for _ in range(rounds):
            for count, kind in itertools.product(COUNTS, _KINDS):
                # Circuits of their own for each kind, whose windows fill up alike.
                one = _measured(server, backend, kind, count, max(5, calls // count), number)
                spent.setdefault((kind, count), []).append(one)
        backend.close()
    least = {key: tuple(min(each[place] for each in all_) for place in range(4)) for key, all_ in spent.items()}
    baseline = least[_HEARTBEAT, 1]
    for kind, count in itertools.product(_KINDS, COUNTS):
        script, python, read, written = least[kind, count]
        rows.append(
            (
                kind,
                f"{count}",
                f"{script / baseline[0]:.1f}",
                f"{script:.0f} µs",
                f"{script / count:.1f} µs",
                f"{python / baseline[1]:.1f}",
                f"{1e6 * python:.0f} µs",
                f"{read:,.0f}, {written:,.0f}",
            )
        )
    return Section(
        "What one exchange costs",
        "The least of several rounds in turns. The script as the server times it, Python as the thread's processor "
        "time for writing the request and reading the answer; both also in units of an exchange about one circuit of "
        "which nothing is to be said.",
        ("of each circuit", "circuits", "script", "script", "for each circuit", "Python", "Python", "bytes in, out"),
        rows,
        [],
    )


def _measured(
    server: Server, backend: RedisBackend, kind: str, count: int, calls: int, number: itertools.count[int]
) -> tuple[float, float, float, float]:
    """Microseconds of the script, seconds of Python, bytes to and from the server, of one exchange."""
    make, names = _KINDS[kind], [f"{kind[:2]}{count}-provider-{each}" for each in range(count)]
    before, (read, written) = server.script(), server.bytes()
    empty = server.bytes()
    python = 0.0
    for _ in range(calls):
        turn, now = next(number), time.monotonic()
        parcels = [Parcel(name, WINDOW, *make(name, turn, now)) for name in names]
        began = time.thread_time()
        backend.exchange("sender", turn, now, parcels)
        python += time.thread_time() - began
    after, ended = server.bytes(), server.script()
    # What our own questions cost in bytes is known from the two in a row.
    own = empty[0] - read, empty[1] - written
    return (
        (ended[1] - before[1]) / (ended[0] - before[0]),
        python / calls,
        (after[0] - empty[0] - own[0]) / calls,
        (after[1] - empty[1] - own[1]) / calls,
    )
