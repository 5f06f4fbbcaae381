"""The crew of a fleet: processes that share their circuits, each with call lines of its own."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from recloser import BackendError, State
from recloser.circuit import Snapshot
from recloser.core.events import Event, EventKind
from recloser.demo.clients import SPEECH
from recloser.demo.crew import LINES
from recloser.demo.fleet import wire
from recloser.demo.fleet.notes import Gone, Joined, Known, StoodStill, Totals
from recloser.demo.fleet.process import Process
from recloser.demo.fleet.spread import Spreading
from recloser.demo.ledger import Changed, Crashed, blocked
from recloser.demo.script import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from recloser import Recloser
    from recloser.demo.crew import Line
    from recloser.demo.fleet.shared import Shared
    from recloser.demo.fleet.spread import Spread
    from recloser.demo.hours import Hours
    from recloser.demo.ledger import Note
    from recloser.demo.script import Cue, Lead, Pace

__all__ = ["Fleet"]

_READY_WITHIN = 30.0
_BUSY_WITHIN = 2.0
_ANSWERED = 0.4
"""So many seconds after Redis went on, whoever waited for an answer has it, or has said that it did not come."""
_HEARD_WITHIN = 1.0
_LEAVE_WITHIN = 1.0


class Fleet:
    """So many processes, and this one, which operates.

    Args:
        size: how many.
        shared: where they share their circuits.
        leaving: whether somebody wants to end it all.
    """

    recloser: Recloser
    lines: Sequence[Line]
    where: str

    def __init__(self, size: int, shared: Shared, leaving: Callable[[], bool]) -> None:
        self.recloser = shared.recloser
        self.lines = ()
        self.where = f"in {size} processes that {shared.where}"
        self._size = size
        self._shared = shared
        self._leaving = leaving
        self._processes: list[Process] = []
        self._changed = threading.Condition()
        self._over = False
        self._ready: set[int] = set()
        self._spreading = Spreading()
        self._shots: dict[str, Snapshot] = {}
        self._without: set[int] = set()
        self._last = 0

    def open(self, address: str, pace: Pace, hours: Hours, hear: Callable[[Note], None]) -> None:
        """Starts the processes, and waits until all of them are there."""
        self._hours, self._hear, self._pace = hours, hear, pace
        self.recloser.listen(partial(self._event, 0))
        joins = {"url": self._shared.url, "namespace": self._shared.namespace, "address": address, "day": pace.day}
        for number in range(1, self._size + 1):
            self._processes.append(Process(number, joins, self._listen, self._gone, hours.at))
        until = time.monotonic() + _READY_WITHIN
        with self._changed:
            # In small steps: a signal's handler must not take a lock.
            while len(self._ready) < self._size and time.monotonic() < until and not self._leaving():
                if any(each.ended for each in self._processes):
                    break
                self._changed.wait(0.05)
        for each in self._processes:
            if each.ended:
                msg = f"process {each.number} cannot start: {each.why()}"
                raise RuntimeError(msg)
        # Leads go to one process after the other.
        self.lines = [each.call for _ in range(LINES) for each in self._processes]

    # -- what the processes say --------------------------------------------------------------------------------------

    def _listen(self, process: Process, said: dict[str, Any]) -> None:
        if "event" in said:
            self._event(process.number, Event.from_dict(said["event"]))
        elif "shot" in said:
            self._shot(process.number, wire.snapshot(said["shot"]), said["at"])
        elif "ready" in said:
            with self._changed:
                self._ready.add(process.number)
                self._spreading.alive.add(process.number)
                self._changed.notify_all()
            self._hear(Joined(self._hours.now(), process.pid, member=process.number))

    def _event(self, member: int, event: Event) -> None:
        if event.kind in {EventKind.BACKEND_LOST, EventKind.BACKEND_BACK}:
            with self._changed:
                (self._without.add if event.kind is EventKind.BACKEND_LOST else self._without.discard)(member)
                self._changed.notify_all()
        self._hear(Changed(self._hours.at(event.at), event, member=member))
        if event.generation > 0 and not event.local:
            with self._changed:
                self._last = member or self._last
                known = self._spreading.decided(event, member)
            self._tell(known)

    def _shot(self, member: int, shot: Snapshot, unix: float) -> None:
        known: list[Spread] = []
        with self._changed:
            latest = self._shots.get(shot.name)
            if latest is None or shot.generation >= latest.generation:
                self._shots[shot.name] = shot
            if shot.generation > 0:
                known = self._spreading.heard(member, shot.name, shot.generation, unix)
                self._changed.notify_all()
        self._tell(known)

    def _gone(self, process: Process, leads: tuple[Lead, ...]) -> None:
        with self._changed:
            was_ready = process.number in self._ready
            self._without.discard(process.number)
            known = [] if self._over else self._spreading.gone(process.number)
            self._changed.notify_all()
        if process.trouble is not None:
            self._hear(Crashed(self._hours.now(), process.trouble))
        if self._over or not was_ready:
            return
        self._hear(Gone(self._hours.now(), process.pid, process.why(), leads, member=process.number))
        self._tell(known)
        if self._shared.traces is not None:
            self._shared.traces.look()
        if not self._spreading.alive:
            self._hear(Crashed(self._hours.now(), RuntimeError("no process is left")))

    def _tell(self, known: list[Spread]) -> None:
        for each in known:
            at, event = self._hours.at(each.known), each.event
            self._hear(Known(at, event.circuit, event.state, each.seconds, each.processes, member=each.member))

    # -- the script --------------------------------------------------------------------------------------------------

    def perform(self, cue: Cue) -> None:
        """Kills a process, or lets Redis stand still for a while."""
        {"kill": self._kill, "stop": self._stand_still}[cue.action]()

    def _kill(self) -> None:
        alive = [each for each in self._processes if not each.ended]
        if len(alive) < 2:
            return
        self._wait(_BUSY_WITHIN, lambda: any(each.busy for each in alive))
        # In the middle of as many calls as possible; and rather one that has just decided something for everybody.
        max(alive, key=lambda each: (each.busy, each.number == self._last)).kill()

    def _stand_still(self) -> None:
        server = self._shared.server
        if server is None:
            return
        began = time.monotonic()
        server.stop()
        try:
            self._wait(self._pace.standstill)
        finally:
            server.go_on()
        self._hear(StoodStill(self._hours.now(), time.monotonic() - began))
        self._wait(_ANSWERED)
        self._wait(self._pace.patience, lambda: not self._without)

    def _wait(self, seconds: float, for_what: Callable[[], bool] = bool) -> None:
        """Waits for so long, until something is so, or until it is all over."""
        until = time.monotonic() + seconds
        with self._changed:
            while not self._over and not for_what() and (left := until - time.monotonic()) > 0:
                # Not everything that is waited for is said here.
                self._changed.wait(min(left, 0.02))

    # -- what views ask ----------------------------------------------------------------------------------------------

    def status(self) -> Mapping[str, Snapshot]:
        """The circuits, as the processes see them; nobody asks Redis."""
        return {name: self._shots.get(name) or _unseen(name) for name in ROLES}

    def dialling(self) -> bool:
        """Whether leads would be called."""
        return not blocked({name: shot.state for name, shot in self.status().items()})

    def speaking(self) -> str | None:
        """The first provider of speech that is well."""
        status = self.status()
        return next((name for name in SPEECH if status[name].state is State.CLOSED), None)

    # -- the end -----------------------------------------------------------------------------------------------------

    def last_words(self) -> Iterable[Note]:
        """What Redis knows, once everybody has said everything."""
        self._wait(_HEARD_WITHIN, lambda: self._spreading.settled)
        self.hang_up()
        server = self._shared.server
        log: tuple[Event, ...] | None = None
        with suppress(BackendError):
            log = tuple(self.recloser.events())
        return [Totals(self._hours.now(), log, None if server is None else server.commands())]

    def hang_up(self) -> None:
        """Ends the processes."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        for each in self._processes:
            each.dismiss()
        until = time.monotonic() + _LEAVE_WITHIN
        for each in self._processes:
            each.close(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Ends the processes, if nobody has yet; what they share is closed by whoever opened it."""
        self.hang_up()


def _unseen(name: str) -> Snapshot:
    return Snapshot(name, State.CLOSED, 0, 0, 0, 0, 0, 0, 0.0, None, "", "recloser")
