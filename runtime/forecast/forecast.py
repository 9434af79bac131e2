"""
A forecast for a test: what a policy does under a fault, as figures that an assertion can use.

    from runtime.testing import forecast

    def test_a_hanging_service_opens_the_circuit():
        assert forecast({"retry": {"max_attempts": 2}}, fault="hang", rps=5).opens_within(30)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import ceil, inf
from typing import Any

from middleware.stack import FixedSettings, SettingsSource, StackSettings
from runtime.connectors.registry import connectors
from runtime.settings import ResolvedSettings

from .models import model_of
from .schedule import Schedule, outcome_of, schedule_of
from .simulate import Operation, Run, Scenario, run_one, sections_of
from .statistics import Estimate, estimate

__all__ = ["Forecast", "Opening", "forecast"]

_SEEDS = 10
_LONGEST_WINDOW_S = 600  # the bound of circuit_breaker.window_s


class Opening:
    """
    Whether the circuit opens in time; true or false, and its text says why.

    Args:
        opens: It does, in every run.
        text: Why, for people.
    """

    def __init__(self, text: str, *, opens: bool) -> None:
        self._opens = opens
        self._text = text

    def __bool__(self) -> bool:
        return self._opens

    def __repr__(self) -> str:
        return f"<{self._text}>"


class Forecast:
    """
    What a policy does while the service is ill, by simulation; the same arguments give the same figures.

    Args:
        scenario: What is simulated.
        settings: The policy.
        seeds: The seeds of the runs.
    """

    def __init__(self, scenario: Scenario, settings: StackSettings, seeds: Sequence[int]) -> None:
        self.scenario = scenario
        self._settings = settings
        self._seeds = seeds
        self._model = model_of(scenario.fault)

    def __repr__(self) -> str:
        return f"<forecast for {self.scenario.fault} at {self.scenario.rps:g} calls/s>"

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs, one for each seed; made when a figure first needs them."""
        sections = sections_of(self._settings)
        return tuple(run_one(self.scenario, sections, seed) for seed in self._seeds)

    @cached_property
    def schedule(self) -> Schedule:
        """
        The schedule of one call.

        Raises:
            ValueError: The fault is by chance, or changes with the load.
        """
        scenario = self.scenario
        return schedule_of(self._settings, self._model, operation=scenario.operation, latency_s=scenario.latency_s)

    @property
    def worst_case_s(self) -> float:
        """Longest time of one call, in seconds; for a fault without a schedule its deadline, which bounds any call."""
        try:
            return self.schedule.worst_case_s
        except ValueError:
            return self._settings.deadline.total_s

    @property
    def success(self) -> float:
        """Share of the calls that succeed, 0 to 1: the mean over the seeds."""
        return self._success.mean

    @property
    def success_interval(self) -> tuple[float, float]:
        """The 95 % interval of `success`."""
        return max(0.0, self._success.low), min(1.0, self._success.high)

    @cached_property
    def _success(self) -> Estimate:
        return estimate([run.success for run in self.runs])

    @property
    def amplification(self) -> float:
        """Requests per call: the mean over the seeds."""
        return self._amplification.mean

    @property
    def amplification_interval(self) -> tuple[float, float]:
        """The 95 % interval of `amplification`."""
        return max(0.0, self._amplification.low), self._amplification.high

    @cached_property
    def _amplification(self) -> Estimate:
        return estimate([run.amplification for run in self.runs])

    @property
    def opens_at_s(self) -> tuple[float, float] | None:
        """Earliest and latest time at which a run's circuit first opened; None where in one of them it never did."""
        times = [run.opened_at_s for run in self.runs if run.opened_at_s is not None]
        return (min(times), max(times)) if len(times) == len(self.runs) else None

    def opens_within(self, seconds: float) -> Opening:
        """Return whether the circuit opens within *seconds* from the start of the fault, in each run."""
        rejects = self._settings.circuit_breaker.mode == "normal"
        times = [run.opened_at_s for run in self.runs if rejects and run.opened_at_s is not None]
        in_time = sum(at <= seconds for at in times)
        under = f"({self.scenario.fault}, {self.scenario.rps:g} calls/s)"
        if len(times) == len(self.runs):
            after = f"the circuit opens after {min(times):.1f} to {max(times):.1f} s {under}"
            return Opening(after, opens=in_time == len(self.runs))
        success = f"{self.success:.0%} of the calls succeed" if self.success > 0 else "every call fails"
        opens = f"opens within {seconds:g} s in {in_time} of {len(self.runs)} runs" if times else "never opens"
        return Opening(f"{success}, and the circuit {opens} {under}: {self.why()}", opens=False)

    def why(self) -> str:
        """Return what keeps the circuit from opening, with the settings behind it."""
        breaker, outcome = self._settings.circuit_breaker, outcome_of(self._model, self.scenario.latency_s)
        if breaker.mode != "normal":
            return f"circuit_breaker.mode is {breaker.mode}"
        if outcome is not None and not outcome.is_counted(self._settings.attempt.timeout_s):
            return f"the circuit breaker does not count {self.scenario.fault} as a failure (R31)"
        per_call = max(self.amplification, 1.0)
        seen = self.scenario.rps * per_call * breaker.window_s
        if seen < 1.5 * breaker.min_calls:
            declared, set_to = self.scenario.operation.max_attempts, self._settings.retry.max_attempts
            most = set_to if declared is None else min(declared, set_to)
            longer_s = ceil(1.5 * breaker.min_calls / (self.scenario.rps * per_call))
            cause = "none is repeated" if self.amplification <= 1 < most else f"retry.max_attempts {most}"
            remedy = f"set min_calls to {max(1, int(seen / 1.5))}"
            if longer_s <= _LONGEST_WINDOW_S:
                remedy += f" or window_s to {longer_s}"
            return (  # short: pytest shows 240 characters
                f"circuit_breaker.min_calls is {breaker.min_calls}, and a window of {breaker.window_s:g} s has about "
                f"{seen:.3g} attempts ({cause}); {remedy}"
            )
        return f"fewer than circuit_breaker.failure_ratio, {breaker.failure_ratio:g}, of the attempts in a window fail"


def forecast(
    policy: StackSettings | SettingsSource | Mapping[str, Any] | None = None,
    *,
    fault: str,
    rps: float,
    service: str = "service",
    operation: str = "",
    method: str | None = None,
    processes: int = 1,
    duration_s: float = 60.0,
    latency_s: float = 0.1,
    seed: int = 0,
    runs: int = _SEEDS,
) -> Forecast:
    """
    Forecast what *policy* does while a service is ill.

    Nothing is sent: the real stack runs in virtual time against a model of the service, in about a second of computing
    for 3 000 calls. It is made when a figure first needs it.

    Args:
        policy: Settings as a nested mapping, as in the settings file; `StackSettings`; or a source of settings, such as
            `ConnectorConfig.from_env().policies`. None for the defaults.
        fault: What is wrong with the service, from the first call to the last: `hang`, `503`, `429:30`, `refused`,
            `slow:2s`, `lost`, `half-body`, `flapping:5s`, or another model of docs/tuning.md.
        rps: Calls per second of each process.
        service: Whose settings apply, where *policy* has some for single services.
        operation: As *service*, for single operations. Of a registered connector it is called as its endpoint declares:
            method, idempotency and number of attempts (R11).
        method: HTTP method of the calls, which decides what is repeated (R11). None for that of the operation's
            endpoint, or GET where no connector has this name.
        processes: Processes that share the service.
        duration_s: How long they call, in seconds.
        latency_s: Latency of the service when it is well, in seconds.
        seed: Source of all chance.
        runs: How many runs the figures are the means of.

    Raises:
        ValueError: There is no such fault; the connector has no such operation, or declares no endpoint for it; or a
            number is not positive or not finite.
        ConfigError: A setting is wrong.
    """
    for name, value in (("rps", rps), ("processes", processes), ("duration_s", duration_s), ("runs", runs)):
        if not 0 < value < inf:
            raise ValueError(f"forecast.{name}: must be > 0 and finite, got {value!r}")
    if not 0 <= latency_s < inf:
        raise ValueError(f"forecast.latency_s: must be >= 0 and finite, got {latency_s!r}")
    source, settings = _settings(policy, service, operation)
    called = _called(source, service, operation)
    scenario = Scenario(
        fault=fault,
        rps=rps,
        processes=processes,
        duration_s=duration_s,
        ill_from_s=0.0,
        ill_until_s=duration_s,
        latency_s=latency_s,
        steady=True,  # a circuit that opens only by a burst is as good as inert
        operation=called if method is None else replace(called, method=method.upper(), idempotent=None),
    )
    return Forecast(scenario, settings, range(seed, seed + runs))


def _settings(
    policy: StackSettings | SettingsSource | Mapping[str, Any] | None, service: str, operation: str
) -> tuple[SettingsSource, StackSettings]:
    if isinstance(policy, StackSettings):
        source: SettingsSource = FixedSettings(policy)
    else:
        source = ResolvedSettings(policy) if policy is None or isinstance(policy, Mapping) else policy
    return source, source.of(service, operation)


def _called(source: SettingsSource, service: str, operation: str) -> Operation:
    connector = next((one for one in connectors() if one.name == service), None)
    if not operation or connector is None:
        return Operation(service=service, name=operation)
    try:
        called = Operation.of(connector, operation)
    except ValueError as error:
        raise ValueError(f"forecast.operation: {error}") from None
    # As in a client: a setting of the operation's own wins over what its endpoint declares.
    is_set = getattr(source, "is_set", None)
    own = is_set is not None and is_set(service, operation, "retry.max_attempts")
    return replace(called, max_attempts=None) if own else called
