"""The correlation id: one per call, and always one that a header may carry."""

import uuid

import pytest
from layer_support import Upstream, a_request

from middleware.correlation import CORRELATION_HEADER, CorrelationMiddleware, choose_correlation_id
from middleware.events import CorrelationIdReplaced
from middleware.types import PlatformResponse


@pytest.mark.parametrize("given", ["a", "!", "~", "!~" * 64, str(uuid.uuid4())])
def test_a_usable_id_is_sent_as_it_is(given):
    """1 to 128 visible ASCII characters."""
    assert choose_correlation_id(given) == (given, False)


@pytest.mark.parametrize("given", [None, "", " ", "\t\n"])
def test_an_id_that_is_missing_is_made(given):
    """A UUID, and nothing was replaced."""
    made, replaced = choose_correlation_id(given)
    assert (str(uuid.UUID(made)), replaced) == (made, False)


@pytest.mark.parametrize("given", ["a b", " a", "a" * 129, "ä", "a\x7f", "a\r\nb: c", 7, 0, b"a", ["a"], False])
def test_an_id_that_cannot_be_sent_is_replaced(given):
    """And the caller can be told."""
    made, replaced = choose_correlation_id(given)
    assert (str(uuid.UUID(made)), replaced) == (made, True)


@pytest.mark.parametrize("replaced", [True, False])
async def test_the_layer_sends_the_calls_id_and_tells_of_a_replaced_one(replaced):
    """R50: on the request; once."""
    request, upstream, events = a_request(correlation_id_replaced=replaced), Upstream(None), []
    response = await CorrelationMiddleware(events.append)(request, upstream)
    assert isinstance(response, PlatformResponse)
    assert CORRELATION_HEADER == "x-correlation-id"
    assert upstream.requests[0].headers == {"x-correlation-id": "c-1"}
    assert events == ([CorrelationIdReplaced(call=request.call.info)] if replaced else [])
