"""``recloser events``: what happened, and what happens."""

from __future__ import annotations

import argparse
import fnmatch
import json
from typing import TYPE_CHECKING

from recloser.cli.fleet import fleet_options, opened
from recloser.cli.parsing import OK, added

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recloser.cli.parsing import Commands
    from recloser.core.events import Event

__all__ = ["add", "number"]

_EXAMPLES = """\
examples:
  recloser events
  recloser events elevenlabs --last 100
  recloser events --follow
  recloser events --follow --json | jq -r .reason
"""


def number(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdigit() or int(text) < 1:
        msg = f"{text!r} is not possible: a whole number, 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def add(commands: Commands) -> None:
    """Adds the command."""
    text = "The last transitions and operators' actions, each with who did it and why, the latest last."
    parser = added(commands, "events", "what happened, and who did it", text, _EXAMPLES)
    parser.add_argument("name", nargs="?", default="*", metavar="NAME", help="a circuit, or a glob (default: all)")
    fleet_options(parser)
    parser.add_argument("--last", type=number, default=20, metavar="N", help="so many (default: 20)")
    parser.add_argument("--follow", action="store_true", help="go on with what happens, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from recloser.cli.following import Following  # noqa: PLC0415 - help is quick without it
    from recloser.cli.words import event_line, write  # noqa: PLC0415

    def tell(events: Iterable[Event]) -> None:
        mine = [each for each in events if fnmatch.fnmatchcase(each.circuit, chosen.name)]
        write(json.dumps(each.as_dict()) if chosen.json else event_line(each) for each in mine)

    with opened(chosen) as fleet:
        following = Following(fleet)
        events = [each for each in following.events() if fnmatch.fnmatchcase(each.circuit, chosen.name)]
        tell(events[-chosen.last :])
        while chosen.follow:
            following.wait(1.0)
            tell(following.events())
    return OK
