"""
Rewrites what follows the contract's first version to the form that its second one asks for.

A fix is applied where the whole method has the template's shape, so that its meaning is known; everything else is left
as it is, and stays a finding.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from runtime._internal.findings import Finding

from .flow import HTTP_METHODS
from .source import NEWLINE, Class, Module, Sources, text_of
from .triples import triples

__all__ = ["fixed"]

_REQUESTS = {"CC401", "CC402", "CC404", "CC405"}
_BASE = re.compile(r"(?:.*\.)?base")
_WIDTH = 120
_KEPT = {"params", "headers", "json_body", "problem", "user_jwt", "correlation_id"}
"""Arguments of a request that `call` and `page` take too."""
_PLAIN_TEXT = re.compile(r'[^"\\\n]*')
_PLAIN_PATH = re.compile(r'[^"\\\n{}?#]*')


class _Edit(NamedTuple):
    """A part of the file, in bytes, and what replaces it."""

    start: int
    end: int
    text: str


@dataclass
class _File:
    """One file that is changed."""

    module: Module
    edits: list[_Edit] = field(default_factory=list)
    imported: set[str] = field(default_factory=set)
    constants: list[str] = field(default_factory=list)
    endpoints: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines = [0]
        for line in self.module.text.encode().splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def at(self, line: int, column: int = 0) -> int:
        """Return the position of a line, from 1, and a column in bytes."""
        return self.lines[line - 1] + column

    def source(self, node: ast.AST) -> str:
        """Return the text of an expression."""
        return ast.get_source_segment(self.module.text, node) or ast.unparse(node)

    def value_of(self, name: str) -> str:
        """Return what a name of the file is bound to, as text; empty for a name that is free."""
        found = self.module.names.get(name)
        return "" if found is None else ast.unparse(found) if isinstance(found, ast.expr) else name

    def between(self, first: ast.stmt, last: ast.stmt) -> str:
        """Return the text from one statement to another, comments included."""
        lines = slice(first.lineno - 1, (last.end_lineno or last.lineno) - 1)
        end = self.module.lines[lines.stop].encode()[: last.end_col_offset].decode()
        return "\n".join([*self.module.lines[lines], end])

    def replace(self, node: ast.expr | ast.stmt, text: str, last: ast.stmt | None = None) -> None:
        """Replace *node*, or all from it to *last*."""
        end = last or node
        start = self.at(node.lineno, node.col_offset)
        self.edits.append(_Edit(start, self.at(end.end_lineno or 0, end.end_col_offset or 0), text))

    def insert(self, line: int, text: str) -> None:
        """Insert *text* above a line."""
        self.edits.append(_Edit(self.at(line), self.at(line), text))

    def text(self) -> str:
        """Return the changed file, with the ends of lines that it has."""
        found = self.module.text.encode()
        newline = match[0] if (match := NEWLINE.search(self.module.text)) else "\n"
        for edit in sorted(self.edits, key=lambda one: (one.start, one.end), reverse=True):
            found = found[: edit.start] + newline.join(NEWLINE.split(edit.text)).encode() + found[edit.end :]
        return found.decode()


def fixed(sources: Sources, module: Module, findings: Iterable[Finding]) -> str:
    """Return the text of *module* with a fix for each of *findings* that has one."""
    lines = {(one.rule, line) for one in findings for line in range(one.line, max(one.last_line, one.line) + 1)}
    rules = {rule for rule, _ in lines}
    file = _File(module)
    for triple in triples(sources, module):
        managed, protocol = triple.managed, triple.protocol
        if managed is None or managed.module is not module:
            continue
        methods = [node for node in managed.node.body if isinstance(node, ast.AsyncFunctionDef)]
        wanted = [one for one in methods if any((rule, line) in lines for rule in _REQUESTS for line in _range(one))]
        can_import = _import_of(file, _BASE, "PlatformHttpClient") is not None
        made = [one.name for one in wanted if can_import and _rewritten(sources, file, one)]
        if file.constants:
            _insert_constants(file, managed)
        operations = [one.name for one in methods if not one.name.startswith("_")]
        if "CC304" in rules and made == operations:
            _list_endpoints(file)
        for kind in (managed, triple.mock):
            if kind and kind.module is module and protocol:
                _copy_docstrings(file, kind, protocol, lines)
    _zone_times(sources, file, lines)
    _import_names(file)
    return file.text()


def _range(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


# --- requests ---------------------------------------------------------------------------------------------------------


class _Request(NamedTuple):
    """A method of the template's shape: what it sends, and what it returns of the response."""

    before: list[ast.stmt]
    first: ast.stmt
    last: ast.stmt
    call: ast.Call
    verb: str
    result: ast.expr
    response: str


def _request(method: ast.AsyncFunctionDef) -> _Request | None:
    body = method.body[1:] if ast.get_docstring(method) is not None else method.body
    match body[-2:]:
        case [
            ast.Assign(
                targets=[ast.Name(response)],
                value=ast.Await(
                    ast.Call(func=ast.Attribute(ast.Attribute(ast.Name("self"), "_http"), verb), args=[_]) as call
                ),
            ) as first,
            ast.Return(ast.expr() as result) as last,
        ] if verb in HTTP_METHODS and {one.arg for one in call.keywords} <= _KEPT:
            return _Request(body[:-2], first, last, call, verb.upper(), result, response)
    return None


def _rewritten(sources: Sources, file: _File, method: ast.AsyncFunctionDef) -> bool:
    """Rewrite *method* to a call of an `Endpoint`; False where it has another shape."""
    found = _request(method)
    path = _template(found.call.args[0]) if found else None
    decode = _decoder(sources, file.module, found) if found else None
    if found is None or path is None or decode is None:
        return False
    template, values = path
    decoder, model, kind = decode
    keywords = {one.arg or "": file.source(one.value) for one in found.call.keywords}
    constant = f"_{method.name.upper()}"
    before, body = "", _body(sources, file.module, method, found)
    start = found.before[0] if body and found.before else found.first
    taken = {constant: "", **({_variable(model): f"decoder({model})"} if model else {})}
    if any(file.value_of(name) not in {"", value} for name, value in taken.items()):
        return False
    if "#" in file.between(start, found.last):  # a comment would be lost
        return False
    if body:
        parameter, request = body
        keywords["json_body"] = "body"
        keywords = {"problem": "problem", **keywords}
        before = f"body, problem = body_of({parameter}, {request})\n        "
        file.imported.add("body_of")
    if values:
        given = ", ".join(f'"{name}": {name}' for name in values)
        keywords = {"path_params": f"{{{given}}}", **keywords}
    client = file.source(found.call.func).rpartition(".")[0]
    arguments = [constant, *(f"{name}={value}" for name, value in keywords.items())]
    text = f"{before}return await {client}.{kind}({', '.join(arguments)})"
    if max(map(len, text.splitlines())) + 8 > _WIDTH:
        inner = "".join(f"            {argument},\n" for argument in arguments)
        text = f"{before}return await {client}.{kind}(\n{inner}        )"
    file.replace(start, text, found.last)
    file.imported |= {"Endpoint", *re.findall(r"decode_page|succeeded", decoder), *(["decoder"] if model else [])}
    made = f"{_variable(model)} = decoder({model})"
    if model and made not in file.constants and not file.value_of(_variable(model)):
        file.constants.insert(0, made)
    parts = [f'"{found.verb}", "{template}", "{method.name}"', decoder]
    line = f"{constant} = Endpoint({', '.join(parts)})"
    file.constants.append(
        line if len(line) <= _WIDTH else f"{constant} = Endpoint(\n    {parts[0]},\n    {parts[1]},\n)"
    )
    file.endpoints.append((found.verb, template))
    return True


def _template(node: ast.expr) -> tuple[str, list[str]] | None:
    """Return the path as a template, and the names of its values; None where a part is no plain name."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return (node.value, []) if _PLAIN_PATH.fullmatch(node.value) else None
    names, parts = [], []
    for one in node.values if isinstance(node, ast.JoinedStr) else [node]:
        match one:
            case ast.Constant(str(text)) if _PLAIN_PATH.fullmatch(text):
                parts.append(text)
            case ast.FormattedValue(ast.Name(name), -1, None):
                parts.append(f"{{{name}}}")
                names.append(name)
            case _:
                return None
    return "".join(parts), names


def _decoder(sources: Sources, module: Module, request: _Request) -> tuple[str, str, str] | None:
    """Return the decoder of the result, its model, and the client's method; None for a result of another shape."""
    match request.result:
        case ast.Call(func=ast.Name(model), args=[], keywords=[ast.keyword(None, ast.Name(name))]) if (
            name == request.response and isinstance(sources.lookup(module, model), Class)
        ):
            return _variable(model), model, "call"
        case ast.Call(
            func=ast.Attribute(ast.Name(name), "get"), args=[ast.Constant("success"), ast.Constant(False)]
        ) if name == request.response:
            return "succeeded", "", "call"
        case ast.ListComp(
            elt=ast.Call(func=ast.Name(model), args=[], keywords=[ast.keyword(None, ast.Name(item))]),
            generators=[
                ast.comprehension(
                    ast.Name(target),
                    ast.Call(
                        func=ast.Attribute(ast.Name(name), "get"), args=[ast.Constant(str(key)), ast.List(elts=[])]
                    ),
                    [],
                    0,
                )
            ],
        ) if (
            name == request.response
            and item == target
            and _PLAIN_TEXT.fullmatch(key)
            and isinstance(sources.lookup(module, model), Class)
        ):
            return f'lambda document: decode_page(document, {_variable(model)}, "{key}")', model, "page"
    return None


def _variable(model: str) -> str:
    return "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", model).lower()


def _body(sources: Sources, module: Module, method: ast.AsyncFunctionDef, request: _Request) -> tuple[str, str] | None:
    """Return the parameter and its model whose fields are the body, as `body_of` sends them; None for another body."""
    value = next((one.value for one in request.call.keywords if one.arg == "json_body"), None)
    hints = {one.arg: text_of(one.annotation) for one in method.args.args}
    pairs: list[tuple[str, str, str]] = []  # parameter, its attribute, key
    optional = False
    if isinstance(value, ast.Dict) and not request.before:
        for key, one in zip(value.keys, value.values, strict=True):
            match key, one:
                case ast.Constant(str(name)), ast.Attribute(ast.Name(parameter), attribute):
                    pairs.append((parameter, attribute, name))
                case _:
                    return None
    elif isinstance(value, ast.Name) and request.before:
        pairs, optional = list(_conditional(request.before, value.id)), True
        if len(pairs) != len(request.before) - 1:
            return None
    names = {parameter for parameter, _, _ in pairs}
    model = sources.lookup(module, hints.get(next(iter(names)), "")) if len(names) == 1 else None
    if not isinstance(model, Class) or any(attribute != key for _, attribute, key in pairs):
        return None
    fields = {
        node.target.id: "None" in text_of(node.annotation)
        for node in model.node.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    is_whole = set(fields) == {key for _, _, key in pairs} and all(given is optional for given in fields.values())
    return (names.pop(), model.node.name) if is_whole else None


def _conditional(statements: list[ast.stmt], body: str) -> Iterator[tuple[str, str, str]]:
    """Yield what `body = {}` and `if request.x is not None: body["x"] = request.x` send."""
    match statements[0]:
        case (
            ast.Assign(targets=[ast.Name(name)], value=ast.Dict(keys=[]))
            | ast.AnnAssign(target=ast.Name(name), value=ast.Dict(keys=[]))
        ) if name == body:
            pass
        case _:
            return
    for statement in statements[1:]:
        match statement:
            case ast.If(
                test=ast.Compare(ast.Attribute(ast.Name(one), tested), [ast.IsNot()], [ast.Constant(None)]),
                body=[
                    ast.Assign(
                        targets=[ast.Subscript(ast.Name(name), ast.Constant(str(key)))],
                        value=ast.Attribute(ast.Name(other), attribute),
                    )
                ],
                orelse=[],
            ) if name == body and one == other and tested == attribute:
                yield one, attribute, key


# --- the rest of the file ---------------------------------------------------------------------------------------------


def _insert_constants(file: _File, managed: Class) -> None:
    """Above the class, and above the comment that introduces it."""
    rows = file.module.lines
    line = min([managed.node.lineno, *(one.lineno for one in managed.node.decorator_list)])
    while line > 1 and rows[line - 2].startswith("#"):
        line -= 1
    while line > 1 and line < managed.node.lineno and not rows[line - 2].strip() and rows[line - 3].startswith("#"):
        line -= 1
    file.insert(line, "\n".join(file.constants) + "\n\n\n")


def _list_endpoints(file: _File) -> None:
    """Write the list of endpoints in the module docstring anew."""
    document = file.module.tree.body[0]
    rows = file.module.lines
    first = next((row for row in _range(document) if rows[row - 1].strip() == "Endpoints:"), None)
    if first is None:
        return
    last = first
    while re.match(r"\s*[-*]\s", rows[last]):
        last += 1
    lines = "".join(f"- {verb} {path}\n" for verb, path in file.endpoints)
    file.edits.append(_Edit(file.at(first + 1), file.at(last + 1), lines))


def _copy_docstrings(file: _File, kind: Class, protocol: Class, lines: set[tuple[str, int]]) -> None:
    texts = {
        node.name: text
        for node in protocol.node.body
        if isinstance(node, ast.AsyncFunctionDef) and (text := ast.get_docstring(node)) and _PLAIN_TEXT.fullmatch(text)
    }
    for node in kind.node.body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name in texts and ("CC107", node.lineno) in lines:
            indent = file.module.lines[node.body[0].lineno - 1].encode()[: node.body[0].col_offset].decode()
            if indent.strip():  # the body is on the line of the signature
                continue
            file.insert(node.body[0].lineno, f'{indent}"""{texts[node.name]}"""\n')


def _zone_times(sources: Sources, file: _File, lines: set[tuple[str, int]]) -> None:
    for call in file.module.all(ast.Call):
        is_naive = sources.dotted(file.module, call.func) in {"datetime.datetime.utcnow", "datetime.datetime.now"}
        if is_naive and not call.args and not call.keywords and ("CC403", call.lineno) in lines:
            made = file.source(call.func).rpartition(".")[0]
            zone = "UTC" if "." not in made else f"{made.rpartition('.')[0]}.UTC"
            if zone == "UTC" and _import_of(file, re.compile("datetime"), "datetime") is None:
                continue
            file.replace(call, f"{made}.now({zone})")
            if zone == "UTC":
                file.imported.add("UTC")


def _import_of(file: _File, module: re.Pattern[str], name: str) -> ast.ImportFrom | None:
    """Return the import of *name* that further names can be added to: at the top level, and without aliases."""
    for node in file.module.tree.body:
        if (
            isinstance(node, ast.ImportFrom)
            and module.fullmatch(node.module or "")
            and any(one.name == name for one in node.names)
            and all(one.asname is None for one in node.names)
        ):
            return node
    return None


def _import_names(file: _File) -> None:
    for module, name, wanted in (
        (_BASE, "PlatformHttpClient", file.imported - {"UTC"}),
        (re.compile("datetime"), "datetime", file.imported & {"UTC"}),
    ):
        node = _import_of(file, module, name) if wanted else None
        names = {one.name for one in node.names} if node else set()
        if node and wanted - names:
            every = sorted(names | wanted, key=lambda one: (not one.isupper(), not one[0].isupper(), one))
            head = f"from {'.' * node.level}{node.module or ''} import "
            text = head + ", ".join(every)
            if len(text) > _WIDTH:
                text = head + "(\n" + "".join(f"    {one},\n" for one in every) + ")"
            file.replace(node, text)
