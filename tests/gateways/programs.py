"""
The seven gateways as programs: how each is configured, started, reloaded and stopped. Used by benchmarks too.

Each runs in the foreground on loopback. Envoy ends when the *thread* that started it ends, so start them from the main
thread.
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from runtime.cli.behind import (
    caddy_config,
    envoy_config,
    find,
    free_port,
    nginx_config,
    traefik_options,
    traefik_routes,
)

STARTS_WITHIN_S, STOPS_WITHIN_S = 20.0, 15.0
READY_PATH = "/ready"
_numbers = itertools.count(1)


@dataclass(kw_only=True)
class Program:
    """
    One gateway.

    Attributes:
        folder: Where it keeps its files.
        upstream: Port of the server that it proxies to.
        second: Port of a further upstream, for its own retries; 0 for none.
        options: What differs from the smallest configuration: `keepalive` (nginx), `idle` (client connections are
            closed after 1 s), `limit` (2 requests at a time, else its own error response), `limit-429`,
            `limit-retry-after` (nginx), `retry` (its own retries), `once` (no replays on idle connections), `tls`, `h2`
            (towards the upstream), `pass` (Varnish caches nothing that has credentials).
        certificate: PEM file of certificate and key, for `tls`.
        port: Where it listens.
    """

    name: ClassVar[str]
    executable: ClassVar[str]
    version_command: ClassVar[tuple[str, ...]] = ("-v",)
    offers: ClassVar[frozenset[str]]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    folder: Path
    upstream: int
    second: int = 0
    options: frozenset[str] = frozenset()
    certificate: Path | None = None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None
    started: list = field(default_factory=list)

    def __post_init__(self):
        """Set what a gateway has of its own."""

    @classmethod
    def path(cls):
        """Where it is installed; None where it is not."""
        return find(cls.executable)

    @classmethod
    def version(cls):
        """The first version in what the program says of itself."""
        shown = subprocess.run([cls.path(), *cls.version_command], capture_output=True, text=True, check=False)
        words = (shown.stdout + shown.stderr).replace("/", " ").replace("(", " ").replace("-", " ").split()
        return next(word.strip("v") for word in words if word.strip("v")[:1].isdigit() and "." in word)

    def write(self):
        """Write the configuration."""
        raise NotImplementedError

    def command(self):
        """Return the command line."""
        raise NotImplementedError

    def has(self, option):
        return option in self.options

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def launch(self):
        """Start a process; the caller waits until it is ready."""
        environment = {**os.environ, "HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        environment["XDG_DATA_HOME"] = str(self.folder)
        log = (self.folder / "output.log").open("ab")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=environment, start_new_session=True)
        log.close()
        self.started.append(self.process)

    async def ready(self):
        """Wait until a request passes: some open their port before they have their routes."""
        async with asyncio.timeout(STARTS_WITHIN_S):
            while not await self._passes():
                if self.process.poll() is not None:
                    text = (self.folder / "output.log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{self.name} did not start: {text}")
                await asyncio.sleep(0.05)

    async def _passes(self):
        tls = None
        if self.has("tls"):
            import ssl

            tls = ssl.create_default_context()
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=tls)
                try:
                    writer.write(f"GET {READY_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                    return b" 200 " in await reader.read(64)
                finally:
                    writer.transport.abort()
        return False

    async def start(self):
        self.write()
        self.launch()
        await self.ready()

    async def reload(self):
        """Let it read its configuration again, without an end of service."""
        self.process.send_signal(signal.SIGHUP)

    async def stop(self):
        """End it gracefully; it may finish the calls in flight."""
        self.process.send_signal(self.stop_signal)
        try:
            async with asyncio.timeout(STOPS_WITHIN_S):
                while self.process.poll() is None:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            self.kill()

    async def restart(self):
        """Stop and start it; returns the seconds in which nothing listened."""
        self.process.send_signal(self.stop_signal)
        stop = asyncio.create_task(self.stop())
        gone_at = None
        while not stop.done():
            if gone_at is None and not await self.listens():
                gone_at = time.monotonic()
            await asyncio.sleep(0.01)
        gone_at = gone_at or time.monotonic()
        self.launch()
        async with asyncio.timeout(STARTS_WITHIN_S):
            while not await self.listens():
                if self.process.poll() is not None:  # the port of the last process is not free yet
                    self.launch()
                await asyncio.sleep(0.01)
        return time.monotonic() - gone_at

    async def listens(self):
        """Return whether it takes connections."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def kill(self):
        """End all processes that it started, those of its workers too."""
        for process in self.started:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Nginx(Program):
    name, executable = "nginx", "nginx"
    offers = frozenset({"keepalive", "idle", "limit", "limit-429", "limit-retry-after", "retry", "once", "tls"})
    stop_signal = signal.SIGQUIT

    def write(self):
        http, server, location, listen = "", "client_max_body_size 8m;", "", ""
        upstream = self.upstream
        if self.has("keepalive") or self.second:
            down = " max_fails=0" if self.has("retry") else ""
            servers = f"server 127.0.0.1:{self.upstream}{down};" + (
                f" server 127.0.0.1:{self.second}{down};" if self.second else ""
            )
            keepalive = "keepalive 16;" if self.has("keepalive") else ""
            http += f"upstream all {{ {servers} {keepalive} }}"
            location += 'proxy_http_version 1.1; proxy_set_header Connection "";'
        if self.has("idle"):
            http += "keepalive_timeout 1s;"
        if self.options & {"limit", "limit-429", "limit-retry-after"}:
            http += "limit_conn_zone $server_port zone=all:1m;"
            location += "limit_conn all 2;"
        if self.has("limit-429"):
            http += "limit_conn_status 429;"
        if self.has("limit-retry-after"):
            location += "error_page 503 @limited;"
            server += "location @limited { add_header Retry-After 1 always; return 503; }"
        if self.has("retry"):
            location += "proxy_next_upstream error timeout http_502 http_503 http_504;"
        if self.has("once"):
            location += "proxy_next_upstream off;"
        if self.has("tls"):
            listen = "ssl"
            server += f"ssl_certificate {self.certificate}; ssl_certificate_key {self.certificate};"
        text = nginx_config(
            self.folder, self.port, upstream, http=http, server=server, location=location, listen=listen
        )
        if "upstream all" in http:
            text = text.replace(f"proxy_pass http://127.0.0.1:{upstream};", "proxy_pass http://all;")
        self.config = self.file("nginx.conf", text)

    def command(self):
        return [self.path(), "-p", str(self.folder), "-c", str(self.config)]


class Haproxy(Program):
    name, executable = "HAProxy", "haproxy"
    offers = frozenset({"idle", "limit", "limit-429", "retry", "tls", "h2"})
    stop_signal = signal.SIGUSR1

    def write(self):
        server = f"127.0.0.1:{self.upstream}" + (" proto h2" if self.has("h2") else "")
        server += " maxconn 2" if self.has("limit") else ""
        errors = "".join(
            f"    errorfile {status} /etc/haproxy/errors/{status}.http\n"
            for status in (400, 403, 408, 500, 502, 503, 504)
            if Path(f"/etc/haproxy/errors/{status}.http").exists()
        )
        second = f"    server s2 127.0.0.1:{self.second}\n" if self.second else ""
        retry = "    retries 3\n    retry-on all-retryable-errors\n" if self.has("retry") else ""
        tls = f" ssl crt {self.certificate}" if self.has("tls") else ""
        deny = ""
        if self.has("limit-429"):
            deny = "    http-request deny deny_status 429 if { be_conn(upstream) gt 2 }\n"
        self.config = self.file(
            "haproxy.cfg",
            "global\n    hard-stop-after 10s\n"
            "defaults\n    mode http\n    timeout connect 5s\n    timeout client 50s\n    timeout server 50s\n"
            + ("    timeout http-keep-alive 1s\n" if self.has("idle") else "")
            + ("    timeout queue 300ms\n" if self.has("limit") else "")
            + errors
            + f"frontend all\n    bind 127.0.0.1:{self.port}{tls}\n{deny}    default_backend upstream\n"
            + f"backend upstream\n{retry}    server s1 {server}\n{second}",
        )

    def command(self):
        return [self.path(), "-W", "-db", "-f", str(self.config)]

    async def reload(self):
        self.process.send_signal(signal.SIGUSR2)


class Envoy(Program):
    name, executable = "Envoy", "envoy"
    version_command = ("--version",)
    offers = frozenset({"idle", "limit", "limit-429", "retry", "tls", "h2"})

    def __post_init__(self):
        self.epoch, self.base_id = 0, os.getpid() % 20_000 + next(_numbers)

    def write(self):
        config = envoy_config(self.port, self.upstream)
        [listener], [cluster] = config["static_resources"]["listeners"], config["static_resources"]["clusters"]
        [chain] = listener["filter_chains"]
        manager = chain["filters"][0]["typed_config"]
        [host] = manager["route_config"]["virtual_hosts"]
        options = {}
        if self.has("idle"):
            options["idle_timeout"] = "1s"
        if self.has("limit"):
            cluster["circuit_breakers"] = {"thresholds": [{"max_requests": 2, "max_pending_requests": 2}]}
        if self.has("limit-429"):
            bucket = {"max_tokens": 2, "tokens_per_fill": 2, "fill_interval": "1s"}
            kind = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
            on = {"default_value": {"numerator": 100}}
            limit = {"@type": kind, "stat_prefix": "all", "token_bucket": bucket, "filter_enabled": on}
            manager["http_filters"].insert(
                0, {"name": "local_ratelimit", "typed_config": {**limit, "filter_enforced": on}}
            )
        if self.has("retry"):
            host["routes"][0]["route"]["retry_policy"] = {"retry_on": "5xx,reset,connect-failure", "num_retries": 3}
        if options:
            manager["common_http_protocol_options"] = options
        if self.has("tls"):
            file = {"filename": str(self.certificate)}
            context = {"common_tls_context": {"tls_certificates": [{"certificate_chain": file, "private_key": file}]}}
            kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
            chain["transport_socket"] = {"name": "tls", "typed_config": {"@type": kind, **context}}
        if self.has("h2"):
            kind = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            http2 = {"@type": kind, "explicit_http_config": {"http2_protocol_options": {}}}
            cluster["typed_extension_protocol_options"] = {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
            }
        self.config = self.file("envoy.yml", json.dumps(config))

    def command(self):
        options = ["-l", "error", "--concurrency", "1", "--base-id", str(self.base_id)]
        options += ["--restart-epoch", str(self.epoch), "--drain-time-s", "2", "--parent-shutdown-time-s", "5"]
        return [self.path(), "-c", str(self.config), *options]

    async def reload(self):
        """Hot restart: the next process takes the sockets over, and the last one ends after its calls."""
        self.epoch += 1
        self.launch()

    async def restart(self):
        self.epoch, self.base_id = 0, self.base_id + 20_000
        return await super().restart()


class Traefik(Program):
    name, executable = "Traefik", "traefik"
    version_command = ("version",)
    offers = frozenset({"idle", "limit", "limit-429", "retry", "once", "tls", "h2"})

    def write(self):
        routes = traefik_routes(self.upstream, "h2c" if self.has("h2") else "http")
        router = routes["http"]["routers"]["all"]
        if self.options & {"limit", "limit-429"}:
            routes["http"]["middlewares"] = {"limit": {"inFlightReq": {"amount": 2}}}
            router["middlewares"] = ["limit"]
        if self.has("retry"):
            routes["http"]["middlewares"] = {"again": {"retry": {"attempts": 3, "initialInterval": "10ms"}}}
            router["middlewares"] = ["again"]
        if self.has("once"):
            routes["http"]["serversTransports"] = {"fresh": {"maxIdleConnsPerHost": -1}}
            routes["http"]["services"]["upstream"]["loadBalancer"]["serversTransport"] = "fresh"
        if self.has("tls"):
            router["tls"] = {}
            pair = {"certFile": str(self.certificate), "keyFile": str(self.certificate)}
            routes["tls"] = {"certificates": [pair], "stores": {"default": {"defaultCertificate": pair}}}
        self.routes = routes
        self.config = self.file("routes.yml", json.dumps(routes))

    def command(self):
        idle = ["--entrypoints.web.transport.respondingTimeouts.idleTimeout=1s"] if self.has("idle") else []
        return [self.path(), *traefik_options(self.port, self.config), *idle, "--log.level=ERROR"]

    async def reload(self):
        """Replace the file that it watches; one that is truncated first would be read empty, and all routes be gone."""
        self.routes["http"]["routers"]["all"]["priority"] = next(_numbers)
        self.file("next.yml", json.dumps(self.routes)).rename(self.config)


class Caddy(Program):
    name, executable = "Caddy", "caddy"
    version_command = ("version",)
    offers = frozenset({"idle", "limit", "retry", "once", "tls", "h2"})

    def write(self):
        self.admin = getattr(self, "admin", None) or free_port()
        proxy = f"to 127.0.0.1:{self.second}\n" if self.second else ""
        proxy += "unhealthy_request_count 2\n" if self.has("limit") else ""
        proxy += "lb_try_duration 2s\nlb_try_interval 250ms\n" if self.has("retry") else ""
        proxy += "transport http {\nversions h2c\n}\n" if self.has("h2") else ""
        proxy += "transport http {\nkeepalive off\n}\n" if self.has("once") else ""
        servers = "timeouts {\nidle 1s\n}" if self.has("idle") else ""
        site = f"tls {self.certificate} {self.certificate}" if self.has("tls") else ""
        text = caddy_config(
            self.port, self.upstream, admin=f"127.0.0.1:{self.admin}", servers=servers, site=site, proxy=proxy
        )
        self.config = self.file("Caddyfile", text)

    def command(self):
        return [self.path(), "run", "--adapter", "caddyfile", "--config", str(self.config)]

    async def reload(self):
        options = ["--adapter", "caddyfile", "--config", str(self.config), "--address", f"127.0.0.1:{self.admin}"]
        process = await asyncio.create_subprocess_exec(
            self.path(), "reload", "--force", *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await process.wait()


class Apache(Program):
    name, executable = "Apache", "apache2"
    offers = frozenset({"idle", "limit", "tls", "h2"})
    stop_signal = signal.SIGWINCH

    def write(self):
        modules = ["mpm_event", "authz_core", "reqtimeout", "proxy", "proxy_http"]
        modules += ["ssl", "socache_shmcb"] if self.has("tls") else []
        modules += ["proxy_http2"] if self.has("h2") else []
        scheme = "h2c" if self.has("h2") else "http"
        limit = " max=2 acquire=200" if self.has("limit") else ""
        lines = [
            *(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules),
            "ServerName localhost",
            f"DefaultRuntimeDir {self.folder}",
            f"PidFile {self.folder}/apache.pid",
            f"ErrorLog {self.folder}/error.log",
            f"Listen 127.0.0.1:{self.port}",
            *(["User www-data", "Group www-data"] if os.getuid() == 0 else []),
            "KeepAliveTimeout " + ("1" if self.has("idle") else "5"),
            "MaxKeepAliveRequests 0",
            "RequestReadTimeout header=20-40,minrate=500 body=20,minrate=500",
            *(["StartServers 1", "ServerLimit 1", "ThreadsPerChild 25", "MaxRequestWorkers 25"] if limit else []),
            "AllowEncodedSlashes NoDecode",
            f"ProxyPass / {scheme}://127.0.0.1:{self.upstream}/{limit} nocanon",
        ]
        if self.has("tls"):
            lines += [
                "SSLEngine on",
                f"SSLCertificateFile {self.certificate}",
                f"SSLCertificateKeyFile {self.certificate}",
            ]
        self.config = self.file("apache.conf", "\n".join(lines) + "\n")

    def command(self):
        return [self.path(), "-DFOREGROUND", "-f", str(self.config)]

    async def reload(self):
        self.process.send_signal(signal.SIGUSR1)


class Varnish(Program):
    name, executable = "Varnish", "varnishd"
    version_command = ("-V",)
    offers = frozenset({"idle", "limit", "pass"})

    def write(self):
        limit = " .max_connections = 2;" if self.has("limit") else ""
        text = f'vcl 4.1;\nbackend default {{ .host = "127.0.0.1"; .port = "{self.upstream}";{limit} }}\n'
        if self.has("pass"):
            text += "sub vcl_recv { if (req.http.X-Mozaiks-App-Key || req.http.Authorization) { return (pass); } }\n"
        self.config = self.file("all.vcl", text)

    def command(self):
        options = ["-F", "-a", f"127.0.0.1:{self.port}", "-n", str(self.folder / "varnish"), "-s", "malloc,32m"]
        options += ["-p", "timeout_idle=1"] if self.has("idle") else []
        return [self.path(), "-f", str(self.config), *options]

    async def reload(self):
        name = f"vcl{next(_numbers)}"
        for command in (["vcl.load", name, str(self.config)], ["vcl.use", name]):
            process = await asyncio.create_subprocess_exec(
                find("varnishadm"), "-n", str(self.folder / "varnish"), *command, stdout=subprocess.DEVNULL
            )
            await process.wait()


PROGRAMS = (Nginx, Haproxy, Envoy, Traefik, Caddy, Apache, Varnish)


def base_options(program):
    """Options under which a gateway of the lab runs, in addition to those of a check."""
    return {"nginx": {"keepalive"}, "Varnish": {"pass"}}.get(program.name, set())


@asynccontextmanager
async def running(program, folder, upstream, *options, second=0, certificate=None):
    """Run a gateway before the server on the port *upstream*, with *options*, until the end of the block."""
    own = folder / f"{program.name}-{next(_numbers)}"
    own.mkdir(parents=True)
    own.chmod(0o755)  # the gateways' own users read it
    gateway = program(folder=own, upstream=upstream, second=second, options=frozenset(options), certificate=certificate)
    try:
        await gateway.start()
        yield gateway
    finally:
        gateway.kill()
