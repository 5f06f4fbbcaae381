"""What providers call their troubles: the tables that ``classify`` looks things up in, and where each comes from.

Tables only. A word that is missing here is not an error: the outcome is then a failure of kind unknown.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from recloser.core.outcome import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AUTH_PHRASES",
    "CANCELLED_NAMES",
    "CLASS_NAMES",
    "CLOSE_CODES",
    "CONNECT_PHRASES",
    "GRPC",
    "KEY_PHRASES",
    "LOST_PHRASES",
    "NETWORK_ERRNOS",
    "OWN_CLOSE_CODES",
    "PER_DAY",
    "PER_MINUTE",
    "QUOTA_PHRASES",
    "QUOTA_PROSE",
    "RATE_PHRASES",
    "STATUSES",
    "TIMEOUT_PHRASES",
    "TWILIO",
    "WORDS",
]

# HTTP statuses that do not follow the rule "4xx is the caller's mistake, 5xx the server's trouble" (RFC 9110, 6585).
STATUSES: Final[Mapping[int, Kind]] = {
    401: Kind.AUTH,
    402: Kind.QUOTA,
    403: Kind.AUTH,
    407: Kind.AUTH,  # a proxy in between rejects us: down for everybody behind it
    408: Kind.TIMEOUT,
    419: Kind.AUTH,  # session or key expired, outside the RFCs, as are 440 and 498
    420: Kind.RATE_LIMIT,  # "enhance your calm"
    421: Kind.CONNECTION,  # sent to a server that cannot answer for this host: another connection may
    424: Kind.SERVER,  # Bedrock ModelErrorException, text-generation-inference: the model behind the API failed
    425: Kind.SERVER,  # the server does not want it yet: nothing is wrong with the request
    429: Kind.RATE_LIMIT,
    440: Kind.AUTH,
    498: Kind.AUTH,
    499: Kind.CANCELLED,  # nginx, and Google for gRPC CANCELLED: the client hung up
    504: Kind.TIMEOUT,
    522: Kind.TIMEOUT,  # Cloudflare: the origin did not accept a connection in time
    524: Kind.TIMEOUT,  # Cloudflare: the origin did not answer in time
    598: Kind.TIMEOUT,  # proxies: network read timeout
    599: Kind.TIMEOUT,  # proxies: network connect timeout
}

# https://grpc.io/docs/guides/status-codes/, turned as google.api_core turns them into HTTP.
GRPC: Final[Mapping[str, Kind]] = {
    "CANCELLED": Kind.CANCELLED,
    "UNKNOWN": Kind.UNKNOWN,
    "INVALID_ARGUMENT": Kind.BAD_REQUEST,
    "DEADLINE_EXCEEDED": Kind.TIMEOUT,
    "NOT_FOUND": Kind.BAD_REQUEST,
    "ALREADY_EXISTS": Kind.BAD_REQUEST,
    "PERMISSION_DENIED": Kind.AUTH,
    "RESOURCE_EXHAUSTED": Kind.RATE_LIMIT,
    "FAILED_PRECONDITION": Kind.BAD_REQUEST,
    "ABORTED": Kind.BAD_REQUEST,  # 409: two callers in each other's way
    "OUT_OF_RANGE": Kind.BAD_REQUEST,  # Google speech: the stream is longer than one stream may be
    "UNIMPLEMENTED": Kind.SERVER,
    "INTERNAL": Kind.SERVER,
    "UNAVAILABLE": Kind.SERVER,
    "DATA_LOSS": Kind.SERVER,
    "UNAUTHENTICATED": Kind.AUTH,
}

# RFC 6455 section 7.4 and IANA's registry, for a close frame that the provider sent first.
CLOSE_CODES: Final[Mapping[int, Kind]] = {
    1000: Kind.CANCELLED,  # an orderly end is nobody's failure
    1001: Kind.CONNECTION,  # it goes away in the middle of our session
    1002: Kind.CONNECTION,
    1003: Kind.BAD_REQUEST,  # data of a type it does not take
    1005: Kind.CANCELLED,  # closed in order, without a code
    1006: Kind.CONNECTION,
    1007: Kind.BAD_REQUEST,  # our payload is not what it says
    1008: Kind.AUTH,  # policy: in practice the key or the plan (ElevenLabs, Deepgram, Gemini live)
    1009: Kind.BAD_REQUEST,  # our message is too big
    1010: Kind.BAD_REQUEST,
    1011: Kind.SERVER,
    1012: Kind.SERVER,
    1013: Kind.RATE_LIMIT,
    1014: Kind.SERVER,
    1015: Kind.CONNECTION,
}

# The same for a close frame that our side sent first because of what it received.
OWN_CLOSE_CODES: Final[Mapping[int, Kind]] = {
    1002: Kind.SERVER,
    1003: Kind.SERVER,
    1007: Kind.SERVER,
    1009: Kind.UNKNOWN,  # larger than our own limit: either side may be to blame
}

# Twilio's own numbers where they say something else than the HTTP status, or come without one, as in a status callback;
# the rest of 21xxx is about one callee or one request (https://www.twilio.com/docs/api/errors).
TWILIO: Final[Mapping[int, Kind]] = {
    10001: Kind.AUTH,  # account is not active
    10004: Kind.RATE_LIMIT,  # the account's limit of concurrent calls
    10005: Kind.AUTH,  # voice calling has been disabled for this account
    20003: Kind.AUTH,
    20005: Kind.AUTH,  # account not active
    20403: Kind.AUTH,  # the account has been suspended or closed
    20429: Kind.RATE_LIMIT,
    21611: Kind.RATE_LIMIT,  # this From number has a full queue
    21730: Kind.SERVER,  # Twilio is under maintenance
    60202: Kind.BAD_REQUEST,  # Verify, one recipient: too many checks
    60203: Kind.BAD_REQUEST,  # Verify, one recipient: too many sends, although the status is 429
    60212: Kind.BAD_REQUEST,  # Verify, one recipient: too many at once
    63038: Kind.QUOTA,  # the account's messages of this day are used up
}

# Error.Code of AWS, whose HTTP status depends on the service (throttling is 400 in Polly and 429 in Bedrock).
# Throttling: the list of botocore.retries.standard. Lower case, as event streams write them in camel case.
_AWS: Final[Mapping[str, Kind]] = {
    "throttling": Kind.RATE_LIMIT,
    "throttlingexception": Kind.RATE_LIMIT,
    "throttledexception": Kind.RATE_LIMIT,
    "requestthrottled": Kind.RATE_LIMIT,
    "requestthrottledexception": Kind.RATE_LIMIT,
    "toomanyrequestsexception": Kind.RATE_LIMIT,
    "provisionedthroughputexceededexception": Kind.RATE_LIMIT,
    "transactioninprogressexception": Kind.RATE_LIMIT,
    "requestlimitexceeded": Kind.RATE_LIMIT,
    "bandwidthlimitexceeded": Kind.RATE_LIMIT,
    "limitexceededexception": Kind.RATE_LIMIT,
    "slowdown": Kind.RATE_LIMIT,
    "priorrequestnotcomplete": Kind.RATE_LIMIT,
    "ec2throttledexception": Kind.RATE_LIMIT,
    "servicequotaexceededexception": Kind.QUOTA,
    "accessdenied": Kind.AUTH,
    "accessdeniedexception": Kind.AUTH,
    "authfailure": Kind.AUTH,
    "expiredtoken": Kind.AUTH,
    "expiredtokenexception": Kind.AUTH,
    "incompletesignature": Kind.AUTH,
    "invalidaccesskeyid": Kind.AUTH,
    "invalidclienttokenid": Kind.AUTH,
    "invalidsignatureexception": Kind.AUTH,
    "missingauthenticationtoken": Kind.AUTH,
    "optinrequired": Kind.AUTH,
    "signaturedoesnotmatch": Kind.AUTH,
    "subscriptionrequiredexception": Kind.AUTH,
    "unrecognizedclientexception": Kind.AUTH,
    "requesttimeout": Kind.TIMEOUT,
    "requesttimeoutexception": Kind.TIMEOUT,
    "modeltimeoutexception": Kind.TIMEOUT,
    "internalfailure": Kind.SERVER,
    "internalserverexception": Kind.SERVER,
    "modelerrorexception": Kind.SERVER,
    "modelnotreadyexception": Kind.SERVER,
    "modelstreamerrorexception": Kind.SERVER,
    "servicefailureexception": Kind.SERVER,
    "serviceunavailable": Kind.SERVER,
    "serviceunavailableexception": Kind.SERVER,
    "validationexception": Kind.BAD_REQUEST,
}

# ``code``, ``type``, ``status`` or ``error`` in the bodies of the others, for errors inside an answer with HTTP 200
# (server-sent events, Slack) and for those that a status hides (ElevenLabs says 401 when the plan is used up).
_OTHERS: Final[Mapping[str, Kind]] = {
    # OpenAI, Groq: https://platform.openai.com/docs/guides/error-codes
    "insufficient_quota": Kind.QUOTA,
    "billing_hard_limit_reached": Kind.QUOTA,
    "billing_not_active": Kind.QUOTA,
    "rate_limit_exceeded": Kind.RATE_LIMIT,
    "invalid_api_key": Kind.AUTH,
    "server_error": Kind.SERVER,
    "internal_server_error": Kind.SERVER,
    "invalid_request_error": Kind.BAD_REQUEST,
    # Anthropic: https://docs.anthropic.com/en/api/errors
    "billing_error": Kind.QUOTA,
    "rate_limit_error": Kind.RATE_LIMIT,
    "authentication_error": Kind.AUTH,
    "permission_error": Kind.AUTH,
    "api_error": Kind.SERVER,
    "overloaded_error": Kind.SERVER,
    "timeout_error": Kind.TIMEOUT,
    "not_found_error": Kind.BAD_REQUEST,
    "request_too_large": Kind.BAD_REQUEST,
    # ElevenLabs
    "quota_exceeded": Kind.QUOTA,
    "too_many_concurrent_requests": Kind.RATE_LIMIT,
    "system_busy": Kind.SERVER,
    # Deepgram: https://developers.deepgram.com/docs/stt-troubleshooting-websocket-data-and-net-errors
    "asr_payment_required": Kind.QUOTA,
    "insufficient_credits": Kind.QUOTA,
    "invalid_auth": Kind.AUTH,  # Deepgram and Slack
    "data_0000": Kind.BAD_REQUEST,  # the payload is not audio
    "net_0000": Kind.SERVER,
    "net_0001": Kind.SERVER,  # no audio arrived: Deepgram, the network, or a client that sends no KeepAlive
    # Google: google.rpc.Code, ErrorInfo.reason, and the reasons of its older APIs
    "api_key_invalid": Kind.AUTH,
    "api_key_expired": Kind.AUTH,
    "access_token_expired": Kind.AUTH,
    "unauthenticated": Kind.AUTH,
    "permission_denied": Kind.AUTH,
    "billing_disabled": Kind.QUOTA,
    "quotaexceeded": Kind.QUOTA,
    "dailylimitexceeded": Kind.QUOTA,
    "ratelimitexceeded": Kind.RATE_LIMIT,
    "userratelimitexceeded": Kind.RATE_LIMIT,
    "resource_exhausted": Kind.RATE_LIMIT,
    "deadline_exceeded": Kind.TIMEOUT,
    # Slack: the errors of https://docs.slack.dev/reference/methods/chat.postMessage that are not about the request
    "ratelimited": Kind.RATE_LIMIT,
    "rate_limited": Kind.RATE_LIMIT,
    "message_limit_exceeded": Kind.QUOTA,
    "account_inactive": Kind.AUTH,
    "ekm_access_denied": Kind.AUTH,
    "missing_scope": Kind.AUTH,
    "no_permission": Kind.AUTH,
    "not_allowed_token_type": Kind.AUTH,
    "not_authed": Kind.AUTH,
    "org_login_required": Kind.AUTH,
    "access_denied": Kind.AUTH,
    "token_expired": Kind.AUTH,
    "token_revoked": Kind.AUTH,
    "team_access_not_granted": Kind.AUTH,
    "accesslimited": Kind.SERVER,
    "fatal_error": Kind.SERVER,
    "internal_error": Kind.SERVER,
    "service_unavailable": Kind.SERVER,
    "team_added_to_org": Kind.SERVER,
    "request_timeout": Kind.TIMEOUT,
}

WORDS: Final[Mapping[str, Kind]] = {**_AWS, **_OTHERS}


def _whole(*phrases: str) -> tuple[str, ...]:
    """The phrases as they are looked for in text that has one space around each of its words."""
    return tuple(f" {phrase} " for phrase in phrases)


# Phrases are compared with text in lower case whose punctuation became spaces, as whole words: "quota_exceeded" and
# "Quota exceeded:" are found, "quotation" is not. Bare "quota" or "billing" would not do: Azure links to
# aka.ms/oai/quotaincrease and Groq to console.groq.com/settings/billing in ordinary rate limits.
QUOTA_PHRASES: Final = _whole(
    "insufficient quota",
    "quota exceeded",
    "quota exhausted",
    "exceeded your current quota",
    "exceeded your quota",
    "exceeds your quota",
    "exceeded quota",
    "quota has been exceeded",
    "quota limit reached",
    "credit balance is too low",  # Anthropic, with HTTP 400 (router-for-me/CLIProxyAPI#3859)
    "billing hard limit",
    "requires billing to be enabled",
    "monthly spending limit",
    "used all available credits",  # xAI
    "not enough credits",
    "out of credits",
)

# Words that callers speak as well ("your account has insufficient funds"). They are believed where the provider has
# said that it is about the account, never in a 400, which may quote the request.
QUOTA_PROSE: Final = _whole(
    "insufficient funds",  # AssemblyAI
    "insufficient balance",  # DeepSeek
    "insufficient credits",
    "payment required",
)

# Google calls its limits per minute a quota, too ("Quota exceeded for quota metric ... per minute", and quotaId
# "...PerMinutePerProject" behind "You exceeded your current quota"): such a limit is over in a minute, one per day is
# not. Parts, not words: they occur inside names.
PER_MINUTE: Final = ("per minute", "perminute", "per second", "persecond")
PER_DAY: Final = ("per day", "perday", "per month", "permonth")

KEY_PHRASES: Final = _whole("api key not valid", "api key not found", "api key expired")  # Gemini, with HTTP 400

AUTH_PHRASES: Final = _whole(
    "invalid api key",
    "incorrect api key",
    "invalid credentials",
    "unauthorized",
    "not authorized",
    "missing credentials",  # the constructor of openai without a key; of groq, deepgram and google-genai below
    "api key client option must be set",
    "passing in api key",
    "no api key was provided",
)

CONNECT_PHRASES: Final = _whole(
    "failed to connect", "connection refused", "connection reset", "socket closed", "dns resolution"
)

# Said of what came to an end by itself, where there is no exception whose class would tell.
LOST_PHRASES: Final = _whole(
    "cannot connect",
    "could not connect",
    "unable to connect",
    "connect call failed",
    "connection error",
    "connection failed",
    "connection lost",
    "connection closed",
    "connection aborted",
    "all connection attempts failed",
    "server disconnected",
    "no close frame received",
    "name or service not known",
    "name resolution",
    "broken pipe",
    "not connected",
)

TIMEOUT_PHRASES: Final = _whole("timeout", "timed out", "deadline exceeded", "took too long")

RATE_PHRASES: Final = _whole("rate limit", "rate limited", "too many requests", "rate exceeded", "throttled")

# Exceptions (not BaseExceptions) that say "we stopped it ourselves": concurrent.futures, google.api_core, temporalio,
# grpc, and anyio's and trio's error for a resource that was closed by our own end.
CANCELLED_NAMES: Final = frozenset({"CancelledError", "Cancelled", "FutureCancelledError", "ClosedResourceError"})

# Parts of class names, looked for from the most derived class up; of two in one name the first here wins
# (ConnectTimeout is a timeout). Everything here but the last block is a failure anyway: a name only tells the kind.
CLASS_NAMES: Final = (
    ("Timeout", Kind.TIMEOUT),
    ("TimedOut", Kind.TIMEOUT),
    ("TooSlow", Kind.TIMEOUT),  # trio
    ("DeadlineExceeded", Kind.TIMEOUT),
    ("RateLimit", Kind.RATE_LIMIT),
    ("Throttl", Kind.RATE_LIMIT),
    ("TooManyRequests", Kind.RATE_LIMIT),
    ("QuotaExceeded", Kind.QUOTA),
    ("InsufficientQuota", Kind.QUOTA),
    ("PaymentRequired", Kind.QUOTA),
    ("Authenticat", Kind.AUTH),
    ("Unauthorized", Kind.AUTH),
    ("Credential", Kind.AUTH),
    ("RefreshError", Kind.AUTH),  # google.auth
    ("Connect", Kind.CONNECTION),
    ("Disconnect", Kind.CONNECTION),
    ("Network", Kind.CONNECTION),
    ("Transport", Kind.CONNECTION),
    ("Handshake", Kind.CONNECTION),
    ("ReadError", Kind.CONNECTION),
    ("WriteError", Kind.CONNECTION),
    ("IncompleteRead", Kind.CONNECTION),
    ("PayloadError", Kind.CONNECTION),  # aiohttp
    ("ChunkedEncoding", Kind.CONNECTION),  # requests
    ("StreamingError", Kind.CONNECTION),  # botocore
    ("ProtocolError", Kind.CONNECTION),
    ("ProxyError", Kind.CONNECTION),
    ("SSLError", Kind.CONNECTION),
    ("SSLCertVerif", Kind.CONNECTION),
    ("URLError", Kind.CONNECTION),
    ("BadStatusLine", Kind.CONNECTION),
    ("gaierror", Kind.CONNECTION),
    ("EOFError", Kind.CONNECTION),
    ("EndOfStream", Kind.CONNECTION),  # anyio, as the next
    ("BrokenResource", Kind.CONNECTION),
    ("ServiceUnavailable", Kind.SERVER),
    ("InternalServer", Kind.SERVER),
    ("Overloaded", Kind.SERVER),
    ("ServerError", Kind.SERVER),
    ("ParamValidation", Kind.BAD_REQUEST),  # botocore: never sent
    ("FinishReasonError", Kind.BAD_REQUEST),  # openai: the answer came, cut at our max_tokens or by the content filter
)

# For an OSError that has no class of its own.
NETWORK_ERRNOS: Final = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
    }
)
