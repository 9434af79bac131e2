"""The platform's endpoints: one function each, from a request to a response."""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from .store import Store, new_id, now

__all__ = ["Caller", "Platform", "Request", "Response", "caller_of", "problem"]

_PROBLEM = "application/problem+json"
_MAX_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a route sees of a request; `path` is the raw path, still percent-encoded."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Response:
    """A status, a JSON document (None for an empty body) or else bytes as they are, and headers."""

    status: int = 200
    document: Any = None
    content: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    changed: bool = False

    def body(self) -> bytes:
        """Encode the document."""
        if self.document is None:
            return self.content
        # Half of a surrogate pair has no UTF-8; the escape is what JSON has for it.
        return json.dumps(self.document, ensure_ascii=False).encode(errors="backslashreplace")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls: a user by token, or the application by key."""

    user_id: str | None

    @property
    def owner(self) -> str:
        """Whose collections the caller works on."""
        return self.user_id or "app"


def caller_of(request: Request, api_key: str, tokens: Mapping[str, str]) -> Caller | None:
    """
    Return who sends *request*; None for credentials that are absent or wrong.

    Args:
        request: The request.
        api_key: The one accepted application key.
        tokens: Accepted user tokens and whose they are.
    """
    key, authorization = request.headers.get("x-mozaiks-app-key"), request.headers.get("authorization")
    if key is not None and key != api_key:
        return None
    if authorization is None:
        return None if key is None else Caller(user_id=None)
    user = tokens.get(authorization.removeprefix("Bearer "))
    return None if user is None or not authorization.startswith("Bearer ") else Caller(user_id=user)


class _Refused(Exception):  # noqa: N818 - control flow inside this module, never seen outside
    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def problem(
    status: int, title: str, errors: Mapping[str, list[str]] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a ProblemDetails as ASP.NET Core writes it."""
    document: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "traceId": uuid.uuid4().hex}
    if errors:
        document["errors"] = errors
    return Response(status=status, document=document, content_type=_PROBLEM, headers=headers or {})


def _not_found(what: str) -> Response:
    return Response(status=404, document={"error": "NotFound", "message": f"{what} does not exist"})


def _json_object(request: Request) -> dict[str, Any]:
    try:
        document = json.loads(request.body or b"{}")
    except ValueError:
        raise _Refused(problem(400, "The request body is not valid JSON.")) from None
    if not isinstance(document, dict):
        raise _Refused(problem(400, "The request body must be a JSON object."))
    return document


def _texts(document: dict[str, Any], name: str) -> list[str]:
    values = document.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        title = "One or more validation errors occurred."
        raise _Refused(problem(400, title, {name.capitalize(): [f"The {name} field must be a list of texts."]}))
    return values


def _query(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(request.query, keep_blank_values=True).items()}


def _window(query: dict[str, str], default: int) -> tuple[int, int]:
    try:
        skip, limit = int(query.get("skip", "0")), int(query.get("limit", str(default)))
    except ValueError:
        raise _Refused(Response(status=400, document={"error": "InvalidPagination"})) from None
    if skip < 0 or not 1 <= limit <= _MAX_PAGE:
        raise _Refused(Response(status=400, document={"error": "InvalidPagination", "skip": skip, "limit": limit}))
    return skip, limit


class Platform:
    """
    The endpoints over one store.

    Args:
        api_key: The one accepted application key.
        tokens: Accepted user tokens and whose they are.
    """

    def __init__(self, api_key: str, tokens: Mapping[str, str]) -> None:
        self._api_key = api_key
        self._tokens = dict(tokens)
        self.store = Store()
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Response]]] = [
            (method, re.compile(pattern), handler)
            for method, pattern, handler in (
                ("GET", r"/api/auth/me", self._me),
                ("GET", r"/api/admin/users", self._list_users),
                ("GET", r"/api/users/([^/]+)", self._get_user),
                ("GET", r"/api/users/([^/]+)/roles", self._get_roles),
                ("PUT", r"/api/users/([^/]+)/roles", self._put_roles),
                ("GET", r"/api/users/([^/]+)/permissions/([^/]+)", self._permission),
                ("POST", r"/api/users/([^/]+)/permissions/check", self._permissions),
                ("GET", r"/api/billing/subscription", self._subscription),
                ("GET", r"/api/billing/features/([^/]+)", self._feature),
                ("POST", r"/api/billing/features/check", self._features),
                ("GET", r"/api/billing/usage", self._usage),
                ("POST", r"/api/billing/checkout", self._checkout),
                ("POST", r"/api/billing/cancel", self._cancel),
                ("GET", r"/api/billing/invoices", self._invoices),
                ("POST", r"/api/mozaiks/pay/checkout", self._pay_checkout),
                ("GET", r"/api/mozaiks/pay/subscription-status", self._pay_status),
                ("POST", r"/api/mozaiks/pay/cancel", self._pay_cancel),
                ("GET", r"/api/apps", self._list_apps),
                ("POST", r"/api/apps", self._create_app),
                ("GET", r"/api/apps/([^/]+)", self._get_app),
                ("PUT", r"/api/apps/([^/]+)", self._put_app),
                ("DELETE", r"/api/apps/([^/]+)", self._delete_app),
                ("POST", r"/api/apps/([^/]+)/(pause|resume)", self._app_state),
                ("POST", r"/api/apps/([^/]+)/deploy", self._deploy),
                ("GET", r"/api/apps/([^/]+)/deployments/([^/]+)", self._deployment),
                ("GET", r"/api/apps/([^/]+)/domains", self._list_domains),
                ("POST", r"/api/apps/([^/]+)/domains", self._add_domain),
                ("GET", r"/api/apps/([^/]+)/domains/([^/]+)", self._get_domain),
                ("DELETE", r"/api/apps/([^/]+)/domains/([^/]+)", self._delete_domain),
                ("POST", r"/api/apps/([^/]+)/domains/([^/]+)/verify", self._verify_domain),
                ("GET", r"/api/hosting/subscriptions/([^/]+)/summary", self._summary),
                ("POST", r"/api/discovery/listings", self._create_listing),
                ("GET", r"/api/discovery/featured", self._featured),
                ("GET", r"/api/discovery/quests", self._list_quests),
                ("GET", r"/api/discovery/quests/([^/]+)", self._get_quest),
                ("POST", r"/api/discovery/quests/([^/]+)/join", self._join_quest),
                ("POST", r"/api/discovery/quests/([^/]+)/steps/([^/]+)", self._submit_step),
                ("GET", r"/api/apps/([^/]+)/deployments", self._deployments),
                ("POST", r"/api/mozaiks-cloud/v1/deployments", self._cloud_deploy),
                ("GET", r"/api/mozaiks-cloud/v1/operations/([^/]+)", self._cloud_operation),
                ("POST", r"/api/(service)/(items)", self._create_named),
                ("GET", r"/api/([\w-]+)/([\w-]+)", self._list_items),
                ("POST", r"/api/([\w-]+)/([\w-]+)", self._create_item),
                ("GET", r"/api/([\w-]+)/([\w-]+)/([^/]+)", self._get_item),
                ("PUT", r"/api/([\w-]+)/([\w-]+)/([^/]+)", self._put_item),
                ("DELETE", r"/api/([\w-]+)/([\w-]+)/([^/]+)", self._delete_item),
            )
        ]

    def respond(self, request: Request) -> Response:
        """Check the credentials and respond to *request*, applying what it asks for."""
        caller = caller_of(request, self._api_key, self._tokens)
        if caller is None:
            return Response(status=401, headers={"www-authenticate": 'Bearer error="invalid_token"'})
        allowed = []
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                try:
                    return handler(request, caller, *(unquote(part) for part in match.groups()))
                except _Refused as refusal:
                    return refusal.response
            if match:
                allowed.append(method)
        if allowed:
            return Response(status=405, headers={"allow": ", ".join(dict.fromkeys(allowed))})
        return problem(404, "Not Found")

    # -- identity ------------------------------------------------------------------------------------------------

    def _user(self, user_id: str) -> dict[str, Any]:
        user = self.store.users.get(user_id)
        if user is None:
            raise _Refused(_not_found("user"))
        return user

    def _me(self, request: Request, caller: Caller) -> Response:  # noqa: ARG002
        if caller.user_id is None:
            return Response(status=401, headers={"www-authenticate": "Bearer"})
        return Response(document=self._user(caller.user_id))

    def _list_users(self, request: Request, caller: Caller) -> Response:
        if caller.user_id is not None and "read:users" not in self.store.permissions(self._user(caller.user_id)):
            return Response(status=403)
        query = _query(request)
        skip, limit = _window(query, 50)
        wanted, search = query.get("role"), query.get("search", "").lower()
        found = [
            user
            for user in self.store.users.values()
            if (not wanted or wanted in user["roles"])
            and (not search or search in user["username"].lower() or search in user["email"].lower())
        ]
        page = found[skip : skip + limit]
        return Response(document={"users": page, "total": len(found), "skip": skip, "limit": limit})

    def _get_user(self, request: Request, caller: Caller, user_id: str) -> Response:  # noqa: ARG002
        return Response(document=self._user(user_id))

    def _get_roles(self, request: Request, caller: Caller, user_id: str) -> Response:  # noqa: ARG002
        user = self._user(user_id)
        permissions = self.store.permissions(user)
        return Response(document={"user_id": user_id, "roles": user["roles"], "permissions": permissions})

    def _put_roles(self, request: Request, caller: Caller, user_id: str) -> Response:  # noqa: ARG002
        user = self._user(user_id)
        user["roles"] = _texts(_json_object(request), "roles")
        return Response(document={"success": True, "user_id": user_id, "roles": user["roles"]}, changed=True)

    def _permission(self, request: Request, caller: Caller, user_id: str, permission: str) -> Response:  # noqa: ARG002
        allowed = permission in self.store.permissions(self._user(user_id))
        return Response(document={"user_id": user_id, "permission": permission, "allowed": allowed})

    def _permissions(self, request: Request, caller: Caller, user_id: str) -> Response:  # noqa: ARG002
        granted = self.store.permissions(self._user(user_id))
        asked = _texts(_json_object(request), "permissions")
        return Response(document={"user_id": user_id, "results": {name: name in granted for name in asked}})

    # -- hosting: the operations that honour an idempotency key ---------------------------------------------------

    def _once(self, request: Request, caller: Caller, apply: Callable[[], Response]) -> Response:
        """Apply a request once per key and caller; the same key and body replay the first response."""
        key = request.headers.get("idempotency-key")
        if not key:
            return apply()
        place = (caller.owner, request.path, key)
        kept = self.store.replays.get(place)
        if kept is None:
            response = apply()
            self.store.replays[place] = (request.body, response.status, response.document)
            return response
        body, status, document = kept
        if body != request.body:
            return Response(status=409, document={"error": "conflict", "message": "same key, other payload"})
        return Response(status=status, document=document, headers={"idempotency-replayed": "true"})

    def _deploy(self, request: Request, caller: Caller, app_id: str) -> Response:
        document = _json_object(request)

        def apply() -> Response:
            job = {"jobId": new_id(), "status": "queued", "estimatedCompletionSeconds": 60}
            entry = {"deploymentId": job["jobId"], "status": "queued", "startedAt": now(), "trigger": "api"}
            entry["commitMessage"] = document.get("commit_message")
            self.store.deployments.setdefault(app_id, []).append(entry)
            return Response(status=202, document=job, changed=True)

        return self._once(request, caller, apply)

    def _deployments(self, request: Request, caller: Caller, app_id: str) -> Response:  # noqa: ARG002
        found = self.store.deployments.get(app_id, [])
        return Response(document={"appId": app_id, "totalDeployments": len(found), "deployments": found})

    def _cloud_deploy(self, request: Request, caller: Caller) -> Response:
        document = _json_object(request)
        if not request.headers.get("idempotency-key") or not isinstance(document.get("app_id"), str):
            missing = "app_id" if request.headers.get("idempotency-key") else "Idempotency-Key"
            error = {"code": "validation_failed", "message": f"{missing} is required", "kind": "validation_error"}
            return Response(status=400, document={"success": False, "error": {**error, "retryable": False}})

        def apply() -> Response:
            operation = {
                "operation_id": new_id(),
                "operation_type": "deployment.create",
                "status": "pending",
                "resource_type": "deployment",
                "app_id": document["app_id"],
                "created_at": now(),
            }
            self.store.operations[str(operation["operation_id"])] = operation
            return Response(status=202, document={"success": True, "operation": operation}, changed=True)

        return self._once(request, caller, apply)

    def _cloud_operation(self, request: Request, caller: Caller, operation_id: str) -> Response:  # noqa: ARG002
        operation = self.store.operations.get(operation_id)
        if operation is None:
            error = {"code": "not_found", "message": "no such operation", "kind": "not_found", "retryable": False}
            return Response(status=404, document={"success": False, "error": error})
        return Response(document={"success": True, "operation": operation})

    def _deployment(self, request: Request, caller: Caller, app_id: str, deployment_id: str) -> Response:  # noqa: ARG002
        for entry in self.store.deployments.get(app_id, []):
            if entry["deploymentId"] == deployment_id:
                job = {"jobId": deployment_id, "appId": app_id, "errorMessage": None, "completedAt": None}
                return Response(document={**job, "status": entry["status"], "startedAt": entry["startedAt"]})
        return _not_found("deployment")

    def _apps(self, caller: Caller) -> dict[str, dict[str, Any]]:
        return self.store.collection(caller.owner, "hosting", "apps")

    def _app(self, caller: Caller, app_id: str) -> dict[str, Any]:
        return self._item(caller, "hosting", "apps", app_id)

    def _list_apps(self, request: Request, caller: Caller) -> Response:
        return self._list_items(request, caller, "hosting", "apps")

    def _create_app(self, request: Request, caller: Caller) -> Response:
        response = self._create_named(request, caller, "hosting", "apps")
        if response.status == 201:  # noqa: PLR2004
            response.document.update(status="draft", owner_id=caller.owner, updated_at=response.document["created_at"])
        return response

    def _get_app(self, request: Request, caller: Caller, app_id: str) -> Response:  # noqa: ARG002
        return Response(document=self._app(caller, app_id))

    def _put_app(self, request: Request, caller: Caller, app_id: str) -> Response:
        return self._put_item(request, caller, "hosting", "apps", app_id)

    def _delete_app(self, request: Request, caller: Caller, app_id: str) -> Response:
        return self._delete_item(request, caller, "hosting", "apps", app_id)

    def _app_state(self, request: Request, caller: Caller, app_id: str, action: str) -> Response:  # noqa: ARG002
        app = self._app(caller, app_id)
        app["status"] = "paused" if action == "pause" else "running"
        stamp = {"paused_at" if action == "pause" else "resumed_at": now()}
        return Response(document={"app_id": app_id, "status": app["status"], **stamp}, changed=True)

    def _list_domains(self, request: Request, caller: Caller, app_id: str) -> Response:
        return self._list_items(request, caller, "domains", app_id)

    def _add_domain(self, request: Request, caller: Caller, app_id: str) -> Response:
        domain = _json_object(request).get("domain")
        if not isinstance(domain, str) or "." not in domain:
            return problem(400, "One or more validation errors occurred.", {"Domain": ["Not a domain."]})
        entry: dict[str, Any] = {"binding_id": new_id(), "domain": domain, "status": "pending", "dns_status": "pending"}
        record = {"type": "CNAME", "name": domain, "value": "apps.mozaiks.test"}
        entry |= {"tls_status": "pending", "records": [record], "created_at": now()}
        self.store.collection(caller.owner, "domains", app_id)[entry["binding_id"]] = entry
        return Response(status=201, document=entry, changed=True)

    def _get_domain(self, request: Request, caller: Caller, app_id: str, domain_id: str) -> Response:  # noqa: ARG002
        return Response(document=self._item(caller, "domains", app_id, domain_id))

    def _delete_domain(self, request: Request, caller: Caller, app_id: str, domain_id: str) -> Response:
        self._delete_item(request, caller, "domains", app_id, domain_id)
        return Response(status=204, changed=True)

    def _verify_domain(self, request: Request, caller: Caller, app_id: str, domain_id: str) -> Response:  # noqa: ARG002
        entry = self._item(caller, "domains", app_id, domain_id)
        entry |= {"status": "active", "dns_status": "verified", "tls_status": "issued"}
        return Response(document=entry, changed=True)

    def _summary(self, request: Request, caller: Caller, app_id: str) -> Response:  # noqa: ARG002
        return Response(document={"app_id": app_id, "status": "active", "plan": "starter", "hosting_level": "shared"})

    # -- billing and payment --------------------------------------------------------------------------------------

    def _plan_of(self, caller: Caller) -> dict[str, Any]:
        fresh = {"status": "active", "tier": "premium", "features": ["export", "custom_domain"], "canceled": False}
        return self.store.subscriptions.setdefault(caller.owner, fresh)

    def _subscription(self, request: Request, caller: Caller) -> Response:
        plan, query = self._plan_of(caller), _query(request)
        if query.get("scope") == "app" and not query.get("app_id"):
            return Response(status=400, document={"error": "app_id is required"})
        period = {"current_period_start": "2026-11-01T00:00:00Z", "current_period_end": "2026-12-01T00:00:00.0000000Z"}
        document = {"user_id": caller.owner, "scope": query.get("scope", "platform"), **plan, **period}
        return Response(document={**document, "cancel_at_period_end": plan["canceled"]})

    def _access(self, caller: Caller, feature: str) -> dict[str, Any]:
        if feature in self._plan_of(caller)["features"]:
            return {"allowed": True, "limit": 100, "usage": 7, "reset_at": "2026-12-01T00:00:00Z"}
        return {"allowed": False, "limit": None, "usage": None, "reason": "not_in_plan"}

    def _feature(self, request: Request, caller: Caller, feature: str) -> Response:  # noqa: ARG002
        return Response(document={"feature": feature, **self._access(caller, feature)})

    def _features(self, request: Request, caller: Caller) -> Response:
        asked = _texts(_json_object(request), "features")
        return Response(document={"results": {name: self._access(caller, name) for name in asked}})

    def _usage(self, request: Request, caller: Caller) -> Response:
        period = _query(request).get("period", "current")
        span = {"period_start": "2026-11-01T00:00:00Z", "period_end": "2026-12-01T00:00:00Z"}
        metrics = {"tokens": {"used": 41_000, "limit": 100_000, "percentage": 41}}
        return Response(document={"user_id": caller.owner, "period": period, **span, "metrics": metrics})

    def _checkout(self, request: Request, caller: Caller) -> Response:
        document = _json_object(request)
        if not document.get("plan"):
            return problem(400, "One or more validation errors occurred.", {"Plan": ["The Plan field is required."]})
        session = {"session_id": f"cs_{new_id()}", "checkout_url": f"https://pay.example.com/{new_id()}"}
        self.store.collection(caller.owner, "billing", "sessions")[session["session_id"]] = session
        return Response(document=session, changed=True)

    def _cancel(self, request: Request, caller: Caller) -> Response:
        _json_object(request)
        plan = self._plan_of(caller)
        if plan["canceled"]:  # as on the platform: the payment provider refuses, and it surfaces as this
            return Response(status=500, document={"errorCode": "internal_error", "message": "An error occurred."})
        plan["canceled"] = True
        canceled = {"success": True, "cancel_at": "2026-12-01T00:00:00Z", "message": "Canceled at period end."}
        return Response(document=canceled, changed=True)

    def _invoices(self, request: Request, caller: Caller) -> Response:  # noqa: ARG002
        invoice = {
            "id": "in_1",
            "amount": 1999,
            "currency": "usd",
            "status": "paid",
            "created_at": "2026-11-01T00:00:00Z",
        }
        return Response(document={"invoices": [{**invoice, "pdf_url": None}]})

    def _pay_checkout(self, request: Request, caller: Caller) -> Response:
        if not _json_object(request).get("planId"):
            return problem(
                400, "One or more validation errors occurred.", {"PlanId": ["The PlanId field is required."]}
            )
        session = {"sessionId": f"cs_{new_id()}", "clientSecret": f"secret_{new_id()}", "mode": "subscription"}
        self.store.collection(caller.owner, "payment", "sessions")[session["sessionId"]] = session
        return Response(document={**session, "status": "pending"}, changed=True)

    def _pay_status(self, request: Request, caller: Caller) -> Response:
        plan, query = self._plan_of(caller), _query(request)
        if query.get("scope") == "app" and not query.get("appId"):
            return Response(status=500, document={"errorCode": "internal_error", "message": "An error occurred."})
        end = {"expiresAtUtc": None, "subscriptionId": "sub_1", "currentPeriodEndUtc": "2026-12-01T00:00:00Z"}
        active = not plan["canceled"]
        return Response(document={"isActive": active, "planId": plan["tier"], **end, "features": plan["features"]})

    def _pay_cancel(self, request: Request, caller: Caller) -> Response:
        """Respond with 204, also when there is nothing to cancel."""
        _json_object(request)
        self._plan_of(caller)["canceled"] = True
        return Response(status=204, changed=True)

    # -- discovery -------------------------------------------------------------------------------------------------

    def _create_listing(self, request: Request, caller: Caller) -> Response:
        document = _json_object(request)
        if not document.get("title") or not document.get("app_id"):
            return problem(400, "One or more validation errors occurred.", {"Title": ["The Title field is required."]})
        listing = {"metadata": {}, "tags": [], **document, "id": new_id(), "status": "draft", "created_at": now()}
        self.store.collection(caller.owner, "discovery", "listings")[listing["id"]] = listing
        return Response(status=201, document=listing, changed=True)

    def _list_quests(self, request: Request, caller: Caller) -> Response:  # noqa: ARG002
        skip, limit = _window(_query(request), 50)
        quests = list(self.store.quests.values())
        page = quests[skip : skip + limit]
        return Response(document={"items": page, "total": len(quests), "skip": skip, "limit": limit})

    def _get_quest(self, request: Request, caller: Caller, quest_id: str) -> Response:  # noqa: ARG002
        quest = self.store.quests.get(quest_id)
        return _not_found("quest") if quest is None else Response(document=quest)

    def _featured(self, request: Request, caller: Caller) -> Response:  # noqa: ARG002
        return Response(document=[{"id": "l_1", "app_id": "app_1", "title": "Featured", "status": "published"}])

    def _progress(self, caller: Caller, quest_id: str) -> dict[str, Any]:
        fresh = {"quest_id": quest_id, "user_id": caller.owner, "completed_steps": 0, "progress": 0}
        return self.store.progress.setdefault((caller.owner, quest_id), {**fresh, "status": "in_progress"})

    def _join_quest(self, request: Request, caller: Caller, quest_id: str) -> Response:  # noqa: ARG002
        return Response(document=self._progress(caller, quest_id), changed=True)

    def _submit_step(self, request: Request, caller: Caller, quest_id: str, step: str) -> Response:  # noqa: ARG002
        _json_object(request)

        def apply() -> Response:
            progress = self._progress(caller, quest_id)
            progress["completed_steps"] += 1
            progress["updated_at"] = now()
            return Response(document=dict(progress), changed=True)

        return self._once(request, caller, apply)

    # -- any other service: plain collections ----------------------------------------------------------------------

    def _list_items(self, request: Request, caller: Caller, service: str, name: str) -> Response:
        items = list(self.store.collection(caller.owner, service, name).values())
        skip, limit = _window(_query(request), 50)
        page = items[skip : skip + limit]
        return Response(document={"items": page, "total": len(items), "skip": skip, "limit": limit})

    def _create_item(self, request: Request, caller: Caller, service: str, name: str) -> Response:
        """Create an item of any object; the contract's template sends name and config, and reads it as metadata."""
        document = _json_object(request)
        if document.keys() == {"name", "config"}:
            document["metadata"] = document.pop("config") or {}
        return self._store_item(caller, service, name, document)

    def _create_named(self, request: Request, caller: Caller, service: str, name: str) -> Response:
        """Create an item of a service whose items need a name."""
        document = _json_object(request)
        if not isinstance(document.get("name"), str) or not document["name"]:
            title = "One or more validation errors occurred."
            return problem(400, title, {"Name": ["The Name field is required."]})
        document = {"metadata": document.pop("config", None) or {}, **document}
        return self._store_item(caller, service, name, document)

    def _store_item(self, caller: Caller, service: str, name: str, document: dict[str, Any]) -> Response:
        """Store a new item each time: this part of the platform reads no idempotency key."""
        item = {"status": "active", "metadata": {}, **document, "id": new_id(), "created_at": now()}
        self.store.collection(caller.owner, service, name)[item["id"]] = item
        location = {"location": f"/api/{service}/{name}/{item['id']}"}
        return Response(status=201, document=item, headers=location, changed=True)

    def _item(self, caller: Caller, service: str, name: str, item_id: str) -> dict[str, Any]:
        item = self.store.collection(caller.owner, service, name).get(item_id)
        if item is None:
            raise _Refused(_not_found("item"))
        return item

    def _get_item(self, request: Request, caller: Caller, service: str, name: str, item_id: str) -> Response:  # noqa: ARG002
        return Response(document=self._item(caller, service, name, item_id))

    def _put_item(self, request: Request, caller: Caller, service: str, name: str, item_id: str) -> Response:
        item = self._item(caller, service, name, item_id)
        item.update({key: value for key, value in _json_object(request).items() if key not in {"id", "created_at"}})
        return Response(document=item, changed=True)

    def _delete_item(self, request: Request, caller: Caller, service: str, name: str, item_id: str) -> Response:  # noqa: ARG002
        self._item(caller, service, name, item_id)
        del self.store.collection(caller.owner, service, name)[item_id]
        return Response(document={"success": True}, changed=True)
