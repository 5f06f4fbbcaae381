"""The day of a fleet, put together."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recloser.demo.day import Day
from recloser.demo.fleet.crew import Fleet
from recloser.demo.fleet.shared import shared
from recloser.demo.script import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recloser.demo.ledger import Note

__all__ = ["day_of_a_fleet"]


@contextmanager
def day_of_a_fleet(
    seconds: float, seed: int, size: int, redis: str | None, tell: Callable[[Note], None], leaving: Callable[[], bool]
) -> Iterator[Day]:
    """The day of ``size`` processes.

    Args:
        seconds: how long it lasts.
        seed: of everything that happens by chance.
        size: how many processes call leads.
        redis: the URL of the Redis that they share; one that the environment names, or a server of our own without it.
        tell: told of everything that happens.
        leaving: whether somebody wants to end it all, while it begins.
    """
    with _quiet(), shared(size, redis) as place:
        script = Script.for_fleet(seconds, seed, size, stops=place.server is not None)
        with Day(script, tell, Fleet(size, place, leaving)) as day:
            yield day


@contextmanager
def _quiet() -> Iterator[None]:
    """The log goes nowhere unless the application says otherwise: the views show what it would say."""
    log, nowhere = logging.getLogger("recloser"), logging.NullHandler()
    log.addHandler(nowhere)
    try:
        yield
    finally:
        log.removeHandler(nowhere)
