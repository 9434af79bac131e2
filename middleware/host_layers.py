"""
Layers of the host's own: where they go, and the boundary around each of them.

A host gives its layers as `HostLayers` to `ConnectorConfig.middleware` or `PlatformHttpClient(middleware=…)`. Whatever
a layer does, its call ends with a response or one of our errors, and the rest of the stack keeps its promises.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .errors import CallError, ConfigError, InternalError, internal_error
from .records import RequestSent
from .types import Handler, Middleware, PlatformRequest, PlatformResponse

__all__ = ["HostLayerMiddleware", "HostLayers", "as_host_layers"]

_PLACES = ("call", "attempt")
_SENT: tuple[RequestSent, ...] = ("no", "maybe", "yes")
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.1, in lower case as all our names
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class HostLayers:
    """
    A host's own layers by their place in the stack, each place's outermost first.

    A layer is an `async (request, call_next) -> response`, function or object; it serves concurrent calls of all
    services that it is given to (`request.call.info.service`), and keeps what belongs to one call in a `CallState`.
    It may pass the request on, change it before that, raise a `CallError` (any other exception becomes an
    `InternalError`), or return a `PlatformResponse` of its own, whose `body` the stack decodes.

    Attributes:
        call: Around each call, all its attempts together, inside its span and deadline: quotas, caches. The request has
            its target and body, and the caller's token and the application's key as attributes.
        attempt: Around each attempt, inside its span and timeout: signatures. The request is as it goes on the wire; so
            is the response, before it is decoded.

    Raises:
        ConfigError: Something in them is no layer.
    """

    call: Sequence[Middleware] = ()
    attempt: Sequence[Middleware] = ()

    def __post_init__(self) -> None:
        problems = []
        for place in _PLACES:
            layers = getattr(self, place)
            if not isinstance(layers, list | tuple):
                problems.append(f"middleware.{place}: must be a list or tuple of layers, got {type(layers).__name__}")
                continue
            problems += [
                f"middleware.{place}[{index}]: must be an async (request, call_next) -> response, got {_kind(layer)}"
                for index, layer in enumerate(layers)
                if isinstance(layer, type) or not callable(layer)
            ]
            object.__setattr__(self, place, tuple(layers))
        if problems:
            raise ConfigError(problems)

    def __repr__(self) -> str:
        # By names: a layer's own repr may show its key.
        places = (f"{place}=[{', '.join(map(_name, getattr(self, place)))}]" for place in _PLACES)
        return f"HostLayers({', '.join(places)})"


def as_host_layers(value: Any) -> HostLayers:
    """
    Return *value*, or no layers for None.

    Raises:
        ConfigError: It is something else.
    """
    if value is None:
        return HostLayers()
    if not isinstance(value, HostLayers):
        raise ConfigError(f"middleware: must be HostLayers, got {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _name(layer: Any) -> str:
    """Name of a function, or of an object's class."""
    inner = layer.func if isinstance(layer, partial) else layer
    return str(getattr(inner, "__name__", type(inner).__name__))


def _sent(request: PlatformRequest, *, per_attempt: bool) -> RequestSent:
    """How far the attempt, or the call so far, got."""
    return request.attempt.request_sent if per_attempt else request.call.most_sent


class HostLayerMiddleware:
    """
    Runs one layer of the host, and lets out of it only responses and errors that the rest of the stack can rely on.

    Args:
        layer: The host's layer.
        per_attempt: It is around each attempt, and not around the call.

    Attributes:
        name: Name of the layer, in `describe()` and in error texts.
    """

    def __init__(self, layer: Middleware, *, per_attempt: bool) -> None:
        self.name = _name(layer)
        self._layer = layer
        self._per_attempt = per_attempt

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Run the layer.

        Raises:
            CallError: The layer's own, or one from below that it let pass.
            InternalError: The layer raised something else, or returned what is no response.
        """
        below = _Below(self.name, call_next, per_attempt=self._per_attempt)
        try:
            response = await self._layer(request, below)
            return self._checked(request, response, passed=below.gave(response))
        except CallError as error:
            if below.gave(error):
                raise
            failed = error
        except Exception as error:  # noqa: BLE001 - the host's code
            failed = internal_error(error, "no", where=self.name)
        finally:
            below.close()
        sent = _sent(request, per_attempt=self._per_attempt)
        failed.request_sent = max(failed.request_sent, sent, key=_SENT.index)  # R12: the layer may not know
        _unchain(failed)
        raise failed  # outside the handler: a chained third-party exception would keep the request reachable

    def _checked(self, request: PlatformRequest, response: Any, *, passed: bool) -> PlatformResponse:
        """
        Return *response* if it came from below, else a copy of it that belongs to this call.

        Raises:
            InternalError: It is no 2xx response.
        """
        if not isinstance(response, PlatformResponse):
            raise InternalError(f"{self.name} returned {_kind(response)} instead of a PlatformResponse")
        if not isinstance(response.status, int) or not 200 <= response.status < 300:  # noqa: PLR2004
            raise InternalError(f"{self.name} returned a response that is not 2xx; raise a CallError for a failure")
        if not self._per_attempt:
            request.call.stop_reason = ""  # of a failure that the layer made good
        if passed:
            return response
        request.attempt.is_short_circuited = self._per_attempt
        # A copy, since the layer may return the same object to many calls.
        return replace(response, outcome=None, correlation_id=request.call.info.correlation_id)


class _Below:
    """The `call_next` of a host's layer: the rest of the stack, usable until the layer returns."""

    def __init__(self, name: str, call_next: Handler, *, per_attempt: bool) -> None:
        self._name = name
        self._call_next = call_next
        self._per_attempt = per_attempt
        self._gave: list[object] = []
        self._is_closed = False

    def gave(self, result: object) -> bool:
        """Is *result* a response or an error from below?"""
        return any(one is result for one in self._gave)

    def close(self) -> None:
        """Accept no further request; forget responses and errors, whose frames refer to this object."""
        self._is_closed = True
        self._gave.clear()

    async def __call__(self, request: PlatformRequest) -> PlatformResponse:
        """
        Run the rest of the stack.

        Raises:
            CallError: The rest of the stack failed.
            InternalError: The layer has returned already, or *request* cannot be sent.
        """
        if self._is_closed:
            raise InternalError(f"{self._name} used call_next after it had returned")
        if not isinstance(request, PlatformRequest):
            raise InternalError(f"{self._name} passed on {_kind(request)} instead of a PlatformRequest")
        if problem := _header_problem(request.headers):
            raise InternalError(f"{self._name}: {problem}")
        try:
            response = await self._call_next(request)
        except CallError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - a layer has to know errors of ours alone
            failed = internal_error(error, _sent(request, per_attempt=self._per_attempt))
        else:
            self._keep(response)
            return response
        self._keep(failed)
        raise failed

    def _keep(self, result: object) -> None:
        if not self._is_closed:
            self._gave.append(result)


def _header_problem(headers: Mapping[Any, Any]) -> str:
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return "request.headers: a name must be a header name in lower case"
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            return f"request.headers[{name!r}]: must be a str of printable characters that ISO-8859-1 has"
    return ""


def _unchain(error: CallError) -> None:
    """Drop third-party exceptions that *error* is chained to: they may refer to the request and its credentials."""
    for link in ("__cause__", "__context__"):
        if not isinstance(getattr(error, link), CallError):
            setattr(error, link, None)
