"""
Export of telemetry: bounded queues between the SDK and its exporters, and the exporter of spans to a file.

Needs the `otel` extra; `configure_telemetry` imports this module when it is called.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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

from middleware._internal.loggers import LibraryLogger
from runtime.traces.trace_file import TraceFile, format_line

__all__ = [
    "BoundedExport",
    "ExportError",
    "FileSpanExporter",
    "OwnMetricReader",
    "encode_line",
    "quieten_our_exporters",
]

_log = LibraryLogger("mozaiks.telemetry")

_E = TypeVar("_E")

# Prefixes of the loggers that write at least once per failed export; ours writes once per change.
_NOISY = (
    "opentelemetry.exporter.otlp.",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
    "opentelemetry.sdk.metrics._internal.export",
)

_in_our_export: ContextVar[bool] = ContextVar("mozaiks_in_our_export", default=False)


@contextmanager
def _ours() -> Iterator[None]:
    """Mark what an exporter of ours logs inside the `with` block."""
    token = _in_our_export.set(True)
    try:
        yield
    finally:
        _in_our_export.reset(token)


class _OfOthers(logging.Filter):
    """Drops records of our exporters; those of the host's own pass, and all of a logger that the host gave a level."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not _in_our_export.get():
            return True
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger.name.startswith("opentelemetry."):
            if logger.level != logging.NOTSET:
                return True
            logger = logger.parent
        return False


_of_others = _OfOthers()


def quieten_our_exporters() -> None:
    """Silence the SDK's own lines about exports of ours; the modules of the exporters are imported before."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(_NOISY):
            logging.getLogger(name).addFilter(_of_others)


class ExportError(Exception):
    """
    An export failed, or arrived in part.

    Args:
        reason: Why, for people; free of secrets. Empty where the exporter did not say.
        lost: How many of its items did not arrive; None for all of them.
    """

    def __init__(self, reason: str = "", *, lost: int | None = None) -> None:
        super().__init__(reason or "the exporter failed")
        self.is_explained = bool(reason)
        self.lost = lost


class _Health:
    """
    Logs one line when exports begin to fail, with the reason of the first failure, and one when they succeed again.

    Args:
        exporter: Name of the exporter, for example `otlp`.
        signal: `traces` or `metrics`.
        address: Where it exports to, free of secrets; may be empty.
    """

    def __init__(self, exporter: str, signal: str, address: str = "") -> None:
        self._exporter = exporter
        self._signal = signal
        self._address = address
        self._failing = False

    def note(self, error: Exception | None) -> None:
        """Record how an export ended: with *error*, or None when all of it arrived."""
        if (error is not None) == self._failing:
            return
        self._failing = error is not None
        fields = {"exporter": self._exporter, "signal": self._signal, "address": self._address}
        if error is None:
            self._log(logging.INFO, "export.recovered", fields, "")
        else:
            self._log(logging.WARNING, "export.failing", {**fields, "reason": _reason(error)}, f": {_reason(error)}")

    def _log(self, level: int, name: str, fields: dict[str, str], why: str) -> None:
        to = f" to {self._address}" if self._address else ""
        _log.log(level, f"{name} {self._exporter} {self._signal}{to}{why}", {"event": name, **fields})


def _reason(error: Exception) -> str:
    """Return why an export failed, without the text of an exporter's own exception: it may contain a credential."""
    if isinstance(error, ExportError):
        return str(error)
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


class _Own(Generic[_E]):
    """
    An exporter for this process only: a forked child makes its own when it first needs one.

    Two processes that share a connection mix their requests, and read each other's responses.
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
    Exports finished spans in batches, from a thread of its own, and counts the spans that were not exported.

    A full queue drops the newest span; the thread that ends a span never waits. The SDK's own processor does the
    batching; this class adds what that does not report: how many spans were lost.

    Args:
        name: Name of the exporter in the counters, for example `otlp`.
        make_exporter: Makes the exporter, once per process; an export that raises counts as failed.
        max_queue: Largest number of spans in the queue.
        max_batch: Largest number of spans in a batch.
        delay_s: Longest time of a span in the queue, in seconds.
        address: Where the exporter exports to, for log lines; free of secrets.

    Attributes:
        name: Name of the exporter.
        ending: The last spans are being exported.
    """

    def __init__(
        self,
        name: str,
        make_exporter: Callable[[], SpanExporter],
        max_queue: int,
        max_batch: int,
        delay_s: float,
        *,
        address: str = "",
    ) -> None:
        self.name = name
        self._max_queue = max_queue
        self._lock = self._new_lock()
        self._queued = self._exporting = self._lost = 0
        self._closed = False
        self.ending = False
        self._exporter = _Counted(self, _Own(make_exporter), address)
        self._batches = BatchSpanProcessor(
            self._exporter,
            max_queue_size=max_queue,
            max_export_batch_size=min(max_batch, max_queue),
            schedule_delay_millis=delay_s * 1000,
        )

    @staticmethod
    def _new_lock() -> Any:
        # Re-entrant: a signal handler that shuts telemetry down may interrupt the lines that the lock protects.
        return threading.RLock()

    @property
    def dropped(self) -> int:
        """Spans that ended and will not arrive; once closed, those in the queue count too."""
        with self._lock:
            return self._lost + (self._queued + self._exporting if self._closed else 0)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing when a span starts."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue *span* if it was sampled and there is room."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._lock:
            if self._closed or self._queued >= self._max_queue:
                self._lost += 1
                return
            self._queued += 1
        self._batches.on_end(span)

    def after_fork(self) -> None:
        """
        Reset in a forked child: its parent exports what is in the queue, and has counted what was lost.

        The SDK's processor empties its queue and starts a thread by itself.
        """
        self._lock = self._new_lock()  # a thread that does not exist in the child may have acquired it
        self._queued = self._exporting = self._lost = 0
        self._closed = self._closed or self.ending

    def shutdown(self) -> None:
        """Export what is in the queue; takes as long as the exporter does, so do not wait for it without a limit."""
        self.ending = True
        self._batches.shutdown()  # type: ignore[no-untyped-call] # not typed by the SDK

    def close(self) -> None:
        """Accept no further span."""
        with self._lock:
            self._closed = True

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export now what is in the queue."""
        return self._batches.force_flush(timeout_millis)

    def begin_batch(self, count: int) -> None:
        """Record that a batch of *count* spans was taken from the queue."""
        with self._lock:
            self._queued -= count
            self._exporting += count

    def end_batch(self, count: int, *, lost: int) -> None:
        """Record that the export of a batch of *count* spans ended, and how many of them were lost."""
        with self._lock:
            self._exporting -= count
            self._lost += lost


class _Counted(SpanExporter):
    """An exporter that never raises and reports the end of each batch; logs one line when exports begin to fail."""

    def __init__(self, owner: BoundedExport, inner: _Own[SpanExporter], address: str) -> None:
        self._owner = owner
        self._inner = inner
        self._health = _Health(owner.name, "traces", address)
        self._out_of_reach = self._attempted_at_end = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._owner.begin_batch(len(spans))
        if self._out_of_reach and self._attempted_at_end:
            self._owner.end_batch(len(spans), lost=len(spans))
            return SpanExportResult.FAILURE
        self._attempted_at_end = (
            self._owner.ending
        )  # one more attempt at the end; a process that exits does not wait for a second one
        error = self._error_of(spans)
        self._out_of_reach = _lost(error, spans) >= len(spans)
        if _may_be_of_a_span(error):
            error = self._export_encodable(spans, error)
        self._owner.end_batch(len(spans), lost=_lost(error, spans))
        self._health.note(error)
        return SpanExportResult.SUCCESS if error is None else SpanExportResult.FAILURE

    def _export_encodable(self, spans: Sequence[ReadableSpan], error: Exception | None) -> Exception | None:
        """Export without the spans that cannot be encoded, such as one with half a character in its name."""
        encodable = [span for span in spans if _is_encodable(span)]
        bad = len(spans) - len(encodable)
        if not bad:
            return error
        rest = self._error_of(encodable) if encodable else None
        self._out_of_reach = rest is not None and _lost(rest, encodable) >= len(encodable)
        reason = f"{bad} of {len(spans)} spans cannot be encoded"
        return ExportError(reason if rest is None else f"{reason}; {_reason(rest)}", lost=bad + _lost(rest, encodable))

    def _error_of(self, spans: Sequence[ReadableSpan]) -> Exception | None:
        try:
            with _ours():
                arrived = self._inner.get().export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - an exporter is third-party code; its failure is one more lost batch
            return error
        return None if arrived else ExportError()

    def shutdown(self) -> None:
        with _ours():
            self._inner.get().shutdown()


def _lost(error: Exception | None, spans: Sequence[ReadableSpan]) -> int:
    """Return how many of *spans* did not arrive."""
    if error is None:
        return 0
    lost = error.lost if isinstance(error, ExportError) else None
    return len(spans) if lost is None else min(lost, len(spans))


def _may_be_of_a_span(error: Exception | None) -> bool:
    """Return whether *error* may be of encoding: neither of the system nor what came of a request."""
    return not (error is None or isinstance(error, OSError) or (isinstance(error, ExportError) and error.is_explained))


def _is_encodable(span: ReadableSpan) -> bool:
    try:
        with _ours():
            encode_line([span])
    except Exception:  # noqa: BLE001 - of protobuf, by its implementation
        return False
    return True


class OwnMetricReader(PeriodicExportingMetricReader):
    """
    Reads and exports metrics at intervals; a forked child shares neither connection nor lock with its parent.

    Args:
        make_exporter: Makes the exporter, once per process.
        address: Where it exports to, for log lines; free of secrets.
    """

    def __init__(self, make_exporter: Callable[[], MetricExporter], address: str) -> None:
        super().__init__(_OwnMetricExporter(make_exporter, address))

    def _at_fork_reinit(self) -> None:  # called by the SDK in a forked child
        # First the lock, which an export in the parent may have acquired, then the thread, which acquires it.
        self._export_lock = threading.Lock()
        super()._at_fork_reinit()  # type: ignore[no-untyped-call]


class _OwnMetricExporter(MetricExporter):
    def __init__(self, make_exporter: Callable[[], MetricExporter], address: str) -> None:
        self._inner = _Own(make_exporter)
        self._health = _Health("otlp", "metrics", address)
        inner = self._inner.get()
        super().__init__(inner._preferred_temporality, inner._preferred_aggregation)  # noqa: SLF001 - readers read these

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        try:
            with _ours():
                result = self._inner.get().export(metrics_data, timeout_millis, **kwargs)
        except Exception as error:  # noqa: BLE001 - as in `_Counted`
            self._health.note(error)
            return MetricExportResult.FAILURE
        self._health.note(None if result is MetricExportResult.SUCCESS else ExportError())
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._inner.get().force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        with _ours():
            self._inner.get().shutdown(timeout_millis, **kwargs)


class FileSpanExporter(SpanExporter):
    """
    Appends spans to a trace file, one line per batch; the format is that of `runtime/traces/trace_file.py`.

    Args:
        path: The file; made if it does not exist, with mode 0600.

    Raises:
        OSError: It is a symbolic link, or cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self._file = TraceFile(path)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append *spans*; fails on a full disk."""
        return SpanExportResult.SUCCESS if self._file.append(encode_line(spans)) else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the file."""
        self._file.close()


def encode_line(spans: Sequence[ReadableSpan]) -> bytes:
    """Return *spans* as one line of a trace file."""
    return format_line(MessageToDict(encode_spans(spans), use_integers_for_enums=True))
