"""
Pictures of docs/observability.md: eight stories, made of real calls to the reference gateway, drawn from their spans.

    python3 .ci/tools/observability_pictures.py        # writes docs/traces/*.svg, and docs/traces/stories.jsonl
    python3 .ci/tools/observability_pictures.py page   # writes docs/traces/page.png, of the practice incident; Chromium
"""

import asyncio
import contextlib
import io
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from middleware import PlatformError, call_options
from runtime.cli import trace
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.identity import ManagedIdentityConnector
from runtime.connectors.service import ManagedServiceConnector, ServiceItemCreate
from runtime.gateway import Fault, Gateway
from runtime.settings import ResolvedSettings
from runtime.telemetry import configure_telemetry

FOLDER = ROOT / "docs" / "traces"


async def stories(telemetry):
    """Make the calls of each story once, its name as the correlation id."""
    async with Gateway() as gateway:

        def client(service, **policies):
            return PlatformHttpClient(
                gateway.url, gateway.api_key, service=service, telemetry=telemetry, policies=ResolvedSettings(policies)
            )

        async def tell(name, call, *faults):
            gateway.clear_faults()
            gateway.script(*faults)
            with contextlib.suppress(PlatformError):
                await call(correlation_id=name)

        identity = ManagedIdentityConnector(client("identity", retry={"base_delay_s": 0.2}))
        items = ManagedServiceConnector(client("service"))
        async with PlatformHttpClient(gateway.url, gateway.api_key) as first:  # the first call of a process is slow
            await first.get("/api/service/items")
        await tell("success", lambda **options: identity.list_users(limit=2, **options))
        await tell(
            "recovered",
            lambda **options: identity.get_user("user_2", **options),
            Fault(kind="status", status=503),
            Fault(kind="status", status=429, retry_after="1"),
        )
        await tell("exhausted", items.list_items, Fault(kind="status", status=502, times=0))
        broken = client("billing", circuit_breaker={"min_calls": 1}, retry={"max_attempts": 1})
        for name in ("opening", "rejected"):
            await tell(name, _get(broken, "get_subscription"), Fault(kind="status", status=500, times=0))
        hedging = client("discovery", hedging={"max_hedges": 1, "delay_s": 0.1})
        await tell("hedged", _get(hedging, "list_quests"), Fault(kind="latency", seconds=1.0))
        with call_options(deadline_s=0.3):
            await tell("deadline", _get(client("payment"), "subscription_status"), Fault(kind="stall", times=0))
        gateway.clear_faults()
        gateway.script(Fault(kind="stall"))
        task = asyncio.create_task(_get(client("hosting"), "list_apps")(correlation_id="cancelled"))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        write = ServiceItemCreate(name="Only once")
        lost = Fault(kind="reset", applied=True, method="POST")
        await tell("unknown", lambda **options: items.create_item(write, **options), lost)


def _get(client, operation):
    return lambda **options: client.get("/api/service/items", path_params={}, operation=operation, **options)


def main():
    """Make the calls, then draw them."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / "stories.jsonl"
    file.unlink(missing_ok=True)
    with configure_telemetry(service_name="stories", trace_file=file) as handle:
        asyncio.run(stories(handle.telemetry))
    names = ["success", "recovered", "exhausted", "rejected", "hedged", "deadline", "cancelled", "unknown"]
    for name in names:
        with contextlib.redirect_stdout(io.StringIO()):
            trace.main([str(file), name, "--svg", str(FOLDER / f"{name}.svg")])
    with contextlib.redirect_stdout(io.StringIO()):
        trace.main([str(file), "--svg", str(FOLDER / "list.svg")])


def page():
    """Draw the page of the practice incident, with the worst trace unfolded."""
    from playwright.sync_api import sync_playwright

    from examples.incident import write_incident

    with tempfile.TemporaryDirectory() as folder:
        spans, file = Path(folder) / "incident.jsonl", Path(folder) / "page.html"
        write_incident(spans)
        with contextlib.redirect_stdout(io.StringIO()):
            trace.main([str(spans), "--html", str(file)])
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            window = browser.new_page(viewport={"width": 1200, "height": 1100}, timezone_id="UTC")
            window.goto(file.as_uri())
            window.click("#list summary")
            window.wait_for_selector("#list .row")
            window.evaluate("scrollTo(0, 0)")
            window.screenshot(path=FOLDER / "page.png")
            browser.close()


if __name__ == "__main__":
    page() if sys.argv[1:] == ["page"] else main()
