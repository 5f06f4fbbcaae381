"""Pipelines that are built once per call get what the factory of an available provider makes."""

from __future__ import annotations

import pytest

from recloser import ConfigurationError, PausedError, ProvidersExhaustedError, State, circuit, fallback, requires

FIRST, SECOND = "building-first", "building-second"


def factory(name, error=None, asked=None):
    """A factory that notes that it was asked, and fails if there is an ``error``."""

    def make(voice):
        if asked is not None:
            asked.append(name)
        if error is not None:
            raise error
        return f"{name} {voice}"

    return make


@pytest.fixture(params=["build", "abuild-of-functions", "abuild-of-coroutines"])
def build(request, recloser):
    """Builds with each method, and with either kind of factories."""

    async def built(first, second, voice="amy"):
        def awaited(make):
            async def make_later(voice):
                return make(voice)

            return make_later if request.param.endswith("coroutines") else make

        speech = fallback(**{FIRST: awaited(first), SECOND: awaited(second)})
        return speech.build(voice) if request.param == "build" else await speech.abuild(voice)

    return built


async def test_what_is_made_counts_nothing(build, recloser):
    """A service object that could be made is no success of the provider behind it."""
    assert await build(factory("1"), factory("2")) == "1 amy"
    assert recloser.status()[FIRST].calls == 0


async def test_a_provider_that_is_paused_is_passed_over(build, recloser):
    """New calls use the fallback while the primary is paused."""
    asked = []
    recloser.trip(FIRST)
    assert await build(factory("1", asked=asked), factory("2")) == "2 amy"
    assert asked == []


async def test_a_factory_that_fails_has_failed(build, recloser):
    """A provider that cannot even be connected to is recorded, and the call goes to the next."""
    assert await build(factory("1", ConnectionError("refused")), factory("2")) == "2 amy"
    assert recloser.status()[FIRST].failures == 1
    assert recloser.status()[SECOND].calls == 0


async def test_a_bug_in_a_factory_is_raised(build, recloser):
    """A mistake of the application would be one with every provider."""
    with pytest.raises(TypeError, match="voice"):
        await build(factory("1", TypeError("voice")), factory("2"))
    assert recloser.status()[FIRST].failures == 0


async def test_all_fail(build):
    """The error names each provider's."""
    errors = {FIRST: ConnectionError("a"), SECOND: TimeoutError("b")}
    with pytest.raises(ProvidersExhaustedError) as caught:
        await build(factory("1", errors[FIRST]), factory("2", errors[SECOND]))
    assert caught.value.errors == errors
    assert caught.value.__cause__ is errors[SECOND]


async def test_all_are_paused(build, recloser):
    """The error says when the first may be back."""
    recloser.trip(FIRST)
    recloser.clock.advance("5m")
    recloser.trip(SECOND)
    with pytest.raises(PausedError) as caught:
        await build(factory("1"), factory("2"))
    assert caught.value.retry_after == 600


async def test_a_provider_that_is_tested_is_built_once(build, recloser):
    """One call tests it, all others go to the next; that it could be built does not close the circuit."""
    recloser.trip(FIRST)
    recloser.clock.advance("15m")
    assert [await build(factory("1"), factory("2")) for _ in range(3)] == ["1 amy", "2 amy", "2 amy"]
    assert recloser.status()[FIRST].state is State.HALF_OPEN
    circuit(FIRST).record_success()
    assert recloser.status()[FIRST].state is State.CLOSED


async def test_a_test_that_cannot_be_built_has_failed(build, recloser):
    """The provider is paused again, and the same call goes on."""
    recloser.trip(FIRST)
    recloser.clock.advance("15m")
    assert await build(factory("1", ConnectionError("refused")), factory("2")) == "2 amy"
    assert recloser.status()[FIRST].state is State.OPEN


async def test_a_test_that_a_bug_prevents_is_for_the_next(build, recloser):
    """What was neither made nor failed has tested nothing, and leaves the test to others."""
    recloser.trip(FIRST)
    recloser.clock.advance("15m")
    with pytest.raises(TypeError):
        await build(factory("1", TypeError("voice")), factory("2"))
    with pytest.raises(KeyboardInterrupt):
        await build(factory("1", KeyboardInterrupt()), factory("2"))
    assert await build(factory("1"), factory("2")) == "1 amy"


def test_factories_that_are_wrapped_record_by_themselves(recloser):
    """Nothing is recorded twice."""
    first, second = circuit(FIRST)(factory("1", ConnectionError("refused"))), circuit(SECOND)(factory("2"))
    assert fallback(first, second).build("amy") == "2 amy"
    assert recloser.status()[FIRST].failures == 1
    recloser.trip(FIRST)
    recloser.trip(SECOND)
    with pytest.raises(PausedError):
        fallback(first, second).build("amy")


def test_names_cannot_be_built():
    """Providers that are no factories are said to be none."""
    with pytest.raises(ConfigurationError, match="a factory, to build with"):
        fallback(FIRST, SECOND).build()


def test_whoever_interrupts_is_not_held_up(recloser):
    """KeyboardInterrupt is no failure of a provider."""
    with pytest.raises(KeyboardInterrupt):
        fallback(**{FIRST: factory("1", KeyboardInterrupt()), SECOND: factory("2")}).build("amy")
    assert recloser.status()[FIRST].failures == 0


def test_a_call_that_was_let_begin_may_choose(recloser):
    """What requires let through, to test the primary while the fallback is down, finds it; nobody else does."""
    hearing = fallback(**{FIRST: factory("1"), SECOND: factory("2")})

    @requires(hearing)
    def dial():
        return hearing.build("amy"), hearing.gates[0].bound.acquire().seat

    recloser.trip(FIRST)
    recloser.clock.advance("1m")
    recloser.trip(SECOND)
    recloser.clock.advance("14m1s")
    built, seat = dial()
    assert built == "1 amy"
    assert seat is not None  # and what is built finds its probe
    with pytest.raises(PausedError):
        dial()
    with pytest.raises(PausedError):
        hearing.choose()
    recloser.clock.advance("60s")
    assert hearing.choose()("bo") == "1 bo"
