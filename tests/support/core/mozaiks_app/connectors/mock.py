"""The core's mock of self-hosted mode."""

import json
import logging
import uuid

from .base import CancelRequest, CheckoutRequest, CheckoutResponse, OkResponse, PaymentConnector, PaymentStatus

logger = logging.getLogger("mozaiks_sdk.connectors.mock")


class MockPaymentConnector(PaymentConnector):
    def _log(self, event: str, **fields: str | None) -> None:
        logger.info(json.dumps({"event": event, **fields}, separators=(",", ":")))

    async def checkout(
        self, *, payload: CheckoutRequest, correlation_id: str, user_jwt: str | None = None
    ) -> CheckoutResponse:
        session = str(uuid.uuid4())
        where = {"correlationId": correlation_id, "scope": payload.scope, "appId": payload.appId}
        self._log("payment.checkout", **where, mode="self_hosted", sessionId=session)
        return CheckoutResponse(checkoutUrl="self_hosted_mode", sessionId=session)

    async def subscription_status(
        self, *, scope: str, appId: str | None, correlation_id: str, user_jwt: str | None = None
    ) -> PaymentStatus:
        self._log("payment.subscription_status", correlationId=correlation_id, scope=scope, appId=appId)
        return PaymentStatus(scope=scope, appId=appId, active=True, status="active", plan="self_hosted")

    async def cancel(self, *, payload: CancelRequest, correlation_id: str, user_jwt: str | None = None) -> OkResponse:
        self._log("payment.cancel", correlationId=correlation_id, scope=payload.scope, appId=payload.appId)
        return OkResponse(ok=True)
