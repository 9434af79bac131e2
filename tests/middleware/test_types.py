"""What travels through the stack."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest
from layer_support import a_request

from middleware.policies.retry import RetrySettings
from middleware.records import AttemptRecord, CallInfo, Outcome
from middleware.types import Attempt, Call, PlatformRequest, PlatformResponse, StackState

# What one call carries and no text may show.
SECRET = "s3cret"


def a_record(sent, **values):
    values = {"number": 1, "started_s": 0, "ended_s": 1, "outcome": "x", "status": None, "delay_s": 0, **values}
    return AttemptRecord(request_sent=sent, **values)


@pytest.mark.parametrize(
    ("sent", "most"), [([], "no"), (["no"], "no"), (["no", "maybe", "no"], "maybe"), (["maybe", "yes", "no"], "yes")]
)
def test_the_most_that_any_attempt_reached(sent, most):
    """Whatever came after it."""
    call = a_request().call
    call.timeline.extend(a_record(one) for one in sent)
    assert call.most_sent == most
    assert call.outcome(2.0).request_sent == most


def test_a_call_returns_a_frozen_record():
    """R52: later changes are none of it."""
    call = a_request(started_at=5.0).call
    before = call.outcome(4.0)
    assert before.call == call.info
    assert before.attempts == 0
    assert before.elapsed_s == 0.0
    assert before.timeline == ()
    assert (before.stop_reason, before.circuit_state, before.already_deleted) == ("", "", False)
    call.attempts_sent, call.stop_reason, call.circuit_state, call.already_deleted = 2, "budget", "open", True
    call.timeline.append(a_record("yes"))
    after = call.outcome(7.5)
    assert after.attempts == 2
    assert after.elapsed_s == 2.5
    assert after.timeline == tuple(call.timeline)
    assert (after.stop_reason, after.circuit_state, after.already_deleted) == ("budget", "open", True)
    assert before.timeline == ()


def test_settings_that_were_not_given_have_their_defaults():
    """R61: those that were given are the call's own."""
    given = RetrySettings(max_attempts=7)
    assert a_request(settings=[given]).call.settings(RetrySettings) is given
    assert a_request().call.settings(RetrySettings) == RetrySettings()


def test_an_attempt_has_everything_of_the_call_and_headers_of_its_own():
    """R14: the same bytes; what one attempt sets, the next one does not have."""
    request = a_request(headers={"a": "1"})
    for name in ("path_params", "params", "json_body", "user_jwt", "decode", "problem", "target", "content"):
        setattr(request, name, f"given {name}")
    attempt = Attempt(delay_s=1.0)
    copy = request.for_attempt(attempt)
    for field in fields(PlatformRequest):
        expected = attempt if field.name == "attempt" else getattr(request, field.name)
        assert getattr(copy, field.name) == expected, field.name
    copy.headers["b"] = "2"
    assert request.headers == {"a": "1"}


@pytest.mark.parametrize(
    ("idempotent", "headers", "repeatable"),
    [(True, {}, True), (False, {}, False), (False, {"idempotency-key": "k"}, True), (False, {"other": "k"}, False)],
)
def test_what_may_be_sent_again(idempotent, headers, repeatable):
    """R11: what is idempotent, and what carries a key."""
    assert a_request(idempotent=idempotent, headers=headers).is_repeatable is repeatable


def test_no_repr_shows_what_a_call_carries():
    """R52: credentials, values, bodies, headers."""
    request = a_request(headers={"authorization": SECRET}, settings=[])
    for name in ("path_params", "params", "json_body", "user_jwt", "decode", "target", "content"):
        setattr(request, name, SECRET)
    response = PlatformResponse(status=200, headers={"x": SECRET}, body=SECRET.encode(), data=SECRET)
    assert SECRET not in repr(request)
    assert SECRET not in repr(response)
    assert "policy" not in repr(request.call)


def test_a_response_has_its_location():
    """Where it says so."""
    assert PlatformResponse(status=201, headers={"location": "/a/1"}).location == "/a/1"
    assert PlatformResponse(status=201, headers={}).location is None


def test_what_is_left_out_says_nothing():
    """A fresh record of anything claims nothing that did not happen."""
    call = Call(
        info=CallInfo(service="s", operation="o", method="GET", route="/", idempotent=True, correlation_id="c"),
        started_at=1.0,
    )
    found = {field.name: getattr(call, field.name) for field in fields(Call)}
    assert found.pop("settings")(RetrySettings) == RetrySettings()
    assert found == {
        "info": call.info,
        "started_at": 1.0,
        "snapshot": {},
        "settings_hash": "",
        "correlation_id_replaced": False,
        "deadline_s": None,
        "max_attempts": 1,
        "max_refused": 0,
        "deadline_at": float("inf"),
        "attempts_scheduled": 0,
        "attempts_sent": 0,
        "attempts_refused": 0,
        "timeline": [],
        "failures": [],
        "pieces_read": 0,
        "stop_reason": "",
        "stop_detail": "",
        "circuit_state": "",
        "already_deleted": False,
        "keyed": False,
        "layer_state": None,
    }
    attempt = Attempt()
    assert (attempt.delay_s, attempt.is_hedge, attempt.request_sent, attempt.timeout_s) == (0.0, False, "no", None)
    assert attempt.on_start is None
    record = a_record("no")
    assert (record.is_hedge, record.applied, record.is_ambiguous) == (False, "no", False)
    outcome = Outcome(
        call=call.info, attempts=0, elapsed_s=0, timeline=(), stop_reason="", request_sent="no", circuit_state=""
    )
    assert (outcome.already_deleted, outcome.keyed) == (False, False)
    request = PlatformRequest(call=call, method="GET", path="/")
    assert request.attempt.request_sent == "no"
    assert request.problem == ""
    assert request.target == ""
    assert request.headers == {}
    for name in ("path_params", "params", "json_body", "user_jwt", "decode", "content"):
        assert getattr(request, name) is None
    response = PlatformResponse(status=200, headers={})
    assert response.body == b""
    assert response.data is None
    assert response.correlation_id == ""
    assert response.outcome is None


@pytest.mark.parametrize(
    "made",
    [
        a_record("no"),
        a_request().call.info,
        a_request().call.outcome(1.0),
        StackState(calls_in_flight=1, attempts_in_flight=0, attempts_queued=0, breakers={}, budget_balance=None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_records_are_not_changed_afterwards(made):
    """Listeners, errors and responses share them."""
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(made)[0].name, "other")
    assert made == replace(made)
