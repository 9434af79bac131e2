"""What says that our own process is out of something, and what does not."""

import errno
import socket
import ssl

import httpx
import pytest

from middleware.errors import OutOfResourcesError
from middleware.transports.exhaustion import as_exhausted, out_of_resources

OURS = [
    *(OSError(code, "text") for code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN)),
    socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"),
    MemoryError(),
]
OTHERS = [
    ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    OSError("no number"),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    ssl.SSLError(errno.ENOMEM, "a number of its own"),
    TimeoutError(),
    ValueError(),
    None,
]


@pytest.mark.parametrize("error", OURS, ids=repr)
def test_descriptors_memory_and_threads_are_ours(error):
    """Alone, as the cause or the context of another error, or in a group."""
    wrapped, handled = httpx.ConnectError("failed"), httpx.ConnectError("failed")
    wrapped.__cause__ = OSError("all connection attempts failed")
    wrapped.__cause__.__cause__ = (
        ExceptionGroup("two", [OSError("refused"), error]) if isinstance(error, OSError) else error
    )
    handled.__context__ = error
    assert [as_exhausted(one) for one in (error, wrapped, handled)] == [error] * 3


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_all_else_is_not(error):
    """A cycle of causes ends."""
    assert as_exhausted(error) is None
    wrapped = httpx.ConnectError("failed")
    wrapped.__cause__, wrapped.__context__ = error, wrapped
    assert as_exhausted(wrapped) is None


def test_the_error_says_what_is_lacking():
    """In the operating system's words."""
    texts = [str(out_of_resources(error)) for error in (OSError(errno.EMFILE, "Too many open files"), MemoryError())]
    assert texts == [
        f"this process is out of resources: [Errno {errno.EMFILE}] Too many open files",
        "this process is out of resources: MemoryError",
    ]
    assert isinstance(out_of_resources(MemoryError()), OutOfResourcesError)
