"""The hosting connector: apps, deployments and domains, also where the platform only accepts a change."""

import pytest
from connector_support import responding

from middleware import (
    NotFoundError,
    OperationFailedError,
)
from runtime.connectors import hosting
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.gateway import DEFAULT_API_KEY, Fault, Gateway
from runtime.settings import ResolvedSettings


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("dialect", "kind"), [("docs", NotFoundError), ("dotnet", NotFoundError), ("cloud", OperationFailedError)]
)
async def test_a_missing_app_is_a_typed_error_in_each_dialect(dialect, kind):
    """A failure reported in a 200 response is a failure."""
    async with Gateway(dialect=dialect) as gateway:
        config = ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=DEFAULT_API_KEY)
        async with load_connectors(config) as bundle:
            with pytest.raises(kind) as caught:
                await bundle.hosting.get_app("nope")
            assert caught.value.problem.code == "NotFound"


async def test_a_deploy_with_an_honoured_key_is_applied_once(gateway):
    """The setting alone makes the connector's write safe to retry."""
    gateway.script(Fault(kind="reset", applied=True))
    policies = ResolvedSettings({"services": {"hosting": {"idempotency": {"honors_key": True}}}})
    config = ConnectorConfig(
        managed_mode=True, gateway_base_url=gateway.url, api_key=DEFAULT_API_KEY, policies=policies
    )
    async with load_connectors(config) as bundle:
        await bundle.hosting.deploy("app_1")
    assert [request.applied for request in gateway.requests] == [True, False]


ACCEPTED = {
    "success": True,
    "operation": {"operation_id": "op1", "status": "pending", "resource_type": "domain", "resource_id": "b1", "app_id": "a"},
}  # fmt: skip


@pytest.mark.parametrize("found", [{}, {"binding_id": "b1"}, {"binding_id": "b1", "status": "pending"}])
async def test_an_accepted_domain_is_read_from_its_operation(found):
    """A 202 of the second generation: status of the operation, and the record that verifies the domain."""
    document = {**ACCEPTED, **found, "verification": {"type": "TXT", "name": "_m", "value": "v"}}
    connector = responding(hosting.ManagedHostingConnector, document, status=202)
    records = [hosting.DnsRecord("TXT", "_m", "v")]
    assert await connector.add_domain("a", "shop.example.com") == hosting.Domain(
        "b1", "shop.example.com", "pending", records=records
    )
    assert await connector.verify_domain("a", "b1") == hosting.Domain("b1", "", "pending", records=records)


@pytest.mark.parametrize("operation", ["pause_app", "resume_app"])
async def test_an_accepted_change_of_an_apps_state_is_read_from_its_operation(operation):
    """As that of a domain."""
    connector = responding(hosting.ManagedHostingConnector, ACCEPTED, status=202)
    assert await getattr(connector, operation)("a") == hosting.AppState("a", "pending")


async def test_an_update_with_a_204_response_is_read_again(gateway):
    """The response confirms the change without the app, so the app is read."""
    config = ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=DEFAULT_API_KEY)
    async with load_connectors(config) as bundle:
        app = await bundle.hosting.create_app(hosting.AppCreate("Shop"))
        gateway.script(Fault(kind="status", status=204, applied=True, method="PUT"))
        updated = await bundle.hosting.update_app(app.id, hosting.AppUpdate(name="Store"))
    assert updated.name == "Store"
