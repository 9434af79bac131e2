"""
What connectors call, send and read, from their source, and what a changed document means for these alone.

Files are parsed and never imported. What cannot be known so, such as the result of a connector's own function, is not
judged by the source: there the document's changes count as they are.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runtime.contract.source import Class, Module, Sources, expression_of, is_base, nodes_of, python_files, text_of
from runtime.openapi import Api, Operation, Schema

from .operations import SENT_ANYHOW, MethodChanges, Route, is_of_the_transport, places, route_of
from .rules import Change, Verdict
from .schemas import readable_names, shape_of

__all__ = ["Call", "calls_in", "for_connectors"]


@dataclass(frozen=True, slots=True)
class _Type:
    """An annotation in a file, and the further names of fields that are declared for it."""

    module: Module
    node: ast.expr
    spellings: ast.expr | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """
    One `Endpoint` in a connector's source.

    Attributes:
        operation: Name of the connector's method.
        method: HTTP method.
        path: Path template.
        file: The file.
        line: Its line, from 1.
        result: Type of the result; None where a function of the connector's own makes it.
        body: Type of the body; None for none, or where it is not known.
        sent: Query parameters and headers that its method sends, in lower case; None where they are not known.
    """

    operation: str
    method: str
    path: str
    file: str
    line: int
    result: _Type | None = field(default=None, repr=False)
    body: _Type | None = field(default=None, repr=False)
    sent: frozenset[str] | None = None

    @property
    def route(self) -> Route:
        """What its requests are routed by."""
        return route_of(self.method, self.path)


def calls_in(sources: Sources, paths: Iterable[Path]) -> list[Call]:
    """
    Return the endpoints that the files in *paths* declare.

    Raises:
        OSError, ValueError, SyntaxError, RecursionError, MemoryError: As of `Sources.read`.
    """
    return [one for path in python_files(paths) for one in _calls(sources, sources.read(path))]


def for_connectors(
    found: Sequence[MethodChanges], calls: Sequence[Call], sources: Sources, old: Api, new: Api
) -> list[MethodChanges]:
    """
    Return what has changed for the methods that make *calls*: with the file's place, without what they do not use.

    In addition: what they call that is in no document, and what of the new one they do not send or read, whether or
    not it is new. Operations that are not called are listed where they are new, or where a call would break.
    """
    by_route = {route_of(*one.operation.split(" ", 1)): one for one in found}
    operations = places(new)
    known = by_route.keys() | operations.keys()
    used = {one.file for one in calls if one.route in known}
    result = []
    for call in calls:
        if call.file not in used:
            continue  # a connector of another service
        changed = by_route.pop(call.route, None)
        operation = operations.get(call.route)
        reader = _Reader(sources, old, new, call)
        changes = list(reader.changes(changed.changes if changed else (), operation))
        title = f"{call.method} {call.path}"
        result.append(MethodChanges(call.operation, title, tuple(dict.fromkeys(changes)), call.file, call.line))
    for one in by_route.values():
        if one.verdict is Verdict.BREAKING:
            first = one.changes[0]
            result.append(replace(one, changes=(replace(first, rule="OD205"),)))
        elif one.verdict is Verdict.NEW:
            result.append(one)
    return result


# --- what is declared -------------------------------------------------------------------------------------------------


def _calls(sources: Sources, module: Module) -> Iterator[Call]:
    functions = [*module.all(ast.AsyncFunctionDef), *module.all(ast.FunctionDef)]
    for node in module.all(ast.Call):
        if not is_base(sources.dotted(module, node.func), "Endpoint"):
            continue
        names = ("method", "path", "operation", "decode")
        given: dict[str | None, ast.expr] = dict(zip(names, node.args, strict=False))
        given.update((one.arg, one.value) for one in node.keywords)
        method, path, operation = (_text(sources, module, given.get(name)) for name in names[:3])
        if not method or not path:
            continue
        users = [(one, user) for user in functions for one in _uses(module, user, node)]
        body = next((found for _, user in users if (found := _body(sources, module, user))), None)
        yield Call(
            operation or path,
            method.upper(),
            path,
            str(module.path),
            node.lineno,
            _decoded(sources, module, given.get("decode")),
            body,
            _sent([one for one, _ in users]),
        )


def _text(sources: Sources, module: Module, node: ast.expr | None) -> str:
    found = sources.resolve(module, node)
    return found.value if isinstance(found, ast.Constant) and isinstance(found.value, str) else ""


def _uses(module: Module, user: ast.AST, endpoint: ast.Call) -> Iterator[ast.Call]:
    """Yield the calls in the function *user* that have *endpoint* as their first argument."""
    for one in nodes_of(user):
        if isinstance(one, ast.Call) and one.args:
            first = one.args[0]
            if first is endpoint or (isinstance(first, ast.Name) and module.names.get(first.id) is endpoint):
                yield one


def _sent(uses: Sequence[ast.Call]) -> frozenset[str] | None:
    found: set[str] = set()
    for one in uses:
        if not (isinstance(one.func, ast.Attribute) and one.func.attr == "call"):
            return None  # `page` sends what its paging says
        for keyword in one.keywords:
            if keyword.arg is None:
                return None
            if keyword.arg in {"params", "headers"}:
                keys = keyword.value.keys if isinstance(keyword.value, ast.Dict) else [None]
                for key in keys:
                    if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                        return None
                    found.add(key.value.lower())
    return frozenset(found) if uses else None


def _decoded(sources: Sources, module: Module, node: ast.expr | None) -> _Type | None:
    found = sources.resolve(module, node)
    if not (isinstance(found, ast.Call) and is_base(sources.dotted(module, found.func), "decoder") and found.args):
        return None
    also = (
        found.args[1] if len(found.args) > 1 else next((one.value for one in found.keywords if one.arg == "also"), None)
    )
    return _Type(module, found.args[0], also)


def _body(sources: Sources, module: Module, user: ast.AST) -> _Type | None:
    for one in nodes_of(user):
        is_body = isinstance(one, ast.Call) and is_base(sources.dotted(module, one.func), "body_of")
        if is_body and isinstance(one, ast.Call) and len(one.args) > 1:
            return _Type(module, one.args[1], one.args[2] if len(one.args) > 2 else None)  # noqa: PLR2004 - its names
    return None


# --- compared with the new document -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    type: _Type
    names: set[str]


class _Reader:
    """What one call reads and sends of the new document."""

    def __init__(self, sources: Sources, old: Api, new: Api, call: Call) -> None:
        self._sources = sources
        self._old = old
        self._new = new
        self._call = call

    def changes(self, found: Sequence[Change], operation: Operation | None) -> Iterator[Change]:
        """Yield what the changes *found* of the document mean here, and what is not yet used."""
        call = self._call
        if operation is None:
            if found:
                yield from found
            else:
                yield Change("OD101", "the operation is in neither document", "#/paths")
            return
        here = [*self._unsent(operation), *self._unread(operation)]
        required = {one.place for one in found if one.rule == "OD102"}
        parameters = {f"#{one.place}" for one in operation.parameters}
        for one in found:
            is_read = one.rule == "OD202" and one.read
            known = call.result if is_read else call.sent if one.place in parameters else call.body
            is_unused = one.rule in {"OD106", "OD107", "OD203"} and one.read and self._reads(one.read) is False
            # What is added is listed below, unless the connector has it already.
            if not is_unused and one.rule != "OD205" and not (one.is_added and known is not None):
                yield one
        yield from (one for one in here if one.rule != "OD102" or one.place in required)

    def _reads(self, path: Sequence[str]) -> bool | None:
        """Whether the field at *path* of the response is read; None where it cannot be known."""
        kind = self._call.result
        for part in path:
            if kind is None:
                return None
            if part in {"[]", "{}"}:
                kind = self._inner(kind)
                continue
            fields = self._fields(kind)
            if fields is None:
                return None
            one = next((row for row in fields.values() if part in row.names), None)
            if one is None:
                return False
            kind = one.type
        return True

    def _unsent(self, operation: Operation) -> Iterator[Change]:
        sent = self._call.sent
        for one in operation.parameters:
            name = one.name.lower()
            if sent is None or name in sent or one.location not in {"query", "header"} or name in SENT_ANYHOW:
                continue
            if not one.required and is_of_the_transport(one):
                continue
            rule, what = ("OD102", "is required, and not sent") if one.required else ("OD201", "is not sent")
            yield Change(rule, f"{one.location} `{one.name}` {what}", f"#{one.place}")
        schema = operation.body.json if operation.body else None
        if self._call.body is not None and schema is not None:
            for path, lacking, is_required, line in self._lacking(self._call.body, schema, (), "read_only", set()):
                rule, what = ("OD102", "is required, and not sent") if is_required else ("OD201", "is not sent")
                yield Change(rule, f"body `{_joined(path)}` {what}", f"#{lacking.place}", line=line)

    def _unread(self, operation: Operation) -> Iterator[Change]:
        success = operation.success
        schema = success.json if success else None
        if self._call.result is not None and schema is not None:
            for path, one, _, line in self._lacking(self._call.result, schema, (), "write_only", set()):
                yield Change("OD202", f"response `{_joined(path)}` is not read", f"#{one.place}", read=path, line=line)

    def _lacking(
        self, kind: _Type, schema: Schema, at: tuple[str, ...], hidden: str, seen: set[tuple[str, str]]
    ) -> Iterator[tuple[tuple[str, ...], Schema, bool, int]]:
        """Yield the properties of *schema* for which *kind* has no field: path, type, whether required, line."""
        target = self._new.resolved(schema)
        shape = shape_of(self._new, target)
        inner = {"list": (target.items, "[]"), "dictionary": (target.additional, "{}")}.get(shape)
        if inner is not None:
            one = self._inner(kind)
            if one is not None and inner[0] is not None:
                yield from self._lacking(one, inner[0], (*at, inner[1]), hidden, seen)
            return
        fields = self._fields(kind) if shape == "object" else None
        key = ast.dump(_without_none(kind.node)), schema.ref or schema.place
        if fields is None or key in seen:
            return
        seen.add(key)
        found = self._class(kind)
        for name, prop in self._new.all_properties(target).items():
            known = next((row for row in fields.values() if name in row.names), None)
            if known is not None:
                yield from self._lacking(known.type, prop.schema, (*at, name), hidden, seen)
            elif not getattr(prop.schema, hidden) and found is not None:
                is_here = str(found.module.path) == self._call.file
                yield (*at, name), prop.schema, prop.required, found.node.lineno if is_here else 0

    def _inner(self, kind: _Type) -> _Type | None:
        """Return the type of a list's items, or of a dictionary's values."""
        node = _without_none(kind.node)
        if not isinstance(node, ast.Subscript):
            return None
        last = node.slice.elts[-1] if isinstance(node.slice, ast.Tuple) else node.slice
        return replace(kind, node=last)

    def _class(self, kind: _Type) -> Class | None:
        node = _without_none(kind.node)
        found = self._sources.resolve(kind.module, node) if isinstance(node, ast.Name | ast.Attribute) else None
        return found if isinstance(found, Class) else None

    def _fields(self, kind: _Type) -> Mapping[str, _Field] | None:
        """Return the fields of a class; None where it is none, or one that has subclasses or keeps unknown keys."""
        found = self._class(kind)
        if found is None:
            return None
        also = self._spellings(kind)
        fields: dict[str, _Field] = {}
        for one in self._sources.bases(found):
            for node in one.node.body:
                if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
                    continue
                text, name = text_of(node.annotation), node.target.id
                if "UnknownKeys" in text:
                    return None
                names = (name, *also.get(one.node.name, {}).get(name, ()), *also.get(found.node.name, {}).get(name, ()))
                readable = readable_names(*names, is_time=text.startswith("datetime"))
                fields.setdefault(name, _Field(replace(kind, module=one.module, node=node.annotation), readable))
        return fields

    def _spellings(self, kind: _Type) -> dict[str, dict[str, list[str]]]:
        node = self._sources.resolve(kind.module, kind.spellings) if kind.spellings else None
        found: dict[str, dict[str, list[str]]] = {}
        for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
            if isinstance(key, ast.Name) and isinstance(value, ast.Dict):
                rows = found.setdefault(key.id, {})
                for name, others in zip(value.keys, value.values, strict=True):
                    if isinstance(name, ast.Constant):
                        texts = [one.value for one in nodes_of(others) if isinstance(one, ast.Constant)]
                        rows[str(name.value)] = [one for one in texts if isinstance(one, str)]
        return found


def _without_none(node: ast.expr) -> ast.expr:
    """Return an annotation without quotes and None, which `Optional` has too."""
    node = expression_of(text_of(node)) or node
    while isinstance(node, ast.BinOp):
        is_none = isinstance(node.right, ast.Constant) and node.right.value is None
        node = node.left if is_none else node.right
    return node


def _joined(path: Sequence[str]) -> str:
    return "".join(part if part in {"[]", "{}"} else f".{part}" for part in path).removeprefix(".")
