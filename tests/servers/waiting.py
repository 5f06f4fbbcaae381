"""Waiting for what has to become true, within a bound: the only sleep of the harness is the pause between two looks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def until(
    look: Callable[[], T | None],
    what: str,
    *,
    seconds: float = 10.0,
    every: float = 0.01,
    despite: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """The first answer of `look` that is true.

    Args:
        look: Says what it found; what it raises is raised, since an error that nobody expected is not "not yet".
        what: What is waited for, as the TimeoutError says that it did not come about.
        seconds: The bound.
        every: Seconds between two looks.
        despite: Errors that do mean "not yet".
    """
    end = time.monotonic() + seconds
    while True:
        last = None
        try:
            if found := look():
                return found
        except despite as error:
            last = error
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}") from last
        time.sleep(every)
