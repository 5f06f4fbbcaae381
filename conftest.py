"""Runs the examples of README.md, of the pages in docs and of every docstring: `uv run nox -s docs`."""

from __future__ import annotations

import ast
import doctest
import inspect
from typing import TYPE_CHECKING

import anyio
import pytest
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.evaluators.python import PythonEvaluator, pad
from sybil.parsers import myst, rest

from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until as wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@pytest.fixture(scope="session")
def REDIS() -> Iterator[str]:  # noqa: N802 - as the examples write it
    """The URL of a real server, for examples of a fleet."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture
def until() -> Callable[..., object]:
    """Waits for what other threads bring about; examples leave out how long."""
    return lambda look: wait_until(look, "what the example waits for") and None


# Each example has the `recloser` fixture of the pytest plugin: memory backend, manual clock.
pages = Sybil(
    [PageParser(), myst.SkipParser()], patterns=["*.md"], fixtures=["recloser", "REDIS", "until"], name="page"
)
docstrings = Sybil(
    [rest.DocTestParser(DOCTEST_FLAGS), rest.CodeBlockParser("python", AwaitingEvaluator()), rest.SkipParser()],
    path="src",
    patterns=["*.py"],
    document_types={".py": PythonDocStringDocument},
    fixtures=["recloser"],
    name="docstring",
)
pytest_collect_file = (pages + docstrings).pytest()
