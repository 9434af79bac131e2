"""The stack and its peers, each as one coroutine `get(n)`: a GET of its own path with its own token, decoded."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import httpx
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

import middleware
from middleware import Telemetry
from runtime.connectors.base import PlatformHttpClient

Get = Callable[[int, str], Awaitable[Any]]

PACKAGES = (
    "httpx", "httptools", "h11", "httpcore", "anyio", "aiohttp", "httpx2", "tenacity", "structlog", "opentelemetry-api",
    "opentelemetry-sdk", "opentelemetry-instrumentation-httpx", "azure-core", "azure-core-tracing-opentelemetry",
    "microsoft-kiota-http", "httpware",
)  # fmt: skip
TOKEN = "eyJhbGciOiJSUzI1NiJ9." + "x" * 398  # with the call's number: 430 characters


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def token(n: int) -> str:
    return f"{TOKEN}{n:011d}"


def headers(n: int) -> dict[str, str]:
    return {
        "authorization": f"Bearer {token(n)}",
        "x-mozaiks-app-key": "moz_test_benchmark",
        "x-correlation-id": f"{n:036d}",
        "accept": "application/json",
        "accept-encoding": "gzip",
    }


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        return json.dumps({"event": record.getMessage(), "level": record.levelname, **fields})


_STANDARD = frozenset(vars(logging.makeLogRecord({})))


def null_file() -> TextIO:
    return Path("/dev/null").open("w")


def log_to_null() -> None:
    """One JSON line per call to /dev/null, as a host that keeps its request log would have it."""
    handler = logging.StreamHandler(null_file())
    handler.setFormatter(_JsonLines())
    logger = logging.getLogger("mozaiks.connectors")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logging.getLogger("mozaiks.connectors.attempts").setLevel(logging.INFO)  # one line per call


def sdk(*, sampled: bool = True) -> Telemetry:
    """Real providers: spans into a batch processor with a null exporter, metrics into a reader without an exporter."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    class Null(SpanExporter):
        def export(self, _spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            pass

    tracers = TracerProvider(sampler=ALWAYS_ON if sampled else ALWAYS_OFF, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(Null()))
    meters = MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)
    return Telemetry(tracer_provider=tracers, meter_provider=meters)


NO_SDK = "no SDK, no log"
"""End of the names of clients that are measured with the log switched off."""


def no_sdk() -> Telemetry:
    """Return what a host without an SDK has, whatever the global providers are."""
    return Telemetry(tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())


def sdk_calls(telemetry: Telemetry) -> Callable[[int], None]:
    """Make what spends as many calls' worth of the SDK alone: two spans of five attributes, and two records, each."""
    assert telemetry.tracer_provider is not None
    assert telemetry.meter_provider is not None
    tracer = telemetry.tracer_provider.get_tracer("bare")
    histogram = telemetry.meter_provider.get_meter("bare").create_histogram("bare.duration", "s")
    attributes = {f"attribute.{number}": "value" for number in range(5)}

    def act(calls: int) -> None:
        for _ in range(2 * calls):
            span = tracer.start_span("bare", attributes=attributes)
            histogram.record(0.001, attributes)
            span.end()

    return act


def _settings_class() -> Any:
    # `compare.py --against` measures old checkouts too, in which the class had another name.
    return getattr(middleware, "StackSettings", None) or vars(middleware)["StackConfig"]


def stack(
    url: str, telemetry: Telemetry | None, *, library: str = "", transport: Any = None, ca_file: str = ""
) -> PlatformHttpClient:
    """Make a client with all layers at their defaults, but room for any concurrency."""
    defaults = _settings_class()()
    given = {"library": library, "ca_file": ca_file}
    policies = replace(
        defaults,
        transport=replace(defaults.transport, **{name: value for name, value in given.items() if value}),
        bulkhead=replace(defaults.bulkhead, permits=10_000),
        calls=replace(defaults.calls, max_in_flight=10_000),
    )
    return PlatformHttpClient(
        url, "moz_test_benchmark", service="service", policies=policies, telemetry=telemetry, transport=transport
    )


def getter(client: PlatformHttpClient) -> Get:
    async def get(n: int, path: str) -> Any:
        if path:
            return await client.get(path, user_jwt=token(n))
        return await client.get(
            "/api/items/{item_id}", path_params={"item_id": n}, operation="get_item", user_jwt=token(n)
        )

    return get


class Lanes(httpx.AsyncBaseTransport):
    """The candidate that was not chosen: last in, first out, of one-connection `httpx.AsyncHTTPTransport`s."""

    def __init__(self) -> None:
        self.idle: list[httpx.AsyncHTTPTransport] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=5)
        lane = self.idle.pop() if self.idle else httpx.AsyncHTTPTransport(verify=False, trust_env=False, limits=limits)
        try:
            response = await lane.handle_async_request(request)
            content = b"".join([piece async for piece in response.stream])  # type: ignore[union-attr]
            await response.aclose()
        except BaseException:
            await lane.aclose()
            raise
        self.idle.append(lane)
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    async def aclose(self) -> None:
        for lane in self.idle:
            await lane.aclose()


@asynccontextmanager
async def all_clients(url: str, telemetry: Telemetry) -> AsyncIterator[dict[str, Get]]:
    """Open every client once; what is not installed is left out."""
    async with AsyncExitStack() as opened:
        found: dict[str, Get] = {}
        for library in ("httptools", "h11", "httpcore", "aiohttp"):
            client = await opened.enter_async_context(stack(url, telemetry, library=library))
            found[f"stack on {library}"] = getter(client)
        for name, less in (("unsampled", sdk(sampled=False)), (NO_SDK, no_sdk())):
            client = await opened.enter_async_context(stack(url, less, library="httptools"))
            found[f"stack on httptools, {name}"] = getter(client)
        lanes = await opened.enter_async_context(Lanes())
        found["stack on one-connection httpx transports"] = getter(stack(url, telemetry, transport=lanes))
        for name, make in PEERS.items():
            try:
                found[name] = await make(url, telemetry, opened)
            except ImportError as error:
                print(f"{name}: left out, {error}")
        yield found


async def _httpx(url: str, _telemetry: Telemetry, opened: AsyncExitStack) -> Get:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = await opened.enter_async_context(
        httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False)
    )

    async def get(n: int, path: str) -> Any:
        return (await client.get(path or f"/api/items/{n}", headers=headers(n))).json()

    return get


async def _httpx2(url: str, _telemetry: Telemetry, opened: AsyncExitStack) -> Get:
    import httpx2

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    client = httpx2.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False)
    await opened.enter_async_context(client)

    async def get(n: int, path: str) -> Any:
        return (await client.get(path or f"/api/items/{n}", headers=headers(n))).json()

    return get


async def _aiohttp(url: str, _telemetry: Telemetry, opened: AsyncExitStack) -> Get:
    import aiohttp

    session = await opened.enter_async_context(aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)))

    async def get(n: int, path: str) -> Any:
        async with session.get(path or f"/api/items/{n}", headers=headers(n)) as response:
            return await response.json()

    return get


async def _naive(url: str, telemetry: Telemetry, opened: AsyncExitStack) -> Get:
    """Build what a team writes on its first day: httpx, tenacity around it, the instrumentor, one structlog line."""
    import structlog
    import tenacity
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = await opened.enter_async_context(
        httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False)
    )
    HTTPXClientInstrumentor.instrument_client(
        client, tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider
    )
    tracer = telemetry.tracer_provider.get_tracer("naive")  # type: ignore[union-attr]
    log = structlog.wrap_logger(
        structlog.PrintLogger(null_file()),
        processors=[structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer()],
    )

    @tenacity.retry(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(0.1, 5),
        retry=tenacity.retry_if_exception_type(httpx.HTTPError),
        reraise=True,
    )
    async def fetch(n: int, path: str) -> Any:
        response = await client.get(path or f"/api/items/{n}", headers=headers(n))
        response.raise_for_status()
        return response.json()

    async def get(n: int, path: str) -> Any:
        with tracer.start_as_current_span("service.get_item"):
            document = await fetch(n, path)
            log.info("call.succeeded", service="service", operation="get_item", attempts=1)
            return document

    return get


async def _azure(url: str, _telemetry: Telemetry, opened: AsyncExitStack) -> Get:
    import aiohttp
    from azure.core import AsyncPipelineClient
    from azure.core.pipeline.policies import (
        AsyncRetryPolicy,
        DistributedTracingPolicy,
        HeadersPolicy,
        NetworkTraceLoggingPolicy,
        RequestIdPolicy,
        UserAgentPolicy,
    )
    from azure.core.pipeline.transport import AioHttpTransport
    from azure.core.rest import HttpRequest
    from azure.core.settings import settings
    from azure.core.tracing.decorator_async import distributed_trace_async

    settings.tracing_implementation = "opentelemetry"
    session = await opened.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    policies = [
        RequestIdPolicy(), HeadersPolicy(), UserAgentPolicy("benchmark"), AsyncRetryPolicy(),
        DistributedTracingPolicy(), NetworkTraceLoggingPolicy(),
    ]  # fmt: skip
    transport = AioHttpTransport(session=session, session_owner=False)
    client = await opened.enter_async_context(AsyncPipelineClient(url, policies=policies, transport=transport))

    class Items:
        @distributed_trace_async
        async def get_item(self, n: int, path: str) -> Any:
            request = HttpRequest("GET", url + (path or f"/api/items/{n}"), headers=headers(n))
            response = await client.send_request(request)
            response.raise_for_status()
            return response.json()

    return Items().get_item


async def _kiota(url: str, _telemetry: Telemetry, opened: AsyncExitStack) -> Get:
    from kiota_abstractions.authentication import AnonymousAuthenticationProvider
    from kiota_abstractions.method import Method
    from kiota_abstractions.request_information import RequestInformation
    from kiota_http.httpx_request_adapter import HttpxRequestAdapter
    from kiota_http.kiota_client_factory import KiotaClientFactory

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = KiotaClientFactory.create_with_default_middleware(
        httpx.AsyncClient(limits=limits, timeout=60, trust_env=False)
    )
    await opened.enter_async_context(client)
    adapter = HttpxRequestAdapter(AnonymousAuthenticationProvider(), http_client=client)
    adapter.base_url = url

    async def get(n: int, path: str) -> Any:
        request = RequestInformation(Method.GET, "{+baseurl}" + (path or "/api/items/{id}"), {"baseurl": url, "id": n})
        for name, value in headers(n).items():
            request.headers.add(name, value)
        return json.loads(await adapter.send_primitive_async(request, "bytes", {}))

    return get


async def _httpware(url: str, _telemetry: Telemetry, opened: AsyncExitStack) -> Get:
    import httpware
    import httpx2

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    client = httpware.AsyncClient(
        httpx2_client=await opened.enter_async_context(
            httpx2.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False)
        ),
        middleware=[
            httpware.AsyncCircuitBreaker(),
            httpware.AsyncTimeout(timeout=25),
            httpware.AsyncBulkhead(max_concurrent=10_000),
            httpware.AsyncRetry(),
        ],
    )

    async def get(n: int, path: str) -> Any:
        return (await client.get(path or f"/api/items/{n}", headers=headers(n))).json()

    return get


PEERS = {
    "httpx": _httpx,
    "httpx2": _httpx2,
    "aiohttp": _aiohttp,
    "naive": _naive,
    "azure-core": _azure,
    "kiota": _kiota,
    "httpware": _httpware,
}
