"""The handler that reads the log does no harm, whatever a record is made of and wherever it is logged."""

from __future__ import annotations

import gc
import logging
import logging.config
import logging.handlers
import os
import queue
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger as loguru

from recloser import PausedError, Recloser, State
from recloser.integrations.logs import IDS, PatternHandler
from recloser.locks import Section
from recloser.testing import Sandbox
from tests.fleet.members import ROOT
from tests.integrations.lines import LINE, PATTERNS, RateLimitError, attached, failures
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

# -- whatever happens --------------------------------------------------------------------------------------------------


class Hostile:
    """Everything about it raises."""

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __bool__ = __len__ = __eq__ = __hash__ = __format__ = __str__  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("str")


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.binary(max_size=9), st.just(LINE),
    st.builds(Hostile), st.builds(HostileError), st.sampled_from([LINE + " %d", "%s %s", "%(x)s", "%", "502\ud800"]),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.sampled_from(["call_id", "exc_info", "event"]), st.text()),
)  # fmt: skip
records = st.fixed_dictionaries(
    {},
    optional={
        "msg": anything,
        "args": st.one_of(anything, st.tuples(anything), st.tuples(anything, anything)),
        "exc_info": st.one_of(anything, st.tuples(anything, anything, anything)),
        "exc_text": anything,
        "extra": anything,
        "name": anything,
        "levelno": anything,
        "pathname": anything,
        **dict.fromkeys(IDS, anything),
    },
)


@given(records, st.booleans())
def test_no_record_makes_it_raise(attributes, shows):
    """Whatever a record is made of, the application goes on; the handler is there for the next one."""
    raising, logging.raiseExceptions = logging.raiseExceptions, shows
    try:
        with Sandbox() as box:
            handler = PatternHandler(PATTERNS, recloser=box)
            record = logging.makeLogRecord({"levelno": logging.ERROR, "name": "x"})
            vars(record).update(attributes)
            handler.handle(record)
            before = failures(box)
            handler.handle(logging.makeLogRecord({"levelno": logging.ERROR, "name": "x", "msg": LINE}))
            assert failures(box) == before + 1
    finally:
        logging.raiseExceptions = raising


@pytest.mark.parametrize("arguments", [(LINE + " %d", "x"), (LINE, "one too many"), (LINE + " %s", Hostile())])
def test_arguments_that_do_not_fit_do_not_hide_the_error(box, arguments, capsys):
    """The text alone may still say it; nothing is printed."""
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, arguments[0], arguments[1:], None)
    PatternHandler(PATTERNS, recloser=box).handle(record)
    assert failures(box) == 1
    assert capsys.readouterr() == ("", "")


def test_a_logger_without_a_name_is_one_of_the_application(box):
    """loguru names records after the module, and code that was typed in has none."""
    record = logging.LogRecord(None, logging.ERROR, "x.py", 1, LINE, None, None)  # type: ignore[arg-type]
    PatternHandler(PATTERNS, recloser=box).handle(record)
    assert failures(box) == 1


def test_a_text_that_cannot_be_had_is_told_by_its_type(box, log):
    """An exception whose own text raises is still known by its name."""
    attached(log, box, {"tts": ["HostileError"]})
    log.error("synthesis failed", exc_info=HostileError())
    assert failures(box) == 1


def test_a_filter_that_raises_breaks_nothing(box, log):
    """Filters are the user's code as well."""
    handler = attached(log, box)
    handler.addFilter(lambda record: 1 / 0)
    log.error(LINE)
    assert failures(box) == 0


def test_a_toolkit_that_cannot_be_had_is_said_once(monkeypatch, log, caplog):
    """A slip in the environment does not turn every logged error into another error."""
    monkeypatch.setenv("RECLOSER_BACKEND", "nonsense://")
    handler = PatternHandler(PATTERNS)
    monkeypatch.setattr(handler, "_toolkit", type(handler._toolkit)())
    log.addHandler(handler)
    for _ in range(3):
        log.error("deadline 300ms")
    said = [record for record in caplog.records if record.name == "recloser"]
    assert len(said) == 1
    assert "RECLOSER_BACKEND" in caplog.text or "backend" in caplog.text


def test_a_record_that_logs_while_it_is_read_does_not_recurse(box):
    """A text that logs itself when it is asked for would go on for ever."""
    handler = PatternHandler(PATTERNS, recloser=box)

    class Chatty:
        def __str__(self) -> str:
            handler.handle(record)
            return "HTTP 502"

    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "%s", (Chatty(),), None)
    handler.handle(record)
    assert failures(box) == 1


# -- wherever it is called ---------------------------------------------------------------------------------------------


def test_what_a_collector_logs_under_a_lock_of_ours_waits(box, log):
    """asyncio logs a task's lost exception when the collector finds it: on any line, also on one that holds a lock."""
    attached(log, box)

    class Lost:
        def __del__(self) -> None:
            log.error("Task exception was never retrieved: HTTP 502")

    lock = box.engine.courier._lock
    assert isinstance(lock, Section)
    with lock:
        lost = Lost()
        del lost
        gc.collect()
    assert failures(box) == 1


def test_a_thread_that_logs_under_a_lock_is_not_waited_for(box, log):
    """The handler holds no lock while it counts, and counting may wait for one that another thread logs under."""
    attached(log, box)
    entered, go_on = threading.Event(), threading.Event()
    box.listen(lambda event: (entered.set(), go_on.wait(10)))
    box.circuit("tts", failures=1)
    counting = threading.Thread(target=log.error, args=("deadline 300ms",), daemon=True)
    counting.start()
    assert entered.wait(10)
    other = threading.Thread(target=log.error, args=("no transcript",), daemon=True)
    other.start()
    other.join(10)
    stuck = other.is_alive()
    go_on.set()
    counting.join(10)
    assert not stuck
    assert failures(box, "stt") == 1


async def test_it_works_in_event_loops(box, log):
    """Without blocking one: blockbuster would see it."""
    attached(log, box)
    log.error(LINE)
    await anyio.lowlevel.checkpoint()
    assert failures(box) == 1


@pytest.mark.parametrize("respects", [True, False])
def test_behind_a_queue_the_message_says_it_all(box, log, respects):
    """There the exception is only text, at the end of a long traceback, and levels may not have been asked."""
    lines: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(
        lines, PatternHandler(PATTERNS, recloser=box), respect_handler_level=respects
    )
    log.addHandler(logging.handlers.QueueHandler(lines))

    def deep(left: int) -> None:
        if not left:
            raise RuntimeError("HTTP 502 from upstream")
        if left % 2:
            deep(left - 1)
        else:
            deep(left - 1)

    listener.start()
    try:
        deep(40)
    except RuntimeError:
        log.exception("synthesis failed", extra={"call_id": "call-1"})
        log.exception("turn failed", extra={"call_id": "call-1"})
    log.warning(LINE)
    log.error("dialling failed", exc_info=PausedError("tts", State.OPEN, "last: HTTP 502", "recloser", 0.0, 5.0))
    listener.stop()
    assert failures(box) == 1
    assert box.explain("tts").errors[-1].label == "synthesis failed … RuntimeError: HTTP 502 from upstream"


def test_of_a_record_from_another_process_the_traceback_is_read(box):
    """A SocketHandler sends it as text, beside the message."""
    record = logging.makeLogRecord(
        {"levelno": 40, "name": "x", "msg": "failed", "exc_text": f"Traceback\nError: {LINE}"}
    )
    PatternHandler(PATTERNS, recloser=box).handle(record)
    assert failures(box) == 1


FORKED = """
import logging, os, threading, warnings
from recloser.testing import Sandbox
from tests.integrations.lines import LINE, attached, failures

warnings.simplefilter("ignore")  # forking beside threads is what this is about
box, log = Sandbox(), logging.getLogger("application")
log.propagate = False
attached(log, box)
log.error(LINE)
end = threading.Event()
storm = threading.Thread(target=lambda: [log.error("no transcript") for _ in iter(end.is_set, True)], daemon=True)
storm.start()
for _ in range(20):
    pid = os.fork()
    if not pid:
        log.error(LINE)
        os._exit(failures(box))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
end.set()
storm.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this platform")
def test_a_forked_child_counts_by_itself():
    """Whatever other threads were doing with the handler when it was forked."""
    # Not measured: coverage has a lock of its own that a child may inherit locked, and would wait for.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, env=unmeasured, cwd=ROOT, check=False, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["2"] * 20, "")


AT_EXIT = """
import atexit, logging
from recloser import Recloser
from recloser.integrations.logs import PatternHandler

logging.getLogger().addHandler(PatternHandler({"tts": ["http 502"]}, recloser=Recloser(%s, alerts=[])))
log = logging.getLogger("app")
atexit.register(log.error, "HTTP 502 at exit")

class Last:
    def __del__(self):
        log.error("HTTP 502 at the very end")

last = Last()
last.itself = last
log.error("HTTP 502")
"""


@pytest.mark.parametrize("backend", ["'memory://'", "'redis://127.0.0.1:9/0'"])
def test_at_the_end_of_the_interpreter_nothing_is_said(backend):
    """Errors that are logged by exit functions and destructors bring no traceback, and hold nothing up."""
    command = [sys.executable, "-c", AT_EXIT % backend]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0
    lines = [line for line in ended.stderr.splitlines() if "calls go on with what this process knows" not in line]
    assert lines == []


@pytest.mark.realtime
def test_a_storm_of_errors_loses_no_count_and_takes_no_room(log):
    """Twenty thousand lines in a row, faster than they are carried to a real server, are all there in the end."""
    with RedisServer() as server, Recloser(server.url, alerts=[]) as toolkit:
        tts = toolkit.circuit("tts", failures=None)
        assert toolkit.ready(10)
        attached(log, toolkit)
        longest = 0
        for number in range(20_000):
            log.error("%d: HTTP 502", number, extra={"call_id": number % 100} if number % 2 else None)
            longest = max(longest, len(tts.bound._notes))
        assert longest <= 2000
        until(lambda: failures(toolkit) == 10_000 + 50, "every line counted")


# -- other packages ----------------------------------------------------------------------------------------------------


@pytest.fixture
def sink(box) -> Iterator[PatternHandler]:
    """The handler as a sink of loguru, the only one."""
    loguru.remove()
    handler = PatternHandler(PATTERNS, recloser=box)
    number = loguru.add(handler, level="ERROR", format="{message}")
    yield handler
    loguru.remove(number)


@pytest.mark.usefixtures("sink")
def test_loguru_takes_it_as_a_sink(box):
    """Levels, exceptions and what is bound arrive as they do from logging."""
    loguru.warning(LINE)
    for key in ("call-1", "call-1", "call-2"):
        loguru.bind(call_id=key).error("synthesis failed: {}", "HTTP 502")
    with loguru.contextualize(call_id="call-3"):
        loguru.error(LINE)
        loguru.error(LINE)
    assert failures(box) == 3
    try:
        raise RateLimitError("HTTP 502")
    except RateLimitError:
        loguru.exception("synthesis failed")
    assert failures(box) == 4
    assert box.explain("tts").errors[-1].kind == "rate_limit"


@pytest.mark.usefixtures("sink")
def test_a_listener_that_logs_with_loguru_does_not_stand_still(box):
    """loguru holds a lock around its sinks and refuses to take it twice; the count stands."""
    box.listen(lambda event: loguru.error("{}: {}", event.circuit, LINE))
    box.circuit("tts", failures=1)
    loguru.error(LINE)
    assert box.circuit("tts").state is State.OPEN
    assert failures(box) == 1


def test_structlog_by_way_of_logging(box, log):
    """As the fields of an event that a formatter renders later, or as the attributes of a record."""
    structlog = pytest.importorskip("structlog")
    attached(log, box)
    for last in (structlog.stdlib.ProcessorFormatter.wrap_for_formatter, structlog.stdlib.render_to_log_kwargs):
        logger = structlog.wrap_logger(log, [last], wrapper_class=structlog.stdlib.BoundLogger)
        before = failures(box)
        for key in ("call-1", "call-1", "call-2"):
            logger.bind(call_id=f"{last.__name__}-{key}").error("synthesis failed: HTTP 502")
        assert failures(box) == before + 2
        try:
            raise RateLimitError("HTTP 502")
        except RateLimitError:
            logger.exception("synthesis failed")
            logger.error("synthesis failed", exc_info=True)  # noqa: G201 - structlog hands it on
        assert failures(box) == before + 4
        assert box.explain("tts").errors[-1].kind == "rate_limit"
