"""What a library that parses HTTP/1.1 does for a connection of ours: the head of a response, and the data of chunks."""

from typing import Protocol

__all__ = ["Parser"]


class Parser(Protocol):
    """
    Parses the response to one request, interim ones before it included.

    The request's method is of no concern: a body that cannot be, as after HEAD, is not parsed.
    """

    def __init__(self) -> None: ...

    def head(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """
        Return the fields of the whole head that *data* is, as they were sent.

        Raises:
            RemoteProtocolError: The library does not take it.
        """
        ...

    def chunks(self, data: bytes) -> bytes:
        """
        Return the data of the chunks in *data*, which may be the middle of them.

        Raises:
            RemoteProtocolError: The library does not take it.
        """
        ...
