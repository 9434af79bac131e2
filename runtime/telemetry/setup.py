"""
Telemetry for hosts that have none: the OpenTelemetry SDK, OTLP over HTTP, a trace file; bounded in time and memory.

Opt-in: importing the library does not import this module, and a host with an SDK of its own does not need it. Needs the
`otel` extra, which is imported when `configure_telemetry` is called.
"""

import atexit
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.util import Finalize, register_after_fork
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

from middleware.errors import ConfigError
from middleware.redaction import redact, redact_target
from middleware.stack import Telemetry
from middleware.telemetry import semconv
from runtime._internal.installation import install_command
from runtime._version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter

    from .exporting import BoundedExport, OwnMetricReader

__all__ = ["TelemetryHandle", "configure_telemetry"]

_EXPORT_TIMEOUT_S = 2.0
"""Longest time of one export. Below the limit of `shutdown`, so that a slow collector still gets the last batch."""
_SHUTDOWN_S = 2.5
"""Longest time for the end of telemetry: one export and a little more, so that a program ends within three seconds."""
_FILE_DELAY_S = 0.2
"""Longest wait of a span for the trace file: short, for readers that follow the file."""
_CONFIG_FILE = "OTEL_CONFIG_FILE"
_DEFAULT_QUEUE, _DEFAULT_BATCH, _DEFAULT_DELAY_S = 2048, 512, 5.0  # the specification's

# A header of `OTEL_EXPORTER_OTLP_HEADERS` that the SDK accepts; it skips any other, and logs it with its value.
_HEADER = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+[ \t]*=[ \t]*[ !#-+\--:<-\[\]-~]*")


def configure_telemetry(
    *,
    service_name: str = "mozaiks-connectors",
    trace_file: str | os.PathLike[str] | None = None,
    span_exporters: "Sequence[SpanExporter]" = (),
    metric_readers: "Sequence[MetricReader]" = (),
    set_global: bool = False,
    instrument_httpx: bool = False,
    trust_env: bool = False,
) -> "TelemetryHandle":
    """
    Set up the OpenTelemetry SDK.

    Spans and metrics go to a collector by OTLP over HTTP where `OTEL_EXPORTER_OTLP_ENDPOINT`, or its form for one
    signal, is set; nothing is sent anywhere else. The other `OTEL_*` variables of the SDK count too: service name and
    resource attributes, sampler, headers, batch sizes, `OTEL_TRACES_EXPORTER=none`, `OTEL_SDK_DISABLED`.

    A process forked afterwards (`gunicorn --preload`, `multiprocessing`) continues with a queue, counters of what was
    dropped, connections and a shutdown of its own, and appends to the same trace file. Its metrics start from its
    parent's numbers, so fork before the first call. A child that ends by `os._exit` calls `shutdown` before; in
    Celery's pool a handler of the signal `worker_process_shutdown` does.

    Args:
        service_name: Name of the program, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` gives one.
        trace_file: Also append spans to this file, as OTLP JSON Lines. A new file has mode 0600; a symbolic link is an
            error.
        span_exporters: Further exporters, each called with a span when it ends: for tests and demonstrations.
        metric_readers: Further readers of metrics.
        set_global: Make the providers OpenTelemetry's global ones, for the host's own spans too. A process can do so
            once.
        instrument_httpx: Trace the host's other httpx clients by `opentelemetry-instrumentation-httpx`. Calls of
            connectors are left out: they have spans of their own.
        trust_env: Export through the proxies that the environment names, and with the passwords of a `.netrc`.

    Raises:
        ConfigError: A variable or argument is unusable, the extra is not installed, or a global provider exists.
    """
    try:
        return TelemetryHandle(
            _Settings.read(os.environ, service_name, trace_file),
            span_exporters=span_exporters,
            metric_readers=metric_readers,
            set_global=set_global,
            instrument_httpx=instrument_httpx,
            trust_env=trust_env,
        )
    except ModuleNotFoundError as error:
        raise ConfigError(f"telemetry needs {error.name}: {install_command('otel')}") from None


def export_addresses(environ: Mapping[str, str]) -> dict[str, str]:
    """
    Return where the environment sends `traces` and `metrics`, without a password; what goes nowhere is left out.

    Raises:
        ConfigError: A variable is unusable.
    """
    found = _Settings.read(environ, "", None)
    addresses = {} if found.disabled else {"traces": found.traces_address, "metrics": found.metrics_address}
    return {signal: address for signal, address in addresses.items() if address}


class _Settings:
    """Settings from the environment and the caller, validated."""

    def __init__(self) -> None:
        self.service_name: str | None = None
        self.trace_file: Path | None = None
        self.disabled = False
        self.traces_to = self.metrics_to = ""
        self.traces_address = self.metrics_address = ""
        self.timeout_s = _EXPORT_TIMEOUT_S
        self.max_queue, self.max_batch, self.delay_s = _DEFAULT_QUEUE, _DEFAULT_BATCH, _DEFAULT_DELAY_S

    @classmethod
    def read(cls, environ: Mapping[str, str], service_name: str, trace_file: Any) -> Self:
        problems: list[str] = []
        found = cls()
        named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        found.service_name = None if named else service_name
        found.trace_file = None if trace_file is None else Path(trace_file)
        found.disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        found.traces_to, found.traces_address = _endpoint(environ, "TRACES", problems)
        found.metrics_to, found.metrics_address = _endpoint(environ, "METRICS", problems)
        for signal in [*["TRACES"] * bool(found.traces_to), *["METRICS"] * bool(found.metrics_to)]:
            _check_headers(environ, signal, problems)
        if found.metrics_to:
            _check_histograms(environ, problems)
        if environ.get(_CONFIG_FILE, "").strip():
            problems.append(f"{_CONFIG_FILE}: not read here; set up the SDK by it, and pass its providers on instead")
        # The specification says milliseconds, Python's exporters read seconds: longer than ours is neither.
        found.timeout_s = min(_EXPORT_TIMEOUT_S, _number(environ, "OTEL_EXPORTER_OTLP_TIMEOUT", 10.0, problems))
        found.max_queue = int(_number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", _DEFAULT_QUEUE, problems))
        found.max_batch = int(_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", _DEFAULT_BATCH, problems))
        found.delay_s = _number(environ, "OTEL_BSP_SCHEDULE_DELAY", _DEFAULT_DELAY_S * 1000, problems) / 1000
        if problems:
            raise ConfigError(problems)
        return found


def _endpoint(environ: Mapping[str, str], signal: str, problems: list[str]) -> tuple[str, str]:
    """Return the base endpoint of *signal*, and its address for log lines; empty when it is not exported."""
    chosen = environ.get(f"OTEL_{signal}_EXPORTER", "otlp").strip() or "otlp"
    if chosen not in {"otlp", "none"}:
        problems.append(f"OTEL_{signal}_EXPORTER: must be otlp or none, got {chosen!r}")
    for name, path in (
        (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", ""),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"/v1/{signal.lower()}"),
    ):
        value = environ.get(name, "").strip()
        if not value or chosen == "none":
            continue
        address = ""
        try:
            parts = urlsplit(value)
            if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
                host = parts.netloc.rpartition("@")[2]  # without a password
                target = (parts.path.rstrip("/") + path if path else parts.path) + f"?{parts.query}" * bool(parts.query)
                address = f"{parts.scheme}://{host}{redact_target(target)}"
        except ValueError:
            pass
        if not address:
            problems.append(f"{name}: must be an absolute http:// or https:// URL")
        for variable in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            protocol = environ.get(variable, "").strip()
            if protocol and protocol != "http/protobuf":
                problems.append(f"{variable}: only http/protobuf is supported, got {protocol!r}")
                break
        return value, address
    return "", ""


def _check_headers(environ: Mapping[str, str], signal: str, problems: list[str]) -> None:
    """Add a problem for a header that could not be sent; without its text, which may be a credential."""
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"):
        headers = [header.strip(" \t") for header in environ.get(name, "").split(",")]
        bad = [at for at, header in enumerate(headers, 1) if header and not _is_header(header)]
        problem = f"{name}: header {', '.join(map(str, bad))} is not name=value, percent-encoded"
        if bad and problem not in problems:
            problems.append(problem)


def _is_header(text: str) -> bool:
    value = unquote(text.partition("=")[2])
    sendable = value.isprintable() and all(character <= "\xff" for character in value)  # as HTTP sends headers
    return sendable and _HEADER.fullmatch(text) is not None


def _check_histograms(environ: Mapping[str, str], problems: list[str]) -> None:
    """Add a problem for histograms of another kind: the panels and alerts of latency read explicit buckets."""
    name, only = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram"
    chosen = environ.get(name, "").strip()
    if chosen and chosen.lower() != only:
        problems.append(f"{name}: only {only} is supported, got {chosen!r}; the dashboards read its buckets")


def _number(environ: Mapping[str, str], name: str, default: float, problems: list[str]) -> float:
    text = environ.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1
    if not 1 <= value < float("inf"):
        problems.append(f"{name}: must be a number of at least 1, got {text!r}")
    return value


class TelemetryHandle:
    """
    Configured telemetry; a context manager that shuts it down.

    Attributes:
        telemetry: Argument for `ConnectorConfig` and `PlatformHttpClient`.
        tracer_provider: For the host's own spans.
        meter_provider: For the host's own metrics.
        endpoint: Where spans are sent by OTLP; empty when they are not.
    """

    def __init__(
        self,
        settings: _Settings,
        *,
        span_exporters: "Sequence[SpanExporter]",
        metric_readers: "Sequence[MetricReader]",
        set_global: bool,
        instrument_httpx: bool,
        trust_env: bool,
    ) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor

        if set_global:
            _refuse_second_global()
        instrumentor = _httpx_instrumentor() if instrument_httpx else None
        self._exports = [] if settings.disabled else list(_exports(settings, trust_env=trust_env))
        self._ends: float | None = None
        resource = _resource(settings)
        self.endpoint = settings.traces_to
        self.tracer_provider: TracerProvider = TracerProvider(resource=resource, shutdown_on_exit=False)
        for exporter in span_exporters:
            self.tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
        for export in self._exports:
            self.tracer_provider.add_span_processor(export)
        self.meter_provider: MeterProvider = MeterProvider(
            metric_readers=[
                *metric_readers,
                *([] if settings.disabled else _metric_readers(settings, trust_env=trust_env)),
            ],
            resource=resource,
            shutdown_on_exit=False,
        )
        self._observe_drops()
        self.telemetry = Telemetry(tracer_provider=self.tracer_provider, meter_provider=self.meter_provider)
        self._undo_httpx: Callable[[], None] | None = None
        self._enders = self._begin_enders()
        if set_global and not _set_global(self):
            self.shutdown(0)
            raise ConfigError(_GLOBAL_EXISTS)
        if instrumentor is not None:
            self._undo_httpx = _instrument_httpx(instrumentor, self)
        atexit.register(self.shutdown)
        _when_forked(self)

    def _begin_enders(self) -> "list[_Ender]":
        return [_Ender(self.meter_provider.shutdown), *(_Ender(export.shutdown) for export in self._exports)]

    def _after_fork(self) -> None:
        """Reset in a forked child: it has no threads, and one of the parent's may have acquired a lock for ever."""
        for export in self._exports:
            export.after_fork()
        if self._ends is None:
            self._enders = self._begin_enders()

    @property
    def dropped(self) -> dict[str, int]:
        """Spans that ended and were not exported, per exporter: `otlp`, `file`."""
        return {export.name: export.dropped for export in self._exports}

    def _observe_drops(self) -> None:
        from opentelemetry.metrics import CallbackOptions, Observation

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(count, {semconv.EXPORTER: name}) for name, count in self.dropped.items()]

        metric = semconv.METRIC_EXPORT_DROPPED
        meter = self.meter_provider.get_meter(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
        meter.create_observable_counter(metric.name, [observe], metric.unit, metric.doc)

    def shutdown(self, timeout_s: float = _SHUTDOWN_S) -> bool:
        """
        Export what is in the queues and shut down, within *timeout_s* seconds; idempotent.

        The SDK's own shutdown can wait half a minute for a collector that does not respond. Here each signal is shut
        down in a thread, and this process waits for the threads no longer than the timeout.

        It may be called from any thread and from a signal handler, also while another call of it waits, even on the
        same thread: the first call starts the shutdown, and no later one waits beyond the first one's timeout. It
        blocks its thread; on an event loop run it in another one, as `runtime.asgi.connectors_lifespan` does.

        Returns:
            True when everything was exported or counted as lost within the time.
        """
        # No lock: a signal handler that interrupts this function would wait for it for ever. Each step is safe to
        # repeat.
        ends = time.monotonic() + timeout_s
        if self._ends is None:
            self._ends = ends
        ends = min(ends, self._ends)
        atexit.unregister(self.shutdown)
        undo_httpx, self._undo_httpx = self._undo_httpx, None
        if undo_httpx is not None:
            undo_httpx()
        for ender in self._enders:
            ender.begin()
        in_time = all(ender.ended_within(ends - time.monotonic()) for ender in self._enders)
        for export in self._exports:
            export.close()
        return in_time

    def __enter__(self) -> Self:
        """Return the handle, which `with` shuts down at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()


def _when_forked(handle: TelemetryHandle) -> None:
    """Reset *handle* in each forked child, and shut it down when the child ends."""
    weakly = weakref.WeakMethod(handle._after_fork)  # noqa: SLF001 - this function is as private

    def begin() -> None:
        after_fork = weakly()
        if after_fork is not None:
            after_fork()

    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(after_in_child=begin)
    # A child of `multiprocessing` ends without `atexit`; it has a registry of its own.
    register_after_fork(handle, lambda here: Finalize(here, here.shutdown, exitpriority=0))


class _Ender:
    """A thread that waits to shut one signal down: started early, because a process that exits can start no thread."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act
        self._ended = False
        # Bare locks, each released once. The events and joins of `threading` acquire a lock of their own for a moment,
        # and a signal handler that runs in that moment, on the same thread, would wait for itself.
        self._begin, self._end = threading.Lock(), threading.Lock()
        self._begin.acquire()
        self._end.acquire()
        threading.Thread(target=self._run, name="telemetry-shutdown", daemon=True).start()

    def _run(self) -> None:
        self._begin.acquire()
        try:
            self._act()
        finally:
            self._ended = True
            self._end.release()

    def begin(self) -> None:
        with suppress(RuntimeError):  # it has begun
            self._begin.release()

    def ended_within(self, timeout_s: float) -> bool:
        if not self._ended and self._end.acquire(timeout=max(0.0, timeout_s)):
            self._end.release()  # for other threads that wait
        return self._ended


def _resource(settings: _Settings) -> "Resource":
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": settings.service_name} if settings.service_name else {})


def _exports(settings: _Settings, *, trust_env: bool) -> "Iterable[BoundedExport]":
    from .exporting import BoundedExport, FileSpanExporter, quieten_our_exporters

    queue, batch = settings.max_queue, settings.max_batch
    try:
        if settings.traces_to:
            from .otlp import CheckedSpanExporter

            def otlp() -> CheckedSpanExporter:
                return CheckedSpanExporter(settings.timeout_s, trust_env=trust_env)

            yield BoundedExport("otlp", otlp, queue, batch, settings.delay_s, address=settings.traces_address)
        if settings.trace_file is not None:
            file = FileSpanExporter(settings.trace_file)
            # Shared by all processes: each batch is one write, which the system appends whole.
            yield BoundedExport("file", lambda: file, queue, batch, _FILE_DELAY_S, address=str(settings.trace_file))
    except OSError as error:
        raise ConfigError(f"trace_file: cannot write {settings.trace_file}: {error.strerror or error}") from None
    quieten_our_exporters()


def _metric_readers(settings: _Settings, *, trust_env: bool) -> "Iterable[OwnMetricReader]":
    if settings.metrics_to:
        from .exporting import OwnMetricReader, quieten_our_exporters
        from .otlp import CheckedMetricExporter

        quieten_our_exporters()
        yield OwnMetricReader(
            lambda: CheckedMetricExporter(settings.timeout_s, trust_env=trust_env), settings.metrics_address
        )


_GLOBAL_EXISTS = "set_global: the host has set OpenTelemetry's global providers already; use those"


def _refuse_second_global() -> None:
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider) or isinstance(
        metrics.get_meter_provider(), MeterProvider
    ):
        raise ConfigError(_GLOBAL_EXISTS)


def _set_global(handle: TelemetryHandle) -> bool:
    """Make the providers of *handle* global; False where the API, which logs and does not raise, kept another one."""
    from opentelemetry import metrics, trace

    # Meters first: whether there are any is not seen before, and a process keeps the first provider of each kind.
    metrics.set_meter_provider(handle.meter_provider)
    if metrics.get_meter_provider() is not handle.meter_provider:
        return False
    trace.set_tracer_provider(handle.tracer_provider)
    return trace.get_tracer_provider() is handle.tracer_provider


def _httpx_instrumentor() -> Any:
    try:
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

        return HTTPXClientInstrumentor()
    except ModuleNotFoundError:
        raise
    except Exception as error:  # noqa: BLE001 - it imports the host's propagators, which may not be installed
        raise ConfigError(
            f"instrument_httpx: opentelemetry-instrumentation-httpx cannot be imported: {redact(str(error))}"
        ) from None


def _instrument_httpx(instrumentor: Any, handle: TelemetryHandle) -> Callable[[], None] | None:
    """Instrument httpx; returns the function that undoes it, or None when the host has instrumented it itself."""
    if instrumentor.is_instrumented_by_opentelemetry:
        return None
    instrumentor.instrument(tracer_provider=handle.tracer_provider, meter_provider=handle.meter_provider)
    return instrumentor.uninstrument  # type: ignore[no-any-return] # the package is not typed
