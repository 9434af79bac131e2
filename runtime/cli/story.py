"""What the stories of both demos are made of: steps, what was checked in them, and how they are shown."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the first line of a demo must not wait for these imports
    from rich.console import Console

    from runtime.traces.model import CallTrace, Trace

__all__ = ["Step", "make_console", "save_picture", "show_step", "verdict"]

_WIDTH = 100  # where output is no terminal


@dataclass(kw_only=True)
class Step:
    """One part of the story: what was checked and what the telemetry shows of it."""

    title: str
    checks: list[tuple[str, bool]] = field(default_factory=list)
    traces: "list[Trace]" = field(default_factory=list)
    calls: "list[CallTrace]" = field(default_factory=list)

    def check(self, what: str, passed: bool) -> None:
        """Record whether *what* was so."""
        self.checks.append((what, bool(passed)))

    def to_json(self) -> dict[str, Any]:
        """Return the step, JSON-ready."""
        return {
            "title": self.title,
            "checks": [{"what": what, "held": passed} for what, passed in self.checks],
            "traces": [call.to_json() for call in self.calls],
        }


def make_console(*, as_json: bool, picture: str | None) -> "Console":
    """Return the console of a story: quiet where one JSON document is printed, recorded for a picture."""
    from rich.console import Console

    return Console(highlight=False, quiet=as_json, record=bool(picture), width=None if sys.stdout.isatty() else _WIDTH)


def save_picture(console: "Console", picture: str | None, trace_file: str | None, *, code: int) -> int:
    """Draw what *console* has shown into the file *picture*, if any; returns *code*, or 2 if it cannot be written."""
    if not picture:
        return code
    from runtime.traces.terminal import write_picture

    inputs = [Path(trace_file)] if trace_file else []
    try:
        write_picture(console, Path(picture), title="python3 -m runtime demo", inputs=inputs)
    except OSError as error:
        sys.stderr.write(f"demo: {error.filename or picture}: {error.strerror or error}\n")
        return 2
    return code


def show_step(console: "Console", step: Step) -> None:
    """Print one step: its interesting traces, then what was checked."""
    from runtime.traces.terminal import render_trace

    console.print(f"\n[bold cyan]{step.title}[/]")
    interesting = [trace for trace in step.traces if trace.attempts != 1 or trace.failed or trace.has_events]
    for trace in interesting[-3:]:
        console.print(render_trace(trace))
    for what, passed in step.checks:
        console.print(f"  [{'green]✔' if passed else 'red]✘'}[/] {what}", soft_wrap=True)


def verdict(checks: Sequence[tuple[str, bool]]) -> str:
    """Return how many checks there were, and which failed."""
    failed = [what for what, passed in checks if not passed]
    ended = f"[red]{len(failed)} failed: {'; '.join(failed)}[/]" if failed else "[green]all passed[/]"
    return f"{len(checks)} checks, {ended}"
