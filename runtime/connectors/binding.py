"""
Connectors bound to a user and a correlation id: views of a bundle's connectors, which share all of their state.

A call's own arguments win, `user_jwt=None` among them, which means the application's key alone.
"""

import inspect
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import closing
from functools import lru_cache, partial, wraps
from typing import Any

from middleware.call_options import IncomingRequest
from middleware.errors import InvalidArgumentError

from .page import Page

__all__ = ["BoundConnector"]


class BoundConnector:
    """
    A view of a connector whose operations are called with what is bound, where a call does not give it.

    Args:
        connector: The connector.
        operations: Names of its operations; everything else is the connector's own.
        arguments: What is bound, by the name of its parameter; an operation without such a parameter is not given it.
        request: The request for which the caller's token was bound; once it has ended, calls fail. None for no end.
    """

    def __init__(
        self,
        connector: Any,
        operations: Collection[str],
        arguments: Mapping[str, str],
        request: IncomingRequest | None,
    ) -> None:
        def read(name: str) -> Any:  # a closure: the attributes of an object in a traceback must not show the token
            found = getattr(connector, name)
            return _bound(found, arguments, request) if name in operations else found

        self._read = read
        self._shown = f"<bound {type(connector).__name__}>"

    def __getattr__(self, name: str) -> Any:
        return self._read(name)

    def __repr__(self) -> str:
        return self._shown


def _bound(
    method: Callable[..., Coroutine[Any, Any, Any]], arguments: Mapping[str, str], request: IncomingRequest | None
) -> Callable[..., Coroutine[Any, Any, Any]]:
    places = _places(getattr(method, "__func__", method))

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:  # not async: its frame is in no traceback (R52)
        for name, value in arguments.items():
            if name not in places or len(args) > places[name]:
                continue
            if name not in kwargs or (name == "correlation_id" and _is_blank(kwargs[name])):
                kwargs[name] = value
        made = method(*args, **kwargs)
        return made if request is None else _within(request, made)

    return call


async def _within(request: IncomingRequest, call: Coroutine[Any, Any, Any]) -> Any:
    with closing(call):
        _check(request)
        found = await call
    return found.checked(partial(_check, request)) if isinstance(found, Page) else found


def _check(request: IncomingRequest) -> None:
    if request.has_ended:
        raise InvalidArgumentError(_ENDED)


_ENDED = (
    "user_jwt: the request that it was bound in has ended, as it has for a background task; "
    "pass user_jwt to the call, or call connectors.bind(user_jwt=...) in the task itself"
)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


@lru_cache(maxsize=1024)
def _places(function: Callable[..., Any]) -> Mapping[str, float]:
    """Return the parameters of *function* that may be given by name, each with its place; infinite for none."""
    parameters = list(inspect.signature(function).parameters.values())
    is_method = bool(parameters) and parameters[0].name == "self"
    places: dict[str, float] = {}
    for place, one in enumerate(parameters[is_method:]):
        if one.kind is one.KEYWORD_ONLY:
            places[one.name] = float("inf")
        elif one.kind is one.POSITIONAL_OR_KEYWORD:
            places[one.name] = place
    return places
