"""
For FastAPI and Starlette: the bundle for `Depends`, the response to a `PlatformError`, and health routes.

    app = FastAPI(lifespan=connectors_lifespan())
    app.add_exception_handler(PlatformError, platform_error_response)
    app.router.routes.extend(health_routes())
    app.add_middleware(ConnectorsMiddleware)

Starlette is the host's own: this module is imported by hosts that have it, and by nothing else of this package.
"""

import math
import os
from http import HTTPStatus
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from middleware.call_options import current_correlation_id
from middleware.errors import CallError, PlatformError
from middleware.request.correlation import CORRELATION_HEADER
from runtime.connectors.loader import ConnectorBundle, get_connectors

from .status_page import STATUS_HEADERS, render_status

__all__ = ["health_routes", "platform_error_response", "request_connectors"]


async def request_connectors(connection: HTTPConnection) -> ConnectorBundle:
    """
    Return the bundle of the application's lifespan, else that of the process; for `Depends(request_connectors)`.

    Raises:
        ConfigError: There is neither, and the environment has an unusable setting.
    """
    found: ConnectorBundle | None = getattr(connection.state, "connectors", None)
    return get_connectors() if found is None else found


async def platform_error_response(_connection: HTTPConnection, error: Exception) -> Response:
    """
    Return the response to a request that an error of ours has ended: a problem document of RFC 9457.

    Its status is the error's `http_status`, its detail a text for end users. `code`, `correlation_id` and
    `outcome_unknown` are for programs, and `errors` names the fields of a 400 or 422. Retry-After is in whole seconds,
    rounded up. What an error says of this host, such as the names of its settings, is left out.
    """
    if not isinstance(error, PlatformError):
        raise error
    call = error if isinstance(error, CallError) else CallError()
    correlation_id = call.correlation_id or current_correlation_id()
    status = error.http_status
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.to_plugin_error()["error"],
        "code": error.code,
        "correlation_id": correlation_id,
        "outcome_unknown": call.outcome_unknown,
    }
    if call.problem is not None and call.problem.field_errors and status in _OF_THE_CALLER:
        document["errors"] = {name: list(texts) for name, texts in call.problem.field_errors.items()}
    headers = {CORRELATION_HEADER: correlation_id} if correlation_id else {}
    if call.retry_after_s is not None and math.isfinite(call.retry_after_s):
        headers["retry-after"] = str(max(0, math.ceil(call.retry_after_s)))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"  # RFC 9110 section 15.5.2 requires it
    return JSONResponse(document, status, headers, media_type="application/problem+json")


_OF_THE_CALLER = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}


def health_routes(prefix: str = "/health") -> list[Route]:
    """
    Return the routes `<prefix>/live` and `<prefix>/ready` for probes, and the page `<prefix>/status` for people.

    None is there unless added.

    `live` responds 200 as long as the event loop runs. `ready` responds 200 while calls may begin, and 503 once the
    bundle is drained or closed; neither calls the platform, and an open circuit does not change them. The document of
    `ready` is that of `bundle.health()`: of services alone. `status` is the same as a
    page, and responds 200 always.
    """
    return [
        Route(f"{prefix}/live", _live),
        Route(f"{prefix}/ready", _ready),
        Route(f"{prefix}/status", _status),
    ]


async def _live(_request: HTTPConnection) -> Response:
    return JSONResponse({"live": True}, headers=_UNCACHED)


async def _ready(request: HTTPConnection) -> Response:
    health = (await request_connectors(request)).health()
    return JSONResponse(health.to_json(), 200 if health.is_ready else 503, _UNCACHED)


async def _status(request: HTTPConnection) -> Response:
    page = render_status((await request_connectors(request)).health(), process=os.getpid())
    return HTMLResponse(page, headers=STATUS_HEADERS)


_UNCACHED = {"cache-control": "no-store"}
