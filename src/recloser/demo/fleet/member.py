"""A process of the fleet: it calls the leads that it is told to call, and says what it sees.

``python -m recloser.demo.fleet.member`` reads lines of JSON from its parent. The first says which fleet it joins, each
of the others whom to call. It ends when there will be no more of them: also when the parent is gone.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from recloser import Recloser
from recloser.demo.calls import make_call
from recloser.demo.clients import connect
from recloser.demo.crew import LINES
from recloser.demo.fleet import wire
from recloser.demo.ledger import Call, End
from recloser.demo.script import ROLES, Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recloser.circuit import Circuit, Snapshot
    from recloser.core.machine import Record
    from recloser.demo.clients import Agent
    from recloser.demo.script import Lead

__all__ = ["main"]

_LOOKS = 0.1
"""Seconds between two looks at the circuits, when nothing is pushed."""
_APPLIES = 0.0002
_READY = 15.0
_LAST_EVENTS = 0.2


class Mouth:
    """Where it says what it has to say; once nobody listens any more, it says nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, **said: Any) -> None:
        """Says one thing."""
        left = memoryview(wire.line(**said))
        with self._lock:
            try:
                # Not print: a lock of sys.stdout could not be had any more when the interpreter ends.
                while left:
                    left = left[os.write(1, left) :]
            except OSError:
                return


class Watch:
    """Looks at the circuits as a call would, and says when it sees another state."""

    def __init__(self, recloser: Recloser, mouth: Mouth) -> None:
        self._circuits: dict[str, Circuit] = {name: recloser.circuit(name) for name in ROLES}
        self._mouth = mouth
        self._seen: dict[str, Snapshot] = {}
        self._pushed: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        # Tells when it is worth looking. What is seen is what calls see.
        recloser.engine.backend.subscribe(self._push)

    def _push(self, circuit: str, record: Record | None, _: float) -> None:
        if record is not None and circuit in self._circuits:
            self._pushed.put((circuit, record.generation))

    def look(self, *names: str) -> None:
        """Says what has changed."""
        for name in names or self._circuits:
            shot = self._circuits[name].snapshot()
            if shot != self._seen.get(name):
                self._seen[name] = shot
                self._mouth.say(shot=wire.said_of(shot), at=time.time())

    def work(self) -> None:
        """Looks on and on."""
        while True:
            try:
                circuit, generation = self._pushed.get(timeout=_LOOKS)
            except queue.Empty:
                self.look()
                continue
            until = time.monotonic() + _LOOKS
            while self._circuits[circuit].snapshot().generation < generation and time.monotonic() < until:
                time.sleep(_APPLIES)
            self.look(circuit)


def call(agent: Agent, leads: queue.SimpleQueue[Lead], mouth: Mouth) -> None:
    """One line: calls one lead after the other."""
    while True:
        lead, started = leads.get(), time.monotonic()
        try:
            note = make_call(agent, lead, time.time)
        except Exception as error:  # noqa: BLE001 - that nothing of the kind comes is what the demo is to show
            note = Call(time.time(), lead, End.LOST, time.monotonic() - started, (), error)
        mouth.say(call=wire.outcome(note))


def lines() -> Iterator[dict[str, Any]]:
    """What the parent says, until it has nothing more to say."""
    said = b""
    while chunk := os.read(0, 65536):
        *whole, said = (said + chunk).split(b"\n")
        yield from map(json.loads, whole)


def main() -> None:
    """Joins, works, and leaves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when it is over
    logging.getLogger("recloser").addHandler(logging.NullHandler())  # its events say the same
    heard = lines()
    joins = next(heard, None)
    if joins is None:
        return
    mouth, pace = Mouth(), Pace(joins["day"])
    with Recloser(joins["url"], namespace=joins["namespace"], alerts=[]) as recloser:
        agent = connect(recloser, joins["address"], pace.policy, pace.timeout)
        recloser.listen(lambda event: mouth.say(event=event.as_dict()))
        watch = Watch(recloser, mouth)
        recloser.ready(_READY)
        watch.look()
        mouth.say(ready=os.getpid())
        leads: queue.SimpleQueue[Lead] = queue.SimpleQueue()
        for _ in range(LINES):
            threading.Thread(target=call, args=(agent, leads, mouth), daemon=True).start()
        threading.Thread(target=watch.work, daemon=True).start()
        for said in heard:
            leads.put(wire.lead(said))
    for thread in threading.enumerate():
        if thread.name == "recloser-listeners":  # what was decided last is still to be said
            thread.join(_LAST_EVENTS)


if __name__ == "__main__":
    main()
    sys.exit()
