"""What all commands share when they are read: complaints in one line, exit codes, names and lengths of time."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from recloser.core.duration import parse_duration

__all__ = ["FOUND", "INTERRUPTED", "OK", "PIPE_CLOSED", "SILENT", "USAGE", "Commands", "Parser", "added", "duration"]

OK, FOUND, USAGE, SILENT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 3, 130, 141
"""Exit codes: all is well; a check found something; the command line is wrong; the backend does not answer; ended."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Says it, and ends the program."""
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001 - argparse has no public name for it
else:
    Commands = object


def added(commands: Commands, name: str, summary: str, description: str, examples: str) -> Parser:
    """A command that was added: its name, what it is in a few words, in more words, and examples."""
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def duration(text: str) -> float:
    """Seconds, for an option that is a length of time."""
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        msg = f'{text!r} is not possible: a duration such as "90s", "30m" or "1h30m"'
        raise argparse.ArgumentTypeError(msg)
    return seconds
