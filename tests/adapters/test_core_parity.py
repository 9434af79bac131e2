"""
Parity with the core's own client, call by call: both make the same call to the same server, and what differs is listed.

The incumbent is the stand-in's. A situation names each aspect in which the adapter differs, with the number of
the difference in docs/core.md, or the reason, and the value that is right; every other aspect must be equal.
"""

import json
import logging
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from raw_server import RawServer, ok

from middleware import CallError
from runtime.adapters import core as adapter
from runtime.connectors import loader

pytestmark = pytest.mark.sockets

JWT, ID, KEY = "user-token", "7b0f6f3e-3d43-4b0e-9a2d-0c8f5a4e1b11", "moz_test_key"
ASPECTS = ("path", "query", "body", "headers", "wire", "outcome", "log")
HEADERS = ("authorization", "x-mozaiks-app-key", "x-correlation-id", "content-type")
LOGGERS = ("mozaiks_sdk.connectors.managed", "mozaiks_sdk.connectors.mock")


def response(status=200, document=None, *, kind=b"application/json", body=None, headers=()):
    body = (b"" if document is None else json.dumps(document).encode()) if body is None else body
    lines = [b"content-type: " + kind] if body else []
    return ok(body, *lines, *headers, status=b"%d Reason" % status)


@dataclass
class Situation:
    """
    One situation of a call.

    Attributes:
        call: `status`, `checkout` or `cancel`.
        script: What the server does with each request; the last one for all that follow: bytes, `drop` or `hang`.
        differs: Aspect -> number in docs/core.md or reason, and the adapter's value.
        arguments: Of the call, over those of every call.
        payload: Of the checkout or the cancellation.
        environment: Further variables.
        base: Path of the base URL.
        refused: There is no server.
    """

    name: str
    call: str
    script: tuple = ()
    differs: Mapping[str, tuple[int | str, Any]] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=lambda: {"scope": "platform", "plan": "pro"})
    environment: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    refused: bool = False


UNREACHABLE = ("returns", {
    "scope": "platform", "appId": None, "active": False, "status": "unavailable", "plan": None,
    "currentPeriodEnd": None, "cancelAtPeriodEnd": None, "unavailableReason": "gateway_unreachable",
})  # fmt: skip
UNUSABLE = ("returns", {**UNREACHABLE[1], "unavailableReason": "invalid_response"})
ACTIVE = {"active": True, "status": "active", "plan": "pro", "currentPeriodEnd": "2099-01-31T00:00:00Z"}
SESSION = {"checkoutUrl": "https://pay.test/s", "sessionId": "s-1"}
OK = response(200, {"ok": True})


def returns(**fields):
    return "returns", {**UNREACHABLE[1], "unavailableReason": None, **fields}


def lines(*attempts, final="", status=None):
    """The log of a call: a status, or None without a response, and whether it failed, for each attempt."""
    found = []
    for number, (code, failed) in enumerate(attempts, 1):
        found.append(f"INFO gateway.request {number}")
        found += [f"INFO gateway.response {number} {code}"] if code is not None else []
        found += [f"WARNING gateway.error {number}"] if failed else []
    return [*found, *([f"ERROR payment.{final}_error {status}"] if final else [])]


ERROR_STATUSES = (400, 401, 402, 403, 404, 405, 408, 409, 410, 412, 413, 415, 418, 422, 425, 428, 429, 451)
ERROR_STATUSES += (500, 501, 502, 503, 504, 505, 507, 511, 520, 529)
RETRIED = {408, 429, 500, 502, 503, 504}


def of_status(status):
    """Each call, with an error status; of the retried ones the incumbent has 408 not, and every other 5xx."""
    differs = {}
    if (status in RETRIED) != (status == 429 or status >= 500):
        attempts = 3 if status in RETRIED else 1
        log = lines(*[(status, True)] * attempts, final="subscription_status", status=status)
        differs = {"wire": (3, attempts), "log": (3, log)}
    yield Situation(f"status-{status}", "status", (response(status, {"error": "x"}),), differs)
    for call in ("checkout", "cancel"):
        yield Situation(f"{call}-{status}", call, (response(status, {"error": "x"}),))


def redirects(status):
    moved = response(status, headers=[b"location: /elsewhere"])
    there = {"status": response(200, ACTIVE), "checkout": response(200, SESSION), "cancel": OK}
    ends = {"status": UNREACHABLE, "checkout": ("raises", None), "cancel": ("returns", {"ok": False})}
    for call, final in (("status", "subscription_status"), ("checkout", ""), ("cancel", "cancel")):
        differs = {"wire": (10, 1), "outcome": (10, ends[call]), "log": (10, lines((status, True), final=final))}
        yield Situation(f"{call}-redirect-{status}", call, (moved, there[call]), differs)


def unusable(name, body, *, kind=b"application/json", status=200):
    """A 2xx that is no status: the incumbent reads it as active, or its error escapes (12 to 14)."""
    log = lines((status, True), final="subscription_status")
    differs = {"outcome": (13, UNUSABLE), "log": (14, log)}
    yield Situation(f"status-unusable-{name}", "status", (response(status, body=body, kind=kind),), differs)


def situations():
    for status in ERROR_STATUSES:
        yield from of_status(status)
    for status in (301, 302, 307):
        yield from redirects(status)

    # --- successes
    full = {**ACTIVE, "scope": "app", "appId": "a-1", "cancelAtPeriodEnd": False, "tier": "gold", "limits": {"n": 3}}
    yield Situation("status-active", "status", (response(200, ACTIVE),))
    yield Situation("status-extras", "status", (response(200, full),))
    yield Situation("status-inactive", "status", (response(200, {"active": False, "status": "inactive"}),))
    yield Situation("status-canceled-until-later", "status", (response(200, {**ACTIVE, "status": "canceled"}),))
    yield Situation("status-trialing", "status", (response(200, {**ACTIVE, "status": "trialing"}),))
    yield Situation("status-word-alone", "status", (response(200, {"status": "active", "plan": "pro"}),))
    yield Situation("status-app", "status", (response(200, ACTIVE),), arguments={"scope": "app", "appId": "a-1"})
    yield Situation(
        "status-special-id", "status", (response(200, ACTIVE),), arguments={"scope": "app", "appId": "a/ü &=?"}
    )
    net = {
        "isActive": True,
        "planId": "pro",
        "expiresAtUtc": "2099-01-31T00:00:00Z",
        "features": ["x"],
        "subscriptionId": "s",
    }
    read = returns(active=True, status="active", plan="pro", currentPeriodEnd="2099-01-31T00:00:00+00:00", **net)
    yield Situation("status-dotnet-active", "status", (response(200, net),), {"outcome": (13, read)})
    read = returns(status="inactive", isActive=False, planId=None)
    yield Situation(
        "status-dotnet-inactive",
        "status",
        (response(200, {"isActive": False, "planId": None}),),
        {"outcome": (13, read)},
    )
    read = returns(status="inactive", success=True, found=False)
    yield Situation(
        "status-not-found", "status", (response(200, {"success": True, "found": False}),), {"outcome": (13, read)}
    )
    read = returns(status="inactive", isActive=False)
    yield Situation(
        "status-contradiction",
        "status",
        (response(200, {"isActive": False, "status": "active"}),),
        {"outcome": (13, read)},
    )
    read = returns(status="expired")
    yield Situation(
        "status-expired", "status", (response(200, {"active": True, "status": "expired"}),), {"outcome": (13, read)}
    )
    yield Situation("checkout-ok", "checkout", (response(200, SESSION),))
    yield Situation("checkout-created", "checkout", (response(201, {**SESSION, "expires": 3}),))
    yield Situation(
        "checkout-extras",
        "checkout",
        (response(200, SESSION),),
        payload={"scope": "platform", "mode": "payment", "amount": 100, "none": None},
    )
    yield Situation(
        "checkout-own-plan-id",
        "checkout",
        (response(200, SESSION),),
        payload={"scope": "app", "appId": "a-1", "plan": "p", "planId": "q"},
    )
    yield Situation(
        "checkout-metadata",
        "checkout",
        (response(200, SESSION),),
        payload={"scope": "platform", "metadata": {"k": "v", "n": [1, None]}},
    )
    yield Situation("checkout-no-scope", "checkout", (response(200, SESSION),), payload={"plan": "pro"})
    net = {"sessionId": "s-1", "clientSecret": "c", "mode": "subscription", "status": "pending"}
    yield Situation(
        "checkout-dotnet", "checkout", (response(200, net),), {"outcome": (14, ("returns", {"checkoutUrl": "", **net}))}
    )
    yield Situation("cancel-ok", "cancel", (OK,))
    yield Situation("cancel-not-ok", "cancel", (response(200, {"ok": False}),))
    yield Situation("cancel-extras", "cancel", (response(200, {"ok": True, "cancelAt": "2099-01-31"}),))
    yield Situation("cancel-204", "cancel", (response(204),))
    yield Situation("cancel-app", "cancel", (OK,), payload={"scope": "app", "appId": "a-1"})
    refused = lines((200, True), final="cancel")
    yield Situation(
        "cancel-empty", "cancel", (response(200),), {"outcome": (17, ("returns", {"ok": False})), "log": (17, refused)}
    )
    read = ("returns", {"ok": False, "success": False})
    yield Situation("cancel-no-success", "cancel", (response(200, {"success": False}),), {"outcome": (13, read)})
    read = ("returns", {"ok": False})
    failed = response(200, {"success": False, "error": {"code": "x"}})
    yield Situation("cancel-failed", "cancel", (failed,), {"outcome": (13, read), "log": (13, refused)})

    # --- responses that cannot be used
    yield from unusable("empty", b"")
    yield from unusable("html", b"<html></html>", kind=b"text/html")
    yield from unusable("text", b"active", kind=b"text/plain")
    yield from unusable("object", b"{}")
    yield from unusable("array", b"[]")
    yield from unusable("null", b"null")
    yield from unusable("flag-of-text", b'{"active": "maybe"}')
    yield from unusable("nan", b'{"active": NaN}')
    yield from unusable("number", b'{"active": 1, "status": "active"}')
    yield from unusable("no-json", b"nonsense")
    retried = lines(*[(200, True)] * 3, final="subscription_status")
    differs = {"wire": ("transient", 3), "outcome": (14, UNUSABLE), "log": (14, retried)}
    yield Situation("status-cut", "status", (response(200, body=b'{"active": tr'),), differs)
    for name, body, kind in (
        ("html", b"<html></html>", b"text/html"),
        ("empty", b"", b""),
        ("array", b"[]", b"application/json"),
    ):
        differs = {"outcome": (14, ("raises", None)), "log": (14, lines((200, True)))}
        yield Situation(f"checkout-{name}", "checkout", (response(200, body=body, kind=kind),), differs)
    differs = {"outcome": (12, returns(**ACTIVE))}
    yield Situation("status-text-json", "status", (response(200, ACTIVE, kind=b"text/json"),), differs)
    bom = b"\xef\xbb\xbf" + json.dumps(ACTIVE).encode()
    yield Situation("status-bom", "status", (response(200, body=bom),), {"outcome": (14, returns(**ACTIVE))})

    # --- transport
    yield Situation("status-503-then-ok", "status", (response(503), response(200, ACTIVE)))
    yield Situation(
        "status-drop-then-ok",
        "status",
        ("drop", response(200, ACTIVE)),
        {"log": (9, lines((None, True), (200, False)))},
    )
    yield Situation("status-refused", "status", refused=True)
    yield Situation("checkout-refused", "checkout", refused=True)
    yield Situation("cancel-refused", "cancel", refused=True)
    yield Situation("status-dropped", "status", ("drop",), {"wire": (9, 3)})
    yield Situation("checkout-dropped", "checkout", ("drop",))
    yield Situation("cancel-dropped", "cancel", ("drop",))
    yield Situation("status-hangs", "status", ("hang",))
    yield Situation("checkout-hangs", "checkout", ("hang",))
    yield Situation("cancel-hangs", "cancel", ("hang",))
    once = lines((429, True), final="subscription_status", status=429)
    far = response(429, headers=[b"retry-after: 60"])
    yield Situation("status-retry-after", "status", (far,), {"wire": (7, 1), "log": (7, once)})
    yield Situation("checkout-retry-after", "checkout", (far,))
    large = response(200, {**ACTIVE, "x": "y" * 3000})
    differs = {"outcome": (23, UNREACHABLE), "log": (23, lines((200, True), final="subscription_status"))}
    small = {"MOZAIKS_CONNECTORS_TRANSPORT_MAX_RESPONSE_BYTES": "2048"}
    yield Situation("status-large", "status", (large,), differs, environment=small)

    # --- requests
    yield Situation("no-token", "status", (response(200, ACTIVE),), arguments={"user_jwt": None})
    yield Situation("no-key", "status", (response(200, ACTIVE),), environment={"MOZAIKS_GATEWAY_API_KEY": ""})
    yield Situation("base-path", "status", (response(200, ACTIVE),), base="/gw/v1")
    yield Situation("base-slash", "checkout", (response(200, SESSION),), base="/")
    yield Situation(
        "proxy-ignored", "status", (response(200, ACTIVE),), environment={"HTTP_PROXY": "http://127.0.0.1:9"}
    )
    yield Situation("cookies", "status", (response(200, ACTIVE, headers=[b"set-cookie: a=b"]),))
    for name, given in (("blank", ""), ("line-break", "a\r\nb"), ("not-ascii", "idé")):
        differs = {"headers": (19, "a UUID")}
        if name == "line-break":
            done = {"wire": (19, 1), "outcome": (19, returns(**ACTIVE)), "log": (19, lines((200, False)))}
            differs |= {
                **done,
                "path": (19, "/api/mozaiks/pay/subscription-status"),
                "query": (19, [("scope", "platform")]),
            }
        yield Situation(f"id-{name}", "status", (response(200, ACTIVE),), differs, arguments={"correlation_id": given})
    nothing = ["ERROR payment.subscription_status_error None"]
    yield Situation(
        "token-line-break", "status", (response(200, ACTIVE),), arguments={"user_jwt": "a\r\nb"},
        differs={"outcome": (19, UNREACHABLE), "log": (19, nothing)},
    )  # fmt: skip
    yield Situation(
        "scope-spelled", "status", (response(200, ACTIVE),), arguments={"scope": " Platform"},
        differs={"query": ("as the core's routes read it", [("scope", "platform")])},
    )  # fmt: skip
    yield Situation(
        "scope-unknown", "status", (response(200, ACTIVE),), arguments={"scope": "team"},
        differs={
            "path": ("an error in the arguments", None), "query": ("as above", None), "headers": ("as above", None),
            "wire": ("as above", 0), "outcome": ("as above", ("returns", {**UNREACHABLE[1], "scope": "team"})),
            "log": ("as above", nothing),
        },
    )  # fmt: skip
    yield Situation(
        "app-without-id", "checkout", (response(500),), payload={"scope": "app"},
        differs={
            "path": ("the platform responds 500 to it", None), "body": ("as above", None), "wire": ("as above", 0),
            "headers": ("as above", None), "outcome": ("as above", ("raises", None)), "log": ("as above", []),
        },
    )  # fmt: skip


SITUATIONS = list(situations())


def test_there_are_enough_situations():
    """More than sixty, each of its own name."""
    assert len({one.name for one in SITUATIONS}) == len(SITUATIONS) >= 60


class Server(RawServer):
    """Plays the script of a situation."""

    def __init__(self, script):
        super().__init__(serve=self._play)
        self._script = script

    async def _play(self, peer, seen):
        step = self._script[min(len(self.requests), len(self._script)) - 1]
        if step == "drop":
            peer.writer.close()
        elif step == "hang":
            await peer.gone()
        else:
            await peer.write(step)
            return True
        return False


def unused_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


async def outcome_of(payment, situation, gateway_error):
    from mozaiks_app.connectors import base

    arguments = {"correlation_id": ID, "user_jwt": JWT, **situation.arguments}
    if situation.call == "status":
        call = payment.subscription_status(**{"scope": "platform", "appId": None, **arguments})
    elif situation.call == "checkout":
        call = payment.checkout(payload=base.CheckoutRequest.model_validate(situation.payload), **arguments)
    else:
        payload = {key: value for key, value in situation.payload.items() if key != "plan"}
        call = payment.cancel(payload=base.CancelRequest.model_validate(payload), **arguments)
    try:
        found = await call
    except gateway_error as error:
        return ("raises", error.status_code), error
    except Exception as error:
        return ("escapes", type(error).__name__), error
    assert isinstance(found, base.PaymentStatus | base.CheckoutResponse | base.OkResponse)
    return ("returns", found.model_dump()), None


@dataclass
class Seen:
    """What one client did in a situation, by aspect."""

    aspects: dict
    records: list
    error: BaseException | None
    requests: list


async def run(situation, make_payment, core, caplog, gateway_error):
    server = Server(situation.script)
    caplog.clear()
    async with server:
        url = f"http://127.0.0.1:{unused_port() if situation.refused else server.port}{situation.base}"
        environment = {
            "MOZAIKS_MANAGED": "true",
            "MOZAIKS_GATEWAY_BASE_URL": url,
            "MOZAIKS_GATEWAY_API_KEY": KEY,
            "MOZAIKS_CONNECTORS_PAYMENT__RETRY_BASE_DELAY_S": "0",
            "MOZAIKS_CONNECTORS_PAYMENT__RETRY_THROTTLE_BASE_DELAY_S": "0",
            "MOZAIKS_CONNECTORS_PAYMENT__RETRY_NOT_SENT_BASE_DELAY_S": "0",
            **({"MOZAIKS_CONNECTORS_PAYMENT__ATTEMPT_TIMEOUT_S": "0.3"} if "hang" in situation.script else {}),
            **situation.environment,
        }
        for name, value in environment.items():
            core.setenv(name, value)
        payment = make_payment(short="hang" in situation.script)
        outcome, error = await outcome_of(payment, situation, gateway_error)
        await loader.load_connectors().aclose()
        adapter.reset_connectors()
    records = [(record, json.loads(record.getMessage())) for record in caplog.records if record.name in LOGGERS]
    first = server.requests[0] if server.requests else None
    path, _, query = first.target.partition("?") if first else ("", "", "")
    log = []
    for record, line in records:
        ends = ("attempt", "status") if line["event"].startswith("gateway.") else ("status",)
        log.append(" ".join([record.levelname, line["event"], *(str(line[key]) for key in ends if key in line)]))
    aspects = {
        "path": path if first else None,
        "query": parse_qsl(query) or None,
        "body": json.loads(first.body) if first and first.body else None,
        "headers": {name: first.headers.get(name) for name in HEADERS} if first else None,
        "wire": len(server.requests),
        "outcome": outcome,
        "log": log,
    }
    return Seen(aspects, records, error, server.requests)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.name)
async def test_a_call_is_the_incumbents_but_for_what_is_listed(situation, shared_core, caplog):
    """Path, query, body, headers, requests on the wire, outcome, and log events in order."""
    caplog.set_level(logging.INFO)
    from mozaiks_app.connectors import managed
    from mozaiks_app.runtime import connector_loader

    async def no_wait(_delay_s):
        pass

    shared_core.setattr(managed, "_sleep", no_wait)

    def incumbent(*, short):
        payment = connector_loader.load_connectors().payment
        if short:
            config = payment._http._config
            payment._http._config = managed.ManagedGatewayConfig(config.base_url, config.api_key, timeout_s=0.3)
        return payment

    before = await run(situation, incumbent, shared_core, caplog, managed.GatewayRequestError)
    adapter.install()
    after = await run(
        situation,
        lambda short: connector_loader.load_connectors().payment,
        shared_core,
        caplog,
        managed.GatewayRequestError,
    )

    expected = dict(before.aspects)
    if situation.call == "checkout" and expected["body"] and situation.payload.get("plan"):
        expected["body"] = {"planId": situation.payload["plan"], **expected["body"]}  # what the real service requires
    for aspect, (row, value) in situation.differs.items():
        right = value
        if value == "a UUID":
            sent = after.aspects["headers"]["x-correlation-id"]
            right = {**(expected["headers"] or dict.fromkeys(HEADERS)), "x-correlation-id": sent}
            right |= {"authorization": f"Bearer {JWT}", "x-mozaiks-app-key": KEY}
            assert str(uuid.UUID(sent)) == sent, row
        assert expected[aspect] != right, f"{aspect} does not differ (row {row})"
        expected[aspect] = right
    assert after.aspects == expected

    assert len({(one.target, one.body, *map(one.headers.get, HEADERS)) for one in after.requests}) <= 1
    assert not any("cookie" in one.headers for one in after.requests)
    if after.aspects["outcome"][0] == "raises":
        assert isinstance(after.error.__cause__, CallError)
    compare_fields(before.records, after.records, same="headers" not in situation.differs and not situation.arguments)


def compare_fields(before, after, *, same):
    """Each line has all keys that the core's line of its name has, in its order and first, and the same values."""
    core_lines: Mapping[str, dict] = {line["event"]: line for _, line in before}
    check: Callable[[str], bool] = lambda key: same and key not in {"attempt", "status", "error"}  # noqa: E731
    for record, line in after:
        theirs = core_lines.get(line["event"])
        if theirs is None:
            continue
        assert [key for key in line if key in theirs] == list(theirs)
        assert {key: line[key] for key in theirs if check(key)} == {key: theirs[key] for key in theirs if check(key)}
        assert record.correlation_id == line["correlationId"]
        assert JWT not in record.getMessage()
        assert KEY not in record.getMessage()
