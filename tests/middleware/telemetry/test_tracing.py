"""What the spans say, and that nothing inside telemetry changes a call."""

import asyncio
from contextlib import contextmanager
from dataclasses import replace

import pytest
from layer_support import FakeClock, a_request
from opentelemetry import context, propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

from middleware import NotFoundError, OperationFailedError, RequestNotSentError, ServerError, Telemetry, call_options
from middleware import events as facts
from middleware.events import FanOut
from middleware.problem import Problem
from middleware.records import AttemptRecord
from middleware.telemetry.recording import AttemptRecordingMiddleware
from middleware.telemetry.tracing import SafeTracer, SpanListener, current_ids
from middleware.types import PlatformResponse
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import Fault

CALL = a_request().call.info
ERROR = ServerError("503 response", status=503, retry_after_s=2.0)


@contextmanager
def our_span(provider, name):
    """A span as the layers open it."""
    tracer = SafeTracer(provider, "1")
    span, token = tracer.start(name, SpanKind.INTERNAL, {})
    yield
    tracer.end(span, token)


def attempt_layer(tracer, base_url="http://platform"):
    """The layer that opens the spans of attempts, without listeners."""
    return AttemptRecordingMiddleware(FakeClock(), FanOut([]), tracer, base_url)


async def respond(_request):
    """The rest of a stack, where it does not matter."""
    return PlatformResponse(status=200)


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


@pytest.mark.parametrize(
    ("event", "name", "attributes"),
    [
        (
            facts.RetryScheduled(call=CALL, attempt=1, delay_s=0.5, error=ERROR, budget_balance=7.0),
            "retry.scheduled",
            {
                "mozaiks.retry.attempt": 1,
                "mozaiks.retry.delay": 0.5,
                "error.type": "503",
                "mozaiks.retry.retry_after": 2.0,
                "mozaiks.retry_budget.balance": 7.0,
            },
        ),
        (
            facts.RetryAbandoned(call=CALL, attempt=3, stop_reason="max_attempts", error=ERROR),
            "retry.abandoned",
            {
                "mozaiks.retry.attempt": 3,
                "mozaiks.stop_reason": "max_attempts",
                "error.type": "503",
                "mozaiks.retry.retry_after": 2.0,
            },
        ),
        (
            facts.RetryBudgetExhausted(call=CALL, balance=0.4, first=True),
            "retry_budget.exhausted",
            {"mozaiks.retry_budget.balance": 0.4},
        ),
        (facts.AttemptQueued(call=CALL, waited_s=0.2), "bulkhead.queued", {"mozaiks.bulkhead.wait": 0.2}),
        (facts.AttemptRejected(call=CALL, guard="bulkhead"), "rejected", {"mozaiks.guard": "bulkhead"}),
        (
            facts.AttemptRejected(call=CALL, guard="circuit_breaker", retry_after_s=3.0),
            "circuit_breaker.rejected",
            {"mozaiks.guard": "circuit_breaker", "mozaiks.retry.retry_after": 3.0},
        ),
        (
            facts.AttemptRejectedInShadow(call=CALL, breaker="svc", retry_after_s=3.0),
            "circuit_breaker.rejected_in_shadow",
            {"mozaiks.circuit_breaker.name": "svc", "mozaiks.retry.retry_after": 3.0},
        ),
        (
            facts.AttemptRejectedInShadow(call=CALL, breaker="svc"),
            "circuit_breaker.rejected_in_shadow",
            {"mozaiks.circuit_breaker.name": "svc"},
        ),
        (
            facts.CircuitStateChanged(call=CALL, breaker="svc", before="closed", after="open"),
            "circuit_breaker.state_changed",
            {
                "mozaiks.circuit_breaker.name": "svc",
                "mozaiks.circuit_breaker.from": "closed",
                "mozaiks.circuit_breaker.to": "open",
            },
        ),
        (
            facts.HedgeStarted(call=CALL, hedge=1, delay_s=0.1),
            "hedge.started",
            {"mozaiks.hedge.number": 1, "mozaiks.hedge.delay": 0.1},
        ),
        (facts.HedgeRefused(call=CALL, reason="budget"), "hedge.refused", {"mozaiks.hedge.refusal": "budget"}),
        (facts.HedgeWon(call=CALL, hedge=1), "hedge.won", {"mozaiks.hedge.number": 1}),
        (facts.DeadlineReached(call=CALL, total_s=25.0), "deadline.reached", {"mozaiks.deadline": 25.0}),
        (
            facts.CorrelationIdMismatched(call=CALL, received="9d8b"),
            "correlation_id.mismatched",
            {"mozaiks.correlation_id.received": "9d8b"},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, facts.Event) else "",
)
def test_each_decision_is_an_event_on_the_span(provider, exporter, event, name, attributes):
    """Retry, budget, bulkhead, breaker, hedge and deadline report their decisions, each with its figures."""
    with our_span(provider, "svc.op"):
        SpanListener()(event)
    (span,) = exporter.get_finished_spans()
    assert [(written.name, dict(written.attributes)) for written in span.events] == [(name, attributes)]


def test_facts_about_others_leave_the_span_alone(provider, exporter):
    """A reload of settings is no matter of the call that happened to be first."""
    with our_span(provider, "svc.op"):
        emit = FanOut([SpanListener()])
        emit(facts.SettingsReloaded(call=CALL, changes=("a",)))
        emit(facts.CallStarted(call=CALL))
    (span,) = exporter.get_finished_spans()
    assert len(span.events) == 0
    assert dict(span.attributes) == {}
    assert emit.dropped == 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RequestNotSentError("ConnectError: refused by ada@example.com"), "ConnectError: refused by ***"),
        (ServerError("500 response: Oops: of the server", status=500), None),
        (OperationFailedError(Problem(message="of the server")), None),
        (ValueError("foreign"), None),
    ],
)
def test_a_status_text_is_our_own_reason_and_never_a_servers_words(provider, exporter, error, text):
    """Redacted at the source; a response's text is part of its body."""
    record = AttemptRecord(
        number=1, started_s=0, ended_s=1, outcome=type(error).__name__, status=None, request_sent="no", delay_s=0
    )
    with our_span(provider, "GET /r"):
        SpanListener()(facts.AttemptFinished(call=CALL, record=record, error=error))
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code.name == "ERROR"
    assert span.status.description == text
    assert not span.events


async def test_an_unsampled_call_writes_nothing_and_still_sends_its_trace(gateway, exporter):
    """The sampler's choice is passed on in the traceparent."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with PlatformHttpClient(
        gateway.url, gateway.api_key, telemetry=Telemetry(tracer_provider=provider)
    ) as client:
        await client.get("/api/service/items")
    assert exporter.get_finished_spans() == ()
    version, trace_id, span_id, flags = gateway.requests[0].header("traceparent").split("-")
    assert version == "00"
    assert int(flags, 16) & 1 == 0
    assert int(trace_id, 16)
    assert int(span_id, 16)


async def test_an_sdk_that_the_host_sets_up_late_gets_spans(gateway, exporter, provider, monkeypatch):
    """From the next call on; the client was made before."""
    async with PlatformHttpClient(gateway.url, gateway.api_key) as client:
        await client.get("/api/service/items")
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        await client.get("/api/service/items")
    assert [span.kind.name for span in exporter.get_finished_spans()] == ["CLIENT", "INTERNAL"]


async def test_without_an_sdk_the_callers_trace_is_handed_on(gateway, provider):
    """A host with the API alone, behind an instrumented server, still joins the platform's traces."""
    parent = provider.get_tracer("host").start_span("request")
    token = context.attach(trace.set_span_in_context(parent))
    no_sdk = Telemetry(tracer_provider=trace.NoOpTracerProvider())
    async with PlatformHttpClient(gateway.url, gateway.api_key, telemetry=no_sdk) as client:
        await client.get("/api/service/items")
    context.detach(token)
    assert gateway.requests[0].header("traceparent").split("-")[1] == f"{parent.get_span_context().trace_id:032x}"


async def test_a_method_that_http_does_not_know_is_no_label(make_client, gateway, recorder):
    """Span name, attribute and metric stay bounded whatever a caller passes."""
    with pytest.raises(NotFoundError), call_options(max_attempts=1):
        await make_client().request("PURGE", "/nothing", path_params={})
    (span,) = recorder.spans("CLIENT")
    assert span.name == "HTTP /nothing"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "PURGE"
    (point,) = recorder.points("http.client.request.duration")
    assert point.attributes["http.request.method"] == "_OTHER"


async def test_a_hedges_span_says_so(provider, exporter):
    """An attempt in parallel with another one is marked; an ordinary one is not."""
    layer = attempt_layer(SafeTracer(provider, "0"), "http://platform")
    request = a_request()
    await layer(request, respond)
    request.attempt.is_hedge = True
    await layer(request, respond)
    assert [span.attributes.get("mozaiks.attempt.is_hedge") for span in exporter.get_finished_spans()] == [None, True]


@pytest.mark.parametrize(
    ("base_url", "host", "port"),
    [
        ("https://api.example.com", "api.example.com", 443),
        ("http://h/base", "h", 80),
        ("http://[::1]:8080", "::1", 8080),
    ],
)
async def test_the_server_is_named_with_its_port(provider, exporter, base_url, host, port):
    """`server.port` is required by the conventions, on the scheme's own port too."""
    await attempt_layer(SafeTracer(provider, "0"), base_url)(a_request(), respond)
    (span,) = exporter.get_finished_spans()
    assert span.attributes["server.address"] == host
    assert span.attributes["server.port"] == port


def test_ids_for_log_lines_exist_only_inside_a_span(provider):
    """Lower-case hex, as other programs search for them."""
    assert current_ids() == {}
    with provider.get_tracer("test").start_as_current_span("x") as span:
        ids = current_ids()
    assert ids["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert ids["span_id"] == f"{span.get_span_context().span_id:016x}"
    assert int(ids["trace_flags"], 16) & 1


def hostile_provider(broken):
    """Make an SDK of which one method raises, wherever it is found."""

    class Span(trace.NonRecordingSpan):
        def is_recording(self):
            return True

    class Tracer(trace.NoOpTracer):
        def start_span(self, *_args, **_options):
            return Span(trace.INVALID_SPAN_CONTEXT)

    class Provider(trace.TracerProvider):
        def get_tracer(self, *_args, **_options):
            return Tracer()

    def fail(*_args, **_options):
        raise RuntimeError(f"{broken} is broken")

    for kind in (Span, Tracer, Provider):
        if hasattr(kind, broken):
            setattr(kind, broken, fail)
    return Provider()


@pytest.mark.parametrize(
    "broken", ["get_tracer", "start_span", "is_recording", "set_attributes", "set_status", "add_event", "end"]
)
async def test_an_sdk_that_raises_costs_the_span_and_is_counted(gateway, clock, recorder, broken):
    """Results and requests are as without telemetry, and the loss is written."""
    telemetry = Telemetry(tracer_provider=hostile_provider(broken), meter_provider=recorder.telemetry.meter_provider)
    async with PlatformHttpClient(gateway.url, gateway.api_key, telemetry=telemetry, clock=clock) as client:
        gateway.script(Fault(kind="status"))
        assert (await client.get("/api/service/items"))["items"] == []
        gateway.script(Fault(kind="status", status=404))
        with pytest.raises(NotFoundError):
            await client.get("/api/service/items")
        assert len(gateway.requests) == 3
        assert sum(point.value for point in recorder.points("mozaiks.telemetry.dropped")) > 0


@pytest.mark.parametrize(
    "carried",
    [RuntimeError("broken"), {"traceparent": 7}, {"traceparent": "a\r\nb: c"}, {"traceparent": "ü"}, {"a b": b"x"}],
)
async def test_a_propagator_that_misbehaves_costs_the_header_alone(gateway, monkeypatch, provider, carried):
    """No broken header reaches the wire, and the call goes on."""
    asked = []

    def inject(carrier, _context):
        asked.append(carrier)
        if isinstance(carried, Exception):
            raise carried
        carrier.update(carried)

    monkeypatch.setattr(propagate, "inject", inject)
    async with PlatformHttpClient(
        gateway.url, gateway.api_key, telemetry=Telemetry(tracer_provider=provider)
    ) as client:
        assert (await client.get("/api/service/items"))["items"] == []
    assert asked
    assert gateway.requests[0].header("traceparent") is None


@pytest.mark.parametrize("broken", ["get_tracer", "start_span", "end"])
def test_each_span_that_is_lost_counts_once(broken):
    """Whatever of the SDK raises, and however often it is asked."""
    tracer = SafeTracer(hostile_provider(broken), "1")
    made = tracer.dropped
    tracer.end(*tracer.start("svc.op", SpanKind.INTERNAL, {}))
    assert made == (1 if broken == "get_tracer" else 0)
    assert tracer.dropped == 1
    assert not tracer.has_no_sdk


def test_a_context_that_cannot_be_changed_counts_each_time(monkeypatch, provider, exporter):
    """Attached or detached, with a span or without one: the loss is counted and nothing is raised."""

    def fail(*_args):
        raise RuntimeError("no context")

    tracer = SafeTracer(provider, "1")
    with monkeypatch.context() as patched:
        patched.setattr(context, "attach", fail)
        span, token = tracer.start("svc.op", SpanKind.INTERNAL, {})
        assert token is None
        assert tracer.dropped == 1
        tracer.end(span, token)
        assert tracer.suppress_instrumentation() is None
        assert tracer.dropped == 2
    assert [ended.name for ended in exporter.get_finished_spans()] == ["svc.op"]
    token = tracer.suppress_instrumentation()
    with monkeypatch.context() as patched:
        patched.setattr(context, "detach", fail)
        tracer.detach(token)
    assert tracer.dropped == 3
    with monkeypatch.context() as patched:
        patched.setattr(propagate, "inject", fail)
        assert tracer.headers() == {}
        assert tracer.dropped == 4
    tracer.detach(token)
    assert tracer.headers() == {}
    assert tracer.dropped == 4


def test_an_sdk_is_looked_for_until_there_is_one(monkeypatch, provider):
    """A host may set it up late; where even that question fails, there is none."""

    def fail():
        raise RuntimeError("no providers")

    tracer = SafeTracer(None, "1")
    assert (tracer.has_no_sdk, tracer.refresh_provider(), tracer.dropped) == (True, False, 0)
    monkeypatch.setattr(trace, "get_tracer_provider", fail)
    assert (tracer.refresh_provider(), tracer.dropped) == (False, 1)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    assert (tracer.refresh_provider(), tracer.has_no_sdk) == (True, False)
    monkeypatch.setattr(trace, "get_tracer_provider", fail)
    assert (tracer.refresh_provider(), tracer.dropped) == (True, 1)
    assert SafeTracer(trace.NoOpTracerProvider(), "1").has_no_sdk


SWITCHES = ("suppress_instrumentation", context._SUPPRESS_HTTP_INSTRUMENTATION_KEY)


@pytest.mark.parametrize("sdk", [True, False])
@pytest.mark.parametrize("host", [True, False])
async def test_instrumentations_of_http_libraries_are_suppressed_during_an_attempt(provider, sdk, host):
    """By both names that they look for; values of the host's context stay there."""
    token = context.attach(context.set_value("tenant", "t-1")) if host else None
    seen = []

    async def respond(_request):
        seen.extend(context.get_value(name) for name in (*SWITCHES, "tenant"))
        return PlatformResponse(status=200)

    before = context.get_current()
    tracer = SafeTracer(provider if sdk else trace.NoOpTracerProvider(), "1")
    await attempt_layer(tracer, "http://platform")(a_request(), respond)
    assert seen == [True, True, "t-1" if host else None]
    assert context.get_current() == before
    if token is not None:
        context.detach(token)


async def test_a_path_by_hand_is_no_template(provider, exporter):
    """It would make a name of its own for every id."""
    layer = attempt_layer(SafeTracer(provider, "0"), "http://platform")
    request = a_request()
    await layer(request, respond)
    request.call.info = replace(CALL, route="other")
    await layer(request, respond)
    written = [(span.name, span.attributes.get("url.template")) for span in exporter.get_finished_spans()]
    assert written == [("GET /r", "/r"), ("GET", None)]


@pytest.mark.parametrize("deleted", [True, None])
def test_a_delete_that_found_nothing_left_says_so(provider, exporter, deleted):
    """And no other call does."""
    call = a_request().call
    call.already_deleted = bool(deleted)
    with our_span(provider, "svc.op"):
        SpanListener()(facts.CallFinished(call=CALL, outcome=call.outcome(1.0), error=None))
    (span,) = exporter.get_finished_spans()
    assert span.attributes.get("mozaiks.already_deleted") is deleted


async def test_a_span_that_cannot_be_opened_keeps_the_callers_trace(gateway, provider):
    """The platform's spans still hang below the host's."""

    class Broken(trace.NoOpTracer):
        def start_span(self, *_args, **_options):
            raise RuntimeError("no span")

    class Provider(trace.TracerProvider):
        def get_tracer(self, *_args, **_options):
            return Broken()

    async with PlatformHttpClient(
        gateway.url, gateway.api_key, telemetry=Telemetry(tracer_provider=Provider())
    ) as client:
        with provider.get_tracer("host").start_as_current_span("request") as parent:
            await client.get("/api/service/items")
    assert gateway.requests[0].header("traceparent").split("-")[1] == f"{parent.get_span_context().trace_id:032x}"


async def test_concurrent_calls_keep_their_attempts_apart(make_client, gateway, recorder):
    """Each attempt's span is a child of its own call's, whatever runs in parallel with it."""
    client = make_client()
    await asyncio.gather(*(client.get("/api/service/items", path_params={}) for _ in range(20)))
    calls = {span.context.span_id for span in recorder.spans("INTERNAL")}
    parents = [span.parent.span_id for span in recorder.spans("CLIENT")]
    assert len(calls) == len(parents) == 20
    assert set(parents) == calls
