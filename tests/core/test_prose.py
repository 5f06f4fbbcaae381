"""Errors that are only told of in a sentence are judged by it: by a status, a close code, a word of the provider's."""

from __future__ import annotations

import pytest

from recloser.core.classify import classify_text
from recloser.core.outcome import Kind

SENTENCES = [
    ("ElevenLabs error: HTTP 503", Kind.SERVER, 503),
    ("server rejected WebSocket connection: HTTP 429", Kind.RATE_LIMIT, 429),
    ("Error code: 401 - {'error': {'message': 'no', 'type': 'x'}}", Kind.AUTH, 401),
    ('{"detail": {"status": "quota_exceeded"}, "status": 401}', Kind.QUOTA, 401),
    ("status 429: Quota exceeded for quota metric, limit per minute", Kind.RATE_LIMIT, 429),
    ("status_code=400, the voice does not exist", Kind.BAD_REQUEST, 400),
    ("400 Bad Request: API key not valid", Kind.AUTH, 400),
    ("Error: 404 Not Found", Kind.BAD_REQUEST, 404),
    ("503 Service Unavailable", Kind.SERVER, 503),
    ("received 1011 (internal error); then sent 1011 (internal error)", Kind.SERVER, None),
    ("received 1008 (policy violation) quota_exceeded", Kind.QUOTA, None),
    ("closed with code 4429", Kind.RATE_LIMIT, None),
    ("no close frame received or sent", Kind.CONNECTION, None),
    ("[Errno 111] Connect call failed ('127.0.0.1', 9)", Kind.CONNECTION, None),
    ("request timed out after 10 s", Kind.TIMEOUT, None),
    ("overloaded_error: try again", Kind.SERVER, None),
    ("rate_limit_exceeded, then insufficient_quota", Kind.QUOTA, None),
    ("Too many requests", Kind.RATE_LIMIT, None),
    ("Unauthorized", Kind.AUTH, None),
    ("the request took 500 ms", Kind.UNKNOWN, None),
    ("error 500 ms after the start", Kind.UNKNOWN, None),
    ("1011 items were received", Kind.UNKNOWN, None),
    ("oops", Kind.UNKNOWN, None),
    ("", Kind.UNKNOWN, None),
]


@pytest.mark.parametrize(("text", "kind", "status"), SENTENCES)
def test_a_sentence_is_judged(text, kind, status):
    """Frames without an exception are classified like the exception that they tell of."""
    outcome = classify_text(text)
    assert (outcome.kind, outcome.status) == (kind, status)
    assert outcome.is_failure is (kind is not Kind.BAD_REQUEST)
