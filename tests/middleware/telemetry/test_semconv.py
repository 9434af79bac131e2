"""Names that dashboards and alerts are built on: each is as documented."""

from pathlib import Path

import pytest

from middleware import InvalidArgumentError
from middleware.telemetry import semconv
from middleware.telemetry.semconv import Metric, server_attributes
from runtime.testing import ScriptedUpstream, run_virtual

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "observability.md").read_text()
NAMES = {name: value for name, value in vars(semconv).items() if name.isupper() and not name.startswith("_")}
METRICS = [value for value in NAMES.values() if isinstance(value, Metric)]
METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY"]
NEVER_SENT = ["CONNECT", "TRACE"]


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if isinstance(value, str)])
def test_each_name_is_documented(name):
    """As it is written; the schema is the conventions' own."""
    if name == "SCHEMA_URL":
        assert NAMES[name] == "https://opentelemetry.io/schemas/1.44.0"
    else:
        assert f"`{NAMES[name]}`" in DOCUMENT


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_metric_is_documented(metric):
    """With its kind, its unit, its meaning and all that its points may carry."""
    attributes = ", ".join(f"`{name}`" for name in metric.attributes)
    assert f"| `{metric.name}` | {metric.kind} | `{metric.unit}` | {metric.doc} | {attributes} |" in DOCUMENT


def test_spans_and_metrics_name_their_scope_and_the_conventions(recorder):
    """Of every library's, these are ours; and by which version of the conventions they are to be read."""

    async def scenario():
        await ScriptedUpstream([200]).client(telemetry=recorder.telemetry).get("/r", path_params={})

    run_virtual(scenario())
    scopes = [span.instrumentation_scope for span in recorder.exporter.get_finished_spans()]
    scopes += [
        found.scope
        for resource in recorder.reader.get_metrics_data().resource_metrics
        for found in resource.scope_metrics
    ]
    assert {(scope.name, scope.schema_url) for scope in scopes} == {(semconv.SCOPE, semconv.SCHEMA_URL)}
    assert len(scopes) == 3


def test_durations_have_the_buckets_of_the_conventions_and_up_to_the_deadline(recorder):
    """In seconds, for every service alike; a call that takes its whole deadline, 25 s, is not beyond the last bucket."""

    async def scenario():
        await ScriptedUpstream([200]).client(telemetry=recorder.telemetry).get("/r", path_params={})

    run_virtual(scenario())
    (point,) = recorder.points("http.client.request.duration")
    conventions = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert point.explicit_bounds == (*conventions, 15, 25, 30)


def test_the_methods_of_http_are_labels_and_no_others(recorder):
    """A label that anybody could choose would have no bound; what is never sent has no duration of a request."""
    upstream = ScriptedUpstream([], then=200)

    async def scenario():
        client = upstream.client(telemetry=recorder.telemetry)
        for method in (*METHODS, "PURGE", "LINK"):
            await client.request(method, "/r", path_params={})
        for method in NEVER_SENT:
            with pytest.raises(InvalidArgumentError, match="other than CONNECT and TRACE"):
                await client.request(method, "/r", path_params={})

    run_virtual(scenario())
    upstream.assert_count(len(METHODS) + 2)
    points = recorder.points("http.client.request.duration")
    assert {point.attributes["http.request.method"]: point.count for point in points} == {
        **dict.fromkeys(METHODS, 1),
        "_OTHER": 2,
    }


@pytest.mark.parametrize(
    ("base_url", "host", "port"),
    [
        ("http://a.test", "a.test", 80),
        ("https://a.test/x", "a.test", 443),
        ("http://a.test:1", "a.test", 1),
        ("https://[::1]:80", "::1", 80),
        ("/x", "", 80),
    ],
)
def test_the_server_is_told_by_host_and_port(base_url, host, port):
    """By the scheme's own port where none is given."""
    assert server_attributes(base_url) == {"server.address": host, "server.port": port}
