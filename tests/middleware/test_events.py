"""Events of calls, and how they reach the listeners."""

import inspect
from unittest import mock

import pytest
from layer_support import a_request

from middleware import events as facts
from middleware.errors import ResponseLostError, status_error
from middleware.events import FanOut
from middleware.problem import Problem
from middleware.records import CallInfo
from middleware.telemetry.logs import LogListener
from middleware.telemetry.metrics import MetricsListener
from middleware.telemetry.tracing import SpanListener

CALL = CallInfo(service="svc", operation="op", method="GET", route="/r", idempotent=True, correlation_id="c-1")
KINDS = [
    getattr(facts, name)
    for name in facts.__all__
    if inspect.isclass(getattr(facts, name)) and name not in {"FanOut", "Listener"}
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_what_it_was_made_with_for_ever(kind):
    """One listener cannot change what the next one receives, nor add anything to it."""
    names = {name for base in kind.__mro__ for name in inspect.get_annotations(base)}
    given = {name: f"given {name}" for name in names}
    event = kind(**given)
    assert {name: getattr(event, name) for name in names} == given
    assert event == kind(**given)
    assert not hasattr(event, "__dict__")
    for name in names:
        with pytest.raises(AttributeError):
            setattr(event, name, "changed")
    assert {name: getattr(event, name) for name in names} == given


@pytest.mark.parametrize(
    ("error", "cancelled", "result"),
    [
        (None, {}, "success"),
        (None, {"cancelled": True}, "cancelled"),
        (status_error(404, Problem()), {"cancelled": False}, "failure"),
        (ResponseLostError("x", request_sent="maybe"), {}, "unknown"),
    ],
    ids=str,
)
def test_a_finished_call_says_how_it_ended(error, cancelled, result):
    """In one word; a write that may have been applied is neither success nor failure."""
    request = a_request(idempotent=False, method="POST")
    if error is not None:
        error.outcome = request.call.outcome(1.0)
    event = facts.CallFinished(call=request.call.info, outcome=request.call.outcome(1.0), error=error, **cancelled)
    assert event.result == result


class Selective:
    """Subscribes to one type of event only."""

    event_types = frozenset({facts.CorrelationIdReplaced})

    def __init__(self):
        self.received = []

    def __call__(self, event):
        self.received.append(event)


def test_a_listener_with_event_types_receives_no_others():
    """Others receive everything: plain callables, and doubles whose every attribute exists."""
    selective, everything, double = Selective(), [], mock.MagicMock()
    emit = FanOut([selective, everything.append, double])
    started, replaced = facts.CallStarted(call=CALL), facts.CorrelationIdReplaced(call=CALL)
    emit(started)
    emit(replaced)
    assert selective.received == [replaced]
    assert everything == [started, replaced]
    assert [call.args for call in double.call_args_list] == [(started,), (replaced,)]


class Older:
    """A listener with the attribute's former name."""

    hears = frozenset({facts.CorrelationIdReplaced})

    def __init__(self):
        self.received = []

    def __call__(self, event):
        self.received.append(event)


def test_the_former_name_of_event_types_works_and_warns():
    """For one release, so that an upgrade does not flood a listener with events."""
    older = Older()
    with pytest.warns(DeprecationWarning, match=r"^Older\.hears is now called event_types"):
        emit = FanOut([older])
    emit(facts.CallStarted(call=CALL))
    emit(facts.CorrelationIdReplaced(call=CALL))
    assert older.received == [facts.CorrelationIdReplaced(call=CALL)]


def test_the_present_name_of_event_types_wins(recwarn):
    """A listener that works with both releases has both, and no warning."""
    both = type("Both", (Older,), {"event_types": frozenset({facts.CallStarted})})()
    FanOut([both])(facts.CallStarted(call=CALL))
    assert both.received == [facts.CallStarted(call=CALL)]
    assert not recwarn.list


@pytest.mark.parametrize("base", [facts.Event, facts.CallFinished, facts.CorrelationIdReplaced])
def test_an_event_of_a_type_made_later_reaches_the_listeners_of_everything(base):
    """A host's layer may emit events of its own; spans, metrics and log lines ignore them, and lose nothing."""
    selective, everything = Selective(), []
    ours = [SpanListener(), MetricsListener(None, "1", service="svc", base_url="http://x.test"), LogListener()]
    emit = FanOut([*ours, selective, everything.append])
    later = object.__new__(type("Later", (base,), {}))
    emit(later)
    assert selective.received == []
    assert everything == [later]
    assert emit.dropped == 0


class Hostile:
    """A listener whose unknown attributes raise."""

    def __init__(self):
        self.received = []

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __call__(self, event):
        self.received.append(event)


def test_what_a_listener_raises_when_it_is_looked_at_costs_nothing():
    """It receives everything then."""
    hostile = Hostile()
    FanOut([hostile])(facts.CallStarted(call=CALL))
    assert hostile.received == [facts.CallStarted(call=CALL)]


@pytest.mark.parametrize("event_types", [None, [facts.CallStarted], "CallStarted"])
def test_what_is_no_frozenset_selects_nothing(event_types):
    """An attribute of that name with another meaning must not silence a listener."""
    listener = mock.Mock(event_types=event_types)
    FanOut([listener])(facts.CallFinished)
    assert listener.call_count == 1


def test_what_a_listener_raises_is_counted_and_costs_the_others_nothing():
    """Telemetry cannot fail a call; listeners are called in their order."""
    received = []

    def fail(event):
        received.append(("failing", event))
        raise RuntimeError

    emit = FanOut(
        [lambda event: received.append(("first", event)), fail, lambda event: received.append(("last", event))]
    )
    assert emit.dropped == 0
    events = [facts.CallStarted(call=CALL), facts.CallStarted(call=CALL)]
    for event in events:
        emit(event)
    assert received == [(who, event) for event in events for who in ("first", "failing", "last")]
    assert emit.dropped == 2


def test_listeners_are_those_it_was_made_with():
    """A list that is changed later changes nothing."""
    received, listeners = [], []
    listeners.append(received.append)
    emit = FanOut(listeners)
    listeners.append(received.append)
    emit(facts.CallStarted(call=CALL))
    assert len(received) == 1
