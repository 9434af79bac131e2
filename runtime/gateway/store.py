"""The platform's state, in memory."""

import uuid
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

__all__ = ["Store", "new_id", "now"]

_PERMISSIONS = {
    "user": ("read:self",),
    "moderator": ("read:users",),
    "admin": ("read:users", "manage:users", "manage:plugins"),
    "superadmin": ("read:users", "manage:users", "manage:plugins", "manage:platform"),
}

_USERS: list[dict[str, Any]] = [
    {
        "user_id": "user_1",
        "username": "ada",
        "email": "ada@example.com",
        "roles": ["user", "admin"],
        "profile": {"display_name": "Ada", "avatar_url": "https://cdn.example.com/ada.png", "bio": "First."},
        "subscription": {"tier": "premium", "expires_at": "2027-01-31T00:00:00Z"},
        "created_at": "2025-03-14T15:09:26.5358979Z",
        "last_login": "2026-11-02T08:00:00Z",
    },
    {
        "user_id": "user_2",
        "username": "grace",
        "email": "grace@example.com",
        "roles": ["user"],
        "profile": None,
        "subscription": None,
        "created_at": "2025-06-01T10:00:00",
        "last_login": None,
    },
    {"user_id": "user_3", "username": "alan", "email": "alan@example.com", "roles": ["user"]},
    {
        "user_id": "user_4",
        "username": "edsger",
        "email": "edsger@example.com",
        "roles": ["user", "moderator"],
        "created_at": "2025-07-20T20:17:40.1+00:00",
    },
    {
        "user_id": "user_5",
        "username": "barbara",
        "email": "barbara@example.com",
        "roles": ["superadmin"],
        "created_at": "0001-01-01T00:00:00",
        "subscription": {"tier": "business", "expires_at": "2027-12-31"},
    },
]


_QUESTS: list[dict[str, Any]] = [
    {
        "id": "quest_1",
        "title": "First deployment",
        "description": "Put an app on the web.",
        "status": "active",
        "reward": "100 credits",
        "total_steps": 3,
        "starts_at": "2026-11-01T00:00:00Z",
        "deadline": None,
        "metadata": {"level": "beginner"},
    }
]


def new_id() -> str:
    """24 hexadecimal digits, as the platform's ids are."""
    return uuid.uuid4().hex[:24]


def now() -> str:
    """The time as .NET writes it: seven fractional digits and a Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


class Store:
    """Users, collections per owner, deployments, and the responses kept for idempotency keys."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {user["user_id"]: deepcopy(user) for user in _USERS}
        self.quests: dict[str, dict[str, Any]] = {quest["id"]: deepcopy(quest) for quest in _QUESTS}
        self.collections: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.progress: dict[tuple[str, str], dict[str, Any]] = {}
        self.deployments: dict[str, list[dict[str, Any]]] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.replays: dict[tuple[str, str, str], tuple[bytes, int, Any]] = {}

    def permissions(self, user: dict[str, Any]) -> list[str]:
        """Permissions that the roles of *user* give, in a stable order."""
        return list(dict.fromkeys(name for role in user["roles"] for name in _PERMISSIONS.get(role, ("read:self",))))

    def collection(self, owner: str, service: str, name: str) -> dict[str, dict[str, Any]]:
        """Items of one owner in `/api/{service}/{name}`."""
        return self.collections.setdefault((owner, service, name), {})
