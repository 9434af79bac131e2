"""The manifests of docs/deployment.md: what they name is there, their times add up, their settings can be used."""

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from examples.host.app import DRAIN_S
from middleware.stack import StackSettings
from runtime.adapters.starlette import health_routes
from runtime.connectors.loader import ConnectorConfig, services_and_operations
from runtime.settings import ResolvedSettings
from runtime.telemetry import setup

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "examples" / "host" / "deploy"
GUIDE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
DOCUMENTS = {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))}
POD = DOCUMENTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
FILES = DOCUMENTS["ConfigMap"]["data"]


def mounted(volume, text, version):
    """Mount *text* as the kubelet does: a link to a file in `..data`, which is a link that is swapped."""
    folder = volume / f"..{version}"
    folder.mkdir()
    (folder / "connectors.toml").write_text(text)
    fresh, data, file = volume / "..data_tmp", volume / "..data", volume / "connectors.toml"
    fresh.symlink_to(folder.name)
    fresh.replace(data)
    if not file.is_symlink():
        file.symlink_to("..data/connectors.toml")
    for old in volume.glob("..[0-9]*"):
        if old != folder:
            (old / "connectors.toml").unlink()
            old.rmdir()
    return file


def test_the_environment_of_the_pod_gives_managed_mode_and_follows_its_settings(tmp_path):
    """R61: a swapped ConfigMap is in force at the next look; a broken one is rejected."""
    file = mounted(tmp_path, FILES["connectors.toml"], 1)
    environ = {one["name"]: one.get("value", "key") for one in CONTAINER["env"]}
    (mount,) = [one for one in CONTAINER["volumeMounts"] if one["name"] == "connectors"]
    assert environ["MOZAIKS_CONNECTORS_FILE"] == f"{mount['mountPath']}/connectors.toml"
    assert "subPath" not in mount
    config = ConnectorConfig.from_env({**environ, "MOZAIKS_CONNECTORS_FILE": str(file)})
    assert config.managed_mode
    policies = config.policies
    assert policies.of("identity").bulkhead.permits == 50
    assert policies.problems == ()
    mounted(tmp_path, FILES["connectors.toml"].replace("permits = 50", "permits = 60"), 2)
    assert policies.poll(10.0).changes == ("bulkhead.permits: 50 -> 60",)
    mounted(tmp_path, "[transport]\nconnect_timeout_s = 1.0\n", 3)
    assert "needs a restart" in policies.poll(20.0).problems[0]
    assert policies.of("identity").bulkhead.permits == 60


def test_the_grace_is_longer_than_the_longest_call_and_the_last_export():
    """The hook counts too; gunicorn kills its workers after its own limit, which is within the pod's."""
    hook_s = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    longest_s = tomllib.loads(FILES["connectors.toml"])["deadline"]["total_s"]
    assert longest_s == StackSettings().deadline.total_s
    grace_s = POD["terminationGracePeriodSeconds"]
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    gunicorn_s = int(re.search(r'"--graceful-timeout", "(\d+)"', dockerfile).group(1))
    assert hook_s + gunicorn_s <= grace_s
    assert longest_s + DRAIN_S + setup._SHUTDOWN_S <= gunicorn_s


def test_probes_and_service_lead_to_the_application():
    """Their paths are routes of the host, and the port is the one that the server listens on."""
    paths = {route.path for route in health_routes()}
    for name in ("startup", "liveness", "readiness"):
        assert CONTAINER[f"{name}Probe"]["httpGet"]["path"] in paths
    (port,) = CONTAINER["ports"]
    assert f'"0.0.0.0:{port["containerPort"]}"' in (DEPLOY / "Dockerfile").read_text("utf-8")
    assert DOCUMENTS["Service"]["spec"]["selector"] == DOCUMENTS["Deployment"]["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL), ids=str.split)
def test_settings_of_the_guide_can_be_used(text):
    """Each block as a file of settings."""
    ResolvedSettings(tomllib.loads(text), services=services_and_operations())


# The quota of all processes.

QUOTA = {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "quota.yaml").read_text("utf-8"))}
(SERVER,) = QUOTA["Deployment"]["spec"]["template"]["spec"]["containers"]


def test_the_host_has_the_url_and_the_password_of_the_quotas_server():
    """As Kubernetes expands it: of variables that come before, and the name of the Service."""
    variables = {one["name"]: one for one in CONTAINER["env"]}
    names = list(variables)
    assert names.index("QUOTA_PASSWORD") < names.index("MOZAIKS_CONNECTORS_QUOTA_URL")
    (given,) = [one for one in SERVER["env"] if one["name"] == "QUOTA_PASSWORD"]
    assert variables["QUOTA_PASSWORD"] == given
    secret = given["valueFrom"]["secretKeyRef"]
    head = (DEPLOY / "quota.yaml").read_text("utf-8").partition("apiVersion")[0]
    assert f"create secret generic {secret['name']} --from-literal={secret['key']}=" in head
    url = urlsplit(variables["MOZAIKS_CONNECTORS_QUOTA_URL"]["value"].replace("$(QUOTA_PASSWORD)", "secret"))
    (port,) = QUOTA["Service"]["spec"]["ports"]
    assert url.hostname == QUOTA["Service"]["metadata"]["name"]
    assert url.port == port["port"]
    assert url.password == "secret"
    assert QUOTA["Service"]["spec"]["selector"] == QUOTA["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert {one["name"] for one in SERVER["ports"]} == {port["targetPort"]}
    assert url.port == SERVER["ports"][0]["containerPort"]


def test_all_processes_that_a_rollout_has_are_replicas_of_the_quota():
    """`quota.replicas` is workers x pods: too few, and without the server they send more than the quota."""
    spec = DOCUMENTS["Deployment"]["spec"]
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    workers = int(re.search(r'"--workers", "(\d+)"', dockerfile).group(1))
    quota = tomllib.loads(FILES["connectors.toml"])["quota"]
    assert quota["replicas"] == workers * (spec["replicas"] + spec["strategy"]["rollingUpdate"]["maxSurge"])
    assert "quota" in re.search(r"'\.\[(.*?)\]'", dockerfile).group(1).split(",")


def test_the_quotas_server_keeps_within_its_memory_and_evicts_nothing():
    """One server alone, since each has the whole quota; the host's pods reach it."""
    arguments = SERVER["args"]
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    limit = SERVER["resources"]["limits"]["memory"]
    most_mb, limit_mb = int(options["--maxmemory"].removesuffix("mb")), int(limit.removesuffix("Mi"))
    assert 2 * most_mb <= limit_mb
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--save"] == ""
    assert options["--appendonly"] == "no"
    spec = QUOTA["Deployment"]["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"]["type"] == "Recreate"
    (rule,) = QUOTA["NetworkPolicy"]["spec"]["ingress"]
    (source,) = rule["from"]
    labels = DOCUMENTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert source["podSelector"]["matchLabels"] == labels


# The telemetry of many nodes.

TELEMETRY = list(yaml.safe_load_all((DEPLOY / "telemetry.yaml").read_text("utf-8")))
(AGENT,) = [one for one in TELEMETRY if one["kind"] == "DaemonSet"]
(TIER,) = [one for one in TELEMETRY if one["kind"] == "StatefulSet"]


@pytest.mark.parametrize("workload", [AGENT, TIER], ids=["agent", "tier"])
def test_a_collector_runs_files_that_are_there_in_the_version_of_the_local_stack(workload):
    """The ConfigMap has the files of dashboards/ by their names."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    compose = yaml.safe_load((ROOT / "docker-compose.otel.yml").read_text("utf-8"))
    assert container["image"] == compose["services"]["otel-collector"]["image"].partition("@")[0]
    head = (DEPLOY / "telemetry.yaml").read_text("utf-8").partition("apiVersion")[0]
    for argument in container["args"]:
        name = Path(argument.partition("=")[2]).name
        (given,) = re.findall(rf"--from-file=(\S*/{re.escape(name)})", head)
        assert (ROOT / given).is_file()


def test_the_agents_have_a_name_for_each_member_of_the_tier():
    """The names of the StatefulSet's pods, as the headless Service gives them."""
    (container,) = AGENT["spec"]["template"]["spec"]["containers"]
    named = [one["value"] for one in container["env"] if one["name"].startswith("TIER_")]
    tier = TIER["metadata"]["name"]
    members = range(TIER["spec"]["replicas"])
    assert named == [f"{tier}-{number}.{TIER['spec']['serviceName']}:4317" for number in members]
    hostnames = re.findall(r"env:(TIER_\d+)", (ROOT / "dashboards" / "scale" / "agent.yml").read_text("utf-8"))
    assert hostnames == [f"TIER_{number}" for number in members]


def test_prometheus_finds_the_metrics_of_the_collectors_by_the_names_of_their_ports():
    """The guide's scrape configs: what the programs send is at the agents alone, own metrics are at all."""
    (text,) = [text for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL) if "scrape_configs" in text]
    ports = {
        (workload["metadata"]["name"], port["name"]): port["containerPort"]
        for workload in (AGENT, TIER)
        for port in workload["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    prometheus = yaml.safe_load((ROOT / "dashboards" / "prometheus.yml").read_text("utf-8"))
    of_stack = {one["job_name"]: one for one in prometheus["scrape_configs"]}
    for job in yaml.safe_load(text)["scrape_configs"]:
        like = of_stack[job["job_name"]]
        assert job.get("honor_labels") == like.get("honor_labels")
        apps, name = (rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep")
        (target,) = like["static_configs"][0]["targets"]
        assert {ports[app, name] for app in apps.split("|")} == {int(target.partition(":")[2])}


def test_the_host_sends_to_the_agent_of_its_node():
    """By the Service that has the name of the endpoint."""
    endpoint = {one["name"]: one.get("value") for one in CONTAINER["env"]}["OTEL_EXPORTER_OTLP_ENDPOINT"]
    service = TELEMETRY[0]
    assert endpoint == f"http://{service['metadata']['name']}:4318"
    assert service["spec"]["internalTrafficPolicy"] == "Local"
    assert service["spec"]["selector"] == AGENT["spec"]["template"]["metadata"]["labels"]
