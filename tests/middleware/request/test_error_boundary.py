"""The error boundary: what callers of the stack get."""

import pytest
from layer_support import FakeClock, a_request

from middleware.errors import ResponseLostError
from middleware.request.error_boundary import ErrorBoundaryMiddleware
from middleware.types import PlatformResponse


def takes(clock, seconds, error=None):
    """A rest of the stack that takes its time."""

    async def rest(_request):
        clock.time += seconds
        if error is not None:
            raise error
        return PlatformResponse(status=201, headers={})

    return rest


async def test_a_success_carries_its_outcome():
    """Its own response, and how long it took."""
    clock = FakeClock()
    response = await ErrorBoundaryMiddleware(clock)(a_request(), takes(clock, 1.5))
    assert response.status == 201
    assert response.outcome.elapsed_s == 1.5


async def test_one_of_our_errors_passes_as_it_is_with_its_outcome():
    """And without the context of what the stack was handling."""
    clock, error = FakeClock(), ResponseLostError("x")
    with pytest.raises(ResponseLostError) as caught:
        await ErrorBoundaryMiddleware(clock)(a_request(), takes(clock, 1.5, error))
    assert caught.value is error
    assert error.outcome.elapsed_s == 1.5
    assert error.__context__ is None


async def test_the_outcome_of_another_call_is_replaced():
    """R52: an error that was kept and raised once more describes the call that it ends now."""
    clock, error = FakeClock(), ResponseLostError("x")
    error.outcome = other = a_request().call.outcome(9.0)
    request = a_request()
    with pytest.raises(ResponseLostError):
        await ErrorBoundaryMiddleware(clock)(request, takes(clock, 1.0, error))
    assert error.outcome is not other
    assert error.outcome.call == request.call.info
    assert error.outcome.elapsed_s == 1.0
