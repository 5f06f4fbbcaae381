"""Voices need Pipecat, and asyncio."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import re
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recloser import Recloser
from recloser.integrations import attribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults import FaultServer

HAS_PIPECAT = importlib.util.find_spec("pipecat") is not None


if HAS_PIPECAT:
    with warnings.catch_warnings():
        # What Pipecat and what it needs say when they are imported is not for this suite to hear.
        warnings.simplefilter("ignore", DeprecationWarning)
        for _module in ("llm_service", "stt_service", "tts_service", "websocket_service"):
            importlib.import_module(f"pipecat.services.{_module}")


EVERY_RELEASE = {"test_corners.py", "test_older_release.py"}
"""What runs under the oldest release that the integration is for as well."""


def why_not(module: str) -> str | None:
    """Why a module of tests cannot run here, if it cannot."""
    if not HAS_PIPECAT:
        return "pipecat is not installed"
    found = metadata.version("pipecat-ai")
    if module in EVERY_RELEASE or tuple(int(part) for part in re.findall(r"\d+", found)[:2]) >= (1, 14):
        return None
    return f"these tests are for pipecat 1.14 and newer, and {found} is installed"


class Missing(pytest.Module):
    """A module of tests that is skipped, with a reason, before it is imported."""

    def collect(self) -> Iterator[pytest.Item]:
        pytest.skip(why_not(self.path.name) or "", allow_module_level=True)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Tests in this folder import what imports Pipecat."""
    if Path(__file__).parent not in module_path.parents or why_not(module_path.name) is None:
        return None
    return Missing.from_parent(parent, path=module_path)


@pytest.fixture(autouse=True, scope="module")
def _collected() -> Iterator[None]:
    """What is left to the collector is collected here, and not in a test of something else."""
    yield
    gc.collect()


@pytest.fixture
def anyio_backend() -> str:
    """Pipecat is asyncio's."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Pipecat logs to loguru, on stderr, and much."""
    from loguru import logger  # noqa: PLC0415 - it comes with Pipecat

    logger.disable("pipecat")
    yield
    logger.enable("pipecat")


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said once in a process is said once in a test."""
    monkeypatch.setattr(attribution, "_said", set())


@pytest.fixture
def toolkit() -> Iterator[Recloser]:
    """A fleet of one process."""
    with Recloser() as toolkit:
        toolkit.status()  # looks for alert hooks on the disk, once
        yield toolkit


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A websocket that does not open is given up after 10 s; nobody waits for that here."""
    from tests.voice.family import impatience  # noqa: PLC0415 - as above

    for defaults, name, value in impatience():
        monkeypatch.setitem(defaults, name, value)


@pytest.fixture
def provider() -> Iterator[FaultServer]:
    """A provider of anything."""
    from tests.faults import FaultServer  # noqa: PLC0415 - as above

    with FaultServer() as server:
        yield server
