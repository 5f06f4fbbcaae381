"""Switching between the services of a ``ServiceSwitcher`` by the circuits of the fleet."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from pipecat.pipeline.service_switcher import ServiceSwitcherStrategyManual

from recloser.errors import PausedError
from recloser.integrations.attribution import Attribution, Names
from recloser.integrations.pipecat.freeing import free
from recloser.integrations.pipecat.judging import judge
from recloser.integrations.pipecat.naming import provider_of

if TYPE_CHECKING:
    from recloser.toolkit import Recloser

__all__ = ["FleetFailover", "fleet_failover"]

_log = logging.getLogger(__name__)


class FleetFailover(ServiceSwitcherStrategyManual):
    """The strategy of a switcher that follows the fleet's circuits, ``strategy_type=FleetFailover``.

    A call begins with the first service whose circuit lets it, and so returns to the primary by itself once that has
    been tested. Within a call it moves on when the active service fails, as :func:`recloser.classify` sees it or
    because Pipecat gives it no more work, to the next whose circuit is not paused; never back to one that failed in
    this call. It counts nothing: :func:`~recloser.integrations.pipecat.attach` does.

    Frames that ask for a service by hand are followed, as by the class that this one derives from.
    """

    names: ClassVar[Names | None] = None
    recloser: ClassVar[Recloser | None] = None

    def __init__(self, services: list[Any]) -> None:
        super().__init__(services)
        self._attribution = Attribution("Pipecat", self.recloser, self.names, provider_of)
        self._failed: list[Any] = []
        first = self._next()
        if first is None:
            _log.warning("all services of %s are paused: it begins with the first", services)
        else:
            self._active_service = first

    async def handle_error(self, error: Any) -> Any:
        """The service to go on with after an error of the active one; None to leave things as they are."""
        failed = error.processor or self._active_service
        if failed is not self._active_service or not self._fails(failed, error):
            return None
        self._failed.append(failed)
        following = self._next()
        if following is None:
            return None
        _log.warning("%s has failed (%s), the call goes on with %s", failed, error.error, following)
        await free(failed)
        return await self._set_active_if_available(following)

    def _fails(self, service: Any, error: Any) -> bool:
        if not getattr(service, "is_usable", True):
            return True
        circuit = self._attribution.circuit(service)
        return circuit is None or isinstance(error.exception, PausedError) or judge(error, circuit).is_failure

    def _next(self) -> Any:
        """The first that has not failed and may be used; where it is being tested, this is a test."""
        for service in self._services:
            if service in self._failed or not getattr(service, "is_usable", True):
                continue
            circuit = self._attribution.circuit(service)
            try:
                if circuit is not None:
                    circuit.choose()
            except PausedError:
                continue
            return service
        return None


def fleet_failover(*, names: Names | None = None, recloser: Recloser | None = None) -> type[FleetFailover]:
    """The same strategy for other names than those by themselves, or for another toolkit than the default one.

    Args:
        names: as for :func:`~recloser.integrations.pipecat.attach`.
        recloser: the toolkit whose circuits are followed.
    """
    return type("FleetFailover", (FleetFailover,), {"names": names, "recloser": recloser})
