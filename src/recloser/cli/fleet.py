"""The fleet that a command is about: which backend, who asks, and whether several circuits are really meant."""

from __future__ import annotations

import getpass
import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recloser.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from recloser.cli.parsing import Parser
    from recloser.onlooker import Onlooker
    from recloser.reports import Status

__all__ = ["actor", "actor_options", "answered", "confirmed", "fleet_options", "opened"]


def fleet_options(parser: Parser) -> None:
    """Adds the options that say which fleet."""
    parser.add_argument("--backend", metavar="URL", help="where its facts are (default: RECLOSER_BACKEND)")
    parser.add_argument("--namespace", metavar="NAME", help="its name there (default: RECLOSER_NAMESPACE)")


def actor_options(parser: Parser) -> None:
    """Adds the options of a command that changes something."""
    fleet_options(parser)
    parser.add_argument("--by", metavar="WHO", help="who does it, for the record (default: your login name)")
    parser.add_argument("--yes", action="store_true", help="ask nothing, also when several circuits are meant")


def backend_url(chosen: argparse.Namespace) -> str:
    """The backend that was named.

    Raises:
        ConfigurationError: when none was, or one that nobody outside of its process can look into.
    """
    url: str = chosen.backend or os.environ.get("RECLOSER_BACKEND", "").strip()
    allowed = "the URL of the fleet's Redis, such as redis://localhost:6379/0"
    if not url:
        raise ConfigurationError("--backend", None, f"{allowed}; RECLOSER_BACKEND does not say either")
    if url.startswith("memory:"):
        raise ConfigurationError("--backend", url, f"{allowed}; a memory backend is inside of one process")
    return url


@contextmanager
def opened(chosen: argparse.Namespace) -> Iterator[Onlooker]:
    """The fleet, for as long as a command lasts.

    Raises:
        BackendError: when its backend does not answer.
    """
    from recloser.onlooker import Onlooker  # noqa: PLC0415 - help is quick without it

    # What a process would log, the command says itself.
    logging.getLogger("recloser").addHandler(logging.NullHandler())
    namespace = chosen.namespace or os.environ.get("RECLOSER_NAMESPACE", "").strip() or "recloser"
    fleet = Onlooker(backend_url(chosen), namespace=namespace)
    try:
        _must_answer(fleet)
        fleet.engine.look()
        yield fleet
    finally:
        fleet.close()


def answered(fleet: Onlooker) -> Status:
    """The status of a fleet.

    Raises:
        BackendError: when its backend has not answered.
    """
    status = fleet.status()
    _must_answer(fleet)
    return status


def _must_answer(fleet: Onlooker) -> None:
    connection = fleet.engine.courier.connection
    if connection.lost_since is not None:
        raise BackendError(connection.lost_because)


def actor(chosen: argparse.Namespace) -> str:
    """Who does it."""
    if chosen.by:
        return str(chosen.by)
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise ConfigurationError("--by", None, "who does it; this machine does not know your name") from None


def confirmed(chosen: argparse.Namespace, names: Sequence[str], what: str) -> bool:
    """Whether it is really meant, where it concerns more than one circuit; where nobody can be asked, it is not."""
    if len(names) < 2 or chosen.yes:
        return True
    listed = ", ".join(names)
    if not sys.stdin.isatty():
        sys.stderr.write(f"recloser: {len(names)} circuits are meant ({listed}), and nobody can be asked: say --yes\n")
        return False
    sys.stderr.write(f"{what} {len(names)} circuits ({listed})? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
