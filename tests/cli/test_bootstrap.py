"""The way from a bare Python into an environment; no test here reaches a network."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cli import bootstrap
from runtime.cli.bootstrap import BootstrapError, requirements
from runtime.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


class Runner:
    """Plays the commands that the bootstrap would run; `broken` tells which fail."""

    def __init__(self, venv, broken=()):
        self.commands = []
        self.venv = venv
        self.broken = broken

    def __call__(self, command):
        line = " ".join(command)
        self.commands.append(line)
        if any(word in line for word in self.broken):
            raise subprocess.CalledProcessError(1, command, stderr=b"noise\nno such thing")
        if " -m venv " in line or "uv venv" in line:
            python = self.venv / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.write_text("")
            python.chmod(0o755)


@pytest.fixture
def venv(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    place = tmp_path / "some where" / ".venv"
    place.mkdir(parents=True)
    return place


def test_requirements_follow_extras_that_name_extras():
    """`test` brings otel, cli and gateway, each dependency once."""
    found = requirements(ROOT / "pyproject.toml", ["test"])
    names = [line.split(">=")[0] for line in found]
    assert {"httpx", "rich", "h11", "opentelemetry-sdk", "pytest"} <= set(names)
    assert len(names) == len(set(names))
    assert not [line for line in found if "mozaiks" in line]


def test_the_ladder_begins_with_ensurepip_where_uv_is_missing(venv):
    """One rung that works is enough."""
    run = Runner(venv)
    bootstrap._install(venv, ["a>=1"], run)
    made, installed = run.commands
    assert " -m venv --clear " in made
    assert installed.startswith(f"{venv}/bin/python -m pip install ")
    assert bootstrap._is_ready(venv, ["a>=1"])


def test_uv_is_taken_where_it_is(venv, monkeypatch):
    """It is several times as fast."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    run = Runner(venv)
    bootstrap._install(venv, ["a>=1"], run)
    assert all(line.startswith("uv ") for line in run.commands)


def test_the_systems_pip_helps_where_ensurepip_is_missing(venv):
    """Debian without python3-venv, but with python3-pip."""
    run = Runner(venv, broken=[f"-m venv --clear {venv}"])
    bootstrap._install(venv, ["a>=1"], run)
    assert "--without-pip" in run.commands[-2]
    assert f"-m pip --python {venv}" in run.commands[-1]


def test_pips_own_wheel_is_the_last_rung(venv, monkeypatch, tmp_path):
    """Debian without either."""
    monkeypatch.setattr(bootstrap, "_fetch_pip", lambda directory: directory / "pip.whl")
    run = Runner(venv, broken=[f"-m venv --clear {venv}", "-m pip --version"])
    bootstrap._install(venv, ["a>=1"], run)
    assert "pip.whl/pip install" in run.commands[-1]


def test_one_line_tells_what_to_do_when_nothing_works(venv, capsys):
    """Each rung's reason, and the packages to install."""
    with pytest.raises(BootstrapError) as caught:
        bootstrap._install(venv, ["a>=1"], Runner(venv, broken=["venv", "pip"]))
    text = str(caught.value)
    assert "apt install python3-venv ca-certificates" in text
    assert text.count("no such thing") == 3
    assert "\n" not in text
    assert not bootstrap._is_ready(venv, ["a>=1"])


def test_a_downloaded_pip_must_match_its_digest(monkeypatch, tmp_path):
    """The index says what the file must be."""
    pages = iter([b'<a href="../files/pip-24.0-py3-none-any.whl#sha256=' + b"0" * 64 + b'">', b"not it"])

    class Response:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self):
            return next(pages)

    monkeypatch.setattr("urllib.request.urlopen", lambda *_args, **_options: Response())
    with pytest.raises(BootstrapError, match="digest"):
        bootstrap._fetch_pip(tmp_path)


def test_later_commands_only_add(venv):
    """`test` after `demo` keeps what is installed."""
    bootstrap._install(venv, ["a>=1"], Runner(venv))
    run = Runner(venv)
    bootstrap._install(venv, ["b>=1"], run)
    assert len(run.commands) == 1
    assert bootstrap._is_ready(venv, ["a>=1", "b>=1"])


def test_a_way_that_no_longer_works_gives_way_to_one_that_installs_everything(venv, monkeypatch):
    """What was installed before is installed again into the new venv."""
    bootstrap._install(venv, ["a>=1"], Runner(venv))
    run = Runner(venv, broken=[f"{venv}/bin/python -m pip install"])
    bootstrap._install(venv, ["b>=1"], run)
    assert run.commands[-1].endswith("a>=1 b>=1")
    assert bootstrap._is_ready(venv, ["a>=1", "b>=1"])


def test_an_interrupted_install_starts_anew(venv):
    """The stamp comes last."""
    bootstrap._install(venv, ["a>=1"], Runner(venv))
    with pytest.raises(KeyboardInterrupt):
        bootstrap._install(venv, ["b>=1"], lambda _command: (_ for _ in ()).throw(KeyboardInterrupt))
    assert not bootstrap._is_ready(venv, ["a>=1"])


def test_another_interpreter_starts_anew(venv):
    """A venv of Python 3.11 is no good to 3.12."""
    bootstrap._install(venv, ["a>=1"], Runner(venv))
    stamp = venv / bootstrap._STAMP
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "interpreter": "cpython-3.99"}))
    run = Runner(venv)
    bootstrap._install(venv, ["a>=1"], run)
    assert "--clear" in run.commands[0]


def test_a_place_that_cannot_be_written_names_the_way_out(monkeypatch, tmp_path, capsys):
    """A read-only checkout needs MOZAIKS_VENV."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOZAIKS_VENV", str(tmp_path / "file" / "venv"))
    assert main(["test"]) == 1
    assert "set MOZAIKS_VENV" in capsys.readouterr().err


def test_the_process_becomes_the_environments_python(monkeypatch, venv):
    """With the same arguments, and the project on the path."""
    called = []
    monkeypatch.setenv("MOZAIKS_VENV", str(venv))
    monkeypatch.setattr(bootstrap, "_is_ready", lambda *_: True)
    monkeypatch.setattr("os.execve", lambda *arguments: called.append(arguments))
    bootstrap.enter_environment(["test"], ["test", "-k", "a b"])
    ((program, arguments, environment),) = called
    assert arguments == [str(program), "-m", "runtime", "test", "-k", "a b"]
    assert environment["PYTHONPATH"].split(":")[0] == str(ROOT)


def test_an_installed_package_needs_no_bootstrap(tmp_path):
    """Without our pyproject there is nothing to set up; a missing extra is named."""
    for package in ("runtime", "middleware"):
        shutil.copytree(ROOT / package, tmp_path / package)
    probe = (
        "import sys; sys.modules['rich'] = None; from runtime.cli.main import main; sys.exit(main(['demo', '--json']))"
    )
    command = [sys.executable, "-c", probe]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "pip install 'mozaiks-connector-runtime[otel,cli,gateway]'" in result.stderr


def test_usage_and_typos(capsys):
    """Help is a success; a typo is told with what was meant."""
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)
    assert main(["tset"]) == 2
    assert "did you mean test?" in capsys.readouterr().err
    assert main(["--version"]) == 0


def test_old_interpreters_can_read_the_guard():
    """What runs before the guard must parse everywhere."""
    for name in ("__init__.py", "_version.py"):
        ast.parse((ROOT / "runtime" / name).read_text(), feature_version=(3, 4))
    guard = (ROOT / "runtime" / "__main__.py").read_text().split("from runtime.cli")[0]
    ast.parse(guard, feature_version=(3, 4))
    for name in ("python2.7", "python3.6", "python3.10"):
        found = shutil.which(name)
        if found:
            result = subprocess.run([found, "-m", "runtime"], cwd=ROOT, capture_output=True, text=True, check=False)
            if "3.11 or newer" not in result.stderr:
                assert "not found" in result.stderr or "version" in result.stderr  # a version manager's empty shim
