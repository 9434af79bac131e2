"""
The page of each connector in docs/connectors/, made from the code: prints them, or writes the files.

    python3 .ci/tools/connector_pages.py            # print
    python3 .ci/tools/connector_pages.py --write    # write docs/connectors/<name>.md

Methods with their signature and request, models with their fields, errors, and the headers that go out.
"""

import dataclasses
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "connectors"
sys.path.insert(0, str(ROOT))

HEADERS = """\
| header | when |
| --- | --- |
| `Authorization: Bearer …` | the caller passes a `user_jwt` |
| `X-Mozaiks-App-Key` | the application has a key |
| `x-correlation-id` | always |
| `traceparent`, `tracestate` | by the process's propagators, with a span |
| `accept`, `accept-encoding`, `user-agent` | always: {constant} |
| `x-attempt` | always: `attempt=1; max=3` |
| `content-type: application/json` | the request has a body |
| `Idempotency-Key` | POST, PATCH and DELETE, where `idempotency.honors_key` is set |
| `X-Request-Timeout-Ms` | `attempt.announce` is set |
"""


ERRORS = """\
Every method of the managed connector raises `CallError` or one of its subclasses, and nothing else:
`InvalidArgumentError` for a wrong argument, before anything is sent; a `StatusError` for an error status;
`OperationFailedError` for a 2xx that reports failure; `DecodeError` for a 2xx that is not the result above; the others
as the table of codes in [resilience.md](../resilience.md) says. The mock raises nothing."""


def first_lines(docstring):
    """Its first paragraph, in one line."""
    return " ".join(inspect.cleandoc(docstring or "").partition("\n\n")[0].split()).replace("|", "\\|")


def signature(method):
    """Parameters as a reader needs them: without self and the two that every method has."""
    shown = [
        f"{one.name}" if one.default is one.empty else f"{one.name}={one.default!r}"
        for one in inspect.signature(method).parameters.values()
        if one.name not in {"self", "user_jwt", "correlation_id"}
    ]
    return f"{method.__name__}({', '.join(shown)})"


def returned(method):
    """Its result as it is annotated; the modules have postponed annotations, and so texts."""
    return str(inspect.signature(method).return_annotation).strip("'\"")


def models(module):
    """The dataclasses of a connector's module, in the order of their definition."""
    found = [kind for kind in vars(module).values() if dataclasses.is_dataclass(kind) and isinstance(kind, type)]
    return [kind for kind in found if kind.__module__ == module.__name__]


def fields(kind):
    """Rows of a model's fields: name, type, default."""
    for field in dataclasses.fields(kind):
        default = "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
        if field.default_factory is not dataclasses.MISSING:
            default = f"`{field.default_factory()!r}`"
        kind_of = str(field.type).replace("|", "\\|")
        yield f"| `{field.name}` | `{kind_of}` | {default} |"


def request(endpoint):
    """Method and path, and what the endpoint declares about repeating it."""
    notes = ["repeated like a read"] if endpoint.idempotent else []
    if endpoint.max_attempts is not None:
        notes.append("never repeated" if endpoint.max_attempts == 1 else f"at most {endpoint.max_attempts} attempts")
    return ", ".join([f"`{endpoint.method} {endpoint.path}`", *notes])


def page(connector):
    """The page of one connector."""
    from runtime.connectors.base import _CONSTANT_HEADERS, Endpoint

    module = import_module(connector.managed.__module__)
    endpoints = {one.operation: one for one in vars(module).values() if isinstance(one, Endpoint)}
    title = first_lines(re.sub(r"\n=+", "\n", inspect.getdoc(module)).partition("\n")[2])
    lines = [
        f"# `{connector.name}`",
        "",
        f"{title} Written by `python3 .ci/tools/connector_pages.py --write`.",
        "",
        "Every method also takes `user_jwt=None` and `correlation_id=''`, and is called by the base URL of the "
        + ("core's APIs." if connector.base_url == "core" else "gateway."),
        "",
        "| method | result | request | what it does |",
        "| --- | --- | --- | --- |",
    ]
    for name in connector.operations:
        method, endpoint = getattr(connector.managed, name), endpoints[name]
        result = returned(method).replace("|", "\\|")
        lines.append(f"| `{signature(method)}` | `{result}` | {request(endpoint)} | {first_lines(method.__doc__)} |")
    lines += ["", "## Models", ""]
    for kind in models(module):
        lines += [f"### `{kind.__name__}`", "", first_lines(kind.__doc__), "", "| field | type | default |"]
        lines += ["| --- | --- | --- |", *fields(kind), ""]
    constant = ", ".join(f"`{name}: {value}`" for name, value in _CONSTANT_HEADERS.items() if name != "user-agent")
    lines += [
        "## Errors",
        "",
        ERRORS,
        "",
        "## Headers that go out",
        "",
        HEADERS.format(constant=constant).rstrip(),
        "",
    ]
    return "\n".join(lines)


def pages():
    """Text by file, of our own connectors."""
    from runtime.connectors import registry

    return {FOLDER / f"{one.name}.md": page(one) for one in registry._OWN}


def main():
    """Print the pages, or write them."""
    for file, text in pages().items():
        if "--write" in sys.argv:
            FOLDER.mkdir(exist_ok=True)
            file.write_text(text)
        else:
            print(text)


if __name__ == "__main__":
    main()
