"""The two cuts: of the whole call, and of one attempt."""

import anyio
import pytest
from layer_support import FakeClock, Upstream, a_request

from middleware.errors import DeadlineExceededError, RequestNotSentError, ResponseLostError
from middleware.policies.deadline import (
    AttemptTimeoutMiddleware,
    AttemptTimeoutSettings,
    DeadlineMiddleware,
    DeadlineSettings,
)
from middleware.policies.watched_attempts import WatchedAttempts
from middleware.types import PlatformResponse


def attempt_timeout(clock):
    return AttemptTimeoutMiddleware(clock, WatchedAttempts(clock))


async def armed(layer, request):
    """Seconds after which the rest of the stack is cut; None for never."""
    found = []

    async def rest(_request):
        found.append(anyio.current_effective_deadline() - anyio.current_time())
        return PlatformResponse(status=200, headers={})

    assert (await layer(request, rest)).status == 200
    return None if found[0] == float("inf") else found[0]


@pytest.mark.parametrize(("left_s", "cut_s"), [(10.0, None), (10.5, 10.0), (9.0, None), (float("inf"), 10.0)])
async def test_the_attempt_timeout_is_armed_only_where_it_is_shorter(left_s, cut_s):
    """R40: else the deadline cuts alone, also where both would end in the same moment."""
    clock = FakeClock()
    clock.time = 3.0
    request = a_request(deadline_at=3.0 + left_s)
    found = await armed(attempt_timeout(clock), request)
    assert found == (None if cut_s is None else pytest.approx(cut_s, abs=1))
    assert request.attempt.timeout_s == 10.0


@pytest.mark.parametrize(
    ("sent", "kind"), [("no", RequestNotSentError), ("maybe", ResponseLostError), ("yes", ResponseLostError)]
)
async def test_an_attempt_that_was_cut_says_how_far_it_got(sent, kind):
    """R44: the scope's cancellation becomes one of our errors."""
    request = a_request(settings=[AttemptTimeoutSettings(timeout_s=0.01)])

    async def hang(request):
        request.attempt.request_sent = sent
        await anyio.sleep_forever()

    with pytest.raises(kind) as caught:
        await attempt_timeout(FakeClock())(request, hang)
    assert (caught.value.reason, caught.value.request_sent) == ("attempt timed out after 0.01 s", sent)


@pytest.mark.parametrize(("left_s", "told"), [(4.0, "4000"), (60.0, "10000"), (0.0001, "1")])
async def test_the_server_is_told_how_long_it_is_waited_for(left_s, told):
    """R50: where asked for, in whole milliseconds, at least one."""
    request = a_request(deadline_at=left_s, settings=[AttemptTimeoutSettings(announce=True)])
    upstream = Upstream(None)
    await attempt_timeout(FakeClock())(request, upstream)
    assert upstream.requests[0].headers == {"x-request-timeout-ms": told}
    quiet = Upstream(None)
    await attempt_timeout(FakeClock())(a_request(), quiet)
    assert quiet.requests[0].headers == {}


@pytest.mark.parametrize(("asked_s", "total_s"), [(None, 20.0), (30.0, 20.0), (8.0, 8.0)])
async def test_a_caller_only_shortens_the_deadline(asked_s, total_s):
    """R40, R44: counted from the start of the call, not from where it is armed."""
    clock = FakeClock()
    clock.time = 5.0
    request = a_request(deadline_s=asked_s, settings=[DeadlineSettings(total_s=20.0)])
    found = await armed(DeadlineMiddleware(clock, print), request)
    assert request.call.deadline_at == total_s
    assert found == pytest.approx(total_s - 5.0, abs=1)


@pytest.mark.parametrize(("asked_s", "now", "text"), [(5.0, 5.0, "5"), (-3.0, 0.0, "0"), (2.0, 7.0, "2")])
async def test_not_a_byte_leaves_when_the_time_is_up_before(asked_s, now, text):
    """R40: the rest of the stack is not entered, and the fact is told."""
    clock, events, upstream = FakeClock(), [], Upstream(None)
    clock.time = now
    request = a_request(deadline_s=asked_s)
    with pytest.raises(DeadlineExceededError) as caught:
        await DeadlineMiddleware(clock, events.append)(request, upstream)
    assert (upstream.calls, request.call.stop_reason) == (0, "deadline")
    assert (caught.value.reason, caught.value.request_sent) == (f"deadline of {text} s exceeded", "no")
    assert [event.total_s for event in events] == [float(text)]


async def test_what_waits_is_cut_at_the_deadline():
    """R44: wherever it waits."""
    request = a_request(deadline_s=0.01)

    async def hang(_request):
        await anyio.sleep_forever()

    with pytest.raises(DeadlineExceededError):
        await DeadlineMiddleware(FakeClock(), lambda _event: None)(request, hang)
    assert request.call.stop_reason == "deadline"
