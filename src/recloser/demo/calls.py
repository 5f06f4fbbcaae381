"""One call of a lead, from dialling to the end of the agent's answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from recloser import PausedError
from recloser.demo.clients import LOST, tries
from recloser.demo.ledger import Call, End, HeldBack

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.demo.clients import Agent, Try
    from recloser.demo.script import Lead

__all__ = ["make_call"]

_SAID = bytes(3200)
_BEFORE_A_BARGE_IN = 2  # pieces of an answer


def make_call(agent: Agent, lead: Lead, now: Callable[[], float]) -> Call | HeldBack:
    """Calls ``lead``, or puts them back while the call could not work; what became of it, at ``now()``."""
    requests: list[Try] = []
    tries.set(requests)
    started = time.monotonic()
    lost: Exception | None = None
    try:
        end = _talk(agent, lead)
    except LOST as error:
        if isinstance(error, PausedError) and not requests:
            return HeldBack(now(), lead, error)
        end, lost = End.LOST, error
    return Call(now(), lead, end, time.monotonic() - started, tuple(requests), lost)


def _talk(agent: Agent, lead: Lead) -> End:
    """One call, or as much of it as the caller wants to hear."""
    agent.dial(lead.phone)
    answer = "".join(agent.think(agent.listen(_SAID)))
    speech = agent.speak(answer)
    for heard, _ in enumerate(speech, 1):
        if lead.interrupts and heard == _BEFORE_A_BARGE_IN:
            speech.close()
            return End.INTERRUPTED
    return End.COMPLETED
