"""One server, one event loop and one client of each kind for a module of tests: building clients is the slow part."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sdk.calls import Call, Run


@pytest.fixture(scope="module")
def shared_server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def server(shared_server: FaultServer) -> FaultServer:
    """A provider in good health that has not been asked anything."""
    shared_server.heal()
    shared_server.requests.clear()
    return shared_server


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs a coroutine on the loop that all async clients of the module live on."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def open_call(shared_server: FaultServer, run: Run) -> Iterator[Callable[..., Call]]:
    """The call of this name against the server or another URL, its client made once for each timeout."""
    from tests.sdk.calls import CALLS  # noqa: PLC0415 - so that the tests skip, not fail, without the SDKs

    made: dict[Any, Call] = {}
    with ExitStack() as stack:

        def open_one(name: str, *, url: str = shared_server.url, timeout: float = 10.0) -> Call:
            key = (name, url, timeout)
            if key not in made:
                made[key] = stack.enter_context(CALLS[name](url, run, timeout))
            return made[key]

        yield open_one
