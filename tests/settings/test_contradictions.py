"""Settings that are valid one by one and contradict each other: which they are, and who learns of them, once."""

import logging

import pytest

from middleware import Telemetry
from middleware.events import SettingsContradictory, SettingsReloaded
from runtime.cli.config import main
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.settings import LiveSettings, ResolvedSettings
from runtime.testing import LoopClock, ScriptedUpstream, run_virtual


def found(given):
    return [line.rpartition(": ")[0] for line in ResolvedSettings(given).contradictions()]


def test_the_defaults_do_not_contradict_each_other():
    """R62: no warning where nothing is set."""
    assert ResolvedSettings().contradictions() == ()
    assert ResolvedSettings({"hedging": {"max_hedges": 1}}).contradictions() == ()
    assert ResolvedSettings({"bulkhead": {"adaptive": True}}).contradictions() == ()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"attempt": {"timeout_s": 25.0}},
            "attempt.timeout_s = 25.0 (constructor: attempt.timeout_s), deadline.total_s = 25.0 (default)",
        ),
        (
            {"retry": {"retry_after_max_s": 25}},
            "retry.retry_after_max_s = 25 (constructor: retry.retry_after_max_s), deadline.total_s = 25.0 (default)",
        ),
        (
            {"hedging": {"max_hedges": 1, "delay_s": 10.0}},
            "hedging.delay_s = 10.0 (constructor: hedging.delay_s), attempt.timeout_s = 10.0 (default)",
        ),
        (
            {"hedging": {"max_hedges": 2}, "retry": {"max_attempts": 1}},
            (
                "retry.max_attempts = 1 (constructor: retry.max_attempts),"
                " hedging.max_hedges = 2 (constructor: hedging.max_hedges)"
            ),
        ),
        (
            {"budget": {"ratio": 0.0, "min_per_s": 0.0}},
            (
                "budget.ratio = 0.0 (constructor: budget.ratio), budget.min_per_s = 0.0 (constructor: budget.min_per_s),"
                " retry.max_attempts = 3 (default)"
            ),
        ),
        (
            {"retry": {"base_delay_s": 5.1}},
            "retry.base_delay_s = 5.1 (constructor: retry.base_delay_s), retry.max_delay_s = 5.0 (default)",
        ),
        (
            {"retry": {"throttle_max_delay_s": 0.9}},
            (
                "retry.throttle_base_delay_s = 1.0 (default),"
                " retry.throttle_max_delay_s = 0.9 (constructor: retry.throttle_max_delay_s)"
            ),
        ),
        (
            {"rate_limit": {"per_second": 0.9}},
            (
                "circuit_breaker.min_calls = 10 (default), rate_limit.per_second = 0.9 (constructor: rate_limit.per_second),"
                " circuit_breaker.window_s = 10.0 (default)"
            ),
        ),
        (
            {"quota": {"per_second": 9, "url": "redis://:s3cret@cache/0"}},
            "quota.url = redis://***@cache/0 (constructor: quota.url), quota.replicas = 1 (default)",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_contradiction_names_its_values_and_their_places(given, line):
    """R62: one line each."""
    assert found(given) == [line]


@pytest.mark.parametrize(
    "given",
    [
        {"attempt": {"timeout_s": 24.9}},
        {"retry": {"retry_after_max_s": 24.9}},
        {"hedging": {"max_hedges": 1, "delay_s": 9.9}},
        {"hedging": {"max_hedges": 0, "delay_s": 10.0}},
        {"hedging": {"max_hedges": 2}, "retry": {"max_attempts": 2}},
        {"budget": {"ratio": 0.0}},
        {"budget": {"min_per_s": 0.0}},
        {"budget": {"ratio": 0.0, "min_per_s": 0.0}, "retry": {"max_attempts": 1}},
        {"budget": {"ratio": 0.0, "min_per_s": 0.0, "enabled": False}},
        {"retry": {"base_delay_s": 5.0}},
        {"retry": {"throttle_max_delay_s": 1.0}},
        {"quota": {"per_second": 9, "url": "redis://cache/0", "replicas": 2}},
        {"quota": {"per_second": 9}},
        {"quota": {"url": "redis://cache/0"}},
        {"rate_limit": {"per_second": 1.0}},
        {"rate_limit": {"per_second": 0.9}, "circuit_breaker": {"mode": "disabled"}},
    ],
    ids=str,
)
def test_values_that_just_fit_do_not_contradict_each_other(given):
    """R62: no noise."""
    assert found(given) == []


def test_a_contradiction_is_found_at_any_level_and_listed_once(tmp_path):
    """R62: an operation's own value against one for all; every other level that has both repeats nothing."""
    file = tmp_path / "settings.toml"
    file.write_text("[deadline]\ntotal_s = 22\n[services.hosting.operations.deploy.attempt]\ntimeout_s = 30\n")
    environ = {
        "MOZAIKS_CONNECTORS_HEDGING_MAX_HEDGES": "1",
        "MOZAIKS_CONNECTORS_HEDGING_DELAY_S": "20",
        "MOZAIKS_CONNECTORS_BILLING__RETRY_MAX_ATTEMPTS": "2",
    }
    lines = ResolvedSettings(environ=environ, file=file).contradictions()
    assert lines == (
        (
            "hedging.delay_s = 20.0 (MOZAIKS_CONNECTORS_HEDGING_DELAY_S), attempt.timeout_s = 10.0 (default):"
            " an attempt times out before its first hedge starts"
        ),
        (
            f"attempt.timeout_s = 30 ({file}:4: services.hosting.operations.deploy.attempt.timeout_s),"
            f" deadline.total_s = 22 ({file}:2: deadline.total_s):"
            " one attempt may take the whole deadline, so that no retry follows a hang"
        ),
    )


def test_a_bundle_logs_each_contradiction_once_at_its_start(caplog):
    """R62: at WARNING, before any call; nothing of it in self-hosted mode, which has no stack."""
    environ = {
        "MOZAIKS_MANAGED": "1",
        "MOZAIKS_GATEWAY_BASE_URL": "http://gateway.test",
        "MOZAIKS_CONNECTORS_ATTEMPT_TIMEOUT_S": "30",
    }
    config = ConnectorConfig.from_env(environ)
    assert caplog.records == []
    load_connectors(config)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.event == "settings.contradictory"
    assert "attempt.timeout_s = 30.0 (MOZAIKS_CONNECTORS_ATTEMPT_TIMEOUT_S)" in record.getMessage()
    caplog.clear()
    load_connectors(ConnectorConfig.from_env(environ | {"MOZAIKS_MANAGED": "0"}))
    assert caplog.records == []


def test_a_reload_reports_new_contradictions_alone(tmp_path, caplog):
    """R61, R62: with the call that found the change; those of the start were logged then."""
    file, events = tmp_path / "settings.toml", []
    file.write_text("[attempt]\ntimeout_s = 30\n")
    live = LiveSettings(file=file)
    upstream = ScriptedUpstream([], then={})
    caplog.set_level(logging.WARNING, "mozaiks.connectors")

    async def calls():
        client = upstream.client(policies=live, telemetry=Telemetry(listener=events.append))
        await client.get("/x")
        for text in ("[attempt]\ntimeout_s = 30\n[retry]\nretry_after_max_s = 26\n", "[attempt]\ntimeout_s = 30\n"):
            file.write_text(text)
            for _ in range(3):  # a file that has just been written may be half there: it is looked at again
                await LoopClock().sleep(2)
                await client.get("/x")

    run_virtual(calls())
    told = [event for event in events if isinstance(event, SettingsReloaded | SettingsContradictory)]
    assert [type(event) for event in told] == [SettingsReloaded, SettingsContradictory, SettingsReloaded]
    (line,) = told[1].contradictions
    assert f"retry.retry_after_max_s = 26 ({file}:4: retry.retry_after_max_s)" in line
    assert [record.event for record in caplog.records] == ["settings.contradictory"]
    assert len(live.contradictions()) == 1


def test_the_command_shows_contradictions(monkeypatch, capsys):
    """R62: of the operation that is asked for, on stderr; the settings can be used all the same."""
    monkeypatch.setenv("MOZAIKS_CONNECTORS_HOSTING__ATTEMPT_TIMEOUT_S", "30")
    assert main(["billing", "--json"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["hosting", "--json"]) == 0
    assert capsys.readouterr().err.startswith("attempt.timeout_s = 30.0 (MOZAIKS_CONNECTORS_HOSTING__ATTEMPT")
