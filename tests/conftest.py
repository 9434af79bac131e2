"""What the whole suite shares: a gateway on a real socket, a clock that never really waits, recorded telemetry."""

import gc
import re
from random import Random

import pytest
from layer_support import FakeClock
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otlp_collector import running_collector

from middleware import StackSettings, Telemetry
from middleware.clock import SystemClock
from runtime.connectors import registry
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.loader import reset_connectors
from runtime.gateway import Gateway

pytest_plugins = ["runtime.conformance.plugin", "settings_files", "unit_mode"]


def pytest_addoption(parser):
    parser.addoption("--rule", help="run only the tests that name this rule, for example R15, in their docstring")
    parser.addoption("--update-pictures", action="store_true", help="write the pictures of the page of traces anew")


def pytest_collection_modifyitems(config, items):
    if rule := config.getoption("--rule"):
        kept, others = [], []
        for item in items:
            named = re.search(rf"\b{rule}\b", getattr(item.function, "__doc__", None) or "")
            (kept if named else others).append(item)
        config.hook.pytest_deselected(items=others)
        items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect no garbage meanwhile: of the many objects that collection makes nearly all stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish():
    """Exempt what collection made, which stays until the end, from every later garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(config, val, argname):
    """Processes that share a run must find the same names; a gzip header, for one, contains the second it was made."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) and not val.isascii() else None


class Recorder:
    """Telemetry into memory."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.events = []
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        meters = MeterProvider(metric_readers=[self.reader], shutdown_on_exit=False)
        self.telemetry = Telemetry(tracer_provider=tracers, meter_provider=meters, listener=self.events.append)

    def spans(self, kind):
        found = [span for span in self.exporter.get_finished_spans() if span.kind.name == kind]
        return sorted(found, key=lambda span: span.start_time)

    def points(self, name):
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
async def gateway():
    async with Gateway() as started:
        yield started


@pytest.fixture
def collector():
    with running_collector() as server:
        yield server


@pytest.fixture
def clock():
    """Real time, but a sleep moves it on instead of waiting."""
    return FakeClock(SystemClock())


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
async def make_client(gateway, clock, recorder):
    """Make clients of the gateway with given settings; closes them."""
    made = []

    def make(service="service", **sections):
        client = PlatformHttpClient(
            gateway.url,
            gateway.api_key,
            service=service,
            policies=StackSettings(**sections),
            telemetry=recorder.telemetry,
            clock=clock,
            random=Random(7),
        )
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def environment(monkeypatch):
    """The environment, for a test to set, without any proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture
def no_settings(monkeypatch):
    """An environment without any of our settings, and no bundle left over."""
    import os

    for name in list(os.environ):
        if name.startswith("MOZAIKS_"):
            monkeypatch.delenv(name)
    reset_connectors()
    monkeypatch.setattr(registry, "_registered", ())  # what a test registers goes with it
    monkeypatch.setattr(registry, "_all", ())
    yield monkeypatch
    reset_connectors()
