"""Which value of a setting is in force."""

import pytest

from middleware import ConfigError
from middleware.policies.retry import RetrySettings
from runtime.connectors.loader import ConnectorConfig
from runtime.settings import LiveSettings, ResolvedSettings, settings

SERVICES = {"identity": ("get_user",), "service": ("list_items", "create_item")}


def read(**variables):
    environ = {f"MOZAIKS_CONNECTORS_{name}": value for name, value in variables.items()}
    return ResolvedSettings(environ=environ, services=SERVICES)


def test_a_services_own_setting_wins():
    """Others keep the general one."""
    policies = read(RETRY_MAX_ATTEMPTS="2", IDENTITY__RETRY_MAX_ATTEMPTS="5")
    assert policies.of("identity").retry.max_attempts == 5
    assert policies.of("service").retry.max_attempts == 2


def toml(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


LEVELS = {
    "retry": {"max_attempts": 2, "base_delay_s": 0.2, "max_delay_s": 2},
    "services": {
        "service": {
            "retry": {"base_delay_s": 0.3, "max_delay_s": 3.0},
            "operations": {"list_items": {"retry": {"max_delay_s": 4.0}}},
        }
    },
}


def test_the_most_specific_level_wins_value_by_value():
    """R60: operation over service over all services over default."""
    policies = ResolvedSettings(LEVELS, services=SERVICES)

    def retry(*names):
        found = policies.of(*names).retry
        return found.max_attempts, found.base_delay_s, found.max_delay_s

    assert retry("service", "list_items") == (2, 0.3, 4.0)
    assert retry("service", "create_item") == retry("service") == (2, 0.3, 3.0)
    assert retry("identity", "get_user") == (2, 0.2, 2)
    assert policies.of("service").deadline.total_s == 25.0


def test_sources_are_merged_before_levels(tmp_path):
    """R60: constructor over environment over file, on each level; then a file's operation beats a constructor's default."""
    file = toml(
        tmp_path,
        """
        [retry]
        max_attempts = 2
        base_delay_s = 0.2
        max_delay_s = 2.0
        [services.service.operations.list_items.retry]
        max_attempts = 5
        """,
    )
    environ = {"MOZAIKS_CONNECTORS_RETRY_BASE_DELAY_S": "0.3", "MOZAIKS_CONNECTORS_RETRY_MAX_DELAY_S": "3"}
    policies = ResolvedSettings({"retry": {"max_delay_s": 4.0}}, environ=environ, file=file, services=SERVICES)
    retry = policies.of("service", "list_items").retry
    assert retry.max_attempts == 5
    assert retry.base_delay_s == 0.3
    assert retry.max_delay_s == 4.0
    origins = {row.name: row.origin for row in policies.effective("service", "list_items")}
    assert origins["retry.max_attempts"] == f"{file}:7: services.service.operations.list_items.retry.max_attempts"
    assert origins["retry.base_delay_s"] == "MOZAIKS_CONNECTORS_RETRY_BASE_DELAY_S"
    assert origins["retry.max_delay_s"] == "constructor: retry.max_delay_s"
    assert origins["deadline.total_s"] == "default"
    assert {row.name: row.shown for row in policies.effective("service")}["budget.enabled"] == "true"
    assert [row.name for row in policies.effective("service")] == [row.path for row in settings()]


def test_an_operations_variable():
    """R60: with two double underscores."""
    policies = read(RETRY_MAX_ATTEMPTS="2", SERVICE__LIST_ITEMS__RETRY_MAX_ATTEMPTS="7")
    assert policies.of("service", "list_items").retry.max_attempts == 7
    assert policies.of("service", "create_item").retry.max_attempts == 2


@pytest.mark.parametrize("operation", ["list_items", "~", "*"])
def test_what_is_asked_of_a_service_at_large_is_no_operations(tmp_path, operation):
    """R60: whatever the operation is called."""
    given = {"services": {"service": {"operations": {operation: {"retry": {"max_attempts": 7}}}}}}
    for policies in (ResolvedSettings(given), LiveSettings(given, file=toml(tmp_path, ""))):
        for names, attempts in ((("service",), 3), (("service", operation), 7), (("identity", operation), 3)):
            assert policies.of(*names).retry.max_attempts == attempts
            (told,) = [row.value for row in policies.effective(*names) if row.name == "retry.max_attempts"]
            assert told == attempts


def test_settings_kept_ready_are_bounded():
    """Whatever names a program makes up."""
    policies = ResolvedSettings(LEVELS)
    for number in range(1100):
        assert policies.of("service", f"made-up-{number}").retry.base_delay_s == 0.3
    assert len(policies._cache) == 1024


def test_a_hosts_defaults_are_weaker_than_every_source(tmp_path):
    """R60: file, environment and constructor win value by value; an adapter's policy stays tunable."""
    file = tmp_path / "settings.toml"
    file.write_text("[services.service.retry]\nmax_attempts = 5\n")
    defaults = {"services": {"service": {"retry": {"max_attempts": 4, "base_delay_s": 0.5, "max_delay_s": 9}}}}
    environ = {"MOZAIKS_CONNECTORS_SERVICE__RETRY_MAX_DELAY_S": "7", "MOZAIKS_CONNECTORS_FILE": str(file)}
    live = LiveSettings(environ=environ, file=file, defaults=defaults)
    fixed = ResolvedSettings(environ=environ, file=file, defaults=defaults)
    for resolved in (live, fixed, ConnectorConfig.from_env(environ, defaults=defaults).policies):
        retry = resolved.of("service").retry
        assert retry.max_attempts == 5
        assert retry.base_delay_s == 0.5
        assert retry.max_delay_s == 7.0
        origins = {row.name: row.origin for row in resolved.effective("service")}
        assert origins["retry.base_delay_s"] == "the host's default: services.service.retry.base_delay_s"
        assert resolved.of("identity").retry == RetrySettings()
    own = ResolvedSettings({"services": {"service": {"retry": {"base_delay_s": 0.1}}}}, defaults=defaults)
    assert own.of("service").retry.base_delay_s == 0.1
    with pytest.raises(ConfigError, match=r"the host.s default: services\.service\.retry\.max_attempts"):
        ConnectorConfig.from_env({}, defaults={"services": {"service": {"retry": {"max_attempts": 99}}}})
