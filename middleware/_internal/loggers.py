"""
The library's loggers of the standard library: looked up for each line, and robust against what a host does to them.

By default, `logging.config.dictConfig` and `fileConfig` disable each logger that exists and that they do not name. So a
logger of this library is not created: while the host has not fetched it by name, lines go through one that only this
module knows, with the level and the handlers of its nearest ancestor.
"""

import logging
from collections.abc import Mapping
from typing import Any

__all__ = ["LibraryLogger", "write_record"]

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}  # what a record has by itself


class LibraryLogger:
    """
    One logger, by name.

    Args:
        name: Its name.
        prints_unconfigured: Where logging is not configured, Python prints its warnings on stderr; without it nothing
            is printed then.
    """

    def __init__(self, name: str, *, prints_unconfigured: bool = False) -> None:
        self._name = name
        self._prints_unconfigured = prints_unconfigured
        self._unregistered = logging.Logger(name)  # noqa: LOG001 - see the docstring of the module
        parts = name.split(".")[:-1]
        self._ancestors = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]

    def enabled(self, level: int) -> logging.Logger | None:
        """Return the logger to write lines of *level* to; None where they would not be written."""
        manager = logging.root.manager
        known = manager.loggerDict
        registered = known.get(self._name)
        if isinstance(registered, logging.Logger):  # else a placeholder, for a logger further down
            return registered if registered.isEnabledFor(level) else None
        parent: logging.Logger = logging.root
        for name in self._ancestors:
            ancestor = known.get(name)
            if isinstance(ancestor, logging.Logger):
                parent = ancestor
                break
        logger = self._unregistered
        logger.parent = parent  # in one step, since another thread may write a line now
        # Not `isEnabledFor`: it caches, and only the caches of registered loggers are cleared when a level changes.
        return logger if manager.disable < level >= logger.getEffectiveLevel() else None

    def log(self, level: int, message: str, fields: Mapping[str, Any]) -> None:
        """Write one line of the caller's source line, if *level* is enabled."""
        logger = self.enabled(level)
        if logger is not None:
            prints = self._prints_unconfigured
            write_record(logger, level, message, fields, prints_unconfigured=prints, stacklevel=2)


def write_record(
    logger: logging.Logger,
    level: int,
    message: Any,
    fields: Mapping[str, Any],
    *,
    prints_unconfigured: bool = False,
    stacklevel: int = 1,
    source: tuple[str, int, str] | None = None,
    has_own_names: bool = False,
) -> None:
    """
    Write one record without arguments: a percent sign in *message* stays one.

    Its file, line and function are *source*, or those of the caller.

    Unlike those of `extra`, *fields* may repeat what the host's own record factory sets; the line's own value wins.
    What every record has, such as `name`, is not overwritten; with *has_own_names* none of *fields* has such a name.
    """
    if not prints_unconfigured and not logger.hasHandlers():
        logger.addHandler(logging.NullHandler())
    path, line, function = source or logger.findCaller(stacklevel=stacklevel + 1)[:3]
    record = logger.makeRecord(logger.name, level, path, line, message, (), None, function, None, None)
    record.__dict__.update(
        fields if has_own_names else {name: value for name, value in fields.items() if name not in _OWN}
    )
    logger.handle(record)
