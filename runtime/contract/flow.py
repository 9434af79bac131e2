"""
Follows the arguments of a method to the HTTP calls that it makes: through aliases, helpers, inheritance and branches.

An interpreter of the syntax tree with values that are hardly more than "this parameter arrives here". What it cannot
follow is unknown, and unknown is no finding.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, TypeAlias

from .source import Class, Function, FunctionNode, Module, Sources, is_base, last_name, nodes_of

__all__ = ["RAW", "Event", "Flow", "HttpCall", "Text", "Value"]

HTTP_METHODS = {"get", "post", "put", "patch", "delete"}
CLIENT_METHODS = {*HTTP_METHODS, "request", "call", "page"}
MUTATORS = {
    "add",
    "append",
    "appendleft",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "popleft",
    "remove",
    "reverse",
}
MUTATORS |= {
    "set",
    "setdefault",
    "sort",
    "update",
    "discard",
    "__setitem__",
    "__delitem__",
    "__setattr__",
    "put_nowait",
}
_BROAD = {"Exception", "BaseException"}
_READERS = {"body_of", "texts_of", "mapping_of"}
_DEEPEST = 8
_MOST_BODIES = 100  # of functions that one method runs; the connectors of this project run fewer than ten


class Known(Enum):
    """What a value is that has no further parts: the client, the connector, a document or response as it came."""

    CLIENT = auto()
    SELF = auto()
    RAW = auto()
    RAW_RESPONSE = auto()


CLIENT, SELF, RAW, RAW_RESPONSE = Known.CLIENT, Known.SELF, Known.RAW, Known.RAW_RESPONSE


@dataclass(frozen=True)
class Text:
    """A text: its template, with names in braces for what is filled in here."""

    template: str
    is_filled: bool = False


@dataclass(frozen=True)
class State:
    """Something that outlives a call: an attribute of the connector, a name of a module, a class."""

    name: str


@dataclass(frozen=True)
class Method:
    """A method of the client, or of another value, not yet called; with arguments that a partial gives."""

    owner: "Value"
    name: str
    arguments: tuple["Value", ...] = ()
    keywords: tuple[tuple[str | None, "Value"], ...] = ()


@dataclass(frozen=True, eq=False)
class Closure:
    """A function of our files, with the names around it."""

    function: Function
    around: Mapping[str, "Value"]
    bound: "Value | None" = None
    arguments: tuple["Value", ...] = ()
    keywords: tuple[tuple[str | None, "Value"], ...] = ()


@dataclass(frozen=True, eq=False)
class Endpoint:
    """An `Endpoint(…)`."""

    node: ast.Call
    module: Module
    method: str
    path: str
    is_filled: bool
    operation: str
    decode: ast.expr | None


@dataclass(frozen=True, eq=False)
class Fields:
    """A dictionary whose keys are known; `rest` where there may be more."""

    items: Mapping[str, "Value"]
    rest: bool = False


@dataclass(frozen=True)
class Items:
    """A tuple."""

    values: tuple["Value", ...]


@dataclass(frozen=True)
class Value:
    """
    What is known about a value.

    Attributes:
        surely: Parameters whose value it is, or contains, on every path.
        maybe: Parameters that may have a part in it.
        checked: Parameters whose type it reports an error about.
        what: What it is.
    """

    surely: frozenset[str] = frozenset()
    maybe: frozenset[str] = frozenset()
    checked: frozenset[str] = frozenset()
    what: Any = None


UNKNOWN = Value()


@dataclass(frozen=True, eq=False)
class HttpCall:
    """One call of the client."""

    node: ast.Call
    module: Module
    name: str
    arguments: tuple[Value, ...]
    keywords: Mapping[str, Value]
    is_open: bool
    within: str


@dataclass(frozen=True, eq=False)
class Event:
    """Something that a rule is about: `raise`, `state` or `unknown`, with what people read about it."""

    kind: str
    node: ast.AST
    module: Module
    text: str


Names: TypeAlias = dict[str, Value]


def joined(values: Iterable[Value]) -> Value:
    """Return what is known after branches that end with one of *values* each."""
    found = list(values)
    if not found:
        return UNKNOWN
    first, *others = found
    for other in others:
        first = Value(
            first.surely & other.surely,
            first.maybe | other.maybe,
            first.checked | other.checked,
            _same(first.what, other.what),
        )
    return first


def _same(one: Any, other: Any) -> Any:
    if isinstance(one, Items) and isinstance(other, Items) and len(one.values) == len(other.values):
        return Items(tuple(joined(pair) for pair in zip(one.values, other.values, strict=True)))
    if isinstance(one, Fields) and isinstance(other, Fields):
        shared = [name for name in one.items if name in other.items]
        more = one.rest or other.rest or len(shared) < max(len(one.items), len(other.items))
        return Fields({name: joined((one.items[name], other.items[name])) for name in shared}, more)
    if RAW in (one, other):
        return RAW
    return one if one == other else None


def mixed(values: Iterable[Value], what: Any = None) -> Value:
    """Return what is known about a value that contains all of *values*."""
    found = list(values)
    return Value(
        frozenset().union(*(one.surely for one in found)),
        frozenset().union(*(one.maybe for one in found)),
        frozenset().union(*(one.checked for one in found)),
        what,
    )


class Flow:
    """
    Runs the methods of one class.

    Attributes:
        calls: HTTP calls of the method that ran last.
        events: What else it did.
        returned: The value of each of its `return` statements.
    """

    def __init__(self, sources: Sources, kind: Class) -> None:
        self._sources = sources
        self._kind = kind
        self._methods = sources.methods(kind)
        self.calls: list[HttpCall] = []
        self.events: list[Event] = []
        self.returned: list[Value] = []
        self._running: list[Function] = []
        self._names: list[str] = []
        self._caught: list[set[str]] = []
        self._entered = 0
        self._seen: set[tuple[str, int]] = set()
        self._is_init = False
        self._client_attributes = self._clients()

    def _clients(self) -> set[str]:
        """Attributes that are the client: those that `__init__` assigns a parameter to that is one by type or name."""
        found = {"_http"}
        init = self._methods.get("__init__")
        if init is None or isinstance(init.node, ast.Lambda):
            return found
        arguments = init.node.args
        given = {
            one.arg
            for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            if one.arg == "http" or (one.annotation and "PlatformHttpClient" in ast.unparse(one.annotation))
        }
        for node in nodes_of(init.node):
            if (
                isinstance(node, ast.Assign | ast.AnnAssign)
                and isinstance(node.value, ast.Name)
                and node.value.id in given
            ):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {one.attr for one in targets if isinstance(one, ast.Attribute)}
        return found

    def run(self, name: str) -> None:
        """Run the method *name* with parameters of its own."""
        function = self._methods[name]
        self.calls, self.events, self._entered = [], [], 0
        self._seen.clear()
        self._is_init = name == "__init__"
        node = function.node
        first, *others = [*node.args.posonlyargs, *node.args.args] or [ast.arg("self")]
        names = {one.arg: Value(*[frozenset({one.arg})] * 2) for one in (*others, *node.args.kwonlyargs)}
        if self._is_init:
            names = {n: replace(v, what=CLIENT if n == "http" else None) for n, v in names.items()}
        names[first.arg] = Value(what=SELF)
        if node.args.kwarg:
            names[node.args.kwarg.arg] = Value(what=Fields({}, rest=True))
        self._body(function, names)

    def decoded(self, endpoint: Endpoint) -> Value:
        """Return what the decoder of *endpoint* makes of a raw document."""
        if endpoint.decode is None or (isinstance(endpoint.decode, ast.Constant) and endpoint.decode.value is None):
            return Value(what=RAW)
        decoder = self._of(endpoint.decode, endpoint.module, {})
        return self._called(decoder, None, endpoint.module, (Value(what=RAW),), ())

    def _event(self, kind: str, node: ast.AST, module: Module, text: str, *raised: str) -> None:
        """Note an event; one that raises, perhaps one of *raised*, is none where all of them are caught."""
        if kind == "state" and self._is_init:
            return
        if kind in {"raise", "lookup"} and self._caught:
            caught = set().union(*self._caught)
            if caught & _BROAD or (raised and caught.issuperset(raised)):
                return
        if (kind, id(node)) not in self._seen:
            self._seen.add((kind, id(node)))
            self.events.append(Event(kind, node, module, text))

    # --- functions ----------------------------------------------------------------------------------------------------

    def _body(self, function: Function, names: Names) -> Value:
        self._entered += 1
        if len(self._running) > _DEEPEST or any(one.node is function.node for one in self._running):
            return mixed(names.values())
        if self._entered > _MOST_BODIES:
            first = self._running[0]
            self._event("unknown", first.node, first.module, f"what it does beyond {_MOST_BODIES} calls of functions")
            return mixed(names.values())
        self._running.append(function)
        try:
            if isinstance(function.node, ast.Lambda):
                return self._of(function.node.body, function.module, names)
            public = function.node.name in self._methods and not function.node.name.startswith("_")
            self._names.append(function.node.name if public or not self._names else self._names[-1])
            returned: list[Value] = []
            self._run(function.node.body, function.module, names, returned)
            self._names.pop()
            self.returned = returned
            return joined(returned)
        finally:
            self._running.pop()

    def _enter(
        self, closure: Closure, arguments: Sequence[Value], keywords: Sequence[tuple[str | None, Value]]
    ) -> Value:
        node = closure.function.node
        args = node.args
        names: Names = dict(closure.around)
        positional = [one.arg for one in (*args.posonlyargs, *args.args)]
        given = [*([closure.bound] if closure.bound else []), *closure.arguments, *arguments]
        keywords = [*closure.keywords, *keywords]
        known = {*positional, *(one.arg for one in args.kwonlyargs)}
        names.update(dict.fromkeys(known, UNKNOWN))
        names.update(zip(positional, given, strict=False))
        more: Names = {}
        rest = False
        for name, value in keywords:
            pairs = {name: value} if name else value.what.items if isinstance(value.what, Fields) else {}
            rest = rest or (name is None and not (isinstance(value.what, Fields) and not value.what.rest))
            for key, one in pairs.items():
                (names if key in known else more)[key] = one
        if args.vararg:
            names[args.vararg.arg] = mixed(given[len(positional) :], Items(tuple(given[len(positional) :])))
        if args.kwarg:
            names[args.kwarg.arg] = mixed(more.values(), Fields(more, rest))
        return self._body(closure.function, names)

    # --- statements ---------------------------------------------------------------------------------------------------

    def _run(self, body: Sequence[ast.stmt], module: Module, names: Names, returned: list[Value]) -> bool:
        """Run *body*; returns whether its end is reached."""
        return all(self._statement(node, module, names, returned) for node in body)

    def _branches(
        self, bodies: Sequence[Sequence[ast.stmt]], module: Module, names: Names, returned: list[Value]
    ) -> bool:
        ends = []
        for body in bodies:
            own = dict(names)
            if self._run(body, module, own, returned):
                ends.append(own)
        if not ends:
            return False
        for name in set().union(*ends):
            names[name] = joined(end.get(name, UNKNOWN) for end in ends)
        return True

    def _statement(self, node: ast.stmt, module: Module, names: Names, returned: list[Value]) -> bool:  # noqa: C901, PLR0911, PLR0912, PLR0915 - a table
        match node:
            case ast.Return():
                returned.append(self._of(node.value, module, names) if node.value else UNKNOWN)
                return False
            case ast.Raise():
                if node.exc:
                    self._of(node.exc, module, names)
                made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                names_ = [last_name(ast.unparse(made))] if made else []
                self._event(
                    "raise", node, module, "raises " + (ast.unparse(node.exc) if node.exc else "again"), *names_
                )
                return False
            case ast.Assert():
                self._of(node.test, module, names)
                self._event("raise", node, module, "asserts, which raises")
            case ast.Continue() | ast.Break():
                return False
            case ast.Expr():
                self._of(node.value, module, names)
            case ast.Assign():
                value = self._of(node.value, module, names)
                for target in node.targets:
                    self._assign(target, value, module, names)
            case ast.AnnAssign():
                if node.value:
                    self._assign(node.target, self._of(node.value, module, names), module, names)
            case ast.AugAssign():
                value = mixed([self._of(node.value, module, names), self._of(node.target, module, names)])
                self._assign(node.target, value, module, names)
            case ast.Delete():
                for target in node.targets:
                    self._assign(target, UNKNOWN, module, names)
                    if isinstance(target, ast.Subscript):
                        owner, key = (self._of(one, module, names) for one in (target.value, target.slice))
                        self._looked_up(target, owner, key, module)
            case ast.Global():
                for name in node.names:
                    names[f"global {name}"] = UNKNOWN
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names[node.name] = Value(what=Closure(Function(module, node), names))
            case ast.If():
                self._of(node.test, module, names)
                return self._branches([node.body, node.orelse], module, names, returned)
            case ast.Match():
                self._of(node.subject, module, names)
                return self._branches([[], *(case.body for case in node.cases)], module, names, returned)
            case ast.For() | ast.AsyncFor() | ast.While():
                if isinstance(node, ast.While):
                    self._of(node.test, module, names)
                else:
                    self._assign(node.target, self._item(self._of(node.iter, module, names)), module, names)
                forever = isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and bool(node.test.value)
                before = dict(names)
                ends = self._branches([node.body] if forever else [[], node.body], module, names, returned)
                if not ends:  # a loop whose body returns, or continues
                    names.update(before)
                return self._run(node.orelse, module, names, returned)
            case ast.With() | ast.AsyncWith():
                suppressed: set[str] = set()
                for item in node.items:
                    value = self._of(item.context_expr, module, names)
                    call = item.context_expr
                    if isinstance(call, ast.Call) and self._sources.dotted(module, call.func) == "contextlib.suppress":
                        suppressed |= _caught_by(call.args)
                    if item.optional_vars:
                        self._assign(item.optional_vars, value, module, names)
                with self._catching(suppressed):
                    return self._run(node.body, module, names, returned) or bool(suppressed)
            case ast.Try() | ast.TryStar():
                caught = set().union(*(_caught_by([one.type]) for one in node.handlers))
                before = dict(names)
                with self._catching(caught):
                    ended = self._run([*node.body, *node.orelse], module, names, returned)
                after = [names.copy()] if ended else []
                for handler in node.handlers:
                    own = {name: joined((before.get(name, UNKNOWN), names.get(name, UNKNOWN))) for name in names}
                    if self._run(handler.body, module, own, returned):
                        after.append(own)
                for name in set().union(*after):
                    names[name] = joined(end.get(name, UNKNOWN) for end in after)
                return self._run(node.finalbody, module, names, returned) and bool(after)
        return True

    @contextmanager
    def _catching(self, names: set[str]) -> Iterator[None]:
        self._caught.append(names)
        try:
            yield
        finally:
            self._caught.pop()

    def _assign(self, target: ast.expr, value: Value, module: Module, names: Names) -> None:  # noqa: C901 - a table
        match target:
            case ast.Name():
                if f"global {target.id}" in names:
                    self._event("state", target, module, f"assigns the global {target.id}")
                names[target.id] = value
            case ast.Starred():
                self._assign(target.value, mixed([value]), module, names)
            case ast.Tuple() | ast.List():
                parts = value.what.values if isinstance(value.what, Items) else ()
                whole = replace(value, what=RAW if value.what == RAW else None)
                for index, one in enumerate(target.elts):
                    known = len(parts) == len(target.elts) and not isinstance(one, ast.Starred)
                    self._assign(one, parts[index] if known else whole, module, names)
            case ast.Attribute():
                owner = self._of(target.value, module, names)
                if owner.what == SELF or isinstance(owner.what, State | Class):
                    self._event("state", target, module, f"assigns {ast.unparse(target)}")
            case ast.Subscript():
                owner = self._of(target.value, module, names)
                self._of(target.slice, module, names)
                if isinstance(owner.what, State):
                    self._event("state", target, module, f"stores into {owner.what.name}")
                key = target.slice
                if isinstance(owner.what, Fields) and isinstance(target.value, ast.Name):
                    known = isinstance(key, ast.Constant) and isinstance(key.value, str)
                    items = {**owner.what.items, **({key.value: value} if known else {})}  # type: ignore[attr-defined]
                    names[target.value.id] = mixed([owner, value], Fields(items, owner.what.rest or not known))
                elif isinstance(target.value, ast.Name) and owner.what is None:
                    names[target.value.id] = mixed([owner, value])

    def _looked_up(self, node: ast.Subscript, owner: Value, key: Value, module: Module) -> None:
        """Note a look-up, or a deletion, of a key that the caller gives."""
        if isinstance(owner.what, State) and key.maybe:
            self._event("lookup", node, module, f"{ast.unparse(node)} raises where the key is missing", "KeyError")

    # --- expressions --------------------------------------------------------------------------------------------------

    def _item(self, value: Value) -> Value:
        """Return what is known about an element of *value*."""
        kept = value.what if value.what == RAW or isinstance(value.what, State) else None
        return replace(value, what=kept)

    def _of(self, node: ast.expr | None, module: Module, names: Names) -> Value:  # noqa: C901, PLR0911, PLR0912 - a table
        match node:
            case None:
                return UNKNOWN
            case ast.Name():
                return names[node.id] if node.id in names else self._global(node, module)
            case ast.Constant():
                return Value(what=Text(node.value)) if isinstance(node.value, str) else UNKNOWN
            case ast.Await() | ast.Starred():
                return self._of(node.value, module, names)
            case ast.NamedExpr():
                value = self._of(node.value, module, names)
                self._assign(node.target, value, module, names)
                return value
            case ast.JoinedStr() | ast.BinOp():
                return self._text(node, module, names)
            case ast.IfExp():
                test = self._of(node.test, module, names)
                first, second = self._of(node.body, module, names), self._of(node.orelse, module, names)
                found = joined((first, second))
                # `x if x else None`, and the reverse: x arrives where there is one
                tested = test.surely & (first.surely | second.surely)
                return replace(
                    found, surely=found.surely | tested, maybe=found.maybe, checked=found.checked | test.maybe
                )
            case ast.BoolOp():
                values = [self._of(one, module, names) for one in node.values]
                found = joined(values)
                first = values[0] if isinstance(node.op, ast.Or) else values[-1]
                return replace(found, surely=found.surely | first.surely)
            case ast.Attribute():
                return self._attribute(self._of(node.value, module, names), node.attr, node)
            case ast.Subscript():
                owner, key = self._of(node.value, module, names), self._of(node.slice, module, names)
                if (
                    isinstance(owner.what, Fields)
                    and isinstance(key.what, Text)
                    and key.what.template in owner.what.items
                ):
                    return owner.what.items[key.what.template]
                if isinstance(node.ctx, ast.Load):
                    self._looked_up(node, owner, key, module)
                return self._item(mixed([owner, key], owner.what))
            case ast.Tuple():
                values = [self._of(one, module, names) for one in node.elts]
                return mixed(values, Items(tuple(values)))
            case ast.Dict():
                return self._dict(zip(node.keys, node.values, strict=True), module, names)
            case ast.Lambda():
                return Value(what=Closure(Function(module, node), names))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                inner = self._generators(node.generators, module, names)
                element = self._of(node.elt, module, inner)
                return mixed(
                    [element, *(self._of(one.iter, module, names) for one in node.generators)], self._item(element).what
                )
            case ast.DictComp():
                inner = self._generators(node.generators, module, names)
                return mixed([self._of(one, module, inner) for one in (node.key, node.value)])
            case ast.Call():
                return self._call(node, module, names)
        return mixed([self._of(one, module, names) for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)])

    def _generators(self, generators: Sequence[ast.comprehension], module: Module, names: Names) -> Names:
        inner = dict(names)
        for one in generators:
            self._assign(one.target, self._item(self._of(one.iter, module, inner)), module, inner)
            for test in one.ifs:
                self._of(test, module, inner)
        return inner

    def _dict(self, pairs: Iterable[tuple[ast.expr | None, ast.expr]], module: Module, names: Names) -> Value:
        items: Names = {}
        rest, parts = False, []
        for key, node in pairs:
            value = self._of(node, module, names)
            parts.append(value)
            name = self._of(key, module, names).what if key else None
            if isinstance(name, Text):
                items[name.template] = value
            elif key is None and isinstance(value.what, Fields):
                items |= value.what.items
                rest |= value.what.rest
            else:
                rest = True
        return mixed(parts, Fields(items, rest))

    def _text(self, node: ast.JoinedStr | ast.BinOp, module: Module, names: Names) -> Value:
        """A text that is put together here: its template, where the parts are known."""
        if isinstance(node, ast.JoinedStr):
            pieces: list[ast.expr] = list(node.values)
        elif isinstance(node.op, ast.Add):
            pieces = [node.left, node.right]
        else:
            left, right = self._of(node.left, module, names), self._of(node.right, module, names)
            if isinstance(node.op, ast.Mod) and isinstance(left.what, Text):
                return mixed([left, right], Text(_percent(left.what.template), is_filled=True))
            return mixed([left, right])
        template, filled, values = "", False, []
        for piece in pieces:
            inner = piece.value if isinstance(piece, ast.FormattedValue) else piece
            value = self._of(inner, module, names)
            values.append(value)
            if isinstance(value.what, Text):
                template, filled = template + value.what.template, filled or value.what.is_filled
            else:
                template, filled = template + "{" + _short(inner) + "}", True
        return mixed(values, Text(template, filled) if "{" not in template[:1] or len(pieces) > 1 else None)

    def _global(self, node: ast.Name, module: Module) -> Value:
        found = self._sources.lookup(module, node.id)
        if isinstance(found, Function):
            return Value(what=Closure(found, {}))
        if isinstance(found, ast.expr):
            home = self._home(module, node.id)
            return self._constant(found, home, node.id)
        return Value(what=found)

    def _home(self, module: Module, name: str) -> Module:
        if isinstance(module.names.get(name), ast.expr):
            return module
        found = self._sources.lookup(module, name)
        return next(
            (one for one in self._sources.helpers(module) if any(found is v for v in one.names.values())), module
        )

    def _constant(self, node: ast.expr, module: Module, name: str) -> Value:
        if isinstance(node, ast.Dict | ast.List | ast.Set):
            return Value(what=State(name))
        if isinstance(node, ast.Call):
            dotted = self._sources.dotted(module, node.func)
            if is_base(dotted, "Endpoint"):
                return Value(what=self.endpoint(node, module))
            if last_name(dotted) in {"dict", "list", "set", "defaultdict", "OrderedDict", "deque", "ContextVar"} | {
                "local",
                "WeakKeyDictionary",
                "WeakValueDictionary",
                "Counter",
                "SimpleNamespace",
                "Queue",
            }:
                return Value(what=State(name))
            if not isinstance(self._sources.resolve(module, node.func), Class | Function):
                return UNKNOWN
            return Value(what=State(name)) if isinstance(self._sources.resolve(module, node.func), Class) else UNKNOWN
        return self._of(node, module, {})

    def endpoint(self, node: ast.Call, module: Module) -> Endpoint:
        """Return what `Endpoint(…)` declares."""
        given = dict(zip(("method", "path", "operation", "decode"), node.args, strict=False))
        given |= {one.arg: one.value for one in node.keywords if one.arg}
        texts = {}
        for name in ("method", "path", "operation"):
            found = self._of(given.get(name), module, {}).what
            texts[name] = found if isinstance(found, Text) else Text("", is_filled=True)
        path = texts["path"]
        return Endpoint(
            node, module, texts["method"].template.upper(), path.template, path.is_filled, texts["operation"].template,
            given.get("decode"),
        )  # fmt: skip

    def _attribute(self, owner: Value, name: str, node: ast.expr) -> Value:  # noqa: C901, PLR0911 - a table
        what = owner.what
        if what == SELF:
            if name in self._methods:
                method = self._methods[name]
                decorators = [] if isinstance(method.node, ast.Lambda) else method.node.decorator_list
                if any(last_name(ast.unparse(one)) in {"property", "cached_property"} for one in decorators):
                    return self._enter(Closure(method, {}, owner), (), ())
                is_static = any(ast.unparse(one) == "staticmethod" for one in decorators)
                return Value(what=Closure(method, {}, None if is_static else owner))
            if name in self._client_attributes:
                return Value(what=CLIENT)
            return Value(what=State(f"self.{name}"))
        if what == CLIENT:
            return Value(what=Method(owner, name))
        if isinstance(what, Module):
            found = self._sources.lookup(what, name)
            if isinstance(found, Function):
                return Value(what=Closure(found, {}))
            return self._constant(found, what, name) if isinstance(found, ast.expr) else Value(what=found)
        if isinstance(what, str):
            return Value(what=f"{what}.{name}")
        if what == RAW_RESPONSE:
            return replace(owner, what=RAW if name == "data" else None)
        if isinstance(what, Class):
            own = self._sources.methods(what).get(name)
            return Value(what=Closure(own, {}) if own else State(ast.unparse(node)))
        return replace(owner, what=Method(owner, name))

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call, module: Module, names: Names) -> Value:
        match node.func, node.args:
            case ast.Name("getattr"), [owner, name, *_]:
                found, named = self._of(owner, module, names), self._of(name, module, names).what
                if isinstance(named, Text) and not named.is_filled:
                    return self._attribute(found, named.template, node)
                if found.what in {CLIENT, SELF}:
                    self._event("unknown", node, module, f"which attribute {ast.unparse(node)} is")
                return UNKNOWN
            case ast.Name("super"), []:
                return Value(what=SELF)
        function = self._of(node.func, module, names)
        arguments: list[Value] = []
        for one in node.args:
            value = self._of(one, module, names)
            arguments += (
                value.what.values if isinstance(one, ast.Starred) and isinstance(value.what, Items) else [value]
            )
        keywords = [(one.arg, self._of(one.value, module, names)) for one in node.keywords]
        return self._called(function, node, module, arguments, keywords, names)

    def _called(  # noqa: C901, PLR0911, PLR0912, PLR0917 - a table
        self,
        function: Value,
        node: ast.Call | None,
        module: Module,
        arguments: Sequence[Value],
        keywords: Sequence[tuple[str | None, Value]],
        names: Names | None = None,
    ) -> Value:
        what = function.what
        everything = mixed([*arguments, *(value for _, value in keywords)])
        if isinstance(what, Closure):
            result = self._enter(what, arguments, keywords)
            node_ = what.function.node
            if isinstance(node_, FunctionNode) and any(isinstance(one, ast.Yield) for one in nodes_of(node_)):
                return everything
            return result
        if isinstance(what, Method) and what.owner.what == CLIENT and what.name in CLIENT_METHODS:
            return self._http(what, node, module, arguments, keywords)
        if isinstance(what, Method):
            return self._method(what, node, module, arguments, keywords, everything, names)
        if isinstance(what, Class):
            return Value(everything.surely, everything.maybe, what=None)
        if not isinstance(what, str):
            self._hidden(node, module, arguments, keywords, function)
            return everything
        name = last_name(what)
        if is_base(what) and name in _READERS and arguments:
            body = replace(arguments[-1] if name != "body_of" else arguments[0], what=None)
            return mixed([body], Items((body, Value(maybe=body.maybe, checked=body.maybe))))
        if is_base(what) and name == "wrong_type":
            return Value(maybe=everything.maybe, checked=everything.maybe)
        if is_base(what) and name == "without_none":
            return mixed([everything], Fields({key: value for key, value in keywords if key}, rest=False))
        if what == "functools.partial" and arguments:
            inner = arguments[0].what
            if isinstance(inner, Method | Closure):
                more = replace(
                    inner,
                    arguments=(*inner.arguments, *arguments[1:]),
                    keywords=(*inner.keywords, *keywords),
                )
                return Value(everything.surely, everything.maybe, what=more)
        if what == "builtins.dict" and not arguments:
            items: Names = {}
            for key, value in keywords:
                items |= {key: value} if key else value.what.items if isinstance(value.what, Fields) else {}
            return mixed([everything], Fields(items))
        if what == "builtins.dict" and len(arguments) == 1 and isinstance(arguments[0].what, Fields):
            extra = {key: value for key, value in keywords if key}
            return mixed([everything], Fields({**arguments[0].what.items, **extra}, arguments[0].what.rest))
        if what in {"builtins.setattr", "builtins.delattr", "builtins.object.__setattr__"} and arguments:
            if node and (arguments[0].what == SELF or isinstance(arguments[0].what, State | Class)):
                self._event("state", node, module, f"assigns by {name} on {ast.unparse(node.args[0])}")
            return UNKNOWN
        if what == "builtins.vars" and arguments and arguments[0].what == SELF:
            return Value(what=State("vars(self)"))
        if what == "builtins.globals":
            return Value(what=State("globals()"))
        if what in {"sys.exit", "builtins.exit", "builtins.quit", "os.abort", "os._exit"} and node:
            self._event("raise", node, module, f"calls {what}, which ends the process")
        converts = {"builtins.int", "builtins.float", "datetime.datetime.fromisoformat", "uuid.UUID", "json.loads"}
        if what in {*converts, "decimal.Decimal", "datetime.date.fromisoformat"} and node and everything.maybe:
            text = f"{ast.unparse(node)} raises for other values"
            self._event(
                "raise", node, module, text, "TypeError", "ArithmeticError" if name == "Decimal" else "ValueError"
            )
        if what == "builtins.next" and node and len(arguments) == 1:
            self._event("raise", node, module, "next(…) without a default raises StopIteration", "StopIteration")
        if name in {"list", "dict", "tuple", "cast", "Page", "deepcopy", "copy", "sorted", "any_copy", "reversed"}:
            last = arguments[-1] if name == "cast" else (arguments[0] if arguments else UNKNOWN)
            return replace(everything, what=RAW if last.what == RAW else None)
        if name in {"gather", "wait_for", "create_task", "shield", "ensure_future"}:
            return everything
        self._hidden(node, module, arguments, keywords, function)
        return everything

    def _hidden(
        self,
        node: ast.Call | None,
        module: Module,
        arguments: Sequence[Value],
        keywords: Sequence[tuple[str | None, Value]],
        function: Value,
    ) -> None:
        """Note that the client, or one of its methods, goes where it cannot be followed."""
        for value in (*arguments, *(one for _, one in keywords)):
            is_client = value.what == CLIENT or (isinstance(value.what, Method) and value.what.owner.what == CLIENT)
            if node and is_client and function.what != "builtins.super":
                self._event("unknown", node, module, f"what {ast.unparse(node.func)} does with the client")

    def _method(  # noqa: C901, PLR0917 - a table
        self,
        what: Method,
        node: ast.Call | None,
        module: Module,
        arguments: Sequence[Value],
        keywords: Sequence[tuple[str | None, Value]],
        everything: Value,
        names: Names | None,
    ) -> Value:
        owner, name = what.owner, what.name
        if isinstance(owner.what, State) and name in MUTATORS and node:
            self._event("state", node, module, f"changes {owner.what.name} by {name}")
        if isinstance(owner.what, State) and node and everything.maybe:
            risky = (name == "pop" and len(arguments) == 1) or name in {"remove", "index", "__getitem__"}
            if risky:
                error = "ValueError" if name in {"remove", "index"} else "KeyError"
                self._event("lookup", node, module, f"{ast.unparse(node)} raises where the key is missing", error)
        if name == "throw" and node:
            self._event("raise", node, module, "raises by throw")
        if isinstance(owner.what, Fields):
            changed = self._changed(owner.what, name, arguments, keywords)
            if (
                changed
                and node
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and names
            ):
                names[node.func.value.id] = mixed([owner, everything], changed)
            if name == "copy":
                return owner
            key = arguments[0].what if arguments else None
            if name in {"get", "pop"} and isinstance(key, Text):
                return owner.what.items.get(key.template, UNKNOWN)
        if isinstance(owner.what, Text) and name == "format":
            return mixed([owner, everything], Text(owner.what.template, is_filled=True))
        if isinstance(owner.what, Text) and name == "join":
            parts = arguments[0].what if arguments else None
            template = "{…}"
            if isinstance(parts, Items) and all(isinstance(one.what, Text) for one in parts.values):
                template = owner.what.template.join(one.what.template for one in parts.values)
            return mixed([everything], Text(template, is_filled=True) if "/" in owner.what.template else None)
        self._hidden(node, module, arguments, keywords, owner)
        kept = owner.what if owner.what == RAW and name in {"get", "copy", "pop", "values", "items"} else None
        if isinstance(owner.what, State) and name in {"get", "setdefault"}:
            kept = None
        return mixed([owner, everything], kept)

    @staticmethod
    def _changed(
        fields: Fields, name: str, arguments: Sequence[Value], keywords: Sequence[tuple[str | None, Value]]
    ) -> Fields | None:
        items = dict(fields.items)
        key = arguments[0].what if arguments else None
        if name in {"pop", "__delitem__"} and isinstance(key, Text):
            items.pop(key.template, None)
            return Fields(items, fields.rest)
        if name == "update":
            others = [value for _, value in keywords if isinstance(value.what, Fields)]
            for value in (*arguments, *others):
                if isinstance(value.what, Fields):
                    items |= value.what.items
            items |= {key: value for key, value in keywords if key}
            return Fields(items, fields.rest)
        if name == "setdefault" and isinstance(key, Text) and len(arguments) > 1:
            items.setdefault(key.template, arguments[1])
            return Fields(items, fields.rest)
        return Fields({}, rest=False) if name == "clear" else None

    def _http(
        self,
        what: Method,
        node: ast.Call | None,
        module: Module,
        arguments: Sequence[Value],
        keywords: Sequence[tuple[str | None, Value]],
    ) -> Value:
        given: Names = {}
        is_open = False
        for name, value in (*what.keywords, *keywords):
            if name:
                given[name] = value
            elif isinstance(value.what, Fields):
                given |= value.what.items
                is_open |= value.what.rest
            else:
                is_open = True
        positional = (*what.arguments, *arguments)
        if node is not None:
            within = self._names[-1] if self._names else ""
            self.calls.append(HttpCall(node, module, what.name, positional, given, is_open, within))
        if what.name in HTTP_METHODS:
            return Value(what=None if "decode" in given or is_open else RAW)
        if what.name == "request":
            return Value(what=None if "decode" in given or is_open else RAW_RESPONSE)
        endpoint = given.get("endpoint", positional[0] if positional else UNKNOWN).what
        return Value(what=self.decoded(endpoint).what) if isinstance(endpoint, Endpoint) else UNKNOWN


def _caught_by(types: Sequence[ast.expr | None]) -> set[str]:
    """Return the names of the errors that *types* catch; None, a bare `except`, is for all."""
    every = [one for node in types for one in (node.elts if isinstance(node, ast.Tuple) else [node])]
    found = {last_name(ast.unparse(one)) if one else "BaseException" for one in every}
    return found | ({"KeyError", "IndexError"} if "LookupError" in found else set())


def _short(node: ast.expr) -> str:
    """Name a value that is filled into a path."""
    if isinstance(node, ast.Call) and node.args:
        return _short(node.args[0])
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else "…"


def _percent(template: str) -> str:
    parts = template.split("%s")
    return parts[0] + "".join(f"{{{index}}}{part}" for index, part in enumerate(parts[1:]))
