"""The turns of one service: requests that are under way, from each to its first answer and to its end.

A provider may fail without a word: it takes a request and answers nothing, or ends the answer before it began. Turns
find that out, and they find out that a provider does answer.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING

from recloser.errors import DeadlineError, RefusedResultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.circuit import Circuit
    from recloser.integrations.calls import Call

__all__ = ["Turns"]

_A_MOMENT = 0.25
"""For so many seconds after an interruption what was on its way still comes."""

_FEW = 16
"""So many turns without words are remembered."""


class Turns:
    """What one service has been asked for and not answered yet. Moments are the event loop's time.

    Args:
        call: where answers are reported.
        find: the circuit of the service, None when it has none.
        failed: is told the error of a turn that failed without a word.
        first_item: after so many seconds without a first item, or without the next one, a turn has failed, where the
            circuit's policy says nothing else; None for never.
        idles: whether a silence between two items is the provider's.
        late: whether requests are told by tasks of their own: those of before a drop are told after it.

    Attributes:
        failed: the same function.
    """

    def __init__(
        self,
        call: Call,
        find: Callable[[], Circuit | None],
        failed: Callable[[Exception], None],
        *,
        first_item: float | None,
        idles: bool = False,
        late: bool = False,
    ) -> None:
        self._call = call
        self._find = find
        self.failed = failed
        self._first_item = first_item
        self._idles = idles
        self._late = late
        # When each turn that is waiting for its first item began, and those that have had it and are not over.
        self._waiting: dict[str, float] = {}
        self._answering: set[str] = set()
        # Those that are answered without being under way: what was on its way when they were dropped still comes.
        self._strays: set[str] = set()
        self._last = self._interrupted = -math.inf
        self._dropping = self._closed = False
        # Whether an answer was cut short, and the turn that began after it.
        self._cut = False
        self._excused: str | None = None
        self._wordless: deque[str] = deque(maxlen=_FEW)
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, turn: str) -> None:
        """Something was asked for; said again of the same turn, it is not another."""
        if turn in self._waiting or turn in self._answering or turn in self._strays:
            return
        if turn in self._wordless:
            self._wordless.remove(turn)
        if not self._closed and not self._dropping:
            self._waiting[turn] = self._now()
            cut = self._cut or self._now() - self._interrupted < _A_MOMENT
            self._excused, self._cut = (turn if cut else None), False
            self._watch()

    def may_be_silent(self, turn: str) -> None:
        """What was asked for may rightly be answered with nothing, unless more is asked for."""
        if turn not in self._waiting and turn not in self._answering:
            self._wordless.append(turn)

    def item(self, turn: str) -> None:
        """A part of the answer came: audio, a token. The first one is a success."""
        now = self._now()
        before, self._last = self._last, now
        if turn in self._answering or turn in self._strays:
            return
        began = self._waiting.pop(turn, None)
        (self._strays if began is None else self._answering).add(turn)
        # What a provider was busy with before is not what this turn waited for.
        self.answered(None if began is None else now - max(began, before))
        self._watch()

    def answered(self, elapsed: float | None = None) -> None:
        """The provider answered something, after so many seconds."""
        circuit = None if self._closed else self._find()
        if circuit is not None:
            self._call.succeed(circuit, elapsed)

    def end(self, turn: str, missing: str = "") -> None:
        """The turn is over; one that has had no item failed if ``missing`` says what it should have had."""
        waited = self._waiting.pop(turn, None) is not None
        self._answering.discard(turn)
        self._strays.discard(turn)
        if waited and missing and turn != self._excused:
            self.failed(RefusedResultError(missing))

    def is_waiting(self, turn: str) -> bool:
        """Whether the turn has begun, and neither ended nor had an item."""
        return turn in self._waiting

    @property
    def under_way(self) -> bool:
        """Whether any turn has begun and is not over."""
        return bool(self._waiting or self._answering)

    def excuses(self, told: str) -> bool:
        """Whether the turn that is ``told`` to have no answer may have none.

        It had no words, or the end of an interrupted one falls into it: where what is sent bears no name of a turn, the
        last words of the one are taken for all of the other.
        """
        excused = self._excused
        if excused is not None and (excused in self._waiting or excused in told):
            return True
        return any(turn in told for turn in self._wordless)

    def interrupt(self) -> None:
        """Whatever is under way is not wanted any more."""
        self._cut = self._cut or bool(self._answering) or self._excused is not None
        self._interrupted = self._now()
        self.drop()

    def drop(self) -> None:
        """Whatever is under way does not matter any more: it failed, or the call is over."""
        self._waiting.clear()
        self._strays, self._answering = self._answering, set()
        self._dropping = self._late
        if self._dropping:
            # Tasks run in the order in which they were made: those of before have told by then.
            asyncio.get_running_loop().call_soon(self._dropped)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """The call is over, and whatever the service does now is another's."""
        self._closed = True
        self.drop()

    def _dropped(self) -> None:
        self._dropping = False

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _due(self) -> tuple[float, str, float] | None:
        """When which deadline passes unless something comes, and how long it is."""
        circuit = self._find()
        if circuit is None:
            return None
        policy = circuit.policy
        first = policy.first_item or self._first_item
        if self._waiting and first is not None:
            return max(min(self._waiting.values()), self._last) + first, "first_item", first
        idle = policy.idle or self._first_item
        if self._idles and self._answering and idle is not None:
            return self._last + idle, "idle", idle
        return None

    def _watch(self) -> None:
        due = self._due()
        if due is None:
            return
        if self._timer is not None and self._timer.when() > due[0]:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due[0], self._look, due[0])

    def _look(self, set_for: float) -> None:
        self._timer = None
        due, now, circuit = self._due(), self._now(), self._find()
        if due is None or circuit is None:
            return
        when, which, length = due
        if now < when:
            self._watch()
            return
        error = DeadlineError(circuit.name, which, length, now - set_for)
        if error.stalled:
            # This process stood still, and whatever came meanwhile has not been looked at: another chance for it.
            circuit.bound.stalled(error)
            self._last = now
            self._watch()
            return
        self.drop()
        self.failed(error)
