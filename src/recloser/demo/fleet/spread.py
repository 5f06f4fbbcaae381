"""How a transition spreads: in which process it was decided, and when the last process had heard of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recloser.core.events import Event

__all__ = ["Spread", "Spreading"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A transition that everybody knows of.

    Attributes:
        event: what was decided.
        member: in which process.
        known: when the last process had heard of it, Unix time in seconds.
        processes: how many they were.
    """

    event: Event
    member: int
    known: float
    processes: int

    @property
    def seconds(self) -> float:
        """How long that took; a process may hear of it before the one that decided it has said so."""
        return max(0.0, self.known - self.event.at)


@dataclass
class Spreading:
    """Follows transitions through a fleet. One thread at a time.

    Attributes:
        alive: the processes that are to know.
    """

    alive: set[int] = field(default_factory=set)
    _decided: list[tuple[Event, int]] = field(default_factory=list)
    _heard: dict[tuple[int, str], list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def settled(self) -> bool:
        """Whether everybody knows of everything."""
        return not self._decided

    def decided(self, event: Event, member: int) -> list[Spread]:
        """A process has made a transition; returns what everybody knows now."""
        self._decided.append((event, member))
        return self._known()

    def heard(self, member: int, circuit: str, generation: int, unix: float) -> list[Spread]:
        """A process sees a circuit in the state of that number, since that moment; returns what everybody knows now."""
        heard = self._heard[member, circuit]
        if heard and heard[-1][0] >= generation:
            return []
        heard.append((generation, unix))
        return self._known()

    def gone(self, member: int) -> list[Spread]:
        """A process has ended; returns what everybody knows now."""
        self.alive.discard(member)
        return self._known()

    def _known(self) -> list[Spread]:
        pending, self._decided = self._decided, []
        known: list[Spread] = []
        for event, member in pending:
            moments = [self._moment(each, event) for each in self.alive]
            heard = [moment for moment in moments if moment is not None]
            if moments and len(heard) == len(moments):
                known.append(Spread(event, member, max(heard), len(heard)))
            else:
                self._decided.append((event, member))
        return known

    def _moment(self, member: int, event: Event) -> float | None:
        """Since when a process has known; a state that was over before it was seen is known with the next one."""
        heard = self._heard[member, event.circuit]
        return next((unix for generation, unix in heard if generation >= event.generation), None)
