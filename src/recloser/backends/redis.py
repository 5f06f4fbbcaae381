"""The Redis backend: the facts of a fleet, in Redis or Valkey.

The Lua scripts beside this module do everything that must happen at once; this module says it in their words. All keys
of a namespace share one hash tag, so that a cluster keeps them together:

``recloser:{NAMESPACE}:circuits``, ``:alive``, ``:events``, ``:settings``, ``:written``, ``:number:SENDER``, and for
each circuit ``:circuit:NAME``, ``:window:NAME``, ``:once:NAME``, ``:reporters:NAME``. What they hold is said in
``exchange.lua``.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Self, TypeVar

from recloser.backends import Answer, Lease, Reply
from recloser.backends.board import Notice
from recloser.backends.redis_link import RedisLink, Script
from recloser.backends.redis_outbox import RedisOutbox
from recloser.core.events import ErrorSample, Event
from recloser.core.machine import Facts, Record, State
from recloser.core.policy import check_name
from recloser.core.window import Counts
from recloser.forks import renew_after_fork
from recloser.locks import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from recloser.backends import Ask, Delivery, Parcel, Seat
    from recloser.backends.redis_link import Ear
    from recloser.clock import Clock

__all__ = ["RedisBackend"]

_T = TypeVar("_T")

_COMMON = ("alive", "circuits", "events", "settings", "written")
_ENTRIES = 500
"""So many entries are written down at once: a script unpacks no more than a few thousand words."""

_EVENTS = 1000
_DAY = 86_400
_KEYS_LIVE = _DAY
"""Seconds after which the keys of a fleet that is gone are gone too; longer where a window or a pause is."""
_EVENTS_LIVE = 30 * _DAY


class RedisBackend:
    """Facts kept in a Redis.

    Args:
        link: how it is reached.
        namespace: circuits of different namespaces do not know of each other.
        now: for tests, the server's time in seconds; its own clock by default.
    """

    namespace: str
    inline: bool = False

    def __init__(self, link: RedisLink, *, namespace: str = "recloser", now: Callable[[], float] | None = None) -> None:
        self.namespace = check_name("namespace", namespace)
        self._link = link
        self._now = now
        self._root = f"recloser:{{{namespace}}}:"
        self._channel = self._root + "push"
        self._lock = Section()
        self._listeners: tuple[Callable[[str, Record | None, float], None], ...] = ()
        self._ear: Ear | None = None
        self._identity = uuid.uuid4().hex
        renew_after_fork(self)

    @classmethod
    def from_url(cls, url: str, *, namespace: str, clock: Clock) -> Self:  # noqa: ARG003 - the time is the server's
        """The backend for a URL; connects to nothing yet.

        Raises:
            ConfigurationError: for a URL that is malformed.
        """
        return cls(RedisLink.from_url(url), namespace=namespace)

    @classmethod
    def from_client(cls, client: object, *, namespace: str = "recloser") -> Self:
        """The backend for the server that a client of redis-py talks to; the client itself is not used.

        Args:
            client: a ``redis.Redis`` or a ``redis.RedisCluster``.
            namespace: circuits of different namespaces do not know of each other.

        Raises:
            ConfigurationError: for anything else, async clients among them.
        """
        return cls(RedisLink.from_client(client), namespace=namespace)

    @property
    def address(self) -> str:
        """Where it is, for people, without secrets."""
        return self._link.address

    def verify(self) -> None:
        self._link.verify()
        self._run("check.lua", [f"{self._root}check:{self._identity}"], [self._channel])

    # -- facts -------------------------------------------------------------------------------------------------------

    def exchange(
        self, sender: str, sequence: int, sent: float, parcels: Sequence[Parcel], *, alive: float = 60.0
    ) -> Reply:
        merges = any(parcel.deliveries for parcel in parcels)
        longest = max((parcel.window for parcel in parcels), default=0.0)
        payload = {
            "now": self._moment(False),
            "sender": sender,
            "number": sequence if merges else 0,
            "alive": _micros(alive),
            "channel": self._channel,
            "ttl": int(1000 * max(_KEYS_LIVE, 2 * longest)),
            "parcels": [
                (
                    parcel.circuit,
                    _micros(parcel.window),
                    [_delivery(each, sent) for each in parcel.deliveries],
                    [_ask(each) for each in parcel.asks],
                )
                for parcel in parcels
            ],
        }
        keys = [self._root + kind for kind in _COMMON]
        keys.insert(1, f"{self._root}number:{sender}")
        for parcel in parcels:
            keys += self._keys(parcel.circuit)
        found = self._run("exchange.lua", keys, [json.dumps(payload, separators=(",", ":"))])
        now, processes, settings, written, *answers = found
        return Reply(tuple(_answer(each, now) for each in answers), processes, settings, bool(written))

    def swap(self, circuit: str, generation: int, record: Record, event: Event | None, *, clear: bool) -> bool:
        never_expires = record.state is State.PAUSED
        lasting = 0.0 if record.until is None else record.until - record.since
        text = _record_text(record)
        args = (
            self._moment(""),
            generation,
            record.generation,
            text,
            "" if event is None else _event_text(event),
            int(clear),
            int(never_expires),
            # The same swap tried again is the same swap.
            f"{self._identity}:{generation}:{text}",
            int(1000 * (_KEYS_LIVE + lasting)),
            self._channel,
            circuit,
            _EVENTS,
            1000 * _EVENTS_LIVE,
        )
        keys = [*self._keys(circuit), self._root + "circuits", self._root + "events"]
        return bool(self._run("swap.lua", keys, args))

    def circuits(self) -> list[str]:
        names: list[bytes] = self._run("circuits.lua", [self._root + "circuits"], [self._moment("")])
        return sorted(name.decode() for name in names)

    def _run(self, script: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        # Read when it is needed, by who may wait: the first call may come on an event loop, and makes this object.
        return self._link.run(Script.load(script), keys, args)

    def _keys(self, circuit: str) -> list[str]:
        return [f"{self._root}{kind}:{circuit}" for kind in ("circuit", "window", "once", "reporters")]

    def _moment(self, of_the_server: _T) -> int | _T:
        """The time that scripts are told, or what tells them to look at the server's own."""
        return of_the_server if self._now is None else _micros(self._now())

    # -- the board ---------------------------------------------------------------------------------------------------

    def settings(self) -> Notice:
        version, text = self._link.execute("HMGET", self._root + "settings", "v", "d")
        return Notice(int(version or 0), (text or b"").decode())

    def set_settings(self, seen: int, text: str, events: Sequence[Event] = (), version: int = 0) -> Notice | None:
        args: list[str | int] = [self._moment(""), seen, text, version, self._channel, _EVENTS, 1000 * _EVENTS_LIVE]
        args += map(_event_text, events)
        found = self._run("settings.lua", [self._root + "settings", self._root + "events"], args)
        return Notice(found[0], found[1].decode()) if found else None

    def written(self) -> Mapping[str, str]:
        fields: list[bytes] = self._link.execute("HGETALL", self._root + "written")
        words = [each.decode() for each in fields]
        return dict(zip(words[::2], words[1::2], strict=True))

    def write(self, entries: Mapping[str, str]) -> None:
        words = [word for entry in entries.items() for word in entry]
        for first in range(0, len(words) or 1, 2 * _ENTRIES):
            some = words[first : first + 2 * _ENTRIES]
            self._run("written.lua", [self._root + "written"], (1000 * _KEYS_LIVE, *some))

    # -- events ------------------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        args = (_event_text(event), _EVENTS, 1000 * _EVENTS_LIVE)
        self._run("append.lua", [self._root + "events"], args)

    def events(self, limit: int) -> list[Event]:
        if limit <= 0:
            return []
        found: list[Any] = self._link.execute("XREVRANGE", self._root + "events", "+", "-", "COUNT", limit)
        return [Event.from_dict(json.loads(fields[1])) for _, fields in reversed(found)]

    def outbox(self) -> RedisOutbox:
        """Where alerts of the fleet wait for their hooks."""
        return RedisOutbox(self._link, self._root, self._now)

    # -- subscribers -------------------------------------------------------------------------------------------------

    def subscribe(self, listener: Callable[[str, Record | None, float], None]) -> Callable[[], None]:
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not listener)

        return end

    def fileno(self) -> int | None:
        ear = self._ear
        return None if ear is None else ear.fileno()

    def pump(self) -> bool:
        ear = self._ear
        fresh = ear is None or ear.fileno() is None
        if ear is None:
            ear = self._ear = self._link.ear(self._channel)
        if fresh:
            ear.open()
        for payload in ear.hear():
            name, now, fields = json.loads(payload)
            record = None if fields is None else _record(fields)
            for listener in self._listeners:
                listener(name, record, now / 1e6)
        return fresh

    def deaf(self) -> None:
        if self._ear is not None:
            self._ear.close()

    # -- life --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self.deaf()
        self._link.close()

    def renew(self) -> None:
        """After a fork, in the child."""
        self._lock.renew()
        self._identity = uuid.uuid4().hex


# -- the scripts' words ----------------------------------------------------------------------------------------------


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _place(seat: Seat) -> str:
    return f"{seat.pool}:{seat.holder}"


def _delivery(delivery: Delivery, sent: float) -> tuple[Any, ...]:
    asked = -1 if delivery.retry_after is None else _micros(delivery.retry_after)
    errors = [(each.label, each.message, each.kind, each.count, _micros(sent - each.at)) for each in delivery.errors]
    return (
        delivery.generation,
        max(0, _micros(sent - delivery.at)),
        *delivery.counts,
        asked,
        errors or False,
        False if delivery.once is None else delivery.once,
        False if delivery.gives_back is None else _place(delivery.gives_back),
    )


def _ask(ask: Ask) -> tuple[Any, ...]:
    return _place(ask.seat), ask.seat.pool, ask.generation, ask.cap, _micros(ask.length), ask.keen


def _answer(found: Any, now: int) -> Answer:
    if isinstance(found, Exception):
        return Answer(None, trouble=f"the keys of the circuit cannot be used: {found}")
    generation, text, since = found[:3]
    record = _record(json.loads(text)) if text else Record(generation=generation, since=since / 1e6)
    facts = Facts(
        record=record,
        now=now / 1e6,
        window=Counts(*found[3:9]),
        tally=Counts(*found[9:15]),
        asked_until=found[15] / 1e6,
        errors=_errors(found[16]),
        reporters=found[17],
    )
    leases = tuple(Lease(bool(granted), after / 1e6, bool(wanted)) for granted, after, wanted in found[18:])
    return Answer(facts, leases)


def _errors(text: bytes) -> tuple[ErrorSample, ...]:
    return tuple(
        ErrorSample(label, message, kind, count, at / 1000)
        for label, message, kind, count, at in (json.loads(text) if text else ())
    )


def _record_text(record: Record) -> str:
    fields = (record.generation, record.state, record.since, record.until, record.reason, record.by, record.trips)
    return json.dumps(fields, separators=(",", ":"))


def _record(fields: list[Any]) -> Record:
    generation, state, *rest = fields
    return Record(generation, State(state), *rest)


def _event_text(event: Event) -> str:
    return json.dumps(event.as_dict(), separators=(",", ":"))
