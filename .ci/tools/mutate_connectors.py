"""
Break the contract in our connectors, one place at a time, and see `python3 -m runtime check --strict` find it, or else
the tests that `runtime.conformance` generates for the changed connector.

    python3 .ci/tools/mutate_connectors.py            # every operator at every place: a table, and what is not found
    python3 .ci/tools/mutate_connectors.py --list     # every change, with the rules that found it
    python3 .ci/tools/mutate_connectors.py --every 20 # a sample

Fails below 95 %. Nothing is written to the tree. Only a change that the check does not find is run.
"""

import argparse
import ast
import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from runtime.contract import Severity, check_paths

CONNECTORS = ROOT / "runtime" / "connectors"
NAMES = ("billing", "discovery", "hosting", "identity", "payment", "service")
LEAST = 0.95
METHODS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Mutant(NamedTuple):
    """One change: of which connector, by which operator, where, and the changed text."""

    connector: str
    operator: str
    place: str
    text: str


class File:
    """A connector's text, with its classes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self.lines = [0]
        for line in text.encode().splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def at(self, line: int, column: int) -> int:
        """Return the position in bytes of a line and a column."""
        return self.lines[line - 1] + column

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return where a node begins and ends."""
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def source(self, node: ast.AST) -> str:
        """Return the text of a node."""
        start, end = self.span(node)
        return self.text.encode()[start:end].decode()

    def spliced(self, *changes: tuple[int, int, str]) -> str:
        """Return the text with each range replaced."""
        found = self.text.encode()
        for start, end, new in sorted(changes, reverse=True):
            found = found[:start] + new.encode() + found[end:]
        return found.decode()

    def methods(self, role: str) -> Iterator[ast.AsyncFunctionDef]:
        """Public methods of the Protocol (`""`), the managed class (`Managed`) or the mock (`Mock`)."""
        for kind in self.tree.body:
            if isinstance(kind, ast.ClassDef) and re.fullmatch(rf"{role}(?!Managed|Mock)[A-Z]\w*Connector", kind.name):
                yield from (one for one in kind.body if isinstance(one, METHODS) and not one.name.startswith("_"))

    def calls(self) -> Iterator[tuple[ast.AsyncFunctionDef, ast.Call]]:
        """Calls of the client in the managed class."""
        for method in self.methods("Managed"):
            for node in ast.walk(method):
                if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("self._http."):
                    yield method, node

    def endpoints(self) -> dict[str, ast.Call]:
        """Each `Endpoint(…)` by its name."""
        return {
            node.targets[0].id: node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func) == "Endpoint"
        }

    def before_body(self, method: ast.AsyncFunctionDef, line: str) -> str:
        """Return the text with *line* as the first statement behind the docstring."""
        first = method.body[1] if len(method.body) > 1 else method.body[0]
        start = self.at(first.lineno, 0)
        return self.spliced((start, start, f"        {line}\n"))

    def without(self, method: ast.AsyncFunctionDef) -> str:
        """Return the text without a method."""
        return self.spliced((self.at(method.lineno, 0), self.at(method.end_lineno + 1, 0), ""))


Changes = Iterator[tuple[str, str]]


def drop_keyword(file: File) -> Changes:
    """Drop each keyword of each call of the client."""
    for method, call in file.calls():
        for index, keyword in enumerate(call.keywords):
            others = [file.source(one) for one in (*call.args, *call.keywords[:index], *call.keywords[index + 1 :])]
            changed = f"{ast.unparse(call.func)}({', '.join(others)})"
            yield f"{method.name}: {keyword.arg}", file.spliced((*file.span(call), changed))


def rename_keyword(file: File) -> Changes:
    """Rename each."""
    for method, call in file.calls():
        for keyword in call.keywords:
            start, _ = file.span(keyword)
            yield f"{method.name}: {keyword.arg}", file.spliced((start, start + len(keyword.arg), f"{keyword.arg}_"))


def constant_for_forwarded(file: File) -> Changes:
    """Pass None instead of the token, or of the id."""
    for method, call in file.calls():
        for keyword in call.keywords:
            if keyword.arg in {"user_jwt", "correlation_id"}:
                yield f"{method.name}: {keyword.arg}", file.spliced((*file.span(keyword.value), "None"))


def f_string_for_path_params(file: File) -> Changes:
    """Fill the path in by hand."""
    endpoints = file.endpoints()
    for method, call in file.calls():
        values = next((one.value for one in call.keywords if one.arg == "path_params"), None)
        if isinstance(values, ast.Dict):
            verb, path, _, decode = endpoints[call.args[0].id].args[:4]
            filled = path.value
            for key, value in zip(values.keys, values.values, strict=True):
                filled = filled.replace("{" + key.value + "}", "{" + ast.unparse(value) + "}")
            others = [file.source(one) for one in call.keywords if one.arg not in {"path_params", "skip", "limit"}]
            arguments = ", ".join([f'f"{filled}"', f"decode={ast.unparse(decode)}", *others])
            yield method.name, file.spliced((*file.span(call), f"self._http.{verb.value.lower()}({arguments})"))


def missing_method(file: File) -> Changes:
    """Delete each method from the Protocol, the managed class and the mock."""
    for role in ("", "Managed", "Mock"):
        for method in file.methods(role):
            yield f"{role or 'Protocol'}.{method.name}", file.without(method)


def extra_method(file: File) -> Changes:
    """Add another method to one of them."""
    for role in ("", "Managed", "Mock"):
        for method in file.methods(role):
            start = file.at(method.lineno, 0)
            copied = file.text.encode()[start : file.at(method.end_lineno + 1, 0)].decode()
            copied = copied.replace(f"def {method.name}(", f"def {method.name}_again(") + "\n"
            yield f"{role or 'Protocol'}.{method.name}", file.spliced((start, start, copied))


def changed_default(file: File) -> Changes:
    """Change each default."""
    for role in ("", "Managed", "Mock"):
        for method in file.methods(role):
            pairs = [*zip(method.args.kwonlyargs, method.args.kw_defaults, strict=True)]
            pairs += zip(reversed(method.args.args), reversed(method.args.defaults), strict=False)
            for argument, default in pairs:
                if default is not None:
                    text = {"None": '""', "''": '"x"'}.get(ast.unparse(default), "None")
                    yield (
                        f"{role or 'Protocol'}.{method.name}: {argument.arg}",
                        file.spliced((*file.span(default), text)),
                    )


def positional_for_keyword_only(file: File) -> Changes:
    """Remove the `*` of each method; pass each keyword of each call by position."""
    for role in ("", "Managed", "Mock"):
        for method in file.methods(role):
            start, end = file.at(method.lineno, 0), file.span(method.returns)[0]
            header = file.text.encode()[start:end].decode()
            yield (
                f"{role or 'Protocol'}.{method.name}",
                file.spliced((start, end, re.sub(r"\*,\s*", "", header, count=1))),
            )
    for method, call in file.calls():
        for keyword in call.keywords:
            others = [file.source(one) for one in call.keywords if one is not keyword]
            arguments = ", ".join([*(file.source(one) for one in call.args), file.source(keyword.value), *others])
            yield (
                f"call in {method.name}: {keyword.arg}",
                file.spliced((*file.span(call), f"{ast.unparse(call.func)}({arguments})")),
            )


def raw_dict_returned(file: File) -> Changes:
    """Return a dict, or the document as it came; annotate a dict."""
    for role in ("Managed", "Mock"):
        for method in file.methods(role):
            for node in ast.walk(method):
                if isinstance(node, ast.Return) and not ast.unparse(method.returns).startswith("dict"):
                    yield f"{role}.{method.name}: literal", file.spliced((*file.span(node.value), '{"id": "x"}'))
                if isinstance(node, ast.Return) and role == "Managed" and ast.unparse(method.returns) != "bool":
                    raw = 'await self._http.get("/api/x", user_jwt=user_jwt, correlation_id=correlation_id)'
                    yield f"{role}.{method.name}: document", file.spliced((*file.span(node.value), raw))
            yield f"{role}.{method.name}: annotation", file.spliced((*file.span(method.returns), "dict[str, Any]"))


def environment(file: File) -> Changes:
    """Read the environment in each method."""
    for role in ("Managed", "Mock"):
        for method in file.methods(role):
            text = file.before_body(method, 'region = os.environ.get("REGION")')
            yield f"{role}.{method.name}", text.replace("from typing import", "import os\nfrom typing import", 1)


def literal_url(file: File) -> Changes:
    """Name a host in each path."""
    for name, endpoint in file.endpoints().items():
        start, _ = file.span(endpoint.args[1])
        yield name, file.spliced((start + 1, start + 1, "https://api.example.com"))


def raise_in_mock(file: File) -> Changes:
    """Raise in each method of the mock, always and on a path."""
    for method in file.methods("Mock"):
        yield f"{method.name}: first", file.before_body(method, 'raise RuntimeError("x")')
        yield f"{method.name}: on a path", file.before_body(method, 'if not correlation_id: raise RuntimeError("x")')


def state_on_self(file: File) -> Changes:
    """Store into an attribute, or into a dictionary of one."""
    for method in file.methods("Managed"):
        yield f"{method.name}: attribute", file.before_body(method, "self._last = correlation_id")
        yield f"{method.name}: dictionary", file.before_body(method, "self._seen[correlation_id] = user_jwt")


OPERATORS: dict[str, Callable[[File], Changes]] = {
    "drop a forwarded keyword": drop_keyword,
    "rename a forwarded keyword": rename_keyword,
    "constant for a forwarded value": constant_for_forwarded,
    "f-string for path_params": f_string_for_path_params,
    "missing method": missing_method,
    "extra method": extra_method,
    "changed default": changed_default,
    "positional for keyword-only": positional_for_keyword_only,
    "raw dict returned": raw_dict_returned,
    "os.environ": environment,
    "literal URL": literal_url,
    "raise in a mock": raise_in_mock,
    "state on self": state_on_self,
}


def mutants() -> Iterator[Mutant]:
    """Every operator at every place where it fits."""
    for name in NAMES:
        file = File((CONNECTORS / f"{name}.py").read_text())
        for operator, change in OPERATORS.items():
            for place, text in change(file):
                if text != file.text:
                    ast.parse(text)
                    yield Mutant(name, operator, place, text)


def rules(mutant: Mutant, folder: Path) -> list[str]:
    """Ids of the rules that find *mutant*; *folder* has the registry."""
    path = folder / f"{mutant.connector}.py"
    path.write_text(mutant.text)
    found = check_paths([path], strict=True)
    path.unlink()
    return sorted({one.rule for one in found if one.severity is Severity.ERROR})


def failed_tests(mutant: Mutant) -> list[str]:
    """Names of the generated tests that find *mutant*; its first operation that fails a test is enough."""
    from runtime.conformance import Conformance
    from runtime.conformance.suite import suite_of
    from runtime.connectors.registry import Connector

    name = f"runtime.connectors.{mutant.connector}_mutant"
    module = types.ModuleType(name)
    module.__package__ = "runtime.connectors"  # where it imports `.base` from
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(compile(mutant.text, name, "exec"), vars(module))  # noqa: S102 - our own text, changed by us
        title = mutant.connector.title()
        classes = [getattr(module, f"{role}{title}Connector") for role in ("Managed", "Mock")]
        suite = suite_of(Conformance(Connector(mutant.connector, *classes)))()
        for operation in suite.subject.operations:
            for test in (one for one in dir(suite) if one.startswith("test_")):
                getattr(suite, test)(operation)
    except BaseException as error:  # noqa: BLE001 - pytest's failures among them
        return [f"plugin: {type(error).__name__}"]
    finally:
        del sys.modules[name]
    return []


def main() -> int:
    """Print the table; 1 below the least share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print every change")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th change")
    options = parser.parse_args()
    scores: dict[str, list[bool]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "registry.py").write_text((CONNECTORS / "registry.py").read_text())
        for mutant in list(mutants())[:: options.every]:
            found = rules(mutant, folder) or failed_tests(mutant)
            scores.setdefault(mutant.operator, []).append(bool(found))
            if options.list or not found:
                print(f"{mutant.connector:10} {mutant.operator:32} {mutant.place:50} {', '.join(found) or 'NOT FOUND'}")
    for operator, results in scores.items():
        print(f"{operator:32} {sum(results):5} of {len(results):5}")
    every = [one for results in scores.values() for one in results]
    share = sum(every) / len(every)
    print(f"{'all':32} {sum(every):5} of {len(every):5}: {share:.1%}")
    return 0 if share >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
