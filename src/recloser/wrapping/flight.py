"""A flight: one call whose end comes after its return, with a stream, a connection or something to await."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from recloser.core.outcome import Kind
from recloser.errors import DeadlineError, RefusedResultError
from recloser.wrapping.deadlines import Deadline

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from recloser.gate import Gate
    from recloser.permit import Permit

__all__ = ["Flight"]

_NO_DEADLINE: AbstractContextManager[object] = nullcontext()


class Flight:
    """One call from leave to settlement, which happens exactly once, whoever comes first.

    Its length is the time spent waiting for the provider; the time that the reader of a stream takes between items is
    not the provider's.

    Args:
        gate: the mention of the circuit it belongs to.
        permit: the leave it was given.
        waited: seconds already spent waiting.

    Attributes:
        holders: how many proxies and generators there are that can end it.
        asked: whether an item was ever asked for.
        iterated: whether it is read as a stream, whose end is its exhaustion.
        leaving: whether the application is leaving the ``with`` block around it.
        watched: whether items must be looked at one by one, for a deadline or for what they are.
        timed: whether the time spent waiting matters.
        waiting_since: since when the provider is waited for; None while it is not.
    """

    __slots__ = (
        "_quiet_since",
        "asked",
        "bytes",
        "gate",
        "holders",
        "items",
        "iterated",
        "leaving",
        "permit",
        "settled",
        "timed",
        "waited",
        "waiting_since",
        "watched",
    )

    gate: Gate
    permit: Permit
    waited: float
    items: int
    bytes: int
    settled: bool
    holders: int
    asked: bool
    iterated: bool
    leaving: bool
    watched: bool
    timed: bool
    waiting_since: float | None

    def __init__(self, gate: Gate, permit: Permit, waited: float = 0.0) -> None:
        self.gate = gate
        self.permit = permit
        self.waited = waited
        self.items = 0
        self.bytes = 0
        self.settled = False
        self.holders = 0
        self.asked = False
        self.iterated = False
        self.leaving = False
        self.watched = permit.paced or gate.counts_items
        self.timed = permit.watched or gate.counts_items
        self.waiting_since = None
        self._quiet_since = 0.0

    # -- waiting for items

    def wait(self) -> None:
        """From now on the provider is waited for."""
        self.waiting_since = self.permit.now()

    def ask(self) -> None:
        """An item is asked for: from now on the provider is waited for."""
        self.asked = True
        self.waiting_since = self.permit.now()

    def deadline(self, *, opening: bool = False) -> AbstractContextManager[object]:
        """The deadline of what is waited for, whichever of the policy's three comes first.

        Args:
            opening: whether the call has not returned yet, so that what it returns may not be a stream at all.
        """
        policy, silence = self.permit.policy, self.waited - self._quiet_since
        ends: list[tuple[float, str, float]] = []
        if policy.timeout is not None:
            ends.append((policy.timeout - self.waited, "timeout", policy.timeout))
        if self.items == 0:
            if policy.first_item is not None and (self.gate.stream or not opening):
                ends.append((policy.first_item - self.waited, "first_item", policy.first_item))
        elif policy.idle is not None:
            ends.append((policy.idle - silence, "idle", policy.idle))
        if not ends:
            return _NO_DEADLINE
        left, which, length = min(ends)
        return Deadline(self.gate.name, self.permit, which, length, left)

    def got(self, item: object, *, late_counts: bool = False) -> None:
        """An item came.

        Args:
            item: what came.
            late_counts: whether its being late is a failure. A sync stream cannot be interrupted at its deadline; an
                async one was, unless this process itself stood still.
        """
        self._stop_waiting()
        rules = self.gate.rules
        if rules.progress is not None and not rules.progress(item):
            return
        if late_counts:
            self._judge_silence()
        self.items += 1
        self._quiet_since = self.waited
        if rules.min_bytes is not None:
            self.bytes += len(item) if isinstance(item, bytes | bytearray | memoryview | str) else 0

    def answered(self) -> None:
        """What was waited for came, and is not an item."""
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self.waiting_since is not None:
            self.waited += self.permit.now() - self.waiting_since
            self.waiting_since = None

    def _judge_silence(self) -> None:
        """An item that came too late is handed on, and counted as a failure."""
        policy, silence = self.permit.policy, self.waited - self._quiet_since
        which, length = ("first_item", policy.first_item) if self.items == 0 else ("idle", policy.idle)
        if length is not None and silence > length:
            self._settle(DeadlineError(self.gate.name, which, length))

    # -- settling

    def land(self) -> None:
        """The stream is exhausted, or what was entered was left in order: judge what came."""
        self._stop_waiting()
        rules = self.gate.rules
        why = ""
        if rules.min_items is not None and self.items < rules.min_items:
            why = f"the stream ended after {self.items} items, at least {rules.min_items} were expected"
        elif rules.min_bytes is not None and self.bytes < rules.min_bytes:
            why = f"the stream ended after {self.bytes} bytes, at least {rules.min_bytes} were expected"
        if why:
            self.refuse(RefusedResultError(why))
        else:
            self.succeed()

    def succeed(self) -> None:
        """It ended well."""
        if not self.settled:
            self.settled = True
            self.gate.succeed(self.permit, self.waited, self.permit.now())

    def refuse(self, error: RefusedResultError) -> None:
        """It ended with something that a rule calls a failure."""
        if not self.settled:
            self.settled = True
            self.gate.refuse(self.permit, error)

    def crash(self, error: BaseException) -> None:
        """It ended with ``error``."""
        self._stop_waiting()
        if not self.leaving:
            self._settle(error)

    def end_block(self, error: BaseException | None) -> None:
        """A ``with`` block around it was left, in order or with an error."""
        self.leaving = False
        if error is None:
            self.succeed()
        else:
            self.end_by_reader(error)

    def end(self, error: BaseException, *, thrown: object) -> None:
        """It ended with ``error``, which may be what the reader had thrown in."""
        if error is thrown:
            self.end_by_reader(error)
        else:
            self.crash(error)

    def end_by_reader(self, error: BaseException) -> None:
        """It ended with an error that came from the application's side: what is unknown is not the provider's."""
        rules = self.gate.rules
        outcome = rules.judge(error)
        if outcome.is_failure and outcome.kind is Kind.UNKNOWN and not isinstance(error, rules.failure):
            self.leave()
        else:
            self.crash(error)

    def close(self, *, stream: bool) -> None:
        """The application closes it, a stream or a connection; whatever its reader gets after that is no failure."""
        if stream or self.iterated or (self.asked and not self.items):
            self.leave()
        else:
            # A connection that was used through its methods: closing it is how its call ends well.
            self.succeed()

    def leave(self) -> None:
        """The application ended it before it was over."""
        self._stop_waiting()
        if not self.settled:
            self.settled = True
            self.gate.ignore(self.permit, self.waited)

    def hung_up(self, error: BaseException) -> None:
        """Reading from a connection raised; only a failure ends it, it may be read again after a cancellation."""
        self._stop_waiting()
        if not self.leaving and self.gate.rules.judge(error).is_failure:
            self._settle(error)

    def let_go(self) -> None:
        """One of those who could have ended it is gone; when it was the last, the application has left."""
        self.holders -= 1
        if self.holders == 0:
            self.leave()

    def _settle(self, error: BaseException) -> None:
        if not self.settled:
            self.settled = True
            self.gate.fail(self.permit, self.waited, error)

    def judged(self, result: Any) -> bool:
        """Whether ``failure_if`` was asked about ``result`` and called it a failure, which settles the flight."""
        rule = self.gate.rules.failure_if
        if rule is None:
            return False
        if not rule(result):
            self.gate.tell_watch(None)
            return False
        self.refuse(RefusedResultError("failure_if called the result a failure", result))
        return True
