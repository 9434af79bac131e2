"""A TLS server on blocking sockets: it sends its alerts, and ends connections with or without `close_notify`."""

import socket
import threading
from contextlib import suppress


class TlsServer:
    """
    Responds to the first request of each connection with `responses`, in order, and ends the connection.

    asyncio's server sends no alert when it rejects a certificate, and gives no choice of how a connection ends.

    Args:
        context: Server context.
        responses: Whole ones; the last one is repeated.
        close_notify: Whether each connection ends by it.

    Attributes:
        requests: Heads of the requests that it read.
    """

    def __init__(self, context, responses=(b"",), *, close_notify=True):
        self._context = context
        self._responses = list(responses)
        self._close_notify = close_notify
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        self.requests = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        peer = self._context.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
        with suppress(OSError):
            peer.do_handshake()
            data = b""
            while b"\r\n\r\n" not in data:
                data += peer.recv(65536)
            self.requests.append(data)
            peer.sendall(self._responses[min(len(self.requests), len(self._responses)) - 1])
            if self._close_notify:
                peer.unwrap()
        raw = socket.socket(fileno=peer.detach())
        with raw, suppress(OSError):
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65536):  # unread data would make the end a reset, which may overtake an alert
                pass
