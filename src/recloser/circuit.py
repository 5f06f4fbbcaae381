"""The circuit as users hold it: a decorator, a context manager, and a place to report outcomes by hand."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from recloser.core.outcome import Outcome, Verdict
from recloser.errors import ConfigurationError
from recloser.gate import Gate
from recloser.wrapping import Flight, decorate, is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from recloser.core.machine import State
    from recloser.core.policy import Policy
    from recloser.replica import Replica
    from recloser.rules import Rules

__all__ = ["Circuit", "Snapshot"]

_F = TypeVar("_F", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of a circuit at one moment.

    Attributes:
        name: the circuit.
        state: its state.
        generation: the number of this state; it only grows.
        calls: successes, failures and slow calls in the window.
        failures: of these, failures.
        slow: of these, slow ones.
        ignored: calls in the window that count for neither side.
        rejected: calls in the window that were not made.
        since: when the state began, Unix time in seconds.
        until: when it moves on by itself, Unix time in seconds; None when it does not.
        reason: why it is in this state, in one line.
        by: ``"recloser"`` or the operator.
    """

    name: str
    state: State
    generation: int
    calls: int
    failures: int
    slow: int
    ignored: int
    rejected: int
    since: float
    until: float | None
    reason: str
    by: str

    @classmethod
    def of(cls, replica: Replica) -> Snapshot:
        """What ``replica`` knows now."""
        facts, since, until = replica.view()
        record, window = facts.record, facts.window
        return cls(
            name=replica.name,
            state=record.state,
            generation=record.generation,
            calls=window.calls,
            failures=window.failures,
            slow=window.slow,
            ignored=window.ignored,
            rejected=window.rejected,
            since=since,
            until=until,
            reason=record.reason,
            by=record.by,
        )


class _Block(NamedTuple):
    """A ``with`` block that is open, and the one around it."""

    gate: Gate
    flight: Flight
    deadline: AbstractContextManager[object] | None
    outer: _Block | None


_blocks: ContextVar[_Block | None] = ContextVar("recloser_blocks", default=None)


class Circuit(Gate):
    """A circuit, mentioned somewhere in an application. Made by :func:`recloser.circuit`.

    Every mention of a name is the same circuit; what differs is how outcomes are judged at this mention.
    """

    declared: Policy | None

    def __init__(
        self,
        name: str,
        rules: Rules,
        bind: Callable[[Gate], Replica],
        *,
        policy: Policy | None,
        stream: bool,
    ) -> None:
        super().__init__(name, rules, bind, stream=stream)
        self.declared = policy

    def __repr__(self) -> str:
        return f"circuit({self.name!r})"

    # -- decorating --------------------------------------------------------------------------------------------------

    def __call__(self, function: _F, /) -> _F:
        """``function`` protected by this circuit: a function, method, generator, coroutine function or any callable.

        Raises:
            ConfigurationError: when it cannot be called, or when this mention sets ``timeout`` and it is not async.
        """
        inner = getattr(function, "__func__", function)
        self._check_timeout(is_async(inner) is not False or self.stream, inner)
        decorated: _F = decorate(self, function)
        return decorated

    def _check_timeout(self, possible: bool, what: object) -> None:  # noqa: FBT001 - one caller's word for it
        if not possible and self.declared is not None and self.declared.timeout is not None:
            allowed = f"only with async code: a sync call cannot be interrupted, and {what!r} is one"
            raise ConfigurationError("timeout", self.declared.timeout, allowed)

    # -- with --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._check_timeout(possible=False, what="a 'with' block")
        self._open(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._settle_block(self._shut().flight, error)

    async def __aenter__(self) -> Self:
        flight = self._open(None).flight
        if flight.permit.bounded:
            deadline = flight.deadline(opening=True)
            deadline.__enter__()
            _blocks.set(_Block(self, flight, deadline, self._shut().outer))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        block = self._shut()
        swallowed: bool | None = None
        if block.deadline is not None:
            try:
                swallowed = block.deadline.__exit__(kind, error, traceback)
            except BaseException as late:
                self._settle_block(block.flight, late)
                raise
        self._settle_block(block.flight, error)
        return swallowed

    def _open(self, deadline: AbstractContextManager[object] | None) -> _Block:
        flight = Flight(self, self.replica.permit or self.acquire())
        flight.ask()
        block = _Block(self, flight, deadline, _blocks.get())
        _blocks.set(block)
        return block

    def _shut(self) -> _Block:
        """Takes this circuit's innermost open block off the pile."""
        above: list[_Block] = []
        block = _blocks.get()
        while block is not None and block.gate is not self:
            above.append(block)
            block = block.outer
        if block is None:
            msg = f"{self!r} was left in another context than it was entered in"
            raise RuntimeError(msg)
        rest = block.outer
        for each in reversed(above):
            rest = each._replace(outer=rest)
        _blocks.set(rest)
        return block

    def _settle_block(self, flight: Flight, error: BaseException | None) -> None:
        if error is None:
            flight.answered()
            flight.succeed()
        else:
            flight.crash(error)

    # -- by hand -----------------------------------------------------------------------------------------------------

    def record_failure(
        self,
        error: BaseException | str | None = None,
        *,
        context: Mapping[str, object] | None = None,
        once: str | None = None,
    ) -> None:
        """Reports a failure that reached the application some other way: an error frame, a log line, a webhook.

        Args:
            error: the exception, or its text. An exception is judged by the rules of this mention, so that one that is
                ignored is ignored here too; a text, or nothing, is a failure.
            context: what else is known (a call id, a lead); goes to the log at debug level.
            once: counts at most one failure for this key in a window.
        """
        outcome = self.rules.judge(error) if isinstance(error, BaseException) else Outcome.FAILURE
        self.bound.report(outcome, error, once=once, context=context)

    def record_success(self) -> None:
        """Reports a success that did not pass through this circuit by itself."""
        self.bound.report(Outcome(Verdict.SUCCESS))

    def check(self) -> None:
        """Raises PausedError when a call made now would be rejected. Takes no permit and counts nothing.

        Raises:
            PausedError: when it would be.
        """
        refused = self.bound.refusal()
        if refused is not None:
            raise refused

    def allows(self) -> bool:
        """Whether a call made now would go through. Takes no permit and counts nothing."""
        return self.bound.refusal() is None

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.bound.policy

    @property
    def state(self) -> State:
        """The state now."""
        return self.bound.current().state

    def snapshot(self) -> Snapshot:
        """Everything known of the circuit now, frozen."""
        return Snapshot.of(self.bound)
