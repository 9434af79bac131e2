"""What the tests of our connectors need: the modules, and their classes."""

from runtime.conformance.values import anything, required_arguments
from runtime.connectors import billing, discovery, hosting, identity, payment, service

__all__ = ["MODULES", "anything", "implementations", "required_arguments"]

MODULES = [billing, discovery, hosting, identity, payment, service]


def implementations(module):
    """Protocol, managed and mock of a connector module."""
    by_name = {name: kind for name, kind in vars(module).items() if name.endswith("Connector")}
    managed = next(kind for name, kind in by_name.items() if name.startswith("Managed"))
    mock = next(kind for name, kind in by_name.items() if name.startswith("Mock"))
    return by_name[managed.__name__.removeprefix("Managed")], managed, mock
