"""Frozen records whose slots are set directly."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from middleware.events import CallFinished, CallStarted
from middleware.records import AttemptRecord, CallInfo, Outcome

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
