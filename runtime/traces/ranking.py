"""The calls worth looking at, of any number of them: the last that failed, the most retried, the slowest."""

import heapq
from itertools import count

from .calls import Call
from .model import Trace

__all__ = ["Ranking"]


class _Top:
    """The items with the largest keys."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[float, int, Call]] = []
        self._number = count(0, -1)  # of equal ones the first stays

    def add(self, key: float, call: Call) -> None:
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, (key, next(self._number), call))
        elif key > self._heap[0][0]:
            heapq.heapreplace(self._heap, (key, next(self._number), call))

    def calls(self) -> list[Call]:
        return [call for _, _, call in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


class Ranking:
    """
    Keeps what is worth looking at, and counts the rest.

    Args:
        limit: Calls per list.
        worst: Traces that are named in `worst`.

    Attributes:
        calls: Number of calls.
        failed: Number of calls that failed.
        retried: Number of calls with a retry.
    """

    def __init__(self, limit: int, worst: int = 0) -> None:
        self.calls = self.failed = self.retried = 0
        self._traces: set[int] = set()
        self._failed, self._retried, self._slowest = _Top(limit), _Top(limit), _Top(limit)
        self._most = worst
        self._worst: dict[str, tuple[bool, int, float]] = {}

    def add(self, call: Call) -> None:
        """Look at *call*."""
        retries = call.retries if call.span.events else 0
        failed, duration_s, trace_id = call.failed, call.duration_s, call.span.trace_id
        self.calls += 1
        self._traces.add(hash(trace_id))  # a number of 64 bits, a tenth of the text's memory
        self._slowest.add(duration_s, call)
        if failed:
            self.failed += 1
            self._failed.add(call.span.start_ns, call)
        if retries:
            self.retried += 1
            self._retried.add(retries, call)
        if self._most:
            key = (failed, retries, duration_s)
            self._worst[trace_id] = max(self._worst.get(trace_id, key), key)
            if len(self._worst) > 2 * self._most + 1000:
                self._worst = dict(self._best())

    def _best(self) -> list[tuple[str, tuple[bool, int, float]]]:
        return sorted(self._worst.items(), key=lambda item: item[1], reverse=True)[: self._most]

    @property
    def traces(self) -> int:
        """Number of traces with calls."""
        return len(self._traces)

    @property
    def worst(self) -> set[str]:
        """Ids of the traces with failed calls, then of those with most retries, then of the slowest."""
        return {trace_id for trace_id, _ in self._best()}

    def lists(self, medians: dict[str, float]) -> list[tuple[str, list[Trace]]]:
        """Return the lists that are not empty, each with its title."""
        found = (("Failed, the last", self._failed), ("Most retried", self._retried), ("Slowest", self._slowest))
        made = [(title, [trace_of(call, medians) for call in top.calls()]) for title, top in found]
        return [(title, traces) for title, traces in made if traces]


def trace_of(call: Call, medians: dict[str, float]) -> Trace:
    """Return the trace that a call and its attempts are."""
    return Trace(call.span.trace_id, [call.span, *call.attempts], medians)
