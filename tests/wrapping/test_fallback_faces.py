"""A fallback on functions, methods and generators: bound to the right object, and seen without the provider."""

from __future__ import annotations

import inspect

import pytest

from recloser import circuit, fallback, requires, status
from tests.wrapping.fakes import Provider as Fake
from tests.wrapping.fakes import async_echo, echo
from tests.wrapping.shapes import SUCCESS, counted

A, B = "eleven", "cartesia"


class Voice:
    """A fallback on methods of every kind."""

    pitch = "class"

    def __init__(self, pitch="own"):
        self.pitch = pitch

    @fallback(A, B)
    def plain(self, provider: str, text: str = "hello") -> str:
        """Speaks."""
        return f"{self.pitch} {provider} {text}"

    @fallback(A, B)
    async def asynchronous(self, provider: str, text: str = "hello") -> str:
        """Speaks."""
        return f"{self.pitch} {provider} {text}"

    @classmethod
    @fallback(A, B)
    def of_class(cls, provider: str, text: str = "hello") -> str:
        """Speaks."""
        return f"{cls.pitch} {provider} {text}"

    @fallback(A, B)
    @classmethod
    def of_class_outside(cls, provider: str, text: str = "hello") -> str:
        """Speaks."""
        return f"{cls.pitch} {provider} {text}"

    @staticmethod
    @fallback(A, B)
    def static(provider: str, text: str = "hello") -> str:
        """Speaks."""
        return f"static {provider} {text}"

    @fallback(A, B)
    @staticmethod
    def static_outside(provider: str, text: str = "hello") -> str:
        """Speaks."""
        return f"static {provider} {text}"

    @requires("phone")
    @fallback(A, B)
    def stacked(self, provider: str, text: str = "hello") -> str:
        """Speaks."""
        return f"{self.pitch} {provider} {text}"

    @circuit("outer")
    @fallback(A, B)
    def __call__(self, provider: str, text: str = "hello") -> str:
        """Speaks."""
        return f"{self.pitch} {provider} {text}"


class Loud(Voice):
    """Overrides one, inherits the rest."""

    pitch = "loud"

    def plain(self, text="hello"):
        return super().plain(text).upper()


METHODS = {"plain": "own", "of_class": "class", "of_class_outside": "class", "static": "static",
           "static_outside": "static", "stacked": "own"}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods_get_their_object_and_the_provider(recloser, name):
    """From an instance and from the class; callers leave the provider out, and see a signature without it."""
    voice = Voice()
    pitch, method = METHODS[name], getattr(voice, name)
    for provider in (A, B):
        assert method() == f"{pitch} {provider} hello"
        assert method("hi") == method(text="hi") == f"{pitch} {provider} hi"
        assert getattr(Voice, name)(*[voice] if pitch == "own" else [], "hi") == f"{pitch} {provider} hi"
        recloser.trip(A)
    assert str(inspect.signature(method)) == "(text: 'str' = 'hello') -> 'str'"
    assert (method.__name__, method.__doc__) == (name, "Speaks.")


def test_other_classes_inherit_and_override(recloser):
    """``super()`` finds the fallback, and the object is the child's."""
    assert Loud("child").plain("hi") == f"CHILD {A} HI".upper()
    assert Loud.of_class() == Loud("child").of_class_outside() == f"loud {A} hello"
    assert Voice()("hi") == f"own {A} hi"
    assert counted("outer") == SUCCESS


async def test_methods_say_what_they_are(recloser):
    """Bound or not, they are what the function was, and can choose."""
    voice = Voice()
    assert inspect.iscoroutinefunction(voice.asynchronous)
    assert await voice.asynchronous("hi") == f"own {A} hi"
    assert voice.plain.__self__ is voice
    assert voice.plain.choose() == Voice.plain.choose() == A
    assert voice.plain.current == Voice.plain.current == A
    assert voice.plain.order == Voice.plain.order == (A, B)


def function(provider: str, text: str, *, loud: bool = False) -> str:
    """Speaks."""
    return f"{provider} {text} {loud}"


class CallableObject:
    def __call__(self, provider: str, text: str, *, loud: bool = False) -> str:
        """Speaks."""
        return f"{provider} {text} {loud}"


BOUND = "LIMIT: inspect looks through a decorated bound method at its bare function, provider and all"


@pytest.mark.parametrize(
    "bare",
    [
        function,
        CallableObject(),
        pytest.param(CallableObject().__call__, marks=pytest.mark.xfail(strict=True, reason=BOUND)),
    ],
)
def test_a_signature_without_the_provider(recloser, bare):
    """What callers see is what they pass."""
    speak = fallback(A, B)(bare)
    assert str(inspect.signature(speak)) == "(text: 'str', *, loud: 'bool' = False) -> 'str'"
    assert speak("hi", loud=True) == f"{A} hi True"
    assert getattr(speak, "__name__", "") == getattr(bare, "__name__", "")


def test_a_function_without_a_signature_is_called_all_the_same(recloser):
    """Functions in C may have none; one with only ``*args`` keeps its own."""
    assert fallback("1", "2")(int)() == 1
    speak = fallback(A, B)(lambda *args: args)
    assert speak("hi") == (A, "hi")
    assert str(inspect.signature(speak)) == "(*args)"
    nameless = fallback("first", "second")(max)
    assert nameless("alpha") == "first"
    with pytest.raises(ValueError, match="no signature"):
        inspect.signature(nameless)


def test_what_it_says_of_itself(recloser):
    """For people: how it is written, and by which name it is affected."""
    chain = fallback(A, B)
    assert repr(chain) == f"fallback('{A}', '{B}')"
    assert A in chain.name
    assert B in chain.name
    chain(function)
    assert chain.name == "function"
    recloser.trip(A)
    assert "function" in recloser.events[-1].affects
    assert status().fallbacks["function"] == B


# -- generators -------------------------------------------------------------------------------------------------------


def test_a_generator_is_spoken_with_through_a_fallback(recloser):
    """``send``, ``throw``, ``close`` and the return value."""
    fake = Fake()
    speak = fallback(A, B)(echo(fake))
    stream = speak()
    error = KeyError()
    assert (next(stream), stream.send("hello"), stream.throw(error)) == (A, "hello", error)
    with pytest.raises(StopIteration) as stop:
        stream.send("enough")
    assert stop.value.value == "the end"
    assert counted(A) == SUCCESS
    stream = speak()
    next(stream)
    stream.close()
    assert fake.reached == ["closed", "closed"]
    assert counted(A) == {"calls": 1, "ignored": 1}


async def test_an_async_generator_is_spoken_with_through_a_fallback(recloser):
    """``asend``, ``athrow``, ``aclose``."""
    speak = fallback(A, B)(async_echo(Fake()))
    stream = speak()
    error = KeyError()
    assert [await anext(stream), await stream.asend("hello"), await stream.athrow(error)] == [A, "hello", error]
    with pytest.raises(StopAsyncIteration):
        await stream.asend("enough")
    stream = speak()
    await anext(stream)
    await stream.aclose()
    assert counted(A) == {"calls": 1, "ignored": 1}


def test_a_generator_that_gives_nothing_has_a_value_all_the_same(recloser):
    """The return value of a generator that never yields reaches ``yield from``."""

    @fallback(A, B)
    def speak(provider):
        return provider
        yield

    def read():
        return (yield from speak())

    with pytest.raises(StopIteration) as stop:
        next(read())
    assert stop.value.value == A


async def test_an_async_generator_that_gives_nothing_ends(recloser):
    """Nothing is no failure unless a rule says so."""

    @fallback(A, B)
    async def speak(provider):
        return
        yield

    assert [item async for item in speak()] == []
    assert (counted(A), counted(B)) == (SUCCESS, {})
