"""The demo: a voice agent's day in thirty seconds, against real HTTP on this machine; in one process, or in a fleet."""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from recloser.demo.day import Day
from recloser.demo.ledger import Crashed, Ledger, Left, Over
from recloser.demo.plain import PlainView
from recloser.demo.script import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import FrameType

    from recloser.demo.ledger import Note
    from recloser.demo.plain import View
    from recloser.demo.view import Camera

__all__ = ["run"]

_TICK = 0.1
_SIGNALLED = 128  # what shells add to the number of a signal that ended a program


def run(
    seconds: float,
    seed: int,
    *,
    plain: bool = False,
    picture: str | None = None,
    fleet: int | None = None,
    redis: str | None = None,
) -> int:
    """Plays the day, shows it, and says what it came to.

    Args:
        seconds: how long the day lasts.
        seed: of everything that happens by chance.
        plain: write lines even on a terminal that could show more.
        picture: a file for a picture of the day, as SVG.
        fleet: how many processes call leads; this one alone without it.
        redis: the URL of the Redis that they share.

    Returns:
        What to exit with: 0, or 128 and the number of the signal that ended it early.

    Raises:
        ConfigurationError: when a fleet has no Redis.
    """
    inbox = _Inbox()
    ledger = Ledger()
    with _signals(inbox.add), _day(seconds, seed, fleet, redis, inbox, ledger) as day:
        if ledger.fleet is not None:
            ledger.fleet.arrivals = day.arrivals
        camera = None if picture is None else _camera(day, ledger)
        view = _view(day, ledger, plain=plain)
        with view:
            code = _watch(inbox, ledger, view, camera)
        now = day.now()
    view.sum_up(now)
    if camera is not None and picture is not None and not code:
        camera.save(picture, now)
    return code


class _Inbox(queue.SimpleQueue["Note"]):
    """Where notes arrive, from any thread and from the handlers of signals."""

    left = False
    """Whether somebody has ended the demo early."""

    def add(self, note: Note) -> None:
        """Adds a note."""
        self.left = self.left or isinstance(note, Left)
        self.put(note)


def _day(
    seconds: float, seed: int, fleet: int | None, redis: str | None, inbox: _Inbox, ledger: Ledger
) -> AbstractContextManager[Day]:
    if fleet is None:
        return Day(Script.write(seconds, seed), inbox.add)
    from recloser.demo.fleet.day import day_of_a_fleet  # noqa: PLC0415 - one process needs none of it
    from recloser.demo.fleet.ledger import FleetLedger  # noqa: PLC0415

    ledger.fleet = FleetLedger()
    return day_of_a_fleet(seconds, seed, fleet, redis, inbox.add, lambda: inbox.left)


def _watch(inbox: _Inbox, ledger: Ledger, view: View, camera: Camera | None) -> int:
    """Shows what comes in until the day is over; returns what to exit with."""
    while True:
        view.draw()
        if camera is not None:
            camera.look()
        for note in _arrivals(inbox):
            if isinstance(note, Over):
                return 0
            if isinstance(note, Left):
                return note.code
            if isinstance(note, Crashed):
                raise note.error
            ledger.add(note)
            view.tell(note)


def _arrivals(inbox: _Inbox) -> Iterator[Note]:
    """What arrives until it is time to draw again."""
    until = time.monotonic() + _TICK
    while (left := until - time.monotonic()) > 0:
        try:
            yield inbox.get(timeout=left)
        except queue.Empty:
            return


def _view(day: Day, ledger: Ledger, *, plain: bool) -> View:
    """The view that suits what is written to."""
    encoding = sys.stdout.encoding or ""
    able = (
        sys.stdout.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"} and encoding.lower().startswith("utf")
    )
    if plain or not able:
        return PlainView(day, ledger)
    try:
        from recloser.demo.view import LiveView  # noqa: PLC0415 - rich may be missing, and plain lines do without
    except ImportError:
        return PlainView(day, ledger, "For the live view: pip install 'recloser[demo]'")
    return LiveView(day, ledger)


def _camera(day: Day, ledger: Ledger) -> Camera:
    from recloser.demo.view import Camera  # noqa: PLC0415 - rich is only needed for a picture

    return Camera(day, ledger)


@contextmanager
def _signals(tell: Callable[[Note], object]) -> Iterator[None]:
    """Turns the signals that end programs into notes, so that they cut nothing in two."""

    def note(signum: int, _: FrameType | None) -> None:
        tell(Left(0.0, _SIGNALLED + signum))

    with ExitStack() as restored:
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) is signal.SIG_IGN:  # whoever started us in the background wants it so
                continue
            restored.callback(signal.signal, signum, signal.signal(signum, note))
        yield
