"""The outbox of a fleet, in Redis.

Keys, all with the hash tag of the namespace: ``:journal``, ``:recent``, ``:hooks``, and for each hook
``:letters:HOOK``, ``:texts:HOOK``, ``:undelivered:HOOK`` and ``:note:HOOK:INCIDENT``. What they hold is
said in ``post_*.lua``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from recloser.backends.outbox import FRESH, KEPT, RECENT, Letter, Page
from recloser.backends.redis_link import Script
from recloser.core.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from recloser.backends.redis_link import RedisLink

__all__ = ["RedisOutbox"]

_DAY = 86_400
_LIVES = 1000 * 30 * _DAY
"""Milliseconds after which nobody wants to hear of it any more."""
_HOOK_LIVES = 1_000_000 * _DAY
"""Microseconds after which a hook that no process has any more is not written to."""


class RedisOutbox:
    """Kept in a Redis.

    Args:
        link: how it is reached.
        root: what all keys begin with.
        now: for tests, the server's time in seconds; its own clock by default.
    """

    def __init__(self, link: RedisLink, root: str, now: Callable[[], float] | None = None) -> None:
        self._link = link
        self._root = root
        self._now = now
        # What was read last need not be sent again.
        self._known: tuple[int, str] = (0, "")

    def read(self) -> Page:
        version, text = self._known
        keys = [self._root + kind for kind in ("journal", "events", "hooks")]
        args = (self._moment(), version, _HOOK_LIVES)
        now, found, journal, cursor, due, hooks, entries = self._link.run(Script.load("post_read.lua"), keys, args)
        if found != version:
            text = journal.decode()
            self._known = found, text
        events = tuple((entry.decode(), Event.from_dict(json.loads(fields[1]))) for entry, fields in reversed(entries))
        return Page(
            now=now / 1e6,
            version=found,
            journal=text,
            cursor=cursor.decode(),
            events=events,
            due=float(due) if due else None,
            hooks=tuple(hook.decode() for hook in hooks),
        )

    def write(
        self,
        page: Page,
        journal: str,
        cursor: str,
        due: float | None,
        alerts: Sequence[tuple[str, str]],
        hooks: Iterable[str],
    ) -> bool:
        keys = [self._root + "journal", self._root + "recent"]
        for hook in hooks:
            keys += self._of(hook, "letters", "texts")
        args = (
            self._moment(),
            page.version,
            journal,
            cursor,
            "" if due is None else repr(due),
            _LIVES,
            KEPT,
            RECENT,
            json.dumps(alerts, separators=(",", ":")),
        )
        return bool(self._link.run(Script.load("post_write.lua"), keys, args))

    def take(self, hook: str, lease: float) -> tuple[Letter | None, float | None]:
        keys = [*self._of(hook, "letters", "texts"), self._root + "hooks", self._root + "recent"]
        args = (self._moment(), hook, round(lease * 1e6), _LIVES, _HOOK_LIVES, round(FRESH * 1e6))
        found = self._link.run(Script.load("post_take.lua"), keys, args)
        if len(found) > 1:
            return _letter(hook, found), 0.0
        return None, found[0] / 1e6 if found else None

    def delivered(self, letter: Letter) -> None:
        self._settle(letter, "delivered")

    def returned(self, letter: Letter, error: str, again: float | None) -> None:
        if again is None:
            self._settle(letter, "never", error)
        else:
            self._settle(letter, "later", error, again)

    def _settle(self, letter: Letter, what: str, error: str = "", later: float = 0.0) -> None:
        keys = self._of(letter.hook, "letters", "texts", "undelivered")
        args = (self._moment(), letter.number, what, round(later * 1e6), error, KEPT, _LIVES)
        self._link.run(Script.load("post_settle.lua"), keys, args)

    def undelivered(self, hook: str) -> list[Letter]:
        return self._given_up(hook, "")

    def retry(self, hook: str) -> int:
        return len(self._given_up(hook, "retry"))

    def _given_up(self, hook: str, what: str) -> list[Letter]:
        keys = self._of(hook, "letters", "texts", "undelivered")
        found = self._link.run(Script.load("post_again.lua"), keys, (what, _LIVES))
        return sorted((_letter(hook, each) for each in found), key=lambda letter: letter.number)

    def dropped(self) -> Mapping[str, int]:
        counts = {hook: self._link.execute("HGET", *self._of(hook, "letters"), "dropped") for hook in self.read().hooks}
        return {hook: int(count) for hook, count in counts.items() if count}

    def recall(self, hook: str, incident: str) -> str:
        found = self._link.execute("GET", self._note(hook, incident))
        return found.decode() if found else ""

    def remember(self, hook: str, incident: str, text: str) -> None:
        self._link.execute("SET", self._note(hook, incident), text, "PX", _LIVES)

    def _note(self, hook: str, incident: str) -> str:
        return f"{self._root}note:{hook}:{incident}"

    def _of(self, hook: str, *kinds: str) -> list[str]:
        return [f"{self._root}{kind}:{hook}" for kind in kinds]

    def _moment(self) -> int | str:
        return "" if self._now is None else round(self._now() * 1e6)


def _letter(hook: str, found: list[Any]) -> Letter:
    number, incident, tries, error, text = found
    return Letter(hook, number, incident.decode(), text.decode(), tries, error.decode())
