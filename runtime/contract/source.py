"""
Reads the files that are checked, and finds what a name in them refers to: by imports, aliases and other files.

Nothing is imported or executed.
"""

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

__all__ = [
    "NEWLINE",
    "UNREADABLE",
    "Class",
    "Function",
    "FunctionNode",
    "Module",
    "Reference",
    "Sources",
    "expression_of",
    "is_base",
    "last_name",
    "nodes_of",
    "python_files",
    "text_of",
]

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
# Packages of the runtime itself: what a connector imports from them is not part of the connector.
_RUNTIME = {"runtime", "middleware"}
# The shared client and the loader of the contract's structure, next to a connector's file.
_SHARED_FILES = {"base", "loader", "registry"}


@dataclass(eq=False)
class Class:
    """A class that is defined in one of the files."""

    module: "Module"
    node: ast.ClassDef


class Parameter(NamedTuple):
    """A parameter; default and annotation as text, empty for none."""

    kind: str
    name: str
    default: str
    annotation: str


@dataclass(eq=False)
class Function:
    """A function that is defined in one of the files."""

    module: "Module"
    node: FunctionNode | ast.Lambda

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of it."""
        return nodes_of(self.node)

    @cached_property
    def parameters(self) -> list[Parameter]:
        """Its parameters but the first, `self`; keyword-only ones by name, since their order means nothing."""
        args = self.node.args
        positional = [*args.posonlyargs, *args.args]
        defaults = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
        found = [
            Parameter(
                "positional-only" if one in args.posonlyargs else "positional",
                one.arg,
                text_of(default),
                text_of(one.annotation),
            )
            for one, default in zip(positional, defaults, strict=True)
        ][1:]
        found += sorted(
            Parameter("keyword-only", one.arg, text_of(default), text_of(one.annotation))
            for one, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
        )
        if args.vararg:
            found.append(Parameter("variadic", f"*{args.vararg.arg}", "", text_of(args.vararg.annotation)))
        if args.kwarg:
            found.append(Parameter("variadic", f"**{args.kwarg.arg}", "", text_of(args.kwarg.annotation)))
        return found


@dataclass(frozen=True)
class Imported:
    """What an import statement binds: a module, or an attribute of one."""

    level: int
    module: str
    attribute: str


UNREADABLE = (OSError, ValueError, SyntaxError, RecursionError, MemoryError)
"""What `Sources.read` raises: no such file, no UTF-8, no Python, an expression that is nested too deeply."""

NEWLINE = re.compile(r"\r\n|\r|\n")
"""Ends of lines, as Python counts them."""

_Node = TypeVar("_Node", bound=ast.AST)
Reference: TypeAlias = "Class | Function | Module | ast.expr | str | None"
"""What a name refers to: a definition, a file, an expression, a dotted name from elsewhere, or unknown."""


@dataclass(eq=False)
class Module:
    """
    One file.

    Attributes:
        path: Where it is, as given on the command line or as found next to such a file.
        text: Its content.
        tree: Its syntax tree.
        names: What its names are bound to: at the top level, else by an import in a function, else by the only
            assignment to a name in any function.
        nodes: Every node of the tree: one walk for all rules.
    """

    path: Path
    text: str
    tree: ast.Module
    names: dict[str, "ast.stmt | ast.expr | Imported"] = field(default_factory=dict)
    nodes: list[ast.AST] = field(default_factory=list)
    _by_type: dict[type[ast.AST], list[ast.AST]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = nodes_of(self.tree)
        for node in self.nodes:
            self._by_type.setdefault(type(node), []).append(node)
        for one in self.all(ast.Import):
            for alias in one.names:
                bound = alias.asname or alias.name.partition(".")[0]
                self.names[bound] = Imported(0, alias.name if alias.asname else bound, "")
        for other in self.all(ast.ImportFrom):
            for alias in other.names:
                self.names[alias.asname or alias.name] = Imported(other.level, other.module or "", alias.name)
        assigned: dict[str, list[ast.expr]] = {}
        for name, value in _assignments((*self.all(ast.Assign), *self.all(ast.AnnAssign), *self.all(ast.NamedExpr))):
            assigned.setdefault(name, []).append(value)
        parameters = {one.arg for one in self.all(ast.arg)}
        for name, values in assigned.items():
            if len(values) == 1 and name not in self.names and name not in parameters:
                self.names[name] = values[0]
        own = list(_top_level(self.tree.body))
        self.names.update((node.name, node) for node in own if isinstance(node, ast.ClassDef | FunctionNode))
        self.names.update(_assignments(own))

    def all(self, kind: type[_Node]) -> list[_Node]:
        """Every node of one type."""
        return self._by_type.get(kind, [])  # type: ignore[return-value] # the lists are by type

    @cached_property
    def resolved(self) -> Path:
        """Where it is, without links and relative parts."""
        return self.path.resolve()

    @cached_property
    def lines(self) -> list[str]:
        """Its lines, as Python counts them: `str.splitlines` also ends one at a form feed."""
        return NEWLINE.split(self.text)

    @cached_property
    def classes(self) -> list[Class]:
        """Its classes, in their order."""
        return [Class(self, node) for node in _top_level(self.tree.body) if isinstance(node, ast.ClassDef)]

    @cached_property
    def called(self) -> set[str]:
        """Names that are called or are arguments of a call, as they are defined: not by their aliases."""
        aliases = {
            alias.asname: alias.name for node in self.all(ast.ImportFrom) for alias in node.names if alias.asname
        }
        found = set()
        for node in self.all(ast.Call):
            parts = [node.func, *node.args, *(one.value for one in node.keywords)]
            found |= {aliases.get(one.id, one.id) for one in parts if isinstance(one, ast.Name)}
            found |= {one.attr for one in parts if isinstance(one, ast.Attribute)}
        return found


_LEAVES = {int, str, type(None), ast.Load, ast.Store}


def nodes_of(node: ast.AST) -> list[ast.AST]:
    """Return *node* and every node in it, as `ast.walk` does but for `Load` and `Store`; most of a check is this."""
    found = [node]
    for one in found:
        for value in one.__dict__.values():
            kind = type(value)
            if kind is list:
                found += [each for each in value if isinstance(each, ast.AST)]
            elif kind not in _LEAVES and isinstance(value, ast.AST):
                found.append(value)
    return found


def _assignments(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Names that are assigned by one of *nodes*, and their values."""
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of the top level, those below `if` and `try` included."""
    for node in body:
        yield node
        for inner in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                yield from _top_level(getattr(node, inner, []))


class Sources:
    """All files of one run; each is read once."""

    def __init__(self) -> None:
        self._modules: dict[Path, Module | None] = {}
        self._imports: dict[tuple[Path, Imported], Reference] = {}
        self._helpers: dict[Path, list[Module]] = {}
        self._methods: dict[int, dict[str, Function]] = {}
        self._functions: dict[int, Function] = {}
        self._found: dict[Path, bool] = {}  # the same imports are looked up for each file of a folder

    def read(self, path: Path) -> Module:
        """
        Return the file at *path*.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not UTF-8, or has a null character.
            SyntaxError: It is no Python.
            RecursionError, MemoryError: It is nested too deeply.
        """
        key = path.resolve()
        found = self._modules.get(key)
        if found is None:
            text = path.read_bytes().decode("utf-8-sig")
            found = self._modules[key] = Module(path, text, ast.parse(text, filename=str(path)))
        return found

    def _neighbour(self, path: Path) -> Module | None:
        """Return the file at *path*, which is imported; None where it cannot be read."""
        if path.resolve() not in self._modules:
            try:
                self.read(path)
            except UNREADABLE:
                self._modules[path.resolve()] = None
        return self._modules[path.resolve()]

    def imported(self, module: Module, found: Imported) -> Reference:
        """Return what an import in *module* binds."""
        key = module.path, found
        if key not in self._imports:
            self._imports[key] = f"{found.module}.{found.attribute}"  # for modules that import each other
            self._imports[key] = self._imported(module, found)
        return self._imports[key]

    def _imported(self, module: Module, found: Imported) -> Reference:
        parts = found.module.split(".") if found.module else []
        dotted = ".".join([*parts, found.attribute] if found.attribute else parts)
        if parts and (parts[-1] in _SHARED_FILES or (not found.level and parts[0] in _RUNTIME)):
            return dotted if found.level == 0 else f"runtime.connectors.{dotted}"
        for folder in self._folders(module, found.level, parts):
            for names in ([*parts, found.attribute], parts):
                if not names or not names[-1]:
                    continue
                base = folder.joinpath(*names)
                for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
                    if self._is_other(path, module) and (other := self._neighbour(path)):
                        inside = names is parts and found.attribute
                        return self.lookup(other, found.attribute) if inside else other
        return dotted

    def _is_other(self, path: Path, module: Module) -> bool:
        """Whether *path* is a file, and not that of *module*."""
        if path not in self._found:
            self._found[path] = path.is_file()
        return self._found[path] and path.resolve() != module.resolved

    def _folders(self, module: Module, level: int, parts: list[str]) -> Iterator[Path]:
        above = module.resolved.parents
        if level:
            yield from above[level - 1 : level]
        elif parts:  # an absolute import: of a package that contains this file, or of a file next to it
            yield from (folder for folder in above[:6] if folder is above[0] or self._is_folder(folder / parts[0]))

    def _is_folder(self, path: Path) -> bool:
        if path not in self._found:
            self._found[path] = path.is_dir()
        return self._found[path]

    def lookup(self, module: Module, name: str, depth: int = 0) -> Reference:
        """Return what *name* refers to at the top level of *module*."""
        found = module.names.get(name)
        if isinstance(found, ast.ClassDef):
            return Class(module, found)
        if isinstance(found, FunctionNode):
            return self.function(module, found)
        if isinstance(found, Imported):
            return self.imported(module, found)
        if isinstance(found, ast.expr):
            return found if depth > 8 else self.resolve(module, found, depth + 1)  # noqa: PLR2004 - aliases of aliases
        return f"builtins.{name}" if hasattr(builtins, name) else None

    def resolve(self, module: Module, node: ast.expr | None, depth: int = 0) -> Reference:  # noqa: PLR0911 - a table
        """Return what the expression *node* of *module* refers to; itself where it is no name."""
        match node:
            case ast.Name():
                return self.lookup(module, node.id, depth)
            case ast.Attribute():
                return self._attribute(module, node.value, node.attr, depth) or node
            case ast.Call(func=ast.Name("getattr"), args=[value, ast.Constant(str(name)), *_]):
                return self._attribute(module, value, name, depth) or node
            case ast.Call(args=[ast.Constant(str(name)), *_]) if self.resolve(module, node.func, depth) in {
                "builtins.__import__",
                "importlib.import_module",
            }:
                return name
            case ast.Subscript(
                value=ast.Call(func=ast.Name("vars"), args=[value]) | ast.Attribute(value=value, attr="__dict__"),
                slice=ast.Constant(str(name)),
            ):
                return self._attribute(module, value, name, depth) or node
            case ast.Subscript():  # a generic type with its arguments
                found = self.resolve(module, node.value, depth)
                return node if isinstance(found, ast.expr) else found
            case ast.Lambda():
                return self.function(module, node)
        return node

    def function(self, module: Module, node: FunctionNode | ast.Lambda) -> Function:
        """Return the function that *node* of *module* defines; the same one each time, with what it has derived."""
        return self._functions.setdefault(id(node), Function(module, node))

    def _attribute(self, module: Module, value: ast.expr, name: str, depth: int) -> Reference:
        base = self.resolve(module, value, depth)
        if isinstance(base, str):
            return f"{base}.{name}"
        return self.lookup(base, name) if isinstance(base, Module) else None

    def dotted(self, module: Module, node: ast.expr | None) -> str:
        """Return the dotted name from elsewhere that *node* refers to; empty for anything else."""
        found = self.resolve(module, node)
        return found if isinstance(found, str) else ""

    def bases(self, kind: Class) -> list[Class]:
        """Return *kind* and the classes of our files that it inherits from, in the order of look-up."""
        found, waiting = [kind], list(kind.node.bases)
        modules = [kind.module] * len(waiting)
        while waiting:
            base, module = self.resolve(modules.pop(0), waiting.pop(0)), None
            if isinstance(base, Class) and all(base.node is not one.node for one in found):
                found.append(base)
                module = base.module
                waiting += base.node.bases
                modules += [module] * len(base.node.bases)
        return found

    def external_bases(self, kind: Class) -> set[str]:
        """Return the dotted names of base classes from elsewhere, of inherited classes too."""
        return {self.dotted(one.module, base) for one in self.bases(kind) for base in one.node.bases} - {""}

    def methods(self, kind: Class) -> dict[str, Function]:
        """Return all methods of *kind*, inherited ones and aliases of functions included."""
        if id(kind.node) in self._methods:
            return self._methods[id(kind.node)]
        found = self._methods[id(kind.node)] = {}
        for one in self.bases(kind):
            for node in one.node.body:
                if isinstance(node, FunctionNode):
                    found.setdefault(node.name, self.function(one.module, node))
                elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                    target = self.resolve(one.module, node.value)
                    if target is node.value and isinstance(node.value, ast.Name):
                        continue
                    if isinstance(target, Function) and isinstance(target.node, FunctionNode):
                        found.setdefault(node.targets[0].id, target)
                    elif isinstance(node.value, ast.Name) and node.value.id in found:
                        found.setdefault(node.targets[0].id, found[node.value.id])
        return found

    def helpers(self, module: Module) -> list[Module]:
        """Return *module* and the files that it imports, directly or through others: the parts of one connector."""
        if module.path in self._helpers:
            return self._helpers[module.path]
        found = [module]
        for one in found:
            for binding in list(one.names.values()):
                if isinstance(binding, Imported):
                    target = self.imported(one, binding)
                    other = target.module if isinstance(target, Class | Function) else target
                    if isinstance(other, Module) and other not in found:
                        found.append(other)
                    elif isinstance(target, ast.expr):
                        found += [each for each in self._owners(target) if each not in found]
        self._helpers[module.path] = found
        return found

    def _owners(self, node: ast.expr) -> list[Module]:
        return [one for one in self._modules.values() if one and any(node is value for value in one.names.values())]


def last_name(dotted: str) -> str:
    """Return the last part of a dotted name."""
    return dotted.rpartition(".")[2]


def is_base(dotted: Reference, *names: str) -> bool:
    """Whether *dotted* is one of *names*, or anything where none are given, from the connectors' base module."""
    return isinstance(dotted, str) and "connectors." in dotted and (not names or last_name(dotted) in names)


def expression_of(text: str) -> ast.expr | None:
    """Return a quoted annotation as an expression; None where it is none."""
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@lru_cache(maxsize=8192)
def text_of(node: ast.AST | None) -> str:
    """Return an annotation or a default as text, `Optional[X]` and quoted annotations in one spelling."""
    if node is None:
        return ""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return f"{text_of(node.left)} | {text_of(node.right)}"
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        quoted = expression_of(node.value)
        return text_of(quoted) if quoted else ast.unparse(node)
    if isinstance(node, ast.Subscript) and last_name(ast.unparse(node.value)) in {"Optional", "Union"}:
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        parts = [text_of(one) for one in inner]
        return " | ".join([*parts, "None"] if last_name(ast.unparse(node.value)) == "Optional" else parts)
    return ast.unparse(node)


def python_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files in *paths*: files as they are, and of folders all `.py` files but hidden ones."""
    for path in paths:
        if path.is_dir():
            parts = (one for one in sorted(path.rglob("*.py")) if not _is_hidden(one.relative_to(path)))
            yield from parts
        else:
            yield path


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)
