"""
Hosting Connector
=================

Connects to Hosting.API for apps, deployments, domains and hosting subscriptions.

Endpoints:
- GET, POST /api/apps
- GET, PUT, DELETE /api/apps/{app_id}
- POST /api/apps/{app_id}/pause, /resume, /deploy
- GET /api/apps/{app_id}/deployments, /deployments/{deployment_id}
- GET, POST /api/apps/{app_id}/domains
- GET, DELETE /api/apps/{app_id}/domains/{domain_id}; POST …/verify
- GET /api/hosting/subscriptions/{app_id}/summary
"""

# ruff: noqa: ARG002 - the mock has the signatures of the protocol
from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from .base import (
    Endpoint,
    MockState,
    Page,
    PlatformHttpClient,
    any_copy,
    any_field,
    any_key,
    any_page,
    body_of,
    by_number,
    by_skip,
    decode_page,
    decoder,
    mock_state,
    succeeded,
    unwrap,
    wrong_type,
)

__all__ = [
    "App",
    "AppCreate",
    "AppState",
    "AppUpdate",
    "DeployRequest",
    "Deployment",
    "DnsRecord",
    "Domain",
    "HostingConnector",
    "HostingSummary",
    "ManagedHostingConnector",
    "MockHostingConnector",
]


# ============================================================================
# DATA MODELS
# ============================================================================


@dataclass
class App:
    """
    A hosted app: `{"id", "name", "status", "description"?, "owner_id"?, "visibility"?, "url"?, "created_at"?,
    "updated_at"?, "metadata": {...}}`; an unknown status is passed through.
    """

    id: str
    name: str
    status: str = "unknown"
    description: str | None = None
    owner_id: str | None = None
    visibility: str | None = None
    url: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class AppCreate:
    """Request to create an app."""

    name: str
    description: str | None = None
    visibility: str | None = None
    config: dict[str, Any] = field(default_factory=dict)


@dataclass
class AppUpdate:
    """Request to change an app; a field that is None is not changed."""

    name: str | None = None
    description: str | None = None
    visibility: str | None = None


@dataclass
class AppState:
    """State of an app after pause or resume: `{"app_id", "status", "paused_at"?, "resumed_at"?}`."""

    app_id: str
    status: str
    paused_at: datetime | None = None
    resumed_at: datetime | None = None


@dataclass
class DeployRequest:
    """Request to deploy an app; a field that is None is not sent."""

    build_id: str | None = None
    branch: str | None = None
    commit_message: str | None = None


@dataclass
class Deployment:
    """A deployment: `{"id", "status", "app_id"?, "started_at"?, "completed_at"?, "error"?}`."""

    id: str
    status: str
    app_id: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: str | None = None


@dataclass
class DnsRecord:
    """A DNS record that the domain's owner must create: `{"type", "name", "value"}`."""

    type: str
    name: str
    value: str


@dataclass
class Domain:
    """A domain: `{"id", "domain", "status", "dns_status"?, "tls_status"?, "records": [...], "created_at"?}`."""

    id: str
    domain: str
    status: str
    dns_status: str | None = None
    tls_status: str | None = None
    records: list[DnsRecord] = field(default_factory=list)
    created_at: datetime | None = None


@dataclass
class HostingSummary:
    """Plan of an app's hosting: `{"app_id", "status", "plan"?, "hosting_level"?, "current_period_end"?}`."""

    app_id: str
    status: str
    plan: str | None = None
    hosting_level: str | None = None
    current_period_end: datetime | None = None


# ============================================================================
# CONNECTOR INTERFACE (Protocol)
# ============================================================================


class HostingConnector(Protocol):
    """Apps, deployments and domains; implemented for managed (real API) and mock (self-hosted) mode."""

    async def list_apps(
        self, *, skip: int = 0, limit: int = 50, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Page[App]:
        """List the caller's apps."""
        ...

    async def get_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> App:
        """Get an app by id."""
        ...

    async def create_app(self, request: AppCreate, *, user_jwt: str | None = None, correlation_id: str = "") -> App:
        """Create an app."""
        ...

    async def update_app(
        self, app_id: str, request: AppUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> App:
        """Change an app; only the fields that are not None are sent."""
        ...

    async def delete_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete an app. Returns True if successful."""
        ...

    async def pause_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> AppState:
        """Pause an app."""
        ...

    async def resume_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> AppState:
        """Resume a paused app."""
        ...

    async def deploy(  # contract: ignore[CC103] request was positional in the first release, and callers rely on it
        self,
        app_id: str,
        request: DeployRequest | None = None,
        *,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Deployment:
        """Queue a deployment of an app."""
        ...

    async def list_deployments(
        self, app_id: str, *, skip: int = 0, limit: int = 20, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Page[Deployment]:
        """List the deployments of an app; *skip* is rounded down to whole pages of *limit*."""
        ...

    async def get_deployment(
        self, app_id: str, deployment_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Deployment:
        """Get a deployment by id."""
        ...

    async def list_domains(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Domain]:
        """List the domains of an app."""
        ...

    async def add_domain(
        self, app_id: str, domain: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Domain:
        """Add a domain to an app."""
        ...

    async def get_domain(
        self, app_id: str, domain_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Domain:
        """Get a domain by id."""
        ...

    async def verify_domain(
        self, app_id: str, domain_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Domain:
        """Ask the platform to verify a domain now."""
        ...

    async def remove_domain(
        self, app_id: str, domain_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Remove a domain. Returns True if successful."""
        ...

    async def get_subscription_summary(
        self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> HostingSummary:
        """Get the plan of an app's hosting."""
        ...


# ============================================================================
# ENDPOINTS
# ============================================================================

_APP_NAMES = {App: {"id": ("app_id",), "owner_id": ("owner_user_id",), "url": ("hosting_url", "hosted_url")}}
_app_document = decoder(App, _APP_NAMES)
_app_state_document = decoder(AppState, {AppState: {"app_id": ("id",)}})
_deployment_document = decoder(
    Deployment,
    {
        Deployment: {
            "id": ("job_id", "deployment_id", "operation_id"),
            "error": ("error_message",),
            "started_at": ("created_at",),
        }
    },
)
_domain_document = decoder(Domain, {Domain: {"id": ("binding_id",)}})
_summary = decoder(HostingSummary)


def _app(document: Any) -> App:
    document = unwrap(document, "app")
    app = _app_document(document)
    # .NET reports whether an app is active instead of its status.
    if app.status == "unknown" and isinstance(document.get("isActive"), bool):
        app.status = "running" if document["isActive"] else "stopped"
    return app


def _apps(document: Any) -> tuple[list[App], int | None]:
    """Apps in `items`, a bare array, or .NET's two lists of owned and member apps."""
    if isinstance(document, Mapping) and "ownedApps" in document:
        owned, _ = decode_page(document, _app, "ownedApps")
        member, _ = decode_page({"memberApps": [], **document}, _app, "memberApps")
        return [*owned, *member], None
    return decode_page(document, _app, "items", "apps")


def _updated(document: Any) -> App | None:
    return _app(document) if document else None


def _app_state(document: Any) -> AppState:
    return _app_state_document(unwrap(document, "operation"))


def _deployment(document: Any) -> Deployment:
    return _deployment_document(unwrap(document, "operation"))


def _deployments(document: Any) -> tuple[list[Deployment], int | None]:
    return decode_page(document, _deployment, "deployments", "items")


def _domain(document: Any) -> Domain:
    return _domain_document(unwrap(document, "domain"))


def _changed_domain(document: Any) -> Domain:
    """
    Decode a domain, or the second generation's 202: an operation on it, with the DNS record that verifies it.

    The domain is empty where the response does not have it.
    """
    inner = unwrap(document, "domain")
    operation = unwrap(document, "operation")
    if inner is not document or operation is document:
        return _domain_document(inner)
    flat = {"status": operation.get("status"), "binding_id": operation.get("resource_id"), "domain": "", **document}
    verification = flat.get("verification")
    if isinstance(verification, Mapping):
        flat.setdefault("records", [verification])
    return _domain_document(flat)


def _domains(document: Any) -> tuple[list[Domain], int | None]:
    return decode_page(document, _domain, "domains", "items")


_LIST_APPS = Endpoint("GET", "/api/apps", "list_apps", _apps, paging=by_skip)
_GET_APP = Endpoint("GET", "/api/apps/{app_id}", "get_app", _app)
_CREATE_APP = Endpoint("POST", "/api/apps", "create_app", _app)
_UPDATE_APP = Endpoint("PUT", "/api/apps/{app_id}", "update_app", _updated)
_DELETE_APP = Endpoint("DELETE", "/api/apps/{app_id}", "delete_app", succeeded)
_PAUSE_APP = Endpoint("POST", "/api/apps/{app_id}/pause", "pause_app", _app_state)
_RESUME_APP = Endpoint("POST", "/api/apps/{app_id}/resume", "resume_app", _app_state)
_DEPLOY = Endpoint("POST", "/api/apps/{app_id}/deploy", "deploy", _deployment, documents_key=True)
_LIST_DEPLOYMENTS = Endpoint(
    "GET", "/api/apps/{app_id}/deployments", "list_deployments", _deployments, paging=by_number
)
_GET_DEPLOYMENT = Endpoint("GET", "/api/apps/{app_id}/deployments/{deployment_id}", "get_deployment", _deployment)
_LIST_DOMAINS = Endpoint("GET", "/api/apps/{app_id}/domains", "list_domains", _domains)
_ADD_DOMAIN = Endpoint("POST", "/api/apps/{app_id}/domains", "add_domain", _changed_domain)
_GET_DOMAIN = Endpoint("GET", "/api/apps/{app_id}/domains/{domain_id}", "get_domain", _domain)
_VERIFY_DOMAIN = Endpoint("POST", "/api/apps/{app_id}/domains/{domain_id}/verify", "verify_domain", _changed_domain)
_REMOVE_DOMAIN = Endpoint("DELETE", "/api/apps/{app_id}/domains/{domain_id}", "remove_domain", succeeded)
_GET_SUBSCRIPTION_SUMMARY = Endpoint(
    "GET", "/api/hosting/subscriptions/{app_id}/summary", "get_subscription_summary", _summary
)


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
# ============================================================================


class ManagedHostingConnector:
    """
    Production connector that calls the real Hosting.API; every method raises `CallError` on failure.

    Used when MOZAIKS_MANAGED=true.
    """

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http

    async def list_apps(
        self, *, skip: int = 0, limit: int = 50, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Page[App]:
        """List the caller's apps."""
        return await self._http.page(
            _LIST_APPS,
            skip=skip,
            limit=limit,
            problem=wrong_type(int, limit=limit),
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def get_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> App:
        """Get an app by id."""
        return await self._http.call(
            _GET_APP, path_params={"app_id": app_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def create_app(self, request: AppCreate, *, user_jwt: str | None = None, correlation_id: str = "") -> App:
        """Create an app; not retried after a lost response, since the platform would create two."""
        body, problem = body_of(request, AppCreate)
        if not body.get("config"):
            body.pop("config", None)
        return await self._http.call(
            _CREATE_APP,
            problem=problem,
            json_body=body,
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def update_app(
        self, app_id: str, request: AppUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> App:
        """Change an app; only the fields that are not None are sent."""
        body, problem = body_of(request, AppUpdate)
        result = await self._http.call(
            _UPDATE_APP,
            path_params={"app_id": app_id},
            problem=problem,
            json_body=body,
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        # An empty response confirms the change without the app, whose new state only the platform knows.
        return result or await self.get_app(app_id, user_jwt=user_jwt, correlation_id=correlation_id)

    async def delete_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete an app. Returns True if successful."""
        return await self._http.call(
            _DELETE_APP, path_params={"app_id": app_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def pause_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> AppState:
        """Pause an app."""
        return await self._http.call(
            _PAUSE_APP, path_params={"app_id": app_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def resume_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> AppState:
        """Resume a paused app."""
        return await self._http.call(
            _RESUME_APP, path_params={"app_id": app_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def deploy(  # contract: ignore[CC103] request was positional in the first release, and callers rely on it
        self,
        app_id: str,
        request: DeployRequest | None = None,
        *,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Deployment:
        """Queue a deployment; retried only where the idempotency key is honoured, else each attempt queues a job."""
        body, problem = ({}, "") if request is None else body_of(request, DeployRequest)
        return await self._http.call(
            _DEPLOY,
            path_params={"app_id": app_id},
            problem=problem,
            json_body=body,
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def list_deployments(
        self, app_id: str, *, skip: int = 0, limit: int = 20, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Page[Deployment]:
        """List the deployments of an app; *skip* is rounded down to whole pages of *limit*."""
        return await self._http.page(
            _LIST_DEPLOYMENTS,
            skip=skip,
            limit=limit,
            path_params={"app_id": app_id},
            problem=wrong_type(int, limit=limit),
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def get_deployment(
        self, app_id: str, deployment_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Deployment:
        """Get a deployment by id."""
        return await self._http.call(
            _GET_DEPLOYMENT,
            path_params={"app_id": app_id, "deployment_id": deployment_id},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def list_domains(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Domain]:
        """List the domains of an app."""
        return await self._http.page(
            _LIST_DOMAINS, path_params={"app_id": app_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def add_domain(
        self, app_id: str, domain: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Domain:
        """Add a domain to an app; where the platform only accepts it (202), the status is that of the operation."""
        added = await self._http.call(
            _ADD_DOMAIN,
            path_params={"app_id": app_id},
            problem=wrong_type(str, domain=domain),
            json_body={"domain": domain},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        added.domain = added.domain or domain
        return added

    async def get_domain(
        self, app_id: str, domain_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Domain:
        """Get a domain by id."""
        return await self._http.call(
            _GET_DOMAIN,
            path_params={"app_id": app_id, "domain_id": domain_id},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def verify_domain(
        self, app_id: str, domain_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Domain:
        """Ask the platform to verify a domain now; a response that only accepts this (202) may have an empty domain."""
        return await self._http.call(
            _VERIFY_DOMAIN,
            path_params={"app_id": app_id, "domain_id": domain_id},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def remove_domain(
        self, app_id: str, domain_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Remove a domain. Returns True if successful."""
        return await self._http.call(
            _REMOVE_DOMAIN,
            path_params={"app_id": app_id, "domain_id": domain_id},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def get_subscription_summary(
        self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> HostingSummary:
        """Get the plan of an app's hosting."""
        return await self._http.call(
            _GET_SUBSCRIPTION_SUMMARY, path_params={"app_id": app_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )


# ============================================================================
# MOCK IMPLEMENTATION (Self-hosted mode)
# ============================================================================


class MockHostingConnector:
    """
    Mock connector for self-hosted mode: stores state in memory and returns copies. Never raises.

    Used when MOZAIKS_MANAGED=false.

    Args:
        state: For tests: the app's hosting is `active`, has `no_plan`, or has `expired`.
    """

    def __init__(self, state: MockState = "active") -> None:
        self._state = mock_state(state, "active", "no_plan", "expired")
        self._apps: dict[str, App] = {}
        self._deployments: dict[str, list[Deployment]] = {}
        self._domains: dict[str, dict[str, Domain]] = {}

    async def list_apps(
        self, *, skip: int = 0, limit: int = 50, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Page[App]:
        """List the apps created here."""
        return any_page(self._apps.values(), skip, limit)

    async def get_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> App:
        """Get the app created here, else a made-up `Mock App`."""
        app = self._apps.get(any_key(app_id))
        return any_copy(app) if app else App(id=any_key(app_id), name="Mock App", status="running")

    async def create_app(self, request: AppCreate, *, user_jwt: str | None = None, correlation_id: str = "") -> App:
        """Store a new app."""
        stamp = datetime.now(UTC)
        app = App(
            id=str(uuid.uuid4()),
            name=any_field(request, "name", str, ""),
            status="draft",
            description=any_field(request, "description", str),
            visibility=any_field(request, "visibility", str),
            created_at=stamp,
            updated_at=stamp,
            metadata=any_field(request, "config", dict, {}),
        )
        self._apps[app.id] = app
        return any_copy(app)

    async def update_app(
        self, app_id: str, request: AppUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> App:
        """Change an app; an unknown one is stored under the name `Unknown`."""
        key = any_key(app_id)
        app = self._apps.setdefault(key, App(id=key, name="Unknown", status="running"))
        for name in ("name", "description", "visibility"):
            setattr(app, name, any_field(request, name, str, getattr(app, name)))
        return any_copy(app)

    async def delete_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Remove an app. Always returns True."""
        self._apps.pop(any_key(app_id), None)
        return True

    async def pause_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> AppState:
        """Mark an app as paused."""
        return self._set_status(app_id, "paused")

    async def resume_app(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> AppState:
        """Mark an app as running."""
        return self._set_status(app_id, "running")

    async def deploy(  # contract: ignore[CC103] request was positional in the first release, and callers rely on it
        self,
        app_id: str,
        request: DeployRequest | None = None,
        *,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Deployment:
        """Queue a deployment that stays queued."""
        deployment = Deployment(
            id=str(uuid.uuid4()), status="queued", app_id=any_key(app_id), started_at=datetime.now(UTC)
        )
        self._deployments.setdefault(any_key(app_id), []).append(deployment)
        return any_copy(deployment)

    async def list_deployments(
        self, app_id: str, *, skip: int = 0, limit: int = 20, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Page[Deployment]:
        """List the deployments queued here."""
        return any_page(self._deployments.get(any_key(app_id), ()), skip, limit)

    async def get_deployment(
        self, app_id: str, deployment_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Deployment:
        """Get the deployment queued here, else a made-up completed one."""
        for entry in self._deployments.get(any_key(app_id), []):
            if entry.id == any_key(deployment_id):
                return any_copy(entry)
        return Deployment(id=any_key(deployment_id), status="completed", app_id=any_key(app_id))

    async def list_domains(self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Domain]:
        """List the domains added here."""
        return any_page(self._domains.get(any_key(app_id), {}).values(), 0, None)

    async def add_domain(
        self, app_id: str, domain: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Domain:
        """Store a new domain."""
        entry = Domain(id=str(uuid.uuid4()), domain=any_key(domain), status="pending", created_at=datetime.now(UTC))
        self._domains.setdefault(any_key(app_id), {})[entry.id] = entry
        return any_copy(entry)

    async def get_domain(
        self, app_id: str, domain_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Domain:
        """Get the domain added here, else a made-up active one."""
        return any_copy(self._domain(app_id, domain_id))

    async def verify_domain(
        self, app_id: str, domain_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Domain:
        """Mark a domain as active."""
        entry = self._domain(app_id, domain_id)
        entry.status = "active"
        return any_copy(entry)

    async def remove_domain(
        self, app_id: str, domain_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Remove a domain. Always returns True."""
        self._domains.get(any_key(app_id), {}).pop(any_key(domain_id), None)
        return True

    async def get_subscription_summary(
        self, app_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> HostingSummary:
        """Get an active summary of the plan `self_hosted`, or that of the state."""
        return HostingSummary(
            app_id=any_key(app_id),
            status="inactive" if self._state == "no_plan" else self._state,
            plan=None if self._state == "no_plan" else "self_hosted",
            current_period_end=datetime(2025, 1, 31, tzinfo=UTC) if self._state == "expired" else None,
        )

    def _set_status(self, app_id: Any, status: str) -> AppState:
        key = any_key(app_id)
        app = self._apps.setdefault(key, App(id=key, name="Unknown"))
        app.status = status
        stamp = datetime.now(UTC)
        paused = status == "paused"
        return AppState(
            app_id=key, status=status, paused_at=stamp if paused else None, resumed_at=None if paused else stamp
        )

    def _domain(self, app_id: Any, domain_id: Any) -> Domain:
        key = any_key(domain_id)
        return self._domains.get(any_key(app_id), {}).get(key) or Domain(id=key, domain="example.com", status="active")
