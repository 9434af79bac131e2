"""
The lab: every transport behind every gateway that is installed, for real, counted against the upstream's log.

    pip install '.[aiohttp,gateways]'
    python tests/gateways/lab.py                           # nginx, HAProxy, Apache and Varnish come with the system
    python tests/gateways/lab.py --gateways nginx,Envoy --checks cuts,restart

Prints one line per gateway, check and transport; ends with 1 if one is not as it must be.
"""

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import unquote

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import trustme
from programs import PROGRAMS, Envoy, base_options, running
from traffic import steady
from upstream import CUTS, Upstream

from middleware import CallError, ConfigError, RateLimitedError, RequestNotSentError, ServerError
from middleware.clock import SystemClock
from middleware.transports.registry import make_transport
from middleware.transports.transport_settings import LIBRARIES, TransportSettings
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import DEFAULT_API_KEY
from runtime.settings import ResolvedSettings

NO_BREAKER = {"circuit_breaker": {"mode": "disabled"}}
GIVE_UP = {"retry_after_max_s": 1.0}  # of Varnish's five seconds
OUTLASTED_S = 1.0  # a gap that each call outlasts (R20)
WARM_S = 2.5  # traffic before a reload or restart: a circuit does not open on a few failures alone (R32)
ODD_IDS = (
    "a/b", "..x", "x..", ".x", "a b", "a%2Fb", "a?b", "a#b", "a;b", "a+b", "a&b=c", "a:b", "a@b", "é", "日本", "a\\b",
    "a\x00b", "%", "a//b", "~a", "a,b",
)  # fmt: skip
NUL = "a\x00b"  # nginx responds 400

MOST_READS = {
    "nginx": {"GET": 9, "PUT": 9, "DELETE": 9, "POST": 1, "POST empty": 1, "POST keyed": 3},
    "HAProxy": {"GET": 3, "PUT": 3, "DELETE": 3, "POST": 1, "POST empty": 1, "POST keyed": 3},
    "Envoy": {"GET": 3, "PUT": 3, "DELETE": 3, "POST": 1, "POST empty": 1, "POST keyed": 3},
    "Traefik": {"GET": 9, "PUT": 3, "DELETE": 3, "POST": 1, "POST empty": 1, "POST keyed": 3},
    "Caddy": {"GET": 9, "PUT": 3, "DELETE": 3, "POST": 1, "POST empty": 1, "POST keyed": 3},
    "Apache": {"GET": 3, "PUT": 3, "DELETE": 3, "POST": 1, "POST empty": 1, "POST keyed": 3},
    "Varnish": {"GET": 6, "PUT": 6, "DELETE": 6, "POST": 1, "POST empty": 2, "POST keyed": 3},
}
"""Requests that the upstream may read of one call, the gateway's own replays included; docs/gateways.md."""


class Wrong(Exception):  # noqa: N818 - a verdict
    """A check is not as it must be."""


def expect(condition, text):
    if not condition:
        raise Wrong(text)


def client_of(gateway, library, *, tls=None, **sections):
    """A client of *gateway* over *library*; *tls*: the authority's file, or "" for the public ones."""
    sections["transport"] = {"library": library, **sections.get("transport", {}), **({"ca_file": tls} if tls else {})}
    scheme = "http" if tls is None else "https"
    policies = ResolvedSettings(sections)
    return PlatformHttpClient(f"{scheme}://localhost:{gateway.port}", DEFAULT_API_KEY, policies=policies)


async def outcome(call):
    """Return the error of *call*, or its document."""
    try:
        return await call
    except CallError as error:
        return error


def is_error(result):
    return isinstance(result, CallError)


async def identity(gateway, upstream, library):
    """Bytes arrive as they were sent, both ways."""
    text = "é\u2028\x00\U0001f600" * 20_000
    async with client_of(gateway, library) as client:
        got = await client.get(f"/{library}/body/300000", path_params={})
        expect(got == {"text": "é\u2028\x00" * (300_000 // 8)}, "the response is another one")
        await client.post(f"/{library}/any", path_params={}, json_body={"text": text})
    import json

    sent = [seen for seen in upstream.of(library) if seen.target.endswith("/any")]
    expect(len(sent) == 1 and json.loads(sent[0].body) == {"text": text}, "the request is another one")
    return f"{len(got['text'])} characters read, {len(sent[0].body)} bytes written"


async def cuts(gateway, upstream, library):
    """A response that ends early is never a success, and a write's error does not say that it is safe to repeat."""
    reads = {"GET": [], "POST": []}
    async with client_of(gateway, library, retry=GIVE_UP, **NO_BREAKER) as client:
        for number, kind in enumerate(CUTS):
            for method, counts in reads.items():
                path = f"/{library}/cut/{number}/{method}"
                body = {"id": 1} if method == "POST" else None
                result = await outcome(client.request(method, path, path_params={}, json_body=body))
                expect(is_error(result), f"{method} {kind}: a success")
                if method == "POST":
                    expect(not result.is_retry_safe, f"POST {kind}: {result!r} says that it is safe to repeat")
                counts.append(sum(seen.target == path for seen in upstream.of(library)))
    expect(max(reads["POST"]) == 1, f"POSTs read {reads['POST']}")
    return f"no success of {2 * len(CUTS)}; read per GET {reads['GET']}, per POST {reads['POST']}"


async def replays(gateway, upstream, library):
    """An upstream that closes without a byte: how often it reads one call."""
    shown = []
    async with (
        client_of(gateway, library, retry=GIVE_UP, **NO_BREAKER) as client,
        client_of(gateway, library, retry=GIVE_UP, idempotency={"honors_key": True}, **NO_BREAKER) as keyed,
    ):
        for name, most in MOST_READS[gateway.name].items():
            warm = (client.get(f"/{library}/slow/100", path_params={}) for _ in range(6))
            await asyncio.gather(*warm)
            method, _, kind = name.partition(" ")
            path = f"/{library}/cut/0/replay-{name.replace(' ', '-')}"
            body = {"id": 1} if method in {"POST", "PUT"} and kind != "empty" else None
            sender = keyed if kind == "keyed" else client
            result = await outcome(sender.request(method, path, path_params={}, json_body=body))
            expect(is_error(result), f"{name}: a success")
            seen = [seen for seen in upstream.of(library) if seen.target == path]
            keys = {one.headers.get("idempotency-key") for one in seen}
            expect(len(seen) <= most, f"{name} read {len(seen)} times, at most {most}")
            expect(len(keys) == 1, f"{name}: keys {keys}")
            shown.append(f"{name} {len(seen)}")
    return "read per call: " + ", ".join(shown)


async def ids(gateway, upstream, library):
    """Each odd id arrives as one segment, and as itself."""
    rejected = []
    async with client_of(gateway, library, path={"allow_slash": True}) as client:
        for one in ODD_IDS:
            result = await outcome(client.get(f"/{library}/id/{{id}}/end", path_params={"id": one}))
            if is_error(result):
                rejected.append((one, result))
                continue
            segments = upstream.of(library)[-1].target.split("/")
            expect(len(segments) == 5 and unquote(segments[3]) == one, f"{one!r} arrived as {'/'.join(segments[3:-1])}")
    for one, result in rejected:  # rejected before the upstream, by us or by the gateway
        honest = result.status == 400 or result.request_sent == "no"
        expect(honest and one == NUL, f"{one!r}: {result!r}")
    return f"{len(ODD_IDS) - len(rejected)} of {len(ODD_IDS)} arrive, rejected: {[one for one, _ in rejected]}"


async def sizes(gateway, upstream, library):
    """Big heads and bodies arrive, or end in an error with a status or a class of its own."""
    shown = []
    async with client_of(gateway, library, retry={"max_attempts": 1}, **NO_BREAKER) as client:
        await client.post(f"/{library}/large", path_params={}, json_body={"text": "x" * 5_000_000})
        expect(len(upstream.of(library)[-1].body) > 5_000_000, "a part of the body arrived")
        await client.get(f"/{library}/any", path_params={}, user_jwt="t" * 7000)
        await client.get(f"/{library}/head/2000", path_params={})
        for name, call in {
            "14 kB request head": client.get(
                f"/{library}/any", path_params={}, params={"q": "t" * 7000}, user_jwt="t" * 7000
            ),
            "20 kB response head": client.get(f"/{library}/head/20000", path_params={}),
            "60 kB response head": client.get(f"/{library}/head/60000", path_params={}),
        }.items():
            result = await outcome(call)
            shown.append(f"{name}: {(result.status or type(result).__name__) if is_error(result) else 'passes'}")
        await client.get(f"/{library}/any", path_params={})
    return "; ".join(shown)


async def early(gateway, upstream, library):
    """A response before the request was read, and one after an interim response."""
    single = {"retry": {"max_attempts": 1}, "attempt": {"timeout_s": 2.0}}
    async with client_of(gateway, library, **single, **NO_BREAKER) as client:
        body = {"text": "x" * 300_000}
        result = await outcome(client.post(f"/{library}/early", path_params={}, json_body=body))
        expect(is_error(result), "413 before the body: a success")
        hints = await outcome(client.get(f"/{library}/interim", path_params={}))
        status = (hints.status or type(hints).__name__) if is_error(hints) else "passes"
        expect(gateway.name in {"nginx", "Varnish"} or status == "passes", f"103: {hints!r}")
        await client.get(f"/{library}/any", path_params={})
    return f"413 before the body: {result.status or type(result).__name__}; 103: {status}"


async def overload(gateway, upstream, library):
    """What the gateway's own limit rejects was not written, and no error says otherwise."""
    tally = {"ok": 0}
    async with client_of(gateway, library, retry={"max_attempts": 1}, **NO_BREAKER) as client:
        before = len(upstream.of(library))
        calls = [client.post(f"/{library}/slow/300", path_params={}, json_body={"id": 1}) for _ in range(8)]
        for result in await asyncio.gather(*(outcome(call) for call in calls)):
            if not is_error(result):
                tally["ok"] += 1
                continue
            known = isinstance(result, RateLimitedError | ServerError)
            expect(known, f"an error of another kind: {result!r}")
            unknown = "unknown" if result.outcome_unknown else "not processed"
            after = "" if result.retry_after_s is None else f" Retry-After {result.retry_after_s:g}"
            name = f"{result.status}{after} {unknown}"
            tally[name] = tally.get(name, 0) + 1
    read = len(upstream.of(library)) - before
    expect(tally["ok"] == read, f"{tally['ok']} succeeded, {read} read")
    return ", ".join(f"{count} {name}" for name, count in tally.items())


async def idle(gateway, upstream, library):
    """Writes on connections that the gateway closes at that moment: an unknown outcome at worst."""
    failures, written = [], 0
    async with client_of(gateway, library, **NO_BREAKER) as client:

        async def one(number):
            nonlocal written
            for step in range(4):
                key = f"{library}-idle-{number}-{step}"
                result = await outcome(client.post(f"/{library}/write", path_params={}, json_body={"id": key}))
                written += upstream.writes[key] > 0
                expect(upstream.writes[key] <= 1, "written twice")
                if is_error(result):
                    failures.append(result)
                    expect(result.outcome_unknown or not upstream.writes[key], f"not honest: {result!r}")
                else:
                    expect(upstream.writes[key] == 1, "a success without a write")
                await asyncio.sleep(random.uniform(0.8, 1.15))

        await asyncio.gather(*(one(number) for number in range(12)))
    expect(len(failures) <= 2, f"{len(failures)} of 48 lost")
    return f"{len(failures)} of 48 lost, {written} written, 0 twice"


async def tls(gateway, upstream, library):
    """Over TLS with the authority that is set; with another one nothing is sent."""
    authority = str(gateway.certificate.with_name("ca.pem"))
    async with client_of(gateway, library, tls=authority) as client:
        await client.post(f"/{library}/any", path_params={}, json_body={})
    before = len(upstream.of(library))
    async with client_of(gateway, library, tls="", retry={"max_attempts": 1}) as client:
        result = await outcome(client.get(f"/{library}/any", path_params={}))
    expect(isinstance(result, RequestNotSentError), f"an unknown authority: {result!r}")
    expect(len(upstream.of(library)) == before, "read with an unknown authority")
    return "private authority: passes; unknown one: not sent"


async def _under_traffic(gateway, upstream, libraries, act, seconds):
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(gateway, one)) for one in libraries]
        traffic = [
            asyncio.create_task(steady(one, who, upstream, seconds=seconds, gets_per_s=4, posts_per_s=1.5))
            for who, one in zip(libraries, clients, strict=True)
        ]
        await asyncio.sleep(WARM_S)
        gap = await act()
        return gap, dict(zip(libraries, await asyncio.gather(*traffic), strict=True))


async def reload(gateway, upstream, libraries):
    """A reload under traffic: no GET fails, no write is lost or doubled, no error is wrong."""
    _, tallies = await _under_traffic(gateway, upstream, libraries, gateway.reload, 5.0)
    for library, tally in tallies.items():
        expect(not tally.wrong and not tally.get_failures, f"{library}: {tally}")
    return {library: str(tally) for library, tally in tallies.items()}


async def restart(gateway, upstream, libraries):
    """A restart under traffic: as a reload, but that calls may fail where the gap is longer than 1 s."""
    gap, tallies = await _under_traffic(gateway, upstream, libraries, gateway.restart, 6.0)
    for library, tally in tallies.items():
        expect(not tally.wrong, f"{library}: {tally}")
        expect(gap > OUTLASTED_S or not tally.not_sent, f"{library}: not sent after a gap of {gap:.2f} s: {tally}")
    return {library: f"gap {gap:.2f} s: {tally}" for library, tally in tallies.items()}


async def returns(gateway, upstream, libraries):
    """GETs that begin while the gateway is away, or has no routes yet, succeed (R20, R21)."""

    async def gets(client, library):
        tasks = []
        for _ in range(4):
            tasks.append(asyncio.create_task(outcome(client.request("GET", f"/{library}/any", path_params={}))))
            await asyncio.sleep(0.1)
        return await asyncio.gather(*tasks)

    async with contextlib.AsyncExitStack() as stack:
        clients = {library: await stack.enter_async_context(client_of(gateway, library)) for library in libraries}
        for library, client in clients.items():
            for _ in range(30):  # in use before: refused connections alone would open the circuit
                await client.request("GET", f"/{library}/any", path_params={})
        await gateway.stop()
        stopped = time.monotonic()
        calls = [asyncio.create_task(gets(client, library)) for library, client in clients.items()]
        await asyncio.sleep(0.2)
        gateway.launch()
        while not await gateway.listens():
            await asyncio.sleep(0.01)
        away_s, shown = time.monotonic() - stopped, {}
        try:
            all_results = await asyncio.gather(*calls)
        finally:
            await gateway.ready()
    for library, results in zip(libraries, all_results, strict=True):
        errors = [result for result in results if is_error(result)]
        expect(away_s > OUTLASTED_S or not errors, f"{library}: away for {away_s:.2f} s: {errors!r}")
        timelines = (result.outcome.timeline for result in results if not is_error(result))
        statuses = Counter(str(one.status or "refused") for timeline in timelines for one in timeline)
        shown[library] = f"away for {away_s:.2f} s: {4 - len(errors)} of 4; attempts: " + ", ".join(
            f"{count} {status}" for status, count in sorted(statuses.items())
        )
    return shown


# Name, options of the gateway, whether all transports run at a time (not where they would share a limit or a pool).
PLAIN = ((identity, True), (cuts, True), (replays, False), (ids, True), (sizes, False), (early, True))
SHARED = (reload, restart, returns)
SPECIAL = {"limit": overload, "limit-429": overload, "idle": idle, "tls": tls}
OVER_HTTP2 = (identity, cuts, ids)


class Report:
    """Prints the lines, and counts what is wrong."""

    def __init__(self, wanted):
        self.wanted, self.failed, self.lines = wanted, 0, 0

    def wants(self, *names):
        return not self.wanted or bool(self.wanted.intersection(names))

    def line(self, gateway, check, library, text, *, passed=True):
        self.lines += 1
        self.failed += not passed
        print(f"{'ok ' if passed else 'BAD'} {gateway:8} {check:14} {library:10} {text}", flush=True)

    async def run(self, check, name, gateway, upstream, library):
        try:
            text = await check(gateway, upstream, library)
        except (Wrong, CallError) as error:
            names = library if isinstance(library, str) else "all"
            self.line(gateway.name, name, names, f"{type(error).__name__}: {error}", passed=False)
            return
        for one, shown in (text if isinstance(text, dict) else {library: text}).items():
            self.line(gateway.name, name, one, shown)


async def behind(program, folder, libraries, certificate, report):
    """Run all checks behind one gateway."""
    async with Upstream() as upstream:
        names = [check.__name__ for check, _ in PLAIN]
        if report.wants(*names, *(check.__name__ for check in SHARED)):
            async with running(program, folder, upstream.port, *base_options(program)) as gateway:
                for check, together in PLAIN:
                    if report.wants(check.__name__):
                        runs = [report.run(check, check.__name__, gateway, upstream, one) for one in libraries]
                        await (asyncio.gather(*runs) if together else _in_turn(runs))
                for check in SHARED:
                    if report.wants(check.__name__):
                        await report.run(check, check.__name__, gateway, upstream, libraries)
        for option, check in SPECIAL.items():
            name = f"{check.__name__} {option}" if option.startswith("limit") else check.__name__
            if option not in program.offers or not report.wants(check.__name__):
                continue
            async with running(
                program, folder, upstream.port, *base_options(program), option, certificate=certificate
            ) as gateway:
                runs = [report.run(check, name, gateway, upstream, one) for one in libraries]
                await (_in_turn(runs, 1.1) if check is overload else asyncio.gather(*runs))
        if "h2" in program.offers and Envoy.path() and report.wants("h2"):
            upstream.requests.clear()
            async with (
                running(Envoy, folder, upstream.port) as inner,  # speaks HTTP/2 without TLS to whoever begins with it
                running(program, folder, inner.port, "h2") as gateway,
            ):
                for check in OVER_HTTP2:
                    name = f"h2 {check.__name__}"
                    await asyncio.gather(*(report.run(check, name, gateway, upstream, one) for one in libraries))


async def _in_turn(runs, pause_s=0.0):
    for run in runs:
        await run
        await asyncio.sleep(pause_s)


def installed():
    """Return the transports that are installed."""
    found = []
    for library in LIBRARIES:
        try:
            make_transport(TransportSettings(library=library), SystemClock())
        except ConfigError as error:
            print(f"{library}: {error}")
        else:
            found.append(library)
    return found


async def main(options, folder):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = folder / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    certificate.chmod(0o644)
    libraries, report = installed(), Report(options.checks)
    at_a_time = asyncio.Semaphore(2)

    async def one(program):
        async with at_a_time:
            started = time.monotonic()
            await behind(program, folder, libraries, certificate, report)
            print(f"--- {program.name} {program.version()}: {time.monotonic() - started:.0f} s", flush=True)

    async with asyncio.TaskGroup() as tasks:
        for program in PROGRAMS:
            if options.gateways and program.name.lower() not in options.gateways:
                continue
            if program.path():
                tasks.create_task(one(program))
            else:
                print(f"{program.name}: not installed")
    print(f"{report.lines} lines, {report.failed} not as they must be")
    return 1 if report.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda text: {one.strip() for one in text.split(",") if one.strip()}  # noqa: E731
    parser.add_argument("--gateways", type=lambda text: listed(text.lower()), default=set())
    parser.add_argument("--checks", type=listed, default=set())
    logging.disable()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)
        sys.exit(asyncio.run(main(parser.parse_args(), Path(place))))
