"""Waiting until work may begin: what a worker does before it takes any.

A thread and a task wait in the same way, by :class:`_Wait`; they differ in what they sleep by.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from recloser.clock import Alarm
from recloser.core.machine import RECLOSER, UNKNOWN, State
from recloser.core.policy import Mode
from recloser.errors import PausedError
from recloser.wrapping import Nap, checkpoint, in_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recloser.clock import Clock
    from recloser.gate import Gate
    from recloser.ramp import Ramp
    from recloser.replica import Replica
    from recloser.requires import Requirement

__all__ = ["await_until_allowed", "wait_until_allowed"]

_SHORTEST, _LONGEST = 0.05, 1.0
"""Seconds between two looks at a circuit that may move on at any moment, first and at the most; its push is quicker."""


def wait_until_allowed(needed: Requirement, timeout: float, ramp: float) -> None:
    """Blocks this thread until the work may begin.

    Args:
        needed: what the work needs.
        timeout: how long it waits, in seconds; infinity for as long as it takes.
        ramp: the length of the ramp after a pause, in seconds; 0 for none.

    Raises:
        PausedError: when the timeout is over.
        RuntimeError: when it would have to wait on a thread that runs an event loop.
    """
    # A lock that is let go is a wake-up that keeps; unlike an Event it may be let go in the middle of its own wait.
    asleep = threading.Lock()
    asleep.acquire()

    def wake() -> None:
        with suppress(RuntimeError):  # it is awake
            asleep.release()

    with _Wait(needed, timeout, ramp, wake) as wait:
        while (at := wait.look()) is not None:
            if in_event_loop():
                msg = "wait_until_allowed would stop the event loop of this thread; use await_until_allowed there"
                raise RuntimeError(msg)
            with _alarm(wait.clock, at, wake) as left:
                asleep.acquire(timeout=-1 if left == math.inf else min(max(0.0, left), threading.TIMEOUT_MAX))


async def await_until_allowed(needed: Requirement, timeout: float, ramp: float) -> None:  # noqa: ASYNC109 - of circuits
    """The same for a task, which lets others run meanwhile; it can be cancelled at any time."""
    await checkpoint()
    nap = Nap()
    with _Wait(needed, timeout, ramp, nap.wake) as wait:
        while (at := wait.look()) is not None:
            with _alarm(wait.clock, at, nap.wake) as left:
                await nap.sleep(left)


@contextmanager
def _alarm(clock: Clock, at: float, wake: Callable[[], object]) -> Iterator[float]:
    """Has ``wake`` called at that moment by a clock that can; how long to sleep in any case."""
    if not isinstance(clock, Alarm) or at == math.inf:
        yield at - clock.now()
        return
    take_back = clock.call_at(at, wake)
    try:
        if clock.now() >= at:
            # It was moved in between.
            wake()
        yield math.inf
    finally:
        take_back()


class _Wait:
    """One wait, to be used in a ``with``: it wants to know of changes only inside.

    Args:
        needed: what the work needs.
        timeout: in seconds.
        ramp: in seconds.
        wake: called by any thread when it is worth another look.
    """

    def __init__(self, needed: Requirement, timeout: float, ramp: float, wake: Callable[[], object]) -> None:
        self._needed = needed
        self._timeout = timeout
        self._length = ramp
        self._wake = wake
        self._deadline: tuple[Clock, float] | None = None
        self._heard: dict[Replica, Callable[[], None]] = {}
        self._lines: set[Ramp] = set()
        self._shortest = _SHORTEST

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave_lines(begins=False)
        for end in self._heard.values():
            end()

    @property
    def clock(self) -> Clock:
        """The time of the circuits; that of a test while one has them."""
        return self._needed.gates[0][0].bound.clock

    def look(self) -> float | None:
        """Begins the work, and returns None; or when to look again, if nothing wakes it up before.

        Raises:
            PausedError: when it may not begin, and the timeout is over.
        """
        if not self._needed.gates:
            return None  # an operator has said that it needs nothing
        clock = self.clock
        now = clock.now()
        if self._deadline is None or self._deadline[0] is not clock:
            self._deadline = (clock, now + self._timeout)
        deadline = self._deadline[1]
        refused = self._begin(now)
        if refused is not None and not self._hears_all():
            # What changed before it listened has told nobody.
            refused = self._begin(now)
        if refused is None:
            return None
        if now >= deadline:
            raise refused
        return min(deadline, now + self._sleeps(refused))

    def _begin(self, now: float) -> PausedError | None:
        """Takes what the work needs; or why it may not begin, with nothing taken."""
        refused = self._needed.refusal() or self._unheard(now)
        if refused is not None:
            self._leave_lines(begins=False)
            return refused
        refused = self._in_line(now)
        if refused is not None:
            return refused
        try:
            self._needed.check()
        except PausedError as error:
            refused = error
        self._leave_lines(begins=refused is None)
        return refused

    def _hears_all(self) -> bool:
        """Whether it is told of changes in every circuit; it is from now on."""
        replicas = {gate.bound for group in self._needed.gates for gate in group}
        known = set(self._heard)
        for replica in known - replicas:
            self._heard.pop(replica)()
        for replica in replicas - known:
            self._heard[replica] = replica.changes.add(self._wake)
        return replicas <= known

    def _sleeps(self, refused: PausedError) -> float:
        """How long it sleeps at the most."""
        left = refused.retry_after
        if left is None:
            return math.inf
        if refused.state is State.CLOSED or left >= self._shortest:
            self._shortest = _SHORTEST
            return left
        shortest, self._shortest = self._shortest, min(_LONGEST, 2 * self._shortest)
        return shortest

    # -- what a wait minds and a call does not -------------------------------------------------------------------------

    def _unheard(self, now: float) -> PausedError | None:
        """A worker that starts in an outage would take work in vain before the fleet has told it."""
        for group in self._needed.gates:
            for gate in group:
                replica = gate.bound
                if replica.current().generation == UNKNOWN and replica.connection.lost_since is None:
                    left = replica.changes.first_word_by(now) - now
                    if left > 0:
                        return _closed(replica, "the shared state has not answered yet", 0.0, left)
        return None

    def _in_line(self, now: float) -> PausedError | None:
        """It stands in line for every circuit that has just been resumed; None when it is its turn in all of them."""
        lines = {replica.ramp: replica for group in self._needed.gates if (replica := _fittest(group)) is not None}
        for ramp in self._lines - set(lines):
            ramp.leave(self, begins=False)
        self._lines = set(lines)
        turns = {
            ramp.turn(self, now, self._length, replica.connection.processes): replica for ramp, replica in lines.items()
        }
        turn = max(turns, default=-math.inf)
        if turn <= now:
            return None
        replica = turns[turn]
        age, why = now - replica.ramp.closed_at, "it was resumed a moment ago, and work begins little by little"
        return _closed(replica, why, age, turn - now)

    def _leave_lines(self, *, begins: bool) -> None:
        for ramp in self._lines:
            ramp.leave(self, begins=begins)
        self._lines = set()


def _fittest(group: tuple[Gate, ...]) -> Replica | None:
    """Of circuits of which one is needed, the one that has been closed longest; None when none is, or none matters."""
    closed = [gate.bound for gate in group if gate.bound.record.state is State.CLOSED]
    if not closed or any(gate.bound.mode is not Mode.ENFORCE for gate in group):
        return None
    return min(closed, key=lambda replica: replica.ramp.closed_at)


def _closed(replica: Replica, reason: str, age: float, left: float) -> PausedError:
    """Why work does not begin although the circuit is closed: for ``age`` seconds, and for so many more."""
    return PausedError(replica.name, State.CLOSED, reason, RECLOSER, replica.clock.time() - age, left)
