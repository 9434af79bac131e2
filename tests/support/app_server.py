"""A host's application in a real server, for tests that look at what becomes of it there."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
UVICORN = ["uvicorn", "--log-level", "warning", "--uds", "s"]
GUNICORN = ["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-w", "2", "--log-level", "error", "-b", "unix:s"]


class AppServer:
    """
    An application that is served by a process of its own.

    Attributes:
        client: Connected to it.
        process: Of the server.
    """

    def __init__(self, client, process):
        self.client = client
        self.process = process

    async def stop(self, by):
        """Stop it by the signal *by*; returns what it wrote, when it has ended."""
        self.process.send_signal(by)
        output, _ = await asyncio.wait_for(self.process.communicate(), 30)
        return output


@asynccontextmanager
async def running_application(text, folder, server, gateway, **environment):
    """Serve the application that *text* defines as `app` in *folder*, by the command *server*, once it responds."""
    (folder / "application.py").write_text(text)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *server,
        "application:app",
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MOZAIKS_MANAGED": "true",
            "MOZAIKS_GATEWAY_BASE_URL": gateway.url,
            "MOZAIKS_GATEWAY_API_KEY": gateway.api_key,
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    transport = httpx.AsyncHTTPTransport(uds=str(folder / "s"))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://core", timeout=30) as client:
            while process.returncode is None:
                try:
                    await client.get("/openapi.json")
                    break
                except httpx.TransportError:  # it does not listen yet
                    await asyncio.sleep(0.05)
            assert process.returncode is None, await process.communicate()
            yield AppServer(client, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
