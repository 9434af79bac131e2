"""A gateway in a process of its own, and the control client for it; standard library alone."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .faults import Fault

__all__ = ["GatewayProcess"]


class GatewayProcess:
    """
    Starts the gateway as a child process that ends with this one.

    Args:
        allow_hosts: As for `Gateway`.
        document: File or URL of a document to serve, as by `--from`.

    Raises:
        RuntimeError: The child did not start; carries what it said.
    """

    def __init__(self, *, allow_hosts: Iterable[str] = (), document: str | Path | None = None) -> None:
        self._arguments = [argument for name in allow_hosts for argument in ("--allow-host", name)]
        self._arguments += [] if document is None else ["--from", str(document)]
        self._process: subprocess.Popen[str] | None = None
        self._connection: http.client.HTTPConnection | None = None
        self.url = ""

    def start(self) -> None:
        """Start the child and wait until it listens."""
        command = [
            sys.executable,
            "-m",
            "runtime.gateway",
            "--port",
            "0",
            "--json",
            "--exit-with-parent",
            *self._arguments,
        ]
        self._process = subprocess.Popen(  # noqa: S603 - our own module, fixed arguments
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the gateway did not start (exit code {self._process.wait()})")
        started = json.loads(line)
        self.url = started["url"]
        self._connection = http.client.HTTPConnection("127.0.0.1", started["port"], timeout=10)

    def stop(self) -> None:
        """End the child."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        """Start it; `with GatewayProcess() as gateway:` stops it at the end of the block."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def script(self, *faults: Fault) -> None:
        """Play *faults* on coming requests."""
        self._ask("POST", "faults", [fault.to_json() for fault in faults])

    def clear_faults(self) -> None:
        """Respond normally from now on."""
        self._ask("DELETE", "faults")

    def reset(self) -> None:
        """Forget log, faults and state."""
        self._ask("POST", "reset")

    def requests(self) -> list[dict[str, Any]]:
        """Every request the gateway read, as JSON objects of `RequestRecord`."""
        found: list[dict[str, Any]] = self._ask("GET", "requests")
        return found

    def stats(self) -> dict[str, int]:
        """Counters: requests, connections opened, open and at peak (this control connection included)."""
        found: dict[str, int] = self._ask("GET", "stats")
        return found

    def _ask(self, method: str, what: str, document: Iterable[Any] | None = None) -> Any:
        if self._connection is None:
            raise RuntimeError("the gateway is not running")
        body = None if document is None else json.dumps(document)
        self._connection.request(method, f"/__gateway__/{what}", body, {"content-type": "application/json"})
        response = self._connection.getresponse()
        document = json.loads(response.read())
        if response.status != 200:  # noqa: PLR2004
            raise RuntimeError(f"the gateway refused: {document}")
        return document
