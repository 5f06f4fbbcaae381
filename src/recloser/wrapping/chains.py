"""One call tried on one provider after another: the same loop for each calling style, over the rules in ``Tries``."""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from recloser.wrapping.failover import fail_over
from recloser.wrapping.frames import hide_own_frames
from recloser.wrapping.proxies import FollowedProxy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    from recloser.providers import Tries

__all__ = ["Chain"]


class Chain:
    """One call on its way through the providers.

    Args:
        tries: which provider is next.
        ways: provider name to what calls the decorated function with that provider.
        bound: how many arguments come before the provider: 1 in methods, else 0.
        args: the caller's arguments.
        kwargs: the caller's keyword arguments.
    """

    __slots__ = ("_after", "_before", "_kwargs", "_swaps", "_tries", "_ways")

    def __init__(
        self,
        tries: Tries,
        ways: Mapping[str, Callable[..., Any]],
        bound: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._tries = tries
        self._ways = ways
        self._before, self._after = args[:bound], args[bound:]
        self._kwargs = kwargs
        self._swaps = False

    def _start(self) -> Any:
        """Calls the function with the provider that is to be tried now."""
        provider = self._tries.provider
        return self._ways[provider.name](*self._before, provider.value, *self._after, **self._kwargs)

    @property
    def tries(self) -> Tries:
        """The tries of this call."""
        return self._tries

    def moves_on(self, error: BaseException) -> bool:
        """Whether ``error`` sends the call to the next provider; if not, it is made ready for the caller."""
        if self._tries.moves_on(error):
            return True
        hide_own_frames(error)
        return False

    def run(self) -> Any:
        """For functions that return; what they return may still turn out to be awaited or iterated."""
        tries = self._tries
        while True:
            tries.next()
            try:
                with tries:
                    result = self._start()
            except BaseException as error:
                if not self.moves_on(error):
                    raise
            else:
                if not tries.refused():
                    return self._follow(result)

    async def run_async(self, started: Any = None) -> Any:
        """For coroutine functions; ``started`` is the first try when it was made already."""
        tries = self._tries
        while True:
            if started is None:
                tries.next()
            try:
                with tries:
                    result = await (self._start() if started is None else started)
            except BaseException as error:
                if not self.moves_on(error):
                    raise
            else:
                if not tries.refused():
                    return self._follow(result)
            started = None

    def iterate(self, started: Any = None) -> Generator[Any, Any, Any]:
        """For generator functions: the next provider takes over only while nothing was yielded."""
        try:
            stream, item = self._first(started)
        except StopIteration as stop:
            return stop.value
        try:
            while True:
                try:
                    resume, value = stream.send, (yield item)
                except GeneratorExit:
                    stream.close()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - thrown in by the reader, and meant for the stream
                    resume, value = stream.throw, thrown
                item = resume(value)
        except StopIteration as stop:
            return stop.value
        except BaseException as error:
            hide_own_frames(error)
            raise

    def _first(self, started: Any) -> tuple[Generator[Any, Any, Any], Any]:
        """The first stream that gives an item, and the item; StopIteration when one ended well without any."""
        tries = self._tries
        while True:
            if started is None:
                tries.next()
            try:
                with tries:
                    stream = self._start() if started is None else started
                    return stream, next(stream)
            except StopIteration:
                if not tries.refused():
                    raise
            except BaseException as error:
                if not self.moves_on(error):
                    raise
            started = None

    async def iterate_async(self, started: Any = None) -> AsyncGenerator[Any, Any]:
        """The same for async generator functions."""
        try:
            stream, item = await self._first_async(started)
        except StopAsyncIteration:
            return
        try:
            while True:
                try:
                    resume, value = stream.asend, (yield item)
                except GeneratorExit:
                    await stream.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - thrown in by the reader, and meant for the stream
                    resume, value = stream.athrow, thrown
                item = await resume(value)
        except StopAsyncIteration:
            return
        except BaseException as error:
            hide_own_frames(error)
            raise

    async def _first_async(self, started: Any) -> tuple[AsyncGenerator[Any, Any], Any]:
        """The same for async streams."""
        tries = self._tries
        while True:
            if started is None:
                tries.next()
            try:
                with tries:
                    stream = self._start() if started is None else started
                    return stream, await anext(stream)
            except StopAsyncIteration:
                if not tries.refused():
                    raise
            except BaseException as error:
                if not self.moves_on(error):
                    raise
            started = None

    def _follow(self, result: Any) -> Any:
        """What was returned may fail later, and while it has given nothing yet, the next provider can take over."""
        cls = type(result)
        if cls is CoroutineType:
            return self.run_async(result)
        if cls is GeneratorType:
            return self.iterate(result)
        if cls is AsyncGeneratorType:
            return self.iterate_async(result)
        if issubclass(cls, FollowedProxy) and not self._swaps:
            # From now on the next provider's stream is wanted by the proxy made here, and not by the caller.
            self._swaps = True
            return fail_over(self, result)
        return result
