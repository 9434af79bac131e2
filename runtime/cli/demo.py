"""
`python3 -m runtime demo`: plugins' calls through the whole stack and a real socket to a platform that misbehaves.

The output is drawn from exported spans and metrics, and verified against the gateway's own log of what it read.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .behind import NAMES, GatewayUnavailableError, behind
from .story import Recorder, Step, make_console, save_picture, show_step, verdict

if TYPE_CHECKING:  # the first line must not wait for these imports
    from rich.console import Console

    from middleware import PlatformError
    from runtime.connectors.loader import ConnectorBundle
    from runtime.gateway import GatewayProcess

__all__ = ["main", "make_parser"]

_JWT = "token-ada"
_EPILOG = """\
examples:
  python3 -m runtime demo
  python3 -m runtime demo --tuning --svg tuning.svg
  python3 -m runtime demo --traces traces.jsonl
  python3 -m runtime demo --replicas 4

exit codes: 0 all checks passed, 1 a check failed, 2 wrong usage
"""


class Story(Protocol):
    """
    What is shown, step by step.

    Attributes:
        most_connections: Connections that the gateway may see open at a time.
    """

    most_connections: int

    async def run(self) -> list[Step]:
        """Run all steps, and return them."""


def main(argv: Sequence[str]) -> int:
    """Run the demo; returns 0 only if every check passed."""
    parser = make_parser()
    options = parser.parse_args(argv)
    if sum(map(bool, (options.host, options.behind, options.tuning, options.replicas is not None))) > 1:
        parser.error("--host, --tuning, --behind and --replicas: only one of them")
    if options.replicas is not None and not 2 <= options.replicas <= 16:
        parser.error("--replicas: must be between 2 and 16")
    if options.replicas is not None and options.traces:
        parser.error("--replicas: its processes write no --traces")
    if not options.json:
        sys.stdout.write("Connector runtime demo: plugins, one stack, a real socket, a platform that misbehaves.\n")
        sys.stdout.flush()
    if options.host:
        from . import host_demo

        return host_demo.run(as_json=options.json, picture=options.svg, trace_file=options.traces)
    if options.replicas is not None:
        from . import demo_replicas

        return demo_replicas.run(options.replicas, as_json=options.json, picture=options.svg)
    from middleware import ConfigError

    try:
        recorder = Recorder(options.traces)
    except ConfigError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 2
    story: Callable[..., Story] = _Story
    if options.tuning:
        from .demo_tuning import TuningStory

        story = TuningStory
    try:
        return _run(recorder, story, as_json=options.json, picture=options.svg, gateway_name=options.behind)
    except GatewayUnavailableError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 2


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime demo",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # options are written out: the environment is set up for them before they are parsed
    )
    parser.add_argument(
        "--host", action="store_true", help="drive the example host over HTTP instead, with two workers"
    )
    parser.add_argument(
        "--replicas", type=int, metavar="N", help="run N processes that share one quota instead, 2 to 16; needs a Redis"
    )
    parser.add_argument("--tuning", action="store_true", help="show how a bad policy is found and changed instead")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument("--svg", metavar="FILE", help="also draw the output into a picture")
    parser.add_argument("--traces", metavar="FILE", help="also append the spans to FILE, for the trace command")
    parser.add_argument("--behind", choices=NAMES, help="run the story behind a real gateway, where it is installed")
    return parser


def _run(
    recorder: Recorder,
    make_story: Callable[..., "Story"],
    *,
    as_json: bool,
    picture: str | None,
    gateway_name: str | None,
) -> int:
    from runtime.gateway import GatewayProcess

    console = make_console(as_json=as_json, picture=picture)
    started = time.monotonic()
    try:
        with GatewayProcess() as gateway, behind(gateway_name, gateway.url) as url:
            story = make_story(gateway, url, recorder, show=lambda step: show_step(console, step))
            steps = asyncio.run(story.run())
            stats, log = gateway.stats(), gateway.requests()
        metrics = recorder.metrics.get_metrics_data()
    finally:
        recorder.handle.shutdown()
    elapsed_s = time.monotonic() - started
    code = _report(
        steps,
        recorder,
        metrics,
        stats,
        log,
        console=console,
        as_json=as_json,
        elapsed_s=elapsed_s,
        most_connections=story.most_connections,
    )
    console.width = max([console.width, *(len(line) for step in steps for line in step.output.splitlines())])
    return save_picture(console, picture, recorder.trace_file, code=code)


class _Story:
    """The steps, in order."""

    most_connections = 4

    def __init__(self, gateway: "GatewayProcess", url: str, recorder: Recorder, show: Callable[[Step], None]) -> None:
        self._gateway = gateway
        self._url = url  # of the gateway, or of a real one before it
        self._recorder = recorder
        self._show = show
        self._steps: list[Step] = []

    async def run(self) -> list[Step]:
        from runtime.connectors.loader import ConnectorConfig, load_connectors
        from runtime.gateway import DEFAULT_API_KEY
        from runtime.settings import ResolvedSettings

        await self._step(
            "Self-hosted mode: mocks respond, nothing is sent", self._self_hosted, load_connectors(ConnectorConfig())
        )
        config = ConnectorConfig(
            managed_mode=True,
            gateway_base_url=self._url,
            api_key=DEFAULT_API_KEY,
            telemetry=self._recorder.handle.telemetry,
            # As in production, but the circuit stays open for one second instead of five.
            policies=ResolvedSettings(
                {"circuit_breaker": {"open_s": 1.0}, "services": {"hosting": {"idempotency": {"honors_key": True}}}}
            ),
        )
        async with load_connectors(config) as bundle:
            await self._step("Managed mode, a healthy platform", self._healthy, bundle)
            await self._step("All services, as plugins use them", self._services, bundle)
            await self._step("A burst of 503: ridden out by two retries", self._burst, bundle)
            await self._step("429 with Retry-After: 1: waited for, not guessed", self._throttled, bundle)
            await self._step("A write with an honoured key; its response is lost", self._keyed, bundle)
            await self._step("A write without a key; its response is lost", self._unkeyed, bundle)
            await self._step("An outage: the circuit opens, then recovers", self._outage, bundle)
        return self._steps

    async def _step(self, title: str, act: Callable[[Step, Any], Awaitable[None]], subject: Any) -> None:
        from runtime.traces.model import call_traces, traces_of

        step, before = Step(title=title), len(self._recorder.spans())
        await act(step, subject)
        spans = self._recorder.spans()[before:]
        step.traces, step.calls = traces_of(spans), call_traces(spans)
        self._steps.append(step)
        self._show(step)

    def _log(self) -> list[dict[str, Any]]:
        return self._gateway.requests()

    async def _self_hosted(self, step: Step, bundle: "ConnectorBundle") -> None:
        from runtime.connectors.service import ServiceItemCreate

        user = await bundle.identity.get_current_user()
        item = await bundle.service.create_item(ServiceItemCreate(name="Local notes"))
        kept = await bundle.service.get_item(item.id)
        step.check(f"the local user is {user.username}, the created item is kept", kept == item)
        step.check("the gateway read nothing", not self._log())

    async def _healthy(self, step: Step, bundle: "ConnectorBundle") -> None:
        from runtime.connectors.service import ServiceItemCreate

        user = await bundle.identity.get_current_user(user_jwt=_JWT)
        page = await bundle.identity.list_users(limit=2)
        allowed = await bundle.identity.check_permission(user.user_id, "read:users")
        item = await bundle.service.create_item(ServiceItemCreate(name="Release notes"), user_jwt=_JWT)
        items = await bundle.service.list_items(user_jwt=_JWT)
        step.check(
            f"{user.username} may read users, page 1 has {len(page)} of {page.total}", allowed and len(page) == 2
        )
        step.check("the created item is listed", items == [item])
        step.check("five calls, five requests at the gateway", len(self._log()) == 5)

    async def _burst(self, step: Step, bundle: "ConnectorBundle") -> None:
        from runtime.gateway import Fault

        before = len(self._log())
        self._gateway.script(Fault(kind="status", status=503, times=2))
        user = await bundle.identity.get_user("user_2")
        statuses = [entry["status"] for entry in self._log()[before:]]
        step.check(f"the caller got {user.username}", user.username == "grace")
        step.check(f"the gateway responded {statuses}", statuses == [503, 503, 200])

    async def _throttled(self, step: Step, bundle: "ConnectorBundle") -> None:
        from runtime.gateway import Fault

        before = len(self._log())
        self._gateway.script(Fault(kind="status", status=429, retry_after="1", body='{"error":"RateLimited"}'))
        roles = await bundle.identity.get_user_roles("user_2")
        first, second = self._log()[before:]
        waited = second["at_s"] - first["at_s"]
        step.check(f"the caller got {roles.roles}", roles.roles == ["user"])
        step.check(f"by the gateway's clock the second attempt came {waited:.2f} s after the first", waited >= 1.0)

    async def _services(self, step: Step, bundle: "ConnectorBundle") -> None:
        from runtime.connectors.discovery import ListingCreate
        from runtime.connectors.hosting import AppCreate

        app = await bundle.hosting.create_app(AppCreate(name="Shop"), user_jwt=_JWT)
        domain = await bundle.hosting.add_domain(app.id, "shop.example.com", user_jwt=_JWT)
        domain = await bundle.hosting.verify_domain(app.id, domain.id, user_jwt=_JWT)
        listing = await bundle.discovery.create_listing(ListingCreate(app.id, "Shop", price=1999), user_jwt=_JWT)
        quests = await bundle.discovery.list_quests(user_jwt=_JWT)
        features = await bundle.billing.check_features(["export", "teleport"], user_jwt=_JWT)
        status = await bundle.payment.subscription_status(scope="platform", user_jwt=_JWT)
        step.check(f"hosting: {app.name} at {domain.domain}, {domain.status}", domain.status == "active")
        step.check(f"discovery: listed for {listing.price} cents, {len(quests)} quest", listing.price == 1999)
        allowed = [name for name, access in features.items() if access.allowed]
        step.check(f"billing: allowed {allowed} of {list(features)}", allowed == ["export"])
        step.check(f"payment: plan {status.plan}, active", status.active)

    async def _keyed(self, step: Step, bundle: "ConnectorBundle") -> None:
        from runtime.connectors.hosting import DeployRequest
        from runtime.gateway import Fault

        before = len(self._log())
        self._gateway.script(Fault(kind="reset", applied=True, method="POST"))
        job = await bundle.hosting.deploy("app_1", DeployRequest(branch="main"), user_jwt=_JWT)
        entries = self._log()[before:]
        applied = sum(entry["applied"] for entry in entries)
        step.check(f"the caller got job {job.id[:8]}…, {job.status}", job.status == "queued")
        step.check(f"{len(entries)} requests with one key, applied {applied} time", (len(entries), applied) == (2, 1))

    async def _unkeyed(self, step: Step, bundle: "ConnectorBundle") -> None:
        from middleware import PlatformError
        from runtime.connectors.service import ServiceItemCreate
        from runtime.gateway import Fault

        before = len(self._log())
        self._gateway.script(Fault(kind="reset", applied=True, method="POST"))
        error = await _failure(
            bundle.service.create_item(ServiceItemCreate(name="Only once"), user_jwt=_JWT), PlatformError
        )
        entries = self._log()[before:]
        step.check(f"the caller got {type(error).__name__}: outcome unknown", getattr(error, "outcome_unknown", False))
        step.check(f"{len(entries)} request: it was not sent again", len(entries) == 1)

    async def _outage(self, step: Step, bundle: "ConnectorBundle") -> None:
        from middleware import CircuitOpenError, PlatformError
        from runtime.gateway import Fault

        self._gateway.script(Fault(kind="status", status=500, times=0))
        before = len(self._log())
        failures: list[PlatformError | None] = []
        while not isinstance(failures[-1] if failures else None, CircuitOpenError) and len(failures) < 20:
            failures.append(await _failure(bundle.service.list_items(user_jwt=_JWT), PlatformError))
        sent = len(self._log()) - before
        refused = failures[-1]
        step.check(f"after {sent} requests the circuit opened", isinstance(refused, CircuitOpenError))
        step.check("the rejected call sent nothing", getattr(refused, "attempts", -1) == 0)
        self._gateway.clear_faults()
        await asyncio.sleep((getattr(refused, "retry_after_s", None) or 0) + 0.01)
        items = await bundle.service.list_items(user_jwt=_JWT)
        step.check(f"after the open time one probe closed it: {len(items)} items", len(items) == 2)


async def _failure(call: Awaitable[Any], kind: "type[PlatformError]") -> "PlatformError | None":
    try:
        await call
    except kind as error:
        return error
    return None


def _report(
    steps: list[Step],
    recorder: Recorder,
    metrics: Any,
    stats: dict[str, int],
    log: list[dict[str, Any]],
    *,
    console: "Console",
    as_json: bool,
    elapsed_s: float,
    most_connections: int,
) -> int:
    """Verify the telemetry against the gateway's log, print the table and the verdict."""
    from runtime.traces.model import call_traces
    from runtime.traces.terminal import operation_rows, render_rows

    traces = call_traces(recorder.spans())
    rows = operation_rows(traces, metrics)
    proof = Step(title="The telemetry, verified against the gateway's own log")
    sent = {attempt.span_id for trace in traces for attempt in trace.attempts if attempt.request_sent != "no"}
    read = [dict(entry["headers"]).get("traceparent", "--").split("-")[2] for entry in log]
    proof.check(
        f"{len(read)} requests read, {len(sent)} attempts recorded, one to one by traceparent",
        len(read) == len(set(read)) and set(read) == sent,
    )
    ids = {dict(entry["headers"]).get("x-correlation-id") for entry in log}
    proof.check(
        "every correlation id at the gateway is on a call span", ids <= {trace.correlation_id for trace in traces}
    )
    calls = sum(row.calls for row in rows)
    proof.check(f"{calls} calls in the metrics, {len(traces)} call spans", calls == len(traces))
    peak = stats["peak"] - 1  # without the demo's own
    proof.check(f"connections open at a time, at most: {peak}", peak <= most_connections)
    checks = [check for step in (*steps, proof) for check in step.checks]
    ok = all(passed for _, passed in checks)
    if as_json:
        document = {
            "ok": ok,
            "elapsed_s": round(elapsed_s, 3),
            "steps": [step.to_json() for step in (*steps, proof)],
            "operations": [row.__dict__ for row in rows],
            "gateway": stats,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        console.print("\nPer operation, from exported spans and metrics", style="bold cyan")
        console.print(render_rows(rows))
        show_step(console, proof)
        console.print(verdict(checks, elapsed_s=elapsed_s), soft_wrap=True)
        if recorder.handle.endpoint:
            console.print("The spans were also sent to the configured OTLP endpoint.")
        if recorder.trace_file:
            console.print(
                f"The spans are in {recorder.trace_file}: python3 -m runtime trace {recorder.trace_file}",
                soft_wrap=True,
            )
    return 0 if ok else 1
