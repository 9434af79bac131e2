"""Real hosts: uvicorn, gunicorn with uvicorn's workers, and a worker of Celery; what the platform and the file got."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import pytest_asyncio
from app_server import GUNICORN, ROOT, UVICORN, running_application

from runtime.gateway import Fault, Gateway
from runtime.traces.trace_file import SpanReader

pytestmark = pytest.mark.sockets

APPLICATION = """
import asyncio, logging
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from middleware import PlatformError, call_options
from runtime.asgi import ConnectorsMiddleware, connectors_lifespan

plain = logging.getLogRecordFactory()
def stamped(*args, **kwargs):  # as a host does that stamps all its lines
    record = plain(*args, **kwargs)
    record.service, record.trace_id = "core", "-"
    return record
logging.setLogRecordFactory(stamped)
logging.basicConfig(level="DEBUG", filename="log.txt", format="%(name)s %(event)s %(service)s", force=True)
for name in ("asyncio", "httpcore", "multipart"):
    logging.getLogger(name).setLevel("CRITICAL")

app = FastAPI(lifespan=connectors_lifespan())
app.add_middleware(ConnectorsMiddleware)

def plain_dependency():
    with call_options(max_attempts=1):
        yield

async def dependency():
    with call_options(max_attempts=1):
        yield

async def page_after(request, seconds):
    await asyncio.sleep(seconds)
    try:
        return str((await request.state.connectors.service.list_items()).total)
    except PlatformError as error:
        return error.code

@app.get("/background")
async def background(request: Request, tasks: BackgroundTasks):
    tasks.add_task(page_after, request, 0.4)
    return {}

@app.get("/stream")
async def stream(request: Request):
    async def parts():
        yield "begun "
        yield await page_after(request, 0.4)
    return StreamingResponse(parts())

@app.get("/late")
async def late(request: Request):
    return await page_after(request, 0.4)

@app.get("/plain")
async def by_plain(request: Request, _=Depends(plain_dependency)):
    return await page_after(request, 0)

@app.get("/async")
async def by_async(request: Request, _=Depends(dependency)):
    return await page_after(request, 0)
"""

SERVERS = {"uvicorn": UVICORN, "gunicorn": GUNICORN}


class Core:
    """The application in a real server, and its gateway, which has seen nothing when a test begins."""

    def __init__(self, client, gateway, log):
        self.get = client.get
        self.gateway = gateway
        self.log = log


@pytest_asyncio.fixture(params=SERVERS, scope="module", loop_scope="module")
async def server(request, tmp_path_factory):
    """One for all tests: starting it is what costs."""
    folder = tmp_path_factory.mktemp("core")
    async with (
        Gateway() as gateway,
        running_application(APPLICATION, folder, SERVERS[request.param], gateway) as running,
    ):
        yield Core(running.client, gateway, folder / "log.txt")
        output = await running.stop(signal.SIGTERM)
    assert b"Traceback" not in output, output


@pytest.fixture
def core(server):
    server.gateway.reset()
    server.log.write_bytes(b"")
    return server


@pytest.mark.asyncio(loop_scope="module")
async def test_an_incoming_deadline_ends_with_the_response(core):
    """R40: a call before it is bound; those of a background task and of a stream that is read are not."""
    gateway, patience = core.gateway, {"x-request-timeout-ms": "250"}
    assert (await core.get("/late", headers=patience)).json() == "DEADLINE_EXCEEDED"
    assert len(gateway.requests) == 0
    assert (await core.get("/stream", headers=patience)).text == "begun 0"
    assert (await core.get("/background", headers=patience)).json() == {}
    ends = time.monotonic() + 20
    while len(gateway.requests) < 2 and time.monotonic() < ends:
        await asyncio.sleep(0.05)
    assert [request.path for request in gateway.requests] == ["/api/service/items"] * 2


@pytest.mark.asyncio(loop_scope="module")
async def test_options_of_a_dependency_fail_no_request(core):
    """R40: in force where the dependency is `async def`; FastAPI keeps those of a plain one from the endpoint."""
    gateway = core.gateway
    gateway.script(*[Fault(kind="status")] * 3)
    assert (await core.get("/async")).json() == "SERVER_ERROR"
    assert len(gateway.requests) == 1
    assert (await core.get("/plain")).json() == "0"
    assert len(gateway.requests) == 4


@pytest.mark.asyncio(loop_scope="module")
async def test_the_lines_of_calls_come_through_a_servers_and_a_hosts_logging(core):
    """Whose record factory sets fields of ours, with its own values."""
    assert (await core.get("/plain")).json() == "0"
    lines = core.log.read_text().splitlines()
    assert "mozaiks.connectors call.succeeded service" in lines
    assert "mozaiks.connectors.attempts attempt.finished service" in lines


CELERY = """
from celery import Celery

folder = {folder!r}
options = {{"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder + "-control"}}
app = Celery("tasks", broker="filesystem://", broker_transport_options=options)
app.conf.update(worker_max_tasks_per_child={per_child}, worker_concurrency=2, broker_connection_retry_on_startup=True)


@app.task
def work(number):
    handle.tracer_provider.get_tracer("t").start_span(f"task-{{number}}").end()
"""
WORKER = """
import sys
import celery.bin.celery, tasks
for number in range(6):
    tasks.work.delay(number)
sys.argv[1:] = "-A tasks worker -P prefork --without-gossip --without-mingle --without-heartbeat -l INFO".split()
celery.bin.celery.main()
"""


@pytest.mark.parametrize("per_child", [1, 100])
def test_children_of_celerys_pool_lose_no_span(tmp_path, per_child):
    """With the documented handler of its signal: they end by `os._exit`, after their tasks or with the worker."""
    pytest.importorskip("celery")
    document = (ROOT / "docs" / "observability.md").read_text()
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", document, re.DOTALL) if "celery" in one]
    path = tmp_path / "t.jsonl"
    handler = block.replace('service_name="worker"', f"trace_file={str(path)!r}")
    assert handler != block
    (tmp_path / "queue").mkdir()
    (tmp_path / "tasks.py").write_text(handler + CELERY.format(folder=str(tmp_path / "queue"), per_child=per_child))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment["PYTHONPATH"] = f"{tmp_path}:{ROOT}"
    said = tmp_path / "worker.txt"
    with said.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER], cwd=tmp_path, env=environment, stdout=output, stderr=output
        )
    try:
        ends = time.monotonic() + 60
        while said.read_text().count("succeeded in") < 6 and time.monotonic() < ends:
            time.sleep(0.1)
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    finally:
        worker.kill()
        worker.wait()
    with path.open("rb") as file:
        came = Counter(span.name for span in SpanReader().read(file))
    assert came == {f"task-{number}": 1 for number in range(6)}, said.read_text()
