"""The transport whose parser is h11: Python alone, and so always there; slower than a compiled one."""

import h11

from .framing import RemoteProtocolError
from .http1_transport import Http1Transport

__all__ = ["H11Parser", "H11Transport"]


_REQUEST = h11.Request(method="GET", target="/", headers=[("host", "h")])
_STATUS = len(b"HTTP/1.1 ")


class H11Parser:
    """A `Parser`."""

    __slots__ = ("_connection",)

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.CLIENT)

    def head(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the fields of the whole head that *data* is."""
        connection = self._connection
        try:
            # h11 accepts a final response without a request, as a server may send it (408), and an interim one after a
            # request alone. To be given the request, which the connection itself writes, costs it a fifth of all else.
            if data[_STATUS : _STATUS + 1] == b"1":
                connection = h11.Connection(h11.CLIENT)
                connection.send(_REQUEST)
            connection.receive_data(data)
            event = connection.next_event()
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
