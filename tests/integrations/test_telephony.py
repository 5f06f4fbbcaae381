"""What a status callback says of a call: who is to blame for it, if anybody is, and how it is counted."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recloser import ConfigurationError, Outcome, PausedError, Recloser, State
from recloser.core.outcome import Kind
from recloser.integrations import telephony
from recloser.integrations.telephony import (
    classify_exotel,
    classify_plivo,
    classify_twilio,
    record_call_status,
    refused,
)
from recloser.testing import Sandbox

OVER = ["completed", "answered", "busy", "no-answer", "No_Answer ", "rejected", "canceled", "cancel", "timeout"]
UNDERWAY = ["queued", "initiated", "ringing", "in-progress"]


def counts(box: Sandbox, name: str = "calls") -> tuple[int, int, int]:
    shot = box.circuit(name).snapshot()
    return shot.calls, shot.failures, shot.ignored


@pytest.mark.parametrize("status", OVER)
def test_a_call_that_was_carried_out_is_a_success_whatever_the_callee_did(box, status):
    """Busy lines are what telephones have; a SIP code says why, and is no failure here."""
    assert record_call_status("calls", status, sip_code=503, error_code="13224", recloser=box) is Outcome.SUCCESS
    assert counts(box) == (1, 0, 0)


@pytest.mark.parametrize("status", UNDERWAY)
def test_a_call_that_is_not_over_counts_for_nothing(box, caplog, status):
    """Each call is told of several times on its way, and counts once."""
    assert record_call_status("calls", status, recloser=box) is None
    assert (counts(box), caplog.records) == ((0, 0, 0), [])


@pytest.mark.parametrize(
    "sip_code", [None, "", "abc", 200, 400, 403, "404", 408, 410, 480, "484", 486, 487, 600, 603, 604]
)
def test_a_call_that_failed_without_a_reason_of_the_providers_is_ignored(box, sip_code):
    """Twilio calls it failed when the number does not exist."""
    outcome = record_call_status("calls", "failed", sip_code=sip_code, recloser=box)
    assert str(outcome) == "ignored (bad_request)"
    assert counts(box) == (0, 0, 1)


@pytest.mark.parametrize(
    ("sip_code", "kind"),
    [
        (401, Kind.AUTH),
        ("402", Kind.QUOTA),
        (407, Kind.AUTH),
        (500, Kind.SERVER),
        ("503", Kind.SERVER),
        (504, Kind.TIMEOUT),
        (599, Kind.SERVER),
    ],
)
def test_a_call_that_failed_by_a_server_or_an_account_counts(box, sip_code, kind):
    """SIP's 5xx are a server's, and 401, 402 and 407 the account's."""
    outcome = record_call_status("calls", "failed", sip_code=sip_code, recloser=box)
    assert (outcome.kind, outcome.status) == (kind, int(sip_code))
    assert counts(box) == (1, 1, 0)


TROUBLE = {
    10001: Kind.AUTH,
    10004: Kind.RATE_LIMIT,
    10005: Kind.AUTH,
    20003: Kind.AUTH,
    20005: Kind.AUTH,
    20403: Kind.AUTH,
    20429: Kind.RATE_LIMIT,
    21730: Kind.SERVER,
    86008: Kind.RATE_LIMIT,
    1010: Kind.QUOTA,
    3080: Kind.SERVER,
    3090: Kind.SERVER,
    5000: Kind.SERVER,
    5010: Kind.SERVER,
    5020: Kind.SERVER,
    5030: Kind.RATE_LIMIT,
    503: Kind.SERVER,
}


@pytest.mark.parametrize("status", ["failed", "canceled", "who-knows"])
@pytest.mark.parametrize("code", TROUBLE)
def test_a_code_of_the_providers_trouble_counts_with_any_status(box, code, status):
    """Plivo cancels the calls of an account that ran out of credits."""
    outcome = record_call_status("calls", status, error_code=str(code), recloser=box)
    assert (outcome.kind, counts(box)) == (TROUBLE[code], (1, 1, 0))


CALLEES = [13223, 13224, 13225, 13227, 11200, 12100, 21211, 21610, 32016, 32101, 32205, 32224, 34002]
CALLEES += [0, 1000, 1020, 2000, 2030, 3000, 3010, 3020, 3040, 3050, 3070, 3130, 6010, 6020, 7011, 8011, 9100]


@pytest.mark.parametrize("code", CALLEES)
def test_a_code_about_one_call_outranks_sip(box, code):
    """A carrier's 503 for a number that the provider knows to be wrong is the number's."""
    record_call_status("calls", "failed", sip_code=503, error_code=code, recloser=box)
    assert counts(box) == (0, 0, 1)


@pytest.mark.parametrize("code", ["99999", 31005, "x" * 20, "9" * 5000, "-1", -1, "\N{SUPERSCRIPT TWO}"])
def test_a_code_that_is_not_known_leaves_it_to_sip(box, code):
    """It may be anybody's, and comes over the wire."""
    record_call_status("calls", "failed", error_code=code, recloser=box)
    record_call_status("calls", "failed", sip_code=503, error_code=code, recloser=box)
    assert counts(box) == (1, 1, 1)


def test_a_call_that_is_told_of_twice_fails_once(box):
    """Providers send a callback again when the answer was slow."""
    for call in ("CA1", "CA1", "CA2"):
        record_call_status("calls", "failed", sip_code=503, once=call, recloser=box)
    assert counts(box)[1] == 2


def test_a_status_that_is_not_known_is_told_of_once(box, caplog):
    """A provider that adds one must not fill the log, nor raise in a webhook."""
    telephony._tell_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="recloser"):
        for _ in range(3):
            assert record_call_status("calls", "paused\nby nobody", recloser=box) is None
    assert counts(box) == (0, 0, 0)
    (record,) = caplog.records
    assert (
        r"calls: the call status 'paused\nby-nobody' is not known and counts for nothing; known are"
        in record.getMessage()
    )


def test_ten_of_them_trip_the_circuit_and_say_what_it_was(box):
    """People are shown the code that the provider gave."""
    for call in range(10):
        record_call_status("calls", "failed", sip_code=503, error_code=5020, once=f"CA{call}", recloser=box)
    with pytest.raises(PausedError, match="last: a call failed, SIP 503, error 5020"):
        box.circuit("calls").check()


def test_a_call_that_is_carried_out_after_the_cooldown_closes_the_circuit(box):
    """A circuit that only callbacks feed comes back by them."""
    box.trip("calls")
    box.clock.advance("15m")
    record_call_status("calls", "busy", recloser=box)
    assert box.circuit("calls").state is State.CLOSED


def test_limits_of_the_account_pause_as_rate_limits_do(box):
    """The kind reaches the circuit, and not only that it was a failure."""
    for call in range(10):
        record_call_status("calls", "failed", error_code=20429, once=f"CA{call}", recloser=box)
    assert "rate_limit" in str(box.explain("calls"))


def test_the_circuit_may_be_given_itself_and_by_name_is_the_default_toolkits(recloser):
    """Both are the same circuit."""
    record_call_status(recloser.circuit("calls"), "failed", sip_code=503)
    record_call_status("calls", "failed", sip_code=503)
    assert counts(recloser) == (2, 2, 0)


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=60) | st.sampled_from([*OVER, *UNDERWAY, "failed"]),
    st.none() | st.text(max_size=12) | st.integers(),
    st.none() | st.text(max_size=12) | st.integers(),
)
def test_whatever_a_provider_posts_raises_nothing(status, sip_code, error_code):
    """A webhook is open to the world, and what it returns is what was counted."""
    with Sandbox() as box:
        outcome = record_call_status("calls", status, sip_code=sip_code, error_code=error_code, recloser=box)
        calls, failures, ignored = counts(box)
    verdict = None if outcome is None else str(outcome.verdict)
    assert (
        verdict
        == {(0, 0, 0): None, (1, 0, 0): "success", (1, 1, 0): "failure", (0, 0, 1): "ignored"}[calls, failures, ignored]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"circuit": 17}, "circuit = 17 is not possible: a Circuit, or the name of one"),
        ({"circuit": "a b"}, "name = 'a b' is not possible"),
        ({"status": None}, 'status = None is not possible: a text such as "completed"'),
        ({"sip_code": 4.5}, "sip_code = 4.5 is not possible: a whole number, as a number or a text, or None"),
        ({"error_code": True}, "error_code = True is not possible: a whole number"),
        ({"once": ""}, "once = '' is not possible: a text that is not empty, or None"),
        ({"once": 17}, "once = 17 is not possible"),
        ({"recloser": "fleet"}, "recloser = 'fleet' is not possible: a Recloser, or None"),
    ],
)
def test_a_mistake_of_the_application_is_named(arguments, message):
    """With the argument, its value and what is allowed."""
    with pytest.raises(ConfigurationError) as caught:
        record_call_status(**{"circuit": "calls", "status": "completed", **arguments})
    assert message in str(caught.value)


def test_a_second_fleet_is_told_by_itself(recloser):
    """The default toolkit hears nothing of it."""
    fleet = Recloser()
    record_call_status("calls", "failed", sip_code=503, recloser=fleet)
    assert (fleet.circuit("calls").snapshot().failures, counts(recloser)) == (1, (0, 0, 0))


def test_a_circuit_has_a_toolkit_of_its_own():
    """Two could contradict each other."""
    fleet = Recloser()
    with pytest.raises(ConfigurationError, match="only with the name of a circuit"):
        record_call_status(fleet.circuit("calls"), "busy", recloser=fleet)


class PlivoRestError(Exception):
    """As plivo has it; those of the SDK itself are in tests/sdk."""


class ValidationError(PlivoRestError):
    """As plivo has it."""


class TwilioError(Exception):
    """As Twilio's is read."""

    def __init__(self, code: int) -> None:
        super().__init__("the destination is barred")
        self.status, self.code = 403, code


def test_a_library_that_tries_again_hides_nothing():
    """The reason that an exception names is looked at as well, and what was merely being handled is not."""
    last = RuntimeError("gave up")
    last.__cause__ = ValidationError("invalid")
    assert classify_plivo(last).kind is Kind.BAD_REQUEST
    last = RuntimeError("gave up")
    last.__context__ = TwilioError(21211)
    assert classify_twilio(last) is None


@pytest.mark.parametrize("rule", [classify_twilio, classify_plivo, classify_exotel])
def test_what_was_not_let_through_or_was_cancelled_is_left_to_the_general_rule(rule):
    """A paused circuit further in is no failure of this one, whatever it was paused for."""
    paused = PausedError("p", State.OPEN, "10 failures", paused_by="recloser", since=0.0, retry_after=1.0)
    reason = ValidationError("invalid") if rule is classify_plivo else TwilioError(21215)
    for error in (paused, KeyboardInterrupt(), GeneratorExit()):
        error.__cause__ = reason
        assert rule(error) is None
    assert rule(TimeoutError()) is None


def test_the_validation_error_of_somebody_else_is_not_plivos():
    """pydantic has one, too."""
    other = type("ValidationError", (Exception,), {})
    assert classify_plivo(other("1 validation error")) is None


def test_a_status_in_the_place_of_twilios_code_is_left_to_the_general_rule():
    """The SDK puts it there when the answer was no JSON; that rule reads more than the status."""
    assert classify_twilio(TwilioError(403)) is None


@pytest.mark.parametrize(("padding", "counted"), [(0, False), (200_000, True)])
def test_a_body_is_read_within_a_bound(padding, counted):
    """What a broken server sends may be endless."""
    content = b'{"code": 21215' + b" " * padding + b"}"
    assert refused(SimpleNamespace(status_code=403, _content=content)) is counted


@pytest.mark.parametrize("result", [None, {"Call": {}}, object(), "text", 503])
def test_a_result_that_is_no_response_is_not_refused(result):
    """`failure_if=` sees whatever the function returns."""
    assert refused(result) is False
