"""
Compares two documents by operation: what a connector that was made from the old one does on a service of the new one.

A connector has what the generator plans from the old document.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runtime.generate.plan import TRANSPORT_HEADERS, Method, Options, make_plan
from runtime.openapi import Api, Operation, Parameter, Response
from runtime.openapi.names import PLACEHOLDER

from .rules import Change, Verdict, verdict_of
from .schemas import Requests, Responses, shape_of

__all__ = ["SENT_ANYHOW", "MethodChanges", "Route", "compare", "is_of_the_transport", "places", "route_of"]

Route = tuple[str, str]
"""Method, and path with its placeholders blank: what a service routes by."""

SENT_ANYHOW = {"accept", "accept-encoding", "content-length", "content-type", "host", "user-agent", "x-correlation-id"}
"""Headers that each request of the client has, or that it adds where there is something to send."""

_OPTIONS = Options("compared")
_BEARER = {"oauth2", "openidconnect"}


@dataclass(frozen=True, slots=True)
class MethodChanges:
    """
    What has changed of one operation.

    Attributes:
        name: The connector's method.
        operation: HTTP method and path, as in the old document; as in the new one for a new operation.
        changes: What has changed; empty for nothing.
        file: File of the connector that has its endpoint; empty for none.
        line: Line in it, from 1.
    """

    name: str
    operation: str
    changes: tuple[Change, ...] = ()
    file: str = ""
    line: int = 0

    @property
    def verdict(self) -> Verdict | None:
        """The worst that a change means; None where nothing has changed."""
        found = {verdict_of(one.rule) for one in self.changes}
        return next((one for one in (Verdict.BREAKING, Verdict.NEW, Verdict.COMPATIBLE) if one in found), None)


def compare(old: Api, new: Api) -> list[MethodChanges]:
    """Return what has changed for each operation: those of the old document in its order, then the new ones."""
    return _Comparison(old, new).methods()


def route_of(method: str, path: str) -> Route:
    """Return what a request is routed by; .NET ignores case, and a slash at the end."""
    return method.upper(), PLACEHOLDER.sub("{}", path).lower().rstrip("/")


def places(api: Api) -> dict[Route, Operation]:
    """Return the operations of *api* by what requests are routed by."""
    found: dict[Route, Operation] = {}
    for one in api.operations:
        found.setdefault(route_of(one.method, one.path), one)
    return found


def is_of_the_transport(one: Parameter) -> bool:
    """Whether it is a header that is no argument of a method."""
    return one.location == "header" and one.name.lower() in TRANSPORT_HEADERS


class _Comparison:
    def __init__(self, old: Api, new: Api) -> None:
        self._old = old
        self._new = new
        self._new_plan = make_plan(new, _OPTIONS)
        self._methods = {one.operation.key: one for one in make_plan(old, _OPTIONS).methods}
        self._new_methods = {one.operation.key: one for one in self._new_plan.methods}
        self._routes = places(new)
        known = {route_of(one.method, one.path) for one in old.operations}
        self._added = [one for one in new.operations if route_of(one.method, one.path) not in known]

    def methods(self) -> list[MethodChanges]:
        found, moved = [], set()
        for operation in self._old.operations:
            method = self._methods.get(operation.key)
            other = self._routes.get(route_of(operation.method, operation.path))
            if other is None:
                target = self._moved_to(operation)
                if target is not None:
                    moved.add(target.key)
                changes = [_gone(operation, target, is_called=method is not None)]
            elif method is None:
                changes = list(self._uncalled(operation, other))
            else:
                changes = list(self._changes(method, other))
            name = method.name if method else _unplanned(operation)
            found.append(MethodChanges(name, operation.key, tuple(dict.fromkeys(changes))))
        return found + [self._new_operation(one) for one in self._added if one.key not in moved]

    def _uncalled(self, old: Operation, new: Operation) -> Iterator[Change]:
        """Yield what has changed of an operation that the client cannot call."""
        if new.key in self._new_methods:
            yield _operation("OD301", "can be called: it is JSON now", new.place)
        elif old != new:
            yield _operation("OD205", "has changed", new.place)

    def _new_operation(self, one: Operation) -> MethodChanges:
        method = self._new_methods.get(one.key)
        why = next((row.why for row in self._new_plan.left_out if row.place == one.place), "")
        reason = "is new" if method else f"is new, and cannot be expressed: {why}"
        return MethodChanges(
            method.name if method else _unplanned(one), one.key, (_operation("OD301", reason, one.place),)
        )

    def _moved_to(self, operation: Operation) -> Operation | None:
        """Return the new operation that most likely replaces *operation*: of the same id, else of the same path."""
        same = [one for one in self._added if operation.id and one.id == operation.id]
        path = route_of("", operation.path)
        same = same or [one for one in self._added if route_of("", one.path) == path]
        return same[0] if len(same) == 1 else None

    def _changes(self, method: Method, new: Operation) -> Iterator[Change]:
        yield from self._parameters(method, new)
        yield from self._body(method, new)
        yield from self._responses(method, new)
        yield from self._security(method.operation, new)
        if new.deprecated and not method.operation.deprecated:
            yield _operation("OD204", "is deprecated", new.place)

    # --- parameters -------------------------------------------------------------------------------------------------

    def _parameters(self, method: Method, new: Operation) -> Iterator[Change]:
        old = method.operation
        kept = {(one.location, one.wire) for one in method.arguments}
        sent = {_key(one, old): one for one in old.parameters if (one.location, one.name) in kept}
        known = {_key(one, old) for one in old.parameters}
        wanted = {_key(one, new): one for one in new.parameters}
        defaults = {one.wire.lower() for one in method.arguments if one.default not in {"", "None"}}
        for key, one in wanted.items():
            title = f"{one.location} `{one.name}`"
            before = sent.get(key)
            if before is not None:
                if one.required and not before.required and before.name.lower() not in defaults:
                    yield Change("OD102", f"{title} is required, and may be left out", f"#{one.place}")
                yield from self._parameter(before, one, title)
            elif one.location == "header" and one.name.lower() in SENT_ANYHOW:
                continue
            elif one.required and not _is_required(old, key):
                yield Change("OD102", f"{title} is required, and not sent", f"#{one.place}", is_added=key not in known)
            elif key not in known and not is_of_the_transport(one):
                yield Change("OD201", f"{title} is new", f"#{one.place}", is_added=True)
        for key, one in sent.items():
            if key not in wanted:
                title = f"{one.location} `{one.name}`"
                yield Change("OD104", f"{title} is gone, and ignored", f"#{one.place}", in_old=True)

    def _parameter(self, old: Parameter, new: Parameter, title: str) -> Iterator[Change]:
        requests = Requests(self._old, self._new, title, is_text=True)
        requests.compare(old.schema, new.schema)
        yield from requests.found
        before, after = self._old.resolved(old.schema), self._new.resolved(new.schema)
        notations = ["" if one.explode else one.separator for one in (old, new)]
        if shape_of(self._old, before) == shape_of(self._new, after) == "list" and notations[0] != notations[1]:
            was, now = ("repeated" if not one else f"joined by {one!r}" for one in notations)
            yield Change("OD103", f"{title} has its items {now}, was {was}", f"#{new.place}")
        values = [_default(one) for one in (old, new)]
        if not requests.found and values[0] != values[1]:
            yield Change("OD203", f"{title} has the default {values[1]}, was {values[0]}", f"#{new.place}")

    # --- body -------------------------------------------------------------------------------------------------------

    def _body(self, method: Method, new: Operation) -> Iterator[Change]:
        old, after = method.operation.body, new.body
        if old is None or old.json is None:
            if after is not None and after.required:
                yield Change("OD102", "body is new and required", f"#{after.place}")
            elif after is not None:
                yield Change("OD201", "body is new", f"#{after.place}")
            return
        if after is None:
            yield Change("OD104", "body is gone, and ignored", f"#{old.place}", in_old=True)
            return
        if after.json is None:
            yield Change("OD103", f"body is {', '.join(after.contents)}, was JSON", f"#{after.place}")
            return
        if method.body_optional and after.required and not old.required:
            yield Change("OD102", "body is required, and may be left out", f"#{after.place}")
        requests = Requests(self._old, self._new, "body")
        requests.compare(old.json, after.json)
        yield from requests.found

    # --- responses --------------------------------------------------------------------------------------------------

    def _responses(self, method: Method, new: Operation) -> Iterator[Change]:
        old = method.operation
        before, after = _successes(old), _successes(new)
        if before and not after:
            yield _operation("OD108", "has no documented success", new.place)
        for status, one in after.items():
            known = before.get(status)
            if known is not None and known is not old.success and _same(known, one):
                continue  # it was there, and the connector reads it as it did
            yield from self._response(method, one)

    def _response(self, method: Method, new: Response) -> Iterator[Change]:
        old = method.operation.success
        title = f"response {new.status}"
        if new.contents and new.json is None:
            yield Change("OD108", f"{title} is {', '.join(new.contents)}, not JSON", f"#{new.place}")
        elif method.result is None:
            if new.json is not None and (old is None or old.json is None):
                yield Change("OD202", f"{title} has a document", f"#{new.place}")
        elif new.json is None:
            yield Change("OD108", f"{title} has no content", f"#{new.place}")
        elif old is not None and old.json is not None:
            responses = Responses(self._old, self._new, title)
            responses.compare(old.json, new.json)
            yield from responses.found
            if new.status not in method.operation.responses and not responses.found:
                yield Change("OD203", f"{title} is new, and read like {old.status}", f"#{new.place}")

    # --- credentials ------------------------------------------------------------------------------------------------

    def _security(self, old: Operation, new: Operation) -> Iterator[Change]:
        before, after = _credentials(self._old, old), _credentials(self._new, new)
        for given in before:
            if not any(wanted <= given for wanted in after):
                needed = " or ".join(sorted({_needed(one) for one in after}))
                yield _operation("OD105", f"needs {needed}", new.place)
                return


def _operation(rule: str, what: str, place: str, *, in_old: bool = False) -> Change:
    return Change(rule, f"the operation {what}", f"#{place}", in_old=in_old)


def _gone(operation: Operation, target: Operation | None, *, is_called: bool) -> Change:
    rule = "OD101" if is_called else "OD205"
    if target is None:
        return _operation(rule, "is gone", operation.place, in_old=True)
    return _operation(rule, f"is {target.key} now", target.place)


def _unplanned(operation: Operation) -> str:
    return operation.id or "-"


def _key(one: Parameter, operation: Operation) -> tuple[str, str]:
    """Return what makes two parameters the same: in a path the position, else the name without case, as .NET reads."""
    if one.location == "path":
        return "path", str(PLACEHOLDER.findall(operation.path).index(one.name))
    return one.location, one.name.lower()


def _is_required(operation: Operation, key: tuple[str, str]) -> bool:
    return any(one.required and _key(one, operation) == key for one in operation.parameters)


def _default(one: Parameter) -> object:
    if one.schema.has_default:
        return one.schema.default
    is_version = one.required and one.name.lower().replace("_", "-") == "api-version"
    return one.example if is_version else None


def _successes(operation: Operation) -> dict[str, Response]:
    found = {status: one for status, one in operation.responses.items() if status.startswith("2")}
    if not found and "default" in operation.responses:
        return {"default": operation.responses["default"]}
    return found


def _same(old: Response, new: Response) -> bool:
    return old.contents.keys() == new.contents.keys() and (old.json is None) == (new.json is None)


def _credentials(api: Api, operation: Operation) -> list[set[tuple[str, str]]]:
    """Return the alternatives: what is sent, and which scope it needs; names of schemes mean nothing."""
    found = []
    for requirement in operation.security:
        one: set[tuple[str, str]] = set()
        for name, scopes in requirement.items():
            kind = _kind(api.security_schemes.get(name, {}), name)
            one |= {(kind, scope) for scope in ("", *scopes)}
        found.append(one)
    return found or [set()]


def _needed(alternative: set[tuple[str, str]]) -> str:
    kinds = " and ".join(sorted({kind for kind, _ in alternative}))
    scopes = ", ".join(sorted({scope for _, scope in alternative if scope}))
    return f"{kinds} with {scopes}" if scopes else kinds


def _kind(scheme: Mapping[str, object], name: str) -> str:
    kind = str(scheme.get("type", "")).lower()
    if kind in _BEARER or (kind == "http" and str(scheme.get("scheme", "")).lower() == "bearer"):
        return "a bearer token"
    if kind == "apikey":
        sent_as = str(scheme.get("name", ""))
        if sent_as.lower() == "authorization":
            return "a bearer token"  # how NSwag and exports write it for OpenAPI 2.0
        return f"{scheme.get('in', '')} {sent_as}"
    return f"{scheme.get('scheme', '')} credentials".strip() if kind else f"the scheme {name}"
