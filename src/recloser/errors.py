"""Every exception that Recloser raises itself.

The exceptions of wrapped calls are not here: they always pass through unchanged.

::

    RecloserError
    ├── ConfigurationError        (also a ValueError)   something written down is impossible
    ├── PausedError                                     a circuit does not let the call through
    ├── ProvidersExhaustedError                         every provider of a fallback was tried and failed
    ├── RefusedResultError                              a result that ``failure_if`` or ``min_items`` called a failure
    ├── DeadlineError             (also a TimeoutError) a deadline of the circuit's own passed
    └── BackendError                                    the shared state cannot be reached or understood
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recloser.core.duration import format_duration
from recloser.core.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BackendError",
    "ConfigurationError",
    "DeadlineError",
    "PausedError",
    "ProvidersExhaustedError",
    "RecloserError",
    "RefusedResultError",
]


class RecloserError(Exception):
    """The base of every exception that Recloser raises itself."""


class ConfigurationError(RecloserError, ValueError):
    """Raised where an impossible value is written; names the key, the value and what is allowed."""

    key: str
    value: object
    allowed: str

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(key, value, allowed)
        self.key = key
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.key} = {self.value!r} is not possible: {self.allowed}"


class PausedError(RecloserError):
    """Raised instead of making a call that a circuit does not let through.

    Attributes:
        circuit: the name of the circuit that is in the way.
        state: its state, OPEN, HALF_OPEN (every probe is out) or PAUSED; CLOSED only from ``wait_until_allowed``, when
            its timeout ends within the ramp.
        reason: why, such as ``"10 failures in 5m, last: APIStatusError 503"``.
        paused_by: ``"recloser"``, or the operator who paused it.
        since: when that began, Unix time in seconds.
        retry_after: seconds until the next try makes sense; None when only an operator can resume.
    """

    # Slots, positional arguments and no super().__init__: this is raised on the path of every rejected call.
    __slots__ = ("circuit", "paused_by", "reason", "retry_after", "since", "state")

    circuit: str
    state: State
    reason: str
    paused_by: str
    since: float
    retry_after: float | None

    def __init__(
        self,
        circuit: str,
        state: State,
        reason: str,
        paused_by: str,
        since: float,
        retry_after: float | None,
    ) -> None:
        self.circuit = circuit
        # Where exceptions travel as JSON, as through Celery's results, they are made anew from plain texts.
        self.state = State(state) if type(state) is str else state
        self.reason = reason
        self.paused_by = paused_by
        self.since = since
        self.retry_after = retry_after

    def __str__(self) -> str:
        when = (
            "until an operator resumes it"
            if self.retry_after is None
            else f"retry in {format_duration(self.retry_after)}"
        )
        return f"{self.circuit} is {self.state.name} by {self.paused_by}: {self.reason}; {when}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.circuit, self.state, self.reason, self.paused_by, self.since, self.retry_after)


class ProvidersExhaustedError(RecloserError):
    """Raised when every provider of a fallback was tried, or paused, and at least one try failed.

    It is raised from the exception of the last provider tried.

    Attributes:
        errors: provider name to the exception it raised, in the order of the tries.
    """

    errors: dict[str, BaseException]

    def __init__(self, errors: Mapping[str, BaseException]) -> None:
        super().__init__(errors)
        self.errors = dict(errors)

    def __str__(self) -> str:
        tries = "; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in self.errors.items())
        return f"no provider answered ({tries})"


class RefusedResultError(RecloserError):
    """Stands for a result that ``failure_if``, ``min_items`` or ``min_bytes`` called a failure.

    A circuit alone hands such a result to its caller; a fallback moves on to the next provider and, when there is none
    left, shows this among the errors of :class:`ProvidersExhaustedError`.

    Attributes:
        result: what the provider returned.
    """

    result: object

    def __init__(self, why: str, result: object = None) -> None:
        super().__init__(why)
        self.result = result


class DeadlineError(RecloserError, TimeoutError):
    """Raised by a circuit when its ``timeout``, ``first_item`` or ``idle`` has passed.

    Attributes:
        circuit: the circuit's name.
        deadline: which of the three.
        length: how long it was, in seconds.
        late: how much later than that it fired, in seconds.
    """

    circuit: str
    deadline: str
    length: float
    late: float

    def __init__(self, circuit: str, deadline: str, length: float, late: float = 0.0) -> None:
        super().__init__(circuit, deadline, length, late)
        self.circuit = circuit
        self.deadline = deadline
        self.length = length
        self.late = late

    @property
    def stalled(self) -> bool:
        """Whether it fired so late that this process must have stood still, so that nothing is known of the provider.

        A quarter of a second and a tenth of the length are allowed for: a busy event loop is that late, a provider is
        not to blame for more.
        """
        return self.late > max(0.25, self.length / 10)

    def __str__(self) -> str:
        text = f"{self.circuit}: {self.deadline} of {format_duration(self.length)} has passed"
        return f"{text}, but this process stood still for {format_duration(self.late)}" if self.stalled else text


class BackendError(RecloserError):
    """Raised when an operator's request needs the shared state and the backend does not answer."""
