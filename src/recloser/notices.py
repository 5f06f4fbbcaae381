"""What a process knows of its backend's board: the live settings there, and what it has written down itself.

Nothing here waits for the network on the path of a call: the courier says when it has time for a turn.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from recloser.backends.board import Board
from recloser.core.live import NO_LIVE
from recloser.errors import BackendError
from recloser.forks import renew_after_fork
from recloser.locks import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from recloser.backends import Backend, Reply
    from recloser.backends.board import Notice
    from recloser.core.events import Event
    from recloser.core.live import Live

__all__ = ["Notices"]

_log = logging.getLogger("recloser")

_TRIES = 50
"""So often somebody else may be quicker to change the settings."""


class Notices:
    """Between the layers of a process and the board of its backend, if that has one.

    Args:
        backend: where the board is.
        in_use: what this process has in use, by its name on the board; of everything, or of some circuits.
        changed: called whenever the live settings are others.

    Attributes:
        live: what operators say, as far as is known.
        stale: whether there is something to read.
    """

    live: Live
    stale: bool

    def __init__(
        self,
        backend: Backend,
        in_use: Callable[[Sequence[str] | None], Mapping[str, str]],
        changed: Callable[[], object],
    ) -> None:
        self._board = backend if isinstance(backend, Board) else None
        self._in_use = in_use
        self._changed = changed
        self._text = ""
        # Held for a moment, never while others are told: of two texts, the newer stays; of new circuits, all.
        self._lock = Section()
        self.live = NO_LIVE
        self.stale = False
        # The circuits that something new is to be written down about; None for everything.
        self._new: set[str] | None = None
        self._written: dict[str, str] = {}
        renew_after_fork(self)

    @property
    def is_shared(self) -> bool:
        """Whether there is a board at all."""
        return self._board is not None

    @property
    def is_due(self) -> bool:
        """Whether a turn has something to do."""
        return self._board is not None and (self.stale or self._new is None or bool(self._new))

    # -- what others say -----------------------------------------------------------------------------------------------

    def hears(self, reply: Reply) -> None:
        """An exchange was answered, and says what is on the board."""
        if reply.settings is None:
            return
        if reply.settings != self.live.version:
            self.stale = True
        if not reply.written and self._written:
            # The server has lost it, or everybody was away for long.
            self._written = {}
            self._new = None

    def uses(self, circuit: str) -> None:
        """Something was written in code about a circuit, or it is used for the first time."""
        with self._lock:
            if self._new is not None:
                self._new.add(circuit)

    def uses_all(self) -> None:
        """What is written about any of them may be something else now."""
        self._new = None

    def turn(self) -> None:
        """Reads what there is to read, and writes what there is to write.

        Raises:
            BackendError: when the backend does not answer.
        """
        if self._board is None:
            return
        if self.stale:
            self.refresh()
        if self._new is None or self._new:
            with self._lock:
                new, self._new = self._new, set()
            try:
                self._write(self._board, None if new is None else sorted(new))
            except BackendError:
                self._new = None
                raise

    def refresh(self) -> None:
        """Reads the live settings.

        Raises:
            BackendError: when the backend does not answer.
        """
        if self._board is None:
            return
        self.stale = False
        try:
            found = self._board.settings()
            known, text = self.live, self._text
            if found.version < known.version:
                # The server has lost what this process still knows.
                found = self._board.set_settings(found.version, text, (), known.version) or self._board.settings()
        except BackendError:
            self.stale = True
            raise
        self._take(found)

    def _take(self, found: Notice) -> None:
        with self._lock:
            before = self.live
            if found.version <= before.version:
                return
            self.live, self._text = before.read(found.version, found.text), found.text
            new = set(self.live.problems) - set(before.problems)
        for problem in sorted(new):
            _log.warning("%s", problem)
        self._changed()

    def _write(self, board: Board, circuits: Sequence[str] | None) -> None:
        entries = self._in_use(circuits)
        new = {name: text for name, text in entries.items() if self._written.get(name) != text}
        # Written again in full once in a while, it does not expire.
        if new or (circuits is None and entries):
            board.write(new)
            self._written.update(new)

    # -- what operators say --------------------------------------------------------------------------------------------

    def change(self, choose: Callable[[Live], tuple[str, Sequence[Event]]]) -> Sequence[Event]:
        """Writes the settings that ``choose`` makes of the present ones, and the events that tell of it.

        ``choose`` is asked again while others are quicker, and may raise.

        Raises:
            BackendError: when the backend does not answer, or has no board.
        """
        if self._board is None:
            msg = "this backend keeps no live settings"
            raise BackendError(msg)
        for _ in range(_TRIES):
            self.refresh()
            live = self.live
            text, events = choose(live)
            found = self._board.set_settings(live.version, text, events)
            if found is not None:
                self._take(found)
                return events
        msg = "others change the live settings all the time; try again"
        raise BackendError(msg)

    def written(self) -> Mapping[str, str]:
        """What all processes have written down.

        Raises:
            BackendError: when the backend does not answer.
        """
        return {} if self._board is None else self._board.written()

    def renew(self) -> None:
        """After a fork, in the child."""
        self._lock.renew()
