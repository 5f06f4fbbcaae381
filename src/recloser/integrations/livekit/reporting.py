"""From what a plugin did to its circuit: one failure for each provider and call, and every answer."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from recloser.contain import Contained
from recloser.core.classify import classify_text
from recloser.core.outcome import Kind, Outcome, Verdict
from recloser.errors import ConfigurationError, DeadlineError, PausedError
from recloser.integrations.calls import Call, clarified

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from recloser.circuit import Circuit
    from recloser.integrations.attribution import Attribution

__all__ = ["Account", "CallFailure"]

_SILENT: Final = "no audio frames were pushed"


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A provider failed, and nothing took over.

    Attributes:
        session: the session whose call it is; None for a plugin that is used without one.
        call_id: the call's id.
        circuit: the name of the provider's circuit.
        outcome: what kind of failure it was.
        error: what LiveKit told of.
    """

    session: Any
    call_id: str
    circuit: str
    outcome: Outcome
    error: Exception | str


class Account:
    """What is counted for one call, or for a plugin that is used without one.

    Args:
        attribution: finds circuits.
        call_id: the call's id, if it is one.
        session: the session whose call it is.
        on_failure: is told of failures that nothing took over.

    Raises:
        ConfigurationError: for an id that is none, and an ``on_failure`` that cannot be called.

    Attributes:
        call_id: the call's id, drawn if it was given none.
    """

    of_call: bool
    call_id: str

    def __init__(
        self,
        attribution: Attribution,
        call_id: str | None,
        session: Any,
        on_failure: Callable[[CallFailure], Awaitable[object] | object] | None,
    ) -> None:
        if on_failure is not None and not callable(on_failure):
            raise ConfigurationError("on_failure", on_failure, "a function of one CallFailure, or None")
        self.attribution = attribution
        self.of_call = session is not None or call_id is not None
        self._call = Call(call_id)
        self.call_id = self._call.id
        self._session = session
        self._on_failure = None if on_failure is None else Contained("on_failure", on_failure)
        self._running: set[asyncio.Future[object]] = set()
        self._told: set[str] = set()

    def has_failed(self, plugin: object) -> bool:
        """Whether another failure of this plugin would not count."""
        circuit = self.attribution.circuit(plugin)
        return circuit is not None and self._call.has_failed(circuit)

    def fail(self, plugin: object, error: Exception | str) -> None:
        """A request of ``plugin`` has failed for good."""
        circuit = self.attribution.circuit(plugin)
        if circuit is None:
            self.attribution.unknown(plugin, error)
            return
        outcome, told = _judged(circuit, error)
        call = self._call if self.of_call else Call()
        if call.fail(circuit, outcome, told, {"plugin": type(plugin).__name__}) and self._session is None:
            self._act(circuit, outcome, error)

    def succeed(self, plugin: object, elapsed: float | None) -> None:
        """A request of ``plugin`` was answered."""
        circuit = self.attribution.circuit(plugin)
        if circuit is not None:
            self._call.succeed(circuit, elapsed)

    def surface(self, plugin: object, error: Exception | str) -> None:
        """An error of ``plugin`` reached the session: nothing took over."""
        circuit = self.attribution.circuit(plugin)
        if circuit is None or circuit.name in self._told:
            return
        outcome, _ = _judged(circuit, error)
        paused = isinstance(error, Exception) and isinstance(error.__cause__, PausedError)
        if outcome.is_failure or paused:
            self._told.add(circuit.name)
            self._act(circuit, outcome, error)

    def _act(self, circuit: Circuit, outcome: Outcome, error: Exception | str) -> None:
        if self._on_failure is None:
            return
        done = self._on_failure(CallFailure(self._session, self.call_id, circuit.name, outcome, error))
        if inspect.isawaitable(done):
            task = asyncio.ensure_future(_finished(done))
            self._running.add(task)
            task.add_done_callback(self._running.discard)


async def _finished(work: Awaitable[object]) -> object:
    return await work


def _judged(circuit: Circuit, error: Exception | str) -> tuple[Outcome, Exception | str]:
    """What an error counts as, and the error to show for it."""
    text = str(error)
    if _SILENT in text:
        # The rest of it is what should have been said, which is nobody's business and no evidence.
        return Outcome(Verdict.FAILURE, Kind.UNKNOWN), f"APIError: {_SILENT}"
    if isinstance(error, str):
        return classify_text(text), error
    if isinstance(error.__cause__, DeadlineError):
        error = error.__cause__
    # Some plugins keep what the provider said in the cause of an error that says nothing.
    better = classify_text(f"{text} {error.__cause__}" if error.__cause__ else text)
    return clarified(circuit.rules.judge(error), better), error
