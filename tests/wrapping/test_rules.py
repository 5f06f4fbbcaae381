"""The user's own rules: classify, failure, ignore, failure_if, min_items, min_bytes, progress."""

from __future__ import annotations

import logging

import pytest

from recloser import Outcome, State, circuit
from tests.wrapping import fakes
from tests.wrapping.fakes import BadRequestError, Provider, ProviderDownError
from tests.wrapping.shapes import FAILURE, IGNORED, NAME, SLOW, SUCCESS, Shape, counted, rows

OUTCOMES = {
    Outcome.SUCCESS: SUCCESS,
    Outcome.FAILURE: FAILURE,
    Outcome.SLOW: SLOW,
    Outcome.IGNORED: IGNORED,
    Outcome("failure", kind="rate_limit", status=429, retry_after=30): FAILURE,
}


def raising(error):
    def call():
        raise error

    return call


def judged(error, **rules):
    """What a call that raises ``error`` counts as under ``rules``; the error comes out of it as it is."""
    with pytest.raises(type(error)) as caught:
        circuit(NAME, **rules)(raising(error))()
    assert caught.value is error
    return counted()


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
def test_the_users_rule_decides(recloser, outcome):
    """``classify=`` is asked first, whatever the general rule would say."""
    assert judged(ProviderDownError(), classify=lambda error: outcome) == OUTCOMES[outcome]


def test_a_rule_that_does_not_know_leaves_it_to_the_others(recloser):
    """None is no answer; then the simple rules are asked, then the general one."""
    assert judged(BadRequestError(), classify=lambda error: None) == IGNORED


@pytest.mark.parametrize("given", [BadRequestError, (KeyError, BadRequestError)])
def test_failure_names_types_that_are_failures(recloser, given):
    """One type or several, with their subclasses."""
    assert judged(type("Sub", (BadRequestError,), {})(), failure=given) == FAILURE


def test_failure_keeps_what_the_general_rule_found_out(recloser):
    """The kind stays with the evidence, for people to read."""
    judged(BadRequestError(), failure=BadRequestError)
    assert recloser.explain(NAME).snapshot.failures == 1


@pytest.mark.parametrize("given", [ProviderDownError, (KeyError, ConnectionError)])
def test_ignore_names_types_that_count_for_neither_side(recloser, given):
    """One type or several, with their subclasses."""
    assert judged(ProviderDownError(), ignore=given) == IGNORED


def test_ignore_wins_over_failure(recloser):
    """``failure=Exception, ignore=NotFound`` reads as everything but that."""
    assert judged(ProviderDownError(), failure=Exception, ignore=ProviderDownError) == IGNORED


def test_an_unknown_error_of_a_failure_type_is_a_failure_of_unknown_kind(recloser):
    """Even what is no error at all can be called a failure."""
    assert judged(KeyboardInterrupt(), failure=KeyboardInterrupt) == FAILURE


# -- rules on results -------------------------------------------------------------------------------------------------


def answers(shape: Shape) -> bool:
    """Shapes that end with an answer a rule can look at."""
    return shape.points[-1] in {"call", "get"} and "block" not in shape.name


@rows(answers)
async def test_a_refused_result_is_handed_on_and_counts_as_a_failure(recloser, shape, anyio_backend):
    """Nothing was raised, and nothing is: the answer was no good, and the caller gets it."""
    circuit(NAME, failures=1)
    call = shape.on(Provider(recloser.clock), failure_if=lambda result: result == "spoken")
    assert await call() == "spoken"
    assert counted() == FAILURE
    assert circuit(NAME).state is State.OPEN
    assert "failure_if called the result a failure" in recloser.explain(NAME).errors[-1].message


@rows(answers)
async def test_a_result_that_is_not_refused_is_a_success(recloser, shape, anyio_backend):
    """The predicate is asked every time, also about a class of results that was seen before."""
    call = shape.on(Provider(recloser.clock), failure_if=lambda result: result == "mute")
    for _ in range(2):
        assert await call() == "spoken"
    assert counted() == {"calls": 2}


def raises(_):
    raise LookupError("the predicate's own bug")


class Ambiguous:
    """What numpy answers to a comparison."""

    def __bool__(self):
        raise ValueError("ambiguous")


@pytest.mark.parametrize("predicate", [raises, lambda _: Ambiguous()])
@pytest.mark.parametrize("rule", ["failure_if", "progress"])
def test_a_predicate_that_raises_changes_nothing(recloser, rule, predicate, caplog):
    """The call goes on, a success stays one, and the log says it once per streak."""

    @circuit(NAME, **{rule: predicate})
    def stream():
        yield "first"
        yield "later"

    for _ in range(2):
        assert list(stream()) == ["first", "later"]
        assert circuit(NAME, **{rule: predicate})(lambda: "spoken")() == "spoken"
    assert counted() == {"calls": 4}


@pytest.mark.parametrize("rule", ["classify", "failure_if"])
def test_a_predicate_that_raises_is_logged_once_per_streak(recloser, rule, caplog):
    """Whoever reads the log sees it, and is not flooded; after it worked again, the next time counts anew."""
    broken = [True]

    def predicate(_):
        if broken[0]:
            raise LookupError

    protected = circuit(NAME, **{rule: predicate})

    def call():
        with pytest.raises(ProviderDownError):
            protected(raising(ProviderDownError()))()
        protected(lambda: "spoken")()

    with caplog.at_level(logging.WARNING, "recloser"):
        call()
        call()
        assert [record.getMessage() for record in caplog.records] == [
            f"{rule} of circuit 'provider' raised; it is passed over until it works again"
        ]
        broken[0] = False
        call()
        broken[0] = True
        call()
    assert len(caplog.records) == 2
    assert counted() == {"calls": 8, "failures": 4}


def test_a_progress_rule_that_raises_does_not_turn_items_into_keep_alives(recloser):
    """A predicate that is broken does not change the call: its items are items."""

    @circuit(NAME, progress=raises, min_items=1)
    def stream():
        yield "first"

    assert list(stream()) == ["first"]
    assert counted() == SUCCESS


# -- rules on streams -------------------------------------------------------------------------------------------------


def iterated(shape: Shape) -> bool:
    return "later" in shape.points


@rows(iterated)
@pytest.mark.parametrize(("least", "expected"), [(2, SUCCESS), (3, FAILURE)])
async def test_a_stream_with_too_few_items_is_a_failure(recloser, shape, anyio_backend, least, expected):
    """A stream that ends in order but has said nothing has failed, and its reader gets what there was."""
    assert await shape.on(Provider(), min_items=least)() == ["first", "later"]
    assert counted() == expected


@rows(iterated)
@pytest.mark.parametrize(("least", "expected"), [(10, SUCCESS), (11, FAILURE)])
async def test_a_stream_with_too_few_bytes_is_a_failure(recloser, shape, anyio_backend, least, expected):
    """Bytes, or characters, of all items together: "first" and "later" are ten."""
    assert await shape.on(Provider(), min_bytes=least)() == ["first", "later"]
    assert counted() == expected


@rows(iterated)
async def test_keep_alives_are_no_items(recloser, shape, anyio_backend):
    """``progress=`` says what counts towards ``min_items``."""
    await shape.on(Provider(), min_items=2, progress=lambda item: item != "later")()
    assert counted() == FAILURE


@pytest.mark.parametrize("item", [b"ten bytes!", bytearray(10), memoryview(b"ten bytes!"), "ten bytes!"])
def test_whatever_holds_bytes_is_measured(recloser, item):
    """Audio comes as bytes, bytearray or memoryview; text counts by its characters."""
    assert list(circuit(NAME, min_bytes=10)(lambda: (each for each in [item]))()) == [item]
    assert counted() == SUCCESS


def test_what_holds_no_bytes_counts_none(recloser):
    """An object of an SDK has no size that could be known."""
    assert len(list(circuit(NAME, min_bytes=1)(lambda: (each for each in [object()]))())) == 1
    assert counted() == FAILURE


async def test_a_stream_left_early_is_not_judged(recloser):
    """Whoever leaves before the end cannot complain that little came."""
    stream = circuit(NAME, min_items=5)(fakes.generator(Provider()))()
    next(stream)
    stream.close()
    assert counted() == IGNORED
