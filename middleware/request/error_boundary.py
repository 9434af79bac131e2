"""The error boundary: callers of the stack get a result with its outcome, or one of our errors with its outcome."""

from middleware.clock import Clock
from middleware.errors import CallError, internal_error
from middleware.steps import Step
from middleware.types import PlatformRequest, PlatformResponse

__all__ = ["ErrorBoundaryMiddleware"]


class ErrorBoundaryMiddleware(Step):
    """Converts any unexpected exception to `InternalError`, and attaches the `Outcome` to responses and errors."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def succeeded(self, request: PlatformRequest, _entered: None, response: PlatformResponse) -> None:
        """Attach the outcome where a layer outside of the one that records the call made the response."""
        request.call.failures.clear()
        if response.outcome is None:
            response.outcome = request.call.outcome(self._clock.now())

    def failed(self, request: PlatformRequest, _entered: None, error: BaseException) -> BaseException:
        """CancelledError, KeyboardInterrupt and SystemExit pass through: they are not Exceptions."""
        call = request.call
        call.failures.clear()
        if not isinstance(error, Exception):
            return error
        failed = error if isinstance(error, CallError) else internal_error(error, call.most_sent)
        if failed.outcome is None or failed.outcome.call is not call.info:
            failed.outcome = call.outcome(self._clock.now())
        return failed
