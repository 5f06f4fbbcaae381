"""The contract of a backend: facts are merged, compared, lent out and listed, and nothing is decided.

A backend is held to it by a subclass of :class:`BackendContract` in a test module of its own, with one fixture::

    class TestMemoryBackend(BackendContract):
        @pytest.fixture
        def bench(self):
            clock = ManualClock()
            yield Bench(clock, lambda clock, namespace: MemoryBackend(clock=clock, namespace=namespace))

What a backend may do differently from the memory backend, and how a subclass says so:

- *Its own time.* ``clock.now()`` is the sender's clock and ``clock.advance(seconds)`` makes the backend's time pass. A
  backend with a server's time gives a clock whose ``advance`` moves that time too (an offset that its scripts add). Its
  ``facts.now`` need not be ``clock.now()``: the tests only compare times of the backend with each other, and allow for
  ``drift`` seconds that pass by themselves.
- *I/O.* ``inline`` may be False; methods may wait for the network, but return with the answer.
- *Push.* Listeners may be told on another thread, a little later than ``swap`` returns: the tests wait for it with a
  bound, ``patience`` seconds, and where nothing must come they wait for what comes after it.
- *Trimming.* The log keeps at least ``kept`` events and may keep ``surplus`` more.
- *What outlives an object.* Another object on the same namespace may see the same facts; another namespace never does.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import pytest

from recloser.backends import WANTED, Ask, Backend, Delivery, Lease, Parcel, Seat
from recloser.backends.board import EVERYTHING, Board
from recloser.core.events import DISTINCT_ERRORS, ErrorSample, Event, EventKind
from recloser.core.machine import Record, State
from recloser.core.window import BUCKETS, NOTHING, Counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.core.machine import Facts

NAME = "tts"
WINDOW = 60.0
FAILURE = Counts(calls=1, failures=1)
SUCCESS = Counts(calls=1)


class MovableClock(Protocol):
    """The sender's clock, and a way to let the backend's time pass."""

    def now(self) -> float: ...
    def advance(self, by: float) -> None: ...


@dataclass
class Bench:
    """A backend on a workbench: what a test needs around it.

    Attributes:
        clock: the time.
        make: a backend for a clock and a namespace that nobody used before.
    """

    clock: MovableClock
    make: Callable[[MovableClock, str], Backend]


class Sender:
    """A process that talks to a backend as the courier does."""

    def __init__(self, backend: Backend, clock: MovableClock, name: str = "process-1") -> None:
        self.backend = backend
        self.clock = clock
        self.name = name
        self.sequence = 0

    def says(self, *deliveries: Delivery, circuit: str = NAME, window: float = WINDOW, again: bool = False) -> Facts:
        """One exchange with the deliveries about one circuit; ``again`` sends the last number once more."""
        self.sequence += not again
        parcel = Parcel(circuit, window, deliveries)
        (answer,) = self.backend.exchange(self.name, self.sequence, self.clock.now(), [parcel]).answers
        return answer.facts

    def gives_back(self, seat: Seat, circuit: str = NAME) -> None:
        """Ends a lease that was not used."""
        self.says(self.happened(NOTHING, generation=-1, gives_back=seat), circuit=circuit)

    def happened(self, counts: Counts = FAILURE, *, ago: float = 0.0, generation: int = 0, **more: object) -> Delivery:
        """Outcomes that happened ``ago`` seconds before now."""
        return Delivery(generation, self.clock.now() - ago, counts, **more)  # type: ignore[arg-type]


def lease(backend: Backend, generation: int, seat: Seat, cap: int, length: float, circuit: str = NAME) -> Lease:
    """Asks for one permit, in an exchange that brings nothing else and therefore needs no number."""
    parcel = Parcel(circuit, WINDOW, (), (Ask(seat, generation, cap, length),))
    (answer,) = backend.exchange(seat.holder, 0, 0.0, [parcel]).answers
    return answer.leases[0]


def free(backend: Backend, generation: int, pool: str, cap: int) -> Lease:
    """Asks without taking."""
    return lease(backend, generation, Seat(pool, "somebody"), cap, 0.0)


def event(generation: int, circuit: str = NAME, state: State = State.OPEN) -> Event:
    """An event that is told from others by its generation, with something in every field."""
    return Event(
        EventKind.TRIPPED, circuit, state, State.CLOSED, generation, at=5.25, until=905.25, reason="3 failures in 1m",
        by="recloser", counts=Counts(5, 3, 1, 1, 0, 2), threshold="3 failures in 1m", errors=(sample("A"),),
        affects=("speak", "dial"),
    )  # fmt: skip


def sample(label: str, count: int = 1, message: str = "text") -> ErrorSample:
    """A sample of an error."""
    return ErrorSample(label, message, "server", count, 1.5)


class BackendContract:
    """What any backend must do; see the module for what it may do differently."""

    drift: ClassVar[float] = 0.0
    patience: ClassVar[float] = 5.0
    kept: ClassVar[int] = 1000
    surplus: ClassVar[int] = 0

    @pytest.fixture
    def bench(self) -> Bench:
        """To be given by the subclass."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self, bench: Bench) -> MovableClock:
        """The time."""
        return bench.clock

    @pytest.fixture
    def backend(self, bench: Bench) -> Backend:
        """A backend in which nothing is known."""
        return bench.make(bench.clock, "contract")

    @pytest.fixture
    def sender(self, backend: Backend, clock: MovableClock) -> Sender:
        """A process that talks to it."""
        return Sender(backend, clock)

    def about(self, seconds: float) -> object:
        """``seconds`` of the backend's time, or a little more where it passes by itself."""
        return pytest.approx(seconds, abs=self.drift + 1e-6)

    def swap(
        self, backend: Backend, sender: Sender, state: State = State.OPEN, *, clear: bool = False, **more: object
    ) -> Record:
        """Swaps in the next record after the present one and returns it."""
        facts = sender.says()
        old = facts.record
        new = replace(old, generation=old.generation + 1, state=state, since=facts.now, **more)  # type: ignore[arg-type]
        assert backend.swap(NAME, old.generation, new, event(new.generation, state=state), clear=clear)
        return new

    # -- the record ----------------------------------------------------------------------------------------------------

    def test_it_keeps_the_protocol(self, backend: Backend) -> None:
        """What is handed to a toolkit as a backend is accepted as one."""
        assert isinstance(backend, Backend)
        assert isinstance(backend.inline, bool)
        assert backend.namespace == "contract"

    def test_an_unknown_circuit_is_closed(self, sender: Sender) -> None:
        """The first mention of a circuit finds it closed, since now, with an empty window."""
        facts = sender.says()
        assert facts.record == Record(generation=0, state=State.CLOSED, since=facts.record.since)
        assert facts.record.since == self.about(facts.now)
        assert (facts.window, facts.tally, facts.asked_until, facts.errors) == (NOTHING, NOTHING, 0.0, ())

    def test_a_swapped_record_is_what_everybody_gets(
        self, backend: Backend, sender: Sender, clock: MovableClock
    ) -> None:
        """Every field of a record survives, for every process that asks."""
        facts = sender.says()
        record = Record(
            generation=1_700_000_000_123, state=State.PAUSED, since=facts.now, until=facts.now + 900.123456,
            reason='maintenance: "größer", until tomorrow', by="ann", trips=3,
        )  # fmt: skip
        assert backend.swap(NAME, 0, record, event(record.generation), clear=False)
        assert Sender(backend, clock, "process-2").says().record == record
        endless = replace(record, generation=record.generation + 1, until=None)
        assert backend.swap(NAME, record.generation, endless, event(endless.generation), clear=False)
        assert sender.says().record == endless

    def test_a_swap_with_another_generation_changes_nothing(self, backend: Backend, sender: Sender) -> None:
        """A record is replaced only by who has seen it: no record, no event, no cleared window otherwise."""
        sender.says(sender.happened())
        for generation in (1, -1, 10**15):
            assert not backend.swap(NAME, generation, Record(generation=99, state=State.OPEN), event(99), clear=True)
        facts = sender.says()
        assert (facts.record.generation, facts.window) == (0, FAILURE)
        assert backend.events(10) == []

    def test_one_of_many_swaps_wins(self, backend: Backend, sender: Sender) -> None:
        """However many processes decide at once, the record changes exactly once and one event tells of it."""
        sender.says()
        start, won = threading.Barrier(8), []

        def race(number: int) -> None:
            start.wait(self.patience)
            record = Record(generation=1, state=State.OPEN, by=f"process-{number}")
            if backend.swap(NAME, 0, record, replace(event(1), by=record.by), clear=False):
                won.append(record.by)

        racers = [threading.Thread(target=race, args=(number,)) for number in range(8)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(self.patience)
        assert len(won) == 1
        assert sender.says().record.by == won[0]
        assert [each.by for each in backend.events(10)] == won

    def test_nothing_is_decided(self, backend: Backend, sender: Sender, clock: MovableClock) -> None:
        """Neither a thousand failures nor a deadline long past changes a record: that is for the core to do."""
        for _ in range(10):
            facts = sender.says(*[sender.happened(Counts(100, 100, limited=100), retry_after=5.0)] * 10)
        assert facts.record.state is State.CLOSED
        record = self.swap(backend, sender, State.OPEN, until=facts.now + 5.0)
        clock.advance(500.0)
        assert sender.says(sender.happened(generation=1)).record == record
        record = self.swap(backend, sender, State.HALF_OPEN, until=None)
        assert sender.says(sender.happened(generation=2), sender.happened(SUCCESS, generation=2)).record == record
        assert len(backend.events(10)) == 2

    # -- the board -----------------------------------------------------------------------------------------------------

    def test_settings_are_replaced_only_as_they_were_seen(self, backend: Backend) -> None:
        """Who is slower is told, versions only grow, and the events come with it or not at all."""
        assert isinstance(backend, Board)
        assert backend.settings() == (0, "")
        first = backend.set_settings(0, "one", [event(1), event(2)])
        assert first is not None
        assert backend.settings() == first == (first.version, "one")
        assert backend.set_settings(0, "two", [event(3)]) is None
        assert backend.settings() == first
        second = backend.set_settings(first.version, "two")
        assert second is not None
        assert second.version > first.version
        assert backend.set_settings(second.version, "three", (), second.version + 7) == (second.version + 7, "three")
        assert backend.events(10) == [event(1), event(2)]

    def test_one_of_many_who_say_something_is_first(self, backend: Backend) -> None:
        """However many operators there are, one text follows the other."""
        assert isinstance(backend, Board)
        start, won = threading.Barrier(8), []

        def race(number: int) -> None:
            start.wait(self.patience)
            if backend.set_settings(0, f"text {number}") is not None:
                won.append(f"text {number}")

        racers = [threading.Thread(target=race, args=(number,)) for number in range(8)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(self.patience)
        assert won == [backend.settings().text]

    def test_what_is_written_down_is_there_for_all(self, backend: Backend) -> None:
        """Entries of several processes stand beside each other; the same name again is written over."""
        assert isinstance(backend, Board)
        assert backend.written() == {}
        backend.write({"circuit a": "1", "circuit b": "2"})
        backend.write({"circuit b": "3"})
        backend.write({})
        assert backend.written() == {"circuit a": "1", "circuit b": "3"}
        many = {f"circuit {number}": "x" for number in range(1200)}
        backend.write(many)
        assert backend.written().items() >= many.items()

    def test_an_exchange_says_what_is_on_the_board(self, backend: Backend, clock: MovableClock) -> None:
        """The version of the settings, and whether anything is written down; that repairs a push that was lost."""
        assert isinstance(backend, Board)
        reply = backend.exchange("process-1", 1, clock.now(), [])
        assert (reply.settings, reply.written) == (0, False)
        found = backend.set_settings(0, "text")
        backend.write({"circuit a": "1"})
        reply = backend.exchange("process-1", 2, clock.now(), [])
        assert found is not None
        assert (reply.settings, reply.written) == (found.version, True)

    def test_subscribers_are_told_that_settings_have_changed(self, backend: Backend) -> None:
        """Under a name that no circuit can have, without a record."""
        assert isinstance(backend, Board)
        heard: queue.Queue[tuple[str, object]] = queue.Queue()
        backend.subscribe(lambda *news: heard.put(news[:2]))
        backend.set_settings(0, "text")
        assert heard.get(timeout=self.patience) == (EVERYTHING, None)

    def test_who_only_looks_changes_nothing(self, backend: Backend, clock: MovableClock) -> None:
        """It is no process of the fleet, and takes a window as it finds it."""
        sender = Sender(backend, clock)
        facts = sender.says(sender.happened(FAILURE), sender.happened(SUCCESS))
        for name in (NAME, "unheard-of"):
            reply = backend.exchange("", 0, clock.now(), [Parcel(name, 0.0)])
            assert reply.processes == 1
            window = reply.answers[0].facts.window
            assert window == (facts.window if name == NAME else NOTHING)
        clock.advance(WINDOW + 1.0)
        assert backend.exchange("", 0, clock.now(), [Parcel(NAME, 0.0)]).answers[0].facts.window == NOTHING
        assert sender.says(sender.happened(FAILURE)).window == FAILURE

    # -- counting ------------------------------------------------------------------------------------------------------

    def test_counts_of_all_processes_are_merged(self, backend: Backend, clock: MovableClock) -> None:
        """Whoever asks is told what everybody has counted, field by field."""
        one, other = Sender(backend, clock), Sender(backend, clock, "process-2")
        one.says(one.happened(Counts(10, 3, 2, 4, 5, 1)), one.happened(SUCCESS))
        facts = other.says(other.happened(Counts(1, 1, 0, 0, 7, 0)))
        assert facts.window == facts.tally == Counts(12, 4, 2, 4, 12, 1)
        assert one.says() == replace(facts, now=one.says().now)

    def test_circuits_of_one_exchange_are_answered_in_order(self, backend: Backend, clock: MovableClock) -> None:
        """One exchange may carry many circuits, each with its own window; asking alone brings nothing in."""
        now = clock.now()
        parcels = [
            Parcel("b", WINDOW, (Delivery(0, now, FAILURE),)),
            Parcel("a", 2 * WINDOW, (Delivery(0, now - WINDOW, SUCCESS), Delivery(0, now, SUCCESS))),
            Parcel("c", WINDOW),
        ]
        found = backend.exchange("process-1", 1, now, parcels).answers
        assert [answer.facts.window for answer in found] == [FAILURE, Counts(calls=2), NOTHING]
        assert backend.circuits() == ["a", "b", "c"]

    def test_the_same_number_again_is_answered_but_not_merged(self, backend: Backend, clock: MovableClock) -> None:
        """A delivery whose answer was lost is sent again and counts once; every sender has numbers of its own."""
        one, other = Sender(backend, clock), Sender(backend, clock, "process-2")
        delivery = one.happened(errors=(sample("A"),))
        first = one.says(delivery)
        for _ in range(3):
            resent = one.says(delivery, again=True)
        assert (resent.window, resent.errors) == (first.window, first.errors) == (FAILURE, (sample("A"),))
        assert other.says(delivery).window.failures == 2
        assert one.says(delivery).window.failures == 3

    def test_another_generation_counts_nowhere(self, backend: Backend, sender: Sender) -> None:
        """What belongs to an older state, or to one that nobody has heard of, leaves no trace but its seat."""
        record = self.swap(backend, sender)
        for generation in (0, record.generation + 1):
            late = sender.happened(generation=generation, retry_after=500.0, errors=(sample("A"),), once="call-1")
            facts = sender.says(late)
            assert (facts.window, facts.tally, facts.asked_until, facts.errors) == (NOTHING, NOTHING, 0.0, ())
        assert sender.says(sender.happened(generation=record.generation, once="call-1")).window == FAILURE

    @pytest.mark.parametrize("ages", [(0, 10, 50, 30), (50, 30, 10, 0), (30, 50, 0, 10)])
    def test_late_and_unordered_deliveries_count_from_when_they_happened(
        self, sender: Sender, clock: MovableClock, ages: tuple[int, ...]
    ) -> None:
        """An outcome leaves the window by its own age, in whatever order and however late it was delivered."""
        clock.advance(100.0)
        assert sender.says(*(sender.happened(ago=float(age)) for age in ages)).window.failures == 4
        for passed, left in [(10, 3), (20, 2), (20, 1), (10, 0)]:
            clock.advance(passed + self.drift)
            assert sender.says().window.failures == left

    def test_what_is_older_than_the_window_does_not_count(self, sender: Sender, clock: MovableClock) -> None:
        """A process that could not deliver for long brings no news with what has left the window meanwhile."""
        clock.advance(1000.0)
        old = sender.happened(ago=WINDOW, retry_after=500.0, errors=(sample("A"),), once="call-1")
        facts = sender.says(old)
        assert (facts.window, facts.tally, facts.asked_until, facts.errors) == (NOTHING, NOTHING, 0.0, ())
        assert sender.says(sender.happened(once="call-1")).window == FAILURE

    def test_senders_need_not_agree_on_the_time(self, backend: Backend) -> None:
        """Only ages count: a process whose clock began elsewhere is merged like any other."""
        for process, epoch in [("process-1", 5.0), ("process-2", 1e9), ("process-3", -500.0)]:
            deliveries = (Delivery(0, epoch, SUCCESS), Delivery(0, epoch - 30.0, FAILURE))
            (answer,) = backend.exchange(process, 1, epoch, [Parcel(NAME, WINDOW, deliveries)]).answers
        assert answer.facts.window == Counts(calls=6, failures=3)

    def test_a_burst_leaves_exactly_one_length_later(self, sender: Sender, clock: MovableClock) -> None:
        """Outcomes of one moment count for the whole window and not a moment longer."""
        sender.says(sender.happened(), sender.happened(SUCCESS))
        clock.advance(WINDOW - 0.001 - self.drift)
        assert sender.says().window == Counts(calls=2, failures=1)
        clock.advance(0.001 + self.drift)
        facts = sender.says()
        assert (facts.window, facts.tally) == (NOTHING, Counts(calls=2, failures=1))

    def test_an_outcome_leaves_at_most_a_bucket_early(self, sender: Sender, clock: MovableClock) -> None:
        """Outcomes may be kept together with those up to a sixtieth of the window before them, no further."""
        width = WINDOW / BUCKETS
        for _ in range(10):
            clock.advance(width / 4)
            sender.says(sender.happened())
        clock.advance(WINDOW - width - self.drift)
        assert sender.says().window.failures >= 1
        clock.advance(width + self.drift)
        assert sender.says().window == NOTHING

    def test_no_outcome_leaves_late(self, sender: Sender, clock: MovableClock) -> None:
        """What is gathered with later outcomes leaves with the first of them."""
        sender.says(sender.happened())
        clock.advance(0.8 * WINDOW / BUCKETS)
        sender.says(sender.happened())
        clock.advance(WINDOW - 0.8 * WINDOW / BUCKETS + self.drift)
        assert sender.says().window.failures <= 1

    def test_the_furthest_retry_after_is_kept_with_its_outcome(self, sender: Sender, clock: MovableClock) -> None:
        """Retry-After counts from when it was asked, in the backend's own time, and leaves with the failure."""
        facts = sender.says(sender.happened(ago=20.0, retry_after=500.0), sender.happened(retry_after=30.0))
        assert facts.asked_until - facts.now == self.about(480.0)
        clock.advance(40.0)
        facts = sender.says()
        assert facts.asked_until - facts.now == self.about(-10.0)
        clock.advance(20.0 + self.drift)
        assert sender.says().asked_until == 0.0

    def test_a_once_key_counts_once_in_a_window(self, backend: Backend, sender: Sender, clock: MovableClock) -> None:
        """The same key again counts nothing, whoever reports it, until the first report has left the window."""
        other = Sender(backend, clock, "process-2")
        sender.says(sender.happened(once="call-1", ago=10.0), sender.happened(once="call-1"))
        facts = other.says(other.happened(once="call-1", errors=(sample("A"),), retry_after=5.0))
        assert (facts.window, facts.errors, facts.asked_until) == (FAILURE, (), 0.0)
        assert other.says(other.happened(once="call-2"), circuit="stt").window == FAILURE
        assert other.says(other.happened(once="call-1"), circuit="stt").window.failures == 2
        clock.advance(50.0 - 0.001 - self.drift)
        assert sender.says(sender.happened(once="call-1")).window == FAILURE
        clock.advance(0.001 + self.drift)
        assert sender.says(sender.happened(once="call-1")).window == FAILURE
        assert sender.says(sender.happened(once="call-1")).window == FAILURE

    def test_a_once_key_ends_by_the_age_of_its_own_report(self, sender: Sender, clock: MovableClock) -> None:
        """A key that was reported late is free again before one that was reported earlier, but for a later moment."""
        sender.says(sender.happened(once="call-1"), sender.happened(once="call-2", ago=30.0))
        clock.advance(30.0 + self.drift)
        again = sender.says(sender.happened(once="call-1"), sender.happened(once="call-2"))
        assert again.window.failures == 2

    def test_errors_are_merged(self, backend: Backend, clock: MovableClock) -> None:
        """The same error adds to its count, distinct ones are kept, the most recent few, the latest last."""
        one, other = Sender(backend, clock), Sender(backend, clock, "process-2")
        one.says(one.happened(errors=(sample("A"), sample("B"))))
        facts = other.says(other.happened(errors=(sample("A", 2), sample("A", message="other"))))
        assert [(each.label, each.message, each.count) for each in facts.errors] == [
            ("B", "text", 1), ("A", "text", 3), ("A", "other", 1),
        ]  # fmt: skip
        for number in range(DISTINCT_ERRORS):
            facts = one.says(one.happened(errors=(sample(f"E{number}"),)))
        assert [each.label for each in facts.errors] == [f"E{number}" for number in range(DISTINCT_ERRORS)]

    def test_errors_are_seen_in_the_time_of_the_backend(self, backend: Backend, clock: MovableClock) -> None:
        """When an error was seen last is said in a time that all processes share."""
        for process, epoch in [("process-1", 5.0), ("process-2", 1e6)]:
            seen = (replace(sample("A"), at=epoch - 7.0),)
            parcel = Parcel(NAME, WINDOW, (Delivery(0, epoch, FAILURE, errors=seen),))
            facts = backend.exchange(process, 1, epoch, [parcel]).answers[0].facts
            assert [facts.now - each.at for each in facts.errors] == [self.about(7.0)]

    def test_the_processes_that_saw_trouble_are_counted(
        self, backend: Backend, sender: Sender, clock: MovableClock
    ) -> None:
        """Each process that reported a failure or a slow call counts once, until its last one has left the window."""
        other, idle = Sender(backend, clock, "process-2"), Sender(backend, clock, "process-3")
        sender.says(sender.happened(), sender.happened(ago=50.0))
        other.says(other.happened(Counts(calls=1, slow=1), ago=30.0))
        assert idle.says(idle.happened(SUCCESS)).reporters == 2
        clock.advance(30.0 + self.drift)
        assert idle.says().reporters == 1
        clock.advance(30.0 + self.drift)
        assert idle.says().reporters == 0

    def test_the_living_are_counted(self, backend: Backend, clock: MovableClock) -> None:
        """Everybody who was heard of lately is alive, whether or not they had anything to say."""

        def processes(name: str) -> int:
            return backend.exchange(name, 0, clock.now(), [], alive=20.0).processes

        assert [processes(name) for name in ("1", "2", "3", "2")] == [1, 2, 3, 3]
        clock.advance(15.0)
        assert processes("1") == 3
        clock.advance(5.0 + self.drift)
        assert processes("1") == 1

    # -- what a swap ends ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("clear", [True, False])
    def test_a_swap_begins_a_new_tally(self, backend: Backend, sender: Sender, clear: bool) -> None:  # noqa: FBT001
        """Outcomes of the new state are counted from zero; the window goes on unless it is cleared."""
        sender.says(sender.happened(retry_after=30.0, once="call-1"))
        record = self.swap(backend, sender, clear=clear)
        facts = sender.says(sender.happened(SUCCESS, generation=record.generation))
        assert facts.tally == SUCCESS
        assert facts.window == (SUCCESS if clear else FAILURE.merged(SUCCESS))
        assert (facts.asked_until > 0) is not clear
        again = sender.says(sender.happened(generation=record.generation, once="call-1"))
        assert again.tally.failures == clear
        assert again.reporters == 1

    @pytest.mark.parametrize("clear", [True, False])
    @pytest.mark.parametrize("pool", ["probe", "trial"])
    def test_a_swap_ends_all_leases(self, backend: Backend, sender: Sender, pool: str, clear: bool) -> None:  # noqa: FBT001
        """Permits belong to one generation; the next begins with all of them free."""
        lease(backend, 0, Seat(pool, "1"), 1, 60.0)
        record = self.swap(backend, sender, State.HALF_OPEN, clear=clear)
        assert lease(backend, record.generation, Seat(pool, "2"), 1, 60.0).granted

    # -- permits -------------------------------------------------------------------------------------------------------

    def test_no_more_than_the_cap_is_lent(self, backend: Backend) -> None:
        """A refusal says when the first permit comes back; a cap of zero lends nothing."""
        granted = [lease(backend, 0, Seat("probe", str(number)), 3, 60.0 + number).granted for number in range(5)]
        assert granted == [True] * 3 + [False] * 2
        refused = lease(backend, 0, Seat("probe", "6"), 3, 60.0)
        assert (refused.granted, refused.retry_after) == (False, self.about(60.0))
        assert not lease(backend, 0, Seat("probe", "1"), 0, 60.0, "stt").granted

    def test_a_lease_expires(self, backend: Backend, clock: MovableClock) -> None:
        """A permit whose process died comes back by itself at its end, neither earlier nor later."""
        assert lease(backend, 0, Seat("probe", "1"), 1, 60.0).granted
        clock.advance(60.0 - 0.001 - self.drift)
        refused = lease(backend, 0, Seat("probe", "2"), 1, 60.0)
        assert (refused.granted, refused.retry_after) == (False, self.about(0.001 + self.drift))
        clock.advance(0.001 + self.drift)
        assert lease(backend, 0, Seat("probe", "2"), 1, 60.0).granted

    def test_leases_belong_to_a_generation(self, backend: Backend, sender: Sender) -> None:
        """Who asks for a permit of another state gets none, in either direction."""
        record = self.swap(backend, sender, State.HALF_OPEN)
        for generation in (0, record.generation + 1):
            assert not lease(backend, generation, Seat("probe", "1"), 1, 60.0).granted
            assert not free(backend, generation, "probe", 1).granted
        assert lease(backend, record.generation, Seat("probe", "1"), 1, 60.0).granted

    def test_asking_again_keeps_a_permit(self, backend: Backend, clock: MovableClock) -> None:
        """A permit that its holder asks for again is the same permit for longer; another holder's is not touched."""
        assert lease(backend, 0, Seat("probe", "1"), 1, 60.0).granted
        clock.advance(50.0)
        assert lease(backend, 0, Seat("probe", "1"), 1, 60.0).granted
        clock.advance(50.0)
        assert not lease(backend, 0, Seat("probe", "2"), 1, 60.0).granted
        clock.advance(10.0 + self.drift)
        assert lease(backend, 0, Seat("probe", "2"), 1, 60.0).granted
        assert not lease(backend, 0, Seat("probe", "1"), 1, 60.0).granted

    def test_a_permit_is_asked_for_together_with_what_happened(self, backend: Backend, sender: Sender) -> None:
        """Outcomes come first: a permit that one of them ends is free for who asks in the same exchange."""
        assert lease(backend, 0, Seat("probe", "1"), 1, 60.0).granted
        over = sender.happened(Counts(ignored=1), gives_back=Seat("probe", "1"))
        asks = tuple(Ask(Seat(pool, "2"), 0, 1, 60.0) for pool in ("probe", "trial"))
        reply = backend.exchange("process-1", 1, sender.clock.now(), [Parcel(NAME, WINDOW, (over,), asks)])
        assert [each.granted for each in reply.answers[0].leases] == [True, True]

    def test_who_holds_a_permit_hears_that_another_wants_it(self, backend: Backend, clock: MovableClock) -> None:
        """A refusal is remembered for a few seconds, for each pool; looking is not wanting."""
        keep = Seat("probe", "1")
        assert not lease(backend, 0, keep, 1, 60.0).wanted
        free(backend, 0, "probe", 1)
        lease(backend, 0, Seat("trial", "1"), 0, 60.0)
        assert not lease(backend, 0, keep, 1, 60.0).wanted
        lease(backend, 0, Seat("probe", "2"), 1, 60.0)
        assert lease(backend, 0, keep, 1, 60.0) == Lease(granted=True, wanted=True)
        clock.advance(WANTED + self.drift)
        assert lease(backend, 0, keep, 1, 60.0) == Lease(granted=True)

    def test_looking_takes_nothing(self, backend: Backend) -> None:
        """``free`` answers as ``lease`` would, as often as you ask."""
        assert [free(backend, 0, "probe", 1).granted for _ in range(3)] == [True] * 3
        lease(backend, 0, Seat("probe", "1"), 1, 60.0)
        look = free(backend, 0, "probe", 1)
        assert (look.granted, look.retry_after) == (False, self.about(60.0))

    @pytest.mark.parametrize("pool", ["probe", "trial"])
    def test_a_permit_given_back_is_free_at_once(self, backend: Backend, sender: Sender, pool: str) -> None:
        """Giving back ends that lease and no other; giving back twice, or what was never lent, does nothing."""
        for holder in ("1", "2"):
            assert lease(backend, 0, Seat(pool, holder), 2, 60.0).granted
        for _ in range(2):
            sender.gives_back(Seat(pool, "1"))
        sender.gives_back(Seat(pool, "stranger"))
        sender.gives_back(Seat(pool, "2"), circuit="stt")
        assert lease(backend, 0, Seat(pool, "3"), 2, 60.0).granted
        assert not lease(backend, 0, Seat(pool, "4"), 2, 60.0).granted

    def test_the_pools_are_independent(self, backend: Backend, sender: Sender) -> None:
        """Trials take nothing from the probes nor probes from the trials, and one holder may have one of each."""
        seats = [Seat(pool, "1") for pool in ("probe", "trial")]
        assert [lease(backend, 0, seat, 1, 60.0).granted for seat in seats] == [True, True]
        assert [free(backend, 0, pool, 1).granted for pool in ("probe", "trial")] == [False, False]
        sender.gives_back(seats[0])
        assert [free(backend, 0, pool, 1).granted for pool in ("probe", "trial")] == [True, False]
        sender.says(sender.happened(SUCCESS))
        sender.gives_back(seats[1])
        assert [free(backend, 0, pool, 1).granted for pool in ("probe", "trial")] == [False, True]

    def test_an_outcome_gives_its_permit_back(self, backend: Backend, sender: Sender) -> None:
        """The outcome of a probe ends its lease in the same delivery, even one too late to count."""
        seat = Seat("probe", "1")
        lease(backend, 0, seat, 1, 60.0)
        sender.says(sender.happened(Counts(ignored=1), gives_back=seat))
        assert lease(backend, 0, seat, 1, 60.0).granted
        sender.says(sender.happened(ago=WINDOW, gives_back=seat))
        assert free(backend, 0, "probe", 1).granted

    def test_a_probe_that_passed_is_taken_for_good(self, backend: Backend, sender: Sender, clock: MovableClock) -> None:
        """Probes over the whole generation are no more than the cap: what has passed is not lent again, nor expires."""
        record = self.swap(backend, sender, State.HALF_OPEN)
        seats = [Seat("probe", str(number)) for number in range(3)]
        for seat in seats[:2]:
            assert lease(backend, record.generation, seat, 2, 60.0).granted
        sender.says(sender.happened(SUCCESS, generation=record.generation, gives_back=seats[0]))
        assert not lease(backend, record.generation, seats[2], 2, 60.0).granted
        clock.advance(60.0 + self.drift)
        assert lease(backend, record.generation, seats[2], 2, 60.0).granted
        assert not free(backend, record.generation, "probe", 2).granted

    # -- events, subscribers, namespaces -------------------------------------------------------------------------------

    def test_events_are_kept_in_order(self, backend: Backend, sender: Sender) -> None:
        """Transitions and what is appended stand in one log, complete, the latest last."""
        self.swap(backend, sender)
        stalled = replace(event(7, "stt"), kind=EventKind.STALLED, until=None, errors=(), affects=())
        backend.append(stalled)
        self.swap(backend, sender, State.CLOSED)
        expected = [event(1), stalled, event(2, state=State.CLOSED)]
        assert backend.events(10) == expected
        assert backend.events(2) == expected[1:]

    def test_a_swap_without_an_event_is_not_logged(self, backend: Backend, sender: Sender) -> None:
        """What is put back is no news."""
        sender.says()
        assert backend.swap(NAME, 0, Record(generation=5), None, clear=False)
        assert (sender.says().record.generation, backend.events(10)) == (5, [])

    def test_no_events_are_none(self, backend: Backend) -> None:
        """The last zero events are an empty list."""
        backend.append(event(1))
        assert backend.events(0) == []

    def test_the_log_is_capped(self, backend: Backend) -> None:
        """A log never grows beyond all bounds, and it is the oldest events that go."""
        total = self.kept + self.surplus + 10
        for number in range(total):
            backend.append(event(number))
        generations = [each.generation for each in backend.events(10 * self.kept)]
        assert self.kept <= len(generations) <= self.kept + self.surplus
        assert generations == list(range(total - len(generations), total))

    def test_every_subscriber_is_told_of_every_swap(self, backend: Backend, sender: Sender) -> None:
        """A transition reaches everybody, complete and in order; a swap that was refused reaches nobody."""
        told: list[queue.Queue[tuple[str, Record]]] = [queue.Queue(), queue.Queue()]
        for each in told:
            backend.subscribe(lambda *news, each=each: each.put(news[:2]))
        first = self.swap(backend, sender, until=sender.says().now + 900.0, reason="why", trips=2)
        backend.swap(NAME, 0, Record(generation=99), event(99), clear=False)
        second = self.swap(backend, sender, State.CLOSED, until=None)
        for each in told:
            assert [each.get(timeout=self.patience) for _ in range(2)] == [(NAME, first), (NAME, second)]

    def test_a_subscription_can_be_ended(self, backend: Backend, sender: Sender) -> None:
        """Who does not want to know any more is not told, while others still are; ending twice does no harm."""
        ended: queue.Queue[object] = queue.Queue()
        stays: queue.Queue[object] = queue.Queue()
        end = backend.subscribe(lambda *news: ended.put(news[:2]))
        backend.subscribe(lambda *news: stays.put(news[:2]))
        end()
        end()
        record = self.swap(backend, sender)
        assert stays.get(timeout=self.patience) == (NAME, record)
        assert ended.empty()

    def test_a_subscriber_may_ask_the_backend(self, backend: Backend, sender: Sender, clock: MovableClock) -> None:
        """Subscribers are told outside any lock of the backend, when the swap can be seen by everybody."""
        seen: queue.Queue[int] = queue.Queue()
        curious = Sender(backend, clock, "process-2")
        backend.subscribe(lambda *news: seen.put(curious.says().record.generation))
        record = self.swap(backend, sender)
        assert seen.get(timeout=self.patience) == record.generation

    def test_namespaces_know_nothing_of_each_other(self, bench: Bench, backend: Backend, sender: Sender) -> None:
        """The same name in two namespaces is two circuits, with their own records, permits, numbers and events."""
        other = bench.make(bench.clock, "another")
        told: queue.Queue[object] = queue.Queue()
        other.subscribe(lambda *news: told.put(news))
        sender.says(sender.happened())
        lease(backend, 0, Seat("probe", "1"), 1, 60.0)
        self.swap(backend, sender)
        assert (other.circuits(), other.events(10)) == ([], [])
        neighbour = Sender(other, bench.clock)
        assert neighbour.says(neighbour.happened()).window == FAILURE
        assert lease(other, 0, Seat("trial", "1"), 1, 60.0).granted
        self.swap(other, neighbour)
        told.get(timeout=self.patience)
        assert told.empty()

    def test_circuits_are_listed(self, backend: Backend, sender: Sender) -> None:
        """Every circuit that was ever asked about is known, once, sorted by name."""
        for circuit in ("tts", "azure/eastus:stt", "tts", "語音"):
            sender.says(circuit=circuit)
        assert backend.circuits() == sorted({"tts", "azure/eastus:stt", "語音"})

    def test_many_threads_lose_nothing(self, backend: Backend, clock: MovableClock) -> None:
        """Every method may be called from any thread: counts stay exact and permits within the cap."""
        granted: list[bool] = []

        def work(number: int) -> None:
            sender = Sender(backend, clock, f"process-{number}")
            for turn in range(25):
                sender.says(sender.happened())
                granted.append(lease(backend, 0, Seat("trial", f"{number}:{turn}"), 10, 60.0).granted)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.patience)
        assert Sender(backend, clock, "last").says().tally.failures == 200
        assert granted.count(True) == 10

    def test_closing_twice_does_no_harm(self, backend: Backend) -> None:
        """A backend lets go of what it holds, once."""
        backend.close()
        backend.close()
