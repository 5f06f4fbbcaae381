"""The real SDKs, pointed at a server that fails: what their exceptions are classified as."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from recloser.core.classify import classify
from recloser.core.outcome import Kind, Outcome
from tests.faults import Cut, Drop, Socket, http_date, refused_url
from tests.faults_wire import COMPLAINTS, anthropic_error_event, openai_error_event

pytest.importorskip("openai", reason="the dependency group 'sdks' is not installed")

import botocore.session
import deepgram
import groq
import openai
import websockets.sync.client
from google import genai

from tests.sdk.calls import CALLS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.faults import FaultServer
    from tests.faults_wire import Reply
    from tests.sdk.calls import Call, Run

NOW = 1_700_000_000.0

STATUSES = {
    400: Kind.BAD_REQUEST,
    401: Kind.AUTH,
    402: Kind.QUOTA,
    403: Kind.AUTH,
    404: Kind.BAD_REQUEST,
    405: Kind.BAD_REQUEST,
    406: Kind.BAD_REQUEST,
    407: Kind.AUTH,
    408: Kind.TIMEOUT,
    409: Kind.BAD_REQUEST,
    413: Kind.BAD_REQUEST,
    422: Kind.BAD_REQUEST,
    425: Kind.SERVER,
    429: Kind.RATE_LIMIT,
    500: Kind.SERVER,
    501: Kind.SERVER,
    502: Kind.SERVER,
    503: Kind.SERVER,
    504: Kind.TIMEOUT,
    529: Kind.SERVER,
}
IGNORED = {Kind.BAD_REQUEST, Kind.CANCELLED, Kind.BUG}

# Their exceptions do not carry the headers of the answer.
NO_HEADERS = {"twilio_call", "twilio_call_async", "deepgram_websocket_async"}
WEBSOCKETS = [name for name in CALLS if "websocket" in name]
HTTP = [name for name in CALLS if "websocket" not in name]
ASYNC = [name for name in CALLS if name.endswith("_async") or name.startswith("aiohttp")]
# AsyncTwilioHttpClient ignores its timeout; ElevenLabs' and Deepgram's websockets have their own of ten seconds.
NO_TIMEOUT = {"twilio_call_async", "deepgram_websocket", "deepgram_websocket_async", "elevenlabs_websocket"}

# What SDKs do themselves, at the time of a call.
DEPRECATED = (
    r"ConnectionClosed\.(code|reason) is deprecated",  # ElevenLabs, convert_realtime
    r"websockets\.exceptions\.InvalidStatusCode is deprecated",  # Deepgram
    r"websockets\.legacy is deprecated",  # Deepgram
    r"BasicAuth is deprecated",  # Twilio
    r"The 'auth' parameter is deprecated",  # Twilio
    r"Inheritance class AiohttpClientSession from ClientSession is discouraged",  # google-genai
)
pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}:DeprecationWarning") for message in DEPRECATED]


@pytest.fixture(autouse=True)
def _no_hidden_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """google-genai's async client retries a lost connection once after 1 to 10 random seconds; here, after none."""
    monkeypatch.setattr("google.genai._api_client.random.randint", lambda _low, _high: -1)


def outcome_of(call: Call) -> Outcome:
    """What the exception that `call` raises is classified as, without a warning from what was read."""
    try:
        call()
    except BaseException as error:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            outcome = classify(error, now=NOW)
        assert not caught
        return outcome
    pytest.fail("nothing was raised")


def expected(kind: Kind, status: int | None = None, retry_after: float | None = None) -> Outcome:
    return Outcome("ignored" if kind in IGNORED else "failure", kind, status, retry_after)


@pytest.mark.parametrize("name", HTTP)
def test_a_healthy_answer_is_understood_by_its_sdk(
    name: str, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """The server speaks each provider's language, so that the failures below are the provider's and not the test's."""
    assert open_call(name)()
    assert server.count() == 1


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", CALLS)
def test_an_http_status_and_retry_after_in_seconds_are_found(
    name: str, status: int, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """Wherever an SDK puts the status and the headers, the kind follows from the status and Retry-After is known."""
    server.answer(status, headers={"Retry-After": "7"})
    wait = None if name in NO_HEADERS else 7.0
    assert outcome_of(open_call(name)) == expected(STATUSES[status], status, wait)
    assert server.count() == 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("name", [name for name in CALLS if name not in NO_HEADERS])
def test_retry_after_as_a_date_becomes_seconds(
    name: str, status: int, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """An HTTP date is counted from the `now` that was given, not from a clock."""
    server.answer(status, headers={"Retry-After": http_date(NOW + 90)})
    assert outcome_of(open_call(name)) == expected(STATUSES[status], status, 90.0)


@pytest.mark.parametrize("name", CALLS)
def test_a_refused_connection_is_a_connection_failure(name: str, open_call: Callable[..., Call]) -> None:
    """A provider that is not there at all has failed."""
    assert outcome_of(open_call(name, url=refused_url())) == expected(Kind.CONNECTION)


@pytest.mark.parametrize("drop", [Drop(), Drop(reset=True)], ids=["closed", "reset"])
@pytest.mark.parametrize("name", CALLS)
def test_a_connection_dropped_before_the_answer_is_a_connection_failure(
    name: str, drop: Drop, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """A provider that hangs up, in order or not, has failed."""
    server.play(drop)
    assert outcome_of(open_call(name)) == expected(Kind.CONNECTION)


@pytest.mark.parametrize("name", HTTP)
def test_a_connection_dropped_in_the_middle_of_the_answer_is_a_connection_failure(
    name: str, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """Half an answer is a failure, although the status was 200."""
    server.cut(after=1)
    assert outcome_of(open_call(name)) == expected(Kind.CONNECTION)


@pytest.mark.parametrize("name", [name for name in CALLS if "stream" in name])
def test_a_stream_cut_after_some_items_is_a_connection_failure(
    name: str, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """A stream that dies after it has begun well is a failure, too."""
    server.play(Cut(after=2, reset=True))
    outcome = outcome_of(open_call(name))
    assert outcome == expected(Kind.CONNECTION)


@pytest.mark.parametrize("name", [name for name in CALLS if name not in NO_TIMEOUT])
def test_a_provider_that_never_answers_is_a_timeout(
    name: str, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """The SDK's own timeout is the provider's failure."""
    server.hang()
    assert outcome_of(open_call(name, timeout=0.2)) == expected(Kind.TIMEOUT)


@pytest.mark.parametrize("name", [name for name in HTTP if name not in NO_TIMEOUT and "stream" in name])
def test_a_stream_that_falls_silent_is_a_timeout(
    name: str, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """Silence between two items is the provider's failure; SDKs tend to call it a connection error."""
    server.stall(after=2)
    assert outcome_of(open_call(name, timeout=0.2)) == expected(Kind.TIMEOUT)


@pytest.mark.parametrize("name", ASYNC)
def test_a_cancelled_call_is_ignored(name: str, server: FaultServer, run: Run) -> None:
    """A barge-in cancels speech while the provider works on it: nobody's failure."""
    server.hang()
    cancelling = False

    def run_or_cancel(coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def cancelled() -> Any:
            task = asyncio.ensure_future(coroutine)
            await asyncio.to_thread(server.wait_for_requests, 1)
            task.cancel()
            return await task

        return run(cancelled() if cancelling else coroutine)

    with CALLS[name](server.url, run_or_cancel, 10.0) as call:
        cancelling = True
        outcome = outcome_of(call)
        cancelling = False
    assert outcome == expected(Kind.CANCELLED)


@pytest.mark.parametrize(
    ("name", "complaint", "outcome"),
    [
        ("openai_chat", "openai quota", expected(Kind.QUOTA, 429)),
        ("openai_chat_async", "openai quota", expected(Kind.QUOTA, 429)),
        ("httpx_get", "openai quota", expected(Kind.QUOTA, 429)),
        ("httpx2_get", "openai quota", expected(Kind.QUOTA, 429)),
        ("requests_get", "openai quota", expected(Kind.QUOTA, 429)),
        ("openai_chat", "openai rate", expected(Kind.RATE_LIMIT, 429)),
        ("openai_chat", "azure rate", expected(Kind.RATE_LIMIT, 429)),
        ("httpx_get", "azure rate", expected(Kind.RATE_LIMIT, 429)),
        ("anthropic_messages", "anthropic quota", expected(Kind.QUOTA, 400)),
        ("anthropic_messages_stream", "anthropic quota", expected(Kind.QUOTA, 400)),
        ("anthropic_messages_async", "anthropic quota", expected(Kind.QUOTA, 400)),
        ("elevenlabs_tts", "elevenlabs quota", expected(Kind.QUOTA, 401)),
        ("elevenlabs_tts_stream_async", "elevenlabs quota", expected(Kind.QUOTA, 401)),
        ("httpx_get", "elevenlabs quota", expected(Kind.QUOTA, 401)),
        ("elevenlabs_tts", "elevenlabs busy", expected(Kind.RATE_LIMIT, 429)),
        ("deepgram_listen", "deepgram quota", expected(Kind.QUOTA, 402)),
        ("groq_chat", "groq rate", expected(Kind.RATE_LIMIT, 429)),
        ("genai_generate", "gemini quota per day", expected(Kind.QUOTA, 429, 26.0)),
        ("genai_generate_async", "gemini quota per day", expected(Kind.QUOTA, 429, 26.0)),
        ("genai_generate", "gemini quota per minute", expected(Kind.RATE_LIMIT, 429, 26.0)),
        ("genai_generate_stream", "gemini quota per minute", expected(Kind.RATE_LIMIT, 429, 26.0)),
        ("genai_generate", "gemini key", expected(Kind.AUTH, 400)),
        ("genai_generate_async", "gemini key", expected(Kind.AUTH, 400)),
        ("twilio_call", "twilio 20003", expected(Kind.AUTH, 401)),
        ("twilio_call", "twilio 20429", expected(Kind.RATE_LIMIT, 429)),
        ("twilio_call", "twilio 21211", expected(Kind.BAD_REQUEST, 400)),
        ("twilio_call_async", "twilio 21211", expected(Kind.BAD_REQUEST, 400)),
        ("twilio_call", "twilio 21214", expected(Kind.BAD_REQUEST, 400)),
        ("twilio_call", "twilio 21215", expected(Kind.BAD_REQUEST, 403)),
        ("twilio_call", "twilio 21610", expected(Kind.BAD_REQUEST, 400)),
        ("twilio_call_async", "twilio 60203", expected(Kind.BAD_REQUEST, 429)),
        ("slack_message", "slack ratelimited", expected(Kind.RATE_LIMIT, 429)),
        ("slack_message", "slack invalid_auth", expected(Kind.AUTH)),
        ("slack_message_async", "slack invalid_auth", expected(Kind.AUTH)),
        ("slack_message", "slack channel_not_found", expected(Kind.BAD_REQUEST)),
        ("slack_message_async", "slack internal_error", expected(Kind.SERVER)),
    ],
)
def test_what_a_provider_complains_of_is_understood(
    name: str, complaint: str, outcome: Outcome, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """The documented body of an answer is more exact than its status: used-up credit, a callee that is no number."""
    server.answer(*COMPLAINTS[complaint])
    assert outcome_of(open_call(name)) == outcome


@pytest.mark.parametrize(
    ("name", "reply", "kind"),
    [
        ("openai_chat_stream", openai_error_event("server_error"), Kind.SERVER),
        ("openai_chat_stream_async", openai_error_event("rate_limit_exceeded"), Kind.RATE_LIMIT),
        ("openai_chat_stream", openai_error_event("insufficient_quota"), Kind.QUOTA),
        ("openai_responses_stream", openai_error_event("server_error"), Kind.SERVER),
        ("anthropic_messages_stream", anthropic_error_event("overloaded_error"), Kind.SERVER),
        ("anthropic_messages_stream", anthropic_error_event("rate_limit_error"), Kind.RATE_LIMIT),
        ("anthropic_messages_stream", anthropic_error_event("authentication_error"), Kind.AUTH),
        ("anthropic_messages_stream", anthropic_error_event("invalid_request_error"), Kind.BAD_REQUEST),
    ],
)
def test_an_error_event_inside_http_200_is_understood(
    name: str, reply: Reply, kind: Kind, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """A stream that reports its own failure has no HTTP status to tell by, only a word."""
    server.answer(body=reply)
    assert outcome_of(open_call(name)) == expected(kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("deepgram_listen", Kind.SERVER),
        ("slack_message", Kind.SERVER),
        ("slack_message_async", Kind.SERVER),
        ("genai_generate", Kind.UNKNOWN),  # a bare JSONDecodeError, which the application might have raised as well
        ("twilio_call", Kind.UNKNOWN),
    ],
)
def test_html_with_status_200_is_the_providers_failure(
    name: str, kind: Kind, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """A maintenance page is not an answer, whatever its status says."""
    server.answer(200, "<html>maintenance</html>", headers={"Content-Type": "text/html"})
    assert outcome_of(open_call(name)) == expected(kind)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 400, Kind.RATE_LIMIT),
        ("ServiceQuotaExceededException", 402, Kind.QUOTA),
        ("UnrecognizedClientException", 400, Kind.AUTH),
        ("ServiceFailureException", 500, Kind.SERVER),
        ("TextLengthExceededException", 400, Kind.BAD_REQUEST),
    ],
)
def test_the_code_of_aws_is_more_exact_than_the_status(
    code: str, status: int, kind: Kind, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """AWS throttles with 400 here and 429 there."""
    body = {"message": "Rate exceeded"}
    server.answer(status, body, headers={"x-amzn-errortype": code, "Retry-After": "3"})
    assert outcome_of(open_call("botocore_polly")) == expected(kind, status, 3.0)


CLOSES = {
    1000: Kind.CANCELLED,
    1001: Kind.CONNECTION,
    1003: Kind.BAD_REQUEST,
    1007: Kind.BAD_REQUEST,
    1008: Kind.AUTH,
    1009: Kind.BAD_REQUEST,
    1011: Kind.SERVER,
    1012: Kind.SERVER,
    1013: Kind.RATE_LIMIT,
    4000: Kind.UNKNOWN,
    4401: Kind.AUTH,
    4429: Kind.RATE_LIMIT,
    4503: Kind.SERVER,
    None: Kind.CONNECTION,
}


@pytest.mark.parametrize("code", CLOSES)
@pytest.mark.parametrize("name", WEBSOCKETS)
def test_a_websocket_that_the_provider_closes_is_classified_by_its_code(
    name: str, code: int | None, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """Close codes say whose trouble it is; None is a connection that was reset."""
    if (name, code) == ("elevenlabs_websocket", 1000):
        return  # its SDK takes an orderly end for the end of the audio, unless it was just sending: nothing to classify
    server.play(Socket(after=0, code=code))
    assert outcome_of(open_call(name)) == expected(CLOSES[code])


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1008, "quota_exceeded", Kind.QUOTA),
        (1008, "You have exceeded your quota of characters", Kind.QUOTA),
        (4002, "Insufficient Funds", Kind.QUOTA),
        (4001, "Not Authorized", Kind.AUTH),
        (1011, "Too many requests", Kind.RATE_LIMIT),
    ],
)
@pytest.mark.parametrize("name", [name for name in WEBSOCKETS if not name.startswith("aiohttp")])
def test_the_reason_of_a_close_frame_is_more_exact_than_its_code(
    name: str, code: int, reason: str, kind: Kind, server: FaultServer, open_call: Callable[..., Call]
) -> None:
    """Providers use one close code for many things and say which in words."""
    server.play(Socket(after=0, code=code, reason=reason))
    assert outcome_of(open_call(name)) == expected(kind)


def test_a_websocket_that_the_application_closes_is_ignored(server: FaultServer) -> None:
    """A barge-in that closes the socket leaves its reader with an exception that is nobody's failure."""
    with websockets.sync.client.connect(server.ws_url, proxy=None) as socket:
        socket.close()
        assert outcome_of(socket.recv) == expected(Kind.CANCELLED)


def test_a_websocket_that_answers_no_pings_is_a_timeout(server: FaultServer) -> None:
    """Keepalive closes the socket from our side, but because of the provider's silence."""
    server.play(Socket(pong=False))
    connect = websockets.sync.client.connect
    with connect(server.ws_url, proxy=None, ping_interval=0.05, ping_timeout=0.05, close_timeout=0.05) as socket:
        assert outcome_of(socket.recv) == expected(Kind.TIMEOUT)


@pytest.mark.parametrize(
    "construct",
    [
        openai.OpenAI,
        groq.Groq,
        deepgram.DeepgramClient,
        genai.Client,
    ],
)
def test_a_client_without_a_key_is_an_auth_failure(
    construct: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is missing takes the provider down for everybody, as one that was revoked does."""
    for name in ("OPENAI", "GROQ", "DEEPGRAM", "GOOGLE", "GEMINI"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
    assert outcome_of(construct) == expected(Kind.AUTH)


def test_aws_without_credentials_is_an_auth_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of AWS, whose client notices when it signs."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    client = botocore.session.Session().create_client("polly", region_name="us-east-1")
    assert outcome_of(client.describe_voices) == expected(Kind.AUTH)


def test_parameters_that_aws_refuses_to_send_are_a_bad_request(open_call: Callable[..., Call]) -> None:
    """botocore validates against the service's model before anything is sent."""
    client = botocore.session.Session().create_client(
        "polly", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="s"
    )
    assert outcome_of(lambda: client.synthesize_speech(Text=1)) == expected(Kind.BAD_REQUEST)
