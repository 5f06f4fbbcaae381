"""Every shape of a call, through every ending: counted exactly once, the permit back, the error untouched."""

from __future__ import annotations

import asyncio
import gc

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from recloser import PausedError, State, circuit
from tests.wrapping.fakes import HANG, BadRequestError, Provider, ProviderDownError
from tests.wrapping.shapes import (
    FAILURE,
    IGNORED,
    NAME,
    SLOW,
    SUCCESS,
    counted,
    half_open,
    own_frames,
    probe_is_free,
    rows,
)

CLOSED_ALREADY = {"close"}
"""Points after the application closed the connection: whatever happens there is not the provider's failure."""


def failing(shape):
    return [point for point in shape.points if point not in CLOSED_ALREADY]


def hanging(shape):
    return [point for point in shape.awaited if point not in CLOSED_ALREADY]


def timed(points):
    """How long a connection takes to say goodbye is not judged."""
    return lambda shape: [point for point in points(shape) if point != "exit"]


@rows()
async def test_a_success_is_counted_once_and_changes_nothing(recloser, shape, anyio_backend):
    """The application gets what it would get without a circuit, and the provider is asked the same."""
    bare, wrapped = Provider(), Provider(recloser.clock)
    expected = await shape.use(shape.build(bare))
    assert await shape.on(wrapped)() == expected
    assert wrapped.reached == bare.reached
    assert counted() == SUCCESS


@rows(points=failing)
async def test_a_failure_is_counted_once_and_raised_as_it_is(recloser, shape, point, anyio_backend):
    """Wherever in the call the provider fails, the caller gets the same exception object, and it counts once."""
    error = ProviderDownError("down")
    with pytest.raises(ProviderDownError) as caught:
        await shape.on(Provider(recloser.clock, **{point: error}))()
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    assert counted() == FAILURE


@rows(points=failing)
async def test_the_traceback_has_at_most_one_frame_of_ours(recloser, shape, point, anyio_backend):
    """What people read when a call fails is their own code, and one line that says it is protected."""
    error = ProviderDownError("down")
    with pytest.raises(ProviderDownError):
        await shape.on(Provider(recloser.clock, **{point: error}))()
    assert len(own_frames(error)) <= 1


@rows(points=failing)
async def test_an_ignored_error_counts_for_neither_side(recloser, shape, point, anyio_backend):
    """A bad request of the caller is neither a failure nor a success, and a probe that meets one is free again."""
    half_open(recloser)
    with pytest.raises(BadRequestError):
        await shape.on(Provider(recloser.clock, **{point: BadRequestError()}))()
    assert probe_is_free()
    assert counted() == IGNORED


@rows()
async def test_a_probe_that_passes_closes_the_circuit(recloser, shape, anyio_backend):
    """A stream is a passed probe when it has ended, not when it has begun."""
    half_open(recloser)
    await shape.on(Provider(recloser.clock))()
    assert circuit(NAME).state is State.CLOSED


@rows(points=failing)
async def test_a_probe_that_fails_opens_it_again(recloser, shape, point, anyio_backend):
    """The next pause is the longer one."""
    half_open(recloser)
    with pytest.raises(ProviderDownError):
        await shape.on(Provider(recloser.clock, **{point: ProviderDownError()}))()
    assert circuit(NAME).state is State.OPEN
    assert recloser.events[-1].kind == "re-tripped"


@rows()
async def test_only_one_probe_goes_out_at_a_time(recloser, shape, anyio_backend):
    """While the probe of another caller is out, calls are rejected before the provider hears of them."""
    half_open(recloser)
    circuit(NAME).acquire()
    provider = Provider(recloser.clock)
    with pytest.raises(PausedError) as caught:
        await shape.on(provider)()
    assert caught.value.state is State.HALF_OPEN
    assert provider.reached == []


@rows()
async def test_an_open_circuit_rejects_before_the_provider_is_asked(recloser, shape, anyio_backend):
    """PausedError instead of a call, counted as rejected and not as a call."""
    recloser.trip(NAME)
    provider = Provider(recloser.clock)
    with pytest.raises(PausedError) as caught:
        await shape.on(provider)()
    assert (caught.value.circuit, caught.value.retry_after) == (NAME, 900)
    assert provider.reached == []
    assert counted() == {"rejected": 1}


@rows(points=hanging)
@pytest.mark.parametrize("way", ["anyio", "native"])
async def test_a_cancelled_call_is_ignored(recloser, shape, point, anyio_backend, way):
    """A barge-in is no failure, wherever it comes and whichever event loop cancels, and a probe's permit comes back."""
    half_open(recloser)
    await cancelled(shape, Provider(recloser.clock, **{point: HANG}), way, anyio_backend)
    assert probe_is_free()
    assert counted() == IGNORED
    await shape.on(Provider(recloser.clock))()
    assert circuit(NAME).state is State.CLOSED


@rows(points=timed(hanging))
async def test_a_call_cancelled_after_it_had_run_too_long_is_slow(recloser, shape, point, anyio_backend):
    """A caller's own outer timeout does not hide a provider that hangs."""
    circuit(NAME, slow_after="5s")
    await cancelled(shape, TakesLong(recloser.clock, **{point: HANG}), "anyio", anyio_backend)
    gc.collect(1)
    assert counted() == SLOW


@rows(points=timed(failing))
async def test_a_call_that_took_too_long_is_slow(recloser, shape, point, anyio_backend):
    """Time that passes anywhere while the provider is waited for counts."""
    circuit(NAME, slow_after="5s")
    await shape.on(Provider(recloser.clock, **{point: 5.1}))()
    assert counted() == SLOW


@rows(points=failing)
async def test_a_late_outcome_of_an_older_generation_changes_nothing(recloser, shape, point, anyio_backend):
    """A call that began before an operator paused and resumed the circuit says nothing about it now."""

    class Elsewhere:
        def advance(self, _):
            recloser.pause(NAME, reason="test", by="test")
            recloser.resume(NAME, by="test")

    await shape.on(Provider(Elsewhere(), **{point: 1}))()
    assert counted() == {}


@rows(points=failing)
@pytest.mark.parametrize("mode", ["observe", "off"])
async def test_a_circuit_that_does_not_enforce_lets_everything_through(recloser, shape, point, anyio_backend, mode):
    """``observe`` counts and trips, ``off`` does neither, and both reject nothing."""
    circuit(NAME, mode=mode, failures=1)
    for _ in range(2):
        with pytest.raises(ProviderDownError):
            await shape.on(Provider(recloser.clock, **{point: ProviderDownError()}))()
    assert circuit(NAME).state is (State.OPEN if mode == "observe" else State.CLOSED)
    assert counted().get("failures", 0) == (2 if mode == "observe" else 0)


class TakesLong(Provider):
    """Hangs for longer than ``slow_after`` before it is given up."""

    async def reach(self, point):
        if self.plan.get(point) == HANG:
            self.clock.advance("6s")
        await super().reach(point)


async def cancelled(shape, provider, way, backend):
    """Makes a call that is cancelled where ``provider`` hangs."""
    call = shape.on(provider)
    if way == "anyio" or backend == "trio":
        with anyio.CancelScope() if way == "anyio" else trio.CancelScope() as scope:
            provider.cancel = scope.cancel
            await call()
    else:
        task = asyncio.ensure_future(call())
        provider.cancel = task.cancel
        with pytest.raises(asyncio.CancelledError):
            await task
    await checkpoint()  # until then, Python keeps the traceback, and with it whatever was dropped
