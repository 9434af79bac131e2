"""
Writing files safely: never over an input, never through a symbolic link.

Links in the directories above a file are followed, as usual; what the path itself names must be no link. Standard
library alone: the commands use it before their environment exists.
"""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO

__all__ = ["append_private", "refuse_link", "write_private", "write_text"]

_PRIVATE = 0o600
_BY_UMASK = 0o666


def refuse_link(path: Path) -> None:
    """
    Raise an error for a *path* that is a symbolic link.

    Raises:
        OSError: It is one; or it cannot be looked at, other than by not being there.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise _is_link(path)


def write_text(path: Path, text: str, *, inputs: Iterable[Path] = (), private: bool = False) -> None:
    """
    Write *text* to *path* in UTF-8 in place of the file's content; one that exists keeps the mode it was given.

    Args:
        path: The file; its directory must exist.
        text: What to write.
        inputs: Files that must stay as they are, under whichever of their names *path* finds them.
        private: A new file is for its owner alone (mode 0600), not as the umask says.

    Raises:
        OSError: *path* is a symbolic link or one of *inputs*, and nothing was changed; or it cannot be written.
    """
    content = text.encode()
    with os.fdopen(_open(path, os.O_WRONLY | os.O_CREAT, _PRIVATE if private else _BY_UMASK), "wb") as file:
        opened = os.fstat(file.fileno())
        for source in inputs:
            try:
                is_source = os.path.samestat(opened, source.stat())
            except FileNotFoundError:
                continue
            if is_source:
                raise OSError(errno.EINVAL, f"is the same file as {source}, which must not be overwritten", str(path))
        if stat.S_ISREG(opened.st_mode):  # a pipe or a device has nothing to remove
            os.ftruncate(file.fileno(), 0)
        file.write(content)


def write_private(path: Path) -> IO[bytes]:
    """
    Open *path* empty, for writing by its owner alone (mode 0600), whichever permissions it had.

    Raises:
        OSError: It is a symbolic link, or cannot be written.
    """
    file = os.fdopen(_open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "wb")
    try:
        os.fchmod(file.fileno(), _PRIVATE)
    except BaseException:
        file.close()
        raise
    return file


def append_private(path: Path) -> IO[bytes]:
    """
    Open *path* for appending, unbuffered; a new file has mode 0600, and one that exists keeps the mode it was given.

    Its content can be read, unless its mode allows writing alone.

    Raises:
        OSError: It is a symbolic link, or cannot be written.
    """
    flags = os.O_CREAT | os.O_APPEND
    try:
        return os.fdopen(_open(path, os.O_RDWR | flags, _PRIVATE), "a+b", buffering=0)
    except PermissionError:
        return os.fdopen(_open(path, os.O_WRONLY | flags, _PRIVATE), "ab", buffering=0)


def _open(path: Path, flags: int, mode: int) -> int:
    refuse_link(path)
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():  # one that appeared a moment ago
            raise _is_link(path) from None
        raise


def _is_link(path: Path) -> OSError:
    return OSError(errno.ELOOP, "is a symbolic link, which is not followed; name its target", str(path))
