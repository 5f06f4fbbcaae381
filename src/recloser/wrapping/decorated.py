"""The objects that stand in for what was decorated, indistinguishable from it but for going through the gate."""

from __future__ import annotations

import copy
import functools
import inspect
from enum import Enum, auto
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import wrapt

from recloser.errors import ConfigurationError
from recloser.gate import Gate
from recloser.wrapping.calls import async_call, sync_call
from recloser.wrapping.streams import async_generator_call, generator_call

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Kind", "decorate", "gate_of", "is_async", "kind_of", "passage", "stand_in"]


def decorate(gate: Gate, function: Any) -> Any:
    """``function`` behind ``gate``, whatever callable it is.

    Raises:
        ConfigurationError: when it cannot be called.
    """
    if isinstance(function, classmethod | staticmethod):
        return type(function)(decorate(gate, function.__func__))
    return stand_in(function, passage(gate, function), gate)


def stand_in(function: Any, call: Callable[..., Any], gate: object, **more: Any) -> Any:
    """An object that looks like ``function`` in every way, but for the attributes in ``more``, and calls ``call``."""
    if not callable(function):
        raise ConfigurationError("function", function, "something that can be called")
    base: type = _Function if isinstance(function, FunctionType) else _Callable
    if (
        base is _Callable
        and hasattr(type(function), "__get__")
        and not isinstance(function, MethodType | _StandIn | functools.partial | type)
    ):
        base = _Bindable
    # One class for each: a staticmethod in the class is called without a look at the instance, which is what makes
    # wrapt's own FunctionWrapper three times as slow (it asks the function for __self__, and catches the
    # AttributeError).
    cls = type(str(type(function).__name__), (base,), {"__call__": staticmethod(call), "__slots__": (), **more})
    return cls(function, gate)


def gate_of(function: object) -> Any:
    """What ``function`` was decorated with; None when it was not."""
    # The stand-in for a bound method passes for one itself.
    if not issubclass(type(function), _StandIn) and isinstance(function, MethodType):
        function = function.__func__
    return function._self_gate if isinstance(function, _StandIn) else None


class Kind(Enum):
    """How a callable answers, as far as can be told before it is called."""

    RETURNS = auto()
    AWAITED = auto()
    GENERATES = auto()
    GENERATES_ASYNC = auto()


def kind_of(function: Any) -> Kind:
    """What ``function`` says of itself; about a plain function, only what it returns can tell."""
    inside = _inside(function)
    if inspect.isasyncgenfunction(inside):
        return Kind.GENERATES_ASYNC
    if inspect.isgeneratorfunction(inside):
        # types.coroutine makes of a generator function something to await; what it returns will tell.
        return Kind.RETURNS if inside.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE else Kind.GENERATES
    return Kind.AWAITED if inspect.iscoroutinefunction(inside) else Kind.RETURNS


_PASSAGES: dict[Kind, Callable[[Gate, Any], Callable[..., Any]]] = {
    Kind.RETURNS: sync_call,
    Kind.AWAITED: async_call,
    Kind.GENERATES: generator_call,
    Kind.GENERATES_ASYNC: async_generator_call,
}


def passage(gate: Gate, function: Any) -> Callable[..., Any]:
    """The way of calling ``function`` through ``gate`` that fits its kind."""
    return _PASSAGES[kind_of(function)](gate, function)


def is_async(function: Any) -> bool | None:
    """Whether calling ``function`` gives something asynchronous; None when only its result can tell."""
    kind = _inside(function)
    for each in (kind, inspect.unwrap(kind) if callable(kind) else kind):
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            return True
    return False if isinstance(kind, FunctionType) and kind.__name__ != "<lambda>" else None


def _inside(function: Any) -> Any:
    """The function that runs in the end: inside partials, bound methods and objects with ``__call__``."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType | classmethod | staticmethod):
            function = function.__func__
        elif isinstance(function, FunctionType | type) or not hasattr(type(function), "__call__"):  # noqa: B004 - the class's
            return function
        else:
            called = type(function).__call__
            if not isinstance(called, FunctionType):
                return function
            function = called


class _StandIn(wrapt.BaseObjectProxy[Any]):
    """What both kinds have in common."""

    __slots__ = ()

    # No annotations at class level: they would stand in for those of the function.
    def __init__(self, wrapped: Any, gate: object) -> None:
        super().__init__(wrapped)
        self._self_gate = gate


class _Function(_StandIn):
    """Stands in for a function: binds to instances and is pickled by name, as functions are."""

    __slots__ = ()

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)  # type: ignore[arg-type]  # it can be called

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __reduce_ex__(self, protocol: Any) -> str:
        return str(self.__qualname__)


class _Callable(_StandIn):
    """Stands in for any other callable."""

    __slots__ = ()

    def __copy__(self) -> Any:
        return self._self_again(copy.copy(self.__wrapped__))

    def __deepcopy__(self, memo: Any) -> Any:
        return self._self_again(copy.deepcopy(self.__wrapped__, memo))

    def _self_again(self, wrapped: Any) -> Any:
        return decorate(self._self_gate, wrapped) if isinstance(self._self_gate, Gate) else self

    def __reduce_ex__(self, protocol: Any) -> Any:
        msg = f"{self.__wrapped__!r} cannot be pickled with its circuit; decorate a function of a module instead"
        raise TypeError(msg)


class _Bindable(_Callable):
    """Stands in for a callable that binds to instances as functions do, without being one (``lru_cache``, Cython)."""

    __slots__ = ()

    __get__ = _Function.__get__
