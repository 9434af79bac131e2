"""
The core's payment connector on top of ours: policy, mocks, errors and lines.

Also the tests of `runtime.adapters.core_logs`.
"""

import asyncio
import logging
import traceback

import pytest
from core_support import ACTIVE, ID, JWT, STATUS, close, core_lines, loaded, managed
from raw_server import RawServer, ok

from middleware import CallError, PlatformError
from runtime.adapters import core as adapter
from runtime.connectors import loader

pytestmark = pytest.mark.torture


def test_the_payment_policy_is_the_cores(core, tmp_path):
    """Three attempts, 10 s each, 5 s for connecting, waits of 0.25 s to 2 s; for payment alone, and a setting wins."""
    managed(core, CONNECTORS_PAYMENT__RETRY_MAX_DELAY_S="3")
    file = tmp_path / "settings.toml"
    file.write_text("[services.payment.attempt]\ntimeout_s = 7.0\n[services.payment.retry]\nmax_delay_s = 9.0\n")
    adapter.install()
    inner = loader.load_connectors()
    policy = loader.client_of(inner, "payment").policy("subscription_status")
    assert policy.attempt.timeout_s == 10.0
    assert policy.transport.connect_timeout_s == 5.0
    retry = policy.retry
    assert retry.max_attempts == 3
    assert retry.base_delay_s == 0.25
    assert retry.max_delay_s == 3.0
    assert retry.throttle_base_delay_s == 0.25
    assert retry.throttle_max_delay_s == 2.0
    assert retry.not_sent_max_attempts == 3
    assert retry.not_sent_base_delay_s == 0.25
    assert retry.not_sent_max_delay_s == 2.0
    assert loader.client_of(inner, "billing").policy() == type(policy)()
    core.setenv("MOZAIKS_CONNECTORS_FILE", str(file))
    policy = loader.client_of(loader.load_connectors(), "payment").policy()
    assert policy.attempt.timeout_s == 7.0
    assert policy.retry.max_delay_s == 3.0
    assert policy.retry.base_delay_s == 0.25


@pytest.mark.parametrize("call", ["checkout", "subscription_status", "cancel"])
async def test_a_mock_is_the_incumbents(core, caplog, call):
    """Objects, and lines with their names, levels, order and keys; but for the session's random id."""
    caplog.set_level(logging.INFO)
    from mozaiks_app.connectors import base

    payload = {"checkout": base.CheckoutRequest(scope="app", appId="a"), "cancel": base.CancelRequest(scope="app")}
    arguments = STATUS if call == "subscription_status" else {"payload": payload[call], "correlation_id": ID}
    found = []
    for install in (lambda: None, adapter.install):
        install()
        caplog.clear()
        made = await getattr(loaded().payment, call)(**arguments)
        fixed = {"sessionId": "any"} if call == "checkout" else {}
        lines = [(*place, {**line, **fixed}) for *place, line in core_lines(caplog)]
        found.append((made.model_dump() | fixed, lines, [list(line) for *_, line in lines]))
    assert found[0] == found[1]
    assert len(found[0][1]) == 1


async def test_a_mock_raises_for_no_argument(core):
    """Nor does a managed call: the core's sentinels, and its own error."""
    from mozaiks_app.connectors.managed import GatewayRequestError

    adapter.install()
    for mode in ("self_hosted", "managed"):
        if mode == "managed":
            managed(core)
        payment = loaded().payment
        for value in (None, 3, object()):
            found = await payment.subscription_status(scope=value, appId=value, correlation_id=value)
            assert found.active is (mode == "self_hosted")
            assert (await payment.cancel(payload=value, correlation_id=value)).ok is (mode == "self_hosted")
            if mode == "self_hosted":
                assert (await payment.checkout(payload=value, correlation_id=value)).sessionId
            else:
                with pytest.raises(GatewayRequestError, match="payload: cannot be read"):
                    await payment.checkout(payload=value, correlation_id=value)


@pytest.mark.sockets
async def test_a_failed_checkout_raises_the_cores_error_with_ours_as_its_cause(core):
    """R52: with the status, what the platform says about it, and no token in any frame of its traceback."""
    from mozaiks_app.connectors.base import CheckoutRequest
    from mozaiks_app.connectors.managed import GatewayRequestError

    body = b'{"errorCode": "plan_unknown", "message": "no such plan"}'
    refused = ok(body, b"content-type: application/json", status=b"422 Unprocessable")
    async with RawServer(lambda _: refused) as server:
        managed(core, server.url)
        adapter.install()
        with pytest.raises(GatewayRequestError) as caught:
            await loaded().payment.checkout(
                payload=CheckoutRequest(scope="platform", plan="secret-plan"), correlation_id=ID, user_jwt=JWT
            )
        await close()
    error = caught.value
    assert error.status_code == 422
    assert isinstance(error.__cause__, CallError)
    assert error.__cause__.problem.code == "plan_unknown"
    assert error.__cause__.correlation_id == ID
    assert "422" in str(error)
    own = [error, error.__cause__]
    frames = [frame for one in own for frame, _ in traceback.walk_tb(one.__traceback__)]
    inside = [frame.f_locals for frame in frames if "/tests/" not in frame.f_code.co_filename]
    assert JWT not in repr(inside)
    assert "secret-plan" not in repr(inside)


@pytest.mark.sockets
async def test_a_rejection_is_a_line_without_an_attempt(core, caplog):
    """What no request was sent for is logged all the same."""
    caplog.set_level(logging.INFO)
    managed(core, CONNECTORS_PAYMENT__CALLS_MAX_IN_FLIGHT="1")

    async with RawServer(serve=lambda peer, _: peer.gone()) as server:
        core.setenv("MOZAIKS_GATEWAY_BASE_URL", server.url)
        adapter.install()
        first = asyncio.create_task(loaded().payment.subscription_status(**STATUS))
        while not server.requests:
            await asyncio.sleep(0.01)
        found = await loaded().payment.subscription_status(**STATUS)
        assert (found.active, found.status) == (False, "unavailable")
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await close()
    lines = [(line["event"], line.get("attempt"), line.get("error")) for _, _, line in core_lines(caplog)]
    assert lines[:2] == [("gateway.request", 1, None), ("gateway.error", 0, "rejected by call_cap")]
    assert [event for event, *_ in lines[2:]] == ["payment.subscription_status_error"]
    assert len(server.requests) == 1


@pytest.mark.sockets
async def test_a_cancelled_call_is_cancelled_and_the_next_one_works(core):
    """As the core's plugin manager does after its 30 s; nothing stays in flight."""

    async def serve(peer, _seen):
        if len(server.requests) > 1:
            await peer.write(ACTIVE)
            return True
        await peer.gone()
        return False

    async with RawServer(serve=serve) as server:
        managed(core, server.url)
        adapter.install()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loaded().payment.subscription_status(**STATUS), 0.2)
        assert (await loaded().payment.subscription_status(**STATUS)).active
        assert loader.load_connectors().calls_in_flight == 0
        await close()


@pytest.mark.sockets
async def test_concurrent_calls_have_lines_of_their_own(core, caplog):
    """Scope, app and id of the call that a line is about; calls of other services write none."""
    caplog.set_level(logging.INFO)
    async with RawServer(lambda _: ACTIVE) as server:
        managed(core, server.url)
        adapter.install()
        payment = loaded().payment
        ids = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(20)]
        calls = [payment.subscription_status(scope="app", appId=f"app-{one}", correlation_id=one) for one in ids]
        await asyncio.gather(
            *calls, *[loader.load_connectors().service.list_items() for _ in ids], return_exceptions=True
        )
        with pytest.raises(PlatformError):
            await loader.load_connectors().payment.subscription_status(scope="app")
        await close()
    lines = [line for _, _, line in core_lines(caplog)]
    assert len(lines) == 40
    assert all(line["appId"] == f"app-{line['correlationId']}" for line in lines)
