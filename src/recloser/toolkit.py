"""The toolkit: one backend, the circuits on it, and their life; what operators do with them is in ``operations``."""

from __future__ import annotations

import logging
import weakref
from functools import partial
from math import inf
from os import fspath
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from recloser.circuit import Circuit
from recloser.clock import SystemClock
from recloser.core.duration import Duration, format_duration
from recloser.core.policy import Mode, Policy, check_name
from recloser.engine import Engine
from recloser.errors import ConfigurationError
from recloser.fallback import Fallback
from recloser.lifespan import Lifespan
from recloser.operations import Operations, length
from recloser.registry import Registry, caller
from recloser.requires import Requirement
from recloser.rulebook import Reload
from recloser.rules import ErrorTypes, Rules
from recloser.settings import Settings, switch
from recloser.waiting import await_until_allowed, wait_until_allowed
from recloser.wrapping import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from os import PathLike
    from types import TracebackType
    from typing import Unpack

    from recloser.alerts.hooks import Hooks
    from recloser.backends import Backend
    from recloser.clock import Clock
    from recloser.core.outcome import Outcome
    from recloser.core.patterns import Patterns
    from recloser.core.policy import Thresholds
    from recloser.core.sheet import Value
    from recloser.gate import Gate
    from recloser.registry import Dependent
    from recloser.replica import Replica

__all__ = ["Recloser"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_log = logging.getLogger("recloser")


class Recloser(Operations):
    """Circuits that share one backend. The functions of the package act on one of these; a second fleet makes its own.

    Args:
        backend: a URL such as ``"memory://"``, or a backend.
        namespace: circuits of different namespaces do not know of each other.
        clock: the time to live by; the computer's by default.
        mode: turns every circuit down to at most this: ``"observe"`` rejects nothing, ``"off"`` counts nothing.
        alerts: what tells people: names of hooks, and functions that take an :class:`~recloser.alerts.Alert`; those
            that are configured in the environment by default.
        rules: a rules file, in TOML or JSON.
        reload: when that is read again: ``"never"``, on ``"sighup"`` or on ``"change"``.

    Raises:
        ConfigurationError: for an impossible value, naming it and what is allowed.
    """

    def __init__(  # noqa: PLR0913 - all but the first by keyword
        self,
        backend: str | Backend = "memory://",
        *,
        namespace: str = "recloser",
        clock: Clock | None = None,
        mode: Mode | str | None = None,
        alerts: Hooks | None = None,
        rules: str | PathLike[str] | None = None,
        reload: Reload | str = Reload.NEVER,
    ) -> None:
        settings = Settings(
            backend,
            namespace,
            switch("mode", mode),
            alerts,
            rules=None if rules is None else fspath(rules),
            reload=Reload.parse("reload", reload),
        )
        self._engine = Engine(settings, clock or SystemClock(), Registry())
        self._engine.check()
        self._mentions: weakref.WeakSet[Circuit] = weakref.WeakSet()
        self._alive: list[None] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.engine.backend).__name__}, namespace={self.namespace!r})"

    @property
    def engine(self) -> Engine:
        """What does the work, for the package's own use."""
        return self._engine

    @property
    def log_patterns(self) -> Patterns:
        """The patterns that a rules file or an operator says, by circuit; a log line that matches one is a failure."""
        return self.engine.policies.patterns

    @property
    def names(self) -> dict[str, str]:
        """The circuits of names that appear in errors, such as classes of processors, as rules say."""
        return {name: str(value.value) for name, value in self.engine.policies.layers.names().items()}

    # -- what is built on it -----------------------------------------------------------------------------------------

    def circuit(  # noqa: PLR0913 - what one may say of a circuit, all by keyword
        self,
        name: str,
        policy: Policy | None = None,
        *,
        classify: Callable[[Any], Outcome | None] | None = None,
        failure: ErrorTypes = (),
        ignore: ErrorTypes = (),
        failure_if: Callable[[Any], object] | None = None,
        min_items: int | None = None,
        min_bytes: int | None = None,
        progress: Callable[[Any], object] | None = None,
        stream: bool = False,
        **thresholds: Unpack[Thresholds],
    ) -> Circuit:
        """A circuit: a decorator for calls to a provider, a context manager, and a place to report outcomes by hand.

        The same name is the same circuit everywhere. A mention without thresholds takes the policy given elsewhere.
        Protect a call once: a call inside another one of the same circuit is a call of its own, and it is rejected
        while the outer one is the probe. Only a fallback knows that the clients it calls by name belong to it.

        Args:
            name: the circuit's name, usually the provider's.
            policy: when it trips and how it comes back; see :class:`~recloser.Policy`.
            classify: your own rule, exception to :class:`~recloser.Outcome`, or to None to let the general one decide.
            failure: exception types that are failures whatever the general rule says.
            ignore: exception types that count for neither side.
            failure_if: a predicate on the result; a true answer makes the call a failure although nothing was raised.
            min_items: a stream that ends with fewer items is a failure.
            min_bytes: a stream that ends with fewer bytes is a failure.
            progress: a predicate that tells real items of a stream from keep-alives.
            stream: the calls return streams, connections or context managers, which end later.
            **thresholds: single fields of the policy.

        Raises:
            ConfigurationError: for an impossible value, or another policy than the one given elsewhere.
        """
        rules = Rules.build(
            check_name("name", name),
            classify=classify,
            failure=failure,
            ignore=ignore,
            failure_if=failure_if,
            min_items=min_items,
            min_bytes=min_bytes,
            progress=progress,
        )
        declared = _policy_of(policy, thresholds)
        if declared is not None:
            self._declare(name, declared)
        self._named(name)
        return self._mention(Circuit(name, rules, self._replica, policy=declared, stream=stream))

    # A circuit can be called, as any decorator can; as a provider it stands for its name.
    @overload
    def fallback(self, *providers: str | Circuit) -> Fallback[str]: ...  # type: ignore[overload-overlap]
    @overload
    def fallback(self, *providers: Callable[P, R]) -> Fallback[Callable[P, R]]: ...
    @overload
    def fallback(self, **named: T) -> Fallback[T]: ...
    def fallback(self, *providers: Any, **named: Any) -> Fallback[Any]:
        """Providers in order of preference; a decorator that moves a call to the next one when one is paused or fails.

        Args:
            *providers: names of circuits, circuits, or callables decorated with one.
            **named: clients by the name of their circuit.

        Raises:
            ConfigurationError: without a provider, with one twice, or with something that is none of these.
        """
        return Fallback(providers, named, self.circuit, self._depend, self._order)

    def requires(self, *dependencies: Any) -> Requirement:
        """Dependencies that a function must not run without; a decorator that raises PausedError before it does.

        Args:
            *dependencies: names of circuits, circuits, fallbacks, requirements, or callables decorated with one.

        Raises:
            ConfigurationError: without a dependency, or with something that is none of these.
        """
        return Requirement(dependencies, self.circuit, self._depend, self._needs, self._found)

    # The engine may be another one with each call.

    def _order(self, fallback: str) -> Value | None:
        return self.engine.policies.order(fallback)

    def _needs(self, requirement: str) -> Value | None:
        return self.engine.policies.needs(requirement)

    def _found(self, name: str) -> Gate | Fallback[Any] | None:
        """The fallback of that name, else the circuit; None where it cannot be one."""
        built = self.engine.policies.built("fallback").get(name)
        if isinstance(built, Fallback):
            return built
        try:
            return self.circuit(name)
        except ConfigurationError as error:
            self.engine.policies.report([f"what a requirement is said to need is passed over: {error}"])
            return None

    def wait_until_allowed(
        self, *dependencies: Any, timeout: Duration | None = None, ramp: Duration | None = "30s"
    ) -> None:
        """Waits until work may begin, before a worker locks or fetches any; returns at once while nothing is paused.

        It sleeps, and is woken up when a circuit changes. Like ``requires(...).check()`` it takes one of the few trials
        while a circuit is being tested, for the next call that this thread makes of a function with that requirement.

        Args:
            *dependencies: what the work needs: a function decorated with ``requires``, or what ``requires`` takes.
            timeout: how long it waits, in seconds or as a duration; as long as it takes by default.
            ramp: over how long work begins again after a pause, in seconds or as a duration, over the whole fleet: one
                call returns at once, and with each tenth of it, twice as many have. Never longer than the pause was;
                None lets all of them go at once.

        Raises:
            PausedError: when the timeout is over; it says what is in the way, and for how long.
            ConfigurationError: for an impossible value, or something that is no dependency.
            RuntimeError: when it would have to wait on the thread of an event loop.

        >>> from recloser import PausedError
        >>> from recloser.testing import Sandbox
        >>> box = Sandbox()
        >>> box.wait_until_allowed("twilio")
        >>> box.trip("twilio")
        >>> try:
        ...     box.wait_until_allowed("twilio", timeout=0)
        ... except PausedError as paused:
        ...     print(paused)
        twilio is OPEN by recloser: tripped by a test; retry in 15m
        """
        wait_until_allowed(self._needed(dependencies), *_patience(timeout, ramp))

    async def await_until_allowed(
        self,
        *dependencies: Any,
        timeout: Duration | None = None,  # noqa: ASYNC109 - that of the sync form
        ramp: Duration | None = "30s",
    ) -> None:
        """The same for async code: the task waits, the event loop goes on, and it can be cancelled at any time."""
        await await_until_allowed(self._needed(dependencies), *_patience(timeout, ramp))

    def _needed(self, dependencies: tuple[Any, ...]) -> Requirement:
        if len(dependencies) == 1 and (found := Requirement.of(dependencies[0])) is not None:
            return found
        # Nothing that depends on a circuit, to be shown or told of: it is over before long, and comes again.
        return Requirement(dependencies, self.circuit, _nobody, _nobody, _nobody)

    # Where the default toolkit, which decorators were written for before it was there, does more.

    def _declare(self, name: str, policy: Policy) -> None:
        self.engine.registry.declare(name, policy, caller()[0])
        self.engine.adopt(name)

    def _depend(self, dependent: Dependent) -> None:
        self.engine.registry.depend(dependent)

    def _named(self, name: str) -> None:
        self.engine.registry.mentioned.add(name)

    def _mention(self, circuit: Circuit) -> Circuit:
        self._mentions.add(circuit)
        return circuit

    def _unbind(self) -> None:
        """Has every circuit look for its replica again, since the engine is another."""
        for mention in tuple(self._mentions):
            mention.unbind()

    def _replica(self, gate: Gate) -> Replica:
        return self.engine.replica(gate.name)

    # -- life --------------------------------------------------------------------------------------------------------

    def ready(self, timeout: Duration = "5s") -> bool:
        """Waits for the first word from the fleet and says whether it came; a backend in this process is ready."""
        return self.engine.ready(length("timeout", timeout))

    async def aready(self, timeout: Duration = "5s") -> bool:  # noqa: ASYNC109 - the contract of the design
        """The same for async code."""
        return await in_thread(self.ready, timeout)

    def close(self) -> None:
        """Delivers what is pending and lets go of everything."""
        self.engine.close()

    async def aclose(self) -> None:
        """The same for async code."""
        await in_thread(self.close)

    @overload
    def lifespan(self, inner: None = None, *, timeout: Duration = "5s") -> Lifespan[None]: ...
    @overload
    def lifespan(
        self, inner: Callable[[Any], AbstractAsyncContextManager[T]], *, timeout: Duration = "5s"
    ) -> Lifespan[T]: ...
    def lifespan(
        self, inner: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None, *, timeout: Duration = "5s"
    ) -> Lifespan[Any]:
        """The life of an async application: waits for the fleet as it starts, delivers what is pending as it ends.

        Give it to a framework, as in ``FastAPI(lifespan=recloser.lifespan())``, or enter it with ``async with``, on
        asyncio or trio. When the first word from the fleet does not come in time, the log has
        one warning and the application starts all the same. It ends within two seconds, also when what ran inside
        raised or was cancelled. It can be used again: what comes afterwards begins with a new connection.

        Args:
            inner: the application's own lifespan, a function of the application. It begins after this one and ends
                before it, and what it yields is passed on.
            timeout: how long to wait for the first word, in seconds or such as ``"5s"``.

        Raises:
            ConfigurationError: for an impossible value; and as the application starts, for a server of the wrong sort.

        >>> import asyncio, recloser
        >>> async def main():
        ...     async with recloser.lifespan(timeout="2s"):
        ...         return "calls go here"
        >>> asyncio.run(main())
        'calls go here'
        """
        return Lifespan(inner, partial(self._arrive, length("timeout", timeout)), self._depart, self._alive)

    def _arrive(self, timeout: float) -> None:
        engine = self._open()
        heard = engine.ready(timeout)
        # Where it does not answer at all, the connection has said so; and who closes it meanwhile knows.
        if not heard and not engine.closed and engine.courier.connection.lost_since is None:
            waited = format_duration(timeout)
            _log.warning("no word from the fleet within %s; calls go on with what this process knows", waited)

    def _depart(self) -> None:
        self.close()

    def _open(self) -> Engine:
        """The engine, another one if it was closed."""
        if self._engine.closed:
            self._engine = self._engine.anew()
            self._engine.begin()
            self._unbind()
        return self._engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _policy_of(policy: Policy | None, thresholds: Thresholds) -> Policy | None:
    """The policy that a mention gives: none, a whole one, single fields, or a whole one with fields replaced."""
    if policy is not None and not isinstance(policy, Policy):
        raise ConfigurationError("policy", policy, "a Policy, or thresholds by keyword")
    if not thresholds:
        return policy
    said = {} if policy is None else policy.said()
    return Policy(**{**said, **Policy.checked(dict(thresholds))})


def _nobody(_: object) -> None:
    """Nobody is told, and nothing is said elsewhere."""


def _patience(timeout: Duration | None, ramp: Duration | None) -> tuple[float, float]:
    """Both in seconds."""
    return inf if timeout is None else _span("timeout", timeout), 0.0 if ramp is None else _span("ramp", ramp)


def _span(key: str, value: Duration) -> float:
    return 0.0 if value == 0 else length(key, value)
