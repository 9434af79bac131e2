"""
Hostile input through each place where input enters, generated; a violation of a promise of SECURITY.md ends it.

    python3 benchmarks/abuse.py                 # 1 000 000 cases
    python3 benchmarks/abuse.py --cases 10000   # the short form of CI
    python3 benchmarks/abuse.py --only wire --seed 7

One case in 500 is a response on a real socket, by each transport in turn; the others are functions of this process.
Each case is made from its seed alone, so that a violation can be repeated. Nothing is written: what is generated is for
our own readers, and a violation becomes a test.

Not guided by coverage: what is generated consists of the pieces that our readers decide on. A fuzzer that is (Atheris,
on the readers of heads, problems, trace files, targets and texts) has found nothing more, and has wheels for few
interpreters.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx

from middleware import CallError, ConfigError, InvalidArgumentError, PlatformError
from middleware.errors import status_error
from middleware.problem import parse_problem
from middleware.redaction import printable, redact, redact_target
from middleware.request.correlation import choose_correlation_id
from middleware.request.encode import encode_target
from middleware.retry_after import parse_retry_after
from middleware.transports.transport_settings import LIBRARIES
from runtime.connectors.base import PlatformHttpClient, check_base_url
from runtime.gateway.access import Access
from runtime.gateway.faults import Fault
from runtime.gateway.routes import Request
from runtime.settings import ResolvedSettings
from runtime.traces.model import rows_of, traces_of
from runtime.traces.page import render_page
from runtime.traces.trace_file import SpanReader

SECRET = "moz_live_5f2c9a7be1d04"  # noqa: S105 - made up
ONE_IN = 500
SLOWEST_S = 1.0
"""Of one case in this process: a hundred times what the longest input takes, so that load does not matter."""

PIECES = (
    *(
        "a",
        "0",
        "-1",
        "1e999",
        "9" * 400,
        " ",
        "\t",
        "\n",
        "\r\n",
        "\0",
        "\x1b[2J",
        "\x7f",
        "\x9b",
        "\u00e4",
        "\U0001f600",
    ),
    *("\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\ud800", "\U000e0041", "\u115f", "\u0130", "\ufdfa"),
    *(
        "/",
        "\\",
        ";",
        "..",
        ".",
        "%2e%2e",
        "%252e",
        "%2f",
        "%5c",
        "%00",
        "%",
        "?",
        "#",
        "&",
        "=",
        ":",
        "@",
        "//",
        "[",
        "]",
    ),
    *(
        "<script>",
        "</style>",
        "\"'",
        "&lt;",
        ":smile:",
        "[bold]",
        "[/]",
        "{",
        "}",
        "{id}",
        "{{",
        "$",
        "^",
        "*",
        "+",
        "(a+)+",
    ),
    *("eyJ", SECRET, "Bearer x.y.z", "password=", "://u:p@h", "Cookie: ", "me@example.com", "-----BEGIN KEY-----"),
    *(
        "null",
        "true",
        "NaN",
        "Infinity",
        '{"',
        '":',
        "[[[[",
        "]]]]",
        "http://",
        "https://",
        "127.0.0.1",
        "[::1]",
        "localhost",
    ),
)
HEADERS = (
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "content-type",
    "retry-after",
    "x-correlation-id",
    "date",
)


def text(chance: Random) -> str:
    pieces = chance.choices(PIECES, k=chance.randint(1, 8))
    return "".join(pieces) * (chance.choice((40, 300)) if chance.random() < 0.01 else 1)


def value(chance: Random, depth: int = 0) -> Any:
    kind = chance.randrange(9 if depth < 3 else 6)
    if kind < 3:
        return text(chance)
    if kind < 6:
        return chance.choice((None, True, 0, -1, 1.5, float("inf"), float("nan"), 10**30))
    if kind == 6:
        return [value(chance, depth + 1) for _ in range(chance.randrange(3))]
    return {text(chance): value(chance, depth + 1) for _ in range(chance.randrange(4))}


def clean(shown: str) -> None:
    assert all(line == printable(line) for line in shown.split("\n")), "a character that deceives"


# The places. Each asserts what is promised of it, whatever it was given.


def shown_text(chance: Random) -> None:
    given = text(chance)
    found = redact(given + SECRET, SECRET)
    clean(found)
    assert SECRET not in found
    assert len(found) <= 300


def target(chance: Random) -> None:
    given = text(chance)
    with contextlib.suppress(InvalidArgumentError):
        template = chance.choice(("/a/{id}/b", "/a/{id}{x}/b", "/a/.{id}2e/b", "/a/{id}:x/b"))
        values = {"id": given, "x": text(chance)} if "{x}" in template else {"id": given}
        sent = encode_target(template, values, {"q": text(chance)})
        assert sent.isascii()
        assert re.fullmatch(r"[!-~]+", sent)
        path = unquote(unquote(sent.partition("?")[0]))
        assert path.count("/") == 3
        assert not {".", ".."} & set(re.split(r"[/\\;]", path))
        clean(redact_target(sent))


def path_by_hand(chance: Random) -> None:
    with contextlib.suppress(InvalidArgumentError):
        sent = encode_target("/" + text(chance), chance.choice((None, {})), None)
        assert re.fullmatch(r"/(?!/)[!-~]*", sent)


def base_url(chance: Random) -> None:
    given = chance.choice(("http://", "https://", "")) + text(chance)
    try:
        assert re.fullmatch(r"https?://[^/@?#\s]+(/[^?#\s]*)?", check_base_url(given))
    except ConfigError as error:
        clean(str(error))
        assert SECRET not in str(error)  # noqa: PT017


def settings(chance: Random) -> None:
    content = "".join(
        f"{chance.choice(('[retry]', '[', 'max_attempts = ', 'a.b.c = ', '[services.service.retry]'))}{text(chance)}\n"
        for _ in range(chance.randint(1, 4))
    )
    name = chance.choice(("TRANSPORT_CLIENT_KEY_FILE", "RETRY_MAX_ATTEMPTS", text(chance)))
    arguments: dict[str, Any] = chance.choice(
        (
            {"file": Path("s.toml"), "content": content.encode(errors="surrogatepass")},
            {"environ": {f"MOZAIKS_CONNECTORS_{name}": text(chance)}},
        )
    )
    try:
        ResolvedSettings(**arguments, services={"service": ("get_item",)})
    except ConfigError as error:
        clean(str(error))


def error_body(chance: Random) -> None:
    keys = ("error", "message", "code", "title", "detail", "errors", "errorCode", "success", text(chance))
    body = json.dumps({key: value(chance) for key in chance.sample(keys, 4)}).encode()
    if chance.random() < 0.2:
        body = body[: chance.randrange(len(body))]
    error = status_error(chance.choice((400, 404, 409, 429, 500, 503)), parse_problem(body, text(chance), SECRET))
    for shown in (str(error), json.dumps(error.to_plugin_error(), ensure_ascii=False)):
        clean(shown)
        assert SECRET not in shown


def header_values(chance: Random) -> None:
    wait = parse_retry_after(text(chance), text(chance), 1e9)
    assert wait is None or wait >= 0
    chosen, _ = choose_correlation_id(text(chance))
    assert re.fullmatch(r"[!-~][ -~]*", chosen)


def trace_file(chance: Random) -> None:
    span = {
        "traceId": "a" * 32,
        "spanId": "b" * 16,
        "name": text(chance),
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
        "attributes": [{"key": text(chance), "value": {"stringValue": text(chance)}}, value(chance)],
        "events": [{"name": text(chance), "timeUnixNano": chance.choice(("1", value(chance)))}],
        chance.choice(("status", "links", "kind", "parentSpanId", "attributes", "x")): value(chance),
    }
    line = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    found = traces_of(SpanReader().read([line[: chance.randrange(len(line))] if chance.random() < 0.1 else line]))
    for trace in found:
        for row in rows_of(trace):
            clean(row.label + row.text)
    page = render_page(found, of=len(found), source=text(chance))
    clean(page)
    assert page.count("<script>") == 1


def gateway(chance: Random) -> None:
    refusal = Access().refusal(Request(method="GET", path="/", headers={"host": text(chance) + ".evil.test"}))
    assert refusal is not None
    with contextlib.suppress(ValueError):
        Fault(kind="reset", path=text(chance)).matches("GET", "/" + "a" * 511)
    with contextlib.suppress(ValueError):
        Fault.from_text(text(chance))


PLACES: tuple[Callable[[Random], None], ...] = (
    *(shown_text, target, path_by_hand, base_url, settings, error_body, header_values, trace_file, gateway),
)
ORDER = tuple(
    place for place in PLACES for _ in range(1 if place is settings else 8)
)  # settings cost more than all others


class Wire:
    """A server that responds with generated bytes, and a client on each transport."""

    def __init__(self) -> None:
        self.chance = Random(0)
        self.clients: list[PlatformHttpClient] = []
        self.case = 0

    async def start(self) -> None:
        server = await asyncio.start_server(self.respond, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        own = {"retry": {"max_attempts": 1}, "deadline": {"total_s": 2.0}, "circuit_breaker": {"mode": "disabled"}}
        for library in LIBRARIES:
            settings = ResolvedSettings({**own, "transport": {"library": library}})
            self.clients.append(PlatformHttpClient(url, policies=settings))
        transport = httpx.AsyncHTTPTransport(trust_env=False)
        self.clients.append(PlatformHttpClient(url, policies=ResolvedSettings(own), transport=transport))

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.response(self.chance))
            await writer.drain()
        writer.close()

    @staticmethod
    def response(chance: Random) -> bytes:
        head = f"HTTP/1.{chance.choice('1110')} {chance.choice((200, 200, 204, 400, 500, 503, 999, 'x'))} OK\r\n"
        body = json.dumps(value(chance)) if chance.random() < 0.7 else text(chance)
        if chance.random() < 0.5:
            head += (
                f"content-length: {max(0, len(body.encode(errors='replace')) + chance.choice((0, 0, 0, -1, 9)))}\r\n"
            )
        for name in chance.sample(HEADERS, 2):
            head += f"{name}: {chance.choice(('gzip', 'chunked', 'application/json', '0', text(chance)))}\r\n"
        found = (head + "\r\n" + body).encode(errors="replace")
        return found[: chance.randrange(1, len(found))] if chance.random() < 0.1 else found

    async def call(self, seed: str) -> None:
        self.chance = Random(seed)
        self.case += 1
        client = self.clients[self.case % len(self.clients)]
        try:
            async with asyncio.timeout(10):
                await client.get("/r", user_jwt=SECRET)
        except CallError as error:
            for shown in (str(error), json.dumps(error.to_plugin_error(), ensure_ascii=False)):
                clean(shown)
                assert SECRET not in shown

    async def stop(self) -> None:
        for client in self.clients:
            await client.aclose()


def in_time(place: Callable[[Random], None], seed: str) -> None:
    """Run one case; what was slow is run again by the clock of this thread, which costs more to read than a case."""
    before = time.perf_counter()
    place(Random(seed))
    if time.perf_counter() - before >= SLOWEST_S:
        used = time.thread_time()
        place(Random(seed))
        assert time.thread_time() - used < SLOWEST_S, "too slow"


async def run(cases: int, seed: int, only: str) -> int:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore", FutureWarning)  # of patterns that a later Python may read in another way
    wire, counted, started = Wire(), dict.fromkeys((*(place.__name__ for place in PLACES), "wire"), 0), time.monotonic()
    await wire.start()
    for case in range(cases):
        name = "wire" if case % ONE_IN == 0 else ORDER[case % len(ORDER)].__name__
        if only and name != only:
            continue
        counted[name] += 1
        try:
            if name == "wire":
                await wire.call(f"{seed}:{case}")
            else:
                in_time(ORDER[case % len(ORDER)], f"{seed}:{case}")
        except Exception as error:
            kind = "" if isinstance(error, PlatformError | AssertionError) else "an error that is none of ours: "
            print(
                f"violation: place {name}, seed {seed}:{case}: {kind}{type(error).__name__}: {printable(str(error))[:300]}"  # noqa: E501
            )
            raise
    await wire.stop()
    counts = ", ".join(f"{name} {number}" for name, number in counted.items() if number)
    print(f"{sum(counted.values())} cases in {time.monotonic() - started:.0f} s, 0 violations: {counts}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=[*(place.__name__ for place in PLACES), "wire"], default="")
    options = parser.parse_args()
    return asyncio.run(run(options.cases, options.seed, options.only))


if __name__ == "__main__":
    sys.exit(main())
