"""A stream that was entered and then swapped for the next provider's: what was entered is left, and nothing else is."""

from __future__ import annotations

import pytest

from recloser import ProvidersExhaustedError, circuit, fallback
from tests.wrapping import fakes
from tests.wrapping.fakes import BadRequestError, Provider, ProviderDownError
from tests.wrapping.shapes import FAILURE, IGNORED, SUCCESS, counted

A, B, C = "eleven", "cartesia", "azure"


class Stream(fakes.Stream):
    """A stream that notes how it is entered and left."""

    def __enter__(self):
        self.p.at("enter")
        return self

    def __exit__(self, *error):
        self.p.reached.append("left")


class AsyncStream(fakes.AsyncStream):
    async def __aenter__(self):
        await self.p.reach("enter")
        return self

    async def __aexit__(self, *error):
        self.p.reached.append("left")


class Speech:
    """Three providers with plans, and a fallback over them whose streams are entered with ``with``, in either way."""

    def __init__(self, kind, **plans):
        self.kind = kind
        self.fakes = {name: Provider(**plans.get(name, {})) for name in (A, B, C)}
        mentions = [circuit(name, stream=True) for name in self.fakes]
        if kind == "sync":
            self.call = fallback(*mentions)(lambda provider: Stream(self.fakes[provider]))
        else:

            async def call(provider):
                return AsyncStream(self.fakes[provider])

            self.call = fallback(*mentions)(call)

    async def listen(self):
        """Everything that is said."""
        if self.kind == "sync":
            with self.call() as stream:
                return list(stream)
        async with await self.call() as stream:
            return [item async for item in stream]

    def entered_and_left(self, name):
        """How often a provider's stream was entered, and left."""
        reached = self.fakes[name].reached
        return reached.count("enter"), reached.count("left")


@pytest.fixture(params=["sync", "async"])
def kind(request):
    return request.param


def down(point):
    return {point: ProviderDownError(point)}


async def test_the_next_stream_is_entered_in_its_place(recloser, kind):
    """The block goes on with a stream that was entered, the first one was left."""
    speech = Speech(kind, eleven=down("first"))
    assert await speech.listen() == ["first", "later"]
    assert [speech.entered_and_left(name) for name in (A, B, C)] == [(1, 1), (1, 1), (0, 0)]
    assert (counted(A), counted(B)) == (FAILURE, SUCCESS)


async def test_a_stream_that_cannot_be_entered_is_passed_over(recloser, kind):
    """Neither at the ``with`` line nor after a swap."""
    for plans in ({A: down("enter")}, {A: down("first"), B: down("enter")}, {A: down("enter"), B: down("enter")}):
        speech = Speech(kind, **plans)
        assert await speech.listen() == ["first", "later"]
        last = C if B in plans else B
        assert speech.entered_and_left(last) == (1, 1)


@pytest.mark.parametrize("point", ["enter", "first"])
async def test_when_none_is_left_the_block_is_told(recloser, kind, point):
    """All three have failed, and what was entered has been left once."""
    speech = Speech(kind, **{A: down("first"), B: down("first"), C: down(point)})
    with pytest.raises(ProvidersExhaustedError) as caught:
        await speech.listen()
    assert list(caught.value.errors) == [A, B, C]
    assert [speech.entered_and_left(name) for name in (A, B)] == [(1, 1), (1, 1)]


@pytest.mark.parametrize(("error", "outcome"), [(BadRequestError(), IGNORED)])
async def test_an_ignored_error_on_the_way_in_reaches_the_block(recloser, kind, error, outcome):
    """The second provider's own bad request is for the caller."""
    speech = Speech(kind, **{A: down("first"), B: {"enter": error}})
    with pytest.raises(BadRequestError) as caught:
        await speech.listen()
    assert caught.value is error
    assert counted(B) == outcome
    assert speech.entered_and_left(A) == (1, 1)


@pytest.mark.parametrize(
    "plans",
    [{B: down("enter"), C: down("enter")}, {B: {"enter": BadRequestError()}}],
)
async def test_what_was_not_entered_is_not_left(recloser, kind, plans):
    """A stream whose ``__enter__`` raised has nothing to leave."""
    speech = Speech(kind, **{A: down("first")}, **plans)
    with pytest.raises((ProvidersExhaustedError, BadRequestError)):
        await speech.listen()
    assert [speech.entered_and_left(name)[1] for name in plans] == [0] * len(plans)


async def test_the_parts_of_a_fallbacks_stream_are_iterators(recloser):
    """``iter`` of what ``iter`` gave is itself, also where the stream is no iterator."""
    chain = fallback(circuit(A, stream=True), circuit(B, stream=True))
    items = iter(chain(lambda provider: fakes.Events(Provider()))())
    more = aiter(chain(lambda provider: fakes.AsyncEvents(Provider()))())
    assert (iter(items), aiter(more)) == (items, more)
    assert list(items) == [item async for item in more] == ["first", "later"]
