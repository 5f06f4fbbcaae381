"""Fixtures that every test has: async tests run on asyncio and on trio, and must not block the event loop."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# Shared machines are slow by turns, so no example has a deadline; in CI every run tries the same examples.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops, in turn."""
    return request.param


@pytest.fixture(autouse=True)
def _no_blocking_in_event_loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """A blocking call of ours (a sleep, a file, a socket, a wait) fails an async test; seen on asyncio only."""
    if "anyio_backend" not in request.fixturenames:
        yield
        return
    with blockbuster_ctx("recloser"):
        yield
