"""The outbox of one process."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recloser.backends.outbox import FRESH, KEPT, RECENT, Letter, Page
from recloser.locks import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from recloser.clock import Clock
    from recloser.contain import Listeners
    from recloser.core.events import Event

__all__ = ["MemoryOutbox", "OwnOutbox"]

_NOTES = 1000


@dataclass(slots=True)
class _Waiting:
    """A letter, and from when on it may be taken."""

    letter: Letter
    due: float = -math.inf


class MemoryOutbox:
    """Kept in this process.

    Args:
        time: Unix time in seconds.
        since: the events after the n-th, and how many there are.
    """

    def __init__(self, time: Callable[[], float], since: Callable[[int], tuple[int, list[Event]]]) -> None:
        self._time = time
        self._since = since
        self._lock = Section()
        self._version = 0
        self._journal = ""
        self._cursor = "0"
        self._due: float | None = None
        self._waiting: dict[str, dict[int, _Waiting]] = {}
        self._undelivered: dict[str, list[Letter]] = defaultdict(list)
        self._dropped: Counter[str] = Counter()
        self._notes: dict[tuple[str, str], str] = {}
        self._recent: deque[tuple[float, str, str]] = deque(maxlen=RECENT)
        self._numbers = 0

    def read(self) -> Page:
        with self._lock:
            last, events = self._since(int(self._cursor))
            first = last - len(events) + 1
            found = tuple((str(first + place), event) for place, event in enumerate(events))
            hooks = tuple(self._waiting)
            return Page(self._time(), self._version, self._journal, self._cursor, found, self._due, hooks)

    def write(
        self,
        page: Page,
        journal: str,
        cursor: str,
        due: float | None,
        alerts: Sequence[tuple[str, str]],
        hooks: Iterable[str],
    ) -> bool:
        with self._lock:
            if page.version != self._version:
                return False
            self._version += 1
            self._journal, self._cursor, self._due = journal, cursor, due
            self._recent.extend((self._time(), *alert) for alert in alerts)
            for hook in hooks:
                for incident, text in alerts:
                    self._send(hook, incident, text)
            return True

    def _send(self, hook: str, incident: str, text: str) -> None:
        self._numbers += 1
        self._put(Letter(hook, self._numbers, incident, text))

    def _put(self, letter: Letter) -> None:
        waiting = self._waiting.setdefault(letter.hook, {})
        waiting[letter.number] = _Waiting(letter)
        if len(waiting) > KEPT:
            del waiting[min(waiting)]
            self._dropped[letter.hook] += 1

    def take(self, hook: str, lease: float) -> tuple[Letter | None, float | None]:
        with self._lock:
            now, begun, soonest = self._time(), set[str](), math.inf
            if hook not in self._waiting:
                self._waiting[hook] = {}
                for at, incident, text in self._recent:
                    if now - at < FRESH:
                        self._send(hook, incident, text)
            for waiting in self._waiting[hook].values():
                letter = waiting.letter
                if letter.incident not in begun and waiting.due <= now:
                    waiting.letter = replace(letter, tries=letter.tries + 1)
                    waiting.due = now + lease
                    return waiting.letter, 0.0
                if letter.incident not in begun:
                    soonest = min(soonest, waiting.due)
                begun.add(letter.incident)
            return None, None if math.isinf(soonest) else max(0.0, soonest - now)

    def delivered(self, letter: Letter) -> None:
        with self._lock:
            self._waiting.get(letter.hook, {}).pop(letter.number, None)

    def returned(self, letter: Letter, error: str, again: float | None) -> None:
        with self._lock:
            waiting = self._waiting.get(letter.hook, {})
            if letter.number not in waiting:
                return
            failed = replace(letter, error=error)
            if again is not None:
                waiting[letter.number] = _Waiting(failed, self._time() + again)
                return
            del waiting[letter.number]
            given_up = self._undelivered[letter.hook]
            given_up.append(failed)
            del given_up[:-KEPT]

    def undelivered(self, hook: str) -> list[Letter]:
        with self._lock:
            return list(self._undelivered.get(hook, ()))

    def retry(self, hook: str) -> int:
        with self._lock:
            letters = self._undelivered.pop(hook, [])
            for letter in letters:
                self._put(replace(letter, tries=0))
            return len(letters)

    def dropped(self) -> Mapping[str, int]:
        with self._lock:
            return dict(self._dropped)

    def recall(self, hook: str, incident: str) -> str:
        with self._lock:
            return self._notes.get((hook, incident), "")

    def remember(self, hook: str, incident: str, text: str) -> None:
        with self._lock:
            self._notes.pop((hook, incident), None)
            self._notes[hook, incident] = text
            while len(self._notes) > _NOTES:
                del self._notes[next(iter(self._notes))]

    def renew(self) -> None:
        """After a fork, in the child: what was to be told is the parent's to tell."""
        self._lock.renew()
        self._waiting = {hook: {} for hook in self._waiting}


class OwnOutbox(MemoryOutbox):
    """The outbox of a process whose backend has none: it tells of what it does itself.

    Args:
        clock: the process's time.
        listeners: who is told of events.
    """

    def __init__(self, clock: Clock, listeners: Listeners[Event]) -> None:
        self._log: deque[Event] = deque(maxlen=KEPT)
        self._count = 0
        super().__init__(clock.time, self._after)
        listeners.add(self._put_down)

    def _put_down(self, event: Event) -> None:
        self._log.append(event)
        self._count += 1

    def _after(self, number: int) -> tuple[int, list[Event]]:
        log = list(self._log)
        return self._count, log[number - self._count :] if number < self._count else []
