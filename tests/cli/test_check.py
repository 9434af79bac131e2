"""`python3 -m runtime check`: what it prints, its exit codes, and whole connectors."""

import re

import pytest
import yaml
from contract_support import ROOT, TEMPLATE, write_broken

from runtime.cli.check import main
from runtime.cli.main import COMMANDS
from runtime.cli.main import main as command
from runtime.contract import RULES, Severity, check_paths


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A folder with one error and one warning."""
    write_broken(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- whole connectors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["runtime/connectors", "examples"])
def test_our_own_connectors_keep_every_rule(folder):
    """No false alarm, not even with `--strict`, and nothing that cannot be verified."""
    assert check_paths([ROOT / folder], strict=True) == []


def test_the_template_breaks_no_rule_and_has_each_shortcoming_named(tmp_path):
    """The contract is binding: what its own template does is a warning, and the exit code is 0."""
    path = tmp_path / "service.py"
    path.write_text(TEMPLATE)
    found = check_paths([path])
    assert [one for one in found if one.severity is Severity.ERROR] == []
    assert {one.rule for one in found if one.severity is Severity.WARNING} == {
        *("CC107", "CC304", "CC401", "CC402", "CC403", "CC404", "CC405"),
    }
    assert [one.rule for one in found if one.severity is Severity.NOTE] == ["CC305"]
    lines = TEMPLATE.splitlines()
    assert {lines[one.line - 1].strip() for one in found if one.rule == "CC402"} == {
        'return [ServiceItem(**item) for item in response.get("items", [])]',
        "return ServiceItem(**response)",
    }
    assert {lines[one.line - 1].strip() for one in found if one.rule in {"CC403", "CC404"}} == {
        "created_at=datetime.utcnow()",
        'return response.get("success", False)',
    }
    assert len([one for one in found if one.rule == "CC401"]) == 3


def test_the_template_fails_under_strict(tmp_path, capsys):
    """`--strict` counts warnings as errors."""
    (tmp_path / "service.py").write_text(TEMPLATE)
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path), "--strict"]) == 1
    assert "CC402 [warning]" in capsys.readouterr().out


# --- output ---------------------------------------------------------------------------------------------------------


def test_nothing_to_report(tmp_path, capsys):
    """Exit code 0; a folder without connectors has nothing that could break a rule."""
    (tmp_path / "other.py").write_text("class Managed:\n    pass\n")
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "All checks passed.\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["no-such-file.py"], "no such file or folder: no-such-file.py"), (["--explain", "CC999"], "no such rule: CC999")],
)
def test_wrong_usage_is_exit_code_2(arguments, text, capsys):
    """Wrong usage is no failed check."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_explained(rule, capsys):
    """Source, reason and remedy."""
    assert main(["--explain", rule.lower()]) == 0
    shown = capsys.readouterr().out
    assert all(
        text in shown for text in (rule, RULES[rule].name, RULES[rule].source, RULES[rule].why, RULES[rule].remedy)
    )


def test_ids_follow_the_order_of_the_contract():
    """Seven DOs, four DON'Ts."""
    assert list(RULES) == sorted(RULES)
    assert [RULES[f"CC10{number}"].source[:5] for number in range(1, 8)] == [f"DO {number}:" for number in range(1, 8)]
    assert [RULES[f"CC20{number}"].source[:8] for number in range(1, 5)] == [
        f"DON'T {number}:" for number in range(1, 5)
    ]
    contract = (ROOT / "docs/connector-contract.md").read_text().replace("**", "").lower()
    for rule in RULES.values():
        if rule.id < "CC3":
            assert rule.source.partition(": ")[2].rstrip(".").lower() in contract


def test_the_documentation_lists_every_rule():
    """docs/contract-check.md has a row for each, with its name."""
    page = (ROOT / "docs" / "contract-check.md").read_text()
    assert dict(re.findall(r"^\| (CC\d{3}) \| ([a-z-]+) \|", page, re.MULTILINE)) == {
        one.id: one.name for one in RULES.values()
    }


def test_the_pre_commit_hook_calls_the_command():
    """The hook's entry is the console script, with a command that there is."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "mozaiks-runtime check"
    assert COMMANDS["check"].module == "runtime.cli.check"


def test_the_command_needs_no_environment(broken, monkeypatch):
    """A check needs no dependency, so it sets no environment up."""
    monkeypatch.setattr("runtime.cli.bootstrap.enter_environment", lambda *_: pytest.fail("an environment is set up"))
    assert command(["check", "."]) == 1
