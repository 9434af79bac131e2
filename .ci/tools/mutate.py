"""
Change one thing in the product at a time, and see a test fail.

    python .ci/tools/mutate.py                      # everything: each module's score, and each rule's
    python .ci/tools/mutate.py --rules --sample 150 # the short form: every line of a rule, and a sample of the rest
    python .ci/tools/mutate.py --module retry       # one module
    python .ci/tools/mutate.py --module retry --list

A rule's line carries its id, `# R15` or `# R10, R37: why`; each change of that line has to be noticed by a test whose
docstring names the id. Every other change has to be noticed by any test. Nothing is written to the tree, and no
interpreter is started per change: one pytest session collects the tests once, and each change runs in a fork of it. A
change inside a function replaces that function's code there, and runs the tests that were seen to call it. What takes
effect at import (constants, decorators, defaults) is imported anew in the fork, and runs all tests.

Left out by rule: annotations (with the bounds of a `SettingSpec` in them), docstrings, `__all__`, names of type
variables, `assert` (a promise, for the type checker), arguments of `@dataclass` and of a class statement
(`total=False` of a `TypedDict`), and `return` of something that is false anyway.

A change that makes no difference is excused by a comment on its line, or on a line of its own above it, with the
reason. Changed texts between backquotes excuse the changes into those texts alone. An excuse without a change is
reported, and fails the run.

    self._epoch = 0  # equivalent: epochs are compared, not counted
    return None if first else 0  # equivalent: `-1`, `1`: the caller reads the sign alone
"""

import argparse
import ast
import builtins
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import io
import itertools
import json
import os
import re
import signal
import sys
import time
import tokenize
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from types import CodeType, FunctionType
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("middleware", "runtime")
SCORED = (
    "middleware/",
    "runtime/settings/",
    *(f"runtime/connectors/{name}.py" for name in ("base", "binding", "decoding", "endpoint", "page")),
    "runtime/plugins.py",
)
"""Folders and modules of which each change counts."""
LEFT_OUT = {
    "*/__init__.py": "names of other modules, and no code of its own",
    "middleware/_internal/moved.py": "its tests import old names in processes of their own",
    "middleware/policies/redis_limiter.py": "its tests run against real servers, in processes of their own",
    "middleware/telemetry/propagation.py": "loads propagators at its import, in processes of its own",
    "runtime/__main__.py": "runs in processes of its own, which read the code of the tree",
    "runtime/_internal/": "its tests are those of the modules that use it",
    "runtime/_version.py": "a constant",
    "runtime/adapters/": "its tests run against a stand-in of the core, through sockets",
    "runtime/asgi.py": "tested through servers in processes of their own",
    "runtime/cli/": "runs in processes of its own, which read the code of the tree",
    "runtime/compare/": "judged by `benchmarks/document_changes.py`, against what really fails",
    "runtime/config.py": "an old path",
    "runtime/conformance/": "its tests plant violations in a connector, and run it on ours",
    "runtime/connectors/": "connectors of services, written after one template; the loader",
    "runtime/contract/": "each rule is tested by planted violations in many disguises",
    "runtime/exporting.py": "an old path",
    "runtime/openapi/": "its tests are real documents, read whole",
    "runtime/generate/": "its tests are the connectors that it writes: `.ci/run generated` proves them",
    "runtime/forecast/": "checked against the real stack by random policies, and presentation",
    "runtime/gateway/": "a test double, with processes of its own",
    "runtime/settings/rules.py": "texts",
    "runtime/telemetry/": "exports from threads and processes of its own",
    "runtime/testing.py": "what the tests themselves run on: a change of it breaks all of them",
    "runtime/trace_file.py": "an old path",
    "runtime/traces/": "presentation, compared with pictures",
}
"""Every other module, by folder or pattern, and why its lines are tried only where they carry a rule."""
WHOLE = {"auth", "circuit_breaker", "errors", "redaction", "retry", "retry_budget", "status"}
"""Stems of the modules of which every change must be noticed; for the others `SHARE`."""
SHARE = 0.95
# These read the text of the tree; those of tests/cli and tests/gateway start processes, which run the code of the tree.
BLIND = {"tests/test_architecture.py", "tests/test_examples.py", "tests/test_readme.py"}
PATIENCE_S = 10.0
REACH = 0.5
"""Share of the time of all near tests that one change inside a function may take: slow, distant tests do not count."""


# --- what can be changed ----------------------------------------------------------------------------------------------

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_TYPING = {"TypeVar", "ParamSpec"}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """
    One change.

    Attributes:
        path: File, relative to the project.
        index: Its place among all changes of the file.
        line: Line that is changed.
        function: Outermost function whose body is changed; empty for what takes effect at import.
        key: What it is, whatever its line: `path:scope: before -> after`.
        after: The changed text, whole.
    """

    path: str
    index: int
    line: int
    function: str
    key: str
    after: str


@dataclass
class _Finder:
    """Walks a tree and finds what can be changed; with *chosen*, makes that change in place."""

    path: str
    chosen: int = -1
    mutants: list[Mutant] = field(default_factory=list)
    _keys: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def walk(self, node: ast.AST, scope: tuple[str, ...] = (), function: str = "") -> None:
        for name, value in ast.iter_fields(node):
            if _is_left_out(node, name):
                continue
            inner, inside = scope, function
            if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and name == "body":
                inner = (*scope, node.name)
                inside = function or (".".join(inner) if isinstance(node, _FUNCTIONS) else "")
            elif isinstance(node, ast.Assign | ast.AnnAssign) and name == "value" and not function:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                inner = (*scope, ast.unparse(target))
            if isinstance(value, list):
                for index, child in enumerate(value):
                    if isinstance(child, ast.AST):
                        self._visit(child, name, inner, inside, _setter(value, index))
            elif isinstance(value, ast.AST):
                self._visit(value, name, inner, inside, _field_setter(node, name))

    def _visit(
        self, node: ast.AST, place: str, scope: tuple[str, ...], function: str, put: Callable[[ast.AST], None]
    ) -> None:
        if not _is_text_of_code(node):
            for after in _changes(node, place):
                self._add(node, after, scope, function, put)
            self.walk(node, scope, function)

    def _add(
        self, node: ast.AST, after: ast.AST, scope: tuple[str, ...], function: str, put: Callable[[ast.AST], None]
    ) -> None:
        if len(self.mutants) == self.chosen:
            put(ast.copy_location(after, node))
        text = _text(after)
        key = f"{self.path}:{'.'.join(scope)}: {_short(_text(node))} -> {_short(text)}"
        self._keys[key] += 1
        if self._keys[key] > 1:
            key += f" #{self._keys[key]}"
        line: int = getattr(node, "lineno", 0)
        index = len(self.mutants)
        self.mutants.append(Mutant(path=self.path, index=index, line=line, function=function, key=key, after=text))


def _setter(values: list[ast.AST], index: int) -> Callable[[ast.AST], None]:
    return lambda after: values.__setitem__(index, after)


def _field_setter(node: ast.AST, name: str) -> Callable[[ast.AST], None]:
    return lambda after: setattr(node, name, after)


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}…{text[-19:]}"  # noqa: PLR2004 - a line's width


def _is_left_out(node: ast.AST, name: str) -> bool:
    if name in {"annotation", "returns", "type_params"}:
        return True
    if name == "keywords" and isinstance(node, ast.Call):
        return getattr(node.func, "id", "") == "dataclass"
    return name == "keywords" and isinstance(node, ast.ClassDef)


def _is_text_of_code(node: ast.AST) -> bool:
    """Docstrings, `__all__`, imports, names of types, promises: nothing that runs depends on them."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.AnnAssign):
        return getattr(node.annotation, "id", "") == "TypeAlias"
    if isinstance(node, ast.Assign):
        called = node.value.func if isinstance(node.value, ast.Call) else None
        return getattr(node.targets[0], "id", "") == "__all__" or getattr(called, "id", "") in _TYPING
    return False


def _changes(node: ast.AST, place: str) -> Iterator[ast.AST]:
    """Every change of *node* itself; its field in its parent is *place*."""
    if place == "decorator_list":
        yield ast.Name("_kept", ast.Load())
    elif isinstance(node, ast.stmt):
        yield from _statement_changes(node)
    elif isinstance(node, ast.expr):
        yield from _expression_changes(node)
        if place in {"test", "ifs"} and not isinstance(node, ast.Compare | ast.UnaryOp | ast.Constant):
            yield ast.UnaryOp(ast.Not(), node)


def _statement_changes(node: ast.stmt) -> Iterator[ast.AST]:  # noqa: C901 - one branch per kind of node
    if isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and not node.value.value):
            yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Break):
        yield ast.Continue()
    elif isinstance(node, ast.Continue):
        yield ast.Break()
    elif isinstance(node, ast.Raise | ast.Delete):
        yield ast.Pass()
    elif isinstance(node, ast.Expr):
        called = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(called, ast.Call):
            yield ast.Pass()
    elif isinstance(node, ast.AugAssign):
        yield ast.Pass()
        if type(node.op) in _CALCULATED:
            yield ast.AugAssign(node.target, _CALCULATED[type(node.op)](), node.value)
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets):
            yield ast.Pass()


def _expression_changes(node: ast.expr) -> Iterator[ast.AST]:  # noqa: C901 - as above
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            for other in _COMPARED[type(operator)]:
                yield ast.Compare(node.left, [*node.ops[:index], other(), *node.ops[index + 1 :]], node.comparators)
    elif isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.BitOr):
            yield node.left
            yield node.right
        elif type(node.op) in _CALCULATED:
            yield ast.BinOp(node.left, _CALCULATED[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant):
        for value in _other_values(node.value):
            yield ast.Constant(value)


def _other_values(value: object) -> tuple[object, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int | float):
        return (value + 1, value - 1)
    if isinstance(value, str):
        return (f"{value}~",)
    return (value + b"~",) if isinstance(value, bytes) else ()


def mutants_of(path: str) -> list[Mutant]:
    """Every change of a file."""
    finder = _Finder(path)
    finder.walk(ast.parse((ROOT / path).read_text()))
    return finder.mutants


def compiled(mutant: Mutant) -> CodeType:
    """Return the module's code with the change made."""
    tree = ast.parse((ROOT / mutant.path).read_text())
    _Finder(mutant.path, chosen=mutant.index).walk(tree)
    kept = ast.parse("def _kept(thing):\n    return thing\n") if "_kept" in mutant.key else None
    if kept is not None:
        after_docstring = 1 + (isinstance(tree.body[1], ast.ImportFrom) and tree.body[1].module == "__future__")
        tree.body[after_docstring:after_docstring] = kept.body
    return _code(tree, mutant.path)


def commented_lines(path: str) -> dict[int, list[str]]:
    """Comments by the line of code that they belong to: their own, or the next one below a line of its own."""
    found: dict[int, list[str]] = defaultdict(list)
    waiting: list[str] = []
    has_code = 0
    for token in tokenize.generate_tokens(io.StringIO((ROOT / path).read_text()).readline):
        if token.type == tokenize.COMMENT:
            if has_code == token.start[0]:
                found[has_code].append(token.string)
            else:
                waiting.append(token.string)
        elif token.type not in {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}:
            has_code = token.end[0]
            found[token.start[0]] += waiting
            waiting = []
    return found


def marked_lines(path: str) -> dict[int, set[str]]:
    """Ids of rules by the line that they mark."""
    marks: dict[int, set[str]] = defaultdict(set)
    for line, comments in commented_lines(path).items():
        for match in re.finditer(r"# (R\d+(?:, R\d+)*)(?=:|$| *#)", "\n".join(comments), re.MULTILINE):
            marks[line] |= set(match[1].split(", "))
    return marks


@dataclass(frozen=True, kw_only=True)
class Excuse:
    """
    A comment that excuses changes of its line.

    Attributes:
        path: File, relative to the project.
        line: The line.
        texts: Changed texts that it excuses; empty for any.
    """

    path: str
    line: int
    texts: tuple[str, ...]

    def covers(self, mutant: Mutant) -> bool:
        """Whether the change needs no test."""
        here = (mutant.path, mutant.line) == (self.path, self.line)
        return here and (not self.texts or mutant.after in self.texts)

    def unused(self, mutants: Iterable[Mutant]) -> list[str] | None:
        """Its texts that no change has; None when it excuses all that it names, and something."""
        found = {mutant.after for mutant in mutants if (mutant.path, mutant.line) == (self.path, self.line)}
        missing = [text for text in self.texts if text not in found]
        return missing if missing or not found else None


def excuses_of(path: str) -> list[Excuse]:
    """Every `# equivalent: why` of a file."""
    found: list[Excuse] = []
    if "# equivalent: " not in (ROOT / path).read_text():
        return found
    for line, comments in commented_lines(path).items():
        for comment in comments:
            if match := re.search(r"# equivalent: (`[^`]+`(?:, `[^`]+`)*(?=: ))?", comment):
                texts = tuple(match[1].strip("`").split("`, `")) if match[1] else ()
                found.append(Excuse(path=path, line=line, texts=texts))
    return found


def in_any(path: str, patterns: Iterable[str]) -> str:
    """The first of *patterns* that names the module or a folder above it; empty for none."""
    return next((one for one in patterns if fnmatch(path, f"{one}*" if one.endswith("/") else one)), "")


def is_scored(path: str) -> bool:
    """Whether each change of the module counts."""
    return bool(in_any(path, SCORED)) and not path.endswith("/__init__.py")


def modules() -> list[str]:
    """Every module of the product, relative to the project."""
    return sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


# --- the tests --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Job:
    """A change, and the rule whose tests alone must notice it; an empty *rule* means any test."""

    mutant: Mutant
    rule: str = ""


@dataclass(kw_only=True)
class Seen:
    """What one test did when nothing was changed: how long it took, which of our functions it called."""

    seconds: float
    functions: set[str]


class Session:
    """
    Pytest plugin: runs the jobs instead of the tests.

    Args:
        jobs: What to try.
        workers: Forks at a time.
    """

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        self.jobs = jobs
        self.workers = workers
        self.noticed_by: dict[Job, str] = {}
        self._called: set[str] = set()
        builtins.called_functions = self._called  # type: ignore[attr-defined] # where the statements of `_noting` find it
        self._called_at_import: set[str] = set()
        self._functions: dict[tuple[str, str], list[FunctionType]] = {}
        self._seen: dict[str, Seen] = {}
        self._reach_s = 0.0
        self._last_failure = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Make the property tests quick, and the same each time."""
        import hypothesis  # not before pytest, which wants to rewrite its plugin's assertions

        hypothesis.settings.register_profile(
            "mutation", derandomize=True, max_examples=30, database=None, deadline=None
        )
        hypothesis.settings.load_profile("mutation")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that can count: where only lines of rules are changed, those that name one of the rules."""
        if all(job.rule for job in self.jobs):
            rules = {job.rule for job in self.jobs}
            items[:] = [item for item in items if any(_names(item, rule) for rule in rules)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the name of a test that failed."""
        if report.failed:
            self._last_failure = report.nodeid

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run every job in a fork of this session."""
        self._called_at_import = set(self._called)
        self._functions = _our_functions()
        for line in _lines_of(_fork(lambda write: self._watch_tests(session, write))[1]):
            name, seconds, functions = json.loads(line)
            self._seen[name] = Seen(seconds=seconds, functions=set(functions))
        if len(self._seen) != len(session.items):
            raise pytest.UsageError(f"fails without any change: {session.items[len(self._seen)].nodeid}")
        os.wait()
        self._reach_s = REACH * sum(seen.seconds for seen in self._seen.values())
        self._run_jobs(session)
        return True

    def _watch_tests(self, session: pytest.Session, write: Callable[[str], None]) -> None:
        for index, item in enumerate(session.items):
            self._called.clear()
            started = time.monotonic()
            if not self._passes(session, item, session.items[index + 1 : index + 2]):
                return
            write(json.dumps([item.nodeid, time.monotonic() - started, sorted(self._called)]))

    def _passes(self, session: pytest.Session, item: pytest.Item, following: Sequence[pytest.Item]) -> bool:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following[0] if following else None)
        return not session.testsfailed

    def _run_jobs(self, session: pytest.Session) -> None:
        running: dict[int, tuple[Job, int]] = {}
        waiting = list(self.jobs)
        started, done = time.monotonic(), 0
        while waiting or running:
            while waiting and len(running) < self.workers:
                job = waiting.pop(0)
                pid, read = _fork(lambda write, job=job: self._try(session, job, write))  # type: ignore[misc]
                running[pid] = job, read
            pid, status = os.wait()
            job, read = running.pop(pid)
            said = "".join(_lines_of(read))
            done += 1
            if os.WIFSIGNALED(status):
                said = f"no end ({signal.Signals(os.WTERMSIG(status)).name})"
            self.noticed_by[job] = said
            if not said:
                _show(f"SURVIVED {job.mutant.path}:{job.mutant.line} {job.rule} {job.mutant.key.partition(':')[2]}")
            if done % 100 == 0:
                _show(f"... {done} of {len(self.jobs)} in {time.monotonic() - started:.0f} s")

    def _try(self, session: pytest.Session, job: Job, write: Callable[[str], None]) -> None:
        """Say which test notices the change; say nothing when none does."""

        def counts(item: pytest.Item) -> bool:
            return _names(item, job.rule) if job.rule else _distance(item, job.mutant) < _FAR

        items = [item for item in session.items if counts(item)]
        items.sort(key=lambda item: (_distance(item, job.mutant), self._seen[item.nodeid].seconds))
        code, where = compiled(job.mutant), f"{job.mutant.path}:{job.mutant.function}"
        functions = self._functions.get((code.co_filename, job.mutant.function), [])
        if where not in self._called_at_import and _replace(functions, code, job.mutant.function):
            items = [item for item in items if where in self._seen[item.nodeid].functions]
            items = items if job.rule else self._within_reach(items)
            for index, item in enumerate(items):
                signal.setitimer(signal.ITIMER_REAL, PATIENCE_S + 10 * self._seen[item.nodeid].seconds)
                if not self._passes(session, item, items[index + 1 : index + 2]):
                    write(self._last_failure)
                    return
            return
        sys.meta_path[0] = _Importer(lambda path: code if path == job.mutant.path else None)
        seconds: dict[str, float] = defaultdict(float)
        for item in items:
            seconds[str(item.path)] += self._seen[item.nodeid].seconds
        own = str(items[0].path) if items else ""
        for file in sorted(seconds, key=lambda file: (file != own, seconds[file])):
            signal.setitimer(signal.ITIMER_REAL, 3 * PATIENCE_S + 10 * seconds[file])
            if found := _noticed_anew(file, job.rule):
                write(found)
                return

    def _within_reach(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """The first tests, as many as take their share together; a module's own tests come first, slow ones last."""
        ends = itertools.accumulate(self._seen[item.nodeid].seconds for item in items)
        return [item for item, end in zip(items, ends, strict=True) if end <= self._reach_s or item is items[0]]


OPTIONS = ["-q", "-s", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
# A session inside a session finds the plugins imported already.
INNER = [*OPTIONS, "-x", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


def _noticed_anew(file: str, rule: str) -> str:
    """Import everything once more and run the tests of a file; return the one that fails."""
    _forget_our_modules()
    first = _FirstFailure()
    result = pytest.main([*INNER, *(["--rule", rule] if rule else []), file], plugins=[first])
    fine = result in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    return "" if fine else first.name or "import"


class _FirstFailure:
    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid


def _names(item: pytest.Item, rule: str) -> bool:
    text = getattr(getattr(item, "function", None), "__doc__", None) or ""
    return re.search(rf"\b{rule}\b", text) is not None


_FAR = 3
"""Tests of other parts of the product: that one of them notices a change by chance proves nothing."""


def _distance(item: pytest.Item, mutant: Mutant) -> int:
    """How far a test is from the module: its own tests, those of its part, those of the whole, those of the rest."""
    if item.path.stem == f"test_{Path(mutant.path).stem}":
        return 0
    folders = item.path.relative_to(ROOT / "tests").parts[:-1]
    if not folders:
        return 2
    return 1 if folders[0] == _part(mutant.path) else _FAR


def _part(path: str) -> str:
    """Folder of `tests` for a module: `middleware`, else that of the runtime's part."""
    top, *folders, _ = path.split("/")
    return folders[0] if top == "runtime" and folders else top


def _our_functions() -> dict[tuple[str, str], list[FunctionType]]:
    """Every function object there is, by file and name, those that the test suite has frozen among them."""
    gc.unfreeze()
    found: dict[tuple[str, str], list[FunctionType]] = defaultdict(list)
    for thing in gc.get_objects():
        if type(thing) is FunctionType:
            found[thing.__code__.co_filename, thing.__code__.co_qualname].append(thing)
    return found


def _replace(functions: Sequence[FunctionType], code: CodeType, name: str) -> bool:
    """Give *functions* the changed code, each that of its line; False when this cannot be done."""
    changed = {new.co_firstlineno: new for new in _codes(code) if new.co_qualname == name}
    try:
        for function in functions:
            function.__code__ = changed[function.__code__.co_firstlineno]
    except (KeyError, ValueError):  # other free variables than before
        return False
    return bool(functions)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _forget_our_modules() -> None:
    ours = [name for name, module in sys.modules.items() if _is_ours(getattr(module, "__file__", None))]
    for name in ours:
        del sys.modules[name]


def _is_ours(file: str | None) -> bool:
    return file is not None and file.startswith(tuple(f"{ROOT / top}{os.sep}" for top in (*PACKAGES, "tests")))


def _noting(path: str) -> CodeType:
    """Return a module's code in which each outermost function notes that it was called."""
    tree = ast.parse((ROOT / path).read_text())
    scopes: list[tuple[tuple[str, ...], ast.AST]] = [((), tree)]
    while scopes:
        scope, node = scopes.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _FUNCTIONS):
                where = f"{path}:{'.'.join((*scope, child.name))}"
                note = ast.parse(f"called_functions.add({where!r})").body
                start = int(ast.get_docstring(child) is not None)
                child.body[start:start] = note
            elif isinstance(child, ast.ClassDef | ast.If):
                scopes.append(((*scope, child.name) if isinstance(child, ast.ClassDef) else scope, child))
    return _code(tree, path)


def _code(tree: ast.Module, path: str) -> CodeType:
    code: CodeType = compile(ast.fix_missing_locations(tree), str(ROOT / path), "exec")
    return code


class _Importer(importlib.abc.MetaPathFinder):
    """
    Imports modules of our packages from other code than that of the tree.

    Args:
        code_of: The code of a file; None does not change it.
    """

    def __init__(self, code_of: Callable[[str], CodeType | None]) -> None:
        self._code_of = code_of

    def find_spec(self, name: str, _path: object, _target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module of ours."""
        base = name.replace(".", "/")
        path = next((one for one in (f"{base}.py", f"{base}/__init__.py") if (ROOT / one).is_file()), "")
        if name.partition(".")[0] not in PACKAGES or not path:
            return None
        code = self._code_of(path)
        return code and importlib.util.spec_from_file_location(name, ROOT / path, loader=_Loader(name, path, code))


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, str(ROOT / path))
        self._changed = code

    def get_code(self, _name: str) -> CodeType:  # type: ignore[override]
        return self._changed


def _fork(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Do *work* in a fork; return its process id, and the end of a pipe that gives what it writes."""
    read, write = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    return _child(work, read, write)


def _child(work: Callable[[Callable[[str], None]], None], read: int, write: int) -> NoReturn:
    os.close(read)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    with os.fdopen(write, "w") as pipe:
        try:
            work(lambda line: print(line, file=pipe, flush=True))
        except BaseException as error:  # noqa: BLE001 - whatever a changed product raises, it was noticed
            print(f"{type(error).__name__} out of the test", file=pipe, flush=True)
    os._exit(0)


def _lines_of(read: int) -> list[str]:
    with os.fdopen(read) as pipe:
        return pipe.read().splitlines()


def _show(text: str) -> None:
    print(text, flush=True)


# --- the run ----------------------------------------------------------------------------------------------------------


def chosen_jobs(arguments: argparse.Namespace) -> list[Job]:
    """Return what is to be tried."""
    everything = not (arguments.rules or arguments.sample)
    of_rules: list[Job] = []
    others: list[Job] = []
    for path in modules():
        marks, excuses = marked_lines(path), excuses_of(path)
        if not (marks or is_scored(path)) or (arguments.module and Path(path).stem != arguments.module):
            continue
        for mutant in mutants_of(path):
            if any(excuse.covers(mutant) for excuse in excuses) or not re.search(arguments.match, mutant.key):
                continue
            of_rules += [Job(mutant=mutant, rule=rule) for rule in sorted(marks.get(mutant.line, ()))]
            if is_scored(path):
                others.append(Job(mutant=mutant))
    if arguments.sample:
        others = sorted(others, key=lambda job: zlib.crc32(job.mutant.key.encode()))[: arguments.sample]
    elif not everything:
        others = []
    return [*(of_rules if everything or arguments.rules else []), *others]


def unused_excuses() -> list[str]:
    """Places of excuses that excuse no change, with the texts that no change has."""
    return [
        f"{path}:{excuse.line}" + "".join(f" `{text}`" for text in unused)
        for path in modules()
        if (excuses := excuses_of(path))
        for mutants in [mutants_of(path)]
        for excuse in excuses
        if (unused := excuse.unused(mutants)) is not None
    ]


def report(noticed_by: dict[Job, str]) -> bool:
    """Print the scores; True when each is high enough."""
    good = True
    by_rule: dict[str, list[Job]] = defaultdict(list)
    by_module: dict[str, list[Job]] = defaultdict(list)
    for job in noticed_by:
        (by_rule[job.rule] if job.rule else by_module[job.mutant.path]).append(job)
    for rule in sorted(by_rule, key=lambda rule: int(rule[1:])):
        noticed = sum(bool(noticed_by[job]) for job in by_rule[rule])
        good &= noticed == len(by_rule[rule])
        print(f"{rule:5} {noticed:4} of {len(by_rule[rule]):4} noticed by its tests")
    counted = [0, 0]
    for path, jobs in sorted(by_module.items()):
        noticed, excuses = sum(bool(noticed_by[job]) for job in jobs), len(excuses_of(path))
        if Path(path).stem in WHOLE:
            good &= noticed == len(jobs)
        else:
            counted[0] += noticed
            counted[1] += len(jobs)
        share = noticed / len(jobs)
        print(f"{path:50} {noticed:4} of {len(jobs):4} noticed, {share:6.1%}; {excuses} excuses")
    if counted[1]:
        print(f"all but those that must be whole: {counted[0] / counted[1]:.1%}")
        good &= counted[0] / counted[1] >= SHARE
    return good


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    made.add_argument("--module", default="", help="stem of one module, for example `retry`")
    made.add_argument("--match", default="", help="regular expression: changes whose text in --list it finds")
    made.add_argument("--rules", action="store_true", help="lines of rules")
    made.add_argument("--sample", type=int, default=0, help="how many other changes; always the same ones")
    made.add_argument("--jobs", type=int, default=1, help="changes tried at a time")
    made.add_argument("--list", action="store_true", help="print the changes and try none")
    made.add_argument("--verbose", action="store_true", help="print which test noticed what")
    return made


def main() -> int:
    """Run what the command line asks for."""
    arguments = parser().parse_args()
    jobs, stale = chosen_jobs(arguments), unused_excuses()
    for place in stale:
        print(f"an excuse that excuses no change: {place}")
    if arguments.list:
        for job in jobs:
            print(f"{job.mutant.path}:{job.mutant.line} {job.rule} {job.mutant.key.partition(':')[2]}")
        return bool(stale)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, _Importer(_noting))
    started = time.monotonic()
    session = Session(jobs, arguments.jobs)
    parts = {"tests/middleware", "tests/connectors", "tests/settings"}
    if not any(job.rule for job in jobs):
        parts &= {f"tests/{_part(job.mutant.path)}" for job in jobs}
    tests = [*sorted(parts), *sorted(map(str, Path("tests").glob("test_*.py")))]
    if pytest.main([*OPTIONS, *(test for test in tests if test not in BLIND)], plugins=[session]) != pytest.ExitCode.OK:
        return 2
    if arguments.verbose:
        for job, name in session.noticed_by.items():
            print(f"{job.mutant.path}:{job.mutant.line} {job.rule} {job.mutant.key.partition(':')[2]}: {name}")
    good = report(session.noticed_by)
    print(f"{len(jobs)} changes in {time.monotonic() - started:.0f} s")
    return not good or bool(stale)


if __name__ == "__main__":
    sys.exit(main())
