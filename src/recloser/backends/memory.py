"""The memory backend: the facts of one process, for applications of one process and for tests."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from recloser.backends import Lease
from recloser.clock import SystemClock
from recloser.core.events import merge_samples
from recloser.core.machine import Facts, after, initial
from recloser.core.window import NOTHING, Window
from recloser.errors import ConfigurationError
from recloser.forks import renew_after_fork
from recloser.locks import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recloser.backends import Delivery, Parcel, Pool, Seat
    from recloser.clock import Clock
    from recloser.core.events import ErrorSample, Event
    from recloser.core.machine import Record
    from recloser.core.window import Counts

__all__ = ["MemoryBackend"]

_EVENTS = 1000


class _Shelf:
    """What is known of one circuit."""

    __slots__ = ("errors", "once", "record", "seats", "tally", "window")

    def __init__(self, now: float) -> None:
        self.record: Record = initial(now)
        self.window = Window()
        self.tally: Counts = NOTHING
        self.errors: tuple[ErrorSample, ...] = ()
        self.once: dict[str, float] = {}
        self.seats: dict[Seat, float] = {}

    def is_new(self, key: str, now: float, end: float) -> bool:
        """Whether ``key`` was not seen before; it is remembered until ``end``."""
        while self.once and next(iter(self.once.values())) <= now:
            del self.once[next(iter(self.once))]
        if self.once.get(key, now) > now:
            return False
        self.once.pop(key, None)
        self.once[key] = end
        return True


class MemoryBackend:
    """Facts kept in this process.

    Several :class:`~recloser.Recloser` objects given the same instance behave as a fleet.

    Args:
        namespace: a name for people to read; two memory backends never share anything.
        clock: where its time comes from; the computer's clock by default.
    """

    inline = True

    def __init__(self, *, namespace: str = "recloser", clock: Clock | None = None) -> None:
        self.namespace = namespace
        self._now = (clock or SystemClock()).now
        self._lock = Section()
        self._shelves: dict[str, _Shelf] = {}
        self._sequences: dict[str, int] = {}
        self._log: deque[Event] = deque(maxlen=_EVENTS)
        self._listeners: list[Callable[[str, Record], None]] = []
        renew_after_fork(self)

    @classmethod
    def from_url(cls, url: str, *, namespace: str, clock: Clock) -> MemoryBackend:
        """The backend for ``memory://``, which takes nothing more."""
        if urlsplit(url)[1:] != ("", "", "", ""):
            raise ConfigurationError("backend", url, '"memory://" with nothing behind it')
        return cls(namespace=namespace, clock=clock)

    def renew(self) -> None:
        """After a fork, in the child."""
        self._lock.renew()

    def exchange(self, sender: str, sequence: int, sent: float, parcels: Sequence[Parcel]) -> list[Facts]:
        with self._lock:
            now = self._now()
            new = sequence > self._sequences.get(sender, 0)
            if new:
                self._sequences[sender] = sequence
            facts: list[Facts] = []
            for parcel in parcels:
                shelf = self._shelf(parcel.circuit, now)
                for delivery in parcel.deliveries if new else ():
                    self._merge(shelf, delivery, now, after(now, delivery.at - sent), parcel.window)
                facts.append(self._facts(shelf, now, parcel.window))
            return facts

    @staticmethod
    def _facts(shelf: _Shelf, now: float, window: float) -> Facts:
        return Facts(
            record=shelf.record,
            now=now,
            window=shelf.window.totals(now, window),
            tally=shelf.tally,
            asked_until=shelf.window.asked_until(),
            errors=shelf.errors,
        )

    @staticmethod
    def _merge(shelf: _Shelf, delivery: Delivery, now: float, at: float, window: float) -> None:
        if delivery.gives_back is not None:
            shelf.seats.pop(delivery.gives_back, None)
        if delivery.generation != shelf.record.generation or now - at >= window:
            return
        if delivery.once is not None and not shelf.is_new(delivery.once, now, after(at, window)):
            return
        asked_until = 0.0 if delivery.retry_after is None else after(at, delivery.retry_after)
        shelf.window.add(at, delivery.counts, window, asked_until)
        shelf.tally = shelf.tally.merged(delivery.counts)
        if delivery.errors:
            shelf.errors = merge_samples(shelf.errors, delivery.errors)

    def swap(self, circuit: str, generation: int, record: Record, event: Event, *, clear: bool) -> bool:
        with self._lock:
            shelf = self._shelf(circuit, self._now())
            if shelf.record.generation != generation:
                return False
            shelf.record = record
            shelf.tally = NOTHING
            shelf.seats.clear()
            if clear:
                shelf.window.clear()
                shelf.once.clear()
            self._log.append(event)
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(circuit, record)
        return True

    def lease(self, circuit: str, generation: int, seat: Seat, cap: int, length: float) -> Lease:
        with self._lock:
            now = self._now()
            answer = self._free(circuit, generation, seat.pool, cap, now)
            if answer.granted:
                self._shelves[circuit].seats[seat] = after(now, length)
            return answer

    def free(self, circuit: str, generation: int, pool: Pool, cap: int) -> Lease:
        with self._lock:
            return self._free(circuit, generation, pool, cap, self._now())

    def _free(self, circuit: str, generation: int, pool: Pool, cap: int, now: float) -> Lease:
        shelf = self._shelf(circuit, now)
        if shelf.record.generation != generation:
            return Lease(granted=False)
        shelf.seats = {seat: end for seat, end in shelf.seats.items() if end > now}
        ends = [end for seat, end in shelf.seats.items() if seat.pool == pool]
        taken = len(ends) + (shelf.tally.calls if pool == "probe" else 0)
        if taken < cap:
            return Lease(granted=True)
        return Lease(granted=False, retry_after=min(ends, default=now) - now)

    def give_back(self, circuit: str, seat: Seat) -> None:
        with self._lock:
            self._shelf(circuit, self._now()).seats.pop(seat, None)

    def circuits(self) -> list[str]:
        with self._lock:
            return sorted(self._shelves)

    def append(self, event: Event) -> None:
        with self._lock:
            self._log.append(event)

    def events(self, limit: int) -> list[Event]:
        with self._lock:
            return list(self._log)[-limit:] if limit > 0 else []

    def subscribe(self, listener: Callable[[str, Record], None]) -> Callable[[], None]:
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return end

    def close(self) -> None:
        """Nothing is held."""

    def _shelf(self, circuit: str, now: float) -> _Shelf:
        shelf = self._shelves.get(circuit)
        if shelf is None:
            shelf = self._shelves[circuit] = _Shelf(now)
        return shelf
