"""The calls worth looking at, of any number of them."""

from trace_tree import CALL, a_span

from runtime.traces.calls import calls_of
from runtime.traces.model import traces_of
from runtime.traces.page import render_page
from runtime.traces.ranking import Ranking


def test_the_page_is_bounded_and_says_so():
    """Failed traces before retried before slow ones."""
    spans = [a_span(1, 0, 0, number, trace_id=number, **CALL) for number in range(1, 30)]
    spans.append(a_span(1, 0, 0, 1, trace_id=99, status="ERROR", **CALL))
    ranking = Ranking(1, worst=3)
    for call in calls_of(spans):
        ranking.add(call)
    chosen = [found for found in traces_of(spans) if found.trace_id in ranking.worst]
    assert sorted(int(found.trace_id, 16) for found in chosen) == [28, 29, 99]
    assert "3 of 30 traces: those that failed" in render_page(chosen, of=30, source="x")


def test_traces_are_counted_by_the_half_of_their_ids_that_is_random():
    """The first half of an id of 64 bits is zeros."""
    ranking = Ranking(1)
    for call in calls_of(a_span(1, trace_id=number, **CALL) for number in (7, 8, 8, 9)):
        ranking.add(call)
    assert ranking.traces == 3
