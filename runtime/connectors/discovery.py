"""
Discovery Connector
===================

Connects to Discovery.API for the marketplace's listings and for quests.

Endpoints:
- GET, POST /api/discovery/listings
- GET, PUT, DELETE /api/discovery/listings/{listing_id}
- GET /api/discovery/featured
- GET /api/discovery/quests, /quests/{quest_id}
- POST /api/discovery/quests/{quest_id}/join, /quests/{quest_id}/steps/{step}
"""

# ruff: noqa: ARG002 - the mock has the signatures of the protocol
from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from .base import (
    Endpoint,
    Page,
    PlatformHttpClient,
    any_copy,
    any_field,
    any_key,
    any_page,
    body_of,
    by_skip,
    decode_page,
    decoder,
    mapping_of,
    succeeded,
    texts_of,
    wrong_type,
)

__all__ = [
    "DiscoveryConnector",
    "Listing",
    "ListingCreate",
    "ListingUpdate",
    "ManagedDiscoveryConnector",
    "MockDiscoveryConnector",
    "Quest",
    "QuestProgress",
]


# ============================================================================
# DATA MODELS
# ============================================================================


@dataclass
class Listing:
    """
    An app offered in the marketplace: `{"id", "app_id", "title", "summary"?, "category"?, "tags": [...], "status",
    "price"?, "rating"?, "creator_id"?, "created_at"?, "metadata": {...}}`; the price in minor units.
    """

    id: str
    app_id: str
    title: str
    status: str = "unknown"
    summary: str | None = None
    category: str | None = None
    tags: list[str] = field(default_factory=list)
    price: int | None = None
    rating: float | None = None
    creator_id: str | None = None
    created_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class ListingCreate:
    """Request to offer an app."""

    app_id: str
    title: str
    summary: str | None = None
    category: str | None = None
    tags: list[str] = field(default_factory=list)
    price: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class ListingUpdate:
    """Request to change a listing; a field that is None is not changed."""

    title: str | None = None
    summary: str | None = None
    category: str | None = None
    tags: list[str] | None = None
    status: str | None = None
    price: int | None = None


@dataclass
class Quest:
    """
    A challenge: `{"id", "title", "description"?, "status", "reward"?, "total_steps", "starts_at"?, "deadline"?,
    "metadata": {...}}`.
    """

    id: str
    title: str
    status: str = "unknown"
    description: str | None = None
    reward: str | None = None
    total_steps: int = 0
    starts_at: datetime | None = None
    deadline: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class QuestProgress:
    """Progress in a quest: `{"quest_id", "user_id", "completed_steps", "progress", "status", "updated_at"?}`."""

    quest_id: str
    user_id: str
    completed_steps: int = 0
    progress: int | float = 0
    status: str = "in_progress"
    updated_at: datetime | None = None


# ============================================================================
# CONNECTOR INTERFACE (Protocol)
# ============================================================================


class DiscoveryConnector(Protocol):
    """The marketplace's listings, and quests; implemented for managed (real API) and mock (self-hosted) mode."""

    async def list_listings(
        self,
        *,
        q: str | None = None,
        category: str | None = None,
        tags: Iterable[str] = (),
        sort: str | None = None,
        skip: int = 0,
        limit: int = 50,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Page[Listing]:
        """List the listings that match *q*, *category* and all of *tags*."""
        ...

    async def get_listing(self, listing_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Listing:
        """Get a listing by id."""
        ...

    async def create_listing(
        self, request: ListingCreate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Listing:
        """Offer an app in the marketplace."""
        ...

    async def update_listing(
        self, listing_id: str, request: ListingUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Listing:
        """Change a listing; only the fields that are not None are sent."""
        ...

    async def delete_listing(self, listing_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete a listing. Returns True if successful."""
        ...

    async def list_featured(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Listing]:
        """List the featured listings."""
        ...

    async def list_quests(
        self,
        *,
        status: str | None = None,
        skip: int = 0,
        limit: int = 50,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Page[Quest]:
        """List the quests with *status*, or all."""
        ...

    async def get_quest(self, quest_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Quest:
        """Get a quest by id."""
        ...

    async def join_quest(
        self, quest_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> QuestProgress:
        """Join a quest."""
        ...

    async def submit_quest_step(
        self,
        quest_id: str,
        step: int | str,
        submission: Mapping[str, Any],
        *,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> QuestProgress:
        """Submit a step of a quest."""
        ...


# ============================================================================
# ENDPOINTS
# ============================================================================

_listing = decoder(
    Listing, {Listing: {"title": ("app_name",), "summary": ("description",), "creator_id": ("creator",)}}
)
_quest = decoder(Quest, {Quest: {"id": ("challenge_id",), "title": ("challenge_name",)}})
_progress = decoder(QuestProgress, {QuestProgress: {"quest_id": ("challenge_id",)}})


def _listings(document: Any) -> tuple[list[Listing], int | None]:
    return decode_page(document, _listing, "items", "listings")


def _quests(document: Any) -> tuple[list[Quest], int | None]:
    return decode_page(document, _quest, "items", "quests", "challenges")


_LIST_LISTINGS = Endpoint("GET", "/api/discovery/listings", "list_listings", _listings, paging=by_skip)
_GET_LISTING = Endpoint("GET", "/api/discovery/listings/{listing_id}", "get_listing", _listing)
_CREATE_LISTING = Endpoint("POST", "/api/discovery/listings", "create_listing", _listing)
_UPDATE_LISTING = Endpoint("PUT", "/api/discovery/listings/{listing_id}", "update_listing", _listing)
_DELETE_LISTING = Endpoint("DELETE", "/api/discovery/listings/{listing_id}", "delete_listing", succeeded)
_LIST_FEATURED = Endpoint("GET", "/api/discovery/featured", "list_featured", _listings)
_LIST_QUESTS = Endpoint("GET", "/api/discovery/quests", "list_quests", _quests, paging=by_skip)
_GET_QUEST = Endpoint("GET", "/api/discovery/quests/{quest_id}", "get_quest", _quest)
_JOIN_QUEST = Endpoint("POST", "/api/discovery/quests/{quest_id}/join", "join_quest", _progress)
_SUBMIT_QUEST_STEP = Endpoint(
    "POST", "/api/discovery/quests/{quest_id}/steps/{step}", "submit_quest_step", _progress, documents_key=True
)


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
# ============================================================================


class ManagedDiscoveryConnector:
    """
    Production connector that calls the real Discovery.API; every method raises `CallError` on failure.

    Used when MOZAIKS_MANAGED=true.
    """

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http

    async def list_listings(
        self,
        *,
        q: str | None = None,
        category: str | None = None,
        tags: Iterable[str] = (),
        sort: str | None = None,
        skip: int = 0,
        limit: int = 50,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Page[Listing]:
        """List the listings that match *q*, *category* and all of *tags*."""
        wanted, problem = texts_of("tags", tags)
        wrong = wrong_type(int, limit=limit) or wrong_type(str | None, q=q, category=category, sort=sort)
        return await self._http.page(
            _LIST_LISTINGS,
            skip=skip,
            limit=limit,
            problem=problem or wrong,
            params={"q": q, "category": category, "tags": ",".join(wanted) or None, "sort": sort},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def get_listing(self, listing_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Listing:
        """Get a listing by id."""
        return await self._http.call(
            _GET_LISTING, path_params={"listing_id": listing_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def create_listing(
        self, request: ListingCreate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Listing:
        """Offer an app in the marketplace."""
        body, problem = body_of(request, ListingCreate)
        return await self._http.call(
            _CREATE_LISTING, problem=problem, json_body=body, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def update_listing(
        self, listing_id: str, request: ListingUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Listing:
        """Change a listing; only the fields that are not None are sent."""
        body, problem = body_of(request, ListingUpdate)
        return await self._http.call(
            _UPDATE_LISTING,
            path_params={"listing_id": listing_id},
            problem=problem,
            json_body=body,
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def delete_listing(self, listing_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete a listing. Returns True if successful."""
        return await self._http.call(
            _DELETE_LISTING, path_params={"listing_id": listing_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def list_featured(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Listing]:
        """List the featured listings."""
        return await self._http.page(_LIST_FEATURED, user_jwt=user_jwt, correlation_id=correlation_id)

    async def list_quests(
        self,
        *,
        status: str | None = None,
        skip: int = 0,
        limit: int = 50,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Page[Quest]:
        """List the quests with *status*, or all."""
        return await self._http.page(
            _LIST_QUESTS,
            skip=skip,
            limit=limit,
            problem=wrong_type(int, limit=limit) or wrong_type(str | None, status=status),
            params={"status": status},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def get_quest(self, quest_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Quest:
        """Get a quest by id."""
        return await self._http.call(
            _GET_QUEST, path_params={"quest_id": quest_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def join_quest(
        self, quest_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> QuestProgress:
        """Join a quest."""
        return await self._http.call(
            _JOIN_QUEST, path_params={"quest_id": quest_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def submit_quest_step(
        self,
        quest_id: str,
        step: int | str,
        submission: Mapping[str, Any],
        *,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> QuestProgress:
        """Submit a step; retried only where the service honours the idempotency key."""
        submitted, problem = mapping_of("submission", submission)
        return await self._http.call(
            _SUBMIT_QUEST_STEP,
            path_params={"quest_id": quest_id, "step": step},
            problem=problem,
            json_body={"submission": submitted},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )


# ============================================================================
# MOCK IMPLEMENTATION (Self-hosted mode)
# ============================================================================


_UPDATED = {"title": str, "summary": str, "category": str, "tags": list, "status": str, "price": int}


class MockDiscoveryConnector:
    """
    Mock connector for self-hosted mode: stores state in memory and returns copies. Never raises.

    Used when MOZAIKS_MANAGED=false.
    """

    def __init__(self) -> None:
        self._listings: dict[str, Listing] = {}
        self._progress: dict[str, QuestProgress] = {}

    async def list_listings(
        self,
        *,
        q: str | None = None,
        category: str | None = None,
        tags: Iterable[str] = (),
        sort: str | None = None,
        skip: int = 0,
        limit: int = 50,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Page[Listing]:
        """List the listings created here."""
        return any_page(self._listings.values(), skip, limit)

    async def get_listing(self, listing_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Listing:
        """Get the listing created here, else a made-up `Mock Listing`."""
        key = any_key(listing_id)
        found = self._listings.get(key)
        return (
            any_copy(found) if found else Listing(id=key, app_id="mock_app", title="Mock Listing", status="published")
        )

    async def create_listing(
        self, request: ListingCreate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Listing:
        """Store a new listing as a draft."""
        listing = Listing(
            id=str(uuid.uuid4()),
            app_id=any_field(request, "app_id", str, ""),
            title=any_field(request, "title", str, ""),
            status="draft",
            summary=any_field(request, "summary", str),
            category=any_field(request, "category", str),
            tags=any_field(request, "tags", list, []),
            price=any_field(request, "price", int),
            created_at=datetime.now(UTC),
            metadata=any_field(request, "metadata", dict, {}),
        )
        self._listings[listing.id] = listing
        return any_copy(listing)

    async def update_listing(
        self, listing_id: str, request: ListingUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Listing:
        """Change a listing; an unknown one is stored under the title `Unknown`."""
        key = any_key(listing_id)
        listing = self._listings.setdefault(
            key, Listing(id=key, app_id="mock_app", title="Unknown", status="published")
        )
        for name, kind in _UPDATED.items():
            setattr(listing, name, any_field(request, name, kind, getattr(listing, name)))
        return any_copy(listing)

    async def delete_listing(self, listing_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Remove a listing. Always returns True."""
        self._listings.pop(any_key(listing_id), None)
        return True

    async def list_featured(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Listing]:
        """Return an empty page: no listing is featured in self-hosted mode."""
        return Page((), total=0)

    async def list_quests(
        self,
        *,
        status: str | None = None,
        skip: int = 0,
        limit: int = 50,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Page[Quest]:
        """Return an empty page: there are no quests in self-hosted mode."""
        return any_page((), skip, limit)

    async def get_quest(self, quest_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Quest:
        """Return a made-up quest with this id."""
        return Quest(id=any_key(quest_id), title="Mock Quest", status="active")

    async def join_quest(
        self, quest_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> QuestProgress:
        """Join a quest and store the progress."""
        return any_copy(self._joined(quest_id))

    async def submit_quest_step(
        self,
        quest_id: str,
        step: int | str,
        submission: Mapping[str, Any],
        *,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> QuestProgress:
        """Count the step as completed."""
        progress = self._joined(quest_id)
        progress.completed_steps += 1
        progress.updated_at = datetime.now(UTC)
        return any_copy(progress)

    def _joined(self, quest_id: Any) -> QuestProgress:
        key = any_key(quest_id)
        fresh = QuestProgress(quest_id=key, user_id="mock_user", updated_at=datetime.now(UTC))
        return self._progress.setdefault(key, fresh)
