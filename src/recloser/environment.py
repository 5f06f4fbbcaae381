"""The layer of settings that the environment says.

=============================  =========================================================================
``RECLOSER_COOLDOWN``          the default cooldown, ``"15m"``
``RECLOSER_POLICY``            defaults of all circuits, ``"failures=5 window=2m"``
``RECLOSER_POLICY_NAME``       the same of one circuit; in NAME, whatever is no letter or digit is ``_``
``RECLOSER_ORDER_NAME``        the providers of a fallback that take part, in order, ``"cartesia,elevenlabs"``
=============================  =========================================================================

``RECLOSER_MODE`` is read by :mod:`recloser.settings`, since ``configure`` may say otherwise.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from recloser.core.sheet import Sheet, Value, check
from recloser.core.spoken import assignments
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from recloser.core.sheet import Path

__all__ = ["environment"]

_COOLDOWN, _POLICY, _ORDER = "RECLOSER_COOLDOWN", "RECLOSER_POLICY", "RECLOSER_ORDER_"


def environment(variables: Mapping[str, str] = os.environ) -> Sheet:
    """What the environment says.

    Raises:
        ConfigurationError: for an impossible value, naming its variable.
    """
    values: dict[Path, Value] = {}
    for variable in sorted(variables):
        for path, said in _said(variable, variables[variable].strip()):
            try:
                values[path] = Value(check(path, said), variable)
            except ConfigurationError as error:
                key = variable if variable in {_COOLDOWN, error.key} else f"{variable}: {path[-1]}"
                raise ConfigurationError(key, said, error.allowed) from None
    return Sheet(values, _spelt)


def _said(variable: str, text: str) -> Iterator[tuple[Path, object]]:
    if not text:
        return
    if variable == _COOLDOWN:
        yield ("defaults", "cooldown"), assignments([f"cooldown={text}"])["cooldown"]
    elif variable.startswith(_ORDER):
        yield ("fallbacks", _spelt(variable[len(_ORDER) :]), "order"), assignments([f"order={text}"])["order"]
    elif variable == _POLICY or variable.startswith(f"{_POLICY}_"):
        of = variable[len(_POLICY) + 1 :]
        for name, said in assignments(text.replace(", ", " ").split(), variable).items():
            yield (("circuits", _spelt(of), name) if of else ("defaults", name)), said


def _spelt(name: str) -> str:
    """A name as it is spelt in a variable."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())
