"""What an incoming request binds: its correlation id and deadline, and nothing once its last byte is sent."""

import asyncio
import uuid

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from middleware import PlatformError, current_correlation_id
from runtime.adapters.starlette import platform_error_response
from runtime.asgi import ConnectorsMiddleware
from runtime.testing import LoopClock, ScriptedUpstream, bundle, run_virtual

GIVEN = {"x-correlation-id": "req-1"}


def is_uuid(text):
    return str(uuid.UUID(text)) == text


class Host:
    """A FastAPI application in virtual time; its platform records what it reads."""

    def __init__(self, app=None, script=None, **services):
        self.upstream = ScriptedUpstream(script or [], then={"items": []})
        self.connectors = bundle(service=self.upstream, **services)
        self.app = app or FastAPI()

    @property
    def ids(self):
        return [request.headers["x-correlation-id"] for request in self.upstream.requests]

    def run(self, *, outside=False, path="/", headers=GIVEN, after_s=5.0):
        async def main():
            app = self.app
            if outside:
                app = ConnectorsMiddleware(app, LoopClock())
            else:
                app.add_middleware(ConnectorsMiddleware, clock=LoopClock())
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://core") as client:
                response = await client.get(path, headers=headers)
            await asyncio.sleep(after_s)
            return response

        return run_virtual(main())


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [("req-1", True), ("x" * 128, True), (None, False), ("  ", False), ("a b", False), ("x" * 129, False)],
    ids=["usable", "longest", "absent", "blank", "with a blank", "too long"],
)
def test_the_id_of_the_request_is_that_of_its_calls_and_of_its_response(given, is_taken):
    """R50: taken where it can be sent on, made otherwise; the application can read it."""
    host, seen = Host(), []

    @host.app.get("/")
    async def endpoint():
        seen.append(current_correlation_id())
        await host.connectors.service.list_items()
        await host.connectors.service.list_items(correlation_id=" ")
        return {}

    response = host.run(headers={} if given is None else {"X-Correlation-Id": given})
    chosen = response.headers["x-correlation-id"]
    assert chosen == given if is_taken else is_uuid(chosen)
    assert host.ids == [chosen, chosen]
    assert seen == [chosen]


def test_a_calls_own_id_wins():
    """R50: over that of the request; one that cannot be sent is replaced by it."""
    host = Host()

    @host.app.get("/")
    async def endpoint():
        await host.connectors.service.list_items(correlation_id="own")
        await host.connectors.service.list_items(correlation_id="not usable")
        return {}

    assert host.run().headers["x-correlation-id"] == "req-1"
    assert host.ids == ["own", "req-1"]


def test_outside_of_a_request_each_call_has_an_id_of_its_own():
    """As before."""
    host = Host()

    async def main():
        await host.connectors.service.list_items()
        await host.connectors.service.list_items()
        return current_correlation_id()

    assert run_virtual(main()) == ""
    assert len(set(host.ids)) == 2
    assert all(map(is_uuid, host.ids))


def routes(app, connectors):
    """One route per kind of response."""

    @app.get("/200")
    async def ok():
        return PlainTextResponse("ok", headers={"X-Correlation-ID": "the host's"})

    @app.get("/422/{number}")
    async def number(number: int):
        return number

    @app.get("/stream")
    async def stream():
        async def parts():
            yield "a"
            await connectors.service.list_items()
            yield "b"

        return StreamingResponse(parts())

    @app.get("/platform")
    async def platform():
        await connectors.identity.get_user("u")

    @app.get("/unhandled")
    async def unhandled():
        raise ZeroDivisionError


def own_handler(_request, error):
    return JSONResponse({"own": type(error).__name__}, 500)


@pytest.mark.parametrize("outside", [False, True], ids=["added", "around"])
@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/200", 200, "ok"),
        ("/none", 404, '{"detail":"Not Found"}'),
        ("/422/x", 422, ""),
        ("/stream", 200, "ab"),
        ("/platform", 404, ""),
        ("/unhandled", 500, "Internal Server Error"),
    ],
)
def test_every_response_has_the_id(outside, path, status, text):
    """R50: once, wherever the response was made."""
    host = Host(identity=[404])
    host.app.add_exception_handler(PlatformError, platform_error_response)
    routes(host.app, host.connectors)
    response = host.run(outside=outside, path=path)
    assert response.headers.get_list("x-correlation-id") == ["req-1"]
    assert response.status_code == status
    assert response.text == text or not text
    assert set(host.ids) <= {"req-1"}


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_the_hosts_own_response_to_an_unhandled_exception_stays(kind):
    """It has the id in addition, and is made once."""
    host = Host()
    calls = []

    def plain(request, error):
        calls.append(current_correlation_id())
        return own_handler(request, error)

    async def handler(request, error):
        return plain(request, error)

    host.app.add_exception_handler(Exception, handler if kind == "async" else plain)
    routes(host.app, host.connectors)
    response = host.run(path="/unhandled")
    assert (response.json(), response.status_code) == ({"own": "ZeroDivisionError"}, 500)
    assert response.headers["x-correlation-id"] == "req-1"
    assert calls == ["req-1"]


def test_the_page_of_an_application_under_development_stays():
    """With its traceback."""
    host = Host(FastAPI(debug=True))
    routes(host.app, host.connectors)
    response = host.run(path="/unhandled")
    assert "ZeroDivisionError" in response.text
    assert response.headers["x-correlation-id"] == "req-1"


async def drive(app, *, kind="http", headers=((b"x-correlation-id", b"req-1"),), incoming=(), fail_after=None):
    """Serve one scope with *app*; returns the messages that it sent, and its exception."""
    sent, left = [], list(incoming)

    async def receive():
        return left.pop(0) if left else await asyncio.Event().wait()

    async def send(message):
        if fail_after is not None and len(sent) >= fail_after:
            raise OSError("the client is gone")
        sent.append(message)

    try:
        await app({"type": kind, "path": "/", "method": "GET", "query_string": b"", "headers": headers}, receive, send)
    except Exception as error:
        return sent, error
    return sent, None


@pytest.mark.parametrize("fail_after", [None, 0], ids=["client there", "client gone"])
async def test_an_application_of_another_kind_responds_to_an_unhandled_exception(fail_after):
    """As servers do themselves, with the id; the exception goes on to the server."""
    failure = ZeroDivisionError()

    async def app(_scope, _receive, _send):
        raise failure

    sent, error = await drive(ConnectorsMiddleware(app), fail_after=fail_after)
    assert error is failure
    if fail_after is None:
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
        assert sent[0]["status"] == 500
        assert (b"x-correlation-id", b"req-1") in sent[0]["headers"]
        assert dict(sent[0]["headers"])[b"content-length"] == str(len(sent[1]["body"])).encode()


async def test_no_second_response_follows_an_exception_in_the_middle_of_one():
    """What was sent stays what was sent."""

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    sent, error = await drive(ConnectorsMiddleware(app))
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert isinstance(error, ZeroDivisionError)


def test_what_goes_on_after_the_last_byte_is_no_part_of_the_request():
    """R50: neither a background task nor one that outlives the request has its id or its deadline."""
    host, tasks = Host(), []

    async def later(after_s):
        await asyncio.sleep(after_s)
        await host.connectors.service.list_items()

    @host.app.get("/")
    async def endpoint(background: BackgroundTasks):
        background.add_task(later, 0)
        tasks.append(asyncio.create_task(later(0.5)))
        await host.connectors.service.list_items()
        return {}

    response = host.run(headers={**GIVEN, "x-request-timeout-ms": "400"})
    assert response.status_code == 200
    first, *others = host.ids
    assert first == "req-1"
    assert len(set(others)) == 2
    assert all(map(is_uuid, others))


@pytest.mark.parametrize("ends", ["by an exception", "by a disconnect"])
def test_a_task_of_a_request_that_got_no_response_is_no_part_of_it_either(ends):
    """R40, R50: its deadline ends too."""
    host, tasks = Host(), []

    async def later():
        await asyncio.sleep(0.5)
        await host.connectors.service.list_items()

    async def app(_scope, _receive, _send):
        tasks.append(asyncio.create_task(later()))
        if ends == "by an exception":
            raise ZeroDivisionError

    async def main():
        headers = ((b"x-correlation-id", b"req-1"), (b"x-request-timeout-ms", b"300"))
        await drive(ConnectorsMiddleware(app, LoopClock()), headers=headers, fail_after=0)
        await tasks[0]

    run_virtual(main())
    (used,) = host.ids
    assert is_uuid(used)


def test_a_client_that_goes_in_the_middle_of_a_stream_ends_the_request():
    """R50: its id was in the head; what is left behind has it no longer."""
    host, tasks = Host(), []

    async def later():
        await asyncio.sleep(1)
        await host.connectors.service.list_items()

    @host.app.get("/")
    async def endpoint():
        async def parts():
            tasks.append(asyncio.create_task(later()))
            while True:
                yield b"part"
                await asyncio.sleep(0.1)

        return StreamingResponse(parts())

    async def main():
        gone = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
        sent, _ = await drive(ConnectorsMiddleware(host.app), incoming=gone)
        await tasks[0]
        return sent

    sent = run_virtual(main())
    assert (b"x-correlation-id", b"req-1") in sent[0]["headers"]
    assert all(map(is_uuid, host.ids))


def test_the_outer_one_of_two_counts():
    """An application in another one, each with the middleware: one request, one id."""
    host, inner = Host(), FastAPI()
    inner.add_middleware(ConnectorsMiddleware)

    @inner.get("/")
    async def endpoint():
        await host.connectors.service.list_items()
        return {}

    host.app.mount("/inner", inner)
    response = host.run(path="/inner/", headers={})
    assert host.ids == response.headers.get_list("x-correlation-id")


def test_a_websocket_has_an_id_until_it_closes():
    """R50: it is sent with the handshake."""
    host = Host()

    @host.app.websocket("/")
    async def endpoint(websocket: WebSocket):
        await websocket.accept()
        await host.connectors.service.list_items()
        await websocket.close()
        await host.connectors.service.list_items()

    sent, error = run_virtual(
        drive(ConnectorsMiddleware(host.app), kind="websocket", incoming=[{"type": "websocket.connect"}])
    )
    assert error is None
    assert (b"x-correlation-id", b"req-1") in sent[0]["headers"]
    assert host.ids[0] == "req-1"
    assert is_uuid(host.ids[1])


async def test_a_rejected_handshake_has_the_id():
    """R50: it is an HTTP response."""

    async def app(_scope, _receive, send):
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})

    sent, _ = await drive(ConnectorsMiddleware(app), kind="websocket")
    assert sent[0]["headers"] == [(b"x-correlation-id", b"req-1")]


USERS = 500


@pytest.mark.torture
def test_requests_in_parallel_do_not_mix_under_retries_and_hedges():
    """R50, R52: each call has the user, token, id and deadline of its own request, each caller its own response."""
    settings = {
        "calls": {"max_in_flight": USERS},
        "bulkhead": {"permits": USERS, "queue": USERS},
        "budget": {"enabled": False},
        "circuit_breaker": {"mode": "disabled"},
        "attempt": {"announce": True},
        "hedging": {"max_hedges": 1, "delay_s": 0.2},
    }
    seen = {}

    def patience_ms(number):
        return 5000 + 3 * number

    async def platform(request):
        user = request.path.rsplit("/", 1)[1]
        attempts = seen.setdefault(user, [])
        attempts.append(request.headers)
        number = int(user[1:])
        if number % 3 == 0 and len(attempts) == 1:
            return 503  # so that it is retried
        await asyncio.sleep(1.0 if number % 3 == 1 and len(attempts) == 1 else 0.05)  # so that it is hedged
        return {"user_id": user, "username": request.headers.get("authorization", "")}

    connectors = bundle(settings=settings, identity=ScriptedUpstream(platform))
    app = FastAPI()

    @app.get("/{user}")
    async def endpoint(user: str, request: Request):
        own = connectors.bind(user_jwt=request.headers["x-user-jwt"])
        await asyncio.sleep(int(user[1:]) % 7 / 100)
        found = await own.identity.get_user(user)
        if int(user[1:]) % 5 == 0:
            await connectors.identity.get_user(f"{user}")  # with the application's key
        return {"user": found.user_id, "token": found.username}

    async def main():
        served = ConnectorsMiddleware(app, LoopClock())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://core") as client:

            async def one(number):
                headers = {
                    "x-correlation-id": f"id-{number}",
                    "x-user-jwt": f"jwt-{number}",
                    "x-request-timeout-ms": str(patience_ms(number)),
                }
                response = await client.get(f"/u{number}", headers=headers)
                assert response.headers["x-correlation-id"] == f"id-{number}"
                assert response.json() == {"user": f"u{number}", "token": f"Bearer jwt-{number}"}

            await asyncio.gather(*(one(number) for number in range(USERS)))

    run_virtual(main())
    assert len(seen) == USERS
    for user, attempts in seen.items():
        number = int(user[1:])
        assert len(attempts) >= (1 if number % 3 == 2 else 2), user
        assert {headers["x-correlation-id"] for headers in attempts} == {f"id-{number}"}
        tokens = [headers.get("authorization") for headers in attempts]
        assert set(tokens) - {None} == {f"Bearer jwt-{number}"}
        assert (None in tokens) == (number % 5 == 0)
        announced = [int(headers["x-request-timeout-ms"]) for headers in attempts]
        # Its own to the millisecond, which is rounded down: those of the others are 3 ms away.
        assert 0 <= patience_ms(number) - number % 7 * 10 - announced[0] <= 1, user
