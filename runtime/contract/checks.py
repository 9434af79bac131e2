"""What the rules look for, in one connector: a generator per group of rules."""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from runtime._internal.findings import Finding, Severity

from .flow import HTTP_METHODS, RAW, Endpoint, Fields, Flow, HttpCall, Text, Value
from .rules import RULES
from .source import (
    UNREADABLE,
    Class,
    Function,
    FunctionNode,
    Module,
    Sources,
    expression_of,
    last_name,
    nodes_of,
    text_of,
)
from .triples import Triple

__all__ = ["findings"]

_FORWARDED = {"correlation_id": ("CC106", 'str = ""', "''"), "user_jwt": ("CC301", "str | None = None", "None")}
_SCALARS = {"bool", "str", "int", "float", "None", "bytes", "datetime"}
_UNTYPED = {"Any", "object", "dict", "list", "tuple", "set", "Mapping", "MutableMapping", "Dict", "List", "Sequence"}
_UNTYPED |= {"Iterable", "Page", "Collection", "Tuple", "PlatformResponse", "Response"}
_MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping"}
_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
_READS_ENVIRONMENT = {"os.path.expandvars", "pydantic_settings.BaseSettings", "dotenv.load_dotenv", "decouple.config"}
_READS_ENVIRONMENT |= {"dotenv.dotenv_values", "environs.Env", "dotenv.get_key", "starlette.config.Config"}
_HTTP_LIBRARIES = {"httpx", "httpcore", "aiohttp", "requests", "urllib3", "urllib.request", "http.client", "socket"}
_HTTP_LIBRARIES |= {"pycurl", "websockets", "niquests", "httplib2"}
_URL = re.compile(r"\s*(?:https?|wss?|ftp)://(?=[^\s/]|$)|//[\w-]+\.[\w.-]+", re.IGNORECASE)
_TEXT_TESTS = {"startswith", "endswith", "removeprefix", "match", "fullmatch", "compile", "search"}
_CACHES = {"functools.cache", "functools.lru_cache", "functools.cached_property"}
_COMMON = {"headers", "path_params", "params", "json_body", "problem", "user_jwt", "correlation_id"}
_DECLARED = {"decode", "operation", "idempotent", "max_attempts"}
_KNOWN_DECORATORS = {"abstractmethod", "cache", "cached_property", "classmethod", "deprecated", "final", "lru_cache"}
_KNOWN_DECORATORS |= {"override", "property", "staticmethod", "wraps"}
# Method of the client -> its positional parameters.
_POSITIONAL = {"call": ("endpoint",), "page": ("endpoint", "skip", "limit"), "request": ("method", "path")}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_LISTED = re.compile(r"^\s*[-*]\s+(.*\S)\s*$")
_VERBS = r"(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS)"
# Nodes that use or test a value, or send it.
_MAY_USE: set[type[ast.AST]] = {
    *(ast.Attribute, ast.Subscript, ast.For, ast.AsyncFor, ast.comprehension, ast.BinOp, ast.Call, ast.Assign),
    *(ast.If, ast.IfExp, ast.While, ast.Assert, ast.BoolOp, ast.Match, ast.Try),
}
_LEAST_LETTERS = 3
_PLACEHOLDER_TEXT = re.compile(r"\W*(?:todo|fixme|xxx|tbd|docstring)\b.{0,20}", re.IGNORECASE)
_SUCCESS = {"success", "succeeded", "ok", "deleted", "isSuccess"}


Findings: TypeAlias = Iterator[Finding]


def _at(rule: str, module: Module, node: ast.AST, message: str, severity: Severity | None = None) -> Finding:
    line = getattr(node, "lineno", 1)
    last = line if isinstance(node, ast.ClassDef | FunctionNode) else getattr(node, "end_lineno", line) or line
    column = getattr(node, "col_offset", 0) + 1
    return Finding(str(module.path), line, column, rule, message, severity or RULES[rule].severity, last)


def _unsure(rule: str, module: Module, node: ast.AST, what: str) -> Finding:
    return _at(rule, module, node, f"cannot be verified without running it: {what}", Severity.NOTE)


def findings(sources: Sources, triple: Triple) -> Findings:
    """Return everything that is wrong with one connector; the same place may be found twice."""
    for check in (_interface, _dynamic, _signatures, _results, _docstrings, _models, _managed, _mock, _registration):
        yield from check(sources, triple)
    for module in _parts(sources, triple):
        for check_module in (_urls, _environment, _template_forms, _nones):
            yield from check_module(sources, triple, module)


def _parts(sources: Sources, triple: Triple) -> list[Module]:
    """Files of the connector: those of its classes, and what they import of ours."""
    found: list[Module] = []
    for kind in (triple.managed, triple.mock, triple.protocol):
        found += [one for one in sources.helpers(kind.module) if one not in found] if kind else []
    return found


def _classes(triple: Triple) -> list[tuple[str, Class]]:
    roles = (("Protocol", triple.protocol), ("managed class", triple.managed), ("mock", triple.mock))
    return [(role, kind) for role, kind in roles if kind]


def _public(sources: Sources, kind: Class) -> dict[str, Function]:
    return {name: one for name, one in sources.methods(kind).items() if not name.startswith("_")}


def _operations(sources: Sources, kind: Class) -> dict[str, Function]:
    """Public methods that are coroutines, or look like ones."""
    return {name: one for name, one in _public(sources, kind).items() if not _is_property(one)}


def _is_property(one: Function) -> bool:
    decorators = getattr(one.node, "decorator_list", [])
    return any(
        last_name(ast.unparse(node)) in {"property", "cached_property", "staticmethod", "classmethod"}
        for node in decorators
    )


# --- interface and signatures -----------------------------------------------------------------------------------------


def _interface(sources: Sources, triple: Triple) -> Findings:
    first = triple.first
    if triple.protocol is None:
        yield _at(
            "CC102", first.module, first.node, f"there is no Protocol {triple.service}Connector for {first.node.name}"
        )
    else:
        protocol = triple.protocol
        named = {sources.dotted(protocol.module, base) for base in protocol.node.bases}
        if not any(last_name(one) == "Protocol" and one.startswith("typing") for one in named):
            yield _at("CC102", protocol.module, protocol.node, f"{protocol.node.name} is no Protocol")
    for role, kind in (("managed class", triple.managed), ("mock", triple.mock)):
        if kind is None:
            name = f"{'Managed' if role.startswith('managed') else 'Mock'}{triple.service}Connector"
            yield _at("CC302", first.module, first.node, f"there is no {role} {name}")
    classes = _classes(triple)
    everything = {name: None for _, kind in classes for name in _public(sources, kind)}
    for role, kind in classes:
        own = _public(sources, kind)
        for name in everything:
            if name not in own:
                others = " and ".join(other for other, one in classes if name in _public(sources, one))
                yield _at(
                    "CC302", kind.module, kind.node, f"the {role} {kind.node.name} has no {name}; {others} has it"
                )


def _dynamic(sources: Sources, triple: Triple) -> Findings:
    """Methods that only a run would show."""
    for _, kind in _classes(triple):
        if found := {"__getattr__", "__getattribute__"} & set(sources.methods(kind)):
            yield _unsure("CC302", kind.module, kind.node, f"the methods that {min(found)} adds to {kind.node.name}")
        for node in kind.module.all(ast.Call):
            match node:
                case ast.Call(func=ast.Name("setattr"), args=[ast.Name(target), method, *_]) if (
                    target == kind.node.name
                ):
                    text = f"the method {ast.unparse(method)} that setattr adds"
                    yield _unsure("CC302", kind.module, node, text)


def _difference(one: Function, other: Function) -> str:
    """Say in what *one* differs from *other*; empty for the same signature."""
    first, second = {row[1]: row for row in one.parameters}, {row[1]: row for row in other.parameters}
    for name in [*first, *second]:
        if name not in first or name not in second:
            return f"{'has no' if name in second else 'has also'} {name}"
        for index, what in ((0, "is"), (2, "has the default"), (3, "has the annotation")):
            if first[name][index] != second[name][index]:
                return f"{name} {what} {first[name][index] or 'none'}, not {second[name][index] or 'none'}"
    order = [row[1] for row in one.parameters if row[0] != "keyword-only"]
    if order != [row[1] for row in other.parameters if row[0] != "keyword-only"]:
        return f"its positional parameters are {', '.join(order)}"
    if isinstance(one.node, ast.AsyncFunctionDef) != isinstance(other.node, ast.AsyncFunctionDef):
        return "is async, or the other is"
    ours, theirs = (text_of(getattr(each.node, "returns", None)) for each in (one, other))
    return f"returns {ours or 'nothing annotated'}, not {theirs or 'nothing annotated'}" if ours != theirs else ""


def _signatures(sources: Sources, triple: Triple) -> Findings:
    classes = _classes(triple)
    reference = classes[0]
    for role, kind in classes:
        for name, method in _operations(sources, kind).items():
            yield from _own_signature(sources, name, method)
            model = _public(sources, reference[1]).get(name)
            if kind is not reference[1] and model and (difference := _difference(method, model)):
                yield _at(
                    "CC303",
                    method.module,
                    method.node,
                    f"{name} of the {role} differs from the {reference[0]}: {difference}",
                )
            if not isinstance(method.node, ast.AsyncFunctionDef):
                yield _at("CC303", method.module, method.node, f"{name} of the {role} is not `async def`")
            yield from _decorators(sources, name, method)


def _own_signature(sources: Sources, name: str, method: Function) -> Findings:
    del sources
    for kind, parameter, default, annotation in method.parameters:
        if parameter in _FORWARDED:
            rule, wanted, value = _FORWARDED[parameter]
            if kind != "keyword-only":
                yield _at("CC103", method.module, method.node, f"{parameter} of {name} is not keyword-only")
            elif default != value or annotation not in {wanted.partition(" = ")[0], ""}:
                yield _at(rule, method.module, method.node, f"{parameter} of {name} must be `{wanted}`")
        elif kind.startswith("positional") and default:
            yield _at("CC103", method.module, method.node, f"{parameter} of {name} is optional and not keyword-only")
    for parameter, (rule, wanted, _) in _FORWARDED.items():
        if parameter not in {row[1] for row in method.parameters}:
            yield _at(rule, method.module, method.node, f"{name} does not take `{parameter}: {wanted}`")


def _decorators(sources: Sources, name: str, method: Function) -> Findings:
    """A decorator's wrapper may drop what the method forwards."""
    for decorator in getattr(method.node, "decorator_list", []):
        made = decorator.func if isinstance(decorator, ast.Call) else decorator
        found = sources.resolve(method.module, made)
        if not isinstance(found, Function):
            if not isinstance(found, str) or last_name(found) not in _KNOWN_DECORATORS:
                yield _unsure("CC303", method.module, decorator, f"what the decorator of {name} passes on")
            continue
        for parameter, (rule, _, _) in _FORWARDED.items():
            if any(_drops(node, parameter) for node in found.nodes):
                yield _at(rule, method.module, decorator, f"the decorator of {name} changes {parameter}")
        if any(isinstance(node, ast.Raise) for node in found.nodes) and "Mock" in _owner(method):
            yield _at("CC201", method.module, decorator, f"the decorator of {name} raises")


def _owner(method: Function) -> str:
    for kind in method.module.classes:
        if method.node in kind.node.body:
            return kind.node.name
    return ""


def _drops(node: ast.AST, parameter: str) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="pop" | "update" | "__delitem__"), args=[ast.Constant(name), *_]):
            return bool(name == parameter)
        case (
            ast.Assign(targets=[ast.Subscript(slice=ast.Constant(name))])
            | ast.Delete(targets=[ast.Subscript(slice=ast.Constant(name))])
        ):
            return bool(name == parameter)
        case ast.Call(keywords=keywords) if any(one.arg == parameter for one in keywords):
            return not any(isinstance(one.value, ast.Name) and one.arg == parameter for one in keywords)
        case ast.FunctionDef() | ast.AsyncFunctionDef() if node.args.kwarg:
            name = node.args.kwarg.arg
            passed = [
                each for one in nodes_of(node) if isinstance(one, ast.Call) for each in one.keywords if each.arg is None
            ]
            return not any(isinstance(one.value, ast.Name) and one.value.id == name for one in passed)
        case ast.Compare(left=ast.Name(), ops=[ast.NotEq() | ast.NotIn()], comparators=[compared]):
            return parameter in ast.unparse(compared)
    return False


# --- results, docstrings, models --------------------------------------------------------------------------------------


def _untyped(sources: Sources, module: Module, node: ast.expr | None) -> str:  # noqa: C901, PLR0911 - a table
    """Return what makes the annotation *node* a raw one; empty for a typed result."""
    if node is None:
        return "has no annotation"
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        quoted = expression_of(node.value)
        if quoted is None:
            return f"is {node.value!r}, which is no type"
        node = quoted
    if isinstance(node, ast.BinOp):
        return _untyped(sources, module, node.left) or _untyped(sources, module, node.right)
    if isinstance(node, ast.Constant):
        return ""
    if isinstance(node, ast.Subscript):
        name = last_name(sources.dotted(module, node.value) or ast.unparse(node.value))
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name in {"Literal", "Annotated"}:
            inner = inner[:1] if name == "Annotated" else []
        if name in _MAPPINGS and len(inner) > 1:
            inner = inner[1:]
        return next((text for text in (_untyped(sources, module, one) for one in inner) if text), "")
    found = sources.resolve(module, node)
    if isinstance(found, ast.expr) and found is not node:
        return _untyped(sources, module, found)
    name = last_name(found) if isinstance(found, str) else ""
    if isinstance(found, Class) and any(last_name(one) == "TypedDict" for one in sources.external_bases(found)):
        return "is a TypedDict, a raw dict at run time"
    return f"is {name}, which is raw" if name in _UNTYPED else ""


def _results(sources: Sources, triple: Triple) -> Findings:
    for role, kind in _classes(triple):
        for name, method in _operations(sources, kind).items():
            returns = getattr(method.node, "returns", None)
            if text := _untyped(sources, method.module, returns):
                yield _at("CC104", method.module, returns or method.node, f"the result of {name} of the {role} {text}")


def _has_docstring(method: Function) -> bool:
    if isinstance(method.node, ast.Lambda):
        return False
    text = ast.get_docstring(method.node) or ""
    letters = re.findall(r"[^\W\d_]", text)
    return len(letters) >= _LEAST_LETTERS and not _PLACEHOLDER_TEXT.fullmatch(text)


def _docstrings(sources: Sources, triple: Triple) -> Findings:
    described = {
        name
        for name, one in (_public(sources, triple.protocol) if triple.protocol else {}).items()
        if _has_docstring(one)
    }
    for role, kind in _classes(triple):
        for name, method in _public(sources, kind).items():
            if not _has_docstring(method):
                known = name in described
                text = f"{name} of the {role} has no docstring" + ("; the Protocol's has one" if known else "")
                yield _at("CC107", method.module, method.node, text, Severity.WARNING if known else None)


def _named_classes(sources: Sources, module: Module, node: ast.AST | None) -> Iterator[tuple[ast.AST, object]]:
    for one in nodes_of(node) if node else ():
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield from _named_classes(sources, module, expression_of(one.value))
        elif isinstance(one, ast.Name | ast.Attribute):
            yield one, sources.resolve(module, one)


def _models(sources: Sources, triple: Triple) -> Findings:
    seen: list[object] = []
    waiting: list[tuple[Module, ast.AST | None]] = []
    for _, kind in _classes(triple):
        for method in _operations(sources, kind).values():
            args = method.node.args
            hints = [one.annotation for one in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
            waiting += [(method.module, hint) for hint in (*hints, getattr(method.node, "returns", None))]
    # Most methods have the same annotations.
    waiting = list({(module.path, text_of(hint)): (module, hint) for module, hint in waiting}.values())
    for module, hint in waiting:
        for _, found in _named_classes(sources, module, hint):
            node = found.node if isinstance(found, Class) else found
            if any(node is one for one in seen) or found is hint:
                continue
            if isinstance(found, Class):
                seen.append(node)
                yield from _model(sources, found)
                waiting += [(found.module, one.annotation) for one in found.node.body if isinstance(one, ast.AnnAssign)]
            elif isinstance(found, ast.Call):
                seen.append(node)
                made = last_name(sources.dotted(module, found.func))
                if made in {"namedtuple", "NamedTuple", "TypedDict", "create_model", "make_dataclass", "type"}:
                    yield _at(
                        "CC101", _home(sources, module, found), found, f"the model made by {made} is no dataclass"
                    )
            elif isinstance(found, ast.expr):
                seen.append(node)
                waiting.append((module, found))


def _home(sources: Sources, module: Module, node: ast.AST) -> Module:
    for one in sources.helpers(module):
        if any(node is each for each in one.nodes):
            return one
    return module


def _is_dataclass(sources: Sources, kind: Class) -> bool:
    for node in kind.node.decorator_list:
        made = node.func if isinstance(node, ast.Call) else node
        found = sources.resolve(kind.module, made)
        if isinstance(found, ast.Call):  # model = dataclass(frozen=True), or a partial of it
            is_partial = last_name(ast.unparse(found.func)) == "partial" and found.args
            found = sources.dotted(kind.module, found.args[0] if is_partial else found.func)
        if found == "dataclasses.dataclass":
            return True
        if isinstance(found, Function) and "dataclass_transform" in ast.unparse(found.node):
            return True
    return False


def _model(sources: Sources, kind: Class) -> Findings:
    third_party = {last_name(one) for one in sources.external_bases(kind)}
    if third_party & {
        "Enum",
        "StrEnum",
        "IntEnum",
        "Flag",
        "IntFlag",
        "OpenStrEnum",
        "OpenIntEnum",
        "Protocol",
        "Exception",
    } or _is_dataclass(sources, kind):
        return
    inherits = any(_is_dataclass(sources, one) for one in sources.bases(kind)[1:])
    has_fields = any(isinstance(node, ast.AnnAssign) for node in kind.node.body)
    if inherits and not has_fields:
        return
    how = next((f", it is a {name}" for name in ("TypedDict", "NamedTuple", "BaseModel") if name in third_party), "")
    inner = "; its base is, its own fields are none" if inherits else how
    yield _at("CC101", kind.module, kind.node, f"the model {kind.node.name} is no dataclass{inner}")


# --- managed ----------------------------------------------------------------------------------------------------------


def _managed(sources: Sources, triple: Triple) -> Findings:
    kind = triple.managed
    if kind is None:
        return
    flow = Flow(sources, kind)
    made: list[tuple[str, str]] = []
    is_complete = True
    names = list(_operations(sources, kind))
    for name in [*names, *(one for one in sources.methods(kind) if one.startswith("_") and one != "__init__")]:
        method = sources.methods(kind)[name]
        if name in names:
            flow.run(name)
            yield from _forwarding(name, method, flow)
            yield from _returned(name, method, flow.returned)
            for call in flow.calls:
                found = _request(flow, call)
                is_complete &= bool(found)
                made += [found] if found else []
                yield from _call(flow, call)
            is_complete &= all(event.kind != "unknown" for event in flow.events)
        else:
            flow.run(name)
        for event in flow.events:
            if event.kind == "state":
                yield _at("CC203", event.module, event.node, f"{event.text}: it lasts longer than this call")
            elif event.kind == "unknown" and name in names:
                yield _unsure("CC106", event.module, event.node, event.text)
    yield from _caches(sources, kind)
    yield from _documented(sources, triple, made, is_complete)


def _caches(sources: Sources, kind: Class) -> Findings:
    for method in sources.methods(kind).values():
        for decorator in getattr(method.node, "decorator_list", []):
            made = decorator.func if isinstance(decorator, ast.Call) else decorator
            if sources.dotted(method.module, made) in _CACHES:
                yield _at("CC203", method.module, decorator, "caches results across requests")
        args = method.node.args
        for default in (*args.defaults, *args.kw_defaults):
            if isinstance(default, ast.List | ast.Dict | ast.Set):
                yield _at("CC203", method.module, default, "a mutable default is shared by all calls")
    for one in sources.bases(kind):
        for node in one.node.body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            made = value.func if isinstance(value, ast.Call) else None
            if isinstance(value, ast.List | ast.Dict | ast.Set) or (
                made and last_name(ast.unparse(made)) in {"dict", "list", "set", "defaultdict", "deque", "Counter"}
            ):
                yield _at("CC203", one.module, node, "a mutable attribute of the class is shared by all requests")


def _forwarding(name: str, method: Function, flow: Flow) -> Findings:
    reached: set[str] = set()
    parameters = {row[1] for row in method.parameters if row[0] != "variadic"}
    is_open = any(call.is_open for call in flow.calls)
    for call in flow.calls:
        values = [*call.arguments, *(value for key, value in call.keywords.items() if key != "problem")]
        reached |= set().union(*(value.maybe for value in values))
        for parameter, (rule, _, _) in _FORWARDED.items():
            value = call.keywords.get(parameter)
            if parameter not in parameters:
                continue
            if value is None and call.is_open:
                yield _unsure(rule, call.module, call.node, f"whether {parameter} is among the unpacked arguments")
            elif value is None:
                yield _at(rule, call.module, call.node, f"{name} does not forward {parameter} to this call")
            elif parameter not in value.surely:
                yield _at(
                    rule,
                    call.module,
                    call.node,
                    f"{parameter} of this call is not, on every path, the one that {name} gets",
                )
    unknown = any(event.kind == "unknown" for event in flow.events)
    if flow.calls and not is_open and not unknown:
        for parameter in sorted(parameters - reached - set(_FORWARDED)):
            yield _at("CC306", method.module, method.node, f"{parameter} of {name} is not sent")
    if not flow.calls and not unknown:
        yield _unsure("CC106", method.module, method.node, f"which calls {name} makes: none is seen")


def _returned(name: str, method: Function, values: Iterable[Value]) -> Findings:
    hint = text_of(getattr(method.node, "returns", None))
    names = {last_name(one) for one in re.findall(r"[\w.]+", hint)}
    for value in values:
        is_raw = value.what == RAW and not names <= _SCALARS
        if is_raw or (isinstance(value.what, Fields) and not names & _MAPPINGS):
            what = "the document as it came" if is_raw else "a dict"
            yield _at("CC104", method.module, method.node, f"{name} returns {what}, not {hint or 'a typed object'}")


def _request(flow: Flow, call: HttpCall) -> tuple[str, str] | None:
    """Method and path template of a call; None where they are unknown."""
    del flow
    if call.name in {"call", "page"}:
        endpoint = _endpoint(call)
        return (endpoint.method, endpoint.path) if endpoint and endpoint.path else None
    path = call.keywords.get("path") or (call.arguments[-1] if call.arguments else None)
    verb = call.name.upper()
    if call.name == "request":
        named = call.keywords.get("method") or (call.arguments[0] if call.arguments else None)
        verb = named.what.template.upper() if named and isinstance(named.what, Text) else ""
    return (verb, path.what.template) if verb and path and isinstance(path.what, Text) else None


def _endpoint(call: HttpCall) -> Endpoint | None:
    value = call.keywords.get("endpoint") or (call.arguments[0] if call.arguments else None)
    return value.what if value and isinstance(value.what, Endpoint) else None


def _call(flow: Flow, call: HttpCall) -> Findings:
    positional = _POSITIONAL.get(call.name, ("path",))
    if len(call.arguments) > len(positional):
        yield _at(
            "CC307",
            call.module,
            call.node,
            f"{call.name}(…) takes {len(positional)} positional arguments, got {len(call.arguments)}",
        )
    for name in positional[: len(call.arguments)]:
        if name in call.keywords:
            yield _at("CC307", call.module, call.node, f"{call.name}(…) gets {name} by position and by keyword")
    known = {*positional, *_COMMON, *(_DECLARED if call.name in {*HTTP_METHODS, "request"} else ())}
    for name in call.keywords:
        if name not in known:
            yield _at("CC307", call.module, call.node, f"{call.name}(…) has no argument {name}")
    found = _request(flow, call)
    endpoint = _endpoint(call)
    if found is None:
        yield _unsure("CC304", call.module, call.node, "the path of this call")
    else:
        yield from _path(call, found[1], endpoint)
    if endpoint and endpoint.operation and call.within and endpoint.operation != call.within:
        yield _at(
            "CC309", endpoint.module, endpoint.node, f"the operation {endpoint.operation} is called by {call.within}"
        )
    if endpoint and endpoint.decode is None:
        yield _at("CC104", endpoint.module, endpoint.node, "the Endpoint has no decoder, so the document is raw")
    checked = set(_FORWARDED) | ({"skip", "limit"} if call.name == "page" else set())
    problem = call.keywords.get("problem")
    checked |= problem.checked | problem.maybe if problem else set()
    sent = [call.keywords[name] for name in ("params", "json_body", "headers", "limit") if name in call.keywords]
    if unchecked := sorted(set().union(*(value.maybe for value in sent)) - checked):
        yield _at("CC405", call.module, call.node, f"{', '.join(unchecked)}: sent without a check of the type")


def _path(call: HttpCall, path: str, endpoint: Endpoint | None) -> Findings:
    place: tuple[Module, ast.AST] = (endpoint.module, endpoint.node) if endpoint else (call.module, call.node)
    if not path.startswith("/") or path.startswith("//"):
        yield _at(
            "CC202", *place, f"the path {path!r} does not begin with one slash: it is relative to no configured host"
        )
    given = call.keywords.get("path_params")
    value = call.keywords.get("path") or (call.arguments[-1] if call.arguments and not endpoint else None)
    filled = endpoint.is_filled if endpoint else bool(value and isinstance(value.what, Text) and value.what.is_filled)
    wanted = set(_PLACEHOLDER.findall(path))
    if filled:
        yield _at("CC401", *place, f"the path {path} is filled in by hand: give its values as path_params")
        return
    if call.is_open and given is None:
        return
    if given is None or isinstance(given.what, Fields):
        names = set(given.what.items) if given and isinstance(given.what, Fields) else set()
        is_rest = bool(given and isinstance(given.what, Fields) and given.what.rest)
        if names - wanted or (wanted - names and not is_rest):
            text = ", ".join(sorted(names)) or "none"
            yield _at(
                "CC308",
                call.module,
                call.node,
                f"path_params has {text}; the path {path} has {', '.join(sorted(wanted)) or 'none'}",
            )
    elif wanted:
        yield _unsure("CC308", call.module, call.node, "the names in path_params")


def _listed(docstring: str) -> tuple[list[tuple[str, str]], bool]:
    """Return the endpoints that a module docstring lists, and whether its list is open (`...`)."""
    found: list[tuple[str, str]] = []
    is_open = False
    lines = docstring.partition("Endpoints:")[2].splitlines()
    for line in lines:
        entry = _LISTED.match(line)
        if not entry:
            if found and line.strip() and not re.match(r"\s+\S", line):
                break
            continue
        is_open = is_open or entry[1].strip("` ") in {"...", "…"}
        previous = ""
        for part in entry[1].split(";"):
            match = re.match(rf"\s*({_VERBS}(?:\s*,\s*{_VERBS})*)\s+(.*)", part.strip().strip("`"))
            if not match:
                continue
            for text in match[2].split(","):
                words = text.split()
                if not words:
                    continue
                previous = _continued(previous, words[0].strip("`").partition("?")[0])
                found += [(verb, previous) for verb in re.findall(_VERBS, match[1])]
    return found, is_open


def _continued(previous: str, text: str) -> str:
    """Complete a path that continues the one before it: `…/verify`, `/resume`, `/deployments/{deployment_id}`."""
    if text.startswith(("…", "...")):
        return previous + text.lstrip(".…")
    segments = previous.split("/")
    first = text.lstrip("/").partition("/")[0]
    if not previous or not text.startswith("/") or [first] == segments[1:2]:
        return text
    if first in segments:
        at = len(segments) - 1 - segments[::-1].index(first)
        return "/".join(segments[:at]) + text
    return "/".join(segments[:-1]) + text


def _same_path(listed: str, made: str) -> bool:
    first, second = listed.rstrip("/").split("/"), made.rstrip("/").split("/")
    # `{service}` is the placeholder of the contract's template for the service's own name.
    return len(first) == len(second) and all(
        one == other or ("{" in one and "{" in other) or one == "{service}"
        for one, other in zip(first, second, strict=True)
    )


def _documented(sources: Sources, triple: Triple, made: Iterable[tuple[str, str]], is_complete: bool) -> Findings:
    del sources
    module = triple.module
    node: ast.AST = module.tree.body[0] if module.tree.body else module.tree
    listed, is_open = _listed(ast.get_docstring(module.tree) or "")
    calls = list(dict.fromkeys(made))
    if not listed:
        yield _at("CC304", module, node, "the module docstring lists no endpoints")
        return
    if is_open:
        yield _at("CC304", module, node, "the list of endpoints ends in `...`: name all of them", Severity.WARNING)
    for verb, path in calls:
        if not is_open and not any(verb == one and _same_path(other, path) for one, other in listed):
            yield _at("CC304", module, node, f"the module docstring does not list {verb} {path}, which is called")
    for verb, path in listed:
        if is_complete and not any(verb == one and _same_path(path, other) for one, other in calls):
            yield _at("CC304", module, node, f"the module docstring lists {verb} {path}, which is not called")


# --- mocks ------------------------------------------------------------------------------------------------------------


def _mock(sources: Sources, triple: Triple) -> Findings:
    kind = triple.mock
    if kind is None:
        return
    flow = Flow(sources, kind)
    for name, method in sources.methods(kind).items():
        if name.startswith("_") and name != "__init__":
            continue  # helpers are run by the methods that call them
        flow.run(name)
        if name != "__init__":
            yield from _returned(name, method, flow.returned)
        guarded = {ast.unparse(one.comparators[-1]) for one in method.nodes if isinstance(one, ast.Compare)}
        guarded |= {ast.unparse(one.args[0]) for one in method.nodes if isinstance(one, ast.Call) and one.args}
        for event in flow.events:
            if event.kind == "raise":
                yield _at("CC201", event.module, event.node, f"{name} of the mock {event.text}")
            elif event.kind == "lookup" and ast.unparse(_container(event.node)) not in guarded:
                yield _at("CC201", event.module, event.node, f"{name} of the mock: {event.text}")


def _container(node: ast.AST) -> ast.AST:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.value
    return node.value if isinstance(node, ast.Subscript) else node


# --- the loader -------------------------------------------------------------------------------------------------------


def _registration(sources: Sources, triple: Triple) -> Findings:
    if triple.managed is None or triple.mock is None:
        return
    names = {triple.managed.node.name, triple.mock.node.name}
    folder = triple.module.path.parent
    loaders = [triple.module]
    for path in sorted({*folder.glob("loader.py"), *folder.glob("registry.py"), *folder.glob("__init__.py")}):
        if path.resolve() != triple.module.path.resolve():
            try:
                loaders.append(sources.read(path))
            except UNREADABLE as error:
                yield _unsure(
                    "CC305", triple.module, triple.first.node, f"{path.name} cannot be read ({type(error).__name__})"
                )
    used = set().union(*(module.called for module in loaders))
    missing = sorted(names - used)
    has_loader = any(one.path.name in {"loader.py", "registry.py"} for one in loaders)
    where = triple.first
    if missing and has_loader:
        yield _at(
            "CC305", where.module, where.node, f"{' and '.join(missing)}: not registered in the loader of this folder"
        )
    elif missing:
        yield _unsure(
            "CC305",
            where.module,
            where.node,
            f"where {' and '.join(missing)} is registered: no loader.py or registry.py is in this folder",
        )


# --- rules of a whole file --------------------------------------------------------------------------------------------


def _urls(sources: Sources, triple: Triple, module: Module) -> Findings:
    imported: list[tuple[ast.AST, list[str]]] = [
        *((one, [alias.name for alias in one.names]) for one in module.all(ast.Import)),
        *(
            (one, [one.module or "", *(f"{one.module}.{alias.name}" for alias in one.names)])
            for one in module.all(ast.ImportFrom)
            if not one.level
        ),
    ]
    unrun = {id(one) for node in module.all(ast.If) if _is_for_types(node.test) for one in node.body}
    for statement, names in imported:
        if id(statement) in unrun:
            continue
        found = [name for name in names if any(f"{name}.".startswith(f"{one}.") for one in _HTTP_LIBRARIES)]
        if found:
            yield _at("CC202", module, statement, f"imports {found[0]}: calls go through self._http")
    for call in module.all(ast.Call):
        dotted = sources.dotted(module, call.func)
        if last_name(dotted) == "PlatformHttpClient":
            yield _at("CC202", module, call, "makes a client of its own: the loader gives it")
        elif dotted in {"builtins.__import__", "importlib.import_module"} and call.args:
            value = call.args[0].value if isinstance(call.args[0], ast.Constant) else ""
            if value in _HTTP_LIBRARIES:
                yield _at("CC202", module, call, f"imports {value}: calls go through self._http")
    yield from _url_texts(triple, module)


def _is_for_types(test: ast.expr) -> bool:
    """Whether *test* is `TYPE_CHECKING`: what follows is read by type checkers alone."""
    return isinstance(test, ast.Name | ast.Attribute) and last_name(ast.unparse(test)) == "TYPE_CHECKING"


def _url_texts(triple: Triple, module: Module) -> Findings:
    suspects = [(node, text) for node in module.all(ast.Constant) if _URL.match(text := _decoded(node.value))]
    if not suspects:
        return
    skipped = _no_addresses(triple, module)
    joined = set()
    for outer in (*module.all(ast.JoinedStr), *module.all(ast.BinOp), *module.all(ast.Tuple), *module.all(ast.List)):
        joined |= {id(one) for one in nodes_of(outer)}
    for call in module.all(ast.Call):
        joined |= {id(one) for part in (call.func, *call.args) for one in nodes_of(part)}
    for node, text in suspects:
        if id(node) not in skipped and (id(node) in joined or not text.endswith("//")):
            yield _at("CC202", module, node, f"hard-coded URL {text[:60]!r}")


def _decoded(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _no_addresses(triple: Triple, module: Module) -> set[int]:
    """Docstrings are texts; what mocks and models return is data; what a text is compared with is no address."""
    skipped = {id(one.value) for one in module.all(ast.Expr) if isinstance(one.value, ast.Constant)}
    for kind in module.classes:
        is_mock = kind.node.name.startswith("Mock") or (triple.mock and kind.node is triple.mock.node)
        if is_mock or kind.node.decorator_list:
            skipped |= {id(one) for one in nodes_of(kind.node)}
    for compared in module.all(ast.Compare):
        skipped |= {id(one) for one in nodes_of(compared)}
    for call in module.all(ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr in _TEXT_TESTS:
            skipped |= {id(one) for argument in call.args for one in nodes_of(argument)}
    return skipped


def _environment(sources: Sources, triple: Triple, module: Module) -> Findings:
    del triple
    for node in module.all(ast.ImportFrom):
        names = {f"{node.module}.{alias.name}" for alias in node.names} if not node.level else set()
        if found := sorted(one for one in names if _is_environment(one)):
            yield _at("CC204", module, node, f"imports {', '.join(found)}")
    for access in (*module.all(ast.Attribute), *module.all(ast.Call), *module.all(ast.Subscript)):
        dotted = sources.dotted(module, access)
        if _is_environment(dotted):
            yield _at("CC204", module, access, f"reads the environment by {dotted}")


def _is_environment(dotted: str) -> bool:
    root, _, name = dotted.partition(".")
    return (
        (root in {"os", "posix", "nt"} and name.partition(".")[0] in _ENVIRONMENT)
        or dotted in _READS_ENVIRONMENT
        or (root in {"decouple", "environs"} and bool(name))
    )


def _template_forms(sources: Sources, triple: Triple, module: Module) -> Findings:
    """CC402, CC403 and CC404."""
    mocks = [kind.node for kind in module.classes if kind.node.name.startswith("Mock")]
    if triple.mock and triple.mock.module is module and triple.mock.node not in mocks:
        mocks.append(triple.mock.node)
    ranges = [(one.lineno, one.end_lineno or one.lineno) for one in mocks]
    for call in module.all(ast.Call):
        yield from _naive(sources, module, call)
        if not _is_within(call, ranges):
            yield from _unpacked(sources, module, call)
    for node in (*module.all(ast.Call), *module.all(ast.Subscript), *module.all(ast.MatchMapping)):
        if not _is_within(node, ranges) and (key := _success(sources, module, node)):
            text = f"reads {key!r} from the document: a 204 has none and counts as a failure"
            yield _at("CC404", module, node, text)


def _is_within(node: ast.AST, ranges: Iterable[tuple[int, int]]) -> bool:
    line = getattr(node, "lineno", 0)
    return any(first <= line <= last for first, last in ranges)


def _unpacked(sources: Sources, module: Module, node: ast.Call) -> Findings:
    made, keywords = sources.resolve(module, node.func), node.keywords
    positional = node.args
    if isinstance(made, str) and last_name(made) in {"partial", "replace", "reduce"} and node.args:
        made, positional = sources.resolve(module, node.args[0]), node.args[1:]
        if isinstance(made, ast.Call):
            made = sources.resolve(module, made.func)
    unpacks = any(one.arg is None and not isinstance(one.value, ast.Dict) for one in keywords)
    unpacks |= any(isinstance(one, ast.Starred) for one in positional)
    if isinstance(made, Class) and unpacks and _is_dataclass(sources, made):
        yield _at("CC402", module, node, f"{made.node.name}(**…) takes the keys of the document as they come")


def _naive(sources: Sources, module: Module, node: ast.Call) -> Findings:
    dotted = sources.dotted(module, node.func)
    given = len(node.args) + len(node.keywords)
    if not dotted.startswith("datetime."):
        return
    name = dotted.removeprefix("datetime.").removeprefix("datetime.")
    zoned = any(one.arg in {"tz", "tzinfo", None} and not _is_none(one.value) for one in node.keywords)
    if (
        name in {"utcnow", "utcfromtimestamp", "today"}
        and dotted.count(".") > 1
        and "date.today" not in dotted.removeprefix("datetime.datetime")
    ):
        naive = dotted.startswith("datetime.datetime.")
    elif name == "now":
        naive = not zoned and (not given or _is_none(node.args[0] if node.args else None))
    elif name == "fromtimestamp":
        naive = dotted.startswith("datetime.datetime.") and not zoned and len(node.args) < 2  # noqa: PLR2004 - the time and its zone
    elif dotted == "datetime.datetime":
        naive = not zoned and 3 <= len(node.args) < 8  # noqa: PLR2004 - the eighth argument is the zone
    else:
        naive = False
    if naive:
        yield _at("CC403", module, node, f"{ast.unparse(node)} has no time zone")


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _success(sources: Sources, module: Module, node: ast.AST) -> str:
    """Return the key by which *node* reads a report of success; empty for anything else."""
    key: ast.expr | None = None
    match node:
        case ast.Call(func=ast.Attribute(attr="get" | "pop" | "__getitem__"), args=[first]):
            key = first
        case ast.Call(func=ast.Attribute(attr="get" | "pop"), args=[first, ast.Constant(default)]) if not default:
            key = first
        case ast.Subscript(ctx=ast.Load(), slice=first):
            key = first
        case ast.Call(args=[ast.Constant(str(name)), *_]) if name in _SUCCESS and (
            sources.dotted(module, node.func) == "operator.itemgetter"
        ):
            key = node.args[0]
        case ast.MatchMapping(keys=keys):
            key = next((one for one in keys if isinstance(one, ast.Constant) and one.value in _SUCCESS), None)
    found = sources.resolve(module, key) if isinstance(key, ast.Name | ast.Attribute) else key
    return found.value if isinstance(found, ast.Constant) and found.value in _SUCCESS else ""


def _nones(sources: Sources, triple: Triple, module: Module) -> Findings:
    """CC105: what may be None is annotated so, and tested before it is used."""
    for node in module.all(ast.AnnAssign):
        if _is_none_literal(node.value) and not _allows_none(sources, module, node.annotation):
            text = f"{ast.unparse(node.target)} is None, and its annotation says {ast.unparse(node.annotation)}"
            yield _at("CC105", module, node, text)
    for args in module.all(ast.arguments):
        pairs = [*zip(reversed([*args.posonlyargs, *args.args]), reversed(args.defaults), strict=False)]
        pairs += [(one, default) for one, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default]
        for one, default in pairs:
            if one.annotation and _is_none_literal(default) and not _allows_none(sources, module, one.annotation):
                text = f"{one.arg} is None by default, and its annotation says {ast.unparse(one.annotation)}"
                yield _at("CC105", module, one, text)
    for kind in (triple.managed, triple.mock):
        if kind:
            for method in sources.methods(kind).values():
                if method.module is module and isinstance(method.node, FunctionNode):
                    yield from _unguarded(sources, method, method.node)


def _is_none_literal(node: ast.expr | None) -> bool:
    match node:
        case ast.Constant(None):
            return True
        case ast.Call(keywords=keywords):
            return any(one.arg == "default" and _is_none_literal(one.value) for one in keywords)
    return False


def _allows_none(sources: Sources, module: Module, node: ast.expr) -> bool:
    text = text_of(node)
    found = sources.resolve(module, node)
    if isinstance(found, ast.expr) and found is not node:
        text = text_of(found)
    return bool({"None", "Any", "object", "Optional"} & set(re.findall(r"\w+", text)))


def _optional_fields(sources: Sources, module: Module, annotation: ast.expr | None) -> set[str]:
    """Names of the fields of a model that may be None."""
    found: set[str] = set()
    for _, kind in _named_classes(sources, module, annotation):
        if isinstance(kind, Class):
            for one in sources.bases(kind):
                fields = [node for node in one.node.body if isinstance(node, ast.AnnAssign)]
                found |= {
                    node.target.id
                    for node in fields
                    if isinstance(node.target, ast.Name) and "None" in re.findall(r"\w+", text_of(node.annotation))
                }
    return found


def _unguarded(sources: Sources, method: Function, node: FunctionNode) -> Findings:
    optional: set[str] = set()
    for argument in (*node.args.args, *node.args.kwonlyargs):
        hint = text_of(argument.annotation)
        if "None" in re.findall(r"\w+", hint):
            optional.add(argument.arg)
        if not set(re.findall(r"\w+", hint)) <= _SCALARS:  # else no model
            fields = _optional_fields(sources, method.module, argument.annotation)
            optional |= {f"{argument.arg}.{name}" for name in fields}
    if not optional:
        return
    nodes = [one for one in method.nodes if type(one) in _MAY_USE]
    aliases = {
        each.targets[0].id: ast.unparse(each.value)
        for each in nodes
        if isinstance(each, ast.Assign)
        and isinstance(each.targets[0], ast.Name)
        and isinstance(each.value, ast.Name | ast.Attribute)
        and ast.unparse(each.value) in optional
    }
    optional |= set(aliases)
    guarded = {ast.unparse(one) for one in _tested(nodes)}
    guarded |= {aliases[name] for name in guarded & set(aliases)}
    guarded |= {name for name, text in aliases.items() if text in guarded}
    for one in nodes:
        value = _used(one)
        text = ast.unparse(value) if isinstance(value, ast.Name | ast.Attribute) else ""
        if text in optional - guarded:
            place = one.iter if isinstance(one, ast.comprehension) else one
            yield _at("CC105", method.module, place, f"{text} may be None, and is used without a test")
        for name in _nulls(one, optional - guarded):
            yield _at("CC105", method.module, one, f"{name} may be None, and is sent as null")


def _tested(nodes: Iterable[ast.AST]) -> Iterator[ast.expr]:
    """Return the names and attributes that a condition, or the body of a `try`, contains."""
    for node in nodes:
        match node:
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) | ast.Assert(test=test):
                tests: list[ast.AST] = [test]
            case ast.BoolOp(values=[*first, _]):
                tests = list(first)
            case ast.comprehension(ifs=conditions):
                tests = list(conditions)
            case ast.Match(subject=subject):
                tests = [subject]
            case ast.Try(body=body):
                tests = list(body)
            case _:
                continue
        for part in tests:
            yield from (one for one in nodes_of(part) if isinstance(one, ast.Name | ast.Attribute))


def _used(node: ast.AST) -> ast.expr | None:
    """Return the value that *node* uses in a way that None does not have."""
    match node:
        case ast.Attribute(value=value) | ast.Subscript(value=value):
            return value
        case ast.For(iter=value) | ast.AsyncFor(iter=value) | ast.comprehension(iter=value):
            return value
        case ast.BinOp(left=value):
            return value
        case ast.Call(func=ast.Name("len" | "list" | "sorted" | "set" | "tuple" | "iter"), args=[value, *_]):
            return value
        case ast.Call(func=ast.Attribute(attr="join"), args=[value]):
            return value
    return None


def _nulls(node: ast.AST, optional: set[str]) -> list[str]:
    """Return the optional values that a body, `json_body={…}`, contains as they are."""
    bodies: list[ast.Dict] = []
    if isinstance(node, ast.Call):
        bodies = [one.value for one in node.keywords if one.arg == "json_body" and isinstance(one.value, ast.Dict)]
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
        names = {one.id for one in node.targets if isinstance(one, ast.Name)}
        bodies = [node.value] if names & {"body", "payload"} else []
    return [text for body in bodies for value in body.values if (text := ast.unparse(value)) in optional]
