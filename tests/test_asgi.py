"""What opens and closes with the core's application, and the deadline that comes with its request."""

import asyncio
import os
import signal
import threading
from collections import Counter
from contextlib import asynccontextmanager

import httpx
import pytest
from app_server import GUNICORN, UVICORN, running_application
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from middleware import ClientClosedError, ConfigError, DeadlineExceededError, Telemetry
from runtime.asgi import ConnectorsMiddleware, connectors_lifespan
from runtime.connectors.loader import ConnectorConfig
from runtime.gateway import Fault
from runtime.telemetry import configure_telemetry
from runtime.testing import LoopClock, ScriptedUpstream, run_virtual
from runtime.traces.trace_file import SpanReader

pytestmark = pytest.mark.sockets


def ended_at(*headers, kind="http"):
    """When a call ends that is made for a request with *headers* and meets silence."""

    async def scenario():
        client = ScriptedUpstream([], then="hang").client(retry={"max_attempts": 1})

        async def app(_scope, _receive, _send):
            await client.post("/r")

        try:
            await ConnectorsMiddleware(app, LoopClock())({"type": kind, "headers": headers}, None, None)
        except Exception as error:
            return asyncio.get_running_loop().time(), type(error)

    return run_virtual(scenario())


def test_the_callers_patience_ends_the_call():
    """R40: three seconds; header names may be written in any case."""
    assert ended_at((b"x-other", b"1"), (b"X-Request-Timeout-Ms", b"3000")) == (3.0, DeadlineExceededError)


@pytest.mark.parametrize("value", [b"", b"-5", b"soon", b"3.5", b"9" * 10, b"60000"])
def test_what_is_no_shorter_deadline_changes_nothing(value):
    """R40: it only shortens; what cannot be read is ignored."""
    assert ended_at((b"x-request-timeout-ms", value))[0] == 10.0


def test_what_is_no_http_request_passes():
    """A server's lifespan has no headers."""
    assert ended_at(kind="lifespan")[0] == 10.0


class Application:
    """A FastAPI application behind the middleware, in virtual time; its platform responds after *platform_s*."""

    def __init__(self, platform_s):
        async def slow(_request):
            await asyncio.sleep(platform_s)
            return {}

        self.client = ScriptedUpstream(slow).client(retry={"max_attempts": 1})
        self.app = FastAPI()
        self.ended = []

    async def call(self, after_s):
        await asyncio.sleep(after_s)
        try:
            await self.client.post("/r")
            self.ended.append("ok")
        except Exception as error:
            self.ended.append(type(error).__name__)
        return self.ended[-1]

    def run(self):
        async def main():
            app = ConnectorsMiddleware(self.app, LoopClock())
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://core") as host:
                response = await host.get("/", headers={"x-request-timeout-ms": "300"})
            await asyncio.sleep(5)
            return response.text

        return run_virtual(main())


@pytest.mark.parametrize("after_s", [0, 0.1, 2])
def test_a_background_task_is_not_bound_by_the_deadline(after_s):
    """R40: the sender has its response and waits no longer."""
    one = Application(0.5)

    @one.app.get("/")
    async def endpoint(tasks: BackgroundTasks):
        tasks.add_task(one.call, after_s)
        return {}

    assert one.run() == "{}"
    assert one.ended == ["ok"]


def test_a_stream_that_is_read_is_not_bound_by_the_deadline():
    """R40: from its first bytes on; a call before them is."""
    one = Application(0.5)

    async def rows():
        yield await one.call(0) + "\n"
        for _ in range(2):
            yield await one.call(0.2) + "\n"

    @one.app.get("/")
    async def endpoint():
        return StreamingResponse(rows())

    assert one.run().split() == ["DeadlineExceededError", "ok", "ok"]


def test_a_task_that_outlives_the_request_is_bound_until_the_response_alone():
    """R40: a call that begins before it keeps the deadline it began with."""
    one = Application(0.5)
    tasks = []

    @one.app.get("/")
    async def endpoint():
        tasks.extend(asyncio.create_task(one.call(after_s)) for after_s in (0, 0.1))
        await asyncio.sleep(0.05)
        return {}

    one.run()
    assert one.ended == ["DeadlineExceededError", "ok"]


def test_the_deadline_is_lifted_through_a_middleware_that_makes_a_stream_of_each_response():
    """R40: Starlette's own base class does."""
    one = Application(0.5)

    @one.app.middleware("http")
    async def passing(request, call_next):
        return await call_next(request)

    @one.app.get("/")
    async def endpoint(tasks: BackgroundTasks):
        tasks.add_task(one.call, 1)
        return {}

    one.run()
    assert one.ended == ["ok"]


@pytest.mark.parametrize("kind", ["http.response.start", "http.response.early_hint", "http.response.push"])
def test_what_comes_before_the_body_does_not_lift_the_deadline(kind):
    """R40: the sender still waits."""
    one = Application(0.5)

    async def app(_scope, _receive, send):
        await send({"type": kind})
        await one.call(0)

    async def main():
        async def send(_message):
            pass

        headers = ((b"x-request-timeout-ms", b"300"),)
        await ConnectorsMiddleware(app, LoopClock())({"type": "http", "headers": headers}, None, send)

    run_virtual(main())
    assert one.ended == ["DeadlineExceededError"]


@pytest.fixture
def config(gateway):
    return ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=gateway.api_key)


@pytest.fixture
def no_otel(no_settings):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        no_settings.delenv(name)
    return no_settings


def names_in(path):
    with path.open("rb") as file:
        return Counter(span.name for span in SpanReader().read(file))


async def lifespan_of(app, *, then=None):
    """Start and stop *app* as a server does; returns its response, and its state."""
    state, said = {}, []
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive():
        if said and then is not None:
            await then(state)
        return {"type": next(asked)}

    async def send(message):
        said.append(message["type"])

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    try:
        await app(scope, receive, send)
    except Exception as error:
        said.append(type(error))
    return said, state


async def test_an_application_opens_and_closes_its_connectors_and_telemetry(config, gateway, no_otel, tmp_path):
    """The calls' spans are there when the server has stopped; the bundle is closed, and no handle is left open."""
    made = []

    def telemetry():
        made.append(configure_telemetry(trace_file=tmp_path / "t.jsonl"))
        return made[-1]

    app = FastAPI(lifespan=connectors_lifespan(config, telemetry=telemetry))
    assert made == []  # what needs threads begins in the worker, not at the import
    said, state = await lifespan_of(app, then=lambda state: state["connectors"].service.list_items())
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert names_in(tmp_path / "t.jsonl") == {"service.list_items": 1, "GET /api/service/items": 1}
    with pytest.raises(ClientClosedError):
        await state["connectors"].service.list_items()
    (handle,) = made
    handle.tracer_provider.get_tracer("x").start_span("late").end()
    assert handle.dropped == {"file": 2 + 1}  # both spans of the call that came too late, and that one


async def test_without_a_config_the_environment_is_read_when_the_server_starts(gateway, no_otel):
    """Not at the import, when the variables may not be there yet."""
    opened = connectors_lifespan()
    no_otel.setenv("MOZAIKS_MANAGED", "true")
    no_otel.setenv("MOZAIKS_GATEWAY_BASE_URL", gateway.url)
    no_otel.setenv("MOZAIKS_GATEWAY_API_KEY", gateway.api_key)
    async with opened(None) as state:
        assert state["connectors"].mode == "managed"
        assert (await state["connectors"].service.list_items()).total == 0
    no_otel.delenv("MOZAIKS_MANAGED")
    async with opened(None) as state:  # again, as the tests of a host do
        assert state["connectors"].mode == "self_hosted"


async def test_unusable_settings_fail_the_start_and_end_telemetry(no_otel, tmp_path):
    """The server gets the reason, and does not serve."""
    no_otel.setenv("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS", "many")
    handle = configure_telemetry(trace_file=tmp_path / "t.jsonl")
    handle.tracer_provider.get_tracer("x").start_span("before").end()
    said, _ = await lifespan_of(FastAPI(lifespan=connectors_lifespan(telemetry=handle)))
    assert said == ["lifespan.startup.failed", ConfigError]
    assert names_in(tmp_path / "t.jsonl") == {"before": 1}


async def test_unusable_telemetry_fails_the_start(no_otel):
    """Before anything is opened."""
    no_otel.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318")
    said, state = await lifespan_of(FastAPI(lifespan=connectors_lifespan(telemetry=configure_telemetry)))
    assert said == ["lifespan.startup.failed", ConfigError]
    assert state == {}


async def test_the_hosts_own_lifespan_runs_inside(config, no_otel, tmp_path):
    """It ends before the connectors do, so that it may still use them; its state is added."""
    seen = []

    @asynccontextmanager
    async def own(app):
        seen.append(("begins", app))
        yield {"database": 7}
        seen.append(("ends", (await states[0]["connectors"].service.list_items()).total))

    states = []
    opened = connectors_lifespan(config, telemetry=lambda: configure_telemetry(trace_file=tmp_path / "t"), lifespan=own)
    async with opened("app") as state:
        states.append(state)
        assert set(state) == {"connectors", "database"}
    assert seen == [("begins", "app"), ("ends", 0)]
    assert names_in(tmp_path / "t")["service.list_items"] == 1


@pytest.mark.parametrize("when", ["start", "end", "while it serves"])
async def test_what_fails_in_the_application_still_closes_all(config, no_otel, tmp_path, when):
    """Spans that ended before are handed on, and the failure is the application's own."""

    @asynccontextmanager
    async def own(_app):
        if when == "start":
            raise RuntimeError("no database")
        yield
        if when == "end":
            raise RuntimeError("no database")

    handle = configure_telemetry(trace_file=tmp_path / "t.jsonl")
    handle.tracer_provider.get_tracer("x").start_span("before").end()
    opened = connectors_lifespan(config, telemetry=handle, lifespan=own)
    connectors = None
    with pytest.raises(RuntimeError, match="no database"):
        async with opened(None) as state:
            connectors = state["connectors"]
            if when == "while it serves":
                raise RuntimeError("no database")
    assert names_in(tmp_path / "t.jsonl") == {"before": 1}
    assert handle.shutdown()
    if connectors is not None:
        with pytest.raises(ClientClosedError):
            await connectors.service.list_items()


async def test_calls_in_flight_are_waited_for_and_their_spans_arrive(config, gateway, no_otel, tmp_path):
    """Those of a task in the background, which no server waits for."""
    gateway.script(Fault(kind="latency", seconds=0.3))
    opened = connectors_lifespan(config, telemetry=lambda: configure_telemetry(trace_file=tmp_path / "t.jsonl"))
    async with opened(None) as state:
        task = asyncio.create_task(state["connectors"].service.list_items())
        while not gateway.requests:
            await asyncio.sleep(0.01)
    assert task.done()
    assert (await task).total == 0
    assert names_in(tmp_path / "t.jsonl") == {"service.list_items": 1, "GET /api/service/items": 1}


async def test_a_call_that_does_not_end_is_not_waited_for_beyond_the_bound(config, gateway, no_otel, tmp_path):
    """The server stops all the same; what the call's spans become is counted."""
    gateway.script(Fault(kind="stall"))
    handle = configure_telemetry(trace_file=tmp_path / "t.jsonl")
    async with connectors_lifespan(config, telemetry=handle, drain_s=0.05)(None) as state:
        task = asyncio.create_task(state["connectors"].service.list_items())
        while not gateway.requests:
            await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    assert handle.dropped == {"file": 2}


async def test_telemetry_ends_in_a_thread_and_the_loop_goes_on(no_otel, monkeypatch):
    """A collector that does not respond delays no other task, such as another application's."""
    handle = configure_telemetry()
    on_the_loop, seen = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def shutdown():
        seen.append(threading.current_thread())
        loop.call_soon_threadsafe(on_the_loop.set)
        done.wait(10)

    done = threading.Event()

    async def other():
        await on_the_loop.wait()
        done.set()

    real = handle.shutdown
    monkeypatch.setattr(handle, "shutdown", shutdown)
    task = asyncio.create_task(other())
    async with connectors_lifespan(ConnectorConfig(), telemetry=handle)(None):
        pass
    await asyncio.wait_for(task, 10)
    assert seen != [threading.current_thread()]
    assert done.is_set()
    real()


async def test_a_handle_of_two_applications_ends_with_the_last(config, no_otel, tmp_path):
    """Each application closes its own bundle."""
    handle = configure_telemetry(trace_file=tmp_path / "t.jsonl")
    opened = [connectors_lifespan(config, telemetry=handle)(None) for _ in range(2)]
    first, second = [await one.__aenter__() for one in opened]
    assert first["connectors"] is not second["connectors"]
    await opened[0].__aexit__(None, None, None)
    await second["connectors"].service.list_items()
    await opened[1].__aexit__(None, None, None)
    assert names_in(tmp_path / "t.jsonl") == {"service.list_items": 1, "GET /api/service/items": 1}
    assert handle.dropped == {"file": 0}


async def test_what_the_config_sends_elsewhere_stays_there(gateway, recorder, no_otel, tmp_path):
    """The handle gets what the config does not set."""
    config = ConnectorConfig(
        managed_mode=True,
        gateway_base_url=gateway.url,
        api_key=gateway.api_key,
        telemetry=Telemetry(tracer_provider=recorder.telemetry.tracer_provider, listener=recorder.events.append),
    )
    handle = configure_telemetry(trace_file=tmp_path / "t.jsonl")
    async with connectors_lifespan(config, telemetry=handle)(None) as state:
        await state["connectors"].service.list_items()
    assert names_in(tmp_path / "t.jsonl") == {}
    assert len(recorder.spans("CLIENT")) == 1
    assert recorder.events


async def test_what_the_config_silences_stays_silent(gateway, no_otel, tmp_path):
    """With a handle too; the listener alone receives events."""
    events = []
    config = ConnectorConfig(
        managed_mode=True,
        gateway_base_url=gateway.url,
        api_key=gateway.api_key,
        telemetry=Telemetry(silent=True, listener=events.append),
    )
    handle = configure_telemetry(trace_file=tmp_path / "t.jsonl")
    async with connectors_lifespan(config, telemetry=handle)(None) as state:
        await state["connectors"].service.list_items()
    assert names_in(tmp_path / "t.jsonl") == {}
    assert events


APPLICATION = """
import os
from fastapi import FastAPI, Request
from runtime.asgi import connectors_lifespan
from runtime.telemetry import configure_telemetry

def telemetry():
    return configure_telemetry(service_name="core", trace_file=os.environ["TRACE_FILE"])

made = telemetry() if os.environ["MADE"] == "at the import" else telemetry
app = FastAPI(lifespan=connectors_lifespan(telemetry=made))

@app.get("/")
async def root(request: Request):
    page = await request.state.connectors.service.list_items()
    return {"total": page.total}
"""


@pytest.mark.parametrize(
    ("server", "stop", "made"),
    [
        (UVICORN, signal.SIGTERM, "at the start"),
        (UVICORN, signal.SIGINT, "at the import"),
        (GUNICORN, signal.SIGTERM, "at the start"),
        ([*GUNICORN, "--preload"], signal.SIGTERM, "at the import"),
    ],
    ids=["uvicorn-SIGTERM", "uvicorn-SIGINT", "gunicorn", "gunicorn-preload"],
)
async def test_a_server_that_is_stopped_loses_no_span_and_no_metric(
    gateway, collector, no_otel, tmp_path, server, stop, made
):
    """Real servers, which end by the signal itself: all that waited is at the collector and in the file."""
    environment = {
        "MADE": made,
        "TRACE_FILE": str(tmp_path / "t.jsonl"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",  # so that all waits until the end
    }
    async with running_application(APPLICATION, tmp_path, server, gateway, **environment) as core:
        for _ in range(10):
            assert (await core.client.get("/")).json() == {"total": 0}
        assert collector.received == []
        output = await core.stop(stop)
    assert len(gateway.requests) == 10
    expected = {"service.list_items": 10, "GET /api/service/items": 10}
    assert names_in(tmp_path / "t.jsonl") == expected, output
    came, calls = Counter(), 0
    for path, body, *_ in collector.received:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                came.update(span.name for scope in resource.scope_spans for span in scope.spans)
            continue
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                if metric.name == "mozaiks.connector.call.duration":
                    calls += sum(point.count for point in metric.histogram.data_points)
    assert (came, calls) == (expected, 10), output
