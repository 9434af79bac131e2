"""
The core's payment connector on top of ours: its signatures and models on one side, the stack's guarantees on the other.

A failed checkout raises the core's `GatewayRequestError` with our error as its cause; a failed status or cancellation
is the core's object that says so. Whether a subscription is active is decided here and never left to the defaults of
the core's model, which are "active" and True.
"""

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, Unpack, cast

from middleware._internal.context_variables import reset
from middleware.errors import CallError, DecodeError, InvalidArgumentError, PlatformError, clear_traceback_locals
from runtime.connectors import payment
from runtime.connectors.base import (
    Endpoint,
    EndpointArguments,
    PlatformHttpClient,
    any_key,
    spelled,
    subscription_is_active,
)

from .core_logs import MANAGED, MOCK, calling, write

__all__ = ["CoreNames", "ManagedPayment", "MockPayment"]

_T = TypeVar("_T")

_HTTP_ERROR = 400
_UNREACHABLE = "gateway_unreachable"  # the core's word for every failure
_UNUSABLE = "invalid_response"
_FIELDS = ("scope", "appId", "plan", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreNames:
    """The core's models, and its error for failed requests to the gateway."""

    checkout_response: Any
    payment_status: Any
    ok_response: Any
    error: Any


class _Documents:
    """
    The client as our connector uses it; keeps the document of the response for the core's models.

    Attributes:
        document: The document as it came; empty until there is one, and where it is no object.
    """

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http
        self.document: Mapping[str, Any] = {}

    async def call(self, endpoint: Endpoint[_T], **arguments: Unpack[EndpointArguments]) -> _T:
        def decode(document: Any) -> tuple[Any, _T]:
            is_status = endpoint.operation == "subscription_status"
            return document, endpoint.decode(_with_flag(document) if is_status else document)

        document, result = await self._http.call(replace(cast(Any, endpoint), decode=decode), **arguments)
        self.document = document if isinstance(document, Mapping) else {}
        return cast(_T, result)


def _with_flag(document: Any) -> Any:
    """Return *document* with the flag that the core's model adds where only a status is there, which decides then."""
    if isinstance(document, Mapping) and not spelled(document, "active", "is_active", "found"):
        status = next(iter(spelled(document, "status")), None)
        if isinstance(status, str) and status.strip():
            return {**document, "active": True}
    return document


class ManagedPayment:
    """
    What the core's managed connector does; the adapter mixes it into a subclass of the core's own.

    Attributes:
        core: The core's names.
    """

    core: CoreNames

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http

    async def checkout(self, *, payload: Any, correlation_id: str, user_jwt: str | None = None) -> Any:
        """
        Start a payment; one attempt, whatever its failure.

        Raises:
            GatewayRequestError: The core's own; `status_code` of an error response, else None. Its cause is ours.
        """
        try:
            arguments, extra = _checkout_arguments(payload)
            place = {"scope": arguments["scope"], "appId": arguments["app_id"]}
            arguments |= {"extra": extra, "user_jwt": user_jwt, "correlation_id": correlation_id}
            made, document = await self._call("checkout", place, arguments)
            return _built(
                self.core.checkout_response,
                {**document, "checkoutUrl": made.checkout_url or "", "sessionId": made.session_id},
            )
        except PlatformError as error:
            cause = error
        finally:
            del payload, user_jwt  # R52: an error must not keep the caller's token
            arguments = {}
        clear_traceback_locals(cause)
        raise self.core.error(str(cause), _status_code(cause)) from cause

    async def subscription_status(
        self, *, scope: str, appId: str | None = None, correlation_id: str, user_jwt: str | None = None
    ) -> Any:
        """Return the state of the caller's subscription; inactive and `unavailable` where it is not known."""
        place = {"scope": scope, "appId": appId}
        arguments = {"scope": _word(scope), "app_id": appId or None, "user_jwt": user_jwt}
        try:
            found, document = await self._call(
                "subscription_status", place, {**arguments, "correlation_id": correlation_id}
            )
            return _built(self.core.payment_status, {**document, **_status_fields(found, document, place)})
        except PlatformError as error:
            clear_traceback_locals(error)
            _failed("payment.subscription_status_error", place, correlation_id, error)
            reason = _UNUSABLE if isinstance(error, DecodeError) else _UNREACHABLE
            texts = {name: value if isinstance(value, str) else None for name, value in place.items()}
            return self.core.payment_status(**texts, active=False, status="unavailable", unavailableReason=reason)

    async def cancel(self, *, payload: Any, correlation_id: str, user_jwt: str | None = None) -> Any:
        """Cancel the caller's subscription; `ok` is False unless the platform reports that it worked. One attempt."""
        place = {name: getattr(payload, name, None) for name in ("scope", "appId")}
        arguments = {"scope": _word(place["scope"]), "app_id": place["appId"] or None, "user_jwt": user_jwt}
        try:
            worked, document = await self._call("cancel", place, {**arguments, "correlation_id": correlation_id})
            return _built(self.core.ok_response, {**document, "ok": worked})
        except PlatformError as error:
            clear_traceback_locals(error)
            _failed("payment.cancel_error", place, correlation_id, error)
            return self.core.ok_response(ok=False)

    async def _call(
        self, operation: str, place: Mapping[str, Any], arguments: dict[str, Any]
    ) -> tuple[Any, Mapping[str, Any]]:
        """Return the result of our connector's *operation*, and the document that it was decoded from."""
        http = _Documents(self._http)
        connector = payment.ManagedPaymentConnector(cast(PlatformHttpClient, http))
        before = calling.set(place)
        try:
            return await getattr(connector, operation)(**arguments), http.document
        finally:
            reset(calling, before)
            arguments.clear()  # R52


class MockPayment:
    """
    What the core's mock does: everything is active and nothing fails.

    Attributes:
        core: The core's names.
    """

    core: CoreNames

    async def checkout(self, *, payload: Any, correlation_id: str, user_jwt: str | None = None) -> Any:  # noqa: ARG002
        """Return a session with a new id: there is nothing to pay."""
        session = str(uuid.uuid4())
        fields = {**_place(payload, correlation_id), "mode": "self_hosted", "sessionId": session}
        write(MOCK, logging.INFO, "payment.checkout", fields)
        return self.core.checkout_response(checkoutUrl="self_hosted_mode", sessionId=session)

    async def subscription_status(
        self,
        *,
        scope: str,
        appId: str | None = None,
        correlation_id: str,
        user_jwt: str | None = None,  # noqa: ARG002
    ) -> Any:
        """Return the plan `self_hosted` as active."""
        place = {"scope": scope, "appId": appId}
        write(MOCK, logging.INFO, "payment.subscription_status", {"correlationId": correlation_id, **place})
        texts = {name: None if value is None else any_key(value) for name, value in place.items()}
        return self.core.payment_status(**texts, active=True, status="active", plan="self_hosted")

    async def cancel(self, *, payload: Any, correlation_id: str, user_jwt: str | None = None) -> Any:  # noqa: ARG002
        """Report success: there is nothing to cancel."""
        write(MOCK, logging.INFO, "payment.cancel", _place(payload, correlation_id))
        return self.core.ok_response(ok=True)


def _place(payload: Any, correlation_id: str) -> dict[str, Any]:
    named = {name: getattr(payload, name, None) for name in ("scope", "appId")}
    return {"correlationId": correlation_id, **named}


def _word(scope: Any) -> Any:
    """Return *scope* as the core's own routes read it: without blanks, in lower case."""
    return scope.strip().lower() if isinstance(scope, str) else scope


def _checkout_arguments(payload: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Return the fields of the core's request as our connector takes them, and its other keys.

    Raises:
        InvalidArgumentError: It is no request of the core's, or cannot be written as JSON.
    """
    try:
        body: dict[str, Any] = payload.model_dump(mode="json", exclude_none=True)
        plan, extra = body.get("plan"), {key: value for key, value in body.items() if key not in _FIELDS}
    except Exception as error:  # noqa: BLE001 - the model's own code; its text may contain anything
        problem = f"payload: cannot be read ({type(error).__name__})"
    else:
        if "planId" in extra and plan is not None:  # the caller's own wins over the one made of `plan`
            extra["plan"], plan = plan, None
        metadata = body.get("metadata", {})
        app_id = body.get("appId") or None
        return {"scope": _word(body.get("scope")), "app_id": app_id, "plan": plan, "metadata": metadata}, extra
    raise InvalidArgumentError(problem)


def _status_fields(
    found: payment.PaymentStatus, document: Mapping[str, Any], place: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields of the core's status; one that is not known is left to the model's default, but for two."""
    status = found.status or ("active" if found.active else "inactive")
    gives_access = subscription_is_active(status, period_end=None, ends_later=False, now=datetime.now(UTC))
    if not found.active and gives_access:
        status = "inactive"  # for readers of the status alone
    ends = document.get("currentPeriodEnd")
    if not isinstance(ends, str):
        ends = None if found.current_period_end is None else found.current_period_end.isoformat()
    known = {"plan": found.plan, "currentPeriodEnd": ends, "cancelAtPeriodEnd": found.cancel_at_period_end}
    return {
        "scope": document.get("scope") or place["scope"],
        "appId": document.get("appId") or place["appId"],
        "active": found.active,
        "status": status,
        **{name: value for name, value in known.items() if value is not None},
    }


def _built(model: Any, values: dict[str, Any]) -> Any:
    """
    Return the core's *model* of *values*.

    Raises:
        DecodeError: It does not take them; its own error would quote the values.
    """
    validate: Callable[[dict[str, Any]], Any] = model.model_validate
    try:
        return validate(values)
    except ValueError:
        pass
    raise DecodeError(f"2xx response does not fit the core's {model.__name__}", request_sent="yes")


def _status_code(error: PlatformError) -> int | None:
    status = error.status if isinstance(error, CallError) else None
    return status if status is not None and status >= _HTTP_ERROR else None


def _failed(event: str, place: Mapping[str, Any], correlation_id: Any, error: PlatformError) -> None:
    sent = error.correlation_id if isinstance(error, CallError) else ""
    given = correlation_id if isinstance(correlation_id, str) else ""
    fields = {"correlationId": sent or given, **place}
    added = {"errorCode": error.code, "attempts": getattr(error, "attempts", 0)}
    write(MANAGED, logging.ERROR, event, {**fields, "error": str(error), "status": _status_code(error), **added})
