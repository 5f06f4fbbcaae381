"""A process of its own: runs one function of a benchmark, which speaks with the benchmark in lines of JSON.

The function is of this package and takes a :class:`Line` and what else it was started with.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["Line", "Member"]

ROOT = Path(__file__).parent.parent


class Line:
    """The member's end."""

    def __init__(self) -> None:
        # What libraries print must not get into the answers.
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._said = b""

    def say(self, what: object = None) -> None:
        """Tells the benchmark."""
        self._out.write(json.dumps(what) + "\n")
        self._out.flush()

    def hear(self) -> Any:
        """What the benchmark says next; without one, the process ends."""
        while b"\n" not in self._said:
            chunk = os.read(0, 65536)
            if not chunk:
                sys.exit()
            self._said += chunk
        line, _, self._said = self._said.partition(b"\n")
        return json.loads(line)

    def spoken_to(self) -> bool:
        """Whether the benchmark has said something; never waits."""
        return b"\n" in self._said or bool(select.select([0], [], [], 0)[0])


class Member:
    """The benchmark's end; use it in a `with`, after which the process is gone."""

    def __init__(self, function: Callable[..., object], **arguments: Any) -> None:
        command = [sys.executable, "-m", "benchmarks.member", f"{function.__module__}:{function.__name__}"]
        command.append(json.dumps(arguments))
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._said = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    @property
    def pid(self) -> int:
        """Of the process itself."""
        return self._process.pid

    def kill(self) -> None:
        """Kills it, and waits until it is gone."""
        self._process.kill()
        self._process.wait(10)

    def say(self, what: object = None) -> None:
        """Tells the member."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self, seconds: float = 60.0) -> Any:
        """What the member says next; TimeoutError when that is nothing, EOFError when it has ended."""
        assert self._process.stdout is not None
        end, number = time.monotonic() + seconds, self._process.stdout.fileno()
        while b"\n" not in self._said:
            left = end - time.monotonic()
            if left <= 0 or not select.select([number], [], [], left)[0]:
                raise TimeoutError(seconds)
            chunk = os.read(number, 65536)
            if not chunk:
                raise EOFError
            self._said += chunk
        line, _, self._said = self._said.partition(b"\n")
        return json.loads(line)

    def ask(self, what: object = None, seconds: float = 60.0) -> Any:
        """Tells the member, and hears what it answers."""
        self.say(what)
        return self.hear(seconds)

    def leave(self, seconds: float = 60.0) -> float:
        """Has it end; how long that took. TimeoutError when it does not."""
        assert self._process.stdin is not None
        began = time.monotonic()
        self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(seconds) from None
        return time.monotonic() - began


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    getattr(importlib.import_module(module), name)(Line(), **json.loads(sys.argv[2]))
