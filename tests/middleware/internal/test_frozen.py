"""Records and the functions that make them."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from middleware._internal.frozen import maker
from middleware.events import AttemptFinished, CallFinished, CallStarted
from middleware.records import AttemptRecord, CallInfo, Outcome
from middleware.types import Attempt, Call, PlatformRequest

CALL = CallInfo(service="s", operation="o", method="GET", route="/r", idempotent=True, correlation_id="c")


@pytest.mark.parametrize("kind", [AttemptRecord, CallInfo, Outcome, CallStarted, CallFinished])
def test_its_fields_are_keywords(kind):
    """As those of every record: a missing, an unknown or a positional one is an error."""
    for args, fields in (((), {}), ((), {"unknown": 1}), (("s", "o"), {})):
        with pytest.raises(TypeError):
            kind(*args, **fields)


def test_it_is_a_frozen_dataclass():
    """With defaults, equality, copies and pickles as any other."""
    assert CALL.base_url == ""
    assert CallStarted(call=CALL).call == CALL
    assert replace(CALL, method="PUT") == replace(copy.copy(CALL), method="PUT") != CALL
    assert pickle.loads(pickle.dumps(CALL)) == CALL
    with pytest.raises(FrozenInstanceError):
        CALL.method = "PUT"


RECORD = AttemptRecord(number=1, started_s=0.0, ended_s=1.0, outcome="ok", status=200, request_sent="yes", delay_s=0.0)


@pytest.mark.parametrize(
    "made", [CALL, RECORD, AttemptFinished(call=CALL, record=RECORD, error=None)], ids=lambda made: type(made).__name__
)
def test_what_a_maker_makes_is_what_the_class_makes(made):
    """A frozen one too, of the same class, whether its fields are its own or those of its base."""
    given = {name: getattr(made, name) for name in made.__dataclass_fields__ if name != "base_url"}
    found = maker(type(made))(**given)
    assert (type(found), found, repr(found)) == (type(made), made, repr(made))
    assert pickle.loads(pickle.dumps(found)) == replace(found) == copy.copy(found) == made
    with pytest.raises(FrozenInstanceError):
        setattr(found, next(iter(given)), None)
    with pytest.raises(TypeError):
        maker(type(made))(unknown=1, **given)
    with pytest.raises(TypeError):
        maker(type(made))()


def test_a_maker_makes_new_defaults_each_time():
    """As the class does: no two calls share a list."""
    new_call, new_request = maker(Call), maker(PlatformRequest)
    one, other = (new_call(info=CALL, started_at=1.0) for _ in range(2))
    assert one.timeline == other.timeline == []
    assert one.timeline is not other.timeline
    timeline = [RECORD]
    assert new_call(info=CALL, started_at=1.0, timeline=timeline).timeline is timeline
    request = new_request(call=one, method="GET", path="/r")
    assert (type(request.attempt), request.headers, request.problem) == (Attempt, {}, "")
    request.path = "/other"  # what is not frozen stays so
