"""The provider that a processor of Pipecat talks to, by what it is made of."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["provider_of"]

_BASES: Final = frozenset({"AIService", "STTService", "TTSService", "LLMService"})
"""Of a service that is not Pipecat's own, the name of the class tells whose it is."""

_NOT_PROVIDERS: Final = frozenset({"local", "websocket", "smallwebrtc", "moq", "network", "services"})
"""Transports to whoever is on the other end, which no provider runs."""

_NO_CARRIERS: Final = frozenset({"base_serializer", "protobuf", "rtvi_client"})

_PARTS: Final = re.compile(
    r"(?:Http|WebSocket|Websocket|Streaming|Realtime|Live|Segmented)*(?:STT|TTS|LLM)(?:Service)?$|Service$"
)


def provider_of(processor: object) -> str | None:
    """The name of the provider's circuit: ``"elevenlabs"`` for an ``ElevenLabsTTSService``; None where there is none.

    Of Pipecat's own services and transports it is the package that the class is in, for a websocket transport that
    of its serializer (``"twilio"``). A class that derives from one of them talks to the same provider. Any other
    service is named after its class: ``"acme"`` for an ``AcmeHttpTTSService``.
    """
    classes = type(processor).__mro__
    for cls in classes:
        package, kind, provider, *inner = (*cls.__module__.split("."), "", "")
        if package != "pipecat" or not any(inner):
            continue
        if kind == "services":
            return provider
        if kind == "transports":
            return _carrier(processor) if provider in _NOT_PROVIDERS else provider
    if not any(cls.__name__ in _BASES for cls in classes):
        return None
    return _PARTS.sub("", classes[0].__name__).lower() or None


def _carrier(transport: object) -> str | None:
    """The telephony provider whose messages a websocket transport speaks."""
    serializer = getattr(getattr(transport, "_params", None), "serializer", None)
    package, kind, provider, *_ = (*type(serializer).__module__.split("."), "", "", "")
    carries = package == "pipecat" and kind == "serializers" and provider not in _NO_CARRIERS
    return provider if carries else None
