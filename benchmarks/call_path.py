"""The call path: a success, a rejection, an item of a stream, a deadline, a failure.

Ratios to a baseline of the same run: to `wrapt.decorator` around the same function, since that is what a decorator
costs which does nothing but stay invisible; to a bare ``raise`` for rejections; to a generator that hands items on for
streams; to ``asyncio.timeout`` for deadlines.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from benchmarks import measure
from benchmarks.report import NONE, Section, Target
from benchmarks.subjects import (
    BARE,
    COUNT,
    FULL,
    NEVER,
    PASS_THROUGH,
    Does,
    Subject,
    pass_through,
    recloser,
    subjects,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from benchmarks.measure import Effort, Figures

__all__ = ["deadlines", "failures", "objects", "rejections", "streams", "successes"]

OURS = (COUNT, FULL)
LIMIT = 20


def ask(question: int) -> int:
    """Stands for a provider that answers at once."""
    return question


async def ask_async(question: int) -> int:
    """The same, awaited; it never suspends, so that no event loop is measured."""
    return question


def refuse(question: int) -> int:
    """Stands for a provider that is down."""
    raise ConnectionError(question)


async def refuse_async(question: int) -> int:
    """The same, awaited."""
    raise ConnectionError(question)


def talk(items: int) -> Iterator[int]:
    """Stands for a provider that streams."""
    yield from range(items)


async def talk_async(items: int) -> AsyncIterator[int]:
    """The same, async."""
    for item in range(items):
        yield item


def hand_on(items: int) -> Iterator[int]:
    """The least that a wrapper of a stream can do which sees every item."""
    for item in talk(items):  # noqa: UP028 - what is measured is this
        yield item


class Talk:
    """A stream object, as SDKs return them."""

    def __init__(self, items: int) -> None:
        self._items = iter(range(items))

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return next(self._items)


class TalkAsync:
    """The same, async."""

    def __init__(self, items: int) -> None:
        self._items = iter(range(items))

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        for item in self._items:
            return item
        raise StopAsyncIteration


def hand_on_object(items: int) -> Iterator[int]:
    """Hands on what a stream object gives."""
    for item in Talk(items):  # noqa: UP028 - what is measured is this
        yield item


async def hand_on_object_async(items: int) -> AsyncIterator[int]:
    """The same, async."""
    async for item in TalkAsync(items):
        yield item


async def hand_on_async(items: int) -> AsyncIterator[int]:
    """The same, async."""
    async for item in talk_async(items):
        yield item


# -- success -------------------------------------------------------------------------------------------------------


def successes(effort: Effort) -> Section:
    """What a healthy call costs, as a function, a coroutine function and a method."""
    everybody = subjects()
    sync, awaited, method = _successes(everybody, effort)
    shapes = (sync, awaited, method)
    does = {each.name: str(each.does) for each in everybody}
    rows = [
        (name, does.get(name, NONE), *(_cell(figures, name, PASS_THROUGH) for figures in shapes))
        for name in (BARE, PASS_THROUGH, *does)
    ]
    targets = [
        _at_most("success, sync, every rule on", sync, FULL, PASS_THROUGH, 0.75, "a bare pass-through"),
        _at_most("success, async, every rule on", awaited, FULL, PASS_THROUGH, 0.8, "a bare pass-through"),
        _at_most("success, method, every rule on", method, FULL, PASS_THROUGH, 1.0, "a bare pass-through"),
    ]
    for shape, figures in (("sync", sync), ("async", awaited)):
        as_much = [each.name for each in everybody if each.does is Does.RATES]
        less = [each.name for each in everybody if each.does is Does.CONSECUTIVE]
        targets += [
            _faster(f"success, {shape}, against the fastest peer with rates", figures, FULL, as_much, 2.0),
            _faster(f"success, {shape}, against the fastest peer that counts in a row", figures, FULL, less, 1.0),
        ]
    return Section(
        "A call that succeeds",
        "In units of a pass-through written with `wrapt.decorator`: the ratio of the minima and, in brackets, the "
        "median of the ratios of each round. Less is faster.",
        ("what", "judges by", "sync", "async", "method"),
        rows,
        targets,
    )


def _successes(everybody: list[Subject], effort: Effort) -> tuple[Figures, Figures, Figures]:
    sync: dict[str, Callable[[int], object]] = {BARE: ask, PASS_THROUGH: pass_through(ask)}
    sync |= {each.name: each.sync(LIMIT)(ask) for each in everybody if each.sync}
    awaited: dict[str, Callable[[int], Any]] = {BARE: ask_async, PASS_THROUGH: pass_through(ask_async)}
    awaited |= {each.name: each.awaits(LIMIT)(ask_async) for each in everybody if each.awaits}
    method: dict[str, Any] = {BARE: _client(lambda function: function), PASS_THROUGH: _client(pass_through)}
    method |= {each.name: _client(each.sync(LIMIT)) for each in everybody if each.sync}
    return (
        measure.side_by_side({name: measure.calls(call) for name, call in sync.items()}, effort),
        measure.side_by_side({name: measure.awaits(call) for name, call in awaited.items()}, effort),
        measure.side_by_side({name: measure.methods(client) for name, client in method.items()}, effort),
    )


def _client(decorate: Callable[[Any], Any]) -> Any:
    """An instance of a class with a decorated method."""

    class Client:
        @decorate
        def ask(self, question: int) -> int:
            return question

    return Client()


# -- rejection -----------------------------------------------------------------------------------------------------


def rejections(effort: Effort) -> Section:
    """What it costs to be told that a circuit is open, the error raised and caught."""
    everybody = [each for each in subjects() if each.name != FULL]
    sync = {each.name: _opened(each.sync(LIMIT)(refuse)) for each in everybody if each.sync}
    awaited = {each.name: _opened_async(each.awaits(LIMIT)(refuse_async)) for each in everybody if each.awaits}
    paused = measure.side_by_side(
        {name: measure.rejections(call) for name, call in {BARE: refuse, **sync}.items()}, effort
    )
    paused_async = measure.side_by_side(
        {name: measure.rejections_async(call) for name, call in {BARE: refuse_async, **awaited}.items()}, effort
    )
    tells = {each.name: "yes" if each.tells else "no" for each in everybody}
    rows = [
        (name, tells.get(name, NONE), _cell(paused, name, BARE), _cell(paused_async, name, BARE))
        for name in (BARE, *tells)
    ]
    informed = [each.name for each in everybody if each.tells and each.name not in OURS]
    targets = [
        _faster("rejection, sync, against the fastest peer whose error says why", paused, COUNT, informed, 1.0),
        _faster("rejection, async, against the fastest peer whose error says why", paused_async, COUNT, informed, 1.0),
    ]
    return Section(
        "A call that is rejected",
        "The circuit is open; the error is raised and caught. In units of a function that raises a `ConnectionError` "
        "itself. “Says why”: the error names the circuit and says when it will be tried again.",
        ("what", "says why", "sync", "async"),
        rows,
        targets,
    )


def _opened(call: Callable[[int], object]) -> Callable[[int], object]:
    """``call``, failed so often that its circuit is open: what comes is no longer what the provider raises."""
    rejected = False
    for _ in range(2 * LIMIT):
        try:
            call(1)
        except Exception as error:
            rejected = not isinstance(error, ConnectionError)
    assert rejected
    return call


def _opened_async(call: Callable[[int], Any]) -> Callable[[int], Any]:
    """The same; a coroutine that never suspends needs no event loop to be exhausted, but some peers look for one."""

    async def fail() -> bool:
        rejected = False
        for _ in range(2 * LIMIT):
            try:
                await call(1)
            except Exception as error:
                rejected = not isinstance(error, ConnectionError)
        return rejected

    assert measure.in_loop(fail())
    return call


# -- streams -------------------------------------------------------------------------------------------------------

STREAM_BARE, STREAM_HAND_ON = "the generator itself", "`for item in stream: yield item`"
OBJECT_BARE = "the object itself"
STREAM_TIMED = "**recloser**, failure count and slow rate"
STREAM_COUNTED = "**recloser**, failure count and `min_items`"


def streams(effort: Effort) -> Section:
    """What one item of a long stream costs."""
    everybody = [each for each in subjects() if each.streams and each.name not in OURS]
    ours = {
        COUNT: recloser(),
        STREAM_TIMED: recloser(slow_after="10s", slow_rate=0.5),
        STREAM_COUNTED: recloser(min_items=1),
    }
    wraps = ours | {each.name: each.sync(LIMIT) for each in everybody if each.sync}
    sync = {STREAM_BARE: talk, STREAM_HAND_ON: hand_on} | {name: wrap(talk) for name, wrap in wraps.items()}
    awaited: dict[str, Any] = {STREAM_BARE: talk_async, STREAM_HAND_ON: hand_on_async}
    awaited |= {name: wrap(talk_async) for name, wrap in wraps.items()}
    item = measure.side_by_side({name: measure.items(stream) for name, stream in sync.items()}, effort)
    item_async = measure.side_by_side({name: measure.items_async(stream) for name, stream in awaited.items()}, effort)
    rows = [
        (name, _cell(item, name, STREAM_HAND_ON), _cell(item_async, name, STREAM_HAND_ON))
        for name in (STREAM_BARE, STREAM_HAND_ON, *wraps)
    ]
    bare = "a generator that hands items on"
    targets = [
        _at_most(f"item of a stream, {shape}, {rules}", figures, name, STREAM_HAND_ON, 2.0, bare)
        for name, rules in ((COUNT, "failure count"), (STREAM_TIMED, "with a slow rule"))
        for shape, figures in (("sync", item), ("async", item_async))
    ]
    return Section(
        "An item of a stream",
        "In units of a generator that does nothing but hand items on; the cost of one item, of a stream so long that "
        "its beginning and end do not matter.",
        ("what", "sync", "async"),
        rows,
        targets,
    )


def objects(effort: Effort) -> Section:
    """What one item of a stream object costs, which is followed through a proxy; nobody else follows these."""
    ours = {
        COUNT: recloser(stream=True),
        STREAM_TIMED: recloser(stream=True, slow_after="10s", slow_rate=0.5),
    }
    sync: dict[str, Any] = {OBJECT_BARE: Talk, STREAM_HAND_ON: hand_on_object}
    sync |= {name: wrap(Talk) for name, wrap in ours.items()}
    awaited: dict[str, Any] = {OBJECT_BARE: TalkAsync, STREAM_HAND_ON: hand_on_object_async}
    awaited |= {name: wrap(TalkAsync) for name, wrap in ours.items()}
    item = measure.side_by_side({name: measure.items(stream) for name, stream in sync.items()}, effort)
    item_async = measure.side_by_side({name: measure.items_async(stream) for name, stream in awaited.items()}, effort)
    rows = [(name, _cell(item, name, STREAM_HAND_ON), _cell(item_async, name, STREAM_HAND_ON)) for name in sync]
    return Section(
        "An item of a stream object",
        "For information. What SDKs return is an object with `__next__` or `__anext__`, which `stream=True` follows "
        "through a proxy that keeps every other method; peers count such a call as ended when it returns. In units of "
        "a generator that hands the same items on.",
        ("what", "sync", "async"),
        rows,
        [],
    )


# -- deadlines -----------------------------------------------------------------------------------------------------

NO_DEADLINE, ASYNCIO_TIMEOUT = "the function itself, no deadline", "`async with asyncio.timeout(5)`"


async def suspend(question: int) -> int:
    """Stands for a provider that takes one turn of the event loop: without one, cancelled timers would pile up."""
    await asyncio.sleep(0)
    return question


async def suspend_in_time(question: int) -> int:
    """The same, with the deadline of the standard library."""
    async with asyncio.timeout(5):
        return await suspend(question)


def deadlines(effort: Effort) -> Section:
    """What a deadline costs that does not pass."""
    subjects_ = {
        NO_DEADLINE: suspend,
        ASYNCIO_TIMEOUT: suspend_in_time,
        "**recloser**, no deadline": recloser()(suspend),
        "**recloser**, `timeout`": recloser(timeout="5s")(suspend),
    }
    figures = measure.side_by_side({name: measure.awaits(call) for name, call in subjects_.items()}, effort)
    return Section(
        "An async call with a deadline",
        "For information. The call takes one turn of the event loop, which is part of every figure. In units of "
        "`asyncio.timeout` around it; a circuit's `timeout` works on trio as well.",
        ("what", "async"),
        [(name, _cell(figures, name, ASYNCIO_TIMEOUT)) for name in subjects_],
        [],
    )


# -- failure -------------------------------------------------------------------------------------------------------


def failures(effort: Effort) -> Section:
    """What a failed call costs while the circuit stays closed; a failing provider is slower than any of this."""
    everybody = subjects()
    sync: dict[str, Any] = {BARE: refuse, PASS_THROUGH: pass_through(refuse)}
    sync |= {each.name: each.sync(NEVER)(refuse) for each in everybody if each.sync}
    awaited: dict[str, Any] = {BARE: refuse_async, PASS_THROUGH: pass_through(refuse_async)}
    awaited |= {each.name: each.awaits(NEVER)(refuse_async) for each in everybody if each.awaits}
    failed = measure.side_by_side({name: measure.rejections(call) for name, call in sync.items()}, effort)
    failed_async = measure.side_by_side(
        {name: measure.rejections_async(call) for name, call in awaited.items()}, effort
    )
    rows = [(name, _cell(failed, name, BARE), _cell(failed_async, name, BARE)) for name in sync]
    return Section(
        "A call that fails",
        "For information. The provider raises a `ConnectionError`, which is counted; the circuit is told to stay "
        "closed. In units of the function itself.",
        ("what", "sync", "async"),
        rows,
        [],
    )


# -- reading -------------------------------------------------------------------------------------------------------


def _cell(figures: Figures, name: str, baseline: str) -> str:
    return str(figures.ratio(name, baseline)) if name in figures else NONE


def _at_most(what: str, figures: Figures, name: str, baseline: str, most: float, unit: str) -> Target:
    ratio = figures.ratio(name, baseline)
    return Target(what, f"at most {most:g} of {unit}", str(ratio), tuple(each <= most for each in ratio))


def _faster(what: str, figures: Figures, ours: str, theirs: list[str], least: float) -> Target:
    peer = figures.fastest(theirs)
    ratio = figures.ratio(peer, ours)
    target = "faster" if least == 1 else f"{least:g} times as fast"
    return Target(what, target, f"{ratio} times as fast as {peer}", tuple(each >= least for each in ratio))
