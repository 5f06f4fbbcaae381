"""Servers of other people, which the tests of applications run: started as their users start them, ended by pid."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def running(
    command: list[str], folder: Path, *, pass_fds: tuple[int, ...] = (), **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """A server of somebody else's, in processes that end with the test; of Recloser it must not say a word."""
    said = folder / "said.txt"
    with said.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
            pass_fds=pass_fds,
            text=True,
        )
    try:
        yield process
        text = said.read_text()
        assert "recloser" not in text, text
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(self.host)
