"""What a summary says of an incident: since when, how bad, and what to change."""

import json
from pathlib import Path
from random import Random

import pytest
from trace_spans import RETRY, START, attempt, call, incident, summary_of, with_attempts

from runtime.traces.diagnosis import advice, compare, findings, with_failing


def headlines(summary, onsets):
    return [sentence for sentence, _ in findings(summary, with_failing(summary, onsets))]


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
    ((sentence, (said,)),) = findings(summary, with_failing(summary, summary.onsets()))
    assert sentence == "identity.get_user: failed 50 % (100 of 200 calls) throughout; 50 % 404"
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
