"""
How many attempts a service takes at a time, found from its responses.

Additive increase, multiplicative decrease, as TCP does it: Jacobson, "Congestion Avoidance and Control" (SIGCOMM 1988).
"""

__all__ = ["AdaptiveLimit"]

_DECREASE = 0.5  # R46
_LEAST = 1.0  # R46


class AdaptiveLimit:
    """
    The limit of one event loop; pure arithmetic.

    It starts at the host's number of permits, which stays its upper bound, and is at least 1.
    """

    def __init__(self) -> None:
        self._value = float("inf")
        self._lowered_at = float("-inf")

    def of(self, permits: int) -> int:
        """Return the attempts allowed at a time where the host allows *permits*."""
        return int(min(self._value, permits))

    def on_response(self, in_flight: int, permits: int) -> None:
        """
        Raise the limit by one per round trip; one that is not reached stays, since nothing is known beyond it.

        Args:
            in_flight: Attempts in flight, the one that got the response included.
            permits: The host's number.
        """
        if in_flight < self.of(permits):  # R46
            return
        self._value += 1 / self._value  # R46: all attempts of a round trip together add one
        if self._value >= permits:  # R46
            self._value = float("inf")

    def on_overload(self, started_at: float, now: float, in_flight: int, permits: int) -> None:
        """
        Halve the limit, at most once per round trip: an attempt from before the last change says nothing about it.

        Args:
            started_at: Start of the attempt that timed out or was throttled.
            now: Its end.
            in_flight: Attempts in flight, this one included: a limit that is not reached did not cause the overload.
            permits: The host's number.
        """
        if started_at < self._lowered_at:  # R46
            return
        self._lowered_at = now  # R46
        self._value = max(_LEAST, _DECREASE * min(in_flight, self.of(permits)))  # R46
