"""A process of a fleet under test: runs what it is told over stdin, and answers over stdout, in lines of JSON.

A request is ``{"number": 1, "code": "1 + 1", "how": "main"}``. The code runs with the names that earlier code has left;
the value of its last line, if that is an expression, is the result. ``how`` says where: ``"main"`` on the main thread,
``"thread"`` on one of its own, ``"asyncio"`` or ``"trio"`` on a loop of its own, where code may await. The answer is
``{"number": 1, "result": 2}``, or ``{"number": 1, "error": "KeyError: 'x'"}`` for whatever was raised. Two more are
``{"cancel": 1}``, for a task on a loop, and ``{"leave": true}``, which is ``sys.exit()``.

What the library logs goes to stderr too: `WARNING ...`. Whatever else is there was said by the interpreter, or by
children.

Members are forked, by a process that has imported what there is to import and has done nothing else: an interpreter
that starts by itself takes a quarter of a second of computing, and there are hundreds of them.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import inspect
import json
import logging
import os
import queue
import select
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_answers: TextIO
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
    global _answers  # noqa: PLW0603 - of the process
    # The lines of the answers; whatever else prints, and every child, has stderr instead.
    _answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    keep = _Keep(logging.WARNING)
    keep.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.getLogger("recloser").addHandler(keep)
    names: dict[str, Any] = {"logs": logs, "__name__": "__main__"}
    todo: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(todo, names), daemon=True).start()
    while not (request := todo.get()).get("leave"):
        _run(request["number"], request["code"], names)
    sys.exit()


def bear(line: socket.socket) -> None:
    """Forks a member for each message, with the three descriptors that come with it; returns in each member.

    The answer is ``[pid, null]``, and ``[pid, status]`` when it has ended.
    """
    ended, end = os.pipe()
    os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(end)
    while True:
        ready, _, _ = select.select([line, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            with contextlib.suppress(ChildProcessError):
                while (found := os.waitpid(-1, os.WNOHANG))[0]:
                    line.sendall(json.dumps([found[0], os.waitstatus_to_exitcode(found[1])]).encode() + b"\n")
        if line in ready:
            said, descriptors, _, _ = socket.recv_fds(line, 1, 3)
            if not said:
                sys.exit()
            mother = os.getpid()
            if pid := os.fork():
                for each in descriptors:
                    os.close(each)
                line.sendall(json.dumps([pid, None]).encode() + b"\n")
                continue
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            line.close()
            os.close(ended)
            os.close(end)
            os.setsid()
            for number, each in enumerate(descriptors):
                os.dup2(each, number)
                os.close(each)
            die_with(mother)
            return


def die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent dies, however it does; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    import anyio
    import trio

    import recloser
    import recloser.backends.redis

    assert anyio
    assert trio
    assert recloser
    die_with(os.getppid())
    bear(socket.socket(fileno=os.dup(0)))
    main()
