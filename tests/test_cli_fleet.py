"""The commands for operators, on a real Redis: what they print, what they exit with, and what bad input gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recloser import Recloser, cli
from recloser.cli.completion import candidates
from tests.servers.fixtures import namespace, redis_6, redis_8, redis_any, start_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.redis_server import RedisServer

__all__ = ["namespace", "redis_6", "redis_8", "redis_any", "start_redis"]

pytestmark = pytest.mark.realtime


@pytest.fixture
def fleet(redis_8: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recloser]:
    """A fleet of one process with two azure circuits and a fallback; the environment names it."""
    monkeypatch.setenv("RECLOSER_BACKEND", redis_8.url)
    monkeypatch.setenv("RECLOSER_NAMESPACE", namespace)
    monkeypatch.delenv("RECLOSER_RULES", raising=False)
    toolkit = Recloser(redis_8.url, namespace=namespace, alerts=[])
    built = [toolkit.circuit(name, failures=2) for name in ("azure-stt", "azure-tts", "elevenlabs")]
    speak = toolkit.fallback("elevenlabs", "azure-tts")
    assert [each.allows() for each in built] == [True] * 3
    assert toolkit.ready()
    for each in built:
        each.record_success()
    toolkit.status()
    toolkit.engine.notices.turn()
    yield toolkit
    assert speak.order == ("elevenlabs", "azure-tts")
    toolkit.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command here; its exit code, and what it wrote."""

    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = cli.main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        return (code, *capsys.readouterr())

    return run


def test_status_for_people_and_for_programs(fleet, run):
    """A table, or all of it as JSON."""
    fleet.pause("elevenlabs", reason="maintenance", by="ana", for_="30m")
    code, out, _ = run("status")
    assert code == 0
    assert "elevenlabs  PAUSED" in out
    assert "maintenance (by ana)" in out
    assert "in 30m" in out or "in 29m" in out
    said = json.loads(run("status", "--json")[1])
    assert said["circuits"]["elevenlabs"]["state"] == "paused"
    assert list(said["fallbacks"].values()) == ["azure-tts"]
    assert said["processes"] == 1
    why = json.loads(run("explain", "elevenlabs", "--json")[1])
    assert (why["snapshot"]["by"], why["policy"]["failures"]) == ("ana", 2)


def test_a_pause_and_a_resume_are_in_the_events_with_their_actor(fleet, run, monkeypatch):
    """By default the login name."""
    monkeypatch.setenv("LOGNAME", "operator")
    assert run("pause", "elevenlabs", "--reason", "billing", "--for", "30m") == (
        0,
        "elevenlabs is paused by operator\n",
        "",
    )
    assert run("resume", "elevenlabs", "--by", "ana") == (0, "elevenlabs is resumed by ana\n", "")
    said = "elevenlabs was closed already; its window is empty\n"
    assert run("resume", "elevenlabs", "--by", "ana") == (0, said, "")
    code, out, _ = run("events", "elevenlabs")
    assert code == 0
    assert "paused: billing (by operator)" in out
    assert "resumed by hand (by ana)" in out
    kinds = [json.loads(line)["kind"] for line in run("events", "--json", "--last", "2")[1].splitlines()]
    assert kinds == ["paused", "resumed by hand"]


def test_a_glob_over_several_circuits_has_to_be_confirmed(fleet, run, monkeypatch):
    """Nobody can be asked where no terminal is; --yes is for scripts."""
    code, out, err = run("pause", "azure-*", "--reason", "x", "--by", "ana")
    assert (code, out) == (2, "")
    assert "2 circuits are meant (azure-stt, azure-tts)" in err
    assert fleet.status().paused == ()
    assert run("pause", "azure-*", "--reason", "x", "--by", "ana", "--yes")[0] == 0
    assert fleet.status().paused == ("azure-stt", "azure-tts")
    assert run("resume", "azure-t*", "--by", "ana")[0] == 0
    assert fleet.status().paused == ("azure-stt",)


def test_policies_are_shown_set_and_taken_back(fleet, run):
    """Each value with its origin; all of a command, or nothing."""
    assert run("policy", "set", "elevenlabs", "failures=5", "window=2m", "--by", "ana") == (
        0, "elevenlabs: failures=5 (was 2), window=2m (was 5m)\n", ""
    )  # fmt: skip
    shown = json.loads(run("policy", "show", "elevenlabs", "--json")[1])
    assert shown["failures"]["value"] == 5
    assert shown["failures"]["origin"].startswith("live, by ana")
    assert run("policy", "set", "cooldown=5m", "mode=observe", "--by", "ana")[0] == 0
    assert "observe" in run("policy", "show")[1]
    assert run("policy", "unset", "cooldown", "mode", "--by", "ana")[0] == 0
    assert (
        run("policy", "unset", "elevenlabs", "--by", "ana")[1] == "elevenlabs: failures=2 (was 5), window=5m (was 2m)\n"
    )
    assert run("policy", "unset", "elevenlabs", "--by", "ana")[1] == "nothing was set, and nothing is changed\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain", "elevenlab"), "did you mean elevenlabs?"),
        (("pause", "elevenlab", "--reason", "x", "--by", "a"), "did you mean elevenlabs?"),
        (("resume", "nothing-*", "--by", "a"), "a glob that matches"),
        (("pause", "elevenlabs", "--by", "a"), "--reason"),
        (("pause", "elevenlabs", "--reason", "x", "--for", "soon"), "a duration"),
        (("pause", "elevenlabs", "--reason", " ", "--by", "a"), "not empty"),
        (("policy", "set", "elevenlabs", "failures=0", "--by", "a"), "a whole number"),
        (("policy", "set", "elevenlabs", "failurs=1", "--by", "a"), "did you mean failures?"),
        (("policy", "set", "elevenlabs", "failures", "--by", "a"), "name=value"),
        (("policy",), "one of show, set and unset"),
        (("alerts",), "one of test"),
        (("alerts", "undelivered", "pager"), "one of"),
        (("events", "--last", "0"), "1 or more"),
        (("watch", "--every", "0"), "a duration"),
        (("status", "--backend", "memory://"), "inside of one process"),
        (("status", "--backend", "redis"), "URL"),
        (("status", "--namespace", "a b"), "without blanks"),
        (("frobnicate",), "invalid choice"),
    ],
)
def test_bad_input_is_one_line_and_exits_with_2(fleet, run, words, said):
    """It names what is wrong and what is right, and changes nothing."""
    before = len(fleet.events)
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert len(fleet.events) == before


@pytest.mark.parametrize(
    "words", [("status",), ("events",), ("check",), ("policy", "show"), ("pause", "x", "--reason", "y"), ("watch",)]
)
def test_a_backend_that_does_not_answer_is_named_without_its_password(run, words):
    """One line, and exit code 3."""
    code, out, err = run(*words, "--backend", "redis://ana:s3cr3t@127.0.0.1:1/0")
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert "127.0.0.1:1" in err
    assert "s3cr3t" not in err


def test_a_backend_that_hangs_is_named_too(run, start_redis):
    """Nothing waits for longer than the connection does."""
    server = start_redis()
    server.stop()
    try:
        code, out, err = run("status", "--backend", server.url)
    finally:
        server.cont()
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert f"127.0.0.1:{server.port}" in err
    assert run("status", "--backend", server.url)[0] == 0


def test_check_is_for_monitors(fleet, run, tmp_path, monkeypatch):
    """Well, paused, wrong rules: each has its exit code."""
    code, out, _ = run("check")
    assert code == 0
    assert "answers, and permits what is needed" in out
    fleet.pause("elevenlabs", reason="x", by="ana")
    assert run("check")[0] == 0
    code, out, _ = run("check", "--paused")
    assert code == 1
    assert "bad   elevenlabs is PAUSED: x (by ana)" in out
    rules = tmp_path / "rules.toml"
    rules.write_text("[circuits.elevenlabs]\nfailurs = 5\nwindow = 'soon'\n")
    code, out, _ = run("check", "--rules", str(rules))
    assert code == 2
    assert f"{rules}:2: circuits.elevenlabs.failurs" in out
    assert f"{rules}:3: circuits.elevenlabs.window" in out
    monkeypatch.setenv("RECLOSER_RULES", str(rules))
    assert run("check")[0] == 2
    rules.write_text("[circuits.elevenlabs]\nfailures = 5\n")
    assert run("check", "--rules", str(rules)) == (0, f"ok    {rules}: 1 circuits, 1 values\n", "")


def test_watch_shows_frames(fleet, run):
    """States, who answers, the last events; an end after so many frames."""
    fleet.pause("elevenlabs", reason="x", by="ana")
    code, out, _ = run("watch", "--frames", "2", "--every", "50ms")
    assert code == 0
    assert out.count("elevenlabs  PAUSED") == 2
    assert out.count("paused: x (by ana)") == 2


def test_events_are_followed_until_ctrl_c(fleet, redis_8, namespace):
    """What happens is written as it happens."""
    command = [sys.executable, "-m", "recloser", "events", "--follow", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        fleet.pause("elevenlabs", reason="one", by="ana")
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["reason"] == "one"
        fleet.pause("elevenlabs", reason="two", by="ana")
        assert json.loads(process.stdout.readline())["reason"] == "two"
        process.send_signal(2)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")


def test_hooks_are_tested_and_undelivered_alerts_sent_again(fleet, run, monkeypatch):
    """A hook that is configured says whether it delivers."""
    monkeypatch.setenv("RECLOSER_ALERTS", "log")
    assert run("alerts", "test")[:2] == (0, "log: delivered\n")
    assert run("alerts", "undelivered") == (0, "everything was delivered\n", "")
    assert run("alerts", "retry")[0] == 0
    monkeypatch.setenv("RECLOSER_ALERTS", "webhook")
    monkeypatch.setenv("RECLOSER_WEBHOOK_URL", "http://127.0.0.1:1/hook")
    code, out, _ = run("alerts", "test", "webhook")
    assert code == 1
    assert "webhook: not delivered" in out


def test_shells_complete_commands_options_and_names(fleet, run):
    """Of circuits and fallbacks, where a name may stand."""
    assert candidates(["st"]) == ["status"]
    assert "complete" not in candidates([""])
    assert candidates(["policy", "s"]) == ["set", "show"]
    assert "--reason" in candidates(["pause", "x", "--"])
    assert candidates(["pause", "el"]) == ["elevenlabs"]
    assert candidates(["completion", ""]) == ["bash", "fish", "zsh"]
    assert run("complete", "--", "pause", "az")[1] == "azure-stt\nazure-tts\n"
    for shell in ("bash", "zsh", "fish"):
        assert "recloser complete" in run("completion", shell)[1]
    script = 'eval "$(recloser completion bash)"; COMP_WORDS=(recloser sta); COMP_CWORD=1; _recloser; echo $COMPREPLY'
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-c", script]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    assert done.stdout == "status\n"


def test_every_command_has_help_with_an_example(run):
    """Also below `policy` and `alerts`."""
    for words in (
        ("status",), ("explain",), ("pause",), ("resume",), ("watch",), ("events",), ("policy", "show"),
        ("policy", "set"), ("policy", "unset"), ("alerts", "test"), ("alerts", "undelivered"), ("alerts", "retry"),
        ("check",), ("completion",), ("demo",),
    ):  # fmt: skip
        code, out, _ = run(*words, "--help")
        assert code == 0
        assert "examples:\n  " in out
