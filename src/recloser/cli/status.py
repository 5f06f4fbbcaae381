"""``recloser status`` and ``recloser explain``: what is so, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from recloser.cli.fleet import answered, fleet_options, opened
from recloser.cli.parsing import OK, added

if TYPE_CHECKING:
    import argparse

    from recloser.cli.parsing import Commands

__all__ = ["add"]

_STATUS_EXAMPLES = """\
examples:
  recloser status
  recloser status --backend redis://redis.internal:6379/0
  recloser status --json | jq '.circuits[] | select(.state != "closed")'
"""
_EXPLAIN_EXAMPLES = """\
examples:
  recloser explain elevenlabs
  recloser explain elevenlabs --json
"""


def add(commands: Commands) -> None:
    """Adds the commands."""
    text = "Every circuit with its state, the counts in its window, and what happens next; who answers each fallback."
    parser = added(commands, "status", "every circuit, and who answers", text, _STATUS_EXAMPLES)
    fleet_options(parser)
    parser.add_argument("--json", action="store_true", help="for programs; moments are Unix time in seconds")
    parser.set_defaults(run=_status)

    text = "Why a circuit is in its state: the rule, the counts, the last errors, whom it affects, and what comes next."
    parser = added(commands, "explain", "why a circuit is in its state", text, _EXPLAIN_EXAMPLES)
    parser.add_argument("name", metavar="NAME", help="a circuit")
    fleet_options(parser)
    parser.add_argument("--json", action="store_true", help="for programs; moments are Unix time in seconds")
    parser.set_defaults(run=_explain)


def _status(chosen: argparse.Namespace) -> int:
    from recloser.cli.words import status_lines, write  # noqa: PLC0415 - help is quick without it

    with opened(chosen) as fleet:
        status = answered(fleet)
        write([json.dumps(status.as_dict(), indent=2)] if chosen.json else status_lines(status, fleet.clock.time()))
    return OK


def _explain(chosen: argparse.Namespace) -> int:
    from recloser.cli.words import write  # noqa: PLC0415 - help is quick without it
    from recloser.core.spoken import shown  # noqa: PLC0415

    with opened(chosen) as fleet:
        (name,) = fleet.engine.known(chosen.name) if not set(chosen.name) & set("*?[") else (chosen.name,)
        why = fleet.explain(name)
        if chosen.json:
            write([json.dumps(why.as_dict(), indent=2)])
            return OK
        said = [
            f"  {field}={shown(field, getattr(why.policy, field))} ({origin})"
            for field, origin in why.origins.items()
            if origin != "built in"
        ]
        write([str(why), *said])
    return OK
