"""What a row says of a service: how it is built, what its provider answers, and where it keeps silent."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.faults import Healthy, refused_url
from tests.voice.provider import Both, Http, Snap, Talk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import ModuleType

    from tests.faults import Behaviour
    from tests.voice.calls import Kind

__all__ = ["FAULTS", "PATIENCE", "Family", "Place", "impatience", "quietly"]

PATIENCE = 0.25
"""Seconds that clients wait for providers that fail; a healthy one may have to wait for an import."""

FAULTS = ("refused", "401", "429", "503", "hang", "drop")


@dataclass(frozen=True)
class Place:
    """Where the provider of a service is, and how many seconds an application waits for it."""

    url: str
    session: aiohttp.ClientSession
    patience: float

    @property
    def ws(self) -> str:
        """The place, for websockets."""
        return self.url.replace("http", "ws", 1)

    @property
    def host(self) -> str:
        """Host and port, nothing else."""
        return self.url.partition("://")[2]


@dataclass(frozen=True)
class Family:
    """A service class and its provider.

    Attributes:
        name: for people.
        kind: of service.
        path: module below ``pipecat.services`` and class.
        build: of the class and a place makes a service.
        wire: what its provider does in good health.
        cut: how much of an answer there is before a connection drops: chunks of a body, half of them unless told, or
            messages of a websocket, one unless told.
        requires: modules that its SDK brings.
        silent: faults after which no ErrorFrame ever comes.
        patched: what has no argument and is patched, in words.
    """

    name: str
    kind: Kind
    path: str
    build: Callable[[Any, Place], Any]
    wire: Http | Talk | Both | Healthy = field(default_factory=Healthy)
    cut: int | None = None
    requires: tuple[str, ...] = ()
    silent: frozenset[str] = frozenset()
    patched: str = ""

    @property
    def circuit(self) -> str:
        """The vendor: the first package below ``pipecat.services``."""
        return self.path.split(".")[0]

    @property
    def class_name(self) -> str:
        """The name of the class."""
        return self.path.partition(":")[2]

    @property
    def drop(self) -> Behaviour:
        """What its provider does that falls in the middle of an answer."""
        if isinstance(self.wire, Talk | Both):
            return self.wire.dropping(self.cut or 1)
        return Snap(self.wire, self.cut)

    @property
    def recovers(self) -> bool:
        """Whether a dropped connection is one that can be opened again, and often is before anybody is told."""
        return isinstance(self.wire, Talk | Both)

    def load(self) -> Any:
        """The class."""
        module, _, name = self.path.partition(":")
        return getattr(quietly(f"pipecat.services.{module}"), name)

    def missing(self) -> str | None:
        """A module that is required and not there."""
        for module in self.requires:
            try:
                found = importlib.util.find_spec(module)
            except ModuleNotFoundError:
                found = None
            if found is None:
                return module
        return None

    @contextlib.asynccontextmanager
    async def service(self, url: str | None = None, patience: float = 10.0) -> AsyncIterator[Any]:
        """A service of this family whose provider is there; without a place, where nothing listens."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=patience)) as session:
            at = Place(url or refused_url(), session, patience)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # some classes are, and are used all the same
                service = self.build(self.load(), at)
            yield hasten(service)


def hasten(service: Any) -> Any:
    """Shorten the waits that a framework has for the sake of people and networks."""
    for name, seconds in {
        "_stop_frame_timeout_s": 0.2,
        "_stt_ttfb_timeout": 0.2,
        "_reconnect_backoff_min_wait": 0.01,
        "_reconnect_backoff_max_wait": 0.01,
    }.items():
        if hasattr(service, name):
            setattr(service, name, seconds)
    return service


def quietly(module: str) -> ModuleType:
    """Import a module of others, whatever it and what it needs say of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(module)


def impatience() -> Iterator[tuple[dict[str, Any], str, object]]:
    """Entries of dictionaries that make libraries give up sooner: defaults of arguments, names of modules."""
    yield quietly("websockets.asyncio.client").connect.__init__.__kwdefaults__, "open_timeout", PATIENCE
    yield quietly("websockets.legacy.client").Connect.__init__.__kwdefaults__, "open_timeout", PATIENCE
    with contextlib.suppress(ImportError):
        # Asks again after one to ten seconds where nothing listens.
        yield vars(quietly("google.genai._api_client")), "random", _NoDelay
    for module in ("deepgram.stt", "speechmatics.tts"):
        with contextlib.suppress(Exception):  # older releases have no class for an SDK that is missing
            yield vars(quietly(f"pipecat.services.{module}")), "exponential_backoff_time", _at_once


def _at_once(*_args: object, **_more: object) -> float:
    return 0.01


class _NoDelay:
    @staticmethod
    def randint(_low: int, _high: int) -> int:
        return -1
