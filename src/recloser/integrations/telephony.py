"""Twilio, Plivo and Exotel: which errors are theirs, and which are about one number that cannot be called.

A list of bad numbers must not pause the telephone, and an account that was closed must. HTTP does not tell the two
apart: Twilio refuses a country that the account may not call and an account that is suspended with the same 403. What
decides is the provider's own code, or its words where it has none. No SDK is imported.

Where the codes are from, and what they say:

- Twilio, https://www.twilio.com/docs/api/errors. 21xxx are about one call, message or number: 21211 and 13223 (not a
  number), 21214 and 21217 (cannot be reached), 21215, 13227 and 32205 (geo permissions), 21216 (blocked by Twilio),
  21219 (a trial account, not verified), 21401 and 21614 (not a mobile), 21601 (no SMS), 21610 (unsubscribed), 21612
  (cannot be reached from this number), 13224 (not supported, or invalid). 11xxx to 13xxx are about what the application
  said or failed to say. About the account, and so about every call, are 10001, 10005, 20003, 20005 and 20403; 10004,
  20429 and 86008 are its limits; 21730 is maintenance.
- Plivo, https://docs.plivo.com/docs/voice/troubleshooting/hangup-causes for the codes of calls. Its API answers 403 for
  "geo permissions disabled, account not verified, India calling not enabled"
  (https://docs.plivo.com/docs/voice/api/overview), and its SDK raises ``GeoPermissionError`` for all three: the words
  decide.
- Exotel, https://developer.exotel.com/docs/references/error-codes: 403 is an "account suspended or insufficient
  permissions", and also "Call to ... can not be made because of TRAI NDNC regulations", which is about one number.

A 403 without a known code, and without words about a destination, is a failure.
"""

from __future__ import annotations

import json
import logging
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from recloser.circuit import Circuit
from recloser.core import vocabulary
from recloser.core.classify import kind_of_status, outcome_of
from recloser.core.evidence import as_dict, as_int, as_text, cautious, http_status, is_a, links, read, read_key, told
from recloser.core.outcome import Kind, Outcome
from recloser.core.prose import mentions
from recloser.default import DEFAULT
from recloser.errors import ConfigurationError, PausedError, ProvidersExhaustedError
from recloser.rules import classify
from recloser.toolkit import Recloser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["classify_exotel", "classify_plivo", "classify_twilio", "record_call_status", "refused"]

_log = logging.getLogger("recloser")

# What is said of one call ---------------------------------------------------------------------------------------------

_PLIVO_HANGUPS: Final[Mapping[int, Kind]] = {
    1010: Kind.QUOTA,  # canceled, out of credits
    3080: Kind.SERVER,  # internal server error from carrier: SIP 500
    3090: Kind.SERVER,  # network congestion from carrier: SIP 503
    5000: Kind.SERVER,  # network error
    5010: Kind.SERVER,  # internal error
    5020: Kind.SERVER,  # routing error
    5030: Kind.RATE_LIMIT,  # the account's limit of concurrent calls
}

_TWILIO_CALLS: Final[Mapping[int, Kind]] = {
    32016: Kind.BAD_REQUEST,  # no carrier answered in time: "check the dialed number"
    32101: Kind.BAD_REQUEST,  # not a number
    32205: Kind.BAD_REQUEST,  # geo permissions
    32224: Kind.BAD_REQUEST,  # forwarding there is forbidden
    34002: Kind.BAD_REQUEST,  # the callee is busy
    86008: Kind.RATE_LIMIT,  # the account's limit of concurrent calls
}

# RFC 3261. 5xx are a server's; the other 4xx and 6xx tell of the callee, 403 too: carriers say it of a barred number.
_SIP: Final[Mapping[int, Kind]] = {401: Kind.AUTH, 402: Kind.QUOTA, 407: Kind.AUTH, 504: Kind.TIMEOUT}

_OVER: Final = frozenset({
    "completed", "answered", "busy", "no-answer", "unanswered", "timeout", "rejected", "declined", "machine",
    "canceled", "cancelled", "cancel",
})  # fmt: skip
"""Statuses of a call that the provider has carried out, whatever the callee did with it."""

_UNDERWAY: Final = frozenset({"queued", "scheduled", "initiated", "started", "ringing", "in-progress"})
"""Statuses of a call that is not over; another one follows."""

_FAILED: Final = "failed"


def _by_code(code: int) -> Kind | None:
    """What a code of Twilio (five digits), a hangup cause of Plivo (four, or 0) or an HTTP status is about."""
    for table in (vocabulary.TWILIO, _TWILIO_CALLS, _PLIVO_HANGUPS):
        if code in table:
            return table[code]
    if 400 <= code <= 599:
        return kind_of_status(code)
    about_one_call = code == 0 or 1000 <= code <= 9999 or 11000 <= code <= 13999 or 21000 <= code <= 21999
    return Kind.BAD_REQUEST if about_one_call else None


def _by_sip(code: int) -> Kind | None:
    return _SIP.get(code, Kind.SERVER if 500 <= code <= 599 else None)


# Errors ---------------------------------------------------------------------------------------------------------------


def classify_twilio(error: BaseException) -> Outcome | None:
    """What an error of Twilio counts as by Twilio's own code, or None where it has none that is known.

    For ``circuit("twilio", classify=classify_twilio)``. It reads the exceptions of the SDK, and those of httpx and
    requests whose answer has Twilio's body.

    >>> class TwilioRestException(Exception):
    ...     status, code, uri = 403, 21215, "/2010-04-01/Accounts/AC1/Calls.json"
    >>> print(classify_twilio(TwilioRestException()))
    ignored (bad_request, 403)
    """
    return _judged(error, _of_twilio)


def classify_plivo(error: BaseException) -> Outcome | None:
    """What an error of Plivo counts as by the class that its SDK gave it, or None where it is not one of these.

    For ``circuit("plivo", classify=classify_plivo)``. The exceptions of the SDK have no status, and the general rule
    knows nothing of them; of httpx and requests it reads a 403, and leaves the rest to that rule.
    """
    return _judged(error, _of_plivo)


def classify_exotel(error: BaseException) -> Outcome | None:
    """What an error of Exotel counts as: a 403 that is about one number is ignored; None for the general rule.

    For ``circuit("exotel", classify=classify_exotel)`` around a function that calls ``raise_for_status()`` of httpx or
    requests.
    """
    return _judged(error, _of_number)


def refused(response: object) -> bool:
    """Whether a response that was returned, and not raised, tells of the provider's trouble; for ``failure_if=``.

    It judges as the three rules do, by status and body of a response of httpx or requests, by the status alone of one
    of aiohttp. ``raise_for_status()`` says more: the kind of trouble, and how long the provider asked to be left alone.

    >>> class Response:
    ...     status_code = 403
    ...     _content = b'{"RestException": {"Status": 403, "Message": "Your account is not yet KYC compliant"}}'
    >>> refused(Response())
    True
    """
    error = _AnsweredError(response)
    if http_status(error) is None:
        return False
    known = _judged(error, lambda each: _of_twilio(each) or _of_number(each))
    return (known or classify(error)).is_failure


class _AnsweredError(Exception):
    """Stands for the exception that a client did not raise."""

    def __init__(self, response: object) -> None:
        super().__init__()
        self.response = response


def _judged(error: BaseException, rule: Callable[[BaseException], Kind | None]) -> Outcome | None:
    """By the error itself, else by those that it names as its reason, as a library that tries again does."""
    for each in _reasons(error):
        kind = rule(each)
        if kind is not None:
            found = classify(each)
            return outcome_of(kind, found.status or _plivo_status(each), found.retry_after)
    return None


def _reasons(error: BaseException) -> Iterator[BaseException]:
    # What was cancelled, or not let through further in, says nothing whatever it came from.
    if not is_a(error, Exception) or is_a(error, PausedError) or is_a(error, ProvidersExhaustedError):
        return
    yield error
    yield from (link for link, named in links(error) if named)


def _of_twilio(error: BaseException) -> Kind | None:
    status = http_status(error)
    if status is None or status >= 500:
        return None
    code = as_int(read(error, "code")) or as_int(_body(error).get("code"))
    return None if code is None or code == status else _by_code(code)


_PLIVO_STATUSES: Final[Mapping[str, int]] = {
    "ValidationError": 400,
    "AuthenticationError": 401,
    "ForbiddenError": 403,
    "GeoPermissionError": 403,
    "ResourceNotFoundError": 404,
    "InvalidRequestError": 422,  # or 405, or 409
    "PlivoServerError": 500,
}

# The rest is "Received status code 429 for the HTTP method" ... in a bare PlivoRestError.
_PLIVO_RECEIVED: Final = re.compile(r"Received status code ([45]\d\d)\b")


def _plivo_status(error: BaseException) -> int | None:
    """The status that plivo's exception stands for; they carry nothing but a text."""
    names = [cls.__name__ for cls in type(error).__mro__]
    if "PlivoRestError" not in names:
        return None
    known = next((_PLIVO_STATUSES[name] for name in names if name in _PLIVO_STATUSES), None)
    said = _PLIVO_RECEIVED.match(as_text(next(iter(error.args), None)) or "")
    return known or (int(said[1]) if said else None)


def _of_plivo(error: BaseException) -> Kind | None:
    status = _plivo_status(error)
    if status is None:
        return _of_number(error)
    if status == 400 and mentions(told(error)[1], vocabulary.QUOTA_PHRASES):
        return Kind.QUOTA
    return _of_number(error, status) or kind_of_status(status)


# Words of a 403 that is about where a call was to go, as whole words in lower case.
_DESTINATION: Final = (" ndnc ", " dnd ", " ncpr ", " geo ", " country ", " destination ", " region ", " premium ")


def _of_number(error: BaseException, status: int | None = None) -> Kind | None:
    """A bad request, if the provider forbids to call this number and not to call."""
    forbidden = (status or http_status(error)) == 403
    return Kind.BAD_REQUEST if forbidden and mentions(told(error)[1], _DESTINATION) else None


def _body(error: BaseException) -> dict[Any, Any]:
    """The JSON that an exception of httpx or requests carries, as far as it has been read."""
    return _parsed(read_key(read(read(error, "response"), "__dict__"), "_content")) or {}


@cautious
def _parsed(content: object) -> dict[Any, Any] | None:
    return as_dict(json.loads(content)) if is_a(content, bytes) and len(content) < 100_000 else None


# Status callbacks -----------------------------------------------------------------------------------------------------


def record_call_status(
    circuit: Circuit | str,
    status: str,
    *,
    sip_code: int | str | None = None,
    error_code: int | str | None = None,
    once: str | None = None,
    recloser: Recloser | None = None,
) -> Outcome | None:
    """Counts what a provider says later of a call that it had accepted: the fields of its status callback.

    A call that was answered, busy, not answered, rejected or canceled is a success: the provider has done its work. One
    that failed is ignored, since that is most likely the number, unless a code says that the trouble is the provider's:
    ``error_code`` of the account or of its servers, ``sip_code`` 5xx, 401, 402 or 407. Such an ``error_code`` counts
    with any status. A status on the way to another one counts for nothing, and so does one that is not known, of which
    the log is told once.

    Give it a circuit of its own, not that of the API: a call that was placed before the API broke may well end in the
    middle of the outage, and its success would be taken for a recovery.

    Args:
        circuit: the circuit, or its name.
        status: ``CallStatus`` of Twilio and Plivo, ``Status`` of Exotel.
        sip_code: ``SipResponseCode`` of Twilio.
        error_code: ``ErrorCode`` of Twilio, ``HangupCauseCode`` of Plivo.
        once: the call's id; of one call that is told of twice, at most one failure counts in a window.
        recloser: the toolkit whose circuit is meant by its name; the default one without it.

    Returns:
        What was counted, or None.

    Raises:
        ConfigurationError: for an argument of the wrong type, naming it and what is allowed.

    >>> print(record_call_status("twilio-calls", "busy", sip_code="486", once="CA17"))
    success
    >>> print(record_call_status("twilio-calls", "failed", sip_code="503", once="CA18"))
    failure (server, 503)
    """
    mention = _circuit(circuit, recloser)
    if not isinstance(status, str):
        raise ConfigurationError("status", status, 'a text such as "completed"')
    if once is not None and (not isinstance(once, str) or not once):
        raise ConfigurationError("once", once, "a text that is not empty, or None")
    sip, code = _number("sip_code", sip_code), _number("error_code", error_code)
    outcome = _of_status(mention.name, status.strip().lower().replace("_", "-").replace(" ", "-"), sip, code)
    if outcome is not None:
        codes = {"SIP": sip, "error": code}
        told_of = [f"{name} {number}" for name, number in codes.items() if number is not None]
        context = {"status": status, "call": once}
        mention.bound.report(outcome, f"a call {', '.join(['failed', *told_of])}", once=once, context=context)
    return outcome


def _circuit(circuit: object, recloser: object) -> Circuit:
    if recloser is not None and not isinstance(recloser, Recloser):
        raise ConfigurationError("recloser", recloser, "a Recloser, or None for the default one")
    if isinstance(circuit, str):
        return (recloser or DEFAULT).circuit(circuit)
    if not isinstance(circuit, Circuit):
        raise ConfigurationError("circuit", circuit, "a Circuit, or the name of one")
    if recloser is not None:
        raise ConfigurationError("recloser", recloser, "only with the name of a circuit: a Circuit has its own")
    return circuit


def _number(key: str, value: object) -> int | None:
    """The code as a number; None for a text that is none, which came over the wire."""
    if isinstance(value, bool) or not isinstance(value, int | str | None):
        raise ConfigurationError(key, value, "a whole number, as a number or a text, or None")
    if isinstance(value, str):
        value = value.strip()
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 9 else None
    return value


def _of_status(name: str, status: str, sip: int | None, code: int | None) -> Outcome | None:
    kind = None if code is None else _by_code(code)
    if kind is not None and outcome_of(kind).is_failure:
        return outcome_of(kind)
    if status in _OVER:
        return Outcome.SUCCESS
    if status == _FAILED:
        # Twilio: "most likely because the phone number was non-existent". A code about the call outranks SIP's.
        own = _by_sip(sip) if kind is None and sip is not None else None
        return outcome_of(Kind.BAD_REQUEST) if own is None else outcome_of(own, sip)
    if status not in _UNDERWAY:
        _tell_once(name, status[:40])
    return None


@lru_cache(maxsize=256)
def _tell_once(name: str, status: str) -> None:
    """Remembers the last few hundred: a status comes over the wire, and may be anything."""
    known = ", ".join(sorted({*_OVER, *_UNDERWAY, _FAILED}))
    _log.warning("%s: the call status %r is not known and counts for nothing; known are %s", name, status, known)
