"""Requirements on functions and methods of every kind."""

from __future__ import annotations

import asyncio
import functools
import inspect

import pytest

from recloser import PausedError, requires

STT, PHONE = "deepgram", "twilio"


class Dialler:
    """Methods of every kind that need something."""

    @requires(STT)
    def plain(self, lead: str) -> object:
        """Dials."""
        return self, lead

    @requires(STT)
    async def asynchronous(self, lead: str) -> object:
        """Dials."""
        return self, lead

    @requires(STT)
    def generating(self, lead: str):
        """Dials."""
        yield self, lead

    @requires(STT)
    async def generating_async(self, lead: str):
        """Dials."""
        yield self, lead

    @requires(STT)
    @classmethod
    def of_class_outside(cls, lead: str) -> object:
        """Dials."""
        return cls, lead

    @classmethod
    @requires(STT)
    def of_class(cls, lead: str) -> object:
        """Dials."""
        return cls, lead

    @requires(STT)
    @staticmethod
    def static(lead: str) -> object:
        """Dials."""
        return None, lead


async def call_in_its_style(method):
    """Calls a method in its own style."""
    if inspect.iscoroutinefunction(method):
        return await method("ada")
    if inspect.isgeneratorfunction(method):
        return next(method("ada"))
    if inspect.isasyncgenfunction(method):
        (item,) = [item async for item in method("ada")]
        return item
    return method("ada")


@pytest.mark.parametrize(
    "name", ["plain", "asynchronous", "generating", "generating_async", "of_class_outside", "of_class", "static"]
)
async def test_functions_of_every_kind_ask_before_they_run(recloser, name):
    """They look like themselves, get their own object, and do not run while what they need is out."""
    dialler = Dialler()
    method = getattr(dialler, name)
    expected = {"static": None, "of_class": Dialler, "of_class_outside": Dialler}.get(name, dialler)
    assert await call_in_its_style(method) == (expected, "ada")
    assert list(inspect.signature(method).parameters) == ["lead"]
    assert (method.__name__, method.__doc__) == (name, "Dials.")
    recloser.trip(STT)
    with pytest.raises(PausedError):
        await call_in_its_style(method)


def test_callables_of_every_kind_can_be_held_back(recloser):
    """Partials and objects, too."""

    class Dial:
        def __call__(self, lead):
            return lead

    for call in (functools.partial(Dial(), "ada"), functools.partial(lambda: "ada"), Dial().__call__):
        held = requires(STT)(call)
        assert held(*["ada"] if call == Dial().__call__ or inspect.ismethod(call) else []) == "ada"


def test_a_plain_function_that_returns_a_coroutine_asks_at_the_call(recloser):
    """Before anything of it is made."""
    made = []

    @requires(STT)
    def call():
        made.append(1)
        return asyncio.sleep(0)

    recloser.trip(STT)
    with pytest.raises(PausedError):
        call()
    assert made == []


def test_requirements_can_be_stacked(recloser):
    """Either holds the function back."""
    held = requires(STT)(requires(PHONE)(lambda: "done"))
    assert held() == "done"
    for name in (STT, PHONE):
        recloser.trip(name)
        with pytest.raises(PausedError):
            held()
        recloser.heal(name)
