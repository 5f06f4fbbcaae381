"""Whether what answers is the Redis that the user meant: new enough, and of the sort that the URL says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from recloser.backends.redis_lines import Trouble
from recloser.backends.redis_routes import NO_SENTINEL, UNKNOWN_SERVICE, Sentinels
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from recloser.backends.redis_lines import Line
    from recloser.backends.redis_routes import Route
    from recloser.backends.redis_url import Target

__all__ = ["OLDEST", "inspect"]

OLDEST = (6, 2)
"""The oldest version of Redis that is supported."""

_SORTS = {
    "standalone": ("a server of its own", "redis://"),
    "cluster": ("a node of a cluster", "redis+cluster:// (or hand in a redis.RedisCluster)"),
    "sentinel": ("a Sentinel", "redis+sentinel://host:port/service (or hand in sentinel.master_for(service))"),
}
"""What INFO calls it: what it is, and how it is reached."""


def inspect(target: Target, route: Route) -> None:
    """Looks at what ``route`` leads to.

    Raises:
        ConfigurationError: when it is not what ``target`` says; its text says what to write instead.
        Trouble: when it cannot be reached, or refuses the login.
    """
    try:
        # Database 0 first: where there are no others, choosing one would fail before anything is known.
        line = route.connect(db=0) if target.db else route.connect()
        try:
            info = _info(line)
        finally:
            line.close()
        _check(target, info)
        if target.db:
            route.connect().close()
    except Trouble as trouble:
        allowed = _instead(target, route, trouble)
        if not allowed:
            raise
    else:
        return
    raise ConfigurationError("backend", str(target), allowed)


def _info(line: Line) -> dict[str, str]:
    try:
        text: bytes = line.ask("INFO", "server")
    except Trouble as trouble:
        if trouble.lost:
            raise
        return {}  # not permitted to ask
    fields = (field.partition(":") for field in text.decode(errors="replace").splitlines())
    return {name: value.strip() for name, _, value in fields}


def _check(target: Target, info: dict[str, str]) -> None:
    found = info.get("redis_mode", "")
    wanted = "cluster" if target.kind == "cluster" else "standalone"
    if found in _SORTS and found != wanted:
        sort, scheme = _SORTS[found]
        raise ConfigurationError("backend", str(target), f"what answers there is {sort}: use {scheme}")
    version = info.get("redis_version", "")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise ConfigurationError("backend", str(target), f"Redis {needed} or newer; {version} answers there")


def _instead(target: Target, route: Route, trouble: Trouble) -> str:
    if trouble.code == UNKNOWN_SERVICE and isinstance(route, Sentinels):
        known = ", ".join(route.known()) or "none"
        return f"a service that the Sentinels know, and {target.service!r} is none of them; they know: {known}"
    if trouble.code == NO_SENTINEL:
        return "the addresses of Sentinels, and what answers there is none: use redis:// or redis+cluster://"
    if trouble.code == "PROTOCOL":
        return "a Redis, and what answers there does not speak its protocol (TLS? use rediss://)"
    if trouble.code == "ERR" and "db index" in trouble.said.lower():
        return f"a database that the server has, and {target.db} is none"
    return ""
