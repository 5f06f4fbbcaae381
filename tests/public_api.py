"""Every public name with its signature, as text: `uv run nox -s api` writes it to public_api.txt beside this file."""

from __future__ import annotations

import enum
import importlib
import importlib.util
import inspect
import re
import typing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SNAPSHOT = Path(__file__).with_name("public_api.txt")
MODULES = (
    "recloser",
    "recloser.alerts",
    "recloser.integrations.livekit",
    "recloser.integrations.logs",
    "recloser.integrations.pipecat",
    "recloser.integrations.starlette",
    "recloser.integrations.telephony",
    "recloser.testing",
)
OPTIONAL = {"recloser.integrations.livekit": "livekit.agents", "recloser.integrations.pipecat": "pipecat"}
"""Modules for packages that not every session installs; without the package their lines stay as they were."""
CALLING = {"__call__", "__enter__", "__aenter__"}
"""Ways to use an object that have no name of their own in the user's code."""


def render() -> str:
    """The whole public API, one name a line."""
    return "".join(f"{line}\n" for name in MODULES for line in _lines(name))


def _lines(name: str) -> Iterator[str]:
    if name not in OPTIONAL or _installed(OPTIONAL[name]):
        yield from _module(importlib.import_module(name))
    else:
        mine = re.compile(rf"\s*([a-z]+ )*{re.escape(name)}\.")
        yield from (line for line in SNAPSHOT.read_text(encoding="utf-8").splitlines() if mine.match(line))


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even what it would be in
        return False


def _module(module: ModuleType) -> Iterator[str]:
    for name in sorted(module.__all__):
        path, value = f"{module.__name__}.{name}", inspect.getattr_static(module, name)
        if inspect.isclass(value):
            yield from _class(path, value)
        elif callable(value):
            yield from _function("def", path, value)
        else:
            yield f"{path}: {type(value).__name__}"


def _class(path: str, kind: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in kind.__bases__ if base is not object)
    yield f"class {path}{f'({bases})' if bases else ''}"
    if not issubclass(kind, enum.Enum):  # how an enum is called is the standard library's business
        yield f"  {path}{_signature(kind)}"
    for name in sorted(_members(kind)):
        yield from (f"  {line}" for line in _member(f"{path}.{name}", kind, name))


def _members(kind: type) -> set[str]:
    """The public names of a class, with those of its bases that are ours too."""
    ours = [base for base in kind.__mro__ if base.__module__.partition(".")[0] == "recloser"]
    names = {name for base in ours for name in {*vars(base), *_annotations(base)}}
    return {name for name in names if not name.startswith("_") or name in CALLING}


def _member(path: str, owner: type, name: str) -> Iterator[str]:
    value = inspect.getattr_static(owner, name, None)
    annotation = next((_annotations(base)[name] for base in owner.__mro__ if name in _annotations(base)), None)
    if isinstance(value, enum.Enum):
        yield f"{path} = {value.value!r}"
    elif isinstance(value, property):
        yield f"{path} -> {_Shown(inspect.signature(value.fget).return_annotation)!r}"
    elif isinstance(value, classmethod | staticmethod):
        yield from _function(type(value).__name__, path, getattr(owner, name))
    elif inspect.isroutine(value):
        yield from _function("async def" if inspect.iscoroutinefunction(value) else "def", path, value)
    else:
        yield f"{path}: {type(value).__name__ if annotation is None else repr(_Shown(annotation))}"


def _function(keyword: str, path: str, value: object) -> Iterator[str]:
    for each in typing.get_overloads(value) or [value]:
        yield f"{keyword} {path}{_signature(each)}"


def _annotations(kind: type) -> dict[str, object]:
    return vars(kind).get("__annotations__", {})


class _Shown:
    """An annotation as its author wrote it, without the quotes that inspect puts around one that is a string."""

    def __init__(self, annotation: object) -> None:
        self.annotation = getattr(annotation, "__forward_arg__", annotation)

    def __repr__(self) -> str:
        return self.annotation if isinstance(self.annotation, str) else inspect.formatannotation(self.annotation)


def _signature(value: object) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    empty = inspect.Signature.empty
    parameters = [
        each if each.annotation is empty else each.replace(annotation=_Shown(each.annotation))
        for each in signature.parameters.values()
    ]
    returned = signature.return_annotation
    signature = signature.replace(
        parameters=parameters,
        return_annotation=returned if returned is empty else _Shown(returned),
    )
    return re.sub(r" at 0x[0-9a-f]+", "", str(signature))  # the address of a default is nobody's API


if __name__ == "__main__":
    SNAPSHOT.write_text(render(), encoding="utf-8")
