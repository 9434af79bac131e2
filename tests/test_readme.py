"""What the README shows runs."""

import re
from pathlib import Path

import call_picture
import httpx
import pytest

from runtime.connectors.service import ServiceItemCreate
from runtime.testing import Reply, bundle, virtual_time

README = (Path(__file__).parent.parent / "README.md").read_text()


def plugin():
    """The plugin that it shows."""
    (block,) = [
        block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "async def execute" in block
    ]
    namespace = {}
    exec(block, namespace)  # noqa: S102 - our own README
    return namespace["execute"]


async def test_the_plugin_example_runs(no_settings):
    """Self-hosted it greets the local user."""
    assert await plugin()({}) == {"hello": "mock_user"}


@pytest.mark.sockets
async def test_the_plugin_example_tells_errors(no_settings):
    """Managed, with a platform that is down, the plugin responds instead of raising."""
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", "http://127.0.0.1:9")
    no_settings.setenv("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS", "1")
    assert (await plugin()({}))["error_code"] == "REQUEST_NOT_SENT"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOZAIKS_MANAGED", "ture"),
        ("MOZAIKS_CONNECTORS_REQUIRE_MANAGED", "true"),
        ("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS", "0"),
    ],
)
async def test_the_plugin_example_answers_for_wrong_settings(no_settings, name, value):
    """A plugin must not raise, and loading does: the details name the variable, the text for end users does not."""
    no_settings.setenv(name, value)
    found = await plugin()({})
    assert found["error_code"] == "CONFIGURATION_ERROR"
    assert found["details"]["problems"][0].startswith(f"{name}: ")
    assert "MOZAIKS" not in found["error"]


async def test_the_application_example_serves(no_settings):
    """That of docs/installing.md: self-hosted it greets the local user, over the lifespan's own bundle."""
    text = (Path(__file__).parent.parent / "docs" / "installing.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    namespace = {}
    exec(block, namespace)  # noqa: S102 - our own documentation
    app = namespace["app"]

    async def with_state(scope, receive, send):
        await app({**scope, "state": dict(state)}, receive, send)

    client = httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://core")
    async with app.router.lifespan_context(app) as state, client:
        assert (await client.get("/hello")).json() == {"hello": "mock_user"}


@virtual_time
async def test_the_error_handler_example_responds():
    """That of docs/reference/errors.md: status, body and Retry-After; one that is beyond any deadline is left out."""
    text = (Path(__file__).parent.parent / "docs" / "reference" / "errors.md").read_text()
    *_, block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    namespace = {}
    exec(block, namespace)  # noqa: S102 - our own documentation
    app, later = namespace["app"], {"retry-after": "100"}
    steps = [404, Reply(status=503, headers=later), Reply(status=429, headers={"retry-after": "9" * 20}), "lost"]
    connectors = bundle(service=steps, settings={"retry": {"max_attempts": 1}})

    @app.post("/items")
    async def create():
        await connectors.service.create_item(ServiceItemCreate("One"))

    found = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://core") as client:
        for _ in steps:
            response = await client.post("/items")
            found.append((response.status_code, response.json()["error_code"], response.headers.get("retry-after")))
    assert found == [
        (404, "NOT_FOUND", None),
        (503, "SERVER_ERROR", "100"),
        (429, "RATE_LIMITED", None),
        (502, "RESPONSE_LOST", None),
    ]


def test_it_is_read_in_three_minutes():
    """What it is and a plugin are on the first screen; lists of settings are in the reference."""
    assert README.index("async def execute") < 1500
    assert len(README.split()) < 900


def test_its_picture_is_that_of_the_recorded_call():
    """After a change of the story or of the drawing: `python3 .ci/tools/call_picture.py`."""
    assert call_picture.PICTURE.read_text() == call_picture.picture()


def test_the_files_it_names_exist():
    """No link leads nowhere."""
    root = Path(__file__).parent.parent
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (root / target).exists(), target


def test_the_threat_model_names_files_and_steps_that_exist():
    """Each promise has the test that shows it."""
    rows = re.findall(
        r"^\|.*\|$",
        (Path(__file__).parent.parent / "SECURITY.md").read_text("utf-8").partition("shows it\n")[2],
        re.MULTILINE,
    )[2:]
    assert len(rows) > 10
    steps = (Path(__file__).parent.parent / ".ci" / "run").read_text("utf-8")
    for row in rows:
        named = re.findall(r"`([^`]+)`", row.split("|")[2])
        assert named, row
        for name in named:
            assert (Path(__file__).parent.parent / name).is_file() or f"'{name.removeprefix('.ci/run ')}|" in steps, (
                name
            )
