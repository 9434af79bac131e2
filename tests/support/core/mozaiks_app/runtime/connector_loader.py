"""The core's loader: reads the environment at each call, managed or mock."""

import os
from dataclasses import dataclass

from mozaiks_app.connectors.base import PaymentConnector
from mozaiks_app.connectors.managed import ManagedGatewayConfig, ManagedHttpClient, ManagedPaymentConnector
from mozaiks_app.connectors.mock import MockPaymentConnector


@dataclass(frozen=True)
class ConnectorBundle:
    mode: str
    payment: PaymentConnector


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()


def is_managed_mode() -> bool:
    is_hosted = _value("MOZAIKS_HOSTING_MODE").lower() == "hosted"
    is_on = _value("MOZAIKS_MANAGED").lower() in {"1", "true", "yes", "y", "on"}
    return (is_hosted or is_on) and bool(_value("MOZAIKS_GATEWAY_BASE_URL"))


def load_connectors() -> ConnectorBundle:
    if not is_managed_mode():
        return ConnectorBundle("self_hosted", MockPaymentConnector())
    config = ManagedGatewayConfig(_value("MOZAIKS_GATEWAY_BASE_URL"), _value("MOZAIKS_GATEWAY_API_KEY") or None)
    return ConnectorBundle("managed", ManagedPaymentConnector(ManagedHttpClient(config)))
