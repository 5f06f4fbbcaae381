"""The providers of a fallback, and the tries of one call: which comes next, and whether a failure moves the call on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from recloser.covers import Cover, cover
from recloser.errors import ConfigurationError, PausedError, ProvidersExhaustedError, RefusedResultError
from recloser.gate import Watch, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Token

    from recloser.backends import Seat
    from recloser.gate import Gate

__all__ = ["Opening", "Provider", "Tries", "soonest"]


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider of a fallback.

    Attributes:
        name: the name of its circuit.
        value: what the decorated function receives: the name, the client, or the wrapped callable.
        gate: its circuit.
        wrapped: whether ``value`` passes through that circuit by itself, so that the fallback must not.
    """

    name: str
    value: Any
    gate: Gate
    wrapped: bool


class Tries:
    """The tries of one call. As a context manager around each, it learns what the provider's circuit made of it."""

    __slots__ = ("_cover", "_left", "_seen", "_tokens", "_watch", "errors", "provider")

    provider: Provider
    errors: dict[str, BaseException]
    _tokens: tuple[Token[Watch | None], Token[Cover | None]]

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._left = iter(providers)
        self._seen: list[tuple[Gate, BaseException | None]] = []
        self._watch = Watch()
        self._cover: Cover | None = None
        self.errors = {}

    def next(self) -> Provider:
        """The provider to try now.

        Raises:
            PausedError: when there is none left and none was tried.
            ProvidersExhaustedError: when there is none left.
        """
        for provider in self._left:
            self.provider = provider
            self._cover = None
            refused = provider.gate.bound.refusal() if provider.wrapped else None
            if refused is None:
                return provider
            self.errors[provider.name] = refused
        raise exhausted(self.errors)

    def __enter__(self) -> Self:
        self._watch = Watch()
        if not self.provider.wrapped and self._cover is None:
            self._cover = Cover(self.provider.name, cover.get())
        if self._cover is not None:
            # What the try returned may run only now, and is part of it all the same.
            self._cover.over = False
        self._tokens = watch.set(self._watch), cover.set(self._cover or cover.get())
        return self

    def __exit__(self, *_: object) -> None:
        watched, covered = self._tokens
        watch.reset(watched)
        cover.reset(covered)
        self._seen = self._watch.close()
        if self._cover is not None:
            self._cover.over = True

    def moves_on(self, error: BaseException) -> bool:
        """Whether ``error`` sends the call on: the provider is paused, or its circuit counted a failure."""
        provider = self.provider
        paused = isinstance(error, PausedError) and error.circuit == provider.name
        failed = isinstance(error, Exception) and any(
            gate.name == provider.name and seen is not None for gate, seen in self._seen
        )
        if paused or failed:
            self.errors[provider.name] = error
        return paused or failed

    def refused(self) -> bool:
        """Whether a rule of the provider's circuit called the result a failure, which sends the call on too."""
        name = self.provider.name
        last = next((seen for gate, seen in reversed(self._seen) if gate.name == name), None)
        if isinstance(last, RefusedResultError):
            self.errors[name] = last
            return True
        return False


class Opening:
    """The factories of one pipeline's provider, asked in turn. As a context manager around each, it passes failures on.

    What a factory makes has not been called yet: that it was made is no success of the provider, only that it could
    not be made is a failure.
    """

    _provider: Provider
    _seat: Seat | None
    _errors: dict[str, BaseException]

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._left = iter(providers)
        self._errors = {}

    def next(self) -> Callable[..., Any]:
        """The factory to ask now.

        Raises:
            PausedError: when there is none left and none was asked.
            ProvidersExhaustedError: when there is none left.
            ConfigurationError: when the provider is no factory.
        """
        for provider in self._left:
            self._provider, factory = provider, provider.value
            if not callable(factory):
                raise ConfigurationError("provider", factory, "a factory, to build with")
            try:
                self._seat = None if provider.wrapped else provider.gate.choose()
            except PausedError as error:
                self._errors[provider.name] = error
            else:
                return cast("Callable[..., Any]", factory)
        raise exhausted(self._errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if error is None:
            return False
        provider, gate = self._provider, self._provider.gate
        outcome = gate.rules.judge(error)
        failed = isinstance(error, Exception) and outcome.is_failure
        if failed and not provider.wrapped:
            gate.bound.report(outcome, error)
        elif self._seat is not None:
            gate.bound.give_back(self._seat)  # it tested nothing
        if failed or (isinstance(error, PausedError) and error.circuit == gate.name):
            self._errors[provider.name] = error
            return True
        return False


def exhausted(errors: dict[str, BaseException]) -> PausedError | ProvidersExhaustedError:
    """The error that says why none of the providers did it."""
    tried = [error for error in errors.values() if not isinstance(error, PausedError)]
    if tried:
        error = ProvidersExhaustedError(errors)
        error.__cause__ = tried[-1]
        return error
    return soonest([error for error in errors.values() if isinstance(error, PausedError)])


def soonest(paused: list[PausedError]) -> PausedError:
    """One error that says why none of several providers is available, and when the first may be."""
    first = min(paused, key=lambda error: float("inf") if error.retry_after is None else error.retry_after)
    if len(paused) == 1:
        return first
    reason = "no provider is available: " + ", ".join(f"{error.circuit} ({error.reason})" for error in paused)
    return PausedError(first.circuit, first.state, reason, first.paused_by, first.since, first.retry_after)
