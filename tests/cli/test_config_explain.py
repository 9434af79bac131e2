"""
`config explain`: text, pictures and what the operation declares.

Also the tests of `runtime.forecast.charts`, `runtime.forecast.explain` and `runtime.forecast.report`.
"""

import json
import re

import pytest

from runtime.cli.config import main


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
