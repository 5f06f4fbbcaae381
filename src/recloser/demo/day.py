"""The day itself: a script played against a real server, and the lines of a crew that call the leads meanwhile."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

from recloser import BackendError
from recloser.demo.crew import Alone, GoneError
from recloser.demo.hours import Hours
from recloser.demo.leads import Leads
from recloser.demo.ledger import Changed, Crashed, Cued, HeldBack, Over
from recloser.demo.provider import ProviderServer
from recloser.demo.script import HELD_BACK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from recloser.circuit import Snapshot
    from recloser.demo.crew import Crew, Line
    from recloser.demo.ledger import Note
    from recloser.demo.script import Cue, Script

__all__ = ["Day"]

_CLOSE_WITHIN = 3.0
_TRIES_AGAIN = 0.2
_RESUMED = ("resumed", "resumed by hand")


class Day:
    """A day of the voice agent, as a context manager: it begins on the way in and ends on the way out.

    Args:
        script: what happens.
        tell: told of everything that does, from any thread.
        crew: who makes the calls; this process alone by default. It is closed with the day.

    Attributes:
        script: what happens.
        crew: who makes the calls.
    """

    script: Script
    crew: Crew

    def __init__(self, script: Script, tell: Callable[[Note], object], crew: Crew | None = None) -> None:
        self.script = script
        self.crew = Alone() if crew is None else crew
        self._tell = tell
        self._hours = Hours()
        self._moved = threading.Condition()
        self._stopped = False
        self._happened: dict[tuple[str, str], float] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.callback(self.crew.close)
            pace = self.script.pace
            self._server = opened.enter_context(ProviderServer(pace.unit))
            self.crew.open(self._server.address, pace, self._hours, self._hear)
            self._hours.begin()
            self._leads = Leads(self.script.leads, self._hours.began, 0.3 * pace.unit / self.script.often)
            self._callers = [
                self._thread(f"demo-line-{number}", partial(self._call, line))
                for number, line in enumerate(self.crew.lines, 1)
            ]
            self._director = self._thread("demo-director", self._direct)
            opened.callback(self._stop)
            for thread in (*self._callers, self._director):
                thread.start()
            self._closing = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.close()

    @property
    def address(self) -> str:
        """Where the providers listen."""
        return self._server.address

    @property
    def requests(self) -> dict[str, int]:
        """How many requests reached each provider."""
        return dict(self._server.requests)

    @property
    def arrivals(self) -> Sequence[tuple[str, float]]:
        """Which provider was asked, and when, in Unix time; it grows."""
        return self._server.arrivals

    def status(self) -> Mapping[str, Snapshot]:
        """The circuits."""
        return self.crew.status()

    def now(self) -> float:
        """Seconds since the day began."""
        return self._hours.now()

    # -- the script --------------------------------------------------------------------------------------------------

    def _direct(self) -> None:
        for cue in self.script.cues:
            self._wait(self._hours.began + cue.at)
            self._wait(time.monotonic() + self.script.pace.patience, partial(self._seen, cue))
            self._wait(max((self._happened.get(each, 0.0) for each in cue.after), default=0.0) + cue.hold)
            if self._stopped:
                return
            self._play(cue)
        self._leads.close()
        for caller in self._callers:
            caller.join()
        if self._stopped:
            return
        for note in self.crew.last_words():
            self._tell(note)
        self._tell(Over(self.now()))

    def _play(self, cue: Cue) -> None:
        if cue.action in {"break", "pause"}:
            # What later cues wait for is what this one brings about.
            with self._moved:
                for each in [each for each in self._happened if each[0] == cue.circuit]:
                    del self._happened[each]
        self._tell(Cued(self.now(), cue))
        if cue.fault is not None:
            self._server.break_(cue.circuit, cue.fault)
        elif cue.action == "heal":
            self._server.heal(cue.circuit)
        elif cue.action == "pause":
            self._operate(partial(self.crew.recloser.pause, cue.circuit, reason=cue.reason, by=cue.by))
        elif cue.action == "resume":
            self._operate(partial(self.crew.recloser.resume, cue.circuit, by=cue.by))
        elif cue.action != "end":
            self.crew.perform(cue)

    def _operate(self, act: Callable[[], object]) -> None:
        """Does what an operator does, who tries again where a Redis does not answer at once."""
        until = time.monotonic() + self.script.pace.patience
        while not self._stopped:
            try:
                act()
            except BackendError:
                if time.monotonic() > until:
                    raise
                self._wait(time.monotonic() + _TRIES_AGAIN)
            else:
                return

    def _seen(self, cue: Cue) -> bool:
        return all(each in self._happened for each in cue.after)

    def _wait(self, until: float, for_what: Callable[[], bool] = bool) -> None:
        """Waits until that moment of the monotonic clock, until something is so, or until the day is cut short."""
        with self._moved:
            self._moved.wait_for(lambda: self._stopped or for_what(), max(0.0, until - time.monotonic()))

    def _hear(self, note: Note) -> None:
        """What happens, on the thread that brought it about."""
        self._tell(note)
        if isinstance(note, Changed):
            with self._moved:
                self._happened[note.event.circuit, note.event.kind] = time.monotonic()
                self._moved.notify_all()
            if note.event.kind in _RESUMED:
                self._leads.release()
        elif isinstance(note, HeldBack):
            with self._moved:
                self._happened.setdefault((note.paused.circuit, HELD_BACK), time.monotonic())
                self._moved.notify_all()

    # -- the calls ---------------------------------------------------------------------------------------------------

    def _call(self, line: Line) -> None:
        while (lead := self._leads.take()) is not None:
            try:
                note = line(lead)
            except GoneError:
                self._leads.hand_on(lead)
                return
            self._hear(note)
            if isinstance(note, HeldBack):
                self._leads.put_back(lead, note.paused.retry_after)

    # -- life --------------------------------------------------------------------------------------------------------

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - a thread that died silently would leave the demo waiting
                self._tell(Crashed(self.now(), error))

        return threading.Thread(target=run, name=name, daemon=True)

    def _stop(self) -> None:
        with self._moved:
            self._stopped = True
            self._moved.notify_all()
        self._leads.close()
        self._server.close()
        self.crew.hang_up()
        for thread in (*self._callers, self._director):
            thread.join(_CLOSE_WITHIN)
