"""What tests of single layers need: a request, a clock moved by sleeping, fixed randomness, a scripted rest of the stack."""

import asyncio
from unittest import mock

import anyio
from raw_server import RawServer

from middleware._internal.time_limit import Alarm
from middleware.records import CallInfo
from middleware.types import Call, PlatformRequest, PlatformResponse


class FakeClock:
    """
    Time moves by sleeping; `slept` keeps the delays.

    Args:
        base: A clock whose time passes in addition; None: only sleeping, and setting `time`, moves time.
        checkpoint: Whether a sleep lets other tasks run, and can be cancelled, as a real one.
    """

    def __init__(self, base=None, *, checkpoint=False):
        self.time = 0.0
        self.slept = []
        self._base = base
        self._checkpoint = checkpoint

    def now(self):
        return self.time + (self._base.now() if self._base else 0.0)

    def wall(self):
        return self.time + (self._base.wall() if self._base else 1_800_000_000)

    async def sleep(self, delay_s):
        if self._checkpoint:
            await anyio.sleep(0)
        self.slept.append(delay_s)
        self.time += delay_s


class LowerBound:
    """Randomness at its lower bound; `runtime.testing.UpperBound` is its counterpart."""

    def uniform(self, low, _high):
        return low


def a_request(*, idempotent=True, method="GET", headers=None, settings=(), decode=None, **call):
    """A request of a call with *settings*; what is left out has its default."""
    call = {"max_attempts": 3, "started_at": 0.0, **call}
    info = CallInfo(
        service="svc", operation="op", method=method, route="/r", idempotent=idempotent, correlation_id="c-1"
    )
    snapshot = {type(section): section for section in settings}
    state = Call(info=info, snapshot=snapshot, **call)
    return PlatformRequest(call=state, method=method, path="/r", path_params={}, headers=headers or {}, decode=decode)


class Upstream:
    """Raises or returns what it was given, one per call; counts the calls."""

    def __init__(self, *results):
        self.results = list(results)
        self.requests = []

    @property
    def calls(self):
        return len(self.requests)

    async def __call__(self, request):
        self.requests.append(request)
        request.call.attempts_sent += 1
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, BaseException):
            raise result
        return PlatformResponse(status=200, headers={})


async def armed(layer, request):
    """Seconds after which *layer* ends the rest of the stack, by the time limit that it sets; None for never."""
    loop, found = asyncio.get_running_loop(), []
    add = Alarm.add

    def recorded(alarm, limit, *args):
        found.append(limit.ends_at - loop.time())
        add(alarm, limit, *args)

    with mock.patch.object(Alarm, "add", recorded):
        assert (await layer(request, Upstream(None))).status == 200
    assert len(found) <= 1
    return found[0] if found else None


async def connections_of_two(send, transport, clock, *, method, idle_s):
    """Numbers of the connections of two attempts by *send*, with *idle_s* between them; closes *transport*."""
    async with RawServer() as server:
        for clock.time in (0.0, idle_s):
            await send(transport, server.url + "/x", method=method)
        await transport.aclose()
    return [seen.connection for seen in server.requests]
