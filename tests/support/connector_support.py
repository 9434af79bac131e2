"""What the tests of our connectors need: the modules, their classes, and connectors with a response."""

import httpx

from runtime.conformance.values import anything, required_arguments
from runtime.connectors import billing, discovery, hosting, identity, payment, service
from runtime.connectors.base import PlatformHttpClient

__all__ = ["MODULES", "anything", "implementations", "required_arguments", "responding"]

MODULES = [billing, discovery, hosting, identity, payment, service]


def implementations(module):
    """Protocol, managed and mock of a connector module."""
    by_name = {name: kind for name, kind in vars(module).items() if name.endswith("Connector")}
    managed = next(kind for name, kind in by_name.items() if name.startswith("Managed"))
    mock = next(kind for name, kind in by_name.items() if name.startswith("Mock"))
    return by_name[managed.__name__.removeprefix("Managed")], managed, mock


def responding(kind, document, status=200):
    """Make a managed connector whose platform always responds with *document*."""
    transport = httpx.MockTransport(lambda _request: httpx.Response(status, json=document))
    return kind(PlatformHttpClient("http://platform", transport=transport))
