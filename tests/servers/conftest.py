"""The tests of the harness use its own fixtures."""

from __future__ import annotations

from tests.servers.fixtures import (
    authority,
    namespace,
    redis_6,
    redis_8,
    redis_any,
    start_cluster,
    start_proxy,
    start_redis,
    start_sentinels,
)

__all__ = [
    "authority",
    "namespace",
    "redis_6",
    "redis_8",
    "redis_any",
    "start_cluster",
    "start_proxy",
    "start_redis",
    "start_sentinels",
]
