"""The gate of a circuit: where a call asks for leave, and where it settles.

Decorated functions, ``with``, ``async with``, streams and outcomes recorded by hand all pass through the same two
doors, ``acquire`` and one of the settling methods.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import ref

from recloser.core.outcome import Kind, Outcome, Verdict
from recloser.errors import DeadlineError, PausedError, RefusedResultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.backends import Seat
    from recloser.permit import Permit
    from recloser.replica import Replica
    from recloser.rules import Rules

__all__ = ["Gate", "Watch", "was_counted", "watch"]

_FEW = 4
"""So many failures of a task are known again."""

_counted: ContextVar[tuple[tuple[ref[Replica], ref[BaseException]], ...]] = ContextVar("recloser_counted", default=())


def was_counted(error: object, replica: Replica) -> bool:
    """Whether a call of this task that the circuit protects failed with ``error``, or with its cause, and counted.

    The builtin exceptions, of which none can be known again without keeping it, are taken for new.
    """
    known = [failed() for circuit, failed in _counted.get() if circuit() is replica]
    cause = getattr(error, "__cause__", None)
    return any(found is not None and (found is error or found is cause) for found in known)


def _remember(error: BaseException, replica: Replica) -> None:
    with suppress(TypeError):
        _counted.set((*_counted.get()[1 - _FEW :], (ref(replica), ref(error))))


class Watch:
    """What the circuits made of one try of a fallback: failures, and None for a result that a rule let pass.

    A task that was begun during the try lives on in the same context: once the try is over, nothing more is noted.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: list[tuple[Gate, BaseException | None]] | None = []

    def note(self, gate: Gate, error: BaseException | None) -> None:
        """Notes one outcome."""
        if self._seen is not None:
            self._seen.append((gate, error))

    def close(self) -> list[tuple[Gate, BaseException | None]]:
        """Everything noted; nothing is from now on."""
        seen, self._seen = self._seen or [], None
        return seen


watch: ContextVar[Watch | None] = ContextVar("recloser_watch", default=None)


class _Unbound:
    """Stands where the replica will be once somebody calls, and then finds it."""

    __slots__ = ("_gate",)

    permit: Permit | None = None

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def acquire(self) -> Permit:
        """Finds the replica and asks it."""
        return self._gate.acquire()


class Gate:
    """One mention of a circuit: the replica behind it and the rules it brings along.

    Args:
        name: the circuit's name.
        rules: how outcomes are judged here.
        stream: whether calls return streams or context managers, to be followed to their end.
        bind: finds the replica when the first call comes, and again after :meth:`unbind`.
    """

    name: str
    rules: Rules
    stream: bool
    covers: bool
    replica: Replica | _Unbound
    plain: set[type]
    counts_items: bool

    def __init__(self, name: str, rules: Rules, bind: Callable[[Gate], Replica], *, stream: bool = False) -> None:
        self.name = name
        self.rules = rules
        self.stream = stream
        self.covers = False
        self.replica = _Unbound(self)
        self._bind = bind
        # Classes of results that are settled as they are: neither awaitable nor a stream, and not looked at by a rule.
        self.plain = set()
        self.counts_items = rules.min_items is not None or rules.min_bytes is not None or rules.progress is not None

    @property
    def bound(self) -> Replica:
        """The replica, found now if nobody called before."""
        replica = self.replica
        if isinstance(replica, _Unbound):
            replica = self.replica = self._bind(self)
            if self.covers:
                replica.expect_covers()
        return replica

    def unbind(self) -> None:
        """Makes the next call look for the replica again, and whoever waits for the one it had until now."""
        before, self.replica = self.replica, _Unbound(self)
        if not isinstance(before, _Unbound):
            before.changes.tell()

    def acquire(self) -> Permit:
        """Leave to make one call.

        Raises:
            PausedError: when the circuit does not let it through.
        """
        replica = self.bound
        return replica.permit or replica.acquire()

    def admit(self) -> tuple[Gate, Seat | None]:
        """Leave to begin work that depends on this circuit, and the trial that it took if the circuit is being tested.

        Raises:
            PausedError: when there is none.
        """
        return self, self.bound.trial()

    def choose(self) -> Seat | None:
        """Leave for work that has begun to use this circuit's provider for a while, and the choice that this took.

        Raises:
            PausedError: when there is none.
        """
        return self.bound.choice()

    def refusal(self) -> PausedError | None:
        """Why work that depends on this circuit should not begin now; None when it may. Takes nothing."""
        return self.bound.refusal("trial")

    def succeed(self, permit: Permit, elapsed: float, ended: float) -> None:
        """Settles a call that returned after ``elapsed`` seconds, at ``ended``."""
        replica = permit.replica
        if replica is None:
            return
        if elapsed > permit.slow_after:
            replica.settle(permit, Outcome.SLOW)
        elif permit.single:
            replica.settle(permit, Outcome.SUCCESS)
        else:
            replica.succeed(permit, ended)

    def fail(self, permit: Permit, elapsed: float, error: BaseException) -> None:
        """Settles a call that raised ``error`` after ``elapsed`` seconds."""
        replica = permit.replica
        if replica is None:
            return
        if isinstance(error, DeadlineError) and error.stalled:
            replica.stalled(error)
            outcome = Outcome(Verdict.IGNORED, Kind.TIMEOUT)
        else:
            outcome = self.rules.judge(error)
            if outcome.kind is Kind.CANCELLED and elapsed > permit.slow_after:
                # The caller's own, outer timeout must not hide a provider that hangs.
                outcome = Outcome(Verdict.SLOW, Kind.CANCELLED)
        self._settle(permit, replica, outcome, error)

    def refuse(self, permit: Permit, error: RefusedResultError) -> None:
        """Settles a call whose result a rule calls a failure although nothing was raised."""
        if permit.replica is not None:
            self._settle(permit, permit.replica, Outcome.FAILURE, error)

    def ignore(self, permit: Permit, elapsed: float) -> None:
        """Settles a call that the application left before its end."""
        if permit.replica is not None:
            verdict = Verdict.SLOW if elapsed > permit.slow_after else Verdict.IGNORED
            permit.replica.settle(permit, Outcome(verdict, Kind.CANCELLED))

    def tell_watch(self, error: BaseException | None) -> None:
        """Tells a fallback, if this call is one of its tries, what became of it."""
        watching = watch.get()
        if watching is not None:
            watching.note(self, error)

    def _settle(self, permit: Permit, replica: Replica, outcome: Outcome, error: BaseException) -> None:
        if outcome.is_failure:
            self.tell_watch(error)
            _remember(error, replica)
        replica.settle(permit, outcome, error)
