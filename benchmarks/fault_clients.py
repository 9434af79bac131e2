"""
The clients that benchmarks/faults.py measures, each configured as its own documentation says.

A maker opens a client for a URL and gives `call(method, path)`: the decoded document, or an exception. All have the
limits of `fault_verdicts.py` where they have a setting for them: the deadline of a call, the time of an attempt, three
attempts, and how long a breaker is open. Everything else is at its default. Spans are those that the client makes
itself; where it makes none, OpenTelemetry's instrumentation of the HTTP library under it.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.fault_verdicts import ATTEMPT_S, ATTEMPTS, DEADLINE_S, OPEN_S

Call = Callable[[str, str], Awaitable[Any]]


@dataclass(frozen=True)
class Limits:
    """What a call may take."""

    deadline_s: float = DEADLINE_S
    attempt_s: float = ATTEMPT_S


PATIENT = Limits(deadline_s=30.0, attempt_s=20.0)
"""For calls that the server makes wait on purpose."""

Maker = Callable[[str, Limits, Any], AbstractAsyncContextManager[Call]]
BODY = {"name": "A name of usual length"}
RETRYABLE = frozenset({429, 502, 503, 504})


def instrument_httpx() -> None:
    """Have OpenTelemetry's instrumentation make a span for each request that httpx sends."""
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    if not HTTPXClientInstrumentor().is_instrumented_by_opentelemetry:
        HTTPXClientInstrumentor().instrument()


@asynccontextmanager
async def ours(url: str, limits: Limits, provider: Any) -> AsyncIterator[Call]:
    from dataclasses import replace

    from middleware import StackSettings, Telemetry
    from runtime.connectors.base import PlatformHttpClient

    defaults = StackSettings()
    settings = replace(
        defaults,
        deadline=replace(defaults.deadline, total_s=limits.deadline_s),
        attempt=replace(defaults.attempt, timeout_s=limits.attempt_s),
        retry=replace(defaults.retry, max_attempts=ATTEMPTS),
        circuit_breaker=replace(defaults.circuit_breaker, open_s=OPEN_S),
    )
    telemetry = Telemetry(tracer_provider=provider)
    async with PlatformHttpClient(url, service="items", policies=settings, telemetry=telemetry) as client:

        async def call(method: str, path: str) -> Any:
            return await (client.get(path) if method == "GET" else client.post(path, json_body=BODY))

        yield call


def retry_after_of(error: BaseException) -> float | None:
    """Return the seconds of the Retry-After of an `httpx.HTTPStatusError`, None without one."""
    response = getattr(error, "response", None)
    value = response.headers.get("Retry-After", "") if response is not None else ""
    return float(value) if value.isdigit() else None


async def document_of(client: Any, method: str, path: str) -> Any:
    """Make a request by a client with the interface of httpx, and return what its response contains."""
    response = await client.request(method, path, json=BODY if method == "POST" else None)
    response.raise_for_status()
    return response.json()


def may_be_repeated(error: BaseException) -> bool:
    """Say whether a careful author repeats a request of httpx after *error*: a POST only where it was not sent."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in RETRYABLE and error.request.method == "GET"
    if isinstance(error, httpx.TransportError):
        return isinstance(error, httpx.ConnectError) or error.request.method == "GET"
    return False


@asynccontextmanager
async def httpx_tenacity(url: str, limits: Limits, _provider: Any) -> AsyncIterator[Call]:
    """
    Open httpx with tenacity's decorator.

    Tenacity's documentation waits as Retry-After says by `wait_exception`, and recommends `stop_before_delay` where a
    call must not take longer. A POST is repeated only where it was not sent, as a careful author has it.
    """
    import httpx
    import tenacity

    instrument_httpx()
    backoff = tenacity.wait_random_exponential(multiplier=0.1, max=5)

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        retry_after = retry_after_of(error) if error else None
        return backoff(state) if retry_after is None else retry_after

    async with httpx.AsyncClient(base_url=url, timeout=limits.attempt_s, trust_env=False) as client:

        @tenacity.retry(
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(limits.deadline_s),
            wait=wait,
            retry=tenacity.retry_if_exception(may_be_repeated),
            reraise=True,
        )
        async def call(method: str, path: str) -> Any:
            return await document_of(client, method, path)

        yield call


@asynccontextmanager
async def httpx_stamina(url: str, limits: Limits, _provider: Any) -> AsyncIterator[Call]:
    """Open httpx with stamina's decorator, and the backoff hook for Retry-After that its reference describes."""
    import httpx
    import stamina

    instrument_httpx()

    def hook(error: Exception) -> bool | float:
        if not may_be_repeated(error):
            return False
        retry_after = retry_after_of(error)
        return True if retry_after is None else retry_after

    async with httpx.AsyncClient(base_url=url, timeout=limits.attempt_s, trust_env=False) as client:

        @stamina.retry(on=hook, attempts=ATTEMPTS, timeout=limits.deadline_s)
        async def call(method: str, path: str) -> Any:
            return await document_of(client, method, path)

        yield call


@asynccontextmanager
async def httpware(url: str, limits: Limits, _provider: Any) -> AsyncIterator[Call]:
    """Open httpware in the order that its reference of `AsyncTimeout` gives: breaker, timeout, bulkhead, retry."""
    import httpware
    import httpx2
    from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor

    if not HTTPX2ClientInstrumentor().is_instrumented_by_opentelemetry:
        HTTPX2ClientInstrumentor().instrument()
    inner = httpx2.AsyncClient(base_url=url, timeout=limits.attempt_s, trust_env=False)
    layers = [
        httpware.AsyncCircuitBreaker(reset_timeout=OPEN_S),
        httpware.AsyncTimeout(timeout=limits.deadline_s),
        httpware.AsyncBulkhead(max_concurrent=100),
        httpware.AsyncRetry(max_attempts=ATTEMPTS),
    ]
    async with inner, httpware.AsyncClient(httpx2_client=inner, middleware=layers) as client:

        async def call(method: str, path: str) -> Any:
            response = await (client.get(path) if method == "GET" else client.post(path, json=BODY))
            return response.json()

        yield call


@asynccontextmanager
async def clientwright(url: str, limits: Limits, provider: Any) -> AsyncIterator[Call]:
    """Open clientwright's httpx adapter with its own tracer."""
    from clientwright import AdapterDeps, CircuitBreakerConfig, ClientConfig, RetryConfig, TimeoutConfig, build
    from clientwright.adapters.observability import OpenTelemetryTracer

    config = ClientConfig(
        service_name="items",
        base_url=url,
        timeout=TimeoutConfig(total=limits.deadline_s, attempt=limits.attempt_s, connect=limits.attempt_s),
        retry=RetryConfig(max_attempts=ATTEMPTS),
        circuit_breaker=CircuitBreakerConfig(recovery_timeout=OPEN_S),
    )
    async with build("httpx", config, AdapterDeps(tracer=OpenTelemetryTracer(provider))) as client:

        async def call(method: str, path: str) -> Any:
            return await document_of(client, method, path)

        yield call


@asynccontextmanager
async def azure_core(url: str, limits: Limits, _provider: Any) -> AsyncIterator[Call]:
    """Open azure-core's pipeline over aiohttp, with tracing inside the retry as the SDKs have it."""
    from azure.core import AsyncPipelineClient
    from azure.core.pipeline.policies import AsyncRetryPolicy, DistributedTracingPolicy, HeadersPolicy, RequestIdPolicy
    from azure.core.pipeline.transport import AioHttpTransport
    from azure.core.rest import HttpRequest
    from azure.core.settings import settings
    from azure.core.tracing.decorator_async import distributed_trace_async

    settings.tracing_implementation = "opentelemetry"
    transport = AioHttpTransport(connection_timeout=limits.attempt_s, read_timeout=limits.attempt_s)
    retry = AsyncRetryPolicy(retry_total=ATTEMPTS - 1, timeout=limits.deadline_s, retry_backoff_factor=0.1)
    policies = [RequestIdPolicy(), HeadersPolicy(), retry, DistributedTracingPolicy()]
    async with AsyncPipelineClient(url, policies=policies, transport=transport) as client:

        class Items:
            @distributed_trace_async
            async def call(self, method: str, path: str) -> Any:
                request = HttpRequest(method, url + path, json=BODY if method == "POST" else None)
                response = await client.send_request(request)
                response.raise_for_status()
                return response.json()

        yield Items().call


@asynccontextmanager
async def kiota(url: str, limits: Limits, _provider: Any) -> AsyncIterator[Call]:
    """Open Kiota's request adapter with its default middleware, and three attempts."""
    import httpx
    from kiota_abstractions.authentication import AnonymousAuthenticationProvider
    from kiota_abstractions.method import Method
    from kiota_abstractions.request_information import RequestInformation
    from kiota_http.httpx_request_adapter import HttpxRequestAdapter
    from kiota_http.kiota_client_factory import KiotaClientFactory
    from kiota_http.middleware.options import RetryHandlerOption

    instrument_httpx()
    options = {RetryHandlerOption.get_key(): RetryHandlerOption(delay=0.1, max_retries=ATTEMPTS - 1)}
    inner = httpx.AsyncClient(timeout=limits.attempt_s, trust_env=False)
    async with KiotaClientFactory.create_with_default_middleware(inner, options) as client:
        adapter = HttpxRequestAdapter(AnonymousAuthenticationProvider(), http_client=client)
        adapter.base_url = url

        async def call(method: str, path: str) -> Any:
            request = RequestInformation(Method[method], "{+baseurl}" + path, {"baseurl": url})
            if method == "POST":
                request.set_stream_content(json.dumps(BODY).encode(), "application/json")
            return json.loads(await adapter.send_primitive_async(request, "bytes", {}))

        yield call


@asynccontextmanager
async def aiohttp_retry(url: str, limits: Limits, _provider: Any) -> AsyncIterator[Call]:
    """Open aiohttp-retry with its exponential retry; Retry-After takes a class of one's own."""
    import aiohttp
    import aiohttp_retry
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor

    if not AioHttpClientInstrumentor().is_instrumented_by_opentelemetry:
        AioHttpClientInstrumentor().instrument()
    timeout = aiohttp.ClientTimeout(total=limits.attempt_s)
    options = aiohttp_retry.ExponentialRetry(attempts=ATTEMPTS, statuses={429})
    async with aiohttp_retry.RetryClient(retry_options=options, base_url=url, timeout=timeout) as client:

        async def call(method: str, path: str) -> Any:
            started = client.get(path) if method == "GET" else client.post(path, json=BODY)
            async with started as response:
                response.raise_for_status()
                return await response.json()

        yield call


CLIENTS: dict[str, Maker] = {
    "ours": ours,
    "httpx + tenacity": httpx_tenacity,
    "httpx + stamina": httpx_stamina,
    "httpware": httpware,
    "clientwright": clientwright,
    "azure-core": azure_core,
    "kiota": kiota,
    "aiohttp-retry": aiohttp_retry,
}
PACKAGES = {
    "httpx + tenacity": ("httpx", "tenacity"),
    "httpx + stamina": ("httpx", "stamina"),
    "httpware": ("httpware", "httpx2"),
    "clientwright": ("clientwright", "httpx"),
    "azure-core": ("azure-core", "aiohttp"),
    "kiota": ("microsoft-kiota-http", "httpx"),
    "aiohttp-retry": ("aiohttp-retry", "aiohttp"),
}
