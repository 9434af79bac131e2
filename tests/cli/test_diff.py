"""
`python3 -m runtime diff`: what it prints, and its exit codes.

Also the tests of `runtime.compare.report`.
"""

import json
from pathlib import Path

import pytest
from compare_support import (
    OLD,
    TEXT,
    at,
    change_all,
    diffed,
    items,
)

from runtime.cli import diff
from runtime.compare import RULES


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder to run the command in."""
    monkeypatch.chdir(tmp_path)
    return diffed


def test_methods_with_the_same_changes_share_them(files, capsys):
    """The text names each method, each change once, and the exit code is 1."""
    change = lambda root: at(root, "components", "schemas", "Item", "properties").pop("name")  # noqa: E731
    assert files(change) == 1
    assert capsys.readouterr().out == (
        "breaking: list_items (GET /api/items)\n"
        "  OD107 response 200 `[].name` is gone\n"
        "    old.json#/components/schemas/Item/properties/name\n"
        "breaking: create_item (POST /api/items)\n"
        "  OD107 response 201 `name` is gone\n"
        "    old.json#/components/schemas/Item/properties/name\n"
        "Found 2 breaking; 2 unchanged.\n"
    )


def test_without_a_breaking_change_the_exit_code_is_0(files, capsys):
    """Compatible and new changes are listed."""
    assert files(lambda root: items(root).update(deprecated=True)) == 0
    assert "Found 1 compatible; 3 unchanged.\n" in capsys.readouterr().out
    assert files(lambda _: None) == 0
    assert capsys.readouterr().out == "Nothing has changed on the wire: 4 methods.\n"


def test_other_formats_have_each_rule(files, capsys):
    """SARIF and annotations of GitHub Actions, with the place in the connector where there is one."""
    assert files(change_all, "items.py", "--sarif") == 1
    rules = {one["id"] for one in json.loads(capsys.readouterr().out)["runs"][0]["tool"]["driver"]["rules"]}
    assert rules <= RULES.keys()
    assert files(change_all, "--github") == 1
    assert "::error title=OD101 operation-gone::old.json#/paths" in capsys.readouterr().out
    assert diff.main(["--explain", "all"]) == 0
    assert all(one in capsys.readouterr().out for one in ["OD101"])


@pytest.mark.parametrize(
    "arguments",
    [[], ["old.json"], ["old.json", "none.json"], ["old.json", "old.json", "none"], ["old.json", "broken.json"]],
)
def test_wrong_usage_is_2(tmp_path, monkeypatch, arguments):
    """So that CI can distinguish a broken document from a breaking one."""
    monkeypatch.chdir(tmp_path)
    Path("old.json").write_text(json.dumps(OLD))
    Path("broken.json").write_text("{")
    with pytest.raises(SystemExit) as caught:
        diff.main(arguments)
    assert caught.value.code == 2


def test_a_document_cannot_steer_the_terminal(files, capsys):
    """Control characters in its names are not printed."""
    for form in ("text", "github"):
        wrong = {"name": "a\x1b[2J\ud800", "in": "query", "required": True, "schema": TEXT}
        assert files(lambda root, one=wrong: items(root)["parameters"].append(one), "--format", form) == 1
        assert "`a?[2J?`" in capsys.readouterr().out
