"""
`python3 -m runtime trace FILE… [ID]`: the traces in trace files, or in a Jaeger.

Without ID: the calls that failed, that were retried most and that took longest. With ID, the beginning of a trace id
or a whole correlation id: that trace as a tree with bars.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from middleware.redaction import printable
from runtime._internal.files import write_text
from runtime.traces.calls import Call, calls_of, is_call, state_of
from runtime.traces.diagnosis import compare
from runtime.traces.filters import OUTCOMES, CallFilter, parse_duration, parse_time
from runtime.traces.model import Trace, clock_text, count_text, traces_of, zone_text
from runtime.traces.ranking import Ranking, trace_of
from runtime.traces.source import Source, is_url
from runtime.traces.states import ServiceStates
from runtime.traces.summary import Summary
from runtime.traces.trace_file import Span, SpanReader

if TYPE_CHECKING:  # the terminal's library is not needed for a page
    from rich.console import Console, RenderableType

__all__ = ["main", "make_parser"]

_WIDTH = 100  # where output is no terminal
_POLL_S = 0.2
_PROGRESS_S = 0.2
_PAGE_LIMIT = 5000
_SAMPLE = 10_000
_TWO = 2
_HASH_DIGITS = 8
_Value = TypeVar("_Value")
_HELP = """\
FILE is OTLP JSON Lines of any program, plain or gzipped, as --traces and a Collector write; a directory of such files;
or the address of a Jaeger. ID is the beginning of a trace id, or a whole correlation id.

since when is what slow, and what to change:
  python3 -m runtime trace traces.jsonl --summary
the worst of the last ten minutes, then one of them as a tree:
  python3 -m runtime trace traces.jsonl --since 10m --service identity
  python3 -m runtime trace traces.jsonl 4bf92f35
before and after 14:00, a release, or a change of settings:
  python3 -m runtime trace traces.jsonl --compare 14:00
  python3 -m runtime trace --compare before.jsonl.gz after.jsonl.gz
  python3 -m runtime trace traces.jsonl --compare 1f0c77aa 93be01d4
while a program runs, each call on a line:
  python3 -m runtime trace traces.jsonl --follow --min-duration 1s
from a Jaeger:
  python3 -m runtime trace http://localhost:16686 --since 30m --summary
"""


def main(argv: Sequence[str]) -> int:
    """Show traces; returns 0, 1 when nothing was found, or 2 for wrong usage."""
    options = make_parser().parse_intermixed_args(argv)
    try:
        _check(options)
        collecting = gc.isenabled()
        gc.disable()  # documents have no cycles, and looking for some takes a third of the time
        try:
            return _run(options)
        finally:
            if collecting:
                gc.enable()
    except _UsageError as error:
        return _refuse(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # `… | head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _refuse(f"{error.filename or options.files[0]}: {error.strerror or error}")


class _UsageError(Exception):
    """Options that contradict each other, or a value that cannot be read; the text names it."""


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime trace",
        description=__doc__,
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="*", help="trace files, directories, a Jaeger; and at last an ID"
    )
    views = parser.add_argument_group("views")
    views.add_argument("--summary", action="store_true", help="per operation and time: since when is what how bad")
    views.add_argument(
        "--compare",
        metavar="A",
        nargs="+",
        help="two files; or of FILE the calls before and after a time, without and with the settings of a hash, or with"
        " one hash and another",
    )
    views.add_argument("--follow", action="store_true", help="show each call when it ends, until interrupted")
    views.add_argument("--html", type=Path, metavar="PAGE", help="write one self-contained page instead")
    views.add_argument("--svg", type=Path, metavar="PICTURE", help="also draw the output into a picture")
    views.add_argument("--limit", type=int, metavar="N", help=f"traces per list (10), or on the page ({_PAGE_LIMIT})")
    chosen = parser.add_argument_group("which calls")
    when = "14:00, 14:00:20 or 2026-11-28T14:00, of this machine's time zone, or 10m before the newest call"
    chosen.add_argument("--since", metavar="TIME", help=f"started then or later: {when}")
    chosen.add_argument("--until", metavar="TIME", help="started before, written alike")
    chosen.add_argument("--service", action="append", default=[], metavar="NAME", help="of this service; repeatable")
    chosen.add_argument(
        "--operation", action="append", default=[], metavar="NAME", help="get_user or identity.get_user; repeatable"
    )
    chosen.add_argument("--outcome", action="append", default=[], choices=OUTCOMES, help="that ended so; repeatable")
    chosen.add_argument("--min-duration", metavar="TIME", help="that took at least 250ms, 1.5s or 1m")
    chosen.add_argument(
        "--status",
        action="append",
        default=[],
        metavar="CODE",
        help="with an attempt that had it: 503, 5xx; repeatable",
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.limit is not None and options.limit < 1:
        raise _UsageError(f"--limit: must be at least 1, got {options.limit}")
    options.id = ""
    if options.compare and not options.files and len(options.compare) == _TWO:
        options.files = options.compare
        options.compare = ["files"]
    if not options.files:
        raise _UsageError("FILE: must be given")
    if len(options.files) > 1 and options.compare != ["files"] and _is_id(options.files[-1]):
        options.id = options.files.pop()
    if options.follow and (options.html or options.svg or options.id or options.summary or options.compare):
        raise _UsageError("--follow: goes with neither ID, --html, --svg, --summary nor --compare")
    if options.follow and (len(options.files) > 1 or is_url(options.files[0]) or options.since or options.until):
        raise _UsageError("--follow: goes with one file, and with neither --since nor --until")
    if options.summary + bool(options.compare) + bool(options.html) + bool(options.id) > 1:
        raise _UsageError("ID, --summary, --compare and --html: only one of them at a time")
    if options.compare and len(options.compare) > _TWO:
        raise _UsageError("--compare: takes at most two; name FILE before it")


def _is_id(text: str) -> bool:
    return not is_url(text) and os.sep not in text and not Path(text).exists()


def _refuse(message: str) -> int:
    sys.stderr.write(f"trace: {printable(message)}\n")
    return 2


def _run(options: argparse.Namespace) -> int:
    if options.follow:
        return _follow(options)
    if options.compare:
        return _compare(options)
    if options.id:
        return _show_id(options)
    worst = (options.limit or _PAGE_LIMIT) if options.html else 0
    ranking, summary, states = Ranking(options.limit or 10, worst), Summary(), ServiceStates()
    with _reading(options) as (source, wanted):
        for call in _chosen(source, wanted):
            ranking.add(call)
            summary.add(call)
            if options.html:
                states.add(call)
        _report_unread(source)
        if not ranking.calls:
            what = "calls that are meant" if source.reader.spans else "spans"
            return _nothing(options, f"no {what}")
        if options.html:
            return _write_page(options, source, ranking, summary, states)
    console = _console(record=bool(options.svg))
    if options.summary:
        _print_summary(console, summary, ranking, wanted)
    else:
        _print_lists(console, ranking, summary)
    _draw(options, console, source)
    return 0


def _show_id(options: argparse.Namespace) -> int:
    with _reading(options) as (source, _):
        traces = _traces_of_id(source, options.id, options.limit or 10)
    _report_unread(source)
    if not traces:
        return _nothing(options, f"no trace or correlation id {options.id}" if source.reader.spans else "no spans")
    console = _console(record=bool(options.svg))
    for trace in traces:
        _print_trace(console, trace)
    _draw(options, console, source)
    return 0


def _nothing(options: argparse.Namespace, what: str) -> int:
    sys.stderr.write(f"trace: {printable(f'{_names(options)}: {what}')}\n")
    return 1


def _draw(options: argparse.Namespace, console: "Console", source: Source) -> None:
    """Write the picture that was asked for."""
    if options.svg:
        from runtime.traces.terminal import write_picture

        title = " ".join(["python3 -m runtime trace", *(Path(name).name for name in options.files), options.id]).strip()
        write_picture(console, options.svg, title=printable(title), inputs=source.paths)


def _names(options: argparse.Namespace) -> str:
    return ", ".join(map(str, options.files))


def _filter(options: argparse.Namespace) -> CallFilter:
    """Return what is meant, but for times."""
    least = options.min_duration
    return CallFilter(
        services=tuple(options.service),
        operations=tuple(options.operation),
        outcomes=tuple(options.outcome),
        statuses=tuple(options.status),
        min_duration_s=_named("--min-duration", parse_duration, least) if least else 0.0,
    )


@contextmanager
def _reading(options: argparse.Namespace) -> Iterator[tuple[Source, CallFilter]]:
    """Return where to read from, and what is meant; times that are relative to the newest call need a look at all."""
    wanted = _filter(options)
    progress = _Progress(shown=sys.stderr.isatty())
    with Source(options.files, trace_id=options.id, progress=progress) as source:
        if options.since or options.until:
            reach = _reach(source)
            since_ns = _time("--since", options.since, reach) if options.since else None
            until_ns = _time("--until", options.until, reach) if options.until else None
            if since_ns is not None and until_ns is not None and since_ns >= until_ns:
                raise _UsageError(f"--until: must be after --since, {clock_text(since_ns)}; got {options.until!r}")
            if since_ns is not None and source.paths and since_ns <= reach[0]:
                since_ns = None  # nothing is before it
            wanted = replace(wanted, since_ns=since_ns, until_ns=until_ns)
            source.since_ns, source.until_ns = since_ns, until_ns
        try:
            yield source, wanted
        finally:
            progress.end()


def _time(name: str, text: str, reach: tuple[int, int]) -> int:
    oldest_ns, newest_ns = reach
    return _named(name, partial(parse_time, oldest_ns=oldest_ns, newest_ns=newest_ns), text)


def _named(name: str, parse: Callable[[str], _Value], text: str) -> _Value:
    """Return what *parse* makes of *text*; its error names the option."""
    try:
        return parse(text)
    except ValueError as error:
        raise _UsageError(f"{name}: {error}") from None


def _reach(source: Source) -> tuple[int, int]:
    """Return the starts of the oldest and the newest call of the files; a Jaeger reaches to now."""
    now = time.time_ns()
    if not source.paths:
        return now, now
    oldest, newest = 0, 0
    for start_ns in source.starts():
        oldest, newest = min(oldest or start_ns, start_ns), max(newest, start_ns)
    return oldest or now, newest or now


def _chosen(source: Source, wanted: CallFilter) -> Iterator[Call]:
    """Yield the calls that are meant; where a file has no beginning of anything, whatever it has."""
    found, everything = False, wanted == CallFilter()
    for call in calls_of(source.spans()):
        found = True
        if everything or wanted.accepts(call):
            yield call
    if not found:
        spans = [span for span, _ in zip(source.spans(), range(_SAMPLE), strict=False)]
        for trace in traces_of(spans):
            call = Call(trace.spans[0])
            if wanted.accepts(call):
                yield call


def _traces_of_id(source: Source, wanted: str, limit: int) -> list[Trace]:
    """Return the traces whose id begins so, or that have a span with that correlation id."""
    from middleware.telemetry import semconv

    begins = wanted.lower()
    summary = Summary()
    ids: dict[str, None] = {}

    def looked_at(spans: Iterable[Span]) -> Iterator[Span]:
        for span in spans:
            if span.trace_id.startswith(begins) or span.attributes.get(semconv.CORRELATION_ID) == wanted:
                ids[span.trace_id] = None
            yield span

    for call in calls_of(looked_at(source.spans())):
        summary.add(call)
    unread = source.reader
    chosen = set(ids)
    traces = traces_of((span for span in source.spans() if span.trace_id in chosen), summary.medians()) if ids else []
    source.reader = unread
    return traces[:limit]


def _write_page(
    options: argparse.Namespace, source: Source, ranking: Ranking, summary: Summary, states: ServiceStates
) -> int:
    from runtime.traces.page import render_page

    note = _bad(source.reader) if source.reader.bad_lines else ""
    chosen = ranking.worst
    found = traces_of((span for span in source.spans() if span.trace_id in chosen), summary.medians())
    names = ", ".join(Path(name).name for name in options.files)
    page = render_page(found, of=ranking.traces, source=names, note=note, summary=summary, states=states)
    write_text(options.html, page, inputs=source.paths, private=True)
    sys.stdout.write(f"{printable(str(options.html))}: {len(found)} of {count_text(ranking.traces, 'trace')}\n")
    return 0


def _report_unread(source: Source) -> None:
    if source.reader.bad_lines:
        sys.stderr.write(f"trace: {_bad(source.reader)}\n")
    for note in source.notes:
        sys.stderr.write(f"trace: {printable(note)}\n")


def _bad(reader: SpanReader) -> str:
    bad = reader.bad_lines
    first = f"line {bad[0]}" if len(bad) == 1 else f"{len(bad)} lines, the first is {bad[0]},"
    counted = [(reader.bad_spans, "span"), (reader.bad_events, "event")]
    parts = [count_text(number, what) for number, what in counted if number]
    return f"{first} of {reader.lines} cannot be read as OTLP JSON" + (f"; {', '.join(parts)} left out" * bool(parts))


class _Progress:
    """Says on stderr, where that is a terminal, how much was read."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._next = time.monotonic() + _PROGRESS_S
        self._written = False

    def __call__(self, done: int, total: int) -> None:
        """Say so, a few times per second."""
        if not self._shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PROGRESS_S
        self._written = True
        share = f"{100 * done // total} % of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
        sys.stderr.write(f"\rtrace: read {share}\x1b[K")
        sys.stderr.flush()

    def end(self) -> None:
        """Remove the line."""
        if self._written:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _console(*, record: bool = False) -> "Console":
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH
    return Console(highlight=False, markup=False, emoji=False, record=record, width=width)


def _print_all(console: "Console", parts: "Iterable[RenderableType]") -> None:
    for part in parts:
        console.print(part)


def _counts(ranking: Ranking) -> str:
    return (
        f"{count_text(ranking.traces, 'trace')}, {count_text(ranking.calls, 'call')} of connectors;"
        f" {ranking.failed} failed, {ranking.retried} retried"
    )


def _print_lists(console: "Console", ranking: Ranking, summary: Summary) -> None:
    from runtime.traces.terminal import render_list

    console.print(_counts(ranking))
    for title, found in ranking.lists(summary.medians()):
        console.print(f"\n{title}", style="bold cyan")
        console.print(render_list(found))


def _print_summary(console: "Console", summary: Summary, ranking: Ranking, wanted: CallFilter) -> None:
    from runtime.traces.terminal import render_summary

    when = f"{clock_text(summary.first_ns)} to {clock_text(summary.last_ns)} {zone_text(summary.first_ns)}"
    console.print(f"{_counts(ranking)}; {when}\n")
    parts = render_summary(
        summary,
        width=console.width,
        chosen=wanted != CallFilter(),
        narrowed=_narrowed(wanted),
        all_tables=bool(wanted.services or wanted.operations),
    )
    _print_all(console, parts)


def _narrowed(wanted: CallFilter) -> str:
    """Return why what is usual may not be among the calls that are meant; empty when it is."""
    given = {"--outcome": wanted.outcomes, "--status": wanted.statuses, "--min-duration": wanted.min_duration_s}
    options = [name for name, value in given.items() if value]
    if wanted.since_ns is None and not options:
        return ""
    since = "" if wanted.since_ns is None else clock_text(wanted.since_ns)
    if options:
        names = ", ".join(["--since"] * bool(since) + options)
        return f"{names}: the other calls are not counted, so what is usual is not known, nor what share failed"
    return f"--since: what was usual before {since} is not known; --compare {since} says what changed then"


def _print_trace(console: "Console", trace: Trace) -> None:
    from runtime.traces.terminal import render_trace

    ids = "".join(f"  correlation id {found}" for found in trace.correlation_ids)
    console.print(f"trace {trace.trace_id}{ids}", style="dim", soft_wrap=True)
    console.print(render_trace(trace, width=console.width))


def _compare(options: argparse.Namespace) -> int:
    from runtime.traces.terminal import render_comparison

    before, after = Summary(), Summary()
    if options.compare == ["files"]:
        names = tuple(options.files)
        for name, summary in zip(names, (before, after), strict=True):
            options.files = [name]
            with _reading(options) as (source, wanted):
                for call in _chosen(source, wanted):
                    summary.add(call)
                _report_unread(source)
    else:
        with _reading(options) as (source, wanted):
            first, second, names = _halves(options.compare, source)
            for call in _chosen(source, wanted):
                if second.accepts(call):
                    after.add(call)
                elif first.accepts(call):
                    before.add(call)
            _report_unread(source)
    for name, summary in zip(names, (before, after), strict=True):
        if not summary.first_ns:
            return _nothing(options, f"no calls: {name}")
    console = _console(record=bool(options.svg))
    _print_all(console, render_comparison(compare(before, after), *names, width=console.width))
    _draw(options, console, source)
    return 0


def _halves(values: Sequence[str], source: Source) -> tuple[CallFilter, CallFilter, tuple[str, str]]:
    """Return which calls are before and which after: by a time, or by the hash of their settings."""
    if all(_is_hash(value) for value in values):
        if len(values) == 1:
            return CallFilter(), CallFilter(settings_hash=values[0]), ("other settings", f"settings {values[0]}")
        first, second = values
        names = (f"settings {first}", f"settings {second}")
        return CallFilter(settings_hash=first), CallFilter(settings_hash=second), names
    if len(values) > 1:
        raise _UsageError(f"--compare: two files without FILE, or two settings' hashes; got {' '.join(values)!r}")
    at_ns = _time("--compare", values[0], _reach(source))
    names = (f"until {clock_text(at_ns)}", f"from {clock_text(at_ns)}")
    return CallFilter(until_ns=at_ns), CallFilter(since_ns=at_ns), names


def _is_hash(text: str) -> bool:
    return len(text) == _HASH_DIGITS and set(text) <= set("0123456789abcdef")


def _follow(options: argparse.Namespace) -> int:
    from runtime.traces.terminal import render_line

    wanted = _filter(options)
    console = _console()
    summary = Summary()
    width = 0
    try:
        for call in finished_calls(_lines(Path(options.files[0]))):
            median_s = summary.median(call)
            summary.add(call)
            if not wanted.accepts(call):
                continue
            trace = trace_of(call, {} if median_s is None else {call.operation: median_s})
            width = max(width, len(trace.name))
            console.print(render_line(trace, name_width=width), soft_wrap=True)
            if state_of(call, median_s) not in {"success", "cancelled"}:
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


def finished_calls(lines: Iterable[bytes | None]) -> Iterator[Call]:
    """
    Yield each call of a connector when its span arrives, with its attempts.

    Args:
        lines: Lines of a trace file; at a None there are no more for now, and this waits a moment.
    """

    def spans() -> Iterator[Span | None]:
        reader = SpanReader()
        for line in lines:
            if line is None:
                yield None
                time.sleep(_POLL_S)
            else:
                yield from reader.read([line])

    return (call for call in calls_of(spans()) if is_call(call.span))
