"""``recloser alerts test|undelivered|retry``: whether people would be told, and what they were not told."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from typing import TYPE_CHECKING

from recloser.cli.fleet import fleet_options, opened
from recloser.cli.parsing import FOUND, OK, Parser, added
from recloser.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from recloser.alerts.hooks import Found, Hook
    from recloser.backends.outbox import Outbox
    from recloser.cli.parsing import Commands
    from recloser.core.alert import Alert
    from recloser.onlooker import Onlooker

__all__ = ["add"]

_EXAMPLES = """\
examples:
  recloser alerts test                 one message by each hook that is configured here
  recloser alerts test slack
  recloser alerts undelivered          what was given up after the last try
  recloser alerts retry slack          sends that again
"""


def add(commands: Commands) -> None:
    """Adds the commands."""
    text = "Whether people would be told, and what they were not told."
    parser = added(commands, "alerts", "test hooks, look at undelivered alerts", text, _EXAMPLES)
    parser.set_defaults(run=lambda _: parser.error("one of test, undelivered and retry is missing"))
    below: Commands = parser.add_subparsers(parser_class=Parser, metavar="test|undelivered|retry")

    text = (
        "Sends a message by each hook that this machine's environment configures, or by one, and says what became of "
        "it; exits with 1 when one was not delivered."
    )
    test = added(below, "test", "send a message by each hook", text, _EXAMPLES)
    test.add_argument("hook", nargs="?", metavar="HOOK", help="a hook; without it, all that are configured")
    test.set_defaults(run=_test)

    text = "The alerts that were given up after the last try, oldest first; exits with 1 when there are any."
    undelivered = added(below, "undelivered", "alerts that were given up", text, _EXAMPLES)
    retry = added(below, "retry", "send them again", "Sends them again, from the processes of the fleet.", _EXAMPLES)
    for command, run in ((undelivered, _undelivered), (retry, _retry)):
        command.add_argument("hook", nargs="?", metavar="HOOK", help="a hook; without it, all")
        fleet_options(command)
        command.set_defaults(run=run)


def _test(chosen: argparse.Namespace) -> int:
    from recloser.alerts.hooks import HookSettings, find  # noqa: PLC0415 - help is quick without it
    from recloser.cli.words import write  # noqa: PLC0415

    hooks = find(chosen.hook, lambda _: HookSettings())
    if not hooks:
        write(["no hook is to tell anybody: RECLOSER_ALERTS=none"])
    code = OK
    for hook in hooks:
        said = _sent(hook)
        if said and hook.call is not None:
            code = FOUND
        write([f"{hook.name}: {said or 'delivered'}"])
    return code


def _sent(hook: Found) -> str:
    """Why a hook did not deliver; empty when it did."""
    if hook.call is None:
        return hook.why
    from recloser.core.events import scrub  # noqa: PLC0415 - help is quick without it

    try:
        _call(hook.call, _alert())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is that hook's, and is said
        return f"not delivered, {type(error).__name__}: {scrub(str(error))}"
    return ""


def _call(hook: Hook, alert: Alert) -> None:
    told = hook(alert)
    if inspect.isawaitable(told):

        async def waited() -> None:
            await told

        asyncio.run(waited())


def _alert() -> Alert:
    from recloser.core.alert import Alert, Severity, Step  # noqa: PLC0415 - help is quick without it

    now = time.time()
    return Alert(
        incident=f"test:{now:.0f}",
        step=Step.NOTICE,
        circuit="*",
        severity=Severity.INFO,
        title="This is a test of alerts: nothing has happened",
        text="Somebody has run `recloser alerts test`.",
        facts={"namespace": "test", "circuits": [], "names": [], "sentences": []},
        at=now,
    )


def _outbox(fleet: Onlooker, hook: str | None) -> tuple[Outbox, list[str]]:
    """Where the fleet's alerts wait, and the hooks that are meant.

    Raises:
        ConfigurationError: for a hook that nobody in the fleet has.
        BackendError: when the backend keeps no alerts.
    """
    from recloser.backends.outbox import Shares  # noqa: PLC0415 - help is quick without it
    from recloser.core.policy import near  # noqa: PLC0415

    backend = fleet.engine.backend
    if not isinstance(backend, Shares):
        msg = "this backend keeps no alerts: each process tells its own"
        raise BackendError(msg)
    outbox = backend.outbox()
    names = sorted(outbox.read().hooks)
    if hook is not None and hook not in names:
        raise ConfigurationError("HOOK", hook, near(hook, names))
    return outbox, names if hook is None else [hook]


def _undelivered(chosen: argparse.Namespace) -> int:
    from recloser.cli.words import clock, write  # noqa: PLC0415 - help is quick without it

    def lines(outbox: Outbox, hooks: Iterable[str]) -> Iterable[str]:
        for hook in hooks:
            for letter in outbox.undelivered(hook):
                alert = json.loads(letter.text)
                yield f"{clock(alert['at'])}  {hook}: {alert['title']} ({letter.tries} tries, {letter.error})"
        for hook, count in outbox.dropped().items():
            yield f"{hook}: {count} more were dropped, because too many waited"

    with opened(chosen) as fleet:
        found = list(lines(*_outbox(fleet, chosen.hook)))
        write(found or ["everything was delivered"])
    return FOUND if found else OK


def _retry(chosen: argparse.Namespace) -> int:
    from recloser.cli.words import write  # noqa: PLC0415 - help is quick without it

    with opened(chosen) as fleet:
        outbox, hooks = _outbox(fleet, chosen.hook)
        write(f"{hook}: {outbox.retry(hook)} are sent again" for hook in hooks)
        if not hooks:
            write(["nobody in this fleet has a hook"])
    return OK
