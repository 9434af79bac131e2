"""Settings from the environment."""

from dataclasses import fields
from pathlib import Path

import pytest

from middleware import ConfigError, StackConfig
from middleware.retry import RetryConfig
from runtime.config import policies_from_env, settings, settings_table

SERVICES = ("identity", "service")


def read(**variables):
    return policies_from_env({f"MOZAIKS_CONNECTORS_{name}": value for name, value in variables.items()}, SERVICES)


def test_every_setting_can_be_set_from_the_environment():
    """Names are derived; nothing is left out."""
    for row in settings():
        kind, default = row.setting.type, row.setting.default
        if kind is str:
            text = row.setting.knob.choices[-1] if row.setting.knob.choices else "/some/file.pem"
        elif kind is bool:
            text = str(not default)
        else:
            text = str(default + 1 if kind is int else default * 1.01 or 0.5)
        if row.setting.knob.le is not None and float(text) > row.setting.knob.le:
            text = str(default)
        found = getattr(getattr(read(**{row.name: text}).default, row.section), row.setting.name)
        assert str(found).lower() == text.lower() or float(found) == pytest.approx(float(text)), row.name


def test_a_text_is_one_of_its_choices():
    """Anything else is told with what may be chosen."""
    with pytest.raises(ConfigError, match=r"TRANSPORT_LIBRARY: must be one of httpcore, aiohttp, got 'curl'"):
        read(TRANSPORT_LIBRARY="curl")


def test_each_section_is_listed():
    """A policy without a setting would be out of the user's reach."""
    assert {row.section for row in settings()} == {field.name for field in fields(StackConfig)}


def test_a_services_own_setting_wins():
    """Others keep the general one."""
    policies = read(RETRY_MAX_ATTEMPTS="2", IDENTITY__RETRY_MAX_ATTEMPTS="5")
    assert policies.of("identity").retry.max_attempts == 5
    assert policies.of("service").retry.max_attempts == 2


@pytest.mark.parametrize(("text", "value"), [("true", True), ("YES", True), ("0", False), ("off", False)])
def test_switches_read_the_usual_words(text, value):
    """As the core's own switches do."""
    assert read(BUDGET_ENABLED=text).default.budget.enabled is value


def test_a_blank_value_is_unset():
    """An empty variable of a compose file changes nothing."""
    assert read(RETRY_MAX_ATTEMPTS=" ").default == StackConfig()


def test_every_problem_is_told_at_once():
    """Each by its variable, with what was expected; a typo gets a suggestion."""
    with pytest.raises(ConfigError) as caught:
        read(
            RETRY_MAX_ATTEMPTS="0",
            BUDGET_RATIO="much",
            BUDGET_ENABLED="maybe",
            RETRY_MAX_ATEMPTS="3",
            NOBODY__RETRY_MAX_ATTEMPTS="3",
        )
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    assert "MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS: must be >= 1, got 0" in text
    assert "MOZAIKS_CONNECTORS_BUDGET_RATIO: must be a number, got 'much'" in text
    assert "MOZAIKS_CONNECTORS_BUDGET_ENABLED: must be true or false" in text
    assert (
        "MOZAIKS_CONNECTORS_RETRY_MAX_ATEMPTS: no such setting; did you mean MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS?"
        in text
    )


@pytest.mark.parametrize("value", [0, 11, True, 2.5, "3", None, float("nan")])
def test_a_settings_dataclass_checks_itself(value):
    """A value set in code is held to the same bounds."""
    with pytest.raises(ConfigError, match=r"RetryConfig\.max_attempts"):
        RetryConfig(max_attempts=value)


def test_the_readmes_table_is_derived():
    """The table that users read is the one the code makes."""
    assert settings_table() in (Path(__file__).parent.parent / "README.md").read_text()
