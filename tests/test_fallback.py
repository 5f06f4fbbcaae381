"""Fallback: its providers, its faces on functions and methods, choosing, and what it must not do twice."""

from __future__ import annotations

import contextvars
import functools
import gc
import pickle
import weakref
from dataclasses import dataclass

import pytest

from recloser import PausedError, ProvidersExhaustedError, Recloser, State, circuit, fallback, pause
from recloser.testing import ManualClock
from tests.wrapping.fakes import ProviderDownError
from tests.wrapping.shapes import FAILURE, IGNORED, SUCCESS, counted, half_open

A, B = "eleven", "cartesia"


class Client:
    """A provider's client, that can be broken."""

    def __init__(self, name):
        self.name, self.error, self.calls = name, None, 0

    def speak(self, text="hello"):
        self.calls += 1
        if self.error is not None:
            raise self.error
        return f"{self.name}: {text}"

    def stream(self, text="hello"):
        yield self.speak(text)

    async def speak_async(self, text="hello"):
        return self.speak(text)

    async def stream_async(self, text="hello"):
        yield self.speak(text)


@pytest.fixture
def clients():
    """Two of them, in good health."""
    return {A: Client(A), B: Client(B)}


# -- what providers can be --------------------------------------------------------------------------------------------


def test_a_name_is_handed_in_as_it_is(recloser, clients):
    """And a circuit stands for its name, with the rules of that mention."""

    @fallback(circuit(A, ignore=KeyError), B)
    def speak(provider, text):
        return clients[provider].speak(text)

    assert speak("hi") == f"{A}: hi"
    clients[A].error = ProviderDownError()
    assert speak(text="hi") == f"{B}: hi"
    clients[A].error = KeyError()
    with pytest.raises(KeyError):
        speak("hi")


def test_named_clients_are_handed_in(recloser, clients):
    """The keyword is the circuit's name, the value is what the function works with."""

    @fallback(eleven=clients[A], cartesia=clients[B])
    def speak(client, text):
        return client.speak(text)

    clients[A].error = ProviderDownError()
    assert speak("hi") == f"{B}: hi"
    assert (counted(A), counted(B)) == (FAILURE, SUCCESS)
    assert speak.choose() is clients[A]


def decorated(clients, method="speak"):
    """The clients' methods, as functions behind their circuits."""

    def bare(client):
        @functools.wraps(getattr(Client, method))
        def call(text="hello"):
            return getattr(client, method)(text)

        return call

    return [circuit(name)(bare(client)) for name, client in clients.items()]


def test_decorated_callables_are_handed_in(recloser, clients):
    """Each passes through its own circuit, and through nothing else: one call is one call."""
    eleven, cartesia = decorated(clients)

    @fallback(eleven, cartesia=cartesia)
    def speak(provider, text):
        return provider(text).upper()

    assert speak("hi") == f"{A}: hi".upper()
    clients[A].error = ProviderDownError()
    assert speak("hi") == f"{B}: hi".upper()
    assert (counted(A), counted(B)) == ({"calls": 2, "failures": 1}, SUCCESS)
    recloser.trip(A)
    assert speak("hi") == f"{B}: hi".upper()
    assert clients[A].calls == 2
    assert speak.order == (A, B)


def test_methods_patched_onto_their_clients_are_handed_in(recloser, clients):
    """``client.convert = circuit(...)(client.convert)`` is a decorated callable like any other."""
    for name, client in clients.items():
        client.speak = circuit(name)(client.speak)
    clients[A].error = ProviderDownError()
    assert fallback(clients[A].speak, clients[B].speak).call() == f"{B}: hello"
    assert (counted(A), counted(B)) == (FAILURE, SUCCESS)


@pytest.mark.parametrize("method", ["speak", "stream", "speak_async", "stream_async"])
async def test_callables_with_one_signature_need_no_function(recloser, clients, method):
    """``.call`` in every calling style; a paused provider is not called, a failing one is followed by the next."""
    chain = fallback(*decorated(clients, method))
    call = chain.call
    assert chain.call is call

    async def answer():
        said = call(text="hi")
        if method == "speak_async":
            return await said
        if method == "stream_async":
            return "".join([item async for item in said])
        return said if method == "speak" else "".join(said)

    assert await answer() == f"{A}: hi"
    clients[A].error = ProviderDownError()
    assert await answer() == f"{B}: hi"
    recloser.trip(A)
    assert await answer() == f"{B}: hi"
    assert (counted(A), counted(B)) == ({"calls": 2, "failures": 1}, {"calls": 2})


def test_another_fleet_has_its_own_fallbacks(clients):
    """Nothing of the default toolkit is touched."""
    fleet = Recloser(clock=ManualClock())
    speak = fleet.fallback(A, B)(lambda provider: clients[provider].speak())
    clients[A].error = ProviderDownError()
    assert speak() == f"{B}: hello"
    assert fleet.circuit(A).snapshot().failures == 1
    assert fleet.status().fallbacks == {speak.__qualname__: A}


# -- choosing ---------------------------------------------------------------------------------------------------------


def test_choosing_follows_the_circuits(recloser):
    """The first that is available, and back again; ``current`` and ``order`` are for display."""
    speak = fallback(A, B)(lambda provider: provider)
    assert (speak.choose(), speak.current, speak.order) == (A, A, (A, B))
    recloser.trip(A)
    assert (speak.choose(), speak.current, speak.order) == (B, B, (A, B))
    pause(B, reason="test", by="ada")
    assert speak.current is None
    with pytest.raises(PausedError, match=f"no provider is available: {A} .*, {B}"):
        speak.choose()
    recloser.heal(A)
    assert speak.choose() == A


def test_choosing_a_provider_that_is_being_tested_is_rationed(recloser):
    """``probes`` times per ``probe_timeout``; looking at ``current`` takes nothing."""
    chain = fallback(A, B)
    half_open(recloser, A)
    assert [chain.current for _ in range(3)] == [A, A, A]
    assert [chain.choose() for _ in range(3)] == [A, B, B]
    recloser.clock.advance("60s")
    assert [chain.choose() for _ in range(3)] == [A, B, B]
    with circuit(A):
        pass
    assert [chain.choose() for _ in range(3)] == [A, A, A]


# -- what goes on ------------------------------------------------------------------------------------------------------


def test_a_provider_that_is_paused_shows_among_the_errors(recloser, clients):
    """One was paused, the other tried: ProvidersExhaustedError, raised from the one that was tried, and picklable."""
    recloser.trip(B)
    clients[A].error = error = ProviderDownError("down")
    with pytest.raises(ProvidersExhaustedError) as caught:
        fallback(A, B)(lambda provider: clients[provider].speak())()
    assert list(caught.value.errors) == [A, B]
    assert isinstance(caught.value.errors[B], PausedError)
    assert caught.value.__cause__ is caught.value.errors[A] is error
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_single_provider_is_enough(recloser, clients):
    """Paused alone it says so itself, failing alone it is exhausted."""
    speak = fallback(A)(lambda provider: clients[provider].speak())
    clients[A].error = ProviderDownError()
    with pytest.raises(ProvidersExhaustedError):
        speak()
    recloser.trip(A, reason="down")
    with pytest.raises(PausedError) as caught:
        speak()
    assert caught.value.reason == "down, last: ProviderDownError"


def test_a_fallback_in_a_fallback(recloser, clients):
    """Inner providers that are all exhausted are a failure of the outer provider, which moves the outer call on."""
    inner = fallback("inner-1", "inner-2")(lambda provider: clients[A].speak())
    outer = fallback(A, B)(lambda provider: inner() if provider == A else clients[B].speak())
    assert outer() == f"{A}: hello"
    clients[A].error = ProviderDownError()
    assert outer() == f"{B}: hello"
    assert [counted(name) for name in ("inner-1", "inner-2", A, B)] == [
        {"calls": 2, "failures": 1},
        FAILURE,
        {"calls": 2, "failures": 1},
        SUCCESS,
    ]


def test_the_failure_of_another_circuit_does_not_move_the_call(recloser):
    """A database that is down inside the function is an error of its own; the provider's circuit judges it."""

    @fallback(circuit(A, ignore=ProviderDownError), B)
    @circuit("database")
    def speak(provider):
        raise ProviderDownError

    with pytest.raises(ProviderDownError):
        speak()
    assert (counted("database"), counted(A), counted(B)) == (FAILURE, IGNORED, {})


def test_a_pause_of_another_circuit_does_not_move_the_call(recloser):
    """PausedError of something further in says nothing about this provider."""
    recloser.trip("database")
    with pytest.raises(PausedError, match="database is OPEN"):
        fallback(A, B)(circuit("database")(lambda provider: None))()
    assert (counted(A), counted(B)) == (IGNORED, {})


def test_a_function_that_deals_with_its_error_itself_has_answered(recloser, clients):
    """What it returns after a failed try of its own is the answer."""
    clients[A].error = ProviderDownError()

    @fallback(*decorated(clients))
    def speak(provider):
        try:
            return provider()
        except ProviderDownError:
            return "sorry"

    assert speak() == "sorry"
    assert clients[B].calls == 0


def test_an_error_that_is_frozen_passes_as_it_is(recloser):
    """Exceptions may be frozen dataclasses."""

    @dataclass(frozen=True)
    class FrozenError(Exception):
        status_code: int = 400

    error = FrozenError()

    @fallback(A, B)
    def speak(provider):
        raise error

    with pytest.raises(FrozenError) as caught:
        speak()
    assert caught.value is error


def test_a_function_that_tries_again_has_answered(recloser):
    """A retry inside the function that gets a good answer is a good answer."""
    answers = iter(["mute", "spoken"])
    eleven = circuit(A, failure_if=lambda answer: answer == "mute")(lambda: next(answers))

    @fallback(eleven, circuit(B)(lambda: "another voice"))
    def speak(provider):
        answer = provider()
        return provider() if answer == "mute" else answer

    assert speak() == "spoken"


def test_a_client_that_is_protected_itself_is_recorded_once(recloser, clients):
    """The first two examples of the design in one application: nothing is recorded twice."""
    protected = {name: circuit(name)(client.speak) for name, client in clients.items()}
    clients[A].error = ProviderDownError()
    assert fallback(A, B)(lambda provider: protected[provider]())() == f"{B}: hello"
    assert counted(A)["failures"] == 1


def test_a_client_that_is_protected_itself_can_be_tested(recloser, clients):
    """The same application must come back to its first provider."""
    protected = {name: circuit(name)(client.speak) for name, client in clients.items()}
    half_open(recloser, A)
    assert fallback(A, B)(lambda provider: protected[provider]())() == f"{A}: hello"
    assert circuit(A).state is State.CLOSED


def test_a_client_deeper_inside_is_part_of_the_outer_call_too(recloser, clients):
    """A fallback of voices in a fallback of regions: the client of the outer circuit is still the outer call's."""
    protected = circuit(A)(clients[A].speak)
    voices = fallback("alto", "bass")(protected)
    half_open(recloser, A)
    assert fallback(A, B)(lambda provider: voices())() == f"{A}: alto"
    assert circuit(A).state is State.CLOSED
    assert counted("alto") == SUCCESS


def test_what_a_call_left_running_is_not_noted_for_it(recloser):
    """A reader task that a client starts on its first call lives for hours; its errors must not be kept."""
    left_running = []
    fallback(A, B)(lambda provider: left_running.append(contextvars.copy_context()))()

    class Error(ProviderDownError):
        pass

    @circuit("reader")
    def read():
        raise Error

    def fail():
        try:
            read()
        except Error as error:
            return weakref.ref(error)

    kept = left_running[0].run(fail)
    gc.collect(1)
    assert kept() is None
