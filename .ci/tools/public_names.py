"""
Public names of the product, for tests/public_names.json: prints them, or writes the file.

    python3 .ci/tools/public_names.py            # print
    python3 .ci/tools/public_names.py --write    # write the file, after a name was added or removed on purpose

What hosts, dashboards and alerts depend on: `__all__` of each public module, codes of errors, names of settings, of log
lines with their fields, of metrics, of spans' attributes and of their events.
"""

import ast
import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "tests" / "public_names.json"
PACKAGES = ("middleware", "runtime")
# Public through `middleware` alone, private, commands, parts of the gateway, old paths of moved modules.
INTERNAL = re.compile(
    r"middleware\.|runtime\.(_|(cli|conformance|contract|gateway|settings|telemetry)\.|adapters\.core_|cli$)"
    r"|runtime\.(config|exporting|trace_file)$"
    r"|.*\.__main__$"
)
# Public too, and used by the commands more than by hosts and plugins: the documentation lists them last.
TOOLS = re.compile(r"runtime\.(compare|contract|forecast|generate|openapi|traces)\b")
PUBLIC = {"middleware.errors", "middleware.events", "middleware.transports.registry", "runtime.conformance.recording"}

sys.path.insert(0, str(ROOT))


def modules() -> Iterator[str]:
    """Every module of the product, by its dotted name."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_public(module: str) -> bool:
    """Whether hosts and plugins may import from *module*."""
    return module in PUBLIC or not INTERNAL.match(module)


def exports() -> dict[str, list[str]]:
    """`__all__` of each public module that has one which is not empty."""
    found = {name: importlib.import_module(name) for name in modules() if is_public(name)}
    return {name: sorted(names) for name, module in found.items() if (names := getattr(module, "__all__", ()))}


def error_codes() -> dict[str, str]:
    """`code` of each error class, by the name of the class."""
    from middleware import errors

    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PlatformError)
    ]
    return {kind.__name__: kind.code for kind in sorted(kinds, key=lambda kind: kind.__name__)}


def settings() -> dict[str, list[str]]:
    """Environment variables, and keys of a settings file; both are given for a service or an operation too."""
    from runtime.connectors import loader
    from runtime.settings import sources

    keys = [f"{row.section}.{row.setting.name}" for row in sources.settings()]
    return {"variables": sorted({*sources.known_variables(None), *loader._READ}), "keys": sorted(keys)}


def _semconv() -> Mapping[str, Any]:
    from middleware.telemetry import semconv

    return vars(semconv)


def log_lines() -> list[str]:
    """Names of log lines: those made from events, and those that are written where they occur, with `extra`."""
    written = set()
    for name in modules():
        path = ROOT / name.replace(".", "/")
        source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        if not re.search(r"_(log|warn)\s*\(", source):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"_log", "_warn"}:
                written |= {
                    constant.value
                    for argument in node.args
                    for constant in ast.walk(argument)
                    if isinstance(constant, ast.Constant) and re.fullmatch(r"[a-z]+(\.[a-z_]+)+", str(constant.value))
                }
    return sorted(written | {text for name, text in _semconv().items() if name.startswith("LOG_")})


def metrics() -> dict[str, list[str]]:
    """Attributes of each metric."""
    from middleware.telemetry import semconv

    found = [metric for metric in vars(semconv).values() if isinstance(metric, semconv.Metric)]
    return {metric.name: sorted(metric.attributes) for metric in sorted(found)}


def attributes() -> list[str]:
    """Attributes of spans, of their events, and of metrics."""
    skipped = ("EVENT_", "LOG_", "SCHEMA_", "SCOPE", "METRIC_", "_")
    return sorted(
        {
            text
            for name, text in _semconv().items()
            if isinstance(text, str) and name.isupper() and not name.startswith(skipped)
        }
    )


def span_events() -> list[str]:
    """Events of spans."""
    return sorted({text for name, text in _semconv().items() if name.startswith("EVENT_")})


def public_names() -> dict[str, Any]:
    """Everything, as the file has it."""
    return {
        "exports": exports(),
        "error codes": error_codes(),
        "settings": settings(),
        "log lines": log_lines(),
        "metrics": metrics(),
        "attributes": attributes(),
        "span events": span_events(),
    }


def as_text(names: Mapping[str, Any]) -> str:
    """The file's content."""
    return json.dumps(names, indent=2) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        FILE.write_text(as_text(public_names()))
    else:
        sys.stdout.write(as_text(public_names()))
