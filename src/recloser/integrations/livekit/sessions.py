"""Attaching to a session, whose agents may bring plugins of their own, or to one plugin."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from recloser.contain import Contained
from recloser.errors import ConfigurationError
from recloser.integrations.attribution import Attribution, Names
from recloser.integrations.livekit.framework import guess, is_session, known_classes, leaves
from recloser.integrations.livekit.reporting import Account, CallFailure
from recloser.integrations.livekit.watching import Watch, watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from recloser.toolkit import Recloser

__all__ = ["Attachment", "attach", "attribution_of"]

_log = logging.getLogger(__name__)

_MARK: Final = "_recloser_attachment"


def attribution_of(recloser: Recloser | None, names: Names | None) -> Attribution:
    """Finds the circuits of LiveKit's plugins."""
    return Attribution("LiveKit", recloser, names, guess)


def attach(
    to: Any,
    *,
    names: Names | None = None,
    on_failure: Callable[[CallFailure], Awaitable[object] | object] | None = None,
    call_id: str | None = None,
    recloser: Recloser | None = None,
) -> Attachment:
    """Counts what providers do for a session, or for one plugin, from now on. Call it before the session starts.

    Failures are final errors, those of plugins inside a fallback adapter included, and speech without any audio; in a
    session they count once for each provider. Successes are first audio, the first token and final transcripts. What
    an interruption cuts short counts for neither side. It ends when the session closes.

    Args:
        to: an ``AgentSession``, whose agents' own plugins are meant too; or an STT, TTS, LLM or realtime model that is
            used without one, or an adapter around some.
        names: a plugin's class, its name or the plugin itself to a circuit or its name, for those whose name by itself
            (``"elevenlabs"`` for ``livekit.plugins.elevenlabs.TTS``) is not the one that is meant. The ``[names]`` of
            a rules file come first.
        on_failure: is called, and may be async, when a provider failed or was paused and nothing took over; once for
            each provider of a session, for every failure of a plugin without one.
        call_id: what tells this call from all others in the fleet, the name of its room, say; drawn when None. Without
            it every failed request of a plugin that has no session counts.
        recloser: the toolkit whose circuits are meant; the default one without it.

    Returns:
        What is attached; the one from before where there is one.

    Raises:
        ConfigurationError: for what is neither a session nor a plugin, and for impossible names and ids.
    """
    session = to if is_session(to) else None
    if session is None and not leaves(to):
        raise ConfigurationError("to", to, "an AgentSession, or an STT, TTS, LLM or realtime model of LiveKit")
    present = vars(to).get(_MARK)
    if isinstance(present, Attachment):
        _log.warning("%s is attached to already; what was said then stays", type(to).__name__)
        return present
    attribution = attribution_of(recloser, names)
    account = Account(attribution, call_id, session, on_failure)
    attribution.check(known_classes())
    attachment = Attachment(to, account)
    setattr(to, _MARK, attachment)
    return attachment


class Attachment:
    """A session, or a plugin, whose providers are watched. Made by :func:`attach`.

    Attributes:
        call_id: the call's id.
    """

    call_id: str

    def __init__(self, to: Any, account: Account) -> None:
        self.call_id = account.call_id
        self._to = to
        self._account = account
        self._watches: list[Watch] = []
        self._handlers: dict[str, Contained[None]] = {}
        if is_session(to):
            looks = Contained("looking for plugins of a LiveKit session", self._look)
            self._handlers = {
                # Told before a new agent starts, and whenever a model may have been exchanged.
                "conversation_item_added": looks,
                "agent_state_changed": looks,
                "error": Contained("listening to errors of a LiveKit session", self._error),
                "close": Contained("the end of a LiveKit session", lambda _: self.detach()),
            }
            for event, handler in self._handlers.items():
                to.on(event, handler)
            self._look()
        else:
            self._join(to)

    def __repr__(self) -> str:
        return f"Attachment({type(self._to).__name__}, call_id={self.call_id!r})"

    def detach(self) -> None:
        """Counts nothing more."""
        for event, handler in self._handlers.items():
            self._to.off(event, handler)
        for each in self._watches:
            each.leave(self._account)
        self._watches, self._handlers = [], {}
        vars(self._to).pop(_MARK, None)

    def _look(self, _event: object = None) -> None:
        session = self._to
        things = [session.stt, session.tts, session.llm]
        with suppress(RuntimeError):  # it has not begun
            agent = session.current_agent
            things += [agent.stt, agent.tts, agent.llm]
        for thing in things:
            self._join(thing)

    def _join(self, thing: object) -> None:
        for leaf in leaves(thing):
            watched = watch(leaf)
            if watched not in self._watches:
                self._watches.append(watched)
                watched.join(self._account)

    def _error(self, event: Any) -> None:
        """An error that reached the session, of a plugin that was exchanged unseen, maybe."""
        error, source = event.error, event.source
        if getattr(error, "recoverable", None) is not False:
            return
        told = getattr(error, "error", error)
        told = told if isinstance(told, Exception) else str(told)
        within = leaves(source)
        if not within:
            self._account.attribution.unknown(source, told)
            return
        self._join(source)
        if within == [source]:
            watch(source).tell(error)
            self._account.surface(source, told)
        else:
            # An adapter has nobody left. Its plugins have told of themselves; the last of them was its last hope.
            self._account.surface(within[-1], told)
