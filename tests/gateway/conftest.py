"""What tests of the gateway share."""

import httpx
import pytest


@pytest.fixture
async def client(gateway):
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as made:
        yield made
