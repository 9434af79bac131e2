"""The trace command asked as on call: the incident of examples/incident.py, at two widths, compared, filtered, followed."""

import json
import re
import sys

import pytest

from examples.incident import write_incident
from runtime.cli import trace


@pytest.fixture(scope="module")
def incident(tmp_path_factory):
    """The half hour, with a call in ten seconds per service; times as in UTC."""
    path = tmp_path_factory.mktemp("incident") / "incident.jsonl"
    write_incident(path, per_s=0.1)
    return path


@pytest.fixture(autouse=True)
def zone(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def ask(capsys, monkeypatch):
    def asked(*arguments, width=120, code=0):
        monkeypatch.setenv("COLUMNS", str(width))
        assert trace.main([*map(str, arguments)]) == code
        out, err = capsys.readouterr()
        return err if code else out

    return asked


def unwrapped(text):
    return re.sub(r"\s+", " ", text)


def test_the_summary_says_since_when_what_how_bad_and_what_to_change(incident, ask):
    """The first lines, without another question."""
    text = unwrapped(ask(incident, "--summary"))
    first = re.search(
        r"identity\.get_user: p95 \S+ ms → 9\.\d+ s, failed 0 % → (\d+) % \((\d+) of (\d+) calls\) at 14:00:(\d\d);",
        text,
    )
    assert 70 <= int(first[1]) <= 88
    assert int(first[1]) == round(100 * int(first[2]) / int(first[3]))
    assert 20 <= int(first[4]) <= 59
    assert re.search(
        r"other services \(billing, service\) unchanged; \d\d % (503|timed out after 10 s), \d\d % (503|timed out after 10 s)"
        " →",
        text,
    )
    assert re.search(
        r"→ timed out after 10 s: lower MOZAIKS_CONNECTORS_IDENTITY__ATTEMPT_TIMEOUT_S from 10 s to 3.5 s: a little above 3.[12]\d s,"
        r" the p99 of what still succeeds in this time \([\d.]+ ms at other times\)",
        text,
    )
    assert re.search(
        r"hosting\.list_apps: failed 0 % → \d\d % \(\d+ of \d+ calls\) at 14:0[89]:\d\d; \d\d % 500 →", text
    )
    assert text.index("identity.get_user:") < text.index("hosting.list_apps:")
    assert "◀ onset 14:00:" in text
    assert "service.list_items: " not in text


def test_tables_say_their_time_and_those_of_healthy_operations_are_asked_for(incident, ask):
    """The verdict and what belongs to it is on one screen; a table begins with the data, not with its step."""
    tables = r"(\w+\.\w+), by "
    text = ask(incident, "--summary")
    assert re.match(r".*; 13:45:\d\d to 14:1\d:\d\d UTC\n", text)
    assert re.search(r"\nall calls, (13:45:\d\d) to 14:1\d:\d\d\noperation ", text)
    assert re.findall(tables, text) == ["identity.get_user", "hosting.list_apps"]
    assert re.findall(r"by 2 min\nfrom .*\n(\S+)", text) == [re.search(r"all calls, (\S+)", text)[1]] * 2
    assert text.endswith("\n2 more operations over time: choose with --service or --operation\n")
    healthy = ask(incident, "--summary", "--service", "billing")
    assert "\nno operation became slower or failed more often\n\nchosen calls, 13:" in healthy
    assert re.findall(tables, healthy) == ["billing.get_subscription"]
    assert "choose with" not in healthy
    well = ask(incident, "--summary", "--until", "13:59")
    assert re.findall(tables, well) == []
    assert well.endswith("\n4 operations over time: choose with --service or --operation\n")


NOTHING = "no operation became slower or failed more often"


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (["--since", "14:10"], "--since: what was usual before 14:10:00 is not known; --compare 14:10:00 says what"),
        (
            ["--outcome", "success", "--since", "14:03"],
            "\n--since, --outcome: the other calls are not counted, so what",
        ),
        (["--outcome", "failure"], "\n--outcome: the other calls are not counted, so what is usual is not known"),
        (["--since", "13:00", "--until", "13:59"], NOTHING),
    ],
    ids=["since", "both", "outcome", "nothing left out"],
)
def test_what_hides_the_usual_is_said(incident, ask, chosen, said):
    """Instead of that nothing changed, which is not known; and a share of failures is said as what it is."""
    text = ask(incident, "--summary", *chosen)
    assert said in text
    assert (NOTHING in text) is (said == NOTHING)
    assert "all the time" not in text
    if chosen[0] == "--since" and len(chosen) == 2:
        first, second = re.findall(r"^(\S+): failed (\d+) % \(\d+ of \d+ calls\) throughout; ", text, re.MULTILINE)
        assert (first[0], second[0]) == ("identity.get_user", "hosting.list_apps")
        assert int(first[1]) > int(second[1])


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("view", [["--summary"], [], ["--compare", "14:00"]], ids=["summary", "lists", "compare"])
def test_output_is_as_wide_as_the_terminal_and_no_name_is_broken(incident, ask, width, view):
    """At 80 and at 120 columns."""
    text = ask(incident, *view, width=width)
    assert max(map(len, text.splitlines())) <= width
    names = {"identity.get_user", "hosting.list_apps"} | ({"billing.get_subscription"} if view else set())
    assert all(name in text for name in names)


def test_one_call_one_attempt_is_not_said(incident, ask):
    """Only what is not so."""
    text = ask(incident)
    assert "1 call" not in text
    assert "1 attempt" not in text
    assert "0 retries" not in text


@pytest.mark.parametrize(
    ("chosen", "operations"),
    [
        (["--service", "hosting", "--outcome", "failure"], {"hosting.list_apps"}),
        (["--operation", "get_user", "--min-duration", "9s"], {"identity.get_user"}),
        (["--status", "5xx", "--until", "14:05"], {"identity.get_user"}),
        (["--since", "14:10", "--until", "14:11", "--status", "500"], {"hosting.list_apps"}),
        (["--min-duration", "1s", "--since", "3m"], {"identity.get_user"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_filters_choose(incident, ask, chosen, operations):
    """And combine."""
    text = ask(incident, *chosen)
    assert set(re.findall(r"(?:identity|hosting|billing|service)\.\w+", text)) == operations


def test_what_no_call_is_is_said(incident, ask):
    """With a code of its own."""
    assert ask(incident, "--status", "418", code=1).endswith("incident.jsonl: no calls that are meant\n")
    assert "no trace or correlation id no-such" in ask(incident, "no-such", code=1)


def halves(incident, tmp_path, digits=("", "")):
    """The file as two, before and after 14:00:20, each with settings of its own."""
    paths = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    for path, late, hash_of in zip(paths, (False, True), digits, strict=True):
        with path.open("w") as file:
            for text in incident.read_text().splitlines():
                document = json.loads(text)
                scope = document["resourceSpans"][0]["scopeSpans"][0]
                at = 1_795_874_420_000_000_000
                scope["spans"] = [one for one in scope["spans"] if (int(one["startTimeUnixNano"]) >= at) == late]
                for one in scope["spans"] if hash_of else ():
                    kept = [pair for pair in one["attributes"] if pair["key"] != "mozaiks.settings.hash"]
                    one["attributes"] = [*kept, {"key": "mozaiks.settings.hash", "value": {"stringValue": hash_of}}]
                file.write(json.dumps(document) + "\n")
    return paths


def test_two_times_two_files_and_two_settings_are_compared(incident, ask, tmp_path):
    """All say the same of the same calls."""
    before, after = halves(incident, tmp_path, ("aaaaaaaa", "bbbbbbbb"))
    texts = [
        ask(incident, "--compare", "14:00:20"),
        ask("--compare", before, after),
        ask(before, after, "--compare", "aaaaaaaa", "bbbbbbbb"),
        ask(before, after, "--compare", "bbbbbbbb"),
    ]
    tables = [text.partition("\noperation")[2] for text in texts]
    assert len(set(tables)) == 1
    assert re.search(r"after +\d+ +0 +\d\d % .* worse", tables[0])
    assert re.search(r"identity.get_user: p95 \S+ ms → 9\.\d+ s, failed 0 % → \d\d %;", texts[0])
    for text in texts:
        assert text.index("identity.get_user:") < text.index("hosting.list_apps:")


def test_several_files_and_an_id(incident, ask, tmp_path):
    """The last argument is an id where it is no file."""
    before, after = halves(incident, tmp_path)
    listed = ask(before, after, "--status", "503", "--limit", "1")
    trace_id = re.search(r"^([0-9a-f]{8}) ", listed, re.MULTILINE)[1]
    text = ask(before, after, trace_id)
    assert text.startswith(f"trace {trace_id}")
    assert "GET 503" in text


def test_following_is_one_line_per_call_and_trees_for_the_worst(incident, ask, monkeypatch):
    """With the time of the day; the tree of a slow call says what is usual."""

    def lines(_path):
        yield from incident.read_bytes().splitlines()
        raise KeyboardInterrupt

    monkeypatch.setattr(trace, "_lines", lines)
    text = ask(incident, "--follow")
    calls = [one for one in text.splitlines() if re.match(r"1[34]:\d\d:\d\d\.\d{3}  ", one)]
    trees = [one for one in text.splitlines() if one.startswith("trace ")]
    worse = [one for one in calls if " success" not in one]
    assert len(calls) > 600
    assert len(trees) == len(worse)
    assert sum(" slow, usually " in one for one in worse) > 5
    assert "GET timed out after 10 s" in text
    only = ask(incident, "--follow", "--service", "hosting", "--outcome", "failure")
    assert set(re.findall(r"\d  (\w+\.\w+) ", only)) == {"hosting.list_apps"}


def test_progress_is_said_where_someone_looks(incident, ask, monkeypatch, capsys):
    """On stderr, and removed at the end; nowhere else."""
    monkeypatch.setattr(trace, "_PROGRESS_S", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert trace.main([str(incident), "--limit", "1"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"\rtrace: read \d+ % of \d MB\x1b\[K", err)
    assert err.endswith("\r\x1b[K")
    assert "%" not in out


def test_the_help_has_an_example_of_each_view(capsys):
    """Someone who has only the file and `--help`."""
    with pytest.raises(SystemExit):
        trace.main(["--help"])
    text = capsys.readouterr().out
    assert all(
        one in text for one in ("--summary", "--compare 14:00", "--follow", "--since 10m", "http://localhost:16686")
    )
    assert "of this machine's time zone" in unwrapped(text)
    assert all(len(one) <= 120 for one in text.splitlines())
