"""The script of the day: how long everything takes, what breaks and heals when, and who is called.

It is made of the length of the day and a seed alone: the same two give the same script.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recloser import Policy
from recloser.demo.provider import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HELD_BACK", "ROLES", "Cue", "Lead", "Pace", "Script"]

ROLES = {
    "elevenlabs": "speech, first choice",
    "cartesia": "speech, second choice",
    "deepgram": "speech to text",
    "openai": "language model",
    "twilio": "telephony",
}
"""What the agent needs each provider for."""

HELD_BACK = "held back"
"""What a cue can wait for besides events: that a lead was put back because of a circuit."""

# fmt: off
_NAMES = (
    "Ada", "Alan", "Alma", "Amos", "Bela", "Cleo", "Dora", "Edgar", "Ella", "Emil", "Enid", "Ezra", "Faye", "Felix",
    "Fritz", "Gina", "Grace", "Hugo", "Ida", "Igor", "Inez", "Iris", "Ivan", "Jonas", "Juno", "Kira", "Klaus", "Lars",
    "Lena", "Leo", "Lola", "Maja", "Max", "Mira", "Nadia", "Nils", "Nora", "Olga", "Oscar", "Otto", "Paula", "Petra",
    "Quinn", "Rafael", "Rosa", "Ruth", "Sara", "Sven", "Tara", "Theo", "Tom", "Uma", "Vera", "Viktor", "Wanda", "Willa",
    "Xenia", "Yara", "Yusuf", "Zoe",
)
# fmt: on

_INTERRUPTIONS = 0.12  # the share of callers that interrupt the agent
_AT_LUNCH = 0.8
_LAST_LEAD = 29.4
_GAP = 0.39  # units between two leads of one process, in the middle
_MOST_LEADS = 40.0  # in a second: this computer plays the providers, too


@dataclass(frozen=True, slots=True)
class Pace:
    """The lengths of time of a day, in seconds.

    Attributes:
        day: how long the day lasts.
        unit: a thirtieth of it: what would be a second in a demo of thirty.
    """

    day: float

    @property
    def unit(self) -> float:
        """A thirtieth of the day."""
        return self.day / 30

    @property
    def timeout(self) -> float:
        """How long a client waits for a provider.

        However short the day is, a busy computer needs its quarter of a second.
        """
        return max(self.unit, 0.25)

    @property
    def policy(self) -> Policy:
        """What every circuit trips at: far less than an application would choose, so that a day shows it often."""
        return Policy(
            failures=3,
            window=max(5 * self.unit, 2.0),
            cooldown=2 * self.unit,
            cooldown_growth=1.25,
            cooldown_max=6 * self.unit,
            probe_timeout=2 * self.timeout,
        )

    @property
    def standstill(self) -> float:
        """How long Redis stands still: every process of a fleet is to notice, and each talks to it once a second."""
        return max(1.5 * self.unit, 1.4)

    @property
    def patience(self) -> float:
        """How long the script waits for what should have happened before it goes on without."""
        return 4 * self.unit + 3.0


@dataclass(frozen=True, slots=True)
class Cue:
    """One entry of the script.

    Attributes:
        at: seconds since the day began.
        action: ``"break"``, ``"heal"``, ``"pause"``, ``"resume"`` or ``"end"``; of a fleet also ``"kill"`` (one of its
            processes) and ``"stop"`` (its Redis, for a while).
        circuit: the provider, or the circuit that an operator pauses or resumes.
        fault: what the provider does from now on.
        reason: why the operator pauses it.
        by: the operator.
        after: events that must have happened first, as circuit and kind; a cue waits for them, within bounds.
        hold: how many seconds after the last of these it comes, at the earliest.
    """

    at: float
    action: str
    circuit: str = ""
    fault: Fault | None = None
    reason: str = ""
    by: str = ""
    after: tuple[tuple[str, str], ...] = ()
    hold: float = 0.0

    @property
    def short(self) -> str:
        """What it does, in a few words."""
        return {
            "break": f"{self.circuit} breaks: {self.fault.short if self.fault else ''}",
            "heal": f"{self.circuit} is well again",
            "pause": f"{self.by} pauses {self.circuit}: {self.reason}",
            "resume": f"{self.by} resumes {self.circuit}",
            "kill": "a process is killed",
            "stop": "Redis stands still",
            "end": "the day is over",
        }[self.action]

    def __str__(self) -> str:
        return {
            "break": f"{self.circuit} breaks: it {self.fault}",
            "heal": f"{self.circuit} is well again; nobody tells Recloser",
            "pause": f"{self.by}, an operator, pauses {self.circuit}: {self.reason}",
            "resume": f"{self.by} resumes {self.circuit}",
            "kill": "a process is killed in the middle of its calls (SIGKILL)",
            "stop": "Redis stands still (SIGSTOP): it accepts whatever comes and answers nothing",
            "end": "the day is over",
        }[self.action]


@dataclass(frozen=True, slots=True)
class Lead:
    """Somebody to call.

    Attributes:
        number: their place in the list.
        name: their name.
        at: seconds since the day began, when they ask to be called.
        interrupts: whether they will talk over the agent: a barge-in.
    """

    number: int
    name: str
    at: float
    interrupts: bool

    @property
    def phone(self) -> str:
        """A number that belongs to nobody, from the block kept free for fiction."""
        return f"+1555555{100 + self.number:04d}"

    def __str__(self) -> str:
        return f"#{self.number} {self.name}"


@dataclass(frozen=True, slots=True)
class Script:
    """A day.

    Attributes:
        seed: what its chances were drawn with.
        pace: its lengths of time.
        cues: what breaks and heals, in order.
        leads: who is called, in order.
        often: how many leads come in the time in which one comes to a crew of one process.
    """

    seed: int
    pace: Pace
    cues: tuple[Cue, ...]
    leads: tuple[Lead, ...]
    often: float = 1.0

    @classmethod
    def write(cls, seconds: float, seed: int) -> Script:
        """The script of a day of that many seconds."""
        pace = Pace(seconds)
        chances = random.Random(seed)  # noqa: S311 - a story, not a secret
        return cls(seed, pace, tuple(_cues(pace.unit, chances)), tuple(_leads(pace.unit, chances, 1.0, _LAST_LEAD)))

    @classmethod
    def for_fleet(cls, seconds: float, seed: int, processes: int, *, stops: bool) -> Script:
        """The same day for so many processes, one of which is killed.

        Args:
            seconds: how long it lasts.
            seed: of everything that happens by chance.
            processes: how many call leads.
            stops: whether Redis stands still for a while.
        """
        pace = Pace(seconds)
        chances = random.Random(seed)  # noqa: S311 - a story, not a secret
        *cues, end = _cues(pace.unit, chances)
        # At the end there is time to call those who were put back last.
        cues += [*_fleet_cues(pace.unit, stops=stops), replace(end, hold=pace.unit)]
        often = max(1.0, min(processes, _MOST_LEADS * _GAP * pace.unit))
        # Redis stands still for no shorter in a short day: the leads must not have run out when the script goes on.
        leads = _leads(pace.unit, chances, often, _LAST_LEAD + (pace.standstill + pace.patience) / pace.unit)
        return cls(seed, pace, tuple(sorted(cues, key=lambda cue: cue.at)), tuple(leads), often)


def _cues(unit: float, chances: random.Random) -> Iterator[Cue]:
    def at(units: float) -> float:
        return round(unit * (units + chances.uniform(-0.15, 0.15)), 3)

    down = Fault("status", chances.choice([500, 502, 503]))
    limited = Fault("status", 429, retry_after=round(unit * chances.uniform(1.3, 1.7), 3))
    refused = Fault("status", chances.choice([401, 402, 403]))
    operator = chances.choice(["maria", "jamal", "yuki"])

    # The first choice for speech fails, is tested while it is still dead, and comes back.
    yield Cue(at(2), "break", "elevenlabs", down)
    yield Cue(at(5), "heal", "elevenlabs", after=(("elevenlabs", "re-tripped"),), hold=1.6 * unit)
    # The agent has gone deaf: nobody should be called.
    yield Cue(at(9.5), "break", "deepgram", Fault("hang"), after=(("elevenlabs", "resumed"),))
    yield Cue(at(11), "heal", "deepgram", after=(("deepgram", "tripped"),), hold=1.6 * unit)
    # A rate limit says itself when to come back.
    yield Cue(at(14), "break", "openai", limited, after=(("deepgram", "resumed"),))
    yield Cue(at(15), "heal", "openai", after=(("openai", "tripped"),), hold=1.1 * unit)
    # An operator knows more than the counts do.
    yield Cue(at(17.5), "pause", "twilio", reason="carrier maintenance", by=operator, after=(("openai", "resumed"),))
    yield Cue(at(19.3), "resume", "twilio", by=operator, after=(("twilio", HELD_BACK),), hold=1.2 * unit)
    # Both choices for speech fail; the second comes back first.
    both = at(21.5)
    yield Cue(both, "break", "elevenlabs", Fault("drop"))
    yield Cue(both + 0.05 * unit, "break", "cartesia", refused)
    tripped = (("elevenlabs", "tripped"), ("cartesia", "tripped"))
    yield Cue(at(23), "heal", "cartesia", after=tripped, hold=1.6 * unit)
    again = (("elevenlabs", "re-tripped"), ("cartesia", "resumed"))
    yield Cue(at(25), "heal", "elevenlabs", after=again, hold=1.4 * unit)
    yield Cue(30 * unit, "end", after=(("elevenlabs", "resumed"),))


def _fleet_cues(unit: float, *, stops: bool) -> Iterator[Cue]:
    # Calls go on as fast as they can after a pause: whoever is killed now has some in its hands.
    yield Cue(unit * 12.6, "kill", after=(("deepgram", "resumed"),), hold=0.5 * unit)
    if stops:
        yield Cue(unit * 20.4, "stop", "redis", after=(("twilio", "resumed by hand"),), hold=0.3 * unit)


def _leads(unit: float, chances: random.Random, often: float, last: float) -> Iterator[Lead]:
    moment, number = 0.2, 1
    while moment < last:
        lunch = 19.4 < moment < 21.4
        interrupts = chances.random() < (_AT_LUNCH if lunch else _INTERRUPTIONS)
        yield Lead(number, chances.choice(_NAMES), round(unit * moment, 3), interrupts)
        moment += chances.uniform(0.28, 0.5) / often
        number += 1
