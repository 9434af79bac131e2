"""Files that commands write: never an input, never through a symbolic link, private where they record calls."""

import os
import stat

import pytest

from middleware import ConfigError
from runtime._internal import files
from runtime.telemetry import configure_telemetry


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("existing", ["something much longer than what comes", None])
def test_a_text_replaces_what_the_file_held(tmp_path, umask, existing):
    """A new file has the permissions of the umask, as any program's."""
    path = tmp_path / "page.html"
    if existing:
        path.write_text(existing)
    files.write_text(path, "größer")
    assert path.read_text("utf-8") == "größer"
    assert mode_of(path) == 0o644


@pytest.mark.parametrize(("existing", "mode"), [(False, 0o600), (True, 0o644)])
def test_a_private_text_is_its_owners_alone(tmp_path, umask, existing, mode):
    """A new file; one that exists keeps the mode that it was given."""
    path = tmp_path / "page.html"
    if existing:
        path.touch(0o644)
    files.write_text(path, "of customers", private=True)
    assert mode_of(path) == mode


def test_a_text_can_go_into_a_pipe(tmp_path):
    """Nothing can be removed there, and nothing is lost."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    files.write_text(path, "page")
    assert os.read(reading, 100) == b"page"
    os.close(reading)


@pytest.mark.parametrize("spelling", ["same", "dots", "relative", "hard link", "linked directory"])
def test_an_input_is_never_overwritten_whatever_its_name(tmp_path, monkeypatch, spelling):
    """The file is compared, not its name."""
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "in" / "t.jsonl"
    source.parent.mkdir()
    source.write_text("spans")
    (tmp_path / "other").symlink_to(tmp_path / "in")
    (tmp_path / "hard").hardlink_to(source)
    names = {
        "same": source,
        "dots": tmp_path / "in" / ".." / "in" / "t.jsonl",
        "relative": source.relative_to(tmp_path),
        "hard link": tmp_path / "hard",
        "linked directory": tmp_path / "other" / "t.jsonl",
    }
    with pytest.raises(OSError, match=r"is the same file as .*t\.jsonl, which must not be overwritten") as caught:
        files.write_text(names[spelling], "page", inputs=[tmp_path / "none", source])
    assert caught.value.filename == str(names[spelling])
    assert source.read_text() == "spans"


@pytest.mark.parametrize("write", [lambda path: files.write_text(path, "x"), files.write_private, files.append_private])
@pytest.mark.parametrize("target", ["victim", "nothing"])
def test_nothing_is_written_through_a_link(tmp_path, write, target):
    """Nor is a file made at the end of one."""
    (tmp_path / "victim").write_text("dear")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    with pytest.raises(OSError, match="is a symbolic link, which is not followed") as caught:
        write(link)
    assert caught.value.filename == str(link)
    assert (tmp_path / "victim").read_text() == "dear"
    assert not (tmp_path / "nothing").exists()


def test_a_link_that_appears_after_the_look_is_not_followed(tmp_path, monkeypatch):
    """The system is asked not to follow it, so that no other process can be faster."""
    (tmp_path / "victim").write_text("dear")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "victim")
    monkeypatch.setattr(files, "refuse_link", lambda _path: None)
    with pytest.raises(OSError, match="is a symbolic link"):
        files.write_text(link, "x")
    assert (tmp_path / "victim").read_text() == "dear"


def test_private_files_are_their_owners_alone(tmp_path, umask):
    """State is made private again whatever it was; a file that is appended to keeps the mode its owner gave it."""
    state, appended, shared = (tmp_path / name for name in ("state", "new", "shared"))
    for path in (state, shared):
        path.write_text("old")
        path.chmod(0o640)
    for file in (files.write_private(state), files.append_private(appended), files.append_private(shared)):
        with file:
            file.write(b"+")
    assert [path.read_text() for path in (state, appended, shared)] == ["+", "+", "old+"]
    assert [mode_of(path) for path in (state, appended, shared)] == [0o600, 0o600, 0o640]


def test_a_trace_file_is_private(tmp_path, umask):
    """Spans contain data about users and their requests."""
    path = tmp_path / "t.jsonl"
    with configure_telemetry(trace_file=path) as handle:
        handle.tracer_provider.get_tracer("test").start_span("one").end()
    assert path.stat().st_size > 0
    assert mode_of(path) == 0o600


def test_a_trace_file_that_is_a_link_is_named(tmp_path):
    """Nothing is appended where it leads."""
    (tmp_path / "victim").write_text("dear")
    (tmp_path / "t.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError, match=r"trace_file: cannot write .*t\.jsonl: is a symbolic link"):
        configure_telemetry(trace_file=tmp_path / "t.jsonl")
    assert (tmp_path / "victim").read_text() == "dear"
