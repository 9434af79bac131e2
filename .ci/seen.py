"""What the scripts that run real programs share: a check that is printed, waiting, and asking a port."""

import http.client
import sys
import time
from collections.abc import Callable
from typing import Any


def check(what: str, condition: Any, seen: Any = "") -> None:
    """Print *what*, or end the run with what was seen instead."""
    if not condition:
        sys.exit(f"FAILED: {what}\n{seen}")
    print(f"  passed: {what}", flush=True)


def until(look: Callable[[], Any], seconds: float = 30) -> Any:
    """Return what *look* finds, once it finds something; else the last it saw."""
    ends = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < ends:
        time.sleep(0.25)
    return found


def ask(port: int, path: str, body: bytes | None = None, *, host: str = "127.0.0.1") -> tuple[int, bytes]:
    """Return status and body of a response; status 0 where nothing listens."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, response.read()
    except OSError as error:
        return 0, str(error).encode()
    finally:
        connection.close()
