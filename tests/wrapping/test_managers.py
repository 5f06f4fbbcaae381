"""Context managers that a call returned: entered, left in order, by an error of the body, or by the provider's."""

from __future__ import annotations

import contextlib

import pytest

from recloser import State, circuit
from tests.wrapping import fakes
from tests.wrapping.fakes import Provider, ProviderDownError
from tests.wrapping.shapes import FAILURE, IGNORED, NAME, SUCCESS, counted, half_open, opened, probe_is_free


class Session:
    """A context manager, sync and async, that is left with an error of its own if it was told one."""

    def __init__(self, p):
        self.p = p
        self.left = []

    def __enter__(self):
        self.p.at("enter")
        return self.p

    def __exit__(self, *error):
        self.left.append(error)
        self.p.at("exit")
        return self.p.plan.get("swallows", False)

    async def __aenter__(self):
        return self.__enter__()

    async def __aexit__(self, *error):
        return self.__exit__(*error)


@contextlib.asynccontextmanager
async def entered(session, how):
    """``session`` entered with ``with`` or with ``async with``."""
    if how == "with":
        with session as value:
            yield value
    else:
        async with session as value:
            yield value


both = pytest.mark.parametrize("how", ["with", "async with"])


@both
async def test_an_error_of_the_body_is_not_the_providers(recloser, how):
    """A caller's KeyError passes through ``__exit__`` and counts for neither side; the session is told of it."""
    half_open(recloser)
    session = opened(Session, Provider())
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with entered(session, how):
            raise error
    assert caught.value is error
    assert session.left[0][:2] == (KeyError, error)
    assert counted() == IGNORED
    assert probe_is_free()


@both
async def test_a_provider_error_in_the_body_is_the_providers(recloser, how):
    """What the session's methods raise reaches the circuit through the body."""
    error = ProviderDownError()
    with pytest.raises(ProviderDownError) as caught:
        async with entered(opened(Session, Provider()), how):
            raise error
    assert caught.value is error
    assert counted() == FAILURE


@both
async def test_an_error_type_named_as_failure_counts_in_the_body(recloser, how):
    """``failure=`` says whose fault an error of unknown kind is."""
    session = opened(Session, Provider(), failure=KeyError)
    with pytest.raises(KeyError):
        async with entered(session, how):
            raise KeyError("the provider's, says the user")
    assert counted() == FAILURE


@both
async def test_a_session_that_swallows_an_error_still_does(recloser, how):
    """The answer of ``__exit__`` is passed on, and what it swallowed was seen."""
    async with entered(opened(Session, Provider(swallows=True)), how):
        raise ProviderDownError
    assert counted() == FAILURE


@both
async def test_a_body_that_is_left_early_in_order_is_a_success(recloser, how):
    """``return`` and ``break`` leave in order: it was entered, and nothing went wrong."""
    for _ in range(3):
        async with entered(opened(Session, Provider()), how):
            break
    assert counted() == SUCCESS


def test_a_manager_hands_out_what_it_entered(recloser):
    """An object that is no stream is handed on as it is, ``self`` as the proxy that follows it."""
    provider = Provider()
    with opened(Session, provider) as value:
        assert value is provider
    stream = opened(fakes.Stream, provider)
    with stream as value:
        assert value is stream


def test_what_a_manager_hands_out_is_followed_when_it_is_a_stream(recloser):
    """The call ends once, whoever sees its end first; here, the inner stream's reader."""
    half_open(recloser)
    with circuit(NAME, stream=True)(fakes.manager_of_a_stream(Provider()))() as stream:
        assert list(stream) == ["first", "later"]
        assert circuit(NAME).state is State.CLOSED
