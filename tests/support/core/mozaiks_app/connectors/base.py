"""The core's models and its abstract connector."""

from abc import ABC, abstractmethod
from typing import Any

from pydantic import BaseModel, ConfigDict


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow")


class OkResponse(_Model):
    ok: bool = True


class CheckoutRequest(_Model):
    scope: str | None = None
    appId: str | None = None
    plan: str | None = None
    metadata: dict[str, Any] = {}


class CheckoutResponse(_Model):
    checkoutUrl: str
    sessionId: str


class PaymentStatus(_Model):
    scope: str | None = None
    appId: str | None = None
    active: bool = True
    status: str = "active"
    plan: str | None = None
    currentPeriodEnd: str | None = None
    cancelAtPeriodEnd: bool | None = None
    unavailableReason: str | None = None


class CancelRequest(_Model):
    scope: str
    appId: str | None = None


class PaymentConnector(ABC):
    @abstractmethod
    async def checkout(
        self, *, payload: CheckoutRequest, correlation_id: str, user_jwt: str | None = None
    ) -> CheckoutResponse: ...

    @abstractmethod
    async def subscription_status(
        self, *, scope: str, appId: str | None, correlation_id: str, user_jwt: str | None = None
    ) -> PaymentStatus: ...

    @abstractmethod
    async def cancel(
        self, *, payload: CancelRequest, correlation_id: str, user_jwt: str | None = None
    ) -> OkResponse: ...
