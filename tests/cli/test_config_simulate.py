"""
`config simulate`: text, JSON, files and errors.

Also the tests of `runtime.forecast.page`.
"""

import json
import re

import pytest

from runtime.cli.config import main

SIMULATE = ["--rps", "5", "--duration", "6", "--seeds", "2", "--workers", "1"]


@pytest.fixture(autouse=True)
def in_folder(no_settings, tmp_path):
    """No settings from outside, and a folder for files."""
    no_settings.chdir(tmp_path)


def test_simulate_compares_two_files(tmp_path, capsys):
    """A table, and the same as a page without a script."""
    (tmp_path / "one.toml").write_text("[retry]\nmax_attempts = 1\n")
    arguments = ["simulate", "hosting", "--fault", "errors:30%", *SIMULATE, "--vs", "one.toml", "--page", "page.html"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("errors:30% from 1 s to 4 s of 6 s: 5 calls/s of one process")
    assert re.search(
        r"^requests per call +1\.\d+ .*one\.toml|^requests per call +1\.\d+ .* 1\.000 ", shown, re.MULTILINE
    )
    assert "too few seeds" in shown
    page = (tmp_path / "page.html").read_text()
    assert "form-action 'none'" in page
    assert "<script" not in page
    assert page.count("<svg") == 2


def test_a_table_that_is_wider_than_the_terminal_becomes_a_list(tmp_path, capsys, monkeypatch):
    """Each figure with its two policies and their difference, in 80 columns; a pipe gets the table."""
    (tmp_path / "one.toml").write_text("[retry]\nmax_attempts = 1\n")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["simulate", "hosting", "--fault", "errors:30%", *SIMULATE, "--vs", "one.toml"]) == 0
    shown = capsys.readouterr().out
    figures = shown[shown.index("mean of the seeds") : shown.index("\n\nnow:")].splitlines()
    assert max(map(len, figures)) <= 80
    assert re.search(r"^requests per call\n  now +1\.\d+.*\n  one\.toml +1\.000\n  difference", shown, re.MULTILINE)


def test_simulate_says_nothing_of_a_recovery_that_it_cannot_see(capsys):
    """Five seconds in a row are needed after the illness; here it lasts to the end."""
    assert main(["simulate", "hosting", "--fault", "errors:30%", *SIMULATE, "--ill", "0-6", "--page", "page.html"]) == 0
    shown = capsys.readouterr().out
    assert "no time left to recover" in shown
    assert "time to recover" not in shown


def test_simulate_prints_json(capsys):
    """Every figure with its interval, and every run."""
    assert main(["simulate", "hosting", "--fault", "hang", *SIMULATE, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (policy,) = document["policies"].values()
    assert set(policy["figures"]["success"]) == {"mean", "low", "high", "least", "most"}
    assert [run["seed"] for run in policy["runs"]] == [0, 1]


@pytest.mark.parametrize("command", ["explain", "simulate"])
def test_help_has_examples_and_settings_that_are_wrong_are_listed(command, tmp_path, capsys):
    """Exit code 3 for the settings."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"python3 -m runtime config {command} hosting" in shown
    assert "%%" not in shown
    (tmp_path / "bad.toml").write_text("[retry]\nmax_attempts = 99\n")
    assert main([command, "hosting", "--fault", "hang", "--rps", "1", "--file", "bad.toml"]) == 3
    assert "max_attempts: must be <= 10" in capsys.readouterr().err
