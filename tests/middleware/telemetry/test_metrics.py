"""What the metrics count, that their labels are bounded, and that states are read at export."""

import asyncio
import gc
import weakref
from dataclasses import replace

import pytest
from layer_support import a_request
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from middleware import CircuitOpenError, PlatformError, ServerError, Telemetry
from middleware import events as facts
from middleware.policies.bulkhead import BulkheadSettings
from middleware.policies.circuit_breaker import CircuitBreakerSettings
from middleware.policies.retry_budget import RetryBudgetSettings
from middleware.records import AttemptRecord
from middleware.telemetry import semconv
from middleware.telemetry.metrics import MetricsListener
from middleware.types import StackState
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.identity import ManagedIdentityConnector
from runtime.gateway import Fault

CALL = a_request().call.info
OPERATION = {"mozaiks.connector.name": "svc", "mozaiks.connector.operation": "op"}
SERVICE = {"mozaiks.connector.name": "svc"}
ERROR = ServerError("503 response", status=503)


def a_state():
    """One call in flight, and nothing else."""
    return StackState(calls_in_flight=1, attempts_in_flight=0, attempts_queued=0, breakers={}, budget_balance=None)


def collected(reader):
    data = reader.get_metrics_data()
    return {
        metric.name: metric
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def listener(reader):
    made = MetricsListener(
        MeterProvider([reader], shutdown_on_exit=False), "0", service="svc", base_url="http://platform:81"
    )
    made.observe(
        lambda: StackState(
            calls_in_flight=4,
            attempts_in_flight=3,
            attempts_queued=2,
            attempts_limit=7,
            breakers={"svc": "open"},
            budget_balance=9.5,
            settings_hash="1a2b3c4d",
        ),
        lambda: {"event": 1, "span": 0},
    )
    return made


FED = [
    (facts.RetryScheduled(call=CALL, attempt=1, delay_s=0.5, error=ERROR), "mozaiks.connector.retries", {**OPERATION, "error.type": "503"}),
    (facts.RetryScheduled(call=CALL, attempt=1, delay_s=0.5, error=ERROR), "mozaiks.connector.retry.delay", OPERATION),
    (facts.RetryAbandoned(call=CALL, attempt=3, stop_reason="budget", error=ERROR), "mozaiks.connector.retries.abandoned", {**OPERATION, "mozaiks.stop_reason": "budget"}),
    (facts.RetryBudgetExhausted(call=CALL, balance=0.4, first=False), "mozaiks.retry_budget.exhausted", SERVICE),
    (facts.AttemptQueued(call=CALL, waited_s=0.2), "mozaiks.bulkhead.wait", SERVICE),
    (facts.AttemptRejected(call=CALL, guard="call_cap"), "mozaiks.connector.rejections", {**SERVICE, "mozaiks.guard": "call_cap"}),
    (facts.AttemptRejected(call=CALL, guard="circuit_breaker"), "mozaiks.circuit_breaker.rejections", SERVICE),
    (facts.AttemptRejectedInShadow(call=CALL, breaker="svc"), "mozaiks.circuit_breaker.rejections_in_shadow", SERVICE),
    (
        facts.CircuitStateChanged(call=CALL, breaker="svc", before="closed", after="open"),
        "mozaiks.circuit_breaker.transitions",
        {"mozaiks.circuit_breaker.name": "svc", "mozaiks.circuit_breaker.from": "closed", "mozaiks.circuit_breaker.to": "open"},
    ),
    (facts.HedgeStarted(call=CALL, hedge=1, delay_s=0.1), "mozaiks.connector.hedges", OPERATION),
    (facts.HedgeWon(call=CALL, hedge=1), "mozaiks.connector.hedges.won", OPERATION),
    (facts.HedgeRefused(call=CALL, reason="bulkhead"), "mozaiks.connector.hedges.refused", {**OPERATION, "mozaiks.hedge.refusal": "bulkhead"}),
    (facts.QuotaAcquired(call=CALL, source="shared", waited_s=0.2), "mozaiks.quota.wait", {**SERVICE, "mozaiks.quota.source": "shared"}),
    (facts.QuotaAcquired(call=CALL, source="own", waited_s=0.2, penalty_s=0.1), "mozaiks.quota.penalty", SERVICE),
    (
        facts.QuotaSourceChanged(call=CALL, source="local", reason="timeout"),
        "mozaiks.quota.switches",
        {**SERVICE, "mozaiks.quota.source": "local", "mozaiks.quota.reason": "timeout"},
    ),
    (facts.CorrelationIdMismatched(call=CALL, received="9d8b"), "mozaiks.connector.correlation_id.mismatches", OPERATION),
    (facts.SettingsReloaded(call=CALL, changes=("x",)), "mozaiks.settings.reloads", {**SERVICE, "mozaiks.settings.result": "applied"}),
    (facts.SettingsRejected(call=CALL, problems=("x",)), "mozaiks.settings.reloads", {**SERVICE, "mozaiks.settings.result": "rejected"}),
]  # fmt: skip


@pytest.mark.parametrize(("event", "name", "labels"), FED, ids=lambda value: value if isinstance(value, str) else "")
def test_each_decision_is_counted(listener, reader, event, name, labels):
    """One point, with the labels that the conventions of this product name."""
    listener(event)
    (point,) = collected(reader)[name].data.data_points
    assert dict(point.attributes) == labels
    assert getattr(point, "count", None) == 1 or point.value == 1


@pytest.mark.parametrize(
    ("method", "status", "error", "labels"),
    [
        ("GET", 200, None, {"http.request.method": "GET", "http.response.status_code": 200}),
        ("PURGE", None, None, {"http.request.method": "_OTHER"}),
        ("GET", 503, ERROR, {"http.request.method": "GET", "http.response.status_code": 503, "error.type": "503"}),
        ("GET", None, ValueError("x"), {"http.request.method": "GET", "error.type": "ValueError"}),
    ],
)
def test_an_attempt_is_one_sample_of_its_time(listener, reader, method, status, error, labels):
    """From its own start to its end; labels that say nothing are left out."""
    record = AttemptRecord(
        number=1, started_s=0.5, ended_s=2.0, outcome="x", status=status, request_sent="yes", delay_s=0
    )
    listener(facts.AttemptFinished(call=replace(CALL, method=method), record=record, error=error))
    (point,) = collected(reader)["http.client.request.duration"].data.data_points
    server = {"server.address": "platform", "server.port": 81, "url.template": "/r"}
    assert (point.count, point.sum, dict(point.attributes)) == (1, 1.5, {**server, **labels})


@pytest.mark.parametrize(("error", "labels"), [(None, {}), (ERROR, {"error.type": "503"})])
def test_a_call_is_one_sample_of_its_time(listener, reader, error, labels):
    """Waits included, by how it ended."""
    event = facts.CallFinished(call=CALL, outcome=a_request().call.outcome(2.5), error=error)
    listener(event)
    (point,) = collected(reader)["mozaiks.connector.call.duration"].data.data_points
    expected = {**OPERATION, "mozaiks.outcome": event.result, **labels}
    assert point.count == 1
    assert point.sum == 2.5
    assert dict(point.attributes) == expected


def test_a_fact_without_a_metric_is_not_heard(listener):
    """The start of a call is reported with its end."""
    fan_out = facts.FanOut([listener])
    fan_out(facts.CallStarted(call=CALL))
    for event, _, _ in FED:
        fan_out(event)
    assert fan_out.dropped == 0


def test_before_the_stack_is_there_nothing_can_be_read():
    """An export may come in between."""
    made = MetricsListener(None, "0", service="svc", base_url="http://platform")
    for metric in (semconv.METRIC_CALLS_IN_FLIGHT, semconv.METRIC_DROPPED, semconv.METRIC_CIRCUIT_STATE):
        assert made.read(metric) == {}


def test_every_metric_is_as_declared(listener, reader):
    """Name, unit, meaning and labels of what is exported are those that the documents are made from."""
    for event, _, _ in FED:
        listener(event)
    record = AttemptRecord(
        number=1, started_s=0, ended_s=1, outcome="ServerError", status=503, request_sent="yes", delay_s=0
    )
    listener(facts.AttemptFinished(call=CALL, record=record, error=ERROR))
    outcome = a_request().call.outcome(1.0)
    listener(facts.CallFinished(call=CALL, outcome=outcome, error=ERROR))
    declared = {metric.name: metric for metric in vars(semconv).values() if isinstance(metric, semconv.Metric)}
    exported = collected(reader)
    assert set(exported) == set(declared) - {semconv.METRIC_EXPORT_DROPPED.name}
    for name, metric in exported.items():
        assert metric.unit == declared[name].unit
        assert metric.description == declared[name].doc
        for point in metric.data.data_points:
            assert set(point.attributes) <= set(declared[name].attributes), name
            if declared[name].kind == "histogram":
                assert tuple(point.explicit_bounds) == semconv.DURATION_BOUNDS


def test_states_are_read_at_export(listener, reader):
    """In flight, queue, breaker and budget as they are when somebody asks."""
    exported = collected(reader)

    def values(name):
        return {tuple(dict(point.attributes).values()): point.value for point in exported[name].data.data_points}

    assert values("mozaiks.connector.calls.in_flight") == {("svc",): 4}
    assert values("mozaiks.bulkhead.in_flight") == {("svc",): 3}
    assert values("mozaiks.bulkhead.queued") == {("svc",): 2}
    assert values("mozaiks.bulkhead.limit") == {("svc",): 7}
    assert values("mozaiks.retry_budget.balance") == {("svc",): 9.5}
    assert values("mozaiks.circuit_breaker.state") == {
        ("svc", "svc", "closed"): 0,
        ("svc", "svc", "open"): 1,
        ("svc", "svc", "half_open"): 0,
    }
    assert values("mozaiks.connector.config.info") == {("svc", "1a2b3c4d"): 1}
    assert values("mozaiks.telemetry.dropped") == {("svc", "event"): 1, ("svc", "span"): 0}


@pytest.mark.parametrize("state", ["shadow", "shadow_open", "shadow_half_open"])
def test_a_state_in_shadow_mode_is_one_of_three(reader, state):
    """R30: a series that ended with its state would keep its last 1 in a dashboard."""
    made = MetricsListener(MeterProvider([reader], shutdown_on_exit=False), "0", service="svc", base_url="http://p")
    made.observe(lambda: replace(a_state(), breakers={"svc": state}), dict)
    points = collected(reader)["mozaiks.circuit_breaker.state"].data.data_points
    values = {dict(point.attributes)["mozaiks.circuit_breaker.state"]: point.value for point in points}
    known = ("closed", "open", "half_open", "shadow", "shadow_open", "shadow_half_open")
    assert values == {name: name == state for name in known}


async def test_a_busy_client_shows_what_it_holds(make_client, gateway, recorder):
    """The real stack, asked while calls wait and are on the wire."""
    client = make_client(bulkhead=BulkheadSettings(permits=1), budget=RetryBudgetSettings(enabled=False))
    gateway.script(Fault(kind="stall", times=0))
    tasks = [asyncio.create_task(client.get("/api/service/items")) for _ in range(3)]
    while not gateway.requests:
        await asyncio.sleep(0.001)

    def reading(name):
        return [point.value for point in recorder.points(name)]

    assert reading("mozaiks.connector.calls.in_flight") == [3]
    assert reading("mozaiks.bulkhead.in_flight") == [1]
    assert reading("mozaiks.bulkhead.queued") == [2]
    assert reading("mozaiks.retry_budget.balance") == []
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert reading("mozaiks.connector.calls.in_flight") == [0]


async def test_two_clients_of_one_service_add_up(make_client, gateway, recorder):
    """Two bundles in one process do not overwrite each other's states."""
    first, second = make_client(), make_client()
    assert [point.value for point in recorder.points("mozaiks.connector.calls.in_flight")] == [0]
    closed = [p.value for p in recorder.points("mozaiks.circuit_breaker.state") if "closed" in p.attributes.values()]
    assert closed == [2]
    await asyncio.gather(first.get("/api/service/items"), second.get("/api/service/items"))
    assert sum(point.count for point in recorder.points("http.client.request.duration")) == 2


async def test_a_client_that_is_gone_is_not_kept_for_its_states(gateway, recorder):
    """Exports have weak references to clients."""
    client = PlatformHttpClient(gateway.url, service="gone", telemetry=recorder.telemetry)
    assert recorder.points("mozaiks.connector.calls.in_flight")
    alive = weakref.ref(client)
    await client.aclose()
    del client
    gc.collect()
    assert alive() is None
    assert recorder.points("mozaiks.connector.calls.in_flight") == []


def test_a_client_whose_state_cannot_be_read_hides_no_other(listener, reader):
    """One failing callback is one client's loss."""

    def fail():
        raise RuntimeError("no state")

    broken = MetricsListener(None, "0", service="broken", base_url="http://platform")
    broken.observe(fail, dict)
    listener._gauges.add(broken)
    points = collected(reader)["mozaiks.connector.calls.in_flight"].data.data_points
    assert [dict(point.attributes) for point in points] == [SERVICE]


@pytest.mark.parametrize("broken", ["get_meter", "create_histogram", "create_observable_gauge", "record", "add"])
async def test_a_meter_that_raises_never_changes_a_call(gateway, clock, broken):
    """Not at construction, not in a call."""

    def fail(*_args, **_options):
        raise RuntimeError(f"{broken} is broken")

    class Histogram(api.NoOpHistogram):
        pass

    class Counter(api.NoOpCounter):
        pass

    class Meter(api.NoOpMeter):
        def create_histogram(self, name, *_args, **_options):
            return Histogram(name)

        def create_counter(self, name, *_args, **_options):
            return Counter(name)

    class Provider(api.MeterProvider):
        def get_meter(self, name, *_args, **_options):
            return Meter(name)

    for kind in (Histogram, Counter, Meter, Provider):
        if hasattr(kind, broken):
            setattr(kind, broken, fail)
    telemetry = Telemetry(meter_provider=Provider())
    async with PlatformHttpClient(gateway.url, gateway.api_key, telemetry=telemetry, clock=clock) as client:
        gateway.script(Fault(kind="status"))
        assert (await client.get("/api/service/items"))["items"] == []
    assert len(gateway.requests) == 2


def test_a_provider_that_gives_no_meter_loses_no_event():
    """The metrics alone are lost; nothing is raised at each event."""

    class Provider(api.MeterProvider):
        def get_meter(self, *_args, **_options):
            raise RuntimeError("no meter")

    made = MetricsListener(Provider(), "0", service="svc", base_url="http://platform")
    for event, _, _ in FED:
        made(event)


@pytest.mark.parametrize("early", [True, False], ids=["named before it was global", "global from the start"])
def test_the_global_provider_is_one_however_it_is_named(monkeypatch, reader, early):
    """A client that names it and one that names none share its instruments: else one of them would be left out."""
    provider = MeterProvider([reader], shutdown_on_exit=False)
    current = [api.NoOpMeterProvider() if early else provider]
    monkeypatch.setattr("middleware.telemetry.metrics._of_global", [])
    for place in ("opentelemetry.metrics", "opentelemetry.metrics._internal"):
        monkeypatch.setattr(f"{place}.get_meter_provider", lambda: current[0])

    def client(named):
        made = MetricsListener(named, "0", service="svc", base_url="http://platform")
        made.observe(a_state, dict)
        return made

    clients = [client(provider if early else None)]
    current[0] = provider
    clients += [client(None), client(provider), client(None)]
    (point,) = collected(reader)["mozaiks.connector.calls.in_flight"].data.data_points
    assert point.value == len(clients) == 4


async def test_a_thousand_users_make_no_new_series(make_client, recorder):
    """Ids are never labels: the number of series is that of the operations."""
    connector = ManagedIdentityConnector(
        make_client("identity", circuit_breaker=CircuitBreakerSettings(mode="disabled"))
    )

    def series():
        points = [*recorder.points("http.client.request.duration"), *recorder.points("mozaiks.connector.call.duration")]
        return len(points)

    await connector.check_permission("user_1", "read:users")
    with pytest.raises(PlatformError):
        await connector.get_user("nobody_0")
    before = series()
    for number in range(1, 1000):
        with pytest.raises(PlatformError):
            await connector.get_user(f"nobody_{number}")
    assert series() == before
    assert sum(point.count for point in recorder.points("http.client.request.duration")) == 1001


async def test_exemplars_link_to_the_traces(make_client, recorder):
    """From a slow bucket to the very attempt, and to the very call."""
    await make_client().get("/api/service/items", path_params={})
    exported = collected(recorder.reader)  # once: an exemplar is handed out with one export
    for metric, kind in (("http.client.request.duration", "CLIENT"), ("mozaiks.connector.call.duration", "INTERNAL")):
        (point,) = exported[metric].data.data_points
        (span,) = recorder.spans(kind)
        (exemplar,) = point.exemplars
        assert exemplar.trace_id == span.context.trace_id
        assert exemplar.span_id == span.context.span_id


async def test_a_refused_call_is_counted_by_its_guard(make_client, gateway, recorder):
    """An attempt that an open circuit rejects is no request, but it is counted."""
    gateway.script(Fault(kind="status", status=500, times=0))
    client = make_client(circuit_breaker=CircuitBreakerSettings(min_calls=1))
    for expected in (ServerError, CircuitOpenError):
        with pytest.raises(expected):
            await client.get("/api/service/items", path_params={})
    assert [point.value for point in recorder.points("mozaiks.circuit_breaker.rejections")] == [1]
    (transition,) = recorder.points("mozaiks.circuit_breaker.transitions")
    assert transition.value == 1
    assert sum(point.count for point in recorder.points("http.client.request.duration")) == len(gateway.requests) == 1


def test_what_a_client_that_is_gone_had_lost_stays_counted():
    """A counter that falls would be read as a restart, and its losses twice."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)

    def dropped():
        (metric,) = [
            metric
            for resource in reader.get_metrics_data().resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == semconv.METRIC_DROPPED.name
        ]
        return sum(point.value for point in metric.data.data_points)

    def client(count):
        listener = MetricsListener(provider, "1", service="svc", base_url="http://platform.test")
        listener.observe(lambda: None, lambda: {"event": count})
        return listener

    gone, stays = client(20), client(4)
    assert dropped() == 24
    del gone
    gc.collect()
    assert dropped() == 24
    assert stays is not None
