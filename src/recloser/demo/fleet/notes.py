"""What happens in a fleet besides: processes come and go, hear of transitions, and do without Redis for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recloser.core.duration import format_duration
from recloser.demo.ledger import Note
from recloser.demo.words import milliseconds

if TYPE_CHECKING:
    from recloser import State
    from recloser.core.events import Event
    from recloser.demo.script import Lead

__all__ = ["Gone", "Joined", "Known", "StoodStill", "Totals"]


@dataclass(frozen=True, slots=True)
class Joined(Note):
    """A process is ready to make calls."""

    pid: int

    def told(self) -> tuple[str, str, str] | None:
        """That it is there."""
        return "process", self.who, f"is there (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Gone(Note):
    """A process has ended in the middle of the day.

    Attributes:
        pid: its number.
        why: what it ended with.
        leads: those it was calling.
    """

    pid: int
    why: str
    leads: tuple[Lead, ...]

    def told(self) -> tuple[str, str, str] | None:
        """Who is to be called by others now."""
        others = f"; others call {', '.join(map(str, self.leads))}" if self.leads else ", and nobody was being called"
        return "process", self.who, f"is gone (pid {self.pid}): {self.why}{others}"


@dataclass(frozen=True, slots=True)
class Known(Note):
    """The last process has heard of a transition; ``member`` is the one in which it was decided.

    Attributes:
        circuit: of which circuit.
        state: its new state.
        seconds: since it was decided.
        processes: how many know.
    """

    circuit: str
    state: State
    seconds: float
    processes: int

    def told(self) -> tuple[str, str, str] | None:
        """Where it was decided, and how fast it spread."""
        decided = f"decided in {self.who}" if self.member else f"said by {self.who}"
        those = {1: "the only process", 2: "both processes"}.get(self.processes, f"all {self.processes} processes")
        text = f"{self.state.name} was {decided}; {those} knew {milliseconds(self.seconds)} later"
        return "fleet", self.circuit, text


@dataclass(frozen=True, slots=True)
class StoodStill(Note):
    """Redis goes on, after having stood still for so many seconds."""

    seconds: float

    def told(self) -> tuple[str, str, str] | None:
        """That it goes on."""
        return "script", "redis", f"Redis goes on (SIGCONT), after {format_duration(round(self.seconds, 1))}"


@dataclass(frozen=True, slots=True)
class Totals(Note):
    """What Redis knows at the end of the day.

    Attributes:
        log: the events that the fleet put down; None when it does not say.
        commands: how many it was sent; None where it has others to serve as well.
    """

    log: tuple[Event, ...] | None
    commands: int | None
