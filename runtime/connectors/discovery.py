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

# ruff: noqa: ARG002 - the mock's signatures are the protocol's
from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from .base import Page, PlatformHttpClient, any_copy, any_key, any_texts, decode_page, decoder, succeeded, texts_of

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
    """Request to change a listing; a field that is None stays as it is."""

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
    """How far a user is: `{"quest_id", "user_id", "completed_steps", "progress", "status", "updated_at"?}`."""

    quest_id: str
    user_id: str
    completed_steps: int = 0
    progress: int = 0
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
        """List listings, those that match *q*, *category* and all of *tags* only."""
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
        """List quests, those with *status* only."""
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
        """Hand in a step of a quest."""
        ...


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
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


def _body(request: Any, *names: str) -> tuple[dict[str, Any], str]:
    """The fields of *request* that are not None, and what is wrong with them."""
    fields = {name: getattr(request, name) for name in names}
    body, problem = {name: value for name, value in fields.items() if value is not None}, ""
    if "tags" in body:
        body["tags"], problem = texts_of("request.tags", body["tags"])
    return body, problem


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
        """List listings, those that match *q*, *category* and all of *tags* only."""
        wanted, problem = texts_of("tags", tags)

        async def load(start: int) -> Page[Listing]:
            items, total = await self._http.get(
                "/api/discovery/listings",
                path_params={},
                problem=problem,
                params={
                    "q": q,
                    "category": category,
                    "tags": ",".join(wanted) or None,
                    "sort": sort,
                    "skip": start,
                    "limit": limit,
                },
                decode=_listings,
                operation="list_listings",
                user_jwt=user_jwt,
                correlation_id=correlation_id,
            )
            return Page(items, total=total, skip=start, limit=limit, fetch=load)

        return await load(skip)

    async def get_listing(self, listing_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Listing:
        """Get a listing by id."""
        result: Listing = await self._http.get(
            "/api/discovery/listings/{listing_id}",
            path_params={"listing_id": listing_id},
            decode=_listing,
            operation="get_listing",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return result

    async def create_listing(
        self, request: ListingCreate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Listing:
        """Offer an app in the marketplace."""
        body, problem = _body(request, "app_id", "title", "summary", "category", "tags", "price", "metadata")
        result: Listing = await self._http.post(
            "/api/discovery/listings",
            path_params={},
            problem=problem,
            json_body=body,
            decode=_listing,
            operation="create_listing",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return result

    async def update_listing(
        self, listing_id: str, request: ListingUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Listing:
        """Change a listing; only the fields that are not None are sent."""
        body, problem = _body(request, "title", "summary", "category", "tags", "status", "price")
        result: Listing = await self._http.put(
            "/api/discovery/listings/{listing_id}",
            path_params={"listing_id": listing_id},
            problem=problem,
            json_body=body,
            decode=_listing,
            operation="update_listing",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return result

    async def delete_listing(self, listing_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete a listing. Returns True if successful."""
        result: bool = await self._http.delete(
            "/api/discovery/listings/{listing_id}",
            path_params={"listing_id": listing_id},
            decode=succeeded,
            operation="delete_listing",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return result

    async def list_featured(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Listing]:
        """List the featured listings."""
        items, total = await self._http.get(
            "/api/discovery/featured",
            path_params={},
            decode=_listings,
            operation="list_featured",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return Page(items, total=total)

    async def list_quests(
        self,
        *,
        status: str | None = None,
        skip: int = 0,
        limit: int = 50,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Page[Quest]:
        """List quests, those with *status* only."""

        async def load(start: int) -> Page[Quest]:
            items, total = await self._http.get(
                "/api/discovery/quests",
                path_params={},
                params={"status": status, "skip": start, "limit": limit},
                decode=_quests,
                operation="list_quests",
                user_jwt=user_jwt,
                correlation_id=correlation_id,
            )
            return Page(items, total=total, skip=start, limit=limit, fetch=load)

        return await load(skip)

    async def get_quest(self, quest_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Quest:
        """Get a quest by id."""
        result: Quest = await self._http.get(
            "/api/discovery/quests/{quest_id}",
            path_params={"quest_id": quest_id},
            decode=_quest,
            operation="get_quest",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return result

    async def join_quest(
        self, quest_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> QuestProgress:
        """Join a quest."""
        result: QuestProgress = await self._http.post(
            "/api/discovery/quests/{quest_id}/join",
            path_params={"quest_id": quest_id},
            decode=_progress,
            operation="join_quest",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return result

    async def submit_quest_step(
        self,
        quest_id: str,
        step: int | str,
        submission: Mapping[str, Any],
        *,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> QuestProgress:
        """Hand in a step; repeated only where the service honours the idempotency key."""
        result: QuestProgress = await self._http.post(
            "/api/discovery/quests/{quest_id}/steps/{step}",
            path_params={"quest_id": quest_id, "step": step},
            json_body={"submission": dict(submission)},
            decode=_progress,
            operation="submit_quest_step",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return result


# ============================================================================
# MOCK IMPLEMENTATION (Self-hosted mode)
# ============================================================================


class MockDiscoveryConnector:
    """
    Mock connector for self-hosted mode: keeps state in memory and returns copies of it. Never raises.

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
        found = [any_copy(listing) for listing in self._listings.values()]
        return Page(found[skip : skip + limit], total=len(found), skip=skip, limit=limit)

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
        """Keep a new listing as a draft."""
        listing = Listing(
            id=str(uuid.uuid4()),
            app_id=getattr(request, "app_id", ""),
            title=getattr(request, "title", ""),
            status="draft",
            summary=getattr(request, "summary", None),
            category=getattr(request, "category", None),
            tags=any_texts(getattr(request, "tags", [])),
            price=getattr(request, "price", None),
            created_at=datetime.now(UTC),
            metadata=any_copy(getattr(request, "metadata", None) or {}),
        )
        self._listings[listing.id] = listing
        return any_copy(listing)

    async def update_listing(
        self, listing_id: str, request: ListingUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Listing:
        """Change a listing; one that is not known here is kept from now on, as `Unknown`."""
        key = any_key(listing_id)
        listing = self._listings.setdefault(
            key, Listing(id=key, app_id="mock_app", title="Unknown", status="published")
        )
        for name in ("title", "summary", "category", "tags", "status", "price"):
            value = getattr(request, name, None)
            if value is not None:
                setattr(listing, name, any_copy(value))
        return any_copy(listing)

    async def delete_listing(self, listing_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Forget a listing and succeed."""
        self._listings.pop(any_key(listing_id), None)
        return True

    async def list_featured(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Listing]:
        """List nothing: nobody features anything here."""
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
        """List nothing: there are no quests in self-hosted mode."""
        return Page((), total=0, skip=skip, limit=limit)

    async def get_quest(self, quest_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Quest:
        """Make up the quest that was asked for."""
        return Quest(id=any_key(quest_id), title="Mock Quest", status="active")

    async def join_quest(
        self, quest_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> QuestProgress:
        """Join, and remember it."""
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
