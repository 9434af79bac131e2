"""The timeout of one attempt."""

import anyio
import pytest
from layer_support import FakeClock, Upstream, a_request, armed

from middleware.errors import RequestNotSentError, ResponseLostError
from middleware.policies.deadline import AttemptTimeoutMiddleware, AttemptTimeoutSettings
from middleware.policies.watched_attempts import WatchedAttempts


def attempt_timeout(clock):
    return AttemptTimeoutMiddleware(clock, WatchedAttempts(clock))


@pytest.mark.parametrize(("left_s", "armed_s"), [(10.0, None), (10.5, 10.0), (9.0, None), (float("inf"), 10.0)])
async def test_the_attempt_timeout_is_armed_only_where_it_is_shorter(left_s, armed_s):
    """R40: otherwise the deadline alone ends the attempt, also where both end at the same moment."""
    clock = FakeClock()
    clock.time = 3.0
    request = a_request(deadline_at=3.0 + left_s)
    found = await armed(attempt_timeout(clock), request)
    assert found == (None if armed_s is None else pytest.approx(armed_s, abs=1))
    assert request.attempt.timeout_s == 10.0


@pytest.mark.parametrize(
    ("sent", "kind"), [("no", RequestNotSentError), ("maybe", ResponseLostError), ("yes", ResponseLostError)]
)
async def test_an_attempt_that_timed_out_says_how_far_it_got(sent, kind):
    """R44: the scope's cancellation becomes one of our errors."""
    request = a_request(settings=[AttemptTimeoutSettings(timeout_s=0.01)])

    async def hang(request):
        request.attempt.request_sent = sent
        await anyio.sleep_forever()

    with pytest.raises(kind) as caught:
        await attempt_timeout(FakeClock())(request, hang)
    assert caught.value.reason == "attempt timed out after 0.01 s"
    assert caught.value.request_sent == sent


@pytest.mark.parametrize(("left_s", "sent"), [(4.0, "4000"), (60.0, "10000"), (0.0001, "1")])
async def test_the_remaining_time_is_sent_to_the_server(left_s, sent):
    """R50: where the setting asks for it, in whole milliseconds, at least one."""
    request = a_request(deadline_at=left_s, settings=[AttemptTimeoutSettings(announce=True)])
    upstream = Upstream(None)
    await attempt_timeout(FakeClock())(request, upstream)
    assert upstream.requests[0].headers == {"x-request-timeout-ms": sent}
    quiet = Upstream(None)
    await attempt_timeout(FakeClock())(a_request(), quiet)
    assert quiet.requests[0].headers == {}
