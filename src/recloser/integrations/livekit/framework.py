"""What there is in LiveKit Agents: its sorts of plugins, the adapters around them, and whose plugin one is."""

from __future__ import annotations

import importlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from recloser.integrations.needs import need

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "AGENTS",
    "FALLBACK_ADAPTERS",
    "LLM",
    "PLUGINS",
    "STT",
    "TTS",
    "Realtime",
    "guess",
    "is_session",
    "known_classes",
    "leaves",
]

# Imported by its name, so that the package's types are the same whether or not LiveKit is installed.
need("recloser.integrations.livekit", "livekit-agents", "1.8")
AGENTS: Final[Any] = importlib.import_module("livekit.agents")

STT: Final[Any] = AGENTS.stt.STT
TTS: Final[Any] = AGENTS.tts.TTS
LLM: Final[Any] = AGENTS.llm.LLM
Realtime: Final[Any] = AGENTS.llm.RealtimeModel
PLUGINS: Final[tuple[Any, ...]] = (STT, TTS, LLM, Realtime)

FALLBACK_ADAPTERS: Final[dict[Any, str]] = {
    AGENTS.tts.FallbackAdapter: "_tts_instances",
    AGENTS.stt.FallbackAdapter: "_stt_instances",
    AGENTS.llm.FallbackAdapter: "_llm_instances",
}
"""Adapters that try one plugin after the other, and where they keep them."""


def _wrappers() -> Iterator[tuple[Any, str]]:
    yield from FALLBACK_ADAPTERS.items()
    for module, name, attribute in (
        (AGENTS.tts, "StreamAdapter", "_wrapped_tts"),
        (AGENTS.stt, "StreamAdapter", "_stt"),
        (AGENTS.stt, "MultiSpeakerAdapter", "_stt"),
        (AGENTS.llm, "RealtimeModelFallbackAdapter", "_models"),
    ):
        if hasattr(module, name):  # not in every release
            yield getattr(module, name), attribute


_WRAPPERS: Final = tuple(_wrappers())


def is_session(thing: object) -> bool:
    """Whether ``thing`` is an AgentSession."""
    return isinstance(thing, AGENTS.AgentSession)


def leaves(thing: object) -> list[Any]:
    """The plugins that talk to providers: ``thing`` itself, or those that it hands requests to; none for another thing.

    An adapter tells of errors that its plugins have told of already, or hides them.
    """
    for cls, attribute in _WRAPPERS:
        if isinstance(thing, cls):
            held = getattr(thing, attribute, None)
            return [leaf for each in (held if isinstance(held, list | tuple) else [held]) for leaf in leaves(each)]
    return [thing] if isinstance(thing, PLUGINS) else []


def known_classes() -> Iterable[type]:
    """Every class of plugins that has been imported."""
    found: set[type] = set()
    waiting: list[type] = list(PLUGINS)
    while waiting:
        cls = waiting.pop()
        if cls not in found:
            found.add(cls)
            waiting += cls.__subclasses__()
    return found


# Whose plugin it is -------------------------------------------------------------------------------------------------

_UNKNOWN: Final = "unknown"
_OTHERWISE: Final = {"x": "xai"}


def guess(thing: object) -> str | None:
    """The circuit of a plugin that nobody named: its vendor, in small letters; None when it does not say.

    The vendor is that of the nearest class in ``livekit.plugins``, the maker of the model for LiveKit's own inference
    gateway (``"deepgram/nova-3"``), and for others what ``provider`` says, or a ``label`` of its own.
    """
    for cls in type(thing).__mro__:
        parts = cls.__module__.split(".")
        if parts[:3] == ["livekit", "agents", "inference"]:
            maker, slash, _ = _said(thing, "model").partition("/")
            return (_clean(maker) if slash else None) or "livekit"
        if parts[:2] == ["livekit", "plugins"] and len(parts) > 2:
            return _elsewhere(_said(thing, "provider")) or parts[2] if parts[2] == "openai" else parts[2]
    provider, label = _said(thing, "provider"), _said(thing, "label")
    if provider not in {"", _UNKNOWN}:
        return _clean(provider)
    return None if label == f"{type(thing).__module__}.{type(thing).__name__}" else _clean(label)


def _said(thing: object, name: str) -> str:
    with suppress(Exception):  # a property of somebody else's
        return str(getattr(thing, name, ""))
    return ""


def _clean(name: str) -> str | None:
    return "-".join(re.findall(r"[\w.:/+-]+", name.lower()))[:100] or None


def _elsewhere(address: str) -> str | None:
    """Whose server it is that the plugin for OpenAI talks to, when it is not theirs: ``api.groq.com`` is Groq's."""
    with suppress(ValueError):
        host = urlsplit(f"//{address}").hostname or ""
        parts = host.split(".")
        if len(parts) > 1 and not parts[-1].isdigit() and ":" not in host and parts[-2] != "openai":
            return _OTHERWISE.get(parts[-2], parts[-2])
    return None
