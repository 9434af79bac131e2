"""
From a bare Python to an environment with all that a command needs; standard library alone.

Makes `.venv` next to pyproject.toml (or where `MOZAIKS_VENV` says) and installs the dependencies and the command's
extras into it, without building the project. Which releases is said by requirements.lock, by version and digest; of
another file an installer makes an error. Tried in this order: uv, venv with ensurepip, venv without pip but the
system's pip, venv without pip and pip's own wheel from the package index. Then the process becomes the environment's
Python. `MOZAIKS_VENV=none` switches all of this off, for those who bring their own environment.

A new environment is made by removing what the old one left, so a directory is used only where nothing else can be
lost: it does not exist, is empty, or has our stamp, which is the first file written to it and stays through every
removal. The checkout's own `.venv` is ours too where it is an environment at all.
"""

import fcntl
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime._internal.files import refuse_link, write_text
from runtime._internal.installation import project_directory

from .package_index import (
    PackageIndexError,
    check_index,
    fetch,
    index_url,
    mask_credentials,
    uv_variables,
    without_controls,
)

__all__ = ["LOCK", "BootstrapError", "claim", "enter_environment", "locked", "requirements"]

LOCK = "requirements.lock"

_STAMP = "mozaiks-stamp.json"
# Isolated: neither the working directory nor PYTHONPATH can put another module in the place of pip.
_PIP = ("-I", "-m", "pip")
# A pip.conf of the user may say `user = true`, which no environment permits.
_OPTIONS = ("--quiet", "--no-user")

_LOCKED = re.compile(r"^# (.+)\n((?:.+\\\n)+.+)$", re.MULTILINE)
_DIGEST = " --hash="

Run = Callable[[Sequence[str]], None]


class BootstrapError(Exception):
    """The environment cannot be made; the text is one line that says what to do."""


def requirements(pyproject: Path, extras: Sequence[str]) -> list[str]:
    """Dependencies and those of *extras*, extras that name other extras of the project resolved."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    optional = project.get("optional-dependencies", {})
    own = re.compile(rf"{re.escape(project['name'])}\[([^\]]+)\]")
    found: list[str] = list(project["dependencies"])
    pending, seen = list(extras), set()
    while pending:
        extra = pending.pop(0)
        if extra in seen:
            continue
        seen.add(extra)
        for line in optional[extra]:
            nested = own.fullmatch(line.strip())
            if nested:
                pending.extend(name.strip() for name in nested.group(1).split(","))
            else:
                found.append(line)
    return list(dict.fromkeys(found))


def locked(lock: Path, extras: Collection[str]) -> list[str]:
    """
    Return what *lock* has for *extras* and for every command: a line of pip's each, with version and digests.

    Returns:
        Nothing where there is no such file.

    Raises:
        BootstrapError: It cannot be read, has no release, or has anything else, as after a merge.
    """
    try:
        text = lock.read_text("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise BootstrapError(f"cannot read {lock}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    entries = _LOCKED.findall(text)
    # What was skipped would be installed without its digest, or not at all.
    if not entries or re.search(r"^[^#\n]", _LOCKED.sub("", text), re.MULTILINE):
        raise BootstrapError(f"{lock} is not as .ci/tools/lock.py writes it: restore it from version control")
    wanted = {"all", *extras}
    return [re.sub(r" \\\n +", " ", entry) for needed, entry in entries if wanted & set(needed.split())]


def enter_environment(extras: Sequence[str], arguments: Sequence[str]) -> None:
    """
    Return if this process already runs where *extras* are installed; else set that up and become it.

    Raises:
        BootstrapError: It cannot be set up.
    """
    place = os.environ.get("MOZAIKS_VENV", "").strip()
    project = project_directory()
    if place == "none" or project is None:
        return
    given = Path(place).absolute() if place else project / ".venv"
    venv = Path(os.path.realpath(given))
    wanted = locked(project / LOCK, extras) or requirements(project / "pyproject.toml", extras)
    if not _is_ready(venv, wanted):
        with claim(given, project / ".venv", setting="MOZAIKS_VENV"):
            if not _is_ready(venv, wanted):
                _install(venv, wanted)
    python = _python(venv)
    if Path(sys.prefix).resolve() == venv:
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(project), _pythonpath()]))}
    environment["MOZAIKS_VENV"] = str(venv)
    sys.stdout.flush()
    os.execve(python, [str(python), "-m", "runtime", *arguments], environment)  # noqa: S606 - becomes our own command


def _pythonpath() -> str:
    return os.environ.get("PYTHONPATH", "")


def _python(venv: Path) -> Path:
    return venv / "bin" / "python"


def _interpreter() -> str:
    return f"{sys.implementation.name}-{sys.version.split()[0]}-{getattr(sys, 'base_prefix', sys.prefix)}"


def _stamp(venv: Path) -> tuple[str, set[str]]:
    """Interpreter and requirements that were installed completely."""
    try:
        document = json.loads((venv / _STAMP).read_text("utf-8"))
        return document["interpreter"], set(document["requirements"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", set()


def _is_ready(venv: Path, wanted: Sequence[str]) -> bool:
    interpreter, installed = _stamp(venv)
    return interpreter == _interpreter() and set(wanted) <= installed and os.access(_python(venv), os.X_OK)


@contextmanager
def claim(venv: Path, own: Path, *, setting: str) -> Iterator[None]:
    """
    Mark *venv* as ours, and let one process at a time install into it; the kernel frees the lock of one that died.

    Args:
        venv: Where the environment is, or will be made.
        own: The directory that is ours without the mark, where it contains an environment.
        setting: Name of the environment variable that chooses another place.

    Raises:
        BootstrapError: *venv* is a link or contains files that are not ours, and nothing was changed; or it cannot be
            written.
    """
    try:
        refuse_link(venv)
        if not _is_ours(venv, own):
            raise BootstrapError(
                f"{venv} contains files that are not ours, and nothing was changed: "
                f"set {setting} to a directory that is new or empty"
            )
        venv.mkdir(parents=True, exist_ok=True)
        # Neither emptied by the opening nor replaced later: what is locked must stay the same file.
        mark = os.open(venv / _STAMP, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(mark, fcntl.LOCK_EX)
            yield
        finally:
            os.close(mark)
    except OSError as error:
        reason = f"cannot write {venv} ({error.strerror or error})"
        raise BootstrapError(f"{reason}: set {setting} to a directory that can be written") from None


def _is_ours(venv: Path, own: Path) -> bool:
    if not venv.exists() or not any(venv.iterdir()):
        return True
    # A `.venv` that is a link leads to an environment of somebody else's, under whichever of its names it is given.
    is_own = not own.is_symlink() and venv.resolve() == own.resolve()
    return _is_file(venv / _STAMP) or (is_own and _is_file(venv / "pyvenv.cfg"))


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _clear(venv: Path) -> None:
    """Remove all but the mark; of a link, the link alone."""
    for path in venv.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _STAMP:
            path.unlink()


def _write_stamp(venv: Path, interpreter: str, installed: Sequence[str]) -> None:
    write_text(venv / _STAMP, json.dumps({"interpreter": interpreter, "requirements": installed}))


def _say(message: str) -> None:
    sys.stderr.write(f"  {message}\n")
    sys.stderr.flush()


def _run(command: Sequence[str]) -> None:
    environment = {**os.environ, **uv_variables(os.environ)}  # not as an argument, which every user of the machine sees
    subprocess.run(  # noqa: S603 - our commands
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )


def _install(venv: Path, wanted: Sequence[str], run: Run = _run) -> None:
    """
    Install *wanted* into *venv* by the first way that works.

    What the stamp says comes last, so a broken run starts anew; until then it is the mark alone.
    """
    try:
        check_index(os.environ)
    except PackageIndexError as error:
        raise BootstrapError(f"cannot set up {venv}: {error}") from None
    started = time.monotonic()
    interpreter, installed = _stamp(venv)
    fresh = interpreter != _interpreter() or not os.access(_python(venv), os.X_OK)
    fresh = fresh or any((venv / name).is_symlink() for name in ("bin", "lib"))  # what pip would write through
    # Installed before there was a lock, or the reverse: no installer takes both kinds at once.
    fresh = fresh or len({_DIGEST in line for line in (*installed, *wanted)}) > 1
    if fresh:
        installed = set()
    _write_stamp(venv, "", [])
    _say(f"setting up {venv} (once; {len(wanted)} dependencies)")
    failures = []
    for name, way in _WAYS.items():
        if name == "uv" and shutil.which("uv") is None:
            continue
        try:
            _say(f"installing with {name} …")
            if fresh:
                _clear(venv)
            with _arguments(wanted) as arguments:
                way(venv, arguments, fresh, run)
        except (OSError, subprocess.SubprocessError, BootstrapError, ValueError) as error:
            failures.append(f"{name}: {_reason(error)}")
            # Half an installation is none: the next way starts from nothing.
            wanted, fresh, installed = _merged(installed, wanted), True, set()
            continue
        _write_stamp(venv, _interpreter(), _merged(installed, wanted))
        _say(f"ready after {time.monotonic() - started:.1f} s")
        return
    raise BootstrapError(
        f"cannot set up {venv}: is the package index reachable? On Debian, `apt install python3-venv ca-certificates` "
        f"helps. Tried {'; '.join(failures)}"
    )


def _merged(installed: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return *wanted*, and what is *installed* of other names."""
    names = {_name(line) for line in wanted}
    return sorted({*wanted, *(line for line in installed if _name(line) not in names)})


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


@contextmanager
def _arguments(wanted: Sequence[str]) -> Iterator[Sequence[str]]:
    """Give what an installer is to be called with; it takes digests from a file alone."""
    if not any(_DIGEST in line for line in wanted):
        yield wanted
        return
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "requirements.txt"
        file.write_text("\n".join(wanted), "utf-8")
        yield ["--require-hashes", "-r", str(file)]


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        text = said[-1] if said else f"exit code {error.returncode}"
    return without_controls(mask_credentials(text)[:200])


def _make_venv(venv: Path, fresh: bool, run: Run, *options: str) -> None:
    if fresh:
        run([sys.executable, "-m", "venv", *options, str(venv)])


def _with_uv(venv: Path, wanted: Sequence[str], fresh: bool, run: Run) -> None:
    if fresh:
        run(["uv", "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(venv)])
    run(["uv", "pip", "install", "--quiet", "--python", str(_python(venv)), *wanted])


def _with_ensurepip(venv: Path, wanted: Sequence[str], fresh: bool, run: Run) -> None:
    _make_venv(venv, fresh, run)
    run([str(_python(venv)), *_PIP, "install", *_OPTIONS, "--disable-pip-version-check", *wanted])


def _with_system_pip(venv: Path, wanted: Sequence[str], fresh: bool, run: Run) -> None:
    run([sys.executable, *_PIP, "--version"])
    _make_venv(venv, fresh, run, "--without-pip")
    run([sys.executable, *_PIP, "--python", str(_python(venv)), "install", *_OPTIONS, *wanted])


def _with_pip_wheel(venv: Path, wanted: Sequence[str], fresh: bool, run: Run) -> None:
    _make_venv(venv, fresh, run, "--without-pip")
    with tempfile.TemporaryDirectory() as directory:
        wheel = _fetch_pip(Path(directory))
        run([str(_python(venv)), "-I", f"{wheel}/pip", "install", *_OPTIONS, "--disable-pip-version-check", *wanted])


def _fetch_pip(directory: Path) -> Path:
    """Download the newest pip wheel that the index lists, of those in the lock, and check it against its digest."""
    index = index_url(os.environ)
    page_url = f"{index}/pip/"
    page = fetch(page_url, index, timeout_s=60).decode()
    links = re.findall(r'href="([^"]+/pip-(\d+(?:\.\d+)*)-py3-none-any\.whl)#sha256=([0-9a-f]{64})"', page)
    project = project_directory()
    if project is not None and (known := "".join(locked(project / LOCK, ["pip"]))):
        links = [found for found in links if found[2] in known]
    if not links:
        raise BootstrapError("the package index lists no pip wheel with a digest that is known")
    link, version, digest = max(links, key=lambda found: tuple(int(part) for part in found[1].split(".")))
    url = urllib.parse.urljoin(page_url, html.unescape(link))
    content = fetch(url, index, timeout_s=120)
    if hashlib.sha256(content).hexdigest() != digest:
        raise BootstrapError("the downloaded pip does not match its digest")
    wheel = directory / f"pip-{version}-py3-none-any.whl"
    wheel.write_bytes(content)
    return wheel


_WAYS: dict[str, Callable[[Path, Sequence[str], bool, Run], None]] = {
    "uv": _with_uv,
    "venv and ensurepip": _with_ensurepip,
    "venv and the system's pip": _with_system_pip,
    "venv and pip's wheel": _with_pip_wheel,
}
