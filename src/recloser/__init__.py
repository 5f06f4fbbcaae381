"""Keeps applications working when the providers they depend on go down."""

from recloser.core.machine import State
from recloser.core.outcome import Outcome
from recloser.core.policy import Policy
from recloser.default import (
    await_until_allowed,
    circuit,
    configure,
    explain,
    fallback,
    lifespan,
    pause,
    requires,
    resume,
    status,
    wait_until_allowed,
)
from recloser.errors import BackendError, ConfigurationError, PausedError, ProvidersExhaustedError, RecloserError
from recloser.rules import classify
from recloser.toolkit import Recloser

__all__ = [
    "BackendError",
    "ConfigurationError",
    "Outcome",
    "PausedError",
    "Policy",
    "ProvidersExhaustedError",
    "Recloser",
    "RecloserError",
    "State",
    "await_until_allowed",
    "circuit",
    "classify",
    "configure",
    "explain",
    "fallback",
    "lifespan",
    "pause",
    "requires",
    "resume",
    "status",
    "wait_until_allowed",
]
