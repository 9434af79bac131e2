"""A server in threads of its own, for tests that block their event loop."""

import socket
import threading


class ThreadServer:
    """
    Reads requests without a body, and responds to those whose target is not `/warm` when `go` is set.

    Args:
        response: What it sends, byte for byte.
        expected: Number of responses after which `responded` is set.
        tls: Server context.

    Attributes:
        requests: Heads that were read.
        open: Number of connections that are open.
    """

    def __init__(self, response, expected, tls=None):
        self.requests = []
        self.open = 0
        self.go = threading.Event()
        self.responded = threading.Event()
        self._response, self._left, self._tls = response, expected, tls
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://localhost:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.go.set()
        self._listener.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with self._lock:
            self.open += 1
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent is there at once
            peer = self._tls.wrap_socket(sock, server_side=True) if self._tls else sock
            with peer:
                while self._exchange(peer):
                    pass
        except OSError:
            pass
        finally:
            with self._lock:
                self.open -= 1

    def _exchange(self, peer):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = peer.recv(65536)
            if not piece:
                return False
            data += piece
        if b" /warm " in data:
            peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            return True
        with self._lock:
            self.requests.append(data)
        self.go.wait()
        peer.sendall(self._response)
        with self._lock:
            self._left -= 1
            if not self._left:
                self.responded.set()
        return True
