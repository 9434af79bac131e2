"""One page of a longer list, and the query parameters by which services select a page."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, Self, TypeAlias, TypeVar

__all__ = ["Page", "Paging", "by_number", "by_skip"]

T = TypeVar("T")

Paging: TypeAlias = Callable[[int, Any], Mapping[str, Any]]
"""
Query parameters that select the page after *skip* items, of at most *limit* items: `(skip, limit) -> {name: value}`.
*limit* is None where the connector's method has no such argument.
"""


def by_skip(skip: int, limit: int | None) -> dict[str, Any]:
    """Select a page by `skip` and `limit`; without a limit by `skip` alone, and the first page without a query."""
    return {"skip": skip or None} if limit is None else {"skip": skip, "limit": limit}


def by_number(skip: int, limit: int) -> dict[str, Any]:
    """Select a page by `page`, counted from 1, and `page_size`; a *skip* within a page selects that page."""
    return {"page": skip // max(limit, 1) + 1, "page_size": limit}


class Page(list[T], Generic[T]):
    """
    One page of a list; callers that do not need paging use it as a plain `list`.

    Args:
        items: The items of this page.
        total: Number of items in the whole list; None if the platform does not report it.
        skip: Number of items before this page.
        limit: Largest page size that was requested; None if none was.
        fetch: Loads the page that starts after the given number of items.
    """

    __slots__ = ("_fetch", "limit", "skip", "total")

    def __init__(
        self,
        items: Iterable[T] = (),
        *,
        total: int | None = None,
        skip: int = 0,
        limit: int | None = None,
        fetch: Callable[[int], Awaitable["Page[T]"]] | None = None,
    ) -> None:
        super().__init__(items)
        self.total = total
        self.skip = skip
        self.limit = limit
        self._fetch = fetch

    @property
    def has_more(self) -> bool:
        """Whether the list continues after this page: by `total`, else by whether this page is full."""
        if not self:
            return False
        if self.total is not None:
            return self.skip + len(self) < self.total
        return self.limit is not None and len(self) >= self.limit

    def checked(self, check: Callable[[], None]) -> Self:
        """Return this page; *check* is called before any further page is loaded, and raises to prevent it."""
        fetch = self._fetch
        if fetch is not None:

            async def load(skip: int) -> Page[T]:
                check()
                return (await fetch(skip)).checked(check)

            self._fetch = load
        return self

    async def pages(self, *, max_pages: int = 100) -> AsyncIterator["Page[T]"]:
        """
        Iterate over this page and the following ones, loading each on demand.

        Args:
            max_pages: Largest number of pages to return, so that the iteration ends even if the platform's list does
                not.

        Raises:
            CallError: Loading a page failed.
        """
        page = self
        for number in range(1, max_pages + 1):
            yield page
            if number == max_pages or page._fetch is None or not page.has_more:
                return
            page = await page._fetch(page.skip + len(page))
            if not page:
                return
