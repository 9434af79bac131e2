#!/usr/bin/env bash
# Finding: after `with anyio.fail_after(25)` has ended, the event loop keeps the context variables of its task for 25 s.
#
# A timeout is a timer of the event loop. Leaving the block cancels the timer, which drops its callback but not its
# context, and asyncio removes cancelled timers only from the front of its queue, or when more than 100 timers wait and
# most of them are cancelled. So behind any earlier timer (a host always has some) each request's context, with its
# database session or user in a ContextVar, lives as long as its longest timeout would have. `asyncio.timeout` and a
# cancelled `asyncio.sleep` do the same. A timer that is set in an empty `contextvars.Context()` keeps nothing.
#
# Seen with anyio 4.16.0 on Python 3.11. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'anyio==4.16.0'
"$work/venv/bin/python" - <<'PY'
import asyncio
import gc
import sys
import weakref
from contextvars import Context, ContextVar
from importlib.metadata import version

import anyio

session: ContextVar[object] = ContextVar("session")


class Session:
    """What a request keeps in its context."""



async def ordinary() -> None:
    with anyio.fail_after(25):
        await anyio.sleep(0)


async def detached() -> None:
    scope = anyio.CancelScope(deadline=anyio.current_time() + 25)
    Context().run(scope.__enter__)  # the timer is set here
    await anyio.sleep(0)
    scope.__exit__(None, None, None)


async def alive(request, *, host_has_a_timer: bool) -> int:
    timer = asyncio.get_running_loop().call_later(10, print) if host_has_a_timer else None

    async def one() -> "weakref.ref[Session]":
        mine = Session()
        session.set(mine)
        await request()
        return weakref.ref(mine)

    sessions = [await asyncio.create_task(one()) for _ in range(10)]
    await asyncio.sleep(0.1)
    gc.collect()
    if timer is not None:
        timer.cancel()
    return sum(mine() is not None for mine in sessions)


async def main() -> bool:
    found = [
        await alive(ordinary, host_has_a_timer=True),
        await alive(detached, host_has_a_timer=True),
        await alive(ordinary, host_has_a_timer=False),
    ]
    print(f"anyio {version('anyio')}, Python {sys.version.split()[0]}")
    print("sessions of 10 ended requests that are still alive, 0.1 s later:")
    print(f"  timeout set as usual, behind a timer of the host: {found[0]}")
    print(f"  timeout set in an empty context:                  {found[1]}")
    print(f"  timeout set as usual, no other timer:             {found[2]}")
    return found == [10, 0, 0]


sys.exit(0 if asyncio.run(main()) else 1)
PY
