"""Where facts about circuits are shared: the protocol that every backend keeps, and how one is found by its URL.

A backend merges counts, keeps one record for each circuit, swaps it only if the generation still matches, leases
permits with expiry and appends events. It decides nothing; :mod:`recloser.core.machine` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from recloser.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recloser.clock import Clock
    from recloser.core.events import ErrorSample, Event
    from recloser.core.machine import Facts, Record
    from recloser.core.window import Counts

__all__ = [
    "GROUP",
    "WANTED",
    "Answer",
    "Ask",
    "Backend",
    "Delivery",
    "Lease",
    "Parcel",
    "Pool",
    "Remote",
    "Reply",
    "Seat",
    "adopt",
    "connect",
]

GROUP = "recloser.backends"
"""The entry-point group in which backends are registered by their URL scheme."""

WANTED = 3.0
"""For so many seconds after it was refused a permit, somebody counts as wanting one."""

Pool = str
"""Which permits a lease is taken from: ``"probe"``, ``"trial"`` or ``"choice"``; each pool has a cap of its own."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A permit that somebody holds: which pool it came from, and who holds it."""

    pool: Pool
    holder: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """Outcomes of one generation that happened at one time, on their way to the backend.

    Attributes:
        generation: the generation they belong to; the backend drops them when the circuit has left it.
        at: when they happened, on the sender's clock.
        counts: how many of each sort.
        retry_after: seconds that the provider asked to be left alone, counted from when it happened.
        errors: what was seen.
        once: a key that counts once per window; the whole delivery is dropped when it was seen before.
        gives_back: the permit that this outcome ends.
    """

    generation: int
    at: float
    counts: Counts
    retry_after: float | None = None
    errors: tuple[ErrorSample, ...] = ()
    once: str | None = None
    gives_back: Seat | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a permit, or to keep one for longer.

    Attributes:
        seat: who asks, and from which pool; asking again for a seat that is held begins its length anew.
        generation: the generation it is good for.
        cap: how many may be out at the same time.
        length: for how many seconds; 0 only asks, and takes nothing.
        keen: whether a call wants it now; a refusal is not remembered of those that only look ahead.
    """

    seat: Seat
    generation: int
    cap: int
    length: float
    keen: bool = True


@dataclass(frozen=True, slots=True)
class Lease:
    """The answer to a request for a permit.

    Attributes:
        granted: whether the permit is the holder's now.
        retry_after: when it was refused, seconds until one may come free.
        wanted: whether somebody was refused one in the last few seconds.
    """

    granted: bool
    retry_after: float = 0.0
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class Parcel:
    """Everything one process has to say about one circuit.

    Attributes:
        circuit: its name.
        window: the length of its window in seconds; 0 for who only looks, and takes it as it is.
        deliveries: what happened; may be empty, to ask only.
        asks: the permits that are wanted.
    """

    circuit: str
    window: float
    deliveries: tuple[Delivery, ...] = ()
    asks: tuple[Ask, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend says about one circuit.

    Attributes:
        found: the facts, with everything merged that the parcel brought; None when this circuit cannot be read.
        leases: one for each permit that was asked for, in order.
        trouble: why not, in one line.
    """

    found: Facts | None
    leases: tuple[Lease, ...] = ()
    trouble: str = ""

    @property
    def facts(self) -> Facts:
        """The facts.

        Raises:
            BackendError: when this circuit cannot be read.
        """
        if self.found is None:
            raise BackendError(self.trouble)
        return self.found


@dataclass(frozen=True, slots=True)
class Reply:
    """What a backend answers to an exchange.

    Attributes:
        answers: one for each parcel, in order.
        processes: how many senders were heard of in the last ``alive`` seconds, this one included.
        settings: the version of the settings on its board; None where it has no board.
        written: whether anything is written down there.
    """

    answers: tuple[Answer, ...]
    processes: int = 1
    settings: int | None = None
    written: bool = False


@runtime_checkable
class Backend(Protocol):
    """Where facts about circuits are kept. Every method may be called from any thread.

    Those that cannot answer raise :class:`~recloser.BackendError`, and do so within a bound.
    """

    namespace: str
    """Circuits of different namespaces do not know of each other."""

    inline: bool
    """Whether it answers at once, without I/O, so that a call may ask it directly."""

    def exchange(
        self, sender: str, sequence: int, sent: float, parcels: Sequence[Parcel], *, alive: float = 60.0
    ) -> Reply:
        """Merges what ``parcels`` bring and answers with the facts about each of their circuits.

        ``sent`` is the sender's clock now; what it says of ``at`` makes ages, and ages make times of the backend's
        own. A delivery of another generation than the circuit's, and one whose ``once`` key was seen within the
        window, is dropped. The same ``sequence`` of a ``sender`` sent again is answered, but merged only once.

        Permits are given out, for as long as they are asked for, when the generation matches and fewer than ``cap``
        are taken. In the pool ``"probe"``, a probe that has passed in this generation counts as taken for good.

        ``alive`` says for how many seconds a sender counts among the living after it was heard of; one without a name
        only looks, and never does.
        """
        ...

    def swap(self, circuit: str, generation: int, record: Record, event: Event | None, *, clear: bool) -> bool:
        """Replaces the record if its generation is still ``generation``, appends ``event`` and says whether it did.

        The tally and the permits of the old generation end with it, and with ``clear`` the window too. Every
        subscriber is told. The same swap once more, after an answer that was lost, is answered like the first.
        """
        ...

    def circuits(self) -> list[str]:
        """The names of all circuits that anything is known of, sorted."""
        ...

    def append(self, event: Event) -> None:
        """Adds an event that no transition brought."""
        ...

    def events(self, limit: int) -> list[Event]:
        """The last ``limit`` events, the latest last."""
        ...

    def subscribe(self, listener: Callable[[str, Record | None, float], None]) -> Callable[[], None]:
        """Tells ``listener`` of every swapped record, with the backend's time then; returns a function that ends it.

        With None for a record, a backend that is not inline tells that somebody wants a permit of the circuit and was
        refused; and one with a board tells under the name ``"*"`` that the settings on it have changed. The listener
        may be called on any thread, and is quick.
        """
        ...

    def close(self) -> None:
        """Lets go of everything it holds."""
        ...


@runtime_checkable
class Remote(Protocol):
    """What a backend behind a network may offer besides, so that it needs no thread of its own.

    One thread of ours waits until ``fileno`` can be read, or for a while, and then calls ``pump``.
    """

    address: str
    """Where it is, for people, without secrets."""

    def verify(self) -> None:
        """Looks whether what answers can be used.

        Raises:
            ConfigurationError: for a server that is of the wrong sort, or too old.
            BackendError: when nobody answers, or is not let in.
        """
        ...

    def fileno(self) -> int | None:
        """What can be waited for; None while there is no connection."""
        ...

    def pump(self) -> bool:
        """Tells the subscribers what has arrived; never waits for more, but connects if it has to.

        Returns:
            Whether it has just connected, so that what was said before was missed.

        Raises:
            BackendError: when the connection is lost, or cannot be made.
        """
        ...

    def deaf(self) -> None:
        """Lets go of that connection; the next ``pump`` makes a new one."""
        ...


_REDIS = {"redis", "rediss", "unix", *(f"redis{tls}+{kind}" for tls in ("", "s") for kind in ("sentinel", "cluster"))}


def connect(url: str, *, namespace: str, clock: Clock) -> Backend:
    """The backend that ``url`` names, found by its scheme in the entry-point group ``recloser.backends``.

    Raises:
        ConfigurationError: for a URL without a scheme, or a scheme that nobody registered.
    """
    scheme = url.partition("://")[0].lower() if isinstance(url, str) and "://" in url else ""
    # Ours are made by the first call, maybe on an event loop: no search of the disk for them.
    if scheme == "memory":
        from recloser.backends.memory import MemoryBackend  # noqa: PLC0415 - it is built on this module

        return MemoryBackend.from_url(url, namespace=namespace, clock=clock)
    if scheme in _REDIS:
        from recloser.backends.redis import RedisBackend  # noqa: PLC0415 - whoever has no Redis does not need it

        return RedisBackend.from_url(url, namespace=namespace, clock=clock)
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if scheme not in found:
        known = ", ".join(f"{name}://" for name in sorted(found)) or "none: is recloser installed?"
        raise ConfigurationError("backend", _without_secrets(url), f"a URL that begins with one of {known}")
    backend: Backend = found[scheme].load()(url, namespace=namespace, clock=clock)
    return backend


def adopt(client: object, *, namespace: str) -> Backend:
    """The backend for a client of a library that is known here.

    Raises:
        ConfigurationError: for anything else.
    """
    if isinstance(client, Backend):
        return client
    if any(cls.__module__.partition(".")[0] == "redis" for cls in type(client).__mro__):
        from recloser.backends.redis import RedisBackend  # noqa: PLC0415 - whoever has no Redis does not need it

        return RedisBackend.from_client(client, namespace=namespace)
    allowed = "a URL, a client of redis-py, or an object that keeps the Backend protocol"
    raise ConfigurationError("backend", client, allowed)


def _without_secrets(url: object) -> object:
    """``url``, or no more than its scheme where there may be a password in it."""
    if not isinstance(url, str) or not any(mark in url for mark in "@?#"):
        return url
    scheme, mark, _ = url.partition("://")
    return f"{scheme}://***" if mark else "***"
