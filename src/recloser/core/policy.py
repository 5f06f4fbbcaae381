"""The policy of a circuit: every threshold and length of time that its decisions use, validated when it is built."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, TypedDict, TypeVar

from recloser.core.duration import Duration, parse_duration
from recloser.errors import ConfigurationError

__all__ = ["Mode", "OnBackendLoss", "Policy", "Thresholds", "check_name"]

_Member = TypeVar("_Member", bound=StrEnum)

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
        return _named(cls, key, value)

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
        return _named(cls, key, value)


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
        def put(key: str, value: object) -> None:
            object.__setattr__(self, key, value)

        put("failures", _count("failures", failures, least=1, optional=True))
        put("window", _seconds("window", window))
        put("failure_rate", _share("failure_rate", failure_rate))
        put("minimum_calls", _count("minimum_calls", minimum_calls, least=1))
        put("slow_after", _seconds("slow_after", slow_after, optional=True))
        put("slow_rate", _share("slow_rate", slow_rate))
        put("cooldown", _seconds("cooldown", cooldown))
        put("cooldown_growth", _growth(cooldown_growth))
        put("cooldown_max", _seconds("cooldown_max", cooldown_max))
        put("probes", _count("probes", probes, least=0))
        put("probe_timeout", _seconds("probe_timeout", probe_timeout))
        put("quorum", _count("quorum", quorum, least=1))
        put("timeout", _seconds("timeout", timeout, optional=True))
        put("first_item", _seconds("first_item", first_item, optional=True))
        put("idle", _seconds("idle", idle, optional=True))
        put("on_backend_loss", OnBackendLoss.parse("on_backend_loss", on_backend_loss))
        put("mode", Mode.parse("mode", mode))
        if self.slow_rate is not None and self.slow_after is None:
            raise ConfigurationError("slow_rate", slow_rate, "only together with slow_after, which says what is slow")
        if self.cooldown_max < self.cooldown:
            # The default gives way to a longer cooldown; what somebody wrote does not.
            if type(cooldown_max) is not float or cooldown_max != _COOLDOWN_MAX:
                raise ConfigurationError("cooldown_max", cooldown_max, f"at least the cooldown, {cooldown!r}")
            put("cooldown_max", self.cooldown)

    @classmethod
    def checked(cls, thresholds: dict[str, Any]) -> dict[str, Any]:
        """``thresholds`` if all are fields of a policy; raises ConfigurationError naming the one that is not."""
        names = [field.name for field in fields(cls)]
        for key, value in thresholds.items():
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise ConfigurationError(key, value, "one of " + ", ".join(names) + hint)
        return thresholds


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


def _named(members: type[_Member], key: str, value: object) -> _Member:
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


def _growth(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < float("inf"):
        raise ConfigurationError("cooldown_growth", value, "a factor of 1 or more")
    return float(value)
