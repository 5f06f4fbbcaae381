"""``recloser watch``: the status of a fleet as it changes."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from recloser.cli.events import number
from recloser.cli.fleet import fleet_options, opened
from recloser.cli.parsing import OK, added, duration
from recloser.errors import BackendError

if TYPE_CHECKING:
    import argparse

    from recloser.cli.parsing import Commands

__all__ = ["add"]

_EXAMPLES = """\
examples:
  recloser watch
  recloser watch --every 5s
  recloser watch --frames 1 > now.txt
"""
_EVENTS = 8


def add(commands: Commands) -> None:
    """Adds the command."""
    text = (
        "A live view: states, counts, rates, who answers, what comes next and when, and the last events. It changes as "
        "soon as a transition is pushed. When the output is no terminal, one frame follows the other."
    )
    parser = added(commands, "watch", "a live view", text, _EXAMPLES)
    fleet_options(parser)
    parser.add_argument(
        "--every", type=duration, default=1.0, metavar="LENGTH", help="how often it is drawn when nothing happens (1s)"
    )
    parser.add_argument("--frames", type=number, metavar="N", help="end after so many")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from recloser.cli.following import Following  # noqa: PLC0415 - help is quick without it
    from recloser.cli.words import clock, event_line, status_lines, write  # noqa: PLC0415

    live = sys.stdout.isatty()
    drawn = 0
    with opened(chosen) as fleet:
        following = Following(fleet, _EVENTS)
        while True:
            lines = [clock(fleet.clock.time())]
            status = fleet.status()
            if status.lost_since is not None:
                lines.append(f"the backend does not answer since {clock(status.lost_since)}: {status.lost_because}")
            lines += status_lines(status, fleet.clock.time())
            with suppress(BackendError):  # said above
                lines += ["", *map(event_line, fleet.events(_EVENTS))]
            if live:
                # Home, each line to its end, and whatever was below.
                sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
                sys.stdout.flush()
            else:
                write([*lines, ""])
            drawn += 1
            if drawn == chosen.frames:
                return OK
            following.wait(chosen.every)
