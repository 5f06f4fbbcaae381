"""The handler that reads the log: which records are a failure of which circuit, and once for each call."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import logging.handlers
import uuid
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from recloser import ConfigurationError, PausedError, ProvidersExhaustedError, State, circuit
from recloser.core.patterns import Patterns
from recloser.integrations.logs import IDS, PatternHandler, call_id
from recloser.testing import Sandbox
from tests.integrations.lines import LINE, PATTERNS, RateLimitError, attached, failures, lonely
from tests.wrapping.fakes import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

# -- what counts -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("read")
def test_each_record_that_matches_is_one_failure_of_each_circuit_that_it_tells_of(box, log):
    """Two patterns of one circuit in one line are one failure; one line may tell of two circuits, or of none."""
    log.error("synthesis failed: %s, %s", "HTTP 502", "deadline 300ms")
    log.critical("no transcript")
    log.error("HTTP 404")
    assert (failures(box), failures(box, "stt")) == (1, 2)


@pytest.mark.usefixtures("read")
def test_a_circuit_trips_by_what_is_logged_and_says_by_what(box, log):
    """People are shown the line."""
    for number in range(10):
        log.error("synthesis of turn %d failed: HTTP 502", number)
    with pytest.raises(PausedError, match="10 failures in 5m, last: synthesis of turn 9 failed: HTTP 502"):
        box.circuit("tts").check()


def test_the_level_is_the_least_that_counts(box, log):
    """By default ERROR; what is below is not even looked at."""
    attached(log, box)
    log.warning(LINE)
    assert failures(box) == 0
    attached(log, box, level="WARNING")
    log.warning(LINE)
    assert failures(box) == 1


def test_the_default_toolkit_is_the_default(box, log):
    """Written at the start of an application, it follows `configure` and the fixture of tests."""
    attached(log, None)
    log.error(LINE)
    assert failures(box) == circuit("tts").snapshot().failures == 1
    with Sandbox() as other:
        log.error(LINE)
        assert (failures(box), failures(other)) == (1, 1)


def test_filters_decide_as_for_any_handler(box, log):
    """A record that a filter keeps back, or replaces, is kept back or replaced."""
    handler = attached(log, box)
    handler.addFilter(lambda record: "noise" not in record.getMessage())
    log.error("noise: HTTP 502")
    log.error(LINE)
    assert failures(box) == 1


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize("message", ["synthesis failed", LINE])
def test_the_exception_is_read_too(box, log, message):
    """Its type and its text belong to what the record says; it is still one failure."""
    try:
        raise RuntimeError("HTTP 502 from upstream")
    except RuntimeError:
        log.exception(message)
    assert failures(box) == 1
    assert box.explain("tts").errors[-1].label == f"{message} … RuntimeError: HTTP 502 from upstream"


@pytest.mark.usefixtures("read")
def test_an_exception_that_says_what_it_is_is_judged_as_one(box, log):
    """A rate limit in the log pauses for what the provider asked for, as one that was raised would."""
    for _ in range(10):
        log.error(LINE, exc_info=RateLimitError("slow down"))
    assert box.circuit("tts").state is State.OPEN
    assert box.explain("tts").errors[-1].kind == "rate_limit"
    with pytest.raises(PausedError) as caught:
        box.circuit("tts").check()
    assert caught.value.retry_after == 30


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize("error", [BadRequestError("HTTP 502"), TypeError("HTTP 502")])
def test_a_pattern_knows_better_than_the_general_rule(box, log, error):
    """What looks like the caller's mistake or a bug is a failure where somebody has written down that it is."""
    log.error("synthesis failed", exc_info=error)
    assert failures(box) == 1


def chained() -> BaseException:
    error = RuntimeError("HTTP 502")
    error.__cause__ = PausedError("tts", State.OPEN, "x", "recloser", 0.0, 5.0)
    return error


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        GeneratorExit(),
        PausedError("tts", State.OPEN, "10 failures in 5m, last: HTTP 502", "recloser", 0.0, 5.0),
        ProvidersExhaustedError({"tts": OSError("HTTP 502")}),
        chained(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_cancelled_or_known_already_does_not_count(box, log, error):
    """A barge-in is no failure, a call that was not let through was not made, and what a fallback tried is counted."""
    log.error(LINE, exc_info=error)
    log.error("dialling failed: HTTP 502 (%s)", error) if isinstance(error, PausedError) else None
    assert failures(box) == 0


@pytest.mark.usefixtures("read")
def test_a_pause_that_is_logged_does_not_keep_the_circuit_open(box, log):
    """An application that logs every PausedError, with the reason that quotes the provider, comes back all the same."""
    tts = box.circuit("tts", failures=1)
    log.error(LINE)
    for _ in range(3):
        with pytest.raises(PausedError) as caught:
            tts.check()
        log.error("no speech: %s", caught.value)
    box.clock.advance("15m")
    tts.acquire()
    with pytest.raises(PausedError) as caught:
        tts.check()
    log.error("no speech: %s", caught.value, exc_info=caught.value)
    assert tts.state is State.HALF_OPEN


# -- what is never counted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["recloser", "recloser.alerts", "recloser.x.y"])
def test_what_recloser_logs_itself_is_passed_over(box, name):
    """It tells of circuits; a logger of somebody else's whose name begins alike is somebody else's."""
    with lonely(name) as own, lonely("reclosers") as other:
        attached(own, box)
        attached(other, box)
        own.error(LINE)
        assert failures(box) == 0
        other.error(LINE)
        assert failures(box) == 1


@pytest.mark.usefixtures("read")
def test_what_listeners_and_hooks_log_does_not_feed_on_itself(log):
    """They tell of the error that tripped the circuit; in HALF_OPEN that would trip it again, for ever."""

    async def patient(alert: Any) -> None:
        await asyncio.sleep(0)
        log.error("patient: %s", alert.text)

    seen: list[str] = []
    with Sandbox(alerts=[lambda alert: log.error("hook: %s", alert.text), patient]) as box:
        attached(log, box)
        log.addHandler(logging.NullHandler())
        log.addFilter(lambda record: seen.append(record.getMessage()) or True)
        box.listen(lambda event: log.error("%s %s: %s, last: HTTP 502", event.circuit, event.kind, event.reason))
        box.circuit("tts", failures=1, cooldown="1m")
        log.error(LINE)
        box.clock.advance("1m")
        assert box.circuit("tts").state is State.HALF_OPEN
        with box.circuit("tts"):
            pass
        assert [event.kind for event in box.events] == ["tripped", "probing", "resumed"]
    assert sum(line.startswith("tts ") for line in seen) == 3
    assert any(line.startswith("hook") and "502" in line for line in seen)
    assert any(line.startswith("patient") and "502" in line for line in seen)


def test_listeners_and_hooks_are_passed_over_whatever_brought_them_about(log):
    """Not only while the handler counts: a trip that it had no part in is told of in the same words."""

    async def patient(alert: Any) -> None:
        log.error("%s: %s", alert.circuit, LINE)

    with Sandbox(alerts=[lambda alert: log.error("%s: %s", alert.circuit, LINE), patient]) as box:
        attached(log, box)
        box.listen(lambda event: log.error("%s: %s", event.circuit, LINE))
        box.trip("tts")
        assert len(box.alerts) == 1
        assert failures(box) == 0
        log.error(LINE)
        assert failures(box) == 1


# -- once for each call ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("key", ["call-17", 17, uuid.UUID(int=17)], ids=lambda key: type(key).__name__)
def test_a_call_that_logs_its_failure_three_times_is_one(box, log, name, key):
    """The id is found where the packages that log put it; another call is another failure, a later window too."""
    for each in (key, key, key, "call-18"):
        log.error(LINE, extra={name: each})
    assert (failures(box), failures(box, "stt")) == (2, 2)
    box.clock.advance("5m")
    log.error(LINE, extra={name: key})
    assert failures(box) == 1


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize("extra", [None, {"call_id": None}, {"call_id": ""}, {"call_id": True}, {"call_id": []}])
def test_without_an_id_each_record_counts(box, log, extra):
    """What is no id is none."""
    for _ in range(3):
        log.error(LINE, extra=extra)
    assert failures(box) == 3


@pytest.mark.usefixtures("read")
def test_a_block_says_which_call_it_is(box, log):
    """The inner of two counts, and either says more than what a package happens to put into its records."""
    with call_id("call-1"):
        log.error(LINE, extra={"request_id": "first try"})
        log.error(LINE, extra={"request_id": "second try"})
        with call_id("call-2"):
            log.error(LINE)
        log.error(LINE)
    assert failures(box) == 2
    log.error(LINE)
    assert failures(box) == 3


@pytest.mark.usefixtures("read")
async def test_a_block_follows_the_code_into_tasks_and_threads_of_the_loop(box, log):
    """Each call has its own id, however they are interleaved, on either event loop."""

    async def call(name: str) -> None:
        with call_id(name):
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
                log.error(LINE)
            await anyio.to_thread.run_sync(log.error, LINE)

    async with anyio.create_task_group() as tasks:
        for name in ("call-1", "call-2"):
            tasks.start_soon(call, name)
    assert failures(box) == 2


@pytest.mark.parametrize("key", ["", None, 17])
def test_a_block_without_an_id_is_refused(key):
    """A call whose id is missing would otherwise swallow the failures of all others without one."""
    with pytest.raises(ConfigurationError, match="a text that is not empty"), call_id(key):
        pass


def test_an_own_rule_finds_the_id(box, log):
    """A function of the record; None is none."""
    attached(log, box, once=lambda record: getattr(record, "room", None))
    for room in ("r1", "r1", "r2", None, None, ""):
        log.error(LINE, extra={"room": room, "call_id": "the same"})
    assert failures(box) == 2 + 3


@pytest.mark.parametrize("broken", [lambda record: 1 / 0, lambda record: [record], lambda: "x"])
def test_a_rule_that_raises_is_said_once_and_each_record_counts(box, log, caplog, broken):
    """Rather too many than none; the log says that it is broken when it begins to be."""
    attached(log, box, once=broken)
    for _ in range(3):
        log.error(LINE)
    assert failures(box) == 3
    assert [record.getMessage().partition("=")[0] for record in caplog.records if record.name == "recloser"] == ["once"]


def test_ids_of_any_length_take_no_more_room_than_others(box, log):
    """A key is kept in the backend for a window: of a novel, its beginning is."""
    attached(log, box)
    for end in "ab":
        log.error(LINE, extra={"call_id": "x" * 100_000 + end})
    assert failures(box) == 1


# -- where patterns come from ------------------------------------------------------------------------------------------


def test_patterns_may_change_while_the_handler_is_attached(box, log):
    """A function is asked for each record, so that a rules file that is read again takes effect."""
    present = Patterns()
    handler = attached(log, box, lambda: present)
    log.error(LINE)
    present = Patterns.parse("x", {"tts": ["http 502"]})
    log.error(LINE)
    assert failures(box) == 1
    assert handler.patterns is present


@pytest.mark.parametrize("wrong", [lambda: 1 / 0, lambda: None, lambda: {"tts": ["x"]}])
def test_the_last_good_patterns_stay(box, log, caplog, wrong):
    """A source that fails is said once, and what was known holds."""
    ask: list[Callable[[], Any]] = [lambda: Patterns.parse("x", PATTERNS)]
    attached(log, box, lambda: ask[-1]())  # noqa: PLW0108 - the last of the moment
    log.error(LINE)
    ask.append(wrong)
    log.error(LINE)
    log.error(LINE)
    assert failures(box) == 3
    assert len([record for record in caplog.records if record.name == "recloser"]) == 1


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"patterns": ["http 502"]}, "patterns"),
        ({"patterns": {"t t s": ["http 502"]}}, "patterns"),
        ({"patterns": {"tts": "http 502"}}, "patterns['tts']"),
        ({"patterns": {"tts": ["recloser"]}}, "patterns['tts'][0]"),
        ({"level": "LOUD"}, "level"),
        ({"level": None}, "level"),
        ({"recloser": "redis://"}, "recloser"),
        ({"once": "call_id"}, "once"),
    ],
)
def test_an_impossible_argument_is_refused_where_it_is_written(arguments, key):
    """Not when the first error is logged, at night."""
    with pytest.raises(ConfigurationError) as caught:
        PatternHandler(**{"patterns": PATTERNS, **arguments})
    assert caught.value.key == key


def test_a_logging_configuration_makes_it(box):
    """`logging.config.dictConfig` hands its mappings and lists over as its own kinds of them."""
    with lonely("configured") as log:
        handlers = {"providers": {"()": PatternHandler, "patterns": PATTERNS, "level": "ERROR"}}
        loggers = {"configured": {"handlers": ["providers"], "propagate": False}}
        config = {"version": 1, "handlers": handlers, "loggers": loggers, "disable_existing_loggers": False}
        logging.config.dictConfig(config)
        log.error("no answer within deadline 300ms")
    assert failures(box) == 1
