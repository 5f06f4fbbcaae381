"""Functions with a provider handed in, and functions that must ask before they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recloser.wrapping.decorated import Kind, kind_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from recloser.wrapping.chains import Chain

__all__ = ["ask_first", "chained"]


def chained(begin: Callable[[tuple[Any, ...], dict[str, Any]], Chain], kind: Kind) -> Callable[..., Any]:
    """A callable of ``kind`` that begins a chain with its arguments and runs it."""
    if kind is Kind.AWAITED:

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await begin(args, kwargs).run_async()

        return call_async
    if kind is Kind.GENERATES:

        def iterate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            return begin(args, kwargs).iterate()

        return iterate
    if kind is Kind.GENERATES_ASYNC:

        def iterate_async(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            return begin(args, kwargs).iterate_async()

        return iterate_async

    def call(*args: Any, **kwargs: Any) -> Any:
        return begin(args, kwargs).run()

    return call


def ask_first(question: Callable[[], None], function: Any) -> Callable[..., Any]:
    """``function``, called only after ``question`` did not raise."""
    if kind_of(function) is Kind.AWAITED:

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            question()
            return await function(*args, **kwargs)

        return call_async

    def call(*args: Any, **kwargs: Any) -> Any:
        question()
        return function(*args, **kwargs)

    return call
