"""A collector on a real port, for exports over OTLP/HTTP: keeps what it received, and responds as a test says."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Received(NamedTuple):
    """One request that was read; *address* is that of its connection."""

    path: str
    body: bytes
    headers: Any
    address: tuple

    @property
    def signal(self):
        return self.path.rpartition("/")[2]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self._respond(self.rfile.read(int(self.headers["content-length"])))

    def do_GET(self):
        """What a redirect leads to."""
        self._respond(b"GET")

    def _respond(self, body):
        received = Received(self.path, body, self.headers, self.client_address)
        self.server.received.append(received)
        status, headers, content = self.server.respond(received)
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class KeepAlive(Handler):
    """Keeps connections open."""

    protocol_version = "HTTP/1.1"


@contextmanager
def running_collector():
    """`received` lists the requests; `respond(received)`, to be replaced, returns status, headers and body."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.received = []
        server.respond = lambda _received: (200, {}, b"")
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
