"""Layers of the host's own: where they are, what they may do, and what the rest of the stack keeps whatever they do."""

import asyncio
from dataclasses import replace
from functools import partial

import anyio
import httpx
import pytest
from test_secrets import KEY, TOKEN, leaks_of

from middleware import (
    CallError,
    CallState,
    CircuitOpenError,
    ConfigError,
    DeadlineExceededError,
    DecodeError,
    HostLayers,
    InternalError,
    InvalidArgumentError,
    LocalRejectionError,
    NotFoundError,
    PlatformResponse,
    RequestNotSentError,
    ResponseLostError,
    ServerError,
    Telemetry,
)
from middleware.events import AttemptFinished, CallFinished
from runtime.connectors.base import PlatformHttpClient
from runtime.testing import LoopClock, Reply, ScriptedUpstream, virtual_time

PLACES = ["call", "attempt"]


class QuotaError(LocalRejectionError):
    """A rejection of the host's own."""

    code = "QUOTA"


def layers(place, *own):
    return HostLayers(**{place: own})


def client_of(upstream, middleware, **options):
    return upstream.client(middleware=middleware, **options)


async def error_of(client, method="get", **arguments):
    try:
        with pytest.raises(CallError) as caught:
            await getattr(client, method)("/api/items", path_params={}, **arguments)
        return caught.value
    finally:
        arguments.clear()  # this frame is in the traceback too


async def passes(request, call_next):
    return await call_next(request)


class Adds:
    """Adds its letter to a header, and notes what it sees."""

    def __init__(self, letter):
        self.letter = letter
        self.seen = []

    async def __call__(self, request, call_next):
        request.headers["x-order"] = request.headers.get("x-order", "") + self.letter
        self.seen.append((request.target, request.content, dict(request.headers)))
        return await call_next(request)


@virtual_time
async def test_layers_run_at_their_place_in_their_order():
    """Around the call once, around each attempt each time, each place's first outermost."""
    upstream = ScriptedUpstream([503, {"ok": True}])
    a, b, c, d = map(Adds, "abcd")
    client = client_of(upstream, HostLayers(call=[a, b], attempt=(c, d)))
    assert await client.put("/api/items/{id}", path_params={"id": "ä"}, json_body={"n": 1}) == {"ok": True}
    assert [seen.headers["x-order"] for seen in upstream.requests] == ["abcd", "abcd"]
    assert [len(layer.seen) for layer in (a, b, c, d)] == [1, 1, 2, 2]
    target, content, headers = a.seen[0]
    assert target == "/api/items/%C3%A4"
    assert content == b'{"n":1}'
    assert headers["x-correlation-id"] == upstream.requests[0].headers["x-correlation-id"]


@virtual_time
async def test_an_attempt_layer_sees_what_goes_on_the_wire():
    """Every header that the platform reads, but those of the connection itself; the call's layer sees the credentials."""
    upstream = ScriptedUpstream([{}])
    layer, at_call = Adds("a"), []

    async def notes(request, call_next):
        at_call.append((request.user_jwt, request.app_key, request.call.info.service, request.call.info.base_url))
        return await call_next(request)

    client = PlatformHttpClient(
        "http://platform.test/base/",
        KEY,
        service="svc",
        transport=upstream,
        clock=LoopClock(),
        middleware=HostLayers(call=[notes], attempt=[layer]),
    )
    await client.post("/api/items", user_jwt=TOKEN, json_body={"n": 1})
    seen, wire = layer.seen[0][2], upstream.requests[0].headers
    assert {name: wire[name] for name in seen} == seen
    assert set(wire) - set(seen) <= {"host", "content-length", "connection"}
    assert seen["authorization"] == f"Bearer {TOKEN}"
    assert seen["x-mozaiks-app-key"] == KEY
    assert at_call == [(TOKEN, KEY, "svc", "http://platform.test/base")]


def test_they_are_described_by_their_names():
    """R1: functions by theirs, objects by their class's, and no repr of a layer is shown."""

    class Quota:
        def __repr__(self):
            return "secret"

        async def __call__(self, request, call_next):
            return await call_next(request)

    own = HostLayers(call=[Quota(), passes], attempt=[partial(passes)])
    names = client_of(ScriptedUpstream([]), own).describe()
    assert names[6:11] == ["EncodeMiddleware", "DecodeMiddleware", "Quota", "passes", "RetryMiddleware"]
    assert names[-3:] == ["AuthMiddleware", "DecodeMiddleware", "passes"]
    assert repr(own) == "HostLayers(call=[Quota, passes], attempt=[passes])"
    assert names[:7] + names[10:-1] == client_of(ScriptedUpstream([]), None).describe()


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"call": passes}, ["middleware.call: must be a list or tuple of layers, got function"]),
        ({"call": "ab"}, ["middleware.call: must be a list or tuple of layers, got str"]),
        (
            {"call": [passes, Adds], "attempt": [None]},
            [
                "middleware.call[1]: must be an async (request, call_next) -> response, got the class Adds",
                "middleware.attempt[0]: must be an async (request, call_next) -> response, got NoneType",
            ],
        ),
    ],
)
def test_what_is_no_layer_is_an_error_of_the_configuration(given, problems):
    """Each one names its place, before any call."""
    with pytest.raises(ConfigError) as caught:
        HostLayers(**given)
    assert caught.value.problems == tuple(problems)


def test_a_list_alone_does_not_say_where():
    """The place has to be named."""
    with pytest.raises(ConfigError, match=r"^middleware: must be HostLayers, got list$"):
        client_of(ScriptedUpstream([]), [passes])


# --- what they raise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [KeyError, ValueError, ExceptionGroup, ConfigError, TimeoutError])
@virtual_time
async def test_any_other_exception_becomes_an_internal_error(place, kind):
    """With the layer and the line, without the exception's text; nothing was sent."""

    async def broken(request, call_next):
        raise kind(TOKEN, [ValueError()]) if kind is ExceptionGroup else kind(TOKEN)

    upstream = ScriptedUpstream([])
    error = await error_of(client_of(upstream, layers(place, broken)), "post", user_jwt=TOKEN)
    assert type(error) is InternalError
    assert error.reason == f"unexpected {kind.__name__} in broken ({error.origin[-1]})"
    assert "broken" in error.origin[-1]
    assert (error.request_sent, error.outcome.request_sent, error.outcome_unknown) == ("no", "no", False)
    assert error.attempts == (1 if place == "attempt" else 0)
    assert error.stop_reason == "not_retryable"
    assert leaks_of(error) == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("raised", [QuotaError("no more", retry_after_s=3.0), InvalidArgumentError("bad")])
@virtual_time
async def test_an_error_of_ours_passes_as_it_is(place, raised):
    """A host's own subclass too: the same object, with the record; it is not retried."""
    finished = []

    async def rejects(request, call_next):
        raise raised

    telemetry = Telemetry(listener=finished.append)
    error = await error_of(client_of(ScriptedUpstream([]), layers(place, rejects), telemetry=telemetry), "post")
    assert error is raised
    assert error.outcome.request_sent == "no"
    assert error.is_retry_safe
    (event,) = [event for event in finished if isinstance(event, CallFinished)]
    assert event.error is raised


@pytest.mark.parametrize("place", PLACES)
@virtual_time
async def test_an_error_that_handles_another_one_keeps_no_secret(place):
    """R52: what a third-party exception references is reachable through a chain too."""

    def helper(request):
        raise KeyError(request.user_jwt)

    async def rejects(request, call_next):
        try:
            helper(request)
        except KeyError:
            raise QuotaError("no more")  # noqa: B904 - what is tested

    error = await error_of(client_of(ScriptedUpstream([]), layers(place, rejects)), user_jwt=TOKEN)
    assert type(error) is QuotaError
    assert leaks_of(error) == []


@virtual_time
async def test_the_callers_own_exception_stays_chained():
    """What the caller was handling is the caller's."""

    async def rejects(request, call_next):
        raise QuotaError("no more")

    client = client_of(ScriptedUpstream([]), layers("call", rejects))
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as own:
        error = await error_of(client)
        assert error.__context__ is own


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [KeyError, QuotaError, RequestNotSentError, InvalidArgumentError])
@virtual_time
async def test_an_error_after_the_request_was_sent_says_so(place, kind):
    """R12: a write that was applied is not sent again, whatever the layer raises, and its outcome is unknown."""

    async def late(request, call_next):
        await call_next(request)
        raise kind("bad signature")

    upstream = ScriptedUpstream([{}, {}, {}])
    error = await error_of(client_of(upstream, layers(place, late)), "post")
    upstream.assert_count(1)
    assert (error.request_sent, error.outcome.request_sent, error.is_retry_safe) == ("yes", "yes", False)
    # Around the call the layer has seen a 2xx; around the attempt its error is the attempt's end.
    assert error.applied == {"call": "yes", "attempt": "maybe"}[place]


@virtual_time
async def test_an_attempt_layer_that_failed_before_sending_may_be_retried():
    """R11: by what was sent, a write too."""
    failures = [RequestNotSentError("no key yet")]

    async def first_fails(request, call_next):
        if failures:
            raise failures.pop()
        return await call_next(request)

    upstream = ScriptedUpstream([{"ok": True}])
    assert await client_of(upstream, layers("attempt", first_fails)).post("/api/items") == {"ok": True}
    upstream.assert_times(0.1)


@virtual_time
async def test_an_error_from_below_passes_untouched():
    """R37: of a lost attempt and one that was not sent, the lost one's: the call may have been applied."""
    upstream = ScriptedUpstream(["lost"], then=httpx.ConnectError)
    own = HostLayers(call=[passes], attempt=[passes])
    error = await error_of(client_of(upstream, own, retry={"max_attempts": 2}))
    assert type(error) is ResponseLostError
    assert error.request_sent == "maybe"
    assert error.outcome.request_sent == "maybe"


@virtual_time
async def test_a_layer_that_repeats_a_call_never_hears_that_nothing_was_sent_after_a_lost_attempt():
    """R37: all attempts of the call count, not those of its last round alone."""
    upstream = ScriptedUpstream(["lost", httpx.ConnectError])

    async def again(request, call_next):
        try:
            return await call_next(request)
        except ResponseLostError:
            return await call_next(request)

    error = await error_of(client_of(upstream, HostLayers(call=[again]), retry={"max_attempts": 1}))
    assert type(error) is ResponseLostError


@virtual_time
async def test_a_layer_sees_errors_of_ours_alone():
    """What a layer inside raises is translated before the next one sees it."""
    seen = []

    async def outer(request, call_next):
        try:
            return await call_next(request)
        except Exception as error:
            seen.append(type(error))
            raise

    async def inner(request, call_next):
        raise KeyError

    for place in PLACES:
        await error_of(client_of(ScriptedUpstream([]), layers(place, outer, inner)))

    class Broken:
        async def send(self, request, url):
            raise KeyError

        async def aclose(self):
            pass

    client = PlatformHttpClient("http://a.test", transport=Broken(), middleware=layers("attempt", outer))
    error = await error_of(client)
    assert error.reason == f"unexpected KeyError ({error.origin[-1]})"
    assert seen == [InternalError] * 3


@pytest.mark.parametrize("place", PLACES)
@virtual_time
async def test_a_cancelled_call_stays_cancelled(place):
    """The caller's cancellation passes through a layer."""

    async def waits(request, call_next):
        await anyio.sleep(100)

    client = client_of(ScriptedUpstream([]), layers(place, waits))
    task = asyncio.create_task(client.get("/api/items"))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@virtual_time
async def test_the_deadline_and_the_attempts_time_cover_a_slow_layer():
    """R40: around the call the deadline ends it, around an attempt the attempt's timeout, which is retried."""
    waits = [100.0]

    async def slow(request, call_next):
        await anyio.sleep(waits.pop() if waits else 0)
        return await call_next(request)

    error = await error_of(client_of(ScriptedUpstream([]), layers("call", slow), deadline={"total_s": 5}))
    assert (type(error), error.elapsed_s) == (DeadlineExceededError, pytest.approx(5))
    waits.append(100.0)
    upstream = ScriptedUpstream([{"ok": True}])
    assert await client_of(upstream, layers("attempt", slow)).post("/api/items") == {"ok": True}
    upstream.assert_times(15.1)


# --- responses of their own ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@virtual_time
async def test_a_response_of_its_own_is_decoded_and_recorded(place):
    """Nothing is sent; the result, the record and the correlation id are this call's."""
    events = []
    shared = PlatformResponse(status=200, body=b'{"n": 1}', correlation_id="another call's")

    async def answers(request, call_next):
        return shared

    upstream = ScriptedUpstream([])
    client = client_of(upstream, layers(place, answers), telemetry=Telemetry(listener=events.append))
    arguments = {"path_params": {}, "decode": lambda document: document["n"] + 1}
    first = await client.request("GET", "/api/items", correlation_id="c-1", **arguments)
    second = await client.request("GET", "/api/items", correlation_id="c-2", **arguments)
    assert first.data == 2
    assert first.correlation_id == "c-1"
    assert second.correlation_id == "c-2"
    assert first.outcome.call.correlation_id == "c-1"
    assert first.outcome.request_sent == "no"
    assert first.outcome.attempts == (1 if place == "attempt" else 0)
    assert shared.data is None
    assert shared.outcome is None
    assert [event.error for event in events if isinstance(event, CallFinished)] == [None, None]
    upstream.assert_count(0)


@pytest.mark.parametrize("place", PLACES)
@virtual_time
async def test_a_result_that_the_layer_made_itself_is_taken_as_it_is(place):
    """`data` that is set is not decoded again."""

    async def changes(request, call_next):
        await call_next(request)
        return PlatformResponse(status=200, data={"changed": True})

    assert await client_of(ScriptedUpstream([{}]), layers(place, changes)).get("/api/items") == {"changed": True}


@virtual_time
async def test_a_body_that_an_attempt_layer_changed_is_what_is_decoded():
    """It sees the response before it is decoded."""

    async def opens(request, call_next):
        response = await call_next(request)
        return replace(response, body=response.body[3:])

    upstream = ScriptedUpstream([Reply(body=b'xx {"n": 1}')])
    assert await client_of(upstream, layers("attempt", opens)).get("/api/items") == {"n": 1}


@pytest.mark.parametrize("place", PLACES)
@virtual_time
async def test_a_body_of_its_own_that_is_not_json_is_a_decode_error(place):
    """As one of the platform would be."""

    async def answers(request, call_next):
        return PlatformResponse(status=200, body=b"<html>")

    error = await error_of(client_of(ScriptedUpstream([]), layers(place, answers)))
    assert type(error) is DecodeError


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (None, "returns returned NoneType instead of a PlatformResponse"),
        ({"n": TOKEN}, "returns returned dict instead of a PlatformResponse"),
        (PlatformResponse, "returns returned the class PlatformResponse instead of a PlatformResponse"),
        (PlatformResponse(status=503), "returns returned a response that is not 2xx; raise a CallError for a failure"),
        (
            PlatformResponse(status="200"),
            "returns returned a response that is not 2xx; raise a CallError for a failure",
        ),
    ],
)
@virtual_time
async def test_what_is_no_response_is_an_internal_error(place, returned, reason):
    """Also after the request was sent, which the error then says."""

    async def returns(request, call_next):
        await call_next(request)
        return returned

    error = await error_of(client_of(ScriptedUpstream([{}]), layers(place, returns)), "post")
    assert (type(error), error.reason, error.is_retry_safe) == (InternalError, reason, False)


@pytest.mark.parametrize("place", PLACES)
@virtual_time
async def test_a_layer_that_is_not_async_is_an_internal_error(place):
    """It cannot be known before it is called."""

    def returns(request, call_next):
        return PlatformResponse(status=200)

    error = await error_of(client_of(ScriptedUpstream([]), layers(place, returns)))
    assert type(error) is InternalError
    assert error.reason == f"unexpected TypeError in returns ({error.origin[-1]})"


@virtual_time
async def test_a_failure_that_a_layer_makes_good_is_a_success():
    """The record has no reason to stop, as that of any success, and all attempts."""

    async def falls_back(request, call_next):
        try:
            return await call_next(request)
        except NotFoundError:
            return PlatformResponse(status=200, body=b"[]")

    client = client_of(ScriptedUpstream([404]), layers("call", falls_back))
    response = await client.request("GET", "/api/items")
    assert response.data == []
    assert response.outcome.stop_reason == ""
    assert response.outcome.attempts == 1


@virtual_time
async def test_a_layer_may_make_the_call_again():
    """Each time through the whole retry, all in one record and within the call's attempts."""

    async def twice(request, call_next):
        try:
            return await call_next(request)
        except NotFoundError:
            request.headers["x-again"] = "1"
            return await call_next(request)

    upstream = ScriptedUpstream([404, {"ok": True}])
    response = await client_of(upstream, layers("call", twice)).request("GET", "/api/items")
    assert response.data == {"ok": True}
    assert response.outcome.attempts == 2
    assert response.outcome.stop_reason == ""
    assert "x-again" not in upstream.requests[0].headers
    assert upstream.requests[1].headers["x-again"] == "1"


@pytest.mark.parametrize("place", PLACES)
@virtual_time
async def test_call_next_is_of_no_use_after_the_layer_has_returned(place):
    """A request that no record, deadline or guard covers is not sent."""
    kept = []

    async def keeps(request, call_next):
        kept.extend((call_next, request))
        return PlatformResponse(status=200)

    upstream = ScriptedUpstream([])
    await client_of(upstream, layers(place, keeps)).get("/api/items")
    call_next, request = kept
    with pytest.raises(InternalError, match=r"^keeps used call_next after it had returned$"):
        await call_next(request)
    upstream.assert_count(0)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("X-Signature", "a", "request.headers: a name must be a header name in lower case"),
        ("x signature", "a", "request.headers: a name must be a header name in lower case"),
        (None, "a", "request.headers: a name must be a header name in lower case"),
        (
            "x-a",
            f"{TOKEN}\r\nx-b: 1",
            "request.headers['x-a']: must be a str of printable characters that ISO-8859-1 has",
        ),
        ("x-a", "€", "request.headers['x-a']: must be a str of printable characters that ISO-8859-1 has"),
        ("x-a", b"bytes", "request.headers['x-a']: must be a str of printable characters that ISO-8859-1 has"),
    ],
)
@virtual_time
async def test_a_header_that_cannot_be_sent_is_an_internal_error(place, name, value, problem):
    """It names the layer and the header, never the value; nothing is sent, nothing retried."""

    async def sets(request, call_next):
        request.headers[name] = value
        return await call_next(request)

    upstream = ScriptedUpstream([])
    error = await error_of(client_of(upstream, layers(place, sets)))
    assert type(error) is InternalError
    assert error.reason == f"sets: {problem}"
    assert error.request_sent == "no"
    upstream.assert_count(0)


@pytest.mark.parametrize("place", PLACES)
@virtual_time
async def test_what_is_no_request_is_not_passed_on(place):
    """A mistyped argument of `call_next` names the layer."""

    async def mistypes(request, call_next):
        return await call_next("/api/items")

    error = await error_of(client_of(ScriptedUpstream([]), layers(place, mistypes)))
    assert type(error) is InternalError
    assert error.reason == "mistypes passed on str instead of a PlatformRequest"


# --- what the guards make of it -----------------------------------------------------------------------------------------


BREAKER = {"min_calls": 2, "failure_ratio": 0.5, "open_s": 5}


@virtual_time
async def test_a_response_that_no_service_gave_closes_no_circuit():
    """R31: the response to the probe was not the service's, so the circuit stays half open."""
    made_up = []

    async def answers(request, call_next):
        return PlatformResponse(status=200) if made_up else await call_next(request)

    upstream = ScriptedUpstream([503, 503])
    client = client_of(upstream, layers("attempt", answers), circuit_breaker=BREAKER, retry={"max_attempts": 1})
    await error_of(client)
    await error_of(client)
    await asyncio.sleep(10)
    made_up.append(True)
    response = await client.request("GET", "/api/items")
    assert response.outcome.circuit_state == "half_open"


@virtual_time
async def test_a_response_from_below_passes_untouched():
    """R31: with the id that the server echoed; and a probe to which the service responded closes the circuit."""
    reply = Reply(json={}, headers={"x-correlation-id": "echoed"})
    own = HostLayers(call=[passes], attempt=[passes])
    client = client_of(ScriptedUpstream([503, 503, reply]), own, circuit_breaker=BREAKER, retry={"max_attempts": 1})
    await error_of(client)
    await error_of(client)
    await asyncio.sleep(10)
    response = await client.request("GET", "/api/items")
    assert response.correlation_id == "echoed"
    assert response.outcome.circuit_state == "closed"


@virtual_time
async def test_a_layers_defects_open_no_circuit():
    """R31: they say nothing about the service."""

    async def broken(request, call_next):
        raise KeyError

    client = client_of(ScriptedUpstream([]), layers("attempt", broken), circuit_breaker=BREAKER)
    assert {(await error_of(client)).circuit_state for _ in range(10)} == {"closed"}


@virtual_time
async def test_a_response_of_its_own_makes_no_attempt_and_pays_for_none():
    """Around the call: no attempt is recorded, no permit taken, no retry budget earned."""
    events = []

    async def answers(request, call_next):
        return PlatformResponse(status=200)

    client = client_of(ScriptedUpstream([]), layers("call", answers), telemetry=Telemetry(listener=events.append))
    before = client._stack.state()
    await client.get("/api/items")
    assert client._stack.state() == before
    assert not [event for event in events if isinstance(event, AttemptFinished)]


# --- state of a call ----------------------------------------------------------------------------------------------------


@virtual_time
async def test_state_is_shared_by_the_attempts_of_one_call_alone():
    """Each layer has its own, made at its first use."""
    made, seen = [], []

    def make():
        made.append(object())
        return made[-1]

    state, other = CallState(make), CallState(list)

    async def notes(request, call_next):
        seen.append(state.of(request.call))
        other.of(request.call).append(len(seen))
        return await call_next(request)

    upstream = ScriptedUpstream([503, {}, {}])
    client = client_of(upstream, HostLayers(call=[notes], attempt=[notes]))
    await client.get("/api/items")
    await client.get("/api/items")
    assert seen == [made[0]] * 3 + [made[1]] * 2
    assert len(made) == 2


@virtual_time
async def test_the_state_of_concurrent_calls_is_not_shared():
    """A layer object serves them all."""
    state = CallState(list)

    async def notes(request, call_next):
        state.of(request.call).append(request.call.info.correlation_id)
        await anyio.sleep(1)
        assert state.of(request.call) == [request.call.info.correlation_id]
        return await call_next(request)

    client = client_of(ScriptedUpstream([], then={}), layers("call", notes))
    await asyncio.gather(*(client.get("/api/items") for _ in range(10)))


@virtual_time
async def test_what_a_layer_made_is_not_counted_by_the_breaker():
    """R31: neither as a failure nor as a success that would outweigh the service's own failures."""
    made = [True] * 5

    async def makes(request, call_next):
        return PlatformResponse(status=200) if made.pop() else await call_next(request)

    upstream = ScriptedUpstream([500, 500], then=200)
    client = client_of(
        upstream,
        layers("attempt", makes),
        retry={"max_attempts": 1},
        circuit_breaker={"min_calls": 2, "failure_ratio": 1.0},
    )
    for _ in range(5):
        await client.get("/r", path_params={})
    made.extend([False] * 3)
    for _ in range(2):
        with pytest.raises(ServerError):
            await client.get("/r", path_params={})
    with pytest.raises(CircuitOpenError):
        await client.get("/r", path_params={})
