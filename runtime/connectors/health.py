"""
Health of a bundle: what this process knows of its services without calling them.

Names of services, operations, codes and settings alone: no id of a user or of a call, no URL of the platform, no
text of a response.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from runtime.settings import EffectiveSetting

__all__ = ["BundleHealth", "LastError", "ServiceHealth"]


@dataclass(frozen=True, slots=True)
class LastError:
    """
    The last call of a service that failed, those aside whose arguments could not be sent.

    Attributes:
        code: Code of the error.
        operation: Operation that failed.
        status: Status of the response; None where none arrived.
        age_s: Seconds since then.
    """

    code: str
    operation: str
    status: int | None
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealth:
    """
    State of one service, as this process sees it.

    Attributes:
        breakers: State of each circuit breaker by its name.
        budget_balance: Retries that the budget still allows; None where it is off.
        calls_in_flight: Calls begun and not ended.
        attempts_in_flight: Attempts with a permit of the bulkhead.
        attempts_queued: Attempts that wait for one.
        attempts_limit: Attempts that the bulkhead allows at a time now.
        last_error: The last failed call; None where none has failed yet.
        settings: Settings in force for the service that are given somewhere, with their origins.
        settings_problems: Why the settings file was rejected when it was last looked at, so that earlier ones are in
            force; empty where it was not.
    """

    breakers: Mapping[str, str]
    budget_balance: float | None
    calls_in_flight: int
    attempts_in_flight: int
    attempts_queued: int
    attempts_limit: int
    last_error: LastError | None
    settings: tuple[EffectiveSetting, ...]
    settings_problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the state, JSON-ready."""
        return {
            "breakers": dict(self.breakers),
            "budget_balance": self.budget_balance,
            "calls_in_flight": self.calls_in_flight,
            "attempts": {
                "in_flight": self.attempts_in_flight,
                "queued": self.attempts_queued,
                "limit": self.attempts_limit,
            },
            "last_error": None if self.last_error is None else asdict(self.last_error),
            "settings": {
                "state": "rejected" if self.settings_problems else "in_force",
                "problems": list(self.settings_problems),
                "given": {row.name: {"value": row.value, "origin": row.origin} for row in self.settings},
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleHealth:
    """
    State of a bundle.

    Attributes:
        mode: `managed` or `self_hosted`.
        state: `open`, `draining` or `closed`.
        services: State of each service by its name; empty for mocks.
    """

    mode: Literal["managed", "self_hosted"]
    state: Literal["open", "draining", "closed"]
    services: Mapping[str, ServiceHealth]

    @property
    def is_ready(self) -> bool:
        """
        True while calls may begin.

        An open circuit does not change it: the service fails for every instance of the host, and what needs no such
        service still works.
        """
        return self.state == "open"

    def to_json(self) -> dict[str, Any]:
        """Return the state, JSON-ready."""
        services = {name: service.to_json() for name, service in self.services.items()}
        return {"ready": self.is_ready, "state": self.state, "mode": self.mode, "services": services}
