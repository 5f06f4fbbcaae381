"""``recloser completion``: shells complete commands, options, and the names of circuits."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from recloser.cli.parsing import OK, added

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from recloser.cli.parsing import Commands

__all__ = ["add", "candidates"]

_EXAMPLES = """\
examples:
  eval "$(recloser completion bash)"                                     in ~/.bashrc
  eval "$(recloser completion zsh)"                                      in ~/.zshrc, after compinit
  recloser completion fish > ~/.config/fish/completions/recloser.fish
"""

_SCRIPTS = {
    "bash": """\
_recloser() {
  local IFS=$'\\n'
  COMPREPLY=($(recloser complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _recloser recloser
""",
    "zsh": """\
_recloser() {
  local -a found
  found=("${(@f)$(recloser complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a found
}
compdef _recloser recloser
""",
    "fish": """\
function __recloser
  set -l words (commandline -opc) (commandline -ct)
  recloser complete -- $words[2..-1] 2>/dev/null
end
complete -c recloser -f -a '(__recloser)'
""",
}


def add(commands: Commands) -> None:
    """Adds the commands."""
    text = (
        "Prints what a shell evaluates to complete commands, options, and names of circuits (when the fleet answers)."
    )
    parser = added(commands, "completion", "completion for bash, zsh and fish", text, _EXAMPLES)
    parser.add_argument("shell", choices=sorted(_SCRIPTS), help="the shell")
    parser.set_defaults(run=_print)

    # What those scripts ask; it is in no help.
    hidden = commands.add_parser("complete", allow_abbrev=False)
    hidden.add_argument("words", nargs=argparse.REMAINDER)
    hidden.set_defaults(run=_complete)


def _print(chosen: argparse.Namespace) -> int:
    from recloser.cli.words import write  # noqa: PLC0415 - help is quick without it

    write([_SCRIPTS[chosen.shell].rstrip()])
    return OK


def _complete(chosen: argparse.Namespace) -> int:
    from recloser.cli.words import write  # noqa: PLC0415 - help is quick without it

    words = chosen.words[1:] if chosen.words[:1] == ["--"] else chosen.words
    write(candidates(words or [""]))
    return OK


def candidates(words: Sequence[str]) -> list[str]:
    """What may stand in place of the last word, after those before it."""
    from recloser.cli import build  # noqa: PLC0415 - it is built of this module

    parser: argparse.ArgumentParser = build()
    depth = 0
    for word in words[:-1]:
        below = _below(parser)
        if word in below:
            parser, depth = below[word], depth + 1
    started = words[-1]
    if started.startswith("-"):
        found = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001 - no other way
    elif depth and not _below(parser):
        found = [*_choices(parser), *_names(parser)]
    else:
        found = [name for name in _below(parser) if name != "complete"]
    return sorted(each for each in found if each.startswith(started))


def _below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001 - argparse shows them nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}


def _choices(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001 - argparse shows them nowhere else
        if not action.option_strings and action.choices:
            yield from map(str, action.choices)


def _names(parser: argparse.ArgumentParser) -> list[str]:
    """The circuits of the fleet, where a name may stand, and the fleet answers."""
    takes_name = any(action.dest in {"name", "words"} and not action.option_strings for action in parser._actions)  # noqa: SLF001
    if not takes_name or not os.environ.get("RECLOSER_BACKEND"):
        return []
    from recloser.cli.fleet import opened  # noqa: PLC0415 - help is quick without it
    from recloser.errors import RecloserError  # noqa: PLC0415

    with suppress(RecloserError), opened(argparse.Namespace(backend=None, namespace=None)) as fleet:
        return [*fleet.engine.names(), *fleet.engine.policies.built("fallback")]
    return []
