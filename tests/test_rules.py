"""The rules of docs/resilience.md through the whole stack, in virtual time; what counts is what the platform read."""

import ast
import asyncio
import gc
import json
import logging
import re
import threading
from contextlib import suppress
from pathlib import Path
from random import Random

import httpx
import pytest
from layer_support import LowerBound
from opentelemetry.sdk.trace import TracerProvider

from middleware import (
    BulkheadFullError,
    CallError,
    CircuitOpenError,
    DeadlineExceededError,
    DecodeError,
    InternalError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    OperationFailedError,
    RateLimitedError,
    RateLimitExceededError,
    RequestNotSentError,
    ResponseLostError,
    ServerError,
    StatusError,
    Telemetry,
    call_options,
    incoming_deadline,
)
from middleware.events import (
    AttemptFinished,
    AttemptRejected,
    CallFinished,
    CircuitStateChanged,
    CorrelationIdMismatched,
    HedgeRefused,
    HedgeStarted,
    HedgeWon,
    RetryAbandoned,
    RetryScheduled,
)
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.loader import services_and_operations
from runtime.connectors.payment import ManagedPaymentConnector
from runtime.connectors.service import ManagedServiceConnector
from runtime.settings import ResolvedSettings
from runtime.testing import LoopClock, Reply, ScriptedUpstream, UpperBound, run_virtual, virtual_time

ROOT = Path(__file__).resolve().parent.parent
RULES = [
    *(f"R{number}" for number in (*range(1, 8), *range(10, 22))),
    *(f"R{number}" for number in (*range(30, 47), *range(50, 56), *range(60, 63), *range(70, 76))),
]


class BrokenOff(httpx.AsyncByteStream):
    """A body of which nothing comes."""

    async def __aiter__(self):
        raise httpx.ReadError("reset")
        yield b""


NO_BUDGET = {"budget": {"enabled": False}}
OFF = {"budget": {"enabled": False}, "circuit_breaker": {"mode": "disabled"}}


def docstrings_of_tests(source):
    """The docstring of each function of a module and of its classes."""
    module = ast.parse(source)
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    tests = [node for scope in (module, *classes) for node in scope.body]
    return [
        ast.get_docstring(node) or "" for node in tests if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def test_every_rule_has_a_test_and_a_place_in_the_documentation():
    """R1 to R75: each id is named by a test's docstring and stated in docs/resilience.md."""
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    docstrings = [text for source in sources if re.search(r"\bR\d", source) for text in docstrings_of_tests(source)]
    named = {rule for text in docstrings for rule in re.findall(r"\bR\d+\b", text)}
    told = set(re.findall(r"\*\*(R\d+)\*\*", (ROOT / "docs" / "resilience.md").read_text()))
    assert set(RULES) <= named
    assert set(RULES) == told


def get(client, **options):
    return client.request("GET", "/r", path_params={}, **options)


def post(client, **options):
    return client.request("POST", "/r", path_params={}, json_body={"a": 1}, **options)


# --- layers -----------------------------------------------------------------------------------------------------------


def test_the_librarys_own_timeouts_stand_behind_the_stacks():
    """R2: connect has its own; each other step has at most the attempt's time."""
    seen = []

    def answer(request):
        seen.append(request.extensions["timeout"])
        return httpx.Response(200, json={})

    client = PlatformHttpClient(
        "http://platform.test",
        transport=httpx.MockTransport(answer),
        policies=ResolvedSettings({"attempt": {"timeout_s": 7}}),
    )
    asyncio.run(client.get("/r"))
    assert seen == [{"connect": 5.0, "read": 7, "write": 7, "pool": 7}]


def test_one_client_serves_several_loops_and_threads():
    """R3: ten threads at once with a loop each; the breaker counts all of their attempts together."""
    upstream = ScriptedUpstream([], then=500)
    client = upstream.client(retry={"max_attempts": 1})
    failed, together = [], threading.Barrier(10)

    def one(wait=together.wait):
        wait()
        try:
            asyncio.run(get(client))
        except (ServerError, CircuitOpenError) as error:
            failed.append(type(error))

    threads = [threading.Thread(target=one) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one(wait=lambda: None)
    assert failed == [ServerError] * 10 + [CircuitOpenError]
    upstream.assert_count(10)


# --- retry ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "method", "tries"),
    [
        (httpx.ConnectError, "POST", 2),
        (httpx.ConnectTimeout, "POST", 2),
        (httpx.PoolTimeout, "POST", 2),
        ("lost", "GET", 2),
        ("lost", "POST", 1),
        ("hang", "GET", 2),
        ("hang", "POST", 1),
        ("hang_body", "GET", 2),
        ("hang_body", "POST", 1),
        (429, "POST", 2),
        (Reply(status=503, headers={"retry-after": "1"}), "GET", 2),
        (Reply(status=503, headers={"retry-after": "1"}), "POST", 1),
        (Reply(status=503, headers={"x-envoy-overloaded": "true"}), "POST", 2),
        (Reply(status=503, headers={"x-envoy-overloaded": "false"}), "POST", 1),
        (Reply(status=504, headers={"x-envoy-overloaded": "true", "retry-after": "1"}), "POST", 1),
        (503, "GET", 2),
        (503, "POST", 1),
        *((code, "GET", 2) for code in (408, 500, 502, 504)),
        *((code, "POST", 1) for code in (408, 500, 502, 504)),
        *((code, "GET", 1) for code in (400, 401, 403, 404, 409, 422, 425, 501, 505)),
        (Reply(body=b"{"), "GET", 2),  # the beginning of a document: the rest was lost on its way
        (Reply(body=b"{"), "POST", 1),
        (Reply(body=b"{]"), "GET", 1),
        *(("lost", method, 2) for method in ("HEAD", "PUT", "DELETE", "OPTIONS")),
        *(("lost", method, 0) for method in ("CONNECT", "TRACE")),  # never sent
        ("lost", "PATCH", 1),
    ],
    ids=str,
)
@virtual_time
async def test_what_is_repeated(step, method, tries):
    """R11: by what became of the request and what repeating it would do."""
    upstream = ScriptedUpstream([step], then=200)
    call = upstream.client(**OFF).request(method, "/r", path_params={})
    if tries == 2:
        assert (await call).outcome.attempts == 2
    else:
        with pytest.raises((StatusError, ResponseLostError, DecodeError) if tries else InvalidArgumentError):
            await call
    assert len(upstream.requests) + upstream.refused == tries


@virtual_time
async def test_a_connector_may_say_what_is_idempotent():
    """R11: a read-only POST is repeated; a GET that changes something is not."""
    upstream = ScriptedUpstream(["lost", 200, "lost"])
    await post(upstream.client(**OFF), idempotent=True)
    with pytest.raises(ResponseLostError):
        await get(upstream.client(**OFF), idempotent=False)
    upstream.assert_count(3)


@virtual_time
async def test_an_honoured_key_makes_a_write_repeatable():
    """R11, R50: lost, then "in progress" (409), then done; one key, fresh for each call, the same on its attempts."""
    upstream = ScriptedUpstream(["lost", 409, 201, 201, "lost"])
    client = upstream.client(**OFF, idempotency={"honors_key": True})
    for _ in range(2):
        assert (await post(client)).status == 201
    keys = [request.headers["idempotency-key"] for request in upstream.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    with pytest.raises(ResponseLostError):
        await post(upstream.client(**OFF))  # another service, which honours none
    assert "idempotency-key" not in upstream.requests[-1].headers


@virtual_time
async def test_a_key_makes_attempts_repeatable_and_not_the_call():
    """R11, R52: the next call would have a key of its own, so an unknown outcome is reported as what it is."""
    upstream = ScriptedUpstream([], then="lost")
    with pytest.raises(ResponseLostError) as caught:
        await post(upstream.client(**OFF, idempotency={"honors_key": True}))
    assert (caught.value.attempts, caught.value.outcome_unknown, caught.value.is_retry_safe) == (3, True, False)
    for last in (httpx.ConnectError, 429, 401):
        upstream = ScriptedUpstream(["lost"], then=last)
        with pytest.raises(CallError) as caught:
            await post(upstream.client(**OFF, idempotency={"honors_key": True}))
        assert (caught.value.outcome_unknown, caught.value.is_retry_safe) == (True, False)
        assert caught.value.to_plugin_error()["details"]["outcome_unknown"]


VARNISH = Reply(status=503, headers={"retry-after": "5"})
OVERLOADED = Reply(status=503, headers={"x-envoy-overloaded": "true"})


@virtual_time
async def test_a_503_with_retry_after_is_no_proof_that_a_write_was_not_processed():
    """R11, R52: as Varnish responds for an upstream that has read the request; only who knows better may switch it on."""
    upstream = ScriptedUpstream([VARNISH, VARNISH, VARNISH, 201, VARNISH, VARNISH, VARNISH])
    with pytest.raises(ServerError) as caught:
        await post(upstream.client(**OFF))
    assert caught.value.attempts == 1
    assert caught.value.stop_reason == "not_retryable"
    assert (caught.value.retry_after_s, caught.value.outcome_unknown, caught.value.is_retry_safe) == (5.0, True, False)
    trusting = upstream.client(**OFF, retry={"repeat_writes_after_503": True})
    started = LoopClock().now()
    assert (await post(trusting)).outcome.attempts == 3
    assert [at - started for at in upstream.times[1:]] == pytest.approx([0, 5.5, 11.0])
    with pytest.raises(ServerError) as caught:  # what is repeated is for the settings, what is known is not
        await post(trusting)
    assert (caught.value.attempts, caught.value.outcome_unknown, caught.value.is_retry_safe) == (3, True, False)


@virtual_time
async def test_writes_after_503_may_be_repeated_for_one_operation():
    """R11, R60: the setting of an operation, of a service, and of all."""
    for sections, tries in (
        ({"operations": {"pay": {"retry": {"repeat_writes_after_503": True}}}}, {"pay": 2, "other": 1}),
        ({"retry": {"repeat_writes_after_503": True}}, {"pay": 2, "other": 2}),
    ):
        for operation, expected in tries.items():
            upstream = ScriptedUpstream([VARNISH], then=201)
            policies = ResolvedSettings({"services": {"service": {**OFF, **sections}}})
            with suppress(ServerError):
                await post(upstream.client(policies=policies), operation=operation)
            upstream.assert_count(expected)


@virtual_time
async def test_an_overload_that_a_gateway_tells_is_waited_for_as_a_throttle():
    """R11, R15: Envoy dropped it before its upstream, so that a write is repeated, and safe to repeat at the end."""
    upstream = ScriptedUpstream([], then=OVERLOADED)
    with pytest.raises(ServerError) as caught:
        await post(upstream.client(**OFF))
    upstream.assert_times(0, 1, 3)
    assert (caught.value.attempts, caught.value.outcome_unknown, caught.value.is_retry_safe) == (3, False, True)


@pytest.mark.parametrize(
    ("step", "known"),
    [
        *((Reply(status=status, body=b'{"id": "ord'), "applied") for status in (200, 201, 202)),
        (Reply(status=201, json={}, headers={"content-encoding": "br"}), "applied"),
        (Reply(status=200, body=b"not gzip", headers={"content-encoding": "gzip"}), "applied"),
        *((status, "unknown") for status in (300, 301, 302, 303, 304, 307, 308)),
        *((status, "unknown") for status in (408, 500, 501, 502, 503, 504, 505, 507, 511, 520, 522, 524, 598, 599)),
        (VARNISH, "unknown"),
        ("lost", "unknown"),
        (Reply(body=b" " * 20_000), "unknown"),
        *((status, "not applied") for status in (400, 401, 402, 403, 404, 405, 409, 410, 413, 422, 425, 429, 499)),
        (OVERLOADED, "not applied"),
        (httpx.ConnectError, "not applied"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
@virtual_time
async def test_only_a_write_that_was_not_applied_is_safe_to_repeat(step, known, method):
    """R52: a 2xx is taken at its word, and so is a 4xx but 408; everything else says nothing about it."""
    events = []
    upstream = ScriptedUpstream([], then=step)
    client = upstream.client(
        **OFF, transport={"max_response_bytes": 16_384}, telemetry=Telemetry(listener=events.append)
    )
    with pytest.raises(CallError) as caught:
        await client.request(method, "/r", path_params={}, json_body={})
    error = caught.value
    told = {"applied": (False, False), "unknown": (True, False), "not applied": (False, True)}[known]
    assert (error.outcome_unknown, error.is_retry_safe) == told
    details = error.to_plugin_error()["details"]
    assert (details["outcome_unknown"], details["is_retry_safe"]) == told
    said = {"applied": "; the write was applied", "unknown": "; the write may have been applied", "not applied": ""}
    assert re.search(r"attempts?(; the write .*)?; correlation", str(error))[1] == (said[known] or None)
    (end,) = (event for event in events if isinstance(event, CallFinished))
    assert end.result == ("unknown" if known == "unknown" else "failure")
    with pytest.raises(CallError) as caught:
        await client.request("PUT", "/r", path_params={}, json_body={})
    assert (caught.value.outcome_unknown, caught.value.is_retry_safe) == (False, True)


@virtual_time
async def test_what_one_try_is_known_to_have_applied_no_other_try_undoes():
    """R19, R52: one attempt of a hedged write with a key is done and unreadable, the other one is rejected after it."""
    done = Reply(status=201, body=b"{", after_s=2)
    upstream = ScriptedUpstream([done, Reply(status=429, after_s=2)])
    client = upstream.client(
        **OFF, idempotency={"honors_key": True}, hedging={"max_hedges": 1, "delay_s": 1}, retry={"max_attempts": 2}
    )
    with pytest.raises(RateLimitedError) as caught:
        await post(client)
    assert [record.applied for record in caught.value.timeline] == ["yes", "no"]
    assert (caught.value.applied, caught.value.outcome_unknown, caught.value.is_retry_safe) == ("yes", False, False)


@virtual_time
async def test_a_refusal_speaks_for_all_attempts_only_where_they_carried_one_key():
    """R52: `success: false` to a write that was repeated without a key may be the response to what it did itself."""

    def refuse(document):
        raise OperationFailedError("the name is taken")

    for settings, known in (
        ({"idempotency": {"honors_key": True}}, (False, True)),
        ({"retry": {"repeat_writes_after_503": True}}, (True, False)),
    ):
        upstream = ScriptedUpstream([VARNISH, {"success": False}])
        with pytest.raises(OperationFailedError) as caught:
            await post(upstream.client(**OFF, **settings), decode=refuse)
        assert (caught.value.attempts, caught.value.outcome_unknown, caught.value.is_retry_safe) == (2, *known)


class Traced(httpx.AsyncBaseTransport):
    """Fails with *error* after the phases *events*, as the library's trace reports them."""

    def __init__(self, error, *events):
        self._error = error
        self._events = events

    async def handle_async_request(self, request):
        for event in self._events:
            await request.extensions["trace"](event, {})
        raise self._error


CONNECT = "connection.connect_tcp.started"
HEADERS = "http11.send_request_headers.started"


@pytest.mark.parametrize(
    ("error", "events", "sent"),
    [
        (httpx.ReadError("reset on accept"), [CONNECT], "no"),
        (httpx.WriteTimeout("slow"), [CONNECT, HEADERS], "maybe"),
        (httpx.ConnectError("misnamed"), [CONNECT, HEADERS], "maybe"),
        (httpx.ReadError("reset"), [CONNECT, HEADERS], "maybe"),
        (httpx.RemoteProtocolError("eof"), [HEADERS], "maybe"),
    ],
    ids=str,
)
async def test_the_phase_tells_whether_it_was_sent_and_not_the_exceptions_name(error, events, sent):
    """R12: and so whether a write is repeated."""
    client = PlatformHttpClient("http://platform.test", transport=Traced(error, *events))
    kind = RequestNotSentError if sent == "no" else ResponseLostError
    with call_options(max_attempts=1), pytest.raises(kind) as caught:
        await post(client)
    assert caught.value.request_sent == sent
    assert caught.value.outcome_unknown is (sent != "no")


@virtual_time
async def test_a_delete_whose_answer_was_lost_may_find_nothing_the_next_time():
    """R13: through the connector: True, and the record says why."""
    upstream = ScriptedUpstream(["lost", 404, 404])
    client = upstream.client(**OFF)
    assert await ManagedServiceConnector(client).delete_item("i") is True
    with pytest.raises(NotFoundError):
        await ManagedServiceConnector(client).delete_item("i")
    for before, gone in (("lost", 410), (VARNISH, 404), (503, 404)):
        upstream = ScriptedUpstream([before, gone])
        response = await upstream.client(**OFF).request("DELETE", "/r", path_params={})
        assert (response.status, response.outcome.already_deleted, response.outcome.attempts) == (204, True, 2)
    for before in (429, OVERLOADED):
        with pytest.raises(NotFoundError):
            await ScriptedUpstream([before, 404]).client(**OFF).request("DELETE", "/r", path_params={})


PAGE = Reply(
    status=404, body=b"<html><body>404 page</body></html>", headers={"content-type": "text/html", "server": "nginx/1.2"}
)


@pytest.mark.parametrize("before", [502, "lost"])
@pytest.mark.parametrize(("page", "who"), [(PAGE, "gateway"), (Reply(status=404), "unknown")])
@virtual_time
async def test_a_404_of_a_gateway_does_not_say_that_it_is_deleted(before, page, who):
    """R13, R52, R55: as of one that has lost its route; as the first response it is known that nothing was deleted."""
    upstream = ScriptedUpstream([before, page, page])
    client = upstream.client(**OFF)
    with pytest.raises(NotFoundError) as caught:
        await client.request("DELETE", "/r", path_params={}, operation="remove")
    error = caught.value
    assert (error.answered_by, error.outcome.answered_by, error.outcome.already_deleted) == (who, who, False)
    assert (error.outcome_unknown, error.is_retry_safe, error.attempts) == (True, True, 2)
    assert error.to_plugin_error()["details"]["outcome_unknown"]
    assert [record.answered_by for record in error.timeline] == ["platform" if before == 502 else "", who]
    with pytest.raises(NotFoundError) as caught:
        await client.request("DELETE", "/r", path_params={})
    assert (caught.value.outcome_unknown, caught.value.answered_by) == (False, who)


@virtual_time
async def test_a_404_of_the_platform_is_known_to_be_gone_where_it_stays_an_error():
    """R13, R52: with `accept_already_deleted` off it is an error, and no doubt."""
    upstream = ScriptedUpstream([502, Reply(status=404, json={"error": "NotFound"})])
    off = {"retry": {**OFF.get("retry", {}), "accept_already_deleted": False}}
    with pytest.raises(NotFoundError) as caught:
        await upstream.client(**{**OFF, **off}).request("DELETE", "/r", path_params={})
    assert (caught.value.answered_by, caught.value.outcome_unknown, caught.value.attempts) == ("platform", False, 2)


@virtual_time
async def test_another_method_that_finds_nothing_is_known_not_to_be_applied():
    """R52, R55: a 404 to an idempotent PUT says that it was not applied, also where a gateway sent it."""
    with pytest.raises(NotFoundError) as caught:
        await ScriptedUpstream(["lost", PAGE]).client(**OFF).request("PUT", "/r", path_params={}, json_body={})
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (
            Reply(status=400, body=PAGE.body, headers=PAGE.headers),
            "400 response of the gateway nginx, which refused the request",
        ),
        (Reply(status=413, body=PAGE.body), "413 response of a gateway, which refused the request"),
        (Reply(status=431, body=b"too large"), "431 response of a gateway, which refused the request: too large"),
        (Reply(status=502, body=PAGE.body, headers=PAGE.headers), "502 response of the gateway nginx"),
        (
            Reply(status=503, body=b"no upstream", headers={"server": "envoy"}),
            "503 response of the gateway envoy: no upstream",
        ),
        (Reply(status=400, json={"error": "Bad"}, headers={"server": "nginx"}), "400 response: Bad"),
        (Reply(status=404, headers={"server": "nginx"}), "404 response"),
    ],
    ids=lambda value: str(value)[:60],
)
@virtual_time
async def test_the_text_of_an_error_names_the_gateway(reply, text):
    """R55: so that a 400 of a gateway is not read as one of the platform; the class is the status's all the same."""
    with call_options(max_attempts=1), pytest.raises(StatusError) as caught:
        await get(ScriptedUpstream([reply]).client())
    assert caught.value.reason == text


@virtual_time
async def test_a_secret_is_not_the_name_of_a_gateway():
    """R52, R55: a server may put what was sent into any header."""
    reply = Reply(status=502, body=b"<html>", headers={"server": "t0k3n-secret-value"})
    with call_options(max_attempts=1), pytest.raises(ServerError) as caught:
        await ScriptedUpstream([reply]).client().request("GET", "/r", path_params={}, user_jwt="t0k3n-secret-value")
    assert "t0k3n" not in str(caught.value)


def test_who_sent_an_error_response_is_on_spans_metric_and_log_lines(recorder, caplog):
    """R55: of the attempt and of the call; absent where none was sent."""
    caplog.set_level(logging.DEBUG)

    async def scenario():
        upstream = ScriptedUpstream([PAGE, "lost", 200])
        client = upstream.client(telemetry=recorder.telemetry, **OFF)
        with pytest.raises(NotFoundError):
            await get(client)
        await get(client)

    run_virtual(scenario())
    for kind, expected in (("CLIENT", ["gateway", None, None]), ("INTERNAL", ["gateway", None])):
        assert [span.attributes.get("mozaiks.answered_by") for span in recorder.spans(kind)] == expected
    labels = [point.attributes.get("mozaiks.answered_by") for point in recorder.points("http.client.request.duration")]
    assert sorted(labels, key=str) == [None, None, "gateway"]
    lines = [(line.event, line.answered_by) for line in caplog.records if hasattr(line, "answered_by")]
    assert lines == [
        ("attempt.finished", "gateway"),
        ("call.failed", "gateway"),
        ("attempt.finished", ""),
        ("attempt.finished", ""),
    ]


@virtual_time
async def test_a_delete_whose_success_lost_its_body_may_find_nothing_the_next_time():
    """R13: its status came, and the response is lost all the same."""
    answers = iter(
        [
            httpx.Response(200, stream=BrokenOff()),
            httpx.Response(204, stream=BrokenOff()),
            httpx.Response(404, json={"error": "NotFound"}),
        ]
    )
    client = PlatformHttpClient("http://platform.test", transport=httpx.MockTransport(lambda _: next(answers)))
    response = await client.request("DELETE", "/r", path_params={})
    assert (response.status, response.outcome.already_deleted) == (204, True)
    assert [record.status for record in response.outcome.timeline] == [200, 204, 404]


@pytest.mark.parametrize(
    ("sections", "options", "ended_at"),
    [
        ({}, {}, 2 + 1.0),
        ({"attempt": {"timeout_s": 2.5}}, {}, 2 + 0.45),
        ({"attempt": {"timeout_s": 2.01}}, {}, 2.0),
        ({}, {"deadline_s": 2.5}, 2 + 0.45),
        ({"attempt": {"timeout_s": 60}, "deadline": {"total_s": 60}}, {}, 2 + 1.0),
    ],
    ids=str,
)
@virtual_time
async def test_an_errors_body_is_waited_for_a_second_and_within_every_limit(sections, options, ended_at):
    """R17: after the head; the status is not lost to a timeout of the body, and so the request may be repeated."""
    upstream = ScriptedUpstream([Reply(status=400, after_s=2, body_after_s=30, json={"error": "Late"})])
    with call_options(**options), pytest.raises(InvalidRequestError) as caught:
        await post(upstream.client(**sections))
    assert LoopClock().now() == pytest.approx(ended_at)
    assert (caught.value.status, caught.value.is_retry_safe, caught.value.stop_reason) == (400, True, "not_retryable")
    (record,) = caught.value.timeline
    assert (record.status, record.outcome, record.is_ambiguous) == (400, "InvalidRequestError", False)


@virtual_time
async def test_an_errors_body_that_comes_within_a_second_is_read():
    """R17: slow, and whole."""
    upstream = ScriptedUpstream([Reply(status=400, body_after_s=0.9, json={"error": "Late"})])
    with pytest.raises(InvalidRequestError) as caught:
        await post(upstream.client())
    assert caught.value.problem.code == "Late"


@virtual_time
async def test_a_cancel_while_an_errors_body_is_waited_for_is_a_cancel():
    """R17, R42: also in the very step in which the waiting ends; the record keeps the status."""
    for at_s in (0.5, 1.0):
        told = []
        upstream = ScriptedUpstream([Reply(status=503, body_after_s=30)])
        client = upstream.client(telemetry=Telemetry(listener=told.append))
        task = asyncio.create_task(get(client))
        await asyncio.sleep(at_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (record,) = [event.record for event in told if isinstance(event, AttemptFinished)]
        assert record.status == 503
        assert record.outcome == "cancelled"


@virtual_time
async def test_the_body_is_encoded_once():
    """R14: a document that changes between attempts is sent as it was."""
    body = {"a": [1]}

    def answer(_seen):
        body["a"].append(2)
        return 503 if len(body["a"]) < 4 else 200

    upstream = ScriptedUpstream(answer)
    await upstream.client(**OFF).request("PUT", "/r", path_params={}, json_body=body)
    assert [request.json for request in upstream.requests] == [{"a": [1]}] * 3


@pytest.mark.parametrize(
    ("status", "times"), [(500, [0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 11.3, 16.3]), (429, [0, 1, 3, 7, 15])]
)
@virtual_time
async def test_attempts_come_when_the_backoff_says(status, times):
    """R15: doubling ceilings up to 5 s; throttling has its own, from 1 s up to 20 s; then the deadline is too near."""
    upstream = ScriptedUpstream([], then=status)
    with pytest.raises(StatusError) as caught:
        await get(upstream.client(**OFF, retry={"max_attempts": 9}))
    assert caught.value.stop_reason == ("max_attempts" if status == 500 else "deadline")
    upstream.assert_times(*times)


@virtual_time
async def test_retry_after_is_a_floor_with_up_to_a_tenth_more():
    """R15: 7 s and 0.7 s of jitter; as a date against the response's own clock the same."""
    date = {"date": "Fri, 15 Jan 2027 09:00:00 GMT", "retry-after": "Fri, 15 Jan 2027 09:00:07 GMT"}
    for headers in ({"retry-after": "7"}, date):
        upstream = ScriptedUpstream([Reply(status=503, headers=headers), 200])
        started = LoopClock().now()
        await get(upstream.client(**OFF))
        assert [at - started for at in upstream.times] == pytest.approx([0, 7.7])


@pytest.mark.parametrize(
    ("headers", "options", "reason"),
    [
        ({"retry-after": "20"}, {}, ""),
        ({"retry-after": "21"}, {}, "retry_after_max"),
        ({"retry-after": "999999999"}, {}, "retry_after_max"),
        ({"retry-after": "10"}, {"deadline_s": 11.004}, "deadline"),
        ({"retry-after": "10"}, {"deadline_s": 11.006}, ""),
        ({"retry-after": "soon"}, {}, ""),
    ],
    ids=str,
)
@virtual_time
async def test_a_hopeless_wait_is_not_begun(headers, options, reason):
    """R16: the upstream's own error at once, with its Retry-After; five milliseconds are the least for an attempt."""
    upstream = ScriptedUpstream([Reply(status=503, headers=headers), 200])
    with call_options(**options):
        if not reason:
            await get(upstream.client(**OFF))
            upstream.assert_count(2)
            return
        with pytest.raises(ServerError) as caught:
            await get(upstream.client(**OFF))
    assert caught.value.stop_reason == reason
    assert caught.value.retry_after_s == float(headers["retry-after"])
    upstream.assert_times(0)
    assert LoopClock().now() == 0


@pytest.mark.torture
@virtual_time
async def test_a_dead_service_costs_little_at_a_hundred_calls_a_second():
    """R18, R33: at most 40 requests for the first 1000 calls with the defaults; at most 1.21 per call without breaker."""
    for sections, most in (({}, 40), ({"circuit_breaker": {"mode": "disabled"}}, 1210)):
        upstream = ScriptedUpstream([], then=500)
        client = upstream.client(**sections, random=Random(5))
        await at_rate(client, calls=1000, per_second=100)
        assert 10 <= len(upstream.requests) <= most, sections


async def at_rate(client, *, calls, per_second):
    """Start calls at a fixed rate, whatever becomes of them; return their results."""

    async def one(number):
        await asyncio.sleep(number / per_second)
        return await get(client)

    return await asyncio.gather(*(one(number) for number in range(calls)), return_exceptions=True)


@virtual_time
async def test_refused_connections_have_a_backoff_and_a_count_of_their_own():
    """R15, R20, R50: 0.5 s, then 1 s each; a 503 between them goes on with its own backoff, and its own count."""
    upstream = ScriptedUpstream([503, *[httpx.ConnectError] * 4, 503, 200])
    response = await post(upstream.client(**OFF), idempotent=True)
    upstream.assert_times(0.0, 3.6, 3.8)
    assert [round(record.delay_s, 6) for record in response.outcome.timeline] == [0, 0.1, 0.5, 1.0, 1.0, 1.0, 0.2]
    numbers = [request.headers["x-attempt"] for request in upstream.requests]
    assert numbers == ["attempt=1; max=3", "attempt=6; max=7", "attempt=7; max=7"]
    for script, error in (([], RequestNotSentError), ([503], ServerError), ([503, 503], ServerError)):  # R37
        upstream = ScriptedUpstream(script, then=httpx.ConnectError)
        with pytest.raises(error) as caught:
            await get(upstream.client(**OFF))
        assert caught.value.stop_reason == "max_attempts"
        assert upstream.refused == 5
    upstream = ScriptedUpstream([*[httpx.ConnectError] * 4, 503, 503, 503])
    with pytest.raises(ServerError) as caught:
        await get(upstream.client(**OFF))
    assert caught.value.stop_reason == "max_attempts"
    assert caught.value.attempts == 7


@virtual_time
async def test_the_count_of_refused_connections_is_a_setting_that_no_retry_and_the_caller_go_before():
    """R20: its own setting; `max_attempts` 1 is no retry at all, and the caller's number is that of all attempts."""
    for retry, options, refused in (
        ({"not_sent_max_attempts": 2}, {}, 2),
        ({"not_sent_max_attempts": 1}, {}, 1),
        ({"max_attempts": 2}, {}, 5),
        ({"max_attempts": 1}, {}, 1),
        ({}, {"max_attempts": 2}, 2),
        ({"max_attempts": 1}, {"max_attempts": 9}, 1),
    ):
        upstream = ScriptedUpstream([], then=httpx.ConnectError)
        with call_options(**options), pytest.raises(RequestNotSentError):
            await get(upstream.client(**OFF, retry=retry))
        assert upstream.refused == refused, (retry, options)
    upstream = ScriptedUpstream([httpx.ConnectError, 503, 503])
    with call_options(max_attempts=3), pytest.raises(ServerError):
        await get(upstream.client(**OFF))
    assert upstream.requests[-1].headers["x-attempt"] == "attempt=3; max=3"


@pytest.mark.parametrize("late", [httpx.ConnectTimeout, httpx.PoolTimeout, TimeoutError])
@virtual_time
async def test_a_connection_that_was_not_made_in_time_is_not_a_refused_one(late):
    """R20: the black hole has the old count and backoff, since each attempt takes its time."""
    upstream = ScriptedUpstream([], then=late)
    started = LoopClock().now()
    with pytest.raises(RequestNotSentError) as caught:
        await get(upstream.client(**OFF))
    assert (upstream.refused, caught.value.connection_refused) == (3, False)
    assert LoopClock().now() - started == pytest.approx(0.1 + 0.2)


def test_the_shortest_waits_after_refused_connections_outlast_a_second():
    """R20: 0.25, 0.5, 0.5 and 0.5 s."""

    async def scenario():
        upstream = ScriptedUpstream([], then=httpx.ConnectError)
        with pytest.raises(RequestNotSentError) as caught:
            await get(upstream.client(**OFF, random=LowerBound()))
        return [record.delay_s for record in caught.value.timeline]

    assert run_virtual(scenario()) == [0, 0.25, 0.5, 0.5, 0.5]


RESTART_RATE = 60


async def restart(gap_s, *, random, before_s=10, after_s=6):
    """A gateway that restarts under 60 calls/s: the results, the upstream, and when the gap began and ended."""
    gap_at = LoopClock().now() + before_s - 0.001

    def gateway(seen):
        away = gap_at <= seen.at_s < gap_at + gap_s
        return httpx.ConnectError if away else Reply(after_s=0.03)

    upstream = ScriptedUpstream(gateway)
    client = upstream.client(random=random)
    results = await at_rate(client, calls=round((before_s + gap_s + after_s) * RESTART_RATE), per_second=RESTART_RATE)
    return results, upstream, gap_at, gap_at + gap_s


@pytest.mark.parametrize("gap_s", [0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("random", [UpperBound(), LowerBound(), Random(1)], ids=["longest", "shortest", "between"])
@pytest.mark.torture
def test_a_gateway_that_is_away_for_a_second_fails_no_call(gap_s, random):
    """R18, R20: whatever the jitter; with fewer retries than the 130 that the budget has after 10 s of such traffic."""
    results, upstream, _, _ = run_virtual(restart(gap_s, random=random))
    assert [error for error in results if isinstance(error, Exception)] == []
    attempts = len(upstream.requests) + upstream.refused
    assert attempts - len(results) <= 120


@pytest.mark.parametrize("before_s", [0, 1, 10])
@pytest.mark.parametrize("random", [UpperBound(), LowerBound(), Random(1)], ids=["longest", "shortest", "between"])
@pytest.mark.torture
def test_a_gateway_that_was_away_for_three_seconds_is_found_within_one(before_s, random):
    """R20, R33: after a quiet time the circuit opens, but for less than a second at a time."""
    results, upstream, _, back_at = run_virtual(restart(3.0, random=random, before_s=before_s))
    responded = [at + 0.03 for at in upstream.times if at >= back_at]
    assert responded[0] - back_at <= 1.0
    assert not any(isinstance(result, Exception) for result in results[-4 * RESTART_RATE :])


@pytest.mark.parametrize("random", [UpperBound(), LowerBound(), Random(1)], ids=["longest", "shortest", "between"])
@pytest.mark.torture
def test_a_port_that_is_closed_from_the_first_call_on_is_tried_seldom(random):
    """R20, R33: 10 open the circuit, then one probe for each open time of at least 0.8 s."""

    async def scenario():
        upstream = ScriptedUpstream([], then=httpx.ConnectError)
        results = await at_rate(upstream.client(random=random), calls=1000, per_second=RESTART_RATE)
        assert {type(error) for error in results} == {RequestNotSentError, CircuitOpenError}
        return upstream.refused

    assert run_virtual(scenario()) <= 10 + 1000 / RESTART_RATE / 0.8 + 1


@virtual_time
async def test_first_attempts_never_pay_and_are_never_blocked():
    """R18: with a budget of nothing every call is still made once."""
    upstream = ScriptedUpstream([], then=503)
    client = upstream.client(budget={"ratio": 0, "min_per_s": 0}, circuit_breaker={"mode": "disabled"})
    results = await at_rate(client, calls=20, per_second=100)
    assert {error.stop_reason for error in results} == {"budget"}
    upstream.assert_count(20)


HEDGED = {"hedging": {"max_hedges": 2, "delay_s": 1.0}, "retry": {"max_attempts": 3}}


def hedged(script, events=None, **sections):
    upstream = ScriptedUpstream(script)
    listener = None if events is None else events.append
    return upstream, upstream.client(telemetry=Telemetry(listener=listener), **{**HEDGED, **sections})


@virtual_time
async def test_hedges_start_one_delay_apart_and_the_first_success_wins():
    """R19: at 0, 1 and 2 s; the losers are cancelled and awaited."""
    events = []
    upstream, client = hedged(["hang", "hang", Reply(after_s=0.5)], events)
    response = await get(client)
    upstream.assert_times(0, 1, 2)
    assert response.outcome.attempts == 3
    assert upstream.in_flight == 0
    assert LoopClock().now() == 2.5
    told = [event for event in events if isinstance(event, (HedgeStarted, HedgeWon))]
    assert [(type(event).__name__, event.hedge) for event in told] == [
        ("HedgeStarted", 1),
        ("HedgeStarted", 2),
        ("HedgeWon", 2),
    ]
    assert sorted(record.outcome for record in response.outcome.timeline) == ["cancelled", "cancelled", "ok"]


@virtual_time
async def test_a_prompt_answer_needs_no_hedge():
    """R19: nor does a prompt failure, which is the retry's matter."""
    upstream, client = hedged([Reply(after_s=0.9), 503, 200])
    await get(client)
    await get(client)
    upstream.assert_times(0, 0.9, 1.0)


@virtual_time
async def test_only_what_may_be_repeated_is_hedged():
    """R19: a write without an honoured key never."""
    upstream, client = hedged([Reply(after_s=3, json={})])
    await post(client)
    upstream.assert_times(0)


@virtual_time
async def test_if_all_tries_fail_the_last_error_goes_to_the_retry():
    """R19: the round is one failure; its attempts count to max_attempts."""
    upstream, client = hedged(
        [Reply(status=500, after_s=2), Reply(status=502, after_s=2)],
        hedging={"max_hedges": 1, "delay_s": 1.0},
        retry={"max_attempts": 2},
    )
    with pytest.raises(ServerError) as caught:
        await get(client)
    assert caught.value.status == 502
    assert caught.value.stop_reason == "max_attempts"
    assert caught.value.attempts == 2
    upstream.assert_times(0, 1)
    upstream, client = hedged(["lost", 200])
    assert (await get(client)).outcome.attempts == 2


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"retry": {"max_attempts": 1}}, "max_attempts"),
        ({"budget": {"ratio": 0, "min_per_s": 0}}, "budget"),
        ({"bulkhead": {"permits": 1}}, "bulkhead"),
    ],
)
@virtual_time
async def test_a_refused_hedge_leaves_the_try_in_flight_alone(sections, reason):
    """R19: attempts, budget, permits; the response still comes."""
    events = []
    upstream, client = hedged([Reply(after_s=1.5)], events, **sections)
    assert (await get(client)).status == 200
    assert [event.reason for event in events if isinstance(event, HedgeRefused)] == [reason]
    assert not [event for event in events if isinstance(event, HedgeStarted | AttemptRejected)]  # it was never begun
    upstream.assert_times(0)


@virtual_time
async def test_hedges_that_still_wait_count_to_the_attempts_too():
    """R19: two attempts in all, however slowly their slots come."""
    events = []
    upstream, client = hedged(
        [Reply(after_s=9)] * 4, events, rate_limit={"per_second": 0.2, "burst": 1}, retry={"max_attempts": 2}
    )
    await get(client)
    upstream.assert_times(0, 5)
    assert [event.reason for event in events if isinstance(event, HedgeRefused)] == ["max_attempts"]
    told = [(event.hedge, event.delay_s) for event in events if isinstance(event, HedgeStarted)]
    assert told == [(1, 5.0)]  # when it was sent, and not when it was due


@virtual_time
async def test_a_guard_that_refuses_a_hedge_is_named_and_the_hedge_never_started():
    """R19: its slot would come after the deadline."""
    events = []
    with call_options(deadline_s=9):
        upstream, client = hedged([Reply(after_s=4)], events, rate_limit={"per_second": 0.1, "burst": 1})
        await get(client)
    assert [event.reason for event in events if isinstance(event, HedgeRefused)] == ["rate_limit"] * 2
    assert not [event for event in events if isinstance(event, HedgeStarted)]
    upstream.assert_times(0)


@virtual_time
async def test_a_hedge_that_still_waits_when_the_round_is_decided_never_started():
    """R19: its slot comes at 10 s, the response at 4."""
    events = []
    upstream, client = hedged([Reply(after_s=4)], events, rate_limit={"per_second": 0.1, "burst": 1})
    await get(client)
    assert not [event for event in events if isinstance(event, HedgeStarted | HedgeRefused)]
    upstream.assert_times(0)


def refuse_document(document):
    raise OperationFailedError("no")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    ("definitive", "kind"),
    [
        *((status, StatusError) for status in (301, 400, 401, 403, 404, 409, 410, 422, 501)),
        (Reply(status=404, headers={"retry-after": "1"}), NotFoundError),
        (Reply(body=b"}"), DecodeError),
        ({"success": False}, OperationFailedError),
    ],
    ids=str,
)
@virtual_time
async def test_a_definitive_response_ends_the_round_at_once(method, definitive, kind):
    """R19: as without hedging: from the first attempt while the hedge hangs, and the other way round."""
    late = Reply(status=definitive, after_s=1.5) if isinstance(definitive, int) else definitive
    late = late if isinstance(late, Reply) else Reply(json=late)
    late = Reply(status=late.status, json=late.json, body=late.body, headers=late.headers, after_s=1.5)
    for script, ended_at in (([late, "hang"], 1.5), (["hang", late], 2.5)):
        started = LoopClock().now()
        upstream, client = hedged(script, hedging={"max_hedges": 1, "delay_s": 1.0})
        with pytest.raises(kind) as caught:
            await client.request(method, "/r", path_params={}, decode=refuse_document)
        assert LoopClock().now() - started == ended_at
        assert upstream.in_flight == 0
        assert caught.value.stop_reason == "not_retryable"
        assert caught.value.attempts == 2


@pytest.mark.parametrize(
    ("method", "first"),
    [
        ("DELETE", 404),
        ("PUT", 409),
        ("GET", 503),
        ("GET", 408),
        ("GET", "lost"),
        ("GET", Reply(body=b"[")),
        ("GET", httpx.ConnectError),
    ],
    ids=str,
)
@virtual_time
async def test_what_another_attempt_may_still_change_does_not_end_the_round(method, first):
    """R19: a DELETE finds nothing because the other attempt deleted it; what is repeated is not definitive either."""
    numbers = iter(range(2))

    async def platform(_seen):
        if next(numbers) == 1:
            return Reply(status=200, after_s=2)
        await asyncio.sleep(1.2)
        return first

    _, client = hedged(platform, hedging={"max_hedges": 1, "delay_s": 1.0})
    assert (await client.request(method, "/r", path_params={})).status == 200
    assert LoopClock().now() == 3.0


@pytest.mark.parametrize(
    ("first", "second", "third_at"),
    [
        (Reply(status=429, headers={"retry-after": "5"}, after_s=1.2), Reply(status=503, after_s=0.6), 1.6 + 5.5),
        (Reply(status=503, after_s=1.2), Reply(status=429, headers={"retry-after": "5"}, after_s=0.6), 1.6 + 5.5),
        (
            Reply(status=503, headers={"retry-after": "5"}, after_s=1.2),
            Reply(status=503, headers={"retry-after": "3"}, after_s=0.6),
            1.6 + 5.5,
        ),
        (Reply(status=429, headers={"retry-after": "5"}, after_s=1.2), "lost", 1.2 + 5.5),
    ],
)
@virtual_time
async def test_the_longest_retry_after_of_a_round_is_waited_for(first, second, third_at):
    """R15, R19: whichever attempt got it, and however the last one failed."""
    if second == "lost":

        async def platform(_seen):
            return first if not upstream.requests else ("lost" if len(upstream.requests) == 1 else 200)

        upstream, client = hedged(platform, hedging={"max_hedges": 1, "delay_s": 1.0})
    else:
        upstream, client = hedged([first, second, 200], hedging={"max_hedges": 1, "delay_s": 1.0})
    await get(client)
    upstream.assert_times(0, 1, third_at)


@pytest.mark.parametrize(
    "first",
    [
        Reply(status=429, after_s=1.5),
        Reply(status=503, headers={"x-envoy-overloaded": "true"}, after_s=1.5),
        Reply(status=500, headers={"retry-after": "1"}, after_s=1.5),
    ],
    ids=lambda reply: f"{reply.status} {dict(reply.headers)}",
)
@virtual_time
async def test_a_service_that_asks_for_fewer_requests_gets_no_further_hedge(first):
    """R19: the second hedge is due at 2 s; the first one is in flight, and wins."""
    events = []
    upstream, client = hedged([first, Reply(after_s=3)], events)
    await get(client)
    upstream.assert_times(0, 1)
    assert [event.reason for event in events if isinstance(event, HedgeRefused)] == ["throttled"]


@virtual_time
async def test_a_hedge_that_was_never_sent_costs_neither_an_attempt_nor_budget():
    """R18, R19: rejected after it was decided, or still waiting at the end: one retry is left for what comes then."""
    one = {"budget": {"ratio": 0, "min_per_s": 0.1, "enabled": True}, "retry": {"max_attempts": 2}}
    events = []
    with call_options(deadline_s=9), pytest.raises(ServerError):  # R37: the rate limit rejected the retry
        _, client = hedged(
            [Reply(status=500, after_s=2)],
            events,
            rate_limit={"per_second": 0.1, "burst": 1},
            hedging={"max_hedges": 1, "delay_s": 1.0},
            **one,
        )
        await get(client)
    assert [type(event) for event in events if isinstance(event, HedgeRefused | RetryScheduled | RetryAbandoned)] == [
        HedgeRefused,
        RetryScheduled,
    ]
    upstream, client = hedged(
        [Reply(after_s=4), 500, 200],
        rate_limit={"per_second": 0.1, "burst": 1},
        hedging={"max_hedges": 1, "delay_s": 1.0},
        **one,
    )
    assert (await get(client)).status == 200  # its hedge still waited
    await asyncio.sleep(20)
    await get(client)
    upstream.assert_count(3)


@pytest.mark.parametrize(("slow_ratio", "state"), [(0.5, "open"), (0.0, "closed")])
@virtual_time
async def test_slow_attempts_that_lost_to_a_hedge_count_as_slow(slow_ratio, state):
    """R31, R32: each call has a slow attempt, which is not waited for, and a prompt one."""

    def platform(_seen):
        return Reply(after_s=1.9 if len(upstream.requests) % 2 == 0 else 0.6)

    upstream, client = hedged(
        platform,
        attempt={"timeout_s": 2},
        hedging={"max_hedges": 1, "delay_s": 0.5},
        circuit_breaker={"mode": "normal", "slow_ratio": slow_ratio, "failure_ratio": 1.0},
    )
    outcomes = [(await get(client)).outcome for _ in range(5)]
    assert [round(outcome.elapsed_s, 6) for outcome in outcomes] == [1.1] * 5
    assert outcomes[-1].circuit_state == state


@virtual_time
async def test_a_service_that_is_failing_gets_no_hedges():
    """R19: the probe of a half-open circuit has no company."""
    events = []
    upstream, client = hedged([*[500] * 10, Reply(after_s=3)], events)
    for _ in range(10):
        with call_options(max_attempts=1), pytest.raises(ServerError):
            await get(client)
    await asyncio.sleep(6.1)
    await get(client)
    assert [event.reason for event in events if isinstance(event, HedgeRefused)] == ["circuit_open"] * 2
    assert not [event for event in events if isinstance(event, HedgeStarted | AttemptRejected)]  # it was never begun
    upstream.assert_count(11)


# --- circuit breaker --------------------------------------------------------------------------------------------------


@pytest.mark.torture
@virtual_time
async def test_an_outage_is_probed_by_one_request_at_a_time_and_ends_with_it():
    """R33, R34: recovery takes the open time times 1.2 and one call; the platform never sees two probes."""
    state = {"down": True}

    async def platform(_seen):
        return Reply(status=500 if state["down"] else 200, after_s=0.05)

    upstream = ScriptedUpstream(platform)
    client = upstream.client(retry={"max_attempts": 1})
    await at_rate(client, calls=500, per_second=100)
    upstream.most_in_flight = 0
    await at_rate(client, calls=400, per_second=100)
    assert upstream.most_in_flight <= 1
    state["down"] = False
    back_at, recovered_at = LoopClock().now(), None
    while recovered_at is None:
        (result,) = await asyncio.gather(get(client), return_exceptions=True)
        recovered_at = None if isinstance(result, Exception) else LoopClock().now()
        await asyncio.sleep(0.01)
    assert recovered_at - back_at <= 5.0 * 1.2 + 0.01 + 0.05


async def probed(platform):
    """Open the circuit at 0 s, and make the operation `report` its probe at 6 s."""
    numbers = iter(range(10**6))
    upstream = ScriptedUpstream(lambda seen: 500 if next(numbers) < 10 else platform(seen))
    report = {"report": {"attempt": {"timeout_s": 100}, "deadline": {"total_s": 100}}}
    policies = {"retry": {"max_attempts": 1}, "services": {"service": {"operations": report}}}
    client = upstream.client(policies=ResolvedSettings(policies))
    for _ in range(10):
        with pytest.raises(ServerError):
            await get(client)
    await asyncio.sleep(6.1)
    probe = asyncio.ensure_future(get(client, operation="report"))
    await asyncio.sleep(0)
    return upstream, client, probe


@virtual_time
async def test_a_long_operation_as_probe_does_not_shut_the_others_out():
    """R34, R36: they learn for how long, and one of them is the next probe after the open time."""
    steps = iter([Reply(after_s=60)])
    _, client, probe = await probed(lambda _seen: next(steps, 200))
    started = LoopClock().now()
    with pytest.raises(CircuitOpenError) as caught:
        await get(client)
    assert caught.value.retry_after_s == pytest.approx(5.0)
    await asyncio.sleep(4.99)
    with pytest.raises(CircuitOpenError):
        await get(client)
    await asyncio.sleep(0.01)
    assert (await get(client)).outcome.circuit_state == "closed"
    assert (await probe).status == 200
    assert LoopClock().now() - started == pytest.approx(60)


@pytest.mark.torture
@virtual_time
async def test_a_service_that_hangs_gets_one_probe_more_next_to_a_long_one():
    """R34: at 6.1 s the long one, at 11.1 s another, which opens the circuit at 21.1 s; then one for each 16 s."""
    upstream, client, probe = await probed(lambda _seen: "hang")
    await at_rate(client, calls=10 * 90, per_second=10)
    assert upstream.times[10:] == pytest.approx([6.1, 11.1, 27.1, 43.1, 59.1, 75.1, 91.1], abs=0.3)
    with pytest.raises(DeadlineExceededError):
        await probe


@virtual_time
async def test_a_slow_service_closes_the_circuit_with_its_first_success():
    """R34: after 7 s; the second probe, after 5 s, does not supersede the long one."""
    upstream, client, probe = await probed(lambda _seen: Reply(after_s=7))
    await asyncio.sleep(5)
    second = asyncio.ensure_future(get(client))
    assert (await probe).outcome.circuit_state == "closed"
    assert (await second).status == 200
    upstream.assert_count(12)


@virtual_time
async def test_a_group_of_operations_may_have_a_breaker_of_its_own():
    """R30: one route fails, the others go on."""
    upstream = ScriptedUpstream(lambda seen: 500 if seen.path == "/bad" else 200)
    client = upstream.client(circuit_breaker={"key": "route"}, retry={"max_attempts": 1})
    for _ in range(10):
        with pytest.raises(ServerError):
            await client.get("/bad", path_params={})
    with pytest.raises(CircuitOpenError):
        await client.get("/bad", path_params={})
    await client.get("/good", path_params={})


HANGS = {
    "the setting's": ({"deadline": {"total_s": 8}}, get),
    "the caller's": ({}, lambda client: within(call_options(deadline_s=2), client)),
    "the incoming": ({}, lambda client: within(incoming_deadline(5, clock=LoopClock()), client)),
}


async def within(options, client):
    with options:
        return await get(client)


async def arrive(calls, per_second, one):
    """Make calls at a fixed rate and wait for none; return their results."""
    tasks = []
    for number in range(calls):
        tasks.append(asyncio.create_task(one(number)))
        await asyncio.sleep(1 / per_second)
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.torture
@pytest.mark.parametrize(("calls", "per_second"), [(600, 5), (3000, 10)])
@pytest.mark.parametrize("deadline", HANGS)
@virtual_time
async def test_a_service_that_hangs_opens_the_circuit_however_short_the_deadline(deadline, calls, per_second):
    """R31, R34, R38, R39: at most a hundred requests, the probes among them; what is refused is refused at once."""
    sections, one = HANGS[deadline]
    upstream = ScriptedUpstream([], then="hang")
    client = upstream.client(**sections, random=Random(1))
    results = await arrive(calls, per_second, lambda _number: one(client))
    assert len(upstream.requests) <= 100
    assert {type(error) for error in results} == {DeadlineExceededError, CircuitOpenError}
    refused = [error for error in results if isinstance(error, CircuitOpenError)]
    assert len(refused) >= 0.8 * calls
    assert sum(error.elapsed_s == 0 for error in refused) >= 0.8 * calls  # the others waited, and were not sent


class NeverConnects:
    """A transport whose connections never open; counts the attempts."""

    def __init__(self):
        self.attempts = 0

    async def send(self, _request, _url):
        self.attempts += 1
        await LoopClock().sleep(1e6)

    async def aclose(self):
        pass


@pytest.mark.torture
@pytest.mark.parametrize(("calls", "per_second"), [(600, 5), (3000, 10)])
@pytest.mark.parametrize("make", [get, post])
@virtual_time
async def test_a_service_that_never_connects_opens_the_circuit_however_short_the_deadline(make, calls, per_second):
    """R31, R38: a write that could not be sent in time goes no further, and still counts."""
    transport = NeverConnects()
    client = PlatformHttpClient("http://platform.test", transport=transport, clock=LoopClock(), random=Random(1))

    async def one(_number):
        with call_options(deadline_s=2):
            return await make(client)

    results = await arrive(calls, per_second, one)
    assert transport.attempts <= 100
    assert {type(error) for error in results} == {DeadlineExceededError, CircuitOpenError}


@virtual_time
async def test_a_deadline_too_short_to_connect_says_nothing():
    """R38: less than a second is no chance where one packet is lost."""
    transport = NeverConnects()
    client = PlatformHttpClient("http://platform.test", transport=transport, clock=LoopClock(), random=Random(1))
    for _ in range(20):
        with call_options(deadline_s=0.9), pytest.raises(DeadlineExceededError):
            await post(client)
    assert transport.attempts == 20


@pytest.mark.torture
@pytest.mark.parametrize("hangs", ["hang", "hang_body"])
@virtual_time
async def test_a_service_that_hangs_opens_the_circuit_for_bursts_too(hangs):
    """R38, R39: sixty times fifty calls at once, with five seconds each; also where only the body is missing."""
    upstream = ScriptedUpstream([], then=hangs)
    client = upstream.client()
    for _ in range(60):
        with incoming_deadline(5, clock=LoopClock()):
            await asyncio.gather(*(get(client) for _ in range(50)), return_exceptions=True)
    assert len(upstream.requests) <= 100


@virtual_time
async def test_a_service_that_hangs_for_nine_of_ten_opens_the_circuit():
    """R38: those that are watched speak for those that are not; else one success a second would hide the others."""
    numbers = iter(range(10**6))
    upstream = ScriptedUpstream(lambda _seen: "hang" if next(numbers) % 10 else 200)
    client = upstream.client()
    await arrive(300, 10, lambda _number: within(call_options(deadline_s=2), client))
    assert client._stack.state().breakers == {"service": "open"}


@pytest.mark.torture
@pytest.mark.parametrize("share", [0.0, 0.05])
@virtual_time
async def test_a_slow_service_keeps_its_circuit_closed_whatever_its_callers_deadlines(share):
    """R31, R38, R39: each response takes 8 s; the first calls, and nearly all, or all, wait for 2 to 6 s alone."""
    events, draw = [], Random(2)
    upstream = ScriptedUpstream(lambda _seen: Reply(after_s=8))
    client = upstream.client(telemetry=Telemetry(listener=events.append))

    async def one(number):
        if number >= 100 and draw.random() < share:
            return await get(client)
        with call_options(deadline_s=draw.uniform(2, 6)):
            return await get(client)

    results = await arrive(600, 5, one)
    assert not [event for event in events if isinstance(event, CircuitStateChanged | AttemptRejected)]
    errors = [result for result in results if isinstance(result, Exception)]
    assert {type(error) for error in errors} == {DeadlineExceededError}
    assert len(upstream.requests) > 0.9 * len(results)  # a few of the first waited in vain


@virtual_time
async def test_a_probe_of_a_caller_in_a_hurry_decides():
    """R34, R38: its caller waits for 2 s, it is watched for 10; success closes, silence opens anew."""
    state = {"step": 500}
    upstream = ScriptedUpstream(lambda _seen: state["step"])
    client = upstream.client(retry={"max_attempts": 1})
    await asyncio.gather(*(get(client) for _ in range(10)), return_exceptions=True)
    state["step"] = "hang"
    await asyncio.sleep(6)
    with pytest.raises(DeadlineExceededError):
        await within(call_options(deadline_s=2), client)
    with pytest.raises(CircuitOpenError):
        await get(client)
    assert client._stack.state().breakers == {"service": "half_open"}
    await asyncio.sleep(8.1)
    assert client._stack.state().breakers == {"service": "open"}
    state["step"] = Reply(after_s=8)
    await asyncio.sleep(6)
    with pytest.raises(DeadlineExceededError):
        await within(call_options(deadline_s=2), client)
    await asyncio.sleep(6.1)
    assert client._stack.state().breakers == {"service": "closed"}


@virtual_time
async def test_a_hedge_that_lost_is_not_watched_and_says_nothing():
    """R31, R38, R42: fifty of them, each cancelled by the attempt that won."""
    upstream = ScriptedUpstream([step for _ in range(50) for step in ("hang", 200)])
    client = upstream.client(hedging={"max_hedges": 1, "delay_s": 1.0}, deadline={"total_s": 5}, **NO_BUDGET)
    for _ in range(50):
        await get(client)
        assert upstream.in_flight == 0
    assert client._stack.state().breakers == {"service": "closed"}


@virtual_time
async def test_the_write_of_a_caller_who_was_told_that_nothing_was_sent_is_never_sent():
    """R38: a connection that takes 3 s; a write ends with its call, a read is watched to its end."""
    upstream = ScriptedUpstream([], then=200)

    class SlowToConnect(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            await asyncio.sleep(3)
            return await upstream.handle_async_request(request)

    client = PlatformHttpClient("http://platform.test", transport=SlowToConnect(), clock=LoopClock())
    for method in ("POST", "PUT", "GET"):
        with call_options(deadline_s=2), pytest.raises(DeadlineExceededError) as caught:
            await client.request(method, "/r", path_params={})
        assert caught.value.request_sent == "no"
    await asyncio.sleep(5)
    assert [seen.method for seen in upstream.requests] == ["GET"]


@virtual_time
async def test_closing_the_client_ends_what_is_watched():
    """R38: and it counts nowhere."""
    upstream = ScriptedUpstream([], then="hang")
    client = upstream.client()
    await asyncio.gather(*(within(call_options(deadline_s=2), client) for _ in range(30)), return_exceptions=True)
    assert upstream.in_flight == 10
    await client.aclose()
    await asyncio.sleep(0.01)
    assert upstream.in_flight == 0
    assert client._stack.state().breakers == {"service": "closed"}


@virtual_time
async def test_throttling_and_cancelled_calls_never_open_it():
    """R31: 429 and 408 are the budget's matter; a caller that went away says nothing."""
    upstream = ScriptedUpstream(lambda seen: {"/429": 429, "/408": 408}.get(seen.path, "hang"))
    client = upstream.client(retry={"max_attempts": 1})
    for path in ("/429", "/408"):
        for _ in range(20):
            with pytest.raises(StatusError):
                await client.get(path)
    for _ in range(20):
        task = asyncio.create_task(client.get("/hang"))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(RateLimitedError):
        await client.get("/429")


@virtual_time
async def test_a_call_that_has_sent_nothing_gets_the_breakers_error_and_another_the_upstreams():
    """R37: three calls of three attempts and one of the fourth open it; its own stop is without a wait."""
    upstream = ScriptedUpstream([], then=500)
    client = upstream.client(retry={"base_delay_s": 1.0}, budget={"enabled": False})
    errors = []
    for _ in range(5):
        errors += await asyncio.gather(get(client), return_exceptions=True)
    upstream.assert_count(10)
    assert [(type(error), error.attempts, error.stop_reason) for error in errors[2:]] == [
        (ServerError, 3, "max_attempts"),
        (ServerError, 1, "circuit_open"),
        (CircuitOpenError, 0, "circuit_open"),
    ]
    assert errors[3].circuit_state == "open"
    assert errors[4].circuit_state == "open"
    assert errors[4].request_sent == "no"
    assert LoopClock().now() == upstream.times[-1]


@pytest.mark.torture
@virtual_time
async def test_ten_thousand_rejections_keep_tracebacks_and_memory_flat_and_send_nothing(caplog):
    """R36: each is a new object with as many frames as the first, and none keeps an object alive."""
    caplog.set_level(logging.CRITICAL, "mozaiks.connectors")  # the runner keeps every line
    upstream = ScriptedUpstream([], then=500)
    client = upstream.client(retry={"max_attempts": 1})
    for _ in range(10):
        with pytest.raises(ServerError):
            await get(client)
    lengths, kept = set(), []
    for number in range(10_000):
        if number in {1000, 9999}:
            gc.collect()
            kept.append(len(gc.get_objects()))
        await asyncio.sleep(0)  # the loop throws away cancelled timers when it gets to it
        try:
            await get(client)
        except CircuitOpenError as error:
            length, step = 0, error.__traceback__
            while step is not None:
                length, step = length + 1, step.tb_next
            lengths.add(length)
            assert error.retry_after_s == 6.0
    assert len(lengths) == 1
    assert kept[1] - kept[0] < 1000
    upstream.assert_count(10)


@virtual_time
async def test_a_late_result_of_an_older_epoch_is_ignored():
    """R35: it was sent before the outage and completed after the recovery."""
    late = [Reply(status=500, after_s=8) for _ in range(20)]
    upstream = ScriptedUpstream([*late, *[500] * 10], then=200)
    events = []
    client = upstream.client(retry={"max_attempts": 1}, telemetry=Telemetry(listener=events.append))
    old = [asyncio.create_task(get(client)) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    for _ in range(10):
        with pytest.raises(ServerError):
            await get(client)
    await asyncio.sleep(6.1)
    await get(client)
    await asyncio.gather(*old, return_exceptions=True)
    changes = [(event.before, event.after) for event in events if isinstance(event, CircuitStateChanged)]
    assert changes == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


# --- time, queues, cancellation ---------------------------------------------------------------------------------------


@virtual_time
async def test_the_deadline_cuts_what_it_falls_into():
    """R40: an attempt in flight; a wait before it is not begun."""
    upstream = ScriptedUpstream([], then="hang")
    with call_options(deadline_s=12), pytest.raises(DeadlineExceededError) as caught:
        await get(upstream.client(**OFF))
    upstream.assert_times(0, 10.1)
    assert LoopClock().now() == 12.0
    assert caught.value.stop_reason == "deadline"
    assert caught.value.request_sent == "maybe"


@virtual_time
async def test_an_incoming_deadline_only_shortens():
    """R40: for all calls of a block together, and never beyond the settings' own."""
    upstream = ScriptedUpstream([], then="hang")
    client = upstream.client(**OFF, deadline={"total_s": 8})
    with incoming_deadline(5, clock=LoopClock()):
        for expected in (5, 5):
            with pytest.raises(DeadlineExceededError):
                await post(client)
            assert LoopClock().now() == expected
    upstream.assert_times(0)  # the second had no time left, and not a byte was sent
    with incoming_deadline(99, clock=LoopClock()), pytest.raises(DeadlineExceededError):
        await post(client)
    assert LoopClock().now() == 13


@virtual_time
async def test_the_wait_in_the_queue_counts_to_the_deadline_and_not_to_the_attempt():
    """R41: the second waits 9 s and then has its full 10 s; the third's deadline falls into its wait."""
    upstream = ScriptedUpstream([Reply(after_s=9), Reply(after_s=9), "hang"])
    client = upstream.client(**OFF, bulkhead={"permits": 1}, retry={"max_attempts": 1}, deadline={"total_s": 20})
    first, second = asyncio.create_task(get(client)), asyncio.create_task(get(client))
    await asyncio.sleep(0.001)
    with call_options(deadline_s=5), pytest.raises(DeadlineExceededError) as caught:
        await get(client)
    assert caught.value.attempts == 0
    assert caught.value.request_sent == "no"
    await asyncio.gather(first, second)
    upstream.assert_times(0, 9)


@virtual_time
async def test_a_full_queue_refuses_at_once_and_in_order():
    """R41: typed, without a wait; those who wait are served first come, first served."""
    upstream = ScriptedUpstream([], then=Reply(after_s=1))
    client = upstream.client(bulkhead={"permits": 1, "queue": 3})
    tasks = [asyncio.create_task(get(client, correlation_id=f"c{number}")) for number in range(6)]
    await asyncio.sleep(0.5)
    assert [type(task.exception()) for task in tasks if task.done()] == [BulkheadFullError] * 2
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [request.headers["x-correlation-id"] for request in upstream.requests] == ["c0", "c1", "c2", "c3"]


@virtual_time
async def test_those_who_wait_leave_together_when_their_caller_goes():
    """R41, R42: the holder and three waiters, cancelled by one deadline or by one caller; none ends in another way."""
    upstream = ScriptedUpstream([], then="hang")
    client = upstream.client(bulkhead={"permits": 1}, retry={"max_attempts": 1})
    with call_options(deadline_s=5):
        errors = await asyncio.gather(*(get(client) for _ in range(4)), return_exceptions=True)
    assert [type(error) for error in errors] == [DeadlineExceededError] * 4
    tasks = [asyncio.create_task(get(client)) for _ in range(4)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    assert client._stack.state().attempts_in_flight == client._stack.state().attempts_queued == 0


@virtual_time
async def test_a_rejection_does_not_wait_for_a_turn():
    """R37: the circuit is asked before the rate limit, and no slot is used up."""
    upstream = ScriptedUpstream([], then=500)
    client = upstream.client(rate_limit={"per_second": 1, "burst": 10}, retry={"max_attempts": 1})
    for _ in range(10):
        with pytest.raises(ServerError):
            await get(client)
    for _ in range(5):
        with pytest.raises(CircuitOpenError):
            await get(client)
    assert LoopClock().now() == 0


@virtual_time
async def test_a_turn_others_wait_behind_stays_empty():
    """R42: releasing it must not let two start at once."""
    upstream = ScriptedUpstream([], then=200)
    client = upstream.client(rate_limit={"per_second": 1, "burst": 1})
    await get(client)
    gone, waits = (asyncio.create_task(get(client)) for _ in range(2))
    await asyncio.sleep(0.5)
    gone.cancel()
    await asyncio.gather(gone, waits, get(client), return_exceptions=True)
    upstream.assert_times(0, 2, 3)


@virtual_time
async def test_a_turn_that_was_not_used_is_given_back():
    """R42: a cancelled call makes no gap in the rate."""
    upstream = ScriptedUpstream([], then=200)
    client = upstream.client(rate_limit={"per_second": 1, "burst": 1})
    await get(client)
    gone = asyncio.create_task(get(client))
    await asyncio.sleep(0.5)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await get(client)
    upstream.assert_times(0, 1)
    with call_options(deadline_s=0.5), pytest.raises(RateLimitExceededError):
        await get(client)


@pytest.mark.parametrize("script", ["hang", "hang_body", 503, "queue"])
def test_a_cancelled_call_gives_everything_back(script):
    """R42: wherever it was, unchanged, counted nowhere."""

    async def scenario():
        upstream = ScriptedUpstream(["hang"] if script == "queue" else [script], then=200)
        client = upstream.client(bulkhead={"permits": 1}, retry={"base_delay_s": 9})
        holder = asyncio.create_task(get(client)) if script == "queue" else None
        await asyncio.sleep(0.1)
        task = asyncio.create_task(get(client))
        await asyncio.sleep(1)
        task.cancel("by the caller")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("by the caller",)
        if holder is not None:
            holder.cancel()
            await asyncio.gather(holder, return_exceptions=True)
        state = client._stack.state()
        assert state.calls_in_flight == 0
        assert state.attempts_in_flight == 0
        assert state.attempts_queued == 0
        await get(client)
        assert len(asyncio.all_tasks()) == 1

    run_virtual(scenario())


FORBIDDEN = {
    "time": {"time", "monotonic", "perf_counter", "sleep"},
    "random": {"random", "uniform", "randint", "choice", "seed"},
    "asyncio": {"wait_for", "timeout", "timeout_at", "sleep"},
}


def calls_of(path):
    """Dotted names that are called, but `sleep(0)`, which waits for nothing."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and [ast.unparse(argument) for argument in node.args] != ["0"]:
            module, _, name = ast.unparse(node.func).rpartition(".")
            yield module, name
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", sorted((ROOT / "middleware").rglob("*.py")), ids=lambda path: path.stem)
def test_time_and_chance_are_injected_and_cancellation_is_anyios(path):
    """R43, R44: one clock, one source of randomness; no asyncio.wait_for, which swallows a cancel."""
    found = {f"{module}.{name}" for module, name in calls_of(path) if name in FORBIDDEN.get(module, ())}
    assert found <= ({"time.time", "time.monotonic"} if path.stem == "clock" else set())


def test_seventeen_seconds_pass_without_waiting():
    """R43: the stack waits on the injected clock alone, so that virtual time drives all of it."""

    async def scenario():
        upstream = ScriptedUpstream([503, "hang", httpx.ConnectError, 200])
        await get(upstream.client(retry={"max_attempts": 4}))
        return LoopClock().now()

    assert run_virtual(scenario()) == pytest.approx(10.8)


# --- what goes out, what is logged ------------------------------------------------------------------------------------


@virtual_time
async def test_each_attempt_tells_the_server_which_it_is():
    """R50: the same correlation id, another traceparent, its number; the time left only where asked for."""
    upstream = ScriptedUpstream([503, 503, 200, 200])
    telemetry = Telemetry(tracer_provider=TracerProvider(shutdown_on_exit=False))
    await get(upstream.client(telemetry=telemetry, **OFF), correlation_id="c-1")
    headers = [request.headers for request in upstream.requests]
    assert [sent["x-attempt"] for sent in headers] == [f"attempt={number}; max=3" for number in (1, 2, 3)]
    assert {sent["x-correlation-id"] for sent in headers} == {"c-1"}
    assert len({sent["traceparent"] for sent in headers}) == 3
    assert not any("x-request-timeout-ms" in sent for sent in headers)
    with call_options(deadline_s=4, max_attempts=1):
        await get(upstream.client(attempt={"announce": True}))
    assert upstream.requests[-1].headers["x-request-timeout-ms"] == "4000"
    assert upstream.requests[-1].headers["x-attempt"] == "attempt=1; max=1"


@virtual_time
async def test_a_value_with_a_separator_is_for_operations_that_allow_it():
    """R54, R60: what one operation allows, another one does not; a path filled by hand is its author's."""
    policies = {"services": {"service": {"operations": {"read_file": {"path": {"allow_slash": True}}}}}}
    upstream = ScriptedUpstream([], then=200)
    client = upstream.client(policies=ResolvedSettings(policies))
    for value in ("a/b", "a\\b", "a;b", "a%2fb"):
        with pytest.raises(
            InvalidArgumentError, match=r"path_params.id: must not contain .* path\.allow_slash"
        ) as caught:
            await client.get("/files/{id}", path_params={"id": value}, operation="read_user")
        assert value not in str(caught.value)
    upstream.assert_count(0)
    await client.get("/files/{id}", path_params={"id": "a/b;c"}, operation="read_file")
    await client.get("/files/a/b;c", operation="read_user")
    assert [request.path for request in upstream.requests] == ["/files/a/b;c"] * 2


@pytest.mark.torture
def test_labels_are_bounded(recorder):
    """R51: a thousand ids in paths make one series."""

    async def scenario():
        upstream = ScriptedUpstream([], then=200)
        client = upstream.client(telemetry=recorder.telemetry)
        for number in range(1000):
            await client.get("/users/{user_id}", path_params={"user_id": number})
            await client.get(f"/users/{number}")

    run_virtual(scenario())
    for metric in ("http.client.request.duration", "mozaiks.connector.call.duration"):
        assert len(recorder.points(metric)) <= 2


@virtual_time
async def test_every_error_tells_the_whole_story():
    """R52: each attribute, from a call that failed twice, the second time with too long a Retry-After."""
    body = json.dumps({"error": "Down", "message": "try later"}).encode()
    upstream = ScriptedUpstream(["lost", Reply(status=503, body=body, headers={"retry-after": "60"})])
    client = upstream.client(service="orders", **OFF)
    with pytest.raises(ServerError) as caught:
        await client.get("/o/{id}", path_params={"id": 7}, operation="get_order", correlation_id="c-9")
    error = caught.value
    assert error.service == "orders"
    assert error.operation == "get_order"
    assert error.method == "GET"
    assert error.route == "/o/{id}"
    assert error.status == 503
    assert error.problem.code == "Down"
    assert error.problem.message == "try later"
    assert error.attempts == 2
    assert error.stop_reason == "retry_after_max"
    assert error.retry_after_s == 60.0
    assert (error.request_sent, error.is_retry_safe, error.correlation_id) == ("yes", True, "c-9")
    assert error.elapsed_s == pytest.approx(0.1)
    assert error.circuit_state == "disabled"
    assert [(record.outcome, record.request_sent, record.delay_s) for record in error.timeline] == [
        ("ResponseLostError", "maybe", 0.0),
        ("ServerError", "yes", 0.1),
    ]


@virtual_time
async def test_listeners_are_told_what_the_caller_gets():
    """R52: a third-party exception is ours before any listener gets it, and an unknown outcome is reported as one."""
    events = []

    def broken(_seen):
        raise ZeroDivisionError("third-party")

    upstream = ScriptedUpstream(broken)
    with pytest.raises(InternalError) as caught:
        await post(upstream.client(telemetry=Telemetry(listener=events.append)))
    ends = [event for event in events if isinstance(event, AttemptFinished | CallFinished)]
    assert {type(event.error) for event in ends} == {InternalError}
    assert ends[-1].error is caught.value
    assert ends[-1].result == "failure"
    assert caught.value.stop_reason == "not_retryable"


@virtual_time
async def test_every_failed_call_has_a_reason_to_have_stopped():
    """R52: also one that a guard rejected or that never began."""
    upstream = ScriptedUpstream([], then="hang")
    client, idle = upstream.client(calls={"max_in_flight": 1}), upstream.client()
    holder = asyncio.create_task(get(client))
    await asyncio.sleep(1)
    for wrong, reason in (
        (get(client), "call cap reached: 1 calls in flight"),
        (idle.get("no path"), "path: must start with exactly one '/': absolute URLs are refused"),
        (idle.get("/r", operation=["x"]), "operation: must be str"),
    ):
        with pytest.raises(CallError) as caught:
            await wrong
        assert caught.value.reason == reason
        assert caught.value.stop_reason == "not_retryable"
        assert caught.value.attempts == 0
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)


@virtual_time
async def test_mistakes_of_the_caller_carry_the_record_too():
    """R52: nothing was sent, and the error says for which call."""
    upstream = ScriptedUpstream([])
    with pytest.raises(InvalidArgumentError) as caught:
        await ManagedServiceConnector(upstream.client()).get_item("")
    assert caught.value.operation == "get_item"
    assert caught.value.attempts == 0
    assert caught.value.request_sent == "no"
    with pytest.raises(InvalidArgumentError, match="app_id: required when scope is 'app'") as caught:
        await ManagedPaymentConnector(upstream.client()).cancel(scope="app", correlation_id="c-5")
    assert caught.value.operation == "cancel"
    assert caught.value.correlation_id == "c-5"


OTHERS = "9d8be2aa-ad34-4b04-8e15-09c1b2e0ff6a"


def echoing(*statuses):
    """Echoes the id of a request; a status of *statuses* that is negative comes with another call's instead."""
    left = list(statuses)

    def answer(seen):
        status = left.pop(0)
        received = OTHERS if status < 0 else seen.headers["x-correlation-id"]
        return Reply(status=abs(status), json={}, headers={"x-correlation-id": received})

    return answer


@pytest.mark.parametrize("status", [-200, -404, -429, -503])
@virtual_time
async def test_a_response_of_another_call_counts_as_lost(status):
    """R53: R11: a read is repeated, a write is not and is ambiguous; its status and Retry-After are another call's."""
    upstream = ScriptedUpstream(echoing(200, status, 200, status))
    events = []
    client = upstream.client(telemetry=Telemetry(listener=events.append), **OFF)
    await get(client)
    response = await get(client)
    assert [(one.outcome, one.status, one.request_sent) for one in response.outcome.timeline] == [
        ("ResponseLostError", None, "maybe"),
        ("ok", 200, "yes"),
    ]
    with pytest.raises(ResponseLostError) as caught:
        await post(client)
    assert (caught.value.outcome_unknown, caught.value.attempts, caught.value.retry_after_s) == (True, 1, None)
    mismatched = [event for event in events if isinstance(event, CorrelationIdMismatched)]
    assert [event.received for event in mismatched] == [OTHERS] * 2


@virtual_time
async def test_a_service_that_mixes_up_its_responses_is_refused():
    """R53: R31: each counts as a failure, a 404 too."""
    upstream = ScriptedUpstream(echoing(200, *[-200] * 5, *[-404] * 4))
    client = upstream.client(retry={"max_attempts": 1})
    await get(client)
    for _ in range(9):
        with pytest.raises(ResponseLostError):
            await get(client)
    with pytest.raises(CircuitOpenError):
        await get(client)
    upstream.assert_count(10)


@virtual_time
async def test_a_delete_whose_response_went_elsewhere_may_have_been_done():
    """R53: R13: the 404 of the second attempt is the success of the first."""
    upstream = ScriptedUpstream(echoing(200, -200, 404))
    client = upstream.client(**OFF)
    await get(client)
    response = await client.request("DELETE", "/r", path_params={})
    assert response.outcome.already_deleted


@virtual_time
async def test_each_service_is_judged_by_its_own_echo_and_its_own_switch():
    """R53: what one client has learned is of its service alone."""
    policies = ResolvedSettings({"services": {"loose": {"correlation": {"verify_echo": False}}}})
    upstream = ScriptedUpstream(echoing(200, -200, 200, -200))
    await get(upstream.client(service="strict", policies=policies))
    await get(upstream.client(service="other", policies=policies))  # it has not echoed yet
    loose = upstream.client(service="loose", policies=policies)
    await get(loose)
    response = await get(loose)
    assert response.correlation_id == OTHERS
    assert response.outcome.call.correlation_id != OTHERS
    upstream.assert_count(4)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_operations_are_named_as_their_methods_are():
    """R60: so that a setting for an operation finds it."""
    for service in services_and_operations():
        source = (ROOT / "runtime" / "connectors" / f"{service}.py").read_text()
        named = set(re.findall(r'operation="(\w+)"', source))
        assert named <= set(services_and_operations()[service]), service


def test_an_operations_settings_reach_its_calls():
    """R60: one operation is never retried, the others are."""

    async def scenario():
        upstream = ScriptedUpstream([], then=503)
        policies = ResolvedSettings(
            {"services": {"service": {"operations": {"get_item": {"retry": {"max_attempts": 1}}}}}}
        )
        connector = ManagedServiceConnector(upstream.client(policies=policies, random=UpperBound()))
        counts = []
        for call in (connector.get_item("i"), connector.list_items()):
            before = len(upstream.requests)
            with pytest.raises(ServerError):
                await call
            counts.append(len(upstream.requests) - before)
        assert counts == [1, 3]

    run_virtual(scenario())
