"""gRPC and Google's clients on it, against a server that fails: what their exceptions are classified as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recloser.core.classify import classify
from recloser.core.outcome import Kind, Outcome
from tests.faults import refused_url

pytest.importorskip("google.cloud.speech", reason="the dependency group 'sdks' is not installed")

import grpc
from google.cloud import speech
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcTransport
from google.protobuf.any_pb2 import Any as Packed
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tests.faults_grpc import GrpcFaultServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sdk.calls import Run

GRPC_KINDS = {
    "CANCELLED": Kind.CANCELLED,
    "UNKNOWN": Kind.UNKNOWN,
    "INVALID_ARGUMENT": Kind.BAD_REQUEST,
    "DEADLINE_EXCEEDED": Kind.TIMEOUT,
    "NOT_FOUND": Kind.BAD_REQUEST,
    "ALREADY_EXISTS": Kind.BAD_REQUEST,
    "PERMISSION_DENIED": Kind.AUTH,
    "RESOURCE_EXHAUSTED": Kind.RATE_LIMIT,
    "FAILED_PRECONDITION": Kind.BAD_REQUEST,
    "ABORTED": Kind.BAD_REQUEST,
    "OUT_OF_RANGE": Kind.BAD_REQUEST,
    "UNIMPLEMENTED": Kind.SERVER,
    "INTERNAL": Kind.SERVER,
    "UNAVAILABLE": Kind.SERVER,
    "DATA_LOSS": Kind.SERVER,
    "UNAUTHENTICATED": Kind.AUTH,
}


def outcome_of(call: Callable[[], object]) -> Outcome:
    """What the exception that `call` raises is classified as."""
    try:
        call()
    except BaseException as error:
        return classify(error, now=0.0)
    pytest.fail("nothing was raised")


@pytest.fixture(scope="module")
def grpc_server() -> Iterator[GrpcFaultServer]:
    with GrpcFaultServer() as server:
        yield server


def grpc_sync(target: str, run: Run, timeout: float = 10.0) -> object:
    with grpc.insecure_channel(target) as channel:
        return channel.unary_unary("/s.S/M")(b"", timeout=timeout)


def grpc_aio(target: str, run: Run, timeout: float = 10.0) -> object:
    async def call() -> object:
        async with grpc.aio.insecure_channel(target) as channel:
            return await channel.unary_unary("/s.S/M")(b"", timeout=timeout)

    return run(call())


def grpc_sync_stream(target: str, run: Run, timeout: float = 10.0) -> object:
    with grpc.insecure_channel(target) as channel:
        return list(channel.unary_stream("/s.S/M")(b"", timeout=timeout))


def grpc_aio_stream(target: str, run: Run, timeout: float = 10.0) -> object:
    async def call() -> object:
        async with grpc.aio.insecure_channel(target) as channel:
            return [item async for item in channel.unary_stream("/s.S/M")(b"", timeout=timeout)]

    return run(call())


def google_speech(target: str, run: Run, timeout: float = 10.0) -> object:
    with grpc.insecure_channel(target) as channel:
        client = speech.SpeechClient(transport=SpeechGrpcTransport(channel=channel))
        audio, config = speech.RecognitionAudio(content=b"a"), speech.RecognitionConfig(language_code="en-US")
        return client.recognize(config=config, audio=audio, retry=None, timeout=timeout)


GRPC_CALLS = (grpc_sync, grpc_sync_stream, grpc_aio, grpc_aio_stream, google_speech)


@pytest.mark.parametrize("name", GRPC_KINDS)
@pytest.mark.parametrize("call", GRPC_CALLS)
def test_a_grpc_status_is_found(call: Callable[..., object], name: str, grpc_server: GrpcFaultServer, run: Run) -> None:
    """gRPC has no HTTP status, and Google's wrapper of it has one that says less."""
    grpc_server.abort(name, "as the test asked")
    outcome = outcome_of(lambda: call(grpc_server.target, run))
    ignored = GRPC_KINDS[name] in {Kind.BAD_REQUEST, Kind.CANCELLED}
    assert (outcome.kind, outcome.verdict) == (GRPC_KINDS[name], "ignored" if ignored else "failure")


@pytest.mark.parametrize("call", GRPC_CALLS)
def test_a_grpc_server_that_is_not_there_is_a_connection_failure(call: Callable[..., object], run: Run) -> None:
    """UNAVAILABLE is said by a server that is overloaded and by a channel that reaches none."""
    target = refused_url().removeprefix("http://")
    assert outcome_of(lambda: call(target, run)).kind is Kind.CONNECTION


@pytest.mark.parametrize("call", GRPC_CALLS)
def test_a_grpc_call_that_is_never_answered_is_a_timeout(call: Callable[..., object], run: Run) -> None:
    """The deadline of the call is the provider's failure."""
    with GrpcFaultServer() as server:
        server.hang()
        assert outcome_of(lambda: call(server.target, run, 0.2)).kind is Kind.TIMEOUT


@pytest.mark.parametrize("call", GRPC_CALLS)
@pytest.mark.parametrize(
    ("details", "kind"),
    [
        ("Quota exceeded for quota metric 'Requests' and limit 'Requests per day' of service 'speech'", Kind.QUOTA),
        ("Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of it", Kind.RATE_LIMIT),
        ("Resource has been exhausted (e.g. check quota).", Kind.RATE_LIMIT),
    ],
)
def test_a_daily_quota_of_google_is_told_from_a_limit_per_minute(
    call: Callable[..., object], details: str, kind: Kind, grpc_server: GrpcFaultServer, run: Run
) -> None:
    """RESOURCE_EXHAUSTED is both; only what is used up for the day needs a human."""
    grpc_server.abort("RESOURCE_EXHAUSTED", details)
    assert outcome_of(lambda: call(grpc_server.target, run)).kind is kind


@pytest.mark.parametrize("call", GRPC_CALLS)
def test_the_wait_that_a_grpc_server_asks_for_is_found(
    call: Callable[..., object], grpc_server: GrpcFaultServer, run: Run
) -> None:
    """gRPC's own pushback, and google.rpc.RetryInfo for those that read it."""
    detail = Packed()
    detail.Pack(RetryInfo(retry_delay={"seconds": 4, "nanos": 500_000_000}))
    status = Status(code=8, message="slow down", details=[detail]).SerializeToString()
    trailers = [("grpc-status-details-bin", status), ("grpc-retry-pushback-ms", "4500")]
    grpc_server.abort("RESOURCE_EXHAUSTED", "slow down", trailers)
    assert outcome_of(lambda: call(grpc_server.target, run)).retry_after == 4.5
