"""What an exception says about the provider: the default rule of every circuit.

Exceptions are read by their shape ("duck-typed"), never by their class, so that no SDK is imported and a fork, an
older release or a hand-written client of the same shape is understood too. Verdicts follow from kinds: a bad request, a
bug and a cancellation are ignored, everything else, the unknown included, is a failure.

What cannot be told apart from the outside, and needs ``classify=``, ``ignore=`` or ``failure_if=`` of the user:

- exceptions of the *application* that look like those of an SDK: ``OrderNotFound.status = 404`` counts as the
  provider's 404 would (ignored), a web framework's ``HTTPException(503)`` as a failure. Wrap the narrowest call.
- providers that report errors without raising (azure speech, Slack webhooks, bare httpx and aiohttp responses; openai,
  anthropic and groq return a page of HTML with status 200 as a str).
- a 4xxx close code of a websocket, unless it is written like HTTP (4401, 4429): each provider has its own list.
- an exception of the application's own that does not name its reason (``raise SpeechError() from error``).
- a 404 for a model that was withdrawn: ignored like every 404, although nobody can use it any more.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from recloser.core import vocabulary
from recloser.core.evidence import (
    as_dict,
    as_int,
    as_text,
    cautious,
    grpc_status,
    http_status,
    is_a,
    leaves,
    links,
    read,
    read_key,
    spelled,
    succeeded,
    told,
    words,
    words_in,
)
from recloser.core.outcome import Kind, Outcome, Verdict
from recloser.core.prose import close_code_in, known, mentions, plain_kind, prose_kind, refined, status_in
from recloser.core.retry_after import retry_after
from recloser.errors import PausedError, ProvidersExhaustedError

__all__ = ["classify", "classify_text", "kind_of_status", "outcome_of"]

IGNORED_KINDS: Final = frozenset({Kind.BAD_REQUEST, Kind.BUG, Kind.CANCELLED})

BUGS: Final = (TypeError, AttributeError, NameError, ImportError, AssertionError)

_OFTEN_INEXACT: Final = frozenset({400, 401, 403, 429})
"""Statuses whose answers have to be read: ElevenLabs says 401 and Anthropic 400 when the credit is used up."""

_MAY_ASK: Final = frozenset({Kind.RATE_LIMIT, Kind.QUOTA, Kind.SERVER, Kind.UNKNOWN})
"""Kinds that may come with a Retry-After even without an HTTP status (gRPC)."""


def classify(error: BaseException, *, now: float) -> Outcome:
    """What ``error`` counts as, with its kind, HTTP status and Retry-After as far as it tells.

    Never raises and never imports an SDK, whatever the exception is; see the module for what it cannot know.

    Args:
        error: what the call raised.
        now: Unix time in seconds; turns a Retry-After that is a date into seconds.

    >>> classify(TimeoutError(), now=0.0)
    Outcome(verdict=<Verdict.FAILURE: 'failure'>, kind=<Kind.TIMEOUT: 'timeout'>, status=None, retry_after=None)
    >>> print(classify(ValueError("who knows"), now=0.0), classify(TypeError(), now=0.0), sep=", ")
    failure (unknown), ignored (bug)
    """
    cls = type(error)
    # Storms are made of the same few errors, and one of Python's own that is only words says the same each time.
    if (
        cls in _WORDS_ONLY
        and error.__cause__ is error.__context__ is None
        and not error.__dict__
        and all(type(each) is str for each in error.args)
    ):
        return _of_words(cls, error.args)
    return (_of_group(error, now) if is_a(error, BaseExceptionGroup) else _of_one(error, now)) or outcome_of(
        Kind.UNKNOWN
    )


_WORDS_ONLY: Final = frozenset({ValueError, RuntimeError, TimeoutError, ConnectionError, TypeError, AttributeError})


@lru_cache(maxsize=256)
def _of_words(cls: type[Exception], args: tuple[str, ...]) -> Outcome:
    return _of_one(cls(*args), 0.0) or outcome_of(Kind.UNKNOWN)


@cautious
def _of_group(group: BaseException, now: float) -> Outcome | None:
    """The first failure; without one, the first that is not a cancellation; without one, a cancellation."""
    # In a group one real failure is commonly accompanied by the cancellations of its siblings.
    best: Outcome | None = None
    for error in leaves(group):
        outcome = _of_one(error, now) or outcome_of(Kind.UNKNOWN)
        if outcome.is_failure:
            return outcome
        if best is None or best.kind is Kind.CANCELLED:
            best = outcome
    return best


@cautious
def _of_one(error: BaseException, now: float) -> Outcome:
    """By the exception's own evidence, then by those it was made of, then by its text."""
    if is_a(error, ProvidersExhaustedError):
        return _exhausted(error, now)
    own = _own(error, now)
    if own is not None and own.kind is not Kind.CONNECTION:
        return own
    for link, named in links(error):
        found = _own(link, now)
        if found is None or not _passes_on(found, named=named):
            continue
        if own is None:
            return found
        # SDKs wrap whatever happened on the way as a connection error: what it was is more exact.
        if named and (found.kind is Kind.TIMEOUT or found is Outcome.IGNORED):
            return found
    return own or outcome_of(prose_kind(told(error)[1]) or Kind.UNKNOWN, wait=retry_after(error, now))


def _exhausted(error: ProvidersExhaustedError, now: float) -> Outcome:
    """A fallback further in has failed: by its last provider that did."""
    for link, _named in links(error):
        found = _own(link, now)
        if found is not None and found.is_failure:
            return found
    return outcome_of(Kind.UNKNOWN)


def _passes_on(found: Outcome, *, named: bool) -> bool:
    """Whether the outcome of a link says something about the exception it led to."""
    # A bug behind an unknown error may be an SDK stumbling over a broken answer. And what merely was being handled may
    # be another provider's (`except PausedError: call_the_next_one()`): it can tell a kind, but excuse nothing.
    return found.kind is not Kind.BUG if named else found.is_failure


@cautious
def _own(error: BaseException, now: float) -> Outcome | None:
    """What the exception itself tells, or None."""
    if not is_a(error, Exception):
        return outcome_of(Kind.CANCELLED)
    if is_a(error, PausedError):
        return Outcome.IGNORED
    kind = _by_nature(error) or _by_close_frame(error)
    if kind is not None:
        return outcome_of(kind)
    status = http_status(error)
    # The sharper evidence first: gRPC, AWS and Twilio say more than HTTP, HTTP says more than a class name.
    kind = (
        _by_grpc(error)
        or _by_aws(error)
        or _by_http(error, status)
        or _by_wrapped_close_code(error)
        or _by_words(error)
        or _by_name(error)
        or _by_success(error)
    )
    if kind is None:
        return None
    return outcome_of(kind, status, retry_after(error, now) if status is not None or kind in _MAY_ASK else None)


def outcome_of(kind: Kind, status: int | None = None, wait: float | None = None) -> Outcome:
    """What a kind of trouble counts as."""
    return Outcome(Verdict.IGNORED if kind in IGNORED_KINDS else Verdict.FAILURE, kind, status, wait)


# What tells before anything is read that may warn -------------------------------------------------------------------


def _by_nature(error: BaseException) -> Kind | None:
    """Cancellations that are Exceptions, and bugs."""
    for cls in type(error).__mro__:
        if cls.__name__ in vocabulary.CANCELLED_NAMES:
            return Kind.CANCELLED
    if not issubclass(type(error), BUGS):
        return None
    # aiohttp's receive_str() raises a TypeError when it meets a close frame: no bug of the application.
    return (_by_aiohttp_frame(error) if type(error).__name__ == "WSMessageTypeError" else None) or Kind.BUG


_AIOHTTP_FRAME: Final = re.compile(r"Received message (\d+):(\d*)")


def _by_aiohttp_frame(error: BaseException) -> Kind | None:
    """``Received message 8:1011 is not WSMsgType.TEXT``: the opcode of the frame and what it brought."""
    said = _AIOHTTP_FRAME.match(as_text(next(iter(error.args), None)) or "")
    if said is None or said[1] in {"1", "2"}:  # text where the application expected bytes, or the reverse
        return None
    return _by_close_code(int(said[2]), "") if said[1] == "8" and said[2] else Kind.CONNECTION


def _by_close_frame(error: BaseException) -> Kind | None:
    """``ConnectionClosed`` of websockets, by who closed first and why."""
    fields = as_dict(read(error, "__dict__"))
    if not fields or "rcvd" not in fields or "sent" not in fields:
        return None
    received, sent = fields["rcvd"], fields["sent"]
    if sent is not None and (received is None or read(error, "rcvd_then_sent") is False):
        return _closed_by_us(as_int(read(sent, "code")), as_text(read(sent, "reason")) or "")
    kind = _by_close_code(as_int(read(received, "code")), as_text(read(received, "reason")) or "")
    return kind or Kind.CONNECTION  # lost without a close frame


def _closed_by_us(code: int | None, reason: str) -> Kind:
    if "ping timeout" in reason:
        return Kind.TIMEOUT  # the provider no longer answers keepalive pings
    return vocabulary.OWN_CLOSE_CODES.get(code or 0, Kind.CANCELLED)


def _by_close_code(code: int | None, reason: str) -> Kind | None:
    """The kind of a close frame that the provider sent; its reason is more exact than its code."""
    if code is None or not (1000 <= code <= 1015 or 4000 <= code <= 4999):
        return None
    if reason:
        kinds = known(words_in(reason))
        exact = kinds[0] if kinds else prose_kind(spelled([reason]))
        if exact is not None:
            return exact
    if 4400 <= code <= 4599:
        # Private codes: each provider has its own, but 4401 for 401 is a common habit.
        return kind_of_status(code - 4000)
    return vocabulary.CLOSE_CODES.get(code, Kind.UNKNOWN)


# The rules, each None if it does not apply --------------------------------------------------------------------------


def _by_grpc(error: BaseException) -> Kind | None:
    kind = vocabulary.GRPC.get(grpc_status(error) or "")
    if kind is Kind.SERVER and mentions(told(error)[1], vocabulary.CONNECT_PHRASES):
        return Kind.CONNECTION  # UNAVAILABLE is said by a server and by a channel that reaches none
    return kind and refined(kind, *told(error))


def _by_aws(error: BaseException) -> Kind | None:
    """``Error.Code`` of botocore: the status of one and the same code differs from service to service."""
    code = as_text(read_key(read_key(read(error, "response"), "Error"), "Code"))
    return vocabulary.WORDS.get(code.lower()) if code else None


def _by_http(error: BaseException, status: int | None) -> Kind | None:
    if status is None:
        return None
    kind = _by_twilio(error) if status < 500 else None
    if kind is None:
        kind = kind_of_status(status)
        if status in _OFTEN_INEXACT:
            kind = refined(kind, *told(error))
    return kind


def _by_twilio(error: BaseException) -> Kind | None:
    """Twilio's code: a number that cannot be called is not Twilio's failure, whatever the HTTP status."""
    if as_text(read(error, "uri")) is None:
        return None
    code = as_int(read(error, "code")) or 0
    return vocabulary.TWILIO.get(code, Kind.BAD_REQUEST if 21000 <= code <= 21999 else None)


def kind_of_status(status: int) -> Kind:
    """RFC 9110: 4xx is the caller's mistake (405, 406, 410, 415, 431, 451 too), 5xx the server's; and exceptions."""
    return vocabulary.STATUSES.get(status, Kind.BAD_REQUEST if status < 500 else Kind.SERVER)


def _by_wrapped_close_code(error: BaseException) -> Kind | None:
    """A close code in the place of an HTTP status (ElevenLabs), or in an exception named after websockets."""
    code = as_int(read(error, "status_code"))
    if code is None and "WebSocket" in type(error).__name__:
        code = as_int(read(error, "code"))
    return _by_close_code(code, told(error)[1]) if code is not None else None


def _by_words(error: BaseException) -> Kind | None:
    """An error inside an answer with HTTP 200: server-sent events, Slack."""
    kinds = known(words(error))
    if kinds:
        return Kind.QUOTA if Kind.QUOTA in kinds else kinds[0]
    data = read(read(error, "response"), "data")
    word = as_text(read_key(data, "error"))
    # Slack has hundreds of words; those that are not about the request are in the table.
    return Kind.BAD_REQUEST if word and " " not in word and read_key(data, "ok") is False else None


def _by_name(error: BaseException) -> Kind | None:
    """By class names from the most derived up, which finds the builtin ConnectionError and TimeoutError, too."""
    for cls in type(error).__mro__:
        kind = _kind_of_name(cls.__name__)
        if kind is not None:
            return kind
    return Kind.CONNECTION if is_a(error, OSError) and read(error, "errno") in vocabulary.NETWORK_ERRNOS else None


@lru_cache(maxsize=512)
def _kind_of_name(name: str) -> Kind | None:
    return next((kind for part, kind in vocabulary.CLASS_NAMES if part in name), None)


def _by_success(error: BaseException) -> Kind | None:
    """A status of success: the provider answered what its SDK could not use (a maintenance page, say)."""
    return Kind.SERVER if succeeded(error) else None


# Text ---------------------------------------------------------------------------------------------------------------


def classify_text(text: str) -> Outcome:
    """The same for an error that is only told of, as by a frame or a log line without an exception.

    >>> print(classify_text("HTTP 503"), classify_text("status 400: no such voice"), classify_text("oops"), sep=", ")
    failure (server, 503), ignored (bad_request, 400), failure (unknown)
    """
    said, plain = words_in(text), spelled([text])
    status = status_in(text)
    if status is not None:
        return outcome_of(refined(kind_of_status(status), said, plain), status)
    closed = _by_close_code(close_code_in(text), text)
    if closed is not None:
        return outcome_of(closed)
    kinds = known(said)
    if kinds:
        return outcome_of(Kind.QUOTA if Kind.QUOTA in kinds else kinds[0])
    return outcome_of(plain_kind(plain) or Kind.UNKNOWN)
