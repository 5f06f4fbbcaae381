"""One plugin and what it did: its final errors and its answers, told to whoever is attached to it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, Protocol

from recloser.contain import Contained
from recloser.core.outcome import Verdict
from recloser.integrations.livekit.framework import AGENTS, LLM, STT, TTS, Realtime
from recloser.integrations.livekit.requests import Request, inside
from recloser.rules import classify

if TYPE_CHECKING:
    from collections.abc import Callable

    from recloser.integrations.livekit.requests import Permission

__all__ = ["Reporter", "Watch", "watch"]

_MARK: Final = "_recloser_watch"


class Reporter(Protocol):
    """Who is attached to a plugin.

    Attributes:
        of_call: whether it is one call, of which a failure counts once, or anything that the plugin is used for.
    """

    of_call: bool

    def has_failed(self, plugin: object) -> bool:
        """Whether another failure of this plugin would not count."""
        ...

    def fail(self, plugin: object, error: Exception | str) -> None:
        """A request has failed, and will not be tried again."""
        ...

    def succeed(self, plugin: object, elapsed: float | None) -> None:
        """A request was answered, after so many seconds if that is known."""
        ...


def watch(plugin: Any) -> Watch:
    """The one watch of ``plugin``, begun now if there was none."""
    # In the object's own dictionary: a plugin that stands for another would show the other's.
    found = vars(plugin).get(_MARK)
    if not isinstance(found, Watch):
        found = Watch(plugin)
        setattr(plugin, _MARK, found)
    return found


class Watch:
    """Listens to a plugin, for as long as there is the plugin.

    Answers of streams of speech recognition, and everything of realtime models, are told of by no event of the plugin;
    they are seen in what its methods return. The methods are replaced on the object, not in its class.

    Args:
        plugin: an STT, TTS, LLM or realtime model that talks to a provider.

    Attributes:
        permission: what a request has to ask before it begins, if anything.
        last: the error that was told of last.
    """

    permission: Permission | None
    last: Any

    def __init__(self, plugin: Any) -> None:
        self.plugin = plugin
        self.permission = None
        self.last = None
        self._reporters: list[Reporter] = []
        # Objects of their own, so that an emitter neither hears an exception nor looks at a signature.
        self._hears_error = Contained("listening to errors of a LiveKit plugin", self.tell)
        self._hears_metrics = Contained("listening to metrics of a LiveKit plugin", self._measure)
        self._sees_item = Contained("looking at what a LiveKit plugin got", self._look)
        if hasattr(plugin, "on"):
            self._listen(plugin)
        for cls, names in ((LLM, ("chat",)), (TTS, ("synthesize", "stream")), (STT, ("stream",))):
            for name in names if isinstance(plugin, cls) else ():
                setattr(plugin, name, self._followed(getattr(plugin, name)))
        if hasattr(plugin, "prewarm"):
            plugin.prewarm = self._prewarming(plugin.prewarm)
        if isinstance(plugin, STT):
            self._watch_recognition()
        if isinstance(plugin, Realtime):
            self._watch_sessions()

    def join(self, reporter: Reporter) -> None:
        """``reporter`` is told from now on."""
        if reporter not in self._reporters:
            self._reporters.append(reporter)

    def leave(self, reporter: Reporter) -> None:
        """It is no more."""
        if reporter in self._reporters:
            self._reporters.remove(reporter)

    # -- outcomes ----------------------------------------------------------------------------------------------------

    def tell(self, event: Any) -> None:
        """An error event, from the plugin or from a session; one that was told of already is not told of again."""
        if inside.get() is self.plugin or event is self.last or getattr(event, "recoverable", None) is not False:
            return
        self.last = event
        error = getattr(event, "error", None)
        self._fail(error if isinstance(error, Exception) else str(error))

    def _fail(self, error: Exception | str) -> None:
        # Of several calls that share a plugin nobody knows whose request it was: each has one failure at the most.
        calls = [each for each in self._reporters if each.of_call]
        mine = [each for each in calls if not each.has_failed(self.plugin)] if calls else self._reporters
        if mine:
            mine[0].fail(self.plugin, error)

    def _succeed(self, elapsed: float | None) -> None:
        if self._reporters:
            self._reporters[0].succeed(self.plugin, elapsed)

    def _foreign(self, error: Exception) -> None:
        # Of an exception that is not LiveKit's, only speech does not tell.
        if isinstance(self.plugin, TTS):
            self._fail(error)

    def _measure(self, metrics: Any) -> None:
        """Metrics come with every answer that was not cut short by an error."""
        if inside.get() is self.plugin or getattr(metrics, "cancelled", False):
            return
        sort = getattr(metrics, "type", "")
        if sort == "tts_metrics" and metrics.audio_duration > 0:
            self._succeed(metrics.ttfb if metrics.ttfb >= 0 else None)
        elif sort in {"llm_metrics", "realtime_model_metrics"} and metrics.ttft >= 0:
            self._succeed(metrics.ttft)
        elif sort == "stt_metrics" and not metrics.streamed:
            self._succeed(metrics.duration)

    def _look(self, item: Any) -> None:
        if isinstance(item, AGENTS.stt.SpeechEvent) and item.type == AGENTS.stt.SpeechEventType.FINAL_TRANSCRIPT:
            self._succeed(None)

    # -- what methods return -----------------------------------------------------------------------------------------

    def _listen(self, emitter: Any) -> None:
        emitter.on("error", self._hears_error)
        emitter.on("metrics_collected", self._hears_metrics)

    def _followed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def opened(*args: Any, **kwargs: Any) -> Any:
            stream = original(*args, **kwargs)
            # A plugin that speaks by a stream of its own makes one request, not two. And a stream of somebody else's
            # make, that LiveKit does not drive, is left alone.
            if inside.get() is not self.plugin and hasattr(stream, "_run") and hasattr(stream, "_event_ch"):
                Request(self.plugin, stream, self.permission, self._sees_item, self._foreign)
            return stream

        return opened

    def _prewarming(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def prewarmed(*args: Any, **kwargs: Any) -> Any:
            # A plugin may go on trying to connect, for as long as it takes.
            if self.permission is None or not self.permission.refuses():
                original(*args, **kwargs)

        return prewarmed

    def _watch_recognition(self) -> None:
        plugin, recognize, attempt = self.plugin, self.plugin.recognize, self.plugin._recognize_impl  # noqa: SLF001 - it is for whoever writes a plugin

        @functools.wraps(recognize)
        async def recognized(*args: Any, **kwargs: Any) -> Any:
            permission = self.permission
            if permission is None:
                return await recognize(*args, **kwargs)
            seat = permission.admit()
            try:
                return await recognize(*args, **kwargs)
            except BaseException as error:
                if seat is not None and classify(error).verdict is Verdict.IGNORED:
                    permission.give_back(seat)
                raise

        @functools.wraps(attempt)
        async def attempted(*args: Any, **kwargs: Any) -> Any:
            limit = None if self.permission is None else self.permission.limit()
            if limit is None:
                return await attempt(*args, **kwargs)
            limit.start()
            return await limit.hold(attempt(*args, **kwargs))

        plugin.recognize, plugin._recognize_impl = recognized, attempted  # noqa: SLF001

    def _watch_sessions(self) -> None:
        original = self.plugin.session

        @functools.wraps(original)
        def session(*args: Any, **kwargs: Any) -> Any:
            opened = original(*args, **kwargs)
            self._listen(opened)
            return opened

        self.plugin.session = session
