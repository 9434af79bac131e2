"""What a summary says of an incident: since when, how bad, and what to change."""

import json
from pathlib import Path
from random import Random

import pytest
from trace_spans import RETRY, START, attempt, call, incident, summary_of, with_attempts

from runtime.traces.diagnosis import advice, compare, findings


def headlines(summary, onsets):
    return [sentence for sentence, _ in findings(summary, onsets)]


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
    assert "slowest good response: 10 ms at other times (p99), 3.09 s in this time (docs" in said
    assert "docs/runbook.md#connectorcallsslow" in said


def test_a_call_with_a_retry_says_nothing_of_how_long_a_response_takes():
    """Its time has the timeout of the attempt before; so the advice is without the time of good responses meanwhile."""
    spans = (span._replace(events=(RETRY,) if span.end_ns - span.start_ns > 10**9 else ()) for span in incident())
    (said,) = advice(summary_of(spans).onsets()[0], [])
    assert "at other times (p99) (docs" in said


def test_where_a_few_were_retried_the_half_says_how_long_a_response_takes():
    """Else the advice would be a timeout below what nearly all responses take now."""
    spans = (span._replace(events=(RETRY,) if span.end_ns % 9 == 0 else ()) for span in incident())
    (said,) = advice(summary_of(spans).onsets()[0], [])
    assert "at other times (p99); in this time half of them take 3.0" in said


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
    assert headlines(summary, summary.onsets()) == ["identity.get_user: fails all the time; 50 % 404"]


def test_what_fails_all_the_time_has_advice_too():
    """As where only the minutes after an onset were chosen."""
    summary = summary_of(call(number, at_s=number, error="404" if number % 2 else "") for number in range(200))
    ((sentence, (said,)),) = findings(summary, summary.onsets())
    assert sentence == "identity.get_user: fails all the time; 50 % 404"
    assert said.startswith("404: the platform does not accept the request")


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
    from runtime.traces.diagnosis import _ADVICE

    root = Path(__file__).resolve().parents[2]
    headings = {
        line[3:].strip().lower()
        for line in (root / "docs" / "runbook.md").read_text().splitlines()
        if line.startswith("## ")
    }
    table = json.dumps(settings_table())
    for _, text, heading in _ADVICE:
        assert heading in headings
        for name in __import__("re").findall(r"\{([A-Z_]+)\}", text):
            assert f"MOZAIKS_CONNECTORS_{name}" in table, name
