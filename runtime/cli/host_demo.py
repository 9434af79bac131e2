"""
`python3 -m runtime demo --host`: the example host with two workers, driven over HTTP.

Nothing is imported from the host: it is a server of its own, in front of the reference gateway, and what is shown comes
from the responses, from the spans that its workers append to a file, and from the gateway's log.
"""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from runtime._internal.installation import project_directory

from .behind import free_port
from .story import Step, make_console, save_picture, show_end, show_step

if TYPE_CHECKING:
    import httpx

    from runtime.gateway import GatewayProcess
    from runtime.traces.trace_file import Span

__all__ = ["run"]

_APPLICATION = "examples.host.app:app"
_WORKERS = 2
_USERS = ("ada", "grace")
_PLUGINS = ("apps", "greeting", "marketplace", "notes", "paywall", "subscription")
_LONGEST_S = 60.0


def run(*, as_json: bool, picture: str | None, trace_file: str | None) -> int:
    """Run the story; returns 0 only if every check passed, 2 where it cannot begin."""
    import uvicorn  # noqa: F401 - the command names the extra where it is not installed

    from runtime.gateway import GatewayProcess

    project = project_directory()
    if project is None:
        sys.stderr.write("demo: --host runs examples/host, which is in the sources of the project alone\n")
        return 2
    console = make_console(as_json=as_json, picture=picture)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as made, GatewayProcess() as gateway:
        spans = Path(trace_file).absolute() if trace_file else Path(made, "traces.jsonl")
        with _Host(project, gateway.url, spans, Path(made, "output.txt")) as host:
            story = _Story(gateway, host, show=lambda step: show_step(console, step))
            try:
                steps = asyncio.run(story.run())
            except _HostFailedError as error:
                sys.stderr.write(f"demo: {error}\n")
                return 1
    ok = show_end(console, steps, elapsed_s=time.monotonic() - started, as_json=as_json)
    if trace_file and not as_json:
        console.print(f"The spans are in {trace_file}: python3 -m runtime trace {trace_file}", soft_wrap=True)
    return save_picture(console, picture, trace_file, code=0 if ok else 1)


class _HostFailedError(Exception):
    """The host did not start; the text is what it wrote."""


class _Host:
    """
    The example host, a process that ends with the block.

    Args:
        project: Directory of the sources.
        gateway: URL of the gateway.
        spans: File that the workers append spans to.
        output: File for what they write.
    """

    def __init__(self, project: Path, gateway: str, spans: Path, output: Path) -> None:
        from runtime.gateway import DEFAULT_API_KEY

        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._project, self._spans, self._output = project, spans, output
        self._begins_at = spans.stat().st_size if spans.exists() else 0
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MOZAIKS_")},
            "MOZAIKS_MANAGED": "true",
            "MOZAIKS_GATEWAY_BASE_URL": gateway,
            "MOZAIKS_GATEWAY_API_KEY": DEFAULT_API_KEY,
            "EXAMPLE_CORE_TRACE_FILE": str(spans),
        }

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "uvicorn", _APPLICATION, "--workers", str(_WORKERS)]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - fixed arguments
                [*command, "--port", str(self._port), "--log-level", "warning"],
                cwd=self._project,
                env=self._environment,
                stdout=output,
                stderr=output,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """Stop it as an orchestrator does."""
        self._process.send_signal(signal.SIGTERM)

    async def ends(self) -> bool:
        """Wait until it has ended; False where it does not."""
        with suppress(TimeoutError):
            await _until(lambda: self._process.poll() is not None)
        return self._process.poll() is not None

    async def is_ready(self, client: "httpx.AsyncClient") -> None:
        """
        Wait until it serves.

        Raises:
            _HostFailedError: It ended, or takes too long.
        """
        import httpx

        ends = time.monotonic() + _LONGEST_S
        while time.monotonic() < ends and self._process.poll() is None:
            with suppress(httpx.TransportError):
                if (await client.get("/health/ready")).is_success:
                    return
            await asyncio.sleep(0.05)
        text = self._output.read_text("utf-8", "replace")[-2000:]
        raise _HostFailedError(f"the host did not start: {text or 'it wrote nothing'}")

    def spans(self) -> "list[Span]":
        """Every span so far, of all workers."""
        from runtime.traces.trace_file import SpanReader

        if not self._spans.exists():
            return []
        with self._spans.open("rb") as file:
            file.seek(self._begins_at)
            return list(SpanReader().read(file))


class _Story:
    """The steps, in order."""

    def __init__(self, gateway: "GatewayProcess", host: _Host, show: Callable[[Step], None]) -> None:
        self._gateway = gateway
        self._host = host
        self._show = show
        self._steps: list[Step] = []
        self._sent: list[str] = []

    async def run(self) -> list[Step]:
        import httpx

        async with httpx.AsyncClient(base_url=self._host.url, timeout=_LONGEST_S, trust_env=False) as client:
            await self._host.is_ready(client)
            await self._step("Two workers serve, and no call of the platform is made for it", self._ready, client)
            await self._step("A plugin per service, each for the bearer of its request", self._plugins, client)
            await self._step("Requests of two users at a time, on both workers", self._users, client)
            await self._step("A burst of 503 below one request", self._burst, client)
            await self._step("A sender that waits for 0.4 s, and a platform that takes longer", self._deadline, client)
            await self._step("SIGTERM, with ten requests in flight", self._stop, client)
        await self._step("The spans, verified against the gateway's own log", self._proof, None)
        return self._steps

    async def _step(self, title: str, act: Callable[[Step, Any], Awaitable[None]], subject: Any) -> None:
        from runtime.traces.model import call_traces, traces_of

        step, before = Step(title=title), len(self._sent)
        await act(step, subject)
        spans = await self._spans_of(self._sent[before:])
        step.traces, step.calls = traces_of(spans), call_traces(spans)
        self._steps.append(step)
        self._show(step)

    async def _spans_of(self, ids: Sequence[str]) -> "list[Span]":
        """Return the spans of requests, which workers write a moment after the response, a request's own the last."""
        wanted = set(ids)

        def served() -> "list[Span]":
            return [span for span in self._host.spans() if span.attributes.get("correlation_id") in wanted]

        def arrived() -> bool:
            return {span.attributes["correlation_id"] for span in served() if span.kind == "SERVER"} == wanted

        with suppress(TimeoutError):
            await _until(arrived)
        traces = {span.trace_id for span in served()}
        return [span for span in self._host.spans() if span.trace_id in traces]

    async def _post(
        self, client: "httpx.AsyncClient", plugin: str, *, user: str = "ada", **headers: str
    ) -> "httpx.Response":
        correlation_id = f"demo-{len(self._sent) + 1:03d}"
        self._sent.append(correlation_id)
        given = {"authorization": f"Bearer token-{user}", "x-correlation-id": correlation_id, **headers}
        return await client.post(f"/api/execute/{plugin}", json={}, headers=given)

    async def _ready(self, step: Step, client: "httpx.AsyncClient") -> None:
        live, ready, page = [await client.get(f"/health/{name}") for name in ("live", "ready", "status")]
        services = ready.json()["services"]
        step.check(f"live and ready; {len(services)} services, each circuit closed", live.is_success and _closed(ready))
        step.check(f"the status page is at {page.url.path}", page.headers["content-type"].startswith("text/html"))
        step.check("the gateway read nothing", not self._gateway.requests())

    async def _plugins(self, step: Step, client: "httpx.AsyncClient") -> None:
        before = len(self._gateway.requests())
        responses = [await self._post(client, plugin) for plugin in _PLUGINS]
        ids = [response.headers["x-correlation-id"] for response in responses]
        step.check(f"{len(responses)} plugins responded 200", all(one.status_code == 200 for one in responses))
        step.check("each response has the id of its request", ids == self._sent[-len(ids) :])
        read = [dict(entry["headers"]) for entry in self._gateway.requests()[before:]]
        # The gateway's log has a digest of credentials alone.
        token = "sha256:" + hashlib.sha256(b"Bearer token-ada").hexdigest()[:12]
        pairs = [(one.get("authorization"), one.get("x-correlation-id")) for one in read]
        step.check("the gateway read the user's token and the same ids", pairs == [(token, one) for one in ids])

    async def _users(self, step: Step, client: "httpx.AsyncClient") -> None:
        right: list[bool] = []
        workers: set[Any] = set()

        async def one(user: str) -> None:
            response = await self._post(client, "greeting", user=user)
            right.append(response.json() == {"hello": user})

        ends = time.monotonic() + 10
        while len(workers) < _WORKERS and time.monotonic() < ends:  # the kernel chooses the worker of a connection
            before = len(self._sent)
            await asyncio.gather(*(one(user) for user in _USERS * 8))
            spans = await self._spans_of(self._sent[before:])
            workers |= {span.attributes.get("process.pid") for span in spans if span.kind == "SERVER"}
        step.check(f"{len(right)} requests, each user got their own name", all(right))
        step.check(f"{len(workers)} workers have served them", len(workers) == _WORKERS)

    async def _burst(self, step: Step, client: "httpx.AsyncClient") -> None:
        from runtime.gateway import Fault

        before = len(self._gateway.requests())
        self._gateway.script(Fault(kind="status", status=503, times=2))
        response = await self._post(client, "greeting")
        statuses = [entry["status"] for entry in self._gateway.requests()[before:]]
        step.check(f"the sender got {response.json()}", response.json() == {"hello": "ada"})
        step.check(f"the gateway responded {statuses}", statuses == [503, 503, 200])
        spans = await self._spans_of(self._sent[-1:])
        attempts = [span for span in spans if span.kind == "CLIENT"]
        above = {tuple(_kinds_above(span, spans)) for span in attempts}
        step.check(
            f"one trace: the request, its call, {len(attempts)} attempts",
            len(attempts) == 3 and above == {("CALL", "SERVER")},
        )

    async def _deadline(self, step: Step, client: "httpx.AsyncClient") -> None:
        from runtime.gateway import Fault

        self._gateway.script(Fault(kind="latency", seconds=30))
        response = await self._post(client, "greeting", **{"x-request-timeout-ms": "400"})
        code = response.json().get("error_code")
        step.check(f"the sender got {response.status_code} {code}", code == "DEADLINE_EXCEEDED")
        ready = await client.get("/health/ready")
        step.check("the host is as ready as before", ready.is_success)

    async def _stop(self, step: Step, client: "httpx.AsyncClient") -> None:
        from runtime.gateway import Fault

        self._gateway.clear_faults()
        self._gateway.script(Fault(kind="latency", times=0, seconds=0.5))
        before = len(self._gateway.requests())
        requests = [asyncio.create_task(self._post(client, "notes")) for _ in range(10)]
        await _until(lambda: len(self._gateway.requests()) == before + 10)
        self._host.terminate()
        responses = await asyncio.gather(*requests, return_exceptions=True)
        done = sum(getattr(response, "status_code", 0) == 200 for response in responses)
        step.check(f"{done} responses arrived", done == 10)
        step.check("both workers ended", await self._host.ends())

    async def _proof(self, step: Step, _none: None) -> None:
        log, spans = self._gateway.requests(), self._host.spans()
        sent = {span.span_id for span in spans if span.kind == "CLIENT"}
        read = [dict(entry["headers"])["traceparent"].split("-")[2] for entry in log]
        step.check(
            f"{len(read)} requests read, {len(sent)} attempts recorded, one to one by traceparent",
            len(read) == len(set(read)) and set(read) == sent,
        )
        ids = {span.attributes.get("correlation_id") for span in spans if span.kind == "SERVER"}
        step.check(f"{len(self._sent)} requests sent, each has a span", set(self._sent) <= ids)
        read_ids = {dict(entry["headers"])["x-correlation-id"] for entry in log}
        step.check("every correlation id at the gateway is that of a request", read_ids <= set(self._sent))


def _closed(ready: "httpx.Response") -> bool:
    services = ready.json()["services"].values()
    return ready.is_success and all(state == "closed" for one in services for state in one["breakers"].values())


def _kinds_above(span: "Span", spans: "Sequence[Span]") -> list[str]:
    """Return what of a call and a request *span* is within, the innermost first; a framework may have spans between."""
    from runtime.traces.calls import is_call

    by_id, found = {one.span_id: one for one in spans}, []
    while (span_above := by_id.get(span.parent_id)) is not None:
        span = span_above
        if is_call(span) or span.kind == "SERVER":
            found.append("CALL" if is_call(span) else span.kind)
    return found


async def _until(so: Callable[[], bool]) -> None:
    """Wait until *so*; raises TimeoutError after ten seconds."""
    async with asyncio.timeout(10):
        while not so():  # noqa: ASYNC110 - other processes signal nothing
            await asyncio.sleep(0.05)
