"""Failures that an application only learns of from its log: a :class:`logging.Handler` that counts matching records.

Frameworks catch the errors of their providers and log them; the application never sees the exception. A pattern says
which records those are.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from recloser.contain import Contained, aside
from recloser.core.outcome import Kind
from recloser.core.patterns import LogPattern, Patterns, Written, looked_at, quotes_circuits
from recloser.default import DEFAULT
from recloser.errors import ConfigurationError
from recloser.locks import unless_held
from recloser.rules import classify
from recloser.toolkit import Recloser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from recloser.circuit import Circuit

__all__ = ["LogPattern", "PatternHandler", "Patterns", "call_id"]

IDS: Final = ("call_id", "call_sid", "session_id", "request_id", "trace_id")
"""Attributes of a record that say which call it belongs to; the first that is there counts."""

_KEY_LENGTH = 200

_call: ContextVar[str | None] = ContextVar("recloser_call_id", default=None)


@contextmanager
def call_id(key: str) -> Iterator[None]:
    """Says which call everything logged inside belongs to: its matching records count as one failure in a window.

    It follows the code into coroutines, tasks and ``asyncio.to_thread``, not into other threads. Of two blocks, the
    inner one counts.

    Args:
        key: the call's id, whatever tells it from others in the fleet.

    Raises:
        ConfigurationError: for an id that is not a text, or empty.

    >>> with call_id("call-17"):
    ...     logging.getLogger("tts").info("this is about call-17")
    """
    if not isinstance(key, str) or not key:
        raise ConfigurationError("call_id", key, "a text that is not empty")
    outer = _call.get()
    _call.set(key)
    try:
        yield
    finally:
        # Without a token: a generator may be closed in another context than the one it began in.
        _call.set(outer)


class PatternHandler(logging.Handler):
    r"""Counts a failure of a circuit for each record that matches one of its patterns.

    It looks at the message, and at the type and the text of the exception that a record carries. It is attached as any
    other handler is, to the root logger or to that of one framework. It holds no lock, and never raises, whatever a
    record is made of.

    Passed over is what this package logs, what listeners and alert hooks log while they are told, and what tells of a
    cancellation, of a :class:`~recloser.PausedError` or of a :class:`~recloser.ProvidersExhaustedError`.

    Args:
        patterns: the name of a circuit to its patterns, each a text to be found in the message in large or small
            letters, ``{"regex": "..."}`` or a compiled regular expression; or a function that returns the
            :class:`Patterns` of the present moment, which is asked for each record. Without any, the
            ``log_patterns`` of the rules file and of operators, as they are then.
        recloser: the toolkit whose circuits are meant; the default one without it.
        level: records below it are passed over.
        once: a function, record to the id of the call that it belongs to, or to None; records with the same id count
            once for each circuit in its window. Without it, the id is that of the :func:`call_id` block around, else
            the record's first attribute of ``call_id``, ``call_sid``, ``session_id``, ``request_id`` and ``trace_id``,
            else none: then each record counts.

    Raises:
        ConfigurationError: for an impossible pattern, name, level or toolkit, naming it and what is allowed.

    >>> toolkit = Recloser()
    >>> patterns = {"elevenlabs": ["http 502", {"regex": r"elevenlabs: HTTP 5\d\d"}]}
    >>> handler = PatternHandler(patterns, recloser=toolkit)
    >>> logging.getLogger("pipeline").addHandler(handler)
    >>> logging.getLogger("pipeline").error("TTS gave up: HTTP 502")
    >>> toolkit.circuit("elevenlabs").snapshot().failures
    1
    >>> logging.getLogger("pipeline").removeHandler(handler)
    """

    def __init__(
        self,
        patterns: Mapping[str, Sequence[Written]] | Callable[[], Patterns] | None = None,
        *,
        recloser: Recloser | None = None,
        level: int | str = logging.ERROR,
        once: Callable[[logging.LogRecord], str | None] | None = None,
    ) -> None:
        try:
            super().__init__(level)
        except (TypeError, ValueError):
            raise ConfigurationError("level", level, 'a level such as logging.ERROR or "ERROR"') from None
        if recloser is not None and not isinstance(recloser, Recloser):
            raise ConfigurationError("recloser", recloser, "a Recloser, or None for the default one")
        if once is not None and not callable(once):
            raise ConfigurationError("once", once, "a function of one record, or None")
        self._toolkit = toolkit = DEFAULT if recloser is None else recloser
        chosen = (lambda: toolkit.log_patterns) if patterns is None else patterns
        self._known = Patterns()
        self._ask: Contained[Patterns] | None = None
        if callable(chosen):
            self._ask = Contained(f"patterns={chosen!r}", partial(_asked, chosen))
        else:
            self._known = Patterns.parse("patterns", chosen)
        find_key = _key if once is None else lambda record: _as_key(once(record))
        self._once: Contained[str | None] = Contained(f"once={once!r}", find_key)
        self._circuits: dict[str, Circuit] = {}
        self._looked = Contained("looking at a record of the log", self._look)
        self._recorded = Contained("counting a failure that was logged", self._record)

    @property
    def patterns(self) -> Patterns:
        """The patterns of the present moment; the last that were any while the function that is asked fails."""
        present = None if self._ask is None else self._ask()
        if present is not None:
            self._known = present
        return self._known

    def handle(self, record: logging.LogRecord) -> bool:
        """Asks the filters, then counts; whatever happens, and without the lock that other handlers hold meanwhile."""
        # Counting may run listeners, and wait for a circuit that another thread logs under.
        # What is contained says so in the log, which has its own ways to fail, on a stack that is used up for one.
        with suppress(Exception):
            passed = self.filter(record)
            if passed:
                self.emit(passed if isinstance(passed, logging.LogRecord) else record)
            return bool(passed)
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Counts what ``record`` tells of, if it matches."""
        # Asked here too: a QueueListener hands everything to everybody.
        if record.levelno < self.level or aside.depth or f"{record.name}.".startswith("recloser."):
            return
        with aside:
            self._looked(record)

    def _look(self, record: logging.LogRecord) -> None:
        error = _error(record)
        text = f"{_message(record)}\n{_described(error, record)}"
        found = self.patterns.find(text)
        if not found or quotes_circuits(text):
            return
        failure: BaseException | str = _shown(text)
        if error is not None:
            outcome = classify(error)
            if outcome.is_failure and outcome.kind is not Kind.UNKNOWN:
                failure = error
            elif not outcome.is_failure and outcome.kind not in {Kind.BAD_REQUEST, Kind.BUG}:
                # A call that was given up, or not let through, says nothing about its provider. Where the general rule
                # sees a bad request or a bug, the pattern is the word of somebody who knows better.
                return
        key = self._once(record)
        for name, pattern in found.items():
            context = {"logger": record.name, "pattern": str(pattern), "place": f"{record.pathname}:{record.lineno}"}
            # A collector that found a task whose exception nobody asked for logs it on any line, also on one of ours.
            unless_held(partial(self._recorded, name, failure, key, context))

    def _record(self, name: str, error: BaseException | str, key: str | None, context: dict[str, object]) -> None:
        circuit = self._circuits.get(name)
        if circuit is None:
            circuit = self._circuits.setdefault(name, self._toolkit.circuit(name))
        with aside:
            circuit.record_failure(error, once=key, context=context)


def _asked(patterns: Callable[[], Patterns]) -> Patterns:
    present: object = patterns()
    if not isinstance(present, Patterns):
        msg = f"it returned {type(present).__name__} instead of Patterns"
        raise TypeError(msg)
    return present


# What a record says ---------------------------------------------------------------------------------------------------


def _message(record: logging.LogRecord) -> str:
    with suppress(Exception):  # arguments that do not fit, or that cannot be written
        return record.getMessage()
    return record.msg if isinstance(record.msg, str) else ""


def _error(record: logging.LogRecord) -> BaseException | None:
    """The exception that a record carries; structlog's has it among the fields of its event."""
    found: Any = record.exc_info or _fields(record.msg).get("exc_info")
    if found is True:
        found = sys.exc_info()
    if isinstance(found, tuple) and len(found) > 1:
        found = found[1]
    return found if isinstance(found, BaseException) else None


def _described(error: BaseException | None, record: logging.LogRecord) -> str:
    """The exception in one line; of a record that came from another process, the traceback as text."""
    if error is None:
        return record.exc_text if isinstance(record.exc_text, str) else ""
    with suppress(Exception):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__


def _shown(text: str) -> str:
    """What people are shown of the failure: of many lines, as a formatted traceback has, the first and the last."""
    lines = [line.strip() for line in looked_at(text).splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"


def _key(record: logging.LogRecord) -> str | None:
    """The id of the call that a record belongs to, where records of several packages have it."""
    said = _call.get()
    if said is not None:
        return _as_key(said)
    # The record's own attributes, loguru's ``extra`` and structlog's event.
    places = (vars(record), _fields(vars(record).get("extra")), _fields(record.msg))
    for name in IDS:
        for place in places:
            value = place.get(name)
            if value and isinstance(value, str | int | UUID) and value is not True:
                return _as_key(value)
    return None


def _as_key(said: object) -> str | None:
    if said is None or said == "":
        return None
    if not isinstance(said, str | int | UUID):
        msg = f"it returned {type(said).__name__} instead of a text, or None"
        raise TypeError(msg)
    return str(said)[:_KEY_LENGTH]


def _fields(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
