"""Every Python example of the README and the docs runs, against the platform and in self-hosted mode."""

import asyncio
import inspect
import re
from pathlib import Path

import pytest
from stand_in import importable_core

from runtime.connectors.loader import load_connectors
from runtime.gateway import DEFAULT_API_KEY, GatewayProcess

pytestmark = pytest.mark.sockets

ROOT = Path(__file__).parent.parent
# The contract is given, its blocks are templates; the one that is a program is tests/connectors/test_service.py. The
# programs of generate.md import what its commands write, and run among them: .ci/tools/tutorial.py.
NOT_ALONE = {"connector-contract.md", "generate.md"}
DOCUMENTS = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name not in NOT_ALONE),
]
EXAMPLES = [
    pytest.param(block, id=f"{path.relative_to(ROOT)}-{number}")
    for path in DOCUMENTS
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE))
]


def test_the_examples_are_found():
    """The next tests would pass without any."""
    assert {str(example.id).rpartition("-")[0] for example in EXAMPLES} >= {
        "README.md",
        "docs/observability.md",
        "docs/testing.md",
    }


@pytest.fixture(scope="module")
def platform():
    with GatewayProcess() as process:
        yield process


@pytest.fixture(params=["self_hosted", "managed"])
def mode(request, platform, no_settings, tmp_path):
    """The environment that the examples run in: of a plugin developer, or of a host on the platform."""
    no_settings.chdir(tmp_path)
    platform.reset()
    if request.param == "managed":
        no_settings.setenv("MOZAIKS_MANAGED", "true")
        no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", platform.url)
        no_settings.setenv("MOZAIKS_GATEWAY_API_KEY", DEFAULT_API_KEY)
    with importable_core(no_settings):
        yield request.param


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_runs(example, mode, platform):
    """What it defines is used as its reader would: plugins are executed, tests run, connectors called."""
    if "celery" in example:
        pytest.importorskip("celery")
    if "opentelemetry.exporter.prometheus" in example:
        pytest.importorskip("opentelemetry.exporter.prometheus")  # fits the SDK of its own release alone
    namespace = {"__name__": "example"}
    exec(example, namespace)  # noqa: S102 - our own document
    if "handle" in namespace:
        namespace["handle"].shutdown()
    own = {name: value for name, value in namespace.items() if getattr(value, "__module__", "") == "example"}
    for name, test in own.items():
        if name.startswith("test_"):
            assert test() is None
    if "execute" in own:
        assert asyncio.run(_executed(own["execute"])) == {"hello": "ada" if mode == "managed" else "mock_user"}
    elif "connectors" in namespace:
        assert namespace["connectors"].mode == mode
        assert asyncio.run(_who(namespace["connectors"])) == ("ada" if mode == "managed" else "mock_user")
    else:
        return
    assert [request["path"] for request in platform.requests()] == (["/api/auth/me"] if mode == "managed" else [])


@pytest.mark.parametrize("example", [one for one in EXAMPLES if "to_plugin_error" in str(one.values[0])])
def test_a_plugin_returns_what_is_wrong_with_a_setting(example, no_settings):
    """Plugins never raise: what takes `data` alone."""
    namespace = {"__name__": "example"}
    exec(example, namespace)  # noqa: S102 - our own document
    no_settings.setenv("MOZAIKS_MANAGED", "perhaps")
    for value in namespace.values():
        if inspect.isfunction(value) and [*inspect.signature(value).parameters] == ["data"]:
            assert asyncio.run(value({}))["error_code"] == "CONFIGURATION_ERROR"


async def _executed(execute):
    found = await execute({"user_jwt": "token-ada"})
    await load_connectors().aclose()
    return found


async def _who(connectors):
    async with connectors:
        return (await connectors.identity.get_current_user(user_jwt="token-ada")).username
