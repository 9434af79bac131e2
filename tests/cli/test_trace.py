"""The trace command, as its user runs it: lists, trees, the page, and following a file that grows."""

import html.parser
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from browser import BROWSER, title_of
from rich.console import Console

from runtime.cli import trace
from runtime.traces.calls import calls_of
from runtime.traces.model import Trace, call_traces, rows_of, traces_of
from runtime.traces.page import render_page
from runtime.traces.ranking import Ranking
from runtime.traces.terminal import render_trace
from runtime.traces.trace_file import Span, SpanEvent

ROOT = Path(__file__).resolve().parents[2]
START = 1_700_000_000_000_000_000
CALL = {"mozaiks.connector.name": "svc", "mozaiks.connector.operation": "op", "mozaiks.correlation_id": "c-1"}


def a_span(span_id, parent_id="", start_ms=0, end_ms=10, *, trace_id=1, name="svc.op", kind="INTERNAL", status="UNSET", events=(), **attributes):  # fmt: skip
    return Span(
        trace_id=f"{trace_id:032x}",
        span_id=f"{span_id:016x}",
        parent_id=f"{parent_id:016x}" if parent_id else "",
        name=name,
        kind=kind,
        start_ns=START + start_ms * 1_000_000,
        end_ns=START + end_ms * 1_000_000,
        status=status,
        message="",
        attributes=attributes,
        events=tuple(SpanEvent(name=name, at_ns=START + at * 1_000_000, attributes=told) for name, at, told in events),
        service="core",
    )


def an_attempt(span_id, parent_id, start_ms, end_ms, **attributes):
    return a_span(span_id, parent_id, start_ms, end_ms, name="GET /r", kind="CLIENT", **attributes)


RETRIED = [
    a_span(
        1,
        0,
        0,
        100,
        events=[("retry.scheduled", 10, {"mozaiks.retry.attempt": 1, "mozaiks.retry.delay": 0.05, "error.type": "503"})],
        **CALL,
        **{"mozaiks.outcome": "success"},
    ),
    an_attempt(2, 1, 0, 10, **{"mozaiks.attempt.outcome": "ServerError", "error.type": "503", "http.response.status_code": 503}),
    an_attempt(3, 1, 60, 100, **{"mozaiks.attempt.outcome": "ok", "http.response.status_code": 200, "http.request.resend_count": 1}),
]  # fmt: skip


def drawn(found):
    console = Console(width=100, file=io.StringIO())
    console.print(render_trace(found))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_trace_is_a_tree_with_bars():
    """Each attempt and each wait at its place in time."""
    (found,) = traces_of(RETRIED)
    lines = drawn(found)
    bars = lines[0].index("━")
    assert [(line[:bars].rstrip(), line[bars : bars + 26].rstrip(), line[bars + 26 :].split()) for line in lines] == [
        ("svc.op", "━━━━━━━━━━━━━━━━━━━━━━━━━━", ["100", "ms", "recovered"]),
        ("├─ attempt 1", "███", ["10", "ms", "GET", "503"]),
        ("├─ wait", "  ░░░░░░░░░░░░░", ["50", "ms", "backoff"]),
        ("└─ attempt 2", "               ██████████", ["40", "ms", "GET", "200"]),
    ]


def test_a_call_hangs_below_the_hosts_spans():
    """A server's span, two calls in it, a span of another program below an attempt."""
    spans = [
        a_span(9, 0, 0, 120, name="GET /page", kind="SERVER"),
        a_span(1, 9, 10, 50, **CALL, **{"mozaiks.outcome": "success"}),
        an_attempt(2, 1, 10, 50, **{"mozaiks.attempt.outcome": "ok", "http.response.status_code": 200}),
        a_span(5, 2, 20, 40, name="SELECT", kind="CLIENT"),
        a_span(
            6, 9, 60, 110, status="ERROR", **CALL, **{"mozaiks.outcome": "failure", "error.type": "CircuitOpenError"}
        ),
    ]
    (found,) = traces_of(reversed(spans))
    assert [line[:26].rstrip() for line in drawn(found)] == [
        "GET /page",
        "├─ svc.op",
        "│  └─ attempt 1",
        "│     └─ SELECT",
        "└─ svc.op",
    ]
    assert (found.calls, found.attempts, found.retries, found.failed) == (2, 1, 0, True)
    assert found.outcome == "success, failure: CircuitOpenError"


@pytest.mark.parametrize(
    ("name", "attributes", "row"),
    [
        ("retry.scheduled", {"mozaiks.retry.delay": 1.0, "mozaiks.retry.retry_after": 1.0}, ("wait", "Retry-After 1 s")),
        ("bulkhead.queued", {"mozaiks.bulkhead.wait": 0.2}, ("queued", "bulkhead")),
        ("quota.waited", {"mozaiks.quota.source": "shared", "mozaiks.quota.wait": 0.2}, ("wait", "shared quota")),
        ("quota.waited", {"mozaiks.quota.source": "local", "mozaiks.quota.wait": 2.0, "mozaiks.quota.penalty": 1.5}, ("wait", "local quota, 1.5 s of it for a Retry-After")),
        ("quota.source_changed", {"mozaiks.quota.source": "local", "mozaiks.quota.reason": "timeout"}, ("quota", "local, server timeout")),
        ("circuit_breaker.state_changed", {"mozaiks.circuit_breaker.from": "closed", "mozaiks.circuit_breaker.to": "open"}, ("circuit breaker", "closed → open")),
        ("circuit_breaker.rejected", {"mozaiks.guard": "circuit_breaker", "mozaiks.retry.retry_after": 4.2}, ("rejected", "by circuit_breaker for 4.2 s more")),
        ("rejected", {"mozaiks.guard": "bulkhead"}, ("rejected", "by bulkhead")),
        ("retry.abandoned", {"mozaiks.stop_reason": "budget"}, ("no retry", "budget")),
        ("retry_budget.exhausted", {"mozaiks.retry_budget.balance": 0.4}, ("retry budget", "0.4 left")),
        ("hedge.started", {"mozaiks.hedge.number": 1, "mozaiks.hedge.delay": 0.1}, ("hedge", "started after 0.1 s")),
        ("hedge.refused", {"mozaiks.hedge.refusal": "budget"}, ("hedge", "not started: budget")),
        ("hedge.won", {"mozaiks.hedge.number": 1}, ("hedge", "first response")),
        ("deadline.reached", {"mozaiks.deadline": 25.0}, ("deadline", "25 s exceeded")),
        (
            "correlation_id.mismatched",
            {"mozaiks.correlation_id.received": "9d8b"},
            ("another call's response", "9d8b"),
        ),
        ("something.else", {"a": 1, "b": "x"}, ("something.else", "1, x")),
    ],
)  # fmt: skip
def test_each_event_has_its_row(name, attributes, row):
    """In words of its own, with its attributes behind it."""
    found = Trace("1" * 32, [a_span(1, events=[(name, 5, attributes)], **CALL)])
    shown = rows_of(found)[1]
    assert (shown.label, shown.text) == row
    assert [key for key, _ in shown.details[1:]] == list(attributes)


@pytest.mark.parametrize(
    ("name", "attribute"), [("bulkhead.queued", "mozaiks.bulkhead.wait"), ("quota.waited", "mozaiks.quota.wait")]
)
def test_a_wait_in_a_queue_lies_before_its_event(name, attribute):
    """The event is emitted when it is over; the attribute's value has its unit."""
    found = Trace("1" * 32, [a_span(1, 0, 0, 100, events=[(name, 50, {attribute: 0.03})], **CALL)])
    row = rows_of(found)[1]
    assert row.kind == "wait"
    assert row.start_s == pytest.approx(0.02)
    assert row.end_s == pytest.approx(0.05)
    assert (attribute, "0.03 s") in row.details


def test_what_follows_from_an_attempt_is_behind_it():
    """Also where it took no time, as in virtual time: by attempt; what lets an attempt begin is before it."""
    events = [
        ("bulkhead.queued", 0, {"mozaiks.bulkhead.wait": 0.0}),
        ("retry.scheduled", 0, {"mozaiks.retry.attempt": 1, "mozaiks.retry.delay": 0.0}),
        ("circuit_breaker.state_changed", 0, {"mozaiks.circuit_breaker.from": "closed", "mozaiks.circuit_breaker.to": "open"}),
        ("retry.abandoned", 0, {"mozaiks.retry.attempt": 2, "mozaiks.stop_reason": "max_attempts"}),
    ]  # fmt: skip
    failed = {"mozaiks.attempt.outcome": "ServerError", "error.type": "503"}
    spans = [a_span(1, 0, 0, 0, events=events, **CALL), an_attempt(2, 1, 0, 0, **failed)]
    spans.append(an_attempt(3, 1, 0, 0, **failed, **{"http.request.resend_count": 1}))
    rows = rows_of(traces_of(spans)[0])
    assert [row.label for row in rows] == ["svc.op", "queued", "attempt 1", "wait", "attempt 2", "no retry", "circuit breaker"]  # fmt: skip


def test_a_refused_call_of_no_duration_can_be_drawn():
    """One row for the call, one for the guard, one for the reason."""
    spans = [
        a_span(
            1,
            0,
            0,
            0,
            status="ERROR",
            events=[("rejected", 0, {"mozaiks.guard": "bulkhead"})],
            **CALL,
            **{"mozaiks.stop_reason": "not_retryable"},
        )
    ]
    assert len(drawn(traces_of(spans)[0])) == 3
    assert call_traces(spans)[0].attempts == []


def test_spans_that_are_each_others_parents_are_shown_once():
    """Whatever a file contains, the tree ends."""
    spans = [a_span(1, 2), a_span(2, 1), a_span(3, 3)]
    assert len(rows_of(traces_of(spans)[0])) == 3


def test_a_deep_trace_is_drawn_without_recursion():
    """Deeper than Python's stack."""
    spans = [a_span(number + 1, number) for number in range(3000)]
    assert len(rows_of(traces_of(spans)[0])) == 3000


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


def test_the_page_is_bounded_and_says_so():
    """Failed traces before retried before slow ones."""
    spans = [a_span(1, 0, 0, number, trace_id=number, **CALL) for number in range(1, 30)]
    spans.append(a_span(1, 0, 0, 1, trace_id=99, status="ERROR", **CALL))
    ranking = Ranking(1, worst=3)
    for call in calls_of(spans):
        ranking.add(call)
    chosen = [found for found in traces_of(spans) if found.trace_id in ranking.worst]
    assert sorted(int(found.trace_id, 16) for found in chosen) == [28, 29, 99]
    assert "3 of 30 traces: those that failed" in render_page(chosen, of=30, source="x")


def test_traces_are_counted_by_the_half_of_their_ids_that_is_random():
    """The first half of an id of 64 bits is zeros."""
    ranking = Ranking(1)
    for call in calls_of(a_span(1, trace_id=number, **CALL) for number in (7, 8, 8, 9)):
        ranking.add(call)
    assert ranking.traces == 3


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
