"""The table of services that were run, as the documentation shows it.

``python -m tests.voice.services`` writes docs/pipecat_services.md anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.voice.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PAGE", "table"]

PAGE = Path(__file__).parents[2] / "docs" / "pipecat_services.md"


def table() -> str:
    """A row for each circuit."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    yield "| circuit | hears | thinks | speaks |"
    yield "|---|---|---|---|"
    for circuit in sorted({family.circuit for family in FAMILIES}):
        yield f"| {circuit} | {_named(circuit, 'stt')} | {_named(circuit, 'llm')} | {_named(circuit, 'tts')} |"


def _named(circuit: str, kind: str) -> str:
    return ", ".join(f"`{each.class_name}`" for each in FAMILIES if (each.circuit, each.kind) == (circuit, kind))


if __name__ == "__main__":
    PAGE.write_text(table(), encoding="utf-8")
