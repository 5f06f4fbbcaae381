"""Lines of a log that tell of a provider's failure: what they look like, and of which circuit they tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from recloser.core.policy import check_name
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OWN_LINES", "LogPattern", "Patterns", "Written", "looked_at", "quotes_circuits"]

LOOKED_AT: Final = 2000
"""So many characters of a message are looked at: one half at its beginning, one at its end."""
_LENGTH = 500
"""A pattern is no longer than this."""
_CUT = "\n…\n"

# The words of every warning and error that the package logs, of alerts, which are logged too, and of exceptions that
# applications log. Names stand as zq and numbers as 7: a pattern that names a provider or a status is the provider's.
OWN_LINES: Final = (
    "recloser",
    "recloser.alerts",
    "zq is OPEN by recloser: 7 failures in 7m, last: zq; retry in 7m",
    "zq is HALF_OPEN by recloser: 7 failures in 7m, last: zq; retry in 7m",
    "zq is PAUSED by zq: zq; until an operator resumes it",
    "no provider answered (zq)",
    "zq is paused by recloser, zq is answering",
    "zq and zq are still paused, zq has no provider left, zq is stopped",
    "zq and zq were paused",
    "zq is flapping",
    "zq would be paused, but is only observed",
    "zq is back, after 7m",
    "zq is resumed by zq",
    "One process pauses zq for itself",
    "zq: 7 failures in 7m, last: zq (7 of 7 calls failed, 7 failures in 7m pause it)",
    "zq raised; it is passed over until it works again",
    "zq; calls go on with what this process knows",
    "the backend zq answers again, after zq",
    "what was counted cannot be told the backend, and is dropped",
    "zq: zq",
    "zq could not move on by itself; the next call will do it",
    "the courier cannot start, and calls go on without it: zq",
    "a turn of the courier failed; the next is in a second",
    "what was left could not be delivered",
    "transitions of others come late, with the next exchange: zq",
    "zq failed, and goes on in 7s",
    "no alerts: zq",
    "zq",
    "zq passed over: zq = 7 is not possible: zq",
    "the rules stay as they were: zq",
    "the rules file is not read again by itself: zq",
    "no word from the fleet within zq; calls go on with what this process knows",
    "7 alerts for zq were dropped so far: more than 7 wait for it",
    "the alert zq was not delivered by zq, zq: zq",
    "the alert hook zq cannot be used: zq",
    "names has zq, which is no class of zq that is loadedzq",
    "what zq of zq reports counts for no circuit: zq; names={zq: ...}, or [names] in the rules file, says for which",
    "zq: the call status zq is not known and counts for nothing; known are zq",
    "zq is attached to already; what was said then stays",
    "zq follows its circuits already; what was said then stays",
    "zq has failed (zq), the call goes on with zq",
    "all services of zq are paused: it begins with the first",
    "on_failure of zq raised",
)

# PausedError and ProvidersExhaustedError as text; both quote errors that circuits have counted.
_QUOTES = re.compile(r"\bis (?:OPEN|HALF_OPEN|PAUSED) by [^\n]{1,200}?: |\bno provider answered \(")


@dataclass(frozen=True, slots=True)
class LogPattern:
    """What a line of a log looks like that tells of a provider's failure. Made by :meth:`parse`.

    Attributes:
        text: what is looked for, whether its letters are large or small; or the source of the regular expression.
        regex: the regular expression, if it is one; its letters are those that it says.
    """

    text: str
    regex: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, key: str, value: object) -> LogPattern:
        r"""The pattern that somebody wrote down.

        Only 2,000 characters of each message are looked at, but Python has no bound on how long a regular expression
        may take on them: one that repeats what is itself repeated, ``(a+)+b``, takes for ever. Write ``(?>a+)`` or
        ``a++`` where a repetition need never give back what it took.

        Args:
            key: where it is written, for the error.
            value: a text; ``{"regex": "..."}``, as in a file; a compiled regular expression; or a pattern.

        Raises:
            ConfigurationError: for what is none of these, blank, longer than 500 characters, or not a regular
                expression; and for a pattern that every message matches, or those that this package logs itself.

        >>> LogPattern.parse("patterns", "http 502").search("elevenlabs: HTTP 502 Bad Gateway")
        True
        >>> LogPattern.parse("patterns", {"regex": r"HTTP 5\d\d"}).search("elevenlabs: HTTP 404 Not Found")
        False
        """
        if isinstance(value, LogPattern):
            return value
        pattern = cls(value) if isinstance(value, str) else cls._of_regex(key, value)
        if not pattern.text.strip() or len(pattern.text) > _LENGTH:
            raise ConfigurationError(key, value, f"a text of 1 to {_LENGTH} characters that is not blank")
        if pattern.search(""):
            raise ConfigurationError(key, value, "a regular expression that does not match every message, as this does")
        for line in OWN_LINES:
            if pattern.search(line):
                shown = line.replace("zq", "…")
                allowed = f"a pattern of the provider's errors alone; it matches what recloser itself logs: {shown!r}"
                raise ConfigurationError(key, value, allowed)
        return pattern

    @classmethod
    def _of_regex(cls, key: str, value: object) -> LogPattern:
        if isinstance(value, Mapping) and set(value) == {"regex"} and isinstance(value["regex"], str):
            try:
                regex = re.compile(value["regex"])
            except (re.error, OverflowError, RecursionError) as error:
                raise ConfigurationError(key, value, f"a regular expression; this is none: {error}") from None
        elif isinstance(value, re.Pattern) and isinstance(value.pattern, str):
            regex = value
        else:
            allowed = 'a text, {"regex": "a regular expression"}, or a compiled regular expression of text'
            raise ConfigurationError(key, value, allowed)
        return cls(regex.pattern, regex)

    def search(self, text: str) -> bool:
        """Whether it is found in ``text``, as far as that is looked at."""
        text = looked_at(text)
        return self.text.casefold() in text.casefold() if self.regex is None else self.regex.search(text) is not None

    def __str__(self) -> str:
        return repr(self.text) if self.regex is None else f"regex {self.text!r}"


Written = str | Mapping[str, str] | re.Pattern[str] | LogPattern
"""A pattern as it may be written down."""


class Patterns(Mapping[str, tuple[LogPattern, ...]]):
    """Patterns by the circuit whose failures they tell of. Frozen; equal to others that say the same.

    Args:
        by_circuit: the patterns of each circuit, in the order they are tried in.
    """

    __slots__ = ("_by_circuit", "_regexes", "_texts")

    def __init__(self, by_circuit: Mapping[str, Sequence[LogPattern]] | None = None) -> None:
        self._by_circuit = {name: tuple(patterns) for name, patterns in (by_circuit or {}).items()}
        # Texts first: a search for one takes a fraction of what a regular expression takes.
        each = [(name, pattern) for name, patterns in self._by_circuit.items() for pattern in patterns]
        self._texts = [(pattern.text.casefold(), name, pattern) for name, pattern in each if pattern.regex is None]
        self._regexes = [(pattern.regex.search, name, pattern) for name, pattern in each if pattern.regex is not None]

    @classmethod
    def parse(cls, key: str, value: object) -> Patterns:
        """The patterns that somebody wrote down.

        Args:
            key: where they are written, for the error.
            value: a mapping; the name of a circuit to a sequence of what :meth:`LogPattern.parse` takes.

        Raises:
            ConfigurationError: for an impossible name or pattern, naming it, and for what is no such mapping.

        >>> patterns = Patterns.parse("patterns", {"elevenlabs": ["http 502", "http 503"], "twilio": []})
        >>> sorted(patterns.find("GET /v1/voices: HTTP 503"))
        ['elevenlabs']
        """
        if not isinstance(value, Mapping):
            raise ConfigurationError(key, value, 'a mapping such as {"elevenlabs": ["http 502"]}')
        read: dict[str, list[LogPattern]] = {}
        for name, patterns in value.items():
            check_name(key, name)
            place = f"{key}[{name!r}]"
            if isinstance(patterns, str) or not isinstance(patterns, Sequence):
                raise ConfigurationError(place, patterns, 'a list of patterns such as ["http 502"]')
            read[name] = [LogPattern.parse(f"{place}[{place_}]", each) for place_, each in enumerate(patterns)]
        return cls(read)

    def find(self, text: str) -> dict[str, LogPattern]:
        """The circuits of whose failure ``text`` tells, each with the pattern that it was known by."""
        text = looked_at(text)
        folded = text.casefold()
        found: dict[str, LogPattern] = {}
        for part, name, pattern in self._texts:
            if part in folded and name not in found:
                found[name] = pattern
        for search, name, pattern in self._regexes:
            if name not in found and search(text):
                found[name] = pattern
        return found

    def __getitem__(self, name: str) -> tuple[LogPattern, ...]:
        return self._by_circuit[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_circuit)

    def __len__(self) -> int:
        return len(self._by_circuit)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._by_circuit!r})"


def looked_at(text: str) -> str:
    """As much of ``text`` as is looked at; its end too, where the last line of a traceback says what it is about."""
    return text if len(text) <= LOOKED_AT else text[: LOOKED_AT // 2] + _CUT + text[-LOOKED_AT // 2 :]


def quotes_circuits(text: str) -> bool:
    """Whether ``text`` quotes an exception of ours: the calls that it tells of were counted, or never made."""
    return _QUOTES.search(looked_at(text)) is not None
