"""What plugins import: lazy attributes."""

from typing import Any

_bundle: Any = None


def _get_connectors() -> Any:
    global _bundle
    if _bundle is None:
        from mozaiks_app.runtime.connector_loader import load_connectors

        _bundle = load_connectors()
    return _bundle


def _reset_connectors() -> None:
    global _bundle
    _bundle = None


def __getattr__(name: str) -> Any:
    if name == "get_connectors":
        return _get_connectors
    if name == "reset_connectors":
        return _reset_connectors
    if name == "ConnectorBundle":
        from mozaiks_app.runtime.connector_loader import ConnectorBundle

        return ConnectorBundle
    if name == "PaymentConnector":
        from .base import PaymentConnector

        return PaymentConnector
    raise AttributeError(name)
