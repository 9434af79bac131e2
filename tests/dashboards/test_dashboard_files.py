"""The local stack's files: pinned, private to the machine, in agreement with each other and with the code's names."""

import importlib.util
import itertools
import json
import re
import tomllib
from pathlib import Path

import promql_parser
import pytest
import yaml

from middleware.telemetry import semconv
from middleware.telemetry.semconv import DURATION_BOUNDS
from runtime.cli.local_stack import SERVICES
from runtime.settings import settings_table
from runtime.settings.resolution import ResolvedSettings
from runtime.settings.sources import FILE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "dashboards"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.otel.yml").read_text("utf-8"))
CONTAINERS = COMPOSE["services"]
COLLECTOR = yaml.safe_load((FILES / "otel-collector.yml").read_text("utf-8"))
AGENT = yaml.safe_load((FILES / "scale" / "agent.yml").read_text("utf-8"))
TIER = yaml.safe_load((FILES / "scale" / "tier.yml").read_text("utf-8"))
JAEGER = yaml.safe_load((FILES / "jaeger.yml").read_text("utf-8"))
PROMETHEUS = yaml.safe_load((FILES / "prometheus.yml").read_text("utf-8"))
RULES = [
    rule for group in yaml.safe_load((FILES / "rules.yml").read_text("utf-8"))["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")
DASHBOARD = json.loads((FILES / "grafana" / "connectors.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EVENTS = [value for name, value in vars(semconv).items() if name.startswith("EVENT_")]
PLUGIN_S, EXPORT_DELAY_S = 30, 5
METRICS = [value for value in vars(semconv).values() if isinstance(value, semconv.Metric)]


# What docker-compose.otel.yml says.


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_pinned_bounded_and_private_to_the_machine(name):
    """An exact version with its digest, ports on loopback alone, a memory limit, started again when it ends."""
    container = CONTAINERS[name]
    digest = "" if re.search("jaeger|opensearch", container["image"]) else "@sha256:[0-9a-f]{64}"  # see SECURITY.md
    assert re.fullmatch(rf"\S+:v?\d+\.\d+\.\d+{digest}", container["image"])
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in container.get("ports", ()))
    assert re.fullmatch(r"\d+M", container["deploy"]["resources"]["limits"]["memory"])
    assert container["restart"] == "unless-stopped"
    is_collector = "opentelemetry-collector" in container["image"]
    assert ("healthcheck" in container) == (not is_collector)  # its image has no program to check with


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_may_do_little(name):
    """No capability, no new privilege, nothing written outside of its data; it listens where its ports are published."""
    container = CONTAINERS[name]
    assert container["cap_drop"] == ["ALL"]
    assert container.get("read_only") == (None if name == "opensearch" else True)  # it writes its keystore at its start
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & container.keys()
    is_file_with_listeners = "collector" in container["image"] or "jaeger" in container["image"]
    assert (container["environment"].get("LISTEN_HOST") == "0.0.0.0") == is_file_with_listeners


def test_nobody_can_log_in_to_grafana():
    """By no default password, no form, no basic authentication; and it has one name."""
    wanted = {
        "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
        "GF_AUTH_BASIC_ENABLED": "false",
        "GF_AUTH_DISABLE_LOGIN_FORM": "true",
        "GF_SERVER_DOMAIN": "127.0.0.1",
        "GF_SERVER_ENFORCE_DOMAIN": "true",
    }
    assert wanted.items() <= CONTAINERS["grafana"]["environment"].items()


def test_what_the_collector_does_not_redact_is_documented():
    """Attributes of links, and values of bytes."""
    guide = " ".join((ROOT / "docs" / "observability.md").read_text("utf-8").split())
    dashboard = json.loads((FILES / "grafana" / "connectors.json").read_text("utf-8"))
    for text in (guide, dashboard["description"]):
        assert "attributes of links" in text
        assert "values of bytes" in text


def test_the_guide_names_the_versions():
    """Those that CI runs."""
    guide = " ".join((ROOT / "docs" / "local-stack.md").read_text("utf-8").split())
    version = {name: container["image"].partition("@")[0].rpartition(":")[2] for name, container in CONTAINERS.items()}
    assert f"in the Collector {version['otel-collector']} and Jaeger {version['jaeger']} that they name" in guide


def test_every_file_is_mounted_and_every_mount_is_a_file():
    """Every file in dashboards/ is mounted into a container."""
    mounts = [volume.split(":") for container in CONTAINERS.values() for volume in container["volumes"]]
    assert {source for source, _, mode in mounts if mode != "ro"} == set(COMPOSE["volumes"])
    mounts = [mount for mount in mounts if mount[2] == "ro"]
    sources = [(ROOT / source).resolve() for source, *_ in mounts]
    assert all(source.exists() for source in sources)
    files = [path for path in FILES.rglob("*") if path.is_file()]
    assert [path for path in files if not {path, *path.parents} & set(sources)] == []


def test_containers_wait_for_those_that_they_need():
    """The Collector for Jaeger, Grafana for Prometheus, the tier for its own, each until it is healthy where its image can check that."""
    needs = {name: container.get("depends_on", {}) for name, container in CONTAINERS.items()}
    assert needs["otel-collector"] == {"jaeger": {"condition": "service_healthy"}}
    assert needs["grafana"] == {"prometheus": {"condition": "service_healthy"}}
    assert needs["otel-agent"].keys() == {"otel-tier-0", "otel-tier-1"}
    for tier in needs["otel-agent"]:
        assert needs[tier] == {"jaeger-opensearch": {"condition": "service_healthy"}}
    assert needs["jaeger-opensearch"] == {"opensearch": {"condition": "service_healthy"}}


def test_the_limits_of_memory_are_in_order():
    """The Collector rejects data before its runtime reaches its limit, and that limit is below the container's."""
    limiter = COLLECTOR["processors"]["memory_limiter"]
    soft = int(CONTAINERS["otel-collector"]["environment"]["GOMEMLIMIT"].removesuffix("MiB"))
    hard = int(CONTAINERS["otel-collector"]["deploy"]["resources"]["limits"]["memory"].removesuffix("M"))
    assert limiter["spike_limit_mib"] < limiter["limit_mib"] <= soft < hard
    for pipeline in COLLECTOR["service"]["pipelines"].values():
        assert pipeline["processors"][0] == "memory_limiter"


# The same files with and without containers.


def ports_in(document):
    """Every port that a configuration listens on."""
    found = re.findall(r"\$\{env:LISTEN_HOST:-127\.0\.0\.1\}:(\d+)", json.dumps(document))
    pull = document["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"]
    assert pull["host"] == "${env:LISTEN_HOST:-127.0.0.1}"
    return {*map(int, found), pull["port"]}


def test_no_port_is_used_twice_and_the_command_knows_them_all():
    """All programs fit on one machine."""
    known = {service.name: set(service.ports) for service in SERVICES}
    assert known["otel-collector"] == ports_in(COLLECTOR)
    assert known["jaeger"] == ports_in(JAEGER)
    assert not any(a & b for a, b in itertools.combinations(known.values(), 2))
    for service in SERVICES:
        assert {service.ready[0], service.page} <= set(service.ports)
        published = {int(port.rpartition(":")[2]) for port in CONTAINERS[service.name]["ports"]}
        assert service.page in published <= set(service.ports)


def test_the_names_of_others_are_those_of_the_containers():
    """Each file finds the others by their names in docker-compose.otel.yml, unless a variable overrides them."""
    assert COLLECTOR["exporters"]["otlp_grpc/jaeger"]["endpoint"] == "${env:JAEGER_HOST:-jaeger}:14317"
    backend = JAEGER["extensions"]["jaeger_storage"]["metric_backends"]["prometheus"]["prometheus"]
    assert backend["endpoint"] == "http://${env:PROMETHEUS_HOST:-prometheus}:9090"
    targets = {
        target for job in PROMETHEUS["scrape_configs"] for entry in job["static_configs"] for target in entry["targets"]
    }
    assert targets == {"otel-collector:8889", "otel-collector:8888", "jaeger:14888"}
    assert {target.partition(":")[0] for target in targets} | {"prometheus"} <= set(CONTAINERS)


def test_prometheus_gets_the_same_options():
    """But for where data is kept, and where it listens."""
    (ours,) = [service for service in SERVICES if service.name == "prometheus"]
    assert {option.partition("=")[0] for option in ours.arguments} == {
        option.partition("=")[0] for option in (*CONTAINERS["prometheus"]["command"], "--web.listen-address=")
    }
    same = {option for option in CONTAINERS["prometheus"]["command"] if "/prometheus" not in option}
    assert same <= set(ours.arguments)
    assert "--enable-feature=exemplar-storage" in same


@pytest.mark.parametrize(
    ("recipe", "documents"),
    [("otelcol-builder.yml", [COLLECTOR]), ("otelcol-scale-builder.yml", [COLLECTOR, AGENT, TIER])],
)
def test_the_collector_that_ci_builds_has_every_part_that_is_named(recipe, documents):
    """And no other: the recipe lists the modules."""
    builder = (ROOT / ".ci" / recipe).read_text("utf-8")
    modules = re.findall(
        r"/(?:receiver|processor|exporter|connector|extension)/(?:storage/)?(\w+) v\{version\}", builder
    )
    kinds = {"receivers": "receiver", "processors": "processor", "exporters": "exporter", "connectors": "connector"}
    kinds["extensions"] = "extension"
    named = set()
    for document in documents:
        for kind, suffix in kinds.items():
            for name in document.get(kind, ()):
                part = name.partition("/")[0].replace("_", "").replace("otlpgrpc", "otlp")
                named.add(part if part == "filestorage" else part + suffix)
    assert set(modules) == named


# The telemetry tier.


def test_the_agents_redact_and_count_before_the_tier_samples():
    """All that the local Collector does to a span, but for its batches: those are the queue's."""
    pipelines = COLLECTOR["service"]["pipelines"]
    traces = AGENT["service"]["pipelines"]["traces"]
    assert traces["processors"] == [one for one in pipelines["traces"]["processors"] if one != "batch"]
    assert traces["exporters"] == ["load_balancing", "span_metrics"]
    assert "metrics" not in AGENT["service"]["pipelines"]


def test_the_tier_is_decided_on_after_every_call_has_ended():
    """A span waits for the longest time of a plugin and for the SDK's export; each queue has a batch below gRPC's limit."""
    (wait,) = re.findall(r":-(\d+)s", TIER["processors"]["tail_sampling"]["decision_wait"])
    assert int(wait) > PLUGIN_S + EXPORT_DELAY_S
    queues = [
        AGENT["exporters"]["load_balancing"]["protocol"]["otlp"]["sending_queue"],
        TIER["exporters"]["otlp_grpc/jaeger"]["sending_queue"],
    ]
    for queue in queues:
        assert queue["sizer"] == "bytes"
        assert queue["batch"]["max_size"] < 4 << 20


@pytest.mark.parametrize("event", EVENTS)
def test_the_tier_keeps_a_call_with_any_event_of_ours(event):
    """But for one that says nothing of the call's fate."""
    policies = {one["name"]: one for one in TIER["processors"]["tail_sampling"]["policies"]}
    (condition,) = policies["in_trouble"]["ottl_condition"]["spanevent"]
    (pattern,) = re.findall(r'IsMatch\(spanevent\.name, "(.*?)"\)', condition)
    (name,) = re.findall(r'spanevent\.name == "(.*?)"', condition)
    assert bool(re.search(pattern, event) or event == name) == (event != semconv.EVENT_CORRELATION_ID_MISMATCHED)


def test_a_member_of_the_tier_listens_where_an_agent_does():
    """A member takes the ports of an agent, on another machine."""
    assert ports_in(TIER) <= ports_in(COLLECTOR)


# What the Collector and Jaeger make of spans.


def test_the_redaction_hides_no_name_of_ours():
    """Secrets' keys are masked; every attribute that we write is not one of them."""
    redaction = COLLECTOR["processors"]["redaction"]
    (keys,) = [re.compile(pattern.replace(r"\z", r"\Z")) for pattern in redaction["blocked_key_patterns"]]
    values = [re.compile(pattern) for pattern in redaction["blocked_values"]]
    ours = [value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)]
    assert len(ours) > 40
    assert [name for name in ours if keys.search(name) or any(value.search(name) for value in values)] == []
    for secret in (
        *("Authorization", "http.request.header.set-cookie", "x-api-key", "ApiKey", "password", "id_token"),
        *("private_key", "access_key", "passphrase", "pwd", "access_tokens", "session_id"),
    ):
        assert keys.search(secret)
    for secret, left in (
        ('{"api_key": "s3cret","password":"s3cret", "page": 2}', '{"****,"****, "page": 2}'),
        (r'"{\"password\": \"s3cret\"}"', r'"{\"****}"'),
        ("password: s3cret, page: 2", "****, page: 2"),
        ("Cookie: sid=s3cret; other=s3cret\nnext", "****\nnext"),
        ("{'Authorization': 'Token s3cret'}", "{'****"),
        ('{"authorization": "Token s3cret", "page": 2}', '{"****, "page": 2}'),
        ("https://s3cret@platform/x", "https****platform/x"),
        ("https://ada:s3cret@platform/x", "https****platform/x"),
        ("/x?page=2&api_key=s3cret&q=1", "/x?page=2&****&q=1"),
        ("input_tokens: 17, max_tokens=4", "input_tokens: 17, max_tokens=4"),
    ):
        text = secret
        for value in values:
            text = value.sub("****", text)
        assert text == left
    assert not keys.search("gen_ai.usage.input_tokens")
    assert redaction["allow_all_keys"]
    assert redaction["redact_all_types"]


def test_every_pipeline_redacts_before_anything_is_handed_on():
    """Texts that the redaction does not reach are lifted into attributes before it, and put back after it."""
    traces, metrics = (COLLECTOR["service"]["pipelines"][name]["processors"] for name in ("traces", "metrics"))
    assert traces == ["memory_limiter", "transform/lift_texts", "redaction", "transform/put_texts_back", "batch"]
    assert metrics == ["memory_limiter", "redaction", "batch"]


def test_span_metrics_are_what_the_monitor_tab_asks_for():
    """The unit, the names, and the buckets of every other duration."""
    histogram = COLLECTOR["connectors"]["span_metrics"]["histogram"]
    seconds = [
        float(text.removesuffix("ms")) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
        for text in histogram["explicit"]["buckets"]
    ]
    assert tuple(seconds) == DURATION_BOUNDS
    backend = JAEGER["extensions"]["jaeger_storage"]["metric_backends"]["prometheus"]["prometheus"]
    assert backend["latency_unit"] == histogram["unit"] == "s"
    assert backend["normalize_calls"] is backend["normalize_duration"] is True
    dimensions = {entry["name"] for entry in COLLECTOR["connectors"]["span_metrics"]["dimensions"]}
    assert dimensions == {semconv.CONNECTOR_NAME, semconv.HTTP_RESPONSE_STATUS_CODE, semconv.ERROR_TYPE}


# Queries.


def prometheus_names(metric):
    """Names under which Prometheus stores *metric*: as the Collector's exporter translates them."""
    name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
    if "histogram" in metric.kind:
        return {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    return {f"{name}_total"} if metric.kind.endswith("counter") and "up-down" not in metric.kind else {name}


LABELS = {
    name: {attribute.replace(".", "_") for attribute in metric.attributes} | {"job", "instance", "le"}
    for metric in METRICS
    for name in prometheus_names(metric)
}
FOREIGN = {
    "up": {"job", "instance"},
    "otelcol_receiver_accepted_spans_total": {"receiver"},
    "otelcol_receiver_refused_spans_total": {"receiver"},
    "otelcol_exporter_sent_spans_total": {"exporter"},
    "otelcol_exporter_send_failed_spans_total": {"exporter"},
    "otelcol_exporter_enqueue_failed_spans_total": {"exporter"},
    "otelcol_exporter_queue_size": {"exporter"},
    "otelcol_exporter_queue_capacity": {"exporter"},
    "otelcol_process_memory_rss_bytes": set(),
}
"""Metrics that the real Collector reports; `.ci/real_stack.py` verifies them."""
RECORDED = {
    rule["record"]: set(re.search(r"by \(([^)]*)\)", rule["expr"])[1].split(", ")) - {"le"}
    for rule in RULES
    if "record" in rule
}
KNOWN = LABELS | FOREIGN | RECORDED


def walk(expression):
    """Every node of a parsed query."""
    yield expression
    for field in ("expr", "lhs", "rhs", "param", "vector_selector"):
        if (inner := getattr(expression, field, None)) is not None and not isinstance(inner, str):
            yield from walk(inner)
    for inner in getattr(expression, "args", None) or ():
        yield from walk(inner)


def query_problems(text):
    """What is wrong with a query: metrics and labels that do not exist."""
    nodes = list(walk(promql_parser.parse(text)))  # raises on a wrong type too
    selectors = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    assert selectors
    problems = [f"no metric {selector.name}" for selector in selectors if selector.name not in KNOWN]
    available = set().union(*(KNOWN.get(selector.name, set()) for selector in selectors))
    for selector in selectors:
        problems += [
            f"no label {matcher.name} on {selector.name}"
            for matcher in selector.matchers.matchers
            if matcher.name not in KNOWN.get(selector.name, set())
        ]
    for node in nodes:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            problems += [f"no label {label}" for label in node.modifier.labels if label not in available]
    return problems


def test_wrong_queries_are_seen():
    """The check itself can fail: type, metric, label in a matcher, label to sum by."""
    with pytest.raises(ValueError, match="expected type matrix"):
        query_problems("rate(up)")
    assert query_problems("mozaiks_connector_retry_total") == ["no metric mozaiks_connector_retry_total"]
    assert query_problems('up{service="x"}') == ["no label service on up"]
    assert query_problems("sum by (mozaiks_guard) (rate(mozaiks_connector_retries_total[5m]))") == [
        "no label mozaiks_guard"
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_rules_ask_for_what_the_code_writes(rule):
    """Every metric and label by the names of semconv.py."""
    assert query_problems(rule["expr"]) == []


QUERIES_OF_THE_GUIDE = re.findall(
    r"^\| `([^`]*mozaiks_quota[^`]*)`", (ROOT / "docs" / "deployment.md").read_text("utf-8"), re.MULTILINE
)


@pytest.mark.parametrize("query", QUERIES_OF_THE_GUIDE)
def test_alerts_of_the_deployment_guide_ask_for_what_the_code_writes(query):
    """Those on the quota, as rules."""
    assert query_problems(query) == []


def test_the_deployment_guide_has_alerts_on_each_metric_of_the_quota():
    """So the test before has something to read."""
    names = {re.sub("_(count|bucket|sum)$", "", name) for name in KNOWN if name.startswith("mozaiks_quota")}
    assert names
    assert all(any(name in query for query in QUERIES_OF_THE_GUIDE) for name in names)


def concrete(expression):
    """A panel's query as Prometheus would get it."""
    return re.sub(r"\$(job|connector)\b", ".*", expression.replace("$__rate_interval", "1m"))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_ask_for_what_the_code_writes(panel):
    """As rules; the legend names labels that the query keeps."""
    for target in panel["targets"]:
        text = concrete(target["expr"])
        assert query_problems(text) == []
        for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
            assert re.search(rf"\bby \([^)]*\b{label}\b", text) or text.partition("{")[0] in RECORDED


@pytest.mark.parametrize(
    "panel", [panel for panel in PANELS if panel["title"] != "Spans lost"], ids=lambda p: p["title"]
)
def test_panels_follow_the_choices_that_their_metrics_know(panel):
    """The program and the connector that are chosen at the top; losses are shown whole."""
    for target in panel["targets"]:
        for node in walk(promql_parser.parse(concrete(target["expr"]))):
            if isinstance(node, promql_parser.VectorSelector):
                chosen = {matcher.name for matcher in node.matchers.matchers}
                assert {"job", "mozaiks_connector_name"} & LABELS.get(node.name, set()) <= chosen


def test_a_reload_is_an_annotation():
    """Of the programs that are chosen; the first reload of a program too, which makes its series."""
    (annotation,) = DASHBOARD["annotations"]["list"]
    assert annotation["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    text = concrete(annotation["expr"])
    assert query_problems(text) == []
    selectors = [node for node in walk(promql_parser.parse(text)) if isinstance(node, promql_parser.VectorSelector)]
    assert {selector.name for selector in selectors} == {"mozaiks_settings_reloads_total"}
    assert all("job" in {matcher.name for matcher in selector.matchers.matchers} for selector in selectors)
    assert " offset 1m" in text
    assert annotation["enable"] is True


def test_a_healthy_service_shows_no_failures_and_not_no_data():
    """By promtool, where it is on the machine; here, that it is asked the panel's own query."""
    tests = yaml.safe_load((ROOT / "tests/dashboards/rules_test.yml").read_text("utf-8"))["tests"]
    asked = {case["expr"]: case["exp_samples"] for case in tests[0]["promql_expr_test"]}
    (panel,) = [panel for panel in PANELS if panel["title"] == "Calls that fail"]
    assert asked[concrete(panel["targets"][0]["expr"])] == [{"labels": "{}", "value": 0}]


def test_every_metric_of_the_code_is_on_a_panel():
    """A metric without a panel or a rule would be noise."""
    queries = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    queries += " ".join(rule["expr"] for rule in RULES)
    assert [metric.name for metric in METRICS if not any(name in queries for name in prometheus_names(metric))] == []


# The dashboard.


def test_the_dashboard_can_be_loaded_anywhere():
    """Its own uid, no ids of some other Grafana, the data source by its variable."""
    assert DASHBOARD["uid"] == "mozaiks-connectors"
    assert '"id"' not in json.dumps(DASHBOARD)
    for panel in PANELS:
        for holder in (panel, *panel["targets"]):
            assert holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "job": "query", "connector": "query", "runbook": "constant"}


def test_panels_have_a_title_of_their_own_section_a_description_and_a_place():
    """No two panels overlap, all are within the grid of 24 columns."""
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        "Now",
        "Traffic",
        "Errors",
        "Errors by operation",
        "Latency",
        "Retries",
        "Circuit breakers",
        "Queues and limits",
        "Telemetry health",
    ]
    assert all(panel["description"] for panel in PANELS)
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_latencies_lead_to_traces():
    """Exemplars are asked for, and their trace id leads to the provisioned Jaeger."""
    latencies = [panel for panel in PANELS if panel["title"].startswith("Duration of")]
    assert len(latencies) == 2
    assert all(target["exemplar"] for panel in latencies for target in panel["targets"])
    sources = yaml.safe_load((FILES / "grafana/provisioning/datasources/stack.yml").read_text("utf-8"))["datasources"]
    by_uid = {source["uid"]: source for source in sources}
    assert by_uid["prometheus"]["jsonData"]["exemplarTraceIdDestinations"] == [
        {"name": "trace_id", "datasourceUid": "jaeger"}
    ]
    assert by_uid["prometheus"]["url"] == "http://prometheus:9090"
    assert by_uid["jaeger"]["url"] == "http://jaeger:16686"
    assert COLLECTOR["exporters"]["prometheus"]["enable_open_metrics"] is True  # else no exemplar comes through


# The runbook.


def test_every_alert_has_its_page_and_every_page_its_alert():
    """The annotation leads to the heading, on the page that Prometheus serves or where an external label says."""
    headings = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    assert headings == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook_url"] == (
            "{{ with $externalLabels.runbook }}{{ . }}{{ else }}{{ $externalURL }}/consoles/runbook.html{{ end }}"
            f"#{rule['alert'].lower()}"
        )
        assert rule["labels"]["severity"] in {"page", "ticket"}


def runbook_tool():
    """`.ci/tools/runbook.py`, which no package contains."""
    spec = importlib.util.spec_from_file_location("runbook_tool", ROOT / ".ci/tools/runbook.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_the_page_of_the_runbook_is_the_document():
    """`python .ci/tools/runbook.py --write` writes it anew."""
    tool = runbook_tool()
    assert tool.PAGE.read_text("utf-8") == tool.page()


def test_every_panel_leads_to_a_heading_of_the_runbook():
    """By a base URL that is set once: by default the page that the local stack's Prometheus serves."""
    (base,) = [variable for variable in DASHBOARD["templating"]["list"] if variable["name"] == "runbook"]
    (served,) = [option for option in CONTAINERS["prometheus"]["command"] if "external-url" in option]
    assert base["query"] == base["current"]["value"] == served.partition("=")[2] + "/consoles/runbook.html"
    ids = set(re.findall(r'<h2 id="([\w-]+)">', (FILES / "consoles/runbook.html").read_text("utf-8")))
    assert {rule["alert"].lower() for rule in ALERTS} < ids
    for panel in PANELS:
        (link,) = panel["links"]
        start, _, heading = link["url"].partition("#")
        assert (start, link["targetBlank"]) == ("${runbook:raw}", True)
        assert heading in ids


def test_every_alert_names_lines_to_change_that_are_valid():
    """And how one sees that they are in force, and when the alert clears; `.ci/alerts.py` does what they say."""
    tool = runbook_tool()
    entries = tool.entries()
    assert list(entries) == [rule["alert"] for rule in ALERTS]
    for entry in entries.values():
        language, lines = tool.lines_to_change(entry)
        if language == "toml":
            given = tomllib.loads(lines)
            assert set(given["services"]) == {"identity"}
            ResolvedSettings(given)  # else it raises
        assert "**Seen**: " in entry
        assert "**Clears**" in " ".join(entry.split())
        assert language == "toml" or "**In force**" in entry


def test_what_is_compared_with_the_past_is_kept_long_enough():
    """A week and half an hour ago, with and without containers; the alerts do without what is not there."""
    offsets = re.findall(r"offset (?:(\d+)d)?(\d+)h30m", " ".join(rule["expr"] for rule in RULES))
    assert set(offsets) == {("", "23"), ("6", "23")}
    kept = {option for option in CONTAINERS["prometheus"]["command"] if "retention" in option}
    assert kept == {"--storage.tsdb.retention.time=8d"}


def test_every_alert_is_seen_to_fire_and_to_be_silent():
    """By promtool, where it is on the machine; here, that no alert is left out."""
    files = ("rules_test.yml", "rules_history_test.yml")
    tests = [
        test for name in files for test in yaml.safe_load((Path(__file__).parent / name).read_text("utf-8"))["tests"]
    ]
    seen = {(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test.get("alert_rule_test", ())}
    assert seen >= {(rule["alert"], fires) for rule in ALERTS for fires in (True, False)}


def test_the_runbook_names_settings_panels_and_attributes_that_exist():
    """A page that leads nowhere would cost the time that it is there to save."""
    settings = set(re.findall(r"`(MOZAIKS_CONNECTORS_\w+)`", settings_table()))
    named = set(re.findall(r"`(MOZAIKS_CONNECTORS_[A-Z0-9_]+)(?:=\w+)?`", RUNBOOK))
    assert named
    assert named <= settings | {FILE_VARIABLE}
    titles = {entry["title"] for entry in PANELS} | {entry["name"] for entry in DASHBOARD["annotations"]["list"]}
    lines = re.findall(r"- \*\*Panel\*\*: (.*(?:\n  .*)*)", RUNBOOK)
    shown = {title for line in lines for title in re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", " ".join(line.split()))}
    assert len(lines) == len(ALERTS) + 1  # and traffic without an alert
    assert shown <= titles
    words = {value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)}
    attributes = set(re.findall(r"`(mozaiks\.[a-z_.]+)", RUNBOOK))
    assert attributes <= words
