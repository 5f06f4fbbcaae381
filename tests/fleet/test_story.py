"""Three in the morning, on a terminal: five processes, an outage, and an operator with nothing but the URL.

``RECLOSER_RECORD=docs/operating_story.txt`` writes down what the terminal showed; the documentation includes it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fleet.members import members
from tests.servers.fixtures import namespace, redis_8, start_redis

if TYPE_CHECKING:
    from tests.fleet.members import Members
    from tests.servers.redis_server import RedisServer

__all__ = ["members", "namespace", "redis_8", "start_redis"]

pytestmark = pytest.mark.realtime

APP = """
@toolkit.fallback("elevenlabs", "cartesia")
def speak(provider):
    return provider

@toolkit.requires(speak, "twilio")
def dial():
    return speak()

toolkit.circuit("cartesia").allows(); toolkit.circuit("twilio").allows()
"""


EVENTS = (
    "twilio  paused: billing is being looked into (by ana)",
    "elevenlabs  policy changed: failures=5 (was 10), window=2m (was 5m) (by ana)",
    "all circuits  policy changed: speak: order=cartesia (was elevenlabs,cartesia) (by ana)",
    "elevenlabs  resumed by hand (by bob)",
)


class Terminal:
    """Runs commands as somebody would who has the URL in the environment."""

    def __init__(self, url: str, namespace: str) -> None:
        self.environment = {**os.environ, "RECLOSER_BACKEND": url, "RECLOSER_NAMESPACE": namespace, "TZ": "UTC"}
        self.shown: list[str] = []

    def run(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "recloser", *words],
            env=self.environment, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        said = done.stdout + done.stderr
        quoted = shlex.join(words)
        self.shown += [f"$ recloser {quoted}", *said.splitlines(), ""]
        assert done.returncode == code, said
        return said


def test_a_night(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """Each command is seen by every process in milliseconds, and in the events with its actor."""
    fleet = members.fleet(5, redis_8.url, namespace, name="elevenlabs", failures=10, window="5m", cooldown=900)
    for member in fleet:
        member.run(APP)
        assert member.run("dial()") == "elevenlabs"
    terminal = Terminal(redis_8.url, namespace)

    def seen(code: str) -> None:
        began = time.monotonic()
        for member in fleet:
            member.until(code)
        terminal.shown += [f"# in all five processes {1000 * (time.monotonic() - began):.0f} ms later: {code}", ""]

    assert "elevenlabs" in terminal.run("status")
    for member in fleet:
        member.run("failed(2)")
    for member in fleet:
        member.until("tts.state is State.OPEN")
        assert member.run("dial()") == "cartesia"
    frame = terminal.run("watch", "--frames", "1")
    assert re.search(r"elevenlabs\s+OPEN\s+\d+\s+10 ", frame)
    assert "answered by cartesia" in frame
    why = terminal.run("explain", "elevenlabs")
    assert "10 failures in 5m" in why
    assert "affects: " in why
    terminal.run("pause", "twilio", "--reason", "billing is being looked into", "--by", "ana")
    seen('toolkit.circuit("twilio").state is State.PAUSED')
    terminal.run("check", "--paused", code=1)
    terminal.run("policy", "set", "elevenlabs", "failures=5", "window=2m", "--by", "ana")
    seen("(tts.policy.failures, tts.policy.window) == (5, 120.0)")
    assert re.search(r"failures\s+5\s+live, by ana", terminal.run("policy", "show", "elevenlabs"))
    terminal.run("policy", "set", "speak", "order=cartesia", "--by", "ana")
    seen('speak.order == ("cartesia",)')
    terminal.run("resume", "twilio", "--by", "ana")
    seen('toolkit.circuit("twilio").state is State.CLOSED')
    terminal.run("policy", "unset", "speak", "--by", "bob")
    terminal.run("resume", "*", "--by", "bob", code=2)
    terminal.run("resume", "*", "--by", "bob", "--yes")
    seen('dial() == "elevenlabs"')
    assert "did you mean elevenlabs?" in terminal.run("explain", "elvenlabs", code=2)
    events = terminal.run("events")
    for words in EVENTS:
        assert words in events
    if "RECLOSER_RECORD" in os.environ:
        text = "\n".join(terminal.shown)
        text = re.sub(r"<test>:\d+", "agent/voice.py:12", text.replace(namespace, "prod"))
        text = re.sub(r"127\.0\.0\.1:\d+", "localhost:6379", text)
        Path(os.environ["RECLOSER_RECORD"]).write_text(text, "utf-8")
