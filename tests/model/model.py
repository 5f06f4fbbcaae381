"""A circuit over a whole fleet, written from the design and not from the code.

It keeps every outcome with its time and counts anew whenever it is asked; it knows neither buckets nor the numbers of
generations nor leases. Its time is whole milliseconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recloser import State
from recloser.core.events import EventKind

if TYPE_CHECKING:
    from recloser import Policy

__all__ = ["Leave", "Model", "Refusal", "ms"]


@dataclass
class Seen:
    """One outcome, as long as it may matter."""

    at: int
    sort: str  # success, failure, slow, ignored or rejected
    limited: bool = False
    asked_until: int = 0


@dataclass(eq=False)
class Leave:
    """A call that was let through."""

    era: int
    started: int
    probe: bool = False
    counts: bool = True


@dataclass
class Refusal:
    """A call that was not."""

    retry_after: int | None


def ms(seconds: float) -> int:
    """Milliseconds."""
    return round(seconds * 1000)


@dataclass
class Model:
    """One circuit over a whole fleet, as the design describes it."""

    policy: Policy
    mode: str
    now: int = 0
    state: State = State.CLOSED
    since: int = 0
    until: int | None = None
    by: str = "recloser"
    era: int = 0  # every transition begins another
    trips: int = 0
    seen: list[Seen] = field(default_factory=list)
    results: list[Seen] = field(default_factory=list)  # of this era
    probes: dict[Leave, int] = field(default_factory=dict)  # out, and when they are given up
    trials: list[int] = field(default_factory=list)
    once: dict[str, int] = field(default_factory=dict)
    events: list[tuple[object, ...]] = field(default_factory=list)

    @property
    def window(self) -> list[Seen]:
        """What counts now: everything younger than the window is long."""
        return [each for each in self.seen if self.now - each.at < ms(self.policy.window)]

    @property
    def counts(self) -> Counter[str]:
        """The same in numbers."""
        return Counter(each.sort for each in self.window)

    @property
    def calls(self) -> int:
        """The whole that rates are a share of."""
        return self.counts["success"] + self.counts["failure"] + self.counts["slow"]

    def pass_time(self, by: int) -> None:
        """Time passes; a pause that ends on the way ends at its time, whether or not anybody calls."""
        target = self.now + by
        while self.until is not None and self.until <= target:
            self.now = self.until
            if self.policy.probes:
                self.move(State.HALF_OPEN, EventKind.PROBING)
            else:
                self.move(State.CLOSED, EventKind.RESUMED)
        self.now = target

    def move(self, state: State, event: EventKind, *, by: str = "recloser", lasting: int | None = None) -> None:
        """A transition: another era, and an event; what is closed begins with an empty window."""
        self.events.append((event, self.state, state, self.now, by, self.calls, self.counts["failure"]))
        self.state, self.since, self.by = state, self.now, by
        self.until = None if lasting is None else self.now + lasting
        self.era += 1
        self.results, self.probes, self.trials = [], {}, []
        if state is State.CLOSED:
            self.seen, self.once = [], {}

    # -- asking

    def acquire(self) -> Leave | Refusal:
        """A call asks for leave."""
        if self.mode == "off":
            return Leave(self.era, self.now, counts=False)
        if self.state is State.CLOSED or self.mode == "observe":
            return Leave(self.era, self.now)
        refusal = self.refusal()
        if refusal is not None:
            self.seen.append(Seen(self.now, "rejected"))
            return refusal
        leave = Leave(self.era, self.now, probe=True)
        self.probes[leave] = self.now + ms(self.policy.probe_timeout)
        return leave

    def refusal(self) -> Refusal | None:
        """Why a call made now would be rejected."""
        out = [end for end in self.probes.values() if end > self.now]
        return self._refusal(out, self.policy.probes - sum(each.sort in ("success", "slow") for each in self.results))

    def trial(self) -> Refusal | None:
        """Work that depends on the circuit asks for leave."""
        refusal = self.trial_refusal()
        if refusal is None and self.state is State.HALF_OPEN and self.mode == "enforce":
            self.trials.append(self.now + ms(self.policy.probe_timeout))
        return refusal

    def trial_refusal(self) -> Refusal | None:
        """Why it would get none."""
        return self._refusal([end for end in self.trials if end > self.now], self.policy.probes)

    def _refusal(self, out: list[int], cap: int) -> Refusal | None:
        if self.mode != "enforce" or self.state is State.CLOSED:
            return None
        if self.state is State.HALF_OPEN:
            return None if len(out) < cap else Refusal(min(out, default=self.now) - self.now)
        return Refusal(None if self.until is None else self.until - self.now)

    # -- settling

    def settle(self, leave: Leave, sort: str, **more: Any) -> None:
        """A call that was let through has ended; in another era nobody wants to know."""
        if not leave.counts or leave.era != self.era:
            return
        self.probes.pop(leave, None)
        self.happened(sort, **more)

    def by_hand(self, sort: str, once: str | None, **more: Any) -> None:
        """Somebody reports an outcome; a key counts one failure in a window."""
        if self.mode == "off":
            return
        if once is not None and sort == "failure":
            if once in self.once and self.now - self.once[once] < ms(self.policy.window):
                return
            self.once[once] = self.now
        self.happened(sort, **more)

    def happened(self, sort: str, *, limited: bool = False, retry_after: int | None = None) -> None:
        """An outcome of the present era."""
        self.seen.append(Seen(self.now, sort, limited, 0 if retry_after is None else self.now + retry_after))
        self.results.append(self.seen[-1])
        self.judge()

    def judge(self) -> None:
        """Transitions that counts bring about."""
        policy = self.policy
        failures = [each for each in self.results if each.sort == "failure"]
        slow = [each for each in self.results if each.sort == "slow"]
        passed = [each for each in self.results if each.sort == "success"]
        if self.state is State.CLOSED and self.crossed():
            self.trip(EventKind.TRIPPED, [each for each in self.window if each.sort == "failure"])
        elif self.state is State.HALF_OPEN:
            if failures or (slow and policy.slow_rate is not None):
                self.trip(EventKind.RETRIPPED, failures)
            elif len(passed) + len(slow) >= policy.probes:
                self.move(State.CLOSED, EventKind.RESUMED)

    def crossed(self) -> bool:
        """Whether a rule of the policy is crossed."""
        policy, counts = self.policy, self.counts
        enough = self.calls >= policy.minimum_calls
        return (
            (policy.failures is not None and counts["failure"] >= policy.failures)
            or (enough and policy.failure_rate is not None and counts["failure"] >= policy.failure_rate * self.calls)
            or (enough and policy.slow_rate is not None and counts["slow"] >= policy.slow_rate * self.calls)
        )

    def trip(self, event: EventKind, failures: list[Seen]) -> None:
        """A pause: longer with every trip that is not forgotten, or as long as the provider asked."""
        policy = self.policy
        self.forget_trips()
        lasting = min(ms(policy.cooldown) * policy.cooldown_growth**self.trips, ms(policy.cooldown_max))
        asked = min(max((each.asked_until for each in self.window), default=0) - self.now, ms(policy.cooldown_max))
        if asked > 0 and sum(each.limited for each in failures) > len(failures) / 2:
            lasting = asked
        else:
            # A trip that could not lengthen the next pause is not remembered.
            self.trips += self.trips == 0 or lasting < ms(policy.cooldown_max)
            lasting = max(lasting, asked)
        self.move(State.OPEN, event, lasting=round(lasting))

    def forget_trips(self) -> None:
        """One trip is forgotten for every cooldown that the circuit was closed."""
        if self.state is State.CLOSED:
            self.trips = max(0, self.trips - (self.now - self.since) // ms(self.policy.cooldown))

    # -- operators

    def pause(self, by: str, lasting: int | None) -> None:
        """An operator's pause."""
        self.forget_trips()
        self.move(State.PAUSED, EventKind.PAUSED, by=by, lasting=lasting)

    def resume(self, by: str) -> None:
        """An operator's resume, which is nothing new for a closed circuit with an empty window."""
        if self.state is not State.CLOSED or self.window:
            self.forget_trips()
            self.move(State.CLOSED, EventKind.RESUMED_BY_HAND, by=by)
