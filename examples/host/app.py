"""
The application of a small core, with all that docs/host.md describes.

    MOZAIKS_MANAGED=true MOZAIKS_GATEWAY_BASE_URL=… uvicorn examples.host.app:app

`POST /api/execute/<plugin>` with a JSON object runs a plugin for the bearer of the token; `GET /api/plugins` lists all.
Spans are also appended to the file that `EXAMPLE_CORE_TRACE_FILE` names.
"""

import os
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse
from opentelemetry.trace import TracerProvider

from middleware import PlatformError
from runtime.adapters.starlette import health_routes, platform_error_response
from runtime.asgi import ConnectorsMiddleware, connectors_lifespan
from runtime.telemetry import TelemetryHandle, configure_telemetry

from .plugin_manager import PluginManager
from .server_spans import ServerSpans

__all__ = ["DRAIN_S", "app", "make_app"]

DRAIN_S = 0.5
"""For calls of background tasks, of which there are none: the rest of the pod's grace is for requests."""

# As the core: what a plugin reports, by its code; 500 for all others.
_STATUS = {"NOT_FOUND": 404, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "VALIDATION_ERROR": 400, "TIMEOUT": 504}
_STATUS |= {"DEADLINE_EXCEEDED": 504, "CIRCUIT_OPEN": 503}


def _telemetry() -> TelemetryHandle:
    trace_file = os.environ.get("EXAMPLE_CORE_TRACE_FILE") or None
    return configure_telemetry(service_name="example-core", trace_file=trace_file, set_global=True)


def make_app(manager: PluginManager | None = None, tracer_provider: TracerProvider | None = None) -> FastAPI:
    """Return the application; *manager* runs its plugins, its own spans go to *tracer_provider* or the global one."""
    made = FastAPI(lifespan=connectors_lifespan(telemetry=_telemetry, process_wide=True, drain_s=DRAIN_S))
    running = manager or PluginManager()

    @made.get("/api/plugins")
    async def plugins() -> list[str]:
        return running.names

    @made.post("/api/execute/{name}")
    async def execute(name: str, request: Request, data: Annotated[dict[str, Any], Body()]) -> JSONResponse:
        data.pop("user_jwt", None)  # a client's own word for it is no credential
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            data["user_jwt"] = token
        result = await running.execute(name, data)
        if "error" not in result:
            return JSONResponse(result)
        return JSONResponse(result, _STATUS.get(str(result.get("error_code")), 500))

    made.add_exception_handler(PlatformError, platform_error_response)
    made.router.routes.extend(health_routes())
    made.add_middleware(ServerSpans, tracer_provider=tracer_provider)
    made.add_middleware(ConnectorsMiddleware)
    return made


app = make_app()
