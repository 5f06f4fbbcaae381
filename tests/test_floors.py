"""What `import recloser` costs an application that has not made a call yet."""

from __future__ import annotations

import subprocess
import sys

# Runs in an interpreter of its own: this one has long imported everything. The audit hook sees what happens in C, too.
PROBE = """
import sys, threading

opened = []
sys.addaudithook(lambda event, args: opened.append(event) if event.startswith(("socket.", "subprocess.")) else None)
import recloser
print(sorted({name.partition(".")[0] for name in sys.modules} & {"redis", "rich", "slack_sdk", "trio"}))
print(threading.active_count(), opened)

@recloser.circuit("tts")
def speak(): ...

@recloser.fallback("a", "b")
def say(provider): ...

@recloser.requires("tts", say)
def dial(): ...

print(threading.active_count(), opened)
"""


def test_importing_and_decorating_start_no_thread_open_no_socket_and_load_no_client() -> None:
    """A module that only imports and decorates costs nothing but memory, fork-safe pre-loading included."""
    probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    assert probe.stdout.splitlines() == ["[]", "1 []", "1 []"], probe.stderr
