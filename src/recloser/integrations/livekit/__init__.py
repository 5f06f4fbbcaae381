"""LiveKit Agents: errors of plugins count for circuits, and fallback adapters keep away from paused providers.

Example::

    from livekit.agents import AgentSession, tts
    from livekit.plugins import cartesia, elevenlabs

    from recloser.integrations.livekit import attach, follow

    voice = follow(tts.FallbackAdapter([elevenlabs.TTS(), cartesia.TTS()]))
    session = AgentSession(tts=voice, ...)
    attach(session)

:func:`attach` listens: final errors and answers of the plugins of a session and of its agents are outcomes of their
vendors' circuits. :func:`follow` acts: an adapter tries no provider whose circuit is OPEN or PAUSED.
"""

from recloser.integrations.livekit.adapters import follow
from recloser.integrations.livekit.reporting import CallFailure
from recloser.integrations.livekit.sessions import Attachment, attach

__all__ = ["Attachment", "CallFailure", "attach", "follow"]
