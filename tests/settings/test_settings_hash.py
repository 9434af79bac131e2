"""The hash of the settings: what it depends on, and where it shows: spans, log lines, one metric; reloads under load."""

import asyncio
import logging

import pytest

from middleware import CircuitOpenError, ServerError, Telemetry
from middleware.events import SettingsRejected, SettingsReloaded
from middleware.settings import hash_of
from middleware.stack import FixedSettings, StackSettings
from middleware.telemetry import semconv
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.settings import LiveSettings, ResolvedSettings
from runtime.testing import LoopClock, Reply, ScriptedUpstream, run_virtual

SERVICES = {"hosting": ("deploy", "list_apps"), "billing": ("get_plan",)}


def hash_for(given, service="hosting"):
    return ResolvedSettings(given, services=SERVICES).settings_hash(service)


def test_equal_settings_have_equal_hashes_wherever_they_were_written(tmp_path):
    """Eight digits of the values, not of their sources or of how numbers are spelled."""
    file = tmp_path / "settings.toml"
    file.write_text("[retry]\nmax_attempts = 4\nbase_delay_s = 1\n")
    environ = {"MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS": "4", "MOZAIKS_CONNECTORS_RETRY_BASE_DELAY_S": "1.0"}
    given = {"services": {"hosting": {"retry": {"max_attempts": 4, "base_delay_s": 1}}}}
    hashes = {
        ResolvedSettings(file=file).settings_hash("hosting"),
        ResolvedSettings(environ=environ).settings_hash("hosting"),
        hash_for(given),
    }
    (only,) = hashes
    assert len(only) == 8
    assert int(only, 16)
    assert hash_for(given, "billing") == hash_for({}, "billing") == hash_for({}) != only


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({"retry": {"max_attempts": 4}}, True),
        ({"retry": {"max_attempts": 3}}, False),
        ({"services": {"billing": {"retry": {"max_attempts": 4}}}}, False),
        ({"services": {"hosting": {"operations": {"deploy": {"retry": {"max_attempts": 4}}}}}}, True),
        ({"services": {"hosting": {"operations": {"deploy": {"retry": {"max_attempts": 3}}}}}}, False),
        ({"circuit_breaker": {"mode": "shadow"}}, True),
        ({"budget": {"enabled": False}}, True),
    ],
    ids=str,
)
def test_any_value_of_the_service_or_of_its_operations_changes_it(given, changes):
    """And nothing else does."""
    assert (hash_for(given) != hash_for({})) is changes


def test_the_hash_of_settings_without_a_source_is_that_of_their_values():
    """A client that gets `StackSettings` has the hash that a file with these values has."""
    assert FixedSettings(StackSettings()).of("hosting").settings_hash == hash_for({})
    resolved = ResolvedSettings({"retry": {"max_attempts": 4}})
    plain = StackSettings(retry=resolved.of("hosting").retry)
    assert FixedSettings(plain).of("x").settings_hash == resolved.of("hosting").settings_hash


def test_it_is_made_once_per_snapshot(monkeypatch):
    """No call pays for it."""
    made = []

    def counted(values):
        made.append(1)
        return hash_of(values)

    monkeypatch.setattr("runtime.settings.resolution.hash_of", counted)
    settings = ResolvedSettings({"retry": {"max_attempts": 4}}, services=SERVICES)
    hashes = {settings.of("hosting", operation).settings_hash for operation in ("", "deploy", "list_apps") * 3}
    assert len(hashes) == 1
    assert len(made) == 1


async def test_a_call_span_and_the_metric_have_the_hash_in_force(tmp_path, recorder):
    """R61: that of the snapshot that the call began with; the metric has the current one alone."""
    file, fresh = tmp_path / "settings.toml", tmp_path / "fresh"
    file.write_text("[retry]\nmax_attempts = 2\n")
    live = LiveSettings(file=file, services=SERVICES)
    before = live.settings_hash("hosting")
    client = ScriptedUpstream([], then={}).client(service="hosting", policies=live, telemetry=recorder.telemetry)
    await client.get("/x")
    fresh.write_text("[retry]\nmax_attempts = 4\n")
    fresh.replace(file)
    live._next_look = 0.0
    await client.get("/x")
    after = live.settings_hash("hosting")
    assert before != after
    assert [span.attributes[semconv.SETTINGS_HASH] for span in recorder.spans("INTERNAL")] == [before, after]
    (point,) = recorder.points(semconv.METRIC_CONFIG_INFO.name)
    assert point.value == 1
    assert dict(point.attributes) == {semconv.CONNECTOR_NAME: "hosting", semconv.SETTINGS_HASH: after}


async def test_a_source_without_a_hash_adds_nothing(recorder):
    """A host's own source of settings may make none."""

    class Own:
        def of(self, _service, _operation=""):
            return StackSettings()

        def poll(self, _now):
            return None

    client = ScriptedUpstream([], then={}).client(policies=Own(), telemetry=recorder.telemetry)
    await client.get("/x")
    (span,) = recorder.spans("INTERNAL")
    assert semconv.SETTINGS_HASH not in span.attributes
    assert recorder.points(semconv.METRIC_CONFIG_INFO.name) == []


def test_the_policy_in_force_is_in_one_line_at_the_start(no_settings, caplog):
    """Every value, and the hash of each service."""
    caplog.set_level(logging.INFO, "mozaiks.mode")
    environ = {
        "MOZAIKS_MANAGED": "1",
        "MOZAIKS_GATEWAY_BASE_URL": "https://gateway.test",
        "MOZAIKS_CONNECTORS_HOSTING__RETRY_MAX_ATTEMPTS": "4",
    }
    config = ConnectorConfig.from_env(environ)
    load_connectors(config)
    (record,) = [one for one in caplog.records if one.event == "settings.loaded"]
    assert record.policy["retry.max_attempts"] == 3
    assert record.policy["hosting.retry.max_attempts"] == 4
    assert record.policy["deadline.total_s"] == 25.0
    assert record.hashes["hosting"] == config.policies.settings_hash("hosting") != record.hashes["billing"]


GOOD = "[retry]\nmax_attempts = {attempts}\n[circuit_breaker]\nopen_s = 600\n[deadline]\ntotal_s = {deadline}\n"
INVALID = ("[retry]\nmax_attempts = 0\n", "[retry]\nmax_attemps = 2\n", "[retry", "", "[transport]\ndns_cache_s = 1\n")


def test_a_thousand_calls_during_a_hundred_reloads(tmp_path):
    """R61: no call fails by a reload, open circuits stay open, and after an invalid file the last good policy is kept."""
    file, fresh = tmp_path / "settings.toml", tmp_path / "fresh"
    file.write_text(GOOD.format(attempts=1, deadline=25))
    live = LiveSettings(file=file, services=SERVICES)
    upstream = ScriptedUpstream(lambda seen: 500 if seen.path == "/down" else Reply(json={}, after_s=0.95))
    events, while_open, kept, results = [], [], [], []
    telemetry = Telemetry(listener=events.append)

    async def calls():
        up = upstream.client(service="hosting", policies=live, telemetry=telemetry)
        down = upstream.client(service="billing", policies=live, telemetry=telemetry)
        failed = [await settled(down.get("/down")) for _ in range(10)]
        assert {type(error) for error in failed} == {ServerError}
        before = len(upstream.requests)
        last_good, running = 1, []
        for reload in range(100):
            if reload % 4 == 3:
                fresh.write_text(INVALID[reload // 4 % len(INVALID)])
            else:
                last_good = 1 + (reload % 3)
                fresh.write_text(GOOD.format(attempts=last_good, deadline=20 + reload / 100))
            fresh.replace(file)
            for _ in range(10):
                running.append(asyncio.ensure_future(settled(up.get("/up"))))
                await LoopClock().sleep(0.22)  # a change is in force within two seconds
            if reload % 10 == 0:
                while_open.append(await settled(down.get("/down")))
            kept.append(live.of("hosting").retry.max_attempts == last_good)
        results.extend(await asyncio.gather(*running))
        assert len([seen for seen in upstream.requests if seen.path == "/down"]) == before

    run_virtual(calls())
    assert kept == [True] * 100
    assert {type(result) for result in while_open} == {CircuitOpenError}
    assert results == [{}] * 1000
    reloaded = [one.hashes["hosting"] for one in events if isinstance(one, SettingsReloaded)]
    assert len(set(reloaded)) == len(reloaded) == 75
    assert len([one for one in events if isinstance(one, SettingsRejected)]) == 25


async def settled(call):
    """The result of a call, or its error."""
    try:
        return await call
    except Exception as error:
        return error
