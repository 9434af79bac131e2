"""One connector under test: its classes, and calls of it against a platform that does what a test says."""

import copy
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from inspect import signature
from typing import Any, get_type_hints

from middleware.errors import PlatformError
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.loader import managed_connector
from runtime.settings import ResolvedSettings
from runtime.testing import LoopClock, Reply, ScriptedUpstream, SeenRequest, Step, UpperBound, run_virtual

from . import Conformance, documents
from .values import required_arguments

__all__ = ["KEY", "TOKEN", "Subject", "Wire"]

KEY = "moz_test_conformance0123456789abcdef"
TOKEN = "conformance-token"  # noqa: S105 - valid nowhere
# One attempt, so that the first response is the call's; a circuit that opens would say nothing about the connector.
_SETTINGS = {"retry": {"max_attempts": 1}, "circuit_breaker": {"mode": "disabled"}}


class Wire:
    """
    A managed connector, and the platform that it calls; used inside of one event loop.

    Attributes:
        respond: What the platform does with each request: a step of `runtime.testing`, or a function of the request.
        requests: What the platform read.
    """

    def __init__(self, subject: "Subject") -> None:
        self.respond: Step | Callable[[SeenRequest], Step | Awaitable[Step]] = 500
        self._upstream = ScriptedUpstream(self._respond)
        self._subject = subject
        client = PlatformHttpClient(
            "http://platform.test",
            KEY,
            service=subject.declared.connector.name,
            policies=ResolvedSettings(_SETTINGS),
            transport=self._upstream,
            clock=LoopClock(),
            random=UpperBound(),
        )
        self.connector = managed_connector(subject.declared.connector, client)

    @property
    def requests(self) -> list[SeenRequest]:
        """What the platform read since the list was cleared."""
        return self._upstream.requests

    def _respond(self, request: SeenRequest) -> Step | Awaitable[Step]:
        return self.respond(request) if callable(self.respond) and not isinstance(self.respond, type) else self.respond

    async def call(self, operation: str, **arguments: Any) -> Any:
        """Call *operation* with valid arguments, and with *arguments* instead."""
        return await getattr(self.connector, operation)(**{**self._subject.arguments(operation), **arguments})

    async def outcome(self, operation: str, **arguments: Any) -> Any:
        """Return the result of `call`, or the error of ours that it raised."""
        try:
            return await self.call(operation, **arguments)
        except PlatformError as error:
            return error


class Subject:
    """
    One connector under test.

    Attributes:
        declared: What its owner says about it.
        operations: Names of its operations.
    """

    def __init__(self, declared: Conformance) -> None:
        self.declared = declared
        self.operations: tuple[str, ...] = declared.connector.operations
        self.document = cache(self._document)
        self.hints = cache(self._hints)

    def _hints(self, operation: str) -> dict[str, Any]:
        """Declared types of the arguments, and of the result as `return`."""
        return get_type_hints(getattr(self.declared.connector.managed, operation))

    def result_type(self, operation: str) -> Any:
        """Declared type of the result."""
        return self.hints(operation)["return"]

    def mock(self) -> Any:
        """Make another mock."""
        return self.declared.connector.mock()

    def arguments(self, operation: str) -> dict[str, Any]:
        """Valid arguments: those that the owner gave, and values of the types of all others without a default."""
        given = self.declared.arguments.get(operation, {})
        return copy.deepcopy({**required_arguments(getattr(self.declared.connector.managed, operation)), **given})

    def parameters(self, operation: str) -> list[str]:
        """Names of the parameters."""
        return list(signature(getattr(self.declared.connector.managed, operation)).parameters)[1:]

    def _document(self, operation: str) -> tuple[Any, Callable[[Any], Any] | None]:
        """
        Return a document that *operation* reads, and how a value becomes one; None where the owner gave it.

        Raises:
            AssertionError: None is known.
        """
        if operation in self.declared.documents:
            return self.declared.documents[operation], None
        kind = self.result_type(operation)
        found: Any = None
        for wrap in documents.wrappers(kind):
            value = documents.filled(kind)
            document = wrap(value)
            found = run_virtual(self._outcome(operation, document))
            # A connector that returns any mapping reads an envelope too, as one of its keys.
            is_envelope = document != value and isinstance(found, Mapping) and found.keys() == document.keys()
            if not isinstance(found, PlatformError) and not is_envelope:
                return document, wrap
        raise AssertionError(
            f"{operation}: it reads no document that has the fields of its result ({found}); "
            f"give Conformance(documents={{{operation!r}: …}})"
        )

    async def _outcome(self, operation: str, document: Any) -> Any:
        wire = Wire(self)
        wire.respond = reply(document)
        return await wire.outcome(operation)


def reply(document: Any) -> Step:
    """Return the step that responds with 200 and *document*, which may be any JSON."""
    return document if isinstance(document, Mapping | list) else Reply(json=document)
