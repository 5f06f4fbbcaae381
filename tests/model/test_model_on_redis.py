"""The model beside circuits on a real Redis, under the model's clock: memory and Redis cannot drift apart."""

from __future__ import annotations

import atexit
import itertools
from functools import cache
from typing import TYPE_CHECKING

from hypothesis import settings

from recloser.backends.redis import RedisBackend
from recloser.backends.redis_link import RedisLink
from tests.model.test_model import STEPS, OneProcess, Process
from tests.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from recloser import Policy
    from recloser.core.events import Event
    from recloser.core.machine import Record

_numbers = itertools.count()


@cache
def server() -> RedisServer:
    """One server for every example; a state machine takes no fixtures."""
    started = RedisServer().start()
    atexit.register(started.close)
    return started


class PromptRedis(RedisBackend):
    """Redis asked on the thread of the call, whose subscribers hear of a swap before it returns, as in memory."""

    inline = True

    def swap(self, circuit: str, generation: int, record: Record, event: Event | None, *, clear: bool) -> bool:
        swapped = super().swap(circuit, generation, record, event, clear=clear)
        for listener in self._listeners if swapped else ():
            listener(circuit, record, record.since)
        return swapped


class OneProcessOnRedis(OneProcess):
    """One process on Redis."""

    def start(self, policy: Policy) -> list[Process]:
        link = RedisLink.from_url(server().url)
        self.backend = PromptRedis(link, namespace=f"model-{next(_numbers)}", now=self.clock.now)
        return [Process(self.backend, self.clock, policy) for _ in range(self.size)]

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "backend"):
            self.backend.close()


class TwoProcessesOnRedis(OneProcessOnRedis):
    """Two processes on Redis."""

    size = 2


EFFORT = settings(max_examples=60, stateful_step_count=STEPS)

TestOneProcessOnRedis = OneProcessOnRedis.TestCase
TestOneProcessOnRedis.settings = EFFORT
TestTwoProcessesOnRedis = TwoProcessesOnRedis.TestCase
TestTwoProcessesOnRedis.settings = EFFORT
