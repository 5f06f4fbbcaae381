"""``recloser pause`` and ``recloser resume``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recloser.cli.fleet import actor, actor_options, answered, confirmed, opened
from recloser.cli.parsing import OK, USAGE, added, duration

if TYPE_CHECKING:
    import argparse

    from recloser.cli.parsing import Commands

__all__ = ["add"]

_PAUSE_EXAMPLES = """\
examples:
  recloser pause twilio --reason "billing is being looked into"
  recloser pause elevenlabs --reason "maintenance" --for 30m
  recloser pause 'azure-*' --reason "region is down" --yes
"""
_RESUME_EXAMPLES = """\
examples:
  recloser resume twilio
  recloser resume 'azure-*' --yes --by deploy
"""


def add(commands: Commands) -> None:
    """Adds the commands."""
    text = "Pauses circuits for the whole fleet: until they are resumed or, with --for, for a while, and then tested."
    parser = added(commands, "pause", "stop calls to a provider", text, _PAUSE_EXAMPLES)
    parser.add_argument("name", metavar="NAME", help="a circuit, or a glob over the known ones")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for everyone who asks")
    parser.add_argument("--for", dest="length", type=duration, metavar="LENGTH", help='how long: "90s", "30m", "1h30m"')
    actor_options(parser)
    parser.set_defaults(run=_pause)

    text = "Closes circuits for the whole fleet, with an empty window, whoever or whatever has paused them."
    parser = added(commands, "resume", "let calls to a provider go on", text, _RESUME_EXAMPLES)
    parser.add_argument("name", metavar="NAME", help="a circuit, or a glob over the known ones")
    actor_options(parser)
    parser.set_defaults(run=_resume)


def _pause(chosen: argparse.Namespace) -> int:
    return _operate(chosen, "pause")


def _resume(chosen: argparse.Namespace) -> int:
    return _operate(chosen, "resume")


def _operate(chosen: argparse.Namespace, what: str) -> int:
    from recloser.cli.words import write  # noqa: PLC0415 - help is quick without it
    from recloser.core.state import State  # noqa: PLC0415

    by = actor(chosen)
    with opened(chosen) as fleet:
        names = fleet.engine.known(chosen.name)
        before = answered(fleet)
        if not confirmed(chosen, names, what):
            return USAGE
        for name in names:
            if what == "pause":
                fleet.pause(name, reason=chosen.reason, by=by, for_=chosen.length)
            else:
                fleet.resume(name, by=by)
            closed = what == "resume" and before[name].state is State.CLOSED
            write([f"{name} was closed already; its window is empty" if closed else f"{name} is {what}d by {by}"])
    return OK
