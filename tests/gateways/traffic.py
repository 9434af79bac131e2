"""Steady traffic through a gateway that is reloaded or restarted, counted against the upstream's log."""

import asyncio
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from middleware import CallError, RequestNotSentError

_ids = itertools.count(1)


@dataclass
class Tally:
    """
    What became of the calls of one transport.

    Attributes:
        gets: GETs made.
        posts: POSTs made.
        get_failures: Errors of GETs, by class and status.
        post_failures: Errors of POSTs, by class and status.
        not_sent: When calls ended as not sent, on the monotonic clock.
        unknown: POSTs whose outcome is unknown, by the error.
        unknown_written: Those of them that were written.
        lost: Successes without a write.
        twice: Writes that were done more than once.
        dishonest: Errors that say that nothing was written, of POSTs that were.
    """

    gets: int = 0
    posts: int = 0
    get_failures: Counter = field(default_factory=Counter)
    post_failures: Counter = field(default_factory=Counter)
    not_sent: list[float] = field(default_factory=list)
    unknown: int = 0
    unknown_written: int = 0
    lost: int = 0
    twice: int = 0
    dishonest: int = 0

    @property
    def wrong(self):
        """Writes lost or doubled, and errors that are not true."""
        return self.lost + self.twice + self.dishonest

    def __str__(self):
        failures = ", ".join(f"{kind} {count}" for kind, count in (self.get_failures + self.post_failures).items())
        return (
            f"GET failed {self.get_failures.total()}/{self.gets}, POST failed {self.post_failures.total()}/{self.posts}, "
            f"unknown {self.unknown} (written {self.unknown_written}), lost {self.lost}, twice {self.twice}, "
            f"dishonest {self.dishonest}" + (f"; {failures}" if failures else "")
        )


async def steady(client, who, upstream, *, seconds, gets_per_s, posts_per_s):
    """Make GETs and unkeyed POSTs at steady rates for *seconds*; returns their tally."""
    tally, ends = Tally(), {}

    def count(failures, error):
        why = f"({error.stop_reason})" if error.stop_reason else ""
        failures[" ".join(filter(None, (type(error).__name__, str(error.status or ""), why)))] += 1
        if isinstance(error, RequestNotSentError):
            tally.not_sent.append(time.monotonic())

    async def get():
        tally.gets += 1
        try:
            await client.get(f"/{who}/read", path_params={})
        except CallError as error:
            count(tally.get_failures, error)

    async def post():
        tally.posts += 1
        number = next(_ids)
        try:
            await client.post(f"/{who}/write", path_params={}, json_body={"id": number})
        except CallError as error:
            ends[number] = error
            count(tally.post_failures, error)
        else:
            ends[number] = None

    async def at(rate, make, tasks):
        started = time.monotonic() + random.uniform(0, 1 / rate)
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            tasks.create_task(make())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(at(gets_per_s, get, tasks))
        tasks.create_task(at(posts_per_s, post, tasks))
    await asyncio.sleep(0.2)  # what the gateway still works on
    for number, error in ends.items():
        written = upstream.writes[number]
        tally.twice += written > 1
        if error is None:
            tally.lost += written == 0
        elif error.outcome_unknown:
            tally.unknown += 1
            tally.unknown_written += written > 0
        else:
            tally.dishonest += written > 0
    return tally
