"""The hook that writes alerts to the log: the logger ``recloser.alerts``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from recloser.core.alert import Severity

if TYPE_CHECKING:
    from recloser.alerts.hooks import Hook, HookSettings
    from recloser.core.alert import Alert

__all__ = ["factory"]

_log = logging.getLogger("recloser.alerts")
_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}


def factory(_settings: HookSettings) -> Hook:
    """It needs nothing, and is always there."""
    return tell


def tell(alert: Alert) -> None:
    """One record: the title, and the rest in lines below it."""
    text = alert.text.replace("\n", "\n    ")
    _log.log(_LEVELS[alert.severity], "%s%s", alert.title, f"\n    {text}" if text else "", extra={"alert": alert})


tell.quick = True  # type: ignore[attr-defined]  # it needs no thread of its own, see Postman
