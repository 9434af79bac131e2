"""The proxies of the environment: which are read, and which a URL needs."""

import pytest

from middleware.errors import ConfigError
from middleware.transports.proxies import env_proxies, proxy_for
from middleware.transports.transport_settings import TransportSettings


@pytest.mark.parametrize(
    ("variables", "proxies"),
    [
        ({}, {}),
        ({"http_proxy": "http://one:1"}, {"http": "http://one:1"}),
        ({"https_proxy": "https://two:3128"}, {"https": "https://two:3128"}),
        ({"all_proxy": "three:8080"}, {"http": "http://three:8080", "https": "http://three:8080"}),
        ({"all_proxy": "http://all", "http_proxy": "http://one"}, {"http": "http://one", "https": "http://all"}),
    ],
)
def test_proxies_of_the_environment_by_scheme(environment, variables, proxies):
    """Where they are asked for; without a scheme, one is an HTTP proxy."""
    for name, value in variables.items():
        environment.setenv(name, value)
    assert env_proxies(TransportSettings(trust_env=True)) == proxies
    assert env_proxies(TransportSettings()) == {}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxy", ["socks5://one:1", "http://one:0", "http://one:port", "http://", "http://[::"])
def test_what_is_no_http_proxy_is_named_by_its_scheme(environment, scheme, proxy):
    """And not shown."""
    environment.setenv(f"{scheme}_proxy", proxy)
    with pytest.raises(ConfigError) as caught:
        env_proxies(TransportSettings(trust_env=True))
    reason = f"TransportSettings.trust_env: the environment's proxy for {scheme} is not an http(s) URL"
    assert str(caught.value) == reason


def test_a_proxy_is_for_its_scheme_and_not_for_what_is_excepted(environment):
    """NO_PROXY is heeded when a connection is made."""
    proxies = {"http": "http://one:1"}
    environment.setenv("no_proxy", "inside.test,other.test:81")
    assert proxy_for(proxies, "http://outside.test") == "http://one:1"
    assert proxy_for(proxies, "https://outside.test") is None
    assert proxy_for(proxies, "http://inside.test:80") is None
    assert proxy_for(proxies, "http://other.test:81") is None
    assert proxy_for(proxies, "http://other.test:82") == "http://one:1"
