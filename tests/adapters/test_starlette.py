"""What FastAPI and Starlette take: the bundle for `Depends`, problem documents, health routes."""

import asyncio
import json
from contextlib import suppress
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette

from middleware import ConfigError, PlatformError
from runtime.adapters.starlette import health_routes, platform_error_response, request_connectors
from runtime.asgi import ConnectorsMiddleware, connectors_lifespan
from runtime.connectors.loader import (
    ConnectorBundle,
    ConnectorConfig,
    get_connectors,
    load_connectors,
    services_and_operations,
)
from runtime.settings import LiveSettings
from runtime.testing import Reply, ScriptedUpstream, bundle, run_virtual, virtual_time

GIVEN = {"x-correlation-id": "req-1"}


async def get(app, path, headers=GIVEN):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://core") as client:
        return await client.get(path, headers=headers)


async def served(app, *paths):
    """Responses of *app* to a GET of each path, with its lifespan around them, as a server has it."""
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope, receive, send):
            await app({**scope, "state": dict(state or {})}, receive, send)

        return [await get(with_state, path) for path in paths]


def application(fails, *, middleware=True):
    app = FastAPI()
    app.add_exception_handler(PlatformError, platform_error_response)
    if middleware:
        app.add_middleware(ConnectorsMiddleware)

    @app.get("/")
    async def endpoint():
        await fails()

    return app


def failing(*script, **settings):
    own = bundle(identity=ScriptedUpstream(list(script)), settings={"retry": {"max_attempts": 1}, **settings})
    return lambda: own.identity.get_user("u")


PROBLEM = {"title": "no", "status": 422, "errors": {"name": ["is too long"]}}


@pytest.mark.parametrize(
    ("script", "status", "code", "headers"),
    [
        ([404], 404, "NOT_FOUND", {}),
        ([401], 401, "UNAUTHENTICATED", {"www-authenticate": "Bearer"}),
        ([Reply(status=429, headers={"retry-after": "60"})], 429, "RATE_LIMITED", {"retry-after": "60"}),
        ([Reply(status=503, headers={"retry-after": "2"})], 503, "SERVER_ERROR", {"retry-after": "2"}),
        ([500], 502, "SERVER_ERROR", {}),
        ([httpx.ConnectError], 503, "REQUEST_NOT_SENT", {}),
        (["hang"], 502, "RESPONSE_LOST", {}),
    ],
    ids=["404", "401", "429", "503", "500", "refused", "hangs"],
)
def test_an_error_of_a_call_is_a_problem_document(script, status, code, headers):
    """RFC 9457, with the status that a host responds with, and the id of the request."""
    response = run_virtual(get(application(failing(*script)), "/"))
    document = response.json()
    assert response.status_code == document["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers.get_list("x-correlation-id") == [document["correlation_id"]] == ["req-1"]
    assert document["type"] == "about:blank"
    assert document["code"] == code
    assert document["outcome_unknown"] is False
    assert {name: response.headers.get(name) for name in ("retry-after", "www-authenticate")} == {
        "retry-after": None,
        "www-authenticate": None,
        **headers,
    }


def test_the_wait_is_rounded_up():
    """A client that waits so long is not too early: here for an open circuit."""
    breaker = {"circuit_breaker": {"min_calls": 1, "failure_ratio": 0.01}}
    fails = failing(500, **breaker)

    async def main():
        with suppress(PlatformError):
            await fails()
        await asyncio.sleep(0.5)
        return await get(application(fails), "/")

    response = run_virtual(main())
    assert response.json()["code"] == "CIRCUIT_OPEN"
    assert response.headers["retry-after"] == "6"  # of 5.5 s: 5 s times 1.2 at the most, less what has passed


def test_the_fields_of_a_rejected_request_are_named():
    """By the platform's own names and texts."""
    response = run_virtual(get(application(failing(Reply(status=422, json=PROBLEM))), "/"))
    assert response.json()["errors"] == {"name": ["is too long"]}
    assert response.json()["title"] == "Unprocessable Content" or response.json()["title"] == "Unprocessable Entity"


def test_an_error_that_is_no_calls_has_a_document_without_the_hosts_settings():
    """The names of settings are the operator's affair, and are in the host's log."""

    async def fails():
        raise ConfigError("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS: must be a number")

    response = run_virtual(get(application(fails), "/"))
    assert (response.status_code, response.json()["code"]) == (500, "CONFIGURATION_ERROR")
    assert "MOZAIKS" not in response.text
    assert response.json()["correlation_id"] == "req-1"


def test_without_the_middleware_the_document_has_the_calls_own_id():
    """In its header too."""
    response = run_virtual(get(application(failing(404), middleware=False), "/"))
    assert response.headers["x-correlation-id"] == response.json()["correlation_id"] != "req-1"


async def test_an_error_of_another_kind_is_none_of_ours():
    """A handler that is registered for all exceptions by mistake does not hide them."""
    with pytest.raises(ZeroDivisionError):
        await platform_error_response(None, ZeroDivisionError())


async def test_the_bundle_of_the_lifespan_is_there_for_depends(no_settings):
    """And the process's where the application has no such lifespan."""
    opened = []

    def app_with(lifespan):
        app = FastAPI(lifespan=lifespan)

        @app.get("/")
        async def endpoint(found: Annotated[ConnectorBundle, Depends(request_connectors)]):
            opened.append(found)
            return {"mode": found.mode}

        return app

    (response,) = await served(app_with(connectors_lifespan(ConnectorConfig())), "/")
    assert response.json() == {"mode": "self_hosted"}
    own = bundle(process_wide=True)
    (response,) = await served(app_with(None), "/")
    assert response.json() == {"mode": "managed"}
    own.request_close()
    assert opened[0].health().state == "closed"
    assert opened[1] is own


async def test_plugins_share_the_bundle_of_an_application_that_says_so(no_settings):
    """While it is open: one circuit breaker per service."""
    async with connectors_lifespan(ConnectorConfig(), process_wide=True)(None) as state:
        assert get_connectors() is state["connectors"]
    assert get_connectors() is not state["connectors"]


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
async def test_health_routes_are_off_until_they_are_added(kind, no_settings):
    """Under the prefix that the host chooses."""
    (absent,) = await served(kind(lifespan=connectors_lifespan(ConnectorConfig())), "/health/live")
    assert absent.status_code == 404
    app = kind(lifespan=connectors_lifespan(ConnectorConfig()))
    app.router.routes.extend(health_routes("/internal"))
    live, ready = await served(app, "/internal/live", "/internal/ready")
    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()) == (
        200,
        {"ready": True, "state": "open", "mode": "self_hosted", "services": {}},
    )
    assert {live.headers["cache-control"], ready.headers["cache-control"]} == {"no-store"}


@virtual_time
async def test_an_open_circuit_does_not_make_a_host_unready_and_draining_does():
    """The platform is not called; a pod that is restarted would not mend it."""
    upstream = ScriptedUpstream([500])
    settings = {"retry": {"max_attempts": 1}, "circuit_breaker": {"min_calls": 1, "failure_ratio": 0.01}}
    own = bundle(identity=upstream, settings=settings, process_wide=True)
    app = Starlette(routes=health_routes())
    with suppress(PlatformError):
        await own.identity.get_user("u")
    ready = await get(app, "/health/ready")
    assert ready.status_code == 200
    assert ready.json()["services"]["identity"]["breakers"] == {"identity": "open"}
    await own.drain(1)
    ready = await get(app, "/health/ready")
    assert (ready.status_code, ready.json()["ready"], ready.json()["state"]) == (503, False, "draining")
    assert (await get(app, "/health/live")).status_code == 200
    assert len(upstream.requests) == 1
    await own.aclose()


@virtual_time
async def test_health_says_what_a_service_does_and_nothing_of_its_callers():
    """State, load, last error, and where settings come from; no id, token, text or URL."""
    upstream = ScriptedUpstream([Reply(status=500, json={"message": "secret-text"}), "hang"])
    settings = {"services": {"identity": {"retry": {"max_attempts": 1}}}}
    own = bundle(identity=upstream, settings=settings)
    with suppress(PlatformError):
        await own.identity.get_user("secret-user", user_jwt="secret-jwt", correlation_id="secret-id")
    await asyncio.sleep(3)
    with suppress(PlatformError):  # the caller's fault, and nothing of the service
        await own.identity.get_user("secret-user", user_jwt="not\nsent")
    task = asyncio.create_task(own.identity.get_user("secret-user"))
    await asyncio.sleep(0.1)
    health = own.health()
    identity = health.to_json()["services"]["identity"]
    assert identity["last_error"] == {
        "code": "SERVER_ERROR",
        "operation": "get_user",
        "status": 500,
        "age_s": pytest.approx(3.1),
    }
    assert identity["calls_in_flight"] == 1
    assert identity["attempts"]["in_flight"] == 1
    assert identity["budget_balance"] == pytest.approx(10.4)
    assert identity["settings"] == {
        "state": "in_force",
        "problems": [],
        "given": {
            "retry.max_attempts": {"value": 1, "origin": "constructor: services.identity.retry.max_attempts"},
        },
    }
    assert health.services["billing"].last_error is None
    limits = {name: one["attempts"]["limit"] for name, one in health.to_json()["services"].items()}
    assert set(limits.values()) == {100}, "also of services that have not been called yet"
    text = json.dumps(health.to_json())
    assert "secret" not in text
    assert "://" not in text
    task.cancel()
    await asyncio.wait([task])


def test_health_says_that_a_settings_file_was_rejected_until_it_is_mended(tmp_path):
    """With the place of each problem; the last good settings are in force, and the host is ready."""
    file = tmp_path / "settings.toml"
    file.write_text("[retry]\nmax_attempts = 2\n")
    policies = LiveSettings(file=file, services=services_and_operations())
    config = ConnectorConfig(managed_mode=True, gateway_base_url="http://platform.test", policies=policies)
    own = load_connectors(config)

    def replace(text):
        (tmp_path / "next").write_text(text)
        (tmp_path / "next").replace(file)
        policies.poll(replace.now)
        replace.now += 10

    replace.now = 10.0
    seen = []
    for text in (
        "",
        "[retry]\nmax_attempts = 'x'",
        "[retry]\nmax_attempts = 2\n",
        "no toml",
        "[retry]\nmax_attempts = 4",
    ):
        replace(text)
        settings = own.health().to_json()["services"]["service"]["settings"]
        seen.append((settings["state"], settings["given"]["retry.max_attempts"]["value"], len(settings["problems"])))
        assert own.health().is_ready
    assert seen == [
        ("rejected", 2, 1),
        ("rejected", 2, 1),
        ("in_force", 2, 0),
        ("rejected", 2, 1),
        ("in_force", 4, 0),
    ]
    own.request_close()


@virtual_time
async def test_draining_waits_for_calls_within_its_bound():
    """Of tasks in the background, which no server waits for."""
    own = bundle(identity=ScriptedUpstream(["hang"], then={"user_id": "u"}))
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(own.identity.get_user("u"))
    await asyncio.sleep(0)
    assert await own.drain(2) == 1
    assert loop.time() == 2.0
    task.cancel()
    await asyncio.wait([task])
    assert await own.drain(2) == 0
    assert loop.time() == 2.0
    await own.aclose()
    assert await own.drain(0) == 0
    assert own.health().state == "closed"
