"""``recloser check``: whether all is well, for people before a deploy and for monitors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from recloser.cli.fleet import answered, fleet_options, opened
from recloser.cli.parsing import FOUND, OK, USAGE, added

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from recloser.cli.parsing import Commands

__all__ = ["add"]

_EXAMPLES = """\
examples:
  recloser check                       backend, access rules, rules file, alert hooks
  recloser check --rules rules.toml    only that file: every mistake with its line
  recloser check --paused              exits with 1 when anything is paused

exit codes:
  0    all is well
  1    something is paused (--paused), a live setting is passed over, or a hook cannot be used
  2    the rules file, or a setting, is wrong
  3    the backend does not answer, or does not permit what is needed
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    text = (
        "Looks whether the backend answers, is new enough and permits every command that is needed; whether the rules "
        "file that RECLOSER_RULES names is valid; and whether the alert hooks that are configured here can be used."
    )
    parser = added(commands, "check", "is all well? for monitors", text, _EXAMPLES)
    fleet_options(parser)
    parser.add_argument("--rules", metavar="FILE", help="look at this rules file, and at nothing else")
    parser.add_argument("--paused", action="store_true", help="also fail when a circuit is OPEN or PAUSED")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from recloser.cli.words import write  # noqa: PLC0415 - help is quick without it

    if chosen.rules is not None:
        return _rules(chosen.rules)
    code = OK
    file = os.environ.get("RECLOSER_RULES", "").strip()
    if file:
        code = _rules(file)
    with opened(chosen) as fleet:
        status = answered(fleet)
        address = getattr(fleet.engine.backend, "address", "the backend")
        write([f"ok    {address} answers, and permits what is needed"])
        write(f"bad   {problem}" for problem in status.problems)
        code = code or (FOUND if status.problems else OK)
        if chosen.paused:
            for name in status.paused:
                write([f"bad   {name} is {status[name].state.name}: {status[name].reason} (by {status[name].by})"])
            code = code or (FOUND if status.paused else OK)
    for well, line in _hooks():
        write([f"{'ok  ' if well else 'bad '}  {line}"])
        code = code or (OK if well else FOUND)
    return code


def _rules(file: str) -> int:
    from recloser.cli.words import write  # noqa: PLC0415 - help is quick without it
    from recloser.rulebook import examine  # noqa: PLC0415

    sheet, complaints = examine(file)
    if complaints:
        write(f"bad   {complaint}" for complaint in complaints)
        return USAGE
    write([f"ok    {file}: {len(sheet.told_of('circuits'))} circuits, {len(sheet.values)} values"])
    return OK


def _hooks() -> Iterator[tuple[bool, str]]:
    """Whether each hook can be used, and a line about it; one that nobody has configured is no trouble."""
    from recloser.alerts.hooks import HookSettings, find  # noqa: PLC0415 - help is quick without it

    for hook in find(None, lambda _: HookSettings()):
        well = hook.call is not None or hook.why.startswith("it is not configured")
        yield well, f"alerts by {hook.name}: {hook.why or 'ready'}"
