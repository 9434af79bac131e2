"""
A host program with instrumentations of its own, run by test_instrumentors.py in a process of its own.

Prints one JSON object: per case the spans that one call of a connector, or of the host's own client, gave.
"""

import asyncio
import json
import sys

import httpx
import respx
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from middleware import Telemetry
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import Gateway
from runtime.settings import ResolvedSettings
from runtime.telemetry import configure_telemetry

ITEMS = "/api/service/items"
exporter = InMemorySpanExporter()


def instrument(on):
    for instrumentor in (HTTPXClientInstrumentor(), AioHttpClientInstrumentor()):
        if on:
            instrumentor.instrument()
        else:
            instrumentor.uninstrument()


def clients(gateway, telemetry):
    """One client per way onto the wire: our own connections, an httpx transport that was given, aiohttp."""
    given = httpx.AsyncHTTPTransport()
    by_aiohttp = ResolvedSettings({"transport": {"library": "aiohttp"}})
    return {
        "own": PlatformHttpClient(gateway.url, gateway.api_key, telemetry=telemetry),
        "httpx": PlatformHttpClient(gateway.url, gateway.api_key, telemetry=telemetry, transport=given),
        "aiohttp": PlatformHttpClient(gateway.url, gateway.api_key, telemetry=telemetry, policies=by_aiohttp),
    }


async def seen(gateway, act):
    """What one call gave: scope, kind and parent of each span, and whose span the request carried."""
    exporter.clear()
    before = len(gateway.requests)
    await act()
    spans = {f"{span.context.span_id:016x}": span for span in exporter.get_finished_spans()}
    requests = gateway.requests[before:]
    carried = [(request.header("traceparent") or "---").split("-")[2] for request in requests]
    return {
        "spans": sorted(
            [span.instrumentation_scope.name, span.kind.name, span.parent is not None] for span in spans.values()
        ),
        "carried": [spans[one].instrumentation_scope.name if one in spans else "" for one in carried],
    }


async def sdk(found):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    async with Gateway() as gateway:
        for order in ("not", "after", "before"):
            if order == "before":
                instrument(on=True)
            made = clients(gateway, Telemetry())
            if order == "after":
                instrument(on=True)
            for name, client in made.items():
                found[f"instrumented {order}, {name}"] = await seen(gateway, lambda c=client: c.get(ITEMS))
            async with httpx.AsyncClient() as hosts:
                found[f"instrumented {order}, the host's client"] = await seen(
                    gateway, lambda: hosts.get(gateway.url + ITEMS)
                )
            for client in made.values():
                await client.aclose()
            instrument(on=False)
        async with httpx.AsyncClient() as wrapped:
            HTTPXClientInstrumentor.instrument_client(wrapped)
            client = PlatformHttpClient(gateway.url, gateway.api_key, transport=wrapped._transport)
            found["a transport instrumented by itself"] = await seen(gateway, lambda: client.get(ITEMS))
        with configure_telemetry(span_exporters=[exporter], instrument_httpx=True) as handle:
            made = clients(gateway, handle.telemetry)
            for name, client in made.items():
                found[f"configured, {name}"] = await seen(gateway, lambda c=client: c.get(ITEMS))
                await client.aclose()
            async with httpx.AsyncClient() as hosts:
                found["configured, the host's client"] = await seen(gateway, lambda: hosts.get(gateway.url + ITEMS))
        async with httpx.AsyncClient() as hosts:
            found["shut down, the host's client"] = await seen(gateway, lambda: hosts.get(gateway.url + ITEMS))
        for using in ("httpcore", "httpx"):
            instrument(on=True)
            with respx.mock(using=using, assert_all_called=False) as router:
                router.get(gateway.url + ITEMS).respond(json={"items": []})
                for name, client in clients(gateway, Telemetry()).items():
                    if name != "aiohttp":  # which the doubles of the httpx family cannot reach
                        found[f"respx by {using}, {name}"] = await seen(gateway, lambda c=client: c.get(ITEMS))
                    await client.aclose()
            instrument(on=False)


async def api_only(found):
    async with Gateway() as gateway:
        instrument(on=True)
        made = clients(gateway, Telemetry())
        for name, client in made.items():
            found[name] = await seen(gateway, lambda c=client: c.get(ITEMS))
            await client.aclose()
        found["requests"] = len(gateway.requests)


result = {}
asyncio.run({"sdk": sdk, "api": api_only}[sys.argv[1]](result))
sys.stdout.write(json.dumps(result))
