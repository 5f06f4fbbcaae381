"""One request of a plugin on its way: whether it may begin, when its first item is late, and what it brings.

Plugins do their work in ``_run`` of the stream that they hand out, which LiveKit calls once for each attempt, and send
what they get into ``_event_ch``: both are what LiveKit asks of whoever writes a plugin.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from recloser.core.outcome import Verdict
from recloser.errors import DeadlineError
from recloser.integrations.livekit.framework import AGENTS
from recloser.rules import classify

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from recloser.backends import Seat

__all__ = ["Limit", "Permission", "Request", "inside"]

inside: ContextVar[object] = ContextVar("recloser_livekit_inside", default=None)
"""The plugin whose request is being made: a request that it makes of itself is part of it."""


class Permission(Protocol):
    """What stands between an adapter and one of its providers."""

    def admit(self) -> Seat | None:
        """Leave to begin; raises an APIError when the provider is paused."""
        ...

    def refuses(self) -> bool:
        """Whether a request made now would not begin."""
        ...

    def give_back(self, seat: Seat) -> None:
        """Returns a choice that nothing came of."""
        ...

    def limit(self) -> Limit | None:
        """A new deadline for the first item, if there is one."""
        ...


class Limit:
    """A deadline for the first item of one attempt.

    Args:
        circuit: whose it is.
        seconds: how long the provider may take.
    """

    def __init__(self, circuit: str, seconds: float) -> None:
        self._circuit = circuit
        self._seconds = seconds
        self._late = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self._cancel = asyncio.timeout(None)

    def start(self) -> None:
        """From now on the provider is waited for."""
        if self._timer is None and not self._over:
            loop = asyncio.get_running_loop()
            when = loop.time() + self._seconds
            self._timer = loop.call_at(when, self._expire, when)

    def stop(self) -> None:
        """The first item is there, or nobody waits any more."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self, when: float) -> None:
        # How late it is has to be read here: what is cancelled may take its time to end.
        now = asyncio.get_running_loop().time()
        self._late = now - when
        if not self._over:
            self._over = True
            self._cancel.reschedule(now)

    async def hold(self, work: Awaitable[Any]) -> Any:
        """What ``work`` gives.

        Raises:
            APITimeoutError: LiveKit's, so that the plugin is tried again, or the next one, as after any timeout.
        """
        try:
            async with self._cancel:
                result = await work
        except TimeoutError:
            if not self._cancel.expired():
                raise
        else:
            if not self._cancel.expired():
                return result
        finally:
            self.stop()
        late = DeadlineError(self._circuit, "first_item", self._seconds, self._late)
        raise AGENTS.APITimeoutError(str(late)) from late


class Request:
    """One stream that a plugin has handed out, of which nothing has run yet.

    Args:
        plugin: whose it is.
        stream: what was handed out.
        permission: what has to be asked, if anything.
        on_item: is given whatever comes.
        on_error: is given what LiveKit does not tell of.
    """

    def __init__(
        self,
        plugin: object,
        stream: Any,
        permission: Permission | None,
        on_item: Callable[[object], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._plugin = plugin
        self._permission = permission
        self._on_item = on_item
        self._on_error = on_error
        self._asked = False
        self._seat: Seat | None = None
        self._items = 0
        self._limit: Limit | None = None
        self._stream = stream
        self._waits_for_text = isinstance(stream, AGENTS.tts.SynthesizeStream)
        self._text_is_whole = False
        self._timed = not isinstance(stream, AGENTS.stt.RecognizeStream)  # who is silent is not transcribed
        self._run, stream._run = stream._run, self.run  # noqa: SLF001 - see the module
        channel = stream._event_ch  # noqa: SLF001 - see the module
        self._send, channel.send_nowait = channel.send_nowait, self._got
        if self._waits_for_text:
            # A stream of speech is opened before there is a text; the provider is waited for once it has some.
            self._started, stream._mark_started = stream._mark_started, self._text_sent  # noqa: SLF001
            self._end, stream.end_input = stream.end_input, self._text_ended

    async def run(self, *args: Any) -> None:
        """What LiveKit calls instead of the plugin's ``_run``."""
        token = inside.set(self._plugin)
        try:
            if self._permission is None:
                await self._run(*args)
            else:
                await self._permitted(self._permission, *args)
        except AGENTS.APIError:
            raise
        except Exception as error:
            self._on_error(error)
            raise
        finally:
            inside.reset(token)

    async def _permitted(self, permission: Permission, *args: Any) -> None:
        if not self._asked:
            self._seat, self._asked = permission.admit(), True
        self._limit = permission.limit() if self._timed else None
        try:
            if self._limit is None:
                await self._run(*args)
            else:
                if not self._waits_for_text or self._text_is_whole:
                    self._limit.start()
                await self._limit.hold(self._run(*args))
        except BaseException as error:
            if classify(error).verdict is Verdict.IGNORED:
                self._untested(permission)
            raise
        if not self._items:
            self._untested(permission)

    def _untested(self, permission: Permission) -> None:
        if self._seat is not None:
            permission.give_back(self._seat)
            self._seat = None

    def _got(self, item: Any) -> None:
        self._send(item)
        # The role alone, or a count of tokens, is no answer of a model.
        if not isinstance(item, AGENTS.llm.ChatChunk) or (item.delta and (item.delta.content or item.delta.tool_calls)):
            self._items += 1
            if self._limit is not None:
                self._limit.stop()
        self._on_item(item)

    def _text_sent(self) -> None:
        self._started()
        if self._limit is not None:
            self._limit.start()

    def _text_ended(self) -> None:
        self._end()
        self._text_is_whole = bool(self._stream._pushed_text.strip())  # noqa: SLF001 - it has no other name
        if self._text_is_whole and self._limit is not None:
            self._limit.start()
