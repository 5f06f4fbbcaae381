"""Delivers letters to one hook: takes one, calls the hook, says what became of it."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import random
import threading
from typing import TYPE_CHECKING

from recloser.contain import aside
from recloser.core.alert import Alert
from recloser.core.events import scrub
from recloser.errors import RecloserError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from recloser.alerts.hooks import Found, Hook
    from recloser.backends.outbox import Letter, Outbox

__all__ = ["LEASE", "TIMEOUT", "TRIES", "DeliveryError", "Postman", "RetryLaterError"]

_log = logging.getLogger("recloser")

TIMEOUT = 10.0
"""A hook that has not returned after so many seconds has not delivered."""
LEASE = 15.0
"""An alert that a process took, and said nothing more about for so many seconds, is taken by another."""
TRIES = 8
_FIRST, _LONGEST = 1.0, 300.0
_STUCK = 3
"""So many calls of one hook may hang at the same time; until one of them ends, it is not called."""


class DeliveryError(RecloserError):
    """Raised by a hook whose receiver did not take a message."""


class RetryLaterError(DeliveryError):
    """Raised by a hook whose receiver has said when it takes the next message.

    Attributes:
        seconds: after so many.
    """

    seconds: float

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message, seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return str(self.args[0])


class Postman:
    """Delivers to one hook, one letter at a time.

    Args:
        outbox: where letters wait.
        hook: the hook.
        here: whether the hook is called on the very thread that delivers: tests want to see what it did.

    Attributes:
        name: of the hook.
    """

    name: str

    def __init__(self, outbox: Outbox, hook: Found, *, here: bool = False) -> None:
        self.name = hook.name
        self._outbox = outbox
        self._hook = hook
        self._here = here
        self._hanging: list[threading.Thread] = []
        # Told, although the outbox could not be told so: nobody is told twice for that.
        self._told: set[str] = set()
        self._failing = False

    def deliver(self) -> float | None:
        """Delivers everything that may be delivered now.

        Returns:
            In how many seconds there may be more; None when somebody will say so.

        Raises:
            BackendError: when the outbox does not answer.
        """
        while True:
            self._hanging = [each for each in self._hanging if each.is_alive()]
            if len(self._hanging) >= _STUCK:
                return TIMEOUT
            letter, left = self._outbox.take(self.name, LEASE)
            if letter is None:
                return left
            self._try(letter)
            gap = getattr(self._hook.call, "gap", 0.0)
            if gap:
                return float(gap)

    def _try(self, letter: Letter) -> None:
        alert = Alert.from_dict(json.loads(letter.text))
        unwanted = alert.facts.get("quiet") and not self._hook.every_step
        error = None if unwanted or letter.text in self._told else self._tell(alert)
        if error is None:
            self._told.add(letter.text)
            self._outbox.delivered(letter)
            self._told.discard(letter.text)
            self._failing = False
            return
        again = None if letter.tries >= TRIES else _pause(letter.tries, error)
        said = f"{type(error).__name__}: {scrub(str(error))}"
        self._outbox.returned(letter, said, again)
        if not self._failing or again is None:
            self._failing = True
            what = "it is tried again" if again is not None else f"it is given up after {letter.tries} tries"
            _log.warning("the alert %r was not delivered by %s, %s: %s", alert.title, self.name, what, said)

    def _tell(self, alert: Alert) -> Exception | None:
        """Has the hook tell; what it raised, or that it took too long."""
        call = self._hook.call
        assert call is not None  # noqa: S101 - only active hooks have a postman
        if getattr(call, "quick", False) or (self._here and not inspect.iscoroutinefunction(call)):
            return _called(call, alert)
        raised: list[Exception | None] = []
        thread = threading.Thread(
            target=lambda: raised.append(_called(call, alert)), name=f"recloser-alert-{self.name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no thread is to be had, or the interpreter ends
            return error
        thread.join(TIMEOUT)
        if raised:
            return raised[0]
        self._hanging.append(thread)
        return TimeoutError(f"it took longer than {TIMEOUT:g}s")


def _called(call: Hook, alert: Alert) -> Exception | None:
    try:
        with aside:
            told = call(alert)
            if inspect.isawaitable(told):
                # On a loop of its own: the application's may stand still.
                asyncio.run(_within(told))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is that hook's, and is said
        return error
    return None


async def _within(told: Awaitable[object]) -> None:
    await asyncio.wait_for(told, TIMEOUT)


def _pause(tries: int, error: Exception) -> float:
    """How long to wait before the next try."""
    if isinstance(error, RetryLaterError):
        return min(max(0.0, error.seconds), _LONGEST)
    length: float = min(_LONGEST, _FIRST * 4 ** (tries - 1))
    return length * (1 + random.random() / 4)  # noqa: S311 - not a secret
