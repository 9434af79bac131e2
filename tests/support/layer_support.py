"""What the tests of single layers need: a request, a clock that moves only by sleeping, a scripted rest of the stack."""

import anyio
from raw_server import RawServer

from middleware.records import CallInfo
from middleware.types import Call, PlatformRequest, PlatformResponse


class FakeClock:
    """Time moves only by sleeping."""

    def __init__(self):
        self.time = 0.0
        self.slept = []

    def now(self):
        return self.time

    def wall(self):
        return 1_800_000_000 + self.time

    async def sleep(self, delay_s):
        self.slept.append(delay_s)
        self.time += delay_s


class Highest:
    """Randomness that always gives the upper bound."""

    def uniform(self, _low, high):
        return high


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
    """Seconds after which *layer* ends the rest of the stack; None for never."""
    found = []

    async def rest(_request):
        found.append(anyio.current_effective_deadline() - anyio.current_time())
        return PlatformResponse(status=200, headers={})

    assert (await layer(request, rest)).status == 200
    return None if found[0] == float("inf") else found[0]


async def connections_of_two(send, transport, clock, *, method, idle_s):
    """Numbers of the connections of two attempts by *send*, with *idle_s* between them; closes *transport*."""
    async with RawServer() as server:
        for clock.time in (0.0, idle_s):
            await send(transport, server.url + "/x", method=method)
        await transport.aclose()
    return [seen.connection for seen in server.requests]
