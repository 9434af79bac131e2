"""What the stories of the demos are made of: steps, what was checked in them, and how they are shown."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the first line of a demo must not wait for these imports
    from rich.console import Console
    from rich.text import Text

    from runtime.traces.model import CallTrace, Trace
    from runtime.traces.trace_file import Span

__all__ = ["Recorder", "Step", "make_console", "save_picture", "show_end", "show_step", "verdict"]

_WIDTH = 100  # where output is no terminal


@dataclass(kw_only=True)
class Step:
    """One part of the story: what was checked and what the telemetry shows of it."""

    title: str
    output: str = ""  # of commands
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
            "output": self.output,
            "checks": [{"what": what, "held": passed} for what, passed in self.checks],
            "traces": [call.to_json() for call in self.calls],
        }


class Recorder:
    """Spans and metrics are kept here, and exported too where OTLP or a trace file is asked for."""

    def __init__(self, trace_file: str | None) -> None:
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from runtime.telemetry import configure_telemetry

        self.trace_file = trace_file
        self._memory = InMemorySpanExporter()
        self._read: list[Span] = []
        self.metrics: InMemoryMetricReader = InMemoryMetricReader()
        self.handle = configure_telemetry(
            service_name="mozaiks-connector-demo",
            trace_file=trace_file,
            span_exporters=[self._memory],
            metric_readers=[self.metrics],
        )

    def spans(self) -> "list[Span]":
        """Every span so far, as a backend reads it: through the wire's own format."""
        from runtime.telemetry.exporting import encode_line
        from runtime.traces.trace_file import read_line

        new = self._memory.get_finished_spans()[len(self._read) :]
        if new:
            self._read += read_line(encode_line(new))
        return list(self._read)


def make_console(*, as_json: bool, picture: str | None) -> "Console":
    """Return the console of a story: quiet where one JSON document is printed, recorded for a picture."""
    from rich.console import Console

    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        quiet=as_json,
        record=bool(picture),
        width=None if sys.stdout.isatty() else _WIDTH,
    )


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
    from rich.text import Text

    from middleware.redaction import printable
    from runtime.traces.terminal import render_trace

    console.print(f"\n{step.title}", style="bold cyan")
    if step.output:
        console.print(step.output, soft_wrap=True)
    interesting = [trace for trace in step.traces if trace.attempts != 1 or trace.failed or trace.has_events]
    for trace in interesting[-3:]:
        console.print(render_trace(trace))
    for what, passed in step.checks:
        mark = ("✔", "green") if passed else ("✘", "red")
        console.print(Text.assemble("  ", mark, f" {printable(what)}"), soft_wrap=True)


def verdict(checks: Sequence[tuple[str, bool]], *, elapsed_s: float) -> "Text":
    """Return how many checks there were, which failed, and how long the story took."""
    from rich.text import Text

    from middleware.redaction import printable

    failed = [what for what, passed in checks if not passed]
    ended = (printable(f"{len(failed)} failed: {'; '.join(failed)}"), "red") if failed else ("all passed", "green")
    return Text.assemble(f"\n{len(checks)} checks, ", ended, f", {elapsed_s:.1f} s.")


def show_end(console: "Console", steps: Sequence[Step], *, elapsed_s: float, as_json: bool) -> bool:
    """Print the verdict on all steps, or all of them as one JSON document; returns whether every check passed."""
    checks = [check for step in steps for check in step.checks]
    ok = all(passed for _, passed in checks)
    if as_json:
        document = {"ok": ok, "elapsed_s": round(elapsed_s, 3), "steps": [step.to_json() for step in steps]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        console.print(verdict(checks, elapsed_s=elapsed_s), soft_wrap=True)
    return ok
