"""
Where telemetry goes: what stands between the SDK and its exporters, and the exporter of spans into a file.

Needs the `otel` extra; `runtime/telemetry/setup.py` imports it only when it is asked to.
"""

import json
import logging
import os
import threading
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped] # no stubs with the package
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from runtime._internal.files import append_private

__all__ = ["BoundedExport", "ExportError", "FileSpanExporter", "OwnMetricReader", "encode_line"]

_log = logging.getLogger("mozaiks.telemetry")
_log.addHandler(logging.NullHandler())

_E = TypeVar("_E")


class ExportError(Exception):
    """
    An export did not arrive whole.

    Args:
        reason: Why, for people; free of secrets.
        lost: How many of its items did not arrive; None for all of them.
    """

    def __init__(self, reason: str = "the exporter failed", *, lost: int | None = None) -> None:
        super().__init__(reason)
        self.lost = lost


class _Health:
    """
    Says once when exports begin to fail, with the reason of the first, and once when they arrive again.

    Args:
        exporter: Where they go, for example `otlp`.
        signal: `traces` or `metrics`.
    """

    def __init__(self, exporter: str, signal: str) -> None:
        self._exporter = exporter
        self._signal = signal
        self._failing = False

    def note(self, error: Exception | None) -> None:
        """Note how an export ended: with *error*, or None when all of it arrived."""
        if (error is not None) == self._failing:
            return
        self._failing = error is not None
        fields = {"exporter": self._exporter, "signal": self._signal}
        if error is None:
            self._say(logging.INFO, "export.recovered", fields, "")
        else:
            self._say(logging.WARNING, "export.failing", {**fields, "reason": _reason(error)}, f": {_reason(error)}")

    def _say(self, level: int, name: str, fields: dict[str, str], why: str) -> None:
        _log.log(level, f"{name} {self._exporter} {self._signal}{why}", extra={"event": name, **fields})


def _reason(error: Exception) -> str:
    """Why an export failed, without what an exporter's own exception says: it may hold a credential."""
    if isinstance(error, ExportError):
        return str(error)
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


class _Own(Generic[_E]):
    """
    An exporter of this process alone: a forked child makes one of its own when it first needs it.

    Two processes that write on one connection mix their requests, and take each other's answers.
    """

    def __init__(self, make: Callable[[], _E]) -> None:
        self._make = make
        self._made, self._pid = make(), os.getpid()

    def get(self) -> _E:
        if self._pid != os.getpid():
            self._made, self._pid = self._make(), os.getpid()
        return self._made


class BoundedExport(SpanProcessor):
    """
    Hands finished spans to an exporter in batches, from a thread of its own, and counts those it cannot hand on.

    A full queue costs the newest span; the thread that ends a span never waits. The SDK's own processor does the
    batching; here is what it does not tell: how many spans were lost.

    Args:
        name: What the exporter is called in the counters, for example `otlp`.
        make_exporter: Makes where spans go, once per process; what an export raises counts as a failed one.
        max_queue: Spans that may wait.
        max_batch: Spans that are handed on at a time.
        delay_s: Longest wait of a span before its batch is handed on.

    Attributes:
        name: As given.
        ending: The last spans are being handed on.
    """

    def __init__(
        self, name: str, make_exporter: Callable[[], SpanExporter], max_queue: int, max_batch: int, delay_s: float
    ) -> None:
        self.name = name
        self._max_queue = max_queue
        self._lock = self._new_lock()
        self._waiting = self._handing = self._lost = 0
        self._closed = False
        self.ending = False
        self._exporter = _Counted(self, _Own(make_exporter))
        self._batches = BatchSpanProcessor(
            self._exporter,
            max_queue_size=max_queue,
            max_export_batch_size=min(max_batch, max_queue),
            schedule_delay_millis=delay_s * 1000,
        )

    @staticmethod
    def _new_lock() -> Any:
        # Re-entrant: a signal handler that shuts telemetry down may interrupt the very lines that the lock protects.
        return threading.RLock()

    @property
    def dropped(self) -> int:
        """Spans that ended and will not arrive; once closed, those still waiting count too."""
        with self._lock:
            return self._lost + (self._waiting + self._handing if self._closed else 0)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing happens when a span starts."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue *span* if it was sampled and there is room."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._lock:
            if self._closed or self._waiting >= self._max_queue:
                self._lost += 1
                return
            self._waiting += 1
        self._batches.on_end(span)

    def after_fork(self) -> None:
        """
        Begin anew in a forked child: its parent hands on what waits, and has counted what was lost.

        The SDK's processor empties its queue and starts a thread by itself.
        """
        self._lock = self._new_lock()  # a thread that is gone may have held it
        self._waiting = self._handing = self._lost = 0
        self._closed = self._closed or self.ending

    def shutdown(self) -> None:
        """Hand on what waits; may take as long as the exporter likes, so do not wait for it without a bound."""
        self.ending = True
        self._batches.shutdown()  # type: ignore[no-untyped-call] # the SDK leaves it without types

    def close(self) -> None:
        """Take no further span."""
        with self._lock:
            self._closed = True

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Hand on what waits now."""
        return self._batches.force_flush(timeout_millis)

    def taken(self, count: int) -> None:
        """Note that a batch of *count* left the queue."""
        with self._lock:
            self._waiting -= count
            self._handing += count

    def handed(self, count: int, *, lost: int) -> None:
        """Note what became of a batch of *count*: how many of it were lost."""
        with self._lock:
            self._handing -= count
            self._lost += lost


class _Counted(SpanExporter):
    """An exporter that never raises and tells what became of each batch; says once when that changes."""

    def __init__(self, owner: BoundedExport, inner: _Own[SpanExporter]) -> None:
        self._owner = owner
        self._inner = inner
        self._health = _Health(owner.name, "traces")
        self._out_of_reach = self._tried_at_end = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._owner.taken(len(spans))
        if self._out_of_reach and self._tried_at_end:
            self._owner.handed(len(spans), lost=len(spans))
            return SpanExportResult.FAILURE
        self._tried_at_end = self._owner.ending  # one more attempt at the end; a process that exits waits for no second
        error = self._error_of(spans)
        lost = 0
        if error is not None:
            lost = len(spans) if not isinstance(error, ExportError) or error.lost is None else error.lost
        self._out_of_reach = lost >= len(spans)
        self._owner.handed(len(spans), lost=min(lost, len(spans)))
        self._health.note(error)
        return SpanExportResult.SUCCESS if error is None else SpanExportResult.FAILURE

    def _error_of(self, spans: Sequence[ReadableSpan]) -> Exception | None:
        try:
            arrived = self._inner.get().export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - an exporter is not our code, and its failure one more lost batch
            return error
        return None if arrived else ExportError()

    def shutdown(self) -> None:
        self._inner.get().shutdown()


class OwnMetricReader(PeriodicExportingMetricReader):
    """
    Reads and exports metrics at intervals; a forked child shares neither connection nor lock with its parent.

    Args:
        make_exporter: Makes where metrics go, once per process.
    """

    def __init__(self, make_exporter: Callable[[], MetricExporter]) -> None:
        super().__init__(_OwnMetricExporter(make_exporter))

    def _at_fork_reinit(self) -> None:  # what the SDK calls in a forked child
        # First the lock, which the SDK keeps and holds for as long as an export lasts; then the thread that takes it.
        self._export_lock = threading.Lock()
        super()._at_fork_reinit()  # type: ignore[no-untyped-call]


class _OwnMetricExporter(MetricExporter):
    def __init__(self, make_exporter: Callable[[], MetricExporter]) -> None:
        self._inner = _Own(make_exporter)
        self._health = _Health("otlp", "metrics")
        inner = self._inner.get()
        super().__init__(inner._preferred_temporality, inner._preferred_aggregation)  # noqa: SLF001 - what readers read

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        try:
            result = self._inner.get().export(metrics_data, timeout_millis, **kwargs)
        except Exception as error:  # noqa: BLE001 - as in `_Counted`
            self._health.note(error)
            return MetricExportResult.FAILURE
        self._health.note(None if result is MetricExportResult.SUCCESS else ExportError())
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._inner.get().force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._inner.get().shutdown(timeout_millis, **kwargs)


class FileSpanExporter(SpanExporter):
    """
    Appends spans to a file as OTLP JSON Lines, the format that the OpenTelemetry Collector's file exporter writes.

    One line per batch, written at once. A line that is incomplete, by a full disk or by the end of a process that
    shares the file, now or in an earlier run, is ended by the next batch, and lost alone.
    Source: https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/.

    Args:
        path: The file; made if it does not exist, with mode 0600: spans tell of users and their requests.

    Raises:
        OSError: It is a symbolic link, or cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self._file = append_private(path)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write *spans*; fails on a full disk."""
        line = (b"\n" if self._ends_within_a_line() else b"") + encode_line(spans)
        return SpanExportResult.SUCCESS if self._file.write(line) == len(line) else SpanExportResult.FAILURE

    def _ends_within_a_line(self) -> bool:
        """Does the file end within a line? Asked for every batch: another process may have written the last one."""
        descriptor = self._file.fileno()
        size = os.fstat(descriptor).st_size  # 0 for what is no regular file
        if size == 0:
            return False
        try:
            return os.pread(descriptor, 1, size - 1) not in {b"\n", b""}
        except OSError:  # it may not be read; readers pass over an empty line
            return True

    def shutdown(self) -> None:
        """Close the file."""
        self._file.close()


def encode_line(spans: Sequence[ReadableSpan]) -> bytes:
    """One line of OTLP JSON: ids in lower-case hex, 64-bit numbers as text, enumerations as numbers."""
    document = MessageToDict(encode_spans(spans), use_integers_for_enums=True)
    for span in _spans_in(document):
        for holder in (span, *span.get("links", ())):
            for key in ("traceId", "spanId", "parentSpanId"):
                if key in holder:
                    holder[key] = _hex(holder[key])
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _spans_in(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            yield from scope.get("spans", ())


def _hex(base64: str) -> str:
    return b64decode(base64).hex()
