"""A simulation as one self-contained HTML page: no other file, no network, no script; for phones, light and dark."""

from collections.abc import Mapping, Sequence
from html import escape

from runtime._internal.page_style import PAGE_STYLE

from .charts import Line, lines_svg, seconds
from .report import (
    compare,
    difference_text,
    figure_text,
    label_of,
    simulation_text,
    summary,
    traffic_text,
    verdict_text,
)
from .simulate import Run, Scenario

__all__ = ["render_simulation"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { --a: #2f66c4; --b: #b3560b; --ill: #f3e3e1; }
@media (prefers-color-scheme: dark) { :root { --a: #84aef5; --b: #f0a35e; --ill: #3a2826; } }
main { max-width: 62rem; }
h2 { margin: 1.5rem 0 .5rem; font-size: 1.05rem; }
figure { margin: 0; padding: .75rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.ill { fill: var(--ill); } .grid { stroke: var(--line); } .line { fill: none; stroke-width: 2; }
.a { --tone: var(--a); } .b { --tone: var(--b); } .plain { --tone: var(--soft); }
.line { stroke: var(--tone); } .band { fill: var(--tone); opacity: .18; } .dashed { stroke-dasharray: 5 4; }
.key { display: inline-block; width: 1.4rem; height: .25rem; margin: 0 .4rem 0 0; vertical-align: middle;
  background: var(--tone); } .key.box { height: .8rem; background: var(--ill); border: 1px solid var(--line); }
.legend > span { margin-right: 1.25rem; white-space: nowrap; }
table { width: 100%; border-collapse: collapse; background: var(--card); border: 1px solid var(--line); }
th, td { padding: .4rem .6rem; border-top: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; } td { font-variant-numeric: tabular-nums; }
.real { color: var(--good); font-weight: 600; }
pre { overflow-x: auto; padding: .75rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  font: .8125rem/1.4 ui-monospace, "DejaVu Sans Mono", monospace; }
@media (max-width: 40rem) { main { padding: .75rem; } thead { display: none; } tr { display: block; padding: .4rem 0;
  border-top: 1px solid var(--line); } th, td { display: block; border: 0; padding: .1rem .6rem; }
  td::before { content: attr(data-of) " "; color: var(--soft); } svg text { font-size: 20px; } }
"""


def render_simulation(scenario: Scenario, runs: Mapping[str, Sequence[Run]], *, title: str) -> str:
    """
    Draw the runs of one policy, or of two, as a page.

    Args:
        scenario: What was simulated.
        runs: The runs of each policy by its name, in the order of the seeds.
        title: Title of the page.
    """
    setting, seeds = scenario.setting, len(next(iter(runs.values())))
    ill = (setting.ill_from_s, setting.ill_until_s)
    success, requests = [], []
    for (name, found), tone in zip(runs.items(), "ab", strict=False):
        shares = [_shares(run) for run in found]
        success.append(_line(name, tone, shares))
        requests.append(_line(name, tone, [[float(second[2]) for second in run.by_second[:-1]] for run in found]))
    first = next(iter(runs.values()))
    begun = [sum(run.by_second[index][0] for run in first) / seeds for index in range(len(first[0].by_second) - 1)]
    offered = Line("calls", "plain", begun, dashed=True)
    top = max(1.0, *(max(line.high) for line in requests), *begun)
    said = (
        f"{traffic_text(scenario)} for {seconds(scenario.duration_s)}; the service is ill ({scenario.fault}) from "
        f"{seconds(ill[0])} to {seconds(ill[1])}; {seeds} seeds."
    )
    keys = "".join(
        f'<span class="{tone}"><span class="key"></span>{escape(name)}</span>'
        for name, tone in zip(runs, "ab", strict=False)
    )
    legend = f'<p class="legend soft">{keys}<span><span class="key box"></span>ill</span></p>'
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>{PAGE_STYLE}{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="soft">{escape(said)}</p>
{_table(scenario, runs)}
<h2>Success of the calls that began in each second</h2>
{legend}
<figure>{lines_svg("Success over time", success, top=1.0, ill=ill, percent=True)}</figure>
<h2>Requests per second at the service</h2>
<p class="soft">The dashed line is calls per second. Bands are from the least to the most of the seeds.</p>
<figure>{lines_svg("Requests per second over time", [offered, *requests], top=top, ill=ill, percent=False)}</figure>
<h2>As text</h2>
<pre>{escape(simulation_text(scenario, runs))}</pre>
</main>
</body>
</html>
"""


def _shares(run: Run) -> list[float]:
    """Return the success of each second; of a second without calls that of the one before."""
    shares, last = [], 1.0
    for begun, done, _, _ in run.by_second[:-1]:
        last = done / begun if begun else last
        shares.append(last)
    return shares


def _line(name: str, tone: str, series: Sequence[Sequence[float]]) -> Line:
    columns = list(zip(*series, strict=True))
    middle = [sum(column) / len(column) for column in columns]
    return Line(name, tone, middle, [min(column) for column in columns], [max(column) for column in columns])


def _table(scenario: Scenario, runs: Mapping[str, Sequence[Run]]) -> str:
    names = list(runs)
    figures = {name: summary(scenario, found) for name, found in runs.items()}
    differences = compare(scenario, runs[names[0]], runs[names[1]]) if len(names) > 1 else {}
    heads = ["", *names, *(["difference (95 % interval)", "real or noise"] if differences else [])]
    rows = []
    for figure in figures[names[0]]:
        cells = [f'<th scope="row">{label_of(figure)}</th>']
        cells += [f'<td data-of="{escape(name)}:">{figure_text(figure, figures[name][figure])}</td>' for name in names]
        if differences:
            found = differences[figure]
            is_real = ' class="real"' if found.verdict == "real" else ""
            cells.append(f'<td data-of="difference:">{difference_text(figure, found)}</td>')
            cells.append(f"<td{is_real}>{verdict_text(found)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{chr(10).join(rows)}\n</tbody></table>"
