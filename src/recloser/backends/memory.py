"""The memory backend: the facts of one process, for applications of one process and for tests."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from recloser.backends import WANTED, Answer, Lease, Reply
from recloser.backends.board import EVERYTHING, Notice
from recloser.backends.memory_outbox import MemoryOutbox
from recloser.clock import SystemClock
from recloser.core.events import merge_samples
from recloser.core.machine import Facts, after, initial
from recloser.core.window import NOTHING, Window
from recloser.errors import ConfigurationError
from recloser.forks import renew_after_fork
from recloser.locks import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from recloser.backends import Ask, Delivery, Parcel, Seat
    from recloser.clock import Clock
    from recloser.core.events import ErrorSample, Event
    from recloser.core.machine import Record
    from recloser.core.window import Counts

__all__ = ["MemoryBackend"]

_EVENTS = 1000


class _Shelf:
    """What is known of one circuit."""

    __slots__ = ("errors", "length", "once", "record", "refused", "reporters", "seats", "tally", "window")

    def __init__(self, now: float) -> None:
        self.record: Record = initial(now)
        self.length = 0.0
        self.window = Window()
        self.tally: Counts = NOTHING
        self.errors: tuple[ErrorSample, ...] = ()
        self.once: dict[str, float] = {}
        self.seats: dict[Seat, float] = {}
        self.reporters: dict[str, float] = {}
        self.refused: dict[str, float] = {}

    def begin(self, record: Record, *, clear: bool) -> None:
        """A new record, and with ``clear`` an empty window."""
        self.record = record
        self.tally = NOTHING
        self.seats.clear()
        if clear:
            self.window.clear()
            self.once.clear()
            self.reporters.clear()

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
        clock = clock or SystemClock()
        self._now = clock.now
        self._lock = Section()
        self._shelves: dict[str, _Shelf] = {}
        self._sequences: dict[str, int] = {}
        self._heard: dict[str, float] = {}
        self._log: deque[Event] = deque(maxlen=_EVENTS)
        self._logged = 0
        self._listeners: list[Callable[[str, Record | None, float], None]] = []
        self._outbox = MemoryOutbox(clock.time, self._events_after)
        self._settings = Notice(0, "")
        self._written: dict[str, str] = {}
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
        self._outbox.renew()

    def exchange(
        self, sender: str, sequence: int, sent: float, parcels: Sequence[Parcel], *, alive: float = 60.0
    ) -> Reply:
        with self._lock:
            now = self._now()
            new = sequence > self._sequences.get(sender, 0)
            if new:
                self._sequences[sender] = sequence
            if sender:
                self._heard[sender] = now
            answers: list[Answer] = []
            for parcel in parcels:
                shelf = self._shelf(parcel.circuit, now)
                shelf.length = parcel.window or shelf.length
                for delivery in parcel.deliveries if new else ():
                    self._merge(shelf, delivery, now, sent, parcel.window, sender)
                leases = tuple(self._lease(shelf, ask, now) for ask in parcel.asks)
                answers.append(Answer(self._facts(shelf, now, shelf.length), leases))
            processes = sum(now - heard < alive for heard in self._heard.values())
            return Reply(tuple(answers), processes, self._settings.version, bool(self._written))

    @staticmethod
    def _facts(shelf: _Shelf, now: float, window: float) -> Facts:
        return Facts(
            record=shelf.record,
            now=now,
            window=shelf.window.totals(now, window),
            tally=shelf.tally,
            asked_until=shelf.window.asked_until(),
            errors=shelf.errors,
            reporters=sum(end > now for end in shelf.reporters.values()),
        )

    @staticmethod
    def _merge(shelf: _Shelf, delivery: Delivery, now: float, sent: float, window: float, sender: str) -> None:
        at = after(now, delivery.at - sent)
        if delivery.gives_back is not None:
            shelf.seats.pop(delivery.gives_back, None)
        if delivery.generation != shelf.record.generation or now - at >= window:
            return
        if delivery.once is not None and not shelf.is_new(delivery.once, now, after(at, window)):
            return
        asked_until = 0.0 if delivery.retry_after is None else after(at, delivery.retry_after)
        shelf.window.add(at, delivery.counts, window, asked_until)
        shelf.tally = shelf.tally.merged(delivery.counts)
        if delivery.counts.failures or delivery.counts.slow:
            shelf.reporters[sender] = max(after(at, window), shelf.reporters.get(sender, 0.0))
        if delivery.errors:
            seen = tuple(replace(sample, at=after(now, sample.at - sent)) for sample in delivery.errors)
            shelf.errors = merge_samples(shelf.errors, seen)

    @staticmethod
    def _lease(shelf: _Shelf, ask: Ask, now: float) -> Lease:
        if shelf.record.generation != ask.generation:
            return Lease(granted=False)
        pool = ask.seat.pool
        shelf.seats = {seat: end for seat, end in shelf.seats.items() if end > now}
        ends = [end for seat, end in shelf.seats.items() if seat.pool == pool and seat != ask.seat]
        taken = len(ends) + (shelf.tally.calls if pool == "probe" else 0)
        wanted = now - shelf.refused.get(pool, -math.inf) < WANTED
        if taken < ask.cap:
            if ask.length:
                shelf.seats[ask.seat] = after(now, ask.length)
            return Lease(granted=True, wanted=wanted)
        if ask.length and ask.keen:
            shelf.refused[pool] = now
        return Lease(granted=False, retry_after=min(ends, default=now) - now, wanted=wanted)

    def swap(self, circuit: str, generation: int, record: Record, event: Event | None, *, clear: bool) -> bool:
        with self._lock:
            now = self._now()
            shelf = self._shelf(circuit, now)
            if shelf.record.generation != generation:
                return False
            shelf.begin(record, clear=clear)
            if event is not None:
                self._put_down(event)
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(circuit, record, now)
        return True

    def restore(self, circuit: str, record: Record, *, clear: bool) -> None:
        """Puts a record in place of the present one, whatever its generation, without telling anybody."""
        with self._lock:
            self._shelf(circuit, self._now()).begin(record, clear=clear)

    def circuits(self) -> list[str]:
        with self._lock:
            return sorted(self._shelves)

    def append(self, event: Event) -> None:
        with self._lock:
            self._put_down(event)

    def _put_down(self, event: Event) -> None:
        self._log.append(event)
        self._logged += 1

    def events(self, limit: int) -> list[Event]:
        with self._lock:
            return list(self._log)[-limit:] if limit > 0 else []

    def outbox(self) -> MemoryOutbox:
        """Where alerts wait for their hooks."""
        return self._outbox

    def _events_after(self, number: int) -> tuple[int, list[Event]]:
        with self._lock:
            return self._logged, list(self._log)[number - self._logged :] if number < self._logged else []

    def subscribe(self, listener: Callable[[str, Record | None, float], None]) -> Callable[[], None]:
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return end

    def settings(self) -> Notice:
        with self._lock:
            return self._settings

    def set_settings(self, seen: int, text: str, events: Sequence[Event] = (), version: int = 0) -> Notice | None:
        with self._lock:
            now = self._now()
            if self._settings.version != seen:
                return None
            # Like a generation, it keeps growing.
            self._settings = Notice(version or max(seen + 1, int(now * 1000)), text)
            for event in events:
                self._put_down(event)
            found, listeners = self._settings, tuple(self._listeners)
        for listener in listeners:
            listener(EVERYTHING, None, now)
        return found

    def written(self) -> Mapping[str, str]:
        with self._lock:
            return dict(self._written)

    def write(self, entries: Mapping[str, str]) -> None:
        with self._lock:
            self._written.update(entries)

    def close(self) -> None:
        """Nothing is held."""

    def _shelf(self, circuit: str, now: float) -> _Shelf:
        shelf = self._shelves.get(circuit)
        if shelf is None:
            shelf = self._shelves[circuit] = _Shelf(now)
        return shelf
