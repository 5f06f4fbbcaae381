"""Fallback: one call, tried on several providers in order of preference."""

from __future__ import annotations

import inspect
import operator
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from recloser.circuit import Circuit
from recloser.core.machine import State
from recloser.errors import ConfigurationError, PausedError
from recloser.gate import Gate
from recloser.providers import Opening, Provider, Tries, soonest
from recloser.wrapping import Chain, chained, gate_of, kind_of, passage, stand_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from recloser.backends import Seat
    from recloser.core.sheet import Value

__all__ = ["Fallback", "FallbackFunction", "FallbackMethod"]

T = TypeVar("T")
S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
S_contra = TypeVar("S_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

_ALLOWED = "names of circuits, callables decorated with a circuit, or clients by keyword (name=client)"


class Fallback(Generic[T]):
    """Providers in order of preference. Made by :func:`recloser.fallback`.

    As a decorator, it hands the provider to use to the function as its first argument (after ``self`` in methods),
    and callers leave that argument out. Each provider is protected by its own circuit.
    """

    name: str
    sort: str = "fallback"

    def __init__(
        self,
        positional: Sequence[Any],
        named: Mapping[str, Any],
        mention: Callable[[str], Circuit],
        register: Callable[[Fallback[Any]], None],
        said: Callable[[str], Value | None],
    ) -> None:
        # In the order of the code, and all of them; who takes part, and in which order, may be said elsewhere.
        self._providers = _providers(positional, named, mention)
        self._said = said
        self._arranged: tuple[Value | None, tuple[Provider, ...]] = (None, self._providers)
        self._call: Callable[..., Any] | None = None
        self.name = f"fallback({', '.join(self.members)})"
        register(self)

    def __repr__(self) -> str:
        return f"fallback({', '.join(map(repr, self.members))})"

    @property
    def _present(self) -> tuple[Provider, ...]:
        """The providers that take part now, in order."""
        said, (before, arranged) = self._said(self.name), self._arranged
        if said is not before:
            arranged = self._providers
            if said is not None:
                known = {provider.name: provider for provider in self._providers}
                # A name that means nothing here is one of another version of the application.
                arranged = tuple(known[name] for name in said.value if name in known) or arranged
            self._arranged = (said, arranged)
        return arranged

    # -- calling -----------------------------------------------------------------------------------------------------

    # The two overlap where self could itself be a provider; then it is a function's, as it reads.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[T, P], R], /
    ) -> FallbackFunction[T, P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[S, T, P], R], /) -> FallbackMethod[S, T, P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """``function`` tried on one provider after another.

        Raises:
            ConfigurationError: when it cannot be called.
        """
        if isinstance(function, classmethod | staticmethod):
            inner = self._decorate(function.__func__, bound=isinstance(function, classmethod))
            return type(function)(inner)
        return self._decorate(function)

    @property
    def call(self: Fallback[Callable[P, R]]) -> Callable[P, R]:
        """Calls the providers themselves, for providers that are callables with one signature.

        Raises:
            ConfigurationError: when one of them cannot be called.
        """
        if self._call is None:
            for provider in self._providers:
                if not callable(provider.value):
                    raise ConfigurationError("provider", provider.value, "something that can be called, to use .call")
            self._call = chained(self._beginner(operator.call, 0), kind_of(self._providers[0].value))
        return self._call

    def _decorate(self, function: Any, *, bound: bool = False) -> Any:
        if not callable(function):
            raise ConfigurationError("function", function, "something that can be called")
        for provider in self._providers:
            if isinstance(provider.gate, Circuit):
                provider.gate.check_timeout(function)
        kind = kind_of(function)
        as_method = chained(self._beginner(function, 1), kind)
        takes_self = bound or _parameters(function)[:1] in (["self"], ["cls"])
        as_function = as_method if takes_self else chained(self._beginner(function, 0), kind)
        self.name = getattr(function, "__qualname__", self.name)
        shown = {"choose": staticmethod(self.choose), "current": _of(self, "current"), "order": _of(self, "order")}
        method = stand_in(function, as_method, self, __signature__=_signature(function, 1), **shown)

        def bind(me: Any, instance: Any, _owner: Any = None) -> Any:
            return me if instance is None else MethodType(method, instance)

        signature = _signature(function, 1 if takes_self else 0)
        return stand_in(function, as_function, self, __signature__=signature, __get__=bind, **shown)

    def _beginner(self, function: Callable[..., Any], bound: int) -> Callable[[tuple[Any, ...], dict[str, Any]], Chain]:
        ways = {
            provider.name: function if provider.wrapped else passage(provider.gate, function)
            for provider in self._providers
        }

        def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Chain:
            return Chain(Tries(self._present), ways, bound, args, kwargs)

        return begin

    # -- choosing ----------------------------------------------------------------------------------------------------

    def choose(self) -> T:
        """The provider to use now, for a pipeline that is built once and then used for a while.

        A provider that is being tested after a pause is chosen ``probes`` times per ``probe_timeout``, over the whole
        fleet.

        Raises:
            PausedError: when none is available.
        """
        provider, _ = self._first(Gate.choose)
        chosen: T = provider.value
        return chosen

    def build(self: Fallback[Callable[P, R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the factory of the provider to use now makes, for a pipeline that is built once per call.

        The providers are factories by keyword, ``fallback(elevenlabs=make_elevenlabs, cartesia=make_cartesia)``. One
        that raises has failed, which counts for its circuit, and the next is asked. That one returns counts nothing:
        its provider has not been called yet, and a circuit that is being tested does not close by it.

        Raises:
            PausedError: when no provider is available.
            ProvidersExhaustedError: when every factory that was asked failed.
            ConfigurationError: when a provider is no factory.

        >>> from recloser import fallback
        >>> speech = fallback(azure=lambda voice: f"azure, {voice}")
        >>> speech.build("amy")
        'azure, amy'
        """
        opening = Opening(self._present)
        while True:
            factory = opening.next()
            with opening:
                made: R = factory(*args, **kwargs)
                return made

    async def abuild(self: Fallback[Callable[P, R | Awaitable[R]]], *args: P.args, **kwargs: P.kwargs) -> R:
        """The same for factories that may have to be awaited, to connect, say."""
        opening = Opening(self._present)
        while True:
            factory = opening.next()
            with opening:
                made = factory(*args, **kwargs)
                result: R = await made if inspect.isawaitable(made) else made
                return result

    def admit(self) -> tuple[Gate, Seat | None]:
        """Leave to begin work that needs any one of the providers, and the trial that this took, if any.

        Raises:
            PausedError: when none is available.
        """
        # Work that only needs one of them tests none while one is healthy, and never more than one: the call that
        # follows would fall over to the other and find its only probe taken.
        states = [(gate.bound.current().state, gate) for gate in self.gates]
        for wanted in (State.CLOSED, State.HALF_OPEN):
            for state, gate in states:
                if state is wanted:
                    return gate.admit()
        return self._first(Gate.admit)[1]

    def _first(self, ask: Callable[[Gate], R]) -> tuple[Provider, R]:
        """The first provider whose circuit gives leave, and the leave."""
        paused: list[PausedError] = []
        for provider in self._present:
            try:
                return provider, ask(provider.gate)
            except PausedError as error:
                paused.append(error)
        raise soonest(paused)

    def refusal(self) -> PausedError | None:
        """Why no provider is available; None when one is. Takes nothing."""
        paused: list[PausedError] = []
        for provider in self._present:
            refused = provider.gate.refusal()
            if refused is None:
                return None
            paused.append(refused)
        return soonest(paused)

    @property
    def current(self) -> str | None:
        """The name of the provider that calls go to now, for display; None when none is available."""
        for provider in self._present:
            if provider.gate.bound.refusal() is None:
                return provider.name
        return None

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The circuits of the providers, in order of preference."""
        return tuple(provider.gate for provider in self._present)

    @property
    def order(self) -> tuple[str, ...]:
        """The names of the providers that take part, in order of preference."""
        return tuple(provider.name for provider in self._present)

    @property
    def members(self) -> tuple[str, ...]:
        """The names of all providers, in the order of the code."""
        return tuple(provider.name for provider in self._providers)

    @property
    def written(self) -> tuple[tuple[str, ...], ...]:
        """The circuits it is built on by its code, in one group, of which it needs one."""
        return (self.members,)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The same without the providers that do not take part."""
        return (self.order,)


class FallbackFunction(Protocol[T_co, P, R_co]):
    """A function decorated with a fallback: called without the provider, and able to choose one."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Calls the function with the first provider that is available and does not fail."""
        ...

    def choose(self) -> T_co:
        """The provider to use now; raises PausedError when none is available."""
        ...

    @property
    def current(self) -> str | None:
        """The name of the provider that calls go to now; None when none is available."""
        ...

    @property
    def order(self) -> tuple[str, ...]:
        """The names of the providers, in order of preference."""
        ...


class FallbackMethod(Protocol[S_contra, T_co, P, R_co]):
    """The same for a method."""

    def __get__(self, instance: S_contra, owner: type | None = None) -> FallbackFunction[T_co, P, R_co]:
        """The method of one object."""
        ...

    def choose(self) -> T_co:
        """The provider to use now; raises PausedError when none is available."""
        ...


def _providers(
    positional: Sequence[Any], named: Mapping[str, Any], mention: Callable[[str], Circuit]
) -> tuple[Provider, ...]:
    providers = [_provider(value, mention) for value in positional]
    providers += [_named(name, client, mention) for name, client in named.items()]
    if not providers:
        raise ConfigurationError("providers", (), "at least one of " + _ALLOWED)
    names = [provider.name for provider in providers]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError("providers", tuple(names), f"each provider once; {name!r} is there twice")
    return tuple(providers)


def _provider(value: Any, mention: Callable[[str], Circuit]) -> Provider:
    if isinstance(value, str):
        return _covering(value, value, mention(value))
    if isinstance(value, Circuit):
        return _covering(value.name, value.name, value)
    gate = gate_of(value)
    if isinstance(gate, Gate):
        return Provider(gate.name, value, gate, wrapped=True)
    raise ConfigurationError("provider", value, _ALLOWED)


def _named(name: str, client: Any, mention: Callable[[str], Circuit]) -> Provider:
    gate = gate_of(client)
    if isinstance(gate, Gate):
        return Provider(gate.name, client, gate, wrapped=True)
    return _covering(name, client, mention(name))


def _covering(name: str, value: Any, gate: Gate) -> Provider:
    gate.covers = True
    return Provider(name, value, gate, wrapped=False)


def _parameters(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _signature(function: Any, position: int) -> inspect.Signature | None:
    """The signature that callers see: without the provider at ``position``."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    parameters = list(signature.parameters.values())
    if len(parameters) > position and parameters[position].kind is not inspect.Parameter.VAR_POSITIONAL:
        del parameters[position]
    return signature.replace(parameters=parameters)


def _of(fallback: Fallback[Any], name: str) -> property:
    return property(lambda _: getattr(fallback, name))
