"""Alerts: people hear of an outage once, with what to do, and hear when it is over.

An event of a circuit belongs to an incident, and what there is to say about incidents is written into the outbox of the
fleet, once, by whichever process is first (``recloser.alerts.editor``). Each hook takes alerts from there, in one
process at a time (``recloser.alerts.postman``).

A hook is a function that takes one :class:`Alert`. Installed packages register factories of hooks in the entry-point
group ``recloser.alerts``: a function that is given a :class:`HookSettings` and returns the hook, or None when it is not
configured.
"""

from __future__ import annotations

from recloser.alerts.hooks import GROUP, Hook, HookSettings
from recloser.alerts.postman import DeliveryError, RetryLaterError
from recloser.core.alert import Alert, Severity, Step

__all__ = ["GROUP", "Alert", "DeliveryError", "Hook", "HookSettings", "RetryLaterError", "Severity", "Step"]
