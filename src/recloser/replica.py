"""The replica of a circuit: what one process knows of it, and what a call reads and settles.

A call in a closed circuit reads one attribute, ``permit``, and when it succeeds counts on a counter that belongs to
that permit. Everything else - open, half-open, paused, switched to another mode - leaves ``permit`` empty and takes
the slow path through :meth:`Replica.acquire`. A permit belongs to one generation: when the circuit moves on, a late
success counts on a counter that nobody reads any more.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
from typing import TYPE_CHECKING

from recloser.backends import Delivery, Seat
from recloser.clock import SystemClock
from recloser.core.events import ErrorSample, EventKind
from recloser.core.machine import Facts, Record, State, success_may_trip
from recloser.core.outcome import Kind, Outcome, Verdict
from recloser.core.policy import Mode, Policy
from recloser.core.window import BUCKETS, Counts
from recloser.errors import PausedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recloser.clock import Clock
    from recloser.courier import Courier
    from recloser.errors import DeadlineError

__all__ = ["PASS", "Permit", "Replica"]

_log = logging.getLogger("recloser")

_COUNTS = {
    Verdict.SUCCESS: Counts(calls=1),
    Verdict.FAILURE: Counts(calls=1, failures=1),
    Verdict.SLOW: Counts(calls=1, slow=1),
    Verdict.IGNORED: Counts(ignored=1),
}
_RATE_LIMITED = Counts(calls=1, failures=1, limited=1)
_REFUSED = Counts(rejected=1)


class Permit:
    """Leave to call, in one generation of a circuit.

    Attributes:
        replica: the replica that gave it; None when nothing is counted.
        generation: the generation it belongs to.
        clock: the process's time; ``now`` is its reading.
        policy: the circuit's policy when it was given.
        slow_after: a call longer than this many seconds is slow.
        rolls: from this moment on, a success must not just ``count`` but be settled.
        count: counts a success; atomic, since ``itertools.count`` is written in C.
        single: whether it is good for one call, whose outcome is settled by itself.
        seat: the lease behind it, when it is a probe's.
        bounded: whether there is a deadline before the call has returned.
        watched: whether a stream's items must be looked at one by one, for their times.
    """

    __slots__ = (
        "_seen",
        "bounded",
        "clock",
        "count",
        "generation",
        "now",
        "policy",
        "replica",
        "rolls",
        "seat",
        "single",
        "slow_after",
        "watched",
    )

    replica: Replica | None
    generation: int
    clock: Clock
    now: Callable[[], float]
    policy: Policy
    slow_after: float
    bounded: bool
    watched: bool
    rolls: float
    count: Callable[[], int]
    single: bool
    seat: Seat | None

    def __init__(
        self,
        replica: Replica | None,
        generation: int,
        clock: Clock,
        policy: Policy,
        *,
        single: bool = False,
        seat: Seat | None = None,
    ) -> None:
        self.replica = replica
        self.generation = generation
        self.clock = clock
        self.now = clock.now
        self.policy = policy
        self.slow_after = math.inf if policy.slow_after is None else policy.slow_after
        self.bounded = policy.timeout is not None or policy.first_item is not None
        self.watched = self.bounded or policy.idle is not None or policy.slow_after is not None
        self.rolls = -math.inf
        self.count = itertools.count().__next__
        self.single = single
        self.seat = seat
        self._seen = 0

    def drain(self) -> int:
        """How many successes were counted since this was asked last; one thread at a time."""
        reading = self.count()
        counted = reading - self._seen
        self._seen = reading + 1
        return counted


PASS = Permit(None, -1, SystemClock(), Policy())
"""The permit of a circuit that is switched off."""
PASS.rolls = math.inf


class Replica:
    """What this process knows of one circuit.

    Args:
        name: the circuit's name.
        policy: its policy.
        mode: what it does with what it knows.
        clock: the process's time.
        courier: who carries outcomes to the backend and facts back.
    """

    name: str
    policy: Policy
    mode: Mode
    record: Record
    until: float
    permit: Permit | None

    def __init__(self, name: str, policy: Policy, mode: Mode, clock: Clock, courier: Courier) -> None:
        self.name = name
        self.policy = policy
        self.mode = mode
        self.record = Record(generation=-1)
        self.until = math.inf
        self.permit = None
        self._clock = clock
        self._courier = courier
        self._lock = threading.Lock()
        self._closed: Permit | None = None
        self._began = 0.0
        self._eager = False
        self._since = 0.0
        self._notes: list[Delivery] = []
        self._seats = itertools.count(1)
        courier.run(self)

    # -- asking ------------------------------------------------------------------------------------------------------

    def acquire(self) -> Permit:
        """Leave to make one call.

        Raises:
            PausedError: when the circuit does not let it through.
        """
        while True:
            permit, refused = self._admit()
            if permit is not None:
                return permit
            if refused is not None:
                self._note(Delivery(self.record.generation, self._clock.now(), _REFUSED))
                raise refused

    def _admit(self) -> tuple[Permit | None, PausedError | None]:
        """A permit, or why not; neither when the circuit moved on in between."""
        if self.mode is Mode.OFF:
            return PASS, None
        record = self.current()
        if record.state is State.CLOSED:
            return self._closed, None
        if self.mode is Mode.OBSERVE:
            return self._single(record), None
        if record.state is State.HALF_OPEN:
            seat = self._courier.seat("probe", next(self._seats))
            lease = self._courier.backend.lease(
                self.name, record.generation, seat, self.policy.probes, self.policy.probe_timeout
            )
            if lease.granted:
                return self._single(record, seat), None
            return self._refuse_unless_moved(record, lease.retry_after)
        return None, self._refusal(record, self.until - self._clock.now())

    def trial(self) -> Seat | None:
        """Leave to start work that depends on this circuit; in HALF_OPEN it is one of a few, and has a seat.

        Raises:
            PausedError: when the circuit is OPEN or PAUSED, or HALF_OPEN with all trials taken.
        """
        while True:
            record = self.current()
            refused = self.refusal("trial")
            if refused is not None:
                raise refused
            if record.state is not State.HALF_OPEN or self.mode is not Mode.ENFORCE:
                return None
            seat = self._courier.seat("trial", next(self._seats))
            if self._courier.backend.lease(
                self.name, record.generation, seat, self.policy.probes, self.policy.probe_timeout
            ).granted:
                return seat
            self._courier.run(self)

    def give_back(self, seat: Seat) -> None:
        """Returns a trial that was not used after all."""
        self._courier.backend.give_back(self.name, seat)

    def refusal(self, pool: str = "probe") -> PausedError | None:
        """Why a call made now would be rejected; None when it would go through. Takes nothing, counts nothing."""
        if self.mode is not Mode.ENFORCE:
            return None
        while True:
            record = self.current()
            if record.state is State.CLOSED:
                return None
            if record.state is not State.HALF_OPEN:
                return self._refusal(record, self.until - self._clock.now())
            lease = self._courier.backend.free(self.name, record.generation, pool, self.policy.probes)
            if lease.granted:
                return None
            _, refused = self._refuse_unless_moved(record, lease.retry_after)
            if refused is not None:
                return refused

    def current(self) -> Record:
        """The record as it is now: a circuit whose time has come moves on before anybody reads it."""
        if self._clock.now() >= self.until:
            self._courier.run(self)
        return self.record

    def view(self) -> tuple[Facts, float, float | None]:
        """The facts, and when the state began and ends as Unix time."""
        facts = self._courier.run(self)
        until = facts.record.until
        return facts, self._since, None if until is None else self._courier.unix(facts, until)

    def adopt(self, policy: Policy, mode: Mode) -> None:
        """Goes on with another policy; what was counted stays counted."""
        with self._lock:
            self._sweep()
            self.policy, self.mode = policy, mode
            self._renew_permit()
        self._courier.run(self)

    def _single(self, record: Record, seat: Seat | None = None) -> Permit:
        """A permit for one call, whose every outcome is settled by itself."""
        return Permit(self, record.generation, self._clock, self.policy, single=True, seat=seat)

    def _refuse_unless_moved(self, record: Record, retry_after: float) -> tuple[None, PausedError | None]:
        self._courier.run(self)
        if self.record.generation != record.generation:
            return None, None
        return None, self._refusal(record, retry_after)

    def _refusal(self, record: Record, retry_after: float) -> PausedError:
        left = None if math.isinf(retry_after) else retry_after
        return PausedError(self.name, record.state, record.reason, record.by, self._since, left)

    # -- settling ----------------------------------------------------------------------------------------------------

    def succeed(self, permit: Permit, now: float) -> None:
        """Settles a success of a closed circuit once its bucket is over, and begins the next."""
        with self._lock:
            mine = permit is self._closed
            if mine and now >= permit.rolls:
                self._sweep()
                self._began = now
                permit.rolls = -math.inf if self._eager else now + self.policy.window / BUCKETS
            permit.count()
            due = mine and (self._eager or bool(self._notes))
        if due:
            self._courier.wake(self, sweep=self._eager)

    def settle(
        self,
        permit: Permit | None,
        outcome: Outcome,
        error: BaseException | str | None = None,
        once: str | None = None,
    ) -> None:
        """Settles any outcome; without a permit, as one of the present generation."""
        now = self._clock.now()
        if permit is None:
            generation, seat = self.current().generation, None
        else:
            generation, seat = permit.generation, permit.seat
        counts = _COUNTS[outcome.verdict]
        errors: tuple[ErrorSample, ...] = ()
        if outcome.verdict is Verdict.FAILURE:
            if outcome.kind is Kind.RATE_LIMIT:
                counts = _RATE_LIMITED
            errors = (ErrorSample.of("failure" if error is None else error, outcome, now),)
        self._note(Delivery(generation, now, counts, outcome.retry_after, errors, once, seat))
        self._courier.wake(self)

    def report(
        self,
        outcome: Outcome,
        error: BaseException | str | None = None,
        *,
        once: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> None:
        """Settles an outcome that reached the application without a permit."""
        if self.mode is Mode.OFF:
            return
        _log.debug("%s: %s by hand: %s %s", self.name, outcome, error or "", context or "")
        self.settle(None, outcome, error, once)

    def stalled(self, error: DeadlineError) -> None:
        """Reports a deadline that fired so late that this process must have stood still."""
        self._courier.report(self, EventKind.STALLED, str(error))

    def _note(self, delivery: Delivery) -> None:
        with self._lock:
            self._notes.append(delivery)

    # -- what the courier does ---------------------------------------------------------------------------------------

    def collect(self, *, sweep: bool) -> tuple[Delivery, ...]:
        """Everything noted since the last time; with ``sweep``, what the present bucket holds so far as well."""
        with self._lock:
            if sweep:
                self._sweep()
            notes, self._notes = self._notes, []
            return tuple(notes)

    def _sweep(self) -> None:
        permit = self._closed
        if permit is not None:
            counted = permit.drain()
            # The next success reads the clock and begins a bucket of its own.
            permit.rolls = -math.inf
            if counted:
                self._notes.append(Delivery(permit.generation, self._began, Counts(calls=counted)))

    def apply(self, facts: Facts, since: float) -> None:
        """Takes over what the backend knows, unless this process knows better already."""
        with self._lock:
            record, known = facts.record, self.record
            if record.generation < known.generation:
                return
            self._eager = success_may_trip(self.policy, facts.window)
            if self._eager and self._closed is not None:
                self._closed.rolls = -math.inf
            if record.generation == known.generation:
                return
            now = self._clock.now()
            self.record = record
            self.until = math.inf if record.until is None else round(now + (record.until - facts.now), 6)
            self._since = since
            self._renew_permit()

    def _renew_permit(self) -> None:
        record = self.record
        closed = record.state is State.CLOSED
        self._closed = Permit(self, record.generation, self._clock, self.policy) if closed else None
        self.permit = PASS if self.mode is Mode.OFF else self._closed

    def renew_locks(self) -> None:
        """After a fork, in the child: whoever held the lock does not exist here, and what was noted is the parent's."""
        self._lock = threading.Lock()
        self._notes = []
        if self._closed is not None:
            self._closed.drain()
