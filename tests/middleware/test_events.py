"""Facts about calls, and how they reach who listens."""

import inspect

import pytest
from layer_support import a_request

from middleware import events
from middleware.errors import ResponseLostError, status_error
from middleware.events import CallFinished, CallStarted, Event, FanOut
from middleware.problem import Problem

CALL = a_request().call
KINDS = [kind for name in events.__all__ if isinstance(kind := getattr(events, name), type) and issubclass(kind, Event)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_what_it_was_made_with_for_ever(kind):
    """One listener cannot change what the next one hears, nor hang anything on it."""
    names = {name for base in kind.__mro__ for name in inspect.get_annotations(base)}
    given = {name: f"given {name}" for name in names}
    event = kind(**given)
    assert {name: getattr(event, name) for name in names} == given
    assert event == kind(**given)
    assert not hasattr(event, "__dict__")
    for name in (*names, "more"):
        with pytest.raises((AttributeError, TypeError)):
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
def test_a_finished_call_tells_how_it_ended(error, cancelled, result):
    """In one word; a write that may have been applied is neither success nor failure."""
    request = a_request(idempotent=False, method="POST")
    if error is not None:
        error.outcome = request.call.outcome(1.0)
    event = CallFinished(call=request.call.info, outcome=request.call.outcome(1.0), error=error, **cancelled)
    assert event.result == result


def test_each_listener_is_told_and_none_can_fail_a_call():
    """In order; what one of them raises is counted."""
    heard = []

    def fail(event):
        heard.append(("failing", event))
        raise ZeroDivisionError

    tell = FanOut([lambda event: heard.append(("first", event)), fail, lambda event: heard.append(("last", event))])
    assert tell.dropped == 0
    first, second = CallStarted(call=CALL.info), CallStarted(call=CALL.info)
    tell(first)
    tell(second)
    assert [(who, id(event)) for who, event in heard] == [
        (who, id(event)) for event in (first, second) for who in ("first", "failing", "last")
    ]
    assert tell.dropped == 2


def test_listeners_are_those_it_was_made_with():
    """A list that is changed later changes nothing."""
    heard, listeners = [], []
    listeners.append(heard.append)
    tell = FanOut(listeners)
    listeners.append(heard.append)
    tell(CallStarted(call=CALL.info))
    assert len(heard) == 1
