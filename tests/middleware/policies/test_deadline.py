"""The deadline of a whole call."""

import anyio
import pytest
from layer_support import FakeClock, Upstream, a_request, armed

from middleware.errors import DeadlineExceededError
from middleware.policies.deadline import DeadlineMiddleware, DeadlineSettings


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
async def test_nothing_is_sent_when_the_deadline_has_passed_before(asked_s, now, text):
    """R40: the rest of the stack is not entered, and an event is emitted."""
    clock, events, upstream = FakeClock(), [], Upstream(None)
    clock.time = now
    request = a_request(deadline_s=asked_s)
    with pytest.raises(DeadlineExceededError) as caught:
        await DeadlineMiddleware(clock, events.append)(request, upstream)
    assert upstream.calls == 0
    assert request.call.stop_reason == "deadline"
    assert caught.value.reason == f"deadline of {text} s exceeded"
    assert caught.value.request_sent == "no"
    assert [event.total_s for event in events] == [float(text)]


async def test_what_waits_is_cancelled_at_the_deadline():
    """R44: in whichever layer it waits."""
    request = a_request(deadline_s=0.01)

    async def hang(_request):
        await anyio.sleep_forever()

    with pytest.raises(DeadlineExceededError):
        await DeadlineMiddleware(FakeClock(), lambda _event: None)(request, hang)
    assert request.call.stop_reason == "deadline"
