"""The table of docs/parity.md, and the line of each of its rows: the test that a row names runs it as it is written."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

__all__ = ["HEADER", "PAGE", "ROOT", "Line", "Row", "line", "rows"]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "parity.md"
HEADER = "| What you had | The line now | What goes further | Test |"


@dataclass(frozen=True)
class Row:
    """A row of the table, cell by cell; `line` and `test` without their backticks."""

    had: str
    line: str
    further: str
    test: str


def rows() -> list[Row]:
    """All of them, in the order of the page."""
    found, within = [], False
    for text in PAGE.read_text("utf-8").splitlines():
        within = text == HEADER or (within and text.startswith("|"))
        if within and text != HEADER and not text.startswith("| ---"):
            had, code, further, test = text.removeprefix("| ").removesuffix(" |").split(" | ")
            found.append(Row(had, code.strip("`"), further, test.strip("`")))
    return found


class Line:
    """The line of a row."""

    def __init__(self, code: str) -> None:
        self.code = code

    async def arun(self, then: str = "", /, **names: Any) -> dict[str, Any]:
        """Run it where these names mean something, and what it takes to be a whole statement; the names afterwards."""
        code = compile(self.code + then, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        running = eval(code, names)
        if inspect.iscoroutine(running):
            await running
        return names

    def run(self, then: str = "", /, **names: Any) -> dict[str, Any]:
        """The same for a line that awaits nothing."""
        exec(compile(self.code + then, str(PAGE), "exec", dont_inherit=True), names)
        return names

    def value(self, **names: Any) -> Any:
        """What it returns, or evaluates to."""
        return eval(self.code.removeprefix("return "), names)


@pytest.fixture
def line(request: pytest.FixtureRequest) -> Line:
    """That of the row which names this test."""
    place = f"{request.path.relative_to(ROOT).as_posix()}::{request.function.__name__}"
    (found,) = [row.line for row in rows() if row.test == place]
    return Line(found)
