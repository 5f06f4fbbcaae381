"""Who makes the calls of a day: this process by itself, or whatever else keeps the same protocol."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from recloser import Recloser
from recloser.demo.calls import make_call
from recloser.demo.clients import connect
from recloser.demo.ledger import Changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from recloser.circuit import Snapshot
    from recloser.demo.hours import Hours
    from recloser.demo.ledger import Call, HeldBack, Note
    from recloser.demo.script import Cue, Lead, Pace

__all__ = ["LINES", "Alone", "Crew", "GoneError", "Line"]

LINES = 3
"""So many calls a process makes at the same time."""


class GoneError(Exception):
    """Raised by a line whose process has ended in the middle of a call."""


class Line(Protocol):
    """Makes one call after the other."""

    def __call__(self, lead: Lead, /) -> Call | HeldBack:
        """What became of it; raises GoneError when nobody is there any more to say."""
        ...


class Crew(Protocol):
    """Who makes the calls.

    Attributes:
        recloser: the toolkit of the operator.
        lines: each makes one call at a time; known once the crew is open.
        where: where circuits are shared, in words.
    """

    recloser: Recloser
    lines: Sequence[Line]
    where: str

    def open(self, address: str, pace: Pace, hours: Hours, hear: Callable[[Note], None]) -> None:
        """Gets ready to call the providers at ``address``, and to say what else happens."""
        ...

    def perform(self, cue: Cue) -> None:
        """Does what a cue says about the crew itself."""
        ...

    def status(self) -> Mapping[str, Snapshot]:
        """The circuits."""
        ...

    def dialling(self) -> bool:
        """Whether a lead whose turn it is would be called now."""
        ...

    def speaking(self) -> str | None:
        """The provider that speaks now."""
        ...

    def last_words(self) -> Iterable[Note]:
        """What is to be said at the end of a whole day."""
        ...

    def hang_up(self) -> None:
        """Ends the calls that are being made, as far as the end of the providers does not."""
        ...

    def close(self) -> None:
        """Lets go of everything."""
        ...


class Alone:
    """A crew of one process, this one, on the memory backend."""

    recloser: Recloser
    lines: Sequence[Line]
    where: str = "on the memory backend"

    def __init__(self) -> None:
        self.recloser = Recloser("memory://", namespace="demo", alerts=[])
        self.lines = ()

    def open(self, address: str, pace: Pace, hours: Hours, hear: Callable[[Note], None]) -> None:
        """Connects the clients."""
        self._agent = connect(self.recloser, address, pace.policy, pace.timeout)
        self.recloser.listen(lambda event: hear(Changed(hours.at(event.at), event)))
        self.lines = [partial(make_call, self._agent, now=hours.now)] * LINES

    def perform(self, cue: Cue) -> None:
        """No script says anything about a crew of one."""
        raise NotImplementedError(cue.action)

    def status(self) -> Mapping[str, Snapshot]:
        """The circuits."""
        return self.recloser.status()

    def dialling(self) -> bool:
        """Whether a lead whose turn it is would be called now."""
        return self._agent.allowed()

    def speaking(self) -> str | None:
        """The provider that speaks now."""
        return next((to for name, to in self.recloser.status().fallbacks.items() if "speak" in name), None)

    def last_words(self) -> Iterable[Note]:
        """Nothing more."""
        return ()

    def hang_up(self) -> None:
        """Every one of them waits for a provider."""

    def close(self) -> None:
        """Ends the toolkit."""
        self.recloser.close()
