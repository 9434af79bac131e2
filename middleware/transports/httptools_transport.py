"""
The transport whose parser is httptools: llhttp, which Node.js is built on, compiled. Needs the extra `fast`.

All of llhttp's leniencies are off, as they are unless `set_dangerous_leniencies` is called.
"""

import httptools

from .framing import FINAL, RemoteProtocolError
from .http1_transport import Http1Transport

__all__ = ["HttptoolsParser", "HttptoolsTransport"]


class _Sink:
    """Collects what the parser finds; apart from the parser, which would else refer to itself."""

    __slots__ = ("fields", "on_body", "pieces")

    # What httptools looks for and does not find takes it longer.
    on_message_begin = on_status = on_headers_complete = on_message_complete = on_chunk_header = on_chunk_complete = (
        None
    )

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for each field of a head, and of a trailer."""
        self.fields.append((name, value))


class HttptoolsParser:
    """A `Parser`."""

    __slots__ = ("_parser", "_sink")

    def __init__(self) -> None:
        self._sink = _Sink()
        self._parser = httptools.HttpResponseParser(self._sink)

    def head(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the fields of the whole head that *data* is."""
        sink = self._sink
        fields = sink.fields
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            reason = str(error)
        else:
            sink.fields = []  # those of a trailer do not belong to the others
            if self._parser.get_status_code() < FINAL:
                # Else an interim response with `Connection: close` would let llhttp refuse the final one.
                self._parser = httptools.HttpResponseParser(sink)
            if b" \r\n" in data or b"\t\r\n" in data:  # llhttp keeps what follows a value
                return [(name, value.rstrip(b" \t")) for name, value in fields]
            return fields
        raise RemoteProtocolError(reason)

    def chunks(self, data: bytes) -> bytes:
        """Return the data of the chunks in *data*."""
        pieces = self._sink.pieces
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            reason = str(error)
        else:
            found = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            return found
        raise RemoteProtocolError(reason)


class HttptoolsTransport(Http1Transport):
    """Sends attempts over connections of ours, and parses responses by httptools."""

    library = "httptools"
    parser = HttptoolsParser
