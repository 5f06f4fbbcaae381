"""Fallback: one call on one provider after another, in every calling style, and back by itself."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from recloser import PausedError, ProvidersExhaustedError, State, circuit, fallback, pause
from recloser.errors import RefusedResultError
from tests.wrapping.fakes import HANG, BadRequestError, ProviderDownError
from tests.wrapping.fakes import Provider as Fake
from tests.wrapping.shapes import FAILURE, IGNORED, SUCCESS, counted, half_open, own_frames, rows

A, B, C = "eleven", "cartesia", "azure"


class Clients:
    """One fake for each provider, of one shape, and how an application uses what it gets."""

    def __init__(self, shape, clock):
        self.shape = shape
        self.fakes = {name: Fake(clock) for name in (A, B, C)}
        self.tried = []

    def told(self, name, **plan):
        """Tells one provider what to do from now on."""
        self.fakes[name].plan = plan
        return self

    def by_names(self, *names, protected=False, maker=None, **rules):
        """A function of this shape, decorated with a fallback over circuits of these names.

        With ``protected``, its clients pass through the same circuits themselves.
        """
        mentions = [circuit(name, stream=self.shape.stream, **rules) for name in names]
        builds = {name: self.shape.build(fake) for name, fake in self.fakes.items()}
        if protected:
            builds |= {mention.name: mention(builds[mention.name]) for mention in mentions}
        make = maker or MAKERS.get(self.shape.name, plain)
        return fallback(*mentions)(make(self.tried, builds))

    async def use(self, call):
        """One call, and who was asked for it."""
        self.tried.clear()
        return await self.shape.use(call), self.tried


# A function of each kind that is handed a provider: the kind is all that a fallback can see before it is called.


def plain(tried, builds):
    def call(provider):
        tried.append(provider)
        return builds[provider]()

    return call


def asynchronous(tried, builds):
    async def call(provider):
        tried.append(provider)
        return await builds[provider]()

    return call


def generating(tried, builds):
    def call(provider):
        tried.append(provider)
        return (yield from builds[provider]())

    return call


def generating_async(tried, builds):
    async def call(provider):
        tried.append(provider)
        async for item in builds[provider]():
            yield item

    return call


MAKERS = {
    "generator": generating,
    "async generator": generating_async,
    "async function": asynchronous,
    "async stream": asynchronous,
    "async events": asynchronous,
}


MOVED = frozenset({
    "function", "async function", "lambda of a coroutine", "awaitable object", "generator", "returned generator",
    "async generator", "returned async generator", "stream", "entered stream", "events", "async stream",
    "async events", "manager", "manager of a stream", "async manager", "async manager of a stream",
    "connect, entered", "connect, awaited", "connect, iterated",
})  # fmt: skip
"""Shapes in which a fallback is used; a future is the application's own."""


def moving(shape):
    return shape.name in MOVED


def before_anything_came(shape):
    """Where another provider can take over; a manager that has handed out something has given it."""
    return [point for point in shape.points if point in {"call", "enter", "first"} and not has_begun(shape, point)]


def after_something_came(shape):
    return [point for point in shape.points if point in {"later", "end"} or has_begun(shape, point)]


def has_begun(shape, point):
    return point == "first" and "manager" in shape.name


@rows(moving)
async def test_the_first_provider_answers_while_it_is_well(recloser, shape, anyio_backend):
    """Nobody asks the others, and the call counts once, at the first."""
    clients = Clients(shape, recloser.clock)
    answer, tried = await clients.use(clients.by_names(A, B))
    assert answer == await shape.use(shape.build(Fake()))
    assert tried == [A]
    assert (counted(A), counted(B)) == (SUCCESS, {})


@rows(moving, points=before_anything_came)
async def test_a_failure_moves_the_call_on(recloser, shape, point, anyio_backend):
    """As long as nothing has come, the caller never notices: it gets the second provider's answer, all of it."""
    clients = Clients(shape, recloser.clock).told(A, **{point: ProviderDownError()})
    answer, tried = await clients.use(clients.by_names(A, B, C))
    assert answer == await shape.use(shape.build(Fake()))
    assert tried == [A, B]
    assert (counted(A), counted(B), counted(C)) == (FAILURE, SUCCESS, {})


@rows(moving, points=before_anything_came)
async def test_when_all_have_failed_it_says_who_and_why(recloser, shape, point, anyio_backend):
    """ProvidersExhaustedError with every provider's error, raised from the last."""
    errors = {name: ProviderDownError(name) for name in (A, B)}
    clients = Clients(shape, recloser.clock)
    for name, error in errors.items():
        clients.told(name, **{point: error})
    with pytest.raises(ProvidersExhaustedError) as caught:
        await clients.use(clients.by_names(A, B))
    assert caught.value.errors == errors
    assert caught.value.__cause__ is errors[B]
    assert str(caught.value) == f"no provider answered ({A}: ProviderDownError: {A}; {B}: ProviderDownError: {B})"
    assert counted(A) == counted(B) == FAILURE


@rows(moving, points=after_something_came)
async def test_a_stream_that_has_begun_does_not_move(recloser, shape, point, anyio_backend):
    """After the first item a failure is the caller's to see: half a sentence is not said again by another voice."""
    error = ProviderDownError()
    clients = Clients(shape, recloser.clock).told(A, **{point: error})
    with pytest.raises(ProviderDownError) as caught:
        await clients.use(clients.by_names(A, B))
    assert caught.value is error
    assert clients.tried == [A]
    assert (counted(A), counted(B)) == (FAILURE, {})


@rows(moving, points=before_anything_came)
async def test_an_ignored_error_does_not_move(recloser, shape, point, anyio_backend):
    """A bad request is bad everywhere, and reaches the caller as it is."""
    error = BadRequestError()
    clients = Clients(shape, recloser.clock).told(A, **{point: error})
    with pytest.raises(BadRequestError) as caught:
        await clients.use(clients.by_names(A, B))
    assert caught.value is error
    assert (counted(A), counted(B)) == (IGNORED, {})


@rows(moving)
async def test_a_paused_provider_is_passed_over(recloser, shape, anyio_backend):
    """Without being asked; when its pause is over, it gets its probe from real traffic, and the calls back."""
    clients = Clients(shape, recloser.clock)
    speak = clients.by_names(A, B)
    recloser.trip(A)
    assert (await clients.use(speak))[1] == [B]
    recloser.clock.advance("15m")
    assert (await clients.use(speak))[1] == [A]
    assert circuit(A).state is State.CLOSED


@rows(moving, points=before_anything_came)
async def test_the_user_of_a_call_never_sees_the_test(recloser, shape, point, anyio_backend):
    """A probe that fails sends its own call on to the next provider."""
    half_open(recloser, A)
    clients = Clients(shape, recloser.clock).told(A, **{point: ProviderDownError()})
    answer, tried = await clients.use(clients.by_names(A, B))
    assert answer == await shape.use(shape.build(Fake()))
    assert tried == [A, B]
    assert (circuit(A).state, circuit(B).state) == (State.OPEN, State.CLOSED)


@rows(moving)
async def test_when_all_are_paused_nobody_is_asked(recloser, shape, anyio_backend):
    """PausedError with the soonest retry_after, and every reason."""
    recloser.trip(A, reason="down")
    recloser.clock.advance("5m")
    pause(B, reason="maintenance", by="ada")
    clients = Clients(shape, recloser.clock)
    with pytest.raises(PausedError) as caught:
        await clients.use(clients.by_names(A, B))
    assert clients.tried == []
    assert (caught.value.circuit, caught.value.retry_after) == (A, 600)
    assert caught.value.reason == f"no provider is available: {A} (down), {B} (maintenance)"


@rows(moving)
async def test_a_client_that_is_protected_itself_is_one_call(recloser, shape, anyio_backend):
    """The first two examples of the design in one application: the client's call is the fallback's."""
    clients = Clients(shape, recloser.clock)
    await clients.use(clients.by_names(A, B, protected=True))
    assert (counted(A), counted(B)) == (SUCCESS, {})


@rows(moving, points=before_anything_came)
async def test_a_client_that_is_protected_itself_fails_once(recloser, shape, point, anyio_backend):
    """One failure is recorded once, and moves the call on."""
    clients = Clients(shape, recloser.clock).told(A, **{point: ProviderDownError()})
    await clients.use(clients.by_names(A, B, protected=True))
    assert (counted(A), counted(B)) == (FAILURE, SUCCESS)


@rows(moving)
async def test_a_client_that_is_protected_itself_can_be_tested(recloser, shape, anyio_backend):
    """The probe that the fallback took is the client's, too; without it the first provider would never come back."""
    half_open(recloser, A)
    clients = Clients(shape, recloser.clock)
    assert (await clients.use(clients.by_names(A, B, protected=True)))[1] == [A]
    assert circuit(A).state is State.CLOSED


@rows(lambda shape: shape.name in {"async function", "generator", "async generator"})
async def test_a_plain_function_may_hand_on_what_its_protected_client_returned(recloser, shape, anyio_backend):
    """``return clients[provider].stream(text)``: the client's generator begins to run after the function returned."""
    clients = Clients(shape, recloser.clock)
    half_open(recloser, A)
    speak = clients.by_names(A, B, protected=True, maker=plain)
    assert (await clients.use(speak))[1] == [A]
    assert circuit(A).state is State.CLOSED
    clients.told(A, **{shape.points[0]: ProviderDownError()})
    await clients.use(speak)
    assert counted(A) == FAILURE


@rows(lambda shape: moving(shape) and shape.awaited, points=lambda shape: shape.awaited[:1])
async def test_a_cancelled_call_does_not_move(recloser, shape, point, anyio_backend):
    """A barge-in is for the call, not for one provider."""
    clients = Clients(shape, recloser.clock).told(A, **{point: HANG})
    speak = clients.by_names(A, B)
    with anyio.CancelScope() as scope:
        clients.fakes[A].cancel = scope.cancel
        await clients.use(speak)
    await checkpoint()
    assert clients.tried == [A]
    assert counted(B) == {}


@rows(lambda shape: shape.name in {"function", "async function", "lambda of a coroutine", "awaitable object"})
async def test_a_refused_result_moves_the_call_on(recloser, shape, anyio_backend):
    """A result that ``failure_if`` calls a failure is no answer; it shows among the errors if all are like it."""
    clients = Clients(shape, recloser.clock)
    answers = iter(["mute", "spoken", "mute", "mute"])
    for name in (A, B):
        clients.fakes[name].at = lambda point: None
    speak = clients.by_names(A, B, failure_if=lambda _: next(answers) == "mute")
    assert (await clients.use(speak))[1] == [A, B]
    with pytest.raises(ProvidersExhaustedError) as caught:
        await clients.use(speak)
    assert [type(error) for error in caught.value.errors.values()] == [RefusedResultError, RefusedResultError]
    assert caught.value.errors[B].result == "spoken"
    assert (counted(A)["failures"], counted(B)["failures"]) == (2, 1)


def by_raising(shape):
    """Not generators: they cannot raise what ends them; see the next test."""
    return shape.name in {"stream", "async stream", "connect, iterated"}


@rows(by_raising)
async def test_an_empty_stream_moves_the_call_on(recloser, shape, anyio_backend):
    """A stream that ends in order before its first item, where ``min_items`` wants one, is a failure like any other."""
    clients = Clients(shape, recloser.clock)
    empty = StopAsyncIteration if shape.awaited else StopIteration
    clients.told(A, first=empty())
    answer, tried = await clients.use(clients.by_names(A, B, min_items=1))
    assert answer == ["first", "later"]
    assert tried == [A, B]
    assert (counted(A), counted(B)) == (FAILURE, SUCCESS)


async def test_an_empty_generator_moves_the_call_on(recloser):
    """The same for generators, and for the plain functions that return one."""
    mentions = circuit(A, min_items=1), circuit(B, min_items=1)

    @fallback(*mentions)
    def speak(provider):
        yield from [] if provider == A else ["spoken"]

    @fallback(*mentions)
    async def speak_async(provider):
        for item in [] if provider == A else ["spoken"]:
            yield item

    assert list(speak()) == ["spoken"]
    assert [item async for item in speak_async()] == ["spoken"]
    assert (counted(A), counted(B)) == ({"calls": 2, "failures": 2}, {"calls": 2})


@rows(moving, points=before_anything_came)
async def test_the_traceback_of_an_error_that_does_not_move_is_short(recloser, shape, point, anyio_backend):
    """At most one frame of ours between the caller and the function, a fallback or not."""
    error = BadRequestError()
    clients = Clients(shape, recloser.clock).told(A, **{point: error})
    with pytest.raises(BadRequestError):
        await clients.use(clients.by_names(A, B))
    assert len(own_frames(error)) <= 1
