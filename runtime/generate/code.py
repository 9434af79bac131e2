"""Writes a connector's source, tests and package, as a person would who follows the contract's template."""

import json
import re
import shutil
import subprocess
import sysconfig
import tempfile
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from runtime._internal.installation import install_command
from runtime.openapi import snake
from runtime.openapi.names import unique

from .plan import Argument, Enumeration, Method, Model, Plan, Type, wire_names

__all__ = ["connector_files", "formatted", "read_as"]

_WIDTH = 120
_IMPORTED = {"datetime": ("date", "datetime", "time", "timedelta", "UTC"), "decimal": ("Decimal",), "uuid": ("UUID",)}
_SECRET = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)  # ruff's S105
_PLAIN = {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "×": "x", "\u00a0": " "}  # noqa: RUF001 - what is replaced
# Sorted imports, then layout, then a `noqa` where the document's own names make a finding.
_RUFF = (
    ("check", "--select", "I,F401", "--fix-only"),
    ("format",),
    ("check", "--select", "ARG002,E501,PLR0917,S105,S107", "--add-noqa"),
)
_BANNER = f"# {'=' * 76}"


def connector_files(plan: Plan) -> dict[str, str]:
    """
    Return the files of a connector's package, by their path.

    Raises:
        RuntimeError: ruff is not installed.
    """
    writer = _Writer(plan)
    package = f"{plan.options.name}_connector"
    module, test = formatted([writer.module(), writer.tests(package)])
    return {
        "pyproject.toml": _pyproject(plan, package),
        f"{package}/__init__.py": module,
        f"{package}/py.typed": "",
        f"tests/test_{package}.py": test,
        "GENERATED.md": _report(plan),
    }


def formatted(sources: Sequence[str]) -> list[str]:
    """
    Return Python sources as `ruff format` writes them, with sorted imports.

    Raises:
        RuntimeError: ruff is not installed, or a source is no Python.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"source_{number}.py") for number in range(len(sources))]
        for path, source in zip(paths, sources, strict=True):
            path.write_text(source, encoding="utf-8")
        common = ["--quiet", "--isolated", "--no-cache", "--line-length", str(_WIDTH), "--target-version", "py311"]
        for command in _RUFF:
            run = subprocess.run(  # noqa: S603 - ruff of this environment
                [_ruff(), *command, *common, *map(str, paths)],
                capture_output=True,
                text=True,
                check=False,
                cwd=folder,  # so that nothing next to the caller counts as first party
            )
            if run.returncode:
                raise RuntimeError(f"ruff {command[0]}: {run.stderr.strip() or run.stdout.strip()}")
        return [path.read_text(encoding="utf-8") for path in paths]


def _ruff() -> str:
    found = shutil.which("ruff", path=sysconfig.get_path("scripts")) or shutil.which("ruff")
    if found is None:
        raise RuntimeError(f"ruff is not installed: {install_command('generate')}")
    return found


class _Writer:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        name = plan.options.name
        self._title = " ".join(part.capitalize() for part in name.split("_"))
        self._class = self._title.replace(" ", "")
        self._models = {one.name: one for one in plan.models}
        self._enums = {one.name: one for one in plan.enums}
        self._decoders: dict[str, str] = {}
        self._names = self._all_names()
        self._variants = [one for one in plan.models if one.variants]

    # --- the module -------------------------------------------------------------------------------------------------

    def module(self) -> str:
        for method in self._plan.methods:
            if method.result is not None:
                self._decoder(method.result)
        body = [
            *self._all(),
            *self._section("DATA MODELS", [*map(self._enum, self._plan.enums), *map(self._model, self._plan.models)]),
            *self._section("CONNECTOR INTERFACE (Protocol)", [self._protocol()]),
            *self._section("ENDPOINTS", [self._endpoints()]),
            *self._section("MANAGED IMPLEMENTATION (Real API calls)", [self._managed()]),
            *self._section("MOCK IMPLEMENTATION (Self-hosted mode)", [self._mock()]),
            self._declaration(),
        ]
        text = "\n\n".join(body)
        return "\n".join([self._head(), self._imports(text), "", text, ""])

    def _declaration(self) -> str:
        classes = f"Managed{self._class}Connector, Mock{self._class}Connector"
        name = json_text(self._plan.options.name)
        return f"{self._constant()}: Connector[{self._class}Connector] = Connector({name}, {classes})"

    def _constant(self) -> str:
        return self._plan.options.name.upper()

    def _head(self) -> str:
        api = self._plan.api
        title = f"{self._title} Connector"
        named = f"{api.title} {api.api_version}".strip() or f"{self._title}.API"
        lines = ['"""', title, "=" * len(title), "", *_wrapped(f"Connects to {_clean(named)}.", 0), "", "Endpoints:"]
        lines += [f"- {one.operation.method} {one.path}" for one in self._plan.methods]
        return "\n".join([*lines, '"""', "", "from __future__ import annotations", ""])

    def _imports(self, text: str) -> str:
        lines = [
            "from dataclasses import dataclass, field",
            *_imports_of_types(text),
            "from typing import Any, Protocol",
        ]
        base = ["Endpoint", "OpenIntEnum", "OpenStrEnum", "PlatformHttpClient", "Spellings", "UnknownKeys", "Variants"]
        base += ["body_of", "completed", "decoder", "joined", "wrong_type"]
        lines.append(f"from runtime.connectors.base import {', '.join(_used(base, text))}")
        lines.append("from runtime.connectors.registry import Connector")
        return "\n".join(lines)

    def _all(self) -> list[str]:
        names = [
            self._constant(),
            *self._enums,
            *self._models,
            *(f"{kind}{self._class}Connector" for kind in ("", "Managed", "Mock")),
        ]
        return [f"__all__ = [{', '.join(json_text(one) for one in sorted(names, key=_order))}]"]

    def _section(self, title: str, parts: Iterable[str]) -> list[str]:
        found = [one for one in parts if one]
        return [f"{_BANNER}\n# {title}\n{_BANNER}", *found] if found else []

    # --- models -----------------------------------------------------------------------------------------------------

    def _enum(self, one: Enumeration) -> str:
        base = "OpenStrEnum" if one.is_text else "OpenIntEnum"
        lines = [
            f"class {one.name}({base}):",
            *_docstring(one.description or f"Values of {one.name}; others are kept.", 4),
            "",
        ]
        for name, value in one.members.items():
            lines.append(f"    {name} = {json_text(value) if one.is_text else value}")
        return "\n".join(lines)

    def _model(self, one: Model) -> str:
        bases = f"({', '.join(one.bases)})" if one.bases else ""
        lines = ["@dataclass(kw_only=True)", f"class {one.name}{bases}:"]
        described = [row for row in one.fields if row.description]
        text = one.description or self._described(one)
        attributes = [f"{row.name}: {_clean(row.description)}" for row in described]
        lines += _docstring(text, 4, ("Attributes:", attributes) if attributes else None)
        lines.append("")
        for row in one.fields:
            secret = ", repr=False" if _SECRET.search(row.name) and row.type.text == "str" and not row.is_tag else ""
            default = f" = {row.default}" if row.default else ""
            if secret:
                default = f" = field(default={row.default}{secret})" if row.default else " = field(repr=False)"
            lines.append(f"    {row.name}: {row.annotation}{default}")
        return "\n".join(lines)

    def _described(self, one: Model) -> str:
        if one.variants:
            return "One of its subclasses; what is none of them has its keys in `extra`."
        names = [row.wire for row in one.fields if row.wire]
        shown = ", ".join(f'"{name}"' for name in names[:6]) + (", ..." if len(names) > 6 else "")  # noqa: PLR2004 - a line
        return f"As on the wire: `{{{shown}}}`." if names else "A document whose keys are in `extra`."

    # --- methods ----------------------------------------------------------------------------------------------------

    def _signature(self, method: Method, *, mock: bool = False) -> str:
        first = [one for one in method.arguments if one.location == "path"]
        rest = [one for one in method.arguments if one.location != "path"]
        rest.sort(key=lambda one: bool(one.default))
        rows = [f"{one.name}: {one.annotation}" for one in first]
        if method.body is not None and not method.body_optional:
            rows.append(f"request: {method.body.text}")
        keyword = [f"{one.name}: {one.annotation}{f' = {one.default}' if one.default else ''}" for one in rest]
        if method.body is not None and method.body_optional:
            keyword.append(f"request: {method.body.optional} = None")
        keyword += ["user_jwt: str | None = None", 'correlation_id: str = ""']
        result = "bool" if method.result is None else method.result.text
        if mock:  # each in a line of its own, as the comments are that ruff adds
            lines = ["self,", *(f"{row}," for row in rows), "*,", *(f"{row}," for row in keyword)]
            return "\n".join([f"    async def {method.name}(", *lines, f"    ) -> {result}:"])
        return f"    async def {method.name}({', '.join(['self', *rows, '*', *keyword])}) -> {result}:"

    def _summary(self, method: Method) -> str:
        one = method.operation
        text = _first(one.summary) or _first(one.description) or f"Call {one.method} {one.path}."
        text = text if text.endswith((".", "!", "?")) else f"{text}."
        return f"{text} Deprecated." if one.deprecated else text

    def _protocol(self) -> str:
        title = _clean(self._plan.api.title) or f"{self._title}.API"
        lines = [
            f"class {self._class}Connector(Protocol):",
            *_docstring(f"{title}; implemented for managed and mock mode.", 4),
        ]
        for method in self._plan.methods:
            rows = []
            if any(one.description for one in method.arguments):
                rows = [f"{one.name}: {_sentence(one.description) or 'As on the wire.'}" for one in method.arguments]
                if method.body is not None:
                    rows.append("request: The body.")
                rows += ["user_jwt: The caller's token.", "correlation_id: Sent with the request."]
            lines += ["", self._signature(method)]
            lines += [*_docstring(self._summary(method), 8, ("Args:", rows) if rows else None), "        ..."]
        return "\n".join(lines)

    def _managed(self) -> str:
        name = self._plan.api.title or f"{self._title}.API"
        lines = [f"class Managed{self._class}Connector:"]
        lines += _docstring(
            f"Production connector that calls {_clean(name)}; every method raises `CallError` on failure.\n\n"
            "Used when MOZAIKS_MANAGED=true.",
            4,
        )
        lines += ["", "    def __init__(self, http: PlatformHttpClient) -> None:", "        self._http = http"]
        for method in self._plan.methods:
            lines += ["", self._signature(method), *_docstring(self._summary(method), 8), *self._call(method)]
        return "\n".join(lines)

    def _call(self, method: Method) -> list[str]:
        lines = []
        if method.body is not None:
            kind = method.body.optional if method.body_optional else method.body.text
            lines.append(f"        body, problem = body_of(request, {kind}, _NAMES)")
        groups: dict[str, list[str]] = {}
        for one in method.arguments:
            groups.setdefault(_accepted(one), []).append(f"{one.name}={one.name}")
        checks = [f"wrong_type({kind}, {', '.join(names)})" for kind, names in groups.items()]
        if method.body is not None:
            checks.append("problem")
        given = [f"_{method.name.upper()}"]
        for location, keyword in (("path", "path_params"), ("query", "params"), ("header", "headers")):
            pairs = [self._pair(one) for one in method.arguments if one.location == location]
            if pairs:
                given.append(f"{keyword}={{{', '.join(pairs)}}}")
        if checks:
            given.append(f"problem={' or '.join(checks)}")
        if method.body is not None:
            given.append("json_body=body")
        given += ["user_jwt=user_jwt", "correlation_id=correlation_id"]
        return [*lines, f"        return await self._http.call({', '.join(given)})"]

    @staticmethod
    def _pair(one: Argument) -> str:
        value = f"joined({one.name}, {json_text(one.separator)})" if one.separator else one.name
        if one.location == "path" and one.type.text == "bool":
            value = f"str({one.name}).lower()"  # a path takes no flag as it is
        return f"{json_text(one.name if one.location == 'path' else one.wire)}: {value}"

    def _mock(self) -> str:
        lines = [f"class Mock{self._class}Connector:"]
        lines += _docstring(
            "Mock connector for self-hosted mode: returns the same plain values for all arguments. Never raises.\n\n"
            "Used when MOZAIKS_MANAGED=false.",
            4,
        )
        for method in self._plan.methods:
            lines += ["", self._signature(method, mock=True), *_docstring(self._summary(method), 8)]
            lines.append(f"        return {'True' if method.result is None else self._plain(method.result)}")
        return "\n".join(lines)

    def _plain(self, kind: Type) -> str:
        """Return an expression of a plain value of a type."""
        if kind.text in self._models:
            model = self._models[kind.text]
            needed = [one for one in wire_names(model, self._models) if not one.default]
            return f"{kind.text}({', '.join(f'{one.name}={self._plain(one.type)}' for one in needed)})"
        if kind.text in self._enums:
            members = self._enums[kind.text].members
            return f"{kind.text}.{next(iter(members))}"
        if kind.text.startswith(("list[", "dict[")):
            return "[]" if kind.text.startswith("list[") else "{}"
        return _VALUES[kind.text][0]

    # --- endpoints --------------------------------------------------------------------------------------------------

    def _endpoints(self) -> str:
        rows = [f"    {model}: {{{', '.join(pairs)}}}," for model, pairs in self._names.items()]
        lines = []
        if self._uses_names():
            lines += [
                "# Names of fields on the wire that are not the field's own in camel case.",
                "_NAMES: Spellings = {",
                *rows,
                "}",
            ]
        if self._variants:
            lines += ["", "_VARIANTS: Variants = {"]
            for one in self._variants:
                known = ", ".join(f"{json_text(tag)}: {name}" for tag, name in one.variants.items())
                lines.append(f"    {one.name}: ({json_text(one.tag or '')}, {{{known}}}),")
            lines.append("}")
        lines.append("")
        for text, name in self._decoders.items():
            more = "" if not self._uses_names() else ", _NAMES"
            more += ", variants=_VARIANTS" if self._variants else ""
            lines.append(f"{name} = decoder({text}{more})")
        lines.append("")
        for method in self._plan.methods:
            decode = "completed" if method.result is None else self._decoders[method.result.text]
            more = ", documents_key=True" if method.documents_key else ""
            more += ", decimals=True" if method.result is not None and self._has_decimals(method.result) else ""
            if method.operation.method == "QUERY":
                more += ", idempotent=True"
            path = json_text(method.path)
            head = f'"{method.operation.method}", {path}, "{method.name}"'
            lines.append(f"_{method.name.upper()} = Endpoint({head}, {decode}{more})")
        return "\n".join(lines)

    def _uses_names(self) -> bool:
        return bool(self._names) or any(one.body is not None for one in self._plan.methods)

    def _decoder(self, kind: Type) -> str:
        if kind.text not in self._decoders:
            wanted = f"_{snake(kind.text.replace('| None', 'or none'))}"
            self._decoders[kind.text] = unique(wanted, {*self._decoders.values(), "_names", "_variants"})
        return self._decoders[kind.text]

    def _all_names(self) -> dict[str, list[str]]:
        found = {}
        for model in self._plan.models:
            rows = [
                one
                for one in wire_names(model, self._models)
                if one.wire and one.wire not in read_as(one.name, sent=model.sent)
            ]
            if rows:
                found[model.name] = [f"{json_text(one.name)}: ({json_text(one.wire)},)" for one in rows]
        return found

    def _has_decimals(self, kind: Type, seen: frozenset[str] = frozenset()) -> bool:
        if "Decimal" in kind.names or "Decimal" in kind.text:
            return True
        for name in kind.names & self._models.keys() - seen:
            model = self._models[name]
            inner = [one.type for one in wire_names(model, self._models)]
            inner += [Type(one, names=frozenset({one})) for one in model.variants.values()]
            if any(self._has_decimals(one, seen | {name}) for one in inner):
                return True
        return False

    # --- tests ------------------------------------------------------------------------------------------------------

    def tests(self, package: str) -> str:
        name = self._plan.options.name
        rows = []
        for method in self._plan.methods:
            arguments, target, body = self._sample(method)
            rows.append(f"    ({json_text(method.name)}, {arguments}, {json_text(target)}, {body!r}),")
        text = "\n".join(rows)
        # Which of them are first party depends on the folder, so that each part is sorted for itself.
        imports = [
            *sorted([*_imports_of_types(text), "from typing import Any"]),
            "",
            "import pytest",
            "",
            "# isort: split",
            *_TEST_IMPORTS,
        ]
        imports += ["", "# isort: split"]
        if any("models." in row for row in rows):
            imports.append(f"import {package} as models")  # a class named `Test…` would be collected
        imports.append(f"from {package} import {self._constant()}")
        secrets = ", S106" if re.search(r"(?i)\b\w*(pass|pwd|secret|token)\w*=\"", text) else ""
        head = f"Tests of the {name} connector: what every connector must do, and what each operation sends."
        return "\n".join(
            [
                f'"""{head}"""',
                "",
                f"# ruff: noqa: INP001, S101{secrets} - tests",
                "",
                *imports,
                "",
                f"{name} = Conformance({self._constant()})",
                "",
                "# Operation, its arguments, the request line that the service reads, and the body.",
                "REQUESTS: list[tuple[str, dict[str, Any], str, Any]] = [",
                *rows,
                "]",
                _TEST.format(constant=self._constant(), name=name),
            ]
        )

    def _sample(self, method: Method) -> tuple[str, str, Any]:
        """Return the arguments of a call as written, its request line, and its body."""
        given, query, path = [], [], method.path
        for one in method.arguments:
            if one.default not in {"", "None"}:
                query.append((one.wire, one.default.strip('"')))
                continue
            kind, is_list = one.type.text, one.type.text.startswith("list[")
            inner = Type(kind[5:-1] if is_list else kind)
            expression, wire = self._sample_value(inner)
            given.append(f'"{one.name}": {f"[{expression}]" if is_list else expression}')
            text = str(wire).lower() if isinstance(wire, bool) else str(wire)
            if one.location == "path":
                path = path.replace(f"{{{one.name}}}", quote(text, safe=":"))
            elif one.location == "query":
                query.append((one.wire, text))
        body = None
        if method.body is not None:
            expression, body = self._sample_value(method.body)
            given.append(f'"request": {expression}')
        target = f"{method.operation.method} {path}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        return f"{{{', '.join(given)}}}", target, body

    def _sample_value(self, kind: Type, depth: int = 0) -> tuple[str, Any]:
        """Return an expression of a value, and the value on the wire."""
        text = kind.text
        if text in self._models:
            parts, document = [], {}
            for one in wire_names(self._models[text], self._models):
                if one.is_tag:
                    document[one.wire] = one.default.strip('"')
                elif one.wire and (not one.default or (depth == 0 and one.type.text in _VALUES | self._enums.keys())):
                    expression, value = self._sample_value(one.type, depth + 1)
                    parts.append(f"{one.name}={expression}")
                    document[one.wire] = value
            return f"models.{text}({', '.join(parts)})", document
        if text in self._enums:
            name, value = next(iter(self._enums[text].members.items()))
            return f"models.{text}.{name}", value
        if text.startswith("list["):
            return "[]", []
        return ("{}", {}) if text.startswith("dict[") else _VALUES[text][1:]


_TEST_IMPORTS = (
    "from middleware.errors import NotFoundError",
    "from runtime.conformance import Conformance",
    "from runtime.connectors.loader import managed_connector",
    "from runtime.testing import ScriptedUpstream, SeenRequest, run_virtual",
)
_TEST = '''
@pytest.mark.parametrize(
    ("operation", "arguments", "target", "body"), REQUESTS, ids=[row[0] for row in REQUESTS]
)
def test_requests_are_those_of_the_document(
    operation: str, arguments: dict[str, Any], target: str, body: object
) -> None:
    """Method, path, query and body are on the wire as the document has them."""

    async def run() -> list[SeenRequest]:
        upstream = ScriptedUpstream([404])
        connector = managed_connector({constant}, upstream.client(service="{name}"))
        with pytest.raises(NotFoundError):
            await getattr(connector, operation)(**arguments)
        return upstream.requests

    (request,) = run_virtual(run())
    query = f"?{{request.query}}" if request.query else ""
    assert f"{{request.method}} {{request.path}}{{query}}" == target
    assert (request.json if request.body else None) == body
'''

# Type -> a plain value for mocks as written; another one for tests as written, and on the wire.
_VALUES: Mapping[str, tuple[str, str, Any]] = {
    "Any": ("None", '"any"', "any"),
    "Decimal": ("Decimal(0)", 'Decimal("1.5")', 1.5),
    "UUID": ("UUID(int=0)", "UUID(int=1)", "00000000-0000-0000-0000-000000000001"),
    "bool": ("False", "True", True),
    "bytes": ('b""', 'b"text"', "dGV4dA=="),
    "date": ("date(2025, 1, 31)", "date(2025, 1, 31)", "2025-01-31"),
    "datetime": ("datetime(2025, 1, 31, tzinfo=UTC)", "datetime(2025, 1, 31, tzinfo=UTC)", "2025-01-31T00:00:00+00:00"),
    "float": ("0.0", "1.5", 1.5),
    "int": ("0", "7", 7),
    "str": ('""', '"text"', "text"),
    "time": ("time(0, 0)", "time(8, 30)", "08:30:00"),
    "timedelta": ("timedelta(0)", "timedelta(hours=1)", "01:00:00"),
}


def _used(names: Iterable[str], text: str) -> list[str]:
    return [one for one in names if re.search(rf"\b{one}\b", text)]


def _imports_of_types(text: str) -> list[str]:
    """Return the imports of the standard library's types that are in *text*."""
    found = {module: _used(names, text) for module, names in _IMPORTED.items()}
    return [f"from {module} import {', '.join(names)}" for module, names in found.items() if names]


def _accepted(one: Argument) -> str:
    """Return what the argument's check accepts: a number without a fraction is a number too."""
    wide = {"float": "float | int", "Decimal": "Decimal | int"}.get(one.type.text, one.type.text)
    return f"{wide} | None" if one.default == "None" else wide


def read_as(name: str, *, sent: bool) -> set[str]:
    """Return the names on the wire that need no declaration: camel case, and where it is only read all three."""
    head, *tail = name.split("_")
    camel = head + "".join(word[:1].upper() + word[1:] for word in tail)
    return {camel} if sent else {camel, name, camel[:1].upper() + camel[1:]}


def _order(name: str) -> tuple[int, str]:
    """Sort as ruff sorts `__all__`: constants, then classes, then others."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def json_text(value: Any) -> str:
    """Return a text as Python source with double quotes."""
    return json.dumps(str(value), ensure_ascii=True) if isinstance(value, str) else repr(value)


def _clean(text: str) -> str:
    """Return a text of the document as one that may be in a docstring."""
    text = re.sub(r"<[^<>\n]{1,80}>", " ", text)
    plain = "".join(_PLAIN.get(char, char) for char in text)
    kept = (char if " " <= char <= "~" or unicodedata.category(char)[0] == "L" else " " for char in plain)
    return " ".join("".join(kept).replace("\\", "/").replace('"""', "'''").split())


def _sentence(text: str) -> str:
    found = _clean(text)
    return found[:1].upper() + found[1:] if found else ""


def _first(text: str) -> str:
    """Return the first paragraph of a text as a sentence."""
    return _sentence(text.strip().replace("\r", "").split("\n\n")[0])


def _wrapped(text: str, indent: int, hanging: int = 0) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH - 6,  # what does not fit with its quotes takes two lines
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _docstring(text: str, indent: int, section: tuple[str, Sequence[str]] | None = None) -> list[str]:
    paragraphs = [_sentence(one) for one in text.split("\n\n")]
    paragraphs = [one for one in paragraphs if one] or ["Not described."]
    pad = " " * indent
    one = paragraphs[0].rstrip()
    if len(paragraphs) == 1 and section is None and indent + len(one) + 6 <= _WIDTH and not one.endswith('"'):
        return [f'{pad}"""{one}"""']
    lines = [f'{pad}"""']
    for paragraph in paragraphs:
        lines += [*_wrapped(paragraph, indent), ""]
    if section is not None:
        title, rows = section
        lines.append(f"{pad}{title}")
        for row in rows:
            lines += _wrapped(row, indent + 4, 4)
    elif lines[-1] == "":
        lines.pop()
    lines.append(f'{pad}"""')
    return lines


def _pyproject(plan: Plan, package: str) -> str:
    name = plan.options.name
    title = _clean(plan.api.title) or name
    return f"""[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "{package.replace("_", "-")}"
version = "0.1"
description = {json_text(f"Connector to {title}.")}
requires-python = ">=3.11"
dependencies = ["mozaiks-connector-runtime"]

# Installed next to the connector runtime, the connector is in every bundle: no import, no change to the host.
[project.entry-points."mozaiks.connectors"]
{name} = "{package}:{name.upper()}"

[tool.pytest.ini_options]
asyncio_default_fixture_loop_scope = "function"
pythonpath = ["."]
"""


def _report(plan: Plan) -> str:
    api = plan.api
    lines = [f"# {plan.options.name}", ""]
    lines += [
        f"Made from {_clean(api.title) or 'a document'} {_clean(api.api_version)} (OpenAPI {api.version}) by",
        "`python3 -m runtime new`.",
    ]
    lines += ["", f"{len(plan.methods)} operations, {len(plan.models)} models, {len(plan.enums)} enums.", ""]
    if plan.left_out:
        lines += ["## Not as in the document", "", "| what | why | place |", "| --- | --- | --- |"]
        lines += [f"| {_cell(one.what)} | {_cell(one.why)} | `{_cell(one.place)}` |" for one in plan.left_out]
        lines.append("")
    if plan.notes:
        lines += ["## Formal errors of the document", "", "| what | place |", "| --- | --- |"]
        lines += [f"| {_cell(one.text)} | `{_cell(one.place)}` |" for one in plan.notes]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    text = text.replace("|", "\\|").replace("\n", " ")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
