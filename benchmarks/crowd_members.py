"""The processes that stand for a crowd: some make its exchanges, one has its subscriptions."""

from __future__ import annotations

import heapq
import random
import select
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any

from recloser.backends import Ask, Delivery, Parcel, Seat
from recloser.backends.redis import RedisBackend
from recloser.backends.redis_link import RedisLink
from recloser.core.events import ErrorSample
from recloser.core.window import Counts
from recloser.pace import Pace

if TYPE_CHECKING:
    from benchmarks.member import Line

__all__ = ["CIRCUITS", "NAMESPACE", "WINDOW", "asks_all", "delivery", "drives", "listens"]

NAMESPACE, WINDOW = "crowd", 300.0
CIRCUITS = ("azure-speech", "deepgram-nova", "openai-gpt", "elevenlabs-tts", "twilio-sip")
_CONNECTIONS = 500
"""So many of a driver at the most."""
_SAMPLE = 100
"""So many subscriptions are read as soon as something comes."""
_BUCKET = WINDOW / 60


def delivery(at: float, failing: bool, number: int = 0) -> Delivery:  # noqa: FBT001 - two sorts of outcome
    """What one process has to say of one bucket."""
    if not failing:
        return Delivery(0, at, Counts(calls=25))
    error = ErrorSample(f"status {500 + number % 5}", "the provider is overloaded", "unavailable", 1, at)
    return Delivery(0, at, Counts(calls=3, failures=1), errors=(error,))


class _Process:
    """One simulated process."""

    __slots__ = ("backend", "number", "pace", "sender")

    def __init__(self, backend: RedisBackend, fleet: int) -> None:
        self.backend = backend
        self.sender = uuid.uuid4().hex
        self.number = 0
        self.pace = Pace(processes=fleet)

    def exchanges(self, mode: str) -> float:
        """Makes one exchange; seconds that it waited for the answer."""
        now = time.monotonic()
        self.number += 1
        parcels = [Parcel(name, WINDOW, self._deliveries(mode, now)) for name in CIRCUITS]
        self.backend.exchange(self.sender, self.number, now, parcels, alive=self.pace.alive)
        done = time.monotonic()
        self.pace.answered(now, done)
        return done - now

    def _deliveries(self, mode: str, now: float) -> tuple[Delivery, ...]:
        if mode == "idle":
            return ()
        if mode == "storm":
            return (delivery(now, failing=True, number=self.number),)
        # A tick that is longer than a bucket brings one for each.
        buckets = max(1, round(self.pace.length / _BUCKET))
        return tuple(delivery(now - place * _BUCKET, failing=False) for place in range(buckets))

    def due(self, mode: str) -> float:
        """When it makes the next exchange."""
        now = time.monotonic()
        if mode == "storm":
            return self.pace.not_before(now)
        self.pace.ticked(now, random.random())
        return self.pace.tick_at

    def rate(self, mode: str) -> float:
        """How many exchanges its rhythm asks for in a second, a quick server being there."""
        return 1 / (max(self.pace.gap, self.pace.processes / 5000) if mode == "storm" else self.pace.length)


def drives(line: Line, url: str, fleet: int, mine: int, number: int) -> None:
    """Makes the exchanges of ``mine`` of the ``fleet``, as it is told."""
    backends = [
        RedisBackend(RedisLink.from_url(url, timeout=30), namespace=NAMESPACE) for _ in range(min(mine, _CONNECTIONS))
    ]
    processes = [_Process(backends[place % len(backends)], fleet) for place in range(mine)]
    random.seed(number)
    for process in processes:
        process.backend.exchange(process.sender, 0, time.monotonic(), [], alive=process.pace.alive)
    line.say()
    while True:
        request = line.hear()
        if request["mode"] == "asks":
            line.say(asks_all(processes, request["generation"]))
        else:
            line.say(_drive(processes, request["mode"], request["seconds"]))


def _drive(processes: list[_Process], mode: str, seconds: float) -> dict[str, Any]:
    begin = time.monotonic()
    spread = processes[0].pace.length if mode != "storm" else 1 / processes[0].rate(mode)
    due = [(begin + random.random() * spread, place) for place in range(len(processes))]
    heapq.heapify(due)
    waits: list[float] = []
    while (now := time.monotonic()) < begin + seconds:
        when, place = due[0]
        if when > now:
            time.sleep(min(when, begin + seconds) - now)
            continue
        waits.append(processes[place].exchanges(mode))
        heapq.heapreplace(due, (processes[place].due(mode), place))
    waits.sort()
    return {
        "exchanges": len(waits),
        "wanted": sum(each.rate(mode) for each in processes),
        "waits": [waits[int(share * len(waits))] if waits else 0.0 for share in (0.5, 0.99)],
    }


def asks_all(processes: list[_Process], generation: int) -> int:
    """Every process asks for the one permit, one after the other; how many have asked."""
    for process in processes:
        ask = Ask(Seat("probe", f"{process.sender}:1"), generation, 1, 30.0)
        process.backend.exchange(
            process.sender, 0, time.monotonic(), [Parcel(CIRCUITS[0], WINDOW, (), (ask,))], alive=process.pace.alive
        )
    return len(processes)


def listens(line: Line, port: int, many: int) -> None:
    """Has so many subscriptions; says when half of a sample, and when nearly all of it, have heard a message."""
    sockets = []
    for _ in range(many):
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(f"SUBSCRIBE recloser:{{{NAMESPACE}}}:push\r\n".encode())
        one.recv(4096)
        sockets.append(one)
    step = max(1, many // _SAMPLE)
    sample, rest = sockets[::step], [each for place, each in enumerate(sockets) if place % step]
    line.say()
    while True:
        line.hear()
        for each in sockets:
            _drain(each)
        poll = select.poll()
        for each in sample:
            poll.register(each, select.POLLIN)
        line.say()
        waiting, moments = {each.fileno(): each for each in sample}, list[float]()
        while waiting:
            for fileno, _ in poll.poll(30_000):
                moments.append(time.time())
                poll.unregister(fileno)
                waiting.pop(fileno).recv(65536)
        line.say([moments[len(moments) // 2], moments[int(0.99 * len(moments))]])
        for each in rest:
            _drain(each)


def _drain(one: socket.socket) -> None:
    one.setblocking(False)
    try:
        while one.recv(65536):
            pass
    except BlockingIOError:
        pass
    one.setblocking(True)
