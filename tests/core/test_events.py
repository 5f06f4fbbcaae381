"""What people are shown of errors: distinct, recent, short, and without secrets. And the outcomes they come from."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.events import DISTINCT_ERRORS, ErrorSample, Event, EventKind, merge_samples, scrub
from recloser.core.machine import State
from recloser.core.outcome import Kind, Outcome, Verdict
from recloser.core.window import Counts
from recloser.errors import ConfigurationError

HEX = "0123456789abcdef" * 2
SECRETS = {
    "OpenAI key": ("Incorrect API key provided: {}. You can find", "sk-abcdEFGH1234567890ijklMNOP"),
    "OpenAI project key": ("401 for {}", "sk-proj-Ab1_Cd2-Ef3Gh4Ij5Kl6Mn7"),
    "Anthropic key": ("no access with {}", "sk-ant-api03-AbCdEf123456-xyz"),
    "Groq key": ("{} is not a valid key", "gsk_aBcDeFgHiJkLmNoP1234"),
    "Slack bot token": ("invalid_auth for {}", "xoxb-123456789012-1234567890123-AbCdEfGhIjKl"),
    "Slack app token": ("invalid_auth for {}", "xoxp-123456789012-AbCdEfGhIjKl"),
    "AWS access key": ("The key {} does not exist", "AKIAIOSFODNN7EXAMPLE"),
    "AWS temporary key": ("The key {} does not exist", "ASIAIOSFODNN7EXAMPLE"),
    "Google API key": ("API key not valid: {}", "AIzaSyD-1234567890abcdefGHIJKLMNOPQRSTU"),
    "Twilio account": ("Account {} is suspended", "AC" + HEX),
    "Twilio key": ("Key {} was revoked", "SK" + HEX),
    "GitHub token": ("bad credentials {}", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    "Deepgram key, a bare token": ("not authorised with {}", HEX + "01234567"),
    "Bearer token": ("rejected Bearer {}", "abc.DEF-123_456"),
    "Basic credentials": ("rejected Basic {}", "dXNlcjpwYXNzd29yZA=="),
    "key in a query": ("GET /v1/voices?api_key={}&page=2 failed", "short-1"),
    "key in JSON": ('{{"api_key": "{}", "model": "x"}}', "short-1"),
    "password in a message": ("login failed, password: {}", "hunter2!"),
    "user and password in a URL": ("cannot connect to redis://{}@cache:6379/0", "app:s3cret"),
    "password alone in a URL": ("cannot connect to redis://{}@cache:6379/0", ":s3cret"),
    "phone number": ("the number {} is not reachable", "+14155552671"),
    "phone number with blanks": ("the number {} is not reachable", "+44 20 7946 0958"),
    "phone number with brackets": ("the number {} is not reachable", "+1 (415) 555-2671"),
    "Authorization header": ("Authorization: Bearer {}", "abc123def456ghi7"),
    "Authorization in a dict": ("{{'Authorization': 'Basic {}'}}", "dXNlcjpwYXNzd29yZA=="),
    "password with an @": ("redis://{}@cache:6379/0", "app:s3c@retword"),
    "JWT": ("rejected {}", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def_ghi"),
    "Slack webhook": ("https://hooks.slack.com/services/{}", "T01AB2CD3/B01AB2CD3/XxYyZzAaBbCcDdEeFfGgHhIi"),
    "national phone number": ("the number {} is not reachable", "415-555-2671"),
}

INNOCENT = (
    "HTTP 503 Service Unavailable",
    "model gpt-4o-mini not found",
    "timed out after 30.0 seconds",
    "timed out after 10.003417 seconds",
    "Request took 1234.5 ms, the limit is 1000 ms",
    "Rate limit reached on tokens per min (TPM): Limit 30000, Used 29000, Requested 1500",
    "[Errno 111] Connection refused",
    "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}",
    "voice 'Rachel' (eleven_multilingual_v2) is not available",
    "GET https://api.example.com/v1/voices?page=2 failed",
    "received 1011 (internal error) keepalive ping timeout",
    "cannot connect to 10.0.0.1:6379 at 2026-11-22 12:00:00",
    "no such organisation: Größe 語音",
    "account_deactivated",
    "no acknowledgement from the server",
    "asia-southeast1-aiplatform.googleapis.com refused",
    "claude-3-5-sonnet-20241022 is overloaded",
    "max_tokens: 40960 is too large",
    "token validation failed",
    "basic authentication required",
)


def left_of(secret: str, text: str) -> list[str]:
    """The pieces of a secret, four characters long, that are left in a text."""
    pieces = [secret[start : start + 4] for start in range(len(secret) - 3)]
    return [piece for piece in pieces if piece in text]


@pytest.mark.parametrize(("around", "secret"), SECRETS.values(), ids=SECRETS)
def test_secrets_never_leave_the_process(around: str, secret: str) -> None:
    """No four characters in a row of a token, key, password or phone number are left in a text."""
    text = scrub(around.format(secret))
    assert left_of(secret, text) == []
    assert "***" in text


def test_a_phone_number_in_an_encoded_url_is_hidden() -> None:
    """The number called stands in the URL of many a telephony error."""
    assert "4155552671" not in scrub("Max retries exceeded with url: /v2/PhoneNumbers/%2B14155552671")


FILLERS = [
    " ", "x ", "x\n",
    '","',
]  # fmt: skip


@pytest.mark.parametrize("filler", FILLERS)
def test_a_secret_that_is_cut_is_still_one(filler: str) -> None:
    """Wherever a long text is cut, no part of a key is left that no longer looks like one."""
    key = "sk-abcdEFGH1234567890ijklMNOP"
    for start in (*range(160, 205), *range(760, 805), *range(3960, 4005)):
        text = (filler * start)[:start] + filler + key + filler * 5000
        assert left_of(key, scrub(text)) == []


@pytest.mark.parametrize("text", INNOCENT)
def test_innocent_text_survives(text: str) -> None:
    """What people need in order to understand an error is not taken for a secret."""
    assert scrub(text) == text


@given(st.text(max_size=3000))
def test_a_text_is_one_short_line(text: str) -> None:
    """Whatever a provider answers, a body of HTML included, becomes one line of at most 200 characters."""
    line = scrub(text)
    assert len(line) <= 200
    assert line == " ".join(line.split())


def test_a_long_text_shows_that_it_was_cut() -> None:
    """A text that just fits stays whole, a longer one ends with an ellipsis."""
    assert scrub("é " * 100) == ("é " * 100).strip()
    assert scrub("é" * 200) == "é" * 200
    assert scrub("é" * 201) == "é" * 199 + "…"


class APIStatusError(Exception):
    """Stands for an SDK's error."""


class UnreadableError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


def test_a_sample_says_which_error_it_was() -> None:
    """The class and the status are the label, the scrubbed text the message."""
    error = APIStatusError("no credit for sk-abcdEFGH1234567890")
    outcome = Outcome("failure", kind="quota", status=402)
    assert ErrorSample.of(error, outcome, 5.0) == ErrorSample(
        "APIStatusError 402", "no credit for ***", "quota", 1, 5.0
    )
    assert ErrorSample.of(error, Outcome.FAILURE, 5.0).label == "APIStatusError"
    assert ErrorSample.of(error, Outcome.FAILURE, 5.0).kind == "unknown"


def test_a_failure_known_by_its_text_is_labelled_with_it() -> None:
    """What was reported by hand as a text is shown as that text, without its secrets."""
    assert ErrorSample.of("no audio for +14155552671", Outcome.FAILURE, 5.0) == ErrorSample(
        "no audio for ***", "", "unknown", 1, 5.0
    )


def test_an_error_without_a_readable_text_still_makes_a_sample() -> None:
    """An exception whose __str__ raises is known by its class."""
    assert ErrorSample.of(UnreadableError(), Outcome.FAILURE, 1.0) == ErrorSample(
        "UnreadableError", "", "unknown", 1, 1.0
    )


def sample(label: str, at: float = 0.0, count: int = 1, message: str = "") -> ErrorSample:
    """A sample that is told apart by its label and message."""
    return ErrorSample(label, message, "unknown", count, at)


def test_the_same_error_again_adds_to_its_count_and_becomes_the_latest() -> None:
    """Samples are distinct errors, the one seen last at the end, with the time it was seen last."""
    kept = merge_samples((sample("A", 1.0, 2), sample("B", 2.0)), (sample("A", 3.0, 4),))
    assert kept == (sample("B", 2.0), sample("A", 3.0, 6))
    assert len(merge_samples(kept, (sample("A", 4.0, message="another text"),))) == 3


@given(st.lists(st.lists(st.sampled_from("ABCDEFGH"), max_size=6), max_size=6))
def test_the_most_recent_distinct_errors_are_kept(batches: list[list[str]]) -> None:
    """However they arrive, the last few distinct errors remain in the order in which they were seen last."""
    kept: tuple[ErrorSample, ...] = ()
    for batch in batches:
        kept = merge_samples(kept, tuple(map(sample, batch)))
    seen = [label for batch in batches for label in batch]
    last_seen = sorted(set(seen), key=lambda label: len(seen) - seen[::-1].index(label))
    assert [each.label for each in kept] == last_seen[-DISTINCT_ERRORS:]


def test_an_event_is_plain_data() -> None:
    """An event can be sent as JSON and between processes without losing anything."""
    event = Event(
        kind=EventKind.TRIPPED, circuit="tts", state=State.OPEN, previous=State.CLOSED, generation=7, at=1.5,
        until=901.5, reason="10 failures in 5m", by="recloser", counts=Counts(12, 10), threshold="10 failures in 5m",
        errors=(sample("A"),), affects=("speak",),
    )  # fmt: skip
    facts = json.loads(json.dumps(event.as_dict()))
    assert facts["kind"] == "tripped"
    assert facts["state"] == "open"
    assert facts["counts"] == {"calls": 12, "failures": 10, "slow": 0, "ignored": 0, "rejected": 0, "limited": 0}
    assert facts["errors"][0]["label"] == "A"
    assert facts["affects"] == ["speak"]
    assert pickle.loads(pickle.dumps(event)) == event


def test_outcomes_may_be_written_in_strings() -> None:
    """A rule of the user's own may say what it means in plain words, and a misspelled one is refused."""
    outcome = Outcome("failure", kind="rate_limit", status=429, retry_after=30)  # type: ignore[arg-type]
    assert (outcome.verdict, outcome.kind) == (Verdict.FAILURE, Kind.RATE_LIMIT)
    for key, verdict, kind in [("verdict", "failed", None), ("kind", "failure", "slowness")]:
        with pytest.raises(ConfigurationError, match="one of ") as caught:
            Outcome(verdict, kind=kind)  # type: ignore[arg-type]
        assert (caught.value.key, caught.value.value) == (key, kind or verdict)


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.FAILURE, Outcome.SLOW, Outcome.IGNORED], ids=str)
def test_only_a_failure_is_a_failure(outcome: Outcome) -> None:
    """Slow and ignored calls do not move a fallback on."""
    assert outcome.is_failure == (outcome.verdict == "failure")


def test_an_outcome_reads_as_its_evidence() -> None:
    """The text of an outcome says why, as far as that is known."""
    assert str(Outcome.SLOW) == "slow"
    assert str(Outcome(Verdict.FAILURE, Kind.SERVER, 503)) == "failure (server, 503)"
    assert str(Outcome(Verdict.FAILURE, Kind.CONNECTION)) == "failure (connection)"
