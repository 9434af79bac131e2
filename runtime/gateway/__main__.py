"""`python -m runtime gateway`: the reference gateway for local development."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence

from .access import is_loopback
from .app import DEFAULT_API_KEY, DEFAULT_TOKENS, Gateway
from .dialects import DIALECTS
from .faults import KINDS, Fault

__all__ = ["main"]

_FAULTS = """\
faults:
  KIND or STATUS, then in any order: 3s or 300ms, 50% of the requests, 2x for two requests, retry-after=7, applied,
  METHOD, /path (a regular expression for its beginning). --fault may be given several times: a request meets the
  first one that matches it. Examples: 'latency 3s 50% /api/auth', '503 2x retry-after=7', 'reset applied POST'.

"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the gateway until it is interrupted; returns the exit code."""
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
    parser.add_argument("--api-key", default=DEFAULT_API_KEY, help="the accepted application key")
    parser.add_argument("--dialect", choices=DIALECTS, default="docs", help="how responses are written")
    parser.add_argument("--fault", action="append", default=[], metavar="TEXT", help="misbehave, see below")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input is closed")
    options = parser.parse_args(argv)
    host = "127.0.0.1" if options.host == "localhost" else options.host
    if not is_loopback(host):
        return _refuse(f"--host: {options.host} is not a loopback address; this stand-in is not for the network")
    if not 0 <= options.port <= 65535:  # noqa: PLR2004
        return _refuse(f"--port: must be between 0 and 65535, got {options.port}")
    try:
        gateway = Gateway(
            options.api_key, host=host, port=options.port, dialect=options.dialect, allow_hosts=options.allow_host
        )
    except ValueError as error:
        return _refuse(f"--allow-host: {error}")
    for text in options.fault:
        try:
            gateway.script(Fault.from_text(text))
        except ValueError as error:
            return _refuse(f"--fault {text!r}: {error}")
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_run(gateway, options))
    except OSError as error:
        return _refuse(f"cannot listen on {host}:{options.port}: {error.strerror or error}")
    return 0


def _refuse(message: str) -> int:
    sys.stderr.write(f"gateway: {message}\n")
    return 2


async def _run(gateway: Gateway, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with gateway:
        if options.json:
            line = json.dumps({"url": gateway.url, "port": gateway.port, "pid": os.getpid()})
        else:
            tokens = ", ".join(f"{token} ({user})" for token, user in DEFAULT_TOKENS.items())
            lines = f"gateway at {gateway.url}", f"app key: {gateway.api_key}", f"user tokens: {tokens}"
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
