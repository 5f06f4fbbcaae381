"""Generators, sync and async: everything that a generator can do, and every way in which it can be left."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import textwrap
import types

import pytest
from anyio.lowlevel import checkpoint

from recloser import State, circuit
from recloser.locks import Section, _here, unless_held
from tests.wrapping.fakes import Provider, ProviderDownError, async_echo, async_generator, echo, generator
from tests.wrapping.shapes import FAILURE, IGNORED, NAME, SLOW, SUCCESS, counted, half_open, probe_is_free

FORMS = ["function", "returned"]
WATCHED = [{}, {"slow_after": "1h"}, {"min_items": 1}]
"""Without rules that look at items, a sync generator is handed through as it is; both ways must behave the same."""


class AsAsync:
    """A sync generator behind the methods of an async one, so that one test serves both."""

    def __init__(self, stream):
        self.stream = stream

    async def __anext__(self):
        return self._to(next, self.stream)

    async def asend(self, value):
        return self._to(self.stream.send, value)

    async def athrow(self, error):
        return self._to(self.stream.throw, error)

    async def aclose(self):
        self.stream.close()

    @staticmethod
    def _to(method, *args):
        try:
            return method(*args)
        except StopIteration:
            raise StopAsyncIteration from None


class Opener:
    """Opens a generator of one of the kinds, protected by a circuit with one of the sets of rules."""

    def __init__(self, kind, form, rules):
        self.kind, self.form, self.rules = kind, form, rules

    def __call__(self, sync, asynchronous, provider):
        build = (sync if self.kind == "sync" else asynchronous)(provider)

        def returning():
            return build()

        function = returning if self.form == "returned" else build
        stream = circuit(NAME, **self.rules)(function)()
        return AsAsync(stream) if self.kind == "sync" else stream


@pytest.fixture(params=["sync", "async"])
def kind(request):
    return request.param


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture(params=WATCHED, ids=["plain", "timed", "counted"])
def opened(request, kind, form, recloser):
    """Opens a generator of every kind there is, in turn."""
    return Opener(kind, form, request.param)


async def test_what_is_sent_reaches_the_stream(opened):
    """A conversation goes on through the circuit, and is one call."""
    stream = opened(echo, async_echo, Provider())
    assert await anext(stream) == "ready"
    assert await stream.asend("hello") == "hello"
    assert await stream.asend("again") == "again"
    with pytest.raises(StopAsyncIteration):
        await stream.asend("enough")
    assert counted() == SUCCESS


async def test_what_is_thrown_reaches_the_stream(opened):
    """A stream that can deal with what its reader throws at it goes on."""
    stream = opened(echo, async_echo, Provider())
    await anext(stream)
    error = KeyError("thrown")
    assert await stream.athrow(error) is error
    assert await stream.asend("hello") == "hello"
    assert counted() == {}
    await stream.aclose()


async def test_a_provider_error_thrown_by_the_reader_counts(opened):
    """``@contextmanager`` hands a generator what went wrong in its body; the provider's errors are the provider's."""
    stream = opened(echo, async_echo, Provider())
    await anext(stream)
    error = ProviderDownError()
    with pytest.raises(ProviderDownError) as caught:
        await stream.athrow(error)
    assert caught.value is error
    assert counted() == FAILURE


async def test_an_error_of_the_reader_thrown_in_does_not_count(opened):
    """A caller's own KeyError says nothing about the provider, as in the body of a ``with`` block."""
    stream = opened(generator, async_generator, Provider())
    await anext(stream)
    with pytest.raises(KeyError):
        await stream.athrow(KeyError("mine"))
    assert counted() == IGNORED


async def test_a_stream_that_is_closed_early_is_ignored(opened, recloser):
    """Closing reaches the stream's own clean-up, counts for neither side, and frees the probe."""
    half_open(recloser)
    provider = Provider()
    stream = opened(echo, async_echo, provider)
    await anext(stream)
    await stream.aclose()
    assert provider.reached == ["closed"]
    assert counted() == IGNORED
    assert probe_is_free()


async def test_a_stream_that_fails_while_the_application_closes_it_is_ignored(opened):
    """A stream that the application closed itself has not failed, whatever it says to that."""
    error = ProviderDownError("cannot say goodbye")
    stream = opened(echo, async_echo, Provider(closed=error))
    await anext(stream)
    with pytest.raises(ProviderDownError) as caught:
        await stream.aclose()
    assert caught.value is error
    assert counted() == IGNORED


async def test_a_stream_closed_after_it_kept_its_reader_waiting_is_slow(kind, form, recloser):
    """Leaving a stream early does not hide that it was slow."""
    opened = Opener(kind, form, {"slow_after": "5s"})
    stream = opened(generator, async_generator, Provider(recloser.clock, first=5.1))
    await anext(stream)
    await stream.aclose()
    assert counted() == SLOW


async def test_the_time_that_a_reader_takes_is_not_the_providers(kind, form, recloser):
    """A caller who listens to each piece of speech for a minute makes no slow call."""
    opened = Opener(kind, form, {"slow_after": "5s", "idle": "5s"})
    stream = opened(generator, async_generator, Provider(recloser.clock, first=2, later=2))
    await anext(stream)
    recloser.clock.advance("1m")
    await anext(stream)
    recloser.clock.advance("1m")
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert counted() == SUCCESS


async def test_a_generator_that_is_never_started_costs_nothing(kind, recloser):
    """Nothing of it runs, so nothing is asked of the circuit, not even by an open one."""
    half_open(recloser)
    for closing in (True, False):
        provider = Provider()
        stream = Opener(kind, "function", {})(echo, async_echo, provider)
        if closing:
            await stream.aclose()
        del stream
        assert provider.reached == []
        assert counted() == {}
        assert probe_is_free()
    recloser.trip(NAME)
    Opener(kind, "function", {})(echo, async_echo, provider)


@pytest.mark.parametrize("closing", [True, False])
async def test_a_returned_generator_that_is_never_started_frees_its_probe(kind, recloser, closing):
    """A plain function that returns a generator was called, and what it returned was abandoned."""
    half_open(recloser)
    stream = Opener(kind, "returned", {})(echo, async_echo, Provider())
    if closing:
        await stream.aclose()
    del stream
    assert probe_is_free()


async def test_a_generator_that_ended_stays_ended(opened):
    """Asking again after the end is not another call."""
    stream = opened(generator, async_generator, Provider())
    items = [await anext(stream), await anext(stream)]
    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    await stream.aclose()
    assert items == ["first", "later"]
    assert counted() == SUCCESS


@pytest.mark.parametrize("rules", WATCHED)
@pytest.mark.parametrize("form", FORMS)
def test_a_generator_returns_its_value(recloser, rules, form):
    """``yield from`` gets what the generator returned."""

    def stream():
        yield 1
        return "the end"

    def returning():
        return stream()

    def read():
        return (yield from circuit(NAME, **rules)(returning if form == "returned" else stream)())

    reading = read()
    assert next(reading) == 1
    with pytest.raises(StopIteration) as stop:
        next(reading)
    assert stop.value.value == "the end"
    assert counted() == SUCCESS


@pytest.mark.parametrize("rules", WATCHED)
@pytest.mark.parametrize("form", FORMS)
def test_a_generator_that_is_dropped_frees_its_probe(recloser, rules, form):
    """A reader that breaks out of its loop and forgets the generator, even in a reference cycle, has left it."""
    half_open(recloser)
    provider = Provider()
    stream = Opener("sync", form, rules)(echo, async_echo, provider).stream
    for _ in stream:
        break
    loop = [stream]
    loop.append(loop)
    del loop, stream
    gc.collect(1)
    assert provider.reached == ["closed"]
    assert counted() == IGNORED
    assert probe_is_free()


@pytest.mark.parametrize("rules", WATCHED)
@pytest.mark.parametrize("form", FORMS)
async def test_an_async_generator_that_is_dropped_frees_its_probe(recloser, rules, form, anyio_backend):
    """The event loop closes what was forgotten, and that is a leaving like any other."""
    half_open(recloser)
    provider = Provider()
    stream = Opener("async", form, rules)(echo, async_echo, provider)
    # Trio tells its users that they should have closed it; so it would without a circuit.
    warning = pytest.warns(ResourceWarning) if anyio_backend == "trio" else contextlib.nullcontext()
    with warning:
        async for _ in stream:
            break
        del stream
        gc.collect(1)
        for _ in range(5):
            await checkpoint()
    assert provider.reached == ["closed"]
    assert counted() == IGNORED
    assert probe_is_free()


def test_a_circuit_on_a_generator_under_contextmanager(recloser):
    """``@contextmanager`` over a circuit over a generator: left in order it is a success, and the value is there."""

    @contextlib.contextmanager
    @circuit(NAME)
    def session():
        yield "session"

    with session() as value:
        assert value == "session"
    assert counted() == SUCCESS
    with pytest.raises(ProviderDownError), session():
        raise ProviderDownError
    assert counted() == {"calls": 2, "failures": 1}


def test_the_generator_is_one(recloser):
    """Whoever asks ``isinstance`` gets the answer that the bare function gives."""
    assert isinstance(circuit(NAME)(generator(Provider()))(), types.GeneratorType)
    assert isinstance(circuit(NAME)(async_generator(Provider()))(), types.AsyncGeneratorType)


DEADLOCK = """
import faulthandler, gc
from recloser import Recloser

faulthandler.dump_traceback_later(4, exit=True)
circuit = Recloser().circuit("provider", failures=None, {stream})

class Stream:
    def __iter__(self): return self
    def __next__(self): return 1

@circuit
def opened():
    {opened}

@circuit
def fails():
    raise ConnectionError

def litter():
    stream = opened()
    next(stream)
    loop = [stream]
    loop.append(loop)

for turn in range(400):
    gc.disable()
    litter()
    gc.enable()
    gc.set_threshold(1 + turn % 80)  # so that it is collected here or there on the way of the next call
    try:
        fails()
    except ConnectionError:
        pass
"""


@pytest.mark.parametrize(
    ("opened", "stream"),
    [("yield 1", "stream=False"), ("return Stream()", "stream=True")],
    ids=["generator", "proxy"],
)
def test_the_garbage_collector_may_run_at_any_moment(opened, stream):
    """An abandoned stream may be collected while its own thread delivers outcomes, and must not wait for itself."""
    script = textwrap.dedent(DEADLOCK).format(opened=opened, stream=stream)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=15, check=False)
    assert run.returncode == 0, run.stderr


def test_what_the_collector_brings_waits_until_no_lock_is_held():
    """And is done then, also when it comes in the innermost of several sections."""
    done = []
    with Section():
        with Section():
            unless_held(lambda: done.append(1))
        assert done == []
    assert done == [1]


def test_an_interrupt_while_a_lock_is_waited_for_leaves_nothing_held():
    """Ctrl-C on the way into a section: outcomes that this thread settles later are delivered all the same."""

    class Interrupted:
        def acquire(self):
            raise KeyboardInterrupt

    section, done = Section(), []
    section._lock = Interrupted()
    try:
        with pytest.raises(KeyboardInterrupt), section:
            pytest.fail("it was entered")
        unless_held(lambda: done.append(1))
        assert done == [1]
    finally:
        _here.__dict__.clear()
        _here.__init__()


def test_a_late_generator_changes_nothing(recloser):
    """A stream that began before the pause and ends after it belongs to the older generation."""
    stream = circuit(NAME)(generator(Provider()))()
    next(stream)
    recloser.pause(NAME, reason="test", by="test")
    assert list(stream) == ["later"]
    assert circuit(NAME).state is State.PAUSED
    assert counted() == {}
