"""Attempts that go on after their call."""

import asyncio
import gc
import weakref
from contextvars import ContextVar

import pytest
from layer_support import FakeClock, a_request

from middleware.errors import ResponseLostError
from middleware.policies.watched_attempts import WatchedAttempts

PLACE = ContextVar("place", default="nowhere")


class Late:
    """An attempt that ends when it is asked to, and what was reported of its end."""

    def __init__(self, *, sent="maybe", method="GET", over_at=2.0):
        self.clock = FakeClock()
        self.watched = WatchedAttempts(self.clock)
        self.request = a_request(method=method, deadline_at=over_at)
        self.request.attempt.request_sent = sent
        self.end = asyncio.Event()
        self.result = "response"
        self.reported, self.reported_in, self.state = [], [], "never begun"

    async def _attempt(self):
        self.state = "runs"
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.state = "cancelled"
            await asyncio.sleep(0)
            self.state = "cleaned up"
            raise
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def _report(self, error):
        self.reported.append(error)
        self.reported_in.append(PLACE.get())

    def start(self):
        return asyncio.create_task(self.watched.run(self.request, self._attempt(), self._report))

    async def cancelled_at(self, now):
        """Start, and be cancelled at *now*."""
        caller = self.start()
        await asyncio.sleep(0.001)
        self.clock.time = now
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    async def ends(self, result):
        self.result = result
        self.end.set()
        await asyncio.sleep(0.001)


async def test_a_result_in_time_is_handed_on():
    """R38: a response or an error; nothing is reported."""
    late = Late()
    caller = late.start()
    late.end.set()
    assert await caller == "response"
    late.result = ResponseLostError("x")
    with pytest.raises(ResponseLostError):
        await late.start()
    assert late.reported == []
    assert not late.request.attempt.goes_on


@pytest.mark.parametrize("result", ["response", ResponseLostError("x")], ids=["response", "error"])
async def test_the_deadline_ends_the_wait_and_not_the_attempt(result):
    """R38: how it ended is reported once, outside of the call's context."""
    late = Late()
    PLACE.set("the call")
    await late.cancelled_at(2.0)
    assert (late.state, late.request.attempt.goes_on, late.reported) == ("runs", True, [])
    await late.ends(result)
    assert late.reported == [result if isinstance(result, Exception) else None]
    assert late.reported_in == ["nowhere"]


async def test_a_cancel_by_the_caller_ends_the_attempt_before_it_is_passed_on():
    """R42: its clean-up is awaited, and nothing is reported."""
    late = Late()
    await late.cancelled_at(1.9)
    assert (late.state, late.request.attempt.goes_on) == ("cleaned up", False)
    await asyncio.sleep(0.001)
    assert late.reported == []


@pytest.mark.parametrize(
    ("method", "sent", "state"),
    [
        ("GET", "no", "runs"),
        ("HEAD", "no", "runs"),
        ("OPTIONS", "no", "runs"),
        ("PUT", "no", "cleaned up"),
        ("POST", "no", "cleaned up"),
        ("POST", "maybe", "runs"),
        ("DELETE", "yes", "runs"),
    ],
)
async def test_a_write_that_was_not_sent_in_time_is_never_sent(method, sent, state):
    """R38: its caller's error says so, and the caller may have acted on it."""
    late = Late(method=method, sent=sent)
    await late.cancelled_at(2.0)
    assert late.state == state
    late.watched.close()


async def test_a_caller_who_goes_in_the_moment_of_the_deadline_is_gone():
    """R42: two cancels, the deadline's and the caller's."""
    late = Late()
    caller = late.start()
    await asyncio.sleep(0.001)
    late.clock.time = 2.0
    caller.cancel()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert late.state == "cleaned up"


async def test_an_error_in_the_moment_of_the_cancel_is_not_complained_of(caplog):
    """R42: asyncio logs errors that are never looked at."""
    late = Late(over_at=100.0)
    caller = late.start()
    await asyncio.sleep(0.001)
    late.result = ResponseLostError("x")
    late.end.set()
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gc.collect()
    assert caplog.records == []


async def test_an_error_creates_no_reference_cycle():
    """R38: else the request would be kept until the garbage collector comes."""
    late = Late()
    late.result = ResponseLostError("x")
    late.end.set()
    kept = weakref.ref(late.result)
    gc.disable()
    try:
        with pytest.raises(ResponseLostError):
            await late.start()
        late.result = None
        await asyncio.sleep(0.001)
        assert kept() is None
    finally:
        gc.enable()


async def test_closing_ends_what_goes_on():
    """R38: reported as a cancellation, which says nothing about the service."""
    late = Late()
    await late.cancelled_at(2.0)
    late.watched.close()
    await asyncio.sleep(0.001)
    assert late.state == "cleaned up"
    assert [type(error) for error in late.reported] == [asyncio.CancelledError]


def test_a_loop_that_ends_before_the_attempt_is_no_trouble(caplog):
    """R38: a job that closes its loop without a look at its tasks; the next loop forgets them."""
    watched = []

    def job():
        loop = asyncio.new_event_loop()
        try:
            late = Late()
            if watched:
                late.watched = watched[0]
            watched.append(late.watched)
            loop.run_until_complete(late.cancelled_at(2.0))
        finally:
            loop.close()

    for _ in range(3):
        job()
    assert len(watched[0]._tasks._known) == 1
    assert watched[0]._tasks.all() == []
    watched[0].close()
    gc.collect()
    assert caplog.records == []
