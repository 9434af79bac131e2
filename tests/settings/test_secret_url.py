"""A setting whose value has a password: wherever settings are shown, it is not."""

import json
import pickle
from dataclasses import asdict

import pytest

from middleware import ConfigError, StackSettings
from middleware.policies.quota import QuotaSettings
from middleware.settings import SecretUrl, hash_of
from runtime.cli.config import main
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.settings import LiveSettings, ResolvedSettings

URL = "redis://app:s3cret@cache:6379/0"
MANAGED = {"MOZAIKS_MANAGED": "true", "MOZAIKS_GATEWAY_BASE_URL": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        (URL, "redis://***@cache:6379/0"),
        ("redis://:s3c/r@t@cache/0", "redis://***@cache/0"),
        ("redis+sentinel://u:s3cret@one:1,two:2/name", "redis+sentinel://***@one:1,two:2/name"),
        ("redis://cache/0?password=s3cret", "redis://cache/0?***"),
        ("s3cret", "***"),
        ("s3cret:x://", "***"),
    ],
)
def test_what_is_shown_of_a_url(url, shown):
    """R75: enough to see which server it is."""
    one = SecretUrl(url)
    assert (str(one), f"{one}", repr(one)) == (shown, shown, repr(shown))
    assert (one.reveal(), bool(one), one == SecretUrl(url), pickle.loads(pickle.dumps(one))) == (
        url,
        bool(url),
        True,
        one,
    )


@pytest.fixture(params=["environment", "file", "constructor"])
def settings(request, tmp_path):
    """The URL, from each source."""
    quota = {"per_second": 5, "replicas": 2, "url": URL}
    if request.param == "constructor":
        return ResolvedSettings({"quota": quota})
    if request.param == "environment":
        return ResolvedSettings(
            environ={f"MOZAIKS_CONNECTORS_QUOTA_{name.upper()}": str(v) for name, v in quota.items()}
        )
    file = tmp_path / "settings.toml"
    file.write_text(f'[quota]\nper_second = 5\nreplicas = 2\nurl = "{URL}"\n')
    return LiveSettings(file=file)


def test_no_listing_has_the_password(settings):
    """R75: neither of settings and departures nor of the policy; what connects has it."""
    config = settings.of("identity")
    assert config.quota.url.reveal() == URL
    listings = [repr(config), settings.policy(), settings.effective("identity"), settings.departures(), config.values()]
    listings += [asdict(config.quota), settings.hashes()]
    assert "s3cret" not in repr(listings)
    assert json.loads(json.dumps(settings.policy()))["quota.url"] == "redis://***@cache:6379/0"


def test_the_hash_says_nothing_about_the_password():
    """R75: eight digits would be enough to check a guess."""
    one, other = (hash_of([("quota.url", SecretUrl(f"redis://:{word}@cache"))]) for word in ("one", "other"))
    assert one == other
    assert one != hash_of([("quota.url", SecretUrl("redis://:one@elsewhere"))])


def test_a_value_of_another_type_is_an_error():
    """In the words of the file."""
    with pytest.raises(ConfigError, match=r"constructor: quota.url: must be str, got 5"):
        ResolvedSettings({"quota": {"url": 5}})


def test_a_wrong_url_is_named_by_its_place_and_not_shown(monkeypatch):
    """R75: when the bundle is loaded, by the variable."""
    variable = "MOZAIKS_CONNECTORS_IDENTITY__QUOTA_URL"
    environ = {**MANAGED, "MOZAIKS_CONNECTORS_QUOTA_PER_SECOND": "5", variable: "redis://:s3cret@host:port/0"}
    with pytest.raises(ConfigError) as caught:
        load_connectors(ConnectorConfig.from_env(environ))
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [variable]
    assert "s3cret" not in str(caught.value)


def test_the_commands_do_not_print_it(monkeypatch, capsys):
    """R75: `config`, as text and as JSON."""
    for name, value in {**MANAGED, "MOZAIKS_CONNECTORS_QUOTA_URL": URL}.items():
        monkeypatch.setenv(name, value)
    for command in (["identity"], ["identity", "--json"], ["show", "--json"]):
        assert main(command) == 0
    printed = capsys.readouterr()
    assert "redis://***@cache:6379/0" in printed.out
    assert "s3cret" not in printed.out + printed.err


def test_health_does_not_have_it():
    """R75: the status page is made from it."""
    settings = ResolvedSettings({"quota": {"url": URL}})
    client = PlatformHttpClient("http://127.0.0.1:1", service="identity", policies=settings)
    assert "s3cret" not in json.dumps(client.health().to_json())


def test_a_reload_that_changes_it_is_rejected(tmp_path):
    """R61, R75: connections are made once; the other values of a quota follow the file."""
    file = tmp_path / "settings.toml"
    file.write_text(f'[quota]\nper_second = 5\nurl = "{URL}"\n')
    live = LiveSettings(file=file, wall_clock=lambda: 1e12)
    file.write_text('[quota]\nper_second = 5\nurl = "redis://:0ther@elsewhere"\n')
    change = live.poll(10)
    assert [problem.partition(": ")[2] for problem in change.problems] == [
        "quota.url: redis://***@cache:6379/0 -> redis://***@elsewhere: needs a restart, nothing was changed"
    ]
    file.write_text(f'[quota]\nper_second = 6\nurl = "{URL}"\n')
    assert live.poll(20).changes == ("quota.per_second: 5 -> 6",)


def test_a_reload_that_switches_a_quota_on_needs_the_connections_of_the_start(tmp_path):
    """R61, R70: else each process would keep to its share; one that was on at the start is switched off and on."""
    file, environ = tmp_path / "settings.toml", {"MOZAIKS_CONNECTORS_IDENTITY__QUOTA_URL": URL}
    on, off = "[quota]\nper_second = 5\n", "[quota]\nper_second = 0\n"
    file.write_text(off)
    live = LiveSettings(file=file, environ=environ, wall_clock=lambda: 1e12)
    file.write_text(on)
    assert [problem.partition(": ")[2] for problem in live.poll(10).problems] == [
        "quota.per_second: 0 -> 5: needs a restart, nothing was changed"
    ]
    elsewhere = "[services.hosting.quota]\nper_second = 5\n"
    file.write_text(off + elsewhere)  # it has no server, so nothing is made
    assert live.poll(20).changes == ("hosting.quota.per_second: 0 (all services) -> 5",)
    file.write_text(on)
    live = LiveSettings(file=file, environ=environ, wall_clock=lambda: 1e12)
    file.write_text(off)
    assert live.poll(10).changes == ("quota.per_second: 5 -> 0",)
    file.write_text(on)
    assert live.poll(20).changes == ("quota.per_second: 0 -> 5",)


def test_a_settings_object_takes_a_text():
    """As every other setting that is a text."""
    assert QuotaSettings(url=URL).url == SecretUrl(URL)
    assert StackSettings().quota.url == SecretUrl()
