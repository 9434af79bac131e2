"""What each status means is in one table, and everything that decides by a status reads it."""

from random import Random

import pytest

from middleware import errors, status
from middleware.errors import StatusError, status_error
from middleware.policies.circuit_breaker import verdict_of
from middleware.policies.retry import RetryPolicy, RetrySettings
from middleware.problem import Problem
from middleware.status import StatusRule, status_rule, status_rules


@pytest.mark.parametrize("rule", status_rules(), ids=lambda rule: f"{rule.error}-{rule.repeat}")
def test_a_row_names_an_error_class(rule):
    """A row with an unknown name would fail only when such a response comes."""
    assert issubclass(getattr(errors, rule.error), StatusError)


@pytest.mark.parametrize("rule", status_rules(), ids=lambda rule: f"{rule.error}-{rule.repeat}")
def test_a_row_does_not_contradict_itself(rule):
    """R11, R52: a request that was not processed was not applied."""
    assert not (rule.not_processed and rule.ambiguous)


KNOWN = {
    # status: class, which requests may be sent again, was it applied, what the breaker counts
    400: ("InvalidRequestError", "never", "no", "success"),
    401: ("AuthenticationError", "never", "no", "success"),
    403: ("PermissionDeniedError", "never", "no", "success"),
    404: ("NotFoundError", "never", "no", "success"),
    408: ("StatusError", "repeatable", "maybe", "neutral"),
    409: ("ConflictError", "keyed", "no", "success"),
    410: ("NotFoundError", "never", "no", "success"),
    422: ("InvalidRequestError", "never", "no", "success"),
    429: ("RateLimitedError", "any", "no", "neutral"),
    500: ("ServerError", "repeatable", "maybe", "failure"),
    501: ("ServerError", "never", "maybe", "success"),
    502: ("ServerError", "repeatable", "maybe", "failure"),
    503: ("ServerError", "repeatable", "maybe", "failure"),
    504: ("ServerError", "repeatable", "maybe", "failure"),
    505: ("ServerError", "never", "maybe", "success"),
}


@pytest.mark.parametrize("code", KNOWN)
def test_the_rows_are_those_of_the_rules(code):
    """R11, R13, R31, R52: the tables of docs/resilience.md, status by status; only 429 throttles by itself."""
    rule, error = status_rule(code), status_error(code, Problem())
    assert (rule.error, rule.repeat, error.attempt_applied, rule.verdict) == KNOWN[code]
    assert rule.throttled == (code == 429)
    assert rule.arrived_whole == (code != 408)
    assert {known for known, header in status._RULES if not header} == set(KNOWN)


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        (0, StatusRule(ambiguous=True)),
        (101, StatusRule(ambiguous=True)),
        (299, StatusRule(ambiguous=True)),
        (300, StatusRule(error="RedirectError", ambiguous=True)),
        (399, StatusRule(error="RedirectError", ambiguous=True)),
        (418, StatusRule()),
        (499, StatusRule()),
        (520, StatusRule(error="ServerError", ambiguous=True, verdict="failure")),
        (599, StatusRule(error="ServerError", ambiguous=True, verdict="failure")),
        (600, StatusRule(ambiguous=True, verdict="failure")),
        (999, StatusRule(ambiguous=True, verdict="failure")),
    ],
)
def test_a_status_without_a_row_has_the_meaning_of_its_hundred(code, rule):
    """R31, R52: never retried; whether it was applied and what the breaker counts follow from the hundred."""
    assert status_rule(code) == rule
    assert status_rule(code, has_retry_after=True, is_overloaded=True) == rule


def test_headers_select_a_row_of_their_own():
    """R11, R31: of 503; `x-envoy-overloaded` wins over Retry-After, and no other status has such rows."""
    after, overloaded = status_rule(503, has_retry_after=True), status_rule(503, is_overloaded=True)
    limited = {"error": "ServerError", "throttled": True, "verdict": "limited"}
    assert after == StatusRule(repeat="repeatable", ambiguous=True, **limited)
    assert overloaded == StatusRule(repeat="any", **limited)
    assert status_rule(503, has_retry_after=True, is_overloaded=True) is overloaded
    for code in [*range(100, 503), *range(504, 700)]:
        assert status_rule(code, has_retry_after=True, is_overloaded=True) is status_rule(code)


@pytest.mark.parametrize("code", [425, 520])
def test_one_row_makes_a_status_retryable_everywhere(monkeypatch, code):
    """R11, R31, R52: the error, the retries and the breaker read the same row."""
    row = StatusRule(error="ConflictError", repeat="any", throttled=True, verdict="neutral")
    monkeypatch.setitem(status._RULES, (code, ""), row)
    error = status_error(code, Problem())
    assert type(error) is errors.ConflictError
    assert (error.not_processed, error.is_throttled, error.attempt_applied) == (True, True, "no")
    assert verdict_of(error) == "neutral"
    assert RetryPolicy(Random(1)).is_retryable(error, RetrySettings(), repeatable=False, keyed=False)
