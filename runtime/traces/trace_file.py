"""
The trace file, read and written: OTLP JSON Lines, the format of the OpenTelemetry Collector's file exporter.

One JSON object per line, an export request of spans. Readers skip lines of metrics and logs. The content of a file may
come from other programs: a line, a span or an event that is not OTLP JSON is left out alone and counted, never raised,
and control characters are replaced.
Source: https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/.
"""

import json
import os
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from middleware.redaction import printable
from middleware.telemetry import semconv
from runtime._internal.files import append_private

__all__ = ["Span", "SpanEvent", "SpanReader", "TraceFile", "format_line", "read_line"]

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # `printable` makes a blank of them, which would not be seen here
_IDS = re.compile("[0-9a-fA-F]{32} [0-9a-fA-F]{16} (?:[0-9a-fA-F]{16})?")
_LOWER_IDS = re.compile("[0-9a-f]{32} [0-9a-f]{16} (?:[0-9a-f]{16})?")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NO_VALUE: Mapping[str, Any] = {}
_MAX_DEPTH = 8
_KEPT_ATTRIBUTES, _KEPT_LENGTH = 512, 4096
_SCALARS: dict[str, Any] = {"intValue": int, "doubleValue": float, "boolValue": bool}


class SpanEvent(NamedTuple):
    """Something that happened during a span, at a time in nanoseconds since 1970."""

    name: str
    at_ns: int
    attributes: Mapping[str, Any]


class Span(NamedTuple):
    """
    One finished span; times in nanoseconds since 1970.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent_id: Id of the parent span; empty for none.
        name: Name.
        kind: `INTERNAL`, `CLIENT`, `SERVER`, `PRODUCER`, `CONSUMER` or `UNSPECIFIED`.
        start_ns: Start.
        end_ns: End, never before the start.
        status: `UNSET`, `OK` or `ERROR`.
        message: Text of the status.
        attributes: Attributes.
        events: Events, by time.
        service: Name of the program that made the span.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    message: str
    attributes: Mapping[str, Any]
    events: tuple[SpanEvent, ...]
    service: str


@dataclass(slots=True)
class SpanReader:
    """
    Reads lines, and counts what of them is not OTLP JSON.

    Attributes:
        lines: Number of lines read.
        bad_lines: Numbers of the lines that are not OTLP JSON, or not all of them; 1 for the first line of the file.
        bad_spans: Spans that were left out of lines that are: without an end, of an unknown kind, with a bad id.
        bad_events: Events that were left out of spans, such as those without a time.
        spans: Number of spans read.
    """

    lines: int = 0
    bad_lines: list[int] = field(default_factory=list)
    bad_spans: int = 0
    bad_events: int = 0
    spans: int = 0

    def read(self, lines: Iterable[bytes]) -> Iterator[Span]:
        """Yield the spans of *lines*."""
        for line in lines:
            yield from self.read_line(line)

    def read_line(self, line: bytes) -> list[Span]:
        """Return the spans of the next line."""
        self.lines += 1
        spans, whole = self._read(line)
        if not whole:
            self.bad_lines.append(self.lines)
        self.spans += len(spans)
        return spans

    def _read(self, line: bytes) -> tuple[list[Span], bool]:
        """Return the spans of one line, and whether they are all of it."""
        if (quick := _read_quickly(line)) is not None:
            return quick, True
        before = self.bad_spans + self.bad_events
        found = []
        try:
            for span, service in _raw_spans(line):
                try:
                    events = span.get("events")
                    found.append(_span(span, service, self._events(events) if events else ()))
                except _UNREADABLE:
                    self.bad_spans += 1
        except _UNREADABLE:
            return found, False
        return found, self.bad_spans + self.bad_events == before

    def _events(self, events: Any) -> tuple[SpanEvent, ...]:
        found = []
        for event in events:
            try:
                found.append(_event(event))
            except _UNREADABLE:
                self.bad_events += 1
        return tuple(sorted(found, key=_event_by_time))


_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError)
"""What reading a document of another shape raises."""


def read_line(line: bytes) -> list[Span]:
    """
    Return the spans of one line; none for a blank line or a line of another signal.

    Raises:
        ValueError: The line is not OTLP JSON, or not all of it.
    """
    reader = SpanReader()
    spans = list(reader.read([line]))
    if reader.bad_lines:
        raise ValueError("no OTLP JSON")
    return spans


def _raw_spans(line: bytes) -> Iterator[tuple[Any, str]]:
    """Yield each span of a line as it is written, with the name of its program."""
    line = line.strip().removeprefix(_BYTE_ORDER_MARK)
    document = json.loads(line) if line else {}
    if "result" in document:  # as Jaeger's /api/v3 wraps it
        document = document["result"]
    for resource in document.get("resourceSpans") or ():
        service = str(_attributes((resource.get("resource") or {}).get("attributes")).get("service.name", ""))
        for scope in resource.get("scopeSpans") or ():
            for span in scope.get("spans") or ():
                yield span, service


def _event_by_time(event: SpanEvent) -> int:
    return event.at_ns


def _event(event: Any) -> SpanEvent:
    return SpanEvent(
        name=_text(event.get("name", "")),
        at_ns=_time(event["timeUnixNano"]),
        attributes=_attributes(event.get("attributes")),
    )


def _span(span: Any, service: str, events: tuple[SpanEvent, ...]) -> Span:
    start, end = _time(span["startTimeUnixNano"]), _time(span["endTimeUnixNano"])
    status = span.get("status") or _NO_VALUE
    trace_id, span_id, parent_id = span["traceId"], span["spanId"], span.get("parentSpanId") or ""
    if _IDS.fullmatch(f"{trace_id} {span_id} {parent_id}") is None:
        raise ValueError("an id must be hexadecimal")
    return Span(
        trace_id.lower(),
        span_id.lower(),
        parent_id.lower(),
        _text(span.get("name", "")),
        _member(span.get("kind", 0), _KINDS, "SPAN_KIND_"),
        start,
        max(start, end),
        _status(status),
        _text(status["message"]) if "message" in status else "",
        _attributes(span.get("attributes")),
        events,
        service,
    )


def _status(status: Any) -> str:
    return _member(status["code"], _STATUSES, "STATUS_CODE_") if "code" in status else "UNSET"


def _time(value: Any) -> int:
    nanoseconds = int(value)
    if not 0 < nanoseconds < 2**64:  # 0 is protobuf's "not set"
        raise ValueError("a time must be an unsigned 64-bit number above 0")
    return nanoseconds


def _member(value: Any, names: tuple[str, ...], prefix: str) -> str:
    if isinstance(value, str):
        value = names.index(value.removeprefix(prefix))
    return names[value] if 0 <= value < len(names) else names[0]


def _text(value: Any) -> str:
    text = str(value)
    return printable(text if text.isprintable() else _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))


def _is_plain(value: Any) -> bool:
    return value.__class__ is str and value.isascii() and value.isprintable()


def _attributes(pairs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, value = pair["key"], pair.get("value") or _NO_VALUE
        # Plain texts, which are most, take the short way: a summary reads millions of them.
        text = value.get("stringValue")
        found[key if _is_plain(key) else _text(key)] = text if _is_plain(text) else _value(value)
    return found


def _value(value: Mapping[str, Any], depth: int = 0) -> Any:
    """Return one of OTLP's values, each of which names its type."""
    for kind, content in value.items():
        if kind in _SCALARS:
            return _SCALARS[kind](content)
        if kind == "arrayValue" and depth < _MAX_DEPTH:
            return [_value(item, depth + 1) for item in content.get("values") or ()]
        if kind == "kvlistValue" and depth < _MAX_DEPTH:
            pairs = content.get("values") or ()
            return {_text(pair["key"]): _value(pair.get("value") or {}, depth + 1) for pair in pairs}
        return _text(content)
    return None


def _read_nothing(_line: bytes) -> list[Span] | None:
    """Without msgspec the standard library reads each line."""
    return None


_read_quickly: Callable[[bytes], list[Span] | None] = _read_nothing
with suppress(ImportError):
    from msgspec import DecodeError

    from .quick_lines import QuickEvent, plain_attributes_of, programs_of, value_of

    # Attempts of one route and status have the same attributes, byte for byte; calls too, but for the correlation id,
    # without which they are known.
    _known: dict[bytes, Mapping[str, Any]] = {}
    _known_but_for_id: dict[bytes, Mapping[str, Any]] = {}
    _CORRELATION_ID = re.compile(
        rb'\{"key": ?"%s", ?"value": ?\{"stringValue": ?"([ !#-\[\]-~]*)"\}\}'
        % re.escape(semconv.CORRELATION_ID.encode())
    )

    def _attributes_in(raw: bytes) -> Mapping[str, Any]:
        found = _known.get(raw)
        if found is not None:
            return found
        written = _CORRELATION_ID.search(raw)
        if written is None:
            found = _decoded(raw)
            _keep(_known, raw, found)
            return found
        start, end = written.span(1)
        others = raw[:start] + raw[end:]
        correlation_id = written[1].decode()
        found = _known_but_for_id.get(others)
        if found is not None:
            return {**found, semconv.CORRELATION_ID: correlation_id}
        found = _decoded(raw)
        if found.get(semconv.CORRELATION_ID) == correlation_id and _CORRELATION_ID.search(raw, end) is None:
            _keep(_known_but_for_id, others, found)
        return found

    def _keep(known: dict[bytes, Mapping[str, Any]], raw: bytes, found: Mapping[str, Any]) -> None:
        if len(known) >= _KEPT_ATTRIBUTES:
            known.clear()
        if len(raw) <= _KEPT_LENGTH:
            known[raw] = found

    def _decoded(raw: bytes) -> Mapping[str, Any]:
        if raw.isascii() and b"\\" not in raw and b"\x7f" not in raw:  # so every text in it is plain
            with suppress(DecodeError):
                return plain_attributes_of(raw)
        return _attributes(value_of(raw))

    def _quick_event(event: QuickEvent) -> SpanEvent:
        return SpanEvent(_text(event.name), _time(event.time_unix_nano), _attributes_in(bytes(event.attributes)))

    def _read_all(line: bytes) -> list[Span] | None:
        """Return the spans of a line without anything odd; None for a line that is for the reader that counts."""
        found = []
        try:
            for program, spans in programs_of(line):
                service = str(_attributes(program).get("service.name", ""))
                for span in spans:
                    trace_id, span_id, parent_id = span.trace_id, span.span_id, span.parent_span_id or ""
                    start, end = int(span.start_time_unix_nano), int(span.end_time_unix_nano)
                    if not 0 < start <= end < 2**64:
                        return None
                    if _LOWER_IDS.fullmatch(f"{trace_id} {span_id} {parent_id}") is None:
                        return None
                    name, kind, status, events = span.name, span.kind, span.status, span.events
                    found.append(
                        Span(
                            trace_id,
                            span_id,
                            parent_id,
                            name if name.isascii() and name.isprintable() else _text(name),
                            _member(kind, _KINDS, "SPAN_KIND_"),
                            start,
                            end,
                            _status(status) if status else "UNSET",
                            _text(status["message"]) if status and "message" in status else "",
                            _attributes_in(bytes(span.attributes)),
                            tuple(sorted(map(_quick_event, events), key=_event_by_time)) if events else (),
                            service,
                        )
                    )
        except (DecodeError, *_UNREADABLE):
            return None
        return found

    _read_quickly = _read_all


class TraceFile:
    """
    A trace file that is appended to, also by other processes: each line is one write, which the system appends whole.

    A line that is incomplete, because the disk was full or a process that shares the file ended, is ended by the next
    one, and it alone is lost. A file that was moved, replaced or deleted, as by log rotation, is opened anew.

    Args:
        path: The file; made if it does not exist, with mode 0600: spans describe users and their requests.

    Raises:
        OSError: It is a symbolic link, or cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # a program may change its directory
        self._file = append_private(self._path)

    def append(self, line: bytes) -> bool:
        """
        Append *line*; False when it could not be written whole.

        Raises:
            OSError: The file was moved or deleted, and cannot be opened anew; or it cannot be written.
        """
        self._follow()
        whole = self._write(line)
        deleted = os.fstat(self._file.fileno()).st_nlink == 0
        if self._follow() and deleted:  # before it was written, so no reader will ever see it
            whole = self._write(line)
        return whole

    def _write(self, line: bytes) -> bool:
        line = (b"\n" if self._ends_within_a_line() else b"") + line
        return self._file.write(line) == len(line)

    def _follow(self) -> bool:
        """Open the file anew, if it is no longer the one at its path; return whether it was not."""
        try:
            there = os.stat(self._path, follow_symlinks=False)  # noqa: PTH116 - one system call
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:  # it cannot be looked at, by a program that has given up a privilege, say
            return False
        else:
            if os.path.samestat(there, os.fstat(self._file.fileno())):
                return False
        fresh = append_private(self._path)
        self._file.close()
        self._file = fresh
        return True

    def _ends_within_a_line(self) -> bool:
        """Does the file end within a line? Checked for every line: another process may have written the last one."""
        descriptor = self._file.fileno()
        size = os.fstat(descriptor).st_size  # 0 for what is not a regular file
        if size == 0:
            return False
        try:
            return os.pread(descriptor, 1, size - 1) not in {b"\n", b""}
        except OSError:  # not readable; readers skip an empty line
            return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def format_line(request: dict[str, Any]) -> bytes:
    """
    Return an export request as one line.

    Args:
        request: In protobuf's JSON mapping, enumerations as numbers; its ids are changed in place, from base64 to the
            hexadecimal digits that OTLP JSON wants.
    """
    for resource in request.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                for owner in (span, *span.get("links", ())):
                    _hexadecimal_ids(owner)
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _hexadecimal_ids(owner: dict[str, Any]) -> None:
    for key in ("traceId", "spanId", "parentSpanId"):
        if key in owner:
            owner[key] = b64decode(owner[key]).hex()
