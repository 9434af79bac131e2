"""The stack with default settings."""

import asyncio
from dataclasses import asdict

import pytest
from layer_support import a_request

from middleware import StackSettings, stack
from middleware.policies.hedging import HedgingMiddleware, HedgingSettings
from middleware.policies.quota import QuotaMiddleware
from middleware.policies.rate_limit import RateLimitMiddleware
from middleware.settings import SecretUrl
from middleware.types import PlatformResponse
from runtime.testing import ScriptedUpstream, run_virtual

DEFAULTS = {
    "deadline": {"total_s": 25.0},
    "calls": {"max_in_flight": 1000},
    "idempotency": {"honors_key": False},
    "hedging": {"max_hedges": 0, "delay_s": 2.0},
    "bulkhead": {"permits": 100, "queue": 900, "adaptive": False},
    "rate_limit": {"per_second": 0.0, "burst": 10},
    "quota": {"per_second": 0.0, "burst": 20, "replicas": 1, "local_burst": 0, "url": SecretUrl()},
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


@pytest.mark.parametrize(
    ("layer", "method", "sections"),
    [
        (HedgingMiddleware, "__call__", {"hedging": {"max_hedges": 1}}),
        (RateLimitMiddleware, "enter", {"rate_limit": {"per_second": 100.0}}),
        (QuotaMiddleware, "enter", {"quota": {"per_second": 100.0}}),
    ],
    ids=["hedging", "rate limit", "quota"],
)
def test_an_opt_in_layer_is_run_where_its_settings_have_it_on(monkeypatch, layer, method, sections):
    """It is listed in any case; by settings that have it off, no call runs through it."""
    runs, original = [], getattr(layer, method)
    monkeypatch.setattr(layer, method, lambda self, *args: runs.append(self) or original(self, *args))

    async def scenario(**settings):
        client = ScriptedUpstream([], then=200).client(**settings)
        await client.get("/r", path_params={})
        return client.describe()

    assert run_virtual(scenario()) == run_virtual(scenario(**sections))
    assert len(runs) == 1


def test_snapshots_that_need_the_same_layers_share_what_is_composed(monkeypatch):
    """A file that is reloaded every few seconds must not leave a stack behind each time."""
    made = []
    compose = stack.compose
    monkeypatch.setattr(stack, "compose", lambda layers, terminal: made.append(layers) or compose(layers, terminal))

    class Optional:
        def is_needed(self, settings):
            return bool(settings(HedgingSettings).max_hedges)

        async def __call__(self, request, call_next):
            return await call_next(request)

    async def terminal(_request):
        return PlatformResponse(status=200)

    async def scenario():
        for n in range(100):
            await handle(a_request(settings=[HedgingSettings(max_hedges=n % 2, delay_s=1 + n)]))

    optional = Optional()
    handle = stack._per_snapshot([optional], terminal)
    asyncio.run(scenario())
    assert made == [[], [optional]]


def test_each_snapshot_has_a_stack_of_its_own():
    """A reload applies to the calls that begin after it, and only so many snapshots are kept."""
    composed, made = [], []

    class Optional:
        def is_needed(self, settings):
            made.append(settings(HedgingSettings).max_hedges)
            return True

        async def __call__(self, request, call_next):
            return await call_next(request)

    async def terminal(request):
        composed.append(request.call.settings(HedgingSettings).max_hedges)
        return PlatformResponse(status=200)

    handle = stack._per_snapshot([Optional()], terminal)
    many = [a_request(settings=[HedgingSettings(max_hedges=n % 6)]) for n in range(stack._MOST_SNAPSHOTS + 1)]

    async def scenario():
        for request in (*many, many[-1], many[0]):
            await handle(request)

    asyncio.run(scenario())
    assert composed == [n % 6 for n in range(len(many))] + [composed[len(many) - 1], 0]
    assert len(made) == len(many) + 1  # that of the first was dropped, that of the last is known
