"""`python -m runtime gateway`: the reference gateway for local development."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence

from runtime.openapi import Api, DocumentError, load, plain, read

from .access import is_loopback
from .app import DEFAULT_API_KEY, DEFAULT_TOKENS, Gateway
from .dialects import DIALECTS
from .faults import KINDS, Fault

__all__ = ["main", "make_parser"]

_FAULTS = """\
faults:
  KIND or STATUS, then in any order: 3s or 300ms, 50% of the requests, 2x for two requests, retry-after=7, applied,
  METHOD, /path (a regular expression for its beginning). --fault may be given several times: a request meets the
  first one that matches it. Examples: 'latency 3s 50% /api/auth', '503 2x retry-after=7', 'reset applied POST'.

"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the gateway until it is interrupted; returns the exit code."""
    options = make_parser().parse_args(argv)
    try:
        gateway, api = _gateway(options)
    except ValueError as error:
        return _refuse(str(error))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_run(gateway, options, api))
    except OSError as error:
        return _refuse(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime gateway",
        description=__doc__,
        epilog=_FAULTS + "\n".join(f"  {kind:<12}{what}" for kind, what in KINDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port; 0 picks a free one (default: %(default)s)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="take requests whose Host is NAME, as of a proxy",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DOCUMENT",
        help="serve what an OpenAPI document says, a file or URL, instead of the platform's services",
    )
    parser.add_argument("--api-key", default=DEFAULT_API_KEY, help="the accepted application key")
    parser.add_argument(
        "--dialect", choices=DIALECTS, help="how the platform's services write responses; default: docs"
    )
    parser.add_argument("--fault", action="append", default=[], metavar="TEXT", help="misbehave, see below")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input is closed")
    return parser


def _gateway(options: argparse.Namespace) -> tuple[Gateway, Api | None]:
    """
    Return the gateway, and the document that it serves.

    Raises:
        ValueError: An option is wrong; names it.
    """
    host = "127.0.0.1" if options.host == "localhost" else options.host
    if not is_loopback(host):
        raise ValueError(f"--host: {options.host} is not a loopback address; the gateway is not for the network")
    if not 0 <= options.port <= 65535:  # noqa: PLR2004
        raise ValueError(f"--port: must be between 0 and 65535, got {options.port}")
    if options.source and options.dialect:
        raise ValueError("--dialect: responses of --from are as its document says")
    api: Api | None = None
    if options.source:
        try:
            document = load(options.source)
            api = read(document)
        except DocumentError as error:
            raise ValueError(f"--from: {error}") from None
        if not api.operations:
            raise ValueError(f"--from: {document.source}: the document has no operations")
    try:
        gateway = Gateway(
            options.api_key,
            host=host,
            port=options.port,
            dialect=options.dialect or "docs",
            allow_hosts=options.allow_host,
            api=api,
        )
    except ValueError as error:
        raise ValueError(f"--allow-host: {error}") from None
    for text in options.fault:
        try:
            gateway.script(Fault.from_text(text))
        except ValueError as error:
            raise ValueError(f"--fault {text!r}: {error}") from None
    return gateway, api


def _refuse(message: str) -> int:
    sys.stderr.write(f"gateway: {message}\n")
    return 2


async def _run(gateway: Gateway, options: argparse.Namespace, api: Api | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with gateway:
        if options.json:
            line = json.dumps({"url": gateway.url, "port": gateway.port, "pid": os.getpid()})
        else:
            tokens = ", ".join(f"{token} ({user})" for token, user in DEFAULT_TOKENS.items())
            lines = [f"gateway at {gateway.url}", f"app key: {gateway.api_key}", f"user tokens: {tokens}"]
            if api is not None:
                title = plain(" ".join(filter(None, (api.title, api.api_version)))) or "the document"
                lines.append(f"serves {len(api.operations)} operations of {title}")
                if api.notes:
                    lines.append(f"{len(api.notes)} formal errors of the document; `new` lists them in GENERATED.md")
            line = "\n  ".join([*lines, *(f"fault: {text}" for text in options.fault), "Ctrl-C stops it"])
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        if options.exit_with_parent:
            reader = asyncio.StreamReader()
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
            ended = asyncio.ensure_future(reader.read())
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        else:
            await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
