"""The policy of a circuit: every threshold and length of time that its decisions use, validated when it is built."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar

from recloser.core.duration import Duration, parse_duration
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["FIELDS", "Mode", "OnBackendLoss", "Policy", "Thresholds", "check_name", "named", "near"]

_Member = TypeVar("_Member", bound=StrEnum)
_P = ParamSpec("_P")

_DURATION_ALLOWED = 'a duration longer than 0, in seconds or like "90s", "5m", "1h30m"'
_COOLDOWN_MAX = 3600.0
_NAME_LENGTH = 128


class Mode(StrEnum):
    """What a circuit does with what it knows."""

    ENFORCE = "enforce"
    """Count, transition, alert and reject."""
    OBSERVE = "observe"
    """Count, transition and alert; reject nothing."""
    OFF = "off"
    """Pass everything, count nothing."""

    @classmethod
    def parse(cls, key: str, value: object) -> Mode:
        """The mode that ``value`` names; raises ConfigurationError for any other."""
        return named(cls, key, value)

    @classmethod
    def weaker(cls, one: Mode, other: Mode) -> Mode:
        """The one of two modes that does less: a switch turned down anywhere is down."""
        order = (cls.OFF, cls.OBSERVE, cls.ENFORCE)
        return min(one, other, key=order.index)


class OnBackendLoss(StrEnum):
    """What a circuit does while the shared state cannot be reached."""

    LOCAL = "local"
    """Go on with the last known state, and with what this process counts itself."""
    PAUSE = "pause"
    """Reject every call, for work that must not run blind."""

    @classmethod
    def parse(cls, key: str, value: object) -> OnBackendLoss:
        """What ``value`` names; raises ConfigurationError for anything else."""
        return named(cls, key, value)


class Thresholds(TypedDict, total=False):
    """The fields of :class:`Policy` as keyword arguments of ``circuit``."""

    failures: int | None
    window: Duration
    failure_rate: float | None
    minimum_calls: int
    slow_after: Duration | None
    slow_rate: float | None
    cooldown: Duration
    cooldown_growth: float
    cooldown_max: Duration
    probes: int
    probe_timeout: Duration
    quorum: int
    timeout: Duration | None
    first_item: Duration | None
    idle: Duration | None
    on_backend_loss: OnBackendLoss | str
    mode: Mode | str


FIELDS = tuple(Thresholds.__annotations__)
"""The names of all fields of a policy, in the order in which they are documented."""


def _noting(init: Callable[_P, None]) -> Callable[_P, None]:
    """``init``, after which the policy knows which of its fields were said, and which left at their defaults."""

    @wraps(init)
    def noting(*args: _P.args, **kwargs: _P.kwargs) -> None:
        given = frozenset(kwargs)
        if len(given) == len(FIELDS):
            # Nobody writes all of them: a copy says what its original does.
            usual = Policy()
            given = frozenset(name for name in FIELDS if kwargs[name] != getattr(usual, name))
        object.__setattr__(args[0], "given", given)
        init(*args, **kwargs)

    return noting


@dataclass(frozen=True, slots=True, init=False)
class Policy:
    """When a circuit trips, for how long, and how it comes back.

    Durations are given as seconds or as strings such as ``"90s"``, ``"5m"``, ``"1h30m"``, and kept in seconds.

    Args:
        failures: trips at this many failures inside the window, counted over the whole fleet; successes in between do
            not reset it. None turns the rule off.
        window: how far back outcomes count. They are kept in buckets of a sixtieth of it, and one may leave that much
            early.
        failure_rate: trips when at least this share (0 to 1) of at least ``minimum_calls`` calls in the window failed.
        minimum_calls: how many calls the window must hold before ``failure_rate`` and ``slow_rate`` are looked at.
        slow_after: a call that takes longer than this is slow. Of a stream, the time spent waiting for the provider
            counts, not the time its reader takes.
        slow_rate: trips when at least this share (0 to 1) of at least ``minimum_calls`` calls in the window were slow.
        cooldown: how long an automatic pause lasts; nothing but an operator ends it early.
        cooldown_growth: each further trip multiplies the pause by this; one trip is forgotten for every ``cooldown`` of
            healthy time.
        cooldown_max: the longest automatic pause, and the longest ``Retry-After`` that is honoured; one hour, or
            ``cooldown`` where that is longer.
        probes: calls let through after the cooldown, over the whole fleet, to test the provider; all must succeed.
            0 resumes without testing.
        probe_timeout: a probe whose process died or hangs gives its permit back after this.
        quorum: how many processes must have seen failures (or slow calls) before the fleet trips; below it, a process
            that crosses a threshold with its own calls pauses itself and nobody else.
        timeout: the deadline of an async call; for a stream, of the whole time spent waiting for the provider.
        first_item: the deadline of a stream's first item, in time spent waiting for the provider.
        idle: the longest silence between two items of a stream.
        on_backend_loss: while the shared state cannot be reached, ``"local"`` goes on with the last known state and
            this process's own window, ``"pause"`` rejects every call.
        mode: ``"enforce"``, ``"observe"`` (reject nothing) or ``"off"`` (pass everything, count nothing).

    Attributes:
        given: the names of the fields that were said; defaults from the environment, a rules file or an operator stand
            in for the others.

    Raises:
        ConfigurationError: for a value that is impossible, naming the field, the value and what is allowed.

    >>> Policy(failures=5, window="2m").window
    120.0
    """

    failures: int | None
    window: float
    failure_rate: float | None
    minimum_calls: int
    slow_after: float | None
    slow_rate: float | None
    cooldown: float
    cooldown_growth: float
    cooldown_max: float
    probes: int
    probe_timeout: float
    quorum: int
    timeout: float | None
    first_item: float | None
    idle: float | None
    on_backend_loss: OnBackendLoss
    mode: Mode
    given: frozenset[str] = field(init=False, compare=False, repr=False)

    @_noting
    def __init__(  # noqa: PLR0913 - a policy is its seventeen fields, all by keyword
        self,
        *,
        failures: int | None = 10,
        window: Duration = "5m",
        failure_rate: float | None = None,
        minimum_calls: int = 20,
        slow_after: Duration | None = None,
        slow_rate: float | None = None,
        cooldown: Duration = "15m",
        cooldown_growth: float = 2.0,
        cooldown_max: Duration = _COOLDOWN_MAX,
        probes: int = 1,
        probe_timeout: Duration = "60s",
        quorum: int = 1,
        timeout: Duration | None = None,
        first_item: Duration | None = None,
        idle: Duration | None = None,
        on_backend_loss: OnBackendLoss | str = OnBackendLoss.LOCAL,
        mode: Mode | str = Mode.ENFORCE,
    ) -> None:
        said = locals()
        for key, check in _CHECKS.items():
            object.__setattr__(self, key, check(key, said[key]))
        if self.slow_rate is not None and self.slow_after is None:
            raise ConfigurationError("slow_rate", slow_rate, "only together with slow_after, which says what is slow")
        if self.cooldown_max < self.cooldown:
            # The default gives way to a longer cooldown; what somebody wrote does not.
            if "cooldown_max" in self.given:
                raise ConfigurationError("cooldown_max", cooldown_max, f"at least the cooldown, {cooldown!r}")
            object.__setattr__(self, "cooldown_max", self.cooldown)

    @classmethod
    def checked(cls, thresholds: dict[str, Any]) -> dict[str, Any]:
        """``thresholds`` if all are fields of a policy; raises ConfigurationError naming the one that is not."""
        for key, value in thresholds.items():
            if key not in FIELDS:
                raise ConfigurationError(key, value, near(key, FIELDS))
        return thresholds

    @classmethod
    def check(cls, name: str, value: object, key: str | None = None) -> Any:
        """``value`` as a policy keeps it in its field ``name``, looked at by itself.

        Raises:
            ConfigurationError: when it is impossible, naming it ``key``, or else like the field.
        """
        return _CHECKS[name](key or name, value)

    def said(self) -> dict[str, Any]:
        """The fields that were said, with their values."""
        return {name: getattr(self, name) for name in FIELDS if name in self.given}


def check_name(key: str, name: object) -> str:
    """``name`` if it can name a circuit or a namespace; raises ConfigurationError otherwise."""
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= _NAME_LENGTH
        or not name.isprintable()
        or any(mark.isspace() or mark in "{}*?[]'\"" for mark in name)
    ):
        allowed = f"1 to {_NAME_LENGTH} printable characters without blanks, quotes and {{ }} * ? [ ]"
        raise ConfigurationError(key, name, allowed)
    return name


def named(members: type[_Member], key: str, value: object) -> _Member:
    """The member that ``value`` names; raises ConfigurationError for any other value."""
    try:
        return members(value)  # type: ignore[arg-type]  # any object is looked up, most are refused
    except ValueError:
        raise ConfigurationError(key, value, "one of " + ", ".join(repr(str(each)) for each in members)) from None


def _seconds(key: str, value: object, *, optional: bool = False) -> float | None:
    if value is None and optional:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise ConfigurationError(key, value, _DURATION_ALLOWED + (", or None" if optional else ""))
    return seconds


def _count(key: str, value: object, *, least: int, optional: bool = False) -> int | None:
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(key, value, f"a whole number, {least} or more" + (", or None" if optional else ""))
    return value


def _share(key: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigurationError(key, value, "a share above 0 and up to 1 (0.5 is half of the calls), or None")
    return float(value)


def _growth(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < float("inf"):
        raise ConfigurationError(key, value, "a factor of 1 or more")
    return float(value)


def near(key: str, names: Iterable[str]) -> str:
    """What is allowed in place of ``key``, with the name that was probably meant."""
    known = list(names)
    meant = difflib.get_close_matches(key, known, n=1)
    return "one of " + (", ".join(known) or "none so far") + (f" (did you mean {meant[0]}?)" if meant else "")


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "failures": partial(_count, least=1, optional=True),
    "window": _seconds,
    "failure_rate": _share,
    "minimum_calls": partial(_count, least=1),
    "slow_after": partial(_seconds, optional=True),
    "slow_rate": _share,
    "cooldown": _seconds,
    "cooldown_growth": _growth,
    "cooldown_max": _seconds,
    "probes": partial(_count, least=0),
    "probe_timeout": _seconds,
    "quorum": partial(_count, least=1),
    "timeout": partial(_seconds, optional=True),
    "first_item": partial(_seconds, optional=True),
    "idle": partial(_seconds, optional=True),
    "on_backend_loss": OnBackendLoss.parse,
    "mode": Mode.parse,
}
"""What each field may be; rules that concern two of them are the policy's own."""
