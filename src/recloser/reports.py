"""What people and programs are shown: the status of everything, the explanation of one circuit, the log of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, overload

from recloser.circuit import Snapshot
from recloser.core.duration import format_duration
from recloser.core.machine import State, threshold
from recloser.core.policy import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recloser.core.events import ErrorSample, Event
    from recloser.core.policy import Policy
    from recloser.courier import Connection
    from recloser.replica import Replica

__all__ = ["EventLog", "Explanation", "Status", "answering"]


class Status(Mapping[str, Snapshot]):
    """Every circuit's snapshot by its name, and where they are kept.

    Attributes:
        backend: the kind of backend.
        namespace: the namespace.
        mode: what every circuit is turned down to at most.
        fallbacks: the fallback's name to the provider that its calls go to now, None when none is available.
        lost_since: since when the backend has not answered this process, Unix time in seconds; None while it does.
        lost_because: why, in one line.
        processes: how many processes of the fleet are alive, as far as is known.
        hooks: the alert hooks by their names; empty for those that are active, else why they are not.
        problems: settings that are passed over because they are not possible, a line each.
    """

    backend: str
    namespace: str
    mode: Mode
    fallbacks: dict[str, str | None]
    lost_since: float | None
    lost_because: str
    processes: int
    hooks: dict[str, str]
    problems: tuple[str, ...]

    def __init__(  # noqa: PLR0913 - all that there is to show
        self,
        circuits: Mapping[str, Snapshot],
        backend: str,
        namespace: str,
        mode: Mode,
        fallbacks: Mapping[str, str | None],
        connection: Connection,
        *,
        hooks: Mapping[str, str],
        problems: tuple[str, ...] = (),
    ) -> None:
        self._circuits = dict(circuits)
        self.backend = backend
        self.namespace = namespace
        self.mode = mode
        self.fallbacks = dict(fallbacks)
        self.lost_since = connection.lost_since
        self.lost_because = connection.lost_because
        self.processes = connection.processes
        self.hooks = dict(hooks)
        self.problems = problems

    @property
    def circuits(self) -> dict[str, Snapshot]:
        """Every circuit's snapshot by its name."""
        return dict(self._circuits)

    @property
    def paused(self) -> tuple[str, ...]:
        """The circuits that are OPEN or PAUSED."""
        return tuple(name for name, shot in self._circuits.items() if shot.state in (State.OPEN, State.PAUSED))

    def __getitem__(self, name: str) -> Snapshot:
        return self._circuits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._circuits)

    def __len__(self) -> int:
        return len(self._circuits)

    def __str__(self) -> str:
        head = f"{self.namespace} on {self.backend}, mode {self.mode}"
        if self.lost_since is not None:
            head += f", lost: {self.lost_because}"
        lines = [
            f"  {shot.name}: {shot.state.name}, {shot.failures} of {shot.calls} calls failed"
            + (f" ({shot.reason})" if shot.reason and shot.state is not State.CLOSED else "")
            for shot in self._circuits.values()
        ]
        return "\n".join([head, *lines])

    def as_dict(self) -> dict[str, Any]:
        """The same as plain, JSON-serialisable values."""
        return {
            "backend": self.backend,
            "namespace": self.namespace,
            "mode": str(self.mode),
            "circuits": {name: asdict(shot) for name, shot in self._circuits.items()},
            "fallbacks": dict(self.fallbacks),
            "lost_since": self.lost_since,
            "lost_because": self.lost_because,
            "processes": self.processes,
            "problems": list(self.problems),
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a circuit is in its state, with the evidence; as a string, a text for people.

    Attributes:
        snapshot: the circuit now.
        policy: the policy in force.
        threshold: its rules in words.
        errors: the last distinct errors, the latest last.
        processes: how many processes saw failures or slow calls in the window.
        affects: the fallbacks and requirements built on it.
        next: what happens next, and when.
        origins: where each field of the policy was said.
    """

    snapshot: Snapshot
    policy: Policy
    threshold: str
    errors: tuple[ErrorSample, ...]
    processes: int
    affects: tuple[str, ...]
    next: str
    origins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, replica: Replica, affects: tuple[str, ...], now: float, origins: Mapping[str, str] | None = None
    ) -> Explanation:
        """The explanation of what ``replica`` knows at ``now``, Unix time."""
        shot, (facts, *_), policy = Snapshot.of(replica), replica.view(), replica.policy
        what_next = _next(shot, policy, now)
        where = dict(origins or {})
        return cls(shot, policy, threshold(policy), facts.errors, facts.reporters, affects, what_next, where)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain, JSON-serialisable values."""
        facts = asdict(self)
        del facts["policy"]["given"]
        return facts

    def __str__(self) -> str:
        shot = self.snapshot
        seen_by = f", seen by {self.processes} processes" if self.processes > 1 else ""
        lines = [
            f"{shot.name} is {shot.state.name}" + (f" by {shot.by}: {shot.reason}" if shot.reason else ""),
            f"  trips at: {self.threshold}",
            (
                f"  in the window: {_number(shot.calls, 'call')}, {_number(shot.failures, 'failure')}, "
                f"{shot.slow} slow, {shot.ignored} ignored, {shot.rejected} rejected{seen_by}"
            ),
            *(f"  seen {each.count}x: {each.label} ({each.kind}) {each.message}".rstrip() for each in self.errors),
            f"  next: {self.next}",
        ]
        if self.affects:
            lines.append(f"  affects: {', '.join(self.affects)}")
        return "\n".join(lines)


def answering(providers: Sequence[str], replicas: Mapping[str, Replica]) -> str | None:
    """The provider that calls of somebody else's fallback go to now; None when none is available."""
    states = {name: replicas[name].record.state for name in providers if name in replicas}
    enforced = {name for name in states if replicas[name].mode is Mode.ENFORCE}
    for wanted in (State.CLOSED, State.HALF_OPEN):
        for name in providers:
            if name not in enforced or states[name] is wanted:
                return name
    return None


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _next(shot: Snapshot, policy: Policy, now: float) -> str:
    tested = f"{_number(policy.probes, 'probe')} will test it" if policy.probes else "it resumes untested"
    if shot.state is State.CLOSED:
        return "calls go through"
    if shot.state is State.HALF_OPEN:
        return f"it resumes after {_number(policy.probes, 'probe')} that succeed; one that fails pauses it again"
    if shot.until is None:
        return "an operator resumes it"
    return f"in {format_duration(max(0.0, shot.until - now))} {tested}"


class EventLog(Sequence["Event"]):
    """The events that the backend keeps, the latest last: a sequence, and a function of how many are wanted."""

    def __init__(self, read: Callable[[int], list[Event]]) -> None:
        self._read = read

    def __call__(self, limit: int = 1000) -> list[Event]:
        """The last ``limit`` events."""
        return self._read(limit)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self()[index]

    def __len__(self) -> int:
        return len(self())

    def __repr__(self) -> str:
        return repr(self())
