"""The replica of a circuit: what one process knows of it, and what a call reads and settles.

A call in a closed circuit reads one attribute, ``permit``, and when it succeeds counts on a counter that belongs to
that permit. Everything else - open, half-open, paused, switched to another mode - leaves ``permit`` empty and takes
the slow path through :meth:`Replica.acquire`. A permit belongs to one generation: when the circuit moves on, a late
success counts on a counter that nobody reads any more.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import TYPE_CHECKING

from recloser.backends import Delivery, Seat
from recloser.changes import Changes
from recloser.clock import Alarm
from recloser.core.events import ErrorSample, EventKind, writable
from recloser.core.machine import UNKNOWN, Facts, Record, State, counted, success_may_trip
from recloser.core.policy import Mode
from recloser.core.window import BUCKETS, Counts
from recloser.covers import is_inside
from recloser.errors import PausedError
from recloser.forks import renew_after_fork
from recloser.ledger import merged
from recloser.locks import Section, unless_held
from recloser.permit import PASS, Counter, Permit
from recloser.ramp import Ramp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recloser.backends import Pool
    from recloser.clock import Clock
    from recloser.core.outcome import Outcome
    from recloser.core.policy import Policy
    from recloser.courier import Connection, Courier
    from recloser.errors import DeadlineError

__all__ = ["Replica"]

_log = logging.getLogger("recloser")

_SOON = 0.001
"""A circuit whose time has come, but for the word of the fleet, is asked again after this many seconds at the least."""

_YEARS = 3e8
"""No provider asks to be left alone for longer, in seconds; only what is no number of seconds at all does."""

_NOTES = 1500
"""So many notes wait as they are. When failures are reported faster than the courier takes them, they are merged."""

_FORMER = 7
"""So many changes of policy within one generation lose nothing."""


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
    covered: bool
    chosen: bool
    now: Callable[[], float]
    clock: Clock
    connection: Connection
    changes: Changes
    ramp: Ramp

    def __init__(self, name: str, policy: Policy, mode: Mode, clock: Clock, courier: Courier) -> None:
        self.name = name
        self.policy = policy
        self.mode = mode
        self.record = Record(generation=UNKNOWN)
        # Whoever asks first brings the facts.
        self.until = -math.inf
        self.permit = None
        # Whether fallbacks pass through this circuit by name: then every call asks whether it is inside of one.
        self.covered = False
        # Whether work of this process chooses between this circuit's provider and others.
        self.chosen = False
        self.clock = clock
        self.now = clock.now
        self._courier = courier
        self.connection = courier.connection
        # For whoever waits for it to change, and to begin again.
        self.changes = Changes()
        self.ramp = Ramp(exact=isinstance(clock, Alarm))
        self._lock = Section()
        self._closed: Permit | None = None
        # Permits of this generation from before its policy changed; calls that hold one still count.
        self._former: list[Permit] = []
        self._rejected = Counter()
        self._shut = False
        self._eager = False
        self._since = 0.0
        self._notes: deque[Delivery] = deque()
        renew_after_fork(self)

    # -- asking ------------------------------------------------------------------------------------------------------

    def acquire(self) -> Permit:
        """Leave to make one call.

        Raises:
            PausedError: when the circuit does not let it through.
        """
        if self.covered and is_inside(self.name):
            return PASS
        while True:
            closed = self._closed
            if closed is not None and self.mode is not Mode.OFF:
                if self.permit is None:
                    self._attend()
                return closed
            now = self.now()
            if self._shut and now < self.until:
                # All of it here and not in functions of their own: this is the path of every call to a dead provider.
                if now < self._rejected.rolls:
                    next(self._rejected.counter)
                else:
                    self._reject(now)
                record, left = self.record, self.until - now
                raise PausedError(
                    self.name, record.state, record.reason, record.by, self._since, None if left == math.inf else left
                )
            permit, refused = self._admit()
            if permit is not None:
                return permit
            if refused is not None:
                self._reject(now)
                raise refused

    def _reject(self, now: float) -> None:
        """Counts a rejection, and delivers the bucket that is over, if one is."""
        over = now >= self._rejected.rolls
        if over:
            with self._lock:
                self._sweep()
                self._rejected.begin(now, self.policy.window / BUCKETS)
        next(self._rejected.counter)
        if over:
            self._courier.wake(self, urgent=False)

    def _attend(self) -> None:
        """Says that a call is there to whoever has to begin working; calls that follow take the shortest way again."""
        if self._courier.asleep:
            self._courier.attend(self)
        if not self.covered:
            with self._lock:
                self._show_permit()

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
            seat, retry_after = self._courier.lease(self, "probe")
            if seat is not None:
                return self._single(record, seat), None
            return self._refuse_unless_moved(record, retry_after)
        return None, self._refusal(record, self.until - self.now())

    def expect_covers(self) -> None:
        """A fallback passes through this circuit by name: from now on no call takes the shortest way."""
        with self._lock:
            self.covered = True
            if self.mode is not Mode.OFF:
                self.permit = None

    def choice(self) -> Seat | None:
        """The same for work that has begun, and may use this circuit's provider for a while or another one."""
        self.chosen = True
        return self.trial("choice")

    def trial(self, pool: Pool = "trial") -> Seat | None:
        """Leave to start work that depends on this circuit; in HALF_OPEN it is one of a few, and has a seat.

        Raises:
            PausedError: when the circuit is OPEN or PAUSED, or HALF_OPEN with all trials taken.
        """
        while True:
            record = self.current()
            refused = self.refusal(pool)
            if refused is not None:
                raise refused
            if record.state is not State.HALF_OPEN or self.mode is not Mode.ENFORCE:
                return None
            seat, retry_after = self._courier.lease(self, pool)
            if seat is not None:
                return seat
            _, refused = self._refuse_unless_moved(record, retry_after)
            if refused is not None:
                raise refused

    def give_back(self, seat: Seat) -> None:
        """Returns a trial that was not used after all."""
        self._courier.give_back(self, seat)

    def refusal(self, pool: Pool = "probe") -> PausedError | None:
        """Why a call made now would be rejected; None when it would go through. Takes nothing, counts nothing."""
        if self.mode is not Mode.ENFORCE:
            return None
        while True:
            record = self.current()
            if record.state is State.CLOSED:
                return None
            if record.state is not State.HALF_OPEN:
                return self._refusal(record, self.until - self.now())
            lease = self._courier.look(self, pool)
            if lease.granted:
                return None
            _, refused = self._refuse_unless_moved(record, lease.retry_after)
            if refused is not None:
                return refused

    def current(self) -> Record:
        """The record as it is now: a circuit whose time has come moves on before anybody reads it."""
        if self._courier.asleep:
            self._courier.attend(self)
        if self.now() >= self.until:
            self._courier.run(self)
        return self.record

    def view(self) -> tuple[Facts, float, float | None]:
        """The facts, and when the state began and ends as Unix time."""
        facts = self._courier.facts(self)
        until = facts.record.until
        return facts, self._since, None if until is None else self._courier.unix(facts, until)

    def adopt(self, policy: Policy, mode: Mode) -> None:
        """Goes on with another policy; what was counted stays counted."""
        with self._lock:
            if self._closed is not None:
                self._keep_counting(self._closed)
            self.policy, self.mode = policy, mode
            self._renew_permit()
        self.changes.tell()
        self._courier.wake(self)

    def _single(self, record: Record, seat: Seat | None = None) -> Permit:
        """A permit for one call, whose every outcome is settled by itself."""
        return Permit(self, record.generation, self.clock, self.policy, single=True, seat=seat)

    def _refuse_unless_moved(self, record: Record, retry_after: float) -> tuple[None, PausedError | None]:
        self._courier.run(self)
        if self.record.generation != record.generation:
            return None, None
        return None, self._refusal(record, retry_after)

    def _refusal(self, record: Record, retry_after: float) -> PausedError:
        left = None if math.isinf(retry_after) else max(retry_after, _SOON)
        return PausedError(self.name, record.state, record.reason, record.by, self._since, left)

    # -- settling ----------------------------------------------------------------------------------------------------

    def succeed(self, permit: Permit, now: float) -> None:
        """Settles a success of a closed circuit once its bucket is over, and begins the next."""
        with self._lock:
            mine = permit is self._closed or permit in self._former
            if mine and now >= permit.rolls:
                self._sweep()
                if not self._eager:
                    permit.begin(now, self.policy.window / BUCKETS)
                permit.began = now
            next(permit.counter)
            due = mine and (self._eager or bool(self._notes))
        if due:
            self._courier.wake(self, urgent=self._eager)

    def settle(
        self,
        permit: Permit | None,
        outcome: Outcome,
        error: BaseException | str | None = None,
        once: str | None = None,
    ) -> None:
        """Settles any outcome; without a permit, as one of the present generation."""
        now = self.now()
        if permit is None:
            generation, seat = self.current().generation, None
        else:
            generation, seat = permit.generation, permit.seat
        counts = counted(self.policy, outcome, probe=seat is not None)
        if counts.failures:
            errors = (ErrorSample.of("failure" if error is None else error, outcome, now),)
            asked, key = _sensible(outcome.retry_after), None if once is None else writable(once)
            self._notes.append(Delivery(generation, now, counts, asked, errors, key, seat))
        else:
            self._notes.append(Delivery(generation, now, counts, gives_back=seat))
        if len(self._notes) > _NOTES:
            unless_held(self._merge_notes)
        self._courier.wake(self, urgent=bool(counts.calls or seat))

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
        _log.debug("%s: %s by hand, context %s", self.name, outcome, context)
        self.settle(None, outcome, error, once)

    def _merge_notes(self) -> None:
        with self._lock:
            waiting = [self._notes.popleft() for _ in range(len(self._notes))]
            self._notes.extendleft(reversed(merged(waiting, self.now(), self.policy.window)))

    def note(self, delivery: Delivery) -> None:
        """Has something delivered besides."""
        self._notes.append(delivery)

    def stalled(self, error: DeadlineError) -> None:
        """Reports a deadline that fired so late that this process must have stood still."""
        self._courier.report(self, EventKind.STALLED, str(error))

    # -- what the courier does ---------------------------------------------------------------------------------------

    def collect(self, *, sweep: bool) -> tuple[Delivery, ...]:
        """Everything noted since the last time; with ``sweep``, what the present bucket holds so far as well."""
        with self._lock:
            if sweep:
                self._sweep()
            return tuple(self._notes.popleft() for _ in range(len(self._notes)))

    def _sweep(self) -> None:
        """Notes what was counted without a lock."""
        for successes in (*self._former, self._closed):
            if successes is not None and (calls := successes.drain()):
                self._notes.append(Delivery(successes.generation, successes.began, Counts(calls=calls)))
        if rejected := self._rejected.drain():
            self._notes.append(Delivery(self.record.generation, self._rejected.began, Counts(rejected=rejected)))

    def apply(self, facts: Facts, since: float, *, force: bool = False) -> None:
        """Takes over what the backend knows, unless this process knows better already and is not told to forget it."""
        with self._lock:
            record, known = facts.record, self.record
            heard = self.until != -math.inf
            if record.generation < known.generation and not force:
                return
            self._eager = success_may_trip(self.policy, facts.window)
            if self._eager and self._closed is not None:
                self._closed.rolls = -math.inf
            if heard and (record == known if force else record.generation == known.generation):
                return
            now = self.now()
            if self._closed is not None:
                # What was counted in the state that ends was counted.
                self._sweep()
                if record.generation == known.generation:
                    self._keep_counting(self._closed)
                elif known.generation == UNKNOWN and record.state is State.CLOSED:
                    # Calls that began before the first word came are calls of the state that it tells of.
                    self._closed.generation = record.generation
                    self._keep_counting(self._closed)
            if known.generation not in {record.generation, UNKNOWN}:
                self._former = []
            # Nobody is refused by the old state with the new one's reasons: this is set anew when all of it is there.
            self._shut = False
            self.record = record
            self.until = math.inf if record.until is None else round(now + (record.until - facts.now), 6)
            self._since = since
            self._renew_permit()
            self.ramp.shows(record, now, max(0.0, facts.now - record.since))
        self.changes.tell()

    def _keep_counting(self, permit: Permit) -> None:
        """A permit that is not given any more still counts for calls that hold it."""
        self._former = [*self._former[-_FORMER:], permit]

    def _renew_permit(self) -> None:
        record = self.record
        closed = record.state is State.CLOSED
        self._shut = record.state in (State.OPEN, State.PAUSED) and self.mode is Mode.ENFORCE
        self._closed = Permit(self, record.generation, self.clock, self.policy) if closed else None
        self._show_permit()

    def _show_permit(self) -> None:
        self.permit = PASS if self.mode is Mode.OFF else None if self.covered else self._closed

    def renew(self) -> None:
        """After a fork, in the child: what was noted is the parent's to deliver."""
        self._lock.renew()
        self.changes.renew()
        self.ramp.renew()
        self._sweep()
        self._notes.clear()
        # A thread of the parent's may have been about to let calls see another state: all of it is taken over anew.
        self.until = -math.inf
        self._renew_permit()
        # The next call says that it is there.
        self.permit = PASS if self.mode is Mode.OFF else None


def _sensible(asked: float | None) -> float | None:
    """Seconds that a provider asked for; a user's rule may say anything."""
    return None if asked is None or math.isnan(asked) else min(max(asked, 0.0), _YEARS)
