"""Fixtures of the tests of integrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recloser.testing import Sandbox
from tests.integrations.lines import attached, lonely

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

    from recloser.integrations.logs import PatternHandler


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A toolkit whose circuits trip at ten failures."""
    with Sandbox() as box:
        yield box


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger of the application that nobody else listens to."""
    with lonely("application") as log:
        yield log


@pytest.fixture
def read(box: Sandbox, log: logging.Logger) -> PatternHandler:
    """The handler, attached."""
    return attached(log, box)
