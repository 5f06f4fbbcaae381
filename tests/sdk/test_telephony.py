"""The real clients of Twilio and Plivo, and Exotel over HTTP: bad numbers do not pause the telephone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import pytest

from recloser import PausedError, State
from recloser.core.outcome import Kind
from recloser.integrations.telephony import (
    classify_exotel,
    classify_plivo,
    classify_twilio,
    record_call_status,
    refused,
)
from tests.faults import Answer, Drop, refused_url

pytest.importorskip("plivo", reason="the dependency group 'sdks' is not installed")

import aiohttp
import httpx
import plivo
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client as TwilioClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recloser.testing import Sandbox
    from tests.faults import FaultServer
    from tests.sdk.calls import Run

# What Twilio's clients do themselves, at the time of a call.
pytestmark = [
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning"),
]

TO, FROM, URL = "+15005550006", "+15005550001", "http://example.com/answer"


@pytest.fixture
def counts(recloser: Sandbox) -> Callable[[], tuple[int, int, int]]:
    """What the circuit ``p`` counted so far, as (calls, failures, ignored)."""

    def read() -> tuple[int, int, int]:
        shot = recloser.circuit("p").snapshot()
        return shot.calls, shot.failures, shot.ignored

    return read


# Twilio ---------------------------------------------------------------------------------------------------------------


def twilio_body(code: int, status: int, message: str = "message") -> dict[str, object]:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return {"code": code, "message": message, "more_info": more, "status": status}


# About one number, as the module says of each; with the HTTP status that it comes with, or might.
NUMBERS = {
    **dict.fromkeys((21211, 21214, 21217, 21219, 21401, 21601, 21612, 13223), 400),
    **dict.fromkeys((21215, 21216, 21408, 21610, 13224, 13227, 32205), 403),
    21614: 429,
}

TROUBLE = {
    (401, 20003): Kind.AUTH,
    (400, 20003): Kind.AUTH,
    (400, 20005): Kind.AUTH,  # the account is not active
    (403, 20403): Kind.AUTH,  # the account was suspended
    (400, 10001): Kind.AUTH,
    (400, 10004): Kind.RATE_LIMIT,
    (400, 10005): Kind.AUTH,
    (429, 20429): Kind.RATE_LIMIT,
    (400, 21730): Kind.SERVER,  # maintenance
    (402, 20402): Kind.QUOTA,
    (403, 99999): Kind.AUTH,  # a code that nobody knows
    (500, 20500): Kind.SERVER,
    (503, 21211): Kind.SERVER,  # a server that is broken may say anything
}


@pytest.fixture
def twilio(server: FaultServer) -> Iterator[TwilioClient]:
    http = TwilioHttpClient(timeout=10.0)
    client = TwilioClient("AC0", "token", http_client=http)
    client.api.base_url = server.url
    yield client
    http.session.close()


@pytest.fixture
def dial(recloser: Sandbox, twilio: TwilioClient) -> Callable[[], object]:
    """A call placed with Twilio's client, whose method is patched with a circuit that trips at once."""
    twilio.calls.create = recloser.circuit("p", failures=1, classify=classify_twilio)(twilio.calls.create)
    return lambda: twilio.calls.create(to=TO, from_=FROM, url=URL)


@pytest.mark.parametrize("code", NUMBERS)
def test_a_number_that_twilio_cannot_call_is_nobodys_failure(code, server, dial, counts):
    """By Twilio's code, whatever HTTP status it comes with: a 403 that is about a country closes no account."""
    server.answer(NUMBERS[code], twilio_body(code, NUMBERS[code]))
    for _ in range(2):
        with pytest.raises(Exception, match="Unable to create record"):
            dial()
    assert counts() == (0, 0, 2)


@pytest.mark.parametrize(("status", "code"), TROUBLE)
def test_twilios_own_trouble_counts(status, code, server, dial, counts, recloser):
    """An account that is closed, a limit and a broken server take the telephone down for everybody."""
    server.answer(status, twilio_body(code, status))
    with pytest.raises(Exception, match="Unable to create record") as caught:
        dial()
    outcome = recloser.circuit("p", classify=classify_twilio).rules.judge(caught.value)
    assert (outcome.kind, outcome.status) == (TROUBLE[status, code], status)
    with pytest.raises(PausedError):
        dial()
    assert counts() == (1, 1, 0)


def test_the_new_shape_of_twilios_errors_is_known_too(server, dial, counts):
    """RFC 9457 has the code in the same place, in an exception of another class."""
    server.answer(400, {"type": "about:blank", "title": "Invalid 'To'", "status": 400, "code": 21211})
    with pytest.raises(Exception, match="Invalid 'To'"):
        dial()
    assert counts() == (0, 0, 1)


def test_an_unreachable_twilio_counts(recloser, server, twilio, dial, counts):
    """Nothing that the classifier of Twilio does not know gets past the general rule."""
    twilio.api.base_url = refused_url()
    with pytest.raises(requests.ConnectionError):
        dial()
    assert counts() == (1, 1, 0)


def test_a_patched_async_client_is_judged_alike_and_bounded_by_the_circuit(recloser, server, run: Run, counts):
    """`create_async` counts as `create` does; its client ignores its own timeout, so that of the circuit ends it."""

    async def scenario() -> None:
        http = AsyncTwilioHttpClient(timeout=0.5)
        client = TwilioClient("AC0", "token", http_client=http)
        client.api.base_url = server.url
        guarded = recloser.circuit("p", classify=classify_twilio, timeout="10s")
        client.calls.create_async = guarded(client.calls.create_async)

        async def place() -> object:
            return await client.calls.create_async(to=TO, from_=FROM, url=URL)

        assert (await place()).sid
        server.answer(400, twilio_body(21211, 400))
        with pytest.raises(Exception, match="Unable to create record"):
            await place()
        assert counts() == (1, 0, 1)
        server.hang()

        async def hang() -> None:
            with pytest.raises(TimeoutError, match="timeout of 10s"):
                await place()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hang)
            await anyio.to_thread.run_sync(server.wait_for_requests, 3)
            await anyio.wait_all_tasks_blocked()
            recloser.clock.advance("10s")
        assert counts() == (2, 1, 1)
        await http.close()

    run(scenario())


def test_the_rest_api_over_httpx_is_judged_by_its_body(recloser, server, counts):
    """A voice framework that calls Twilio without its SDK gets a 403 with a code in it."""

    @recloser.circuit("p", classify=classify_twilio)
    def place() -> None:
        with httpx.Client() as client:
            client.post(f"{server.url}/2010-04-01/Accounts/AC0/Calls.json").raise_for_status()

    for body in (twilio_body(21215, 403), twilio_body(20403, 403), b"<html>", b"[]", {"code": "x"}):
        server.answer(403, body)
        with pytest.raises(httpx.HTTPStatusError):
            place()
    assert counts() == (4, 4, 1)


# Plivo ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dial_plivo(
    recloser: Sandbox, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., object]]:
    """The same with Plivo's client, which tries a call of 5xx three times."""
    for name in ("API_VOICE_BASE_URI", "API_VOICE_BASE_URI_FALLBACK_1", "API_VOICE_BASE_URI_FALLBACK_2"):
        monkeypatch.setattr(f"plivo.rest.client.{name}", f"{server.url}/v1/Account")
    with plivo.RestClient("MA" + "X" * 18, "token") as client:
        client.calls.create = recloser.circuit("p", failures=1, classify=classify_plivo)(client.calls.create)
        yield lambda to="15005550006": client.calls.create(from_="15005550001", to_=to, answer_url=URL)


PLIVO = {
    (400, "dst parameter is invalid"): None,
    (403, "Geo permission is not enabled for the destination country"): None,
    (404, "not found"): None,
    (405, "not allowed"): None,
    (409, "conflict"): None,
    (422, "unprocessable"): None,
    (400, "account is out of credits"): Kind.QUOTA,
    (401, "unauthorized"): Kind.AUTH,
    (402, "payment required"): Kind.QUOTA,
    (403, "account is not verified"): Kind.AUTH,
    (408, "timeout"): Kind.TIMEOUT,
    (429, "too many requests"): Kind.RATE_LIMIT,
    (500, "server error"): Kind.SERVER,
    (503, "server error"): Kind.SERVER,
}


@pytest.mark.parametrize(("status", "words"), PLIVO)
def test_plivos_errors_count_by_their_class_and_a_403_by_its_words(status, words, server, dial_plivo, counts, recloser):
    """Its exceptions carry no status, and a barred country and a closed account are one class."""
    server.answer(status, {"api_id": "a", "error": words})
    with pytest.raises(plivo.exceptions.PlivoRestError) as caught:
        dial_plivo()
    kind = PLIVO[status, words]
    assert counts() == ((0, 0, 1) if kind is None else (1, 1, 0))
    outcome = classify_plivo(caught.value)
    assert (outcome.kind, outcome.status) == (kind or Kind.BAD_REQUEST, 422 if status in {405, 409} else status)


def test_what_plivo_forbids_besides_calls_and_messages_counts(server):
    """Its exception is another one than that of a call."""
    with plivo.RestClient("MA" + "X" * 18, "token") as client:
        server.answer(403, {"error": "account is not verified"})
        answer = requests.get(server.url, timeout=10)
        with pytest.raises(plivo.exceptions.ForbiddenError) as caught:
            client.process_response("GET", answer)
    assert str(classify_plivo(caught.value)) == "failure (auth, 403)"


def test_a_number_that_plivos_client_refuses_by_itself_is_nobodys_failure(server, dial_plivo, counts):
    """No request is sent for it, and the exception is the one of a 400."""
    with pytest.raises(plivo.exceptions.ValidationError):
        dial_plivo("15005550001")
    assert (server.count(), counts()) == (0, (0, 0, 1))


def test_a_plivo_that_answers_and_one_that_does_not(server, dial_plivo, counts):
    """A call that was accepted is a success; a connection that was dropped a failure."""
    server.answer(201, {"api_id": "a", "message": "call fired", "request_uuid": "u"})
    dial_plivo()
    server.play(Drop())
    with pytest.raises(requests.ConnectionError):
        dial_plivo()
    assert counts() == (2, 1, 0)


# Exotel ---------------------------------------------------------------------------------------------------------------

EXOTEL = {
    (400, "Invalid parameter"): None,
    (403, "Call to [09812345678] can not be made because of TRAI NDNC regulations"): None,
    (404, "Not found"): None,
    (401, "Authentication failed"): Kind.AUTH,
    (402, "Payment required"): Kind.QUOTA,
    (403, "Your account is not yet KYC compliant"): Kind.AUTH,
    (429, "Too many requests"): Kind.RATE_LIMIT,
    (500, "Internal error"): Kind.SERVER,
    (503, "Service Unavailable"): Kind.SERVER,
    (503, "No carrier for this destination"): Kind.SERVER,
}


@pytest.fixture(params=[httpx, requests], ids=["httpx", "requests"])
def post(request: pytest.FixtureRequest, server: FaultServer) -> Callable[[], httpx.Response | requests.Response]:
    return lambda: request.param.post(f"{server.url}/v1/Accounts/a/Calls/connect.json", timeout=10)


@pytest.mark.parametrize(("status", "words"), EXOTEL)
def test_exotels_errors_count_whether_they_are_raised_or_returned(status, words, server, post, recloser, counts):
    """`raise_for_status()` with a classifier, and `failure_if=refused` without, agree on what counts."""
    guarded = recloser.circuit("p", classify=classify_exotel)(lambda: post().raise_for_status())
    returned = recloser.circuit("q", failure_if=refused)(post)
    server.answer(status, {"RestException": {"Status": status, "Message": words}})
    with pytest.raises((httpx.HTTPStatusError, requests.HTTPError)) as caught:
        guarded()
    assert returned().status_code == status
    kind = EXOTEL[status, words]
    assert counts() == ((0, 0, 1) if kind is None else (1, 1, 0))
    assert recloser.circuit("q").snapshot().failures == (kind is not None)
    assert kind in {None, recloser.circuit("p", classify=classify_exotel).rules.judge(caught.value).kind}


@pytest.mark.parametrize(
    ("status", "body", "counted"),
    [
        (200, {"Call": {"Sid": "s", "Status": "in-progress"}}, False),
        (400, twilio_body(21211, 400), False),
        (403, twilio_body(21215, 403), False),
        (400, twilio_body(20005, 400), True),
        (403, {"api_id": "a", "error": "destination country barred"}, False),
        (403, {"api_id": "a", "error": "account not verified"}, True),
    ],
)
def test_a_response_of_any_of_the_three_is_told_by_its_body(status, body, counted, server, post):
    """One predicate for `failure_if`, since each provider's answers are told by their own fields."""
    server.answer(status, body)
    assert refused(post()) is counted


def test_a_response_of_aiohttp_is_told_by_its_status(server, run: Run):
    """Its body would have to be awaited."""

    async def scenario() -> list[bool]:
        async with aiohttp.ClientSession() as session:
            found = []
            for status in (200, 400, 403, 503):
                server.answer(status, twilio_body(21211, status))
                async with session.get(server.url) as response:
                    found.append(refused(response))
            return found

    assert run(scenario()) == [False, False, True, True]


# Dialling -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def campaign(recloser: Sandbox, twilio: TwilioClient) -> SimpleNamespace:
    """Leads that are dialled while the telephone works, and put back while it does not."""
    recloser.circuit("calls", failures=10)
    twilio.calls.create = recloser.circuit("p", failures=10, classify=classify_twilio)(twilio.calls.create)

    @recloser.requires("p", "calls")
    def dial(lead: int) -> None:
        twilio.calls.create(to=f"+1500555{lead:04}", from_=FROM, url=URL)

    back: list[tuple[int, float | None]] = []

    def run(leads: range) -> None:
        for lead in leads:
            try:
                dial(lead)
            except PausedError as paused:
                back.append((lead, paused.retry_after))
            except TwilioRestException:
                pass  # this lead is lost, and the next one is dialled

    return SimpleNamespace(run=run, back=back)


def test_a_hundred_bad_numbers_do_not_pause_the_dialling(campaign, server, recloser, counts):
    """Each lead of a bad list is asked for, and the first good one afterwards is called."""
    server.play(*[Answer(NUMBERS[code], twilio_body(code, NUMBERS[code])) for code in NUMBERS])
    campaign.run(range(100))
    server.heal()
    campaign.run(range(100, 101))
    assert (server.count(), campaign.back) == (101, [])
    assert counts() == (1, 0, 100)


def test_a_hundred_busy_lines_do_not_pause_the_dialling(campaign, server, recloser):
    """What the callees do is no news of the provider."""
    for lead in range(100):
        status = ("busy", "no-answer", "canceled", "failed")[lead % 4]
        record_call_status("calls", status, sip_code="404", once=f"CA{lead}", recloser=recloser)
    campaign.run(range(1))
    assert (server.count(), campaign.back) == (1, [])


def test_an_outage_of_the_telephone_puts_leads_back_without_a_request(campaign, server, recloser):
    """Ten failures pause the dialling; what comes after is put back until the cooldown is over, and then dialled."""
    server.answer(503, {})
    campaign.run(range(30))
    assert server.count() == 10
    assert campaign.back == [(lead, 900.0) for lead in range(10, 30)]
    server.heal()
    recloser.clock.advance("15m")
    campaign.run(range(10, 11))
    assert (server.count(), recloser.circuit("p").state) == (11, State.CLOSED)


def test_calls_that_fail_later_pause_the_dialling(campaign, server, recloser):
    """The API accepts everything while the carriers behind it are gone: the status callbacks tell."""
    for lead in range(10):
        record_call_status("calls", "failed", sip_code="503", once=f"CA{lead}", recloser=recloser)
    campaign.run(range(1))
    assert (server.count(), campaign.back) == (0, [(0, 900.0)])
