"""Directives that read the package instead of repeating it: states, policy, outcomes, members of an enumeration."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
from dataclasses import fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from diagram import draw, edge_id
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from recloser import PausedError, Policy, State, classify
from recloser.core.duration import format_duration
from recloser.core.machine import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sphinx.application import Sphinx

    from recloser import Outcome

__all__ = ["setup"]

_log = logging.getLogger(__name__)


class _Table(SphinxDirective):
    """A directive that makes a table of texts in the page's own markup."""

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> nodes.table:
        """A table whose cells are parsed like the rest of the page."""
        group = nodes.tgroup(cols=len(head))
        group += [nodes.colspec(colwidth=1) for _ in head]
        group += nodes.thead("", self._row(head))
        group += nodes.tbody("", *(self._row(row) for row in rows))
        return nodes.table("", group, classes=["colwidths-auto"])

    def _row(self, cells: Sequence[str]) -> nodes.row:
        return nodes.row("", *(self._cell(text) for text in cells))

    def _cell(self, text: str) -> nodes.entry:
        entry = nodes.entry()
        if text:
            self.state.nested_parse(StringList([text], source=self.get_location()), self.content_offset, entry)
        return entry


class States(SphinxDirective):
    """The transition table as a diagram."""

    def run(self) -> list[nodes.Node]:
        """Warns, which fails the build, of an edge that is missing from the drawing."""
        drawing = draw(TABLE)
        for (state, cause), edge in TABLE.items():
            if f'data-edge="{edge_id(state, cause, edge.target)}"' not in drawing:
                told = f"{state} → {edge.target} ({cause})"
                _log.warning("%s is not in the drawing", told, location=self.get_location())
        return [nodes.raw("", drawing, format="html")]


class Transitions(_Table):
    """The transition table as it is."""

    def run(self) -> list[nodes.Node]:
        """In the order of the states."""
        rows = [
            (f"`{state.name}`", str(cause), f"`{edge.target.name}`", str(edge.event))
            for (state, cause), edge in sorted(TABLE.items(), key=lambda item: list(State).index(item[0][0]))
        ]
        return [self.table(("from", "because", "to", "event"), rows)]


class PolicyFields(_Table):
    """Every field of ``Policy`` with its default and its description, from its signature and its docstring."""

    def run(self) -> list[nodes.Node]:
        """Warns, which fails the build, of a field without a description."""
        described = _arguments(inspect.getdoc(Policy) or "")
        parameters = inspect.signature(Policy).parameters
        rows = []
        for field in (each for each in fields(Policy) if each.init):
            if field.name not in described:
                _log.warning("Policy.%s has no description", field.name, location=self.get_location())
            parameter = parameters[field.name]
            rows.append((f"`{field.name}`", _default(parameter), described.get(field.name, "")))
        return [self.table(("field", "default", "meaning"), rows)]


class Outcomes(_Table):
    """What ``classify`` makes of examples: lines of the form ``text | expression``, with a list for several."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Asks ``classify``, as a circuit would; warns when the examples of one line are not alike."""
        rows = []
        for line in self.content:
            text, _, expression = line.rpartition(" | ")
            examples = eval(expression, dict(_EXAMPLES))  # noqa: S307 - the examples are ours
            found = {_told(classify(each)) for each in (examples if isinstance(examples, list) else [examples])}
            if len(found) > 1:
                _log.warning("%s: not all alike: %s", text, found, location=self.get_location())
            rows.append((text, *found.pop()))
        return [self.table(("the call raised", "verdict", "kind", "asked to wait"), rows)]


def _told(outcome: Outcome) -> tuple[str, str, str]:
    wait = "" if outcome.retry_after is None else format_duration(outcome.retry_after)
    return f"**{outcome.verdict}**", "" if outcome.kind is None else f"`{outcome.kind}`", wait


class Members(_Table):
    """The members of an enumeration, with what its source says of each."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"upper": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Takes ``module:Class``."""
        module, _, name = self.arguments[0].partition(":")
        said = ModuleAnalyzer.for_module(module).find_attr_docs()
        rows = []
        for member in getattr(importlib.import_module(module), name):
            text = " ".join(said.get((name, member.name), ())).strip()
            if not text:
                _log.warning("%s.%s has no description", name, member.name, location=self.get_location())
            shown = member.name if "upper" in self.options else f'"{member}"'
            rows.append((f"`{shown}`", text))
        return [self.table((name.lower(), "meaning"), rows)]


class _Answered(Exception):  # noqa: N818 - stands for the exceptions of SDKs, which are read by their shape
    """An error that carries an HTTP answer where many SDKs carry it."""

    def __init__(self, status: int, body: object = None, **headers: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status_code = status
        self.body = body
        self.response = SimpleNamespace(
            status_code=status, headers={key.replace("_", "-"): value for key, value in headers.items()}
        )


_EXAMPLES = {
    "answered": _Answered,
    "CancelledError": asyncio.CancelledError,
    "paused": PausedError("deepgram", State.OPEN, "10 failures in 5m", "recloser", 0.0, 900.0),
    "group": lambda *errors: BaseExceptionGroup("several", errors),
}

_ARGUMENT = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def _arguments(docstring: str) -> dict[str, str]:
    """The ``Args:`` of a docstring, each on one line."""
    _, _, rest = docstring.partition("Args:\n")
    return {name: " ".join(text.split()) for name, text in _ARGUMENT.findall(rest.partition("\n\n")[0])}


def _default(parameter: inspect.Parameter) -> str:
    value = parameter.default
    return f'`"{value}"`' if isinstance(value, str) else f"`{value!r}`"


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directives."""
    app.add_directive("states", States)
    app.add_directive("transitions", Transitions)
    app.add_directive("policy-fields", PolicyFields)
    app.add_directive("outcomes", Outcomes)
    app.add_directive("members", Members)
    return {"parallel_read_safe": True}
