"""
Calls through the whole stack to a real socket; what counts is what the gateway read.

Its border: requests, the order of layers, and for each layer a test that fails without it. What the caller of a failed
call gets is in `test_outcomes.py`, what an engineer sees in `test_stories.py`, what stays after an interruption in `torture`.
"""

import asyncio
import json
import logging
import uuid

import anyio
import pytest

from middleware import (
    BulkheadFullError,
    CircuitOpenError,
    ConfigError,
    DeadlineExceededError,
    DecodeError,
    HostLayers,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PlatformError,
    PlatformResponse,
    RequestNotSentError,
    ResponseLostError,
    ServerError,
    call_options,
)
from middleware.events import AttemptRejected, CallStarted, CircuitStateChanged, CorrelationIdReplaced
from middleware.policies.admission import CallCapSettings
from middleware.policies.bulkhead import BulkheadSettings
from middleware.policies.circuit_breaker import CircuitBreakerSettings
from middleware.policies.deadline import AttemptTimeoutSettings, DeadlineSettings
from middleware.policies.hedging import HedgingSettings
from middleware.policies.quota import QuotaSettings
from middleware.policies.rate_limit import RateLimitSettings
from middleware.policies.retry import RetrySettings
from middleware.request.correlation import CorrelationMiddleware
from middleware.request.encode import PathSettings
from middleware.request.idempotency import IdempotencySettings
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import Fault

NEVER_OPENS = CircuitBreakerSettings(mode="disabled")
ITEM = {"name": "Item"}


async def test_the_layers_stand_in_the_documented_order(make_client):
    """R1: the order is data, and this is it."""
    assert make_client().describe() == [
        "ErrorBoundaryMiddleware",
        "PacingMiddleware",
        "CorrelationMiddleware",
        "CallRecordingMiddleware",
        "DeadlineMiddleware",
        "CallCapMiddleware",
        "EncodeMiddleware",
        "RetryMiddleware",
        "HedgingMiddleware",
        "BulkheadMiddleware",
        "RateLimitMiddleware",
        "QuotaMiddleware",
        "CircuitBreakerMiddleware",
        "AttemptRecordingMiddleware",
        "AttemptTimeoutMiddleware",
        "AuthMiddleware",
        "DecodeMiddleware",
        "transport: httptools",
    ]


async def test_a_call_carries_credentials_and_a_correlation_id(make_client, gateway):
    """Both credentials and a fresh UUID go with every request."""
    await make_client("identity").get("/api/auth/me", path_params={}, user_jwt="token-ada")
    (request,) = gateway.requests
    assert request.header("authorization") == "Bearer token-ada"
    assert request.header("x-mozaiks-app-key") == gateway.api_key
    assert str(uuid.UUID(request.header("x-correlation-id"))) == request.header("x-correlation-id")


async def test_the_correlation_id_is_the_callers_on_every_attempt(make_client, gateway):
    """Retries keep the id, so that the platform's logs can be searched for it."""
    gateway.script(Fault(kind="status", times=2))
    response = await make_client().request("GET", "/api/service/items", path_params={}, correlation_id="order-7")
    assert [request.header("x-correlation-id") for request in gateway.requests] == ["order-7"] * 3
    assert response.correlation_id == "order-7"


@pytest.mark.parametrize("hostile", ["a\r\nx: y", "nul\0", "ü", "x" * 10_000, "two words", 7, object(), ["a"]])
async def test_an_unusable_correlation_id_is_replaced_and_told_once(make_client, gateway, recorder, caplog, hostile):
    """No text from outside reaches a header, and the log says that an id was replaced."""
    caplog.set_level(logging.WARNING, "mozaiks.connectors")
    gateway.script(Fault(kind="status"))
    await make_client().get("/api/service/items", path_params={}, correlation_id=hostile)
    sent = {request.header("x-correlation-id") for request in gateway.requests}
    assert len(gateway.requests) == 2
    assert len(sent) == 1
    uuid.UUID(sent.pop())
    assert sum(isinstance(event, CorrelationIdReplaced) for event in recorder.events) == 1
    assert [record.event for record in caplog.records] == ["correlation_id.replaced"]


@pytest.mark.parametrize("hostile", ["a\r\nx: y", "nul\0", "ü", "x" * 10_000, "two words", 7, object(), b"bytes"])
async def test_an_unsendable_token_is_a_typed_error_and_nothing_is_sent(make_client, gateway, hostile):
    """A token that no header may carry never reaches the wire, and its text never the error."""
    with pytest.raises(InvalidArgumentError, match="user_jwt") as caught:
        await make_client().get("/api/service/items", path_params={}, user_jwt=hostile)
    assert gateway.requests == []
    assert caught.value.attempts == 0
    assert str(hostile) not in caught.value.reason


@pytest.mark.parametrize("hostile", ["a\r\nx: y", "nul\0", "ü", "x" * 10_000, "two words", b"key"])
def test_an_unsendable_key_is_a_config_error(hostile):
    """A bad key is an error at construction, without showing it."""
    with pytest.raises(ConfigError, match="api_key") as caught:
        PlatformHttpClient("http://localhost", hostile)
    assert str(hostile) not in str(caught.value)


@pytest.mark.parametrize("hostile", ["a/b", "a b", "ü", "a?b#c", "%2e%2e.", "..a%2f", "x" * 1000])
async def test_a_hostile_id_stays_one_encoded_segment(make_client, gateway, hostile):
    """An id stays in its segment of the path."""
    with pytest.raises(NotFoundError):
        client = make_client(path=PathSettings(allow_slash=True))
        await client.get("/api/service/items/{item_id}", path_params={"item_id": hostile})
    (request,) = gateway.requests
    assert request.path.startswith("/api/service/items/")
    assert request.path.count("/") == 4
    assert request.path.isascii()


@pytest.mark.parametrize(
    "hostile",
    [
        *("", ".", "..", None, True, object(), 1.5, "\ud800", "x" * 10_000),
        *("a/b", "a;b", "a\\b", "..a%2f", "a%255Cb"),
        *("a\r\nb", "nul\0", "%2e%2e", "..%2f", "../admin/7", "..%252fadmin"),
    ],
)
async def test_an_id_that_is_no_segment_is_refused(make_client, gateway, hostile):
    """R54: empty, dotted, endless and untyped ids, separators and control characters are typed errors; nothing is sent."""
    with pytest.raises(InvalidArgumentError, match="path"):
        await make_client().get("/api/service/items/{item_id}", path_params={"item_id": hostile})
    assert gateway.requests == []


@pytest.mark.parametrize(
    "path", ["http://evil/x", "//evil/x", "x", "", "/a\r\nb", "/a/../b", "/a/%2e%2e/b", "/a?b=1", "/a\\b", None]
)
async def test_a_path_by_hand_cannot_leave_the_base_url(make_client, gateway, path):
    """Absolute URLs, host paths, traversal and control characters are rejected."""
    with pytest.raises(InvalidArgumentError, match="path"):
        await make_client().get(path)
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"path_params": ["a"]}, "path_params"),
        ({"path_params": {"nope": "a"}}, "path_params"),
        ({"params": "a=b"}, "params"),
        ({"params": {1: "a"}}, "params"),
        ({"params": {"q": object()}}, r"params\.q"),
        ({"params": {"q": "\ud800"}}, "params"),
        ({"json_body": object()}, "json_body"),
        ({"json_body": float("nan")}, "json_body"),
        ({"json_body": {"x": "\ud800"}}, "json_body"),
    ],
)
async def test_arguments_that_cannot_be_sent_are_named(make_client, gateway, arguments, place):
    """Each is a typed error that names the argument; nothing is sent."""
    with pytest.raises(InvalidArgumentError, match=place):
        await make_client().post("/api/service/items", **arguments)
    assert gateway.requests == []


async def test_a_method_and_an_argument_that_do_not_exist_are_told(make_client, gateway):
    """A misspelt keyword is a mistake of the program, like with any function."""
    with pytest.raises(InvalidArgumentError, match="method"):
        await make_client().request("GE T\r\n", "/x")
    with pytest.raises(TypeError, match="corelation_id"):
        await make_client().get("/x", corelation_id="c")
    assert gateway.requests == []


async def test_query_values_are_encoded(make_client, gateway):
    """None is left out, lists repeat, flags are lower case."""
    await make_client().get("/api/service/items", params={"a": None, "b": [1, "x y"], "c": True, "d": "&=ü"})
    assert gateway.requests[0].query == "b=1&b=x%20y&c=true&d=%26%3D%C3%BC"


async def test_a_path_by_hand_has_the_route_other(make_client, gateway, recorder):
    """A path with an id in it never becomes a label."""
    with pytest.raises(NotFoundError) as caught:
        await make_client().get("/api/service/items/abc123")
    assert caught.value.route == "other"
    assert gateway.requests[0].path == "/api/service/items/abc123"
    assert "abc123" not in str(recorder.points("http.client.request.duration")[0].attributes)


async def test_the_base_path_of_the_url_is_kept(gateway):
    """A gateway below a path works."""
    async with PlatformHttpClient(gateway.url + "/api/service/", gateway.api_key) as client:
        assert (await client.get("/items"))["items"] == []
    assert gateway.requests[0].path == "/api/service/items"


async def test_an_empty_answer_gives_an_empty_object(make_client, gateway):
    """A 2xx without a body is a success that says nothing."""
    gateway.script(Fault(kind="status", status=204))
    assert await make_client().delete("/api/service/items/x") == {}


async def test_the_whole_response_tells_status_location_and_outcome(make_client):
    """`request` returns what the verbs do not."""
    response = await make_client().request("POST", "/api/service/items", path_params={}, json_body=ITEM)
    assert response.status == 201
    assert response.location == f"/api/service/items/{response.data['id']}"
    assert response.outcome.attempts == 1
    assert [record.outcome for record in response.outcome.timeline] == ["ok"]


async def test_a_burst_of_503_is_ridden_out(make_client, gateway, clock):
    """A read is repeated after full-jitter backoff until it succeeds."""
    gateway.script(Fault(kind="status", times=2))
    response = await make_client().request("GET", "/api/service/items", path_params={})
    assert [request.status for request in gateway.requests] == [503, 503, 200]
    assert len(clock.slept) == 2
    assert 0 <= clock.slept[0] <= 0.1
    assert 0 <= clock.slept[1] <= 0.2
    assert [record.delay_s for record in response.outcome.timeline] == [0.0, *clock.slept]


async def test_attempts_are_bounded(make_client, gateway):
    """Three attempts, then the upstream's own error."""
    gateway.script(Fault(kind="status", status=502, times=0))
    with pytest.raises(ServerError) as caught:
        await make_client().get("/api/service/items", path_params={})
    assert len(gateway.requests) == 3
    assert caught.value.status == 502
    assert caught.value.attempts == 3
    assert caught.value.outcome.stop_reason == "max_attempts"


async def test_call_options_lower_the_attempts(make_client, gateway):
    """A caller can ask for a single try."""
    gateway.script(Fault(kind="status", times=0))
    with call_options(max_attempts=1), pytest.raises(ServerError):
        await make_client().get("/api/service/items", path_params={})
    assert len(gateway.requests) == 1


async def test_retry_after_is_waited_for(make_client, gateway, clock):
    """The next attempt comes no earlier than the platform asked."""
    gateway.script(Fault(kind="status", status=429, retry_after="3"))
    await make_client().post("/api/service/items", path_params={}, json_body=ITEM)
    assert [request.status for request in gateway.requests] == [429, 201]
    assert 3.0 <= clock.slept[0] <= 3.3


async def test_a_hopeless_retry_after_is_not_waited_for(make_client, gateway, clock):
    """Beyond the limit the call gives up at once, and says when to call again."""
    gateway.script(Fault(kind="status", status=503, retry_after="60", times=0))
    with pytest.raises(ServerError) as caught:
        await make_client().get("/api/service/items", path_params={})
    assert len(gateway.requests) == 1
    assert clock.slept == []
    assert caught.value.retry_after_s == 60.0
    assert caught.value.outcome.stop_reason == "retry_after_max"


async def test_a_wait_beyond_the_deadline_is_not_begun(make_client, gateway, clock):
    """The upstream's error comes now, not a timeout later."""
    gateway.script(Fault(kind="status", status=503, retry_after="10", times=0))
    with call_options(deadline_s=5), pytest.raises(ServerError) as caught:
        await make_client().get("/api/service/items", path_params={})
    assert clock.slept == []
    assert caught.value.outcome.stop_reason == "deadline"


@pytest.mark.parametrize("kind", ["reset", "short_body", "garbage"])
async def test_a_write_whose_answer_is_lost_is_not_repeated(make_client, gateway, kind):
    """Only the platform knows whether it was applied, and the error says so."""
    gateway.script(Fault(kind=kind, applied=True))
    with pytest.raises(ResponseLostError) as caught:
        await make_client().post("/api/service/items", path_params={}, json_body=ITEM)
    assert len(gateway.requests) == 1
    assert caught.value.outcome_unknown
    assert not caught.value.is_retry_safe
    assert "may have been applied" in str(caught.value)


@pytest.mark.parametrize("kind", ["reset", "short_body", "garbage"])
async def test_a_read_whose_answer_is_lost_is_repeated(make_client, gateway, kind):
    """A lost response costs a read nothing."""
    gateway.script(Fault(kind=kind))
    assert (await make_client().get("/api/service/items", path_params={}))["items"] == []
    assert len(gateway.requests) == 2


async def test_a_write_with_an_honoured_key_is_repeated_and_applied_once(make_client, gateway):
    """The same key and the same bytes go out twice; the platform applies them once."""
    gateway.script(Fault(kind="reset", applied=True))
    client = make_client("hosting", idempotency=IdempotencySettings(honors_key=True))
    response = await client.request(
        "POST", "/api/apps/{app_id}/deploy", path_params={"app_id": "a"}, json_body={"branch": "main"}
    )
    first, second = gateway.requests
    assert response.status == 202
    assert first.header("idempotency-key") == second.header("idempotency-key")
    assert first.body == second.body
    assert [first.applied, second.applied] == [True, False]


async def test_no_key_is_sent_where_none_is_honoured(make_client, gateway):
    """A key that the service ignores would be a promise that is not kept."""
    await make_client().post("/api/service/items", path_params={}, json_body=ITEM)
    assert gateway.requests[0].header("idempotency-key") is None


async def test_a_refused_connection_is_repeated_even_for_a_write(make_client, gateway, clock):
    """No byte left us, so repeating is safe for any method."""
    await gateway.stop()
    with pytest.raises(RequestNotSentError) as caught:
        await make_client().post("/api/service/items", path_params={}, json_body=ITEM)
    assert caught.value.attempts == 5
    assert caught.value.outcome.request_sent == "no"
    assert caught.value.is_retry_safe


async def test_an_outage_opens_the_circuit_and_one_probe_closes_it(make_client, gateway, clock, recorder):
    """Ten failures open it; rejected calls send nothing; after the open time one request closes it."""
    gateway.script(Fault(kind="status", status=500, times=0))
    client = make_client(retry=RetrySettings(max_attempts=1))
    for _ in range(10):
        with pytest.raises(ServerError):
            await client.get("/api/service/items", path_params={})
    sent = len(gateway.requests)
    with pytest.raises(CircuitOpenError) as caught:
        await client.get("/api/service/items", path_params={})
    assert sent == 10
    assert len(gateway.requests) == 10
    assert caught.value.attempts == 0
    assert 0 < caught.value.retry_after_s <= 6
    gateway.clear_faults()
    await clock.sleep(caught.value.retry_after_s)
    await client.get("/api/service/items", path_params={})
    changes = [(e.before, e.after) for e in recorder.events if isinstance(e, CircuitStateChanged)]
    assert changes == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


async def test_the_circuit_sees_every_attempt(make_client, gateway):
    """Inside the retry: four calls of three attempts are enough for ten."""
    gateway.script(Fault(kind="status", status=500, times=0))
    client = make_client()
    errors = []
    for _ in range(5):
        with pytest.raises(PlatformError) as caught:
            await client.get("/api/service/items", path_params={})
        errors.append(caught.value)
    assert len(gateway.requests) == 10
    assert isinstance(errors[3], ServerError)
    assert errors[3].outcome.stop_reason == "circuit_open"
    assert isinstance(errors[4], CircuitOpenError)


async def test_the_deadline_ends_a_stalled_call(make_client, gateway):
    """A silent open socket cannot block the caller."""
    gateway.script(Fault(kind="stall", times=0))
    with pytest.raises(DeadlineExceededError) as caught:
        await make_client(deadline=DeadlineSettings(total_s=0.2)).post("/api/service/items", json_body=ITEM)
    assert len(gateway.requests) == 1
    assert caught.value.outcome.request_sent == "maybe"
    assert caught.value.outcome_unknown


async def test_the_attempt_timeout_leaves_time_for_another_attempt(make_client, gateway):
    """A stalled try is given up and repeated within the deadline."""
    gateway.script(Fault(kind="stall"))
    client = make_client(attempt=AttemptTimeoutSettings(timeout_s=0.2))
    assert (await client.get("/api/service/items", path_params={}))["items"] == []
    assert len(gateway.requests) == 2


async def test_the_attempt_timeout_covers_the_body(make_client, gateway):
    """One byte at a time cannot stretch an attempt."""
    gateway.script(Fault(kind="drip", seconds=0.05, times=0))
    client = make_client(attempt=AttemptTimeoutSettings(timeout_s=0.2), retry=RetrySettings(max_attempts=1))
    with pytest.raises(ResponseLostError, match="timed out"):
        await client.get("/api/service/items", path_params={})


async def test_a_late_read_gets_company_and_the_first_answer_wins(make_client, gateway, recorder):
    """R19: two requests on the wire, one result; the loser's connection is closed, its span is no error."""
    gateway.script(Fault(kind="stall"))
    client = make_client(hedging=HedgingSettings(max_hedges=1, delay_s=0.05))
    response = await client.request("GET", "/api/service/items", path_params={})
    assert response.data["items"] == []
    assert len(gateway.requests) == 2
    assert sorted((record.outcome, record.is_hedge) for record in response.outcome.timeline) == [
        ("cancelled", False),
        ("ok", True),
    ]
    assert [type(event).__name__ for event in recorder.events if "Hedge" in type(event).__name__] == [
        "HedgeStarted",
        "HedgeWon",
    ]
    while gateway.connections_open > 1:
        await asyncio.sleep(0.001)
    assert {span.parent.span_id for span in recorder.spans("CLIENT")} == {
        span.context.span_id for span in recorder.spans("INTERNAL")
    }


async def test_the_bulkhead_bounds_attempts_on_the_wire(make_client, gateway):
    """Twenty calls over two permits never use more than two connections."""
    client = make_client(bulkhead=BulkheadSettings(permits=2))
    gateway.script(Fault(kind="latency", seconds=0.01, times=20))
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(client.get, "/api/service/items")
    assert len(gateway.requests) == 20
    assert gateway.connections_peak <= 2


async def test_a_full_bulkhead_refuses_at_once(make_client, gateway, recorder):
    """Beyond permits and queue the typed limit error comes without a wait."""
    gateway.script(Fault(kind="latency", seconds=0.1, times=0))
    client = make_client(bulkhead=BulkheadSettings(permits=1, queue=1))
    results = await asyncio.gather(*(client.get("/api/service/items") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, BulkheadFullError) for result in results) == 3
    assert len(gateway.requests) == 2
    assert {event.guard for event in recorder.events if isinstance(event, AttemptRejected)} == {"bulkhead"}


async def test_what_fails_in_a_layer_itself_is_one_of_our_errors_too(make_client, gateway, monkeypatch):
    """R1: even outside of the span and the record of the call; it says where, and carries a record."""

    def fail(_layer, _request):
        raise LookupError("a layer's own mistake")

    monkeypatch.setattr(CorrelationMiddleware, "enter", fail)
    with pytest.raises(InternalError) as caught:
        await make_client().get("/api/service/items")
    assert "test_end_to_end:" in caught.value.origin[-1]
    assert caught.value.outcome.attempts == 0
    assert caught.value.__cause__ is None
    assert gateway.requests == []


async def test_calls_made_at_once_begin_in_turns(make_client, gateway, recorder):
    """R3: sixteen in each iteration of the event loop, which others need too; all of them arrive."""
    client = make_client()
    calls = [asyncio.create_task(client.get("/api/service/items")) for _ in range(40)]
    await asyncio.sleep(0)
    assert len([event for event in recorder.events if isinstance(event, CallStarted)]) == 16
    await asyncio.gather(*calls)
    assert len(gateway.requests) == 40


async def test_the_call_cap_counts_calls_in_backoff(make_client, gateway):
    """A call that waits still counts, so memory stays bounded."""
    gateway.script(Fault(kind="latency", seconds=0.1, times=0))
    client = make_client(calls=CallCapSettings(max_in_flight=2))
    results = await asyncio.gather(*(client.get("/api/service/items") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, BulkheadFullError) for result in results) == 3
    assert len(gateway.requests) == 2


async def test_the_rate_limit_spaces_attempts(make_client, clock):
    """Beyond the burst each attempt waits for its slot."""
    client = make_client(rate_limit=RateLimitSettings(per_second=2, burst=1))
    for _ in range(3):
        await client.get("/api/service/items")
    assert len(clock.slept) == 2
    assert all(0.3 < delay <= 0.5 for delay in clock.slept)


async def test_the_quota_of_the_key_spaces_attempts(make_client, clock):
    """R73: without a server by this process' share of it."""
    client = make_client(quota=QuotaSettings(per_second=4, burst=2, replicas=2))
    for _ in range(3):
        await client.get("/api/service/items")
    assert len(clock.slept) == 2
    assert all(0.3 < delay <= 0.5 for delay in clock.slept)


async def test_cancelling_a_call_gives_everything_back(make_client, gateway, recorder):
    """The caller's cancel passes unchanged, and the next call works."""
    client = make_client(bulkhead=BulkheadSettings(permits=1), calls=CallCapSettings(max_in_flight=1))
    for _ in range(5):
        gateway.script(Fault(kind="stall"))
        task = asyncio.create_task(client.get("/api/service/items"))
        while not any(request.fault == "stall" and request.status is None for request in gateway.requests[-1:]):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.get("/api/service/items"))["items"] == []
    cancelled = [span for span in recorder.spans("INTERNAL") if span.attributes["mozaiks.outcome"] == "cancelled"]
    assert len(cancelled) == 5
    assert all(span.status.status_code.name == "UNSET" for span in cancelled)


async def test_a_decode_failure_is_the_calls_outcome(make_client, gateway, recorder):
    """Span, metric and error all know that the response was unusable."""

    def refuse(document):
        raise KeyError(document)

    with pytest.raises(DecodeError, match="KeyError") as caught:
        await make_client().get("/api/service/items", path_params={}, decode=refuse)
    assert len(gateway.requests) == 1
    assert caught.value.outcome.request_sent == "yes"
    assert [span.attributes["error.type"] for span in recorder.spans("CLIENT")] == ["DecodeError"]
    assert [span.attributes["error.type"] for span in recorder.spans("INTERNAL")] == ["DecodeError"]


async def test_html_in_a_200_is_a_decode_error(make_client, gateway):
    """A login page is not an empty response."""
    gateway.script(Fault(kind="status", status=200, body="<html>hi</html>", content_type="text/html"))
    with pytest.raises(DecodeError, match="text/html"):
        await make_client().get("/api/service/items", path_params={})


async def test_the_unexpected_becomes_an_internal_error(gateway):
    """No third-party exception escapes, and none stays reachable: the error says where it came from."""

    class Broken:
        async def send(self, request, url):
            raise ZeroDivisionError("oops")

        async def aclose(self):
            pass

    client = PlatformHttpClient(gateway.url, transport=Broken())
    with pytest.raises(InternalError) as caught:
        await client.get("/x")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert caught.value.origin[-1].endswith("in test_the_unexpected_becomes_an_internal_error.<locals>.Broken.send")
    assert caught.value.outcome.attempts == 1


async def test_a_failing_listener_never_changes_a_call(gateway):
    """Telemetry gets events, and is never asked."""
    from middleware import Telemetry

    def broken(event):
        raise RuntimeError("listener")

    async with PlatformHttpClient(gateway.url, gateway.api_key, telemetry=Telemetry(listener=broken)) as client:
        assert (await client.get("/api/service/items"))["items"] == []
        assert client._stack.events.dropped == 4


async def test_spans_tell_every_attempt_and_match_the_gateways_log(make_client, gateway, recorder):
    """One INTERNAL span per call, one CLIENT span per attempt, joined to the gateway's log by traceparent."""
    gateway.script(Fault(kind="status", times=2))
    await make_client().get("/api/service/items", path_params={}, params={"q": "secret-value"})
    (call,) = recorder.spans("INTERNAL")
    attempts = recorder.spans("CLIENT")
    assert call.name == "service.get"
    assert not [key for key in call.attributes if key.startswith("http.")]
    assert call.status.status_code.name == "UNSET"
    assert [event.name for event in call.events] == ["retry.scheduled"] * 2
    assert {span.parent.span_id for span in attempts} == {call.context.span_id}
    assert [span.attributes.get("http.request.resend_count") for span in attempts] == [None, 1, 2]
    assert [span.attributes["http.response.status_code"] for span in attempts] == [503, 503, 200] or [
        span.attributes.get("error.type") for span in attempts
    ] == ["503", "503", None]
    sent = [request.header("traceparent").split("-")[2] for request in gateway.requests]
    assert sent == [f"{span.context.span_id:016x}" for span in attempts]
    assert "secret-value" not in json.dumps([dict(span.attributes) for span in attempts])


async def test_every_attempt_is_one_duration_sample(make_client, gateway, recorder):
    """Failures count too."""
    gateway.script(Fault(kind="status", times=1), Fault(kind="reset"))
    await make_client().get("/api/service/items", path_params={})
    assert sum(point.count for point in recorder.points("http.client.request.duration")) == 3
    assert sum(point.count for point in recorder.points("mozaiks.connector.call.duration")) == 1
    assert sum(point.value for point in recorder.points("mozaiks.connector.retries")) == 2


async def test_a_refused_connection_is_one_duration_sample(make_client, gateway, recorder):
    """A platform that is down is not missing from the metric."""
    await gateway.stop()
    with call_options(max_attempts=1), pytest.raises(RequestNotSentError):
        await make_client().get("/api/service/items", path_params={})
    (point,) = recorder.points("http.client.request.duration")
    assert point.count == 1
    assert point.attributes["error.type"] == "RequestNotSentError"


async def test_log_levels_leave_the_verdict_to_the_application(make_client, gateway, caplog):
    """Success DEBUG, retry INFO, failure WARNING, never ERROR; all with the correlation id."""
    caplog.set_level(logging.DEBUG, "mozaiks.connectors")
    client = make_client()
    caplog.clear()  # of the line that says which library was chosen
    gateway.script(Fault(kind="status"))
    await client.get("/api/service/items", path_params={}, correlation_id="log-1")
    with pytest.raises(NotFoundError):
        await client.get("/api/service/items/x", correlation_id="log-1")
    levels = [(record.levelname, record.event) for record in caplog.records if record.event != "attempt.finished"]
    assert levels == [("INFO", "retry.scheduled"), ("DEBUG", "call.succeeded"), ("WARNING", "call.failed")]
    assert {record.correlation_id for record in caplog.records} == {"log-1"}


async def test_no_secret_reaches_error_log_or_span(make_client, gateway, recorder, caplog):
    """A response that echoes the credentials does not spread them."""
    caplog.set_level(logging.DEBUG, "mozaiks.connectors")
    token = "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"
    body = json.dumps({"error": f"bad token {token} and key {gateway.api_key} of ada@example.com"})
    gateway.script(Fault(kind="status", status=400, body=body))
    with pytest.raises(PlatformError) as caught:
        await make_client().post(
            "/api/service/items",
            path_params={},
            json_body={"name": "body-secret"},
            user_jwt=token,
            params={"q": "query-secret"},
        )
    error = caught.value
    shown = [str(error), repr(error), str(error.problem), str(error.outcome), str(recorder.events), caplog.text]
    shown += [span.to_json() for span in recorder.exporter.get_finished_spans()]
    shown += [str(record.__dict__) for record in caplog.records]
    for secret in (token, gateway.api_key, "ada@example.com", "body-secret", "query-secret"):
        assert not [text for text in shown if secret in text], secret


async def test_redirects_are_not_followed(make_client, gateway):
    """Credentials go where they were sent, and nowhere else."""
    gateway.script(Fault(kind="status", status=302))
    with pytest.raises(PlatformError) as caught:
        await make_client().get("/api/service/items", path_params={})
    assert type(caught.value).__name__ == "RedirectError"
    assert len(gateway.requests) == 1


async def test_a_connection_closed_while_idle_costs_nothing(make_client, gateway):
    """A stale connection is noticed before a write is sent over it."""
    client = make_client()
    for _ in range(5):
        gateway.script(Fault(kind="close_idle"))
        await client.post("/api/service/items", path_params={}, json_body=ITEM)
        while gateway.connections_open:
            await asyncio.sleep(0.001)
    assert len(gateway.requests) == 5


async def test_connections_are_reused(make_client, gateway):
    """One caller after the other needs one connection."""
    client = make_client()
    for _ in range(20):
        await client.get("/api/service/items")
    assert gateway.connections_opened == 1


async def test_layers_of_the_hosts_own_run_around_the_call_and_around_each_attempt(gateway, clock):
    """R1: on a real connection, a retried call: one for the call, one for each attempt; a response of their own too."""
    gateway.script(Fault(kind="status", status=503))
    seen = []

    async def at_call(request, call_next):
        seen.append("call")
        response = await call_next(request)
        return response if response.data else PlatformResponse(status=200, body=b'{"items": ["made up"]}')

    async def at_attempt(request, call_next):
        seen.append("attempt")
        request.headers["x-attempted"] = str(len(seen))
        return await call_next(request)

    own = HostLayers(call=[at_call], attempt=[at_attempt])
    async with PlatformHttpClient(gateway.url, gateway.api_key, clock=clock, middleware=own) as client:
        assert await client.get("/api/service/things", decode=lambda document: document["items"]) == ["made up"]
    assert seen == ["call", "attempt", "attempt"]
    assert [dict(request.headers)["x-attempted"] for request in gateway.requests] == ["2", "3"]
