"""The workers of the night: real processes, which know each other only by Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.alerts.slack_server import TOKEN

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from tests.alerts.slack_server import SlackServer

__all__ = ["NAMESPACE", "Fleet"]

NAMESPACE = "night"


class Fleet:
    """So many workers; use it in a ``with``.

    Args:
        size: how many.
        redis: the URL of the Redis that they share.
        providers: where they find their providers.
        slack: where they tell people.
        out: the folder for what they log.
    """

    def __init__(self, size: int, *, redis: str, providers: str, slack: SlackServer, out: Path) -> None:
        self.names = [f"worker {number}" for number in range(1, size + 1)]
        self._out = out
        self._processes: list[subprocess.Popen[bytes]] = []
        # [environment
        self._environment = {
            "RECLOSER_BACKEND": redis,
            "RECLOSER_NAMESPACE": NAMESPACE,
            "RECLOSER_SLACK_TOKEN": TOKEN,
            "RECLOSER_SLACK_CHANNEL": "#alerts",
            "RECLOSER_SLACK_MENTIONS": "here",
            # environment]
            "RECLOSER_SLACK_API": f"{slack.url}/api/",
            "PROVIDERS_URL": providers,
            "LEADS_URL": redis,
        }

    def __enter__(self) -> Self:
        for name in self.names:
            with (self._out / f"{name.replace(' ', '-')}.log").open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - this interpreter
                    [sys.executable, "-m", "examples.voice_platform.app.worker", name],
                    env={**os.environ, **self._environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self._processes.append(process)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def check(self) -> None:
        """Raises RuntimeError when a worker has died."""
        for name, process in zip(self.names, self._processes, strict=True):
            if process.poll() is not None:
                msg = f"{name} has died, see its log in {self._out}"
                raise RuntimeError(msg)
