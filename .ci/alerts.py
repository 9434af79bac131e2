"""
Provoke each alert on the local stack, do what its entry of docs/runbook.md says, and see the alert clear.

    python .ci/alerts.py PROGRAMS                          # all of them, in about five minutes
    python .ci/alerts.py PROGRAMS CircuitBreakerOpen ...   # some

The rules are those of dashboards/rules.yml with every duration a tenth: `for`, windows, offsets; so are the intervals
of prometheus.yml. What an alert compares with, a day and a week ago, is written as history before. The lines to change
are those of the entry, but for the name of the service; the provocation goes on. Ends with the first alert that does
not fire, is not cleared, or leads to no heading of the runbook.
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
import threading
import time
import tomllib
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from running_stack import ROOT, STATE, ask_json, command, files, ours, pid_of, query
from seen import ask, check, until

sys.path.insert(0, str(ROOT / ".ci" / "tools"))

import runbook
import yaml

from middleware import PlatformError
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import Fault, Gateway
from runtime.settings.live import LiveSettings
from runtime.settings.sources import as_written
from runtime.telemetry import TelemetryHandle, configure_telemetry

PROGRAM = "alerts"
ENTRIES = runbook.entries()
RULES = ROOT / "dashboards" / "rules.yml"
COLLECTOR = ROOT / "dashboards" / "otel-collector.yml"
PATIENCE_S = 150.0
"""For an alert to fire, and for it to clear: the longest `for` and window are a minute each here."""
WORK = Path(STATE.name)
OTHER_ID = {"x-correlation-id": str(uuid.uuid4())}
USUAL = {
    "connector:mozaiks_operation_calls_failed:ratio_rate5m": ("regressed", 0.001),
    "connector:mozaiks_operation_call_duration_seconds:p95_5m": ("tailed", 2.5),
}
"""What was usual, a day and a week ago, by the recorded name: the service, and the value."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def tenth_s(duration: str) -> float:
    """Return the seconds of a tenth of Prometheus's `1h30m`."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration)) / 10


def tenth(text: str) -> str:
    """Return a file of Prometheus with a tenth of every duration; those in names are as they were."""
    durations = re.compile(r"(for: |\[|offset |_interval: )((?:\d+[smhd])+)")
    return durations.sub(lambda found: f"{found[1]}{tenth_s(found[2]) * 1000:.0f}ms", text)


def lines_of(alert: str, language: str) -> str:
    """Return the lines that an alert's entry says to change, or to run."""
    found, lines = runbook.lines_to_change(ENTRIES[alert])
    if found != language:
        sys.exit(f"FAILED: the lines of {alert} are {found}, not {language}")
    return lines


@dataclass
class Case:
    """
    An alert, how it is provoked, and how far it has come.

    Attributes:
        alert: Its name.
        service: Service that is called, in the alert's labels.
        before: Sections of the settings from the start.
        faults: What the gateway does, until the end.
        rate: Calls per second.
        method: Method of the calls.
        guard: Where the entry has lines for several guards, the one that is provoked.
    """

    alert: str
    service: str
    before: dict[str, dict[str, Any]]
    faults: tuple[Fault, ...]
    rate: float
    method: str = "GET"
    guard: str = ""
    started_s: float = 0.0
    state: str = "provoked"

    @property
    def labels(self) -> dict[str, str]:
        return {"mozaiks_connector_name": self.service} | ({"mozaiks_guard": self.guard} if self.guard else {})

    def change(self) -> dict[str, dict[str, Any]]:
        """Return what the lines of the entry give; of those for several guards, those of the alert's."""
        lines = lines_of(self.alert, "toml")
        sections: dict[str, dict[str, Any]] = tomllib.loads(lines)["services"]["identity"]
        wanted = re.findall(rf"^\[services\.identity\.(\w+)\] # {self.guard}$", lines, re.MULTILINE)
        return {name: sections[name] for name in wanted} if self.guard else sections


def fault(service: str, kind: str = "status", **values: Any) -> Fault:
    return Fault(kind=kind, times=values.pop("times", 0), path=f"/api/{service}/", **values)


ONCE = {"retry": {"max_attempts": 1}}
NO_BREAKER = {"circuit_breaker": {"mode": "disabled"}}
CASES = [
    Case(
        alert="ConnectorCallsFail",
        service="echoing",
        before=NO_BREAKER,
        faults=(fault("echoing", status=200, headers=OTHER_ID, body="{}", share=0.9),),  # not all: it echoes too
        rate=2,
    ),
    Case(
        alert="ConnectorCallsFailMoreThanUsual",
        service="regressed",
        before=ONCE,
        faults=(fault("regressed", share=0.12),),
        rate=5,
    ),
    Case(
        alert="ConnectorCallsSlow",
        service="hanging",
        before={},
        faults=(fault("hanging", kind="stall", share=0.15),),
        rate=4,
    ),
    Case(
        alert="ConnectorCallsSlowerThanUsual",
        service="tailed",
        before={},
        faults=(fault("tailed", kind="latency", seconds=9.0, share=0.15),),
        rate=4,
    ),
    Case(
        alert="ConnectorRetriesAmplify",
        service="amplified",
        before={},
        faults=(fault("amplified", share=0.3),),
        rate=4,
    ),
    Case(
        alert="CircuitBreakerOpen",
        service="opening",
        before=ONCE | {"circuit_breaker": {"open_s": 2.0}},
        faults=(fault("opening", share=0.95),),
        rate=3,
    ),
    Case(
        alert="WriteOutcomeUnknown",
        service="writing",
        before={},
        faults=(),  # each write's first attempt, by `one_response_lost`
        rate=0.5,
        method="POST",
    ),
    Case(
        alert="RetryBudgetExhausted",
        service="thrifty",
        before=NO_BREAKER | {"budget": {"ratio": 0.0, "min_per_s": 0.0}},
        faults=(fault("thrifty", share=0.2),),
        rate=2,
    ),
    Case(
        alert="ConnectorQueues",
        service="narrow",
        before={"bulkhead": {"permits": 1}},
        faults=(fault("narrow", kind="latency", seconds=0.5),),
        rate=4,
    ),
    Case(
        alert="ConnectorRefusesItself",
        service="crowded",
        before={"bulkhead": {"permits": 1, "queue": 1}},
        faults=(fault("crowded", kind="latency", seconds=0.5),),
        rate=4,
        guard="bulkhead",
    ),
    Case(
        alert="ConnectorRefusesItself",
        service="capped",
        before={"calls": {"max_in_flight": 1}},
        faults=(fault("capped", kind="latency", seconds=0.5),),
        rate=4,
        guard="call_cap",
    ),
    Case(
        alert="ConnectorRefusesItself",
        service="limited",
        before={"rate_limit": {"per_second": 1.0, "burst": 1}, "deadline": {"total_s": 2.0}},
        faults=(),
        rate=4,
        guard="rate_limit",
    ),
    Case(
        alert="ConnectorRefusesItself",
        service="shared",
        before={"quota": {"per_second": 1.0, "burst": 1}, "deadline": {"total_s": 2.0}},
        faults=(),
        rate=4,
        guard="quota",
    ),
]


def toml(services: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return a settings file."""
    lines = []
    for service, sections in services.items():
        for section, values in sections.items():
            lines.append(f"[services.{service}.{section}]")
            for name, value in values.items():
                lines.append(f"{name} = {json.dumps(value) if isinstance(value, str) else as_written(value)}")
    return "\n".join(lines) + "\n"


def replace(path: Path, text: str) -> None:
    """Write a file next to *path* and move it there, as the runbook says: `mv`."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)


class Traffic:
    """Calls of one program until it is ended, in a thread with an event loop of its own."""

    def __init__(self, program: str, cases: list[Case], policies: LiveSettings) -> None:
        self._handle: TelemetryHandle = configure_telemetry(service_name=program)
        self._cases, self._policies = cases, policies
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._handle.shutdown()

    async def _run(self) -> None:
        async with Gateway() as gateway:
            for case in self._cases:
                gateway.script(*case.faults)
            await asyncio.gather(*(self._call(gateway, case) for case in self._cases))

    async def _call(self, gateway: Gateway, case: Case) -> None:
        client = PlatformHttpClient(
            gateway.url,
            gateway.api_key,
            service=case.service,
            telemetry=self._handle.telemetry,
            policies=self._policies,
        )
        path, waiting = f"/api/{case.service}/items", set()

        async def one() -> None:
            with contextlib.suppress(PlatformError):
                await client.request(
                    case.method,
                    path,
                    path_params={},
                    json_body={"name": "Item"} if case.method == "POST" else None,
                    operation="steady",
                )

        async with client:
            while not self._ended.is_set():
                if case.alert == "WriteOutcomeUnknown":
                    gateway.script(fault(case.service, kind="reset", applied=True, times=1))
                for _ in range(BURST if case.alert == "TelemetryDroppedInProgram" else 1):
                    task = asyncio.ensure_future(one())
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
                await asyncio.sleep(1 / case.rate)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


BURST = 100
"""Calls at once, of two spans each."""


# What is seen.


def firing(alert: str, labels: dict[str, str]) -> dict[str, Any] | None:
    """Return the alert of Prometheus that fires, if it does."""
    for found in ask_json(9090, "/api/v1/alerts")["data"]["alerts"]:
        if found["state"] == "firing" and ({"alertname": alert} | labels).items() <= found["labels"].items():
            return dict(found)
    return None


def check_url(found: dict[str, Any]) -> None:
    """The alert's link leads to the heading of its entry."""
    url = urllib.parse.urlsplit(found["annotations"]["runbook_url"])
    status, body = ask(url.port or 80, url.path)
    heading = f'<h2 id="{url.fragment}">{found["labels"]["alertname"]}</h2>'
    if url.hostname != "127.0.0.1" or status != 200 or heading not in body.decode():
        sys.exit(f"FAILED: {found['annotations']['runbook_url']} has no {heading}: status {status}")


def say(alert: str, labels: dict[str, str], what: str, since_s: float) -> None:
    name = alert + "".join(f" {value}" for value in labels.values())
    print(f"  {name:<52} {what:<22} after {time.monotonic() - since_s:5.1f} s", flush=True)


def fires(alert: str, labels: dict[str, str], since_s: float) -> None:
    found = until(lambda: firing(alert, labels), PATIENCE_S)
    if not found:
        sys.exit(f"FAILED: {alert} {labels} does not fire")
    check_url(found)
    say(alert, labels, "fires", since_s)


def clears(alert: str, labels: dict[str, str], since_s: float) -> None:
    if not until(lambda: firing(alert, labels) is None, PATIENCE_S):
        sys.exit(f"FAILED: {alert} {labels} does not clear")
    say(alert, labels, "is cleared", since_s)


def hashes_shown(service: str) -> set[str]:
    """The panel *Settings in force*; the Collector shows earlier hashes for a while."""
    shown = query(f'mozaiks_connector_config_info{{job="{PROGRAM}",mozaiks_connector_name="{service}"}}')
    return {found["metric"]["mozaiks_settings_hash"] for found in shown}


# The alerts about calls: all at once, each of a service of its own.


def try_calls(cases: list[Case]) -> None:
    file = WORK / "settings.toml"
    services = {case.service: dict(case.before) for case in cases}
    file.write_text(toml(services), "utf-8")
    policies = LiveSettings(file=file)
    started_s = time.monotonic()
    traffic = Traffic(PROGRAM, cases, policies)
    try:
        for case in cases:
            case.started_s = started_s
        ends_s = started_s + 2 * PATIENCE_S
        while (left := [case for case in cases if case.state != "cleared"]) and time.monotonic() < ends_s:
            for case in left:
                advance(case, services, file, policies)
            time.sleep(0.5)
        if left:
            states = [(case.alert, case.service, case.state, firing(case.alert, case.labels)) for case in left]
            sys.exit(f"FAILED: {states}")
        compared = query('count by (mozaiks_connector_name) (last_over_time(ALERTS{alertname=~".*ThanUsual"}[1h]))')
        names = {found["metric"]["mozaiks_connector_name"] for found in compared}
        check(
            "no service without a past is compared with it", names <= {service for service, _ in USUAL.values()}, names
        )
    finally:
        traffic.end()


def advance(case: Case, services: dict[str, dict[str, dict[str, Any]]], file: Path, policies: LiveSettings) -> None:
    """Do what is next for *case*, if it is time."""
    found = firing(case.alert, case.labels)
    if case.state == "provoked" and found:
        check_url(found)
        say(case.alert, case.labels, "fires", case.started_s)
        for section, values in case.change().items():
            own = services[case.service]
            own[section] = own.get(section, {}) | values
        replace(file, toml(services))
        case.state, case.started_s = "changed", time.monotonic()
    elif case.state == "changed":
        written = LiveSettings(file=file).settings_hash(case.service)
        if policies.settings_hash(case.service) == written:
            say(case.alert, case.labels, "has its lines in force", case.started_s)
            case.state = "in force"
    elif case.state == "in force":
        if policies.settings_hash(case.service) in hashes_shown(case.service):
            say(case.alert, case.labels, "shows another hash", case.started_s)
            case.state = "seen"
    elif case.state == "seen" and not found:
        say(case.alert, case.labels, "is cleared", case.started_s)
        case.state = "cleared"


# The others, one after the other.


def try_settings() -> None:
    """A value of the wrong type; the check of the file names its line, the lines of the entry mend it."""
    alert, labels = "SettingsRejected", {"mozaiks_connector_name": "identity"}
    file = WORK / "rejected.toml"
    file.write_text("# as by default\n", "utf-8")
    case = Case(alert=alert, service="identity", before={}, faults=(), rate=2)
    policies = LiveSettings(file=file)
    traffic = Traffic("reloading", [case], policies)
    try:
        started_s = time.monotonic()
        time.sleep(2)
        replace(file, '[services.identity.retry]\nmax_attempts = "three"\n')
        fires(alert, labels, started_s)
        started_s = time.monotonic()
        said = ours("config", "check", str(file), code=1)
        check("config check names the line of the value that was rejected", "rejected.toml:2" in said, said)
        replace(file, toml({"identity": case.change()}))
        ours("config", "check", str(file))
        check("what the entry says is in force", until(lambda: not policies.problems, 5), policies.problems)
        clears(alert, labels, started_s)
    finally:
        traffic.end()


def try_program() -> None:
    """Bursts that are larger than the queue of the exporter; restarted with the variable of the entry."""
    alert, labels = "TelemetryDroppedInProgram", {"job": "bursting"}
    small = {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
    file = WORK / "bursting.toml"
    file.write_text("# as by default\n", "utf-8")
    case = Case(alert=alert, service="bursting", before={}, faults=(), rate=1)
    os.environ |= small
    started_s = time.monotonic()
    traffic = Traffic("bursting", [case], LiveSettings(file=file))
    try:
        fires(alert, labels, started_s)
    finally:
        traffic.end()
        for name in small:
            del os.environ[name]
    os.environ |= dict(re.findall(r"^export (\w+)=(\S+)$", lines_of(alert, "sh"), re.MULTILINE))
    started_s = time.monotonic()
    traffic = Traffic("bursting", [case], LiveSettings(file=file))
    try:
        clears(alert, labels, started_s)
        time.sleep(10)
        check("no span of further bursts is lost", not firing(alert, labels), firing(alert, labels))
    finally:
        traffic.end()


class OwnCollector:
    """The Collector with a file of its own, in the place of the stack's."""

    def __init__(self, file: Path) -> None:
        command("otelcol-contrib", "validate", f"--config={file}")
        environment = {"LISTEN_HOST": "127.0.0.1", "JAEGER_HOST": "127.0.0.1"}
        binary = str(shutil.which("otelcol-contrib"))
        with (WORK / "own-collector.log").open("ab") as log:
            self._process = subprocess.Popen([binary, f"--config={file}"], env=environment, stdout=log, stderr=log)
        check("the Collector is ready", until(lambda: responds(13133), 20))

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(20)


def responds(port: int) -> bool:
    return ask(port, "/")[0] == 200


def try_collector() -> None:
    """A memory limit below what the Collector needs; started again with the lines of the entry."""
    alert, labels = "TelemetryDroppedInCollector", {"receiver": "otlp"}
    document = yaml.safe_load(COLLECTOR.read_text("utf-8"))
    document["processors"]["memory_limiter"] |= {"limit_mib": 4, "spike_limit_mib": 1}
    file = WORK / "own-collector.yml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    settings = WORK / "steady.toml"
    settings.write_text("# as by default\n", "utf-8")
    case = Case(alert=alert, service="steady", before={}, faults=(), rate=5)
    os.kill(pid_of("otel-collector"), signal.SIGTERM)
    until(lambda: not responds(13133))
    started_s = time.monotonic()
    collector = OwnCollector(file)
    traffic = Traffic("steady", [case], LiveSettings(file=settings))
    try:
        fires(alert, labels, started_s)
        for section, values in yaml.safe_load(lines_of(alert, "yaml"))["processors"].items():
            document["processors"][section] |= values
        file.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
        collector.end()
        started_s = time.monotonic()
        collector = OwnCollector(file)
        check(
            "spans go through the Collector again",
            until(lambda: query("sum(rate(otelcol_receiver_accepted_spans_total[5s])) > 0")),
        )
        clears(alert, labels, started_s)
    finally:
        traffic.end()
        collector.end()


def try_target() -> None:
    """A Collector that is gone; the command of the entry starts it."""
    alert, labels = "TelemetryTargetDown", {"job": "otel-collector"}
    with contextlib.suppress(OSError):
        os.kill(pid_of("otel-collector"), signal.SIGKILL)
    started_s = time.monotonic()
    fires(alert, labels, started_s)
    started_s = time.monotonic()
    command(sys.executable, *lines_of(alert, "sh").removeprefix("python3").split())
    say(alert, labels, "has its command run", started_s)
    clears(alert, labels, started_s)


OTHERS: dict[str, Callable[[], None]] = {
    "SettingsRejected": try_settings,
    "TelemetryDroppedInProgram": try_program,
    "TelemetryDroppedInCollector": try_collector,
    "TelemetryTargetDown": try_target,
}


# The stack with a past, and with shorter durations.


def write_past() -> None:
    """What was usual, as Prometheus's own blocks: an hour each, around a day and a week ago, in tenths."""
    now_s = int(time.time())
    lines = []
    for name, (service, value) in USUAL.items():
        labels = f'job="{PROGRAM}",mozaiks_connector_name="{service}",mozaiks_connector_operation="steady"'
        lines.append(f"# TYPE {name} gauge")
        for ago_h in (168, 24):
            around_s = now_s - ago_h * 360
            lines += [f"{name}{{{labels}}} {value} {at_s}" for at_s in range(around_s - 900, around_s + 1800, 5)]
    past = WORK / "past.txt"
    past.write_text("\n".join([*lines, "# EOF", ""]), "utf-8")
    command("promtool", "tsdb", "create-blocks-from", "openmetrics", str(past), str(files() / "prometheus"))


def start(*, with_past: bool) -> None:
    """`stack up`, with every duration a tenth, and its Prometheus once more where there is to be a past."""
    ours("stack", "up")
    if with_past:
        os.kill(pid_of("prometheus"), signal.SIGTERM)
        until(lambda: not responds(9090))
        write_past()
        ours("stack", "up")
    for name in ("prometheus.yml", "rules.yml"):
        file = files() / name
        file.write_text(tenth(file.read_text("utf-8")), "utf-8")
    os.kill(pid_of("prometheus"), signal.SIGHUP)
    wanted = {rule["alert"]: tenth_s(rule.get("for", "0s")) for rule in alerts()}
    seen = until(lambda: in_prometheus() == wanted)
    check(f"Prometheus evaluates the {len(wanted)} alerts with durations of a tenth", seen, in_prometheus())


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def in_prometheus() -> dict[str, float]:
    groups = ask_json(9090, "/api/v1/rules", type="alert")["data"]["groups"]
    return {rule["name"]: float(rule["duration"]) for group in groups for rule in group["rules"]}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # else nothing would be taken down
    known = [rule["alert"] for rule in alerts()]
    check("every alert has its provocation", {case.alert for case in CASES} | OTHERS.keys() == set(known), known)
    refusing = "ConnectorRefusesItself"
    guards = set(re.findall(r"\] # (\w+)$", lines_of(refusing, "toml"), re.MULTILINE))
    check("so has every guard of its entry", {case.guard for case in CASES if case.alert == refusing} == guards, guards)
    names = sys.argv[2:] or known
    if unknown := set(names) - set(known):
        sys.exit(f"no such alert: {', '.join(sorted(unknown))}")
    started_s = time.monotonic()
    try:
        cases = [case for case in CASES if case.alert in names]
        start(with_past=bool({case.service for case in cases} & {service for service, _ in USUAL.values()}))
        try_calls(cases)
        for name, attempt in OTHERS.items():
            if name in names:
                attempt()
    finally:
        ours("stack", "down")
    check(f"{len(names)} of {len(known)} alerts, in {time.monotonic() - started_s:.0f} s", True)


if __name__ == "__main__":
    try:
        main()
    finally:
        STATE.cleanup()
