"""The Redis backend keeps the contract on every server that we know, and the few things that are its own."""

from __future__ import annotations

import itertools
import select
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from recloser.backends.redis import RedisBackend
from recloser.backends.redis_link import RedisLink
from recloser.core.machine import Record, State
from recloser.errors import BackendError
from recloser.testing import ManualClock
from tests.contract.backend_contract import NAME, BackendContract, Bench, Sender, event
from tests.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count()


@pytest.fixture(scope="module", params=["8.2", "6.2"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of each version."""
    with RedisServer(request.param) as started:
        yield started


class TestRedisBackend(BackendContract):
    """Facts kept in a real server, on a manual clock that its scripts are told."""

    surplus = 200

    @pytest.fixture
    def bench(self, server: RedisServer) -> Iterator[Bench]:
        clock, run, made = ManualClock(1000.0), next(_numbers), []

        def make(clock: ManualClock, namespace: str) -> RedisBackend:
            # Every test a database of its own would need one for each; names do as well.
            backend = RedisBackend(RedisLink.from_url(server.url), namespace=f"{namespace}-{run}", now=clock.now)
            made.append(Pumped(backend))
            backend.namespace = namespace
            return backend

        yield Bench(clock, make)
        for each in made:
            each.close()

    def test_a_swap_whose_answer_was_lost_is_answered_like_the_first(
        self, backend: RedisBackend, sender: Sender, bench: Bench
    ) -> None:
        """Who tries once more is told that it was made; who tries the same from elsewhere is told that it was not."""
        sender.says()
        record = Record(generation=7, state=State.OPEN, since=1000.0, until=1060.0)
        assert [backend.swap(NAME, 0, record, event(7), clear=False) for _ in range(2)] == [True, True]
        assert len(backend.events(10)) == 1
        elsewhere = RedisBackend(backend._link, namespace=backend._root[len("recloser:{") : -2], now=bench.clock.now)
        assert not elsewhere.swap(NAME, 0, record, event(7), clear=False)


class Pumped:
    """What the courier does for a backend: it waits for messages and has them told."""

    def __init__(self, backend: RedisBackend) -> None:
        self._backend = backend
        backend.pump()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        while not self._over.is_set():
            with suppress(BackendError, OSError, ValueError):  # a test may close it at any moment
                fileno = self._backend.fileno()
                if fileno is None or select.select([fileno], [], [], 0.05)[0]:
                    self._backend.pump()

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)
        self._backend.close()
