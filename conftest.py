"""Runs the examples of README.md, of the pages in docs and of every docstring: `uv run nox -s docs`."""

from __future__ import annotations

import ast
import doctest
import inspect
from typing import TYPE_CHECKING

import anyio
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.evaluators.python import PythonEvaluator, pad
from sybil.parsers import myst, rest

if TYPE_CHECKING:
    from sybil import Example

DOCTEST_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class AwaitingEvaluator(PythonEvaluator):
    """Runs an example as `python -m asyncio` would: `await` needs no function around it."""

    def __call__(self, example: Example) -> None:
        source = pad(example.parsed, example.line + example.parsed.line_offset)
        flags = self.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, example.path, "exec", flags=flags, dont_inherit=True)
        running = eval(code, example.namespace)  # noqa: S307 - the examples are ours
        if inspect.iscoroutine(running):

            async def finish() -> None:
                await running

            anyio.run(finish)
        example.namespace.pop("__builtins__", None)


class PageParser(myst.PythonCodeBlockParser):
    """Fenced Python, as a script or as a session with >>> and ..., visible or in an HTML comment."""

    def __init__(self) -> None:
        super().__init__(doctest_optionflags=DOCTEST_FLAGS)
        self.codeblock_parser = myst.CodeBlockParser("python", AwaitingEvaluator())


# Each example has the `recloser` fixture of the pytest plugin: memory backend, manual clock.
pages = Sybil([PageParser(), myst.SkipParser()], patterns=["*.md"], fixtures=["recloser"], name="page")
docstrings = Sybil(
    [rest.DocTestParser(DOCTEST_FLAGS), rest.CodeBlockParser("python", AwaitingEvaluator()), rest.SkipParser()],
    path="src",
    patterns=["*.py"],
    document_types={".py": PythonDocStringDocument},
    fixtures=["recloser"],
    name="docstring",
)
pytest_collect_file = (pages + docstrings).pytest()
