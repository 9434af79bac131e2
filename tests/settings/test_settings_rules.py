"""Rules of the settings check: what each finds and where, and that the real stack does what it says."""

import asyncio
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import pytest
from settings_files import place_of

from middleware import PlatformError, Telemetry
from runtime.cli.config import main
from runtime.cli.config_check import check
from runtime.settings import ResolvedSettings
from runtime.settings.contradictions import Facts
from runtime.settings.rules import RULES
from runtime.testing import LoopClock, ScriptedUpstream, run_virtual

ROOT = Path(__file__).parents[2]


class Sample(NamedTuple):
    """Settings that break a rule, where that is seen, and settings that just do not."""

    bad: str
    place: str
    good: str
    facts: Mapping[str, Any] = MappingProxyType({})
    environ: Mapping[str, str] = MappingProxyType({})
    good_environ: Mapping[str, str] = MappingProxyType({})


SAMPLES = {
    "ST101": Sample("\ud800", "settings.toml:1:1", "# é\n"),
    "ST102": Sample("[retry]\nmax_attempts = \n", "settings.toml:2:16", "[retry]\nmax_attempts = 2\n"),
    "ST103": Sample("[retry]\nmax_atempts = 2\n", "settings.toml:2:1", "[retry]\nmax_attempts = 2\n"),
    "ST104": Sample("retry = 2\n", "settings.toml:1:1", "retry = { max_attempts = 2 }\n"),
    "ST105": Sample("[retry]\nmax_attempts = 11\n", "settings.toml:2:1", "[retry]\nmax_attempts = 10\n"),
    "ST106": Sample(
        "[services.hosting.operations.deploy.bulkhead]\npermits = 2\n",
        "settings.toml:2:1",
        "[services.hosting.bulkhead]\npermits = 2\n",
    ),
    "ST107": Sample("", "MOZAIKS_MANAGED", "", {}, {"MOZAIKS_MANAGED": "maybe"}, {"MOZAIKS_MANAGED": "no"}),
    "ST108": Sample(
        "",
        "MOZAIKS_GATEWAY_BASE_URL",
        "",
        {},
        {"MOZAIKS_MANAGED": "1"},
        {"MOZAIKS_MANAGED": "1", "MOZAIKS_GATEWAY_BASE_URL": "https://gateway.test"},
    ),
    "ST109": Sample(
        "",
        "MOZAIKS_CORE_BASE_URL",
        "",
        {},
        {"MOZAIKS_MANAGED": "1", "MOZAIKS_GATEWAY_BASE_URL": "https://g.test", "MOZAIKS_CORE_BASE_URL": "g.test"},
        {"MOZAIKS_MANAGED": "1", "MOZAIKS_GATEWAY_BASE_URL": "https://g.test", "MOZAIKS_CORE_BASE_URL": " "},
    ),
    "ST110": Sample(
        '[services.identity.transport]\nca_file = "no-such.pem"\n',
        "settings.toml:2:1",
        '[services.identity.transport]\nca_file = ""\n',
    ),
    "ST201": Sample("[attempt]\ntimeout_s = 25\n", "settings.toml:2:1", "[attempt]\ntimeout_s = 24.9\n"),
    "ST202": Sample("[retry]\nretry_after_max_s = 25\n", "settings.toml:2:1", "[retry]\nretry_after_max_s = 24.9\n"),
    "ST203": Sample(
        "[hedging]\nmax_hedges = 1\ndelay_s = 10\n", "settings.toml:3:1", "[hedging]\nmax_hedges = 1\ndelay_s = 9.9\n"
    ),
    "ST204": Sample(
        "[hedging]\nmax_hedges = 1\n[retry]\nmax_attempts = 1\n",
        "settings.toml:4:1",
        "[hedging]\nmax_hedges = 1\n[services.billing.retry]\nmax_attempts = 2\n"
        "[services.payment.operations.checkout.hedging]\nmax_hedges = 0\n"
        "[services.payment.operations.cancel.hedging]\nmax_hedges = 0\n",
    ),
    "ST205": Sample(
        "[budget]\nratio = 0\nmin_per_s = 0\n", "settings.toml:2:1", "[budget]\nratio = 0.01\nmin_per_s = 0\n"
    ),
    "ST206": Sample("[retry]\nbase_delay_s = 5.1\n", "settings.toml:2:1", "[retry]\nbase_delay_s = 5\n"),
    "ST207": Sample(
        "[retry]\nthrottle_max_delay_s = 0.9\n", "settings.toml:2:1", "[retry]\nthrottle_max_delay_s = 1\n"
    ),
    "ST208": Sample("[rate_limit]\nper_second = 0.9\n", "settings.toml:2:1", "[rate_limit]\nper_second = 1\n"),
    "ST209": Sample(
        '[quota]\nper_second = 1\nurl = "redis://x"\n',
        "settings.toml:3:1",
        '[quota]\nper_second = 1\nreplicas = 2\nurl = "redis://x"\n',
    ),
    "ST301": Sample("[deadline]\ntotal_s = 30.1\n", "settings.toml:2:1", "[deadline]\ntotal_s = 30\n"),
    "ST302": Sample("[attempt]\ntimeout_s = 12.5\n", "settings.toml:2:1", "[attempt]\ntimeout_s = 12.49\n"),
    "ST303": Sample(
        "[deadline]\ntotal_s = 1.75\n[attempt]\ntimeout_s = 0.5\n[retry]\nretry_after_max_s = 1\n",
        "settings.toml:2:1",
        "[deadline]\ntotal_s = 1.76\n[attempt]\ntimeout_s = 0.5\n[retry]\nretry_after_max_s = 1\n",
    ),
    "ST304": Sample(
        "[retry]\nmax_attempts = 1\n",
        "circuit_breaker.min_calls (default)",
        "[circuit_breaker]\nmin_calls = 5\n",
        {"calls_per_s": 0.5},
    ),
    "ST305": Sample(
        "[circuit_breaker]\nfailure_ratio = 0.5\n", "settings.toml:2:1", "[circuit_breaker]\nfailure_ratio = 0.51\n"
    ),
    "ST306": Sample("[circuit_breaker]\nopen_s = 25.1\n", "settings.toml:2:1", "[circuit_breaker]\nopen_s = 25\n"),
    "ST307": Sample(
        "[bulkhead]\npermits = 13\n",
        "settings.toml:2:1",
        "[bulkhead]\npermits = 12\n",
        {"concurrency": 50, "processes": 4},
    ),
    "ST308": Sample(
        "[services.hosting.idempotency]\nhonors_key = true\n",
        "settings.toml:2:1",
        "[services.hosting.operations.deploy.idempotency]\nhonors_key = true\n",
    ),
    "ST309": Sample(
        "[transport]\nkeepalive_expiry_s = 5.1\n", "settings.toml:2:1", "[transport]\nkeepalive_expiry_s = 5\n"
    ),
}


def test_the_defaults_give_no_finding(checked):
    """R62: nor does an empty environment; a gateway whose idle time equals ours is none."""
    assert check({}, Facts()) == []
    assert checked("# nothing\n") == []


def test_a_bad_and_a_good_sample_of_each_rule_are_here():
    """No rule is without."""
    assert [*SAMPLES] == [rule for rule in RULES if rule != "ST111"]  # of another package, below


@pytest.mark.parametrize("rule", SAMPLES)
def test_a_rule_finds_its_bad_sample_at_its_place_and_not_its_good_one(rule, checked):
    """R62: file, line and column, or the variable; and a value that just fits is no finding."""
    sample = SAMPLES[rule]
    bad = [one for one in checked(sample.bad, sample.environ, **sample.facts) if one.rule == rule]
    assert {place_of(one) for one in bad} == {sample.place}
    good = checked(sample.good, sample.good_environ, **sample.facts)
    assert not [one for one in good if one.rule == rule]


def test_a_relation_is_found_after_merging_and_names_its_scopes(checked):
    """R60: a value of one level against that of another one; where it is in force for a service, not for each operation."""
    text = (
        "[deadline]\ntotal_s = 22\n"
        "[services.hosting.operations.deploy.deadline]\ntotal_s = 35\n"
        "[services.billing.deadline]\ntotal_s = 31\n"
    )
    found = [one for one in checked(text) if one.rule == "ST301"]
    assert [(place_of(one), one.message.partition(" [")[2]) for one in found] == [
        ("settings.toml:4:1", "hosting.deploy]"),
        ("settings.toml:6:1", "billing]"),
    ]
    (finding,) = [one for one in checked("[deadline]\ntotal_s = 31\n") if one.rule == "ST301"]
    assert finding.message == "deadline.total_s = 31: a call may take 31 s, and its caller has 30 s"


def test_a_breaker_is_inert_for_writes_that_are_not_repeated(checked):
    """R11, R32: reads reach the least number of attempts by their retries, within the budget; writes alone never do."""
    (finding,) = checked("", calls_per_s=0.5)
    assert "0.5 calls/s are at most 5 attempts in 10 s, since none is repeated" in finding.message
    assert re.search(r"\[hosting\.create_app, hosting\.pause_app, hosting\.resume_app and \d+ more\]", finding.message)
    assert checked("[circuit_breaker]\nmode = 'disabled'\n", calls_per_s=0.5) == []
    # By 3 attempts each, 9 reads would be enough; the budget allows 2 retries in 10 s.
    budget = "[budget]\nmin_per_s = 0\nratio = 0.5\n"
    inert = [one for one in checked(budget, calls_per_s=0.4) if "with all retries" in one.message]
    assert [one.message.partition(" [")[2] for one in inert] == [""]
    assert "at most 6 attempts" in inert[0].message
    assert checked(budget + "enabled = false\n", calls_per_s=0.4) != []
    assert not [
        one for one in checked(budget + "enabled = false\n", calls_per_s=0.4) if "with all retries" in one.message
    ]


@pytest.mark.parametrize(
    ("text", "attempt"),
    [
        ("[attempt]\ntimeout_s = 12.5\n", 3),
        ("[retry]\nmax_attempts = 4\n", 4),
        ("[retry]\nmin_attempt_s = 5\n", 3),
        ("[retry]\nmin_attempt_s = 4.99\n", None),
        ("[attempt]\ntimeout_s = 12.5\n[hedging]\nmax_hedges = 1\n", None),
    ],
)
def test_an_attempt_that_never_starts_is_named(checked, text, attempt):
    """R16: the first one, after attempts that time out; a hedge starts before them."""
    found = [one.message for one in checked(text) if one.rule == "ST302"]
    assert len(found) == (attempt is not None)
    assert all(f": attempt {attempt} never starts after" in message for message in found)


def test_a_bulkhead_that_adapts_bounds_the_load(checked):
    """R46: whatever its permits."""
    assert checked("[bulkhead]\nadaptive = true\n", concurrency=1) == []


def test_each_rule_is_explained_and_documented(capsys):
    """Source, reason and remedy; docs/tuning.md has a row for each."""
    assert main(["check", "--explain", "all"]) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for rule in RULES.values() for text in (rule.id, rule.source, rule.why, rule.remedy))
    page = (ROOT / "docs" / "tuning.md").read_text()
    rows = re.findall(r"^\| (ST\d{3}) \| ([a-z-]+) \| (\w+) \|", page, re.MULTILINE)
    assert rows == [(one.id, one.name, one.severity.value) for one in RULES.values()]


# --- what a rule says is what the real stack does ---------------------------------------------------------------------


class NoJitter(Random):
    """The shortest waits that are possible."""

    def random(self):
        return 0.0

    def uniform(self, a, _b):
        return a


def attempts_of(step, text):
    """Attempts of one GET against a platform that does *step* each time, in virtual time."""
    upstream = ScriptedUpstream([], then=step)
    policies = ResolvedSettings(tomllib.loads(text))

    async def call():
        with pytest.raises(PlatformError):
            await upstream.client(policies=policies, random=NoJitter()).get("/x")

    run_virtual(call())
    return len(upstream.requests) + upstream.refused


@pytest.mark.parametrize(
    ("rule", "step", "bad", "good"), [("ST302", "hang", 2, 3), ("ST303", httpx.ConnectError("refused"), 4, 5)]
)
def test_an_attempt_that_never_starts_does_not(rule, step, bad, good):
    """R16, R20: not even after the shortest waits; and with the good sample it does."""
    assert attempts_of(step, SAMPLES[rule].bad) == bad
    assert attempts_of(step, SAMPLES[rule].good) == good


@pytest.mark.parametrize(("min_calls", "found"), [(6, True), (5, False)])
def test_a_circuit_breaker_that_never_opens_does_not(checked, min_calls, found):
    """R32: of calls at 0.5/s that all time out; with one less that it needs it opens."""
    text = f"[retry]\nmax_attempts = 1\n[circuit_breaker]\nmin_calls = {min_calls}\n"
    assert bool([one for one in checked(text, calls_per_s=0.5) if one.rule == "ST304"]) is found
    upstream, states = ScriptedUpstream([], then="hang"), []
    telemetry = Telemetry(listener=lambda event: states.append(getattr(event, "after", "")))

    async def one(client):
        with pytest.raises(PlatformError):
            await client.get("/x")

    async def calls():
        client = upstream.client(policies=ResolvedSettings(tomllib.loads(text)), telemetry=telemetry)
        async with asyncio.TaskGroup() as running:
            for _ in range(60):
                running.create_task(one(client))
                await LoopClock().sleep(2)

    run_virtual(calls())
    assert ("open" in states) is not found
