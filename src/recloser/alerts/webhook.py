"""The hook that posts alerts to an address of yours, as JSON, signed.

The body is :meth:`Alert.as_dict() <recloser.alerts.Alert.as_dict>`. With a secret, the header ``Recloser-Signature`` is
``t=UNIX,v1=HEX``, where HEX is the HMAC-SHA256 of ``"UNIX."`` and the body; a receiver that also looks at the time is
safe from a message that somebody sends again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from recloser.alerts.postman import DeliveryError, RetryLaterError
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.alerts.hooks import Hook, HookSettings
    from recloser.core.alert import Alert

__all__ = ["Webhook", "factory", "http_address", "retry_after", "sign"]

_TIMEOUT = 8.0
_BUSY = (429, 503)


def factory(settings: HookSettings) -> Hook | None:
    """The hook for ``RECLOSER_WEBHOOK_URL``, signed when there is a ``RECLOSER_WEBHOOK_SECRET``.

    Raises:
        ConfigurationError: for an address that is none.
    """
    url = settings.get("RECLOSER_WEBHOOK_URL")
    if not url:
        return None
    return Webhook(http_address("RECLOSER_WEBHOOK_URL", url), settings.get("RECLOSER_WEBHOOK_SECRET"))


factory.needs = "RECLOSER_WEBHOOK_URL"  # type: ignore[attr-defined]  # see hooks.find


def http_address(key: str, url: str) -> str:
    """``url``, if it is an address of HTTP.

    Raises:
        ConfigurationError: if not; it shows no more than the scheme, since there may be a secret in the rest.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(mark.isspace() for mark in url):
        scheme, mark, _ = url.partition("://")
        shown = f"{scheme}://***" if mark and scheme.isalnum() else "***"
        raise ConfigurationError(key, shown, "an address that begins with https:// or http://, and has a host")
    return url


def sign(body: bytes, secret: str, unix: int) -> str:
    """The value of the header ``Recloser-Signature``."""
    mac = hmac.new(secret.encode(), f"{unix}.".encode() + body, hashlib.sha256)
    return f"t={unix},v1={mac.hexdigest()}"


class _Stays(HTTPRedirectHandler):
    """Follows nobody: the secret of an address is for that address."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class Webhook:
    """Posts one alert.

    Args:
        url: where to.
        secret: to sign with; empty for no signature.
    """

    def __init__(self, url: str, secret: str = "") -> None:
        self._url = url
        self._secret = secret
        self._open = build_opener(_Stays).open

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {urlsplit(self._url).hostname}>"

    def __call__(self, alert: Alert) -> None:
        """Posts it.

        Raises:
            RetryLaterError: when the receiver says when it wants it.
            DeliveryError: when it does not take it.
        """
        body = json.dumps(alert.as_dict(), separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "recloser",
            "Recloser-Incident": alert.incident,
            "Recloser-Step": str(alert.step),
        }
        if self._secret:
            headers["Recloser-Signature"] = sign(body, self._secret, int(time.time()))
        request = Request(self._url, body, {name: _header(value) for name, value in headers.items()})  # noqa: S310 - looked at when it was given
        try:
            with self._open(request, timeout=_TIMEOUT):
                return
        except HTTPError as error:
            with error:
                status, wait = error.code, retry_after(dict(error.headers))
            said = f"{urlsplit(self._url).hostname} answers {status}"
            if status in _BUSY and wait is not None:
                raise RetryLaterError(said, wait) from None
        except (URLError, HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            said = f"{urlsplit(self._url).hostname} cannot be reached: {reason}"
        raise DeliveryError(said)


def _header(value: str) -> str:
    return value.encode("ascii", "replace").decode()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``Retry-After`` asks for; None when it says nothing that can be read."""
    said = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
