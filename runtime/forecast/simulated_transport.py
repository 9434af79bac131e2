"""The end of the stack in a simulation: a transport that gets its responses from a model instead of a network."""

import asyncio

from middleware.errors import RequestNotSentError, ResponseLostError, status_error
from middleware.problem import Problem
from middleware.types import PlatformRequest, PlatformResponse

from .models import Service

__all__ = ["SimulatedTransport"]

_BODY = b"{}"


class SimulatedTransport:
    """
    Sends attempts to a modelled service; several clients may share it, as processes share a service.

    Args:
        service: What the service does with each request.

    Attributes:
        requests: Requests that arrived at it; a refused connection is none.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.requests = 0

    async def send(self, request: PlatformRequest, _url: str) -> PlatformResponse:
        """
        Wait for the response that the service gives to *request*.

        Raises:
            CallError: As a real transport raises it.
        """
        loop, attempt = asyncio.get_running_loop(), request.attempt
        effect = self._service(loop.time())
        if effect.kind == "refused":
            raise RequestNotSentError("connection refused by the model", connection_refused=True)
        self.requests += 1
        attempt.request_sent = "maybe"
        if effect.kind == "hang":
            await loop.create_future()
        if effect.after_s > 0:
            await asyncio.sleep(effect.after_s)
        request.call.pieces_read += 1
        if effect.kind == "lost":
            raise ResponseLostError("connection reset by the model", request_sent="maybe")
        attempt.request_sent, attempt.status = "yes", effect.status
        if effect.kind == "half_body":
            raise ResponseLostError("half a body from the model", request_sent="yes")
        if effect.status >= 300:  # noqa: PLR2004 - HTTP
            raise status_error(effect.status, Problem(), retry_after_s=effect.retry_after_s)
        return PlatformResponse(status=effect.status, headers={}, body=_BODY)

    async def aclose(self) -> None:
        """Nothing to close."""
