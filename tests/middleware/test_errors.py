"""The error tree: by status, with its record, across processes."""

import copy
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest

from middleware import errors
from middleware.errors import (
    AuthenticationError,
    BulkheadFullError,
    CallError,
    ClientClosedError,
    ConfigError,
    ConflictError,
    DeadlineExceededError,
    DecodeError,
    InternalError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    OperationFailedError,
    PermissionDeniedError,
    PlatformError,
    RateLimitedError,
    RedirectError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    ServerError,
    StatusError,
    advice_table,
    clear_traceback_locals,
    codes_table,
    error_type,
    status_error,
)
from middleware.problem import Problem
from middleware.records import AttemptRecord, CallInfo, Outcome


def ended(error, *, idempotent=False, attempts=1, timeline=(), keyed=False):
    info = CallInfo(
        service="svc", operation="op", method="POST", route="/r", idempotent=idempotent, correlation_id="c-1"
    )
    error.outcome = Outcome(
        call=info,
        attempts=attempts,
        elapsed_s=1.5,
        timeline=timeline,
        stop_reason="not_retryable",
        request_sent=error.request_sent,
        circuit_state="closed",
        keyed=keyed,
    )
    return error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, RedirectError),
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (410, NotFoundError),
        (418, StatusError),
        (422, InvalidRequestError),
        (429, RateLimitedError),
        (500, ServerError),
        (599, ServerError),
        (100, StatusError),
    ],
)
def test_the_status_names_the_class(status, kind):
    """The exact status first, then its hundred."""
    assert type(status_error(status, Problem())) is kind


REFUSED = [code for code in range(400, 500) if code != 408]
LEFT_OPEN = [*range(100, 104), *range(300, 309), 408, *range(500, 600), 600, 999]


@pytest.mark.parametrize(
    ("error", "applied"),
    [
        (RequestNotSentError("x"), "no"),
        (BulkheadFullError("x"), "no"),
        (InvalidArgumentError("x"), "no"),
        (ResponseLostError("x", request_sent="maybe"), "maybe"),
        (ResponseLostError("x", request_sent="yes"), "maybe"),
        (ResponseTooLargeError("x", request_sent="yes"), "maybe"),
        (DeadlineExceededError("x", request_sent="no"), "no"),
        (InternalError("x", request_sent="no"), "no"),
        (InternalError("x", request_sent="maybe"), "maybe"),
        (DecodeError("x", request_sent="yes"), "yes"),
        (OperationFailedError("x", request_sent="yes"), "no"),
        *((status_error(code, Problem()), "no") for code in REFUSED),
        *((status_error(code, Problem()), "maybe") for code in LEFT_OPEN),
        (status_error(429, Problem(), retry_after_s=1.0), "no"),
        (status_error(503, Problem(), retry_after_s=1.0), "maybe"),
        (status_error(503, Problem(), is_overloaded=True), "no"),
        (status_error(503, Problem(), retry_after_s=1.0, is_overloaded=True), "no"),
        (status_error(502, Problem(), is_overloaded=True), "maybe"),
    ],
    ids=repr,
)
def test_a_write_that_was_or_may_have_been_applied_says_so(error, applied):
    """R52: and only a write, since repeating a read is harmless; until the call has ended it may be one."""
    assert (error.attempt_applied, error.outcome_unknown, error.is_retry_safe) == (applied, False, applied == "no")
    expected = (applied, applied == "maybe", applied == "no")
    assert (ended(error).applied, error.outcome_unknown, error.is_retry_safe) == expected
    said = {"no": "", "maybe": "; the write may have been applied", "yes": "; the write was applied"}[applied]
    assert f"[1 attempt{said}; correlation id c-1]" in str(error)
    assert (ended(error, idempotent=True).outcome_unknown, error.is_retry_safe) == (False, True)
    assert "the write" not in str(error)


def test_an_error_survives_pickle_and_copy():
    """With class, status, problem and record."""
    overloaded = ended(status_error(503, Problem(), is_overloaded=True))
    assert all(other.not_processed for other in (pickle.loads(pickle.dumps(overloaded)), copy.copy(overloaded)))
    error = ended(status_error(429, Problem(code="RateLimited"), retry_after_s=7.0))
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is RateLimitedError
        assert other.status == 429
        assert other.problem == error.problem
        assert other.retry_after_s == 7.0
        assert (other.outcome, str(other)) == (error.outcome, str(error))
    problems = ConfigError(["a: b", "c: d"])
    assert pickle.loads(pickle.dumps(problems)).problems == ("a: b", "c: d")


def test_the_text_tells_where_what_and_how_often():
    """One line that an engineer can search for."""
    text = str(ended(status_error(503, Problem(code="Down", message="later")), attempts=3))
    assert text == (
        "svc.op (POST /r): 503 response: Down: later [3 attempts; the write may have been applied; correlation id c-1]"
    )


def test_one_except_catches_everything():
    """And another one everything about calls."""
    assert issubclass(CallError, PlatformError)
    assert issubclass(ConfigError, PlatformError)


def test_labels_are_bounded():
    """The status or the class, never a text."""
    assert error_type(status_error(503, Problem())) == "503"
    assert error_type(ResponseLostError("x")) == "ResponseLostError"


EVERY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PlatformError)]


def test_the_documented_codes_are_the_codes():
    """R52: stable names for programs; the table in the documentation is the one the code makes."""
    documentation = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md").read_text()
    shown = documentation.partition("<!-- codes -->\n\n")[2].partition("\n\n<!-- /codes")[0]
    assert codes_table() == shown
    codes = [kind.code for kind in EVERY]
    assert len(set(codes)) == len(codes) - 1  # both kinds of unusable input are VALIDATION_ERROR, the core's own word
    assert all(code.isupper() for code in codes)


def test_the_documented_advice_is_the_advice():
    """What a host responds with, whether to repeat, what to do and what end users read, for each class."""
    documentation = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md").read_text()
    shown = documentation.partition("<!-- advice -->\n\n")[2].partition("\n\n<!-- /advice")[0]
    assert advice_table() == shown
    assert shown.count("\n") == len(EVERY) + 1


def test_the_documented_groups_of_what_to_do():
    """The page's function gives each class its group; a write that may have been applied comes before every class."""
    documentation = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md").read_text()
    block, *_ = re.findall(r"```python\n(.*?)```", documentation, re.DOTALL)
    namespace = {}
    exec(block, namespace)  # noqa: S102 - our own documentation
    what_to_do = namespace["what_to_do"]
    for error, group in (
        (status_error(401, Problem()), "sign in"),
        (status_error(429, Problem()), "busy"),
        (BulkheadFullError("x"), "busy"),
        (errors.PoolTimeoutError("x"), "busy"),
        (ClientClosedError("x"), "shutting down"),
        (errors.CircuitOpenError("x"), "platform down"),
        (RequestNotSentError("x"), "platform down"),
        (status_error(503, Problem()), "platform down"),
        (InvalidArgumentError("x"), "user's input"),
        (status_error(404, Problem()), "user's input"),
        (DecodeError("x"), "report"),
        (ConfigError("a: b"), "report"),
    ):
        assert what_to_do(error) == group, error
    for error in (status_error(503, Problem()), ResponseLostError("x", request_sent="yes")):
        assert what_to_do(ended(error)) == "check first"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("a: b"), 500),
        (CallError("x"), 502),
        (InvalidArgumentError("x"), 400),
        (RequestNotSentError("x"), 503),
        (BulkheadFullError("x"), 503),
        (ResponseLostError("x"), 502),
        (DeadlineExceededError("x"), 504),
        (DecodeError("x"), 502),
        (OperationFailedError("x"), 422),
        (ResponseTooLargeError("x"), 502),
        (InternalError("x"), 500),
        (status_error(408, Problem()), 504),
        *((status_error(code, Problem()), code) for code in (400, 401, 402, 403, 404, 409, 410, 412, 413)),
        *((status_error(code, Problem()), code) for code in (422, 423, 429, 451, 503, 504)),
        *((status_error(code, Problem()), 502) for code in (0, 100, 302, 405, 406, 407, 411, 415, 418, 428, 431)),
        *((status_error(code, Problem()), 502) for code in (500, 501, 502, 505, 599, 600)),
    ],
    ids=repr,
)
def test_a_host_has_a_status_to_respond_with(error, status):
    """The platform's where it concerns the user, what was asked for or when; a connector's mistake is a 502."""
    assert error.http_status == status


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (PlatformError("x"), False),
        (ConfigError("a: b"), False),
        (CallError("x"), False),
        (InvalidArgumentError("x"), False),
        (RequestNotSentError("x"), True),
        (BulkheadFullError("x"), True),
        (ClientClosedError("x"), False),
        (ResponseLostError("x"), True),
        (DeadlineExceededError("x"), True),
        (DecodeError("x"), False),
        (OperationFailedError("x"), False),
        (OperationFailedError(Problem(retryable=True)), True),
        (InternalError("x"), False),
        *((status_error(code, Problem()), True) for code in (408, 429, 500, 502, 503, 504)),
        *((status_error(code, Problem()), False) for code in (302, 400, 401, 403, 404, 409, 422, 501, 505)),
        (status_error(409, Problem(retryable=True)), True),
        (status_error(503, Problem(retryable=False)), False),
    ],
    ids=repr,
)
def test_an_error_says_whether_it_may_pass(error, transient):
    """R11: the statuses are those that a read is retried after; the platform's own word wins."""
    assert error.is_transient is transient


MAYBE = "Your change may have been made: please check before you try again."
MADE = "Your change was made: please do not repeat it."
TOO_MANY = "Too many requests were made in a short time."


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RequestNotSentError("x"), "The service could not be reached. Please try again in a moment."),
        (NotFoundError("x", status=404), "This does not exist, or not any more."),
        (ResponseLostError("x", request_sent="maybe"), f"The service did not respond. {MAYBE}"),
        (DecodeError("x", request_sent="yes"), f"The service sent a response that could not be read. {MADE}"),
        *(
            (status_error(429, Problem(), retry_after_s=seconds), f"{TOO_MANY} Please try again {wait}.")
            for seconds, wait in [
                (None, "in a moment"),
                (0.0, "in a moment"),
                (float("inf"), "in a moment"),
                (0.2, "in 1 second"),
                (1.0, "in 1 second"),
                (1.1, "in 2 seconds"),
                (120.0, "in 120 seconds"),
                (120.1, "in 3 minutes"),
                (3600.0, "in 60 minutes"),
            ]
        ),
    ],
    ids=repr,
)
def test_an_end_user_reads_a_sentence(error, text):
    """R52: what happened, then what became of a change, or when to repeat; the same before the call has ended."""
    assert error.to_plugin_error()["error"] == ended(error).to_plugin_error()["error"] == text


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_an_end_user_reads_nothing_technical(kind):
    """Method, route, reason, frame and type are for engineers; of a read no change is mentioned."""
    error = kind("NullReferenceException in Foo.cs:12, GET /api/r")
    if issubclass(kind, CallError):
        error = ended(error, idempotent=True)
        error._problem = Problem(code="KeyError", message="POST /api/x: File 'a.py', line 3, in f")
    read = error.to_plugin_error()["error"]
    assert not re.search(r"POST|GET|/|svc|op\b|c-1|Error|Exception|\.py|\.cs|line|change|\[", read)
    assert re.fullmatch(r"([A-Z][a-z ,]+\.( |$))+", read)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_error_tells_a_plugin_what_to_return(kind):
    """The core's shape, JSON-ready; also straight from the class and after pickle, copy and deepcopy."""
    error = kind("reason")
    if issubclass(kind, CallError):
        error = ended(error, attempts=2)
        error.retry_after_s = float("inf")
    for other in (error, pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        told = json.loads(json.dumps(other.to_plugin_error(), allow_nan=False))
        assert told["error"].startswith(kind._sentence)
        assert told["error_code"] == kind.code
        assert told == error.to_plugin_error()
    if issubclass(kind, CallError):
        details = error.to_plugin_error()["details"]
        assert details["service"] == "svc"
        assert details["attempts"] == 2
        assert details["retry_after_s"] is None


def test_the_details_tell_what_the_platform_said():
    """Status, problem, and the time after which to repeat."""
    problem = Problem(code="Bad", message="no", field_errors={"name": ("too long",)})
    details = ended(status_error(422, problem, retry_after_s=2.0)).to_plugin_error()["details"]
    assert details == {
        "service": "svc",
        "operation": "op",
        "status": 422,
        "attempts": 1,
        "correlation_id": "c-1",
        "request_sent": "yes",
        "outcome_unknown": False,
        "is_retry_safe": True,
        "retry_after_s": 2.0,
        "stop_reason": "not_retryable",
        "problem": {"code": "Bad", "message": "no", "field_errors": {"name": ["too long"]}},
    }
    assert ConfigError(["a: b"]).to_plugin_error() == {
        "error": "The application is not set up correctly. Please inform its operator.",
        "error_code": "CONFIGURATION_ERROR",
        "details": {"problems": ["a: b"]},
    }


def test_an_error_has_every_attribute_before_its_call_ended():
    """Neutral values: reading it early raises nothing."""
    error = CallError(reason="x")
    assert (error.service, error.operation, error.method, error.route, error.correlation_id) == ("",) * 5
    assert error.attempts == 0
    assert error.elapsed_s == 0.0
    assert error.timeline == ()
    assert error.stop_reason == ""
    assert error.circuit_state == ""
    assert error.status is None
    assert error.problem is None
    assert error.reason == "x"
    assert error.request_sent == "no"
    assert error.retry_after_s is None
    assert error.outcome is None
    assert str(error) == "x"
    assert repr(error) == "<CallError: x>"
    assert error.args == ("x",)
    assert (error.outcome_unknown, error.is_retry_safe) == (False, True)
    assert str(CallError()) == ""
    assert str(StatusError()) == ""
    assert str(InternalError()) == ""
    assert ResponseLostError("x", request_sent="maybe").to_plugin_error()["details"]["request_sent"] == "maybe"


def test_an_ended_error_tells_its_record():
    """R52: attribute by attribute."""
    record = AttemptRecord(number=1, started_s=0, ended_s=1, outcome="x", status=None, request_sent="maybe", delay_s=0)
    error = ended(ResponseLostError("reset", request_sent="maybe"))
    error.outcome = replace(error.outcome, timeline=(record,), elapsed_s=1.5)
    assert error.service == "svc"
    assert error.operation == "op"
    assert error.method == "POST"
    assert error.route == "/r"
    assert error.correlation_id == "c-1"
    assert error.attempts == 1
    assert error.elapsed_s == 1.5
    assert error.timeline == (record,)
    assert error.stop_reason == "not_retryable"
    assert error.circuit_state == "closed"
    told = "svc.op (POST /r): reset [1 attempt; the write may have been applied; correlation id c-1]"
    assert str(error) == told
    assert repr(error) == f"<ResponseLostError: {told}>"
    assert str(ended(NotFoundError("gone", status=404))) == "svc.op (POST /r): gone [1 attempt; correlation id c-1]"


@pytest.mark.parametrize(("status", "problem", "text"), [
    (404, Problem(), "404 response"),
    (404, Problem(code="NotFound"), "404 response: NotFound"),
    (404, Problem(message="no such app"), "404 response: no such app"),
    (404, Problem(code="NotFound", message="no such app"), "404 response: NotFound: no such app"),
])  # fmt: skip
def test_the_text_of_an_answer_says_what_the_body_said(status, problem, text):
    """Code and message, where there are any."""
    error = status_error(status, problem)
    assert error.reason == text
    assert error.args == (text,)
    assert error.status == status
    assert error.problem == problem
    assert error.request_sent == "yes"
    assert error.retry_after_s is None


def test_a_failure_in_a_success_has_the_bodys_details():
    """And is no unknown outcome: the platform says that it was not done."""
    error = OperationFailedError(Problem(code="QuotaExceeded", message="too many"), request_sent="yes")
    assert error.reason == "2xx response reports failure: QuotaExceeded: too many"
    assert error.problem.code == "QuotaExceeded"
    assert ended(error).outcome_unknown is False
    assert (OperationFailedError().reason, OperationFailedError().problem) == ("", Problem())
    again = pickle.loads(pickle.dumps(error))
    assert again.reason == error.reason
    assert again.problem == error.problem
    assert again.request_sent == "yes"


def test_an_internal_error_tells_where():
    """Innermost last; empty where it is unknown."""
    assert InternalError("x", origin=["a.py:1 in f", "b.py:2 in g"]).origin == ("a.py:1 in f", "b.py:2 in g")
    assert InternalError("x").origin == ()


def test_a_config_error_lists_every_problem():
    """Or the one."""
    both, one = ConfigError(["a: b", "c: d"]), ConfigError("a: b")
    assert both.problems == ("a: b", "c: d")
    assert str(both) == "a: b; c: d"
    assert both.args == (("a: b", "c: d"),)
    assert one.problems == ("a: b",)
    assert str(one) == "a: b"
    assert PlatformError("x").to_plugin_error() == {
        "error": "Something went wrong.",
        "error_code": "PLATFORM_ERROR",
        "details": {},
    }


def test_the_label_of_a_foreign_exception_is_its_class():
    """Whatever attributes it has; a status error without a status has its class too."""
    foreign = ValueError("x")
    foreign.status = 418
    assert error_type(foreign) == "ValueError"
    assert error_type(StatusError("x")) == "StatusError"
    assert error_type(None) == "NoneType"


@pytest.mark.parametrize(
    ("kind", "chained", "kept"),
    [(ValueError, False, {}), (CallError, True, {}), (ValueError, True, {"secret": "s3cret"})],
)
def test_the_frames_of_an_error_and_of_ours_before_it_forget_their_locals(kind, chained, kept):
    """R52: what the caller was handling when it called is the caller's."""

    def fail():
        secret = "s3cret"
        raise kind(str(len(secret)))

    with pytest.raises(kind) as caught:
        fail()
    inner = outer = caught.value
    if chained:
        outer = CallError("x")
        outer.__context__ = inner
    frame = inner.__traceback__.tb_next.tb_frame
    assert frame.f_locals["secret"] == "s3cret"
    clear_traceback_locals(outer)
    assert {name: value for name, value in frame.f_locals.items() if name == "secret"} == kept


def attempt(applied, status=None):
    return AttemptRecord(
        number=1,
        started_s=0,
        ended_s=1,
        outcome="x",
        status=status,
        request_sent="yes",
        delay_s=0,
        applied=applied,
    )


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (RequestNotSentError("x"), True),
        (BulkheadFullError("x"), True),
        (status_error(429, Problem()), True),
        (status_error(409, Problem()), True),
        (status_error(401, Problem()), True),
        (status_error(503, Problem(), retry_after_s=60.0), True),
        (status_error(503, Problem(), is_overloaded=True), True),
        (DeadlineExceededError("x", request_sent="yes"), True),
        (DecodeError("x", request_sent="yes"), False),
        (OperationFailedError("x", request_sent="yes"), False),
    ],
    ids=repr,
)
def test_an_attempt_that_was_lost_counts_whatever_became_of_the_last(error, unknown):
    """R52: with an honoured key a lost write is repeated; only a 2xx says whether it was applied."""
    assert ended(error, timeline=[attempt("maybe")], keyed=True).outcome_unknown is unknown
    assert error.is_retry_safe is (not unknown and not isinstance(error, DecodeError))
    # What an earlier attempt is known to have done, the last one cannot undo.
    assert (ended(error, timeline=[attempt("yes"), attempt("no")], keyed=True).applied, error.is_retry_safe) == (
        "yes",
        False,
    )
    if not isinstance(error, DeadlineExceededError):
        alone = ended(error, timeline=[attempt("no")])
        assert alone.applied == alone.attempt_applied
        assert alone.outcome_unknown == (alone.attempt_applied == "maybe")


def test_without_a_key_a_refusal_tells_of_its_own_attempt_alone():
    """R52: a write repeated after 503 may fail because the first one was applied."""
    error = ended(OperationFailedError("the name is taken"), timeline=[attempt("maybe", 503), attempt("no")])
    assert (error.applied, error.outcome_unknown, error.is_retry_safe) == ("maybe", True, False)


def test_a_deadline_that_cut_a_wait_says_nothing():
    """R52: the server rejected the only attempt, and the deadline ended the wait after it."""
    error = DeadlineExceededError("x", request_sent="yes")
    assert ended(error, timeline=[attempt("no")]).outcome_unknown is False


def test_what_the_caller_was_handling_stays_the_callers():
    """Its frames keep their locals, and its generators go on."""

    def callers():
        mine = "kept"  # noqa: F841
        raise KeyError("the caller's")

    def ours():
        secret = "s"  # noqa: F841
        raise ResponseLostError("x")

    try:
        callers()
    except KeyError as outer:
        with pytest.raises(ResponseLostError) as caught:
            ours()
        clear_traceback_locals(caught.value)
        assert outer.__traceback__.tb_next.tb_frame.f_locals == {"mine": "kept"}
    assert caught.tb.tb_next.tb_frame.f_locals == {}


def test_what_the_deadline_cut_stands_in_the_timeline():
    """The error of one attempt describes that attempt; the error of the call relies on the record."""
    for sent, unclear in (("no", False), ("maybe", True), ("yes", True)):
        assert DeadlineExceededError("x", request_sent=sent).is_ambiguous is unclear
        assert ended(DeadlineExceededError("x", request_sent=sent)).is_ambiguous is False
