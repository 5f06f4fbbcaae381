"""The pytest plugin: each test a fleet of its own, under every runner, and nothing left behind."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SPEECH = """
from recloser import circuit, fallback, requires

@circuit("tts", failures=2)
def speak(text):
    if text == "boom":
        raise ConnectionError(text)
    return text

@circuit("tts")
async def speak_async(text):
    return speak.__wrapped__(text)

@fallback("eleven", "cartesia")
def say(provider):
    return provider

@requires(speak, say)
def dial():
    return "dialled"
"""

MODULES = {
    "speech": SPEECH,
    "imported_late": SPEECH.replace('"tts"', '"late"'),
    "conflicting": 'from recloser import circuit\n\nsecond = circuit("tts", failures=7)\n',
}

ISOLATED = '''
"""Trips, clocks and events of one test are unknown to the next, in whatever worker it runs."""
import pytest
from recloser import PausedError, State, circuit
from speech import dial, say, speak

@pytest.mark.parametrize("turn", range(4))
def test_trips(recloser, turn):
    assert circuit("tts").snapshot().calls == 0
    for _ in range(2):
        with pytest.raises(ConnectionError):
            speak("boom")
    with pytest.raises(PausedError):
        speak("hello")
    with pytest.raises(PausedError):
        dial()
    assert [event.kind for event in recloser.events] == ["tripped"]

@pytest.mark.parametrize("turn", range(4))
def test_is_well(recloser, turn):
    assert speak("hello") == "hello"
    assert (dial(), say()) == ("dialled", "eleven")
    assert list(recloser.events) == []
    assert recloser.clock.now() == 0

@pytest.mark.parametrize("turn", range(4))
def test_clock(recloser, turn):
    recloser.trip("tts")
    recloser.clock.advance("15m")
    assert circuit("tts").state is State.HALF_OPEN
    recloser.heal("tts")
    assert speak("hello") == "hello"
'''

ASYNC = '''
"""Async tests follow the fixture, deadlines included."""
import anyio, pytest
from recloser import PausedError, circuit
from speech import speak_async

@pytest.mark.parametrize("turn", range(2))
{mark}
async def test_follows(recloser, turn):
    assert circuit("tts").snapshot().calls == 0
    assert await speak_async("hello") == "hello"
    recloser.trip("tts")
    with pytest.raises(PausedError):
        await speak_async("hello")

{mark}
async def test_deadline(recloser):
    @circuit("slow", timeout="5s")
    async def hangs():
        recloser.clock.advance("5s")
        await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        await hangs()
'''

SCENARIOS = {
    "test_late": '''
"""A module that a test is the first to import is followed in that test and in every one that comes after."""
import pytest
from recloser import PausedError, circuit

@pytest.mark.parametrize("turn", range(3))
def test_late(recloser, turn):
    import imported_late
    assert circuit("late").policy.failures == 2
    for _ in range(2):
        with pytest.raises(ConnectionError):
            imported_late.speak("boom")
    with pytest.raises(PausedError):
        imported_late.dial()
    recloser.heal("late")
    assert imported_late.dial() == "dialled"
''',
    "test_local": '''
"""Two tests may use one name with two policies; a conflict within a test is one, and so is one with a module."""
import pytest
from recloser import ConfigurationError, circuit

@pytest.mark.parametrize("failures", [1, 2, 3])
def test_local(recloser, failures):
    local = circuit("local", failures=failures)
    for _ in range(failures):
        assert local.allows()
        local.record_failure()
    assert not local.allows()
    with pytest.raises(ConfigurationError, match="test_local.py"):
        circuit("local", failures=9)

def test_a_module_is_not_overruled(recloser):
    import speech
    with pytest.raises(ConfigurationError, match="speech.py"):
        circuit("tts", failures=9)
    assert circuit("tts").policy.failures == 2
''',
    "test_conflict": '''
"""Modules that contradict each other do so in every test, not only in the one that imports the second first."""
import pytest
from recloser import ConfigurationError
import speech

@pytest.mark.parametrize("turn", range(2))
def test_conflict(recloser, turn):
    with pytest.raises(ConfigurationError, match=r"(?=.*speech[.]py:4)(?=.*conflicting[.]py:3)"):
        import conflicting
''',
    "test_left": '''
"""No thread, no alarm, no engine is left; outside of tests that use the fixture, everything is as it was."""
import threading
import pytest
from recloser import State, circuit, status
from recloser.default import DEFAULT
from speech import speak

def test_uses_everything(recloser):
    recloser.trip("tts")
    recloser.pause("other", reason="test", by="test", for_="1h")
    assert status()["tts"].state is State.OPEN

@pytest.mark.xfail(strict=True, raises=RuntimeError)
def test_fails(recloser):
    recloser.trip("tts")
    raise RuntimeError("the test's own")

def test_nothing_is_left():
    assert threading.active_count() == 1
    assert DEFAULT._installed is None
    try:
        assert speak("hello") == "hello"
        assert circuit("tts").state is State.CLOSED
    finally:
        DEFAULT._install(None)

def test_the_next(recloser):
    assert circuit("tts").snapshot().calls == 0
''',
    "test_outlives": '''
"""A stream that a test forgot is settled in the fleet that it was begun in."""
import pytest
from recloser import circuit

forgotten = []

@circuit("stream", failures=1)
def stream():
    yield 1
    raise ConnectionError

def test_forgets(recloser):
    forgotten.append(stream())
    next(forgotten[0])

def test_next(recloser):
    with pytest.raises(ConnectionError):
        next(forgotten[0])
    assert circuit("stream").allows()
    assert circuit("stream").snapshot().calls == 0
''',
    "test_own": '''
"""``recloser.testing`` serves those who do not use the fixture, beside those who do."""
from recloser import State, circuit
from recloser.testing import Sandbox

def test_own(recloser):
    one, other = Sandbox(), Sandbox()
    one.trip("tts")
    assert (one.circuit("tts").state, other.circuit("tts").state) == (State.OPEN, State.CLOSED)
    one.clock.advance("15m")
    assert one.circuit("tts").state is State.HALF_OPEN
    assert (other.clock.now(), recloser.clock.now()) == (0, 0)
    assert circuit("tts").state is State.CLOSED
''',
}


def run(folder: Path, *arguments: str, **files: str) -> dict[str, dict[str, int]]:
    """How many tests passed and failed in a run of its own over ``files``, by file; warnings are errors."""
    for name, source in {**MODULES, **files}.items():
        (folder / f"{name}.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\npythonpath = .\n")
    quick = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--junitxml=report.xml")
    command = [sys.executable, "-m", "pytest", *quick, *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    counts: dict[str, dict[str, int]] = {name: {"passed": 0, "failed": 0} for name in files}
    for case in ET.parse(folder / "report.xml").iter("testcase"):
        wrong = any(case.find(tag) is not None for tag in ("failure", "error"))
        counts[case.attrib["classname"]]["failed" if wrong else "passed"] += 1
    print(ended.stdout, ended.stderr)  # noqa: T201 - shown when the test fails
    return counts


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """What became of all scenarios in one run."""
    return run(tmp_path_factory.mktemp("scenarios"), "-p", "no:asyncio", test_isolated=ISOLATED, **SCENARIOS)


@pytest.mark.parametrize("scenario", ["test_isolated", *SCENARIOS])
def test_tests_of_users(outcomes, scenario):
    """The sentence at the top of the scenario."""
    assert ast.get_docstring(ast.parse(SCENARIOS.get(scenario, ISOLATED)))
    assert outcomes[scenario]["passed"] > 0
    assert outcomes[scenario]["failed"] == 0


def test_tests_in_parallel(tmp_path):
    """Under pytest-xdist every worker is a process with fleets of its own."""
    assert run(tmp_path, "-p", "no:asyncio", "-n", "2", test_isolated=ISOLATED) == {
        "test_isolated": {"passed": 12, "failed": 0}
    }


@pytest.mark.parametrize(
    ("mode", "mark", "passed"),
    [("strict", "@pytest.mark.asyncio", 3), ("auto", "", 3), ("anyio", "@pytest.mark.anyio", 6)],
)
def test_async_tests(tmp_path, mode, mark, passed):
    """Under pytest-asyncio, and under anyio on asyncio and trio."""
    options = ("-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function")
    arguments = ("-p", "no:asyncio") if mode == "anyio" else options
    assert run(tmp_path, *arguments, test_async=ASYNC.format(mark=mark)) == {
        "test_async": {"passed": passed, "failed": 0}
    }


@pytest.mark.xfail(
    strict=True, reason="LIMIT: importing recloser.pytest_plugin imports recloser, which imports everything"
)
def test_a_run_that_does_not_use_it_hardly_loads_it(tmp_path):
    """The entry point loads nothing that other people's tests would have to wait for."""
    source = '''
import sys

def test_other():
    """Whatever the plugin's own module needs, it is no wrapper, no backend and no event loop."""
    assert not {"recloser.default", "recloser.backends.memory", "recloser.wrapping", "wrapt"} & set(sys.modules)
'''
    assert run(tmp_path, "-p", "no:asyncio", "-p", "no:anyio", test_other=source) == {
        "test_other": {"passed": 1, "failed": 0}
    }
