"""A deadline that comes with the core's request."""

import asyncio

import pytest

from middleware import DeadlineExceededError
from runtime.asgi import IncomingDeadlineMiddleware
from runtime.testing import LoopClock, ScriptedUpstream, run_virtual


def ended_at(*headers, kind="http"):
    """When a call ends that is made for a request with *headers* and meets silence."""

    async def scenario():
        client = ScriptedUpstream([], then="hang").client(retry={"max_attempts": 1})

        async def app(_scope, _receive, _send):
            await client.post("/r")

        try:
            await IncomingDeadlineMiddleware(app, LoopClock())({"type": kind, "headers": headers}, None, None)
        except Exception as error:
            return asyncio.get_running_loop().time(), type(error)

    return run_virtual(scenario())


def test_the_callers_patience_ends_the_call():
    """R40: three seconds; header names may be written in any case."""
    assert ended_at((b"x-other", b"1"), (b"X-Request-Timeout-Ms", b"3000")) == (3.0, DeadlineExceededError)


@pytest.mark.parametrize("value", [b"", b"-5", b"soon", b"3.5", b"9" * 10, b"60000"])
def test_what_is_no_shorter_deadline_changes_nothing(value):
    """R40: it only shortens; what cannot be read is ignored."""
    assert ended_at((b"x-request-timeout-ms", value))[0] == 10.0


def test_what_is_no_http_request_passes():
    """A server's lifespan has no headers."""
    assert ended_at(kind="lifespan")[0] == 10.0
