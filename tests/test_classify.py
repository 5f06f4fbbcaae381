"""classify without any SDK: shapes of exceptions, hostile ones included."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import http
from email.message import Message
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.classify import classify
from recloser.core.evidence import told
from recloser.core.outcome import Kind, Outcome, Verdict
from recloser.errors import PausedError, ProvidersExhaustedError

NOW = 1_700_000_000.0
PAUSED = PausedError("tts", SimpleNamespace(name="OPEN"), "10 failures in 5m", "recloser", NOW, 60.0)  # type: ignore[arg-type]


class ProviderError(Exception):
    """What an SDK might raise: any attributes."""

    def __init__(self, *args: object, **fields: Any) -> None:
        super().__init__(*args)
        vars(self).update(fields)


def named(name: str, *bases: type, **fields: Any) -> BaseException:
    """An exception whose class has this name."""
    return type(name, bases or (ProviderError,), {})(**fields)


def look(error: BaseException) -> tuple[Verdict, Kind | None, int | None, float | None]:
    outcome = classify(error, now=NOW)
    return outcome.verdict, outcome.kind, outcome.status, outcome.retry_after


def kind(error: BaseException) -> Kind | None:
    """The kind, after a look at whether the verdict goes with it."""
    outcome = classify(error, now=NOW)
    ignored = outcome.kind in {None, Kind.BAD_REQUEST, Kind.BUG, Kind.CANCELLED}
    assert outcome.verdict == ("ignored" if ignored else "failure")
    return outcome.kind


def wait(headers: object) -> float | None:
    return classify(ProviderError(status_code=503, headers=headers), now=NOW).retry_after


# By what they are ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        GeneratorExit(),
        KeyboardInterrupt(),
        SystemExit(1),
        concurrent.futures.CancelledError(),
        named("Cancelled"),
        named("ClosedResourceError"),
        named("Interruption", BaseException),
        BaseExceptionGroup("", [asyncio.CancelledError(), ExceptionGroup("", [concurrent.futures.CancelledError()])]),
    ],
    ids=repr,
)
def test_a_cancellation_is_ignored_in_every_dress(error: BaseException) -> None:
    """A barge-in cancels speech all day long; it is nobody's failure."""
    assert look(error) == ("ignored", "cancelled", None, None)


@pytest.mark.parametrize(
    "error",
    [
        TypeError("x"),
        AttributeError("x"),
        NameError("x"),
        ModuleNotFoundError("x"),
        AssertionError(),
        named("X", TypeError),
    ],
    ids=repr,
)
def test_a_bug_of_the_application_is_ignored(error: BaseException) -> None:
    """No provider can be blamed for a TypeError."""
    assert look(error) == ("ignored", "bug", None, None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), Kind.TIMEOUT),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), Kind.CONNECTION),
        (ConnectionResetError(), Kind.CONNECTION),
        (BrokenPipeError(), Kind.CONNECTION),
        (EOFError(), Kind.CONNECTION),
        (OSError(errno.EHOSTUNREACH, "x"), Kind.CONNECTION),
        (OSError(errno.ENETUNREACH, "x"), Kind.CONNECTION),
        (OSError(errno.EMFILE, "x"), Kind.UNKNOWN),
        (FileNotFoundError(errno.ENOENT, "x"), Kind.UNKNOWN),
        (PermissionError(errno.EACCES, "x"), Kind.UNKNOWN),
        (ValueError("x"), Kind.UNKNOWN),
        (KeyError("x"), Kind.UNKNOWN),
        (RuntimeError(), Kind.UNKNOWN),
        (named("ConnectTimeout"), Kind.TIMEOUT),
        (named("ReadTimeout", ConnectionError), Kind.TIMEOUT),
        (named("TooSlowError"), Kind.TIMEOUT),
        (named("APIConnectionError"), Kind.CONNECTION),
        (named("ClientPayloadError"), Kind.CONNECTION),
        (named("RemoteProtocolError"), Kind.CONNECTION),
        (named("DefaultCredentialsError"), Kind.AUTH),
        (named("RateLimitError"), Kind.RATE_LIMIT),
        (named("QuotaExceeded"), Kind.QUOTA),
        (named("QuotationError"), Kind.UNKNOWN),
        (named("ServiceUnavailableError"), Kind.SERVER),
        (named("ParamValidationError"), Kind.BAD_REQUEST),
        (named("LengthFinishReasonError"), Kind.BAD_REQUEST),
    ],
    ids=repr,
)
def test_an_exception_without_a_status_is_known_by_its_class_or_its_name(error: BaseException, expected: Kind) -> None:
    """Trouble on the way is told by class names, most derived first; whatever is unknown is a failure."""
    assert kind(error) is expected


def test_a_circuit_further_in_that_is_paused_is_ignored() -> None:
    """Our own rejection says nothing new of the provider; naming it as the reason does not change that."""
    assert classify(PAUSED, now=NOW) is Outcome.IGNORED
    for wrapper in (ProviderError(), named("APIConnectionError")):
        wrapper.__cause__ = PAUSED
        assert classify(wrapper, now=NOW) is Outcome.IGNORED


def test_a_fallback_further_in_that_is_exhausted_fails_as_its_last_provider_did() -> None:
    """Paused providers were not tried, and what was ignored is no reason to be exhausted."""
    limited = ProviderError(status_code=429, headers={"retry-after": "7"})
    exhausted = ProvidersExhaustedError({"a": TimeoutError(), "b": limited, "c": PAUSED})
    assert look(exhausted) == ("failure", "rate_limit", 429, 7.0)
    assert kind(ProvidersExhaustedError({"a": TimeoutError(), "b": ProviderError(status=404)})) is Kind.TIMEOUT
    wrapper = ProviderError()
    wrapper.__cause__ = exhausted
    assert look(wrapper) == ("failure", "rate_limit", 429, 7.0)


def test_an_exhausted_fallback_that_tells_nothing_is_an_unknown_failure() -> None:
    """It is a failure in any case, even one that contains itself."""
    assert kind(ProvidersExhaustedError({})) is Kind.UNKNOWN
    assert kind(ProvidersExhaustedError({"a": ValueError(), "b": ProviderError(status=404)})) is Kind.UNKNOWN
    endless = ProvidersExhaustedError({})
    endless.errors["itself"] = endless
    assert kind(endless) is Kind.UNKNOWN
    broken = ProvidersExhaustedError.__new__(ProvidersExhaustedError)
    assert kind(broken) is Kind.UNKNOWN


# HTTP ---------------------------------------------------------------------------------------------------------------

STATUSES = {
    Kind.BAD_REQUEST: (400, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 416, 422, 423, 426, 428, 431, 451),
    Kind.AUTH: (401, 403, 407, 419, 440, 498),
    Kind.QUOTA: (402,),
    Kind.RATE_LIMIT: (420, 429),
    Kind.TIMEOUT: (408, 504, 522, 524, 598, 599),
    Kind.CONNECTION: (421,),
    Kind.SERVER: (424, 425, 500, 501, 502, 503, 505, 520, 521, 529),
    Kind.CANCELLED: (499,),
}


@pytest.mark.parametrize(("expected", "status"), [(kind, status) for kind in STATUSES for status in STATUSES[kind]])
def test_the_kind_follows_from_the_http_status(expected: Kind, status: int) -> None:
    """4xx is the caller's mistake and 5xx the provider's trouble, but for the statuses that say otherwise."""
    error = ProviderError(status_code=status)
    assert (kind(error), classify(error, now=NOW).status) == (expected, status)


@pytest.mark.parametrize(
    "error",
    [
        ProviderError(status_code=503),
        ProviderError(status=503),
        ProviderError(http_status=503),
        ProviderError(code=503),
        ProviderError(code=http.HTTPStatus.SERVICE_UNAVAILABLE),
        ProviderError(response=SimpleNamespace(status_code=503)),
        ProviderError(response=SimpleNamespace(status=503)),
        ProviderError(response={"ResponseMetadata": {"HTTPStatusCode": 503}}),
        ProviderError(status_code=-1, response=SimpleNamespace(status_code=503)),
        ProviderError(status_code=None, status="UNAVAILABLE", code=503),
        ProviderError(status_code=True, status=503),
    ],
    ids=lambda error: str(vars(error)),
)
def test_the_status_is_found_wherever_an_sdk_puts_it(error: ProviderError) -> None:
    """Ten SDKs, ten places; the plain int comes out."""
    outcome = classify(error, now=NOW)
    assert outcome == Outcome("failure", "server", 503)
    assert type(outcome.status) is int


def test_a_response_that_is_false_is_still_read() -> None:
    """A requests.Response of an error is falsy."""

    class Response:
        status_code = 404
        headers = {"Retry-After": "3"}  # noqa: RUF012

        def __bool__(self) -> bool:
            return False

    assert look(ProviderError(response=Response())) == ("ignored", "bad_request", 404, 3.0)


@pytest.mark.parametrize("number", [-1, 0, 200, 302, 600, 1008, 20429, 503.0, "503", True, None, 10**400])
@pytest.mark.parametrize("name", ["status", "code", "http_status"])
def test_a_number_that_is_no_http_error_is_not_taken_for_one(name: str, number: object) -> None:
    """Close codes, Twilio's numbers, livekit's -1 and strings are called status or code as well."""
    outcome = classify(ProviderError(**{name: number}), now=NOW)
    assert outcome.is_failure
    assert outcome.status is None


def test_an_error_with_a_status_of_success_is_the_providers_failure() -> None:
    """It answered, with something that its SDK could not use."""
    for error in (ProviderError(status_code=200), ProviderError(response=SimpleNamespace(status_code=201))):
        assert look(error) == ("failure", "server", None, None)
    assert kind(ProviderError(status=302)) is Kind.UNKNOWN


# Words --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 429])
@pytest.mark.parametrize(
    "fields",
    [
        {"code": "insufficient_quota"},
        {"type": "billing_error"},
        {"body": {"detail": {"status": "quota_exceeded", "message": "..."}}},
        {"body": '{"error": {"code": "insufficient_quota"}}'},
        {"body": b'{"error": {"code": "insufficient_quota"}}'},
        {"details": [{"error": {"errors": [{"reason": "dailyLimitExceeded"}]}}]},
        {"message": "You exceeded your current quota, please check your plan."},
        {"message": "Your credit balance is too low to access the Anthropic API."},
        {"response": SimpleNamespace(_content=b"Quota exceeded: 0 of 10000 left")},
        {"response": SimpleNamespace(data={"error": "quota-exceeded"})},
    ],
    ids=str,
)
def test_words_of_quota_are_more_exact_than_the_status(status: int, fields: dict[str, Any]) -> None:
    """A quota that is used up takes a human; each provider says so in its own way."""
    assert kind(ProviderError(**fields, status_code=status)) is Kind.QUOTA


@pytest.mark.parametrize("status", [404, 408, 422, 500, 503])
def test_words_of_quota_do_not_change_other_statuses(status: int) -> None:
    """Only some statuses are used for quotas as well."""
    plain, telling = ProviderError(status_code=status), ProviderError(code="insufficient_quota", status_code=status)
    assert kind(telling) is kind(plain)


@pytest.mark.parametrize(
    "text",
    [
        "Please send the quotation again",
        "quota exceededly",
        "quotas",
        "the billing address is missing",
        "Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the rate limit",
        "Need more tokens? Upgrade today at https://console.groq.com/settings/billing",
        "say: your account has insufficient funds",  # a 400 that quotes the request
        "x" * 1_000_000 + " quota exceeded",
    ],
    ids=lambda text: text[:20],
)
def test_innocent_text_is_no_quota(text: str) -> None:
    """A quotation is no quota, nor is everything that mentions one."""
    assert kind(ProviderError(text, status_code=400, body={"message": text})) is Kind.BAD_REQUEST


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Quota exceeded for quota metric 'R' and limit 'R per minute' of service 's'", Kind.RATE_LIMIT),
        ("You exceeded your current quota. TokensPerModelPerMinute-FreeTier", Kind.RATE_LIMIT),
        ("You exceeded your current quota. RequestsPerDayPerProject", Kind.QUOTA),
        ("You exceeded your current quota. TokensPerMinute, RequestsPerDay", Kind.QUOTA),
        ("Insufficient funds", Kind.QUOTA),
        ("slow down", Kind.RATE_LIMIT),
    ],
)
def test_a_quota_per_minute_is_a_rate_limit(text: str, expected: Kind) -> None:
    """Google calls both a quota, but one of them is over in a minute."""
    assert kind(ProviderError(text, status_code=429)) is expected


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        (400, {"body": {"error": {"message": "API key not valid. Please pass a valid API key."}}}, Kind.AUTH),
        (400, {"code": "invalid_api_key"}, Kind.AUTH),
        (400, {"code": "rate_limit_exceeded"}, Kind.RATE_LIMIT),
        (403, {"body": {"reason": "userRateLimitExceeded"}}, Kind.RATE_LIMIT),
        (403, {"type": "invalid_request_error", "code": None}, Kind.AUTH),
        (429, {"code": "invalid_api_key"}, Kind.RATE_LIMIT),
        (400, {"code": "server_error"}, Kind.BAD_REQUEST),
    ],
)
def test_other_words_correct_a_status_that_is_known_to_be_inexact(
    status: int, fields: dict[str, Any], expected: Kind
) -> None:
    """Gemini calls a wrong key a bad request; OpenAI calls everything an invalid request."""
    assert kind(ProviderError(status_code=status, **fields)) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "overloaded_error", "status_code": 200}, Kind.SERVER),
        ({"code": "server_error"}, Kind.SERVER),
        ({"body": {"type": "error", "error": {"type": "rate_limit_error"}}}, Kind.RATE_LIMIT),
        ({"body": {"type": "invalid_request_error", "code": "insufficient_quota"}}, Kind.QUOTA),
        ({"type": "invalid_request_error"}, Kind.BAD_REQUEST),
        ({"code": "timeout_error"}, Kind.TIMEOUT),
        ({"code": "made up"}, Kind.UNKNOWN),
        ({"code": "x" * 10_000_000}, Kind.UNKNOWN),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_error_without_a_status_is_known_by_its_words(fields: dict[str, Any], expected: Kind) -> None:
    """Errors inside a stream that began with HTTP 200."""
    assert kind(ProviderError(**fields)) is expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"ok": False, "error": "invalid_auth"}, Kind.AUTH),
        ({"ok": False, "error": "fatal_error"}, Kind.SERVER),
        ({"ok": False, "error": "channel_not_found"}, Kind.BAD_REQUEST),
        ({"ok": False, "error": "Received a response in a non-JSON format: <html>"}, Kind.SERVER),
        ({"ok": True, "error": "channel_not_found"}, Kind.SERVER),
        ({}, Kind.SERVER),
    ],
    ids=str,
)
def test_slack_says_it_in_a_word(data: dict[str, object], expected: Kind) -> None:
    """Slack answers 200 to everything; most of its words are about the request."""
    response = SimpleNamespace(status_code=200, data=data, headers={})
    assert kind(ProviderError("The request failed", response=response)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You have exceeded your quota", Kind.QUOTA),
        ("out of credits", Kind.QUOTA),
        ("Quota exceeded: 60 requests per minute", Kind.RATE_LIMIT),
        ("Rate limit reached", Kind.RATE_LIMIT),
        ("HTTP/1.1 Too Many Requests", Kind.RATE_LIMIT),
        ("Invalid API key provided", Kind.AUTH),
        ("The api_key client option must be set", Kind.AUTH),
        ("something else", Kind.UNKNOWN),
    ],
)
def test_the_text_is_the_last_resort(text: str, expected: Kind) -> None:
    """An unknown exception is a failure anyway; its text may tell the kind."""
    assert look(ProviderError(text, retry_after=5)) == ("failure", expected, None, 5.0)


# AWS, Twilio, gRPC --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ThrottlingException", 400, Kind.RATE_LIMIT),
        ("ServiceQuotaExceededException", 400, Kind.QUOTA),
        ("ExpiredTokenException", 400, Kind.AUTH),
        ("internalServerException", None, Kind.SERVER),
        ("RequestTimeout", 400, Kind.TIMEOUT),
        ("TextLengthExceededException", 400, Kind.BAD_REQUEST),
        ("404", 404, Kind.BAD_REQUEST),
        ("InternalError", 500, Kind.SERVER),
        (None, 503, Kind.SERVER),
    ],
)
def test_the_code_of_aws_is_more_exact_than_its_status(code: str | None, status: int | None, expected: Kind) -> None:
    """One and the same code has a different status in each service."""
    response = {
        "Error": {"Code": code, "Message": "m"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"retry-after": "2"}},
    }
    error = ProviderError("An error occurred", response=response)
    assert (kind(error), classify(error, now=NOW).status) == (expected, status)
    assert classify(error, now=NOW).retry_after == 2.0


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, 21211, Kind.BAD_REQUEST),
        (400, 21214, Kind.BAD_REQUEST),
        (400, 21610, Kind.BAD_REQUEST),
        (403, 21215, Kind.BAD_REQUEST),
        (429, 21617, Kind.BAD_REQUEST),
        (429, 60203, Kind.BAD_REQUEST),
        (400, 21611, Kind.RATE_LIMIT),
        (429, 20429, Kind.RATE_LIMIT),
        (401, 20003, Kind.AUTH),
        (400, 20003, Kind.AUTH),
        (429, 63038, Kind.QUOTA),
        (404, 20404, Kind.BAD_REQUEST),
        (429, None, Kind.RATE_LIMIT),
        (503, 21211, Kind.SERVER),
    ],
)
def test_a_callee_that_cannot_be_called_is_not_twilios_failure(status: int, code: int | None, expected: Kind) -> None:
    """A list of bad numbers must not pause the telephone."""
    error = ProviderError(status=status, code=code, uri="/2010-04-01/Accounts/AC/Calls.json", msg="m")
    assert (kind(error), classify(error, now=NOW).status) == (expected, status)


def test_such_a_number_means_nothing_without_twilios_shape() -> None:
    """Another SDK's 21211 is not Twilio's."""
    assert kind(ProviderError(status=429, code=21211)) is Kind.RATE_LIMIT


class RpcError(Exception):
    """As grpc raises it: an exception that is a call, too."""

    def __init__(self, name: object, details: str = "", trailers: object = ()) -> None:
        super().__init__()
        self._code, self._details, self._trailers = SimpleNamespace(name=name), details, trailers

    def code(self) -> object:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> object:
        return self._trailers


@pytest.mark.parametrize(
    ("name", "details", "expected"),
    [
        ("DEADLINE_EXCEEDED", "", Kind.TIMEOUT),
        ("UNAVAILABLE", "overloaded", Kind.SERVER),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: UNKNOWN", Kind.CONNECTION),
        ("RESOURCE_EXHAUSTED", "", Kind.RATE_LIMIT),
        ("RESOURCE_EXHAUSTED", "Quota exceeded for limit 'per day'", Kind.QUOTA),
        ("INVALID_ARGUMENT", "API key not valid.", Kind.AUTH),
        ("FAILED_PRECONDITION", "", Kind.BAD_REQUEST),
        ("UNAUTHENTICATED", "", Kind.AUTH),
        ("CANCELLED", "", Kind.CANCELLED),
        ("UNKNOWN", "", Kind.UNKNOWN),
        ("NEW_IN_2030", "", Kind.UNKNOWN),
        (None, "", Kind.UNKNOWN),
    ],
)
def test_a_grpc_status_is_found_by_its_name(name: str | None, details: str, expected: Kind) -> None:
    """gRPC's exceptions are calls: what they know is in methods."""
    assert kind(RpcError(name, details)) is expected


def test_googles_wrapper_of_a_grpc_status_says_more_than_its_http_status() -> None:
    """google.api_core has both; ABORTED and ALREADY_EXISTS are one in HTTP."""
    error = ProviderError("m", grpc_status_code=SimpleNamespace(name="UNAVAILABLE"), code=http.HTTPStatus.CONFLICT)
    assert look(error) == ("failure", "server", 409, None)


def test_a_code_that_can_be_called_is_not_called_without_the_rest_of_grpc() -> None:
    """`code` may be a method of anything."""

    class LaunchError(Exception):
        def code(self) -> object:
            pytest.fail("called")

    assert kind(LaunchError()) is Kind.UNKNOWN
    LaunchError.details = "not a method"  # type: ignore[attr-defined]
    assert kind(LaunchError()) is Kind.UNKNOWN


def test_a_code_that_an_instance_hides_is_not_called() -> None:
    """An instance may have something else where its class has the method."""
    error = RpcError("UNAVAILABLE")
    error.code = 7  # type: ignore[assignment, method-assign]
    assert kind(error) is Kind.UNKNOWN
    error.details = 7  # type: ignore[assignment, method-assign]
    assert kind(error) is Kind.UNKNOWN


# Websockets ---------------------------------------------------------------------------------------------------------


def closed(
    rcvd: tuple[int, str] | None, sent: tuple[int, str] | None = None, *, rcvd_then_sent: bool | None = None
) -> Exception:
    """ConnectionClosed of websockets, whose properties warn."""

    class ConnectionClosedError(ProviderError):
        @property
        def code(self) -> int:
            pytest.fail("warns")

        reason = code

    frames = [frame and SimpleNamespace(code=frame[0], reason=frame[1]) for frame in (rcvd, sent)]
    return ConnectionClosedError(rcvd=frames[0], sent=frames[1], rcvd_then_sent=rcvd_then_sent)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (closed(None), Kind.CONNECTION),
        (closed((1000, "")), Kind.CANCELLED),
        (closed((1000, ""), (1000, ""), rcvd_then_sent=True), Kind.CANCELLED),
        (closed((1000, ""), (1000, ""), rcvd_then_sent=False), Kind.CANCELLED),
        (closed((1001, ""), (1001, ""), rcvd_then_sent=True), Kind.CONNECTION),
        (closed((1005, ""), (1005, ""), rcvd_then_sent=True), Kind.CANCELLED),
        (closed((1008, "")), Kind.AUTH),
        (closed((1008, "quota_exceeded")), Kind.QUOTA),
        (closed((1008, "DATA-0000: cannot be decoded as audio")), Kind.BAD_REQUEST),
        (closed((1009, "")), Kind.BAD_REQUEST),
        (closed((1011, "")), Kind.SERVER),
        (closed((1011, "NET-0001")), Kind.SERVER),
        (closed((1011, "rate limit")), Kind.RATE_LIMIT),
        (closed((1013, "")), Kind.RATE_LIMIT),
        (closed((1004, "")), Kind.UNKNOWN),
        (closed((3000, "")), Kind.CONNECTION),
        (closed((4000, "")), Kind.UNKNOWN),
        (closed((4002, "Insufficient Funds")), Kind.QUOTA),
        (closed((4404, "")), Kind.BAD_REQUEST),
        (closed((4429, "")), Kind.RATE_LIMIT),
        (closed((4503, "why not")), Kind.SERVER),
        (closed(None, (1000, "")), Kind.CANCELLED),
        (closed(None, (1011, "keepalive ping timeout")), Kind.TIMEOUT),
        (closed(None, (1011, "")), Kind.CANCELLED),
        (closed((1002, ""), (1002, "bad frame"), rcvd_then_sent=False), Kind.SERVER),
        (closed(None, (1009, "too big")), Kind.UNKNOWN),
        (ProviderError(status_code=1008), Kind.AUTH),
        (ProviderError(status_code=1008, body="quota_exceeded"), Kind.QUOTA),
        (ProviderError(status_code=1011, body={"message": "m"}), Kind.SERVER),
        (ProviderError(status_code=4401), Kind.AUTH),
        (ProviderError(status_code=3999), Kind.UNKNOWN),
        (named("WebSocketDisconnect", code=1000), Kind.CANCELLED),
        (named("WebSocketDisconnect", code=1006), Kind.CONNECTION),
        (named("WebSocketDisconnect"), Kind.CONNECTION),
        (type("WSMessageTypeError", (TypeError,), {})("Received message 8:1011 is not WSMsgType.TEXT"), Kind.SERVER),
        (type("WSMessageTypeError", (TypeError,), {})("Received message 8:1000 is not WSMsgType.TEXT"), Kind.CANCELLED),
        (type("WSMessageTypeError", (TypeError,), {})("Received message 257:None is not it"), Kind.CONNECTION),
        (type("WSMessageTypeError", (TypeError,), {})("Received message 8:None is not it"), Kind.CONNECTION),
        (type("WSMessageTypeError", (TypeError,), {})("Received message 2:b'' is not it"), Kind.BUG),
        (type("WSMessageTypeError", (TypeError,), {})(), Kind.BUG),
    ],
    ids=lambda value: str(value) if isinstance(value, Kind) else f"{type(value).__name__} {vars(value)}",
)
def test_a_close_frame_says_who_closed_and_why(error: BaseException, expected: Kind) -> None:
    """What we closed is nobody's failure; what the provider closed is told by its code and, better, its reason."""
    assert kind(error) is expected


# Causes and groups --------------------------------------------------------------------------------------------------


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def during(error: BaseException, context: BaseException, *, suppressed: bool = False) -> BaseException:
    error.__context__, error.__suppress_context__ = context, suppressed
    return error


LIMITED = ProviderError(status=429, headers={"Retry-After": "9"})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (caused(ProviderError(), LIMITED), Kind.RATE_LIMIT),
        (caused(ProviderError(), caused(ProviderError(), caused(ProviderError(), LIMITED))), Kind.RATE_LIMIT),
        (caused(ProviderError(), ProviderError(status=404)), Kind.BAD_REQUEST),
        (caused(ProviderError(), asyncio.CancelledError()), Kind.CANCELLED),
        (caused(ProviderError(), TypeError()), Kind.UNKNOWN),
        (caused(ProviderError(), caused(TypeError(), LIMITED)), Kind.RATE_LIMIT),
        (caused(TypeError(), LIMITED), Kind.BUG),
        (caused(ProviderError(status=503), LIMITED), Kind.SERVER),
        (caused(ProviderError(), ExceptionGroup("", [ValueError(), LIMITED])), Kind.RATE_LIMIT),
        (during(ProviderError(), LIMITED), Kind.RATE_LIMIT),
        (during(ProviderError(), LIMITED, suppressed=True), Kind.UNKNOWN),
        (during(ProviderError(), ProviderError(status=404)), Kind.UNKNOWN),
        (during(ProviderError(), asyncio.CancelledError()), Kind.UNKNOWN),
        (during(ProviderError(), TypeError()), Kind.UNKNOWN),
        (during(ProviderError(), PAUSED), Kind.UNKNOWN),
        (during(ProviderError(), caused(ProviderError(), PAUSED)), Kind.UNKNOWN),
        (ProviderError(reason=TimeoutError()), Kind.TIMEOUT),
        (ProviderError(cause=TimeoutError()), Kind.TIMEOUT),
        (ProviderError(last_attempt=SimpleNamespace(_exception=LIMITED)), Kind.RATE_LIMIT),
        (ProviderError("it failed", LIMITED), Kind.RATE_LIMIT),
        (ProviderError(reason="no exception"), Kind.UNKNOWN),
        (caused(named("APIConnectionError"), TimeoutError()), Kind.TIMEOUT),
        (caused(named("APIConnectionError"), ProviderError(status=503)), Kind.CONNECTION),
        (during(named("APIConnectionError"), TimeoutError()), Kind.CONNECTION),
        (named("URLError", reason=TimeoutError()), Kind.TIMEOUT),
        (named("URLError", reason="unknown url type"), Kind.CONNECTION),
    ],
    ids=lambda value: str(value) if isinstance(value, Kind) else repr(value),
)
def test_what_an_exception_was_made_of_tells_what_it_does_not(error: BaseException, expected: Kind) -> None:
    """A named reason counts as if it were the exception; what merely was being handled can tell a kind of failure."""
    assert kind(error) is expected


def test_the_wait_comes_with_the_reason() -> None:
    """Status and Retry-After are those of the exception that told the kind."""
    assert look(caused(ProviderError(), LIMITED)) == ("failure", "rate_limit", 429, 9.0)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([asyncio.CancelledError(), ProviderError(status=503)], Kind.SERVER),
        ([ProviderError(status=404), ProviderError(status=503)], Kind.SERVER),
        ([ProviderError(status=503), ProviderError(status=429)], Kind.SERVER),
        ([ProviderError(status=404), TypeError()], Kind.BAD_REQUEST),
        ([asyncio.CancelledError(), TypeError(), ProviderError(status=404)], Kind.BUG),
        ([asyncio.CancelledError(), ExceptionGroup("", [TypeError(), TimeoutError()])], Kind.TIMEOUT),
        ([asyncio.CancelledError(), GeneratorExit()], Kind.CANCELLED),
        ([asyncio.CancelledError(), PAUSED], None),
        ([ValueError()], Kind.UNKNOWN),
        ([asyncio.CancelledError()] * 1000, Kind.CANCELLED),
    ],
)
def test_a_group_is_the_first_failure_in_it(errors: list[BaseException], expected: Kind | None) -> None:
    """The cancellations of its siblings accompany a failure; they are not what happened."""
    assert kind(BaseExceptionGroup("", errors)) is expected


def test_circles_and_long_chains_come_to_an_end() -> None:
    """Chains may be circular or a million long; what is far away is not looked for."""
    first, second = ProviderError(), ProviderError()
    first.__cause__, second.__cause__ = second, first
    first.__context__ = first.__cause__
    assert kind(first) is Kind.UNKNOWN
    group = ExceptionGroup("", [first])
    first.__cause__ = group
    assert kind(group) is Kind.UNKNOWN
    deep: BaseException = LIMITED
    for _ in range(10_000):
        deep = caused(ProviderError(), deep)
    assert kind(deep) is Kind.UNKNOWN
    wide: BaseException = LIMITED
    for _ in range(500):
        wide = ExceptionGroup("", [wide])
    assert classify(wide, now=NOW).is_failure


# Retry-After --------------------------------------------------------------------------------------------------------


class Headers:
    """websockets' Headers: repeated names are fine in raw_items() only."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def __repr__(self) -> str:
        return f"Headers{self._pairs}"

    def raw_items(self) -> object:
        return iter(self._pairs)

    def items(self) -> object:
        raise LookupError


def message(value: str) -> Message:
    headers = Message()
    headers["Content-Type"] = "text/plain"
    headers["RETRY-after"] = value
    return headers


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "7"},
        {"Retry-After": "7"},
        {"RETRY-AFTER": b"7"},
        {b"Retry-After": b"7"},
        MappingProxyType({"x": "y", "Retry-After": " 7 "}),
        message("7"),
        Headers(("Set-Cookie", "a"), ("Set-Cookie", "b"), ("Retry-After", "7")),
        [("Retry-After", "7")],
        (("retry-after", "7"), ("retry-after", "9")),
        [(b"retry-after", b"7.0")],
        {"retry-after": "9", "retry-after-ms": "7000"},
        {"retry-after-ms": "nonsense", "retry-after": "7"},
        {"Retry-After": "Tue, 14 Nov 2023 22:13:27 GMT"},
        {"Retry-After": "Tuesday, 14-Nov-23 22:13:27 GMT"},
        {"Retry-After": "Tue Nov 14 22:13:27 2023"},
        {7: "7", "proxy-auth": "an eleven", "retry-after": "7"},
    ],
    ids=str,
)
def test_retry_after_is_found_in_headers_of_every_flavour(headers: object) -> None:
    """Dicts, multidicts, messages and pairs; seconds, milliseconds and the three forms of HTTP dates."""
    assert wait(headers) == 7.0


@pytest.mark.parametrize(
    "error",
    [
        ProviderError(status_code=429, response=SimpleNamespace(headers={"retry-after": "7"})),
        ProviderError(status_code=429, headers={"retry-after": "7"}, response=SimpleNamespace(headers=None)),
        ProviderError(status_code=429, litellm_response_headers={"retry-after": "7"}),
        ProviderError(status_code=429, retry_after=7),
        ProviderError(status_code=429, details={"error": {"details": [{}, {"retryDelay": "7s"}]}}),
        ProviderError(status_code=429, details={"details": [{"retryDelay": "7.0s"}]}),
        ProviderError(status_code=429, details=[{"retryDelay": "7s"}]),
        ProviderError(
            status_code=429, details=[None, SimpleNamespace(retry_delay=SimpleNamespace(seconds=7, nanos=0))]
        ),
        RpcError("UNAVAILABLE", "", [("retry-after", "7")]),
        RpcError("RESOURCE_EXHAUSTED", "", (("x", b"y"), ("grpc-retry-pushback-ms", "7000"))),
    ],
    ids=lambda error: str(vars(error)),
)
def test_retry_after_is_found_wherever_an_sdk_puts_it(error: BaseException) -> None:
    """On the answer, on the exception, among litellm's, in Google's details, in gRPC's trailers."""
    assert classify(error, now=NOW).retry_after == 7.0


def test_a_date_that_has_passed_is_no_wait_at_all() -> None:
    """Clocks differ, and time passed on the way."""
    assert wait({"Retry-After": "Tue, 14 Nov 2023 22:13:00 GMT"}) == 0.0


NONSENSE = ("-1", "nan", "inf", "1700000000", "", "soon", "0x7", "9" * 1_000_000, "Tue, 99 Nov 2023 22:13:27 GMT")


@pytest.mark.parametrize(
    "value", [*NONSENSE, "Fri, 31 Dec 9999 23:59:59 GMT", None, 7, ["7"]], ids=lambda v: str(v)[:20]
)
def test_a_retry_after_that_makes_no_sense_is_dropped(value: object) -> None:
    """Negative, absurd and unreadable values are no request of the provider's."""
    assert wait({"Retry-After": value}) is None


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1_700_000_000, True, "7"])
def test_an_attribute_that_makes_no_sense_is_dropped(value: object) -> None:
    """The same of `retry_after` on the exception itself."""
    assert look(ProviderError(status_code=429, retry_after=value)) == ("failure", "rate_limit", 429, None)


@pytest.mark.parametrize(
    "details", [[{"retryDelay": "soon"}], [{"retryDelay": "xs"}], {"details": 7}, 7, [{}]], ids=str
)
def test_details_that_are_not_googles_are_no_wait(details: object) -> None:
    """`details` may be anything."""
    assert look(ProviderError(status_code=503, details=details)) == ("failure", "server", 503, None)


def test_no_wait_is_read_where_nobody_answered() -> None:
    """A timeout has no headers; those on the exception are the request's."""
    assert look(named("ReadTimeout", headers={"retry-after": "7"})) == ("failure", "timeout", None, None)


# Hostile objects ----------------------------------------------------------------------------------------------------


def raising(error: BaseException) -> property:
    def get(_self: object) -> object:
        raise error

    return property(get)


@pytest.mark.parametrize("inner", [ValueError(), asyncio.CancelledError(), GeneratorExit(), RecursionError()], ids=repr)
@pytest.mark.parametrize(
    "name",
    ["status_code", "status", "response", "code", "args", "__dict__", "__cause__", "headers", "retry_after", "details"],
)
def test_properties_that_raise_do_no_harm(name: str, inner: BaseException) -> None:
    """An attribute that cannot be read is no evidence; the rest still is."""
    hostile = type("HostileError", (Exception,), {name: raising(inner)})
    assert classify(hostile(), now=NOW).is_failure
    telling = type("HostileError", (Exception,), {name: raising(inner), "http_status": 503})
    assert look(telling()) == ("failure", "server", 503, None)


@pytest.mark.parametrize("inner", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_is_not_swallowed(inner: type[BaseException]) -> None:
    """A signal may arrive while an exception is looked at; that is not the exception's doing."""
    hostile = type("HostileError", (Exception,), {"status_code": raising(inner())})
    with pytest.raises(inner):
        classify(hostile(), now=NOW)

    class Headers:
        def items(self) -> object:
            raise inner

    with pytest.raises(inner):
        classify(ProviderError(status=503, headers=Headers()), now=NOW)


def test_types_that_lie_are_not_believed() -> None:
    """A Mock with a spec says that it is an int; a dict may refuse to be one."""

    class Bag(dict[str, object]):
        def get(self, *_args: object) -> object:
            raise ValueError

        def items(self) -> Any:
            raise ValueError

        values = items

    class Odd(int):
        def __ge__(self, other: object) -> bool:
            raise ValueError

        __le__ = __int__ = __index__ = __eq__ = __hash__ = __ge__  # type: ignore[assignment]

    class Word(str):
        __slots__ = ()

        def lower(self) -> str:
            raise ValueError

        __getitem__ = __len__ = __contains__ = strip = lower  # type: ignore[assignment]

    assert kind(ProviderError(status_code=Mock(spec=int), status=503)) is Kind.SERVER
    assert kind(ProviderError(status_code=Odd(429))) is Kind.RATE_LIMIT
    assert kind(ProviderError(code=Word("insufficient_quota"))) is Kind.QUOTA
    for bag in (Bag(), Bag(Error={}, error={})):
        everything = ProviderError(body=bag, headers=bag, details=bag, response=bag, retry_after=True)
        assert classify(everything, now=NOW).is_failure
        everything.status_code = 503  # type: ignore[attr-defined]
        assert look(everything) == ("failure", "server", 503, None)


def test_a_mock_in_every_place_is_an_unknown_failure() -> None:
    """Mocks have every attribute and answer every call."""
    names = ("status_code", "status", "response", "headers", "body", "code", "details", "reason", "last_attempt")
    assert look(ProviderError(Mock(), **{name: Mock() for name in names})) == ("failure", "unknown", None, None)


def test_endless_things_come_to_an_end() -> None:
    """Headers without end, a body within itself."""

    class Endless:
        def items(self) -> object:
            return iter(lambda: ("x-header-xx", "v"), None)

    body: dict[str, object] = {}
    body["body"] = [body, body]
    assert wait(Endless()) is None
    assert kind(ProviderError(status_code=400, body=body)) is Kind.BAD_REQUEST


def test_a_class_that_cannot_be_asked_is_an_unknown_failure() -> None:
    """Even the class of an exception may be hostile."""

    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise ValueError

    class HostileError(Exception, metaclass=Meta):
        pass

    assert look(HostileError()) == ("failure", "unknown", None, None)


def test_megabytes_are_not_searched() -> None:
    """Only the beginning of a huge error is looked at, and of many texts only the first."""
    text = "quota x " * 500_000
    error = ProviderError(text, text, message=text, body={"message": text, "more": [text] * 1000}, status_code=429)
    words, prose = told(error)
    assert (words, len(prose) <= 4_002) == ((), True)
    assert kind(error) is Kind.RATE_LIMIT


# Properties ---------------------------------------------------------------------------------------------------------

_NAMES = (
    "status_code status http_status code type body details detail message msg error response headers retry_after",
    "reason cause last_attempt uri rcvd sent rcvd_then_sent grpc_status_code trailing_metadata",
    "litellm_response_headers errno data _content name exceptions",
)
NAMES = st.sampled_from([name for names in _NAMES for name in names.split()])
WORDS = st.sampled_from(
    ["insufficient_quota", "server_error", "ThrottlingException", "Retry-After", "7", "UNAVAILABLE"]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=30) | WORDS
)
NUMBERS = st.integers(399, 600) | st.integers(999, 1016) | st.integers(4400, 4600) | st.sampled_from([-1, 21211, 20429])


def soup(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Anything an attribute may hold, and things that hold more attributes."""
    fields = st.dictionaries(NAMES, inner, max_size=4)
    return st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(SCALARS | NAMES, inner, max_size=3),
        fields.map(lambda fields: SimpleNamespace(**fields)),
        fields.map(lambda fields: ProviderError(**fields)),
        inner.map(lambda value: lambda: value),
    )


SOUP = st.recursive(SCALARS | NUMBERS, soup, max_leaves=12)
BASES = st.sampled_from([Exception, OSError, TimeoutError, ConnectionError, ValueError, TypeError, BaseException])


@given(
    base=BASES,
    name=st.sampled_from(["Boom", "APITimeoutError", "ConnectionClosed", "WSMessageTypeError", "WebSocketX", "Quota"]),
    args=st.lists(SOUP, max_size=2),
    fields=st.dictionaries(NAMES, SOUP, max_size=6),
    now=st.floats(0, 4e9),
)
def test_whatever_it_is_given_classify_returns_a_sound_outcome(
    base: type[BaseException], name: str, args: list[Any], fields: dict[str, Any], now: float
) -> None:
    """It never raises; a status is one of HTTP's errors and a wait is a sensible number."""
    error = type(name, (base,), {})(*args)
    for field, value in fields.items():
        try:
            setattr(error, field, value)
        except (TypeError, AttributeError):  # errno of OSError
            continue
    outcome = classify(error, now=now)
    assert outcome.verdict in {Verdict.FAILURE, Verdict.IGNORED}
    assert outcome.status is None or 400 <= outcome.status <= 599
    assert outcome.retry_after is None or 0 <= outcome.retry_after <= 7 * 86_400
    assert outcome == classify(error, now=now)
    if not issubclass(base, Exception):
        assert outcome.kind is Kind.CANCELLED
