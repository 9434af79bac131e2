"""One scenario, played on the mock and on the managed connector against the reference gateway, and compared."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from middleware.errors import PlatformError
from runtime.connectors.base import Page
from runtime.gateway import DEFAULT_API_KEY, Gateway, Request
from runtime.gateway.dialects import DIALECTS
from runtime.testing import Reply, SeenRequest, Step

from .documents import encoded
from .subject import Subject, Wire
from .values import problem_of

__all__ = ["DIALECTS", "differences", "on_gateway", "on_mock"]

_TOKEN = "token-ada"  # noqa: S105 - one of the gateway's own


class Result(NamedTuple):
    """What one step gave: its operation, the texts among its arguments, and the result or the error of ours."""

    operation: str
    texts: frozenset[str]
    value: Any


Results = list[Result]


async def on_mock(subject: Subject) -> Results:
    """Play the scenario on one mock: each operation with its result."""
    mock = subject.mock()
    return await _played(subject, lambda operation, given: getattr(mock, operation)(**given))


async def on_gateway(subject: Subject, dialect: str) -> Results:
    """Play the scenario on the managed connector, against the gateway's routes, without a socket."""
    wire = Wire(subject)
    wire.respond = _responder(Gateway(dialect=dialect))
    return await _played(subject, lambda operation, given: wire.outcome(operation, **given))


def _responder(gateway: Gateway) -> Callable[[SeenRequest], Step]:
    """Return the gateway as a script; another platform than ours would give another one here."""

    def respond(seen: SeenRequest) -> Step:
        headers = {**seen.headers, "x-mozaiks-app-key": DEFAULT_API_KEY}
        request = Request(method=seen.method, path=quote(seen.path), query=seen.query, headers=headers, body=seen.body)
        response = gateway.respond(request)
        content_type = {"content-type": response.content_type} if response.document is not None else {}
        return Reply(status=response.status, body=response.body(), headers={**content_type, **response.headers})

    return respond


async def _played(subject: Subject, call: Callable[[str, Mapping[str, Any]], Any]) -> Results:
    found: Results = []
    for step in subject.declared.steps:
        seen = {one.operation: one.value for one in found}
        own = step.arguments(seen) if callable(step.arguments) else copy.deepcopy(dict(step.arguments))
        given = {**subject.arguments(step.operation), **own}
        texts = frozenset(_texts(encoded(given)))
        value = await call(step.operation, {**given, "user_jwt": _TOKEN})
        found.append(Result(step.operation, texts, _copied(value)))
    return found


def _copied(value: Any) -> Any:
    """Return a copy of a result, which a mock may keep and change; a page without its way to the next one."""
    return Page(map(copy.deepcopy, value)) if isinstance(value, Page) else copy.deepcopy(value)


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, Mapping | list):
        for value in document.values() if isinstance(document, Mapping) else document:
            yield from _texts(value)


def differences(subject: Subject, mocked: Results, managed: Results) -> Iterator[str]:
    """Yield where the results of a scenario are not equivalent."""
    for number, (mock, real) in enumerate(zip(mocked, managed, strict=True), 1):
        kind = subject.result_type(mock.operation)
        if isinstance(real.value, PlatformError):
            problem = f"managed raised {type(real.value).__name__}: {real.value}; the mock returned {mock.value!r}"
        else:
            problem = problem_of(real.value, kind) or problem_of(mock.value, kind)
            problem = problem or _Comparison(mock.texts, real.texts).difference(mock.value, real.value, "result")
        if problem:
            yield f"step {number}, {mock.operation}: {problem}"


class _Comparison(NamedTuple):
    """
    Compares two results that no platform can make equal: ids, times and counters are its own, and it may know more.

    So None is equivalent to anything, and of texts and numbers only the type counts. A text that the caller gave and
    the platform returns must be in the mock's result too, flags have meanings and must be the same, and what the
    platform no longer lists, no mock lists.
    """

    mock_texts: frozenset[str]
    real_texts: frozenset[str]

    def difference(self, mock: Any, real: Any, place: str) -> str:  # noqa: PLR0911 - a table
        if mock is None or real is None:
            return ""
        if type(mock) is not type(real) and not (isinstance(mock, int | float) and isinstance(real, int | float)):
            return f"{place}: the mock has a {type(mock).__name__}, managed a {type(real).__name__}"
        if isinstance(mock, bool):
            return "" if mock is real else f"{place}: the mock has {mock}, managed {real}"
        if isinstance(mock, str):
            drops = real in self.real_texts and mock not in self.mock_texts
            return f"{place}: the mock has {mock!r}, managed {real!r}, which was given" if drops else ""
        if isinstance(mock, datetime):
            return "" if (mock.tzinfo is None) is (real.tzinfo is None) else f"{place}: one time has no zone"
        if isinstance(mock, list) and mock and not real:
            return f"{place}: the mock has {len(mock)} items, managed none"
        inner = ((f"{place}{key}", one, other) for key, one, other in _parts(mock, real))
        return next((text for where, one, other in inner if (text := self.difference(one, other, where))), "")


def _parts(mock: Any, real: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the parts that both have, with their places."""
    if dataclasses.is_dataclass(mock):
        for field in dataclasses.fields(mock):
            yield f".{field.name}", getattr(mock, field.name), getattr(real, field.name)
    elif isinstance(mock, Mapping):
        for key in mock.keys() & real.keys():
            yield f"[{key!r}]", mock[key], real[key]
    elif isinstance(mock, list):
        for index, (one, other) in enumerate(zip(mock, real, strict=False)):
            yield f"[{index}]", one, other
