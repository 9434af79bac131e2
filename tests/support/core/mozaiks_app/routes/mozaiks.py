"""The core's routes in front of the connector; they bind the loader's name at import and load once per request."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Header, Response

from mozaiks_app.connectors.base import CancelRequest, CheckoutRequest, CheckoutResponse, OkResponse, PaymentStatus
from mozaiks_app.runtime.connector_loader import load_connectors

router = APIRouter(prefix="/api/mozaiks/pay")

Authorization = Annotated[str, Header()]
CorrelationId = Annotated[str, Header(alias="x-correlation-id")]


def _token(authorization: str) -> str:
    return authorization.removeprefix("Bearer ")


def _chosen(response: Response, given: str) -> str:
    response.headers["x-correlation-id"] = chosen = given.strip() or str(uuid.uuid4())
    return chosen


@router.post("/checkout", response_model=CheckoutResponse)
async def checkout(
    payload: CheckoutRequest, response: Response, authorization: Authorization, x_correlation_id: CorrelationId = ""
):
    chosen = _chosen(response, x_correlation_id)
    payment = load_connectors().payment
    return await payment.checkout(payload=payload, correlation_id=chosen, user_jwt=_token(authorization))


@router.get("/subscription-status", response_model=PaymentStatus)
async def subscription_status(
    scope: str,
    response: Response,
    authorization: Authorization,
    appId: str | None = None,
    x_correlation_id: CorrelationId = "",
):
    chosen = _chosen(response, x_correlation_id)
    payment = load_connectors().payment
    return await payment.subscription_status(
        scope=scope, appId=appId, correlation_id=chosen, user_jwt=_token(authorization)
    )


@router.post("/cancel", response_model=OkResponse)
async def cancel(
    payload: CancelRequest, response: Response, authorization: Authorization, x_correlation_id: CorrelationId = ""
):
    chosen = _chosen(response, x_correlation_id)
    payment = load_connectors().payment
    return await payment.cancel(payload=payload, correlation_id=chosen, user_jwt=_token(authorization))
