"""What healthy providers send, and a few documented ways in which they complain, in their own wire formats.

Only as much of each format as their SDKs need to be content. :mod:`tests.faults` serves it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["AUDIO", "COMPLAINTS", "Reply", "anthropic_error_event", "healthy", "openai_error_event"]

AUDIO = b"\x00\x01\x02\x03" * 64


@dataclass(frozen=True)
class Reply:
    """An HTTP answer: sent with a Content-Length if it is no stream, chunk by chunk if it is."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Sequence[bytes] = ()
    stream: bool = False

    @classmethod
    def of(cls, status: int, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        """A whole body: bytes and text as they are, anything else as JSON."""
        if isinstance(body, bytes):
            content, media = body, "application/octet-stream"
        elif isinstance(body, str):
            content, media = body.encode(), "text/plain"
        else:
            content, media = json.dumps(body).encode(), "application/json"
        half = len(content) // 2  # in two chunks, so that it can be cut in the middle
        chunks = [part for part in (content[:half], content[half:]) if part]
        return cls(status, {"Content-Type": media, **(headers or {})}, chunks)

    @classmethod
    def events(cls, *events: object, named: bool = False, end: str = "") -> Reply:
        """Server-sent events, one chunk each; `named` writes each one's `type` as the event's name, too."""
        chunks = [
            (f"event: {event['type']}\n" if named else "").encode() + f"data: {json.dumps(event)}\n\n".encode()
            for event in events
        ]
        if end:
            chunks.append(f"data: {end}\n\n".encode())
        return cls(200, {"Content-Type": "text/event-stream"}, chunks, stream=True)

    @classmethod
    def audio(cls, media: str = "audio/mpeg") -> Reply:
        """Four chunks of what passes for audio."""
        quarter = len(AUDIO) // 4
        chunks = [AUDIO[start : start + quarter] for start in range(0, len(AUDIO), quarter)]
        return cls(200, {"Content-Type": media}, chunks, stream=True)


def healthy(path: str, body: bytes) -> Reply:
    """The answer of a provider in good health, found by the path."""
    for part, reply in _HEALTHY.items():
        if part in path:
            return reply(_json(body), path)
    return Reply.of(200, {"ok": True})


def _json(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _chat(request: dict[str, object], path: str) -> Reply:
    """OpenAI and Groq, /chat/completions."""
    head = {"id": "chatcmpl-1", "created": 1, "model": "m"}
    if not request.get("stream"):
        message = {"role": "assistant", "content": "Hello there"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        return Reply.of(200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    deltas = [{"role": "assistant", "content": ""}, {"content": "Hello"}, {"content": " there"}, {}]
    events = [
        {
            **head,
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
        }
        for delta in deltas
    ]
    return Reply.events(*events, end="[DONE]")


def _responses(request: dict[str, object], path: str) -> Reply:
    """OpenAI, /responses."""
    text = {"type": "output_text", "text": "Hello there", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    if not request.get("stream"):
        return Reply.of(200, response)
    delta = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    return Reply.events(
        {"type": "response.created", "sequence_number": 0, "response": {**response, "output": []}},
        {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Hello", **delta},
        {"type": "response.output_text.delta", "sequence_number": 2, "delta": " there", **delta},
        {"type": "response.completed", "sequence_number": 3, "response": response},
        named=True,
    )


def _messages(request: dict[str, object], path: str) -> Reply:
    """Anthropic, /v1/messages."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello there"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    if not request.get("stream"):
        return Reply.of(200, message)
    return Reply.events(
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " there"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
        named=True,
    )


def _gemini(request: dict[str, object], path: str) -> Reply:
    """Google genai, :generateContent and :streamGenerateContent."""
    texts = ["Hello", " there"] if "stream" in path else ["Hello there"]
    candidates = [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0} for text in texts]
    answers = [{"candidates": [candidate], "modelVersion": "m"} for candidate in candidates]
    return Reply.events(*answers) if "stream" in path else Reply.of(200, answers[0])


def _listen(request: dict[str, object], path: str) -> Reply:
    """Deepgram, /v1/listen."""
    alternative = {"transcript": "hello there", "confidence": 0.9, "words": []}
    metadata = {
        "request_id": "00000000-0000-0000-0000-000000000000",
        "sha256": "0",
        "created": "2024-01-01T00:00:00.000Z",
        "duration": 1.0,
        "channels": 1,
        "models": [],
        "model_info": {},
    }
    return Reply.of(200, {"metadata": metadata, "results": {"channels": [{"alternatives": [alternative]}]}})


def _twilio(request: dict[str, object], path: str) -> Reply:
    """Twilio, Calls.json and Messages.json."""
    return Reply.of(201, {"sid": "CA" + "0" * 32, "status": "queued", "account_sid": "AC" + "0" * 32})


def _transcription(request: dict[str, object], path: str) -> Reply:
    return Reply.of(200, {"text": "hello there"})


def _audio(request: dict[str, object], path: str) -> Reply:
    return Reply.audio()


def _slack(request: dict[str, object], path: str) -> Reply:
    return Reply.of(200, {"ok": True, "channel": "C1", "ts": "1700000000.000100", "message": {"text": "hello"}})


def _slack_webhook(request: dict[str, object], path: str) -> Reply:
    return Reply.of(200, "ok")


_HEALTHY: Mapping[str, Callable[[dict[str, object], str], Reply]] = {
    "/chat/completions": _chat,
    "/responses": _responses,
    "/audio/speech": _audio,
    "/audio/transcriptions": _transcription,
    "/v1/messages": _messages,
    "enerateContent": _gemini,
    "/v1/text-to-speech/": _audio,
    "/v1/listen": _listen,
    "/v1/speak": _audio,
    "/tts/bytes": _audio,
    "Calls.json": _twilio,
    "Messages.json": _twilio,
    "/v1/speech": _audio,  # AWS Polly
    "/chat.postMessage": _slack,
    "/services/": _slack_webhook,
}


def openai_error_event(code: str = "server_error", message: str = "The server had an error") -> Reply:
    """OpenAI's stream that begins well and then reports an error, all inside HTTP 200."""
    first = json.loads(_chat({"stream": True}, "").chunks[0].removeprefix(b"data: "))
    return Reply.events(first, {"error": {"message": message, "type": code, "code": code, "param": None}})


def anthropic_error_event(kind: str = "overloaded_error", message: str = "Overloaded") -> Reply:
    """Anthropic's stream that begins well and then reports an error, all inside HTTP 200."""
    start = _messages({"stream": True}, "").chunks[0]
    error = Reply.events({"type": "error", "error": {"type": kind, "message": message}}, named=True)
    return Reply(200, error.headers, [start, *error.chunks], stream=True)


_GOOGLE_QUOTA = "You exceeded your current quota, please check your plan and billing details."


def _google_quota(quota_id: str) -> dict[str, object]:
    return {
        "error": {
            "code": 429,
            "message": _GOOGLE_QUOTA,
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota_id}]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"},
            ],
        }
    }


COMPLAINTS: Mapping[str, tuple[int, object]] = {
    # Status and body as documented, or as quoted in issues where the documentation is silent.
    "openai quota": (
        429,
        {
            "error": {
                "message": _GOOGLE_QUOTA,
                "type": "insufficient_quota",
                "param": None,
                "code": "insufficient_quota",
            }
        },
    ),
    "openai rate": (
        429,
        {
            "error": {
                "message": "Rate limit reached for m in organization org on requests per min (RPM): Limit 3, Used 3. "
                "Please try again in 20s. You can increase your rate limit by adding a payment method to your account "
                "at https://platform.openai.com/account/billing.",
                "type": "requests",
                "param": None,
                "code": "rate_limit_exceeded",
            }
        },
    ),
    "azure rate": (
        429,
        {
            "error": {
                "code": "429",
                "message": "Requests to the ChatCompletions_Create Operation have exceeded call rate limit of your "
                "current OpenAI S0 pricing tier. Please retry after 7 seconds. Please go here: "
                "https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.",
            }
        },
    ),
    "anthropic quota": (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API. "
                "Please go to Plans & Billing to upgrade or purchase credits.",
            },
        },
    ),
    "elevenlabs quota": (
        401,
        {"detail": {"status": "quota_exceeded", "message": "This request exceeds your quota of 10000."}},
    ),
    "elevenlabs busy": (
        429,
        {"detail": {"status": "too_many_concurrent_requests", "message": "Too many concurrent requests."}},
    ),
    "deepgram quota": (
        402,
        {"err_code": "ASR_PAYMENT_REQUIRED", "err_msg": "Project does not have enough credits.", "request_id": "0"},
    ),
    "groq rate": (
        429,
        {
            "error": {
                "message": "Rate limit reached for model `m` in organization `o` on tokens per day (TPD): Limit 100000."
                " Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing",
                "type": "tokens",
                "code": "rate_limit_exceeded",
            }
        },
    ),
    "gemini quota per day": (429, _google_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")),
    "gemini quota per minute": (429, _google_quota("GenerateContentInputTokensPerModelPerMinute-FreeTier")),
    "gemini key": (
        400,
        {
            "error": {
                "code": 400,
                "message": "API key not valid. Please pass a valid API key.",
                "status": "INVALID_ARGUMENT",
                "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
            }
        },
    ),
    "twilio 20003": (401, {"code": 20003, "message": "Authenticate", "status": 401}),
    "twilio 20429": (429, {"code": 20429, "message": "Too Many Requests", "status": 429}),
    "twilio 21211": (400, {"code": 21211, "message": "Invalid 'To' Phone Number: +1500", "status": 400}),
    "twilio 21214": (400, {"code": 21214, "message": "'To' phone number cannot be reached", "status": 400}),
    "twilio 21215": (403, {"code": 21215, "message": "Account not authorized to call +1500", "status": 403}),
    "twilio 21610": (400, {"code": 21610, "message": "Attempt to send to unsubscribed recipient", "status": 400}),
    "twilio 60203": (429, {"code": 60203, "message": "Max send attempts reached", "status": 429}),
    "slack ratelimited": (429, {"ok": False, "error": "ratelimited"}),
    "slack invalid_auth": (200, {"ok": False, "error": "invalid_auth"}),
    "slack channel_not_found": (200, {"ok": False, "error": "channel_not_found"}),
    "slack internal_error": (200, {"ok": False, "error": "internal_error"}),
}
