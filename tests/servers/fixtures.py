"""The fixtures for tests against real servers; a conftest.py or a test module imports those that it wants."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.binaries import BINARIES, why_missing
from tests.servers.certificates import Authority
from tests.servers.groups import ClusterGroup, SentinelGroup
from tests.servers.proxy import Proxy
from tests.servers.redis_server import HOST, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _need(version: str) -> None:
    if version not in BINARIES:
        pytest.skip(why_missing(version))


@pytest.fixture(scope="session")
def redis_8() -> Iterator[RedisServer]:
    """Redis 8.2, one for all tests of a worker: keep to a namespace of your own, and do it no harm."""
    _need("8.2")
    with RedisServer("8.2") as server:
        yield server


@pytest.fixture(scope="session")
def redis_6() -> Iterator[RedisServer]:
    """Redis 6.2, one for all tests of a worker: keep to a namespace of your own, and do it no harm."""
    _need("6.2")
    with RedisServer("6.2") as server:
        yield server


@pytest.fixture(params=["8.2", "6.2"])
def redis_any(request: pytest.FixtureRequest) -> RedisServer:
    """Each of the two shared servers in turn."""
    _need(request.param)
    server: RedisServer = request.getfixturevalue(f"redis_{request.param[0]}")
    return server


@pytest.fixture
def namespace() -> str:
    """A name that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start a server of the test's own, with the arguments of RedisServer; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(version: str = "8.2", **options: Any) -> RedisServer:
            _need(version)
            return stack.enter_context(RedisServer(version, **options))

        yield start


@pytest.fixture
def start_sentinels() -> Iterator[Callable[..., SentinelGroup]]:
    """Start a master, its replicas and sentinels, with the arguments of SentinelGroup; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(version: str = "8.2", **options: Any) -> SentinelGroup:
            _need(version)
            return stack.enter_context(SentinelGroup(version, **options))

        yield start


@pytest.fixture
def start_cluster() -> Iterator[Callable[..., ClusterGroup]]:
    """Start a cluster, with the arguments of ClusterGroup; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(version: str = "8.2", **options: Any) -> ClusterGroup:
            _need(version)
            return stack.enter_context(ClusterGroup(version, **options))

        yield start


@pytest.fixture
def start_proxy() -> Iterator[Callable[..., Proxy]]:
    """Put a proxy in front of a server, with the further arguments of Proxy; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(server: RedisServer, **options: Any) -> Proxy:
            return stack.enter_context(Proxy(HOST, server.port, **options))

        yield start


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of a worker's servers and clients."""
    return Authority(tmp_path_factory.mktemp("authority"))
