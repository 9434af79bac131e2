"""The way from a bare Python into an environment; no test here reaches a network."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from played_installer import Runner

from runtime.cli import bootstrap
from runtime.cli.bootstrap import BootstrapError, requirements
from runtime.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


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
    assert made.endswith(f" -m venv {venv}")
    assert installed.startswith(f"{venv}/bin/python -I -m pip install --quiet --no-user ")
    assert bootstrap._is_ready(venv, ["a>=1"])


def test_uv_is_taken_where_it_is(venv, monkeypatch):
    """It is several times as fast."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    run = Runner(venv)
    bootstrap._install(venv, ["a>=1"], run)
    assert all(line.startswith("uv ") for line in run.commands)


def test_the_systems_pip_helps_where_ensurepip_is_missing(venv):
    """Debian without python3-venv, but with python3-pip."""
    run = Runner(venv, broken=[f"-m venv {venv}"])
    bootstrap._install(venv, ["a>=1"], run)
    assert "--without-pip" in run.commands[-2]
    assert f"-m pip --python {venv}" in run.commands[-1]


def test_pips_own_wheel_is_the_last_rung(venv, monkeypatch, tmp_path):
    """Debian without either."""
    monkeypatch.setattr(bootstrap, "_fetch_pip", lambda directory: directory / "pip.whl")
    run = Runner(venv, broken=[f"-m venv {venv}", "-m pip --version"])
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
    monkeypatch.setattr(bootstrap, "project_directory", lambda: None)
    pages = iter([b'<a href="../files/pip-24.0-py3-none-any.whl#sha256=' + b"0" * 64 + b'">', b"not it"])

    class Response:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self):
            return next(pages)

        def geturl(self):
            return "https://index.test/"

    monkeypatch.setattr("urllib.request.urlopen", lambda *_args, **_options: Response())
    with pytest.raises(BootstrapError, match="does not match its digest"):
        bootstrap._fetch_pip(tmp_path)


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.extras is not None])
def test_the_lock_has_a_release_with_digests_for_each_requirement(name):
    """Of each command; `.ci/tools/lock.py` writes it anew after a change of pyproject.toml."""
    extras = [*COMMANDS[name].extras, *chain(*COMMANDS[name].extras_of.values())]
    releases = {}
    for line in bootstrap.locked(ROOT / bootstrap.LOCK, extras):
        assert re.fullmatch(r"\S+==\S+( ; .+?)?( --hash=sha256:[0-9a-f]{64})+", line)
        pinned = Requirement(line.partition(" --hash")[0])
        releases[pinned.name] = str(pinned.specifier).removeprefix("==")
    for line in requirements(ROOT / "pyproject.toml", extras):
        wanted = Requirement(line)
        assert wanted.specifier.contains(releases[wanted.name], prereleases=True)
    assert "pip" not in releases


def test_releases_of_the_lock_are_installed_by_digest(checkout, monkeypatch, tmp_path):
    """An installer takes them from a file; one that was raised is installed again, and the others stay."""
    one, two = "0" * 64, "1" * 64
    lock = checkout / bootstrap.LOCK
    lock.write_text(
        f"# head\n# all\na==1 ; python_version < '4' \\\n    --hash=sha256:{one} \\\n    --hash=sha256:{two}\n"
        f"# cli test\nb==2 \\\n    --hash=sha256:{one}\n# test\nc==3 \\\n    --hash=sha256:{one}\n"
    )
    files = []

    class Reading(Runner):
        def __call__(self, command):
            super().__call__(command)
            if "--require-hashes" in command:
                files.append(Path(command[-1]).read_text().splitlines())

    monkeypatch.setitem(globals(), "Runner", Reading)
    a = f"a==1 ; python_version < '4' --hash=sha256:{one} --hash=sha256:{two}"
    *_, installed = enter(monkeypatch, tmp_path / "dir")
    assert " --require-hashes -r " in installed
    assert files == [[a, f"b==2 --hash=sha256:{one}"]]
    assert enter(monkeypatch, tmp_path / "dir") == []
    lock.write_text(lock.read_text().replace("b==2", "b==2.1"))
    assert len(enter(monkeypatch, tmp_path / "dir")) == 1
    assert bootstrap._stamp(tmp_path / "dir")[1] == {a, f"b==2.1 --hash=sha256:{one}"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# head\n",
        b"# all\na==1\n",
        b"# all\n<<<<<<< HEAD\na==1 \\\n    --hash=sha256:0\n# all\nb==1 \\\n    --hash=sha256:0\n",
        b"# all\nb==1 \\\n    --hash=sha256:0\n    # via a\n",
        b"\xff",
    ],
    ids=["empty", "no release", "no digest", "merge", "another tool", "bytes"],
)
def test_a_lock_that_cannot_be_read_installs_nothing(checkout, monkeypatch, tmp_path, content):
    """Neither without digests nor with a part of what is needed."""
    (checkout / bootstrap.LOCK).write_bytes(content)
    with pytest.raises(BootstrapError, match=bootstrap.LOCK):
        enter(monkeypatch, tmp_path / "dir")
    assert not (tmp_path / "dir").exists()


def test_the_downloaded_pip_is_one_of_the_lock(checkout, monkeypatch, tmp_path):
    """Whatever the index lists, and calls newer."""
    content, known = b"pip itself", hashlib.sha256(b"pip itself").hexdigest()
    page = "".join(
        f'<a href="/files/pip-{version}-py3-none-any.whl#sha256={digest}">'
        for version, digest in (("26.1", known), ("99.0", "f" * 64))
    )
    monkeypatch.setattr(
        bootstrap, "fetch", lambda url, *_args, **_options: page.encode() if url.endswith("/pip/") else content
    )
    (checkout / bootstrap.LOCK).write_text(f"# pip\npip==26.1 \\\n    --hash=sha256:{known}\n")
    assert bootstrap._fetch_pip(tmp_path).name == "pip-26.1-py3-none-any.whl"
    (checkout / bootstrap.LOCK).write_text("# pip\npip==26.1 \\\n    --hash=sha256:0\n")
    with pytest.raises(BootstrapError, match="digest that is known"):
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
    run = Runner(venv, broken=[f"{venv}/bin/python -I -m pip install"])
    bootstrap._install(venv, ["b>=1"], run)
    assert run.commands[-1].endswith("a>=1 b>=1")
    assert bootstrap._is_ready(venv, ["a>=1", "b>=1"])


@pytest.mark.parametrize("is_locked", [False, True])
def test_releases_with_digests_and_without_are_not_installed_together(venv, is_locked):
    """No installer takes both: an environment from before the lock is made anew, also where the first way fails."""
    lines = ["a>=1", "b>=1 --hash=sha256:0"] if is_locked else ["b>=1 --hash=sha256:0", "a>=1"]
    bootstrap._install(venv, lines[:1], Runner(venv))
    bootstrap._install(venv, lines[1:], Runner(venv, broken=[f"{venv}/bin/python -I -m pip install"]))
    assert bootstrap._stamp(venv)[1] == set(lines[1:])


def test_a_release_takes_the_place_of_that_of_another_marker(venv):
    """An installer refuses the same name twice."""
    bootstrap._install(venv, ["a==1", "c==1"], Runner(venv))
    wanted = ["a==2 ; python_version < '4'", "a==3 ; python_version >= '4'"]
    bootstrap._install(venv, wanted, Runner(venv))
    assert bootstrap._stamp(venv)[1] == {*wanted, "c==1"}


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
    (venv / "old").mkdir()
    run = Runner(venv)
    bootstrap._install(venv, ["a>=1"], run)
    assert run.commands[0].endswith(f" -m venv {venv}")
    assert not (venv / "old").exists()


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


@pytest.mark.sockets
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
    assert "pip install 'mozaiks-connector-runtime[otel,cli,gateway,fast]'" in result.stderr


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A project whose commands find their environment nowhere, and whose installing is played."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    monkeypatch.setattr(bootstrap, "project_directory", lambda: project)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr("os.execve", lambda *_: None)
    return project


def tree(directory):
    """Every path below *directory*, with what it is and contains."""
    return {
        path.relative_to(directory): path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }


def enter(monkeypatch, place):
    """Run the bootstrap for *place*; returns the commands that it would have run."""
    monkeypatch.setenv("MOZAIKS_VENV", str(place))
    run = Runner(Path(place or bootstrap.project_directory() / ".venv").resolve())
    monkeypatch.setattr(bootstrap._install, "__defaults__", (run,))
    bootstrap.enter_environment(["cli"], ["trace"])
    return run.commands


def make_home(place):
    place.mkdir()
    (place / "letter.txt").write_text("dear")
    (place.parent / f"{place.name}.lock").write_text("pinned")


def make_foreign_environment(place):
    (place / "bin").mkdir(parents=True)
    (place / "pyvenv.cfg").write_text("home = /usr/bin")


def make_link_to_nothing(place):
    place.symlink_to(place.parent / "nothing")


def make_link_to_an_empty_directory(place):
    (place.parent / "elsewhere").mkdir()
    place.symlink_to(place.parent / "elsewhere")


def make_linked_mark(place):
    place.mkdir()
    (place.parent / "victim").write_text("dear")
    (place / bootstrap._STAMP).symlink_to(place.parent / "victim")


def make_directory_named_like_the_mark(place):
    (place / bootstrap._STAMP).mkdir(parents=True)


@pytest.mark.parametrize(
    "make",
    [
        make_home,
        make_foreign_environment,
        make_link_to_nothing,
        make_link_to_an_empty_directory,
        make_linked_mark,
        make_directory_named_like_the_mark,
    ],
)
def test_a_directory_without_our_mark_is_not_touched(checkout, monkeypatch, tmp_path, make):
    """One line, nothing run, and no file made, emptied or removed in it or next to it."""
    make(tmp_path / "dir")
    before = tree(tmp_path)
    with pytest.raises(BootstrapError) as caught:
        enter(monkeypatch, tmp_path / "dir")
    text = str(caught.value)
    assert str(tmp_path / "dir") in text
    assert "set MOZAIKS_VENV to a directory that " in text
    assert "\n" not in text
    assert tree(tmp_path) == before


def test_the_target_of_a_linked_environment_is_not_ours(checkout, monkeypatch, tmp_path):
    """The checkout's `.venv` may be a link to an environment that the user made for something else."""
    make_foreign_environment(tmp_path / "precious")
    (checkout / ".venv").symlink_to(tmp_path / "precious")
    before = tree(tmp_path)
    for place in ("", tmp_path / "precious"):
        with pytest.raises(BootstrapError):
            enter(monkeypatch, place)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("spelling", ["dir/.", "dir/../dir", "linked/dir", "dir/"])
def test_a_directory_is_judged_whatever_its_spelling(checkout, monkeypatch, tmp_path, spelling):
    """The place is looked at, not its name."""
    make_home(tmp_path / "dir")
    (tmp_path / "linked").symlink_to(tmp_path)
    with pytest.raises(BootstrapError, match="contains files that are not ours, and nothing was changed"):
        enter(monkeypatch, f"{tmp_path}/{spelling}")
    assert (tmp_path / "dir" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("existing", [True, False])
def test_a_new_or_an_empty_directory_is_used(checkout, monkeypatch, tmp_path, existing):
    """And it has the mark before anything else, so that a run that is killed can be repeated."""
    place = tmp_path / "a" / "dir"
    if existing:
        place.mkdir(parents=True)
    marked = []
    monkeypatch.setattr(bootstrap, "_say", lambda _text: marked.append(sorted(path.name for path in place.iterdir())))
    enter(monkeypatch, place)
    assert marked[0] == [bootstrap._STAMP]
    assert bootstrap._is_ready(place, ["rich>=13.7"])
    assert [path.name for path in place.parent.iterdir()] == ["dir"]


def test_a_killed_run_leaves_the_mark(checkout, monkeypatch, tmp_path):
    """At whichever step; the next run clears what is there and goes on."""
    place = tmp_path / "dir"

    def killed(command):
        if "venv" in command:
            (place / "half").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setenv("MOZAIKS_VENV", str(place))
    monkeypatch.setattr(bootstrap._install, "__defaults__", (killed,))
    with pytest.raises(KeyboardInterrupt):
        bootstrap.enter_environment(["cli"], ["trace"])
    assert sorted(path.name for path in place.iterdir()) == ["half", bootstrap._STAMP]
    assert enter(monkeypatch, place)
    assert sorted(path.name for path in place.iterdir()) == ["bin", bootstrap._STAMP]


def test_the_stamp_of_earlier_versions_is_a_mark(checkout, monkeypatch, tmp_path):
    """Whatever it says; the environment is made anew, and of a link in it only the link goes."""
    place, kept = tmp_path / "dir", tmp_path / "kept"
    for directory in (place, kept):
        directory.mkdir()
    (kept / "letter.txt").write_text("dear")
    (place / bootstrap._STAMP).write_text('{"interpreter": "cpython-3.99", "requirements": ["rich>=13.7"]}')
    (place / "lib").symlink_to(kept)
    (place / "note").symlink_to(kept / "letter.txt")
    assert enter(monkeypatch, place)
    assert sorted(path.name for path in place.iterdir()) == ["bin", bootstrap._STAMP]
    assert (kept / "letter.txt").read_text() == "dear"


def test_pip_writes_through_no_link(checkout, monkeypatch, tmp_path):
    """An environment that was complete, of which a part was moved away and linked, is made anew."""
    place, kept = tmp_path / "dir", tmp_path / "kept"
    enter(monkeypatch, place)
    kept.mkdir()
    (kept / "letter.txt").write_text("dear")
    (place / "lib").symlink_to(kept)
    bootstrap._install(place, ["more>=1"], run := Runner(place))
    assert run.commands[0].endswith(f" -m venv {place}")
    assert not (place / "lib").exists()
    assert (kept / "letter.txt").read_text() == "dear"


def test_a_link_to_an_environment_that_is_ready_is_used(checkout, monkeypatch, tmp_path):
    """Nothing is written then; worktrees share an environment like that."""
    enter(monkeypatch, tmp_path / "dir")
    (tmp_path / "link").symlink_to(tmp_path / "dir")
    assert enter(monkeypatch, tmp_path / "link") == []


def test_the_checkouts_own_environment_needs_no_mark(checkout, monkeypatch):
    """Where it is one: without pyvenv.cfg it may be anything."""
    own = checkout / ".venv"
    make_foreign_environment(own)
    assert enter(monkeypatch, "")
    assert bootstrap._is_ready(own, ["rich>=13.7"])


def test_the_checkouts_own_directory_that_is_no_environment_is_not_touched(checkout, monkeypatch):
    """A directory of that name can contain anything."""
    own = checkout / ".venv"
    own.mkdir()
    (own / "letter.txt").write_text("dear")
    before = tree(checkout)
    with pytest.raises(BootstrapError, match="contains files that are not ours"):
        enter(monkeypatch, "")
    assert tree(checkout) == before


@pytest.mark.parametrize(("arguments", "extra"), [(["demo"], ()), (["demo", "--json", "--host"], ("host",))])
def test_an_option_may_need_more_than_its_command(monkeypatch, arguments, extra):
    """The environment of the demo has a web framework only where its host is wanted."""
    entered = []

    def enter(extras, _arguments):
        entered.append(extras)
        raise bootstrap.BootstrapError("stop here")

    monkeypatch.setattr(bootstrap, "enter_environment", enter)
    assert main(arguments) == 1
    assert entered == [(*COMMANDS["demo"].extras, *extra)]
