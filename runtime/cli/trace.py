"""
`python3 -m runtime trace FILE [ID]`: the traces in a trace file.

Without ID: the traces that failed, that were retried most and that took longest. With ID, the beginning of a trace id
or a whole correlation id: that trace as a tree with bars.
"""

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from middleware.redaction import printable
from middleware.telemetry import semconv
from runtime._internal.files import write_text
from runtime.traces.model import Trace, is_call, traces_of
from runtime.traces.trace_file import Span, SpanReader

if TYPE_CHECKING:  # the terminal's library is not needed for a page
    from rich.console import Console

__all__ = ["main"]

_WIDTH = 100  # where output is no terminal
_POLL_S = 0.2
_PAGE_LIMIT = 200
_KEPT = 10_000  # spans of unfinished calls that following a file keeps at most


def main(argv: Sequence[str]) -> int:
    """Show traces; returns 0, 1 when nothing was found, or 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python3 -m runtime trace", description=__doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="OTLP JSON Lines, as --traces and a Collector write")
    parser.add_argument("id", metavar="ID", nargs="?", default="", help="beginning of a trace id, or a correlation id")
    parser.add_argument("--limit", type=int, metavar="N", help=f"traces per list (10), or on the page ({_PAGE_LIMIT})")
    parser.add_argument("--html", type=Path, metavar="PAGE", help="write one self-contained page instead")
    parser.add_argument("--svg", type=Path, metavar="PICTURE", help="also draw the output into a picture")
    parser.add_argument("--follow", action="store_true", help="show each call when it ends, until interrupted")
    options = parser.parse_args(argv)
    if options.limit is not None and options.limit < 1:
        return _refuse(f"--limit: must be at least 1, got {options.limit}")
    if options.follow and (options.html or options.svg or options.id):
        return _refuse("--follow: goes with neither ID, --html nor --svg")
    try:
        if options.follow:
            return _follow(options.file)
        return _show(options)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # `… | head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _refuse(f"{error.filename or options.file}: {error.strerror or error}")


def _refuse(message: str) -> int:
    sys.stderr.write(f"trace: {printable(message)}\n")
    return 2


def _show(options: argparse.Namespace) -> int:
    reader = SpanReader()
    with options.file.open("rb") as lines:
        traces = traces_of(reader.read(lines))
    if reader.bad_lines:
        sys.stderr.write(f"trace: {_bad(reader)}\n")
    if not traces:
        sys.stderr.write(f"trace: {printable(str(options.file))}: no spans\n")
        return 1
    if options.id:
        traces = [trace for trace in traces if _is_meant(trace, options.id)]
        if not traces:
            sys.stderr.write(f"trace: {printable(f'{options.file}: no trace or correlation id {options.id}')}\n")
            return 1
    if options.html:
        from runtime.traces.page import render_page

        chosen = _most_telling(traces, options.limit or _PAGE_LIMIT)
        note = _bad(reader) if reader.bad_lines else ""
        page = render_page(chosen, of=len(traces), source=options.file.name, note=note)
        write_text(options.html, page, inputs=[options.file])
        sys.stdout.write(f"{printable(str(options.html))}: {len(chosen)} of {len(traces)} traces\n")
        return 0
    console = _console(record=bool(options.svg))
    if options.id:
        for trace in traces[: options.limit or 10]:
            _print_trace(console, trace)
    else:
        _print_lists(console, traces, options.limit or 10)
    if options.svg:
        from runtime.traces.terminal import write_picture

        title = printable(f"python3 -m runtime trace {options.file.name} {options.id}").strip()
        write_picture(console, options.svg, title=title, inputs=[options.file])
    return 0


def _bad(reader: SpanReader) -> str:
    bad = reader.bad_lines
    first = f"line {bad[0]}" if len(bad) == 1 else f"{len(bad)} lines, the first is {bad[0]},"
    counted = [(reader.bad_spans, "span"), (reader.bad_events, "event")]
    parts = [f"{number} {what}{'' if number == 1 else 's'}" for number, what in counted if number]
    return f"{first} of {reader.lines} cannot be read as OTLP JSON" + (f"; {', '.join(parts)} left out" * bool(parts))


def _is_meant(trace: Trace, wanted: str) -> bool:
    return trace.trace_id.startswith(wanted.lower()) or wanted in trace.correlation_ids


def _most_telling(traces: Sequence[Trace], limit: int) -> list[Trace]:
    """Failed ones first, then the most retried, then the slowest; in the order in which they started."""
    ranked = sorted(traces, key=lambda trace: (trace.failed, trace.retries, trace.duration_s), reverse=True)
    return sorted(ranked[:limit], key=lambda trace: trace.start_ns)


def _console(*, record: bool = False) -> "Console":
    from rich.console import Console

    return Console(
        highlight=False, markup=False, emoji=False, record=record, width=None if sys.stdout.isatty() else _WIDTH
    )


def _print_lists(console: "Console", traces: Sequence[Trace], limit: int) -> None:
    from runtime.traces.terminal import render_list

    calls, failed = sum(trace.calls for trace in traces), [trace for trace in traces if trace.failed]
    retried = sorted((trace for trace in traces if trace.retries), key=lambda trace: -trace.retries)
    slowest = sorted(traces, key=lambda trace: -trace.duration_s)
    console.print(
        f"{len(traces)} traces, {calls} calls of connectors; {len(failed)} failed, {len(retried)} retried",
        soft_wrap=True,
    )
    for title, found in (("Failed, the last", failed[::-1]), ("Most retried", retried), ("Slowest", slowest)):
        if found:
            console.print(f"\n{title}", style="bold cyan")
            console.print(render_list(found[:limit]))


def _print_trace(console: "Console", trace: Trace) -> None:
    from runtime.traces.terminal import render_trace

    ids = "".join(f"  correlation id {found}" for found in trace.correlation_ids)
    console.print(f"trace {trace.trace_id}{ids}", style="dim", soft_wrap=True)
    console.print(render_trace(trace))


def _follow(path: Path) -> int:
    console = _console()
    try:
        for trace in finished_calls(_lines(path)):
            _print_trace(console, trace)
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 0
    return 0


def _lines(path: Path) -> Iterator[bytes | None]:
    """Yield the whole lines of *path* as they come; None whenever there is no more for now. Waits for the file."""
    position, rest, known = 0, b"", 0
    while True:
        try:
            file = path.open("rb")
        except FileNotFoundError:  # not yet there, or taken away by who rotates files
            yield None
            continue
        with file:
            found = os.fstat(file.fileno())
            if found.st_ino != known or found.st_size < position:  # replaced or truncated: read it from the start
                position, rest, known = 0, b"", found.st_ino
            file.seek(position)
            added = file.read()
            position = file.tell()
        *lines, rest = (rest + added).split(b"\n")
        yield from lines
        yield None


def finished_calls(lines: Iterable[bytes | None]) -> Iterator[Trace]:
    """
    Yield each call of a connector when its span arrives, with what happened in it.

    Args:
        lines: Lines of a trace file; at a None there are no more for now, and this waits a moment.
    """
    reader = SpanReader()
    waiting: deque[Span] = deque(maxlen=_KEPT)  # attempts end, and so arrive, before their call
    for line in lines:
        if line is None:
            time.sleep(_POLL_S)
            continue
        for span in reader.read([line]):
            if is_call(span):
                attempts = [known for known in waiting if known.parent_id == span.span_id]
                for known in attempts:
                    waiting.remove(known)
                yield Trace(span.trace_id, [span, *attempts])
            elif span.kind == "CLIENT" and semconv.ATTEMPT_OUTCOME in span.attributes:
                waiting.append(span)
