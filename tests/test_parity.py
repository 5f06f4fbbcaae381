"""Every row of docs/parity.md: its line does what a platform's own code did, and what the row says besides.

Rows about Pipecat are in tests/voice/test_parity.py.
"""

from __future__ import annotations

import ast
import json
import logging
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import redis
from loguru import logger

from recloser import (
    PausedError,
    Recloser,
    State,
    await_until_allowed,
    circuit,
    fallback,
    lifespan,
    pause,
    requires,
    resume,
    status,
)
from recloser.default import DEFAULT, DefaultRecloser
from recloser.integrations.logs import PatternHandler, call_id
from recloser.integrations.telephony import classify_twilio
from recloser.registry import Registry
from tests.alerts.slack_server import HOOK, SlackServer
from tests.fleet.members import members
from tests.parity import HEADER, PAGE, ROOT, Line, line, rows
from tests.servers.fixtures import namespace, redis_8, start_redis
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from recloser.alerts import Alert
    from recloser.circuit import Circuit
    from recloser.testing import Sandbox
    from tests.fleet.members import Members
    from tests.servers.redis_server import RedisServer

__all__ = ["line", "members", "namespace", "redis_8", "start_redis"]


@pytest.fixture(autouse=True)
def _nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is run stands in a module, and what modules say of a circuit outlives a test."""
    monkeypatch.setattr(DEFAULT, "_written", Registry())


@pytest.fixture
def made() -> Iterator[Callable[..., DefaultRecloser]]:
    """Makes toolkits such as the functions of the package act on, each like that of a process, and closes them."""
    toolkits: list[DefaultRecloser] = []

    def make() -> DefaultRecloser:
        toolkits.append(DefaultRecloser())
        return toolkits[-1]

    yield make
    for each in toolkits:
        each.close()


def fail(gate: Circuit, times: int = 1) -> None:
    for _ in range(times):
        gate.record_failure("HTTP 503")


def tried(gate: Circuit) -> bool:
    """Whether a call comes through; it succeeds then."""
    try:
        with gate:
            return True
    except PausedError:
        return False


# -- the page ----------------------------------------------------------------------------------------------------------


def collected(file: str) -> list[str]:
    """The tests that pytest collects in a file, in its order."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


def test_every_row_has_a_test_that_exists() -> None:
    """One each, in the order of the rows, and whoever adds a row or a test adds the other."""
    page = PAGE.read_text("utf-8")
    assert len(rows()) >= 25
    assert len(rows()) == page.count("\n| ") - 2 * page.count(HEADER)
    named: dict[str, list[str]] = {}
    for row in rows():
        assert all((row.had, row.line, row.further)), row
        file, _, name = row.test.partition("::")
        named.setdefault(file, []).append(name)
    here, voice = "tests/test_parity.py", "tests/voice/test_parity.py"
    assert named.keys() == {here, voice}
    assert named[here] == collected(here)[1:]
    assert named[voice] == collected(voice)


# -- noticing a failure ------------------------------------------------------------------------------------------------


def test_only_the_provider_that_failed_counts(recloser: Sandbox, line: Line) -> None:
    """Failures of the fallback do not keep the primary down, and trip its own circuit."""
    stt = line.run(fallback=fallback)["stt"]
    soniox, deepgram = recloser.circuit("soniox"), recloser.circuit("deepgram")
    fail(deepgram, 9)
    assert (soniox.snapshot().failures, deepgram.snapshot().failures) == (0, 9)
    fail(soniox, 10)
    assert stt.choose() == "deepgram"
    fail(deepgram)
    with pytest.raises(PausedError):
        stt.choose()
    assert recloser.alerts[-1].severity == "critical"


def test_a_line_of_the_log_is_a_failure(recloser: Sandbox, line: Line) -> None:
    """Written as it was before, in large or small letters; twice in one call it is one."""
    tts = recloser.circuit("soniox")
    assert tts.allows()
    recloser.set_policy("soniox", by="ana", log_patterns=["http 502"])
    before = set(logger._core.handlers)  # type: ignore[attr-defined]  # where loguru keeps them
    line.run(logger=logger, PatternHandler=PatternHandler)
    (sink,) = set(logger._core.handlers) - before  # type: ignore[attr-defined]
    try:
        for sid in ("CA1", "CA2"):
            with call_id(sid):
                logger.error("Unable to connect: HTTP 502")
                logger.error("Exception processing StartFrame: HTTP 502")
                logger.warning("HTTP 502, trying again")
        logger.patch(lambda record: record.update(name="recloser.alerts")).error("its last error was HTTP 502")
        assert tts.snapshot().failures == 2
    finally:
        logger.remove(sink)


def test_bad_numbers_do_not_pause_the_telephone(recloser: Sandbox, line: Line) -> None:
    """A list full of them counts for nothing; an account that may not call any more pauses it."""

    class TwilioRestException(Exception):
        """In the shape of Twilio's."""

        def __init__(self, status: int, code: int) -> None:
            super().__init__(f"HTTP {status} error: {code}")
            self.status, self.code, self.uri = status, code, "/2010-04-01/Accounts/AC0/Calls.json"

    errors = [TwilioRestException(400, 21211), TwilioRestException(403, 21215)] * 20
    errors += [TwilioRestException(403, 20003)] * 10

    def create(**_: object) -> None:
        raise errors.pop(0)

    client = SimpleNamespace(calls=SimpleNamespace(create=create))
    line.run(client=client, circuit=circuit, classify_twilio=classify_twilio)
    twilio = recloser.circuit("twilio")
    for left in range(50, 0, -1):
        assert (twilio.state, len(errors)) == (State.CLOSED, left)
        with pytest.raises(TwilioRestException):
            client.calls.create(to="+15005550006")
    assert (twilio.state, twilio.snapshot().failures) == (State.OPEN, 10)


# -- deciding that it is down ------------------------------------------------------------------------------------------


def test_the_rules_file_is_read_as_it_is(
    line: Line, made: Callable[[], DefaultRecloser], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its thresholds, windows and patterns; one with a mistake is refused, and says on which line."""
    monkeypatch.chdir(tmp_path)
    said = {"threshold_count": 10, "window_minutes": 5, "log_patterns": ["http 502"]}
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"elevenlabs": said, "calls": {**said, "threshold_count": 20}}, indent=1))
    fleet = line.run(configure=made().configure)["fleet"]
    policies = {name: fleet.circuit(name).policy for name in ("elevenlabs", "calls")}
    assert {name: (each.failures, each.window) for name, each in policies.items()} == {
        "elevenlabs": (10, 300.0), "calls": (20, 300.0)
    }  # fmt: skip
    assert policies["elevenlabs"].cooldown == 900.0
    handler = PatternHandler(recloser=fleet)
    for _ in range(10):
        handler.handle(logging.makeLogRecord({"levelno": logging.ERROR, "msg": "TTS gave up: HTTP 502"}))
    assert [fleet.circuit(name).state for name in policies] == [State.OPEN, State.CLOSED]
    rules.write_text(rules.read_text().replace("threshold_count", "treshold_count", 1))
    with pytest.raises(Exception, match=r"rules\.json:3"):
        line.run(configure=made().configure)


@pytest.mark.realtime
def test_processes_count_together(line: Line, redis_8: RedisServer, namespace: str, members: Members) -> None:
    """Nine failures over three processes trip nothing, the tenth trips it for all of them, once."""
    fleet = members.start(3)
    for each in fleet:
        each.run(f"import os; os.environ['RECLOSER_NAMESPACE'] = {namespace!r}")
        each.run(f"from recloser import *\nREDIS_URL = {redis_8.url!r}\ntts = circuit('elevenlabs')")
        each.run(f"toolkit = {line.code}")
        assert each.run("toolkit.ready(8)")
    for each in fleet:
        each.run("for _ in range(3): tts.record_failure('503')")
    fleet[0].until("toolkit.status()['elevenlabs'].failures == 9")
    assert {each.run("str(tts.state)") for each in fleet} == {"closed"}
    fleet[2].run("tts.record_failure('503')")
    for each in fleet:
        each.until("tts.state is State.OPEN")
    assert fleet[1].run("[str(event.kind) for event in toolkit.events]") == ["tripped"]


def test_keys_have_a_prefix(line: Line, made: Callable[[], DefaultRecloser], start_redis: Any) -> None:
    """All of them, and that of the application; another fleet on the same server has its own."""
    server = start_redis()
    for name in ("'other'", "'buddy'"):
        toolkit = made()
        Line(line.code.replace('"buddy"', name)).run(configure=toolkit.configure, REDIS_URL=server.url)
        assert toolkit.ready()
        toolkit.circuit("elevenlabs").record_failure("503")
        until(lambda toolkit=toolkit: toolkit.status()["elevenlabs"].failures == 1, "it is counted, and not the other's")
        toolkit.close()
    with redis.Redis.from_url(server.url, decode_responses=True, protocol=2) as client:
        keys = set(client.scan_iter())
    ours = {key for key in keys if key.startswith("recloser:{buddy}:")}
    assert ours
    assert {key for key in keys - ours if not key.startswith("recloser:{other}:")} == set()


def test_the_window_slides(recloser: Sandbox, line: Line) -> None:
    """Five failures at the end of five minutes and five at the beginning of the next are ten in a row."""
    tts = line.run(circuit=circuit)["tts"]
    fail(tts)
    recloser.clock.advance("4m30s")
    fail(tts, 5)
    recloser.clock.advance("1m")
    assert tts.snapshot().failures == 5
    fail(tts, 4)
    assert tts.state is State.CLOSED
    fail(tts)
    assert tts.state is State.OPEN


@pytest.mark.realtime
def test_one_process_tells(line: Line, redis_8: RedisServer, namespace: str, members: Members) -> None:
    """Of three that cross the threshold together, and another one when that is over; Slack is down for a moment."""
    with SlackServer() as slack:
        slack.faults.append("500")
        fleet = members.start(3)
        for each in fleet:
            each.run(f"import os\nos.environ.update(RECLOSER_NAMESPACE={namespace!r}, RECLOSER_BACKEND={redis_8.url!r})")
            each.run(f"os.environ['RECLOSER_SLACK_WEBHOOK'] = {slack.url + HOOK!r}; os.environ['RECLOSER_ALERT_WAIT'] = '0.2s'")
            each.run("from recloser import *\ntts = circuit('elevenlabs', failures=3)")
            each.run(f"toolkit = {line.code}")
            assert each.run("toolkit.ready(8)")
        for job in [each.start("for _ in range(3): tts.record_failure('503')") for each in fleet]:
            job.result()
        until(lambda: slack.messages, "Slack has a message")
        fleet[1].run("toolkit.resume('elevenlabs', by='ana')")
        until(lambda: len(slack.messages) > 1, "Slack has another")
        for each in fleet:
            each.run("toolkit.close()")
    texts = [message["text"] for message in slack.messages]
    assert len(texts) == 2, texts
    assert "elevenlabs is paused" in texts[0]
    assert "elevenlabs is back" in texts[1]


def test_a_hook_that_hangs_holds_up_nobody(
    line: Line, made: Callable[[], DefaultRecloser], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call that tripped the circuit goes on, and so does the other hook."""
    monkeypatch.setenv("RECLOSER_ALERT_WAIT", "0s")
    caplog.set_level("INFO", "recloser.alerts")
    asked, free = threading.Event(), threading.Event()

    def page_somebody(_: Alert) -> None:
        asked.set()
        free.wait(10)
        raise ConnectionError("no pager")

    toolkit = made()
    try:
        line.run(configure=toolkit.configure, page_somebody=page_somebody)
        tts = toolkit.circuit("elevenlabs")
        fail(tts, 10)
        assert asked.wait(10)
        until(lambda: "elevenlabs is paused" in caplog.text, "the log has it")
        toolkit.resume("elevenlabs", by="ana")
        assert tried(tts)
    finally:
        free.set()


def test_messages_say_what_it_means(recloser: Sandbox, line: Line) -> None:
    """Nobody writes them, and nobody has to know what a circuit is to read them."""
    stt = fallback("soniox", "deepgram")
    line.run(requires=requires, stt=stt, dial=lambda lead: lead)
    fail(recloser.circuit("soniox"), 10)
    fail(recloser.circuit("deepgram"), 10)
    recloser.clock.advance("15m")
    assert all(tried(recloser.circuit(name)) for name in ("soniox", "deepgram"))
    assert [alert.title for alert in recloser.alerts] == []


def test_the_switch(recloser: Sandbox, line: Line) -> None:
    """Off, nothing is counted and nothing stopped, whatever is down; taken back, everything is as before."""
    tts = recloser.circuit("elevenlabs")
    fail(tts, 10)
    assert not tried(tts)
    line.run(fleet=recloser)
    assert tried(tts)
    fail(tts, 50)
    assert tts.snapshot().failures == 10
    assert (recloser.events[-1].kind, recloser.events[-1].by) == ("policy changed", "ana")
    recloser.unset_policy(by="ana")
    assert not tried(tts)
