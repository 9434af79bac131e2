"""
Identity Connector
==================

Connects to Identity.API for users, roles and permissions.

Endpoints:
- GET /api/auth/me
- GET /api/users/{user_id}
- GET /api/admin/users
- GET /api/users/{user_id}/roles
- PUT /api/users/{user_id}/roles
- GET /api/users/{user_id}/permissions/{permission}
- POST /api/users/{user_id}/permissions/check
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from .base import (
    DecodeError,
    Endpoint,
    MockState,
    Page,
    PlatformHttpClient,
    any_key,
    any_page,
    any_texts,
    by_skip,
    decode_page,
    decoder,
    mock_state,
    refuse_failure,
    spelled,
    succeeded,
    texts_of,
    wrong_type,
)

__all__ = [
    "IdentityConnector",
    "ManagedIdentityConnector",
    "MockIdentityConnector",
    "User",
    "UserProfile",
    "UserRoles",
    "UserSubscription",
]


# ============================================================================
# DATA MODELS
# ============================================================================


@dataclass
class UserProfile:
    """Public profile of a user: `{"display_name", "avatar_url", "bio"}`."""

    display_name: str | None = None
    avatar_url: str | None = None
    bio: str | None = None


@dataclass
class UserSubscription:
    """A user's tier: `{"tier", "expires_at"}`."""

    tier: str | None = None
    expires_at: datetime | None = None


@dataclass
class User:
    """
    A user of the platform.

    `{"user_id", "username", "email", "roles": [...], "profile": {...}?, "subscription": {...}?, "created_at",
    "last_login"}`; times are ISO 8601.
    """

    user_id: str
    username: str = ""
    email: str = ""
    roles: list[str] = field(default_factory=list)
    profile: UserProfile | None = None
    subscription: UserSubscription | None = None
    created_at: datetime | None = None
    last_login: datetime | None = None


@dataclass
class UserRoles:
    """Roles and permissions of a user: `{"user_id", "roles": [...], "permissions": [...]}`."""

    user_id: str
    roles: list[str] = field(default_factory=list)
    permissions: list[str] = field(default_factory=list)


# ============================================================================
# CONNECTOR INTERFACE (Protocol)
# ============================================================================


class IdentityConnector(Protocol):
    """Users, roles and permissions; implemented for managed (real API) and mock (self-hosted) mode."""

    async def get_current_user(self, *, user_jwt: str | None = None, correlation_id: str = "") -> User:
        """Get the user to whom *user_jwt* belongs."""
        ...

    async def get_user(self, user_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> User:
        """Get a user by id."""
        ...

    async def list_users(
        self,
        *,
        skip: int = 0,
        limit: int = 50,
        role: str | None = None,
        search: str | None = None,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Page[User]:
        """List the users with *role* whose name or e-mail address contains *search*."""
        ...

    async def get_user_roles(self, user_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> UserRoles:
        """Get the roles and permissions of a user."""
        ...

    async def update_user_roles(
        self, user_id: str, roles: Iterable[str], *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Replace all roles of a user. Returns True if successful."""
        ...

    async def check_permission(
        self, user_id: str, permission: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Check whether a user has *permission*, for example `read:users`."""
        ...

    async def check_permissions(
        self, user_id: str, permissions: Iterable[str], *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> dict[str, bool]:
        """Check for each of *permissions* whether a user has it, in one call."""
        ...


# ============================================================================
# ENDPOINTS
# ============================================================================

_user_document = decoder(User, {User: {"user_id": ("id",)}})

# .NET writes roles as numbers of an enumeration, in `userRoles`; its `roles` are objects about apps.
_DOTNET_ROLES = {0: "superadmin", 1: "admin", 2: "app", 3: "developer", 4: "user"}


def _user(document: Any) -> User:
    if isinstance(document, Mapping) and isinstance(document.get("userRoles"), list):
        numbers = [number for number in document["userRoles"] if isinstance(number, int)]
        document = {**document, "roles": [_DOTNET_ROLES.get(number, str(number)) for number in numbers]}
    return _user_document(document)


_user_roles = decoder(UserRoles)


def _users(document: Any) -> tuple[list[User], int | None]:
    return decode_page(document, _user, "users", "items")


def _allowed(document: Any) -> bool:
    """Decode a permission: only a literal true allows, and anything but true or false is an error."""
    if isinstance(refuse_failure(document), Mapping):
        document = next(iter(spelled(document, "allowed")), None)
    if not isinstance(document, bool):
        raise DecodeError("allowed: must be true or false")
    return document


def _results(document: Any) -> dict[str, bool]:
    found = refuse_failure(document)
    results = next(iter(spelled(found, "results")), None) if isinstance(found, Mapping) else None
    if not isinstance(results, Mapping):
        raise DecodeError("results: must be an object")
    for name, allowed in results.items():
        if not isinstance(allowed, bool):
            raise DecodeError(f"results.{name[:80]}: must be true or false")
    return dict(results)


_GET_CURRENT_USER = Endpoint("GET", "/api/auth/me", "get_current_user", _user)
_GET_USER = Endpoint("GET", "/api/users/{user_id}", "get_user", _user)
_LIST_USERS = Endpoint("GET", "/api/admin/users", "list_users", _users, paging=by_skip)
_GET_USER_ROLES = Endpoint("GET", "/api/users/{user_id}/roles", "get_user_roles", _user_roles)
_UPDATE_USER_ROLES = Endpoint("PUT", "/api/users/{user_id}/roles", "update_user_roles", succeeded)
_CHECK_PERMISSION = Endpoint("GET", "/api/users/{user_id}/permissions/{permission}", "check_permission", _allowed)
# A read that needs a body.
_CHECK_PERMISSIONS = Endpoint(
    "POST", "/api/users/{user_id}/permissions/check", "check_permissions", _results, idempotent=True
)


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
# ============================================================================


class ManagedIdentityConnector:
    """
    Production connector that calls the real Identity.API; every method raises `CallError` on failure.

    Used when MOZAIKS_MANAGED=true.
    """

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http

    async def get_current_user(self, *, user_jwt: str | None = None, correlation_id: str = "") -> User:
        """Get the user to whom *user_jwt* belongs."""
        return await self._http.call(_GET_CURRENT_USER, user_jwt=user_jwt, correlation_id=correlation_id)

    async def get_user(self, user_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> User:
        """Get a user by id."""
        return await self._http.call(
            _GET_USER, path_params={"user_id": user_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def list_users(
        self,
        *,
        skip: int = 0,
        limit: int = 50,
        role: str | None = None,
        search: str | None = None,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Page[User]:
        """List the users with *role* whose name or e-mail address contains *search*."""
        return await self._http.page(
            _LIST_USERS,
            skip=skip,
            limit=limit,
            problem=wrong_type(int, limit=limit) or wrong_type(str | None, role=role, search=search),
            params={"role": role, "search": search},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def get_user_roles(self, user_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> UserRoles:
        """Get the roles and permissions of a user."""
        return await self._http.call(
            _GET_USER_ROLES, path_params={"user_id": user_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def update_user_roles(
        self, user_id: str, roles: Iterable[str], *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Replace all roles of a user. Returns True if successful."""
        wanted, problem = texts_of("roles", roles)
        return await self._http.call(
            _UPDATE_USER_ROLES,
            path_params={"user_id": user_id},
            problem=problem,
            json_body={"roles": wanted},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def check_permission(
        self, user_id: str, permission: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Check whether a user has *permission*, for example `read:users`."""
        return await self._http.call(
            _CHECK_PERMISSION,
            path_params={"user_id": user_id, "permission": permission},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def check_permissions(
        self, user_id: str, permissions: Iterable[str], *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> dict[str, bool]:
        """Check for each of *permissions* whether a user has it; one missing in the response is False."""
        asked, problem = texts_of("permissions", permissions)
        results = await self._http.call(
            _CHECK_PERMISSIONS,
            path_params={"user_id": user_id},
            problem=problem,
            json_body={"permissions": asked},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return {permission: results.get(permission, False) for permission in asked}


# ============================================================================
# MOCK IMPLEMENTATION (Self-hosted mode)
# ============================================================================


class MockIdentityConnector:
    """
    Mock connector for self-hosted mode: one local user with all permissions. Never raises.

    Used when MOZAIKS_MANAGED=false.

    Args:
        state: For tests: `active`, or `denied`, where no permission is granted.
    """

    def __init__(self, state: MockState = "active") -> None:
        self._permits = mock_state(state, "active", "denied") == "active"
        self._roles: dict[str, list[str]] = {}

    async def get_current_user(self, *, user_jwt: str | None = None, correlation_id: str = "") -> User:  # noqa: ARG002
        """Get the local user `mock_user`, who is an admin."""
        return User(
            user_id="mock_user",
            username="mock_user",
            email="mock@example.com",
            roles=list(self._roles.get("mock_user", ("user", "admin"))),
        )

    async def get_user(
        self,
        user_id: str,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> User:
        """Return a made-up user with this id."""
        name = any_key(user_id)
        if name == "mock_user":
            return await self.get_current_user()
        roles = list(self._roles.get(name, ("user",)))
        return User(user_id=name, username=f"user_{name}", email=f"{name}@example.com", roles=roles)

    async def list_users(
        self,
        *,
        skip: int = 0,
        limit: int = 50,
        role: str | None = None,  # noqa: ARG002
        search: str | None = None,  # noqa: ARG002
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Page[User]:
        """Return an empty page: there is no directory in self-hosted mode."""
        return any_page((), skip, limit)

    async def get_user_roles(
        self,
        user_id: str,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> UserRoles:
        """Get the roles last set, else those of a made-up user; the permission is `read:self`."""
        user = await self.get_user(user_id)
        return UserRoles(user_id=user.user_id, roles=user.roles, permissions=["read:self"])

    async def update_user_roles(
        self,
        user_id: str,
        roles: Iterable[str],
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> bool:
        """Store *roles*. Always returns True."""
        self._roles[any_key(user_id)] = any_texts(roles)
        return True

    async def check_permission(
        self,
        user_id: str,  # noqa: ARG002
        permission: str,  # noqa: ARG002
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> bool:
        """Return True: in self-hosted mode everything is permitted; False in state `denied`."""
        return self._permits

    async def check_permissions(
        self,
        user_id: str,  # noqa: ARG002
        permissions: Iterable[str],
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> dict[str, bool]:
        """Return for each of *permissions* what `check_permission` does."""
        return dict.fromkeys(any_texts(permissions), self._permits)
