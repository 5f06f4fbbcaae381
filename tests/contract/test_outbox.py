"""The outbox of alerts keeps the same promises in memory and in Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from recloser.backends import memory_outbox, redis_outbox
from recloser.backends import outbox as protocol
from recloser.backends.memory import MemoryBackend
from recloser.backends.redis import RedisBackend
from recloser.backends.redis_link import RedisLink
from recloser.core.events import Event, EventKind
from recloser.core.state import State
from recloser.core.window import NOTHING
from recloser.testing import ManualClock
from tests.servers.fixtures import namespace, redis_6, redis_8, start_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recloser.backends.outbox import Letter, Outbox
    from tests.servers.redis_server import RedisServer

__all__ = ["namespace", "redis_6", "redis_8", "start_redis"]

KINDS = ["memory", "8.2", "6.2"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000.0)


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, clock: ManualClock, namespace: str) -> Iterator[Any]:
    """A backend with an outbox, on a clock that the test moves."""
    if request.param == "memory":
        yield MemoryBackend(clock=clock)
        return
    server = request.getfixturevalue(f"redis_{request.param[0]}")
    redis = RedisBackend(RedisLink.from_url(server.url), namespace=namespace, now=clock.now)
    yield redis
    redis.close()


@pytest.fixture
def box(backend: Any) -> Outbox:
    found: Outbox = backend.outbox()
    return found


def event(number: int) -> Event:
    reason = f'number {number} "quoted" größe \u2028 {{}}'
    closed, opened = State.CLOSED, State.OPEN
    return Event(EventKind.TRIPPED, "tts", opened, closed, number, float(number), None, reason, "x", NOTHING, "")


def write(box: Outbox, *alerts: tuple[str, str], hooks: tuple[str, ...] = ("log",)) -> None:
    page = box.read()
    assert box.write(page, "{}", page.events[-1][0] if page.events else page.cursor, None, alerts, hooks)


def take(box: Outbox, hook: str = "log", lease: float = 15.0) -> Letter | None:
    return box.take(hook, lease)[0]


def test_it_begins_with_nothing(box: Outbox, clock: ManualClock) -> None:
    """And asks nobody to come again."""
    page = box.read()
    assert (page.now, page.version, page.journal, page.events, page.due, page.hooks) == (
        clock.now(),
        0,
        "",
        (),
        None,
        (),
    )
    assert box.take("log", 15.0) == (None, None)
    assert box.read().hooks == ("log",)


def test_events_come_once_and_in_order(box: Outbox, backend: Any) -> None:
    """Each with the cursor that leads past it."""
    for number in range(1, 4):
        backend.append(event(number))
    page = box.read()
    assert [each.generation for _, each in page.events] == [1, 2, 3]
    assert page.events[0][1] == event(1)
    assert box.write(page, "first", page.events[1][0], 7.5, [], [])
    page = box.read()
    assert [each.generation for _, each in page.events] == [3]
    assert page.version > 0
    assert (page.journal, page.due) == ("first", 7.5)
    backend.append(event(4))
    page = box.read()
    assert [each.generation for _, each in page.events] == [3, 4]
    assert box.write(page, "second", page.events[-1][0], None, [], [])
    assert (box.read().events, box.read().journal, box.read().due) == ((), "second", None)


def test_one_writer_wins(box: Outbox, backend: Any) -> None:
    """The other one has written nothing, no letter either."""
    other: Outbox = backend.outbox()
    first, second = box.read(), other.read()
    assert box.write(first, "one", first.cursor, None, [("i", "one")], ["log"])
    assert not other.write(second, "two", second.cursor, None, [("i", "two")], ["log"])
    letter = take(other)
    assert letter is not None
    assert letter.text == "one"
    assert other.read().journal == "one"


def test_a_letter_is_lent_and_comes_back(box: Outbox, clock: ManualClock) -> None:
    """To one at a time; whoever says nothing more loses it."""
    write(box, ("i", "text"))
    letter = take(box)
    assert letter is not None
    assert (letter.hook, letter.incident, letter.text, letter.tries) == ("log", "i", "text", 1)
    assert box.take("log", 15.0) == (None, 15.0)
    clock.advance(14)
    assert box.take("log", 15.0) == (None, 1.0)
    clock.advance(1)
    again = take(box)
    assert again is not None
    assert (again.number, again.tries) == (letter.number, 2)
    box.delivered(letter)
    clock.advance(100)
    assert box.take("log", 15.0) == (None, None)
    box.delivered(again)
    box.returned(again, "late", 1.0)
    assert box.take("log", 15.0) == (None, None)


def test_letters_about_one_incident_go_one_by_one(box: Outbox) -> None:
    """Others do not wait for them, nor other hooks."""
    write(box, ("a", "a1"), ("b", "b1"), ("a", "a2"), hooks=("log", "slack"))
    first, second = take(box), take(box)
    assert first is not None
    assert second is not None
    assert [first.text, second.text, take(box)] == ["a1", "b1", None]
    box.delivered(first)
    third = take(box)
    assert third is not None
    assert third.text == "a2"
    other = take(box, "slack")
    assert other is not None
    assert (other.hook, other.text) == ("slack", "a1")


def test_what_was_not_taken_comes_again_later(box: Outbox, clock: ManualClock) -> None:
    """After as long as was asked for."""
    write(box, ("i", "text"))
    letter = take(box)
    assert letter is not None
    box.returned(letter, 'no "luck"', 30.0)
    assert box.take("log", 15.0) == (None, 30.0)
    clock.advance(30)
    again = take(box)
    assert again is not None
    assert (again.tries, again.error) == (2, 'no "luck"')


def test_what_was_given_up_is_kept_and_can_be_sent_again(box: Outbox) -> None:
    """With the reason, in order."""
    write(box, ("a", "a"), ("b", "b"))
    for _ in range(2):
        letter = take(box)
        assert letter is not None
        box.returned(letter, f"no {letter.text}", None)
    assert box.take("log", 15.0) == (None, None)
    assert [(each.text, each.error, each.tries) for each in box.undelivered("log")] == [
        ("a", "no a", 1),
        ("b", "no b", 1),
    ]
    assert box.undelivered("other") == []
    assert box.retry("log") == 2
    assert box.undelivered("log") == []
    again = take(box)
    assert again is not None
    assert (again.text, again.tries) == ("a", 1)


def test_too_many_letters_push_out_the_oldest(box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that is counted."""
    for module in (protocol, memory_outbox, redis_outbox):
        monkeypatch.setattr(module, "KEPT", 3)
    box.take("log", 15.0)
    for number in range(6):
        write(box, (str(number), str(number)))
    kept = []
    while (letter := take(box)) is not None:
        kept.append(letter.text)
        box.delivered(letter)
    assert kept[-3:] == ["3", "4", "5"]
    assert box.dropped()["log"] == 6 - len(kept)
    assert len(kept) <= 4


def test_a_hook_that_nobody_knew_is_told_what_was_said_right_before(box: Outbox, clock: ManualClock) -> None:
    """Not what is old, and nothing twice."""
    write(box, ("old", "old"))
    clock.advance(protocol.FRESH)
    write(box, ("new", "new"))
    letter = take(box, "late")
    assert letter is not None
    assert letter.text == "new"
    box.delivered(letter)
    assert take(box, "late") is None
    write(box, ("next", "next"), hooks=box.read().hooks)
    letter = take(box, "late")
    assert letter is not None
    assert letter.text == "next"


def test_notes_about_an_incident(box: Outbox, backend: Any) -> None:
    """Whoever delivers the next alert finds them."""
    assert box.recall("slack", "i:1") == ""
    box.remember("slack", "i:1", json.dumps({"ts": "größe"}))
    box.remember("slack", "i:2", "other")
    assert json.loads(backend.outbox().recall("slack", "i:1")) == {"ts": "größe"}
    assert box.recall("webhook", "i:1") == ""


def test_odd_names_and_texts(box: Outbox) -> None:
    """They arrive as they were."""
    hook, text = "a.<lambda>-2 größe:{}", 'a "text" \u2028 with \\ \n and 💬'
    write(box, ("in:ci{dent}", text), hooks=(hook,))
    letter = take(box, hook)
    assert letter is not None
    assert (letter.hook, letter.incident, letter.text) == (hook, "in:ci{dent}", text)


@pytest.mark.parametrize("version", ["8.2", "6.2"])
def test_a_server_that_restarts_empty_is_not_taken_for_the_old_one(
    version: str, start_redis: Callable[..., RedisServer], clock: ManualClock
) -> None:
    """A text that a process remembers is not the text of another journal with as many entries."""
    server = start_redis(version)
    backends = [RedisBackend(RedisLink.from_url(server.url), namespace="ns", now=clock.now) for _ in range(2)]
    one, other = (each.outbox() for each in backends)
    page = one.read()
    assert one.write(page, "old", page.cursor, None, [], [])
    assert one.read().journal == "old"
    server.cli("FLUSHALL")
    clock.advance(1)
    page = other.read()
    assert other.write(page, "new", page.cursor, None, [], [])
    assert one.read().journal == "new"
    for each in backends:
        each.close()
