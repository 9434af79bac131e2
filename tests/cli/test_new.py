"""`python3 -m runtime new`: what it shows, writes and rejects."""

import json
from pathlib import Path

import pytest
from generated_support import ODD

from runtime.cli import new
from runtime.contract import check_paths

pytestmark = pytest.mark.sockets


@pytest.fixture
def odd_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "odd.json"
    path.write_text("\ufeff" + json.dumps(ODD), encoding="utf-8")
    return str(path)


def test_the_command_shows_and_then_writes(odd_file, tmp_path, capsys):
    """A dry run writes nothing; what is not as in the document is said both times."""
    assert new.main(["odd", "--from", odd_file, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "+class OddConnector(Protocol):" in shown.out
    assert "operation POST /upload: its body is multipart/form-data" in shown.err
    assert not (tmp_path / "odd_connector").exists()
    assert new.main(["odd", "--from", odd_file]) == 0
    shown = capsys.readouterr()
    assert "wrote odd_connector/odd_connector/__init__.py" in shown.out
    assert "next: python3 -m runtime test odd_connector\n" in shown.err  # no index has the runtime of a checkout
    assert check_paths([tmp_path / "odd_connector"], strict=True) == []
    assert new.main(["odd", "--from", odd_file]) == 0
    assert capsys.readouterr().out == ""


def test_a_document_cannot_steer_the_terminal(odd_file, capsys):
    """Control characters in its paths are not printed."""
    odd = {**ODD, "paths": {**ODD["paths"], "/a\x1b[2J": ODD["paths"]["/upload"]}}
    Path(odd_file).write_text(json.dumps(odd))
    assert new.main(["odd", "--from", odd_file, "--dry-run"]) == 0
    assert "has a character that is not printed (/paths/~1a?[2J/post)" in capsys.readouterr().err


def test_next_to_an_installed_runtime_the_connector_is_installed(odd_file, capsys, monkeypatch):
    """As a package of its own, so that it is in every bundle."""
    monkeypatch.setattr(new, "project_directory", lambda: None)
    assert new.main(["odd", "--from", odd_file]) == 0
    assert "next: pip install -e odd_connector && python3 -m pytest odd_connector\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["Odd"], "words in lower case"),
        (["class"], "words in lower case"),
        (["odd", "--from", "none.json"], "cannot be read"),
        (["odd", "--from", "odd.json", "--tag", "none"], "no operation has none; the document's tags are none"),
        (["odd", "--from", "odd.json", "--path", "/file"], "the client reads JSON"),
        (["odd", "--field", "a:b"], "NAME:TYPE"),
        (["odd", "--path", "x"], "slash"),
    ],
)
@pytest.mark.usefixtures("odd_file")
def test_wrong_usage_is_one_line(arguments, problem, capsys):
    """With the exit code of wrong usage."""
    with pytest.raises(SystemExit) as caught:
        new.main(arguments)
    assert caught.value.code == 2
    assert problem in capsys.readouterr().err
