"""The HTTP client that all connectors use, and the helpers that a connector file imports with it."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from middleware import (
    CallError,
    ConfigError,
    InvalidArgumentError,
    ServerError,
    StackSettings,
    Telemetry,
    call_options,
)
from middleware.events import CallStarted, SettingsRejected, SettingsReloaded
from middleware.policies.retry import RetrySettings
from middleware.stack import SettingsChange
from runtime import __version__
from runtime.connectors.base import (
    PlatformHttpClient,
    any_copy,
    any_key,
    any_texts,
    check_base_url,
    subscription_is_active,
)
from runtime.testing import Reply, ScriptedUpstream, virtual_time

VISIBLE = "must be a text of visible ASCII characters"
ABSOLUTE = "must be an absolute http:// or https:// URL"
CREDENTIALS = "must not contain credentials"
HOST = "must have a host name of at most 253 characters, or an IP address"
BARE = "must not contain a query or a fragment"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("http://a", "http://a"),
        ("https://a.test:1/x//", "https://a.test:1/x"),
        (" http://a:65535/ \n", "http://a:65535"),
        ("HTTP://A/~x!/~/", "http://a/~x!/~"),
        ("HttpS://XN--BCHER-KVA.Example:0443/Path", "https://xn--bcher-kva.example:443/Path"),
        ("HTTP://[FE80::A%25Eth0]:8080//X", "http://[fe80::a%25Eth0]:8080//X"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://my_service-1.a1./x", "http://my_service-1.a1./x"),
        (
            f"http://{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}.",
            f"http://{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}.",
        ),
    ],
)
def test_a_base_url_is_taken_without_trailing_slashes(given, taken):
    """Blanks around it are removed, scheme and host become lower case, the path stays as it is."""
    assert check_base_url(given) == taken


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, VISIBLE),
        (b"http://a", VISIBLE),
        ("http://ä", VISIBLE),
        ("http://a b", VISIBLE),
        ("http://a\tb", VISIBLE),
        ("http://a\x7f", VISIBLE),
        ("", ABSOLUTE),
        ("a.test", ABSOLUTE),
        ("ftp://a", ABSOLUTE),
        ("http://", ABSOLUTE),
        ("http:///x", ABSOLUTE),
        ("http://me@a", CREDENTIALS),
        ("http://me:s3cret@a", CREDENTIALS),
        ("http://:s3cret@a", CREDENTIALS),
        ("http://@a", CREDENTIALS),
        ("http://a/?", BARE),
        ("http://a/?s3cret", BARE),
        ("http://a#", BARE),
        ("http://a/#?s3cret", BARE),
        ("http://a:0", "must have a port between 1 and 65535"),
        ("http://a:65536", "must have a valid host, and a port between 1 and 65535"),
        ("http://a:b", "must have a valid host, and a port between 1 and 65535"),
        ("http://[::1", "must have a valid host, and a port between 1 and 65535"),
        *(
            (f"http://{host}/x", HOST)
            for host in ("a..b", ".a", "-a", "a-.b", "*.a", "a%41", "a" * 64, "a." * 127 + "a")
        ),
        *((f"http://{host}", HOST) for host in ("1.2.3", "256.1.1.1", "010.1.1.1", "0x7f.0x1", "a.1", "1.2.3.4.")),
        ("http://[v1.a]/x", HOST),
    ],
)
def test_a_base_url_that_cannot_be_used_is_not_shown(given, problem):
    """The error names the setting and does not quote the value."""
    with pytest.raises(ConfigError) as caught:
        check_base_url(given, name="gateway_base_url")
    assert caught.value.problems == (f"gateway_base_url: {problem}",)
    with pytest.raises(ConfigError) as caught:
        PlatformHttpClient(given)
    assert caught.value.problems == (f"base_url: {problem}",)


class Unwilling:
    """Cannot be copied, nor shown."""

    def __deepcopy__(self, memo):
        raise ZeroDivisionError

    def __repr__(self):
        raise ZeroDivisionError


def test_mocks_copy_what_can_be_copied():
    """A value that cannot be copied is returned itself."""
    value, lock, unwilling = {"a": [1]}, threading.Lock(), Unwilling()
    copy = any_copy(value)
    assert copy == value
    assert copy["a"] is not value["a"]
    assert any_copy(lock) is lock
    assert any_copy(unwilling) is unwilling


def test_mocks_take_any_key():
    """A string is returned itself; any other object has a string of its own."""
    unwilling, other = Unwilling(), Unwilling()
    assert any_key("a") == "a"
    assert "Unwilling object at" in any_key(unwilling)
    assert any_key(unwilling) != any_key(other)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_mocks_take_any_texts(kind):
    """Any collection is converted to a list of strings, anything else to an empty list."""
    assert any_texts(kind(["a"])) == ["a"]
    assert any_texts(kind([7])) == [object.__repr__(7)]
    assert [any_texts(value) for value in ("a", b"a", 7, None, {"a": 1}, iter("a"))] == [[]] * 6


VERBS = ["get", "post", "put", "patch", "delete"]


@pytest.mark.parametrize("verb", VERBS)
@virtual_time
async def test_each_verb_gives_the_document(verb):
    """Each verb returns the document; without an operation, or with an empty one, the verb is the operation."""
    upstream = ScriptedUpstream([{"a": 1}, 500], then=500)
    client = upstream.client(retry={"max_attempts": 1})
    assert await getattr(client, verb)("/r", path_params={}) == {"a": 1}
    for arguments, operation in (({}, verb), ({"operation": ""}, verb), ({"operation": "op"}, "op")):
        with pytest.raises(ServerError) as caught:
            await getattr(client, verb)("/r", path_params={}, **arguments)
        assert caught.value.operation == operation
        assert caught.value.route == "/r"
        assert caught.value.service == "service"
    assert {request.method for request in upstream.requests} == {verb.upper()}


@virtual_time
async def test_every_argument_of_a_call_arrives():
    """Path, query, body, token, correlation id and decoding."""
    upstream = ScriptedUpstream([], then={"a": 1})
    found = await upstream.client().post(
        "/r/{id}",
        path_params={"id": "x y"},
        params={"q": 1},
        json_body={"b": 2},
        user_jwt="token",
        correlation_id="c-1",
        decode=lambda document: document["a"] + 1,
    )
    (seen,) = upstream.requests
    assert (found, seen.method, seen.path, seen.query, seen.json) == (2, "POST", "/r/x y", "q=1", {"b": 2})
    assert seen.headers["authorization"] == "Bearer token"
    assert seen.headers["x-correlation-id"] == "c-1"


@virtual_time
async def test_every_request_says_who_it_is_and_what_it_reads():
    """Each request has the constant headers."""
    upstream = ScriptedUpstream([], then=200)
    await upstream.client().get("/r")
    headers = upstream.requests[0].headers
    assert headers["accept"] == "application/json"
    assert headers["accept-encoding"] == "gzip"
    assert headers["user-agent"] == f"mozaiks-connector-runtime/{__version__}"


@pytest.mark.parametrize(
    ("method", "attempts"),
    [("GET", 2), ("head", 2), ("PUT", 2), ("DELETE", 2), ("OPTIONS", 2), ("POST", 1), ("PATCH", 1)],
)
@virtual_time
async def test_what_is_harmless_to_repeat_goes_by_the_method(method, attempts):
    """R11: the method decides, in upper or lower case, unless the connector declares it."""
    upstream = ScriptedUpstream([], then=500)
    client = upstream.client(retry={"max_attempts": 2})
    for arguments, expected in (({}, attempts), ({"idempotent": True}, 2), ({"idempotent": False}, 1)):
        with pytest.raises(ServerError) as caught:
            await client.request(method, "/r", path_params={}, **arguments)
        assert caught.value.attempts == expected
    assert {request.method for request in upstream.requests} == {method.upper()}


@pytest.mark.parametrize(
    ("arguments", "reason", "operation"),
    [
        ({"operation": 7}, "operation: must be str", "get"),
        ({"operation": 7, "problem": "x: wrong"}, "operation: must be str", "get"),
        ({"operation": "op", "problem": "x: wrong"}, "x: wrong", "op"),
    ],
)
@virtual_time
async def test_a_problem_with_the_arguments_is_the_calls(arguments, reason, operation):
    """The call fails with InvalidArgumentError, and nothing is sent."""
    upstream = ScriptedUpstream([])
    with pytest.raises(InvalidArgumentError) as caught:
        await upstream.client().get("/r", **arguments)
    assert caught.value.reason == reason
    assert caught.value.operation == operation
    assert caught.value.route == "other"
    upstream.assert_count(0)


@virtual_time
async def test_an_argument_that_does_not_exist_is_a_type_error():
    """As with any function; the error names the first one in alphabetical order."""
    with pytest.raises(TypeError) as caught:
        await ScriptedUpstream([]).client().get("/r", b=1, a=1)
    assert str(caught.value) == "request() got an unexpected keyword argument 'a'"


@virtual_time
async def test_the_callers_options_lower_the_attempts_alone():
    """R40: call options lower the number of attempts and never raise it."""
    upstream = ScriptedUpstream([], then=500)
    client = upstream.client(retry={"max_attempts": 2})
    for asked, attempts in ((None, 2), (1, 1), (5, 2)):
        with call_options(max_attempts=asked), pytest.raises(ServerError) as caught:
            await client.get("/r")
        assert caught.value.attempts == attempts


@virtual_time
async def test_a_failed_call_keeps_nothing_of_what_it_carried():
    """R52: no frame of the error keeps it, and the caller's own objects are not changed."""
    carried, upstream = {"name": "s3cret"}, ScriptedUpstream([], then=400)
    client = upstream.client()
    calls = [
        client.post,
        client.put,
        client.patch,
        client.get,
        client.delete,
        lambda *a, **b: client.request("GET", *a, **b),
    ]
    for call in calls:
        with pytest.raises(CallError) as caught:
            await call("/r", params=carried)
        trace, kept = caught.value.__traceback__, []
        while trace is not None:
            if trace.tb_frame.f_code.co_filename != __file__:
                kept += [name for name, value in trace.tb_frame.f_locals.items() if "s3cret" in repr(value)]
                kept += [name for name, value in trace.tb_frame.f_locals.items() if getattr(value, "params", None)]
            trace = trace.tb_next
        assert kept == []
    assert carried == {"name": "s3cret"}


class Source:
    """A settings source with scripted changes; records what it is asked for."""

    def __init__(self, *changes):
        self.changes = list(changes)
        self.asked = []

    def of(self, service, operation=""):
        self.asked.append((service, operation))
        return replace(StackSettings(), retry=RetrySettings(max_attempts=len(operation) or 1))

    def poll(self, _now):
        return self.changes.pop(0) if self.changes else None


@virtual_time
async def test_settings_are_asked_for_by_service_and_operation():
    """R60: without an operation, the settings of the service as a whole."""
    source, upstream = Source(), ScriptedUpstream([], then=500)
    client = upstream.client(service="svc", policies=source)
    assert client.policy().retry.max_attempts == 1
    assert client.policy("four").retry.max_attempts == 4
    assert set(source.asked) == {("svc", ""), ("svc", "four")}
    with pytest.raises(ServerError) as caught:
        await client.get("/r", operation="op")
    assert caught.value.attempts == 2


@virtual_time
async def test_a_change_of_the_settings_is_reported_with_the_call_that_found_it():
    """R61: the event lists what came into force, or what is wrong."""
    events = []
    source = Source(None, SettingsChange(changes=("a: 1 -> 2",)), SettingsChange(problems=("b: wrong",)))
    upstream = ScriptedUpstream([], then=200)
    client = upstream.client(policies=source, telemetry=Telemetry(listener=events.append))
    for number in range(3):
        await client.get("/r", correlation_id=f"c-{number}")
    reported = [event for event in events if isinstance(event, SettingsReloaded | SettingsRejected | CallStarted)]
    assert [(type(event), event.call.correlation_id) for event in reported] == [
        (CallStarted, "c-0"),
        (SettingsReloaded, "c-1"),
        (CallStarted, "c-1"),
        (SettingsRejected, "c-2"),
        (CallStarted, "c-2"),
    ]
    assert reported[1].changes == ("a: 1 -> 2",)
    assert reported[3].problems == ("b: wrong",)


def test_the_repr_of_a_client_has_no_key():
    """It shows service and URL; the default service is `platform`."""
    client = PlatformHttpClient("http://a.test/x/", "s3cretkey")
    assert client.base_url == "http://a.test/x"
    assert client.service == "platform"
    assert repr(client) == "<PlatformHttpClient platform at http://a.test/x>"
    assert client.policy() == StackSettings()
    given = StackSettings(retry=RetrySettings(max_attempts=1))
    assert PlatformHttpClient("http://a.test", policies=given).policy("any") is given


class Closable:
    """A transport that counts how often it is closed."""

    closed = 0

    async def aclose(self):
        self.closed += 1


async def test_a_shared_transport_stays_open(monkeypatch):
    """A client's own transport is closed with it, also by the `with` block."""
    shared, own = Closable(), Closable()
    client = PlatformHttpClient("http://a.test", transport=shared)
    async with client as entered:
        assert entered is client
    await client.aclose()
    assert shared.closed == 0
    monkeypatch.setattr("middleware.transports.registry.make_transport", lambda _config, _clock: own)
    client = PlatformHttpClient("http://a.test")
    async with client:
        assert own.closed == 0
    assert own.closed == 1
    await client.aclose()
    assert own.closed == 2


@virtual_time
async def test_a_url_is_all_that_a_client_needs():
    """Clock, randomness and telemetry have defaults: a retry works."""
    upstream = ScriptedUpstream([Reply(status=503, headers={"retry-after": "0"}), 200])
    response = await PlatformHttpClient("http://a.test", transport=upstream).request("GET", "/r")
    assert response.status == 200
    assert response.outcome.attempts == 2


@pytest.mark.parametrize(("seconds", "active"), [(-1, False), (0, False), (1, True)])
def test_the_period_ends_at_its_end(seconds, active):
    """At that moment a canceled subscription is closed."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    end = now + timedelta(seconds=seconds)
    assert subscription_is_active("canceled", period_end=end, ends_later=None, now=now) is active
