"""
`python3 -m runtime demo --tuning`: a bad policy, from the trace that shows it to the trace that shows it mended.

The same traffic runs all the time. What is said of a policy before it is in force is what `config explain` and `config
simulate` print.
"""

import asyncio
import logging
import os
import tempfile
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

from middleware import PlatformError
from middleware.telemetry import semconv
from runtime.connectors.loader import ConnectorBundle, ConnectorConfig, load_connectors
from runtime.forecast.explain import explain
from runtime.forecast.report import compare, explanation_text, simulation_text
from runtime.forecast.simulate import Operation, Run, Scenario, run_all, sections_of
from runtime.gateway import DEFAULT_API_KEY, Fault, GatewayProcess
from runtime.settings import LiveSettings, ResolvedSettings
from runtime.traces.calls import is_call
from runtime.traces.model import Trace, call_traces, traces_of

from .story import Recorder, Step

__all__ = ["TuningStory"]

BAD = """\
[attempt]
timeout_s = 3.0

[deadline]
total_s = 3.0
"""
NEW = """\
[attempt]
timeout_s = 0.5

[deadline]
total_s = 3.0

[budget]
ratio = 1.0
"""
_LOG = logging.getLogger("mozaiks.mode")
_SERVICE, _OPERATION = "identity", "get_user"
_WIDTH = 100
_RATE, _CALLS = 40, 200
_SLOW_S, _SLOW_SHARE = 5.0, 0.3
_MODEL = f"spikes:{_SLOW_SHARE:.0%}/{_SLOW_S:g}s"
_SIMULATED_S = 5
_WITHIN = 0.1  # of 200 calls, three standard deviations


class TuningStory:
    """
    The steps, in order.

    Attributes:
        most_connections: Connections that the gateway may see at a time: each call that waits has its own.
    """

    most_connections = _RATE * 3

    def __init__(self, gateway: GatewayProcess, url: str, recorder: Recorder, show: Callable[[Step], None]) -> None:
        self._gateway = gateway
        self._url = url
        self._recorder = recorder
        self._show = show
        self._steps: list[Step] = []
        self._success = 0.0
        self._predicted = 0.0

    async def run(self) -> list[Step]:
        """Run all steps; returns them."""
        with tempfile.TemporaryDirectory() as folder:
            file, new = Path(folder) / "settings.toml", Path(folder) / "new.toml"
            file.write_text(BAD)
            new.write_text(NEW)
            config = ConnectorConfig(
                managed_mode=True,
                gateway_base_url=self._url,
                api_key=DEFAULT_API_KEY,
                telemetry=self._recorder.handle.telemetry,
                policies=LiveSettings(file=file),
            )
            log = _Lines()
            _LOG.addHandler(log)
            self._gateway.script(Fault(kind="latency", seconds=_SLOW_S, share=_SLOW_SHARE, times=0))
            async with load_connectors(config) as bundle:
                _LOG.removeHandler(log)
                warned = [line.replace(f"{folder}{os.sep}", "") for line in log.lines]
                await self._bad(bundle, warned)
                await asyncio.to_thread(self._explain, file)  # both run event loops of their own
                await asyncio.to_thread(self._simulate, file, new)
                await self._better(bundle, new, file)
        return self._steps

    def _finish(self, step: Step) -> None:
        self._steps.append(step)
        self._show(step)

    async def _traffic(self, bundle: ConnectorBundle) -> list[Trace]:
        """Make calls at the rate; returns their traces."""
        before = len(self._recorder.spans())

        async def one() -> None:
            try:
                await bundle.identity.get_user("user_2")
            except PlatformError:
                return  # its span says so

        async with asyncio.TaskGroup() as tasks:
            for _ in range(_CALLS):
                tasks.create_task(one())
                await asyncio.sleep(1 / _RATE)
        return traces_of(self._recorder.spans()[before:])

    async def _bad(self, bundle: ConnectorBundle, warned: list[str]) -> None:
        step = Step(title=f"{_RATE} calls/s; {_SLOW_SHARE:.0%} of the responses take {_SLOW_S:g} s; a bad policy")
        step.output = f"$ cat settings.toml\n{BAD}\nlogged at the start:\n" + "".join(
            f"{textwrap.fill(line, _WIDTH)}\n" for line in warned
        )
        traces = await self._traffic(bundle)
        self._success = _success(traces)
        failed = [trace for trace in traces if trace.failed]
        _keep(step, failed[:1])
        step.check(f"{self._success:.0%} of {len(traces)} calls succeeded", len(traces) == _CALLS and bool(failed))
        step.check("no failed call had a second attempt", all(trace.attempts == 1 for trace in failed))
        self._finish(step)

    def _explain(self, file: Path) -> None:
        step = Step(title="Why: the attempt may take as long as the call")
        settings = ResolvedSettings(file=file).of(_SERVICE, _OPERATION)
        found = explain(settings, f"slow:{_SLOW_S:g}s", operation=_operation(), latency_s=0.1)
        command = f"config explain {_SERVICE} {_OPERATION} --fault slow:{_SLOW_S:g}s --file settings.toml"
        step.output = f"$ python3 -m runtime {command}\n{explanation_text(found)}"
        step.check("a second attempt can never start", len(found.schedule.attempts) == 1)
        self._finish(step)

    def _simulate(self, file: Path, new: Path) -> None:
        step = Step(title="Before the fact: what a shorter attempt and a larger retry budget would do")
        scenario = Scenario(
            fault=_MODEL,
            rps=_RATE,
            duration_s=_SIMULATED_S,
            ill_from_s=0.0,
            ill_until_s=_SIMULATED_S,
            operation=_operation(),
        )
        policies = {one.name: sections_of(ResolvedSettings(file=one).of(_SERVICE, _OPERATION)) for one in (file, new)}
        runs: dict[str, list[Run]] = {name: [] for name in policies}
        workers = len(os.sched_getaffinity(0))
        for index, run in run_all([(scenario, one) for one in policies.values()], range(10), workers=workers):
            runs[list(policies)[index]].append(run)
        runs = {name: sorted(found, key=lambda run: run.seed) for name, found in runs.items()}
        command = (
            f"config simulate {_SERVICE} {_OPERATION} --fault {_MODEL} --rps {_RATE} --duration {_SIMULATED_S}"
            f" --ill 0-{_SIMULATED_S} --file settings.toml --vs new.toml"
        )
        step.output = f"$ cat new.toml\n{NEW}\n$ python3 -m runtime {command}\n{simulation_text(scenario, runs)}"
        now, self._predicted = (fmean(run.success for run in found) for found in runs.values())
        difference = compare(scenario, runs[file.name], runs[new.name])["success"]
        step.check(f"success would rise from {now:.0%} to {self._predicted:.0%}", difference.verdict == "real")
        step.check(
            f"the prediction for the bad policy, {now:.0%}, is near what was measured, {self._success:.0%}",
            abs(now - self._success) <= _WITHIN,
        )
        self._finish(step)

    async def _better(self, bundle: ConnectorBundle, new: Path, file: Path) -> None:
        step = Step(title="The file is replaced while the traffic runs")
        step.output = "$ mv new.toml settings.toml\n"
        traffic = asyncio.create_task(self._traffic(bundle))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(new.replace, file)
        traces = await traffic
        by_hash: dict[str, list[Trace]] = {}
        for trace in traces:
            by_hash.setdefault(_hash(trace), []).append(trace)
        step.check(f"two hashes on the call spans: {', then '.join(by_hash)}", len(by_hash) == 2)  # noqa: PLR2004
        better = list(by_hash.values())[-1]
        success = _success(better)
        repeated = [trace for trace in better if trace.attempts > 1 and not trace.failed]
        _keep(step, repeated[:1])
        step.check(
            f"{success:.0%} of the {len(better)} calls with the new policy succeeded; {self._success:.0%} before",
            success > self._success,
        )
        step.check(f"predicted were {self._predicted:.0%}", abs(success - self._predicted) <= _WITHIN)
        self._finish(step)


class _Lines(logging.Handler):
    """Keeps what is logged; else Python would print it between the steps."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


def _operation() -> Operation:
    return Operation(service=_SERVICE, name=_OPERATION)


def _keep(step: Step, traces: list[Trace]) -> None:
    step.traces = traces
    step.calls = call_traces([span for trace in traces for span in trace.spans])


def _success(traces: Iterable[Trace]) -> float:
    return fmean(not trace.failed for trace in traces)


def _hash(trace: Trace) -> str:
    return str(next(span for span in trace.spans if is_call(span)).attributes[semconv.SETTINGS_HASH])
