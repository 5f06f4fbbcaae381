"""The script of the night. No step looks at a clock: each waits for what it wants to see, within a bound."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from examples.voice_platform.app.leads import LOCKED, SERVED, WAITING
from recloser import State
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from examples.voice_platform.night.fleet import Fleet
    from examples.voice_platform.night.record import Record
    from examples.voice_platform.night.world import Ears, Providers
    from recloser import Recloser
    from tests.alerts.slack_server import SlackServer

__all__ = ["Night"]

NAMES: tuple[str, ...] = (
    *("Ada", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "Jane", "Kim", "Liv", "Max", "Nora", "Otis"),
    *("Pia", "Qi", "Rosa", "Sam", "Tess", "Uma", "Vera", "Wim", "Xena", "Yuri", "Zoe", "Abel", "Bea", "Cid", "Dora"),
    *("Emil", "Fay"),
)

_BOUND = 60.0


class Night:
    """Everything that the script moves."""

    def __init__(
        self, redis: Redis, providers: Providers, slack: SlackServer, fleet: Fleet, looks_on: Recloser, record: Record
    ) -> None:
        self.redis = redis
        self.providers = providers
        self.slack = slack
        self.fleet = fleet
        self.looks_on = looks_on
        self.record = record
        self.leads: list[str] = []
        self.failures_of_one_call = 0
        self._steps = itertools.count(1)

    def run(self) -> None:
        """One step after the other."""
        self.all_is_well()
        self.a_call_is_cut()
        self.the_primary_fails()
        self.the_fallback_fails()
        self.the_fallback_is_back()
        self.the_primary_is_back()
        self.record.collect()

    # [steps
    def all_is_well(self) -> None:
        """Everybody is heard by the primary."""
        self.step("all is well")
        self.until_served(self.add(6))

    def a_call_is_cut(self) -> None:
        """The call ends at once, counts as one failure, and is made again."""
        self.step("soniox drops one call in the middle")
        (lead,) = self.add(1)
        self.until(lambda: self.providers.soniox.conversations, "a conversation has begun")
        self.providers.cut_one(self.providers.soniox)
        self.until(lambda: self.record.calls("cut", lead=lead), "the call is over")
        self.until(lambda: self.failures("soniox"), "the failure is counted")
        self.failures_of_one_call = self.failures("soniox")
        self.until_served([lead])

    def the_primary_fails(self) -> None:
        """Three calls in three processes are one trip and one message, and the next calls are heard by the fallback."""
        self.step("soniox goes down, for everybody")
        leads = self.add(3)
        self.breaks_in_the_middle(self.providers.soniox, "soniox")
        leads += self.add(3)
        self.until(self.slack.heads, "people are told")
        self.until_served(leads)

    def the_fallback_fails(self) -> None:
        """Dialling stops, and what is added to the queue stays there; a test shows that the primary is still down."""
        self.step("deepgram goes down as well")
        self.add(3)
        self.breaks_in_the_middle(self.providers.deepgram, "deepgram")
        self.until(self.all_wait, "all workers wait")
        self.add(6)
        self.until(lambda: len(self.slack.heads()) > 1, "people are told that dialling has stopped")
        self.until(lambda: self.record.of("circuit", "re-tripped", circuit="soniox"), "soniox was tested, in vain")

    def the_fallback_is_back(self) -> None:
        """One call tests it, and dialling begins again little by little."""
        self.step("deepgram is well again, which nobody knows")
        self.providers.heals(self.providers.deepgram)
        self.until(lambda: self.record.of("circuit", "resumed", circuit="deepgram"), "deepgram is tested")
        self.until_served(self.leads)

    def the_primary_is_back(self) -> None:
        """One call tests it, and new calls are heard by it again."""
        self.step("soniox is well again")
        self.providers.heals(self.providers.soniox)
        self.until(lambda: self.is_half_open("soniox"), "soniox is to be tested")
        self.add(6)
        self.until(lambda: self.record.of("circuit", "resumed", circuit="soniox"), "soniox is tested")
        self.until_served(self.leads)
        self.until_served(self.add(3))
        self.until(lambda: all(step == "closed" for step in self.steps_told()), "people are told that it is over")

    # steps]

    # -- what steps are made of ----------------------------------------------------------------------------------------

    def step(self, what: str) -> None:
        """The next step begins."""
        self.record.note(what, step=next(self._steps))

    def add(self, count: int) -> list[str]:
        """So many new leads are to be called."""
        new = list(NAMES[len(self.leads) : len(self.leads) + count])
        self.leads += new
        self.record.note(f"{count} more to be called", leads=count)
        self.redis.zadd(WAITING, {lead: time.time() for lead in new})
        return new

    def until(self, look: Callable[[], object], what: str, seconds: float = _BOUND) -> None:
        """Waits, and keeps the record meanwhile; raises TimeoutError when it does not come about."""

        def looks() -> object:
            self.record.collect()
            self.fleet.check()
            return look()

        until(looks, what, seconds=seconds, every=0.02)

    def until_served(self, leads: list[str]) -> None:
        """Waits until all of these have been called."""
        self.until(lambda: set(leads) <= set(self.served()), f"{', '.join(leads)} are served")

    def served(self) -> list[str]:
        """Who was served, in order."""
        served: Any = self.redis.lrange(SERVED, 0, -1)
        return list(served)

    def waiting(self) -> int:
        """How many leads wait."""
        return int(self.redis.zcard(WAITING))

    def locked(self) -> int:
        """How many leads are locked."""
        return int(self.redis.hlen(LOCKED))

    def breaks_in_the_middle(self, ears: Ears, circuit: str) -> None:
        """It goes down while all workers are in a conversation, or as good as all, and is paused."""
        try:
            until(lambda: ears.conversations == len(self.fleet.names), "all are talking", every=0.001)
        except TimeoutError:
            self.record.note("not all were talking at the same time")
        self.providers.breaks(ears)
        self.until(lambda: self.record.of("circuit", "tripped", circuit=circuit), f"{circuit} trips")

    def failures(self, circuit: str) -> int:
        """What the fleet has counted."""
        return self.looks_on.status()[circuit].failures

    def is_half_open(self, circuit: str) -> bool:
        """Whether it is being tested now."""
        return self.looks_on.status()[circuit].state is State.HALF_OPEN

    def all_wait(self) -> bool:
        """Whether the last thing that each worker wrote is that it waits."""
        last = {entry.facts["worker"]: entry.kind for entry in self.record.entries if entry.source == "call"}
        return set(last.values()) == {"waits"}

    def steps_told(self) -> list[str]:
        """At which step each incident is, as people read it."""
        return [head["metadata"]["event_payload"]["step"] for head in self.slack.heads()]
