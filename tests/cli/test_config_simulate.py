"""`config explain` and `config simulate`: text, JSON, files and errors."""

import json
import re

import pytest

from runtime.cli.config import main

SIMULATE = ["--rps", "5", "--duration", "6", "--seeds", "2", "--workers", "1"]


@pytest.fixture(autouse=True)
def in_folder(no_settings, tmp_path):
    """No settings from outside, and a folder for files."""
    no_settings.chdir(tmp_path)


def test_explain_prints_the_schedule_as_bars(capsys):
    """With the reason of each attempt that can never start."""
    assert main(["explain", "hosting", "--fault", "429:30"]) == 0
    shown = capsys.readouterr().out
    assert "hosting (GET) under 429:30: attempt timeout 10 s, deadline 25 s" in shown
    assert "attempts 2 to 3 never: Retry-After 30 s is above retry.retry_after_max_s, 20 s" in shown
    assert re.search(r"^1 +0 s +100 ms +█+$", shown, re.MULTILINE)


def test_explain_knows_what_the_operation_declares(capsys):
    """R11: a checkout has one attempt; only its own setting lifts it."""
    assert main(["explain", "payment", "checkout", "--fault", "refused", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["attempts"]) == 1


def test_explain_says_what_the_traffic_does(capsys):
    """R18, R32, R33: requests with and without the budget, and what callers get of an open circuit."""
    assert main(["explain", "hosting", "--fault", "503", "--rps", "5"]) == 0
    shown = capsys.readouterr().out
    assert "while the circuit is closed: 7 requests/s, without the retry budget 15" in shown
    assert re.search(r"the circuit opens after .* each time for 5 s to 6 s", shown)
    assert re.search(r"9\d% CIRCUIT_OPEN", shown)


def test_explain_says_how_long_a_refused_circuit_stays_open(capsys):
    """R33: shorter after refused connections alone, which are attempts and no requests."""
    assert main(["explain", "hosting", "--fault", "refused", "--rps", "5"]) == 0
    shown = capsys.readouterr().out
    assert "each time for 800 ms to 950 ms" in shown
    assert "while the circuit is closed: 7 connection attempts/s, without the retry budget 25" in shown
    assert re.search(r"^from then on the calls get: \d+% CIRCUIT_OPEN", shown, re.MULTILINE)
    assert "requests/s" not in shown


def test_explain_writes_a_picture(tmp_path, capsys):
    """A document of its own, with a text for each bar."""
    assert main(["explain", "hosting", "--svg", "schedule.svg"]) == 0
    picture = (tmp_path / "schedule.svg").read_text()
    assert "<title>attempt 2: starts at 10 s to 10.1 s, ends at 20 s to 20.1 s</title>" in picture
    assert "prefers-color-scheme:dark" in picture
    assert main(["explain", "hosting", "--svg", "none/schedule.svg"]) == 1
    assert "none/schedule.svg: No such file or directory" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "hosting", "--fault", "brownout"], "a single call is explained under"),
        (["explain", "hosting", "nothing"], "argument OPERATION: hosting has"),
        (["explain", "hosting", "--file", "no.toml"], "no such file: no.toml"),
        (["simulate", "hosting", "--fault", "x", "--rps", "1"], "no such model"),
        (["simulate", "hosting", "--fault", "hang", "--rps", "0"], "the rate must be at least 0.001"),
        (["simulate", "hosting", "--fault", "hang", "--rps", "1", "--ill", "9-3"], "must end after it begins"),
        (["simulate", "hosting", "--fault", "hang", "--rps", "1", "--ill", "60-70"], "must begin before the end"),
        (["simulate", "hosting", "--fault", "hang", "--rps", "1", "--seeds", "1.5"], "seeds must be a whole number"),
        (["simulate", "hosting", "--fault", "hang", "--rps", "1", "--vs", "no.toml"], "no such file: no.toml"),
    ],
)
def test_wrong_usage_is_named(arguments, said, capsys):
    """Exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_a_subcommand_all_are_listed(capsys):
    """On stderr, with exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "simulate  run the stack in virtual time" in capsys.readouterr().err


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
