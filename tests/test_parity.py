"""Every row of docs/parity.md: its line does what a platform's own code did, and what the row says besides.

Rows about Pipecat are in tests/voice/test_parity.py.
"""

from __future__ import annotations

import ast
import json
import logging
import threading
import time
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

    class TwilioRestError(Exception):
        """In the shape of Twilio's."""

        def __init__(self, status: int, code: int) -> None:
            super().__init__(f"HTTP {status} error: {code}")
            self.status, self.code, self.uri = status, code, "/2010-04-01/Accounts/AC0/Calls.json"

    errors = [TwilioRestError(400, 21211), TwilioRestError(403, 13227)] * 20
    errors += [TwilioRestError(403, 20003)] * 10

    def create(**_: object) -> None:
        raise errors.pop(0)

    client = SimpleNamespace(calls=SimpleNamespace(create=create))
    line.run(client=client, circuit=circuit, classify_twilio=classify_twilio)
    twilio = recloser.circuit("twilio")
    for left in range(50, 0, -1):
        assert (twilio.state, len(errors)) == (State.CLOSED, left)
        with pytest.raises(TwilioRestError):
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
        until(lambda toolkit=toolkit: toolkit.status()["elevenlabs"].failures == 1, "it is counted")
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
        environment = {
            "RECLOSER_NAMESPACE": namespace,
            "RECLOSER_BACKEND": redis_8.url,
            "RECLOSER_SLACK_WEBHOOK": slack.url + HOOK,
            "RECLOSER_ALERT_WAIT": "0.2s",
        }
        fleet = members.start(3)
        for each in fleet:
            each.run(f"import os; os.environ.update({environment!r})")
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
        until(lambda: "elevenlabs is back" in caplog.text, "and the next one, while the pager hangs", seconds=5)
    finally:
        free.set()


def test_messages_say_what_it_means(recloser: Sandbox, line: Line) -> None:
    """Nobody writes them, and nobody has to know what a circuit is to read them."""
    stt = fallback("soniox", "deepgram")

    def dial(lead: str) -> str:
        return lead

    dial.__qualname__ = "dial"  # as in a module
    line.run(requires=requires, stt=stt, dial=dial)
    fail(recloser.circuit("soniox"), 10)
    fail(recloser.circuit("deepgram"), 10)
    recloser.clock.advance("15m")
    assert tried(recloser.circuit("soniox"))
    assert [alert.title for alert in recloser.alerts] == [
        "soniox is paused, deepgram is answering",
        "deepgram is paused, fallback(soniox, deepgram) has no provider left, dial is stopped",
        "soniox is back, after 15m",
        "deepgram is paused, soniox is answering",
    ]


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


# -- not dialling, and using the other one -----------------------------------------------------------------------------


def test_no_lead_is_taken_in_an_outage(recloser: Sandbox, line: Line) -> None:
    """Asked once, before anything is locked; three workers wait, and one lead tests the provider for all of them."""

    @requires("soniox")
    async def dial(lead: str) -> None:
        assert tried(recloser.circuit("soniox"))
        called.append(lead)

    async def work() -> None:
        while leads:
            await line.arun(await_until_allowed=await_until_allowed, dial=dial)
            if leads:
                await dial(leads.pop(0))

    async def day() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            recloser.clock.advance("14m")
            await anyio.wait_all_tasks_blocked()
            assert (len(leads), called) == (4, [])
            recloser.clock.advance("1m")
            with anyio.fail_after(10):
                while leads:
                    recloser.clock.advance("1s")
                    await anyio.sleep(0.001)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    leads, called = ["Ada", "Bob", "Cid", "Dan"], list[str]()
    recloser.trip("soniox")
    anyio.run(day)
    assert called == ["Ada", "Bob", "Cid", "Dan"]


def test_work_stops_for_what_it_needs(recloser: Sandbox, line: Line) -> None:
    """The carrier of other calls may be down, and one provider of a fallback; a pause of everything is one."""
    stt = fallback("soniox", "deepgram")
    needed = line.run(requires=requires, stt=stt)["needed"]
    recloser.trip("exotel")
    recloser.trip("soniox")
    assert needed.allows()
    recloser.trip("twilio")
    assert not needed.allows()
    recloser.resume("*", by="ana")
    recloser.pause("*", reason="audit", by="ana")
    assert not needed.allows()


def test_new_calls_use_the_fallback(recloser: Sandbox, line: Line) -> None:
    """Once it is known that the primary is down, and before that when its service cannot even be made."""
    broken: list[Exception] = []

    def soniox() -> str:
        if broken:
            raise broken[0]
        return "soniox"

    stt = fallback(soniox=soniox, deepgram=lambda: "deepgram")

    def ears() -> object:
        return line.run(stt=stt)["ears"]

    assert ears() == "soniox"
    broken.append(ConnectionError("refused"))
    assert (ears(), recloser.circuit("soniox").snapshot().failures) == ("deepgram", 1)
    broken.clear()
    fail(recloser.circuit("soniox"), 9)
    assert {ears() for _ in range(5)} == {"deepgram"}
    recloser.clock.advance("15m")
    assert [ears() for _ in range(3)] == ["soniox", "deepgram", "deepgram"]
    assert tried(recloser.circuit("soniox"))
    assert ears() == "soniox"


def test_each_factory_has_its_own_settings(recloser: Sandbox, line: Line) -> None:
    """And each is handed what this call wants."""
    stt = fallback(
        soniox=lambda language: {"language_hints": [language], "speech_timeout": 0.0},
        deepgram=lambda language: {"language": language, "speech_timeout": 0.5},
    )
    assert line.run(stt=stt)["ears"] == {"language_hints": ["hi"], "speech_timeout": 0.0}
    recloser.trip("soniox")
    assert line.run(stt=stt)["ears"] == {"language": "hi", "speech_timeout": 0.5}


# -- coming back -------------------------------------------------------------------------------------------------------


def test_a_pause_ends_by_itself_and_not_before(recloser: Sandbox, line: Line) -> None:
    """Whether or not anybody calls; what was under way and succeeds meanwhile changes nothing."""
    tts = line.run(circuit=circuit)["tts"]
    with tts:
        fail(tts, 10)
    tts.record_success()
    recloser.clock.advance("14m59s")
    assert not tried(tts)
    recloser.clock.advance("1s")
    assert [(str(event.kind), event.at) for event in recloser.events] == [("tripped", 0.0), ("probing", 900.0)]
    assert tried(tts)
    assert tts.state is State.CLOSED


def test_the_minutes_are_changed_live(recloser: Sandbox, line: Line) -> None:
    """Of circuits that say nothing of their own; a pause that has begun keeps its end, and the next is longer."""
    tts, stt = recloser.circuit("elevenlabs"), recloser.circuit("soniox", cooldown="5m")
    recloser.trip("deepgram")
    line.run(fleet=recloser)
    for each in (tts, stt):
        fail(each, 10)
    shots = [recloser.status()[name] for name in ("elevenlabs", "soniox", "deepgram")]
    assert [shot.until for shot in shots] == [1200.0, 300.0, 900.0]
    ends = []
    for _ in range(3):
        recloser.clock.advance(tts.snapshot().until - recloser.clock.now())
        began = recloser.clock.now()
        fail(tts)
        ends.append(tts.snapshot().until - began)
    assert ends == [2400.0, 3600.0, 3600.0]


def test_one_call_tests(recloser: Sandbox, line: Line) -> None:
    """The others are refused meanwhile; who is cancelled, or hangs for seven minutes, makes room for another."""
    stt = line.run(circuit=circuit)["stt"]
    recloser.trip("soniox")
    recloser.clock.advance("15m")
    with pytest.raises(GeneratorExit), stt:
        assert not tried(stt)
        raise GeneratorExit
    assert stt.state is State.HALF_OPEN
    with stt:
        recloser.clock.advance("6m59s")
        assert not tried(stt)
        recloser.clock.advance("1s")
        with pytest.raises(ConnectionError), stt:
            raise ConnectionError
        assert stt.state is State.OPEN
    assert stt.state is State.OPEN


def test_a_reset_begins_with_an_empty_window(recloser: Sandbox, line: Line) -> None:
    """A call that began before it, and fails after it, is not held against the provider."""
    stt = recloser.circuit("soniox")
    with pytest.raises(ConnectionError), stt:
        fail(stt, 10)
        assert stt.state is State.OPEN
        line.run(resume=resume)
        raise ConnectionError
    assert (stt.state, stt.snapshot().failures) == (State.CLOSED, 0)
    fail(stt, 9)
    assert stt.state is State.CLOSED


# -- operating it ------------------------------------------------------------------------------------------------------


def test_who_paused_it_and_why(recloser: Sandbox, line: Line) -> None:
    """It is everything, until somebody resumes it."""
    gates = [recloser.circuit(name) for name in ("soniox", "twilio")]
    assert all(map(tried, gates))
    line.run(pause=pause, body={"reason": "number audit"}, user=SimpleNamespace(name="ana"))
    recloser.clock.advance("720h")
    assert not any(map(tried, gates))
    kept = [(str(event.kind), event.circuit, event.reason, event.by) for event in recloser.events]
    assert kept == [("paused", name, "number audit", "ana") for name in ("soniox", "twilio")]


def test_a_monitor_pauses_for_a_while(recloser: Sandbox, line: Line) -> None:
    """Also what no call has gone through yet; then one call tests it."""
    line.run(pause=pause, alert={"rule": "exotel", "reason": "answer rate below 10 %"})
    exotel = recloser.circuit("exotel")
    recloser.clock.advance("29m")
    with pytest.raises(PausedError, match="answer rate below 10 %"):
        exotel.check()
    recloser.clock.advance("1m")
    assert exotel.state is State.HALF_OPEN
    assert tried(exotel)


def test_what_the_status_says(recloser: Sandbox, line: Line) -> None:
    """As JSON, with counts of the window; thresholds are in what explains a circuit."""
    fail(recloser.circuit("soniox"), 4)
    recloser.pause("twilio", reason="audit", by="ana")
    said = json.loads(json.dumps(line.value(status=status)))["circuits"]
    assert {name: (shot["state"], shot["failures"], shot["by"]) for name, shot in said.items()} == {
        "soniox": ("closed", 4, "recloser"), "twilio": ("paused", 0, "ana")
    }  # fmt: skip
    assert status().paused == ("twilio",)
    assert recloser.explain("soniox").threshold == "10 failures in 5m"


def test_a_process_that_starts_in_an_outage_knows(
    line: Line, made: Callable[[], DefaultRecloser], redis_8: RedisServer, namespace: str
) -> None:
    """Before it has made a call, and before it has seen a single error."""
    with Recloser(redis_8.url, namespace=namespace) as other:
        fail(other.circuit("twilio"), 10)
        until(lambda: other.circuit("twilio").state is State.OPEN, "it is down")
    toolkit, answers = made(), list[bool]()
    toolkit.configure(backend=redis_8.url, namespace=namespace)
    needed = toolkit.requires("twilio")
    anyio.run(lambda: line.arun("\n    ask()", lifespan=toolkit.lifespan, ask=lambda: answers.append(needed.allows())))
    assert answers == [False]


@pytest.mark.realtime
def test_calls_go_on_without_redis(
    line: Line, made: Callable[[], DefaultRecloser], start_redis: Any, namespace: str
) -> None:
    """On what is known, at the same speed; what is counted meanwhile is the fleet's when Redis is back."""
    server = start_redis()
    toolkit = made()
    toolkit.configure(backend=server.url, namespace=namespace)
    twilio, tts = toolkit.circuit("twilio"), toolkit.circuit("elevenlabs")
    stt = line.run(circuit=toolkit.circuit)["stt"]
    assert toolkit.ready()
    toolkit.pause("twilio", reason="audit", by="ana")
    server.stop()
    began = time.monotonic()
    fail(tts, 4)
    fail(stt, 2)
    assert tried(stt)
    assert time.monotonic() - began < 0.2  # and not the quarter of a second that an answer may take
    until(lambda: toolkit.status().lost_since, "it is known that Redis is away")
    assert not tried(twilio)
    assert tried(stt)
    fail(stt)
    until(lambda: stt.state is State.OPEN, "three failures are enough")
    server.cont()
    with Recloser(server.url, namespace=namespace) as other:
        until(lambda: other.circuit("soniox").state is State.OPEN, "the others learn of it")
        until(lambda: other.status()["elevenlabs"].failures == 4, "and of what was counted")


def test_an_outage_in_a_test(recloser: Sandbox, line: Line) -> None:
    """Decorators of production, no server, and a quarter of an hour that takes no time."""

    @requires("soniox")
    def dial(lead: str) -> str:
        return lead

    line.run(recloser=recloser)
    with pytest.raises(PausedError):
        dial("Ada")
    recloser.clock.advance("15m")
    assert dial("Ada") == "Ada"
