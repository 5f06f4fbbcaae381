"""Services that are not set up in time: a pipeline connects to its providers before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipecat.observers.base_observer import BaseObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["listen_for_setup"]


class _Ready(BaseObserver):
    """Notes the processors that have been set up."""

    def __init__(self) -> None:
        super().__init__()
        self.processors: set[Any] = set()

    async def on_processor_setup(self, data: Any) -> None:
        """One has."""
        self.processors.add(data.processor)


def listen_for_setup(worker: Any, services: Iterable[Any], never: Callable[[Any], None]) -> None:
    """Calls ``never`` with each of ``services`` that was still connecting when Pipecat gave up the pipeline."""
    if not hasattr(BaseObserver, "on_processor_setup"):
        return  # before 1.12 services connect when they start, and tell of it themselves
    ready = _Ready()
    worker.add_observer(ready)

    async def gives_up(_worker: Any) -> None:
        if not ready.processors:
            return  # whatever took so long came before them: a setup file, say
        for service in services:
            if service not in ready.processors:
                never(service)

    worker.add_event_handler("on_setup_timeout", gives_up)
