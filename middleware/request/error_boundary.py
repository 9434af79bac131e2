"""The error boundary: callers of the stack get a result with its outcome, or one of our errors with its outcome."""

from middleware.clock import Clock
from middleware.errors import CallError, internal_error
from middleware.types import Handler, PlatformRequest, PlatformResponse

__all__ = ["ErrorBoundaryMiddleware"]


class ErrorBoundaryMiddleware:
    """Converts any unexpected exception to `InternalError`, and attaches the `Outcome` to responses and errors."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """CancelledError, KeyboardInterrupt and SystemExit pass through: they are not Exceptions."""
        call = request.call
        try:
            response = await call_next(request)
        except CallError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - converting any exception is this layer's purpose
            failed = internal_error(error, call.most_sent)
        else:
            if response.outcome is None:  # made by a layer outside of the one that records the call
                response.outcome = call.outcome(self._clock.now())
            return response
        finally:
            call.failures.clear()
        if failed.outcome is None or failed.outcome.call is not call.info:
            failed.outcome = call.outcome(self._clock.now())
        raise failed  # outside the handler: chaining a third-party exception would keep the request reachable
