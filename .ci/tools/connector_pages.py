"""
The page of each connector in docs/connectors, made from the code: prints them, or writes the files.

    python3 .ci/tools/connector_pages.py            # print
    python3 .ci/tools/connector_pages.py --write    # write the pages, after a connector was changed

Methods, models and their fields are read from the module. Headers, repeats and errors are observed: each method is
called against a scripted platform in virtual time. Needs the test extra.
"""

import dataclasses
import importlib
import inspect
import logging
import re
import sys
from functools import cache
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "connectors"
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from connector_support import required_arguments
from opentelemetry.sdk.trace import TracerProvider

from middleware import CallError, Telemetry
from runtime.connectors import registry
from runtime.connectors.base import Endpoint, PlatformHttpClient
from runtime.settings import ResolvedSettings
from runtime.testing import LoopClock, ScriptedUpstream, UpperBound, run_virtual

# Every header that a connector sends: one that is not listed here fails the tool.
HEADERS = {
    "accept": "`application/json`",
    "accept-encoding": "`gzip`",
    "authorization": "`Bearer` and `user_jwt`, where it is given",
    "content-length": "length of the body",
    "content-type": "`application/json`",
    "host": "host of the base URL",
    "idempotency-key": "one UUID for all attempts of the call, where `idempotency.honors_key` is set",
    "traceparent": "W3C trace context of the attempt's span, where the host has tracing",
    "user-agent": "`mozaiks-connector-runtime/` and the version",
    "x-attempt": "`attempt=n; max=m`",
    "x-correlation-id": "`correlation_id`, or a UUID where it is blank or unusable; the same for all attempts",
    "x-mozaiks-app-key": "the application's key, where there is one",
    "x-request-timeout-ms": "time left for the attempt, where `attempt.announce` is set",
}
REPEATED = {
    "a refused connection": httpx.ConnectError,
    "429": 429,
    "503": 503,
    "a lost response": "lost",
}
ALL = ", ".join(REPEATED)
RESPONSES = {
    "no connection": httpx.ConnectError,
    "none, the connection is reset": "lost",
    "none in time": "hang",
    "3xx": 302,
    "400, 422": 400,
    "401": 401,
    "403": 403,
    "404, 410": 404,
    "409": 409,
    "429": 429,
    "any other 4xx": 418,
    "5xx": 500,
    "200 with `success: false`": {"success": False, "error": {"code": "x", "message": "y"}},
    "200 with a document of another shape": [[]],
    "204": 204,
}
USE = """\
In a plugin: `connectors.{service}` of `plugin_connectors(data)` ([tutorial](../tutorial.md)) or of `load_connectors()`.
Its models are in `runtime.connectors.{service}`. Without a platform: [what the mocks return](../mocks.md)."""
BEFORE = """\
A value that cannot be sent is an `InvalidArgumentError` (`VALIDATION_ERROR`), and a call that a guard rejects a
`LocalRejectionError` with the guard's own code; nothing is sent then. After the last attempt:"""
ONCE = ResolvedSettings({"retry": {"max_attempts": 1}})
DEFAULT = ResolvedSettings()
KEYED = ResolvedSettings({"idempotency": {"honors_key": True}, "attempt": {"announce": True}})


def connector(service):
    """Module of a connector, and its class for managed mode."""
    module = importlib.import_module(f"runtime.connectors.{service}")
    (managed,) = [value for name, value in vars(module).items() if re.fullmatch(r"Managed\w+Connector", name)]
    return module, managed


@cache
def arguments(service, operation):
    """A value for each argument that a method requires."""
    return required_arguments(getattr(connector(service)[1], operation).__get__(object()))


async def call(service, operation, upstream, policies, telemetry=None):
    """Call one method with what it requires; the result, or the error."""
    client = PlatformHttpClient(
        "http://platform.test",
        "app-key",
        service=service,
        policies=policies,
        transport=upstream,
        telemetry=telemetry,
        clock=LoopClock(),
        random=UpperBound(),
    )
    method = getattr(connector(service)[1](client), operation)
    try:
        return await method(**arguments(service, operation), user_jwt="token", correlation_id="c-1")
    except CallError as error:
        return error


def table(head, rows):
    """A table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def code(text):
    """Markdown for *text* as code in a table."""
    return "`" + str(text).replace("|", "\\|") + "`"


def sentence(documented):
    """The docstring of *documented* in one line."""
    return " ".join(inspect.getdoc(documented).split())


def listed(names, every):
    """Methods by name, or `every method`."""
    return "every method" if list(names) == list(every) else ", ".join(f"`{name}`" for name in names)


async def repeats(service, operation, policies):
    """After what the platform sees the request again."""
    seen = []
    for what, step in REPEATED.items():
        upstream = ScriptedUpstream([], then=step)
        await call(service, operation, upstream, policies)
        if len(upstream.requests) + upstream.refused > 1:
            seen.append(what)
    return ", ".join(seen) or "no failure"


def signature(method):
    """The method's signature as code, one parameter per line; `python` would be an example, which a test runs."""
    lines, is_keyword = [f"async def {method.__name__}("], False
    found = inspect.signature(method)
    for one in list(found.parameters.values())[1:]:
        if one.kind is one.KEYWORD_ONLY and not is_keyword:
            is_keyword = True
            lines.append("    *,")
        value = "" if one.default is one.empty else f" = {one.default!r}"
        lines.append(f"    {one.name}: {one.annotation}{value},")
    return "\n".join(["```py", *lines, f") -> {found.return_annotation}", "```"])


async def methods(service, operations):
    """One section per method: signature, what it does, the request, and when that is repeated."""
    module, managed = connector(service)
    endpoints = {one.operation: one for one in vars(module).values() if isinstance(one, Endpoint)}
    found = []
    for operation in operations:
        method, endpoint = getattr(managed, operation), endpoints[operation]
        plain = await repeats(service, operation, DEFAULT)
        keyed = plain if plain == ALL else await repeats(service, operation, KEYED)
        lines = [
            f"- Request: `{endpoint.method} {endpoint.path}`" + ("; a list by pages." if endpoint.paging else "."),
            f"- Repeated after: {plain}" + ("." if plain == keyed else f"; with an honoured idempotency key: {keyed}."),
        ]
        found += [f"### {operation}", signature(method), sentence(method), "\n".join(lines)]
    return "\n\n".join(found)


def default(field):
    """Default of a field of a model."""
    if field.default is not dataclasses.MISSING:
        return code(repr(field.default))
    return "required" if field.default_factory is dataclasses.MISSING else code(f"{field.default_factory.__name__}()")


def models(module):
    """One section per model: what it is, its fields and its properties."""
    found = []
    for name in module.__all__:
        model = getattr(module, name)
        if not dataclasses.is_dataclass(model):
            continue
        rows = [(code(field.name), code(field.type), default(field)) for field in dataclasses.fields(model)]
        found += [f"### {name}", sentence(model), table(("field", "type", "default"), rows)]
        found += [
            f"`{attribute}` ({value.fget.__annotations__['return']}): {sentence(value)}"
            for attribute, value in vars(model).items()
            if isinstance(value, property)
        ]
    return "\n\n".join(found)


async def failures(service, operations):
    """What a method raises for each response of the platform."""
    rows = []
    for response, step in RESPONSES.items():
        by_result = {}
        for operation in operations:
            result = await call(service, operation, ScriptedUpstream([], then=step), ONCE)
            by_result.setdefault(type(result) if isinstance(result, CallError) else None, []).append(operation)
        for kind, names in by_result.items():
            error = ("no error", "") if kind is None else (f"`{kind.__name__}`", f"`{kind.code}`")
            rows.append((response, *error, listed(names, operations)))
    return table(("response", "error", "code", "raised by"), rows)


async def headers(service, operations):
    """Headers that the platform reads, and of which methods."""
    seen, tracing = {}, Telemetry(tracer_provider=TracerProvider(shutdown_on_exit=False))
    for operation in operations:
        upstream = ScriptedUpstream([], then=404)
        await call(service, operation, upstream, KEYED, tracing)
        for name in upstream.requests[0].headers:
            seen.setdefault(name, []).append(operation)
    rows = [(f"`{name}`", HEADERS[name], listed(seen[name], operations)) for name in sorted(seen)]
    return table(("header", "value", "sent by"), rows)


async def _headers_sent():
    seen, every, tracing = {}, 0, Telemetry(tracer_provider=TracerProvider(shutdown_on_exit=False))
    for one in registry._OWN:
        for operation in one.operations:
            upstream = ScriptedUpstream([], then=404)
            await call(one.name, operation, upstream, KEYED, tracing)
            every += 1
            for name in upstream.requests[0].headers:
                seen.setdefault(name, []).append(upstream.requests[0].method)
    rows = [
        (f"`{name}`", HEADERS[name], "every request" if len(methods) == every else ", ".join(sorted(set(methods))))
        for name, methods in sorted(seen.items())
    ]
    return table(("header", "value", "sent with"), rows)


def headers_sent():
    """Every header that goes out, of all connectors of ours, as docs/reference/headers.md lists them."""
    return quietly(_headers_sent())


async def page(service, operations):
    """The page of one connector."""
    module, _ = connector(service)
    title, _, rest = inspect.getdoc(module).partition("\n")
    purpose = " ".join(rest.partition("Endpoints:")[0].strip("=\n ").split())
    return (
        "\n\n".join(
            [
                f"# {title}",
                "<!-- made by .ci/tools/connector_pages.py -->",
                f"{purpose}\n{USE.format(service=service)}",
                "## Methods",
                await methods(service, operations),
                "## Models",
                models(module),
                "## Errors",
                BEFORE,
                await failures(service, operations),
                "What to do after each: [errors](../reference/errors.md#what-to-do).",
                "## Headers",
                await headers(service, operations),
            ]
        )
        + "\n"
    )


def quietly(observation):
    """Result of the coroutine *observation* in virtual time, without the log lines of failures that are on purpose."""
    logging.disable(logging.CRITICAL)
    try:
        return run_virtual(observation)
    finally:
        logging.disable(logging.NOTSET)


def pages():
    """Every page by its file, of our own connectors."""
    return {PAGES / f"{one.name}.md": quietly(page(one.name, one.operations)) for one in registry._OWN}


if __name__ == "__main__":
    for path, text in pages().items():
        if "--write" in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        else:
            sys.stdout.write(text)
