"""
`python3 -m runtime stack up|down|status`: Jaeger, Prometheus and the Collector on this machine, without containers.

Runs the files that docker-compose.otel.yml mounts with the programs that are on PATH. What they write goes to one
directory that only the user can open, and is removed by `down`, which removes nothing else there.
"""

import argparse
import errno
import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from middleware.redaction import printable
from runtime._internal.files import refuse_link, write_private
from runtime._internal.installation import project_directory

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["SERVICES", "main", "make_parser"]

_HOST = "127.0.0.1"
_WIDTH = 100  # where output is no terminal
_START_S = 30.0
_STOP_S = 10.0
_POLL_S = 0.1
_LAST_LINES = 8
_PROMETHEUS_FILES = ("prometheus.yml", "rules.yml")
_PROMETHEUS_DATA = "prometheus"
_MARK = "MOZAIKS_STACK"  # by this variable a program of the stack is recognised, also where its note was never written
_KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL")
_NO_PAGES = "not the Jaeger UI"  # what a Jaeger that was built without its pages says in their place
_COMPOSE = "docker compose -f docker-compose.otel.yml up"
_EXPORT = f"export OTEL_EXPORTER_OTLP_ENDPOINT=http://{_HOST}:4318 OTEL_METRIC_EXPORT_INTERVAL=1000"


@dataclass(frozen=True, kw_only=True)
class Service:
    """
    One program of the stack.

    Attributes:
        name: Its name in docker-compose.otel.yml.
        binary: What to look for on PATH.
        arguments: `{files}` is the directory of the configuration, `{state}` that of the data.
        ports: Every port that it listens on.
        ready: Port and path that respond with 200 when it is ready.
        page: Port of what a person looks at, or sends to.
        purpose: What it is for.
        source: Where it comes from.
    """

    name: str
    binary: str
    arguments: tuple[str, ...]
    ports: tuple[int, ...]
    ready: tuple[int, str]
    page: int
    purpose: str
    source: str


SERVICES = (
    Service(
        name="jaeger",
        binary="jaeger",
        arguments=("--config={files}/jaeger.yml",),
        ports=(16686, 16685, 14317, 14133, 14888),
        ready=(14133, "/status"),
        page=16686,
        purpose="shows traces",
        source="jaegertracing.io/download",
    ),
    Service(
        name="prometheus",
        binary="prometheus",
        arguments=(
            "--config.file={state}/prometheus.yml",
            "--enable-feature=exemplar-storage",
            f"--storage.tsdb.path={{state}}/{_PROMETHEUS_DATA}",
            "--storage.tsdb.retention.time=8d",
            "--web.console.templates={files}/consoles",
            f"--web.external-url=http://{_HOST}:9090",
            f"--web.listen-address={_HOST}:9090",
        ),
        ports=(9090,),
        ready=(9090, "/-/ready"),
        page=9090,
        purpose="keeps metrics",
        source="apt install prometheus",
    ),
    Service(
        name="otel-collector",
        binary="otelcol-contrib",
        arguments=("--config={files}/otel-collector.yml",),
        ports=(4317, 4318, 13133, 8888, 8889),
        ready=(13133, "/"),
        page=4318,
        purpose="takes OTLP, hides secrets",
        source="opentelemetry.io/docs/collector/install",
    ),
)
"""In the order in which they are started."""


class Process(NamedTuple):
    """A started program: its id, and when it was started, since the system reuses ids."""

    pid: int
    started: str


def main(argv: Sequence[str]) -> int:
    """Run the stack; returns 0, 1 when something is missing, busy or not ready, or 2 for wrong usage."""
    options = make_parser().parse_args(argv)
    project = project_directory()
    if project is None or not (project / "dashboards").is_dir():
        sys.stderr.write("stack: no dashboards/ here; they come with the source, not with the installed package\n")
        return 1
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "mozaiks-stack"
    console = _console()
    try:
        refuse_link(state)
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if state.lstat().st_uid != os.geteuid():
            raise _of_another_user(state)
        state.chmod(0o700)  # the programs choose the modes of their own files below it
        with _lock(state):
            if options.action == "up":
                return _up(console, project / "dashboards", state)
            return _down(console, state) if options.action == "down" else _status(console, state)
    except OSError as error:
        sys.stderr.write(f"stack: {error.filename or state}: {error.strerror or error}\n")
        return 1


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    parser = argparse.ArgumentParser(prog="python3 -m runtime stack", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "status"))
    return parser


def _of_another_user(state: Path) -> OSError:
    return OSError(errno.EPERM, "belongs to another user", str(state))


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _WIDTH)


@contextmanager
def _lock(state: Path) -> Iterator[None]:
    """Let one command at a time change the stack."""
    with write_private(state / "lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _up(console: "Console", files: Path, state: Path) -> int:
    """Start what is not running, so that it also mends a stack of which a part has ended."""
    from rich.text import Text

    stopped = [service for service in SERVICES if _process(state, service) is None]
    missing = [service for service in stopped if shutil.which(service.binary) is None]
    if missing:
        _print_missing(console, missing)
        return 1
    busy = [(service, port) for service in stopped for port in service.ports if not _is_free(port)]
    if busy:
        for service, port in busy:
            console.print(f"Port {port} is taken by another program; {service.name} needs it.")
        console.print("Is docker-compose.otel.yml up? Or a service that a package has started? Then end that one:")
        for unit in dict.fromkeys(service.binary for service, _ in busy if service.binary != "jaeger"):
            console.print(f"\n  sudo systemctl disable --now {unit}")
        return 1
    if stopped == list(SERVICES):
        _clear(state)
    if any(service.name == "prometheus" for service in stopped):
        _write_prometheus_files(files, state)
    for service in stopped:
        problem = _start(service, files, state)
        if problem:
            console.print(f"{service.name} {problem}.", soft_wrap=True)
            _print_log(console, _log_file(state, service))
            _stop(state, stopped)  # what ran before goes on
            return 1
    code = _status(console, state)
    console.print(f"\nNow send something:\n\n  {_EXPORT}\n  python3 -m runtime demo\n", soft_wrap=True)
    console.print(Text.assemble(("python3 -m runtime stack down", "bold"), " ends the stack and throws its data away."))
    return code


def _print_log(console: "Console", file: Path) -> None:
    lines = file.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:] if file.exists() else []
    if lines:
        console.print(f"The last lines of {file}:", soft_wrap=True)
        console.print("\n".join(f"  {printable(line)}" for line in lines), soft_wrap=True)


def _down(console: "Console", state: Path) -> int:
    ended = _stop(state, SERVICES)
    _clear(state)
    console.print(f"Ended {', '.join(ended)}." if ended else "The stack was not up.")
    return 0


def _status(console: "Console", state: Path) -> int:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("service", "state", "address", "what it is for"):
        table.add_column(name, overflow="fold")
    all_ready = True
    for service in SERVICES:
        process, ready = _process(state, service), _is_ready(service)
        all_ready &= ready
        if ready and process is None:
            word = Text("ready, not ours", "yellow")
        elif ready:
            word = Text("ready", "green")
        else:
            word = Text("not ready" if process else "not up", "red")
        table.add_row(service.name, word, f"http://{_HOST}:{service.page}", service.purpose)
    console.print(table)
    if any(_process(state, service) for service in SERVICES):
        console.print(f"Logs and data are in {state}.", soft_wrap=True)
    if _is_ready(SERVICES[0]) and _NO_PAGES in _get(SERVICES[0].page, "/")[1]:
        console.print(
            "\nThis Jaeger was built without its pages: programs can ask it, by /api/v3, and people see no page.\n"
            f"{_COMPOSE} has the pages. Without them, traces in the terminal:\n\n{_trace_way()}",
            soft_wrap=True,
        )
    return 0 if all_ready else 1


def _print_missing(console: "Console", missing: Sequence[Service]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 2))
    for service in SERVICES:
        found = shutil.which(service.binary)
        place = f"found: {found}" if found else Text.assemble(("missing", "red"), f": {service.source}")
        table.add_row(service.binary, service.purpose, place)
    *names, last = [service.binary for service in missing]
    subject = f"{', '.join(names)} and {last} are" if names else f"{last} is"
    console.print(f"The stack cannot start: {subject} not on PATH.\n", style="bold")
    console.print(table)
    console.print(
        Text.assemble(
            *("\n", ("With Docker", "bold"), f", the same stack, and Grafana too:\n\n  {_COMPOSE}\n\n"),
            *(("With neither", "bold"), f", traces in the terminal and as one page:\n\n{_trace_way()}"),
        )
    )


def _trace_way() -> str:
    return (
        "  python3 -m runtime demo --traces traces.jsonl\n"
        "  python3 -m runtime trace traces.jsonl\n"
        "  python3 -m runtime trace traces.jsonl --html traces.html"
    )


def _write_prometheus_files(files: Path, state: Path) -> None:
    """Copy Prometheus's files; it knows no variables, so the names of the other services are put in here."""
    text = (files / "prometheus.yml").read_text("utf-8")
    names = "|".join(service.name for service in SERVICES)
    settings, rules = (state / name for name in _PROMETHEUS_FILES)
    _write(settings, re.sub(rf"\b({names}):(?=\d)", f"{_HOST}:", text))
    _write(rules, (files / "rules.yml").read_text("utf-8"))


def _write(path: Path, text: str) -> None:
    with write_private(path) as file:
        file.write(text.encode())


def _start(service: Service, files: Path, state: Path) -> str:
    """Start *service* and wait until it is ready; returns what went wrong, or nothing."""
    arguments = [argument.format(files=files, state=state) for argument in service.arguments]
    # The rest may have keys; and of `OTEL_EXPORTER_OTLP_ENDPOINT` a program would make that it traces itself.
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment |= {_MARK: _mark(state, service), "LISTEN_HOST": _HOST, "JAEGER_HOST": _HOST, "PROMETHEUS_HOST": _HOST}
    environment |= {"JAEGER_UI_CONFIG": str(files / "jaeger-ui.js"), "GOMEMLIMIT": "400MiB"}
    binary = str(shutil.which(service.binary))
    # No `subprocess`: the program is meant to outlive this command, and Ctrl-C at it; nothing here waits for it.
    with write_private(_log_file(state, service)) as log:
        try:
            pid = os.posix_spawn(
                binary,
                [binary, *arguments],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                ],
                setsid=True,
            )
        except OSError as error:
            return f"cannot be run ({error.strerror})"
    # By renaming, so that a note is never half there.
    fresh = _new_note_file(state, service)
    _write(fresh, json.dumps({"pid": pid, "started": _started(pid)}))
    fresh.replace(_note_file(state, service))
    ends = time.monotonic() + _START_S
    while time.monotonic() < ends:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return f"ended with code {os.waitstatus_to_exitcode(status)}"
        if _is_ready(service):
            return ""
        time.sleep(_POLL_S)
    return f"was not ready after {_START_S:.0f} s"


def _stop(state: Path, services: Sequence[Service]) -> list[str]:
    """End those of *services* that run, the last started first; returns the names."""
    running = [(service, process) for service in reversed(services) if (process := _process(state, service))]
    for _, process in running:
        os.kill(process.pid, signal.SIGTERM)
    ends = time.monotonic() + _STOP_S
    for service, process in running:
        while _process(state, service) and time.monotonic() < ends:
            time.sleep(_POLL_S)
        if _process(state, service):
            os.kill(process.pid, signal.SIGKILL)
    return [service.name for service, _ in running]


def _clear(state: Path) -> None:
    """Remove what the stack wrote, by name; of a link, the link alone."""
    own = [file(state, service) for service in SERVICES for file in (_log_file, _note_file, _new_note_file)]
    for path in (*own, *(state / name for name in _PROMETHEUS_FILES)):
        path.unlink(missing_ok=True)
    data = state / _PROMETHEUS_DATA
    if data.is_symlink() or not data.is_dir():
        data.unlink(missing_ok=True)
    else:
        shutil.rmtree(data)


def _log_file(state: Path, service: Service) -> Path:
    return state / f"{service.name}.log"


def _note_file(state: Path, service: Service) -> Path:
    return state / f"{service.name}.json"


def _new_note_file(state: Path, service: Service) -> Path:
    return state / f"{service.name}.json.new"


def _mark(state: Path, service: Service) -> str:
    return f"{state}:{service.name}"


def _process(state: Path, service: Service) -> Process | None:
    """Return the process of *service* that `up` started, if it runs; also where `up` was killed before the note."""
    try:
        process = Process(**json.loads(_note_file(state, service).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return _marked(state, service)
    return process if process.started and _started(process.pid) == process.started else _marked(state, service)


def _marked(state: Path, service: Service) -> Process | None:
    wanted = f"{_MARK}={_mark(state, service)}".encode(errors="surrogateescape")
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            variables = (directory / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        if wanted in variables and (started := _started(int(directory.name))):
            return Process(int(directory.name), started)
    return None


def _started(pid: int) -> str:
    """Return when *pid* was started, in the kernel's ticks since boot; empty when it has ended."""
    try:
        # The name, in brackets, may contain anything; the fields after it are numbers. Source: proc(5).
        state, *fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state == "Z" else fields[18]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _is_ready(service: Service) -> bool:
    return _get(*service.ready)[0] == http.HTTPStatus.OK


def _get(port: int, path: str) -> tuple[int, str]:
    """Return status and text of a local service's response; 0 when there is none."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()
