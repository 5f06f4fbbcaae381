"""The day itself: a script played against a real server, and a few threads that call the leads meanwhile."""

from __future__ import annotations

import heapq
import math
import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

from recloser import PausedError, Recloser
from recloser.demo.clients import LOST, connect, tries
from recloser.demo.ledger import Call, Changed, Crashed, Cued, End, HeldBack, Over
from recloser.demo.provider import ProviderServer
from recloser.demo.script import HELD_BACK

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from recloser.core.events import Event
    from recloser.demo.clients import Try
    from recloser.demo.ledger import Note
    from recloser.demo.script import Cue, Lead, Script

__all__ = ["Day", "Leads"]

_LINES = 3
_CLOSE_WITHIN = 3.0
_RESUMED = ("resumed", "resumed by hand")
_SAID = bytes(3200)
_BEFORE_A_BARGE_IN = 2  # pieces of an answer


class Leads:
    """The queue of leads: each is handed out once its time has come.

    Args:
        leads: who is to be called.
        began: when the day began, on the monotonic clock.
        gap: seconds between leads that come back. They were put back for the same pause, and the first of them is the
            trial that ends it.
    """

    def __init__(self, leads: tuple[Lead, ...], began: float, gap: float) -> None:
        self._gap = gap
        self._changed = threading.Condition()
        self._due = [(began + lead.at, lead.number, lead) for lead in leads]
        heapq.heapify(self._due)
        self._held: dict[int, tuple[float, Lead]] = {}
        self._closed = False

    def take(self) -> Lead | None:
        """The next lead, waited for; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for number, (when, lead) in tuple(self._held.items()):
                    if when <= now:
                        del self._held[number]
                        heapq.heappush(self._due, (when, number, lead))
                if self._due and self._due[0][0] <= now:
                    return heapq.heappop(self._due)[2]
                soonest = min((when for when, _ in self._held.values()), default=math.inf)
                if self._due:
                    soonest = min(soonest, self._due[0][0])
                self._changed.wait(None if math.isinf(soonest) else soonest - now)
            return None

    def put_back(self, lead: Lead, delay: float | None) -> None:
        """``lead`` comes up again after that many seconds, or, with None, when somebody says so."""
        with self._changed:
            when = math.inf if delay is None else time.monotonic() + delay + self._gap * len(self._held)
            self._held[lead.number] = (when, lead)
            self._changed.notify()

    def release(self) -> None:
        """Whoever was put back comes up now."""
        with self._changed:
            self._held = {number: (0.0, lead) for number, (_, lead) in self._held.items()}
            self._changed.notify_all()

    def close(self) -> None:
        """Hands out nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Day:
    """A day of the voice agent, as a context manager: it begins on the way in and ends on the way out.

    Args:
        script: what happens.
        tell: told of everything that does, from any thread.

    Attributes:
        script: what happens.
        recloser: the toolkit that the agent is built on.
        began: when the day began, on the monotonic clock.
    """

    script: Script
    recloser: Recloser
    began: float

    def __init__(self, script: Script, tell: Callable[[Note], object]) -> None:
        self.script = script
        self._tell = tell
        self._unix = 0.0
        self._moved = threading.Condition()
        self._stopped = False
        self._happened: dict[tuple[str, str], float] = {}
        self._closing = ExitStack()
        self.began = 0.0
        self.recloser = Recloser("memory://", namespace="demo")

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.callback(self.recloser.close)
            self._server = opened.enter_context(ProviderServer(self.script.pace.unit))
            pace = self.script.pace
            self._agent = connect(self.recloser, self._server.address, pace.policy, pace.timeout)
            opened.callback(self.recloser.listen(self._hear))
            self.began, self._unix = time.monotonic(), time.time()
            self._leads = Leads(self.script.leads, self.began, 0.3 * pace.unit)
            self._callers = [self._thread(f"demo-line-{line + 1}", self._call) for line in range(_LINES)]
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

    def dialling(self) -> bool:
        """Whether a lead whose turn it is would be called now."""
        return self._agent.allowed()

    def now(self) -> float:
        """Seconds since the day began."""
        return time.monotonic() - self.began

    # -- the script --------------------------------------------------------------------------------------------------

    def _direct(self) -> None:
        for cue in self.script.cues:
            self._wait(self.began + cue.at)
            self._wait(time.monotonic() + self.script.pace.patience, partial(self._seen, cue))
            self._wait(max((self._happened.get(each, 0.0) for each in cue.after), default=0.0) + cue.hold)
            if self._stopped:
                return
            self._play(cue)
        self._leads.close()
        for caller in self._callers:
            caller.join()
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
            self.recloser.pause(cue.circuit, reason=cue.reason, by=cue.by)
        elif cue.action == "resume":
            self.recloser.resume(cue.circuit, by=cue.by)

    def _seen(self, cue: Cue) -> bool:
        return all(each in self._happened for each in cue.after)

    def _wait(self, until: float, for_what: Callable[[], bool] = bool) -> None:
        """Waits until that moment of the monotonic clock, until something is so, or until the day is cut short."""
        with self._moved:
            self._moved.wait_for(lambda: self._stopped or for_what(), max(0.0, until - time.monotonic()))

    def _hear(self, event: Event) -> None:
        """What the toolkit reports, on the thread that brought it about."""
        self._tell(Changed(event.at - self._unix, event))
        with self._moved:
            self._happened[event.circuit, event.kind] = time.monotonic()
            self._moved.notify_all()
        if event.kind in _RESUMED:
            self._leads.release()

    # -- the calls ---------------------------------------------------------------------------------------------------

    def _call(self) -> None:
        while (lead := self._leads.take()) is not None:
            requests: list[Try] = []
            tries.set(requests)
            started = time.monotonic()
            lost: Exception | None = None
            try:
                end = self._talk(lead)
            except LOST as error:
                if isinstance(error, PausedError) and not requests:
                    self._tell(HeldBack(self.now(), lead, error))
                    with self._moved:
                        self._happened.setdefault((error.circuit, HELD_BACK), time.monotonic())
                        self._moved.notify_all()
                    self._leads.put_back(lead, error.retry_after)
                    continue
                end, lost = End.LOST, error
            self._tell(Call(self.now(), lead, end, time.monotonic() - started, tuple(requests), lost))

    def _talk(self, lead: Lead) -> End:
        """One call, from dialling to the end of the agent's answer, or until the caller has heard enough of it."""
        agent = self._agent
        agent.dial(lead.phone)
        answer = "".join(agent.think(agent.listen(_SAID)))
        speech = agent.speak(answer)
        for heard, _ in enumerate(speech, 1):
            if lead.interrupts and heard == _BEFORE_A_BARGE_IN:
                speech.close()
                return End.INTERRUPTED
        return End.COMPLETED

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
        for thread in (*self._callers, self._director):
            thread.join(_CLOSE_WITHIN)
