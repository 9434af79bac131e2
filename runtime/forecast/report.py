"""Explanations and simulations as text for a terminal."""

from collections.abc import Mapping, Sequence

from .charts import bar, never_text, seconds
from .explain import Explanation, Traffic
from .simulate import Run, Scenario
from .statistics import Difference, Estimate, compared, estimate

__all__ = [
    "compare",
    "difference_text",
    "explanation_text",
    "figure_text",
    "label_of",
    "simulation_text",
    "summary",
    "traffic_text",
    "verdict_text",
]

_BAR = 36
_NAMES = {
    "success": "success",
    "amplification": "requests per call",
    "p50_s": "latency, 50 %",
    "p95_s": "latency, 95 %",
    "p99_s": "latency, 99 %",
    "rejected": "rejected by a guard",
    "recovery_s": "time to recover",
}


# --- one call ---------------------------------------------------------------------------------------------------------


def explanation_text(explanation: Explanation) -> str:
    """Return an explanation as text, with the schedule as bars."""
    schedule, settings = explanation.schedule, explanation.settings
    times = f"attempt timeout {seconds(settings.attempt.timeout_s)}, deadline {seconds(schedule.deadline_s)}"
    lines = [f"{explanation.name} ({explanation.operation.method}) under {schedule.fault}: {times}", ""]
    if schedule.attempts:
        rows = [("attempt", "starts", "ends", f"0 {'to ' + seconds(schedule.worst_case_s):>{_BAR - 2}}")]
        for one in schedule.attempts:
            name = f"{one.number} {'hedge' if one.is_hedge else '' if one.always else 'maybe'}".rstrip()
            mark = "" if one.exact else "~"
            drawn = bar(one, max(schedule.worst_case_s, 1e-3), _BAR)
            rows.append((name, mark + _span(one.starts_s), mark + _span(one.ends_s), drawn))
        lines += _aligned(rows)
        lines.append("")
        if not all(one.exact for one in schedule.attempts):
            lines.append("~ bounds that are never exceeded and perhaps not reached")
    lines += [never_text(one.first, one.last, one.text) for one in schedule.never]
    result = (
        "succeeds or fails" if schedule.succeeds and schedule.fails else "succeeds" if schedule.succeeds else "fails"
    )
    after = [seconds(one) for one in (schedule.fastest_s, schedule.typical_s, schedule.worst_case_s)]
    lines.append(f"the call {result} after {after[0]} at the earliest, {after[1]} typically, {after[2]} at worst")
    if explanation.traffic is not None:
        lines += ["", *_traffic(explanation.traffic, explanation)]
    return "\n".join(lines) + "\n"


def _traffic(traffic: Traffic, explanation: Explanation) -> list[str]:
    breaker = explanation.settings.circuit_breaker
    refused = explanation.schedule.fault == "refused"  # attempts that are no requests: nothing reads them
    unit = "connection attempts/s" if refused else "requests/s"
    requests = f"{traffic.with_budget:.3g} {unit}, without the retry budget {traffic.without_budget:.3g}"
    lines = [f"at {traffic.rps:g} calls/s of one process, while the circuit is closed: {requests}"]
    if traffic.opens_at_s is None:
        return [*lines, f"the circuit does not open: {traffic.why_closed}"]
    open_s = f"{seconds(breaker.open_s)} to {seconds(breaker.open_s * 1.2)}"
    if refused:  # R33
        open_s = _span((min(0.8, breaker.open_s), min(0.95, breaker.open_s * 1.2)))
    lines.append(f"the circuit opens after {_span(traffic.opens_at_s, digits=1)}, each time for {open_s}")
    if traffic.when_open is not None:
        shares = ", ".join(f"{share:.0%} {name}" for name, share in traffic.then.items())
        sent = "" if refused else f"{traffic.when_open:.2g} requests/s; "
        lines.append(f"from then on {sent}the calls get: {shares}")
    return lines


def _span(bounds: tuple[float, float], digits: int = 3) -> str:
    low, high = (seconds(round(one, digits)) for one in bounds)
    return low if low == high else f"{low} to {high}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, each column as wide as its longest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _listed(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the cells of each row below its first one, each with the head of its column."""
    (title, *heads), *figures = rows
    width = max(map(len, heads))
    lines = [title]
    for label, *cells in figures:
        lines.append(label)
        lines += [f"  {head:<{width}}  {cell}" for head, cell in zip(heads, cells, strict=True)]
    return lines


# --- traffic ----------------------------------------------------------------------------------------------------------


def _values(scenario: Scenario, runs: Sequence[Run]) -> dict[str, list[float]]:
    values = {
        "success": [run.success for run in runs],
        "amplification": [run.amplification for run in runs],
        "p50_s": [run.latencies_s[0] for run in runs],
        "p95_s": [run.latencies_s[1] for run in runs],
        "p99_s": [run.latencies_s[2] for run in runs],
        "rejected": [run.rejected / max(1, run.calls) for run in runs],
    }
    if scenario.shows_recovery:
        left = scenario.duration_s - scenario.setting.ill_until_s  # counts for a run that does not recover
        values["recovery_s"] = [left if run.recovery_s is None else run.recovery_s for run in runs]
    return values


def summary(scenario: Scenario, runs: Sequence[Run]) -> dict[str, Estimate]:
    """Return each figure with its interval and its spread over the seeds, in the order of the report."""
    return {name: estimate(values) for name, values in _values(scenario, runs).items()}


def compare(scenario: Scenario, first: Sequence[Run], second: Sequence[Run]) -> dict[str, Difference]:
    """Return how the second policy differs from the first one, figure by figure; runs in the order of their seeds."""
    before, after = (_values(scenario, runs) for runs in (first, second))
    return compared({name: (before[name], after[name]) for name in before})


def simulation_text(scenario: Scenario, runs: Mapping[str, Sequence[Run]], *, columns: int | None = None) -> str:
    """
    Return the runs of one policy, or of two, as a table.

    Args:
        scenario: What was simulated.
        runs: Policies by their name.
        columns: Width of the terminal; a table that is wider becomes a list. None for a table of any width.
    """
    names, setting = list(runs), scenario.setting
    seeds = len(runs[names[0]])
    calls = sum(run.calls for run in runs[names[0]]) // seeds
    ill = f"from {seconds(setting.ill_from_s)} to {seconds(setting.ill_until_s)} of {seconds(scenario.duration_s)}"
    lines = [
        f"{scenario.fault} {ill}: {traffic_text(scenario)}, {calls} calls, {seeds} seed{'s' if seeds > 1 else ''}",
        "",
    ]
    figures = {name: summary(scenario, found) for name, found in runs.items()}
    heads = ["mean of the seeds (least to most)", *(f"{name}" for name in names)]
    differences = compare(scenario, runs[names[0]], runs[names[1]]) if len(names) > 1 else {}
    rows = [[*heads, *(["difference (95 % interval)", ""] if differences else [])]]
    for figure in figures[names[0]]:
        row = [label_of(figure), *(figure_text(figure, figures[name][figure]) for name in names)]
        if differences:
            found = differences[figure]
            row += [difference_text(figure, found), verdict_text(found)]
        rows.append(row)
    table = _aligned(rows)
    lines += table if columns is None or max(map(len, table)) <= columns else _listed(rows)
    lines.append("")
    for name in names:
        never = sum(run.recovery_s is None for run in runs[name])
        opened = [run.opened_at_s for run in runs[name] if run.opened_at_s is not None]
        opens = f"the first circuit opens at {_span((min(opened), max(opened)), 1)}" if opened else "no circuit opens"
        recovers = f"does not recover in {never} of {seeds} runs" if never else "recovers in each run"
        if not scenario.shows_recovery:
            recovers = "no time left to recover"
        lines.append(f"{name}: {opens}; {recovers}; errors of the callers: {_errors(runs[name])}")
    if seeds == 1:
        lines.append("one seed says nothing about chance: use --seeds 10")
    return "\n".join(lines) + "\n"


def traffic_text(scenario: Scenario) -> str:
    """Return who calls, and how often."""
    if scenario.processes == 1:
        return f"{scenario.rps:g} calls/s of one process"
    in_all = scenario.rps * scenario.processes
    return f"{scenario.rps:g} calls/s of each of {scenario.processes} processes, {in_all:g} in all"


def _errors(runs: Sequence[Run]) -> str:
    total: dict[str, int] = {}
    for run in runs:
        for code, count in run.errors.items():
            total[code] = total.get(code, 0) + count
    calls = sum(run.calls for run in runs)
    most = sorted(total.items(), key=lambda item: -item[1])
    return ", ".join(f"{code} {count / calls:.1%}" for code, count in most) or "none"


def _shown(figure: str, value: float, *, signed: bool = False) -> str:
    sign = "+" if signed and value > 0 else ""
    if figure in {"success", "rejected"}:
        return f"{sign}{value * 100:.1f} %"
    if figure == "amplification":
        return f"{sign}{value:.3f}"
    return f"{sign}{value:.3g} s"


def figure_text(figure: str, found: Estimate) -> str:
    """Return a figure with its spread over the seeds."""
    spread = "" if found.least == found.most else f" ({_shown(figure, found.least)} to {_shown(figure, found.most)})"
    return _shown(figure, found.mean) + spread


def difference_text(figure: str, found: Difference) -> str:
    """Return a difference with its interval."""
    if found.verdict == "same":
        return "0"
    low, high = (_shown(figure, one, signed=True) for one in (found.low, found.high))
    return f"{_shown(figure, found.mean, signed=True)} ({low} to {high})"


def verdict_text(found: Difference) -> str:
    """Return what a difference is, with its p."""
    return found.verdict if found.verdict in {"same", "too few seeds"} else f"{found.verdict} (p {found.p:.2g})"


def label_of(figure: str) -> str:
    """Return the name of a figure for people."""
    return _NAMES[figure]
