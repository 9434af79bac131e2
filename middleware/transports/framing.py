"""
Where a response begins and ends on its connection, by RFC 9112 in its strictest reading.

A library parses the response; this decides, whatever the library, which bytes it gets, and whether the connection may
carry another request. Two readers of one connection that differ about the end of a response is how one caller gets the
response of another, so whatever parsers are known to differ about is refused.
"""

import re

__all__ = ["FINAL", "BodyFraming", "FramingWatch", "RemoteProtocolError", "check_head", "find_head"]

FINAL = 200
"""The first status that is no interim one (RFC 9110 section 15.2)."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]"
_FIELD = rb"%b:%b*+\r\n" % (_TOKEN, _TEXT)
_HEAD = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: %b*+)?\r\n(?:%b)*+\r\n" % (_TEXT, _FIELD))
# In a head that is not complete yet: a line that ends without one of its two characters.
_BARE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\x00")
_BEGIN = b"HTTP/1."
# Up to 16 digits, as many as a size of 64 bits has; leading zeros are common (Varnish sends two).
_CHUNK = re.compile(
    rb'([0-9A-Fa-f]{1,16}+)(?:;%b(?:=(?:%b|"(?:[\t\x20!\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"))?)*+\r\n'
    % (_TOKEN, _TOKEN)
)
_TRAILER = re.compile(rb"\r\n|(?!(?:content-length|transfer-encoding):)%b" % _FIELD, re.IGNORECASE)
_FRAMING_FIELD = re.compile(rb"\n([CcTt](?i:ontent-length|onnection|ransfer-encoding)):[ \t]*+([^\r]*)")
_LONGEST_LINE = 4096  # of a chunk's size with its extensions; a trailer may be as long as a head
_MOST_DIGITS = 19  # of a length; with one more it could exceed 64 bits
_CHUNKS_PER_STEP = 256  # to look at so many takes a fraction of a millisecond
_MOST_STEPS = 8  # of a watch, for what arrives at once; a body of smaller chunks costs its connection
_WITHOUT_BODY = frozenset({204, 304})  # RFC 9110 sections 15.3.5 and 15.4.5
_END = b"\r\n\r\n"


class RemoteProtocolError(Exception):
    """The response is not one of HTTP/1.1, or its framing is not sound."""


def find_head(data: bytes, searched: int) -> int:
    """
    Return where the head at the start of *data* ends; 0 where it is not complete.

    Args:
        data: What has arrived.
        searched: How many bytes of it an earlier call has seen.

    Raises:
        RemoteProtocolError: Whatever follows, it will not be a head.
    """
    end = data.find(_END, max(0, searched - 3))
    if end >= 0:
        return end + 4
    if _BARE.search(data, max(0, searched - 1)) is not None or not _BEGIN.startswith(data[: len(_BEGIN)]):
        raise RemoteProtocolError("malformed head")
    return 0


def check_head(head: bytes) -> int:
    """
    Return the status of a complete head.

    Raises:
        RemoteProtocolError: It is malformed, or switches to a protocol that was not asked for.
    """
    if _HEAD.fullmatch(head) is None:
        raise RemoteProtocolError("malformed head")
    status = int(head[9:12])
    if status == 101:  # noqa: PLR2004 - RFC 9110 section 15.2.2
        raise RemoteProtocolError("switched protocols unasked")
    return status


def _framing_fields(head: bytes) -> dict[str, str]:
    """
    Return the fields of a checked head that `BodyFraming` needs, by lower-case name, repeated ones joined by a comma.

    They are read from the head itself: h11 hands out one length where a head has the same one twice.
    """
    found: dict[str, str] = {}
    for name, value in _FRAMING_FIELD.findall(head):
        key, text = name.decode("ascii").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


class BodyFraming:
    """
    Where the body of one response ends (RFC 9112 section 6.3).

    Args:
        method: Of the request.
        status: Of the response, as `check_head` returns it.
        head: Of the response, checked.
        max_trailer_bytes: Bound of the trailer.

    Attributes:
        is_chunked: A library has to decode it.
        length: Bytes that are missing of a body of known length; None for other ones.
        data_left: Bytes of the chunks taken so far that the library has not handed out, as `decoded` counts them.
        is_over: Its last byte was taken.
        may_keep: The connection may carry another request once it is over.

    Raises:
        RemoteProtocolError: The head contradicts itself, or says something that parsers are known to differ about.
    """

    __slots__ = ("_in_trailer", "_left", "_trailer_left", "data_left", "is_chunked", "is_over", "length", "may_keep")

    def __init__(self, method: str, status: int, head: bytes, max_trailer_bytes: int) -> None:
        minor, fields = head[7] - ord("0"), _framing_fields(head)
        length, coding, connection = (
            fields.get("content-length"),
            fields.get("transfer-encoding"),
            fields.get("connection"),
        )
        self.is_chunked = self.is_over = self._in_trailer = False
        self._left = 0  # of a chunk's data and its line end
        self.data_left = 0
        self._trailer_left = max_trailer_bytes
        self.length: int | None = None
        self.may_keep = minor == 1 and (connection is None or "close" not in connection.lower())
        if coding is not None:
            # With a tab behind it llhttp takes it for another coding.
            if length is not None or minor != 1 or coding.lower() != "chunked":
                raise RemoteProtocolError("transfer-encoding: unsound")
        elif length is not None:
            length = length.rstrip(" ")  # with a tab behind it some versions of llhttp do not take it
            # `isdigit` alone takes superscripts, and `int` signs, blanks and underscores.
            if not (length.isascii() and length.isdigit() and len(length) <= _MOST_DIGITS):
                raise RemoteProtocolError("content-length: unsound")
            self.length = int(length)
        if method == "HEAD" or status in _WITHOUT_BODY:
            # A response without a body that announces one may be followed by it.
            self.may_keep = self.may_keep and (method == "HEAD" or not (coding or self.length))
            self.length, self.is_over = 0, True
        elif coding is not None:
            self.is_chunked = True
        elif length is None:
            self.may_keep = False
        elif not self.length:
            self.is_over = True

    def take(self, data: bytes, at: int = 0) -> int:
        """
        Return up to where *data*, from *at* on, belongs to the body; of many chunks only some at a time.

        What is not taken has to be passed again, with more behind it where nothing was taken. What follows a body that
        is over does not belong to it.

        Raises:
            RemoteProtocolError: The chunks are malformed.
        """
        if self.is_over:
            return at
        if self.is_chunked:
            return self._take_chunks(data, at)
        if self.length is None:
            return len(data)
        end = min(len(data), at + self.length)
        self.length -= end - at
        self.is_over = not self.length
        return end

    def decoded(self, size: int) -> None:
        """
        Count *size* bytes that the library has decoded.

        Raises:
            RemoteProtocolError: It has another idea of the chunks.
        """
        self.data_left -= size
        if self.data_left < 0 or (self.is_over and self.data_left):
            raise RemoteProtocolError("chunks and their sizes differ")

    def _take_chunks(self, data: bytes, at: int) -> int:
        for _ in range(_CHUNKS_PER_STEP):
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
            if at >= len(data):
                break
            line = (_TRAILER if self._in_trailer else _CHUNK).match(data, at)
            if line is None:
                longest = self._trailer_left if self._in_trailer else _LONGEST_LINE
                if data.find(b"\n", at) >= 0 or _BARE.search(data, at) is not None or len(data) - at > longest:
                    raise RemoteProtocolError("malformed chunk")
                break
            self._line_taken(line)
            at = line.end()
            if self.is_over:
                break
        return at

    def _line_taken(self, line: re.Match[bytes]) -> None:
        if not self._in_trailer:
            size = int(line[1], 16)
            self._in_trailer = not size
            self.data_left += size
            self._left = size and size + len(b"\r\n")  # the library checks the end of the line
            return
        taken = line.end() - line.start()
        self._trailer_left -= taken
        if self._trailer_left < 0:
            raise RemoteProtocolError("trailer too large")
        self.is_over = taken == len(b"\r\n")


class FramingWatch:
    """
    Watches the bytes of responses that a library frames itself: a connection is kept after sound ones alone.

    Attributes:
        is_clean: The response has ended, soundly and with nothing behind it, and does not end its connection.
    """

    __slots__ = ("_body", "_is_unsound", "_max_header_bytes", "_method", "_rest", "_searched", "is_clean")

    def __init__(self) -> None:
        self.begin("", 0)
        self._is_unsound = True  # what comes before the first request is not looked at

    def begin(self, method: str, max_header_bytes: int) -> None:
        """Expect the response to a request of *method*; its head, and its trailer, may have *max_header_bytes*."""
        self._method = method
        self._max_header_bytes = max_header_bytes
        self._body: BodyFraming | None = None
        self._rest = b""
        self._searched = 0
        self._is_unsound = self.is_clean = False

    def received(self, data: bytes) -> None:
        """Look at *data*, which the library gets too."""
        if self._is_unsound:
            return
        data = self._rest + data
        try:
            while (body := self._body) is None:
                end = find_head(data, self._searched)
                if not end:
                    self._keep_head(data)
                    return
                head, data = data[:end], data[end:]
                status = check_head(head)
                self._searched = 0
                # Of an interim response too: parsers differ about its length.
                body = BodyFraming(self._method, status, head, self._max_header_bytes)
                if status >= FINAL:
                    self._body = body
            end = body.take(data)
            self._rest = self._look_further(body, data, end) if end < len(data) else b""
            self.is_clean = body.is_over and body.may_keep
        except RemoteProtocolError:
            self._is_unsound, self.is_clean = True, False
            self._rest = b""

    def _keep_head(self, data: bytes) -> None:
        """Look at the head again with what follows."""
        self._searched, self._rest = len(data), data
        if len(data) > self._max_header_bytes:
            raise RemoteProtocolError("head too large")

    @staticmethod
    def _look_further(body: BodyFraming, data: bytes, at: int) -> bytes:
        """Return what of *data*, from *at* on, has to be looked at again with what follows."""
        for _ in range(1, _MOST_STEPS):
            if body.is_over:
                break
            before, at = at, body.take(data, at)
            if at in (before, len(data)):
                return data[at:]
        raise RemoteProtocolError("bytes after the response, or too many chunks to look at")
