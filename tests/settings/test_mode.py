"""Which mode the environment asks for, and why."""

import pytest

from middleware import ConfigError
from runtime.connectors.loader import (
    ConnectorConfig,
    get_connectors,
    is_managed_mode,
    load_connectors,
    reset_connectors,
)

URL = "http://gateway.test/base"


@pytest.mark.parametrize(
    ("mode", "managed", "url", "expected"),
    [
        (None, None, None, False),
        (None, None, URL, False),
        (None, "true", None, False),
        (None, "true", URL, True),
        ("hosted", None, URL, True),
        ("hosted", "false", URL, True),
        ("hosted", "true", None, False),
        ("hosted", "true", "  ", False),
        ("self_host", "true", URL, True),
        ("self_host", None, URL, False),
        (" HOSTED ", None, URL, True),
        (None, " Yes ", URL, True),
        (None, "on", URL, True),
        (None, "y", URL, True),
        (None, "1", URL, True),
        (None, "off", URL, False),
        ("", "", URL, False),
        ("self_hosted", "0", URL, False),
        (" Self_Hosted ", " N ", URL, False),
        ("self_host", "FALSE", URL, False),
        (None, "no", None, False),
    ],
)
def test_managed_mode_needs_a_switch_and_a_url(no_settings, mode, managed, url, expected):
    """Either switch is enough; without the URL the mode is self-hosted."""
    given = {"MOZAIKS_HOSTING_MODE": mode, "MOZAIKS_MANAGED": managed, "MOZAIKS_GATEWAY_BASE_URL": url}
    for name, value in given.items():
        if value is not None:
            no_settings.setenv(name, value)
    assert is_managed_mode() is expected
    assert load_connectors().mode == ("managed" if expected else "self_hosted")


WORDS = "must be 1, true, yes, y, on, 0, false, no, n, off or empty"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("MOZAIKS_MANAGED", "ture", f"{WORDS}, got 'ture'"),
        ("MOZAIKS_MANAGED", " 2 ", f"{WORDS}, got '2'"),
        ("MOZAIKS_MANAGED", "hosted", f"{WORDS}, got 'hosted'"),
        ("MOZAIKS_MANAGED", "x" * 200, f"{WORDS}, got 200 characters"),
        ("MOZAIKS_MANAGED", "moz_live_0123456789", f"{WORDS}, got 19 characters"),
        ("MOZAIKS_HOSTING_MODE", "host", "must be hosted, self_host, self_hosted or empty, got 'host'"),
        ("MOZAIKS_HOSTING_MODE", "true", "must be hosted, self_host, self_hosted or empty, got 'true'"),
        ("MOZAIKS_CONNECTORS_REQUIRE_MANAGED", "maybe", f"{WORDS}, got 'maybe'"),
    ],
)
def test_any_other_word_is_an_error(no_settings, caplog, name, value, problem):
    """A typo must not make every user an admin; `is_managed_mode` never raises, and logs the problem once."""
    no_settings.setenv("MOZAIKS_HOSTING_MODE", "hosted")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", URL)
    no_settings.setenv(name, value)
    for load in (load_connectors, get_connectors, ConnectorConfig.from_env):
        with pytest.raises(ConfigError) as caught:
            load()
        assert caught.value.problems == (f"{name}: {problem}",)
    assert caplog.records == []
    assert [is_managed_mode() for _ in range(3)] == [False] * 3
    assert lines(caplog) == [("WARNING", f"mode.unreadable {name}: {problem}")]
    no_settings.setenv(name, "another")
    assert [is_managed_mode() for _ in range(3)] == [False] * 3
    assert len(caplog.records) == 2


def lines(caplog):
    """Return the log records of the mode."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "mozaiks.mode"]


HOSTED = "MOZAIKS_HOSTING_MODE is hosted"


ON = "MOZAIKS_MANAGED is on"


NEITHER = "neither MOZAIKS_HOSTING_MODE nor MOZAIKS_MANAGED switches managed mode on"


NO_URL = "but MOZAIKS_GATEWAY_BASE_URL is not set"


SET = "and MOZAIKS_GATEWAY_BASE_URL is set"


@pytest.mark.parametrize(
    ("hosting_mode", "managed", "url", "reason", "warns"),
    [
        ("", "", "", NEITHER, False),
        ("self_host", "no", URL, NEITHER, False),
        ("", "true", "", f"{ON}, {NO_URL}", True),
        ("hosted", "", " ", f"{HOSTED}, {NO_URL}", True),
        ("hosted", "1", "", f"{HOSTED} and {ON}, {NO_URL}", True),
        ("", "true", URL, f"{ON}, {SET}", False),
        ("hosted", "0", URL, f"{HOSTED}, {SET}", False),
        ("self_host", "true", URL, f"{ON}, {SET}", False),
    ],
)
def test_the_bundle_says_why_it_has_its_mode(no_settings, caplog, hosting_mode, managed, url, reason, warns):
    """A switch without a URL is logged, once per bundle and not per load."""
    no_settings.setenv("MOZAIKS_HOSTING_MODE", hosting_mode)
    no_settings.setenv("MOZAIKS_MANAGED", managed)
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", url)
    assert [load_connectors().mode_reason for _ in range(3)] == [reason] * 3
    expected = [("WARNING", f"mode.self_hosted {reason}")] if warns else []
    assert lines(caplog) == expected
    assert all((record.event, record.reason) == ("mode.self_hosted", reason) for record in caplog.records)
    reset_connectors()
    load_connectors()
    assert lines(caplog) == expected * 2
    is_managed_mode()
    assert lines(caplog) == expected * 2


def test_a_mode_that_the_program_chose_says_so(caplog):
    """By its config, in which the environment has no part."""
    assert "ConnectorConfig(managed_mode=False)" in load_connectors(ConnectorConfig()).mode_reason
    config = ConnectorConfig(managed_mode=True, gateway_base_url=URL)
    assert "ConnectorConfig(managed_mode=True)" in load_connectors(config).mode_reason
    assert lines(caplog) == []
