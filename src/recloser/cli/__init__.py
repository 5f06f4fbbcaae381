"""The command line, ``recloser``.

A command is a function that adds its parser and says what runs; what it needs is imported when it runs, so that
``recloser --help`` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from recloser.cli import alerts, check, completion, demo, events, policy, status, switches, watch
from recloser.cli.parsing import INTERRUPTED, OK, PIPE_CLOSED, SILENT, USAGE, Parser
from recloser.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recloser.cli.parsing import Commands

__all__ = ["main"]

_COMMANDS = (status, watch, events, switches, policy, alerts, check, completion, demo)

_EXAMPLES = """\
examples:
  recloser status                                what is paused, and why
  recloser explain elevenlabs                    the evidence, and what happens next
  recloser pause twilio --reason "billing" --for 30m
  recloser policy set elevenlabs failures=5 window=2m
  recloser demo                                  a voice agent's day in thirty seconds

The fleet is the one that --backend and --namespace name, or RECLOSER_BACKEND and RECLOSER_NAMESPACE.

exit codes:
  0    all is well
  1    a check has found something: see `recloser check --help`; an alert was not delivered
  2    the command line, a rules file or a setting is wrong; one line on stderr says how
  3    the backend does not answer; one line on stderr says which, and what it said
  130  interrupted with Ctrl-C (and 128 + n for another signal n)
  141  whoever read along has had enough
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the command line names; returns what to exit with."""
    try:
        parser = build()
        chosen = parser.parse_args(arguments)
        run: Callable[[argparse.Namespace], int] | None = getattr(chosen, "run", None)
        if run is None:
            parser.print_help(sys.stderr)
            return USAGE
        return run(chosen)
    except ConfigurationError as error:
        sys.stderr.write(f"recloser: {error}\n")
        return USAGE
    except BackendError as error:
        sys.stderr.write(f"recloser: {error}\n")
        return SILENT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read along has had enough (`recloser demo | head`); the interpreter must not try to flush to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def build() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="recloser",
        description="Keeps applications working when the providers they depend on go down.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands: Commands = parser.add_subparsers(parser_class=Parser, title="commands", metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked: that takes longer than everything else here."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - argparse's signature
        values: object,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - see above

        sys.stdout.write(f"recloser {version('recloser')}\n")
        parser.exit(OK)
