"""A cap on calls in flight, waiting ones included: bounds memory when everything waits in backoff."""

import threading
from dataclasses import dataclass
from typing import Annotated

from middleware.errors import BulkheadFullError
from middleware.events import AttemptRejected, Listener
from middleware.settings import Settings, SettingSpec
from middleware.types import Call, Handler, PlatformRequest, PlatformResponse

__all__ = ["CallCapMiddleware", "CallCapSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCapSettings(Settings):
    """Cap on the calls of one service in flight in this process."""

    max_in_flight: Annotated[
        int,
        SettingSpec(
            doc="Calls of one service in flight, waiting ones included; more are refused at once.",
            ge=1,
            le=1_000_000,
            shared=True,
            source=".NET standard resilience handler",
        ),
    ] = 1000


class CallCapMiddleware:
    """Refuses a call at once when too many are in flight."""

    def __init__(self, emit: Listener) -> None:
        self._emit = emit
        self._in_flight = 0
        self._expected = 0
        self._lock = threading.Lock()  # several loops, in several threads, may share one client

    @property
    def in_flight(self) -> int:
        """Calls begun and not ended, and those that wait for a turn to begin."""
        return self._in_flight + self._expected

    def expect(self, call: Call) -> bool:
        """Keep a place for *call*, which will come here in a later turn of its event loop; False if none is free."""
        with self._lock:
            has_room = self.in_flight < call.settings(CallCapSettings).max_in_flight
            self._expected += has_room
        return has_room

    def arrived(self) -> None:
        """Keep that place no longer: its call is about to take it, or was cancelled."""
        with self._lock:
            self._expected -= 1

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Hold one place for the duration of the call.

        Raises:
            BulkheadFullError: No place is free.
        """
        limit = request.call.settings(CallCapSettings).max_in_flight
        with self._lock:
            admitted = self.in_flight < limit
            if admitted:
                self._in_flight += 1
        if not admitted:
            self._emit(AttemptRejected(call=request.call.info, guard="call_cap"))
            raise BulkheadFullError(f"{limit} calls in flight already")
        try:
            return await call_next(request)
        finally:
            with self._lock:
                self._in_flight -= 1
