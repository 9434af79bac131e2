"""
What the caller of a failed call gets: the class of its error, its texts and ids; and what it keeps alive.

Its border: the error as its caller has it. What the server read is in `test_end_to_end.py`, telemetry in
`test_stories.py`.
"""

import asyncio
import gc
import json
import logging
from dataclasses import dataclass, replace

import httpx
import pytest

from middleware import (
    BulkheadFullError,
    CallError,
    CircuitOpenError,
    DecodeError,
    InternalError,
    InvalidRequestError,
    OperationFailedError,
    RateLimitedError,
    RateLimitExceededError,
    RequestNotSentError,
    ResponseLostError,
    ServerError,
)
from middleware.errors import LocalRejectionError, decisive_error, status_error
from middleware.events import CallFinished
from middleware.host_layers import HostLayers
from middleware.problem import Problem
from runtime.connectors.base import PlatformHttpClient, decoder, refuse_failure
from runtime.connectors.identity import ManagedIdentityConnector
from runtime.connectors.service import ManagedServiceConnector
from runtime.testing import Reply, ScriptedUpstream, run_virtual, virtual_time

OFF = {"budget": {"enabled": False}, "circuit_breaker": {"mode": "disabled"}}
KEYED = {"idempotency": {"honors_key": True}}


async def error_of(call):
    with pytest.raises(CallError) as caught:
        await call
    return caught.value


# The class


def failed(status):
    return status_error(status, Problem())


LOST = ResponseLostError("x", request_sent="maybe")
UNSENT, FULL, OPEN = RequestNotSentError("x"), BulkheadFullError("x"), CircuitOpenError("x")
THROTTLED, BROKEN, MISSING = failed(429), failed(503), failed(404)


@pytest.mark.parametrize(
    ("failures", "last", "decisive"),
    [
        ([], UNSENT, UNSENT),
        ([], FULL, FULL),
        ([UNSENT], FULL, UNSENT),
        ([LOST], UNSENT, LOST),
        ([LOST, UNSENT], OPEN, LOST),
        ([LOST, THROTTLED], FULL, LOST),
        ([BROKEN, LOST, UNSENT], UNSENT, LOST),
        ([LOST, BROKEN], UNSENT, BROKEN),
        ([THROTTLED], FULL, THROTTLED),
        ([THROTTLED], UNSENT, UNSENT),
        ([LOST], MISSING, MISSING),
        ([FULL], OPEN, OPEN),
    ],
)
def test_which_error_describes_a_call(failures, last, decisive):
    """R37: after "not sent" the last of those that may have been applied, else the last of the service's own."""
    noted = failures if isinstance(last, LocalRejectionError) or last in failures else [*failures, last]
    assert decisive_error(noted, last) is decisive


async def a_refused_connection():
    upstream = ScriptedUpstream(["lost"], then=httpx.ConnectError)
    return await error_of(upstream.client(**OFF, **KEYED).post("/x", json_body={}))


async def a_full_bulkhead():
    upstream = ScriptedUpstream(["lost"], then=Reply(json={}, after_s=5))
    bulkhead = {"permits": 1, "queue": 0}
    client = upstream.client(**OFF, **KEYED, bulkhead=bulkhead, retry={"base_delay_s": 1})
    writing = asyncio.ensure_future(error_of(client.post("/x", json_body={})))
    await asyncio.sleep(0.5)
    other = asyncio.ensure_future(client.get("/y"))
    error = await writing
    await other
    return error


async def a_rate_limit():
    upstream = ScriptedUpstream(["lost"], then={})
    client = upstream.client(**OFF, **KEYED, rate_limit={"per_second": 0.01, "burst": 1})
    return await error_of(client.post("/x", json_body={}))


async def an_open_circuit():
    upstream = ScriptedUpstream(["lost", httpx.ConnectError], then=500)
    client = upstream.client(
        **KEYED, budget={"enabled": False}, circuit_breaker={"min_calls": 3}, retry={"base_delay_s": 1}
    )
    writing = asyncio.ensure_future(error_of(client.post("/x", json_body={})))
    await asyncio.sleep(1.5)  # between its second and third attempt
    await error_of(client.request("POST", "/y", json_body={}, idempotent=False))
    return await writing


async def a_pool_without_a_connection():
    upstream = ScriptedUpstream([Reply(status=500)], then=httpx.PoolTimeout)
    return await error_of(upstream.client(**OFF).get("/x"))


@pytest.mark.parametrize(
    "end", [a_refused_connection, a_full_bulkhead, a_rate_limit, an_open_circuit, a_pool_without_a_connection]
)
def test_no_call_that_may_have_been_applied_ends_with_a_class_that_is_safe_to_repeat(end):
    """R37: its class, `request_sent`, `outcome_unknown` and `is_retry_safe` say the same."""
    error = run_virtual(end())
    assert not isinstance(error, RequestNotSentError)
    assert error.request_sent != "no"
    assert error.applied == "maybe"
    if error.method == "POST":
        assert (error.outcome_unknown, error.is_retry_safe) == (True, False)
    assert error.__context__ is None


@virtual_time
async def test_all_attempts_of_a_hedged_round_count():
    """R37: one was lost, the other one could not connect."""
    upstream = ScriptedUpstream([Reply(status=503, after_s=2)], then=httpx.ConnectError)
    hedging, retry = {"max_hedges": 1, "delay_s": 1}, {"max_attempts": 2}
    error = await error_of(upstream.client(**OFF, hedging=hedging, retry=retry).get("/x"))
    assert type(error) is ServerError


@virtual_time
async def test_a_call_that_was_throttled_and_then_not_sent_is_safe_to_repeat():
    """R37: nothing was applied, and the class may say so."""
    upstream = ScriptedUpstream([429], then=httpx.ConnectError)
    error = await error_of(upstream.client(**OFF, retry={"max_attempts": 2}).post("/x", json_body={}))
    assert (type(error), error.is_retry_safe) == (RequestNotSentError, True)
    upstream = ScriptedUpstream([429], then={})
    limited = upstream.client(**OFF, rate_limit={"per_second": 0.01, "burst": 1})
    error = await error_of(limited.post("/x", json_body={}))
    assert (type(error), error.is_retry_safe) == (RateLimitedError, True)
    assert error.stop_detail == "client-side rate limit: next slot is after the deadline"
    assert type(await error_of(limited.get("/y"))) is RateLimitExceededError


# The text


@virtual_time
async def test_a_validation_error_names_the_fields():
    """The five first ones; what is wrong with each is in `problem.field_errors`."""
    document = {"title": "Invalid", "errors": {f"Field{n}": ["bad"] for n in range(7)}}
    error = await error_of(ScriptedUpstream([Reply(status=400, json=document)]).client().get("/x"))
    assert type(error) is InvalidRequestError
    assert error.reason == "400 response: Invalid (fields: Field0, Field1, Field2, Field3, Field4 and 2 more)"
    document = {"detail": [{"loc": ["body", "name"], "msg": "required"}]}
    error = await error_of(ScriptedUpstream([Reply(status=422, json=document)]).client().get("/x"))
    assert error.reason == "422 response (fields: body.name)"


@pytest.mark.parametrize(
    ("sections", "after", "detail", "stop_reason"),
    [
        ({"retry": {"retry_after_max_s": 20}}, 60, "retry.retry_after_max_s is 20 s", "retry_after_max"),
        ({"retry": {"max_attempts": 2}}, 1, "max_attempts is 2", "max_attempts"),
        ({"retry": {"max_attempts": 1}}, 1, "max_attempts is 1", "max_attempts"),
        ({"deadline": {"total_s": 5}}, 10, "next attempt in 11 s, deadline in 5 s", "deadline"),
        ({"budget": {"enabled": True, "min_per_s": 0, "ratio": 0}}, 1, "retry budget exhausted", "budget"),
    ],
)
@virtual_time
async def test_a_503_names_its_retry_after_and_the_limit_that_made_the_call_give_up(
    sections, after, detail, stop_reason
):
    """R10, R16: without it the reader has to look for all of them."""
    reply = Reply(status=503, headers={"retry-after": str(after)})
    client = ScriptedUpstream([], then=reply).client(**{"budget": {"enabled": False}, **sections})
    error = await error_of(client.get("/x"))
    assert error.stop_reason == stop_reason
    assert error.stop_detail == detail
    assert f"503 response; Retry-After {after} s (gave up: {detail}) [" in str(error)


@pytest.mark.parametrize(
    ("retry", "detail"),
    [
        ({}, "retry.not_sent_max_attempts is 5"),
        ({"not_sent_max_attempts": 1}, "retry.not_sent_max_attempts is 1"),
        ({"max_attempts": 1}, "max_attempts is 1"),
    ],
)
@virtual_time
async def test_a_refused_connection_names_the_limit_of_its_own(retry, detail):
    """R10, R20: the number of other attempts did not end the call."""
    client = ScriptedUpstream([], then=httpx.ConnectError).client(retry=retry)
    error = await error_of(client.get("/x"))
    assert error.stop_reason == "max_attempts"
    assert error.stop_detail == detail


@virtual_time
async def test_an_error_that_is_not_retried_gives_up_nothing():
    """No limit was in its way."""
    error = await error_of(ScriptedUpstream([404]).client().get("/x"))
    assert error.stop_detail == ""
    assert "gave up" not in str(error)


def breaks(_document):
    raise KeyError("s3cret")


@virtual_time
async def test_an_unexpected_error_shows_modules_and_no_paths(caplog):
    """R52: where it was raised is in the log line and in the details, its innermost frame in the text."""
    caplog.set_level(logging.WARNING)

    async def broken(request, call_next):
        breaks(request)

    client = ScriptedUpstream([]).client(middleware=HostLayers(call=[broken]))
    error = await error_of(client.get("/x"))
    assert type(error) is InternalError
    place = error.origin[-1]
    assert place.startswith("test_outcomes:")
    assert place.endswith(" in breaks")
    assert f"unexpected KeyError in broken ({place}) [" in str(error)
    assert error.to_plugin_error()["details"]["origin"] == list(error.origin)
    (line,) = [record for record in caplog.records if record.name == "mozaiks.connectors"]
    assert line.origin == list(error.origin)
    told = json.dumps([error.to_plugin_error(), str(error), line.origin, line.reason])
    assert "s3cret" not in told
    assert ".py" not in told


# Texts from outside

ODD = "half \ud83d, turned \u202e, none \u200b, bell \x07"
PLAIN = ("\ud83d", "\u202e", "\u200b", "\x07")
BODIES = [
    {"error": {"code": f"C{ODD}", "message": ODD}},
    {"errors": {ODD: [ODD]}, "title": ODD},
    {"detail": [{"loc": ["body", ODD], "msg": ODD}]},
    {"success": False, "error": {"code": "X", "message": ODD}},
    {"id": {ODD: 1}, "name": 1, "created_at": ODD},
    ODD,
]


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("body", BODIES)
@virtual_time
async def test_no_text_that_cannot_be_written_leaves_an_error(body, status, recorder, caplog):
    """R52: in its text, its details, its log line and its spans."""
    caplog.set_level(logging.WARNING)
    headers = {"content-type": "application/json\x85\x90", "x-correlation-id": "theirs\x85\x90" + "x" * 200}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    upstream = ScriptedUpstream([], then=Reply(status=status, body=json.dumps(body).encode(), headers=dict(raw)))
    client = upstream.client(telemetry=recorder.telemetry, retry={"max_attempts": 1})
    error = await error_of(ManagedServiceConnector(client).get_item("1"))
    spans = [span.to_json() for span in recorder.exporter.get_finished_spans()]
    details = json.dumps(error.to_plugin_error(), ensure_ascii=False)
    logged = repr([vars(record) for record in caplog.records if record.name == "mozaiks.connectors"])
    for text in (str(error), details, error.platform_correlation_id, repr(error.problem), *spans):
        text.encode()
    assert not [
        char for char in PLAIN for text in (str(error), details, *spans) if char in text or ascii(char)[1:-1] in text
    ]
    assert not [char for char in PLAIN if ascii(char)[1:-1] in logged]
    assert error.platform_correlation_id.startswith("theirs xxx")
    assert len(error.platform_correlation_id) == 128


@virtual_time
async def test_a_content_type_is_filtered_as_every_text():
    """It is in the reason of a body that is no JSON."""
    content_type = b"text/\xad\x9bhtml key=moz_live_0123456789abcdef"
    reply = Reply(body=b"<html>", headers={b"content-type": content_type})
    error = await error_of(ScriptedUpstream([reply]).client().get("/x"))
    assert error.reason == "200 response: body is not JSON (text/\ufffd html key=***)"


@virtual_time
async def test_a_key_of_a_document_is_filtered_and_bounded_in_the_place_of_an_error():
    """The path of a wrong field contains keys that the server chose."""

    @dataclass
    class Named:
        sizes: dict[str, int]

    with pytest.raises(DecodeError) as caught:
        decoder(Named)({"sizes": {ODD: True}})
    assert caught.value.reason == "sizes.half \ufffd, turned \ufffd, none \ufffd, bell  : must be a number"
    with pytest.raises(DecodeError) as caught:
        decoder(Named)({"sizes": {"x" * 100_000: "a"}})
    assert len(caught.value.reason) < 500


@pytest.mark.parametrize("status", [200, 400])
@virtual_time
async def test_what_the_request_carried_is_in_no_text_of_its_error(status, recorder, caplog):
    """R52: the token, values of the body and of the query; the code and the names of fields stay."""
    caplog.set_level(logging.WARNING)
    document = {
        "success": False,
        "error": {"code": "IbanRefused", "message": "DE89370400440532013000, Jane%20Doe or token-0123456789"},
        "errors": {"description": ["DE89370400440532013000"]},
    }
    upstream = ScriptedUpstream([Reply(status=status, json=document)])
    client = upstream.client(telemetry=recorder.telemetry)
    error = await error_of(
        client.post(
            "/x",
            params={"q": "Jane Doe"},
            json_body={"iban": "DE89370400440532013000", "description": "IbanRefused"},
            user_jwt="token-0123456789",
            decode=refuse_failure,
        )
    )
    assert type(error) is (OperationFailedError if status == 200 else InvalidRequestError)
    assert error.problem.code == "IbanRefused"
    assert error.problem.message == "***, *** or ***"
    assert error.problem.field_errors == {"description": ("***",)}
    told = [str(error), json.dumps(error.to_plugin_error()), repr([vars(record) for record in caplog.records])]
    told += [span.to_json() for span in recorder.exporter.get_finished_spans()]
    assert not [text for text in told if "DE8937" in text or "Jane" in text or "token-0" in text]


# Ids

THEIRS = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (THEIRS, THEIRS),
        ("theirs", "theirs"),
        ("corr-123", ""),
        ("", ""),
        (f"corr-123, {THEIRS}", f"corr-123, {THEIRS}"),
        ("moz_live_0123456789abcdef", "***"),
        ("x" * 129, "x" * 127 + "\u2026"),
    ],
)
@virtual_time
async def test_the_platforms_own_id_is_kept(given, kept, recorder, caplog):
    """On response, outcome, error, span and log line; a service may log under an id of its own."""
    caplog.set_level(logging.DEBUG)
    events = []
    headers = {"x-correlation-id": given}
    upstream = ScriptedUpstream([Reply(status=500, headers=headers), Reply(json={}, headers=headers)])
    client = upstream.client(telemetry=replace(recorder.telemetry, listener=events.append), retry={"max_attempts": 1})
    error = await error_of(client.get("/x", correlation_id="corr-123"))
    response = await client.request("GET", "/x", correlation_id="corr-123")
    ends = [event for event in events if isinstance(event, CallFinished)]
    assert {error.platform_correlation_id, response.platform_correlation_id} == {kept}
    assert {end.outcome.platform_correlation_id for end in ends} == {kept}
    assert {record.platform_correlation_id for end in ends for record in end.outcome.timeline} == {kept}
    assert error.correlation_id == "corr-123"
    assert (f", the platform's {kept}]" in str(error)) is bool(kept)
    spans = recorder.exporter.get_finished_spans()
    assert {span.attributes.get("mozaiks.platform_correlation_id") for span in spans} == {kept or None}
    ended = [record for record in caplog.records if record.message.startswith(("call.", "attempt.finished"))]
    assert [record.platform_correlation_id for record in ended] == [kept] * 4


@virtual_time
async def test_a_connector_shows_the_platforms_own_id():
    """Billing replaces what is no GUID, and logs under its own."""
    reply = Reply(status=500, json={"errorCode": "internal_error"}, headers={"x-correlation-id": THEIRS})
    client = ScriptedUpstream([reply]).client(retry={"max_attempts": 1})
    error = await error_of(ManagedIdentityConnector(client).get_user("u", correlation_id="corr-123"))
    assert error.platform_correlation_id == THEIRS


@virtual_time
async def test_the_id_of_another_call_is_not_kept():
    """R53: it belongs to that call."""
    mine, other = "6d568c72-b220-4e28-bfd5-017e0659459a", THEIRS
    replies = [Reply(json={}, headers={"x-correlation-id": mine}), Reply(json={}, headers={"x-correlation-id": other})]
    client = ScriptedUpstream(replies).client(retry={"max_attempts": 1})
    await client.get("/x", correlation_id=mine)
    error = await error_of(client.get("/x", correlation_id=mine))
    assert type(error) is ResponseLostError
    assert error.platform_correlation_id == ""
    assert error.outcome.platform_correlation_id == ""


# Mocks


@virtual_time
async def test_an_empty_response_of_a_mock_is_a_success():
    """R11: it has no connection that could have ended too early."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers={"content-type": "application/json"}))
    assert await PlatformHttpClient("http://platform.test", transport=transport).get("/x") == {}


# What stays alive


@pytest.mark.torture
@pytest.mark.parametrize(
    ("then", "sections"),
    [
        (503, {}),
        ("lost", {}),
        (httpx.ConnectError, {}),
        (400, {}),
        (Reply(status=503, headers={"retry-after": "1"}), {}),
        (503, {"deadline": {"total_s": 0.15}}),
        (Reply(status=503, after_s=2), {"hedging": {"max_hedges": 1, "delay_s": 1}}),
        (Reply(json={}, after_s=60), {"deadline": {"total_s": 25}}),
    ],
)
def test_errors_are_freed_without_the_garbage_collector(then, sections):
    """A cycle would keep each error with its request, and so with the caller's objects, until the next collection."""

    def alive():
        return sum(isinstance(one, CallError | asyncio.CancelledError) for one in gc.get_objects())

    async def fail():
        client = ScriptedUpstream([], then=then).client(**OFF, **sections)
        await error_of(client.get("/x"))  # imports, caches
        gc.collect()
        before = alive()
        for _ in range(100):
            with_error = True
            try:
                await client.get("/x")
            except CallError:
                continue
            assert not with_error
        return alive() - before

    gc.collect()
    gc.disable()
    try:
        assert run_virtual(fail()) <= 2  # those of the last call, whose timers the loop still has
    finally:
        gc.enable()
