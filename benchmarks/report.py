"""The tables: what was measured, as Markdown, and into the page of the documentation between its two markers."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NONE", "Section", "Target", "machine", "markdown", "write"]

NONE = "\N{EN DASH}"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True, slots=True)
class Target:
    """One number to reach.

    Attributes:
        what: what it is about.
        target: the number.
        reached: what was measured.
        met: whether that is good enough, by each way of measuring it.
    """

    what: str
    target: str
    reached: str
    met: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One table, and the targets that are read off it."""

    title: str
    about: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    targets: list[Target]


def machine() -> str:
    """Where it was measured: enough to compare with, nothing that names the machine."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    python = f"{platform.python_implementation()} {platform.python_version()}"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        python += " without the GIL"
    today = datetime.now(tz=UTC).date()
    return (
        f"Measured on {today} with {python} and wrapt {version('wrapt')}, on {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores ({model}), shared with other work."
    )


def markdown(sections: list[Section], note: str) -> str:
    """All targets first, then the tables that they are read off."""
    parts = [note]
    targets = [
        (target.what, target.target, target.reached, _verdict(target.met))
        for section in sections
        for target in section.targets
    ]
    if targets:
        parts += ["### Targets", _table(("what", "target", "reached", "met"), targets)]
    for section in sections:
        parts += [f"### {section.title}", section.about, _table(section.header, section.rows)]
    return "\n\n".join(parts)


def write(page: Path, text: str) -> None:
    """Puts ``text`` between the page's markers; what stands around them stays."""
    old = page.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        msg = f"{page} has no place for the tables: it needs the lines {BEGIN} and {END}"
        raise SystemExit(msg)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _verdict(met: tuple[bool, ...]) -> str:
    if all(met):
        return "yes"
    return "nearly" if any(met) else "**no**"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]

    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join((line(header), rule, *map(line, rows)))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
