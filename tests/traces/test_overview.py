"""What the page of traces shows above the list: changes, calls over time, operations, and the state of services."""

import re
from pathlib import Path

from state_spans import SECOND, START, call

from runtime.cli import trace as command
from runtime.traces.calls import calls_of
from runtime.traces.model import clock_text, traces_of
from runtime.traces.page import render_page
from runtime.traces.states import ServiceStates
from runtime.traces.summary import Summary


def page_of(*spans):
    return render_page(traces_of(spans), of=len(spans), source="x")


def test_services_are_drawn_over_time_with_gaps():
    """A breaker that opened unfolds them: each stretch of one state is one bar, and time without calls has none."""
    calls = [call(number, at_s=number, breaker="open" if 20 <= number < 30 else "closed", settings="aa11bb22")
             for number in range(60) if not 40 <= number < 50]  # fmt: skip
    text = page_of(*calls)
    lane = re.search(r'aria-label="identity, circuit breaker: open, closed".*?</svg>', text, re.DOTALL)[0]
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)%" width="([\d.]+)%"', lane)
    assert [(tone, round(float(left) * 0.6), round(float(width) * 0.6)) for tone, left, width in bars] == [
        ("good", 0, 20),
        ("bad", 20, 10),
        ("good", 30, 10),
        ("good", 50, 10),
    ]
    assert '<details class="fold" open><summary>Circuit breakers' in text
    assert ": nothing changed</summary>" in page_of(
        *(one for one in calls if one.attributes["mozaiks.circuit_breaker.state"] == "closed")
    )


def test_settings_and_budget_are_drawn_where_a_file_has_them():
    """Both hashes with the moment of the change; an empty budget in red; without any of them no lane."""
    empty = [("retry_budget.exhausted", 9, {"mozaiks.retry_budget.balance": 0.2})]
    calls = [call(number, at_s=number, settings="aa11bb22" if number < 10 else "cc33dd44") for number in range(20)]
    text = page_of(*calls, call(99, at_s=9, settings="aa11bb22", events=empty))
    assert re.search(r"settings: aa11bb22, cc33dd44", text)
    assert f"{clock_text(START + 10 * SECOND, parts=3)}</time> settings of identity aa11bb22 → cc33dd44" in text
    lane = re.search(r'aria-label="identity, retry budget: 0.2 to 0.2 left".*?</svg>', text, re.DOTALL)[0]
    assert re.findall(r'rect class="(\w+)"', lane) == ["bad"]
    assert "lane track" not in page_of(*(call(number, at_s=number) for number in range(20)))


def test_an_onset_is_said_and_marked():
    """The sentence of the summary, its time as an element, and a line at the same place in each picture of the operation."""
    retry = ("retry.scheduled", 0.0, {})
    calls = [call(number, at_s=number) for number in range(80)]
    calls += [call(number, at_s=number, failed=True, events=[retry]) for number in range(80, 100)]
    calls += [call(1000 + number, at_s=number, name="billing.get_plan") for number in range(100)]
    text = page_of(*calls)
    at = clock_text(START + 80 * SECOND)
    (said,) = re.findall(r"<li><strong>(.*?)</strong>", text)
    assert re.fullmatch(
        rf'identity.get_user: failed 0 % → 100 % \(20 of 20 calls\) at <time datetime="[^"]+">{at}</time>; .*', said
    )
    assert re.findall(r'class="onset" x1="([\d.]+)%"', text) == ["80.00"] * 2
    assert "MOZAIKS_<wbr>CONNECTORS_<wbr>IDENTITY__<wbr>RETRY_<wbr>MAX_<wbr>ATTEMPTS" in text
    rows = re.findall(r'data-operation="(\d)"><span>(\w+)', text)
    assert rows == [("0", "identity"), ("1", "billing")]
    assert '<td class=bad title="20 % 503">20 <small>(20 %)</small></td>' in text


def test_numbers_of_onsets_can_be_read():
    """Those that would lie on each other are one text, in their order."""
    onsets = {"identity.get_user": 80, "billing.get_plan": 81, "hosting.list_apps": 60}
    calls = [call(1000 * row + at, at_s=at, name=name, failed=at >= since)
             for row, (name, since) in enumerate(onsets.items()) for at in range(100)]  # fmt: skip
    found = re.findall(r'class="onset-name" x="([\d.]+)%"[^>]*>([^<]+)<', page_of(*calls))
    assert [at for at, _ in found] == ["60.00", "80.00"]
    assert {number for _, numbers in found for number in numbers.split(", ")} == {"1", "2", "3"}
    assert found[1][1] in {"1, 2", "1, 3", "2, 3"}


def test_what_fails_all_the_time_has_a_number_and_no_line():
    """It may be the worst, and the numbers of the others are those of the list."""
    calls = [call(number, at_s=number, failed=True, name="billing.get_plan") for number in range(100)]
    calls += [call(1000 + number, at_s=number, failed=number >= 80 and number % 2 == 0) for number in range(100)]
    text = page_of(*calls)
    first, second = re.findall(r"<li><strong>(.*?)</strong>", text)
    assert first == "billing.get_plan: failed 100 % (100 of 100 calls) throughout; 100 % 503"
    assert second.startswith("identity.get_user: failed 0 % → 5")
    assert re.findall(r'class="onset-name" x="80.00%"[^>]*>([^<]+)<', text) == ["2"]
    assert re.findall(r'class="onset" x1="([\d.]+)%"', text) == ["80.00"] * 2
    assert re.findall(r"Change \d began", text) == ["Change 2 began"]
    assert text.count("; changed at ") == 1


def test_the_overview_is_of_all_calls_not_of_those_on_the_list():
    """A page of the worst traces says so, and counts every call."""
    calls = [call(number, at_s=number) for number in range(50)]
    summary, states = Summary(), ServiceStates()
    for one in calls_of(calls):
        summary.add(one)
        states.add(one)
    text = render_page(traces_of(calls[:3]), of=50, source="x", summary=summary, states=states)
    assert "3 of 50 traces: those that failed" in text
    assert "<td>50</td>" in text


def test_a_page_without_calls_is_one_too():
    """Nothing to draw is no error."""
    text = render_page([], of=0, source="x")
    assert "0 traces." in text
    assert "Overview" not in text


def test_the_command_gives_the_page_all_calls(tmp_path, capsys):
    """With one trace on the list, the overview still has the calls and the breakers of all nine."""
    stories = Path(__file__).parents[2] / "docs/traces/stories.jsonl"
    assert command.main([str(stories), "--limit", "1", "--html", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "1 of 9 traces" in text
    assert 'aria-label="billing, circuit breaker: open"' in text
    assert len(re.findall(r"data-operation=", text)) == 8
