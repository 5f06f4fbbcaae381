"""A logger, a handler that reads it, and lines that it knows."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from recloser.integrations.logs import PatternHandler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recloser import Recloser

PATTERNS = {"tts": ["http 502", {"regex": r"deadline \d+ms"}], "stt": ["http 502", "no transcript"]}
LINE = "synthesis failed: HTTP 502"


class RateLimitError(Exception):
    """As SDKs say it."""

    status_code = 429
    headers: ClassVar = {"retry-after": "30"}


@contextmanager
def lonely(name: str) -> Iterator[logging.Logger]:
    log = logging.getLogger(name)
    before = (log.handlers, log.filters, log.propagate, log.level)
    log.handlers, log.filters, log.propagate = [], [], False
    log.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        log.handlers, log.filters, log.propagate = before[:3]
        log.setLevel(before[3])


def attached(log: logging.Logger, box: Recloser, patterns: Any = PATTERNS, **more: Any) -> PatternHandler:
    handler = PatternHandler(patterns, recloser=box, **more)
    log.addHandler(handler)
    return handler


def failures(box: Recloser, name: str = "tts") -> int:
    return box.circuit(name).snapshot().failures
