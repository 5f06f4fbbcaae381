"""The frameworks that integrations are for: whether the one that is needed is there, and new enough."""

from __future__ import annotations

import re
from importlib import metadata

__all__ = ["need"]


def need(module: str, distribution: str, oldest: str) -> None:
    """Raises ImportError, with the cure, unless ``distribution`` is installed in version ``oldest`` or a newer one.

    Args:
        module: the integration that needs it.
        distribution: as on PyPI.
        oldest: the oldest release that the integration was run with.
    """
    cure = f"pip install -U '{distribution}>={oldest}'"
    try:
        found = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        message = f"{module} needs {distribution} {oldest} or newer, which is not installed: {cure}"
        raise ModuleNotFoundError(message, name=distribution) from None
    if _numbers(found) < _numbers(oldest):
        message = f"{module} needs {distribution} {oldest} or newer, and {found} is installed: {cure}"
        raise ImportError(message, name=distribution)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]
