"""What a client of redis-py's says of a Redis: where it is and how to log in. The client itself is not touched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from redis import Redis, RedisCluster
from redis.client import Pipeline
from redis.cluster import ClusterPipeline
from redis.connection import Connection, ConnectionPool, SSLConnection
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from recloser.backends.redis_url import Target
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import UnionType

    from recloser.backends.redis_url import Place

__all__ = ["Given", "read_client"]

_NOT_LOGIN = frozenset(
    {
        # What the link decides itself, for every connection.
        "cache",
        "cache_config",
        "command_packer",
        "decode_responses",
        "driver_info",
        "encoding",
        "encoding_errors",
        "health_check_interval",
        "legacy_responses",
        "lib_name",
        "lib_version",
        "max_connections",
        "parser_class",
        "protocol",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "socket_connect_timeout",
        "socket_timeout",
        # What ties a connection to the client, its pool and its events.
        "connection_pool",
        "event_dispatcher",
        "himport_registry",
        "maint_notifications_config",
        "maint_notifications_pool_handler",
        "maintenance_notification_hash",
        "maintenance_state",
        "orig_host_address",
        "orig_socket_connect_timeout",
        "orig_socket_timeout",
        "oss_cluster_maint_notifications_handler",
    }
)


@dataclass(frozen=True, slots=True)
class Given:
    """A client, taken apart.

    Attributes:
        target: where it leads, and with which settings.
        make: the class of its connections.
        make_sentinel: the class of its connections to Sentinels.
        remap: where a place that a server names is to be found from here.
    """

    target: Target
    make: Callable[..., object]
    make_sentinel: Callable[..., object] = Connection
    remap: Callable[[Place], Place] | None = field(default=None, repr=False)


def read_client(client: object) -> Given:
    """Takes ``client`` apart.

    Raises:
        ConfigurationError: when it is not a ``redis.Redis`` or ``redis.RedisCluster``, or leads to a replica.
    """
    if wrong := _wrong(client):
        # Not its repr: that of a client may show a password.
        raise ConfigurationError("backend", type(client).__name__, wrong)
    if isinstance(client, RedisCluster):
        return _of_cluster(client)
    pool: Any = cast("Redis", client).connection_pool
    return _of_group(pool) if isinstance(pool, SentinelConnectionPool) else _of_server(pool)


def _wrong(client: object) -> str:
    if any(base.__module__.startswith("redis.asyncio") for base in type(client).__mro__):
        return "an async client; hand in a redis.Redis, it is used on a thread of its own"
    for kind, words in _OTHERS:
        if isinstance(client, kind):
            return words
    pool = client.connection_pool if isinstance(client, Redis) else None
    if isinstance(pool, SentinelConnectionPool) and not pool.is_master:
        return "a client for replicas, which take no writes; hand in sentinel.master_for(service)"
    if isinstance(client, Redis | RedisCluster):
        return ""
    return "a redis.Redis or a redis.RedisCluster, or the URL of a Redis"


_OTHERS: tuple[tuple[type | UnionType, str], ...] = (
    (Pipeline | ClusterPipeline, "a pipeline; hand in the client that made it"),
    (Sentinel, "the Sentinels; hand in sentinel.master_for(service)"),
    (ConnectionPool, "a pool; hand in redis.Redis(connection_pool=pool)"),
)


def _of_server(pool: ConnectionPool) -> Given:
    make = pool.connection_class
    settings = _login(pool.connection_kwargs)
    target = Target(
        kind="socket" if "path" in settings else "server",
        tls=issubclass(make, SSLConnection),
        places=() if "path" in settings else (_place(settings),),
        path=settings.get("path", ""),
        db=int(settings.get("db") or 0),
        settings=settings,
    )
    return Given(target, make)


def _of_group(pool: SentinelConnectionPool) -> Given:
    manager = pool.sentinel_manager
    pools = [sentinel.connection_pool for sentinel in manager.sentinels]
    sentinel_settings = _login(pools[0].connection_kwargs)
    settings = _login(pool.connection_kwargs)
    # The class without what makes it ask the client's own Sentinels.
    plain = {SentinelManagedSSLConnection: SSLConnection, SentinelManagedConnection: Connection}
    managed = pool.connection_class
    make = next((plain[base] for base in managed.__mro__ if base in plain), managed)
    target = Target(
        kind="sentinel",
        tls=issubclass(make, SSLConnection),
        places=tuple(_place(each.connection_kwargs) for each in pools),
        service=pool.service_name,
        db=int(settings.get("db") or 0),
        settings=settings,
        sentinel_settings=sentinel_settings,
    )
    address = getattr(manager, "_force_master_ip", None)
    remap = (lambda place: (address, place[1])) if address else None
    return Given(target, make, pools[0].connection_class, remap)


def _of_cluster(client: RedisCluster) -> Given:
    nodes: Any = client.nodes_manager
    pool = next((n.redis_connection.connection_pool for n in nodes.nodes_cache.values() if n.redis_connection), None)
    if pool is None:
        raise ConfigurationError("backend", type(client).__name__, "a redis.RedisCluster that knows its nodes")
    settings = _login(pool.connection_kwargs)
    # Its own greeting is the client's; what the user added to it comes after ours.
    settings.pop("redis_connect_func", None)
    if greet := client.user_on_connect_func:
        settings["redis_connect_func"] = lambda wire: (wire.on_connect(), greet(wire))
    places = {(str(node.host), int(node.port)): None for node in nodes.startup_nodes.values()}
    target = Target(
        kind="cluster",
        tls=issubclass(pool.connection_class, SSLConnection),
        places=tuple(places),
        settings=settings,
    )
    return Given(target, pool.connection_class, remap=nodes.address_remap)


def _login(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _NOT_LOGIN and value is not None}


def _place(settings: Mapping[str, Any]) -> Place:
    return str(settings.get("host") or "localhost"), int(settings.get("port") or 6379)
