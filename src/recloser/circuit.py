"""The circuit as users hold it: a decorator, a context manager, and a place to report outcomes by hand."""

from __future__ import annotations

import sys
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
    from types import FrameType, TracebackType

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
        generation: the number of this state; it only grows. A state of this process alone has a negative one.
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
    """A ``with`` block that is open."""

    frame: int
    flight: Flight
    deadline: AbstractContextManager[object] | None


_here: ContextVar[tuple[_Block, ...]] = ContextVar("recloser_blocks", default=())


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
        self._blocks: list[_Block] = []

    def __repr__(self) -> str:
        return f"circuit({self.name!r})"

    # -- decorating --------------------------------------------------------------------------------------------------

    def __call__(self, function: _F, /) -> _F:
        """``function`` protected by this circuit: a function, method, generator, coroutine function or any callable.

        Raises:
            ConfigurationError: when it cannot be called, or when this mention sets ``timeout`` and it is not async.
        """
        self.check_timeout(function)
        decorated: _F = decorate(self, function)
        return decorated

    def check_timeout(self, function: Any) -> None:
        """Raises ConfigurationError when this mention sets ``timeout`` and ``function`` is not async."""
        function = getattr(function, "__func__", function)
        if not self.stream and is_async(function) is False:
            self._refuse_timeout(repr(function))

    def _refuse_timeout(self, what: str) -> None:
        if self.declared is not None and self.declared.timeout is not None:
            allowed = f"only with async code: a sync call cannot be interrupted, and {what} is one"
            raise ConfigurationError("timeout", self.declared.timeout, allowed)

    # -- with --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._refuse_timeout("a 'with' block")
        self._open(sys._getframe(1))  # noqa: SLF001 - a block is known by the frame that it stands in
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._settle_block(self._shut(sys._getframe(1)).flight, error)  # noqa: SLF001

    async def __aenter__(self) -> Self:
        self._open(sys._getframe(1), bounded=True)  # noqa: SLF001
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        block = self._shut(sys._getframe(1))  # noqa: SLF001
        swallowed: bool | None = None
        if block.deadline is not None:
            try:
                swallowed = block.deadline.__exit__(kind, error, traceback)
            except BaseException as late:
                self._settle_block(block.flight, late)
                raise
        self._settle_block(block.flight, error)
        return swallowed

    def _open(self, frame: FrameType, *, bounded: bool = False) -> None:
        flight = Flight(self, self.replica.permit or self.acquire())
        flight.wait()
        deadline = flight.deadline(opening=True) if bounded and flight.permit.bounded else None
        if deadline is not None:
            deadline.__enter__()
        block = _Block(id(frame), flight, deadline)
        self._blocks.append(block)
        _here.set((*_here.get(), block))

    def _shut(self, frame: FrameType) -> _Block:
        """Takes the block off that is being left: of this frame, else of this context, else the one opened last."""
        mine, here = [block for block in self._blocks if block.frame == id(frame)], _here.get()
        of_context = [block for block in here if block.flight.gate is self]
        for blocks in (mine, of_context, self._blocks):
            if blocks:
                block = blocks[-1]
                self._blocks.remove(block)
                _here.set(tuple(each for each in here if each is not block))
                return block
        msg = f"{self!r} was left without having been entered"
        raise RuntimeError(msg)

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
