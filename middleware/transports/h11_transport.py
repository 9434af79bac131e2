"""The transport whose parser is h11: Python alone, and so always there; slower than a compiled one."""

from functools import lru_cache

import h11

from .framing import RemoteProtocolError
from .http1_transport import Http1Transport

__all__ = ["H11Parser", "H11Transport"]


@lru_cache(maxsize=16)  # there are few methods, and h11 looks at each request that it makes
def _request(method: str) -> h11.Request:
    """Return what h11 has to know of a request that the connection itself writes."""
    return h11.Request(method=method, target="/", headers=[("host", "h")])


class H11Parser:
    """A `Parser`."""

    __slots__ = ("_connection",)

    def __init__(self, method: str) -> None:
        self._connection = h11.Connection(h11.CLIENT)
        self._connection.send(_request(method))

    def head(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the fields of the whole head that *data* is."""
        try:
            self._connection.receive_data(data)
            event = self._connection.next_event()
        except h11.ProtocolError as error:
            reason = str(error)
        else:
            if isinstance(event, (h11.Response, h11.InformationalResponse)):
                return event.headers.raw_items()
            reason = "no whole head"
        raise RemoteProtocolError(reason)

    def chunks(self, data: bytes) -> bytes:
        """Return the data of the chunks in *data*."""
        pieces: list[bytes] = []
        try:
            self._connection.receive_data(data)
            while isinstance(event := self._connection.next_event(), h11.Data):
                pieces.append(event.data)
        except h11.ProtocolError as error:
            reason = str(error)
        else:
            return b"".join(pieces)
        raise RemoteProtocolError(reason)


class H11Transport(Http1Transport):
    """Sends attempts over connections of ours, and parses responses by h11."""

    library = "h11"
    parser = H11Parser
