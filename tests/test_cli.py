"""The command line: what it says, what it exits with, and how it leaves when somebody ends it early."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from recloser import cli
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-m", "recloser"]
BOUND = 15


def say(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=BOUND, check=False)


def test_help_shows_the_commands_an_example_and_the_exit_codes():
    """`recloser --help` is enough to begin with."""
    said = say("--help")
    assert said.returncode == 0
    assert "demo" in said.stdout
    assert "examples:" in said.stdout
    assert "exit codes:" in said.stdout


def test_help_of_the_demo_explains_it_and_every_option():
    """`recloser demo --help` says what will be seen."""
    said = say("demo", "--help")
    assert said.returncode == 0
    for word in ("--seconds", "--seed", "--plain", "--picture", "--fleet", "--redis", "dialling paused", "examples:"):
        assert word in said.stdout


def test_version_is_that_of_the_package():
    """`recloser --version` names the installed version."""
    assert say("--version").stdout == f"recloser {version('recloser')}\n"


def test_without_a_command_the_help_comes_on_stderr():
    """A bare `recloser` is a usage error that helps."""
    said = say()
    assert (said.returncode, said.stdout) == (2, "")
    assert "usage: recloser" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["demo", "--seconds", "2"], "argument --seconds: '2' is not possible: a number from 3 to 3600"),
        (["demo", "--seconds", "0"], "a number from 3 to 3600"),
        (["demo", "--seconds", "-5"], "a number from 3 to 3600"),
        (["demo", "--seconds", "nan"], "a number from 3 to 3600"),
        (["demo", "--seconds", "inf"], "a number from 3 to 3600"),
        (["demo", "--seconds", "soon"], "'soon' is not possible"),
        (["demo", "--seed", "1.5"], "argument --seed: '1.5' is not possible: a whole number"),
        (["demo", "--fleet", "1"], "argument --fleet: '1' is not possible: a whole number from 2 to 16"),
        (["demo", "--fleet", "17"], "a whole number from 2 to 16"),
        (["demo", "--fleet", "many"], "'many' is not possible"),
        (
            ["demo", "--redis", "redis://:s3cr3t@localhost"],
            "--redis = 'URL' is not possible: only together with --fleet",
        ),
        (["demo", "--sec", "3"], "unrecognized arguments: --sec 3"),
        (["demo", "extra"], "unrecognized arguments: extra"),
        (["demo", "--picture", "/no/such/place/day.svg"], "'/no/such/place/day.svg' is not possible"),
        (["demo", "--picture", "."], "'.' is not possible: a file in a directory that can be written to"),
        (["dance"], "invalid choice: 'dance'"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(arguments, complaint, capsys):
    """What is wrong, what is possible, exit code 2, and no usage text around it."""
    try:
        code = cli.main(arguments)
    except SystemExit as left:
        code = left.code
    said = capsys.readouterr()
    assert code == 2
    assert complaint in said.err
    assert (said.err.count("\n"), said.out) == (1, "")


def test_help_loads_neither_the_demo_nor_rich():
    """What a command needs is imported when it runs, so that help is quick."""
    program = (
        "import sys; from recloser import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'recloser.demo', 'rich', 'http.server', 'redis'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=BOUND, check=False)
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt(), 130), (ConfigurationError("mode", "loud", "one of 'off'"), 2)]
)
def test_what_a_command_raises_becomes_an_exit_code(raised, code, monkeypatch, capsys):
    """Ctrl-C and impossible settings end a command without a traceback."""

    def run(_):
        raise raised

    monkeypatch.setattr(cli.demo, "_run_demo", run)
    assert cli.main(["demo"]) == code
    said = capsys.readouterr().err
    assert said == ("recloser: mode = 'loud' is not possible: one of 'off'\n" if code == 2 else "")


@contextmanager
def begun(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The demo as lines, once the first call is told of, and the port that its providers listen on."""
    process = subprocess.Popen(
        [*COMMAND, "demo", "--plain", "--seconds", "30", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port = 0
        for line in process.stdout:
            if "127.0.0.1:" in line:
                port = int(line.partition("127.0.0.1:")[2].partition(";")[0])
            if "s  call  " in line:
                break
        yield process, port
    finally:
        process.kill()
        process.communicate()


@pytest.mark.realtime
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_demo_cleanly(signum, code):
    """No traceback, the summary so far, the server gone, and the exit code that shells expect."""
    with begun() as (process, port):
        process.send_signal(signum)
        out, err = process.communicate(timeout=BOUND)
    assert process.returncode == code
    assert err == ""
    assert "What it saved" in out
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


@pytest.mark.realtime
def test_a_reader_that_has_had_enough_ends_the_demo_quietly():
    """`recloser demo | head -1` leaves no traceback behind."""
    with begun() as (process, _):
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=BOUND) == 141
    assert err == ""


class Terminal:
    """A terminal that a command runs in: what it writes, in bytes, and what it ends with."""

    def __init__(self, arguments: list[str], *, rows: int = 30, columns: int = 100, **environment: str) -> None:
        import pty  # noqa: PLC0415 - there is none on Windows
        import termios  # noqa: PLC0415

        self.screen = b""
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (rows, columns))
        known = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "LINES", "COLUMNS"}}
        env = {**known, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment}
        self.process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, env=env)
        os.close(slave)

    def read_until(self, words: bytes | None) -> bytes:
        """Everything up to these words, or to the end."""
        until = time.monotonic() + BOUND
        while words is None or words not in self.screen:
            assert select.select([self._master], [], [], max(0.0, until - time.monotonic()))[0], self.screen[-500:]
            try:
                read = os.read(self._master, 65536)
            except OSError:  # Linux's word for the end of a terminal
                read = b""
            if not read:
                assert words is None, self.screen[-500:]
                break
            self.screen += read
        return self.screen

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal():
    """Opens terminals, and closes them."""
    pytest.importorskip("pty")
    opened: list[Terminal] = []

    def open_one(*arguments: str, **options) -> Terminal:
        opened.append(Terminal([*COMMAND, *arguments], **options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


ENTERED, LEFT, CURSOR_BACK = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


@pytest.mark.realtime
def test_the_live_view_shows_the_day_and_gives_the_terminal_back(terminal):
    """Circuits, calls and events on a screen of their own, and the summary where it stays."""
    pytest.importorskip("rich")
    live = terminal("demo", "--seconds", "3")
    shown = live.read_until(None)
    assert live.process.wait(BOUND) == 0
    screen, _, after = shown.partition(LEFT)
    assert ENTERED in screen
    for words in ("CIRCUIT", "DIALLING", "SPOKEN BY", "WHAT HAPPENED", "AVOIDED", " OPEN ", " PAUSED ", "speaks now"):
        assert words.encode() in screen
    assert CURSOR_BACK in shown
    assert b"What it saved" in after
    assert b"Traceback" not in shown


@pytest.mark.realtime
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_gives_the_terminal_back(signum, code, terminal):
    """Leaving early leaves no screen, no hidden cursor and no traceback behind."""
    pytest.importorskip("rich")
    live = terminal("demo")
    live.read_until(b"DIALLING")
    live.process.send_signal(signum)
    shown = live.read_until(None)
    assert live.process.wait(BOUND) == code
    assert LEFT in shown
    assert CURSOR_BACK in shown[shown.rindex(b"DIALLING") :]
    assert b"Traceback" not in shown


@pytest.mark.realtime
def test_a_tiny_terminal_breaks_nothing(terminal):
    """Sixty columns and six lines show what fits."""
    pytest.importorskip("rich")
    live = terminal("demo", rows=6, columns=60)
    live.read_until(b"elevenlabs")
    live.process.send_signal(signal.SIGINT)
    assert b"Traceback" not in live.read_until(None)
    assert live.process.wait(BOUND) == 130


@pytest.mark.realtime
def test_no_color_is_respected(terminal):
    """NO_COLOR keeps the view and takes its colours away."""
    pytest.importorskip("rich")
    live = terminal("demo", NO_COLOR="1")
    shown = live.read_until(b"CLOSED")
    assert ENTERED in shown
    assert not any(code in shown for code in (b"\x1b[31m", b"\x1b[32m", b"\x1b[1;31m", b"\x1b[36m"))


@pytest.mark.realtime
def test_a_dumb_terminal_gets_lines(terminal):
    """TERM=dumb is a terminal that cannot place its cursor."""
    shown = terminal("demo", TERM="dumb").read_until(b"s  call  ")
    assert b"\x1b" not in shown


@pytest.mark.realtime
def test_without_rich_there_are_lines_and_a_hint(terminal):
    """The live view is an extra; its absence is said in one line."""
    program = "import sys; sys.modules['rich'] = None; from recloser.cli import main; sys.exit(main(['demo']))"
    opened = Terminal([sys.executable, "-c", program])
    try:
        shown = opened.read_until(b"s  call  ")
    finally:
        opened.close()
    assert b"For the live view: pip install 'recloser[demo]'" in shown
    assert b"\x1b" not in shown
