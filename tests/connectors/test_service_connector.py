"""The service connector: the contract's template, managed against the gateway and as a mock."""

import pytest

from middleware import NotFoundError, ServerError
from runtime.connectors.service import (
    ManagedServiceConnector,
    MockServiceConnector,
    ServiceItem,
    ServiceItemCreate,
    ServiceItemUpdate,
)
from runtime.gateway import Fault


@pytest.fixture(params=["managed", "mock"])
def service(request, make_client):
    return ManagedServiceConnector(make_client()) if request.param == "managed" else MockServiceConnector()


async def test_items_live_their_life(service):
    """Create, get, list, update, delete: the same on the platform and self-hosted."""
    created = await service.create_item(ServiceItemCreate(name="One", config={"CamelKey": {"a": 1}}))
    assert created.name == "One"
    assert created.status == "active"
    assert created.metadata == {"CamelKey": {"a": 1}}
    assert created.created_at.tzinfo is not None
    assert await service.get_item(created.id) == created
    assert await service.list_items() == [created]
    updated = await service.update_item(created.id, ServiceItemUpdate(status="paused"))
    assert updated.name == "One"
    assert updated.status == "paused"
    assert await service.delete_item(created.id) is True
    assert await service.list_items() == []


async def test_only_given_fields_are_sent(make_client, gateway):
    """A field that is None stays as it is; an empty text is a value."""
    connector = ManagedServiceConnector(make_client())
    item = await connector.create_item(ServiceItemCreate(name="One"))
    await connector.update_item(item.id, ServiceItemUpdate(name=""))
    assert gateway.requests[-1].body == b'{"name":""}'


async def test_a_create_is_not_repeated(make_client, gateway):
    """A second POST would be applied a second time."""
    gateway.script(Fault(kind="status", times=0))
    with pytest.raises(ServerError):
        await ManagedServiceConnector(make_client()).create_item(ServiceItemCreate(name="One"))
    assert len(gateway.requests) == 1


async def test_a_missing_item_is_not_found(make_client):
    """The managed connector raises where the mock makes something up."""
    with pytest.raises(NotFoundError):
        await ManagedServiceConnector(make_client()).get_item("nope")


async def test_the_mock_makes_up_unknown_items():
    """As the contract's template does."""
    mock = MockServiceConnector()
    assert await mock.get_item("x") == ServiceItem(id="x", name="Mock Item", status="active")
    assert await mock.update_item("y", ServiceItemUpdate()) == ServiceItem(id="y", name="Unknown", status="active")
    assert await mock.delete_item("z") is True


async def test_the_mock_returns_copies():
    """What a plugin does with an item stays with the plugin."""
    mock = MockServiceConnector()
    config = {"list": [1]}
    item = await mock.create_item(ServiceItemCreate(name="One", config=config))
    config["list"].append(2)
    item.metadata["list"].append(3)
    item.name = "Other"
    kept = await mock.get_item(item.id)
    assert kept.name == "One"
    assert kept.metadata == {"list": [1]}
