"""Calls from a stream of spans, their figures over time, and what is said of them."""

import io
import json
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from runtime.traces.calls import Call, calls_of, state_of, what_happened
from runtime.traces.diagnosis import advice, compare, findings
from runtime.traces.filters import CallFilter, parse_duration, parse_time
from runtime.traces.model import clock_text, count_text
from runtime.traces.summary import Durations, Summary
from runtime.traces.terminal import render_comparison
from runtime.traces.trace_file import Span, SpanEvent

START = round(datetime(2026, 11, 28, 13, 45).astimezone().timestamp()) * 1_000_000_000
RETRY = SpanEvent(name="retry.scheduled", at_ns=START, attributes={})


def span(number, *, at_s=0.0, lasts_s=0.005, parent=0, attributes=(), name="identity.get_user", **fields):
    start = START + round(at_s * 1e9)
    return Span(
        trace_id=f"{number:032x}",
        span_id=f"{parent or number:016x}" if not parent else f"{number + 10**6:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        name=name,
        kind="CLIENT" if parent else "INTERNAL",
        start_ns=start,
        end_ns=start + round(lasts_s * 1e9),
        status=fields.get("status", "UNSET"),
        message=fields.get("message", ""),
        attributes=dict(attributes),
        events=tuple(fields.get("events", ())),
        service="core",
    )


def call(number, *, name="identity.get_user", error="", settings="", outcome="", **fields):
    service, _, operation = name.partition(".")
    attributes = {
        "mozaiks.connector.name": service,
        "mozaiks.connector.operation": operation,
        "mozaiks.outcome": outcome or ("failure" if error else "success"),
    }
    if error:
        attributes["error.type"] = error
    if settings:
        attributes["mozaiks.settings.hash"] = settings
    return span(number, name=name, attributes=attributes, status="ERROR" if error else "UNSET", **fields)


def attempt(number, parent, *, error="", message="", status=None, **fields):
    attributes = {"mozaiks.attempt.outcome": error or "ok"} | ({"error.type": error} if error else {})
    if status:
        attributes["http.response.status_code"] = status
    return span(
        number, parent=parent, name="GET /r", attributes=attributes, status="ERROR" if error else "UNSET", message=message, **fields
    )  # fmt: skip


def with_attempts(found, number):
    return found._replace(attributes={**found.attributes, "mozaiks.retry.attempts": number})


def summary_of(spans):
    summary = Summary()
    for one in calls_of(spans):
        summary.add(one)
    return summary


def headlines(summary, onsets):
    return [sentence for sentence, _ in findings(summary, onsets)]


# --- calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)], ids=["after", "before", "between"])
def test_a_call_has_its_attempts_wherever_its_span_is(order):
    """Jaeger lists by start, exporters by end."""
    spans = [attempt(1, 1), attempt(1, 1, at_s=1), with_attempts(call(1), 2)]
    spans[1] = spans[1]._replace(span_id="f" * 16)
    (found,) = calls_of(spans[index] for index in order)
    assert [one.start_ns for one in found.attempts] == [START, START + 1_000_000_000]


def test_a_span_that_is_there_twice_counts_once():
    """At-least-once delivery; the same id in another trace is another span."""
    one = with_attempts(call(1), 1)
    other = one._replace(trace_id="e" * 32)
    found = list(calls_of([attempt(1, 1), one, attempt(1, 1), one, other]))
    assert [(len(each.attempts), each.span.trace_id[0]) for each in found] == [(1, "0"), (0, "e")]


def test_calls_that_wait_are_there_when_nothing_more_comes():
    """`--follow` shows a call whose attempts are elsewhere."""
    stream = calls_of(iter([with_attempts(call(1), 3), None, call(2)]))
    assert next(stream).span.trace_id.endswith("1")


def test_a_program_without_connectors_has_calls_too():
    """What it serves, and what has no parent."""
    root = span(1, name="job")
    served = span(2, parent=9, name="GET /page")._replace(kind="SERVER")
    inner = span(3, parent=9, name="SELECT")
    summary = summary_of([root, served._replace(status="ERROR"), inner])
    assert [(one.name, one.total().failed) for one in summary.operations] == [("core GET /page", 1), ("core job", 0)]


@pytest.mark.parametrize(
    ("kind", "message", "said"),
    [
        ("ResponseLostError", "attempt timed out after 10 s", "timed out after 10 s"),
        ("RequestNotSentError", "attempt timed out after 2 s", "timed out after 2 s"),
        ("ResponseLostError", "ReadError after the request was sent", "ReadError after the request was sent"),
        ("CircuitOpenError", "circuit identity is open", "circuit identity is open"),
        ("DeadlineExceededError", "deadline of 0.37 s exceeded", "deadline exceeded"),
        ("BulkheadFullError", "bulkhead full: 2/2 permits, 1/4 queued, waited 0.348 s", "bulkhead full"),
        ("BulkheadFullError", "call cap reached: 1000 calls in flight", "call cap reached"),
        ("503", "", "503"),
    ],
)
def test_a_failed_attempt_says_what_happened(kind, message, said):
    """In the words of its own error, where the class says less."""
    assert what_happened(attempt(1, 1, error=kind, message=message)) == said


def test_a_third_party_text_is_no_kind_of_failure():
    """It may differ from span to span."""
    found = span(1, status="ERROR", message="no user 4711")
    assert what_happened(found) == "error"
    assert what_happened(found._replace(attributes={"error.type": "KeyError"})) == "KeyError"


@pytest.mark.parametrize(
    ("found", "median_s", "state"),
    [
        (call(1), 0.005, "success"),
        (call(1, lasts_s=0.9, events=[RETRY]), 0.005, "recovered"),
        (call(1, lasts_s=0.9), 0.005, "slow"),
        (call(1, lasts_s=0.9), 0.2, "success"),
        (call(1, lasts_s=0.09), 0.001, "success"),
        (call(1, lasts_s=0.9), None, "success"),
        (call(1, lasts_s=0.9, error="503"), 0.005, "failure"),
        (call(1, error="ResponseLostError", outcome="unknown"), None, "unknown"),
    ],
)
def test_states(found, median_s, state):
    """Slow is far above the operation's own median, and long enough for someone to wait."""
    assert state_of(Call(found), median_s) == state


# --- filters ----------------------------------------------------------------------------------------------------------


def clock(text, *, oldest_s=0.0, newest_s=1800.0):
    at = parse_time(text, oldest_ns=START + round(oldest_s * 1e9), newest_ns=START + round(newest_s * 1e9))
    return datetime.fromtimestamp(at / 1e9).strftime("%d %H:%M:%S")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("14:00", "28 14:00:00"),
        ("14:00:20", "28 14:00:20"),
        ("10m", "28 14:05:00"),
        ("30s", "28 14:14:30"),
        ("2026-11-28T14:00", "28 14:00:00"),
        ("23:00", "28 23:00:00"),  # later than the file, which does not reach to the day before
    ],
)
def test_times_are_written_as_people_write_them(text, at):
    """The day is the newest call's."""
    assert clock(text) == at


def test_a_clock_time_of_a_file_over_midnight_is_of_the_day_before():
    """23:55 of a file that ends at 00:15."""
    assert clock("23:55", oldest_s=9 * 3600, newest_s=10.5 * 3600) == "28 23:55:00"


@pytest.mark.parametrize("text", ["25:00", "14:61", "soon", "", "10", "-5m", "9999999999d"])
def test_what_is_no_time_is_named(text):
    """With examples of what is."""
    with pytest.raises(ValueError, match=f"14:00:20 or 2026.* got {text!r}"):
        clock(text)


def test_durations():
    """With their unit, always."""
    assert [parse_duration(text) for text in ("250ms", "1.5s", "10m", "2h", "1d")] == [0.25, 1.5, 600, 7200, 86400]
    with pytest.raises(ValueError, match="250ms"):
        parse_duration("250")


RECOVERED = call(1, events=[RETRY], lasts_s=2.0)
FILTERED = [Call(RECOVERED, (attempt(1, 1, error="503", status=503), attempt(2, 1, status=200))), Call(call(2, name="billing.get_plan"))]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"services": ("identity",)},
        {"operations": ("get_user",)},
        {"operations": ("identity.get_user",)},
        {"outcomes": ("recovered",)},
        {"statuses": ("503",)},
        {"statuses": ("5xx",)},
        {"min_duration_s": 1.0},
    ],
    ids=str,
)
def test_filters(fields):
    """Each chooses the first call, and not the second."""
    assert [CallFilter(**fields).accepts(one) for one in FILTERED] == [True, False]


# --- summary ----------------------------------------------------------------------------------------------------------


def test_percentiles_are_exact_to_a_hundredth():
    """Of durations over four orders of magnitude, next to those of all values."""
    chance, durations = Random(3), Durations()
    values = sorted(int(chance.lognormvariate(16, 2)) for _ in range(5000))
    for value in values:
        durations.add(value)
    for share in (0.5, 0.95, 0.99):
        exact = values[-(-int(5000 * share * 100) // 100) - 1] / 1e9
        assert durations.quantile(share) == pytest.approx(exact, rel=0.0101)


def test_no_percentile_exceeds_the_longest_duration():
    """Nothing lasts longer than the timeout, though the middle of the bucket does."""
    durations = Durations()
    for _ in range(20):
        durations.add(9_860_000_000)
    assert durations.quantile(0.5) == durations.quantile(0.99) == pytest.approx(9.86)


def incident(
    *,
    after_s=(3.0, 3.1),
    until_s=1800.0,
    error="",
    share=1.0,
    name="identity.get_user",
    first=0,
    settings=("a" * 8,) * 2,
):
    """Half an hour of a call per second: 5 ms, and from 920 s until *until_s* as given."""
    chance, found = Random(name), []
    for second in range(1800):
        bad = 920 <= second < until_s and chance.random() < share
        lasts_s = chance.uniform(*after_s) if bad else chance.lognormvariate(-5.3, 0.3)
        made = call(
            first + second, name=name, at_s=second, lasts_s=lasts_s, error=error if bad else "", settings=settings[second >= 915]
        )  # fmt: skip
        found.append(made)
    return found


def healthy(name, first):
    return incident(after_s=(0.004, 0.006), name=name, first=first)


def test_the_onset_is_said_in_one_sentence():
    """Which operation, since when, how bad; and that the others are well."""
    summary = summary_of([*incident(), *healthy("billing.get_plan", 5000), *healthy("identity.list_users", 9000)])
    onsets = summary.onsets()
    (sentence,) = headlines(summary, onsets)
    assert sentence.startswith("identity.get_user: p95 8")
    assert sentence.endswith(" at 14:00:20; other services unchanged, other operations of identity unchanged")
    assert onsets[0].until_ns is None
    (said,) = advice(onsets[0], [])
    assert "MOZAIKS_CONNECTORS_IDENTITY__ATTEMPT_TIMEOUT_S" in said
    assert (
        "_S to 3.5 s: a little above 3.09 s, the p99 of what still succeeds in this time (10 ms at other times) (docs"
        in said
    )
    assert "docs/runbook.md#connectorcallsslow" in said


def test_a_call_with_a_retry_says_nothing_of_how_long_a_response_takes():
    """Its time has the timeout of the attempt before; so the advice is without the time of good responses meanwhile."""
    spans = (span._replace(events=(RETRY,) if span.end_ns - span.start_ns > 10**9 else ()) for span in incident())
    (said,) = advice(summary_of(spans).onsets()[0], [])
    assert "_S to 1 s: well above 10 ms, the p99 at other times (docs" in said


def test_where_a_few_were_retried_the_others_say_how_long_a_response_takes():
    """Else the advice would be a timeout below what nearly all responses take now."""
    spans = (span._replace(events=(RETRY,) if span.end_ns % 9 == 0 else ()) for span in incident())
    (said,) = advice(summary_of(spans).onsets()[0], [])
    assert "_S to 3.5 s: a little above 3.0" in said
    assert "the p99 of what still succeeds without a retry in this time (10 ms at other times) (docs" in said


@pytest.mark.parametrize(
    ("timeout_s", "good_s", "said"),
    [
        (10, (3.1, 3.2), "lower {} from 10 s to 3.5 s: a little above 3."),
        (10, (0.2, 0.3), "lower {} from 10 s to 1 s: well above "),
        (10, (9.7, 9.8), "keep {} at 10 s, which is little enough: 9."),
        (0.5, (0.3, 0.4), "keep {} at 0.5 s, which is little enough: "),
        (30, (11.0, 11.5), "lower {} from 30 s to 12 s: a little above 11."),
    ],
)
def test_a_timeout_is_one_value_to_set_and_the_one_in_force(timeout_s, good_s, said):
    """Above what still succeeds, a round number, never less than the runbook's second, and never a higher one."""
    spans = []
    for number, one in enumerate(incident(after_s=good_s)):
        hung = number >= 920 and number % 2
        failed = {"error.type": "ResponseLostError", "mozaiks.outcome": "failure"} if hung else {}
        message = f"attempt timed out after {timeout_s} s"
        spans.append(one._replace(
            attributes=one.attributes | failed, status="ERROR" if hung else "UNSET", message=message if hung else "",
            end_ns=one.start_ns + round(timeout_s * 1e9) if hung else one.end_ns,
        ))  # fmt: skip
    (line,) = advice(summary_of(spans).onsets()[0], [])
    name = "MOZAIKS_CONNECTORS_IDENTITY__ATTEMPT_TIMEOUT_S"
    assert line.startswith(f"timed out after {timeout_s} s: {said.format(name)}")
    assert "the p99 of what still succeeds in this time (" in line


def test_a_third_party_text_is_no_timeout_in_force():
    """A span may say anything; the advice is then without the value."""
    spans = (one._replace(attributes=one.attributes | {"error.type": "timed out after 1..2 s"}) if one.status == "ERROR" else one
             for one in incident(error="503"))  # fmt: skip
    (said,) = advice(summary_of(spans).onsets()[0], [])
    assert said.startswith(
        "timed out after 1..2 s: lower MOZAIKS_CONNECTORS_IDENTITY__ATTEMPT_TIMEOUT_S to 1 s: well above"
    )


@pytest.mark.parametrize("retried", [False, True])
def test_fewer_attempts_are_advised_where_there_were_retries(retried):
    """And how many; else there is nothing to lower."""
    spans = (
        one._replace(events=(RETRY,)) if retried and one.status == "ERROR" else one for one in incident(error="503")
    )
    (said,) = advice(summary_of(spans).onsets()[0], [])
    lower = "; lower MOZAIKS_CONNECTORS_IDENTITY__RETRY_MAX_ATTEMPTS if retries, 880 in this time, add load"
    assert said.startswith(f"503: sent by the platform, look at its logs: no setting mends it{lower * retried} (docs")


def test_the_worst_is_first_by_its_share_and_its_waits():
    """Not by how sure it is: ten seconds before the onset make it less sure, not less bad; nor is it last without any."""
    few = incident(error="500", share=0.26, after_s=(0.001, 0.002), name="a.few", first=2000)
    many = incident(error="503", share=0.8, after_s=(9, 10), name="b.many", first=4000)
    for start, said in ((910, "failed 0 % → 8"), (940, "failed 80 %")):
        spans = [one for one in [*few, *many] if one.start_ns >= START + start * 10**9]
        spans += [one for one in few if START + 300 * 10**9 <= one.start_ns < START + start * 10**9]
        summary = summary_of(spans)
        found = headlines(summary, summary.onsets())
        assert [sentence.partition(":")[0] for sentence in found] == ["b.many", "a.few"]
        assert said in found[0]
    rows = compare(summary_of(healthy("a.few", 0) + healthy("b.many", 5000)), summary_of([*few, *many]))
    assert [(row.operation, row.verdict) for row in rows] == [("b.many", "worse"), ("a.few", "worse")]


def test_services_that_are_well_are_named_once_and_as_such():
    """One of them may be called `service`; one that fails all the time is not well."""
    spans = [
        *incident(error="503"),
        *incident(error="500", share=0.3, name="hosting.list_apps", first=2000),
        *healthy("billing.get_plan", 4000),
        *healthy("service.list_items", 6000),
        *(call(8000 + at, at_s=at, name="odd.get", error="404" if at % 2 else "") for at in range(200)),
    ]
    summary = summary_of(spans)
    found = " ".join(headlines(summary, summary.onsets()))
    assert found.count("unchanged") == found.count("; other services (billing, service) unchanged; ") == 1


def test_a_platform_that_asks_for_less_has_a_rate_that_it_accepts():
    """Of each two attempts per second one; a rate limit begins with that."""
    found = []
    for number, one in enumerate(incident(error="429"), 1):
        bad = one.status == "ERROR"
        first = attempt(number, number, error="429" if bad else "", status=429 if bad else 200, at_s=number - 1)
        second = attempt(number, number, status=200, at_s=number - 1)._replace(span_id=f"{number:015x}b")
        found += [first, *[second] * bad, with_attempts(one, 1 + bad)]
    (said,) = advice(summary_of(found).onsets()[0], [])
    assert "MOZAIKS_CONNECTORS_IDENTITY__RATE_LIMIT_PER_SECOND; of 2.0 attempts/s" in said
    assert "to identity.get_user it accepted 1.0/s in this time" in said


@pytest.mark.parametrize(("number", "text"), [(0, "0 calls"), (1, "1 call"), (2, "2 calls")])
def test_one_is_no_plural(number, text):
    """In every place that counts."""
    assert count_text(number, "call") == text


def test_an_incident_that_is_over_has_an_end():
    """The last call that was worse."""
    summary = summary_of(incident(until_s=1200))
    (sentence,) = headlines(summary, summary.onsets())
    assert "at 14:00:20 until 14:04:59" in sentence


@pytest.mark.parametrize("share", [0.06, 0.3, 1.0])
def test_failures_have_an_onset_too(share):
    """A few, and all of them; a fast failure is no faster operation."""
    summary = summary_of(incident(after_s=(0.001, 0.002), error="503", share=share))
    (onset,) = summary.onsets()
    assert 920 <= (onset.at_ns - START) / 1e9 < 920 + 4 / share
    assert "503" in headlines(summary, [onset])[0]
    assert "p95" not in headlines(summary, [onset])[0]


def test_changed_settings_next_to_the_onset_are_said():
    """They are the first suspect."""
    summary = summary_of(incident(settings=("aaaaaaaa", "bbbbbbbb")))
    said = list(advice(summary.onsets()[0], summary.settings_changes))
    assert said[0] == "settings of identity aaaaaaaa → bbbbbbbb at 14:00:15"


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("client-side rate limit: next slot is after the deadline", "IDENTITY__RATE_LIMIT_PER_SECOND"),
        ("shared quota: its slot of this process' share is after the deadline", "IDENTITY__QUOTA_PER_SECOND"),
        ("shared quota: Retry-After of an earlier response ends after the deadline", "IDENTITY__RATE_LIMIT_PER_SECOND"),
        ("deadline exceeded", "IDENTITY__DEADLINE_TOTAL_S"),
    ],
)
def test_a_guard_whose_slot_is_after_the_deadline_is_what_is_advised_on(text, setting):
    """The deadline is not: a longer one only makes the wait longer."""
    spans = incident(error="RateLimitExceededError")
    summary = summary_of(span._replace(message=text) if span.status == "ERROR" else span for span in spans)
    (said,) = advice(summary.onsets()[0], [])
    assert said.startswith(f"{text}: ")
    assert f"MOZAIKS_CONNECTORS_{setting} " in f"{said} "


@pytest.mark.parametrize("seed", range(8))
def test_a_healthy_operation_has_no_onset(seed):
    """Long tails, bursts and a steady share of failures are no change."""
    chance = Random(seed)
    spans, at_s = [], 0.0
    for number in range(1500):
        at_s += chance.expovariate(1.0) * (0.1 if number % 300 < 50 else 1.5)
        lasts_s = chance.lognormvariate(-4, 1.0 + 0.1 * seed)
        spans.append(call(number, at_s=at_s, lasts_s=lasts_s, error="503" if chance.random() < 0.01 * seed else ""))
    assert summary_of(spans).onsets() == []


def test_what_fails_all_the_time_is_said_without_a_time():
    """There is nothing to compare it with."""
    summary = summary_of(call(number, at_s=number, error="404" if number % 2 else "") for number in range(200))
    assert headlines(summary, summary.onsets()) == [
        "identity.get_user: failed 50 % (100 of 200 calls) throughout; 50 % 404"
    ]


def test_what_fails_all_the_time_has_advice_too():
    """As where only the minutes after an onset were chosen."""
    summary = summary_of(call(number, at_s=number, error="404" if number % 2 else "") for number in range(200))
    ((sentence, (said,)),) = findings(summary, summary.onsets())
    assert sentence == "identity.get_user: failed 50 % (100 of 200 calls) throughout; 50 % 404"
    assert said.startswith("404: the platform does not accept the request")


@pytest.mark.parametrize(("width", "short"), [(60, True), (80, False)])
def test_a_comparison_breaks_nothing(width, short):
    """Where columns are too few, names are on lines of their own; no figure and no verdict is broken."""
    first, second = (summary_of(one) for one in (incident(after_s=(0.004, 0.005)), incident()))
    console = Console(width=width, file=io.StringIO(), color_system=None)
    for part in render_comparison(compare(first, second), "a", "b", width=width):
        console.print(part)
    lines = console.file.getvalue().splitlines()
    (after,) = (line for line in lines if "after " in line and line.endswith("worse"))
    assert len(after) <= width
    assert not any("…" in line for line in lines)
    assert ("identity.get_user" in lines) is short


def test_memory_is_bounded_by_time_not_by_calls():
    """Slices become longer where there are too many, names that have ids become one."""
    summary = summary_of(call(number, at_s=number * 2) for number in range(25_000))
    assert summary.slice_ns == 4_000_000_000
    assert sum(len(one.cells) for one in summary.operations) <= 20_000
    assert summary.operations[0].total().calls == 25_000
    many = summary_of(call(number, name=f"svc.op{number}") for number in range(1000))
    assert len(many.operations) <= 301
    assert sum(one.total().calls for one in many.operations) == 1000


def test_a_comparison_names_what_became_worse():
    """And what is new, better, as before, or too rare to say."""
    before = [
        *incident(until_s=0),
        *incident(name="a.better", first=2000),
        *healthy("b.same", 4000),
        call(9000, name="c.rare"),
    ]
    after = [*incident(), *incident(name="a.better", until_s=0, first=2000), *healthy("b.same", 4000), call(9000, name="c.rare"), call(9001, name="d.new")]  # fmt: skip
    rows = compare(summary_of(before), summary_of(after))
    assert [(row.operation, row.verdict) for row in rows] == [
        ("identity.get_user", "worse"),
        ("d.new", "new"),
        ("a.better", "better"),
        ("c.rare", "too few"),
        ("b.same", "unchanged"),
    ]


def test_every_piece_of_advice_leads_to_a_heading_and_a_setting():
    """Of the runbook, and of the settings table."""
    from runtime.settings import settings_table
    from runtime.traces.diagnosis import _ADVICE, _FEWER, _KEEP, _LOWER

    root = Path(__file__).resolve().parents[2]
    headings = {
        line[3:].strip().lower()
        for line in (root / "docs" / "runbook.md").read_text().splitlines()
        if line.startswith("## ")
    }
    table = json.dumps(settings_table())
    assert {heading for _, _, heading in _ADVICE} <= headings
    for text in [_FEWER, _KEEP, _LOWER, *(text for _, text, _ in _ADVICE)]:
        for name in __import__("re").findall(r"\{([A-Z_]+)\}", text):
            assert f"MOZAIKS_CONNECTORS_{name}" in table, name


def test_the_clock_has_the_machines_time_zone(monkeypatch):
    """As the engineer's other tools."""
    import time

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert clock_text(1_700_000_000_000_000_000, parts=3) == "03:43:20.000"
    finally:
        monkeypatch.undo()
        time.tzset()
