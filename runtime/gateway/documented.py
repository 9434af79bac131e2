"""A service that does what its OpenAPI document says: it checks requests, and responds with examples or made values."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, unquote

from runtime.openapi import Api, Body, Operation, is_json
from runtime.openapi.names import PLACEHOLDER

from .checking import Checker
from .routes import Caller, Request, Response, problem
from .samples import Samples

__all__ = ["DocumentedService"]

_INVALID = "One or more validation errors occurred."
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "QUERY", "TRACE"})
_BYTES = b"\x00\x01\x02\x03"
_Route = tuple[Operation, list[re.Pattern[str]], list[int]]


class DocumentedService:
    """
    The operations of a document; keeps no state.

    Args:
        api: The document.
        caller: Returns who sends a request; None for credentials that are absent or wrong.
    """

    def __init__(self, api: Api, caller: Callable[[Request], Caller | None]) -> None:
        self._caller = caller
        self._checker = Checker(api)
        self._samples = Samples(api)
        # Fixed segments are matched first, as in ASP.NET Core's routing.
        self._routes = sorted(map(_route, api.operations), key=lambda row: row[2])

    def respond(self, request: Request) -> Response:
        """Return the response of the operation that *request* calls, or a ProblemDetails that says what is wrong."""
        parts = _segments(request.path)
        found = [(one, shapes) for one, shapes, _ in self._routes if _matches(shapes, parts)]
        if not found:
            return problem(404, "Not Found")
        called = next(((one, shapes) for one, shapes in found if one.method == request.method), None)
        if called is None:
            allowed = ", ".join(dict.fromkeys(one.method for one, _ in found))
            return problem(405, "Method Not Allowed", headers={"allow": allowed})
        operation, shapes = called
        if operation.security and all(operation.security) and self._caller(request) is None:
            return problem(401, "Unauthorized", headers={"www-authenticate": "Bearer"})
        errors: dict[str, list[str]] = {}
        for place, text in self._parameter_problems(operation, request, _values(operation, shapes, parts)):
            errors.setdefault(place, []).append(f"{place} {text}.")
        if operation.body is not None:
            if not _is_taken(operation.body, request):
                return problem(415, "Unsupported Media Type")
            for place, text in self._body_problems(operation.body, request):
                errors.setdefault(place, []).append(f"{place} {text}.")
        return problem(400, _INVALID, errors) if errors else self._success(operation, request)

    # --- requests ---------------------------------------------------------------------------------------------------

    def _parameter_problems(
        self, operation: Operation, request: Request, in_path: dict[str, str]
    ) -> Iterator[tuple[str, str]]:
        query: dict[str, list[str]] = {}  # names are read without case, as ASP.NET Core does
        for name, texts in parse_qs(request.query, keep_blank_values=True).items():
            query.setdefault(name.lower(), []).extend(texts)
        cookies = _cookies(request.headers.get("cookie", ""))
        for one in operation.parameters:
            if one.location == "path":
                texts = [in_path[one.name]] if one.name in in_path else []
            elif one.location == "query":
                texts = query.get(one.name.lower(), [])
            else:
                given = cookies.get(one.name) if one.location == "cookie" else request.headers.get(one.name.lower())
                texts = [] if given is None else [given]
            yield from self._checker.parameter_problems(one, texts)

    def _body_problems(self, body: Body, request: Request) -> Iterator[tuple[str, str]]:
        if not request.body:
            if body.required:
                yield "$", "must have a body"
            return
        schema = body.json
        if schema is None or not is_json(_media(request)):
            return
        try:
            document = json.loads(request.body, parse_float=Decimal, parse_constant=_reject)
        except (ValueError, RecursionError):
            yield "$", "must be JSON"
            return
        except ArithmeticError:
            yield "$", "has a number whose exponent is too large"
            return
        yield from self._checker.problems(schema, document, "$")

    # --- responses --------------------------------------------------------------------------------------------------

    def _success(self, operation: Operation, request: Request) -> Response:
        found = operation.success
        status = int(found.status) if found is not None and found.status.isdecimal() else 200
        changed = operation.method not in _SAFE
        if found is None or not found.contents or operation.method == "HEAD":
            return Response(status=status, changed=changed)
        media = _wanted(list(found.contents), request.headers.get("accept", ""))
        value = self._samples.of_content(found, media)
        if is_json(media):
            kind = "application/json" if "*" in media else media
            kind = kind if ";" in kind else f"{kind}; charset=utf-8"
            return Response(status=status, document=value, content_type=kind, changed=changed)
        text = value.encode() if media.startswith("text/") and isinstance(value, str) else _BYTES
        return Response(status=status, content=text, content_type=media, changed=changed)


def _route(operation: Operation) -> _Route:
    """Return the operation, the shape of each segment, and their ranks: fixed before partly fixed before others."""
    shapes, ranks = [], []
    for segment in _segments(operation.path, decoded=False):
        pieces = PLACEHOLDER.split(segment)  # fixed text and names alternate
        shape = "(.+)".join(re.escape(unquote(piece)) for piece in pieces[::2])
        shapes.append(re.compile(shape, re.IGNORECASE | re.DOTALL))
        ranks.append(0 if len(pieces) == 1 else 1 if any(pieces[::2]) else 2)
    return operation, shapes, ranks


def _segments(path: str, *, decoded: bool = True) -> list[str]:
    parts = path.rstrip("/").split("/")[1:]
    return [unquote(part) for part in parts] if decoded else parts


def _matches(shapes: Sequence[re.Pattern[str]], parts: Sequence[str]) -> bool:
    return len(shapes) == len(parts) and all(shape.fullmatch(part) for shape, part in zip(shapes, parts, strict=True))


def _values(operation: Operation, shapes: Sequence[re.Pattern[str]], parts: Sequence[str]) -> dict[str, str]:
    found = [shape.fullmatch(part) for shape, part in zip(shapes, parts, strict=True)]
    values = [value for one in found if one is not None for value in one.groups()]
    return dict(zip(PLACEHOLDER.findall(operation.path), values, strict=True))


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: one.value for name, one in SimpleCookie(header).items()}
    except CookieError:
        return {}


def _media(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_taken(body: Body, request: Request) -> bool:
    """Whether the body has a type of the document; `application/*+json` includes `application/json`."""
    media = _media(request)
    known = [one.partition(";")[0].strip().lower() for one in body.contents]
    if not request.body and not media:
        return True
    return media in known or "*/*" in known or (body.json is not None and media == "application/json")


def _wanted(medias: Sequence[str], accept: str) -> str:
    """Return the type to respond with: JSON where the client takes it, else the first that it takes, else the first."""
    taken = [part.partition(";")[0].strip().lower() for part in accept.split(",") if part.strip()] or ["*/*"]
    in_order = sorted(medias, key=lambda one: not is_json(one))
    return next((one for one in in_order if _is_accepted(one, taken)), in_order[0])


def _is_accepted(media: str, taken: Sequence[str]) -> bool:
    kind = media.partition(";")[0].strip().lower()
    return any(one in {"*/*", kind, f"{kind.partition('/')[0]}/*"} for one in taken) or (
        is_json(kind) and "application/json" in taken
    )


def _reject(name: str) -> Any:
    raise ValueError(name)
