"""The trace command, as its user runs it: lists, the page, and following a file that grows."""

import html.parser
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from browser import BROWSER, title_of
from trace_tree import CALL, a_span

from runtime.cli import trace
from runtime.traces.model import traces_of
from runtime.traces.page import render_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's own spans: trace file, and its document."""
    path = tmp_path_factory.mktemp("demo") / "traces.jsonl"
    result = run("demo", "--json", "--traces", path)
    assert (result.returncode, result.stderr) == (0, "")
    return path, json.loads(result.stdout)


def run(*arguments):
    command = [sys.executable, "-m", "runtime", *map(str, arguments)]
    env = {**os.environ, "MOZAIKS_VENV": "none", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_the_lists_show_failed_retried_and_slow_traces(demo):
    """The figures are those of the demo."""
    path, document = demo
    calls = [call for step in document["steps"] for call in step["traces"]]
    result = run("trace", path)
    assert (result.returncode, result.stderr) == (0, "")
    failed = sum(call["outcome"] in {"failure", "unknown"} for call in calls)
    retried = sum(any(event["name"] == "retry.scheduled" for event in call["events"]) for call in calls)
    first = f"{len(calls)} traces, {len(calls)} calls of connectors; {failed} failed, {retried} retried"
    assert result.stdout.splitlines()[0] == first
    assert re.search(r"Failed, the last\n.*\n.*service\.list_items", result.stdout)
    most_retried = result.stdout.partition("Most retried\n")[2].partition("\n\nSlowest")[0]
    assert re.findall(r"(\d) attempts, (\d) retr", " ".join(most_retried.split()))[0] == ("3", "2")
    slowest = max(calls, key=lambda call: call["duration_s"])
    assert re.search(rf"Slowest\n.*\n{slowest['trace_id'][:8]}", result.stdout)


def test_a_trace_is_found_by_its_id_and_by_the_correlation_id(demo, capsys):
    """An engineer has the one or the other."""
    path, document = demo
    (retried,) = [call for call in document["steps"][3]["traces"] if len(call["attempts"]) == 3]
    shown = set()
    for wanted in (retried["trace_id"][:8], retried["correlation_id"]):
        assert trace.main([str(path), wanted]) == 0
        shown.add(capsys.readouterr().out)
    assert len(shown) == 1
    (text,) = shown
    assert retried["trace_id"] in text
    assert retried["correlation_id"] in text
    assert text.count("GET 503") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.jsonl"], 2, "nowhere.jsonl: No such file or directory"),
        ([os.devnull], 1, "no spans"),
        ([".", "--limit", "0"], 2, "--limit: must be at least 1"),
        ([".", "--follow", "--html", "x"], 2, "--follow: goes with neither"),
        ([f"{ROOT}/docs/decisions"], 2, "decisions: no trace file in it"),
        ([], 2, "FILE: must be given"),
        (["nowhere", "--since", "soon"], 2, "nowhere: No such file or directory"),
        ([os.devnull, "--since", "soon"], 2, "--since: must be a time, such as 14:00"),
        ([os.devnull, "--min-duration", "1 week"], 2, "--min-duration: must be a duration, such as 250ms"),
        ([os.devnull, "--follow", "--since", "1m"], 2, "--follow: goes with one file"),
        ([os.devnull, "--summary", "--html", "x"], 2, "only one of them at a time"),
        ([os.devnull, "--since", "14:00:01", "--until", "14:00"], 2, "--until: must be after --since, 14:00:01"),
        (
            [os.devnull, "--compare", "a", "b"],
            2,
            "--compare: two files without FILE, or two settings' hashes; got 'a b'",
        ),
        pytest.param(["http://127.0.0.1:9"], 2, "http://127.0.0.1:9: does not respond", marks=pytest.mark.sockets),
    ],
)
def test_wrong_usage_is_told(arguments, code, said, capsys):
    """In one line, with a code."""
    assert trace.main(arguments) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--html", "--svg"])
@pytest.mark.parametrize("name", ["itself", "hard link", "link to it", "link to another"])
def test_output_never_overwrites_the_trace_file_nor_follows_a_link(demo, tmp_path, capsys, option, name):
    """Whatever the file is called; one line names it."""
    source, other = tmp_path / "t.jsonl", tmp_path / "other"
    source.write_bytes(demo[0].read_bytes())
    other.write_text("dear")
    page = source if name == "itself" else tmp_path / "page"
    if name == "hard link":
        page.hardlink_to(source)
    elif name != "itself":
        page.symlink_to(source if name == "link to it" else other)
    assert trace.main([str(source), option, str(page)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"trace: {page}: is {'a symbolic link' if 'link to' in name else 'the same file as'}")
    assert said.count("\n") == 1
    assert source.read_bytes() == demo[0].read_bytes()
    assert other.read_text() == "dear"


def test_an_unknown_id_and_broken_lines_are_told(demo, tmp_path, capsys):
    """What could be read is shown all the same."""
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"broken\n" + demo[0].read_bytes() + b'{"resourceSpans":[{"half')
    assert trace.main([str(path), "ffff"]) == 1
    said = capsys.readouterr().err
    assert "2 lines, the first is 1," in said
    assert "no trace or correlation id ffff" in said


@pytest.mark.parametrize(
    ("spans", "events", "said"),
    [
        (1, 0, "line 2 of 2 cannot be read as OTLP JSON; 1 span left out"),
        (2, 1, "line 2 of 2 cannot be read as OTLP JSON; 2 spans, 1 event left out"),
        (0, 2, "line 2 of 2 cannot be read as OTLP JSON; 2 events left out"),
    ],
)
def test_what_is_left_out_of_a_line_is_counted(tmp_path, capsys, spans, events, said):
    """The rest of it is shown."""
    good = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "good", "startTimeUnixNano": 1, "endTimeUnixNano": 2}
    odd = [{**good, "endTimeUnixNano": None}] * spans
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [*odd, {**good, "events": [{"name": "e"}] * events}]}]}]}
    path = tmp_path / "t.jsonl"
    path.write_text("\n" + json.dumps(document) + "\n")
    assert trace.main([str(path), "abab"]) == 0
    out, err = capsys.readouterr()
    assert err == f"trace: {said}\n"
    assert "good" in out


def test_a_reader_that_has_seen_enough_is_no_error(demo):
    """`… | head -1`."""
    command = f"{sys.executable} -m runtime trace {demo[0]} --limit 1000 | head -1"
    env = {**os.environ, "MOZAIKS_VENV": "none", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, shell=True, cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S602
    assert (result.returncode, result.stderr) == (0, "")


@pytest.fixture
def interruptible():
    """A child can be interrupted: a shell that runs the suite in the background hands the signal on as ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_following_shows_each_call_when_it_ends(tmp_path, demo):
    """Before the file exists, while it grows line by line and byte by byte, and after it was replaced."""
    path = tmp_path / "t.jsonl"
    lines = demo[0].read_bytes().splitlines(keepends=True)
    command = [sys.executable, "-u", "-m", "runtime", "trace", str(path), "--follow"]
    env = {**os.environ, "MOZAIKS_VENV": "none", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        path.write_bytes(lines[0][:100])
        with path.open("ab") as file:
            file.write(lines[0][100:])
        seen = []
        while not (seen and "identity.get_current_user" in seen[-1]):
            seen.append(process.stdout.readline())
        (tmp_path / "new.jsonl").write_bytes(b"".join(lines))
        (tmp_path / "new.jsonl").replace(path)
        while "half_open → closed" not in seen[-1]:
            seen.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    lines = [line for line in seen if re.match(r"\d\d:\d\d:\d\d\.\d{3}  ", line)]
    assert len(lines) >= len(demo[1]["operations"])
    trees = sum(line.startswith("trace ") for line in seen)
    assert trees == sum(not re.search(r"(success|cancelled)(, \d attempts)?  ", line) for line in lines) > 0


class Page(html.parser.HTMLParser):
    """What a page loads, and whether its tags are balanced."""

    VOID = frozenset({"meta", "input", "br", "link", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in {"src", "href", "action", "data", "srcset"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_self_contained(demo, tmp_path, capsys):
    """Nothing is loaded, every tag is closed, the policy forbids the rest."""
    page = tmp_path / "page.html"
    assert trace.main([str(demo[0]), "--html", str(page)]) == 0
    assert capsys.readouterr().err == ""
    text = page.read_text()
    parsed = Page(text)
    assert parsed.open == []
    assert parsed.loads == []
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(|https?://(?!127\.0\.0\.1)", text)
    calls = [call for step in demo[1]["steps"] for call in step["traces"]]
    for call in calls:
        assert call["trace_id"] in text
        assert call["correlation_id"] in text
    (inside,) = re.findall(r'id="inside">\n(.*?)</script>', text, re.DOTALL)
    listed = [json.loads(line)[0] for line in inside.splitlines()[::2]]
    assert sorted(listed) == sorted(call["trace_id"] for call in calls)


def test_the_page_escapes_what_it_shows():
    """A span's name is text, whatever it contains."""
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    spans = [a_span(1, name=hostile, **CALL, **{"mozaiks.outcome": hostile, hostile: hostile})]
    text = render_page(traces_of(spans), of=1, source=hostile, note=hostile)
    parsed = Page(text)
    assert parsed.open == []
    assert parsed.loads == []
    assert text.count("<script>") == 1
    assert hostile in parsed.texts


def test_a_browser_runs_the_page_without_complaint(demo, tmp_path, capsys):
    """The script runs under the page's own policy, the keyboard reaches it, and nothing overflows a phone."""
    if BROWSER is None:
        with capsys.disabled():
            print("\nno browser here: the page is checked by its markup alone")  # noqa: T201
        return
    page = tmp_path / "page.html"
    assert trace.main([str(demo[0]), "--html", str(page)]) == 0
    assert page.stat().st_mode & 0o777 == 0o600  # as the trace file
    (tmp_path / "frame.html").write_text(
        '<iframe id="f" src="page.html" style="width:390px;height:800px;border:0"></iframe>'
        "<script>onload = () => { const d = f.contentDocument, w = f.contentWindow;"
        "d.querySelectorAll('details').forEach((one) => one.open = true);"
        "const box = d.querySelector('#failed'); box.checked = true; box.dispatchEvent(new w.Event('input'));"
        "const fold = [...d.querySelectorAll('summary')].find((one) => one.offsetParent); fold.focus();"
        "document.title = JSON.stringify({keyed: d.activeElement === fold, said: d.querySelector('#count').textContent,"
        "wide: d.documentElement.scrollWidth, dark: w.matchMedia('(prefers-color-scheme: dark)').matches}); }</script>"
    )
    found = title_of(tmp_path / "frame.html", tmp_path / "profile")
    calls = [call for step in demo[1]["steps"] for call in step["traces"]]
    failed = sum(call["outcome"] in {"failure", "unknown"} for call in calls)
    assert found["said"] == f"{failed} of {len(calls)} shown"
    assert found["wide"] <= 390
    assert found["keyed"]  # a summary takes the focus, and then opens by the keyboard as any button does
