"""The `stack` command, with small programs in the place of the real ones; those are run in CI."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.cli import local_stack as stack

pytestmark = pytest.mark.sockets

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write({page!r}.encode())
    def log_message(self, *_):
        pass

print("started with", json.dumps(sys.argv[1:]), flush=True)
with open({told!r}, "w") as file:
    json.dump({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}, file)
for port in {ports}[1:]:
    Thread(target=ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", {ports}[0]), Handler).serve_forever()
"""


def free_ports(count):
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


class Machine:
    """A PATH of its own with stand-ins for the programs, on ports of their own."""

    def __init__(self, tmp_path, monkeypatch):
        self.path, self.state = tmp_path / "bin", tmp_path / "state" / "mozaiks-stack"
        self.path.mkdir()
        self.told = {service.name: tmp_path / f"{service.name}.told" for service in stack.SERVICES}
        ports = iter(free_ports(sum(len(service.ports) for service in stack.SERVICES)))
        self.services = []
        for service in stack.SERVICES:
            moved = {port: next(ports) for port in service.ports}
            self.services.append(
                dataclasses.replace(
                    service,
                    ports=tuple(moved.values()),
                    ready=(moved[service.ready[0]], service.ready[1]),
                    page=moved[service.page],
                )
            )
        monkeypatch.setattr(stack, "SERVICES", tuple(self.services))
        monkeypatch.setenv("PATH", str(self.path))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def install(self, *names, page="the Jaeger UI", program=PROGRAM):
        for service in self.services:
            if not names or service.name in names:
                told = str(self.told[service.name])
                text = program.format(python=sys.executable, page=page, told=told, ports=list(service.ports))
                (self.path / service.binary).write_text(text)
                (self.path / service.binary).chmod(0o755)

    def service(self, name):
        return next(service for service in self.services if service.name == name)

    def pids(self):
        return {
            service.name: process.pid
            for service in self.services
            if (process := stack._process(self.state, service)) is not None
        }


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path, monkeypatch)
    yield made
    stack.main(["down"])


def test_with_nothing_installed_one_screen_says_what_to_do(machine, capsys):
    """What is missing and where it comes from; the way with Docker, and the way with nothing."""
    assert stack.main(["up"]) == 1
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 24
    assert max(map(len, said.splitlines())) <= 100
    for service in stack.SERVICES:
        assert service.binary in said
        assert service.source in said
    assert "jaeger, prometheus and otelcol-contrib are not on PATH" in said
    assert said.count("missing") == 3
    assert "docker compose -f docker-compose.otel.yml up" in said
    assert "python3 -m runtime trace traces.jsonl" in said
    assert machine.pids() == {}


def test_with_one_missing_the_others_are_found_and_not_started(machine, capsys):
    """All or nothing."""
    machine.install("jaeger", "prometheus")
    assert stack.main(["up"]) == 1
    said = capsys.readouterr().out
    assert "otelcol-contrib is not on PATH" in said
    assert said.count("missing") == 1
    assert said.count("found: ") == 2
    assert machine.pids() == {}


def test_up_status_and_down(machine, capsys, monkeypatch):
    """Three programs with the files of docker-compose.otel.yml; they outlive the command, and nothing is left."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    machine.install()
    assert stack.main(["up"]) == 0
    said = capsys.readouterr().out
    assert said.count(" ready ") == 3
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318" in said
    pids = machine.pids()
    assert set(pids) == {"jaeger", "prometheus", "otel-collector"}
    assert all(os.getsid(pid) == pid for pid in pids.values())
    told = {name: json.loads(file.read_text()) for name, file in machine.told.items()}
    assert told["jaeger"]["arguments"] == [f"--config={ROOT}/dashboards/jaeger.yml"]
    assert told["otel-collector"]["arguments"] == [f"--config={ROOT}/dashboards/otel-collector.yml"]
    for service in told.values():
        environment = service["environment"]
        assert [environment[name] for name in ("LISTEN_HOST", "JAEGER_HOST", "PROMETHEUS_HOST")] == ["127.0.0.1"] * 3
        assert environment["JAEGER_UI_CONFIG"] == f"{ROOT}/dashboards/jaeger-ui.js"
        assert not [name for name in environment if name.startswith("OTEL_")]
    assert stack.main(["status"]) == 0
    assert capsys.readouterr().out.count(" ready ") == 3
    assert stack.main(["down"]) == 0
    assert "Ended otel-collector, prometheus, jaeger." in capsys.readouterr().out
    assert machine.pids() == {}
    assert [path.name for path in machine.state.iterdir()] == ["lock"]
    assert stack.main(["status"]) == 1
    assert capsys.readouterr().out.count("not up") == 3
    assert stack.main(["down"]) == 0
    assert "The stack was not up." in capsys.readouterr().out


def test_what_the_stack_writes_is_its_users_alone(machine):
    """Logs, process ids and settings have mode 0600, whatever an earlier version left; the directory hides the data."""
    machine.install()
    machine.state.mkdir(parents=True)
    (machine.state / "lock").touch(mode=0o644)
    assert stack.main(["up"]) == 0
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in machine.state.iterdir() if path.is_file()}
    assert {"lock", "prometheus.yml", "rules.yml", "jaeger.log", "jaeger.json"} <= set(modes)
    assert set(modes.values()) == {"0o600"}
    assert oct(machine.state.stat().st_mode & 0o777) == "0o700"


def test_down_removes_what_the_stack_wrote_and_nothing_else(machine, tmp_path):
    """Of a link, the link alone."""
    machine.install()
    (machine.state / "prometheus").mkdir(parents=True)
    (machine.state / "prometheus" / "wal").write_text("")
    (machine.state / "letter.txt").write_text("dear")
    assert stack.main(["up"]) == 0
    assert not (machine.state / "prometheus").exists()
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "letter.txt").write_text("dear")
    (machine.state / "prometheus").symlink_to(tmp_path / "disk")
    assert stack.main(["down"]) == 0
    assert sorted(path.name for path in machine.state.iterdir()) == ["letter.txt", "lock"]
    assert (tmp_path / "disk" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("action", ["up", "down", "status"])
def test_a_state_directory_that_is_a_link_is_refused(machine, tmp_path, capsys, action):
    """Nothing is made, emptied or removed where it leads."""
    machine.install()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "rules.yml").write_text("dear")
    machine.state.parent.mkdir(parents=True)
    machine.state.symlink_to(tmp_path / "elsewhere")
    assert stack.main([action]) == 1
    assert f"{machine.state}: is a symbolic link" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["rules.yml"]
    assert (tmp_path / "elsewhere" / "rules.yml").read_text() == "dear"


@pytest.mark.parametrize("name", ["lock", "rules.yml", "jaeger.log", "jaeger.json"])
def test_nothing_is_written_through_a_link_in_the_state(machine, tmp_path, capsys, name):
    """What `up` clears first, it clears as a link; any other link is an error that names it."""
    machine.install()
    (tmp_path / "victim").write_text("dear")
    machine.state.mkdir(parents=True)
    (machine.state / name).symlink_to(tmp_path / "victim")
    assert stack.main(["up"]) == (1 if name == "lock" else 0)
    assert (tmp_path / "victim").read_text() == "dear"
    if name == "lock":
        assert f"{machine.state / name}: is a symbolic link" in capsys.readouterr().err
        (machine.state / name).unlink()


def test_prometheus_reads_the_same_files_but_for_two_host_names(machine):
    """It knows no variables; the copy's only difference is where the others are found."""
    machine.install()
    assert stack.main(["up"]) == 0
    theirs = (ROOT / "dashboards/prometheus.yml").read_text().splitlines()
    ours = (machine.state / "prometheus.yml").read_text().splitlines()
    changed = [(a.strip(), b.strip()) for a, b in zip(theirs, ours, strict=True) if a != b]
    assert changed == [
        ("- targets: [otel-collector:8889]", "- targets: [127.0.0.1:8889]"),
        ("- targets: [otel-collector:8888]", "- targets: [127.0.0.1:8888]"),
        ("- targets: [jaeger:14888]", "- targets: [127.0.0.1:14888]"),
    ]
    assert (machine.state / "rules.yml").read_bytes() == (ROOT / "dashboards/rules.yml").read_bytes()
    (arguments,) = [
        json.loads(file.read_text())["arguments"] for name, file in machine.told.items() if name == "prometheus"
    ]
    assert f"--config.file={machine.state}/prometheus.yml" in arguments


def test_up_mends_a_stack_of_which_a_part_has_ended(machine, capsys):
    """Only what does not run is started."""
    machine.install()
    stack.main(["up"])
    before = machine.pids()
    os.kill(before["otel-collector"], signal.SIGKILL)
    os.waitpid(before["otel-collector"], 0)
    assert stack.main(["status"]) == 1
    assert stack.main(["up"]) == 0
    after = machine.pids()
    assert after.pop("otel-collector") != before.pop("otel-collector")
    assert after == before


def test_a_program_that_ends_at_once_is_told_with_its_words(machine, capsys):
    """And what was started before it is ended."""
    machine.install("jaeger", "prometheus")
    machine.install("otel-collector", program="#!{python}\nprint('bad [config]: line 7')\nraise SystemExit(3)\n")
    assert stack.main(["up"]) == 1
    said = capsys.readouterr().out
    assert "otel-collector ended with code 3" in said
    assert "bad [config]: line 7" in said
    assert machine.pids() == {}


def test_when_a_part_cannot_be_started_again_the_others_go_on(machine, capsys):
    """Only what this `up` started is ended."""
    machine.install()
    stack.main(["up"])
    before = machine.pids()
    for name in ("prometheus", "otel-collector"):
        os.kill(before[name], signal.SIGKILL)
        os.waitpid(before[name], 0)
    machine.install("otel-collector", program="#!{python}\nraise SystemExit(3)\n")
    assert stack.main(["up"]) == 1
    assert "otel-collector ended with code 3" in capsys.readouterr().out
    assert machine.pids() == {"jaeger": before["jaeger"]}


def test_prometheus_gets_todays_files_whenever_it_is_started(machine):
    """Next to others that run too: rules change, and so may an address."""
    machine.install()
    stack.main(["up"])
    before = machine.pids()
    os.kill(before["prometheus"], signal.SIGKILL)
    os.waitpid(before["prometheus"], 0)
    (machine.state / "rules.yml").write_text("groups: []\n")
    (machine.state / "prometheus.yml").unlink()
    assert stack.main(["up"]) == 0
    assert (machine.state / "rules.yml").read_bytes() == (ROOT / "dashboards/rules.yml").read_bytes()
    assert (machine.state / "prometheus.yml").exists()


def test_a_file_that_is_no_program_is_told(machine, capsys):
    """One line, and nothing is left running."""
    machine.install("jaeger", "prometheus")
    machine.install("otel-collector", program="no program for this machine\n")
    assert stack.main(["up"]) == 1
    assert "otel-collector cannot be run (Exec format error)." in capsys.readouterr().out
    assert machine.pids() == {}


def test_a_program_that_never_gets_ready_is_ended(machine, capsys, monkeypatch):
    """The wait has an end."""
    monkeypatch.setattr(stack, "_START_S", 0.3)
    machine.install(program="#!{python}\nimport time\ntime.sleep(60)\n")
    assert stack.main(["up"]) == 1
    assert "jaeger was not ready after" in capsys.readouterr().out
    assert machine.pids() == {}


def test_a_program_that_ignores_the_signal_is_killed(machine, monkeypatch):
    """`down` always ends."""
    monkeypatch.setattr(stack, "_STOP_S", 0.3)
    deaf = PROGRAM.replace(
        "import json", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); import json", 1
    )
    machine.install(program=deaf)
    stack.main(["up"])
    pids = machine.pids().values()
    assert len(pids) == 3
    stack.main(["down"])
    ends = time.monotonic() + 5
    while any(stack._started(pid) for pid in pids) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not any(stack._started(pid) for pid in pids)


def test_a_taken_port_is_named(machine, capsys):
    """Before anything is started."""
    machine.install()
    port = machine.service("otel-collector").ports[0]
    with socket.create_server(("127.0.0.1", port)):
        assert stack.main(["up"]) == 1
    said = capsys.readouterr().out
    assert f"Port {port} is taken by another program; otel-collector needs it." in said
    assert "sudo systemctl disable --now otelcol-contrib" in said
    assert "--now prometheus" not in said
    assert machine.pids() == {}


def test_a_process_id_that_was_given_to_another_program_is_left_alone(machine):
    """`down` ends what `up` started, and nothing else."""
    machine.state.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (machine.state / "jaeger.json").write_text(json.dumps({"pid": other.pid, "started": "1"}))
        assert machine.pids() == {}
        assert stack.main(["down"]) == 0
        other.communicate(b"\n", timeout=10)
    assert other.returncode == 0


def test_a_damaged_note_is_no_process(machine):
    """Whatever it contains."""
    machine.state.mkdir(parents=True)
    for text in ("", "[]", '{"pid": 1}', "{"):
        (machine.state / "jaeger.json").write_text(text)
        assert machine.pids() == {}


def test_a_jaeger_without_pages_is_told(machine, capsys):
    """Such a one is built by Go alone; people need the other ways."""
    machine.install(page="This is not the Jaeger UI you are looking for!")
    assert stack.main(["up"]) == 0
    said = capsys.readouterr().out
    assert "This Jaeger was built without its pages" in said
    assert "python3 -m runtime trace traces.jsonl --html traces.html" in said
    machine.install()


def test_an_installed_package_says_where_the_files_are(monkeypatch, capsys):
    """The wheel does not contain them."""
    monkeypatch.setattr(stack, "project_directory", lambda: None)
    assert stack.main(["up"]) == 1
    assert capsys.readouterr().err.startswith("stack: no dashboards/ here")


def test_a_directory_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    """One line, no traceback."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert stack.main(["status"]) == 1
    assert capsys.readouterr().err == f"stack: {tmp_path}/file/mozaiks-stack: Not a directory\n"


@pytest.mark.parametrize("lost", ["before the note", "within the note"])
def test_a_program_of_an_up_that_was_killed_is_recognised_and_ended(machine, monkeypatch, lost):
    """Whenever that was: the program is known by its environment where the note is not there."""
    machine.install()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(stack, "_write" if lost == "before the note" else "_is_ready", killed)
    if lost == "before the note":
        monkeypatch.setattr(stack, "_write_prometheus_files", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        stack.main(["up"])
    monkeypatch.undo()
    monkeypatch.setattr(stack, "SERVICES", tuple(machine.services))
    monkeypatch.setenv("XDG_STATE_HOME", str(machine.state.parent))
    assert (machine.state / "jaeger.json").exists() == (lost == "within the note")
    pid = machine.pids()["jaeger"]
    assert stack.main(["down"]) == 0
    assert machine.pids() == {}
    assert stack._started(pid) == ""


def test_a_program_gets_the_variables_that_it_needs_alone(machine, monkeypatch):
    """None that may have a key."""
    monkeypatch.setenv("MOZAIKS_API_KEY", "moz_live_x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    machine.install()
    assert stack.main(["up"]) == 0
    given = set(json.loads(machine.told["jaeger"].read_text())["environment"])
    own = {"LISTEN_HOST", "JAEGER_HOST", "PROMETHEUS_HOST", "JAEGER_UI_CONFIG", "GOMEMLIMIT", "MOZAIKS_STACK"}
    assert given - own - {"LC_CTYPE"} <= {"PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL"}
    assert own <= given


def test_a_state_directory_of_another_user_is_refused(machine, monkeypatch, capsys):
    """Who owns it could read and change what is in it."""
    machine.state.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert stack.main(["down"]) == 1
    assert capsys.readouterr().err == f"stack: {machine.state}: belongs to another user\n"
    monkeypatch.undo()
