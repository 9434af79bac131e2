"""The correlation id: one per call, and always one that a header may carry."""

import uuid
from dataclasses import replace
from enum import Enum

import pytest
from layer_support import Upstream, a_request

from middleware._internal import forks
from middleware.errors import ResponseLostError
from middleware.events import CorrelationIdMismatched, CorrelationIdReplaced
from middleware.request import correlation
from middleware.request.correlation import (
    CORRELATION_HEADER,
    CorrelationMiddleware,
    CorrelationSettings,
    choose_correlation_id,
)
from middleware.types import PlatformResponse


@pytest.mark.parametrize("given", ["a", "!", "~", "!~" * 64, "3f2504e0-4f89-41d3-9a0c-0305e82c3301"])
def test_a_usable_id_is_sent_as_it_is(given):
    """1 to 128 visible ASCII characters."""
    assert choose_correlation_id(given) == (given, False)


def test_an_id_of_a_subclass_is_sent_as_its_value():
    """A member of an enum, for example: its value, and neither the member nor its name."""
    chosen, replaced = choose_correlation_id(Job.NIGHTLY)
    assert (type(chosen), f"{chosen}", replaced) == (str, "nightly-1", False)


class Job(str, Enum):  # noqa: UP042 - str() of a member is its name, other than that of a StrEnum
    NIGHTLY = "nightly-1"


@pytest.mark.parametrize("given", [None, "", " ", "\t\n"])
def test_an_id_that_is_missing_is_made(given):
    """A UUID, and nothing was replaced."""
    made, replaced = choose_correlation_id(given)
    assert (str(uuid.UUID(made)), replaced) == (made, False)


@pytest.mark.parametrize("given", ["a b", " a", "a" * 129, "ä", "a\x7f", "a\r\nb: c", 7, 0, b"a", ["a"], False])
def test_an_id_that_cannot_be_sent_is_replaced(given):
    """And the replacement is reported."""
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


OURS = uuid.UUID("3f2504e0-4f89-41d3-9a0c-0305e82c3301")
OTHER = uuid.UUID("9d8be2aa-ad34-4b04-8e15-09c1b2e0ff6a")


class Service:
    """The layer over a service that has echoed one id already, unless *echoes* is False."""

    def __init__(self, *, echoes=True):
        self.events = []
        self.layer = CorrelationMiddleware(self.events.append)
        self._echoes = echoes

    async def receives(self, received, *, sent=str(OURS), settings=(), **headers):
        """Whether the response to a request with the id *sent* is used."""
        if self._echoes:
            self._echoes = False
            assert await self.receives("echo", sent="echo")
        request, upstream = a_request(settings=settings), Upstream(None)
        request.call.info = replace(request.call.info, correlation_id=sent)
        await self.layer(request, upstream)
        (seen,) = upstream.requests
        found = {} if received is None else {CORRELATION_HEADER: received}
        try:
            seen.check_head(seen, {**found, **headers})
        except ResponseLostError as error:
            assert (error.reason, error.request_sent, error.is_ambiguous) == (REASON, "maybe", True)
            assert self.events.pop() == CorrelationIdMismatched(call=request.call.info, received=str(OTHER))
            return False
        assert self.events == []
        return True


REASON = "the response carries another call's correlation id"


def spellings(value):
    """Texts that mean the same UUID; the first three are .NET's, as it writes them by default, and by "B" and "N"."""
    return [str(value), f"{{{value}}}", value.hex, f"({value})", value.urn, str(value).upper(), value.hex.upper()]


@pytest.mark.parametrize("received", spellings(OURS))
@pytest.mark.parametrize("sent", [str(OURS), OURS.hex.upper(), f"{{{OURS}}}"])
async def test_an_id_is_compared_as_a_value(received, sent):
    """R53: case, dashes, braces and the name of the URN are no difference; and the service is known to echo then."""
    service = Service(echoes=False)
    assert await service.receives(received, sent=sent)
    assert not await service.receives(str(OTHER))


@pytest.mark.parametrize("received", spellings(OTHER))
async def test_a_response_with_the_id_of_another_call_is_lost(received):
    """R53: in every spelling; the next right one is used."""
    service = Service()
    assert not await service.receives(received)
    assert await service.receives(str(OURS))
    assert not await service.receives(received)


@pytest.mark.parametrize(
    "received",
    [
        None,
        "",
        "order-7",
        "0" * 31,
        "0" * 33,
        "0_" * 16,
        "0x" + "1" * 30,
        f"{OTHER}x",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "3f2504e0-4f8941d3-9a0c-0305e82c3301-",
    ],
)
async def test_a_response_with_no_uuid_is_used(received):
    """R53: it names no other call; and what is no echo teaches nothing."""
    assert await Service().receives(received)
    unknown = Service(echoes=False)
    assert await unknown.receives(received)
    assert await unknown.receives(str(OTHER))


@pytest.mark.parametrize("sent", ["order-7", "c-1", f"{OURS}-2", "1" * 31])
async def test_a_callers_own_id_that_is_no_uuid_gives_no_verdict(sent):
    """R53: some services replace such an id by a fresh UUID."""
    assert await Service().receives(str(OTHER), sent=sent)


async def test_a_service_that_answers_with_ids_of_its_own_is_left_alone():
    """R53: it has never echoed; from its first echo on it is compared, by the responses of all its calls."""
    service = Service(echoes=False)
    assert await service.receives(str(OTHER))
    assert await service.receives(str(uuid.uuid4()))
    assert await service.receives(str(OURS))
    assert not await service.receives(str(OTHER))


@pytest.mark.parametrize(
    ("age", "used"),
    [
        *((age, True) for age in ("1", "60", "007", " 5 ", "5, 0", "9" * 5000)),
        *((age, False) for age in ("0", "00", "", "-1", "+1", "1.5", "x", "0, 5", "\u0661", "\u00b2")),
    ],
)
async def test_a_response_from_a_cache_is_used(age, used):
    """R53: its id is of the call that it was made for, as its Age says, a count of seconds above 0 (RFC 9111)."""
    assert await Service().receives(str(OTHER), age=age) is used


async def test_the_switch():
    """R53: for a service whose ids mean something else; it goes on learning, so that the switch works both ways."""
    service, off = Service(echoes=False), [CorrelationSettings(verify_echo=False)]
    assert await service.receives(str(OURS), settings=off)
    assert await service.receives(str(OTHER), settings=off)
    assert not await service.receives(str(OTHER))


@pytest.mark.parametrize(
    ("received", "used"),
    [
        (f"{OURS}, {OURS.hex}", True),
        (f"{OURS}, gateway-7", True),
        (f"gateway-7,{OURS}", True),
        (f", {OURS}", True),
        (f"{OTHER}, {OTHER.hex}", False),
        (f"{OURS}, {OTHER}", True),
        (f"{OTHER},{OURS}", True),
        (f"gateway-7, {OTHER}", False),
    ],
)
async def test_of_several_ids_one_must_be_this_calls(received, used):
    """R53: each hop may add a line, some with an id of their own; only ours alone shows that ids are echoed."""
    assert await Service().receives(received) is used
    unknown = Service(echoes=False)
    assert await unknown.receives(received)
    assert await unknown.receives(str(OTHER)) is not (used and str(OTHER) not in received)


def test_new_ids_are_versioned_and_differ_in_a_forked_process():
    """RFC 9562 section 5.4; a child has a copy of the generator, which is seeded anew there."""
    state = correlation._random.getstate()
    before = [choose_correlation_id(None)[0] for _ in range(3)]
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant) for one in before} == {(4, uuid.RFC_4122)}
    correlation._random.setstate(state)
    forks._renew()
    assert not {*before} & {choose_correlation_id(None)[0] for _ in range(3)}
