"""
Findings as text, JSON, SARIF and annotations of GitHub Actions.

Also the tests of `runtime.cli.findings_options`.
"""

import json
import re

import pytest
from contract_support import write_broken

from runtime.cli.check import main
from runtime.contract import RULES


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A folder with one error and one warning."""
    write_broken(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_text_is_like_ruffs(broken, capsys):
    """File, line, column, rule, what is wrong and what to do."""
    assert main(["."]) == 1
    lines = capsys.readouterr().out.splitlines()
    line = broken.joinpath("orders.py").read_text().splitlines().index("import httpx") + 1
    assert lines[0] == (
        f"orders.py:{line}:1: CC202 imports httpx: calls go through self._http. {RULES['CC202'].remedy}"
    )
    assert re.fullmatch(r"orders\.py:\d+:\d+: CC403 \[warning\] datetime\.utcnow\(\) has no time zone\. .+", lines[1])
    assert lines[2:] == ["Found 1 error, 1 warning."]


def test_json(broken, capsys):
    """One record per finding."""
    assert main([".", "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first["code"] == "CC202"
    assert first["severity"] == "error"
    assert first["filename"] == "orders.py"
    assert first["location"]["column"] == 1
    assert second["code"] == "CC403"
    assert second["severity"] == "warning"
    assert second["name"] == "times-have-a-zone"


def test_sarif(broken, capsys):
    """SARIF 2.1.0: each result refers to its rule, by relative URI."""
    assert main([".", "--sarif"]) == 1
    document = json.loads(capsys.readouterr().out)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert document["version"] == "2.1.0"
    assert [(one["ruleId"], one["level"]) for one in run["results"]] == [("CC202", "error"), ("CC403", "warning")]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])
    assert {one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in run["results"]} == {
        "orders.py"
    }


def test_github(broken, capsys):
    """Workflow commands, with the separators of properties and lines escaped."""
    (broken / "a,b%.py").write_text("x = (\n")
    assert main([".", "--format", "github"]) == 1
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("::error title=CC900 file-can-be-read,file=a%2Cb%25.py,line=1,col=1::cannot be read: ")
    assert second.startswith("::error title=CC202 no-hard-coded-urls,file=orders.py,line=")
    assert third.startswith("::warning title=CC403")


def test_output_file(broken, capsys):
    """Annotations and SARIF are written where a later step of a pipeline reads them."""
    assert main([".", "--sarif", "--output", "found.sarif"]) == 1
    assert capsys.readouterr().out == ""
    assert json.loads((broken / "found.sarif").read_text())["version"] == "2.1.0"
