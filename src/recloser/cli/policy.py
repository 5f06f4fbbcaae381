"""``recloser policy show|set|unset``: live policies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from recloser.cli.fleet import actor, actor_options, confirmed, fleet_options, opened
from recloser.cli.parsing import OK, USAGE, Parser, added

if TYPE_CHECKING:
    import argparse

    from recloser.cli.parsing import Commands
    from recloser.onlooker import Onlooker

__all__ = ["add"]

_EXAMPLES = """\
examples:
  recloser policy show elevenlabs                         each value, and where it was said
  recloser policy set elevenlabs failures=5 window=2m     for the whole fleet, at once
  recloser policy set speak order=cartesia,elevenlabs     the order of a fallback, and who takes part
  recloser policy set cooldown=5m                         the default of all circuits
  recloser policy set mode=observe                        the global switch: enforce, observe or off
  recloser policy unset elevenlabs failures               what the rules file or the code says holds again
  recloser policy unset elevenlabs                        the same for everything that is live there
"""


def add(commands: Commands) -> None:
    """Adds the commands."""
    text = (
        "Live policies: they come before the environment, the rules file and the code, reach the whole fleet as fast "
        "as a transition does, stay until they are taken back, and are in the events with who set them."
    )
    parser = added(commands, "policy", "show and change live policies", text, _EXAMPLES)
    parser.set_defaults(run=lambda _: parser.error("one of show, set and unset is missing"))
    below: Commands = parser.add_subparsers(parser_class=Parser, metavar="show|set|unset")

    show = added(below, "show", "each value, and where it was said", "Each value, and where it was said.", _EXAMPLES)
    show.add_argument(
        "name", nargs="?", metavar="NAME", help="a circuit, a fallback or a requirement; else the defaults"
    )
    fleet_options(show)
    show.add_argument("--json", action="store_true", help="for programs")
    show.set_defaults(run=_show)

    change = added(below, "set", "change values", "Changes live values: all of them, or none.", _EXAMPLES)
    change.add_argument(
        "words", nargs="+", metavar="[NAME] KEY=VALUE", help="a circuit, a glob, a fallback; and values"
    )
    actor_options(change)
    change.set_defaults(run=_set)

    back = added(below, "unset", "take values back", "Takes live values back.", _EXAMPLES)
    back.add_argument("words", nargs="*", metavar="[NAME] [KEY ...]", help="without a key, everything under the name")
    actor_options(back)
    back.set_defaults(run=_unset)


def _show(chosen: argparse.Namespace) -> int:
    from recloser.cli.words import table, write  # noqa: PLC0415 - help is quick without it
    from recloser.core.spoken import shown  # noqa: PLC0415

    with opened(chosen) as fleet:
        found = _values(fleet, chosen.name)
        if chosen.json:
            write(
                [
                    json.dumps(
                        {key: {"value": value, "origin": origin} for key, (value, origin) in found.items()}, indent=2
                    )
                ]
            )
            return OK
        rows = [(key, shown(key, value), origin) for key, (value, origin) in found.items()]
        write(table(("SETTING", "VALUE", "ORIGIN"), rows))
        write(f"passed over: {problem}" for problem in fleet.engine.policies.problems)
    return OK


def _values(fleet: Onlooker, name: str | None) -> dict[str, tuple[Any, str]]:
    from recloser.core.policy import FIELDS, Policy  # noqa: PLC0415 - help is quick without it

    policies = fleet.engine.policies
    if name is None:
        # A name that nothing is said of: what holds for it are the defaults.
        resolved = policies.layers.resolve("", None, "")
        found = {"mode": (policies.layers.mode.value, policies.layers.mode.origin)}
        return {**{key: (getattr(resolved.policy, key), resolved.origins[key]) for key in FIELDS}, **found}
    for sort, said, key in (("fallback", policies.order, "order"), ("requirement", policies.needs, "needs")):
        built = policies.built(sort)
        if name in built:
            value = said(name)
            return {key: (built[name].members, "code") if value is None else (value.value, value.origin)}
    (circuit,) = fleet.engine.known(name) if not set(name) & set("*?[") else (name,)
    resolved = policies.resolved(circuit)
    policy: Policy = resolved.policy
    return {key: (getattr(policy, key), resolved.origins[key]) for key in FIELDS}


def _set(chosen: argparse.Namespace) -> int:
    from recloser.core.spoken import assignments  # noqa: PLC0415 - help is quick without it

    words: list[str] = chosen.words
    name = None if "=" in words[0] else words[0]
    said = assignments(words if name is None else words[1:])
    with opened(chosen) as fleet:
        return _change(chosen, fleet, name, lambda by: fleet.set_policy(name, by=by, **said))


def _unset(chosen: argparse.Namespace) -> int:
    words: list[str] = chosen.words
    with opened(chosen) as fleet:
        from recloser.core.policy import FIELDS  # noqa: PLC0415 - help is quick without it

        whole = not words or words[0] in {"mode", *FIELDS}
        name, keys = (None, words) if whole else (words[0], words[1:])
        return _change(chosen, fleet, name, lambda by: fleet.unset_policy(name, *keys, by=by))


def _change(chosen: argparse.Namespace, fleet: Onlooker, name: str | None, make: Any) -> int:
    from recloser.cli.words import write  # noqa: PLC0415 - help is quick without it

    by = actor(chosen)
    several = fleet.engine.matching(name) if name is not None and set(name) & set("*?[") else ()
    if not confirmed(chosen, several, "change"):
        return USAGE
    write(make(by) or ["nothing was set, and nothing is changed"])
    return OK
