"""Generated files that were edited, and are generated again."""

import pytest

from runtime.generate import NotGeneratedError, changes, write

pytestmark = pytest.mark.sockets


OLD = {"a.py": "one\ntwo\nthree\nfour\nfive\n"}


def written(folder, files):
    return [path.name for path in write(folder, changes(folder, files))]


def test_edits_are_kept_when_other_lines_change(tmp_path):
    """Three-way: the ancestor is what was generated last time."""
    assert written(tmp_path, OLD) == ["a.py"]
    (tmp_path / "a.py").write_text("one\nedited\nthree\nfour\nfive\n")
    (change,) = changes(tmp_path, {"a.py": "one\ntwo\nthree\nfour\nsix\n"})
    assert change.new == "one\nedited\nthree\nfour\nsix\n"
    assert change.conflicts == ()
    assert "+six" in change.diff()
    list(write(tmp_path, [change]))
    assert written(tmp_path, {"a.py": "one\ntwo\nthree\nfour\nsix\n"}) == []


def test_lines_that_both_changed_are_a_conflict(tmp_path):
    """With git's markers; neither side is lost."""
    written(tmp_path, OLD)
    (tmp_path / "a.py").write_text("one\nedited\nthree\nfour\nfive\n")
    (change,) = changes(tmp_path, {"a.py": "one\ngenerated\nthree\nfour\nfive\n"})
    assert change.new == "one\n<<<<<<< edited\nedited\n=======\ngenerated\n>>>>>>> generated\nthree\nfour\nfive\n"
    assert [one.line for one in change.conflicts] == [2]


def test_a_file_that_was_not_generated_is_not_overwritten(tmp_path):
    """Unless it has the same text."""
    (tmp_path / "a.py").write_text("mine\n")
    with pytest.raises(NotGeneratedError, match="was not generated"):
        changes(tmp_path, OLD)
    (tmp_path / "a.py").write_text(OLD["a.py"])
    assert written(tmp_path, OLD) == []


def test_an_unchanged_file_is_replaced_by_a_new_version(tmp_path):
    """And a file that was removed is written again."""
    written(tmp_path, OLD)
    assert written(tmp_path, {"a.py": "new\n"}) == ["a.py"]
    (tmp_path / "a.py").unlink()
    assert written(tmp_path, {"a.py": "new\n"}) == ["a.py"]
