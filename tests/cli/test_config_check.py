"""`python3 -m runtime config check`: all that it finds, in which form, and its exit codes."""

import json
from pathlib import Path

import pytest
from settings_files import PREFIX, place_of

from runtime.cli.config import main
from runtime.cli.config_check import check
from runtime.connectors import registry
from runtime.settings.contradictions import Facts
from runtime.settings.rules import RULES


def test_a_connector_that_cannot_be_loaded_is_a_finding(monkeypatch):
    """The names of its settings are not known, so nothing else can be checked."""

    def gone():
        raise registry.ConfigError("entry point parcels of mozaiks.connectors: cannot be loaded")

    monkeypatch.setattr("runtime.cli.config_check.connectors", gone)
    (finding,) = check({}, Facts())
    assert finding.rule == "ST111"
    assert place_of(finding) == "entry point parcels of mozaiks.connectors"


def test_all_findings_come_at_once(checked):
    """What cannot be used is left out, and the rest is compared all the same; each with the name that was meant."""
    text = "[retry]\nmax_atempts = 2\nmax_delay_s = -1\n[attempt]\ntimeout_s = 30\n[services.hostin.retry]\nmax_attempts = 2\n"
    environ = {f"{PREFIX}HEDGING_MAX_HEDGE": "1", "MOZAIKS_MANAGED": "maybe", "MOZAIK_MANAGED": "1"}
    found = checked(text, environ)
    assert [(one.rule, place_of(one), one.meant) for one in found] == [
        ("ST103", "MOZAIKS_CONNECTORS_HEDGING_MAX_HEDGE", "MOZAIKS_CONNECTORS_HEDGING_MAX_HEDGES"),
        ("ST107", "MOZAIKS_MANAGED", ""),
        ("ST103", "MOZAIK_MANAGED", "MOZAIKS_MANAGED"),
        ("ST103", "settings.toml:2:1", "retry.max_attempts"),
        ("ST105", "settings.toml:3:1", ""),
        ("ST201", "settings.toml:5:1", ""),
        ("ST103", "settings.toml:6:1", "services.hosting"),
    ]


def test_an_unreadable_file_does_not_hide_the_environment(tmp_path):
    """Both are found."""
    environ = {f"{PREFIX}FILE": str(tmp_path / "gone.toml"), f"{PREFIX}RETRY_MAX_ATTEMPTS": "11"}
    assert {one.rule for one in check(environ, Facts())} == {"ST101", "ST105"}


@pytest.fixture
def file(tmp_path, monkeypatch, no_settings):
    """A file with one error, one warning and one note."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "settings.toml"
    path.write_text(
        "[retry]\nmax_atempts = 2\n[circuit_breaker]\nfailure_ratio = 0.5\n[transport]\nkeepalive_expiry_s = 60\n"
    )
    return path


def test_text(file, capsys):
    """One line per finding: place, code, what is wrong, what to do."""
    assert main(["check", "settings.toml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "settings.toml:2:1: ST103 retry.max_atempts: no such setting; did you mean retry.max_attempts? "
        "Correct the name; `config show` lists all names."
    )
    assert lines[1].startswith("settings.toml:4:1: ST305 [warning] circuit_breaker.failure_ratio = 0.5: a service that")
    assert lines[2].startswith(
        "settings.toml:6:1: ST309 [note] transport.keepalive_expiry_s = 60: connections idle for"
    )
    assert lines[3:] == ["Found 1 error, 1 warning, 1 note."]


def test_exit_codes(file, capsys):
    """0 without an error, 1 with one; `--strict` counts warnings, never notes."""
    file.write_text("[circuit_breaker]\nfailure_ratio = 0.5\n")
    assert main(["check", "settings.toml"]) == 0
    assert main(["check", "settings.toml", "--strict"]) == 1
    file.write_text("[transport]\nkeepalive_expiry_s = 60\n")
    assert main(["check", "settings.toml", "--strict"]) == 0
    assert main(["check"]) == 0
    assert capsys.readouterr().out.endswith("All checks passed.\n")


def test_json(file, capsys, no_settings):
    """Source, code, rule, reason, remedy and the name that was meant; a variable has no file."""
    no_settings.setenv(f"{PREFIX}RETRY_MAX_ATTEMPTS", "11")
    assert main(["check", "settings.toml", "--json"]) == 1
    variable, typo, *_ = json.loads(capsys.readouterr().out)
    assert typo == {
        "filename": "settings.toml",
        "location": {"row": 2, "column": 1},
        "source": "settings.toml:2:1",
        "code": "ST103",
        "name": "names-exist",
        "severity": "error",
        "message": "retry.max_atempts: no such setting; did you mean retry.max_attempts?",
        "reason": RULES["ST103"].why,
        "remedy": RULES["ST103"].remedy,
        "did_you_mean": "retry.max_attempts",
    }
    assert variable["filename"] is None
    assert variable["source"] == f"{PREFIX}RETRY_MAX_ATTEMPTS"


def test_sarif_and_github(file, capsys, no_settings):
    """A file's finding has its line, a variable's is a logical location."""
    no_settings.setenv(f"{PREFIX}RETRY_MAX_ATTEMPTS", "11")
    assert main(["check", "settings.toml", "--sarif"]) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["tool"]["driver"]["name"] == "connector-config-check"
    first, second, *_ = [one["locations"][0] for one in run["results"]]
    assert first == {"logicalLocations": [{"fullyQualifiedName": f"{PREFIX}RETRY_MAX_ATTEMPTS"}]}
    assert second["physicalLocation"]["region"] == {"startLine": 2, "startColumn": 1}
    assert main(["check", "settings.toml", "--github"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"::error title=ST105 values-fit::{PREFIX}RETRY_MAX_ATTEMPTS: must be <= 10, got 11. ")
    assert lines[1].startswith("::error title=ST103 names-exist,file=settings.toml,line=2,col=1::")


def test_output_file(file, capsys):
    """For a later step of a pipeline."""
    assert main(["check", "settings.toml", "--sarif", "--output", "found.sarif"]) == 1
    assert capsys.readouterr().out == ""
    assert json.loads(Path("found.sarif").read_text())["version"] == "2.1.0"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["gone.toml"], "no such file: gone.toml"),
        (["--explain", "ST999"], "no such rule: ST999"),
        (["--rps", "0"], "argument --rps: must be a number above 0, got '0'"),
        (["--rps", "nan"], "argument --rps: must be a number above 0, got 'nan'"),
        (["--processes", "1.5"], "argument --processes: must be a whole number above 0, got '1.5'"),
        (["--output", "."], "argument --output: cannot be written"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_usage_is_exit_code_2(arguments, text, no_settings, capsys):
    """And no failed check."""
    with pytest.raises(SystemExit) as exit_:
        main(["check", *arguments])
    assert exit_.value.code == 2
    assert text in capsys.readouterr().err
