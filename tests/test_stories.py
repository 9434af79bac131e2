"""
Telemetry of whole calls: what an engineer sees of each story, of each fault, and what never shows.

Its border: spans, metrics and log lines of one call, with each other. Those of a single layer are in
`middleware/telemetry`, the error itself in `test_outcomes.py`.
"""

import asyncio
import json
import logging
from contextlib import suppress

import httpx
import pytest
from opentelemetry import context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider

from middleware import (
    CircuitOpenError,
    DeadlineExceededError,
    PlatformError,
    RequestNotSentError,
    ResponseLostError,
    ServerError,
    Telemetry,
    call_options,
)
from middleware.policies.circuit_breaker import CircuitBreakerSettings
from middleware.policies.deadline import AttemptTimeoutSettings, DeadlineSettings
from middleware.policies.hedging import HedgingSettings
from middleware.policies.retry import RetrySettings
from middleware.settings import hash_of
from middleware.stack import StackSettings
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.identity import ManagedIdentityConnector
from runtime.gateway import Fault
from runtime.gateway.faults import KINDS
from runtime.testing import ScriptedUpstream, run_virtual

ITEMS = "/api/service/items"


def shape(recorder):
    """The one call's span and its attempts, after checking that they are one tree."""
    (call,) = recorder.spans("INTERNAL")
    attempts = recorder.spans("CLIENT")
    assert call.parent is None
    assert {span.parent.span_id for span in attempts} <= {call.context.span_id}
    assert {span.context.trace_id for span in attempts} <= {call.context.trace_id}
    return call, attempts


def told(span):
    return [(event.name, dict(event.attributes)) for event in span.events]


def status(span):
    return span.status.status_code.name


def common(call):
    return {key: call.attributes[key] for key in call.attributes if key != "mozaiks.correlation_id"}


async def test_story_success(make_client, gateway, recorder):
    """One call, one attempt, no event."""
    await make_client().get(ITEMS, path_params={}, params={"page": 1}, operation="list_items", correlation_id="c-1")
    call, (attempt,) = shape(recorder)
    assert call.name == "service.list_items"
    assert status(call) == "UNSET"
    assert told(call) == []
    assert dict(call.attributes) == {
        "mozaiks.connector.name": "service",
        "mozaiks.connector.operation": "list_items",
        "mozaiks.correlation_id": "c-1",
        "mozaiks.settings.hash": hash_of(StackSettings().values().items()),
        "mozaiks.outcome": "success",
        "mozaiks.retry.attempts": 1,
        "mozaiks.request_sent": "yes",
        "mozaiks.circuit_breaker.state": "closed",
    }
    assert attempt.name == "GET /api/service/items"
    assert status(attempt) == "UNSET"
    assert told(attempt) == []
    assert dict(attempt.attributes) == {
        "http.request.method": "GET",
        "url.full": f"{gateway.url}/api/service/items?page=REDACTED",
        "url.template": "/api/service/items",
        "server.address": "127.0.0.1",
        "server.port": int(gateway.url.rpartition(":")[2]),
        "http.response.status_code": 200,
        "mozaiks.attempt.outcome": "ok",
        "mozaiks.request_sent": "yes",
    }


async def test_story_recovered_after_two_retries(make_client, gateway, recorder, clock):
    """The failed attempts are errors, the call is none; each wait is recorded with its reason."""
    gateway.script(Fault(kind="status", status=503), Fault(kind="status", status=429, retry_after="1"))
    await make_client().get(ITEMS, path_params={})
    call, attempts = shape(recorder)
    assert status(call) == "UNSET"
    assert call.attributes["mozaiks.outcome"] == "success"
    assert "error.type" not in call.attributes
    assert call.attributes["mozaiks.retry.attempts"] == 3
    assert [status(span) for span in attempts] == ["ERROR", "ERROR", "UNSET"]
    assert [span.attributes.get("error.type") for span in attempts] == ["503", "429", None]
    assert [span.attributes["http.response.status_code"] for span in attempts] == [503, 429, 200]
    assert [span.attributes.get("http.request.resend_count") for span in attempts] == [None, 1, 2]
    (first, why), (second, throttled) = told(call)
    assert first == "retry.scheduled"
    assert second == "retry.scheduled"
    assert why["mozaiks.retry.attempt"] == 1
    assert why["error.type"] == "503"
    assert why["mozaiks.retry.delay"] == clock.slept[0]
    assert throttled["error.type"] == "429"
    assert throttled["mozaiks.retry.retry_after"] == 1.0
    assert throttled["mozaiks.retry.delay"] == clock.slept[1] >= 1.0
    parents = [request.header("traceparent").split("-")[2] for request in gateway.requests]
    assert parents == [f"{span.context.span_id:016x}" for span in attempts]


async def test_story_exhausted(make_client, gateway, recorder):
    """Three attempts, and why there is no fourth."""
    gateway.script(Fault(kind="status", status=502, times=0))
    with pytest.raises(ServerError):
        await make_client().get(ITEMS, path_params={})
    call, attempts = shape(recorder)
    assert [status(span) for span in (call, *attempts)] == ["ERROR"] * 4
    assert call.status.description is None
    assert call.attributes["error.type"] == "502"
    assert call.attributes["mozaiks.outcome"] == "failure"
    assert call.attributes["mozaiks.stop_reason"] == "max_attempts"
    assert [name for name, _ in told(call)] == ["retry.scheduled", "retry.scheduled", "retry.abandoned"]
    assert told(call)[2][1] == {
        "mozaiks.retry.attempt": 3,
        "mozaiks.stop_reason": "max_attempts",
        "error.type": "502",
    }


async def test_story_rejected_by_an_open_circuit(make_client, gateway, recorder):
    """No attempt, no request; the call's span says which guard, and until when."""
    gateway.script(Fault(kind="status", status=500, times=0))
    client = make_client(circuit_breaker=CircuitBreakerSettings(min_calls=1), retry=RetrySettings(max_attempts=1))
    with pytest.raises(ServerError):
        await client.get(ITEMS, path_params={})
    opening = recorder.spans("INTERNAL")[0]
    assert told(opening)[0] == (
        "circuit_breaker.state_changed",
        {
            "mozaiks.circuit_breaker.name": "service",
            "mozaiks.circuit_breaker.from": "closed",
            "mozaiks.circuit_breaker.to": "open",
        },
    )
    recorder.exporter.clear()
    with pytest.raises(CircuitOpenError) as caught:
        await client.get(ITEMS, path_params={})
    call, attempts = shape(recorder)
    assert attempts == []
    assert len(gateway.requests) == 1
    assert status(call) == "ERROR"
    assert call.status.description == "circuit service is open"
    assert call.attributes["error.type"] == "CircuitOpenError"
    assert call.attributes["mozaiks.circuit_breaker.state"] == "open"
    assert call.attributes["mozaiks.stop_reason"] == "circuit_open"
    assert call.attributes["mozaiks.retry.attempts"] == 0
    assert call.attributes["mozaiks.request_sent"] == "no"
    assert call.attributes["mozaiks.retry.retry_after"] == pytest.approx(caught.value.retry_after_s)
    ((name, attributes),) = told(call)
    assert name == "circuit_breaker.rejected"
    assert attributes["mozaiks.guard"] == "circuit_breaker"
    assert attributes["mozaiks.retry.retry_after"] > 0


async def test_story_hedged(make_client, gateway, recorder):
    """A late attempt gets a hedge; the winner is marked, the loser cancelled and no error; both below the one call."""
    gateway.script(Fault(kind="stall"))
    await make_client(hedging=HedgingSettings(max_hedges=1, delay_s=0.05)).get(ITEMS, path_params={})
    call, (late, hedge) = shape(recorder)
    assert [status(span) for span in (call, late, hedge)] == ["UNSET"] * 3
    assert call.attributes["mozaiks.outcome"] == "success"
    assert call.attributes["mozaiks.retry.attempts"] == 2
    assert ["mozaiks.attempt.is_hedge" in span.attributes for span in (late, hedge)] == [False, True]
    assert [span.attributes["mozaiks.attempt.outcome"] for span in (late, hedge)] == ["cancelled", "ok"]
    assert hedge.attributes["http.request.resend_count"] == 1
    assert hedge.start_time < late.end_time
    (started, why), (won, which) = told(call)
    assert started == "hedge.started"
    assert why["mozaiks.hedge.number"] == 1
    assert won == "hedge.won"
    assert which == {"mozaiks.hedge.number": 1}
    assert why["mozaiks.hedge.delay"] >= 0.05
    parents = {request.header("traceparent").split("-")[2] for request in gateway.requests}
    assert parents == {f"{span.context.span_id:016x}" for span in (late, hedge)}
    assert sum(point.count for point in recorder.points("http.client.request.duration")) == 2
    assert [point.value for point in recorder.points("mozaiks.connector.hedges.won")] == [1]


async def test_story_deadline_cut(make_client, gateway, recorder):
    """The call's time is up: an error of the call and of the attempt that it cancelled, in the duration metric too."""
    gateway.script(Fault(kind="stall", times=0))
    with pytest.raises(DeadlineExceededError):
        await make_client(deadline=DeadlineSettings(total_s=0.4)).get(ITEMS, path_params={})
    call, (attempt,) = shape(recorder)
    assert status(call) == "ERROR"
    assert call.status.description == "deadline of 0.4 s exceeded"
    assert call.attributes["error.type"] == "DeadlineExceededError"
    assert call.attributes["mozaiks.stop_reason"] == "deadline"
    assert told(call) == [("deadline.reached", {"mozaiks.deadline": 0.4})]
    assert call.attributes["mozaiks.request_sent"] == "maybe"
    assert status(attempt) == "ERROR"
    assert attempt.attributes["error.type"] == "DeadlineExceededError"
    (point,) = recorder.points("http.client.request.duration")
    assert point.count == 1
    assert point.attributes["error.type"] == "DeadlineExceededError"
    # What the attempt lasted, not the 0.4 s of the call: on a busy machine much of these passes before the attempt.
    assert point.sum == pytest.approx((attempt.end_time - attempt.start_time) / 1e9, rel=0.5)


async def test_story_cancelled(make_client, gateway, recorder):
    """The caller went away: no failure, so no error anywhere."""
    gateway.script(Fault(kind="stall", times=0))
    task = asyncio.create_task(make_client().get(ITEMS, path_params={}))
    while not gateway.requests:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    call, (attempt,) = shape(recorder)
    assert [status(call), status(attempt)] == ["UNSET", "UNSET"]
    assert (call.attributes["mozaiks.outcome"], attempt.attributes["mozaiks.attempt.outcome"]) == ("cancelled",) * 2
    assert not [span for span in (call, attempt) if "error.type" in span.attributes]
    (point,) = recorder.points("http.client.request.duration")
    assert point.count == 1
    assert "error.type" not in point.attributes


async def test_story_write_with_unknown_outcome(make_client, gateway, recorder):
    """The request was sent and no response came: the span says that only the platform knows."""
    gateway.script(Fault(kind="reset", applied=True))
    with pytest.raises(ResponseLostError):
        await make_client().post(ITEMS, path_params={}, json_body={"name": "Item"})
    call, (attempt,) = shape(recorder)
    assert status(call) == "ERROR"
    assert call.attributes["mozaiks.outcome"] == "unknown"
    assert call.attributes["mozaiks.request_sent"] == attempt.attributes["mozaiks.request_sent"] == "maybe"
    assert call.attributes["mozaiks.stop_reason"] == "not_retryable"
    assert attempt.attributes["error.type"] == "ResponseLostError"
    assert attempt.status.description.endswith("after the request was sent")
    assert "http.response.status_code" not in attempt.attributes


@pytest.mark.parametrize("kind", [*KINDS, "refused"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_fault_is_one_span_and_one_sample_per_attempt(make_client, gateway, recorder, kind, method):
    """Whatever happens on the wire: as many spans and samples as attempts, one call, its outcome right."""
    client = make_client(
        attempt=AttemptTimeoutSettings(timeout_s=0.15), circuit_breaker=CircuitBreakerSettings(mode="disabled")
    )
    if kind == "refused":
        await gateway.stop()
    else:
        gateway.script(Fault(kind=kind, times=0, seconds=0.02))
    body = {"name": "Item"} if method == "POST" else None
    try:
        response = await client.request(method, ITEMS, path_params={}, json_body=body)
        outcome, expected = response.outcome, "success"
    except PlatformError as error:
        outcome, expected = error.outcome, "unknown" if error.outcome_unknown else "failure"
    call, attempts = shape(recorder)
    assert len(attempts) == outcome.attempts == call.attributes["mozaiks.retry.attempts"]
    assert kind == "refused" or len(gateway.requests) == len(attempts)
    points = recorder.points("http.client.request.duration")
    assert sum(point.count for point in points) == len(attempts)
    assert {point.attributes.get("error.type") for point in points} == {
        span.attributes.get("error.type") for span in attempts
    }
    assert call.attributes["mozaiks.outcome"] == expected
    assert [span.attributes["mozaiks.request_sent"] for span in attempts] == [
        record.request_sent for record in outcome.timeline
    ]
    ((labels, count),) = [(p.attributes, p.count) for p in recorder.points("mozaiks.connector.call.duration")]
    assert labels["mozaiks.outcome"] == expected
    assert count == 1
    failed = [span for span in attempts if "error.type" in span.attributes]
    assert [status(span) for span in failed] == ["ERROR"] * len(failed)


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
EMAIL = "ada@example.com"
QUERY = "query-value-7f3a91"
COOKIE = "session-cookie-51c2"
KEY = "moz_live_5e1f0c2b9a8d"
MARKERS = [JWT, "c2lnbmF0dXJl", EMAIL, "ada%40example.com", QUERY, COOKIE, KEY]
ECHO = json.dumps({"error": "Invalid", "message": f"no {QUERY} for {EMAIL} with {JWT}, {KEY}, Set-Cookie: {COOKIE}"})


def shown(recorder, caplog, *errors):
    """Everything that a person or a program can see of the calls."""
    yield from (span.to_json() for span in recorder.exporter.get_finished_spans())
    yield recorder.reader.get_metrics_data().to_json()
    yield caplog.text
    yield from (str(record.__dict__) for record in caplog.records)
    yield str(recorder.events)
    for error in errors:
        yield from (str(error), repr(error), str(error.problem), repr(error.outcome), repr(error.__cause__))


def no_marker_in(texts):
    return [(marker, text) for text in texts for marker in MARKERS if marker in text]


async def marked_call(client):
    return await client.request(
        "GET",
        "/api/service/items/{item_id}",
        path_params={"item_id": EMAIL},
        params={"q": QUERY, "email": EMAIL},
        user_jwt=JWT,
    )


@pytest.mark.parametrize("kind", [*KINDS, "echo", "refused"])
async def test_no_secret_passes_any_fault(gateway, recorder, clock, caplog, kind):
    """Token, key, address, cookie and query value are in no span, metric, log line, exception or record."""
    caplog.set_level(logging.DEBUG)
    client = PlatformHttpClient(gateway.url, KEY, service="service", telemetry=recorder.telemetry, clock=clock)
    gateway.api_key = KEY
    if kind == "refused":
        await gateway.stop()
    elif kind == "echo":
        gateway.script(Fault(kind="status", status=400, body=ECHO))
    elif kind == "stall":
        gateway.script(Fault(kind=kind, times=0))
    else:
        gateway.script(Fault(kind=kind, times=0, seconds=0.001, body=ECHO))
    errors = []
    with call_options(deadline_s=0.5):
        try:
            await marked_call(client)
        except PlatformError as error:
            errors.append(error)
    await client.aclose()
    assert recorder.spans("INTERNAL")
    assert no_marker_in(shown(recorder, caplog, *errors)) == []


@pytest.mark.parametrize("answer", [200, 302, 400, 401, 500])
@pytest.mark.parametrize("body", [ECHO, json.dumps({"id": EMAIL, "username": [JWT]}), f"<html>{EMAIL}</html>"])
async def test_no_secret_of_an_answer_passes(recorder, clock, caplog, answer, body):
    """Headers that set cookies and bodies that echo everything stay behind."""
    caplog.set_level(logging.DEBUG)

    async def platform(request):
        # A value that was not sent cannot be known to be one.
        text = body if request.url.query else body.replace(QUERY, "nothing")
        headers = {
            "set-cookie": COOKIE,
            "location": f"https://elsewhere/?token={JWT}",
            "content-type": "application/json",
            "www-authenticate": f'Bearer realm="{COOKIE}"',
        }
        return httpx.Response(answer, headers=headers, text=text)

    client = PlatformHttpClient(
        "http://platform", KEY, transport=httpx.MockTransport(platform), telemetry=recorder.telemetry, clock=clock
    )
    errors = []
    for call in (marked_call(client), ManagedIdentityConnector(client).get_user(EMAIL)):
        try:
            await call
        except PlatformError as error:
            errors.append(error)
    assert errors
    assert no_marker_in(shown(recorder, caplog, *errors)) == []


async def test_two_clients_and_no_telemetry_and_a_failing_exporter_give_the_same_calls(gateway, clock):
    """Whatever hangs on the calls: same results, same requests."""
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
    from opentelemetry.trace import NoOpTracerProvider

    class Broken(SpanExporter):
        def export(self, spans):
            raise RuntimeError("exporter")

    failing = TracerProvider(shutdown_on_exit=False)
    failing.add_span_processor(SimpleSpanProcessor(Broken()))
    off = Telemetry(tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
    for telemetry in (Telemetry(), off, Telemetry(tracer_provider=failing), Telemetry(tracer_provider=failing)):
        client = PlatformHttpClient(gateway.url, gateway.api_key, telemetry=telemetry, clock=clock)
        gateway.script(Fault(kind="status", times=1))
        before = len(gateway.requests)
        assert (await client.get(ITEMS))["items"] == []
        assert [request.status for request in gateway.requests[before:]] == [503, 200]
        with pytest.raises(RequestNotSentError):
            await PlatformHttpClient("http://127.0.0.1:9", telemetry=telemetry, clock=clock).get("/x")
        await client.aclose()


@pytest.mark.parametrize("telemetry", [Telemetry(), Telemetry(tracer_provider=NoOpTracerProvider())])
def test_without_a_span_of_ours_the_hosts_own_says_nothing_of_us(telemetry):
    """Its name is the host's, and so are its status and attributes."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def scenario():
        client = ScriptedUpstream([], then=503).client(telemetry=telemetry)
        with provider.get_tracer("host").start_as_current_span("host work"), suppress(ServerError):
            await client.get("/r", path_params={})

    run_virtual(scenario())
    (span,) = exporter.get_finished_spans()
    assert dict(span.attributes) == {}
    assert span.events == ()
    assert span.status.status_code.name == "UNSET"


async def test_without_an_sdk_the_instrumentations_are_suppressed_too():
    """A host may instrument by a provider of its own; our query values are not for its spans."""
    seen = []

    def answer(_request):
        seen.append(context.get_value("suppress_instrumentation"))
        return httpx.Response(200, json={})

    client = PlatformHttpClient("http://platform.test", transport=httpx.MockTransport(answer))
    await client.get("/r")
    assert seen == [True]
    assert context.get_value("suppress_instrumentation") is None
