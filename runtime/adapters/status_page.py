"""
The health of a bundle as one self-contained HTML page: no other file, no network, no script.

It shows what `BundleHealth` has and nothing else, so no id of a user or of a call, no URL, no text of a response.
"""

import base64
import hashlib
from html import escape

from runtime._internal.page_style import PAGE_STYLE
from runtime.connectors.health import BundleHealth, LastError, ServiceHealth
from runtime.settings import EffectiveSetting

__all__ = ["STATUS_HEADERS", "render_status"]

_STYLE = """
header p { max-width: 46rem; }
ul, ol { list-style: none; margin: 0; padding: 0; }
.services { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: .75rem;
  align-items: start; }
.service { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem .9rem;
  min-width: 0; }
.service h2 { margin: 0 0 .4rem; font-size: 1.05rem; display: flex; justify-content: space-between; gap: 1rem; }
.service h2 span { font-size: .9375rem; }
dl { display: grid; grid-template-columns: 6.5rem minmax(0, 1fr); gap: .3rem .8rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
details { grid-column: 1 / -1; } summary { cursor: pointer; padding: .35rem 0; min-height: 1.5rem; }
li, .bad { overflow-wrap: anywhere; }
.whole { white-space: nowrap; }
details li { padding: .25rem 0; border-top: 1px solid var(--line); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 1px; border-radius: 4px; }
@media (max-width: 44rem) { header, main { padding: .75rem; } }
"""

_ALL_STYLE = PAGE_STYLE + _STYLE
_DIGEST = base64.b64encode(hashlib.sha256(_ALL_STYLE.encode()).digest()).decode()
STATUS_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
"""Headers of the response that has the page."""

_TONES = {"forced_open": "bad", "open": "bad", "half_open": "unsure", "closed": "good"}
"""Tone of the states of a circuit breaker, the worst first; of the others it is `plain`."""
_MINUTE_S, _HOUR_S = 60, 3600


def render_status(health: BundleHealth, *, process: int) -> str:
    """
    Draw *health* as a page.

    Args:
        health: The state of a bundle.
        process: Id of the process; the state is that of this worker of the host alone.
    """
    state = "ready" if health.is_ready else health.state
    tone = "good" if health.is_ready else "bad"
    services = "\n".join(_service(name, one) for name, one in health.services.items())
    body = f'<ul class="services">\n{services}\n</ul>' if services else f"<p>{_NO_SERVICES}</p>"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Connectors: {escape(state)}</title>
<style>{_ALL_STYLE}</style>
</head>
<body>
<header>
<h1>Connectors: <span class="{tone}">{escape(state)}</span></h1>
<p>Mode <code>{escape(health.mode)}</code>, worker process <code>{process}</code>.</p>
<p class="soft">This is what one worker had seen of the platform when the page was loaded; each worker has circuit
breakers and budgets of its own.</p>
</header>
<main>
{body}
</main>
</body>
</html>
"""


_NO_SERVICES = "Mocks respond to all calls: there are no services to show."


def _service(name: str, service: ServiceHealth) -> str:
    states = list(service.breakers.values())
    worst = next((state for state in _TONES if state in states), states[0] if states else "closed")
    breakers = "".join(f"<li>{_name(key)}{_state(state)}</li>" for key, state in service.breakers.items())
    budget = "off" if service.budget_balance is None else f"{service.budget_balance:.1f} retries left"
    waiting = f", {service.attempts_queued} queued" if service.attempts_queued else ""
    rows = {
        "Circuits": f"<ul>{breakers}</ul>",
        "Retry budget": budget,
        "Calls": f"{service.calls_in_flight} in flight",
        "Attempts": f"{service.attempts_in_flight} of {service.attempts_limit} permits{waiting}",
        "Last error": _last_error(service.last_error),
    }
    listed = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in rows.items())
    return f"""<li class="service"><h2>{escape(name)} {_state(worst, "circuit ")}</h2>
<dl>{listed}</dl>
{_settings(service)}</li>"""


def _name(breaker: str) -> str:
    return f"<code>{escape(breaker)}</code> " if breaker else ""


def _state(state: str, noun: str = "") -> str:
    return f'<span class="{_TONES.get(state, "plain")}">{noun}{escape(state.replace("_", " "))}</span>'


def _last_error(error: LastError | None) -> str:
    if error is None:
        return '<span class="soft">none</span>'
    status = "" if error.status is None else f" ({error.status})"
    when = f'<span class="whole">{_age(error.age_s)} ago</span>'
    return f"<code>{escape(error.code)}</code>{status}<br>{escape(error.operation)}, {when}"


def _age(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds < _HOUR_S else f"{seconds / _HOUR_S:.1f} h"


def _settings(service: ServiceHealth) -> str:
    number = len(service.settings)
    if not number and not service.settings_problems:
        return '<p class="soft">Settings: all defaults</p>'
    rejected = ""
    if service.settings_problems:
        problems = "".join(f"<li>{escape(problem)}</li>" for problem in service.settings_problems)
        rejected = f'<div class="bad">{_REJECTED}<ul>{problems}</ul></div>'
    counted = f"{number} setting{'' if number == 1 else 's'} given"
    given = "".join(map(_setting, service.settings))
    return f"{rejected}<details><summary>{counted}</summary><ul>{given}</ul></details>"


_REJECTED = "The settings file is rejected, earlier settings are in force:"


def _setting(row: EffectiveSetting) -> str:
    value = f"<code>{escape(row.name)} = {escape(row.shown)}</code>"
    return f'<li>{value}<br><span class="soft">{escape(row.origin)}</span></li>'
