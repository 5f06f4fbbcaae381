"""A process of a fleet under test: runs what it is told over stdin, and answers over stdout, in lines of JSON.

A request is ``{"number": 1, "code": "1 + 1", "how": "main"}``. The code runs with the names that earlier code has left;
the value of its last line, if that is an expression, is the result. ``how`` says where: ``"main"`` on the main thread,
``"thread"`` on one of its own, ``"asyncio"`` or ``"trio"`` on a loop of its own, where code may await. The answer is
``{"number": 1, "result": 2}``, or ``{"number": 1, "error": "KeyError: 'x'"}`` for whatever was raised. Two more are
``{"cancel": 1}``, for a task on a loop, and ``{"leave": true}``, which is ``sys.exit()``.

What the library logs goes to stderr too: `WARNING ...`. Whatever else is there was said by the interpreter, or by
children.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import logging
import os
import queue
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# The lines of the answers; whatever else prints, and every child, has stderr instead.
_answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)

_writing = threading.Lock()
_scopes: dict[int, tuple[Any, Any]] = {}

logs: list[str] = []
"""What the library has logged, from warnings on."""


class _Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logs.append(self.format(record))
        sys.stderr.write(logs[-1] + "\n")


def _answer(**said: Any) -> None:
    line = json.dumps(said, default=repr)
    with _writing:
        _answers.write(line + "\n")
        _answers.flush()


def _compiled(code: str) -> Any:
    """The code, the value of its last line kept as ``_``."""
    tree = ast.parse(code, "<test>")
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        name = ast.Name("_", ast.Store())
        tree.body[-1] = ast.fix_missing_locations(ast.copy_location(ast.Assign([name], last.value), last))
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(tree, "<test>", "exec", flags=flags, dont_inherit=True)


def _run(number: int, code: str, names: dict[str, Any]) -> None:
    try:
        names.pop("_", None)
        exec(_compiled(code), names)
        _answer(number=number, result=names.get("_"))
    except SystemExit:
        raise
    except BaseException as error:
        _answer(number=number, error=f"{type(error).__name__}: {error}")


def _in_thread(number: int, code: str, names: dict[str, Any]) -> None:
    # What a thread leaves, the others do not see: two of them run side by side.
    _run(number, code, {**names})


def _in_loop(number: int, code: str, names: dict[str, Any], backend: str) -> None:
    import anyio
    import anyio.lowlevel

    async def work() -> None:
        with anyio.CancelScope() as scope:
            _scopes[number] = (scope, anyio.lowlevel.current_token())
            mine = {**names}
            try:
                running = eval(_compiled(code), mine)
                if inspect.iscoroutine(running):
                    await running
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:
                _answer(number=number, error=f"{type(error).__name__}: {error}")
            else:
                _answer(number=number, result=mine.get("_"))
        if scope.cancelled_caught:
            _answer(number=number, error="Cancelled: ")

    anyio.run(work, backend=backend)


def _cancel(number: int) -> None:
    import anyio.from_thread

    scope, token = _scopes[number]
    with contextlib.suppress(anyio.RunFinishedError):
        anyio.from_thread.run_sync(scope.cancel, token=token)


def _requests() -> Iterator[dict[str, Any]]:
    """What is asked for, as it comes; not read from `sys.stdin`, whose lock would be held when the process ends."""
    said = b""
    while chunk := os.read(0, 65536):
        *lines, said = (said + chunk).split(b"\n")
        yield from map(json.loads, lines)


def _listen(todo: queue.SimpleQueue[dict[str, Any]], names: dict[str, Any]) -> None:
    for request in _requests():
        number, code, how = request.get("number"), request.get("code"), request.get("how")
        if "cancel" in request:
            _cancel(request["cancel"])
        elif how == "thread":
            threading.Thread(target=_in_thread, args=(number, code, names), daemon=True).start()
        elif how in {"asyncio", "trio"}:
            threading.Thread(target=_in_loop, args=(number, code, names, how), daemon=True).start()
        else:
            todo.put(request)
    todo.put({"leave": True})


def child(url: str, namespace: str, successes: int, failures: int) -> None:
    """What a test has children of `multiprocessing` do, which import this module anew."""
    from recloser import Recloser

    tts = Recloser(url, namespace=namespace).circuit("tts", failures=None, window="1h")
    for _ in range(failures):
        tts.record_failure("down")
    for _ in range(successes):
        with tts:
            pass


def main() -> None:
    """Does one thing after the other until it is told to leave, or nobody is there any more who could."""
    keep = _Keep(logging.WARNING)
    keep.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.getLogger("recloser").addHandler(keep)
    names: dict[str, Any] = {"logs": logs, "__name__": "__main__"}
    todo: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(todo, names), daemon=True).start()
    while not (request := todo.get()).get("leave"):
        _run(request["number"], request["code"], names)
    sys.exit()


if __name__ == "__main__":
    main()
