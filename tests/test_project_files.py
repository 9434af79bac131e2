"""What the project promises about itself: workflow, releases, typing tests, and a test file for each module of the runtime."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from runtime.connectors.registry import connectors

ROOT = Path(__file__).resolve().parent.parent
STEPS = re.findall(r"^    '(\w+)\|", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def functions_of(path):
    return {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.AsyncFunctionDef)}


@pytest.mark.parametrize("connector", connectors(), ids=lambda one: one.name)
def test_the_type_of_every_operation_is_tested(connector):
    """`.ci/run lint` reads that file by mypy and pyright."""
    function = functions_of(ROOT / "tests" / "typing" / "connectors.py")[connector.name]
    asserted = [
        node.func.attr for node in ast.walk(function) if isinstance(node, ast.Call) and hasattr(node.func, "attr")
    ]
    assert sorted(asserted) == sorted(connector.operations)


def test_the_workflow_runs_steps_that_exist():
    """Each is a step of `.ci/run`."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert set(jobs["step"]["strategy"]["matrix"]["step"]) <= set(STEPS)
    assert jobs["step"]["steps"][-1]["run"] == ".ci/run ${{ matrix.step }}"


def test_the_steps_that_other_files_name_exist():
    """The workflow, the hooks, templates, release notes and pages, also where a step is renamed."""
    files = [*(ROOT / ".github").rglob("*.*"), *(ROOT / "docs").rglob("*.md"), ROOT / ".pre-commit-config.yaml"]
    files += [ROOT / "RELEASING.md", ROOT / "SECURITY.md"]
    named = {
        (file.name, name)
        for file in files
        for names in re.findall(r"\.ci/run ((?:\w+ )*\w+)(?=`|$)", file.read_text(), re.MULTILINE)
        for name in names.split()
    }
    assert {"ci.yml", ".pre-commit-config.yaml", "pull_request_template.md"} <= {file for file, _ in named}
    assert {(file, name) for file, name in named if name not in STEPS} == set()


def test_the_workflow_builds_the_site():
    """Broken links and stale pages are errors of every change."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert "docs" in jobs["step"]["strategy"]["matrix"]["step"]


def test_the_workflow_runs_the_steps_of_security_and_keeps_what_they_write():
    """Hostile input in short, and the bill of materials and the licences as artefacts."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert "abuse" in jobs["step"]["strategy"]["matrix"]["step"]
    *_, run, upload = jobs["supply_chain"]["steps"]
    assert run["run"] == ".ci/run supply_chain"
    assert upload["uses"].startswith("actions/upload-artifact@")
    assert upload["with"]["path"] == run["env"]["MOZAIKS_ARTEFACTS"]


def test_the_release_notes_name_every_step_that_runs_by_name_alone():
    """None is left out of a release."""
    (alone,) = re.findall(r"^by_name_alone='([\w|]+)'", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    named = re.findall(r"\.ci/run ([\w ]+)$", (ROOT / "RELEASING.md").read_text(), re.MULTILINE)
    assert {name for line in named for name in line.split()} == set(alone.split("|"))


@pytest.mark.sockets
def test_every_file_has_the_line_ends_that_the_attributes_promise():
    """No file is changed by a checkout."""
    shown = subprocess.run(["git", "ls-files", "--eol"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    ends = [line.split("\t") for line in shown.splitlines()]  # empty where the sources are no repository
    assert [name for how, name in ends if how.startswith(("i/crlf", "i/mixed")) and "attr/-text" not in how] == []
