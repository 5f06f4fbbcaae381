"""From events to what people should hear: incidents open, are updated and close, and repetition is kept from people.

The journal below is folded from the events of a fleet, one after the other, whoever does it. Then, whenever something
is due, it says what. All moments are Unix time in seconds; nothing here looks at a clock.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from recloser.core.alert import Step
from recloser.core.events import Event, EventKind, Needs
from recloser.core.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Grouping", "Incident", "Journal", "Saying"]


_SOON = 0.01
"""Nothing is looked at again before so many seconds are over."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """How much is said.

    Attributes:
        wait: circuits that trip within so many seconds of each other are one incident.
        repeat: an incident that stays open is said again after so many seconds.
        flaps: so many trips are flapping..
        flap_window: ..within so many seconds, which are also how long it must be calm afterwards.
        stale: what happened longer ago than so many seconds, before anybody kept journal, is not said any more.
    """

    wait: float = 2.0
    repeat: float = 4 * 3600.0
    flaps: int = 3
    flap_window: float = 1800.0
    stale: float = 3600.0


@dataclass(frozen=True, slots=True)
class Incident:
    """Circuits that tripped together, until all of them are closed again.

    Attributes:
        id: the same in every process.
        circuits: those that tripped, in that order.
        opened: when the first of them did.
        said: when people were told last; None before they were told at all.
        due: when there is something to say, if nothing else happens.
        steps: what there is to say.
        blocks: what is blocked since, and was not before.
        flapping: whether it goes on and off, and people know.
        tries: how many probes have failed.
    """

    id: str
    circuits: tuple[str, ...]
    opened: float
    said: float | None = None
    due: float = math.inf
    steps: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    flapping: bool = False
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Saying:
    """Something to say now.

    Attributes:
        step: where it belongs in the life of its incident.
        incident: the incident as it is now; a notice has one of its own that is nowhere in the journal.
        event: what a notice is about.
        again: whether nothing has changed since people were told last.
        quiet: whether it is only for who keeps a log of every step.
        at: when it happened.
    """

    step: Step
    incident: Incident
    at: float
    event: Event | None = None
    again: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Journal:
    """All that has to be remembered of the events of a fleet.

    Attributes:
        unwell: the last event of each circuit that is not closed.
        incidents: those that are open, in the order in which they were opened.
        trips: the latest trips of each circuit.
        needs: what is built on circuits, by name.
        alone: when it was said last that a process had paused a circuit for itself alone.
        notices: what is to be said of events that belong to no incident.
    """

    unwell: dict[str, Event] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    trips: dict[str, tuple[float, ...]] = field(default_factory=dict)
    needs: dict[str, Needs] = field(default_factory=dict)
    alone: dict[str, float] = field(default_factory=dict)
    notices: tuple[Event, ...] = ()

    # -- what is so ----------------------------------------------------------------------------------------------------

    @property
    def blocked(self) -> tuple[str, ...]:
        """The names of what is blocked now, sorted."""
        return tuple(sorted(name for name, needs in self.needs.items() if self._blocks(needs)))

    def _blocks(self, needs: Needs) -> bool:
        return any(group and not any(map(self.passes, group)) for group in needs.groups)

    def passes(self, circuit: str) -> bool:
        """Whether calls go through: it is well, or only observed."""
        return circuit not in self.unwell or not self.unwell[circuit].enforced

    def answering(self, name: str) -> str | None:
        """The first provider of a fallback that calls go to; None when there is none."""
        return next(filter(self.passes, self.needs[name].circuits), None)

    def of(self, circuit: str) -> Incident | None:
        """The incident that a circuit belongs to."""
        return next((each for each in self.incidents if circuit in each.circuits), None)

    def is_over(self, incident: Incident) -> bool:
        """Whether all of its circuits are closed."""
        return not any(circuit in self.unwell for circuit in incident.circuits)

    @property
    def due(self) -> float:
        """When there is something to say; infinity when there is nothing."""
        return min((*(each.due for each in self.incidents), *(each.at for each in self.notices)), default=math.inf)

    # -- what happened -------------------------------------------------------------------------------------------------

    def after(self, event: Event, grouping: Grouping) -> Journal:
        """The journal once this has happened."""
        if event.local:
            return self._alone(event, grouping)
        if event.circuit == "*" or event.kind in {EventKind.STALLED, EventKind.CHANGED}:
            return self
        needs = {**self.needs, **{each.name: each for each in event.needs}}
        unwell = {name: last for name, last in self.unwell.items() if name != event.circuit}
        if event.state is not State.CLOSED:
            unwell[event.circuit] = event
        journal = replace(self, needs=needs, unwell=unwell)
        return journal._told(event, grouping)._blocking(self, event)  # noqa: SLF001 - of the same class

    def _alone(self, event: Event, grouping: Grouping) -> Journal:
        """One process did something for itself: said once for all that do, and not at all while people know why."""
        name, at = event.circuit, event.at
        last = self.alone.get(name, -math.inf)
        if event.kind is not EventKind.TRIPPED or name in self.unwell or at - last < grouping.repeat:
            return self
        return replace(self, alone={**self.alone, name: at}, notices=(*self.notices, event))

    def _told(self, event: Event, grouping: Grouping) -> Journal:
        """Puts the event down in the incident that it belongs to."""
        incident = self.of(event.circuit)
        if event.kind is EventKind.TRIPPED:
            return self._tripped(event, grouping)
        if incident is None:
            return self._without_incident(event, grouping)
        if event.state is State.CLOSED:
            return self._put(self._closing(incident, event, grouping))
        if event.kind is EventKind.RETRIPPED:
            incident = replace(incident, tries=incident.tries + 1)
        loud = event.kind is EventKind.PAUSED
        return self._put(_to_say(incident, "updated" if loud else "quiet", event.at))

    def _without_incident(self, event: Event, grouping: Grouping) -> Journal:
        if event.kind is EventKind.RETRIPPED:
            return self._tripped(event, grouping)
        if event.kind is EventKind.RESTORED:
            # People were told before it was lost.
            found = Incident(_id(event), (event.circuit,), event.at, said=event.at, due=event.at + grouping.repeat)
            return self._put(found) if event.state in {State.OPEN, State.HALF_OPEN} else self
        by_hand = event.kind in {EventKind.PAUSED, EventKind.RESUMED_BY_HAND}
        was_paused = event.kind is EventKind.RESUMED
        return replace(self, notices=(*self.notices, event)) if by_hand or was_paused else self

    def _tripped(self, event: Event, grouping: Grouping) -> Journal:
        name, at = event.circuit, event.at
        recent = (*(each for each in self.trips.get(name, ()) if at - each < grouping.flap_window), at)
        journal = replace(self, trips={**self.trips, name: recent[-grouping.flaps :]})
        flapping = len(recent) >= grouping.flaps
        incident = self.of(name)
        if incident is None and not flapping:
            # Whoever trips right after others did belongs to them.
            incident = next((each for each in reversed(self.incidents) if each.said is None and each.due > at), None)
        if incident is None:
            incident = Incident(_id(event), (name,), at, due=at + grouping.wait, steps=("opened",))
        elif name not in incident.circuits:
            incident = replace(incident, circuits=(*incident.circuits, name))
        if flapping and not incident.flapping:
            incident = replace(incident, flapping=True)
            if incident.said is not None:
                incident = _to_say(incident, "updated", at)
        return journal._put(incident)  # noqa: SLF001 - of the same class

    def _closing(self, incident: Incident, event: Event, grouping: Grouping) -> Incident:
        if not self.is_over(incident):
            return _to_say(incident, "quiet", event.at)
        if incident.flapping and event.kind is not EventKind.RESUMED_BY_HAND:
            return incident if incident.said is None else self._next(incident, event.at, grouping)
        return _to_say(incident, "closed", event.at)

    def _blocking(self, before: Journal, event: Event) -> Journal:
        """Puts down what is blocked by this, and what is blocked no more."""
        blocked, journal = set(self.blocked), self
        new = blocked - set(before.blocked)
        for each in self.incidents:
            mine = event.circuit in each.circuits
            blocks = tuple(sorted((set(each.blocks) & blocked) | (new if mine else set())))
            if blocks != each.blocks:
                changed = replace(each, blocks=blocks)
                # One that is being said, or is over, says it with that.
                known = each.said is not None and not self.is_over(each)
                journal = journal._put(_to_say(changed, "updated", event.at) if known else changed)
        return journal

    def _put(self, incident: Incident) -> Journal:
        others = tuple(incident if each.id == incident.id else each for each in self.incidents)
        known = any(each.id == incident.id for each in self.incidents)
        return replace(self, incidents=others if known else (*others, incident))

    # -- what is to be said --------------------------------------------------------------------------------------------

    def said(self, now: float, grouping: Grouping, *, hurry: bool = False) -> tuple[Journal, list[Saying]]:
        """The journal once everything has been said that is due, and what that is.

        Args:
            now: the present moment.
            grouping: how much is said.
            hurry: nobody else can be waited for.
        """
        sayings = [_notice(event) for event in self.notices]
        kept: list[Incident] = []
        for each in self.incidents:
            if each.due > now and not (hurry and each.said is None):
                kept.append(each)
                continue
            mine = self._sayings(each, now, grouping)
            sayings += mine
            if not any(saying.step is Step.CLOSED for saying in mine):
                loud = each.said is None or any(not saying.quiet for saying in mine)
                kept.append(self._next(replace(each, said=now if loud else each.said, steps=()), now, grouping))
        return replace(self, notices=(), incidents=tuple(kept)), sayings

    def _sayings(self, incident: Incident, now: float, grouping: Grouping) -> list[Saying]:
        steps = set(incident.steps)
        if incident.said is None:
            steps.add("opened")
        elif incident.flapping and self.is_over(incident) and now >= self._calm(incident, grouping):
            steps.add("closed")
        loud = [Saying(step, incident, now) for step in (Step.OPENED, Step.UPDATED, Step.CLOSED) if step in steps]
        if loud:
            return loud
        if "quiet" in steps:
            return [Saying(Step.UPDATED, incident, now, quiet=True)]
        again = incident.said is not None and not incident.flapping and now - incident.said >= grouping.repeat
        return [Saying(Step.UPDATED, incident, now, again=True)] if again else []

    def _next(self, incident: Incident, now: float, grouping: Grouping) -> Incident:
        """The same incident, looked at again when there may be something to say by then."""
        due = (now if incident.said is None else incident.said) + grouping.repeat
        if incident.flapping:
            due = self._calm(incident, grouping) if self.is_over(incident) else math.inf
        return replace(incident, due=max(due, now + _SOON))

    def _calm(self, incident: Incident, grouping: Grouping) -> float:
        """Until when it has to be calm for an incident that flapped to be over."""
        latest = (self.trips[name][-1] for name in incident.circuits if name in self.trips)
        return max(latest, default=-math.inf) + grouping.flap_window

    def forgotten(self, now: float, grouping: Grouping) -> Journal:
        """The same journal, with everything taken for said that happened too long ago."""
        begins = now - grouping.stale
        kept: list[Incident] = []
        for each in self.incidents:
            if each.opened > begins:
                kept.append(each)
            elif not self.is_over(each):
                kept.append(self._next(replace(each, said=now, steps=()), now, grouping))
        notices = tuple(each for each in self.notices if each.at > begins)
        return replace(self, incidents=tuple(kept), notices=notices)

    # -- kept elsewhere ------------------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """The same as plain, JSON-serialisable values."""
        return {
            "unwell": [event.as_dict() for event in self.unwell.values()],
            "incidents": [_plain(each) for each in self.incidents],
            "trips": self.trips,
            "needs": list(self.needs.values()),
            "alone": self.alone,
            "notices": [event.as_dict() for event in self.notices],
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Journal:
        """What ``as_dict`` was made of."""
        unwell = _events(kept["unwell"])
        return cls(
            unwell={event.circuit: event for event in unwell},
            incidents=tuple(_incident(each) for each in kept["incidents"]),
            trips={name: tuple(moments) for name, moments in kept["trips"].items()},
            needs={name: Needs(name, sort, tuple(map(tuple, groups))) for name, sort, groups in kept["needs"]},
            alone=dict(kept["alone"]),
            notices=_events(kept["notices"]),
        )


def _id(event: Event) -> str:
    return f"{event.circuit}:{event.generation}"


def _to_say(incident: Incident, step: str, at: float) -> Incident:
    """There is something to say; what is not even opened for people waits until it is."""
    steps = (*incident.steps, step) if step not in incident.steps else incident.steps
    if step == "closed":
        return replace(incident, steps=steps, due=at)
    return replace(incident, steps=steps, due=incident.due if incident.said is None else min(incident.due, at))


def _notice(event: Event) -> Saying:
    incident = Incident(f"{_id(event)}:{event.kind.replace(' ', '-')}", (event.circuit,), event.at)
    return Saying(Step.NOTICE, incident, event.at, event=event)


def _plain(incident: Incident) -> dict[str, Any]:
    facts = asdict(incident)
    # JSON has no infinity.
    return {**facts, "due": None if math.isinf(incident.due) else incident.due}


def _incident(kept: Mapping[str, Any]) -> Incident:
    known: dict[str, Any] = {each.name: kept[each.name] for each in fields(Incident) if each.name in kept}
    for name in ("circuits", "steps", "blocks"):
        known[name] = tuple(known[name])
    return Incident(**{**known, "due": math.inf if known["due"] is None else known["due"]})


def _events(kept: Iterable[Mapping[str, Any]]) -> tuple[Event, ...]:
    return tuple(map(Event.from_dict, kept))
