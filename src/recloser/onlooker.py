"""Looking at a fleet from outside of it: for the command line and whoever else has the URL, and no application."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from recloser.clock import SystemClock
from recloser.engine import Engine
from recloser.registry import Registry
from recloser.settings import Settings
from recloser.toolkit import Recloser

if TYPE_CHECKING:
    from recloser.backends import Backend
    from recloser.clock import Clock

__all__ = ["Onlooker"]


class Onlooker(Recloser):
    """A toolkit without calls of its own: it shows what a fleet does, and operates it.

    It is not counted among the processes, decides nothing, and tells nobody; which circuits there are, what is built on
    them and by which policies, it learns from the processes that use them.

    Args:
        backend: where the fleet's facts are: a URL, or a backend.
        namespace: the fleet's.
        clock: the time to live by; the computer's by default.

    Raises:
        ConfigurationError: for a malformed URL, or a server of the wrong sort.
    """

    def __init__(self, backend: str | Backend, *, namespace: str = "recloser", clock: Clock | None = None) -> None:
        settings = Settings(backend, namespace, alerts=[])
        self._engine = Engine(settings, clock or SystemClock(), Registry(), looks_on=True)
        self._engine.courier.check()
        self._mentions = weakref.WeakSet()
        self._alive = []
