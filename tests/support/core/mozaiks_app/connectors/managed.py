"""
The incumbent client, row by row of its description: what it does well, and its defects.

Not described, and so assumed: attempts are numbered from 1; a response is logged before its status is judged, and a
failed attempt after that.
"""

import asyncio
import json
import logging
import random
from dataclasses import dataclass
from typing import Any

import aiohttp

from .base import CancelRequest, CheckoutRequest, CheckoutResponse, OkResponse, PaymentConnector, PaymentStatus

logger = logging.getLogger("mozaiks_sdk.connectors.managed")


def _log(level: int, **fields: Any) -> None:
    logger.log(level, json.dumps(fields, separators=(",", ":")))


async def _sleep(delay_s: float) -> None:
    await asyncio.sleep(delay_s)


@dataclass(frozen=True)
class ManagedGatewayConfig:
    base_url: str
    api_key: str | None = None
    timeout_s: float = 10.0
    connect_timeout_s: float = 5.0
    max_retries: int = 2
    backoff_s: float = 0.25
    backoff_max_s: float = 2.0


class GatewayRequestError(Exception):
    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class ManagedHttpClient:
    def __init__(self, config: ManagedGatewayConfig) -> None:
        self._config = config

    async def request(
        self,
        method: str,
        path: str,
        *,
        correlation_id: str,
        user_jwt: str | None = None,
        params: dict[str, str] | None = None,
        body: Any = None,
        retry: bool = False,
        scope: str | None = None,
        app_id: str | None = None,
    ) -> dict[str, Any]:
        config = self._config
        url = f"{config.base_url.rstrip('/')}/{path.lstrip('/')}"
        headers = {"x-correlation-id": correlation_id}
        if config.api_key:
            headers["x-mozaiks-app-key"] = config.api_key
        if user_jwt:
            headers["Authorization"] = f"Bearer {user_jwt}"
        timeout = aiohttp.ClientTimeout(total=config.timeout_s, connect=config.connect_timeout_s)
        named = {"method": method, "path": path}
        where = {"correlationId": correlation_id, "scope": scope, "appId": app_id}
        attempts = config.max_retries + 1 if retry else 1
        for attempt in range(1, attempts + 1):
            _log(logging.INFO, event="gateway.request", **named, attempt=attempt, **where)
            try:
                async with (
                    aiohttp.ClientSession(timeout=timeout) as session,
                    session.request(method, url, params=params, json=body, headers=headers) as response,
                ):
                    text = await response.text()
                    fields = {**named, "attempt": attempt, **where, "status": response.status}
                    _log(logging.INFO, event="gateway.response", **fields)
                    if response.status >= 400:
                        raise GatewayRequestError(f"gateway status {response.status}", status_code=response.status)
                    if not text:
                        return {}
                    if "application/json" not in response.headers.get("content-type", ""):
                        return {"raw": text}
                    return json.loads(text)
            except (aiohttp.ClientError, TimeoutError, GatewayRequestError) as error:
                _log(logging.WARNING, event="gateway.error", **named, attempt=attempt, **where, error=str(error))
                status = getattr(error, "status_code", None)
                if attempt == attempts or not (status is None or status == 429 or status >= 500):
                    if isinstance(error, GatewayRequestError):
                        raise
                    raise GatewayRequestError(str(error)) from error
            await _sleep(min(config.backoff_s * 2 ** (attempt - 1), config.backoff_max_s) + random.uniform(0, 0.1))
        raise AssertionError


class ManagedPaymentConnector(PaymentConnector):
    def __init__(self, http: ManagedHttpClient) -> None:
        self._http = http

    async def checkout(
        self, *, payload: CheckoutRequest, correlation_id: str, user_jwt: str | None = None
    ) -> CheckoutResponse:
        document = await self._http.request(
            "POST",
            "/api/mozaiks/pay/checkout",
            correlation_id=correlation_id,
            user_jwt=user_jwt,
            body=payload.model_dump(exclude_none=True),
            scope=payload.scope,
            app_id=payload.appId,
        )
        return CheckoutResponse.model_validate(document)

    async def subscription_status(
        self, *, scope: str, appId: str | None, correlation_id: str, user_jwt: str | None = None
    ) -> PaymentStatus:
        try:
            document = await self._http.request(
                "GET",
                "/api/mozaiks/pay/subscription-status",
                correlation_id=correlation_id,
                user_jwt=user_jwt,
                params={"scope": scope, **({"appId": appId} if appId else {})},
                retry=True,
                scope=scope,
                app_id=appId,
            )
        except GatewayRequestError as error:
            _failed("payment.subscription_status_error", correlation_id, scope, appId, error)
            reason = "gateway_unreachable"
            return PaymentStatus(scope=scope, appId=appId, active=False, status="unavailable", unavailableReason=reason)
        found = PaymentStatus.model_validate(document)
        found.scope, found.appId = found.scope or scope, found.appId or appId
        return found

    async def cancel(self, *, payload: CancelRequest, correlation_id: str, user_jwt: str | None = None) -> OkResponse:
        try:
            document = await self._http.request(
                "POST",
                "/api/mozaiks/pay/cancel",
                correlation_id=correlation_id,
                user_jwt=user_jwt,
                body=payload.model_dump(exclude_none=True),
                scope=payload.scope,
                app_id=payload.appId,
            )
        except GatewayRequestError as error:
            _failed("payment.cancel_error", correlation_id, payload.scope, payload.appId, error)
            return OkResponse(ok=False)
        return OkResponse.model_validate(document)


def _failed(event: str, correlation_id: str, scope: str | None, app_id: str | None, error: GatewayRequestError) -> None:
    fields = {"correlationId": correlation_id, "scope": scope, "appId": app_id}
    _log(logging.ERROR, event=event, **fields, error=str(error), status=error.status_code)
