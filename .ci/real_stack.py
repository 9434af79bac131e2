"""
Run the local stack for real: the files of docker-compose.otel.yml with the real Collector, Jaeger and Prometheus.

Takes the directory of the programs (`.ci/stack_binaries.py` prints it). Every check is printed when it passed; the
first that fails ends the run.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from running_stack import ROOT, STATE, ask_json, command, ours, pid_of, query
from seen import ask, check, until  # isort: split

import yaml
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from middleware import PlatformError, StackSettings
from middleware.policies.bulkhead import BulkheadSettings
from middleware.policies.circuit_breaker import CircuitBreakerSettings
from middleware.policies.deadline import AttemptTimeoutSettings, DeadlineSettings
from middleware.policies.hedging import HedgingSettings
from middleware.policies.quota import QuotaSettings
from middleware.policies.retry import RetrySettings
from middleware.policies.retry_budget import RetryBudgetSettings
from middleware.settings import SecretUrl
from middleware.stack import FixedSettings, SettingsChange
from middleware.telemetry import semconv
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import Fault, Gateway
from runtime.telemetry import TelemetryHandle, configure_telemetry
from runtime.telemetry.exporting import encode_line
from runtime.traces.source import Source
from runtime.traces.trace_file import Span, read_line

ITEMS = "/api/service/items"
METRICS = [value for value in vars(semconv).values() if isinstance(value, semconv.Metric)]
# What was usual a day or a week ago: this stack has no past.
ONLY_AFTER_A_DAY = {
    "connector:mozaiks_operation_calls_failed:ratio_usual",
    "connector:mozaiks_operation_call_duration_seconds:p95_usual",
}
# Reported by the Collector only after it has lost something; promtool's tests see the alerts that read them.
ONLY_AFTER_A_LOSS = {"otelcol_exporter_send_failed_spans_total", "otelcol_exporter_enqueue_failed_spans_total"}


def trace(trace_id: str) -> list[Span]:
    """What Jaeger has of a trace, without what it would add for its pages."""
    document = ask_json(16686, f"/api/v3/traces/{trace_id}", raw_traces="true")
    return read_line(json.dumps(document["result"]).encode()) if document else []


def differences(here: list[Span], there: list[Span]) -> list[Any]:
    """Spans of either list without their like in the other; neither order nor repetition counts."""
    return [span for span in (*here, *there) if span not in here or span not in there]


def arrived(sent: list[Span]) -> list[Span]:
    """What Jaeger has of the trace of *sent*, once it is complete."""
    until(lambda: len(trace(sent[0].trace_id)) >= len(sent))
    return trace(sent[0].trace_id)


# The files, by the programs' own checks.


def check_files() -> None:
    composed = yaml.safe_load(command("compose-spec", "docker-compose.otel.yml"))["services"]
    here = [name for name, service in composed.items() if not service.get("profiles")]
    check("the compose specification accepts docker-compose.otel.yml", len(here) == 4, here)
    broken = Path(STATE.name) / "broken.yml"
    broken.write_text((ROOT / "docker-compose.otel.yml").read_text("utf-8").replace("restart:", "restrat:"), "utf-8")
    command("compose-spec", str(broken), code=1)
    command("otelcol-contrib", "validate", f"--config={ROOT}/dashboards/otel-collector.yml")
    check("the Collector accepts its file", True)
    check(
        "Prometheus accepts its file and the rules", command("promtool", "check", "config", "dashboards/prometheus.yml")
    )
    tests = [f"tests/dashboards/{name}.yml" for name in ("rules_test", "rules_history_test")]
    check("the rules' own tests pass", command("promtool", "test", "rules", *tests))


def check_page(page: str) -> None:
    """What Jaeger makes of jaeger-ui.js, run by a browser: a first choice for the Monitor tab, and the user's own."""
    (script,) = re.findall(r"(function UIConfig.*?)JAEGER_CONFIG", page, re.DOTALL)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("  not checked in a browser: there is none")
        return
    file = Path(STATE.name) / "page.html"
    file.write_text(
        f"<title></title><script>{script}\nlocalStorage.clear(); const said = UIConfig();"
        "const first = localStorage.lastAtmSearchSpanKind; localStorage.lastAtmSearchSpanKind = 'chosen'; UIConfig();"
        "document.title = [said.monitor.menuEnabled, first, localStorage.lastAtmSearchSpanKind].join();</script>",
        "utf-8",
    )
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={STATE.name}/browser", "--dump-dom")
    said = command(browser, *options, file.as_uri())
    check("Jaeger's page sets its Monitor tab to our calls", '<title>true,"internal",chosen</title>' in said, said)


# The eight stories.


async def tell_stories(handle: TelemetryHandle) -> None:
    """Each call under its own correlation id, `story-<name>`."""

    async def call(name: str, *faults: Fault, method: str = "GET", **sections: Any) -> None:
        async with Gateway() as gateway:
            gateway.script(*faults)
            client = PlatformHttpClient(
                gateway.url,
                gateway.api_key,
                service="service",
                telemetry=handle.telemetry,
                policies=StackSettings(**sections),
            )
            body = {"name": "Item"} if method == "POST" else None
            async with client:
                request = client.request(
                    method, ITEMS, path_params={}, json_body=body, operation=name, correlation_id=f"story-{name}"
                )
                if name == "rejected":  # the circuit is opened by a call before it
                    with contextlib.suppress(PlatformError):
                        await client.get(ITEMS, path_params={})
                if name == "cancelled":
                    task = asyncio.ensure_future(request)
                    while not gateway.requests:
                        await asyncio.sleep(0.001)
                    task.cancel()
                    request = task
                with contextlib.suppress(PlatformError, asyncio.CancelledError):
                    await request

    unavailable = Fault(kind="status", status=503, times=2)
    await call("success")
    await call("recovered", unavailable)
    await call("exhausted", Fault(kind="status", status=502, times=0))
    await call(
        "rejected",
        Fault(kind="status", status=500, times=0),
        circuit_breaker=CircuitBreakerSettings(min_calls=1),
        retry=RetrySettings(max_attempts=1),
    )
    await call("hedged", Fault(kind="stall"), hedging=HedgingSettings(max_hedges=1, delay_s=0.05))
    await call("deadline", Fault(kind="stall", times=0), deadline=DeadlineSettings(total_s=0.2))
    await call("cancelled", Fault(kind="stall", times=0))
    await call("unknown", Fault(kind="reset", applied=True), method="POST")


# Of each story: status and outcome of the call, its events, and status and resend count of every attempt.
STORIES = {
    "success": ("UNSET", "success", [], [("UNSET", None)]),
    "recovered": (
        "UNSET",
        "success",
        ["retry.scheduled", "retry.scheduled"],
        [("ERROR", None), ("ERROR", 1), ("UNSET", 2)],
    ),
    "exhausted": (
        "ERROR",
        "failure",
        ["retry.scheduled", "retry.scheduled", "retry.abandoned"],
        [("ERROR", None), ("ERROR", 1), ("ERROR", 2)],
    ),
    "rejected": ("ERROR", "failure", ["circuit_breaker.rejected"], []),
    "hedged": ("UNSET", "success", ["hedge.started", "hedge.won"], [("UNSET", None), ("UNSET", 1)]),
    "deadline": ("ERROR", "failure", ["deadline.reached"], [("ERROR", None)]),
    "cancelled": ("UNSET", "cancelled", [], [("UNSET", None)]),
    "unknown": ("ERROR", "unknown", [], [("ERROR", None)]),
}


def check_stories() -> None:
    memory = InMemorySpanExporter()
    with configure_telemetry(service_name="stories", span_exporters=[memory]) as handle:
        asyncio.run(tell_stories(handle))
    emitted = read_line(encode_line(memory.get_finished_spans()))
    for name, (status, outcome, events, attempts) in STORIES.items():
        (call,) = [span for span in emitted if span.attributes.get("mozaiks.correlation_id") == f"story-{name}"]
        sent = [span for span in emitted if span.trace_id == call.trace_id]
        there = arrived(sent)
        found = differences(sent, there)
        check(f"story {name}: Jaeger has its {len(sent)} spans as they were sent", not found, found)
        (root,) = [span for span in there if span.kind == "INTERNAL"]
        attempt_spans = sorted((span for span in there if span.kind == "CLIENT"), key=lambda span: span.start_ns)
        seen = (
            root.status,
            root.attributes["mozaiks.outcome"],
            [event.name for event in root.events],
            [(span.status, span.attributes.get("http.request.resend_count")) for span in attempt_spans],
        )
        check(
            f"story {name}: {outcome}, {len(attempt_spans)} attempts below one call",
            seen == (status, outcome, events, attempts),
            seen,
        )
        check(
            f"story {name}: one tree",
            {span.parent_id for span in attempt_spans} <= {root.span_id} and not root.parent_id,
        )
    services = ask_json(16686, "/api/v3/services")["services"]
    check("Jaeger lists the services", {"stories", "mozaiks-connector-demo"} <= set(services), services)
    operations = ask_json(16686, "/api/v3/operations", service="stories")["operations"]
    kinds = {(entry["name"], entry.get("spanKind", "").lower()) for entry in operations}
    wanted = {(f"service.{name}", "internal") for name in STORIES} | {
        ("GET " + ITEMS, "client"),
        ("POST " + ITEMS, "client"),
    }
    check("Jaeger lists the operations with their kinds", wanted <= kinds, kinds)
    with Source(["http://127.0.0.1:16686"]) as source:
        read = {span.name for span in source.spans()}
    check("the trace command's reader reads Jaeger", {f"service.{name}" for name in STORIES} <= read, read)


# The demo, and its trace file.


def check_demo() -> None:
    file = Path(STATE.name) / "traces.jsonl"
    for _ in range(2):
        ours("demo", "--traces", str(file))
    lines = file.read_bytes().splitlines()
    check("the demo passed, twice, with its spans sent to the Collector", lines)
    responses = [ask(4318, "/v1/traces", line) for line in lines]
    accepted = [status == 200 and not json.loads(body).get("partialSuccess") for status, body in responses]
    check(
        f"the Collector's /v1/traces accepts all {len(lines)} lines of the demo's trace file", all(accepted), responses
    )
    spans = [span for line in lines for span in read_line(line)]
    found = []
    for trace_id in (ids := {span.trace_id for span in spans}):
        sent = [span for span in spans if span.trace_id == trace_id]
        found += differences(sent, arrived(sent))
    check(f"all {len(ids)} traces in Jaeger are those of the file, attribute by attribute", not found, found)


# A secret that no redaction has seen.

SECRETS = {
    "authorization": "opaque-7f3a91",
    "http.request.header.cookie": ["sid=opaque-51c2"],
    "x_api_key": "moz_live_5e1f0c2b",
    "note": "it said Bearer abcdefgh12345678 and eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl",
    "url.full": "https://ada:wonderland@platform/x?page=2&api_key=query-51c27f&q=1",
    "who": ["ada@example.com"],
    "body": '{"api_key": "quoted-one","password":"quoted-two", "page": 2}',
    "escaped": r'"{\"password\": \"quoted-three\"}"',
    "yaml": "password: plain-hunter2, page: 2",
    "request": "Cookie: sid=plain-abc; other=plain-def",
    "retry": "Authorization: Token plain-ghi",
    "url.template": "https://tok3n-in-url@platform/x",
    **{
        name: f"keyed-{name}"
        for name in ("private_key", "access_key", "passphrase", "pwd", "access_tokens", "session_id")
    },
}
MARKERS = [
    "opaque-",
    "moz_live",
    "abcdefgh12345678",
    "eyJ",
    "wonderland",
    "query-51c27f",
    "ada@example.com",
    "quoted-",
    "plain-",
    "tok3n-in-url",
    "keyed-",
]


def check_secrets() -> None:
    memory = InMemorySpanExporter()
    with configure_telemetry(service_name="careless", span_exporters=[memory]) as handle:
        tracer = handle.tracer_provider.get_tracer("careless")
        span = tracer.start_span("fetch for ada@example.com", kind=SpanKind.CLIENT, attributes=SECRETS)
        span.add_event("exception", {"exception.message": SECRETS["note"], "token": "opaque-in-event"})
        span.add_event("log in with password=plain-in-event-name")
        span.set_attribute("gen_ai.usage.input_tokens", 17)
        from opentelemetry.trace import Status, StatusCode

        span.set_status(Status(StatusCode.ERROR, f"refused: {SECRETS['note']}"))
        span.end()
        trace_id = f"{span.get_span_context().trace_id:032x}"
    sent = encode_line(memory.get_finished_spans()).decode()
    check("the careless span carried every marker", [m for m in MARKERS if m in sent] == MARKERS)
    until(lambda: trace(trace_id))
    _, body = ask(16686, f"/api/v3/traces/{trace_id}")
    left = [marker for marker in MARKERS if marker in body.decode()]
    check("none of them is left in Jaeger", not left, (left, body))
    (there,) = trace(trace_id)
    shown = (
        there.name,
        there.message[:8],
        *(there.attributes[name] for name in ("url.full", "gen_ai.usage.input_tokens", "body", "yaml", "url.template")),
        [event.name for event in there.events],
    )
    check(
        "what is no secret is",
        shown
        == (
            "fetch for ****",
            "refused:",
            "https****platform/x?page=2&****&q=1",
            17,
            '{"****,"****, "page": 2}',
            "****, page: 2",
            "https****platform/x",
            ["exception", "log in with ****"],
        ),
        shown,
    )
    check("Prometheus got none of them either", not [m for m in MARKERS if m.encode() in ask(8889, "/metrics")[1]])


# Traffic in which everything that a panel shows happens.


class Reloading(FixedSettings):
    """Settings that change, and that once cannot be used."""

    def poll(self, now: float) -> SettingsChange | None:  # noqa: ARG002
        if not CHANGES:
            return None
        return SettingsChange(problems=("x: wrong",)) if CHANGES.pop() else SettingsChange(changes=("x",))


CHANGES = [True, False]


async def make_traffic(handle: TelemetryHandle, seconds: float) -> None:
    async with Gateway() as gateway:

        def client(service: str, policies: Any) -> PlatformHttpClient:
            return PlatformHttpClient(
                gateway.url, gateway.api_key, service=service, telemetry=handle.telemetry, policies=policies
            )

        async def go_on(act: Callable[[], Awaitable[Any]]) -> None:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                with contextlib.suppress(PlatformError):
                    await act()
                await asyncio.sleep(0.2)

        fast = RetrySettings(base_delay_s=0.01)
        no_breaker = CircuitBreakerSettings(mode="disabled")
        broken = client("broken", StackSettings(retry=fast, circuit_breaker=CircuitBreakerSettings(open_s=1.0)))
        poor = client(
            "poor", StackSettings(budget=RetryBudgetSettings(ratio=0, min_per_s=0), circuit_breaker=no_breaker)
        )
        late = client("late", StackSettings(hedging=HedgingSettings(max_hedges=1, delay_s=0.02)))
        capped = client(
            "capped",
            StackSettings(hedging=HedgingSettings(max_hedges=1, delay_s=0.02), retry=RetrySettings(max_attempts=1)),
        )
        narrow = client("narrow", StackSettings(bulkhead=BulkheadSettings(permits=1, queue=2)))
        shifted = client("shifted", StackSettings(circuit_breaker=no_breaker))
        shadow = client("shadow", StackSettings(circuit_breaker=CircuitBreakerSettings(mode="shadow")))
        # Its server is away, so that each process has its share.
        quota = QuotaSettings(per_second=50.0, replicas=2, url=SecretUrl("redis://127.0.0.1:9/0"))
        shared = client("shared", StackSettings(quota=quota))
        changing = client("changing", Reloading(StackSettings(attempt=AttemptTimeoutSettings(timeout_s=5))))
        gateway.script(
            Fault(kind="status", status=503, share=0.9, times=0, path="/api/broken/"),
            Fault(kind="status", status=503, times=0, path="/api/(poor|shadow)/"),
            Fault(kind="status", status=429, headers={"retry-after": "1"}, share=0.2, times=0, path="/api/shared/"),
            Fault(kind="latency", seconds=0.05, times=0, path="/api/(late|capped|narrow)/"),
            Fault(kind="reset", applied=True, times=0, method="POST", path="/api/changing/"),
            Fault(
                kind="status",
                status=200,
                headers={"x-correlation-id": str(uuid.uuid4())},
                share=0.5,
                times=0,
                path="/api/shifted/",
            ),
        )

        async def crowd() -> None:
            await asyncio.gather(
                *(narrow.get("/api/narrow/items", path_params={}) for _ in range(5)), return_exceptions=True
            )

        await asyncio.gather(
            go_on(lambda: broken.get("/api/broken/items", path_params={})),
            go_on(lambda: poor.get("/api/poor/items", path_params={})),
            go_on(lambda: late.get("/api/late/items", path_params={})),
            go_on(lambda: capped.get("/api/capped/items", path_params={})),
            go_on(crowd),
            go_on(lambda: shifted.get("/api/shifted/items", path_params={})),
            go_on(lambda: shadow.get("/api/shadow/items", path_params={})),
            # Two, since the one that is given a Retry-After waits as a retry does, and the other for the penalty.
            go_on(lambda: shared.get("/api/shared/items", path_params={})),
            go_on(lambda: shared.get("/api/shared/items", path_params={})),
            go_on(lambda: changing.get("/api/changing/items", path_params={})),
            go_on(lambda: changing.post("/api/changing/items", path_params={}, json_body={"name": "Item"})),
        )
        for made in (broken, poor, late, capped, narrow, shifted, shadow, shared, changing):
            await made.aclose()


def check_panels() -> None:
    with configure_telemetry(service_name="busy") as handle:
        asyncio.run(make_traffic(handle, 25))
        dashboard = json.loads((ROOT / "dashboards/grafana/connectors.json").read_text("utf-8"))
        empty = []
        panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
        targets = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
        for title, written in targets:
            expression = written.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$connector", ".*")
            if any(name in expression for name in ONLY_AFTER_A_DAY):
                check(f"{title}: no usual value without a past", query(expression) == [])
            elif not until(lambda expression=expression: query(expression), 10):
                empty.append((title, expression))
        check(f"all {len(targets)} queries of the {len(panels)} panels return data", not empty, empty)
        (annotation,) = dashboard["annotations"]["list"]
        marks = ask_json(
            9090,
            "/api/v1/query_range",
            query=annotation["expr"].replace("$job", ".*"),
            start=str(time.time() - 300),
            end=str(time.time()),
            step=annotation["step"],
        )["data"]["result"]
        check("a reload is a mark on the dashboard", [found["metric"] for found in marks] == [{"job": "busy"}], marks)
        rules = yaml.safe_load((ROOT / "dashboards/rules.yml").read_text("utf-8"))
        written = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
        labels = {name.replace(".", "_") for metric in METRICS for name in metric.attributes}
        read = set(re.findall(r"\b(?:mozaiks_|otelcol_|connector:)[a-z0-9_:]*|\bup\b", written)) - labels
        missing = [name for name in sorted(read - ONLY_AFTER_A_LOSS - ONLY_AFTER_A_DAY) if not query(name)]
        check(
            f"all {len(read)} metrics that rules read exist, but for those reported later or after a loss",
            not missing,
            missing,
        )
        states = {
            rule["health"] for group in ask_json(9090, "/api/v1/rules")["data"]["groups"] for rule in group["rules"]
        }
        check("Prometheus evaluates every rule without error", states == {"ok"}, states)
        wanted = {"WriteOutcomeUnknown", "RetryBudgetExhausted", "ConnectorRefusesItself", "SettingsRejected"}
        firing = {alert["labels"]["alertname"] for alert in ask_json(9090, "/api/v1/alerts")["data"]["alerts"]}
        check(f"the alerts that need no patience fire: {', '.join(sorted(wanted))}", wanted <= firing, firing)
        selector = "mozaiks_connector_call_duration_seconds_bucket"
        now = time.time()
        exemplars = ask_json(9090, "/api/v1/query_exemplars", query=selector, start=str(now - 600), end=str(now))[
            "data"
        ]
        ids = [found["labels"]["trace_id"] for series in exemplars for found in series["exemplars"]]
        check(
            f"{len(ids)} exemplars in Prometheus, and the newest leads to a trace in Jaeger",
            ids and trace(ids[-1]),
            ids,
        )
    for kind in ("internal", "client"):
        for what, more in (("calls", {}), ("errors", {}), ("latencies", {"quantile": "0.95"})):
            found = ask_json(
                16686,
                f"/api/metrics/{what}",
                service="busy",
                spanKind=kind,
                groupByOperation="true",
                lookback="300000",
                ratePer="60000",
                step="5000",
                **more,
            )
            check(f"Jaeger's Monitor tab has {what} of spans of kind {kind}", found and found.get("metrics"), found)


def check_runbook() -> None:
    """Each page's condition finds traces of the traffic above, by the search that Jaeger's page makes."""
    text = (ROOT / "docs/runbook.md").read_text("utf-8")
    conditions = re.findall(r"- \*\*Trace\*\*:[^`]*`([^`]+)`", text)
    for condition in conditions:
        tags = dict(pair.split("=", 1) for pair in condition.split())
        service = tags.pop("mozaiks.connector.name", "")
        tags |= {"mozaiks.connector.name": "broken"} if service else {}
        found = ask_json(16686, "/api/traces", service="busy", tags=json.dumps(tags), limit="1", lookback="1h")
        check(f"Jaeger's search finds a trace by {condition}", found and found["data"], found)
    check("every page of the runbook about calls has its search", len(conditions) == text.count("**Trace**"))


# The Collector dies under traffic.


async def call_through_the_gap(handle: TelemetryHandle) -> tuple[int, int, int]:
    """Calls, failures, requests at the gateway, while the Collector is killed and started again."""
    done = failed = 0
    async with Gateway() as gateway:
        client = PlatformHttpClient(gateway.url, gateway.api_key, service="service", telemetry=handle.telemetry)

        async def act(script: asyncio.Task[None]) -> None:
            nonlocal done, failed
            while not script.done():
                try:
                    await client.get(ITEMS, path_params={}, operation="steady")
                except PlatformError:
                    failed += 1
                done += 1
                await asyncio.sleep(0.02)

        async def kill_and_start() -> None:
            await asyncio.sleep(6)
            os.kill(pid_of("otel-collector"), signal.SIGKILL)
            await asyncio.sleep(12)
            await asyncio.to_thread(ours, "stack", "status", code=1)
            await asyncio.to_thread(ours, "stack", "up")
            await asyncio.sleep(15)

        script = asyncio.create_task(kill_and_start())
        await asyncio.gather(act(script), script)
        await client.aclose()
        return done, failed, len(gateway.requests)


def check_outage() -> None:
    started = time.time()
    memory = InMemorySpanExporter()
    with configure_telemetry(service_name="steady", span_exporters=[memory]) as handle:
        done, failed, requests = asyncio.run(call_through_the_gap(handle))
        check(f"{done} calls while the Collector was gone for 12 s: none failed", (failed, done) == (0, requests))
        lost = handle.dropped["otlp"]
        check(f"{lost} spans were lost and counted", lost > 0)
    last = memory.get_finished_spans()[-1]
    check("spans flow again", until(lambda: trace(f"{last.context.trace_id:032x}")))
    seen = until(lambda: query('sum(mozaiks_telemetry_export_dropped_total{job="steady"}) > 0'))
    check("the panel of lost spans shows their number", seen and float(seen[0]["value"][1]) == lost, (seen, lost))
    series = ask_json(
        9090,
        "/api/v1/query_range",
        query='min(up{job="otel-collector"})',
        start=str(started),
        end=str(time.time()),
        step="5",
    )["data"]["result"][0]["values"]
    ups = [value for _, value in series]
    check("the panel of scrapes shows the gap", "0" in ups and ups[-1] == "1", ups)


def check_as_composed() -> None:
    """In a process of its own, in namespaces of its own: see `.ci/as_composed.py`."""
    # With a /proc of its own: a Collector that does not find itself there ends at once.
    namespaces = ("unshare", "--mount", "--net", "--pid", "--mount-proc", "--fork", "--kill-child")
    missing = [tool for tool in ("unshare", "ip", "chroot", "wget") if shutil.which(tool) is None]
    if missing:
        print(f"  not checked as composed: no {', '.join(missing)} on this machine")
        return
    if os.geteuid() != 0 or subprocess.run([*namespaces, "true"], check=False, capture_output=True).returncode:
        print("  not checked as composed: that needs root and namespaces")
        return
    place = Path(STATE.name) / "root"
    place.mkdir()
    print(command(*namespaces, sys.executable, str(ROOT / ".ci/as_composed.py"), sys.argv[1], str(place)), end="")


def check_up() -> None:
    started = time.monotonic()
    said = ours("stack", "up")
    check(f"the stack is up after {time.monotonic() - started:.1f} s", said.count("ready") == 3, said)
    check("it says that this Jaeger has no pages", "without its pages" in ours("stack", "status"))
    check_page(ask(16686, "/")[1].decode())


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # else nothing would be taken down
    check_files()
    check("nothing is up", "not up" in ours("stack", "status", code=1))
    try:
        check_up()
        check_demo()
        check_stories()
        check_secrets()
        check_panels()
        check_runbook()
        check_outage()
    finally:
        ours("stack", "down")
    check("nothing is left", "not up" in ours("stack", "status", code=1))
    check_as_composed()


if __name__ == "__main__":
    try:
        main()
    finally:
        STATE.cleanup()
