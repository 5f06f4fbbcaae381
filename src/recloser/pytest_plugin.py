"""The pytest plugin: the ``recloser`` fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recloser.testing import Sandbox

__all__ = ["recloser"]


@pytest.fixture
def recloser() -> Iterator[Sandbox]:
    """A toolkit of this test's own: fresh memory backend, manual clock, ``trip``, ``heal``, recorded ``events``.

    Decorators written at module level, and the functions of the package, use it while the test runs.
    """
    # Imported here, so that a test run that does not ask for the fixture does not load the package.
    from recloser.testing import Sandbox  # noqa: PLC0415

    with Sandbox() as sandbox:
        yield sandbox
