"""From the log of a fleet to letters for its hooks: every process may do it, and for each event one of them does."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recloser.core.incidents import Journal
from recloser.core.wording import worded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recloser.backends.outbox import Outbox, Page
    from recloser.core.alert import Alert
    from recloser.core.incidents import Grouping

__all__ = ["Editor"]

_MOMENT = 0.001
_TRIES = 20
"""So often it begins anew when others were quicker; after that they have said what there was to say."""


class Editor:
    """Keeps the journal.

    Args:
        outbox: where it is kept, and where letters are put.
        namespace: of the circuits.
        grouping: how much is said.

    Attributes:
        wrote: whether the last work put letters into the outbox.
    """

    wrote: bool

    def __init__(self, outbox: Outbox, namespace: str, grouping: Grouping) -> None:
        self._outbox = outbox
        self._namespace = namespace
        self._grouping = grouping
        self.wrote = False

    def work(self, hooks: Iterable[str], *, hurry: bool = False) -> float | None:
        """Writes down what has happened, and says what is due.

        Args:
            hooks: the names of the hooks of this process; those of others are known to the outbox.
            hurry: nobody else can be waited for.

        Returns:
            In how many seconds there is something to say although nothing happens; None when never.

        Raises:
            BackendError: when the outbox does not answer.
        """
        mine, self.wrote = tuple(hooks), False
        for _ in range(_TRIES):
            page = self._outbox.read()
            left = _left(page.due, page.now)
            if not page.events and not hurry and left != 0.0:
                return left
            journal, alerts = self._read(page, hurry=hurry)
            names = tuple(dict.fromkeys((*mine, *page.hooks)))
            due = None if math.isinf(journal.due) else journal.due
            cursor = page.events[-1][0] if page.events else page.cursor
            letters = [(alert.incident, _text(alert.as_dict())) for alert in alerts]
            if self._outbox.write(page, _text(journal.as_dict()), cursor, due, letters, names):
                self.wrote = bool(letters)
                return _left(due, page.now)
        return 0.0

    def _read(self, page: Page, *, hurry: bool) -> tuple[Journal, list[Alert]]:
        journal = Journal.from_dict(json.loads(page.journal)) if page.journal else Journal()
        for _, event in page.events:
            # Clocks differ: nothing has happened later than now.
            journal = journal.after(replace(event, at=min(event.at, page.now)), self._grouping)
        if not page.journal:
            journal = journal.forgotten(page.now, self._grouping)
        now = page.now if _left(page.due, page.now) else max(page.now, page.due or 0.0)
        journal, sayings = journal.said(now, self._grouping, hurry=hurry)
        return journal, [worded(saying, journal, self._namespace) for saying in sayings]


def _left(due: float | None, now: float) -> float | None:
    if due is None:
        return None
    # What is due within a moment is due: between two times that were rounded there may be no other.
    return due - now if due - now > _MOMENT else 0.0


def _text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, separators=(",", ":"))
