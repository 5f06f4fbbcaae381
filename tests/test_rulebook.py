"""Rules files: read as a whole, with file, line and cure for each mistake; the older shape does what it says."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import threading

import pytest

from recloser import ConfigurationError, PausedError, Recloser
from recloser.core.sheet import NOTHING_SAID
from recloser.core.state import State
from recloser.default import DefaultRecloser
from recloser.rulebook import examine
from recloser.settings import Settings
from recloser.testing import ManualClock
from tests.servers.waiting import until


def write(path, text):
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return str(path)


TOML = """\
    mode = "enforce"
    [defaults]
    cooldown = "10m"
    [circuits.elevenlabs]
    failures = 4
    window = "2m"
    [fallbacks."speak"]
    order = ["cartesia", "elevenlabs"]
    [names]
    ElevenLabsTTSService = "elevenlabs"
"""


def test_a_file_is_a_layer_under_the_environment_and_over_the_code(tmp_path, monkeypatch):
    """And each value says on which line it stands."""
    file = write(tmp_path / "rules.toml", TOML)
    toolkit = Recloser(clock=ManualClock(), rules=file)
    eleven, other = toolkit.circuit("elevenlabs", failures=9, probes=2), toolkit.circuit("deepgram")
    assert (eleven.policy.failures, eleven.policy.window, eleven.policy.probes) == (4, 120.0, 2)
    assert (eleven.policy.cooldown, other.policy.cooldown) == (600.0, 600.0)
    assert toolkit.explain("elevenlabs").origins["failures"] == f"{file}:5"
    assert toolkit.engine.policies.layers.names()["ElevenLabsTTSService"].value == "elevenlabs"
    toolkit.close()
    layered = Settings.layered(environment={"RECLOSER_RULES": file, "RECLOSER_POLICY_ELEVENLABS": "failures=3"})
    found = layered.layers().resolve("elevenlabs", None, "")
    assert (found.policy.failures, found.origins["failures"]) == (3, "RECLOSER_POLICY_ELEVENLABS")


def test_the_same_file_in_json(tmp_path):
    """The same tables under the same names."""
    data = {"circuits": {"elevenlabs": {"failures": 4, "window": 120, "slow_after": None}}}
    sheet, complaints = examine(write(tmp_path / "rules.json", json.dumps(data, indent=2)))
    assert complaints == ()
    assert {key: value.value for key, value in sheet.circuit("elevenlabs").items()} == {
        "failures": 4, "window": 120.0, "slow_after": None
    }  # fmt: skip
    assert sheet.circuit("elevenlabs")["window"].origin.endswith("rules.json:5")


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("r.toml", "[circuits.a]\nfailurs = 1\n", 2, "did you mean failures?"),
        ("r.toml", "[circuit.a]\nfailures = 1\n", 1, "did you mean circuits?"),
        ("r.toml", "[circuits.a]\nfailures = 1\n\n[circuits.a]\nwindow = '1m'\n", 4, "twice"),
        ("r.json", '{"circuits": {"a": {"failures": 1},\n "a": {"failures": 2}}}', 2, "twice"),
        ("r.toml", "mode = \n", 1, ""),
        ("r.json", "{", 1, ""),
        ("r.toml", "[circuits.a]\nwindow = 'soon'\n", 2, "a duration"),
        ("r.yaml", "a: 1\n", 0, ".toml, .json"),
    ],
)
def test_a_mistake_is_said_with_file_line_and_cure(tmp_path, name, text, line, words):
    """In one line, and nothing of the file holds."""
    file = str(tmp_path / name)
    (tmp_path / name).write_text(text, encoding="utf-8")
    _, (complaint, *_) = examine(file)
    assert complaint.line == line
    assert words in complaint.text
    assert str(complaint).startswith(f"{file}:{line}: " if line else f"{file}: ")
    with pytest.raises(ConfigurationError, match="rules file without mistakes") as caught:
        Recloser(clock=ManualClock(), rules=file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path):
    """As is one that is no text, or a directory."""
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "d.toml").mkdir()
    for name, words in (("no.toml", "No such file"), ("x.toml", "not in UTF-8"), ("d.toml", "cannot be read")):
        _, (complaint,) = examine(str(tmp_path / name))
        assert words in complaint.text
    with pytest.raises(ConfigurationError, match=r"RECLOSER_RULES|rules"):
        Settings.layered(environment={"RECLOSER_RULES": str(tmp_path / "no.toml")}).layers()


OLDER = {
    "elevenlabs": {"threshold_count": 10, "window_minutes": 5, "log_patterns": ["http 502"]},
    "call_initiation": {"threshold_count": 20, "window_minutes": 5},
    "provider_fallback": {"threshold_count": 5, "window_minutes": 5},
}


def test_a_file_is_read_again_when_somebody_asks(tmp_path):
    """At once and as a whole; with a mistake in it nothing changes."""
    file = write(tmp_path / "rules.toml", TOML)
    toolkit = Recloser(clock=ManualClock(), rules=file)
    eleven = toolkit.circuit("elevenlabs")
    assert eleven.policy.failures == 4
    write(tmp_path / "rules.toml", TOML.replace("failures = 4", "failures = 6"))
    toolkit.reload()
    assert eleven.policy.failures == 6
    write(tmp_path / "rules.toml", TOML.replace("failures = 4", "failurs = 7"))
    with pytest.raises(ConfigurationError, match="did you mean failures"):
        toolkit.reload()
    assert eleven.policy.failures == 6
    toolkit.close()
    with pytest.raises(ConfigurationError, match="RECLOSER_RULES"):
        Recloser(clock=ManualClock()).reload()


@pytest.mark.realtime
@pytest.mark.parametrize("when", ["sighup", "change"])
def test_a_file_is_read_again_by_itself_when_asked_to(tmp_path, when, caplog, monkeypatch):
    """On the signal, whose earlier handler is called too, or after the change; a mistake changes nothing."""
    monkeypatch.setattr("recloser.reloading.Reloading.__init__.__defaults__", (0.02,))
    called = []
    before = signal.signal(signal.SIGHUP, lambda *_: called.append(1))
    file = write(tmp_path / "rules.toml", TOML)
    toolkit = Recloser(clock=ManualClock(), rules=file, reload=when)
    eleven = toolkit.circuit("elevenlabs")
    assert eleven.policy.failures == 4

    def change(line):
        write(tmp_path / "rules.toml", TOML.replace("failures = 4", line))
        if when == "sighup":
            os.kill(os.getpid(), signal.SIGHUP)

    try:
        change("failures = 6")
        until(lambda: eleven.policy.failures == 6, "it is read again")
        change("failurs = 777")
        until(lambda: any("the rules stay as they were" in line for line in caplog.messages), "the mistake is said")
        assert eleven.policy.failures == 6
        assert bool(called) is (when == "sighup")
    finally:
        toolkit.close()
        signal.signal(signal.SIGHUP, before)


def test_a_toolkit_that_is_closed_reads_its_rules_no_more(tmp_path, monkeypatch):
    """Also where its successor, made before it was closed, still calls the handler that it had set."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    read = []
    monkeypatch.setattr("recloser.reloading.load", lambda file: read.append(file) or NOTHING_SAID)
    files = [write(tmp_path / f"{name}.toml", TOML) for name in ("old", "new")]
    old, new = (Recloser(clock=ManualClock(), rules=file, reload="sighup") for file in files)
    try:
        old.close()
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: read, "it is read again")
        assert read == [files[1]]
    finally:
        new.close()
        signal.signal(signal.SIGHUP, before)


def test_where_nobody_asked_in_code_a_thread_goes_on_without_the_signal(tmp_path, monkeypatch, caplog):
    """The first call may come on any thread, and is no place for a complaint about the environment."""
    monkeypatch.setenv("RECLOSER_RULES", write(tmp_path / "rules.toml", TOML))
    monkeypatch.setenv("RECLOSER_RELOAD", "sighup")
    toolkit, found = DefaultRecloser(), []
    thread = threading.Thread(target=lambda: found.append(toolkit.circuit("elevenlabs").policy.failures))
    thread.start()
    thread.join()
    assert found == [4]
    assert any("is not read again by itself" in line for line in caplog.messages)
    toolkit.close()


def test_only_the_main_thread_can_listen_to_a_signal(tmp_path):
    """It is said where it is asked for."""
    file, errors = write(tmp_path / "rules.toml", TOML), []

    def begin():
        try:
            Recloser(clock=ManualClock(), rules=file, reload="sighup")
        except ConfigurationError as error:
            errors.append(str(error))

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    assert "main thread" in errors[0]
    with pytest.raises(ConfigurationError, match="'never', 'sighup', 'change'"):
        Recloser(clock=ManualClock(), rules=file, reload="often")


@pytest.mark.parametrize(("name", "count"), [("elevenlabs", 10), ("call_initiation", 20), ("provider_fallback", 5)])
def test_the_older_shape_does_what_it_says(tmp_path, name, count):
    """So many failures in five minutes pause; a quarter of an hour later it is tested, and never before."""
    clock = ManualClock()
    toolkit = Recloser(clock=clock, rules=write(tmp_path / "rules.json", json.dumps(OLDER)))
    circuit = toolkit.circuit(name)
    for number in range(count - 1):
        circuit.record_failure(f"failure {number}")
    clock.advance("5m")  # those have left the window now
    for number in range(count):
        assert circuit.state is State.CLOSED
        clock.advance(10)
        circuit.record_failure(f"failure {number}")
    assert circuit.state is State.OPEN
    clock.advance(15 * 60 - 0.001)
    with pytest.raises(PausedError):
        circuit.check()
    clock.advance(0.001)
    assert circuit.state is State.HALF_OPEN
    with circuit:
        pass
    assert circuit.state is State.CLOSED
    toolkit.close()


def test_the_older_shape_leaves_what_people_have_paused(tmp_path):
    """Automatic resumes are for automatic pauses."""
    clock = ManualClock()
    toolkit = Recloser(clock=clock, rules=write(tmp_path / "rules.json", json.dumps(OLDER)))
    circuit = toolkit.circuit("elevenlabs")
    toolkit.pause("elevenlabs", reason="cost", by="ana")
    for _ in range(20):
        circuit.record_failure("down")
    clock.advance("2d")
    assert circuit.state is State.PAUSED
    toolkit.close()
