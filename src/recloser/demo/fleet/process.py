"""The parent's end of a process of the fleet."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from recloser.demo.crew import GoneError
from recloser.demo.fleet import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recloser.demo.ledger import Call, HeldBack
    from recloser.demo.script import Lead

__all__ = ["Process"]

_READ_WITHIN = 1.0


class Process:
    """A process that calls leads.

    Args:
        number: which one, counted from 1.
        joins: what it is told first.
        heard: told of everything that it says, except about calls; on a thread of its own.
        gone: told that it has ended, on the same thread.
        at: turns Unix time into the time of notes.

    Attributes:
        number: which one.
        killed: whether it was killed here.
        trouble: what went wrong with what it said.
    """

    number: int
    killed: bool
    trouble: Exception | None

    def __init__(
        self,
        number: int,
        joins: Mapping[str, object],
        heard: Callable[[Process, dict[str, Any]], None],
        gone: Callable[[Process, tuple[Lead, ...]], None],
        at: Callable[[float], float],
    ) -> None:
        self.number = number
        self.killed = False
        self.trouble = None
        self._heard = heard
        self._gone = gone
        self._at = at
        self._lock = threading.Lock()
        self._ended = False
        self._calls: dict[int, tuple[Lead, queue.SimpleQueue[Call | HeldBack | None]]] = {}
        self._complaints: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # A session of its own: Ctrl-C is the parent's to hear.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recloser.demo.fleet.member"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
        )
        self._tell(wire.line(**joins))
        self._reader = threading.Thread(target=self._read, name=f"demo-process-{number}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its number with the operating system."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it says nothing any more."""
        return self._ended

    @property
    def busy(self) -> int:
        """How many leads it is calling."""
        return len(self._calls)

    def call(self, lead: Lead) -> Call | HeldBack:
        """Has it call ``lead``.

        Raises:
            GoneError: when it ends meanwhile.
        """
        answer: queue.SimpleQueue[Call | HeldBack | None] = queue.SimpleQueue()
        with self._lock:
            if self._ended:
                raise GoneError
            self._calls[lead.number] = lead, answer
        self._tell(wire.line(**wire.said_of(lead)))
        note = answer.get()
        if note is None:
            raise GoneError
        return note

    def why(self) -> str:
        """What it ended with."""
        code = self._process.wait()
        if self.killed:
            return "SIGKILL"
        with self._lock, suppress(ValueError):
            self._complaints.seek(0)
            last = self._complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
            return f"it ended by itself with {code}{': ' if last else ''}{last}"
        return f"it ended by itself with {code}"

    def kill(self) -> None:
        """SIGKILL."""
        self.killed = True
        self._process.kill()

    def dismiss(self) -> None:
        """Tells it that nothing more comes; it delivers what it has, and leaves."""
        with suppress(OSError):
            self._stdin.close()

    def close(self, within: float) -> None:
        """Waits so many seconds until it has left, and then helps it along."""
        self.dismiss()
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_READ_WITHIN)
        with self._lock:
            self._complaints.close()
        self._stdout.close()

    # -- the pipes ---------------------------------------------------------------------------------------------------

    @property
    def _stdin(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdin)

    @property
    def _stdout(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdout)

    def _tell(self, line: bytes) -> None:
        with self._lock, suppress(OSError, ValueError):  # it is gone, as its end of the other pipe will say
            self._stdin.write(line)
            self._stdin.flush()

    def _read(self) -> None:
        try:
            for line in self._stdout:
                if not line.endswith(b"\n"):
                    break  # cut short by its end
                said = json.loads(line)
                if "call" in said:
                    self._answer(said["call"])
                else:
                    self._heard(self, said)
        except Exception as error:  # noqa: BLE001 - a thread that died silently would leave the demo waiting
            self.trouble = error
        with self._lock:
            self._ended = True
            calls = tuple(self._calls.values())
        self._gone(self, tuple(lead for lead, _ in calls))
        for _, answer in calls:
            answer.put(None)

    def _answer(self, said: dict[str, Any]) -> None:
        with self._lock:
            lead, answer = self._calls.pop(said["lead"])
        answer.put(wire.call(said, lead, self._at, self.number))
