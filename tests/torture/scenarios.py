"""What the platform does to the calls that are tortured."""

import asyncio

import httpx
from harness import PATH, Scenario

from middleware import PlatformError
from runtime.gateway import Fault
from runtime.testing import Reply

SLOW = Reply(json={"items": []}, after_s=1, body_after_s=1)
HEDGED = {"hedging": {"max_hedges": 1, "delay_s": 2}, "bulkhead": {"permits": 2}}
KEYED = {"idempotency": {"honors_key": True}}


async def _occupy(client):
    """Let another call keep the one permit for a while."""
    busy = asyncio.create_task(client.get(PATH, path_params={}))
    await asyncio.sleep(0.5)
    return busy


async def _one_before(client):
    """Make a call that takes what the rate limit allows now, or that keeps its connection."""
    await client.get(PATH, path_params={})


async def _open_the_circuit(client):
    """Let a failure open the circuit, and wait until the next attempt is the probe."""
    try:
        await client.get(PATH, path_params={})
    except PlatformError:
        await asyncio.sleep(10)


SCENARIOS = [
    Scenario(name="answered", script=(SLOW,), waits=2),
    Scenario(name="answered", script=(SLOW,), method="POST", waits=2),
    Scenario(name="retried", script=(503, SLOW), calls=150, waits=3),
    Scenario(
        name="throttled",
        script=(Reply(status=429, headers={"retry-after": "2"}), SLOW),
        method="POST",
        calls=150,
        waits=3,
    ),
    Scenario(name="refused", script=(404,), end="NotFoundError", calls=65),
    Scenario(name="undecodable", script=(Reply(body=b"<html>"),), method="POST", end="DecodeError", calls=65),
    Scenario(name="lost", script=("lost",), method="POST", end="ResponseLostError", calls=65),
    Scenario(name="lost", script=(Reply(status=502, after_s=1), "lost"), settings=KEYED, method="POST", waits=3),
    Scenario(name="unreached", script=(httpx.ConnectError,), method="POST", waits=1),
    Scenario(name="hedged", script=("hang",), settings=HEDGED, calls=145, waits=4),
    Scenario(name="outrun", script=(Reply(json={"items": []}, after_s=3), "hang"), settings=HEDGED, waits=5),
    Scenario(
        name="hedged-in-vain",
        script=(Reply(status=503, after_s=3), Reply(status=503, after_s=2)),
        settings=HEDGED,
        waits=9,
    ),
    Scenario(
        name="queued", settings={"calls": {"max_in_flight": 2}}, script=(SLOW, SLOW), before=_occupy, calls=85, waits=3
    ),
    Scenario(
        name="queued",
        settings={"calls": {"max_in_flight": 2}},
        script=(SLOW, SLOW),
        before=_occupy,
        method="POST",
        waits=3,
    ),
    Scenario(name="rate-limited", settings={"rate_limit": {"per_second": 1, "burst": 1}}, before=_one_before, waits=1),
    Scenario(name="attempt-timed-out", script=("hang", "hang_body"), waits=4),
    Scenario(
        name="deadline-exceeded",
        script=("hang",),
        settings={"deadline": {"total_s": 5}},
        method="POST",
        end="DeadlineExceededError",
        waits=1,
    ),
    Scenario(
        name="probe",
        script=(500, SLOW),
        settings={"circuit_breaker": {"min_calls": 1}, "retry": {"max_attempts": 1}},
        before=_open_the_circuit,
        calls=95,
        waits=2,
    ),
    Scenario(name="already-deleted", script=("lost", 404), method="DELETE", waits=1),
]


def _on_sockets(library, *, first, again, failed):
    """
    Scenarios on real sockets.

    Args:
        library: What makes the calls.
        first: Suspensions of a call that opens its connection.
        again: Of one that takes an idle connection.
        failed: Of one whose first response is a failure.
    """
    return [
        Scenario(name="answered", library=library, calls=65, waits=first),
        Scenario(name="answered", library=library, method="POST", calls=65, waits=first),
        Scenario(name="reused", library=library, before=_one_before, waits=again),
        Scenario(name="reused", library=library, before=_one_before, method="POST", waits=again),
        Scenario(name="retried", library=library, script=(Fault(kind="status"),), waits=failed),
        Scenario(name="cut-short", library=library, script=(Fault(kind="short_body"),), waits=failed),
        Scenario(
            name="reset",
            library=library,
            script=(Fault(kind="reset", applied=True),),
            method="POST",
            end="ResponseLostError",
            waits=first,
        ),
    ]


# Connections of ours with the parser whose calls are points, since it is Python; and the one of httpcore.
SCENARIOS += _on_sockets("h11", first=3, again=1, failed=5)
SCENARIOS += _on_sockets("httpcore", first=5, again=3, failed=8)
OTHER_VERBS = [
    Scenario(name="done", library="h11", script=(Fault(kind="status", status=204),), method=method)
    for method in ("PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
]
