"""Which circuit an object of a framework belongs to: a service of a pipeline, a plugin of an agent."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from recloser.circuit import Circuit
from recloser.core.policy import check_name
from recloser.default import DEFAULT
from recloser.errors import ConfigurationError
from recloser.toolkit import Recloser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Attribution", "Names"]

Names = Mapping[Any, "str | Circuit"]
"""A class, its name, or one object of it, to its circuit or the circuit's name."""

_log = logging.getLogger(__name__)

_LIKE, _VERY_LIKE = 0.6, 0.85
"""How much a name has to be like another to be taken for it."""

_said: set[tuple[str, str]] = set()
"""What this process has said already, by framework and name: every call would say it again."""
_saying = Lock()


class Attribution:
    """Finds the circuit of an object: by the rules file's ``[names]``, then by ``names``, then by what it is made of.

    Each of the two maps is asked for the object itself, then for its classes from the most derived up, by the class,
    by its qualified name (``"pipecat.services.elevenlabs.tts.ElevenLabsTTSService"``) and by its bare name.

    Args:
        framework: its name, for people.
        recloser: the toolkit whose circuits are meant; None for the default one.
        names: what the application says.
        guess: the name of the circuit for an object that nobody named; None when it has none.

    Raises:
        ConfigurationError: for a toolkit that is none, and for a name of a circuit that cannot be one.
    """

    toolkit: Recloser

    def __init__(
        self,
        framework: str,
        recloser: Recloser | None,
        names: Names | None,
        guess: Callable[[object], str | None],
    ) -> None:
        if recloser is not None and not isinstance(recloser, Recloser):
            raise ConfigurationError("recloser", recloser, "a Recloser, or None for the default one")
        self._framework = framework
        self.toolkit = DEFAULT if recloser is None else recloser
        self._names = _checked(names)
        self._guess = guess

    def circuit(self, thing: object) -> Circuit | None:
        """The circuit that outcomes of ``thing`` belong to; None when nobody knows one."""
        name = _named(self.toolkit.names, thing) or _named(self._names, thing) or self._guess(thing)
        return self.toolkit.circuit(name) if isinstance(name, str) else name

    def check(self, known: Iterable[type]) -> None:
        """Says of each class that a map has by its name, and that is not among those ``known``, that it is not.

        The rules file may speak of other frameworks, too: of its classes, only what looks like a slip is said.
        """
        mine = {name: _LIKE for name in self._names if isinstance(name, str)}
        said = {**dict.fromkeys(self.toolkit.names, _VERY_LIKE), **mine}
        there = {name for cls in known for name in _names_of(cls)} if said else set()
        for name, cutoff in said.items():
            if name in there or not self._new(name):
                continue
            near = difflib.get_close_matches(name, there, 1, cutoff)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            if near or name in mine:
                _log.warning("names has %r, which is no class of %s that is loaded%s", name, self._framework, meant)

    def unknown(self, thing: object, error: object) -> None:
        """Says of the class of ``thing``, once in a process, that its errors count for no circuit."""
        cls = type(thing).__name__
        if self._new(cls):
            _log.warning(
                "what %s of %s reports counts for no circuit: %s; names={%r: ...}, or [names] in the rules file, says "
                "for which",
                cls,
                self._framework,
                error,
                cls,
            )

    def _new(self, name: str) -> bool:
        """Whether nothing has been said of ``name`` yet; something is now."""
        with _saying:
            before = (self._framework, name) in _said
            _said.add((self._framework, name))
        return not before


def _checked(names: Names | None) -> dict[Any, str | Circuit]:
    if names is None:
        return {}
    if not isinstance(names, Mapping):
        raise ConfigurationError("names", names, "a mapping of classes, their names or objects to circuits")
    for key, circuit in names.items():
        if not isinstance(circuit, Circuit):
            check_name(f"names[{key!r}]", circuit)
    return dict(names)


def _named(names: Mapping[Any, Any], thing: object) -> Any:
    # By identity: objects of a framework may compare, or hash, as they please.
    for key, circuit in names.items():
        if key is thing:
            return circuit
    for cls in type(thing).__mro__:
        for name in (cls, *_names_of(cls)):
            if name in names:
                return names[name]
    return None


def _names_of(cls: type) -> tuple[str, str]:
    return f"{cls.__module__}.{cls.__qualname__}", cls.__name__
