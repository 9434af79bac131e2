"""What one call does under a fault, and what the traffic of a process does to a service that has it."""

from dataclasses import dataclass, replace
from typing import Any

from middleware.stack import StackSettings

from .forecast import Forecast
from .models import Model, model_of
from .schedule import Schedule, schedule_of
from .simulate import READ, Operation, Scenario

__all__ = ["Explanation", "Traffic", "explain"]

_SEEDS = range(5)
_DURATION_S = 60.0
_SETTLED_S = 1  # after a circuit has opened, until its requests are counted


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """
    Requests per second that one process sends while every request meets the fault.

    Attributes:
        rps: Its calls per second.
        without_budget: Requests per second while the circuit is closed, were there no retry budget.
        with_budget: The same with the budget of the settings (R18), after its first window.
        opens_at_s: Earliest and latest time at which the circuit first opens, by simulation; None where it does not.
        why_closed: What keeps it closed, or not open in each run; empty where it opens.
        when_open: Requests per second from then on; None where it does not open.
        then: Share of the calls that begin then, by the code of their error, `success` among them.
    """

    rps: float
    without_budget: float
    with_budget: float
    opens_at_s: tuple[float, float] | None
    why_closed: str
    when_open: float | None
    then: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """
    One call and its traffic.

    Attributes:
        name: Service and operation.
        settings: The settings in force.
        operation: What is called.
        schedule: The schedule of one call.
        traffic: None without a rate.
    """

    name: str
    settings: StackSettings
    operation: Operation
    schedule: Schedule
    traffic: Traffic | None

    def document(self) -> dict[str, Any]:
        """Return what it says as JSON values."""
        schedule, traffic = self.schedule, self.traffic
        return {
            "name": self.name,
            "fault": schedule.fault,
            "attempt_timeout_s": self.settings.attempt.timeout_s,
            "deadline_s": schedule.deadline_s,
            "attempts": [
                {
                    "number": one.number,
                    "is_hedge": one.is_hedge,
                    "starts_s": list(one.starts_s),
                    "ends_s": list(one.ends_s),
                    "always": one.always,
                    "exact": one.exact,
                }
                for one in schedule.attempts
            ],
            "never": [one._asdict() for one in schedule.never],
            "fastest_s": schedule.fastest_s,
            "typical_s": schedule.typical_s,
            "worst_case_s": schedule.worst_case_s,
            "attempts_per_call": schedule.attempts_per_call,
            "succeeds": schedule.succeeds,
            "fails": schedule.fails,
            "traffic": None
            if traffic is None
            else {
                "rps": traffic.rps,
                "without_budget": traffic.without_budget,
                "with_budget": traffic.with_budget,
                "opens_at_s": None if traffic.opens_at_s is None else list(traffic.opens_at_s),
                "why_closed": traffic.why_closed,
                "when_open": traffic.when_open,
                "then": traffic.then,
            },
        }


def explain(
    settings: StackSettings,
    fault: str,
    *,
    operation: Operation = READ,
    rps: float | None = None,
    latency_s: float = 0.1,
) -> Explanation:
    """
    Explain one call under *fault*.

    Args:
        settings: Settings in force for the operation.
        fault: As for `schedule.schedule_of`.
        operation: What is called.
        rps: Calls per second of one process; None for no traffic.
        latency_s: Time to a response, where the fault does not say it.

    Raises:
        ValueError: There is no such fault, or a single call has no schedule under it.
    """
    model = model_of(fault)
    schedule = schedule_of(settings, model, operation=operation, latency_s=latency_s)
    name = f"{operation.service}.{operation.name}".rstrip(".")
    traffic = None if rps is None else _traffic(settings, model, operation, rps, latency_s)
    return Explanation(name=name, settings=settings, operation=operation, schedule=schedule, traffic=traffic)


def _traffic(settings: StackSettings, model: Model, operation: Operation, rps: float, latency_s: float) -> Traffic:
    unguarded = replace(
        settings,
        circuit_breaker=replace(settings.circuit_breaker, mode="disabled"),
        budget=replace(settings.budget, enabled=False),
    )
    lone = schedule_of(unguarded, model, operation=operation, latency_s=latency_s)
    without = rps * lone.attempts_per_call
    budget = settings.budget
    most = rps + budget.min_per_s + budget.ratio * rps if budget.enabled else without  # R18
    scenario = Scenario(
        fault=model.text,
        rps=rps,
        duration_s=_DURATION_S,
        ill_from_s=0.0,
        ill_until_s=_DURATION_S,
        latency_s=latency_s,
        steady=True,
        operation=operation,
    )
    forecast = Forecast(scenario, settings, _SEEDS)
    opens = forecast.opens_at_s if settings.circuit_breaker.mode == "normal" else None
    after, then = _afterwards(forecast) if opens is not None else (None, {})
    sent = 0.0 if settings.circuit_breaker.mode == "forced_open" else 1.0
    return Traffic(
        rps=rps,
        without_budget=without * sent,
        with_budget=min(most, without) * sent,
        opens_at_s=opens,
        why_closed="" if opens is not None else forecast.why(),
        when_open=after,
        then=then,
    )


def _afterwards(forecast: Forecast) -> tuple[float | None, dict[str, float]]:
    """Return the requests per second after the circuits opened, and what the calls that began then got."""
    seconds = requests = calls = rejected = done = 0
    for run in forecast.runs:
        first = int(run.opened_at_s or 0) + _SETTLED_S
        for begun, succeeded, sent, refused in run.by_second[first : int(_DURATION_S)]:
            seconds, requests, calls = seconds + 1, requests + sent, calls + begun
            rejected, done = rejected + refused, done + succeeded
    if not seconds or not calls:
        return None, {}
    shares = {"CIRCUIT_OPEN": rejected / calls, "success": done / calls}
    shares["other errors"] = 1 - sum(shares.values())
    return requests / seconds, {name: share for name, share in shares.items() if share > 0}
