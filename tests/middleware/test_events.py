"""How events reach those who listen."""

from unittest import mock

import pytest

from middleware import events as facts
from middleware.events import FanOut
from middleware.types import CallInfo

CALL = CallInfo(service="svc", operation="op", method="GET", route="/r", idempotent=True, correlation_id="c-1")


class Selective:
    """Hears of one kind of event alone."""

    hears = frozenset({facts.CorrelationIdReplaced})

    def __init__(self):
        self.told = []

    def __call__(self, event):
        self.told.append(event)


def test_a_listener_that_names_what_it_hears_is_told_of_nothing_else():
    """Others are told of everything: plain callables, and doubles whose every attribute exists."""
    selective, everything, double = Selective(), [], mock.MagicMock()
    emit = FanOut([selective, everything.append, double])
    started, replaced = facts.CallStarted(call=CALL), facts.CorrelationIdReplaced(call=CALL)
    emit(started)
    emit(replaced)
    assert selective.told == [replaced]
    assert everything == [started, replaced]
    assert [call.args for call in double.call_args_list] == [(started,), (replaced,)]


def test_an_event_of_a_kind_made_later_reaches_everybody():
    """A host's layer may state facts of its own."""
    selective, everything = Selective(), []
    emit = FanOut([selective, everything.append])
    later = type("Later", (facts.Event,), {})(call=CALL)
    emit(later)
    assert (selective.told, everything) == ([later], [later])


@pytest.mark.parametrize("hears", [None, [facts.CallStarted], "CallStarted"])
def test_what_is_no_frozenset_selects_nothing(hears):
    """An attribute of that name with another meaning must not silence a listener."""
    listener = mock.Mock(hears=hears)
    FanOut([listener])(facts.CallFinished)
    assert listener.call_count == 1


def test_what_a_listener_raises_is_counted_and_costs_the_others_nothing():
    """Telemetry cannot fail a call."""
    told = []
    emit = FanOut([mock.Mock(side_effect=RuntimeError), told.append])
    emit(facts.CallStarted(call=CALL))
    assert (emit.dropped, len(told)) == (1, 1)
