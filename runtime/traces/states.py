"""
What calls say of their service over time: the state of its circuit breaker, its retry budget, and its settings' hash.

A state is known only where a call says it, so time without calls is a gap. Memory depends on the number of services and
of time slices, not of calls.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from middleware.telemetry import semconv

from .calls import Call, is_call

__all__ = ["ServiceStates", "States", "worst_states"]

_MAX_CELLS = 20_000
"""Seconds with calls, summed over all services, before two of them become one."""
_MAX_SERVICES = 100
_MAX_VALUES = 8
"""Breaker states, and hashes of settings, that one slice keeps."""
_LARGEST = 1e9
_WORST_FIRST = ("forced_open", "open", "half_open", "shadow_open", "shadow_half_open", "closed", "shadow", "disabled")


@dataclass(slots=True)
class States:
    """
    What was said of one service in some time.

    Attributes:
        breaker: States of its circuit breakers; each process has its own, so there may be several at a time.
        least_balance: Least retries that its budget still allowed; None where no retry asked for one.
        hashes: Hashes of the settings that were in force.
    """

    breaker: set[str] = field(default_factory=set)
    least_balance: float | None = None
    hashes: set[str] = field(default_factory=set)

    def note_balance(self, value: object) -> None:
        """Take the balance of a budget, if it is one."""
        if isinstance(value, int | float) and 0 <= value < _LARGEST:  # a third-party span may have anything here
            least = self.least_balance
            self.least_balance = float(value) if least is None else min(least, float(value))

    def update(self, other: "States") -> None:
        """Add all of *other*."""
        for mine, others in ((self.breaker, other.breaker), (self.hashes, other.hashes)):
            for value in sorted(others):
                _keep(mine, value)
        self.note_balance(other.least_balance)


def _keep(values: set[str], value: object) -> None:
    if isinstance(value, str) and value and len(values) < _MAX_VALUES:
        values.add(value)


def worst_states(states: Iterable[str]) -> list[str]:
    """Return states of circuit breakers, those first that let least through, and those last that are unknown here."""
    rank = {state: number for number, state in enumerate(_WORST_FIRST)}
    return sorted(states, key=lambda state: (rank.get(state, len(rank)), state))


class ServiceStates:
    """
    States per service and time slice.

    Attributes:
        slice_ns: Length of a slice: a second, doubled whenever there are too many of them.
    """

    def __init__(self) -> None:
        self.slice_ns = 1_000_000_000
        self._services: dict[str, dict[int, States]] = {}
        self._cells = 0

    def add(self, call: Call) -> None:
        """Take what *call* says; spans that are no connector's say nothing."""
        span = call.span
        if not is_call(span) or (call.service not in self._services and len(self._services) >= _MAX_SERVICES):
            return
        slices = self._services.setdefault(call.service, {})
        _keep(self._slice(slices, span.start_ns).hashes, call.settings_hash)  # in force when the call began
        asked_ns = call.attempts[-1].start_ns if call.attempts else span.start_ns  # the last request for permission
        _keep(self._slice(slices, asked_ns).breaker, span.attributes.get(semconv.CIRCUIT_BREAKER_STATE))
        for event in span.events:
            if event.name == semconv.EVENT_CIRCUIT_STATE_CHANGED:
                _keep(self._slice(slices, event.at_ns).breaker, event.attributes.get(semconv.CIRCUIT_BREAKER_TO))
            if semconv.RETRY_BUDGET_BALANCE in event.attributes:
                self._slice(slices, event.at_ns).note_balance(event.attributes[semconv.RETRY_BUDGET_BALANCE])
        while self._cells > _MAX_CELLS:
            self._widen()

    def _slice(self, slices: dict[int, States], at_ns: int) -> States:
        number = at_ns // self.slice_ns
        found = slices.get(number)
        if found is None:
            found = slices[number] = States()
            self._cells += 1
        return found

    def _widen(self) -> None:
        self.slice_ns *= 2
        self._cells = 0
        for name, slices in self._services.items():
            self._services[name] = merged = _merged(slices, 2)
            self._cells += len(merged)

    @property
    def services(self) -> list[str]:
        """Services, by name."""
        return sorted(self._services)

    def over_time(self, service: str, step_ns: int) -> Mapping[int, States]:
        """Return the states of *service* by the number of their step; *step_ns* is a multiple of the slices' length."""
        return _merged(self._services[service], step_ns // self.slice_ns)


def _merged(slices: Mapping[int, States], factor: int) -> dict[int, States]:
    """Return slices that are *factor* times as long."""
    merged: dict[int, States] = {}
    for number in sorted(slices):
        merged.setdefault(number // factor, States()).update(slices[number])
    return merged
