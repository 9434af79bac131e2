"""
OTLP over HTTP that checks the collector's response.

The SDK's own exporters count a redirect as success and do not read responses, so spans that a collector rejects, or
that only reached a login page, count as delivered; and the reason of a failed export is in their own logs only. Here
every export that did not arrive whole raises, with the reason.

Needs the `otel` extra. Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import requests
from google.protobuf import json_format  # type: ignore[import-untyped] # no stubs with the package
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from middleware.redaction import redact
from runtime.telemetry.exporting import ExportError

__all__ = ["CheckedMetricExporter", "CheckedSpanExporter", "export_nothing"]

_LONGEST_MESSAGE = 200
_FIRST_REDIRECT, _FIRST_ERROR = 300, 400


class _Session(requests.Session):
    """
    Sends exports of one signal; does not follow redirects, which would make a GET of a POST and lose its body.

    Args:
        signal: `traces` or `metrics`.
        trust_env: Use the proxies and the `.netrc` of the environment. Otherwise neither a collector next to the
            program is asked for through a proxy, nor does a password for its host go out in place of a header.

    Attributes:
        problem: Why the last export did not arrive whole; None when it did.
    """

    def __init__(self, signal: str, *, trust_env: bool = False) -> None:
        super().__init__()
        self.trust_env = trust_env
        self._signal = signal
        self.problem: ExportError | None = None

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        self.problem = None
        try:
            response = super().send(request, **{**kwargs, "allow_redirects": False})
        except Exception as error:
            self.problem = ExportError(type(error).__name__)
            raise
        if response.status_code >= _FIRST_ERROR:  # the exporter decides whether to retry it
            self.problem = ExportError(f"status {response.status_code}")
        elif response.status_code >= _FIRST_REDIRECT:
            self.problem = ExportError(f"status {response.status_code}, a redirect, which is not followed")
            raise self.problem
        elif rejected := self._rejected(response):
            self.problem = rejected
            raise self.problem
        return response

    def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
        settings = super().merge_environment_settings(*args, **kwargs)
        if (
            not self.trust_env and settings["verify"] is True
        ):  # the authorities of the environment are used all the same
            settings["verify"] = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        return settings

    def _rejected(self, response: requests.Response) -> ExportError | None:
        """Return the error for items that the collector rejected; None for none, or for an unreadable body."""
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        document: Any = ExportTraceServiceResponse() if self._signal == "traces" else ExportMetricsServiceResponse()
        with suppress(Exception):  # the status says "accepted", whatever the body is
            if content_type == "application/x-protobuf":
                document.ParseFromString(response.content)
            elif content_type == "application/json":
                json_format.Parse(response.content, document, ignore_unknown_fields=True)
        partial = document.partial_success
        rejected = partial.rejected_spans if self._signal == "traces" else partial.rejected_data_points
        if rejected <= 0:
            return None
        said = redact(partial.error_message, limit=_LONGEST_MESSAGE)
        return ExportError(f"partial success, {rejected} rejected{': ' * bool(said)}{said}", lost=rejected)


def _session_for(signal: str, watched: _Session) -> _Session | None:
    """Return *watched*; None where the host lets the SDK load a session with credentials of its own."""
    name = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_{}CREDENTIAL_PROVIDER"
    own = os.environ.get(name.format("")) or os.environ.get(name.format(f"{signal.upper()}_"))
    return None if own else watched


class CheckedSpanExporter(OTLPSpanExporter):
    """
    Sends spans.

    Args:
        timeout_s: Longest time of one export.
        trust_env: Use the proxies and the `.netrc` of the environment.
    """

    def __init__(self, timeout_s: float, *, trust_env: bool = False) -> None:
        self._watched = _Session("traces", trust_env=trust_env)
        super().__init__(timeout=timeout_s, session=_session_for("traces", self._watched))

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """
        Send *spans*.

        Raises:
            ExportError: Not all of them arrived.
        """
        self._watched.problem = None
        result = SpanExportResult.FAILURE
        with suppress(ExportError):
            result = super().export(spans)
        if result is not SpanExportResult.SUCCESS:
            raise self._watched.problem or ExportError()
        return result


class CheckedMetricExporter(OTLPMetricExporter):
    """
    Sends metrics.

    Args:
        timeout_s: Longest time of one export.
        trust_env: Use the proxies and the `.netrc` of the environment.
    """

    def __init__(self, timeout_s: float, *, trust_env: bool = False) -> None:
        self._watched = _Session("metrics", trust_env=trust_env)
        super().__init__(timeout=timeout_s, session=_session_for("metrics", self._watched))

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """
        Send *metrics_data*.

        Raises:
            ExportError: Not all of it arrived.
        """
        self._watched.problem = None
        result = MetricExportResult.FAILURE
        with suppress(ExportError):
            result = super().export(metrics_data, timeout_millis, **kwargs)
        if result is not MetricExportResult.SUCCESS:
            raise self._watched.problem or ExportError()
        return result


def export_nothing(signals: Iterable[str], timeout_s: float) -> dict[str, str]:
    """
    Send an empty export of each of *signals*, with the environment's headers and certificates.

    Returns:
        Why one did not arrive, by signal.
    """
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # the reason is returned
    problems = {}
    for signal in signals:
        try:
            if signal == "traces":
                CheckedSpanExporter(timeout_s).export([])
            else:
                CheckedMetricExporter(timeout_s).export(MetricsData(resource_metrics=[]))
        except ExportError as error:
            problems[signal] = str(error) or "no response"
        except OSError as error:  # a certificate file that cannot be read
            problems[signal] = type(error).__name__
    return problems
