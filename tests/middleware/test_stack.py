"""The stack with default settings."""

from dataclasses import asdict

from middleware import StackSettings

DEFAULTS = {
    "deadline": {"total_s": 25.0},
    "calls": {"max_in_flight": 1000},
    "idempotency": {"honors_key": False},
    "hedging": {"max_hedges": 0, "delay_s": 2.0},
    "bulkhead": {"permits": 100, "queue": 900, "adaptive": False},
    "rate_limit": {"per_second": 0.0, "burst": 10},
    "attempt": {"timeout_s": 10.0, "announce": False},
    "correlation": {"verify_echo": True},
    "path": {"allow_slash": False},
    "transport": {
        "library": "auto",
        "connect_timeout_s": 5.0,
        "max_response_bytes": 8_388_608,
        "max_header_bytes": 65_536,
        "keepalive_expiry_s": 5.0,
        "connection_lifetime_s": 300.0,
        "dns_cache_s": 5.0,
        "ca_file": "",
        "client_certificate_file": "",
        "client_key_file": "",
        "trust_env": False,
    },
}


def test_the_settings_where_nothing_is_set():
    """A changed default changes every client: it is no detail."""
    config = StackSettings()
    found = {name: asdict(getattr(config, name)) for name in DEFAULTS}
    assert found == DEFAULTS
    assert set(config.by_type) == {
        type(getattr(config, name)) for name in (*DEFAULTS, "retry", "budget", "circuit_breaker")
    }
    assert "by_type" not in repr(config)
    assert (config == StackSettings(), hash(config)) == (True, hash(StackSettings()))
