"""
One checkout's stack in a process of its own, measured in blocks: what `compare.py --against` runs two of.

    python benchmarks/checkout.py DIRECTORY URL HTTPS_URL CA_FILE

It imports the product from DIRECTORY and all else from the checkout it is part of, by names that every version has. Per
line of standard input, `scenario concurrency calls`, it makes the calls and prints the CPU time of one in microseconds.
"""

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from benchmarks.server import BODY, LARGE

Act = Callable[[int], Awaitable[Any]]

NO_WIRE = {
    "GET, raw transport, no SDK, no log": ("raw", "none", False, "get"),
    "GET, raw transport, unsampled, log line": ("raw", "unsampled", True, "get"),
    "GET, raw transport, sampled, log line": ("raw", "sampled", True, "get"),
    "POST of 1 kB, raw transport, sampled, log line": ("raw", "sampled", True, "post"),
    "GET, httpx stub, sampled, log line": ("httpx", "sampled", True, "get"),
}
"""Scenarios without a wire: transport, telemetry, whether a line is logged, and what is called."""

ON_WIRE = {
    "GET, sampled, log line": ("wire", "sampled", True, "get"),
    "GET, unsampled, log line": ("wire", "unsampled", True, "get"),
    "GET, no SDK, no log": ("wire", "none", False, "get"),
    "POST of 1 kB, sampled, log line": ("wire", "sampled", True, "post"),
    "GET of 100 kB over TLS, sampled, log line": ("tls", "sampled", True, "large"),
    "GET by h11, sampled, log line": ("h11", "sampled", True, "get"),
}

SENT = {"name": "A name of usual length", "text": "x" * 960}


def raw_transport() -> Any:
    """Make an end of the stack that responds at once: the layers alone."""
    from middleware.types import PlatformResponse

    head = {"content-type": "application/json", "content-length": str(len(BODY))}

    class Raw:
        async def send(self, request: Any, _url: str) -> Any:
            request.attempt.request_sent = "yes"
            if check := getattr(request, "check_head", None):  # as the product's own transports do, since they have it
                request.attempt.status = 200
                check(request, head)
            return PlatformResponse(status=200, headers=head, body=BODY)

        async def aclose(self) -> None:
            pass

    return Raw()


def parser_in_python() -> str:
    """Return the library without a compiled parser; empty, for the default, where a checkout had only that."""
    try:
        from middleware.transports.transport_settings import LIBRARIES
    except ImportError:
        return ""
    return "h11" if "h11" in LIBRARIES else ""


def httpx_stub() -> Any:
    import httpx

    class Stub(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers={"content-type": "application/json"}, content=BODY)

    return Stub()


class Checkout:
    """The clients of one checkout, made when they are first used."""

    def __init__(self, url: str, https_url: str, ca_file: str) -> None:
        from benchmarks.clients import sdk
        from middleware import Telemetry

        self.url, self.https_url, self.ca_file = url, https_url, ca_file
        self.telemetry = {"none": Telemetry(), "unsampled": sdk(sampled=False), "sampled": sdk()}
        self.clients: dict[tuple[str, str], Any] = {}

    def client(self, kind: str, telemetry: str) -> Any:
        from benchmarks.clients import stack

        if (kind, telemetry) not in self.clients:
            url = {"wire": self.url, "h11": self.url, "tls": self.https_url}.get(kind, "http://stub")
            transport = {"raw": raw_transport, "httpx": httpx_stub}.get(kind, lambda: None)()
            ca_file = self.ca_file if kind == "tls" else ""
            library = parser_in_python() if kind == "h11" else ""
            self.clients[kind, telemetry] = stack(
                url, self.telemetry[telemetry], library=library, transport=transport, ca_file=ca_file
            )
        return self.clients[kind, telemetry]

    def act(self, scenario: str) -> tuple[Act, bool]:
        """Return what one call of *scenario* does, and whether lines are logged."""
        from benchmarks.clients import token

        kind, telemetry, logs, what = {**NO_WIRE, **ON_WIRE}[scenario]
        client = self.client(kind, telemetry)

        async def get(n: int) -> None:
            found = await client.get(
                "/api/items/{item_id}", path_params={"item_id": n}, operation="get_item", user_jwt=token(n)
            )
            assert len(found["items"]) == 10

        async def post(n: int) -> None:
            await client.post(
                "/api/items/{item_id}",
                path_params={"item_id": n % 100},
                json_body=SENT,
                operation="post_item",
                user_jwt=token(n),
            )

        async def large(n: int) -> None:
            found = await client.get("/large", path_params={}, operation="get_all", user_jwt=token(n))
            assert len(found["items"]) == LARGE

        return {"get": get, "post": post, "large": large}[what], logs


@contextmanager
def without_collector() -> Iterator[None]:
    """Collect before, and not meanwhile: which block meets a collection is chance."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def block(act: Act, concurrency: int, calls: int, first: int) -> float:
    """CPU microseconds of one of *calls* calls, made by *concurrency* tasks."""
    numbers = iter(range(first, first + calls))

    async def worker() -> None:
        for number in numbers:
            await act(number)

    with without_collector():
        started = time.process_time()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return (time.process_time() - started) / calls * 1e6


async def serve(checkout: Checkout) -> None:
    """Measure what standard input names, line by line."""
    logger, number = logging.getLogger("mozaiks.connectors"), 0
    for line in sys.stdin:
        scenario, concurrency, calls = line.rstrip("\n").rsplit(" ", 2)
        act, logger.disabled = checkout.act(scenario)[0], not checkout.act(scenario)[1]
        cost = await block(act, int(concurrency), int(calls), number)
        number += int(calls)
        print(f"{cost:.3f}", flush=True)


def main() -> None:
    directory, url, https_url, ca_file = sys.argv[1:]
    sys.path[0] = directory  # `benchmarks` is imported already, from here
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[:-1]) or set(cores))
    import middleware

    assert Path(middleware.__file__).is_relative_to(Path(directory).resolve()), middleware.__file__
    from benchmarks.clients import log_to_null

    log_to_null()
    gc.freeze()
    asyncio.run(serve(Checkout(url, https_url, ca_file)))


if __name__ == "__main__":
    main()
