"""What says that our own process lacks descriptors, memory or threads, which no service can help."""

import errno
import os
import socket
import ssl

from middleware.errors import OutOfResourcesError

__all__ = ["as_exhausted", "no_descriptor", "out_of_resources"]

# Descriptors (EMFILE, ENFILE), memory (ENOMEM, ENOBUFS; EAI_MEMORY of a look-up), threads (EAGAIN).
_CODES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, socket.EAI_MEMORY})


def as_exhausted(error: BaseException | None) -> BaseException | None:
    """Return the one of *error*, its causes and the exceptions of its group that says so; None where none does."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        # An `SSLError` has numbers of its own.
        if isinstance(one, MemoryError) or (
            isinstance(one, OSError) and not isinstance(one, ssl.SSLError) and one.errno in _CODES
        ):
            return one
        waiting += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
    return None


def no_descriptor() -> OSError | None:
    """
    Return the error of a process that has no descriptor left now; None where it has one.

    The C library needs some to look a name up, and reports a temporary failure or a busy device where there is none.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error
    return None


def out_of_resources(error: BaseException) -> OutOfResourcesError:
    """Make the error for *error*, which says that this process lacks something."""
    return OutOfResourcesError(f"this process is out of resources: {str(error) or type(error).__name__}")
