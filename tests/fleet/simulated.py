"""A fleet without threads, sockets and real time: processes take turns when a test says so, over wires that fail.

What is simulated is the network and who runs when. Courier, carrier, stand-in, replicas and circuits are the real ones.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from recloser import Recloser
from recloser.backends.memory import MemoryBackend
from recloser.contain import Listeners
from recloser.errors import BackendError
from recloser.remote import RemoteCourier
from recloser.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from recloser.backends import Parcel, Reply
    from recloser.core.events import Event
    from recloser.core.machine import Record

__all__ = ["Fleet", "Process", "Wire", "no_threads"]


def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Couriers are there, and take a turn only when they are told to."""
    monkeypatch.setattr(RemoteCourier, "_start", lambda self: setattr(self, "asleep", False))
    monkeypatch.setattr(Listeners, "tell_elsewhere", Listeners.tell)


class Wire:
    """One process's way to the server.

    Attributes:
        down: nothing goes through.
        mute: requests arrive, but no answer comes back.
        deaf: pushes do not arrive.
        requests: how many arrived.
    """

    inline = False
    namespace = "simulated"
    address = "simulated://"

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.down = self.mute = self.deaf = False
        self.requests = 0
        self._listeners: list[Callable[[str, Record | None, float], None]] = []
        fleet.wires.append(self)

    def _ask(self, work: Callable[[MemoryBackend], Any]) -> Any:
        if self.down or self._fleet.server is None:
            raise BackendError("the server does not answer")
        self.requests += 1
        answer = work(self._fleet.server)
        if self.mute:
            raise BackendError("the server does not answer within 0.25s")
        return answer

    def exchange(self, sender: str, sequence: int, sent: float, parcels: Sequence[Parcel], *, alive: float) -> Reply:
        return self._ask(lambda server: server.exchange(sender, sequence, sent, parcels, alive=alive))

    def swap(self, circuit: str, generation: int, record: Record, event: Event | None, *, clear: bool) -> bool:
        return self._ask(lambda server: server.swap(circuit, generation, record, event, clear=clear))

    def circuits(self) -> list[str]:
        return self._ask(lambda server: server.circuits())

    def append(self, event: Event) -> None:
        self._ask(lambda server: server.append(event))

    def events(self, limit: int) -> list[Event]:
        return self._ask(lambda server: server.events(limit))

    def subscribe(self, listener: Callable[[str, Record | None, float], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def pushed(self, circuit: str, record: Record | None, now: float) -> None:
        self._fleet.stirred = True
        for listener in () if self.down or self.deaf else tuple(self._listeners):
            listener(circuit, record, now)

    def close(self) -> None:
        self.down = True


class Process:
    """One process of a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.wire = Wire(fleet)
        self.toolkit = Recloser(self.wire, clock=fleet.clock)
        self.courier: Any = self.toolkit.engine.courier
        self.told: deque[Event] = deque()
        self.toolkit.listen(self.told.append)
        self.alive = True

    def circuit(self, name: str = "tts", **thresholds: Any) -> Any:
        """A circuit of this process, its courier awake."""
        circuit = self.toolkit.circuit(name, **thresholds)
        _ = circuit.state
        return circuit

    def turn(self) -> float:
        """Its courier does what is due."""
        return self.courier.carrier.turn()


class Fleet:
    """Processes around one server, which is None while it is gone.

    The server's clock is that of nobody else: it began ten thousand seconds earlier.
    """

    def __init__(self, size: int = 0) -> None:
        self.clock = ManualClock(100.0)
        self.wires: list[Wire] = []
        self.server: MemoryBackend | None = None
        self.stirred = False
        self.start_server()
        self.processes = [Process(self) for _ in range(size)]

    def start_server(self) -> MemoryBackend:
        """An empty server."""
        server = self.server = MemoryBackend(clock=_Ahead(self.clock))
        server.subscribe(lambda *news: [wire.pushed(*news) for wire in self.wires])
        return server

    def settle(self, *processes: Process, within: float = 0.5) -> None:
        """Everybody takes turns until nobody has anything to do soon; a gap passes between them."""
        for _ in range(200):
            self.clock.advance(0.02)
            self.stirred = False
            due = [each.turn() for each in processes or self.processes if each.alive]
            if not self.stirred and min(due, default=0.0) > self.clock.now() + within:
                return
        raise AssertionError("the couriers do not come to rest")


class _Ahead:
    """Another computer's clock."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def now(self) -> float:
        return round(self._clock.now() + 10_000.0, 6)

    def time(self) -> float:
        return self.now()

    def jitter(self) -> float:
        return 0.0
