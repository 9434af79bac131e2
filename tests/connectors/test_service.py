# tests/connectors/test_service.py
import pytest
from runtime.connectors.service import MockServiceConnector, ServiceItemCreate


@pytest.mark.asyncio
async def test_mock_create_item():
    connector = MockServiceConnector()
    
    result = await connector.create_item(
        ServiceItemCreate(name="Test Item")
    )
    
    assert result.name == "Test Item"
    assert result.status == "active"
    assert result.id is not None


@pytest.mark.asyncio
async def test_mock_list_items_empty():
    connector = MockServiceConnector()
    
    items = await connector.list_items()
    
    assert items == []
