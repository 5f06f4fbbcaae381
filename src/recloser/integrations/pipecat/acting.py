"""What becomes of a call when one of its providers fails and nothing in the pipeline takes over."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from recloser.core.policy import Mode
from recloser.errors import ConfigurationError
from recloser.integrations.pipecat.freeing import free

if TYPE_CHECKING:
    from recloser.circuit import Circuit
    from recloser.core.outcome import Outcome

__all__ = ["CallFailure", "OnFailure", "act", "checked"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A provider failed in a call, and nothing in the pipeline took over.

    Attributes:
        worker: the pipeline's worker, or task in older releases.
        call_id: the call's id.
        circuit: the name of the provider's circuit.
        outcome: what kind of failure it was.
        frame: Pipecat's ``ErrorFrame``, with ``error``, ``exception`` and ``processor``.
    """

    worker: Any
    call_id: str
    circuit: str
    outcome: Outcome
    frame: Any


Action = Literal["end_call", "continue"] | Callable[[CallFailure], "Awaitable[object] | object"]
OnFailure = Action | Mapping[str, Action]
"""``"end_call"`` ends the pipeline after what is queued, or at once if it has not begun, ``"continue"`` does nothing, a
function of one failure is called, and may be async. Or a mapping of names or globs of circuits to these: the first that
fits counts."""

_ACTIONS = '"end_call", "continue" or a function of one CallFailure'


def checked(on_failure: OnFailure) -> Mapping[str, Action]:
    """The same as a mapping; raises ConfigurationError for what is no action."""
    actions: Mapping[Any, Any] = on_failure if isinstance(on_failure, Mapping) else {"*": on_failure}
    for name, action in actions.items():
        key = f"on_failure[{name!r}]" if actions is on_failure else "on_failure"
        if not isinstance(name, str):
            raise ConfigurationError("on_failure", name, "the name of a circuit, or a glob, for a key")
        if action not in ("end_call", "continue") and not callable(action):
            raise ConfigurationError(key, action, _ACTIONS)
    return dict(actions)


async def act(
    actions: Mapping[str, Action], failure: CallFailure, circuit: Circuit, end: Callable[[str], Awaitable[object]]
) -> None:
    """Does what the first action that fits says; ``end`` ends the call, and is told why.

    Nothing is done for a circuit that is only observed, or off.
    """
    fitting = [action for name, action in actions.items() if fnmatchcase(circuit.name, name)]
    action = fitting[0] if fitting else "continue"
    if circuit.bound.mode is not Mode.ENFORCE:
        return
    if callable(action):
        try:
            done = action(failure)
            if inspect.isawaitable(done):
                await done
        except Exception:  # noqa: BLE001 - a callback never breaks the pipeline
            _log.exception("on_failure of %s raised", circuit.name)
    elif action == "end_call":
        _log.info("call %s ends: %s has failed (%s)", failure.call_id, circuit.name, failure.outcome)
        await free(failure.frame.processor)
        await end(f"{circuit.name} has failed")
