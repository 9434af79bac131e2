"""
`python3 -m runtime doctor`: why it does not work here, or that it should.

Looks at the interpreter, the extras, the package index, the certificate files that the environment names, the
settings, the mode, the gateway with its clock, and the collector. Sends one GET without credentials to each base URL,
and an empty export to each telemetry endpoint.
"""

import argparse
import json
import os
import re
import ssl
import sys
import textwrap
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path
from typing import Any

from runtime._internal.installation import NAME, install_command, installed_from, project_directory
from runtime._version import __version__

from .bootstrap import BootstrapError, enter_environment
from .package_index import PackageIndexError, check_index, fetch, index_url, mask_credentials, without_controls

__all__ = ["main", "make_parser"]

_EPILOG = """\
examples:
  python3 -m runtime doctor
  python3 -m runtime doctor settings.toml --timeout 2
  python3 -m runtime doctor --json

exit codes: 0 no error, 1 an error, 2 wrong usage
"""
_EXTRAS = {
    "otel": "export of telemetry",
    "fast": "faster parsing of responses and JSON",
    "aiohttp": "the aiohttp transport",
    "cli": "demo, trace and completion",
    "gateway": "the reference gateway",
    "generate": "`new`",
}
_CA_FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
_CA_FOLDER = "SSL_CERT_DIR"
_OLDEST = (3, 11)
_MOST_SKEW_S = 5.0  # a Date has whole seconds, and tokens are usually accepted a minute early or late
_FIRST_SERVER_ERROR = 500
_WIDTH, _STATUS, _NAME = 80, 9, 12


class Status(StrEnum):
    """How much a result matters; only an error makes the command fail."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Result:
    """
    What one check found.

    Attributes:
        check: Its name.
        status: How much it matters.
        said: What is so.
        hint: What to do; empty where nothing is to be done.
    """

    check: str
    status: Status
    said: str
    hint: str = ""


def main(argv: Sequence[str]) -> int:
    """Print what each check found; 0, 1 when there is an error, 2 for wrong usage."""
    parser = make_parser()
    options = parser.parse_args(argv)
    if not 0 < options.timeout <= 60:  # noqa: PLR2004 - a minute
        parser.error(f"--timeout: must be above 0 and at most 60, got {options.timeout:g}")
    if options.file is not None and not options.file.exists():
        parser.error(f"no such file: {options.file}")
    found = []
    for result in _results(options, ["doctor", *argv]):
        found.append(result)
        if not options.json:
            sys.stdout.write(_text(result))
            sys.stdout.flush()
    if options.json:
        document = {"version": __version__, "ok": _worst(found) is not Status.ERROR}
        sys.stdout.write(json.dumps({**document, "results": [asdict(one) for one in found]}, indent=2) + "\n")
    else:
        count = {status: sum(one.status is status for one in found) for status in (Status.ERROR, Status.WARNING)}
        sys.stdout.write(
            "\n" + ", ".join(f"{number} {status}{'s' * (number != 1)}" for status, number in count.items())
        )
        sys.stdout.write("\n")
    return int(_worst(found) is Status.ERROR)


def _worst(found: Sequence[Result]) -> Status:
    order = list(Status)
    return max((one.status for one in found), key=order.index, default=Status.OK)


def _text(result: Result) -> str:
    margin = " " * (_STATUS + _NAME)
    first = f"{result.status:<{_STATUS}}{result.check:<{_NAME}}"
    wrap = {"width": _WIDTH, "subsequent_indent": margin, "break_long_words": False, "break_on_hyphens": False}
    said = without_controls(" ".join(result.said.split()))  # an index or a platform may have written a part of it
    lines = textwrap.wrap(said, initial_indent=first, **wrap)  # type: ignore[arg-type] # one dict of both kinds
    if result.hint:
        lines.append(f"{margin}-> {without_controls(result.hint)}")  # in one line: commands are copied
    return "\n".join(lines) + "\n"


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime doctor",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="settings file instead of the environment's")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="longest wait for one response (default: %(default)g)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    return parser


def _results(options: argparse.Namespace, command: Sequence[str]) -> Iterator[Result]:
    yield from _python()
    try:
        enter_environment((), command)  # begins anew in the environment of a checkout, where that is another one
    except BootstrapError as error:
        yield Result("environment", Status.ERROR, str(error))
    missing = list(_missing(_required("")))
    yield from _installation(missing)
    yield from _index(options.timeout)
    yield from _ca_files(os.environ)
    if missing:
        return  # what follows imports them
    yield from _settings(options.file)
    yield from _platform(options.file, options.timeout)
    yield from _telemetry(os.environ, options.timeout)


def _python() -> Iterator[Result]:
    said = f"{sys.implementation.name} {sys.version.split()[0]}, {sys.executable}"
    if sys.version_info < _OLDEST:
        yield Result("python", Status.ERROR, said, f"Python {'.'.join(map(str, _OLDEST))} or later is needed")
    else:
        yield Result("python", Status.OK, said)


def _required(extra: str) -> list[str]:
    """Names of the distributions that the package, or *extra* of it, needs."""
    project = project_directory()
    if project is not None:
        document = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
        lines = document["optional-dependencies"][extra] if extra else document["dependencies"]
    else:
        try:
            declared = requires(NAME) or []
        except PackageNotFoundError:
            return []
        lines = [line for line in declared if (re.search(r"extra == ['\"]([\w-]+)", line) or ["", ""])[1] == extra]
    return [name[0] for line in lines if (name := re.match(r"[\w.-]+", line))]


def _missing(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        try:
            distribution(name)
        except PackageNotFoundError:
            yield name


def _installation(missing: Sequence[str]) -> Iterator[Result]:
    yield Result("package", Status.OK, f"{NAME} {__version__}, {installed_from()}")
    if missing:
        yield Result("package", Status.ERROR, f"not installed: {', '.join(missing)}", install_command())
    for extra, use in _EXTRAS.items():
        needed = _required(extra)
        absent = list(_missing(needed))
        if absent:
            said = f"{extra}, for {use}: {', '.join(absent)} not installed"
            yield Result("extra", Status.NOTE, said, install_command(extra))
        else:
            yield Result("extra", Status.OK, f"{extra}: {', '.join(f'{name} {version(name)}' for name in needed)}")


def _index(timeout_s: float) -> Iterator[Result]:
    url = index_url(os.environ)
    shown = mask_credentials(url)
    try:
        check_index(os.environ)
        fetch(f"{url}/pip/", url, timeout_s=timeout_s)
    except PackageIndexError as error:
        yield Result("index", Status.WARNING, str(error))
    except (OSError, ValueError) as error:
        said = f"{shown}: {mask_credentials(str(error))}"
        yield Result("index", Status.WARNING, said, "needed to install extras only; PIP_INDEX_URL names another one")
    else:
        yield Result("index", Status.OK, f"{shown} responds")


def _ca_files(environ: Mapping[str, str]) -> Iterator[Result]:
    given = {name: environ[name] for name in _CA_FILES if environ.get(name)}
    for name, path in given.items():
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cafile=path)
            count = context.cert_store_stats()["x509_ca"]
        except ssl.SSLError as error:
            yield Result("ca files", Status.ERROR, f"{name}: {path}: no certificates ({error.reason or error})")
        except OSError as error:
            yield Result("ca files", Status.ERROR, f"{name}: {path}: {error.strerror or error}")
        else:
            status = Status.OK if count else Status.ERROR
            yield Result("ca files", status, f"{name}: {path}: {count} authorities")
    if folder := environ.get(_CA_FOLDER):
        given[_CA_FOLDER] = folder
        for path in folder.split(os.pathsep):
            named = list(Path(path).glob("????????.[0-9]"))  # as `openssl rehash` names them
            said = f"{_CA_FOLDER}: {path}: {len(named)} certificates"
            if named:
                yield Result("ca files", Status.OK, said)
            else:
                hint = f"openssl rehash {path}" if Path(path).is_dir() else "no such directory"
                yield Result("ca files", Status.ERROR, f"{said} by hash", hint)
    if not given:
        yield Result("ca files", Status.OK, "the environment names none")


def _settings(file: Path | None) -> Iterator[Result]:
    from runtime.settings.contradictions import Facts
    from runtime.settings.mode import mode_of

    from .config_check import check
    from .config_settings import environ_of

    environ = environ_of(file)
    findings = check(environ, Facts())
    for one in findings:
        place = f"{one.path}:{one.line}" if one.line else one.path
        yield Result("settings", Status(one.severity), f"{place}: {one.message} ({one.rule})")
    if findings:
        command = " ".join(["python3 -m runtime config check", *([str(file)] if file else [])])
        yield Result(
            "settings", Status.NOTE, "what a finding means, and what to do", f"{command} --explain {findings[0].rule}"
        )
    else:
        yield Result("settings", Status.OK, "the check finds nothing")
    mode = mode_of(environ, [])
    said = f"{'managed' if mode.managed else 'self-hosted'}: {mode.reason}"
    yield Result("mode", Status.WARNING if mode.incomplete else Status.OK, said)


def _platform(file: Path | None, timeout_s: float) -> Iterator[Result]:
    """One request to each base URL of managed mode, and what its Date says of this machine's clock."""
    import asyncio

    from middleware import ConfigError

    from .config_settings import config_of

    try:
        config = config_of(file)
    except ConfigError:
        yield Result("gateway", Status.NOTE, "not asked: a setting is wrong")
        return
    if not config.managed_mode:
        yield Result("gateway", Status.NOTE, "not asked: nothing is sent in self-hosted mode")
        return
    for name, url in {"gateway": config.gateway_base_url, "core": config.core_base_url}.items():
        if url:
            yield from asyncio.run(_ask(config, name, url, timeout_s))


async def _ask(config: Any, name: str, url: str, timeout_s: float) -> list[Result]:
    from middleware import HostLayers, PlatformError, call_options
    from middleware.redaction import redact_target
    from runtime.connectors.base import PlatformHttpClient
    from runtime.connectors.loader import open_transport

    seen: list[Mapping[str, str]] = []

    async def look(request: Any, call_next: Callable[[Any], Any]) -> Any:
        request.check_head = lambda _request, headers: seen.append(headers)
        return await call_next(request)

    said, status = "responds", 200
    started = time.time()
    try:
        transport = open_transport(config, "identity")
        client = PlatformHttpClient(url, transport=transport, middleware=HostLayers(attempt=[look]))
        try:
            with call_options(max_attempts=1, deadline_s=timeout_s):
                await client.get("/")
        finally:
            await client.aclose()
            await transport.aclose()
    except PlatformError as error:
        status = getattr(error, "status", None) or 0
        said = f"responds with {status}" if status else str(error)
    shown = redact_target(url)
    if not seen:
        hint = f"is {url.partition('://')[2].partition('/')[0]} right, and allowed from here? --timeout {timeout_s:g}"
        return [Result(name, Status.ERROR, f"{shown}: {said}", hint)]
    bad = status >= _FIRST_SERVER_ERROR
    found = [Result(name, Status.WARNING if bad else Status.OK, f"{shown}: {said}")]
    skew = _skew(seen[0].get("date", ""), started, time.time())
    if skew is None:
        found.append(Result("clock", Status.NOTE, f"{name}: the response has no Date to compare with"))
    elif abs(skew) > _MOST_SKEW_S:
        said = f"{name}: this clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
        found.append(Result("clock", Status.WARNING, said, "synchronize it: tokens and traces depend on the time"))
    else:
        found.append(Result("clock", Status.OK, f"{name}: within {_MOST_SKEW_S:g} s of the server's Date"))
    return found


def _skew(date: str, started: float, ended: float) -> float | None:
    """Seconds that this clock is ahead, as far as the exchange shows; None without a Date."""
    try:
        server = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # as `middleware.retry_after` reads one
        return None
    # The server wrote the second in which it responded, between the start and the end.
    if started > server + 1:
        return started - server - 1
    return min(ended - server, 0.0)


def _telemetry(environ: Mapping[str, str], timeout_s: float) -> Iterator[Result]:
    from middleware import ConfigError
    from runtime.telemetry.setup import export_addresses

    try:
        addresses = export_addresses(environ)
    except ConfigError as error:
        yield from (Result("telemetry", Status.ERROR, problem) for problem in error.problems)
        return
    if not addresses:
        yield Result("telemetry", Status.NOTE, "nothing is exported: OTEL_EXPORTER_OTLP_ENDPOINT is not set")
        return
    try:
        from runtime.telemetry.otlp import export_nothing

        problems = export_nothing(addresses, timeout_s)
    except ModuleNotFoundError as error:
        yield Result("telemetry", Status.ERROR, f"export needs {error.name}", install_command("otel"))
        return
    for signal, address in addresses.items():
        problem = problems.get(signal)
        if problem:
            hint = f"is a collector there? OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
            yield Result("telemetry", Status.ERROR, f"{signal} to {address}: {problem}", hint)
        else:
            yield Result("telemetry", Status.OK, f"{signal} to {address}: accepted")
