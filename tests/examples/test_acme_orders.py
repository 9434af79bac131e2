"""The example of a connector as a package of its own: installed next to the runtime, it is in every bundle."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from runtime.gateway import DEFAULT_API_KEY, GatewayProcess

pytestmark = pytest.mark.sockets

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "examples" / "acme_orders"

PROGRAM = """
import asyncio
from acme_orders import ORDERS, OrderCreate
from middleware import InvalidArgumentError
from runtime.connectors.loader import load_connectors

async def main():
    async with load_connectors() as connectors:
        orders = connectors.of(ORDERS)
        assert orders is connectors.orders
        created = await orders.create_order(OrderCreate("Tea"))
        assert await orders.get_order(created.id) == created
        assert await orders.list_orders() == [created]
        for call in (orders.list_orders(limit="10"), orders.create_order({"name": "Tea"})):
            try:
                await call
            except InvalidArgumentError as error:
                print(error.operation)
        print(connectors.mode, created.name)

asyncio.run(main())
"""


@pytest.fixture
def site(tmp_path):
    """What an installer makes of the package: its module, and its metadata with the entry points."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    (tmp_path / "acme_orders").symlink_to(PACKAGE / "acme_orders")
    metadata = tmp_path / f"acme_orders-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    )
    (metadata / "entry_points.txt").write_text(groups)
    return tmp_path


def run(site, *command, **environment):
    """Run a program that has the package installed."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=site,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("MOZAIKS_")},
            "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_works_in_self_hosted_mode(site):
    """By its mock, which raises for no argument."""
    result = run(site, "-c", PROGRAM)
    assert (result.returncode, result.stdout, result.stderr) == (0, "self_hosted Tea\n", "")


def test_it_works_against_the_platform(site):
    """With a setting of its own, and typed errors for wrong arguments."""
    with GatewayProcess() as gateway:
        result = run(
            site,
            "-c",
            PROGRAM,
            MOZAIKS_MANAGED="true",
            MOZAIKS_GATEWAY_BASE_URL=gateway.url,
            MOZAIKS_GATEWAY_API_KEY=DEFAULT_API_KEY,
            MOZAIKS_CONNECTORS_ORDERS__CREATE_ORDER__DEADLINE_TOTAL_S="24",
        )
        assert (result.returncode, result.stdout, result.stderr) == (
            0,
            "list_orders\ncreate_order\nmanaged Tea\n",
            "",
        )
        assert [(seen["method"], seen["path"].rpartition("/")[0]) for seen in gateway.requests()] == [
            ("POST", "/api/orders"),
            ("GET", "/api/orders/orders"),
            ("GET", "/api/orders"),
        ]


def test_its_settings_are_printed(site):
    """By `runtime config`, with what its endpoint declares."""
    result = run(site, "-m", "runtime", "config", "orders", "create_order", MOZAIKS_VENV="none")
    assert "declared by orders.create_order" in result.stdout, result.stderr
