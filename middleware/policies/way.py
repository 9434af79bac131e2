"""
The way to an origin: whether a gateway on it has just returned, and may lack its routes yet.

A gateway that starts opens its port before it knows its routes, and responds 404 of its own until then: Traefik for up
to 2.6 s. Right after a refused connection such a 404 says nothing about the resource.
"""

from weakref import WeakValueDictionary

from middleware.clock import Clock, SystemClock
from middleware.errors import NotFoundError, is_refused_connection
from middleware.policies.retry import RetrySettings
from middleware.types import PlatformRequest

__all__ = ["Way", "way_to"]

_RETURNS_WITHIN_S = 10.0


class Way:
    """
    When a connection to one origin was refused last; clients of the origin share it.

    Args:
        clock: Source of time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused_at = float("-inf")

    def note(self, request: PlatformRequest, error: BaseException) -> None:
        """
        Note how an attempt failed.

        A gateway's 404 to a GET within 10 s after a refused connection is marked by `gateway_returns`, where
        `retry.gateway_404_s` allows to wait for its routes.
        """
        if is_refused_connection(error):
            self._refused_at = self._clock.now()
        elif (
            isinstance(error, NotFoundError)
            and request.method == "GET"
            and (error.status, error.answered_by) == (404, "gateway")
            and self._clock.now() - self._refused_at <= _RETURNS_WITHIN_S  # R21
            and request.call.settings(RetrySettings).gateway_404_s > 0
        ):
            error.gateway_returns = True
            call = request.call
            if call.max_refused:  # R21: as a refused connection it counts towards no number of attempts
                call.attempts_refused += 1
                call.max_refused += 1


_ways: WeakValueDictionary[tuple[str, int], Way] = WeakValueDictionary()


def way_to(base_url: str, clock: Clock) -> Way:
    """Return the way to the origin of *base_url*; clients with the same source of time share it while one lives."""
    origin = "/".join(base_url.split("/")[:3]).lower()
    key = origin, 0 if isinstance(clock, SystemClock) else id(clock)  # a way refers to its clock: the id stays its own
    return _ways.setdefault(key, Way(clock))
