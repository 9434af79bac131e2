"""No secret of a call stays reachable from its error: not in its text, its state, its pickle, nor any frame it refers to."""

import asyncio
import dataclasses
import pickle
import traceback
from collections.abc import Mapping

import httpx
import pytest

from middleware import (
    CallError,
    CircuitOpenError,
    DeadlineExceededError,
    DecodeError,
    InternalError,
    InvalidArgumentError,
    RequestNotSentError,
    ResponseLostError,
    StatusError,
    Telemetry,
)
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.connectors.service import ManagedServiceConnector, ServiceItemCreate
from runtime.gateway import Fault
from runtime.settings import ResolvedSettings
from runtime.testing import LoopClock, Reply, ScriptedUpstream, UpperBound, run_virtual

TOKEN, KEY, BODY, QUERY = "marker-token-1f3a", "marker-key-2b9c", "marker-body-3d7e", "marker-query-4c5d"
MARKERS = TOKEN, KEY, BODY, QUERY
DEPTH = 5


def holds_marker(value, depth=DEPTH, seen=None):
    """Does *value*, or anything within it, show a marker?"""
    seen = set() if seen is None else seen
    if depth < 0 or id(value) in seen:
        return False
    seen.add(id(value))
    if isinstance(value, bytes | bytearray):
        return any(marker.encode() in value for marker in MARKERS)
    try:
        shown = value if isinstance(value, str) else repr(value)
    except Exception:
        shown = ""
    if any(marker in shown for marker in MARKERS):
        return True
    return any(holds_marker(part, depth - 1, seen) for part in parts(value))


def parts(value):
    """What *value* is made of, private state included."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    if isinstance(value, BaseException):
        return [value.args, vars(value)]
    return []


def chained(error):
    """List *error* and every exception that it is chained to."""
    found, left = [], [error]
    while left:
        link = left.pop()
        if link is not None and link not in found:
            found.append(link)
            left += [link.__cause__, link.__context__]
    return found


def leaks_of(error):
    """Name every place reachable from *error* that shows a marker; frames of this file are the caller's own."""
    places = []
    for link in chained(error):
        name = type(link).__name__
        shown = {"str": str(link), "repr": repr(link), "state": vars(link), "args": link.args}
        places += [f"{name} {what}" for what, value in shown.items() if holds_marker(value)]
        trace = link.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_filename != __file__:
                variables = trace.tb_frame.f_locals
                places += [
                    f"{name} {code.co_qualname}.{key}" for key, value in variables.items() if holds_marker(value)
                ]
            trace = trace.tb_next
    if holds_marker(pickle.dumps(error)):
        places.append("pickle")
    return places


def client_of(transport, **sections):
    return PlatformHttpClient(
        "http://platform.test",
        KEY,
        service="service",
        policies=ResolvedSettings(sections),
        transport=transport,
        clock=LoopClock(),
        random=UpperBound(),
    )


async def error_of(client, **changed):
    """Make a call that carries every marker, and return what it raises."""
    arguments = {
        "path_params": {},
        "user_jwt": TOKEN,
        "params": {"q": QUERY},
        "json_body": {"name": BODY},
        **changed,
    }
    try:
        await client.post("/api/service/items", **arguments)
    except Exception as error:
        return error
    raise AssertionError("the call did not fail")


class Broken:
    """A transport with a defect, which has the request in its hands."""

    async def send(self, request, url):
        held = dict(request.headers)
        raise ZeroDivisionError(str(held) + url)

    async def aclose(self):
        pass


def refuse(document):
    raise KeyError(f"{document} {BODY}")


ECHO = Reply(status=400, json={"error": f"no {TOKEN} and {KEY}"})

KINDS = {
    "status": (StatusError, lambda: ScriptedUpstream([ECHO]), {}, {}),
    "retried status": (StatusError, lambda: ScriptedUpstream([429, 429, 429]), {}, {}),
    "lost": (ResponseLostError, lambda: ScriptedUpstream(["lost"]), {}, {}),
    "refused": (RequestNotSentError, lambda: ScriptedUpstream([httpx.ConnectError] * 5), {}, {}),
    "attempt timeout": (ResponseLostError, lambda: ScriptedUpstream(["hang"]), {}, {}),
    "deadline": (DeadlineExceededError, lambda: ScriptedUpstream(["hang"]), {"deadline": {"total_s": 2}}, {}),
    "not JSON": (DecodeError, lambda: ScriptedUpstream([Reply(body=f"<{BODY}>".encode())]), {}, {}),
    "decode": (DecodeError, lambda: ScriptedUpstream([{"name": BODY}]), {}, {"decode": refuse}),
    "internal": (InternalError, Broken, {}, {}),
    "internal, hedged": (InternalError, Broken, {"hedging": {"max_hedges": 1}}, {"idempotent": True}),
    "invalid body": (InvalidArgumentError, lambda: ScriptedUpstream([]), {}, {"json_body": {BODY: object()}}),
    "invalid query": (InvalidArgumentError, lambda: ScriptedUpstream([]), {}, {"params": {"q": [QUERY, object()]}}),
    "invalid token": (InvalidArgumentError, lambda: ScriptedUpstream([]), {}, {"user_jwt": f"{TOKEN} two"}),
    "unknown argument": (TypeError, lambda: ScriptedUpstream([]), {}, {"jason_body": BODY}),
    "circuit open": (
        CircuitOpenError,
        lambda: ScriptedUpstream([]),
        {"circuit_breaker": {"mode": "forced_open"}},
        {},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_reachable_from_an_error(kind):
    """R52: whatever failed, and however long somebody keeps the error."""
    expected, transport, sections, changed = KINDS[kind]
    error = run_virtual(error_of(client_of(transport(), **sections), **changed))
    assert isinstance(error, expected)
    assert leaks_of(error) == []


@pytest.mark.parametrize("fault", [Fault(kind="status", status=401), Fault(kind="reset"), Fault(kind="short_body")])
async def test_no_secret_is_reachable_from_an_error_of_the_wire(gateway, fault):
    """R52: through the real transport too, whose library's exceptions refer to the request."""
    gateway.script(fault)
    async with PlatformHttpClient(gateway.url, KEY) as client:
        assert leaks_of(await error_of(client)) == []


async def test_no_secret_is_reachable_from_a_refused_connection(gateway):
    """R52: no byte left us, and nothing stays."""
    await gateway.stop()
    async with PlatformHttpClient(
        gateway.url, KEY, policies=ResolvedSettings({"retry": {"max_attempts": 1}})
    ) as client:
        assert leaks_of(await error_of(client)) == []


def test_a_secret_that_is_kept_would_be_found():
    """The search itself: in a local of a frame, in a chained exception, and deep inside them."""

    def keep(secrets):
        kept = secrets
        try:
            raise KeyError(kept)
        except KeyError as error:
            raise ValueError("hidden") from error

    module = compile("def raise_it(keep, secrets): keep(secrets)", "elsewhere.py", "exec")
    scope = {}
    exec(module, scope)  # noqa: S102 - a frame of another file
    try:
        scope["raise_it"](keep, {"a": [({"b": TOKEN},)]})
    except ValueError as error:
        found = leaks_of(error)
    assert "ValueError raise_it.secrets" in found
    assert "KeyError args" in found


async def test_a_connectors_own_frame_forgets_its_arguments(gateway):
    """R52: also the method that a plugin calls, where the loader made the connector."""
    gateway.script(Fault(kind="status", status=400, times=0))
    config = ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=KEY)
    async with load_connectors(config) as bundle:
        calls = [
            bundle.identity.check_permissions("u", [BODY], user_jwt=TOKEN),
            bundle.service.create_item(ServiceItemCreate(name=BODY), user_jwt=TOKEN),
            bundle.payment.cancel(scope="nowhere", user_jwt=TOKEN),
        ]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(bundle.service, ManagedServiceConnector)
    assert all(isinstance(error, CallError) for error in errors)
    assert [place for error in errors for place in leaks_of(error)] == []
    assert "create_item" in str(traceback.extract_tb(errors[1].__traceback__))


@pytest.mark.parametrize(
    ("script", "sections"),
    [
        (["lost", 503, {}], {}),
        ([Reply(status=500, after_s=2), Reply(after_s=2)], {"hedging": {"max_hedges": 1, "delay_s": 1.0}}),
    ],
    ids=["retried", "hedged"],
)
def test_an_error_that_was_dealt_with_keeps_nothing(script, sections):
    """R52: a listener that keeps the error does not keep the request through its frames."""
    events = []

    async def scenario():
        client = ScriptedUpstream(script).client(telemetry=Telemetry(listener=events.append), **sections)
        await client.get("/r", path_params={}, params={"q": QUERY}, user_jwt=TOKEN)

    run_virtual(scenario())
    errors = {error for event in events if (error := getattr(event, "error", None)) is not None}
    assert errors
    assert [place for error in errors for place in leaks_of(error)] == []
