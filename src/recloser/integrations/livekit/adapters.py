"""Fallback adapters that keep away from paused providers.

An adapter has a memory of its own, one flag for each plugin and session: a plugin that failed once is down until a
request that is sent to it for nothing, with every request, succeeds. Here the circuit is asked first. What it lets
through is the adapter's own business, as before; each plugin is asked for leave once more when its request begins,
where a circuit that is being tested hands out its choices.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

from recloser.errors import ConfigurationError, PausedError
from recloser.integrations.calls import length
from recloser.integrations.livekit.framework import AGENTS, FALLBACK_ADAPTERS, leaves
from recloser.integrations.livekit.reporting import Account
from recloser.integrations.livekit.requests import Limit
from recloser.integrations.livekit.sessions import attribution_of
from recloser.integrations.livekit.watching import watch

if TYPE_CHECKING:
    from recloser.backends import Seat
    from recloser.circuit import Circuit
    from recloser.integrations.attribution import Names
    from recloser.toolkit import Recloser

__all__ = ["follow"]

_log = logging.getLogger(__name__)

_MARK: Final = "_recloser_follows"
_A = TypeVar("_A")


def follow(
    adapter: _A,
    *,
    names: Names | None = None,
    first_item: float | str | None = None,
    recloser: Recloser | None = None,
) -> _A:
    """Has a fallback adapter keep away from providers whose circuits are OPEN or PAUSED, and counts what they do.

    In HALF_OPEN a request goes to the provider as a test, ``probes`` of them per ``probe_timeout`` over the whole
    fleet; when it fails, the same request goes on to the next. With all providers paused nobody is called, and the
    adapter fails at once.

    Args:
        adapter: a ``FallbackAdapter`` of ``livekit.agents.stt``, ``tts`` or ``llm``.
        names: as for :func:`~recloser.integrations.livekit.attach`.
        first_item: how long a provider may take to its first audio, token or, where speech is recognized in one
            piece, result, before the next is tried; seconds, or a string such as ``"2s"``. The circuits' own
            ``first_item`` without it.
        recloser: the toolkit whose circuits are meant; the default one without it.

    Returns:
        The same adapter.

    Raises:
        ConfigurationError: for anything else than such an adapter, and for impossible names and lengths.
    """
    where = next((FALLBACK_ADAPTERS[cls] for cls in FALLBACK_ADAPTERS if isinstance(adapter, cls)), None)
    if where is None:
        raise ConfigurationError("adapter", adapter, "a FallbackAdapter of livekit.agents.stt, tts or llm")
    if vars(adapter).get(_MARK):
        _log.warning("%s follows its circuits already; what was said then stays", type(adapter).__name__)
        return adapter
    limit = None if first_item is None else length("first_item", first_item)
    attribution = attribution_of(recloser, names)
    account = Account(attribution, None, None, None)
    plugins: list[Any] = list(getattr(adapter, where, ()))
    circuits: list[list[Circuit]] = []
    for plugin in plugins:
        mine = []
        for leaf in leaves(plugin):
            circuit, watched = attribution.circuit(leaf), watch(leaf)
            watched.join(account)
            if circuit is not None:
                mine.append(circuit)
                watched.permission = watched.permission or _Door(circuit, limit)
        circuits.append(mine)
    states = getattr(adapter, "_status", None)
    if isinstance(states, list) and len(states) == len(plugins):
        states[:] = [_Status(own, mine) if mine else own for own, mine in zip(states, circuits, strict=True)]
    setattr(adapter, _MARK, True)
    return adapter


class _Door:
    """Where a request asks for leave. Made by :func:`follow` for each provider."""

    def __init__(self, circuit: Circuit, first_item: float | None) -> None:
        self._circuit = circuit
        self._first_item = first_item

    def admit(self) -> Seat | None:
        try:
            return self._circuit.choose()
        except PausedError as paused:
            raise AGENTS.APIError(str(paused), retryable=False) from paused

    def refuses(self) -> bool:
        return _refuses(self._circuit)

    def give_back(self, seat: Seat) -> None:
        self._circuit.bound.give_back(seat)

    def limit(self) -> Limit | None:
        seconds = self._first_item or self._circuit.policy.first_item
        return Limit(self._circuit.name, seconds) if seconds else None


def _refuses(circuit: Circuit) -> bool:
    return circuit.bound.refusal("choice") is not None


class _Status:
    """What an adapter knows of one plugin, with the circuit's word before it.

    Stands where the adapter had its own; whatever else that has is still there.
    """

    def __init__(self, own: Any, circuits: list[Circuit]) -> None:
        self.__dict__.update(_own=own, _circuits=circuits, _down=None)

    @property
    def available(self) -> bool:
        if self._down is not None and self._down != self._generations():
            # The circuit has moved on: what this adapter remembers is older than what the fleet knows.
            self._own.available, self.__dict__["_down"] = True, None
        return bool(self._own.available) and self._may_begin()

    @available.setter
    def available(self, available: bool) -> None:
        self._own.available = available
        self.__dict__["_down"] = None if available else self._generations()

    def _may_begin(self) -> bool:
        return not all(_refuses(circuit) for circuit in self._circuits)

    def _generations(self) -> list[int]:
        return [circuit.bound.current().generation for circuit in self._circuits]

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._own, name)
        if name.startswith("recovering") and (value is None or value.done()) and not self._may_begin():
            # A request for nothing is under way, as far as the adapter knows, so that it begins none.
            return asyncio.get_running_loop().create_future()
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "available":
            object.__setattr__(self, name, value)
        else:
            setattr(self._own, name, value)
