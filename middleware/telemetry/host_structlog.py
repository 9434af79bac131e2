"""
Log lines through the host's structlog, however it is configured.

The configuration is that of the host's own lines, and it may expect what only those have: a key, a logger's name, an
event loop. What would lose a line of ours there is left out of that line: a processor that raises, methods that are
coroutines. The line's other processors run all the same.
"""

import inspect
import logging
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import structlog

from middleware._internal.loggers import write_record

__all__ = ["StructlogChannel"]

_METHODS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
_LEVELS = {method: level for level, method in _METHODS.items()}
_last_resort = structlog.processors.KeyValueRenderer(key_order=["event"])


class StructlogChannel:
    """
    One logger of the host's structlog.

    Args:
        name: Name of the logger.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._processors: list[Any] = []
        self._guarded: list[Any] = []

    def write(self, level: int, event: str, fields: Mapping[str, Any]) -> None:
        """Write one line, if the host's configuration writes lines of *level*."""
        config = structlog.get_config()  # for each line: a host may configure structlog again
        logger = self._make_logger(config["logger_factory"])
        processors = self._guard(config["processors"])
        method = _METHODS[level]

        def bind(wrapper: Any) -> Any:
            return wrapper(logger, processors=processors, context=config["context_class"]())

        try:
            write = getattr(bind(config["wrapper_class"]), method)
        except Exception:  # noqa: BLE001 - the host's class, which may want an event loop that does not run here
            write = getattr(bind(structlog.BoundLogger), method)
        written = write(event, **fields)
        if inspect.iscoroutine(written):  # nothing of it has run, and a layer has no time to wait for it
            written.close()
            getattr(bind(structlog.BoundLogger), method)(event, **fields)

    def _make_logger(self, factory: Callable[..., Any]) -> Any:
        try:
            return factory(self._name)
        except TypeError:  # structlog's own factories take a name and may ignore it, a host's may take none
            return factory()

    def _guard(self, processors: Sequence[Any]) -> list[Any]:
        if self._processors != processors:  # also after a change in place, as `structlog.testing` makes it
            self._processors = list(processors)
            last = len(processors) - 1
            self._guarded = [_guarded(one, is_last=at == last) for at, one in enumerate(processors)]
            self._guarded.append(_to_record)
        return self._guarded


def _guarded(processor: Any, *, is_last: bool) -> Callable[[Any, str, Any], Any]:
    """Return *processor* as one that, where it raises, returns the event as it was, or as text if it *is_last*."""

    def process(logger: Any, method: str, event: Any) -> Any:
        kept = event.copy() if isinstance(event, dict) else event  # it may raise half-way
        try:
            return processor(logger, method, event)
        except structlog.DropEvent:
            raise
        except Exception:  # noqa: BLE001 - the host's code; its own lines show that it raises
            return _last_resort(logger, method, kept) if is_last and isinstance(kept, MutableMapping) else kept

    return process


def _to_record(logger: Any, method: str, event: Any) -> Any:
    """
    Write what the last processor returned, where structlog is on top of the standard library's logging.

    There structlog would pass it to a method of the logger, which rejects fields that the host's record factory sets
    too, and takes structlog's own file for the source of a logger that was made before structlog was configured.
    """
    if not isinstance(logger, logging.Logger):
        return event
    args, keywords = event if isinstance(event, tuple) else ((), event) if isinstance(event, dict) else ((event,), {})
    message, *more = args or (keywords.get("msg"),)
    if more or keywords.keys() - {"msg", "extra"}:  # exception info, say, which only a processor can have added
        return event
    if logger.isEnabledFor(_LEVELS[method]):
        write_record(logger, _LEVELS[method], message, keywords.get("extra") or {})
    raise structlog.DropEvent
