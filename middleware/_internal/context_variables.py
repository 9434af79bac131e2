"""Context variables that are set for the time of a block."""

from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any

__all__ = ["reset"]


def reset(variable: ContextVar[Any], token: Token[Any]) -> None:
    """
    Undo a change of *variable*, if it is this context that was changed.

    It is not where a block ends in another thread, in the task in which an event loop finalizes an asynchronous
    generator that was not exhausted, or when what is suspended in it is collected: there the change was never visible.
    """
    with suppress(ValueError):
        variable.reset(token)
