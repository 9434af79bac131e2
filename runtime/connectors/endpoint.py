"""Typed endpoints: what is constant about the requests of one operation, declared at the top of its connector."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from middleware.errors import ConfigError, InvalidArgumentError
from middleware.request.encode import check_endpoint

from .page import Paging

__all__ = ["Endpoint", "is_idempotent"]

# RFC 9110 section 9.2.2; TRACE is never sent.
_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[T_co]):
    """
    One endpoint of a service, with the type of its result; `PlatformHttpClient.call` and `page` make the request.

    Attributes:
        method: HTTP method, other than CONNECT and TRACE.
        path: Path template such as `/api/users/{user_id}`; also the route in spans, metrics and errors.
        operation: Name of the connector's method, in settings, spans, metrics and errors.
        decode: Converts the parsed document to the result; an error it raises becomes the error of the call.
        idempotent: Whether repeating the request is safe; None derives it from the method (RFC 9110 section 9.2.2).
        paging: How `page` asks for a part of the list; None for an endpoint that returns the whole list at once.
        max_attempts: Most attempts of one call, unless `retry.max_attempts` is set for this operation itself; None for
            what is set for the service or for all. 1 is for an operation that is never repeated, whatever its failure.
        documents_key: Whether the service's documentation has Idempotency-Key for it; where it does not, `config check`
            warns of `idempotency.honors_key`.
        decimals: Whether numbers with a fraction are read as Decimal, from their text, so that no digit is lost. A
            field that is a float stays one.

    Raises:
        ConfigError: Method or path can never be sent; names the operation.
    """

    method: str
    path: str
    operation: str
    decode: Callable[[Any], T_co]
    idempotent: bool | None = None
    paging: Paging | None = None
    max_attempts: int | None = None
    documents_key: bool = False
    decimals: bool = False

    def __post_init__(self) -> None:
        try:
            check_endpoint(self.method, self.path)  # R54
        except InvalidArgumentError as error:
            problem = f"Endpoint {self.operation}: {error.reason}"
        else:
            return
        raise ConfigError(problem)


def is_idempotent(method: str, declared: bool | None) -> bool:
    """Return whether repeating a request of *method* is safe, unless its endpoint has *declared* it."""
    return method in _IDEMPOTENT_METHODS if declared is None else declared  # R11
